//! F4. The part of a processor's queue that thieves take from.
//!
//! # What it is
//!
//! A fixed ring with one producer and many consumers, first in, first out. The owner pushes without a
//! read-modify-write; everybody, the owner included, takes by one compare-exchange on `head`; a thief
//! takes half of it by one. The shape is that of Go's and tokio's local queues.
//!
//! ```text
//!   line 0   head: u64     next to be taken; moved by compare-exchange, by anybody
//!   line 1   tail: u64     next to be filled; stored by the owner alone
//!   line 2.. slots[i mod CAPACITY] for head <= i < tail: items' addresses
//! ```
//!
//! # Invariants
//!
//! 1. `head` and `tail` never fall. They are 64 bits wide: at 10^9 pushes a second `tail` wraps after
//!    585 years, so an index names one push for ever, and a compare-exchange on `head` that succeeds
//!    proves that nobody took anything since `head` was read. (With Go's and tokio's 32 bits a thief that
//!    sleeps between load and compare-exchange while 2^32 items pass would take the wrong ones. The wider
//!    index costs nothing on 64-bit targets.)
//! 2. `head` ≤ `tail` ≤ `head` + `CAPACITY`.
//! 3. Only the owner pushes (`queue`, invariant 4).
//!
//! # Algorithm
//!
//! - *push*: read `head` (Acquire); full if `tail` - `head` = `CAPACITY`; store the slot; store `tail` + 1
//!   (Release).
//! - *take n*: read `head` (Acquire), then `tail` (Acquire); nothing there if equal; read the n slots;
//!   compare-exchange `head` to `head` + n (Release). If it fails, somebody else took: begin again.
//!
//! # Proof sketch
//!
//! Let a taker read h, then t, and succeed in its compare-exchange h → h + n, n ≤ t - h.
//!
//! - *It read what the pushes h .. h + n stored, nothing older.* It read `tail` = t ≥ h + n with Acquire,
//!   from the Release store that follows those slot stores.
//! - *Nor anything newer.* Slot h + i is next overwritten by push h + i + `CAPACITY`, which first reads a
//!   `head` > h + i with Acquire. That value was written by our compare-exchange or by a later one in its
//!   release sequence (only read-modify-writes store `head`); so our slot reads, before our Release,
//!   happen before that overwrite, and coherence forbids that they return it. A taker that reads a slot
//!   *too* late reads garbage, and its compare-exchange fails (invariant 1): the slots are atomics, so
//!   the read is no data race.
//! - *Each item exactly once.* By invariant 1 successful compare-exchanges take disjoint ranges, and they
//!   cover every index that `head` passes.
//! - *`head` ≤ `tail` for whoever reads `head` first.* `head` = h was written (Release) by a taker that had
//!   seen `tail` ≥ h; our Acquire read of h makes us see it, too.
//! - *Lock-free*: a taker begins again only because another took.
//!
//! The loom models below fail for each of the other orderings made Relaxed, for the other order of the two
//! loads in `ends`, and for a claim that does not compare. They cannot miss the Acquire of `head` in
//! `push`: loom does not let a load see a store that is still to come, which is what it forbids. The second
//! point of the sketch is its only proof.
//!
//! # Emptiness
//!
//! [`is_empty`](Shared::is_empty) reads `head`, *then* `tail`. If it finds both equal to k, the queue was
//! empty at the moment when it read `tail`: at that moment `tail` was k, `head` was at least k (it never
//! falls) and at most `tail`. In terms of happens-before, which is all that counts on a weak machine:
//! every push that happens before the read of `tail` has index < k and is taken; and the takes that the
//! read of `head` observed bring with them, through their Release, the pushes that happened before *them*.
//! So an owner that pushes one before it takes one is never seen empty.
//!
//! The other order is wrong: read `tail` = 1, the owner pushes (`tail` = 2), then takes (`head` = 1), read
//! `head` = 1: "empty", and it never was.
//!
//! The idle protocol needs a fence on each side between its own announcement and this look, as with the
//! private ring: the fences are the callers'.
//!
//! Called on goroutine and scheduler stacks of any worker; no operation allocates, pins or runs foreign
//! code (ARCHITECTURE, Rule 6), so thieves may steal on the scheduler stack.
//!
//! *Rejected:* crossbeam-deque, which the plan named. Its `steal` pins crossbeam-epoch, which now and then
//! runs any crate's deferred destructors and frees memory: stealing would need a system goroutine of its
//! own. The measurements stand in ARCHITECTURE.md.

use std::fmt;
use std::ptr;

use crossbeam_utils::CachePadded;

use super::item::Item;
use super::ring::CAPACITY;
use crate::prim::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::util::list::Link;

/// The most that one steal takes: half of a full ring.
const BATCH: usize = CAPACITY / 2;

