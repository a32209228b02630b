//! F9d. What a runtime leaves behind when it stops.
//!
//! A goroutine that has not ended then is stopped at its next runtime call and never unwound (Rule 4): what
//! it owns is not dropped. In a program that is a habit (Go's); in a test or a library it is a leak, mostly
//! of one that waits for ever. The report says where they were created: by place and state, with counts, in
//! an order that depends on nothing else.
//!
//! Called by whoever stops the runtime, just before: on a foreign thread, or on a goroutine of another
//! runtime. It allocates.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::g::G;
use crate::g::state::Status;
use crate::sched::Sched;
use crate::stack;
use crate::sys;
use crate::timer::sleep::sleep;

const RUNNING: &str = "running";

/// For so many milliseconds one that runs is waited for.
const PATIENCE: u32 = 20;

/// Stops `sched`; the first time, and if it is asked for, with a report of what is left behind.
pub(super) fn stop(sched: &'static Sched) {
    if sched.settings.report_leaks && !sched.is_stopping() {
        report(sched);
    }
    sched.stop();
}

/// Prints which goroutines of `sched` have not ended, if there are any. One that runs may be on its way out:
/// whoever has its result, or was in its scope, goes on a moment before it has ended. It gets that moment.
fn report(sched: &'static Sched) {
    let mut living = living(sched);
    for _ in 0..PATIENCE {
        if living.iter().all(|(_, state)| *state != RUNNING) {
            break;
        }
        sleep(Duration::from_millis(1));
        living = self::living(sched);
    }
    if let Some(text) = describe(&living) {
        sys::complain(&text);
    }
}

/// Where a goroutine was created, and what it is about.
type Kind = (Option<&'static Location<'static>>, &'static str);

/// Those that have not ended.
fn living(sched: &'static Sched) -> Vec<Kind> {
    // SAFETY: the slots came from the slab's own walk.
    let all = stack::Cursor::new().map(|slot| unsafe { G::of_slot(slot) });
    let own = all.filter(|g| g.owner.load(Ordering::Relaxed).cast_const() == sched.as_owner());
    let described = |g: &'static G| match g.state.status() {
        Status::Dead => None,
        Status::New => Some((g.site(), "not started")),
        Status::Runnable => Some((g.site(), "runnable")),
        Status::Running => Some((g.site(), RUNNING)),
        Status::Parking | Status::Waiting | Status::Claimed | Status::Left => {
            Some((g.site(), g.wait_reason().as_str()))
        }
    };
    own.filter_map(described).collect()
}

/// The report: the most frequent first, then by place.
fn describe(living: &[Kind]) -> Option<String> {
    let mut counts = BTreeMap::<(&str, u32, u32, &str), usize>::new();
    for (site, state) in living {
        let place = site.map_or(("?", 0, 0), |site| (site.file(), site.line(), site.column()));
        *counts.entry((place.0, place.1, place.2, state)).or_default() += 1;
    }
    let total = living.len();
    let (plural, verb) = if total == 1 { ("", "was") } else { ("s", "were") };
    let mut text = format!("gort: {total} goroutine{plural} {verb} left behind when the runtime stopped:\n");
    let mut counts: Vec<_> = counts.into_iter().collect();
    // A stable sort: among equals the order of places remains.
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    for ((file, line, column, state), count) in counts {
        let _ = writeln!(text, "  {count} created at {file}:{line}:{column} [{state}]");
    }
    (total != 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_and_stand_in_a_fixed_order() {
        assert_eq!(describe(&[]), None);
        let (here, there) = (Location::caller(), Location::caller());
        let mut living = vec![(Some(there), "park"), (Some(here), "sleep"), (None, "running")];
        living.extend([(Some(there), "park"); 2]);
        let forward = describe(&living).unwrap();
        living.reverse();
        assert_eq!(describe(&living).as_ref(), Some(&forward));
        let lines: Vec<&str> = forward.lines().collect();
        assert_eq!(lines[0], "gort: 5 goroutines were left behind when the runtime stopped:");
        assert_eq!(lines[1], format!("  3 created at {there} [park]"));
        assert_eq!(lines[2], "  1 created at ?:0:0 [running]");
        assert_eq!(lines[3], format!("  1 created at {here} [sleep]"));
        assert!(describe(&living[..1]).unwrap().starts_with("gort: 1 goroutine was left behind"));
    }
}
