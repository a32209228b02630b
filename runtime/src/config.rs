//! F1. How many processors a runtime gets, when nobody has said and when somebody has.
//!
//! The order is: `Builder::procs`, else `GOMAXPROCS` in the environment, else [`default_procs`]. This
//! module answers the questions; who asks (the builder, `set_max_procs`) puts them in order. It keeps no
//! state, so an answer is as fresh as the call: affinity and quotas may change while the program runs.
//!
//! # Invariants
//!
//! 1. Every number that leaves this module lies in `1..=MAX_PROCS`.
//! 2. What a user wrote and we cannot obey is an error that quotes it, never a silent default. What the
//!    system does not tell (no `/proc`, an unreadable cgroup) is no limit, never an error.
//!
//! # The default
//!
//! ```text
//! min( cores in the affinity mask,  tightest CPU quota of the process's cgroup and all its ancestors )
//! ```
//!
//! A quota is a share of time, not a set of cores; it is rounded up, so that 1.5 cores of quota are two
//! processors (one would leave a third of it unused, while two are throttled only when both are busy).
//! The quota counts because threads beyond it do not add work but stalls: the kernel stops the whole
//! group for the rest of each period, in the middle of whatever it does.
//!
//! Called by foreign threads and goroutines, never on a scheduler stack: it allocates and reads files.
#![forbid(unsafe_code)]

mod cgroup;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::sys::cpu;

/// The most processors a runtime can have: the length of its P array, which is fixed at start.
pub(crate) const MAX_PROCS: usize = 1024;

/// The name of the environment variable that says how many processors to use. Go's, so that what is
/// written for Go's programs (and their containers) serves.
const VARIABLE: &str = "GOMAXPROCS";

/// The name of the environment variable that asks for lines about the scheduler.
const TRACE_VARIABLE: &str = "GORT_SCHEDTRACE";

const DAY_MS: u64 = 86_400_000;

/// The number of processors that the process may use: see *The default* above.
pub(crate) fn default_procs() -> usize {
    // A sandbox that refuses to tell the affinity leaves the quota as the only limit, and where that is
    // not set either, one processor is the number that is always right.
    let cores = cpu::affinity_count().ok();
    let quota = cgroup::quota_cores(read_file);
    procs_from_limits(cores, quota)
}

/// The smaller of the known limits, within `1..=MAX_PROCS`; 1 if nothing is known.
fn procs_from_limits(cores: Option<usize>, quota: Option<usize>) -> usize {
    cores.into_iter().chain(quota).min().unwrap_or(1).clamp(1, MAX_PROCS)
}

/// The text of a file, or nothing if it cannot be read. Mount points may be named in any bytes, and one
/// odd name must not hide the other lines.
fn read_file(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// What `GOMAXPROCS` in the environment says: `None` if it is unset or empty. Whitespace around the
/// number does not matter.
///
/// # Errors
///
/// `InvalidInput`, with a message that quotes the value, if it is not a number from 1 to [`MAX_PROCS`].
pub(crate) fn procs_from_env() -> io::Result<Option<usize>> {
    match env::var_os(VARIABLE) {
        None => Ok(None),
        Some(value) => parse_procs(&value),
    }
}

/// [`procs_from_env`] for a value of the variable.
fn parse_procs(value: &OsStr) -> io::Result<Option<usize>> {
    // Bytes that are not UTF-8 become U+FFFD, which is neither whitespace nor a digit: an error below.
    let text = value.to_string_lossy();
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    // `usize::from_str` alone would take "+4" as well, which Go does not.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(procs @ 1..=MAX_PROCS) if digits => Ok(Some(procs)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{VARIABLE}={text} is not a number of processors from 1 to {MAX_PROCS}"),
        )),
    }
}

/// How often `GORT_SCHEDTRACE` asks for a line about the scheduler: milliseconds; `None` if it is unset, empty
/// or 0.
///
/// # Errors
///
/// `InvalidInput`, with a message that quotes the value, if it is not a number of milliseconds (at most a day).
pub(crate) fn trace_every_from_env() -> io::Result<Option<Duration>> {
    match env::var_os(TRACE_VARIABLE) {
        None => Ok(None),
        Some(value) => parse_trace_every(&value),
    }
}

