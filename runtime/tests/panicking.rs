//! Waiting while a panic unwinds: std's count of panics belongs to the thread, so the goroutine stays on
//! its thread, and the thread on it; the processor goes on with the others.
#![cfg(test)]

mod fixture;

use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fixture::{Child, MODES, Setting, at, at_1_2_4, everywhere, message, spin_until, tid, until};
use gort_runtime::{
    Goroutine, current, num_goroutines, park, park_timeout, runtime, sleep, spawn, yield_now,
};

/// Runs its closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs `body` while a panic unwinds, and checks that it stays on its thread.
fn while_panicking(mut body: impl FnMut()) {
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _on_drop = OnDrop(|| {
            let before = tid();
            assert_panicking();
            body();
            assert_panicking();
            assert_eq!(tid(), before, "it has left its thread");
        });
        resume_unwind(Box::new("the panic"));
    }));
    assert_eq!(message(&*caught.unwrap_err()), "the panic");
    assert!(!thread::panicking());
}

fn assert_panicking() {
    // Not `assert!`: it would be a panic within a panic, which aborts; that is how the test fails.
    assert!(thread::panicking(), "another thread's count of panics");
}

/// Others that are alive all along: each sees no panic of its own.
fn with_bystanders(body: impl FnOnce()) {
    let stop = Arc::new(AtomicBool::new(false));
    let bystanders: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    assert!(!thread::panicking(), "somebody else's panic");
                    yield_now();
                }
            })
        })
        .collect();
    body();
    stop.store(true, Ordering::SeqCst);
    bystanders.into_iter().for_each(|bystander| bystander.join().unwrap());
}

#[test]
fn every_way_to_wait_keeps_a_panicking_goroutine_on_its_thread() {
    everywhere(|_| {
        with_bystanders(|| {
            let handles: Vec<_> = (0..4)
                .map(|_| {
                    spawn(|| {
                        while_panicking(yield_now);
                        while_panicking(|| (0..20).for_each(|_| yield_now()));
                        while_panicking(|| sleep(Duration::from_micros(200)));
                        while_panicking(|| sleep(Duration::ZERO));
                        while_panicking(|| park_timeout(Duration::from_micros(200)));
                        while_panicking(|| {
                            current().unpark();
                            park();
                        });
                        while_panicking(|| assert_eq!(spawn(|| 5).join().unwrap(), 5));
                        while_panicking(|| drop(spawn(|| assert!(!thread::panicking()))));
                        while_panicking(|| {
                            let me = current();
                            let waker = spawn(move || me.unpark());
                            park();
                            waker.join().unwrap();
                        });
                        while_panicking(|| drop(spawn(|| resume_unwind(Box::new(1))).join().unwrap_err()));
                        while_panicking(|| gort_runtime::scope(|s| drop(s.spawn(yield_now))));
                        tid()
                    })
                })
                .collect();
            handles.into_iter().for_each(|handle| _ = handle.join().unwrap());
        });
        until(|| num_goroutines() == 1);
    });
}

/// A goroutine that parks while it panics, and its handle.
fn parked_panicker() -> (Goroutine, gort_runtime::JoinHandle<()>, Arc<AtomicBool>) {
    let about_to_park = Arc::new(AtomicBool::new(false));
    let handle = spawn({
        let about_to_park = Arc::clone(&about_to_park);
        move || {
            while_panicking(|| {
                about_to_park.store(true, Ordering::SeqCst);
                park();
            });
        }
    });
    (handle.goroutine(), handle, about_to_park)
}

/// In the free modes, main is free to go on elsewhere.
#[test]
fn the_processor_goes_on_while_a_panicking_goroutine_waits() {
    at(&[1, 2], |setting| {
        if !setting.migrates() {
            return;
        }
        for _ in 0..20 {
            let (panicker, handle, parks) = parked_panicker();
            until(|| parks.load(Ordering::SeqCst));
            for n in 0..100 {
                assert_eq!(spawn(move || n).join().unwrap(), n);
                yield_now();
            }
            assert!(!handle.is_finished());
            panicker.unpark();
            handle.join().unwrap();
        }
    });
}

