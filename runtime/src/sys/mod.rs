//! F0. What the machine asks of the kernel. Thin, safe where it can be; no policy.

pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod dump_signal;
pub(crate) mod futex;
pub(crate) mod membarrier;
pub(crate) mod memory;
pub(crate) mod signal;
pub(crate) mod thread;
pub(crate) mod threads;

/// Writes to the standard error stream without the lock of `eprintln!`, which a goroutine may hold that
/// does not run. Async-signal-safe.
pub(crate) fn complain(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        // SAFETY: reads `rest`, alive for the call.
        let written = unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(written) {
            Ok(written @ 1..) => rest = &rest[written..],
            _ if errno() == libc::EINTR => {}
            // A failure to complain is nothing to complain about.
            _ => return,
        }
    }
}

/// Ends the process: no destructor runs, no buffer is written out. Async-signal-safe.
pub(crate) fn exit_at_once(status: i32) -> ! {
    // SAFETY: takes a number, does not return.
    unsafe { libc::_exit(status) }
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
