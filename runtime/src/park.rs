//! F8. Waiting and waking: the only blocking primitive.
//!
//! # How a wait works
//!
//! [`wait`] begins a wait of the caller, a goroutine or a foreign thread, hands its [`Token`] to a closure
//! that publishes it (puts it into a channel's queue, say), and sleeps until somebody ends the wait, or
//! the deadline passes. Who ends it: [`Token::claim`], which exactly one of all wakers wins; the winner
//! may write into the waiter's frame; then [`make_ready`]. (`waiter` makes a safe interface of this, for
//! primitives in other crates.)
//!
//! # Invariants
//!
//! 1. From the beginning of a wait to the switch, the goroutine is in a no-preempt section. The closure
//!    must not suspend, allocate or run foreign code while it holds a lock of gort's.
//! 2. A wait that has begun ends in one of three ways: not published (the closure said no), claimed by a
//!    waker, claimed by the deadline. The frame of the waiter stays until then.
//! 3. A goroutine that panics does not leave its thread: std's panic count belongs to the thread. The
//!    thread sleeps beneath it, the P goes on (`sched::handoff`).
//! 4. A timed wait takes its timer out of the heap before it returns (`timer::entry`, invariant 1).

use std::cell::Cell;
use std::sync::atomic::Ordering;

use crate::coro::Action;
use crate::cur::NoPreempt;
use crate::g::GRef;
use crate::g::token::{ThreadParker, Token, Waiting};
use crate::g::wait::WaitFor;
use crate::m::M;
use crate::p::{self, P};
use crate::sched::Sched;
use crate::sched::ready::ready;
use crate::sched::run::switch_out;
use crate::sched::timers::update_deadline;
use crate::sys::clock::NEVER;
use crate::timer::entry::TimedWait;
use crate::timer::heap::{Heap, Key};
use crate::util::abort::fatal;

/// How a wait ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Somebody claimed it and made it ready.
    Ready,
    /// The deadline passed first.
    TimedOut,
    /// The closure did not publish it.
    Unpublished,
}

/// Ends a wait that the caller has claimed: the waiter goes on.
pub(crate) fn make_ready(token: Token) {
    if let Some(g) = token.make_ready() {
        ready(g);
    }
}

/// The goroutine that runs on this thread. `None` on a foreign thread, and on a scheduler stack.
#[inline(always)]
pub(crate) fn current_g() -> Option<GRef> {
    let m = M::current()?;
    // SAFETY: null or a G, which is type-stable. Relaxed: this thread's own word.
    unsafe { m.g.load(Ordering::Relaxed).as_ref() }
}

/// The number of the goroutine that runs on this thread; 0 if there is none.
pub(crate) fn current_id() -> u64 {
    current_g().map_or(0, |g| g.id())
}

/// Begins a wait, publishes its token by `publish`, and sleeps until it is ended or `deadline_ns` (of the
/// monotonic clock; `NEVER`: none). `publish` says whether to wait at all; if not, and somebody has the token
/// and claims it all the same, the wait is on.
#[inline]
pub(crate) fn wait<'a>(
    wait_for: impl Into<WaitFor<'a>>,
    deadline_ns: u64,
    publish: impl FnOnce(Token) -> bool,
) -> Woken {
    match current_g() {
        Some(g) => wait_goroutine(g, wait_for.into(), deadline_ns, publish),
        None => wait_thread(deadline_ns, publish),
    }
}

#[inline]
fn wait_goroutine(
    g: GRef,
    wait_for: WaitFor<'_>,
    deadline_ns: u64,
    publish: impl FnOnce(Token) -> bool,
) -> Woken {
    let section = if deadline_ns == NEVER { NoPreempt::enter() } else { timer_section() };
    wait_goroutine_in(section, g, wait_for, deadline_ns, publish)
}

