//! What runs once, without a policy for panics: `Once` and `OnceLock` are built on it.
//!
//! The first who comes runs the closure; the others wait for the end of the run, then look again. If the
//! closure panics, the run ends as the caller has said: poisoned, or as if it had not been.
//!
//! Called on goroutine stacks and on foreign threads. The closure runs on the caller's stack, and may wait.
#![forbid(unsafe_code)]

use gort_runtime::waiter::WaitReason;

use crate::check::{Hold, Owner};
use crate::wait_list::{First, Monitor};
use crate::word::once::{End, Found, Word};

/// See the file.
pub(crate) struct RawOnce {
    word: Word,
    owner: Owner,
    waiters: Monitor<(), ()>,
}

/// How a [`call`](RawOnce::call) ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// It has run, here or elsewhere.
    Done,
    /// Somebody's run has panicked, and the caller does not want to try again.
    Poisoned,
}

/// Ends a run when it is dropped.
struct Run<'a> {
    once: &'a RawOnce,
    end: End,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.once.owner.gives_back(Hold::Alone);
        if self.once.word.end(self.end) {
            self.once.waiters.end_all(First);
        }
    }
}

impl RawOnce {
    pub(crate) const fn new() -> Self {
        RawOnce { word: Word::new(), owner: Owner::new("once"), waiters: Monitor::new(()) }
    }

    /// One that has run.
    pub(crate) const fn done() -> Self {
        RawOnce { word: Word::done(), owner: Owner::new("once"), waiters: Monitor::new(()) }
    }

    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        self.word.is_done()
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.word.is_poisoned()
    }

    /// Runs `f`, or waits for the end of somebody else's run. `again`: also if one has panicked. `f` is told
    /// whether one has. `on_panic` is how the run ends if `f` panics.
    #[cold]
    #[track_caller]
    pub(crate) fn call(&self, again: bool, on_panic: End, f: impl FnOnce(bool)) -> Called {
        loop {
            match self.word.begin(again) {
                Found::Done => return Called::Done,
                Found::Poisoned => return Called::Poisoned,
                Found::Running => self.wait_for_end(),
                Found::Yours { poisoned } => {
                    self.owner.took(Hold::Alone);
                    let mut run = Run { once: self, end: on_panic };
                    f(poisoned);
                    run.end = End::Done;
                    return Called::Done;
                }
            }
        }
    }

    /// Waits until it has run, whoever does that and when.
    #[cold]
    #[track_caller]
    pub(crate) fn wait(&self) -> Called {
        loop {
            let waiters = self.waiters.lock();
            match self.word.join_anyway() {
                Found::Done => return Called::Done,
                Found::Poisoned => return Called::Poisoned,
                _ => drop(waiters.wait(First, self.owner.wait_for(WaitReason::Once), None, &mut None)),
            }
        }
    }

    /// Waits for the end of the run that somebody else is in the midst of.
    #[track_caller]
    fn wait_for_end(&self) {
        let _waiting = self.owner.waits(Hold::Alone, None);
        let waiters = self.waiters.lock();
        if self.word.join() {
            // However it ended: the caller looks again.
            drop(waiters.wait(First, self.owner.wait_for(WaitReason::Once), None, &mut None));
        }
    }
}
