//! F9f. Goroutines that borrow.
//!
//! # Soundness
//!
//! A scope does not return before every goroutine that was spawned in it has ended, and each has dropped
//! its closure, and its result unless a handle holds it, before it is counted as ended. So what they
//! borrow (`'env`) outlives them. Two lifetimes, as in std: `'scope` is the time in which new ones may be
//! spawned, `'env` that of what they borrow. A scope whose runtime is shut down never returns.
//!
//! The closure's panic is caught before the wait: a goroutine that panics keeps its thread, and must not
//! wait there for goroutines that may be bound to it (`park`, invariant 3).

pub(crate) mod count;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe, Location};

use crate::builder::{Builder, cannot_spawn};
use crate::goroutine::Goroutine;
use crate::join::{RawHandle, Result};
use crate::scope::count::Count;
use crate::spawn;

/// In which goroutines that borrow are spawned: see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    count: Count,
    /// Invariant over both lifetimes: else `'scope` could shrink, and a goroutine borrow from inside.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Runs `f`, which may spawn goroutines that borrow from its surroundings, and waits for all of them.
///
/// # Panics
///
/// With `f`'s payload, if `f` panics; else with a message of its own, if a goroutine of the scope has
/// panicked and was not joined (nor was its handle forgotten by `mem::forget`). In both cases after all have
/// ended.
///
/// # Blocking
///
/// Blocks the goroutine until all goroutines of the scope have ended; on a thread that is none, the
/// thread (its goroutines run in the process-wide runtime).
///
/// # Examples
///
/// ```
/// gort_runtime::run(|| {
///     let mut numbers = vec![1, 2, 3, 4];
///     let (left, right) = numbers.split_at_mut(2);
///     gort_runtime::scope(|s| {
///         s.spawn(|| left.iter_mut().for_each(|n| *n *= 10));
///         s.spawn(|| right.iter_mut().for_each(|n| *n *= 10));
///     });
///     assert_eq!(numbers, [10, 20, 30, 40]);
/// });
/// ```
///
/// What is borrowed must outlive the scope:
///
/// ```compile_fail,E0373
/// gort_runtime::scope(|s| {
///     let inside = 1;
///     s.spawn(|| println!("{inside}"));
/// });
/// ```
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope { count: Count::new(), scope: PhantomData, env: PhantomData };
    let result = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    scope.count.wait();
    match result {
        Err(payload) => panic::resume_unwind(payload),
        Ok(_) if scope.count.has_panicked() => {
            panic!("a goroutine of the scope panicked")
        }
        Ok(value) => value,
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns a goroutine in the scope.
    ///
    /// # Panics
    ///
    /// If there is no memory for its stack, or the runtime has been shut down: see [`Builder::spawn_scoped`].
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        Builder::new().spawn_scoped(self, f).unwrap_or_else(|error| cannot_spawn(&error))
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Builder {
    /// Spawns a goroutine in a [scope](scope()).
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let site = Location::caller();
        let (sched, mut wish) = self.into_wish()?;
        wish.scope = &raw const scope.count;
        scope.count.enter();
        // SAFETY: F and T are Send; the scope waits for the goroutine, and what F borrows outlives the
        // scope; the handle, which holds T, does not outlive 'scope.
        match unsafe { spawn::spawn_in(sched, wish, site, f) } {
            Ok(spawned) => {
                // SAFETY: just spawned with result T.
                let raw = Some(unsafe { RawHandle::new(spawned) });
                Ok(ScopedJoinHandle { raw, count: &scope.count })
            }
            Err(error) => {
                scope.count.take_back();
                Err(error)
            }
        }
    }
}

/// The right to the result of a goroutine of a [scope](scope()). Dropping it detaches the goroutine, but
/// the scope waits for it all the same, and panics if it has panicked.
pub struct ScopedJoinHandle<'scope, T> {
    raw: Option<RawHandle<T>>,
    count: &'scope Count,
}

impl<T> ScopedJoinHandle<'_, T> {
    fn raw(&self) -> &RawHandle<T> {
        self.raw.as_ref().expect("only join and drop take it")
    }

    /// Waits for the goroutine to end: as [`JoinHandle::join`](crate::JoinHandle::join).
    ///
    /// # Errors
    ///
    /// The payload, if the goroutine panicked. The scope then does not panic for it.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    #[track_caller]
    pub fn join(mut self) -> Result<T> {
        self.raw.take().expect("only join and drop take it").join()
    }

    /// Has it ended?
    pub fn is_finished(&self) -> bool {
        self.raw().is_finished()
    }

    /// A handle that names the goroutine.
    pub fn goroutine(&self) -> Goroutine {
        self.raw().goroutine()
    }
}

impl<T> Drop for ScopedJoinHandle<'_, T> {
    fn drop(&mut self) {
        if let Some(raw) = self.raw.take()
            && let Some(Err(_payload)) = raw.abandon()
        {
            self.count.note_panic();
        }
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle").finish_non_exhaustive()
    }
}
