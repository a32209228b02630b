//! Spawn one and wait for it. One iteration: one of them.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use gort_benches::Peers;

fn on_gort(times: u64) -> Duration {
    let start = Instant::now();
    for n in 0..times {
        black_box(gort::spawn(move || black_box(n)).join().expect("it does not panic"));
    }
    start.elapsed()
}

async fn on_tokio(times: u64) -> Duration {
    let start = Instant::now();
    for n in 0..times {
        black_box(tokio::spawn(async move { black_box(n) }).await.expect("it does not panic"));
    }
    start.elapsed()
}

fn on_threads(times: u64) -> Duration {
    let start = Instant::now();
    for n in 0..times {
        black_box(thread::spawn(move || black_box(n)).join().expect("it does not panic"));
    }
    start.elapsed()
}

fn main() {
    let mut criterion: Criterion = gort_benches::criterion();
    let mut group = criterion.benchmark_group("spawn_one");
    group.throughput(Throughput::Elements(1));
    Peers::new(&mut group).gort(on_gort).tokio(on_tokio).tokio_current_thread(on_tokio).threads(on_threads);
    group.finish();
    criterion.final_summary();
}
