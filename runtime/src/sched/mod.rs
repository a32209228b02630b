//! F7. The scheduler: the only code that queues or runs a goroutine.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the shared record of one runtime |
//! | `ready` | puts a runnable goroutine on a queue |
//! | `publish` | what a P offers to others, and when |
//! | `promote` | offering the branches of forks, and beginning one |
//! | `find` | what a P runs next |
//! | `search` | taking work from other Ps |
//! | `run` | running it; what it asks for when it suspends |
//! | `idle` | going to sleep without losing work; waking |
//! | `linger` | staying awake for a moment before that |
//! | `census` | the counters of that, and the proof |
//! | `handoff` | giving a P to another M |
//! | `resize` | changing GOMAXPROCS |
//! | `timers` | firing what is due |
//! | `registry` | all runtimes of the process, for reports |
//! | `worker` | the life of an M's thread, and the creator that makes them |
//!
//! # Invariants
//!
//! 1. *One door* (ARCHITECTURE, Rule 1): event sources hand up what is runnable; only this folder queues or
//!    runs it.
//! 2. *On the scheduler stack*, in the signal handler and in sysmon nothing allocates, frees, runs foreign
//!    code or takes a lock that user code can hold (Rule 6): a frozen goroutine may hold malloc's.
//! 3. np is 1 on the scheduler stack (Rule 9); everything here is called with np 1.
//! 4. A `Sched` is never freed: leaked goroutines, late wakers and handles refer to it. A stopped one
//!    keeps a few kilobytes for each P that it had.

pub(crate) mod census;
#[cfg(not(loom))]
pub(crate) mod find;
#[cfg(not(loom))]
pub(crate) mod handoff;
#[cfg(not(loom))]
pub(crate) mod idle;
#[cfg(not(loom))]
pub(crate) mod linger;
#[cfg(not(loom))]
pub(crate) mod promote;
#[cfg(not(loom))]
pub(crate) mod publish;
#[cfg(not(loom))]
pub(crate) mod ready;
#[cfg(not(loom))]
pub(crate) mod registry;
#[cfg(not(loom))]
pub(crate) mod resize;
#[cfg(not(loom))]
pub(crate) mod run;
#[cfg(not(loom))]
pub(crate) mod search;
#[cfg(not(loom))]
pub(crate) mod timers;
#[cfg(not(loom))]
pub(crate) mod worker;

#[cfg(not(loom))]
pub use record::SpawnOrder;
#[cfg(not(loom))]
pub(crate) use record::{DeadlockAction, Sched, Settings};

#[cfg(not(loom))]
mod record {
    use std::ptr::{self, NonNull};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

    use super::census::Census;
    use super::idle::Lists;
    use super::worker::Creator;
    use crate::fork::record::Record;
    use crate::g::panicked::PanicPolicy;
    use crate::g::{G, GRef};
    use crate::identity::Mode;
    use crate::m::M;
    use crate::p::P;
    use crate::queue::Injector;
    use crate::stack::Class;
    use crate::sys::clock;
    use crate::util::lock::Lock;

    /// Which runs first, parent or child?
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum SpawnOrder {
        /// The child, at once; the parent's continuation is queued, and may be stolen. Only where the
        /// parent may change threads; a bound parent queues the child.
        #[default]
        ChildFirst,
        /// The parent; the child is queued: Go's order.
        ParentFirst,
    }

    /// Makes the goroutine that runs the branch of a claimed record. `None`: there is no memory for it.
    /// On the scheduler stack, by the owner of the P, which has been told to which goroutine the fork belongs.
    pub(crate) type BeginFork = fn(&'static Sched, &'static P, GRef, NonNull<Record>) -> Option<GRef>;

    /// What a runtime was asked to be.
    #[derive(Clone, Debug)]
    pub(crate) struct Settings {
        /// Processors at the start.
        pub(crate) procs: usize,
        /// Who may change threads.
        pub(crate) mode: Mode,
        /// Why it is not the mode that was asked for.
        pub(crate) mode_reason: Option<&'static str>,
        /// Who runs first.
        pub(crate) order: SpawnOrder,
        /// The size of a stack, where the goroutine does not say.
        pub(crate) class: Class,
        /// What follows a panic that nobody hears of.
        pub(crate) panic_policy: PanicPolicy,
        /// Are goroutines that are left behind reported?
        pub(crate) report_leaks: bool,
        /// Are threads reported that stand still beneath goroutines that are bound to them?
        pub(crate) report_standstill: bool,
        /// Where random choices begin.
        pub(crate) seed: u64,
        /// What to do when all goroutines are asleep.
        pub(crate) on_deadlock: DeadlockAction,
        /// Sysmon prints a line about the scheduler each time so many nanoseconds have passed; 0: never.
        pub(crate) trace_every_ns: u64,
    }

