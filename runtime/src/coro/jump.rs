//! F2. Coroutines by jumps, for x86-64.
//!
//! # What a switch is
//!
//! A dozen instructions, inlined on both sides: push rbp, rbx and the address to go on at; exchange the
//! stack pointers; jump to the address that lies on the other stack. All other registers are declared as
//! clobbered, so that the compiler saves those that it needs and no others. There is no `call` and no `ret`
//! in it: the return predictor of the processor stays in step with the frames of code that suspends and
//! goes on in the same places.
//!
//! ```text
//!   a fresh stack                        a suspended one
//!   top ------------------------         ... frames
//!       closure, 16-aligned              rbp
//!       address of the record            rbx
//!       address of the closure           address to go on at   <- sp
//!       enter::<F>
//!       first                  <- sp
//! ```
//!
//! # Invariants
//!
//! 1. `sp` is that of the picture while the coroutine is suspended; `worker_sp` the resumer's, in the same
//!    form, while it runs. Each side writes its own before it leaves, and reads the other's.
//! 2. The root function does not return: it leaves by a last switch, and nobody comes back.
//! 3. *Unwinding and backtraces end at the root*: it is entered as if `first` had called it, and `first`'s
//!    call-frame information says that there is no caller.
//! 4. The control words of x87 and SSE are not switched: Rust code does not change them, and C code that
//!    does restores them before it returns, by the ABI.
//!
//! # Rejected
//!
//! - *A symmetric switch from goroutine to goroutine*, past the worker: 1 to 2 ns less, but then each place
//!   that suspends contains the scheduler.
//! - *Jumping back to the worker from a `call`ed function*: the `ret`s of the worker's frames meet a return
//!   predictor that is one call ahead.

use std::arch::{asm, naked_asm};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use super::{Action, Outcome, Wish};
use crate::util::abort::fatal;

/// What is left with the worker by a root function that has returned.
const FINISHED: usize = usize::MAX;

/// A suspended or running computation. Lies in its goroutine's header, has no destructor.
#[derive(Debug)]
pub(crate) struct Coro {
    sp: Cell<usize>,
    worker_sp: Cell<usize>,
}

/// Leaves this stack, whose pointer goes to `leave`, for the one whose pointer is in `enter`. Returns, when
/// somebody comes back, with what they have left in `message`.
macro_rules! switch {
    ($leave:expr, $enter:expr, $message:expr) => {{
        let mut message: usize = $message;
        // The two places may be one line of one coroutine: `enter` is read before `leave` is written.
        asm!(
            "push rbp",
            "push rbx",
            "lea rax, [rip + 2f]",
            "push rax",
            "mov rcx, [rsi]",
            "mov [rdx], rsp",
            "mov rsp, rcx",
            "pop rcx",
            "jmp rcx",
            "2:",
            "pop rbx",
            "pop rbp",
            inout("rdi") message,
            inout("rsi") $enter => _,
            inout("rdx") $leave => _,
            out("rax") _, out("rcx") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            clobber_abi("sysv64"),
        );
        message
    }};
}

impl Coro {
    /// Prepares `root` to run on the stack `[low, top)`; writes it to the top of that stack.
    ///
    /// # Safety
    ///
    /// `this` may be written, and stays where it is; `[low, top)` is writable memory with a guard below it,
    /// used by nothing else until the coroutine has finished; `top` is 16-aligned and the closure fits well
    /// above `low`. What `root` borrows outlives the coroutine. `root` does not unwind.
    #[inline(always)]
    pub(crate) unsafe fn start<F>(this: *mut Coro, _low: usize, top: usize, root: F)
    where
        F: FnOnce(),
    {
        let closure = (top - size_of::<F>()) & !(align_of::<F>().max(16) - 1);
        let words: *mut usize = std::ptr::with_exposed_provenance_mut(closure - 4 * size_of::<usize>());
        // SAFETY: within the stack, by the caller's promise, and aligned.
        unsafe { std::ptr::with_exposed_provenance_mut::<F>(closure).write(root) };
        // SAFETY: as above.
        unsafe {
            words.write(first as *const () as usize);
            words.add(1).write(enter::<F> as *const () as usize);
            words.add(2).write(closure);
            words.add(3).write(this.addr());
        }
        // SAFETY: `this` may be written.
        unsafe { this.write(Coro { sp: Cell::new(words.addr()), worker_sp: Cell::new(0) }) };
    }

    /// Runs it until it suspends itself or finishes.
    ///
    /// # Safety
    ///
    /// `this` was started, has not finished, is running nowhere, and np is 1 (`coro`, invariants 1 and 4).
    #[inline(always)]
    pub(crate) unsafe fn resume(this: *mut Coro) -> Outcome {
        // SAFETY: invariant 1: the other side's stack pointer is good.
        let message =
            unsafe { switch!(&raw mut (*this).worker_sp, &raw mut (*this).sp, Wish::GoOn as usize) };
        match message {
            0 => Outcome::Suspended(Action::Yield),
            1 => Outcome::Suspended(Action::Park),
            2 => Outcome::Suspended(Action::Spawn),
            FINISHED => Outcome::Finished,
            _ => Outcome::Suspended(Action::Stop),
        }
    }

    /// Lets it show its stack (`coro`, invariant 5).
    ///
    /// # Safety
    ///
    /// As [`resume`](Self::resume); it has been resumed before and has suspended itself since.
    pub(crate) unsafe fn visit(this: *mut Coro) {
        // SAFETY: as in `resume`.
        let message =
            unsafe { switch!(&raw mut (*this).worker_sp, &raw mut (*this).sp, Wish::Show as usize) };
        if message == FINISHED {
            fatal("a visited goroutine has ended");
        }
    }

    /// Leaves the running coroutine; returns when somebody resumes it, perhaps on another thread. If that was
    /// to show its stack, the caller does so at once and suspends again.
    ///
    /// # Safety
    ///
    /// `this` is the coroutine on whose stack (or segment) the caller runs; np is 1.
    #[inline(always)]
    #[must_use]
    pub(crate) unsafe fn suspend(this: *mut Coro, action: Action) -> Wish {
        // SAFETY: invariant 1: the resumer's stack pointer is good.
        let wish = unsafe { switch!(&raw mut (*this).sp, &raw mut (*this).worker_sp, action as usize) };
        if wish == Wish::GoOn as usize { Wish::GoOn } else { Wish::Show }
    }
}

/// Where a fresh stack begins: calls its root function, as far as anybody can see (invariant 3).
#[unsafe(naked)]
unsafe extern "C" fn first() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        // On the stack: the root function and what it is called with.
        "pop rax",
        "pop rsi",
        "pop rdi",
        // As after a call: a return address, above which the stack is 16-aligned. No frame above.
        "lea rcx, [rip + 2f]",
        "push rcx",
        "xor ebp, ebp",
        "jmp rax",
        "2:",
        "ud2",
        ".cfi_endproc",
    )
}

/// The root function: runs the closure and leaves for ever.
unsafe extern "C" fn enter<F: FnOnce()>(this: *mut Coro, closure: *mut F) {
    // SAFETY: written by `start`; read once, here.
    let root = unsafe { closure.read() };
    // It does not unwind, but an unwinding that no frame catches does not even begin: then the guards that
    // end the process with a message (`util::abort`) would not be run.
    let end = panic::catch_unwind(AssertUnwindSafe(root));
    assert!(end.is_ok(), "the root of a coroutine unwinds");
    // SAFETY: invariants 1 and 2.
    unsafe { switch!(&raw mut (*this).sp, &raw mut (*this).worker_sp, FINISHED) };
    unreachable!("a coroutine that has finished was resumed");
}
