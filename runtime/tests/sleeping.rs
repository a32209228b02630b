//! Sleeping and timeouts: never early, in order, whatever else goes on, and nothing is left of a timer
//! that was not needed.
#![cfg(test)]

mod fixture;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{MODES, Mode, Setting, at, at_1_2_4, everywhere, spin_until, until, watched};
use gort_runtime::{
    __private, JoinHandle, current, num_goroutines, park, park_deadline, park_timeout, runtime,
    set_max_procs, sleep, sleep_until, spawn, yield_now,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// Sleeps, and checks that it was not too short.
fn sleep_exactly(wait: Duration) {
    let start = Instant::now();
    sleep(wait);
    assert!(start.elapsed() >= wait, "{wait:?} took {:?}", start.elapsed());
}

fn timers() -> usize {
    runtime::info().unwrap().timers
}

#[test]
fn sleep_never_returns_early() {
    everywhere(|setting| {
        let mut rng = setting.rng(1);
        for _ in 0..50 {
            sleep_exactly(Duration::from_nanos(rng.below(2_000_000)));
            let deadline = Instant::now() + Duration::from_nanos(rng.below(500_000));
            sleep_until(deadline);
            assert!(Instant::now() >= deadline);
            let deadline = Instant::now() + Duration::from_nanos(rng.below(500_000));
            park_deadline(deadline);
            assert!(Instant::now() >= deadline);
        }
        sleep_exactly(Duration::from_nanos(1));
        sleep_exactly(Duration::from_micros(1));
    });
}

#[test]
fn sleepers_of_one_processor_wake_in_the_order_of_their_deadlines() {
    const MANY: usize = 200;
    at(&[1], |setting| {
        let mut order: Vec<usize> = (0..MANY).collect();
        let mut rng = setting.rng(2);
        (1..MANY).rev().for_each(|n| order.swap(n, rng.below(n as u64 + 1) as usize));
        let log = Arc::new(Mutex::new(Vec::new()));
        let begin = Instant::now() + Duration::from_millis(20);
        let handles: Vec<_> = order
            .into_iter()
            .map(|n| {
                let log = Arc::clone(&log);
                spawn(move || {
                    sleep_until(begin + Duration::from_micros(50) * n as u32);
                    log.lock().unwrap().push(n);
                })
            })
            .collect();
        let all_asleep_in_time = {
            until(|| timers() == MANY || !log.lock().unwrap().is_empty());
            timers() == MANY && Instant::now() < begin
        };
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        let log = log.lock().unwrap();
        assert_eq!(log.len(), MANY);
        // Who came too late to sleep, on a slow machine, proves nothing.
        assert!(!all_asleep_in_time || log.is_sorted(), "{log:?}");
    });
}

#[test]
fn a_sleep_of_zero_lets_others_run() {
    at(&[1], |_| {
        for past in [false, true] {
            let turns = Arc::new(AtomicUsize::new(0));
            let child = spawn({
                let turns = Arc::clone(&turns);
                move || {
                    turns.store(1, Ordering::SeqCst);
                }
            });
            let deadline = Instant::now();
            while turns.load(Ordering::SeqCst) == 0 {
                match past {
                    false => sleep(Duration::ZERO),
                    true => sleep_until(deadline),
                }
            }
            child.join().unwrap();
            assert_eq!(timers(), 0);
        }
    });
}

#[test]
fn sleeps_of_all_lengths_side_by_side_end_in_time() {
    const MANY: usize = 3_000;
    at_1_2_4(|setting| {
        let handles: Vec<_> = (0..MANY)
            .map(|n| {
                let mut rng = setting.rng(n as u64);
                spawn(move || {
                    for _ in 0..3 {
                        sleep_exactly(Duration::from_micros(rng.below(30_000)));
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(timers(), 0);
        assert!(runtime::info().unwrap().timers_fired >= 2 * MANY as u64, "they have slept");
    });
}

/// The latest that std can name.
fn far_instants() -> Vec<Instant> {
    let now = Instant::now();
    let later = (0..64).filter_map(|bit| now.checked_add(Duration::from_secs(1 << bit)));
    later.filter(|&instant| instant > now + 2 * HOUR).collect()
}

#[test]
fn waits_of_any_length_neither_panic_nor_disturb_others() {
    at_1_2_4(|_| {
        let lengths = [HOUR, Duration::MAX, Duration::from_nanos(u64::MAX), Duration::from_secs(u64::MAX)];
        let long = lengths.map(|length| spawn(move || park_timeout(length)));
        let far = far_instants().into_iter().map(|instant| spawn(move || park_deadline(instant)));
        let waiters: Vec<_> = long.into_iter().chain(far).collect();
        until(|| timers() == waiters.len());
        (0..20).for_each(|_| sleep_exactly(Duration::from_micros(100)));
        let short = spawn(|| park_timeout(Duration::from_millis(1)));
        short.join().unwrap();
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        assert_eq!(timers(), waiters.len());
        waiters.iter().for_each(|waiter| waiter.goroutine().unpark());
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(timers(), 0);
    });
}

#[test]
fn sleeps_for_ever_neither_panic_nor_disturb_others() {
    for mode in MODES {
        let runtime = Setting::new(2, mode).build();
        watched(&runtime, || {
            runtime.run(|| {
                let forever = [Duration::MAX, Duration::from_nanos(u64::MAX), Duration::from_secs(u64::MAX)];
                let mut sleepers: Vec<_> = forever.map(|length| spawn(move || sleep(length))).into();
                sleepers
                    .extend(far_instants().into_iter().map(|instant| spawn(move || sleep_until(instant))));
                until(|| timers() == sleepers.len());
                (0..20).for_each(|_| sleep_exactly(Duration::from_micros(100)));
                // An unpark is not for a sleeper.
                sleepers.iter().for_each(|sleeper| sleeper.goroutine().unpark());
                (0..20).for_each(|_| sleep_exactly(Duration::from_micros(100)));
                assert!(sleepers.iter().all(|sleeper| !sleeper.is_finished()));
                assert_eq!((timers(), num_goroutines()), (sleepers.len(), sleepers.len() + 1));
            });
        });
        assert!(runtime.shutdown_timeout(Duration::from_secs(60)));
    }
}

#[test]
fn an_unpark_does_not_end_a_sleep_and_is_kept() {
    at_1_2_4(|_| {
        let child = spawn(|| {
            sleep_exactly(Duration::from_millis(3));
            // The token is there: this does not last.
            park();
        });
        until(|| timers() == 1);
        child.goroutine().unpark();
        child.join().unwrap();
    });
}

#[test]
fn a_timer_that_was_not_needed_leaves_nothing() {
    const TIMES: usize = 20_000;
    at_1_2_4(|_| {
        for _ in 0..1_000 {
            current().unpark();
            park_timeout(HOUR);
        }
        assert_eq!(timers(), 0);
        let rounds = Arc::new(AtomicUsize::new(0));
        let child = spawn({
            let rounds = Arc::clone(&rounds);
            move || {
                for n in 1..=TIMES {
                    while rounds.load(Ordering::SeqCst) < n {
                        park_timeout(HOUR);
                    }
                }
            }
        });
        let handle = child.goroutine();
        for n in 1..=TIMES {
            rounds.store(n, Ordering::SeqCst);
            handle.unpark();
            if n % 3 == 0 {
                yield_now();
            }
            if n % 1_000 == 0 {
                assert!(timers() <= 1, "{} timers", timers());
            }
        }
        child.join().unwrap();
        assert_eq!(timers(), 0);
    });
}

#[test]
fn many_timers_that_were_not_needed_leave_nothing() {
    const MANY: usize = 10_000;
    at(&[2], |_| {
        let waiters: Vec<_> = (0..MANY)
            .map(|n| spawn(move || park_timeout(HOUR + Duration::from_millis((n * 7_919 % MANY) as u64))))
            .collect();
        until(|| timers() == MANY);
        waiters.iter().for_each(|waiter| waiter.goroutine().unpark());
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(timers(), 0);
        // The heap is whole still.
        (0..10).for_each(|_| sleep_exactly(Duration::from_micros(50)));
    });
}

/// Goroutines that are never idle, and make no calls but these.
fn keep_busy(kind: usize, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let stop = Arc::clone(stop);
    spawn(move || {
        let is_over = || stop.load(Ordering::SeqCst);
        match kind {
            0 => until(is_over),
            1 => {
                while !is_over() {
                    assert_eq!(spawn(|| 1).join().unwrap(), 1);
                }
            }
            2 => {
                while !is_over() {
                    drop(spawn(yield_now));
                    yield_now();
                }
            }
            _ => {
                let me = current();
                let over = Arc::new(AtomicBool::new(false));
                let partner = spawn({
                    let (me, over) = (me.clone(), Arc::clone(&over));
                    move || {
                        while !over.load(Ordering::SeqCst) {
                            park();
                            me.unpark();
                        }
                    }
                });
                let other = partner.goroutine();
                while !is_over() {
                    other.unpark();
                    park();
                }
                over.store(true, Ordering::SeqCst);
                other.unpark();
                partner.join().unwrap();
            }
        }
    })
}

#[test]
fn timers_fire_although_all_processors_are_busy() {
    at_1_2_4(|setting| {
        for kind in 0..4 {
            let stop = Arc::new(AtomicBool::new(false));
            let busy: Vec<_> = (0..2 * setting.procs).map(|_| keep_busy(kind, &stop)).collect();
            let sleepers: Vec<_> = (0..10)
                .map(|n| {
                    spawn(move || {
                        (0..3).for_each(|_| sleep_exactly(Duration::from_micros(100 + 300 * n)));
                        park_timeout(Duration::from_micros(100));
                    })
                })
                .collect();
            sleep_exactly(Duration::from_millis(1));
            sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
            stop.store(true, Ordering::SeqCst);
            busy.into_iter().for_each(|busy| busy.join().unwrap());
        }
        until(|| num_goroutines() == 1);
    });
}

/// A timer of a processor whose goroutine makes no call is served by another one.
#[test]
fn a_timer_on_a_processor_that_does_not_look_is_fired_by_another() {
    for mode in [Mode::ChildFirst, Mode::ParentFirst] {
        Setting::new(2, mode).check(|| {
            for _ in 0..10 {
                let (slept, spins) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
                let sleeper = spawn({
                    let slept = Arc::clone(&slept);
                    move || {
                        sleep_exactly(Duration::from_millis(1));
                        slept.store(true, Ordering::SeqCst);
                    }
                });
                // Set on one of the two processors; a spinner holds one of them until it has fired.
                until(|| timers() == 1 || sleeper.is_finished());
                let spinner = spawn({
                    let (slept, spins) = (Arc::clone(&slept), Arc::clone(&spins));
                    move || {
                        spins.fetch_add(1, Ordering::SeqCst);
                        spin_until(|| slept.load(Ordering::SeqCst));
                    }
                });
                sleeper.join().unwrap();
                spinner.join().unwrap();
                assert_eq!(spins.load(Ordering::SeqCst), 1);
            }
        });
    }
}

#[test]
fn foreign_threads_sleep_and_wait_with_timeouts_too() {
    thread::scope(|s| {
        for n in 0..4_u64 {
            s.spawn(move || {
                for k in 1..10 {
                    sleep_exactly(Duration::from_micros(100 * (n + k)));
                    let deadline = Instant::now() + Duration::from_micros(100);
                    sleep_until(deadline);
                    assert!(Instant::now() >= deadline);
                }
                sleep(Duration::ZERO);
                sleep_until(Instant::now());
                current().unpark();
                park_timeout(HOUR);
            });
        }
    });
}

#[test]
fn an_idle_runtime_that_sysmon_no_longer_watches_still_keeps_time() {
    for mode in MODES {
        for procs in [1, 2] {
            let setting = Setting::new(procs, mode);
            setting.check(|| {
                // Longer than it watches idle processors.
                sleep_exactly(Duration::from_millis(130));
                (0..5).for_each(|_| sleep_exactly(Duration::from_micros(200)));
                let waiter = spawn(|| park_timeout(Duration::from_millis(120)));
                waiter.join().unwrap();
                sleep_exactly(Duration::from_millis(1));
            });
        }
    }
}

/// What ends the slice of a goroutine that only spawns is sysmon, which must have woken up for it.
#[test]
fn slices_end_after_the_runtime_was_idle() {
    for mode in MODES {
        Setting::new(1, mode).check(|| {
            for _ in 0..2 {
                sleep(Duration::from_millis(110));
                let turn = Arc::new(AtomicBool::new(false));
                let waiter = spawn({
                    let turn = Arc::clone(&turn);
                    move || {
                        // Behind everybody who was there.
                        yield_now();
                        turn.store(true, Ordering::SeqCst);
                    }
                });
                let mut children = Vec::new();
                while !turn.load(Ordering::SeqCst) {
                    children.push(spawn(|| ()));
                    (0..20_000).for_each(|_| std::hint::spin_loop());
                }
                waiter.join().unwrap();
                children.into_iter().for_each(|child| child.join().unwrap());
            }
        });
    }
}

#[test]
fn sleepers_survive_changes_of_the_number_of_processors() {
    at(&[4], |setting| {
        let handles: Vec<_> = (0..200)
            .map(|n| {
                let mut rng = setting.rng(n);
                spawn(move || (0..10).for_each(|_| sleep_exactly(Duration::from_micros(rng.below(2_000)))))
            })
            .collect();
        let mut rng = setting.rng(1_000);
        while !handles.iter().all(JoinHandle::is_finished) {
            set_max_procs(1 + rng.below(6) as usize).unwrap();
            sleep(Duration::from_micros(rng.below(200)));
        }
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn a_foreign_unpark_and_the_timeout_race_without_harm() {
    for mode in MODES {
        let runtime = Setting::new(2, mode).build();
        let setting = Setting::new(2, mode);
        watched(&runtime, || {
            let mut rng = setting.rng(3);
            for _ in 0..1_000 {
                let wait = Duration::from_micros(rng.below(60));
                let child = runtime.run(move || spawn(move || park_timeout(wait)));
                (0..rng.below(2_000)).for_each(|_| std::hint::spin_loop());
                child.goroutine().unpark();
                child.join().unwrap();
            }
        });
        __private::check(runtime, || assert_eq!(timers(), 0));
    }
}
