//! A thread that is blocked for a second while goroutines that are bound to it are ready is reported.
#![cfg(test)]

mod fixture;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fixture::{Child, Mode, Setting, poll_until};
use gort_runtime::{Builder, current, join, park, yield_now};

/// What follows is written to a pipe instead of stderr; the other end of which, and stderr itself, are
/// returned.
fn divert_stderr() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: writes two numbers of files.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: number 2 is open; the duplicate is ours.
    let stderr = unsafe { File::from_raw_fd(libc::dup(2)) };
    // SAFETY: both are open.
    assert_eq!(unsafe { libc::dup2(ends[1], 2) }, 2);
    // SAFETY: ours since `pipe`.
    (unsafe { File::from_raw_fd(ends[0]) }, stderr)
}

/// Reads until `end` comes, passes all of it on.
fn pass_on(mut from: File, mut to: File, end: &str) {
    assert!(from.as_raw_fd() > 2);
    let mut text = Vec::new();
    let mut bytes = [0; 4096];
    while !String::from_utf8_lossy(&text).contains(end) {
        let count = from.read(&mut bytes).unwrap();
        text.extend_from_slice(&bytes[..count]);
    }
    to.write_all(&text).unwrap();
}

/// One goroutine holds a lock of std's around a join, whose first branch waits. Another one starts on the same
/// thread, and blocks it. Then the first one could go on, but for the thread.
#[test]
fn a_lock_of_stds_around_a_join_is_reported_in_the_default_mode() {
    static LOCK: Mutex<()> = Mutex::new(());
    static STARTS: AtomicBool = AtomicBool::new(false);
    let test = "a_lock_of_stds_around_a_join_is_reported_in_the_default_mode";
    let ended = Child::new(test, "").run(|| {
        let (pipe, stderr) = divert_stderr();
        let runtime = Setting::new(1, Mode::PerWorker).build();
        thread::spawn(move || {
            runtime.run(|| {
                let holder = current();
                let _held = LOCK.lock().unwrap();
                thread::spawn(move || {
                    poll_until("the other one starts", || STARTS.load(Ordering::SeqCst));
                    holder.unpark();
                });
                let locker = Builder::new().name("locker").spawn(|| {
                    STARTS.store(true, Ordering::SeqCst);
                    drop(LOCK.lock());
                });
                join(park, || ());
                drop(_held);
                locker.unwrap().join().unwrap();
            });
        });
        pass_on(pipe, stderr, "turns this report off.\n");
    });
    let Some(ended) = ended else { return };
    assert!(ended.output.status.success(), "{}", ended.stderr);
    let text = &ended.stderr;
    let number = |line: &str| line.split(' ').next_back().map(str::to_owned);
    let first = text.lines().next().unwrap_or_default();
    assert!(first.starts_with("gort: goroutine "), "{text}");
    assert!(
        first.contains("has blocked the thread of M0 for a second, while another one is bound to it"),
        "{text}"
    );
    assert!(number(first).is_some_and(|number| number.parse::<u64>().is_ok()), "{text}");
    for part in ["\"locker\" [running, on M0]:", "mutex", "created at runtime/tests/standstill.rs:"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}

/// It computes, or nobody waits for its thread, or it moves now and then: no report, however long.
#[test]
fn who_computes_or_blocks_alone_is_not_reported() {
    let ended = Child::new("who_computes_or_blocks_alone_is_not_reported", "").run(|| {
        Setting::new(1, Mode::PerWorker).build().run(|| {
            let long = std::time::Duration::from_millis(1_500);
            // Alone.
            #[expect(clippy::disallowed_methods, reason = "it blocks its thread, on purpose")]
            thread::sleep(long);
            // Another one has started here and is ready; this one computes.
            let other = gort_runtime::spawn(yield_now);
            yield_now();
            let since = std::time::Instant::now();
            while since.elapsed() < long {
                std::hint::spin_loop();
            }
            other.join().unwrap();
        });
    });
    if let Some(ended) = ended {
        assert!(ended.output.status.success() && !ended.stderr.contains("has blocked"), "{}", ended.stderr);
    }
}
