//! Bugs of the scheduler that were found by reading it with bad intentions: each test is the program that
//! proved one. They wait for what must happen; where it does not, the watchdog ends them with a dump.
#![cfg(test)]

mod fixture;

use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{Child, MODES, Mode, Setting, at, spawn_beside, spin_until, tid, until, watched};
use gort_runtime::runtime::{self, Runtime};
use gort_runtime::{__private, Goroutine, JoinHandle, current, park, set_max_procs, sleep, spawn, yield_now};

/// A word that several goroutines share.
fn shared<T: Default>() -> Arc<T> {
    Arc::new(T::default())
}

/// Computes for a while: holds the processor, and makes no call of the runtime.
fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Goroutines that run `body(0)`, `body(1)`, ...: so many for each processor, in the default mode bound to
/// as many threads as there are processors. They begin together.
fn on_all_threads(
    procs: usize,
    per_proc: usize,
    body: impl Fn(usize) + Clone + Send + 'static,
) -> Vec<JoinHandle<()>> {
    const BEGIN: usize = 1;
    const END: usize = 2;
    let go: Arc<AtomicBool> = shared();
    let mut handles = Vec::new();
    while handles.len() < procs * per_proc {
        let (threads, verdict): (Arc<Mutex<Vec<i64>>>, Arc<AtomicUsize>) = (shared(), shared());
        let mut wave: Vec<_> = (0..procs)
            .map(|n| {
                let (n, body, creator) = (handles.len() + n, body.clone(), current());
                let (go, threads, verdict) = (Arc::clone(&go), Arc::clone(&threads), Arc::clone(&verdict));
                spawn(move || {
                    threads.lock().unwrap().push(tid());
                    // Holds its thread, so that the others start elsewhere. But `spawn` may give way, and then
                    // the creator may be bound to this very thread: not for ever.
                    let start = Instant::now();
                    while threads.lock().unwrap().len() < procs && start.elapsed() < Duration::from_millis(20)
                    {
                        std::hint::spin_loop();
                    }
                    creator.unpark();
                    while verdict.load(Ordering::SeqCst) == 0 {
                        park();
                    }
                    while verdict.load(Ordering::SeqCst) == BEGIN && !go.load(Ordering::SeqCst) {
                        park();
                    }
                    if verdict.load(Ordering::SeqCst) == BEGIN {
                        body(n);
                    }
                })
            })
            .collect();
        while threads.lock().unwrap().len() < procs {
            park();
        }
        let different = threads.lock().unwrap().iter().collect::<HashSet<_>>().len() == procs;
        verdict.store(if different { BEGIN } else { END }, Ordering::SeqCst);
        wave.iter().for_each(|handle| handle.goroutine().unpark());
        if different {
            handles.append(&mut wave);
        } else {
            wave.into_iter().for_each(|handle| handle.join().unwrap());
        }
    }
    go.store(true, Ordering::SeqCst);
    handles.iter().for_each(|handle| handle.goroutine().unpark());
    handles
}

/// Runs `body`, on this foreign thread, with a runtime of each mode.
fn from_outside(procs: &[usize], body: impl Fn(Setting, &Runtime)) {
    for mode in MODES {
        for &procs in procs {
            let setting = Setting::new(procs, mode);
            println!("{setting:?}");
            let runtime = setting.build();
            watched(&runtime, || body(setting, &runtime));
            __private::check(runtime, || ());
        }
    }
}

