//! The list of waiters: what every primitive of this crate is built on.
//!
//! A [`Monitor`] is a lock, a state that it guards, and two FIFO lists of those who wait for a change of
//! that state (most primitives need one; a channel has receivers in the first and senders in the second).
//! A waiter's node lies in the waiter's own frame: nothing here allocates, ever.
//!
//! ```text
//!   Monitor ─ lock
//!           ─ state
//!           ─ first:  head ──> node <──> node <── tail        node: links
//!           ─ second: head ──> node <── tail                        sleeper: who, which of its sleeps
//!                               │                                   slot ──> Option<V>: what is handed over
//!                               └─ in the frame of the goroutine that sleeps
//! ```
//!
//! # How it goes
//!
//! *To wait*: lock, look at the state, [`Locked::wait`]. It begins the sleep, links a node and frees the
//! lock, in this order: nobody has to look twice.
//!
//! *To wake*: lock, change the state, take the first node off the list, exchange values through its slot,
//! try to end its sleep ([`Sleeper::end`]). If that comes too late, the values are put back and the next
//! node's turn comes. When the lock is free again, drop the [`Ended`]: that queues the goroutine
//! ([`Locked::free_and_let_go`] does both, in one section).
//!
//! # Invariants
//!
//! 1. Links, sleeper, flags and slot of a linked node are touched under the monitor's lock only.
//! 2. A node is linked in at most one list, and stays where it is while it is. It leaves the list in one of
//!    two ways, both under the lock: whoever wakes takes it off the front, or its owner takes it out.
//! 3. A waiter leaves its frame, and touches its slot again, only after its sleep was ended by `end`, or
//!    after it has itself held the lock and seen that its node is not linked. So whoever holds the lock
//!    and has a node from the list may write the slot, until its own `end` has succeeded; from then on
//!    it touches neither.
//! 4. Of all who try to end one sleep (wakers of this list or, in a `select`, of several, and the
//!    deadline) one succeeds: the word of the goroutine decides (`gort_runtime::waiter`).
//! 5. A slot changes hands by moves: nothing is dropped, and no code of `V` runs, under the lock.
//! 6. The lists do not leave their monitor (they are private to this file), so a node's list stays put.
//!
//! # The races
//!
//! - *Deadline against waker.* The waker has the node off the list and has written the slot, but the
//!   deadline has ended the sleep: `end` fails, the waker takes its value back, all under one hold of the
//!   lock. The waiter, timed out, needs the lock before it leaves: it finds its node unlinked and its slot
//!   as it was. The other way round: the waker's `end` succeeds, the timer loses and touches nothing.
//! - *Waker against the sleeper's start.* Cannot be: the node is linked after the sleep has begun, and an
//!   `end` before the stack is left is the business of the goroutine's word.
//! - *Waker against the frame's end.* The sleeper may run as soon as `end` succeeds, also before the waker
//!   frees the lock. It does not need the lock then, and the waker does not need the node any more.
//! - *Select.* One sleeper has nodes in many lists. Two wakers of different lists may both write the slot
//!   of their node, each under its own lock; one `end` succeeds, the other takes back. The waiter looks at
//!   each node under that node's lock: exactly one says that it was ended.
//! - *Last look.* A timed-out waiter's node may stay in front for a moment. It is skipped by who wakes, but
//!   [`Queue::front`] shows it; who depends on it acts again when the waiter has left
//!   ([`Waited::TimedOut`] comes with the lock held).
//!
//! Runs on goroutine stacks and on foreign threads.
//!
//! *Rejected:* the claim before the exchange (`waiter::Claim`): safe without a lock, but costs the waker
//! three atomic operations on the goroutine's word instead of one. One list type with the lock outside:
//! safe code could then swap two lists under their waiters.
#![allow(unsafe_code, reason = "nodes lie in their waiters' frames")]

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::time::Instant;

use gort_runtime::waiter::{Ended, RawLock, Section, Sleeper, Slept, WaitFor, sleep_in};

