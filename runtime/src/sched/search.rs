//! F7. Taking work from others.
//!
//! # Who searches
//!
//! An M whose P has nothing left, and at most half as many Ms as there are busy Ps: more of them only get
//! in each other's way. It passes over all other Ps in random order (each once), takes half of what one
//! has published, and raises `HUNGRY` where it sees work that is not published. Then it looks a few times
//! more, with pauses, for waking costs more than that; then it gives up and sleeps (`idle`).
//!
//! # Rejected
//!
//! crossbeam-deque for the shared part: see `queue::shared`. Its steals pin crossbeam-epoch, which now
//! and then runs any crate's deferred destructors; they would have to run on a goroutine of their own,
//! for nothing may allocate on the scheduler's stack. Ours allocates and runs nothing, so an M steals
//! where it stands.
#![forbid(unsafe_code)]

use super::Sched;
use crate::m::M;
use crate::p::{self, P};
use crate::queue::Item;
use crate::sys::clock;
use crate::util::order::VictimOrder;

/// Passes over the others before an M gives up.
const PASSES: u32 = 24;

/// Pauses between two passes grow to so many spins.
const MAX_SPINS: u32 = 64;

/// At most so many items are taken from the injector at once.
const MAX_BATCH: usize = 64;

impl Sched {
    /// Work for `p` from beyond its private queues; the rest of a batch goes to its private queues.
    #[cold]
    #[inline(never)]
    pub(crate) fn search(&'static self, m: &'static M, p: &'static P) -> Option<Item> {
        if let Some(item) = self.take_public(p) {
            return Some(item);
        }
        if !self.may_search(m) {
            return None;
        }
        for pass in 0..PASSES {
            if let Some(item) = self.steal(p).or_else(|| self.take_public(p)) {
                return Some(item);
            }
            if m.has_bound_work() || self.is_stopping() || p.attention() & p::RETIRE != 0 {
                return None;
            }
            for _ in 0..(1 << pass.min(6)).min(MAX_SPINS) {
                std::hint::spin_loop();
            }
        }
        None
    }

    /// May `m` become a searcher, or is it one?
    fn may_search(&'static self, m: &'static M) -> bool {
        if m.searching.get() {
            return true;
        }
        let procs = self.max_procs() as u32;
        let busy = procs.saturating_sub(self.census.idle());
        if procs == 1 || self.census.searching() * 2 >= busy {
            return false;
        }
        m.searching.set(true);
        self.census.begin_search();
        true
    }

    /// From the shared part of `p`'s own queues, the injector, and the timers.
    fn take_public(&'static self, p: &'static P) -> Option<Item> {
        if let Some(item) = p.shared_fifo.pop().or_else(|| p.shared_conts.pop()) {
            return Some(item);
        }
        if let Some(item) = self.take_injected(p) {
            return Some(item);
        }
        if self.next_deadline() <= clock::now_ns() {
            self.fire_all_due(p);
            return p.swap_next(None).or_else(|| p.pop_fifo());
        }
        None
    }

    /// A fair share of the injector: one to run, the others to the FIFO.
    pub(super) fn take_injected(&'static self, p: &'static P) -> Option<Item> {
        if self.injector.is_empty() {
            return None;
        }
        let share = (self.injector.len() / self.max_procs() + 1).min(MAX_BATCH);
        let mut first = None;
        self.injector.pop_batch(share, |item| match first {
            None => first = Some(item),
            Some(_) => p.push_fifo(item),
        });
        if p.fifo_len() != 0 {
            self.offer(p);
        }
        first
    }

    /// One pass over the other Ps.
    pub(crate) fn steal(&'static self, p: &'static P) -> Option<Item> {
        for victim in VictimOrder::new(self.ps_made(), &p.local.rng) {
            let victim = self.p(victim);
            if std::ptr::eq(victim, p) {
                continue;
            }
            if let Some(item) = Self::steal_from(p, victim) {
                return Some(item);
            }
            if victim.private_len() > 0 {
                victim.ask(p::HUNGRY);
            }
            Self::ask_for_forks(victim);
        }
        None
    }

    /// Half of what `victim` has published: first woken goroutines, then continuations.
    fn steal_from(p: &'static P, victim: &'static P) -> Option<Item> {
        let mut first = None;
        let mut count = victim.shared_fifo.steal_half(MAX_BATCH, &mut |item| match first {
            None => first = Some(item),
            Some(_) => p.push_fifo(item),
        });
        if first.is_none() {
            let room = p.local.conts.room().min(MAX_BATCH);
            count = victim.shared_conts.steal_half(room.max(1), &mut |item| match first {
                None => first = Some(item),
                Some(_) => p.local.conts.push(item).expect("there was room"),
            });
        }
        p::count(&p.counters.stolen, count as u64);
        first
    }
}
