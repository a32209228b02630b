//! F9h. `join` and `join_then`.
//!
//! # Algorithm
//!
//! ```text
//!   push    record at head <- b;  head += 64          (head >= limit: `open`, and perhaps `fork_slowly`)
//!   run a
//!   pop     head -= 64;  was the branch offered to anybody?
//!             no:  run b                              the usual way
//!             yes: `regain`: take it back, or wait for whoever runs it
//! ```
//!
//! On the usual way there is no fence, no read-modify-write, no call but those of `a` and `b`. That is sound
//! because until somebody asks only this thread touches the pile: this code, and a signal handler, which
//! finds a record either complete or not there (`pile`, invariant 3).
//!
//! # Invariants
//!
//! 1. A join does not return or unwind before its record is popped and `b` is the owner's again or has ended:
//!    so what `b` borrows outlives it.
//! 2. `a` runs on the goroutine that called, whatever thread that is on afterwards: what belongs to the thread
//!    (the pile's word, M, P) is read again behind it; the record's address stays.
//! 3. A panic of `a` is caught before the join waits for `b`: a goroutine that panics keeps its thread
//!    (`park`, invariant 3), to which `b` may be bound.

use std::hint;
use std::panic::{self, AssertUnwindSafe, Location};
use std::ptr::{self, NonNull};
use std::sync::atomic::{Ordering, compiler_fence};

use super::open::{self, FOREIGN, FULL, NO_MEMORY, OFFER_THIS, here};
use super::record::{Payload, RECORD_BYTES, Record, drop_quietly, fits};
use super::word::{Ending, Whereabouts};
use crate::cur::{self, ForkBlock, NoPreempt};
use crate::g::wait::WaitReason;
use crate::m::M;
use crate::park;
use crate::runtime;
use crate::sched::Sched;
use crate::sys::clock::NEVER;

/// Runs `a` and `b`, perhaps at the same time, and returns both results.
///
/// `a` runs on the calling goroutine, at once. `b` runs behind it on the same goroutine, as a plain call, unless
/// meanwhile another processor has asked for work: then it runs there, on a goroutine of its own. So a join
/// that nobody needs costs about as much as two calls, and a recursion may join at every level, without a
/// size below which it would stop.
///
/// A stolen `b` has its own [`current`](crate::current) and its own [`local`](crate::local) values, which are
/// dropped when its goroutine ends: perhaps only after the join has returned.
///
/// # Blocking
///
/// Both branches may block, as any goroutine may: where `a` waits (parks, sleeps, yields), `b` is free for others
/// to run, so `a` may wait for `b`, and `b` for `a`, at one processor, too. A join whose `b` runs elsewhere blocks
/// its goroutine until `b` has ended; it never runs anything else meanwhile on top of it, so it may hold a lock.
/// A join that need not wait is a plain call: it neither gives way nor stops with its runtime.
///
/// By default a goroutine stays on its thread: a branch that blocks the *thread* (spins, or waits for a lock of
/// std's) holds up the goroutines that have started there. A branch that spins until the other one has done
/// something needs a second processor, and is helped after some milliseconds, if it makes no call.
///
/// On a thread that is no goroutine the whole join runs on a goroutine of the process-wide runtime, which is
/// started if need be, and the thread waits. If the goroutine's runtime has been shut down before `b` ended,
/// this never returns.
///
/// # Panics
///
/// With the payload of `a`, if `a` panics; then `b` is dropped, if it has not begun, else waited for. With the
/// payload of `b`, if only `b` panics. If both do, the payload of `a` goes on, and that of `b` is dropped.
/// Also if there is no memory for the records of a deep recursion; and on a thread, if there is no runtime.
///
/// # Examples
///
/// ```
/// fn sum(numbers: &[u64]) -> u64 {
///     if numbers.len() < 2 {
///         return numbers.iter().sum();
///     }
///     let (left, right) = numbers.split_at(numbers.len() / 2);
///     let (left, right) = gort_runtime::join(|| sum(left), || sum(right));
///     left + right
/// }
/// let numbers: Vec<u64> = (1..=1000).collect();
/// assert_eq!(gort_runtime::run(|| sum(&numbers)), 500_500);
/// ```
#[inline(always)]
#[track_caller]
pub fn join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    join_then(a, b, |a, b| (a, b))
}