/// In every mode, one processor: a foreign thread watches that goroutines which are not bound to the
/// panicker's thread go on.
#[test]
fn goroutines_that_are_not_bound_to_the_thread_go_on() {
    for mode in MODES {
        let setting = Setting::new(1, mode);
        let runtime = setting.build();
        fixture::watched(&runtime, || {
            for _ in 0..10 {
                let (panicker, handle, parks) = runtime.run(parked_panicker);
                spin_until(|| parks.load(Ordering::SeqCst));
                for n in 0..50 {
                    assert_eq!(runtime.run(move || spawn(move || n).join().unwrap()), n);
                }
                assert!(!handle.is_finished());
                panicker.unpark();
                handle.join().unwrap();
            }
        });
        gort_runtime::__private::check(runtime, || ());
    }
}

/// Goroutines bound to the thread wait, and go on when it does.
#[test]
fn goroutines_that_are_bound_to_the_thread_wait_and_go_on_afterwards() {
    at(&[1], |_| {
        for _ in 0..20 {
            let siblings: Vec<_> =
                (0..8).map(|n| spawn(move || (0..10).fold(n, |n, _| ready_again(n)))).collect();
            yield_now();
            let sleeper = spawn(|| while_panicking(|| sleep(Duration::from_micros(500))));
            sleeper.join().unwrap();
            for (n, sibling) in siblings.into_iter().enumerate() {
                assert_eq!(sibling.join().unwrap(), n);
            }
        }
    });
}

fn ready_again(n: usize) -> usize {
    yield_now();
    n
}

#[test]
fn many_goroutines_panic_and_wait_at_once() {
    const MANY: usize = 60;
    at_1_2_4(|_| {
        let parked = Arc::new(AtomicUsize::new(0));
        // Spawned from a goroutine of its own: whoever unparks must not be bound to a panicker's thread.
        let handles: Vec<_> = (0..MANY)
            .map(|_| {
                let parked = Arc::clone(&parked);
                spawn(move || {
                    while_panicking(|| {
                        parked.fetch_add(1, Ordering::SeqCst);
                        park();
                    });
                })
            })
            .collect();
        let all: Vec<_> = handles.iter().map(|handle| handle.goroutine()).collect();
        let waker = thread::spawn(move || {
            // A goroutine bound to a sleeping panicker's thread waits for it, so wake those that are there.
            let mut woken = 0;
            while woken < MANY {
                if parked.load(Ordering::SeqCst) > woken {
                    woken = parked.load(Ordering::SeqCst);
                    all.iter().for_each(Goroutine::unpark);
                }
            }
            all.iter().for_each(Goroutine::unpark);
        });
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        until(|| waker.is_finished());
        waker.join().unwrap();
    });
}

#[test]
fn panicking_goroutines_wait_all_at_the_same_time() {
    const MANY: usize = 20;
    at_1_2_4(|setting| {
        if !setting.migrates() {
            return;
        }
        let parked = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..MANY)
            .map(|_| {
                let parked = Arc::clone(&parked);
                spawn(move || {
                    while_panicking(|| {
                        parked.fetch_add(1, Ordering::SeqCst);
                        park();
                    });
                })
            })
            .collect();
        until(|| parked.load(Ordering::SeqCst) == MANY);
        let workers = runtime::info().unwrap().workers;
        assert!(workers >= MANY, "each keeps its thread: {workers} threads");
        handles.iter().for_each(|handle| handle.goroutine().unpark());
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn panics_nest_and_each_level_may_wait() {
    fn nest(depth: usize) {
        while_panicking(|| {
            yield_now();
            if depth > 0 {
                // A further panic within the destructor, caught within it.
                nest_inner(depth - 1);
            }
            sleep(Duration::from_micros(50));
        });
    }
    fn nest_inner(depth: usize) {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _on_drop = OnDrop(|| {
                let before = tid();
                yield_now();
                if depth > 0 {
                    nest_inner(depth - 1);
                }
                park_timeout(Duration::from_micros(50));
                assert_eq!(tid(), before);
                assert_panicking();
            });
            resume_unwind(Box::new("inner"));
        }));
        assert_eq!(message(&*caught.unwrap_err()), "inner");
        assert_panicking();
    }
    at_1_2_4(|_| {
        with_bystanders(|| {
            let handles: Vec<_> = (0..6).map(|_| spawn(|| nest(4))).collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        });
    });
}

