//! F3. G: a goroutine.
//!
//! # Where it lies
//!
//! At the top of its own stack's slot, so that a light goroutine touches one page:
//!
//! ```text
//! low                                                         top        +HEADER
//!  | guard | ... pages of the stack, committed on touch ... | packet |  G | slot header |
//!            <------------------------------- grows down      result
//! ```
//!
//! # Invariants
//!
//! 1. *Type-stable*: the memory of a G is never unmapped, trimmed or used for anything else, and is zero
//!    when its slot is first used. So `&'static G` is honest, and late wakers may look at a dead G.
//! 2. Fields in [`Cell`]s belong to whoever owns the goroutine at the moment: the spawner until it is
//!    queued, then the worker that runs it or the goroutine itself. Hand-over is by the queue's or the
//!    status word's Release and Acquire.
//! 3. What others read at any time (reports, wakers) is atomic.
//! 4. `bound` is null, or the M on which alone this goroutine runs; only that M sets and clears it.
//! 5. A handle names (G, birth); `Unpark::birth` tells whether it is still that goroutine.

pub(crate) mod done;
#[cfg(all(test, loom))]
mod listed;
#[cfg(not(loom))]
pub(crate) mod panicked;
pub(crate) mod state;
#[cfg(not(loom))]
pub(crate) mod token;
pub(crate) mod unpark;
#[cfg(not(loom))]
pub(crate) mod wait;
#[cfg(not(loom))]
pub(crate) mod who;

#[cfg(not(loom))]
pub(crate) use record::{G, GRef, Owner};

#[cfg(not(loom))]
mod record {
    use std::cell::{Cell, UnsafeCell};
    use std::panic::Location;
    use std::ptr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

    use super::done::Done;
    use super::panicked::Panicked;
    use super::state::State;
    use super::unpark::Unpark;
    use super::wait::{WaitFor, WaitReason};
    use crate::coro::Coro;
    use crate::cur::Head;
    use crate::fork::pile::Pile;
    use crate::stack::Slot;
    use crate::sys::clock;
    use crate::unwind::Visit;
    use crate::util::list::{Kind, Link};

    /// A goroutine, dead or alive (invariant 1).
    pub(crate) type GRef = &'static G;

    /// The scheduler that a goroutine belongs to, as this floor sees it.
    pub(crate) type Owner = *const ();

    /// The record of a goroutine.
    #[repr(C)]
    pub(crate) struct G {
        // The first line: all that the scheduler and wakers touch. The second and third: its forks. The
        // fourth: what a wait writes. So a goroutine that blocks and goes on costs three lines.
        /// First: queues know goroutines by it.
        link: Link,
        /// The status word and the ticket.
        pub(crate) state: State,
        /// The suspended computation. Touched by its worker only.
        pub(crate) coro: UnsafeCell<Coro>,
        /// The M that it is bound to (invariant 4).
        pub(crate) bound: AtomicPtr<Head>,
        /// Its scheduler.
        pub(crate) owner: AtomicPtr<()>,
        /// May it run on any M once it has started? Set at birth.
        pub(crate) free: Cell<bool>,
        /// Has it a pile of forks, which the worker installs and saves?
        pub(crate) forks: Cell<bool>,
        /// Its forks: on cache lines of its own.
        pub(crate) pile: Pile,
        /// How often it has been resumed.
        pub(crate) resumes: Cell<u64>,
        /// The stack pointer when it last left its stack.
        pub(crate) saved_sp: AtomicUsize,
        /// Why it waits, at which object, and where the number of who holds that stands.
        wait_reason: AtomicU8,
        wait_object: AtomicUsize,
        wait_holder: AtomicPtr<AtomicU64>,
        /// When it began to wait, by the coarse clock (`sys::clock`).
        wait_since: AtomicU64,
        /// Who has the result, who frees the slot.
        pub(crate) done: Done,
        /// Who spawned it, and how often that one had been resumed then: to go on with it directly at the
        /// end, if it has not run since. Compared, never followed.
        pub(crate) parent: Cell<*const G>,
        pub(crate) parent_resumes: Cell<u64>,
        /// The M that sleeps beneath it, while it parks in a panic.
        pub(crate) frozen: AtomicPtr<Head>,
        /// The token of `park` and `unpark`.
        pub(crate) unpark: Unpark,
        /// The low end of the stack or segment that it runs on: how much is left for `grow`.
        pub(crate) stack_low: AtomicUsize,
        /// Its goroutine-local values, of `local`; null if it has none.
        pub(crate) locals: Cell<*mut ()>,
        /// What is known of its panic (`panicked`).
        pub(crate) panicked: Cell<Option<Box<Panicked>>>,
        /// Its number, from 1; 0 in the memory of one that never lived.
        pub(crate) id: AtomicU64,
        /// What a visitor wants to see, while there is one (`coro`, invariant 5).
        pub(crate) visit: AtomicPtr<Visit>,
        /// Where it was spawned.
        site: AtomicPtr<Location<'static>>,
        /// Its name. The goroutine's alone from its birth to its end, when it drops it.
        pub(crate) name: UnsafeCell<Option<Arc<str>>>,
        /// The last wait that the trimmer has seen, times two; plus one if it has trimmed for it.
        pub(crate) trim_seen: AtomicU64,
    }

