//! F1. Why there is no stack.
//!
//! The error is a small value, for the slab is asked for stacks where nothing may be allocated (scheduler
//! stack, no-preempt sections). `?` turns it into an [`io::Error`] with the message: that allocates, so
//! it is done on the way out to the user, after such sections.
#![forbid(unsafe_code)]

use std::{fmt, io};

use super::class::{Kind, MIN_BYTES};

/// Why there is no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// A request below the smallest class.
    TooSmall { bytes: usize },
    /// A request above the largest class.
    TooLarge { bytes: usize, maximum: usize },
    /// The kernel refused address space: out of memory, `ulimit -v`, strict overcommit.
    Map { kind: Kind, bytes: usize, errno: i32 },
    /// The table of extents is full.
    Extents { kind: Kind, bytes: usize, extents: usize },
    /// The kernel refused a guard page, for another reason than the next.
    Guard { errno: i32 },
    /// Guard pages by mprotect: `vm.max_map_count` allows no more of them.
    GuardLimit { stacks: usize, max_map_count: usize },
}

impl Error {
    fn kind(self) -> io::ErrorKind {
        match self {
            Error::TooSmall { .. } | Error::TooLarge { .. } => io::ErrorKind::InvalidInput,
            Error::Map { errno, .. } | Error::Guard { errno } => io::Error::from_raw_os_error(errno).kind(),
            Error::Extents { .. } | Error::GuardLimit { .. } => io::ErrorKind::OutOfMemory,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |kind| match kind {
            Kind::Stack => "goroutine stack",
            Kind::Segment => "stack segment",
        };
        match *self {
            Error::TooSmall { bytes } => {
                write!(f, "stack size of {bytes} bytes is below the minimum of {MIN_BYTES}")
            }
            Error::TooLarge { bytes, maximum } => {
                write!(f, "stack size of {bytes} bytes is above the maximum of {maximum}")
            }
            Error::Map { kind, bytes, errno } => {
                let reason = io::Error::from_raw_os_error(errno);
                write!(f, "cannot reserve a {} of {bytes} bytes: {reason}", name(kind))
            }
            Error::Extents { kind, bytes, extents } => {
                let name = name(kind);
                write!(f, "cannot reserve a {name} of {bytes} bytes: all {extents} extents are in use")
            }
            Error::Guard { errno } => {
                let reason = io::Error::from_raw_os_error(errno);
                write!(f, "cannot protect the guard page of a goroutine stack: {reason}")
            }
            Error::GuardLimit { stacks, max_map_count } => write!(
                f,
                "cannot guard another goroutine stack: {stacks} have guard pages, and vm.max_map_count is \
                 {max_map_count}, at two mappings a stack (raise that sysctl, or use Linux 6.13 or later)"
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_mapping_names_size_and_reason() {
        let error = io::Error::from(Error::Map { kind: Kind::Stack, bytes: 65536, errno: libc::ENOMEM });
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        let text = error.to_string();
        assert!(text.starts_with("cannot reserve a goroutine stack of 65536 bytes: "), "{text}");
        assert!(text.contains("annot allocate memory"), "{text}");
    }

    #[test]
    fn a_refused_guard_names_the_sysctl_and_the_count() {
        let text = Error::GuardLimit { stacks: 32253, max_map_count: 65530 }.to_string();
        assert!(text.contains("32253") && text.contains("vm.max_map_count is 65530"), "{text}");
    }
}
