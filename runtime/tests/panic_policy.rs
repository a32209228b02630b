//! A panic that nobody joins: the program goes on, or ends with a report of that goroutine, as the runtime's
//! policy says. Every kind of death is a child process, by its exit status and its text.
#![cfg(test)]

mod fixture;

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind, set_hook, take_hook};

use fixture::{Child, Ended, MODES, Setting, message, until};
use gort_runtime::runtime::PanicPolicy;
use gort_runtime::{
    Builder, current, go, num_goroutines, park, park_timeout, run, scope, sleep, spawn, yield_now,
};

/// Says that it is dropped.
struct Loud(&'static str);

impl Drop for Loud {
    fn drop(&mut self) {
        eprintln!("dropped: {}", self.0);
    }
}

#[inline(never)]
fn the_function_that_panics() {
    panic!("the panic's {}", "message");
}

/// Runs `body` in a child, in each mode, as main of a runtime with this policy.
fn in_children(test: &'static str, policy: PanicPolicy, body: fn(), judge: impl Fn(&Ended)) {
    for mode in MODES {
        let ended = Child::new(test, &format!("{mode:?}")).run(|| {
            Setting::new(2, mode).builder().panic_policy(policy).build().unwrap().run(body);
        });
        if let Some(ended) = ended {
            judge(&ended);
        }
    }
}

/// It ended as a Go program does, with a report that says all of these in this order.
fn assert_fatal(ended: &Ended, texts: &[&str]) {
    assert_eq!(ended.output.status.code(), Some(2), "{}", ended.stderr);
    assert_says(&ended.stderr, texts);
    assert_eq!(ended.stderr.matches("fatal error:").count(), 1, "{}", ended.stderr);
}

/// It ended well.
fn assert_went_on(ended: &Ended) {
    assert_eq!(ended.output.status.code(), Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("fatal error"), "{}", ended.stderr);
}

fn assert_says(stderr: &str, texts: &[&str]) {
    let mut rest = stderr;
    for text in texts {
        let Some(at) = rest.find(text) else { panic!("{text:?} is missing, or out of order:\n{stderr}") };
        rest = &rest[at + text.len()..];
    }
}

fn assert_silent(stderr: &str, text: &str) {
    assert!(!stderr.contains(text), "{text:?} is in:\n{stderr}");
}

/// Waits for what never comes: the process ends first.
fn wait_for_the_end() {
    loop {
        park();
    }
}

#[test]
fn under_report_the_program_goes_on() {
    in_children(
        "under_report_the_program_goes_on",
        PanicPolicy::Report,
        || {
            go! { the_function_that_panics() }
            let ended = spawn(the_function_that_panics);
            until(|| ended.is_finished());
            drop(ended);
            until(|| num_goroutines() == 1);
        },
        |ended| {
            assert_went_on(ended);
            assert_eq!(ended.stderr.matches("the panic's message\n").count(), 2, "{}", ended.stderr);
        },
    );
}

#[test]
fn std_s_message_is_followed_by_a_line_that_names_the_goroutine() {
    in_children(
        "std_s_message_is_followed_by_a_line_that_names_the_goroutine",
        PanicPolicy::Report,
        || {
            let named = Builder::new().name("fails").spawn(the_function_that_panics).unwrap();
            let id = named.goroutine().id();
            named.join().unwrap_err();
            eprintln!("number: {id}");
        },
        |ended| {
            assert_went_on(ended);
            let (_, id) = ended.stderr.trim_end().rsplit_once("number: ").unwrap();
            let line = format!("\nin goroutine {id} \"fails\", created at runtime/tests/panic_policy.rs:");
            assert_says(&ended.stderr, &["panicked at runtime/tests/panic_policy.rs:", "message\n", &line]);
        },
    );
}

#[test]
fn no_line_is_added_to_somebody_else_s_hook() {
    in_children(
        "no_line_is_added_to_somebody_else_s_hook",
        PanicPolicy::Report,
        || spawn(the_function_that_panics).join().map_or_else(|_| (), |()| panic!("it panics")),
        |ended| assert_says(&ended.stderr, &["in goroutine"]),
    );
    let child = Child::new("no_line_is_added_to_somebody_else_s_hook", "own hook");
    let ended = child.run(|| {
        set_hook(Box::new(|_| eprintln!("my own hook")));
        run(|| spawn(the_function_that_panics).join().unwrap_err());
    });
    if let Some(ended) = ended {
        assert_went_on(&ended);
        assert_says(&ended.stderr, &["my own hook"]);
        assert_silent(&ended.stderr, "in goroutine");
    }
}

#[test]
fn no_line_is_added_to_the_panic_of_a_thread() {
    let ended = Child::new("no_line_is_added_to_the_panic_of_a_thread", "").run(|| {
        run(|| ());
        std::thread::spawn(the_function_that_panics).join().unwrap_err();
    });
    if let Some(ended) = ended {
        assert_went_on(&ended);
        assert_says(&ended.stderr, &["the panic's message"]);
        assert_silent(&ended.stderr, "in goroutine");
    }
}

#[test]
fn under_abort_a_panic_ends_the_process_with_the_goroutine_s_stack() {
    in_children(
        "under_abort_a_panic_ends_the_process_with_the_goroutine_s_stack",
        PanicPolicy::Abort,
        || {
            let handle = Builder::new().name("fails").spawn(|| {
                let _loud = Loud("the local variable");
                park();
                the_function_that_panics();
            });
            let goroutine = handle.unwrap().goroutine();
            goroutine.unpark();
            wait_for_the_end();
        },
        |ended| {
            assert_fatal(
                ended,
                &[
                    "in goroutine ",
                    "dropped: the local variable",
                    "fatal error: goroutine ",
                    " \"fails\" panicked: the panic's message\n",
                    "the_function_that_panics",
                    "runtime/tests/panic_policy.rs:",
                    "created at runtime/tests/panic_policy.rs:",
                ],
            );
            let (_, report) = ended.stderr.split_once("fatal error").unwrap();
            assert_silent(report, "std::panicking");
            assert_silent(report, "corosensei");
        },
    );
}

#[test]
fn under_abort_dropping_the_handle_of_one_that_has_panicked_ends_the_process() {
    in_children(
        "under_abort_dropping_the_handle_of_one_that_has_panicked_ends_the_process",
        PanicPolicy::Abort,
        || {
            let handle = Builder::new().name("late").spawn(the_function_that_panics).unwrap();
            until(|| handle.is_finished());
            eprintln!("it has ended");
            drop(handle);
            eprintln!("after the drop");
        },
        |ended| {
            let message = " \"late\" panicked: the panic's message\n";
            let created = "created at runtime/tests/panic_policy.rs:";
            assert_fatal(ended, &["it has ended", message, "the_function_that_panics", created]);
            assert_silent(&ended.stderr, "after the drop");
        },
    );
}

#[test]
fn under_abort_a_foreign_thread_may_drop_the_handle() {
    in_children(
        "under_abort_a_foreign_thread_may_drop_the_handle",
        PanicPolicy::Abort,
        || {
            let handle = spawn(the_function_that_panics);
            until(|| handle.is_finished());
            std::thread::spawn(move || drop(handle));
            wait_for_the_end();
        },
        |ended| assert_fatal(ended, &["panicked: the panic's message", "the_function_that_panics"]),
    );
}

#[test]
fn under_abort_go_is_concerned() {
    in_children(
        "under_abort_go_is_concerned",
        PanicPolicy::Abort,
        || {
            go! { the_function_that_panics() }
            wait_for_the_end();
        },
        |ended| assert_fatal(ended, &["panicked: the panic's message", "the_function_that_panics"]),
    );
}

#[test]
fn under_abort_what_is_joined_scoped_or_caught_is_nobody_s_death() {
    in_children(
        "under_abort_what_is_joined_scoped_or_caught_is_nobody_s_death",
        PanicPolicy::Abort,
        || {
            let payload = spawn(the_function_that_panics).join().unwrap_err();
            assert_eq!(message(&*payload), "the panic's message");
            let ended = spawn(the_function_that_panics);
            until(|| ended.is_finished());
            ended.join().unwrap_err();
            let payload = catch_unwind(|| {
                scope(|s| {
                    drop(s.spawn(the_function_that_panics));
                    let ended = s.spawn(the_function_that_panics);
                    until(|| ended.is_finished());
                    drop(ended);
                })
            });
            assert_eq!(message(&*payload.unwrap_err()), "a goroutine of the scope panicked");
            for _ in 0..3 {
                go! { catch_unwind(the_function_that_panics).unwrap_err(); }
            }
            until(|| num_goroutines() == 1);
        },
        assert_went_on,
    );
}

#[test]
fn under_abort_the_main_goroutine_s_panic_goes_to_who_called_run() {
    let test = "under_abort_the_main_goroutine_s_panic_goes_to_who_called_run";
    in_children(
        test,
        PanicPolicy::Abort,
        || panic!("main's"),
        |ended| {
            assert_eq!(ended.output.status.code(), Some(101), "{}", ended.stderr);
            assert_silent(&ended.stderr, "fatal error");
        },
    );
}

#[test]
fn a_panic_that_is_caught_and_resumed_keeps_its_stack() {
    in_children(
        "a_panic_that_is_caught_and_resumed_keeps_its_stack",
        PanicPolicy::Abort,
        || {
            go! {
                let payload = catch_unwind(the_function_that_panics).unwrap_err();
                yield_now();
                resume_unwind(payload);
            }
            wait_for_the_end();
        },
        |ended| assert_fatal(ended, &["panicked: the panic's message", "the_function_that_panics"]),
    );
}

#[test]
fn a_panic_without_a_hook_is_reported_without_a_stack() {
    in_children(
        "a_panic_without_a_hook_is_reported_without_a_stack",
        PanicPolicy::Abort,
        || {
            go! {
                // Not the one that ends it: its stack must not be shown.
                catch_unwind(the_function_that_panics).unwrap_err();
                resume_unwind(Box::new("resumed"));
            }
            wait_for_the_end();
        },
        |ended| {
            assert_fatal(ended, &["panicked: resumed\n", "stack is not known", "created at "]);
            let (_, report) = ended.stderr.split_once("fatal error").unwrap();
            assert_silent(report, "the_function_that_panics");
        },
    );
}

#[test]
fn a_later_hook_that_replaces_gort_s_costs_the_stack_alone() {
    in_children(
        "a_later_hook_that_replaces_gort_s_costs_the_stack_alone",
        PanicPolicy::Abort,
        || {
            set_hook(Box::new(|_| eprintln!("my own hook")));
            go! { the_function_that_panics() }
            wait_for_the_end();
        },
        |ended| assert_fatal(ended, &["my own hook", "panicked: the panic's message", "stack is not known"]),
    );
}

#[test]
fn a_later_hook_that_calls_the_one_before_costs_nothing() {
    in_children(
        "a_later_hook_that_calls_the_one_before_costs_nothing",
        PanicPolicy::Abort,
        || {
            let before = take_hook();
            set_hook(Box::new(move |info| {
                eprintln!("my own hook");
                before(info);
            }));
            go! { the_function_that_panics() }
            wait_for_the_end();
        },
        |ended| assert_fatal(ended, &["my own hook", "in goroutine", "the_function_that_panics"]),
    );
}

#[test]
fn a_payload_that_is_no_text_is_reported() {
    in_children(
        "a_payload_that_is_no_text_is_reported",
        PanicPolicy::Abort,
        || {
            go! { panic_any(vec![1, 2, 3]) }
            wait_for_the_end();
        },
        |ended| {
            assert_fatal(ended, &["panicked: Box<dyn Any>\n", "a_payload_that_is_no_text", "created at "])
        },
    );
}

/// A value whose printing gives way, and waits.
struct Slow;

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        yield_now();
        park_timeout(std::time::Duration::from_micros(100));
        assert!(spawn(|| true).join().unwrap());
        f.write_str("slowly printed")
    }
}

