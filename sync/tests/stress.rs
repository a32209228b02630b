//! Channels and selects at random: run over and over by `ci/stress.sh`, each time with another seed.
//!
//! Each test shares `GORT_STRESS_SECONDS` (1) among its settings. A setting is printed with its seed, and
//! `GORT_SEED` repeats its random choices.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{MODES, Rng, Setting, until};
use gort_runtime::{num_goroutines, spawn, yield_now};
use gort_sync::chan::{self, Receiver, Sender};
use gort_sync::{Select, select};

const PROCS: [usize; 3] = [1, 2, 4];

/// Runs rounds of `body` in each setting until its share of the time is over: two at least.
fn stress(body: impl Fn(&mut Rng) + Sync) {
    let seconds = std::env::var("GORT_STRESS_SECONDS").map_or(1.0, |text| text.parse().expect("a number"));
    let share = Duration::from_secs_f64(seconds / (PROCS.len() * MODES.len()) as f64);
    for mode in MODES {
        for procs in PROCS {
            let setting = Setting::new(procs, mode);
            let rounds = setting.check(|| {
                let start = Instant::now();
                let mut rounds = 0;
                while rounds < 2 || start.elapsed() < share {
                    rounds += 1;
                    body(&mut setting.rng(rounds));
                    until(|| num_goroutines() == 1);
                }
                rounds
            });
            println!("  {rounds} rounds");
        }
    }
}

/// What all values of a round are counted in: by number, how often it was sent, received, and dropped.
#[derive(Default)]
struct Book {
    next: AtomicUsize,
    entries: Vec<Entry>,
}

#[derive(Default)]
struct Entry {
    sent: AtomicU32,
    received: AtomicU32,
    dropped: AtomicU32,
}

/// A value.
struct Coin {
    number: usize,
    book: Arc<Book>,
}

impl Book {
    fn new(coins: usize) -> Arc<Self> {
        Arc::new(Book { next: AtomicUsize::new(0), entries: (0..coins).map(|_| Entry::default()).collect() })
    }
}

/// The next coin, while there are any.
fn coin(book: &Arc<Book>) -> Option<Coin> {
    let number = book.next.fetch_add(1, Ordering::Relaxed);
    (number < book.entries.len()).then(|| Coin { number, book: Arc::clone(book) })
}

impl Coin {
    fn entry(&self) -> &Entry {
        &self.book.entries[self.number]
    }
}

impl Drop for Coin {
    fn drop(&mut self) {
        self.entry().dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn received(coin: &Coin) {
    coin.entry().received.fetch_add(1, Ordering::Relaxed);
}

fn micros(rng: &mut Rng, below: u64) -> Duration {
    Duration::from_nanos(rng.below(below * 1_000))
}

type Ends = Vec<(Sender<Coin>, Receiver<Coin>)>;

/// Sends coins in all ways, until there are none or all its channels are closed.
fn send(rng: &mut Rng, ends: &Ends, book: &Arc<Book>) {
    let mut refused = 0;
    while refused < 20
        && let Some(coin) = coin(book)
    {
        let number = coin.number;
        let (tx, _) = &ends[rng.below(ends.len() as u64) as usize];
        let sent = match rng.below(4) {
            0 => tx.try_send(coin).is_ok(),
            1 => tx.send_timeout(coin, micros(rng, 50)).is_ok(),
            2 => {
                let (other, _) = &ends[rng.below(ends.len() as u64) as usize];
                let mut slots = [Some(coin), None];
                let timeout = micros(rng, 50);
                let [first, second] = &mut slots;
                let mut select = Select::new();
                select.send(tx, first);
                let spare = Coin { number, book: Arc::clone(book) };
                *second = Some(spare);
                select.send(other, second);
                let _ = select.select_timeout(timeout);
                // Two coins of one number: one of them is a copy for the count.
                let gone = slots.iter().filter(|slot| slot.is_none()).count();
                assert!(gone <= 1, "two operations");
                book.entries[number].dropped.fetch_sub(1, Ordering::Relaxed);
                gone == 1
            }
            _ => select! {
                send(tx, coin) -> result => result.is_ok(),
                default(micros(rng, 50)) => false,
            },
        };
        if sent {
            book.entries[number].sent.fetch_add(1, Ordering::Relaxed);
        } else {
            refused += 1;
        }
        if rng.below(8) == 0 {
            yield_now();
        }
    }
}

/// Receives in all ways, until nothing has come for a while.
fn receive(rng: &mut Rng, ends: &Ends) {
    let mut nothing = 0;
    while nothing < 20 {
        let rx = &ends[rng.below(ends.len() as u64) as usize].1;
        let other = &ends[rng.below(ends.len() as u64) as usize].1;
        let got = match rng.below(4) {
            0 => rx.try_recv().ok(),
            1 => rx.recv_timeout(micros(rng, 50)).ok(),
            2 => select! {
                recv(rx) -> coin => coin.ok(),
                recv(other) -> coin => coin.ok(),
                recv(rx) -> coin => coin.ok(),
                default(micros(rng, 50)) => None,
            },
            _ => {
                let mut slots: Vec<_> = ends.iter().map(|_| None).collect();
                let mut select = Select::new();
                ends.iter().zip(&mut slots).for_each(|((_, rx), slot)| _ = select.recv(rx, slot));
                let _ = select.select_timeout(micros(rng, 50));
                slots.into_iter().flatten().find_map(Result::ok)
            }
        };
        match got {
            Some(coin) => received(&coin),
            None => nothing += 1,
        }
        if rng.below(8) == 0 {
            yield_now();
        }
    }
}

#[test]
fn stress_selects_closes_drops_and_timeouts() {
    stress(|rng| {
        let book = Book::new(300);
        let count = 1 + rng.below(4) as usize;
        let make = |rng: &mut Rng| match rng.below(4) {
            0 | 1 => chan::bounded(0),
            2 => chan::bounded(1 + rng.below(3) as usize),
            _ => chan::unbounded(),
        };
        let ends: Ends = (0..count).map(|_| make(rng)).collect();
        let mut goroutines = Vec::new();
        let mut threads = Vec::new();
        for actor in 0..4 + rng.below(6) {
            // Each has its own clones, and drops them when it ends.
            let (ends, book, mut rng) = (ends.clone(), Arc::clone(&book), Rng::new(rng.next()));
            let work = move || match actor % 5 {
                0 | 1 => send(&mut rng, &ends, &book),
                2 | 3 => receive(&mut rng, &ends),
                _ => {
                    (0..rng.below(30)).for_each(|_| yield_now());
                    let (tx, rx) = &ends[rng.below(ends.len() as u64) as usize];
                    if rng.below(2) == 0 {
                        tx.close()
                    } else {
                        rx.close()
                    };
                }
            };
            if actor == 7 {
                threads.push(thread::spawn(work));
            } else {
                goroutines.push(spawn(work));
            }
        }
        drop(ends);
        goroutines.into_iter().for_each(|goroutine| goroutine.join().expect("no panic"));
        until(|| threads.iter().all(thread::JoinHandle::is_finished));
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let made = book.next.load(Ordering::Relaxed).min(book.entries.len());
        for (number, entry) in book.entries[..made].iter().enumerate() {
            let [sent, received, dropped] =
                [&entry.sent, &entry.received, &entry.dropped].map(|count| count.load(Ordering::Relaxed));
            assert!(received <= sent && sent <= 1, "coin {number}: sent {sent}, received {received}");
            assert_eq!(dropped, 1, "coin {number}");
        }
    });
}
