//! F1. The deadlines of one processor, in order.
//!
//! # What it is
//!
//! An indexed 4-ary min-heap: insert, remove by key, take what is due; each in O(log n). Pure data: it
//! reads no clock and wakes nobody.
//!
//! ```text
//!   nodes      [ (deadline, seq, slot) ... ]   heap order; the four children of i are 4i+1 .. 4i+4
//!                              |    ^
//!                              v    |
//!   positions  [ ... index in `nodes`, or the next free slot ... ]      by slot; 4 bytes each
//!   entries    [ ... generation, the value ... ]                        by slot; not touched by sifting
//!
//!   Key = slot : u32, generation : u32
//! ```
//!
//! # Invariants
//!
//! 1. No node is less than its parent, by (deadline, seq). `seq` counts insertions and is never reused, so
//!    no two nodes are equal, and equal deadlines come out in the order of their insertion.
//! 2. `positions[nodes[i].slot] == i` for each i; a slot that no node names is on the free list, which is
//!    threaded through `positions`, or is retired, or was never used (`slot >= entries.len()`).
//! 3. A slot's generation counts its removals, and a key is live while the generations agree. A slot whose
//!    generation reaches the last value is retired, not reused (once in 2^32 uses of a slot; growth makes
//!    up for it): a stale key is *never* taken for a live one.
//! 4. **Nothing but [`Heap::with_capacity`] and dropping a heap allocates or frees.** Timers are inserted
//!    and removed under runtime locks (ARCHITECTURE, Rule 6). So growth has two phases: see below.
//!
//! Called on goroutine and scheduler stacks, under the lock of the heap's processor.
//!
//! # Growing
//!
//! 1. Under the lock: [`has_room`](Heap::has_room)? If so, insert. If not, note the capacity and unlock.
//! 2. `Heap::with_capacity` of twice that, outside. It also touches the new pages.
//! 3. Lock again; [`grow_into`](Heap::grow_into) the new one (if another thread was faster, that gives the
//!    new one back as it was); begin again at 1. Drop what `grow_into` returned after the lock is free.
//!
//! # Why four children
//!
//! Half the levels of a binary heap; the four children compared on the way down lie in two cache lines.
//! Most timers are timeouts that are removed long before they are due, from near the leaves: a removal
//! there moves a node or two. (LaMarca and Ladner, *The influence of caches on the performance of
//! heaps*, 1996; Go's and libuv's relatives chose the same.)
#![forbid(unsafe_code)]

use std::fmt;

const CHILDREN: usize = 4;
/// Ends the free list.
const NONE: u32 = u32::MAX;

/// Names one insertion. Copies may outlive it: a stale key is a no-op, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    slot: u32,
    generation: u32,
}

/// Deadlines with values; see the module's docs.
pub(crate) struct Heap<T> {
    nodes: Vec<Node>,
    positions: Vec<u32>,
    entries: Vec<Entry<T>>,
    capacity: usize,
    /// The first free slot below `entries.len()`, or `NONE`.
    free: u32,
    seq: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    deadline_ns: u64,
    seq: u64,
    slot: u32,
}

impl Node {
    /// Both halves in one comparison without a branch.
    #[inline(always)]
    fn rank(&self) -> u128 {
        u128::from(self.deadline_ns) << 64 | u128::from(self.seq)
    }
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Heap<T> {
    /// An empty heap with room for `capacity` deadlines. The one place that allocates; the pages are
    /// touched here, so that `grow_into` does not fault under a lock.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        assert!(capacity < NONE as usize, "slots are u32");
        let mut nodes = vec![Node { deadline_ns: 1, seq: 1, slot: 1 }; capacity];
        let mut positions = vec![1; capacity];
        let mut entries = Vec::with_capacity(capacity);
        entries.resize_with(capacity, || Entry { generation: 1, value: None });
        nodes.clear();
        positions.clear();
        entries.clear();
        Heap { nodes, positions, entries, capacity, free: NONE, seq: 0 }
    }

