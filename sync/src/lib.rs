//! How goroutines talk: the channels, `select` and locks of `gort`.
//!
//! Use the crate `gort`, which re-exports what is here.
//!
//! # What stands here
//!
//! - [`chan`]: channels, with room for none, some or any number of values.
//! - [`select!`], [`select_biased!`], and [`Select`] beneath them: waiting for several channels at once.
//! - [`Mutex`], [`RwLock`], [`Condvar`], [`Once`], [`OnceLock`], [`LazyLock`], [`Barrier`]: as in `std::sync`,
//!   for goroutines.
//! - [`WaitGroup`], [`Semaphore`], [`Event`]: what only Go and others have.
//!
//! Each lock is a state word (`word`: pure, and modelled under loom), a list of waiters (`wait_list`), and a
//! value in a cell. `check` finds cycles of waits, if `GORT_CHECK=1` asks for it.
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
#![cfg_attr(loom, allow(dead_code, unused_imports, reason = "under loom only the state words are compiled"))]

#[cfg(not(loom))]
mod barrier;
#[cfg(not(loom))]
pub mod chan;
#[cfg(not(loom))]
mod check;
#[cfg(not(loom))]
mod condvar;
#[cfg(not(loom))]
mod event;
#[cfg(not(loom))]
mod lazy_lock;
#[cfg(not(loom))]
mod mutex;
#[cfg(not(loom))]
mod once;
#[cfg(not(loom))]
mod once_lock;
mod prim;
#[cfg(not(loom))]
mod rwlock;
#[cfg(not(loom))]
mod select;
#[cfg(not(loom))]
mod semaphore;
#[cfg(not(loom))]
mod time;
#[cfg(not(loom))]
mod wait_group;
#[cfg(not(loom))]
mod wait_list;
mod word;

#[cfg(not(loom))]
pub use barrier::{Barrier, BarrierWaitResult};
#[cfg(not(loom))]
pub use condvar::{Condvar, WaitTimeoutResult};
#[cfg(not(loom))]
pub use event::Event;
#[cfg(not(loom))]
pub use lazy_lock::LazyLock;
#[cfg(not(loom))]
pub use mutex::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub use once::{Once, OnceState};
#[cfg(not(loom))]
pub use once_lock::OnceLock;
#[cfg(not(loom))]
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(loom))]
pub use select::{Select, SelectTimeoutError, TrySelectError};
#[cfg(not(loom))]
pub use semaphore::{Permit, Semaphore};
#[cfg(not(loom))]
pub use wait_group::{WaitGroup, WaitGroupToken};
