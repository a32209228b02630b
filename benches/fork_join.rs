//! Forks at every level, without a size below which they would stop, beside rayon and chili.
//!
//! | group | one iteration | one operation |
//! |---|---|---|
//! | `fork_fib` | fib(27) | a fork (317,810) |
//! | `fork_tree` | the sum of a balanced tree of 2^24 - 1 nodes, in memory | a node |
//! | `fork_nqueens` | all ways to place 12 queens: a fork for each pair of places that a row leaves | one of the 14,200 ways |
//! | `fork_quicksort` | quicksort of 10,000,000 numbers, down to 32 | a number |

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use gort::runtime::Runtime;

/// How two branches are joined.
trait Join: Copy + Send {
    fn join<RA: Send, RB: Send>(
        self,
        a: impl FnOnce(Self) -> RA + Send,
        b: impl FnOnce(Self) -> RB + Send,
    ) -> (RA, RB);
}

#[derive(Clone, Copy)]
struct Serial;

impl Join for Serial {
    #[inline(always)]
    fn join<RA: Send, RB: Send>(
        self,
        a: impl FnOnce(Self) -> RA + Send,
        b: impl FnOnce(Self) -> RB + Send,
    ) -> (RA, RB) {
        (a(self), b(self))
    }
}

#[derive(Clone, Copy)]
struct Gort;

impl Join for Gort {
    #[inline(always)]
    fn join<RA: Send, RB: Send>(
        self,
        a: impl FnOnce(Self) -> RA + Send,
        b: impl FnOnce(Self) -> RB + Send,
    ) -> (RA, RB) {
        gort::join(move || a(self), move || b(self))
    }
}

#[derive(Clone, Copy)]
struct Rayon;

impl Join for Rayon {
    #[inline(always)]
    fn join<RA: Send, RB: Send>(
        self,
        a: impl FnOnce(Self) -> RA + Send,
        b: impl FnOnce(Self) -> RB + Send,
    ) -> (RA, RB) {
        rayon::join(move || a(self), move || b(self))
    }
}

fn serial_fib(n: u64) -> u64 {
    if n < 2 { n } else { serial_fib(n - 1) + serial_fib(n - 2) }
}

#[inline(never)]
fn fib<J: Join>(j: J, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = j.join(move |j| fib(j, n - 1), move |j| fib(j, n - 2));
    a + b
}

#[inline(never)]
fn fib_then(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    gort::join_then(move || fib_then(n - 1), move || fib_then(n - 2), |a, b| a + b)
}

fn fib_chili(scope: &mut chili::Scope<'_>, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = scope.join(move |s| fib_chili(s, n - 1), move |s| fib_chili(s, n - 2));
    a + b
}

struct Node {
    value: u64,
    children: Option<(Box<Node>, Box<Node>)>,
}

/// The nodes are numbered level by level from 1, and made level by level, the leaves first: whether the left or the
/// right child is visited first makes no difference to the caches. (Made by the obvious recursion, the nodes lie as a
/// walk from right to left meets them. That is chili's order, and takes half the time of the other.)
fn grow(depth: u32) -> Box<Node> {
    let mut first = 1_u64 << (depth - 1);
    let leaf = |value| Box::new(Node { value, children: None });
    let mut level: Vec<_> = (first..2 * first).map(leaf).collect();
    while first > 1 {
        first /= 2;
        let mut nodes = level.into_iter();
        let mut pair = || Some((nodes.next()?, nodes.next()?));
        level = (first..2 * first).map(|value| Box::new(Node { value, children: pair() })).collect();
    }
    level.pop().expect("the root is left")
}

fn sum<J: Join>(j: J, node: &Node) -> u64 {
    let Some((left, right)) = &node.children else { return node.value };
    let (a, b) = j.join(|j| sum(j, left), |j| sum(j, right));
    node.value + a + b
}

fn sum_then(node: &Node) -> u64 {
    let Some((left, right)) = &node.children else { return node.value };
    let value = node.value;
    gort::join_then(move || sum_then(left), move || sum_then(right), move |a, b| value + a + b)
}

fn sum_chili(scope: &mut chili::Scope<'_>, node: &Node) -> u64 {
    let Some((left, right)) = &node.children else { return node.value };
    let (a, b) = scope.join(|s| sum_chili(s, left), |s| sum_chili(s, right));
    node.value + a + b
}

/// A row of the board: the columns and diagonals that are taken.
#[derive(Clone, Copy)]
struct Row {
    columns: u32,
    left: u32,
    right: u32,
}

