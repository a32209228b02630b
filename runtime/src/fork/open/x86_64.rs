//! F9h. The way to `open` on x86-64: a call that the compiler takes for an instruction.
//!
//! A plain call on the cold path makes LLVM keep everything that lives across it in callee-saved registers, and
//! put the address of the function, and of the job, there too: three pushes and pops at each level of a
//! recursion (0.3 to 1 ns). The thunk saves the general registers itself; the vector registers are declared
//! as clobbered, which concerns the cold path alone.

use std::arch::{asm, global_asm};

macro_rules! symbol {
    () => {
        concat!(
            "gort_runtime_fork_open_",
            env!("CARGO_PKG_VERSION_MAJOR"),
            "_",
            env!("CARGO_PKG_VERSION_MINOR"),
            "_",
            env!("CARGO_PKG_VERSION_PATCH")
        )
    };
}

// Saves what a call may change of the general registers but rax, the result; flags go. With call-frame
// information, so that a debugger sees through it; nothing unwinds through it.
global_asm!(
    concat!(".section .text.unlikely.", symbol!(), ",\"ax\",@progbits"),
    concat!(".hidden ", symbol!()),
    concat!(".globl ", symbol!()),
    concat!(".type ", symbol!(), ",@function"),
    concat!(symbol!(), ":"),
    ".cfi_startproc",
    "push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "call {open}",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rbp",
    ".cfi_def_cfa rsp, 8",
    "ret",
    ".cfi_endproc",
    concat!(".size ", symbol!(), ", . - ", symbol!()),
    ".previous",
    open = sym super::open,
);

/// Calls [`open`](super::open).
#[inline(always)]
pub(super) fn call_open() -> usize {
    let head: usize;
    // SAFETY: the thunk keeps the general registers; all others that a call may change are named. Without
    // `nostack` the stack is aligned for a call, and nothing lives below its pointer.
    unsafe {
        asm!(
            concat!("call ", symbol!()),
            out("rax") head,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            out("xmm16") _, out("xmm17") _, out("xmm18") _, out("xmm19") _,
            out("xmm20") _, out("xmm21") _, out("xmm22") _, out("xmm23") _,
            out("xmm24") _, out("xmm25") _, out("xmm26") _, out("xmm27") _,
            out("xmm28") _, out("xmm29") _, out("xmm30") _, out("xmm31") _,
            out("k0") _, out("k1") _, out("k2") _, out("k3") _,
            out("k4") _, out("k5") _, out("k6") _, out("k7") _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
        );
    }
    head
}

/// The address of `job`, as an instruction where it is used.
#[inline(always)]
pub(super) fn address_of<B, RB>() -> usize
where
    B: FnOnce() -> RB,
{
    let address: usize;
    // SAFETY: computes an address.
    unsafe {
        asm!(
            "lea {0}, [rip + {1}]",
            out(reg) address,
            sym super::super::record::run::<B, RB>,
            options(nostack, preserves_flags, nomem)
        );
    }
    address
}
