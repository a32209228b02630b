//! F9c. For gort's own watchdog: the queues of a runtime, then its goroutines.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::text::{self, Style};
use crate::p::P;
use crate::sched::Sched;

/// A line for each processor and worker, then the dump of all goroutines.
pub(crate) fn dump(sched: &'static Sched) -> String {
    let mut text = String::new();
    for p in sched.ps() {
        let _ = writeln!(text, "{}", describe_p(p));
    }
    for m in sched.ms() {
        let _ = writeln!(text, "{m:?} local {} remote {}", m.local_len(), !m.remote.is_empty());
    }
    let _ = writeln!(text, "census {:?} injector {}\n", sched.census, sched.injector.len());
    text + &text::of_runtimes(&[sched], Style { folded: true, whole: false })
}

fn describe_p(p: &P) -> String {
    format!(
        "P{} attention {:#x} next {} conts {} fifo {} shared {}+{} ticks {} deadline {}",
        p.id,
        p.attention(),
        p.has_next(),
        p.local.conts.len(),
        p.fifo_len(),
        p.shared_conts.len(),
        p.shared_fifo.len(),
        p.counters.ticks.load(Ordering::Relaxed),
        p.timers.next_deadline.load(Ordering::Relaxed),
    )
}
