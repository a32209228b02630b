//! F7. Offering the branches of forks to others.
//!
//! # When
//!
//! - *Somebody is hungry.* Who searches in vain, or goes idle, lowers the fork limit of the goroutines that run
//!   (`ask_for_forks`). Their next fork comes here (`poll_forks`) and offers its *oldest* latent record,
//!   which in a recursion is the largest piece; or, if it has none, the record that it is about to push.
//! - *The goroutine stops running*: it parks, yields, or sleeps in a panic. All its latent records are offered:
//!   one of them may be what it waits for.
//! - *It makes no call.* sysmon's signal offers all, from the handler.
//!
//! An offered record is an item like any other: in the P's queues, stolen, handed on, drained. Who takes it out
//! claims it by its word, or finds that the owner was faster, and looks further.
//!
//! # Trials
//!
//! A wake costs more than a small branch. As with lone items (`publish`): an offer that its owner takes back
//! within [`WORTH_NS`] was in vain, and the next 1, 2, 4, ... 65,536 requests are refused; one that was taken, or
//! lasted longer, was right.
//!
//! # No request is lost
//!
//! The fork itself has no fence. It need not: who goes idle sets `HUNGRY` on every P, executes a heavy fence,
//! then lowers the limits. A P that goes on with another goroutine, or an owner that raises its limit again,
//! does so first, passes a light fence, and then looks at `HUNGRY`: either it sees the bit, or its store came
//! before the lowering, which stands. (A searcher asks without the fence; it asks again, and at last goes
//! idle.)

use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

use super::Sched;
use super::ready::ready;
use crate::fork::chunk::Chunk;
use crate::fork::record::Record;
use crate::fork::word::Taken;
use crate::g::token::Token;
use crate::g::{G, GRef};
use crate::m::M;
use crate::p::{self, P};
use crate::prim::light_fence;
use crate::queue::Item;
use crate::sys::clock;

/// How long an offer must stand, untaken, to have been worth it.
const WORTH_NS: u64 = 5_000;

/// The longest patience: so many requests in a row are refused.
const MAX_PATIENCE: u32 = 1 << 16;

/// What a fork that was asked has to do.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// Push its record, and go on.
    GoOn,
    /// Push it, then call [`Sched::promote_oldest`]: there is no older one to offer.
    OfferThis,
}

impl Sched {
    /// The goroutine that runs on `victim` shall offer a fork. By anybody.
    pub(crate) fn ask_for_forks(victim: &'static P) {
        // SAFETY: null or the head of an M, which is never freed.
        let Some(m) = (unsafe { M::of_head(victim.m.load(Ordering::Relaxed)) }) else { return };
        // SAFETY: null or a G, which is type-stable. It may run no more: then it is asked in vain.
        if let Some(g) = unsafe { m.g.load(Ordering::Relaxed).as_ref() } {
            g.pile.ask();
        }
    }

    /// `m` goes on with `g`, which has forked before: is anybody hungry? np 1.
    #[inline(always)]
    pub(crate) fn pass_hunger(&'static self, m: &'static M, g: GRef) {
        // Pairs with the heavy fence in `idle`: either we see the bit, or who sleeps sees `m.g`.
        light_fence();
        if m.p().is_some_and(|p| p.attention() & p::HUNGRY != 0) {
            g.pile.ask();
        }
    }

    /// A fork of `g`, which runs on `p`, has found its limit lowered. Owner of `p`, np 1.
    pub(crate) fn poll_forks(&'static self, p: &'static P, g: GRef) -> Polled {
        g.pile.raise_limit();
        // Pairs with the heavy fence in `idle`: either we see the bit, or the limit is lowered after us.
        light_fence();
        if p.attention() & p::HUNGRY == 0 {
            return Polled::GoOn;
        }
        if self.max_procs() == 1 {
            p.answer(p::HUNGRY);
            return Polled::GoOn;
        }
        if !self.census.is_hungry() {
            p.answer(p::HUNGRY);
            if !self.census.is_still_hungry() {
                return Polled::GoOn;
            }
            p.ask(p::HUNGRY);
        }
        let patience = p.local.fork_patience.get();
        if patience > 0 {
            p.local.fork_patience.set(patience - 1);
            g.pile.ask();
            return Polled::GoOn;
        }
        if self.promote_oldest(p, g) { Polled::GoOn } else { Polled::OfferThis }
    }

