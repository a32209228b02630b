//! Channels and select: gort's on goroutines, tokio's on tasks, the others on threads.
//!
//! | group | one iteration |
//! |---|---|
//! | `ping_pong` | there and back through two channels of capacity 0 (tokio has none: 1) |
//! | `spsc_128` | one value through a channel of capacity 128, one sender, one receiver |
//! | `mpmc_128` | the same, four senders, four receivers (tokio: one receiver; std: left out) |
//! | `select_4` | one value by a select over four channels of capacity 0 (tokio: 1), four senders |
//! | `skynet` | a tree of 1,000,000 leaves, ten children each, which send their sums up |
//! | `sieve` | the first 2,000 primes by a chain of filters, capacity 0 (tokio: 1) |

use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use gort::chan;
use gort_benches::Peers;
use tokio::sync::mpsc;

const ROOM: usize = 128;
const CROWD: u64 = 4;
const LEAVES: u64 = 1_000_000;
const PRIMES: usize = 2_000;

/// Times `work`.
fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

// ---- gort ---------------------------------------------------------------------------------------------

fn ping_pong(times: u64) -> Duration {
    let (ping, pings) = chan::bounded(0);
    let (pong, pongs) = chan::bounded(0);
    let other = gort::spawn(move || pings.iter().try_for_each(|n: u64| pong.send(n)));
    let elapsed = timed(|| {
        for n in 0..times {
            ping.send(n).expect("it is open");
            assert_eq!(pongs.recv(), Ok(n));
        }
    });
    drop(ping);
    other.join().expect("no panic").expect("it was received");
    elapsed
}

fn spsc(times: u64) -> Duration {
    let (tx, rx) = chan::bounded(ROOM);
    timed(|| {
        let sender = gort::spawn(move || (0..times).try_for_each(|n| tx.send(n)));
        assert_eq!(rx.iter().count() as u64, times);
        sender.join().expect("no panic").expect("it was received");
    })
}

fn mpmc(times: u64) -> Duration {
    let (tx, rx) = chan::bounded(ROOM);
    timed(|| {
        for sender in 0..CROWD {
            let tx = tx.clone();
            gort::spawn(move || (0..share(times, sender)).try_for_each(|n| tx.send(n)));
        }
        drop(tx);
        let receivers: Vec<_> = (0..CROWD)
            .map(|_| {
                let rx = rx.clone();
                gort::spawn(move || rx.iter().count() as u64)
            })
            .collect();
        let got: u64 = receivers.into_iter().map(|receiver| receiver.join().expect("no panic")).sum();
        assert_eq!(got, times);
    })
}

/// Of `times` values, how many one of the crowd sends.
fn share(times: u64, sender: u64) -> u64 {
    times / CROWD + u64::from(sender < times % CROWD)
}

fn select(times: u64) -> Duration {
    let [a, b, c, d] = std::array::from_fn(|_| chan::bounded::<u64>(0));
    timed(|| {
        for (sender, (tx, _)) in [&a, &b, &c, &d].into_iter().enumerate() {
            let tx = tx.clone();
            gort::spawn(move || (0..share(times, sender as u64)).try_for_each(|n| tx.send(n)));
        }
        for _ in 0..times {
            gort::select! {
                recv(a.1) -> value => value,
                recv(b.1) -> value => value,
                recv(c.1) -> value => value,
                recv(d.1) -> value => value,
            }
            .expect("it is open");
        }
    })
}

fn sum_of_leaves(first: u64, leaves: u64, up: &chan::Sender<u64>) {
    if leaves == 1 {
        return up.send(first).expect("it is received");
    }
    let (tx, rx) = chan::bounded(10);
    for child in 0..10 {
        let tx = tx.clone();
        gort::spawn(move || sum_of_leaves(first + child * leaves / 10, leaves / 10, &tx));
    }
    up.send((0..10).map(|_| rx.recv().expect("it is sent")).sum()).expect("it is received");
}

fn skynet(times: u64) -> Duration {
    timed(|| {
        for _ in 0..times {
            let (tx, rx) = chan::bounded(1);
            sum_of_leaves(0, LEAVES, &tx);
            assert_eq!(rx.recv(), Ok(LEAVES * (LEAVES - 1) / 2));
        }
    })
}

