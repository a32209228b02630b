//! F0. The current thread's words on x86-64: initial-exec, one load each.
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

macro_rules! fork_symbol {
    () => {
        concat!(
            "gort_runtime_fork_",
            env!("CARGO_PKG_VERSION_MAJOR"),
            "_",
            env!("CARGO_PKG_VERSION_MINOR"),
            "_",
            env!("CARGO_PKG_VERSION_PATCH")
        )
    };
}

global_asm!(
    concat!(".section .tdata.", fork_symbol!(), ",\"awT\",@progbits"),
    concat!(".globl ", fork_symbol!()),
    concat!(".hidden ", fork_symbol!()),
    concat!(".type ", fork_symbol!(), ",@object"),
    concat!(".size ", fork_symbol!(), ",16"),
    ".balign 16",
    concat!(fork_symbol!(), ":"),
    ".quad 0",
    ".quad {nothing}",
    ".previous",
    nothing = sym super::NOTHING,
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

/// Reads the fork block: where it is, and its two words.
#[inline(always)]
pub(super) fn get_fork() -> (usize, usize, usize) {
    let (block, head, limit): (usize, usize, usize);
    // SAFETY: as `get`.
    unsafe {
        asm!(
            concat!("mov {0}, qword ptr [rip + ", fork_symbol!(), "@GOTTPOFF]"),
            "mov {1}, qword ptr fs:[{0}]",
            "mov {2}, qword ptr fs:[{0} + 8]",
            out(reg) block,
            out(reg) head,
            lateout(reg) limit,
            options(nostack, preserves_flags, readonly)
        );
    }
    (block, head, limit)
}

/// Writes the head of the block that lies there.
#[inline(always)]
pub(super) fn set_fork_head_at(block: usize, head: usize) {
    // SAFETY: writes this thread's own word, which only this module reads.
    unsafe {
        asm!("mov qword ptr fs:[{0}], {1}", in(reg) block, in(reg) head, options(nostack, preserves_flags));
    }
}

/// Writes the head.
#[inline(always)]
pub(super) fn set_fork_head(head: usize) {
    // SAFETY: as `set_fork_head_at`.
    unsafe {
        asm!(
            concat!("mov {0}, qword ptr [rip + ", fork_symbol!(), "@GOTTPOFF]"),
            "mov qword ptr fs:[{0}], {1}",
            out(reg) _,
            in(reg) head,
            options(nostack, preserves_flags)
        );
    }
}

/// Writes the block.
#[inline(always)]
pub(super) fn set_fork(head: usize, limit: usize) {
    // SAFETY: as `set_fork_head_at`.
    unsafe {
        asm!(
            concat!("mov {0}, qword ptr [rip + ", fork_symbol!(), "@GOTTPOFF]"),
            "mov qword ptr fs:[{0}], {1}",
            "mov qword ptr fs:[{0} + 8], {2}",
            out(reg) _,
            in(reg) head,
            in(reg) limit,
            options(nostack, preserves_flags)
        );
    }
}
