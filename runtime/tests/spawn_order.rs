//! Who runs first at a spawn, what may be stolen, and who stays on his thread: what each mode promises.
#![cfg(test)]

mod fixture;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fixture::{Mode, Setting, spin_until, tid};
use gort_runtime::{Builder, ThreadLocals, park_timeout, runtime, scope, spawn, yield_now};

type Log = Arc<Mutex<Vec<String>>>;

fn log(log: &Log, event: String) {
    log.lock().unwrap().push(event);
}

/// A tree of spawns; `elided`: the same with calls instead.
fn tree(events: &Log, path: &str, depth: usize, elided: bool) {
    log(events, format!("{path} begins"));
    if depth > 0 {
        let child = |name: &str| {
            let (events, path) = (Arc::clone(events), format!("{path}{name}"));
            let body = move || tree(&events, &path, depth - 1, elided);
            if elided {
                body();
                None
            } else {
                Some(spawn(body))
            }
        };
        let handles = ["a", "b", "c"].map(child);
        log(events, format!("{path} has spawned"));
        handles.into_iter().flatten().for_each(|handle| handle.join().unwrap());
    }
    log(events, format!("{path} ends"));
}

fn events_of(run: impl FnOnce(&Log)) -> Vec<String> {
    let events = Log::default();
    run(&events);
    let mut events = events.lock().unwrap();
    std::mem::take(&mut *events)
}

/// A slice may end in between on a slow machine: a few tries.
#[test]
fn child_first_on_one_processor_is_the_order_of_plain_calls() {
    let expected = events_of(|events| tree(events, "", 4, true));
    let same = (0..20).any(|_| {
        Setting::new(1, Mode::ChildFirst).check(|| events_of(|events| tree(events, "", 4, false))) == expected
    });
    assert!(same);
}

/// What a parent and its two children do, and in what order.
fn order_at_one_processor(mode: Mode) -> Vec<String> {
    Setting::new(1, mode).check(|| {
        events_of(|events| {
            let handles = ["first", "second"].map(|name| {
                let child = Arc::clone(events);
                let handle = spawn(move || log(&child, name.into()));
                log(events, format!("{name} spawned"));
                handle
            });
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        })
    })
}

#[test]
fn child_first_runs_the_child_at_once() {
    let same = (0..20).any(|_| {
        order_at_one_processor(Mode::ChildFirst) == ["first", "first spawned", "second", "second spawned"]
    });
    assert!(same);
}

#[test]
fn parent_first_and_the_default_queue_the_child() {
    for mode in [Mode::ParentFirst, Mode::PerWorker] {
        let same = (0..20).any(|_| {
            let order = order_at_one_processor(mode);
            order[..2] == ["first spawned", "second spawned"] && order.len() == 4
        });
        assert!(same, "{mode:?}");
    }
}

/// The child holds its thread until the parent has gone on: on another one, so it was stolen. (Where
/// somebody asks for the processor at this moment, the child may be queued and the parent go on: not
/// each time.)
#[test]
fn the_parent_s_continuation_is_what_is_stolen() {
    Setting::new(2, Mode::ChildFirst).check(|| {
        let stolen = (0..200).filter(|_| {
            let (flag, parent) = (Arc::new(AtomicBool::new(false)), tid());
            let child = spawn({
                let flag = Arc::clone(&flag);
                move || {
                    spin_until(|| flag.load(Ordering::SeqCst));
                    tid()
                }
            });
            let now = tid();
            flag.store(true, Ordering::SeqCst);
            let child = child.join().unwrap();
            child == parent && now != parent
        });
        assert!(stolen.count() > 100);
    });
}

fn nested_fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let left = spawn(move || nested_fib(n - 1));
    let right = nested_fib(n - 2);
    left.join().unwrap() + right
}

/// Every level of fib is right and takes as many goroutines as it should.
#[test]
fn fib_is_right_at_every_processor_count_in_every_mode() {
    fixture::everywhere(|_| {
        assert_eq!(nested_fib(15), 610);
        let info = runtime::info().unwrap();
        // fib(15) makes 986 spawns, and there is main.
        assert_eq!(info.spawned, 987, "spawned");
    });
}

#[test]
fn in_the_default_mode_a_started_goroutine_never_changes_threads() {
    for procs in [2, 4] {
        let setting = Setting::new(procs, Mode::PerWorker);
        setting.check(|| {
            let mine = tid();
            let met = Arc::new(AtomicUsize::new(0));
            let handles: Vec<_> = (0..64)
                .map(|n| {
                    let (mut rng, met) = (setting.rng(n as u64), Arc::clone(&met));
                    spawn(move || {
                        // The first ones hold a thread each until there are as many as processors.
                        met.fetch_add(1, Ordering::SeqCst);
                        spin_until(|| met.load(Ordering::SeqCst) >= procs);
                        let (thread, id) = (tid(), thread::current().id());
                        for _ in 0..100 {
                            match rng.below(5) {
                                0 => park_timeout(Duration::from_micros(rng.below(50))),
                                1 => spawn(|| ()).join().unwrap(),
                                2 => drop(spawn(yield_now)),
                                3 => scope(|s| drop(s.spawn(yield_now))),
                                _ => yield_now(),
                            }
                            assert_eq!(tid(), thread);
                            assert_eq!(thread::current().id(), id);
                        }
                        thread
                    })
                })
                .collect();
            let threads: HashSet<i64> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
            assert!(threads.len() >= procs, "nobody was ever stolen");
            assert_eq!(tid(), mine, "main is a goroutine as any other");
        });
    }
}

#[test]
fn where_goroutines_may_move_they_do() {
    for mode in [Mode::ChildFirst, Mode::ParentFirst] {
        Setting::new(2, mode).check(|| {
            // Both start on one thread, or not; each then holds a thread until the other runs as well.
            // A goroutine whose turn comes on the other thread has moved.
            let moved = Arc::new(AtomicUsize::new(0));
            while moved.load(Ordering::SeqCst) == 0 {
                let handles: Vec<_> = (0..8)
                    .map(|_| {
                        let moved = Arc::clone(&moved);
                        spawn(move || {
                            let first = tid();
                            for _ in 0..100 {
                                yield_now();
                                (0..2_000).for_each(|_| std::hint::spin_loop());
                            }
                            moved.fetch_add(usize::from(tid() != first), Ordering::SeqCst);
                        })
                    })
                    .collect();
                handles.into_iter().for_each(|handle| handle.join().unwrap());
            }
        });
    }
}

#[test]
fn one_goroutine_may_be_of_another_mode_than_its_runtime() {
    Setting::new(2, Mode::ChildFirst).check(|| {
        for _ in 0..50 {
            let bound = Builder::new().thread_locals(ThreadLocals::PerWorker).spawn(|| {
                let thread = tid();
                for _ in 0..50 {
                    drop(spawn(yield_now));
                    yield_now();
                    assert_eq!(tid(), thread);
                }
            });
            bound.unwrap().join().unwrap();
        }
    });
    Setting::new(2, Mode::PerWorker).check(|| {
        // SAFETY: the closure keeps no thread-local.
        let builder = unsafe { Builder::new().migrate_unchecked() };
        let free = builder.spawn(|| {
            let (flag, parent) = (Arc::new(AtomicBool::new(false)), tid());
            let child = spawn({
                let flag = Arc::clone(&flag);
                move || spin_until(|| flag.load(Ordering::SeqCst))
            });
            let now = tid();
            flag.store(true, Ordering::SeqCst);
            child.join().unwrap();
            assert_ne!(now, parent, "its continuation was stolen");
        });
        free.unwrap().join().unwrap();
    });
}
