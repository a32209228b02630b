//! F9d. What the reporter's thread does when it is asked.
#![forbid(unsafe_code)]

use super::PROCESS_WIDE;
use crate::fault;
use crate::inspect;
use crate::report;
use crate::sys;

/// Makes the reports that were asked for. On the reporter's thread.
pub(super) fn make(asked: u32) {
    // First: a handler waits for it.
    if asked & report::FAULT != 0 {
        fault::make_report();
    }
    if asked & report::DUMP != 0
        && let Some(sched) = PROCESS_WIDE.get()
    {
        sys::complain(&inspect::dump(sched));
    }
}
