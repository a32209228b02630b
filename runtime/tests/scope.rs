//! Scopes: goroutines that borrow, all ended before the scope returns, whatever panics.
#![cfg(test)]

mod fixture;

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use fixture::{at, at_1_2_4, everywhere, message, until};
use gort_runtime::{
    Builder, Scope, ScopedJoinHandle, current, num_goroutines, park, scope, spawn, yield_now,
};

/// What the scope says if a goroutine has panicked that nobody joined.
const UNJOINED: &str = "a goroutine of the scope panicked";

/// The payload of a scope that panics.
fn payload<'env, T>(f: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T) -> Box<dyn Any + Send> {
    catch_unwind(AssertUnwindSafe(|| drop(scope(f)))).expect_err("the scope panics")
}

/// Counts its drops in what it borrows.
struct Borrows<'a>(&'a AtomicUsize);

impl Drop for Borrows<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn goroutines_borrow_from_the_surroundings() {
    everywhere(|_| {
        let mut numbers: Vec<usize> = (0..1_000).collect();
        let sum = AtomicUsize::new(0);
        let returned = scope(|s| {
            for chunk in numbers.chunks_mut(30) {
                s.spawn(|| {
                    sum.fetch_add(chunk.iter().sum(), Ordering::Relaxed);
                    yield_now();
                    chunk.iter_mut().for_each(|n| *n *= 2);
                });
            }
            "the closure's value"
        });
        assert_eq!(returned, "the closure's value");
        assert_eq!(sum.into_inner(), 999 * 500);
        assert!(numbers.iter().enumerate().all(|(n, twice)| *twice == 2 * n));
    });
}

#[test]
fn results_may_borrow() {
    everywhere(|_| {
        let words = ["spawn", "park", "wake"].map(str::to_owned);
        let longest = scope(|s| {
            let handles: Vec<_> = words.iter().map(|word| s.spawn(move || (word.len(), word))).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).max().unwrap().1
        });
        assert!(std::ptr::eq(longest, &raw const words[0]));
    });
}

#[test]
fn an_empty_scope_returns() {
    everywhere(|_| {
        assert_eq!(scope(|_| 5), 5);
        assert_eq!(scope(|s| s.spawn(|| 6).join().unwrap()), 6);
    });
}

