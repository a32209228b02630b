//! `gort_runtime::waiter`: of all who want to end a wait exactly one does, and what it hands over arrives
//! once.
#![cfg(test)]

mod fixture;

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{Child, Mode, Setting, at, at_1_2_4, everywhere, until};
use gort_runtime::waiter::{Claim, WaitReason, Waker, Woken, wait};
use gort_runtime::{scope, spawn, yield_now};

const HOUR: Duration = Duration::from_secs(3_600);

/// Joins threads of a scope of std's that a goroutine has opened. The end of such a scope parks the thread
/// that it *began* on, which need not be the goroutine's any more: so no thread may be left by then.
fn join_all(threads: Vec<thread::ScopedJoinHandle<'_, ()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Where a waker is left for others.
struct Place<T>(Mutex<Option<Waker<T>>>);

impl<T: Send> Place<T> {
    fn new() -> Self {
        Place(Mutex::new(None))
    }

    /// Waits until somebody claims, or for `timeout`.
    fn wait(&self, timeout: Option<Duration>) -> Woken<T> {
        wait(WaitReason::Other, timeout.map(|timeout| Instant::now() + timeout), |waker| {
            *self.0.lock().unwrap() = Some(waker);
            true
        })
    }

    /// The waker of the current or the last wait.
    fn get(&self) -> Option<Waker<T>> {
        *self.0.lock().unwrap()
    }

    /// Waits for a waker to be there, and takes it away.
    fn take(&self) -> Waker<T> {
        loop {
            let waker = self.0.lock().unwrap().take();
            match waker {
                Some(waker) => return waker,
                None => yield_now(),
            }
        }
    }
}

/// A value that must be made and dropped equally often.
struct Counted<'a> {
    number: usize,
    drops: &'a AtomicUsize,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_claim_hands_its_value_over() {
    everywhere(|_| {
        let place = Place::new();
        scope(|s| {
            let waiter = s.spawn(|| place.wait(None));
            assert!(place.take().claim().map(|claim| claim.wake("hello".to_owned())).is_some());
            assert_eq!(waiter.join().unwrap(), Woken::Value("hello".to_owned()));
        });
    });
}

#[test]
fn a_claim_that_is_dropped_lets_its_waiter_down() {
    everywhere(|_| {
        let place: Place<u32> = Place::new();
        scope(|s| {
            let waiter = s.spawn(|| place.wait(Some(HOUR)));
            drop(place.take().claim().expect("nobody else claims"));
            assert_eq!(waiter.join().unwrap(), Woken::LetDown);
            // By a panic, and by another goroutine than the one that claimed.
            let waiter = s.spawn(|| place.wait(None));
            let claim = place.take().claim().expect("nobody else claims");
            let failed = s.spawn(move || {
                let _claim = claim;
                resume_unwind(Box::new(()));
            });
            failed.join().unwrap_err();
            assert_eq!(waiter.join().unwrap(), Woken::LetDown);
        });
    });
}

#[test]
fn between_claim_and_wake_the_waiter_stays() {
    at_1_2_4(|_| {
        let place = Place::new();
        let done = AtomicBool::new(false);
        scope(|s| {
            // Its deadline passes while it is claimed: too late.
            let waiter = s.spawn(|| {
                let woken = place.wait(Some(Duration::from_millis(2)));
                done.store(true, Ordering::SeqCst);
                woken
            });
            // The deadline may be faster, on a busy machine: then there is nothing to see.
            let claim: Option<Claim<u32>> = place.take().claim();
            let Some(claim) = claim else {
                assert_eq!(waiter.join().unwrap(), Woken::TimedOut);
                return;
            };
            gort_runtime::sleep(Duration::from_millis(4));
            assert!(!done.load(Ordering::SeqCst));
            claim.wake(8);
            assert_eq!(waiter.join().unwrap(), Woken::Value(8));
        });
    });
}

#[test]
fn who_publishes_nothing_does_not_wait() {
    everywhere(|_| {
        for _ in 0..100 {
            assert_eq!(wait::<u32>(WaitReason::Other, None, |_| false), Woken::Unpublished);
        }
        let past = Instant::now();
        assert_eq!(wait::<u32>(WaitReason::Other, Some(past), |_| false), Woken::Unpublished);
    });
    assert_eq!(wait::<u32>(WaitReason::Other, None, |_| false), Woken::Unpublished);
}

#[test]
fn a_wait_may_be_over_before_the_sleep() {
    fn twice() {
        for deadline in [None, Some(Instant::now() + HOUR)] {
            let woken = wait(WaitReason::Other, deadline, |waker: Waker<u32>| {
                waker.claim().expect("nobody else knows it").wake(5);
                true
            });
            assert_eq!(woken, Woken::Value(5));
            let woken = wait(WaitReason::Other, deadline, |waker: Waker<u32>| {
                drop(waker.claim());
                true
            });
            assert_eq!(woken, Woken::LetDown);
        }
    }
    everywhere(|_| (0..50).for_each(|_| twice()));
    (0..50).for_each(|_| twice());
}

