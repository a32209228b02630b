//! What dumps and the deadlock report say of goroutines that wait in channels, selects and locks.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::sync::Arc;
use std::time::Duration;

use fixture::{Child, MODES, Setting, at_1_2_4, until};
use gort_runtime::inspect::{self, Dump};
use gort_runtime::{__private, Builder, JoinHandle, runtime, scope, spawn, yield_now};
use gort_sync::chan::{self, Receiver};
use gort_sync::{
    Barrier, Condvar, Event, LazyLock, Mutex, Once, OnceLock, RwLock, Semaphore, WaitGroup, select,
};

const HOUR: Duration = Duration::from_secs(3_600);

fn dump() -> String {
    let mut text = Vec::new();
    Dump::new().whole(true).write(&mut text).expect("a vector takes everything");
    String::from_utf8(text).expect("a dump is text")
}

/// The block of a goroutine.
fn block(text: &str, name: &str) -> String {
    let mut blocks = text.split("\n\n").filter(|block| block.contains(&format!("\"{name}\" [")));
    blocks.next().unwrap_or_else(|| panic!("no {name} in\n{text}")).to_owned()
}

/// Spawns `body` under a name, and returns when it waits.
fn waiting(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let handle = Builder::new().name(name).spawn(body).expect("it starts");
    let id = handle.goroutine().id();
    until(|| inspect::goroutines().iter().any(|g| g.id == id && g.wait_reason.is_some()));
    handle
}

#[derive(Default)]
struct Places {
    mutex: Mutex<u32>,
    changed: Condvar,
    lock: RwLock<u32>,
    event: Event,
    once: Once,
    cell: OnceLock<u32>,
}

