//! F3. A goroutine's panic, for whom nobody waits.
//!
//! # Invariants
//!
//! 1. A record is made by the goroutine, in the panic hook (with its stack as it was then) or at its root.
//!    It is *final* once the panic has reached the root: until then somebody may catch it, and the record is of no
//!    further interest.
//! 2. Whoever has the right to the goroutine's result takes the record with it (`g::done`): a dead goroutine
//!    whose slot is free has none.
#![forbid(unsafe_code)]

use std::any::{Any, TypeId};
use std::panic::Location;
use std::sync::Arc;

use super::who::Who;
use crate::unwind::Trace;

/// What follows if a goroutine panics and nobody has the right to its result any more: its handle was
/// dropped, before or after its end.
///
/// It never concerns a goroutine that is joined, for the panic is `join`'s error then, nor those of a
/// [`scope`](crate::scope()), which panics itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// As with `std`'s threads: the panic hook has printed its message, and the program goes on.
    #[default]
    Report,
    /// As in Go: the goroutine is unwound to its root, and its destructors run; then the process ends with
    /// status 2 and a report that names the goroutine, its stack as it was at the panic, and the place
    /// where it was created. Nothing else runs: no destructors of other goroutines, no `atexit`.
    Abort,
}

/// What there is to say of a panic.
#[derive(Debug)]
pub(crate) struct Panicked {
    /// The payload's type and text: by these the root knows which panic it was.
    kind: TypeId,
    text: Option<String>,
    /// The stack at the panic; `None`: it was resumed, or another hook has replaced ours.
    pub(crate) trace: Option<Box<Trace>>,
    /// Set at the root.
    pub(crate) last: Option<Last>,
}

/// Who it was.
#[derive(Debug)]
pub(crate) struct Last {
    pub(crate) id: u64,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) site: Option<&'static Location<'static>>,
}

impl Last {
    /// For messages.
    pub(crate) fn who(&self) -> Who<'_> {
        Who { id: self.id, name: self.name.as_deref() }
    }
}

impl Panicked {
    /// Of a panic with this payload.
    pub(crate) fn new(payload: &(dyn Any + Send), trace: Option<Box<Trace>>) -> Self {
        Panicked { kind: payload.type_id(), text: text_of(payload).map(str::to_owned), trace, last: None }
    }

    /// Is it the record of a panic with this payload? (Or of one that looks the same.)
    pub(crate) fn is_of(&self, payload: &(dyn Any + Send)) -> bool {
        self.kind == payload.type_id() && self.text.as_deref() == text_of(payload)
    }

    /// The message, in the words of std's hook.
    pub(crate) fn message(&self) -> &str {
        self.text.as_deref().unwrap_or("Box<dyn Any>")
    }
}

/// The text of a payload, if it is one.
fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => Some(text),
        None => payload.downcast_ref::<String>().map(String::as_str),
    }
}
