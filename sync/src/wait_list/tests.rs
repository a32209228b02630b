//! The list of waiters by itself.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gort_runtime::waiter::WaitReason;
use gort_runtime::{run, spawn, yield_now};

use super::*;

type Place = Monitor<usize, usize>;

/// Waits in the first list, counted in the state.
fn receive(place: &Place, deadline: Option<Instant>) -> Option<usize> {
    loop {
        let mut slot = None;
        let mut locked = place.lock();
        *locked += 1;
        match locked.wait(First, WaitReason::Other, deadline, &mut slot) {
            Waited::Ended => return slot,
            Waited::TimedOut(mut locked) => {
                *locked -= 1;
                drop(locked);
                assert_eq!(slot, None);
                return None;
            }
            Waited::Again => *place.lock() -= 1,
        }
    }
}

fn wait_for(place: &Place, waiters: usize) {
    while *place.lock() != waiters {
        yield_now();
    }
}

#[test]
fn values_go_to_waiters_in_their_order() {
    run(|| {
        let place = Arc::new(Place::new(0));
        let waiters: Vec<_> = (0..3)
            .map(|number| {
                let theirs = Arc::clone(&place);
                let waiter = spawn(move || receive(&theirs, None));
                wait_for(&place, number + 1);
                waiter
            })
            .collect();
        for number in 0..3 {
            let ended = place.lock().first().hand(number);
            assert!(ended.is_ok());
        }
        assert_eq!(place.lock().first().hand(9).err(), Some(9), "nobody waits");
        for (number, waiter) in waiters.into_iter().enumerate() {
            assert_eq!(waiter.join().unwrap(), Some(number));
        }
    });
}

#[test]
fn all_can_be_ended_at_once() {
    run(|| {
        let place = Arc::new(Place::new(0));
        let waiters: Vec<_> = (0..50)
            .map(|_| {
                let theirs = Arc::clone(&place);
                spawn(move || receive(&theirs, None))
            })
            .collect();
        wait_for(&place, 50);
        place.end_all(First);
        assert!(place.lock().first().is_empty());
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), None);
        }
    });
}

#[test]
fn a_value_that_races_with_a_deadline_stays_with_one_of_the_two() {
    run(|| {
        let place = Arc::new(Place::new(0));
        let taken = Arc::new(AtomicUsize::new(0));
        for round in 0..300 {
            let (theirs, counter) = (Arc::clone(&place), Arc::clone(&taken));
            let waiter = spawn(move || {
                let deadline = Instant::now() + Duration::from_micros(round % 20);
                if receive(&theirs, Some(deadline)).is_some() {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
            let mut handed = 0;
            while !waiter.is_finished() {
                let result = place.lock().first().hand(1);
                handed += usize::from(result.is_ok());
                drop(result);
                yield_now();
            }
            waiter.join().unwrap();
            assert_eq!(handed, taken.swap(0, Ordering::Relaxed));
        }
    });
}
