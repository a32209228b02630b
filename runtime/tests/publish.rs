//! Work that its owner keeps private reaches the others although the owner makes no call: by sysmon's
//! signal, which gets along with whatever the program does with signals.
//!
//! Each scenario makes sure that nobody is idle while the work is queued, so that it stays private, and
//! lets another processor run dry only afterwards. The owner makes no call from then on. Should the signal
//! fail, the owner spins until the watchdog ends it.
#![cfg(test)]

mod fixture;

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicUsize, Ordering};
use std::thread;

use fixture::{Child, Mode, Setting, spin_until, tid, until};
use gort_runtime::{__private, Scope, park, runtime, scope, spawn, yield_now};

/// How many goroutines and workers have been offered to others so far.
fn published() -> u64 {
    runtime::info().expect("we are in a runtime").published
}

/// A goroutine that makes no call, on another thread than the caller's, until `release`.
#[derive(Default)]
struct Blocker {
    runs: AtomicBool,
    in_vain: AtomicBool,
    release: AtomicBool,
}

/// Occupies the other of two processors. Returns when it is, and the caller runs too: nobody is idle.
///
/// The caller spins, and makes no call: else the blocker could start beneath it, on the same thread, where
/// a bound caller would never run again. `spawn` itself may give way, though, on a slow machine: a blocker
/// that finds itself on a bound caller's thread ends, and another one is tried.
fn occupy_the_other<'scope>(s: &'scope Scope<'scope, '_>, mode: Mode, blocker: &'scope Blocker) {
    loop {
        let caller = tid();
        blocker.in_vain.store(false, Ordering::SeqCst);
        s.spawn(move || {
            if mode == Mode::PerWorker && tid() == caller {
                blocker.in_vain.store(true, Ordering::SeqCst);
                return;
            }
            blocker.runs.store(true, Ordering::SeqCst);
            spin_until(|| blocker.release.load(Ordering::SeqCst));
        });
        spin_until(|| blocker.runs.load(Ordering::SeqCst) || blocker.in_vain.load(Ordering::SeqCst));
        if !blocker.in_vain.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// Children that are queued, and not offered: the signal gives them away.
fn children_of_a_spinner_run_elsewhere(mode: Mode, rounds: usize) {
    const CHILDREN: usize = 8;
    let mut good = 0;
    // A round in which the spawner gave way, on a slow machine, proves nothing: again. If all are such,
    // the watchdog ends it.
    while good < rounds {
        let (blocker, here) = (Blocker::default(), AtomicI64::new(0));
        let (elsewhere, at_home) = (AtomicUsize::new(0), AtomicUsize::new(0));
        scope(|s| {
            occupy_the_other(s, mode, &blocker);
            here.store(tid(), Ordering::SeqCst);
            let before = published();
            for _ in 0..CHILDREN {
                s.spawn(|| {
                    let moved = tid() != here.load(Ordering::SeqCst);
                    if moved { &elsewhere } else { &at_home }.fetch_add(1, Ordering::SeqCst);
                });
            }
            let private = published() == before
                && at_home.load(Ordering::SeqCst) == 0
                && elsewhere.load(Ordering::SeqCst) == 0
                && tid() == here.load(Ordering::SeqCst);
            blocker.release.store(true, Ordering::SeqCst);
            if private {
                spin_until(|| elsewhere.load(Ordering::SeqCst) != 0);
                good += 1;
            }
        });
        assert_eq!(elsewhere.into_inner() + at_home.into_inner(), CHILDREN);
    }
}

#[test]
fn an_owner_that_makes_no_call_gives_its_children_away() {
    for mode in [Mode::PerWorker, Mode::ParentFirst] {
        Setting::new(2, mode).check(|| children_of_a_spinner_run_elsewhere(mode, 10));
    }
}

/// The other processor is never idle, so nobody asks: it runs a loop of yields. Once the owner's slice is
/// over, its work is published all the same, and the other one finds it as it looks around.
#[test]
fn an_owner_that_makes_no_call_gives_its_children_to_one_that_only_yields() {
    for mode in [Mode::PerWorker, Mode::ParentFirst] {
        Setting::new(2, mode).check(|| {
            let (over, elsewhere) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let yielder = fixture::spawn_beside(mode, {
                let over = Arc::clone(&over);
                move || {
                    while !over.load(Ordering::SeqCst) {
                        yield_now();
                    }
                }
            });
            let here = tid();
            while !elsewhere.load(Ordering::SeqCst) && tid() == here {
                let (child, ran) = (Arc::clone(&elsewhere), Arc::new(AtomicBool::new(false)));
                let has_run = Arc::clone(&ran);
                let child = spawn(move || {
                    child.store(tid() != here, Ordering::SeqCst);
                    has_run.store(true, Ordering::SeqCst);
                });
                // No call from here on. (`spawn` may have given way, and the child run here: again.)
                spin_until(|| ran.load(Ordering::SeqCst));
                child.join().unwrap();
            }
            over.store(true, Ordering::SeqCst);
            yielder.join().unwrap();
        });
    }
}

#[test]
fn a_child_that_makes_no_call_gives_its_parent_away() {
    Setting::new(2, Mode::ChildFirst).check(|| {
        for _ in 0..10 {
            let (blocker, moved) = (Blocker::default(), AtomicBool::new(false));
            scope(|s| {
                occupy_the_other(s, Mode::ChildFirst, &blocker);
                let parent = tid();
                s.spawn(|| {
                    blocker.release.store(true, Ordering::SeqCst);
                    spin_until(|| moved.load(Ordering::SeqCst));
                });
                // The child has taken our thread, and does not give it back.
                assert_ne!(tid(), parent);
                moved.store(true, Ordering::SeqCst);
            });
        }
    });
}

#[test]
fn a_waker_that_makes_no_call_gives_the_next_slot_away() {
    for mode in [Mode::ChildFirst, Mode::ParentFirst] {
        Setting::new(2, mode).check(|| {
            for _ in 0..10 {
                let blocker = Blocker::default();
                let (parks, woken) = (AtomicBool::new(false), AtomicI64::new(0));
                scope(|s| {
                    let sleeper = s.spawn(|| {
                        parks.store(true, Ordering::SeqCst);
                        park();
                        woken.store(tid(), Ordering::SeqCst);
                    });
                    let sleeper = sleeper.goroutine();
                    until(|| parks.load(Ordering::SeqCst));
                    occupy_the_other(s, mode, &blocker);
                    // It has parked by now, or the token waits for it: make sure of the former.
                    (0..3).for_each(|_| yield_now());
                    let before = published();
                    sleeper.unpark();
                    assert_eq!(published(), before, "private");
                    blocker.release.store(true, Ordering::SeqCst);
                    spin_until(|| woken.load(Ordering::SeqCst) != 0);
                    assert_ne!(woken.load(Ordering::SeqCst), tid());
                });
            }
        });
    }
}

#[test]
fn a_thread_that_blocks_the_signal_may_start_the_runtime() {
    let masked = thread::spawn(|| {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: initialises the set.
        unsafe { libc::sigfillset(set.as_mut_ptr()) };
        // SAFETY: initialised above; changes the calling thread's mask only, and the thread is ours.
        assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) }, 0);
        Setting::new(2, Mode::PerWorker).check(|| children_of_a_spinner_run_elsewhere(Mode::PerWorker, 3));
        let mut now = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: asks for the mask only.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), now.as_mut_ptr()) };
        // SAFETY: written by the call above; the signal exists.
        let blocked = unsafe { libc::sigismember(now.as_ptr(), libc::SIGURG) };
        assert_eq!(blocked, 1, "the caller's mask is its own");
    });
    masked.join().unwrap();
}

