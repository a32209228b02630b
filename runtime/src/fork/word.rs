//! F2. The word of a fork's record: who has the branch `b`, and where its link is.
//!
//! # The word
//!
//! | value | `b` | the link | set by | from |
//! |---|---|---|---|---|
//! | `LATENT` 0 | the owner's | in no queue (all-zero memory is latent) | who takes the link out; the owner | STALE; DONE, PANICKED |
//! | `STALE` 1 | the owner's | in a queue | the owner, who reclaims | OFFERED |
//! | `OFFERED` 2 | whoever claims it | in a queue | the owner; who claimed it and cannot run it | LATENT, STALE; CLAIMED, an address |
//! | `CLAIMED` 3 | runs on another goroutine | in no queue | who takes the link out | OFFERED |
//! | `DONE` 4 | has ended: its result stands in the record | in no queue | the other goroutine | CLAIMED, an address |
//! | `PANICKED` 5 | has panicked: its payload stands there | in no queue | the other goroutine | CLAIMED, an address |
//! | address | runs; the owner waits, its token lies there | in no queue | the owner | CLAIMED |
//!
//! # Invariants
//!
//! 1. The link is in at most one queue (or in the hand of who takes it out or puts it back), exactly while
//!    the word is STALE or OFFERED. So a record may be
//!    used anew while a queue still holds it: offering it again is one compare-exchange.
//! 2. Who takes the link out of a queue decides by one compare-exchange whether it has a job (OFFERED) or
//!    found a link that was left behind (STALE). Between OFFERED and CLAIMED or STALE one of the two
//!    sides wins, and `b` is run or dropped by that side alone.
//! 3. After `finish` the other goroutine touches neither record nor owner, but to wake it: the owner
//!    waits in a frame that stays until it is woken.
//! 4. Only the owner's thread (its code or its signal handler) offers, and only while the record is
//!    latent or stale; only the owner reclaims, waits and clears.

use std::ptr::NonNull;

use crate::prim::atomic::{AtomicUsize, Ordering};

const LATENT: usize = 0;
const STALE: usize = 1;
const OFFERED: usize = 2;
const CLAIMED: usize = 3;
const DONE: usize = 4;
const PANICKED: usize = 5;

/// What became of a link that was taken out of a queue.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The branch is the taker's to run.
    Job,
    /// Nothing: the owner had taken it back.
    Nothing,
}

/// How a branch has ended on the other goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a result.
    Done,
    /// With a panic.
    Panicked,
}

/// Where the branch is, for the owner that comes for it.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// In the record, the owner's again.
    Here,
    /// On another goroutine, which has not ended it.
    Away,
    /// It has ended.
    Ended(Ending),
}

/// The word; see the table above.
#[derive(Debug)]
pub(crate) struct Word(AtomicUsize);

