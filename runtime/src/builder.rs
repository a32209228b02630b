//! F9e. Spawning, plainly and with wishes.

use std::io;
use std::panic::Location;
use std::sync::Arc;

use crate::identity::{self, Mode, ThreadLocals};
use crate::join::JoinHandle;
use crate::runtime;
use crate::sched::Sched;
use crate::spawn::{self, Wish};
use crate::stack::Class;

/// Starts a goroutine that runs `f`, in the caller's runtime; from a thread that is none of its own, in
/// the process-wide runtime, which is started if need be.
///
/// Where the caller may change threads (see [`ThreadLocals`]), the new goroutine runs at once and the
/// caller goes on when it suspends or ends, perhaps on another thread; in the default mode the caller
/// goes on, and the new goroutine is queued, to be run here or stolen. In every mode `spawn` may let others
/// run first, as [`yield_now`](crate::yield_now) does.
///
/// # Panics
///
/// If there is no memory for its stack, or the runtime has been shut down; [`Builder::spawn`] returns
/// these as errors.
///
/// A panic of `f` unwinds the new goroutine and no other. It is the error of [`JoinHandle::join`]; if nobody
/// holds the handle any more, the runtime's [policy](crate::runtime::PanicPolicy) has it: the program goes
/// on, or ends.
///
/// # Examples
///
/// ```
/// gort_runtime::run(|| {
///     let handles: Vec<_> = (0..10).map(|n| gort_runtime::spawn(move || n * n)).collect();
///     let squares: Vec<i32> = handles.into_iter().map(|h| h.join().expect("no panic")).collect();
///     assert_eq!(squares[9], 81);
/// });
/// ```
///
/// As with threads, what the closure takes with it must be `Send`:
///
/// ```compile_fail,E0277
/// let local = std::rc::Rc::new(1);
/// gort_runtime::spawn(move || println!("{local}"));
/// ```
///
/// and so must be what it returns:
///
/// ```compile_fail,E0277
/// gort_runtime::spawn(|| std::rc::Rc::new(1));
/// ```
///
/// and nothing may be borrowed; [`scope`](crate::scope) is for that:
///
/// ```compile_fail,E0373
/// let here = 1;
/// gort_runtime::spawn(|| println!("{here}"));
/// ```
#[track_caller]
#[inline]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let site = Location::caller();
    let spawned = runtime::current_or_start()
        // SAFETY: F and T are Send and 'static.
        .and_then(|sched| unsafe { spawn::spawn_in(sched, Wish::NOTHING, site, f) });
    match spawned {
        // SAFETY: just spawned with result T.
        Ok(spawned) => unsafe { JoinHandle::new(spawned) },
        Err(error) => cannot_spawn(&error),
    }
}

#[cold]
#[track_caller]
pub(crate) fn cannot_spawn(error: &io::Error) -> ! {
    panic!("cannot spawn a goroutine: {error}")
}

/// Starts a goroutine that runs the block, and forgets its handle: Go's `go`.
///
/// The block is a `move` closure's body. If it panics, the runtime's
/// [policy](crate::runtime::PanicPolicy) says what follows.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
///
/// let (tx, rx) = mpsc::channel();
/// gort_runtime::run(move || {
///     let main = gort_runtime::current();
///     gort_runtime::go! {
///         tx.send("hello").expect("main listens");
///         main.unpark();
///     }
///     gort_runtime::park();
/// });
/// assert_eq!(rx.recv(), Ok("hello"));
/// ```
#[macro_export]
macro_rules! go {
    ($($body:tt)*) => {
        ::core::mem::drop($crate::spawn(move || { $($body)* }))
    };
}

/// What a goroutine shall be, before it is spawned.
///
/// # Examples
///
/// ```
/// let handle = gort_runtime::Builder::new().name("deep").stack_size(8 << 20).spawn(|| 1)?;
/// assert_eq!(handle.join().expect("it does not panic"), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder {
    name: Option<Arc<str>>,
    stack_bytes: Option<usize>,
    thread_locals: Option<ThreadLocals>,
    unchecked: bool,
}

impl Builder {
    /// A goroutine as its runtime makes them.
    #[inline]
    pub fn new() -> Self {
        Builder::default()
    }

    /// Names it, for reports.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into());
        self
    }

    /// The size of its stack in bytes: address space, of which memory is used as the stack grows into it.
    /// Rounded up to a power of two from 16 KiB to 1 GiB; 256 KiB if nobody says. What overflows it ends
    /// the process, with a report that names the goroutine; [`grow`](crate::grow) is for recursion of
    /// unknown depth.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// To whom thread-locals belong in it, if not as in its runtime.
    pub fn thread_locals(mut self, thread_locals: ThreadLocals) -> Self {
        self.thread_locals = Some(thread_locals);
        self.unchecked = false;
        self
    }

    /// Lets it change threads wherever it suspends, with ordinary thread-locals.
    ///
    /// # Safety
    ///
    /// No code that the goroutine runs may hold on to a thread-local, or to anything else that belongs to
    /// a thread, across a suspension: see [`runtime::Builder::migrate_unchecked`].
    pub unsafe fn migrate_unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Spawns a goroutine that runs `f`: as [`spawn`], with these wishes.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a stack size below 16 KiB or above 1 GiB;
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) or what the kernel says, if there is no address space
    /// or no guard page for the stack; [`Unsupported`](io::ErrorKind::Unsupported) for thread-locals that
    /// are not available; an error if the runtime has been shut down, or cannot be started. Nothing is
    /// lost by an error but the closure.
    #[track_caller]
    #[inline]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let site = Location::caller();
        let (sched, wish) = self.into_wish()?;
        // SAFETY: F and T are Send and 'static.
        let spawned = unsafe { spawn::spawn_in(sched, wish, site, f) }?;
        // SAFETY: just spawned with result T.
        Ok(unsafe { JoinHandle::new(spawned) })
    }

    #[inline]
    pub(crate) fn into_wish(self) -> io::Result<(&'static Sched, Wish)> {
        let sched = runtime::current_or_start()?;
        let mut wish = Wish { name: self.name, ..Wish::NOTHING };
        if let Some(bytes) = self.stack_bytes {
            wish.class = Some(Class::for_size(bytes)?);
        }
        if self.unchecked {
            wish.mode = Some(Mode::Unchecked);
        } else if let Some(thread_locals) = self.thread_locals {
            wish.mode = Some(identity::resolve(thread_locals)?.mode);
        }
        Ok((sched, wish))
    }
}
