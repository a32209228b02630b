//! Select: waiting for several channels at once, of which exactly one operation is done.
//!
//! [`select!`](crate::select) and [`select_biased!`](crate::select_biased) are the usual form; [`Select`],
//! for a number of cases that only the running program knows, is what they are made of (`macros`).
//!
//! # The algorithm
//!
//! 1. Sort the cases by the addresses of their channels, and lock each channel once, in this order: two
//!    selects cannot wait for one another in a circle.
//! 2. *All locked, at one instant*: if cases are ready, take one of them, each with the same probability,
//!    do it, free the locks: done. If none is ready and one must not wait: done.
//! 3. Else begin to sleep, link a node for each case into the list of its channel, free the locks.
//! 4. Awake: lock again, take out all nodes that are still linked, and see which one's operation was done.
//!
//! # Invariants
//!
//! 1. Nothing happens to any of the channels between the look at the first and the look at the last case,
//!    nor until the nodes are linked: no operation is lost, and `default` is taken only if nothing was
//!    ready.
//! 2. One sleep with many nodes is ended once (`wait_list`, invariant 4): never two operations. Whose
//!    `end` fails has taken its value back, and goes on with the next waiter.
//! 3. A select that sends to and receives from the same channel does not meet itself: it looks before its
//!    nodes are linked, and sleeps afterwards.
//! 4. The nodes are unlinked before the frame that holds them is left.
//! 5. Nothing is allocated, freed, dropped or run that is not ours while a lock is held.
//!
//! Runs on goroutine stacks and on foreign threads.
//!
//! *Rejected:* locking one channel at a time, as crossbeam does: fewer locks at once, but then there is no
//! instant at which all cases were looked at, and a select with `default` may miss a value that moves
//! from one channel to the other. A random permutation of the cases: a draw for each case; counting the ready
//! ones needs a single draw.

mod macros;
mod port;

use std::fmt;
use std::time::{Duration, Instant};

use gort_runtime::waiter::{Section, random};

use crate::chan::{Receiver, RecvError, Sender};
use crate::wait_list::Node;
use port::{AllHeld, Attempt, Case, Rest};

/// So many cases, and the nodes for them, need no allocation.
const INLINE: usize = 8;

/// A select with any number of cases. Cases are added with the slot from which a value is sent, or into which
/// one is received; then one of the `select` methods does exactly one of them.
///
/// Cases have numbers, from 0, in the order in which they were added. Of the cases that are ready each is
/// equally likely to be done; or, if made by [`new_biased`](Self::new_biased), the first one is.
///
/// A case whose channel is closed is ready: it is done by failing, which its slot tells. A case of
/// [`never`](crate::chan::never) is never ready. The same channel may appear in several cases.
///
/// # Examples
///
/// ```
/// use gort_sync::{Select, chan};
///
/// let channels: Vec<_> = (0..10).map(|_| chan::bounded(1)).collect();
/// channels[7].0.send("hello")?;
///
/// let mut slots = [None; 10];
/// let mut select = Select::new();
/// for ((_, receiver), slot) in channels.iter().zip(&mut slots) {
///     select.recv(receiver, slot);
/// }
/// let done = select.select();
/// assert_eq!((done, slots[done]), (7, Some(Ok("hello"))));
/// # Ok::<(), chan::SendError<&str>>(())
/// ```
pub struct Select<'a> {
    cases: Cases<'a>,
    /// How many were added, those that never are ready included.
    added: usize,
    is_biased: bool,
}

