//! All asleep: reported when it is so, in Go's words, with status 2; and never when it is not.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "what foreign threads do is the matter here")]

mod fixture;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{Child, Ended, MODES, Mode, Setting, count_threads, poll_until, until};
use gort_runtime::waiter::{self, WaitReason};
use gort_runtime::{
    __private, Builder, Goroutine, current, inspect, park, park_timeout, run, runtime, scope, sleep, spawn,
    yield_now,
};

const FATAL: &str = "fatal error: all goroutines are asleep - deadlock!\n\n";

/// The child, in which `body` ends only if something wakes it up, must die of a deadlock. Its text.
fn reported(child: Child, body: impl FnOnce()) -> String {
    let Some(ended) = run_child(child, body) else { return String::new() };
    check_reported(&ended);
    ended.stderr
}

fn run_child(child: Child, body: impl FnOnce()) -> Option<Ended> {
    child.run(|| {
        __private::leave_harness_out();
        body();
    })
}

fn check_reported(ended: &Ended) {
    assert_eq!(ended.output.status.code(), Some(2), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains(FATAL), "{}", ended.stderr);
}

/// Runs `body`, which ends only if something wakes it up, in a child, in each mode; its text is given to
/// `look`.
fn is_reported(test: &'static str, body: impl Fn(runtime::Runtime), look: impl Fn(&str)) {
    for mode in MODES {
        for procs in [1, 4] {
            let setting = Setting::new(procs, mode);
            let child = Child::new(test, &format!("{mode:?}{procs}"));
            let text = reported(child, || body(setting.build()));
            if !text.is_empty() {
                look(&text);
            }
        }
    }
}

/// Runs `body`, which must end, in a child in each mode.
fn is_not_reported(test: &'static str, body: impl Fn(Setting)) {
    for mode in MODES {
        let setting = Setting::new(2, mode);
        Child::new(test, &format!("{mode:?}")).succeeds(|| {
            __private::leave_harness_out();
            body(setting);
        });
    }
}

/// Long enough for a check that were wrong to speak: it looks after 20 ms.
const WHILE: Duration = Duration::from_millis(300);

/// Ends the wait of whoever has published a waker in it.
type Place = std::sync::Mutex<Option<waiter::Waker<()>>>;

fn wait_in(place: &Place, deadline: Option<Instant>) {
    let _ = waiter::wait::<()>(WaitReason::Other, deadline, |waker| {
        *place.lock().unwrap() = Some(waker);
        true
    });
}

fn wake(place: &Place) {
    loop {
        if let Some(waker) = place.lock().unwrap().take() {
            return waker.claim().expect("nobody else has it").wake(());
        }
        thread::yield_now();
    }
}

#[test]
fn a_lone_parked_goroutine_is_a_deadlock() {
    is_reported(
        "a_lone_parked_goroutine_is_a_deadlock",
        |rt| rt.run(park),
        |text| {
            let first = text.split(FATAL).nth(1).unwrap();
            assert!(first.starts_with("goroutine 1 [park"), "{text}");
            assert!(first.contains("gort_runtime::goroutine::park"), "{text}");
            assert!(!first.contains(" minute"), "it has waited for some milliseconds: {text}");
        },
    );
}

#[test]
fn two_that_wait_for_each_other_are_both_shown() {
    let body = |rt: runtime::Runtime| {
        rt.run(|| {
            let other = Builder::new().name("other").spawn(park).unwrap();
            other.join().unwrap();
        });
    };
    is_reported("two_that_wait_for_each_other_are_both_shown", body, |text| {
        assert!(text.split(FATAL).nth(1).unwrap().starts_with("goroutine 1 [join"), "main first: {text}");
        assert!(text.contains(" \"other\" [park"), "{text}");
        assert!(text.contains("created at runtime/tests/deadlock.rs:"), "{text}");
    });
}

#[test]
fn run_and_the_process_wide_runtime_are_checked() {
    let test = "run_and_the_process_wide_runtime_are_checked";
    reported(Child::new(test, "run"), || run(park));
    reported(Child::new(test, "outside"), || spawn(park).join().unwrap());
    reported(Child::new(test, "scope"), || scope(|s| _ = s.spawn(park)));
}

