//! F9j. Loops over slices and ranges, in parallel where somebody is idle.
//!
//! | file | what |
//! |---|---|
//! | `split` | what can be divided: ranges and slices |
//! | `drive` | how it is: lazily, by `join` |
//! | `sort` | sorting a slice |
//!
//! Nothing here knows the scheduler, and there is no grain size to tune. Bodies may block.
#![forbid(unsafe_code)]

mod drive;
mod sort;
mod split;

pub use sort::par_sort_unstable_by;
pub use split::Split;

use drive::drive;
use split::Zip;

/// Calls `f` with each item of a range or slice: in parallel where processors are idle.
///
/// `items` is a range of integers, a `&[T]`, or a `&mut [T]`. The items of a piece are taken in their order; in
/// which order the pieces are is not said.
///
/// # Blocking
///
/// Blocks until all calls have returned. `f` may block as any goroutine may; while one call waits, others run.
///
/// # Panics
///
/// With the payload of one of the calls, if any panics; of the other items some are then left out.
///
/// # Examples
///
/// ```
/// let mut squares = vec![0; 1000];
/// gort_runtime::run(|| {
///     gort_runtime::par_for(&mut squares[..], |square| *square += 1);
/// });
/// assert_eq!(squares, [1; 1000]);
/// ```
pub fn par_for<S, F>(items: S, f: F)
where
    S: Split,
    F: Fn(S::Item) + Sync,
{
    drive(items, &|part: S| part.into_items().for_each(&f), &|(), ()| ());
}

/// Maps each item of a range or slice by `f`, and returns the results in the items' order.
///
/// # Blocking
///
/// As [`par_for`].
///
/// # Panics
///
/// As [`par_for`].
///
/// # Examples
///
/// ```
/// let squares = gort_runtime::run(|| gort_runtime::par_map(0_u64..5, |n| n * n));
/// assert_eq!(squares, [0, 1, 4, 9, 16]);
/// ```
pub fn par_map<S, F, R>(items: S, f: F) -> Vec<R>
where
    S: Split,
    F: Fn(S::Item) -> R + Sync,
    R: Send,
{
    let mut results: Vec<Option<R>> = Vec::new();
    results.resize_with(items.len(), || None);
    par_for(Zip(items, &mut results[..]), |(item, place)| *place = Some(f(item)));
    results.into_iter().map(|result| result.expect("each place was filled")).collect()
}

/// Maps each item by `map` and combines the results by `combine`, which is associative: neighbours are combined, in
/// their order. `identity` gives what to begin with, for each piece anew.
///
/// # Blocking
///
/// As [`par_for`].
///
/// # Panics
///
/// As [`par_for`].
///
/// # Examples
///
/// ```
/// let words = ["a", "b", "c"];
/// let text = gort_runtime::run(|| {
///     gort_runtime::par_reduce(&words[..], String::new, |word| word.to_string(), |a, b| a + &b)
/// });
/// assert_eq!(text, "abc");
/// ```
pub fn par_reduce<S, R, I, M, C>(items: S, identity: I, map: M, combine: C) -> R
where
    S: Split,
    R: Send,
    I: Fn() -> R + Sync,
    M: Fn(S::Item) -> R + Sync,
    C: Fn(R, R) -> R + Sync,
{
    drive(items, &|part: S| part.into_items().map(&map).fold(identity(), &combine), &combine)
}
