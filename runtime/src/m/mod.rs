//! F6. M: a worker, an OS thread.
//!
//! # Invariants
//!
//! 1. An M is made by the creator and never freed: late wakers may look at its word and inbox.
//! 2. It runs goroutines only while it holds a P (`p` non-null). `p` is set by whoever gives it one (who
//!    has won its word, `m::word`) and cleared by itself (or, later, by whoever retakes it).
//! 3. Fields in cells are touched by its own thread only: goroutines on it within no-preempt sections,
//!    its scheduler, nobody else. `idle` links are an exception: under the idle lists' lock.
//! 4. Goroutines that are bound to it wait in its inbox when they are ready: `local` for what its own
//!    thread readied (plain stores), `remote` for the others. They run nowhere else.

pub(crate) mod word;

#[cfg(not(loom))]
pub(crate) use record::M;

#[cfg(not(loom))]
mod record {
    use std::cell::{Cell, UnsafeCell};
    use std::mem::offset_of;
    use std::ptr::{self, NonNull};
    use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

    use super::word::Word;
    use crate::cur::{self, Head};
    use crate::g::{G, GRef, Owner};
    use crate::p::P;
    use crate::queue::{Inbox, Item, List};
    use crate::sys::futex;
    use crate::util::list::{Kind, Link};

    /// A worker.
    #[repr(C)]
    pub(crate) struct M {
        /// First: `cur` knows the M by it.
        head: Head,
        /// By which queues know it.
        link: Link,
        /// Its number: the thread is `gort-m<id>`.
        pub(crate) id: u32,
        /// Who may give it a P.
        pub(crate) word: Word,
        /// The P that it holds (invariant 2).
        p: AtomicPtr<P>,
        /// 1: a P was given, or it should look around.
        wakeup: AtomicU32,
        /// The goroutine that runs on it.
        pub(crate) g: AtomicPtr<G>,
        /// Ready goroutines that are bound to it, from other threads.
        pub(crate) remote: Inbox,
        /// The same, from its own thread. `local_len` mirrors the length.
        local: UnsafeCell<List>,
        local_len: AtomicUsize,
        /// The bound goroutine that its own thread readied last.
        next: Cell<Option<GRef>>,
        /// The new goroutine that the one that suspends wants to be run.
        pub(crate) handed: Cell<Option<GRef>>,
        /// Does it search, as counted by the scheduler's census?
        pub(crate) searching: Cell<bool>,
        /// How many living goroutines are bound to it.
        pub(crate) bound_count: Cell<u32>,
        /// How often it does not linger before it goes idle, and how often the next time in vain makes it
        /// (`sched::linger`).
        pub(crate) patience: Cell<u32>,
        pub(crate) next_patience: Cell<u32>,
        /// Sysmon has found that its thread stands still; the reporter takes it back (`standstill`).
        pub(crate) stands_still: AtomicBool,
        /// Its scheduler.
        pub(crate) owner: Owner,
        /// Its thread, 0 before it has started.
        pub(crate) tid: AtomicI32,
        /// Its links and place in the list of idle Ms (under that list's lock).
        pub(crate) idle_next: AtomicPtr<M>,
        pub(crate) idle_prev: AtomicPtr<M>,
        pub(crate) in_idle_list: AtomicBool,
        /// The M made before it in the same runtime.
        pub(crate) made_before: AtomicPtr<M>,
    }

    // SAFETY: invariant 3 keeps the cells to one thread; all else is atomic. `owner` is a plain address.
    unsafe impl Sync for M {}
    // SAFETY: as above.
    unsafe impl Send for M {}

