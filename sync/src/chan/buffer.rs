//! What a channel holds between send and receive.
//!
//! # Invariants
//!
//! 1. `push` and `pop` neither allocate nor free: they run under the channel's lock. A bounded buffer has
//!    its memory from the start. An unbounded one asks for a block when it has no room
//!    ([`Pushed::NeedsBlock`]); the caller makes it outside the lock and comes again with [`Buffer::grow`].
//!    What is no longer needed is handed out, to be freed outside: [`Buffer::take_garbage`] after each pop,
//!    at the latest after the next one: each block is emptied by many.
//! 2. First in, first out.
//! 3. An unbounded buffer's blocks are full but the first and the last; none is empty but a lone one.
//!
//! An unbounded buffer is a row of blocks; each is a ring, so a consumer that keeps up stays within one
//! block for ever. One emptied block is kept for the next that is needed.
//!
//! *Rejected:* one ring that doubles: moving a large buffer's contents under the lock holds up all. A
//! chain of raw blocks: saves the row (32 bytes for each block, moved when the row doubles), costs unsafe
//! code.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// The first block of an unbounded buffer, and the largest, in values.
const BLOCK_MIN: usize = 32;
const BLOCK_MAX: usize = 4_096;

/// See the head of the file.
pub(super) enum Buffer<T> {
    /// At most `capacity` values; the ring has room for them.
    Bounded { ring: VecDeque<T>, capacity: usize },
    /// As many as memory holds. (In a box: so all that a bounded channel touches lies on two cache lines.)
    Unbounded(Box<Blocks<T>>),
}

/// The blocks of an unbounded buffer.
pub(super) struct Blocks<T> {
    row: VecDeque<VecDeque<T>>,
    len: usize,
    spare: Option<VecDeque<T>>,
    garbage: Option<VecDeque<T>>,
}

/// What came of a [`Buffer::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is in.
    Done,
    /// There is no room until something is popped.
    Full,
    /// There is no room until the buffer has grown.
    NeedsBlock,
}

/// A block for a buffer to grow by, made outside the lock; afterwards, what is left of it to be freed.
pub(super) struct Growth<T> {
    block: Option<VecDeque<T>>,
    row: Option<VecDeque<VecDeque<T>>>,
}

/// How large a [`Growth`] must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct GrowthSize {
    block: usize,
    /// 0: the row has room.
    row: usize,
}

impl<T> Buffer<T> {
    /// Room for exactly `capacity` values.
    ///
    /// # Panics
    ///
    /// If so many values do not fit into the address space.
    pub(super) fn bounded(capacity: usize) -> Self {
        Buffer::Bounded { ring: VecDeque::with_capacity(capacity), capacity }
    }

    /// Room for all.
    pub(super) fn unbounded() -> Self {
        Buffer::Unbounded(Box::new(Blocks { row: VecDeque::new(), len: 0, spare: None, garbage: None }))
    }

    /// How many values are in.
    pub(super) fn len(&self) -> usize {
        match self {
            Buffer::Bounded { ring, .. } => ring.len(),
            Buffer::Unbounded(blocks) => blocks.len,
        }
    }

    /// Is there room for one more? An unbounded buffer has, if need be after it has grown.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Buffer::Bounded { ring, capacity } => ring.len() < *capacity,
            Buffer::Unbounded(_) => true,
        }
    }

    /// Puts a value in, if the buffer is bounded and has room.
    #[inline(always)]
    pub(super) fn put(&mut self, value: T) -> Result<(), T> {
        match self {
            Buffer::Bounded { ring, capacity } if ring.len() < *capacity => {
                ring.push_back(value);
                Ok(())
            }
            _ => Err(value),
        }
    }

    /// Takes the oldest value out, if the buffer is bounded and there is one.
    #[inline(always)]
    pub(super) fn get(&mut self) -> Option<T> {
        let Buffer::Bounded { ring, .. } = self else { return None };
        ring.pop_front()
    }

    /// Puts the value that is in `slot` in, if there is one and there is room.
    #[inline(always)]
    pub(super) fn push(&mut self, slot: &mut Option<T>) -> Pushed {
        match self {
            Buffer::Bounded { ring, capacity } => {
                if ring.len() >= *capacity {
                    return Pushed::Full;
                }
                if let Some(value) = slot.take() {
                    ring.push_back(value);
                }
                Pushed::Done
            }
            Buffer::Unbounded(blocks) => blocks.push(slot),
        }
    }

    /// Takes the oldest value out.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<T> {
        match self {
            Buffer::Bounded { ring, .. } => ring.pop_front(),
            Buffer::Unbounded(blocks) => blocks.pop(),
        }
    }

    /// Memory that the last `pop` has emptied, to be freed outside the lock.
    #[inline(always)]
    pub(super) fn take_garbage(&mut self) -> Option<VecDeque<T>> {
        match self {
            Buffer::Bounded { .. } => None,
            Buffer::Unbounded(blocks) => blocks.garbage.take(),
        }
    }

    /// Is there some?
    pub(super) fn has_garbage(&self) -> bool {
        matches!(self, Buffer::Unbounded(blocks) if blocks.garbage.is_some())
    }

    /// By what the buffer has to grow before the next push, if it has.
    pub(super) fn growth_size(&self) -> Option<GrowthSize> {
        let Buffer::Unbounded(blocks) = self else { return None };
        if blocks.has_room() {
            return None;
        }
        let row = if blocks.row.len() < blocks.row.capacity() { 0 } else { (2 * blocks.row.len()).max(4) };
        Some(GrowthSize { block: blocks.len.clamp(BLOCK_MIN, BLOCK_MAX), row })
    }

    /// Grows by what was made for it, if it is still needed. What is in `growth` afterwards is to be freed.
    pub(super) fn grow(&mut self, growth: &mut Growth<T>) {
        let Buffer::Unbounded(blocks) = self else { return };
        if let Some(row) = &mut growth.row
            && row.capacity() > blocks.row.capacity()
        {
            row.append(&mut blocks.row);
            std::mem::swap(row, &mut blocks.row);
        }
        if blocks.spare.is_none() {
            blocks.spare = growth.block.take();
        }
    }

    /// Everything that is in, out of the lock's reach; an empty buffer is left.
    pub(super) fn take_all(&mut self) -> Buffer<T> {
        std::mem::replace(self, Buffer::Bounded { ring: VecDeque::new(), capacity: 0 })
    }
}