fn sieve(times: u64) -> Duration {
    timed(|| {
        for _ in 0..times {
            let (tx, mut numbers) = chan::bounded(0);
            gort::spawn(move || (2..).try_for_each(|n: u32| tx.send(n)));
            let mut prime = 0;
            for _ in 0..PRIMES {
                prime = numbers.recv().expect("it is open");
                let (tx, rx) = chan::bounded(0);
                let source = std::mem::replace(&mut numbers, rx);
                let this = prime;
                gort::spawn(move || source.iter().filter(|n| n % this != 0).try_for_each(|n| tx.send(n)));
            }
            assert_eq!(prime, 17_389);
        }
    })
}

// ---- tokio --------------------------------------------------------------------------------------------

async fn tokio_ping_pong(times: u64) -> Duration {
    let (ping, mut pings) = mpsc::channel(1);
    let (pong, mut pongs) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(n) = pings.recv().await {
            pong.send(n).await.expect("it is open");
        }
    });
    let start = Instant::now();
    for n in 0..times {
        ping.send(n).await.expect("it is open");
        assert_eq!(pongs.recv().await, Some(n));
    }
    start.elapsed()
}

async fn tokio_crowd(times: u64, senders: u64) -> Duration {
    let (tx, mut rx) = mpsc::channel(ROOM);
    let start = Instant::now();
    for sender in 0..senders {
        let tx = tx.clone();
        let many = times / senders + u64::from(sender < times % senders);
        tokio::spawn(async move {
            for n in 0..many {
                tx.send(n).await.expect("it is open");
            }
        });
    }
    drop(tx);
    while rx.recv().await.is_some() {}
    start.elapsed()
}

async fn tokio_select(times: u64) -> Duration {
    let [mut a, mut b, mut c, mut d] = std::array::from_fn(|sender| {
        let (tx, rx) = mpsc::channel::<u64>(1);
        let many = share(times, sender as u64);
        tokio::spawn(async move {
            for n in 0..many {
                if tx.send(n).await.is_err() {
                    return;
                }
            }
            // Not closed before the end: a closed one is ready.
            tx.closed().await;
        });
        rx
    });
    let start = Instant::now();
    for _ in 0..times {
        tokio::select! {
            value = a.recv() => value,
            value = b.recv() => value,
            value = c.recv() => value,
            value = d.recv() => value,
        }
        .expect("it is open");
    }
    start.elapsed()
}

fn tokio_leaves(first: u64, leaves: u64, up: mpsc::Sender<u64>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let mut sum = first;
        if leaves > 1 {
            let (tx, mut rx) = mpsc::channel(10);
            for child in 0..10 {
                tokio::spawn(tokio_leaves(first + child * leaves / 10, leaves / 10, tx.clone()));
            }
            sum = 0;
            for _ in 0..10 {
                sum += rx.recv().await.expect("it is sent");
            }
        }
        up.send(sum).await.expect("it is received");
    })
}

async fn tokio_skynet(times: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        let (tx, mut rx) = mpsc::channel(1);
        tokio_leaves(0, LEAVES, tx).await;
        assert_eq!(rx.recv().await, Some(LEAVES * (LEAVES - 1) / 2));
    }
    start.elapsed()
}

async fn tokio_sieve(times: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        let (tx, mut numbers) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut n = 2_u32;
            while tx.send(n).await.is_ok() {
                n += 1;
            }
        });
        let mut prime = 0;
        for _ in 0..PRIMES {
            prime = numbers.recv().await.expect("it is open");
            let (tx, rx) = mpsc::channel(1);
            let mut source = std::mem::replace(&mut numbers, rx);
            let this = prime;
            tokio::spawn(async move {
                while let Some(n) = source.recv().await {
                    if n % this != 0 && tx.send(n).await.is_err() {
                        return;
                    }
                }
            });
        }
        assert_eq!(prime, 17_389);
    }
    start.elapsed()
}

// ---- threads ------------------------------------------------------------------------------------------

/// The same for channels of one shape: `$bounded(capacity)` makes both ends.
macro_rules! on_threads {
    ($library:ident, $bounded:path) => {
        mod $library {
            use super::*;

            pub(super) fn ping_pong(times: u64) -> Duration {
                let (ping, pings) = $bounded(0);
                let (pong, pongs) = $bounded(0);
                let other = thread::spawn(move || {
                    while let Ok(n) = pings.recv() {
                        pong.send(n).expect("it is open");
                    }
                });
                let elapsed = timed(|| {
                    for n in 0..times {
                        ping.send(n).expect("it is open");
                        assert_eq!(pongs.recv().expect("it is open"), n);
                    }
                });
                drop(ping);
                other.join().expect("no panic");
                elapsed
            }

            pub(super) fn spsc(times: u64) -> Duration {
                let (tx, rx) = $bounded(ROOM);
                timed(|| {
                    let sender =
                        thread::spawn(move || (0..times).for_each(|n| tx.send(n).expect("it is open")));
                    let mut got = 0;
                    while rx.recv().is_ok() {
                        got += 1;
                    }
                    assert_eq!(got, times);
                    sender.join().expect("no panic");
                })
            }
        }
    };
}

