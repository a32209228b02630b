//! What is printed of a cycle.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::Write as _;

use gort_runtime::Goroutine;

use super::table::{Member, Target};

/// Prints a cycle to stderr, in one write.
pub(super) fn print(cycle: &[Member]) {
    // Nothing is to be done if stderr is closed.
    let _ = std::io::stderr().write_all(text(cycle).as_bytes());
}

fn text(cycle: &[Member]) -> String {
    let goroutines = if cycle.len() == 1 { "goroutine" } else { "goroutines" };
    let mut text = format!("gort: deadlock among {} {goroutines}:\n", cycle.len());
    for (number, member) in cycle.iter().enumerate() {
        let waits = &member.waits;
        let next = &cycle[(number + 1) % cycle.len()].waits.who;
        let next = if cycle.len() == 1 { "itself".to_owned() } else { name(next) };
        let _ = write!(text, "    {} waits at {} for ", name(&waits.who), waits.site);
        let _ = match (&waits.target, member.taken_at) {
            (Target::Object { what, object, .. }, Some(taken_at)) => {
                writeln!(text, "the {what} at {object:#x}, taken at {taken_at} by {next}")
            }
            _ => writeln!(text, "the end of {next}"),
        };
    }
    text
}

/// `goroutine 7 "name"`, or `thread "name"`.
fn name(who: &Goroutine) -> String {
    let mut text = match who.id() {
        0 => "thread".to_owned(),
        id => format!("goroutine {id}"),
    };
    if let Some(name) = who.name() {
        let _ = write!(text, " {name:?}");
    }
    text
}
