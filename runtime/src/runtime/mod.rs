//! F9d. Runtimes: starting, configuring, running, stopping.
//!
//! # Which runtime
//!
//! A goroutine's calls go to its own runtime. A thread that is none uses the *process-wide* one: the
//! first that [`run`] starts, or one that is started for the first call that needs it. All others are
//! private: those of a later or a nested `run`, and those of [`Builder::build`]. (The one global of the
//! machine, but for stacks and thread parkers, stands in this file.)
//!
//! # Stopping
//!
//! 1. `stopping` is set, every P is asked to `STOP`, every thread is woken.
//! 2. A goroutine that makes a runtime call suspends and is never resumed. One that makes none goes on
//!    until it does. Nothing is unwound: what suspended goroutines own is leaked, with their stacks.
//! 3. Each thread ends as it comes through its loop. Those of the process-wide runtime sleep on instead,
//!    until the process exits.

mod builder;
mod leaks;
mod reports;

use std::io;
use std::panic::{self, AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::fault;
use crate::fork::thief;
pub use crate::g::panicked::PanicPolicy;
pub use crate::inspect::info::{Guard, Info};
use crate::join::RawHandle;
use crate::m::M;
use crate::panics;
use crate::report;
use crate::sched::Sched;
pub use crate::sched::SpawnOrder;
use crate::spawn::{self, Wish};
use crate::stack;
use crate::sys::{clock, membarrier, signal};
use crate::sysmon;

pub use builder::Builder;
use builder::DumpSignal;

/// The process-wide runtime, once there is one: or why there is none.
static PROCESS_WIDE: OnceLock<&'static Sched> = OnceLock::new();

/// The runtime of the calling goroutine; else the process-wide one, if there is one.
pub(crate) fn current_sched() -> Option<&'static Sched> {
    match M::current() {
        Some(m) => Some(Sched::of_m(m)),
        None => PROCESS_WIDE.get().copied(),
    }
}

/// The same, but starts the process-wide one if need be.
#[inline]
pub(crate) fn current_or_start() -> io::Result<&'static Sched> {
    match M::current() {
        Some(m) => Ok(Sched::of_m(m)),
        None => process_wide(),
    }
}

#[cold]
fn process_wide() -> io::Result<&'static Sched> {
    if let Some(sched) = PROCESS_WIDE.get() {
        return Ok(sched);
    }
    let sched = start(Builder::new())?;
    match PROCESS_WIDE.set(sched) {
        Ok(()) => become_process_wide(sched),
        // Somebody was faster.
        Err(_) => sched.stop(),
    }
    Ok(PROCESS_WIDE.get().expect("set by us or by somebody else"))
}

fn become_process_wide(sched: &'static Sched) {
    sched.lingers.store(true, Ordering::Relaxed);
    reports::dump_on_quit();
}

/// Runs `f` as the main goroutine of a new runtime and returns its value; the caller waits meanwhile.
///
/// The runtime is configured by the environment (see [`Builder::new`]). When `f` has returned, the other
/// goroutines stop at their next runtime call: they are not unwound, and what they own is not dropped.
/// The first runtime that is started so is the process-wide one, which calls from threads outside of any
/// runtime go to; later ones are private. A `run` within a goroutine starts a private runtime, too, and
/// blocks only that goroutine.
///
/// # Panics
///
/// With `f`'s payload, if `f` panics; with a message that says why, if the runtime cannot be started.
///
/// # Blocking
///
/// Blocks the caller: a thread, or a goroutine.
///
/// # Examples
///
/// ```
/// let words = ["spawn", "park", "wake"];
/// let lengths = gort_runtime::run(|| {
///     words.map(|word| gort_runtime::scope(|s| s.spawn(|| word.len()).join().expect("no panic")))
/// });
/// assert_eq!(lengths, [5, 4, 4]);
/// ```
#[track_caller]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let site = Location::caller();
    let sched = start(Builder::new()).unwrap_or_else(|error| panic!("cannot start gort: {error}"));
    // From within a goroutine it is private.
    if M::current().is_none() && PROCESS_WIDE.set(sched).is_ok() {
        become_process_wide(sched);
    }
    let result = panic::catch_unwind(AssertUnwindSafe(|| run_main(sched, site, f)));
    leaks::stop(sched);
    result.unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Runs `f` on a goroutine of `sched`, created at `site`, while the caller waits. `name_it` is told which one.
