//! Select: one operation of many, at one instant, with equal chances; the macros' grammar.
#![cfg(test)]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{MODES, Setting, at, at_1_2_4, until};
use gort_runtime::{scope, spawn, yield_now};
use gort_sync::chan::{self, Receiver, RecvError, SendError, Sender};
use gort_sync::{Select, SelectTimeoutError, TrySelectError, select, select_biased};

const HOUR: Duration = Duration::from_secs(3_600);
const MOMENT: Duration = Duration::from_millis(2);

/// One of two channels is ready at each moment: `before` is, until `after` is. A select looks at one instant.
fn default_is_not_taken(make_ready: impl Fn(&Sender<u32>) + Copy + Send + Sync) {
    const ROUNDS: usize = if cfg!(debug_assertions) { 2_000 } else { 100_000 };
    at_1_2_4(|_| {
        let took_default = AtomicBool::new(false);
        for _ in 0..ROUNDS {
            let (tx1, rx1) = chan::bounded(1);
            let (tx2, rx2) = chan::bounded(1);
            tx1.send(1).unwrap();
            scope(|s| {
                s.spawn(|| {
                    select! {
                        recv(rx1) -> _ => {}
                        recv(rx2) -> _ => {}
                        default => took_default.store(true, Ordering::Relaxed),
                    }
                });
                make_ready(&tx2);
                select! {
                    recv(rx1) -> _ => {}
                    default => {}
                }
            });
            assert!(!took_default.load(Ordering::Relaxed), "one of the two was ready");
        }
    });
}

#[test]
fn default_is_not_taken_while_a_value_moves_from_channel_to_channel() {
    default_is_not_taken(|tx| tx.send(1).unwrap());
}

#[test]
fn default_is_not_taken_while_one_closes_and_the_other_empties() {
    default_is_not_taken(|tx| assert!(tx.close()));
}

#[test]
fn a_select_that_sends_and_receives_on_one_channel_does_not_meet_itself() {
    at_1_2_4(|_| {
        for capacity in [0, 10] {
            let (tx, rx) = chan::bounded(capacity);
            scope(|s| {
                for me in 0..2 {
                    let (tx, rx) = (&tx, &rx);
                    s.spawn(move || {
                        for n in 0..1_000 {
                            if n % 2 == me {
                                select! {
                                    send(tx, me) -> result => result.unwrap(),
                                    recv(rx) -> from => assert!(capacity != 0 || from != Ok(me), "from itself"),
                                }
                            } else {
                                select! {
                                    recv(rx) -> from => assert!(capacity != 0 || from != Ok(me), "from itself"),
                                    send(tx, me) -> result => result.unwrap(),
                                }
                            }
                        }
                    });
                }
            });
        }
    });
}

#[test]
fn selects_and_single_operations_move_exactly_what_was_sent() {
    const EACH: usize = if cfg!(debug_assertions) { 500 } else { 10_000 };
    at_1_2_4(|_| {
        let channels: Vec<_> = [0, 0, 2, 3].map(chan::bounded::<usize>).into();
        scope(|s| {
            for (tx, _) in &channels {
                s.spawn(move || (0..EACH).for_each(|_| tx.send(0).unwrap()));
            }
            s.spawn(|| {
                let mut sent = [0; 4];
                for _ in 0..4 * EACH {
                    let mut slots = [Some(0); 4];
                    let mut select = Select::new();
                    let mut numbers = Vec::new();
                    for (n, slot) in slots.iter_mut().enumerate() {
                        if sent[n] < EACH {
                            select.send(&channels[n].0, slot);
                            numbers.push(n);
                        }
                    }
                    sent[numbers[select.select()]] += 1;
                    assert_eq!(slots.iter().filter(|slot| slot.is_none()).count(), 1, "one, and one only");
                }
            });
            for (_, rx) in &channels {
                s.spawn(move || (0..EACH).for_each(|_| assert!(rx.recv().is_ok())));
            }
            s.spawn(|| {
                let mut left = [EACH; 4];
                let never = chan::never().1;
                let on = |left: &[usize; 4], n: usize| if left[n] > 0 { &channels[n].1 } else { &never };
                for _ in 0..4 * EACH {
                    let done = select! {
                        recv(on(&left, 0)) -> value => value.map(|_| 0),
                        recv(on(&left, 1)) -> value => value.map(|_| 1),
                        recv(on(&left, 2)) -> value => value.map(|_| 2),
                        recv(on(&left, 3)) -> value => value.map(|_| 3),
                    };
                    left[done.unwrap()] -= 1;
                }
            });
        });
        assert!(channels.iter().all(|(tx, _)| tx.is_empty()));
    });
}

