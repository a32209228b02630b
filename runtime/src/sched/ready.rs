//! F7. Making a goroutine runnable: where it is queued, and who is told.
//!
//! | the goroutine | the caller | goes to | somebody is woken |
//! |---|---|---|---|
//! | bound to the caller's M | on a worker | the M's next slot, own inbox | no: nobody else may run it |
//! | bound to another M | anybody | that M's remote inbox | that M, if it is idle |
//! | frozen upon an M | anybody | (the M itself is queued) | that M |
//! | free | on a worker of its runtime | the P's next slot; who was there goes to the FIFO | as `publish` says |
//! | free | anybody else | the injector | as `census` says |
//!
//! All with np 1 on a worker. Nothing allocates.

use std::sync::atomic::Ordering;

use super::Sched;
use crate::cur::NoPreempt;
use crate::g::GRef;
use crate::m::M;
use crate::p::{self, P};
use crate::prim::light_fence;
use crate::queue::Item;

/// The goroutine as queues name it.
#[inline(always)]
pub(crate) fn item_of(g: GRef) -> Item {
    // SAFETY: Gs are type-stable.
    unsafe { Item::new(g.link()) }
}

/// Queues a goroutine that its waker has made Runnable (`AfterReady::Queue`). By anybody, anywhere.
#[inline]
pub(crate) fn ready(g: GRef) {
    ready_in(&NoPreempt::enter(), g);
}

/// As [`ready`], in a section that the caller keeps.
#[inline]
pub(crate) fn ready_in(_: &NoPreempt, g: GRef) {
    let m = M::current();
    // SAFETY: `bound` holds null or the head of an M.
    let bound = unsafe { M::of_head(g.bound.load(Ordering::Relaxed)) };
    match (bound, m) {
        (None, Some(m)) if g.owner.load(Ordering::Relaxed).cast_const() == m.owner => match m.p() {
            Some(p) => ready_here(Sched::of_m(m), p, item_of(g)),
            None => ready_from_outside(g),
        },
        // (Its thread runs, so it is not frozen.)
        (Some(bound), Some(m)) if std::ptr::eq(bound, m) => m.push_next(g),
        (Some(bound), _) => ready_bound(g, bound),
        (None, _) => ready_from_outside(g),
    }
}

/// As [`ready`], but behind the others: for event sources that ready many, in their order.
pub(crate) fn ready_in_turn(g: GRef) {
    let _section = NoPreempt::enter();
    let Some(m) = M::current() else { return ready(g) };
    let bound = g.bound.load(Ordering::Relaxed).cast_const();
    if std::ptr::eq(bound, m.head()) {
        // What another M has readied before goes before.
        m.absorb_remote();
        m.push_local(g);
    } else if bound.is_null()
        && g.owner.load(Ordering::Relaxed).cast_const() == m.owner
        && let Some(p) = m.p()
    {
        p.push_fifo(item_of(g));
        Sched::of_m(m).offer(p);
    } else {
        ready(g);
    }
}

fn is_frozen(g: GRef) -> bool {
    // Acquire: pairs with the Release in `handoff::freeze`.
    !g.frozen.load(Ordering::Acquire).is_null()
}

/// A free goroutine, readied on a P of its runtime: it runs next, and inherits the slice.
#[inline(always)]
fn ready_here(sched: &'static Sched, p: &'static P, item: Item) {
    if let Some(before) = p.swap_next(Some(item)) {
        p.push_fifo(before);
        sched.offer(p);
    }
}

#[cold]
fn ready_from_outside(g: GRef) {
    let sched = Sched::of_g(g).expect("a goroutine that waits has a scheduler");
    sched.injector.push(item_of(g));
    sched.wake_one();
}

/// A goroutine bound to another thread: into its inbox first, then a look at its word (`m::word`).
#[cold]
fn ready_bound(g: GRef, bound: &'static M) {
    if is_frozen(g) {
        if bound.word.try_thaw() {
            queue_m(bound);
        }
        return;
    }
    bound.remote.push(item_of(g));
    if bound.word.try_queue() {
        queue_m(bound);
    }
}

/// An M whose word the caller has won needs a P: an idle one, or its turn in a queue.
pub(crate) fn queue_m(m: &'static M) {
    let sched = Sched::of_m(m);
    let mut lists = sched.lists.lock();
    lists.remove_m(m);
    if let Some(p) = sched.take_idle_p(&mut lists) {
        drop(lists);
        m.give(p);
        sched.wake_sysmon();
        return;
    }
    drop(lists);
    // Every P is busy.
    let here = M::current().filter(|here| here.owner == m.owner).and_then(M::p);
    match here {
        Some(p) => {
            p.push_fifo(m.item());
            // Not `offer`: a thread that waits is no continuation of the one that runs.
            light_fence();
            if p.attention() & p::HUNGRY != 0 {
                sched.publish(p);
            }
        }
        None => {
            sched.injector.push(m.item());
            sched.wake_one();
        }
    }
}
