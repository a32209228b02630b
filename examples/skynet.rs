//! A million goroutines that answer: each node of a tree starts ten children, and adds up what they send.
//!
//! The leaves are numbered from 0, and each sends its number to its parent; a parent sends the sum to its own.
//! So a tree of depth 6 has 1,000,000 leaves above 111,111 inner nodes, each a goroutine, and the root sends
//! 499999500000. Each inner node has one unbuffered channel, on which its children wait for one another.
//!
//! They are never all alive: a processor runs the newest first, so most subtrees have answered before their
//! neighbours begin, and of the 1,111,111 goroutines fewer than a tenth exist at a time.
//!
//! usage: `cargo run --release --example skynet -- [DEPTH]`, 6 if left out.

#[path = "common/arguments.rs"]
mod arguments;

use std::time::Instant;

use gort::chan::{self, Sender};

const USAGE: &str = "skynet [DEPTH], of a tree with 10^DEPTH leaves, from 0 to 7 (6 if left out)";

const CHILDREN: u64 = 10;

/// The node over `leaves` leaves, of which `first` is the first.
fn node(first: u64, leaves: u64, parent: &Sender<u64>) {
    let sum = if leaves == 1 { first } else { sum_of_children(first, leaves / CHILDREN) };
    parent.send(sum).expect("the parent waits for all its children");
}

fn sum_of_children(first: u64, leaves_each: u64) -> u64 {
    let (tx, rx) = chan::bounded(0);
    for child in 0..CHILDREN {
        let tx = tx.clone();
        gort::go! { node(first + child * leaves_each, leaves_each, &tx) }
    }
    // The loop ends when the last child has dropped its sender.
    drop(tx);
    rx.iter().sum()
}

#[gort::main]
fn main() {
    let [depth] = arguments::numbers(USAGE, 0..=7);
    let depth = u32::try_from(depth.unwrap_or(6)).expect("it is no more than 7");
    let leaves = CHILDREN.pow(depth);
    let goroutines: u64 = (0..=depth).map(|level| CHILDREN.pow(level)).sum();

    let start = Instant::now();
    let (tx, rx) = chan::bounded(0);
    gort::go! { node(0, leaves, &tx) }
    let sum = rx.recv().expect("the root answers");
    let elapsed = start.elapsed();

    println!("the leaves add up to {sum}");
    println!("{goroutines} goroutines, {} ms on {} processors", elapsed.as_millis(), gort::max_procs());
    assert_eq!(sum, leaves * (leaves - 1) / 2);
}
