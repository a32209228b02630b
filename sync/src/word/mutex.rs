//! The state word of a mutex.
//!
//! # The word
//!
//! | bit | meaning | set by | cleared by |
//! |---|---|---|---|
//! | `LOCKED` 1 | somebody has the mutex | who takes it; who hands it over*, on behalf of who gets it | who gives it back |
//! | `QUEUED` 2 | somebody stands in the list | a waiter*, as it joins | whoever* takes the last one out |
//! | `WOKEN` 4 | a waiter has been taken out of the list, or will be, to compete for the mutex | the unlocker who wakes it | that waiter, as it takes the mutex or joins the list* again; the unlocker* who found the list empty |
//! | `STARVING` 8 | the mutex is handed over, and nobody may just take it | a waiter*, as it joins again | who hands over* to the last, or to one that has not waited long; whoever* takes the last one out |
//!
//! \* holds the list's lock.
//!
//! Giving back is one step that cannot fail, and taking needs one that fails only if the word changes
//! meanwhile: so both cost the same while others wait.
//!
//! # Invariants
//!
//! 1. Nobody takes a mutex that is `STARVING`, but by being handed it. That is done under the list's lock, by
//!    one who sees it `STARVING` and free in one step, and locks it in the same step: so once for each time
//!    that it was given back, whoever of the unlockers on their way gets there first.
//! 2. `STARVING` and `WOKEN` exclude each other: who sets the former has the latter, and clears it in the
//!    same step; the latter is set only where the former is not.
//! 3. While somebody stands in the list, the mutex is locked, or `WOKEN` is set, or an unlocker is on its way
//!    to the list. For a waiter joins only if it sees the mutex locked or starving in the same step; who
//!    gives it back and sees `QUEUED` goes to the list, unless somebody has locked it since, or is woken
//!    already; and who has `WOKEN` clears it only by taking the mutex, or by joining, or under the list's
//!    lock with nobody in the list.
//! 4. A free mutex stays `STARVING` while somebody stands in the list: the unlocker that saw it so comes to
//!    hand it over, and does nothing if it finds it otherwise.
//!
//! The models at the end of this file try all interleavings of a list that is emulated.
#![forbid(unsafe_code)]

use crate::prim::atomic::{AtomicU32, Ordering};

const LOCKED: u32 = 1;
const QUEUED: u32 = 2;
const WOKEN: u32 = 4;
const STARVING: u32 = 8;

/// What an unlocker has still to do for those who wait.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unlock {
    /// Nothing.
    Done,
    /// Wake the first of the list, that it may compete.
    WakeFirst,
    /// Hand the mutex to the first of the list.
    HandOver,
}

/// Who wants to join the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joins {
    /// One who has not waited yet.
    New,
    /// One who was woken to compete, and lost.
    Again {
        /// It has waited too long: from now on the mutex is handed over.
        starving: bool,
    },
}

/// The word.
#[derive(Debug)]
pub(crate) struct Word(AtomicU32);

