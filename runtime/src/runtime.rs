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

use std::io;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::config;
use crate::identity::{self, Mode, Resolved, ThreadLocals};
pub use crate::inspect::{Guard, Info};
use crate::join::RawHandle;
use crate::m::M;
pub use crate::sched::SpawnOrder;
use crate::sched::{Sched, Settings};
use crate::spawn::{self, Wish};
use crate::stack::{self, Class};
use crate::sys::{clock, membarrier, signal};
use crate::sysmon;

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
        Ok(()) => sched.lingers.store(true, Ordering::Relaxed),
        // Somebody was faster.
        Err(_) => sched.stop(),
    }
    Ok(PROCESS_WIDE.get().expect("set by us or by somebody else"))
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
    let sched = start(Builder::new()).unwrap_or_else(|error| panic!("cannot start gort: {error}"));
    // From within a goroutine it is private.
    if M::current().is_none() && PROCESS_WIDE.set(sched).is_ok() {
        sched.lingers.store(true, Ordering::Relaxed);
    }
    let result = panic::catch_unwind(AssertUnwindSafe(|| run_main(sched, f)));
    sched.stop();
    result.unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Runs `f` on a goroutine of `sched`, while the caller waits.
#[track_caller]
fn run_main<F, T>(sched: &'static Sched, f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    // SAFETY: F and T are Send; the caller waits right here until the goroutine has ended, and gives its
    // result out before what they borrow can end.
    let spawned = unsafe { spawn::spawn_in(sched, Wish::NOTHING, Location::caller(), f) };
    let spawned = spawned.unwrap_or_else(|error| panic!("cannot spawn the main goroutine: {error}"));
    // SAFETY: just spawned with result T.
    let handle = unsafe { RawHandle::<T>::new(spawned) };
    handle.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}

fn start(builder: Builder) -> io::Result<&'static Sched> {
    let settings = builder.settings()?;
    membarrier::register();
    stack::init();
    signal::install(sysmon::on_signal)?;
    let sched = Sched::new(settings);
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

/// What a runtime shall be, before it is started.
///
/// # Examples
///
/// ```
/// use gort_runtime::runtime;
///
/// let rt = runtime::Builder::new().procs(2).build()?;
/// assert_eq!(rt.run(|| gort_runtime::max_procs()), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    procs: Option<usize>,
    stack_bytes: Option<usize>,
    thread_locals: Option<ThreadLocals>,
    unchecked: bool,
    order: SpawnOrder,
    seed: Option<u64>,
}

impl Builder {
    /// A runtime as the environment has it: `GOMAXPROCS` processors, `GORT_THREAD_LOCALS` (`worker`,
    /// `goroutine` or `fallback`), `GORT_SEED`. What this builder says goes before it.
    pub fn new() -> Self {
        Builder::default()
    }

    /// How many goroutines may run at the same time, from 1 to 1,024. Else `GOMAXPROCS`, else the number
    /// of cores that the process may use: its affinity mask, and the CPU quota of its control group and
    /// all that contain it.
    pub fn procs(mut self, procs: usize) -> Self {
        self.procs = Some(procs);
        self
    }

    /// The stack size of goroutines that do not say otherwise, in bytes; see
    /// [`Builder::stack_size`](crate::Builder::stack_size).
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// To whom a `thread_local!` belongs in goroutines that do not say otherwise.
    pub fn thread_locals(mut self, thread_locals: ThreadLocals) -> Self {
        self.thread_locals = Some(thread_locals);
        self.unchecked = false;
        self
    }

    /// Lets goroutines change threads wherever they suspend, although thread-locals belong to threads:
    /// the fastest mode, and continuation stealing in full.
    ///
    /// # Safety
    ///
    /// The compiler takes the address of a `thread_local!` as constant within a function. In this mode a
    /// function that suspends may go on on another thread, and then uses the *old* thread's variable, as
    /// if two threads were in one `RefCell`. The caller answers for every crate that is linked: no code
    /// that runs on goroutines of this runtime may keep a reference to, or rely on the identity of, a
    /// thread-local across anything that may suspend (which is every call of gort's, `spawn` included),
    /// nor anything else that belongs to a thread, such as the guard of a lock that its thread must
    /// release.
    pub unsafe fn migrate_unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Who runs first at a spawn, parent or child, where the parent may change threads.
    pub fn spawn_order(mut self, order: SpawnOrder) -> Self {
        self.order = order;
        self
    }

    /// Where the runtime's random choices begin (the order in which others are asked for work). Else
    /// `GORT_SEED`, else the time. Scheduling is not deterministic by it alone.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts a private runtime.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a number of processors or a stack size out of
    /// range, also in the environment (`GOMAXPROCS=banana`); [`Unsupported`](io::ErrorKind::Unsupported)
    /// for thread-locals that are not available; what the operating system says, if it gives no thread.
    pub fn build(self) -> io::Result<Runtime> {
        start(self).map(|sched| Runtime { sched })
    }

    fn settings(self) -> io::Result<Settings> {
        let procs = match self.procs {
            Some(procs) => config::check_procs(procs)?,
            None => config::procs_from_env()?.unwrap_or_else(config::default_procs),
        };
        let class = self.stack_bytes.map_or(Ok(Class::DEFAULT), Class::for_size)?;
        let from_env = identity::from_env()?;
        let resolved = if self.unchecked {
            Resolved { mode: Mode::Unchecked, reason: None }
        } else {
            identity::resolve(self.thread_locals.or(from_env).unwrap_or_default())?
        };
        let seed = match self.seed {
            Some(seed) => seed,
            None => seed_from_env()?.unwrap_or_else(clock::now_ns),
        };
        let (mode, mode_reason) = (resolved.mode, resolved.reason);
        Ok(Settings { procs, mode, mode_reason, order: self.order, class, seed })
    }
}

fn seed_from_env() -> io::Result<Option<u64>> {
    let Some(value) = std::env::var_os("GORT_SEED") else { return Ok(None) };
    match value.to_str().map(str::trim) {
        Some("") => Ok(None),
        Some(text) if text.parse::<u64>().is_ok() => Ok(text.parse().ok()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("GORT_SEED={} is not a number", value.display()),
        )),
    }
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
        run_main(self.sched, f)
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
        self.sched.stop();
        self.sched.wait_stopped(clock::deadline_after(timeout))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.sched.stop();
    }
}
