//! Yielding: who waits gets his turn, whatever the others do, as long as they make runtime calls.
#![cfg(test)]

mod fixture;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use fixture::{Mode, Setting, at, at_1_2_4, everywhere, until};
use gort_runtime::{Goroutine, current, num_goroutines, park, spawn, yield_now};

/// Go's TestYieldProgress.
#[test]
fn a_loop_that_tries_and_yields_still_receives() {
    everywhere(|_| {
        let slot = Arc::new(Mutex::new(None));
        let receiver = spawn({
            let slot = Arc::clone(&slot);
            move || loop {
                let value = slot.lock().unwrap().take();
                match value {
                    Some(value) => break value,
                    None => yield_now(),
                }
            }
        });
        (0..10).for_each(|_| yield_now());
        *slot.lock().unwrap() = Some(5);
        assert_eq!(receiver.join().unwrap(), 5);
    });
}

#[test]
fn yielders_of_one_processor_take_turns() {
    at(&[1], |_| {
        let (log, go) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let handles: Vec<_> = (0..5)
            .map(|n| {
                let (log, go) = (Arc::clone(&log), Arc::clone(&go));
                spawn(move || {
                    until(|| go.load(Ordering::SeqCst));
                    for _ in 0..20 {
                        log.lock().unwrap().push(n);
                        yield_now();
                    }
                })
            })
            .collect();
        // All have started and stand in the queue.
        (0..20).for_each(|_| yield_now());
        go.store(true, Ordering::SeqCst);
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        let log = log.lock().unwrap();
        let mut first = log[..5].to_vec();
        assert!(log.chunks(5).all(|round| round == &first[..]), "{log:?}");
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3, 4]);
    });
}

/// Spawns itself again and ends, until it is told to stop. Counts.
fn respawn(stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    // The limit is far beyond what is reached, and keeps a failure from eating all memory.
    if !stop.load(Ordering::SeqCst) && count.fetch_add(1, Ordering::SeqCst) < 200_000 {
        drop(spawn(move || respawn(stop, count)));
    }
}

#[test]
fn a_goroutine_that_endlessly_respawns_stops_nobody() {
    at_1_2_4(|_| {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (a, b) = (Arc::clone(&stop), Arc::clone(&count));
        drop(spawn(move || respawn(a, b)));
        let turns: Vec<_> = (0..2).map(|_| spawn(|| (0..100).for_each(|_| yield_now()))).collect();
        turns.into_iter().for_each(|handle| handle.join().unwrap());
        until(|| count.load(Ordering::SeqCst) > 20);
        let living = num_goroutines();
        stop.store(true, Ordering::SeqCst);
        assert!(count.load(Ordering::SeqCst) < 200_000, "the others had no turn");
        assert!(living < 10_000, "{living} goroutines wait for the one that goes on");
        until(|| num_goroutines() == 1);
    });
}

/// A pair that wakes each other inherits one slice: at its end the others have their turn.
#[test]
fn a_ping_pong_pair_stops_nobody() {
    fn play(
        stop: Arc<AtomicBool>,
        partner: Arc<Mutex<Option<Goroutine>>>,
        mine: Arc<Mutex<Option<Goroutine>>>,
    ) {
        *mine.lock().unwrap() = Some(current());
        let partner = loop {
            let known = partner.lock().unwrap().clone();
            match known {
                Some(partner) => break partner,
                None => yield_now(),
            }
        };
        while !stop.load(Ordering::SeqCst) {
            partner.unpark();
            park();
        }
        partner.unpark();
    }
    at_1_2_4(|setting| {
        let stop = Arc::new(AtomicBool::new(false));
        let places: Vec<_> = (0..2 * setting.procs).map(|_| Arc::new(Mutex::new(None))).collect();
        let players: Vec<_> = (0..places.len())
            .map(|n| {
                let (stop, mine, partner) =
                    (Arc::clone(&stop), Arc::clone(&places[n]), Arc::clone(&places[n ^ 1]));
                spawn(move || play(stop, partner, mine))
            })
            .collect();
        until(|| places.iter().all(|place| place.lock().unwrap().is_some()));
        // A yielder, a newcomer, and we.
        let yielder = spawn(|| (0..20).for_each(|_| yield_now()));
        (0..20).for_each(|_| yield_now());
        yielder.join().unwrap();
        (0..5).for_each(|n| assert_eq!(spawn(move || n).join().unwrap(), n));
        stop.store(true, Ordering::SeqCst);
        players.into_iter().for_each(|player| player.join().unwrap());
    });
}

#[test]
fn yielding_alone_goes_on_at_once() {
    everywhere(|_| (0..10_000).for_each(|_| yield_now()));
}

/// Yielders do not keep a goroutine that has not started from its first turn, nor it them.
#[test]
fn newcomers_and_yielders_both_have_turns() {
    for mode in fixture::MODES {
        Setting::new(1, mode).check(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let yielders: Vec<_> = (0..3)
                .map(|_| {
                    let stop = Arc::clone(&stop);
                    spawn(move || {
                        let mut turns = 0_u64;
                        while !stop.load(Ordering::SeqCst) {
                            yield_now();
                            turns += 1;
                        }
                        turns
                    })
                })
                .collect();
            for n in 0..500 {
                assert_eq!(spawn(move || n).join().unwrap(), n);
            }
            stop.store(true, Ordering::SeqCst);
            let turns = yielders.into_iter().map(|yielder| yielder.join().unwrap());
            assert!(turns.min() > Some(10), "{mode:?}");
        });
    }
    assert!(Setting::new(1, Mode::ChildFirst).migrates());
}
