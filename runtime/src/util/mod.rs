//! F0. Small tools without policy.

pub(crate) mod abort;
#[cfg(not(loom))]
pub(crate) mod lock;
pub(crate) mod list;
pub(crate) mod order;
pub(crate) mod rng;
