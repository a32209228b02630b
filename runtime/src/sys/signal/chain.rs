//! F0. Taking a signal over, and passing it on to whoever had it before.
//!
//! # Invariants
//!
//! 1. A signal is taken over once for the process, and never given back.
//! 2. What was there before is known before the new handler can run. The action is asked for first, and
//!    that answer serves until the exchange has told the exact one: a handler that somebody installs between
//!    the two calls is in the second answer.
//! 3. [`Chain::pass_on`] does what the kernel would have done without us: the former handler finds the mask
//!    that it asked for, in the form that it asked for. (Two things are out of reach: it runs on the
//!    alternate stack also if it did not ask for it, and a system call is restarted as *our* flags say.)
//!
//! `take` is called by the start of a runtime; `pass_on` by handlers, on any thread.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A handler in the form with three arguments.
pub(super) type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// One signal, and who had it before.
pub(super) struct Chain {
    number: libc::c_int,
    /// As it was just before the exchange.
    asked: OnceLock<libc::sigaction>,
    /// As the exchange said.
    exchanged: OnceLock<libc::sigaction>,
    /// Has a handler been called that wanted to be called once (`SA_RESETHAND`)? Then the action is the
    /// default one from now on. (Not by giving the signal back: the fault that ends the process is still
    /// ours.)
    reset: AtomicBool,
}

impl Chain {
    /// The chain of a signal that is not taken over yet.
    pub(super) const fn new(number: libc::c_int) -> Self {
        Chain { number, asked: OnceLock::new(), exchanged: OnceLock::new(), reset: AtomicBool::new(false) }
    }

    /// Makes `handler` the signal's, with `SA_SIGINFO`, `SA_ONSTACK` and `flags`. By one thread, once.
    pub(super) fn take(&self, handler: Handler, flags: libc::c_int) -> io::Result<()> {
        self.asked.get_or_init(|| action_of(self.number));
        let before = exchange(self.number, handler, flags)?;
        self.exchanged.get_or_init(|| before);
        Ok(())
    }

    /// As [`take`](Self::take), while the action is the default one: `last` is called with the handler in force
    /// again, and then the action is the default one for good. In the handler.
    pub(super) fn retake(&self, handler: Handler, flags: libc::c_int, last: impl FnOnce()) {
        // A refusal leaves the default action.
        let _ = exchange(self.number, handler, flags);
        last();
        set_default(self.number);
    }

    /// Does with the signal what would have been done without us. Called by our handler, with what it was
    /// called with.
    pub(super) fn pass_on(&self, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // Both reads are an Acquire load: pairs with the initialisation (invariant 2).
        let Some(before) = self.exchanged.get().or_else(|| self.asked.get()) else { return };
        match before.sa_sigaction {
            libc::SIG_DFL => default(self.number, info),
            // The kernel does not let anybody ignore a fault.
            libc::SIG_IGN if is_fault(self.number, info) => default(self.number, info),
            libc::SIG_IGN => {}
            // Relaxed: a flag, of which one of several threads sees the change.
            _ if before.sa_flags & libc::SA_RESETHAND != 0 && self.reset.swap(true, Ordering::Relaxed) => {
                default(self.number, info);
            }
            _ => call(before, self.number, info, context),
        }
    }
}

/// Makes `handler` the signal's; returns what was there before.
fn exchange(number: libc::c_int, handler: Handler, flags: libc::c_int) -> io::Result<libc::sigaction> {
    // SAFETY: an all-zero sigaction is a valid value.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the handler is async-signal-safe (its file says so) and has the three-argument form.
    if unsafe { libc::sigaction(number, &action, before.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: written by the call above.
    Ok(unsafe { before.assume_init() })
}

/// Calls the handler that was there before, if it was one (invariant 3); no other action follows. For signals
/// that are not taken over by a [`Chain`].
pub(crate) fn call_handler(
    before: &libc::sigaction,
    number: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN {
        call(before, number, info, context);
    }
}

/// What the process does with a signal now.
pub(super) fn action_of(number: libc::c_int) -> libc::sigaction {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks, and writes one sigaction.
    unsafe { libc::sigaction(number, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: written by the call above, or zero: the default action.
    unsafe { action.assume_init() }
}

/// Does the instruction that was interrupted raise the signal again, if it is repeated?
fn is_fault(number: libc::c_int, info: *mut libc::siginfo_t) -> bool {
    // SAFETY: the kernel gives every handler with SA_SIGINFO a siginfo. Positive codes are the kernel's own.
    (number == libc::SIGSEGV || number == libc::SIGBUS) && unsafe { (*info).si_code } > 0
}

/// The default action: the signal ends the process, but for one that it would ignore.
fn default(number: libc::c_int, info: *mut libc::siginfo_t) {
    if number == libc::SIGURG {
        return;
    }
    set_default(number);
    // A fault comes back when we return, from the very instruction: that is what a core dump should show.
    if !is_fault(number, info) {
        unblock(number);
        // SAFETY: takes numbers; the calling thread exists.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), number) };
    }
}

fn set_default(number: libc::c_int) {
    // SAFETY: an all-zero sigaction is a valid value: the default action.
    let action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the default action calls nobody.
    unsafe { libc::sigaction(number, &action, ptr::null_mut()) };
}

/// Lets the calling thread receive the signal, whatever mask it has inherited.
pub(super) fn unblock(number: libc::c_int) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised above; the signal exists.
    unsafe { libc::sigaddset(set.as_mut_ptr(), number) };
    // SAFETY: changes the calling thread's mask only.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut()) };
}

/// Calls the former handler as the kernel would have (invariant 3).
fn call(
    before: &libc::sigaction,
    number: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let ours = set_mask(&mask_for(before, number, context));
    if before.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: the kernel would have called it so: its flags say that it takes three arguments.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(before.sa_sigaction) };
        handler(number, info, context);
    } else {
        type Short = extern "C" fn(libc::c_int);
        // SAFETY: as above, with one argument.
        let handler = unsafe { std::mem::transmute::<usize, Short>(before.sa_sigaction) };
        handler(number);
    }
    set_mask(&ours);
}

/// What the kernel would have blocked for the former handler: what the interrupted code had blocked, what the
/// handler's action names, and the signal itself unless it wants to be nested.
fn mask_for(before: &libc::sigaction, number: libc::c_int, context: *mut libc::c_void) -> libc::sigset_t {
    // SAFETY: the kernel gives every handler with SA_SIGINFO a ucontext, by this pointer.
    let mut mask = unsafe { (*context.cast::<libc::ucontext_t>()).uc_sigmask };
    let named = (1..=libc::SIGRTMAX()).filter(|&other| {
        // SAFETY: the action's mask is a valid set.
        unsafe { libc::sigismember(&before.sa_mask, other) == 1 }
    });
    let own = (before.sa_flags & libc::SA_NODEFER == 0).then_some(number);
    for other in named.chain(own) {
        // SAFETY: a valid set of our own.
        unsafe { libc::sigaddset(&mut mask, other) };
    }
    mask
}

/// Sets the calling thread's mask; returns the one before.
fn set_mask(mask: &libc::sigset_t) -> libc::sigset_t {
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: a valid set, and room for another.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, before.as_mut_ptr()) };
    // SAFETY: written by the call, or zero, the empty set.
    unsafe { before.assume_init() }
}
