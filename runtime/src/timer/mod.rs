//! F1. Time: what is due when.
//!
//! | file | floor | what |
//! |---|---|---|
//! | `heap` | F1 | the deadlines of one processor: pure data, returns what is due, wakes nobody |
//! | `entry` | F4 | what stands in it: a wait to end |
//! | `sleep` | F8 | `sleep` and `sleep_until` |
//!
//! The passive half (the heap) lies below the scheduler, which asks it; whatever parks until a deadline
//! lies above (ARCHITECTURE, Rule 2).

#[cfg(not(loom))]
pub(crate) mod entry;
pub(crate) mod heap;
#[cfg(not(loom))]
pub(crate) mod sleep;
