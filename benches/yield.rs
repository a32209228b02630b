//! What a yield costs: N tasks that do nothing else. One iteration: each yields once.

use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use gort_benches::Peers;

fn on_gort(tasks: u64, rounds: u64) -> Duration {
    let start = Instant::now();
    gort::scope(|scope| {
        for _ in 0..tasks {
            scope.spawn(move || (0..rounds).for_each(|_| gort::yield_now()));
        }
    });
    start.elapsed()
}

async fn yielder(rounds: u64) {
    for _ in 0..rounds {
        tokio::task::yield_now().await;
    }
}

async fn on_tokio(tasks: u64, rounds: u64) -> Duration {
    let start = Instant::now();
    let handles: Vec<_> = (0..tasks).map(|_| tokio::spawn(yielder(rounds))).collect();
    for handle in handles {
        handle.await.expect("a yielder does not panic");
    }
    start.elapsed()
}

fn on_threads(tasks: u64, rounds: u64) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..tasks {
            #[expect(clippy::disallowed_methods, reason = "the peer: threads yield to threads")]
            scope.spawn(move || (0..rounds).for_each(|_| thread::yield_now()));
        }
    });
    start.elapsed()
}

fn main() {
    let mut criterion: Criterion = gort_benches::criterion();
    for tasks in [2, 16, 1000] {
        let mut group = criterion.benchmark_group(format!("yield/{tasks}"));
        group.throughput(Throughput::Elements(tasks));
        Peers::new(&mut group)
            .gort(|rounds| on_gort(tasks, rounds))
            .tokio(|rounds| on_tokio(tasks, rounds))
            .tokio_current_thread(|rounds| on_tokio(tasks, rounds))
            .threads(|rounds| on_threads(tasks, rounds));
        group.finish();
    }
    criterion.final_summary();
}
