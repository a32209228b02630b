//! F1. What slots are for, and how large they are.
//!
//! # Invariants
//!
//! 1. A class is the base-2 logarithm of a reservation between 16 KiB and 1 GiB, guard page included:
//!    17 classes, so that lists per class are small arrays.
//! 2. A request is rounded up to the next class, never down.
//!
//! Pure; called on every stack.
#![forbid(unsafe_code)]

use super::error::Error;

const MIN_LOG2: u32 = 14;
const MAX_LOG2: u32 = 30;

/// The number of classes.
pub(super) const CLASSES: usize = (MAX_LOG2 - MIN_LOG2 + 1) as usize;

/// The smallest reservation: the guard page, the header's page, and two more.
pub(crate) const MIN_BYTES: usize = 1 << MIN_LOG2;

/// The largest reservation.
pub(crate) const MAX_BYTES: usize = 1 << MAX_LOG2;

/// What a slot serves as. Each kind has extents of its own, so that an address alone tells the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The stack that a goroutine begins on.
    Stack = 0,
    /// A further stack that a deep recursion goes on in.
    Segment = 1,
}

/// Every kind, in the order of its discriminant.
pub(super) const KINDS: [Kind; 2] = [Kind::Stack, Kind::Segment];

/// The size of a slot's reservation: a power of two of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class(u8);

impl Class {
    /// What a goroutine gets that asks for nothing: 256 KiB of address space.
    pub(crate) const DEFAULT: Class = Class((18 - MIN_LOG2) as u8);

    /// The smallest class whose reservation has `bytes`, guard page and header included.
    ///
    /// # Errors
    ///
    /// `bytes` is below [`MIN_BYTES`] or above [`MAX_BYTES`].
    pub(crate) fn for_size(bytes: usize) -> Result<Class, Error> {
        match bytes {
            ..MIN_BYTES => Err(Error::TooSmall { bytes }),
            MIN_BYTES..=MAX_BYTES => Ok(Class((bytes.next_power_of_two().ilog2() - MIN_LOG2) as u8)),
            _ => Err(Error::TooLarge { bytes, maximum: MAX_BYTES }),
        }
    }

    /// The class with this [`index`](Class::index).
    pub(super) fn from_index(index: usize) -> Class {
        assert!(index < CLASSES, "there are {CLASSES} classes");
        Class(index as u8)
    }

    /// The class's place in arrays of [`CLASSES`] elements.
    #[inline(always)]
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }

    /// The bytes of address space of a slot, guard page and header included.
    #[inline(always)]
    pub(crate) fn bytes(self) -> usize {
        MIN_BYTES << self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;

    use super::*;

    #[test]
    fn a_request_is_rounded_up_to_a_power_of_two() {
        assert_eq!(Class::for_size(16 << 10).unwrap().bytes(), 16 << 10);
        assert_eq!(Class::for_size((16 << 10) + 1).unwrap().bytes(), 32 << 10);
        assert_eq!(Class::for_size(200 << 10).unwrap(), Class::DEFAULT);
        assert_eq!(Class::for_size(256 << 10).unwrap(), Class::DEFAULT);
        assert_eq!(Class::for_size(1 << 30).unwrap().bytes(), 1 << 30);
        assert_eq!(Class::for_size(1 << 30).unwrap().index(), CLASSES - 1);
        for index in 0..CLASSES {
            assert_eq!(Class::for_size(Class::from_index(index).bytes()).unwrap().index(), index);
        }
    }

    #[test]
    fn a_request_out_of_bounds_is_an_error_that_names_the_bound() {
        let small = io::Error::from(Class::for_size(100).unwrap_err());
        assert_eq!(small.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(small.to_string(), "stack size of 100 bytes is below the minimum of 16384");
        let large = io::Error::from(Class::for_size(2 << 30).unwrap_err());
        assert_eq!(large.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(large.to_string(), "stack size of 2147483648 bytes is above the maximum of 1073741824");
        assert!(Class::for_size(0).is_err());
        assert!(Class::for_size(usize::MAX).is_err());
    }
}
