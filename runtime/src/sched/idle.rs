//! F7. Going to sleep without losing work, and waking no more Ms than there is work for.
//!
//! The counters and the proof stand in `census`; here stand the lists and the steps.
//!
//! # Invariants
//!
//! 1. A P is in the list of idle Ps, or held by an M, or retired by `set_max_procs`. `census.idle` is the
//!    length of that list.
//! 2. An M in the list of idle Ms had the word Idle when it was put there. Somebody may have won the word
//!    since (to queue it): whoever takes an M from the list wins the word first, or drops it from the
//!    list, for the winner will wake it.
//! 3. The *keeper* is the idle M that sleeps no longer than to the earliest deadline of all timers. While
//!    an M is idle and a timer is set, there is a keeper, or a P whose owner looks at the clock, or
//!    sysmon's tick finds the due timer: lateness is microseconds with an idle M, else bounded by
//!    sysmon's 10 ms.

use std::ptr;
use std::sync::atomic::{Ordering, fence};

use super::Sched;
use crate::m::M;
use crate::p::{self, P};
use crate::prim::heavy_fence;
use crate::sys::clock;

/// Idle Ps and Ms, both LIFO: what was used last is warm.
pub(crate) struct Lists {
    ps: Vec<&'static P>,
    ms: *mut M,
    /// The M that keeps the time, by its number, and until when it sleeps.
    keeper: u32,
    keeper_deadline: u64,
}

// SAFETY: the pointers are to Ms, which are never freed; the lists are under a lock.
unsafe impl Send for Lists {}

impl std::fmt::Debug for Lists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lists").field("idle_ps", &self.ps.len()).finish_non_exhaustive()
    }
}

const NOBODY: u32 = u32::MAX;

impl Lists {
    /// Empty lists, with room for every P there can be: pushing never allocates.
    pub(crate) fn new() -> Self {
        Lists {
            ps: Vec::with_capacity(crate::config::MAX_PROCS),
            ms: ptr::null_mut(),
            keeper: NOBODY,
            keeper_deadline: p::NO_DEADLINE,
        }
    }

    /// Puts an idle P into the list. The caller counts it.
    fn push_p(&mut self, p: &'static P) {
        debug_assert!(self.ps.len() < self.ps.capacity());
        self.ps.push(p);
    }

    /// Takes the P that went idle last. The caller counts it.
    fn pop_p(&mut self) -> Option<&'static P> {
        self.ps.pop()
    }

    /// Takes this one out, if it is in. The caller counts it.
    pub(crate) fn remove_p(&mut self, p: &P) -> bool {
        let place = self.ps.iter().position(|idle| ptr::eq(*idle, p));
        place.map(|place| self.ps.swap_remove(place)).is_some()
    }

    /// Puts an M that has published Idle into the list.
    fn push_m(&mut self, m: &'static M) {
        let this = ptr::from_ref(m).cast_mut();
        m.idle_prev.store(ptr::null_mut(), Ordering::Relaxed);
        m.idle_next.store(self.ms, Ordering::Relaxed);
        // SAFETY: Ms are never freed; the links are ours under the lock.
        if let Some(next) = unsafe { self.ms.as_ref() } {
            next.idle_prev.store(this, Ordering::Relaxed);
        }
        self.ms = this;
        m.in_idle_list.store(true, Ordering::Relaxed);
    }

    /// Takes an M out of the list, if it is in.
    pub(crate) fn remove_m(&mut self, m: &M) {
        if !m.in_idle_list.load(Ordering::Relaxed) {
            return;
        }
        let (next, prev) = (m.idle_next.load(Ordering::Relaxed), m.idle_prev.load(Ordering::Relaxed));
        // SAFETY: as in `push_m`.
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.idle_next.store(next, Ordering::Relaxed),
            None => self.ms = next,
        }
        // SAFETY: as in `push_m`.
        if let Some(next) = unsafe { next.as_ref() } {
            next.idle_prev.store(prev, Ordering::Relaxed);
        }
        m.in_idle_list.store(false, Ordering::Relaxed);
        if self.keeper == m.id {
            self.keeper = NOBODY;
        }
    }

    /// Takes an idle M, and wins its word (invariant 2). Leaves the keeper to the last.
    pub(crate) fn pop_m(&mut self) -> Option<&'static M> {
        let mut at = self.ms;
        let mut keeper = None;
        // SAFETY: as in `push_m`.
        while let Some(m) = unsafe { at.as_ref() } {
            at = m.idle_next.load(Ordering::Relaxed);
            if m.id == self.keeper && !at.is_null() {
                keeper = Some(m);
                continue;
            }
            self.remove_m(m);
            if m.word.try_queue() {
                return Some(m);
            }
        }
        let m = keeper?;
        self.remove_m(m);
        m.word.try_queue().then_some(m)
    }

    /// The idle M that should know of `deadline`: it sleeps longer, or nobody keeps the time.
    fn m_to_rouse(&self, deadline: u64) -> Option<&'static M> {
        if self.keeper != NOBODY && self.keeper_deadline <= deadline {
            return None;
        }
        // SAFETY: as in `push_m`.
        unsafe { self.ms.as_ref() }
    }

    /// Is any M in the list?
    pub(crate) fn has_m(&self) -> bool {
        !self.ms.is_null()
    }
}

