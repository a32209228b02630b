//! The state word of a semaphore: `available << 1 | QUEUED`.
//!
//! | bits | meaning | set by | cleared by |
//! |---|---|---|---|
//! | `QUEUED` 0 | somebody stands in the list: who comes now queues behind | a waiter*, as it joins | whoever* takes the last one out |
//! | 1 to 63 | permits that nobody has | who gives some back | who takes some; on behalf of the list's first, whoever* lets it through |
//!
//! \* holds the list's lock.
//!
//! # Invariants
//!
//! 1. Permits are taken at once only while `QUEUED` is clear: nobody overtakes who waits.
//! 2. While the list's lock is free and nobody is on the way to it, the first of the list wants more than
//!    is available. For a waiter joins only if it sees too few, or `QUEUED`, in the same step; who gives
//!    permits back and sees `QUEUED` looks after the list under its lock, and so does a waiter that gives
//!    up, or has set `QUEUED` and not joined after all: others may have queued for no other reason.
#![forbid(unsafe_code)]

use crate::prim::atomic::{AtomicU64, Ordering};

const QUEUED: u64 = 1;

/// The word.
#[derive(Debug)]
pub(crate) struct Word(AtomicU64);

impl Word {
    /// So many permits, less than 2^63, and nobody waits.
    #[cfg(not(loom))]
    pub(crate) const fn new(permits: u64) -> Self {
        Word(AtomicU64::new(permits << 1))
    }

    /// So many permits, less than 2^63, and nobody waits.
    #[cfg(loom)]
    pub(crate) fn new(permits: u64) -> Self {
        Word(AtomicU64::new(permits << 1))
    }

    /// Permits that nobody has. A snapshot.
    pub(crate) fn available(&self) -> u64 {
        self.0.load(Ordering::Relaxed) >> 1
    }

    /// Takes `n` permits, if there are as many and nobody waits.
    #[inline(always)]
    pub(crate) fn try_acquire(&self, n: u64) -> bool {
        self.acquire_or(n, QUEUED, 0)
    }

    /// Takes `n` permits (false), or notes that the caller joins the list (true), which it then must. The
    /// list's lock is held.
    pub(crate) fn join(&self, n: u64) -> bool {
        !self.acquire_or(n, QUEUED, QUEUED)
    }

    /// Takes `n` permits for the first of the list, if there are as many. The list's lock is held.
    pub(crate) fn acquire_for_first(&self, n: u64) -> bool {
        self.acquire_or(n, 0, 0)
    }

