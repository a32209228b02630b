//! F4. The private ring of a processor: work that nobody else can take.
//!
//! # What it is
//!
//! A fixed ring of items that its owner alone pushes to and pops from, at both ends: spawn's
//! continuations are popped newest first, what is published to thieves leaves oldest first. No
//! read-modify-write, no fence: each operation is a load and one or two stores, which the compiler turns
//! into plain moves. Others may ask for its length.
//!
//! ```text
//!             index word (one line with the first slots)
//!            .----------------------.----------------------.
//!            | head: u32            | len: u32             |
//!            '----------------------'----------------------'
//!   slots    [ .  .  a  b  c  d  .  . ]      head = 2, len = 4
//!                    ^        ^
//!                    oldest   newest = (head + len - 1) mod CAPACITY
//!
//!   push: word + 1      pop_newest: word - 1      pop_oldest: word + (1 << 32) - 1
//! ```
//!
//! # Invariants
//!
//! 1. Only the owner stores (`queue`, invariant 4). Ownership passes with the P, by a Release and an
//!    Acquire in `sched`: so Relaxed is enough for everything here.
//! 2. `len` ≤ `CAPACITY`, so neither half of the word carries into the other: `len` never passes its 32
//!    bits, and `head` wraps off the top.
//! 3. The slots `head .. head + len` (mod `CAPACITY`) hold items' addresses.
//!
//! # What another thread reads
//!
//! [`len`](Ring::len) is one load of the one word that every operation stores once: it is the exact
//! length at some instant between the operations. In particular a ring that is never empty never reads
//! as empty . Two index words could not give that without an order between the two
//! loads, for `pop_newest` moves the tail back.
//!
//! The idle protocol: the owner pushes, passes a `light_fence` and looks whether anybody is idle; who
//! goes to sleep publishes that, passes a `heavy_fence` and reads every ring's length. One of them sees
//! the other (`prim`); the fences are the callers', the load and the store here stay Relaxed.
//!
//! Called by the owner on goroutine and scheduler stacks; `len` on any.

use std::fmt;
use std::ptr;

use super::item::Item;
use crate::prim::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::util::list::Link;

/// How many items a ring holds. A power of two.
#[cfg(not(loom))]
pub(crate) const CAPACITY: usize = 256;
/// How many items a ring holds in a model.
#[cfg(loom)]
pub(crate) const CAPACITY: usize = 4;

const MASK: u32 = CAPACITY as u32 - 1;
/// One step of `head` in the index word.
const HEAD: u64 = 1 << 32;

/// A fixed ring with one owner; see the module's docs.
#[repr(C)]
pub(crate) struct Ring {
    /// `head` << 32 | `len`.
    word: AtomicU64,
    slots: [AtomicPtr<Link>; CAPACITY],
}

impl Ring {
    /// An empty ring.
    pub(crate) fn new() -> Self {
        Ring { word: AtomicU64::new(0), slots: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }

    /// Owner: adds the newest item.
    ///
    /// # Errors
    ///
    /// The item itself, if the ring is full.
    #[inline]
    pub(crate) fn push(&self, item: Item) -> Result<(), Item> {
        let word = self.word();
        if len_of(word) as usize == CAPACITY {
            return Err(item);
        }
        self.slot(head_of(word).wrapping_add(len_of(word))).store(item.as_ptr(), Ordering::Relaxed);
        self.set_word(word + 1);
        Ok(())
    }

    /// Owner: takes the item that was pushed last.
    #[inline]
    pub(crate) fn pop_newest(&self) -> Option<Item> {
        let word = self.word();
        if len_of(word) == 0 {
            return None;
        }
        let item = self.take(head_of(word).wrapping_add(len_of(word) - 1));
        self.set_word(word - 1);
        item
    }

    /// Owner: takes the item that was pushed first.
    #[inline]
    pub(crate) fn pop_oldest(&self) -> Option<Item> {
        let word = self.word();
        if len_of(word) == 0 {
            return None;
        }
        let item = self.take(head_of(word));
        self.set_word(word.wrapping_add(HEAD) - 1);
        item
    }

    /// Owner: takes the `n` oldest items (all, if there are fewer), oldest first, and returns how many.
    /// The ring may be used from within `sink`.
    pub(crate) fn drain_oldest(&self, n: usize, mut sink: impl FnMut(Item)) -> usize {
        let mut taken = 0;
        while taken < n {
            let Some(item) = self.pop_oldest() else { break };
            sink(item);
            taken += 1;
        }
        taken
    }

    /// Anybody: how many items there are; exact for the owner, exact at some instant for others.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        len_of(self.word()) as usize
    }

