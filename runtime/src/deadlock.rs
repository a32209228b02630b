//! F8. Is everybody asleep for good?
//!
//! # When it is a deadlock
//!
//! A runtime is *asleep* if no goroutine of it runs, is queued, or will be woken by time: all its Ps are
//! idle, nothing is in any queue or inbox, no timer is set, no M is on its way to a P. That is a deadlock if
//! goroutines live in it, and nobody else can wake one:
//!
//! - every other runtime of the process is asleep too, or has stopped with all its threads;
//! - every thread of the process is gort's own, or a foreign one that itself waits for gort without a
//!   deadline (`sys::threads`). The caller of `run` is one; a thread that sits in `accept` is not.
//!
//! A runtime with `Builder::on_deadlock` is judged by itself: foreign threads and other runtimes are left
//! out of account, for a test harness always has some. One with `Builder::deadlock_check(false)` is never
//! reported, and is taken to wake others at any time. While
//! goroutines live in a runtime with a handler, no other runtime is reported: what the handler does may wake
//! them.
//!
//! # No false report
//!
//! A report ends the process, so a false one is the worst that can happen here. The state is read piece by
//! piece while it may change; what is relied on:
//!
//! 1. *Every run leaves a trace.* [`Asleep::mark`] is a sum of counters that only grow: the turns of the
//!    scheduler, spawns from outside, threads made. A goroutine that has run has added to it.
//! 2. A runtime must be asleep with the same mark at two ticks of sysmon ([`SETTLE_NS`] apart or more), and
//!    then before and after the threads are counted; then the reporter does the same once more before it
//!    speaks.
//! 3. Whoever is about to queue a goroutine is one of: a goroutine that runs (its P is not idle), a foreign
//!    thread (it is counted as awake until it is itself asleep, and a sleeper is taken out by its waker), a
//!    helper of gort's with a borrowed goroutine (`AtWork`), or an M that has no P but is neither idle nor
//!    frozen (its word says so), or frozen beneath a goroutine that does not wait (it is about to queue itself).
//!
//! # Who looks
//!
//! Each runtime's sysmon while its runtime is idle ([`Watch::look`]), and before it goes to sleep. If foreign
//! threads are all that stands against a deadlock it looks again, at last every second: a thread may end.
//! The report is the reporter's. Nothing here allocates or takes a lock.
#![forbid(unsafe_code)]

use std::sync::atomic::{Ordering, fence};

use crate::g::state::Status;
use crate::m::M;
use crate::p::{NO_DEADLINE, P};
use crate::report;
use crate::sched::{DeadlockAction, Sched, registry};
use crate::sys::clock::NEVER;
use crate::sys::threads;

/// A runtime that has been asleep for so long is looked at closely.
const SETTLE_NS: u64 = 10_000_000;

/// The longest time between two looks while only foreign threads stand against a deadlock.
const LONGEST_NS: u64 = 1_000_000_000;

/// A runtime in which nothing runs, and nothing will by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asleep {
    /// Has anything run since? (see 1 above)
    pub(crate) mark: u64,
    /// The goroutines that live in it.
    pub(crate) living: u64,
}

/// `None`: somebody runs in it, or will.
pub(crate) fn asleep(sched: &'static Sched) -> Option<Asleep> {
    if sched.is_stopping() {
        // What still runs in it may wake goroutines elsewhere; threads that linger are counted as ended.
        let gone = sched.live_threads.load(Ordering::Acquire) == 0;
        return gone.then_some(Asleep { mark: 0, living: 0 });
    }
    // SeqCst: pairs with the census' own fences: whoever went idle before we read the counter has done all
    // that it does.
    fence(Ordering::SeqCst);
    let mark = mark(sched);
    let idle = sched.census.idle() as usize >= sched.max_procs()
        && sched.ps().all(|p| p.m.load(Ordering::Relaxed).is_null() && is_empty(p))
        && sched.injector.is_empty()
        && sched.ms().all(is_at_rest)
        && sched.next_deadline() == NO_DEADLINE;
    let living = sched.living();
    fence(Ordering::SeqCst);
    (idle && self::mark(sched) == mark).then_some(Asleep { mark, living })
}

fn is_empty(p: &P) -> bool {
    p.private_len() == 0 && !p.has_shared()
}

/// Can the thread of `m` do nothing before somebody else wins its word?
fn is_at_rest(m: &'static M) -> bool {
    if m.word.is_frozen() {
        // Not Waiting yet, or not any more: it is about to queue itself. What else is bound to the thread cannot
        // run before.
        return m.goroutine().is_some_and(|g| g.state.status() == Status::Waiting);
    }
    m.word.is_dead() || (m.word.is_idle() && m.local_len() == 0 && m.remote.is_empty())
}

