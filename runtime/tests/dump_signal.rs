//! The dump by signal, and the trace of the scheduler: what goes to stderr while the program goes on.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "foreign threads wait for what they cannot be told")]

mod fixture;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fixture::{Child, Ended};
use gort_runtime::inspect::Dump;
use gort_runtime::{Builder, current, park, run, runtime, scope, sleep, yield_now};

fn raise(signal: i32) {
    // To the calling thread, so that it has been handled on return. SAFETY: takes a number.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

/// The child's standard error stream is a file that it can read.
fn stderr_so_far() -> String {
    std::fs::read_to_string("/proc/self/fd/2").expect("a file")
}

/// Replaces the standard error stream by a file, whose text is printed at the end.
fn with_readable_stderr(body: impl FnOnce()) {
    let path = std::env::temp_dir().join(format!("gort-dump-signal-{}", std::process::id()));
    let file = std::fs::File::create(&path).expect("the folder for temporary files can be written");
    // SAFETY: both are open; the copy is never closed.
    assert_eq!(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&file), 2) }, 2);
    body();
    std::fs::remove_file(path).expect("it is ours");
}

fn wait_for(text: &str) -> String {
    loop {
        let so_far = stderr_so_far();
        if so_far.contains(text) {
            return so_far;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn sigquit_dumps_all_goroutines_and_the_program_goes_on() {
    Child::new("sigquit_dumps_all_goroutines_and_the_program_goes_on", "").succeeds(|| {
        with_readable_stderr(|| {
            let private = runtime::Builder::new().build().unwrap();
            run(|| {
                scope(|s| {
                    let sleeper = Builder::new().name("sleeper").spawn_scoped(s, park).unwrap();
                    let (name_it, named) = mpsc::channel();
                    let other = s.spawn(|| {
                        private.run(move || {
                            name_it.send(current()).unwrap();
                            park();
                        });
                    });
                    let all = || {
                        let mut text = Vec::new();
                        Dump::new().all_runtimes(true).write(&mut text).unwrap();
                        String::from_utf8(text).unwrap()
                    };
                    while all().matches(" [park").count() != 2 {
                        yield_now();
                    }
                    raise(libc::SIGQUIT);
                    let text = wait_for("=== runtime 2 of 2, goroutines: ");
                    assert!(text.contains("\"sleeper\" [park"), "{text}");
                    assert!(text.contains("goroutine 1 [running"), "{text}");
                    named.recv().unwrap().unpark();
                    sleeper.goroutine().unpark();
                    other.join().unwrap();
                });
            });
        });
    });
}

fn status(ended: Option<Ended>, expected: Option<i32>) {
    if let Some(ended) = ended {
        assert_eq!(ended.output.status.code(), expected, "{}\n{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn a_second_signal_within_a_second_ends_the_program() {
    let ended = Child::new("a_second_signal_within_a_second_ends_the_program", "").run(|| {
        run(|| {
            raise(libc::SIGQUIT);
            raise(libc::SIGQUIT);
        });
    });
    status(ended, Some(2));
}

#[test]
fn a_second_signal_before_the_dump_is_made_ends_the_program() {
    let ended = Child::new("a_second_signal_before_the_dump_is_made_ends_the_program", "").run(|| {
        let (begun, wait_for_it) = mpsc::channel();
        // It keeps the thread that makes all reports.
        let handler = move |_| {
            begun.send(()).unwrap();
            loop {
                thread::park();
            }
        };
        let rt =
            runtime::Builder::new().dump_signal(Some(libc::SIGQUIT)).on_deadlock(handler).build().unwrap();
        thread::spawn(move || rt.run(park));
        wait_for_it.recv().unwrap();
        raise(libc::SIGQUIT);
        // Longer than the second within which it would end the program anyway.
        thread::sleep(Duration::from_millis(1100));
        raise(libc::SIGQUIT);
    });
    status(ended, Some(2));
}

#[test]
fn private_runtimes_leave_sigquit_alone_unless_asked() {
    let test = "private_runtimes_leave_sigquit_alone_unless_asked";
    // Killed by the signal.
    let ended = Child::new(test, "alone").run(|| {
        runtime::Builder::new().build().unwrap().run(|| raise(libc::SIGQUIT));
    });
    status(ended, None);
    Child::new(test, "asked").succeeds(|| {
        with_readable_stderr(|| {
            let rt = runtime::Builder::new().dump_signal(Some(libc::SIGUSR2)).build().unwrap();
            rt.run(|| {
                raise(libc::SIGUSR2);
                wait_for("goroutine 1 [running");
            });
        });
    });
}

#[test]
fn a_programs_own_handling_of_sigquit_stays() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_: libc::c_int) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
    let test = "a_programs_own_handling_of_sigquit_stays";
    Child::new(test, "its handler").succeeds(|| {
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(libc::SIGQUIT, count as *const () as libc::sighandler_t) };
        with_readable_stderr(|| {
            run(|| (0..5).for_each(|_| raise(libc::SIGQUIT)));
            assert_eq!((CALLS.load(Ordering::Relaxed), stderr_so_far().as_str()), (5, ""));
        });
    });
    Child::new(test, "ignored").succeeds(|| {
        // SAFETY: no handler.
        unsafe { libc::signal(libc::SIGQUIT, libc::SIG_IGN) };
        run(|| (0..5).for_each(|_| raise(libc::SIGQUIT)));
    });
    Child::new(test, "asked all the same").succeeds(|| {
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(libc::SIGUSR2, count as *const () as libc::sighandler_t) };
        with_readable_stderr(|| {
            let rt = runtime::Builder::new().dump_signal(Some(libc::SIGUSR2)).build().unwrap();
            rt.run(|| {
                raise(libc::SIGUSR2);
                wait_for("goroutine 1 [running");
            });
            assert_eq!(CALLS.load(Ordering::Relaxed), 1);
        });
    });
}

#[test]
fn a_signal_that_is_not_to_be_had_is_an_error() {
    for signal in [-1, 0, 65, libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGURG] {
        let error = runtime::Builder::new().dump_signal(Some(signal)).build().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    drop(runtime::Builder::new().dump_signal(None).build().unwrap());
}

#[test]
fn schedtrace_prints_lines_in_gos_form() {
    let test = "schedtrace_prints_lines_in_gos_form";
    Child::new(test, "").env("GORT_SCHEDTRACE", "20").env("GOMAXPROCS", "3").succeeds(|| {
        with_readable_stderr(|| {
            run(|| {
                sleep(Duration::from_millis(1));
                // Also while everybody sleeps, and sysmon could.
                let text = wait_for("\nSCHED ");
                let line = text.lines().next().unwrap();
                let form = "ms: gomaxprocs=3 idleprocs=";
                assert!(line.starts_with("SCHED ") && line.contains(form), "{line}");
                for word in [" threads=", " spinningthreads=", " idlethreads=", " runqueue=0 ["] {
                    assert!(line.contains(word), "{line}");
                }
                assert_eq!(line.split_once('[').unwrap().1.split(' ').count(), 3, "{line}");
            });
        });
    });
}

#[test]
fn a_schedtrace_that_is_no_number_is_an_error_at_the_start() {
    let test = "a_schedtrace_that_is_no_number_is_an_error_at_the_start";
    Child::new(test, "").env("GORT_SCHEDTRACE", "banana").succeeds(|| {
        let error = runtime::Builder::new().build().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with("GORT_SCHEDTRACE=banana is not a number of milliseconds"));
    });
}