#[test]
fn a_message_whose_printing_yields_and_waits_is_printed() {
    for policy in [PanicPolicy::Report, PanicPolicy::Abort] {
        for mode in MODES {
            // In the default mode, what it waits for must not be bound to its own thread: it is spawned last.
            let test = "a_message_whose_printing_yields_and_waits_is_printed";
            let ended = Child::new(test, &format!("{policy:?}/{mode:?}")).run(|| {
                let runtime = Setting::new(2, mode).builder().panic_policy(policy).build().unwrap();
                runtime.run(|| {
                    go! { panic!("{Slow}") }
                    until(|| num_goroutines() == 1);
                });
            });
            match (ended, policy) {
                (None, _) => {}
                (Some(ended), PanicPolicy::Abort) => assert_fatal(&ended, &["panicked: slowly printed\n"]),
                (Some(ended), _) => {
                    assert_went_on(&ended);
                    assert_says(&ended.stderr, &["slowly printed\n", "in goroutine "]);
                }
            }
        }
    }
}

/// Panics in its destructor.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the second panic");
    }
}

#[test]
fn a_panic_while_panicking_aborts() {
    in_children(
        "a_panic_while_panicking_aborts",
        PanicPolicy::Report,
        || {
            go! {
                let _bomb = Bomb;
                panic!("the first panic");
            }
            wait_for_the_end();
        },
        |ended| {
            assert_eq!(ended.output.status.signal(), Some(libc::SIGABRT), "{}", ended.stderr);
            assert_says(&ended.stderr, &["the first panic", "the second panic"]);
        },
    );
}