/// What the program's own handlers have seen.
static HANDLED: AtomicUsize = AtomicUsize::new(0);
static NUMBER: AtomicI32 = AtomicI32::new(0);

extern "C" fn handles_three(number: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel's own, or what it is handed on as: the test fails by a fault if it is not.
    let told = unsafe { (*info).si_signo };
    assert!(!context.is_null() && told == number);
    handles_one(number);
}

/// Leaves a foreign errno behind, as careless handlers do.
extern "C" fn handles_one(number: libc::c_int) {
    NUMBER.store(number, Ordering::SeqCst);
    set_errno(libc::EXDEV);
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

/// Installs the program's own handler for SIGURG.
fn install(handler: usize, flags: libc::c_int) {
    // SAFETY: an all-zero sigaction is a valid value.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = flags | libc::SA_RESTART;
    // SAFETY: the handlers above are async-signal-safe and of the form that the flags say.
    assert_eq!(unsafe { libc::sigaction(libc::SIGURG, &action, ptr::null_mut()) }, 0);
}

fn set_errno(value: i32) {
    // SAFETY: this thread's errno.
    unsafe { *libc::__errno_location() = value };
}

fn errno() -> Option<i32> {
    io::Error::last_os_error().raw_os_error()
}

/// Sends SIGURG to a thread of this process.
fn interrupt(tid: i64) {
    // SAFETY: takes numbers; confined to this process.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGURG) };
}

#[test]
fn a_handler_that_was_there_before_is_called() {
    let handlers: [(&str, usize, libc::c_int); 2] = [
        ("three arguments", handles_three as *const () as usize, libc::SA_SIGINFO),
        ("one argument", handles_one as *const () as usize, 0),
    ];
    for (name, handler, flags) in handlers {
        Child::new("a_handler_that_was_there_before_is_called", name).succeeds(|| {
            install(handler, flags);
            Setting::new(2, Mode::PerWorker)
                .check(|| children_of_a_spinner_run_elsewhere(Mode::PerWorker, 5));
            // Every round took a signal of sysmon's at least.
            let handled = HANDLED.load(Ordering::SeqCst);
            assert!(handled >= 5, "{handled}");
            assert_eq!(NUMBER.load(Ordering::SeqCst), libc::SIGURG);
            // The program's own signals, on a foreign thread: each comes through, once.
            for n in 1..=10 {
                // SAFETY: SIGURG has a handler. It has run when `raise` returns.
                assert_eq!(unsafe { libc::raise(libc::SIGURG) }, 0);
                assert_eq!(HANDLED.load(Ordering::SeqCst), handled + n);
            }
        });
    }
}

#[test]
fn an_ignored_or_default_signal_stays_harmless() {
    for (name, disposition) in [("ignored", libc::SIG_IGN), ("default", libc::SIG_DFL)] {
        Child::new("an_ignored_or_default_signal_stays_harmless", name).succeeds(|| {
            install(disposition, 0);
            Setting::new(2, Mode::PerWorker)
                .check(|| children_of_a_spinner_run_elsewhere(Mode::PerWorker, 3));
            // SAFETY: SIGURG has a handler: gort's.
            assert_eq!(unsafe { libc::raise(libc::SIGURG) }, 0);
        });
    }
}

/// The program's handler spoils errno each time it runs; gort's, around it, puts it back.
#[test]
fn errno_is_untouched_by_the_handler() {
    Child::new("errno_is_untouched_by_the_handler", "spoiled").succeeds(|| {
        install(handles_one as *const () as usize, 0);
        Setting::new(2, Mode::PerWorker).check(|| {
            let (owner, done) = (tid(), AtomicBool::new(false));
            thread::scope(|threads| {
                threads.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        let before = HANDLED.load(Ordering::SeqCst);
                        interrupt(owner);
                        // One at a time: signals that wait are one.
                        spin_until(|| {
                            HANDLED.load(Ordering::SeqCst) != before || done.load(Ordering::SeqCst)
                        });
                    }
                });
                let first = HANDLED.load(Ordering::SeqCst);
                set_errno(libc::EDOM);
                while HANDLED.load(Ordering::SeqCst) < first + 2_000 {
                    assert_eq!(errno(), Some(libc::EDOM));
                }
                done.store(true, Ordering::SeqCst);
            });
            // The spoiler works: without gort's handler around it, it shows.
            handles_one(libc::SIGURG);
            assert_eq!(errno(), Some(libc::EXDEV));
        });
    });
}

