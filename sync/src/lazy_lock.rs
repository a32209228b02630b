//! A value that is made when it is first looked at.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::mutex::Mutex;
use crate::once_lock::OnceLock;

/// A value that is made by a closure when somebody first looks at it.
///
/// As [`std::sync::LazyLock`]: if the closure panics, it is poisoned, and whoever looks at it later panics
/// too.
///
/// # Ordering
///
/// What the closure did is visible to everyone who gets the value.
///
/// # Blocking
///
/// Who looks at it while another one makes it blocks its goroutine; on a thread that is none, the thread.
///
/// # Examples
///
/// ```
/// use gort_sync::LazyLock;
///
/// static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| "made when needed".split(' ').collect());
///
/// assert_eq!(WORDS.len(), 3);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    value: OnceLock<T>,
    /// The closure, until it runs.
    make: Mutex<Option<F>>,
}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// A value that `make` will make.
    #[must_use]
    pub const fn new(make: F) -> Self {
        LazyLock { value: OnceLock::new(), make: Mutex::new(Some(make)) }
    }

    /// The value; made now, if it was not yet.
    ///
    /// # Panics
    ///
    /// With the closure's panic, and ever after.
    ///
    /// # Blocking
    ///
    /// As the [type](Self) says.
    #[inline]
    #[track_caller]
    pub fn force(this: &Self) -> &T {
        this.value.get_or_init(|| {
            // Bound first: the closure runs without the mutex.
            let make = this.make.lock().take();
            make.expect("a LazyLock whose closure has panicked is used again")()
        })
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> Self {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.get() {
            Some(value) => f.debug_tuple("LazyLock").field(value).finish(),
            None => f.write_str("LazyLock(<not made>)"),
        }
    }
}

// A closure that panics leaves it poisoned.
impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}