#[test]
fn a_deadline_that_has_passed_ends_the_wait() {
    everywhere(|_| {
        let place: Place<u32> = Place::new();
        assert_eq!(place.wait(Some(Duration::ZERO)), Woken::TimedOut);
        assert!(place.take().claim().is_none());
        let start = Instant::now();
        assert_eq!(place.wait(Some(Duration::from_millis(2))), Woken::TimedOut);
        assert!(start.elapsed() >= Duration::from_millis(2));
        assert!(place.take().claim().is_none());
    });
}

#[test]
fn a_panic_while_a_waker_is_published_aborts() {
    let ended = Child::new("a_panic_while_a_waker_is_published_aborts", "panics").run(|| {
        Setting::new(1, Mode::PerWorker).check(|| {
            let _ = wait::<u32>(WaitReason::Other, None, |_| panic!("in the middle"));
        });
    });
    if let Some(ended) = ended {
        assert_eq!(ended.output.status.signal(), Some(libc::SIGABRT), "{}", ended.stderr);
        assert!(ended.stderr.contains("the closure that publishes a waker"), "{}", ended.stderr);
    }
}

/// What the contenders of many waits have done, and what came of it.
#[derive(Default)]
struct Score {
    woke: AtomicUsize,
    dropped: AtomicUsize,
    lost: AtomicUsize,
}

/// Competes for the waits at `place` until `over`: wakes with a value, or lets down.
fn compete<'a>(
    place: &Place<Counted<'a>>,
    score: &Score,
    drops: &'a AtomicUsize,
    over: &AtomicBool,
    lets_down: bool,
) {
    let mut turn = 0;
    while !over.load(Ordering::SeqCst) {
        turn += 1;
        match place.get().map(Waker::claim) {
            Some(Some(claim)) if lets_down && turn % 2 == 0 => {
                score.dropped.fetch_add(1, Ordering::SeqCst);
                drop(claim);
            }
            Some(Some(claim)) => {
                let number = score.woke.fetch_add(1, Ordering::SeqCst);
                claim.wake(Counted { number, drops });
            }
            Some(None) => _ = score.lost.fetch_add(1, Ordering::SeqCst),
            None => {}
        }
        yield_now();
    }
}

/// So many waits at one place, with contenders of both kinds; `timeout_ns` is asked before each. Returns
/// how often the deadline won.
fn contest(
    waits: usize,
    goroutines: usize,
    threads: usize,
    mut timeout_ns: impl FnMut() -> Option<u64> + Send,
) -> usize {
    let (place, score, over) = (Place::new(), Score::default(), AtomicBool::new(false));
    let drops = AtomicUsize::new(0);
    let (mut values, mut let_down, mut timed_out) = (0, 0, 0);
    thread::scope(|t| {
        let far: Vec<_> = (0..threads)
            .map(|n| {
                let (place, score, drops, over) = (&place, &score, &drops, &over);
                t.spawn(move || compete(place, score, drops, over, n % 2 == 0))
            })
            .collect();
        scope(|s| {
            for n in 0..goroutines {
                let (place, score, drops, over) = (&place, &score, &drops, &over);
                s.spawn(move || compete(place, score, drops, over, n % 2 == 0));
            }
            let mut numbers = vec![false; waits];
            for _ in 0..waits {
                match place.wait(timeout_ns().map(Duration::from_nanos)) {
                    Woken::Value(counted) => {
                        assert!(!std::mem::replace(&mut numbers[counted.number], true), "handed over twice");
                        values += 1;
                    }
                    Woken::LetDown => let_down += 1,
                    Woken::TimedOut => timed_out += 1,
                    Woken::Unpublished => unreachable!("it was published"),
                }
            }
            over.store(true, Ordering::SeqCst);
        });
        join_all(far);
    });
    assert_eq!(values, score.woke.into_inner());
    assert_eq!(values, drops.into_inner());
    assert_eq!(let_down, score.dropped.into_inner());
    assert_eq!(values + let_down + timed_out, waits);
    timed_out
}

#[test]
fn of_many_wakers_exactly_one_claims() {
    at_1_2_4(|_| {
        assert_eq!(contest(1_000, 6, 0, || None), 0);
        assert_eq!(contest(300, 3, 2, || None), 0);
    });
}

#[test]
fn a_deadline_is_one_more_contender() {
    at_1_2_4(|setting| {
        let mut rng = setting.rng(4);
        contest(3_000, 2, 0, || Some(rng.below(20_000)));
        contest(500, 1, 1, || Some(rng.below(50_000)));
        // Nobody competes: all by the deadline.
        assert_eq!(contest(50, 0, 0, || Some(rng.below(20_000))), 50);
    });
}

