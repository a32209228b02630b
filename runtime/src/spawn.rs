//! F9b. Making a goroutine.
//!
//! # Layout of a new stack
//!
//! ```text
//!   low ........................ coroutine top | packet: the result | G | slot header
//!               closure, then frames   <------ |
//! ```
//!
//! The result's place (the *packet*) lies above the coroutine's stack in the same page, so that a spawn
//! allocates nothing: [`packet_of`] computes its address from the type. Closures and results larger than
//! [`INLINE_BYTES`] are boxed, so that they do not eat a small stack.
//!
//! # Invariants
//!
//! 1. The packet is written once, by the goroutine, before `Done` says ENDING or DONE; it is read or
//!    dropped once, by whom `g::done` names.
//! 2. Nothing unwinds out of the root function: user code is caught, and what runs after it aborts the
//!    process if it panics.

use std::any::Any;
use std::io;
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::coro::{Action, Coro};
use crate::cur::NoPreempt;
use crate::fork::chunk::Chunk;
use crate::g::panicked::Panicked;
use crate::g::{G, GRef};
use crate::identity::Mode;
use crate::local;
use crate::m::M;
use crate::p::{self, P};
use crate::panics;
use crate::park;
use crate::sched::ready::item_of;
use crate::sched::run::switch_out;
use crate::sched::{Sched, SpawnOrder};
use crate::scope::count::Count;
use crate::stack::{self, Class, Slot};
use crate::util::abort::{AbortOnUnwind, fatal};

/// What became of a goroutine's closure.
pub(crate) type Outcome<T> = Result<T, Box<dyn Any + Send + 'static>>;

/// Larger closures and results are boxed.
const INLINE_BYTES: usize = 512;

/// Goroutine numbers are handed to Ps in blocks of so many.
const ID_BLOCK: u64 = 128;

/// Is a result of this type boxed?
const fn is_boxed<T>() -> bool {
    size_of::<T>() > INLINE_BYTES || align_of::<T>() > 64
}

/// Where a goroutine leaves its result.
#[inline(always)]
pub(crate) fn packet_of<T>(g: GRef) -> *mut Outcome<T> {
    let top = g.slot().top();
    let place = (top - size_of::<Outcome<T>>()) & !(align_of::<Outcome<T>>().max(64) - 1);
    // Derived from the slot's own memory: the slab exposes it.
    ptr::with_exposed_provenance_mut(place)
}

/// A goroutine that was spawned: which, and which life of its slot.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) g: GRef,
    pub(crate) birth: u64,
    /// For the handle.
    pub(crate) name: Option<Arc<str>>,
}

/// What a goroutine shall be.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) class: Option<Class>,
    pub(crate) mode: Option<Mode>,
    /// The scope that waits for it; null: none.
    pub(crate) scope: *const Count,
}

impl Wish {
    /// A goroutine as the runtime makes them.
    pub(crate) const NOTHING: Wish = Wish { name: None, class: None, mode: None, scope: ptr::null() };
}

/// Spawns `f` in the runtime `sched`. What `f` borrows must outlive it: the callers see to that.
///
/// # Safety
///
/// `F` and `T` may be used on other threads, and everything that they borrow outlives the goroutine's
/// end as its handle or its scope tells it.
#[inline]
pub(crate) unsafe fn spawn_in<F, T>(
    sched: &'static Sched,
    wish: Wish,
    site: &'static Location<'static>,
    f: F,
) -> io::Result<Spawned>
where
    F: FnOnce() -> T,
{
    if size_of::<F>() > INLINE_BYTES || align_of::<F>() > 16 {
        let f = Box::new(f);
        // SAFETY: as the caller's.
        return unsafe { spawn_small(sched, wish, site, f) };
    }
    // SAFETY: as the caller's.
    unsafe { spawn_small(sched, wish, site, f) }
}

