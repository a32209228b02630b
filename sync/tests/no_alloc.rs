//! Sending, receiving and selecting allocate nothing, whether they wait or not.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use fixture::{MODES, Setting, tid};
use gort_runtime::{scope, yield_now};
use gort_sync::{chan, select};

/// The system's allocator, which counts what one thread does.
struct Counting;

/// That thread; 0: none.
static WATCHED: AtomicI64 = AtomicI64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let watched = WATCHED.load(Ordering::Relaxed);
        if watched != 0 && watched == tid() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test, for the count is the process's.
#[test]
fn operations_that_wait_and_selects_allocate_nothing() {
    const ROUNDS: u64 = 10_000;
    for mode in MODES {
        Setting::new(1, mode).check(|| {
            let channels: [_; 3] = [0, 1, 5].map(chan::bounded::<u64>);
            let (unbounded_tx, unbounded) = chan::unbounded();
            unbounded_tx.send(0).unwrap();
            let [(tx0, rx0), (tx1, rx1), (tx2, rx2)] = &channels;
            scope(|s| {
                s.spawn(|| {
                    // What is made once is made: now it is counted.
                    rx0.recv().unwrap();
                    WATCHED.store(tid(), Ordering::Relaxed);
                    for n in 0..ROUNDS {
                        match n % 3 {
                            0 => _ = rx0.recv().unwrap(),
                            1 => _ = rx1.recv().unwrap(),
                            _ => select! {
                                recv(rx0) -> value => _ = value.unwrap(),
                                recv(rx2) -> value => _ = value.unwrap(),
                                recv(rx1) -> value => _ = value.unwrap(),
                            },
                        }
                        unbounded_tx.send(n).unwrap();
                        unbounded.recv().unwrap();
                    }
                    WATCHED.store(0, Ordering::Relaxed);
                    channels.iter().for_each(|(tx, _)| assert!(tx.close()));
                });
                s.spawn(|| {
                    for n in 0.. {
                        let open = select! {
                            send(tx0, n) -> result => result.is_ok(),
                            send(tx1, n) -> result => result.is_ok(),
                            send(tx2, n) -> result => result.is_ok(),
                        };
                        if !open {
                            return;
                        }
                        if n % 7 == 0 {
                            yield_now();
                        }
                    }
                });
            });
            assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), 0);
        });
    }
}
