//! F4. The queues: where what can run waits.
//!
//! ```text
//!      owner only                thieves too               everybody
//!   .-------------.  hungry   .-------------.          .--------------.
//!   | ring        | --------> | shared      | -------> | injector     |
//!   | newest <->  |  oldest   | FIFO, CAS   | overflow | FIFO, lock   |
//!   '-------------'           '-------------'          '--------------'
//!     one per P                 one per P                 one per runtime
//!
//!     any thread --push--> inbox --take all--> its M: goroutines bound to that thread
//! ```
//!
//! | queue | who adds | who takes | order | bound | an operation costs |
//! |---|---|---|---|---|---|
//! | [`Ring`] | its owner | its owner | both ends | 256 | a load and two stores |
//! | [`Shared`] | its owner | everybody | FIFO | 256 | push: two loads, two stores; take: one CAS |
//! | [`Injector`] | everybody | everybody | FIFO | none | a lock |
//! | [`Inbox`] | everybody | one M, all at once | FIFO | none | push: one CAS; take: one swap |
//! | [`List`] | who holds it | who holds it | FIFO | none | loads and stores |
//!
//! Nothing is published until somebody is hungry: a P's work lies in its private
//! ring, where it costs no atomic read-modify-write and no fence; it moves to the shared part, oldest
//! first, when a searching M asks, and what finds no room there goes to the injector. Which queue is
//! looked at when is policy, and lives in `sched` alone.
//!
//! # Invariants, of all of them
//!
//! 1. What is pushed comes out exactly once (`item`, invariant 2).
//! 2. No operation allocates, frees, runs a destructor, or waits for anything but the injector's lock:
//!    all of them may be called on the scheduler stack (ARCHITECTURE, Rule 6).
//! 3. What the pusher wrote before the push, the taker sees after the take. ([`Ring`] and [`List`] have
//!    one owner at a time; who passes the ownership on provides it.)
//! 4. *Owner* is whoever holds the P (or is the M) and is in a no-preempt section (ARCHITECTURE, Rule 9). It is
//!    a contract with `sched`, not a type: every index and slot is atomic, so that a breach would lose or
//!    repeat items, not tear memory.

mod inbox;
#[cfg(not(loom))]
mod injector;
mod item;
mod list;
mod ring;
mod shared;
#[cfg(test)]
mod testing;

pub(crate) use inbox::Inbox;
#[cfg(not(loom))]
pub(crate) use injector::Injector;
pub(crate) use item::Item;
pub(crate) use list::List;
pub(crate) use ring::Ring;
pub(crate) use shared::Shared;
