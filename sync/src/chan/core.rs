//! A channel's inside: what both ends share.
//!
//! # What it is
//!
//! One [`Monitor`](crate::wait_list::Monitor): its state is the buffer and whether the channel is closed;
//! receivers wait in its first list, senders in its second.
//!
//! # Invariants
//!
//! 1. If a receiver waits, the buffer is empty and no sender waits; if a sender waits, the buffer is full.
//!    (But for those who have timed out, or won elsewhere in a select, and have not left the list yet.)
//! 2. So a sender hands its value to the first receiver that waits, if there is one, else to the buffer; and
//!    a receiver that has taken from the buffer lets the first sender that waits into it. Values come out
//!    in the order in which they were sent.
//! 3. Once it is closed nothing enters: neither buffer nor receivers take a value, and nobody begins to
//!    wait. What is in the buffer can still be received, until the last receiver is gone.
//! 4. A value is moved under the lock, but not dropped there, and no memory is allocated or freed.
//! 5. Of a channel that never is ready, nobody is ever in a list.
//!
//! # The usual case
//!
//! A bounded buffer with room (or with a value in it), and nobody who waits on the other side: `send` and `recv`
//! do it inlined in their callers. All else is in `send_slowly` and `recv_slowly`, which begin with the lock
//! held.
//!
//! # Closing
//!
//! `close` sets the flag and then ends all who wait, if anybody does, some at a time: receivers find an empty slot, senders
//! find theirs still full. As nobody enters the lists any more, that ends. Who closes is the one who sets
//! the flag; the last sender and the last receiver close by their drop. The last receiver also takes the
//! buffer with it, and drops what is in it outside the lock: a `T` whose drop panics meets a channel
//! that is closed already and locked by nobody.
//!
//! Runs on goroutine stacks and on foreign threads.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvError;
use std::time::Instant;

use gort_runtime::waiter::{Ended, Section, Slept, WaitReason, sleep_in};

use super::buffer::{Buffer, Growth, Pushed};
use crate::wait_list::{First, Locked, Monitor, Queue, Second, Waited};

/// What is left in a receiver's slot; empty: the channel is closed.
pub(crate) type Received<T> = Result<T, RecvError>;

/// The monitor of a channel.
pub(crate) type ChanMonitor<T> = Monitor<State<T>, Received<T>, T>;

type ChanLocked<'a, T> = Locked<'a, State<T>, Received<T>, T>;

/// What both ends share. In this order: all that sends and receives touch lies together.
#[repr(C)]
pub(crate) struct Chan<T> {
    pub(crate) monitor: ChanMonitor<T>,
    /// Is it never ready (`never`)?
    is_never: bool,
    /// `None`: unbounded.
    capacity: Option<usize>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// What the lock guards.
pub(crate) struct State<T> {
    buffer: Buffer<T>,
    is_closed: bool,
}

/// What came of an attempt to send.
pub(crate) enum SendStep {
    /// The value is gone. Who is to be let go on, once the lock is free.
    Done(Option<Ended>),
    /// The channel is closed.
    Closed,
    /// One would have to wait.
    Full,
    /// Let the buffer grow, outside the lock (`Chan::tidy`), and come again.
    NeedsBlock,
}

/// What came of an attempt to receive.
pub(crate) enum RecvStep {
    /// The value is in the slot. Who is to be let go on, once the lock is free.
    Done(Option<Ended>),
    /// The channel is closed and empty.
    Closed,
    /// One would have to wait.
    Empty,
}

/// How long an operation may wait.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until the deadline, or for ever.
    Until(Option<Instant>),
}

/// Why an operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The channel is closed; to receive from: closed and empty.
    Closed,
    /// It could not be done in time.
    TimedOut,
}

impl<T> ChanLocked<'_, T> {
    /// The usual send, inlined into its callers: puts a value into a bounded buffer that has room. If anything else
    /// is to be done, gives the value back.
    #[inline(always)]
    fn put(&mut self, value: T) -> Result<(), T> {
        let (state, receivers, _) = self.split();
        if state.is_closed || !receivers.is_empty() { Err(value) } else { state.buffer.put(value) }
    }

    /// The usual receive, inlined into its callers: takes from a bounded buffer for which no sender waits. `None`
    /// if anything else is to be done.
    #[inline(always)]
    fn get(&mut self) -> Option<T> {
        let (state, _, senders) = self.split();
        if senders.is_empty() { state.buffer.get() } else { None }
    }
}

