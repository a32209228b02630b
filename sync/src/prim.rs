//! The atomics, which loom can stand in for.
//!
//! The files of state words take their atomics from here, so that the same source is the product and the
//! model: `RUSTFLAGS="--cfg loom"` swaps the standard library's for loom's. Only those files are compiled
//! under loom (see `lib.rs`); what waits needs the machine.
#![forbid(unsafe_code)]

#[cfg(loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
}
#[cfg(not(loom))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
}

/// What the models wait on instead of a goroutine's parking.
#[cfg(all(test, loom))]
pub(crate) mod model {
    use loom::sync::{Arc, Condvar, Mutex};

    /// One wait: whoever ends it says something.
    #[derive(Clone)]
    pub(crate) struct Bell<T>(Arc<(Mutex<Option<T>>, Condvar)>);

    impl<T: Copy> Bell<T> {
        pub(crate) fn new() -> Self {
            Bell(Arc::new((Mutex::new(None), Condvar::new())))
        }

        pub(crate) fn ring(&self, says: T) {
            *self.0.0.lock().expect("no panic") = Some(says);
            self.0.1.notify_one();
        }

        pub(crate) fn wait(&self) -> T {
            let mut said = self.0.0.lock().expect("no panic");
            loop {
                match *said {
                    Some(says) => return says,
                    None => said = self.0.1.wait(said).expect("no panic"),
                }
            }
        }

        pub(crate) fn is(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }
    }
}