#[test]
fn a_panic_in_a_detached_result_s_destructor_aborts() {
    in_children(
        "a_panic_in_a_detached_result_s_destructor_aborts",
        PanicPolicy::Report,
        || {
            let handle = spawn(|| {
                park();
                Bomb
            });
            let goroutine = handle.goroutine();
            drop(handle);
            goroutine.unpark();
            wait_for_the_end();
        },
        |ended| {
            assert_eq!(ended.output.status.signal(), Some(libc::SIGABRT), "{}", ended.stderr);
            assert_says(&ended.stderr, &["the second panic", "the end of a goroutine (a destructor of"]);
        },
    );
}

#[test]
fn nested_panics_that_are_caught_do_not_end_the_process() {
    in_children(
        "nested_panics_that_are_caught_do_not_end_the_process",
        PanicPolicy::Abort,
        || {
            struct Catches;
            impl Drop for Catches {
                fn drop(&mut self) {
                    catch_unwind(the_function_that_panics).unwrap_err();
                }
            }
            let nested = || {
                let _catches = Catches;
                panic!("the outer");
            };
            let caught = catch_unwind(AssertUnwindSafe(nested));
            assert_eq!(message(&*caught.unwrap_err()), "the outer");
            go! {
                let _catches = Catches;
                panic!("the last");
            }
            wait_for_the_end();
        },
        |ended| {
            assert_fatal(ended, &["the outer", "message", "the last", "panicked: the last\n", "created at"])
        },
    );
}

