//! The receiving end, and what both ends can do.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Chan, Failure, Patience};
use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use super::iter::{IntoIter, Iter, TryIter};

/// The receiving end of a channel ([`bounded`](super::bounded), [`unbounded`](super::unbounded),
/// [`never`](super::never)). Its clones receive from the same channel, each value once; when the last one is
/// dropped, the channel closes, and what it holds is dropped.
///
/// # Examples
///
/// ```
/// use gort_sync::chan::{self, RecvError};
///
/// let (tx, rx) = chan::bounded(1);
/// tx.send("last words")?;
/// drop(tx);
/// assert_eq!(rx.recv(), Ok("last words"));
/// assert_eq!(rx.recv(), Err(RecvError));
/// # Ok::<(), chan::SendError<&str>>(())
/// ```
///
/// It is one direction only:
///
/// ```compile_fail
/// let (_tx, rx) = gort_sync::chan::unbounded::<i32>();
/// rx.send(1);
/// ```
///
/// ```compile_fail
/// fn takes_sender(_: gort_sync::chan::Sender<i32>) {}
/// let (_tx, rx) = gort_sync::chan::unbounded::<i32>();
/// takes_sender(rx);
/// ```
///
/// ```compile_fail
/// let (_tx, rx) = gort_sync::chan::unbounded::<i32>();
/// gort_sync::select! { send(rx, 1) -> _ => {} }
/// ```
pub struct Receiver<T> {
    chan: Arc<Chan<T>>,
}

impl<T> Receiver<T> {
    /// The end that the count starts with.
    pub(super) fn new(chan: Arc<Chan<T>>) -> Self {
        Receiver { chan }
    }

    pub(crate) fn chan(&self) -> &Chan<T> {
        &self.chan
    }

    /// Receives a value, and waits while there is none.
    ///
    /// # Errors
    ///
    /// If the channel is closed and empty.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    ///
    /// # Examples
    ///
    /// ```
    /// gort_runtime::run(|| {
    ///     let (tx, rx) = gort_sync::chan::bounded(0);
    ///     let other = gort_runtime::spawn(move || tx.send(42));
    ///     assert_eq!(rx.recv(), Ok(42));
    ///     other.join().expect("no panic").expect("it was received");
    /// });
    /// ```
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.chan.recv(Patience::Until(None)).map_err(|_| RecvError)
    }

    /// Receives a value, if that needs no waiting.
    ///
    /// # Errors
    ///
    /// If there is none, or the channel is closed and empty.
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort_sync::chan::{self, TryRecvError};
    ///
    /// let (tx, rx) = chan::unbounded();
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// tx.send(1)?;
    /// tx.close();
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    /// # Ok::<(), chan::SendError<i32>>(())
    /// ```
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.chan.recv(Patience::None).map_err(|failure| match failure {
            Failure::Closed => TryRecvError::Disconnected,
            Failure::TimedOut => TryRecvError::Empty,
        })
    }

    /// As [`recv`](Self::recv), but gives up when `timeout` has passed.
    ///
    /// # Errors
    ///
    /// If no value came in time, or the channel is closed and empty.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort_sync::chan::{self, RecvTimeoutError};
    /// use std::time::Duration;
    ///
    /// let (tx, rx) = chan::bounded::<i32>(1);
    /// assert_eq!(rx.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    /// drop(tx);
    /// assert_eq!(rx.recv_timeout(Duration::from_secs(9)), Err(RecvTimeoutError::Disconnected));
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_before(Instant::now().checked_add(timeout))
    }

    /// As [`recv`](Self::recv), but gives up at `deadline`.
    ///
    /// # Errors
    ///
    /// If no value came in time, or the channel is closed and empty.
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
    /// tx.send(1)?;
    /// // What can be done at once is done, also after the deadline.
    /// assert_eq!(rx.recv_deadline(Instant::now()), Ok(1));
    /// assert!(rx.recv_deadline(Instant::now()).is_err());
    /// # Ok::<(), gort_sync::chan::SendError<i32>>(())
    /// ```
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_before(Some(deadline))
    }

    fn recv_before(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        self.chan.recv(Patience::Until(deadline)).map_err(|failure| match failure {
            Failure::Closed => RecvTimeoutError::Disconnected,
            Failure::TimedOut => RecvTimeoutError::Timeout,
        })
    }

    /// Receives until the channel is closed and empty; `for value in &receiver` does the same.
    ///
    /// # Blocking
    ///
    /// Each step blocks as [`recv`](Self::recv) does.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort_sync::chan::unbounded();
    /// (0..3).try_for_each(|n| tx.send(n))?;
    /// tx.close();
    /// assert_eq!(rx.iter().collect::<Vec<_>>(), [0, 1, 2]);
    /// # Ok::<(), gort_sync::chan::SendError<i32>>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives as long as that needs no waiting.
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort_sync::chan::unbounded();
    /// (0..3).try_for_each(|n| tx.send(n))?;
    /// assert_eq!(rx.try_iter().count(), 3);
    /// # Ok::<(), gort_sync::chan::SendError<i32>>(())
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

