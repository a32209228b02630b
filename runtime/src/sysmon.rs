//! F8b. sysmon: the monitor thread of a runtime.
//!
//! # What it does, each tick
//!
//! 1. *Publishes.* A P that keeps work to itself (forks included) and has not come through the scheduler since the last
//!    tick: its goroutine makes no runtime call. If it was asked for work (`HUNGRY`), or its slice is over,
//!    a signal to its thread publishes the work there (handler below).
//! 2. *Ends slices.* A P that has begun no slice since a 10 ms tick while somebody waits: sets its bit
//!    `SLICE`; the goroutine gives way at its next runtime call.
//! 3. *Flags timers.* A timer that is due on a P that does not look: an idle M is woken for it, or the
//!    busy P's bit `TIMER` is set.
//! 4. *Trims.* Some of the long-parked goroutines' stacks, and some of the free ones (`stack::trim`).
//! 5. *Looks for a deadlock*, while everything is idle (`deadlock`).
//! 6. *Sets the coarse clock* (`sys::clock`), and prints a line about the scheduler now and then, if
//!    `GORT_SCHEDTRACE` says so (`schedtrace`).
//! 7. *Looks for threads that stand still* beneath goroutines that are bound to them (`standstill`).
//!
//! It ticks each 10 ms, each 2 ms while somebody waits behind a P that makes no call; when everything has
//! been idle for [`IDLE_TICKS`] and there is nothing left to trim, it sleeps until an M is woken. (While a
//! deadlock cannot be excluded but for some foreign thread, it wakes at last every second to look again.)
//!
//! # Invariants
//!
//! 1. It allocates nothing after its start, and takes no lock that user code can hold (`sched`,
//!    invariant 2).
//! 2. It touches no owner-only field of a P: it reads the counters, and asks. (A parked goroutine's stack
//!    it borrows by the status word: `g::state::State::borrow_waiting`.)
//! 3. A signal may come late, to a thread that runs something else meanwhile: the handler looks at what
//!    is true then, and publishing too much harms nobody.

use std::sync::atomic::{Ordering, fence};

use crate::capture;
use crate::cur;
use crate::deadlock;
use crate::g::G;
use crate::g::state::{AfterLeaving, Status};
use crate::m::M;
use crate::p::{self, P};
use crate::sched::Sched;
use crate::sched::ready::ready;
use crate::schedtrace::Trace;
use crate::stack::{self, Where};
use crate::standstill;
use crate::sys::threads::AtWork;
use crate::sys::{clock, futex, signal};

const TICK_NS: u64 = 10_000_000;
const HURRIED_TICK_NS: u64 = 2_000_000;

/// So many ticks without anybody running, and sysmon sleeps (50 ms; longer while it trims).
const IDLE_TICKS: u32 = 5;

/// How many goroutines a tick looks at.
const TRIM_BATCH: usize = 512;

/// The time from the end of a pass over all goroutines to the next.
const PASS_NS: u64 = 1_000_000_000;

/// What the switch itself may have below the stack pointer that was saved before it, in a debug build.
const SWITCH_FRAMES_BYTES: usize = 2048;

/// One notes who waits, the next trims who still does; and one may be under way when everything goes idle.
const TRIM_PASSES: u32 = 3;

impl Sched {
    /// Somebody runs again: sysmon must watch. One load while it is awake.
    #[inline]
    pub(crate) fn wake_sysmon(&self) {
        if self.sysmon_awake.load(Ordering::SeqCst) == 0 {
            self.rouse_sysmon();
        }
    }

    #[cold]
    fn rouse_sysmon(&self) {
        // It has stood still; what is about to run may note the time before sysmon's next tick.
        clock::set_coarse(clock::now_ns());
        if self.sysmon_awake.swap(1, Ordering::SeqCst) == 0 {
            futex::wake(&self.sysmon_awake, 1);
        }
    }
}

/// What sysmon remembers of a P from tick to tick.
#[derive(Clone, Copy, Default)]
struct Seen {
    ticks: u64,
    slices: u64,
    slice_since_ns: u64,
    standstill: standstill::Watch,
}

