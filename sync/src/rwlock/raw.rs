//! A reader-writer lock without a value: the word, the writers' mutex, and the list of readers.
//!
//! # How it works
//!
//! As Go's `sync.RWMutex`. A writer takes the writers' mutex, then announces itself in the word: from then
//! on readers queue. It waits for those inside to leave. When it is done, it opens: the readers that have
//! queued enter, all of them, and only then does it give the writers' mutex back. So a stream of readers
//! does not keep a writer out, nor a stream of writers the readers: each waits for at most one turn of the
//! others. Among themselves writers compete for their mutex, with its fairness.
//!
//! # Races
//!
//! - *The last reader leaves as the writer goes to sleep.* The reader learns of the writer from its own
//!   step on the word, and comes to the monitor; the writer looks at the word once more under the monitor's
//!   lock. One of the two sees the other.
//! - *The last reader comes too late*, after its writer has given up and another one has been announced. It
//!   looks once more under the monitor's lock whether anybody reads; if not, waking is right for any
//!   writer.
//! - *A reader queues as the writer opens.* Opening is under the monitor's lock if the word shows a queued
//!   reader, and joining too (`word`, invariant 1).
//!
//! Called on goroutine stacks and on foreign threads.
#![forbid(unsafe_code)]

use std::time::Instant;

use gort_runtime::waiter::{WaitFor, WaitReason};

use crate::mutex::raw::RawMutex;
use crate::wait_list::{First, Monitor, Second, Waited};
use crate::word::rwlock::Word;

/// See the file.
pub(crate) struct RawRwLock {
    word: Word,
    writers: RawMutex,
    /// First: the readers that queue. Second: the writer that waits for readers to leave.
    waiters: Monitor<(), (), ()>,
}

impl RawRwLock {
    pub(crate) const fn new() -> Self {
        RawRwLock { word: Word::new(), writers: RawMutex::new(), waiters: Monitor::new(()) }
    }

    /// How many read, and is a writer inside or waiting for them? A snapshot.
    pub(crate) fn snapshot(&self) -> (u32, bool) {
        self.word.snapshot()
    }

    #[inline(always)]
    pub(crate) fn try_read(&self) -> bool {
        self.word.try_read()
    }

    /// Waits to enter as a reader; false if the deadline passed first.
    pub(crate) fn read_contended(&self, wait_for: WaitFor<'_>, deadline: Option<Instant>) -> bool {
        loop {
            let waiters = self.waiters.lock();
            if !self.word.join() {
                return true;
            }
            match waiters.wait(First, wait_for, deadline, &mut None) {
                Waited::Ended => return true,
                Waited::TimedOut(_) => return false,
                // `QUEUED` stands in the word, but the opening writer may find nobody.
                Waited::Again => {}
            }
        }
    }

    #[inline(always)]
    pub(crate) fn unlock_read(&self) {
        if self.word.unread() {
            self.wake_writer();
        }
    }

    #[cold]
    fn wake_writer(&self) {
        let mut waiters = self.waiters.lock();
        let ended = if self.word.nobody_reads() { waiters.second().end() } else { None };
        drop(waiters);
        drop(ended);
    }

    /// Takes the writers' mutex, and enters if nobody reads; else gives it back.
    #[inline(always)]
    pub(crate) fn try_write(&self) -> bool {
        if !self.writers.try_lock() {
            return false;
        }
        let enters = self.word.try_write();
        if !enters {
            self.writers.unlock();
        }
        enters
    }

    /// The first step of a writer: takes the writers' mutex, if it is free and nobody waits for it.
    #[inline(always)]
    pub(crate) fn lock_writers_at_once(&self) -> bool {
        self.writers.lock_at_once()
    }

    /// The same, and waits for it; false if the deadline passed first.
    pub(crate) fn lock_writers(&self, wait_for: WaitFor<'_>, deadline: Option<Instant>) -> bool {
        self.writers.try_lock() || self.writers.lock_contended(wait_for, deadline)
    }

    /// The second step: announces the writer. True: it is inside.
    #[inline(always)]
    pub(crate) fn announce(&self) -> bool {
        self.word.announce()
    }

    /// The third step: waits for the readers to leave. False if the deadline passed first; then
    /// [`unlock_write`](Self::unlock_write) is called all the same.
    pub(crate) fn wait_for_readers(&self, wait_for: WaitFor<'_>, deadline: Option<Instant>) -> bool {
        loop {
            let waiters = self.waiters.lock();
            if self.word.nobody_reads() {
                return true;
            }
            match waiters.wait(Second, wait_for, deadline, &mut None) {
                // The loop looks at the word again, also for what the readers have done.
                Waited::Ended | Waited::Again => {}
                Waited::TimedOut(_) => return false,
            }
        }
    }

    /// The writer leaves, or gives up.
    #[inline(always)]
    pub(crate) fn unlock_write(&self) {
        if !self.word.open_at_once() {
            self.open_to_queued();
        }
        self.writers.unlock();
    }

    /// Opens and lets all readers in that have queued. None queues anew meanwhile, for no writer is announced
    /// before the writers' mutex is given back.
    #[cold]
    fn open_to_queued(&self) {
        let mut waiters = self.waiters.lock();
        self.word.open();
        loop {
            // Counted first: it may go on, and leave, as soon as its wait is ended.
            self.word.let_in();
            let ended = waiters.first().end();
            if ended.is_none() {
                self.word.let_nobody_in();
                return;
            }
            drop(waiters);
            drop(ended);
            waiters = self.waiters.lock();
        }
    }

    /// What a waiting writer is said to wait for.
    pub(crate) const WRITE: WaitReason = WaitReason::RwLockWrite;
    /// What a waiting reader is said to wait for.
    pub(crate) const READ: WaitReason = WaitReason::RwLockRead;
}
