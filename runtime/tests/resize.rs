//! The number of processors may change at any time: nothing is lost, neither goroutines nor timers, and
//! what was asked for takes effect.
#![cfg(test)]

mod fixture;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{Child, MODES, Setting, at, everywhere, spin_until, until};
use gort_runtime::{
    JoinHandle, current, max_procs, num_goroutines, park, park_timeout, runtime, set_max_procs, sleep, spawn,
    yield_now,
};

/// Arrives at a meeting of `count` goroutines and holds its thread until all are there.
fn meet(place: &AtomicUsize, count: usize) {
    place.fetch_add(1, Ordering::SeqCst);
    spin_until(|| place.load(Ordering::SeqCst) >= count);
}

/// `count` goroutines, the caller one of them, run at the same time.
fn assert_parallel(count: usize) {
    let place = Arc::new(AtomicUsize::new(0));
    let others: Vec<_> = (1..count)
        .map(|_| {
            let place = Arc::clone(&place);
            spawn(move || meet(&place, count))
        })
        .collect();
    meet(&place, count);
    others.into_iter().for_each(|other| other.join().unwrap());
}

#[test]
fn a_number_out_of_range_is_an_error_and_changes_nothing() {
    everywhere(|setting| {
        for procs in [0, 1025, usize::MAX] {
            let error = set_max_procs(procs).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), format!("{procs} processors: a runtime has from 1 to 1024"));
        }
        assert_eq!(max_procs(), setting.procs);
    });
}

#[test]
fn it_returns_what_it_was() {
    everywhere(|setting| {
        assert_eq!(set_max_procs(3).unwrap(), setting.procs);
        assert_eq!(set_max_procs(5).unwrap(), 3);
        assert_eq!(set_max_procs(5).unwrap(), 5);
        assert_eq!(max_procs(), 5);
        assert_eq!(spawn(max_procs).join().unwrap(), 5);
        assert_eq!(runtime::info().unwrap().max_procs, 5);
    });
}

/// Go's TestStopTheWorldDeadlock.
#[test]
fn a_thousand_changes_lose_nobody() {
    fn respawn(stop: Arc<AtomicBool>, links: Arc<AtomicUsize>) {
        links.fetch_add(1, Ordering::Relaxed);
        if !stop.load(Ordering::SeqCst) {
            drop(spawn(move || respawn(stop, links)));
        }
    }
    at(&[1, 4], |setting| {
        let stop = Arc::new(AtomicBool::new(false));
        let links = Arc::new(AtomicUsize::new(0));
        let mut rng = setting.rng(1);
        drop(spawn({
            let (stop, links) = (Arc::clone(&stop), Arc::clone(&links));
            move || respawn(stop, links)
        }));
        let body = |n: u64| -> JoinHandle<()> {
            let (stop, mut rng) = (Arc::clone(&stop), setting.rng(n + 2));
            spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    match n % 4 {
                        0 => yield_now(),
                        1 => sleep(Duration::from_micros(rng.below(300))),
                        2 => park_timeout(Duration::from_micros(rng.below(300))),
                        _ => {
                            let me = current();
                            drop(spawn(move || me.unpark()));
                            park();
                        }
                    }
                }
            })
        };
        let others: Vec<_> = (0..12).map(body).collect();
        for _ in 0..1_000 {
            let procs = 1 + rng.below(8) as usize;
            set_max_procs(procs).unwrap();
            assert_eq!(max_procs(), procs);
            if rng.below(2) == 0 {
                yield_now();
            }
        }
        // And still all of them run.
        let before = links.load(Ordering::Relaxed);
        until(|| links.load(Ordering::Relaxed) > before + 10);
        stop.store(true, Ordering::SeqCst);
        others.into_iter().for_each(|other| other.join().unwrap());
        until(|| num_goroutines() == 1);
    });
}

#[test]
fn timers_of_retired_processors_fire() {
    const PROCS: usize = 4;
    at(&[PROCS], |setting| {
        for round in 0..5 {
            set_max_procs(PROCS).unwrap();
            let (place, asleep) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let handles: Vec<_> = (1..PROCS)
                .map(|n| {
                    let (place, asleep) = (Arc::clone(&place), Arc::clone(&asleep));
                    let mut rng = setting.rng(n as u64 + round);
                    spawn(move || {
                        // Each runs on a processor of its own, whose timers it uses.
                        meet(&place, PROCS);
                        let wait = Duration::from_micros(1_000 + rng.below(20_000));
                        let start = Instant::now();
                        asleep.fetch_add(1, Ordering::SeqCst);
                        match n % 2 {
                            0 => sleep(wait),
                            _ => park_timeout(wait),
                        }
                        assert!(start.elapsed() >= wait);
                    })
                })
                .collect();
            meet(&place, PROCS);
            until(|| asleep.load(Ordering::SeqCst) == PROCS - 1);
            set_max_procs(1).unwrap();
            // The last processor is busy, or idle.
            if round % 2 == 0 {
                until(|| handles.iter().all(JoinHandle::is_finished));
            }
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        }
    });
}

