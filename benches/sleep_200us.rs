//! By how much a sleep of 200 µs is late, when nothing else runs. One iteration: one sleep; what is
//! reported is the lateness alone.

use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use gort_benches::Peers;

const SLEEP: Duration = Duration::from_micros(200);

fn on_gort(times: u64) -> Duration {
    let mut late = Duration::ZERO;
    for _ in 0..times {
        let start = Instant::now();
        gort::sleep(SLEEP);
        late += start.elapsed() - SLEEP;
    }
    late
}

async fn on_tokio(times: u64) -> Duration {
    let mut late = Duration::ZERO;
    for _ in 0..times {
        let start = Instant::now();
        tokio::time::sleep(SLEEP).await;
        late += start.elapsed() - SLEEP;
    }
    late
}

#[expect(clippy::disallowed_methods, reason = "the peer: threads sleep as threads")]
fn on_threads(times: u64) -> Duration {
    let mut late = Duration::ZERO;
    for _ in 0..times {
        let start = Instant::now();
        thread::sleep(SLEEP);
        late += start.elapsed() - SLEEP;
    }
    late
}

fn main() {
    let mut criterion: Criterion = gort_benches::criterion();
    let mut group = criterion.benchmark_group("sleep_200us");
    group.throughput(Throughput::Elements(1));
    Peers::new(&mut group).gort(on_gort).tokio(on_tokio).tokio_current_thread(on_tokio).threads(on_threads);
    group.finish();
    criterion.final_summary();
}
