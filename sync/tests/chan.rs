//! Channels: order, capacity, closing, dropping, timeouts, threads.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{at, at_1_2_4, until};
use gort_runtime::{num_goroutines, scope, spawn, yield_now};
use gort_sync::chan::{
    self, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError,
};

const HOUR: Duration = Duration::from_secs(3_600);
const CAPACITIES: [usize; 8] = [0, 1, 2, 3, 7, 16, 100, 199];

/// Every kind of channel: bounded ones, and the unbounded one.
fn kinds<T>() -> impl Iterator<Item = (Sender<T>, Receiver<T>)> {
    CAPACITIES.into_iter().map(chan::bounded).chain([chan::unbounded()])
}

#[test]
fn without_a_peer_only_the_buffer_takes_and_gives() {
    at_1_2_4(|_| {
        for capacity in CAPACITIES {
            let (tx, rx) = chan::bounded(capacity);
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            assert_eq!(rx.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
            for n in 0..capacity {
                assert_eq!((tx.len(), rx.is_full()), (n, false));
                tx.send(n).unwrap();
            }
            assert!(tx.is_full() && rx.is_empty() == (capacity == 0));
            assert_eq!(tx.try_send(9), Err(TrySendError::Full(9)));
            assert_eq!(tx.send_deadline(9, Instant::now()), Err(SendTimeoutError::Timeout(9)));
            assert_eq!((tx.len(), rx.capacity()), (capacity, Some(capacity)));
            assert!((0..capacity).all(|n| rx.try_recv() == Ok(n)));
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        }
    });
}

#[test]
fn a_receive_waits_for_a_value_and_a_send_for_room() {
    at_1_2_4(|_| {
        for capacity in CAPACITIES {
            let (tx, rx) = chan::bounded(capacity);
            let sent = AtomicUsize::new(0);
            scope(|s| {
                s.spawn(|| {
                    for n in 0..2 * capacity + 2 {
                        tx.send(n).unwrap();
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                });
                until(|| sent.load(Ordering::SeqCst) == capacity);
                for n in 0..2 * capacity + 2 {
                    // So many are through at most: what was received, and what has room.
                    assert!(sent.load(Ordering::SeqCst) <= capacity + n);
                    assert_eq!(rx.recv(), Ok(n));
                }
            });
        }
    });
}

#[test]
fn buffered_values_survive_the_closing() {
    at_1_2_4(|_| {
        for (tx, rx) in kinds() {
            let room = tx.capacity().unwrap_or(100);
            (0..room).for_each(|n| tx.send(n).unwrap());
            assert!(tx.close() && tx.is_closed() && rx.is_closed());
            assert_eq!(tx.send(7), Err(SendError(7)));
            assert_eq!(rx.iter().collect::<Vec<_>>(), (0..room).collect::<Vec<_>>());
            for _ in 0..3 {
                assert_eq!(rx.recv(), Err(RecvError));
            }
        }
    });
}

#[test]
fn a_closed_channel_answers_in_every_form_and_for_ever() {
    at_1_2_4(|_| {
        for (tx, rx) in kinds() {
            assert!(rx.close());
            assert!(!rx.close() && !tx.close(), "closing twice does nothing");
            for _ in 0..2 {
                assert_eq!(tx.send(1), Err(SendError(1)));
                assert_eq!(tx.try_send(2), Err(TrySendError::Disconnected(2)));
                assert_eq!(tx.send_timeout(3, HOUR), Err(SendTimeoutError::Disconnected(3)));
                assert_eq!(tx.send_deadline(4, Instant::now()), Err(SendTimeoutError::Disconnected(4)));
                assert_eq!(rx.recv(), Err(RecvError));
                assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
                assert_eq!(rx.recv_timeout(HOUR), Err(RecvTimeoutError::Disconnected));
                assert_eq!(rx.recv_deadline(Instant::now()), Err(RecvTimeoutError::Disconnected));
                assert_eq!((rx.iter().next(), rx.try_iter().next()), (None, None));
            }
        }
    });
}

#[test]
fn a_close_from_either_end_wakes_all_who_wait() {
    at_1_2_4(|setting| {
        let mut rng = setting.rng(1);
        for round in 0..40 {
            // More than are woken in one go.
            let waiters = 1 + rng.below(40) as usize;
            let (tx, rx) = chan::bounded::<usize>(0);
            let receivers = round % 2 == 0;
            let started = AtomicUsize::new(0);
            scope(|s| {
                for n in 0..waiters {
                    let (tx, rx, started) = (&tx, &rx, &started);
                    s.spawn(move || {
                        started.fetch_add(1, Ordering::SeqCst);
                        if receivers {
                            assert_eq!(rx.recv(), Err(RecvError));
                        } else {
                            assert_eq!(tx.send(n), Err(SendError(n)));
                        }
                    });
                }
                until(|| started.load(Ordering::SeqCst) >= share(waiters, round));
                assert!(if round % 4 < 2 { tx.close() } else { rx.close() });
            });
        }
    });
}

/// Sometimes all of them, sometimes half.
fn share(waiters: usize, round: usize) -> usize {
    if round.is_multiple_of(3) { waiters / 2 } else { waiters }
}

#[test]
fn of_many_who_close_one_has_closed() {
    at_1_2_4(|_| {
        for _ in 0..50 {
            let (tx, rx) = chan::bounded::<()>(1);
            let closers = AtomicUsize::new(0);
            scope(|s| {
                for _ in 0..4 {
                    s.spawn(|| closers.fetch_add(usize::from(tx.close()), Ordering::SeqCst));
                    s.spawn(|| closers.fetch_add(usize::from(rx.close()), Ordering::SeqCst));
                }
            });
            assert_eq!(closers.load(Ordering::SeqCst), 1);
        }
    });
}

#[test]
fn values_come_out_in_the_order_of_their_sends() {
    at_1_2_4(|_| {
        for (tx, rx) in kinds() {
            scope(|s| {
                s.spawn(move || (0..100).for_each(|n| tx.send(n).unwrap()));
                assert!(rx.into_iter().eq(0..100));
            });
        }
    });
}

#[test]
fn of_many_senders_and_receivers_each_value_comes_once_and_in_its_senders_order() {
    const EACH: usize = 300;
    at_1_2_4(|_| {
        for (tx, rx) in kinds() {
            let got: Vec<Vec<(usize, usize)>> = scope(|s| {
                for sender in 0..4 {
                    let tx = tx.clone();
                    s.spawn(move || (0..EACH).for_each(|n| tx.send((sender, n)).unwrap()));
                }
                drop(tx);
                let receivers: Vec<_> = (0..4)
                    .map(|_| {
                        let rx = rx.clone();
                        s.spawn(move || rx.iter().collect())
                    })
                    .collect();
                receivers.into_iter().map(|receiver| receiver.join().unwrap()).collect()
            });
            for values in &got {
                for sender in 0..4 {
                    assert!(values.iter().filter(|value| value.0 == sender).map(|value| value.1).is_sorted());
                }
            }
            let mut all: Vec<_> = got.into_iter().flatten().collect();
            all.sort_unstable();
            assert!(all.into_iter().eq((0..4).flat_map(|sender| (0..EACH).map(move |n| (sender, n)))));
        }
    });
}

#[test]
fn a_try_receive_that_races_with_a_close_finds_something() {
    at_1_2_4(|_| {
        for _ in 0..300 {
            let (tx, rx) = chan::bounded(1);
            tx.send(1).unwrap();
            let closer = spawn(move || tx.close());
            assert_ne!(rx.try_recv(), Err(TryRecvError::Empty));
            closer.join().unwrap();
        }
    });
}

#[test]
fn many_workers_relay_what_they_are_given() {
    const COUNT: u64 = if cfg!(debug_assertions) { 10_000 } else { 271_828 };
    at_1_2_4(|_| {
        let (tx, jobs) = chan::bounded(23 * 3);
        let (out, results) = chan::bounded(23 * 3);
        for _ in 0..23 {
            let (jobs, out) = (jobs.clone(), out.clone());
            spawn(move || {
                for job in &jobs {
                    // Sometimes slow.
                    if job % 93 == 0 {
                        yield_now();
                    }
                    out.send(job).unwrap();
                }
            });
        }
        drop((jobs, out));
        let expected = spawn(move || {
            let mut sum = 0;
            for n in 0..COUNT {
                let job = n * 7 % 1_000;
                sum += job;
                tx.send(job).unwrap();
            }
            sum
        });
        let (mut count, mut sum) = (0, 0);
        for value in &results {
            count += 1;
            sum += value;
        }
        assert_eq!((count, sum), (COUNT, expected.join().unwrap()));
    });
}

#[test]
fn order_is_kept_through_a_chain_of_rendezvous() {
    at_1_2_4(|_| {
        const LINKS: usize = 10;
        let (first, mut source) = chan::bounded(0);
        for _ in 0..LINKS {
            let (tx, rx) = chan::bounded(0);
            let from = std::mem::replace(&mut source, rx);
            spawn(move || from.iter().try_for_each(|value| tx.send(value)));
        }
        spawn(move || (0..100).try_for_each(|n| first.send(n)));
        assert!(source.into_iter().eq(0..100));
    });
}

#[test]
fn ten_thousand_goroutines_pass_a_value_on() {
    const LINKS: u32 = if cfg!(debug_assertions) { 2_000 } else { 10_000 };
    at_1_2_4(|_| {
        let (leftmost_tx, leftmost) = chan::bounded(0);
        let mut left = leftmost_tx;
        for _ in 0..LINKS {
            let (tx, right) = chan::bounded::<u32>(0);
            let to = std::mem::replace(&mut left, tx);
            spawn(move || to.send(right.recv().unwrap() + 1).unwrap());
        }
        left.send(0).unwrap();
        assert_eq!(leftmost.recv(), Ok(LINKS));
    });
}

/// Tries both non-blocking forms, first without a peer, and then until the peer is there.
fn nonblocking<T: Send + Clone + PartialEq + std::fmt::Debug + 'static>(value: &T) {
    let (tx, rx) = chan::bounded(0);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(tx.try_send(value.clone()), Err(TrySendError::Full(value.clone())));
    let receiver = spawn({
        let rx = rx.clone();
        move || rx.recv()
    });
    until(|| tx.try_send(value.clone()).is_ok());
    assert_eq!(receiver.join().unwrap().as_ref(), Ok(value));
    let sender = spawn({
        let (tx, value) = (tx.clone(), value.clone());
        move || tx.send(value)
    });
    let mut got = rx.try_recv();
    while got == Err(TryRecvError::Empty) {
        yield_now();
        got = rx.try_recv();
    }
    assert_eq!(got.as_ref(), Ok(value));
    sender.join().unwrap().unwrap();
}

#[derive(Clone, Debug, PartialEq)]
#[repr(align(256))]
struct Aligned(u8);

#[test]
fn values_of_every_size_and_alignment_go_from_hand_to_hand() {
    at_1_2_4(|_| {
        nonblocking(&());
        nonblocking(&7_u8);
        nonblocking(&u128::MAX);
        nonblocking(&"text".to_owned());
        nonblocking(&[9_u64; 100]);
        nonblocking(&Aligned(3));
        nonblocking(&Some(Box::new(5)));
        for (tx, rx) in kinds() {
            scope(|s| {
                s.spawn(move || (0..200).for_each(|n| tx.send(Aligned(n)).unwrap()));
                for (n, value) in rx.iter().enumerate() {
                    assert_eq!((&raw const value).addr() % 256, 0);
                    assert_eq!(usize::from(value.0), n);
                }
            });
        }
    });
}

#[test]
fn values_without_size_are_counted() {
    at_1_2_4(|_| {
        for (tx, rx) in kinds().chain([chan::bounded(usize::MAX)]) {
            scope(|s| {
                s.spawn(move || (0..1_000).for_each(|_| tx.send(()).unwrap()));
                assert_eq!(rx.iter().count(), 1_000);
            });
        }
    });
}

#[test]
fn channels_go_through_channels() {
    at_1_2_4(|_| {
        let (requests, inbox) = chan::unbounded::<(u32, Sender<u32>)>();
        spawn(move || inbox.iter().try_for_each(|(n, reply)| reply.send(n * n)));
        for n in 0..50 {
            let (reply, answer) = chan::bounded(0);
            requests.send((n, reply)).unwrap();
            assert_eq!(answer.recv(), Ok(n * n));
        }
    });
}

#[test]
fn receivers_that_are_equally_fast_get_equally_much() {
    // On one processor they are: on several, those on the sender's thread are faster.
    at(&[1], |_| {
        let (tx, rx) = chan::bounded(0);
        let shares: Vec<usize> = scope(|s| {
            let receive = |_| {
                let rx = rx.clone();
                s.spawn(move || rx.iter().inspect(|_| yield_now()).count())
            };
            let receivers: Vec<_> = (0..10).map(receive).collect();
            (0..10_000).for_each(|n| tx.send(n).unwrap());
            drop(tx);
            receivers.into_iter().map(|receiver| receiver.join().unwrap()).collect()
        });
        assert_eq!(shares.iter().sum::<usize>(), 10_000);
        assert!(shares.iter().all(|share| (500..=1_500).contains(share)), "{shares:?}");
    });
}

/// A value whose clones are counted.
fn counted() -> Arc<()> {
    Arc::new(())
}

#[test]
fn every_value_is_dropped_exactly_once() {
    at_1_2_4(|_| {
        for (tx, rx) in kinds() {
            let value = counted();
            let room = tx.capacity().unwrap_or(100);
            (0..room).for_each(|_| tx.send(Arc::clone(&value)).unwrap());
            // Some are received, others are in the buffer when the last receiver goes, or wait to be sent.
            rx.try_iter().take(room / 3).for_each(drop);
            let senders: Vec<_> = (0..20)
                .map(|_| {
                    let (tx, value) = (tx.clone(), Arc::clone(&value));
                    spawn(move || tx.send(value))
                })
                .collect();
            (0..3).for_each(|_| yield_now());
            drop(rx);
            assert!(tx.is_closed());
            for sender in senders {
                // Those that found room are gone with the buffer.
                drop(sender.join().unwrap());
            }
            assert_eq!((Arc::strong_count(&value), tx.len()), (1, 0));
        }
    });
}

#[test]
fn the_last_end_closes_and_no_other() {
    at_1_2_4(|_| {
        for (tx, rx) in kinds::<u32>() {
            let (other_tx, other_rx) = (tx.clone(), rx.clone());
            assert!(tx.same_channel(&other_tx) && rx.same_channel(&other_rx));
            assert!(!tx.same_channel(&chan::bounded(1).0));
            drop((tx, rx));
            assert!(!other_tx.is_closed());
            let blocked = spawn(move || other_rx.recv());
            (0..3).for_each(|_| yield_now());
            drop(other_tx);
            assert_eq!(blocked.join().unwrap(), Err(RecvError));
        }
    });
}

#[test]
fn the_last_receivers_drop_ends_senders_that_wait() {
    at_1_2_4(|_| {
        let (tx, rx) = chan::bounded(0);
        let producer = spawn(move || (0..).find(|&n| tx.send(n).is_err()));
        assert!(rx.iter().take(3).eq(0..3));
        drop(rx);
        assert_eq!(producer.join().unwrap(), Some(3));
    });
}

#[test]
fn a_producers_panic_closes_its_channel() {
    at_1_2_4(|_| {
        let (tx, rx) = chan::bounded(0);
        let producer = spawn(move || {
            tx.send(1).unwrap();
            if !tx.is_closed() {
                resume_unwind(Box::new("broken"));
            }
        });
        assert_eq!(rx.iter().collect::<Vec<_>>(), [1]);
        producer.join().unwrap_err();
    });
}

/// Panics when it is dropped, if it shall.
struct Bomb<'a> {
    explodes: bool,
    drops: &'a AtomicUsize,
}

