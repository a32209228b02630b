//! Dumps: who lives, what each waits for, where it stands; with nobody stopped.
#![cfg(test)]

mod fixture;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use fixture::{Child, at_1_2_4, poll_until, until};
use gort_runtime::inspect::{self, Dump, GoroutineState};
use gort_runtime::{Builder, JoinHandle, current, grow, num_goroutines, park, runtime, spawn, yield_now};

fn dump() -> String {
    written(&Dump::new())
}

fn written(dump: &Dump) -> String {
    let mut text = Vec::new();
    dump.write(&mut text).expect("a vector takes everything");
    String::from_utf8(text).expect("a dump is text")
}

/// The blocks of a dump.
fn blocks(text: &str) -> Vec<&str> {
    text.split("\n\n").filter(|block| !block.is_empty()).collect()
}

fn block<'a>(text: &'a str, head: &str) -> &'a str {
    blocks(text)
        .into_iter()
        .find(|block| block.starts_with(head))
        .unwrap_or_else(|| panic!("no {head} in\n{text}"))
}

/// Parks, in a frame of its own.
#[inline(never)]
fn wait_here() {
    park();
    black_box(());
}

/// Lets everybody else come to rest.
fn until_waiting(count: usize) {
    until(|| inspect::goroutines().iter().filter(|g| g.state == GoroutineState::Waiting).count() == count);
}

