//! `Mutex`: one at a time, in every mix of goroutines and threads; nobody starves; nothing is lost when a
//! waiter gives up.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{Setting, at_1_2_4, everywhere, until};
use gort_runtime::{scope, sleep, spawn, yield_now};
use gort_sync::{Mutex, MutexGuard};

const HOUR: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(2);

/// Says if two are inside at the same time. Not by the mutex that is tested.
#[derive(Default)]
struct Inside(AtomicUsize);

impl Inside {
    fn visit(&self, meanwhile: impl FnOnce()) {
        assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0, "two inside");
        meanwhile();
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn a_mutex_lets_one_in_at_a_time() {
    everywhere(|_| {
        let (mutex, inside) = (Mutex::new(0), Inside::default());
        scope(|s| {
            for n in 0..10 {
                let (mutex, inside) = (&mutex, &inside);
                s.spawn(move || {
                    for i in 0..300 {
                        if i % 3 == 0 {
                            if let Some(mut sum) = mutex.try_lock() {
                                inside.visit(|| *sum += 1);
                                drop(sum);
                            } else {
                                inside.visit_under(mutex);
                            }
                        } else {
                            inside.visit_under(mutex);
                        }
                        if (i + n) % 7 == 0 {
                            yield_now();
                        }
                    }
                });
            }
        });
        assert_eq!(mutex.into_inner(), 3_000);
    });
}

impl Inside {
    fn visit_under(&self, mutex: &Mutex<i32>) {
        let mut sum = mutex.lock();
        self.visit(|| {
            if *sum % 5 == 0 {
                yield_now();
            }
            *sum += 1;
        });
    }
}

#[test]
fn try_lock_never_waits() {
    everywhere(|_| {
        let mutex = Mutex::new(1);
        let guard = mutex.try_lock().expect("it is free");
        assert!(mutex.try_lock().is_none());
        scope(|s| assert!(s.spawn(|| mutex.try_lock().is_none()).join().unwrap()));
        drop(guard);
        assert_eq!(*mutex.try_lock().expect("it is free again"), 1);
    });
}

#[test]
fn the_nth_unlock_comes_before_the_next_lock() {
    everywhere(|_| {
        // Plain data that only the mutex orders.
        let mutex = Arc::new(Mutex::new((0_u64, [0_u64; 16])));
        let guard = mutex.lock();
        let children: Vec<_> = (0..8)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                spawn(move || {
                    for _ in 0..100 {
                        let mut data = mutex.lock();
                        let n = data.0;
                        assert_eq!(data.1, [n; 16]);
                        *data = (n + 1, [n + 1; 16]);
                    }
                })
            })
            .collect();
        yield_now();
        drop(guard);
        children.into_iter().for_each(|child| child.join().unwrap());
        assert_eq!(mutex.lock().0, 800);
    });
}

#[test]
fn a_guard_may_be_dropped_by_another_goroutine() {
    static MUTEX: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    at_1_2_4(|_| {
        MUTEX.lock().clear();
        for n in 0..100 {
            let guard = MUTEX.lock();
            assert!(MUTEX.try_lock().is_none());
            spawn(move || {
                let mut guard = guard;
                guard.push(n);
            })
            .join()
            .unwrap();
            assert_eq!(MUTEX.lock().len() as u32, n + 1);
        }
        // And by a thread, which wakes a goroutine that waits.
        let guard = MUTEX.lock();
        let waiter = spawn(|| MUTEX.lock().len());
        yield_now();
        thread::spawn(move || drop(guard));
        assert_eq!(waiter.join().unwrap(), 100);
    });
}

#[test]
fn a_panic_frees_what_it_holds_and_poisons_nothing() {
    everywhere(|_| {
        let mutex = Mutex::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let mut guard = mutex.lock();
            *guard = 7;
            resume_unwind(Box::new(()));
        }));
        assert!(caught.is_err());
        assert_eq!(*mutex.lock(), 7);
        scope(|s| {
            let waits = Mutex::new(());
            let held = waits.lock();
            let failed = s.spawn(|| {
                let _guard = mutex.lock();
                resume_unwind(Box::new(()));
            });
            failed.join().unwrap_err();
            drop(held);
        });
        assert_eq!(*mutex.lock(), 7);
    });
}

