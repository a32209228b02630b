//! F5. P: a processor, the right to run goroutines.
//!
//! # What it holds
//!
//! ```text
//!            owner only                                    anybody
//!   next:    the goroutine just readied (inherits the slice)
//!   conts:   new goroutines and continuations, a ring  --publish-->  shared_conts
//!   fifo:    woken and yielded goroutines, a list      --publish-->  shared_fifo
//!   stacks:  free stacks, LIFO                             timers (under a lock)
//!   rng, tick, ids                                         attention, counters
//! ```
//!
//! # Invariants
//!
//! 1. The *owner* of a P is the thread whose M holds it (`m.p`), within a no-preempt section, or its
//!    signal handler when np is 0 (then no section is open beneath it). Owner-only fields are touched by
//!    the owner alone: plain loads and stores.
//! 2. A P without an M has nothing in its private queues: who lets go of it publishes or drains first.
//!    Its shared queues and its timers may hold work; whoever searches finds it there.
//! 3. `m` names the M that holds it, for the monitor; it may be stale by the time that it is used.
//!
//! # The attention word
//!
//! One load answers "does anybody want anything of this P?" at every runtime call.
//!
//! | bit | meaning | set by | cleared by |
//! |---|---|---|---|
//! | `HUNGRY` | some P is idle: what you push, publish | an M that goes idle | the owner, when none is idle |
//! | `SLICE` | your goroutine has run for a whole slice while others wait | sysmon | the owner |
//! | `TIMER` | a timer is due | sysmon, an idle M | the owner |
//! | `RETIRE` | `set_max_procs` wants you gone | its caller | the owner; its caller, when it grows again |
//! | `STOP` | the runtime is shutting down | shutdown | nobody |
//! | `ALARM` | a deadline was set while some P is idle: does an idle M know? | the owner | the owner |
//! | `JUDGE` | a lone item was published on trial (`sched::publish`) | the owner | the owner |

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use crate::cur::Head;
use crate::fork::chunk::FreeChunks;
use crate::queue::{Item, List, Ring, Shared};
use crate::stack::Cache;
use crate::timer::entry::TimedWait;
use crate::timer::heap::Heap;
use crate::util::lock::Lock;
use crate::util::rng::Rng;

pub(crate) const HUNGRY: u32 = 1;
pub(crate) const SLICE: u32 = 2;
pub(crate) const TIMER: u32 = 4;
pub(crate) const RETIRE: u32 = 8;
pub(crate) const STOP: u32 = 16;
pub(crate) const ALARM: u32 = 32;
pub(crate) const JUDGE: u32 = 64;

/// No timer is set.
pub(crate) const NO_DEADLINE: u64 = u64::MAX;

/// What only the owner touches (invariant 1).
#[derive(Debug)]
pub(crate) struct Local {
    /// The goroutine just readied.
    pub(crate) next: Cell<Option<Item>>,
    /// New goroutines and continuations: newest run first, oldest published first.
    pub(crate) conts: Ring,
    /// Woken and yielded goroutines, and workers that want a P. `fifo_len` mirrors its length.
    pub(crate) fifo: UnsafeCell<List>,
    /// Free stacks of the default size.
    pub(crate) stacks: UnsafeCell<Cache>,
    /// Free chunks for the records of forks.
    pub(crate) chunks: UnsafeCell<FreeChunks>,
    /// For the order of victims.
    pub(crate) rng: Rng,
    /// Goroutine numbers that are ours to give: the next, and the end.
    pub(crate) ids: Cell<(u64, u64)>,
    /// How many more pushes of a lone item go unpublished (`sched::publish`).
    pub(crate) patience: Cell<u32>,
    /// The patience that the next disappointment sets.
    pub(crate) next_patience: Cell<u32>,
    /// When the last lone item was published on trial.
    pub(crate) trial_since: Cell<u64>,
    /// The same three for forks (`sched::promote`); 0: no fork is on trial.
    pub(crate) fork_patience: Cell<u32>,
    pub(crate) next_fork_patience: Cell<u32>,
    pub(crate) fork_since: Cell<u64>,
    /// A child gave way: its parent is next, so that a chain of spawns does not grow at its young end only.
    pub(crate) parent_is_next: Cell<bool>,
    /// Until when those that have not had a turn go first (`sched::find`); 0: no longer.
    pub(crate) newcomers_until: Cell<u64>,
}

/// The timers of a P. Any M may fire them.
#[derive(Debug)]
pub(crate) struct Timers {
    /// The deadlines.
    pub(crate) heap: Lock<Heap<TimedWait>>,
    /// The earliest, or [`NO_DEADLINE`]. Written under the lock, read without.
    pub(crate) next_deadline: AtomicU64,
}

/// Counters for reports: written by the owner alone (plain adds), read by anybody.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Turns of the scheduler: has this P come through since I last looked?
    pub(crate) ticks: AtomicU64,
    /// Slices begun.
    pub(crate) slices: AtomicU64,
    /// Goroutines spawned here.
    pub(crate) spawned: AtomicU64,
    /// Goroutines that ended here.
    pub(crate) ended: AtomicU64,
    /// Items that this P's M took from other Ps.
    pub(crate) stolen: AtomicU64,
    /// Items published for others to take.
    pub(crate) published: AtomicU64,
    /// Timers fired by this P's M.
    pub(crate) fired: AtomicU64,
}

