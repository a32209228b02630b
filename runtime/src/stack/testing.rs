//! F1. What the tests of this floor share: child processes, and looks at residency.
//!
//! The slab is process-wide and the test harness runs tests side by side. What counts slots, or relies on
//! the order of reuse, or dies, therefore runs in a process of its own: the test binary starts itself again
//! for the one test, marked by an environment variable.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use super::slot::Slot;
use crate::sys::memory::{self, PAGE_BYTES};

const MARK: &str = "GORT_STACK_TEST_CHILD";

/// Runs `body` in a child process, and returns what became of the child. `module` is the caller's
/// `module_path!()`, `test` the test's name. In the child it returns `None`, after `body`.
pub(super) fn child(
    module: &str,
    test: &str,
    environment: &[(&str, &str)],
    body: impl FnOnce(),
) -> Option<Output> {
    if std::env::var(MARK).is_ok_and(|value| value == test) {
        body();
        return None;
    }
    let (_crate, module) = module.split_once("::").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    Some(output)
}

/// As [`child`], for a body that must succeed.
pub(super) fn in_child(module: &str, test: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    if let Some(output) = child(module, test, environment, body) {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
        // A name that matches no test would succeed as well.
        assert!(out.contains("1 passed"), "{out}\n{err}");
    }
}

/// How many pages of the slot's stack, the header's page not counted, are in memory.
pub(super) fn resident(slot: Slot) -> usize {
    let mut pages = vec![0; (slot.header_page() - slot.low()) / PAGE_BYTES];
    memory::resident(slot.pointer_to(slot.low()).as_ptr(), &mut pages)
}

/// Writes a byte to each of the `count` pages below the header's page; the caller owns the slot.
pub(super) fn touch(slot: Slot, count: usize) {
    for page in 1..=count {
        let pointer = slot.pointer_to(slot.header_page() - page * PAGE_BYTES);
        // SAFETY: lies in the slot's stack (`pointer_to` and the layout), which is the caller's.
        unsafe { pointer.as_ptr().write_volatile(page as u8) };
    }
}

/// Reads the byte that [`touch`] wrote to a page.
pub(super) fn read(slot: Slot, page: usize) -> u8 {
    let pointer = slot.pointer_to(slot.header_page() - page * PAGE_BYTES);
    // SAFETY: lies in the slot's stack, which is the caller's.
    unsafe { pointer.as_ptr().read_volatile() }
}
