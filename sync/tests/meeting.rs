//! `WaitGroup`, `Barrier`, `Event`: everybody who waits goes on when it is time, and not before.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::panic::{RefUnwindSafe, UnwindSafe, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{at_1_2_4, everywhere, until};
use gort_runtime::{scope, spawn, yield_now};
use gort_sync::{Barrier, Condvar, Event, LazyLock, Once, OnceLock, Semaphore, WaitGroup};

const HOUR: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(2);

/// Two groups as barriers, eight times over, as Go's test does.
#[test]
fn a_wait_group_can_be_used_again() {
    at_1_2_4(|_| {
        let (arrived, released) = (WaitGroup::new(), WaitGroup::new());
        for _ in 0..8 {
            let gone = Arc::new(AtomicUsize::new(0));
            let mut tokens: Vec<_> = (0..16).map(|_| arrived.add()).collect();
            let release = released.add();
            let children: Vec<_> = (0..16)
                .map(|_| {
                    let (released, gone) = (released.clone(), Arc::clone(&gone));
                    let token = tokens.pop().expect("one for each");
                    spawn(move || {
                        drop(token);
                        released.wait();
                        gone.fetch_add(1, Ordering::SeqCst);
                    })
                })
                .collect();
            arrived.wait();
            (0..3).for_each(|_| yield_now());
            assert_eq!(gone.load(Ordering::SeqCst), 0, "released too early");
            drop(release);
            children.into_iter().for_each(|child| child.join().unwrap());
        }
    });
}

#[test]
fn a_fresh_group_waits_for_nothing() {
    everywhere(|_| {
        WaitGroup::new().wait();
        assert!(WaitGroup::default().wait_timeout(Duration::ZERO));
    });
}

#[test]
fn wait_sees_what_was_done_before_the_tokens_were_dropped() {
    everywhere(|_| {
        for _ in 0..100 {
            let (group, sum) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
            for _ in 0..2 {
                let (token, sum) = (group.add(), Arc::clone(&sum));
                drop(spawn(move || {
                    sum.fetch_add(1, Ordering::Relaxed);
                    drop(token);
                }));
            }
            group.wait();
            assert_eq!(sum.load(Ordering::Relaxed), 2, "it waits for both");
        }
    });
}

#[test]
fn a_panic_drops_its_token() {
    everywhere(|_| {
        let group = WaitGroup::new();
        group.go(|| resume_unwind(Box::new(())));
        let token = group.add();
        let failed = spawn(move || {
            let _token = token;
            resume_unwind(Box::new(()));
        });
        group.wait();
        failed.join().unwrap_err();
        assert_eq!(format!("{group:?}"), "WaitGroup { tokens: 0, .. }");
    });
}

#[test]
fn waiting_for_a_group_can_time_out() {
    everywhere(|_| {
        let group = WaitGroup::new();
        let token = group.add();
        let start = Instant::now();
        assert!(!group.wait_timeout(SHORT));
        assert!(start.elapsed() >= SHORT);
        let waiters: Vec<_> = [HOUR, Duration::MAX]
            .map(|timeout| {
                let group = group.clone();
                spawn(move || group.wait_timeout(timeout))
            })
            .into();
        yield_now();
        drop(token);
        waiters.into_iter().for_each(|waiter| assert!(waiter.join().unwrap()));
    });
}

/// A waiter of one round must not be released by the end of an earlier one.
#[test]
fn stress_rounds_of_a_group_do_not_mix() {
    at_1_2_4(|_| {
        let (group, open) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
        let children: Vec<_> = (0..4)
            .map(|_| {
                let (group, open) = (group.clone(), Arc::clone(&open));
                spawn(move || {
                    for _ in 0..300 {
                        let seen = open.load(Ordering::SeqCst);
                        group.wait();
                        // If a round was open before the wait (an odd number), it has been ended.
                        assert!(
                            open.load(Ordering::SeqCst) >= seen + seen % 2,
                            "released by an earlier round"
                        );
                        yield_now();
                    }
                })
            })
            .collect();
        let driver = {
            let (group, open) = (group.clone(), Arc::clone(&open));
            thread::spawn(move || {
                for _ in 0..2_000 {
                    let token = group.add();
                    open.fetch_add(1, Ordering::SeqCst);
                    open.fetch_add(1, Ordering::SeqCst);
                    drop(token);
                }
            })
        };
        children.into_iter().for_each(|child| child.join().unwrap());
        until(|| driver.is_finished());
        group.wait();
    });
}

