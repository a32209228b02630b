//! crossbeam-epoch beneath goroutines: what they defer runs once, on a goroutine's stack, never on a
//! scheduler's, where stealing would run it if it pinned an epoch.
#![cfg(test)]

mod fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fixture::{at, until};
use gort_runtime::__private::on_scheduler_stack;
use gort_runtime::{scope, spawn, yield_now};

/// What is deferred: its destructor allocates, frees and counts.
struct Garbage {
    text: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    dropped: AtomicUsize,
    on_scheduler: AtomicUsize,
    length: AtomicUsize,
}

impl Garbage {
    fn new(n: usize, counts: &Arc<Counts>) -> Self {
        counts.made.fetch_add(1, Ordering::Relaxed);
        Garbage { text: format!("garbage {n}"), counts: Arc::clone(counts) }
    }
}

impl Drop for Garbage {
    fn drop(&mut self) {
        let copy = std::hint::black_box(vec![self.text.clone(); 3]).concat();
        self.counts.length.fetch_add(copy.len() / 3, Ordering::Relaxed);
        if on_scheduler_stack() {
            self.counts.on_scheduler.fetch_add(1, Ordering::Relaxed);
        }
        // Last: who sees the count sees the rest.
        self.counts.dropped.fetch_add(1, Ordering::Release);
    }
}

/// Defers `count` pieces of garbage, within one pin: nothing suspends in here. Flushed, so that it does
/// not stay with this thread.
#[inline(never)]
fn defer(count: usize, counts: &Arc<Counts>) {
    let guard = crossbeam_epoch::pin();
    for n in 0..count {
        let garbage = Garbage::new(n, counts);
        guard.defer(move || drop(garbage));
    }
    guard.flush();
}

/// Lets some of it run.
#[inline(never)]
fn collect() {
    crossbeam_epoch::pin().flush();
}

/// The pin belongs to the thread: it is there, and gone, between two suspensions.
#[test]
fn deferred_destructors_run_once_and_on_no_scheduler_stack() {
    at(&[1, 2, 4], |setting| {
        let counts = Arc::new(Counts::default());
        let mut rng = setting.rng(3);
        for round in 0..40 {
            let handles: Vec<_> = (0..50)
                .map(|_| {
                    let counts = Arc::clone(&counts);
                    let (first, second) = (rng.below(6) as usize, rng.below(6) as usize);
                    spawn(move || {
                        defer(first, &counts);
                        yield_now();
                        defer(second, &counts);
                    })
                })
                .collect();
            if round % 2 == 0 {
                handles.into_iter().for_each(|handle| handle.join().unwrap());
            }
        }
        let all_dropped = || counts.dropped.load(Ordering::Acquire) == counts.made.load(Ordering::Relaxed);
        until(|| {
            collect();
            gort_runtime::num_goroutines() == 1 && all_dropped()
        });
        // Once more: nothing may run twice.
        (0..10).for_each(|_| collect());
        assert!(counts.made.load(Ordering::Relaxed) > 4_000 && all_dropped());
        assert_eq!(counts.length.load(Ordering::Relaxed), 9 * counts.made.load(Ordering::Relaxed));
        assert_eq!(counts.on_scheduler.load(Ordering::Relaxed), 0);
    });
}

/// Pins while others are pinned: the epoch advances although goroutines come and go on every thread.
#[test]
fn pinned_readers_see_what_is_not_freed() {
    use crossbeam_epoch::{Atomic, Owned};

    #[inline(never)]
    fn read(place: &Atomic<[u64; 8]>) -> u64 {
        let guard = crossbeam_epoch::pin();
        let shared = place.load(Ordering::Acquire, &guard);
        // SAFETY: never null; what is replaced is freed no sooner than all who are pinned now have left.
        let values = unsafe { shared.deref() };
        assert!(values.iter().all(|value| *value == values[0]), "a freed block: {values:?}");
        values[0]
    }

    #[inline(never)]
    fn replace(place: &Atomic<[u64; 8]>, value: u64) {
        let guard = crossbeam_epoch::pin();
        let before = place.swap(Owned::new([value; 8]), Ordering::AcqRel, &guard);
        // SAFETY: it is reachable no more, and swapped out once.
        unsafe { guard.defer_destroy(before) };
    }

    at(&[1, 2, 4], |_| {
        let place = Atomic::new([0_u64; 8]);
        let reads = AtomicUsize::new(0);
        scope(|s| {
            for writer in 0..4_u64 {
                let place = &place;
                s.spawn(move || {
                    for n in 0..200 {
                        replace(place, writer * 1_000 + n);
                        yield_now();
                    }
                });
            }
            for _ in 0..8 {
                s.spawn(|| {
                    for _ in 0..200 {
                        assert!(read(&place) < 4_000);
                        reads.fetch_add(1, Ordering::Relaxed);
                        yield_now();
                    }
                });
            }
        });
        assert_eq!(reads.into_inner(), 8 * 200);
        // SAFETY: nobody else has it any more.
        drop(unsafe { place.into_owned() });
    });
}
