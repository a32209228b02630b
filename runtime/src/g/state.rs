//! F3. The status word of whoever can wait: a goroutine, or a foreign thread's parker.
//!
//! # The word
//!
//! `ticket << 8 | status`. The *ticket* counts the waits of this word and never goes back, not even when
//! the slot is born again as another goroutine: so a waker that holds (word, ticket) and comes too late
//! (a timer, a poller, a sender that lost the race) finds another ticket and loses. The word lies in
//! memory that is never unmapped, so coming late is harmless.
//!
//! | status | meaning | set by | from |
//! |---|---|---|---|
//! | `Dead` 0 | no goroutine (all-zero memory is a dead one) | its worker, at the end | Running |
//! | `New` 1 | born, has never run; may be stolen in every mode | the spawner | Dead |
//! | `Runnable` 2 | in a queue, or about to be put there by whoever made it so | the waker; its worker (yield) | Parking, Claimed, Left, Waiting; Running |
//! | `Running` 3 | some worker runs it | that worker; itself, when it need not wait after all | New, Runnable; Parking |
//! | `Parking` 4 | has begun wait number *ticket*, is still on its stack | itself | Running |
//! | `Waiting` 5 | the same, and its worker has left its stack | its worker | Parking |
//! | `Claimed` 6 | a waker has won it while it was Parking, and is writing its slot | the waker | Parking |
//! | `Left` 7 | as Claimed, and nobody is on its stack any more | the waker; its worker | Waiting; Claimed |
//!
//! # The race of the early wake
//!
//! The goroutine publishes its wait while it still stands on its own stack. A waker that comes before the
//! worker has left that stack must not queue it: two threads would run on one stack. So:
//!
//! - `claim`: Parking → Claimed, or Waiting → Left. One compare-exchange decides among all wakers.
//! - `left_stack` (the worker, after the switch): Parking → Waiting, it sleeps; Claimed → Left, the waker
//!   will queue it; Runnable: the waker has finished already, the worker queues it.
//! - `make_ready` (the waker, after it has written the slot): Claimed → Runnable, the worker will queue
//!   it; Left → Runnable, the waker queues it.
//!
//! In every interleaving exactly one of the two queues it, after both are done: the loom models at the
//! end of this file enumerate them. No lock crosses the switch, no callback runs on another's stack.
//!
//! Foreign threads use the same word without `Waiting`/`Left`: nobody leaves a thread's stack.
#![forbid(unsafe_code)]

use crate::prim::atomic::{AtomicU64, Ordering};

const STATUS_BITS: u32 = 8;
const STATUS_MASK: u64 = (1 << STATUS_BITS) - 1;

/// See the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Dead = 0,
    New = 1,
    Runnable = 2,
    Running = 3,
    Parking = 4,
    Waiting = 5,
    Claimed = 6,
    Left = 7,
}

/// The number of one wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl Ticket {
    /// As a word, to be stored where a waker finds it.
    pub(crate) fn to_raw(self) -> u64 {
        self.0
    }

    /// The inverse of [`to_raw`](Self::to_raw).
    pub(crate) fn from_raw(raw: u64) -> Self {
        Ticket(raw)
    }
}

/// What the worker has to do with a goroutine whose stack it has just left.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterLeaving {
    /// Nothing: it waits, or its waker will queue it.
    Nothing,
    /// Queue it: its waker came early.
    Queue,
}

/// What the waker has to do with a goroutine that it has made ready.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterReady {
    /// Nothing: the worker that is about to leave its stack will queue it.
    Nothing,
    /// Queue it.
    Queue,
}

/// The word.
#[derive(Debug)]
pub(crate) struct State(AtomicU64);

