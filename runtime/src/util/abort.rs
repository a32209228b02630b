//! F0c. The border that no panic crosses.
//!
//! Scheduler code must not unwind: a half-made transition of a queue or a state word cannot be repaired.
//! A value of [`AbortOnUnwind`] lives across such code and turns a panic in it, which is a bug of gort,
//! into an abort of the process with a message.
#![forbid(unsafe_code)]

/// Aborts the process when dropped by unwinding. Defuse with `mem::forget` (or let it fall out of scope
/// on a path that does not unwind).
#[derive(Debug)]
pub(crate) struct AbortOnUnwind(pub(crate) &'static str);

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::sys::complain("gort: internal error: panic in ");
            crate::sys::complain(self.0);
            crate::sys::complain("; aborting\n");
            std::process::abort();
        }
    }
}