/// If there is a deadline, the P's heap has room for its timer (`timer_section`).
#[inline(always)]
fn wait_goroutine_in(
    section: NoPreempt,
    g: GRef,
    wait_for: WaitFor<'_>,
    deadline_ns: u64,
    publish: impl FnOnce(Token) -> bool,
) -> Woken {
    let timer = TimerSlot::default();
    g.set_wait(wait_for);
    let ticket = g.state.begin_park();
    let published = publish(Token::new(Waiting::Goroutine(g), ticket));
    if !published && g.state.try_cancel_park(ticket) {
        return Woken::Unpublished;
    }
    // (Not published, and yet somebody had the token and has claimed it: they will make us ready.)
    let timed = published && deadline_ns != NEVER;
    if timed {
        // SAFETY: the timer leaves its heap in `disarm` below, before its flag dies.
        timer.arm(deadline_ns, unsafe { TimedWait::new(g, ticket, &timer.timed_out) });
    }
    suspend_in(section, g, Action::Park);
    if timed && timer.disarm() { Woken::TimedOut } else { Woken::Ready }
}

/// Leaves the stack for `action`, unless the wait is over already, or a panic keeps the goroutine on its
/// thread. Ends the section.
#[inline(always)]
fn suspend_in(section: NoPreempt, g: GRef, action: Action) {
    if section.is_nested() {
        fatal("a goroutine suspends where it must not (while it publishes a waker)");
    }
    // The section's guard would restore np on the thread that we are on afterwards: do it by hand.
    std::mem::forget(section);
    if g.pile.has_records() && action != Action::Stop {
        promote_all(g);
    }
    if std::thread::panicking() && action != Action::Stop {
        stay_on_thread(g, action == Action::Park);
    } else if action == Action::Park && g.state.try_unpark_self() {
        // The waker was faster than the switch.
    } else {
        // SAFETY: this is the goroutine's own stack, np is 1, the status fits (Parking or Running).
        unsafe { switch_out(g, action) };
    }
    // Perhaps another M: read again.
    M::current().expect("a goroutine runs on an M").head().set_np(0);
}

/// What it would run itself, had it gone on, others run while it waits: they may be what it waits for.
#[cold]
fn promote_all(g: GRef) {
    let m = M::current().expect("a goroutine runs on an M");
    let p = m.p().expect("a running goroutine's M holds a P");
    Sched::of_m(m).promote_all(p, g);
}

#[cold]
fn stay_on_thread(g: GRef, parking: bool) {
    let m = M::current().expect("a goroutine runs on an M");
    Sched::of_m(m).freeze(m, g, parking);
}

/// As [`wait`], in a section that the caller has entered, with locks of gort's held that `publish` frees, or
/// the drop of `publish`. As nothing allocates beneath a lock, it may find that it cannot wait yet: then
/// `publish` is dropped, the section left, room made, and the answer is `Unpublished`.
#[inline]
pub(crate) fn wait_in<'a>(
    section: NoPreempt,
    wait_for: impl Into<WaitFor<'a>>,
    deadline_ns: u64,
    publish: impl FnOnce(Token),
) -> Woken {
    let Some(g) = current_g() else { return wait_thread_in(deadline_ns, publish) };
    if deadline_ns != NEVER && timer_room().is_err() {
        drop(publish);
        drop(section);
        drop(timer_section());
        return Woken::Unpublished;
    }
    wait_goroutine_in(section, g, wait_for.into(), deadline_ns, |token| {
        publish(token);
        true
    })
}

#[cold]
fn wait_thread_in(deadline_ns: u64, publish: impl FnOnce(Token)) -> Woken {
    let Some(parker) = ThreadParker::try_acquire() else {
        drop(publish);
        ThreadParker::acquire().release();
        return Woken::Unpublished;
    };
    wait_on(parker, deadline_ns, |token| {
        publish(token);
        true
    })
}

fn wait_thread(deadline_ns: u64, publish: impl FnOnce(Token) -> bool) -> Woken {
    wait_on(ThreadParker::acquire(), deadline_ns, publish)
}

fn wait_on(parker: &'static ThreadParker, deadline_ns: u64, publish: impl FnOnce(Token) -> bool) -> Woken {
    let ticket = parker.begin(deadline_ns == NEVER);
    let published = publish(Token::new(Waiting::Thread(parker), ticket));
    let woken = if !published && parker.state.try_cancel_park(ticket) {
        Woken::Unpublished
    } else if parker.sleep(ticket, if published { deadline_ns } else { NEVER }) {
        Woken::Ready
    } else {
        Woken::TimedOut
    };
    parker.release();
    woken
}

