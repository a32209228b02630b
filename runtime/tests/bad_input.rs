//! What is wrong is refused with an error that names it, from the environment, the builders and the time
//! of the call; and a runtime that ends leaves no thread behind.
#![cfg(test)]

mod fixture;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fixture::{
    Child, MODES, Mode, Setting, count_threads, limit_address_space, panic_message, poll_until, spin_until,
    until, watched,
};
use gort_runtime::runtime::{self, Runtime};
use gort_runtime::{
    Builder, ThreadLocals, current, max_procs, num_goroutines, park, park_timeout, run, scope, set_max_procs,
    sleep, spawn, yield_now,
};

/// All ways in which a runtime starts by the environment fail, with this message.
fn assert_nothing_starts(expected: &str, kind: ErrorKind) {
    let error = runtime::Builder::new().build().unwrap_err();
    assert_eq!((error.to_string().as_str(), error.kind()), (expected, kind));
    assert_eq!(runtime::info().unwrap_err().to_string(), expected);
    assert_eq!(Builder::new().spawn(|| ()).unwrap_err().to_string(), expected);
    assert_eq!(panic_message(|| spawn(|| ())), format!("cannot spawn a goroutine: {expected}"));
    assert_eq!(panic_message(|| run(|| ())), format!("cannot start gort: {expected}"));
    assert_eq!(num_goroutines(), 0);
}

#[test]
fn a_gomaxprocs_that_is_no_number_of_processors_is_an_error() {
    for value in ["banana", "0", "100000", "-1"] {
        let test = "a_gomaxprocs_that_is_no_number_of_processors_is_an_error";
        Child::new(test, value).env("GOMAXPROCS", value).succeeds(|| {
            let expected = format!("GOMAXPROCS={value} is not a number of processors from 1 to 1024");
            assert_nothing_starts(&expected, ErrorKind::InvalidInput);
            assert_eq!(max_procs(), 1);
            assert!(set_max_procs(2).is_err());
            // The builder's word goes before it.
            assert_eq!(runtime::Builder::new().procs(3).build().unwrap().run(max_procs), 3);
        });
    }
}

#[test]
fn a_gomaxprocs_may_be_empty_or_stand_in_blanks() {
    for (value, expected) in [(" 2 ", Some(2)), ("7", Some(7)), ("", None), (" ", None)] {
        let test = "a_gomaxprocs_may_be_empty_or_stand_in_blanks";
        Child::new(test, value).env("GOMAXPROCS", value).succeeds(|| {
            let before = max_procs();
            assert_eq!(before, expected.unwrap_or(before));
            assert_eq!(runtime::Builder::new().build().unwrap().info().max_procs, before);
            assert_eq!(run(max_procs), before);
        });
    }
}

#[test]
fn a_switch_that_is_neither_on_nor_off_is_an_error() {
    let test = "a_switch_that_is_neither_on_nor_off_is_an_error";
    for name in ["GORT_CHECK", "GORT_REPORT_LEAKS", "GORT_REPORT_STANDSTILL"] {
        Child::new(test, name).env(name, "yes").succeeds(|| {
            assert_nothing_starts(&format!("{name}=yes is none of 0, 1"), ErrorKind::InvalidInput);
        });
    }
}

#[test]
fn a_seed_that_is_no_number_is_an_error() {
    for value in ["x", "-1", "1.5"] {
        Child::new("a_seed_that_is_no_number_is_an_error", value).env("GORT_SEED", value).succeeds(|| {
            assert_nothing_starts(&format!("GORT_SEED={value} is not a number"), ErrorKind::InvalidInput);
            assert_eq!(runtime::Builder::new().seed(1).build().unwrap().run(|| 1), 1);
        });
    }
}

