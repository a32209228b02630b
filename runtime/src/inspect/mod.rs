//! F9f. Looking at a running program: who lives in it, who waits for what, where.
//!
//! [`dump`] writes what each goroutine does, with its stack, in Go's form; nothing is stopped meanwhile, but
//! each goroutine for a moment, while it is looked at:
//!
//! ```text
//! goroutine 7 "worker" [sync.Mutex.Lock at 0x7f31c8, held by goroutine 3, 2 minutes, on M4]:
//! app::transfer
//!         src/main.rs:41
//! created at src/main.rs:60:9
//! ```
//!
//! In brackets: what it does, or waits for; the object and its holder, where they are known; for how long
//! (from a second on); the worker thread that it runs on or is bound to. The stack is left out for a
//! goroutine that is ready and waits for a processor, for one whose thread sleeps beneath it (it waits while
//! it panics), for one that has less than 4 KiB of stack left, and for one that runs and does not answer
//! within 100 ms (its thread stands in the kernel, or in gort). Names and lines need debug information.
//!
//! All of this concerns the runtime of the calling goroutine; from a thread that is none, the process-wide
//! one, if there is one. `SIGQUIT` (Ctrl-\\) makes a dump of all runtimes, and the program goes on:
//! see [`Builder::dump_signal`](crate::runtime::Builder::dump_signal).

pub(crate) mod collect;
pub(crate) mod info;
pub(crate) mod machine;
pub(crate) mod standstill;
pub(crate) mod symbols;
pub(crate) mod text;

use std::io;
use std::panic::Location;
use std::time::Duration;

use crate::grow;
use crate::runtime::current_sched;
use crate::sched::{Sched, registry};
pub use collect::GoroutineState;
use collect::Scene;
pub use info::{ProcessorStats, Stats};
use text::Style;

/// A goroutine, as [`goroutines`] has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GoroutineInfo {
    /// Its number, unique in its runtime.
    pub id: u64,
    /// Its name; `None` also for one that runs, or waits for a processor, where it cannot be read.
    pub name: Option<String>,
    /// What it does.
    pub state: GoroutineState,
    /// What it waits for, in the words of a dump; `None` if it does not wait.
    pub wait_reason: Option<&'static str>,
    /// How long it has waited, to some 10 ms; zero if it does not wait.
    pub waited: Duration,
    /// Where it was spawned.
    pub created_at: Option<&'static Location<'static>>,
}

/// All goroutines that have not ended, in the order of their numbers.
///
/// # Examples
///
/// ```
/// use gort_runtime::{Builder, inspect, park, yield_now};
///
/// gort_runtime::run(|| {
///     let sleeper = Builder::new().name("sleeper").spawn(park)?;
///     while !inspect::goroutines().iter().any(|g| g.wait_reason == Some("park")) {
///         yield_now();
///     }
///     sleeper.goroutine().unpark();
///     sleeper.join().expect("it does not panic");
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn goroutines() -> Vec<GoroutineInfo> {
    let Some(sched) = current_sched() else { return Vec::new() };
    let mut goroutines = Scene::of(sched, false).goroutines;
    goroutines.sort_unstable_by_key(|seen| seen.id);
    let info = |seen: collect::Seen| {
        let waits = seen.state == GoroutineState::Waiting;
        GoroutineInfo {
            id: seen.id,
            name: seen.name.as_deref().map(str::to_owned),
            state: seen.state,
            wait_reason: waits.then(|| seen.reason.as_str()),
            waited: Duration::from_nanos(seen.waited_ns),
            created_at: seen.site,
        }
    };
    goroutines.into_iter().map(info).collect()
}

/// What the processors have done so far.
///
/// # Examples
///
/// ```
/// gort_runtime::run(|| {
///     gort_runtime::spawn(|| {}).join().expect("it does not panic");
///     let stats = gort_runtime::inspect::stats();
///     assert!(stats.total.spawned >= 1);
///     assert_eq!(stats.processors.len(), gort_runtime::max_procs());
/// });
/// ```
pub fn stats() -> Stats {
    current_sched().map_or_else(Stats::default, Stats::of)
}

/// Writes a dump as [`Dump::new`] has it: a block for each goroutine, up to 1,000 of them.
///
/// # Errors
///
/// What `w` says.
///
/// # Blocking
///
/// Blocks the calling thread while it reads the program's debug information (some 100 ms, once), and up to
/// 100 ms for each goroutine that runs and does not answer.
///
/// # Examples
///
/// ```
/// let mut text = Vec::new();
/// gort_runtime::run(|| gort_runtime::inspect::dump(&mut text))?;
/// assert!(String::from_utf8(text).unwrap().starts_with("goroutine 1 [running"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn dump(w: &mut impl io::Write) -> io::Result<()> {
    Dump::new().write(w)
}

/// How a dump shall be.
///
/// # Examples
///
/// ```
/// use gort_runtime::inspect::Dump;
///
/// Dump::new().folded(true).all_runtimes(true).write(&mut std::io::stderr())?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until it writes"]
pub struct Dump {
    folded: bool,
    whole: bool,
    all_runtimes: bool,
}

impl Dump {
    /// A block for each goroutine of the calling goroutine's runtime, the main one first; after 1,000 blocks
    /// only a summary by where the others were created.
    pub fn new() -> Self {
        Dump::default()
    }

    /// Shall goroutines that do the same, with the same stack, created at the same place, be one block?
    pub fn folded(mut self, folded: bool) -> Self {
        self.folded = folded;
        self
    }

    /// Shall all blocks be written, however many there are?
    pub fn whole(mut self, whole: bool) -> Self {
        self.whole = whole;
        self
    }

    /// Shall the goroutines of all runtimes of the process be among them?
    pub fn all_runtimes(mut self, all_runtimes: bool) -> Self {
        self.all_runtimes = all_runtimes;
        self
    }

    /// Makes the dump and writes it.
    ///
    /// # Errors
    ///
    /// What `w` says.
    ///
    /// # Blocking
    ///
    /// As [`dump`].
    pub fn write(&self, w: &mut impl io::Write) -> io::Result<()> {
        let scheds: Vec<&'static Sched> =
            if self.all_runtimes { registry::running() } else { current_sched().into_iter().collect() };
        let style = Style { folded: self.folded, whole: self.whole };
        // Reading debug information takes more stack than a small goroutine has.
        let text = grow::with_room(|| text::of_runtimes(&scheds, style));
        w.write_all(text.as_bytes())
    }
}