#[test]
fn nested_runtimes_that_are_all_asleep_are_a_deadlock() {
    let test = "nested_runtimes_that_are_all_asleep_are_a_deadlock";
    let text = reported(Child::new(test, ""), || run(|| run(park)));
    if !text.is_empty() {
        assert!(text.contains("=== runtime 1 of 2, goroutines: 1\n\ngoroutine 1 [join"), "{text}");
        assert!(text.contains("=== runtime 2 of 2, goroutines: 1\n\ngoroutine 1 [park"), "{text}");
    }
}

#[test]
fn a_deadlock_after_much_work_is_reported_soon() {
    let test = "a_deadlock_after_much_work_is_reported_soon";
    let text = reported(Child::new(test, ""), || {
        run(|| {
            scope(|s| (0..10_000).for_each(|_| _ = s.spawn(|| sleep(Duration::from_micros(10)))));
            eprintln!("asleep since {}", monotonic_ms());
            park();
        });
    });
    if let Some(since) = text.split("asleep since ").nth(1).and_then(|text| text.lines().next()) {
        // Against a report that waits for something: not a margin of the machine's.
        assert!(monotonic_ms() - since.parse::<u64>().unwrap() < 30_000);
    }
}

fn monotonic_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

#[test]
fn a_deadlock_begins_when_the_last_foreign_thread_ends() {
    let body = |rt: runtime::Runtime| {
        let ended = thread::spawn(|| thread::sleep(WHILE));
        rt.run(park);
        drop(ended);
    };
    is_reported("a_deadlock_begins_when_the_last_foreign_thread_ends", body, |_| {});
}

#[test]
fn foreign_threads_that_wait_for_gort_are_asleep_too() {
    let body = |rt: runtime::Runtime| {
        let place = Arc::new(Place::default());
        thread::spawn(move || wait_in(&place, None));
        rt.run(park);
    };
    is_reported("foreign_threads_that_wait_for_gort_are_asleep_too", body, |_| {});
}

#[test]
fn what_is_left_in_stdout_is_written_out() {
    let test = "what_is_left_in_stdout_is_written_out";
    let ended = run_child(Child::new(test, ""), || {
        run(|| {
            print!("no newline");
            park();
        });
    });
    if let Some(ended) = ended {
        assert!(ended.stdout.ends_with("no newline"), "{}", ended.stdout);
        check_reported(&ended);
    }
}

#[test]
fn a_goroutine_that_sleeps_with_stdouts_lock_does_not_hold_the_report_up() {
    let test = "a_goroutine_that_sleeps_with_stdouts_lock_does_not_hold_the_report_up";
    reported(Child::new(test, ""), || {
        run(|| {
            let _out = std::io::stdout().lock();
            let _err = std::io::stderr().lock();
            park();
        });
    });
}

#[test]
fn a_goroutine_that_panics_and_waits_can_be_deadlocked() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            park();
        }
    }
    let body = |rt: runtime::Runtime| {
        rt.run(|| {
            let _waits = Waits;
            std::panic::resume_unwind(Box::new(()));
        })
    };
    is_reported("a_goroutine_that_panics_and_waits_can_be_deadlocked", body, |text| {
        assert!(text.contains("[park, panicking"), "{text}");
    });
}

/// Calls it when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn who_is_bound_to_the_thread_of_a_panicking_goroutine_that_waits_cannot_wake_it() {
    let test = "who_is_bound_to_the_thread_of_a_panicking_goroutine_that_waits_cannot_wake_it";
    let text = reported(Child::new(test, ""), || {
        Setting::new(1, Mode::PerWorker).build().run(|| {
            let main = current();
            let siblings = [(); 3].map(|()| {
                let main = main.clone();
                spawn(move || {
                    park();
                    main.unpark();
                })
            });
            // So they have started, on the only thread there is.
            let parked = || inspect::goroutines().iter().filter(|g| g.wait_reason == Some("park")).count();
            until(|| parked() == siblings.len());
            siblings.iter().for_each(|sibling| sibling.goroutine().unpark());
            let _waits = OnDrop(park);
            std::panic::resume_unwind(Box::new(()));
        })
    });
    if !text.is_empty() {
        assert!(text.contains("goroutine 1 [park, panicking"), "{text}");
        assert!(text.contains("goroutine 2 [runnable, on M0]"), "{text}");
    }
}