#[test]
fn catch_unwind_holds_across_yields() {
    everywhere(|setting| {
        let handles: Vec<_> = (0..40)
            .map(|n: usize| {
                let mut rng = setting.rng(n as u64);
                spawn(move || {
                    for round in 0..20 {
                        let caught = catch_unwind(AssertUnwindSafe(|| {
                            for _ in 0..rng.below(4) {
                                yield_now();
                            }
                            let value = catch_unwind(|| {
                                yield_now();
                                resume_unwind(Box::new(n));
                            });
                            assert_eq!(value.unwrap_err().downcast_ref(), Some(&n));
                            yield_now();
                            resume_unwind(Box::new(n + round));
                        }));
                        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&(n + round)));
                        assert!(!thread::panicking());
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn after_the_panic_a_free_goroutine_moves_again() {
    at(&[2, 4], |setting| {
        if setting.mode != fixture::Mode::ChildFirst {
            return;
        }
        let child = spawn(|| {
            while_panicking(|| sleep(Duration::from_micros(100)));
            let (before, gone_on) = (tid(), Arc::new(AtomicBool::new(false)));
            // The child runs here at once, and holds the thread until we have gone on: elsewhere.
            let holder = spawn({
                let gone_on = Arc::clone(&gone_on);
                move || spin_until(|| gone_on.load(Ordering::SeqCst))
            });
            let after = tid();
            gone_on.store(true, Ordering::SeqCst);
            holder.join().unwrap();
            assert_ne!(before, after, "it is bound still");
        });
        child.join().unwrap();
    });
}

/// A payload that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new("the bomb"));
    }
}

#[test]
fn a_payload_whose_drop_panics_harms_only_who_drops_it() {
    at_1_2_4(|_| {
        let fail = || spawn(|| resume_unwind(Box::new(Bomb)));
        // Dropped by us: with the result, and with the handle of an ended goroutine.
        let payload = fail().join().unwrap_err();
        let caught = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        assert_eq!(message(&*caught.unwrap_err()), "the bomb");
        let handle = fail();
        until(|| handle.is_finished());
        let caught = catch_unwind(AssertUnwindSafe(|| drop(handle)));
        assert_eq!(message(&*caught.unwrap_err()), "the bomb");
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
        until(|| num_goroutines() == 1);
    });
}

/// There is nobody to whom it could be told: the process ends, with a message.
#[test]
fn a_detached_goroutine_s_payload_whose_drop_panics_aborts() {
    for mode in MODES {
        let child =
            Child::new("a_detached_goroutine_s_payload_whose_drop_panics_aborts", &format!("{mode:?}"));
        let ended = child.run(|| {
            Setting::new(1, mode).build().run(|| {
                let handle = spawn(|| {
                    park();
                    resume_unwind(Box::new(Bomb));
                });
                let goroutine = handle.goroutine();
                drop(handle);
                goroutine.unpark();
                until(|| num_goroutines() == 1);
            });
        });
        if let Some(ended) = ended {
            assert_eq!(ended.output.status.signal(), Some(libc::SIGABRT), "{}", ended.stderr);
            assert!(
                ended.stderr.contains("the end of a goroutine (a destructor of a result"),
                "{}",
                ended.stderr
            );
            assert!(!ended.stdout.contains(": done"));
        }
    }
}
