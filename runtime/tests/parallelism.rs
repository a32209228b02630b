//! As many goroutines run at the same time as there are processors; idle workers are woken for new work.
#![cfg(test)]

mod fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread;

use fixture::{MODES, Mode, Setting, at, spawn_beside, spin_until, tid, watched};
use gort_runtime::{__private, JoinHandle, park, runtime, spawn, yield_now};

/// Arrives at a meeting of `count` goroutines and holds its thread until all are there.
fn meet(place: &AtomicUsize, count: usize) {
    place.fetch_add(1, Ordering::SeqCst);
    spin_until(|| place.load(Ordering::SeqCst) == count);
}

/// Go's TestGoroutineParallelism.
#[test]
fn goroutines_that_spin_for_one_another_run_at_the_same_time() {
    at(&[2, 4, 8], |setting| {
        let procs = setting.procs;
        for _ in 0..10 {
            let turn = Arc::new(AtomicUsize::new(0));
            let handles: Vec<_> = (0..procs)
                .map(|n| {
                    let turn = Arc::clone(&turn);
                    spawn(move || {
                        for round in 0..3 {
                            spin_until(|| turn.load(Ordering::SeqCst) == round * procs + n);
                            turn.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        }
    });
}

/// Go's TestGoroutineParallelism2: nested spawns, after a burst that leaves workers just parking.
#[test]
fn nested_spawns_after_a_burst_run_at_the_same_time() {
    at(&[2, 4], |setting| {
        let (procs, mode) = (setting.procs, setting.mode);
        for round in 0..200 {
            if round % 2 == 0 {
                let burst: Vec<_> = (0..procs).map(|_| spawn(yield_now)).collect();
                burst.into_iter().for_each(|handle| handle.join().unwrap());
            }
            let place = Arc::new(AtomicUsize::new(0));
            let first = spawn({
                let place = Arc::clone(&place);
                move || {
                    let others: Vec<_> = (1..procs)
                        .map(|_| {
                            let place = Arc::clone(&place);
                            spawn_beside(mode, move || meet(&place, procs))
                        })
                        .collect();
                    meet(&place, procs);
                    others.into_iter().for_each(|handle| handle.join().unwrap());
                }
            });
            first.join().unwrap();
        }
    });
}

#[test]
fn a_chain_of_spawners_fills_all_processors() {
    fn link(place: Arc<AtomicUsize>, left: usize, setting: Setting) {
        let next: Option<JoinHandle<()>> = (left > 1).then(|| {
            let place = Arc::clone(&place);
            spawn_beside(setting.mode, move || link(Arc::clone(&place), left - 1, setting))
        });
        meet(&place, setting.procs);
        if let Some(next) = next {
            next.join().unwrap();
        }
    }
    at(&[2, 4], |setting| {
        for _ in 0..100 {
            link(Arc::new(AtomicUsize::new(0)), setting.procs, setting);
        }
    });
}

#[test]
fn woken_goroutines_fill_all_processors() {
    at(&[2, 4], |setting| {
        let procs = setting.procs;
        for _ in 0..100 {
            let (started, place) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let handles: Vec<_> = (0..procs)
                .map(|_| {
                    let (started, place) = (Arc::clone(&started), Arc::clone(&place));
                    spawn(move || {
                        // Bound goroutines: each on a thread of its own.
                        meet(&started, procs);
                        park();
                        meet(&place, procs);
                    })
                })
                .collect();
            handles.iter().for_each(|handle| handle.goroutine().unpark());
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        }
    });
}

/// Never more user goroutines at once than processors.
#[test]
fn never_more_run_than_there_are_processors() {
    at(&[1, 2, 4], |setting| {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handles: Vec<_> = (0..100)
            .map(|_| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                spawn(move || {
                    for _ in 0..50 {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        (0..100).for_each(|_| std::hint::spin_loop());
                        now.fetch_sub(1, Ordering::SeqCst);
                        yield_now();
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        let most = most.load(Ordering::SeqCst);
        assert!(most <= setting.procs, "{most} at once");
    });
}

#[test]
fn an_idle_runtime_is_woken_by_every_single_spawn_from_outside() {
    for mode in MODES {
        for procs in [1, 2, 4] {
            let setting = Setting::new(procs, mode);
            let runtime = setting.build();
            watched(&runtime, || (0..3_000).for_each(|n| assert_eq!(runtime.run(|| n), n)));
            __private::check(runtime, || ());
        }
    }
}

#[test]
fn an_idle_runtime_is_woken_by_every_single_unpark_from_outside() {
    at(&[1, 2, 4], |_| {
        const TIMES: usize = 3_000;
        let (asked, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let child = spawn({
            let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
            move || {
                for n in 1..=TIMES {
                    while asked.load(Ordering::SeqCst) < n {
                        park();
                    }
                    answered.store(n, Ordering::SeqCst);
                }
            }
        });
        let handle = child.goroutine();
        let thread = thread::spawn(move || {
            for n in 1..=TIMES {
                asked.store(n, Ordering::SeqCst);
                handle.unpark();
                // Polls, so that the runtime has time to fall asleep in each of its ways.
                spin_until(|| answered.load(Ordering::SeqCst) == n);
            }
        });
        child.join().unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn a_spawn_wakes_an_idle_worker() {
    at(&[2, 4], |setting| {
        for _ in 0..300 {
            let (place, child_runs_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicI64::new(0)));
            let child = spawn_beside(setting.mode, {
                let (place, child_runs_on) = (Arc::clone(&place), Arc::clone(&child_runs_on));
                move || {
                    child_runs_on.store(tid(), Ordering::SeqCst);
                    meet(&place, 2);
                }
            });
            meet(&place, 2);
            assert_ne!(child_runs_on.load(Ordering::SeqCst), tid());
            child.join().unwrap();
        }
    });
}

/// Goroutines that wait hold no thread.
#[test]
fn waiting_goroutines_need_no_threads() {
    at(&[1, 2, 4], |setting| {
        let handles: Vec<_> = (0..5_000).map(|_| spawn(park)).collect();
        (0..10).for_each(|_| yield_now());
        let workers = runtime::info().unwrap().workers;
        // One to spare, and one that the creator may be about to make.
        assert!(workers <= setting.procs + 2, "{workers} threads");
        handles.iter().for_each(|handle| handle.goroutine().unpark());
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn work_is_spread_over_the_threads_in_the_default_mode() {
    Setting::new(4, Mode::PerWorker).check(|| {
        for _ in 0..50 {
            let place = Arc::new(AtomicUsize::new(0));
            let threads: std::collections::HashSet<i64> = (0..4)
                .map(|_| {
                    let place = Arc::clone(&place);
                    spawn(move || {
                        meet(&place, 4);
                        tid()
                    })
                })
                .collect::<Vec<_>>()
                .into_iter()
                .map(|handle| handle.join().unwrap())
                .collect();
            assert_eq!(threads.len(), 4);
        }
    });
}