/// So many times the thread of a goroutine that does nothing but yield is held up, in a handler of the program's,
/// long enough for two looks.
const INTERRUPTIONS: usize = 10;
static INTERRUPTED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn stay_for_a_while(_: libc::c_int) {
    let while_ = libc::timespec { tv_sec: 0, tv_nsec: 60_000_000 };
    // SAFETY: reads the time.
    unsafe { libc::nanosleep(&while_, std::ptr::null_mut()) };
    INTERRUPTED.fetch_add(1, Ordering::Relaxed);
}

/// Sends the calling thread a signal each 75 ms, whose handler keeps it for 60 ms. No other thread is at work.
fn interrupt_this_thread_again_and_again() {
    let ms = |ms: libc::c_long| libc::timespec { tv_sec: 0, tv_nsec: ms * 1_000_000 };
    // SAFETY: the handler is async-signal-safe; the records are ours, and all-zero ones are valid.
    unsafe {
        libc::signal(libc::SIGUSR1, stay_for_a_while as *const () as libc::sighandler_t);
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGUSR1;
        event.sigev_notify_thread_id = libc::gettid();
        let mut timer: libc::timer_t = std::mem::zeroed();
        assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
        let times = libc::itimerspec { it_interval: ms(75), it_value: ms(5) };
        assert_eq!(libc::timer_settime(timer, 0, &times, std::ptr::null_mut()), 0);
    }
}

#[test]
fn a_panicking_goroutine_whose_thread_is_held_up_while_it_yields_is_no_deadlock() {
    let test = "a_panicking_goroutine_whose_thread_is_held_up_while_it_yields_is_no_deadlock";
    is_not_reported(test, |setting| {
        let body = || {
            let _yields = OnDrop(|| {
                interrupt_this_thread_again_and_again();
                while INTERRUPTED.load(Ordering::Relaxed) < INTERRUPTIONS {
                    yield_now();
                }
            });
            std::panic::resume_unwind(Box::new(()));
        };
        setting.build().run(|| _ = std::panic::catch_unwind(body));
    });
}

#[test]
fn sleeping_is_no_deadlock() {
    is_not_reported("sleeping_is_no_deadlock", |setting| {
        setting.build().run(|| {
            sleep(WHILE);
            park_timeout(WHILE);
            wait_in(&Place::default(), Some(Instant::now() + WHILE));
        });
    });
}

#[test]
fn one_that_sleeps_may_wake_the_others() {
    is_not_reported("one_that_sleeps_may_wake_the_others", |setting| {
        setting.build().run(|| {
            let main = current();
            let waker = spawn(move || {
                sleep(WHILE);
                main.unpark();
            });
            park();
            waker.join().unwrap();
        });
    });
}

#[test]
fn a_runtime_without_goroutines_is_no_deadlock() {
    is_not_reported("a_runtime_without_goroutines_is_no_deadlock", |setting| {
        let rt = setting.build();
        rt.run(|| {});
        thread::sleep(WHILE);
        rt.run(|| {});
    });
}

#[test]
fn a_foreign_thread_may_wake_a_goroutine() {
    is_not_reported("a_foreign_thread_may_wake_a_goroutine", |setting| {
        let (tx, rx) = mpsc::channel::<Goroutine>();
        let waker = thread::spawn(move || {
            for goroutine in rx {
                thread::sleep(WHILE / 10);
                goroutine.unpark();
            }
        });
        setting.build().run(|| {
            for _ in 0..10 {
                tx.send(current()).unwrap();
                park();
            }
            drop(tx);
        });
        waker.join().unwrap();
    });
}