    // SAFETY: invariants 2 and 3: cells are touched by the one owner of the moment, the rest is atomic.
    unsafe impl Sync for G {}
    // SAFETY: as above.
    unsafe impl Send for G {}

    const _: () = assert!(size_of::<G>() <= crate::stack::GO_BYTES);
    const _: () = assert!(align_of::<G>() <= 128);

    impl std::fmt::Debug for G {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("G")
                .field("id", &self.id())
                .field("status", &self.state.status())
                .finish_non_exhaustive()
        }
    }

    impl G {
        /// The goroutine whose header area is that of `slot`.
        ///
        /// # Safety
        ///
        /// The slot came from the slab (then its memory is a G for ever: zero is a dead one).
        #[inline(always)]
        pub(crate) unsafe fn of_slot(slot: Slot) -> GRef {
            // SAFETY: the area is large enough and aligned (asserted above), zeroed at first and a G
            // ever since (invariant 1).
            unsafe { slot.goroutine_area().cast::<G>().as_ref() }
        }

        /// The goroutine whose link this is.
        ///
        /// # Safety
        ///
        /// `link` came from a G's `link()`: its kind is `Kind::G`.
        #[inline(always)]
        pub(crate) unsafe fn of_link(link: *mut Link) -> GRef {
            // SAFETY: the link is the G's first field, `repr(C)`; Gs are type-stable (invariant 1).
            unsafe { &*link.cast::<G>() }
        }

        /// Its slot.
        #[inline(always)]
        pub(crate) fn slot(&'static self) -> Slot {
            // The header lies behind the G: by the exposed address, not by the reference.
            let area = ptr::with_exposed_provenance_mut(ptr::from_ref(self).addr());
            // SAFETY: every G lies at the start of its slot's header area, in an exposed mapping.
            unsafe { Slot::from_area(ptr::NonNull::new_unchecked(area)) }
        }

        /// By which queues know it.
        #[inline(always)]
        pub(crate) fn link(&'static self) -> ptr::NonNull<Link> {
            debug_assert_eq!(self.link.kind(), Kind::G);
            ptr::NonNull::from(self).cast()
        }

        /// Its number.
        pub(crate) fn id(&self) -> u64 {
            self.id.load(Ordering::Relaxed)
        }

        /// Notes what it is about to wait for. Relaxed: for reports; who follows the holder's address
        /// borrows the waiting goroutine first.
        #[inline(always)]
        pub(crate) fn set_wait(&self, wait: WaitFor<'_>) {
            self.wait_reason.store(wait.reason as u8, Ordering::Relaxed);
            self.wait_object.store(wait.object, Ordering::Relaxed);
            let holder = wait.holder.map_or(ptr::null(), ptr::from_ref);
            self.wait_holder.store(holder.cast_mut(), Ordering::Relaxed);
            self.wait_since.store(clock::coarse_ns(), Ordering::Relaxed);
        }

        /// When it began to wait, if it waits, by the coarse clock.
        pub(crate) fn wait_since_ns(&self) -> u64 {
            self.wait_since.load(Ordering::Relaxed)
        }

        /// The address of what it waits for, if it waits; 0: unknown.
        pub(crate) fn wait_object(&self) -> usize {
            self.wait_object.load(Ordering::Relaxed)
        }

        /// The number of the goroutine that holds what this one waits for; 0: unknown.
        ///
        /// # Safety
        ///
        /// It waits, and does not stop waiting during the call (`State::borrow_waiting`).
        pub(crate) unsafe fn wait_holder(&self) -> u64 {
            // SAFETY: null, or lent to the wait, which lasts.
            let holder = unsafe { self.wait_holder.load(Ordering::Relaxed).as_ref() };
            holder.map_or(0, |holder| holder.load(Ordering::Relaxed))
        }

        /// Why it waits, if it waits.
        pub(crate) fn wait_reason(&self) -> WaitReason {
            WaitReason::from_raw(self.wait_reason.load(Ordering::Relaxed))
        }

        /// Notes where it was spawned. Relaxed: for reports.
        #[inline(always)]
        pub(crate) fn set_site(&self, site: &'static Location<'static>) {
            self.site.store(ptr::from_ref(site).cast_mut(), Ordering::Relaxed);
        }

        /// Its name.
        ///
        /// # Safety
        ///
        /// The caller is the goroutine itself, or a signal handler that has interrupted it.
        pub(crate) unsafe fn own_name(&self) -> Option<&Arc<str>> {
            // SAFETY: the name is the goroutine's alone, which is the caller, or stands still beneath it.
            unsafe { (*self.name.get()).as_ref() }
        }

        /// Where it was spawned; `None` for memory that never held a goroutine.
        pub(crate) fn site(&self) -> Option<&'static Location<'static>> {
            // SAFETY: null or a `&'static Location` from `set_site`.
            unsafe { self.site.load(Ordering::Relaxed).as_ref() }
        }
    }
}
