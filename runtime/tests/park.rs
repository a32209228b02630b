//! Parking: tokens as std's threads have them, handles that outlive their goroutine, no lost wake-up.
#![cfg(test)]

mod fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{at_1_2_4, everywhere, until};
use gort_runtime::{Goroutine, current, park, park_deadline, park_timeout, spawn, yield_now};

const HOUR: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(3);

/// True if a token was there: the wait then does not last.
fn takes_token() -> bool {
    let start = Instant::now();
    park_timeout(SHORT);
    start.elapsed() < SHORT
}

#[test]
fn unpark_before_park_lets_it_through() {
    everywhere(|_| {
        current().unpark();
        park();
        current().unpark();
        park_timeout(HOUR);
        current().unpark();
        park_deadline(Instant::now() + HOUR);
    });
}

#[test]
fn several_unparks_are_one() {
    everywhere(|_| {
        (0..3).for_each(|_| current().unpark());
        park();
        assert!(!takes_token());
        let child = spawn(|| {
            park();
            assert!(!takes_token());
        });
        (0..3).for_each(|_| child.goroutine().unpark());
        child.join().unwrap();
    });
}

#[test]
fn park_timeout_ends_by_time_or_by_unpark() {
    everywhere(|_| {
        assert!(!takes_token());
        let child = spawn(|| park_timeout(HOUR));
        (0..5).for_each(|_| yield_now());
        child.goroutine().unpark();
        child.join().unwrap();
        assert!(!takes_token());
        let start = Instant::now();
        park_deadline(start + SHORT);
        assert!(start.elapsed() >= SHORT);
    });
}

#[test]
fn a_timeout_of_zero_takes_the_token_only() {
    everywhere(|_| {
        park_timeout(Duration::ZERO);
        park_deadline(Instant::now());
        current().unpark();
        park_timeout(Duration::ZERO);
        assert!(!takes_token());
    });
}

#[test]
fn what_was_done_before_unpark_is_seen_after_park() {
    everywhere(|_| {
        for n in 1..500 {
            let cell = Arc::new(AtomicUsize::new(0));
            let child = spawn({
                let cell = Arc::clone(&cell);
                move || {
                    park();
                    cell.load(Ordering::Relaxed)
                }
            });
            cell.store(n, Ordering::Relaxed);
            child.goroutine().unpark();
            assert_eq!(child.join().unwrap(), n);
        }
    });
}

#[test]
fn the_handle_of_an_ended_goroutine_does_nothing() {
    everywhere(|_| {
        let stale: Vec<Goroutine> = (0..100).map(|_| spawn(current).join().unwrap()).collect();
        let go = Arc::new(AtomicBool::new(false));
        // These live in the slots of the others.
        let successors: Vec<_> = (0..4)
            .map(|_| {
                let go = Arc::clone(&go);
                spawn(move || {
                    until(|| go.load(Ordering::SeqCst));
                    takes_token()
                })
            })
            .collect();
        (0..5).for_each(|_| yield_now());
        assert!(successors.iter().all(|child| stale.iter().all(|stale| *stale != child.goroutine())));
        stale.iter().for_each(Goroutine::unpark);
        go.store(true, Ordering::SeqCst);
        for child in successors {
            assert!(!child.join().unwrap(), "somebody else's token");
        }
        stale.iter().for_each(Goroutine::unpark);
    });
}

#[test]
fn a_handle_that_goes_stale_at_this_moment_wakes_nobody_else() {
    at_1_2_4(|setting| {
        let mut rng = setting.rng(2);
        for _ in 0..2_000 {
            let child = spawn(yield_now);
            let handle = child.goroutine();
            let waker = spawn(move || (0..3).for_each(|_| handle.unpark()));
            if rng.below(2) == 0 {
                child.join().unwrap();
            }
            // It likely has the child's slot, and would be ended early by the child's wakes.
            let park_once = spawn(|| {
                park();
                1
            });
            yield_now();
            assert!(!park_once.is_finished(), "a stale handle has woken somebody");
            park_once.goroutine().unpark();
            assert_eq!(park_once.join().unwrap(), 1);
            waker.join().unwrap();
        }
    });
}

#[test]
fn goroutines_and_foreign_threads_wake_each_other() {
    const ROUNDS: usize = 2_000;
    at_1_2_4(|_| {
        let turn = Arc::new(AtomicUsize::new(0));
        let goroutine = current();
        let thread = thread::spawn({
            let turn = Arc::clone(&turn);
            move || {
                let me = current();
                assert_eq!(me.id(), 0);
                goroutine.unpark();
                for round in 0..ROUNDS {
                    while turn.load(Ordering::Acquire) != 2 * round + 1 {
                        park();
                    }
                    turn.store(2 * round + 2, Ordering::Release);
                    goroutine.unpark();
                }
            }
        });
        park();
        // A handle of gort's to the thread: std's own names the same parker.
        let other = thread.thread().clone();
        for round in 0..ROUNDS {
            turn.store(2 * round + 1, Ordering::Release);
            other.unpark();
            while turn.load(Ordering::Acquire) != 2 * round + 2 {
                park();
            }
        }
        until(|| thread.is_finished());
        thread.join().unwrap();
    });
}