const QUEENS: u32 = 12;

impl Row {
    const FIRST: Row = Row { columns: 0, left: 0, right: 0 };

    fn free(self) -> u32 {
        !(self.columns | self.left | self.right) & ((1 << QUEENS) - 1)
    }

    fn place(self, queen: u32) -> Row {
        Row {
            columns: self.columns | queen,
            left: (self.left | queen) << 1,
            right: (self.right | queen) >> 1,
        }
    }

    fn is_full(self) -> bool {
        self.columns == (1 << QUEENS) - 1
    }
}

fn queens<J: Join>(j: J, row: Row) -> u64 {
    if row.is_full() { 1 } else { places(j, row, row.free()) }
}

/// The ways with a queen on one of `free`.
fn places<J: Join>(j: J, row: Row, free: u32) -> u64 {
    let (queen, rest) = (free & free.wrapping_neg(), free & free.wrapping_sub(1));
    if queen == 0 {
        0
    } else if rest == 0 {
        queens(j, row.place(queen))
    } else {
        let (a, b) = j.join(move |j| queens(j, row.place(queen)), move |j| places(j, row, rest));
        a + b
    }
}

fn queens_chili(scope: &mut chili::Scope<'_>, row: Row) -> u64 {
    if row.is_full() { 1 } else { places_chili(scope, row, row.free()) }
}

fn places_chili(scope: &mut chili::Scope<'_>, row: Row, free: u32) -> u64 {
    let (queen, rest) = (free & free.wrapping_neg(), free & free.wrapping_sub(1));
    if queen == 0 {
        0
    } else if rest == 0 {
        queens_chili(scope, row.place(queen))
    } else {
        let (a, b) =
            scope.join(move |s| queens_chili(s, row.place(queen)), move |s| places_chili(s, row, rest));
        a + b
    }
}

/// Hoare's partition; the smallest parts by insertion.
fn cut(numbers: &mut [u64]) -> Option<(&mut [u64], &mut [u64])> {
    if numbers.len() <= 32 {
        for end in 1..numbers.len() {
            let mut at = end;
            while at > 0 && numbers[at - 1] > numbers[at] {
                numbers.swap(at - 1, at);
                at -= 1;
            }
        }
        return None;
    }
    let pivot = numbers[numbers.len() / 2];
    let (mut low, mut high) = (0, numbers.len() - 1);
    while low <= high {
        while numbers[low] < pivot {
            low += 1;
        }
        while numbers[high] > pivot {
            high -= 1;
        }
        if low <= high {
            numbers.swap(low, high);
            low += 1;
            high = high.wrapping_sub(1);
        }
    }
    let (left, right) = numbers.split_at_mut(low);
    Some((left, right))
}

fn sort<J: Join>(j: J, numbers: &mut [u64]) {
    if let Some((left, right)) = cut(numbers) {
        j.join(|j| sort(j, left), |j| sort(j, right));
    }
}

fn sort_chili(scope: &mut chili::Scope<'_>, numbers: &mut [u64]) {
    if let Some((left, right)) = cut(numbers) {
        scope.join(|s| sort_chili(s, left), |s| sort_chili(s, right));
    }
}

fn shuffled(len: usize) -> Vec<u64> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 20
    };
    (0..len).map(|_| next()).collect()
}

/// Measures one thing by all peers. Rounds of peers are not interleaved: criterion measures one after the other.
struct Contest<'a, 'c> {
    group: BenchmarkGroup<'c, WallTime>,
    serial: &'a dyn Fn(),
    gort: &'a (dyn Fn() + Sync),
    gort_then: Option<&'a (dyn Fn() + Sync)>,
    rayon: &'a (dyn Fn() + Sync),
    chili: &'a dyn Fn(&mut chili::Scope<'_>),
    /// Done before each iteration, and not measured.
    prepare: &'a (dyn Fn() + Sync),
}

fn timed(times: u64, prepare: &dyn Fn(), body: &mut dyn FnMut()) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..times {
        prepare();
        let start = Instant::now();
        body();
        spent += start.elapsed();
    }
    spent
}