impl Drop for Bomb<'_> {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        if self.explodes {
            resume_unwind(Box::new("bomb"));
        }
    }
}

#[test]
fn a_value_that_panics_when_dropped_leaves_the_channel_in_order() {
    at_1_2_4(|_| {
        for capacity in [5, usize::MAX] {
            let drops = AtomicUsize::new(0);
            let (tx, rx) = if capacity == 5 { chan::bounded(5) } else { chan::unbounded() };
            for n in 0..5 {
                assert!(tx.send(Bomb { explodes: n == 2, drops: &drops }).is_ok());
            }
            scope(|s| {
                let sender = s.spawn(|| tx.send(Bomb { explodes: false, drops: &drops }).is_ok());
                (0..3).for_each(|_| yield_now());
                // The buffer's drop panics, when the channel is closed already.
                assert!(s.spawn(move || drop(rx)).join().is_err());
                let was_sent = sender.join().unwrap();
                assert!(!was_sent || capacity != 5, "there was no room");
            });
            assert_eq!(drops.load(Ordering::SeqCst), 6, "each once");
            assert!(tx.is_closed() && tx.is_empty());
            let refused = tx.try_send(Bomb { explodes: false, drops: &drops });
            assert!(matches!(refused, Err(TrySendError::Disconnected(_))));
        }
    });
}

