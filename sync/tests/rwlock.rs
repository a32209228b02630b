//! `RwLock`: readers together, writers alone, and neither keeps the other out for long.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{at_1_2_4, everywhere, until};
use gort_runtime::{scope, sleep, spawn, yield_now};
use gort_sync::{Barrier, RwLock};

const SHORT: Duration = Duration::from_millis(2);

/// Counts readers by 1 and writers by 10,000, as Go's test does.
#[derive(Default)]
struct Inside(AtomicUsize);

const WRITER: usize = 10_000;

impl Inside {
    fn read(&self, meanwhile: impl FnOnce()) {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) < WRITER, "a reader beside a writer");
        meanwhile();
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn write(&self, meanwhile: impl FnOnce()) {
        assert_eq!(self.0.fetch_add(WRITER, Ordering::SeqCst), 0, "a writer beside somebody");
        meanwhile();
        self.0.fetch_sub(WRITER, Ordering::SeqCst);
    }
}

#[test]
fn readers_are_inside_together() {
    everywhere(|_| {
        let (lock, all) = (RwLock::new(5), Barrier::new(6));
        scope(|s| {
            for _ in 0..6 {
                s.spawn(|| {
                    let value = lock.read();
                    // Nobody leaves before all are inside.
                    all.wait();
                    assert_eq!(*value, 5);
                });
            }
        });
    });
}

#[test]
fn writers_are_inside_alone() {
    at_1_2_4(|setting| {
        let (lock, inside) = (RwLock::new(0_usize), Inside::default());
        scope(|s| {
            for n in 0..8 {
                let (lock, inside) = (&lock, &inside);
                let mut rng = setting.rng(n);
                s.spawn(move || {
                    for _ in 0..200 {
                        if n < 3 {
                            let mut value = lock.write();
                            inside.write(|| {
                                if rng.below(5) == 0 {
                                    yield_now();
                                }
                            });
                            *value += 1;
                        } else {
                            let value = lock.read();
                            let before = *value;
                            inside.read(|| {
                                if rng.below(5) == 0 {
                                    yield_now();
                                }
                            });
                            assert_eq!(*value, before);
                        }
                    }
                });
            }
        });
        assert_eq!(lock.into_inner(), 600);
    });
}

