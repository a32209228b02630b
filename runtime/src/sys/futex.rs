//! F0. Futexes: how a thread sleeps.
//!
//! All private to the process. Safe from a signal handler, allocate nothing. A wait may return without a
//! reason (a signal, a stale wake): callers re-check their word in a loop.

use std::ptr;
use std::sync::atomic::AtomicU32;

use super::clock::NEVER;

/// Sleeps while `*word == expected`, until a wake or a signal.
pub(crate) fn wait(word: &AtomicU32, expected: u32) {
    wait_until(word, expected, NEVER);
}

/// As [`wait`], but no longer than to `deadline_ns` of the monotonic clock. False if that has passed.
pub(crate) fn wait_until(word: &AtomicU32, expected: u32, deadline_ns: u64) -> bool {
    let time = libc::timespec {
        tv_sec: (deadline_ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (deadline_ns % 1_000_000_000) as libc::c_long,
    };
    let timeout = if deadline_ns == NEVER { ptr::null() } else { &raw const time };
    // SAFETY: FUTEX_WAIT_BITSET reads the word and the timespec, both alive for the call; the deadline is
    // absolute on CLOCK_MONOTONIC, which is this operation's default clock.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
            expected,
            timeout,
            ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    result == 0 || super::errno() != libc::ETIMEDOUT
}

/// Wakes up to `count` sleepers. Takes a pointer, for the wake may come when the word's owner has gone
/// on and freed it: the kernel uses the address as a name and never writes there.
pub(crate) fn wake(word: *const AtomicU32, count: u32) {
    // SAFETY: FUTEX_WAKE does not access the memory at `word`; a stale address wakes nobody, or somebody
    // who re-checks.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count) };
}