#[test]
fn a_dump_says_for_which_object_each_goroutine_waits() {
    at_1_2_4(|_| {
        let places = Arc::new(Places::default());
        let seats = Arc::new(Semaphore::new(0));
        let barrier = Arc::new(Barrier::new(2));
        let group = WaitGroup::new();
        let (tx, rx) = chan::bounded::<u32>(0);
        let (full, drain) = chan::bounded::<u32>(0);
        let (never_tx, never) = chan::never::<u32>();
        let (held, written, token) = (places.mutex.lock(), places.lock.write(), group.add());

        let there = || Arc::clone(&places);
        let mut handles = Vec::new();
        let mut expected = Vec::new();
        let mut case = |name: &str, words: &'static str, has_object: bool, handle: JoinHandle<()>| {
            handles.push(handle);
            expected.push((name.to_owned(), words, has_object));
        };
        let from = rx.clone();
        case("receives", "chan receive", true, waiting("receives", move || assert!(from.recv().is_err())));
        case("sends", "chan send", true, waiting("sends", move || assert!(full.send(1).is_err())));
        let from = rx.clone();
        let selects = waiting("selects", move || {
            select! {
                recv(from) -> value => assert!(value.is_err()),
                recv(never) -> _ => unreachable!(),
                send(never_tx, 1) -> _ => unreachable!(),
            }
        });
        case("selects", "select", false, selects);
        let at = there();
        case("locks", "sync.Mutex.Lock", true, waiting("locks", move || drop(at.mutex.lock())));
        let at = there();
        let in_time = move || assert!(at.mutex.lock_timeout(HOUR).is_some());
        case("locks in time", "sync.Mutex.Lock", true, waiting("locks in time", in_time));
        let at = there();
        case("reads", "sync.RWMutex.RLock", true, waiting("reads", move || drop(at.lock.read())));
        let at = there();
        case("writes", "sync.RWMutex.Lock", true, waiting("writes", move || drop(at.lock.write())));
        let (at, mutex) = (there(), Mutex::new(()));
        let notified = move || drop(at.changed.wait(mutex.lock()));
        case("is notified", "sync.Cond.Wait", true, waiting("is notified", notified));
        let theirs = group.clone();
        case("waits for all", "sync.WaitGroup.Wait", true, waiting("waits for all", move || theirs.wait()));
        let theirs = Arc::clone(&barrier);
        case("meets", "barrier", true, waiting("meets", move || _ = theirs.wait()));
        let theirs = Arc::clone(&seats);
        case("takes a seat", "semacquire", true, waiting("takes a seat", move || drop(theirs.acquire())));
        let at = there();
        case("hears", "event", true, waiting("hears", move || at.event.wait()));
        let at = there();
        let runs = move || at.once.call_once(|| at.event.wait());
        case("runs it", "event", true, waiting("runs it", runs));
        let at = there();
        let waits = move || at.once.call_once(|| unreachable!());
        case("waits for the run", "sync.Once", true, waiting("waits for the run", waits));
        let at = there();
        let gets = move || assert_eq!(*at.cell.wait(), 7);
        case("waits for a value", "sync.Once", true, waiting("waits for a value", gets));

        let text = dump();
        for (name, words, has_object) in expected {
            let block = block(&text, &name);
            let head = block.lines().next().expect("a line");
            assert!(head.contains(&format!("\"{name}\" [{words}")), "{head}");
            assert_eq!(head.contains(" at 0x"), has_object, "{head}");
            assert!(block.contains("reports::"), "its frames: {block}");
            assert!(block.lines().last().expect("a line").starts_with("created at "), "{block}");
        }
        // Which of several it is can be told: the address is one of the object's.
        let address = |name: &str| {
            let block = block(&text, name);
            let digits = block.split(" at 0x").nth(1).and_then(|rest| rest.split([',', ']']).next());
            usize::from_str_radix(digits.expect("an address"), 16).expect("a number")
        };
        let inside =
            |name: &str, start: usize, size: usize| assert!((start..start + size).contains(&address(name)));
        inside("locks", (&raw const places.mutex).addr(), size_of_val(&places.mutex));
        inside("reads", (&raw const places.lock).addr(), size_of_val(&places.lock));
        inside("hears", (&raw const places.event).addr(), size_of_val(&places.event));
        assert_eq!((address("locks"), address("reads")), (address("locks in time"), address("writes")));
        assert_eq!(address("hears"), address("runs it"));
        assert_ne!(address("receives"), address("sends"));

        assert!(tx.close() && drain.close());
        drop((held, written, token));
        until(|| {
            places.changed.notify_all();
            handles[7].is_finished()
        });
        barrier.wait();
        seats.add_permits(1);
        places.event.set();
        places.cell.set(7).expect("it is not set");
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

const FATAL: &str = "fatal error: all goroutines are asleep - deadlock!\n\n";

/// Runs `body`, which never ends, as the main goroutine in a child process, in each mode. It must die of a
/// deadlock, and the report begin as given.
fn is_reported(test: &'static str, scenario: &str, begins: &str, body: impl Fn() + Send + Sync) {
    for mode in MODES {
        for procs in [1, 2, 4] {
            let setting = Setting::new(procs, mode);
            let child = Child::new(test, &format!("{scenario}/{mode:?}{procs}"));
            let ended = child.run(|| {
                __private::leave_harness_out();
                setting.build().run(&body);
            });
            let Some(ended) = ended else { continue };
            let report = ended.stderr.split_once(FATAL).map(|(_, report)| report);
            assert_eq!(ended.output.status.code(), Some(2), "{scenario}: {}", ended.stderr);
            assert!(report.is_some_and(|report| report.starts_with(begins)), "{scenario}: {}", ended.stderr);
        }
    }
}

#[test]
fn main_alone_on_a_channel_is_a_deadlock() {
    let test = "main_alone_on_a_channel_is_a_deadlock";
    is_reported(test, "receive", "goroutine 1 [chan receive at 0x", || {
        let (_tx, rx) = chan::bounded::<()>(0);
        let _ = rx.recv();
    });
    is_reported(test, "send", "goroutine 1 [chan send at 0x", || {
        let (tx, _rx) = chan::bounded(1);
        tx.send(1).unwrap();
        let _ = tx.send(2);
    });
}

#[test]
fn waiting_for_what_never_is_ready_is_a_deadlock() {
    let test = "waiting_for_what_never_is_ready_is_a_deadlock";
    is_reported(test, "never", "goroutine 1 [chan never", || {
        let _ = chan::never::<()>().1.recv();
    });
    is_reported(test, "no cases", "goroutine 1 [select (no cases)", || select! {});
    is_reported(test, "never in a select", "goroutine 1 [select (no cases)", || {
        select! { recv(chan::never::<()>().1) -> _ => {} }
    });
}

#[test]
fn a_deadlock_in_an_initialiser_is_reported() {
    is_reported("a_deadlock_in_an_initialiser_is_reported", "", "goroutine 1 [sync.Once at 0x", || {
        // Each needs the other.
        static LEFT: LazyLock<u32> = LazyLock::new(|| *RIGHT + 1);
        static RIGHT: LazyLock<u32> = LazyLock::new(|| *LEFT + 1);
        assert_eq!(*LEFT, 0);
    });
}

#[test]
fn locks_in_a_cycle_are_a_deadlock_that_shows_all_of_them() {
    let test = "locks_in_a_cycle_are_a_deadlock_that_shows_all_of_them";
    for mode in MODES {
        for procs in [1, 2, 4] {
            let setting = Setting::new(procs, mode);
            let ended = Child::new(test, &format!("{mode:?}{procs}")).run(|| {
                __private::leave_harness_out();
                setting.build().run(|| {
                    let forks: [_; 3] = std::array::from_fn(|_| Mutex::new(()));
                    let all_have_one = Barrier::new(3);
                    scope(|s| {
                        for n in 0..3 {
                            let (forks, all_have_one) = (&forks, &all_have_one);
                            s.spawn(move || {
                                let _left = forks[n].lock();
                                all_have_one.wait();
                                drop(forks[(n + 1) % 3].lock());
                            });
                        }
                    });
                });
            });
            let Some(ended) = ended else { continue };
            let report = ended.stderr.split_once(FATAL).unwrap_or_else(|| panic!("{}", ended.stderr)).1;
            assert_eq!(ended.output.status.code(), Some(2), "{report}");
            let forks = report
                .lines()
                .filter_map(|line| line.split_once("[sync.Mutex.Lock at ")?.1.split(',').next());
            let mut forks: Vec<_> = forks.collect();
            forks.sort_unstable();
            forks.dedup();
            assert_eq!(forks.len(), 3, "three forks: {report}");
        }
    }
}

#[test]
fn channels_whose_ends_are_all_asleep_come_to_the_handler_which_may_close_them() {
    for mode in MODES {
        for procs in [1, 2, 4] {
            let (tx, rx) = chan::bounded::<u32>(0);
            let (report_tx, reports) = std::sync::mpsc::channel();
            let closer = tx.clone();
            let handler = move |report: String| {
                report_tx.send(report).expect("the test listens");
                closer.close();
            };
            let rt: runtime::Runtime =
                Setting::new(procs, mode).builder().on_deadlock(handler).build().expect("a runtime starts");
            let receive = |rx: Receiver<u32>| move || rx.recv();
            rt.run(|| {
                let others = [(); 3].map(|()| spawn(receive(rx.clone())));
                assert!(rx.recv().is_err());
                others.into_iter().for_each(|other| assert!(other.join().unwrap().is_err()));
                yield_now();
            });
            let report = reports.try_recv().expect("a report");
            assert!(
                report.starts_with(FATAL) && report.matches(" [chan receive at 0x").count() == 4,
                "{report}"
            );
            assert!(reports.try_recv().is_err(), "one for one deadlock");
        }
    }
}
