//! The state word of a reader-writer lock.
//!
//! # The word
//!
//! | bits | meaning | set by | cleared by |
//! |---|---|---|---|
//! | 0 to 29 | how many read | a reader, as it enters; the writer* who lets a queued one in | readers, as they leave |
//! | `QUEUED` 30 | a reader stands in the list | that reader*, as it joins | the writer*, as it opens |
//! | `WRITER` 31 | a writer is inside, or waits for the readers to leave: no reader enters | a writer | the same, as it opens |
//!
//! \* holds the lock of the list of readers.
//!
//! Writers exclude each other by a mutex beside the word: of those who touch `WRITER`, there is one at a
//! time. This is the construction of Go's `sync.RWMutex`, with the list of readers outside of the word.
//!
//! # Invariants
//!
//! 1. `QUEUED` is set only while `WRITER` is: a reader joins the list only if it sees `WRITER` in the same
//!    step. So whoever opens sees every reader that waits for it.
//! 2. Between the announcement and the opening no reader enters. So "nobody reads", once it is seen by the
//!    writer, stays true until it opens.
//! 3. The reader that leaves last while a writer is announced learns of it from its own step, and looks
//!    after the writer under the list's lock; the writer looks once more under that lock before it sleeps.
#![forbid(unsafe_code)]

use crate::prim::atomic::{AtomicU32, Ordering};

const WRITER: u32 = 1 << 31;
const QUEUED: u32 = 1 << 30;
const READERS: u32 = QUEUED - 1;

/// The word.
#[derive(Debug)]
pub(crate) struct Word(AtomicU32);

