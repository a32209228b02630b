//! F9d. What a runtime shall be.

use std::io;
use std::sync::Arc;

use super::{Runtime, start};
use crate::config;
use crate::g::panicked::PanicPolicy;
use crate::identity::{self, Mode, Resolved, ThreadLocals};
use crate::sched::{DeadlockAction, Settings, SpawnOrder};
use crate::stack::Class;
use crate::sys::clock;

/// By which signal a dump is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DumpSignal {
    /// `SIGQUIT` for the process-wide runtime, if it is free.
    #[default]
    Default,
    /// None.
    None,
    /// This one.
    Number(i32),
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
    panic_policy: Option<PanicPolicy>,
    report_leaks: Option<bool>,
    report_standstill: Option<bool>,
    seed: Option<u64>,
    on_deadlock: DeadlockAction,
    dump_signal: DumpSignal,
}

impl Builder {
    /// A runtime as the environment has it: `GOMAXPROCS` processors, `GORT_THREAD_LOCALS` (`worker`,
    /// `goroutine` or `fallback`), `GORT_PANIC` (`report` or `abort`), `GORT_REPORT_LEAKS` and `GORT_REPORT_STANDSTILL` (`1` or `0`),
    /// `GORT_SEED`. What this builder says goes before it. With `GORT_SCHEDTRACE=1000` it writes a line
    /// about its scheduler, in Go's form, to the standard error stream each 1,000 ms.
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

    /// What follows if a goroutine panics whose handle was dropped, before or after its end, as that of
    /// [`go!`](crate::go!) is: the program goes on, or ends. Else `GORT_PANIC`, else
    /// [`Report`](PanicPolicy::Report).
    ///
    /// In a build with `panic = "abort"` each panic ends the process, as `std` has it, and the policy has no
    /// say.
    pub fn panic_policy(mut self, policy: PanicPolicy) -> Self {
        self.panic_policy = Some(policy);
        self
    }

    /// Whether the goroutines that are left behind when the runtime stops are reported: those that have not
    /// ended when [`run`](crate::run)'s function returns, or when a [`Runtime`] is dropped or shut down.
    /// Prints to the standard error stream where they were created, in which state they were, and how many of
    /// each; nothing if there are none. Else what `GORT_REPORT_LEAKS` says, else no.
    ///
    /// (A [`scope`](crate::scope()) leaves nothing behind: it waits.)
    pub fn report_leaks(mut self, report: bool) -> Self {
        self.report_leaks = Some(report);
        self
    }

    /// Shall a thread be reported that has been blocked for a second while goroutines that have started on it
    /// are ready? Else what `GORT_REPORT_STANDSTILL` says (`1` or `0`), else yes.
    ///
    /// By default a goroutine stays on the thread on which it has started
    /// ([`ThreadLocals`]): another goroutine that blocks that thread, by a lock of `std`'s or a system call, holds it up,
    /// perhaps for ever. The report, once for each such time, goes to the standard error stream and names both:
    /// the one that blocks, with its stack, and those that wait for the thread. The program goes on.
    pub fn report_standstill(mut self, report: bool) -> Self {
        self.report_standstill = Some(report);
        self
    }

    /// Where the runtime's random choices begin (the order in which others are asked for work). Else
    /// `GORT_SEED`, else the time. Scheduling is not deterministic by it alone.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Shall this runtime end the process when all goroutines are asleep for good? On by default.
    ///
    /// That is a deadlock: goroutines live, and none of them runs, can run, or will be woken by time; no
    /// other runtime of the process, and no thread that is not gort's, could wake one. (A thread that waits
    /// for gort without a deadline could not: the caller of [`run`](crate::run), for instance. Any other
    /// could, whatever it does.) Then `fatal error: all goroutines are asleep - deadlock!` and a
    /// [dump](crate::inspect) of all goroutines go to the standard error stream, and the process exits with
    /// status 2, as in Go. What is left in the buffer of std's standard output is written out, unless a
    /// goroutine holds its lock.
    ///
    /// With `false` this runtime is never reported. It is then taken to wake goroutines of others, too, by
    /// means that gort does not see (memory shared with another process, say), so they are not reported
    /// either while it lives.
    pub fn deadlock_check(mut self, on: bool) -> Self {
        self.on_deadlock = if on { DeadlockAction::Exit } else { DeadlockAction::Ignore };
        self
    }

