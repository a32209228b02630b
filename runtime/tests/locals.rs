//! `local!`: one value for each goroutine, whatever thread it runs on; destructors at its end, in order.
#![cfg(test)]

mod fixture;

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fixture::{everywhere, until};
use gort_runtime::{AccessError, current, local, num_goroutines, park_timeout, spawn, yield_now};

local! {
    static NUMBER: Cell<u64> = Cell::new(7);
    static LIST: RefCell<Vec<Rc<u64>>> = RefCell::new(Vec::new());
}

#[test]
fn each_goroutine_has_its_own_value() {
    everywhere(|setting| {
        NUMBER.with(|number| number.set(1));
        let handles: Vec<_> = (0..50)
            .map(|n| {
                let mut rng = setting.rng(n);
                spawn(move || {
                    assert_eq!(NUMBER.with(Cell::get), 7, "a fresh one");
                    for round in 0..50 {
                        NUMBER.with(|number| number.set(n * 1_000 + round));
                        LIST.with(|list| list.borrow_mut().push(Rc::new(n)));
                        match rng.below(4) {
                            0 => park_timeout(Duration::from_micros(rng.below(50))),
                            1 => spawn(|| assert_eq!(NUMBER.with(Cell::get), 7)).join().unwrap(),
                            _ => yield_now(),
                        }
                        assert_eq!(NUMBER.with(Cell::get), n * 1_000 + round);
                    }
                    LIST.with(|list| list.borrow().iter().filter(|entry| ***entry == n).count())
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| assert_eq!(handle.join().unwrap(), 50));
        assert_eq!(NUMBER.with(Cell::get), 1);
    });
}

#[test]
fn foreign_threads_have_values_of_their_own() {
    NUMBER.with(|number| number.set(2));
    thread::spawn(|| {
        assert_eq!(NUMBER.with(Cell::get), 7);
        NUMBER.with(|number| number.set(3));
        assert_eq!(spawn(|| NUMBER.with(Cell::get)).join().unwrap(), 7);
        assert_eq!(NUMBER.with(Cell::get), 3);
    })
    .join()
    .unwrap();
    assert_eq!(NUMBER.with(Cell::get), 2);
}

type Log = Arc<Mutex<Vec<String>>>;

/// Writes down in which goroutine it was dropped, and what it then finds.
struct Logs {
    name: &'static str,
    log: Log,
    goroutine: u64,
}

impl Drop for Logs {
    fn drop(&mut self) {
        assert_eq!(current().id(), self.goroutine, "dropped on its goroutine's own stack");
        // It may do what goroutines do.
        yield_now();
        let others = [("A", &A), ("B", &B), ("LATE", &LATE)].map(|(name, key)| {
            match key.try_with(|cell| cell.borrow().is_some()) {
                Ok(set) => format!("{name} {set}"),
                Err(AccessError) => format!("{name} gone"),
            }
        });
        self.log.lock().unwrap().push(format!("{}: {}", self.name, others.join(", ")));
    }
}

local! {
    static A: RefCell<Option<Logs>> = RefCell::new(None);
    static B: RefCell<Option<Logs>> = RefCell::new(None);
    static LATE: RefCell<Option<Logs>> = RefCell::new(None);
}

#[test]
fn destructors_run_newest_first_at_the_end_also_after_a_panic() {
    everywhere(|_| {
        for fails in [false, true] {
            let log = Log::default();
            let handle = spawn({
                let log = Arc::clone(&log);
                move || {
                    let goroutine = current().id();
                    let logs = |name| Some(Logs { name, log: Arc::clone(&log), goroutine });
                    A.with(|cell| *cell.borrow_mut() = logs("a"));
                    B.with(|cell| *cell.borrow_mut() = logs("b"));
                    log.lock().unwrap().push("end".into());
                    if fails {
                        resume_unwind(Box::new(()));
                    }
                }
            });
            assert_eq!(handle.join().is_err(), fails);
            let expected = ["end", "b: A true, B gone, LATE false", "a: A gone, B gone, LATE gone"];
            // B's destructor has made LATE, which is dropped before the older A.
            assert_eq!(*log.lock().unwrap(), expected);
        }
    });
}

struct SetsInDrop(Arc<AtomicUsize>);

impl Drop for SetsInDrop {
    fn drop(&mut self) {
        let _ = NUMBER.try_with(|number| number.set(99));
        let _ = LIST.try_with(|list| list.borrow_mut().push(Rc::new(99)));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The destructor of a detached goroutine's result runs after its locals have gone.
#[test]
fn what_a_late_destructor_sets_is_not_the_next_goroutine_s() {
    everywhere(|_| {
        let drops = Arc::new(AtomicUsize::new(0));
        for n in 1..50 {
            let (go, value) = (Arc::new(AtomicBool::new(false)), SetsInDrop(Arc::clone(&drops)));
            drop(spawn({
                let go = Arc::clone(&go);
                move || {
                    until(|| go.load(Ordering::SeqCst));
                    value
                }
            }));
            go.store(true, Ordering::SeqCst);
            until(|| drops.load(Ordering::SeqCst) == n && num_goroutines() == 1);
            let found = spawn(|| (NUMBER.with(Cell::get), LIST.with(|list| list.borrow().len())));
            assert_eq!(found.join().unwrap(), (7, 0), "somebody else's value");
        }
    });
}

#[test]
fn a_value_may_be_made_while_another_is_made() {
    local! {
        static OUTER: u64 = INNER.with(|inner| *inner) + 1;
        static INNER: u64 = 41;
    }
    everywhere(|_| assert_eq!(spawn(|| OUTER.with(|outer| *outer)).join().unwrap(), 42));
}

#[test]
fn a_panic_while_a_value_is_made_leaves_none() {
    local! {
        static FAILS: u64 = match NUMBER.with(Cell::get) {
            7 => resume_unwind(Box::new("not yet")),
            number => number,
        };
    }
    everywhere(|_| {
        let value = spawn(|| {
            assert!(std::panic::catch_unwind(|| FAILS.with(|_| ())).is_err());
            NUMBER.with(|number| number.set(8));
            FAILS.with(|value| *value)
        });
        assert_eq!(value.join().unwrap(), 8);
    });
}
