//! `join` and `join_then`: both branches run once, results are in order, whoever runs them; panics; nesting.
#![cfg(test)]

mod fixture;

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fixture::{Setting, at_1_2_4, everywhere, message, until};
use gort_runtime::{
    Builder, current, grow, join, join_then, num_goroutines, park, runtime, scope, sleep, spawn, yield_now,
};

fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (left, right) = join(move || fib(n - 1), move || fib(n - 2));
    left + right
}

fn fib_then(n: u64) -> u64 {
    if n < 2 { n } else { join_then(move || fib_then(n - 1), move || fib_then(n - 2), |a, b| a + b) }
}

/// Counts its drops.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The payload of what panics.
fn payload<T>(body: impl FnOnce() -> T) -> String {
    let caught = catch_unwind(AssertUnwindSafe(|| drop(body())));
    message(&*caught.expect_err("it panics"))
}

#[test]
fn a_fork_at_every_level_computes_fib() {
    everywhere(|_| {
        assert_eq!(fib(20), 6765);
        assert_eq!(fib_then(21), 10946);
    });
}

#[test]
fn results_come_in_order_whatever_their_size() {
    at_1_2_4(|_| {
        assert_eq!(join(|| 1, || 2), (1, 2));
        assert_eq!(join(|| (), || ()), ((), ()));
        assert_eq!(join(|| "a".to_owned(), || vec![1; 100]), ("a".to_owned(), vec![1; 100]));
        assert_eq!(join(|| [1_u64; 50], || [2_u64; 50]), ([1; 50], [2; 50]));
        let (left, right) = ([3_u64; 40], [4_u64; 40]);
        assert_eq!(join(move || left.iter().sum::<u64>(), move || right.iter().sum::<u64>()), (120, 160));
        #[repr(align(64))]
        struct Aligned(u64);
        let (a, b) = join(|| Aligned(5), || Aligned(6));
        assert!((a.0, b.0) == (5, 6) && (&raw const b).addr() % 64 == 0);
    });
}

#[test]
fn branches_borrow_from_the_caller() {
    at_1_2_4(|_| {
        fn double(numbers: &mut [usize]) {
            if let [number] = numbers {
                *number *= 2;
            } else if !numbers.is_empty() {
                let (left, right) = numbers.split_at_mut(numbers.len() / 2);
                join(|| double(left), || double(right));
            }
        }
        let mut numbers: Vec<usize> = (0..3_000).collect();
        double(&mut numbers);
        assert!(numbers.iter().enumerate().all(|(place, number)| *number == 2 * place));
    });
}

#[test]
fn captures_and_results_are_dropped_once() {
    at_1_2_4(|_| {
        let drops = AtomicUsize::new(0);
        fn tree(depth: u32, drops: &AtomicUsize) -> Counted<'_> {
            if depth > 0 {
                let (mine, yours) = (Counted(drops), Counted(drops));
                join(
                    move || {
                        let _mine = mine;
                        if depth.is_multiple_of(3) {
                            yield_now();
                        }
                        tree(depth - 1, drops)
                    },
                    move || {
                        let _yours = yours;
                        tree(depth - 1, drops)
                    },
                );
            }
            Counted(drops)
        }
        drop(tree(9, &drops));
        // In each of 511 forks two captures; and a result of each of 1023 calls.
        assert_eq!(drops.load(Ordering::SeqCst), 2 * 511 + 1023);
    });
}

#[test]
fn a_panic_of_the_first_branch_drops_the_second() {
    everywhere(|_| {
        let (drops, runs) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mine = Counted(&drops);
        let text = payload(|| {
            join(
                || panic!("first"),
                || {
                    runs.fetch_add(1, Ordering::SeqCst);
                    drop(mine);
                },
            )
        });
        assert_eq!(text, "first");
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        assert!(runs.load(Ordering::SeqCst) <= 1);
        assert_eq!(fib(10), 55, "the goroutine forks on");
    });
}

