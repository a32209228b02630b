//! No more than so many at a time: a program that hangs though it looks right, and five that do not.
//!
//! A tool that lists processes looks at each in a goroutine of its own, but only at a few at once. The usual way to
//! count is a channel with room for `LIMIT` tokens: who wants to begin sends one in, and who is through takes one
//! out. What is found goes through a second, unbuffered channel to the goroutine that collects it.
//!
//! | form | |
//! |---|---|
//! | `hang` | the loop takes a token and starts a goroutine, which sends what it has found and then, as it ends, gives the token back; after the loop the results are received |
//! | `real` | the same, with a `WaitGroup` and a `close` behind the last result: what one tends to write, and no help |
//! | `acquire inside` | the goroutine itself takes the token: all are started at once, and few of them work |
//! | `release early` | the goroutine gives the token back before it sends |
//! | `loop aside` | the loop has a goroutine of its own, and main receives from the beginning |
//! | `semaphore` | the library's way: a permit that belongs to the goroutine, and a handle that has its result, so that nobody needs to receive for others to go on |
//!
//! With more than `LIMIT` processes the first two hang: `LIMIT` goroutines wait for somebody to receive, and main,
//! who would, waits for a token that these hold. That the token is given back by a destructor, as by Go's `defer`,
//! *is* the mistake, for it runs after the send. So these two are run as child processes with one process too
//! many (as `gops hang 3`); gort sees that nobody can go on, says who waits where, and ends them with status 2. All
//! other runs, of all forms, must find every process.
//!
//! usage: `cargo run --release --example gops -- [LIMIT]`, 3 if left out.

#[path = "common/again.rs"]
mod again;
#[path = "common/arguments.rs"]
mod arguments;

use std::io;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gort::chan::{self, Receiver, Sender};
use gort::sync::{Semaphore, WaitGroup};

const USAGE: &str = "gops [LIMIT], which looks at so many at a time, from 1 to 1000 (3 if left out)";

/// A process by its number: how it is named, and how it is found.
type Pid = u64;
type Pids = RangeInclusive<Pid>;

/// How many processes are being looked at, and how many were at most.
static BUSY: AtomicUsize = AtomicUsize::new(0);
static MOST_BUSY: AtomicUsize = AtomicUsize::new(0);

