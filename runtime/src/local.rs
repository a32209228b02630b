//! F9. Goroutine-local values: one for each goroutine, whatever thread it runs on.
//!
//! # How they are kept
//!
//! A goroutine has a list of (key, value), made on first use; a key is the address of its static. Few
//! keys are alive at once, so a linear search serves. Values are boxed: their addresses stay.
//! On a thread that is no goroutine, the key's own `thread_local!` serves, which the macro declares in the
//! user's crate; on goroutines it is never touched.
//!
//! # Ends
//!
//! When the goroutine's closure has returned or panicked, and its result has been dropped if nobody wants
//! it, its values are dropped on its own stack, newest first. A value's destructor may use other keys:
//! those that are dropped already are refused ([`LocalKey::try_with`]), new ones are made and dropped in
//! the next round. After the last round every key is refused (`ENDED`), until the slot is born again: no
//! value passes from one goroutine to the next in the same slot.

use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::thread;

use crate::g::GRef;
use crate::park;

/// After so many rounds of destructors that make new values, no further ones can be made, and what is left
/// is leaked (POSIX's number for thread-specific data).
const ROUNDS: usize = 4;

/// In place of the list of a goroutine whose values have been dropped.
const ENDED: *mut () = std::ptr::without_provenance_mut(1);

/// A goroutine-local value, declared by [`local!`](crate::local!).
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
    thread: &'static thread::LocalKey<T>,
}

/// The value of this goroutine has been dropped, or is being dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the goroutine-local value has been dropped")
    }
}

impl Error for AccessError {}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

/// The values of one goroutine.
#[derive(Default)]
struct Values {
    entries: RefCell<Vec<Entry>>,
}

struct Entry {
    key: usize,
    /// `None`: dropped, or being dropped.
    value: Option<Box<dyn Any>>,
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T, thread: &'static thread::LocalKey<T>) -> Self {
        LocalKey { init, thread }
    }

    /// Runs `f` with this goroutine's value, which is made on first use.
    ///
    /// # Panics
    ///
    /// If the value has been dropped: in the destructor of another goroutine-local value.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`with`](Self::with), but an error if the value has been dropped.
    ///
    /// # Errors
    ///
    /// [`AccessError`], in the destructor of another goroutine-local value.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let Some(g) = park::current_g() else {
            return self.thread.try_with(f).map_err(|_| AccessError);
        };
        let values = values_of(g)?;
        let key = std::ptr::from_ref(self).addr();
        let value = match values.find(key)? {
            Some(value) => value,
            None => values.insert(key, Box::new((self.init)())),
        };
        // SAFETY: the box stays until the goroutine's end, or until its own destructor: nobody removes
        // an entry while this goroutine is in `f`, for only the goroutine itself does, at its end.
        let value = unsafe { &*value };
        Ok(f(value.downcast_ref().expect("a key has one type")))
    }
}

/// The list of a goroutine, made on first use.
fn values_of(g: GRef) -> Result<&'static Values, AccessError> {
    if g.locals.get() == ENDED {
        return Err(AccessError);
    }
    if g.locals.get().is_null() {
        g.locals.set(Box::into_raw(Box::new(Values::default())).cast());
    }
    // SAFETY: made above or earlier, freed at the goroutine's end (`drop_all`), which runs no user code
    // afterwards. The caller does not keep it beyond that.
    Ok(unsafe { &*g.locals.get().cast::<Values>() })
}

impl Values {
    /// The value of a key, if there is one.
    fn find(&self, key: usize) -> Result<Option<*const dyn Any>, AccessError> {
        match self.entries.borrow().iter().find(|entry| entry.key == key) {
            None => Ok(None),
            Some(Entry { value: Some(value), .. }) => Ok(Some(&raw const **value)),
            Some(Entry { value: None, .. }) => Err(AccessError),
        }
    }

    /// Adds a value. The initialiser may have used the key itself: then the first one stays, as in std.
    fn insert(&self, key: usize, value: Box<dyn Any>) -> *const dyn Any {
        let place: *const dyn Any = &raw const *value;
        self.entries.borrow_mut().push(Entry { key, value: Some(value) });
        place
    }

    /// How many values are still there.
    fn living(&self) -> usize {
        self.entries.borrow().iter().filter(|entry| entry.value.is_some()).count()
    }

    /// Takes the newest value that is still there.
    fn take_newest(&self) -> Option<Box<dyn Any>> {
        self.entries.borrow_mut().iter_mut().rev().find_map(|entry| entry.value.take())
    }
}

/// Drops all values of a goroutine, on its own stack, after its closure.
#[cold]
pub(crate) fn drop_all(g: GRef) {
    let Ok(values) = values_of(g) else { return };
    let mut left = 0;
    for _ in 0..ROUNDS {
        left = values.living();
        for _ in 0..left {
            drop(values.take_newest());
        }
        left = values.living();
        if left == 0 {
            break;
        }
    }
    let values = g.locals.replace(ENDED).cast::<Values>();
    if left == 0 {
        // SAFETY: made by `values_of`; nobody can get at it any more: every key is refused from here on.
        drop(unsafe { Box::from_raw(values) });
    }
}

/// Declares goroutine-local values, as `thread_local!` does for threads.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
///
/// gort_runtime::local! {
///     /// How many requests this goroutine has served.
///     pub static SERVED: Cell<u32> = Cell::new(0);
/// }
///
/// gort_runtime::run(|| {
///     SERVED.with(|served| served.set(7));
///     let other = gort_runtime::spawn(|| SERVED.with(Cell::get));
///     assert_eq!(other.join().expect("no panic"), 0);
///     assert_eq!(SERVED.with(Cell::get), 7);
/// });
/// ```
#[macro_export]
macro_rules! local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident : $type:ty = $init:expr);+ $(;)?) => {
        $(
            $(#[$attribute])*
            $visibility static $name: $crate::LocalKey<$type> = { // floors: allow(import)
                fn init() -> $type {
                    $init
                }
                ::std::thread_local! { static THREAD: $type = init(); } // floors: allow(thread_local)
                $crate::LocalKey::new(init, &THREAD) // floors: allow(import)
            };
        )+
    };
}