#[inline(always)]
unsafe fn spawn_small<F, T>(
    sched: &'static Sched,
    wish: Wish,
    site: &'static Location<'static>,
    f: F,
) -> io::Result<Spawned>
where
    F: FnOnce() -> T,
{
    if sched.is_stopping() {
        if M::current().is_some_and(|m| m.owner == sched.as_owner()) {
            park::stop_current();
        }
        return Err(stopped());
    }
    let class = wish.class.unwrap_or(sched.settings.class);
    let section = NoPreempt::enter();
    let here = M::current().filter(|m| m.owner == sched.as_owner()).and_then(|m| Some((m, m.p()?)));
    let slot = match here {
        Some((_, p)) if class == Class::DEFAULT => cached_slot(p).map_or_else(|| refill(p), Ok),
        _ => stack::alloc(class),
    };
    let slot = match slot {
        Ok(slot) => slot,
        Err(error) => {
            // The message is allocated outside the section.
            drop(section);
            return Err(error.into());
        }
    };
    // SAFETY: the slot is ours alone.
    let g = unsafe { G::of_slot(slot) };
    let mode = wish.mode.unwrap_or(sched.settings.mode);
    let id = match here {
        Some((_, p)) => next_id(sched, p),
        None => sched.take_ids(1),
    };
    // Before it runs: it may have ended when we come back.
    let spawned = Spawned { g, birth: g.unpark.birth(), name: wish.name.clone() };
    // SAFETY: ours alone, not yet queued.
    unsafe { set_up::<F, T>(g, slot, sched, mode, id, wish, site, f) };
    match here {
        Some((m, p)) => start_here(sched, section, m, p, g),
        None => {
            drop(section);
            start_from_outside(sched, g);
        }
    }
    Ok(spawned)
}

#[inline(always)]
pub(crate) fn cached_slot(p: &'static P) -> Option<Slot> {
    // SAFETY: the caller owns `p`, in a no-preempt section.
    unsafe { (*p.local.stacks.get()).get() }
}

#[cold]
pub(crate) fn refill(p: &'static P) -> Result<Slot, stack::Error> {
    // SAFETY: as in `cached_slot`.
    let stacks = unsafe { &mut *p.local.stacks.get() };
    stacks.refill()?;
    Ok(stacks.get().expect("refilled"))
}

#[inline(always)]
pub(crate) fn next_id(sched: &'static Sched, p: &'static P) -> u64 {
    let (next, end) = p.local.ids.get();
    let (next, end) = if next < end {
        (next, end)
    } else {
        let first = sched.take_ids(ID_BLOCK);
        (first, first + ID_BLOCK)
    };
    p.local.ids.set((next + 1, end));
    next
}

/// Fills in the record of a goroutine that is about to be born.
///
/// # Safety
///
/// The caller owns `slot`, on which nobody is, and `g` is its goroutine; otherwise as [`spawn_in`].
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "one caller; a struct would be taken apart at once")]
pub(crate) unsafe fn set_up<F, T>(
    g: GRef,
    slot: Slot,
    sched: &'static Sched,
    mode: Mode,
    id: u64,
    wish: Wish,
    site: &'static Location<'static>,
    f: F,
) where
    F: FnOnce() -> T,
{
    // First: whoever walks over all slots and finds it alive must find the right owner.
    g.owner.store(sched.as_owner().cast_mut(), Ordering::Relaxed);
    g.state.be_born();
    g.done.reset();
    g.free.set(mode.may_migrate());
    g.parent.set(ptr::null());
    g.locals.set(ptr::null_mut());
    g.id.store(id, Ordering::Relaxed);
    g.set_site(site);
    g.stack_low.store(slot.low(), Ordering::Relaxed);
    // SAFETY: the slot is ours alone; a former name was dropped with its goroutine.
    unsafe { g.name.get().write(wish.name) };
    let top = if is_boxed::<T>() { packet_of::<Box<T>>(g).addr() } else { packet_of::<T>(g).addr() };
    // SAFETY: the slot's stack lies below the packet, is guarded and unused; the root does not unwind.
    unsafe { Coro::start(g.coro.get(), slot.low(), top, move || root::<F, T>(g, wish.scope, f)) };
}