impl<T> State<T> {
    /// Sends the value that is in `slot`, if it can be done at once.
    #[inline(always)]
    pub(crate) fn send(&mut self, receivers: &mut Queue<'_, Received<T>>, slot: &mut Option<T>) -> SendStep {
        if self.is_closed {
            return SendStep::Closed;
        }
        if !receivers.is_empty()
            && let Some(value) = slot.take()
        {
            match receivers.hand(Ok(value)) {
                Ok(ended) => return SendStep::Done(Some(ended)),
                Err(back) => *slot = back.ok(),
            }
        }
        match self.buffer.push(slot) {
            Pushed::Done => SendStep::Done(None),
            Pushed::Full => SendStep::Full,
            Pushed::NeedsBlock => SendStep::NeedsBlock,
        }
    }

    /// Receives into `slot`, which is empty, if it can be done at once.
    #[inline(always)]
    pub(crate) fn recv(&mut self, senders: &mut Queue<'_, T>, slot: &mut Option<Received<T>>) -> RecvStep {
        let mut waker = None;
        let mut sent = None;
        if !self.is_closed
            && !senders.is_empty()
            && let Some((value, ended)) = senders.take()
        {
            sent = Some(value);
            waker = Some(ended);
        }
        match self.buffer.pop() {
            Some(value) => {
                *slot = Some(Ok(value));
                if sent.is_some() {
                    // A sender waits at a full buffer, which has room for one now. An unbounded one is
                    // never full.
                    let pushed = self.buffer.push(&mut sent);
                    debug_assert_eq!(pushed, Pushed::Done);
                }
            }
            None => match sent {
                Some(value) => *slot = Some(Ok(value)),
                None if self.is_closed => return RecvStep::Closed,
                None => return RecvStep::Empty,
            },
        }
        RecvStep::Done(waker)
    }

    /// Can something be sent at once, or be found to be impossible? A waiting receiver may turn out to have
    /// left.
    pub(crate) fn can_send(&self, receivers: &Queue<'_, Received<T>>) -> bool {
        self.is_closed || !receivers.is_empty() || self.buffer.has_room()
    }

    /// Can something be received at once, or be found to be impossible? A waiting sender may turn out to have
    /// left.
    pub(crate) fn can_recv(&self, senders: &Queue<'_, T>) -> bool {
        self.is_closed || !senders.is_empty() || self.buffer.len() > 0
    }

    /// Is there memory to free?
    pub(crate) fn has_garbage(&self) -> bool {
        self.buffer.has_garbage()
    }

    /// Memory that the last receive has emptied, to be freed outside the lock.
    #[inline(always)]
    pub(crate) fn take_garbage(&mut self) -> Option<VecDeque<T>> {
        self.buffer.take_garbage()
    }
}

impl<T> Chan<T> {
    /// Room for `capacity` values; `None`: for all.
    pub(super) fn new(capacity: Option<usize>) -> Self {
        let buffer = capacity.map_or_else(Buffer::unbounded, Buffer::bounded);
        Chan {
            monitor: Monitor::new(State { buffer, is_closed: false }),
            capacity,
            is_never: false,
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        }
    }

    /// A channel that never is ready.
    pub(super) fn never() -> Self {
        Chan { is_never: true, ..Chan::new(Some(0)) }
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    pub(crate) fn is_never(&self) -> bool {
        self.is_never
    }

    pub(super) fn len(&self) -> usize {
        self.monitor.lock().buffer.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.monitor.lock().is_closed
    }

    /// Sends a value; if it was not done, says why, and gives it back.
    #[inline(always)]
    pub(super) fn send(&self, value: T, patience: Patience) -> Result<(), (Failure, T)> {
        let mut locked = self.monitor.lock();
        let value = match locked.put(value) {
            Ok(()) => return Ok(()),
            Err(value) => value,
        };
        let mut slot = Some(value);
        let sent = self.send_slowly(locked, &mut slot, patience);
        sent.map_err(|failure| (failure, slot.expect("what was not sent is still there")))
    }

    /// As `send`, where more is to be done than to put the value into the buffer. The slot is empty afterwards, or
    /// it fails.
    #[inline(never)]
    fn send_slowly<'a>(
        &'a self,
        mut locked: ChanLocked<'a, T>,
        slot: &mut Option<T>,
        patience: Patience,
    ) -> Result<(), Failure> {
        loop {
            let (state, mut receivers, _) = locked.split();
            match state.send(&mut receivers, slot) {
                SendStep::Done(waker) => {
                    locked.free_and_let_go(waker);
                    return Ok(());
                }
                SendStep::Closed => return Err(Failure::Closed),
                SendStep::Full => {}
                SendStep::NeedsBlock => {
                    drop(locked);
                    self.tidy();
                    locked = self.monitor.lock();
                    continue;
                }
            }
            let Patience::Until(deadline) = patience else { return Err(Failure::TimedOut) };
            if self.is_never {
                drop(locked);
                return Err(self.wait_for_ever(deadline));
            }
            match locked.wait(Second, WaitReason::ChanSend.at(self), deadline, slot) {
                Waited::Ended if slot.is_none() => return Ok(()),
                Waited::Ended => return Err(Failure::Closed),
                Waited::TimedOut(_) => return Err(Failure::TimedOut),
                Waited::Again => locked = self.monitor.lock(),
            }
        }
    }

