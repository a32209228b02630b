//! Spawn a million and wait for all of them. One iteration: a million; 10,000 with threads, of which a
//! system does not give a million.
//!
//! Handles are dropped at once, for the wait is for all: gort and the threads count in a scope, tokio's
//! tasks in an atomic of the bench's own, which is the same work.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use gort_benches::Peers;
use tokio::sync::Notify;

const MANY: u64 = 1_000_000;
const MANY_THREADS: u64 = 10_000;

fn on_gort(times: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        gort::scope(|scope| {
            for n in 0..MANY {
                scope.spawn(move || {
                    black_box(n);
                });
            }
        });
    }
    start.elapsed()
}

async fn on_tokio(times: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        let left = Arc::new((AtomicU64::new(MANY), Notify::new()));
        for n in 0..MANY {
            let left = Arc::clone(&left);
            tokio::spawn(async move {
                black_box(n);
                // AcqRel: as a scope's count.
                if left.0.fetch_sub(1, Ordering::AcqRel) == 1 {
                    left.1.notify_one();
                }
            });
        }
        left.1.notified().await;
    }
    start.elapsed()
}

fn on_threads(times: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        thread::scope(|scope| {
            for n in 0..MANY_THREADS {
                scope.spawn(move || {
                    black_box(n);
                });
            }
        });
    }
    start.elapsed()
}

fn main() {
    let mut criterion: Criterion = gort_benches::criterion();
    let mut group = criterion.benchmark_group("spawn_1m");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(MANY));
    Peers::new(&mut group).gort(on_gort).tokio(on_tokio).tokio_current_thread(on_tokio);
    group.throughput(Throughput::Elements(MANY_THREADS));
    Peers::new(&mut group).threads(on_threads);
    group.finish();
    criterion.final_summary();
}
