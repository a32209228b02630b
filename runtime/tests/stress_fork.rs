//! Forks at random, with all that may happen in a branch: run over and over by `ci/stress.sh`.
#![cfg(test)]

mod fixture;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fixture::{MODES, Rng, Setting, spin_until};
use gort_runtime::{
    Builder, current, grow, join, join_then, par_map, park_timeout, scope, set_max_procs, sleep, spawn,
    yield_now,
};

/// What every branch owns: counted where it is made, and where it is dropped.
struct Owned<'a>(&'a AtomicUsize);

impl<'a> Owned<'a> {
    fn new(alive: &'a AtomicUsize) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Owned(alive)
    }
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A tree of random shape: returns how many leaves it has, which a serial walk finds again by the seed.
fn tree(seed: u64, depth: u32, alive: &AtomicUsize, serial: bool) -> u64 {
    let mut rng = Rng::new(seed);
    if depth == 0 || rng.below(8) == 0 {
        return 1;
    }
    let (left, right, what) = (rng.next(), rng.next(), rng.below(40));
    let go = move |seed| tree(seed, depth - 1, alive, serial);
    if serial {
        return go(left) + go(right);
    }
    let (mine, yours) = (Owned::new(alive), Owned::new(alive));
    let first = move || {
        let _mine = mine;
        act(what);
        go(left)
    };
    let second = move || {
        let _yours = yours;
        act(what + 20);
        go(right)
    };
    match what % 7 {
        0..4 => {
            let (a, b) = join(first, second);
            a + b
        }
        4 => join_then(first, second, |a, b| a + b),
        5 => grow(|| join_then(first, second, |a, b| a + b)),
        _ => scope(|s| {
            let child = s.spawn(second);
            first() + child.join().unwrap_or_else(|payload| resume_unwind(payload))
        }),
    }
}

fn act(what: u64) {
    match what {
        0 | 21 => yield_now(),
        1 => sleep(Duration::from_micros(20)),
        2 | 22 => {
            let until = Instant::now() + Duration::from_micros(30);
            spin_until(|| Instant::now() >= until);
        }
        3 => park_timeout(Duration::from_micros(10)),
        4 | 24 => {
            let me = current();
            drop(spawn(move || me.unpark()));
            yield_now();
        }
        25 => {
            let small = Builder::new().stack_size(32 << 10).spawn(|| join(yield_now, || 1).1);
            assert_eq!(small.expect("there is memory").join().expect("it does not panic"), 1);
        }
        26 => drop(par_map(0..20_u32, |n| n + 1)),
        _ => {}
    }
}

fn stress(body: impl Fn(Setting, &mut Rng) + Sync) {
    let seconds = std::env::var("GORT_STRESS_SECONDS").map_or(1.0, |text| text.parse().expect("a number"));
    let share = Duration::from_secs_f64(seconds / 9.0);
    for mode in MODES {
        for procs in [1, 2, 4] {
            let setting = Setting::new(procs, mode);
            setting.check(|| {
                let (mut rng, start, mut rounds) = (setting.rng(procs as u64), Instant::now(), 0);
                while rounds < 2 || start.elapsed() < share {
                    rounds += 1;
                    body(setting, &mut rng);
                }
            });
        }
    }
}

#[test]
fn stress_trees() {
    stress(|_, rng| {
        let (seed, alive) = (rng.next(), AtomicUsize::new(0));
        assert_eq!(tree(seed, 9, &alive, false), tree(seed, 9, &alive, true));
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn stress_trees_side_by_side() {
    stress(|setting, rng| {
        let alive = AtomicUsize::new(0);
        scope(|s| {
            for _ in 0..6 {
                let (seed, alive) = (rng.next(), &alive);
                s.spawn(move || assert_eq!(tree(seed, 7, alive, false), tree(seed, 7, alive, true)));
            }
            if setting.procs > 1 {
                set_max_procs(1 + rng.below(setting.procs as u64) as usize).expect("a good number");
                yield_now();
                set_max_procs(setting.procs).expect("a good number");
            }
        });
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn stress_panics() {
    stress(|_, rng| {
        let alive = AtomicUsize::new(0);
        fn go(seed: u64, depth: u32, alive: &AtomicUsize) -> u64 {
            let mut rng = Rng::new(seed);
            if depth == 0 {
                // Without the hook's message.
                if rng.below(30) == 0 {
                    resume_unwind(Box::new(seed));
                }
                act(rng.below(60));
                return 1;
            }
            let (left, right, owned) = (rng.next(), rng.next(), Owned::new(alive));
            let (a, b) = join(
                || go(left, depth - 1, alive),
                move || {
                    let _owned = owned;
                    go(right, depth - 1, alive)
                },
            );
            a + b
        }
        let (seed, depth) = (rng.next(), 3 + rng.below(4) as u32);
        let result = catch_unwind(AssertUnwindSafe(|| go(seed, depth, &alive)));
        match result {
            Ok(leaves) => assert_eq!(leaves, 1 << depth),
            Err(payload) => assert!(payload.is::<u64>()),
        }
        assert_eq!(alive.load(Ordering::SeqCst), 0, "all dropped, once");
    });
}
