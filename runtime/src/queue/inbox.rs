//! F4. The inbox of a worker: how other threads ready a goroutine that is bound to it.
//!
//! # What it is
//!
//! A chain of items that any thread adds to and one M takes whole. With thread-locals per worker nearly
//! every wake-up from another thread comes this way.
//!
//! ```text
//!   head --> newest --> ... --> oldest --> null        push: compare-exchange
//!   head --> null, and the chain, reversed, is the owner's     take: swap
//! ```
//!
//! # Invariants
//!
//! 1. From `head` the items follow one another by `next`, newest first, to null.
//! 2. A pusher writes the `next` of its own item only, before the item is in the chain. Whoever swapped
//!    the chain out owns all of it.
//!
//! # Proof sketch
//!
//! It is Treiber's stack (1986) without its pop. *push*: read `head`, set the item's `next` to it,
//! compare-exchange `head` to the item; begin again if it moved. *take*: swap `head` with null, walk the
//! chain and reverse it.
//!
//! - *Each item exactly once*: a compare-exchange that succeeds adds exactly one, a swap removes exactly
//!   what was added since the last.
//! - *ABA cannot hurt.* A pusher reads `head` = A; A is taken, runs, is pushed again; the pusher's
//!   compare-exchange finds A and succeeds. All that it asserted is "my `next` is the present head", and
//!   that is true, whatever happened in between. The classical harm is done by a *pop*, which writes to
//!   `head` a `next` that it read too early; here nobody pops one, and the swap reads `next`s only
//!   after the chain is its own.
//! - *Order*: first in, first out, for pushes ordered by happens-before (one pusher's, for example): the
//!   later one is nearer to `head`, also across two takes.
//! - *Release sequence*: the swap reads the newest pusher's compare-exchange, which continues the release
//!   sequence of every push before it (only read-modify-writes store `head`): its Acquire sees what each
//!   pusher wrote before its push.
//! - *Lock-free* for pushers, wait-free for the taker.
//!
//! # Against the owner's going to sleep
//!
//! The owner publishes Idle in its M's word, then reads [`is_empty`](Inbox::is_empty); a pusher pushes,
//! then looks at that word. Each stores, then loads what the other stored: without a SeqCst fence between
//! the two steps, on both sides, both may miss. The fences are in `m/word.rs`, with their model; so the
//! accesses here are no stronger than the hand-over of the items needs.
//!
//! Called: `push` on every stack but a signal handler's; `take` by the owner on its scheduler stack.

use std::fmt;
use std::ptr;

use super::item::Item;
use super::list::List;
use crate::prim::atomic::{AtomicPtr, Ordering};
use crate::util::list::Link;

/// Many threads add, one takes all; see the module's docs.
pub(crate) struct Inbox {
    head: AtomicPtr<Link>,
}

impl Inbox {
    /// An empty inbox.
    pub(crate) fn new() -> Self {
        Inbox { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Anybody: adds an item, and says whether the inbox was empty before (one push between two takes is
    /// told so). The item may be running on its owner, even be gone, before this returns.
    #[inline]
    pub(crate) fn push(&self, item: Item) -> bool {
        // Relaxed: the value is only compared, never followed.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            item.link().set_next(head);
            // Release: pairs with the Acquire in `take`.
            match self.head.compare_exchange_weak(head, item.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return head.is_null(),
                Err(now) => head = now,
            }
        }
    }

    /// Owner: takes all, oldest first. One load if there is nothing.
    pub(crate) fn take(&self) -> List {
        let mut list = List::new();
        if self.is_empty() {
            return list;
        }
        // Acquire: pairs with the Release of each push of the chain (release sequence, see above).
        let mut link = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: a chain's pointers are null or were items' (invariant 1).
        while let Some(item) = unsafe { Item::from_ptr(link) } {
            link = item.link().next();
            list.push_front(item);
        }
        list
    }

    /// Anybody: is there nothing? One load.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: the fences in `m/word.rs` order it, and what is there is taken with Acquire.
        self.head.load(Ordering::Relaxed).is_null()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("is_empty", &self.is_empty()).finish()
    }
}

#[cfg(all(test, not(loom)))]
#[expect(clippy::disallowed_methods, reason = "the tests run on plain threads")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::testing::Links;
    use super::Inbox;

