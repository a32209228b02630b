//! A walk through what gort can do, one section to a subject. Each runs a few lines of what a program would
//! write, prints what came of it, and asserts it; so a tour that ends with its last line has kept every
//! promise on the way. It takes a few seconds.
//!
//! What depends on chance or on the machine (who ran where, how long it took) is printed and not asserted.
//! Times stand beside what std threads take for the same in the same run.
//!
//! usage: `cargo run --release --example tour`

#[path = "common/arguments.rs"]
mod arguments;
#[path = "common/memory.rs"]
mod memory;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hint::{black_box, spin_loop};
use std::io;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gort::runtime::{self, SpawnOrder};

const USAGE: &str = "tour";

/// How long the private runtimes of the tour may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[gort::main]
fn main() -> io::Result<()> {
    let [] = arguments::numbers(USAGE, 0..=0);
    spawning();
    panics();
    borrowing();
    a_hundred_thousand();
    parking();
    sleeping();
    yielding()?;
    locals();
    deep_stacks()?;
    who_ran_where()?;
    orders()?;
    more_processors()?;
    prices();
    information()?;
    println!();
    println!("That was the tour.");
    Ok(())
}

fn section(title: &str) {
    println!();
    println!("{title}");
    println!("{}", "-".repeat(title.len()));
}

/// A goroutine is spawned like a thread, and joined like one.
fn spawning() {
    section("Spawning");
    let answer = gort::spawn(|| 6 * 7);
    println!("a goroutine has computed {}", answer.join().expect("it does not panic"));

    let handles: Vec<_> = (1..=10_u64).map(|n| gort::spawn(move || n * n)).collect();
    let squares: Vec<_> = handles.into_iter().map(|handle| handle.join().expect("no panic")).collect();
    println!("ten of them: {squares:?}");
    assert_eq!(squares.iter().sum::<u64>(), 385);

    let named = gort::Builder::new().name("guide").spawn(|| gort::current().name().map(str::to_owned));
    let name = named.expect("there is memory for one more").join().expect("no panic");
    println!("one has a name: {name:?}; main is one, too: {:?}", gort::current());
    assert_eq!(name.as_deref(), Some("guide"));

    let done = Arc::new(AtomicBool::new(false));
    let (main, flag) = (gort::current(), Arc::clone(&done));
    gort::go! {
        flag.store(true, Ordering::Release);
        main.unpark();
    }
    while !done.load(Ordering::Acquire) {
        gort::park();
    }
    println!("go! {{ .. }} starts one without a handle; this one has woken main when it was through");
}

/// A panic ends its goroutine and nobody else; who joins gets the payload.
fn panics() {
    section("Panics");
    let report = panic::take_hook();
    panic::set_hook(Box::new(|panic| {
        println!("(the panic hook: {})", panic.payload_as_str().unwrap_or("no message"));
    }));
    let handles: Vec<_> = (0..4)
        .map(|n| gort::spawn(move || if n == 2 { panic!("number {n} has tripped") } else { n }))
        .collect();
    let results: Vec<_> = handles.into_iter().map(|handle| handle.join()).collect();
    panic::set_hook(report);
    for (n, result) in results.iter().enumerate() {
        match result {
            Ok(value) => println!("number {n} returned {value}"),
            Err(payload) => println!("number {n} panicked: {:?}", payload.downcast_ref::<String>()),
        }
        assert_eq!(result.is_err(), n == 2);
    }
}

/// In a scope goroutines borrow from their surroundings: it ends when all of them have.
fn borrowing() {
    section("Borrowing");
    let mut numbers: Vec<u64> = (1..=1000).collect();
    gort::scope(|scope| {
        for part in numbers.chunks_mut(250) {
            scope.spawn(move || part.iter_mut().for_each(|n| *n *= 2));
        }
    });
    let text = String::from("borrowed");
    let (length, first) = gort::scope(|scope| {
        let length = scope.spawn(|| text.len());
        let first = scope.spawn(|| text.chars().next());
        (length.join().expect("no panic"), first.join().expect("no panic"))
    });
    let sum: u64 = numbers.iter().sum();
    println!("four goroutines have doubled a quarter of a Vec each: the sum is {sum}");
    println!("two have read one String: {length} letters, the first is {first:?}");
    assert_eq!((sum, length, first), (1_001_000, 8, Some('b')));
}

