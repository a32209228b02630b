//! F0. `membarrier(2)`: a full fence on every running thread of the process, at the caller's expense.
//!
//! Registered once for the process, on first use by a runtime's start. Where the kernel refuses it
//! (before 4.14, some sandboxes), or `GORT_MEMBARRIER=0` asks so, the hot side pays a real fence.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;

/// Set before the first M starts, and never changed after: both sides of every fence agree on it.
static AVAILABLE: AtomicBool = AtomicBool::new(false);
static REGISTER: Once = Once::new();

fn membarrier(command: libc::c_int) -> libc::c_long {
    // SAFETY: membarrier takes no pointers and changes no memory.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

/// Registers the process. Called before any M exists; idempotent.
pub(crate) fn register() {
    REGISTER.call_once(|| {
        let refused = std::env::var_os("GORT_MEMBARRIER").is_some_and(|value| value == "0");
        let ok = !refused && membarrier(REGISTER_PRIVATE_EXPEDITED) == 0;
        AVAILABLE.store(ok, Ordering::Release);
    });
}

/// Does the hot side get away without a fence?
pub(crate) fn is_available() -> bool {
    AVAILABLE.load(Ordering::Relaxed)
}

/// See `prim::light_fence`.
#[inline(always)]
pub(crate) fn light_fence() {
    if is_available() {
        compiler_fence(Ordering::SeqCst);
    } else {
        // SeqCst: pairs with `heavy_fence` where the kernel does not supply the other half.
        fence(Ordering::SeqCst);
    }
}

/// See `prim::heavy_fence`.
pub(crate) fn heavy_fence() {
    // SeqCst: this thread's own half; the kernel's barrier on the calling CPU is not promised to order
    // what the compiler sees.
    fence(Ordering::SeqCst);
    if is_available() {
        membarrier(PRIVATE_EXPEDITED);
        compiler_fence(Ordering::SeqCst);
    }
}
