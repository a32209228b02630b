//! F7. Running goroutines: the worker's loop, and what a goroutine asks for when it suspends.
//!
//! ```text
//!   schedule ── find ──> execute ── resume ──> goroutine
//!      ^                    |  ^                   |
//!      |                    |  '---- Spawn: run the child, queue this one as its continuation
//!      '-- Yield, Park -----'
//!          Finished: the parent, if it is the newest continuation; else find
//! ```
//!
//! Everything here runs on the scheduler stack with np 1, except [`switch_out`], which is the goroutine's
//! side. Nothing unwinds: the worker's thread aborts the process if anything does.

use std::ptr;
use std::sync::atomic::Ordering;

use super::Sched;
use super::find::Found;
use super::ready::{item_of, ready};
use crate::coro::{self, Action, Coro, Outcome, Wish};
use crate::g::GRef;
use crate::g::done::AfterEnd;
use crate::g::state::AfterLeaving;
use crate::g::token::Token;
use crate::m::M;
use crate::p::{self, P};
use crate::stack::{self, Class};

/// Suspends the goroutine that runs. When it returns, the goroutine runs again, perhaps on another M;
/// np is 1 still.
///
/// # Safety
///
/// `g` is the caller, on its own stack; np is 1; its status fits the action (`g::state`).
#[inline(always)]
pub(crate) unsafe fn switch_out(g: GRef, action: Action) {
    // Relaxed: the status word or the queue publishes it.
    g.saved_sp.store(coro::stack_pointer(), Ordering::Relaxed);
    // SAFETY: the caller's promise.
    while unsafe { Coro::suspend(g.coro.get(), action) } == Wish::Show {
        show_stack(g);
    }
}

/// A visitor wants to see the stack of `g`, which waits, and stays so: on the visitor's thread, whatever that
/// is. The unwinder runs on the visitor's scratch stack, so that a nearly full stack does not overflow, and
/// no further page of it is touched.
#[cold]
#[inline(never)]
fn show_stack(g: GRef) {
    // SAFETY: whoever resumes a goroutine to show its stack has left its request here, and waits for us.
    let visit = unsafe { &mut *g.visit.load(Ordering::Relaxed) };
    let scratch = visit.scratch;
    // SAFETY: the scratch stack is the visitor's, and used for nothing else meanwhile.
    unsafe {
        coro::on_stack(scratch.low(), scratch.top(), || visit.trace.take(g.slot(), Some(scratch)));
    }
}

impl Sched {
    /// Runs goroutines on the P that `m` holds, until it holds none or the runtime stops.
    pub(crate) fn schedule(&'static self, m: &'static M) {
        while let Some(p) = m.p()
            && !self.is_stopping()
        {
            match self.find(m, p) {
                Found::Run(g) => {
                    if m.searching.get() {
                        self.end_search(m);
                    }
                    self.execute(m, g);
                }
                Found::Stale => {}
                Found::GaveUp => return,
                Found::Nothing if self.linger(m, p) => {}
                Found::Nothing => self.idle(m),
            }
        }
    }

    /// Runs `g`, its new children, and the parents that they come back to.
    fn execute(&'static self, m: &'static M, mut g: GRef) {
        loop {
            if !g.free.get() && g.bound.load(Ordering::Relaxed).is_null() {
                g.bound.store(ptr::from_ref(m.head()).cast_mut(), Ordering::Relaxed);
                m.bound_count.set(m.bound_count.get() + 1);
            }
            g.state.set_running();
            g.resumes.set(g.resumes.get() + 1);
            m.g.store(ptr::from_ref(g).cast_mut(), Ordering::Relaxed);
            if g.forks.get() {
                g.pile.install();
                self.pass_hunger(m, g);
            }
            // SAFETY: it came from a queue, or is new, or is the parent that was queued: ours alone.
            let outcome = unsafe { Coro::resume(g.coro.get()) };
            if g.forks.get() {
                g.pile.save();
            }
            m.g.store(ptr::null_mut(), Ordering::Relaxed);
            // None: the runtime stops, and the goroutine was frozen without a P.
            let Some(p) = m.p() else { return };
            g = match outcome {
                Outcome::Suspended(Action::Spawn) => {
                    let child =
                        m.handed.take().expect("a goroutine that asks for Spawn hands its child over");
                    g.state.set_runnable();
                    self.push_cont(p, item_of(g));
                    if p.attention() & !(p::HUNGRY | p::JUDGE) != 0 || self.must_look(m, p) {
                        // A chain of spawns must not run on for ever: others first.
                        p.push_fifo(item_of(child));
                        p.local.parent_is_next.set(true);
                        self.offer(p);
                        return;
                    }
                    p::count(&p.counters.ticks, 1);
                    child
                }
                Outcome::Suspended(Action::Yield) => return self.requeue(m, p, g),
                Outcome::Suspended(Action::Park) => {
                    if g.state.left_stack() == AfterLeaving::Queue {
                        ready(g);
                    }
                    return;
                }
                Outcome::Suspended(Action::Stop) => return,
                Outcome::Finished => match self.finish(m, p, g) {
                    Some(parent) => parent,
                    None => return,
                },
            };
        }
    }

