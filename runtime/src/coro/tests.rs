//! F2. What a coroutine promises, on either implementation.

#![allow(clippy::unwrap_used)]

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe};

use super::{Action, Coro, Outcome, Wish, on_stack, stack_pointer};

const STACK_BYTES: usize = 256 << 10;

/// A record and a stack, for one coroutine after another.
struct Place {
    coro: UnsafeCell<MaybeUninit<Coro>>,
    stack: Vec<u128>,
    visits: Cell<u32>,
}

impl Place {
    fn new() -> Self {
        Place {
            coro: UnsafeCell::new(MaybeUninit::uninit()),
            stack: vec![0; STACK_BYTES / 16],
            visits: Cell::new(0),
        }
    }

    fn coro(&self) -> *mut Coro {
        self.coro.get().cast()
    }

    fn bounds(&self) -> (usize, usize) {
        let low = self.stack.as_ptr().expose_provenance();
        (low, low + STACK_BYTES)
    }

    fn start(&self, root: impl FnOnce()) {
        let (low, top) = self.bounds();
        // SAFETY: the stack is this coroutine's, large enough for the tests; none of the roots unwinds.
        unsafe { Coro::start(self.coro(), low, top, root) };
    }

    fn resume(&self) -> Outcome {
        // SAFETY: the tests resume what was started and has not finished.
        unsafe { Coro::resume(self.coro()) }
    }

    fn suspend(&self, action: Action) {
        // SAFETY: called by the coroutine that runs here.
        while unsafe { Coro::suspend(self.coro(), action) } == Wish::Show {
            self.visits.set(self.visits.get() + 1);
        }
    }
}

#[test]
fn every_action_arrives_and_the_end_is_told() {
    let place = Place::new();
    let actions = [Action::Yield, Action::Park, Action::Spawn, Action::Stop];
    place.start(|| actions.iter().for_each(|action| place.suspend(*action)));
    for action in actions {
        assert_eq!(place.resume(), Outcome::Suspended(action));
    }
    assert_eq!(place.resume(), Outcome::Finished);
}

#[test]
fn a_visit_changes_nothing() {
    let place = Place::new();
    place.start(|| {
        place.suspend(Action::Park);
        place.suspend(Action::Yield);
    });
    assert_eq!(place.resume(), Outcome::Suspended(Action::Park));
    // SAFETY: it has suspended itself.
    (0..3).for_each(|_| unsafe { Coro::visit(place.coro()) });
    assert_eq!(place.visits.get(), 3);
    assert_eq!(place.resume(), Outcome::Suspended(Action::Yield));
    assert_eq!(place.resume(), Outcome::Finished);
    assert_eq!(place.visits.get(), 3);
}

#[test]
fn a_coroutine_runs_on_its_stack_which_is_aligned() {
    #[repr(align(64))]
    struct Aligned([u8; 64]);
    let (place, seen) = (Place::new(), Cell::new((0, 0)));
    for captured in 0..32_u8 {
        let captured = vec![captured; captured.into()];
        let aligned = Aligned([7; 64]);
        place.start(|| {
            let (captured, aligned) = (captured, aligned);
            let local = 0_u128;
            assert_eq!((&raw const local).addr() % 16, 0);
            assert_eq!((&raw const aligned).addr() % 64, 0);
            assert_eq!(aligned.0, [7; 64]);
            seen.set((stack_pointer(), captured.len()));
        });
        assert_eq!(place.resume(), Outcome::Finished);
        let (low, top) = place.bounds();
        assert!((low..top).contains(&seen.get().0));
    }
}

/// What the compiler keeps in registers across a switch is there afterwards, whole and in floating point.
#[test]
fn values_survive_switches() {
    fn mix(place: &Place, seed: u64) -> (u64, f64) {
        let (mut a, mut b, mut c, mut d, mut e, mut f) =
            (seed, seed + 1, seed + 2, seed + 3, seed + 4, seed + 5);
        let (mut x, mut y) = (seed as f64, 1.5);
        for _ in 0..100 {
            (a, b, c, d, e, f) =
                (b ^ f, c.wrapping_add(a), d ^ b, e.wrapping_mul(3), f ^ c, a.wrapping_add(d));
            (x, y) = (y * 0.75 + x, x * 0.5);
            place.suspend(Action::Yield);
        }
        (a ^ b ^ c ^ d ^ e ^ f, x + y)
    }
    let alone = Place::new();
    let mut expected = Vec::new();
    for seed in 0..10 {
        let result = Cell::new((0, 0.0));
        alone.start(|| result.set(mix(&alone, seed)));
        while alone.resume() != Outcome::Finished {}
        expected.push(result.get());
    }
    let places: Vec<_> = (0..10).map(|_| Place::new()).collect();
    let results: Vec<_> = (0..10).map(|_| Cell::new((0, 0.0))).collect();
    for (n, place) in places.iter().enumerate() {
        let result = &results[n];
        place.start(move || result.set(mix(place, n as u64)));
    }
    for _ in 0..100 {
        places.iter().for_each(|place| assert_eq!(place.resume(), Outcome::Suspended(Action::Yield)));
    }
    places.iter().for_each(|place| assert_eq!(place.resume(), Outcome::Finished));
    assert_eq!(results.iter().map(Cell::get).collect::<Vec<_>>(), expected);
}

#[test]
fn another_thread_may_go_on_with_it() {
    let place = Place::new();
    let threads = Cell::new(Vec::new());
    let note = || {
        let mut seen = threads.take();
        seen.push(std::thread::current().id());
        threads.set(seen);
    };
    place.start(|| {
        for _ in 0..8 {
            note();
            place.suspend(Action::Yield);
        }
    });
    struct Shared<'a>(&'a Place);
    // SAFETY: one thread at a time resumes it, each joined before the next.
    unsafe impl Send for Shared<'_> {}
    for _ in 0..8 {
        let shared = Shared(&place);
        std::thread::scope(|s| {
            s.spawn(move || {
                let shared = shared;
                assert_eq!(shared.0.resume(), Outcome::Suspended(Action::Yield));
            });
        });
    }
    assert_eq!(place.resume(), Outcome::Finished);
    let seen = threads.take();
    assert!((1..8).all(|n| seen[n] != seen[n - 1]));
}

/// A panic is caught within, across suspensions and on further stacks; a backtrace ends at the root.
#[test]
fn panics_and_backtraces_stay_within() {
    #[inline(never)]
    fn a_frame_of_the_test(place: &Place) {
        place.suspend(Action::Yield);
        let trace = std::backtrace::Backtrace::force_capture().to_string();
        assert!(trace.contains("a_frame_of_the_test"), "{trace}");
        panic!("in a coroutine");
    }
    let (place, further) = (Place::new(), Place::new());
    let (low, top) = further.bounds();
    for segmented in [false, true] {
        place.start(|| {
            let result = panic::catch_unwind(AssertUnwindSafe(|| {
                if segmented {
                    // SAFETY: the other place's stack, used by nobody else.
                    unsafe { on_stack(low, top, || a_frame_of_the_test(&place)) }
                } else {
                    a_frame_of_the_test(&place);
                }
            }));
            assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "in a coroutine");
            place.suspend(Action::Park);
        });
        assert_eq!(place.resume(), Outcome::Suspended(Action::Yield));
        assert_eq!(place.resume(), Outcome::Suspended(Action::Park));
        assert_eq!(place.resume(), Outcome::Finished);
    }
}
