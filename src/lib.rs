#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "macros")]
pub use gort_macros::{main, test};
pub use gort_runtime::{
    __private, AccessError, Builder, Goroutine, JoinHandle, LocalKey, Result, Scope, ScopedJoinHandle, Split,
    ThreadLocals, current, go, grow, inspect, join, join_then, local, max_procs, num_goroutines, par_for,
    par_map, par_reduce, par_sort_unstable_by, park, park_deadline, park_timeout, run, runtime, scope,
    set_max_procs, sleep, sleep_until, spawn, yield_now,
};
pub use gort_sync::{Select, SelectTimeoutError, TrySelectError, chan, select, select_biased};

/// Locks and meeting points: those of [`std::sync`], for goroutines, and Go's.
///
/// What waits here parks its goroutine, and the thread goes on with others. All of it works from threads
/// that are no goroutines too, which wait as threads do.
///
/// | | |
/// |---|---|
/// | [`Mutex`](sync::Mutex), [`RwLock`](sync::RwLock) | one at a time; or many who read |
/// | [`Condvar`](sync::Condvar) | wait for what others do under a mutex |
/// | [`Once`](sync::Once), [`OnceLock`](sync::OnceLock), [`LazyLock`](sync::LazyLock) | once |
/// | [`WaitGroup`](sync::WaitGroup), [`Barrier`](sync::Barrier) | wait for all |
/// | [`Semaphore`](sync::Semaphore) | no more than so many at a time |
/// | [`Event`](sync::Event) | tell everybody |
///
/// With `GORT_CHECK=1` in the environment, cycles of mutexes, reader-writer locks and `Once`s are reported
/// on stderr when they close.
pub mod sync {
    pub use gort_sync::{
        Barrier, BarrierWaitResult, Condvar, Event, LazyLock, Mutex, MutexGuard, Once, OnceLock, OnceState,
        Permit, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, WaitGroup, WaitGroupToken,
        WaitTimeoutResult,
    };
}