#[test]
fn foreign_threads_wait() {
    // The contenders are goroutines of the process-wide runtime, and threads.
    let waiter = || {
        let mut rng = Setting::new(2, Mode::PerWorker).rng(5);
        assert_eq!(contest(300, 2, 2, || None), 0);
        contest(1_000, 2, 1, || Some(rng.below(100_000)));
    };
    thread::scope(|s| (0..2).for_each(|_| drop(s.spawn(waiter))));
}

#[test]
fn late_wakers_lose_and_touch_nothing() {
    at_1_2_4(|_| {
        let stale: Vec<Waker<u64>> = (0..200)
            .map(|n| {
                let waiter = spawn(move || {
                    let mut kept = None;
                    let woken = wait(WaitReason::Other, None, |waker: Waker<u64>| {
                        kept = Some(waker);
                        waker.claim().expect("nobody else knows it").wake(n);
                        true
                    });
                    assert_eq!(woken, Woken::Value(n));
                    let kept = kept.expect("published");
                    assert!(kept.claim().is_none(), "the wait is over");
                    kept
                });
                waiter.join().unwrap()
            })
            .collect();
        assert!(stale.iter().all(|waker| waker.claim().is_none()), "the goroutine has ended");
        // Others in the same slots wait, in their own waits, and are not disturbed.
        let places: Vec<Place<u64>> = (0..50).map(|_| Place::new()).collect();
        scope(|s| {
            let waiters: Vec<_> = places.iter().map(|place| s.spawn(|| place.wait(Some(HOUR)))).collect();
            until(|| places.iter().all(|place| place.get().is_some()));
            (0..3).for_each(|_| yield_now());
            assert!(stale.iter().all(|waker| waker.claim().is_none()));
            thread::scope(|t| {
                t.spawn(|| assert!(stale.iter().all(|waker| waker.claim().is_none())));
            });
            for (n, place) in places.iter().enumerate() {
                place.take().claim().expect("nobody else may claim").wake(n as u64);
            }
            for (n, waiter) in waiters.into_iter().enumerate() {
                assert_eq!(waiter.join().unwrap(), Woken::Value(n as u64));
            }
        });
    });
}

#[test]
fn late_wakers_of_threads_lose() {
    let thread = || {
        let mut stale = Vec::new();
        for n in 0..200_u64 {
            let woken = wait(WaitReason::Other, None, |waker: Waker<u64>| {
                stale.push(waker);
                waker.claim().expect("nobody else knows it").wake(n);
                true
            });
            assert_eq!(woken, Woken::Value(n));
            assert!(stale.iter().all(|waker| waker.claim().is_none()));
        }
        stale
    };
    let stale: Vec<_> = (0..4).flat_map(|_| thread::spawn(thread).join().unwrap()).collect();
    let place: Place<u64> = Place::new();
    thread::scope(|s| {
        let waiter = s.spawn(|| place.wait(None));
        let waker = place.take();
        assert!(stale.iter().all(|waker| waker.claim().is_none()), "the next wait on the same parker");
        waker.claim().expect("nobody else may claim").wake(1);
        assert_eq!(waiter.join().unwrap(), Woken::Value(1));
    });
}

/// Sent once, received once.
struct Oneshot<T>(Mutex<Slot<T>>);

enum Slot<T> {
    Empty,
    Waiting(Waker<T>),
    Full(T),
}

impl<T: Send> Oneshot<T> {
    fn new() -> Self {
        Oneshot(Mutex::new(Slot::Empty))
    }

    fn send(&self, value: T) {
        let mut slot = self.0.lock().unwrap();
        if let Slot::Waiting(waker) = *slot {
            drop(slot);
            waker.claim().expect("it waits for us alone").wake(value);
        } else {
            *slot = Slot::Full(value);
        }
    }

    fn receive(&self) -> T {
        let woken = wait(WaitReason::Other, None, |waker| {
            let mut slot = self.0.lock().unwrap();
            let waits = matches!(*slot, Slot::Empty);
            if waits {
                *slot = Slot::Waiting(waker);
            }
            waits
        });
        match (woken, std::mem::replace(&mut *self.0.lock().unwrap(), Slot::Empty)) {
            (Woken::Value(value), _) | (Woken::Unpublished, Slot::Full(value)) => value,
            _ => unreachable!("nobody lets it down"),
        }
    }
}

/// A bounded channel, as small as it can be.
struct Channel<T> {
    inner: Mutex<Inner<T>>,
    capacity: usize,
}

struct Inner<T> {
    values: VecDeque<T>,
    receivers: VecDeque<Waker<T>>,
    senders: VecDeque<Waker<()>>,
}

