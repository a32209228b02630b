//! F7. Staying awake for a moment, where that has been worth it.
//!
//! # The problem
//!
//! Two goroutines that are bound to different threads and wake one another in turn (a channel between them,
//! in the default mode) send both threads to sleep and wake them again at every turn: 6 µs for the waker
//! and 20 to 50 µs until the other one runs, where the work itself takes 50 ns.
//!
//! # The rule
//!
//! A worker that has run dry, and on which goroutines wait, looks at its inbox for [`LINGER_NS`] before
//! it gives up its P. That it spins in vain costs time that others may want: each time it has been in vain,
//! the next 1, 2, 4, ... 1,024 occasions are passed over; a time that was worth it sets that back.
//!
//! It keeps its P meanwhile and looks at everything else that `idle` looks at, so whoever submits work
//! or sets a deadline in that time is served; the role of a searcher, if the worker has it, is kept and
//! lived up to.

use super::Sched;
use crate::m::M;
use crate::p::{self, P};
use crate::sys::clock;

/// For how long: about what it costs to sleep and be woken.
const LINGER_NS: u64 = 20_000;

/// Turns between two looks at the clock and at other people's queues.
const SPINS: u32 = 16;

/// The most occasions that are passed over.
const MAX_PATIENCE: u32 = 1024;

impl Sched {
    /// `m`, which holds `p`, has nothing to run: waits a moment for something to come. True if it has.
    pub(crate) fn linger(&'static self, m: &'static M, p: &'static P) -> bool {
        if m.bound_count.get() == 0 || self.max_procs() == 1 {
            return false;
        }
        let patience = m.patience.get();
        if patience > 0 {
            m.patience.set(patience - 1);
            return false;
        }
        let until_ns = clock::now_ns() + LINGER_NS;
        loop {
            for _ in 0..SPINS {
                if m.has_bound_work() {
                    m.next_patience.set(1);
                    return true;
                }
                std::hint::spin_loop();
            }
            let now_ns = clock::now_ns();
            if self.has_public_work()
                || p.attention() & !p::HUNGRY != 0
                || self.next_deadline() <= now_ns
                || self.is_stopping()
            {
                return true;
            }
            if now_ns >= until_ns {
                let patience = m.next_patience.get();
                m.patience.set(patience);
                m.next_patience.set((patience * 2).min(MAX_PATIENCE));
                return false;
            }
        }
    }
}
