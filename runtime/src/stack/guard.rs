//! F1. Guard pages: what a stack runs into when it overflows.
//!
//! # Algorithm
//!
//! A guard is a marker in the page table (`MADV_GUARD_INSTALL`, Linux 6.13) where the kernel takes one: it
//! costs 0.6 µs, and a million stacks are one mapping. Otherwise it is a page without permissions
//! (`mprotect`): 2 µs, and it splits its mapping in two, so that `vm.max_map_count` bounds the number of
//! stacks (about 32,000 by default). Which of them, is probed once; a single page that refuses the marker
//! though the probe did not (a locked one) gets the protection.
//!
//! # Invariants
//!
//! 1. `PROTECTED` counts the guards by `mprotect`, those in the making included, and never exceeds
//!    `Policy::limit`, which lies [`HEADROOM`] mappings short of the kernel's limit. Past that limit not
//!    only stacks fail but also malloc and the start of threads (measured), so the stacks stop first.
//! 2. Guards are never removed.
//!
//! `GORT_STACK_GUARD=mprotect` asks for the fallback, so that it can be tested on a new kernel.

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::Error;
use crate::sys::memory;

/// The mappings that stacks leave to the rest of the process: each thread takes two or three, each malloc
/// arena two, each shared library five.
const HEADROOM: usize = 1024;

/// The kernel's default, for the case that `/proc` is not mounted.
const DEFAULT_MAX_MAP_COUNT: usize = 65530;

static POLICY: OnceLock<Policy> = OnceLock::new();
static PROTECTED: AtomicUsize = AtomicUsize::new(0);

/// How guards are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// By a marker in the page table: no limit.
    Madvise,
    /// By protection: two mappings a stack.
    Mprotect,
}

/// What was found out once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// How guards are made.
    pub(super) guard: Guard,
    /// The most guards by mprotect.
    pub(super) limit: usize,
    max_map_count: usize,
}

/// The policy. The first call allocates (environment, `/proc`), so the start of a runtime makes it.
#[inline]
pub(super) fn policy() -> &'static Policy {
    POLICY.get_or_init(|| {
        memory::assert_page_size();
        let asked = std::env::var_os("GORT_STACK_GUARD").is_some_and(|value| value == "mprotect");
        let guard = if asked || !is_marker_taken() { Guard::Mprotect } else { Guard::Madvise };
        let max_map_count = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(DEFAULT_MAX_MAP_COUNT);
        let limit = max_map_count.saturating_sub(HEADROOM).max(max_map_count / 2) / 2;
        Policy { guard, limit, max_map_count }
    })
}

fn is_marker_taken() -> bool {
    let Ok(page) = memory::reserve(memory::PAGE_BYTES) else { return false };
    // SAFETY: a page of our own, in which nothing is stored.
    let result = unsafe { memory::install_guard(page) };
    // SAFETY: reserved above with this size, and not used further.
    unsafe { memory::unmap(page, memory::PAGE_BYTES) };
    result.is_ok()
}

/// Makes `page` fault on every access, for ever. Does not allocate once the policy is known.
///
/// # Errors
///
/// The kernel or the limit refuses; the page is as it was, and a later attempt may succeed.
///
/// # Safety
///
/// The caller owns the page, which lies in an extent, and gives it up.
pub(super) unsafe fn install(page: NonNull<u8>) -> Result<(), Error> {
    let policy = policy();
    if policy.guard == Guard::Madvise {
        // SAFETY: passed on to the caller.
        match unsafe { memory::install_guard(page) } {
            Ok(()) => return Ok(()),
            Err(libc::EINVAL) => {}
            Err(errno) => return Err(Error::Guard { errno }),
        }
    }
    // SAFETY: passed on to the caller.
    unsafe { protect(page, policy) }
}

