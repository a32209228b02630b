//! F1. The reporter: the one thread of the process that makes reports.
//!
//! A report reads debug information, allocates, and calls what the user has given; sysmon and signal
//! handlers may do none of that (ARCHITECTURE, Rule 6). They [`ask`], which sets a bit and wakes the
//! reporter. The thread `gort-report` is started with the first runtime that may want a report, sleeps on a
//! futex, and lives as long as the process.
//!
//! # Invariants
//!
//! 1. [`ask`] is async-signal-safe: one atomic operation and one system call. What is asked for several times
//!    before the reporter looks is done once.
//! 2. Before the thread has been started, an `ask` is kept until it is.
//! 3. The reporter holds no lock and borrows no goroutine while it sleeps.
//!
//! Process-wide, without a runtime: an exception of Rule 3. What a report says is the business of the
//! function that `start` is given; it stands on a higher floor.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::sys::futex;
use crate::sys::threads::Ours;
use crate::util::abort::AbortOnUnwind;

/// A runtime seems to be deadlocked.
pub(crate) const DEADLOCK: u32 = 1;

/// The user wants to see all goroutines (`SIGQUIT`).
pub(crate) const DUMP: u32 = 2;

/// A goroutine has faulted: its backtrace is wanted (`fault`).
pub(crate) const FAULT: u32 = 4;

/// A thread stands still (`standstill`).
pub(crate) const STANDSTILL: u32 = 8;

/// What was asked for and is not begun. A futex.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Asks the reporter for `what`, a set of the bits above. By anybody, on every stack.
pub(crate) fn ask(what: u32) {
    // Release: pairs with the Acquire in `run`: what the caller has noted for the report is visible.
    ASKED.fetch_or(what, Ordering::Release);
    futex::wake(&ASKED, 1);
}

/// Starts the thread, once; later calls do nothing. `handle` is called there with what was asked for.
///
/// # Errors
///
/// The operating system gives no thread.
pub(crate) fn start(handle: fn(u32)) -> io::Result<()> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*started {
        thread::Builder::new().name("gort-report".into()).spawn(move || run(handle)).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start the goroutine runtime's reporter: {error}"))
        })?;
        *started = true;
    }
    Ok(())
}

fn run(handle: fn(u32)) {
    let _abort = AbortOnUnwind("the reporter's thread");
    let _ours = Ours::begin();
    loop {
        // Acquire: pairs with the Release in `ask`.
        let what = ASKED.swap(0, Ordering::Acquire);
        if what == 0 {
            futex::wait(&ASKED, 0);
        } else {
            handle(what);
        }
    }
}
