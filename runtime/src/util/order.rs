//! F0. In which order a thief asks its victims.
//!
//! # What it is
//!
//! [`VictimOrder`] enumerates `0..count` in a random order. All thieves that ran through the processors
//! in one order would queue up behind one another at the first victim.
//!
//! # Invariants
//!
//! 1. Each of `0..count` comes exactly once, for every count, start and stride.
//! 2. No allocation, no table, no division: a value is five words on the stack, a step costs two or
//!    three instructions.
//!
//! Called on the scheduler stack.
//!
//! # Algorithm
//!
//! Let 2^k be the least power of two that is not below `count`. From a random start below `count`, go on
//! by a random *odd* stride modulo 2^k, and skip what is not below `count`. An odd number is coprime to
//! 2^k, so the walk meets each of the 2^k residues once before it comes home: invariant 1. As
//! 2^k < 2 * `count`, it skips fewer than `count`.
//!
//! *Rejected:* Go's order (a stride coprime to `count` itself, from a table of the coprimes, rebuilt
//! whenever the count changes) and a greatest common divisor on the fly. Both visit each exactly once,
//! too; the one needs a table with a life of its own, the other some ten divisions a round.
#![forbid(unsafe_code)]

use super::rng::Rng;

/// The numbers below a count, each once, in random order.
#[derive(Clone, Debug)]
pub(crate) struct VictimOrder {
    /// The next residue of the walk; it may have to be skipped.
    here: u32,
    stride: u32,
    mask: u32,
    count: u32,
    left: u32,
}

impl VictimOrder {
    /// A new random order of `0..count`. The first is evenly distributed. `count` is at most 2^31 (there
    /// are at most 1,024 processors).
    #[inline]
    pub(crate) fn new(count: usize, rng: &Rng) -> Self {
        let word = rng.next_u64();
        let start = ((word >> 32) * count as u64) >> 32;
        VictimOrder::from_parts(count, start as usize, word as u32)
    }

    /// The order that begins with `start` (below `count`) and goes on by `stride`, made odd.
    #[inline]
    pub(crate) fn from_parts(count: usize, start: usize, stride: u32) -> Self {
        debug_assert!(count <= 1 << 31, "the walk's residues are u32");
        debug_assert!(start < count || count == 0);
        let count = count as u32;
        let mask = count.next_power_of_two() - 1;
        VictimOrder { here: start as u32, stride: stride | 1, mask, count, left: count }
    }
}

impl Iterator for VictimOrder {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        // Ends: `left` was not 0, so a number below `count` is still ahead on the walk.
        loop {
            let here = self.here;
            self.here = here.wrapping_add(self.stride) & self.mask;
            if here < self.count {
                return Some(here as usize);
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for VictimOrder {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::rng::Rng;
    use super::VictimOrder;

    /// As Go's TestStealOrder, over every count to 64, every start, every stride.
    #[test]
    fn visits_each_exactly_once_for_every_count_and_start() {
        for count in 0..=64usize {
            for start in 0..count.max(1) {
                for stride in 0..count.next_power_of_two() as u32 {
                    check(count, VictimOrder::from_parts(count, start, stride), Some(start));
                }
            }
        }
    }

    #[test]
    fn visits_each_exactly_once_for_large_counts_and_random_orders() {
        let rng = Rng::new(21);
        for count in (65..=1024).chain([4095, 4096, 4097, 65_537]) {
            check(count, VictimOrder::new(count, &rng), None);
        }
    }

    #[test]
    fn every_victim_comes_first_equally_often() {
        let rng = Rng::new(3);
        for count in [1usize, 2, 3, 5, 7, 8, 13] {
            let mut first = vec![0; count];
            for _ in 0..1000 * count {
                first[VictimOrder::new(count, &rng).next().expect("count is not 0")] += 1;
            }
            assert!(first.iter().all(|n| (800..1200).contains(n)), "count {count}: {first:?}");
        }
    }

    #[test]
    fn knows_how_many_are_left() {
        let mut order = VictimOrder::from_parts(5, 2, 3);
        for left in (0..5).rev() {
            assert!(order.next().is_some());
            assert_eq!(order.len(), left);
        }
        assert_eq!(order.next(), None);
        assert_eq!(order.next(), None);
    }

    fn check(count: usize, order: VictimOrder, start: Option<usize>) {
        let all: Vec<usize> = order.clone().collect();
        if let (Some(start), Some(&first)) = (start, all.first()) {
            assert_eq!(first, start);
        }
        let mut seen = vec![false; count];
        for &i in &all {
            assert!(!std::mem::replace(&mut seen[i], true), "{i} twice in {order:?}");
        }
        assert_eq!(all.len(), count, "{order:?}");
    }
}
