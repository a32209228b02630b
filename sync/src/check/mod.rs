//! `GORT_CHECK=1`: locks know who holds them, and a cycle of waits is reported when it closes.
//!
//! # What it finds
//!
//! A goroutine (or thread) that waits without a deadline for a mutex, a reader-writer lock or a `Once` that
//! it holds itself, or for one whose holder waits, without a deadline, for one whose holder waits ... for the
//! first. To wait for the end of a goroutine (`JoinHandle::join`) counts as to wait for what it holds. (The
//! machine tells of joins from the first use of a lock on; before, nobody holds anything.)
//! None of them can ever go on, so this is reported on stderr when the last of them begins to wait, also
//! while other goroutines run: each with its number and name, where it waits, and where what it waits for
//! was taken. Then the program goes on, and these hang, as they would without the check.
//!
//! Not known to the search are waits at the end of a `scope`, for branches of `gort::join`, for channels,
//! condition variables, semaphores and the like: it is not known who would end those.
//!
//! # Why it is never wrong, but for one case
//!
//! 1. What is noted as held *is* held: it is noted after it was taken, and struck off before it is given
//!    back.
//! 2. Who is noted as waiting either waits for a thing or has just been given it; in the latter case the
//!    thing is not yet noted as held by anybody, and the search ends there.
//! 3. All is noted under one lock, and a cycle is searched under it.
//! 4. What has a deadline, or only tries, is not noted: it ends.
//!
//! The one case: the *holder* is who took the lock. A guard that is sent to another goroutine is given back
//! by that one, of which the search knows nothing: then it may report a cycle that the other one will
//! break. Nothing but reports looks at holders, so locking is never wrong.
//!
//! # Cost
//!
//! Off, which is the default: one relaxed load of a byte for each lock and unlock. On: each goes through
//! one lock for the whole process, and looks through all that is held or waited for; it is for tests.
#![forbid(unsafe_code)]

mod report;
mod table;

use std::panic::Location;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use gort_runtime::__private::{JoinWatch, watch_joins};
use gort_runtime::waiter::{WaitFor, WaitReason, current_id};
use gort_runtime::{Goroutine, current};

pub(crate) use table::Hold;
use table::{Held, Target, Waits};

const UNKNOWN: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

/// What the environment says; read once.
static MODE: AtomicU8 = AtomicU8::new(UNKNOWN);

#[inline(always)]
fn is_on() -> bool {
    match MODE.load(Ordering::Relaxed) {
        OFF => false,
        mode => mode == ON || read_mode(),
    }
}

#[cold]
fn read_mode() -> bool {
    let on = std::env::var_os("GORT_CHECK").is_some_and(|value| value == "1");
    if on {
        watch_joins(&JOINS);
    }
    MODE.store(if on { ON } else { OFF }, Ordering::Relaxed);
    on
}

/// Stands in each lock: the number of the goroutine that holds it, if the check is on. Its address is the
/// lock's name in the table.
pub(crate) struct Owner {
    /// 0: nobody, a thread that is no goroutine, or the check is off.
    id: AtomicU64,
    /// What it is called in reports.
    what: &'static str,
}

impl Owner {
    pub(crate) const fn new(what: &'static str) -> Self {
        Owner { id: AtomicU64::new(0), what }
    }

    fn object(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// What to tell the machine of a wait for this lock.
    pub(crate) fn wait_for(&self, reason: WaitReason) -> WaitFor<'_> {
        reason.at(self).held_by(&self.id)
    }

    /// The caller has taken the lock.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn took(&self, hold: Hold) {
        if is_on() {
            self.note(hold, Location::caller());
        }
    }

    #[cold]
    fn note(&self, hold: Hold, site: &'static Location<'static>) {
        if hold == Hold::Alone {
            self.id.store(current_id(), Ordering::Relaxed);
        }
        table::hold(Held { who: current(), object: self.object(), hold, site });
    }

    /// The caller is about to give the lock back.
    #[inline(always)]
    pub(crate) fn gives_back(&self, hold: Hold) {
        if is_on() {
            self.strike(hold);
        }
    }

    #[cold]
    fn strike(&self, hold: Hold) {
        if hold == Hold::Alone {
            self.id.store(0, Ordering::Relaxed);
        }
        table::release(self.object(), hold, &current());
    }

    /// The caller is about to wait, while others hold the lock in this way. What is returned is kept for as
    /// long as it waits.
    #[track_caller]
    pub(crate) fn waits(&self, hold: Hold, deadline: Option<Instant>) -> Option<Waiting> {
        if !is_on() || deadline.is_some() {
            return None;
        }
        let target = Target::Object { object: self.object(), hold, what: self.what };
        Some(begin_wait(target, Location::caller()))
    }
}

/// The caller is about to wait: notes it, and reports the cycle that it closes, if it does.
fn begin_wait(target: Target, site: &'static Location<'static>) -> Waiting {
    let who = current();
    let cycle = table::wait(Waits { who: who.clone(), target, site });
    if !cycle.is_empty() {
        report::print(&cycle);
    }
    Waiting(who)
}

/// Joins, as the machine tells of them.
static JOINS: JoinWatch = JoinWatch {
    begin: |whom, site| std::mem::forget(begin_wait(Target::End(whom.clone()), site)),
    end: || table::go_on(&current()),
};

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Owner").field(&self.id).finish()
    }
}

/// Noted as waiting, until it is dropped.
pub(crate) struct Waiting(Goroutine);

impl Drop for Waiting {
    fn drop(&mut self) {
        table::go_on(&self.0);
    }
}
