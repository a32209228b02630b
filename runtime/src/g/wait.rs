//! F3. What a goroutine waits for, for reports.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;

/// The reason of a wait, as it is shown. Go's words where Go has the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum WaitReason {
    /// It does not wait.
    None = 0,
    /// In `park`.
    Park,
    /// In `sleep`.
    Sleep,
    /// In `JoinHandle::join`, or in `join` for a branch that another processor runs.
    Join,
    /// At the end of a `scope`.
    Scope,
    /// In a primitive that says no more.
    Other,
    /// Receiving from a channel.
    ChanReceive,
    /// Sending to a channel.
    ChanSend,
    /// Receiving from, or sending to, a channel that never is ready (`never`).
    ChanNever,
    /// In `select!`.
    Select,
    /// In a `select!` without an arm that could ever be ready.
    SelectNoCases,
    /// For a mutex.
    MutexLock,
    /// To read what an `RwLock` guards.
    RwLockRead,
    /// To write what an `RwLock` guards.
    RwLockWrite,
    /// On a condition variable.
    CondvarWait,
    /// For others that run a `Once`, `OnceLock` or `LazyLock`.
    Once,
    /// In `WaitGroup::wait`.
    WaitGroupWait,
    /// At a barrier.
    BarrierWait,
    /// For permits of a semaphore.
    SemaphoreAcquire,
    /// For an `Event`.
    EventWait,
}

/// All reasons and their words, in the order of their numbers.
const WORDS: [(WaitReason, &str); 20] = [
    (WaitReason::None, "running"),
    (WaitReason::Park, "park"),
    (WaitReason::Sleep, "sleep"),
    (WaitReason::Join, "join"),
    (WaitReason::Scope, "scope"),
    (WaitReason::Other, "waiting"),
    (WaitReason::ChanReceive, "chan receive"),
    (WaitReason::ChanSend, "chan send"),
    (WaitReason::ChanNever, "chan never"),
    (WaitReason::Select, "select"),
    (WaitReason::SelectNoCases, "select (no cases)"),
    (WaitReason::MutexLock, "sync.Mutex.Lock"),
    (WaitReason::RwLockRead, "sync.RWMutex.RLock"),
    (WaitReason::RwLockWrite, "sync.RWMutex.Lock"),
    (WaitReason::CondvarWait, "sync.Cond.Wait"),
    (WaitReason::Once, "sync.Once"),
    (WaitReason::WaitGroupWait, "sync.WaitGroup.Wait"),
    (WaitReason::BarrierWait, "barrier"),
    (WaitReason::SemaphoreAcquire, "semacquire"),
    (WaitReason::EventWait, "event"),
];

impl WaitReason {
    /// The inverse of `as u8`; an unknown number is `Other`.
    pub(crate) fn from_raw(raw: u8) -> Self {
        WORDS.get(usize::from(raw)).map_or(WaitReason::Other, |(reason, _)| *reason)
    }

    /// The words of a report.
    pub fn as_str(self) -> &'static str {
        WORDS[self as usize].1
    }

    /// This reason, at an object: reports show its address.
    pub fn at<T: ?Sized>(self, object: &T) -> WaitFor<'_> {
        WaitFor { reason: self, object: std::ptr::from_ref(object).addr(), holder: None }
    }
}

/// What a wait is for: a reason, and where known the object and who holds it.
#[derive(Clone, Copy, Debug)]
pub struct WaitFor<'a> {
    pub(crate) reason: WaitReason,
    /// Its address; 0: none.
    pub(crate) object: usize,
    /// Where the number of the goroutine stands that holds the object; 0 in it: nobody known.
    pub(crate) holder: Option<&'a AtomicU64>,
}

impl<'a> WaitFor<'a> {
    /// The end of the goroutine whose number stands there.
    pub(crate) fn end_of(goroutine: &'a AtomicU64) -> Self {
        WaitFor { reason: WaitReason::Join, object: 0, holder: Some(goroutine) }
    }

    /// The object is held by the goroutine whose [id](crate::Goroutine::id) stands in `holder` (0: by nobody
    /// that is known). Reports, and the search for cycles, read it while the wait lasts.
    pub fn held_by(self, holder: &'a AtomicU64) -> Self {
        WaitFor { holder: Some(holder), ..self }
    }
}

impl From<WaitReason> for WaitFor<'_> {
    fn from(reason: WaitReason) -> Self {
        WaitFor { reason, object: 0, holder: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_the_order_of_their_numbers() {
        for (number, (reason, _)) in WORDS.iter().enumerate() {
            assert_eq!(*reason as usize, number);
            assert_eq!(WaitReason::from_raw(*reason as u8), *reason);
        }
    }
}
