//! A stack of 64 MiB, twice; and where the memory goes afterwards.
//!
//! A goroutine's stack is a range of addresses, 256 KiB unless somebody says otherwise, of which memory is
//! used as far as the stack has grown. There are two roads to more:
//!
//! - *by reservation*: `Builder::stack_size` asks for a larger range beforehand;
//! - *by segments*: `gort::grow` around the recursive call goes on in a further segment when the stack ends.
//!
//! On each, a goroutine recurses 64 MiB deep, every frame writing to all its bytes and checking them on the
//! way back, and returns to its first frame. There it parks: it is alive, and so is its stack, which was
//! resident to the bottom. The runtime's monitor looks for goroutines that have waited for a second or two
//! and gives back what lies below their stack pointer; segments that are free it gives back, too.
//!
//! The program prints its resident memory before, at the deepest point, and when it has come down again. It
//! fails, with status 1, if it does not come to within 16 MiB of the first within a minute.
//!
//! usage: `cargo run --release --example deep`

#[path = "common/arguments.rs"]
mod arguments;
#[path = "common/memory.rs"]
mod memory;

use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const USAGE: &str = "deep";

/// How deep, in frames of which each has so many bytes of its own.
const DEPTH_BYTES: u64 = 64 << 20;
const FRAME_BYTES: usize = 4 << 10;
const FRAMES: u64 = DEPTH_BYTES / FRAME_BYTES as u64;

/// By how much the resident memory may in the end exceed the first.
const MAY_STAY_BYTES: u64 = 16 << 20;
const WATCHDOG: Duration = Duration::from_secs(60);

static AT_DEPTH_BYTES: AtomicU64 = AtomicU64::new(0);
static IS_UP: AtomicBool = AtomicBool::new(false);
static MAY_GO: AtomicBool = AtomicBool::new(false);

fn resident_bytes() -> u64 {
    memory::status_bytes("VmRSS")
}

/// One frame, and all those below it. Returns how many of them were found as they were left.
///
/// Not inlined, and the frame's address escapes into `black_box` before and after the call: so it is on
/// the stack, all of it, while what is below runs.
#[inline(never)]
fn dive(frames: u64, next: fn(u64) -> u64) -> u64 {
    let mut frame = [0_u8; FRAME_BYTES];
    black_box(&mut frame).fill(frames as u8);
    let below = if frames > 1 {
        next(frames - 1)
    } else {
        AT_DEPTH_BYTES.store(resident_bytes(), Ordering::Relaxed);
        0
    };
    let is_whole = black_box(&frame).iter().all(|&byte| byte == frames as u8);
    below + u64::from(is_whole)
}

fn dive_plainly(frames: u64) -> u64 {
    dive(frames, dive_plainly)
}

fn dive_by_segments(frames: u64) -> u64 {
    gort::grow(|| dive(frames, dive_by_segments))
}

/// The goroutine: down, up, and then it stays.
fn go_down_and_stay(road: fn(u64) -> u64) -> u64 {
    let whole = road(FRAMES);
    // Release and Acquire: pair with those of `take_the_road`.
    IS_UP.store(true, Ordering::Release);
    while !MAY_GO.load(Ordering::Acquire) {
        gort::park();
    }
    whole
}

/// Prints what happens on one road. False if the memory does not come back.
fn take_the_road(name: &str, diver: gort::Builder, road: fn(u64) -> u64, first: u64) -> io::Result<bool> {
    IS_UP.store(false, Ordering::Relaxed);
    MAY_GO.store(false, Ordering::Relaxed);
    println!("{name}:");
    println!("  {:>6} MiB resident before", resident_bytes() >> 20);

    let diver = diver.spawn(move || go_down_and_stay(road))?;
    while !IS_UP.load(Ordering::Acquire) {
        gort::sleep(Duration::from_millis(1));
    }
    let deepest = AT_DEPTH_BYTES.load(Ordering::Relaxed);
    println!("  {:>6} MiB at depth, after {FRAMES} frames of {FRAME_BYTES} bytes", deepest >> 20);
    assert!(deepest >= DEPTH_BYTES, "the frames were resident");

    let start = Instant::now();
    while resident_bytes() > first + MAY_STAY_BYTES && start.elapsed() < WATCHDOG {
        gort::sleep(Duration::from_millis(20));
    }
    let (resident, seconds) = (resident_bytes(), start.elapsed().as_secs_f64());
    let has_come_back = resident <= first + MAY_STAY_BYTES;
    println!("  {:>6} MiB {seconds:.1} s later, the goroutine parked in its first frame", resident >> 20);

    MAY_GO.store(true, Ordering::Release);
    diver.goroutine().unpark();
    let whole = diver.join().expect("it does not panic");
    assert_eq!(whole, FRAMES, "every frame was found as it was left");
    println!("  every frame was whole on the way back");
    Ok(has_come_back)
}

#[gort::main]
fn main() -> io::Result<ExitCode> {
    let [] = arguments::numbers(USAGE, 0..=0);
    let first = resident_bytes();

    let reserved = gort::Builder::new().stack_size(128 << 20);
    let by_reservation = take_the_road("by reservation", reserved, dive_plainly, first)?;
    let by_segments = take_the_road("by segments", gort::Builder::new(), dive_by_segments, first)?;
    if by_reservation && by_segments {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: the memory has not come back to within {} MiB of the first", MAY_STAY_BYTES >> 20);
    Ok(ExitCode::FAILURE)
}