    /// Lets the buffer grow, if it has no room, and frees what it has emptied: outside the lock.
    #[cold]
    #[inline(never)]
    pub(crate) fn tidy(&self) {
        let mut growth = self.monitor.lock().buffer.growth_size().map(Growth::new);
        let mut locked = self.monitor.lock();
        if let Some(growth) = &mut growth {
            locked.buffer.grow(growth);
        }
        let garbage = locked.buffer.take_garbage();
        drop(locked);
        drop((growth, garbage));
    }

    /// Receives a value, or says why not.
    #[inline(always)]
    pub(super) fn recv(&self, patience: Patience) -> Result<T, Failure> {
        let mut locked = self.monitor.lock();
        if let Some(value) = locked.get() {
            return Ok(value);
        }
        let mut slot = None;
        self.recv_slowly(locked, &mut slot, patience)?;
        // (Nobody hands an error over.)
        slot.and_then(Result::ok).ok_or(Failure::Closed)
    }

    /// As `recv`, where more is to be done than to take a value from the buffer. The value is in the slot
    /// afterwards, or it fails.
    #[inline(never)]
    fn recv_slowly<'a>(
        &'a self,
        mut locked: ChanLocked<'a, T>,
        slot: &mut Option<Received<T>>,
        patience: Patience,
    ) -> Result<(), Failure> {
        loop {
            let (state, _, mut senders) = locked.split();
            match state.recv(&mut senders, slot) {
                RecvStep::Done(waker) => {
                    let garbage = state.take_garbage();
                    locked.free_and_let_go(waker);
                    drop(garbage);
                    return Ok(());
                }
                RecvStep::Closed => return Err(Failure::Closed),
                RecvStep::Empty => {}
            }
            let Patience::Until(deadline) = patience else { return Err(Failure::TimedOut) };
            if self.is_never {
                drop(locked);
                return Err(self.wait_for_ever(deadline));
            }
            match locked.wait(First, WaitReason::ChanReceive.at(self), deadline, slot) {
                Waited::Ended if slot.is_some() => return Ok(()),
                Waited::Ended => return Err(Failure::Closed),
                Waited::TimedOut(_) => return Err(Failure::TimedOut),
                Waited::Again => locked = self.monitor.lock(),
            }
        }
    }

    /// On a channel that never is ready: until the deadline.
    #[cold]
    #[inline(never)]
    fn wait_for_ever(&self, deadline: Option<Instant>) -> Failure {
        // Nobody has the sleeper, so nobody ends it.
        while sleep_in(Section::enter(), WaitReason::ChanNever.at(self), deadline, |_| ()) == Slept::Again {}
        Failure::TimedOut
    }

    /// Closes it; true if it was open.
    pub(super) fn close(&self) -> bool {
        if self.is_never {
            return false;
        }
        let mut locked = self.monitor.lock();
        let was_closed = std::mem::replace(&mut locked.is_closed, true);
        let (_, receivers, senders) = locked.split();
        let is_awaited = !receivers.is_empty() || !senders.is_empty();
        drop(locked);
        // (Nobody joins the lists any more.)
        if !was_closed && is_awaited {
            self.monitor.end_all(First);
            self.monitor.end_all(Second);
        }
        !was_closed
    }

    /// One more sender.
    pub(super) fn add_sender(&self) {
        // Relaxed: who clones an end has one, so the count is not 0.
        add_end(&self.senders);
    }

    /// One more receiver.
    pub(super) fn add_receiver(&self) {
        add_end(&self.receivers);
    }

    /// One sender less. The last one closes.
    pub(super) fn drop_sender(&self) {
        // Release and Acquire: what any sender did comes before the closing.
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }

    /// One receiver less. The last one closes, and drops what nobody can receive any more.
    pub(super) fn drop_receiver(&self) {
        // Release and Acquire: as in `drop_sender`.
        if self.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
            let unreceived = self.monitor.lock().buffer.take_all();
            drop(unreceived);
        }
    }
}

fn add_end(count: &AtomicUsize) {
    // Relaxed: who clones an end has one, so the count is not 0 and nobody acts upon it.
    let before = count.fetch_add(1, Ordering::Relaxed);
    // As Arc's count: so many ends do not fit into memory, unless they are leaked.
    if before > isize::MAX as usize {
        std::process::abort();
    }
}
