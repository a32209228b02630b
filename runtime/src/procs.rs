//! F9e. The current runtime: how many goroutines, how many processors.
#![forbid(unsafe_code)]

use std::io;

use crate::config;
use crate::runtime::{current_or_start, current_sched};

/// How many goroutines of the current runtime (else of the process-wide one; 0 if there is none) have
/// been spawned and have not ended. The caller is one of them, if it is a goroutine. gort's own threads
/// are not counted.
///
/// Exact while nothing is spawned or ends; else a value from the time of the call, more or less.
pub fn num_goroutines() -> usize {
    current_sched().map_or(0, |sched| sched.living() as usize)
}

/// How many goroutines of the current runtime may run at the same time.
///
/// Starts nothing: outside of a runtime, and before there is a process-wide one, it says what one would
/// start with (1 if `GOMAXPROCS` is not a number).
pub fn max_procs() -> usize {
    match current_sched() {
        Some(sched) => sched.max_procs(),
        None => config::procs_from_env().ok().map_or(1, |procs| procs.unwrap_or_else(config::default_procs)),
    }
}

/// Changes how many goroutines of the current runtime may run at the same time; returns what it was.
///
/// More take effect at once. Fewer take effect as the surplus processors come through the scheduler: a
/// goroutine that makes no runtime call keeps its own until it does.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if `procs` is not from 1 to 1,024; what starting the
/// process-wide runtime says, if the caller is no goroutine and it cannot be started.
pub fn set_max_procs(procs: usize) -> io::Result<usize> {
    let procs = config::check_procs(procs)?;
    let sched = current_or_start()?;
    Ok(sched.set_max_procs(procs))
}