/// Chi-square of counts that should be equal.
fn chi_square(counts: &[usize]) -> f64 {
    let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum()
}

#[test]
fn of_the_ready_cases_each_is_equally_likely() {
    // One chance in a billion to fail: chi-square beyond 68 at 11 degrees of freedom, 38 at 1, 41 at 2.
    at_1_2_4(|_| {
        const CASES: usize = 12;
        let channels: Vec<_> = (0..CASES).map(|_| chan::bounded::<()>(0)).collect();
        channels.iter().for_each(|(tx, _)| assert!(tx.close()));
        let mut counts = [0; CASES];
        for _ in 0..12_000 {
            let mut slots = [None; CASES];
            let mut select = Select::new();
            for ((_, rx), slot) in channels.iter().zip(&mut slots) {
                select.recv(rx, slot);
            }
            counts[select.select()] += 1;
        }
        assert!(chi_square(&counts) < 68.0, "{counts:?}");
        // Two sends; and three ready cases among others that are not.
        let (tx, rx) = chan::unbounded();
        let (silent, _keep) = (chan::bounded::<i32>(0), ());
        let (mut two, mut three) = ([0; 2], [0; 3]);
        for _ in 0..6_000 {
            select! {
                send(tx, 0) -> _ => two[0] += 1,
                send(tx, 1) -> _ => two[1] += 1,
            }
            select! {
                recv(rx) -> _ => three[0] += 1,
                recv(silent.1) -> _ => unreachable!(),
                recv(rx) -> _ => three[1] += 1,
                recv(rx) -> _ => three[2] += 1,
            }
        }
        assert!(chi_square(&two) < 38.0 && chi_square(&three) < 41.0, "{two:?} {three:?}");
    });
}

#[test]
fn a_biased_select_takes_the_first_that_is_ready() {
    at_1_2_4(|_| {
        let (tx, rx) = chan::unbounded();
        let (urgent_tx, urgent) = chan::bounded(100);
        for n in 0..100 {
            tx.send(n).unwrap();
            urgent_tx.send(n).unwrap();
        }
        let mut order = Vec::new();
        for _ in 0..200 {
            select_biased! {
                recv(urgent) -> _ => order.push(0),
                recv(rx) -> _ => order.push(1),
                default => unreachable!(),
            }
        }
        assert!(order.is_sorted());
    });
}

#[test]
fn a_goroutine_that_waits_twice_on_one_channel_leaves_twice() {
    at_1_2_4(|_| {
        for _ in 0..50 {
            let (tx, rx) = chan::bounded::<u32>(0);
            let (other_tx, other) = chan::bounded::<u32>(0);
            scope(|s| {
                let selecting = s.spawn(|| {
                    select! {
                        recv(rx) -> _ => panic!("nobody sends yet"),
                        recv(rx) -> _ => panic!("nobody sends yet"),
                        recv(other) -> value => value,
                    }
                });
                // Behind it in the same list.
                let waiting = s.spawn(|| rx.recv());
                other_tx.send(1).unwrap();
                assert_eq!(selecting.join().unwrap(), Ok(1));
                tx.send(2).unwrap();
                assert_eq!(waiting.join().unwrap(), Ok(2));
                assert!(tx.try_send(3).is_err(), "nobody is left in the list");
            });
        }
    });
}