/// A goroutine that waits keeps one page.
fn a_hundred_thousand() {
    section("A hundred thousand at once");
    const MANY: usize = 100_000;
    static HAVE_COME: AtomicUsize = AtomicUsize::new(0);
    static MAY_GO: AtomicBool = AtomicBool::new(false);
    let before = memory::status_bytes("VmRSS");
    let handles: Vec<_> = (0..MANY)
        .map(|n| {
            gort::spawn(move || {
                HAVE_COME.fetch_add(1, Ordering::Relaxed);
                while !MAY_GO.load(Ordering::Acquire) {
                    gort::park();
                }
                n
            })
        })
        .collect();
    while HAVE_COME.load(Ordering::Relaxed) < MANY {
        gort::sleep(Duration::from_millis(1));
    }
    let used = memory::status_bytes("VmRSS") - before;
    println!("{} goroutines are alive", gort::num_goroutines());
    println!("each takes {} bytes of memory while it waits, its handle included", used / MANY as u64);
    assert_eq!(gort::num_goroutines(), MANY + 1, "they and main");

    MAY_GO.store(true, Ordering::Release);
    handles.iter().for_each(|handle| handle.goroutine().unpark());
    let sum: usize = handles.into_iter().map(|handle| handle.join().expect("no panic")).sum();
    println!("all have been woken and joined; {} is left, which is main", gort::num_goroutines());
    assert_eq!((sum, gort::num_goroutines()), (MANY * (MANY - 1) / 2, 1));
}

/// `park` waits for an `unpark`; one that comes before is not lost.
fn parking() {
    section("Parking");
    let balls = Arc::new(AtomicUsize::new(0));
    let (main, thrown) = (gort::current(), Arc::clone(&balls));
    let partner = gort::spawn(move || {
        for round in 0..1000 {
            wait_for(&thrown, 2 * round + 1);
            thrown.fetch_add(1, Ordering::Release);
            main.unpark();
        }
    });
    for round in 0..1000 {
        balls.fetch_add(1, Ordering::Release);
        partner.goroutine().unpark();
        wait_for(&balls, 2 * round + 2);
    }
    partner.join().expect("no panic");
    println!("two goroutines have passed a ball {} times", balls.load(Ordering::Relaxed));
    assert_eq!(balls.load(Ordering::Relaxed), 2000);

    gort::current().unpark();
    gort::park();
    println!("main has unparked itself beforehand, so this park has not waited");
}

/// Parks until the ball has changed hands so often.
fn wait_for(balls: &AtomicUsize, passes: usize) {
    while balls.load(Ordering::Acquire) < passes {
        gort::park();
    }
}

/// Who sleeps takes up no thread.
fn sleeping() {
    section("Sleeping");
    let start = Instant::now();
    gort::scope(|scope| {
        for _ in 0..10_000 {
            scope.spawn(|| gort::sleep(Duration::from_millis(100)));
        }
    });
    let elapsed = start.elapsed();
    println!("10,000 goroutines have slept 100 ms each, all in all {} ms", elapsed.as_millis());
    assert!(elapsed >= Duration::from_millis(100));
}

/// On one processor, who yields lets the others go first.
fn yielding() -> io::Result<()> {
    section("Yielding");
    let runtime = runtime::Builder::new().procs(1).build()?;
    let log = Log::default();
    let begun = AtomicUsize::new(0);
    runtime.run(|| {
        gort::scope(|scope| {
            for name in ["tick", "tock"] {
                let (log, begun) = (&log, &begun);
                scope.spawn(move || {
                    begun.fetch_add(1, Ordering::Relaxed);
                    while begun.load(Ordering::Relaxed) < 2 {
                        gort::yield_now();
                    }
                    for _ in 0..3 {
                        log.add(name);
                        gort::yield_now();
                    }
                });
            }
        });
    });
    let entries = log.entries();
    println!("two take turns: {}", entries.join(", "));
    assert_eq!(entries.len(), 6);
    assert!(entries.windows(2).all(|pair| pair[0] != pair[1]), "they alternate");
    assert!(runtime.shutdown_timeout(STOP_LIMIT), "the runtime stops");
    Ok(())
}

/// What happened, in order.
#[derive(Default)]
struct Log(Mutex<Vec<&'static str>>);

impl Log {
    /// Nothing suspends while the lock is held, so a std mutex is right.
    fn add(&self, entry: &'static str) {
        self.0.lock().expect("nobody panics here").push(entry);
    }

    fn entries(&self) -> Vec<&'static str> {
        self.0.lock().expect("nobody panics here").clone()
    }
}

gort::local! {
    /// How many steps this goroutine has made.
    static STEPS: Cell<u32> = Cell::new(0);
}

/// `gort::local!` declares what each goroutine has for itself, whatever thread it runs on.
fn locals() {
    section("Goroutine-locals");
    let walk = |steps: u32| {
        move || {
            for _ in 0..steps {
                STEPS.with(|made| made.set(made.get() + 1));
                gort::yield_now();
            }
            STEPS.with(Cell::get)
        }
    };
    let walkers: Vec<_> = [3, 1, 2].into_iter().map(|steps| gort::spawn(walk(steps))).collect();
    let made: Vec<_> = walkers.into_iter().map(|walker| walker.join().expect("no panic")).collect();
    println!("three have counted their own steps: {made:?}; main has made {}", STEPS.with(Cell::get));
    assert_eq!((made, STEPS.with(Cell::get)), (vec![3, 1, 2], 0));
}

