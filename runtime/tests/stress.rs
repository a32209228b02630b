//! Everything at once, at random: run over and over by `ci/stress.sh`, each time with another seed.
//!
//! Each test shares `GORT_STRESS_SECONDS` (1) among its settings. A setting is printed with its seed, and
//! `GORT_SEED` repeats its random choices; a run that is cut off by the time has made the first of them.
#![cfg(test)]

mod fixture;

use std::cell::{Cell, RefCell};
use std::hint::spin_loop;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fixture::{MODES, Rng, Setting, until};
use gort_runtime::waiter::{WaitReason, Waker, Woken, wait};
use gort_runtime::{
    Builder, Goroutine, current, grow, local, max_procs, num_goroutines, park, park_timeout, scope,
    set_max_procs, sleep, spawn, yield_now,
};

const PROCS: [usize; 3] = [1, 2, 4];

/// Who counts the tickets that are alive.
#[derive(Clone, Default)]
struct Tickets(Arc<AtomicUsize>);

/// What every closure, and every result, owns one of.
struct Ticket(Arc<AtomicUsize>);

impl Tickets {
    fn take(&self) -> Ticket {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ticket(Arc::clone(&self.0))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // A ticket that is dropped twice makes the number huge, and the test fail.
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs rounds of `body` in each setting until its share of the time is over: two at least. All goroutines
/// of a round have ended before the next.
fn stress(body: impl Fn(Setting, &mut Rng, &Tickets) + Sync) {
    let seconds = std::env::var("GORT_STRESS_SECONDS").map_or(1.0, |text| text.parse().expect("a number"));
    let share = Duration::from_secs_f64(seconds / (PROCS.len() * MODES.len()) as f64);
    for mode in MODES {
        for procs in PROCS {
            let setting = Setting::new(procs, mode);
            let rounds = setting.check(|| {
                let (tickets, start) = (Tickets::default(), Instant::now());
                let mut rounds = 0;
                while rounds < 2 || start.elapsed() < share {
                    rounds += 1;
                    body(setting, &mut setting.rng(rounds), &tickets);
                    until(|| num_goroutines() == 1);
                    assert_eq!(
                        tickets.0.load(Ordering::SeqCst),
                        0,
                        "what the closures owned, round {rounds}"
                    );
                }
                rounds
            });
            println!("  {rounds} rounds");
        }
    }
}

/// Up to `below` microseconds.
fn micros(rng: &mut Rng, below: u64) -> Duration {
    Duration::from_nanos(rng.below(below * 1_000))
}

/// A foreign thread of the test. It is joined without holding up the goroutines of the caller's thread.
fn join_thread(thread: thread::JoinHandle<()>) {
    until(|| thread.is_finished());
    thread.join().expect("no panic");
}

local! {
    static NUMBER: Cell<u64> = Cell::new(0);
    static OWNED: RefCell<Vec<Ticket>> = RefCell::new(Vec::new());
}

/// Whom to wake, and what to set before.
type Call = (Goroutine, Arc<AtomicBool>, Ticket);

/// What the actors of one round have in common.
#[derive(Clone)]
struct Stage {
    tickets: Tickets,
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    /// Goroutines that are alive, or have been: whoever parks must expect to be woken without a reason.
    bag: Arc<Mutex<Vec<Goroutine>>>,
    /// To the foreign thread.
    wake: mpsc::Sender<Call>,
}

impl Stage {
    /// A goroutine's life. Its result says whose it was.
    fn actor(&self, seed: u64, depth: u32) -> impl FnOnce() -> (u64, Ticket) + Send + 'static + use<> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let (stage, ticket) = (self.clone(), self.tickets.take());
        move || {
            let mut rng = Rng::new(seed);
            NUMBER.with(|number| assert_eq!(number.replace(seed), 0, "a fresh one"));
            for _ in 0..1 + rng.below(5) {
                stage.act(&mut rng, depth);
                NUMBER.with(|number| assert_eq!(number.get(), seed, "of another goroutine"));
            }
            // Not counted if it panics before: so a failure of a goroutine that nobody joins is noticed.
            stage.ended.fetch_add(1, Ordering::SeqCst);
            (seed, ticket)
        }
    }

    /// Parks until it is so, or polls with a timeout.
    fn park_until(rng: &mut Rng, is_so: &AtomicBool) {
        // Not zero: `park_timeout(ZERO)` only looks for a token, and a loop of it lets nobody else run.
        let timeout = (rng.below(3) == 0).then(|| Duration::from_nanos(1) + micros(rng, 100));
        while !is_so.load(Ordering::SeqCst) {
            timeout.map_or_else(park, park_timeout);
        }
    }

    fn act(&self, rng: &mut Rng, depth: u32) {
        match rng.below(if depth == 0 { 9 } else { 18 }) {
            0 => (0..rng.below(4)).for_each(|_| yield_now()),
            1 => sleep(micros(rng, 100)),
            2 => park_timeout(micros(rng, 100)),
            3 => (0..rng.below(5_000)).for_each(|_| spin_loop()),
            4 => OWNED.with(|owned| owned.borrow_mut().push(self.tickets.take())),
            5 => self.deep(rng.below(150)),
            6 => self.shake_the_bag(rng),
            7 => self.woken_by_a_thread(rng),
            8 => self.woken_by_a_child(rng),
            9 | 10 => self.join_one(rng, depth),
            11 => (0..rng.below(4)).for_each(|_| drop(spawn(self.actor(rng.next(), depth - 1)))),
            12 => self.join_many(rng, depth),
            13 => self.scoped(rng, depth),
            14 => self.panics(rng),
            15 => self.named(rng, depth),
            16 => self.polled(rng, depth),
            _ => self.joined_by_another(rng, depth),
        }
    }

    /// Needs more stack than there is, the deeper the more, and suspends at the bottom.
    fn deep(&self, depth: u64) {
        let frame = std::hint::black_box([depth; 256]);
        if depth == 0 {
            yield_now();
        } else {
            grow(|| self.deep(depth - 1));
        }
        assert!(frame.iter().all(|word| *word == depth));
    }

    /// Puts the caller in, and wakes somebody who did not ask for it.
    fn shake_the_bag(&self, rng: &mut Rng) {
        let me = current();
        let woken = {
            let mut bag = self.bag.lock().unwrap();
            if bag.len() < 64 {
                bag.push(me);
            } else {
                bag[rng.below(64) as usize] = me;
            }
            let place = rng.below(bag.len() as u64) as usize;
            bag[place].clone()
        };
        woken.unpark();
    }

    fn woken_by_a_thread(&self, rng: &mut Rng) {
        let set = Arc::new(AtomicBool::new(false));
        self.wake.send((current(), Arc::clone(&set), self.tickets.take())).expect("the thread listens");
        Self::park_until(rng, &set);
    }

    fn woken_by_a_child(&self, rng: &mut Rng) {
        let (set, ticket) = (Arc::new(AtomicBool::new(false)), self.tickets.take());
        let (me, also, yields) = (current(), Arc::clone(&set), rng.below(3));
        drop(spawn(move || {
            (0..yields).for_each(|_| yield_now());
            also.store(true, Ordering::SeqCst);
            me.unpark();
            drop(ticket);
        }));
        Self::park_until(rng, &set);
    }

    fn join_one(&self, rng: &mut Rng, depth: u32) {
        let seed = rng.next();
        assert_eq!(spawn(self.actor(seed, depth - 1)).join().unwrap().0, seed);
    }

    fn join_many(&self, rng: &mut Rng, depth: u32) {
        let seeds: Vec<_> = (0..rng.below(6)).map(|_| rng.next()).collect();
        let mut handles: Vec<_> =
            seeds.iter().map(|seed| (*seed, spawn(self.actor(*seed, depth - 1)))).collect();
        while !handles.is_empty() {
            let (seed, handle) = handles.swap_remove(rng.below(handles.len() as u64) as usize);
            match rng.below(4) {
                0 => drop(handle),
                _ => assert_eq!(handle.join().unwrap().0, seed),
            }
        }
    }

    fn scoped(&self, rng: &mut Rng, depth: u32) {
        let mut places = vec![0; rng.below(5) as usize];
        let count = places.len();
        let acts = AtomicUsize::new(0);
        scope(|s| {
            for place in &mut places {
                let (acts, ticket, mut own) = (&acts, self.tickets.take(), Rng::new(rng.next()));
                let handle = s.spawn(move || {
                    let _ticket = ticket;
                    self.act(&mut own, depth - 1);
                    *place = 1;
                    acts.fetch_add(1, Ordering::SeqCst);
                });
                match rng.below(3) {
                    0 => handle.join().unwrap(),
                    1 => yield_now(),
                    _ => {}
                }
            }
        });
        assert_eq!((acts.into_inner(), places.iter().sum::<usize>()), (count, count));
    }

    /// The panic is the joiner's; what unwinds waits on the way.
    fn panics(&self, rng: &mut Rng) {
        struct Waits {
            timeout: Option<Duration>,
            _ticket: Ticket,
        }
        impl Drop for Waits {
            fn drop(&mut self) {
                // Not `assert!`: a second panic would abort without a word.
                let before = thread::panicking();
                self.timeout.map_or_else(yield_now, sleep);
                if !(before && thread::panicking()) {
                    eprintln!("the panic has been left on another thread");
                    std::process::abort();
                }
            }
        }
        let number = rng.next();
        let how = match rng.below(4) {
            0 => Some(None),
            1 => Some(Some(micros(rng, 50))),
            _ => None,
        };
        let waits = how.map(|timeout| Waits { timeout, _ticket: self.tickets.take() });
        let (ticket, payload) = (self.tickets.take(), self.tickets.take());
        let failed = spawn(move || {
            let (_ticket, _waits) = (ticket, waits);
            OWNED.with(|owned| assert!(owned.borrow().is_empty(), "a fresh one"));
            resume_unwind(Box::new((number, payload)));
        });
        let caught = failed.join().map_or_else(|payload| payload, |()| unreachable!("it panics"));
        let (found, _payload) = *caught.downcast::<(u64, Ticket)>().expect("our payload");
        assert_eq!(found, number);
        assert!(!thread::panicking(), "somebody else's panic");
    }

    /// With a name, and on stacks of all sizes.
    fn named(&self, rng: &mut Rng, depth: u32) {
        let (seed, bytes) = (rng.next(), (64 << 10) << rng.below(6));
        let name = format!("goroutine {seed}");
        let body = self.actor(seed, depth - 1);
        let check = name.clone();
        let spawned = Builder::new().name(name.clone()).stack_size(bytes).spawn(move || {
            assert_eq!(current().name(), Some(&*check));
            let result = body();
            assert_eq!(current().name(), Some(&*check));
            result
        });
        let handle = spawned.unwrap();
        assert_eq!(handle.goroutine().name(), Some(&*name));
        if rng.below(2) == 0 {
            assert_eq!(handle.join().unwrap().0, seed);
        }
    }

    fn polled(&self, rng: &mut Rng, depth: u32) {
        let seed = rng.next();
        let handle = spawn(self.actor(seed, depth - 1));
        until(|| handle.is_finished());
        if rng.below(2) == 0 {
            assert_eq!(handle.join().unwrap().0, seed);
        }
    }

    fn joined_by_another(&self, rng: &mut Rng, depth: u32) {
        let (seed, ticket) = (rng.next(), self.tickets.take());
        let handle = spawn(self.actor(seed, depth - 1));
        let joiner = spawn(move || (handle.join().unwrap(), ticket));
        if rng.below(2) == 0 {
            assert_eq!(joiner.join().unwrap().0.0, seed);
        }
    }
}

/// A thread that wakes whom it is told to, now or a little later.
fn waking_thread(seed: u64) -> (mpsc::Sender<Call>, thread::JoinHandle<()>) {
    let (tx, rx) = mpsc::channel::<Call>();
    let thread = thread::spawn(move || {
        let mut rng = Rng::new(seed);
        while let Ok((goroutine, set, ticket)) = rx.recv() {
            match rng.below(4) {
                0 => goroutine.unpark(),
                1 => (0..rng.below(2_000)).for_each(|_| spin_loop()),
                2 => sleep(micros(&mut rng, 50)),
                _ => {}
            }
            drop(ticket);
            set.store(true, Ordering::SeqCst);
            goroutine.unpark();
        }
    });
    (tx, thread)
}

#[test]
fn stress_mix() {
    stress(|_, rng, tickets| {
        let (wake, thread) = waking_thread(rng.next());
        let stage = Stage {
            tickets: tickets.clone(),
            begun: Arc::default(),
            ended: Arc::default(),
            bag: Arc::default(),
            wake,
        };
        let actors: Vec<_> = (0..1 + rng.below(12))
            .map(|_| {
                let seed = rng.next();
                (seed, spawn(stage.actor(seed, 4)))
            })
            .collect();
        for (seed, actor) in actors {
            match rng.below(4) {
                0 => drop(actor),
                _ => assert_eq!(actor.join().unwrap().0, seed),
            }
        }
        until(|| num_goroutines() == 1);
        let (begun, ended) = (stage.begun.load(Ordering::SeqCst), stage.ended.load(Ordering::SeqCst));
        assert_eq!(begun, ended, "some panicked or were lost: see above");
        drop(stage);
        join_thread(thread);
    });
}

/// Where somebody waits, and what became of the waits.
#[derive(Default)]
struct Place {
    waker: Mutex<Option<Waker<Ticket>>>,
    sent: AtomicUsize,
    let_down: AtomicUsize,
}

impl Place {
    /// So many waits, of which the deadline or the contenders end each; all by the deadline if there are
    /// no contenders.
    fn waits(&self, waits: usize, rng: &mut Rng, contenders: usize) {
        let (mut values, mut let_down) = (0, 0);
        for _ in 0..waits {
            let timeout = (contenders == 0 || rng.below(4) != 0).then(|| micros(rng, 30));
            let deadline = timeout.map(|timeout| Instant::now() + timeout);
            let woken = wait(WaitReason::Other, deadline, |waker| {
                *self.waker.lock().unwrap() = Some(waker);
                true
            });
            match woken {
                Woken::Value(_ticket) => values += 1,
                Woken::LetDown => let_down += 1,
                Woken::TimedOut => assert!(deadline.is_some_and(|deadline| deadline <= Instant::now())),
                Woken::Unpublished => unreachable!("it was published"),
            }
        }
        // Whoever has claimed has counted before it woke.
        let counted = (self.sent.load(Ordering::SeqCst), self.let_down.load(Ordering::SeqCst));
        assert_eq!(counted, (values, let_down), "handed over, and let down");
    }

