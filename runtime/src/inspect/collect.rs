//! F9. Who lives in a runtime: a walk over all stacks.
//!
//! Each goroutine is looked at once, for some tens of microseconds, one after another, while all others go
//! on: the picture is of a short time, not of one moment. A goroutine that lives throughout is met exactly
//! once, for its record never moves.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::capture::{Borrowed, Camera};
use crate::g::state::Status;
use crate::g::wait::WaitReason;
use crate::g::{G, GRef};
use crate::m::M;
use crate::park;
use crate::sched::Sched;
use crate::stack;
use crate::sys::clock;

/// A goroutine on its way into or out of a wait is looked at again, so often.
const TRIES: u32 = 100;

/// What a goroutine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GoroutineState {
    /// It runs on a processor.
    Running,
    /// It is ready to run, and waits for a processor.
    Runnable,
    /// It waits for something else.
    Waiting,
}

/// One goroutine, as it was seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) id: u64,
    pub(super) name: Option<Arc<str>>,
    pub(super) state: GoroutineState,
    /// Why it waits.
    pub(super) reason: WaitReason,
    /// For what; 0: unknown.
    pub(super) object: usize,
    /// The goroutine that holds that; 0: unknown.
    pub(super) holder: u64,
    /// How long it has waited.
    pub(super) waited_ns: u64,
    /// The number of the worker thread that it runs on, or is bound to.
    pub(super) thread: Option<u32>,
    /// Does its thread sleep beneath it, for it panics?
    pub(super) panicking: bool,
    /// Which of the scene's stacks is its own, if that could be seen.
    pub(super) stack: Option<usize>,
    pub(super) site: Option<&'static Location<'static>>,
}

/// All goroutines of a runtime, and their stacks, each of which is kept once.
#[derive(Debug, Default)]
pub(super) struct Scene {
    pub(super) goroutines: Vec<Seen>,
    /// Return addresses, the innermost first.
    pub(super) stacks: Vec<Arc<[usize]>>,
    pub(super) known: HashMap<Arc<[usize]>, usize>,
}

impl Scene {
    /// Looks at all goroutines of `sched`; without stacks if that is not wanted, or there is no memory for a
    /// scratch stack. The main goroutine comes first, the others in the order of their numbers.
    pub(super) fn of(sched: &'static Sched, with_stacks: bool) -> Scene {
        let mut scene = Scene::default();
        let mut camera = if with_stacks { Camera::new().ok() } else { None };
        for slot in stack::Cursor::new() {
            // SAFETY: the slot came from the slab's own walk.
            let g = unsafe { G::of_slot(slot) };
            if g.owner.load(Ordering::Relaxed).cast_const() == sched.as_owner() {
                scene.add(sched, g, camera.as_mut());
            }
        }
        let main = sched.main_id.load(Ordering::Relaxed);
        scene.goroutines.sort_unstable_by_key(|seen| (seen.id != main, seen.id));
        scene
    }

    fn add(&mut self, sched: &'static Sched, g: GRef, mut camera: Option<&mut Camera>) {
        for _ in 0..TRIES {
            match g.state.status() {
                Status::Dead => return,
                Status::Waiting => {
                    if let Some(borrowed) = Borrowed::of(g, sched.as_owner()) {
                        return self.add_waiting(g, borrowed, camera);
                    }
                }
                Status::Running => {
                    if self.add_running(sched, g, camera.as_deref_mut()) {
                        return;
                    }
                }
                Status::New | Status::Runnable => break,
                Status::Parking | Status::Claimed | Status::Left => {}
            }
            std::hint::spin_loop();
        }
        let state = match g.state.status() {
            Status::Parking | Status::Waiting => GoroutineState::Waiting,
            Status::Running => GoroutineState::Running,
            Status::Dead => return,
            _ => GoroutineState::Runnable,
        };
        self.goroutines.push(Seen::new(g, state));
    }

    fn add_waiting(&mut self, g: GRef, borrowed: Borrowed, camera: Option<&mut Camera>) {
        let mut seen = Seen::new(g, GoroutineState::Waiting);
        seen.holder = borrowed.holder();
        seen.panicking = borrowed.is_frozen();
        seen.name = borrowed.name();
        match camera {
            Some(camera) => {
                let frames = camera.of_waiting(&borrowed);
                // It goes on while we look its stack up.
                drop(borrowed);
                seen.stack = self.stack(frames);
            }
            None => drop(borrowed),
        }
        self.goroutines.push(seen);
    }

    /// False: it does not run any more.
    fn add_running(&mut self, sched: &'static Sched, g: GRef, camera: Option<&mut Camera>) -> bool {
        let mut seen = Seen::new(g, GoroutineState::Running);
        if park::current_g().is_some_and(|current| std::ptr::eq(current, g)) {
            // SAFETY: the name is the caller's own.
            seen.name = unsafe { (*g.name.get()).clone() };
            seen.thread = M::current().map(|m| m.id);
            seen.stack = camera.and_then(|camera| self.stack(camera.of_caller(g.slot())));
        } else {
            let runs = |m: &&'static M| std::ptr::eq(m.g.load(Ordering::Relaxed), g);
            let Some(m) = sched.ms().find(runs) else { return false };
            seen.thread = Some(m.id);
            if let Some(camera) = camera
                && let Some((frames, name)) = camera.of_running(g, m)
            {
                seen.stack = self.stack(frames);
                seen.name = name;
            }
        }
        self.goroutines.push(seen);
        true
    }

    /// The place of a stack among ours; `None` for one that could not be seen.
    fn stack(&mut self, frames: &[usize]) -> Option<usize> {
        if frames.is_empty() {
            return None;
        }
        if let Some(&place) = self.known.get(frames) {
            return Some(place);
        }
        let frames: Arc<[usize]> = frames.into();
        self.stacks.push(frames.clone());
        self.known.insert(frames, self.stacks.len() - 1);
        Some(self.stacks.len() - 1)
    }
}

impl Seen {
    /// What anybody may read at any time.
    fn new(g: GRef, state: GoroutineState) -> Seen {
        let waits = state == GoroutineState::Waiting;
        // SAFETY: `bound` holds null or the head of an M.
        let bound = unsafe { M::of_head(g.bound.load(Ordering::Relaxed)) };
        Seen {
            id: g.id(),
            name: None,
            state,
            reason: if waits { g.wait_reason() } else { WaitReason::None },
            object: if waits { g.wait_object() } else { 0 },
            holder: 0,
            waited_ns: if waits { clock::now_ns().saturating_sub(g.wait_since_ns()) } else { 0 },
            thread: bound.map(|m| m.id),
            panicking: false,
            stack: None,
            site: g.site(),
        }
    }
}