/// A stack is addresses, of which memory is used as far as it grows: a deep one is had by asking for more
/// addresses, or in segments, as need arises.
fn deep_stacks() -> io::Result<()> {
    section("Deep stacks");
    let reserved = gort::Builder::new().stack_size(64 << 20).spawn(|| depth(100_000))?;
    println!("with a stack of 64 MiB: {} calls deep", reserved.join().expect("no panic"));
    let grown = gort::spawn(|| depth_by_segments(100_000));
    println!("with the usual 256 KiB, and gort::grow: {} calls deep", grown.join().expect("no panic"));
    Ok(())
}

/// Calls itself so often, each call with a few hundred bytes of its own.
#[inline(never)]
fn depth(calls: u64) -> u64 {
    let frame = black_box([calls; 32]);
    let below = if calls == 1 { 0 } else { depth(calls - 1) };
    below + u64::from(black_box(frame)[31] == calls)
}

#[inline(never)]
fn depth_by_segments(calls: u64) -> u64 {
    let frame = black_box([calls; 32]);
    let below = if calls == 1 { 0 } else { gort::grow(|| depth_by_segments(calls - 1)) };
    below + u64::from(black_box(frame)[31] == calls)
}

/// A processor without work takes the oldest of another's.
fn who_ran_where() -> io::Result<()> {
    section("Who ran where");
    let runtime = runtime::Builder::new().procs(2).build()?;
    let workers = runtime.run(|| {
        let handles: Vec<_> = (0..40).map(|_| gort::spawn(work_a_little)).collect();
        let mut workers = BTreeMap::new();
        for handle in handles {
            *workers.entry(handle.join().expect("no panic")).or_insert(0) += 1;
        }
        workers
    });
    println!("40 goroutines of 2 ms, all spawned by one, on 2 processors:");
    for (worker, count) in &workers {
        println!("  {count:>3} ran on {worker}");
    }
    println!("{} times a processor has taken something from another one", runtime.info().stolen);
    assert_eq!(workers.values().sum::<i32>(), 40);
    assert!(runtime.shutdown_timeout(STOP_LIMIT), "the runtime stops");
    Ok(())
}

/// Computes for 2 ms; the name of the thread that did.
fn work_a_little() -> String {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2) {
        black_box(depth(8));
    }
    thread::current().name().unwrap_or("a nameless thread").to_owned()
}

/// Who goes first at a spawn? By default goroutines stay on the thread on which they have started, so the
/// parent goes on and the child is queued (where another processor may take it). Under `migrate_unchecked`
/// the child runs at once, and it is the parent's continuation that is queued: the order of a plain call.
fn orders() -> io::Result<()> {
    section("Parent or child first");
    let by_default = order_of_events(runtime::Builder::new())?;
    // SAFETY: the goroutines of this runtime run `family` alone, which holds nothing that belongs to a
    // thread when it suspends: its lock is let go within `Log::add`.
    let child_first = order_of_events(unsafe { runtime::Builder::new().migrate_unchecked() })?;
    // SAFETY: as above.
    let parent_first = unsafe { runtime::Builder::new().migrate_unchecked() };
    let parent_first = order_of_events(parent_first.spawn_order(SpawnOrder::ParentFirst))?;
    println!("one processor, a parent that spawns two children:");
    println!("  by default:              {}", by_default.join(", "));
    println!("  migrate_unchecked:       {}", child_first.join(", "));
    println!("  the same, parent first:  {}", parent_first.join(", "));
    assert_eq!(child_first, ["first child", "parent", "second child", "parent again"]);
    assert_eq!(by_default[..2], ["parent", "parent again"]);
    assert_eq!(parent_first[..2], ["parent", "parent again"]);
    Ok(())
}

fn order_of_events(builder: runtime::Builder) -> io::Result<Vec<&'static str>> {
    let runtime = builder.procs(1).build()?;
    let log = Log::default();
    runtime.run(|| family(&log));
    assert!(runtime.shutdown_timeout(STOP_LIMIT), "the runtime stops");
    Ok(log.entries())
}

fn family(log: &Log) {
    gort::scope(|scope| {
        scope.spawn(|| log.add("first child"));
        log.add("parent");
        scope.spawn(|| log.add("second child"));
        log.add("parent again");
    });
}