impl Word {
    /// The word of a latent record.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Word(AtomicUsize::new(LATENT))
    }

    /// Is the branch the owner's and the link in no queue? For assertions.
    pub(crate) fn is_latent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == LATENT
    }

    /// Owner: has nobody been offered the branch since it was written? Then it is the owner's without a claim,
    /// though a queue may still hold the link (STALE): where work is offered often and seldom taken, all records of
    /// a recursion are so, for milliseconds, and must cost no more than latent ones.
    #[inline(always)]
    pub(crate) fn is_mine(&self) -> bool {
        // Relaxed: only the owner's thread offers; what others make of the word meanwhile, STALE to LATENT, leaves
        // the branch where it is.
        self.0.load(Ordering::Relaxed) <= STALE
    }

    /// Owner: offers the branch. True: the caller must queue the link.
    pub(crate) fn offer(&self) -> bool {
        // Acquire: pairs with the Release in `take`: the queue's last use of the link is over.
        if self.0.load(Ordering::Acquire) == STALE
            // Release: the record's contents; pairs with the Acquire in `take`. Acquire on failure: as above.
            && self.0.compare_exchange(STALE, OFFERED, Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            return false;
        }
        debug_assert!(self.is_latent(), "a fork is offered twice");
        // Relaxed: the queue publishes it.
        self.0.store(OFFERED, Ordering::Relaxed);
        true
    }

    /// By whoever has taken the link out of a queue, once.
    pub(crate) fn take(&self) -> Taken {
        // Acquire: pairs with `offer`: the contents of a record that was offered while it was queued.
        match self.0.compare_exchange(OFFERED, CLAIMED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Taken::Job,
            Err(word) => debug_assert_eq!(word, STALE, "a link out of a queue that was in none"),
        }
        // Release: the queue's use of the link is over; pairs with the Acquire in `offer`.
        match self.0.compare_exchange(STALE, LATENT, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Taken::Nothing,
            Err(word) => {
                // Offered again meanwhile: the link is still the one that we hold. Nobody else takes it, but
                // the owner may reclaim it: then it is left behind once more.
                debug_assert_eq!(word, OFFERED);
                self.take()
            }
        }
    }

    /// Undoes `take` of a job that cannot be run now; the caller still holds the link, and queues it again.
    /// Returns where the token of the owner lies, if that waits: it must be woken, and looks again.
    #[must_use]
    pub(crate) fn put_back(&self) -> Option<NonNull<()>> {
        // Acquire: the token; pairs with `register`. Release: keeps the offer's contents visible.
        address_in(self.0.swap(OFFERED, Ordering::AcqRel))
    }

    /// Owner: takes the branch back, or learns where it is.
    pub(crate) fn reclaim(&self) -> Whereabouts {
        // Acquire: pairs with the Release in `finish`: the result is visible.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            match word {
                LATENT | STALE => return Whereabouts::Here,
                // AcqRel, Acquire on failure: as the load.
                OFFERED => match self.0.compare_exchange(OFFERED, STALE, Ordering::AcqRel, Ordering::Acquire)
                {
                    Ok(_) => return Whereabouts::Here,
                    Err(now) => word = now,
                },
                DONE => return Whereabouts::Ended(Ending::Done),
                PANICKED => return Whereabouts::Ended(Ending::Panicked),
                _ => return Whereabouts::Away,
            }
        }
    }

    /// Owner: registers itself as waiting. False: it has ended, or was put back.
    pub(crate) fn register(&self, waiter: NonNull<()>) -> bool {
        let address = waiter.as_ptr().expose_provenance();
        // Release: the token's frame; pairs with the Acquire in `finish`.
        self.0.compare_exchange(CLAIMED, address, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// By the goroutine that ran the branch, after it has written result or payload. Returns where the
    /// token of the owner lies, if that waits.
    #[must_use]
    pub(crate) fn finish(&self, ending: Ending) -> Option<NonNull<()>> {
        let word = match ending {
            Ending::Done => DONE,
            Ending::Panicked => PANICKED,
        };
        // Release: result or payload; Acquire: the token. Pairs with `reclaim` and `register`.
        address_in(self.0.swap(word, Ordering::AcqRel))
    }

    /// Owner: has moved result or payload out. Relaxed: the record is its own.
    pub(crate) fn clear(&self) {
        self.0.store(LATENT, Ordering::Relaxed);
    }
}

/// What stood in the word of a claimed record, as an address.
fn address_in(word: usize) -> Option<NonNull<()>> {
    if word == CLAIMED {
        return None;
    }
    debug_assert!(word > PANICKED, "a fork ends that nobody has claimed");
    NonNull::new(std::ptr::with_exposed_provenance_mut(word))
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    /// A record: the branch stands for itself, the result is its number. `link` is what queues write.
    struct Model {
        word: Word,
        body: UnsafeCell<usize>,
        link: UnsafeCell<usize>,
        /// 1: the link is in the queue.
        queue: AtomicUsize,
        runs: AtomicUsize,
        token: UnsafeCell<usize>,
        woken: AtomicUsize,
    }

    fn set(cell: &UnsafeCell<usize>, value: usize) {
        // SAFETY: loom checks that this access races with no other.
        cell.with_mut(|place| unsafe { *place = value });
    }

    fn get(cell: &UnsafeCell<usize>) -> usize {
        // SAFETY: loom checks that this access races with no other.
        cell.with(|place| unsafe { *place })
    }

    fn model() -> Arc<Model> {
        Arc::new(Model {
            word: Word::new(),
            body: UnsafeCell::new(0),
            link: UnsafeCell::new(0),
            queue: AtomicUsize::new(0),
            runs: AtomicUsize::new(0),
            token: UnsafeCell::new(0),
            woken: AtomicUsize::new(0),
        })
    }

    /// The owner pushes branch `number` and offers it.
    fn push(model: &Model, number: usize) {
        set(&model.body, number);
        if model.word.offer() {
            set(&model.link, number);
            assert_eq!(model.queue.swap(1, Ordering::Release), 0, "a link is queued twice");
        }
    }

    /// A thief takes what is in the queue, at most once.
    fn thief(model: &Model, fails: bool) {
        if model.queue.swap(0, Ordering::Acquire) == 0 {
            return;
        }
        assert_ne!(get(&model.link), 0);
        if model.word.take() == Taken::Nothing {
            return;
        }
        if fails {
            wake(model, model.word.put_back());
            model.queue.store(1, Ordering::Release);
            return;
        }
        model.runs.fetch_add(1, Ordering::Relaxed);
        let number = get(&model.body);
        set(&model.body, number + 100);
        wake(model, model.word.finish(Ending::Done));
    }

    fn wake(model: &Model, waiter: Option<NonNull<()>>) {
        if waiter.is_some() {
            assert_eq!(get(&model.token), 1);
            model.woken.store(1, Ordering::Release);
        }
    }

    /// The owner comes for branch `number`: runs it itself, or waits for its result: until the thief has ended,
    /// which must have woken it.
    fn settle(model: &Model, number: usize, thief: &mut Option<loom::thread::JoinHandle<()>>) {
        loop {
            match model.word.reclaim() {
                Whereabouts::Here => {
                    assert_eq!(get(&model.body), number);
                    model.runs.fetch_add(1, Ordering::Relaxed);
                    set(&model.body, 0);
                    return;
                }
                Whereabouts::Ended(ending) => {
                    assert_eq!(ending, Ending::Done);
                    assert_eq!(get(&model.body), number + 100);
                    model.word.clear();
                    return;
                }
                Whereabouts::Away => {
                    set(&model.token, 1);
                    let place = NonNull::new(std::ptr::without_provenance_mut(64)).expect("not null");
                    if model.word.register(place) {
                        thief.take().expect("it waits once").join().expect("thief");
                        assert_eq!(model.woken.load(Ordering::Acquire), 1);
                    }
                }
            }
        }
    }

    /// The owner offers, and comes for it, while a thief takes it: run once, result seen, by either.
    #[test]
    fn loom_reclaim_against_take() {
        loom::model(|| {
            let model = model();
            push(&model, 1);
            let other = model.clone();
            let mut thread = Some(loom::thread::spawn(move || thief(&other, false)));
            settle(&model, 1, &mut thread);
            thread.into_iter().for_each(|thread| thread.join().expect("thief"));
            assert_eq!(model.runs.load(Ordering::Relaxed), 1);
        });
    }

    /// The record is used again while a queue may still hold its link: the second branch is run once, too,
    /// and the link is never queued twice.
    #[test]
    fn loom_a_stale_link_is_offered_again() {
        loom::model(|| {
            let model = model();
            push(&model, 1);
            let other = model.clone();
            let mut thread = Some(loom::thread::spawn(move || {
                thief(&other, false);
                thief(&other, false);
            }));
            settle(&model, 1, &mut thread);
            push(&model, 2);
            settle(&model, 2, &mut thread);
            thread.into_iter().for_each(|thread| thread.join().expect("thief"));
            assert_eq!(model.runs.load(Ordering::Relaxed), 2);
        });
    }

    /// The thief has no stack for it, and puts it back: an owner that waits is woken, and runs it.
    #[test]
    fn loom_put_back_against_wait() {
        loom::model(|| {
            let model = model();
            push(&model, 1);
            let other = model.clone();
            let mut thread = Some(loom::thread::spawn(move || thief(&other, true)));
            settle(&model, 1, &mut thread);
            thread.into_iter().for_each(|thread| thread.join().expect("thief"));
            assert_eq!(model.runs.load(Ordering::Relaxed), 1);
            // What is left behind in the queue is found stale.
            if model.queue.load(Ordering::Acquire) == 1 {
                assert_eq!(model.word.take(), Taken::Nothing);
            }
            assert!(model.word.is_latent());
        });
    }
}
