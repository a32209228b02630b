//! F9c. The goroutine that runs a branch which was taken.
//!
//! A goroutine like any other: its own number, stack, unpark token and local values; detached from birth; in the
//! mode, and with the size of stack, of the one that forked. It runs on whatever thread took the branch, and in
//! the default mode stays there.
//!
//! # Invariants
//!
//! 1. [`begin`] runs on the scheduler stack: it takes a stack and writes to it, and allocates nothing.
//! 2. The owner does not leave its join before the branch has ended: the record, and what the branch borrows,
//!    stay until `Word::finish`, after which nothing here touches them.

use std::ptr::NonNull;

use super::record::Record;
use crate::g::{G, GRef};
use crate::identity::Mode;
use crate::p::{self, P};
use crate::sched::Sched;
use crate::sched::promote::wake_owner;
use crate::spawn::{self, Wish};
use crate::stack::{self, Class};

/// Makes the goroutine for a branch of `owner`'s that the caller has claimed. `None`: no memory for a stack.
pub(crate) fn begin(
    sched: &'static Sched,
    p: &'static P,
    owner: GRef,
    record: NonNull<Record>,
) -> Option<GRef> {
    let class = owner.slot().class();
    let slot = if class == Class::DEFAULT {
        spawn::cached_slot(p).map_or_else(|| spawn::refill(p), Ok)
    } else {
        stack::alloc(class)
    };
    let slot = slot.ok()?;
    // SAFETY: the slot is ours alone.
    let g = unsafe { G::of_slot(slot) };
    let mode = if owner.free.get() { Mode::Unchecked } else { Mode::PerWorker };
    let id = spawn::next_id(sched, p);
    let site = owner.site().expect("a goroutine that forks was spawned");
    // SAFETY: ours alone, not yet queued. The branch is Send, and the owner waits for it (invariant 2).
    unsafe {
        spawn::set_up::<_, ()>(g, slot, sched, mode, id, Wish::NOTHING, site, move || run(record));
    }
    // Nobody has a handle: the worker frees the slot.
    let _ = g.done.detach();
    p::count(&p.counters.spawned, 1);
    Some(g)
}

/// What the goroutine does.
fn run(record: NonNull<Record>) {
    // SAFETY: claimed by whoever made this goroutine.
    let ending = unsafe { Record::run(record) };
    // SAFETY: the record is there until it is finished (invariant 2).
    if let Some(waiter) = unsafe { record.as_ref() }.word.finish(ending) {
        // SAFETY: the word held it.
        unsafe { wake_owner(waiter) };
    }
}