/// A lock, the state that it guards, and who waits for it: in the first list for an exchange of an
/// `Option<A>`, in the second of an `Option<B>`.
pub(crate) struct Monitor<S, A, B = ()> {
    lock: RawLock,
    inner: UnsafeCell<Inner<S>>,
    payload: PhantomData<(A, B)>,
}

struct Inner<S> {
    state: S,
    first: List,
    second: List,
}

// SAFETY: the lock lets one thread at a time reach the state and the slots; state and what is exchanged
// may change threads. The nodes' pointers are followed under the lock only (invariant 1).
unsafe impl<S: Send, A: Send, B: Send> Send for Monitor<S, A, B> {}
// SAFETY: as above.
unsafe impl<S: Send, A: Send, B: Send> Sync for Monitor<S, A, B> {}

/// A held [`Monitor`]: derefs to the state. While it lives nothing may suspend, allocate, free or run
/// foreign code.
pub(crate) struct Locked<'a, S, A, B = ()> {
    // Dropped in this order.
    held: Held<'a, S, A, B>,
    section: Section,
}

/// As [`Locked`], in a section that somebody else keeps.
pub(crate) struct Held<'a, S, A, B>(&'a Monitor<S, A, B>);

/// One of the two lists, under the lock.
pub(crate) struct Queue<'a, V> {
    list: &'a mut List,
    payload: PhantomData<V>,
}

/// How a [`Locked::wait`] ended.
#[must_use]
pub(crate) enum Waited<'a, S, A, B = ()> {
    /// Somebody has ended it, and left in the slot what there was to leave.
    Ended,
    /// The deadline passed first. Nobody has touched the slot. The monitor is held again.
    TimedOut(Locked<'a, S, A, B>),
    /// It could not begin (`Slept::Again`): lock, and look at the state anew.
    Again,
}

/// At which end of its list a waiter joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind all others.
    Back,
    /// Before all others: for one who has waited already, in vain.
    Front,
}

/// Which list: [`First`] or [`Second`].
pub(crate) trait Side<A, B> {
    /// What is exchanged through the slots of its nodes.
    type Payload;
    /// The list.
    fn of<'q, S>(held: &'q mut Held<'_, S, A, B>) -> Queue<'q, Self::Payload>;
}

/// The first list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First;

/// The second list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Second;

impl<A, B> Side<A, B> for First {
    type Payload = A;
    #[inline(always)]
    fn of<'q, S>(held: &'q mut Held<'_, S, A, B>) -> Queue<'q, A> {
        held.split().1
    }
}

impl<A, B> Side<A, B> for Second {
    type Payload = B;
    #[inline(always)]
    fn of<'q, S>(held: &'q mut Held<'_, S, A, B>) -> Queue<'q, B> {
        held.split().2
    }
}

impl<S, A, B> Monitor<S, A, B> {
    /// Nobody waits.
    pub(crate) const fn new(state: S) -> Self {
        let inner = Inner { state, first: List::new(), second: List::new() };
        Monitor { lock: RawLock::new(), inner: UnsafeCell::new(inner), payload: PhantomData }
    }

    /// Waits for the lock.
    #[inline(always)]
    pub(crate) fn lock(&self) -> Locked<'_, S, A, B> {
        let section = Section::enter();
        Locked { held: self.hold(&section), section }
    }

    /// Waits for the lock, in a section that must last as long as what is returned.
    #[inline(always)]
    pub(crate) fn hold(&self, section: &Section) -> Held<'_, S, A, B> {
        self.lock.lock(section);
        Held(self)
    }

    /// Ends the sleep of all who wait in the list of `side`, in order, with nothing in their slots. `lock` is
    /// taken several times; it ends if nobody new waits meanwhile.
    pub(crate) fn end_all<Q: Side<A, B>>(&self, _: Q) {
        loop {
            let mut locked = self.lock();
            let mut ended = [const { None }; 16];
            for place in &mut ended {
                *place = Q::of(&mut locked.held).end();
            }
            drop(locked);
            if ended[15].is_none() {
                return;
            }
            // The sleepers go on here, in their order.
        }
    }

    /// Ends the sleep of those who wait in front of the first list, in order, as long as `goes` says of what
    /// the first has in its slot that it is to go; the slots are empty then. The lock is taken several times.
    pub(crate) fn end_while(&self, goes: impl Fn(&A) -> bool)
    where
        A: Copy,
    {
        loop {
            let mut locked = self.lock();
            let mut queue = locked.first();
            let mut ended = [const { None }; 16];
            for place in &mut ended {
                if !queue.front().is_some_and(&goes) {
                    // Free it first: who goes on may need it.
                    drop(locked);
                    return;
                }
                *place = queue.take_front().and_then(|(_, ended)| ended);
            }
            drop(locked);
        }
    }
}

