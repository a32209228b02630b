//! F9c. Waiting for a goroutine's result.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::g::GRef;
use crate::g::done::AfterDetach;
use crate::g::panicked::Panicked;
use crate::g::wait::WaitFor;
use crate::goroutine::Goroutine;
use crate::panics;
use crate::park;
use crate::spawn::{self, Spawned};
use crate::sys::clock::NEVER;

/// What a goroutine ended with: its closure's value, or the payload of its panic. The same as
/// [`std::thread::Result`].
pub type Result<T> = std::thread::Result<T>;

/// The right to a goroutine's result. Dropping it detaches the goroutine, which goes on. If that has
/// panicked, or panics later, the runtime's [policy](crate::runtime::PanicPolicy) says what follows: under
/// [`Abort`](crate::runtime::PanicPolicy::Abort) dropping the handle of one that has panicked ends the
/// process.
///
/// The memory of an ended goroutine's stack (one page, for a light one) is kept until its handle is
/// joined or dropped.
pub struct JoinHandle<T> {
    raw: RawHandle<T>,
}

impl<T> JoinHandle<T> {
    /// The handle of a new goroutine.
    ///
    /// # Safety
    ///
    /// It was spawned with result type `T`, and this is its only handle.
    pub(crate) unsafe fn new(spawned: Spawned) -> Self {
        // SAFETY: the caller's promise.
        JoinHandle { raw: unsafe { RawHandle::new(spawned) } }
    }

    /// Waits for the goroutine to end and returns its result, or the payload of its panic as an error.
    ///
    /// If the goroutine's runtime has been shut down before it ended, this never returns.
    ///
    /// # Errors
    ///
    /// The payload, if the goroutine panicked.
    ///
    /// # Blocking
    ///
    /// Blocks the goroutine; on a thread that is none, the thread.
    ///
    /// # Examples
    ///
    /// ```
    /// gort_runtime::run(|| {
    ///     let handle = gort_runtime::spawn(|| 6 * 7);
    ///     assert_eq!(handle.join().expect("it does not panic"), 42);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn join(self) -> Result<T> {
        self.raw.join()
    }

    /// Has it ended, so that [`join`](Self::join) would return at once?
    pub fn is_finished(&self) -> bool {
        self.raw.is_finished()
    }

    /// A handle that names the goroutine.
    pub fn goroutine(&self) -> Goroutine {
        self.raw.goroutine()
    }
}

// The result is nobody's before it is joined; as `std::thread::JoinHandle`.
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("goroutine", &self.goroutine()).finish_non_exhaustive()
    }
}

/// What `JoinHandle` and `ScopedJoinHandle` have in common.
pub(crate) struct RawHandle<T> {
    right: Right<T>,
    birth: u64,
    /// Its own: the goroutine drops the one in its record as it ends.
    name: Option<Arc<str>>,
}

/// The right to the result. Dropping it detaches the goroutine.
struct Right<T> {
    g: GRef,
    result: PhantomData<T>,
}

// SAFETY: the right gives its owner the result, once: it may go where the result may.
unsafe impl<T: Send> Send for Right<T> {}
// SAFETY: a shared right gives out nothing of the result.
unsafe impl<T: Send> Sync for Right<T> {}

impl<T> RawHandle<T> {
    /// See [`JoinHandle::new`].
    #[inline(always)]
    pub(crate) unsafe fn new(spawned: Spawned) -> Self {
        let right = Right { g: spawned.g, result: PhantomData };
        RawHandle { right, birth: spawned.birth, name: spawned.name }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.right.g.done.is_done()
    }

    pub(crate) fn goroutine(&self) -> Goroutine {
        Goroutine::new(self.right.g, self.birth, self.name.clone())
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn join(self) -> Result<T> {
        let RawHandle { right, birth, name } = self;
        let g = right.g;
        std::mem::forget(right);
        if !g.done.is_done() {
            wait_for(g, birth, name, Location::caller());
        }
        // SAFETY: it is done, and we owned the handle.
        unsafe { spawn::take_result(g) }
    }

    /// Gives the handle up: the result, if the goroutine has ended.
    pub(crate) fn abandon(self) -> Option<Result<T>> {
        let g = self.right.g;
        std::mem::forget(self.right);
        // SAFETY: we owned the handle.
        unsafe { detach(g) }.map(|(result, _noted)| result)
    }
}

/// Who is told of waits for goroutines, for `gort-sync`'s search for cycles. (Other waits it sees itself.)
#[derive(Debug)]
pub struct JoinWatch {
    /// The caller is about to wait for this goroutine, at this place.
    pub begin: fn(&Goroutine, &'static Location<'static>),
    /// The caller has waited.
    pub end: fn(),
}

static WATCH: AtomicPtr<JoinWatch> = AtomicPtr::new(ptr::null_mut());

/// From now on `watch` is told.
pub fn watch_joins(watch: &'static JoinWatch) {
    // Release: pairs with the Acquire in `wait_for`.
    WATCH.store(ptr::from_ref(watch).cast_mut(), Ordering::Release);
}

#[cold]
#[inline(never)]
fn wait_for(g: GRef, birth: u64, name: Option<Arc<str>>, site: &'static Location<'static>) {
    // SAFETY: null, or what `watch_joins` was lent for ever. Acquire: pairs with the Release there.
    let watch = unsafe { WATCH.load(Ordering::Acquire).as_ref() };
    if let Some(watch) = watch {
        (watch.begin)(&Goroutine::new(g, birth, name), site);
    }
    // The worker reads the token from this frame, which stays until it has (`g::done`, invariant 3).
    let mut place = None;
    let _ = park::wait(WaitFor::end_of(&g.id), NEVER, |token| {
        let place = place.insert(token);
        g.done.register(NonNull::from(place).cast())
    });
    if let Some(watch) = watch {
        (watch.end)();
    }
}

impl<T> Drop for Right<T> {
    fn drop(&mut self) {
        // SAFETY: we own the handle, and give it up.
        if let Some((result, noted)) = unsafe { detach::<T>(self.g) } {
            if result.is_err() {
                panics::unwanted(noted);
            }
            drop(result);
        }
    }
}

#[inline]
unsafe fn detach<T>(g: GRef) -> Option<(Result<T>, Option<Box<Panicked>>)> {
    match g.done.detach() {
        AfterDetach::Nothing => None,
        // SAFETY: the latch says that the result is there, and the caller owned the handle.
        AfterDetach::TakeResult => Some(unsafe { spawn::take_late::<T>(g) }),
    }
}