/// The number of processors can be changed while the program runs.
fn more_processors() -> io::Result<()> {
    section("More processors");
    let runtime = runtime::Builder::new().procs(1).build()?;
    runtime.run(|| -> io::Result<()> {
        let before = gort::set_max_procs(4)?;
        println!("this runtime had {before} processor, and has {} now", gort::max_procs());
        assert_eq!((before, gort::max_procs()), (1, 4));
        // Each spins until all are there, without a call of the runtime: they must run at the same time.
        let arrived = AtomicUsize::new(0);
        gort::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    arrived.fetch_add(1, Ordering::AcqRel);
                    while arrived.load(Ordering::Acquire) < 4 {
                        spin_loop();
                    }
                });
            }
        });
        println!("four goroutines have waited for each other without a pause: they have run at once");
        gort::set_max_procs(1)?;
        println!("and it is back to {}", gort::max_procs());
        assert_eq!(gort::max_procs(), 1);
        match gort::set_max_procs(0) {
            Ok(_) => panic!("a runtime cannot have 0 processors"),
            Err(error) => println!("0 is refused: {error}"),
        }
        Ok(())
    })?;
    assert!(runtime.shutdown_timeout(STOP_LIMIT), "the runtime stops");
    Ok(())
}

/// gort beside std threads, in one run. The benches do this with more care, and with other peers.
fn prices() {
    section("Prices");
    println!("{:<28}{:>14}{:>14}{:>10}", "ns", "goroutines", "threads", "ratio");
    let print = |what: &str, ours: f64, theirs: f64| {
        println!("{what:<28}{ours:>14.0}{theirs:>14.0}{:>9.0}x", theirs / ours);
    };
    print(
        "spawn one and join it",
        each(100_000, || drop(gort::spawn(|| black_box(1)).join())),
        each(2_000, || drop(thread::spawn(|| black_box(1)).join())),
    );
    print("pass a ball and get it back", goroutines_pass(100_000), threads_pass(5_000));
}

/// ns for each of so many calls.
fn each(times: u32, f: impl Fn()) -> f64 {
    let start = Instant::now();
    (0..times).for_each(|_| f());
    start.elapsed().as_nanos() as f64 / f64::from(times)
}

/// ns for a ball to go to another goroutine and come back.
fn goroutines_pass(times: u32) -> f64 {
    let balls = Arc::new(AtomicUsize::new(0));
    let (thrown, me) = (Arc::clone(&balls), gort::current());
    let partner = gort::spawn(move || return_balls(&thrown, times, gort::park, || me.unpark()));
    let other = partner.goroutine();
    let price = pass_balls(&balls, times, gort::park, || other.unpark());
    partner.join().expect("no panic");
    price
}

/// The same with threads: both are started here, for main's own thread has goroutines to run.
#[expect(clippy::disallowed_methods, reason = "what is compared is how threads park")]
fn threads_pass(times: u32) -> f64 {
    let passer = thread::spawn(move || {
        let balls = Arc::new(AtomicUsize::new(0));
        let (thrown, me) = (Arc::clone(&balls), thread::current());
        let partner = thread::spawn(move || return_balls(&thrown, times, thread::park, || me.unpark()));
        let other = partner.thread().clone();
        let price = pass_balls(&balls, times, thread::park, || other.unpark());
        partner.join().expect("no panic");
        price
    });
    passer.join().expect("no panic")
}

fn pass_balls(balls: &AtomicUsize, times: u32, park: fn(), unpark_other: impl Fn()) -> f64 {
    let thrown = Cell::new(0);
    each(times, || {
        thrown.set(thrown.get() + 2);
        balls.fetch_add(1, Ordering::Release);
        unpark_other();
        while balls.load(Ordering::Acquire) < thrown.get() {
            park();
        }
    })
}

fn return_balls(balls: &AtomicUsize, times: u32, park: fn(), unpark_other: impl Fn()) {
    for round in 0..times as usize {
        while balls.load(Ordering::Acquire) < 2 * round + 1 {
            park();
        }
        balls.fetch_add(1, Ordering::Release);
        unpark_other();
    }
}

/// What a runtime tells about itself.
fn information() -> io::Result<()> {
    section("What the runtime says of itself");
    let info = runtime::info()?;
    println!("{} processors, {} worker threads made so far", info.max_procs, info.workers);
    println!("{} goroutines spawned, {} alive", info.spawned, info.goroutines);
    println!("{} stolen, {} offered to be, {} timers fired", info.stolen, info.published, info.timers_fired);
    println!("{} stacks made, {} of them free", info.stacks, info.stacks_free);
    println!("overflows are caught by {:?}; stacks are limited to {:?}", info.guard, info.max_stacks);
    assert_eq!(info.goroutines, 1);
    assert!(info.timers_fired >= 10_000, "those who slept");
    Ok(())
}