impl<'a, S, A, B> Locked<'a, S, A, B> {
    /// The state and both lists.
    #[inline(always)]
    pub(crate) fn split(&mut self) -> (&mut S, Queue<'_, A>, Queue<'_, B>) {
        self.held.split()
    }

    /// The first list.
    #[inline(always)]
    pub(crate) fn first(&mut self) -> Queue<'_, A> {
        self.held.split().1
    }

    /// The second list.
    #[inline(always)]
    pub(crate) fn second(&mut self) -> Queue<'_, B> {
        self.held.split().2
    }

    /// Frees the lock, then lets go on who was `ended` under it.
    #[inline(always)]
    pub(crate) fn free_and_let_go(self, ended: Option<Ended>) {
        let Locked { held, section } = self;
        drop(held);
        if let Some(ended) = ended {
            ended.let_go(&section);
        }
    }

    /// Frees the lock and waits in the list of `side` until somebody ends that, or until `deadline`. Meanwhile
    /// wakers may exchange what is in `slot`.
    #[inline]
    pub(crate) fn wait<'w, Q: Side<A, B>>(
        self,
        side: Q,
        wait_for: impl Into<WaitFor<'w>>,
        deadline: Option<Instant>,
        slot: &mut Option<Q::Payload>,
    ) -> Waited<'a, S, A, B> {
        self.wait_at(side, Place::Back, wait_for, deadline, slot, || ())
    }

    /// As [`wait`](Self::wait), at either end of the list; `then` runs when the lock is free, and the wait is
    /// known to others: it must not suspend.
    #[inline]
    pub(crate) fn wait_at<'w, Q: Side<A, B>>(
        self,
        _: Q,
        place: Place,
        wait_for: impl Into<WaitFor<'w>>,
        deadline: Option<Instant>,
        slot: &mut Option<Q::Payload>,
        then: impl FnOnce(),
    ) -> Waited<'a, S, A, B> {
        let Locked { mut held, section } = self;
        let monitor = held.0;
        let node = Node::new();
        let slot: *mut Option<Q::Payload> = slot;
        let slept = sleep_in(section, wait_for, deadline, |sleeper| {
            // SAFETY: the node and the slot stay in this frame, and the slot untouched, until the sleep was
            // ended, or the node is seen to be unlinked below (invariant 3). `held` is dropped at the end
            // of this closure, before which nobody can have seen the node.
            unsafe { Q::of(&mut held).link_at(place, &node, slot, sleeper) };
            drop(held);
            then();
        });
        match slept {
            Slept::Ended => Waited::Ended,
            Slept::Again => Waited::Again,
            Slept::TimedOut => {
                let mut locked = monitor.lock();
                // SAFETY: if it is linked, it is in this list.
                unsafe { Q::of(&mut locked.held).unlink(&node) };
                Waited::TimedOut(locked)
            }
        }
    }
}

impl<S, A, B> Deref for Locked<'_, S, A, B> {
    type Target = S;
    #[inline(always)]
    fn deref(&self) -> &S {
        // SAFETY: `held` is the exclusive right to the inner state.
        unsafe { &(*self.held.0.inner.get()).state }
    }
}

impl<S, A, B> DerefMut for Locked<'_, S, A, B> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut S {
        self.held.split().0
    }
}

