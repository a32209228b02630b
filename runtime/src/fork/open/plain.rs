//! F9h. The way to `open`, and the address of a job, where no assembly has been written for them.
#![forbid(unsafe_code)]

use super::super::record::{Job, run};

/// Calls [`open`](super::open).
#[inline(always)]
pub(super) fn call_open() -> usize {
    super::open()
}

/// The address of the job of a branch.
#[inline(always)]
pub(super) fn address_of<B, RB>() -> usize
where
    B: FnOnce() -> RB,
{
    (run::<B, RB> as Job) as usize
}