/// Sends to the channel that it is dropped with.
struct Returning {
    to: Option<Sender<Returning>>,
    drops: Arc<AtomicUsize>,
}

impl Drop for Returning {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        if let Some(tx) = self.to.take() {
            let another = || Returning { to: None, drops: Arc::clone(&self.drops) };
            assert!(tx.is_closed() && tx.is_empty());
            assert!(tx.send(another()).is_err());
            yield_now();
            gort_sync::select! { send(tx, another()) -> result => assert!(result.is_err()) }
            assert!(!tx.close());
        }
    }
}

#[test]
fn a_value_may_use_its_channel_when_it_is_dropped() {
    at_1_2_4(|_| {
        for (tx, rx) in [chan::bounded(4), chan::unbounded()] {
            let drops = Arc::new(AtomicUsize::new(0));
            for _ in 0..4 {
                let value = Returning { to: Some(tx.clone()), drops: Arc::clone(&drops) };
                assert!(tx.try_send(value).is_ok());
            }
            drop(tx);
            drop(rx);
            assert_eq!(drops.load(Ordering::SeqCst), 12, "each once");
        }
    });
}

#[test]
fn what_races_with_a_deadline_is_neither_lost_nor_doubled() {
    at_1_2_4(|setting| {
        for capacity in [0, 1, 3] {
            let (tx, rx) = chan::bounded(capacity);
            let salt = capacity as u64;
            let (sent, received) = scope(|s| {
                let senders: Vec<_> = (0..3_u64)
                    .map(|sender| {
                        let (tx, mut rng) = (tx.clone(), setting.rng(salt * 10 + sender));
                        s.spawn(move || {
                            let mut sent = Vec::new();
                            for n in 0..200 {
                                let value = (sender, n);
                                match tx.send_timeout(value, Duration::from_nanos(rng.below(20_000))) {
                                    Ok(()) => sent.push(value),
                                    Err(error) => assert_eq!(error, SendTimeoutError::Timeout(value)),
                                }
                            }
                            sent
                        })
                    })
                    .collect();
                drop(tx);
                let receivers: Vec<_> = (0..3)
                    .map(|receiver| {
                        let (rx, mut rng) = (rx.clone(), setting.rng(salt * 10 + 5 + receiver));
                        s.spawn(move || {
                            let mut received = Vec::new();
                            loop {
                                match rx.recv_timeout(Duration::from_nanos(rng.below(20_000))) {
                                    Ok(value) => received.push(value),
                                    Err(RecvTimeoutError::Timeout) => {}
                                    Err(RecvTimeoutError::Disconnected) => return received,
                                }
                            }
                        })
                    })
                    .collect();
                let sent = senders.into_iter().flat_map(|sender| sender.join().unwrap());
                let sent: Vec<_> = sent.collect();
                let received = receivers.into_iter().flat_map(|receiver| receiver.join().unwrap());
                (sent, received.collect::<Vec<_>>())
            });
            let (mut sent, mut received) = (sent, received);
            sent.sort_unstable();
            received.sort_unstable();
            assert_eq!(sent, received);
        }
    });
}