/// As [`join`], and gives both results to `then`, which runs on the caller.
///
/// The same as calling `then` behind `join`, but faster where the function ends with it: the compiler can turn
/// the second branch of a recursion into a loop, as it does with plain calls. (Write `move` before closures that
/// capture numbers.)
///
/// # Blocking
///
/// As [`join`].
///
/// # Panics
///
/// As [`join`]; and with what `then` panics with.
///
/// # Examples
///
/// ```
/// use gort_runtime::join_then;
///
/// fn fib(n: u64) -> u64 {
///     if n < 2 { n } else { join_then(move || fib(n - 1), move || fib(n - 2), |a, b| a + b) }
/// }
/// assert_eq!(gort_runtime::run(|| fib(20)), 6765);
/// ```
#[inline(always)]
#[track_caller]
pub fn join_then<A, B, RA, RB, R>(a: A, b: B, then: impl FnOnce(RA, RB) -> R) -> R
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    if const { fits::<B, RB>() } {
        return fork(a, b, then);
    }
    // Too large for a record: both stay in this frame.
    let (mut branch, mut result) = (Kept(Some(b)), Kept(None));
    let a = fork(a, || result.0 = branch.0.take().map(|b| b()), |a, ()| a);
    then(a, result.0.take().expect("a branch that was not dropped has run"))
}

/// A branch or a result in the frame of its join: if that panics, it is dropped as those in records are.
struct Kept<T>(Option<T>);

impl<T> Drop for Kept<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            drop_quietly(value);
        }
    }
}

/// Would a fork be looked at at once: has somebody asked for work, or has the goroutine not forked before?
#[inline]
pub(crate) fn is_wanted() -> bool {
    let (_, _, limit) = cur::fork_block();
    // SAFETY: as in `fork`.
    unsafe { (*limit).load(Ordering::Relaxed) == 0 }
}

/// Joins more than two branches: evaluates to the tuple of their results, in order.
///
/// The branches are expressions that may be called once: `join!(|| a(), || b(), || c())` is
/// `join(|| a(), || join(|| b(), || c()))`, with a flat tuple. The expressions are evaluated by the caller, in
/// order, before any branch runs.
///
/// # Examples
///
/// ```
/// let sums = gort_runtime::run(|| gort_runtime::join!(|| 1 + 1, || 2 + 2, || 3 + 3));
/// assert_eq!(sums, (2, 4, 6));
/// ```
#[macro_export]
macro_rules! join {
    ($a:expr $(,)?) => {
        (($a)(),)
    };
    ($a:expr, $b:expr $(,)?) => {
        $crate::join($a, $b)
    };
    ($a:expr, $b:expr, $c:expr $(,)?) => {
        match ($a, $b, $c) {
            (a, b, c) => {
                let (a, (b, c)) = $crate::join(a, move || $crate::join(b, c));
                (a, b, c)
            }
        }
    };
    ($a:expr, $b:expr, $c:expr, $d:expr $(,)?) => {
        match ($a, $b, $c, $d) {
            (a, b, c, d) => {
                let ((a, b), (c, d)) = $crate::join(move || $crate::join(a, b), move || $crate::join(c, d));
                (a, b, c, d)
            }
        }
    };
    ($a:expr, $b:expr, $c:expr, $d:expr, $e:expr $(,)?) => {
        match ($a, $b, $c, $d, $e) {
            (a, b, c, d, e) => {
                let ((a, b), (c, d, e)) =
                    $crate::join(move || $crate::join(a, b), move || $crate::join!(c, d, e));
                (a, b, c, d, e)
            }
        }
    };
    ($a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr $(,)?) => {
        match ($a, $b, $c, $d, $e, $f) {
            (a, b, c, d, e, f) => {
                let ((a, b, c), (d, e, f)) =
                    $crate::join(move || $crate::join!(a, b, c), move || $crate::join!(d, e, f));
                (a, b, c, d, e, f)
            }
        }
    };
}

