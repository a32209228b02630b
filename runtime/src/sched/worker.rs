//! F7. The life of an M's thread, and the creator, which makes them.
//!
//! # Why a creator
//!
//! Making a thread allocates, so neither the scheduler nor sysmon nor a signal handler may do it
//! (`sched`, invariant 2): they ask, and the creator, one thread of each runtime, makes an M ahead of
//! need: so that one is always idle, to spare. The first M is made by whoever starts
//! the runtime, so that an error can be told.
//!
//! # Threads
//!
//! `gort-m0`, `gort-m1`, ... are the workers, `gort-creator` and `gort-sysmon` the helpers. When the
//! runtime stops, each ends as it comes through its loop. Two kinds go to sleep for ever instead: those of
//! the process-wide runtime, for the process is about to exit; and workers on which goroutines had started
//! that have not ended: such a goroutine may have lent out a reference to a `thread_local!` of the thread
//! (to a goroutine of another runtime, say), so that must not be destroyed. `shutdown` counts them as
//! ended.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::Sched;
use crate::cur;
use crate::m::M;
use crate::sys::thread as os_thread;
use crate::sys::threads::Ours;
use crate::sys::{self, clock, futex, signal};
use crate::util::abort::AbortOnUnwind;

/// No runtime has more worker threads than this (Go's limit).
const MAX_MS: u32 = 10_000;

/// After a failure to make a thread the creator waits so long before it obeys again.
const RETRY_NS: u64 = 10_000_000;

/// What asks the creator for Ms.
#[derive(Debug)]
pub(crate) struct Creator {
    /// 1: an M is wanted. A futex.
    wanted: AtomicU32,
    /// Has a failure to make a thread been reported?
    complained: AtomicBool,
}

impl Creator {
    pub(crate) fn new() -> Self {
        Creator { wanted: AtomicU32::new(0), complained: AtomicBool::new(false) }
    }

    /// Asks for one more M: no M is idle. Safe on every stack.
    pub(crate) fn ask(&self) {
        // SeqCst: after what made the caller ask (or stop), before the creator's own swap.
        if self.wanted.swap(1, Ordering::SeqCst) == 0 {
            futex::wake(&self.wanted, 1);
        }
    }
}

