//! F0. The threads of the process: which of them could still wake a goroutine?
//!
//! The deadlock check asks it when everything of gort's is asleep. Threads that are no worker of gort's
//! (*foreign* ones) may wake goroutines, and what they do is not ours to know. So they are counted:
//!
//! ```text
//! threads of the process  =  gort's own, at rest  +  foreign ones asleep in a wait of gort's without
//! deadline
//! ```
//!
//! If the two sides are equal, nobody is left. The left side is the kernel's number, by one `stat` of
//! `/proc/self/task`; if that cannot be had, nobody knows, and somebody is taken to be awake.
//!
//! # Invariants
//!
//! 1. The right side never counts a thread that does not exist in the kernel: a thread counts itself, when it
//!    runs, and takes itself out before it ends.
//! 2. It never counts a thread that may go on by itself. A foreign sleeper is taken out by whoever wakes it,
//!    before the waker itself can go to sleep; a helper of gort's (sysmon, the reporter) that may queue a
//!    goroutine is taken out by [`AtWork`] meanwhile.
//!
//! So an error is to the safe side: somebody seems awake. The number is read before and after the
//! kernel's, and must not have changed meanwhile, not even forth and back: a thread may wake another one and
//! then end, and the other one may start a third and sleep again.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};

/// The right side, in the low half. In the high half, how often it has changed: the number alone may be the same
/// again while another thread sleeps than before. (Wraps below zero for a moment, when a waker is faster than
/// the sleeper; the low half is right all the same.)
static ACCOUNTED: AtomicU64 = AtomicU64::new(0);

/// One change.
const CHANGE: u64 = 1 << 32;

fn add_one() {
    // SeqCst, all in this file: read by the check after the schedulers' SeqCst counters.
    ACCOUNTED.fetch_add(CHANGE + 1, Ordering::SeqCst);
}

fn take_one() {
    ACCOUNTED.fetch_add(CHANGE - 1, Ordering::SeqCst);
}

/// The calling thread is gort's own, as long as this lives.
#[derive(Debug)]
pub(crate) struct Ours(());

impl Ours {
    /// Counts the calling thread.
    pub(crate) fn begin() -> Ours {
        add_one();
        Ours(())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        take_one();
    }
}

/// The calling thread, one of gort's, may queue a goroutine as long as this lives (invariant 2).
#[derive(Debug)]
pub(crate) struct AtWork(());

impl AtWork {
    /// Takes the calling thread out of the count.
    pub(crate) fn begin() -> AtWork {
        take_one();
        AtWork(())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        add_one();
    }
}

/// The calling, foreign thread goes to sleep, until somebody calls [`foreign_wakes`] for it.
pub(crate) fn foreign_sleeps() {
    add_one();
}

/// A foreign thread is woken: called by its waker, before it can run.
pub(crate) fn foreign_wakes() {
    take_one();
}

/// Is there a thread in the process, beyond gort's own, that is not asleep in a wait of gort's? One system
/// call; allocates nothing.
pub(crate) fn somebody_is_awake() -> bool {
    let before = ACCOUNTED.load(Ordering::SeqCst);
    let Some(threads) = count() else { return true };
    threads != before as u32 || ACCOUNTED.load(Ordering::SeqCst) != before
}

/// How many threads the process has, as the kernel knows it.
fn count() -> Option<u32> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is a C string, and the buffer is ours.
    if unsafe { libc::stat(c"/proc/self/task".as_ptr(), stat.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: written by the call, which succeeded.
    let links = unsafe { stat.assume_init() }.st_nlink;
    // A directory has two links of its own, and one for each folder in it.
    u32::try_from(links).ok()?.checked_sub(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_that_of_the_folder() {
        let listed = || std::fs::read_dir("/proc/self/task").expect("/proc is mounted").count();
        // Other tests' threads come and go: compare when the listing stands still.
        let agrees = (0..1000).any(|_| {
            let before = listed();
            let counted = count().expect("/proc is mounted");
            before == listed() && counted as usize == before
        });
        assert!(agrees);
    }

    #[test]
    fn a_sleeper_that_was_awake_meanwhile_has_changed_the_count() {
        let before = ACCOUNTED.load(Ordering::SeqCst);
        foreign_wakes();
        foreign_sleeps();
        assert_ne!(ACCOUNTED.load(Ordering::SeqCst), before);
    }

    #[test]
    fn a_test_harness_is_awake() {
        assert!(somebody_is_awake());
    }
}
