//! One case of a select, without its type: an end of a channel, and the slot that goes with it.
//!
//! # Invariants
//!
//! 1. The slot of a case points to an `Option` of what its port exchanges (`T` for a sender,
//!    `Result<T, RecvError>` for a receiver), is exclusively the case's for its lifetime, and is made
//!    together with the port: [`Case::send`] and [`Case::recv`] are the only makers.
//! 2. While an [`AllHeld`] lives, the locks of the channels of its cases are held, and the caller is in a
//!    section.
//! 3. A linked node, and the slot, stay where they are until the node is unlinked under the lock.
//! 4. The addresses of channels are not 0, and those of different channels differ.
#![allow(unsafe_code, reason = "a slot without its type, a lock held beyond its scope")]

use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ptr;
use std::time::Instant;

use gort_runtime::waiter::{Ended, Section, Sleeper, Slept, WaitReason, sleep_in};

use crate::chan::core::{Chan, ChanMonitor, Received, RecvStep, SendStep, State};
use crate::chan::{Receiver, RecvError, Sender};
use crate::wait_list::{Held, Node};

/// A case.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    port: &'a dyn Port,
    /// Invariant 1.
    slot: *mut (),
    /// Where its channel lies.
    address: usize,
    /// Its number in the select.
    pub(super) index: usize,
    slots: PhantomData<&'a mut ()>,
}

/// What came of an attempt.
pub(super) enum Attempt {
    /// It was done, or failed because the channel is closed, as its slot tells.
    Done(AfterDone),
    /// One would have to wait.
    NotReady,
    /// The buffer must first grow, or be rid of memory that another one has emptied: outside the locks
    /// ([`Case::tidy`]).
    MustTidy,
}

/// What is to be done when the locks are free.
#[derive(Default)]
pub(super) struct AfterDone {
    /// Who goes on.
    pub(super) waker: Option<Ended>,
    /// The channel has memory to free ([`Case::tidy`]).
    pub(super) has_garbage: bool,
}

/// How a sleep ended.
pub(super) enum Rest {
    /// The case of this number was done, or failed because its channel was closed.
    Done(usize),
    /// The deadline passed first.
    TimedOut,
    /// It could not begin: look anew.
    Again,
}

impl<'a> Case<'a> {
    /// A case that sends what is in `slot`.
    pub(super) fn send<T>(sender: &'a Sender<T>, slot: &'a mut Option<T>, index: usize) -> Self {
        Case::new(sender, (&raw mut *slot).cast(), index)
    }

    /// A case that receives into `slot`, which is empty.
    pub(super) fn recv<T>(
        receiver: &'a Receiver<T>,
        slot: &'a mut Option<Received<T>>,
        index: usize,
    ) -> Self {
        Case::new(receiver, (&raw mut *slot).cast(), index)
    }

    /// What stands where there is no case.
    pub(super) const fn nowhere() -> Self {
        Case { port: &Nowhere, slot: ptr::null_mut(), address: 0, index: usize::MAX, slots: PhantomData }
    }

    fn new(port: &'a dyn Port, slot: *mut (), index: usize) -> Self {
        Case { port, slot, address: port.address(), index, slots: PhantomData }
    }

    /// Where its channel lies: the order in which channels are locked.
    #[inline(always)]
    pub(super) fn address(&self) -> usize {
        self.address
    }

    /// Lets its channel's buffer grow, if it has no room, and frees what it has emptied. Without locks.
    #[cold]
    pub(super) fn tidy(&self) {
        self.port.tidy();
    }
}

/// The locks of all channels of some cases.
pub(super) struct AllHeld<'s, 'a>(&'s [Case<'a>]);

impl<'s, 'a> AllHeld<'s, 'a> {
    /// Locks the channels of `cases`, which are sorted by address. The section must last as long as this.
    pub(super) fn acquire(cases: &'s [Case<'a>], section: &Section) -> Self {
        let mut before = 0;
        for case in cases {
            if case.address != before {
                case.port.acquire(section);
                before = case.address;
            }
        }
        AllHeld(cases)
    }

    /// The cases that seem to be ready.
    #[inline(always)]
    pub(super) fn ready(&self) -> impl Iterator<Item = &'s Case<'a>> + use<'s, 'a> {
        // SAFETY: all is held.
        self.0.iter().filter(|case| unsafe { case.port.is_ready() })
    }

    /// Does one of the cases, if it can be done at once.
    pub(super) fn attempt(&self, case: &Case<'a>) -> Attempt {
        debug_assert!(self.0.iter().any(|held| ptr::eq(held, case)));
        // SAFETY: all is held; the slot by invariant 1.
        unsafe { case.port.attempt(case.slot) }
    }

    /// Sleeps, in all lists, until one of the cases is done or the deadline passes. There are as many nodes
    /// as cases at least; they are unlinked before it returns.
    pub(super) fn sleep(self, section: Section, nodes: &[Node], deadline: Option<Instant>) -> Rest {
        let cases = self.0;
        assert!(nodes.len() >= cases.len(), "a node for each case");
        let reason = if cases.is_empty() { WaitReason::SelectNoCases } else { WaitReason::Select };
        let slept = sleep_in(section, reason, deadline, |sleeper| {
            for (case, node) in cases.iter().zip(nodes) {
                // SAFETY: all is held until the end of this closure. Node and slot are borrowed for longer
                // than this function runs, and `unlink_all` runs before it returns (invariant 3).
                unsafe { case.port.link(node, case.slot, sleeper) };
            }
            drop(self);
        });
        match slept {
            Slept::Again => Rest::Again,
            Slept::Ended => {
                Rest::Done(unlink_all(cases, nodes).expect("it was ended through one of its nodes"))
            }
            Slept::TimedOut => {
                unlink_all(cases, nodes);
                Rest::TimedOut
            }
        }
    }
}

