//! F1. A chain of free slots.
//!
//! A stack (last in, first out) that is linked through the headers of the slots themselves: it allocates
//! nothing, so it may be changed under a lock and on the scheduler stack. It knows its last slot, so that
//! a whole chain is put upon another in constant time.
//!
//! # Invariants
//!
//! 1. The slots in a chain are free, and belong to the chain: no other chain holds them, nobody uses them.
//! 2. `head` and `tail` are both `None`, with `len` 0; or following `next` from `head` meets `len` slots,
//!    the last of which is `tail`. The `next` of `tail` means nothing.

use super::slot::Slot;

/// A chain of free slots. Dropping one that is not empty loses its slots.
#[derive(Debug)]
pub(super) struct Chain {
    head: Option<Slot>,
    tail: Option<Slot>,
    len: usize,
}

impl Chain {
    /// A chain without slots.
    pub(super) const EMPTY: Chain = Chain { head: None, tail: None, len: 0 };

    /// The number of slots.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Has it no slots?
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves all slots out.
    pub(super) fn take(&mut self) -> Chain {
        std::mem::replace(self, Chain::EMPTY)
    }

    /// Adds a slot at the hot end.
    ///
    /// # Safety
    ///
    /// The caller owns the slot and gives it up.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, slot: Slot) {
        // SAFETY: the caller owns the slot.
        unsafe { slot.link(self.head) };
        if self.head.is_none() {
            self.tail = Some(slot);
        }
        self.head = Some(slot);
        self.len += 1;
    }

    /// Removes the slot at the hot end; it is the caller's.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<Slot> {
        let slot = self.head?;
        // SAFETY: invariant 1: the slot belongs to this chain.
        let next = unsafe { slot.unlink() };
        self.len -= 1;
        // Invariant 2: the last slot's `next` means nothing.
        self.head = if self.len == 0 { None } else { next };
        Some(slot)
    }

    /// Puts all slots of `other` at the hot end, in their order.
    pub(super) fn prepend(&mut self, other: Chain) {
        let Some(tail) = other.tail.filter(|_| !other.is_empty()) else { return };
        if self.is_empty() {
            *self = other;
            return;
        }
        // SAFETY: invariant 1: `other` is ours, so is its last slot.
        unsafe { tail.set_next(self.head) };
        self.head = other.head;
        self.len += other.len;
    }

    /// Removes up to `count` slots from the hot end, in their order. Walks over them.
    pub(super) fn split(&mut self, count: usize) -> Chain {
        if count >= self.len {
            return self.take();
        }
        let Some(head) = self.head.filter(|_| count > 0) else { return Chain::EMPTY };
        let mut tail = head;
        for _ in 1..count {
            // SAFETY: invariants 1 and 2: fewer steps than the chain has links.
            tail = unsafe { tail.next() }.expect("a chain has as many links as its length says");
        }
        let front = Chain { head: Some(head), tail: Some(tail), len: count };
        // SAFETY: invariant 1; `tail` is not the last slot, for `count < len`.
        self.head = unsafe { tail.next() };
        self.len -= count;
        front
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::{Class, alloc, free};
    use super::*;

    /// A chain of `count` slots, and the slots in the order in which they will be popped.
    fn chain(count: usize) -> (Chain, Vec<Slot>) {
        let class = Class::for_size(16 << 10).unwrap();
        let mut chain = Chain::EMPTY;
        let mut slots: Vec<Slot> = (0..count).map(|_| alloc(class).unwrap()).collect();
        // SAFETY: just allocated, and given up.
        slots.iter().for_each(|&slot| unsafe { chain.push(slot) });
        slots.reverse();
        (chain, slots)
    }

    fn drain(mut chain: Chain) -> Vec<Slot> {
        let length = chain.len();
        let slots: Vec<Slot> = std::iter::from_fn(|| chain.pop()).collect();
        assert_eq!(slots.len(), length);
        assert!(chain.is_empty() && chain.pop().is_none());
        // SAFETY: popped, so ours.
        slots.iter().for_each(|&slot| unsafe { free(slot) });
        slots
    }

    #[test]
    fn the_last_pushed_is_the_first_popped() {
        let (chain, slots) = chain(5);
        assert_eq!(drain(chain), slots);
    }

    #[test]
    fn a_split_keeps_the_order_of_both_parts() {
        for count in 0..=6 {
            let (mut rest, slots) = chain(5);
            let front = rest.split(count);
            let count = count.min(5);
            assert_eq!((front.len(), rest.len()), (count, 5 - count));
            assert_eq!(drain(front), slots[..count]);
            assert_eq!(drain(rest), slots[count..]);
        }
    }

    #[test]
    fn a_chain_is_put_upon_another() {
        for (upper, lower) in [(0, 0), (0, 3), (3, 0), (1, 1), (3, 4)] {
            let (top, mut expected) = chain(upper);
            let (mut all, slots) = chain(lower);
            expected.extend(slots);
            all.prepend(top);
            assert_eq!(all.len(), upper + lower);
            // The end must be right as well: a further chain upon it would be lost otherwise.
            let (mut more, mut first) = chain(2);
            more.split(0);
            all.prepend(more);
            first.extend(expected);
            assert_eq!(drain(all), first);
        }
    }

    #[test]
    fn a_chain_that_was_emptied_and_split_knows_its_last_slot() {
        let (mut rest, slots) = chain(4);
        let mut front = rest.split(2);
        let kept = [front.pop(), front.pop()].map(Option::unwrap);
        // SAFETY: popped, so ours.
        kept.iter().for_each(|&slot| unsafe { front.push(slot) });
        rest.prepend(front);
        assert_eq!(drain(rest), [slots[1], slots[0], slots[2], slots[3]]);
    }
}
