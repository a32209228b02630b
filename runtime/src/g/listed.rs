//! F3. A model, for loom only: a lean wait in lists under locks (`waiter::sleep_in`).
//!
//! The lists themselves are guarded by their locks and need no model. What does is the hand-over: a waker
//! writes the slot under the list's lock *before* it ends the sleep by [`State::wake`], and takes it back if
//! it came too late; the sleeper takes the lock only if it was not woken, or, in a select, to see through
//! which of its nodes it was. The model has one sleeper with nodes in two lists, a waker for each, and a
//! deadline: one of the three ends the sleep, and the value is in exactly one place.
#![forbid(unsafe_code)]

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Arc, Mutex};

use super::state::{AfterLeaving, AfterReady, State, Ticket};
use crate::prim::atomic::Ordering;

/// One node in one list.
#[derive(Default)]
struct Node {
    is_linked: bool,
    was_ended: bool,
    slot: Option<usize>,
}

struct Model {
    state: State,
    nodes: [Mutex<Node>; 2],
    queued: AtomicUsize,
}

fn model() -> (Arc<Model>, Ticket) {
    let node = || Mutex::new(Node { is_linked: true, ..Node::default() });
    let model = Model { state: State::new(), nodes: [node(), node()], queued: AtomicUsize::new(0) };
    model.state.be_born();
    model.state.set_running();
    let ticket = model.state.begin_park();
    (Arc::new(model), ticket)
}

fn queue_if(model: &Model, after: AfterReady) {
    if after == AfterReady::Queue {
        model.queued.fetch_add(1, Ordering::Release);
    }
}

/// Hands a value over through node `n`. True if it is gone.
fn waker(model: &Model, ticket: Ticket, n: usize) -> bool {
    let mut node = model.nodes[n].lock().expect("no panic");
    if !node.is_linked {
        return false;
    }
    node.is_linked = false;
    node.was_ended = true;
    node.slot = Some(n);
    match model.state.wake(ticket) {
        Some(after) => {
            drop(node);
            queue_if(model, after);
            true
        }
        None => {
            node.was_ended = false;
            node.slot = None;
            false
        }
    }
}

/// The sleeper is awake: takes its nodes out. Through which it was ended.
fn unlink_all(model: &Model) -> Vec<usize> {
    let mut ended = Vec::new();
    for (n, node) in model.nodes.iter().enumerate() {
        let mut node = node.lock().expect("no panic");
        node.is_linked = false;
        assert_eq!(node.slot, node.was_ended.then_some(n), "a value that nobody has sent, or that is lost");
        if node.was_ended {
            ended.push(n);
        }
    }
    ended
}

/// Waits as the worker and the goroutine do, until it was queued.
fn sleep(model: &Model) {
    if model.state.left_stack() == AfterLeaving::Queue {
        return;
    }
    while model.queued.load(Ordering::Acquire) == 0 {
        loom::thread::yield_now();
    }
}

#[test]
fn loom_a_select_is_ended_through_one_of_its_lists() {
    loom::model(|| {
        let (model, ticket) = model();
        let wakers = [0, 1].map(|n| {
            let model = model.clone();
            loom::thread::spawn(move || waker(&model, ticket, n))
        });
        sleep(&model);
        let ended = unlink_all(&model);
        let sent = wakers.map(|waker| waker.join().expect("waker"));
        assert!(sent[0] ^ sent[1], "one of the two");
        assert_eq!(ended, [usize::from(sent[1])], "and through its node");
    });
}

#[test]
fn loom_a_value_meets_a_deadline() {
    loom::model(|| {
        let (model, ticket) = model();
        let sender = {
            let model = model.clone();
            loom::thread::spawn(move || waker(&model, ticket, 0))
        };
        let timer = {
            let model = model.clone();
            loom::thread::spawn(move || {
                let won = model.state.claim(ticket);
                if won {
                    let after = model.state.make_ready();
                    queue_if(&model, after);
                }
                won
            })
        };
        sleep(&model);
        let ended = unlink_all(&model);
        let (sent, timed_out) = (sender.join().expect("sender"), timer.join().expect("timer"));
        assert!(sent ^ timed_out, "one of the two");
        assert_eq!(!ended.is_empty(), sent);
    });
}
