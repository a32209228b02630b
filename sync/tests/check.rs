//! `GORT_CHECK=1`: cycles of waits are reported when they close, and nothing else is.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use fixture::{Child, Ended, Mode, Setting, at_1_2_4, poll_until};
use gort_runtime::runtime::Runtime;
use gort_runtime::{__private, Builder, scope, sleep, spawn, yield_now};
use gort_sync::{Barrier, Mutex, Once, RwLock};

/// Runs `body` in a runtime in a child process with the check on, until so many goroutines wait as `waits`
/// says: for ever.
fn in_child(test: &'static str, waits: &str, times: usize, body: fn()) -> Option<Ended> {
    Child::new(test, "check").env("GORT_CHECK", "1").run(|| {
        let runtime: &'static Runtime = Box::leak(Box::new(Setting::new(2, Mode::PerWorker).build()));
        thread::spawn(move || runtime.run(body));
        poll_until("goroutines that wait", || waiting(&__private::dump(runtime), waits) == times);
    })
}

/// How many goroutines of a dump wait so. (`goroutines 2, 3 [...]` is one line for two of them.)
fn waiting(dump: &str, waits: &str) -> usize {
    let heads = dump.lines().filter_map(|line| line.strip_prefix("goroutine")?.split_once('['));
    heads.filter(|(_, state)| state.starts_with(waits)).map(|(who, _)| who.split(',').count()).sum()
}

/// What the report must contain, in order.
fn expect(ended: Option<Ended>, parts: &[&str]) {
    let Some(ended) = ended else { return };
    assert!(ended.output.status.success(), "{}", ended.stderr);
    let mut rest = ended.stderr.as_str();
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("no {part:?} in\n{}", ended.stderr) };
        rest = &rest[at + part.len()..];
    }
    assert_eq!(ended.stderr.matches("gort: deadlock").count(), 1, "{}", ended.stderr);
}

#[test]
fn a_mutex_that_waits_for_itself_is_reported_at_once() {
    let ended = in_child("a_mutex_that_waits_for_itself_is_reported_at_once", "sync.Mutex.Lock", 1, || {
        static MUTEX: Mutex<()> = Mutex::new(());
        let child = Builder::new().name("selfish").spawn(|| {
            let _guard = MUTEX.lock();
            drop(MUTEX.lock());
        });
        // Another goroutine lives: this is no business of the report on all that sleep.
        while !child.as_ref().expect("it starts").is_finished() {
            sleep(Duration::from_millis(1));
        }
    });
    let parts = [
        "gort: deadlock among 1 goroutine:\n    goroutine ",
        " \"selfish\" waits at ",
        "check.rs:",
        "for the mutex at 0x",
        "taken at ",
        "check.rs:",
        "by itself",
    ];
    expect(ended, &parts);
}

#[test]
fn two_mutexes_in_opposite_orders_are_reported() {
    let ended = in_child("two_mutexes_in_opposite_orders_are_reported", "sync.Mutex.Lock", 2, || {
        static BOTH: Barrier = Barrier::new(2);
        static LEFT: Mutex<()> = Mutex::new(());
        static RIGHT: Mutex<()> = Mutex::new(());
        let transfer = |name: &str, from: &'static Mutex<()>, to: &'static Mutex<()>| {
            let both = move || {
                let _from = from.lock();
                BOTH.wait();
                drop(to.lock());
            };
            Builder::new().name(name.to_owned()).spawn(both).expect("it starts")
        };
        let _one = transfer("there", &LEFT, &RIGHT);
        let _other = transfer("back", &RIGHT, &LEFT);
        loop {
            sleep(Duration::from_millis(1));
        }
    });
    if let Some(ended) = &ended {
        assert!(ended.stderr.contains("\"there\" waits") && ended.stderr.contains("\"back\" waits"));
    }
    expect(ended, &["gort: deadlock among 2 goroutines:", "by goroutine ", "by goroutine "]);
}