#[test]
fn of_many_that_panic_at_once_one_is_reported_whole() {
    in_children(
        "of_many_that_panic_at_once_one_is_reported_whole",
        PanicPolicy::Abort,
        || {
            for _ in 0..50 {
                go! {
                    sleep(std::time::Duration::from_millis(1));
                    the_function_that_panics();
                }
            }
            wait_for_the_end();
        },
        |ended| {
            assert_fatal(ended, &["panicked: the panic's message\n"]);
            assert!(ended.stderr.contains("\ncreated at runtime/tests/panic_policy.rs:"), "{}", ended.stderr);
        },
    );
}

#[test]
fn the_environment_says_the_policy_and_a_builder_goes_before_it() {
    let test = "the_environment_says_the_policy_and_a_builder_goes_before_it";
    let dies = || {
        go! { the_function_that_panics() }
        until(|| num_goroutines() == 1);
    };
    if let Some(ended) = Child::new(test, "run").env("GORT_PANIC", "abort").run(|| run(dies)) {
        assert_fatal(&ended, &["panicked: the panic's message\n"]);
    }
    let child = Child::new(test, "builder").env("GORT_PANIC", "abort");
    let ended = child.run(|| {
        let builder = gort_runtime::runtime::Builder::new().panic_policy(PanicPolicy::Report);
        builder.build().unwrap().run(dies);
    });
    if let Some(ended) = ended {
        assert_went_on(&ended);
    }
    let ended = Child::new(test, "typo").env("GORT_PANIC", "abrot").run(|| {
        let error = gort_runtime::runtime::Builder::new().build().unwrap_err();
        assert_eq!(error.to_string(), "GORT_PANIC=abrot is none of report, abort");
    });
    if let Some(ended) = ended {
        assert_went_on(&ended);
    }
}

