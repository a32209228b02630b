//! F0. Address space: reserved, guarded, given back, asked about.
//!
//! Thin wrappers over `mmap(2)`, `madvise(2)`, `mprotect(2)` and `mincore(2)` for the stack slab
//! (`stack/`), which holds the policy. None of them allocates, and none takes a lock of this process.
//! Failures are bare `errno` values: an `io::Error` with a message would have to be allocated, and some
//! callers may not allocate.

use std::ptr::{self, NonNull};

use super::errno;

/// The page size that the slab is laid out for. [`assert_page_size`] compares it with the kernel's.
pub(crate) const PAGE_BYTES: usize = 4096;

/// `MADV_GUARD_INSTALL` (Linux 6.13), which libc does not name on all targets yet.
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// Panics unless the kernel's pages have the size that the slab is laid out for. Called once, at start.
pub(crate) fn assert_page_size() {
    // SAFETY: takes an integer, touches no memory of ours.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    assert_eq!(bytes, PAGE_BYTES as libc::c_long, "gort is laid out for pages of {PAGE_BYTES} bytes");
}

/// Reserves `bytes` of zero-filled address space, readable and writable, without commitment: the kernel
/// supplies small pages on first touch. The range is never replaced by huge pages, which would make 2 MiB
/// of a goroutine's 4 KiB.
pub(crate) fn reserve(bytes: usize) -> Result<NonNull<u8>, i32> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: without MAP_FIXED a new mapping replaces none that exists.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(errno());
    }
    // SAFETY: advice about the mapping that was just made. A kernel without huge pages refuses it, which
    // is as good.
    unsafe { libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE) };
    Ok(NonNull::new(start.cast()).expect("mmap without MAP_FIXED never returns page zero"))
}

/// Unmaps a whole reservation.
///
/// # Safety
///
/// `start` and `bytes` are those of one call of [`reserve`], and nobody uses the range any more.
pub(crate) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: passed on to the caller.
    unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
}

/// Makes one page fault on access by a marker in the page table: the mapping stays one mapping, so a
/// million such guards are possible. `EINVAL` where the kernel is older than 6.13, or the page is locked.
///
/// # Safety
///
/// The page lies in a reservation, and nobody uses its content any more.
pub(crate) unsafe fn install_guard(page: NonNull<u8>) -> Result<(), i32> {
    // SAFETY: passed on to the caller.
    check(unsafe { libc::madvise(page.as_ptr().cast(), PAGE_BYTES, MADV_GUARD_INSTALL) })
}

/// Makes one page fault on access by its protection: splits the mapping, which the kernel allows
/// `vm.max_map_count` times and then refuses with `ENOMEM`.
///
/// # Safety
///
/// As for [`install_guard`].
pub(crate) unsafe fn protect(page: NonNull<u8>) -> Result<(), i32> {
    // SAFETY: passed on to the caller.
    check(unsafe { libc::mprotect(page.as_ptr().cast(), PAGE_BYTES, libc::PROT_NONE) })
}

/// Gives the memory of whole pages back; they read as zero afterwards. Guards in the range survive.
///
/// # Safety
///
/// The pages lie in one reservation, and nobody uses their content any more.
pub(crate) unsafe fn discard(start: NonNull<u8>, bytes: usize) -> Result<(), i32> {
    // SAFETY: passed on to the caller.
    check(unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) })
}

/// How many of the pages from `start` on are in memory: asks for as many as `pages` has bytes, and leaves
/// 1 or 0 for each. `start` must be the address of a page. Asks nothing of the range: on one that is not
/// mapped, the answer is 0.
pub(crate) fn resident(start: *const u8, pages: &mut [u8]) -> usize {
    // SAFETY: writes one byte for each page of the range, and `pages` has as many; the range itself is
    // not accessed.
    let result =
        unsafe { libc::mincore(start.cast_mut().cast(), pages.len() * PAGE_BYTES, pages.as_mut_ptr()) };
    if result != 0 {
        pages.fill(0);
    }
    pages.iter_mut().for_each(|page| *page &= 1);
    pages.iter().filter(|&&page| page == 1).count()
}

/// The limit of the process's address space (`ulimit -v`) in bytes, if it has one.
pub(crate) fn address_space_limit() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: writes one rlimit, to which we hold a unique reference.
    unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur as usize)
}

fn check(result: libc::c_int) -> Result<(), i32> {
    if result == 0 { Ok(()) } else { Err(errno()) }
}