/// A sum that grows whenever something runs in `sched`.
pub(crate) fn mark(sched: &'static Sched) -> u64 {
    let ticks = sched.ps().map(|p| p.counters.ticks.load(Ordering::Relaxed)).sum::<u64>();
    ticks
        .wrapping_add(sched.spawned_outside.load(Ordering::Relaxed))
        .wrapping_add(u64::from(sched.ms_made.load(Ordering::Relaxed)))
}

/// Are all goroutines of all runtimes asleep, at least one of them in a runtime whose deadlock ends the
/// process, and can nobody wake them?
pub(crate) fn all_asleep() -> bool {
    match sum_of_marks() {
        Some(before) => !threads::somebody_is_awake() && sum_of_marks() == Some(before),
        None => false,
    }
}

/// The sum of all runtimes' marks and goroutines, if all are asleep and one of them is to be reported.
fn sum_of_marks() -> Option<u64> {
    let mut to_report = false;
    let mut sum = 0_u64;
    for sched in registry::all() {
        let Asleep { mark, living } = asleep(sched)?;
        sum = sum.wrapping_add(mark).wrapping_add(living);
        if sched.is_stopping() {
            continue;
        }
        match &sched.settings.on_deadlock {
            DeadlockAction::Ignore => return None,
            DeadlockAction::Call(_) if living != 0 => return None,
            DeadlockAction::Call(_) => {}
            DeadlockAction::Exit => to_report |= living != 0,
        }
    }
    to_report.then_some(sum)
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// At the next tick.
    Soon,
    /// When so many nanoseconds have passed, if sysmon sleeps until then.
    After(u64),
    /// When something has run.
    Never,
}

impl Next {
    /// Until when sysmon may sleep; `None`: it must not.
    pub(crate) fn deadline(self, now_ns: u64) -> Option<u64> {
        match self {
            Next::Soon => None,
            Next::After(ns) => Some(now_ns + ns),
            Next::Never => Some(NEVER),
        }
    }
}

/// What a runtime's sysmon remembers from look to look.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The mark at which it fell asleep, plus one; 0: it is awake.
    seen: u64,
    since_ns: u64,
    pause_ns: u64,
}

impl Watch {
    /// Looks at `sched`, at a tick of its sysmon, and asks for a report if it must.
    pub(crate) fn look(&mut self, sched: &'static Sched, now_ns: u64) -> Next {
        let action = &sched.settings.on_deadlock;
        if matches!(action, DeadlockAction::Ignore) || sched.living() == 0 {
            *self = Watch::default();
            return Next::Never;
        }
        let Some(Asleep { mark, .. }) = asleep(sched) else {
            *self = Watch::default();
            // With a timer set something will run before there can be a deadlock, and wake sysmon.
            let timed = sched.next_deadline() != NO_DEADLINE;
            return if timed { Next::Never } else { Next::Soon };
        };
        if self.seen != told_as(mark) {
            *self = Watch { seen: told_as(mark), since_ns: now_ns, pause_ns: SETTLE_NS };
            return Next::Soon;
        }
        if now_ns.saturating_sub(self.since_ns) < SETTLE_NS {
            return Next::Soon;
        }
        let due = match action {
            DeadlockAction::Ignore => false,
            DeadlockAction::Exit => all_asleep(),
            DeadlockAction::Call(_) if is_told(sched, mark) => return Next::Never,
            DeadlockAction::Call(_) => true,
        };
        if due {
            report::ask(report::DEADLOCK);
        }
        self.pause_ns = (self.pause_ns * 2).min(LONGEST_NS);
        Next::After(self.pause_ns)
    }
}

fn told_as(mark: u64) -> u64 {
    mark.wrapping_add(1)
}

fn is_told(sched: &Sched, mark: u64) -> bool {
    // Relaxed: asking once more is harmless, and the reporter is the only one who writes.
    sched.deadlock_told.load(Ordering::Relaxed) == told_as(mark)
}

/// Is `sched`, whose handler is to be called, deadlocked, and does the handler not know? Then it does from
/// here on. On the reporter's thread.
pub(crate) fn must_tell(sched: &'static Sched) -> bool {
    match asleep(sched) {
        Some(Asleep { mark, living }) if living != 0 && !is_told(sched, mark) => {
            sched.deadlock_told.store(told_as(mark), Ordering::Relaxed);
            true
        }
        _ => false,
    }
}