/// A worker that had queued itself, and was given a processor before it fell asleep, ran with its word
/// still `Queued`: nobody queued it again, and the goroutines bound to it were lost.
#[test]
fn a_worker_that_is_served_before_it_sleeps_is_not_lost() {
    at(&[2], |_| {
        let handles = on_all_threads(2, 4, |_| {
            for n in 0..700 {
                yield_now();
                if n % 7 == 0 {
                    sleep(Duration::from_micros(50));
                }
            }
        });
        set_max_procs(1).unwrap();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

/// A searcher that found bound work kept the role of the searcher while it ran it: what was spawned from
/// outside relied on it, and waited though a processor was idle.
#[test]
fn who_runs_bound_work_searches_no_more() {
    const TIMES: u64 = 150;
    from_outside(&[2], |_, runtime| {
        let (asked, ran) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|s| {
            s.spawn(|| {
                for n in 1..=TIMES {
                    spin_until(|| asked.load(Ordering::SeqCst) == n);
                    runtime.run(|| ran.store(n, Ordering::SeqCst));
                }
            });
            runtime.run(|| {
                for n in 1..=TIMES {
                    // The idle worker that keeps the time finds this goroutine, which is bound to it.
                    sleep(Duration::from_micros(500));
                    asked.store(n, Ordering::SeqCst);
                    spin_until(|| ran.load(Ordering::SeqCst) == n);
                }
            });
        });
    });
}

/// Calls a closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The only processor had no thread, when one froze beneath a panic while all others stood in a queue: the
/// creator thought that there were enough.
#[test]
fn a_freeze_while_all_other_workers_are_queued_finds_a_thread() {
    at(&[1], |_| {
        let stop: Arc<AtomicBool> = shared();
        let mut yielders = Vec::new();
        for _ in 0..25 {
            let ran: Arc<AtomicBool> = shared();
            let (stop, has_run) = (Arc::clone(&stop), Arc::clone(&ran));
            yielders.push(spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    has_run.store(true, Ordering::SeqCst);
                    yield_now();
                }
            }));
            // While it unwinds, it waits in both ways: the thread sleeps beneath it.
            let frozen = AssertUnwindSafe(|| {
                let _frozen = OnDrop(|| {
                    sleep(Duration::from_millis(1));
                    until(|| ran.load(Ordering::SeqCst));
                });
                resume_unwind(Box::new("without a message"));
            });
            assert!(catch_unwind(frozen).is_err());
        }
        stop.store(true, Ordering::SeqCst);
        yielders.into_iter().for_each(|yielder| yielder.join().unwrap());
    });
}

/// A worker queued itself, for all processors were taken, while the last of their owners went idle: nobody
/// looked at the queue again.
#[test]
fn a_worker_that_queues_itself_wakes_somebody() {
    at(&[3], |_| {
        for round in 0..12 {
            pass_tokens(1 + round % 3);
            set_max_procs(3).unwrap();
        }
    });
}