#[test]
fn a_case_that_was_not_done_hides_nobody_behind_it() {
    at_1_2_4(|_| {
        let (tx, rx) = chan::bounded::<usize>(0);
        let (stop_tx, stop) = chan::bounded::<()>(0);
        scope(|s| {
            // Their cases on `rx` fail, for they end by `stop`; those of the others must still be served.
            for _ in 0..10 {
                s.spawn(|| {
                    select_biased! {
                        recv(stop) -> _ => {}
                        recv(rx) -> _ => unreachable!("nobody sends before the stop"),
                    }
                });
            }
            stop_tx.close();
            let receivers: Vec<_> = (0..10).map(|_| s.spawn(|| rx.recv().unwrap())).collect();
            (0..10).for_each(|n| tx.send(n).unwrap());
            let mut got: Vec<_> = receivers.into_iter().map(|receiver| receiver.join().unwrap()).collect();
            got.sort_unstable();
            assert!(got.into_iter().eq(0..10));
        });
    });
}

#[test]
fn no_round_does_two_operations() {
    at_1_2_4(|_| {
        let channels: [_; 4] = std::array::from_fn(|_| chan::bounded(0));
        let [a, b, c, d] = &channels;
        let (result_tx, results) = chan::bounded(0);
        scope(|s| {
            s.spawn(|| {
                for n in 0..1_000 {
                    select! {
                        send(a.0, n) -> result => result.unwrap(),
                        send(b.0, n) -> result => result.unwrap(),
                        send(c.0, n) -> result => result.unwrap(),
                        send(d.0, n) -> result => result.unwrap(),
                    }
                }
                channels.iter().for_each(|(tx, _)| assert!(tx.close()));
            });
            for (_, rx) in &channels {
                let out = result_tx.clone();
                s.spawn(move || rx.iter().for_each(|n| out.send(n).unwrap()));
            }
            drop(result_tx);
            let mut got: Vec<_> = results.iter().collect();
            got.sort_unstable();
            assert!(got.into_iter().eq(0..1_000), "each number once");
        });
    });
}

#[test]
fn two_selects_meet_with_many_cases_on_both_sides() {
    at_1_2_4(|_| {
        const ROUNDS: usize = 500;
        let there: [_; 5] = std::array::from_fn(|_| chan::bounded(0));
        let back: [_; 5] = std::array::from_fn(|_| chan::bounded(0));
        // Each sends on all of one set and receives on all of the other.
        let meet = |mine: &[(Sender<usize>, Receiver<usize>); 5], others: &[_; 5]| {
            let others: &[(Sender<usize>, Receiver<usize>); 5] = others;
            let (mut sent, mut received) = (0, 0);
            while sent < ROUNDS || received < ROUNDS {
                let mut out = [Some(sent); 5];
                let mut into = [None; 5];
                let mut select = Select::new();
                if sent < ROUNDS {
                    mine.iter().zip(&mut out).for_each(|(chan, slot)| _ = select.send(&chan.0, slot));
                }
                if received < ROUNDS {
                    others.iter().zip(&mut into).for_each(|(chan, slot)| _ = select.recv(&chan.1, slot));
                }
                select.select();
                let (gone, come) = (out.iter().flatten().count(), into.iter().flatten().count());
                assert_eq!(5 - gone + come, 1, "one operation");
                sent += 5 - gone;
                if let Some(value) = into.into_iter().flatten().next() {
                    assert_eq!(value, Ok(received));
                    received += 1;
                }
            }
        };
        scope(|s| {
            s.spawn(|| meet(&there, &back));
            s.spawn(|| meet(&back, &there));
        });
    });
}

#[test]
fn never_is_never_ready_and_closed_always_is() {
    at_1_2_4(|_| {
        let (never_tx, never_rx) = chan::never::<u32>();
        let (closed_tx, closed) = chan::bounded::<u32>(0);
        closed.close();
        for _ in 0..100 {
            select! {
                recv(never_rx) -> _ => unreachable!(),
                send(never_tx, 1) -> _ => unreachable!(),
                recv(closed) -> value => assert_eq!(value, Err(RecvError)),
                send(closed_tx, 7) -> result => assert_eq!(result, Err(SendError(7))),
            }
            select! {
                recv(never_rx) -> _ => unreachable!(),
                send(never_tx, 1) -> _ => unreachable!(),
                default => {}
            }
        }
        let start = Instant::now();
        select! {
            recv(never_rx) -> _ => unreachable!(),
            default(MOMENT) => assert!(start.elapsed() >= MOMENT),
        }
        select! { default(MOMENT) => {} }
        assert!(start.elapsed() >= 2 * MOMENT);
        assert_eq!(Select::new().try_select(), Err(TrySelectError));
        assert_eq!(Select::new().select_timeout(Duration::ZERO), Err(SelectTimeoutError));
        assert_eq!(Select::new().select_deadline(Instant::now()), Err(SelectTimeoutError));
    });
}

