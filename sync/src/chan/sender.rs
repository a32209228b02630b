//! The sending end.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Chan, Failure, Patience};
use super::error::{SendError, SendTimeoutError, TrySendError};

/// The sending end of a channel ([`bounded`](super::bounded), [`unbounded`](super::unbounded),
/// [`never`](super::never)). Its clones send to the same channel; when the last one is dropped, the channel
/// closes.
///
/// # Examples
///
/// ```
/// use gort_sync::chan;
///
/// let (tx, rx) = chan::unbounded();
/// let other = tx.clone();
/// tx.send(1)?;
/// other.send(2)?;
/// drop((tx, other));
/// assert_eq!(rx.into_iter().collect::<Vec<_>>(), [1, 2]);
/// # Ok::<(), chan::SendError<i32>>(())
/// ```
///
/// It is one direction only; what belongs to the other end is not there:
///
/// ```compile_fail
/// let (tx, _rx) = gort_sync::chan::unbounded::<i32>();
/// tx.recv();
/// ```
///
/// ```compile_fail
/// let (tx, _rx) = gort_sync::chan::unbounded::<i32>();
/// for value in tx {}
/// ```
///
/// ```compile_fail
/// fn takes_receiver(_: gort_sync::chan::Receiver<i32>) {}
/// let (tx, _rx) = gort_sync::chan::unbounded::<i32>();
/// takes_receiver(tx);
/// ```
///
/// ```compile_fail
/// let (tx, _rx) = gort_sync::chan::unbounded::<i32>();
/// gort_sync::select! { recv(tx) -> _ => {} }
/// ```
///
/// A channel of values that cannot change threads stays on its thread:
///
/// ```compile_fail
/// let (tx, _rx) = gort_sync::chan::unbounded::<std::rc::Rc<i32>>();
/// std::thread::spawn(move || tx.send(std::rc::Rc::new(1)));
/// ```
pub struct Sender<T> {
    chan: Arc<Chan<T>>,
}

impl<T> Sender<T> {
    /// The end that the count starts with.
    pub(super) fn new(chan: Arc<Chan<T>>) -> Self {
        Sender { chan }
    }

    pub(crate) fn chan(&self) -> &Chan<T> {
        &self.chan
    }

    /// Sends a value, and waits while there is no room for it; on a channel of capacity 0, until a receiver
    /// has taken it.
    ///
    /// # Errors
    ///
    /// If the channel is closed, or is closed while the call waits: the error holds the value.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort_sync::chan::{self, SendError};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// assert_eq!(tx.send(1), Ok(()));
    /// drop(rx);
    /// assert_eq!(tx.send(2), Err(SendError(2)));
    /// ```
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.chan.send(value, Patience::Until(None)).map_err(|(_, value)| SendError(value))
    }

    /// Sends a value, if it can be done without waiting.
    ///
    /// On a channel of capacity 0 that is when a receiver waits already.
    ///
    /// # Errors
    ///
    /// If there is no room, or the channel is closed: the error holds the value.
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort_sync::chan::{self, TrySendError};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    /// rx.close();
    /// assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
    /// ```
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.chan.send(value, Patience::None).map_err(|(failure, value)| match failure {
            Failure::Closed => TrySendError::Disconnected(value),
            Failure::TimedOut => TrySendError::Full(value),
        })
    }

    /// As [`send`](Self::send), but gives up when `timeout` has passed.
    ///
    /// # Errors
    ///
    /// If the value was not sent in time, or the channel is closed: the error holds the value.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort_sync::chan::{self, SendTimeoutError};
    /// use std::time::Duration;
    ///
    /// let (tx, rx) = chan::bounded(0);
    /// let result = tx.send_timeout("hello", Duration::from_millis(1));
    /// assert_eq!(result, Err(SendTimeoutError::Timeout("hello")));
    /// # drop(rx);
    /// ```
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_before(value, Instant::now().checked_add(timeout))
    }

    /// As [`send`](Self::send), but gives up at `deadline`.
    ///
    /// # Errors
    ///
    /// If the value was not sent in time, or the channel is closed: the error holds the value.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let (tx, rx) = gort_sync::chan::bounded(1);
    /// // What can be done at once is done, also after the deadline.
    /// assert_eq!(tx.send_deadline(1, Instant::now()), Ok(()));
    /// assert!(tx.send_deadline(2, Instant::now()).is_err());
    /// # drop(rx);
    /// ```
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_before(value, Some(deadline))
    }

    fn send_before(&self, value: T, deadline: Option<Instant>) -> Result<(), SendTimeoutError<T>> {
        self.chan.send(value, Patience::Until(deadline)).map_err(|(failure, value)| match failure {
            Failure::Closed => SendTimeoutError::Disconnected(value),
            Failure::TimedOut => SendTimeoutError::Timeout(value),
        })
    }
}

super::receiver::common_methods!(Sender);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.chan.add_sender();
        Sender { chan: Arc::clone(&self.chan) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.chan.drop_sender();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Sender { .. }")
    }
}

// No panic leaves a channel half changed: values are dropped outside.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
