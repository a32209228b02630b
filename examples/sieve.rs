//! The prime sieve of goroutines: a chain of filters, one for each prime, joined by channels.
//!
//! A first goroutine sends 2, 3, 4, ... into a channel. What comes out of it first is a prime, and a new
//! goroutine is put behind it that lets through what this prime does not divide. What comes out of *that* first
//! is the next prime, and so on:
//!
//! ```text
//! numbers ─▶ not by 2 ─▶ not by 3 ─▶ not by 5 ─▶ ... ─▶ main
//! ```
//!
//! All channels are unbuffered, and for the 2,000th prime numbers are handed on two million times: there are
//! faster sieves, but few better tests of how soon two goroutines can meet.
//!
//! Nobody tells the goroutines to end, and yet none is left: when main drops the end from which it receives, the
//! last filter's send fails; it returns, which drops its own end; and so it goes up the chain.
//!
//! usage: `cargo run --release --example sieve -- [N]`: the N-th prime, the 2,000th if left out.

#[path = "common/arguments.rs"]
mod arguments;

use std::time::Instant;

use gort::JoinHandle;
use gort::chan::{self, Receiver};

const USAGE: &str = "sieve [N], which computes the N-th prime, from 1 to 10000 (2000 if left out)";

/// 2, 3, 4, ..., until nobody wants more.
fn numbers() -> (Receiver<u64>, JoinHandle<()>) {
    let (tx, rx) = chan::bounded(0);
    let goroutine = gort::spawn(move || {
        for n in 2.. {
            if tx.send(n).is_err() {
                return;
            }
        }
    });
    (rx, goroutine)
}

/// What comes in and is not divisible by `prime`.
fn filter(numbers: Receiver<u64>, prime: u64) -> (Receiver<u64>, JoinHandle<()>) {
    let (tx, rx) = chan::bounded(0);
    let goroutine = gort::spawn(move || {
        for n in numbers {
            if n % prime != 0 && tx.send(n).is_err() {
                return;
            }
        }
    });
    (rx, goroutine)
}

#[gort::main]
fn main() {
    let [count] = arguments::numbers(USAGE, 1..=10_000);
    let count = count.unwrap_or(2_000);
    let start = Instant::now();

    let (mut candidates, first) = numbers();
    let mut goroutines = vec![first];
    let mut prime = candidates.recv().expect("there are infinitely many");
    for _ in 1..count {
        let (rest, goroutine) = filter(candidates, prime);
        goroutines.push(goroutine);
        candidates = rest;
        prime = candidates.recv().expect("there are infinitely many");
    }
    let elapsed = start.elapsed();

    drop(candidates);
    let chain = goroutines.len();
    for goroutine in goroutines {
        goroutine.join().expect("it does not panic");
    }
    println!("prime number {count} is {prime}");
    println!("a chain of {chain} goroutines, {} ms on {} processors", elapsed.as_millis(), gort::max_procs());
    assert_eq!(gort::num_goroutines(), 1, "main alone is left");
}
