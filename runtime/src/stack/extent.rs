//! F1. Extents: large reservations of address space that slots are carved from.
//!
//! ```text
//!  extent:  | slot 0 | slot 1 | slot 2 | not carved yet ...                         |
//!                                      ^ carved = 3                                 ^ slots = 4096
//! ```
//!
//! All extents of the process stand in one static table, in the order in which they were mapped: nothing
//! is allocated, and a signal handler can look an address up. This is the one piece of the machine that is
//! process-wide (Rule 3's exception): a goroutine that was leaked by its runtime may still be named by
//! somebody, so its memory must outlive the runtime.
//!
//! # Invariants
//!
//! 1. The first `COUNT` entries are complete, and but for `carved` and `next_open` they never change.
//! 2. An extent is never unmapped. Its slots have one kind and one class.
//! 3. `carved` only grows, under the lock of the extent's pool; slots below it are in use, free, or about
//!    to be. It stays at most `slots`.
//! 4. `next_open` belongs to the pool, under its lock.
//!
//! # Size
//!
//! An extent has 1 GiB, or less where that cannot be had: half and half again, down to one slot. Under
//! `ulimit -v` it has no more than a sixteenth of the limit, lest the first stack leave nothing to malloc.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use super::class::{Class, KINDS, Kind};
use super::error::Error;
use super::slot::Slot;
use crate::sys::memory;
use crate::util::lock::Lock;

const EXTENT_BYTES: usize = 1 << 30;

/// 16 TiB of extents, were all of full size; the table takes 512 KiB of zero pages.
const MAX_EXTENTS: usize = 16384;

static TABLE: [Extent; MAX_EXTENTS] = [const { Extent::vacant() }; MAX_EXTENTS];
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Held while an entry is added.
static APPEND: Lock<()> = Lock::new(());

/// An entry of the table. Atomics only because others read while one is being added.
#[derive(Debug)]
pub(super) struct Extent {
    base: AtomicPtr<u8>,
    slots: AtomicU32,
    carved: AtomicU32,
    kind: AtomicU8,
    class: AtomicU8,
    /// The next extent of the same pool that may have uncarved slots.
    next_open: AtomicPtr<Extent>,
}

/// The extents mapped so far. Safe from a signal handler.
pub(super) fn all() -> &'static [Extent] {
    // Acquire: pairs with the Release in `append`; entries below the count are complete.
    &TABLE[..COUNT.load(Ordering::Acquire)]
}

impl Extent {
    const fn vacant() -> Extent {
        Extent {
            base: AtomicPtr::new(ptr::null_mut()),
            slots: AtomicU32::new(0),
            carved: AtomicU32::new(0),
            kind: AtomicU8::new(0),
            class: AtomicU8::new(0),
            next_open: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Maps an extent for slots of `class` and adds it to the table. Makes system calls: not under a lock.
    pub(super) fn map(kind: Kind, class: Class) -> Result<&'static Extent, Error> {
        let mut bytes = first_size(class);
        let base = loop {
            match memory::reserve(bytes) {
                Ok(base) => break base,
                Err(_) if bytes > class.bytes() => bytes /= 2,
                Err(errno) => return Err(Error::Map { kind, bytes, errno }),
            }
        };
        // Slots and packets are found again by their addresses.
        let _ = base.as_ptr().expose_provenance();
        append(base, bytes, kind, class).ok_or_else(|| {
            // SAFETY: mapped above with this size, and known to nobody.
            unsafe { memory::unmap(base, bytes) };
            Error::Extents { kind, bytes: class.bytes(), extents: MAX_EXTENTS }
        })
    }

    /// Takes the next slot that was never used: its name, base and index. The caller holds the pool's lock
    /// and owns the slot, which is neither initialised nor guarded.
    pub(super) fn carve_locked(&self) -> Option<(Slot, NonNull<u8>, u32)> {
        // Relaxed: written under the pool's lock only.
        let index = self.carved.load(Ordering::Relaxed);
        if index == self.slots.load(Ordering::Relaxed) {
            return None;
        }
        // Relaxed: readers learn from the slot's own state whether it is ready.
        self.carved.store(index + 1, Ordering::Relaxed);
        Some((self.slot(index), self.slot_base(index), index))
    }

    /// The slot at place `index`; it need not be ready.
    pub(super) fn slot(&self, index: u32) -> Slot {
        // SAFETY: `slot_base` has checked that the extent, which is mapped for ever, has such a slot.
        unsafe { Slot::at(self.slot_base(index), self.class(), index) }
    }

    /// The carved slot that `address` lies in, and the offset within it.
    pub(super) fn find(&self, address: usize) -> Option<(Slot, usize)> {
        let offset = address.checked_sub(self.base.load(Ordering::Relaxed).addr())?;
        let index = u32::try_from(offset / self.class().bytes()).ok()?;
        (index < self.carved()).then(|| (self.slot(index), offset % self.class().bytes()))
    }

    /// How many slots have been taken.
    pub(super) fn carved(&self) -> u32 {
        // Relaxed: see `carve_locked`.
        self.carved.load(Ordering::Relaxed)
    }

    /// What the slots serve as.
    pub(super) fn kind(&self) -> Kind {
        KINDS[self.kind.load(Ordering::Relaxed) as usize]
    }

    /// The size of the slots.
    pub(super) fn class(&self) -> Class {
        Class::from_index(self.class.load(Ordering::Relaxed) as usize)
    }

    /// The address space of the extent.
    pub(super) fn bytes(&self) -> usize {
        self.slots.load(Ordering::Relaxed) as usize * self.class().bytes()
    }

    /// The pool's next extent; invariant 4.
    pub(super) fn next_open(&self) -> Option<&'static Extent> {
        // SAFETY: null, or an element of the static table.
        unsafe { self.next_open.load(Ordering::Relaxed).as_ref() }
    }

