//! F7. All runtimes of the process.
//!
//! For reports that concern the process: who is asleep, and what do all goroutines do? A list that grows at
//! its head and never shrinks, for a `Sched` is never freed (`sched`, invariant 4); who walks it leaves those
//! out that have stopped. It gives no access that a runtime's own goroutines do not have: an exception of
//! ARCHITECTURE's Rule 3.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::Sched;

static NEWEST: AtomicPtr<Sched> = AtomicPtr::new(ptr::null_mut());

/// Puts a runtime into the list, once, before its first thread.
pub(crate) fn add(sched: &'static Sched) {
    let this = ptr::from_ref(sched).cast_mut();
    let mut before = NEWEST.load(Ordering::Relaxed);
    loop {
        sched.listed_before.store(before, Ordering::Relaxed);
        // Release: the link and the record; pairs with the Acquire in `all`.
        match NEWEST.compare_exchange_weak(before, this, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => before = now,
        }
    }
}

/// All runtimes, the newest first, those that have stopped included.
pub(crate) fn all() -> impl Iterator<Item = &'static Sched> {
    // SAFETY: null or a `Sched`, never freed. Acquire: pairs with the Release in `add`.
    let newest = unsafe { NEWEST.load(Ordering::Acquire).as_ref() };
    // SAFETY: as above; the link was written before the record was listed.
    std::iter::successors(newest, |sched| unsafe { sched.listed_before.load(Ordering::Relaxed).as_ref() })
}

/// Those that have not stopped, the oldest first. Allocates.
pub(crate) fn running() -> Vec<&'static Sched> {
    let mut scheds: Vec<_> = all().filter(|sched| !sched.is_stopping()).collect();
    scheds.reverse();
    scheds
}