    /// It lets the others run first.
    #[inline(always)]
    fn requeue(&'static self, m: &'static M, p: &'static P, g: GRef) {
        g.state.set_runnable();
        if g.bound.load(Ordering::Relaxed).is_null() {
            p.push_fifo(item_of(g));
            self.offer(p);
        } else {
            m.push_local(g);
        }
    }

    /// It has ended and its stack is left: tells whoever joins, frees the slot or leaves it to the
    /// handle's owner. Returns its parent, if that is what runs next.
    #[inline(always)]
    fn finish(&'static self, m: &'static M, p: &'static P, g: GRef) -> Option<GRef> {
        g.state.set_dead();
        g.unpark.end_life();
        // Release: pairs with the Acquire in `living`.
        let ended = &p.counters.ended;
        ended.store(ended.load(Ordering::Relaxed) + 1, Ordering::Release);
        if !g.bound.load(Ordering::Relaxed).is_null() {
            g.bound.store(ptr::null_mut(), Ordering::Relaxed);
            m.bound_count.set(m.bound_count.get() - 1);
        }
        if let Some(parent) = self.take_waiting_parent(m, p, g) {
            g.done.finish_unseen();
            return Some(parent);
        }
        match g.done.finish() {
            AfterEnd::Nothing => {}
            AfterEnd::Free => free_slot(p, g),
            AfterEnd::Wake(waiter) => {
                // SAFETY: a joiner registered the address of its token, in a frame that stays until the
                // wake (`g::done`, invariant 3); it is read before.
                let token = unsafe { waiter.cast::<Token>().read() };
                if token.claim()
                    && let Some(joiner) = token.make_ready()
                {
                    ready(joiner);
                }
            }
        }
        None
    }

    /// The parent, if it is the newest continuation and has not run since the spawn: then it does not
    /// have the handle yet, and nobody else has. Not if anybody asks for the P, or was readied.
    #[inline(always)]
    fn take_waiting_parent(&'static self, m: &'static M, p: &'static P, g: GRef) -> Option<GRef> {
        let parent = g.parent.get();
        if parent.is_null() || p.attention() & !p::HUNGRY != 0 || p.has_next() || self.must_look(m, p) {
            return None;
        }
        let newest = p.local.conts.pop_newest()?;
        if ptr::eq(newest.as_ptr().cast_const().cast(), parent) {
            // SAFETY: the item is that of the parent, a G.
            let parent = unsafe { crate::g::G::of_link(newest.as_ptr()) };
            if parent.resumes.get() == g.parent_resumes.get() {
                p::count(&p.counters.ticks, 1);
                return Some(parent);
            }
        }
        p.local.conts.push(newest).expect("it was there a moment ago");
        None
    }
}

/// Gives the slot of an ended goroutine back, on a worker that holds `p`.
#[inline(always)]
pub(crate) fn free_slot(p: &'static P, g: GRef) {
    let slot = g.slot();
    if slot.class() == Class::DEFAULT {
        // SAFETY: the caller owns `p` and the slot (`g::done`, invariant 1).
        unsafe { (*p.local.stacks.get()).put(slot) };
    } else {
        // SAFETY: the caller owns the slot.
        unsafe { stack::free(slot) };
    }
}