/// Both, where `b` and its result fit into a record.
#[inline(always)]
#[track_caller]
fn fork<A, B, RA, RB, R>(a: A, b: B, then: impl FnOnce(RA, RB) -> R) -> R
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    let (block, mut head, limit) = cur::fork_block();
    // SAFETY: the running goroutine's, or the zero of other threads: both are always there. Relaxed: a request
    // that comes late is seen at the next fork.
    if head >= unsafe { (*limit).load(Ordering::Relaxed) } {
        hint::cold_path();
        head = open::call_open();
        if head % RECORD_BYTES != 0 {
            // What is lent to a call lies in memory, on the usual way, too: so lend copies. (nqueens, whose branches
            // capture four numbers: 1.5 times serial, with copies 1.25.)
            let (a, b) = fork_slowly(hint::black_box(a), hint::black_box(b), head);
            return then(a, b);
        }
    }
    // SAFETY: there is room, and we are on a goroutine.
    unsafe {
        push(block, head, b);
        run_pushed::<A, B, RA, RB, R>(head, a, then)
    }
}

/// Pushes `b` at `head`.
///
/// # Safety
///
/// The caller is a goroutine; `head` is its pile's head, with room for a record; `b` and its result fit.
#[inline(always)]
unsafe fn push<B, RB>(block: ForkBlock, head: usize, b: B)
where
    B: FnOnce() -> RB,
{
    // SAFETY: the caller's promise.
    unsafe { Record::write(record_at(head), b, open::address_of::<B, RB>()) };
    block.set_head(head + RECORD_BYTES);
    compiler_fence(Ordering::SeqCst);
}

/// Runs `a`, pops the record at `head`, runs `b` or waits for it.
///
/// # Safety
///
/// The record was pushed there by the caller, for a `B` with result `RB`.
#[inline(always)]
unsafe fn run_pushed<A, B, RA, RB, R>(head: usize, a: A, then: impl FnOnce(RA, RB) -> R) -> R
where
    A: FnOnce() -> RA,
    B: FnOnce() -> RB,
{
    let a = match panic::catch_unwind(AssertUnwindSafe(a)) {
        Ok(a) => a,
        // SAFETY: the caller's promise.
        Err(payload) => return unsafe { forsake::<B, RB, R>(head, payload) },
    };
    let record = record_at(head);
    cur::set_fork_head(head);
    compiler_fence(Ordering::SeqCst);
    // SAFETY: records are type-stable.
    if !unsafe { record.as_ref() }.word.is_mine() {
        // SAFETY: popped.
        let b = unsafe { settle::<B, RB>(record) };
        return then(a, b);
    }
    // SAFETY: nobody has been offered it, and it is popped: ours.
    let b = unsafe { Record::take::<B>(record) };
    then(a, b())
}

/// The record that lies there.
#[inline(always)]
fn record_at(head: usize) -> NonNull<Record> {
    let record = ptr::with_exposed_provenance_mut(head);
    // SAFETY: heads lie in chunks, never at 0.
    unsafe { NonNull::new_unchecked(record) }
}

/// A fork that is not the usual one, as `opened` says.
#[cold]
#[inline(never)]
#[track_caller]
fn fork_slowly<A, B, RA, RB>(a: A, b: B, opened: usize) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    if opened & FOREIGN != 0 {
        let sched = runtime::current_or_start().unwrap_or_else(|error| panic!("cannot start gort: {error}"));
        return runtime::run_on(sched, Location::caller(), |_| (), || fork(a, b, |a, b| (a, b)));
    }
    assert!(opened & NO_MEMORY == 0, "no memory for the records of a join");
    let _back = (opened & FULL != 0).then(Excursion::begin);
    let (block, head, _) = cur::fork_block();
    // SAFETY: there is room, if need be in the further chunk, and we are on a goroutine.
    unsafe { push(block, head, b) };
    if opened & OFFER_THIS != 0 {
        let _section = NoPreempt::enter();
        if let (Some((p, g)), Some(m)) = (here(), M::current()) {
            Sched::of_m(m).promote_oldest(p, g);
        }
    }
    // SAFETY: pushed above.
    unsafe { run_pushed::<A, B, RA, RB, _>(head, a, |a, b| (a, b)) }
}

