//! F9a. Faults on goroutines: stack overflow, and SIGSEGV and SIGBUS in general.
//!
//! # What happens
//!
//! ```text
//!  fault ── in the guard page of the stack or segment that the goroutine runs on?
//!             yes: `fatal error: goroutine 7 "name" stack overflow`, backtrace, exit status 2
//!             no:  the former handler; if that leaves the process to die of the signal, a line that
//!                  names the goroutine, its backtrace, and the instruction is repeated: the status is the signal's
//! ```
//!
//! The handler itself writes what it knows, by `write(2)`. Names of functions it cannot have: the
//! goroutine may have been stopped within malloc. It leaves the addresses in [`REQUEST`] and asks the
//! reporter's thread, which prints them with names; if that has not begun to print within
//! [`PATIENCE_NS`] (it waits for malloc's lock, then), the handler prints bare addresses.
//!
//! | state of the request | meaning | next |
//! |---|---|---|
//! | `NONE` 0 | nothing to do | the handler: ASKED |
//! | `ASKED` 1 | the addresses are there | the reporter: PRINTING; the handler: GIVEN_UP |
//! | `PRINTING` 2 | the reporter prints | the reporter: DONE |
//! | `DONE` 3, `GIVEN_UP` 4 | for ever | |
//!
//! # Invariants
//!
//! 1. The handler allocates nothing, takes no lock, and touches only the goroutine beneath it, which stands
//!    still.
//! 2. One thread reports, once (`util::last_words`): others that fault meanwhile sleep in their handlers.
//!    A fault within the report ends it.
//! 3. The handler ends: each wait has a bound.
//!
//! # Runs
//!
//! On the alternate stack of any thread; foreign threads and the scheduler's stack pass through to the former
//! handler (std's reports an overflow of a thread's own stack, that of a worker too). `make_report` runs on
//! the reporter's thread.
//!
//! *Rejected:* taking every fault in a guard page for an overflow: a stray pointer into another goroutine's
//! guard is none. Unwinding further than [`SHOWN`] frames: a stack of 1 GiB has millions.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::g::GRef;
use crate::g::who::Who;
use crate::inspect::symbols::Symbols;
use crate::park::current_g;
use crate::report;
use crate::stack::{self, Where};
use crate::sys::signal::{Fault, Hooks};
use crate::sys::{self, clock, futex};
use crate::unwind::Trace;
use crate::util::fixed::Fixed;
use crate::util::last_words::{self, Claim};

/// How many frames are shown, the innermost ones.
const SHOWN: usize = 64;

/// Longer cycles of a recursion, and those that begin further out, are shown as they are.
const LONGEST_PERIOD: usize = 8;

/// How long the handler waits for names. Reading the debug information of a large program takes a while.
const PATIENCE_NS: u64 = 5_000_000_000;

/// As Go's fatal errors.
const STATUS: i32 = 2;

/// What the process's handlers call.
pub(crate) const HOOKS: Hooks = Hooks { examine, doomed };

/// Is it a goroutine that has overflowed its stack? Then this does not return. Nor if another thread
/// is about to end the process.
fn examine(fault: &Fault) {
    if last_words::wait_unless_speaker().is_some() {
        sys::complain("gort: another fault while the report was made: it ends here\n");
        sys::exit_at_once(STATUS);
    }
    if let Some(g) = current_g()
        && let Some(address) = fault.address
        && let Some(overflow) = Overflow::find(g, address)
    {
        overflow.report(g);
    }
}

/// Nobody has wanted the fault: when this returns, the process dies of it.
fn doomed(fault: &Fault) {
    let Some(g) = current_g() else { return };
    if last_words::claim() == Claim::Again {
        return;
    }
    let mut text = Fixed::<1024>::new();
    let _ = match fault.address {
        Some(address) => write!(text, "\nfatal: {} at address {address:#x} in {}", fault.name, who(g)),
        None => write!(text, "\nfatal: {} in {}", fault.name, who(g)),
    };
    if let Some(site) = g.site() {
        let _ = write!(text, " (created at {site})");
    }
    sys::complain(text.as_str());
    sys::complain("\n");
    print_backtrace(g);
}

