//! F9. Goroutines that borrow.
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

use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::builder::{Builder, cannot_spawn};
use crate::g::token::Token;
use crate::g::wait::WaitReason;
use crate::goroutine::Goroutine;
use crate::join::{RawHandle, Result};
use crate::park;
use crate::spawn;
use crate::sys::clock::NEVER;

/// In which goroutines that borrow are spawned: see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    data: Data,
    /// Invariant over both lifetimes: else `'scope` could shrink, and a goroutine borrow from inside.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The count of a scope.
///
/// The owner's own unit is taken away last, by the owner, after it has written down its token: so whoever
/// brings the count to zero is either the owner, who then need not wait, or a goroutine, which finds the
/// token and an owner that waits for nobody else.
pub(crate) struct Data {
    /// Goroutines that have not ended, and one for the scope's owner.
    running: AtomicUsize,
    /// Has one panicked whose handle nobody joined?
    panicked: AtomicBool,
    /// Who waits at the end. Written by the owner before its unit goes, read by the last goroutine.
    owner: Cell<Option<Token>>,
}

// SAFETY: `owner` is handed from the owner to the last goroutine by the count.
unsafe impl Sync for Data {}

/// Runs `f`, which may spawn goroutines that borrow from its surroundings, and waits for all of them.
///
/// # Panics
///
/// With `f`'s payload, if `f` panics; else with a message of its own, if a goroutine of the scope has
/// panicked and was not joined. In both cases after all have ended.
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
    let data =
        Data { running: AtomicUsize::new(1), panicked: AtomicBool::new(false), owner: Cell::new(None) };
    let scope = Scope { data, scope: PhantomData, env: PhantomData };
    let result = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    scope.data.wait();
    match result {
        Err(payload) => panic::resume_unwind(payload),
        // Relaxed: ordered by the count's last Release and Acquire.
        Ok(_) if scope.data.panicked.load(Ordering::Relaxed) => {
            panic!("a goroutine of the scope panicked")
        }
        Ok(value) => value,
    }
}

impl Data {
    /// A goroutine has ended. After this the scope may be gone.
    ///
    /// # Safety
    ///
    /// `this` is the scope in which the goroutine was spawned, and it has not left before.
    pub(crate) unsafe fn leave(this: *const Data) {
        // SAFETY: the scope waits for our unit.
        let data = unsafe { &*this };
        // Release: what the goroutine did; Acquire: the owner's token. Pairs with `wait` and the others.
        if data.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            let token = data.owner.get().expect("the owner's unit went before, with its token");
            if token.claim() {
                park::make_ready(token);
            }
        }
    }

    /// A goroutine's panic that nobody has joined.
    pub(crate) fn note_panic(&self) {
        self.panicked.store(true, Ordering::Relaxed);
    }

    fn wait(&self) {
        let _ = park::wait(WaitReason::Scope, NEVER, |token| {
            self.owner.set(Some(token));
            // Release: the token. Acquire: what the goroutines did. Pairs with `leave`.
            self.running.fetch_sub(1, Ordering::AcqRel) != 1
        });
        // Acquire: pairs with the last goroutine's Release, if we had to wait.
        debug_assert_eq!(self.running.load(Ordering::Acquire), 0);
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
        f.debug_struct("Scope").field("running", &self.data.running).finish_non_exhaustive()
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
        wish.scope = &raw const scope.data;
        // Relaxed: the scope cannot end before its closure has.
        scope.data.running.fetch_add(1, Ordering::Relaxed);
        // SAFETY: F and T are Send; the scope waits for the goroutine, and what F borrows outlives the
        // scope; the handle, which holds T, does not outlive 'scope.
        match unsafe { spawn::spawn_in(sched, wish, site, f) } {
            Ok(spawned) => {
                // SAFETY: just spawned with result T.
                let raw = Some(unsafe { RawHandle::new(spawned) });
                Ok(ScopedJoinHandle { raw, data: &scope.data })
            }
            Err(error) => {
                scope.data.running.fetch_sub(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

/// The right to the result of a goroutine of a [scope](scope()). Dropping it detaches the goroutine, but
/// the scope waits for it all the same, and panics if it has panicked.
pub struct ScopedJoinHandle<'scope, T> {
    raw: Option<RawHandle<T>>,
    data: &'scope Data,
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
            self.data.note_panic();
        }
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle").finish_non_exhaustive()
    }
}
