//! F9. How many goroutines a scope waits for.
//!
//! The owner's own unit is taken away last, by the owner, after it has written down its token: so whoever
//! brings the count to zero is either the owner, who then need not wait, or a goroutine, which finds the
//! token and an owner that waits for nobody else. No goroutine touches the count after its unit is gone.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::g::token::Token;
use crate::g::wait::WaitReason;
use crate::park;
use crate::sys::clock::NEVER;

/// The count of a scope.
#[derive(Debug)]
pub(crate) struct Count {
    /// Goroutines that have not ended, and one for the scope's owner.
    running: AtomicUsize,
    /// Has one panicked whose handle nobody joined?
    panicked: AtomicBool,
    /// Who waits at the end. Written by the owner before its unit goes, read by the last goroutine.
    owner: Cell<Option<Token>>,
}

// SAFETY: `owner` is handed from the owner to the last goroutine by the count.
unsafe impl Sync for Count {}

impl Count {
    /// The count of a scope that only its owner is in.
    pub(crate) fn new() -> Self {
        Count { running: AtomicUsize::new(1), panicked: AtomicBool::new(false), owner: Cell::new(None) }
    }

    /// A goroutine is about to be spawned. Relaxed: the scope cannot end while its closure runs.
    pub(crate) fn enter(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// It could not be spawned.
    pub(crate) fn take_back(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// Has one panicked that nobody joined? After [`wait`](Self::wait), which orders it.
    pub(crate) fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }

    /// A goroutine has ended. After this the scope may be gone.
    ///
    /// # Safety
    ///
    /// `this` is the scope in which the goroutine was spawned, and it has not left before.
    pub(crate) unsafe fn leave(this: *const Count) {
        // SAFETY: the scope waits for our unit.
        let count = unsafe { &*this };
        // Release: what the goroutine did; Acquire: the owner's token. Pairs with `wait` and the others.
        if count.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            let token = count.owner.get().expect("the owner's unit went before, with its token");
            if token.claim() {
                park::make_ready(token);
            }
        }
    }

    /// A goroutine's panic that nobody has joined.
    pub(crate) fn note_panic(&self) {
        self.panicked.store(true, Ordering::Relaxed);
    }

    /// Waits for all goroutines of the scope. By its owner, once, at the end.
    pub(crate) fn wait(&self) {
        let _ = park::wait(WaitReason::Scope, NEVER, |token| {
            self.owner.set(Some(token));
            // Release: the token. Acquire: what the goroutines did. Pairs with `leave`.
            self.running.fetch_sub(1, Ordering::AcqRel) != 1
        });
        // Acquire: pairs with the last goroutine's Release, if we had to wait.
        debug_assert_eq!(self.running.load(Ordering::Acquire), 0);
    }
}