    #[test]
    fn take_gives_all_in_order_and_push_tells_of_emptiness() {
        let links = Links::new(5);
        let inbox = Inbox::new();
        assert!(inbox.is_empty() && inbox.take().is_empty());
        for n in 1..=5 {
            for i in 0..n {
                assert_eq!(inbox.push(links.item(i)), i == 0);
            }
            assert!(!inbox.is_empty());
            let list = inbox.take();
            assert_eq!(list.len(), n);
            assert_eq!(links.indexes(list), (0..n).collect::<Vec<_>>());
            assert!(inbox.is_empty() && inbox.take().is_empty());
        }
    }

    /// Three threads push, one takes; each item once, each thread's in order; and exactly one push for
    /// each batch was told that it found nothing.
    #[test]
    fn stress_each_item_exactly_once_in_each_pushers_order() {
        const PUSHERS: usize = 3;
        const EACH: usize = 50_000;
        let links = Links::new(PUSHERS * EACH);
        let (inbox, done, firsts) = (Inbox::new(), AtomicUsize::new(0), AtomicUsize::new(0));
        let (mut next, mut batches) = ([0; PUSHERS], 0);
        std::thread::scope(|scope| {
            for pusher in 0..PUSHERS {
                let (inbox, links, done, firsts) = (&inbox, &links, &done, &firsts);
                scope.spawn(move || {
                    let found_nothing =
                        (0..EACH).filter(|i| inbox.push(links.item(pusher * EACH + i))).count();
                    firsts.fetch_add(found_nothing, Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Release);
                });
            }
            loop {
                let last_round = done.load(Ordering::Acquire) == PUSHERS;
                let batch = inbox.take();
                batches += usize::from(!batch.is_empty());
                if batch.is_empty() {
                    if last_round {
                        break;
                    }
                    std::thread::yield_now();
                }
                for index in links.indexes(batch) {
                    assert_eq!(index % EACH, next[index / EACH], "of pusher {}", index / EACH);
                    next[index / EACH] += 1;
                }
            }
        });
        assert_eq!(next, [EACH; PUSHERS]);
        assert_eq!(firsts.load(Ordering::Relaxed), batches);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use loom::thread;

    use super::super::testing::Links;
    use super::Inbox;

    /// Two pushers, of two items and of one, and a taker that looks twice meanwhile.
    #[test]
    fn model_push_push_take() {
        loom::model(|| {
            let links = Links::new(3);
            let inbox = Arc::new(Inbox::new());
            let pushers = [0..2, 2..3].map(|range| {
                let (inbox, links) = (inbox.clone(), links.clone());
                thread::spawn(move || range.filter(|&i| inbox.push(links.item(i))).count())
            });
            let (mut got, mut batches) = (Vec::new(), 0);
            let mut take = || {
                let batch = inbox.take();
                batches += usize::from(!batch.is_empty());
                got.extend(links.indexes(batch));
            };
            take();
            take();
            let firsts: usize =
                pushers.into_iter().map(|pusher| pusher.join().expect("does not panic")).sum();
            take();
            assert!(inbox.is_empty());
            assert_eq!(firsts, batches, "one push for each batch was told that it found nothing");
            let place = |i| got.iter().position(|&j| j == i);
            assert!(place(0) < place(1), "one pusher's items stay in order: {got:?}");
            got.sort_unstable();
            assert_eq!(got, [0, 1, 2]);
        });
    }

    /// ABA: the taker pushes an item again while the pusher may hold its address as the head.
    #[test]
    fn model_an_item_that_comes_back_does_no_harm() {
        loom::model(|| {
            let links = Links::new(3);
            let inbox = Arc::new(Inbox::new());
            inbox.push(links.item(0));
            inbox.push(links.item(1));
            let pusher = {
                let (inbox, links) = (inbox.clone(), links.clone());
                thread::spawn(move || inbox.push(links.item(2)))
            };
            let mut kept = links.indexes(inbox.take());
            // Item 1 was the head, and is so again, with nothing behind it, or with item 2.
            kept.retain(|&i| i != 1);
            inbox.push(links.item(1));
            pusher.join().expect("does not panic");
            kept.extend(links.indexes(inbox.take()));
            kept.sort_unstable();
            assert_eq!(kept, [0, 1, 2]);
        });
    }
}
