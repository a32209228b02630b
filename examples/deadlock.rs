//! Two goroutines that wait for each other: what gort says when all goroutines are asleep.
//!
//! `husband` waits for an unpark that only `wife` would send, and she waits for one of his; the main goroutine
//! waits for both. Nothing runs, no timer is set, no other thread could wake anybody. So gort prints
//! `fatal error: all goroutines are asleep - deadlock!`, then what each goroutine waits for, its stack, and
//! where it was created, and ends the program with exit status 2.
//!
//! usage: `cargo run --example deadlock`

#[path = "common/arguments.rs"]
mod arguments;

use std::io;
use std::sync::OnceLock;

use gort::{Builder, Goroutine, park};

/// Each of the two polite ones.
static BOTH: [OnceLock<Goroutine>; 2] = [OnceLock::new(), OnceLock::new()];

/// Waits until the other one has begun, then lets them begin: "after you".
fn after_you(other: usize) {
    // The mistake: both wait before either tells the other.
    park();
    BOTH[other].get().expect("both were spawned before").unpark();
}

#[gort::main]
fn main() -> io::Result<()> {
    let [] = arguments::numbers("deadlock", 0..=0);
    println!("two goroutines, each of which waits for the other to begin");
    let husband = Builder::new().name("husband").spawn(|| after_you(1))?;
    let wife = Builder::new().name("wife").spawn(|| after_you(0))?;
    for (place, handle) in BOTH.iter().zip([&husband, &wife]) {
        place.set(handle.goroutine()).expect("set once");
    }
    husband.join().expect("it does not panic");
    wife.join().expect("it does not panic");
    println!("never printed");
    Ok(())
}
