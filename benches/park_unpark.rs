//! Ping-pong of two tasks by park and unpark alone. One iteration: there and back.
//!
//! tokio has no park; its `Notify` is the nearest thing (a stored permit, one waiter).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use gort_benches::Peers;
use tokio::sync::Notify;

/// What the two pass to and fro: how many times it has changed hands.
#[derive(Default)]
struct Ball(AtomicU64);

impl Ball {
    /// Waits until the ball has changed hands `passes` times. Acquire: pairs with `pass`.
    fn wait_for(&self, passes: u64, park: fn()) {
        while self.0.load(Ordering::Acquire) < passes {
            park();
        }
    }

    /// Release: pairs with `wait_for`.
    fn pass(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

fn on_gort(times: u64) -> Duration {
    let ball = Arc::new(Ball::default());
    let me = gort::current();
    let theirs = Arc::clone(&ball);
    let start = Instant::now();
    let other = gort::spawn(move || {
        for n in 0..times {
            theirs.wait_for(2 * n + 1, gort::park);
            theirs.pass();
            me.unpark();
        }
    });
    let partner = other.goroutine();
    for n in 0..times {
        ball.pass();
        partner.unpark();
        ball.wait_for(2 * n + 2, gort::park);
    }
    other.join().expect("the partner does not panic");
    start.elapsed()
}

async fn on_tokio(times: u64) -> Duration {
    let there = Arc::new(Notify::new());
    let back = Arc::new(Notify::new());
    let (wait, answer) = (Arc::clone(&there), Arc::clone(&back));
    let start = Instant::now();
    let other = tokio::spawn(async move {
        for _ in 0..times {
            wait.notified().await;
            answer.notify_one();
        }
    });
    for _ in 0..times {
        there.notify_one();
        back.notified().await;
    }
    other.await.expect("the partner does not panic");
    start.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "the peer: threads park as threads")]
fn on_threads(times: u64) -> Duration {
    let ball = Arc::new(Ball::default());
    let me = thread::current();
    let theirs = Arc::clone(&ball);
    let start = Instant::now();
    let other = thread::spawn(move || {
        for n in 0..times {
            theirs.wait_for(2 * n + 1, thread::park);
            theirs.pass();
            me.unpark();
        }
    });
    let partner = other.thread().clone();
    for n in 0..times {
        ball.pass();
        partner.unpark();
        ball.wait_for(2 * n + 2, thread::park);
    }
    other.join().expect("the partner does not panic");
    start.elapsed()
}

fn main() {
    let mut criterion: Criterion = gort_benches::criterion();
    let mut group = criterion.benchmark_group("park_unpark");
    group.throughput(Throughput::Elements(1));
    Peers::new(&mut group).gort(on_gort).tokio(on_tokio).tokio_current_thread(on_tokio).threads(on_threads);
    group.finish();
    criterion.final_summary();
}
