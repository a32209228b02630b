//! A mutex without a value: the word, and the list of those who wait.
//!
//! # How it works
//!
//! As Go's `sync.Mutex`. Who finds the mutex free takes it, also if others wait (*barging*): for a
//! goroutine that runs is faster at it than one that has to be woken, and a mutex that were handed over each
//! time would cost a switch for each turn. Who finds it locked joins the list, parks, and is woken when the
//! mutex is given back, to compete with newcomers; if it loses, it goes to the front. One that has lost
//! after [`PATIENCE`] makes the mutex *starving*: it is then handed over in the order of the list, and
//! newcomers queue, until the list is empty or its first has not waited that long.
//!
//! One at a time is on its way to compete (`word::mutex`, `WOKEN`): waking more would only make them lose.
//!
//! # Races
//!
//! - *The mutex is given back as a waiter joins.* It joins under the list's lock, and in the step in which
//!   it sees the mutex locked (`word::mutex`, invariant 3): the unlocker sees it, and comes to the list.
//! - *A waiter gives up as it is woken.* The claim decides. If the deadline won, the waker takes the next.
//!   If the waker won, the waiter competes, and if it loses joins once more, with its deadline passed: so
//!   its wake is never lost on one who leaves.
//!
//! Called on goroutine stacks and on foreign threads.
//!
//! *Rejected:* spinning before the wait, or before joining again. Two processors that take turns at a mutex pay
//! for a cache line at each turn, while one that keeps it for a while does not: with 8 goroutines on 2
//! processors that do nothing else (`benches/mutex.rs`), a waiter is woken once in 100,000 turns, and no
//! amount of spinning that was tried made it faster. A compare-exchange from "locked, and nothing else" to
//! give back: with waiters it fails each time and a second one follows, 27 ns of processor time for each
//! turn instead of 13.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use gort_runtime::waiter::WaitFor;

use crate::wait_list::{First, Monitor, Place, Waited};
use crate::word::mutex::{Joins, Unlock, Word};

/// After this, a waiter that loses is handed the mutex.
const PATIENCE: Duration = Duration::from_millis(1);

/// See the file.
pub(crate) struct RawMutex {
    word: Word,
    /// In the slot of each: since when it waits. Whom the mutex is handed to finds it empty.
    waiters: Monitor<(), Instant>,
}

impl RawMutex {
    pub(crate) const fn new() -> Self {
        RawMutex { word: Word::new(), waiters: Monitor::new(()) }
    }

    /// Takes the mutex if it is free, or, rarely, fails all the same.
    #[inline(always)]
    pub(crate) fn lock_at_once(&self) -> bool {
        self.word.lock_at_once()
    }

    /// Takes the mutex if it is free.
    pub(crate) fn try_lock(&self) -> bool {
        self.word.try_lock(false)
    }

    /// Waits for the mutex; false if the deadline passed first.
    pub(crate) fn lock_contended(&self, wait_for: WaitFor<'_>, deadline: Option<Instant>) -> bool {
        let since = Instant::now();
        let (mut who, mut place) = (Joins::New, Place::Back);
        loop {
            let waiters = self.waiters.lock();
            if !self.word.join(who) {
                return true;
            }
            let mut slot = Some(since);
            match waiters.wait_at(First, place, wait_for, deadline, &mut slot, || ()) {
                Waited::Ended if slot.is_none() || self.word.try_lock(true) => return true,
                Waited::Ended => {
                    who = Joins::Again { starving: since.elapsed() >= PATIENCE };
                    place = Place::Front;
                }
                Waited::TimedOut(mut waiters) => {
                    if waiters.first().is_empty() {
                        self.word.list_is_empty();
                    }
                    return false;
                }
                // It has not joined after all: at worst an unlocker finds the list empty. But it has said
                // goodbye to `WOKEN`, if it had it.
                Waited::Again => who = Joins::New,
            }
        }
    }

    /// Gives the mutex back.
    #[inline(always)]
    pub(crate) fn unlock(&self) {
        if !self.word.unlock() {
            self.after_unlock();
        }
    }

    #[inline(never)]
    fn after_unlock(&self) {
        match self.word.after_unlock() {
            Unlock::Done => {}
            Unlock::WakeFirst => self.wake_first(),
            Unlock::HandOver => self.hand_over(),
        }
    }

    /// Ends the wait of the first, with its slot as it is.
    fn wake_first(&self) {
        let mut waiters = self.waiters.lock();
        let ended = waiters.first().end();
        self.word.woke(ended.is_some(), waiters.first().is_empty());
        drop(waiters);
        drop(ended);
    }

    /// Ends the wait of the first, and empties its slot. (It may run before the word says so. If it gives
    /// the mutex back meanwhile, it comes here too, and waits for the list's lock.)
    fn hand_over(&self) {
        let mut waiters = self.waiters.lock();
        if !self.word.begin_hand_over() {
            return;
        }
        match waiters.first().take() {
            Some((since, ended)) => {
                self.word.handed_over(waiters.first().is_empty(), since.elapsed() >= PATIENCE);
                drop(waiters);
                drop(ended);
            }
            None => self.word.handed_to_nobody(),
        }
    }
}