fn parse_trace_every(value: &OsStr) -> io::Result<Option<Duration>> {
    let text = value.to_string_lossy();
    let text = text.trim();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u64>() {
        _ if text.is_empty() => Ok(None),
        Ok(0) if digits => Ok(None),
        Ok(millis @ 1..=DAY_MS) if digits => Ok(Some(Duration::from_millis(millis))),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{TRACE_VARIABLE}={text} is not a number of milliseconds, from 1 to {DAY_MS}"),
        )),
    }
}

/// Checks a number of processors that the program asked for (`Builder::procs`, `set_max_procs`).
///
/// # Errors
///
/// `InvalidInput` unless it lies in `1..=MAX_PROCS`.
pub(crate) fn check_procs(procs: usize) -> io::Result<usize> {
    match procs {
        1..=MAX_PROCS => Ok(procs),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{procs} processors: a runtime has from 1 to {MAX_PROCS}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn parse(value: &str) -> Option<usize> {
        parse_procs(OsStr::new(value)).unwrap()
    }

    fn refusal(value: &[u8]) -> String {
        let error = parse_procs(OsStr::from_bytes(value)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        error.to_string()
    }

    #[test]
    fn gomaxprocs_is_a_number_from_1_to_1024() {
        assert_eq!(parse("1"), Some(1));
        assert_eq!(parse("4"), Some(4));
        assert_eq!(parse("1024"), Some(1024));
        assert_eq!(parse("0004"), Some(4));
    }

    #[test]
    fn gomaxprocs_may_be_empty_or_stand_in_whitespace() {
        assert_eq!(parse(""), None);
        assert_eq!(parse(" \t\n"), None);
        assert_eq!(parse(" 8\n"), Some(8));
    }

    #[test]
    fn gomaxprocs_that_is_no_such_number_is_an_error_that_quotes_it() {
        assert_eq!(refusal(b"banana"), "GOMAXPROCS=banana is not a number of processors from 1 to 1024");
        let too_long = "9".repeat(40);
        for value in ["0", "-1", "+4", "1025", "100000", "4.0", "4 5", "0x4", "\u{0664}", &too_long] {
            let message = refusal(value.as_bytes());
            assert!(message.starts_with(&format!("GOMAXPROCS={value} is not")), "{message}");
        }
    }

    #[test]
    fn gomaxprocs_that_is_not_utf_8_is_an_error() {
        assert!(refusal(b"4\xff").starts_with("GOMAXPROCS=4\u{fffd} is not"));
        assert!(refusal(b"\xff").starts_with("GOMAXPROCS=\u{fffd} is not"));
    }

    #[test]
    fn schedtrace_is_a_number_of_milliseconds() {
        let parse = |value: &str| parse_trace_every(OsStr::new(value));
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("0").unwrap(), None);
        assert_eq!(parse(" 1000 ").unwrap(), Some(Duration::from_secs(1)));
        for value in ["banana", "-1", "+1", "1.5", "86400001", "99999999999999999999999"] {
            let error = parse(value).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().starts_with(&format!("GORT_SCHEDTRACE={value} is not")), "{error}");
        }
    }

    #[test]
    fn check_procs_takes_1_to_1024() {
        assert_eq!(check_procs(1).unwrap(), 1);
        assert_eq!(check_procs(1024).unwrap(), 1024);
        let message = |procs| check_procs(procs).unwrap_err().to_string();
        assert_eq!(message(0), "0 processors: a runtime has from 1 to 1024");
        assert_eq!(message(1025), "1025 processors: a runtime has from 1 to 1024");
        assert_eq!(check_procs(usize::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_tighter_of_mask_and_quota_decides() {
        assert_eq!(procs_from_limits(Some(8), None), 8);
        assert_eq!(procs_from_limits(Some(8), Some(3)), 3);
        assert_eq!(procs_from_limits(Some(2), Some(3)), 2);
        assert_eq!(procs_from_limits(None, Some(3)), 3);
        assert_eq!(procs_from_limits(None, None), 1);
        assert_eq!(procs_from_limits(Some(5000), Some(4000)), MAX_PROCS);
        assert_eq!(procs_from_limits(Some(0), Some(0)), 1);
    }

    #[test]
    fn the_default_never_exceeds_the_affinity_mask() {
        assert!((1..=cpu::affinity_count().unwrap().min(MAX_PROCS)).contains(&default_procs()));
    }
}
