//! F7. What a P offers to others, and when.
//!
//! # The rule
//!
//! Nothing is published until somebody is hungry (`P`'s bit `HUNGRY`: a P is idle, or an M searches).
//! Then the *oldest* half of each private queue goes to the shared part, where thieves take it, and one M
//! is woken if nobody searches. A push costs 1 ns until then.
//!
//! # The lone item
//!
//! A single queued item is often the continuation of the very goroutine that runs: a loop that spawns a
//! short goroutine and joins it, a pair that plays ping-pong. To publish it would wake a thread for
//! 6 µs, to do what this one does in 10 ns. But it may also be half of all the work. So a lone item is
//! published on trial: if the goroutine that runs gives the P back within [`WORTH_NS`], the trial was in
//! vain, and the next 1, 2, 4, ... 65,536 lone items are kept private; if it runs longer, the trial was
//! right and the next lone item goes out at once. sysmon's signal publishes what a P keeps to itself
//! while it makes no call, and resets the patience: a lone item waits 2 ms at worst.

use super::Sched;
use crate::p::{self, P};
use crate::prim::light_fence;
use crate::queue::{Item, List};
use crate::sys::clock;

/// How long a goroutine must run on for the publication of what waited behind it to be worth a wake.
const WORTH_NS: u64 = 5_000;

/// The longest patience: so many lone items in a row stay private.
const MAX_PATIENCE: u32 = 1 << 16;

impl Sched {
    /// After a private push: does anybody want it? Owner of `p`, np 1.
    #[inline(always)]
    pub(crate) fn offer(&'static self, p: &'static P) {
        // Pairs with the heavy fence in `idle`: either we see the bit, or who sleeps sees the push.
        light_fence();
        if p.attention() & p::HUNGRY != 0 {
            self.offer_slow(p);
        }
    }

    #[cold]
    #[inline(never)]
    fn offer_slow(&'static self, p: &'static P) {
        if self.max_procs() == 1 {
            // Nobody else has a P. (Who gets one later searches, and asks again.)
            p.answer(p::HUNGRY);
            return;
        }
        if !self.census.is_hungry() {
            p.answer(p::HUNGRY);
            if !self.census.is_still_hungry() {
                return;
            }
            p.ask(p::HUNGRY);
        }
        let lone = p.local.conts.len() + p.fifo_len() == 1;
        if lone {
            let patience = p.local.patience.get();
            if patience > 0 {
                p.local.patience.set(patience - 1);
                return;
            }
            p.local.trial_since.set(clock::now_ns());
            p.ask(p::JUDGE);
        }
        self.publish(p);
    }

    /// Moves the oldest half of what `p` keeps to where others can take it; wakes one of them. Owner of
    /// `p`, np 1 (or its signal handler, np 0).
    pub(crate) fn publish(&'static self, p: &'static P) {
        let mut moved =
            p.local.conts.drain_oldest(p.local.conts.len().div_ceil(2).min(p.shared_conts.room()), |item| {
                p.shared_conts.push(item).expect("there was room, and only the owner fills it")
            });
        let fifo = p.fifo_len().div_ceil(2).min(p.shared_fifo.room());
        for _ in 0..fifo {
            let item = p.pop_fifo().expect("its length said so");
            p.shared_fifo.push(item).expect("there was room, and only the owner fills it");
            moved += 1;
        }
        p::count(&p.counters.published, moved as u64);
        if moved > 0 {
            self.wake_one();
        }
    }

    /// The signal handler's part: the owner makes no call. Publishes the next slot, too.
    pub(crate) fn publish_all(&'static self, p: &'static P) {
        p.local.patience.set(0);
        p.local.next_patience.set(1);
        if let Some(item) = p.swap_next(None) {
            p.push_fifo(item);
        }
        self.publish(p);
    }

    /// The P has come through the scheduler after a trial: was it worth it?
    pub(crate) fn judge(&'static self, p: &'static P) {
        if clock::now_ns().saturating_sub(p.local.trial_since.get()) >= WORTH_NS {
            p.local.next_patience.set(1);
        } else {
            let patience = p.local.next_patience.get();
            p.local.patience.set(patience);
            p.local.next_patience.set((patience * 2).min(MAX_PATIENCE));
        }
    }

    /// Queues a new goroutine or a continuation: newest run first, oldest stolen first. Owner, np 1.
    #[inline(always)]
    pub(crate) fn push_cont(&'static self, p: &'static P, item: Item) {
        if let Err(item) = p.local.conts.push(item) {
            self.overflow(p, item);
        }
        self.offer(p);
    }

    /// The ring is full: its older half goes to the injector, in one piece.
    #[cold]
    fn overflow(&'static self, p: &'static P, item: Item) {
        let mut batch = List::new();
        p.local.conts.drain_oldest(p.local.conts.len() / 2, |item| batch.push_back(item));
        self.injector.push_batch(batch);
        p.local.conts.push(item).expect("half of it is empty now");
        self.wake_one();
    }

    /// Moves everything private to the injector: the P is about to have no owner. Owner, np 1.
    pub(crate) fn drain(&'static self, p: &'static P) {
        let mut batch = List::new();
        if let Some(item) = p.swap_next(None) {
            batch.push_back(item);
        }
        while let Some(item) = p.pop_fifo() {
            batch.push_back(item);
        }
        p.local.conts.drain_oldest(usize::MAX, |item| batch.push_back(item));
        while let Some(item) = p.shared_fifo.pop() {
            batch.push_back(item);
        }
        while let Some(item) = p.shared_conts.pop() {
            batch.push_back(item);
        }
        p.flush_stacks();
        if !batch.is_empty() {
            self.injector.push_batch(batch);
            self.wake_one();
        }
    }
}