#[test]
fn an_empty_select_blocks_for_ever_and_the_others_go_on() {
    for mode in MODES {
        for procs in [1, 2] {
            let runtime = Setting::new(procs, mode).build();
            let passed = AtomicUsize::new(0);
            let end = Arc::new(AtomicUsize::new(0));
            runtime.run(|| {
                for n in 0..3 {
                    let end = Arc::clone(&end);
                    spawn(move || {
                        end.fetch_add(1, Ordering::SeqCst);
                        match n {
                            0 => select! {},
                            1 => select_biased! { recv(chan::never::<u8>().1) -> _ => {} },
                            _ => _ = Select::new().select(),
                        }
                        end.fetch_add(100, Ordering::SeqCst);
                    });
                }
                until(|| end.load(Ordering::SeqCst) == 3);
                (0..1_000).for_each(|_| {
                    yield_now();
                    passed.fetch_add(1, Ordering::SeqCst);
                });
            });
            assert_eq!((passed.into_inner(), end.load(Ordering::SeqCst)), (1_000, 3));
            assert!(runtime.shutdown_timeout(HOUR));
        }
    }
}

#[test]
fn operands_are_evaluated_once_in_their_order_before_waiting() {
    at_1_2_4(|_| {
        let log = RefCell::new(Vec::new());
        let note = |name| log.borrow_mut().push(name);
        let (tx, rx) = chan::bounded::<&str>(1);
        let (other_tx, other) = chan::bounded::<&str>(1);
        let pass = |name, rx: &Receiver<&'static str>| {
            note(name);
            rx.clone()
        };
        let value = |name| {
            note(name);
            name
        };
        select_biased! {
            recv(pass("a", &rx)) -> _ => unreachable!(),
            send({ note("b"); &other_tx }, value("c")) -> result => result.unwrap(),
            recv(pass("d", &rx)) -> _ => unreachable!(),
            send({ note("e"); &tx }, value("f")) -> _ => unreachable!(),
            default({ note("g"); HOUR }) => unreachable!(),
        }
        assert_eq!(*log.borrow(), ["a", "b", "c", "d", "e", "f", "g"]);
        assert_eq!((other.try_recv(), rx.try_recv().is_err()), (Ok("c"), true));
    });
}

#[test]
fn an_operand_that_waits_makes_the_select_wait_in_spite_of_its_default() {
    at_1_2_4(|_| {
        let (out_tx, out) = chan::bounded(0);
        let (in_tx, inner) = chan::bounded(0);
        let selecting = spawn(move || {
            select! {
                send(out_tx, inner.recv().unwrap()) -> _ => true,
                default => false,
            }
        });
        in_tx.send(5).unwrap();
        assert!(!selecting.join().unwrap(), "nobody receives");
        assert!(out.recv().is_err());
    });
}

#[test]
fn values_of_cases_that_were_not_done_are_dropped_once_or_come_back() {
    at_1_2_4(|_| {
        let counted = Arc::new(());
        let (full, _keep) = chan::bounded(0);
        let (tx, rx) = chan::bounded(1);
        let (closed, _) = chan::bounded(1);
        for _ in 0..10 {
            select! {
                send(full, Arc::clone(&counted)) -> _ => unreachable!(),
                send(tx, Arc::clone(&counted)) -> result => result.unwrap(),
            }
            assert_eq!(Arc::strong_count(&counted), 2);
            drop(rx.recv());
            select! {
                send(full, Arc::clone(&counted)) -> _ => unreachable!(),
                send(closed, Arc::clone(&counted)) -> result => {
                    let SendError(back) = result.unwrap_err();
                    assert_eq!(Arc::strong_count(&back), 3, "the other arm's is still in its slot");
                }
            }
            assert_eq!(Arc::strong_count(&counted), 1);
        }
    });
}