    /// Takes `n`, unless there are fewer or a bit of `unless` is set; then sets `else_set`.
    #[inline(always)]
    fn acquire_or(&self, n: u64, unless: u64, else_set: u64) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let takes = word & unless == 0 && word >> 1 >= n;
            if !takes && else_set == 0 {
                return false;
            }
            let next = if takes { word - (n << 1) } else { word | else_set };
            // Acquire: pairs with the Release of whoever gave the permits back.
            match self.0.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return takes,
                Err(now) => word = now,
            }
        }
    }

    /// Gives `n` permits back. `Some(true)`: somebody waits; `None`: there would be more than `max`, and
    /// nothing has changed.
    #[inline(always)]
    pub(crate) fn release(&self, n: u64, max: u64) -> Option<bool> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if max - n < word >> 1 {
                return None;
            }
            // Release: pairs with the Acquire of who takes them.
            match self.0.compare_exchange_weak(word, word + (n << 1), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Some(word & QUEUED != 0),
                Err(now) => word = now,
            }
        }
    }

    /// Puts back what was taken for the first, who has given up. The list's lock is held.
    pub(crate) fn put_back(&self, n: u64) {
        // Release: as in `release`, whose order was taken over with the permits.
        self.0.fetch_add(n << 1, Ordering::Release);
    }

    /// The last of the list, whose lock is held, was taken out.
    pub(crate) fn list_is_empty(&self) {
        self.0.fetch_and(!QUEUED, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::collections::VecDeque;

    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Mutex};

    use super::*;
    use crate::prim::model::Bell;

    const MAX: u64 = 10;

    struct Model {
        word: Word,
        list: Mutex<VecDeque<(u64, Bell<()>)>>,
        permits: u64,
        taken: AtomicUsize,
    }

    impl Model {
        fn new(permits: u64) -> Arc<Self> {
            Arc::new(Model {
                word: Word::new(permits),
                list: Mutex::new(VecDeque::new()),
                permits,
                taken: AtomicUsize::new(0),
            })
        }

        /// As `Semaphore::acquire_many`. `gives_up`: at once, if it still stands in the list.
        fn acquire(&self, n: u64, gives_up: bool) -> bool {
            if self.word.try_acquire(n) {
                return self.took(n);
            }
            let bell = Bell::new();
            let mut list = self.list.lock().expect("no panic");
            if !self.word.join(n) {
                return self.took(n);
            }
            list.push_back((n, bell.clone()));
            drop(list);
            if gives_up {
                let mut list = self.list.lock().expect("no panic");
                if let Some(place) = list.iter().position(|(_, other)| other.is(&bell)) {
                    list.remove(place);
                    if list.is_empty() {
                        self.word.list_is_empty();
                    }
                    drop(list);
                    self.let_through();
                    return false;
                }
            }
            bell.wait();
            self.took(n)
        }

        /// The same for one whose first wait could not begin: it has joined in the word, but not in the list.
        fn acquire_at_second_attempt(&self, n: u64) -> bool {
            let list = self.list.lock().expect("no panic");
            if !self.word.join(n) {
                return self.took(n);
            }
            drop(list);
            let list = self.list.lock().expect("no panic");
            if list.is_empty() {
                self.word.list_is_empty();
            }
            drop(list);
            self.let_through();
            self.acquire(n, false)
        }

        fn took(&self, n: u64) -> bool {
            let taken = self.taken.fetch_add(n as usize, Ordering::Relaxed) + n as usize;
            assert!(taken as u64 <= self.permits, "more permits than there are");
            true
        }

        fn release(&self, n: u64) {
            self.taken.fetch_sub(n as usize, Ordering::Relaxed);
            if self.word.release(n, MAX).expect("not too many") {
                self.let_through();
            }
        }

        /// As `Semaphore::let_through`.
        fn let_through(&self) {
            loop {
                let mut list = self.list.lock().expect("no panic");
                let Some(&(n, _)) = list.front() else { return };
                if !self.word.acquire_for_first(n) {
                    return;
                }
                let (_, bell) = list.pop_front().expect("the first");
                if list.is_empty() {
                    self.word.list_is_empty();
                }
                drop(list);
                bell.ring(());
            }
        }
    }

    fn contend(permits: u64, wants: [u64; 3], first_gives_up: bool) {
        loom::model(move || {
            let model = Model::new(permits);
            let others = [0, 1].map(|n| {
                let model = model.clone();
                loom::thread::spawn(move || {
                    if model.acquire(wants[n], first_gives_up && n == 0) {
                        model.release(wants[n]);
                    }
                })
            });
            assert!(model.acquire(wants[2], false));
            model.release(wants[2]);
            for other in others {
                other.join().expect("it does not panic");
            }
            assert!(model.word.try_acquire(permits), "all are back and nobody is queued");
        });
    }

    #[test]
    fn loom_three_take_turns() {
        contend(1, [1, 1, 1], false);
    }

    #[test]
    fn loom_a_big_one_among_small_ones() {
        contend(2, [2, 1, 1], false);
    }

    /// Permits come back meanwhile, and another one queues though there are some.
    #[test]
    fn loom_a_wait_that_cannot_begin_keeps_nobody_out() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let model = Model::new(1);
            let (a, b) = (model.clone(), model.clone());
            let a = loom::thread::spawn(move || {
                assert!(a.acquire_at_second_attempt(1));
                a.release(1);
            });
            let b = loom::thread::spawn(move || {
                assert!(b.acquire(1, false));
                b.release(1);
            });
            assert!(model.acquire(1, false));
            model.release(1);
            a.join().expect("it does not panic");
            b.join().expect("it does not panic");
            assert!(model.word.try_acquire(1), "all are back and nobody is queued");
        });
    }

    /// The big one in front gives up: those behind it are let through.
    #[test]
    fn loom_who_gives_up_lets_others_through() {
        contend(2, [2, 1, 1], true);
    }
}