    /// How many deadlines there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Is there none?
    #[cfg(test)]
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many it was made for.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Can one more be inserted without growing?
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.free != NONE || self.entries.len() < self.capacity
    }

    /// The earliest deadline.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.nodes.first().map(|node| node.deadline_ns)
    }

    /// Adds a deadline. Does not allocate.
    ///
    /// # Panics
    ///
    /// If there is no room: ask [`has_room`](Self::has_room) under the same lock.
    pub(crate) fn insert(&mut self, deadline_ns: u64, value: T) -> Key {
        assert!(self.has_room(), "the timer heap is full: it grows outside of the lock");
        let slot = self.take_slot();
        let entry = &mut self.entries[slot as usize];
        entry.value = Some(value);
        let key = Key { slot, generation: entry.generation };
        let node = Node { deadline_ns, seq: self.seq, slot };
        self.seq += 1;
        self.nodes.push(node);
        self.sift_up(self.nodes.len() - 1, node);
        key
    }

    /// Takes out what `insert` returned this key for; `None` if it is no longer there. Frees nothing but
    /// what the caller does with the value.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get(key.slot as usize)?;
        if entry.generation != key.generation || entry.value.is_none() {
            return None;
        }
        let position = self.positions[key.slot as usize] as usize;
        self.remove_node(position);
        self.free_slot(key.slot)
    }

    /// Takes the earliest deadline, if it is not after `now_ns`.
    pub(crate) fn pop_due(&mut self, now_ns: u64) -> Option<(u64, T)> {
        let first = *self.nodes.first()?;
        if first.deadline_ns > now_ns {
            return None;
        }
        self.remove_node(0);
        let value = self.free_slot(first.slot)?;
        Some((first.deadline_ns, value))
    }

    /// Moves everything into `bigger`, which becomes this heap; keys stay valid. Returns the old storage,
    /// empty, for the caller to drop outside of the lock. If `bigger`, an empty heap, has no more
    /// capacity than this one, it is returned as it is. Does not allocate; takes O(n).
    #[must_use = "to be dropped after the lock is free"]
    pub(crate) fn grow_into(&mut self, mut bigger: Heap<T>) -> Heap<T> {
        assert!(bigger.entries.is_empty(), "grows into unused storage only");
        if bigger.capacity <= self.capacity {
            return bigger;
        }
        bigger.nodes.append(&mut self.nodes);
        bigger.positions.append(&mut self.positions);
        bigger.entries.append(&mut self.entries);
        bigger.free = std::mem::replace(&mut self.free, NONE);
        bigger.seq = self.seq;
        std::mem::replace(self, bigger)
    }

    /// A free slot; there is one.
    fn take_slot(&mut self) -> u32 {
        if self.free != NONE {
            let slot = self.free;
            self.free = self.positions[slot as usize];
            return slot;
        }
        let slot = self.entries.len() as u32;
        self.entries.push(Entry { generation: 0, value: None });
        self.positions.push(NONE);
        slot
    }

    /// Makes the keys of a slot stale and puts it on the free list, unless it has to retire.
    fn free_slot(&mut self, slot: u32) -> Option<T> {
        let entry = &mut self.entries[slot as usize];
        let value = entry.value.take();
        // Invariant 3. The last generation is never given to a key.
        entry.generation += 1;
        if entry.generation < u32::MAX {
            self.positions[slot as usize] = self.free;
            self.free = slot;
        }
        value
    }

    /// Takes the node at `position` out and closes the gap with the last one.
    fn remove_node(&mut self, position: usize) {
        let Some(last) = self.nodes.pop() else { return };
        if position == self.nodes.len() {
            return;
        }
        if position > 0 && last.rank() < self.nodes[(position - 1) / CHILDREN].rank() {
            self.sift_up(position, last);
        } else {
            self.sift_down(position, last);
        }
    }

    /// Puts `node` into the hole at `hole` or above it.
    fn sift_up(&mut self, mut hole: usize, node: Node) {
        while hole > 0 {
            let parent = (hole - 1) / CHILDREN;
            if self.nodes[parent].rank() < node.rank() {
                break;
            }
            self.place(hole, self.nodes[parent]);
            hole = parent;
        }
        self.place(hole, node);
    }

    /// Puts `node` into the hole at `hole` or below it.
    fn sift_down(&mut self, mut hole: usize, node: Node) {
        while let Some(child) = self.least_child(hole) {
            if node.rank() < self.nodes[child].rank() {
                break;
            }
            self.place(hole, self.nodes[child]);
            hole = child;
        }
        self.place(hole, node);
    }

    #[inline]
    fn least_child(&self, position: usize) -> Option<usize> {
        let first = CHILDREN * position + 1;
        let end = (first + CHILDREN).min(self.nodes.len());
        (first..end).min_by_key(|&child| self.nodes[child].rank())
    }

    #[inline(always)]
    fn place(&mut self, position: usize, node: Node) {
        self.nodes[position] = node;
        self.positions[node.slot as usize] = position as u32;
    }
}

