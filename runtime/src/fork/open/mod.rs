//! F9h. A fork that is not the usual one: why, and where it goes on.
//!
//! The hot path comes here where `head >= limit` (`pile`, invariant 4): the first fork of a goroutine, a chunk that
//! is full, a request for work, or a thread that is no goroutine.

use std::ptr;

#[cfg(not(target_arch = "x86_64"))]
mod plain;
#[cfg(not(target_arch = "x86_64"))]
use plain as arch;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

use super::chunk;
use crate::cur::NoPreempt;
use crate::g::GRef;
use crate::m::M;
use crate::p::P;
use crate::park;
use crate::sched::Sched;
use crate::sched::promote::Polled;
use crate::util::abort::fatal;

/// See [`open`]. On the hot path it costs no register.
#[inline(always)]
pub(super) fn call_open() -> usize {
    arch::call_open()
}

/// The address of the job of a branch (`record`), which costs no register either.
#[inline(always)]
pub(super) fn address_of<B, RB>() -> usize
where
    B: FnOnce() -> RB,
{
    arch::address_of::<B, RB>()
}

/// What `open` says beside the head, in the bits that a record's address has not.
pub(super) const FOREIGN: usize = 1;
pub(super) const FULL: usize = 2;
pub(super) const OFFER_THIS: usize = 4;
pub(super) const NO_MEMORY: usize = 8;

/// A fork whose head is not below its limit: why? Returns where to push; with bits if more is to be done.
/// Does not unwind, nor suspend.
#[cold]
#[inline(never)]
extern "C" fn open() -> usize {
    let _section = NoPreempt::enter();
    let Some((p, g)) = here() else { return FOREIGN };
    let sched = M::current().map(Sched::of_m).expect("a goroutine runs on an M");
    if !g.pile.has_chunk() {
        let Some(chunk) = free_chunk(p) else { return NO_MEMORY };
        g.pile.begin(chunk, ptr::from_ref(g).cast());
        g.forks.set(true);
    }
    let mut bits = 0;
    if g.pile.is_full() {
        if g.pile.spare().is_none() {
            let Some(chunk) = free_chunk(p) else { return NO_MEMORY };
            g.pile.add_spare(chunk, ptr::from_ref(g).cast());
        }
        bits |= FULL;
    }
    if sched.poll_forks(p, g) == Polled::OfferThis {
        bits |= OFFER_THIS;
    }
    g.pile.head() | bits
}

/// The calling goroutine and its P. np is 1. `None` on a thread that is no worker.
pub(super) fn here() -> Option<(&'static P, GRef)> {
    let m = M::current()?;
    let (Some(p), Some(g)) = (m.p(), park::current_g()) else { fatal("a fork where no goroutine runs") };
    Some((p, g))
}

fn free_chunk(p: &'static P) -> Option<*mut chunk::Chunk> {
    // SAFETY: the caller owns `p`, in a no-preempt section.
    unsafe { (*p.local.chunks.get()).take() }.or_else(chunk::from_pool)
}
