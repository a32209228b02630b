//! `par_for`, `par_map`, `par_reduce`, `par_sort_unstable_by`: each item once, results in order, bodies may block.
#![cfg(test)]

mod fixture;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fixture::{at_1_2_4, message, until};
use gort_runtime::{join, par_for, par_map, par_reduce, par_sort_unstable_by, yield_now};

#[test]
fn each_item_comes_once() {
    at_1_2_4(|_| {
        for len in [0, 1, 2, 3, 100, 30_000] {
            let counts: Vec<AtomicUsize> = (0..len).map(|_| AtomicUsize::new(0)).collect();
            par_for(0..len, |n: usize| _ = counts[n].fetch_add(1, Ordering::Relaxed));
            par_for(&counts[..], |count| _ = count.fetch_add(1, Ordering::Relaxed));
            assert!(counts.into_iter().all(|count| count.into_inner() == 2));
            let mut numbers = vec![1; len];
            par_for(&mut numbers[..], |number| *number += 1);
            assert_eq!(numbers, vec![2; len]);
        }
    });
}

#[test]
fn results_come_in_order() {
    at_1_2_4(|_| {
        let texts = par_map(0_i32..2_000, |n| {
            if n % 97 == 0 {
                yield_now();
            }
            n.to_string()
        });
        assert!(texts.iter().enumerate().all(|(n, text)| *text == n.to_string()));
        let text = par_reduce(&texts[..], String::new, String::clone, |a, b| a + &b);
        assert_eq!(text, texts.concat());
    });
}

#[test]
fn items_may_wait_for_one_another() {
    at_1_2_4(|_| {
        let begun = AtomicUsize::new(0);
        par_for(0..200, |_| {
            begun.fetch_add(1, Ordering::SeqCst);
            until(|| begun.load(Ordering::SeqCst) == 200);
        });
    });
}

#[test]
fn a_panic_of_an_item_comes_out_and_nothing_is_dropped_twice() {
    at_1_2_4(|_| {
        struct Counted<'a>(&'a AtomicUsize);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (made, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            par_map(0..5_000, |n| {
                assert_ne!(n, 3_333, "an item");
                made.fetch_add(1, Ordering::SeqCst);
                Counted(&dropped)
            })
        }));
        let payload = caught.err().expect("it panics");
        assert!(message(&*payload).contains("an item"));
        assert_eq!(made.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst));
    });
}

#[test]
fn slices_are_sorted() {
    at_1_2_4(|setting| {
        let mut rng = setting.rng(1);
        for len in [0, 1, 2, 100, 5_000, 60_000] {
            for modulus in [1, 3, 1_000, u64::MAX] {
                let mut numbers: Vec<u64> = (0..len).map(|_| rng.next() % modulus).collect();
                let mut expected = numbers.clone();
                expected.sort_unstable();
                par_sort_unstable_by(&mut numbers, u64::cmp);
                assert_eq!(numbers, expected);
                par_sort_unstable_by(&mut numbers, |a, b| b.cmp(a));
                expected.reverse();
                assert_eq!(numbers, expected, "from a sorted slice, backwards");
            }
        }
    });
}

#[test]
fn a_comparison_that_panics_loses_and_doubles_no_item() {
    at_1_2_4(|setting| {
        let mut rng = setting.rng(2);
        for when in [1, 100, 20_000, 200_000] {
            let mut items: Vec<String> = (0..20_000).map(|_| rng.below(1_000).to_string()).collect();
            let mut expected = items.clone();
            let comparisons = AtomicUsize::new(0);
            let sorting = catch_unwind(AssertUnwindSafe(|| {
                par_sort_unstable_by(&mut items, |a, b| {
                    assert_ne!(comparisons.fetch_add(1, Ordering::Relaxed), when, "a comparison");
                    a.cmp(b)
                });
            }));
            assert_eq!(sorting.is_err(), comparisons.into_inner() > when);
            items.sort_unstable();
            expected.sort_unstable();
            assert_eq!(items, expected);
        }
    });
}

#[test]
fn foreign_threads_have_loops_too() {
    let numbers: Vec<u64> = (0..10_000).collect();
    let sum = AtomicUsize::new(0);
    par_for(0..100_usize, |n| _ = sum.fetch_add(n, Ordering::Relaxed));
    assert_eq!(sum.into_inner(), 4_950);
    let mut doubled = par_map(&numbers[..], |n| 2 * n);
    assert_eq!(par_reduce(&doubled[..], || 0, |n| *n, |a, b| a + b), 9_999 * 10_000);
    par_sort_unstable_by(&mut doubled, |a, b| b.cmp(a));
    assert!(doubled.iter().rev().is_sorted() && doubled.len() == 10_000);
    assert_eq!(join!(|| numbers.len(), || 2, || 3), (10_000, 2, 3));
}

#[test]
fn more_than_two_branches_join() {
    at_1_2_4(|_| {
        assert_eq!(join!(|| 1), (1,));
        assert_eq!(join!(|| 1, || "b"), (1, "b"));
        assert_eq!(join!(|| 1, || "b", || 'c'), (1, "b", 'c'));
        assert_eq!(join!(|| 1, || 2, || 3, || 4), (1, 2, 3, 4));
        assert_eq!(join!(|| 1, || 2, || 3, || 4, || 5), (1, 2, 3, 4, 5));
        assert_eq!(join!(|| 1, || 2, || 3, || 4, || 5, || 6,), (1, 2, 3, 4, 5, 6));
    });
}

#[test]
fn branches_are_evaluated_in_order_before_any_runs() {
    fn returns_early(option: Option<u8>) -> Option<(u8, u8, u8, u8)> {
        Some(join!(|| 1, || 2, || 3, option.map(|n| move || n)?))
    }
    at_1_2_4(|_| {
        let order = Mutex::new(String::new());
        let note = |name: &str| order.lock().expect("nobody panics").push_str(name);
        let branch = |name: &'static str| {
            note(name);
            move || note("!")
        };
        join!(branch("a"), branch("b"), branch("c"));
        join!(branch("d"), branch("e"), branch("f"), branch("g"));
        assert_eq!(*order.lock().expect("nobody panics"), "abc!!!defg!!!!");
        assert_eq!((returns_early(Some(4)), returns_early(None)), (Some((1, 2, 3, 4)), None));
    });
}
