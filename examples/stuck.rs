//! A program in which two goroutines are stuck while a third one lives: what can be seen from outside.
//!
//! `payer` has locked one account and wants the other, `payee` the reverse; `clock` ticks on. This is no
//! deadlock of the whole program, so gort does not end it. But who sends it the signal `SIGQUIT`, with
//! `kill -QUIT` or, in a terminal, by pressing Ctrl-\, gets a dump of all goroutines, and the program goes on:
//! the two stand there with what each waits for, and the line.
//!
//! With `GORT_CHECK=1` in the environment locks know who holds them: the cycle is reported as it closes,
//! without being asked for, and the dump names the holders.
//!
//! Without arguments the program starts itself as a child process, sends it the signal when the two are stuck,
//! shows what it says, and then lets it end. `stuck here` is that child alone, to be looked at by hand; it ends
//! with its input (Enter, or Ctrl-D).
//!
//! usage: `[GORT_CHECK=1] cargo run --release --example stuck -- [here]`

#[path = "common/again.rs"]
mod again;

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gort::chan::{self, Receiver};
use gort::runtime::{self, Runtime};
use gort::sync::{Barrier, Mutex};
use gort::{Builder, inspect, select};

/// All of the child: main, `payer`, `payee` and `clock`.
const GOROUTINES: usize = 4;

/// Moves money; the locks are in the order of the parameters, and that is the mistake.
fn transfer(from: &Mutex<i64>, to: &Mutex<i64>, both_have_one: &Barrier) {
    let mut from = from.lock();
    both_have_one.wait();
    let mut to = to.lock();
    *from -= 1;
    *to += 1;
}

/// The program with the mistake, until the end of its input.
fn here() -> io::Result<()> {
    let accounts = Arc::new((Mutex::new(100), Mutex::new(100), Barrier::new(2)));
    let shared = Arc::clone(&accounts);
    Builder::new().name("payer").spawn(move || transfer(&shared.0, &shared.1, &shared.2))?;
    Builder::new().name("payee").spawn(move || transfer(&accounts.1, &accounts.0, &accounts.2))?;
    let (stop, stopped) = chan::bounded(0);
    let clock = Builder::new().name("clock").spawn(move || tick_until(&stopped))?;

    // A thread waits for the input, for a read blocks a thread, and main's has other goroutines.
    let (has_ended, ended) = chan::bounded::<()>(0);
    std::thread::spawn(move || {
        let _has_ended = has_ended;
        // Whatever it says, also that it cannot be read.
        let _ = io::stdin().read_line(&mut String::new());
    });
    // Nothing comes, but the sender is dropped.
    let _ = ended.recv();
    drop(stop);
    let ticks = clock.join().expect("it does not panic");
    println!("the clock {}; the two are left behind", if ticks > 0 { "ticked" } else { "stood still" });
    Ok(())
}

/// Says, once, when all others wait; returns how often it has ticked.
fn tick_until(stopped: &Receiver<()>) -> u64 {
    let mut ticks = 0;
    let mut has_said = false;
    loop {
        select! {
            recv(stopped) -> _ => return ticks,
            default(Duration::from_millis(1)) => ticks += 1,
        }
        if !has_said && all_others_wait() {
            let pid = std::process::id();
            println!("two are stuck in process {pid}: press Ctrl-\\ for a dump, or Enter for the end");
            has_said = true;
        }
    }
}

/// Do the two wait for locks, and main for its input?
fn all_others_wait() -> bool {
    let mut waits: Vec<_> = inspect::goroutines().into_iter().filter_map(|g| g.wait_reason).collect();
    waits.sort_unstable();
    waits == ["chan receive", "sync.Mutex.Lock", "sync.Mutex.Lock"]
}

/// Runs this program again with the mistake, and asks it for a dump.
fn look_at() -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("here").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut says = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut reports = BufReader::new(child.stderr.take().expect("it is piped"));

    let mut line = String::new();
    says.read_line(&mut line)?;
    print!("{line}");
    println!("this program sends it SIGQUIT; what it says:");
    send_quit(&child)?;
    // The dump has come when it has told of each where it was created.
    let (mut text, mut told) = (String::new(), 0);
    while told < GOROUTINES {
        let length = text.len();
        if reports.read_line(&mut text)? == 0 {
            break;
        }
        told += usize::from(text[length..].starts_with("created at "));
    }
    again::show(&text);

    println!("and presses Enter:");
    child.stdin.take().expect("it is piped").write_all(b"\n")?;
    line.clear();
    says.read_line(&mut line)?;
    print!("{line}");
    let status = child.wait()?;
    if told < GOROUTINES || !status.success() {
        return Err(io::Error::other(format!("a dump of {told} goroutines, and {status}")));
    }
    Ok(())
}

fn send_quit(child: &Child) -> io::Result<()> {
    let pid = libc::pid_t::try_from(child.id()).expect("the kernel numbers processes so");
    // SAFETY: a system call without pointers; the child has not been waited for, so the number is its own.
    if unsafe { libc::kill(pid, libc::SIGQUIT) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// SIGQUIT is what the process-wide runtime uses if nothing is said, but not if the signal is ignored, as it
/// is in what a script starts in the background. Where it is said, it holds there as well.
fn runtime_with_dumps() -> io::Result<Runtime> {
    runtime::Builder::new().dump_signal(Some(libc::SIGQUIT)).build()
}

fn main() -> io::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => look_at()?,
        ["here"] => runtime_with_dumps()?.run(here)?,
        _ => {
            eprintln!("error: {words:?} is not understood\nusage: stuck [here]");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}
