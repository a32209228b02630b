//! F9i. Sorting a slice: a quicksort whose halves are the branches of a `join`.
//!
//! Each partition takes three parts (less, equal, greater), so that equal elements do no harm; the pivot is the median
//! of nine. Small parts, and those in which the pivots have been bad too often, are left to the standard
//! library's sort, which is fast, and never quadratic.
#![forbid(unsafe_code)]

use std::cmp::Ordering;

use crate::fork::join::join;

/// Below this the standard library is faster than a partition and two of its calls.
const SEQUENTIAL_LEN: usize = 2_048;

/// Sorts a slice by a comparison, in parallel where processors are idle. Equal elements may change their order.
///
/// # Blocking
///
/// Blocks until the slice is sorted.
///
/// # Panics
///
/// With the payload of `compare`, if that panics; and perhaps if it is no total order. The slice then holds its
/// elements in some order.
///
/// # Examples
///
/// ```
/// let mut words = ["yield", "spawn", "park"];
/// gort_runtime::run(|| gort_runtime::par_sort_unstable_by(&mut words, |a, b| a.cmp(b)));
/// assert_eq!(words, ["park", "spawn", "yield"]);
/// ```
pub fn par_sort_unstable_by<T, F>(slice: &mut [T], compare: F)
where
    T: Send,
    F: Fn(&T, &T) -> Ordering + Sync,
{
    // So many bad pivots are bad luck; more are a pattern.
    let patience = slice.len().checked_ilog2().unwrap_or(0);
    sort(slice, &compare, patience);
}

fn sort<T, F>(slice: &mut [T], compare: &F, patience: u32)
where
    T: Send,
    F: Fn(&T, &T) -> Ordering + Sync,
{
    if slice.len() <= SEQUENTIAL_LEN || patience == 0 {
        slice.sort_unstable_by(compare);
        return;
    }
    let len = slice.len();
    let (less, greater) = partition(slice, compare);
    let patience = if less.len().max(greater.len()) > len / 8 * 7 { patience - 1 } else { patience };
    join(|| sort(less, compare, patience), || sort(greater, compare, patience));
}

/// What is less than a pivot, and what is greater; what is equal lies between, in its place.
fn partition<'a, T>(slice: &'a mut [T], compare: &impl Fn(&T, &T) -> Ordering) -> (&'a mut [T], &'a mut [T]) {
    let pivot = median_of_nine(slice, compare);
    slice.swap(0, pivot);
    // [0]: the pivot; [1, less): less; [less, at): equal or greater, not looked at again; from `at`: to do.
    let Some((pivot, others)) = slice.split_first_mut() else { return (&mut [], &mut []) };
    let less = split_by(others, |element| compare(element, pivot) == Ordering::Less);
    let equal = split_by(&mut others[less..], |element| compare(pivot, element) != Ordering::Less);
    // The pivot's place is behind what is less.
    slice.swap(0, less);
    let (less, rest) = slice.split_at_mut(less);
    (less, &mut rest[equal + 1..])
}

/// Moves those of which it is true before the others; returns how many they are. No branch depends on the answer.
fn split_by<T>(slice: &mut [T], mut is_first: impl FnMut(&T) -> bool) -> usize {
    let mut count = 0;
    for at in 0..slice.len() {
        let first = is_first(&slice[at]);
        slice.swap(count, at);
        count += usize::from(first);
    }
    count
}

/// Where the median of three medians lies. There are at least nine elements.
fn median_of_nine<T>(slice: &[T], compare: &impl Fn(&T, &T) -> Ordering) -> usize {
    let step = slice.len() / 9;
    let is_less = |a: usize, b: usize| compare(&slice[a], &slice[b]) == Ordering::Less;
    let median = |a: usize, b: usize, c: usize| match (is_less(a, b), is_less(b, c), is_less(a, c)) {
        (true, true, _) | (false, false, _) => b,
        (true, false, true) | (false, true, false) => c,
        _ => a,
    };
    let third = |n: usize| median(3 * n * step, (3 * n + 1) * step, (3 * n + 2) * step);
    median(third(0), third(1), third(2))
}

#[cfg(test)]
mod tests {
    use super::partition;

    #[test]
    fn a_partition_is_in_three_parts() {
        for modulus in [1, 2, 5, 1000] {
            let mut numbers: Vec<u32> = (0..1000).map(|n| (n * 7919) % modulus).collect();
            let len = numbers.len();
            let (less, greater) = partition(&mut numbers, &|a, b| a.cmp(b));
            let (less, greater) = (less.len(), len - greater.len());
            let pivot = numbers[less];
            assert!(numbers[..less].iter().all(|n| *n < pivot));
            assert!(numbers[less..greater].iter().all(|n| *n == pivot));
            assert!(numbers[greater..].iter().all(|n| *n > pivot));
        }
    }
}
