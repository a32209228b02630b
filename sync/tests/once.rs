//! `Once`, `OnceLock`, `LazyLock`: what runs once runs once, whoever comes, and a panic is dealt with as std
//! does.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fixture::{at_1_2_4, everywhere, panic_message, until};
use gort_runtime::{scope, spawn, yield_now};
use gort_sync::{LazyLock, Mutex, Once, OnceLock};

fn panics(f: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

#[test]
fn a_once_runs_once_and_all_see_its_end() {
    everywhere(|_| {
        let (once, runs) = (Once::new(), AtomicUsize::new(0));
        scope(|s| {
            for _ in 0..20 {
                s.spawn(|| {
                    once.call_once(|| {
                        (0..5).for_each(|_| yield_now());
                        runs.fetch_add(1, Ordering::Relaxed);
                    });
                    assert_eq!(runs.load(Ordering::Relaxed), 1, "returned before the end of the run");
                    assert!(once.is_completed());
                });
            }
        });
        // It counts calls of its own, not closures.
        once.call_once(|| unreachable!("it has run"));
    });
}

#[test]
fn a_once_whose_closure_panicked_is_poisoned() {
    everywhere(|_| {
        let once = Once::new();
        assert!(panics(|| once.call_once(|| resume_unwind(Box::new(())))));
        assert!(!once.is_completed());
        assert!(
            panic_message(|| once.call_once(|| unreachable!())).contains("Once whose closure has panicked")
        );
        assert!(panics(|| once.wait()));
        once.call_once_force(|state| assert!(state.is_poisoned()));
        assert!(once.is_completed());
        once.call_once(|| unreachable!());
        once.call_once_force(|_| unreachable!());
        let fresh = Once::new();
        fresh.call_once_force(|state| assert!(!state.is_poisoned()));
    });
}

#[test]
fn those_who_wait_for_a_run_that_panics_panic_too() {
    everywhere(|_| {
        let once = Once::new();
        let (begun, go_on) = (AtomicUsize::new(0), AtomicUsize::new(0));
        scope(|s| {
            let runner = s.spawn(|| {
                once.call_once(|| {
                    begun.store(1, Ordering::SeqCst);
                    until(|| go_on.load(Ordering::SeqCst) == 1);
                    resume_unwind(Box::new(()));
                });
            });
            until(|| begun.load(Ordering::SeqCst) == 1);
            let others: Vec<_> = (0..3).map(|_| s.spawn(|| panics(|| once.call_once(|| ())))).collect();
            (0..5).for_each(|_| yield_now());
            go_on.store(1, Ordering::SeqCst);
            runner.join().unwrap_err();
            others.into_iter().for_each(|other| assert!(other.join().unwrap()));
            let repaired = s.spawn(|| once.call_once_force(|state| assert!(state.is_poisoned())));
            repaired.join().unwrap();
            assert!(once.is_completed());
        });
    });
}

#[test]
fn a_once_lock_is_set_once() {
    everywhere(|_| {
        let lock = OnceLock::new();
        assert_eq!(lock.get(), None);
        scope(|s| {
            let children: Vec<_> = (0..20)
                .map(|n| {
                    let lock = &lock;
                    s.spawn(move || {
                        *lock.get_or_init(|| {
                            yield_now();
                            n
                        })
                    })
                })
                .collect();
            let seen: Vec<_> = children.into_iter().map(|child| child.join().unwrap()).collect();
            assert!(seen.iter().all(|n| *n == seen[0]));
        });
        assert_eq!(lock.set(99), Err(99));
        assert_ne!(lock.get(), Some(&99));
    });
}

#[test]
fn after_a_panic_a_once_lock_tries_again() {
    everywhere(|_| {
        let lock = OnceLock::new();
        assert!(panics(|| _ = lock.get_or_init(|| resume_unwind(Box::new(())))));
        assert_eq!(lock.get(), None);
        assert_eq!(*lock.get_or_init(|| 5), 5);
        // Also those who wait already.
        let (lock, tries) = (OnceLock::new(), AtomicUsize::new(0));
        scope(|s| {
            let children: Vec<_> = (0..4)
                .map(|_| {
                    s.spawn(|| {
                        *lock.get_or_init(|| {
                            let first = tries.fetch_add(1, Ordering::SeqCst) == 0;
                            (0..5).for_each(|_| yield_now());
                            if first {
                                resume_unwind(Box::new(()));
                            }
                            8
                        })
                    })
                })
                .collect();
            let results: Vec<_> = children.into_iter().map(|child| child.join().ok()).collect();
            assert_eq!(results.iter().filter(|result| **result == Some(8)).count(), 3);
        });
        assert_eq!(tries.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn wait_ends_when_somebody_sets_the_value() {
    everywhere(|_| {
        let (lock, once) = (OnceLock::new(), Once::new());
        scope(|s| {
            let waiter = s.spawn(|| *lock.wait());
            let other = s.spawn(|| once.wait());
            (0..3).for_each(|_| yield_now());
            assert!(!waiter.is_finished() && !other.is_finished());
            assert!(panics(|| _ = lock.get_or_init(|| resume_unwind(Box::new(())))));
            lock.set(4).unwrap();
            once.call_once(|| ());
            assert_eq!(waiter.join().unwrap(), 4);
            other.join().unwrap();
            assert_eq!(*lock.wait(), 4);
        });
    });
}

#[test]
fn what_a_once_lock_is_made_of() {
    let mut lock = OnceLock::from(1);
    *lock.get_mut().unwrap() += 1;
    assert_eq!(lock.clone(), lock);
    assert_eq!(format!("{lock:?} {:?}", OnceLock::<u8>::default()), "OnceLock(2) OnceLock(<empty>)");
    assert_eq!(lock.take(), Some(2));
    assert_eq!(lock.get(), None);
    assert_eq!(lock.set(3), Ok(()));
    assert_eq!(lock.into_inner(), Some(3));
    // A value is dropped once.
    let value = Arc::new(());
    let lock = OnceLock::from(Arc::clone(&value));
    lock.set(Arc::clone(&value)).unwrap_err();
    assert_eq!(Arc::strong_count(&value), 2);
    drop(lock);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_lazy_lock_is_made_once_when_somebody_looks() {
    everywhere(|_| {
        let runs = AtomicUsize::new(0);
        let lazy = LazyLock::new(|| {
            runs.fetch_add(1, Ordering::SeqCst);
            yield_now();
            vec![1, 2]
        });
        assert_eq!(format!("{lazy:?}"), "LazyLock(<not made>)");
        assert_eq!(runs.load(Ordering::SeqCst), 0);
        scope(|s| {
            for _ in 0..10 {
                s.spawn(|| assert_eq!(lazy.len(), 2));
            }
        });
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert_eq!(format!("{lazy:?}"), "LazyLock([1, 2])");
    });
}

#[test]
fn lazy_locks_are_made_after_those_that_they_need() {
    everywhere(|_| {
        let order = Mutex::new(Vec::new());
        let made = |name: &'static str| {
            yield_now();
            order.lock().push(name);
            name
        };
        let logging = LazyLock::new(|| made("logging"));
        let config = LazyLock::new(|| made(if logging.is_empty() { "unlogged config" } else { "config" }));
        let server = LazyLock::new(|| {
            assert_eq!(*config, "config");
            made("server")
        });
        scope(|s| {
            for n in 0..9 {
                let (logging, config, server) = (&logging, &config, &server);
                s.spawn(move || match n % 3 {
                    0 => assert_eq!(**server, "server"),
                    1 => assert_eq!(**config, "config"),
                    _ => assert_eq!(**logging, "logging"),
                });
            }
        });
        assert_eq!(order.into_inner(), ["logging", "config", "server"]);
    });
}

#[test]
fn a_lazy_lock_whose_closure_panicked_stays_broken() {
    let lazy: LazyLock<u8, _> = LazyLock::new(|| resume_unwind(Box::new(())));
    assert!(panics(|| _ = *lazy));
    assert!(panic_message(|| *lazy).contains("LazyLock whose closure has panicked"));
    assert_eq!(*LazyLock::<u8>::default(), 0);
}

#[test]
fn stress_one_of_many_makes_the_value() {
    at_1_2_4(|_| {
        for round in 0..200 {
            let (lock, runs) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
            let work = || {
                let (lock, runs) = (Arc::clone(&lock), Arc::clone(&runs));
                move || {
                    *lock.get_or_init(|| {
                        if round % 2 == 0 {
                            yield_now();
                        }
                        runs.fetch_add(1, Ordering::SeqCst)
                    })
                }
            };
            let helper = (round % 50 == 0).then(|| thread::spawn(work()));
            let children: Vec<_> = (0..5).map(|_| spawn(work())).collect();
            children.into_iter().for_each(|child| assert_eq!(child.join().unwrap(), 0));
            if let Some(helper) = helper {
                until(|| helper.is_finished());
                assert_eq!(helper.join().unwrap(), 0);
            }
            assert_eq!(runs.load(Ordering::SeqCst), 1);
        }
    });
}