    impl std::fmt::Debug for M {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("M").field("id", &self.id).field("word", &self.word).finish_non_exhaustive()
        }
    }

    impl M {
        /// An M whose thread is yet to start.
        pub(crate) fn new(id: u32, owner: Owner) -> Self {
            M {
                head: Head::new(),
                link: Link::new(Kind::M),
                id,
                word: Word::new(),
                p: AtomicPtr::new(ptr::null_mut()),
                wakeup: AtomicU32::new(0),
                g: AtomicPtr::new(ptr::null_mut()),
                remote: Inbox::new(),
                local: UnsafeCell::new(List::new()),
                local_len: AtomicUsize::new(0),
                next: Cell::new(None),
                handed: Cell::new(None),
                searching: Cell::new(false),
                bound_count: Cell::new(0),
                patience: Cell::new(0),
                next_patience: Cell::new(1),
                owner,
                stands_still: AtomicBool::new(false),
                tid: AtomicI32::new(0),
                idle_next: AtomicPtr::new(ptr::null_mut()),
                idle_prev: AtomicPtr::new(ptr::null_mut()),
                in_idle_list: AtomicBool::new(false),
                made_before: AtomicPtr::new(ptr::null_mut()),
            }
        }

        /// The M that this thread embodies. Valid until the next suspension (`cur`, invariant 2).
        #[inline(always)]
        pub(crate) fn current() -> Option<&'static M> {
            // SAFETY: a head in the thread's word is the first field of an M, which is never freed.
            unsafe { cur::head().cast::<M>().as_ref() }
        }

        /// The M of which `head` is the first field.
        ///
        /// # Safety
        ///
        /// `head` is null or came from an M.
        #[inline(always)]
        pub(crate) unsafe fn of_head(head: *const Head) -> Option<&'static M> {
            // SAFETY: the caller's promise; Ms are never freed (invariant 1).
            unsafe { head.cast::<M>().as_ref() }
        }

        /// The M of which `item` is the link.
        ///
        /// # Safety
        ///
        /// The item's kind is `Kind::M`.
        pub(crate) unsafe fn of_item(item: Item) -> &'static M {
            // SAFETY: the link is a field of an M (its kind says so), made by `item()` below with the
            // provenance of the whole M.
            unsafe { &*item.as_ptr().cast::<u8>().sub(offset_of!(M, link)).cast::<M>() }
        }

        /// By which queues know it.
        pub(crate) fn item(&'static self) -> Item {
            let base = ptr::from_ref(self).cast_mut().cast::<u8>();
            // SAFETY: within the M.
            let link = unsafe { base.add(offset_of!(M, link)).cast::<Link>() };
            // SAFETY: Ms are never freed (invariant 1).
            unsafe { Item::new(NonNull::new(link).expect("a field is not at address 0")) }
        }

        /// The part of it that the lowest floor knows.
        #[inline(always)]
        pub(crate) fn head(&self) -> &Head {
            &self.head
        }

        /// The P that it holds. Read in a no-preempt section, and again after every suspension.
        #[inline(always)]
        pub(crate) fn p(&self) -> Option<&'static P> {
            // SAFETY: Ps live as long as their scheduler, which is never freed. Acquire: pairs with the
            // Release in `give`.
            unsafe { self.p.load(Ordering::Acquire).as_ref() }
        }

        /// The goroutine that runs on it, or beneath which it sleeps, as anybody sees it.
        pub(crate) fn goroutine(&self) -> Option<GRef> {
            // SAFETY: null or a G, which is type-stable.
            unsafe { self.g.load(Ordering::Relaxed).as_ref() }
        }

        /// Takes note that it holds `p`. By its own thread.
        pub(crate) fn hold(&self, p: &'static P) {
            p.m.store(ptr::from_ref(&self.head).cast_mut(), Ordering::Relaxed);
            self.p.store(ptr::from_ref(p).cast_mut(), Ordering::Release);
        }

        /// Takes note that it holds none any more; returns what it held. By its own thread.
        pub(crate) fn let_go(&self) -> Option<&'static P> {
            // SAFETY: as in `p`. Relaxed: its own thread's field.
            let p = unsafe { self.p.load(Ordering::Relaxed).as_ref() };
            if let Some(p) = p {
                p.m.store(ptr::null_mut(), Ordering::Relaxed);
            }
            self.p.store(ptr::null_mut(), Ordering::Relaxed);
            p
        }

        /// Gives it a P and wakes it. By whoever won its word (`m::word`, invariant 1).
        pub(crate) fn give(&self, p: &'static P) {
            self.hold(p);
            self.wake();
        }

        /// Makes it look around.
        pub(crate) fn wake(&self) {
            // Release: pairs with the Acquire in `sleep_until`. The thread may go on at once; an M is
            // never freed, so the wake's address stays good.
            if self.wakeup.swap(1, Ordering::Release) == 0 {
                futex::wake(&self.wakeup, 1);
            }
        }

        /// Sleeps until `wake`, or to the deadline: false if that passed first. By its own thread.
        pub(crate) fn sleep_until(&self, deadline_ns: u64) -> bool {
            loop {
                // Acquire: pairs with the Release in `wake`.
                if self.wakeup.swap(0, Ordering::Acquire) == 1 {
                    return true;
                }
                if !futex::wait_until(&self.wakeup, 0, deadline_ns) {
                    return self.wakeup.swap(0, Ordering::Acquire) == 1;
                }
            }
        }

        /// Queues a bound goroutine that its own thread readied; it runs next. Own thread, np section.
        #[inline(always)]
        pub(crate) fn push_next(&self, g: GRef) {
            if let Some(before) = self.next.replace(Some(g)) {
                self.push_local(before);
            }
        }

        /// Is any bound goroutine in its next slot? Own thread only.
        pub(crate) fn has_next(&self) -> bool {
            self.next.get().is_some()
        }

        /// Takes the bound goroutine that was readied last. Own thread, np section.
        #[inline(always)]
        pub(crate) fn take_next(&self) -> Option<GRef> {
            self.next.take()
        }

        /// Queues a bound goroutine behind the others. Own thread, np section.
        #[inline(always)]
        pub(crate) fn push_local(&self, g: GRef) {
            // SAFETY: own thread only, in a section that no handler enters (invariant 3).
            let local = unsafe { &mut *self.local.get() };
            // SAFETY: Gs are type-stable.
            local.push_back(unsafe { Item::new(g.link()) });
            self.local_len.store(local.len(), Ordering::Relaxed);
        }

        /// Takes the bound goroutine that has waited longest. Own thread, np section.
        #[inline(always)]
        pub(crate) fn pop_local(&self) -> Option<GRef> {
            // SAFETY: as in `push_local`.
            let local = unsafe { &mut *self.local.get() };
            if local.is_empty() {
                if self.remote.is_empty() {
                    return None;
                }
                local.append(self.remote.take());
            }
            let item = local.pop_front();
            self.local_len.store(local.len(), Ordering::Relaxed);
            // SAFETY: only goroutines stand in an inbox.
            item.map(|item| unsafe { G::of_link(item.as_ptr()) })
        }

        /// Moves what others have readied behind what its own thread has. Own thread, np section.
        pub(crate) fn absorb_remote(&self) {
            if !self.remote.is_empty() {
                // SAFETY: as in `push_local`.
                let local = unsafe { &mut *self.local.get() };
                local.append(self.remote.take());
                self.local_len.store(local.len(), Ordering::Relaxed);
            }
        }

        /// Is anything that is bound to it ready? As its own thread sees it.
        pub(crate) fn has_bound_work(&self) -> bool {
            self.next.get().is_some() || self.local_len() != 0 || !self.remote.is_empty()
        }

        /// Is it idle, or on its way to be, as anybody sees it?
        pub(crate) fn is_available(&'static self) -> bool {
            self.word.is_idle() || (self.word.is_running() && self.p().is_none())
        }

        /// Are goroutines that are bound to it ready, but for the one that it runs? As anybody sees it.
        pub(crate) fn has_others_waiting(&self) -> bool {
            self.local_len() != 0 || !self.remote.is_empty()
        }

        /// How many bound goroutines are ready in its local queue, as anybody sees it.
        pub(crate) fn local_len(&self) -> usize {
            self.local_len.load(Ordering::Relaxed)
        }
    }
}
