//! `Condvar`: a notification for one who waits goes to that one, in the order of arrival; one that nobody
//! waits for is lost.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{at_1_2_4, everywhere, until};
use gort_runtime::{scope, spawn, yield_now};
use gort_sync::{Condvar, Mutex};

const HOUR: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(2);

/// Waiters count themselves under the mutex before they wait: who then takes the mutex knows that they do.
#[derive(Default)]
struct Place {
    mutex: Mutex<usize>,
    changed: Condvar,
}

impl Place {
    fn wait(&self) {
        let mut waiting = self.mutex.lock();
        *waiting += 1;
        drop(self.changed.wait(waiting));
    }

    fn until_waiting(&self, n: usize) {
        until(|| *self.mutex.lock() == n);
    }
}

#[test]
fn notify_one_wakes_one() {
    everywhere(|_| {
        let (place, awake) = (Place::default(), AtomicUsize::new(0));
        scope(|s| {
            for _ in 0..6 {
                s.spawn(|| {
                    place.wait();
                    awake.fetch_add(1, Ordering::SeqCst);
                });
            }
            place.until_waiting(6);
            for n in 1..=6 {
                (0..5).for_each(|_| yield_now());
                assert_eq!(awake.load(Ordering::SeqCst), n - 1, "one for each notification");
                place.changed.notify_one();
                until(|| awake.load(Ordering::SeqCst) == n);
            }
        });
    });
}

#[test]
fn notifications_go_to_those_who_waited_longest() {
    everywhere(|_| {
        let (place, order) = (Place::default(), Mutex::new(Vec::new()));
        scope(|s| {
            for n in 0..8 {
                let (place, order) = (&place, &order);
                s.spawn(move || {
                    place.wait();
                    order.lock().push(n);
                });
                place.until_waiting(n + 1);
            }
            for n in 0..8 {
                place.changed.notify_one();
                until(|| order.lock().len() == n + 1);
            }
        });
        assert_eq!(order.into_inner(), [0, 1, 2, 3, 4, 5, 6, 7]);
    });
}

#[test]
fn notify_all_wakes_all_who_wait_and_nobody_else() {
    everywhere(|_| {
        let (place, awake) = (Place::default(), AtomicUsize::new(0));
        scope(|s| {
            for _ in 0..40 {
                s.spawn(|| {
                    place.wait();
                    awake.fetch_add(1, Ordering::SeqCst);
                });
            }
            place.until_waiting(40);
            place.changed.notify_all();
            until(|| awake.load(Ordering::SeqCst) == 40);
            let late = s.spawn(|| place.wait());
            place.until_waiting(41);
            (0..5).for_each(|_| yield_now());
            assert!(!late.is_finished());
            place.changed.notify_all();
        });
    });
}

#[test]
fn without_waiters_notifications_are_lost() {
    everywhere(|_| {
        let place = Place::default();
        place.changed.notify_one();
        place.changed.notify_all();
        let (guard, result) = place.changed.wait_timeout(place.mutex.lock(), SHORT);
        assert!(result.timed_out());
        drop(guard);
    });
}

/// One waits; it is notified; before it has run, another one begins to wait. The notification is the first
/// one's.
#[test]
fn a_newcomer_cannot_take_a_notification() {
    at_1_2_4(|_| {
        for _ in 0..50 {
            let place = Place::default();
            scope(|s| {
                let first = s.spawn(|| place.wait());
                place.until_waiting(1);
                let guard = place.mutex.lock();
                place.changed.notify_one();
                drop(guard);
                let second = s.spawn(|| place.wait());
                first.join().unwrap();
                place.until_waiting(2);
                assert!(!second.is_finished());
                place.changed.notify_one();
            });
        }
    });
}

#[test]
fn a_wait_that_times_out_does_not_take_a_notification() {
    at_1_2_4(|setting| {
        let mut rng = setting.rng(0);
        for _ in 0..100 {
            let (place, timeout) = (Place::default(), Duration::from_micros(rng.below(100)));
            scope(|s| {
                let hasty = s.spawn(|| {
                    let mut waiting = place.mutex.lock();
                    *waiting += 1;
                    !place.changed.wait_timeout(waiting, timeout).1.timed_out()
                });
                until(|| *place.mutex.lock() >= 1);
                let patient = s.spawn(|| place.wait());
                place.until_waiting(2);
                // One of the two gets it: the hasty one if it is still there.
                place.changed.notify_one();
                if hasty.join().unwrap() {
                    place.changed.notify_one();
                }
                patient.join().unwrap();
            });
        }
    });
}

#[test]
fn the_mutex_is_free_during_the_wait_and_taken_after_it() {
    everywhere(|_| {
        let place = Place::default();
        scope(|s| {
            let waiter = s.spawn(|| {
                let mut waiting = place.mutex.lock();
                *waiting += 1;
                let waiting = place.changed.wait(waiting);
                assert!(place.mutex.try_lock().is_none());
                *waiting
            });
            place.until_waiting(1);
            let mut guard = place.mutex.lock();
            place.changed.notify_one();
            (0..5).for_each(|_| yield_now());
            assert!(!waiter.is_finished(), "it needs the mutex");
            *guard = 9;
            drop(guard);
            assert_eq!(waiter.join().unwrap(), 9);
        });
    });
}

#[test]
fn wait_while_and_the_timeouts() {
    everywhere(|_| {
        let (value, changed) = (Mutex::new(0), Condvar::new());
        scope(|s| {
            let waiter = s.spawn(|| *changed.wait_while(value.lock(), |value| *value < 3));
            for _ in 0..3 {
                *value.lock() += 1;
                changed.notify_one();
                yield_now();
            }
            assert_eq!(waiter.join().unwrap(), 3);
        });
        let start = Instant::now();
        let (guard, result) = changed.wait_timeout_while(value.lock(), SHORT, |_| true);
        assert!(result.timed_out() && start.elapsed() >= SHORT);
        let (guard, result) = changed.wait_timeout_while(guard, HOUR, |value| *value != 3);
        assert!(!result.timed_out());
        let (guard, result) = changed.wait_timeout(guard, Duration::ZERO);
        assert!(result.timed_out());
        drop(guard);
        scope(|s| {
            let guard = value.lock();
            s.spawn(|| {
                *value.lock() = 7;
                changed.notify_all();
            });
            let (guard, result) = changed.wait_timeout_while(guard, HOUR, |value| *value != 7);
            assert_eq!((*guard, result.timed_out()), (7, false));
        });
    });
}

/// Two goroutines and two threads hand a turn around, over one condition variable.
#[test]
fn stress_goroutines_and_threads_take_turns() {
    const TURNS: usize = 400;
    at_1_2_4(|_| {
        let place = Arc::new((Mutex::new(0_usize), Condvar::new()));
        let work = |mine: usize| {
            let place = Arc::clone(&place);
            move || {
                for _ in 0..TURNS {
                    let mut turn = place.1.wait_while(place.0.lock(), |turn| *turn % 4 != mine);
                    *turn += 1;
                    drop(turn);
                    place.1.notify_all();
                }
            }
        };
        let threads: Vec<_> = (0..2).map(|n| thread::spawn(work(n))).collect();
        let children: Vec<_> = (2..4).map(|n| spawn(work(n))).collect();
        children.into_iter().for_each(|child| child.join().unwrap());
        until(|| threads.iter().all(thread::JoinHandle::is_finished));
        assert_eq!(*place.0.lock(), 4 * TURNS);
    });
}