impl Word {
    /// A free mutex.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Word(AtomicU32::new(0))
    }

    /// A free mutex.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Word(AtomicU32::new(0))
    }

    /// Takes the mutex if it is free, whoever waits for it. May fail though it is free, if the word changes
    /// at this moment.
    #[inline(always)]
    pub(crate) fn lock_at_once(&self) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        // Acquire: pairs with the Release of whoever gave it back.
        word & (LOCKED | STARVING) == 0
            && self.0.compare_exchange(word, word | LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the mutex if it is free, whoever waits for it. `woken`: the caller has `WOKEN`, and is rid of it
    /// if this succeeds.
    pub(crate) fn try_lock(&self, woken: bool) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & (LOCKED | STARVING) == 0 {
            let locked = if woken { (word | LOCKED) & !WOKEN } else { word | LOCKED };
            // Acquire: pairs with the Release of whoever gave it back.
            match self.0.compare_exchange_weak(word, locked, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Gives the mutex back. False: somebody waits, see [`after_unlock`](Self::after_unlock).
    #[inline(always)]
    pub(crate) fn unlock(&self) -> bool {
        // Release: pairs with the Acquire of who takes it next.
        let word = self.0.fetch_sub(LOCKED, Ordering::Release);
        word & (QUEUED | WOKEN) != QUEUED
    }

    /// The mutex was given back, and somebody waited then.
    pub(crate) fn after_unlock(&self) -> Unlock {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & STARVING != 0 {
                return Unlock::HandOver;
            }
            if word & (LOCKED | QUEUED | WOKEN) != QUEUED {
                // Who has locked it since, or is woken, does the rest.
                return Unlock::Done;
            }
            // Relaxed: says only that somebody will be woken.
            match self.0.compare_exchange_weak(word, word | WOKEN, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Unlock::WakeFirst,
                Err(now) => word = now,
            }
        }
    }

    /// Takes the mutex if it is free (false), else notes that the caller joins the list (true), which it
    /// then must. The list's lock is held.
    pub(crate) fn join(&self, who: Joins) -> bool {
        let (woken, starving) = match who {
            Joins::New => (0, 0),
            Joins::Again { starving } => (WOKEN, if starving { STARVING } else { 0 }),
        };
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let joins = word & (LOCKED | STARVING) != 0;
            let next = if joins { word | QUEUED | starving } else { word | LOCKED } & !woken;
            // Acquire: as in `try_lock`.
            match self.0.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return joins,
                Err(now) => word = now,
            }
        }
    }

    /// After [`Unlock::WakeFirst`]: `found` one to wake; is the list `empty` now? Its lock is held.
    pub(crate) fn woke(&self, found: bool, empty: bool) {
        let gone = if found { 0 } else { WOKEN } | if empty { QUEUED | STARVING } else { 0 };
        // Relaxed: says nothing of what the mutex guards.
        self.0.fetch_and(!gone, Ordering::Relaxed);
    }

    /// After [`Unlock::HandOver`]: locks the mutex on behalf of the first of the list, whose lock is held.
    /// False: that is not, or no longer, to be done.
    pub(crate) fn begin_hand_over(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & (LOCKED | STARVING) == STARVING {
            // Acquire: pairs with the Release of whoever gave it back, perhaps not the caller. (It goes on
            // to the new holder by its wake.)
            match self.0.compare_exchange_weak(word, word | LOCKED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// The mutex was handed to one who was taken out of the list: is the list `empty` now, and do the others
    /// still `starve`? Its lock is held.
    ///
    /// That one may have given it back already. It has then seen it `STARVING`, and is on its way to hand it to
    /// the next, of whom nobody else thinks: so it stays `STARVING`.
    pub(crate) fn handed_over(&self, empty: bool, starve: bool) {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let gone = match (empty, starve) {
                (true, _) => QUEUED | STARVING,
                (false, false) if word & LOCKED != 0 => STARVING,
                (false, _) => return,
            };
            // Relaxed: as in `woke`.
            match self.0.compare_exchange_weak(word, word & !gone, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// There was nobody in the list, whose lock is held, to hand the mutex to: it is free.
    pub(crate) fn handed_to_nobody(&self) {
        // Release: as in `unlock`.
        self.0.fetch_and(!(LOCKED | QUEUED | STARVING), Ordering::Release);
    }

    /// A waiter that gave up was the last of the list, whose lock is held.
    pub(crate) fn list_is_empty(&self) {
        self.0.fetch_and(!(QUEUED | STARVING), Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::collections::VecDeque;

    use loom::model::Builder;
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Mutex};

    use super::*;
    use crate::prim::model::Bell;

    /// What a waiter is told.
    #[derive(Clone, Copy, PartialEq)]
    enum Told {
        Compete,
        Yours,
    }

    struct Model {
        word: Word,
        list: Mutex<VecDeque<Bell<Told>>>,
        /// Do those behind whom the mutex is handed to starve, too?
        others_starve: bool,
        /// How many are inside, and how often somebody was.
        inside: AtomicUsize,
        visits: AtomicUsize,
    }

    impl Model {
        fn new(others_starve: bool) -> Arc<Self> {
            Arc::new(Model {
                word: Word::new(),
                list: Mutex::new(VecDeque::new()),
                others_starve,
                inside: AtomicUsize::new(0),
                visits: AtomicUsize::new(0),
            })
        }

        /// As `RawMutex::lock`. Who is woken in vain says that it starves if `impatient`.
        fn lock(&self, impatient: bool) {
            if !self.word.lock_at_once() && !self.word.try_lock(false) {
                self.lock_as(Joins::New, impatient);
            }
        }

        fn lock_as(&self, mut who: Joins, impatient: bool) {
            while let Some(bell) = self.join(who) {
                if bell.wait() == Told::Yours || self.word.try_lock(true) {
                    return;
                }
                who = Joins::Again { starving: impatient };
            }
        }

        /// Joins the list, or has the mutex.
        fn join(&self, who: Joins) -> Option<Bell<Told>> {
            let bell = Bell::new();
            let mut list = self.list.lock().expect("no panic");
            if !self.word.join(who) {
                return None;
            }
            match who {
                Joins::New => list.push_back(bell.clone()),
                Joins::Again { .. } => list.push_front(bell.clone()),
            }
            Some(bell)
        }

        /// As `RawMutex::unlock`. Who is taken out of the list may go on before the word knows.
        fn unlock(&self) {
            if self.word.unlock() {
                return;
            }
            match self.word.after_unlock() {
                Unlock::Done => {}
                Unlock::WakeFirst => {
                    let mut list = self.list.lock().expect("no panic");
                    let first = list.pop_front();
                    first.iter().for_each(|bell| bell.ring(Told::Compete));
                    self.word.woke(first.is_some(), list.is_empty());
                }
                Unlock::HandOver => self.hand_over(),
            }
        }

        /// As `RawMutex::hand_over`.
        fn hand_over(&self) {
            let mut list = self.list.lock().expect("no panic");
            if !self.word.begin_hand_over() {
                return;
            }
            match list.pop_front() {
                Some(bell) => {
                    bell.ring(Told::Yours);
                    self.word.handed_over(list.is_empty(), self.others_starve);
                }
                None => self.word.handed_to_nobody(),
            }
        }

        /// A waiter with a deadline, which passes at once: gives up if it still stands in the list.
        fn lock_or_give_up(&self) -> bool {
            if self.word.try_lock(false) {
                return true;
            }
            let Some(bell) = self.join(Joins::New) else { return true };
            let mut list = self.list.lock().expect("no panic");
            if let Some(place) = list.iter().position(|other| other.is(&bell)) {
                list.remove(place);
                if list.is_empty() {
                    self.word.list_is_empty();
                }
                return false;
            }
            drop(list);
            if bell.wait() == Told::Compete && !self.word.try_lock(true) {
                self.lock_as(Joins::Again { starving: true }, true);
            }
            true
        }

        fn visit(&self) {
            assert_eq!(self.inside.fetch_add(1, Ordering::Relaxed), 0, "two inside");
            // Not by a read-modify-write: that the sum is right shows that the mutex orders.
            let visits = self.visits.load(Ordering::Relaxed);
            self.visits.store(visits + 1, Ordering::Relaxed);
            self.inside.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn hammer(threads: usize, turns: usize, impatient: bool) {
        loom::model(move || {
            let model = Model::new(true);
            let work = move |model: &Model| {
                for _ in 0..turns {
                    model.lock(impatient);
                    model.visit();
                    model.unlock();
                }
            };
            let others: Vec<_> = (1..threads)
                .map(|_| {
                    let model = model.clone();
                    loom::thread::spawn(move || work(&model))
                })
                .collect();
            work(&model);
            for other in others {
                other.join().expect("it does not panic");
            }
            assert_eq!(model.visits.load(Ordering::Relaxed), threads * turns);
            assert_eq!(model.word.0.load(Ordering::Relaxed), 0, "something is left in the word");
        });
    }

    #[test]
    fn loom_two_lock_twice() {
        hammer(2, 2, false);
    }

    #[test]
    fn loom_two_lock_twice_and_starve() {
        hammer(2, 2, true);
    }

    #[test]
    fn loom_three_lock_once() {
        hammer(3, 1, true);
    }

    /// One that starves waits before one that does not: it may give the mutex back before the word says that
    /// the other one may compete again.
    #[test]
    fn loom_starving_ends_before_others_that_wait() {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let model = Model::new(false);
            model.lock(false);
            // The first was woken, and has lost.
            model.word.0.fetch_or(WOKEN, Ordering::Relaxed);
            let (first, second) = (model.clone(), model.clone());
            let first = loom::thread::spawn(move || {
                first.lock_as(Joins::Again { starving: true }, true);
                first.visit();
                first.unlock();
            });
            let second = loom::thread::spawn(move || {
                second.lock(true);
                second.visit();
                second.unlock();
            });
            model.unlock();
            first.join().expect("it does not panic");
            second.join().expect("it does not panic");
            assert_eq!(model.word.0.load(Ordering::Relaxed), 0, "something is left in the word");
        });
    }

    /// One gives up at the very moment in which it is woken, or the mutex is handed to it.
    #[test]
    fn loom_who_gives_up_loses_no_wake() {
        loom::model(|| {
            let model = Model::new(true);
            let (a, b) = (model.clone(), model.clone());
            let a = loom::thread::spawn(move || {
                if a.lock_or_give_up() {
                    a.visit();
                    a.unlock();
                }
            });
            let b = loom::thread::spawn(move || {
                b.lock(true);
                b.visit();
                b.unlock();
            });
            model.lock(false);
            model.visit();
            model.unlock();
            a.join().expect("it does not panic");
            b.join().expect("it does not panic");
            assert_eq!(model.word.0.load(Ordering::Relaxed), 0, "something is left in the word");
        });
    }

    /// One has given the mutex back, and comes late to hand it over: meanwhile another one holds it, and a
    /// waiter starves.
    #[test]
    fn loom_a_late_unlocker_hands_over_only_what_is_free() {
        loom::model(|| {
            let model = Model::new(true);
            model.word.0.store(LOCKED | QUEUED | STARVING, Ordering::Relaxed);
            let bell = Bell::new();
            model.list.lock().expect("no panic").push_back(bell.clone());
            let (late, waiter) = (model.clone(), model.clone());
            let late = loom::thread::spawn(move || late.hand_over());
            let waiter = loom::thread::spawn(move || {
                assert!(bell.wait() == Told::Yours);
                waiter.visit();
                waiter.unlock();
            });
            model.visit();
            model.unlock();
            late.join().expect("it does not panic");
            waiter.join().expect("it does not panic");
            assert_eq!(model.word.0.load(Ordering::Relaxed), 0, "something is left in the word");
        });
    }
}
