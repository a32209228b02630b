//! A walk through what gort can do, one section to a subject. Each runs a few lines of what a program would
//! write, prints what came of it, and asserts it; so a tour that ends with its last line has kept every
//! promise on the way. It takes a few seconds.
//!
//! What depends on chance or on the machine (who ran where, how long it took) is printed and not asserted.
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

use gort::chan;
use gort::runtime::{self, SpawnOrder};
use gort::sync::{Semaphore, WaitGroup};

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
    channels();
    select();
    locks();
    forks();
    looking();
    parking();
    sleeping();
    yielding()?;
    locals();
    deep_stacks()?;
    who_ran_where()?;
    orders()?;
    more_processors()?;
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

/// Values go through a channel in order; it ends when all its senders are gone, or somebody closes it.
fn channels() {
    section("Channels");
    let (give, numbers) = chan::bounded(0);
    let (answer, squares) = chan::bounded(4);
    for _ in 0..3 {
        let (numbers, answer) = (numbers.clone(), answer.clone());
        gort::go! {
            for n in numbers {
                answer.send(n * n).expect("main receives");
            }
        }
    }
    gort::go! {
        for n in 1..=100_u64 {
            give.send(n).expect("three receive");
        }
    }
    // Else the squares never end.
    drop(answer);
    let sum: u64 = squares.iter().sum();
    println!("three goroutines have squared what a fourth has sent, and main has added it up: {sum}");
    assert_eq!(sum, 338_350);

    let (stop, stopped) = chan::bounded::<()>(0);
    let waiting: Vec<_> = (0..5).map(|_| stopped.clone()).map(|rx| gort::spawn(move || rx.recv())).collect();
    stop.close();
    let ended = waiting.into_iter().map(|waiter| waiter.join().expect("no panic"));
    println!("a closed channel lets all go on who wait for it: {} did", ended.filter(Result::is_err).count());
}

/// Whichever is ready first; or nothing, after a while.
fn select() {
    section("Select");
    let (slow, late) = chan::bounded(0);
    let (fast, soon) = chan::bounded(0);
    let (forward, forwarded) = chan::bounded(1);
    gort::go! {
        gort::sleep(Duration::from_millis(30));
        let _nobody_may_wait_any_more = slow.send("the slow one");
    }
    gort::go! {
        fast.send("the fast one").expect("main waits");
    }
    let first = gort::select! {
        recv(late) -> word => word,
        recv(soon) -> word => word,
    };
    println!("{} came first", first.expect("both are alive"));
    gort::select! {
        recv(late) -> word => println!("then {}", word.expect("it is alive")),
        default(Duration::from_millis(1)) => println!("the other one did not come within a millisecond"),
    }
    gort::select! {
        send(forward, 7) -> sent => sent.expect("its other end is here"),
        default => panic!("there is room"),
    }
    assert_eq!(forwarded.recv(), Ok(7));
}

/// Locks that block goroutines, not threads; and others to wait for one another.
fn locks() {
    section("Locks and groups");
    let (total, group) = (Arc::new(gort::sync::Mutex::new(0)), WaitGroup::new());
    for n in 1..=1000_u64 {
        let total = Arc::clone(&total);
        group.go(move || {
            let mut total = total.lock();
            // Held while others run: no harm.
            gort::yield_now();
            *total += n;
        });
    }
    group.wait();
    println!("a thousand goroutines have added to one number: {}", *total.lock());
    assert_eq!(*total.lock(), 500_500);

    let (permits, most, now) = (Semaphore::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
    gort::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let _permit = permits.acquire();
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                gort::sleep(Duration::from_micros(100));
                now.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    println!(
        "of fifty with three permits, at most {} were in at the same time",
        most.load(Ordering::Relaxed)
    );
    assert!(most.into_inner() <= 3);
}

/// A second branch that nobody asks for is a plain call; if another processor is idle, it takes the oldest.
fn forks() {
    section("Fork and join");
    fn sum(numbers: &[u64]) -> u64 {
        if let [number] = numbers {
            return *number;
        }
        let (left, right) = numbers.split_at(numbers.len() / 2);
        gort::join_then(|| sum(left), || sum(right), |left, right| left + right)
    }
    let mut numbers: Vec<u64> = (0..200_000).rev().collect();
    println!("a join at every level: the sum is {}", sum(&numbers));
    assert_eq!(sum(&numbers), 199_999 * 100_000);
    gort::par_sort_unstable_by(&mut numbers, u64::cmp);
    println!("sorted by several: {:?} ... {:?}", &numbers[..3], &numbers[199_997..]);
    assert!(numbers.is_sorted());
}

/// What does everybody do? A program may ask at any time; Ctrl-\\ asks from outside.
fn looking() {
    section("Looking");
    let (keep, kept) = chan::bounded::<()>(0);
    let sleeper = gort::Builder::new().name("sleeper").spawn(move || kept.recv());
    let sleeper = sleeper.expect("there is memory for one more");
    let waits = || gort::inspect::goroutines().iter().any(|g| g.wait_reason == Some("chan receive"));
    while !waits() {
        gort::yield_now();
    }
    let mut dump = Vec::new();
    gort::inspect::dump(&mut dump).expect("a Vec takes all");
    let dump = String::from_utf8_lossy(&dump).into_owned();
    let head = dump.lines().find(|line| line.contains("\"sleeper\"")).expect("it is there");
    println!("of the dump, one line: {head}");
    drop(keep);
    let _closed = sleeper.join().expect("no panic");
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