/// Six goroutines bound to three workers, which have only two processors, pass tokens around.
fn pass_tokens(tokens: usize) {
    const PLAYERS: usize = 6;
    const PASSES: u64 = 500;
    let hands: Arc<[AtomicU64; PLAYERS]> = shared();
    let players: Arc<OnceLock<Vec<Goroutine>>> = shared();
    let passes: Arc<AtomicU64> = shared();
    let handles = on_all_threads(3, PLAYERS / 3, {
        let (hands, players, passes) = (Arc::clone(&hands), Arc::clone(&players), Arc::clone(&passes));
        move |n| {
            loop {
                while hands[n].load(Ordering::SeqCst) == 0 && passes.load(Ordering::SeqCst) < PASSES {
                    park();
                }
                let pass = passes.fetch_add(1, Ordering::SeqCst);
                let players = players.get().expect("nobody has a token before");
                if pass >= PASSES {
                    return players.iter().for_each(Goroutine::unpark);
                }
                hands[n].fetch_sub(1, Ordering::SeqCst);
                let next = (n * 5 + 2 + pass as usize) % PLAYERS;
                hands[next].fetch_add(1, Ordering::SeqCst);
                players[next].unpark();
            }
        }
    });
    players.set(handles.iter().map(JoinHandle::goroutine).collect()).expect("only here");
    set_max_procs(2).unwrap();
    sleep(Duration::from_millis(1));
    for n in 0..tokens {
        hands[n].fetch_add(1, Ordering::SeqCst);
        players.get().expect("just set")[n].unpark();
    }
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

/// Changes the number of processors again and again, from 1 to what it is, beside goroutines that yield.
fn storm(
    setting: Setting,
    yielders: usize,
    resizes: usize,
    turn: impl Fn() + Copy + Send + 'static,
    pause: impl Fn(),
) {
    let stop: Arc<AtomicBool> = shared();
    let handles: Vec<_> = (0..yielders)
        .map(|_| {
            let stop = Arc::clone(&stop);
            spawn(move || {
                // So that they are spread over the threads.
                compute(Duration::from_micros(500));
                while !stop.load(Ordering::SeqCst) {
                    turn();
                }
            })
        })
        .collect();
    for n in 0..resizes {
        set_max_procs(1 + n % setting.procs).unwrap();
        pause();
    }
    stop.store(true, Ordering::SeqCst);
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

/// A worker that retired its processor stood in the queue while it still held it: who found it there gave
/// it one at once, and it, or what is bound to it, was lost.
#[test]
fn a_storm_of_resizes_between_one_and_two_loses_nobody() {
    at(&[2], |setting| storm(setting, 16, 300, yield_now, || (0..3).for_each(|_| yield_now())));
}

/// As above, with more processors that retire at the same time.
#[test]
fn a_storm_of_resizes_up_to_four_loses_nobody() {
    at(&[4], |setting| storm(setting, 32, 150, yield_now, || (0..3).for_each(|_| yield_now())));
}

/// As above, but the workers have the time to go idle between two resizes: the worst of the three.
#[test]
fn a_slow_storm_of_resizes_loses_nobody() {
    at(&[2, 4], |setting| {
        let turn = || {
            (0..7).for_each(|_| yield_now());
            sleep(Duration::from_micros(50));
        };
        storm(setting, 12, 300, turn, || sleep(Duration::from_micros(100)));
    });
}

/// A chain of child-first spawns never came through the scheduler's queues: a goroutine that yielded had
/// no turn for as long as it went on.
#[test]
fn a_loop_of_spawn_and_join_does_not_starve_a_yielder() {
    at(&[1, 2], |_| {
        let (turns, stop): (Arc<AtomicU64>, Arc<AtomicBool>) = (shared(), shared());
        let yielder = spawn({
            let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::SeqCst) {
                    turns.fetch_add(1, Ordering::SeqCst);
                    yield_now();
                }
            }
        });
        let before = turns.load(Ordering::SeqCst);
        while turns.load(Ordering::SeqCst) < before + 20 {
            spawn(|| ()).join().unwrap();
        }
        stop.store(true, Ordering::SeqCst);
        yielder.join().unwrap();
    });
}

/// What a processor had published and nobody took was hidden behind its private work, as long as that did
/// not end: some of the goroutines at a barrier never arrived.
#[test]
fn published_work_is_not_hidden_from_its_own_processor() {
    at(&[1, 2], |_| {
        const COUNT: usize = 100;
        for _ in 0..10 {
            let arrived: Arc<AtomicUsize> = shared();
            let handles: Vec<_> = (0..COUNT)
                .map(|_| {
                    let arrived = Arc::clone(&arrived);
                    spawn(move || {
                        arrived.fetch_add(1, Ordering::SeqCst);
                        until(|| arrived.load(Ordering::SeqCst) == COUNT);
                    })
                })
                .collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
        }
    });
}

/// Has sysmon fall asleep: it does after two passes over the stacks, a second apart, without work.
fn idle_until_sysmon_sleeps() {
    sleep(Duration::from_millis(1_250));
}

