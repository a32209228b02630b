//! F9. Handles that name a goroutine, and what one can do to the current one.

#![expect(clippy::disallowed_methods, reason = "on a foreign thread, park is the thread's park")]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::g::GRef;
use crate::g::state::AfterReady;
use crate::g::wait::WaitReason;
use crate::park::{Woken, current_g, stop_point, wait, yield_current};
use crate::sched::ready::ready;
use crate::sys::clock::{self, NEVER};

/// A handle to a goroutine, or to a thread that is none, as [`current`] gives it out.
///
/// It keeps nothing alive: when the goroutine has ended, [`unpark`](Self::unpark) does nothing.
#[derive(Clone)]
pub struct Goroutine {
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Goroutine { g: GRef, birth: u64, id: u64, name: Option<Arc<str>> },
    Thread(Thread),
}

impl Goroutine {
    /// The handle of a goroutine: which, and which life of its slot. Its record is still its own: the
    /// caller is the goroutine, or owns its handle.
    pub(crate) fn new(g: GRef, birth: u64, name: Option<Arc<str>>) -> Self {
        Goroutine { inner: Inner::Goroutine { g, birth, id: g.id(), name } }
    }

    /// Its number: unique in its runtime and never used again there. The main goroutine of
    /// [`run`](crate::run) is not promised a particular one. 0 for a thread that is no goroutine.
    pub fn id(&self) -> u64 {
        match &self.inner {
            Inner::Goroutine { id, .. } => *id,
            Inner::Thread(_) => 0,
        }
    }

    /// The name that [`Builder::name`](crate::Builder::name) gave it; a thread's name for a thread.
    pub fn name(&self) -> Option<&str> {
        match &self.inner {
            Inner::Goroutine { name, .. } => name.as_deref(),
            Inner::Thread(thread) => thread.name(),
        }
    }

    /// Ends its current or next [`park`]. Several unparks before a park count as one.
    ///
    /// Everything that the caller has done before is visible to the goroutine when `park` returns. Does
    /// nothing if the goroutine has ended. May be called from anywhere, but not from a signal handler.
    pub fn unpark(&self) {
        match &self.inner {
            Inner::Goroutine { g, birth, .. } => unpark(g, *birth),
            Inner::Thread(thread) => thread.unpark(),
        }
    }
}

fn unpark(g: GRef, birth: u64) {
    if let Some(ticket) = g.unpark.set_token(birth)
        && g.state.wake(ticket) == Some(AfterReady::Queue)
    {
        ready(g);
    }
    stop_point();
}

// A handle only names; as `std::thread::Thread`.
impl UnwindSafe for Goroutine {}
impl RefUnwindSafe for Goroutine {}

impl fmt::Debug for Goroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Goroutine").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

impl PartialEq for Goroutine {
    fn eq(&self, other: &Self) -> bool {
        match (&self.inner, &other.inner) {
            (Inner::Goroutine { g: a, birth: x, .. }, Inner::Goroutine { g: b, birth: y, .. }) => {
                std::ptr::eq(*a, *b) && x == y
            }
            (Inner::Thread(a), Inner::Thread(b)) => a.id() == b.id(),
            _ => false,
        }
    }
}

impl Eq for Goroutine {}

/// A handle to the goroutine that calls this; on a thread that is none, to that thread.
///
/// # Examples
///
/// ```
/// let name = gort_runtime::run(|| {
///     let child = gort_runtime::Builder::new().name("worker").spawn(|| {
///         gort_runtime::current().name().map(str::to_owned)
///     })?;
///     Ok::<_, std::io::Error>(child.join().expect("it does not panic"))
/// })?;
/// assert_eq!(name.as_deref(), Some("worker"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn current() -> Goroutine {
    match current_g() {
        Some(g) => {
            // SAFETY: the caller is that goroutine, and nobody else touches its name.
            let name = unsafe { (*g.name.get()).clone() };
            Goroutine::new(g, g.unpark.birth(), name)
        }
        None => Goroutine { inner: Inner::Thread(thread::current()) },
    }
}

/// Lets other goroutines run, then goes on.
///
/// The caller joins the tail of its queue. On a thread that is no goroutine this is the operating
/// system's yield.
///
/// # Blocking
///
/// Not beyond what the others do with the processor.
pub fn yield_now() {
    yield_current();
}

/// Waits until somebody [unparks](Goroutine::unpark) this goroutine, or takes the token of an earlier
/// unpark at once. On a thread that is no goroutine this is [`std::thread::park`].
///
/// As with threads, use it in a loop that checks what was waited for: it may wake without a reason.
///
/// # Blocking
///
/// Blocks the goroutine only.
pub fn park() {
    match current_g() {
        Some(g) => park_goroutine(g, NEVER),
        None => thread::park(),
    }
}

/// As [`park`], but no longer than `timeout`.
///
/// # Blocking
///
/// Blocks the goroutine only.
pub fn park_timeout(timeout: Duration) {
    match current_g() {
        Some(g) if timeout.is_zero() => {
            // A loop of these must not keep the processor.
            if !g.unpark.take_token() {
                yield_current();
            }
        }
        Some(g) => park_goroutine(g, clock::deadline_after(timeout)),
        None => thread::park_timeout(timeout),
    }
}

/// As [`park`], but no longer than to `deadline`.
///
/// # Blocking
///
/// Blocks the goroutine only.
pub fn park_deadline(deadline: Instant) {
    park_timeout(deadline.saturating_duration_since(Instant::now()));
}

fn park_goroutine(g: GRef, deadline_ns: u64) {
    if g.unpark.take_token() {
        return stop_point();
    }
    let mut published = false;
    let woken = wait(WaitReason::Park, deadline_ns, |token| {
        published = g.unpark.publish(token.ticket());
        published
    });
    match woken {
        Woken::Unpublished => _ = g.unpark.take_token(),
        Woken::Ready | Woken::TimedOut => _ = g.unpark.retract(),
    }
}
