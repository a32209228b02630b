//! F0. The cores on which the kernel lets this thread run.
//!
//! A thread inherits its affinity mask from the thread that creates it, so the mask of the thread that
//! starts a runtime is the mask of all its workers. Asked for afresh on every call: `taskset -p` may
//! change it at any time, and whoever asks does so at start, not in a loop. Allocates: never called on a
//! scheduler stack or in a signal handler.

use std::io;

const BITS: usize = usize::BITS as usize;

/// The length of the first mask that is tried, in words: glibc's `cpu_set_t`, room for 1,024 cores.
const FIRST_WORDS: usize = 1024 / BITS;

/// The length at which to stop trying, in words. The largest kernels are built for 8,192 cores.
const MOST_WORDS: usize = (1 << 20) / BITS;

/// The calling thread's affinity mask: core `i` is bit `i % BITS` of word `i / BITS`.
///
/// The kernel answers `EINVAL` to a mask that is shorter than its own, and does not say how long its own
/// is: the mask is doubled until it fits.
fn affinity_mask() -> io::Result<Vec<usize>> {
    let mut words = FIRST_WORDS;
    loop {
        let mut mask = vec![0_usize; words];
        // SAFETY: the kernel writes at most the given number of bytes, the length of `mask`, and the
        // pointer is that of its buffer, which is alive and borrowed by nobody else. Thread 0 is the
        // caller. glibc's and musl's wrappers zero what the kernel does not write.
        let result =
            unsafe { libc::sched_getaffinity(0, size_of_val(mask.as_slice()), mask.as_mut_ptr().cast()) };
        if result == 0 {
            return Ok(mask);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) || words >= MOST_WORDS {
            return Err(error);
        }
        words *= 2;
    }
}

/// How many cores the calling thread may run on; at least 1.
///
/// # Errors
///
/// What `sched_getaffinity` reports (a sandbox may forbid it).
pub(crate) fn affinity_count() -> io::Result<usize> {
    let count: u32 = affinity_mask()?.iter().map(|word| word.count_ones()).sum();
    Ok((count as usize).max(1))
}

/// The numbers of the cores that the calling thread may run on, ascending.
///
/// # Errors
///
/// As [`affinity_count`].
#[cfg(test)]
pub(crate) fn affinity_cores() -> io::Result<Vec<usize>> {
    Ok(bits(&affinity_mask()?))
}

/// The positions of the bits that are set.
#[cfg(test)]
fn bits(mask: &[usize]) -> Vec<usize> {
    (0..mask.len() * BITS).filter(|core| mask[core / BITS] & (1 << (core % BITS)) != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lists_the_set_positions_in_order() {
        assert_eq!(bits(&[0, 0]), []);
        assert_eq!(bits(&[0b1011, 1]), [0, 1, 3, BITS]);
        assert_eq!(bits(&[1 << (BITS - 1)]), [BITS - 1]);
    }

    #[test]
    fn the_list_and_the_count_agree() {
        let cores = affinity_cores().unwrap();
        assert_eq!(cores.len(), affinity_count().unwrap());
        assert!(cores.is_sorted());
    }

    #[test]
    fn a_mask_of_one_core_counts_one() {
        // On a thread of its own: the mask is the thread's, and other tests must not see it.
        std::thread::spawn(|| {
            let last = *affinity_cores().unwrap().last().unwrap();
            let mut mask = vec![0_usize; last / BITS + 1];
            mask[last / BITS] = 1 << (last % BITS);
            // SAFETY: the kernel reads the given number of bytes from `mask`, which is that long.
            let result =
                unsafe { libc::sched_setaffinity(0, size_of_val(mask.as_slice()), mask.as_ptr().cast()) };
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
            assert_eq!(affinity_count().unwrap(), 1);
            assert_eq!(affinity_cores().unwrap(), [last]);
        })
        .join()
        .unwrap();
    }
}