#[test]
fn slots_tell_what_became_of_their_cases() {
    at_1_2_4(|_| {
        let (tx, rx) = chan::bounded(1);
        let (mut out, mut into) = (Some(3), Some(Ok(99)));
        let mut select = Select::new();
        let receive = select.recv(&rx, &mut into);
        let send = select.send(&tx, &mut out);
        assert_eq!((receive, send, select.select()), (0, 1, 1));
        assert_eq!((out, into), (None, None), "a receiving slot is emptied");
        out = Some(4);
        let mut select = Select::new();
        select.send(&tx, &mut out);
        select.recv(&rx, &mut into);
        assert_eq!(select.try_select(), Ok(1));
        assert_eq!((out, into), (Some(4), Some(Ok(3))));
        tx.close();
        let mut select = Select::new();
        select.send(&tx, &mut out);
        assert_eq!(select.select_timeout(HOUR), Ok(0));
        assert_eq!(out, Some(4), "closed: the value is still there");
    });
}

#[test]
#[should_panic(expected = "needs a value")]
fn a_sending_case_without_a_value_is_refused() {
    let (tx, _rx) = chan::bounded::<u32>(1);
    Select::new().send(&tx, &mut None);
}

#[test]
fn a_thousand_cases_are_one_select() {
    at_1_2_4(|_| {
        let channels: Vec<_> = (0..1_000).map(|_| chan::bounded::<usize>(0)).collect();
        scope(|s| {
            s.spawn(|| {
                for n in [999, 0, 500, 3] {
                    channels[n].0.send(n).unwrap();
                }
            });
            for _ in 0..4 {
                let mut slots = vec![None; channels.len()];
                let mut select = Select::new();
                for ((_, rx), slot) in channels.iter().zip(&mut slots) {
                    select.recv(rx, slot);
                }
                let done = select.select();
                assert_eq!(slots[done], Some(Ok(done)));
            }
        });
    });
}

#[test]
fn a_timeout_that_races_with_a_value_loses_nothing() {
    at_1_2_4(|setting| {
        let (tx, rx) = chan::bounded(0);
        let (tx2, rx2) = chan::bounded(0);
        let (mut rng, mut other_rng) = (setting.rng(1), setting.rng(2));
        scope(|s| {
            let sender = s.spawn(move || {
                (0..1_000)
                    .filter(|_| {
                        select! {
                            send(tx, ()) -> result => result.is_ok(),
                            send(tx2, ()) -> result => result.is_ok(),
                            default(Duration::from_nanos(rng.below(20_000))) => false,
                        }
                    })
                    .count()
            });
            let mut received = 0;
            loop {
                select! {
                    recv(rx) -> value => if value.is_err() { break } else { received += 1 },
                    recv(rx2) -> value => if value.is_err() { break } else { received += 1 },
                    default(Duration::from_nanos(other_rng.below(20_000))) => {}
                }
            }
            assert_eq!(sender.join().unwrap(), received);
        });
    });
}

#[test]
fn selects_work_on_threads_and_with_goroutines_on_the_other_side() {
    at_1_2_4(|_| {
        let (tx1, rx1) = chan::bounded(0);
        let (tx2, rx2) = chan::bounded(1);
        let receiving = thread::spawn(move || {
            let (mut count, mut open) = (0, 2);
            let (mut rx1, mut rx2) = (rx1, rx2);
            while open > 0 {
                select! {
                    recv(rx1) -> value => if value.is_ok() { count += 1 } else { (open, rx1) = (open - 1, chan::never().1) },
                    recv(rx2) -> value => if value.is_ok() { count += 1 } else { (open, rx2) = (open - 1, chan::never().1) },
                    default(HOUR) => unreachable!(),
                }
            }
            count
        });
        scope(|s| {
            s.spawn(move || (0..500).for_each(|_| tx1.send(()).unwrap()));
            s.spawn(move || {
                for _ in 0..500 {
                    select! { send(tx2, ()) -> result => result.unwrap() }
                }
            });
        });
        until(|| receiving.is_finished());
        assert_eq!(receiving.join().unwrap(), 1_000);
    });
}