#[track_caller]
pub(crate) fn run_on<F, T>(
    sched: &'static Sched,
    site: &'static Location<'static>,
    name_it: impl FnOnce(u64),
    f: F,
) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    // SAFETY: F and T are Send; the caller waits right here until the goroutine has ended, and gives its
    // result out before what they borrow can end.
    let spawned = unsafe { spawn::spawn_in(sched, Wish::NOTHING, site, f) };
    let spawned = spawned.unwrap_or_else(|error| panic!("cannot spawn a goroutine: {error}"));
    name_it(spawned.g.id());
    // SAFETY: just spawned with result T.
    let handle = unsafe { RawHandle::<T>::new(spawned) };
    handle.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// The same with the main goroutine, which comes first in dumps.
#[track_caller]
fn run_main<F, T>(sched: &'static Sched, site: &'static Location<'static>, f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    run_on(sched, site, |id| sched.main_id.store(id, Ordering::Relaxed), f)
}

fn start(builder: Builder) -> io::Result<&'static Sched> {
    let dump_signal = builder.wanted_dump_signal();
    let settings = builder.settings()?;
    membarrier::register();
    stack::init();
    panics::install_hook();
    signal::install_faults(fault::HOOKS)?;
    signal::install_publish(sysmon::on_signal)?;
    report::start(reports::make)?;
    if let DumpSignal::Number(signal) = dump_signal {
        reports::dump_on(signal)?;
    }
    let sched = Sched::new(settings, thief::begin);
    sched.start(sysmon::run)?;
    Ok(sched)
}

/// What the current runtime is (from outside, the process-wide one, which is started if need be).
///
/// # Errors
///
/// If the process-wide runtime cannot be started.
pub fn info() -> io::Result<Info> {
    current_or_start().map(Info::of)
}

/// A private runtime. Dropping it tells it to stop, and does not wait.
#[derive(Debug)]
pub struct Runtime {
    sched: &'static Sched,
}

impl Runtime {
    /// Runs `f` on a goroutine of this runtime and returns its value; the caller waits meanwhile. The
    /// runtime goes on afterwards, and other goroutines with it.
    ///
    /// # Panics
    ///
    /// With `f`'s payload, if `f` panics.
    ///
    /// # Blocking
    ///
    /// Blocks the caller: a thread, or a goroutine of any runtime.
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        run_main(self.sched, Location::caller(), f)
    }

    pub(crate) fn sched(&self) -> &'static Sched {
        self.sched
    }

    /// How many of its goroutines have been spawned and have not ended.
    pub fn num_goroutines(&self) -> usize {
        self.sched.living() as usize
    }

    /// What it is and has done.
    pub fn info(&self) -> Info {
        Info::of(self.sched)
    }

    /// Stops the runtime and waits for its threads to end, at most for `timeout`. True if all have.
    ///
    /// A goroutine stops at its next runtime call; one that makes none, or stands in the kernel, keeps its
    /// thread. Goroutines that have not ended are leaked with what they own; in the default mode, so are the
    /// threads on which they had started (they sleep, and count as ended), for what is leaked may have lent
    /// out the thread's thread-locals.
    ///
    /// # Blocking
    ///
    /// Blocks the calling *thread*, even if a goroutine of another runtime calls it.
    ///
    /// # Panics
    ///
    /// If a goroutine of this very runtime calls it: it would wait for itself.
    pub fn shutdown_timeout(self, timeout: Duration) -> bool {
        if let Some(m) = M::current() {
            assert!(
                !std::ptr::eq(Sched::of_m(m), self.sched),
                "a goroutine cannot wait for the end of its own runtime"
            );
        }
        leaks::stop(self.sched);
        self.sched.wait_stopped(clock::deadline_after(timeout))
    }
}

// A panic of a goroutine leaves the scheduler in order.
impl UnwindSafe for Runtime {}
impl RefUnwindSafe for Runtime {}

impl Drop for Runtime {
    fn drop(&mut self) {
        leaks::stop(self.sched);
    }
}
