//! Nothing allocates or frees on a worker's scheduler stack, in sysmon or in the signal handler (ARCHITECTURE,
//! Rule 6): a counting allocator watches a storm of everything that a program may do.
//!
//! `GORT_NO_ALLOC_ABORT=1` ends the process at the first offence, for a debugger's backtrace:
//! `gdb -batch -ex run -ex bt --args env GORT_NO_ALLOC_ABORT=1 target/debug/deps/no_alloc-...`.
#![cfg(test)]

mod fixture;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{RefCell, UnsafeCell};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{Child, MODES, Mode, Rng, Setting, poll_until, spin_until, until, watched};
use gort_runtime::{
    __private, Builder, Goroutine, JoinHandle, current, grow, local, park, park_timeout, scope,
    set_max_procs, sleep, spawn, yield_now,
};

// ---- the allocator ------------------------------------------------------------------------------------

/// Where an allocation or a release is made. The first that fits.
const SCHEDULER: usize = 0;
const SYSMON: usize = 1;
/// On an alternate signal stack, on whatever thread.
const HANDLER: usize = 2;
const ELSEWHERE: usize = 3;
const PLACES: [&str; 4] = ["scheduler stack", "sysmon", "signal handler", "elsewhere"];

static ARMED: AtomicBool = AtomicBool::new(false);
static ABORTS: AtomicBool = AtomicBool::new(false);
/// The threads that are sysmon's; 0: none.
static SYSMONS: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];
static ALLOCATED: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];
static FREED: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];
/// The size of the last block that an offence was about.
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// `System`, and counts while armed. It makes no allocation, takes no lock and uses no thread-local.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// What the control allocates in a signal handler, where nobody may enter the true allocator: a block that
/// is handed out again and again, for nobody touches it.
#[repr(align(4096))]
struct Decoy(UnsafeCell<[u8; 64]>);

// SAFETY: nobody reads or writes it; only its address is used.
unsafe impl Sync for Decoy {}

static DECOY: Decoy = Decoy(UnsafeCell::new([0; 64]));