#[test]
fn all_meet_at_a_barrier_and_one_leads() {
    everywhere(|_| {
        const ROUNDS: usize = 20;
        let (barrier, arrived, leaders) = (Barrier::new(5), AtomicUsize::new(0), AtomicUsize::new(0));
        scope(|s| {
            for _ in 0..5 {
                s.spawn(|| {
                    for round in 1..=ROUNDS {
                        arrived.fetch_add(1, Ordering::Relaxed);
                        if barrier.wait().is_leader() {
                            leaders.fetch_add(1, Ordering::Relaxed);
                        }
                        assert!(
                            arrived.load(Ordering::Relaxed) >= 5 * round,
                            "went on before all were there"
                        );
                    }
                });
            }
        });
        assert_eq!(leaders.into_inner(), ROUNDS);
    });
}

#[test]
fn a_barrier_of_one_or_none_lets_everybody_lead() {
    for n in [0, 1] {
        let barrier = Barrier::new(n);
        assert!(barrier.wait().is_leader());
        assert!(barrier.wait().is_leader());
        assert_eq!(format!("{barrier:?}"), format!("Barrier {{ n: {n}, arrived: 0, .. }}"));
    }
}

#[test]
fn goroutines_and_threads_meet_at_a_barrier() {
    at_1_2_4(|_| {
        let (barrier, leaders) = (Arc::new(Barrier::new(4)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (barrier, leaders) = (Arc::clone(&barrier), Arc::clone(&leaders));
            move || {
                for _ in 0..50 {
                    leaders.fetch_add(usize::from(barrier.wait().is_leader()), Ordering::Relaxed);
                }
            }
        };
        let threads: Vec<_> = (0..2).map(|_| thread::spawn(work())).collect();
        let children: Vec<_> = (0..2).map(|_| spawn(work())).collect();
        children.into_iter().for_each(|child| child.join().unwrap());
        until(|| threads.iter().all(thread::JoinHandle::is_finished));
        assert_eq!(leaders.load(Ordering::Relaxed), 50);
    });
}

#[test]
fn setting_an_event_wakes_all_also_if_it_is_reset_at_once() {
    everywhere(|_| {
        for _ in 0..20 {
            let (event, waiting) = (Event::new(), AtomicUsize::new(0));
            scope(|s| {
                let waiters: Vec<_> = (0..20)
                    .map(|_| {
                        s.spawn(|| {
                            waiting.fetch_add(1, Ordering::SeqCst);
                            event.wait();
                        })
                    })
                    .collect();
                until(|| waiting.load(Ordering::SeqCst) == 20);
                // The last of them may not be in the list yet: pulses until all have gone.
                event.set();
                event.reset();
                until(|| {
                    event.set();
                    event.reset();
                    waiters.iter().all(|waiter| waiter.is_finished())
                });
                assert!(!event.is_set());
            });
        }
    });
}

#[test]
fn an_event_that_is_set_stops_nobody() {
    everywhere(|_| {
        let event = Event::default();
        let start = Instant::now();
        assert!(!event.wait_timeout(SHORT));
        assert!(start.elapsed() >= SHORT);
        event.set();
        event.set();
        event.wait();
        assert!(event.wait_timeout(Duration::ZERO));
        event.reset();
        scope(|s| {
            let patient = s.spawn(|| event.wait_timeout(HOUR));
            let forever = s.spawn(|| event.wait_timeout(Duration::MAX));
            (0..3).for_each(|_| yield_now());
            assert!(!patient.is_finished() && !forever.is_finished());
            event.set();
            assert!(patient.join().unwrap() && forever.join().unwrap());
        });
        assert_eq!(format!("{event:?}"), "Event { set: true, .. }");
    });
}

#[test]
fn what_was_done_before_an_event_is_seen_after_it() {
    at_1_2_4(|_| {
        for n in 1..200 {
            let shared = Arc::new((Event::new(), AtomicUsize::new(0)));
            let theirs = Arc::clone(&shared);
            let waiter = spawn(move || {
                theirs.0.wait();
                theirs.1.load(Ordering::Relaxed)
            });
            shared.1.store(n, Ordering::Relaxed);
            shared.0.set();
            assert_eq!(waiter.join().unwrap(), n);
        }
    });
}

#[test]
fn meeting_points_may_be_used_across_a_caught_panic() {
    fn is_unwind_safe<T: Send + Sync + UnwindSafe + RefUnwindSafe>(_: &T) {}
    let group = WaitGroup::new();
    is_unwind_safe(&group.add());
    is_unwind_safe(&group);
    is_unwind_safe(&Barrier::new(1));
    is_unwind_safe(&Condvar::new());
    is_unwind_safe(&Event::new());
    is_unwind_safe(&LazyLock::<u8>::new(|| 1));
    is_unwind_safe(&Once::new());
    is_unwind_safe(&OnceLock::<u8>::new());
    is_unwind_safe(&Semaphore::new(1));
}