/// Goroutines that end at different times, each counted as its last act.
fn spawn_dawdlers<'scope>(s: &'scope Scope<'scope, '_>, ended: &'scope AtomicUsize) {
    for n in 0..50 {
        s.spawn(move || {
            (0..n).for_each(|_| yield_now());
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
}

#[test]
fn all_have_ended_before_it_returns() {
    everywhere(|_| {
        for _ in 0..10 {
            let ended = AtomicUsize::new(0);
            scope(|s| spawn_dawdlers(s, &ended));
            assert_eq!(ended.into_inner(), 50);
        }
    });
}

#[test]
fn all_have_ended_before_it_panics() {
    everywhere(|_| {
        for _ in 0..10 {
            let ended = AtomicUsize::new(0);
            let caught = payload(|s| {
                spawn_dawdlers(s, &ended);
                resume_unwind(Box::new(7_u8));
            });
            assert_eq!(ended.into_inner(), 50);
            assert_eq!(caught.downcast_ref(), Some(&7_u8));
        }
    });
}

/// The scope must not end before its goroutine, which only the spawner's other goroutine lets end.
#[test]
fn it_waits_for_one_that_is_woken_from_outside() {
    everywhere(|_| {
        for fails in [false, true] {
            let (gone, place) = (AtomicBool::new(false), Mutex::new(None));
            let result = catch_unwind(AssertUnwindSafe(|| {
                scope(|s| {
                    let child = s.spawn(|| {
                        park();
                        gone.store(true, Ordering::Relaxed);
                    });
                    *place.lock().unwrap() = Some(child.goroutine());
                    drop(child);
                    let waker = place.lock().unwrap().take().unwrap();
                    // Not of the scope: it wakes after the closure has ended, more often than not.
                    drop(spawn(move || {
                        (0..5).for_each(|_| yield_now());
                        waker.unpark();
                    }));
                    if fails {
                        resume_unwind(Box::new(()));
                    }
                });
            }));
            assert_eq!(result.is_err(), fails);
            assert!(gone.load(Ordering::Relaxed));
        }
        until(|| num_goroutines() == 1);
    });
}

#[test]
fn the_closure_s_own_panic_goes_first() {
    everywhere(|_| {
        let caught = payload(|s| {
            let child = s.spawn(|| resume_unwind(Box::new("the child's")));
            until(|| child.is_finished());
            drop(child);
            s.spawn(|| resume_unwind(Box::new("another child's")));
            resume_unwind(Box::new("the closure's"));
        });
        assert_eq!(message(&*caught), "the closure's");
    });
}

#[test]
fn the_panic_of_a_goroutine_that_nobody_joined_is_the_scope_s() {
    everywhere(|_| {
        for finished in [false, true] {
            let others = AtomicUsize::new(0);
            let caught = payload(|s| {
                let child = s.spawn(|| resume_unwind(Box::new(1_u64)));
                if finished {
                    until(|| child.is_finished());
                }
                drop(child);
                spawn_dawdlers(s, &others);
            });
            assert_eq!(message(&*caught), UNJOINED);
            assert_eq!(others.into_inner(), 50);
        }
    });
}

#[test]
fn the_panic_of_a_joined_goroutine_is_its_joiner_s_affair() {
    everywhere(|_| {
        let joined = scope(|s| {
            let here = s.spawn(|| panic_any(1_u64)).join().unwrap_err();
            let child = s.spawn(|| panic_any(2_u64));
            let there = s.spawn(|| child.join().unwrap_err()).join().unwrap();
            [here, there].map(|payload| *payload.downcast::<u64>().unwrap())
        });
        assert_eq!(joined, [1, 2]);
        // Joined and dropped: the one that was dropped counts.
        let caught = payload(|s| {
            drop(s.spawn(|| resume_unwind(Box::new(3_u64))));
            s.spawn(|| resume_unwind(Box::new(4_u64))).join().unwrap_err();
        });
        assert_eq!(message(&*caught), UNJOINED);
    });
}

#[test]
fn a_panic_of_an_inner_scope_passes_through_its_goroutine() {
    everywhere(|_| {
        let error = scope(|outer| {
            let child = outer.spawn(|| scope(|inner| drop(inner.spawn(|| resume_unwind(Box::new(()))))));
            child.join().unwrap_err()
        });
        assert_eq!(message(&*error), UNJOINED);
    });
}

#[test]
fn scopes_nest_and_borrow_from_each_other() {
    fn nest(depth: usize, sum: &AtomicUsize) {
        let mut local = 0;
        scope(|s| {
            s.spawn(|| local = depth);
            if depth > 0 {
                s.spawn(|| nest(depth - 1, sum));
                nest(depth - 1, sum);
            }
        });
        sum.fetch_add(local, Ordering::Relaxed);
    }
    everywhere(|_| {
        let sum = AtomicUsize::new(0);
        nest(7, &sum);
        // Depth d occurs 2^(7 - d) times.
        assert_eq!(sum.into_inner(), (0..=7).map(|depth| depth << (7 - depth)).sum());
    });
}

#[test]
fn goroutines_of_a_scope_spawn_in_it() {
    fn grow_tree<'scope>(s: &'scope Scope<'scope, '_>, depth: usize, leaves: &'scope AtomicUsize) {
        if depth == 0 {
            leaves.fetch_add(1, Ordering::Relaxed);
        } else {
            for _ in 0..2 {
                s.spawn(move || grow_tree(s, depth - 1, leaves));
            }
        }
    }
    everywhere(|_| {
        let leaves = AtomicUsize::new(0);
        scope(|s| grow_tree(s, 9, &leaves));
        assert_eq!(leaves.into_inner(), 512);
        // A chain, each of which ends after it has spawned the next.
        let links = AtomicUsize::new(0);
        fn chain<'scope>(s: &'scope Scope<'scope, '_>, left: usize, links: &'scope AtomicUsize) {
            links.fetch_add(1, Ordering::Relaxed);
            if left > 0 {
                s.spawn(move || chain(s, left - 1, links));
            }
        }
        scope(|s| chain(s, 999, &links));
        assert_eq!(links.into_inner(), 1_000);
    });
}

/// `'scope` and `'env` in a signature, in a struct, and in a collection that outlives a loop.
#[test]
fn both_lifetimes_can_be_named() {
    struct Team<'scope, 'env> {
        scope: &'scope Scope<'scope, 'env>,
        members: Vec<ScopedJoinHandle<'scope, &'env str>>,
    }
    impl<'scope, 'env> Team<'scope, 'env> {
        fn hire(&mut self, name: &'env str) {
            let spawned = Builder::new().name(name).spawn_scoped(self.scope, move || {
                assert_eq!(current().name(), Some(name));
                name
            });
            self.members.push(spawned.unwrap());
        }
    }
    fn names(text: &str) -> Vec<&str> {
        scope(|scope| {
            let mut team = Team { scope, members: Vec::new() };
            text.split(' ').for_each(|name| team.hire(name));
            team.members.into_iter().map(|member| member.join().unwrap()).collect()
        })
    }
    everywhere(|_| {
        let text = "ann bob cid".to_owned();
        assert_eq!(names(&text), ["ann", "bob", "cid"]);
    });
}