    /// Calls `f` with the text of the report, instead of printing it and ending the process, when all
    /// goroutines of this runtime are asleep.
    ///
    /// For tests and for programs that know a cure. The runtime is then judged by itself: foreign threads and
    /// other runtimes, which a test harness always has some of, do not count. `f` is called once for each
    /// deadlock (again only after something has run), on a thread of gort's that makes all such reports, one
    /// after another. It may wake goroutines. A panic in it is caught.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use gort_runtime::{Goroutine, current, park, runtime};
    ///
    /// let (tx, rx) = mpsc::channel();
    /// let rt = runtime::Builder::new().on_deadlock(move |report| tx.send(report).unwrap()).build()?;
    /// std::thread::scope(|s| {
    ///     let (name_it, named) = mpsc::channel::<Goroutine>();
    ///     s.spawn(|| {
    ///         rt.run(move || {
    ///             name_it.send(current()).unwrap();
    ///             park();
    ///         })
    ///     });
    ///     assert!(rx.recv().unwrap().contains("all goroutines are asleep"));
    ///     named.recv().unwrap().unpark();
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_deadlock(mut self, f: impl Fn(String) + Send + Sync + 'static) -> Self {
        self.on_deadlock = DeadlockAction::Call(Arc::new(f));
        self
    }

    /// By which signal the user asks for a dump of all goroutines, of all runtimes of the process; `None`: by
    /// none.
    ///
    /// The dump goes to the standard error stream, and the program goes on; a second signal within a second
    /// ends the process with status 2, as does one that comes while the first dump is being made. If nothing
    /// is said here, the process-wide runtime uses `SIGQUIT` (Ctrl-\\), unless the program ignores it or
    /// has a handler for it, and private runtimes none. A signal stays gort's when the runtime ends. A
    /// handler that was there before is called afterwards.
    ///
    /// # Errors
    ///
    /// Starting the runtime is an [`InvalidInput`](io::ErrorKind::InvalidInput) error for a number that is no
    /// signal, or one that a program cannot handle or whose handling is not to be shared: `SIGKILL`,
    /// `SIGSTOP`, those of faults, and `SIGURG`, which gort uses itself.
    pub fn dump_signal(mut self, signal: Option<i32>) -> Self {
        self.dump_signal = signal.map_or(DumpSignal::None, DumpSignal::Number);
        self
    }

    /// Starts a private runtime.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a number of processors or a stack size out of
    /// range, or an unknown word, also in the environment (`GOMAXPROCS=banana`);
    /// [`Unsupported`](io::ErrorKind::Unsupported) for thread-locals that are not available; what the
    /// operating system says, if it gives no thread.
    pub fn build(self) -> io::Result<Runtime> {
        start(self).map(|sched| Runtime { sched })
    }

    pub(super) fn wanted_dump_signal(&self) -> DumpSignal {
        self.dump_signal
    }

    pub(super) fn settings(self) -> io::Result<Settings> {
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
        let panic_policy = match self.panic_policy {
            Some(policy) => policy,
            None => choice_from_env("GORT_PANIC", &POLICIES)?.unwrap_or_default(),
        };
        let report_leaks = match self.report_leaks {
            Some(report) => report,
            None => choice_from_env("GORT_REPORT_LEAKS", &SWITCH)?.unwrap_or_default(),
        };
        let report_standstill = match self.report_standstill {
            Some(report) => report,
            None => choice_from_env("GORT_REPORT_STANDSTILL", &SWITCH)?.unwrap_or(true),
        };
        // For gort-sync, which reads it at the first lock and cannot refuse.
        choice_from_env("GORT_CHECK", &SWITCH)?;
        Ok(Settings {
            procs,
            mode,
            mode_reason,
            order: self.order,
            class,
            panic_policy,
            report_leaks,
            report_standstill,
            seed,
            on_deadlock: self.on_deadlock,
            trace_every_ns: config::trace_every_from_env()?.map_or(0, |every| every.as_nanos() as u64),
        })
    }
}

const POLICIES: [(&str, PanicPolicy); 2] = [("report", PanicPolicy::Report), ("abort", PanicPolicy::Abort)];

const SWITCH: [(&str, bool); 2] = [("0", false), ("1", true)];

/// Which of the words stands in the variable `name`; `None`: it is unset or empty.
fn choice_from_env<T: Copy>(name: &str, words: &[(&str, T)]) -> io::Result<Option<T>> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    match words.iter().find(|(word, _)| value == *word) {
        Some((_, choice)) => Ok(Some(*choice)),
        None => {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let text = format!("{name}={} is none of {}", value.display(), known.join(", "));
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
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
