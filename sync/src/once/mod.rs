//! A closure that runs once.
#![forbid(unsafe_code)]

pub(crate) mod raw;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::word::once::End;
use raw::{Called, RawOnce};

/// Runs a closure once, whoever comes first; the others wait for its end.
///
/// As [`std::sync::Once`]: if the closure panics, the `Once` is poisoned, and later calls panic too, but for
/// [`call_once_force`](Self::call_once_force). It counts its own calls, not the closures: of different ones
/// it runs the first.
///
/// # Ordering
///
/// What the closure did is visible to everyone whose call has returned, or who has seen
/// [`is_completed`](Self::is_completed).
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use gort_sync::Once;
///
/// static START: Once = Once::new();
/// static RUNS: AtomicU32 = AtomicU32::new(0);
///
/// gort_runtime::run(|| {
///     gort_runtime::scope(|s| {
///         for _ in 0..10 {
///             s.spawn(|| {
///                 START.call_once(|| _ = RUNS.fetch_add(1, Ordering::Relaxed));
///                 assert_eq!(RUNS.load(Ordering::Relaxed), 1);
///             });
///         }
///     });
/// });
/// ```
pub struct Once {
    raw: RawOnce,
}

/// What [`Once::call_once_force`] tells its closure.
#[derive(Debug)]
pub struct OnceState {
    poisoned: bool,
}

impl OnceState {
    /// Has an earlier closure panicked?
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

impl Once {
    /// One that has not run.
    #[must_use]
    pub const fn new() -> Self {
        Once { raw: RawOnce::new() }
    }

    /// Runs `f`, unless a closure has run here before; waits for one that is running.
    ///
    /// # Panics
    ///
    /// If an earlier closure has panicked, and with the panic of `f`.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine (on a thread that is none, the thread) while another one runs its closure. For
    /// ever, if that is the caller: `f` must not come back here.
    #[inline]
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.raw.is_done() && self.raw.call(false, End::Poisoned, |_| f()) == Called::Poisoned {
            poisoned();
        }
    }

    /// As [`call_once`](Self::call_once), also if an earlier closure has panicked; `f` is told. If it returns,
    /// the `Once` is no longer poisoned.
    ///
    /// # Panics
    ///
    /// With the panic of `f`.
    ///
    /// # Blocking
    ///
    /// As `call_once`.
    #[inline]
    #[track_caller]
    pub fn call_once_force(&self, f: impl FnOnce(&OnceState)) {
        if !self.raw.is_done() {
            let _ = self.raw.call(true, End::Poisoned, |poisoned| f(&OnceState { poisoned }));
        }
    }

    /// Has a closure run to its end? What it did is then visible.
    #[inline]
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.raw.is_done()
    }

    /// Waits until a closure has run here.
    ///
    /// # Panics
    ///
    /// If it panics.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread. For ever, if nobody calls.
    #[track_caller]
    pub fn wait(&self) {
        if !self.raw.is_done() && self.raw.wait() == Called::Poisoned {
            poisoned();
        }
    }
}

#[cold]
#[track_caller]
fn poisoned() -> ! {
    panic!("a Once whose closure has panicked is used again");
}

impl Default for Once {
    fn default() -> Self {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Once");
        text.field("completed", &self.is_completed()).field("poisoned", &self.raw.is_poisoned());
        text.finish_non_exhaustive()
    }
}

// A closure that panics leaves it poisoned.
impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}