/// Looks at a process, which takes a moment.
fn inspect(pid: Pid) -> Pid {
    MOST_BUSY.fetch_max(BUSY.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    gort::sleep(Duration::from_micros(500));
    BUSY.fetch_sub(1, Ordering::Relaxed);
    pid
}

/// The channel that counts.
#[derive(Clone)]
struct Tokens {
    room: Sender<()>,
    taken: Receiver<()>,
}

/// Gives a token back when it is dropped.
struct Token(Receiver<()>);

impl Tokens {
    fn new(limit: usize) -> Self {
        let (room, taken) = chan::bounded(limit);
        Tokens { room, taken }
    }

    /// Waits while as many as may are out.
    fn take(&self) -> Token {
        self.room.send(()).expect("both ends stand in self");
        Token(self.taken.clone())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.recv().expect("it was sent when this was made");
    }
}

fn hang(limit: usize, pids: Pids) -> Vec<Pid> {
    let tokens = Tokens::new(limit);
    let (found, results) = chan::bounded(0);
    for pid in pids {
        // The mistake: main waits here for a token ...
        let token = tokens.take();
        let found = found.clone();
        gort::go! {
            // ... that is given back at the end of this block, after main has received.
            let _token = token;
            found.send(inspect(pid)).expect("main receives");
        }
    }
    drop(found);
    results.iter().collect()
}

fn real(limit: usize, pids: Pids) -> Vec<Pid> {
    let tokens = Tokens::new(limit);
    let all = WaitGroup::new();
    let (found, results) = chan::bounded(0);
    for pid in pids {
        let token = tokens.take();
        let found = found.clone();
        all.go(move || {
            let _token = token;
            found.send(inspect(pid)).expect("main receives");
        });
    }
    gort::go! {
        all.wait();
        found.close();
    }
    results.iter().collect()
}

fn acquire_inside(limit: usize, pids: Pids) -> Vec<Pid> {
    let tokens = Tokens::new(limit);
    let (found, results) = chan::bounded(0);
    for pid in pids {
        let (tokens, found) = (tokens.clone(), found.clone());
        gort::go! {
            let _token = tokens.take();
            found.send(inspect(pid)).expect("main receives");
        }
    }
    drop(found);
    results.iter().collect()
}

fn release_early(limit: usize, pids: Pids) -> Vec<Pid> {
    let tokens = Tokens::new(limit);
    let (found, results) = chan::bounded(0);
    for pid in pids {
        let token = tokens.take();
        let found = found.clone();
        gort::go! {
            let pid = inspect(pid);
            drop(token);
            found.send(pid).expect("main receives");
        }
    }
    drop(found);
    results.iter().collect()
}

fn loop_aside(limit: usize, pids: Pids) -> Vec<Pid> {
    let tokens = Tokens::new(limit);
    let (found, results) = chan::bounded(0);
    gort::go! {
        for pid in pids {
            let token = tokens.take();
            let found = found.clone();
            gort::go! {
                let _token = token;
                found.send(inspect(pid)).expect("main receives");
            }
        }
    }
    results.iter().collect()
}

fn semaphore(limit: usize, pids: Pids) -> Vec<Pid> {
    let seats = Semaphore::new(limit);
    gort::scope(|scope| {
        let start = |pid| {
            let seat = seats.acquire();
            scope.spawn(move || {
                let _seat = seat;
                inspect(pid)
            })
        };
        let handles: Vec<_> = pids.map(start).collect();
        handles.into_iter().map(|handle| handle.join().expect("it does not panic")).collect()
    })
}

/// A form of the program.
struct Form {
    name: &'static str,
    find_all: fn(usize, Pids) -> Vec<Pid>,
    /// With more processes than tokens.
    hangs: bool,
}

const FORMS: &[Form] = &[
    Form { name: "hang", find_all: hang, hangs: true },
    Form { name: "real", find_all: real, hangs: true },
    Form { name: "acquire inside", find_all: acquire_inside, hangs: false },
    Form { name: "release early", find_all: release_early, hangs: false },
    Form { name: "loop aside", find_all: loop_aside, hangs: false },
    Form { name: "semaphore", find_all: semaphore, hangs: false },
];

/// Lets one form find so many; it must find all of them, and have kept to the limit.
fn check(form: &Form, limit: usize, count: Pid) {
    MOST_BUSY.store(0, Ordering::Relaxed);
    let mut found = gort::run(|| (form.find_all)(limit, 1..=count));
    found.sort_unstable();
    assert!(found.into_iter().eq(1..=count), "{}: all {count} are found, once", form.name);
    let most_busy = MOST_BUSY.load(Ordering::Relaxed);
    assert!(most_busy <= limit, "{}: {most_busy} at a time", form.name);
}

fn main() -> io::Result<()> {
    let child = std::env::args().nth(1).and_then(|word| FORMS.iter().find(|form| form.name == word));
    let [limit] = arguments::numbers_after(usize::from(child.is_some()), USAGE, 1..=1_000);
    let count = limit.unwrap_or(3);
    let limit = usize::try_from(count).expect("it is no more than 1000");
    if let Some(form) = child {
        check(form, limit, count + 1);
        return Ok(());
    }

    for form in FORMS {
        let counts = [count - 1, count, count + 1, 10 * count];
        let counts = if form.hangs { &counts[..2] } else { &counts[..] };
        for &count in counts {
            check(form, limit, count);
        }
        println!("{}: found all of {counts:?} processes, never more than {limit} at a time", form.name);
        if form.hangs {
            println!("{}: of {} processes, with {limit} at a time:", form.name, count + 1);
            again::show(&again::deadlock(&[form.name, &count.to_string()])?);
        }
        println!();
    }
    Ok(())
}
