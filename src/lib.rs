#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

// gort's own primitives (channels, locks) will be re-exported from here.
use gort_sync as _;

#[cfg(feature = "macros")]
pub use gort_macros::{main, test};
pub use gort_runtime::{
    __private, AccessError, Builder, Goroutine, JoinHandle, LocalKey, Result, Scope, ScopedJoinHandle,
    ThreadLocals, current, go, grow, inspect, local, max_procs, num_goroutines, park, park_deadline,
    park_timeout, run, runtime, scope, set_max_procs, sleep, sleep_until, spawn, yield_now,
};
