//! F7. Who is idle, who searches: the counters of the idle protocol, and its proof.
//!
//! # The problem
//!
//! Waking a sleeping thread costs the waker 6 µs, so a push of work must not wake anybody who is not
//! needed; and a push must cost 1 ns, so it can hold no fence. Yet no work may stay unseen while a P is
//! idle.
//!
//! # The protocol
//!
//! `idle` counts the idle Ps, `searching` the Ms that search for work (awake, with a P, without a
//! goroutine).
//!
//! *Submit*, public work (injector, shared queues):
//! 1. push; 2. full fence; 3. if `idle > 0` and `searching == 0`: make `searching` 1 by
//!    compare-exchange; the winner wakes one M with one P, which inherits the role.
//!
//! *Submit*, private work:
//! 1. push (plain stores); 2. light fence; 3. if the P's `HUNGRY` bit is set: publish, then as above.
//!
//! *Find*: an M that searched and found work gives up the role; if it was the last to search, it does
//! step 3 of a submit itself, for submitters relied on it.
//!
//! *Sleep*:
//! 1. `idle += 1`; full fence; 2. set `HUNGRY` on every P; 3. give up the role, if it had it; 4. heavy fence;
//!    5. look at every public queue once more: if there is work, take a P back and search; else look at
//!    the timers (`idle::keep_time`), and sleep.
//!
//! *Clear `HUNGRY`* (the owner of a P, when it finds it set and publishes): 1. clear; 2. full fence;
//! 3. if `idle > 0` or `searching > 0`, set it again. (A searcher sets the bit of a P whose private work
//!    it sees; that it counts here only makes an owner publish sooner.)
//!
//! # Proof sketch: no work is lost
//!
//! Let S be a submit and Z the last M's sleep, so that nobody is awake to see the work.
//!
//! - *Public.* S's fence and Z's fence are totally ordered. If S's comes first, Z's look (5) sees the
//!   push. If Z's comes first, S sees `idle > 0` and either `searching == 0`, and wakes; or
//!   `searching > 0`: some M still has the role. When that one gives it up it either sleeps, and its own
//!   look comes after its fence, which comes after S's (S saw it search), so sees the push; or has found
//!   work, and if it was the last repeats S's step 3.
//! - *Private.* The light fence is a full one as seen by the heavy fence. If Z's heavy fence comes first,
//!   S's step 3 sees HUNGRY (2 precedes 4) unless it was cleared since: but whoever clears it looks at
//!   `idle` after a fence and sets it again while any P is idle. So S publishes. If S's comes first, then
//!   Z has set HUNGRY on a P whose private work S has pushed: the owner finds the bit at its next push or
//!   its next turn (`find`), or, if it comes to neither, sysmon's signal publishes. Z may sleep: the
//!   request stands in the bit.
//!
//! A third way of giving the role up: a submitter that claimed it finds no P or no M to wake. It does so
//! under the lists' lock, under which Ms go idle: an M that sleeps did so before (then it was in the list,
//! and its P too), or its look comes after every submit that relied on the role.
//!
//! The loom models at the end run both cases with the real counters.
#![forbid(unsafe_code)]

use crate::prim::atomic::{AtomicU32, Ordering, fence};

/// The counters.
#[derive(Debug)]
pub(crate) struct Census {
    idle: AtomicU32,
    searching: AtomicU32,
}

impl Census {
    /// Nobody is idle, nobody searches.
    pub(crate) fn new() -> Self {
        Census { idle: AtomicU32::new(0), searching: AtomicU32::new(0) }
    }

    /// One more P is idle. The counters' own accesses are SeqCst for good measure; the proof, and loom,
    /// rely on the fences only.
    pub(crate) fn add_idle(&self) {
        self.idle.fetch_add(1, Ordering::SeqCst);
        // Step 1 before step 2, which may be a mere look at a bit that is set; pairs with the fence in
        // `is_still_hungry`.
        fence(Ordering::SeqCst);
    }

