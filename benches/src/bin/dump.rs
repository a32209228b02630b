//! What a dump of many parked goroutines takes, and for how long it stops anybody.
//!
//! N goroutines are parked (100,000 if left out), at a depth of some frames. While a folded dump of all of
//! them is made on a foreign thread, another thread pings one of the parked ones after another and measures how
//! long each takes to answer: the longest answer is the longest stop, with the machine's own jitter in it. The
//! same is measured without a dump first.
//!
//! usage: `cargo run --release -p gort-benches --bin dump -- [N]`

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gort::inspect::Dump;
use gort::{Goroutine, JoinHandle, park, runtime};

#[inline(never)]
fn deep(depth: usize, body: &dyn Fn()) {
    if depth == 0 {
        body();
    } else {
        deep(depth - 1, body);
    }
    black_box(());
}

/// Parks until told to end; notes each time that it is woken.
fn sleeper(answers: &AtomicU64, end: &AtomicBool) {
    while !end.load(Ordering::Acquire) {
        park();
        answers.fetch_add(1, Ordering::Release);
    }
}

/// Pings sleepers in turn until `stop`; the longest answers, and how many there were.
fn ping(sleepers: &[Goroutine], answers: &AtomicU64, stop: &AtomicBool) -> (Vec<Duration>, usize) {
    let mut longest: Vec<Duration> = Vec::new();
    let mut count = 0;
    while !stop.load(Ordering::Acquire) {
        let before = answers.load(Ordering::Acquire);
        let start = Instant::now();
        sleepers[count * 7919 % sleepers.len()].unpark();
        while answers.load(Ordering::Acquire) == before {
            std::hint::spin_loop();
        }
        longest.push(start.elapsed());
        longest.sort_unstable_by(|a, b| b.cmp(a));
        longest.truncate(5);
        count += 1;
    }
    (longest, count)
}

fn main() {
    let count: usize = std::env::args().nth(1).map_or(100_000, |text| text.parse().expect("a number"));
    let rt = runtime::Builder::new().procs(1).deadlock_check(false).build().expect("a runtime starts");
    let (answers, end, stop) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let (answers, end, stop): (&'static AtomicU64, &'static AtomicBool, &AtomicBool) =
        (Box::leak(Box::new(answers)), Box::leak(Box::new(end)), &stop);
    let handles: Vec<JoinHandle<()>> = rt.run(|| {
        let spawn = |n: usize| gort::spawn(move || deep(3 + n % 10, &|| sleeper(answers, end)));
        let handles: Vec<_> = (0..count).map(spawn).collect();
        (0..3).for_each(|_| gort::yield_now());
        handles
    });
    let sleepers: Vec<Goroutine> = handles.iter().map(JoinHandle::goroutine).collect();
    std::thread::scope(|s| {
        let quiet = s.spawn(|| ping(&sleepers, answers, stop));
        #[expect(clippy::disallowed_methods, reason = "a foreign thread lets a second pass")]
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Release);
        report("no dump", quiet.join().expect("no panic"));
        for round in ["first dump", "second dump"] {
            stop.store(false, Ordering::Release);
            let busy = s.spawn(|| ping(&sleepers, answers, stop));
            let mut text = Vec::new();
            let start = Instant::now();
            Dump::new().folded(true).whole(true).all_runtimes(true).write(&mut text).expect("memory");
            let took = start.elapsed();
            stop.store(true, Ordering::Release);
            let blocks = text.windows(2).filter(|pair| pair == b"\n\n").count();
            println!("{round}: {count} goroutines in {took:?}, {blocks} blocks, {} bytes", text.len());
            report(round, busy.join().expect("no panic"));
        }
    });
    end.store(true, Ordering::Release);
    rt.run(|| {
        sleepers.iter().for_each(Goroutine::unpark);
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
    });
}

fn report(when: &str, (longest, count): (Vec<Duration>, usize)) {
    println!("{when}: {count} answers, the longest after {longest:?}");
}
