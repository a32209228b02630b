//! How goroutines talk: the channels, `select` and locks of `gort`.
//!
//! Use the crate `gort`, which re-exports what is here.
//!
//! # What stands here
//!
//! - [`chan`]: channels, with room for none, some or any number of values.
//! - [`select!`], [`select_biased!`], and [`Select`] beneath them: waiting for several channels at once.
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
//! Denied for the crate; the modules that need it allow it for themselves and are listed in ARCHITECTURE.md,
//! as in `gort-runtime`.
#![deny(unsafe_code)]

pub mod chan;
mod select;
#[allow(dead_code, reason = "a tool box: the locks take from it what channels do not need")]
mod wait_list;

pub use select::{Select, SelectTimeoutError, TrySelectError};
