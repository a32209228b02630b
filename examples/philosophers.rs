//! The dining philosophers: five sit round a table, with a fork between each two, and eat with two forks.
//!
//! | variant | forks | |
//! |---|---|---|
//! | `deadlock` | mutexes | each takes the left one, then the right one. When all have their left one (here they wait for that, so that it happens at once), nobody can go on |
//! | `two` | mutexes | two philosophers do the same again and again, and need no forcing: it happens by itself |
//! | `reorder` | mutexes | the first one takes the right one first: there is no circle any more |
//! | `try lock` | mutexes | who cannot get the second one puts the first one back |
//! | `channels` | channels with room for one fork | likewise: a `select!` with a `default` tries |
//!
//! The first two are run as child processes, for gort ends them when nobody can go on, with status 2 and
//! a report in which each philosopher stands at the same line. In the others everybody eats as often as asked for.
//! While they eat they check that neither neighbour does; so no more than two eat at once.
//!
//! usage: `cargo run --release --example philosophers -- [MEALS]`, 1,000 for each if left out.

#[path = "common/again.rs"]
mod again;
#[path = "common/arguments.rs"]
mod arguments;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gort::chan::{self, Receiver, Sender};
use gort::sync::{Barrier, Mutex};
use gort::{Builder, select};

const USAGE: &str = "philosophers [MEALS] for each, from 1 to 1000000 (1000 if left out)";

const NAMES: [&str; 5] = ["Plato", "Hypatia", "Kant", "Arendt", "Zhuangzi"];

/// Who is eating.
#[derive(Default)]
struct Table([AtomicBool; NAMES.len()]);

impl Table {
    /// Eats, with a look at the neighbours' plates; the caller has both forks.
    fn eat(&self, seat: usize) {
        let seats = self.0.len();
        let neighbours = [(seat + 1) % seats, (seat + seats - 1) % seats];
        // SeqCst: of two neighbours who eat at once, one sees the other.
        self.0[seat].store(true, Ordering::SeqCst);
        for neighbour in neighbours {
            assert!(!self.0[neighbour].load(Ordering::SeqCst), "there is a fork too many");
        }
        gort::yield_now();
        self.0[seat].store(false, Ordering::SeqCst);
    }
}

/// The forks to the left and to the right of a seat.
fn beside(seat: usize, seats: usize) -> (usize, usize) {
    (seat, (seat + 1) % seats)
}

/// So many philosophers live their lives at once; waits until all have.
fn dine(seats: usize, live: impl Fn(usize) + Send + Sync + 'static) {
    let live = Arc::new(live);
    let start = |(seat, name): (usize, &&str)| {
        let live = Arc::clone(&live);
        Builder::new().name(*name).spawn(move || live(seat)).expect("there is memory for five")
    };
    let philosophers: Vec<_> = NAMES[..seats].iter().enumerate().map(start).collect();
    for philosopher in philosophers {
        philosopher.join().expect("nobody eats with a neighbour's fork");
    }
}

/// All take the left fork first.
fn deadlock(_meals: u64) {
    let forks = [const { Mutex::new(()) }; NAMES.len()];
    let all_have_one = Barrier::new(NAMES.len());
    dine(NAMES.len(), move |seat| {
        let (left, right) = beside(seat, NAMES.len());
        let _left = forks[left].lock();
        all_have_one.wait();
        let _right = forks[right].lock();
    });
}

/// All two of them, for ever.
fn two(_meals: u64) {
    let forks = [const { Mutex::new(()) }; 2];
    dine(2, move |seat| {
        let (left, right) = beside(seat, 2);
        loop {
            let _left = forks[left].lock();
            // Others may run between any two steps; that is all it takes.
            gort::yield_now();
            let _right = forks[right].lock();
        }
    });
}

/// The lower fork first.
fn reorder(meals: u64) {
    let forks = [const { Mutex::new(()) }; NAMES.len()];
    let table = Table::default();
    dine(NAMES.len(), move |seat| {
        let (left, right) = beside(seat, NAMES.len());
        let (first, second) = if seat == 0 { (right, left) } else { (left, right) };
        for _ in 0..meals {
            let _first = forks[first].lock();
            let _second = forks[second].lock();
            table.eat(seat);
        }
    });
}

/// One fork and a try for the other.
fn try_lock(meals: u64) {
    let forks = [const { Mutex::new(()) }; NAMES.len()];
    let table = Table::default();
    dine(NAMES.len(), move |seat| {
        let (left, right) = beside(seat, NAMES.len());
        let mut eaten = 0;
        while eaten < meals {
            let left = forks[left].lock();
            if let Some(_right) = forks[right].try_lock() {
                table.eat(seat);
                eaten += 1;
            }
            drop(left);
            // Thinks. Without it, who has just put a fork back would take it again at once.
            gort::yield_now();
        }
    });
}

/// A fork is a value in its channel, if nobody has it.
struct Fork;

fn channels(meals: u64) {
    let places: [(Sender<Fork>, Receiver<Fork>); NAMES.len()] = std::array::from_fn(|_| chan::bounded(1));
    for (lay_down, _) in &places {
        lay_down.send(Fork).expect("both ends are in `places`");
    }
    let table = Table::default();
    dine(NAMES.len(), move |seat| {
        let (left, right) = beside(seat, NAMES.len());
        let ((lay_left, take_left), (lay_right, take_right)) = (&places[left], &places[right]);
        let mut eaten = 0;
        while eaten < meals {
            let left = take_left.recv().expect("both ends are in `places`");
            select! {
                recv(take_right) -> right => {
                    table.eat(seat);
                    eaten += 1;
                    lay_right.send(right.expect("as above")).expect("as above");
                }
                default => {}
            }
            lay_left.send(left).expect("as above");
            gort::yield_now();
        }
    });
}

/// A way to dine: its name, how it is done, and whether it ends.
type Variant = (&'static str, fn(u64), bool);

const VARIANTS: [Variant; 5] = [
    ("deadlock", deadlock, false),
    ("two", two, false),
    ("reorder", reorder, true),
    ("try lock", try_lock, true),
    ("channels", channels, true),
];

fn main() -> io::Result<()> {
    let child = std::env::args().nth(1).and_then(|word| VARIANTS.iter().find(|(name, ..)| *name == word));
    let [meals] = arguments::numbers_after(usize::from(child.is_some()), USAGE, 1..=1_000_000);
    let meals = meals.unwrap_or(1_000);
    if let Some((_, dine, _)) = child {
        gort::run(|| dine(meals));
        return Ok(());
    }
    for (name, dine, ends) in VARIANTS {
        if ends {
            gort::run(|| dine(meals));
            println!("{name}: everybody has eaten {meals} times, nobody beside a neighbour who did");
        } else {
            println!("{name}:");
            again::show(&again::deadlock(&[name])?);
            println!();
        }
    }
    Ok(())
}
