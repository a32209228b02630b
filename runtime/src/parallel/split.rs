//! F9h. What can be divided: ranges of integers and slices.
#![forbid(unsafe_code)]

use std::ops::Range;

/// A sequence that can be cut in two: a range of integers, a `&[T]` or a `&mut [T]`.
pub trait Split: sealed::Sealed + Sized + Send {
    /// What it consists of.
    type Item;

    /// How many there are.
    fn len(&self) -> usize;

    /// Is there none?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `count` items, and the others.
    fn split_at(self, count: usize) -> (Self, Self);

    /// One after the other.
    fn into_items(self) -> impl Iterator<Item = Self::Item>;
}

mod sealed {
    /// Only this module's types divide.
    pub trait Sealed {}
}

macro_rules! ranges {
    ($($integer:ty)*) => {$(
        impl sealed::Sealed for Range<$integer> {}

        impl Split for Range<$integer> {
            type Item = $integer;

            fn len(&self) -> usize {
                if self.is_empty() { return 0 }
                usize::try_from(self.end.abs_diff(self.start)).unwrap_or(usize::MAX)
            }

            fn split_at(self, count: usize) -> (Self, Self) {
                // `count` is at most the length: the sum lies between start and end, also where it wraps.
                let middle = self.start.wrapping_add(count as $integer);
                (self.start..middle, middle..self.end)
            }

            fn into_items(self) -> impl Iterator<Item = $integer> {
                self
            }
        }
    )*};
}

ranges! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize }

impl<T: Sync> sealed::Sealed for &[T] {}

impl<'a, T: Sync> Split for &'a [T] {
    type Item = &'a T;

    fn len(&self) -> usize {
        <[T]>::len(self)
    }

    fn split_at(self, count: usize) -> (Self, Self) {
        <[T]>::split_at(self, count)
    }

    fn into_items(self) -> impl Iterator<Item = &'a T> {
        self.iter()
    }
}

impl<T: Send> sealed::Sealed for &mut [T] {}

impl<'a, T: Send> Split for &'a mut [T] {
    type Item = &'a mut T;

    fn len(&self) -> usize {
        <[T]>::len(self)
    }

    fn split_at(self, count: usize) -> (Self, Self) {
        self.split_at_mut(count)
    }

    fn into_items(self) -> impl Iterator<Item = &'a mut T> {
        self.iter_mut()
    }
}

/// Two of the same length, item by item.
pub(super) struct Zip<A, B>(pub(super) A, pub(super) B);

impl<A, B> sealed::Sealed for Zip<A, B> {}

impl<A: Split, B: Split> Split for Zip<A, B> {
    type Item = (A::Item, B::Item);

    fn len(&self) -> usize {
        self.0.len()
    }

    fn split_at(self, count: usize) -> (Self, Self) {
        let ((a, c), (b, d)) = (self.0.split_at(count), self.1.split_at(count));
        (Zip(a, b), Zip(c, d))
    }

    fn into_items(self) -> impl Iterator<Item = (A::Item, B::Item)> {
        self.0.into_items().zip(self.1.into_items())
    }
}

#[cfg(test)]
mod tests {
    use super::Split;

    fn cut<S: Split>(items: S, count: usize) -> (Vec<S::Item>, Vec<S::Item>) {
        let (a, b) = items.split_at(count);
        (a.into_items().collect(), b.into_items().collect())
    }

    #[test]
    fn ranges_are_cut_anywhere_up_to_their_limits() {
        assert_eq!(cut(3_u32..7, 1), (vec![3], vec![4, 5, 6]));
        assert_eq!(cut(-128_i8..127, 200).1.len(), 55);
        assert_eq!(cut(-2_i64..2, 4), (vec![-2, -1, 0, 1], vec![]));
        assert_eq!(Split::len(&(i64::MIN..i64::MAX)), usize::MAX);
        let (low, high) = (i64::MIN..i64::MAX).split_at(usize::MAX / 2);
        assert_eq!((low.end, high.end), (-1, i64::MAX));
        #[allow(clippy::reversed_empty_ranges, reason = "it is what is tested")]
        let reversed = 5_usize..2;
        assert!(Split::is_empty(&reversed));
    }
}