fn end(handles: Vec<JoinHandle<()>>) {
    handles.iter().for_each(|handle| handle.goroutine().unpark());
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn a_parked_goroutine_shows_where_it_waits() {
    at_1_2_4(|setting| {
        let sleeper = Builder::new().name("sleeper").spawn(wait_here).unwrap();
        until_waiting(1);
        let text = dump();
        let id = sleeper.goroutine().id();
        let block = block(&text, &format!("goroutine {id} \"sleeper\" [park"));
        assert!(block.contains("dumps::wait_here\n\t"), "{text}");
        assert!(block.contains("gort_runtime::goroutine::park"), "{text}");
        assert!(!block.contains("switch_out") && !block.contains("spawn::root"), "{text}");
        assert!(block.lines().last().unwrap().starts_with("created at runtime/tests/dumps.rs:"), "{text}");
        assert_eq!(block.lines().next().unwrap().contains(", on M"), !setting.migrates(), "{text}");
        end(vec![sleeper]);
    });
}

#[test]
fn the_caller_is_running_and_comes_first() {
    at_1_2_4(|_| {
        let sleepers: Vec<_> = (0..3).map(|_| spawn(wait_here)).collect();
        until_waiting(3);
        let text = dump();
        assert!(blocks(&text)[0].contains("[running, on M"), "{text}");
        assert!(blocks(&text)[0].contains("dumps::the_caller_is_running_and_comes_first"), "{text}");
        assert_eq!(blocks(&text).len(), 4, "{text}");
        end(sleepers);
    });
}

#[test]
fn a_goroutine_with_the_smallest_stack_may_make_a_dump() {
    at_1_2_4(|_| {
        let small = Builder::new().stack_size(16 << 10).spawn(dump).unwrap();
        let text = small.join().unwrap();
        assert!(text.contains("dumps::dump"), "{text}");
    });
}

#[test]
fn a_goroutine_on_a_segment_shows_all_its_frames() {
    #[inline(never)]
    fn on_a_segment() {
        wait_here();
        black_box(());
    }
    #[inline(never)]
    fn before_the_segment(depth: usize) {
        let space = black_box([0_u8; 20_000]);
        if depth == 0 {
            grow(on_a_segment);
        } else {
            grow(|| before_the_segment(depth - 1));
        }
        black_box(space);
    }
    at_1_2_4(|_| {
        let sleeper = spawn(|| before_the_segment(60));
        until_waiting(1);
        let text = dump();
        let block = block(&text, &format!("goroutine {} [park", sleeper.goroutine().id()));
        for function in ["wait_here", "on_a_segment", "before_the_segment"] {
            assert!(block.contains(function), "{function} in\n{text}");
        }
        end(vec![sleeper]);
    });
}

#[test]
fn the_innermost_and_outermost_frames_of_a_shallow_segment_are_shown() {
    at_1_2_4(|_| {
        let sleeper = Builder::new().stack_size(16 << 10).spawn(|| grow(wait_here)).unwrap();
        until_waiting(1);
        let text = dump();
        let block = block(&text, &format!("goroutine {} [park", sleeper.goroutine().id()));
        assert!(block.contains("dumps::wait_here"), "{text}");
        assert!(block.contains("gort_runtime::grow::grow"), "from the segment to the stack:\n{text}");
        assert!(block.contains("outermost_frames_of_a_shallow_segment_are_shown"), "{text}");
        end(vec![sleeper]);
    });
}

#[test]
fn a_whole_dump_counts_as_num_goroutines_does() {
    at_1_2_4(|_| {
        let sleepers: Vec<_> = (0..1_500).map(|_| spawn(wait_here)).collect();
        until_waiting(1_500);
        let whole = written(&Dump::new().whole(true));
        assert_eq!(blocks(&whole).len(), num_goroutines());
        assert_eq!(inspect::goroutines().len(), num_goroutines());
        let capped = dump();
        assert_eq!(capped.matches("goroutine ").count(), 1_000, "capped");
        assert!(capped.contains("and 501 goroutines more:\n     501 created at runtime/tests/dumps.rs:"));
        let folded = written(&Dump::new().folded(true));
        assert!(folded.contains(": 1500 with this stack\n"), "{folded}");
        let counted: usize = blocks(&folded)
            .iter()
            .map(|block| {
                let head = block.lines().next().unwrap();
                let count = head.strip_suffix(" with this stack").and_then(|head| head.rsplit(' ').next());
                count.map_or(1, |count| count.parse().unwrap())
            })
            .sum();
        assert_eq!(counted, num_goroutines(), "{folded}");
        end(sleepers);
    });
}

#[test]
fn a_goroutine_is_woken_while_it_is_looked_at() {
    at_1_2_4(|setting| {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let sleeper = spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                park();
            }
        });
        let waker = {
            let (sleeper, stop) = (sleeper.goroutine(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    sleeper.unpark();
                }
            })
        };
        let mut rng = setting.rng(7);
        for _ in 0..200 {
            let seen = inspect::goroutines();
            assert!(seen.iter().any(|seen| seen.id == sleeper.goroutine().id()));
            assert!(dump().contains(&format!("goroutine {} [", sleeper.goroutine().id())));
            (0..rng.below(3)).for_each(|_| yield_now());
        }
        stop.store(true, Ordering::Relaxed);
        waker.join().unwrap();
        end(vec![sleeper]);
    });
}

#[test]
fn several_dump_at_once() {
    at_1_2_4(|_| {
        let sleepers: Vec<_> = (0..20).map(|_| spawn(wait_here)).collect();
        until_waiting(20);
        let dumpers: Vec<_> = (0..4)
            .map(|_| {
                spawn(|| {
                    for _ in 0..5 {
                        assert!(dump().matches("goroutine ").count() >= 20);
                        yield_now();
                    }
                })
            })
            .collect();
        dumpers.into_iter().for_each(|dumper| dumper.join().unwrap());
        end(sleepers);
    });
}