/// # Safety
///
/// As for [`install`].
unsafe fn protect(page: NonNull<u8>, policy: &Policy) -> Result<(), Error> {
    let at_limit = |stacks| Error::GuardLimit { stacks, max_map_count: policy.max_map_count };
    // Relaxed: a count, which orders nothing.
    let before = PROTECTED.fetch_add(1, Ordering::Relaxed);
    if before >= policy.limit {
        PROTECTED.fetch_sub(1, Ordering::Relaxed);
        return Err(at_limit(before.min(policy.limit)));
    }
    // SAFETY: passed on to the caller.
    unsafe { memory::protect(page) }.map_err(|errno| {
        PROTECTED.fetch_sub(1, Ordering::Relaxed);
        if errno == libc::ENOMEM { at_limit(before) } else { Error::Guard { errno } }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;
    use std::os::unix::process::ExitStatusExt;

    use super::super::testing::{child, in_child};
    use super::super::{Class, Cursor, Segment, Slot, alloc, free, info, trim_free};
    use super::*;

    const MPROTECT: &[(&str, &str)] = &[("GORT_STACK_GUARD", "mprotect")];

    /// Writes to the lowest byte of a stack of the caller's, then to the byte below, which must be the end.
    fn touch_guard(slot: Slot) {
        let low = slot.pointer_to(slot.low()).as_ptr();
        let core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: reads one rlimit.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &core) };
        // SAFETY: the lowest byte of a stack of ours.
        unsafe { low.write_volatile(1) };
        eprintln!("the stack can be written");
        // SAFETY: a byte that faults.
        unsafe { low.sub(1).write_volatile(1) };
        eprintln!("the guard can be written");
    }

    fn assert_faults(test: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
        if let Some(output) = child(module_path!(), test, environment, body) {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("the stack can be written"), "{text}");
            assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{}\n{text}", output.status);
        }
    }

    /// The guards of all neighbours must have survived trimming too: touches the third slot's.
    fn overflow_third_stack() {
        let slots: Vec<_> = (0..5).map(|_| alloc(Class::DEFAULT).unwrap()).collect();
        // SAFETY: allocated above, used by nobody.
        slots.iter().for_each(|&slot| unsafe { free(slot) });
        trim_free(usize::MAX);
        assert!(slots.iter().all(|_| alloc(Class::DEFAULT).is_ok()));
        touch_guard(slots[2]);
    }

    #[test]
    fn an_overflow_faults() {
        assert_faults("an_overflow_faults", &[], overflow_third_stack);
    }

    #[test]
    fn an_overflow_faults_with_guards_by_mprotect() {
        assert_faults("an_overflow_faults_with_guards_by_mprotect", MPROTECT, overflow_third_stack);
    }

    #[test]
    fn an_overflow_of_a_segment_faults() {
        assert_faults("an_overflow_of_a_segment_faults", &[], || {
            touch_guard(Segment::alloc(64 << 10).unwrap().slot());
        });
    }

    #[test]
    fn the_limit_of_mprotect_is_an_error_that_names_it_and_passes() {
        in_child(
            module_path!(),
            "the_limit_of_mprotect_is_an_error_that_names_it_and_passes",
            MPROTECT,
            || {
                let limit = info().max_stacks.unwrap();
                assert_eq!(info().guard, Guard::Mprotect);
                // The limit depends on the machine, so all but 100 guards of it are only said to exist.
                PROTECTED.store(limit - 100, Ordering::Relaxed);
                let class = Class::for_size(16 << 10).unwrap();
                let slots: Vec<_> = (0..100).map(|_| alloc(class).unwrap()).collect();
                for _ in 0..3 {
                    let error = io::Error::from(alloc(class).unwrap_err());
                    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
                    let text = error.to_string();
                    assert!(text.contains("vm.max_map_count"), "{text}");
                    assert!(text.contains(&limit.to_string()), "{text}");
                }
                assert_eq!(info().slots_carved, 101, "the refused slot is tried again, not abandoned");
                assert_eq!(Cursor::new().count(), 100, "nor is it shown to anybody");
                // SAFETY: allocated above, used by nobody.
                unsafe { free(slots[0]) };
                assert_eq!(alloc(class), Ok(slots[0]));
                PROTECTED.store(limit - 1, Ordering::Relaxed);
                assert!(alloc(class).is_ok());
                assert_eq!(info().slots_carved, 101);
                assert!(alloc(class).is_err());
            },
        );
    }
}
