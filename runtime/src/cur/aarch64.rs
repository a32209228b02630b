//! F0. The current thread's word on aarch64: `.tbss`, initial-exec, through `tpidr_el0`.
//!
//! Compiled and reviewed, not yet run: aarch64 is not a supported target so far.

use std::arch::{asm, global_asm};

macro_rules! symbol {
    () => {
        concat!(
            "gort_runtime_current_",
            env!("CARGO_PKG_VERSION_MAJOR"),
            "_",
            env!("CARGO_PKG_VERSION_MINOR"),
            "_",
            env!("CARGO_PKG_VERSION_PATCH")
        )
    };
}

global_asm!(
    concat!(".section .tbss.", symbol!(), ",\"awT\",@nobits"),
    concat!(".globl ", symbol!()),
    concat!(".hidden ", symbol!()),
    concat!(".type ", symbol!(), ",@object"),
    concat!(".size ", symbol!(), ",8"),
    ".balign 8",
    concat!(symbol!(), ":"),
    ".zero 8",
    ".previous",
);

/// Reads the word.
#[inline(always)]
pub(super) fn get() -> usize {
    let value: usize;
    // SAFETY: reads this thread's own word in .tbss. Not `pure`, so LLVM neither merges nor hoists it.
    unsafe {
        asm!(
            "mrs {0}, tpidr_el0",
            concat!("adrp {1}, :gottprel:", symbol!()),
            concat!("ldr {1}, [{1}, :gottprel_lo12:", symbol!(), "]"),
            "ldr {0}, [{0}, {1}]",
            out(reg) value,
            out(reg) _,
            options(nostack, preserves_flags, readonly)
        );
    }
    value
}

/// Writes the word.
#[inline(always)]
pub(super) fn set(value: usize) {
    // SAFETY: writes this thread's own word, which only this module reads.
    unsafe {
        asm!(
            "mrs {0}, tpidr_el0",
            concat!("adrp {1}, :gottprel:", symbol!()),
            concat!("ldr {1}, [{1}, :gottprel_lo12:", symbol!(), "]"),
            "str {2}, [{0}, {1}]",
            out(reg) _,
            out(reg) _,
            in(reg) value,
            options(nostack, preserves_flags)
        );
    }
}
