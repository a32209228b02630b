//! F0. The current thread's word on x86-64: `.tbss`, initial-exec, one load each.
//!
//! `@GOTTPOFF` (initial-exec) costs 0.01 ns more than `@TPOFF` (local-exec) and also works in shared
//! libraries that are loaded at start. The symbol carries the crate's version, so that two versions of
//! gort in one program do not share a word.

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
    // SAFETY: reads this thread's own word in .tbss, which exists in every thread. Not `pure`, so LLVM
    // neither merges nor hoists it (invariant 1).
    unsafe {
        asm!(
            concat!("mov {0}, qword ptr [rip + ", symbol!(), "@GOTTPOFF]"),
            "mov {0}, qword ptr fs:[{0}]",
            out(reg) value,
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
            concat!("mov {0}, qword ptr [rip + ", symbol!(), "@GOTTPOFF]"),
            "mov qword ptr fs:[{0}], {1}",
            out(reg) _,
            in(reg) value,
            options(nostack, preserves_flags)
        );
    }
}