impl Drop for AllHeld<'_, '_> {
    fn drop(&mut self) {
        let mut before = 0;
        for case in self.0 {
            if case.address != before {
                before = case.address;
                // SAFETY: `acquire` has acquired it once.
                unsafe { case.port.release() };
            }
        }
    }
}

/// Takes the nodes out of the lists. The number of the case that was done, if one was.
fn unlink_all(cases: &[Case<'_>], nodes: &[Node]) -> Option<usize> {
    let section = Section::enter();
    let held = AllHeld::acquire(cases, &section);
    let mut done = None;
    for (case, node) in held.0.iter().zip(nodes) {
        // SAFETY: all is held; this node was linked for this case, and the slot by invariant 1.
        if unsafe { case.port.unlink(node, case.slot) } {
            done = Some(case.index);
        }
    }
    done
}

/// An end of a channel, without its type. Its slots are as in invariant 1.
///
/// # Safety
///
/// Of the unsafe methods: the caller has acquired the channel, and not released it; the slot is the one that
/// was made together with the port.
trait Port {
    /// Where the channel lies.
    fn address(&self) -> usize;
    /// Locks the channel. The section must last until the release.
    fn acquire(&self, section: &Section);
    /// Frees it.
    unsafe fn release(&self);
    /// Might it be done at once?
    unsafe fn is_ready(&self) -> bool;
    /// Does it, if it can be done at once.
    unsafe fn attempt(&self, slot: *mut ()) -> Attempt;
    /// Begins to wait: invariant 3.
    unsafe fn link(&self, node: &Node, slot: *mut (), sleeper: Sleeper);
    /// Ends waiting, by the node that was linked. True if the sleep was ended through it.
    unsafe fn unlink(&self, node: &Node, slot: *mut ()) -> bool;
    /// See [`Case::tidy`].
    fn tidy(&self);
}

fn acquire<T>(chan: &Chan<T>, section: &Section) {
    mem::forget(chan.monitor.hold(section));
}

type HeldChan<'c, T> = Held<'c, State<T>, Received<T>, T>;

/// # Safety
///
/// The caller has acquired the channel, and uses one of these at a time.
unsafe fn held<T>(monitor: &ChanMonitor<T>) -> ManuallyDrop<HeldChan<'_, T>> {
    // SAFETY: the caller's promise.
    unsafe { Held::assume(monitor) }
}

/// # Safety
///
/// It was acquired, and this is the only release of that.
unsafe fn release<T>(chan: &Chan<T>) {
    // SAFETY: the caller's promise.
    drop(ManuallyDrop::into_inner(unsafe { held(&chan.monitor) }));
}

impl<T> Port for Sender<T> {
    fn address(&self) -> usize {
        ptr::from_ref(self.chan()).addr()
    }

    fn acquire(&self, section: &Section) {
        acquire(self.chan(), section);
    }

    unsafe fn release(&self) {
        // SAFETY: the caller's promise.
        unsafe { release(self.chan()) };
    }

    unsafe fn is_ready(&self) -> bool {
        // SAFETY: the caller holds the lock.
        let mut held = unsafe { held(&self.chan().monitor) };
        let (state, receivers, _) = held.split();
        state.can_send(&receivers)
    }

    unsafe fn attempt(&self, slot: *mut ()) -> Attempt {
        // SAFETY: the caller holds the lock.
        let mut held = unsafe { held(&self.chan().monitor) };
        let (state, mut receivers, _) = held.split();
        // SAFETY: invariant 1; not linked, so nobody else uses it.
        match state.send(&mut receivers, unsafe { &mut *slot.cast() }) {
            SendStep::Done(waker) => Attempt::Done(AfterDone { waker, has_garbage: false }),
            SendStep::Closed => Attempt::Done(AfterDone::default()),
            SendStep::Full => Attempt::NotReady,
            SendStep::NeedsBlock => Attempt::MustTidy,
        }
    }