    /// Tries to end the present wait. The waker stays: later on it is a stale one.
    fn contend(&self, rng: &mut Rng, tickets: &Tickets) {
        let Some(claim) = self.waker.lock().unwrap().and_then(Waker::claim) else { return };
        if rng.below(3) == 0 {
            self.let_down.fetch_add(1, Ordering::SeqCst);
            drop(claim);
        } else {
            self.sent.fetch_add(1, Ordering::SeqCst);
            claim.wake(tickets.take());
        }
    }
}

/// Credits for a goroutine that parks: what was given arrives.
#[derive(Default)]
struct Account {
    credits: AtomicUsize,
    owner: Mutex<Option<Goroutine>>,
}

impl Account {
    /// Parks until so much has been given.
    fn receive(&self, total: usize, rng: &mut Rng) {
        *self.owner.lock().unwrap() = Some(current());
        let mut received = 0;
        loop {
            received += self.credits.swap(0, Ordering::SeqCst);
            if received == total {
                break;
            }
            match rng.below(4) {
                0 => park_timeout(micros(rng, 30)),
                _ => park(),
            }
        }
    }

    fn give(&self) {
        self.credits.fetch_add(1, Ordering::SeqCst);
        let owner = self.owner.lock().unwrap().clone();
        if let Some(owner) = owner {
            owner.unpark();
        }
    }
}

/// Ends the waits at all places, and gives `gifts` to each account, until it is over.
fn contend_everywhere(
    mut rng: Rng,
    gifts: usize,
    places: &[Place],
    accounts: &[Account],
    tickets: &Tickets,
    over: &AtomicBool,
) {
    let mut due: Vec<usize> = (0..accounts.len()).flat_map(|account| vec![account; gifts]).collect();
    while !over.load(Ordering::SeqCst) || !due.is_empty() {
        for _ in 0..1 + rng.below(8) {
            if !due.is_empty() {
                accounts[due.swap_remove(rng.below(due.len() as u64) as usize)].give();
            }
            places[rng.below(places.len() as u64) as usize].contend(&mut rng, tickets);
        }
        // Also on a foreign thread.
        match rng.below(8) {
            0 => sleep(micros(&mut rng, 20)),
            1 => (0..rng.below(500)).for_each(|_| spin_loop()),
            _ => yield_now(),
        }
    }
}

#[test]
fn stress_wakes() {
    stress(|_, rng, tickets| {
        let parties = 1 + rng.below(4) as usize;
        let (goroutines, threads) = (rng.below(4) as usize, rng.below(3) as usize);
        let contenders = goroutines + threads;
        let (waits, gifts) = (100, 30);
        let places: Arc<Vec<Place>> = Arc::new((0..parties).map(|_| Place::default()).collect());
        let accounts: Arc<Vec<Account>> = Arc::new((0..parties).map(|_| Account::default()).collect());
        let over = Arc::new(AtomicBool::new(false));
        let contender = |own: Rng| {
            let (places, accounts, tickets) = (Arc::clone(&places), Arc::clone(&accounts), tickets.clone());
            let (over, ticket) = (Arc::clone(&over), tickets.take());
            move || {
                contend_everywhere(own, gifts, &places, &accounts, &tickets, &over);
                drop(ticket);
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| thread::spawn(contender(Rng::new(rng.next())))).collect();
        let goroutines: Vec<_> = (0..goroutines).map(|_| spawn(contender(Rng::new(rng.next())))).collect();
        scope(|s| {
            for (place, account) in places.iter().zip(accounts.iter()) {
                let (mut one, mut other) = (Rng::new(rng.next()), Rng::new(rng.next()));
                let (ticket, another) = (tickets.take(), tickets.take());
                s.spawn(move || {
                    place.waits(waits, &mut one, contenders);
                    drop(ticket);
                });
                s.spawn(move || {
                    account.receive(gifts * contenders, &mut other);
                    drop(another);
                });
            }
        });
        over.store(true, Ordering::SeqCst);
        goroutines.into_iter().for_each(|goroutine| goroutine.join().unwrap());
        threads.into_iter().for_each(join_thread);
        assert!(accounts.iter().all(|account| account.credits.load(Ordering::SeqCst) == 0));
    });
}

/// One of the many that run while the number of processors changes. Returns how many it has been: it and
/// those it has spawned.
fn weather(mut rng: Rng, depth: u32, tickets: &Tickets) -> usize {
    let mut count = 1;
    for _ in 0..1 + rng.below(4) {
        match rng.below(if depth == 0 { 5 } else { 8 }) {
            0 => yield_now(),
            1 => (0..rng.below(5_000)).for_each(|_| spin_loop()),
            kind @ (2 | 3) => {
                let (timeout, start) = (micros(&mut rng, 300), Instant::now());
                match kind {
                    2 => sleep(timeout),
                    _ => park_timeout(timeout),
                }
                assert!(start.elapsed() >= timeout, "nobody wakes it before");
            }
            4 => {
                // A timer that is taken out again, from wherever it is by now.
                let (ticket, yields) = (tickets.take(), rng.below(3));
                let sleeper = spawn(move || {
                    park_timeout(Duration::from_secs(3_600));
                    drop(ticket);
                });
                (0..yields).for_each(|_| yield_now());
                sleeper.goroutine().unpark();
                sleeper.join().unwrap();
            }
            _ => {
                let handles: Vec<_> = (0..1 + rng.below(4))
                    .map(|_| {
                        let (own, ticket, tickets) = (Rng::new(rng.next()), tickets.take(), tickets.clone());
                        spawn(move || (weather(own, depth - 1, &tickets), ticket))
                    })
                    .collect();
                count += handles.into_iter().map(|handle| handle.join().unwrap().0).sum::<usize>();
            }
        }
    }
    count
}

#[test]
fn stress_processors() {
    stress(|setting, rng, tickets| {
        let over = Arc::new(AtomicBool::new(false));
        let most = 1 + rng.below(8);
        let changers: Vec<_> = (0..1 + rng.below(3))
            .map(|_| {
                let (mut rng, over, ticket) = (Rng::new(rng.next()), Arc::clone(&over), tickets.take());
                spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        let before = set_max_procs(1 + rng.below(most) as usize).unwrap();
                        assert!((1..=8).contains(&before));
                        match rng.below(4) {
                            0 => sleep(micros(&mut rng, 100)),
                            1 => park_timeout(micros(&mut rng, 100)),
                            _ => yield_now(),
                        }
                    }
                    drop(ticket);
                })
            })
            .collect();
        // What nobody joins must have run, too.
        let (begun, ended) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let detached = |own: Rng, depth: u32| {
            begun.fetch_add(1, Ordering::SeqCst);
            let (ended, ticket, tickets) = (Arc::clone(&ended), tickets.take(), tickets.clone());
            drop(spawn(move || {
                weather(own, depth, &tickets);
                ended.fetch_add(1, Ordering::SeqCst);
                drop(ticket);
            }));
        };
        for _ in 0..5 {
            (0..rng.below(40)).for_each(|_| detached(Rng::new(rng.next()), 1));
            assert!(weather(Rng::new(rng.next()), 3, tickets) >= 1);
        }
        over.store(true, Ordering::SeqCst);
        changers.into_iter().for_each(|changer| changer.join().unwrap());
        until(|| num_goroutines() == 1);
        assert_eq!(begun.into_inner(), ended.load(Ordering::SeqCst), "some panicked or were lost: see above");
        set_max_procs(setting.procs).unwrap();
        assert_eq!(max_procs(), setting.procs);
    });
}