#[test]
fn lock_timeout_ends_by_time_or_by_the_mutex() {
    everywhere(|_| {
        let mutex = Mutex::new(());
        let guard = mutex.lock();
        scope(|s| {
            let start = Instant::now();
            assert!(s.spawn(|| mutex.lock_timeout(SHORT).is_none()).join().unwrap());
            assert!(start.elapsed() >= SHORT);
            assert!(s.spawn(|| mutex.lock_timeout(Duration::ZERO).is_none()).join().unwrap());
            assert!(s.spawn(move || mutex_deadline_is_over(start)).join().unwrap());
            let patient = s.spawn(|| mutex.lock_timeout(HOUR).is_some());
            let forever = s.spawn(|| mutex.lock_timeout(Duration::MAX).is_some());
            yield_now();
            drop(guard);
            assert!(patient.join().unwrap());
            assert!(forever.join().unwrap());
        });
    });
}

fn mutex_deadline_is_over(past: Instant) -> bool {
    let mutex = Mutex::new(());
    let free = mutex.lock_deadline(past);
    assert!(free.is_some(), "a free mutex is taken, whatever the time");
    mutex.lock_deadline(past).is_none()
}

/// Those who give up, at the very moment in which they might be woken, lose no wake of the others.
#[test]
fn who_gives_up_loses_no_wake() {
    at_1_2_4(|setting| {
        let (mutex, inside, got) = (Mutex::new(()), Inside::default(), AtomicUsize::new(0));
        scope(|s| {
            for n in 0..6 {
                let mut rng = setting.rng(n);
                let (mutex, inside, got) = (&mutex, &inside, &got);
                s.spawn(move || {
                    for _ in 0..200 {
                        let timeout = Duration::from_micros(rng.below(60));
                        if let Some(guard) = mutex.lock_timeout(timeout) {
                            got.fetch_add(1, Ordering::Relaxed);
                            inside.visit(|| {
                                if rng.below(4) == 0 {
                                    yield_now();
                                }
                            });
                            drop(guard);
                        }
                    }
                });
            }
            // This one has no deadline, and would hang if a wake went to one who has left.
            s.spawn(|| {
                for _ in 0..200 {
                    let guard = mutex.lock();
                    inside.visit(yield_now);
                    drop(guard);
                    yield_now();
                }
            });
        });
        assert!(got.load(Ordering::Relaxed) > 0);
        assert!(mutex.try_lock().is_some());
    });
}

/// One keeps the mutex nearly always, and takes it again as soon as it has given it back.
#[test]
fn who_waits_long_is_handed_the_mutex() {
    at_1_2_4(|_| {
        let (mutex, stop) = (Mutex::new(()), AtomicBool::new(false));
        scope(|s| {
            let hog = s.spawn(|| {
                let mut turns = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let guard = mutex.lock();
                    // The other one is woken meanwhile, and finds the mutex taken.
                    sleep(Duration::from_micros(300));
                    drop(guard);
                    turns += 1;
                }
                turns
            });
            for _ in 0..20 {
                drop(mutex.lock());
                sleep(Duration::from_micros(100));
            }
            stop.store(true, Ordering::Relaxed);
            assert!(hog.join().unwrap() > 0);
        });
    });
}

/// The same where the hog does not even let the other one run in between, but for the time in which it holds
/// the mutex: only a hand-over helps.
#[test]
fn barging_ends_when_somebody_starves() {
    at_1_2_4(|_| {
        let (mutex, stop) = (Mutex::new(()), AtomicBool::new(false));
        scope(|s| {
            let hog = s.spawn(|| {
                let mut guard = mutex.lock();
                while !stop.load(Ordering::Relaxed) {
                    yield_now();
                    drop(guard);
                    guard = mutex.lock();
                }
            });
            for _ in 0..3 {
                drop(mutex.lock());
            }
            stop.store(true, Ordering::Relaxed);
            hog.join().unwrap();
        });
    });
}