/// A fixed FIFO ring with one producer and many consumers; see the module's docs.
#[repr(C)]
pub(crate) struct Shared {
    head: CachePadded<AtomicU64>,
    tail: CachePadded<AtomicU64>,
    slots: [AtomicPtr<Link>; CAPACITY],
}

impl Shared {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        Shared {
            head: CachePadded::new(AtomicU64::new(0)),
            tail: CachePadded::new(AtomicU64::new(0)),
            slots: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Owner: adds an item at the end.
    ///
    /// # Errors
    ///
    /// The item itself, if the queue is full.
    #[inline]
    pub(crate) fn push(&self, item: Item) -> Result<(), Item> {
        // Relaxed: only the owner stores it (invariant 3).
        let tail = self.tail.load(Ordering::Relaxed);
        // Acquire: pairs with the Release in `claim`: the slot that we overwrite has been read.
        if tail - self.head.load(Ordering::Acquire) == CAPACITY as u64 {
            return Err(item);
        }
        // Relaxed: ordered by the two around it.
        self.slot(tail).store(item.as_ptr(), Ordering::Relaxed);
        // Release: pairs with the Acquire of `tail` in `ends`.
        self.tail.store(tail + 1, Ordering::Release);
        Ok(())
    }

    /// Anybody: takes the oldest item.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Item> {
        loop {
            let (head, tail) = self.ends();
            if head == tail {
                return None;
            }
            // Relaxed: ordered by the Acquire of `tail` before and the Release in `claim` behind.
            let link = self.slot(head).load(Ordering::Relaxed);
            if self.claim(head, 1) {
                // SAFETY: the claim proves that `link` is what push `head` stored (proof sketch).
                return unsafe { Item::from_ptr(link) };
            }
        }
    }

    /// Anybody: takes half of the items, rounded up, but at most `max`, the oldest ones; gives them to
    /// `sink`, oldest first, after they have been claimed all at once; and returns how many there were.
    pub(crate) fn steal_half(&self, max: usize, sink: &mut impl FnMut(Item)) -> usize {
        let mut batch = [ptr::null_mut::<Link>(); BATCH];
        loop {
            let (head, tail) = self.ends();
            let len = (tail - head) as usize;
            if len > CAPACITY {
                // `head` went on since we read it: the claim could not succeed.
                continue;
            }
            let n = len.div_ceil(2).min(max);
            if n == 0 {
                return 0;
            }
            let batch = &mut batch[..n];
            for (index, link) in (head..).zip(batch.iter_mut()) {
                // Relaxed: as in `pop`.
                *link = self.slot(index).load(Ordering::Relaxed);
            }
            if self.claim(head, n as u64) {
                for link in batch {
                    // SAFETY: the claim proves that it is what the push of its index stored.
                    if let Some(item) = unsafe { Item::from_ptr(*link) } {
                        sink(item);
                    }
                }
                return n;
            }
        }
    }