#[test]
fn a_deadline_ends_a_wait() {
    at_1_2_4(|_| {
        let (tx, rx) = chan::bounded(0);
        let start = Instant::now();
        assert_eq!(rx.recv_timeout(Duration::from_millis(2)), Err(RecvTimeoutError::Timeout));
        assert!(start.elapsed() >= Duration::from_millis(2));
        let deadline = Instant::now() + Duration::from_millis(2);
        assert_eq!(tx.send_deadline(1, deadline), Err(SendTimeoutError::Timeout(1)));
        assert!(Instant::now() >= deadline);
        // Who has timed out is not there any more.
        assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        // One that is too far away is none.
        let receiver = spawn(move || rx.recv_timeout(Duration::MAX));
        tx.send(3).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(3));
    });
}

#[test]
fn a_channel_that_never_is_ready_never_is() {
    at_1_2_4(|_| {
        let (tx, rx) = chan::never();
        assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        scope(|s| {
            s.spawn(|| assert_eq!(tx.send_timeout(1, Duration::from_millis(2)).unwrap_err().into_inner(), 1));
            s.spawn(|| assert_eq!(rx.recv_timeout(Duration::from_millis(2)), Err(RecvTimeoutError::Timeout)));
        });
        assert!(!tx.close() && !rx.is_closed());
        drop(tx);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn what_was_done_before_one_side_is_seen_after_the_other() {
    at_1_2_4(|_| {
        // A receive sees what was done before the send, or before the close.
        for closes in [false, true] {
            for (tx, rx) in kinds() {
                let data = Arc::new(AtomicUsize::new(0));
                let seen = Arc::clone(&data);
                let reader = spawn(move || {
                    let _ = rx.recv();
                    seen.load(Ordering::Relaxed)
                });
                data.store(1, Ordering::Relaxed);
                if closes {
                    tx.close();
                } else {
                    tx.send(()).unwrap();
                }
                assert_eq!(reader.join().unwrap(), 1);
            }
        }
        // The (k + n)-th send sees what was done before the k-th receive.
        for capacity in [0, 1, 2, 5] {
            let (tx, rx) = chan::bounded(capacity);
            let data = Arc::new(AtomicUsize::new(0));
            let written = Arc::clone(&data);
            let writer = spawn(move || {
                for k in 1..=50 {
                    written.store(k, Ordering::Relaxed);
                    rx.recv().unwrap();
                }
            });
            for send in 1..=50 {
                tx.send(()).unwrap();
                assert!(data.load(Ordering::Relaxed) + capacity >= send);
            }
            writer.join().unwrap();
        }
    });
}

#[test]
fn threads_and_goroutines_meet_on_one_channel() {
    at_1_2_4(|_| {
        for capacity in [0, 1, 64] {
            let (tx, rx) = chan::bounded(capacity);
            let (out, results) = chan::bounded(capacity);
            // A ring of threads and goroutines: each hands on what it gets.
            let relay = |rx: Receiver<u64>, out: Sender<u64>| move || rx.iter().try_for_each(|n| out.send(n));
            let threads: Vec<_> = (0..2).map(|_| thread::spawn(relay(rx.clone(), out.clone()))).collect();
            let goroutines: Vec<_> = (0..2).map(|_| spawn(relay(rx.clone(), out.clone()))).collect();
            drop((rx, out));
            let feeder = thread::spawn(move || (0..1_000).try_for_each(|n| tx.send(n)));
            let mut sum = 0;
            while let Ok(n) = results.recv_timeout(HOUR) {
                sum += n;
            }
            assert_eq!(sum, 499_500);
            until(|| threads.iter().all(thread::JoinHandle::is_finished) && feeder.is_finished());
            threads.into_iter().chain([feeder]).for_each(|thread| thread.join().unwrap().unwrap());
            goroutines.into_iter().for_each(|goroutine| goroutine.join().unwrap().unwrap());
        }
    });
}

#[test]
fn a_thread_waits_as_long_as_it_shall() {
    let (tx, rx) = chan::bounded::<u32>(0);
    let start = Instant::now();
    assert_eq!(rx.recv_timeout(Duration::from_millis(2)), Err(RecvTimeoutError::Timeout));
    assert!(start.elapsed() >= Duration::from_millis(2));
    let other = thread::spawn(move || rx.recv());
    tx.send(5).unwrap();
    assert_eq!(other.join().unwrap(), Ok(5));
    assert_eq!(num_goroutines(), 0);
}

#[test]
fn ends_are_send_and_sync_and_do_not_need_their_values_to_be_sync() {
    fn is_send_and_sync<T: Send + Sync + std::panic::UnwindSafe + std::fmt::Debug>(_: &T) {}
    let (tx, rx) = chan::bounded::<std::cell::Cell<u32>>(1);
    is_send_and_sync(&tx);
    is_send_and_sync(&rx);
    fn is_error<T: std::error::Error + Send + Sync + 'static>(_: T) {}
    is_error(SendTimeoutError::Timeout(1));
    assert_eq!(SendTimeoutError::Timeout(1).to_string(), "timed out sending on a channel");
}

#[test]
#[should_panic(expected = "capacity overflow")]
fn a_buffer_that_cannot_be_is_refused() {
    drop(chan::bounded::<u64>(usize::MAX));
}
