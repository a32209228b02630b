//! Fibonacci with a goroutine at every level: the price of a fork, and nothing else.
//!
//! `fib(n)` spawns a goroutine for `fib(n - 1)`, computes `fib(n - 2)` itself and joins. There is no cutoff
//! below which it would compute serially, so nearly all the time is spawning and joining: every call with
//! n >= 2 is a fork, fib(n + 1) - 1 of them, 3.5 million for n = 32. No program should be written so; it is
//! the hardest case for a scheduler, and makes runtimes comparable.
//!
//! It prints a line for each way to compute it: the result; how long it took; ns per fork, beside what the
//! serial recursion takes for a call; the ratio of the two; and how many times a processor has taken work
//! from another one.
//!
//! | way | |
//! |---|---|
//! | serial | the plain recursion |
//! | spawn, default | thread-locals per worker: a goroutine stays on the thread on which it has started, and a spawned child is queued |
//! | spawn, child first | `migrate_unchecked`: the child runs at once, and what is queued and stolen is the rest of the parent |
//! | spawn, parent first | `migrate_unchecked`, and Go's order: the child is queued |
//!
//! In all of them the newest goroutine runs first, so only about n are alive at a time on each processor.
//!
//! With `--join` it computes fib(N) serially, by `join` and by `join_then` instead, in interleaved rounds, and prints
//! the results and the ratios to the serial recursion: there a fork costs about what a call does.
//!
//! With `--literal` it is the classic `<-fib(n-1) + <-fib(n-2)`, in which each call is a goroutine that answers
//! through a channel: 13,529 of them for n = 20. It looks parallel and is not: operands are evaluated from left
//! to right, so the second call is begun when the first has answered, and about n goroutines are alive at once.
//!
//! usage: `cargo run --release --example fib -- [--join|--literal] [N]`, 32 if left out, 20 with `--literal`.
//! `GOMAXPROCS` says on how many processors.

#[path = "common/arguments.rs"]
mod arguments;
#[path = "common/contest.rs"]
mod contest;

use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gort::chan::{self, Receiver};
use gort::runtime::{Builder, SpawnOrder};

const USAGE: &str = "fib [--join] [N], which computes fib(N) for N from 2 to 45 (32 if left out)
       fib --literal [N], likewise, for N from 2 to 30 (20 if left out)";

/// Each way is run so often; the median is printed.
const RUNS: usize = 3;

fn serial(n: u64) -> u64 {
    if n < 2 { n } else { serial(n - 1) + serial(n - 2) }
}

fn spawned(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let left = gort::spawn(move || spawned(n - 1));
    let right = spawned(n - 2);
    left.join().expect("fib does not panic") + right
}

// Not inlined: each is then a recursion of its own, as the serial one.
#[inline(never)]
fn joined(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (left, right) = gort::join(move || joined(n - 1), move || joined(n - 2));
    left + right
}

#[inline(never)]
fn joined_then(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    gort::join_then(move || joined_then(n - 1), move || joined_then(n - 2), |left, right| left + right)
}

/// Compares the ways to join.
fn join(n: u64) {
    gort::run(|| {
        contest::compare(
            &format!("fib({n}) on {} processors", gort::max_procs()),
            &[
                ("serial", &|| serial(black_box(n))),
                ("join", &|| joined(black_box(n))),
                ("join_then", &|| joined_then(black_box(n))),
            ],
        );
    });
}

/// How many calls of `literal` there were, and how many goroutines at once, main among them.
static CALLS: AtomicUsize = AtomicUsize::new(0);
static MOST_ALIVE: AtomicUsize = AtomicUsize::new(0);

/// A goroutine and a channel for each call.
fn literal(n: u64) -> Receiver<u64> {
    let (tx, rx) = chan::bounded(0);
    gort::go! {
        CALLS.fetch_add(1, Ordering::Relaxed);
        MOST_ALIVE.fetch_max(gort::num_goroutines(), Ordering::Relaxed);
        let answer = |n| literal(n).recv().expect("it answers");
        let result = if n <= 2 { 1 } else { answer(n - 1) + answer(n - 2) };
        tx.send(result).expect("the caller waits");
    }
    rx
}

