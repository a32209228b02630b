//! F0. SIGSEGV and SIGBUS: what the kernel says of a fault, and who hears of it in which order.
//!
//! # The order
//!
//! ```text
//!  Hooks::examine   ours? then it does not return
//!  the former handler (std's, a crash reporter's, a virtual machine's, the default action)
//!  Hooks::doomed    if the default action is in force now: the process dies when we return. (Not sooner: a
//!                   fault of another thread comes to us meanwhile, and waits in Hooks::examine)
//!  return           the instruction is repeated
//! ```
//!
//! # Invariants
//!
//! 1. Installed once for the process, for both signals.
//! 2. The exit status of a fault that is not ours is the signal's: we return, and the fault repeats itself.
//! 3. A fault within the handler comes to the handler again (`SA_NODEFER`): its hooks see that they are
//!    nested, and end the process. The former handler has the mask that it asked for (`chain`).
//!
//! Runs on the alternate stack of the thread that has faulted.
//!
//! *Rejected:* speaking before the former handler has had its turn. A virtual machine's may mend the fault
//! and go on; then nothing was fatal.

use std::io;
use std::sync::OnceLock;

use super::chain::{self, Chain};
use crate::sys::{errno, set_errno};

/// The code of a fault without an address, which libc does not name.
const SI_KERNEL: i32 = 0x80;

static SEGV: Chain = Chain::new(libc::SIGSEGV);
static BUS: Chain = Chain::new(libc::SIGBUS);
static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// A fault of the calling thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// `SIGSEGV` or `SIGBUS`.
    pub(crate) name: &'static str,
    /// What could not be accessed; `None` if somebody has sent the signal, or the processor does not say (an
    /// address that is none, on x86).
    pub(crate) address: Option<usize>,
}

/// What is to be done about faults. All of it is async-signal-safe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hooks {
    /// Is it a matter of gort's? Then it does not return.
    pub(crate) examine: fn(&Fault),
    /// Nobody wants it: the process dies when this returns.
    pub(crate) doomed: fn(&Fault),
}

/// Installs the process's handlers, once; later calls do nothing.
pub(crate) fn install(hooks: Hooks) -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    HOOKS.get_or_init(|| hooks);
    let take = |chain: &Chain| chain.take(on_fault, libc::SA_NODEFER);
    INSTALLED
        .get_or_init(|| {
            take(&SEGV).and_then(|()| take(&BUS)).map_err(|error| error.raw_os_error().unwrap_or_default())
        })
        .map_err(io::Error::from_raw_os_error)
}

/// The handler. Runs on any thread of the process.
extern "C" fn on_fault(number: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = errno();
    let (chain, name) = if number == libc::SIGBUS { (&BUS, "SIGBUS") } else { (&SEGV, "SIGSEGV") };
    // SAFETY: the kernel gives every handler with SA_SIGINFO a siginfo.
    let code = unsafe { (*info).si_code };
    let by_kernel = code > 0;
    // SAFETY: a fault's siginfo has an address.
    let address = (by_kernel && code != SI_KERNEL).then(|| unsafe { (*info).si_addr() }.addr());
    let fault = Fault { name, address };
    // Acquire: pairs with `install`; set before the handler was.
    let hooks = HOOKS.get();
    if let Some(hooks) = hooks {
        (hooks.examine)(&fault);
    }
    chain.pass_on(info, context);
    if let Some(hooks) = hooks
        && by_kernel
        && chain::action_of(number).sa_sigaction == libc::SIG_DFL
    {
        chain.retake(on_fault, libc::SA_NODEFER, || (hooks.doomed)(&fault));
    }
    set_errno(before);
}