#[test]
fn thread_locals_that_are_not_available_are_an_error_or_fall_back() {
    let child = |value: &'static str| {
        let test = "thread_locals_that_are_not_available_are_an_error_or_fall_back";
        Child::new(test, value).env("GORT_THREAD_LOCALS", value)
    };
    const UNAVAILABLE: &str = "thread-locals per goroutine are not available in this version of gort";
    child("goroutine").succeeds(|| {
        assert_nothing_starts(UNAVAILABLE, ErrorKind::Unsupported);
        let rt = runtime::Builder::new().thread_locals(ThreadLocals::PerWorker).build().unwrap();
        assert_eq!(rt.info().thread_locals_reason, None);
    });
    child("nonsense").succeeds(|| {
        let expected = "GORT_THREAD_LOCALS=nonsense is none of worker, goroutine, fallback";
        assert_nothing_starts(expected, ErrorKind::InvalidInput);
    });
    child("fallback").succeeds(|| {
        let info = run(|| runtime::info().unwrap());
        assert_eq!((info.thread_locals_reason, info.migrates), (Some(UNAVAILABLE), false));
        assert_eq!(run(|| spawn(|| 1).join().unwrap()), 1);
    });
    for value in ["worker", ""] {
        child(value).succeeds(|| assert_eq!(run(|| runtime::info().unwrap()).thread_locals_reason, None));
    }
}

#[test]
fn thread_locals_of_one_goroutine_that_are_not_available_are_an_error() {
    for mode in MODES {
        Setting::new(2, mode).check(|| {
            let wish = |wish| Builder::new().thread_locals(wish).spawn(|| 1);
            assert_eq!(wish(ThreadLocals::PerGoroutine).unwrap_err().kind(), ErrorKind::Unsupported);
            assert_eq!(wish(ThreadLocals::PerWorker).unwrap().join().unwrap(), 1);
            assert_eq!(wish(ThreadLocals::Fallback).unwrap().join().unwrap(), 1);
        });
    }
}