impl Sched {
    /// There is work that somebody else could do: wakes an M for it, if one is needed. After the push;
    /// contains the fence.
    pub(crate) fn wake_one(&'static self) {
        if self.census.claim_wake() {
            self.wake_searcher();
        }
    }

    /// Wakes one M with one P, as a searcher: the caller has claimed the role for it.
    #[cold]
    fn wake_searcher(&'static self) {
        let mut lists = self.lists.lock();
        // The role is given up under the lock, if it must be: an M goes idle under the same lock, so one
        // that saw nothing before saw no later submit rely on us either (`census`).
        let Some(p) = self.take_idle_p(&mut lists) else {
            self.census.end_search();
            return;
        };
        let Some(m) = lists.pop_m() else {
            self.put_idle_p(&mut lists, p);
            self.census.end_search();
            drop(lists);
            // A P without a thread: the new M will take it.
            self.creator.ask();
            return;
        };
        let spare = lists.has_m();
        drop(lists);
        // The M is ours (we won its word) and asleep, or about to look at its P.
        m.searching.set(true);
        m.give(p);
        if !spare {
            self.creator.ask();
        }
        self.wake_sysmon();
    }

    /// Puts a P into the list of idle ones, and counts it: before it can be taken.
    pub(crate) fn put_idle_p(&self, lists: &mut Lists, p: &'static P) {
        self.census.add_idle();
        lists.push_p(p);
    }