#[test]
fn a_panic_of_the_second_branch_comes_out() {
    everywhere(|_| {
        let drops = AtomicUsize::new(0);
        assert_eq!(payload(|| join(|| Counted(&drops), || panic!("second"))), "second");
        assert_eq!(drops.load(Ordering::SeqCst), 1, "the first one's result");
        assert_eq!(fib(10), 55);
    });
}

/// Runs `a`, and does not go on before another goroutine has begun `b`.
fn join_stolen<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    let begun = AtomicBool::new(false);
    let me = current();
    join(
        || {
            until(|| begun.load(Ordering::SeqCst));
            a()
        },
        || {
            assert_ne!(current(), me, "it runs on a goroutine of its own");
            begun.store(true, Ordering::SeqCst);
            b()
        },
    )
}

#[test]
fn the_first_branch_may_wait_until_the_second_runs_elsewhere() {
    everywhere(|_| {
        assert_eq!(join_stolen(|| 1, || 2), (1, 2));
        assert_eq!(join_stolen(|| vec![1; 99], || [2; 99]), (vec![1; 99], [2; 99]));
    });
}

#[test]
fn a_stolen_branch_that_panics_is_told() {
    everywhere(|_| {
        assert_eq!(payload(|| join_stolen(|| (), || panic!("stolen"))), "stolen");
        assert_eq!(payload(|| join_stolen(|| (), || panic_any("a payload".to_owned()))), "a payload");
    });
}

#[test]
fn a_panic_of_the_first_branch_waits_for_a_stolen_second() {
    everywhere(|_| {
        let (ended, drops) = (AtomicBool::new(false), AtomicUsize::new(0));
        let text = payload(|| {
            join_stolen(
                || panic!("first"),
                || {
                    (0..5).for_each(|_| yield_now());
                    ended.store(true, Ordering::SeqCst);
                    Counted(&drops)
                },
            )
        });
        assert_eq!(text, "first");
        assert!(ended.load(Ordering::SeqCst), "it was waited for");
        assert_eq!(drops.load(Ordering::SeqCst), 1, "its result was dropped");
    });
}

#[test]
fn of_two_panics_the_first_branch_s_goes_on() {
    struct Loud<'a>(#[allow(dead_code, reason = "it is dropped")] Counted<'a>);
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    DROPS.store(0, Ordering::SeqCst);
    everywhere(|_| {
        let before = DROPS.load(Ordering::SeqCst);
        let text = payload(|| join_stolen(|| panic!("first"), || panic_any(Loud(Counted(&DROPS)))));
        assert_eq!(text, "first");
        assert_eq!(DROPS.load(Ordering::SeqCst), before + 1, "the other payload is dropped");
    });
}

#[test]
fn a_destructor_that_panics_does_not_replace_the_panic() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a bomb");
        }
    }
    at_1_2_4(|_| {
        let bomb = Bomb;
        assert_eq!(payload(|| join(|| panic!("first"), move || drop(bomb))), "first");
        assert_eq!(payload(|| join_stolen(|| panic!("first"), || Bomb)), "first");
        // Too large for a record.
        let large = (Bomb, [0_u64; 50]);
        assert_eq!(payload(|| join(|| panic!("first"), move || drop(large))), "first");
        assert_eq!(payload(|| join_stolen(|| panic!("first"), || (Bomb, [0_u64; 50]))), "first");
    });
}

#[test]
fn branches_wait_for_each_other_by_park_and_unpark() {
    everywhere(|_| {
        let (a_waits, b_waits) = (AtomicBool::new(true), AtomicBool::new(true));
        let me = current();
        join(
            || {
                while a_waits.load(Ordering::SeqCst) {
                    park();
                }
                b_waits.store(false, Ordering::SeqCst);
            },
            || {
                a_waits.store(false, Ordering::SeqCst);
                me.unpark();
                until(|| !b_waits.load(Ordering::SeqCst));
            },
        );
    });
}

