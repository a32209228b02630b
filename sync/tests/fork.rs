//! Forks whose branches lock and talk. A join that waits parks its goroutine and runs nothing else on top of
//! it, so it may hold a lock that others want; and the branches run at the same time, so each may wait for
//! the other.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use fixture::{MODES, Mode, Setting, at_1_2_4, everywhere};
use gort_runtime::{join, scope, yield_now};
use gort_sync::{Barrier, Mutex, chan};

/// A recursion that gives others much to steal.
fn leaves(depth: u32) -> u64 {
    if depth == 0 {
        yield_now();
        return 1;
    }
    let (a, b) = join(|| leaves(depth - 1), || leaves(depth - 1));
    a + b
}

/// Where a worker that waits in a join runs other jobs on top of it, one of those waits for the lock that the
/// join beneath it holds: for ever.
#[test]
fn a_lock_may_be_held_around_a_join() {
    everywhere(|_| {
        let (total, entered) = (Mutex::new(0), AtomicUsize::new(0));
        scope(|s| {
            for _ in 0..16 {
                s.spawn(|| {
                    let mut total = total.lock();
                    assert_eq!(entered.fetch_add(1, Ordering::SeqCst), 0, "the lock is held");
                    *total += leaves(5);
                    entered.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(total.into_inner(), 16 << 5);
    });
}

/// With a lock that blocks the thread, too, as long as goroutines may move and one processor is left.
#[test]
fn a_lock_of_stds_may_be_held_around_a_join_where_goroutines_move() {
    for mode in [Mode::ChildFirst, Mode::ParentFirst] {
        Setting::new(4, mode).check(|| {
            for _ in 0..50 {
                let total = std::sync::Mutex::new(0);
                scope(|s| {
                    // Two of them block their threads at most; a third one runs the branches, a fourth this.
                    for _ in 0..3 {
                        s.spawn(|| *total.lock().unwrap() += leaves(4));
                    }
                });
                assert_eq!(total.into_inner().unwrap(), 3 << 4);
            }
        });
    }
}

#[test]
fn two_branches_talk_over_a_channel() {
    at_1_2_4(|_| {
        for capacity in [0, 1, 8] {
            let (request, requests) = chan::bounded(capacity);
            let (answer, answers) = chan::bounded(capacity);
            let (sum, served) = join(
                || {
                    let request = request;
                    (0..500_u64)
                        .map(|n| {
                            request.send(n).unwrap();
                            answers.recv().unwrap()
                        })
                        .sum::<u64>()
                },
                || {
                    let answer = answer;
                    requests.iter().map(|n| answer.send(2 * n).unwrap()).count()
                },
            );
            assert_eq!((sum, served), (499 * 500, 500));
        }
    });
}

#[test]
fn branches_at_any_depth_meet() {
    fn meet(barrier: &Barrier, depth: u32) -> u32 {
        if depth == 0 {
            return u32::from(barrier.wait().is_leader());
        }
        let (a, b) = join(|| meet(barrier, depth - 1), || meet(barrier, depth - 1));
        a + b
    }
    everywhere(|_| {
        let barrier = Barrier::new(16);
        (0..20).for_each(|_| assert_eq!(meet(&barrier, 4), 1));
    });
}

/// The first branch holds a lock that the second one wants, while it waits for somebody else.
#[test]
fn a_branch_waits_for_a_lock_of_the_other() {
    everywhere(|_| {
        for _ in 0..100 {
            let shared = Mutex::new(Vec::new());
            let (tx, rx) = chan::bounded(0);
            join(
                || {
                    let mut held = shared.lock();
                    held.push(1);
                    // Who receives wants the lock afterwards, not before.
                    tx.send(()).unwrap();
                    yield_now();
                    held.push(2);
                },
                || {
                    rx.recv().unwrap();
                    shared.lock().push(3);
                },
            );
            assert_eq!(shared.into_inner(), [1, 2, 3]);
        }
    });
}

/// With what blocks the thread, too, as long as there is a processor for each branch. The second branch has not
/// started when the first one blocks, so it may run elsewhere in every mode.
#[test]
fn branches_meet_at_a_barrier_of_stds_and_talk_over_its_channels() {
    for procs in [2, 4] {
        for mode in MODES {
            Setting::new(procs, mode).check(|| {
                for _ in 0..20 {
                    let barrier = std::sync::Barrier::new(2);
                    let (a, b) = join(|| barrier.wait().is_leader(), || barrier.wait().is_leader());
                    assert_ne!(a, b);
                    let (request, requests) = mpsc::sync_channel::<u32>(0);
                    let (answer, answers) = mpsc::channel();
                    let (got, ()) = join(
                        move || {
                            request.send(20).unwrap();
                            answers.recv().unwrap()
                        },
                        move || answer.send(requests.recv().unwrap() + 1).unwrap(),
                    );
                    assert_eq!(got, 21);
                }
            });
        }
    }
}
