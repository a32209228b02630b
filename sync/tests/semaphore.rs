//! `Semaphore`: never more permits out than there are, first come first served, none lost when a waiter
//! gives up.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{at_1_2_4, everywhere, panic_message, until};
use gort_runtime::{scope, spawn, yield_now};
use gort_sync::{Mutex, Semaphore};

const HOUR: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(2);

/// How many permits are out, against how many there are.
struct Out {
    now: AtomicUsize,
    most: usize,
}

impl Out {
    fn visit(&self, n: usize, meanwhile: impl FnOnce()) {
        assert!(self.now.fetch_add(n, Ordering::SeqCst) + n <= self.most, "more than there are");
        meanwhile();
        self.now.fetch_sub(n, Ordering::SeqCst);
    }
}

#[test]
fn no_more_permits_are_out_than_there_are() {
    everywhere(|setting| {
        let (semaphore, out) = (Semaphore::new(3), Out { now: AtomicUsize::new(0), most: 3 });
        scope(|s| {
            for n in 0..8 {
                let (semaphore, out) = (&semaphore, &out);
                let mut rng = setting.rng(n);
                s.spawn(move || {
                    for _ in 0..150 {
                        let n = 1 + rng.below(3) as usize;
                        let permit = semaphore.acquire_many(n);
                        assert_eq!(permit.count(), n);
                        out.visit(n, || {
                            if rng.below(3) == 0 {
                                yield_now();
                            }
                        });
                    }
                });
            }
        });
        assert_eq!(semaphore.available_permits(), 3);
    });
}

#[test]
fn the_tries_never_wait() {
    everywhere(|_| {
        let semaphore = Semaphore::new(2);
        let one = semaphore.try_acquire().expect("there are two");
        assert!(semaphore.try_acquire_many(2).is_none());
        let other = semaphore.try_acquire_many(1).expect("there is one left");
        assert!(semaphore.try_acquire().is_none());
        assert_eq!(semaphore.available_permits(), 0);
        drop((one, other));
        assert!(semaphore.try_acquire_many(2).is_some());
    });
}

#[test]
fn waiters_are_served_in_the_order_of_their_arrival() {
    at_1_2_4(|_| {
        // Each waiter is started by the one before it, out of the wait that shows that it stands in the list:
        // a permit is there, but one who tries is refused.
        let (semaphore, order) = (Semaphore::new(1), Mutex::new(Vec::new()));
        scope(|s| {
            let (semaphore, order) = (&semaphore, &order);
            let serve = move |place: usize, n: usize| {
                move || {
                    semaphore.acquire_many(n).forget();
                    order.lock().push(place);
                }
            };
            s.spawn(serve(0, 2));
            until(|| semaphore.try_acquire_many(1).map(drop).is_none());
            s.spawn(serve(1, 1));
            s.spawn(serve(2, 1));
            (0..10).for_each(|_| yield_now());
            assert!(order.lock().is_empty(), "the first one wants more than there is");
            semaphore.add_permits(1);
            until(|| order.lock().len() == 1);
            assert_eq!(*order.lock(), [0]);
            semaphore.add_permits(2);
        });
        assert_eq!(order.into_inner()[0], 0);
        assert_eq!(semaphore.available_permits(), 0);
    });
}

#[test]
fn a_big_request_is_not_starved_by_small_ones() {
    at_1_2_4(|_| {
        let semaphore = Semaphore::new(4);
        let held = semaphore.acquire_many(2);
        scope(|s| {
            let big = s.spawn(|| semaphore.acquire_many(4).count());
            // It stands in the list when a small one, for which there is enough, is refused.
            until(|| semaphore.try_acquire().is_none());
            let small = s.spawn(|| semaphore.acquire().count());
            (0..10).for_each(|_| yield_now());
            assert!(!big.is_finished() && !small.is_finished());
            assert_eq!(semaphore.available_permits(), 2);
            drop(held);
            assert_eq!((big.join().unwrap(), small.join().unwrap()), (4, 1));
        });
        assert_eq!(semaphore.available_permits(), 4);
    });
}

/// The permit goes to who waits, not to who gives it back and takes one at once.
#[test]
fn a_permit_is_handed_to_who_waits() {
    at_1_2_4(|_| {
        for _ in 0..200 {
            // Two, of which the waiter wants both: that it waits is seen by the other one's being refused.
            let semaphore = Semaphore::new(2);
            let permit = semaphore.acquire();
            let served = AtomicUsize::new(0);
            scope(|s| {
                let waiter = s.spawn(|| {
                    let _permits = semaphore.acquire_many(2);
                    served.store(1, Ordering::SeqCst);
                });
                until(|| semaphore.try_acquire().map(drop).is_none());
                drop(permit);
                assert!(semaphore.try_acquire().is_none() || served.load(Ordering::SeqCst) == 1);
                let _again = semaphore.acquire();
                assert_eq!(served.load(Ordering::SeqCst), 1, "overtaken");
                waiter.join().unwrap();
            });
        }
    });
}