/// The thread's body.
pub(crate) fn run(sched: &'static Sched) {
    let mut seen = vec![Seen::default(); crate::config::MAX_PROCS];
    let mut trimmer = Trimmer::default();
    let mut deadlock = deadlock::Watch::default();
    let mut trace = Trace::new(sched);
    let mut idle_ticks = 0;
    let mut hurried = false;
    while !sched.is_stopping() {
        let tick = if hurried { HURRIED_TICK_NS } else { TICK_NS };
        nap(sched, tick);
        let now_ns = clock::now_ns();
        clock::set_coarse(now_ns);
        hurried = false;
        let mut moved = false;
        for p in sched.ps() {
            let seen = &mut seen[p.id as usize];
            moved |= seen.ticks != p.counters.ticks.load(Ordering::Relaxed);
            hurried |= watch(sched, p, seen, now_ns);
        }
        flag_timers(sched, now_ns);
        trace.tick(sched, now_ns);
        let idle = sched.census.idle() as usize >= sched.max_procs();
        idle_ticks = if idle { idle_ticks + 1 } else { 0 };
        if !idle || moved {
            trimmer.passes_left = TRIM_PASSES;
        }
        trimmer.step(sched, now_ns);
        if !idle {
            continue;
        }
        let mark = deadlock::mark(sched);
        let until = deadlock.look(sched, now_ns).deadline(now_ns);
        if idle_ticks >= IDLE_TICKS
            && trimmer.passes_left == 0
            && let Some(until) = until
            && sleep(sched, mark, until.min(trace.next_ns()))
        {
            idle_ticks = 0;
        }
    }
}

/// One tick. A runtime that stops wakes it early through `sysmon_awake`'s futex: the word is 1 then, so a
/// plain timed wait on 1 is ended by `wake` alone.
fn nap(sched: &'static Sched, tick_ns: u64) {
    futex::wait_until(&sched.sysmon_awake, 1, clock::now_ns() + tick_ns);
}