    /// Takes a P from the list of idle ones, and counts it.
    pub(crate) fn take_idle_p(&self, lists: &mut Lists) -> Option<&'static P> {
        let p = lists.pop_p()?;
        self.census.remove_idle();
        Some(p)
    }

    /// Nothing to do: gives the P up, if it has one, and sleeps until there is one again. On return the M
    /// holds a P, or the runtime is stopping.
    pub(crate) fn idle(&'static self, m: &'static M) {
        // Read before Idle is published: whoever wins the word sets it anew.
        let searched = m.searching.replace(false);
        let released = m.let_go();
        let mut lists = self.lists.lock();
        if let Some(p) = released {
            debug_assert_eq!(p.private_len(), 0, "an idle P with private work");
            self.release_p(&mut lists, p);
        }
        m.word.set_idle();
        lists.push_m(m);
        drop(lists);
        for p in self.ps() {
            p.ask(p::HUNGRY);
        }
        if searched {
            self.census.end_search();
        }
        if self.ps_made() > 1 {
            heavy_fence();
            // Behind the fence: who goes on with a goroutine meanwhile sees the bit (`promote`).
            self.ps().for_each(Self::ask_for_forks);
        } else {
            // The only P is idle: nobody pushes private work. SeqCst: as the proof has it, for public work.
            fence(Ordering::SeqCst);
        }
        if (self.has_public_work() || m.has_bound_work()) && self.rise(m) {
            return;
        }
        self.sleep(m);
    }

    /// Is there anything that an M without work could do?
    pub(crate) fn has_public_work(&'static self) -> bool {
        !self.injector.is_empty() || self.ps().any(P::has_shared)
    }

    /// An M that has published Idle has found work: true if it has a P again. False: there is none, or
    /// somebody else has won its word; it sleeps until it is given one.
    fn rise(&'static self, m: &'static M) -> bool {
        if !m.word.try_queue() {
            return false;
        }
        let mut lists = self.lists.lock();
        lists.remove_m(m);
        if let Some(p) = self.take_idle_p(&mut lists) {
            drop(lists);
            m.hold(p);
            m.searching.set(true);
            self.census.begin_search();
            m.word.set_running();
            self.wake_sysmon();
            return true;
        }
        if m.has_bound_work() {
            // Every P is busy: wait in the queue, like a goroutine.
            drop(lists);
            self.injector.push(m.item());
            // Who held the Ps a moment ago may be going idle.
            self.wake_one();
            return false;
        }
        m.word.set_idle();
        lists.push_m(m);
        drop(lists);
        // Whoever put something into the inbox meanwhile found the word Queued and did nothing.
        m.has_bound_work() && self.rise(m)
    }

    /// Sleeps until it is given a P, keeping the time meanwhile if nobody else does.
    pub(crate) fn sleep(&'static self, m: &'static M) {
        loop {
            if self.is_stopping() {
                return;
            }
            if m.p().is_some() {
                m.word.set_running();
                return;
            }
            let deadline = self.keep_time(m);
            if m.sleep_until(deadline) {
                continue;
            }
            // A timer is due.
            if self.rise(m) {
                return;
            }
            // No P is idle: who is busy fires what is due. Ask, and look again a little later.
            for p in self.ps() {
                p.ask(p::TIMER);
            }
            m.sleep_until(clock::now_ns() + BUSY_RETRY_NS);
        }
    }

    /// Becomes the keeper, if the earliest deadline is earlier than the keeper's. Returns how long this M
    /// may sleep.
    fn keep_time(&'static self, m: &'static M) -> u64 {
        let deadline = self.next_deadline();
        let mut lists = self.lists.lock();
        if lists.keeper == m.id {
            lists.keeper = NOBODY;
        }
        // Not in the list: it has been won meanwhile, and a P is on its way.
        let in_list = m.in_idle_list.load(Ordering::Relaxed);
        let others_keep = lists.keeper != NOBODY && lists.keeper_deadline <= deadline;
        if deadline == p::NO_DEADLINE || !in_list || others_keep {
            return clock::NEVER;
        }
        lists.keeper = m.id;
        lists.keeper_deadline = deadline;
        deadline
    }

    /// The earliest deadline of all Ps.
    pub(crate) fn next_deadline(&'static self) -> u64 {
        self.ps().map(|p| p.timers.next_deadline.load(Ordering::Acquire)).min().unwrap_or(p::NO_DEADLINE)
    }

    /// A P that goes on running has set a deadline: the keeper must know if it is earlier than what it
    /// sleeps to.
    #[cold]
    pub(crate) fn rouse_keeper(&'static self) {
        let deadline = self.next_deadline();
        let m = self.lists.lock().m_to_rouse(deadline);
        if let Some(m) = m {
            m.wake();
        }
    }
}

/// How long a keeper that found every P busy waits before it looks again.
const BUSY_RETRY_NS: u64 = 1_000_000;
