//! F9i. Dividing lazily.
//!
//! # Algorithm
//!
//! A piece is worked off in blocks, in order. Before each block:
//!
//! - if somebody asks for work, the piece is halved, and both halves are driven by a `join`;
//! - else the block runs as the first branch of a join whose second one is the rest. If nobody takes the rest,
//!   it comes back unchanged, and the loop goes on; if the block blocks, the rest is free for others, who
//!   drive it.
//!
//! So there are as many joins as blocks, and no recursion but for the halves. A block is grown while it takes less
//! than [`BLOCK_NS`], and made smaller when it takes longer: what is short is not spoiled by joins, what is long is
//! divided to single items, and nobody chooses a size.
#![forbid(unsafe_code)]

use super::split::Split;
use crate::fork::join::{is_wanted, join};
use crate::park;
use crate::sys::clock;

/// How long a block should take: an idle processor waits so long for its half.
const BLOCK_NS: u64 = 10_000;

/// What became of the rest behind a block.
enum Rest<S, R> {
    /// Nobody has taken it.
    Left(S),
    /// Somebody has driven it.
    Driven(R),
}

/// Runs `leaf` on pieces of `items`, and combines the results of neighbours.
pub(super) fn drive<S, R>(
    items: S,
    leaf: &(impl Fn(S) -> R + Sync),
    combine: &(impl Fn(R, R) -> R + Sync),
) -> R
where
    S: Split,
    R: Send,
{
    let (mut items, mut size) = (items, 1);
    let mut done: Option<R> = None;
    let with = |done: Option<R>, next: R| match done {
        Some(done) => combine(done, next),
        None => next,
    };
    loop {
        let len = items.len();
        if len <= size {
            return with(done, leaf(items));
        }
        if is_wanted() {
            let (left, right) = items.split_at(len / 2);
            let (left, right) = join(|| drive(left, leaf, combine), || drive(right, leaf, combine));
            return with(done, combine(left, right));
        }
        let (block, rest) = items.split_at(size);
        let begun_ns = clock::now_ns();
        let me = park::current_id();
        let (result, rest) = join(
            || leaf(block),
            || {
                if park::current_id() == me {
                    Rest::Left(rest)
                } else {
                    Rest::Driven(drive(rest, leaf, combine))
                }
            },
        );
        done = Some(with(done, result));
        match rest {
            Rest::Left(rest) => items = rest,
            Rest::Driven(result) => return with(done, result),
        }
        let took_ns = clock::now_ns().saturating_sub(begun_ns);
        size = if took_ns < BLOCK_NS / 2 {
            size * 2
        } else if took_ns > BLOCK_NS {
            (size / 2).max(1)
        } else {
            size
        };
    }
}
