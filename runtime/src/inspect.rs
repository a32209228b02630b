//! F9. Looking at a runtime: what it is, what it has done, who lives in it.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use crate::g::G;
use crate::g::state::Status;
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

/// A line for each living goroutine of a runtime and for each of its processors: for a watchdog.
pub(crate) fn dump(sched: &'static Sched) -> String {
    let mut text = String::new();
    for p in sched.ps() {
        let _ = writeln!(text, "{}", describe_p(p));
    }
    for m in sched.ms() {
        let _ = writeln!(text, "{m:?} local {} remote {}", m.local_len(), !m.remote.is_empty());
    }
    let _ = writeln!(text, "census {:?} injector {}", sched.census, sched.injector.len());
    for slot in stack::Cursor::new() {
        // SAFETY: the slot came from the slab's own walk.
        let g = unsafe { G::of_slot(slot) };
        if g.owner.load(Ordering::Relaxed).cast_const() == sched.as_owner()
            && g.state.status() != Status::Dead
        {
            let _ = writeln!(text, "{}", describe_g(g));
        }
    }
    text
}

fn describe_p(p: &P) -> String {
    format!(
        "P{} attention {:#x} next {} conts {} fifo {} shared {}+{} ticks {} deadline {}",
        p.id,
        p.attention(),
        p.has_next(),
        p.local.conts.len(),
        p.fifo_len(),
        p.shared_conts.len(),
        p.shared_fifo.len(),
        p.counters.ticks.load(Ordering::Relaxed),
        p.timers.next_deadline.load(Ordering::Relaxed),
    )
}

fn describe_g(g: &'static G) -> String {
    let status = g.state.status();
    let reason = match status {
        Status::Parking | Status::Waiting => g.wait_reason().as_str(),
        _ => "",
    };
    let site = g.site().map_or_else(String::new, |site| format!(" created at {site}"));
    format!("goroutine {} [{status:?} {reason}]{site}", g.id())
}