#[test]
fn who_gives_up_lets_those_behind_through() {
    at_1_2_4(|_| {
        let semaphore = Semaphore::new(1);
        scope(|s| {
            let big = s.spawn(|| semaphore.acquire_many_timeout(2, SHORT).is_none());
            let small = s.spawn(|| semaphore.acquire().count());
            assert!(big.join().unwrap());
            assert_eq!(small.join().unwrap(), 1);
        });
        assert!(semaphore.try_acquire().is_some(), "nobody is in the list");
    });
}

#[test]
fn timeouts_end_by_time_or_by_a_permit() {
    everywhere(|_| {
        let semaphore = Semaphore::new(0);
        let start = Instant::now();
        assert!(semaphore.acquire_timeout(SHORT).is_none());
        assert!(start.elapsed() >= SHORT);
        scope(|s| {
            let patient = s.spawn(|| semaphore.acquire_timeout(HOUR).is_some());
            let forever = s.spawn(|| semaphore.acquire_many_timeout(1, Duration::MAX).is_some());
            yield_now();
            semaphore.add_permits(1);
            assert!(patient.join().unwrap());
            assert!(forever.join().unwrap());
        });
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn numbers_at_the_edges() {
    let semaphore = Semaphore::new(0);
    assert_eq!(semaphore.acquire_many(0).count(), 0);
    assert!(semaphore.try_acquire_many(0).is_some());
    assert!(semaphore.try_acquire().is_none());
    semaphore.add_permits(0);
    semaphore.add_permits(Semaphore::MAX_PERMITS);
    let too_many = "cannot have so many permits";
    assert!(panic_message(|| semaphore.add_permits(1)).contains(too_many));
    assert!(panic_message(|| semaphore.add_permits(usize::MAX)).contains(too_many));
    assert_eq!(semaphore.available_permits(), Semaphore::MAX_PERMITS);
    assert_eq!(semaphore.acquire_many(Semaphore::MAX_PERMITS).count(), Semaphore::MAX_PERMITS);
    let more = Semaphore::MAX_PERMITS + 1;
    assert!(panic_message(|| _ = Semaphore::new(more)).contains(too_many));
    assert!(panic_message(|| _ = semaphore.acquire_many(more).count()).contains(too_many));
    assert!(panic_message(|| _ = semaphore.try_acquire_many(more).is_some()).contains(too_many));
}

#[test]
fn forgotten_permits_are_gone_and_panics_give_theirs_back() {
    everywhere(|_| {
        let semaphore = Semaphore::new(3);
        semaphore.acquire_many(2).forget();
        assert_eq!(semaphore.available_permits(), 1);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _permit = semaphore.acquire();
            resume_unwind(Box::new(()));
        }));
        assert!(caught.is_err());
        assert_eq!(format!("{semaphore:?}"), "Semaphore { available: 1, .. }");
    });
}

/// Permits that race with deadlines stay with one of the two.
#[test]
fn stress_acquire_in_every_way() {
    at_1_2_4(|setting| {
        let semaphore = Arc::new(Semaphore::new(4));
        let out = Arc::new(Out { now: AtomicUsize::new(0), most: 4 });
        let work = |salt: u64| {
            let (semaphore, out) = (Arc::clone(&semaphore), Arc::clone(&out));
            let mut rng = setting.rng(salt);
            move || {
                for _ in 0..600 {
                    let n = 1 + rng.below(4) as usize;
                    let permit = match rng.below(6) {
                        0 => semaphore.try_acquire_many(n),
                        1..=3 => semaphore.acquire_many_timeout(n, Duration::from_micros(rng.below(60))),
                        _ => Some(semaphore.acquire_many(n)),
                    };
                    let Some(_permit) = permit else { continue };
                    out.visit(n, || {
                        if rng.below(4) == 0 {
                            yield_now();
                        }
                    });
                }
            }
        };
        let threads: Vec<_> = (0..2).map(|n| thread::spawn(work(100 + n))).collect();
        let children: Vec<_> = (0..8).map(|n| spawn(work(n))).collect();
        children.into_iter().for_each(|child| child.join().unwrap());
        until(|| threads.iter().all(thread::JoinHandle::is_finished));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(semaphore.try_acquire_many(4).is_some(), "all are back, and nobody is in the list");
    });
}
