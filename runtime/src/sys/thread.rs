//! F0. The calling OS thread: its kernel id and its timer slack.

/// The kernel's id of the calling thread.
pub(crate) fn current_tid() -> i32 {
    // SAFETY: takes no arguments, cannot fail.
    unsafe { libc::gettid() }
}

/// Asks the kernel to wake this thread from timed sleeps as exactly as it can. The default slack of
/// 50 µs is most of the lateness of a short sleep (27 µs instead of 78 µs with a slack of 1 ns). A
/// refusal costs exactness, nothing else.
pub(crate) fn set_exact_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes an integer and affects the calling thread only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
}