/// A signal that comes at any time, from anybody, does no harm: the work is published, nothing is lost.
#[test]
fn stray_signals_do_no_harm() {
    for mode in fixture::MODES {
        for procs in [1, 2, 4] {
            let runtime = Setting::new(procs, mode).build();
            let done = AtomicBool::new(false);
            thread::scope(|threads| {
                threads.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        workers().into_iter().for_each(interrupt);
                    }
                });
                __private::check(runtime, || {
                    let sum = AtomicUsize::new(0);
                    for _ in 0..50 {
                        scope(|s| {
                            for n in 0..40 {
                                let sum = &sum;
                                s.spawn(move || {
                                    yield_now();
                                    sum.fetch_add(n, Ordering::Relaxed);
                                });
                            }
                        });
                    }
                    assert_eq!(sum.into_inner(), 50 * 780);
                });
                done.store(true, Ordering::SeqCst);
            });
        }
    }
}

/// The threads of this process that are workers of some runtime.
fn workers() -> Vec<i64> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    tasks
        .filter_map(|task| {
            let path = task.ok()?.path();
            let name = std::fs::read_to_string(path.join("comm")).ok()?;
            name.starts_with("gort-m").then(|| path.file_name()?.to_str()?.parse().ok())?
        })
        .collect()
}

/// A signal that is on its way when the process becomes another program must not end that.
#[test]
fn a_program_may_exec_while_signals_fly() {
    use std::os::unix::process::CommandExt;
    for mode in [Mode::PerWorker, Mode::ParentFirst] {
        for n in 0..10 {
            let ended =
                Child::new("a_program_may_exec_while_signals_fly", &format!("{mode:?}{n}")).run(|| {
                    Setting::new(2, mode).build().run(|| {
                        // Owners that keep work and make no call: what sysmon sends its signals for.
                        let published_once = || children_of_a_spinner_run_elsewhere(mode, 1);
                        published_once();
                        let storm = thread::spawn(|| {
                            let at_once = std::process::Command::new("true").exec();
                            panic!("no such program: {at_once}");
                        });
                        loop {
                            published_once();
                            assert!(!storm.is_finished());
                        }
                    });
                });
            if let Some(ended) = ended {
                assert_eq!(ended.output.status.code(), Some(0), "{:?} {}", ended.output.status, ended.stderr);
                assert!(!ended.stdout.contains(": done"), "it has become another program");
            }
        }
    }
}
