//! The state words of the locks: pure, so that loom can try all interleavings of each. Who waits, and how,
//! is the business of the locks themselves.
#![forbid(unsafe_code)]

pub(crate) mod mutex;
pub(crate) mod once;
pub(crate) mod rwlock;
pub(crate) mod semaphore;