    /// Anybody: how many items there were at some moment.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        let (head, tail) = self.ends();
        // `head` may be older than `tail`: then the difference may exceed what ever fitted.
        ((tail - head) as usize).min(CAPACITY)
    }

    /// Anybody: was there none, at some moment during the call? Never true of a queue that was never
    /// empty: see *Emptiness* above.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let (head, tail) = self.ends();
        head == tail
    }

    /// Owner: how many pushes are sure to succeed. Thieves can only make it more.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        CAPACITY - self.len()
    }

    /// `head`, then `tail`: in this order (see *Emptiness*).
    #[inline(always)]
    fn ends(&self) -> (u64, u64) {
        // Acquire: pairs with the Release in `claim`: we see the `tail` that the takers saw, so the
        // difference is not negative; and the load of `tail` is not done before.
        let head = self.head.load(Ordering::Acquire);
        // Acquire: pairs with the Release in `push`: we see the slots up to `tail`.
        let tail = self.tail.load(Ordering::Acquire);
        (head, tail)
    }

    /// Takes the items `head .. head + n`, whose slots have been read. False if somebody took before.
    #[inline(always)]
    fn claim(&self, head: u64, n: u64) -> bool {
        // Release: pairs with the Acquire in `push` (the slots have been read) and in `ends`. No Acquire:
        // the value that it finds is the one that `ends` read.
        self.head.compare_exchange_weak(head, head + n, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    fn slot(&self, index: u64) -> &AtomicPtr<Link> {
        &self.slots[(index % CAPACITY as u64) as usize]
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
#[expect(clippy::disallowed_methods, reason = "the tests run on plain threads")]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::super::testing::Links;
    use super::{CAPACITY, Shared};
    use crate::util::rng::Rng;

    /// As Go's TestSchedLocalQueue.
    #[test]
    fn holds_i_items_in_order_for_every_i_then_is_empty() {
        let links = Links::new(CAPACITY + 1);
        let queue = Shared::new();
        for i in 0..=CAPACITY {
            for n in 0..i {
                assert_eq!(queue.push(links.item(n)), Ok(()));
            }
            assert_eq!((queue.len(), queue.room()), (i, CAPACITY - i));
            if i == CAPACITY {
                assert_eq!(queue.push(links.item(i)), Err(links.item(i)), "one more than the capacity");
            }
            for n in 0..i {
                assert_eq!(queue.pop(), Some(links.item(n)));
            }
            assert!(queue.is_empty() && queue.pop().is_none());
            assert_eq!(queue.steal_half(9, &mut |_| unreachable!("the queue is empty")), 0);
        }
    }

    /// As Go's TestSchedLocalQueueSteal. The thief has half, rounded up.
    #[test]
    fn steal_takes_half_and_each_item_is_seen_once() {
        let links = Links::new(CAPACITY);
        let queue = Shared::new();
        for i in 0..=CAPACITY {
            for n in 0..i {
                assert_eq!(queue.push(links.item(n)), Ok(()));
            }
            let mut order = Vec::new();
            let stolen = queue.steal_half(usize::MAX, &mut |item| order.push(links.index(item)));
            assert_eq!((stolen, order.len()), (i.div_ceil(2), i.div_ceil(2)));
            assert_eq!(queue.len(), i / 2);
            order.extend(std::iter::from_fn(|| queue.pop()).map(|item| links.index(item)));
            assert_eq!(order, (0..i).collect::<Vec<_>>(), "each once, the oldest to the thief");
        }
    }

    #[test]
    fn random_operations_agree_with_a_deque() {
        let links = Links::new(1000);
        for seed in 0..20 {
            let rng = Rng::new(seed);
            let (queue, mut model) = (Shared::new(), VecDeque::new());
            for step in 0..5_000 {
                let item = links.item(step % 1000);
                match rng.below(8) {
                    0..=4 if model.len() == CAPACITY => assert_eq!(queue.push(item), Err(item)),
                    0..=4 => {
                        assert_eq!(queue.push(item), Ok(()));
                        model.push_back(item);
                    }
                    5 | 6 => assert_eq!(queue.pop(), model.pop_front(), "seed {seed}, step {step}"),
                    _ => {
                        let max = rng.below(6) as usize;
                        let n = model.len().div_ceil(2).min(max);
                        let mut got = Vec::new();
                        assert_eq!(queue.steal_half(max, &mut |item| got.push(item)), n, "seed {seed}");
                        assert_eq!(got, model.drain(..n).collect::<Vec<_>>(), "seed {seed}, step {step}");
                    }
                }
                assert_eq!(queue.len(), model.len(), "seed {seed}, step {step}");
            }
        }
    }

    #[test]
    fn stress_each_item_exactly_once_with_2_thieves() {
        stress(2, 200_000);
    }

    #[test]
    fn stress_each_item_exactly_once_with_4_thieves() {
        stress(4, 200_000);
    }

    /// The owner pushes `items`, popping one now and then; the thieves take by one and by half. All end
    /// when the owner has pushed the last one and the queue is empty, so that a lost item fails the test
    /// and does not hang it. Within one taker, items come in the order of their pushes.
    fn stress(thieves: usize, items: usize) {
        let links = Links::new(items);
        let taken: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
        let (queue, done) = (Shared::new(), AtomicBool::new(false));
        let see = |last: &mut Option<usize>, index: usize| {
            assert!(last.is_none_or(|last| last < index), "{index} after {last:?}");
            *last = Some(index);
            taken[index].fetch_add(1, Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            for thief in 0..thieves {
                let (queue, links, done, see) = (&queue, &links, &done, &see);
                scope.spawn(move || {
                    let (rng, mut last) = (Rng::new(thief as u64), None);
                    loop {
                        let last_round = done.load(Ordering::Acquire);
                        let n = if rng.below(2) == 0 {
                            queue.steal_half(usize::MAX, &mut |item| see(&mut last, links.index(item)))
                        } else {
                            queue.pop().into_iter().map(|item| see(&mut last, links.index(item))).count()
                        };
                        if n == 0 {
                            if last_round {
                                return;
                            }
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let (rng, mut last) = (Rng::new(99), None);
            for item in links.items() {
                while queue.push(item).is_err() {
                    std::thread::yield_now();
                }
                if rng.below(4) == 0 {
                    queue.pop().into_iter().for_each(|item| see(&mut last, links.index(item)));
                }
            }
            done.store(true, Ordering::Release);
        });
        let wrong = taken.iter().filter(|n| n.load(Ordering::Relaxed) != 1).count();
        assert_eq!(wrong, 0, "items that were not taken exactly once");
        assert!(queue.is_empty());
    }

    /// As Go's TestSchedLocalQueueEmpty: the owner pushes one before it takes one.
    #[test]
    fn never_reports_empty_while_it_is_not() {
        const LOOKS: u32 = 3_000_000;
        let links = Links::new(3);
        let (queue, stop) = (Shared::new(), AtomicBool::new(false));
        assert_eq!(queue.push(links.item(0)), Ok(()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let seen_empty = |i| if i % 2 == 0 { queue.is_empty() } else { matches!(queue.len(), 0) };
                let wrong = (0..LOOKS).filter(|&i| seen_empty(i)).count();
                stop.store(true, Ordering::Relaxed);
                assert_eq!(wrong, 0, "times seen empty of {LOOKS}");
            });
            for i in 1.. {
                assert_eq!(queue.push(links.item(i % 3)), Ok(()));
                assert!(queue.pop().is_some());
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use loom::thread;

    use super::super::testing::Links;
    use super::{CAPACITY, Shared};

    /// Items `0 .. before` are pushed before the threads start.
    fn queue_with(before: usize, links: &Links) -> Arc<Shared> {
        let queue = Arc::new(Shared::new());
        for index in 0..before {
            assert_eq!(queue.push(links.item(index)), Ok(()));
        }
        queue
    }

    fn steal(queue: &Shared, links: &Links) -> Vec<usize> {
        let mut got = Vec::new();
        queue.steal_half(usize::MAX, &mut |item| got.push(links.index(item)));
        assert!(got.is_sorted(), "a batch is in order");
        got
    }

    fn pop(queue: &Shared, links: &Links) -> Vec<usize> {
        queue.pop().map(|item| links.index(item)).into_iter().collect()
    }

    fn assert_each_once(mut got: Vec<usize>, pushed: usize) {
        got.sort_unstable();
        assert_eq!(got, (0..pushed).collect::<Vec<_>>());
    }

    /// Two thieves against an owner that pushes and pops: nothing is lost, nothing comes twice.
    #[test]
    fn model_owner_and_two_thieves() {
        loom::model(|| {
            let links = Links::new(4);
            let queue = queue_with(2, &links);
            let thieves: Vec<_> = (0..2)
                .map(|_| {
                    let (queue, links) = (queue.clone(), links.clone());
                    thread::spawn(move || steal(&queue, &links))
                })
                .collect();
            let mut got = Vec::new();
            for index in 2..4 {
                assert_eq!(queue.push(links.item(index)), Ok(()));
                got.extend(pop(&queue, &links));
            }
            for thief in thieves {
                got.extend(thief.join().expect("the thief does not panic"));
            }
            got.extend(std::iter::from_fn(|| queue.pop()).map(|item| links.index(item)));
            assert_each_once(got, 4);
        });
    }

    /// The ring is full, so what the owner pushes overwrites slots that the thieves may be reading.
    #[test]
    fn model_overwritten_slots_fail_the_claim() {
        loom::model(|| {
            let links = Links::new(CAPACITY + 2);
            let queue = queue_with(CAPACITY, &links);
            let takers: [fn(&Shared, &Links) -> Vec<usize>; 2] = [steal, pop];
            let thieves = takers.map(|take| {
                let (queue, links) = (queue.clone(), links.clone());
                thread::spawn(move || take(&queue, &links))
            });
            let (mut got, mut pushed) = (pop(&queue, &links), CAPACITY);
            while pushed < CAPACITY + 2 && queue.push(links.item(pushed)).is_ok() {
                pushed += 1;
            }
            for thief in thieves {
                got.extend(thief.join().expect("the thief does not panic"));
            }
            got.extend(std::iter::from_fn(|| queue.pop()).map(|item| links.index(item)));
            assert_each_once(got, pushed);
        });
    }

    /// The owner pushes one before it takes one, a thief takes one: with two more inside
    /// than are ever taken at once, nobody sees it empty.
    #[test]
    fn model_never_reports_empty_while_it_is_not() {
        loom::model(|| {
            let links = Links::new(4);
            let queue = queue_with(2, &links);
            let thief = {
                let (queue, links) = (queue.clone(), links.clone());
                thread::spawn(move || pop(&queue, &links))
            };
            let observer = {
                let queue = queue.clone();
                thread::spawn(move || {
                    assert!(!queue.is_empty());
                    assert_ne!(queue.len(), 0);
                })
            };
            for index in 2..4 {
                assert_eq!(queue.push(links.item(index)), Ok(()));
                assert!(queue.pop().is_some());
            }
            thief.join().expect("the thief does not panic");
            observer.join().expect("never empty");
        });
    }
}