impl<T> fmt::Debug for Heap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap")
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .field("next_deadline", &self.next_deadline())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;

    use super::{CHILDREN, Heap, Key};
    use crate::util::rng::Rng;

    /// Invariants 1 and 2, and that every slot is accounted for.
    fn check<T>(heap: &Heap<T>) {
        for (i, node) in heap.nodes.iter().enumerate() {
            assert_eq!(heap.positions[node.slot as usize] as usize, i);
            assert!(heap.entries[node.slot as usize].value.is_some());
            assert!(i == 0 || heap.nodes[(i - 1) / CHILDREN].rank() < node.rank());
        }
        let (mut free, mut slot) = (0, heap.free);
        while slot != super::NONE {
            assert!(heap.entries[slot as usize].value.is_none());
            free += 1;
            slot = heap.positions[slot as usize];
        }
        let retired = heap.entries.iter().filter(|entry| entry.generation == u32::MAX).count();
        assert_eq!(heap.nodes.len() + free + retired, heap.entries.len());
        assert!(heap.entries.capacity() >= heap.capacity && heap.entries.len() <= heap.capacity);
    }

    #[test]
    fn comes_out_by_deadline_and_equal_ones_by_insertion() {
        let mut heap = Heap::with_capacity(100);
        for i in 0..100u64 {
            heap.insert(i * 7 % 10, i);
        }
        assert_eq!(heap.next_deadline(), Some(0));
        let mut expected: Vec<(u64, u64)> = (0..100).map(|i| (i * 7 % 10, i)).collect();
        expected.sort_unstable();
        let got: Vec<(u64, u64)> = std::iter::from_fn(|| heap.pop_due(u64::MAX)).collect();
        assert_eq!(got, expected);
        assert_eq!((heap.next_deadline(), heap.is_empty()), (None, true));
    }

    #[test]
    fn only_what_is_due_comes_out() {
        let mut heap = Heap::with_capacity(3);
        heap.insert(20, 'b');
        heap.insert(10, 'a');
        heap.insert(u64::MAX, 'c');
        assert_eq!(heap.pop_due(9), None);
        assert_eq!(heap.pop_due(10), Some((10, 'a')));
        assert_eq!(heap.pop_due(10), None);
        assert_eq!(heap.pop_due(u64::MAX - 1), Some((20, 'b')));
        assert_eq!(heap.pop_due(u64::MAX - 1), None);
        assert_eq!(heap.pop_due(u64::MAX), Some((u64::MAX, 'c')));
    }

    #[test]
    fn a_stale_key_is_a_no_op() {
        let mut heap = Heap::with_capacity(1);
        let first = heap.insert(1, "first");
        assert_eq!(heap.remove(first), Some("first"));
        assert_eq!(heap.remove(first), None);
        let second = heap.insert(2, "second");
        assert_eq!(second.slot, first.slot);
        assert_eq!(heap.remove(first), None);
        assert_eq!(heap.pop_due(2), Some((2, "second")));
        assert_eq!(heap.remove(second), None);
        assert_eq!(heap.remove(Key { slot: 7, generation: 0 }), None);
        check(&heap);
    }

    #[test]
    fn a_slot_retires_before_its_generation_wraps() {
        let mut heap = Heap::with_capacity(2);
        let key = heap.insert(1, ());
        heap.remove(key);
        heap.entries[0].generation = u32::MAX - 1;
        let last = heap.insert(1, ());
        assert_eq!(last, Key { slot: 0, generation: u32::MAX - 1 });
        assert_eq!(heap.remove(last), Some(()));
        assert_eq!(heap.insert(1, ()), Key { slot: 1, generation: 0 });
        assert!(!heap.has_room(), "one of two slots is retired");
        assert_eq!(heap.remove(last), None);
        check(&heap);
    }

    #[test]
    #[should_panic(expected = "the timer heap is full")]
    fn insert_without_room_panics() {
        let mut heap = Heap::with_capacity(1);
        heap.insert(1, ());
        heap.insert(2, ());
    }

    #[test]
    fn grow_into_keeps_keys_and_order_and_does_not_allocate() {
        let mut heap = Heap::with_capacity(4);
        let keys: Vec<Key> = (0..4).map(|i| heap.insert(10 - i, i)).collect();
        assert_eq!(heap.remove(keys[2]), Some(2));
        let bigger = Heap::with_capacity(8);
        let storage = (bigger.nodes.as_ptr(), bigger.positions.as_ptr(), bigger.entries.as_ptr());
        let old = heap.grow_into(bigger);
        assert_eq!((old.len(), old.capacity(), heap.len(), heap.capacity()), (0, 4, 3, 8));
        for i in 4..9 {
            heap.insert(10, i);
        }
        assert!(!heap.has_room());
        assert_eq!(storage, (heap.nodes.as_ptr(), heap.positions.as_ptr(), heap.entries.as_ptr()));
        check(&heap);
        assert_eq!(heap.remove(keys[2]), None);
        assert_eq!(heap.remove(keys[3]), Some(3));
        let got: Vec<(u64, u64)> = std::iter::from_fn(|| heap.pop_due(u64::MAX)).collect();
        assert_eq!(got, [(9, 1), (10, 0), (10, 4), (10, 5), (10, 6), (10, 7), (10, 8)]);
    }

    #[test]
    fn grow_into_gives_back_what_is_not_bigger() {
        let mut heap = Heap::with_capacity(4);
        heap.insert(1, ());
        assert_eq!(heap.grow_into(Heap::with_capacity(4)).capacity(), 4);
        assert_eq!((heap.len(), heap.capacity()), (1, 4));
        // Empty heaps have no storage, and grow from nothing.
        let mut none: Heap<()> = Heap::with_capacity(0);
        assert!(!none.has_room() && none.pop_due(u64::MAX).is_none());
        drop(none.grow_into(Heap::with_capacity(1)));
        none.insert(5, ());
        assert_eq!(none.next_deadline(), Some(5));
    }

    #[test]
    fn random_operations_agree_with_a_btree_map() {
        for seed in 0..8 {
            // From ten to a million different deadlines: many equal ones, few equal ones.
            random_operations(seed, 100_000, 10u32.pow(1 + seed as u32 % 6));
        }
    }

    fn random_operations(seed: u64, steps: u64, deadlines: u32) {
        let rng = Rng::new(seed);
        let (mut heap, mut model) = (Heap::with_capacity(8), BTreeMap::new());
        let mut keys: Vec<(Key, (u64, u64))> = Vec::new();
        for step in 0..steps {
            // Waves: it grows for 4,096 steps, then shrinks.
            let pushes = if step / 4096 % 2 == 0 { 6 } else { 3 };
            match rng.below(10) {
                n if n < pushes => {
                    if !heap.has_room() {
                        drop(heap.grow_into(Heap::with_capacity(2 * heap.capacity())));
                    }
                    let id = (u64::from(rng.below(deadlines)), step);
                    let key = heap.insert(id.0, id);
                    keys.push((key, id));
                    model.insert(id, key);
                }
                n if n < 8 && !keys.is_empty() => {
                    // Stale keys stay in `keys` half of the time, to be tried again.
                    let i = rng.below(keys.len() as u32) as usize;
                    let (key, id) = if rng.below(2) == 0 { keys.swap_remove(i) } else { keys[i] };
                    let expected = model.remove(&id).map(|_| id);
                    assert_eq!(heap.remove(key), expected, "seed {seed}, step {step}");
                }
                _ => {
                    let now = u64::from(rng.below(deadlines));
                    let first = model.first_key_value().map(|(&id, _)| id).filter(|id| id.0 <= now);
                    first.map(|id| model.remove(&id));
                    assert_eq!(heap.pop_due(now), first.map(|id| (id.0, id)), "seed {seed}, step {step}");
                }
            }
            assert_eq!(heap.len(), model.len(), "seed {seed}, step {step}");
            assert_eq!(heap.next_deadline(), model.keys().next().map(|id| id.0), "seed {seed}, step {step}");
            if step % 4096 == 0 {
                check(&heap);
            }
        }
        let rest: Vec<(u64, u64)> = std::iter::from_fn(|| heap.pop_due(u64::MAX)).map(|(_, id)| id).collect();
        assert_eq!(rest, model.into_keys().collect::<Vec<_>>(), "seed {seed}");
        check(&heap);
    }
}
