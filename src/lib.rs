#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

// gort's own primitives (channels, locks) will be re-exported from here.
use gort_sync as _;

#[cfg(feature = "macros")]
pub use gort_macros::{main, test};
pub use gort_runtime::{
    __private, AccessError, Builder, Goroutine, JoinHandle, LocalKey, Result, Scope, ScopedJoinHandle, Split,
    ThreadLocals, current, go, grow, join, join_then, local, max_procs, num_goroutines, par_for, par_map,
    par_reduce, par_sort_unstable_by, park, park_deadline, park_timeout, run, runtime, scope, set_max_procs,
    sleep, sleep_until, spawn, yield_now,
};