/// The name of the goroutine beneath this handler.
fn who(g: GRef) -> Who<'static> {
    // SAFETY: this handler has interrupted it (invariant 1).
    let name = unsafe { g.own_name() };
    Who { id: g.id(), name: name.map(|name| &**name) }
}

/// A goroutine has run into the guard page of what it runs on.
struct Overflow {
    address: usize,
    low: usize,
    top: usize,
    on_segment: bool,
}

impl Overflow {
    /// Does `g`, which has faulted at `address`, run on the stack whose guard page that is?
    fn find(g: GRef, address: usize) -> Option<Overflow> {
        match stack::classify(address)? {
            Where::Guard(slot) if slot == g.slot() => {
                Some(Overflow { address, low: slot.low(), top: slot.top(), on_segment: false })
            }
            // Relaxed: the goroutine's own word, and it stands still.
            Where::SegmentGuard(segment) if segment.low() == g.stack_low.load(Ordering::Relaxed) => {
                Some(Overflow { address, low: segment.low(), top: segment.top(), on_segment: true })
            }
            _ => None,
        }
    }

    /// The last words of the process.
    fn report(&self, g: GRef) -> ! {
        // New: `examine` has seen that it is not this thread that speaks.
        let _ = last_words::claim();
        let mut text = Fixed::<2048>::new();
        self.describe(g, &mut text);
        sys::complain(text.as_str());
        print_backtrace(g);
        sys::exit_at_once(STATUS)
    }

    fn describe(&self, g: GRef, text: &mut Fixed<2048>) {
        // Rounded up: guard page and header belong to the size that was asked for.
        let kib = (self.top - self.low).next_power_of_two() >> 10;
        let (low, top, address) = (self.low, self.top, self.address);
        let kind = if self.on_segment { "a segment of its stack (by `grow`)" } else { "its stack" };
        let _ = writeln!(text, "\nfatal error: {} stack overflow", who(g));
        let _ = writeln!(text, "    {kind} has {kib} KiB, from {low:#x} to {top:#x}; fault at {address:#x}");
        if let Some(site) = g.site() {
            let _ = writeln!(text, "    created at {site}");
        }
        let cures = "    to cure it: a larger stack by Builder::stack_size(..), or further segments by \
                     gort::grow(..) around the recursive call\n";
        let _ = text.write_str(cures);
    }
}

const NONE: u32 = 0;
const ASKED: u32 = 1;
const PRINTING: u32 = 2;
const DONE: u32 = 3;
const GIVEN_UP: u32 = 4;

/// The handler's request to the reporter. One for the process (invariant 2).
struct Request {
    /// A futex.
    state: AtomicU32,
    len: AtomicUsize,
    addresses: [AtomicUsize; SHOWN],
    /// Are there more?
    more: AtomicU32,
}

static REQUEST: Request = Request {
    state: AtomicU32::new(NONE),
    len: AtomicUsize::new(0),
    addresses: [const { AtomicUsize::new(0) }; SHOWN],
    more: AtomicU32::new(0),
};

/// Prints the stack of the goroutine beneath this handler, with names if they can be had.
fn print_backtrace(g: GRef) {
    let mut trace = Trace::new();
    trace.take(g.slot(), None);
    let all = trace.addresses();
    let shown = &all[..all.len().min(SHOWN)];
    REQUEST.fill(shown, all.len() > SHOWN);
    report::ask(report::FAULT);
    if REQUEST.wait_for_names() {
        return;
    }
    sys::complain("(no names: the thread that reads the debug information does not answer)\n");
    for address in shown {
        let mut line = Fixed::<64>::new();
        let _ = writeln!(line, "{address:#x}");
        sys::complain(line.as_str());
    }
}

