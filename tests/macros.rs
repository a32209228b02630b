//! The attributes as a program meets them.
//!
//! The first `gort::run` of the process becomes its process-wide runtime, which has been stopped when that
//! `run` returns: no thread of these tests spawns anything outside of a runtime.
#![cfg(test)]

use std::error::Error;
use std::num::ParseIntError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A foreign thread has no number.
fn assert_in_a_goroutine() {
    assert_ne!(gort::current().id(), 0, "the body runs in a goroutine");
}

#[gort::test]
fn a_test_runs_in_a_goroutine() {
    assert_in_a_goroutine();
    assert_eq!(gort::num_goroutines(), 1, "of a runtime of its own");
    let child = gort::spawn(|| {
        gort::yield_now();
        6 * 7
    });
    assert_eq!(child.join().unwrap(), 42);
}

#[gort::test(procs = 2)]
fn procs_is_the_number_of_processors() {
    assert_in_a_goroutine();
    assert_eq!(gort::max_procs(), 2);
    assert_eq!(gort::runtime::info().unwrap().max_procs, 2);
}

#[gort::test(procs = 3)]
fn its_runtime_is_no_other_test_s() {
    assert_eq!(gort::set_max_procs(5).unwrap(), 3);
    assert_eq!(gort::max_procs(), 5);
}

#[gort::test(procs = 1, crate = gort)]
fn a_result_is_the_test_s() -> Result<(), Box<dyn Error + Send + Sync>> {
    assert_in_a_goroutine();
    assert_eq!(gort::max_procs(), 1);
    let child = gort::Builder::new().name("parses").spawn(|| "17".parse::<u32>())?;
    let number = child.join().expect("it does not panic")?;
    assert_eq!(number, 17);
    Ok(())
}

/// No test function itself, so that its error can be looked at.
mod fallible {
    use super::ParseIntError;

    #[gort::main]
    pub(super) fn main() -> Result<u32, ParseIntError> {
        let text = gort::spawn(|| "no number").join().expect("it does not panic");
        let number: u32 = text.parse()?;
        Ok(number)
    }
}

#[test]
fn an_error_of_main_is_returned() {
    assert_eq!(fallible::main(), "no number".parse::<u32>());
}

#[gort::test]
#[should_panic(expected = "from the body")]
fn a_panic_of_the_body_is_the_test_s() {
    assert_in_a_goroutine();
    gort::yield_now();
    panic!("from the body");
}

#[gort::test(procs = 2)]
#[should_panic(expected = "from a goroutine")]
fn a_panic_of_a_goroutine_is_its_joiner_s() {
    let child = gort::spawn(|| -> () { panic!("from a goroutine") });
    child.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
}

/// The body's own tokens: nothing of the expansion is in their way.
#[gort::test]
fn the_body_means_what_it_says() {
    #![allow(unused_mut, reason = "an attribute at the head of the body means the function")]
    let mut words = ["spawn", "park"];
    let lengths = gort::scope(|s| {
        let handles: Vec<_> = words.iter().map(|word| s.spawn(|| word.len())).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(lengths, [5, 4]);
    if lengths.len() == 2 {
        return;
    }
    unreachable!("`return` is the body's");
}

/// Programs in miniature.
mod programs {
    use super::{AtomicUsize, Ordering, assert_in_a_goroutine};

    pub(super) static RUNS: AtomicUsize = AtomicUsize::new(0);

    pub(super) mod unit {
        use super::{Ordering, RUNS, assert_in_a_goroutine};

        /// Documented, and visible outside of its module.
        #[gort::main]
        pub(in super::super) fn main() {
            assert_in_a_goroutine();
            gort::scope(|s| {
                (0..10).for_each(|_| drop(s.spawn(|| RUNS.fetch_add(1, Ordering::SeqCst))));
            });
        }
    }

    pub(super) mod value {
        #[gort::main(crate = gort)]
        pub(in super::super) fn main() -> Vec<usize> {
            super::assert_in_a_goroutine();
            let handles: Vec<_> = (0..5).map(|n| gort::spawn(move || n * n)).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect()
        }
    }

    pub(super) mod panics {
        #[gort::main]
        pub(in super::super) fn main() {
            std::panic::resume_unwind(Box::new(7_u8));
        }
    }
}

#[test]
fn main_runs_its_body_to_the_end() {
    programs::unit::main();
    assert_eq!(programs::RUNS.load(Ordering::SeqCst), 10);
    programs::unit::main();
    assert_eq!(programs::RUNS.load(Ordering::SeqCst), 20, "each call is a run");
}

#[test]
fn main_returns_what_its_body_returns() {
    assert_eq!(programs::value::main(), [0, 1, 4, 9, 16]);
}

#[test]
fn a_panic_of_main_s_body_is_main_s() {
    let payload = std::panic::catch_unwind(programs::panics::main).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&7_u8));
}

#[gort::test]
fn main_may_be_called_in_a_goroutine() {
    assert_eq!(programs::value::main(), [0, 1, 4, 9, 16]);
}
