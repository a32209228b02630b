//! Who holds what, and who waits for what; the search for a cycle.
//!
//! Two lists under one [`Lock`], beneath which nothing is allocated or freed: they grow outside, and what is
//! taken out of them is dropped outside. Every operation looks through a list from one end to the other.
//! *Rejected:* hash tables. This is for tests, in which few goroutines hold or wait at a time.
#![forbid(unsafe_code)]

use std::panic::Location;

use gort_runtime::Goroutine;
use gort_runtime::waiter::Lock;

/// In which way something is held, or in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// By one, or a writer that waits for the readers to leave: nobody else gets in.
    Alone,
    /// By each of the readers.
    Shared,
}

/// Somebody holds something.
pub(super) struct Held {
    pub(super) who: Goroutine,
    pub(super) object: usize,
    pub(super) hold: Hold,
    pub(super) site: &'static Location<'static>,
}

/// Somebody waits.
#[derive(Clone)]
pub(super) struct Waits {
    pub(super) who: Goroutine,
    pub(super) target: Target,
    pub(super) site: &'static Location<'static>,
}

/// What for.
#[derive(Clone)]
pub(super) enum Target {
    /// For all to go away who hold the object, which is called so, in this way.
    Object { object: usize, hold: Hold, what: &'static str },
    /// For the end of a goroutine.
    End(Goroutine),
}

/// One of a cycle: it waits for the end of the next one, or for something that the next one holds; the last for
/// the first.
pub(super) struct Member {
    pub(super) waits: Waits,
    /// Where the next one has taken that.
    pub(super) taken_at: Option<&'static Location<'static>>,
}

/// One whom the search has reached: its place in `waiting`; by which step; where it took what that one waits for.
struct Step {
    waiting: usize,
    from: usize,
    taken_at: Option<&'static Location<'static>>,
}

struct Table {
    held: Vec<Held>,
    waiting: Vec<Waits>,
}

static TABLE: Lock<Table> = Lock::new(Table { held: Vec::new(), waiting: Vec::new() });

/// Notes that somebody holds something.
pub(super) fn hold(held: Held) {
    // If somebody is noted as alone in there, that is out of date: the lock that was at this address before
    // died with its guard forgotten.
    while take_held(|other| other.object == held.object && other.hold == Hold::Alone) {}
    add(|table| &mut table.held, held);
}

/// Strikes off that somebody held something: `who`, unless it had the guard from another.
pub(super) fn release(object: usize, hold: Hold, who: &Goroutine) {
    let fits = |held: &Held| held.object == object && held.hold == hold;
    if !take_held(|held| fits(held) && held.who == *who) {
        take_held(fits);
    }
}

/// Takes the newest entry out that is so, if there is one.
fn take_held(is_so: impl Fn(&Held) -> bool) -> bool {
    let mut table = TABLE.lock();
    let place = table.held.iter().rposition(is_so);
    let entry = place.map(|place| table.held.swap_remove(place));
    drop(table);
    // (And now the entry, which may own a name.)
    entry.is_some()
}

/// Notes that somebody waits. Returns the cycle that it closes, itself first; else nothing.
pub(super) fn wait(waits: Waits) -> Vec<Member> {
    let who = waits.who.clone();
    add(|table| &mut table.waiting, waits);
    let (mut steps, mut cycle) = (Vec::new(), Vec::new());
    loop {
        let table = TABLE.lock();
        let room = table.waiting.len();
        if steps.capacity() >= room && cycle.capacity() >= room {
            table.search(&who, &mut steps, &mut cycle);
            drop(table);
            return cycle;
        }
        drop(table);
        steps.reserve(room);
        cycle.reserve(room);
    }
}

/// Strikes off that somebody waits.
pub(super) fn go_on(who: &Goroutine) {
    let mut table = TABLE.lock();
    let place = table.waiting.iter().position(|waits| waits.who == *who);
    let entry = place.map(|place| table.waiting.swap_remove(place));
    drop(table);
    drop(entry);
}

/// Adds an entry to a list, which is made bigger outside of the lock if need be.
fn add<T>(list: impl Fn(&mut Table) -> &mut Vec<T>, entry: T) {
    loop {
        let mut table = TABLE.lock();
        let full = list(&mut table);
        if full.len() < full.capacity() {
            full.push(entry);
            return;
        }
        let capacity = full.capacity();
        drop(table);
        let mut bigger = Vec::with_capacity((2 * capacity).max(64));
        let mut table = TABLE.lock();
        let full = list(&mut table);
        // Somebody may have done it meanwhile.
        if full.capacity() < bigger.capacity() {
            bigger.append(full);
            std::mem::swap(full, &mut bigger);
        }
        drop(table);
        // (And now the old one.)
    }
}

impl Table {
    /// From who waits to whoever that one waits for, if it waits too, and so on, breadth first, until `first`
    /// is reached again. Allocates nothing: both lists have room for all who wait.
    fn search(&self, first: &Goroutine, steps: &mut Vec<Step>, cycle: &mut Vec<Member>) {
        let Some(waiting) = self.place(first) else { return };
        steps.push(Step { waiting, from: 0, taken_at: None });
        let mut at = 0;
        while at < steps.len() {
            let closed = match &self.waiting[steps[at].waiting].target {
                Target::End(next) => self.reach(first, next, None, at, steps).then_some(None),
                Target::Object { object, hold, .. } => {
                    let mut holders =
                        self.held.iter().filter(|held| held.object == *object && held.hold == *hold);
                    let closing =
                        holders.find(|held| self.reach(first, &held.who, Some(held.site), at, steps));
                    closing.map(|held| Some(held.site))
                }
            };
            if let Some(taken_at) = closed {
                self.trace(at, taken_at, steps, cycle);
                return;
            }
            at += 1;
        }
    }

    /// Step `at` leads to `next`: true if that is `first`. Else the search goes on from there, if it waits.
    fn reach(
        &self,
        first: &Goroutine,
        next: &Goroutine,
        taken_at: Option<&'static Location<'static>>,
        at: usize,
        steps: &mut Vec<Step>,
    ) -> bool {
        if next == first {
            return true;
        }
        if let Some(waiting) = self.place(next)
            && steps.iter().all(|step| step.waiting != waiting)
        {
            steps.push(Step { waiting, from: at, taken_at });
        }
        false
    }

    /// Where this one stands among those who wait.
    fn place(&self, who: &Goroutine) -> Option<usize> {
        self.waiting.iter().position(|waits| waits.who == *who)
    }

    /// The cycle whose last member was reached at step `at`, and waits for what was taken there.
    fn trace(
        &self,
        mut at: usize,
        mut taken_at: Option<&'static Location<'static>>,
        steps: &[Step],
        cycle: &mut Vec<Member>,
    ) {
        loop {
            let step = &steps[at];
            cycle.push(Member { waits: self.waiting[step.waiting].clone(), taken_at });
            if at == 0 {
                break;
            }
            (at, taken_at) = (step.from, step.taken_at);
        }
        cycle.reverse();
    }
}