/// Nothing else asks for this.
const DECOY_LAYOUT: Layout = match Layout::from_size_align(61, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

fn place() -> usize {
    if __private::on_scheduler_stack() {
        return SCHEDULER;
    }
    // SAFETY: takes nothing, cannot fail.
    let tid = unsafe { libc::gettid() };
    if SYSMONS.iter().any(|sysmon| sysmon.load(Ordering::Relaxed) == tid) {
        return SYSMON;
    }
    let mut now = MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: asks only; the kernel fills it.
    let asked = unsafe { libc::sigaltstack(ptr::null(), now.as_mut_ptr()) };
    // SAFETY: filled if it was answered.
    if asked == 0 && unsafe { now.assume_init() }.ss_flags & libc::SS_ONSTACK != 0 {
        return HANDLER;
    }
    ELSEWHERE
}

#[inline]
fn count(counters: &[AtomicUsize; 4], layout: Layout) {
    if ARMED.load(Ordering::Relaxed) {
        count_armed(counters, layout);
    }
}

#[cold]
#[inline(never)]
fn count_armed(counters: &[AtomicUsize; 4], layout: Layout) {
    // SAFETY: this thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above; no suspension until it is put back.
    let before = unsafe { *errno };
    let place = place();
    counters[place].fetch_add(1, Ordering::Relaxed);
    if place != ELSEWHERE {
        BYTES.store(layout.size(), Ordering::Relaxed);
        if ABORTS.load(Ordering::Relaxed) {
            std::process::abort();
        }
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

// SAFETY: `System`'s, but for a block that nobody uses.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATED, layout);
        if layout == DECOY_LAYOUT {
            return DECOY.0.get().cast();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATED, layout);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(&FREED, layout);
        if layout != DECOY_LAYOUT {
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(&ALLOCATED, layout);
        count(&FREED, layout);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

fn counted() -> [(&'static str, usize, usize); 4] {
    let count = |place: usize| {
        (PLACES[place], ALLOCATED[place].load(Ordering::SeqCst), FREED[place].load(Ordering::SeqCst))
    };
    std::array::from_fn(count)
}

// ---- threads and signals ------------------------------------------------------------------------------

/// The threads of this process whose name begins so.
fn threads(name: &str) -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    tasks
        .filter_map(|task| {
            let path = task.ok()?.path();
            let comm = std::fs::read_to_string(path.join("comm")).ok()?;
            comm.starts_with(name).then(|| path.file_name()?.to_str()?.parse().ok())?
        })
        .collect()
}

/// How often a thread has gone to sleep.
fn naps(tid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Sends SIGURG to a thread of this process.
fn interrupt(tid: i32) {
    // SAFETY: takes numbers; confined to this process.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGURG) };
}

/// Tells the foreign threads to end, also when the body panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What goroutines ask a foreign thread to do.
enum Errand {
    Unpark(Goroutine),
    Join(JoinHandle<Vec<u64>>),
}

// ---- the storm ----------------------------------------------------------------------------------------

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

local! {
    static LIST: RefCell<Vec<u64>> = RefCell::new(Vec::new());
}

fn compute(time: Duration) {
    let start = Instant::now();
    spin_until(|| start.elapsed() >= time);
}

fn micros(rng: &mut Rng, bound: u64) -> Duration {
    Duration::from_micros(rng.below(bound))
}

/// Names, stack sizes, destructors, locals; some joined, some not, some after they have ended, some never
/// waited for.
fn spawn_join_detach(rng: &mut Rng) {
    let mut handles = Vec::new();
    for n in 0..60_u64 {
        let owned = OnDrop({
            let text = format!("owned by {n}");
            move || drop(text.clone())
        });
        let name = (n % 3 == 0).then(|| format!("a goroutine by the name of {n}"));
        let mut builder = Builder::new();
        if let Some(name) = name {
            builder = builder.name(name);
        }
        if n % 7 == 0 {
            builder = builder.stack_size(1 << 20);
        }
        let handle = builder.spawn(move || {
            LIST.with(|list| list.borrow_mut().push(n));
            if n % 4 == 0 {
                yield_now();
            }
            if n % 10 == 0 {
                assert_eq!(deep(500), 500);
            }
            let text = format!("{:?}", current().name());
            black_box(&owned);
            (text, vec![n; 20])
        });
        let handle = handle.expect("it starts");
        if rng.below(2) == 0 {
            handles.push(handle);
        }
    }
    let kept: Vec<_> = handles.iter().map(JoinHandle::goroutine).collect();
    for handle in handles {
        assert_eq!(handle.join().unwrap().1.len(), 20);
    }
    kept.iter().for_each(Goroutine::unpark);
}

fn deep(n: u64) -> u64 {
    let pad = [n as u8; 512];
    black_box(&pad);
    if n == 0 { 0 } else { grow(|| 1 + deep(n - 1)) }
}

/// More work than one processor likes, from one owner.
fn steal() {
    scope(|s| {
        for n in 0..40_u64 {
            s.spawn(move || {
                let list = vec![n; 100];
                compute(Duration::from_micros(20));
                yield_now();
                black_box(list);
            });
        }
    });
}

fn park_and_unpark(rng: &mut Rng) {
    let me = current();
    let partner = spawn(move || {
        for _ in 0..50 {
            me.unpark();
            park();
        }
        me.unpark();
    });
    let other = partner.goroutine();
    for _ in 0..50 {
        park();
        other.unpark();
    }
    partner.join().unwrap();
    for _ in 0..5 {
        park_timeout(micros(rng, 200));
    }
}

/// Timers by the thousand: the heaps grow and shrink.
fn sleeps(rng: &mut Rng) {
    let handles: Vec<_> = (0..1_500)
        .map(|n| {
            let time = micros(rng, 3_000);
            spawn(move || if n % 3 == 0 { park_timeout(time) } else { sleep(time) })
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

fn panics() {
    for n in 0..20_u64 {
        let handle = spawn(move || {
            let _owned = Box::new(n);
            if n % 2 == 0 {
                yield_now();
            }
            resume_unwind(Box::new(format!("payload {n}")));
        });
        if n % 4 != 0 {
            let handle: JoinHandle<()> = handle;
            drop(handle.join().unwrap_err());
        }
    }
}

/// Goroutines that wait while they panic: their threads sleep beneath them, others take over.
fn freeze() {
    let handles: Vec<_> = (0..4_u64)
        .map(|n| {
            spawn(move || {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let _on_drop = OnDrop(|| {
                        sleep(Duration::from_micros(100 * n));
                        yield_now();
                        drop(spawn(move || vec![n; 10]).join());
                    });
                    resume_unwind(Box::new(n));
                }));
                drop(caught.unwrap_err());
            })
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

/// An owner of private work makes no call, for sysmon's signal; and another one that makes a call too
/// rarely, for the end of its slice.
fn hog() {
    scope(|s| {
        s.spawn(|| {
            scope(|s| {
                for n in 0..8_u64 {
                    s.spawn(move || drop(vec![n; 10]));
                }
                compute(Duration::from_millis(5));
            });
        });
        s.spawn(|| {
            for _ in 0..3 {
                compute(Duration::from_millis(6));
                let me = current();
                me.unpark();
                park();
            }
        });
        s.spawn(|| (0..20).for_each(|_| yield_now()));
    });
}

fn resize(setting: Setting) {
    for procs in [setting.procs + 2, 1, setting.procs + 1, setting.procs] {
        set_max_procs(procs).unwrap();
        scope(|s| (0..10_u64).for_each(|n| drop(s.spawn(move || vec![n; 10]))));
        sleep(Duration::from_micros(200));
    }
}

fn errands(foreign: &mpsc::Sender<Errand>) {
    for _ in 0..10 {
        foreign.send(Errand::Unpark(current())).unwrap();
        park();
        let handle = spawn(|| {
            sleep(Duration::from_micros(50));
            vec![1; 10]
        });
        foreign.send(Errand::Join(handle)).unwrap();
    }
}

fn storm(setting: Setting, time: Duration, foreign: &mpsc::Sender<Errand>) {
    let mut rng = setting.rng(6);
    let start = Instant::now();
    while start.elapsed() < time {
        spawn_join_detach(&mut rng);
        steal();
        park_and_unpark(&mut rng);
        sleeps(&mut rng);
        panics();
        freeze();
        hog();
        resize(setting);
        errands(foreign);
    }
    until(|| gort_runtime::num_goroutines() == 1);
}

/// One setting's storm, watched. `interrupts_sysmon`: shall the foreign signals go there as well? `idle`:
/// how long nobody runs, while some goroutines wait.
fn watch_a_storm(setting: Setting, interrupts_sysmon: bool, idle: Duration) {
    println!("{setting:?}");
    let before = threads("gort-sysmon");
    let runtime = setting.build();
    let sysmon = || threads("gort-sysmon").into_iter().find(|tid| !before.contains(tid));
    poll_until("sysmon's start", || sysmon().is_some());
    let sysmon = sysmon().expect("it lives as long as the runtime");
    let done = AtomicBool::new(false);
    let published = runtime.info().published;
    thread::scope(|s| {
        let done = Done(&done);
        let ended = done.0;
        s.spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                threads("gort-m").into_iter().for_each(interrupt);
                if interrupts_sysmon {
                    interrupt(sysmon);
                }
            }
        });
        let (foreign, asked) = mpsc::channel();
        s.spawn(move || {
            for errand in asked {
                match errand {
                    Errand::Unpark(goroutine) => goroutine.unpark(),
                    Errand::Join(handle) => assert_eq!(handle.join().unwrap().len(), 10),
                }
            }
        });
        watched(&runtime, || {
            // Warm: the threads have started, and sysmon is in its loop.
            runtime.run(|| storm(setting, Duration::from_millis(1), &foreign));
            poll_until("sysmon's ticks", || {
                runtime.run(yield_now);
                naps(sysmon) >= 5
            });
            SYSMONS[0].store(sysmon, Ordering::SeqCst);
            ARMED.store(true, Ordering::SeqCst);
            runtime.run(|| storm(setting, Duration::from_millis(300), &foreign));
            // sysmon and the workers go to sleep, and are woken again.
            let waiting: Vec<_> = runtime.run(|| (0..100).map(|_| spawn(park)).collect());
            pause(idle);
            waiting.iter().for_each(|handle| handle.goroutine().unpark());
            waiting.into_iter().for_each(|handle| handle.join().unwrap());
            runtime.run(|| storm(setting, Duration::from_millis(1), &foreign));
            ARMED.store(false, Ordering::SeqCst);
            SYSMONS[0].store(0, Ordering::SeqCst);
        });
        drop((done, foreign));
    });
    let info = runtime.info();
    assert!(info.spawned > 1_000 && info.timers_fired > 1_000, "{info:?}");
    assert!(setting.procs == 1 || info.published > published, "{info:?}");
    __private::check(runtime, || ());
}

#[expect(clippy::disallowed_methods, reason = "a foreign thread lets the runtime be idle")]
fn pause(time: Duration) {
    thread::sleep(time);
}

/// The counters are the process's.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn scheduler_sysmon_and_handler_neither_allocate_nor_free() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    ABORTS.store(std::env::var_os("GORT_NO_ALLOC_ABORT").is_some(), Ordering::SeqCst);
    for mode in MODES {
        for procs in [1, 2, 4] {
            // Once so long that sysmon trims the waiting goroutines' stacks: two passes, a second apart.
            let trims = mode == Mode::PerWorker && procs == 2;
            let idle = Duration::from_millis(if trims { 2_300 } else { 80 });
            watch_a_storm(Setting::new(procs, mode), false, idle);
            let counted = counted();
            assert!(
                counted[..ELSEWHERE].iter().all(|&(_, allocated, freed)| allocated + freed == 0),
                "{mode:?} at {procs}: (place, allocated, freed): {counted:?}; the last of {} bytes",
                BYTES.load(Ordering::SeqCst)
            );
            // The storm's own: it was armed.
            assert!(counted[ELSEWHERE].1 > 1_000 && counted[ELSEWHERE].2 > 1_000, "{counted:?}");
        }
    }
}

/// A program's handler that does what it must not: gort's calls it, wherever the signal has struck.
extern "C" fn allocates(_number: libc::c_int) {
    // SAFETY: not of size 0.
    let block = black_box(unsafe { std::alloc::alloc(black_box(DECOY_LAYOUT)) });
    // SAFETY: allocated above with this layout.
    unsafe { std::alloc::dealloc(block, black_box(DECOY_LAYOUT)) };
}

#[test]
fn the_counters_can_count() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Child::new("the_counters_can_count", "control").succeeds(|| {
        // SAFETY: an all-zero sigaction is a valid value.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = allocates as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the handler has the one-argument form, and its allocations end at the decoy.
        assert_eq!(unsafe { libc::sigaction(libc::SIGURG, &action, ptr::null_mut()) }, 0);
        watch_a_storm(Setting::new(2, Mode::PerWorker), true, Duration::from_millis(80));
        let counted = counted();
        println!("{counted:?}");
        assert!(counted.iter().all(|&(_, allocated, freed)| allocated > 0 && freed > 0), "{counted:?}");
    });
}