    /// Anybody: is there none?
    #[cfg(test)]
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Owner: how many more items it takes.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        CAPACITY - self.len()
    }

    // Relaxed: invariant 1 for the owner, the fences of the idle protocol for others.
    #[inline(always)]
    fn word(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    // Relaxed: pairs with nothing. A reader learns from it that there is work, and asks for it; it never
    // goes from the index to a slot.
    #[inline(always)]
    fn set_word(&self, word: u64) {
        self.word.store(word, Ordering::Relaxed);
    }

    #[inline(always)]
    fn take(&self, index: u32) -> Option<Item> {
        // Relaxed: invariant 1.
        let link = self.slot(index).load(Ordering::Relaxed);
        debug_assert!(!link.is_null(), "a ring with two owners");
        // SAFETY: a slot holds null or what `push` took from an item.
        unsafe { Item::from_ptr(link) }
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> &AtomicPtr<Link> {
        &self.slots[(index & MASK) as usize]
    }
}

#[inline(always)]
fn head_of(word: u64) -> u32 {
    (word >> 32) as u32
}

#[inline(always)]
fn len_of(word: u64) -> u32 {
    word as u32
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::testing::Links;
    use super::{CAPACITY, Ring};
    use crate::util::rng::Rng;

    /// As Go's TestSchedLocalQueue.
    #[test]
    fn holds_i_items_in_order_for_every_i_then_is_empty() {
        let links = Links::new(CAPACITY + 1);
        let ring = Ring::new();
        for i in 0..=CAPACITY {
            for n in 0..i {
                assert_eq!(ring.push(links.item(n)), Ok(()));
            }
            assert_eq!((ring.len(), ring.room()), (i, CAPACITY - i));
            if i == CAPACITY {
                assert_eq!(ring.push(links.item(i)), Err(links.item(i)), "one more than the capacity");
            }
            for n in 0..i {
                assert_eq!(ring.pop_oldest(), Some(links.item(n)));
            }
            assert!(ring.is_empty() && ring.pop_oldest().is_none() && ring.pop_newest().is_none());
        }
    }

    #[test]
    fn pop_newest_is_last_in_first_out() {
        let links = Links::new(CAPACITY);
        let ring = Ring::new();
        for item in links.items() {
            assert_eq!(ring.push(item), Ok(()));
        }
        for n in (0..CAPACITY).rev() {
            assert_eq!(ring.pop_newest(), Some(links.item(n)));
        }
        assert!(ring.is_empty());
    }

    /// Against a `VecDeque`, from just before the point where `head` wraps.
    #[test]
    fn random_operations_agree_with_a_deque_across_the_wrap() {
        let links = Links::new(1000);
        for seed in 0..20 {
            let rng = Rng::new(seed);
            let (ring, mut model) = (Ring::new(), VecDeque::new());
            ring.set_word(u64::from(u32::MAX - 500) << 32);
            for step in 0..5_000 {
                let item = links.item(step % 1000);
                match rng.below(7) {
                    0..=3 if model.len() == CAPACITY => assert_eq!(ring.push(item), Err(item)),
                    0..=3 => {
                        assert_eq!(ring.push(item), Ok(()));
                        model.push_back(item);
                    }
                    4 => assert_eq!(ring.pop_newest(), model.pop_back(), "seed {seed}, step {step}"),
                    5 => assert_eq!(ring.pop_oldest(), model.pop_front(), "seed {seed}, step {step}"),
                    _ => {
                        let n = rng.below(12) as usize;
                        let mut got = Vec::new();
                        assert_eq!(ring.drain_oldest(n, |item| got.push(item)), n.min(model.len()));
                        assert_eq!(got, model.drain(..got.len()).collect::<Vec<_>>(), "seed {seed}");
                    }
                }
                assert_eq!(ring.len(), model.len(), "seed {seed}, step {step}");
            }
        }
    }

    /// As Go's TestSchedLocalQueueEmpty, for the private ring.
    #[test]
    fn never_reads_as_empty_while_it_is_not() {
        const LOOKS: u32 = 3_000_000;
        let links = Links::new(3);
        let (ring, stop) = (Ring::new(), AtomicBool::new(false));
        assert_eq!(ring.push(links.item(0)), Ok(()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let wrong = (0..LOOKS).filter(|_| !(1..=2).contains(&ring.len())).count();
                stop.store(true, Ordering::Relaxed);
                assert_eq!(wrong, 0, "times seen empty, or longer than ever, of {LOOKS}");
            });
            for i in 1.. {
                assert_eq!(ring.push(links.item(i % 3)), Ok(()));
                assert!(if i % 2 == 0 { ring.pop_newest() } else { ring.pop_oldest() }.is_some());
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
    }
}
