//! F0. The signal by which sysmon interrupts a worker.
//!
//! SIGURG, as in Go: harmless when it is stray, not used by libc, and ignored by default.
//!
//! # Invariants
//!
//! 1. The handler is installed once for the process, and passes each signal on to whoever was there before.
//! 2. It keeps `errno`, and calls nothing but the hook and the former handler.

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::chain::{self, Chain};
use crate::sys::{errno, set_errno};

/// What the handler calls on each thread: nothing but the fact. It must be async-signal-safe.
pub(crate) type Hook = fn();

const SIGNAL: libc::c_int = libc::SIGURG;

static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static CHAIN: Chain = Chain::new(SIGNAL);

/// Installs the process's handler, once; later calls do nothing.
pub(crate) fn install(hook: Hook) -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    // Release: before the handler can run; pairs with its Acquire.
    HOOK.store(hook as *mut (), Ordering::Release);
    INSTALLED
        .get_or_init(|| {
            CHAIN.take(on_signal, libc::SA_RESTART).map_err(|error| error.raw_os_error().unwrap_or_default())
        })
        .map_err(io::Error::from_raw_os_error)
}

/// The handler. Runs on any thread of the process.
extern "C" fn on_signal(_number: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = errno();
    let hook = HOOK.load(Ordering::Acquire);
    if !hook.is_null() {
        // SAFETY: only `install` stores there, and only a `Hook`.
        let hook: Hook = unsafe { std::mem::transmute::<*mut (), Hook>(hook) };
        hook();
    }
    CHAIN.pass_on(info, context);
    set_errno(before);
}

/// Interrupts a thread of this process. A thread that has ended meanwhile is no error.
pub(crate) fn interrupt(tid: i32) {
    // SAFETY: tgkill takes numbers; the process id confines it to this process.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, SIGNAL) };
}

/// A worker must receive the signal, whatever mask its thread has inherited.
pub(crate) fn unblock() {
    chain::unblock(SIGNAL);
}
