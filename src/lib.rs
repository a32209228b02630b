//! Goroutines for Rust: green threads that are spawned like threads, block like threads and cost like
//! tasks.
#![forbid(unsafe_code)]

#[cfg(feature = "macros")]
pub use gort_macros::{main, test};
pub use gort_runtime::*;
