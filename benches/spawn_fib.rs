//! Fibonacci with a spawn at every level and no cutoff: what a fork costs that is joined soon. One
//! iteration: fib(20), which is 10,945 forks; with threads fib(10), which is 88.
//!
//! The group has the serial recursion, too: its figure is ns per call that would have been a fork.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use gort_benches::Peers;

const N: u64 = 20;
const N_THREADS: u64 = 10;

/// The forks of fib(n), which are fib(n + 1) - 1: one for each call with n >= 2.
fn forks(n: u64) -> u64 {
    serial(n + 1) - 1
}

fn serial(n: u64) -> u64 {
    if n < 2 { n } else { serial(n - 1) + serial(n - 2) }
}

fn by_goroutines(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let left = gort::spawn(move || by_goroutines(n - 1));
    let right = by_goroutines(n - 2);
    left.join().expect("fib does not panic") + right
}

/// A recursive future has to be boxed.
fn by_tasks(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if n < 2 {
            return n;
        }
        let left = tokio::spawn(by_tasks(n - 1));
        let right = by_tasks(n - 2).await;
        left.await.expect("fib does not panic") + right
    })
}

fn by_threads(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let left = thread::spawn(move || by_threads(n - 1));
    let right = by_threads(n - 2);
    left.join().expect("fib does not panic") + right
}

fn timed(times: u64, n: u64, fib: fn(u64) -> u64) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        black_box(fib(black_box(n)));
    }
    start.elapsed()
}

async fn on_tokio(times: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        black_box(by_tasks(black_box(N)).await);
    }
    start.elapsed()
}

fn main() {
    let mut criterion: Criterion = gort_benches::criterion();
    let mut group = criterion.benchmark_group("spawn_fib");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(forks(N)));
    group.bench_function("serial/w1", |bencher| bencher.iter(|| serial(black_box(N))));
    Peers::new(&mut group)
        .gort(|times| timed(times, N, by_goroutines))
        .tokio(on_tokio)
        .tokio_current_thread(on_tokio);
    group.throughput(Throughput::Elements(forks(N_THREADS)));
    Peers::new(&mut group).threads(|times| timed(times, N_THREADS, by_threads));
    group.finish();
    criterion.final_summary();
}