/// What both ends can do.
macro_rules! common_methods {
    ($End:ident) => {
        impl<T> $End<T> {
            /// How many values the channel holds. Others may change it at any moment: good for reports.
            ///
            /// # Examples
            ///
            /// ```
            /// let (tx, rx) = gort_sync::chan::bounded(3);
            /// assert!(rx.is_empty());
            /// tx.send('a')?;
            /// assert_eq!((tx.len(), rx.len()), (1, 1));
            /// # Ok::<(), gort_sync::chan::SendError<char>>(())
            /// ```
            pub fn len(&self) -> usize {
                self.chan.len()
            }

            /// Does the channel hold nothing? Others may change it at any moment. One of capacity 0 always
            /// is empty.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Does the channel hold as much as it can? Others may change it at any moment. One of capacity 0
            /// always is full, an unbounded one never.
            pub fn is_full(&self) -> bool {
                self.capacity() == Some(self.len())
            }

            /// How many values the channel can hold; `None`: any number.
            ///
            /// # Examples
            ///
            /// ```
            /// use gort_sync::chan;
            ///
            /// assert_eq!(chan::bounded::<i32>(3).0.capacity(), Some(3));
            /// assert_eq!(chan::unbounded::<i32>().1.capacity(), None);
            /// ```
            pub fn capacity(&self) -> Option<usize> {
                self.chan.capacity()
            }

            /// Is `other` an end of the same channel?
            pub fn same_channel(&self, other: &$End<T>) -> bool {
                std::sync::Arc::ptr_eq(&self.chan, &other.chan)
            }

            /// Closes the channel, for all its ends: see [Closing](crate::chan#closing). Says whether it was
            /// this call that closed it; false: it was closed already, or is one that
            /// [`never`](crate::chan::never) closes.
            ///
            /// # Blocking
            ///
            /// Does not block.
            ///
            /// # Examples
            ///
            /// ```
            /// let (tx, rx) = gort_sync::chan::bounded(1);
            /// tx.send(1)?;
            /// assert!(rx.close());
            /// assert!(!tx.close(), "it was closed");
            /// assert!(tx.send(2).is_err());
            /// assert_eq!(rx.iter().collect::<Vec<_>>(), [1], "what was sent before is not lost");
            /// # Ok::<(), gort_sync::chan::SendError<i32>>(())
            /// ```
            pub fn close(&self) -> bool {
                self.chan.close()
            }

            /// Is the channel closed? It may still hold values.
            pub fn is_closed(&self) -> bool {
                self.chan.is_closed()
            }
        }
    };
}
pub(super) use common_methods;
common_methods!(Receiver);

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.chan.add_receiver();
        Receiver { chan: Arc::clone(&self.chan) }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.chan.drop_receiver();
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Receiver { .. }")
    }
}

// No panic leaves a channel half changed: values are dropped outside.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}