    /// Offers the oldest latent record of `g` to those who search, on trial. False: there is none. Owner of `p`,
    /// np 1.
    pub(crate) fn promote_oldest(&'static self, p: &'static P, g: GRef) -> bool {
        let Some(record) = g.pile.split_oldest() else { return false };
        p.local.fork_since.set(clock::now_ns());
        match offer(record) {
            Some(item) => {
                p::count(&p.counters.published, 1);
                if let Err(item) = p.shared_conts.push(item) {
                    self.injector.push(item);
                }
                self.wake_one();
            }
            // A queue holds it still; perhaps the private one here.
            None => self.publish(p),
        }
        true
    }

    /// Offers all latent records of `g`, which `p` runs. Owner of `p`, np 1, or its signal handler, np 0.
    pub(crate) fn promote_all(&'static self, p: &'static P, g: GRef) {
        while let Some(record) = g.pile.split_oldest() {
            if let Some(item) = offer(record) {
                self.push_cont(p, item);
            }
        }
    }

    /// The owner has taken an offer back (`in_place`), or found that it was taken: was the trial worth it?
    /// Owner of `p`, np 1.
    pub(crate) fn judge_fork(p: &'static P, in_place: bool) {
        let since = p.local.fork_since.replace(0);
        if !in_place {
            p.local.next_fork_patience.set(1);
        } else if since != 0 && clock::now_ns().saturating_sub(since) < WORTH_NS {
            let patience = p.local.next_fork_patience.get();
            p.local.fork_patience.set(patience);
            p.local.next_fork_patience.set((patience * 2).min(MAX_PATIENCE));
        }
    }

    /// A record that came out of a queue: the goroutine that runs its branch; `None` if the owner has it back, or
    /// there is no memory for a goroutine. On the scheduler stack.
    pub(crate) fn take_fork(&'static self, p: &'static P, item: Item) -> Option<GRef> {
        // SAFETY: the item's kind is Fork.
        let record = unsafe { Record::of_link(item.as_ptr()) };
        // SAFETY: every record lies in a chunk.
        let chunk = unsafe { Chunk::of(record) };
        // SAFETY: records are type-stable.
        let word = unsafe { &record.as_ref().word };
        if word.take() == Taken::Nothing {
            chunk.count_taken();
            return None;
        }
        // SAFETY: claimed: its owner is alive, and a G.
        let owner = unsafe { &*chunk.owner.get().cast::<G>() };
        let begun = (self.begin_fork)(self, p, owner, record);
        if begun.is_some() {
            chunk.count_taken();
            return begun;
        }
        // It is offered again, behind all others; an owner that waits for it runs it itself.
        if let Some(waiter) = word.put_back() {
            // SAFETY: the word held it.
            unsafe { wake_owner(waiter) };
        }
        self.injector.push(item);
        None
    }
}

/// Offers a record. The item, if it is in no queue yet.
fn offer(record: NonNull<Record>) -> Option<Item> {
    // SAFETY: a record in use of the caller's.
    if !unsafe { record.as_ref() }.word.offer() {
        return None;
    }
    // SAFETY: every record lies in a chunk.
    unsafe { Chunk::of(record) }.count_queued();
    // SAFETY: `offer` has just said so; records are type-stable.
    Some(unsafe { Item::new(Record::link_to_queue(record)) })
}

/// Wakes the owner of a branch that has ended, or was put back.
///
/// # Safety
///
/// `waiter` came from the record's word: the address of the owner's token, whose frame stays until the wake.
pub(crate) unsafe fn wake_owner(waiter: NonNull<()>) {
    // SAFETY: the caller's promise; it is read before the wake.
    let token = unsafe { ptr::read(waiter.cast::<Token>().as_ptr()) };
    if token.claim()
        && let Some(owner) = token.make_ready()
    {
        ready(owner);
    }
}