/// What stands around the macro is reached from its bodies.
fn control_flow(rx: &Receiver<u32>) -> Result<u32, RecvError> {
    let mut sum = 0;
    'outer: loop {
        loop {
            select! {
                recv(rx) -> value => match value? {
                    0 => break 'outer,
                    1 => continue 'outer,
                    2 => break,
                    3 => return Ok(1_000 + sum),
                    value => sum += value,
                },
            }
        }
        sum += 100;
    }
    Ok(sum)
}

#[test]
fn bodies_may_break_continue_return_and_question() {
    let run = |values: &[u32]| {
        let (tx, rx) = chan::unbounded();
        values.iter().for_each(|&value| tx.send(value).unwrap());
        tx.close();
        control_flow(&rx)
    };
    assert_eq!(run(&[10, 0]), Ok(10));
    assert_eq!(run(&[10, 1, 10, 2, 10, 0]), Ok(130));
    assert_eq!(run(&[10, 3, 0]), Ok(1_010));
    assert_eq!(run(&[10]), Err(RecvError));
}

/// What the macro names is not what has these names around it.
#[test]
#[allow(non_snake_case, reason = "as anyhow's `Ok`")]
fn names_around_the_macro_do_not_disturb_it() {
    #[derive(Debug, PartialEq)]
    enum Level {
        None,
        Some(u8),
    }
    use Level::{None, Some};
    fn Ok<T>(value: T) -> Result<T, String> {
        Result::Ok(value)
    }
    fn Err(error: &str) -> Result<(), String> {
        Result::Err(error.to_owned())
    }
    let (timeout, select, done, slot, case) = (1, 2, 3, 4, 5);
    let (tx, rx) = chan::bounded(1);
    let sum = || timeout + select + done + slot + case;
    let level = select! {
        send(tx, sum()) -> result => if result.is_ok() { Some(case) } else { None },
        recv(rx) -> _ => None,
    };
    assert_eq!(level, Some(5));
    tx.close();
    let results = [
        select! { recv(rx) -> value => if value == Result::Ok(15) { Ok(()) } else { Err("another") } },
        select_biased! { send(tx, 0) -> result => if result.is_err() { Err("closed") } else { Ok(()) } },
    ];
    assert_eq!(results, [Ok(()), Err("closed")]);
}

#[test]
fn the_grammar_is_crossbeams() {
    struct Holder {
        rx: Arc<Receiver<u8>>,
    }
    let (tx, rx) = chan::unbounded::<u8>();
    let holder = Holder { rx: Arc::new(rx) };
    tx.send(1).unwrap();
    // No comma behind blocks; what derefs to an end; a mutable binding; a trailing comma within.
    let got = select! {
        recv(holder.rx,) -> mut value => { value = value.map(|n| n + 1); value }
        recv(&&*holder.rx) -> value => { value.map(|n| n + 1) },
        default => { unreachable!() }
    };
    assert_eq!(got, Ok(2));
    // Default first, and a body that is a call; a send to a reference.
    let sent = select! {
        default() => Err(SendError(0)),
        send(&tx, 3,) -> result => std::convert::identity(result),
    };
    assert_eq!(sent, Ok(()));
    // One arm, no comma; patterns that ignore; in expression position.
    let text = format!("{:?}", select! { recv(holder.rx) -> value => value });
    assert_eq!(text, "Ok(3)");
    select! { recv(holder.rx) -> _ => unreachable!(), default => (), }
    // Only a default; nested.
    let n = select! { default => select! { default(Duration::ZERO) => 5 } };
    assert_eq!(n, 5);
    // Values that are not the arm's are moved all the same: evaluated on entry.
    let owned = String::from("owned");
    let (text_tx, text_rx) = chan::bounded(1);
    select! {
        send(text_tx, owned) -> result => result.unwrap(),
    }
    assert_eq!(text_rx.recv().as_deref(), Ok("owned"));
}

#[test]
fn a_case_on_an_unbounded_channel_lets_it_grow() {
    at(&[1, 2], |_| {
        let (tx, rx) = chan::unbounded();
        for n in 0..10_000 {
            select! { send(tx, n) -> result => result.unwrap() }
        }
        for n in 0..10_000 {
            select! { recv(rx) -> value => assert_eq!(value, Ok(n)) }
        }
        assert!(rx.is_empty());
    });
}
