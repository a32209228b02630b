//! F7. Giving a P to another M.
//!
//! A goroutine that is bound to a thread is never moved; the P is moved to the thread instead. Here are
//! two ways in which an M parts with its P while it has goroutines of its own:
//!
//! - [`hand_over`](Sched::hand_over): a worker's turn has come in the queue.
//! - [`freeze`](Sched::freeze): the M sleeps with a goroutine on top of it, which no other thread may go
//!   on with. While it panics, std's panic count belongs to the thread.

use std::ptr;
use std::sync::atomic::Ordering;

use super::Sched;
use super::ready::queue_m;
use super::run::switch_out;
use crate::coro::Action;
use crate::g::GRef;
use crate::g::state::AfterLeaving;
use crate::m::M;
use crate::p::{self, P};
use crate::sys::clock;

impl Sched {
    /// Gives `p`, which `m` holds, to `to`, whose word is Queued. Afterwards `m` holds none; if goroutines
    /// of its own are ready, it has queued itself first.
    pub(crate) fn hand_over(&'static self, m: &'static M, p: &'static P, to: &'static M) {
        if ptr::eq(m, to) {
            // Its own turn: it keeps the P.
            m.word.set_running();
            return;
        }
        self.end_search(m);
        if m.has_bound_work() {
            m.word.set_queued();
            p.push_fifo(m.item());
        }
        m.let_go();
        to.give(p);
    }

    /// The M sleeps beneath the goroutine that runs on it, until that is made ready (`parking`) or its
    /// turn comes round (else: a yield). np is 1, the caller is the goroutine. Returns with a P.
    #[cold]
    pub(crate) fn freeze(&'static self, m: &'static M, g: GRef, parking: bool) {
        // Release: whoever makes it ready sees where it is (Acquire in `ready::is_frozen`).
        g.frozen.store(ptr::from_ref(m.head()).cast_mut(), Ordering::Release);
        let bound = g.bound.swap(ptr::from_ref(m.head()).cast_mut(), Ordering::Release);
        m.word.set_frozen();
        self.pass_on(m);
        if !parking || g.state.left_stack() == AfterLeaving::Queue {
            // Ready already: it waits for its turn only.
            if m.word.try_thaw() {
                queue_m(m);
            }
        }
        let p = loop {
            if self.is_stopping() {
                // SAFETY: the caller is the goroutine, np is 1; nobody will resume it.
                unsafe { switch_out(g, Action::Stop) };
            }
            if let Some(p) = m.p() {
                break p;
            }
            m.sleep_until(clock::NEVER);
        };
        // It runs again: sysmon and the deadlock check see it by this.
        p::count(&p.counters.ticks, 1);
        m.word.set_running();
        g.state.set_running();
        g.bound.store(bound, Ordering::Relaxed);
        g.frozen.store(ptr::null_mut(), Ordering::Relaxed);
        // The P is another one, perhaps: its next fork asks who is hungry.
        g.pile.ask();
    }

    /// Gives the P of `m` to an idle M; without one, its work to the others and the P to the idle ones.
    fn pass_on(&'static self, m: &'static M) {
        let Some(p) = m.let_go() else { return };
        let mut lists = self.lists.lock();
        if let Some(other) = lists.pop_m() {
            let spare = lists.has_m();
            drop(lists);
            other.give(p);
            if !spare {
                self.creator.ask();
            }
            return;
        }
        drop(lists);
        self.drain(p);
        self.release_p(&mut self.lists.lock(), p);
        self.creator.ask();
        self.wake_one();
    }
}
