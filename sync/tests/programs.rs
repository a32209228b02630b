//! Whole programs of small goroutines and channels.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fixture::{at, at_1_2_4, until};
use gort_runtime::{spawn, yield_now};
use gort_sync::chan::{self, Receiver, Sender};
use gort_sync::select;

const PRIMES: [u32; 25] =
    [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97];

/// A chain of filters, one for each prime.
#[test]
fn a_sieve_finds_the_primes() {
    at_1_2_4(|_| {
        for capacity in [0, 1, 16] {
            let (tx, mut numbers) = chan::bounded(capacity);
            spawn(move || (2..).try_for_each(|n: u32| tx.send(n)));
            for expected in PRIMES {
                let prime = numbers.recv().unwrap();
                assert_eq!(prime, expected);
                let (tx, rx) = chan::bounded(capacity);
                let source = std::mem::replace(&mut numbers, rx);
                spawn(move || source.iter().filter(|n| n % prime != 0).try_for_each(|n| tx.send(n)));
            }
            // The end of the last receiver ends them all.
        }
    });
}

/// A stream of the multiples of a prime, kept sorted by merging: the other sieve.
fn merge(a: Receiver<u32>, b: Receiver<u32>) -> Receiver<u32> {
    let (tx, rx) = chan::bounded(1);
    spawn(move || {
        let (mut x, mut y) = (a.recv().ok(), b.recv().ok());
        loop {
            let least = match (x, y) {
                (Some(x), Some(y)) => x.min(y),
                (x, y) => match x.or(y) {
                    Some(least) => least,
                    None => return,
                },
            };
            if tx.send(least).is_err() {
                return;
            }
            if x == Some(least) {
                x = a.recv().ok();
            }
            if y == Some(least) {
                y = b.recv().ok();
            }
        }
    });
    rx
}

#[test]
fn merged_streams_of_multiples_leave_the_primes_out() {
    at_1_2_4(|_| {
        let multiples = |prime: u32| {
            let (tx, rx) = chan::bounded(1);
            spawn(move || (prime..=100 / prime).try_for_each(|n| tx.send(n * prime)));
            rx
        };
        let composites = [3, 5, 7].map(multiples).into_iter().fold(multiples(2), merge);
        let composites: Vec<_> = composites.iter().collect();
        assert!((2..=100).filter(|n| !composites.contains(n)).eq(PRIMES));
    });
}

/// Two pairs on one processor: one hands its turn over after much work, the other after little. Whoever is
/// woken inherits what is left of his waker's slice: were it a new one, the pair with little work would never
/// give way. Counted are the steps of each pair.
#[test]
fn a_pair_that_hands_its_turn_over_often_gets_no_more_than_another() {
    const SLICES: u32 = 12;
    at(&[1], |_| {
        let stop = Arc::new(AtomicBool::new(false));
        let pair = |steps: u64| {
            let (tx, rx) = chan::bounded::<()>(0);
            let counted = Arc::new(AtomicU64::new(0));
            for _ in 0..2 {
                let (tx, rx, counted, stop) =
                    (tx.clone(), rx.clone(), Arc::clone(&counted), Arc::clone(&stop));
                spawn(move || {
                    while let Ok(()) = rx.recv() {
                        for _ in 0..steps {
                            counted.fetch_add(1, Ordering::Relaxed);
                        }
                        if stop.load(Ordering::Relaxed) || tx.send(()).is_err() {
                            tx.close();
                        }
                    }
                });
            }
            (tx, counted)
        };
        let (hogs, lights) = (pair(1_000_000), pair(1_000));
        hogs.0.send(()).unwrap();
        lights.0.send(()).unwrap();
        // Each of our turns comes after one of each pair at least.
        (0..SLICES).for_each(|_| yield_now());
        stop.store(true, Ordering::Relaxed);
        until(|| hogs.0.is_closed() && lights.0.is_closed());
        let (hog, light) = (hogs.1.load(Ordering::Relaxed), lights.1.load(Ordering::Relaxed));
        assert!(hog / 20 <= light && light / 20 <= hog, "{hog} and {light} steps");
    });
}

const ZERO: Rational = Rational(0, 1);
const ONE: Rational = Rational(1, 1);

/// A rational number, in its lowest terms.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rational(i64, i64);

impl Rational {
    fn new(numerator: i64, denominator: i64) -> Self {
        fn gcd(a: i64, b: i64) -> i64 {
            if b == 0 { a.abs() } else { gcd(b, a % b) }
        }
        let divisor = gcd(numerator, denominator) * denominator.signum();
        Rational(numerator / divisor, denominator / divisor)
    }

