//! A join allocates nothing, whoever runs its branches: not on the goroutine, nor where a branch is taken.
#![cfg(test)]

mod fixture;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fixture::{MODES, Setting};
use gort_runtime::{__private, join, yield_now};

/// `System`, and counts what workers ask for while armed. (The creator may make a thread meanwhile.)
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

static ARMED: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to `System`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ARMED.load(Ordering::Relaxed) && __private::on_worker() {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

/// fib by joins; each fifth leaf yields, so that all forks are offered and some are taken.
fn fib(n: u64, yields: bool) -> u64 {
    if n < 2 {
        if yields {
            yield_now();
        }
        return n;
    }
    let (left, right) = join(move || fib(n - 1, yields), move || fib(n - 2, yields && n.is_multiple_of(5)));
    left + right
}

fn count(body: impl FnOnce()) -> usize {
    COUNT.store(0, Ordering::SeqCst);
    ARMED.store(true, Ordering::SeqCst);
    body();
    ARMED.store(false, Ordering::SeqCst);
    COUNT.load(Ordering::SeqCst)
}

/// One test: nothing else may allocate beside it.
#[test]
fn a_join_allocates_nothing() {
    for mode in MODES {
        for procs in [1, 2] {
            let runtime = Setting::new(procs, mode).build();
            // The first round may make threads.
            runtime.run(|| fib(18, true));
            let counted = runtime.run(|| {
                count(|| {
                    assert_eq!(fib(18, false), 2584);
                    assert_eq!(fib(16, true), 987);
                })
            });
            assert_eq!(counted, 0, "{mode:?} at {procs} processors");
            let control = runtime.run(|| count(|| drop(std::hint::black_box(Box::new(1)))));
            assert_eq!(control, 1, "it does count");
            assert!(runtime.shutdown_timeout(std::time::Duration::from_secs(60)));
        }
    }
}