impl State {
    /// A dead word whose first ticket is 1.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        State(AtomicU64::new(0))
    }

    /// A dead word whose first ticket is 1.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        State(AtomicU64::new(0))
    }

    #[inline(always)]
    fn word(ticket: u64, status: Status) -> u64 {
        (ticket << STATUS_BITS) | status as u64
    }

    /// The status now. Relaxed: for reports and for the owner itself.
    pub(crate) fn status(&self) -> Status {
        Self::status_of(self.0.load(Ordering::Relaxed))
    }

    fn status_of(word: u64) -> Status {
        match word & STATUS_MASK {
            0 => Status::Dead,
            1 => Status::New,
            2 => Status::Runnable,
            3 => Status::Running,
            4 => Status::Parking,
            5 => Status::Waiting,
            6 => Status::Claimed,
            _ => Status::Left,
        }
    }

    /// The current or last ticket. Relaxed: for the owner, and for the trimmer's "has it moved?".
    #[inline(always)]
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.0.load(Ordering::Relaxed) >> STATUS_BITS)
    }

    /// Plain transition by the exclusive owner, which keeps the ticket. While the status is Dead, New,
    /// Runnable or Running nobody else writes: claims need Parking or Waiting and the right ticket.
    #[inline(always)]
    fn set(&self, status: Status) {
        let ticket = self.ticket().0;
        // Release: who reads this status with Acquire sees what led to it. (A plain move on x86.)
        self.0.store(Self::word(ticket, status), Ordering::Release);
    }

    /// Dead → New, by the spawner. Takes a ticket, so that waits of the former goroutine are stale.
    #[inline(always)]
    pub(crate) fn be_born(&self) {
        let ticket = self.ticket().0 + 1;
        self.0.store(Self::word(ticket, Status::New), Ordering::Release);
    }

    /// → Running, by the worker that is about to resume it, or by itself when it need not wait.
    #[inline(always)]
    pub(crate) fn set_running(&self) {
        self.set(Status::Running);
    }

    /// Running → Runnable, by its worker after it left the stack to let others run.
    #[inline(always)]
    pub(crate) fn set_runnable(&self) {
        self.set(Status::Runnable);
    }

    /// Running → Dead, by its worker after the stack's last use.
    #[inline(always)]
    pub(crate) fn set_dead(&self) {
        self.set(Status::Dead);
    }

    /// Running → Parking: begins a wait, before its ticket is published anywhere.
    #[inline(always)]
    pub(crate) fn begin_park(&self) -> Ticket {
        let ticket = self.ticket().0 + 1;
        // Release: with whatever publishes the ticket, makes the waiter's frame visible to a claimer
        // (pairs with the Acquire in `claim`).
        self.0.store(Self::word(ticket, Status::Parking), Ordering::Release);
        Ticket(ticket)
    }

    /// Is the wait over before the stack was left? Then it is Running again, without a switch.
    #[inline(always)]
    pub(crate) fn try_unpark_self(&self) -> bool {
        // Acquire: pairs with the Release in `make_ready`: the waker's slot is written.
        let word = self.0.load(Ordering::Acquire);
        let ready = word & STATUS_MASK == Status::Runnable as u64;
        if ready {
            self.set_running();
        }
        ready
    }

    /// Gives up a wait that may have been published: true if nobody has claimed it (it is Running again),
    /// false if a waker has won and will make it ready.
    pub(crate) fn try_cancel_park(&self, ticket: Ticket) -> bool {
        let parking = Self::word(ticket.0, Status::Parking);
        let running = Self::word(ticket.0, Status::Running);
        // Acquire on failure: pairs with `claim`; AcqRel on success keeps this one link of a chain.
        self.0.compare_exchange(parking, running, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The worker has left the stack of a goroutine that parks.
    #[inline(always)]
    pub(crate) fn left_stack(&self) -> AfterLeaving {
        let ticket = self.ticket().0;
        let parking = Self::word(ticket, Status::Parking);
        let waiting = Self::word(ticket, Status::Waiting);
        // Release: the stack's contents are complete for whoever resumes it; pairs with the Acquire in
        // `claim`. Acquire on failure: pairs with `make_ready`.
        match self.0.compare_exchange(parking, waiting, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => AfterLeaving::Nothing,
            Err(word) => self.left_stack_of_claimed(word),
        }
    }

    #[cold]
    fn left_stack_of_claimed(&self, word: u64) -> AfterLeaving {
        let ticket = word >> STATUS_BITS;
        let claimed = Self::word(ticket, Status::Claimed);
        let left = Self::word(ticket, Status::Left);
        // As in `left_stack`: Release for the stack, Acquire for the slot.
        match self.0.compare_exchange(claimed, left, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => AfterLeaving::Nothing,
            Err(_) => AfterLeaving::Queue,
        }
    }

    /// Wins wait number `ticket`, or finds it decided. The winner, and nobody else, may write the
    /// waiter's frame, and must then call [`make_ready`](Self::make_ready).
    #[inline]
    pub(crate) fn claim(&self, ticket: Ticket) -> bool {
        let parking = Self::word(ticket.0, Status::Parking);
        let waiting = Self::word(ticket.0, Status::Waiting);
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let won = if word == waiting {
                Self::word(ticket.0, Status::Left)
            } else if word == parking {
                Self::word(ticket.0, Status::Claimed)
            } else {
                return false;
            };
            // Acquire: pairs with the Releases in `begin_park` and `left_stack`: the frame is visible.
            match self.0.compare_exchange_weak(word, won, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// The winner has written what it had to: the wait is over.
    #[inline]
    pub(crate) fn make_ready(&self) -> AfterReady {
        let ticket = self.ticket().0;
        let claimed = Self::word(ticket, Status::Claimed);
        let runnable = Self::word(ticket, Status::Runnable);
        // Look first: mostly it is Left already, and a locked instruction costs 5 ns. Acquire: the stack was
        // left; pairs with `left_stack`.
        // Release: the slot is visible to the woken; pairs with the Acquires in `left_stack` and
        // `try_unpark_self`. Acquire on failure: as the look's.
        let word = self.0.load(Ordering::Acquire);
        if word == claimed
            && self.0.compare_exchange(claimed, runnable, Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            return AfterReady::Nothing;
        }
        debug_assert_eq!(self.status(), Status::Left, "made ready by nobody who claimed it");
        // Left: it is ours alone. The queue's own Release publishes it further.
        self.0.store(runnable, Ordering::Release);
        AfterReady::Queue
    }

    /// `claim` and `make_ready` in one step, for wakers that write no slot. `None`: lost.
    #[inline]
    pub(crate) fn wake(&self, ticket: Ticket) -> Option<AfterReady> {
        let waiting = Self::word(ticket.0, Status::Waiting);
        let parking = Self::word(ticket.0, Status::Parking);
        let runnable = Self::word(ticket.0, Status::Runnable);
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let after = if word == waiting {
                AfterReady::Queue
            } else if word == parking {
                AfterReady::Nothing
            } else {
                return None;
            };
            // AcqRel: as `claim` and `make_ready` together.
            match self.0.compare_exchange_weak(word, runnable, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(after),
                Err(now) => word = now,
            }
        }
    }

    /// Waiting → Parking, by a monitor that wants the role of the worker for a moment (to trim the
    /// stack). It must call [`left_stack`](Self::left_stack) afterwards and heed the answer.
    pub(crate) fn borrow_waiting(&self, ticket: Ticket) -> bool {
        let waiting = Self::word(ticket.0, Status::Waiting);
        let parking = Self::word(ticket.0, Status::Parking);
        // Acquire: pairs with the Release in `left_stack`: the saved stack pointer is visible.
        self.0.compare_exchange(waiting, parking, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn running() -> State {
        let state = State::new();
        state.be_born();
        state.set_running();
        state
    }

    #[test]
    fn a_late_wake_loses() {
        let state = running();
        let first = state.begin_park();
        assert_eq!(state.left_stack(), AfterLeaving::Nothing);
        assert_eq!(state.wake(first), Some(AfterReady::Queue));
        state.set_running();
        assert_eq!(state.wake(first), None, "the wait is over");
        let second = state.begin_park();
        assert!(!state.claim(first), "a stale ticket");
        assert_eq!(state.wake(second), Some(AfterReady::Nothing));
        assert!(state.try_unpark_self());
    }

    #[test]
    fn tickets_outlive_the_goroutine() {
        let state = running();
        let ticket = state.begin_park();
        assert!(state.try_cancel_park(ticket));
        state.set_dead();
        state.be_born();
        state.set_running();
        state.begin_park();
        assert_eq!(state.wake(ticket), None, "the ticket of another life");
    }

    #[test]
    fn a_claim_before_the_switch_leaves_the_queueing_to_the_worker() {
        let state = running();
        let ticket = state.begin_park();
        assert!(state.claim(ticket));
        assert!(!state.claim(ticket), "one winner");
        assert_eq!(state.make_ready(), AfterReady::Nothing);
        assert_eq!(state.left_stack(), AfterLeaving::Queue);
    }

    #[test]
    fn a_claim_across_the_switch_leaves_the_queueing_to_the_waker() {
        let state = running();
        let ticket = state.begin_park();
        assert!(state.claim(ticket));
        assert_eq!(state.left_stack(), AfterLeaving::Nothing);
        assert_eq!(state.make_ready(), AfterReady::Queue);
    }

    #[test]
    fn a_borrowed_goroutine_can_be_woken_meanwhile() {
        let state = running();
        let ticket = state.begin_park();
        assert_eq!(state.left_stack(), AfterLeaving::Nothing);
        assert!(state.borrow_waiting(ticket));
        assert_eq!(state.wake(ticket), Some(AfterReady::Nothing));
        assert_eq!(state.left_stack(), AfterLeaving::Queue, "the borrower queues it");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;

    /// One goroutine with one wait, its slot, and how often it was queued.
    struct Model {
        state: State,
        slot: AtomicUsize,
        queued: AtomicUsize,
        /// 1 while somebody stands on its stack.
        on_stack: AtomicUsize,
    }

    fn model() -> (Arc<Model>, Ticket) {
        let model = Model {
            state: State::new(),
            slot: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            on_stack: AtomicUsize::new(1),
        };
        model.state.be_born();
        model.state.set_running();
        let ticket = model.state.begin_park();
        (Arc::new(model), ticket)
    }

    /// Whoever queues it: must find it off its stack.
    fn queue(model: &Model) {
        assert_eq!(model.on_stack.load(Ordering::Relaxed), 0, "queued while somebody is on its stack");
        model.queued.fetch_add(1, Ordering::Relaxed);
    }

    fn sender(model: &Model, ticket: Ticket, value: usize) -> bool {
        if !model.state.claim(ticket) {
            return false;
        }
        model.slot.store(value, Ordering::Relaxed);
        if model.state.make_ready() == AfterReady::Queue {
            queue(model);
        }
        true
    }

    fn worker(model: &Model) {
        model.on_stack.store(0, Ordering::Relaxed);
        if model.state.left_stack() == AfterLeaving::Queue {
            queue(model);
        }
    }

    /// Two senders and the worker: one sender wins, the goroutine is queued once, off its stack, and the
    /// slot holds the winner's value.
    #[test]
    fn loom_two_senders_and_the_switch() {
        loom::model(|| {
            let (model, ticket) = model();
            let (a, b) = (model.clone(), model.clone());
            let a = loom::thread::spawn(move || sender(&a, ticket, 1));
            let b = loom::thread::spawn(move || sender(&b, ticket, 2));
            worker(&model);
            let (a, b) = (a.join().expect("sender"), b.join().expect("sender"));
            assert!(a ^ b, "exactly one winner");
            assert_eq!(model.queued.load(Ordering::Relaxed), 1, "queued exactly once");
            assert_eq!(model.slot.load(Ordering::Relaxed), if a { 1 } else { 2 });
            assert_eq!(model.state.status(), Status::Runnable);
        });
    }

    /// A waker without a slot races with a sender.
    #[test]
    fn loom_wake_against_claim() {
        loom::model(|| {
            let (model, ticket) = model();
            let (a, b) = (model.clone(), model.clone());
            let a = loom::thread::spawn(move || sender(&a, ticket, 1));
            let b = loom::thread::spawn(move || match b.state.wake(ticket) {
                Some(AfterReady::Queue) => {
                    queue(&b);
                    true
                }
                Some(AfterReady::Nothing) => true,
                None => false,
            });
            worker(&model);
            assert!(a.join().expect("sender") ^ b.join().expect("waker"));
            assert_eq!(model.queued.load(Ordering::Relaxed), 1);
        });
    }

    /// The trimmer borrows a waiting goroutine while a sender wakes it: still queued exactly once, and
    /// never while the trimmer is at work.
    #[test]
    fn loom_trim_against_wake() {
        loom::model(|| {
            let (model, ticket) = model();
            worker(&model);
            let a = model.clone();
            let a = loom::thread::spawn(move || sender(&a, ticket, 1));
            if model.state.borrow_waiting(ticket) {
                model.on_stack.store(1, Ordering::Relaxed);
                worker(&model);
            }
            assert!(a.join().expect("sender"));
            assert_eq!(model.queued.load(Ordering::Relaxed), 1);
        });
    }

    /// The waiter takes its wait back (a timeout on a foreign thread) while a sender claims it.
    #[test]
    fn loom_cancel_against_claim() {
        loom::model(|| {
            let (model, ticket) = model();
            let a = model.clone();
            let a = loom::thread::spawn(move || {
                let won = a.state.claim(ticket);
                if won {
                    a.slot.store(1, Ordering::Relaxed);
                    let _ = a.state.make_ready();
                }
                won
            });
            let cancelled = model.state.try_cancel_park(ticket);
            let won = a.join().expect("sender");
            assert!(cancelled ^ won, "either the waiter or the sender has it");
        });
    }
}
