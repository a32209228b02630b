//! F0. The current thread's words on aarch64: initial-exec, through `tpidr_el0`.
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
    ".xword 0",
    ".xword {nothing}",
    ".previous",
    nothing = sym super::NOTHING,
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

/// Where the fork block lies, as an offset from the thread pointer.
#[inline(always)]
fn fork_offset() -> usize {
    let block: usize;
    // SAFETY: loads a constant of the link.
    unsafe {
        asm!(
            concat!("adrp {0}, :gottprel:", fork_symbol!()),
            concat!("ldr {0}, [{0}, :gottprel_lo12:", fork_symbol!(), "]"),
            out(reg) block,
            options(nostack, preserves_flags, readonly)
        );
    }
    block
}

/// Reads the fork block: where it is, and its two words.
#[inline(always)]
pub(super) fn get_fork() -> (usize, usize, usize) {
    let block = fork_offset();
    let (head, limit): (usize, usize);
    // SAFETY: as `get`.
    unsafe {
        asm!(
            "mrs {1}, tpidr_el0",
            "add {1}, {1}, {0}",
            "ldp {1}, {2}, [{1}]",
            in(reg) block,
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
        asm!(
            "mrs {0}, tpidr_el0",
            "str {2}, [{0}, {1}]",
            out(reg) _,
            in(reg) block,
            in(reg) head,
            options(nostack, preserves_flags)
        );
    }
}

/// Writes the head.
#[inline(always)]
pub(super) fn set_fork_head(head: usize) {
    set_fork_head_at(fork_offset(), head);
}

/// Writes the block.
#[inline(always)]
pub(super) fn set_fork(head: usize, limit: usize) {
    let block = fork_offset();
    // SAFETY: as `set_fork_head_at`.
    unsafe {
        asm!(
            "mrs {0}, tpidr_el0",
            "add {0}, {0}, {1}",
            "stp {2}, {3}, [{0}]",
            out(reg) _,
            in(reg) block,
            in(reg) head,
            in(reg) limit,
            options(nostack, preserves_flags)
        );
    }
}
