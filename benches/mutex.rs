//! What a lock costs: 8 tasks that do nothing else but take the same lock for a moment. One iteration: each
//! takes it once.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use gort_benches::Peers;

const TASKS: u64 = 8;
/// Every so many turns at a reader-writer lock are a writer's.
const WRITE_EVERY: u64 = 16;
const PERMITS: usize = 4;

/// Times 8 goroutines that do the same.
fn on_gort(work: impl Fn() + Sync) -> Duration {
    let start = Instant::now();
    gort::scope(|scope| (0..TASKS).for_each(|_| drop(scope.spawn(&work))));
    start.elapsed()
}

/// Times 8 threads that do the same.
fn on_threads(work: impl Fn() + Sync) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| (0..TASKS).for_each(|_| drop(scope.spawn(&work))));
    start.elapsed()
}

/// Times 8 tokio tasks that do the same.
async fn on_tokio<F>(work: impl Fn() -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(work())).collect();
    for task in tasks {
        task.await.expect("it does not panic");
    }
    start.elapsed()
}

fn mutex(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mutex/8");
    group.throughput(Throughput::Elements(TASKS));
    let tokio = |times| async move {
        let sum = Arc::new(tokio::sync::Mutex::new(0));
        on_tokio(|| {
            let sum = Arc::clone(&sum);
            async move {
                for _ in 0..times {
                    *sum.lock().await += 1;
                }
            }
        })
        .await
    };
    Peers::new(&mut group)
        .gort(|times| {
            let sum = gort::sync::Mutex::new(0);
            on_gort(|| (0..times).for_each(|_| *sum.lock() += 1))
        })
        .tokio(tokio)
        .tokio_current_thread(tokio)
        .threads(|times| {
            let sum = std::sync::Mutex::new(0);
            on_threads(|| (0..times).for_each(|_| *sum.lock().expect("no panic") += 1))
        })
        .threads_with("parking_lot", |times| {
            let sum = parking_lot::Mutex::new(0);
            on_threads(|| (0..times).for_each(|_| *sum.lock() += 1))
        });
    group.finish();
}

fn rwlock(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rwlock/8");
    group.throughput(Throughput::Elements(TASKS));
    let tokio = |times| async move {
        let sum = Arc::new(tokio::sync::RwLock::new(0));
        on_tokio(|| {
            let sum = Arc::clone(&sum);
            async move {
                for n in 0..times {
                    if n % WRITE_EVERY == 0 {
                        *sum.write().await += 1;
                    } else {
                        black_box(*sum.read().await);
                    }
                }
            }
        })
        .await
    };
    Peers::new(&mut group)
        .gort(|times| {
            let sum = gort::sync::RwLock::new(0);
            on_gort(|| {
                for n in 0..times {
                    if n % WRITE_EVERY == 0 {
                        *sum.write() += 1;
                    } else {
                        black_box(*sum.read());
                    }
                }
            })
        })
        .tokio(tokio)
        .tokio_current_thread(tokio)
        .threads(|times| {
            let sum = std::sync::RwLock::new(0);
            on_threads(|| {
                for n in 0..times {
                    if n % WRITE_EVERY == 0 {
                        *sum.write().expect("no panic") += 1;
                    } else {
                        black_box(*sum.read().expect("no panic"));
                    }
                }
            })
        })
        .threads_with("parking_lot", |times| {
            let sum = parking_lot::RwLock::new(0);
            on_threads(|| {
                for n in 0..times {
                    if n % WRITE_EVERY == 0 {
                        *sum.write() += 1;
                    } else {
                        black_box(*sum.read());
                    }
                }
            })
        });
    group.finish();
}

fn semaphore(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("semaphore/8");
    group.throughput(Throughput::Elements(TASKS));
    let tokio = |times| async move {
        let semaphore = Arc::new(tokio::sync::Semaphore::new(PERMITS));
        on_tokio(|| {
            let semaphore = Arc::clone(&semaphore);
            async move {
                for _ in 0..times {
                    drop(semaphore.acquire().await.expect("it is not closed"));
                }
            }
        })
        .await
    };
    Peers::new(&mut group)
        .gort(|times| {
            let semaphore = gort::sync::Semaphore::new(PERMITS);
            on_gort(|| (0..times).for_each(|_| drop(semaphore.acquire())))
        })
        .tokio(tokio)
        .tokio_current_thread(tokio);
    group.finish();
}

fn main() {
    let mut criterion: Criterion = gort_benches::criterion();
    mutex(&mut criterion);
    rwlock(&mut criterion);
    semaphore(&mut criterion);
    criterion.final_summary();
}
