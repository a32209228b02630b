//! F0c. The border that no panic crosses.
//!
//! Scheduler code must not unwind: a half-made transition of a queue or a state word cannot be repaired.
//! A value of [`AbortOnUnwind`] lives across such code and turns a panic in it, which is a bug of gort,
//! into an abort of the process with a message.
#![forbid(unsafe_code)]

/// Ends the process with a message: an invariant of the machine is broken, or about to be.
#[cold]
pub(crate) fn fatal(what: &str) -> ! {
    crate::sys::complain("gort: fatal error: ");
    crate::sys::complain(what);
    crate::sys::complain("\n");
    std::process::abort();
}

/// Aborts the process when dropped by unwinding. Defuse with `mem::forget`.
#[derive(Debug)]
pub(crate) struct AbortOnUnwind(pub(crate) &'static str);

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::sys::complain("gort: panic in ");
            fatal(self.0);
        }
    }
}