/// Lets the others run. On a foreign thread: the operating system's yield.
#[inline]
pub(crate) fn yield_current() {
    match current_g() {
        Some(g) => suspend_in(NoPreempt::enter(), g, Action::Yield),
        #[expect(clippy::disallowed_methods, reason = "a foreign thread yields as threads do")]
        None => std::thread::yield_now(),
    }
}

/// A call after which the goroutine may give way (`spawn`): does so, if others ask it to. Also where a
/// stopped runtime's goroutines end up.
#[inline(always)]
pub(crate) fn checkpoint() {
    const REASONS: u32 = p::SLICE | p::STOP | p::TIMER | p::RETIRE;
    let section = NoPreempt::enter();
    let asked = M::current().and_then(M::p).map_or(0, P::attention) & REASONS;
    drop(section);
    if asked != 0 {
        checkpoint_slow(asked);
    }
}

/// A call after which a goroutine does not give way, for its caller may hold a lock of std's, on which the
/// next goroutine of the same thread would block (`unpark`): only stops, if the runtime has stopped.
#[inline(always)]
pub(crate) fn stop_point() {
    let section = NoPreempt::enter();
    let asked = M::current().and_then(M::p).map_or(0, P::attention) & p::STOP;
    drop(section);
    if asked != 0 {
        checkpoint_slow(asked);
    }
}

#[cold]
#[inline(never)]
fn checkpoint_slow(asked: u32) {
    if asked & p::STOP != 0 {
        stop_current();
    } else {
        yield_current();
    }
}

/// The caller, a goroutine of a runtime that has stopped, ends up here: it does not return.
#[cold]
pub(crate) fn stop_current() {
    if let Some(g) = current_g() {
        suspend_in(NoPreempt::enter(), g, Action::Stop);
    }
}

/// The timer of one wait: lies in the waiter's frame.
#[derive(Default)]
struct TimerSlot {
    timed_out: Cell<bool>,
    place: Cell<Option<(&'static P, Key)>>,
}

impl TimerSlot {
    /// Sets the timer on the P that the caller is on. np is 1, and there is room (`timer_section`).
    fn arm(&self, deadline_ns: u64, wait: TimedWait) {
        let m = M::current().expect("a goroutine runs on an M");
        let p = m.p().expect("a running goroutine's M holds a P");
        let mut heap = p.timers.heap.lock();
        let key = heap.insert(deadline_ns, wait);
        self.place.set(Some((p, key)));
        update_deadline(p, &heap);
        let earliest = heap.next_deadline() == Some(deadline_ns);
        drop(heap);
        if earliest && Sched::of_m(m).census.idle() != 0 {
            p.ask(p::ALARM);
        }
    }

    /// Takes it out again. True if it has fired and won.
    fn disarm(&self) -> bool {
        if self.timed_out.get() {
            return true;
        }
        if let Some((p, key)) = self.place.take() {
            let mut heap = p.timers.heap.lock();
            if heap.remove(key).is_some() {
                update_deadline(p, &heap);
            }
        }
        false
    }
}

/// Has the heap of the caller's P room for one more timer? If not, its capacity. np is 1.
fn timer_room() -> Result<(), usize> {
    let m = M::current().expect("a goroutine runs on an M");
    let p = m.p().expect("a running goroutine's M holds a P");
    let heap = p.timers.heap.lock();
    if heap.has_room() { Ok(()) } else { Err(heap.capacity()) }
}

/// A no-preempt section on a P whose heap has room for one more timer. Growing allocates, which must not
/// happen under the heap's lock: the bigger heap is made outside.
fn timer_section() -> NoPreempt {
    loop {
        let section = NoPreempt::enter();
        let Err(capacity) = timer_room() else { return section };
        drop(section);
        let bigger = Heap::with_capacity(capacity * 2);
        let section = NoPreempt::enter();
        let m = M::current().expect("a goroutine runs on an M");
        let p = m.p().expect("a running goroutine's M holds a P");
        let mut heap = p.timers.heap.lock();
        // Somebody may have grown it meanwhile: then ours is the one to free.
        let old = if heap.capacity() < bigger.capacity() { heap.grow_into(bigger) } else { bigger };
        drop(heap);
        drop(section);
        drop(old);
    }
}
