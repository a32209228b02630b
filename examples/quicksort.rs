//! Quicksort whose halves are the branches of a join, down to parts of 32 numbers; and the same numbers by
//! `par_sort_unstable_by`, which leaves parts that fit into the cache to the standard library.
//!
//! usage: `cargo run --release --example quicksort -- [COUNT]`, 100,000 numbers if left out. `GOMAXPROCS` says on
//! how many processors.

#[path = "common/arguments.rs"]
mod arguments;
#[path = "common/contest.rs"]
mod contest;

/// Parts up to this length are sorted by insertion.
const SMALL: usize = 32;

/// Sorts what is small; else moves what is not greater than a pivot before what is not less.
fn partition(numbers: &mut [u64]) -> Option<(&mut [u64], &mut [u64])> {
    if numbers.len() <= SMALL {
        for end in 1..numbers.len() {
            let mut at = end;
            while at > 0 && numbers[at - 1] > numbers[at] {
                numbers.swap(at - 1, at);
                at -= 1;
            }
        }
        return None;
    }
    let pivot = numbers[numbers.len() / 2];
    let (mut low, mut high) = (0, numbers.len());
    // [..low] is not greater, [high..] not less.
    loop {
        while numbers[low] < pivot {
            low += 1;
        }
        high -= 1;
        while numbers[high] > pivot {
            high -= 1;
        }
        if low >= high {
            return Some(numbers.split_at_mut(low));
        }
        numbers.swap(low, high);
        low += 1;
    }
}

fn serial(numbers: &mut [u64]) {
    if let Some((left, right)) = partition(numbers) {
        serial(left);
        serial(right);
    }
}

fn joined(numbers: &mut [u64]) {
    if let Some((left, right)) = partition(numbers) {
        gort::join(|| joined(left), || joined(right));
    }
}

/// The numbers to sort: pseudo-random, always the same.
fn shuffled(count: u64) -> Vec<u64> {
    (1..=count).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) % (4 * count)).collect()
}

/// Sorts a copy, and returns a number that depends on the order.
fn sorted(numbers: &[u64], sort: impl Fn(&mut [u64])) -> u64 {
    let mut numbers = numbers.to_vec();
    sort(&mut numbers);
    assert!(numbers.is_sorted());
    numbers.iter().fold(0, |sum: u64, number| sum.wrapping_mul(31).wrapping_add(*number)) % 1_000_000
}

fn main() {
    let [count] =
        arguments::numbers("quicksort [COUNT], from 1 to 100000000 (100000 if left out)", 1..=100_000_000);
    let count = count.unwrap_or(100_000);
    let numbers = shuffled(count);
    let numbers = &numbers[..];
    gort::run(|| {
        contest::compare(
            &format!("{count} numbers on {} processors: check", gort::max_procs()),
            &[
                ("serial", &|| sorted(numbers, serial)),
                ("join", &|| sorted(numbers, joined)),
                ("par_sort_unstable_by", &|| sorted(numbers, |n| gort::par_sort_unstable_by(n, u64::cmp))),
                ("std's sort_unstable", &|| sorted(numbers, <[u64]>::sort_unstable)),
            ],
        );
    });
}