#[test]
fn a_server_whose_acceptor_is_a_foreign_thread_is_no_deadlock() {
    is_not_reported("a_server_whose_acceptor_is_a_foreign_thread_is_no_deadlock", |setting| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tx, rx) = mpsc::channel::<Goroutine>();
        thread::spawn(move || {
            let goroutine = rx.recv().unwrap();
            listener.accept().unwrap();
            goroutine.unpark();
        });
        let client = std::process::Command::new("sh")
            .args(["-c", &format!("sleep 0.5; exec 3<>/dev/tcp/{}/{}", address.ip(), address.port())])
            .spawn();
        // Where the shell has no such thing, a thread does the same.
        drop(client);
        thread::spawn(move || {
            thread::sleep(WHILE);
            let _ = std::net::TcpStream::connect(address);
        });
        setting.build().run(|| {
            tx.send(current()).unwrap();
            park();
        });
    });
}

#[test]
fn a_goroutine_in_the_kernel_is_no_deadlock() {
    is_not_reported("a_goroutine_in_the_kernel_is_no_deadlock", |setting| {
        setting.build().run(|| {
            let main = current();
            let in_kernel = spawn(move || {
                thread::sleep(WHILE);
                main.unpark();
            });
            park();
            in_kernel.join().unwrap();
        });
    });
}

#[test]
fn another_runtime_may_wake_a_goroutine() {
    is_not_reported("another_runtime_may_wake_a_goroutine", |setting| {
        let other = setting.build();
        setting.build().run(|| {
            let outer = current();
            other.run(|| {
                let woken = Arc::new(AtomicUsize::new(0));
                spawn({
                    let woken = woken.clone();
                    move || {
                        sleep(WHILE);
                        woken.store(1, Ordering::Relaxed);
                        outer.unpark();
                    }
                })
                .join()
                .unwrap();
                assert_eq!(woken.load(Ordering::Relaxed), 1);
            });
            park();
        });
    });
}

#[test]
fn foreign_threads_that_hand_one_wake_up_around_are_never_a_deadlock() {
    // At each moment one thread is awake, or between its waker and itself; threads are born and end.
    is_not_reported("foreign_threads_that_hand_one_wake_up_around_are_never_a_deadlock", |setting| {
        let rt = setting.build();
        thread::scope(|s| {
            s.spawn(|| rt.run(park_until_told));
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end {
                let place = Arc::new(Place::default());
                let other = place.clone();
                let waker = thread::spawn(move || wake(&other));
                wait_in(&place, None);
                drop(waker);
            }
            TOLD.lock().unwrap().take().expect("it has told").unpark();
        });
    });
}

static TOLD: std::sync::Mutex<Option<Goroutine>> = std::sync::Mutex::new(None);

fn park_until_told() {
    *TOLD.lock().unwrap() = Some(current());
    park();
}

#[test]
fn goroutines_and_threads_that_wake_each_other_are_never_a_deadlock() {
    is_not_reported("goroutines_and_threads_that_wake_each_other_are_never_a_deadlock", |setting| {
        let rt = setting.build();
        let (there, back) = (Place::default(), Place::default());
        thread::scope(|s| {
            s.spawn(|| {
                rt.run(|| {
                    for turn in 0..3_000 {
                        wait_in(&there, None);
                        // Now and then the foreign thread, and everybody, is asleep for a while.
                        if turn % 500 == 0 {
                            sleep(Duration::from_millis(40));
                        }
                        wake(&back);
                    }
                });
            });
            for _ in 0..3_000 {
                wake(&there);
                wait_in(&back, None);
            }
        });
    });
}

#[test]
fn runs_that_begin_and_end_are_never_a_deadlock() {
    is_not_reported("runs_that_begin_and_end_are_never_a_deadlock", |setting| {
        let keeper = setting.build();
        thread::scope(|s| {
            s.spawn(|| keeper.run(park_until_told));
            poll_until("its goroutine", || TOLD.lock().unwrap().is_some());
            for _ in 0..50 {
                let rt = setting.build();
                rt.run(|| scope(|s| (0..10).for_each(|_| _ = s.spawn(|| sleep(Duration::from_micros(50))))));
            }
            TOLD.lock().unwrap().take().expect("it has told").unpark();
        });
    });
}

