//! F4. A chain of items: how runnable goroutines travel in batches.
//!
//! Event sources hand *lists of runnable goroutines* up (ARCHITECTURE, Rule 1); an overflowing ring, a
//! netpoller's round, a processor that retires do so in one piece. The list runs through the items' own
//! links and never allocates.
//!
//! ```text
//!   List { head, tail, len: 3 }
//!          |      '-----------------------.
//!          v                              v
//!        Link next --> Link next --> Link next --> null
//! ```
//!
//! # Invariants
//!
//! 1. From `head`, `len` links follow one another by `next`; the last is `tail`, and its `next` is null.
//!    An empty list has null for both.
//! 2. While an item is in the list, its `next` is the list's alone (`util/list.rs`, invariant 2): all
//!    accesses are Relaxed. Who hands the list to another thread orders it (a lock, a Release).
//! 3. Dropping a list does not free or wake anything: the items stay as they are, and are lost if nobody
//!    else names them. At shutdown that is meant (suspended goroutines are leaked).
//!
//! Called wherever the items' owner is: goroutine, scheduler and foreign stacks.

use super::item::Item;

/// A FIFO chain of items, linked through their own `next`.
#[derive(Debug, Default)]
#[must_use = "the items of a list that is dropped are lost"]
pub(crate) struct List {
    /// First and last; both or neither.
    ends: Option<(Item, Item)>,
    len: usize,
}

impl List {
    /// An empty list.
    #[inline]
    pub(crate) const fn new() -> Self {
        List { ends: None, len: 0 }
    }

    /// How many items there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Is there none?
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an item behind the last. The item is in no other queue.
    #[inline]
    pub(crate) fn push_back(&mut self, item: Item) {
        item.link().set_next(std::ptr::null_mut());
        self.ends = match self.ends {
            None => Some((item, item)),
            Some((head, tail)) => {
                tail.link().set_next(item.as_ptr());
                Some((head, item))
            }
        };
        self.len += 1;
    }

    /// Adds an item before the first. The item is in no other queue.
    #[inline]
    pub(crate) fn push_front(&mut self, item: Item) {
        self.ends = match self.ends {
            None => {
                item.link().set_next(std::ptr::null_mut());
                Some((item, item))
            }
            Some((head, tail)) => {
                item.link().set_next(head.as_ptr());
                Some((item, tail))
            }
        };
        self.len += 1;
    }

    /// Takes the first item.
    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Item> {
        let (head, tail) = self.ends?;
        // SAFETY: invariant 1: `next` of a link in the list is null or was an item's.
        self.ends = unsafe { Item::from_ptr(head.link().next()) }.map(|next| (next, tail));
        self.len -= 1;
        Some(head)
    }

    /// Adds all of `other` behind the last, in their order. Constant time.
    pub(crate) fn append(&mut self, other: List) {
        self.ends = match (self.ends, other.ends) {
            (None, ends) | (ends, None) => ends,
            (Some((head, tail)), Some((next, last))) => {
                tail.link().set_next(next.as_ptr());
                Some((head, last))
            }
        };
        self.len += other.len;
    }

    /// Takes the first `n` items (all, if there are fewer) as a list. Walks `n` links, unless it takes
    /// all.
    pub(crate) fn split_front(&mut self, n: usize) -> List {
        if n >= self.len {
            return std::mem::take(self);
        }
        let mut front = List::new();
        let Some((head, tail)) = self.ends else { return front };
        if n == 0 {
            return front;
        }
        let mut last = head;
        for _ in 1..n {
            last = next_in_list(last);
        }
        self.ends = Some((next_in_list(last), tail));
        self.len -= n;
        last.link().set_next(std::ptr::null_mut());
        front.ends = Some((head, last));
        front.len = n;
        front
    }
}

/// The one behind `item`, which is not the last of its list.
fn next_in_list(item: Item) -> Item {
    // SAFETY: `List`, invariant 1: `next` of a link in the list is null or was an item's.
    unsafe { Item::from_ptr(item.link().next()) }.expect("only the last of a list has no next")
}

impl Iterator for List {
    type Item = Item;

    #[inline]
    fn next(&mut self) -> Option<Item> {
        self.pop_front()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

impl Extend<Item> for List {
    fn extend<I: IntoIterator<Item = Item>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push_back(item));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::Links;
    use super::List;

    #[test]
    fn is_first_in_first_out() {
        let links = Links::new(10);
        let mut list = List::new();
        assert!(list.pop_front().is_none());
        for round in 0..3 {
            list.extend(links.items());
            assert_eq!(list.len(), 10, "round {round}");
            let order: Vec<usize> = list.by_ref().map(|item| links.index(item)).collect();
            assert_eq!(order, (0..10).collect::<Vec<_>>());
            assert!(list.is_empty());
            assert!(list.pop_front().is_none());
        }
    }

    #[test]
    fn push_front_goes_first() {
        let links = Links::new(4);
        let mut list = List::new();
        list.push_front(links.item(1));
        list.push_back(links.item(2));
        list.push_front(links.item(0));
        list.push_back(links.item(3));
        assert_eq!(links.indexes(list), [0, 1, 2, 3]);
    }

    #[test]
    fn append_joins_every_pair_of_lengths() {
        for a in 0..5 {
            for b in 0..5 {
                let links = Links::new(a + b + 1);
                let (mut first, mut second) = (List::new(), List::new());
                first.extend((0..a).map(|i| links.item(i)));
                second.extend((a..a + b).map(|i| links.item(i)));
                first.append(second);
                first.push_back(links.item(a + b));
                assert_eq!(first.len(), a + b + 1);
                assert_eq!(links.indexes(first), (0..=a + b).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn split_front_cuts_everywhere() {
        for len in 0..6 {
            for n in 0..8 {
                let links = Links::new(len + 2);
                let mut back = List::new();
                back.extend((0..len).map(|i| links.item(i)));
                let mut front = back.split_front(n);
                let cut = n.min(len);
                assert_eq!((front.len(), back.len()), (cut, len - cut));
                // Both are whole: each takes one more at its end.
                front.push_back(links.item(len));
                back.push_back(links.item(len + 1));
                assert_eq!(links.indexes(front), (0..cut).chain([len]).collect::<Vec<_>>());
                assert_eq!(links.indexes(back), (cut..len).chain([len + 1]).collect::<Vec<_>>());
            }
        }
    }
}