/// Runs a new goroutine, or queues it, on the worker that spawned it.
#[inline(always)]
fn start_here(sched: &'static Sched, section: NoPreempt, m: &'static M, p: &'static P, g: GRef) {
    // Relaxed add by the owner: see `p::count`.
    p::count(&p.counters.spawned, 1);
    // SAFETY: null or a G. The caller may be a goroutine (it is, but for the runtime's own start).
    let parent = unsafe { m.g.load(Ordering::Relaxed).as_ref() };
    match parent {
        Some(parent)
            if parent.free.get()
                && sched.settings.order == SpawnOrder::ChildFirst
                && !std::thread::panicking() =>
        {
            if section.is_nested() {
                fatal("a goroutine spawns where it must not suspend (while it publishes a waker)");
            }
            g.parent.set(parent);
            g.parent_resumes.set(parent.resumes.get());
            m.handed.set(Some(g));
            mem::forget(section);
            // SAFETY: the parent's own stack, np is 1, it is Running.
            unsafe { switch_out(parent, Action::Spawn) };
            // Perhaps another M: read again.
            M::current().expect("a goroutine runs on an M").head().set_np(0);
        }
        _ => {
            sched.push_cont(p, item_of(g));
            drop(section);
            park::checkpoint();
        }
    }
}

#[cold]
fn start_from_outside(sched: &'static Sched, g: GRef) {
    sched.spawned_outside.fetch_add(1, Ordering::Relaxed);
    sched.injector.push(item_of(g));
    sched.wake_one();
}

/// The first and last function on a goroutine's stack.
#[inline(always)]
fn root<F, T>(g: GRef, scope: *const Count, f: F)
where
    F: FnOnce() -> T,
{
    // np was 1 across the switch.
    M::current().expect("a goroutine runs on an M").head().set_np(0);
    let outcome = panic::catch_unwind(AssertUnwindSafe(f));
    let abort = AbortOnUnwind("the end of a goroutine (a destructor of a result or of a local value)");
    if is_boxed::<T>() {
        finish_root::<Box<T>>(g, scope, outcome.map(Box::new));
    } else {
        finish_root::<T>(g, scope, outcome);
    }
    // After the result, which may use them.
    drop_locals(g);
    // SAFETY: the name is the goroutine's alone.
    if unsafe { &*g.name.get() }.is_some() {
        drop(take_name(g));
    }
    if !scope.is_null() {
        // SAFETY: the scope waits for this goroutine, which leaves it once, having dropped what it had.
        unsafe { Count::leave(scope) };
    }
    mem::forget(abort);
    if g.forks.get() {
        give_chunks_back(g);
    }
    // From here on no signal may take the P: the worker counts on it. (The stack is left by returning.)
    M::current().expect("a goroutine runs on an M").head().set_np(1);
}

/// Takes the goroutine's name, as its last owner. In a section: a signal's handler may read the name of the
/// goroutine that it interrupts (`capture`).
#[cold]
fn take_name(g: GRef) -> Option<Arc<str>> {
    let _section = NoPreempt::enter();
    // SAFETY: as the caller's.
    unsafe { (*g.name.get()).take() }
}

/// It has forked: the memory of its records goes to others. Last, for destructors of results and of local
/// values may fork, too.
#[cold]
#[inline(never)]
fn give_chunks_back(g: GRef) {
    let _section = NoPreempt::enter();
    let p = M::current().and_then(M::p).expect("a running goroutine's M holds a P");
    g.forks.set(false);
    let mut chunk = g.pile.end();
    let mut is_first = true;
    // SAFETY: null, or a chunk of the pile that has ended: ours.
    while let Some(next) = unsafe { chunk.as_ref() }.map(|chunk| chunk.next.get()) {
        if !is_first {
            // SAFETY: no record is in use. It was a deep excursion: the memory is worth a system call.
            unsafe { Chunk::discard(chunk) };
        }
        // SAFETY: ours to give up; the P is ours in this section.
        unsafe { (*p.local.chunks.get()).give(chunk) };
        (chunk, is_first) = (next, false);
    }
}