#[test]
fn a_check_that_is_off_reports_nothing_of_any_runtime() {
    is_not_reported("a_check_that_is_off_reports_nothing_of_any_runtime", |setting| {
        // The wake-up comes by a way that gort does not see: from a signal's handler, here, by a flag.
        static RUNG: AtomicUsize = AtomicUsize::new(0);
        let off = setting.builder().deadlock_check(false).build().unwrap();
        let on = setting.build();
        let before = count_threads();
        let (tx, rx) = mpsc::channel();
        let waker = thread::spawn(move || {
            let (a, b): (Goroutine, Goroutine) = (rx.recv().unwrap(), rx.recv().unwrap());
            thread::sleep(WHILE);
            RUNG.store(1, Ordering::Relaxed);
            a.unpark();
            b.unpark();
        });
        assert!(count_threads() > before);
        thread::scope(|s| {
            s.spawn(|| {
                off.run(|| {
                    tx.send(current()).unwrap();
                    park();
                })
            });
            let tx = tx.clone();
            let on = &on;
            s.spawn(move || {
                on.run(|| {
                    tx.send(current()).unwrap();
                    park();
                })
            });
        });
        waker.join().unwrap();
    });
}

#[test]
fn a_check_that_is_off_lets_a_deadlock_be() {
    // No foreign thread but those asleep in gort: with the check on this would be reported.
    let test = "a_check_that_is_off_lets_a_deadlock_be";
    Child::new(test, "").succeeds(|| {
        __private::leave_harness_out();
        extern "C" fn end(_: libc::c_int) {
            let text = b"a_check_that_is_off_lets_a_deadlock_be: done\n";
            // SAFETY: both are async-signal-safe; the text is alive.
            unsafe {
                libc::write(libc::STDOUT_FILENO, text.as_ptr().cast(), text.len());
                libc::_exit(0);
            }
        }
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(libc::SIGALRM, end as *const () as libc::sighandler_t) };
        // SAFETY: takes a number.
        unsafe { libc::alarm(2) };
        runtime::Builder::new().deadlock_check(false).build().unwrap().run(park);
    });
}

#[test]
fn a_handler_is_told_once_for_each_deadlock() {
    for mode in MODES {
        for procs in [1, 2, 4] {
            let (tx, rx) = mpsc::channel::<String>();
            let setting = Setting::new(procs, mode);
            let rt = setting.builder().on_deadlock(move |report| tx.send(report).unwrap()).build().unwrap();
            let (name_it, named) = mpsc::channel();
            thread::scope(|s| {
                s.spawn(|| {
                    rt.run(|| {
                        name_it.send(current()).unwrap();
                        (0..3).for_each(|_| park());
                    });
                });
                let goroutine = named.recv().unwrap();
                for _ in 0..3 {
                    let report = rx.recv().unwrap();
                    assert!(report.starts_with(FATAL), "{report}");
                    assert!(report.contains(" [park"), "{report}");
                    assert!(rx.recv_timeout(WHILE / 3).is_err(), "told twice");
                    goroutine.unpark();
                }
            });
            drop(rt);
            assert!(rx.try_recv().is_err());
        }
    }
}

#[test]
fn a_handler_may_wake_a_goroutine_and_may_panic() {
    let (name_it, named) = mpsc::channel::<Goroutine>();
    let named = std::sync::Mutex::new(named);
    let rt = Setting::new(2, Mode::PerWorker)
        .builder()
        .on_deadlock(move |_| {
            named.lock().unwrap().recv().unwrap().unpark();
            std::panic::resume_unwind(Box::new(()));
        })
        .build()
        .unwrap();
    for _ in 0..3 {
        rt.run(|| {
            name_it.send(current()).unwrap();
            park();
        });
    }
}
