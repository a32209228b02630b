//! F3. Why a goroutine waits, for reports.
#![forbid(unsafe_code)]

/// The reason of a wait, as it is shown. Go's words where Go has the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum WaitReason {
    /// It does not wait.
    None = 0,
    /// In `park`.
    Park = 1,
    /// In `sleep`.
    Sleep = 2,
    /// In `JoinHandle::join`.
    Join = 3,
    /// At the end of a `scope`.
    Scope = 4,
    /// In a primitive built on `park::Waiter`.
    Other = 5,
}

impl WaitReason {
    /// The inverse of `as u8`; an unknown number is `Other`.
    pub(crate) fn from_raw(raw: u8) -> Self {
        match raw {
            0 => WaitReason::None,
            1 => WaitReason::Park,
            2 => WaitReason::Sleep,
            3 => WaitReason::Join,
            4 => WaitReason::Scope,
            _ => WaitReason::Other,
        }
    }

    /// The words of a report.
    pub fn as_str(self) -> &'static str {
        match self {
            WaitReason::None => "running",
            WaitReason::Park => "park",
            WaitReason::Sleep => "sleep",
            WaitReason::Join => "join",
            WaitReason::Scope => "scope",
            WaitReason::Other => "waiting",
        }
    }
}
