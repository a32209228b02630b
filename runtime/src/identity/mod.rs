//! F2. Thread identity: to whom does a `thread_local!` belong, and who may change threads?
//!
//! # Why this is a question
//!
//! LLVM takes the address of a thread-local as constant within a function. A goroutine that parks in a
//! loop and wakes on another thread goes on using the old thread's variable: from safe code, in release
//! builds. Two OS threads inside one `RefCell` follow. A runtime can have two of three: safe spawning,
//! rescue of started goroutines from a stuck thread, ordinary thread-locals.
//!
//! | mode | a `thread_local!` belongs to | a started goroutine may change thread |
//! |---|---|---|
//! | `PerWorker` | the worker thread | no: bound from its first run |
//! | `PerGoroutine` | the goroutine | yes (not available yet) |
//! | unchecked (`migrate_unchecked`) | the worker thread | yes; the caller answers for all code linked |
//!
//! This file is the seam: everything above asks a [`Mode`] and knows nothing else. Per-goroutine
//! thread-locals will stand behind it as a third answer, with their switch-in and switch-out.
#![forbid(unsafe_code)]

use std::io;

/// To whom a `thread_local!` belongs in goroutines: a choice for a runtime or for one goroutine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThreadLocals {
    /// To the worker thread: a goroutine runs on one thread from its first instruction to its last.
    /// Goroutines of one thread share its thread-locals, as ordinary functions do. Portable, free of cost;
    /// what blocks a thread holds up the goroutines that have started there.
    ///
    /// Sound, but beside one kind of crate: those whose safe interface relies on the scopes of a thread
    /// ending in the reverse of the order in which they began (`scoped-tls` is one). Two goroutines of one
    /// thread can end theirs crosswise: do not suspend within such a scope.
    #[default]
    PerWorker,
    /// To the goroutine, as if it were a thread of its own; started goroutines change threads freely.
    /// Not available in this version: starting a runtime or a goroutine with it is an
    /// [`io::ErrorKind::Unsupported`] error that says so.
    PerGoroutine,
    /// [`PerGoroutine`](Self::PerGoroutine) where it is available, else [`PerWorker`](Self::PerWorker)
    /// with the reason in `runtime::info()`.
    Fallback,
}

/// What a goroutine's mode means to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Bound to a thread from the first run.
    PerWorker,
    /// May move at any suspension; its spawner has promised that this is sound.
    Unchecked,
}

impl Mode {
    /// May a goroutine of this mode go on on another thread after it has started?
    #[inline(always)]
    pub(crate) fn may_migrate(self) -> bool {
        self == Mode::Unchecked
    }
}

/// A mode, and why it is not the one that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// What to do.
    pub(crate) mode: Mode,
    /// Why `Fallback` fell back.
    pub(crate) reason: Option<&'static str>,
}

const UNAVAILABLE: &str = "thread-locals per goroutine are not available in this version of gort";

/// Turns the user's wish into a mode.
pub(crate) fn resolve(wish: ThreadLocals) -> io::Result<Resolved> {
    match wish {
        ThreadLocals::PerWorker => Ok(Resolved { mode: Mode::PerWorker, reason: None }),
        ThreadLocals::Fallback => Ok(Resolved { mode: Mode::PerWorker, reason: Some(UNAVAILABLE) }),
        ThreadLocals::PerGoroutine => Err(io::Error::new(io::ErrorKind::Unsupported, UNAVAILABLE)),
    }
}

/// The wish in `GORT_THREAD_LOCALS`, if it is set.
pub(crate) fn from_env() -> io::Result<Option<ThreadLocals>> {
    let Some(value) = std::env::var_os("GORT_THREAD_LOCALS") else { return Ok(None) };
    match value.to_str() {
        Some("") => Ok(None),
        Some("worker") => Ok(Some(ThreadLocals::PerWorker)),
        Some("goroutine") => Ok(Some(ThreadLocals::PerGoroutine)),
        Some("fallback") => Ok(Some(ThreadLocals::Fallback)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("GORT_THREAD_LOCALS={} is none of worker, goroutine, fallback", value.display()),
        )),
    }
}
