//! A value that is set once.
//!
//! # Invariants
//!
//! 1. The cell is written once by the one whose run it is, before the run ends well; after that (`is_done`,
//!    which orders it) it is only read, but through `&mut OnceLock`.
#![allow(unsafe_code, reason = "the value in its cell")]

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::once::raw::RawOnce;
use crate::word::once::End;

/// A place for a value that is set once, by whoever comes first.
///
/// As [`std::sync::OnceLock`]: an initialisation that panics leaves it empty, and the next one who comes
/// tries again.
///
/// # Ordering
///
/// What was done before the value was set is visible to everyone who gets it.
///
/// # Examples
///
/// ```
/// use gort_sync::OnceLock;
///
/// static CONFIG: OnceLock<String> = OnceLock::new();
///
/// assert_eq!(CONFIG.get(), None);
/// assert_eq!(CONFIG.get_or_init(|| "first".to_owned()), "first");
/// assert_eq!(CONFIG.get_or_init(|| "second".to_owned()), "first");
/// assert_eq!(CONFIG.set("third".to_owned()), Err("third".to_owned()));
/// ```
pub struct OnceLock<T> {
    once: RawOnce,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: a lock owns its value.
unsafe impl<T: Send> Send for OnceLock<T> {}
// SAFETY: a shared lock gives out shared references (Sync), and may take a value over from another thread,
// which its owner drops (Send); the cell is written by one, before all reads (invariant 1).
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        OnceLock { once: RawOnce::new(), value: UnsafeCell::new(None) }
    }

    /// The value, if it is set. Does not wait for one that is being made.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_done() {
            return None;
        }
        // SAFETY: invariant 1: from now on it is only read.
        unsafe { (*self.value.get()).as_ref() }
    }

    /// The value, of who has the lock to himself.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// The value, if there is one already.
    ///
    /// # Blocking
    ///
    /// As [`get_or_init`](Self::get_or_init).
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("an initialisation runs once"));
        value.map_or(Ok(()), Err)
    }

    /// The value; made by `f`, if there is none. Of several who come at once, one makes it and the others
    /// wait.
    ///
    /// # Panics
    ///
    /// With the panic of `f`. Then there still is no value.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine (on a thread that is none, the thread) while another one makes the value. For
    /// ever, if that is the caller: `f` must not come back here.
    #[inline]
    #[track_caller]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        if !self.once.is_done() {
            self.init(f);
        }
        self.get().expect("it was set")
    }

    #[cold]
    #[track_caller]
    fn init(&self, f: impl FnOnce() -> T) {
        let _ = self.once.call(true, End::Undone, |_| {
            let value = f();
            // SAFETY: invariant 1: it is our run, and nobody reads before it has ended well.
            unsafe { *self.value.get() = Some(value) };
        });
    }

    /// Waits until there is a value.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread. For ever, if nobody sets one.
    #[track_caller]
    pub fn wait(&self) -> &T {
        if !self.once.is_done() {
            let _ = self.once.wait();
        }
        self.get().expect("it was set")
    }

    /// Takes the value out and leaves the lock empty.
    pub fn take(&mut self) -> Option<T> {
        std::mem::take(self).into_inner()
    }

    /// The value, if it was set.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> Self {
        OnceLock { once: RawOnce::done(), value: UnsafeCell::new(Some(value)) }
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> Self {
        self.get().cloned().map_or_else(OnceLock::new, OnceLock::from)
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(value) => f.debug_tuple("OnceLock").field(value).finish(),
            None => f.write_str("OnceLock(<empty>)"),
        }
    }
}
