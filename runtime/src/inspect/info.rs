//! F9. What a runtime is, and what it has done.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::identity::Mode;
use crate::p::P;
use crate::sched::Sched;
use crate::stack;
use crate::sys::membarrier;

/// How an overflowing stack is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guard {
    /// A page marked by `MADV_GUARD_INSTALL` (Linux 6.13): costs no mapping, so there is no limit.
    Madvise,
    /// A page protected by `mprotect`: costs two mappings, of which a process may have only
    /// `vm.max_map_count`.
    Mprotect,
}

/// What a runtime is, and what it has done so far.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Info {
    /// How many goroutines may run at the same time.
    pub max_procs: usize,
    /// Worker threads made so far.
    pub workers: usize,
    /// Goroutines that have not ended.
    pub goroutines: usize,
    /// May goroutines change threads after they have started?
    pub migrates: bool,
    /// Why the thread-locals are not as was asked for, if they are not.
    pub thread_locals_reason: Option<&'static str>,
    /// Does the kernel take the fences of the hot paths over (`membarrier(2)`)?
    pub membarrier: bool,
    /// Goroutines spawned.
    pub spawned: u64,
    /// Goroutines and workers that a processor has taken from another.
    pub stolen: u64,
    /// Goroutines and workers that a processor has offered to others.
    pub published: u64,
    /// Timers fired.
    pub timers_fired: u64,
    /// Timers set now.
    pub timers: usize,
    /// How overflowing stacks are caught, in the whole process.
    pub guard: Guard,
    /// The most goroutine stacks that the process can have, where guards limit it.
    pub max_stacks: Option<usize>,
    /// Goroutine stacks that the process has made, and of these how many are free, but for those that
    /// processors keep at hand.
    pub stacks: usize,
    /// See `stacks`.
    pub stacks_free: usize,
    /// Address space reserved for stacks, in bytes.
    pub stacks_reserved_bytes: usize,
}

impl Info {
    pub(crate) fn of(sched: &'static Sched) -> Self {
        let stacks = stack::info();
        let sum = |counter: fn(&P) -> u64| sched.ps().map(counter).sum::<u64>();
        Info {
            max_procs: sched.max_procs(),
            workers: sched.ms_made.load(Ordering::Relaxed) as usize,
            goroutines: sched.living() as usize,
            migrates: sched.settings.mode == Mode::Unchecked,
            thread_locals_reason: sched.settings.mode_reason,
            membarrier: membarrier::is_available(),
            spawned: sum(|p| p.counters.spawned.load(Ordering::Relaxed))
                + sched.spawned_outside.load(Ordering::Relaxed),
            stolen: sum(|p| p.counters.stolen.load(Ordering::Relaxed)),
            published: sum(|p| p.counters.published.load(Ordering::Relaxed)),
            timers_fired: sum(|p| p.counters.fired.load(Ordering::Relaxed)),
            timers: sched.ps().map(|p| p.timers.heap.lock().len()).sum(),
            guard: match stacks.guard {
                stack::Guard::Madvise => Guard::Madvise,
                stack::Guard::Mprotect => Guard::Mprotect,
            },
            max_stacks: stacks.max_stacks,
            stacks: stacks.slots_carved,
            stacks_free: stacks.slots_free,
            stacks_reserved_bytes: stacks.reserved_bytes,
        }
    }
}

/// What a runtime's processors have done, each and together: see [`stats`](super::stats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Each processor, by its number; those above `max_procs` that have run are among them.
    pub processors: Vec<ProcessorStats>,
    /// Their sums.
    pub total: ProcessorStats,
    /// Goroutines that were spawned from outside the runtime, by threads that hold none of its processors.
    /// (`total.spawned` is without them.)
    pub spawned_outside: u64,
}

/// What a processor has done since its runtime started, and what it has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorStats {
    /// Turns of its scheduler: how often it has looked for something to run.
    pub turns: u64,
    /// Time slices begun: how often it has run somebody who came from a queue.
    pub slices: u64,
    /// Goroutines spawned on it.
    pub spawned: u64,
    /// Goroutines that ended on it.
    pub ended: u64,
    /// Goroutines and workers that it has taken from other processors.
    pub stolen: u64,
    /// Goroutines and workers that it has offered to others.
    pub published: u64,
    /// Timers that it has fired.
    pub timers_fired: u64,
    /// Goroutines and workers in its queues, now.
    pub queued: usize,
    /// Timers set on it, now.
    pub timers: usize,
}

impl ProcessorStats {
    fn of(p: &P) -> Self {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProcessorStats {
            turns: read(&p.counters.ticks),
            slices: read(&p.counters.slices),
            spawned: read(&p.counters.spawned),
            ended: read(&p.counters.ended),
            stolen: read(&p.counters.stolen),
            published: read(&p.counters.published),
            timers_fired: read(&p.counters.fired),
            queued: p.private_len() + p.shared_conts.len() + p.shared_fifo.len(),
            timers: p.timers.heap.lock().len(),
        }
    }

    fn add(&mut self, other: &ProcessorStats) {
        self.turns += other.turns;
        self.slices += other.slices;
        self.spawned += other.spawned;
        self.ended += other.ended;
        self.stolen += other.stolen;
        self.published += other.published;
        self.timers_fired += other.timers_fired;
        self.queued += other.queued;
        self.timers += other.timers;
    }
}

impl Stats {
    pub(super) fn of(sched: &'static Sched) -> Self {
        let processors: Vec<_> = sched.ps().map(ProcessorStats::of).collect();
        let mut total = ProcessorStats::default();
        processors.iter().for_each(|processor| total.add(processor));
        Stats { processors, total, spawned_outside: sched.spawned_outside.load(Ordering::Relaxed) }
    }
}