/// A worker that woke by itself, for a timer, did not wake sysmon: no slice ended any more, and nobody was
/// made to publish what waits behind a computation.
#[test]
fn sysmon_wakes_with_a_worker_that_a_timer_wakes() {
    thread::scope(|s| {
        for mode in MODES {
            s.spawn(move || Setting::new(1, mode).check(pings_beside_a_yielder_after_a_pause));
            s.spawn(move || Setting::new(2, mode).check(lone_children_after_a_pause));
        }
    });
}

/// Two goroutines that wake each other inherit one slice: the yielder is behind its end.
fn pings_beside_a_yielder_after_a_pause() {
    idle_until_sysmon_sleeps();
    let (turns, stop): (Arc<AtomicU64>, Arc<AtomicBool>) = (shared(), shared());
    let me = current();
    let yielder = spawn({
        let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
        move || {
            while !stop.load(Ordering::SeqCst) {
                turns.fetch_add(1, Ordering::SeqCst);
                yield_now();
            }
        }
    });
    let partner = spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::SeqCst) {
                me.unpark();
                park();
            }
        }
    });
    (0..3).for_each(|_| yield_now());
    let before = turns.load(Ordering::SeqCst);
    while turns.load(Ordering::SeqCst) < before + 20 {
        partner.goroutine().unpark();
        park();
    }
    stop.store(true, Ordering::SeqCst);
    partner.goroutine().unpark();
    partner.join().unwrap();
    yielder.join().unwrap();
}

/// A lone child is kept private for a while, if children before it were not worth a wake: only sysmon sees
/// that this one waits behind a computation.
fn lone_children_after_a_pause() {
    (0..300).for_each(|_| spawn(|| ()).join().unwrap());
    idle_until_sysmon_sleeps();
    for _ in 0..3 {
        let ran: Arc<AtomicBool> = shared();
        let child = spawn({
            let ran = Arc::clone(&ran);
            move || ran.store(true, Ordering::SeqCst)
        });
        spin_until(|| ran.load(Ordering::SeqCst));
        child.join().unwrap();
    }
}

/// A busy loop on the only processor was not asked to give way to what came from outside: sysmon did not
/// look at the injector. (The loop was one of `unpark`, which gives way to nobody now, for its caller may
/// hold a lock: that one needs a second processor.)
#[test]
fn what_comes_from_outside_runs_beside_a_busy_loop() {
    const TIMES: u64 = 10;
    fn busy(runtime: &Runtime, call: impl Fn() + Sync) {
        let (asked, ran) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|s| {
            s.spawn(|| {
                for n in 1..=TIMES {
                    spin_until(|| asked.load(Ordering::SeqCst) == n);
                    runtime.run(|| ran.store(n, Ordering::SeqCst));
                }
            });
            runtime.run(|| {
                for n in 1..=TIMES {
                    asked.store(n, Ordering::SeqCst);
                    while ran.load(Ordering::SeqCst) != n {
                        call();
                    }
                }
            });
        });
    }
    from_outside(&[1, 2], |setting, runtime| {
        busy(runtime, yield_now);
        busy(runtime, || spawn(|| ()).join().unwrap());
        busy(runtime, || {
            let me = current();
            drop(spawn(move || me.unpark()));
            park();
        });
        if setting.procs > 1 {
            // It does not give way; but another processor is idle.
            busy(runtime, || current().unpark());
        }
    });
}

/// How many threads of this process belong to a runtime.
fn gort_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let names = tasks.map(|task| fs::read_to_string(task.expect("Linux").path().join("comm")));
    let of_a_runtime = |name: &str| name.starts_with("gort-") && name.trim() != "gort-report";
    // A thread may end between the two.
    names.filter(|name| name.as_ref().is_ok_and(|name| of_a_runtime(name))).count()
}