/// The cases that can be ready.
#[expect(clippy::large_enum_variant, reason = "it lives in one frame, to spare it the allocation")]
enum Cases<'a> {
    Few([Case<'a>; INLINE], usize),
    Many(Vec<Case<'a>>),
}

/// No case of the select was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrySelectError;

/// No case of the select was ready in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectTimeoutError;

/// How long to wait.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Until(Option<Instant>),
}

impl<'a> Select<'a> {
    /// A select without cases. Of those that are ready, each is equally likely to be done.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Select { cases: Cases::Few([Case::nowhere(); INLINE], 0), added: 0, is_biased: false }
    }

    /// A select without cases. Of those that are ready, the one that was added first is done.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort_sync::{Select, chan};
    ///
    /// let (tx, rx) = chan::unbounded();
    /// tx.send(1)?;
    /// let (mut first, mut second) = (None, None);
    /// let mut select = Select::new_biased();
    /// select.recv(&rx, &mut first);
    /// select.recv(&rx, &mut second);
    /// assert_eq!(select.select(), 0);
    /// # Ok::<(), chan::SendError<i32>>(())
    /// ```
    #[must_use]
    pub fn new_biased() -> Self {
        Select { is_biased: true, ..Select::new() }
    }

    /// Adds a case that sends the value which is in `slot`. Returns its number.
    ///
    /// If it is done, the slot is empty afterwards; if it is done by failing, for the channel is closed, the
    /// value is still there. If another case is done, the value is still there, too.
    ///
    /// # Panics
    ///
    /// If the slot is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort_sync::{Select, chan};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let mut slot = Some(5);
    /// let mut select = Select::new();
    /// let case = select.send(&tx, &mut slot);
    /// assert_eq!(select.select(), case);
    /// assert_eq!((slot, rx.recv()), (None, Ok(5)));
    /// ```
    pub fn send<T>(&mut self, sender: &'a Sender<T>, slot: &'a mut Option<T>) -> usize {
        assert!(slot.is_some(), "a case that sends needs a value in its slot");
        let index = self.next_index();
        if !sender.chan().is_never() {
            self.cases.push(Case::send(sender, slot, index));
        }
        index
    }

    /// Adds a case that receives into `slot`, and empties that. Returns its number.
    ///
    /// If it is done, the slot holds the value, or, if the channel is closed and empty, the error. Else it
    /// is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort_sync::chan::{self, RecvError};
    /// use gort_sync::Select;
    ///
    /// let (tx, rx) = chan::bounded::<i32>(1);
    /// drop(tx);
    /// let mut slot = None;
    /// let mut select = Select::new();
    /// select.recv(&rx, &mut slot);
    /// select.select();
    /// assert_eq!(slot, Some(Err(RecvError)));
    /// ```
    pub fn recv<T>(
        &mut self,
        receiver: &'a Receiver<T>,
        slot: &'a mut Option<Result<T, RecvError>>,
    ) -> usize {
        *slot = None;
        let index = self.next_index();
        if !receiver.chan().is_never() {
            self.cases.push(Case::recv(receiver, slot, index));
        }
        index
    }

    fn next_index(&mut self) -> usize {
        self.added += 1;
        self.added - 1
    }

    /// Waits until a case is ready, and does it. Returns its number. Without a case that could ever be ready
    /// it waits for ever.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    #[inline]
    pub fn select(mut self) -> usize {
        let done = self.cases.run(self.is_biased, Patience::Until(None));
        done.expect("without a deadline it ends by a case only")
    }

    /// Does a case that is ready at this moment, and returns its number.
    ///
    /// # Errors
    ///
    /// If no case is ready.
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort_sync::{Select, chan};
    ///
    /// let (tx, rx) = chan::bounded::<i32>(0);
    /// let mut slot = None;
    /// let mut select = Select::new();
    /// select.recv(&rx, &mut slot);
    /// assert!(select.try_select().is_err());
    /// # drop(tx);
    /// ```
    #[inline]
    pub fn try_select(mut self) -> Result<usize, TrySelectError> {
        self.cases.run(self.is_biased, Patience::None).ok_or(TrySelectError)
    }

    /// As [`select`](Self::select), but gives up when `timeout` has passed.
    ///
    /// # Errors
    ///
    /// If no case was ready in time.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    pub fn select_timeout(self, timeout: Duration) -> Result<usize, SelectTimeoutError> {
        self.select_before(Instant::now().checked_add(timeout))
    }

    /// As [`select`](Self::select), but gives up at `deadline`.
    ///
    /// # Errors
    ///
    /// If no case was ready in time.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    pub fn select_deadline(self, deadline: Instant) -> Result<usize, SelectTimeoutError> {
        self.select_before(Some(deadline))
    }

    fn select_before(mut self, deadline: Option<Instant>) -> Result<usize, SelectTimeoutError> {
        self.cases.run(self.is_biased, Patience::Until(deadline)).ok_or(SelectTimeoutError)
    }
}

