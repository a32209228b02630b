//! What waits also waits while its goroutine panics: then it keeps its thread.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fixture::{at_1_2_4, poll_until};
use gort_runtime::spawn;
use gort_sync::{Barrier, Condvar, Event, Mutex, RwLock, Semaphore, WaitGroup, chan, select};

const SHORT: Duration = Duration::from_millis(1);

/// Calls its closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

struct Places {
    mutex: Mutex<u32>,
    changed: Condvar,
    lock: RwLock<u32>,
    seats: Semaphore,
    event: Event,
    barrier: Barrier,
    /// What the goroutine does next.
    step: AtomicUsize,
}

/// The other side is a thread: in some modes the goroutine's thread is all that there is.
#[test]
fn everything_waits_also_while_its_goroutine_unwinds() {
    at_1_2_4(|_| {
        let places = Arc::new(Places {
            mutex: Mutex::new(0),
            changed: Condvar::new(),
            lock: RwLock::new(0),
            seats: Semaphore::new(0),
            event: Event::new(),
            barrier: Barrier::new(2),
            step: AtomicUsize::new(0),
        });
        let (theirs, group) = (Arc::clone(&places), WaitGroup::new());
        let (group_too, token) = (group.clone(), group.add());
        let (there_tx, there_rx) = chan::bounded::<u32>(0);
        let (back_tx, back_rx) = chan::bounded::<u32>(0);
        let driver = thread::spawn(move || {
            let at = |step| poll_until("the next step", || theirs.step.load(Ordering::SeqCst) == step);
            let (held, written) = (theirs.mutex.lock(), theirs.lock.write());
            there_tx.send(1).unwrap();
            assert_eq!(back_rx.recv(), Ok(2));
            there_tx.send(3).unwrap();
            at(1);
            drop(held);
            at(2);
            drop(written);
            at(3);
            theirs.seats.add_permits(1);
            at(4);
            theirs.event.set();
            theirs.barrier.wait();
            at(5);
            drop(token);
            at(6);
            *theirs.mutex.lock() = 5;
            theirs.changed.notify_all();
        });
        let goroutine = spawn(move || {
            let _unwinding = OnDrop(|| {
                let step = |step| places.step.store(step, Ordering::SeqCst);
                assert!(thread::panicking());
                assert_eq!(there_rx.recv(), Ok(1));
                back_tx.send(2).unwrap();
                select! {
                    recv(there_rx) -> value => assert_eq!(value, Ok(3)),
                    send(back_tx, 4) -> _ => unreachable!("nobody receives"),
                }
                assert!(places.mutex.lock_timeout(SHORT).is_none());
                step(1);
                *places.mutex.lock() += 1;
                step(2);
                *places.lock.write() += 1;
                step(3);
                drop(places.seats.acquire());
                step(4);
                places.event.wait();
                places.barrier.wait();
                step(5);
                group_too.wait();
                let guard = places.mutex.lock();
                step(6);
                drop(places.changed.wait_while(guard, |value| *value < 5));
            });
            resume_unwind(Box::new("it panics"));
        });
        goroutine.join().unwrap_err();
        driver.join().unwrap();
    });
}