/// A goroutine of a runtime that has stopped panicked in `spawn`, and said so on the standard error stream,
/// instead of stopping there.
#[test]
fn a_goroutine_of_a_stopped_runtime_that_spawns_stops_silently() {
    for mode in MODES {
        let child =
            Child::new("a_goroutine_of_a_stopped_runtime_that_spawns_stops_silently", &format!("{mode:?}"));
        let ended = child.run(|| {
            let (up, returned): (Arc<AtomicBool>, Arc<AtomicBool>) = (shared(), shared());
            let runtime = Setting::new(2, mode).build();
            runtime.run(|| {
                drop(spawn_beside(mode, {
                    let (up, returned) = (Arc::clone(&up), Arc::clone(&returned));
                    move || {
                        spin_until(|| up.load(Ordering::SeqCst));
                        // Its thread is the last: the runtime has stopped.
                        spin_until(|| gort_threads() == 1);
                        drop(spawn(|| ()));
                        returned.store(true, Ordering::SeqCst);
                    }
                }));
                // Two workers, the creator and sysmon: a thread has its name only once it runs.
                spin_until(|| gort_threads() >= 4);
                up.store(true, Ordering::SeqCst);
            });
            assert!(runtime.shutdown_timeout(Duration::from_secs(50)), "its thread goes on");
            assert!(!returned.load(Ordering::SeqCst), "the goroutine went on");
        });
        if let Some(ended) = ended {
            assert!(ended.output.status.success() && ended.stdout.contains(": done"), "{ended:?}");
            assert_eq!(ended.stderr, "", "{mode:?}");
        }
    }
}

/// What was queued while all processors were busy stayed private when one went idle, for it was offered
/// only at a push: the goroutines ran one after another.
#[test]
fn what_was_queued_while_all_were_busy_is_spread_later() {
    // Child-first, nothing queues up.
    for mode in [Mode::PerWorker, Mode::ParentFirst] {
        Setting::new(2, mode).check(|| {
            let release: Arc<AtomicBool> = shared();
            let busy = spawn_beside(mode, {
                let release = Arc::clone(&release);
                move || spin_until(|| release.load(Ordering::SeqCst))
            });
            let before = runtime::info().unwrap();
            // The thread of the first one that runs; then whether one ran on another.
            let (first, spread): (Arc<AtomicI64>, Arc<AtomicBool>) = (shared(), shared());
            let children: Vec<_> = (0..200)
                .map(|_| {
                    let (first, spread) = (Arc::clone(&first), Arc::clone(&spread));
                    spawn(move || {
                        let mine = tid();
                        match first.compare_exchange(0, mine, Ordering::SeqCst, Ordering::SeqCst) {
                            Err(other) if other != mine => spread.store(true, Ordering::SeqCst),
                            _ => {}
                        }
                        // It makes no call, and there is nobody to wait for: gives the other the time.
                        let start = Instant::now();
                        while !spread.load(Ordering::SeqCst) && start.elapsed() < Duration::from_millis(1) {
                            std::hint::spin_loop();
                        }
                    })
                })
                .collect();
            release.store(true, Ordering::SeqCst);
            busy.join().unwrap();
            children.into_iter().for_each(|child| child.join().unwrap());
            let after = runtime::info().unwrap();
            assert!(after.stolen > before.stolen, "{after:?}");
        });
    }
}

/// More are spawned at once than the P's ring holds: the rest go to the injector, of which a loop of yields let
/// one go at each 427th turn.
#[test]
fn what_overflows_into_the_injector_runs_beside_a_loop_of_yields() {
    const CHILDREN: usize = 3_000;
    Setting::new(1, Mode::PerWorker).check(|| {
        let ran = Arc::new(AtomicUsize::new(0));
        let children: Vec<_> = (0..CHILDREN)
            .map(|_| {
                let ran = Arc::clone(&ran);
                spawn(move || _ = ran.fetch_add(1, Ordering::Relaxed))
            })
            .collect();
        let mut turns = 0;
        while ran.load(Ordering::Relaxed) < CHILDREN {
            yield_now();
            turns += 1;
        }
        assert!(turns < 40 * CHILDREN, "{turns} turns");
        children.into_iter().for_each(|child| child.join().unwrap());
    });
}
