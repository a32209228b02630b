//! F0c. Who speaks while the process dies.
//!
//! Two threads may find at the same time that the process must end. Only the first says why; the others
//! sleep where they stand, so that its report is whole.
//!
//! # Invariants
//!
//! 1. Who has claimed the word never gives it back: the process ends.
//! 2. Async-signal-safe: a fault handler claims it, on any thread.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::futex;
use crate::sys::thread::current_tid;

/// The thread that has the word; 0: none.
static SPEAKER: AtomicU32 = AtomicU32::new(0);

/// Is the calling thread the speaker already?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Claim {
    /// It is from now on.
    New,
    /// It was: something has gone wrong while it spoke.
    Again,
}

/// Makes the calling thread the one that speaks. Does not return if another one is.
pub(crate) fn claim() -> Claim {
    // Relaxed: the threads share nothing but the word.
    match SPEAKER.compare_exchange(0, current_tid().cast_unsigned(), Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Claim::New,
        Err(_) => wait_unless_speaker().map_or(Claim::New, |()| Claim::Again),
    }
}

/// Does nothing if nobody speaks, says so if the caller does, and does not return if another thread does.
pub(crate) fn wait_unless_speaker() -> Option<()> {
    loop {
        match SPEAKER.load(Ordering::Relaxed) {
            0 => return None,
            speaker if speaker == current_tid().cast_unsigned() => return Some(()),
            speaker => futex::wait(&SPEAKER, speaker),
        }
    }
}
