//! A million goroutines at once: what each costs while it waits, and to wake them all.
//!
//! Each says that it is there and parks. When all are, the program reads what the kernel counts for the
//! process: resident memory (`VmRSS`), and page tables (`VmPTE`), which it counts separately. A parked
//! goroutine keeps one page of its stack, 4,096 bytes; the rest of its 256 KiB are addresses only. The
//! program itself adds a handle of 16 bytes for each, so that it can wake and join them; that is in the
//! figures, for resident memory is all that it is.
//!
//! Then it unparks each, joins each, and checks that each has run. It needs no system setting to be
//! changed: the guards between the stacks cost no mappings on Linux 6.13 and later. (On older kernels
//! there can be about 32,000 goroutines by default, which is an error that says so.)
//!
//! It fails, with status 1, if a goroutine takes more than 4,400 resident bytes.
//!
//! usage: `cargo run --release --example million -- [N]`, 1,000,000 if left out.

#[path = "common/arguments.rs"]
mod arguments;
#[path = "common/memory.rs"]
mod memory;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gort::JoinHandle;

const USAGE: &str = "million [N], which parks N goroutines, from 1 to 10000000 (1000000 if left out)";

/// What a parked goroutine may cost. Of so few, what the runtime keeps at hand would count for too much.
const LIMIT_BYTES: f64 = 4_400.0;
const FEW: u64 = 10_000;

static HAVE_COME: AtomicU64 = AtomicU64::new(0);
static MAY_GO: AtomicBool = AtomicBool::new(false);

/// A goroutine's life. `n` comes back, so that it is seen that every one has run.
fn wait_for_the_word(n: u64) -> u64 {
    HAVE_COME.fetch_add(1, Ordering::Relaxed);
    // Acquire: pairs with the Release in `main`.
    while !MAY_GO.load(Ordering::Acquire) {
        gort::park();
    }
    n
}

/// Resident memory and page tables.
fn memory_bytes() -> (u64, u64) {
    (memory::status_bytes("VmRSS"), memory::status_bytes("VmPTE"))
}

fn per_one(time: Duration, count: u64) -> f64 {
    time.as_nanos() as f64 / count as f64
}

#[gort::main]
fn main() -> std::io::Result<ExitCode> {
    let [count] = arguments::numbers(USAGE, 1..=10_000_000);
    let count = count.unwrap_or(1_000_000);
    let capacity = usize::try_from(count).expect("it fits into memory, or has been refused");

    // Reserved before the first reading, but resident only when it is written to: it counts.
    let mut handles: Vec<JoinHandle<u64>> = Vec::with_capacity(capacity);
    let (resident_before, tables_before) = memory_bytes();

    let start = Instant::now();
    for n in 0..count {
        handles.push(gort::Builder::new().spawn(move || wait_for_the_word(n))?);
    }
    while HAVE_COME.load(Ordering::Relaxed) < count {
        gort::sleep(Duration::from_millis(1));
    }
    let spawning = start.elapsed();

    let (resident, tables) = memory_bytes();
    let resident_each = (resident - resident_before) as f64 / count as f64;
    let tables_each = (tables - tables_before) as f64 / count as f64;
    println!("{count} goroutines are parked, on {} processors", gort::max_procs());
    println!("  {:>8.0} bytes of RSS per parked goroutine ({} MiB in all)", resident_each, resident >> 20);
    println!("  {:>8} of these are the handle that this program keeps", size_of::<JoinHandle<u64>>());
    println!("  {:>8.0} bytes of page tables, which RSS does not count", tables_each);
    println!("  {:>8.0} ns per spawn, until the last one has parked", per_one(spawning, count));

    // Release: pairs with the Acquire of the goroutines.
    MAY_GO.store(true, Ordering::Release);
    let start = Instant::now();
    for handle in &handles {
        handle.goroutine().unpark();
    }
    let unparking = start.elapsed();
    let mut sum = 0;
    for handle in handles {
        sum += handle.join().expect("it does not panic");
    }
    let waking = start.elapsed();
    assert_eq!(sum, count * (count - 1) / 2, "every goroutine has run, once");
    println!("all {count} have been woken, have run and are joined");
    println!("  {:>8.0} ns per unpark", per_one(unparking, count));
    println!("  {:>8.0} ns per wake, from the first unpark until the last is joined", per_one(waking, count));

    // A debug build's frames are larger.
    let must_be_small = count >= FEW && !cfg!(debug_assertions);
    if must_be_small && resident_each > LIMIT_BYTES {
        eprintln!("error: more than {LIMIT_BYTES} bytes each");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