    /// Sets the pool's next extent; invariant 4.
    pub(super) fn set_next_open(&self, next: Option<&'static Extent>) {
        let next = next.map_or(ptr::null(), ptr::from_ref);
        self.next_open.store(next.cast_mut(), Ordering::Relaxed);
    }

    fn slot_base(&self, index: u32) -> NonNull<u8> {
        assert!(index < self.slots.load(Ordering::Relaxed), "the extent has such a slot");
        let base = NonNull::new(self.base.load(Ordering::Relaxed)).expect("the entry is complete");
        // SAFETY: within the extent, by the assertion.
        unsafe { base.add(index as usize * self.class().bytes()) }
    }
}

/// The size to try first.
fn first_size(class: Class) -> usize {
    let share = memory::address_space_limit().map_or(EXTENT_BYTES, |limit| (limit / 16).max(1));
    (1 << share.min(EXTENT_BYTES).ilog2()).max(class.bytes())
}

/// Adds an entry to the table; `None` if it is full.
fn append(base: NonNull<u8>, bytes: usize, kind: Kind, class: Class) -> Option<&'static Extent> {
    let _held = APPEND.lock();
    let count = COUNT.load(Ordering::Relaxed);
    let extent = TABLE.get(count)?;
    extent.base.store(base.as_ptr(), Ordering::Relaxed);
    extent.slots.store((bytes / class.bytes()) as u32, Ordering::Relaxed);
    extent.kind.store(kind as u8, Ordering::Relaxed);
    extent.class.store(class.index() as u8, Ordering::Relaxed);
    // Release: pairs with the Acquire in `all`.
    COUNT.store(count + 1, Ordering::Release);
    Some(extent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;

    use super::super::testing::{in_child, touch};
    use super::super::{alloc, free, info};
    use super::*;
    use crate::sys::memory::PAGE_BYTES;

    fn class(bytes: usize) -> Class {
        Class::for_size(bytes).unwrap()
    }

    fn limit_address_space(further_bytes: usize) {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = pages.split(' ').next().unwrap().parse().unwrap();
        let bytes = (pages * PAGE_BYTES + further_bytes) as libc::rlim_t;
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: reads one rlimit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    }

    fn exhaust(class: Class) -> (Vec<Slot>, Error) {
        let mut slots = Vec::with_capacity(4096);
        loop {
            match alloc(class) {
                Ok(slot) => slots.push(slot),
                Err(error) => return (slots, error),
            }
        }
    }

    #[test]
    fn exhausted_address_space_is_an_error_and_passes() {
        in_child(module_path!(), "exhausted_address_space_is_an_error_and_passes", &[], || {
            limit_address_space(264 << 20);
            let class = class(16 << 20);
            let (slots, error) = exhaust(class);
            assert!((14..=16).contains(&slots.len()), "{}", slots.len());
            let error = io::Error::from(error);
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
            let text = error.to_string();
            assert!(text.starts_with("cannot reserve a goroutine stack of 16777216 bytes: "), "{text}");
            // The rest of the program goes on.
            assert_eq!(vec![1_u8; 1 << 20].len(), 1 << 20);
            // SAFETY: allocated above, used by nobody.
            unsafe { free(slots[3]) };
            assert_eq!(alloc(class), Ok(slots[3]));
            assert!(alloc(class).is_err());
            limit_address_space(64 << 20);
            assert!(alloc(class).is_ok());
        });
    }

    #[test]
    fn what_is_left_of_the_address_space_is_used_in_smaller_extents() {
        in_child(module_path!(), "what_is_left_of_the_address_space_is_used_in_smaller_extents", &[], || {
            // A sixteenth of the limit is more than what is left of it.
            memory::reserve(4 << 30).unwrap();
            limit_address_space(100 << 20);
            let (slots, _) = exhaust(class(4 << 20));
            assert!((20..=25).contains(&slots.len()), "{}", slots.len());
            assert!(info().extents > 1);
            assert_eq!(info().reserved_bytes, slots.len() * (4 << 20));
        });
    }

    #[test]
    fn large_stacks_have_extents_of_their_own() {
        in_child(module_path!(), "large_stacks_have_extents_of_their_own", &[], || {
            let slots = [(); 3].map(|()| alloc(class(1 << 30)).unwrap());
            assert_eq!((info().extents, info().reserved_bytes), (3, 3 << 30));
            touch(slots[1], 100);
            alloc(class(512 << 20)).unwrap();
            alloc(class(512 << 20)).unwrap();
            assert_eq!((info().extents, info().reserved_bytes), (4, 4 << 30));
        });
    }

    #[test]
    fn the_first_stack_leaves_address_space_to_malloc() {
        in_child(module_path!(), "the_first_stack_leaves_address_space_to_malloc", &[], || {
            limit_address_space(500 << 20);
            alloc(Class::DEFAULT).unwrap();
            assert!((1 << 20..=64 << 20).contains(&info().reserved_bytes), "{:?}", info());
            memory::reserve(256 << 20).unwrap();
        });
    }
}
