//! F0. Small tools without policy.

#[cfg(not(loom))]
pub(crate) mod abort;
pub(crate) mod list;
#[cfg(not(loom))]
pub(crate) mod lock;
pub(crate) mod order;
#[cfg(not(loom))]
pub(crate) mod raw_lock;
pub(crate) mod rng;
