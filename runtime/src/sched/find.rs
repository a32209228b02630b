//! F7. What a P runs next.
//!
//! # The order
//!
//! 1. What anybody asked of the P (`attention`).
//! 2. Every 61st turn: the timers, the inbox from other threads, and whoever's turn it is among: the
//!    injector, what this P and the others have published and nobody has taken, its oldest continuation,
//!    the FIFO, the M's inbox. So nothing starves behind goroutines that keep readying one another. (Of the
//!    injector a share is taken; the others of it wait in the FIFO. While somebody is in a next slot, and so
//!    has a slice to inherit, the last three wait for the slice's end.)
//!    A chain of spawns, each child run at once, gives way at such a turn if anybody else waits: the child
//!    that was to run joins the FIFO, its parent is next (`parent_is_next`), so that the chain collapses as
//!    fast as it grows. While nobody waits, children and parents run in the order of plain calls.
//! 3. The next slots: the goroutine just readied. It inherits the slice of who readied it; a slice that
//!    is over (sysmon's bit) sends it to the tail of the FIFO, with the oldest continuation.
//!    For as long again, goroutines that have had no turn go before everybody else: a goroutine that
//!    spawns in a loop, on a thread that it is bound to, shares its time equally with its children.
//! 4. In turn: the FIFO, the M's own inbox, the continuations. Each is first at least every fourth turn.
//! 5. The shared parts of the P's queues, the injector, due timers; then other Ps (`search`).
//!
//! A slice begins whenever a goroutine comes from a queue (4, 5): `counters.slices` tells sysmon.

use std::sync::atomic::Ordering;

use super::Sched;
use super::ready::item_of;
use crate::g::{G, GRef};
use crate::m::M;
use crate::p::{self, P};
use crate::queue::Item;
use crate::sys::clock;
use crate::util::list::Kind;

/// Every so many turns the P looks beyond its own queues first. Prime, as Go's, so that it falls into
/// step with no pattern of the program's.
const LOOK_AROUND: u64 = 61;

#[inline(always)]
fn is_look(turn: u64) -> bool {
    turn % LOOK_AROUND == LOOK_AROUND - 1
}

/// For so long those that have had no turn go first, after a slice was used up.
const SLICE_NS: u64 = 10_000_000;

/// What `find` has found.
#[must_use]
#[derive(Debug)]
pub(crate) enum Found {
    /// Run it.
    Run(GRef),
    /// What was found was not there any more: look again.
    Stale,
    /// The P was given to somebody else.
    GaveUp,
    /// Nothing, anywhere.
    Nothing,
}

impl Sched {
    /// What shall `m` run next on `p`, which it holds?
    #[inline]
    pub(crate) fn find(&'static self, m: &'static M, p: &'static P) -> Found {
        let turn = p.counters.ticks.load(Ordering::Relaxed);
        p::count(&p.counters.ticks, 1);
        let attention = p.attention();
        if attention != 0 {
            if attention & !p::HUNGRY != 0 && !self.attend(m, p) {
                return Found::GaveUp;
            }
            // It has gone on without a push since somebody went idle, or has stolen a batch.
            if attention & p::HUNGRY != 0 && p.private_len() > 1 {
                self.offer(p);
            }
        }
        if is_look(turn)
            && let Some(item) = self.look_around(m, p)
        {
            return self.begin_slice(m, p, item);
        }
        if p.local.parent_is_next.replace(false)
            && let Some(item) = p.local.conts.pop_newest()
        {
            return self.begin_slice(m, p, item);
        }
        if p.local.newcomers_until.get() != 0
            && let Some(item) = self.newcomer(p)
        {
            return self.begin_slice(m, p, item);
        }
        if let Some(g) = m.take_next() {
            return Found::Run(g);
        }
        if p.has_next()
            && let Some(item) = p.swap_next(None)
        {
            return self.found(m, p, item);
        }
        if turn % 4 == 3
            && let Some(item) = p.local.conts.pop_newest()
        {
            return self.begin_slice(m, p, item);
        }
        let fifo_first = turn.is_multiple_of(2);
        if fifo_first && let Some(item) = p.pop_fifo() {
            return self.begin_slice(m, p, item);
        }
        if let Some(g) = m.pop_local() {
            p::count(&p.counters.slices, 1);
            return Found::Run(g);
        }
        if !fifo_first && let Some(item) = p.pop_fifo() {
            return self.begin_slice(m, p, item);
        }
        if let Some(item) = p.local.conts.pop_newest() {
            return self.begin_slice(m, p, item);
        }
        match self.search(m, p) {
            Some(item) => self.begin_slice(m, p, item),
            None if m.has_bound_work() => self.find_bound(m, p),
            None => Found::Nothing,
        }
    }

