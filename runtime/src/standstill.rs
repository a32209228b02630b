//! F8. A thread that stands still beneath goroutines which cannot run anywhere else.
//!
//! In the default mode a goroutine stays on the thread on which it has started. If another goroutine blocks
//! that thread (waits for a lock of std's that one of them holds, say), they cannot go on however many
//! processors are idle, and nothing in the program says why. So it is said: a worker thread that has been
//! blocked for a second, while goroutines that are bound to it are ready, is reported once.
//!
//! Sysmon looks at each tick ([`Watch::look`]). *Blocked* means that the P has not come through the
//! scheduler, and the thread has used hardly any processor time: one that computes is not meant. Ticks are
//! counted, too, and not only time: a process that was stopped and goes on has stood still as a whole.
//! The report is the reporter's (`runtime/reports`); nothing here allocates.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use crate::m::M;
use crate::report;
use crate::sys::clock;

/// A thread that is blocked for so long is reported.
const LONG_NS: u64 = 1_000_000_000;

/// And is found blocked so often.
const LOOKS: u32 = 100;

/// More processor time than this, and it computes.
const MOST_CPU_NS: u64 = LONG_NS / 10;

/// What sysmon remembers of one P.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// How often it has been found like this; then since when, and the thread's processor time then.
    looks: u32,
    since_ns: u64,
    cpu_ns: u64,
    told: bool,
}

impl Watch {
    /// At a tick: `m` holds the P, which has come through the scheduler since the last one, or has not.
    pub(crate) fn look(&mut self, m: &'static M, moved: bool, now_ns: u64) {
        if moved || !m.has_others_waiting() {
            *self = Watch::default();
            return;
        }
        if self.looks == 0 {
            (self.since_ns, self.cpu_ns) = (now_ns, cpu_ns(m));
        }
        self.looks = self.looks.saturating_add(1);
        if self.told || self.looks < LOOKS || now_ns - self.since_ns < LONG_NS {
            return;
        }
        self.told = true;
        if cpu_ns(m).saturating_sub(self.cpu_ns) <= MOST_CPU_NS {
            // Relaxed: `ask` publishes it.
            m.stands_still.store(true, Ordering::Relaxed);
            report::ask(report::STANDSTILL);
        }
    }
}

fn cpu_ns(m: &'static M) -> u64 {
    clock::thread_cpu_ns(m.tid.load(Ordering::Relaxed))
}
