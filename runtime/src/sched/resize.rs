//! F7. Changing GOMAXPROCS while the program runs.
//!
//! The array of Ps is fixed at start, the Ps in it are made on demand and stay. A P whose number is not
//! below GOMAXPROCS is *retired*: it drains its queues to the injector at its next turn, and nobody takes
//! it. Its timers stay where they are, since waiters know them there; whoever looks at timers looks at
//! those of retired Ps too (`timers`).
//!
//! # Invariants
//!
//! 1. A P is held by an M, or in the list of idle Ps, or *floating* (`P::floating`): retired and nobody's.
//!    Which of the last two is decided under the lists' lock, where `max_procs` changes too; so growing
//!    again finds every P that floats, and one that is still held simply goes on.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::Sched;
use super::idle::Lists;
use crate::cur::NoPreempt;
use crate::m::M;
use crate::p::{self, P};

impl Sched {
    /// GOMAXPROCS.
    #[inline(always)]
    pub(crate) fn max_procs(&self) -> usize {
        self.max_procs.load(Ordering::Relaxed)
    }

    /// Changes it; returns what it was. On a goroutine or a foreign thread: it allocates.
    pub(crate) fn set_max_procs(&'static self, procs: usize) -> usize {
        let before;
        {
            let mut lists = self.lists.lock();
            before = self.max_procs();
            self.max_procs.store(procs, Ordering::SeqCst);
            for id in procs..self.ps_made() {
                self.let_float(&mut lists, self.p(id));
            }
            for id in before..procs.min(self.ps_made()) {
                let p = self.p(id);
                p.answer(p::RETIRE);
                if p.floating.swap(false, Ordering::Relaxed) {
                    self.put_idle_p(&mut lists, p);
                }
            }
        }
        self.make_ps(procs);
        let _section = NoPreempt::enter();
        self.wake_one();
        before
    }

    /// A P that is retired: out of the list of idle Ps, or asked to come through.
    fn let_float(&'static self, lists: &mut Lists, p: &'static P) {
        if lists.remove_p(p) {
            self.census.remove_idle();
            p.flush_stacks();
            p.floating.store(true, Ordering::Relaxed);
        } else if !p.floating.load(Ordering::Relaxed) {
            p.ask(p::RETIRE);
        }
    }

    /// The P of `m` is retired: its work goes to the others. `m` holds none afterwards.
    pub(crate) fn retire(&'static self, m: &'static M, p: &'static P) {
        self.drain(p);
        self.end_search(m);
        m.let_go();
        self.release_p(&mut self.lists.lock(), p);
        // Only now: who finds the M in the queue gives it a P at once.
        if m.has_bound_work() {
            m.word.set_queued();
            self.injector.push(m.item());
        }
        self.wake_one();
    }

    /// A P that its M has let go: idle, or floating if it is retired.
    pub(crate) fn release_p(&'static self, lists: &mut Lists, p: &'static P) {
        if (p.id as usize) < self.max_procs() {
            self.put_idle_p(lists, p);
        } else {
            p.floating.store(true, Ordering::Relaxed);
        }
    }
}