    /// Is this the turn at which the P looks beyond parents and children, and is anybody there? While
    /// nobody is, parents and children run in the order of plain calls.
    #[inline(always)]
    pub(crate) fn must_look(&'static self, m: &'static M, p: &'static P) -> bool {
        is_look(p.counters.ticks.load(Ordering::Relaxed)) && self.others_wait(m, p)
    }

    #[cold]
    fn others_wait(&'static self, m: &'static M, p: &'static P) -> bool {
        p.fifo_len() != 0
            || m.has_bound_work()
            || !self.injector.is_empty()
            || p.has_shared()
            || self.next_deadline() <= clock::now_ns()
    }

    #[cold]
    fn find_bound(&'static self, m: &'static M, p: &'static P) -> Found {
        match m.take_next().or_else(|| m.pop_local()) {
            Some(g) => {
                p::count(&p.counters.slices, 1);
                Found::Run(g)
            }
            None => Found::Nothing,
        }
    }

    #[inline(always)]
    fn begin_slice(&'static self, m: &'static M, p: &'static P, item: Item) -> Found {
        p::count(&p.counters.slices, 1);
        self.found(m, p, item)
    }

    /// A goroutine to run; a fork's branch, which becomes one; or a worker whose turn it is to have the P.
    #[inline(always)]
    fn found(&'static self, m: &'static M, p: &'static P, item: Item) -> Found {
        match item.kind() {
            // SAFETY: its kind is G.
            Kind::G => Found::Run(unsafe { G::of_link(item.as_ptr()) }),
            Kind::Fork => self.take_fork(p, item).map_or(Found::Stale, Found::Run),
            Kind::M => {
                // SAFETY: its kind is M.
                self.hand_over(m, p, unsafe { M::of_item(item) });
                Found::GaveUp
            }
        }
    }

    /// The M has work: if it was the last to search, somebody else must begin (`census`).
    pub(crate) fn end_search(&'static self, m: &'static M) {
        if m.searching.replace(false) && self.census.end_search() {
            self.wake_one();
        }
    }

    /// Does what others ask of the P. False: it had to be given up.
    #[cold]
    fn attend(&'static self, m: &'static M, p: &'static P) -> bool {
        let asked = p.answer(p::SLICE | p::TIMER | p::RETIRE | p::ALARM | p::JUDGE);
        if asked & p::JUDGE != 0 {
            self.judge(p);
        }
        if asked & p::TIMER != 0 {
            self.fire_all_due(p);
        }
        if asked & p::SLICE != 0 {
            p.local.newcomers_until.set(clock::now_ns() + SLICE_NS);
            if let Some(item) = p.local.conts.pop_oldest() {
                p.push_fifo(item);
            }
            if let Some(g) = m.take_next() {
                m.push_local(g);
            }
            if let Some(item) = p.swap_next(None) {
                p.push_fifo(item);
            }
            self.offer(p);
        }
        if asked & p::ALARM != 0 && (p.private_len() != 0 || m.has_bound_work()) {
            self.rouse_keeper();
        }
        if asked & p::RETIRE != 0 && p.id as usize >= self.max_procs() {
            self.retire(m, p);
            return false;
        }
        true
    }

    /// After a slice that was used up: a goroutine that has had no turn yet, or a continuation.
    #[cold]
    fn newcomer(&'static self, p: &'static P) -> Option<Item> {
        let item = p.local.conts.pop_newest().or_else(|| self.injector.pop());
        if item.is_none() {
            p.local.newcomers_until.set(0);
        }
        item
    }

    /// Every 61st turn: who waits elsewhere?
    #[cold]
    fn look_around(&'static self, m: &'static M, p: &'static P) -> Option<Item> {
        m.absorb_remote();
        let now = clock::now_ns();
        if p.local.newcomers_until.get() <= now {
            p.local.newcomers_until.set(0);
        }
        self.fire_due(p, p, now);
        self.fire_retired(p, now);
        if p.local.newcomers_until.get() != 0 {
            return None;
        }
        // Who was just readied has what is left of a slice; where it ends is sysmon's bit's affair. Else a pair
        // that readies one another often would lose its turn sooner than one that does so seldom.
        let inherits = p.has_next() || m.has_next();
        // Each of them is first in turn, so that none hides the others.
        let first = p.counters.ticks.load(Ordering::Relaxed) / LOOK_AROUND;
        (first..first + 7).find_map(|place| match place % 7 {
            0 => self.take_injected(p),
            1 => p.shared_fifo.pop(),
            2 => p.shared_conts.pop(),
            3 if !inherits => p.local.conts.pop_oldest(),
            4 if !inherits => p.pop_fifo(),
            5 => self.steal(p),
            6 if !inherits => m.pop_local().map(item_of),
            _ => None,
        })
    }
}
