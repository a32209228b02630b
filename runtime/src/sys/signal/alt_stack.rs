//! F0. The alternate stack of a worker.
//!
//! # Invariants
//!
//! 1. Each worker has one of its own with a guard page beneath, so a signal that comes while a goroutine
//!    stands at the end of its stack does not overflow it.

use std::ptr::{self, NonNull};

use crate::sys::memory;

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
