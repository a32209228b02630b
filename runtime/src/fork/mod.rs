//! F2. Fork and join: two branches, of which the second is run by another processor only if one asks.
//!
//! | file | floor | what |
//! |---|---|---|
//! | `word` | F2 | who has a branch, and where its link is: pure, a loom model |
//! | `record` | F2b | a branch that waits, its result, its link |
//! | `chunk` | F2c | the memory of records |
//! | `pile` | F2d | the records of one goroutine |
//! | `sched::promote` | F7 | offering them to others |
//! | `join` | F9h | `join` and `join_then`: push, run, pop |
//! | `open` | F9h | where a fork goes on that is not the usual one |
//! | `thief` | F9c | the goroutine that runs a branch which was taken |
//!
//! The passive half lies low, for the record of a goroutine holds a pile (ARCHITECTURE, Rule 2).

#[cfg(not(loom))]
pub(crate) mod chunk;
#[cfg(not(loom))]
pub(crate) mod join;
#[cfg(not(loom))]
mod open;
#[cfg(not(loom))]
pub(crate) mod pile;
#[cfg(not(loom))]
pub(crate) mod record;
#[cfg(not(loom))]
pub(crate) mod thief;
pub(crate) mod word;