impl<T> Blocks<T> {
    #[inline(always)]
    fn is_last_full(&self) -> bool {
        self.row.back().is_none_or(|last| last.len() == last.capacity())
    }

    /// Can a value be pushed without growing?
    fn has_room(&self) -> bool {
        !self.is_last_full() || (self.spare.is_some() && self.row.len() < self.row.capacity())
    }

    #[inline]
    fn push(&mut self, slot: &mut Option<T>) -> Pushed {
        if self.is_last_full() {
            if !self.has_room() {
                return Pushed::NeedsBlock;
            }
            self.row.extend(self.spare.take());
        }
        let last = self.row.back_mut().expect("a block was there, or was put there");
        if let Some(value) = slot.take() {
            last.push_back(value);
        }
        self.len += 1;
        Pushed::Done
    }

    #[inline]
    fn pop(&mut self) -> Option<T> {
        let first = self.row.front_mut()?;
        let value = first.pop_front()?;
        self.len -= 1;
        if first.is_empty() && self.row.len() > 1 {
            let emptied = self.row.pop_front();
            if self.spare.is_none() {
                self.spare = emptied;
            } else {
                debug_assert!(self.garbage.is_none(), "freed under the lock");
                self.garbage = emptied;
            }
        }
        Some(value)
    }
}

impl<T> Growth<T> {
    /// Allocates.
    pub(super) fn new(size: GrowthSize) -> Self {
        Growth {
            block: Some(VecDeque::with_capacity(size.block)),
            row: (size.row > 0).then(|| VecDeque::with_capacity(size.row)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a channel pushes.
    fn push<T>(buffer: &mut Buffer<T>, value: T) {
        let mut slot = Some(value);
        while buffer.push(&mut slot) == Pushed::NeedsBlock {
            let mut growth = Growth::new(buffer.growth_size().expect("it needs a block"));
            buffer.grow(&mut growth);
        }
        assert!(slot.is_none());
    }

    #[test]
    fn a_bounded_buffer_is_full_at_its_capacity() {
        for capacity in [0, 1, 2, 3, 100] {
            let mut buffer = Buffer::bounded(capacity);
            for n in 0..capacity {
                assert_eq!(buffer.push(&mut Some(n)), Pushed::Done);
            }
            let mut slot = Some(7);
            assert_eq!((buffer.push(&mut slot), slot), (Pushed::Full, Some(7)));
            assert!((0..capacity).all(|n| buffer.pop() == Some(n)));
            assert_eq!(buffer.pop(), None);
        }
    }

    #[test]
    fn an_unbounded_buffer_keeps_the_order_through_all_its_blocks() {
        let mut buffer = Buffer::unbounded();
        let (mut put, mut taken) = (0, 0);
        for round in 0..200 {
            (0..round * 7).for_each(|_| {
                push(&mut buffer, put);
                put += 1;
            });
            (0..round * 6).for_each(|_| {
                assert_eq!(buffer.pop(), Some(taken));
                buffer.take_garbage();
                taken += 1;
            });
            assert_eq!(buffer.len(), put - taken);
        }
        while let Some(value) = buffer.pop() {
            assert_eq!(value, taken);
            buffer.take_garbage();
            taken += 1;
        }
        assert_eq!((taken, buffer.len()), (put, 0));
    }

    #[test]
    fn what_passes_through_an_unbounded_buffer_leaves_no_memory_behind() {
        let mut buffer = Buffer::unbounded();
        for n in 0..100_000 {
            push(&mut buffer, n);
            push(&mut buffer, n);
            assert!(buffer.pop().is_some() && buffer.pop().is_some());
            assert!(buffer.take_garbage().is_none());
        }
        let Buffer::Unbounded(blocks) = &buffer else { panic!("it is unbounded") };
        assert_eq!(blocks.row.len(), 1);
        assert!(blocks.spare.is_none(), "one block was enough");
    }

    #[test]
    fn values_without_size_need_no_memory() {
        let mut bounded = Buffer::bounded(usize::MAX);
        assert_eq!(bounded.push(&mut Some(())), Pushed::Done);
        let mut unbounded = Buffer::unbounded();
        (0..10_000).for_each(|_| push(&mut unbounded, ()));
        assert_eq!((bounded.len(), unbounded.len()), (1, 10_000));
    }
}
