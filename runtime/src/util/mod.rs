//! F0. Small tools without policy.

#[cfg(not(loom))]
pub(crate) mod abort;
#[cfg(not(loom))]
pub(crate) mod fixed;
#[cfg(not(loom))]
pub(crate) mod last_words;
pub(crate) mod list;
#[cfg(not(loom))]
pub(crate) mod lock;
pub(crate) mod order;
pub(crate) mod rng;
