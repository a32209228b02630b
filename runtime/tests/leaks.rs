//! What a runtime leaves behind when it stops: reported by place and state, if that is asked for.
#![cfg(test)]

mod fixture;

use std::time::Duration;

use fixture::{Child, Ended, MODES, Setting, until};
use gort_runtime::{go, inspect, num_goroutines, park, run, runtime, scope, sleep, spawn, yield_now};

const HEAD: &str = "goroutines were left behind when the runtime stopped:\n";

/// Runs `body` in a child, in each mode.
fn in_children(test: &'static str, body: fn(runtime::Builder), judge: impl Fn(&str)) {
    for mode in MODES {
        let ended = Child::new(test, &format!("{mode:?}")).run(|| body(Setting::new(2, mode).builder()));
        judge_success(ended, &judge);
    }
}

fn judge_success(ended: Option<Ended>, judge: impl Fn(&str)) {
    if let Some(ended) = ended {
        assert_eq!(ended.output.status.code(), Some(0), "{}", ended.stderr);
        judge(&ended.stderr);
    }
}

/// Leaves three behind that park, at one place, and one that sleeps, at another. Returns the lines of both.
fn leave_four() -> (u32, u32) {
    let first = line!() + 1;
    let parked: Vec<_> = (0..3).map(|_| spawn(park)).collect();
    let second = line!() + 1;
    let asleep = spawn(|| sleep(Duration::from_secs(1000)));
    // All but we have come to their wait.
    until(|| {
        let waiting = |found: &&inspect::GoroutineInfo| matches!(found.wait_reason, Some("park" | "sleep"));
        inspect::goroutines().iter().filter(waiting).count() == 4
    });
    assert_eq!(num_goroutines(), 5);
    drop((parked, asleep));
    (first, second)
}

fn assert_four(stderr: &str) {
    let lines: Vec<&str> =
        stderr.lines().filter(|line| line.contains("left behind") || line.starts_with("  ")).collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert_eq!(lines[0], format!("gort: 4 {}", HEAD.trim_end()), "{stderr}");
    assert!(lines[1].starts_with("  3 created at runtime/tests/leaks.rs:"), "{stderr}");
    assert!(lines[1].ends_with(" [park]"), "{stderr}");
    assert!(lines[2].starts_with("  1 created at runtime/tests/leaks.rs:"), "{stderr}");
    assert!(lines[2].ends_with(" [sleep]"), "{stderr}");
    let numbers: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("lines: ")).collect();
    let (first, second) = numbers[0].split_once(' ').unwrap();
    assert!(
        lines[1].contains(&format!(".rs:{first}:")) && lines[2].contains(&format!(".rs:{second}:")),
        "{stderr}"
    );
}

fn leave_and_say() {
    let (first, second) = leave_four();
    eprintln!("lines: {first} {second}");
}

#[test]
fn a_dropped_runtime_reports_what_it_leaves() {
    in_children(
        "a_dropped_runtime_reports_what_it_leaves",
        |builder| builder.report_leaks(true).build().unwrap().run(leave_and_say),
        assert_four,
    );
}

#[test]
fn a_runtime_that_is_shut_down_reports_once() {
    in_children(
        "a_runtime_that_is_shut_down_reports_once",
        |builder| {
            let runtime = builder.report_leaks(true).build().unwrap();
            runtime.run(leave_and_say);
            assert!(runtime.shutdown_timeout(Duration::from_secs(50)));
        },
        assert_four,
    );
}

#[test]
fn run_reports_if_the_environment_says_so() {
    let test = "run_reports_if_the_environment_says_so";
    for (value, reports) in [("1", true), ("0", false), ("", false)] {
        let child = Child::new(test, value).env("GORT_REPORT_LEAKS", value);
        judge_success(child.run(|| run(leave_and_say)), |stderr| match reports {
            true => assert_four(stderr),
            false => assert!(!stderr.contains("left behind"), "{stderr}"),
        });
    }
    let child = Child::new(test, "typo").env("GORT_REPORT_LEAKS", "yes");
    let ended = child.run(|| {
        let error = runtime::Builder::new().build().unwrap_err();
        assert_eq!(error.to_string(), "GORT_REPORT_LEAKS=yes is none of 0, 1");
    });
    judge_success(ended, |_| ());
}

#[test]
fn nothing_is_said_without_leaks_or_unasked() {
    let test = "nothing_is_said_without_leaks_or_unasked";
    let silent = |stderr: &str| assert!(!stderr.contains("left behind"), "{stderr}");
    for mode in MODES {
        let clean = Child::new(test, &format!("clean/{mode:?}")).run(|| {
            let runtime = Setting::new(2, mode).builder().report_leaks(true).build().unwrap();
            runtime.run(|| {
                scope(|s| (0..20).for_each(|_| drop(s.spawn(yield_now))));
                spawn(yield_now).join().unwrap();
                go! { yield_now() }
                until(|| num_goroutines() == 1);
            });
        });
        judge_success(clean, silent);
        let unasked = Child::new(test, &format!("unasked/{mode:?}"));
        judge_success(unasked.run(|| Setting::new(2, mode).build().run(leave_and_say)), silent);
    }
}

#[test]
fn another_runtime_s_goroutines_are_not_reported() {
    in_children(
        "another_runtime_s_goroutines_are_not_reported",
        |builder| {
            let other = builder.clone().build().unwrap();
            other.run(|| (0..7).for_each(|_| go! { park() }));
            builder.report_leaks(true).build().unwrap().run(leave_and_say);
            assert!(other.num_goroutines() == 7);
        },
        assert_four,
    );
}

#[test]
fn they_are_reported_also_if_main_panics() {
    let child = Child::new("they_are_reported_also_if_main_panics", "").env("GORT_REPORT_LEAKS", "1");
    let ended = child.run(|| {
        run(|| {
            leave_and_say();
            panic!("main's");
        });
    });
    if let Some(ended) = ended {
        assert_eq!(ended.output.status.code(), Some(101), "{}", ended.stderr);
        assert_four(&ended.stderr);
    }
}

/// What takes a moment to be dropped.
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        let since = std::time::Instant::now();
        while since.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
    }
}

gort_runtime::local! {
    static SLOW: Slow = Slow;
}

/// A join goes on with the result of its branch while the goroutine that has run it drops its local values.
#[test]
fn who_is_on_its_way_out_is_not_left_behind() {
    let test = "who_is_on_its_way_out_is_not_left_behind";
    in_children(
        test,
        |builder| {
            let builder = builder.report_leaks(true);
            let runtime = builder.build().unwrap();
            runtime.run(|| {
                let first = gort_runtime::current();
                let stolen = || {
                    SLOW.with(|_| ());
                    first.unpark();
                };
                // The first branch waits for the second one: so it has a goroutine of its own.
                gort_runtime::join(park, stolen);
            });
            drop(runtime);
        },
        |stderr| assert!(!stderr.contains("left behind"), "{stderr}"),
    );
}