impl Word {
    /// Nobody reads, nobody writes.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Word(AtomicU32::new(0))
    }

    /// Nobody reads, nobody writes.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Word(AtomicU32::new(0))
    }

    /// How many read, and is a writer announced? A snapshot.
    pub(crate) fn snapshot(&self) -> (u32, bool) {
        let word = self.0.load(Ordering::Relaxed);
        (word & READERS, word & WRITER != 0)
    }

    /// Enters as a reader, unless a writer is announced.
    #[inline(always)]
    pub(crate) fn try_read(&self) -> bool {
        self.read_or(0)
    }

    /// Enters as a reader (false), or notes that the caller joins the list (true), which it then must. The
    /// list's lock is held.
    pub(crate) fn join(&self) -> bool {
        !self.read_or(QUEUED)
    }

    /// Enters, or sets `else_set` if a writer is announced.
    #[inline(always)]
    fn read_or(&self, else_set: u32) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let enters = word & WRITER == 0;
            if !enters && else_set == 0 {
                return false;
            }
            assert!(!enters || word & READERS != READERS, "too many readers at the same time");
            let next = if enters { word + 1 } else { word | else_set };
            // Acquire: pairs with the Release of the writer who opened.
            match self.0.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return enters,
                Err(now) => word = now,
            }
        }
    }

    /// Leaves as a reader. True: the last one, and a writer is announced, which may be asleep.
    #[inline(always)]
    pub(crate) fn unread(&self) -> bool {
        // Release: pairs with the Acquire in `announce` and `nobody_reads`, through the steps of the
        // readers who leave later.
        self.0.fetch_sub(1, Ordering::Release) & !QUEUED == WRITER + 1
    }

    /// Announces a writer, which has the writers' mutex. True: nobody reads, it is inside.
    #[inline(always)]
    pub(crate) fn announce(&self) -> bool {
        // Acquire: pairs with the Release of the readers who have left.
        self.0.fetch_or(WRITER, Ordering::Acquire) & READERS == 0
    }

    /// Enters as a writer, which has the writers' mutex, if nobody reads.
    #[inline(always)]
    pub(crate) fn try_write(&self) -> bool {
        // Acquire: as in `announce`.
        self.0.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Have the readers left?
    pub(crate) fn nobody_reads(&self) -> bool {
        // Acquire: as in `announce`.
        self.0.load(Ordering::Acquire) & READERS == 0
    }

    /// The writer leaves, or gives up, if no reader waits for it: true.
    #[inline(always)]
    pub(crate) fn open_at_once(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & QUEUED == 0 {
            // Release: pairs with the Acquire of the readers who enter.
            match self.0.compare_exchange_weak(word, word & !WRITER, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// The writer leaves, or gives up; it then lets all in who stand in the list. The list's lock is held.
    pub(crate) fn open(&self) {
        // Release: as in `open_at_once`.
        self.0.fetch_and(!(WRITER | QUEUED), Ordering::Release);
    }

    /// Counts a reader that will be woken. (What the lock guards comes to it by its wake.) The list's lock is
    /// held.
    pub(crate) fn let_in(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes that back: nobody was left to be woken. No writer is announced.
    pub(crate) fn let_nobody_in(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Mutex};

    use super::*;
    use crate::prim::model::Bell;

    #[derive(Default)]
    struct Waiting {
        readers: Vec<Bell<()>>,
        writer: Option<Bell<()>>,
    }

    struct Model {
        word: Word,
        /// The writers' mutex: loom's own; its word has models of its own.
        writers: Mutex<()>,
        waiting: Mutex<Waiting>,
        /// Plain accesses in a lock's disguise: readers must see both equal.
        first: AtomicUsize,
        second: AtomicUsize,
    }

    impl Model {
        fn new() -> Arc<Self> {
            Arc::new(Model {
                word: Word::new(),
                writers: Mutex::new(()),
                waiting: Mutex::new(Waiting::default()),
                first: AtomicUsize::new(0),
                second: AtomicUsize::new(0),
            })
        }

        /// As `RawRwLock::read` and `unlock_read`.
        fn read(&self) {
            if !self.word.try_read() {
                let mut waiting = self.waiting.lock().expect("no panic");
                if self.word.join() {
                    let bell = Bell::new();
                    waiting.readers.push(bell.clone());
                    drop(waiting);
                    bell.wait();
                }
            }
            let first = self.first.load(Ordering::Relaxed);
            assert_eq!(first, self.second.load(Ordering::Relaxed), "read while somebody writes");
            if self.word.unread() {
                let mut waiting = self.waiting.lock().expect("no panic");
                let writer = if self.word.nobody_reads() { waiting.writer.take() } else { None };
                drop(waiting);
                if let Some(bell) = writer {
                    bell.ring(());
                }
            }
        }

        /// As `RawRwLock::write` and `unlock_write`. `gives_up`: at once, if there are readers.
        fn write(&self, gives_up: bool) {
            let writers = self.writers.lock().expect("no panic");
            let mut inside = self.word.announce();
            if !inside && !gives_up {
                let mut waiting = self.waiting.lock().expect("no panic");
                if !self.word.nobody_reads() {
                    let bell = Bell::new();
                    waiting.writer = Some(bell.clone());
                    drop(waiting);
                    bell.wait();
                }
                inside = true;
            }
            if inside {
                let first = self.first.load(Ordering::Relaxed);
                self.first.store(first + 1, Ordering::Relaxed);
                self.second.store(first + 1, Ordering::Relaxed);
            }
            if !self.word.open_at_once() {
                let mut waiting = self.waiting.lock().expect("no panic");
                self.word.open();
                while let Some(bell) = waiting.readers.pop() {
                    self.word.let_in();
                    bell.ring(());
                    drop(waiting);
                    waiting = self.waiting.lock().expect("no panic");
                }
            }
            drop(writers);
        }
    }

    fn together(writers: usize, readers: usize, gives_up: bool) {
        loom::model(move || {
            let model = Model::new();
            let mut others = Vec::new();
            for _ in 0..readers {
                let model = model.clone();
                others.push(loom::thread::spawn(move || model.read()));
            }
            for n in 1..writers {
                let model = model.clone();
                others.push(loom::thread::spawn(move || model.write(gives_up && n == 1)));
            }
            model.write(false);
            for other in others {
                other.join().expect("it does not panic");
            }
            let sum = model.first.load(Ordering::Relaxed);
            assert!(sum == writers || gives_up && sum + 1 == writers);
            assert_eq!(model.word.snapshot(), (0, false), "nothing is left in the word");
            assert!(model.word.try_write());
        });
    }

    #[test]
    fn loom_a_writer_and_two_readers() {
        together(1, 2, false);
    }

    #[test]
    fn loom_two_writers_and_a_reader() {
        together(2, 1, false);
    }

    /// The second writer gives up as readers wait for it.
    #[test]
    fn loom_a_writer_that_gives_up_lets_readers_in() {
        together(2, 1, true);
    }
}
