//! F9g. What `#[gort::test]` and gort's own test fixture stand on. Not part of the public interface.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::inspect::machine;
use crate::m::M;
use crate::runtime::{Builder, Runtime};
use crate::sys;

/// How long a test may take before the watchdog fails it. Generous: it must never fire on a slow machine.
const WATCHDOG: Duration = Duration::from_secs(120);

/// The same, or what `GORT_WATCHDOG_SECONDS` says, for hunting.
fn watchdog() -> Duration {
    let seconds = std::env::var("GORT_WATCHDOG_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map_or(WATCHDOG, Duration::from_secs)
}

/// Runs a test's body as the main goroutine of a private runtime.
#[doc(hidden)]
#[track_caller]
pub fn test<F, T>(procs: Option<usize>, body: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let builder = Builder::new();
    let builder = match procs {
        Some(procs) => builder.procs(procs),
        None => builder,
    };
    let runtime = builder.build().unwrap_or_else(|error| panic!("cannot start gort: {error}"));
    runtime.run(body)
}

/// Runs a body under a watchdog in a runtime, then checks that it has left nothing behind: goroutines,
/// timers, threads.
///
/// # Panics
///
/// With the body's panic; if it left something behind; and the process is aborted, with a dump of all
/// goroutines, if it takes longer than two minutes.
#[doc(hidden)]
#[track_caller]
pub fn check<F, T>(runtime: Runtime, body: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let guard = watch(&runtime);
    let value = runtime.run(body);
    // A goroutine whose handle was dropped may still be on its way out.
    let mut patience = 2_000;
    while (runtime.num_goroutines() != 0 || runtime.info().timers != 0) && patience > 0 {
        #[expect(clippy::disallowed_methods, reason = "a foreign thread waits for a counter")]
        thread::sleep(Duration::from_millis(1));
        patience -= 1;
    }
    let (left, timers) = (runtime.num_goroutines(), runtime.info().timers);
    assert!(left == 0 && timers == 0, "left behind: {left} goroutines, {timers} timers\n{}", dump(&runtime));
    let text = dump(&runtime);
    assert!(runtime.shutdown_timeout(watchdog()), "threads did not end\n{text}");
    drop(guard);
    value
}

/// Is the caller on a worker's scheduler stack, where nothing may allocate?
#[doc(hidden)]
pub fn on_scheduler_stack() -> bool {
    M::current().is_some_and(|m| m.g.load(Ordering::Relaxed).is_null())
}

/// A line for each goroutine and processor.
#[doc(hidden)]
pub fn dump(runtime: &Runtime) -> String {
    machine::dump(runtime.sched())
}

/// The main thread of a test harness waits for the test, in a way that gort does not see: leaves it out of
/// the deadlock check's account. For children of tests.
#[doc(hidden)]
pub fn leave_harness_out() {
    sys::threads::foreign_sleeps();
}

/// Aborts the process with a dump, unless what it returns is dropped in time.
fn watch(runtime: &Runtime) -> mpsc::Sender<()> {
    let (tx, rx) = mpsc::channel();
    let sched = runtime.sched();
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let watchdog = thread::Builder::new().name("gort-watchdog".into()).spawn(move || {
        if rx.recv_timeout(watchdog()) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Not by `eprintln!`, which the test harness captures and an abort loses.
            sys::complain(&format!("watchdog: {test} takes too long\n{}", machine::dump(sched)));
            std::process::abort();
        }
    });
    drop(watchdog.expect("a test can start a thread"));
    tx
}
