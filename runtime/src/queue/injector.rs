//! F4. The queue of the whole runtime: what no processor owns.
//!
//! # What it is
//!
//! A FIFO of items without a bound, under a lock: an intrusive list, so nothing is allocated. Here lands
//! what a ring has no room for, what a thread without a P readies, what a retiring P leaves behind.
//!
//! # Invariants
//!
//! 1. The list is touched under the lock only, and the lock is held for a few instructions: a push or a
//!    pop, the joining of two lists, the walk along at most `max` links. Sinks run outside.
//! 2. `len` is the list's length whenever the lock is free: it is stored under the lock, by whoever
//!    changed the list.
//!
//! # Reading `len` without the lock
//!
//! Who looks for work reads `len` first and spares the lock if it is 0; with 61 ticks between two looks
//! and one line that is seldom written, that is a plain load from the own cache. It may miss a push that
//! is under way. That is harmless as long as somebody sees it, which is the idle protocol's business:
//!
//! - who pushes: push here (`len` is stored), *then a SeqCst fence*, then look whether anybody is idle;
//! - who goes to sleep: publish "idle", *then a SeqCst fence*, then read `len`.
//!
//! With both fences, one of the two sees the other's store (the store-buffer litmus test). The fences are
//! in `sched`, so `len` itself is Relaxed. That another thread's store of `len` hides ours is no trouble:
//! the stores are ordered by the lock, and a later one counts our item, unless it was taken.
//!
//! Called on goroutine, scheduler and foreign stacks; the lock is a no-preempt section (ARCHITECTURE, Rule 5).
//!
//! *Rejected:* a lock-free MPMC queue. It would have to allocate (Rule 6) or be bounded, and the batches
//! that arrive here cost one lock each.
#![forbid(unsafe_code)]

use super::item::Item;
use super::list::List;
use crate::prim::atomic::{AtomicUsize, Ordering};
use crate::util::lock::Lock;

/// The process-side FIFO of one runtime; see the module's docs.
#[derive(Debug)]
pub(crate) struct Injector {
    list: Lock<List>,
    len: AtomicUsize,
}

impl Injector {
    /// An empty queue.
    pub(crate) const fn new() -> Self {
        Injector { list: Lock::new(List::new()), len: AtomicUsize::new(0) }
    }

    /// Adds an item at the end.
    pub(crate) fn push(&self, item: Item) {
        self.with_list(|list| list.push_back(item));
    }

    /// Adds all of `batch` at the end, in their order.
    pub(crate) fn push_batch(&self, batch: List) {
        if !batch.is_empty() {
            self.with_list(|list| list.append(batch));
        }
    }

    /// Takes the oldest item.
    pub(crate) fn pop(&self) -> Option<Item> {
        if self.is_empty() {
            return None;
        }
        self.with_list(List::pop_front)
    }

    /// Takes the `max` oldest items (all, if there are fewer), gives them to `sink`, oldest first, after
    /// the lock is free again, and returns how many there were.
    pub(crate) fn pop_batch(&self, max: usize, sink: impl FnMut(Item)) -> usize {
        if max == 0 || self.is_empty() {
            return 0;
        }
        let batch = self.with_list(|list| list.split_front(max));
        let n = batch.len();
        batch.for_each(sink);
        n
    }

    /// How many items there are. Does not lock: see the module's docs for what it may miss.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // Relaxed: the fences of the idle protocol order it. What is taken is taken under the lock.
        self.len.load(Ordering::Relaxed)
    }

    /// Is there none? As [`len`](Self::len).
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with_list<R>(&self, change: impl FnOnce(&mut List) -> R) -> R {
        let mut list = self.list.lock();
        let result = change(&mut list);
        // Relaxed: stores of `len` are ordered by the lock (invariant 2), loads by the callers' fences.
        self.len.store(list.len(), Ordering::Relaxed);
        result
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests run on plain threads")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::list::List;
    use super::super::testing::Links;
    use super::Injector;

    #[test]
    fn is_first_in_first_out_with_batches_between() {
        let links = Links::new(10);
        let queue = Injector::new();
        assert!(queue.pop().is_none());
        queue.push(links.item(0));
        let mut batch = List::new();
        batch.extend((1..6).map(|i| links.item(i)));
        queue.push_batch(batch);
        queue.push_batch(List::new());
        (6..10).for_each(|i| queue.push(links.item(i)));
        assert_eq!(queue.len(), 10);

        assert_eq!(queue.pop(), Some(links.item(0)));
        let mut got = Vec::new();
        assert_eq!(queue.pop_batch(0, |_| unreachable!()), 0);
        assert_eq!(queue.pop_batch(6, |item| got.push(links.index(item))), 6);
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.pop_batch(99, |item| got.push(links.index(item))), 3);
        assert_eq!(got, (1..10).collect::<Vec<_>>());
        assert!(queue.is_empty() && queue.pop().is_none() && queue.pop_batch(9, |_| ()) == 0);
    }

    #[test]
    fn the_sink_may_use_the_queue() {
        let links = Links::new(4);
        let queue = Injector::new();
        links.items().for_each(|item| queue.push(item));
        assert_eq!(queue.pop_batch(3, |item| queue.push(item)), 3);
        let mut got = Vec::new();
        queue.pop_batch(4, |item| got.push(links.index(item)));
        assert_eq!(got, [3, 0, 1, 2]);
    }

    #[test]
    fn stress_each_item_exactly_once() {
        const EACH: usize = 20_000;
        let links = Links::new(2 * EACH);
        let taken: Vec<AtomicUsize> = (0..2 * EACH).map(|_| AtomicUsize::new(0)).collect();
        let (queue, total) = (Injector::new(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for producer in 0..2 {
                let (queue, links) = (&queue, &links);
                scope.spawn(move || {
                    let mut next = producer * EACH..(producer + 1) * EACH;
                    while !next.is_empty() {
                        queue.push(links.item(next.next().expect("not empty")));
                        let mut batch = List::new();
                        batch.extend(next.by_ref().take(7).map(|i| links.item(i)));
                        queue.push_batch(batch);
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    while total.load(Ordering::Relaxed) < 2 * EACH {
                        let seen = |item| {
                            taken[links.index(item)].fetch_add(1, Ordering::Relaxed);
                            total.fetch_add(1, Ordering::Relaxed);
                        };
                        queue.pop().into_iter().for_each(seen);
                        if queue.pop_batch(5, seen) == 0 {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        assert!(taken.iter().all(|n| n.load(Ordering::Relaxed) == 1));
        assert_eq!(queue.len(), 0);
    }
}