/// Everything is idle: sleeps until `wake_sysmon`, or to the deadline; true if it was woken. Not if something
/// has run since `mark` was read, for the deadlock check has not seen that.
fn sleep(sched: &'static Sched, mark: u64, deadline_ns: u64) -> bool {
    // SeqCst: store, fence, then load of the census; pairs with `remove_idle`, after which the waker reads
    // this word.
    sched.sysmon_awake.store(0, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    let idle = (sched.census.idle() as usize) >= sched.max_procs();
    // Whoever has run and gone idle since has counted its turns before it counted itself idle.
    fence(Ordering::SeqCst);
    if !idle || deadlock::mark(sched) != mark || sched.is_stopping() {
        sched.sysmon_awake.store(1, Ordering::SeqCst);
        return false;
    }
    let mut woken = true;
    // Acquire: pairs with the Release in `wake_sysmon`.
    while woken && sched.sysmon_awake.load(Ordering::Acquire) == 0 && !sched.is_stopping() {
        woken = futex::wait_until(&sched.sysmon_awake, 0, deadline_ns);
    }
    // SeqCst swap: a waker that comes now finds 1, or has set it.
    sched.sysmon_awake.swap(1, Ordering::SeqCst) == 1 || woken
}

/// Looks at one P. True if somebody waits behind an owner that makes no call: tick faster.
fn watch(sched: &'static Sched, p: &'static P, seen: &mut Seen, now_ns: u64) -> bool {
    let ticks = p.counters.ticks.load(Ordering::Relaxed);
    let slices = p.counters.slices.load(Ordering::Relaxed);
    let stuck = ticks == seen.ticks;
    seen.ticks = ticks;
    if slices != seen.slices {
        seen.slices = slices;
        seen.slice_since_ns = now_ns;
    }
    // SAFETY: null or the head of an M, which is never freed.
    let Some(m) = (unsafe { M::of_head(p.m.load(Ordering::Relaxed)) }) else { return false };
    let private = p.private_len() != 0;
    if sched.settings.report_standstill {
        seen.standstill.look(m, !stuck, now_ns);
    }
    let others_wait = private || m.has_others_waiting() || p.has_shared() || !sched.injector.is_empty();
    let slice_over = now_ns.saturating_sub(seen.slice_since_ns) >= TICK_NS;
    if others_wait && slice_over {
        p.ask(p::SLICE);
    }
    let private = private || has_forks(m);
    let hungry = private && sched.census.is_hungry();
    // Where nobody is hungry, the others have enough to do; but theirs may be a loop of yields, which looks
    // around now and then.
    let hidden = private && slice_over && sched.max_procs() > 1;
    if stuck && (hungry || hidden) {
        signal::interrupt(m.tid.load(Ordering::Relaxed));
    }
    hungry
}

/// May the goroutine that runs on `m` have forks to offer? It is asked, too: what it offers then, it offers in time.
fn has_forks(m: &'static M) -> bool {
    // SAFETY: null or a G, which is type-stable; the look is at atomics.
    unsafe { m.g.load(Ordering::Relaxed).as_ref() }.is_some_and(|g| g.pile.ask_and_look())
}

/// A timer is due and nobody has looked: an idle M shall, or the busy Ps.
fn flag_timers(sched: &'static Sched, now_ns: u64) {
    if sched.next_deadline() > now_ns {
        return;
    }
    sched.wake_one();
    for p in sched.ps() {
        if !p.m.load(Ordering::Relaxed).is_null() {
            p.ask(p::TIMER);
        }
    }
}

/// What the signal does on a worker's thread: shows a dumper what runs there (`capture`), and publishes what
/// its P keeps private, the forks of its goroutine included. Runs in the handler:
/// lock-free but for the idle lists' lock, which nobody holds beneath us, for np is 0.
pub(crate) fn on_signal() {
    // SAFETY: null, or this thread's M.
    let Some(m) = (unsafe { M::of_head(cur::head()) }) else { return };
    if m.head().np() != 0 {
        return;
    }
    capture::on_signal(m);
    if let Some(p) = m.p() {
        m.head().set_np(1);
        // SAFETY: null or a G, which is type-stable: the goroutine that we have interrupted.
        if let Some(g) = unsafe { m.g.load(Ordering::Relaxed).as_ref() } {
            Sched::of_m(m).promote_all(p, g);
            g.pile.note_served();
        }
        Sched::of_m(m).publish_all(p);
        m.head().set_np(0);
    }
}

/// The part of sysmon that gives memory back. It passes over all goroutines again and again, at most once
/// a second: what waits in the same wait at two passes has waited long.
#[derive(Default)]
struct Trimmer {
    cursor: stack::Cursor,
    /// Passes to make before everything is trimmed that can be, if nobody runs meanwhile.
    passes_left: u32,
    next_pass_ns: u64,
}

impl Trimmer {
    /// One tick's worth.
    fn step(&mut self, sched: &'static Sched, now_ns: u64) {
        if self.passes_left == 0 || now_ns < self.next_pass_ns {
            return;
        }
        // A goroutine that is borrowed, and woken meanwhile, is ours to queue.
        let _at_work = AtWork::begin();
        for _ in 0..TRIM_BATCH {
            let Some(slot) = self.cursor.next() else {
                self.cursor = stack::Cursor::default();
                self.passes_left -= 1;
                self.next_pass_ns = now_ns + PASS_NS;
                stack::trim_idle(usize::MAX);
                return;
            };
            // SAFETY: the slot came from the slab's own walk.
            trim_parked(sched, unsafe { G::of_slot(slot) });
        }
    }
}

/// Gives back what lies below the stack pointer of a goroutine that has waited since the last pass.
fn trim_parked(sched: &'static Sched, g: &'static G) {
    if g.owner.load(Ordering::Relaxed).cast_const() != sched.as_owner()
        || g.state.status() != Status::Waiting
        || !g.frozen.load(Ordering::Relaxed).is_null()
    {
        return;
    }
    let ticket = g.state.ticket();
    let seen = g.trim_seen.load(Ordering::Relaxed);
    if seen >> 1 != ticket.to_raw() {
        g.trim_seen.store(ticket.to_raw() << 1, Ordering::Relaxed);
        return;
    }
    if seen & 1 == 1 || !g.state.borrow_waiting(ticket) {
        return;
    }
    if !g.frozen.load(Ordering::Relaxed).is_null() {
        // Its thread stands on the stack. (Visible now: `borrow_waiting` acquires.)
        if g.state.left_stack() == AfterLeaving::Queue {
            ready(g);
        }
        return;
    }
    g.trim_seen.store(ticket.to_raw() << 1 | 1, Ordering::Relaxed);
    let sp = g.saved_sp.load(Ordering::Relaxed);
    let margin = |low: usize| sp.saturating_sub(SWITCH_FRAMES_BYTES).max(low);
    match stack::classify(sp) {
        Some(Where::Slot(slot)) if slot == g.slot() => {
            // SAFETY: borrowed: nobody runs on the stack until `left_stack`, and `sp` is what it saved.
            unsafe { stack::trim_parked(slot, margin(slot.low())) };
        }
        // SAFETY: as above: it is suspended in this segment.
        Some(Where::Segment(segment)) => _ = unsafe { segment.trim_parked(margin(segment.low())) },
        _ => {}
    }
    if g.state.left_stack() == AfterLeaving::Queue {
        ready(g);
    }
}