#[test]
fn an_inner_branch_waits_for_an_outer_one() {
    everywhere(|_| {
        let open = AtomicUsize::new(0);
        fn nest(depth: usize, open: &AtomicUsize) {
            if depth == 0 {
                // All second branches of the way down are needed, the oldest too.
                until(|| open.load(Ordering::SeqCst) == 40);
                return;
            }
            join(
                || nest(depth - 1, open),
                || {
                    open.fetch_add(1, Ordering::SeqCst);
                },
            );
        }
        nest(40, &open);
    });
}

#[test]
fn branches_sleep_yield_scope_and_spawn() {
    at_1_2_4(|_| {
        fn mixed(depth: u32) -> u32 {
            if depth == 0 {
                return 1;
            }
            let (a, b) = join(
                || {
                    yield_now();
                    scope(|s| {
                        let child = s.spawn(|| mixed(depth - 1));
                        mixed(depth - 1) + child.join().expect("it does not panic")
                    })
                },
                || {
                    sleep(std::time::Duration::from_micros(50));
                    spawn(move || mixed(depth - 1)).join().expect("it does not panic")
                },
            );
            a + b
        }
        assert_eq!(mixed(4), 81);
    });
}

#[test]
fn a_branch_that_spins_is_helped() {
    for procs in [2, 4] {
        for mode in fixture::MODES {
            Setting::new(procs, mode).check(|| {
                let go = AtomicBool::new(false);
                join(
                    || fixture::spin_until(|| go.load(Ordering::SeqCst)),
                    || go.store(true, Ordering::SeqCst),
                );
                // Of several, the outermost and the innermost.
                let (outer, inner) = (AtomicBool::new(false), AtomicBool::new(false));
                join(
                    || {
                        join(
                            || {
                                fixture::spin_until(|| {
                                    outer.load(Ordering::SeqCst) && inner.load(Ordering::SeqCst)
                                });
                            },
                            || inner.store(true, Ordering::SeqCst),
                        )
                    },
                    || outer.store(true, Ordering::SeqCst),
                );
            });
        }
    }
}

#[test]
fn goroutines_of_stolen_branches_end() {
    everywhere(|_| {
        for _ in 0..20 {
            join_stolen(|| (), || ());
        }
        until(|| num_goroutines() == 1);
    });
}

#[test]
fn foreign_threads_join_too() {
    assert_eq!(join(|| fib(12), || fib_then(13)), (144, 233));
    assert_eq!(payload(|| join(|| panic!("first"), || 1)), "first");
    assert_eq!(payload(|| join(|| 1, || panic!("second"))), "second");
    let text = String::from("lent");
    assert_eq!(join(|| text.len(), || text.as_str()), (4, "lent"));
    let (begun, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    join(
        || until(|| begun.load(Ordering::SeqCst)),
        || {
            begun.store(true, Ordering::SeqCst);
            ended.store(true, Ordering::SeqCst);
        },
    );
    assert!(ended.load(Ordering::SeqCst));
    assert_eq!(join_then(|| fib(10), || text.len(), |fib, len| (fib, len)), (55, 4));
    assert_eq!(payload(|| join_then(|| 1, || 2, |_, _| panic!("third"))), "third");
}

#[test]
fn small_stacks_and_segments_fork_as_well() {
    at_1_2_4(|_| {
        let small = Builder::new().stack_size(16 << 10).spawn(|| {
            fn deep(n: u32) -> u32 {
                if n == 0 {
                    yield_now();
                    return 0;
                }
                let (a, b) = grow(|| join(move || deep(n - 1), move || 1));
                a + b
            }
            deep(3_000)
        });
        assert_eq!(small.expect("there is memory").join().expect("it does not panic"), 3_000);
    });
}

/// 1,000,000 forks on the way down, of which each is deeper than the one before.
fn deep(setting: Setting, left: bool) {
    const DEPTH: u32 = 1_000_000;
    fn go(n: u32, left: bool) -> u32 {
        if n == 0 {
            return 0;
        }
        let (a, b) = if left {
            grow(|| join(move || go(n - 1, left), move || 1))
        } else {
            grow(|| join(move || 1, move || go(n - 1, left)))
        };
        a + b
    }
    let runtime = setting.build();
    assert_eq!(runtime.run(|| go(DEPTH, left)), DEPTH);
    assert!(runtime.shutdown_timeout(std::time::Duration::from_secs(60)));
}

#[test]
fn a_million_forks_deep_to_the_left() {
    deep(Setting::new(1, fixture::Mode::PerWorker), true);
    deep(Setting::new(2, fixture::Mode::ChildFirst), true);
}

#[test]
fn a_million_forks_deep_to_the_right() {
    deep(Setting::new(1, fixture::Mode::PerWorker), false);
    deep(Setting::new(2, fixture::Mode::ChildFirst), false);
}

#[test]
fn a_panic_comes_through_full_chunks() {
    at_1_2_4(|_| {
        fn go(n: u32, drops: &AtomicUsize) {
            if n == 0 {
                panic!("at the bottom");
            }
            let mine = Counted(drops);
            grow(|| join(|| go(n - 1, drops), move || drop(mine)));
        }
        let drops = AtomicUsize::new(0);
        assert_eq!(payload(|| go(3_000, &drops)), "at the bottom");
        assert_eq!(drops.load(Ordering::SeqCst), 3_000);
        assert_eq!(fib(15), 610, "the goroutine forks on");
    });
}

#[test]
fn a_destructor_that_forks_while_the_goroutine_panics() {
    struct Forks<'a>(&'a AtomicUsize);
    impl Drop for Forks<'_> {
        fn drop(&mut self) {
            join(
                || {
                    yield_now();
                    self.0.fetch_add(1, Ordering::SeqCst)
                },
                || self.0.fetch_add(1, Ordering::SeqCst),
            );
        }
    }
    at_1_2_4(|_| {
        let count = AtomicUsize::new(0);
        let text = payload(|| {
            let _forks = Forks(&count);
            panic!("first");
        });
        assert_eq!(text, "first");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    });
}

