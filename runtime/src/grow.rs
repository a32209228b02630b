//! F9. Deep recursion: further stack segments on demand.

use std::sync::atomic::Ordering;

use crate::coro;
use crate::g::GRef;
use crate::park;
use crate::stack::Segment;

/// With less stack left than this, `grow` switches to a new segment.
const RED_ZONE_BYTES: usize = 32 << 10;

/// What a panic hook and a report may use: std's reads debug information where RUST_BACKTRACE is set.
const ROOM_BYTES: usize = 128 << 10;

/// The first segment's size; each further one is twice as large, up to the largest.
const FIRST_SEGMENT_BYTES: usize = 1 << 20;
const LARGEST_SEGMENT_BYTES: usize = 64 << 20;

/// Runs `f` with at least 32 KiB of stack: on the goroutine's stack if so much is left there (a check of
/// under a nanosecond), else on a further segment, which is given back when `f` returns.
///
/// Put it around the call of a recursive function whose depth depends on its input. A stack that is
/// known to be deep is cheaper to reserve: [`Builder::stack_size`](crate::Builder::stack_size).
///
/// `f` may do everything that a goroutine may: suspend, panic, call `grow` again. On a thread that is no
/// goroutine `f` is simply called: its stack is the operating system's affair.
///
/// Without it, a stack that is too small is found out: the goroutine runs into the page below it, which
/// nobody may touch, and the process ends with status 2 and a report that names the goroutine.
///
/// # Panics
///
/// If there is no memory for a segment.
///
/// # Examples
///
/// ```
/// fn depth(n: u64) -> u64 {
///     if n == 0 { 0 } else { gort_runtime::grow(|| 1 + depth(n - 1)) }
/// }
/// // 100,000 frames on a stack of 256 KiB.
/// assert_eq!(gort_runtime::run(|| depth(100_000)), 100_000);
/// ```
#[inline]
pub fn grow<R>(f: impl FnOnce() -> R) -> R {
    match park::current_g() {
        Some(g) if left(g) < RED_ZONE_BYTES => on_segment(g, f),
        _ => f(),
    }
}

/// How much stack is left, where the goroutine runs now.
#[inline(always)]
fn left(g: GRef) -> usize {
    // Relaxed: the goroutine's own word. Wrapping: on a stack that is not ours (a C library's, say) it
    // is some large number, and `f` is called in place.
    coro::stack_pointer().wrapping_sub(g.stack_low.load(Ordering::Relaxed))
}

/// Runs `f`, which is large (it reads debug information, say): on a further segment, if little stack is left
/// and a segment can be had.
pub(crate) fn with_room<R>(f: impl FnOnce() -> R) -> R {
    match park::current_g() {
        Some(g) if left(g) < ROOM_BYTES => match Segment::alloc(next_size(g)) {
            Ok(segment) => run_on(segment, g, f),
            Err(_) => f(),
        },
        _ => f(),
    }
}

#[cold]
#[inline(never)]
fn on_segment<R>(g: GRef, f: impl FnOnce() -> R) -> R {
    let segment = Segment::alloc(next_size(g));
    let segment = segment.unwrap_or_else(|error| panic!("cannot grow a goroutine's stack: {error}"));
    run_on(segment, g, f)
}

/// How large the next segment shall be.
fn next_size(g: GRef) -> usize {
    let here = crate::stack::classify(g.stack_low.load(Ordering::Relaxed));
    let before = match here {
        Some(crate::stack::Where::Segment(segment)) => segment.size(),
        _ => 0,
    };
    (before * 2).clamp(FIRST_SEGMENT_BYTES, LARGEST_SEGMENT_BYTES)
}

/// Runs `f` on a fresh segment, and gives it back.
fn run_on<R>(segment: Segment, g: GRef, f: impl FnOnce() -> R) -> R {
    let low = g.stack_low.load(Ordering::Relaxed);
    let _restore = Restore { g, low, segment };
    g.stack_low.store(segment.low(), Ordering::Relaxed);
    // SAFETY: a fresh segment, ours until `_restore` is dropped; top is aligned to 128.
    unsafe { coro::on_stack(segment.low(), segment.top(), f) }
}

/// Gives the segment back, also when a panic comes through.
struct Restore {
    g: GRef,
    low: usize,
    segment: Segment,
}

impl Drop for Restore {
    fn drop(&mut self) {
        self.g.stack_low.store(self.low, Ordering::Relaxed);
        // SAFETY: we have returned from it, and nobody else knows it.
        unsafe { self.segment.free() };
    }
}