impl<'a> Cases<'a> {
    #[inline]
    fn push(&mut self, case: Case<'a>) {
        match self {
            Cases::Few(cases, len) if *len < INLINE => {
                cases[*len] = case;
                *len += 1;
            }
            _ => self.push_beyond(case),
        }
    }

    #[cold]
    #[inline(never)]
    fn push_beyond(&mut self, case: Case<'a>) {
        match self {
            Cases::Few(cases, len) => {
                let mut many = cases[..*len].to_vec();
                many.push(case);
                *self = Cases::Many(many);
            }
            Cases::Many(cases) => cases.push(case),
        }
    }

    /// Does one of them. Returns its number; `None`: none was ready in time.
    #[inline]
    fn run(&mut self, is_biased: bool, patience: Patience) -> Option<usize> {
        match self {
            Cases::Few(cases, len) => run(&mut cases[..*len], None, is_biased, patience),
            Cases::Many(cases) => run_many(cases, is_biased, patience),
        }
    }
}

#[cold]
#[inline(never)]
fn run_many(cases: &mut [Case<'_>], is_biased: bool, patience: Patience) -> Option<usize> {
    // (Here, for beneath the locks nothing is allocated.)
    let nodes: Vec<Node> = cases.iter().map(|_| Node::new()).collect();
    run(cases, Some(&nodes), is_biased, patience)
}

/// The algorithm at the head of the file. `nodes`: one for each case, if there are more than `INLINE`.
fn run(cases: &mut [Case<'_>], nodes: Option<&[Node]>, is_biased: bool, patience: Patience) -> Option<usize> {
    cases.sort_unstable_by_key(Case::address);
    loop {
        let section = Section::enter();
        let held = AllHeld::acquire(cases, &section);
        match take_one(&held, is_biased, &section) {
            Some((case, Attempt::Done(after))) => {
                drop(held);
                drop(section);
                drop(after.waker);
                if after.has_garbage {
                    case.tidy();
                }
                return Some(case.index);
            }
            Some((case, _)) => {
                drop(held);
                drop(section);
                case.tidy();
                continue;
            }
            None => {}
        }
        let Patience::Until(deadline) = patience else { return None };
        let rest = match nodes {
            Some(nodes) => held.sleep(section, nodes, deadline),
            None => sleep_in_frame(held, section, deadline),
        };
        match rest {
            Rest::Done(index) => return Some(index),
            Rest::TimedOut => return None,
            Rest::Again => {}
        }
    }
}

#[inline(never)]
fn sleep_in_frame(held: AllHeld<'_, '_>, section: Section, deadline: Option<Instant>) -> Rest {
    held.sleep(section, &[const { Node::new() }; INLINE], deadline)
}

/// Does one of those that are ready, or finds that its buffer must grow first.
#[inline(always)]
fn take_one<'s, 'a>(
    held: &AllHeld<'s, 'a>,
    is_biased: bool,
    section: &Section,
) -> Option<(&'s Case<'a>, Attempt)> {
    loop {
        let ready = held.ready();
        let case = if is_biased {
            ready.min_by_key(|case| case.index)?
        } else {
            let count = ready.count();
            if count == 0 {
                return None;
            }
            held.ready().nth(below(random(section), count))?
        };
        match held.attempt(case) {
            // Those who seemed to wait had left; now they are off the list.
            Attempt::NotReady => {}
            attempt => return Some((case, attempt)),
        }
    }
}

/// A number below `bound`, by Lemire's multiplication.
fn below(random: u64, bound: usize) -> usize {
    ((u128::from(random) * bound as u128) >> 64) as usize
}

impl Default for Select<'_> {
    fn default() -> Self {
        Select::new()
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("cases", &self.added).finish_non_exhaustive()
    }
}

impl fmt::Display for TrySelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no case of the select is ready")
    }
}

impl fmt::Display for SelectTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out waiting on a select")
    }
}

impl std::error::Error for TrySelectError {}
impl std::error::Error for SelectTimeoutError {}