/// One holds it long and pauses shortly, the other one the other way round: both get on.
#[test]
fn a_long_and_a_short_holder_both_get_their_turns() {
    at_1_2_4(|_| {
        let mutex = Mutex::new(());
        let (long, short) = (Duration::from_millis(2), Duration::from_micros(10));
        let worker = |hold, pause| {
            for _ in 0..10 {
                let guard = mutex.lock();
                sleep(hold);
                drop(guard);
                sleep(pause);
            }
        };
        scope(|s| {
            s.spawn(move || worker(long, short));
            s.spawn(move || worker(short, long));
        });
    });
}

#[test]
fn goroutines_and_threads_share_a_mutex() {
    at_1_2_4(|_| {
        let mutex = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                thread::spawn(move || (0..500).for_each(|_| *mutex.lock() += 1))
            })
            .collect();
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    for _ in 0..500 {
                        let mut sum = mutex.lock();
                        yield_now();
                        *sum += 1;
                    }
                });
            }
        });
        until(|| threads.iter().all(thread::JoinHandle::is_finished));
        assert_eq!(*mutex.lock(), 3_000);
    });
}

#[test]
fn what_a_mutex_is_made_of() {
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Sync>(_: &T) {}
    let mut mutex = Mutex::from(vec![1]);
    is_send(&mutex);
    is_sync(&mutex);
    mutex.get_mut().push(2);
    let guard: MutexGuard<'_, Vec<i32>> = mutex.lock();
    is_send(&guard);
    is_sync(&guard);
    assert_eq!(format!("{guard:?} {mutex:?}"), "[1, 2] Mutex { value: <locked>, .. }");
    drop(guard);
    assert_eq!(format!("{mutex:?}"), "Mutex { value: [1, 2], .. }");
    assert_eq!(mutex.into_inner(), [1, 2]);
    let unsized_value: Box<Mutex<[i32]>> = Box::new(Mutex::new([1, 2, 3]));
    unsized_value.lock()[0] = 4;
    assert_eq!(*unsized_value.lock(), [4, 2, 3]);
    assert_eq!(Mutex::<i32>::default().into_inner(), 0);
}

/// All ways to lock at once, in goroutines that move and threads that do not.
#[test]
fn stress_lock_in_every_way() {
    at_1_2_4(|setting: Setting| {
        let (mutex, inside) = (Arc::new(Mutex::new(0_usize)), Arc::new(Inside::default()));
        let total = Arc::new(AtomicUsize::new(0));
        let work = |salt: u64| {
            let (mutex, inside, total) = (Arc::clone(&mutex), Arc::clone(&inside), Arc::clone(&total));
            let mut rng = setting.rng(salt);
            move || {
                for _ in 0..1_000 {
                    let guard = match rng.below(8) {
                        0 => mutex.try_lock(),
                        1 | 2 => mutex.lock_timeout(Duration::from_micros(rng.below(100))),
                        _ => Some(mutex.lock()),
                    };
                    let Some(mut guard) = guard else { continue };
                    total.fetch_add(1, Ordering::Relaxed);
                    inside.visit(|| match rng.below(40) {
                        0 => sleep(Duration::from_micros(rng.below(50))),
                        1..=5 => yield_now(),
                        _ => {}
                    });
                    *guard += 1;
                }
            }
        };
        let threads: Vec<_> = (0..2).map(|n| thread::spawn(work(100 + n))).collect();
        let children: Vec<_> = (0..8).map(|n| spawn(work(n))).collect();
        children.into_iter().for_each(|child| child.join().unwrap());
        until(|| threads.iter().all(thread::JoinHandle::is_finished));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*mutex.lock(), total.load(Ordering::Relaxed));
    });
}