/// The same for those that have many receivers.
macro_rules! crowds_on_threads {
    ($name:ident, $bounded:path) => {
        fn $name(times: u64) -> Duration {
            let (tx, rx) = $bounded(ROOM);
            timed(|| {
                thread::scope(|scope| {
                    for sender in 0..CROWD {
                        let tx = tx.clone();
                        scope.spawn(move || {
                            (0..share(times, sender)).for_each(|n| tx.send(n).expect("it is open"))
                        });
                        let rx = rx.clone();
                        scope.spawn(move || while rx.recv().is_ok() {});
                    }
                    drop((tx, rx));
                });
            })
        }
    };
}

on_threads!(with_std, std::sync::mpsc::sync_channel);
on_threads!(with_crossbeam, crossbeam_channel::bounded);
on_threads!(with_kanal, kanal::bounded);
on_threads!(with_flume, flume::bounded);
crowds_on_threads!(crossbeam_mpmc, crossbeam_channel::bounded);
crowds_on_threads!(kanal_mpmc, kanal::bounded);
crowds_on_threads!(flume_mpmc, flume::bounded);

fn crossbeam_select(times: u64) -> Duration {
    let [a, b, c, d] = std::array::from_fn(|_| crossbeam_channel::bounded::<u64>(0));
    timed(|| {
        for (sender, (tx, _)) in [&a, &b, &c, &d].into_iter().enumerate() {
            let tx = tx.clone();
            thread::spawn(move || (0..share(times, sender as u64)).try_for_each(|n| tx.send(n)));
        }
        for _ in 0..times {
            crossbeam_channel::select! {
                recv(a.1) -> value => value,
                recv(b.1) -> value => value,
                recv(c.1) -> value => value,
                recv(d.1) -> value => value,
            }
            .expect("it is open");
        }
    })
}

fn main() {
    let mut criterion: Criterion = gort_benches::criterion();
    let mut group = criterion.benchmark_group("ping_pong");
    group.throughput(Throughput::Elements(1));
    Peers::new(&mut group)
        .gort(ping_pong)
        .tokio(tokio_ping_pong)
        .tokio_current_thread(tokio_ping_pong)
        .threads(with_std::ping_pong)
        .threads_with("crossbeam", with_crossbeam::ping_pong)
        .threads_with("kanal", with_kanal::ping_pong)
        .threads_with("flume", with_flume::ping_pong);
    group.finish();
    let mut group = criterion.benchmark_group("spsc_128");
    group.throughput(Throughput::Elements(1));
    Peers::new(&mut group)
        .gort(spsc)
        .tokio(|times| tokio_crowd(times, 1))
        .tokio_current_thread(|times| tokio_crowd(times, 1))
        .threads(with_std::spsc)
        .threads_with("crossbeam", with_crossbeam::spsc)
        .threads_with("kanal", with_kanal::spsc)
        .threads_with("flume", with_flume::spsc);
    group.finish();
    let mut group = criterion.benchmark_group("mpmc_128");
    group.throughput(Throughput::Elements(1));
    Peers::new(&mut group)
        .gort(mpmc)
        .tokio(|times| tokio_crowd(times, CROWD))
        .tokio_current_thread(|times| tokio_crowd(times, CROWD))
        .threads_with("crossbeam", crossbeam_mpmc)
        .threads_with("kanal", kanal_mpmc)
        .threads_with("flume", flume_mpmc);
    group.finish();
    let mut group = criterion.benchmark_group("select_4");
    group.throughput(Throughput::Elements(1));
    Peers::new(&mut group)
        .gort(select)
        .tokio(tokio_select)
        .tokio_current_thread(tokio_select)
        .threads_with("crossbeam", crossbeam_select);
    group.finish();
    let mut group = criterion.benchmark_group("skynet");
    group.throughput(Throughput::Elements(1));
    Peers::new(&mut group).gort(skynet).tokio(tokio_skynet).tokio_current_thread(tokio_skynet);
    group.finish();
    let mut group = criterion.benchmark_group("sieve");
    group.throughput(Throughput::Elements(1));
    Peers::new(&mut group).gort(sieve).tokio(tokio_sieve).tokio_current_thread(tokio_sieve);
    group.finish();
    criterion.final_summary();
}
