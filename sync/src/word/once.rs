//! The state word of what runs once.
//!
//! | state | meaning | set by | from |
//! |---|---|---|---|
//! | `NEW` 0 | has not run; or has panicked, where that does not poison | nobody; the runner | `RUNNING` |
//! | `POISONED` 1 | has panicked | the runner | `RUNNING` |
//! | `RUNNING` 2 | somebody runs it | the runner | `NEW`, `POISONED` |
//! | `DONE` 3 | has run | the runner | `RUNNING` |
//!
//! The bit `QUEUED` 4 stands beside `RUNNING` when somebody waits for the end, and beside `NEW` too when
//! somebody waits for it to be run at all: a waiter sets it under the list's lock, and only if it sees one of
//! these states in the same step; who begins a run keeps it; the runner's last step takes it away, and
//! tells it to wake the list.
#![forbid(unsafe_code)]

use crate::prim::atomic::{AtomicU8, Ordering};

const NEW: u8 = 0;
const POISONED: u8 = 1;
const RUNNING: u8 = 2;
const DONE: u8 = 3;
const QUEUED: u8 = 4;

/// What one who comes finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It has run.
    Done,
    /// It has panicked.
    Poisoned,
    /// The caller is to run it now, and must call [`Word::end`].
    Yours { poisoned: bool },
    /// Somebody else runs it.
    Running,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Poisoned,
    /// It did not happen: the next one may try.
    Undone,
}

/// The word.
#[derive(Debug)]
pub(crate) struct Word(AtomicU8);

impl Word {
    /// It has not run.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Word(AtomicU8::new(NEW))
    }

    /// It has not run.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Word(AtomicU8::new(NEW))
    }

    /// It has run already, when it was made.
    #[cfg(not(loom))]
    pub(crate) const fn done() -> Self {
        Word(AtomicU8::new(DONE))
    }

    /// Has it run? What it did is then visible.
    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        // Acquire: pairs with the Release in `end`.
        self.0.load(Ordering::Acquire) == DONE
    }

    /// Has it panicked? For the exclusive owner and for reports.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.0.load(Ordering::Relaxed) == POISONED
    }

    /// Begins a run, or says why not. `again`: also after a panic.
    pub(crate) fn begin(&self, again: bool) -> Found {
        // Acquire, here and below: pairs with the Release in `end`.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            match word & !QUEUED {
                DONE => return Found::Done,
                POISONED if !again => return Found::Poisoned,
                NEW | POISONED => {}
                _ => return Found::Running,
            }
            let running = RUNNING | word & QUEUED;
            match self.0.compare_exchange_weak(word, running, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Found::Yours { poisoned: word == POISONED },
                Err(now) => word = now,
            }
        }
    }

    /// Notes that the caller joins the list (true), which it then must; false if nobody runs it any more.
    /// The list's lock is held.
    pub(crate) fn join(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & !QUEUED == RUNNING {
            // Relaxed: who finds that the run is over looks again, in `begin`.
            match self.0.compare_exchange_weak(word, word | QUEUED, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// As [`join`](Self::join), also if nobody has begun a run: `Running` if the caller joins, which it then
    /// must. Else `Done` or `Poisoned`. The list's lock is held.
    pub(crate) fn join_anyway(&self) -> Found {
        // Acquire: pairs with the Release in `end`.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            match word & !QUEUED {
                DONE => return Found::Done,
                POISONED => return Found::Poisoned,
                _ => {}
            }
            match self.0.compare_exchange_weak(word, word | QUEUED, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Found::Running,
                Err(now) => word = now,
            }
        }
    }

    /// Ends a run; true if the list is to be woken.
    pub(crate) fn end(&self, end: End) -> bool {
        let next = match end {
            End::Done => DONE,
            End::Poisoned => POISONED,
            End::Undone => NEW,
        };
        // Release: pairs with the Acquires in `begin` and `is_done`.
        self.0.swap(next, Ordering::Release) & QUEUED != 0
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Mutex};

    use super::*;
    use crate::prim::model::Bell;

    struct Model {
        word: Word,
        list: Mutex<Vec<Bell<()>>>,
        value: AtomicUsize,
        runs: AtomicUsize,
    }

    /// As `RawOnce::call`: the first `fails` runs end with a panic.
    fn call(model: &Model, fails: usize, poisons: bool) {
        loop {
            match model.word.begin(true) {
                Found::Done => break,
                Found::Poisoned => unreachable!("asked for again"),
                Found::Yours { .. } => {
                    let run = model.runs.load(Ordering::Relaxed);
                    model.runs.store(run + 1, Ordering::Relaxed);
                    let end = if run < fails {
                        if poisons { End::Poisoned } else { End::Undone }
                    } else {
                        model.value.store(42, Ordering::Relaxed);
                        End::Done
                    };
                    if model.word.end(end) {
                        let woken = std::mem::take(&mut *model.list.lock().expect("no panic"));
                        woken.iter().for_each(|bell| bell.ring(()));
                    }
                }
                Found::Running => {
                    let mut list = model.list.lock().expect("no panic");
                    if model.word.join() {
                        let bell = Bell::new();
                        list.push(bell.clone());
                        drop(list);
                        bell.wait();
                    }
                }
            }
        }
        assert!(model.word.is_done());
        assert_eq!(model.value.load(Ordering::Relaxed), 42, "what the run did is visible");
    }

    /// One waits for a run that nobody has begun, while another one fails at first.
    #[test]
    fn loom_who_waits_before_the_first_run_is_woken() {
        loom::model(|| {
            let model = Arc::new(Model {
                word: Word::new(),
                list: Mutex::new(Vec::new()),
                value: AtomicUsize::new(0),
                runs: AtomicUsize::new(0),
            });
            let other = model.clone();
            let other = loom::thread::spawn(move || call(&other, 1, false));
            loop {
                let mut list = model.list.lock().expect("no panic");
                if model.word.join_anyway() == Found::Done {
                    break;
                }
                let bell = Bell::new();
                list.push(bell.clone());
                drop(list);
                bell.wait();
            }
            assert_eq!(model.value.load(Ordering::Relaxed), 42, "what the run did is visible");
            other.join().expect("it does not panic");
        });
    }

    fn together(threads: usize, fails: usize, poisons: bool) {
        loom::model(move || {
            let model = Arc::new(Model {
                word: Word::new(),
                list: Mutex::new(Vec::new()),
                value: AtomicUsize::new(0),
                runs: AtomicUsize::new(0),
            });
            let others: Vec<_> = (1..threads)
                .map(|_| {
                    let model = model.clone();
                    loom::thread::spawn(move || call(&model, fails, poisons))
                })
                .collect();
            call(&model, fails, poisons);
            others.into_iter().for_each(|other| other.join().expect("it does not panic"));
            assert_eq!(model.runs.load(Ordering::Relaxed), fails + 1);
        });
    }

    #[test]
    fn loom_three_call_and_one_runs() {
        together(3, 0, true);
    }

    #[test]
    fn loom_after_a_panic_another_one_runs() {
        together(2, 1, true);
        together(2, 1, false);
    }
}
