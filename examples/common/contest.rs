//! The same work serially and by joins, measured in turns.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// So many rounds; the medians are compared.
const ROUNDS: usize = 5;

/// One way to do the work: its name, and what it computes.
pub(crate) type Way<'a> = (&'a str, &'a (dyn Fn() -> u64 + Sync));

/// Measures all ways in interleaved rounds, checks that they compute the same, and prints a line for each: the first
/// one is what the others are compared with.
pub(crate) fn compare(what: &str, ways: &[Way<'_>]) {
    let mut times = vec![Vec::new(); ways.len()];
    let mut expected = None;
    for _ in 0..ROUNDS {
        for ((name, way), times) in ways.iter().zip(&mut times) {
            let start = Instant::now();
            let result = black_box(way());
            times.push(start.elapsed());
            assert_eq!(*expected.get_or_insert(result), result, "{name}");
        }
    }
    let medians: Vec<Duration> = times.iter_mut().map(|times| median(times)).collect();
    println!("{what} = {}; median of {ROUNDS} interleaved rounds", expected.unwrap_or_default());
    for ((name, _), time) in ways.iter().zip(&medians) {
        let ratio = time.as_secs_f64() / medians[0].as_secs_f64();
        println!("{name:<32}{:>10.1} ms{ratio:>8.2} x serial", time.as_secs_f64() * 1e3);
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