/// Shows what the literal version takes.
fn literally(n: u64) {
    gort::run(|| {
        let start = Instant::now();
        let result = literal(n).recv().expect("it answers");
        let time = start.elapsed();
        assert_eq!(result, serial(n));
        let calls = CALLS.load(Ordering::Relaxed);
        println!("fib({n}) = {result}, by {calls} goroutines, each with a channel");
        println!(
            "{} ns for each; {} alive at once at most",
            time.as_nanos() / calls as u128,
            MOST_ALIVE.load(Ordering::Relaxed)
        );
    });
}

/// How many calls have n >= 2 on the way to fib(n): fib(n + 1) - 1.
fn forks(n: u64) -> u64 {
    let (mut this, mut next) = (0, 1);
    for _ in 0..n {
        (this, next) = (next, this + next);
    }
    next - 1
}

/// A way to compute it on goroutines: on which runtime, by which function.
struct Way {
    name: &'static str,
    runtime: fn() -> Builder,
    fib: fn(u64) -> u64,
}

const WAYS: &[Way] = &[
    Way { name: "spawn, default", runtime: Builder::new, fib: spawned },
    Way { name: "spawn, child first", runtime: unchecked, fib: spawned },
    Way { name: "spawn, parent first", runtime: parent_first, fib: spawned },
];

/// A runtime whose goroutines change threads freely.
fn unchecked() -> Builder {
    // SAFETY: the goroutines of this runtime run `spawned` and its caller `median_run`, which keep nothing
    // that belongs to a thread.
    unsafe { Builder::new().migrate_unchecked() }
}

fn parent_first() -> Builder {
    unchecked().spawn_order(SpawnOrder::ParentFirst)
}

/// The result and the median of the times.
fn median_run(fib: fn(u64) -> u64, n: u64) -> (u64, Duration) {
    let mut times = [Duration::ZERO; RUNS];
    let mut result = 0;
    for time in &mut times {
        let start = Instant::now();
        result = fib(black_box(n));
        *time = start.elapsed();
    }
    times.sort_unstable();
    (result, times[RUNS / 2])
}

fn main() -> io::Result<()> {
    if std::env::args().nth(1).is_some_and(|argument| argument == "--literal") {
        let [n] = arguments::numbers_after(1, USAGE, 2..=30);
        literally(n.unwrap_or(20));
        return Ok(());
    }
    let is_join = std::env::args().nth(1).is_some_and(|argument| argument == "--join");
    let [n] = arguments::numbers_after(usize::from(is_join), USAGE, 2..=45);
    let n = n.unwrap_or(32);
    if is_join {
        join(n);
        return Ok(());
    }

    let (expected, serial_time) = median_run(serial, n);
    let forks = forks(n);
    let per_fork = |time: Duration| time.as_nanos() as f64 / forks as f64;

    println!("{forks} forks on {} processors; median of {RUNS} runs", gort::max_procs());
    println!();
    println!("{:<22}{:<22}{:>10}{:>12}{:>12}{:>10}", "", "", "ms", "ns/fork", "x serial", "stolen");
    let print = |name: &str, result: u64, time: Duration, stolen: Option<u64>| {
        let ratio = time.as_secs_f64() / serial_time.as_secs_f64();
        let (ms, ns) = (time.as_secs_f64() * 1e3, per_fork(time));
        let stolen = stolen.map_or_else(|| "-".to_owned(), |stolen| stolen.to_string());
        let result = format!("fib({n}) = {result}");
        println!("{name:<22}{result:<22}{ms:>10.1}{ns:>12.2}{ratio:>12.1}{stolen:>10}");
    };
    print("serial", expected, serial_time, None);
    for way in WAYS {
        let runtime = (way.runtime)().build()?;
        let (result, time) = runtime.run(|| median_run(way.fib, n));
        print(way.name, result, time, Some(runtime.info().stolen / RUNS as u64));
        assert_eq!(result, expected, "{}: fib({n}) is {expected}", way.name);
        assert!(runtime.shutdown_timeout(Duration::from_secs(10)), "the runtime does not stop");
    }
    Ok(())
}
