//! F9a. What becomes of a goroutine's panic: the hook, and the policy `Abort`.
//!
//! # How the stack at the panic is known
//!
//! When a panic has reached the goroutine's root, its stack is gone. Only the panic hook runs before it is
//! unwound. So the first runtime of the process puts a hook around the one that is there. It calls that
//! one first, then does two things, both on goroutines only:
//!
//! - If the hook beneath is std's own, whose message names no more than the worker thread, it adds a line:
//!   `in goroutine 7 "name", created at src/main.rs:10:5`. Who has a hook of their own formats panics
//!   themselves.
//! - Where the runtime's policy is `Abort`, it keeps the return addresses (`g::panicked`) until it is clear
//!   whether anybody wants the result. Symbols are looked up only when the process ends.
//!
//! A hook runs on the stack of whoever panics, which may be 16 KiB, or nearly full; std's needs more, where
//! it prints a backtrace. So the one beneath ours is given a further segment then (`grow`).
//!
//! A hook that is installed later and does not call ours costs these two, nothing else: the policy holds
//! all the same, for the root decides, and its report says that the stack is not known. So it is with panics
//! that call no hook (`resume_unwind`).
//!
//! # Invariants
//!
//! 1. The hook runs on the stack of whoever panics; it must not panic (std aborts then), and locks nothing of
//!    gort's.
//! 2. The root calls [`at_root`] before it gives the result away: so who takes the result finds the record.
//!
//! # With `panic = "abort"`
//!
//! Nothing unwinds: each panic ends the process with SIGABRT once the hook has run, whatever the policy is.
//!
//! *Rejected:* keeping the stack of each panic, whatever the policy: a program that catches its panics has
//! no use for it. Asking std for the stack by `RUST_BACKTRACE`: it prints, and gives nothing back.
//! One record for each panic in flight: only one that is caught while another one unwinds would
//! show it, and costs a stack in a report.

use std::any::Any;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::g::GRef;
use crate::g::panicked::{Last, PanicPolicy, Panicked};
use crate::grow;
use crate::inspect::symbols::Symbols;
use crate::m::M;
use crate::park::current_g;
use crate::sched::Sched;
use crate::sys;
use crate::unwind::Trace;
use crate::util::last_words;

/// Puts gort's hook around the one that is there, once.
pub(crate) fn install_hook() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    // A panicking thread may not touch the hook: the next runtime will. Relaxed: std's own lock orders the
    // rest.
    if std::thread::panicking() || INSTALLED.swap(true, Ordering::Relaxed) {
        return;
    }
    let before = panic::take_hook();
    // With none set, this gives std's own: the same function, so the same vtable.
    let beside_std = std::ptr::eq(&raw const *before, &raw const *panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        grow::with_room(|| {
            before(info);
            if let Some(g) = current_g() {
                on_panic(g, info, beside_std);
            }
        });
    }));
}

fn on_panic(g: GRef, info: &PanicHookInfo<'_>, beside_std: bool) {
    if beside_std {
        let last = last(g);
        let mut text = format!("in {}", last.who());
        if let Some(site) = last.site {
            let _ = write!(text, ", created at {site}");
        }
        text.push('\n');
        // Not by `eprintln!`, which panics where stderr is a closed pipe.
        let _ = io::stderr().write_all(text.as_bytes());
    }
    if policy() == PanicPolicy::Abort {
        let mut trace = Box::new(Trace::new());
        trace.take(g.slot(), None);
        // The record of a panic that was caught is dropped.
        g.panicked.set(Some(Box::new(Panicked::new(info.payload(), Some(trace)))));
    }
}

/// The policy of the calling goroutine's runtime.
fn policy() -> PanicPolicy {
    M::current().map_or(PanicPolicy::Report, |m| Sched::of_m(m).settings.panic_policy)
}

/// Who the calling goroutine is.
fn last(g: GRef) -> Last {
    // SAFETY: it is the caller.
    let name = unsafe { g.own_name() };
    Last { id: g.id(), name: name.cloned(), site: g.site() }
}

/// A panic has reached the root of the calling goroutine: notes what a report needs, while it is there.
#[cold]
pub(crate) fn at_root(g: GRef, payload: &(dyn Any + Send)) {
    if policy() == PanicPolicy::Report {
        return;
    }
    let noted = g.panicked.take().filter(|noted| noted.is_of(payload));
    let mut noted = noted.unwrap_or_else(|| Box::new(Panicked::new(payload, None)));
    noted.last = Some(last(g));
    g.panicked.set(Some(noted));
}

/// A goroutine has panicked and nobody wants its result: under the policy `Abort`, where the panic was
/// noted, the process ends here.
#[cold]
pub(crate) fn unwanted(noted: Option<Box<Panicked>>) {
    if let Some(noted) = noted
        && let Some(last) = &noted.last
    {
        // Another thread that ends the process has the word: let it finish.
        let _ = last_words::claim();
        sys::complain(&grow::with_room(|| report(&noted, last)));
        sys::exit_at_once(2);
    }
}

/// The whole report.
fn report(noted: &Panicked, last: &Last) -> String {
    let mut text = format!("\nfatal error: {} panicked: {}\n", last.who(), noted.message());
    match &noted.trace {
        Some(trace) => text.push_str(&Symbols::default().text_of_panic(trace.addresses())),
        None => {
            text.push_str("(its stack is not known: the panic was resumed, or the panic hook was replaced)\n")
        }
    }
    if let Some(site) = last.site {
        let _ = writeln!(text, "created at {site}");
    }
    text
}