impl Sched {
    /// Starts the first M, the creator and sysmon. On an error what was started ends again.
    pub(crate) fn start(&'static self, sysmon: fn(&'static Sched)) -> io::Result<()> {
        self.start_m()?;
        let helpers = self
            .start_thread("gort-creator".into(), move || {
                self.create();
                false
            })
            .and_then(|()| {
                self.start_thread("gort-sysmon".into(), move || {
                    sysmon(self);
                    false
                })
            });
        if helpers.is_err() {
            self.stop();
        }
        helpers
    }

    /// Makes an M and its thread. One thread at a time does: the starter, then the creator.
    fn start_m(&'static self) -> io::Result<()> {
        let id = self.ms_made.load(Ordering::Relaxed);
        let m: &'static M = Box::leak(Box::new(M::new(id, self.as_owner())));
        let before = self.newest_m.load(Ordering::Relaxed);
        m.made_before.store(before, Ordering::Relaxed);
        // Known before it runs: who stops the runtime wakes all Ms. Release: pairs with the Acquire in `ms`.
        self.newest_m.store(std::ptr::from_ref(m).cast_mut(), Ordering::Release);
        if let Err(error) = self.start_thread(format!("gort-m{id}"), move || self.work(m)) {
            m.word.set_dead();
            self.newest_m.store(before, Ordering::Release);
            return Err(error);
        }
        self.ms_made.store(id + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Starts a thread; `body` says whether it must not end, but sleep for ever.
    fn start_thread(
        &'static self,
        name: String,
        body: impl FnOnce() -> bool + Send + 'static,
    ) -> io::Result<()> {
        self.live_threads.fetch_add(1, Ordering::Relaxed);
        let started = thread::Builder::new().name(name).spawn(move || {
            let abort = AbortOnUnwind("a thread of the runtime");
            let ours = Ours::begin();
            let lingers = body();
            // Not dropped: a goroutine that was stopped while it panicked leaves the thread panicking.
            std::mem::forget(abort);
            // Release: pairs with the Acquire in `wait_stopped`: what the thread did is over.
            self.live_threads.fetch_sub(1, Ordering::Release);
            futex::wake(&self.live_threads, u32::MAX >> 1);
            if lingers || self.lingers.load(Ordering::Relaxed) {
                loop {
                    futex::wait(&self.live_threads, self.live_threads.load(Ordering::Relaxed));
                }
            }
            // Its thread-locals' destructors are anybody's code.
            drop(ours);
        });
        if let Err(error) = started {
            self.live_threads.fetch_sub(1, Ordering::Release);
            return Err(io::Error::new(
                error.kind(),
                format!("cannot start a thread of the goroutine runtime: {error}"),
            ));
        }
        Ok(())
    }

    /// The creator's loop.
    fn create(&'static self) {
        loop {
            // SeqCst: taken before anything is looked at: an ask that comes later finds 0, and wakes us.
            while self.creator.wanted.swap(0, Ordering::SeqCst) == 0 && !self.is_stopping() {
                futex::wait(&self.creator.wanted, 0);
            }
            if self.is_stopping() {
                return;
            }
            // An M that is idle, or is about to be, takes whatever was meant. There are never more Ms than hold a P, wait for one in a
            // queue or sleep beneath a goroutine, and one to spare.
            let made = self.ms_made.load(Ordering::Relaxed);
            if self.ms().any(M::is_available) || made >= MAX_MS {
                continue;
            }
            if let Err(error) = self.start_m() {
                if !self.creator.complained.swap(true, Ordering::Relaxed) {
                    sys::complain(&format!("gort: {error}; going on with {made} worker threads\n"));
                }
                // Nobody asks again for work that is queued already: ask ourselves, later.
                futex::wait_until(&self.creator.wanted, 0, clock::now_ns() + RETRY_NS);
                self.creator.ask();
            }
        }
    }

    /// The thread of an M. True: goroutines that have started there are leaked, and the thread must not end.
    fn work(&'static self, m: &'static M) -> bool {
        let stack = signal::AltStack::install();
        signal::unblock_publish();
        os_thread::set_exact_timers();
        // SAFETY: the M is this thread's alone, and never freed.
        unsafe { cur::set_head(m.head()) };
        m.tid.store(os_thread::current_tid(), Ordering::Release);
        while !self.is_stopping() {
            if m.p().is_some() {
                // It may have queued itself, and been given a P before it slept.
                m.word.set_running();
                self.schedule(m);
            } else if m.word.is_queued() {
                self.sleep(m);
            } else {
                self.idle(m);
            }
        }
        m.word.set_dead();
        if let Some(p) = m.let_go() {
            p.flush_stacks();
        }
        loop {
            let idle = self.take_idle_p(&mut self.lists.lock());
            let Some(p) = idle else { break };
            p.flush_stacks();
        }
        cur::clear_fork();
        // SAFETY: no M any more.
        unsafe { cur::set_head(std::ptr::null()) };
        drop(stack);
        m.bound_count.get() != 0
    }

    /// Tells everything that belongs to this runtime to end as it comes through its loop.
    pub(crate) fn stop(&'static self) {
        self.stopping.store(true, Ordering::SeqCst);
        for p in self.ps() {
            p.ask(crate::p::STOP);
        }
        self.creator.ask();
        self.wake_sysmon();
        self.wake_all();
    }

    /// Makes every M look around.
    fn wake_all(&'static self) {
        for m in self.ms() {
            m.wake();
        }
    }

    /// Waits until all threads have ended, or to the deadline: then false.
    pub(crate) fn wait_stopped(&'static self, deadline_ns: u64) -> bool {
        loop {
            // Acquire: pairs with the Release at each thread's end.
            let live = self.live_threads.load(Ordering::Acquire);
            if live == 0 {
                return true;
            }
            // Idle Ms may have gone to sleep after `stop` woken them.
            self.wake_all();
            let step = clock::now_ns() + RETRY_NS;
            if clock::now_ns() >= deadline_ns {
                return false;
            }
            futex::wait_until(&self.live_threads, live, step.min(deadline_ns));
        }
    }
}