impl Contest<'_, '_> {
    fn run(mut self) {
        let prepare = self.prepare;
        self.group.bench_function("serial/w1", |b| {
            b.iter_custom(|times| timed(times, &prepare, &mut || (self.serial)()));
        });
        for workers in gort_benches::WORKERS {
            self.gort(&format!("gort/w{workers}"), &gort_benches::worker(workers), self.gort);
            if let Some(then) = self.gort_then {
                self.gort(&format!("gort-then/w{workers}"), &gort_benches::worker(workers), then);
            }
            let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
            let pool = pool.expect("a bench can start rayon");
            self.group.bench_function(format!("rayon/w{workers}"), |b| {
                b.iter_custom(|times| pool.install(|| timed(times, &prepare, &mut || (self.rayon)())));
            });
            drop(pool);
            let config =
                chili::Config { thread_count: std::num::NonZero::new(workers), ..chili::Config::default() };
            let pool = chili::ThreadPool::with_config(config);
            self.group.bench_function(format!("chili/w{workers}"), |b| {
                b.iter_custom(|times| {
                    let mut scope = pool.scope();
                    timed(times, &prepare, &mut || (self.chili)(&mut scope))
                });
            });
        }
        self.group.finish();
    }

    fn gort(&mut self, name: &str, runtime: &Runtime, body: &(dyn Fn() + Sync)) {
        let prepare = self.prepare;
        self.group.bench_function(name, |b| {
            b.iter_custom(|times| runtime.run(|| timed(times, &prepare, &mut || body())));
        });
    }
}

/// All peers compute the same.
fn check(expected: u64, result: u64) {
    assert_eq!(black_box(result), expected);
}

const FIB: u64 = 27;
const DEPTH: u32 = 24;
const NUMBERS: usize = 10_000_000;

fn group<'c>(criterion: &'c mut Criterion, name: &str, elements: u64) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(elements));
    group
}

fn main() {
    let mut criterion = gort_benches::criterion();
    let nothing = || {};
    let (fib_expected, queens_expected) = (serial_fib(FIB), queens(Serial, Row::FIRST));
    Contest {
        group: group(&mut criterion, "fork_fib", serial_fib(FIB + 1) - 1),
        serial: &|| check(fib_expected, serial_fib(black_box(FIB))),
        gort: &|| check(fib_expected, fib(Gort, black_box(FIB))),
        gort_then: Some(&|| check(fib_expected, fib_then(black_box(FIB)))),
        rayon: &|| check(fib_expected, fib(Rayon, black_box(FIB))),
        chili: &|scope| check(fib_expected, fib_chili(scope, black_box(FIB))),
        prepare: &nothing,
    }
    .run();

    let tree = grow(DEPTH);
    let tree = &*tree;
    let sum_expected = sum(Serial, tree);
    Contest {
        group: group(&mut criterion, "fork_tree", (1 << DEPTH) - 1),
        serial: &|| check(sum_expected, sum(Serial, black_box(tree))),
        gort: &|| check(sum_expected, sum(Gort, black_box(tree))),
        gort_then: Some(&|| check(sum_expected, sum_then(black_box(tree)))),
        rayon: &|| check(sum_expected, sum(Rayon, black_box(tree))),
        chili: &|scope| check(sum_expected, sum_chili(scope, black_box(tree))),
        prepare: &nothing,
    }
    .run();

    Contest {
        group: group(&mut criterion, "fork_nqueens", queens(Serial, Row::FIRST)),
        serial: &|| check(queens_expected, queens(Serial, black_box(Row::FIRST))),
        gort: &|| check(queens_expected, queens(Gort, black_box(Row::FIRST))),
        gort_then: None,
        rayon: &|| check(queens_expected, queens(Rayon, black_box(Row::FIRST))),
        chili: &|scope| check(queens_expected, queens_chili(scope, black_box(Row::FIRST))),
        prepare: &nothing,
    }
    .run();

    let numbers = shuffled(NUMBERS);
    let place = std::sync::Mutex::new(numbers.clone());
    let with = |sort: &mut dyn FnMut(&mut [u64])| {
        // Taken out: no lock is held while it is sorted.
        let mut taken = std::mem::take(&mut *place.lock().expect("no panic"));
        sort(&mut taken);
        *place.lock().expect("no panic") = taken;
    };
    Contest {
        group: group(&mut criterion, "fork_quicksort", NUMBERS as u64),
        serial: &|| with(&mut |numbers| sort(Serial, numbers)),
        gort: &|| with(&mut |numbers| sort(Gort, numbers)),
        gort_then: None,
        rayon: &|| with(&mut |numbers| sort(Rayon, numbers)),
        chili: &|scope| with(&mut |numbers| sort_chili(scope, numbers)),
        prepare: &|| with(&mut |place| place.copy_from_slice(&numbers)),
    }
    .run();
    criterion.final_summary();
}
