//! What the benches have in common: the runtimes that they compare, under the names that they are
//! reported by, and how long each is measured.
//!
//! A bench says what one iteration does on each peer; [`Peers`] says on which runtimes. Every peer is
//! measured in the same process, one after the other, each on a runtime of its own that is stopped before
//! the next one starts.
//!
//! | name | what |
//! |---|---|
//! | `gort/w1` | gort as it is by default (thread-locals per worker, goroutines bound once started), 1 processor |
//! | `bare/w1` | gort under `migrate_unchecked`: goroutines change threads, a spawned child runs first |
//! | `tokio/w1` | tokio's multi-thread runtime with 1 worker |
//! | `tokio-ct/w1` | tokio's current-thread runtime, which has no other size |
//! | `threads/w1` | std threads, all pinned to one core; with std's channels, where channels are measured |
//! | `parking_lot/w1` | the same threads with `parking_lot`'s locks instead of std's |
//! | `crossbeam/w1`, `kanal/w1`, `flume/w1` | the same threads with these channels |
//!
//! and the same with `w2`: 2 processors, 2 workers, no pinning.

use std::future::Future;
use std::thread;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use gort::runtime::{Builder, Runtime};

/// The sizes at which everything is measured.
pub const WORKERS: [usize; 2] = [1, 2];

/// How long a runtime may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Criterion, set so that all benches together take a few minutes.
#[must_use]
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .nresamples(10_000)
        .without_plots()
        .configure_from_args()
}

/// Measures the same thing on one peer after the other. A measurement is given a number of iterations, and
/// returns how long they took.
pub struct Peers<'a, 'c> {
    group: &'a mut BenchmarkGroup<'c, WallTime>,
    workers: Vec<usize>,
}

impl std::fmt::Debug for Peers<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("workers", &self.workers).finish_non_exhaustive()
    }
}

impl<'a, 'c> Peers<'a, 'c> {
    /// Measures at every size of [`WORKERS`].
    pub fn new(group: &'a mut BenchmarkGroup<'c, WallTime>) -> Self {
        Peers { group, workers: WORKERS.to_vec() }
    }

    /// Measures at 2 workers only: what makes no sense with 1.
    pub fn pairs_only(group: &'a mut BenchmarkGroup<'c, WallTime>) -> Self {
        Peers { group, workers: vec![2] }
    }

    /// gort in both modes. `measure` runs on a goroutine.
    pub fn gort(&mut self, measure: impl Fn(u64) -> Duration + Sync) -> &mut Self {
        for &procs in &self.workers {
            bench_gort(self.group, &format!("gort/w{procs}"), worker(procs), &measure);
            bench_gort(self.group, &format!("bare/w{procs}"), bare(procs), &measure);
        }
        self
    }

    /// tokio's multi-thread runtime. `measure` runs as a task on one of its workers.
    pub fn tokio<F>(&mut self, measure: impl Fn(u64) -> F) -> &mut Self
    where
        F: Future<Output = Duration> + Send + 'static,
    {
        for &workers in &self.workers {
            let runtime = tokio_multi_thread(workers);
            self.group.bench_function(format!("tokio/w{workers}"), |bencher| {
                bencher.iter_custom(|iterations| tokio_task(&runtime, measure(iterations)));
            });
        }
        self
    }

    /// tokio's current-thread runtime. `measure` runs as a task, not as the future that is blocked on.
    pub fn tokio_current_thread<F>(&mut self, measure: impl Fn(u64) -> F) -> &mut Self
    where
        F: Future<Output = Duration> + Send + 'static,
    {
        let runtime = tokio_current_thread();
        self.group.bench_function("tokio-ct/w1", |bencher| {
            bencher.iter_custom(|iterations| tokio_task(&runtime, measure(iterations)));
        });
        self
    }

    /// std threads. `measure` runs on a fresh thread; at 1 it and all that it spawns share one core.
    pub fn threads(&mut self, measure: impl Fn(u64) -> Duration + Sync) -> &mut Self {
        self.threads_with("threads", measure)
    }

    /// The same, under the name of what the threads use.
    pub fn threads_with(&mut self, name: &str, measure: impl Fn(u64) -> Duration + Sync) -> &mut Self {
        for &workers in &self.workers {
            self.group.bench_function(format!("{name}/w{workers}"), |bencher| {
                bencher.iter_custom(|iterations| on_thread(workers == 1, || measure(iterations)));
            });
        }
        self
    }
}

fn bench_gort(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    runtime: Runtime,
    measure: &(impl Fn(u64) -> Duration + Sync),
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| runtime.run(|| measure(iterations)));
    });
    assert!(runtime.shutdown_timeout(STOP_LIMIT), "the runtime of {name} does not stop");
}

/// gort as it is by default.
#[must_use]
pub fn worker(procs: usize) -> Runtime {
    let builder = Builder::new().procs(procs).thread_locals(gort::ThreadLocals::PerWorker);
    builder.build().expect("a bench can start a runtime")
}

/// gort with goroutines that change threads.
#[must_use]
pub fn bare(procs: usize) -> Runtime {
    // SAFETY: the benches' goroutines hold nothing that belongs to a thread across a call of gort's: they
    // use atomics, and what they call of std (Instant, Vec, Box) keeps no thread-local across calls.
    let builder = unsafe { Builder::new().procs(procs).migrate_unchecked() };
    builder.build().expect("a bench can start a runtime")
}

fn tokio_multi_thread(workers: usize) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers).enable_time().build().expect("a bench can start tokio")
}

fn tokio_current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a bench can start tokio")
}

/// Runs a future as a task: on a worker, where tokio is at its best, not on the thread that blocks on it.
fn tokio_task(
    runtime: &tokio::runtime::Runtime,
    future: impl Future<Output = Duration> + Send + 'static,
) -> Duration {
    runtime.block_on(async { tokio::spawn(future).await.expect("a bench does not panic") })
}

/// Runs `f` on a thread of its own, whose children inherit its cores.
fn on_thread(pinned: bool, f: impl FnOnce() -> Duration + Send) -> Duration {
    thread::scope(|scope| {
        let measured = scope.spawn(move || {
            if pinned {
                let core = core_affinity::get_core_ids().and_then(|cores| cores.first().copied());
                assert!(core.is_some_and(core_affinity::set_for_current), "cannot pin a thread to a core");
            }
            f()
        });
        measured.join().expect("a bench does not panic")
    })
}