/// Adds to a counter that only the caller writes.
#[inline(always)]
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    // Relaxed load and store, not fetch_add: one writer.
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// A processor.
#[derive(Debug)]
pub(crate) struct P {
    /// Its index in the runtime.
    pub(crate) id: u32,
    /// What others want of it.
    attention: CachePadded<AtomicU32>,
    /// Owner only.
    pub(crate) local: CachePadded<Local>,
    /// The length of `local.fifo`, for others.
    fifo_len: AtomicUsize,
    /// 1 if `local.next` holds somebody, for others.
    has_next: AtomicU32,
    /// Counters.
    pub(crate) counters: Counters,
    /// The part of `conts` that others may take.
    pub(crate) shared_conts: CachePadded<Shared>,
    /// The part of `fifo` that others may take.
    pub(crate) shared_fifo: CachePadded<Shared>,
    /// Its timers.
    pub(crate) timers: CachePadded<Timers>,
    /// The M that holds it (invariant 3).
    pub(crate) m: AtomicPtr<Head>,
    /// Retired, and nobody's (`sched::resize`). Under the lock of the idle lists.
    pub(crate) floating: AtomicBool,
}

// SAFETY: invariant 1 keeps `local` to one thread at a time; all else is atomic or locked.
unsafe impl Sync for P {}
// SAFETY: as above.
unsafe impl Send for P {}

impl P {
    /// An idle processor. Allocates.
    pub(crate) fn new(id: u32, seed: u64) -> Self {
        P {
            id,
            attention: CachePadded::new(AtomicU32::new(0)),
            local: CachePadded::new(Local {
                next: Cell::new(None),
                conts: Ring::new(),
                fifo: UnsafeCell::new(List::new()),
                stacks: UnsafeCell::new(Cache::new()),
                chunks: UnsafeCell::new(FreeChunks::new()),
                rng: Rng::new(seed),
                ids: Cell::new((0, 0)),
                patience: Cell::new(0),
                next_patience: Cell::new(1),
                trial_since: Cell::new(0),
                fork_patience: Cell::new(0),
                next_fork_patience: Cell::new(1),
                fork_since: Cell::new(0),
                parent_is_next: Cell::new(false),
                newcomers_until: Cell::new(0),
            }),
            fifo_len: AtomicUsize::new(0),
            has_next: AtomicU32::new(0),
            counters: Counters::default(),
            shared_conts: CachePadded::new(Shared::new()),
            shared_fifo: CachePadded::new(Shared::new()),
            timers: CachePadded::new(Timers {
                heap: Lock::new(Heap::with_capacity(64)),
                next_deadline: AtomicU64::new(NO_DEADLINE),
            }),
            m: AtomicPtr::new(std::ptr::null_mut()),
            floating: AtomicBool::new(false),
        }
    }

    /// What others want of it. Relaxed: a bit that comes late is seen at the next call, and what must
    /// not be missed is ordered by the fences of `sched::publish`.
    #[inline(always)]
    pub(crate) fn attention(&self) -> u32 {
        self.attention.load(Ordering::Relaxed)
    }

    /// Sets bits. By anybody.
    pub(crate) fn ask(&self, bits: u32) {
        // Relaxed load first: spares the line when the bits are set already. Release: pairs with the
        // owner's Acquire in `answer`.
        if self.attention.load(Ordering::Relaxed) & bits != bits {
            self.attention.fetch_or(bits, Ordering::Release);
        }
    }

    /// Clears bits, returns those that were set. By the owner.
    pub(crate) fn answer(&self, bits: u32) -> u32 {
        // Acquire: pairs with `ask`.
        self.attention.fetch_and(!bits, Ordering::AcqRel) & bits
    }

    /// Gives the free stacks, and chunks, back to the process. Owner only.
    pub(crate) fn flush_stacks(&self) {
        // SAFETY: the caller owns the P (invariant 1).
        unsafe { &mut *self.local.stacks.get() }.flush_all();
        // SAFETY: as above.
        unsafe { &mut *self.local.chunks.get() }.flush();
    }

    /// Appends to the FIFO. Owner only.
    #[inline(always)]
    pub(crate) fn push_fifo(&self, item: Item) {
        // SAFETY: the caller owns the P (invariant 1); the reference does not outlive the call.
        let fifo = unsafe { &mut *self.local.fifo.get() };
        fifo.push_back(item);
        self.fifo_len.store(fifo.len(), Ordering::Relaxed);
    }

    /// Takes the oldest of the FIFO. Owner only.
    #[inline(always)]
    pub(crate) fn pop_fifo(&self) -> Option<Item> {
        // SAFETY: as in `push_fifo`.
        let fifo = unsafe { &mut *self.local.fifo.get() };
        let item = fifo.pop_front();
        self.fifo_len.store(fifo.len(), Ordering::Relaxed);
        item
    }

    /// Puts somebody into the next slot, returns who was there. Owner only.
    #[inline(always)]
    pub(crate) fn swap_next(&self, item: Option<Item>) -> Option<Item> {
        self.has_next.store(u32::from(item.is_some()), Ordering::Relaxed);
        self.local.next.replace(item)
    }

    /// Is anybody in the next slot?
    #[inline(always)]
    pub(crate) fn has_next(&self) -> bool {
        self.has_next.load(Ordering::Relaxed) != 0
    }

    /// The length of the FIFO's private part, as its owner last knew it.
    #[inline(always)]
    pub(crate) fn fifo_len(&self) -> usize {
        self.fifo_len.load(Ordering::Relaxed)
    }

    /// How much its owner keeps to itself. By anybody: worth asking for?
    #[inline(always)]
    pub(crate) fn private_len(&self) -> usize {
        self.local.conts.len() + self.fifo_len() + self.has_next.load(Ordering::Relaxed) as usize
    }

    /// Is there anything that a thief may take?
    #[inline(always)]
    pub(crate) fn has_shared(&self) -> bool {
        !self.shared_conts.is_empty() || !self.shared_fifo.is_empty()
    }
}