    unsafe fn link(&self, node: &Node, slot: *mut (), sleeper: Sleeper) {
        // SAFETY: the caller holds the lock.
        let mut held = unsafe { held(&self.chan().monitor) };
        // SAFETY: invariants 1 and 3.
        unsafe { held.split().2.link(node, slot.cast(), sleeper) };
    }

    unsafe fn unlink(&self, node: &Node, _: *mut ()) -> bool {
        // SAFETY: the caller holds the lock.
        let mut held = unsafe { held(&self.chan().monitor) };
        // SAFETY: it was linked here.
        unsafe { held.split().2.unlink(node) }
    }

    fn tidy(&self) {
        self.chan().tidy();
    }
}

impl<T> Port for Receiver<T> {
    fn address(&self) -> usize {
        ptr::from_ref(self.chan()).addr()
    }

    fn acquire(&self, section: &Section) {
        acquire(self.chan(), section);
    }

    unsafe fn release(&self) {
        // SAFETY: the caller's promise.
        unsafe { release(self.chan()) };
    }

    unsafe fn is_ready(&self) -> bool {
        // SAFETY: the caller holds the lock.
        let mut held = unsafe { held(&self.chan().monitor) };
        let (state, _, senders) = held.split();
        state.can_recv(&senders)
    }

    unsafe fn attempt(&self, slot: *mut ()) -> Attempt {
        // SAFETY: the caller holds the lock.
        let mut held = unsafe { held(&self.chan().monitor) };
        let (state, _, mut senders) = held.split();
        if state.has_garbage() {
            // By another select, which has not come to free it yet.
            return Attempt::MustTidy;
        }
        // SAFETY: invariant 1; not linked, so nobody else uses it.
        let slot = unsafe { &mut *slot.cast::<Option<Received<T>>>() };
        match state.recv(&mut senders, slot) {
            RecvStep::Done(waker) => Attempt::Done(AfterDone { waker, has_garbage: state.has_garbage() }),
            RecvStep::Closed => {
                *slot = Some(Err(RecvError));
                Attempt::Done(AfterDone::default())
            }
            RecvStep::Empty => Attempt::NotReady,
        }
    }

    unsafe fn link(&self, node: &Node, slot: *mut (), sleeper: Sleeper) {
        // SAFETY: the caller holds the lock.
        let mut held = unsafe { held(&self.chan().monitor) };
        // SAFETY: invariants 1 and 3.
        unsafe { held.split().1.link(node, slot.cast(), sleeper) };
    }

    unsafe fn unlink(&self, node: &Node, slot: *mut ()) -> bool {
        // SAFETY: the caller holds the lock.
        let mut held = unsafe { held(&self.chan().monitor) };
        // SAFETY: it was linked here.
        let was_ended = unsafe { held.split().1.unlink(node) };
        // SAFETY: invariant 1; unlinked, so nobody else uses it.
        let slot = unsafe { &mut *slot.cast::<Option<Received<T>>>() };
        if was_ended && slot.is_none() {
            // Woken with nothing: the channel is closed.
            *slot = Some(Err(RecvError));
        }
        was_ended
    }

    fn tidy(&self) {
        self.chan().tidy();
    }
}

/// What stands in the places of a select that are not used.
struct Nowhere;

impl Port for Nowhere {
    fn address(&self) -> usize {
        0
    }
    fn acquire(&self, _: &Section) {}
    unsafe fn release(&self) {}
    unsafe fn is_ready(&self) -> bool {
        false
    }
    unsafe fn attempt(&self, _: *mut ()) -> Attempt {
        Attempt::NotReady
    }
    unsafe fn link(&self, _: &Node, _: *mut (), _: Sleeper) {}
    unsafe fn unlink(&self, _: &Node, _: *mut ()) -> bool {
        false
    }
    fn tidy(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chan;

    /// As many selects do that have freed the locks, and have not come to look after the memory yet.
    #[test]
    fn memory_that_one_has_emptied_is_not_freed_by_another_under_the_lock() {
        let (tx, rx) = chan::unbounded();
        (0..20_000).for_each(|n| tx.send(n).expect("it is open"));
        let (mut received, mut tidied) = (0, 0);
        while received < 20_000 {
            let mut slot = None;
            let cases = [Case::recv(&rx, &mut slot, 0)];
            let section = Section::enter();
            let held = AllHeld::acquire(&cases, &section);
            let attempt = held.attempt(&cases[0]);
            drop(held);
            drop(section);
            match attempt {
                Attempt::Done(_) => {
                    assert_eq!(slot, Some(Ok(received)));
                    received += 1;
                }
                Attempt::MustTidy => {
                    cases[0].tidy();
                    tidied += 1;
                }
                Attempt::NotReady => panic!("there are values"),
            }
        }
        assert_ne!(tidied, 0, "blocks were emptied");
    }
}
