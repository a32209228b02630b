//! F3. The unpark token of `park` and `unpark`, for one life of a goroutine.
//!
//! # The word
//!
//! `birth << 2 | PARKED | TOKEN`. The *birth* counts the lives of the slot: a handle names (slot,
//! birth), so an `unpark` through a handle whose goroutine has ended finds another birth and does
//! nothing.
//!
//! | bit | meaning | set by | cleared by |
//! |---|---|---|---|
//! | `TOKEN` | an unpark has come that no park has consumed | any thread | the goroutine, in `park` |
//! | `PARKED` | it waits in `park`; its ticket stands beside the word | the goroutine | the goroutine, woken |
//!
//! # The race
//!
//! `park` publishes PARKED with one compare-exchange that fails if a TOKEN came; `unpark` sets TOKEN with
//! one that shows it PARKED. So either `park` sees the token or `unpark` sees the sleeper. The ticket is
//! written before PARKED; an unparker that is so late that the goroutine has gone on meanwhile holds a
//! stale ticket and loses in `State::wake`, or has read the ticket of a later park and ends that one for
//! no reason, which `park` may do.
#![forbid(unsafe_code)]

use super::state::Ticket;
use crate::prim::atomic::{AtomicU64, Ordering};

const TOKEN: u64 = 1;
const PARKED: u64 = 2;
const BIRTH_SHIFT: u32 = 2;

/// The word and the ticket beside it.
#[derive(Debug)]
pub(crate) struct Unpark {
    word: AtomicU64,
    ticket: AtomicU64,
}

impl Unpark {
    /// A word in its birth 0, without a token.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Unpark { word: AtomicU64::new(0), ticket: AtomicU64::new(0) }
    }

    /// Which life of the slot this is.
    #[inline(always)]
    pub(crate) fn birth(&self) -> u64 {
        // Acquire: pairs with `end_life`; a handle that finds its own birth finds its own goroutine.
        self.word.load(Ordering::Acquire) >> BIRTH_SHIFT
    }

    /// This life is over: handles of it are stale from here on. By the worker.
    #[inline(always)]
    pub(crate) fn end_life(&self) {
        // Relaxed load: a concurrent `set_token` of this life loses its token, as it should.
        let birth = self.word.load(Ordering::Relaxed) >> BIRTH_SHIFT;
        self.word.store((birth + 1) << BIRTH_SHIFT, Ordering::Release);
    }

    /// Takes the token, if there is one.
    #[inline(always)]
    pub(crate) fn take_token(&self) -> bool {
        if self.word.load(Ordering::Relaxed) & TOKEN == 0 {
            return false;
        }
        // Acquire: pairs with the Release in `set_token`: park returns after what unpark's caller did.
        self.word.fetch_and(!TOKEN, Ordering::Acquire);
        true
    }

    /// The goroutine has begun wait `ticket` and is about to sleep. False: a token came; it must not.
    #[inline(always)]
    pub(crate) fn publish(&self, ticket: Ticket) -> bool {
        // Relaxed: published by the Release below.
        self.ticket.store(ticket.to_raw(), Ordering::Relaxed);
        let word = self.word.load(Ordering::Relaxed);
        // Release: the ticket; pairs with the Acquire in `set_token`.
        word & TOKEN == 0
            && self.word.compare_exchange(word, word | PARKED, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// The goroutine is awake, for whatever reason: consumes the token. True if there was one.
    #[inline(always)]
    pub(crate) fn retract(&self) -> bool {
        // Acquire: pairs with the Release in `set_token`.
        self.word.fetch_and(!(PARKED | TOKEN), Ordering::Acquire) & TOKEN != 0
    }

    /// Sets the token, if this is still life `birth`. Returns the wait to end, if it is parked.
    pub(crate) fn set_token(&self, birth: u64) -> Option<Ticket> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word >> BIRTH_SHIFT != birth {
                return None;
            }
            // Also when TOKEN is set already: the Release must order what this caller did before.
            // Release: pairs with `take_token` and `retract`; Acquire: the ticket, from `publish`.
            match self.word.compare_exchange_weak(word, word | TOKEN, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if word & (PARKED | TOKEN) == PARKED => {
                    return Some(Ticket::from_raw(self.ticket.load(Ordering::Relaxed)));
                }
                Ok(_) => return None,
                Err(now) => word = now,
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::g::state::{AfterLeaving, AfterReady, State};
    use loom::sync::Arc;

    struct Model {
        state: State,
        unpark: Unpark,
        data: AtomicU64,
        queued: AtomicU64,
    }

    fn unpark(model: &Model, birth: u64) {
        model.data.fetch_add(1, Ordering::Relaxed);
        if let Some(ticket) = model.unpark.set_token(birth)
            && model.state.wake(ticket) == Some(AfterReady::Queue)
        {
            model.queued.fetch_add(1, Ordering::Release);
        }
    }

    /// Two unparks against one park: the park ends, and sees what both or one of them did before.
    #[test]
    fn loom_park_against_two_unparks() {
        loom::model(|| {
            let model = Arc::new(Model {
                state: State::new(),
                unpark: Unpark::new(),
                data: AtomicU64::new(0),
                queued: AtomicU64::new(0),
            });
            model.state.be_born();
            model.state.set_running();
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let model = model.clone();
                    loom::thread::spawn(move || unpark(&model, 0))
                })
                .collect();
            if !model.unpark.take_token() {
                let ticket = model.state.begin_park();
                if model.unpark.publish(ticket) {
                    if model.state.left_stack() == AfterLeaving::Nothing {
                        // "Sleep" until queued.
                        while model.queued.load(Ordering::Acquire) == 0 {
                            loom::thread::yield_now();
                        }
                    }
                    model.state.set_running();
                    assert!(model.unpark.retract(), "woken by a token");
                } else {
                    assert!(model.state.try_cancel_park(ticket), "nobody had the ticket");
                    assert!(model.unpark.take_token());
                }
            }
            assert!(model.data.load(Ordering::Relaxed) >= 1);
            for thread in threads {
                thread.join().expect("unparker");
            }
            assert!(model.queued.load(Ordering::Relaxed) <= 1, "queued at most once");
        });
    }
}