#[test]
fn one_runtime_s_policy_is_not_another_s() {
    let ended = Child::new("one_runtime_s_policy_is_not_another_s", "").run(|| {
        let build = |policy| gort_runtime::runtime::Builder::new().panic_policy(policy).build().unwrap();
        let (report, abort) = (build(PanicPolicy::Report), build(PanicPolicy::Abort));
        abort.run(|| assert!(current().id() > 0));
        report.run(|| {
            go! { the_function_that_panics() }
            until(|| num_goroutines() == 1);
        });
        eprintln!("the first has gone on");
        abort.run(|| {
            go! { the_function_that_panics() }
            wait_for_the_end();
        });
    });
    if let Some(ended) = ended {
        assert_fatal(&ended, &["the first has gone on", "fatal error"]);
    }
}

#[test]
fn a_panic_on_a_small_or_nearly_full_stack_is_reported_like_any_other() {
    #[inline(never)]
    fn at_the_end(left: usize) {
        let mut frame = [left; 64];
        std::hint::black_box(&mut frame);
        if left > 0 {
            at_the_end(left - 1);
        } else {
            the_function_that_panics();
        }
        std::hint::black_box(&frame);
    }
    let test = "a_panic_on_a_small_or_nearly_full_stack_is_reported_like_any_other";
    for backtrace in ["0", "full"] {
        for policy in [PanicPolicy::Report, PanicPolicy::Abort] {
            let child = Child::new(test, &format!("{backtrace}/{policy:?}")).env("RUST_BACKTRACE", backtrace);
            let ended = child.run(|| {
                let runtime = gort_runtime::runtime::Builder::new().panic_policy(policy).build().unwrap();
                runtime.run(|| {
                    let small = || Builder::new().stack_size(16 << 10);
                    small().spawn(the_function_that_panics).unwrap().join().unwrap_err();
                    // Less than the backtrace takes is left; the unwinder itself needs some KiB.
                    drop(small().spawn(|| at_the_end(4)).unwrap());
                    until(|| num_goroutines() == 1);
                });
            });
            match (ended, policy) {
                (None, _) => {}
                (Some(ended), PanicPolicy::Abort) => assert_fatal(&ended, &["panicked: ", "at_the_end"]),
                (Some(ended), _) => {
                    assert_went_on(&ended);
                    assert_eq!(ended.stderr.matches("in goroutine ").count(), 2, "{}", ended.stderr);
                }
            }
        }
    }
}
