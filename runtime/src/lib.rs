//! The machine under [gort](https://docs.rs/gort): goroutines (G), worker threads (M) and processors (P),
//! stacks, work stealing, parking, timers.
//!
//! Use the crate `gort`; this one is its engine room, and knows no channels. Its floors, from the kernel
//! up to `spawn`, are described in ARCHITECTURE.md; each file names its floor in its first line.

#![cfg_attr(loom, allow(dead_code, unused_imports, reason = "under loom only the pure modules are compiled"))]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("gort runs on Linux, on x86-64 (aarch64 is being ported); this target is neither");

#[cfg(not(loom))]
mod builder;
#[cfg(not(loom))]
mod capture;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod coro;
#[cfg(not(loom))]
mod cur;
#[cfg(not(loom))]
mod deadlock;
#[cfg(not(loom))]
mod fault;
mod fork;
mod g;
#[cfg(not(loom))]
mod goroutine;
#[cfg(not(loom))]
mod grow;
#[cfg(not(loom))]
mod identity;
#[cfg(not(loom))]
pub mod inspect;
#[cfg(not(loom))]
mod join;
#[cfg(not(loom))]
mod local;
mod m;
#[cfg(not(loom))]
mod p;
#[cfg(not(loom))]
mod panics;
#[cfg(not(loom))]
mod parallel;
#[cfg(not(loom))]
mod park;
mod prim;
#[cfg(not(loom))]
mod procs;
mod queue;
#[cfg(not(loom))]
mod report;
#[cfg(not(loom))]
pub mod runtime;
mod sched;
#[cfg(not(loom))]
mod schedtrace;
#[cfg(not(loom))]
mod scope;
#[cfg(not(loom))]
mod spawn;
#[cfg(not(loom))]
mod stack;
#[cfg(not(loom))]
mod standstill;
#[cfg(not(loom))]
mod sys;
#[cfg(not(loom))]
mod sysmon;
#[cfg(not(loom))]
mod testing;
mod timer;
#[cfg(not(loom))]
mod unwind;
mod util;
#[cfg(not(loom))]
pub mod waiter;

#[cfg(not(loom))]
pub use builder::{Builder, spawn};
#[cfg(not(loom))]
pub use fork::join::{join, join_then};
#[cfg(not(loom))]
pub use goroutine::{Goroutine, current, park, park_deadline, park_timeout, yield_now};
#[cfg(not(loom))]
pub use grow::grow;
#[cfg(not(loom))]
pub use identity::ThreadLocals;
#[cfg(not(loom))]
pub use join::{JoinHandle, Result};
#[cfg(not(loom))]
pub use local::{AccessError, LocalKey};
#[cfg(not(loom))]
pub use parallel::{Split, par_for, par_map, par_reduce, par_sort_unstable_by};
#[cfg(not(loom))]
pub use procs::{max_procs, num_goroutines, set_max_procs};
#[cfg(not(loom))]
pub use runtime::run;
#[cfg(not(loom))]
pub use scope::{Scope, ScopedJoinHandle, scope};
#[cfg(not(loom))]
pub use timer::sleep::{sleep, sleep_until};

#[doc(hidden)]
#[cfg(not(loom))]
pub mod __private {
    pub use crate::join::{JoinWatch, watch_joins};
    pub use crate::testing::{check, dump, leave_harness_out, on_scheduler_stack, on_worker, test};
}