#[test]
fn a_timer_of_a_retired_processor_that_is_not_needed_is_taken_out() {
    const PROCS: usize = 4;
    at(&[PROCS], |_| {
        let (place, asleep) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handles: Vec<_> = (1..PROCS)
            .map(|_| {
                let (place, asleep) = (Arc::clone(&place), Arc::clone(&asleep));
                spawn(move || {
                    meet(&place, PROCS);
                    asleep.fetch_add(1, Ordering::SeqCst);
                    park_timeout(Duration::from_secs(3_600));
                })
            })
            .collect();
        meet(&place, PROCS);
        until(|| asleep.load(Ordering::SeqCst) == PROCS - 1);
        until(|| runtime::info().unwrap().timers == PROCS - 1);
        set_max_procs(1).unwrap();
        (0..10).for_each(|_| yield_now());
        handles.iter().for_each(|handle| handle.goroutine().unpark());
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(runtime::info().unwrap().timers, 0);
    });
}

#[test]
fn never_more_run_than_was_asked_for() {
    const PROCS: usize = 8;
    at(&[PROCS], |_| {
        for limit in [1, 2, 5] {
            set_max_procs(PROCS).unwrap();
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (place, resized) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
            let section = {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                move || {
                    for _ in 0..30 {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        (0..100).for_each(|_| std::hint::spin_loop());
                        now.fetch_sub(1, Ordering::SeqCst);
                        yield_now();
                    }
                }
            };
            // All processors are held, the first one by us, while the number changes.
            let mut handles: Vec<_> = (1..PROCS)
                .map(|_| {
                    let (place, resized, section) =
                        (Arc::clone(&place), Arc::clone(&resized), section.clone());
                    spawn(move || {
                        meet(&place, PROCS);
                        spin_until(|| resized.load(Ordering::SeqCst));
                        // The call at which the processor retires.
                        yield_now();
                        section();
                    })
                })
                .collect();
            meet(&place, PROCS);
            set_max_procs(limit).unwrap();
            resized.store(true, Ordering::SeqCst);
            yield_now();
            handles.extend((0..20).map(|_| spawn(section.clone())));
            section();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
            let most = most.load(Ordering::SeqCst);
            assert!(most <= limit, "{most} at once, {limit} may");
        }
    });
}

#[test]
fn more_run_at_the_same_time_after_growing() {
    at(&[1, 2], |_| {
        for round in 0..20 {
            let procs = 2 + round % 4;
            set_max_procs(1).unwrap();
            yield_now();
            set_max_procs(procs).unwrap();
            assert_parallel(procs);
        }
    });
}

#[test]
fn work_that_waits_is_spread_when_the_number_grows() {
    const MANY: usize = 4;
    at(&[1], |_| {
        for _ in 0..10 {
            set_max_procs(1).unwrap();
            let place = Arc::new(AtomicUsize::new(0));
            // The first one to begin changes the number and holds the only processor; the others, main
            // included, wait in its queues.
            let handles: Vec<_> = (0..MANY)
                .map(|_| {
                    let place = Arc::clone(&place);
                    spawn(move || {
                        set_max_procs(MANY).unwrap();
                        meet(&place, MANY);
                    })
                })
                .collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        }
    });
}

/// Go's TestBigGOMAXPROCS.
#[test]
fn a_runtime_may_have_1024_processors() {
    for mode in MODES {
        let storm = || {
            let handles: Vec<_> = (0..1_000)
                .map(|n| {
                    spawn(move || {
                        yield_now();
                        n
                    })
                })
                .collect();
            handles.into_iter().for_each(|handle| _ = handle.join().unwrap());
        };
        Setting::new(1_024, mode).check(|| {
            assert_eq!(max_procs(), 1_024);
            storm();
            assert_eq!(set_max_procs(1).unwrap(), 1_024);
            storm();
        });
        Setting::new(1, mode).check(|| {
            assert_eq!(set_max_procs(1_024).unwrap(), 1);
            storm();
            assert_eq!(set_max_procs(2).unwrap(), 1_024);
            storm();
            assert_parallel(2);
        });
    }
}

#[test]
fn goroutines_change_the_number_at_the_same_time() {
    at(&[1, 4], |setting| {
        let handles: Vec<_> = (0..8)
            .map(|n| {
                let mut rng = setting.rng(n);
                spawn(move || {
                    for _ in 0..200 {
                        let before = set_max_procs(1 + rng.below(8) as usize).unwrap();
                        assert!((1..=8).contains(&before));
                        match rng.below(3) {
                            0 => yield_now(),
                            1 => spawn(yield_now).join().unwrap(),
                            _ => sleep(Duration::from_micros(rng.below(50))),
                        }
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        set_max_procs(4).unwrap();
        assert_eq!(max_procs(), 4);
        assert_parallel(4);
    });
}

#[test]
fn goroutines_and_foreign_threads_change_the_number_at_the_same_time() {
    Child::new("goroutines_and_foreign_threads_change_the_number_at_the_same_time", "").succeeds(|| {
        let change = |seed: u64| {
            let mut rng = fixture::Rng::new(fixture::seed() + seed);
            for _ in 0..300 {
                set_max_procs(1 + rng.below(8) as usize).unwrap();
                if rng.below(4) == 0 {
                    spawn(yield_now).join().unwrap();
                }
            }
        };
        let goroutines: Vec<_> = (0..4).map(|n| spawn(move || change(n))).collect();
        thread::scope(|s| (4..8).for_each(|n| _ = s.spawn(move || change(n))));
        goroutines.into_iter().for_each(|goroutine| goroutine.join().unwrap());
        set_max_procs(4).unwrap();
        spawn(|| assert_parallel(4)).join().unwrap();
        assert_eq!(max_procs(), 4);
    });
}
