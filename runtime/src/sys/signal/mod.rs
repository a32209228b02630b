//! F0. Signals: what the process's handlers of gort share, and the stack that they run on.
//!
//! | file | what |
//! |---|---|
//! | `chain` | taking a signal over, and passing it on to whoever had it before |
//! | `publish` | SIGURG, by which sysmon interrupts a worker |
//! | `fault` | SIGSEGV and SIGBUS |
//! | `alt_stack` | the stack that a worker's handlers run on |
//!
//! Policy stands above: each signal is given functions of a higher floor, which must be
//! async-signal-safe.

mod alt_stack;
mod chain;
mod fault;
mod publish;

pub(crate) use alt_stack::AltStack;
pub(crate) use chain::call_handler;
pub(crate) use fault::{Fault, Hooks, install as install_faults};
pub(crate) use publish::{install as install_publish, interrupt, unblock as unblock_publish};
