//! gdb, with `tools/gdb/gort.py`, sees goroutines. Skipped where there is no gdb, or it may not trace.
#![cfg(test)]

mod fixture;

use std::process::{Command, Stdio};

use fixture::{MODES, Mode, Setting, until};
use gort_runtime::{Builder, current, inspect, park, spawn, yield_now};

/// Says in a child which mode it shall stop in.
const STOP: &str = "GORT_TEST_STOP";

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn gort_test_debugger_stops_here() {
    std::hint::black_box(());
}

#[inline(never)]
fn the_function_that_waits(depth: usize) {
    if depth > 0 {
        the_function_that_waits(depth - 1);
    } else {
        park();
    }
    std::hint::black_box(depth);
}

/// What gdb looks at: one that parks, deep in calls; one that has yielded; main, which runs.
fn stop(mode: Mode) {
    Setting::new(1, mode).build().run(|| {
        let parked = Builder::new().name("parked").spawn(|| the_function_that_waits(3)).unwrap();
        let is_parked = |found: &inspect::GoroutineInfo| found.wait_reason == Some("park");
        until(|| inspect::goroutines().iter().any(is_parked));
        println!("main {} parked {}", current().id(), parked.goroutine().id());
        gort_test_debugger_stops_here();
        // It goes on as if nothing had been.
        parked.goroutine().unpark();
        parked.join().unwrap();
        spawn(yield_now).join().unwrap();
        println!("ended well");
    });
}

fn can_trace() -> bool {
    let program = "/bin/true";
    let tried =
        Command::new("gdb").args(["-nx", "-batch", "-ex", "run", program]).stdin(Stdio::null()).output();
    match tried {
        Ok(output) => String::from_utf8_lossy(&output.stdout).contains("exited normally"),
        Err(_) => false,
    }
}

#[test]
fn gdb_lists_goroutines_and_shows_their_stacks() {
    if let Ok(wanted) = std::env::var(STOP) {
        return MODES.into_iter().filter(|mode| format!("{mode:?}") == wanted).for_each(stop);
    }
    if !cfg!(target_arch = "x86_64") || !can_trace() {
        println!("skipped: there is no gdb here, or it may not trace");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/gdb/gort.py");
    for mode in MODES {
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-batch", "-ex", "set pagination off", "-ex", "set width 0"]);
        let commands = [
            &format!("source {script}"),
            "break gort_test_debugger_stops_here",
            "run",
            "info goroutines",
            "goroutine apply all bt",
            "echo and now what is not there\\n",
            "goroutine 4711 bt",
            "continue",
        ];
        commands.iter().for_each(|command| _ = gdb.args(["-ex", command]));
        gdb.arg("--args").arg(std::env::current_exe().unwrap());
        gdb.args(["gdb_lists_goroutines_and_shows_their_stacks", "--exact", "--nocapture"]);
        let output = gdb.env(STOP, format!("{mode:?}")).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_seen(&text);
    }
}

fn assert_seen(text: &str) {
    let numbers = text.lines().find_map(|line| line.strip_prefix("main "));
    let Some((main, parked)) = numbers.and_then(|line| line.split_once(" parked ")) else {
        panic!("the program did not come to the breakpoint:\n{text}")
    };
    let main_line = format!("goroutine {main} [running] created at runtime/tests/debugger.rs:");
    let parked_line = format!("goroutine {parked} \"parked\" [Park] created at runtime/tests/debugger.rs:");
    let head = |line: &str| text.match_indices(line).map(|(at, _)| at).collect::<Vec<_>>();
    let (mains, parkeds) = (head(&main_line), head(&parked_line));
    assert!(mains.len() == 2 && parkeds.len() == 2, "each in the list and above its stack:\n{text}");
    // The second time, a backtrace follows, up to the next goroutine or the end.
    let stack = |from: usize| text[from..].split("\n\n").next().unwrap();
    let (main_stack, parked_stack) = (stack(mains[1]), stack(parkeds[1]));
    assert!(main_stack.contains("gort_test_debugger_stops_here"), "{text}");
    assert!(main_stack.contains("debugger::stop"), "{text}");
    assert_eq!(parked_stack.matches("the_function_that_waits").count(), 4, "{text}");
    assert!(parked_stack.contains("gort_runtime::goroutine::park"), "{text}");
    for stack in [main_stack, parked_stack] {
        assert!(!stack.contains("coro::jump::first") && !stack.contains("execute"), "{text}");
    }
    assert!(text.contains("there is no goroutine 4711"), "{text}");
    assert!(text.contains("ended well") && text.contains("exited normally"), "{text}");
}
