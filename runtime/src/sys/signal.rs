//! F0. Signals: the handler's installation, its stack, and sending one to a thread.
//!
//! # Invariants
//!
//! 1. The handler is installed once for the process, and chains to whoever was there before.
//! 2. Each worker has an alternate stack of its own with a guard page beneath, so a signal that comes
//!    while a goroutine stands at the end of its stack does not overflow it.

use std::io;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::memory;

/// What gort's handler is called with on a thread: nothing but the fact. It must be async-signal-safe.
pub(crate) type Hook = fn();

/// By which sysmon interrupts a worker. SIGURG, as in Go: harmless when it is stray, not used by libc,
/// and ignored by default.
const PUBLISH_SIGNAL: libc::c_int = libc::SIGURG;

static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the process's handler, once; later calls do nothing.
pub(crate) fn install(hook: Hook) -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    // Before the handler can run.
    HOOK.store(hook as *mut (), Ordering::Release);
    INSTALLED
        .get_or_init(|| {
            let mut before = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: an all-zero sigaction is a valid value.
            let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            // SAFETY: asks for the action that is there now; both pointers are good.
            unsafe { libc::sigaction(PUBLISH_SIGNAL, ptr::null(), before.as_mut_ptr()) };
            // SAFETY: written by the call above (or zero, the default action).
            BEFORE.get_or_init(|| unsafe { before.assume_init() });
            // SAFETY: `on_signal` is async-signal-safe and has the three-argument form.
            let result = unsafe { libc::sigaction(PUBLISH_SIGNAL, &action, ptr::null_mut()) };
            if result == 0 { Ok(()) } else { Err(super::errno()) }
        })
        .map_err(io::Error::from_raw_os_error)
}

/// The handler. Runs on any thread of the process.
extern "C" fn on_signal(number: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let errno = super::errno();
    let hook = HOOK.load(Ordering::Acquire);
    if !hook.is_null() {
        // SAFETY: only `install` stores there, and only a `Hook`.
        let hook: Hook = unsafe { std::mem::transmute::<*mut (), Hook>(hook) };
        hook();
    }
    if let Some(before) = BEFORE.get() {
        chain(before, number, info, context);
    }
    super::set_errno(errno);
}

/// Calls the handler that was there before ours, if it was one.
pub(super) fn chain(
    before: &libc::sigaction,
    number: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    if before.sa_sigaction == libc::SIG_DFL || before.sa_sigaction == libc::SIG_IGN {
        return;
    }
    if before.sa_flags & libc::SA_SIGINFO != 0 {
        type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
        // SAFETY: the kernel would have called it so: its flags say that it takes three arguments.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(before.sa_sigaction) };
        handler(number, info, context);
    } else {
        type Handler = extern "C" fn(libc::c_int);
        // SAFETY: as above, with one argument.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(before.sa_sigaction) };
        handler(number);
    }
}

/// Interrupts a thread of this process. A thread that has ended meanwhile is no error.
pub(crate) fn interrupt(tid: i32) {
    // SAFETY: tgkill takes numbers; the process id confines it to this process.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, PUBLISH_SIGNAL) };
}

/// A worker must receive the signal, whatever mask its thread has inherited.
pub(crate) fn unblock_publish_signal() {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised above; the signal exists.
    unsafe { libc::sigaddset(set.as_mut_ptr(), PUBLISH_SIGNAL) };
    // SAFETY: changes the calling thread's mask only.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut()) };
}

/// The alternate stack of a worker; restored and unmapped on drop.
#[derive(Debug)]
pub(crate) struct AltStack {
    /// The mapping; none if there was no memory, and the worker does without.
    base: Option<NonNull<u8>>,
    before: libc::stack_t,
}

const ALT_STACK_BYTES: usize = 64 << 10;

impl AltStack {
    /// Gives the calling thread an alternate stack of 64 KiB with a guard page.
    pub(crate) fn install() -> Self {
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        let Ok(base) = memory::reserve(ALT_STACK_BYTES) else {
            return AltStack { base: None, before: none };
        };
        // SAFETY: the lowest page of our own fresh mapping. A refusal costs the guard, nothing else.
        let _ = unsafe { memory::protect(base) };
        let stack = libc::stack_t {
            ss_sp: base.as_ptr().wrapping_add(memory::PAGE_BYTES).cast(),
            ss_flags: 0,
            ss_size: ALT_STACK_BYTES - memory::PAGE_BYTES,
        };
        let mut before = none;
        // SAFETY: the memory is ours until drop, which takes it away from the kernel first.
        unsafe { libc::sigaltstack(&stack, &mut before) };
        AltStack { base: Some(base), before }
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        let Some(base) = self.base else { return };
        // SAFETY: what was there before (std's own, perhaps) is still mapped: its owner's drop comes
        // later, at the thread's end.
        unsafe { libc::sigaltstack(&self.before, ptr::null_mut()) };
        // SAFETY: ours, and the kernel uses it no more.
        unsafe { memory::unmap(base, ALT_STACK_BYTES) };
    }
}