#[test]
fn ten_thousand_in_one_scope() {
    at_1_2_4(|_| {
        let sum = AtomicUsize::new(0);
        let joined: usize = scope(|s| {
            let handles: Vec<_> =
                (0..10_000).map(|n| (n, s.spawn(|| sum.fetch_add(1, Ordering::Relaxed)))).collect();
            handles
                .into_iter()
                .filter(|(n, _)| n % 2 == 0)
                .map(|(_, handle)| handle.join().map_or(0, |_| 1))
                .sum()
        });
        assert_eq!((joined, sum.into_inner()), (5_000, 10_000));
    });
}

#[test]
fn results_with_destructors_that_borrow_are_dropped_within_the_scope() {
    at_1_2_4(|setting| {
        let drops = AtomicUsize::new(0);
        let mut rng = setting.rng(2);
        for _ in 0..50 {
            let kept = scope(|s| {
                let handles: Vec<_> = (0..20)
                    .map(|n| {
                        let (captured, result) = (Borrows(&drops), Borrows(&drops));
                        s.spawn(move || {
                            let _captured = captured;
                            (0..n % 3).for_each(|_| yield_now());
                            result
                        })
                    })
                    .collect();
                let mut kept = Vec::new();
                for handle in handles {
                    match rng.below(4) {
                        0 => kept.push(handle.join().unwrap_or_else(|_| unreachable!("it does not panic"))),
                        1 => drop(handle.join()),
                        2 => until(|| handle.is_finished()),
                        _ => drop(handle),
                    }
                }
                kept
            });
            assert_eq!(drops.load(Ordering::SeqCst) + kept.len(), 40);
            drop(kept);
            assert_eq!(drops.swap(0, Ordering::SeqCst), 40);
        }
    });
}

/// A forgotten handle keeps the result (and the slot) for ever; the scope ends all the same.
#[test]
fn forgotten_handles_do_not_hold_the_scope_up() {
    at(&[1, 2], |_| {
        let (ended, drops) = (AtomicUsize::new(0), AtomicUsize::new(0));
        scope(|s| {
            for n in 0..20 {
                let (ended, result) = (&ended, Borrows(&drops));
                let handle = s.spawn(move || {
                    (0..n % 3).for_each(|_| yield_now());
                    ended.fetch_add(1, Ordering::Relaxed);
                    result
                });
                if n % 4 == 0 {
                    until(|| handle.is_finished());
                }
                mem::forget(handle);
            }
        });
        assert_eq!((ended.into_inner(), drops.into_inner()), (20, 0));
    });
}

#[test]
fn handles_name_and_wake_their_goroutines() {
    everywhere(|_| {
        scope(|s| {
            let child = s.spawn(|| {
                park();
                current()
            });
            (0..3).for_each(|_| yield_now());
            assert!(!child.is_finished());
            let named = child.goroutine();
            named.unpark();
            assert_eq!(child.join().unwrap(), named);
        });
    });
}

/// The destructor's thread is kept by the panic: the goroutines run on others.
#[test]
fn a_destructor_may_open_a_scope_while_its_goroutine_panics() {
    struct Opens<'a>(&'a AtomicUsize);
    impl Drop for Opens<'_> {
        fn drop(&mut self) {
            assert!(thread::panicking());
            scope(|s| spawn_dawdlers(s, self.0));
            assert!(thread::panicking());
        }
    }
    at_1_2_4(|_| {
        for _ in 0..5 {
            let ended = AtomicUsize::new(0);
            let caught = payload(|s| {
                let child = s.spawn(|| {
                    let _opens = Opens(&ended);
                    resume_unwind(Box::new(9_u8));
                });
                resume_unwind(child.join().unwrap_err());
            });
            assert_eq!(caught.downcast_ref(), Some(&9_u8));
            assert_eq!(ended.into_inner(), 50);
        }
    });
}

#[test]
fn foreign_threads_open_scopes() {
    let ended = AtomicUsize::new(0);
    thread::scope(|threads| {
        for n in 0..4 {
            let ended = &ended;
            threads.spawn(move || {
                for _ in 0..20 {
                    let mut own = [0; 8];
                    scope(|s| {
                        own.iter_mut().for_each(|place| drop(s.spawn(move || *place = n)));
                        spawn_dawdlers(s, ended);
                    });
                    assert_eq!(own, [n; 8]);
                }
                let caught = payload(|s| drop(s.spawn(|| resume_unwind(Box::new(())))));
                assert_eq!(message(&*caught), UNJOINED);
            });
        }
    });
    assert_eq!(ended.into_inner(), 4 * 20 * 50);
}

/// A thread of the surroundings, lent the scope by its goroutine, spawns there too.
#[test]
fn a_scope_may_be_used_from_several_threads() {
    at_1_2_4(|_| {
        let ended = AtomicUsize::new(0);
        scope(|s| {
            thread::scope(|threads| {
                (0..3).for_each(|_| drop(threads.spawn(|| spawn_dawdlers(s, &ended))));
            });
        });
        assert_eq!(ended.into_inner(), 150);
    });
}
