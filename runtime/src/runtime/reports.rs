//! F9d. What the reporter's thread does when it is asked, and by which signal the user asks.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::thread;

use crate::deadlock;
use crate::fault;
use crate::inspect::standstill;
use crate::inspect::text::{self, Style};
use crate::report;
use crate::sched::{DeadlockAction, Sched, registry};
use crate::sys::threads::AtWork;
use crate::sys::{self, clock, dump_signal, futex};

/// The first line of the report.
const ALL_ASLEEP: &str = "fatal error: all goroutines are asleep - deadlock!\n\n";

/// The exit status of a program that is deadlocked: Go's.
const STATUS: i32 = 2;

/// For so long the standard output may take to write its buffer out.
const FLUSH_NS: u64 = 100_000_000;

/// In reports that nobody has asked for in particular.
const STYLE: Style = Style { folded: false, whole: false };

/// Makes the reports that were asked for. On the reporter's thread.
pub(super) fn make(asked: u32) {
    // First: a handler waits for it.
    if asked & report::FAULT != 0 {
        fault::make_report();
    }
    if asked & report::DUMP != 0 {
        let text = text::of_runtimes(&registry::running(), STYLE);
        sys::complain(if text.is_empty() { "no goroutines\n" } else { &text });
        dump_signal::made();
    }
    if asked & report::STANDSTILL != 0 {
        registry::running().into_iter().for_each(tell_standstill);
    }
    if asked & report::DEADLOCK != 0 {
        for sched in registry::all() {
            tell(sched);
        }
        if deadlock::all_asleep() {
            die();
        }
    }
}

/// Reports the threads of a runtime that sysmon has found to stand still.
fn tell_standstill(sched: &'static Sched) {
    // Relaxed: `ask` has published it.
    for m in sched.ms().filter(|m| m.stands_still.swap(false, Ordering::Relaxed)) {
        if let Some(text) = standstill::report(sched, m) {
            sys::complain(&text);
        }
    }
}

/// Calls the handler of a runtime that is deadlocked, if it has one and does not know.
fn tell(sched: &'static Sched) {
    let DeadlockAction::Call(handler) = &sched.settings.on_deadlock else { return };
    if deadlock::must_tell(sched) {
        let report = format!("{ALL_ASLEEP}{}", text::of_runtimes(&[sched], STYLE));
        // It may wake goroutines.
        let _at_work = AtWork::begin();
        // The panic's message has been printed by its hook.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| handler(report)));
    }
}

/// Everybody is asleep, and that is the end.
fn die() -> ! {
    sys::complain(ALL_ASLEEP);
    sys::complain(&text::of_runtimes(&registry::running(), STYLE));
    flush_stdout();
    sys::exit_at_once(STATUS)
}

/// Writes out what is left in the buffer of std's standard output. On a thread of its own, for which we do
/// not wait long: a goroutine that sleeps may hold the lock.
fn flush_stdout() {
    use std::sync::atomic::AtomicU32;
    static DONE: AtomicU32 = AtomicU32::new(0);
    let flush = || {
        let _ = io::Write::flush(&mut io::stdout());
        // Relaxed: nothing but the flag.
        DONE.store(1, Ordering::Relaxed);
        futex::wake(&DONE, 1);
    };
    if thread::Builder::new().spawn(flush).is_ok() {
        let deadline_ns = clock::now_ns() + FLUSH_NS;
        while DONE.load(Ordering::Relaxed) == 0 && futex::wait_until(&DONE, 0, deadline_ns) {}
    }
}

/// The user asks for a dump by this signal from now on.
pub(super) fn dump_on(signal: i32) -> io::Result<()> {
    dump_signal::install(signal, ask_for_dump)
}

/// The process-wide runtime takes `SIGQUIT`, if nobody else has.
pub(super) fn dump_on_quit() {
    dump_signal::install_if_free(ask_for_dump);
}

/// In the signal's handler.
fn ask_for_dump() {
    report::ask(report::DUMP);
}