/// Leaves the result where the handle's owner finds it, or drops it if there is none any more.
#[inline(always)]
fn finish_root<T>(g: GRef, scope: *const Count, outcome: Outcome<T>) {
    let panicked = outcome.is_err();
    let runs_code = mem::needs_drop::<T>() || panicked;
    match &outcome {
        Err(payload) => panics::at_root(g, &**payload),
        // SAFETY: the goroutine's own cell; nothing else holds a reference into it.
        Ok(_) if unsafe { (*g.panicked.as_ptr()).is_some() } => drop(g.panicked.take()),
        Ok(_) => {}
    }
    // SAFETY: the packet's memory lies above this stack, reserved for it (invariant 1).
    unsafe { packet_of::<T>(g).write(outcome) };
    if runs_code && !g.done.try_keep_result() {
        if panicked {
            // SAFETY: null, or a scope that waits for this goroutine.
            unwanted_panic(g, unsafe { scope.as_ref() });
        }
        // SAFETY: the handle is gone: nobody else will look.
        unsafe { packet_of::<T>(g).drop_in_place() };
    }
}

/// The goroutine has panicked, and nobody holds its handle.
#[cold]
fn unwanted_panic(g: GRef, scope: Option<&Count>) {
    let noted = g.panicked.take();
    match scope {
        Some(scope) => scope.note_panic(),
        None => {
            if noted.is_some() {
                // The policy is to end the process, after all destructors of the goroutine.
                drop_locals(g);
            }
            panics::unwanted(noted);
        }
    }
}

fn drop_locals(g: GRef) {
    if !g.locals.get().is_null() {
        local::drop_all(g);
    }
}

/// Takes the result of a goroutine that has ended, and frees its slot.
///
/// # Safety
///
/// The caller owns the handle, and `g.done.is_done()`.
#[inline(always)]
pub(crate) unsafe fn take_result<T>(g: GRef) -> Outcome<T> {
    // SAFETY: DONE: the packet is written, and ours to read, once.
    let outcome = unsafe { move_out::<T>(g) };
    if outcome.is_err() {
        drop(g.panicked.take());
    }
    // SAFETY: DONE: the worker has left the stack; the slot is ours to free.
    unsafe { free(g) };
    outcome
}

/// Takes the result of a goroutine whose handle is being dropped, and what is noted of its panic; the slot is
/// freed by the later of the caller and the worker.
///
/// # Safety
///
/// The caller owns the handle, and `g.done.detach()` has said `TakeResult`.
#[inline]
pub(crate) unsafe fn take_late<T>(g: GRef) -> (Outcome<T>, Option<Box<Panicked>>) {
    // SAFETY: ENDING or DONE: the packet is written, and ours to read, once.
    let taken = unsafe { move_out::<T>(g) };
    let noted = if taken.is_err() { g.panicked.take() } else { None };
    if g.done.leave() {
        // SAFETY: the worker has left the stack; the slot is ours to free.
        unsafe { free(g) };
    }
    (taken, noted)
}

/// Moves the result out of the slot.
#[inline(always)]
unsafe fn move_out<T>(g: GRef) -> Outcome<T> {
    if is_boxed::<T>() {
        // SAFETY: the caller's right; the type is what the root wrote.
        unsafe { packet_of::<Box<T>>(g).read() }.map(|boxed| *boxed)
    } else {
        // SAFETY: as above.
        unsafe { packet_of::<T>(g).read() }
    }
}

/// Frees the slot of an ended goroutine, from wherever its handle's owner is.
///
/// # Safety
///
/// The caller has the right to, by `g::done`; the result is gone.
#[inline(always)]
pub(crate) unsafe fn free(g: GRef) {
    let _section = NoPreempt::enter();
    match M::current().and_then(M::p) {
        Some(p) => crate::sched::run::free_slot(p, g),
        // SAFETY: the caller owns the slot.
        None => unsafe { stack::free(g.slot()) },
    }
}

/// Why nothing can be spawned any more.
pub(crate) fn stopped() -> io::Error {
    io::Error::other("the goroutine runtime has been shut down")
}
