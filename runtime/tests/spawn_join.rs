//! Spawning and joining: every goroutine runs once, and its result or its panic goes to whoever joins it,
//! or is dropped exactly once.
#![cfg(test)]

mod fixture;

use std::any::Any;
use std::collections::HashSet;
use std::panic::{panic_any, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use fixture::{MODES, Setting, at, at_1_2_4, everywhere, message, until};
use gort_runtime::{Builder, JoinHandle, current, num_goroutines, park, spawn, yield_now};

/// Counts its drops.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn join_returns_what_the_closure_returned() {
    everywhere(|_| {
        let handles: Vec<_> = (0..500).map(|n| spawn(move || (n, n.to_string()))).collect();
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), (n, n.to_string()));
        }
    });
}

#[test]
fn arguments_are_evaluated_by_the_spawner() {
    everywhere(|_| {
        let spawner = current();
        let argument = current();
        let child = spawn(move || (argument, current())).join().unwrap();
        assert_eq!(child.0, spawner);
        assert_ne!(child.1, spawner);
    });
}

#[test]
fn a_panic_is_the_error_of_join() {
    everywhere(|setting| {
        let payload = |handle: JoinHandle<()>| handle.join().unwrap_err();
        let text = payload(spawn(|| panic!("just text")));
        assert_eq!(text.downcast_ref(), Some(&"just text"));
        let formatted = payload(spawn(move || panic!("at {}", setting.procs)));
        assert_eq!(formatted.downcast_ref(), Some(&format!("at {}", setting.procs)));
        let any = payload(spawn(|| panic_any(42_u64)));
        assert_eq!(any.downcast_ref(), Some(&42_u64));
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    });
}

#[test]
fn a_panic_unwinds_its_own_goroutine_only() {
    everywhere(|_| {
        let drops = Arc::new(AtomicUsize::new(0));
        let sibling = spawn(|| {
            park();
            1
        });
        let own = Dropped(Arc::clone(&drops));
        let handle = spawn(move || {
            let _own = own;
            resume_unwind(Box::new(1_i32));
        });
        assert_eq!(handle.join().unwrap_err().downcast_ref(), Some(&1_i32));
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        sibling.goroutine().unpark();
        assert_eq!(sibling.join().unwrap(), 1);
    });
}

#[test]
fn main_s_panic_is_run_s_panic() {
    for mode in MODES {
        let runtime = Setting::new(2, mode).build();
        let payload = thread::scope(|s| s.spawn(|| runtime.run(|| panic_any(7_u8))).join().unwrap_err());
        assert_eq!(payload.downcast_ref(), Some(&7_u8));
        assert_eq!(runtime.run(|| 1), 1, "the runtime goes on");
    }
}

#[test]
fn is_finished_is_true_once_it_has_ended() {
    everywhere(|_| {
        let go = Arc::new(AtomicBool::new(false));
        let handle = spawn({
            let go = Arc::clone(&go);
            move || until(|| go.load(Ordering::SeqCst))
        });
        for _ in 0..10 {
            assert!(!handle.is_finished());
            yield_now();
        }
        go.store(true, Ordering::SeqCst);
        until(|| handle.is_finished());
        handle.join().unwrap();
    });
}

#[test]
fn dropping_the_handle_detaches() {
    everywhere(|_| {
        let (go, gone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        drop(spawn({
            let (go, gone) = (Arc::clone(&go), Arc::clone(&gone));
            move || {
                until(|| go.load(Ordering::SeqCst));
                gone.store(true, Ordering::SeqCst);
            }
        }));
        assert_eq!(num_goroutines(), 2);
        go.store(true, Ordering::SeqCst);
        until(|| gone.load(Ordering::SeqCst) && num_goroutines() == 1);
    });
}

#[repr(align(128))]
struct Align128([u8; 300]);
#[repr(align(4096))]
struct Align4096([u8; 4096]);

/// Takes `value` into a goroutine and out again.
fn there_and_back<T: Send + 'static>(value: T) -> T {
    fn is_aligned<T>(value: &T) -> bool {
        std::ptr::from_ref(value).addr().is_multiple_of(align_of::<T>())
    }
    let child = Builder::new().stack_size(4 << 20).spawn(move || {
        assert!(is_aligned(&value));
        yield_now();
        value
    });
    let value = child.unwrap().join().unwrap();
    assert!(is_aligned(&value));
    value
}

#[test]
fn closures_and_results_may_have_any_size_and_alignment() {
    for mode in MODES {
        let setting = Setting::new(2, mode);
        let runtime = setting.builder().stack_size(4 << 20).build().unwrap();
        gort_runtime::__private::check(runtime, || {
            spawn(|| ()).join().unwrap();
            there_and_back(());
            assert_eq!(there_and_back(3_u8), 3);
            assert_eq!(there_and_back([5_u8; 511]), [5; 511]);
            assert_eq!(there_and_back([5_u64; 64]), [5; 64]);
            assert_eq!(there_and_back([5_u8; 513]), [5; 513]);
            assert_eq!(there_and_back([6_u64; 512]), [6; 512]);
            assert_eq!(there_and_back([7_u8; 100 << 10]), [7; 100 << 10]);
            assert_eq!(there_and_back(Align128([8; 300])).0, [8; 300]);
            assert_eq!(there_and_back(Align4096([9; 4096])).0, [9; 4096]);
            assert_eq!(there_and_back(u128::MAX), u128::MAX);
        });
    }
}

/// A goroutine whose result counts its drops; it waits to be unparked if `waits`.
fn with_counted_result(drops: &Arc<AtomicUsize>, waits: bool, fails: bool) -> JoinHandle<Dropped> {
    let (captured, result) = (Dropped(Arc::clone(drops)), Dropped(Arc::clone(drops)));
    spawn(move || {
        let _captured = captured;
        if waits {
            park();
        }
        if fails {
            resume_unwind(Box::new(result));
        }
        result
    })
}