#[test]
fn the_tries_never_wait() {
    everywhere(|_| {
        let lock = RwLock::new(());
        let reader = lock.try_read().expect("nobody is inside");
        assert!(lock.try_read().is_some());
        assert!(lock.try_write().is_none());
        drop(reader);
        let writer = lock.try_write().expect("nobody is inside");
        assert!(lock.try_read().is_none());
        assert!(lock.try_write().is_none());
        drop(writer);
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn a_writer_that_waits_stops_new_readers() {
    at_1_2_4(|_| {
        let lock = RwLock::new(0);
        let inside = lock.read();
        scope(|s| {
            let writer = s.spawn(|| *lock.write() = 1);
            // Announced, as the tries show.
            until(|| lock.try_read().is_none());
            let late = s.spawn(|| *lock.read());
            (0..5).for_each(|_| yield_now());
            assert!(!late.is_finished() && !writer.is_finished());
            drop(inside);
            writer.join().unwrap();
            assert_eq!(late.join().unwrap(), 1, "the late reader went after the writer");
        });
    });
}

#[test]
fn readers_that_waited_go_before_the_next_writer() {
    at_1_2_4(|_| {
        let lock = RwLock::new(Vec::new());
        let mut inside = lock.write();
        let asked = AtomicUsize::new(0);
        scope(|s| {
            let second = s.spawn(|| {
                asked.store(1, Ordering::SeqCst);
                lock.write().push("writer");
            });
            until(|| asked.load(Ordering::SeqCst) == 1);
            // The next writer waits for the first, or is about to; the readers come after it.
            let readers: Vec<_> = (0..3).map(|_| s.spawn(|| lock.read().len())).collect();
            (0..10).for_each(|_| yield_now());
            inside.push("first");
            // Only those that have queued by now are promised anything: with one processor, all.
            let all_wait = gort_runtime::max_procs() == 1;
            drop(inside);
            for reader in readers {
                let seen = reader.join().unwrap();
                assert!(seen == 1 || !all_wait, "a reader that waited went after the second writer");
            }
            second.join().unwrap();
        });
        assert_eq!(lock.into_inner(), ["first", "writer"]);
    });
}

#[test]
fn a_stream_of_readers_does_not_keep_a_writer_out() {
    at_1_2_4(|_| {
        let (lock, stop) = (RwLock::new(()), AtomicBool::new(false));
        scope(|s| {
            // At each moment at least one of them is inside, if the writer does not stop them.
            for _ in 0..3 {
                s.spawn(|| {
                    let mut guard = lock.read();
                    while !stop.load(Ordering::Relaxed) {
                        sleep(Duration::from_micros(50));
                        drop(guard);
                        guard = lock.read();
                    }
                });
            }
            for _ in 0..20 {
                drop(lock.write());
                yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_writer_that_gives_up_lets_its_readers_in() {
    at_1_2_4(|_| {
        let lock = RwLock::new(());
        let inside = lock.read();
        scope(|s| {
            let writer = s.spawn(|| lock.write_timeout(SHORT).is_none());
            let readers: Vec<_> = (0..3).map(|_| s.spawn(|| drop(lock.read()))).collect();
            assert!(writer.join().unwrap(), "a reader is inside");
            readers.into_iter().for_each(|reader| reader.join().unwrap());
            assert!(lock.try_read().is_some());
        });
        drop(inside);
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn timeouts_end_by_time_or_by_the_lock() {
    everywhere(|_| {
        let lock = RwLock::new(());
        let writer = lock.write();
        let start = Instant::now();
        assert!(lock.read_timeout(SHORT).is_none());
        assert!(lock.write_timeout(SHORT).is_none());
        assert!(start.elapsed() >= 2 * SHORT);
        assert!(lock.read_deadline(start).is_none());
        assert!(lock.write_deadline(start).is_none());
        scope(|s| {
            let patient = s.spawn(|| lock.read_timeout(Duration::from_secs(3_600)).is_some());
            let other = s.spawn(|| lock.write_timeout(Duration::MAX).is_some());
            yield_now();
            drop(writer);
            assert!(patient.join().unwrap());
            assert!(other.join().unwrap());
        });
    });
}

#[test]
fn a_panic_leaves_the_lock() {
    everywhere(|_| {
        let lock = RwLock::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            *lock.write() = 1;
            let _inside = lock.read();
            resume_unwind(Box::new(()));
        }));
        assert!(caught.is_err());
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _inside = lock.write();
            resume_unwind(Box::new(()));
        }));
        assert!(caught.is_err());
        assert_eq!(*lock.try_write().expect("nobody is inside"), 1);
    });
}

#[test]
fn guards_may_be_dropped_by_others() {
    static LOCK: RwLock<u32> = RwLock::new(0);
    at_1_2_4(|_| {
        let (one, other) = (LOCK.read(), LOCK.read());
        let writer = spawn(|| *LOCK.write() += 1);
        until(|| LOCK.try_read().is_none());
        spawn(move || drop(one)).join().unwrap();
        thread::spawn(move || drop(other));
        writer.join().unwrap();
        let writer = LOCK.write();
        let reader = spawn(|| *LOCK.read());
        spawn(move || drop(writer)).join().unwrap();
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn what_a_lock_is_made_of() {
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    let mut lock = RwLock::from(vec![1]);
    is_send_and_sync(&lock);
    lock.get_mut().push(2);
    is_send_and_sync(&lock.read());
    is_send_and_sync(&lock.write());
    let reader = lock.read();
    assert_eq!(format!("{reader:?}"), "[1, 2]");
    drop(reader);
    let writer = lock.write();
    assert!(format!("{writer:?} {lock:?}").starts_with("[1, 2] RwLock { value: <locked>"));
    drop(writer);
    assert_eq!(RwLock::<u8>::default().into_inner(), 0);
}

/// Everything at once, also from threads.
#[test]
fn stress_read_and_write_in_every_way() {
    at_1_2_4(|setting| {
        let (lock, inside) = (Arc::new(RwLock::new(0_usize)), Arc::new(Inside::default()));
        let written = Arc::new(AtomicUsize::new(0));
        let work = |salt: u64| {
            let (lock, inside, written) = (Arc::clone(&lock), Arc::clone(&inside), Arc::clone(&written));
            let mut rng = setting.rng(salt);
            move || {
                for _ in 0..600 {
                    let timeout = Duration::from_micros(rng.below(80));
                    let pause = rng.below(20);
                    let meanwhile = || match pause {
                        0 => sleep(Duration::from_micros(30)),
                        1..=3 => yield_now(),
                        _ => {}
                    };
                    let way = rng.below(10);
                    if way < 6 {
                        let guard = match way {
                            0 => lock.try_read(),
                            1 | 2 => lock.read_timeout(timeout),
                            _ => Some(lock.read()),
                        };
                        if let Some(_guard) = guard {
                            inside.read(meanwhile);
                        }
                        continue;
                    }
                    let guard = match way {
                        6 => lock.try_write(),
                        7 => lock.write_timeout(timeout),
                        _ => Some(lock.write()),
                    };
                    if let Some(mut guard) = guard {
                        inside.write(meanwhile);
                        *guard += 1;
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        let threads: Vec<_> = (0..2).map(|n| thread::spawn(work(100 + n))).collect();
        let children: Vec<_> = (0..8).map(|n| spawn(work(n))).collect();
        children.into_iter().for_each(|child| child.join().unwrap());
        until(|| threads.iter().all(thread::JoinHandle::is_finished));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*lock.try_write().expect("nobody is inside"), written.load(Ordering::Relaxed));
    });
}
