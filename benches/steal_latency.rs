//! How long new work waits on a busy worker until an idle one has started it. One iteration: one piece of
//! work; only at 2 workers.
//!
//! The busy worker spins [`PAUSE`] without a call of its runtime, so that the other one has found nothing,
//! and sleeps. Then it spawns a child, and parent and child spin until both have run: whichever of the two
//! stays behind (the child; under `migrate_unchecked` the parent's continuation) must have been stolen.
//! The time from before the spawn to then is counted, the pause is not.
//!
//! tokio keeps the newest task where nobody may steal it (its LIFO slot), so there a second, empty task is
//! spawned behind the child to push it out; without that the bench would hang. Threads have nothing to
//! steal: theirs is the time from an unpark until a parked thread runs.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use gort_benches::Peers;

/// Long enough for an idle worker of any peer to have given up its search.
const PAUSE: Duration = Duration::from_micros(300);

fn spin_for(pause: Duration) {
    let start = Instant::now();
    while start.elapsed() < pause {
        spin_loop();
    }
}

/// Says that the caller has arrived, and spins until both have.
fn meet(arrived: &AtomicU32) {
    // AcqRel: so that nothing of the one's moves behind the other's arrival.
    arrived.fetch_add(1, Ordering::AcqRel);
    while arrived.load(Ordering::Acquire) < 2 {
        spin_loop();
    }
}

fn on_gort(times: u64) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..times {
        spin_for(PAUSE);
        let arrived = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&arrived);
        let start = Instant::now();
        let child = gort::spawn(move || meet(&theirs));
        meet(&arrived);
        total += start.elapsed();
        child.join().expect("the child does not panic");
    }
    total
}

async fn on_tokio(times: u64) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..times {
        spin_for(PAUSE);
        let arrived = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&arrived);
        let start = Instant::now();
        let child = tokio::spawn(async move { meet(&theirs) });
        let behind = tokio::spawn(async {});
        meet(&arrived);
        total += start.elapsed();
        child.await.expect("the child does not panic");
        behind.await.expect("it does nothing");
    }
    total
}

#[expect(clippy::disallowed_methods, reason = "the peer: threads park as threads")]
fn on_threads(times: u64) -> Duration {
    let asked = AtomicU64::new(0);
    let seen = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                // Release: pairs with the spin below.
                seen.store(asked.load(Ordering::Acquire), Ordering::Release);
                thread::park();
            }
        });
        let mut total = Duration::ZERO;
        for n in 1..=times {
            spin_for(PAUSE);
            let start = Instant::now();
            asked.store(n, Ordering::Release);
            other.thread().unpark();
            while seen.load(Ordering::Acquire) < n {
                spin_loop();
            }
            total += start.elapsed();
        }
        over.store(true, Ordering::Release);
        other.thread().unpark();
        total
    })
}

fn main() {
    let mut criterion: Criterion = gort_benches::criterion();
    let mut group = criterion.benchmark_group("steal_latency");
    group.throughput(Throughput::Elements(1));
    Peers::pairs_only(&mut group).gort(on_gort).tokio(on_tokio).threads(on_threads);
    group.finish();
    criterion.final_summary();
}