    /// What to do when all goroutines are asleep, and nobody can wake them.
    #[derive(Clone, Default)]
    pub(crate) enum DeadlockAction {
        /// Print who waits for what, and end the process.
        #[default]
        Exit,
        /// Nothing: somebody may wake them in a way that gort does not know.
        Ignore,
        /// Hand the report over.
        Call(Arc<dyn Fn(String) + Send + Sync>),
    }

    impl std::fmt::Debug for DeadlockAction {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(match self {
                DeadlockAction::Exit => "Exit",
                DeadlockAction::Ignore => "Ignore",
                DeadlockAction::Call(_) => "Call",
            })
        }
    }

    /// One runtime, as its Ms share it.
    #[derive(Debug)]
    pub(crate) struct Sched {
        pub(crate) settings: Settings,
        /// Makes a goroutine for a claimed fork. (What makes goroutines lies on a higher floor.)
        pub(crate) begin_fork: BeginFork,
        /// Made on demand, never unmade.
        ps: Box<[AtomicPtr<P>]>,
        ps_made: AtomicUsize,
        /// How many Ps may run: GOMAXPROCS.
        pub(crate) max_procs: AtomicUsize,
        pub(crate) census: Census,
        pub(crate) lists: Lock<Lists>,
        pub(crate) injector: Injector,
        pub(crate) stopping: AtomicBool,
        /// Do its threads sleep on at the end, instead of ending? (`worker`)
        pub(crate) lingers: AtomicBool,
        pub(crate) creator: Creator,
        /// What sysmon sleeps on: 1 while it is awake.
        pub(crate) sysmon_awake: AtomicU32,
        /// Threads of this runtime that are alive: Ms, creator, sysmon. A futex for `shutdown`.
        pub(crate) live_threads: AtomicU32,
        pub(crate) ms_made: AtomicU32,
        /// All Ms, newest first, through `made_before`.
        pub(crate) newest_m: AtomicPtr<M>,
        next_id: AtomicU64,
        /// Spawned by threads that hold no P.
        pub(crate) spawned_outside: AtomicU64,
        /// The number of the main goroutine of the last `run`, which reports show first; 0: none.
        pub(crate) main_id: AtomicU64,
        /// At which mark the handler was told of a deadlock (`deadlock`); 0: never.
        pub(crate) deadlock_told: AtomicU64,
        /// When it was made.
        pub(crate) born_ns: u64,
        /// The runtime listed before it (`registry`).
        pub(crate) listed_before: AtomicPtr<Sched>,
    }

    impl Sched {
        /// The record of a runtime that has no Ms yet; leaked (invariant 4).
        pub(crate) fn new(settings: Settings, begin_fork: BeginFork) -> &'static Sched {
            let mut ps = Vec::with_capacity(crate::config::MAX_PROCS);
            ps.resize_with(crate::config::MAX_PROCS, || AtomicPtr::new(ptr::null_mut()));
            let sched: &'static Sched = Box::leak(Box::new(Sched {
                ps: ps.into_boxed_slice(),
                ps_made: AtomicUsize::new(0),
                max_procs: AtomicUsize::new(settings.procs),
                census: Census::new(),
                lists: Lock::new(Lists::new()),
                injector: Injector::new(),
                stopping: AtomicBool::new(false),
                lingers: AtomicBool::new(false),
                creator: Creator::new(),
                sysmon_awake: AtomicU32::new(1),
                live_threads: AtomicU32::new(0),
                ms_made: AtomicU32::new(0),
                newest_m: AtomicPtr::new(ptr::null_mut()),
                next_id: AtomicU64::new(1),
                spawned_outside: AtomicU64::new(0),
                main_id: AtomicU64::new(0),
                deadlock_told: AtomicU64::new(0),
                born_ns: clock::now_ns(),
                listed_before: AtomicPtr::new(ptr::null_mut()),
                settings,
                begin_fork,
            }));
            // Sysmon has not ticked yet.
            clock::set_coarse(sched.born_ns);
            sched.make_ps(sched.settings.procs);
            super::registry::add(sched);
            sched
        }

        /// The scheduler of an M.
        #[inline(always)]
        pub(crate) fn of_m(m: &M) -> &'static Sched {
            // SAFETY: an M's owner is the `Sched` that made it, never freed (invariant 4).
            unsafe { &*m.owner.cast::<Sched>() }
        }

        /// The scheduler of a living or dead goroutine; `None` for memory that never held one.
        #[inline(always)]
        pub(crate) fn of_g(g: &G) -> Option<&'static Sched> {
            // SAFETY: as in `of_m`. Relaxed: set before the goroutine was published.
            unsafe { g.owner.load(Ordering::Relaxed).cast::<Sched>().as_ref() }
        }

        /// As others name it.
        pub(crate) fn as_owner(&'static self) -> crate::g::Owner {
            ptr::from_ref(self).cast()
        }

        /// Makes the first `count` Ps exist; the new ones are idle. Allocates, outside of the lock.
        pub(crate) fn make_ps(&'static self, count: usize) {
            loop {
                let id = self.ps_made();
                if id >= count {
                    return;
                }
                let seed = self.settings.seed.wrapping_add(id as u64 * 0x9e37_79b9);
                let p = Box::new(P::new(id as u32, seed));
                let mut lists = self.lists.lock();
                if self.ps_made() != id {
                    // Somebody else was faster. Freed outside of the lock.
                    drop(lists);
                    drop(p);
                    continue;
                }
                let p: &'static P = Box::leak(p);
                self.ps[id].store(ptr::from_ref(p).cast_mut(), Ordering::Release);
                // Release: pairs with the Acquire in `ps_made`.
                self.ps_made.store(id + 1, Ordering::Release);
                self.release_p(&mut lists, p);
            }
        }

        /// P number `id`, which exists.
        #[inline(always)]
        pub(crate) fn p(&self, id: usize) -> &'static P {
            // SAFETY: callers stay below `ps_made`; Ps are never freed. Acquire: pairs with `make_ps`.
            unsafe { &*self.ps[id].load(Ordering::Acquire) }
        }

        /// How many Ps exist, those above GOMAXPROCS included.
        #[inline(always)]
        pub(crate) fn ps_made(&self) -> usize {
            self.ps_made.load(Ordering::Acquire)
        }

        /// All Ps that exist.
        pub(crate) fn ps(&self) -> impl Iterator<Item = &'static P> + '_ {
            (0..self.ps_made()).map(|id| self.p(id))
        }

        /// All Ms, newest first.
        pub(crate) fn ms(&self) -> impl Iterator<Item = &'static M> + '_ {
            // Acquire: pairs with the Release in `worker::start_m`. SAFETY: Ms are never freed.
            let newest = unsafe { self.newest_m.load(Ordering::Acquire).as_ref() };
            // SAFETY: as above; the link was written before the M was published.
            std::iter::successors(newest, |m| unsafe { m.made_before.load(Ordering::Relaxed).as_ref() })
        }

        /// Is it shutting down?
        #[inline(always)]
        pub(crate) fn is_stopping(&self) -> bool {
            self.stopping.load(Ordering::Relaxed)
        }

        /// `count` goroutine numbers: the first of them.
        pub(crate) fn take_ids(&self, count: u64) -> u64 {
            self.next_id.fetch_add(count, Ordering::Relaxed)
        }

        /// How many goroutines have been spawned and have not ended. Exact when nothing runs; else the
        /// counters of the Ps are read one after another.
        pub(crate) fn living(&self) -> u64 {
            // Ended first: a goroutine that ends meanwhile is counted as living, never the reverse.
            let ended: u64 = self.ps().map(|p| p.counters.ended.load(Ordering::Acquire)).sum();
            let spawned: u64 = self.ps().map(|p| p.counters.spawned.load(Ordering::Acquire)).sum();
            (spawned + self.spawned_outside.load(Ordering::Acquire)).saturating_sub(ended)
        }
    }
}