impl<T: Send> Channel<T> {
    /// For so many parties: their wakers are kept without allocating.
    fn new(capacity: usize, parties: usize) -> Self {
        let inner = Inner {
            values: VecDeque::with_capacity(capacity),
            receivers: VecDeque::with_capacity(parties),
            senders: VecDeque::with_capacity(parties),
        };
        Channel { inner: Mutex::new(inner), capacity }
    }

    fn send(&self, value: T) {
        loop {
            let mut inner = self.inner.lock().unwrap();
            if let Some(receiver) = inner.receivers.pop_front() {
                // There is room, of which we make no use: the next sender shall.
                let next = inner.senders.pop_front();
                drop(inner);
                receiver.claim().expect("who popped it claims it").wake(value);
                if let Some(next) = next {
                    next.claim().expect("who popped it claims it").wake(());
                }
                return;
            }
            if inner.values.len() < self.capacity {
                inner.values.push_back(value);
                return;
            }
            drop(inner);
            let woken = wait(WaitReason::Other, None, |waker| {
                let mut inner = self.inner.lock().unwrap();
                let full = inner.values.len() == self.capacity;
                if full {
                    inner.senders.push_back(waker);
                }
                full
            });
            assert!(matches!(woken, Woken::Value(()) | Woken::Unpublished));
        }
    }

    fn receive(&self) -> T {
        loop {
            let mut inner = self.inner.lock().unwrap();
            if let Some(value) = inner.values.pop_front() {
                let sender = inner.senders.pop_front();
                drop(inner);
                if let Some(sender) = sender {
                    sender.claim().expect("who popped it claims it").wake(());
                }
                return value;
            }
            drop(inner);
            let woken = wait(WaitReason::Other, None, |waker| {
                let mut inner = self.inner.lock().unwrap();
                let empty = inner.values.is_empty();
                if empty {
                    inner.receivers.push_back(waker);
                }
                empty
            });
            match woken {
                Woken::Value(value) => return value,
                Woken::Unpublished => {}
                _ => unreachable!("nobody lets it down: {}", matches!(woken, Woken::LetDown)),
            }
        }
    }
}

#[test]
fn a_oneshot_can_be_built() {
    at_1_2_4(|_| {
        for n in 0..2_000 {
            let oneshot = Arc::new(Oneshot::new());
            let sender = spawn({
                let oneshot = Arc::clone(&oneshot);
                move || oneshot.send(Box::new(n))
            });
            assert_eq!(*oneshot.receive(), n);
            sender.join().unwrap();
        }
    });
    at(&[1, 2], |_| {
        let shots: Vec<_> = (0..200).map(|_| (Oneshot::new(), Oneshot::new())).collect();
        thread::scope(|t| {
            let far = t.spawn(|| {
                for (n, (there, back)) in shots.iter().enumerate() {
                    there.send(n);
                    assert_eq!(back.receive(), n + 1);
                }
            });
            // On this goroutine's thread, which the scope of threads would block.
            shots.iter().for_each(|(there, back)| back.send(there.receive() + 1));
            join_all(vec![far]);
        });
    });
}

/// Moves 10,000 values through a channel; every sender's arrive in its own order at each receiver.
fn move_values(capacity: usize, goroutines: usize, threads: usize) {
    const VALUES: usize = 10_000;
    let parties = goroutines + threads;
    let share = VALUES / parties;
    let channel = Channel::new(capacity, 2 * parties);
    let send = |sender: usize| (0..share).for_each(|n| channel.send(Box::new((sender, n))));
    let receive = || {
        let mut last = vec![None; parties];
        let mut sum = 0;
        for _ in 0..share {
            let (sender, n) = *channel.receive();
            assert!(last[sender].replace(n).is_none_or(|before| before < n));
            sum += n;
        }
        sum
    };
    let (send, receive) = (&send, &receive);
    let total: usize = thread::scope(|t| {
        let far: Vec<_> = (0..threads).map(|_| t.spawn(receive)).collect();
        let senders: Vec<_> = (0..threads).map(|sender| t.spawn(move || send(sender))).collect();
        let near: usize = scope(|s| {
            let near: Vec<_> = (0..goroutines).map(|_| s.spawn(receive)).collect();
            for sender in threads..parties {
                s.spawn(move || send(sender));
            }
            near.into_iter().map(|receiver| receiver.join().unwrap()).sum()
        });
        join_all(senders);
        far.into_iter().map(|receiver| receiver.join().unwrap()).sum::<usize>() + near
    });
    assert_eq!(total, parties * (share * (share - 1) / 2));
}

#[test]
fn a_channel_can_be_built() {
    at_1_2_4(|_| {
        move_values(1, 1, 0);
        move_values(1, 4, 0);
        move_values(16, 8, 0);
    });
}

#[test]
fn a_channel_joins_goroutines_and_threads() {
    at_1_2_4(|_| move_values(4, 2, 2));
    move_values(4, 2, 2);
}
