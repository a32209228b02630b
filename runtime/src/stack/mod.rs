//! F1. Stacks: where they come from, what guards them, how they give memory back.
//!
//! ```text
//!  process   | extent of 1 GiB, class 256 KiB | extent, class 1 MiB | extent of segments | ...   extent
//!  extent    | slot | slot | slot | not carved yet ...                                           slab
//!  slot      | guard page | stack grows down <- | G | SlotHeader | colour gap |                  slot
//! ```
//!
//! A stack is a reservation of address space that the kernel commits page by page as it is touched; a
//! light goroutine, its G included, keeps one page of 4 KiB.
//!
//! | file | what |
//! |---|---|
//! | `class` | sizes: powers of two from 16 KiB to 1 GiB; kinds |
//! | `slot` | one slot's geometry and header |
//! | `guard` | the page that an overflow runs into |
//! | `extent` | the process-wide table of reservations |
//! | `chain`, `slab`, `cache` | free slots: linked, of the process, of a processor |
//! | `segment` | further stacks for deep recursion |
//! | `trim` | dead pages go back to the kernel |
//! | `walk` | all slots; where an address lies |
//! | `error` | why there is no stack |
//!
//! # Invariants
//!
//! 1. What was carved is never unmapped, and header areas are never trimmed: a G is type-stable memory,
//!    and a stale name of one may be looked at for ever.
//! 2. Nothing is allocated (Rule 6), but by the first call of [`init`] and by turning an [`Error`] into an
//!    `io::Error`.
//! 3. Process-wide, without a runtime: Rule 3's one exception.
//!
//! Called on goroutine stacks, scheduler stacks and the monitor's; [`classify`] in signal handlers as well.
//!
//! *Rejected:* growth by `mprotect` in a SIGSEGV handler (6.0 µs a step against 1.5 for demand paging);
//! `MADV_DONTNEED` on every reuse (1.1 µs and the faults, against 40 ns); `MADV_FREE` (not cheaper, and it
//! leaves the memory in the process's account).

mod cache;
mod chain;
mod class;
mod error;
mod extent;
mod guard;
mod segment;
mod slab;
mod slot;
mod trim;
mod walk;

#[cfg(test)]
mod testing;

pub(crate) use cache::Cache;
pub(crate) use class::Class;
pub(crate) use error::Error;
pub(crate) use guard::Guard;
pub(crate) use segment::Segment;
pub(crate) use slot::{GO_BYTES, Slot};
#[cfg(test)]
pub(crate) use trim::trim_free;
pub(crate) use trim::{trim_idle, trim_parked};
pub(crate) use walk::{Cursor, Where, classify};

use class::Kind;
use slab::Pool;

/// Finds out how guards are made here. Called by the start of a runtime, for it allocates; idempotent.
pub(crate) fn init() {
    guard::policy();
}

/// A stack of `class`: the one that was freed last, or a fresh one.
///
/// # Errors
///
/// There is no free one, and the kernel refuses address space or a guard page.
pub(crate) fn alloc(class: Class) -> Result<Slot, Error> {
    Pool { kind: Kind::Stack, class }.alloc()
}

/// Gives a stack of any class up; its memory stays until it is used again or trimmed.
///
/// # Safety
///
/// The slot is a goroutine's, the caller owns it, and nobody is on it.
pub(crate) unsafe fn free(slot: Slot) {
    // SAFETY: passed on to the caller.
    unsafe { Pool::of(slot).free(slot) };
}

/// What the slab holds, for `runtime::info` and for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Info {
    /// How guard pages are made.
    pub(crate) guard: Guard,
    /// The most stacks and segments that can be guarded, where there is such a limit.
    pub(crate) max_stacks: Option<usize>,
    /// Goroutine slots that were ever carved, whether in use or free.
    pub(crate) slots_carved: usize,
    /// Goroutine slots that are free, without those in processors' caches.
    pub(crate) slots_free: usize,
    /// Reservations, those for segments included.
    pub(crate) extents: usize,
    /// Their address space.
    pub(crate) reserved_bytes: usize,
}

/// What the slab holds now. Not for signal handlers: it takes the pools' locks one after another.
pub(crate) fn info() -> Info {
    let policy = guard::policy();
    let extents = extent::all();
    let stacks = || extents.iter().filter(|extent| extent.kind() == Kind::Stack);
    let pools = Pool::all().filter(|pool| pool.kind == Kind::Stack);
    Info {
        guard: policy.guard,
        max_stacks: (policy.guard == Guard::Mprotect).then_some(policy.limit),
        slots_carved: stacks().map(|extent| extent.carved() as usize).sum(),
        slots_free: pools.map(Pool::count_free).sum(),
        extents: extents.len(),
        reserved_bytes: extents.iter().map(extent::Extent::bytes).sum(),
    }
}