#[test]
fn a_running_goroutine_is_seen_by_a_signal() {
    #[inline(never)]
    fn compute(stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            black_box(());
        }
    }
    let runtime = runtime::Builder::new().procs(1).build().unwrap();
    let stop = AtomicBool::new(false);
    let (started, start) = mpsc::channel();
    thread::scope(|s| {
        s.spawn(|| {
            runtime.run(|| {
                started.send(()).unwrap();
                compute(&stop);
            });
        });
        start.recv().unwrap();
        let text = || written(&Dump::new().all_runtimes(true));
        poll_until("its frames", || {
            text().contains("dumps::a_running_goroutine_is_seen_by_a_signal::compute")
        });
        assert!(text().contains(" [running, on M"));
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_queued_is_runnable() {
    Child::new("what_is_queued_is_runnable", "").succeeds(|| {
        let runtime = runtime::Builder::new().procs(1).build().unwrap();
        runtime.run(|| {
            let queued: Vec<_> = (0..3).map(|_| spawn(|| {})).collect();
            let states: Vec<_> = inspect::goroutines().into_iter().map(|g| g.state).collect();
            // A spawn may let a child run first.
            assert!(states.iter().filter(|state| **state == GoroutineState::Running).count() == 1);
            let runnable = queued.iter().filter(|handle| !handle.is_finished()).count();
            assert_eq!(states.iter().filter(|state| **state == GoroutineState::Runnable).count(), runnable);
            assert_eq!(dump().matches(" [runnable]:\n").count(), runnable);
            queued.into_iter().for_each(|handle| handle.join().unwrap());
        });
    });
}

#[test]
fn a_goroutine_that_waits_while_it_panics_has_no_stack_but_a_place() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            park();
        }
    }
    // The thread sleeps beneath it, and with it, by default, whoever has started there: look from outside.
    for mode in fixture::MODES {
        let runtime = fixture::Setting::new(1, mode).build();
        let (name_it, named) = mpsc::channel();
        thread::scope(|s| {
            s.spawn(|| {
                runtime.run(|| {
                    name_it.send(current()).unwrap();
                    let panicking = std::panic::catch_unwind(|| {
                        let _waits = Waits;
                        std::panic::resume_unwind(Box::new(()));
                    });
                    assert!(panicking.is_err());
                });
            });
            let panicking = named.recv().unwrap();
            let head = format!("goroutine {} [park, panicking", panicking.id());
            let text = || written(&Dump::new().all_runtimes(true));
            poll_until("the goroutine to wait", || text().contains(&head));
            let text = text();
            assert!(block(&text, &head).lines().count() <= 3, "{text}");
            panicking.unpark();
        });
    }
}

#[test]
fn goroutines_tell_their_names_and_places() {
    at_1_2_4(|_| {
        let line = line!() + 1;
        let sleeper = Builder::new().name("sleeper").spawn(wait_here).unwrap();
        until_waiting(1);
        let seen = inspect::goroutines();
        let id = sleeper.goroutine().id();
        let info = seen.iter().find(|info| info.id == id).unwrap();
        assert_eq!(info.name.as_deref(), Some("sleeper"));
        assert_eq!((info.state, info.wait_reason), (GoroutineState::Waiting, Some("park")));
        assert_eq!(info.created_at.unwrap().line(), line);
        assert!(info.waited.as_secs() < 120, "{info:?}");
        end(vec![sleeper]);
    });
}

#[test]
fn stats_count_what_processors_do() {
    at_1_2_4(|setting| {
        let before = inspect::stats();
        (0..100).for_each(|_| spawn(|| {}).join().unwrap());
        let after = inspect::stats();
        assert_eq!(after.processors.len(), setting.procs);
        assert_eq!(after.total.spawned - before.total.spawned, 100);
        assert!(after.total.turns > before.total.turns);
        let sum: u64 = after.processors.iter().map(|processor| processor.spawned).sum();
        assert_eq!(sum, after.total.spawned);
    });
}

#[test]
fn looking_starts_no_runtime() {
    Child::new("looking_starts_no_runtime", "").succeeds(|| {
        let before = fixture::count_threads();
        assert_eq!(dump(), "");
        assert!(inspect::goroutines().is_empty());
        assert_eq!(inspect::stats(), inspect::Stats::default());
        assert_eq!(fixture::count_threads(), before);
    });
}