/// A goroutine that waits while it panics keeps its thread: its records go to others all the same.
#[test]
fn a_destructor_of_a_panicking_branch_may_wait_for_the_second_branch() {
    struct Waits<'a>(&'a AtomicBool);
    impl Drop for Waits<'_> {
        fn drop(&mut self) {
            until(|| self.0.load(Ordering::SeqCst));
        }
    }
    at_1_2_4(|_| {
        let (inner, outer) = (AtomicBool::new(false), AtomicBool::new(false));
        let text = payload(|| {
            join(
                || {
                    join(
                        || {
                            let _waits = (Waits(&outer), Waits(&inner));
                            panic!("first");
                        },
                        || inner.store(true, Ordering::SeqCst),
                    )
                },
                || outer.store(true, Ordering::SeqCst),
            )
        });
        assert_eq!(text, "first");
        assert_eq!(fib(12), 144, "the goroutine forks on");
    });
}

#[test]
fn many_goroutines_fork_at_once() {
    at_1_2_4(|_| {
        scope(|s| {
            for n in 0..60 {
                s.spawn(move || {
                    for _ in 0..3 {
                        assert_eq!(fib(10 + n % 3), [55, 89, 144][n as usize % 3]);
                        yield_now();
                    }
                });
            }
        });
    });
}

#[test]
fn a_join_in_a_stopped_runtime_never_returns_and_harms_nobody() {
    let runtime = runtime::Builder::new().procs(2).build().expect("a runtime starts");
    static RETURNED: AtomicBool = AtomicBool::new(false);
    runtime.run(|| {
        let begun = AtomicBool::new(false);
        scope(|s| {
            let begun = &begun;
            // Detached by forgetting: the main goroutine ends first.
            drop(s.spawn(move || begun.store(true, Ordering::SeqCst)));
        });
        drop(spawn(|| {
            join(park, park);
            RETURNED.store(true, Ordering::SeqCst);
        }));
        until(|| begun.load(Ordering::SeqCst));
        yield_now();
    });
    assert!(runtime.shutdown_timeout(std::time::Duration::from_secs(60)));
    assert!(!RETURNED.load(Ordering::SeqCst));
    assert_eq!(runtime::Builder::new().build().expect("a runtime starts").run(|| fib(15)), 610);
}