/// A stay in the chunk behind the one that is full.
struct Excursion;

impl Excursion {
    fn begin() -> Self {
        let _section = NoPreempt::enter();
        if let Some((_, g)) = here() {
            g.pile.enter_spare();
        }
        Excursion
    }
}

impl Drop for Excursion {
    fn drop(&mut self) {
        let _section = NoPreempt::enter();
        if let Some((_, g)) = here() {
            g.pile.leave_spare();
        }
    }
}

/// Gets the result of a popped branch that others have seen.
///
/// # Safety
///
/// The record is the caller's, pushed for a `B` with result `RB`, and popped.
#[cold]
#[inline(never)]
unsafe fn settle<B, RB>(record: NonNull<Record>) -> RB
where
    B: FnOnce() -> RB,
{
    match regain(record) {
        // SAFETY: ours again, not run.
        None => (unsafe { Record::take::<B>(record) })(),
        // SAFETY: it has ended so.
        Some(Ending::Done) => unsafe { take_ended(record) },
        Some(Ending::Panicked) => {
            // SAFETY: it has ended so.
            panic::resume_unwind(unsafe { take_ended::<Payload>(record) })
        }
    }
}

/// `a` has panicked: pops the record, drops `b` or what it has left, goes on with the panic.
///
/// Never returns, but the compiler must not know: where a landing pad has no way to the end of its function, LLVM
/// saves registers before the function's first instruction, in the leaves of a recursion, too, which do not
/// fork (`join` of fib 2.05 times serial, with it 1.86).
///
/// # Safety
///
/// The record at `head` is the caller's, pushed for a `B` with result `RB`.
#[cold]
#[inline(never)]
unsafe fn forsake<B, RB, R>(head: usize, payload: Payload) -> R
where
    B: FnOnce() -> RB,
{
    let record = record_at(head);
    cur::set_fork_head(head);
    compiler_fence(Ordering::SeqCst);
    match regain(record) {
        // SAFETY: ours again, not run.
        None => drop_quietly(unsafe { Record::take::<B>(record) }),
        // SAFETY: it has ended so.
        Some(Ending::Done) => drop_quietly(unsafe { take_ended::<RB>(record) }),
        // SAFETY: it has ended so.
        Some(Ending::Panicked) => drop_quietly(unsafe { take_ended::<Payload>(record) }),
    }
    let resume: fn(Payload) -> R = |payload| panic::resume_unwind(payload);
    hint::black_box(resume)(payload)
}

/// Takes what a branch has left, and makes the record latent.
///
/// # Safety
///
/// It has ended, and has left a `T`.
unsafe fn take_ended<T>(record: NonNull<Record>) -> T {
    // SAFETY: the caller's promise; taken once.
    let value = unsafe { Record::take::<T>(record) };
    // SAFETY: records are type-stable.
    unsafe { record.as_ref() }.word.clear();
    value
}

/// Gets a popped branch back (`None`), or waits until it has ended elsewhere.
fn regain(record: NonNull<Record>) -> Option<Ending> {
    // SAFETY: records are type-stable.
    let word = unsafe { &record.as_ref().word };
    if word.is_mine() {
        return None;
    }
    {
        let _section = NoPreempt::enter();
        if let Some((_, g)) = here() {
            g.pile.unsplit(record);
        }
    }
    let ending = loop {
        match word.reclaim() {
            Whereabouts::Here => break None,
            Whereabouts::Ended(ending) => break Some(ending),
            Whereabouts::Away => {
                // Whoever ends the branch reads the token from this frame, which stays until then.
                let mut place = None;
                let _ = park::wait(WaitReason::Join, NEVER, |token| {
                    word.register(NonNull::from(place.insert(token)).cast())
                });
            }
        }
    };
    let _section = NoPreempt::enter();
    if let Some((p, _)) = here() {
        Sched::judge_fork(p, ending.is_none());
    }
    ending
}