impl<'a, S, A, B> Held<'a, S, A, B> {
    /// The right of who holds the lock already by a [`Held`] that was forgotten. Its drop frees nothing.
    ///
    /// # Safety
    ///
    /// The caller holds the lock, and has no other `Held` or `Locked` of this monitor in use.
    #[inline(always)]
    pub(crate) unsafe fn assume(monitor: &'a Monitor<S, A, B>) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Held(monitor))
    }

    /// The state and both lists.
    #[inline(always)]
    pub(crate) fn split(&mut self) -> (&mut S, Queue<'_, A>, Queue<'_, B>) {
        // SAFETY: a `Held` exists only while the lock is held, once; `&mut self` is the only path.
        let Inner { state, first, second } = unsafe { &mut *self.0.inner.get() };
        (state, Queue { list: first, payload: PhantomData }, Queue { list: second, payload: PhantomData })
    }
}

impl<S, A, B> Drop for Held<'_, S, A, B> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.lock.unlock();
    }
}

impl<V> Queue<'_, V> {
    /// Does nobody wait? (Who has timed out and has not left yet counts.)
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.head.is_null()
    }

    /// What the first waiter has in its slot. It may have timed out.
    pub(crate) fn front(&self) -> Option<&V> {
        // SAFETY: a linked node is alive, its slot ours under the lock (invariants 1 and 3).
        unsafe { (*self.list.head.as_ref()?.slot.get().cast::<Option<V>>()).as_ref() }
    }

    /// Ends the first sleep that is not over, with the slot as it is.
    #[inline]
    pub(crate) fn end(&mut self) -> Option<Ended> {
        while let Some(node) = self.list.pop() {
            if let Some(ended) = node.end() {
                return Some(ended);
            }
        }
        None
    }

    /// Ends the first sleep that is not over, and leaves `value` in its slot, which is empty. Nobody waits:
    /// gives the value back.
    #[inline]
    pub(crate) fn hand(&mut self, value: V) -> Result<Ended, V> {
        let mut value = value;
        while let Some(node) = self.list.pop() {
            let slot = node.slot.get().cast::<Option<V>>();
            // SAFETY: invariant 3: until `end` succeeds the slot is ours. It is empty: nothing is dropped.
            unsafe { slot.write(Some(value)) };
            match node.end() {
                Some(ended) => return Ok(ended),
                // SAFETY: `end` has failed: the waiter needs the lock to go on, the slot is still ours, and
                // what it holds is what was written.
                None => value = unsafe { slot.replace(None).unwrap_unchecked() },
            }
        }
        Err(value)
    }

    /// Ends the first sleep that is not over, and takes what is in its slot.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<(V, Ended)> {
        while let Some(node) = self.list.pop() {
            let slot = node.slot.get().cast::<Option<V>>();
            // SAFETY: as in `hand`.
            let value = unsafe { slot.replace(None) }.expect("who waits to give has something to give");
            match node.end() {
                Some(ended) => return Some((value, ended)),
                // SAFETY: `end` has failed: the slot is still ours. It is empty: nothing is dropped.
                None => unsafe { slot.write(Some(value)) },
            }
        }
        None
    }

    /// Takes the first node off, and ends its sleep if that is not over: for who has looked at
    /// [`front`](Self::front) and means that one. Gives what was in its slot, which is empty then.
    pub(crate) fn take_front(&mut self) -> Option<(V, Option<Ended>)>
    where
        V: Copy,
    {
        let node = self.list.pop()?;
        let slot = node.slot.get().cast::<Option<V>>();
        // SAFETY: as in `hand`.
        let value = unsafe { slot.replace(None) }.expect("who is shown has something in its slot");
        let ended = node.end();
        if ended.is_none() {
            // SAFETY: `end` has failed: the slot is still ours. It is empty: nothing is dropped.
            unsafe { slot.write(Some(value)) };
        }
        Some((value, ended))
    }

    /// Links a node at the end.
    ///
    /// # Safety
    ///
    /// The node is not linked, and invariants 2 and 3 are kept for it and for `slot` from now on.
    #[inline(always)]
    pub(crate) unsafe fn link(&mut self, node: &Node, slot: *mut Option<V>, sleeper: Sleeper) {
        // SAFETY: the caller's promise.
        unsafe { self.link_at(Place::Back, node, slot, sleeper) };
    }

    /// Links a node at either end.
    ///
    /// # Safety
    ///
    /// As for [`link`](Self::link).
    #[inline(always)]
    unsafe fn link_at(&mut self, place: Place, node: &Node, slot: *mut Option<V>, sleeper: Sleeper) {
        node.slot.set(slot.cast());
        node.sleeper.set(Some(sleeper));
        match place {
            Place::Back => self.list.push(node),
            Place::Front => self.list.push_front(node),
        }
    }

    /// Takes a node out, if it is linked. True if its sleep was ended through it.
    ///
    /// # Safety
    ///
    /// The node has been linked in this list and in no other since.
    pub(crate) unsafe fn unlink(&mut self, node: &Node) -> bool {
        if node.is_linked.get() {
            self.list.remove(node);
        }
        node.was_ended.get()
    }
}

