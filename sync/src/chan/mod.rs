//! Channels: queues through which goroutines and threads hand values to one another.
//!
//! | | holds | a send waits |
//! |---|---|---|
//! | [`bounded(n)`](bounded) | up to `n` values | while it is full |
//! | [`bounded(0)`](bounded) | nothing: *rendezvous* | until a receiver takes the value |
//! | [`unbounded()`](fn@unbounded) | as many as memory holds | never |
//! | [`never()`](fn@never) | nothing | for ever, and so does a receive |
//!
//! Both ends can be cloned and shared; each value goes to exactly one receiver. Use [`select!`](crate::select)
//! to wait for several channels at once. All of it works on threads that are not gort's as well.
//!
//! # Order
//!
//! Values come out in the order in which their sends took effect. Who waits longest, to send or to receive,
//! goes first. A value that meets a waiting receiver is moved right into its hands.
//!
//! # Closing
//!
//! A channel closes when its last [`Sender`] or its last [`Receiver`] is dropped (a panic drops what its
//! goroutine owns, too), or when [`close`](Sender::close) is called on either end. To close is to
//! broadcast: all who wait, and all who come, learn it.
//!
//! - Sends fail from then on and give their value back, also those that were waiting.
//! - Receives go on until the buffer is empty, and then fail. `for` loops over a receiver end.
//! - When the last receiver goes, what is in the buffer is dropped.
//! - Closing twice does nothing; `close` says whether it was this call that closed.
//!
//! A goroutine of a runtime that has been shut down waits on: a value that it is handed counts as sent, and is
//! lost with it.
//!
//! # Memory model
//!
//! What a goroutine did before a send is seen after the receive of that value. What was done before a close
//! is seen after a receive or a send that fails because of it. On a rendezvous channel what was done
//! before a receive is seen after the send that it completes; on a channel of capacity n, what was done
//! before the k-th receive is seen after the (k+n)-th send.
//!
//! # Examples
//!
//! ```
//! use gort_sync::chan;
//!
//! gort_runtime::run(|| {
//!     let (tx, rx) = chan::bounded(8);
//!     for worker in 0..3 {
//!         let tx = tx.clone();
//!         gort_runtime::spawn(move || tx.send(worker * 10));
//!     }
//!     drop(tx);
//!     let mut got: Vec<i32> = rx.iter().collect();
//!     got.sort();
//!     assert_eq!(got, [0, 10, 20]);
//! });
//! ```
#![forbid(unsafe_code)]

mod buffer;
pub(crate) mod core;
mod error;
mod iter;
mod receiver;
mod sender;

use std::sync::Arc;

use self::core::Chan;

pub use error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
pub use iter::{IntoIter, Iter, TryIter};
pub use receiver::Receiver;
pub use sender::Sender;

/// A channel that holds up to `capacity` values; of capacity 0, one that holds none, so that each send waits
/// for its receiver.
///
/// The memory for `capacity` values is allocated here; afterwards sending and receiving allocate nothing.
///
/// # Panics
///
/// If so many values do not fit into the address space.
///
/// # Examples
///
/// ```
/// use gort_sync::chan;
///
/// let (tx, rx) = chan::bounded(2);
/// tx.send("a")?;
/// tx.send("b")?;
/// assert!(tx.try_send("c").is_err(), "full");
/// assert_eq!(rx.recv(), Ok("a"));
/// # Ok::<(), chan::SendError<&str>>(())
/// ```
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(Chan::new(Some(capacity)))
}

/// A channel that holds as many values as are sent: no send waits.
///
/// It grows by blocks, and gives them back as it is emptied.
///
/// # Examples
///
/// ```
/// use gort_sync::chan;
///
/// let (tx, rx) = chan::unbounded();
/// for n in 0..1_000 {
///     tx.send(n)?;
/// }
/// assert_eq!(rx.try_iter().sum::<i32>(), 499_500);
/// # Ok::<(), chan::SendError<i32>>(())
/// ```
#[must_use]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(Chan::new(None))
}

/// A channel that is never ready, and never closed, whatever becomes of its ends: Go's nil channel. To send to
/// it, or to receive from it, is to wait for ever; in a `select!` it turns its arm off.
///
/// # Examples
///
/// ```
/// use gort_sync::chan;
///
/// let (_, alarm) = chan::never::<()>();
/// let (tx, rx) = chan::bounded(1);
/// tx.send(5)?;
/// gort_sync::select! {
///     recv(rx) -> n => assert_eq!(n, Ok(5)),
///     recv(alarm) -> _ => unreachable!("it is turned off"),
/// }
/// # Ok::<(), chan::SendError<i32>>(())
/// ```
#[must_use]
pub fn never<T>() -> (Sender<T>, Receiver<T>) {
    ends(Chan::never())
}

fn ends<T>(chan: Chan<T>) -> (Sender<T>, Receiver<T>) {
    let chan = Arc::new(chan);
    (Sender::new(Arc::clone(&chan)), Receiver::new(chan))
}