impl Request {
    fn fill(&self, shown: &[usize], more: bool) {
        for (place, &address) in self.addresses.iter().zip(shown) {
            place.store(address, Ordering::Relaxed);
        }
        self.len.store(shown.len(), Ordering::Relaxed);
        self.more.store(u32::from(more), Ordering::Relaxed);
        // Release: pairs with the Acquire in `make_report`: the addresses are complete.
        self.state.store(ASKED, Ordering::Release);
    }

    /// Waits until the reporter has printed. False: it has not, and will not any more.
    fn wait_for_names(&self) -> bool {
        if self.wait_while(ASKED) == ASKED {
            // Relaxed: nothing but the word is shared.
            let gave_up = self.state.compare_exchange(ASKED, GIVEN_UP, Ordering::Relaxed, Ordering::Relaxed);
            if gave_up.is_ok() {
                return false;
            }
        }
        // It prints, or has: so it is not stuck, unless stderr is.
        self.wait_while(PRINTING);
        true
    }

    /// Waits for as long as patience lasts, or the state is another one, which is returned.
    fn wait_while(&self, state: u32) -> u32 {
        let deadline_ns = clock::now_ns() + PATIENCE_NS;
        loop {
            let now = self.state.load(Ordering::Relaxed);
            if now != state || !futex::wait_until(&self.state, state, deadline_ns) {
                return self.state.load(Ordering::Relaxed);
            }
        }
    }
}

/// Prints the backtrace that a handler has asked for. On the reporter's thread.
pub(crate) fn make_report() {
    // Acquire: pairs with the Release in `fill`.
    if REQUEST.state.load(Ordering::Acquire) != ASKED {
        return;
    }
    let len = REQUEST.len.load(Ordering::Relaxed);
    let addresses: Vec<usize> =
        REQUEST.addresses[..len].iter().map(|address| address.load(Ordering::Relaxed)).collect();
    let (shown, repeated) = without_repetition(&addresses);
    let mut text = Symbols::default().text(shown);
    if let Some((period, times)) = repeated {
        let what = if period == 1 { "the last frame".into() } else { format!("the last {period} frames") };
        let _ = writeln!(text, "... {what} {times} times more");
    }
    if REQUEST.more.load(Ordering::Relaxed) != 0 {
        text.push_str("... and more, which are left out\n");
    }
    let state = &REQUEST.state;
    if state.compare_exchange(ASKED, PRINTING, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        sys::complain(&text);
        state.store(DONE, Ordering::Relaxed);
        futex::wake(state, 1);
    }
}

/// The frames up to the first time that they repeat themselves to the end, as a recursion's do; and what is
/// repeated: how many frames, how often more.
fn without_repetition(addresses: &[usize]) -> (&[usize], Option<(usize, usize)>) {
    for start in 0..LONGEST_PERIOD {
        for period in 1..=LONGEST_PERIOD {
            let Some(rest) = addresses.get(start..) else { continue };
            let times = rest.len() / period;
            if times >= 3 && rest.iter().zip(&rest[period..]).all(|(one, next)| one == next) {
                return (&addresses[..start + period], Some((period, times - 1)));
            }
        }
    }
    (addresses, None)
}

#[cfg(test)]
mod tests {
    use super::without_repetition;

    #[test]
    fn a_recursion_is_shown_once() {
        assert_eq!(without_repetition(&[]), (&[][..], None));
        assert_eq!(without_repetition(&[1, 2, 3]), (&[1, 2, 3][..], None));
        assert_eq!(without_repetition(&[1, 2, 2, 2, 2]), (&[1, 2][..], Some((1, 3))));
        assert_eq!(without_repetition(&[9, 1, 2, 1, 2, 1, 2, 1]), (&[9, 1, 2][..], Some((2, 2))));
        assert_eq!(without_repetition(&[2, 2, 2, 2, 3]), (&[2, 2, 2, 2, 3][..], None));
    }
}