/// One waiter in one list.
pub(crate) struct Node {
    prev: Cell<*const Node>,
    next: Cell<*const Node>,
    sleeper: Cell<Option<Sleeper>>,
    /// To an `Option` of what the list's nodes exchange.
    slot: Cell<*mut ()>,
    is_linked: Cell<bool>,
    /// The sleep was ended through this node.
    was_ended: Cell<bool>,
}

impl Node {
    /// A node that is not linked.
    pub(crate) const fn new() -> Self {
        Node {
            prev: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            sleeper: Cell::new(None),
            slot: Cell::new(ptr::null_mut()),
            is_linked: Cell::new(false),
            was_ended: Cell::new(false),
        }
    }

    /// Tries to end the sleep of a node that was taken off its list just now. If it succeeds, the node may be
    /// gone.
    #[inline(always)]
    fn end(&self) -> Option<Ended> {
        let sleeper = self.sleeper.get()?;
        self.was_ended.set(true);
        let ended = sleeper.end();
        if ended.is_none() {
            self.was_ended.set(false);
        }
        ended
    }
}

/// Doubly linked. Its nodes' frames keep them alive while they are linked (invariant 3).
struct List {
    head: *const Node,
    tail: *const Node,
}

impl List {
    const fn new() -> Self {
        List { head: ptr::null(), tail: ptr::null() }
    }

    #[inline(always)]
    fn push(&mut self, node: &Node) {
        node.is_linked.set(true);
        node.was_ended.set(false);
        node.next.set(ptr::null());
        node.prev.set(self.tail);
        // SAFETY: null, or a linked node (invariant 3).
        match unsafe { self.tail.as_ref() } {
            Some(last) => last.next.set(node),
            None => self.head = node,
        }
        self.tail = node;
    }

    fn push_front(&mut self, node: &Node) {
        node.is_linked.set(true);
        node.was_ended.set(false);
        node.prev.set(ptr::null());
        node.next.set(self.head);
        // SAFETY: null, or a linked node (invariant 3).
        match unsafe { self.head.as_ref() } {
            Some(first) => first.prev.set(node),
            None => self.tail = node,
        }
        self.head = node;
    }

    /// The first node, which may be used until its sleep is ended.
    #[inline(always)]
    fn pop<'n>(&mut self) -> Option<&'n Node> {
        // SAFETY: null, or a linked node, whose frame stays until its sleep is ended or its owner has held
        // the lock, which the caller has (invariant 3).
        let node = unsafe { self.head.as_ref()? };
        self.remove(node);
        Some(node)
    }

    #[inline(always)]
    fn remove(&mut self, node: &Node) {
        let (prev, next) = (node.prev.get(), node.next.get());
        // SAFETY: null, or a linked node (invariant 3).
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.next.set(next),
            None => self.head = next,
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.prev.set(prev),
            None => self.tail = prev,
        }
        node.is_linked.set(false);
    }
}

impl<S, A, B> fmt::Debug for Monitor<S, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("lock", &self.lock).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