#[test]
fn builders_refuse_what_is_out_of_range() {
    let refusal = |builder: runtime::Builder| {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    };
    let new = runtime::Builder::new;
    assert_eq!(refusal(new().procs(0)), "0 processors: a runtime has from 1 to 1024");
    assert_eq!(refusal(new().procs(1025)), "1025 processors: a runtime has from 1 to 1024");
    assert_eq!(refusal(new().stack_size(100)), "stack size of 100 bytes is below the minimum of 16384");
    let above = (1 << 30) + 1;
    let expected = format!("stack size of {above} bytes is above the maximum of {}", 1 << 30);
    assert_eq!(refusal(new().stack_size(above)), expected);
    let error = new().thread_locals(ThreadLocals::PerGoroutine).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_nested_run_blocks_only_the_goroutine_that_calls_it() {
    for mode in MODES {
        let scenario = format!("{mode:?}");
        Child::new("a_nested_run_blocks_only_the_goroutine_that_calls_it", &scenario).succeeds(|| {
            assert_eq!(run(|| 1), 1);
            let setting = Setting::new(1, mode);
            setting.check(|| {
                let (inside, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
                let child = spawn({
                    let (inside, go) = (Arc::clone(&inside), Arc::clone(&go));
                    move || {
                        let outer = current();
                        let value = run(|| {
                            assert_ne!(current(), outer);
                            assert_eq!(num_goroutines(), 1, "it is a runtime of its own");
                            inside.store(true, Ordering::SeqCst);
                            until(|| go.load(Ordering::SeqCst));
                            spawn(|| 7).join().unwrap()
                        });
                        assert_eq!(current(), outer);
                        value
                    }
                });
                until(|| inside.load(Ordering::SeqCst));
                assert_eq!(num_goroutines(), 2);
                go.store(true, Ordering::SeqCst);
                assert_eq!(child.join().unwrap(), 7);
                let payload = spawn(|| run(|| panic!("inside"))).join().unwrap_err();
                assert_eq!(fixture::message(&*payload), "inside");
            });
        });
    }
}

#[test]
fn a_nested_run_is_private() {
    Child::new("a_nested_run_is_private", "").succeeds(|| {
        // It is the first `run` of the process.
        assert_eq!(Setting::new(2, Mode::PerWorker).build().run(|| run(|| 1)), 1);
        // The process-wide runtime is yet to start.
        assert_eq!(num_goroutines(), 0);
        assert_eq!(spawn(|| 2).join().unwrap(), 2);
    });
}

#[test]
fn nothing_is_spawned_after_run_has_returned() {
    Child::new("nothing_is_spawned_after_run_has_returned", "").succeeds(|| {
        const STOPPED: &str = "the goroutine runtime has been shut down";
        let left = Arc::new(AtomicUsize::new(0));
        run({
            let left = Arc::clone(&left);
            move || drop(spawn(move || until(|| left.load(Ordering::SeqCst) == 1)))
        });
        assert_eq!(Builder::new().spawn(|| ()).unwrap_err().to_string(), STOPPED);
        assert_eq!(panic_message(|| spawn(|| ())), format!("cannot spawn a goroutine: {STOPPED}"));
        let message = panic_message(|| scope(|s| drop(s.spawn(|| ()))));
        assert_eq!(message, format!("cannot spawn a goroutine: {STOPPED}"));
        assert_eq!(num_goroutines(), 1, "what did not end is leaked");
        // Later ones are private, and work; so do built ones.
        assert_eq!(run(|| spawn(|| 3).join().unwrap()), 3);
        assert_eq!(runtime::Builder::new().build().unwrap().run(|| spawn(|| 4).join().unwrap()), 4);
        sleep(Duration::from_millis(1));
    });
}

#[test]
fn calls_on_a_plain_thread_are_those_of_threads_or_go_to_the_process_wide_runtime() {
    let test = "calls_on_a_plain_thread_are_those_of_threads_or_go_to_the_process_wide_runtime";
    Child::new(test, "").env("GOMAXPROCS", "3").succeeds(|| {
        assert_eq!((max_procs(), num_goroutines()), (3, 0));
        let before = count_threads();
        yield_now();
        let start = std::time::Instant::now();
        sleep(Duration::from_millis(2));
        park_timeout(Duration::from_millis(2));
        assert!(start.elapsed() >= Duration::from_millis(4));
        current().unpark();
        park();
        assert_eq!(current().id(), 0);
        assert_eq!(gort_runtime::grow(|| 1), 1);
        assert_eq!(count_threads(), before, "none of these has started a runtime");
        let mut local = 1;
        scope(|s| drop(s.spawn(|| local += 1)));
        assert_eq!(local, 2);
        assert_eq!(spawn(|| spawn(max_procs).join().unwrap()).join().unwrap(), 3);
        assert_eq!(set_max_procs(2).unwrap(), 3);
        assert_eq!((max_procs(), spawn(max_procs).join().unwrap()), (2, 2));
        assert_eq!(runtime::info().unwrap().max_procs, 2);
    });
}

#[test]
fn a_runtime_that_gets_no_thread_is_an_error_that_says_so() {
    // glibc keeps the stacks of ended threads for the next ones, but none as large as these.
    let child = Child::new("a_runtime_that_gets_no_thread_is_an_error_that_says_so", "");
    child.env("RUST_MIN_STACK", "67108864").succeeds(|| {
        let before = count_threads();
        assert!(runtime::Builder::new().build().unwrap().shutdown_timeout(Duration::from_secs(30)));
        poll_until("the end of the first runtime", || count_threads() == before);
        // Enough for no thread at all; enough for one, but not for all three.
        for more in [2 << 20, 80 << 20] {
            limit_address_space(Some(more));
            let refused = [(); 3].map(|()| {
                let refused = runtime::Builder::new().build().map(|runtime| runtime.info());
                poll_until("the end of what was started", || count_threads() == before);
                refused
            });
            limit_address_space(None);
            for error in refused {
                let text = error.expect_err("there is no room for a thread").to_string();
                assert!(text.starts_with("cannot start a thread of the goroutine runtime: "), "{text}");
            }
        }
        assert_eq!(runtime::Builder::new().build().unwrap().run(|| spawn(|| 1).join().unwrap()), 1);
    });
}

/// A runtime with a goroutine that makes no call until it is told to go on with `next`, which must not
/// return if the runtime has been shut down meanwhile.
fn with_spinner(setting: Setting, next: fn()) -> (Runtime, Arc<AtomicBool>, Arc<AtomicBool>) {
    let runtime = setting.build();
    let [spins, told, returned] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    runtime.run({
        let (spins, told, returned) = (Arc::clone(&spins), Arc::clone(&told), Arc::clone(&returned));
        move || {
            drop(spawn({
                let spins = Arc::clone(&spins);
                move || {
                    spins.store(true, Ordering::SeqCst);
                    spin_until(|| told.load(Ordering::SeqCst));
                    next();
                    returned.store(true, Ordering::SeqCst);
                }
            }));
        }
    });
    spin_until(|| spins.load(Ordering::SeqCst));
    (runtime, told, returned)
}

#[test]
fn shutdown_timeout_says_whether_all_threads_have_ended() {
    Child::new("shutdown_timeout_says_whether_all_threads_have_ended", "").succeeds(|| {
        let before = count_threads();
        for mode in MODES {
            let setting = Setting::new(2, mode);
            let runtime = setting.build();
            runtime.run(|| (0..20).for_each(|_| spawn(yield_now).join().unwrap()));
            assert!(runtime.shutdown_timeout(Duration::from_secs(30)));
            poll_until("the end of the threads", || count_threads() == before);
            let (runtime, told, _) = with_spinner(setting, || ());
            assert!(!runtime.shutdown_timeout(Duration::from_millis(20)), "a goroutine runs");
            assert!(count_threads() > before);
            told.store(true, Ordering::SeqCst);
            poll_until("the end of the last thread", || count_threads() == before);
            let (runtime, told, _) = with_spinner(setting, || ());
            assert!(!runtime.shutdown_timeout(Duration::ZERO));
            told.store(true, Ordering::SeqCst);
            poll_until("the end of a goroutine that ended itself", || count_threads() == before);
        }
        // Suspended goroutines do not count. (They may keep their threads: the last ones of this process.)
        for mode in MODES {
            let runtime = Setting::new(2, mode).build();
            runtime.run(|| (0..20).for_each(|_| drop(spawn(park))));
            assert_eq!(runtime.num_goroutines(), 20);
            assert!(runtime.shutdown_timeout(Duration::from_secs(30)));
        }
    });
}

#[test]
fn goroutines_stop_at_their_next_call_once_the_runtime_is_shut_down() {
    let calls: [(&str, fn()); 14] = [
        ("spawn", || drop(spawn(|| ()))),
        ("Builder::spawn", || drop(Builder::new().spawn(|| ()))),
        ("scope", || scope(|s| drop(s.spawn(|| ())))),
        ("unpark", || current().unpark()),
        ("park", park),
        ("park with a token", || {
            current().unpark();
            park();
        }),
        ("park_timeout", || park_timeout(Duration::from_millis(1))),
        ("sleep", || sleep(Duration::from_millis(1))),
        ("sleep of zero", || sleep(Duration::ZERO)),
        ("sleep for ever", || sleep(Duration::MAX)),
        ("yield_now", yield_now),
        ("a call in a segment", || gort_runtime::grow(yield_now)),
        ("a call beneath catch_unwind", || drop(std::panic::catch_unwind(yield_now))),
        ("until", || until(|| false)),
    ];
    Child::new("goroutines_stop_at_their_next_call_once_the_runtime_is_shut_down", "")
        .succeeds(|| assert_none_returns(&calls));
}

/// Calls that are made while a panic unwinds, which keeps its goroutine on its thread.
#[test]
fn panicking_goroutines_stop_at_their_next_call_as_well() {
    struct Calls(fn());
    impl Drop for Calls {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    fn while_panicking(call: fn()) {
        drop(std::panic::catch_unwind(|| {
            let _calls = Calls(call);
            std::panic::resume_unwind(Box::new(()));
        }));
    }
    let calls: [(&str, fn()); 5] = [
        ("spawn", || while_panicking(|| drop(spawn(|| ())))),
        ("unpark", || while_panicking(|| current().unpark())),
        ("park", || while_panicking(park)),
        ("sleep", || while_panicking(|| sleep(Duration::from_millis(1)))),
        ("yield_now", || while_panicking(yield_now)),
    ];
    Child::new("panicking_goroutines_stop_at_their_next_call_as_well", "")
        .succeeds(|| assert_none_returns(&calls));
}

/// Each call, made in a runtime that has been shut down, ends its goroutine. In a process of its own.
fn assert_none_returns(calls: &[(&str, fn())]) {
    let mut before = count_threads();
    for mode in [Mode::ChildFirst, Mode::ParentFirst, Mode::PerWorker] {
        let setting = Setting::new(2, mode);
        let runtimes: Vec<_> = calls.iter().map(|&(_, next)| with_spinner(setting, next)).collect();
        let flags: Vec<_> = runtimes
            .into_iter()
            .map(|(runtime, told, returned)| {
                drop(runtime);
                (told, returned)
            })
            .collect();
        flags.iter().for_each(|(told, _)| told.store(true, Ordering::SeqCst));
        // A thread to which a leaked goroutine is bound sleeps on, for its thread-locals are the thread's.
        before += if mode == Mode::PerWorker { calls.len() } else { 0 };
        poll_until("the end of all other threads", || count_threads() == before);
        for ((what, _), (_, returned)) in calls.iter().zip(flags) {
            assert!(!returned.load(Ordering::SeqCst), "{what} returned, {setting:?}");
        }
    }
}

#[test]
fn a_goroutine_cannot_wait_for_the_end_of_its_own_runtime() {
    for mode in MODES {
        let runtime = Arc::new(Setting::new(2, mode).build());
        let inner = Arc::clone(&runtime);
        let (tx, rx) = std::sync::mpsc::channel();
        runtime.run(|| {
            drop(spawn(move || {
                until(|| Arc::strong_count(&inner) == 1);
                let own = Arc::into_inner(inner).unwrap();
                // Unwinding drops the runtime: a thread hears of it still, no goroutine does.
                tx.send(panic_message(|| own.shutdown_timeout(Duration::from_secs(30)))).unwrap();
            }));
        });
        drop(runtime);
        assert_eq!(rx.recv().unwrap(), "a goroutine cannot wait for the end of its own runtime");
    }
}

#[test]
fn runtimes_live_side_by_side() {
    Child::new("runtimes_live_side_by_side", "").succeeds(|| {
        let before = count_threads();
        let runtimes: Vec<_> = (0..32).map(|n| Setting::new(1 + n % 4, MODES[n % 3]).build()).collect();
        thread::scope(|s| {
            for (n, runtime) in runtimes.iter().enumerate() {
                s.spawn(move || {
                    let sum = || (0..100).map(|k| spawn(move || k * n).join().unwrap()).sum::<usize>();
                    assert_eq!(watched(runtime, || runtime.run(sum)), 4_950 * n);
                });
            }
        });
        assert!(runtimes.iter().all(|runtime| runtime.num_goroutines() == 0));
        runtimes.into_iter().for_each(|rt| assert!(rt.shutdown_timeout(Duration::from_secs(30))));
        poll_until("the end of all threads", || count_threads() == before);
    });
}

#[test]
fn runtimes_that_have_ended_leave_no_thread() {
    Child::new("runtimes_that_have_ended_leave_no_thread", "").succeeds(|| {
        let before = count_threads();
        for n in 0..300 {
            let runtime = Setting::new(1 + n % 4, MODES[n % 3]).build();
            match n % 4 {
                // Never used.
                0 => {}
                1 => assert_eq!(runtime.run(|| n), n),
                _ => assert_eq!(runtime.run(|| spawn(move || n).join().unwrap()), n),
            }
            if n % 8 == 0 {
                assert!(runtime.shutdown_timeout(Duration::from_secs(30)));
            }
        }
        poll_until("the end of all threads", || count_threads() == before);
    });
}
