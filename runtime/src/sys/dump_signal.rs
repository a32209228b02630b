//! F0. The signal by which the user asks for a dump.
//!
//! # Invariants
//!
//! 1. The handler is async-signal-safe: it reads the clock, calls the hook (which sets a word and wakes a
//!    futex), and ends the process by `_exit` if the last signal is less than a second ago, or its dump is not made yet.
//! 2. What was there before is kept for each signal, and called afterwards if it is a handler.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use super::clock;

/// What the handler calls. It must be async-signal-safe.
pub(crate) type Hook = fn();

/// The exit status after a second signal: Go's.
const STATUS: i32 = 2;

/// Two signals so close together end the process.
const SECOND_NS: u64 = 1_000_000_000;

/// Linux has signals from 1 to 64.
const SIGNALS: usize = 65;

/// Not for us: they cannot be handled, are those of faults, belong to the C library, or to gort.
const TAKEN: [i32; 11] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGURG,
    32,
    33,
];

static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static LAST_NS: AtomicU64 = AtomicU64::new(0);

/// Has a dump been asked for that is not made?
static ASKED: AtomicBool = AtomicBool::new(false);
static BEFORE: [OnceLock<libc::sigaction>; SIGNALS] = [const { OnceLock::new() }; SIGNALS];

/// Handles `signal` from now on. Idempotent.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for a number that is no signal, or not to be had.
pub(crate) fn install(signal: i32, hook: Hook) -> io::Result<()> {
    let refused = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("signal {signal} cannot be used to ask for dumps"),
        )
    };
    if !(1..SIGNALS as i32).contains(&signal) || TAKEN.contains(&signal) {
        return Err(refused());
    }
    let before = current(signal).ok_or_else(refused)?;
    if before.sa_sigaction == on_signal as *const () as usize {
        return Ok(());
    }
    BEFORE[signal as usize].get_or_init(|| before);
    HOOK.store(hook as *mut (), Ordering::Release);
    // SAFETY: an all-zero sigaction is a valid value.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `on_signal` is async-signal-safe (invariant 1) and has the three-argument form.
    match unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(refused()),
    }
}

/// Handles `SIGQUIT` from now on, if its action is the default one.
pub(crate) fn install_if_free(hook: Hook) {
    if current(libc::SIGQUIT).is_some_and(|action| action.sa_sigaction == libc::SIG_DFL) {
        // It exists and is free, so this does not fail; if it did, the signal would end the process, as
        // without us.
        let _ = install(libc::SIGQUIT, hook);
    }
}

/// The dump that was asked for is made.
pub(crate) fn made() {
    ASKED.store(false, Ordering::Relaxed);
}

fn current(signal: i32) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks for the action that is there now; the pointer is good.
    let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: written by the call; all zero before, which is a valid value.
    (result == 0).then(|| unsafe { action.assume_init() })
}

/// The handler. Runs on any thread of the process.
extern "C" fn on_signal(number: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let errno = super::errno();
    let now_ns = clock::now_ns();
    let last_ns = LAST_NS.swap(now_ns, Ordering::Relaxed);
    let just_now = last_ns != 0 && now_ns.saturating_sub(last_ns) < SECOND_NS;
    // Relaxed: a flag.
    if ASKED.swap(true, Ordering::Relaxed) || just_now {
        super::exit_at_once(STATUS);
    }
    let hook = HOOK.load(Ordering::Acquire);
    if !hook.is_null() {
        // SAFETY: only `install` stores there, and only a `Hook`.
        let hook: Hook = unsafe { std::mem::transmute::<*mut (), Hook>(hook) };
        hook();
    }
    if let Some(before) = BEFORE.get(number as usize).and_then(OnceLock::get) {
        super::signal::call_handler(before, number, info, context);
    }
    super::set_errno(errno);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_are_not_to_be_had_are_refused() {
        for signal in [0, -1, 65, i32::MAX, libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGURG, 32] {
            let error = install(signal, || {}).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&signal.to_string()), "{error}");
        }
    }
}
