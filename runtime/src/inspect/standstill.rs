//! F9c. The report on a thread that stands still (`standstill`).
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::collect::{GoroutineState, Scene, Seen};
use super::text;
use crate::m::M;
use crate::sched::Sched;

/// What to do about it.
const CURES: &str = "\
    What blocks a thread holds up the goroutines that have started there. To cure it: the locks of gort::sync,
    which block goroutines only, or goroutines that may move (see ThreadLocals).
    GORT_REPORT_STANDSTILL=0 turns this report off.
";

/// The report on the thread of `m`; `None`: it goes on by now.
pub(crate) fn report(sched: &'static Sched, m: &'static M) -> Option<String> {
    let mut scene = Scene::of(sched, true);
    let there = |seen: &Seen, state| seen.thread == Some(m.id) && seen.state == state;
    let waiting: Vec<u64> = scene
        .goroutines
        .iter()
        .filter(|seen| there(seen, GoroutineState::Runnable))
        .map(|seen| seen.id)
        .collect();
    scene.goroutines.retain(|seen| there(seen, GoroutineState::Running));
    let culprit = scene.goroutines.first()?.id;
    if waiting.is_empty() {
        return None;
    }
    let mut report = String::new();
    let _ = writeln!(
        report,
        "gort: goroutine {culprit} has blocked the thread of M{} for a second, while {} bound to it and ready: {}\n",
        m.id,
        if waiting.len() == 1 { "another one is" } else { "others are" },
        text::numbers(&waiting),
    );
    report.push_str(&text::of_scene(&scene));
    report.push_str(CURES);
    Some(report)
}
