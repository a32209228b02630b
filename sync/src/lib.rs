//! How goroutines talk: the channels, `select` and locks of `gort`.
//!
//! **This crate is empty so far.** Its place in the workspace is taken first, so that what comes stands on
//! the right side of the border from the start. Use the crate `gort`, which will re-export what is here.
//!
//! # What will stand here
//!
//! Channels (`chan`: rendezvous, bounded, unbounded), `select!`, and the locks and meeting points that
//! `std::sync` has (`Mutex`, `RwLock`, `Condvar`, `Once`, `Barrier`) together with those that only Go has
//! (`WaitGroup`, `Semaphore`, `Context`, `errgroup`, `singleflight`).
//!
//! # The border
//!
//! 1. This crate knows *park* and *ready*, and nothing else of the machine: no worker threads, no
//!    processors, no netpoller. It depends on `gort-runtime`, and `gort-runtime` knows no channels.
//! 2. Parking is the only way to block. A waiter stands in the parked frame, and the right to wake it is
//!    claimed in the goroutine, so that a timeout, a cancellation and a `select` are each one more
//!    contender for the same claim.
//! 3. Everything works from plain OS threads as well.
//!
//! # Unsafe
//!
//! Denied for the crate; the modules that will need it (queues of waiters) allow it for themselves and are
//! listed in ARCHITECTURE.md, as in `gort-runtime`.
#![deny(unsafe_code)]

#[allow(dead_code, reason = "what is built on it comes next")]
mod wait_list;