#[test]
fn what_a_goroutine_owns_is_dropped_exactly_once() {
    everywhere(|_| {
        for fails in [false, true] {
            let drops = Arc::new(AtomicUsize::new(0));
            let count = || drops.swap(0, Ordering::SeqCst);
            // Joined: the closure's by its end, the result's by us.
            let result = with_counted_result(&drops, false, fails).join();
            assert_eq!(count(), 1);
            assert_eq!(result.is_err(), fails);
            drop(result);
            assert_eq!(count(), 1);
            // The handle is dropped before the end.
            let handle = with_counted_result(&drops, true, fails);
            let child = handle.goroutine();
            drop(handle);
            assert_eq!(count(), 0);
            child.unpark();
            until(|| drops.load(Ordering::SeqCst) == 2 && num_goroutines() == 1);
            assert_eq!(count(), 2);
            // After the end.
            let handle = with_counted_result(&drops, false, fails);
            until(|| handle.is_finished());
            assert_eq!(count(), 1);
            drop(handle);
            assert_eq!(count(), 1);
        }
    });
}

#[test]
fn a_handle_dropped_while_its_goroutine_ends_drops_the_result_once() {
    const TIMES: usize = 10_000;
    at_1_2_4(|setting| {
        let drops = Arc::new(AtomicUsize::new(0));
        let mut rng = setting.rng(1);
        for time in 0..TIMES {
            let handle = with_counted_result(&drops, false, time % 8 == 0);
            match rng.below(4) {
                0 => yield_now(),
                1 => (0..rng.below(200)).for_each(|_| std::hint::spin_loop()),
                _ => {}
            }
            match rng.below(4) {
                0 => drop(handle.join()),
                _ => drop(handle),
            }
        }
        until(|| num_goroutines() == 1);
        assert_eq!(drops.load(Ordering::SeqCst), 2 * TIMES);
    });
}

#[test]
fn names_and_ids_name_one_goroutine() {
    everywhere(|_| {
        let named = Builder::new().name("worker").spawn(current).unwrap();
        let handle = named.goroutine();
        let inside = named.join().unwrap();
        assert_eq!((handle.name(), inside.name()), (Some("worker"), Some("worker")));
        assert_eq!((handle.id(), &handle), (inside.id(), &inside));
        assert_eq!(spawn(current).join().unwrap().name(), None);
        let handles: Vec<_> = (0..10)
            .map(|_| spawn(|| (0..200).map(|_| spawn(|| current().id())).collect::<Vec<_>>()))
            .flat_map(|spawner| spawner.join().unwrap())
            .collect();
        let mut ids: HashSet<u64> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        assert_eq!(ids.len(), 2_000);
        assert!(ids.insert(current().id()));
        assert!(ids.insert(handle.id()));
    });
}

#[test]
fn names_of_detached_goroutines_are_dropped() {
    everywhere(|_| {
        for _ in 0..200 {
            drop(Builder::new().name("for a moment").spawn(|| assert!(current().name().is_some())).unwrap());
        }
        until(|| num_goroutines() == 1);
        assert_eq!(spawn(current).join().unwrap().name(), None, "a slot is reused without its name");
    });
}

#[test]
fn foreign_threads_spawn_and_join() {
    let spawner = || {
        let handles: Vec<_> = (0..500).map(|n| spawn(move || n * 2)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>()
    };
    let sums = thread::scope(|s| {
        let threads: Vec<_> = (0..4).map(|_| s.spawn(spawner)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(sums, [500 * 499; 4]);
}

#[test]
fn foreign_threads_join_goroutines_of_private_runtimes() {
    at(&[1, 2], |_| {
        let (handles, others): (Vec<_>, Vec<_>) = (0..200).map(|n| (spawn(move || n), spawn(park))).unzip();
        let thread = thread::spawn(move || {
            others.iter().for_each(|other| other.goroutine().unpark());
            others.into_iter().for_each(|other| other.join().unwrap());
            handles.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>()
        });
        until(|| thread.is_finished());
        assert_eq!(thread.join().unwrap(), 199 * 100);
    });
}

#[test]
fn spawns_nest_a_thousand_deep() {
    fn nest(depth: usize) -> usize {
        if depth == 0 { 0 } else { 1 + spawn(move || nest(depth - 1)).join().unwrap() }
    }
    everywhere(|_| assert_eq!(nest(1_000), 1_000));
}

#[test]
fn a_hundred_thousand_goroutines_are_alive_at_once() {
    const MANY: usize = 100_000;
    at(&[2], |_| {
        let started = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..MANY)
            .map(|n| {
                let started = Arc::clone(&started);
                spawn(move || {
                    started.fetch_add(1, Ordering::Relaxed);
                    park();
                    n
                })
            })
            .collect();
        until(|| started.load(Ordering::Relaxed) == MANY);
        assert_eq!(num_goroutines(), MANY + 1);
        handles.iter().for_each(|handle| handle.goroutine().unpark());
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), n);
        }
    });
}

#[test]
fn goroutines_of_two_runtimes_join_each_other() {
    for mode in MODES {
        let other = Setting::new(1, mode).build();
        Setting::new(2, mode).check(|| {
            for n in 0..100 {
                assert_eq!(other.run(|| spawn(move || n)).join().unwrap(), n);
            }
            let failed = other.run(|| spawn(|| panic!("over there")).join().unwrap_err());
            let failed: Box<dyn Any + Send> = failed;
            assert_eq!(message(&*failed), "over there");
        });
        assert_eq!(other.num_goroutines(), 0);
    }
}
