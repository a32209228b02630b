//! F0. What the machine asks of the kernel. Thin, safe where it can be; no policy.

pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod futex;
pub(crate) mod membarrier;
pub(crate) mod memory;
pub(crate) mod signal;
pub(crate) mod thread;
pub(crate) mod threads;

/// Writes to the standard error stream without the lock of `eprintln!`, which a goroutine may hold that
/// does not run. For the runtime's own threads.
pub(crate) fn complain(text: &str) {
    // SAFETY: reads `text`, alive for the call. A failure to complain is nothing to complain about.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

/// The calling thread's `errno`.
pub(crate) fn errno() -> i32 {
    // SAFETY: the location is this thread's own, read at once.
    unsafe { *libc::__errno_location() }
}

/// Sets the calling thread's `errno`: a signal handler puts back what it found.
pub(crate) fn set_errno(value: i32) {
    // SAFETY: as above, written at once.
    unsafe { *libc::__errno_location() = value };
}