/// One waits for the end of another, which waits for the mutex that the first one holds: whichever comes first.
#[test]
fn a_join_of_who_wants_the_mutex_is_reported() {
    let test = "a_join_of_who_wants_the_mutex_is_reported";
    let ended = in_child(test, "sync.Mutex.Lock", 1, || {
        static MUTEX: Mutex<()> = Mutex::new(());
        let parent = Builder::new().name("parent").spawn(|| {
            let _guard = MUTEX.lock();
            let child = Builder::new().name("child").spawn(|| drop(MUTEX.lock())).expect("it starts");
            child.join().expect("it hangs");
        });
        while !parent.as_ref().expect("it starts").is_finished() {
            sleep(Duration::from_millis(1));
        }
    });
    let Some(ended) = ended else { return };
    let report = &ended.stderr;
    assert_eq!(report.matches("gort: deadlock among 2 goroutines:").count(), 1, "{report}");
    let line = |who: &str| {
        let line = report.lines().find(|line| line.contains(&format!("{who} waits at")));
        line.unwrap_or_else(|| panic!("nothing of {who} in\n{report}"))
    };
    assert!(line("\"parent\"").contains("for the end of goroutine"), "{report}");
    assert!(line("\"parent\"").ends_with("\"child\""), "{report}");
    assert!(line("\"child\"").contains("for the mutex at 0x"), "{report}");
    assert!(line("\"child\"").ends_with("\"parent\""), "{report}");
}

#[test]
fn a_reader_that_reads_again_behind_a_writer_is_reported() {
    let test = "a_reader_that_reads_again_behind_a_writer_is_reported";
    let ended = in_child(test, "sync.RWMutex.RLock", 1, || {
        static LOCK: RwLock<()> = RwLock::new(());
        let _inside = LOCK.read();
        drop(spawn(|| drop(LOCK.write())));
        while LOCK.try_read().is_some() {
            yield_now();
        }
        drop(LOCK.read());
    });
    expect(ended, &["gort: deadlock among 2 goroutines:", "for the rwlock at", "for the rwlock at"]);
}

#[test]
fn a_writer_that_was_a_reader_is_reported() {
    let ended = in_child("a_writer_that_was_a_reader_is_reported", "sync.RWMutex.Lock", 1, || {
        let lock = RwLock::new(());
        let _inside = lock.read();
        drop(lock.write());
    });
    expect(ended, &["gort: deadlock among 1 goroutine:", "for the rwlock at", "by itself"]);
}

#[test]
fn a_once_that_comes_back_to_itself_through_a_mutex_is_reported() {
    let test = "a_once_that_comes_back_to_itself_through_a_mutex_is_reported";
    let ended = in_child(test, "sync.Mutex.Lock", 1, || {
        static ONCE: Once = Once::new();
        static MUTEX: Mutex<()> = Mutex::new(());
        static BOTH: Barrier = Barrier::new(2);
        drop(spawn(|| {
            let _guard = MUTEX.lock();
            BOTH.wait();
            ONCE.call_once(|| ());
        }));
        ONCE.call_once(|| {
            BOTH.wait();
            drop(MUTEX.lock());
        });
    });
    expect(ended, &["gort: deadlock among 2 goroutines:"]);
}