#[test]
fn a_foreign_thread_has_tokens_too() {
    thread::Builder::new()
        .name("foreign".into())
        .spawn(|| {
            let me = current();
            assert_eq!((me.id(), me.name()), (0, Some("foreign")));
            assert_eq!(me, current());
            me.unpark();
            me.unpark();
            park();
            assert!(!takes_token());
            let waker = spawn(move || me.unpark());
            park();
            waker.join().unwrap();
        })
        .unwrap()
        .join()
        .unwrap();
}

/// `goroutines` pass tokens on at random, some of them with timeouts that race with the wakes. A lost
/// wake-up stops the game, a doubled one shows as a token too many.
#[test]
fn wakes_are_neither_lost_nor_doubled_in_a_storm() {
    struct Player {
        tokens: AtomicUsize,
        goroutine: std::sync::OnceLock<Goroutine>,
    }
    const TOKENS: usize = 8;
    const HOPS: usize = 20_000;
    at_1_2_4(|setting| {
        let players: Arc<[Player]> =
            (0..32).map(|_| Player { tokens: AtomicUsize::new(0), goroutine: Default::default() }).collect();
        let (hops, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handles: Vec<_> = (0..players.len())
            .map(|index| {
                let (players, hops, begun) = (Arc::clone(&players), Arc::clone(&hops), Arc::clone(&begun));
                let mut rng = setting.rng(index as u64);
                spawn(move || {
                    players[index].goroutine.set(current()).unwrap();
                    begun.fetch_add(1, Ordering::SeqCst);
                    let mut played = 0;
                    loop {
                        while players[index].tokens.load(Ordering::SeqCst) == 0 {
                            match rng.below(4) {
                                0 => park_timeout(Duration::from_micros(rng.below(100))),
                                _ => park(),
                            }
                            if hops.load(Ordering::SeqCst) >= HOPS {
                                return played;
                            }
                        }
                        players[index].tokens.fetch_sub(1, Ordering::SeqCst);
                        played += 1;
                        let next = &players[rng.below(players.len() as u64) as usize];
                        next.tokens.fetch_add(1, Ordering::SeqCst);
                        if hops.fetch_add(1, Ordering::SeqCst) + 1 >= HOPS {
                            players.iter().for_each(|player| player.goroutine.get().unwrap().unpark());
                            return played;
                        }
                        next.goroutine.get().unwrap().unpark();
                    }
                })
            })
            .collect();
        until(|| begun.load(Ordering::SeqCst) == players.len());
        for player in &players[..TOKENS] {
            player.tokens.fetch_add(1, Ordering::SeqCst);
            player.goroutine.get().unwrap().unpark();
        }
        let played: usize = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
        assert_eq!(played, hops.load(Ordering::SeqCst));
        let tokens: usize = players.iter().map(|player| player.tokens.load(Ordering::SeqCst)).sum();
        assert_eq!(tokens, TOKENS);
    });
}

#[test]
fn an_unpark_that_races_with_the_park_is_not_lost() {
    at_1_2_4(|setting| {
        let mut rng = setting.rng(3);
        for _ in 0..5_000 {
            let child = spawn(park);
            (0..rng.below(300)).for_each(|_| std::hint::spin_loop());
            if rng.below(4) == 0 {
                yield_now();
            }
            child.goroutine().unpark();
            child.join().unwrap();
        }
    });
}

#[test]
fn an_unpark_that_races_with_the_timeout_leaves_at_most_its_token() {
    at_1_2_4(|setting| {
        let mut rng = setting.rng(4);
        for _ in 0..500 {
            let wait = Duration::from_micros(rng.below(100));
            let child = spawn(move || {
                park_timeout(wait);
                // The unpark comes before this park or was the one that ended the first.
                park_timeout(Duration::from_micros(1));
            });
            (0..rng.below(3_000)).for_each(|_| std::hint::spin_loop());
            child.goroutine().unpark();
            child.join().unwrap();
        }
    });
}

/// A loop of waits that last no time gave nobody else a turn.
#[test]
fn a_park_of_no_time_lets_others_run() {
    fixture::Setting::new(1, fixture::Mode::PerWorker).check(|| {
        let set = Arc::new(AtomicBool::new(false));
        let other = Arc::clone(&set);
        let child = spawn(move || {
            yield_now();
            other.store(true, Ordering::SeqCst);
        });
        while !set.load(Ordering::SeqCst) {
            park_timeout(Duration::ZERO);
        }
        child.join().unwrap();
    });
}
