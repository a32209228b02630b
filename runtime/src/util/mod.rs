//! F0. Small tools without policy.

#[cfg(not(loom))]
pub(crate) mod abort;
pub(crate) mod list;
#[cfg(not(loom))]
pub(crate) mod lock;
pub(crate) mod order;
pub(crate) mod rng;