#[test]
fn a_thread_is_reported_too() {
    static LEFT: Mutex<()> = Mutex::new(());
    static RIGHT: Mutex<()> = Mutex::new(());
    /// The number of the thread that is about to wait.
    static FOREIGN: AtomicI64 = AtomicI64::new(0);
    let ended = Child::new("a_thread_is_reported_too", "check").env("GORT_CHECK", "1").run(|| {
        let runtime: &'static Runtime = Box::leak(Box::new(Setting::new(2, Mode::PerWorker).build()));
        let foreign = move || {
            let _left = LEFT.lock();
            thread::spawn(move || {
                runtime.run(|| {
                    let _right = RIGHT.lock();
                    drop(LEFT.lock());
                });
            });
            poll_until("the goroutine waits", || waiting(&__private::dump(runtime), "sync.Mutex.Lock") == 1);
            FOREIGN.store(fixture::tid(), Ordering::SeqCst);
            drop(RIGHT.lock());
        };
        thread::Builder::new().name("foreign".into()).spawn(foreign).expect("it starts");
        poll_until("the thread sleeps", || {
            let tid = FOREIGN.load(Ordering::SeqCst);
            tid != 0
                && fs::read_to_string(format!("/proc/self/task/{tid}/stat"))
                    .is_ok_and(|stat| stat.contains(") S "))
        });
    });
    let parts = [
        "gort: deadlock among 2 goroutines:",
        "    thread \"foreign\" waits at ",
        "by goroutine ",
        "by thread",
    ];
    expect(ended, &parts);
}

#[test]
fn without_the_variable_nothing_is_reported() {
    let ended = Child::new("without_the_variable_nothing_is_reported", "off").run(|| {
        let runtime: &'static Runtime = Box::leak(Box::new(Setting::new(1, Mode::PerWorker).build()));
        thread::spawn(move || {
            runtime.run(|| {
                let mutex = Mutex::new(());
                let _guard = mutex.lock();
                drop(mutex.lock());
            });
        });
        let waits = "sync.Mutex.Lock";
        poll_until("a goroutine that waits", || waiting(&__private::dump(runtime), waits) == 1);
    });
    if let Some(ended) = ended {
        assert!(ended.output.status.success() && !ended.stderr.contains("gort:"), "{}", ended.stderr);
    }
}

/// Waits in cycles that end, by deadlines and refusals; orderly waits; panics; guards that are sent away.
fn waits_that_end() {
    at_1_2_4(|setting| {
        let locks: Vec<Mutex<usize>> = (0..4).map(Mutex::new).collect();
        let (rwlock, once) = (RwLock::new(0), Once::new());
        scope(|s| {
            for n in 0..8 {
                let (locks, rwlock, once) = (&locks, &rwlock, &once);
                let mut rng = setting.rng(n);
                s.spawn(move || {
                    for _ in 0..100 {
                        let (one, other) = (rng.below(4) as usize, rng.below(4) as usize);
                        let outer = locks[one.min(other)].lock();
                        if one != other {
                            let _inner = locks[one.max(other)].lock();
                            yield_now();
                        }
                        // Against the order, and twice the same: ends by itself.
                        let timeout = Duration::from_micros(rng.below(50));
                        drop(locks[rng.below(4) as usize].lock_timeout(timeout));
                        drop(locks[rng.below(4) as usize].try_lock());
                        drop(outer);
                        match rng.below(4) {
                            0 => *rwlock.write() += 1,
                            1 => {
                                let _inside = rwlock.read();
                                drop(rwlock.write_timeout(timeout));
                                drop(rwlock.read_timeout(timeout));
                            }
                            2 => drop(rwlock.read()),
                            _ => once.call_once(yield_now),
                        }
                    }
                });
            }
        });
        let failed = catch_unwind(AssertUnwindSafe(|| {
            let _guard = locks[0].lock();
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(failed.is_err());
        let sent = Arc::new(Mutex::new(()));
        let guard = Arc::clone(&sent);
        scope(|s| {
            let guard = guard.lock();
            s.spawn(move || drop(guard));
        });
        drop(sent.lock());
        drop(locks[0].lock());
    });
}

#[test]
fn waits_that_end_are_not_reported() {
    let ended =
        Child::new("waits_that_end_are_not_reported", "on").env("GORT_CHECK", "1").run(waits_that_end);
    if let Some(ended) = ended {
        assert!(ended.output.status.success() && ended.stdout.contains(": done"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("gort: deadlock"), "{}", ended.stderr);
    }
}