    /// One P fewer is idle.
    pub(crate) fn remove_idle(&self) {
        self.idle.fetch_sub(1, Ordering::SeqCst);
    }

    /// How many Ps are idle, roughly.
    #[inline(always)]
    pub(crate) fn idle(&self) -> u32 {
        self.idle.load(Ordering::Relaxed)
    }

    /// How many Ms search, roughly.
    pub(crate) fn searching(&self) -> u32 {
        self.searching.load(Ordering::Relaxed)
    }

    /// One more searches.
    pub(crate) fn begin_search(&self) {
        self.searching.fetch_add(1, Ordering::SeqCst);
    }

    /// One searches no more. True if it was the last.
    pub(crate) fn end_search(&self) -> bool {
        self.searching.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Step 3 of a submit, after the push: true if the caller must wake an M. It then holds a searcher's
    /// role on its behalf.
    pub(crate) fn claim_wake(&self) -> bool {
        // Step 2. SeqCst: store of the work, then load of the counters.
        fence(Ordering::SeqCst);
        self.idle.load(Ordering::SeqCst) != 0
            && self.searching.load(Ordering::SeqCst) == 0
            && self.searching.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Does anybody want work, roughly?
    #[inline(always)]
    pub(crate) fn is_hungry(&self) -> bool {
        self.idle.load(Ordering::Relaxed) != 0 || self.searching.load(Ordering::Relaxed) != 0
    }

    /// After clearing a P's HUNGRY bit: must it be set again?
    pub(crate) fn is_still_hungry(&self) -> bool {
        fence(Ordering::SeqCst);
        self.idle.load(Ordering::SeqCst) != 0 || self.searching.load(Ordering::SeqCst) != 0
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::prim::{heavy_fence, light_fence};
    use loom::sync::Arc;

    struct Model {
        census: Census,
        /// Work that anybody may take.
        public: AtomicU32,
        /// Work that only the owner sees until it publishes.
        private: AtomicU32,
        hungry: AtomicU32,
        /// Wakes that were sent.
        wakes: AtomicU32,
    }

    fn model() -> Arc<Model> {
        Arc::new(Model {
            census: Census::new(),
            public: AtomicU32::new(0),
            private: AtomicU32::new(0),
            hungry: AtomicU32::new(0),
            wakes: AtomicU32::new(0),
        })
    }

    fn wake_if_needed(model: &Model) {
        if model.census.claim_wake() {
            model.wakes.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn submit_public(model: &Model) {
        model.public.fetch_add(1, Ordering::Release);
        wake_if_needed(model);
    }

    /// As `P::ask`: looks first.
    fn ask(model: &Model) {
        if model.hungry.load(Ordering::Relaxed) == 0 {
            model.hungry.fetch_or(1, Ordering::Release);
        }
    }

    fn publish(model: &Model) {
        model.hungry.fetch_and(0, Ordering::AcqRel);
        if model.census.is_still_hungry() {
            ask(model);
        }
        let private = model.private.swap(0, Ordering::Relaxed);
        if private != 0 {
            model.public.fetch_add(private, Ordering::Release);
            wake_if_needed(model);
        }
    }

    fn submit_private(model: &Model) {
        model.private.store(1, Ordering::Relaxed);
        light_fence();
        if model.hungry.load(Ordering::Relaxed) != 0 {
            publish(model);
        }
    }

    /// An M that searched in vain goes to sleep. True if it has found work after all.
    fn sleep(model: &Model, searching: bool) -> bool {
        model.census.add_idle();
        ask(model);
        if searching {
            model.census.end_search();
        }
        heavy_fence();
        let found = model.public.load(Ordering::Acquire) != 0;
        if found {
            model.census.remove_idle();
        }
        found
    }

    /// Somebody sees public work: the sleeper, or it is woken.
    #[test]
    fn loom_public_work_is_not_lost() {
        loom::model(|| {
            let model = model();
            model.census.begin_search();
            let other = model.clone();
            let sleeper = loom::thread::spawn(move || sleep(&other, true));
            submit_public(&model);
            let found = sleeper.join().expect("sleeper");
            assert!(found || model.wakes.load(Ordering::SeqCst) == 1, "nobody saw the work");
        });
    }

    /// Two searchers: one finds something else and leaves, one sleeps; the work submitted meanwhile is
    /// seen by the sleeper, or the leaver wakes somebody.
    #[test]
    fn loom_the_last_searcher_wakes_the_next() {
        loom::model(|| {
            let model = model();
            model.census.add_idle();
            model.census.begin_search();
            let other = model.clone();
            let leaver = loom::thread::spawn(move || {
                // It has found work elsewhere: gives up the role.
                if other.census.end_search() {
                    wake_if_needed(&other);
                }
            });
            submit_public(&model);
            leaver.join().expect("leaver");
            assert!(model.wakes.load(Ordering::SeqCst) >= 1, "nobody was woken");
        });
    }

    /// Private work: the owner has published it, or the request stands in the bit for its next call.
    #[test]
    fn loom_private_work_is_not_lost() {
        loom::model(|| {
            let model = model();
            let other = model.clone();
            let sleeper = loom::thread::spawn(move || sleep(&other, false));
            submit_private(&model);
            let found = sleeper.join().expect("sleeper");
            let woken = model.wakes.load(Ordering::SeqCst) == 1;
            let asked =
                model.private.load(Ordering::Relaxed) == 1 && model.hungry.load(Ordering::SeqCst) == 1;
            assert!(found || woken || asked, "work stays private, and nobody asks for it");
        });
    }

    /// The owner clears the bit (for an earlier sleeper that has gone) while another M goes to sleep: the
    /// bit is set in the end.
    #[test]
    fn loom_the_bit_survives_a_clear() {
        loom::model(|| {
            let model = model();
            let other = model.clone();
            let sleeper = loom::thread::spawn(move || sleep(&other, false));
            publish(&model);
            sleeper.join().expect("sleeper");
            assert_eq!(model.hungry.load(Ordering::SeqCst), 1, "an idle P that nobody knows of");
        });
    }

    /// A submitter that claims the role and finds no P gives it up under the lists' lock. Meanwhile the P's
    /// taker goes idle, and another submitter relies on the role: its work is seen all the same.
    #[test]
    fn loom_a_role_that_is_given_up_unused() {
        /// `lists` is the number of Ps in the list; as `Sched::wake_one`.
        fn wake_one(model: &Model, lists: &loom::sync::Mutex<u32>) {
            if model.census.claim_wake() {
                let mut lists = lists.lock().expect("nobody panics");
                if *lists == 0 {
                    model.census.end_search();
                } else {
                    *lists -= 1;
                    model.census.remove_idle();
                    model.wakes.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        loom::model(|| {
            let model = model();
            let lists = Arc::new(loom::sync::Mutex::new(1));
            model.census.add_idle();
            let (other, others) = (model.clone(), lists.clone());
            // Takes the P, if nobody else has, and goes idle with it again.
            let taker = loom::thread::spawn(move || {
                let mut idle = others.lock().expect("nobody panics");
                if *idle == 0 {
                    return true;
                }
                *idle -= 1;
                other.census.remove_idle();
                drop(idle);
                let mut idle = others.lock().expect("nobody panics");
                other.census.add_idle();
                *idle += 1;
                drop(idle);
                heavy_fence();
                other.public.load(Ordering::Acquire) != 0
            });
            let (other, others) = (model.clone(), lists.clone());
            let vain = loom::thread::spawn(move || wake_one(&other, &others));
            model.public.fetch_add(1, Ordering::Release);
            wake_one(&model, &lists);
            vain.join().expect("submitter");
            let seen = taker.join().expect("taker");
            assert!(seen || model.wakes.load(Ordering::SeqCst) >= 1, "nobody saw the work");
        });
    }
}