    fn plus(self, other: Self) -> Self {
        Rational::new(self.0 * other.1 + other.0 * self.1, self.1 * other.1)
    }

    fn times(self, other: Self) -> Self {
        Rational::new(self.0 * other.0, self.1 * other.1)
    }
}

/// A power series: its coefficients, as many as one asks for.
type Series = Receiver<Rational>;

fn series(write: impl FnOnce(Sender<Rational>) -> Option<()> + Send + 'static) -> Series {
    let (tx, rx) = chan::bounded(0);
    spawn(move || write(tx));
    rx
}

fn repeat(value: Rational) -> Series {
    series(move |out| {
        loop {
            out.send(value).ok()?;
        }
    })
}

/// Two that are the same series, computed as far as the first of them is asked for. When one is given up,
/// both end.
fn split(from: Series) -> (Series, Series) {
    let (tx1, rx1) = chan::bounded(0);
    let (tx2, rx2) = chan::bounded(0);
    spawn(move || -> Option<()> {
        let (no_send, no_recv) = chan::never();
        let mut for_first = None;
        // What only the first has been offered so far.
        let mut for_second = VecDeque::new();
        loop {
            let source = if for_first.is_none() { &from } else { &no_recv };
            let (newest, tx1) = for_first.map_or((ZERO, &no_send), |newest| (newest, &tx1));
            let (oldest, tx2) = for_second.front().map_or((ZERO, &no_send), |oldest| (*oldest, &tx2));
            select! {
                recv(source) -> value => {
                    for_first = Some(value.ok()?);
                    for_second.extend(for_first);
                }
                send(tx1, newest) -> sent => {
                    sent.ok()?;
                    for_first = None;
                }
                send(tx2, oldest) -> sent => {
                    sent.ok()?;
                    for_second.pop_front();
                }
            }
        }
    });
    (rx1, rx2)
}

fn add(a: Series, b: Series) -> Series {
    series(move |out| {
        loop {
            out.send(a.recv().ok()?.plus(b.recv().ok()?)).ok()?;
        }
    })
}

fn scale(factor: Rational, of: Series) -> Series {
    series(move |out| of.iter().try_for_each(|value| out.send(factor.times(value)).ok()))
}

/// `first`, and then the series: times x, plus `first`.
fn shift(first: Rational, rest: Series) -> Series {
    series(move |out| {
        out.send(first).ok()?;
        rest.iter().try_for_each(|value| out.send(value).ok())
    })
}

/// (a + xA)(b + xB) = ab + x(aB + bA + xAB).
fn multiply(a: Series, b: Series) -> Series {
    series(move |out| {
        let (a0, b0) = (a.recv().ok()?, b.recv().ok()?);
        out.send(a0.times(b0)).ok()?;
        let ((a1, a2), (b1, b2)) = (split(a), split(b));
        let rest = add(add(scale(a0, b1), scale(b0, a1)), shift(ZERO, multiply(a2, b2)));
        rest.iter().try_for_each(|value| out.send(value).ok())
    })
}

/// The integral from 0.
fn integrate(of: Series, constant: Rational) -> Series {
    series(move |out| {
        out.send(constant).ok()?;
        of.iter().zip(1..).try_for_each(|(value, n)| out.send(value.times(Rational::new(1, n))).ok())
    })
}

/// e^x is its own integral, plus 1: a loop of channels.
fn exponential() -> Series {
    let (tx, rx) = chan::bounded(0);
    let (result, back) = split(integrate(rx, ONE));
    spawn(move || back.iter().try_for_each(|value| tx.send(value)));
    result
}

#[test]
fn power_series_are_computed_by_hundreds_of_goroutines() {
    const TERMS: usize = 9;
    at_1_2_4(|_| {
        // 1/(1-x)^2 = 1 + 2x + 3x^2 + ...
        let squared = multiply(repeat(ONE), repeat(ONE));
        assert!(squared.iter().take(TERMS).eq((1..=9).map(|n| Rational::new(n, 1))));
        // e^x = sum x^n/n!
        let factorial = |n: i64| (1..=n).product::<i64>();
        let terms: Vec<_> = exponential().iter().take(TERMS).collect();
        assert!(terms.into_iter().eq((0..9).map(|n| Rational::new(1, factorial(n)))));
        // e^x e^x = e^2x
        let product = multiply(exponential(), exponential());
        assert!(product.iter().take(TERMS).eq((0..9).map(|n| Rational::new(1 << n, factorial(n)))));
    });
}
