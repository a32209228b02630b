//! The public types as others meet them: which may cross threads, and that all can be printed and used across a
//! caught panic as those of std can.
#![cfg(test)]

use std::cell::Cell;
use std::error::Error;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use gort::chan::{
    IntoIter, Iter, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryIter,
    TryRecvError, TrySendError,
};
use gort::inspect::{Dump, GoroutineInfo, GoroutineState, ProcessorStats, Stats};
use gort::runtime::{Guard, Info, PanicPolicy, Runtime, SpawnOrder};
use gort::sync::{
    Barrier, BarrierWaitResult, Condvar, Event, LazyLock, Mutex, MutexGuard, Once, OnceLock, OnceState,
    Permit, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, WaitGroup, WaitGroupToken,
    WaitTimeoutResult,
};
use gort::{
    AccessError, Goroutine, JoinHandle, LocalKey, Scope, ScopedJoinHandle, Select, SelectTimeoutError,
    ThreadLocals, TrySelectError,
};

/// Is a type of a trait? A constant: of the type itself if it is, else of [`Otherwise`].
struct Ask<T: ?Sized>(PhantomData<T>);

trait Otherwise {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T: ?Sized> Otherwise for Ask<T> {}

impl<T: ?Sized + Send> Ask<T> {
    const SEND: bool = true;
}

impl<T: ?Sized + Sync> Ask<T> {
    const SYNC: bool = true;
}

/// Checked by the compiler: a wrong line is an error at that line.
macro_rules! table {
    ($($type:ty: $send:literal, $sync:literal;)+) => {
        $(const _: () = {
            assert!(<Ask<$type>>::SEND == $send, concat!("Send: ", stringify!($type)));
            assert!(<Ask<$type>>::SYNC == $sync, concat!("Sync: ", stringify!($type)));
        };)+
    };
}

/// `Send`, not `Sync`.
type OneThread = Cell<u8>;
/// `Sync`, not `Send`.
type Stays = std::sync::MutexGuard<'static, u8>;
/// Neither.
type Neither = Rc<u8>;

table! {
    // That the table can tell.
    u8: true, true;
    OneThread: true, false;
    Stays: false, true;
    Neither: false, false;

    // A handle goes where its result may go; to share it gives out nothing of the result.
    JoinHandle<u8>: true, true;
    JoinHandle<OneThread>: true, true;
    JoinHandle<Stays>: false, false;
    JoinHandle<Neither>: false, false;
    ScopedJoinHandle<'static, u8>: true, true;
    ScopedJoinHandle<'static, OneThread>: true, true;
    ScopedJoinHandle<'static, Stays>: false, false;
    ScopedJoinHandle<'static, Neither>: false, false;

    Goroutine: true, true;
    gort::Builder: true, true;
    ThreadLocals: true, true;
    Runtime: true, true;
    gort::runtime::Builder: true, true;
    Info: true, true;
    SpawnOrder: true, true;

    // A key is a name; the values stay with their goroutines.
    LocalKey<u8>: true, true;
    LocalKey<OneThread>: true, true;
    LocalKey<Neither>: true, true;
    AccessError: true, true;

    // Its goroutines spawn in it.
    Scope<'static, 'static>: true, true;

    // Values pass through: they need not be shared.
    Sender<u8>: true, true;
    Sender<OneThread>: true, true;
    Sender<Stays>: false, false;
    Receiver<u8>: true, true;
    Receiver<OneThread>: true, true;
    Receiver<Stays>: false, false;
    Iter<'static, OneThread>: true, true;
    TryIter<'static, OneThread>: true, true;
    IntoIter<OneThread>: true, true;
    IntoIter<Neither>: false, false;
    SendError<OneThread>: true, false;
    SendTimeoutError<OneThread>: true, false;

    // A lock lends out what it guards: to one at a time, or to many. Its guards are the goroutine's, not the
    // thread's.
    Mutex<u8>: true, true;
    Mutex<OneThread>: true, true;
    Mutex<Stays>: false, false;
    MutexGuard<'static, u8>: true, true;
    MutexGuard<'static, OneThread>: true, false;
    MutexGuard<'static, Stays>: false, false;
    RwLock<u8>: true, true;
    RwLock<OneThread>: true, false;
    RwLock<Stays>: false, false;
    RwLockReadGuard<'static, u8>: true, true;
    RwLockReadGuard<'static, OneThread>: false, false;
    RwLockWriteGuard<'static, u8>: true, true;
    RwLockWriteGuard<'static, OneThread>: false, false;
    OnceLock<u8>: true, true;
    OnceLock<OneThread>: true, false;
    OnceLock<Stays>: false, false;
    LazyLock<u8>: true, true;
    LazyLock<OneThread>: true, false;
    LazyLock<Stays>: false, false;
    Once: true, true;
    OnceState: true, true;
    Condvar: true, true;
    WaitTimeoutResult: true, true;
    WaitGroup: true, true;
    WaitGroupToken: true, true;
    Barrier: true, true;
    BarrierWaitResult: true, true;
    Semaphore: true, true;
    Permit<'static>: true, true;
    Event: true, true;

    PanicPolicy: true, true;
    Guard: true, true;
    Dump: true, true;
    GoroutineInfo: true, true;
    GoroutineState: true, true;
    Stats: true, true;
    ProcessorStats: true, true;
}

/// Also where the lifetimes are not `'static`.
#[expect(dead_code, reason = "it is enough that it compiles")]
fn scopes_are_shared<'scope, 'env>(scope: &'scope Scope<'scope, 'env>, handle: ScopedJoinHandle<'scope, u8>) {
    fn both<T: Send + Sync>(_: &T) {}
    both(scope);
    both(&handle);
}

const _: () = {
    const fn error<T: Error + Send + Sync + 'static>() {}
    error::<AccessError>();
    error::<SelectTimeoutError>();
    error::<TrySelectError>();
    error::<RecvError>();
    error::<RecvTimeoutError>();
    error::<TryRecvError>();
    error::<SendError<u8>>();
    error::<SendTimeoutError<u8>>();
    error::<TrySendError<u8>>();
};

/// Those that hold values which cannot be printed can be printed all the same.
const _: () = {
    struct Silent;
    const fn debug<T: Debug + ?Sized>() {}
    debug::<JoinHandle<Silent>>();
    debug::<ScopedJoinHandle<'static, Silent>>();
    debug::<LocalKey<Silent>>();
    debug::<Scope<'static, 'static>>();
    debug::<(Goroutine, gort::Builder, ThreadLocals, AccessError)>();
    debug::<(Runtime, gort::runtime::Builder, Info, SpawnOrder, PanicPolicy, Guard)>();
    debug::<(Dump, GoroutineInfo, GoroutineState, Stats, ProcessorStats)>();
    debug::<(Sender<Silent>, Receiver<Silent>, Select<'static>)>();
    debug::<(SendError<Silent>, SendTimeoutError<Silent>, TrySendError<Silent>)>();
    debug::<(Once, OnceState, Condvar, WaitTimeoutResult, WaitGroup, WaitGroupToken)>();
    debug::<(Barrier, BarrierWaitResult, Semaphore, Permit<'static>, Event)>();
    // As with std: what is inside is printed, or could be.
    debug::<(Iter<'static, u8>, TryIter<'static, u8>, IntoIter<u8>)>();
    debug::<(Mutex<u8>, RwLock<u8>, OnceLock<u8>, LazyLock<u8>)>();
    debug::<(MutexGuard<'static, u8>, RwLockReadGuard<'static, u8>, RwLockWriteGuard<'static, u8>)>();
};

const _: () = {
    const fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
    unwind_safe::<(JoinHandle<OneThread>, Goroutine, Runtime, LocalKey<u8>)>();
    unwind_safe::<(Sender<OneThread>, Receiver<OneThread>)>();
    unwind_safe::<(OnceLock<u8>, LazyLock<u8>)>();
    unwind_safe::<(Once, Condvar, WaitGroup, WaitGroupToken, Barrier, Semaphore, Event)>();
};

#[test]
fn access_errors_can_be_boxed() {
    let error: Box<dyn Error + Send + Sync> = AccessError.into();
    assert_eq!(error.to_string(), "the goroutine-local value has been dropped");
}

#[test]
fn errors_say_what_happened_in_a_few_small_letters() {
    let errors: [(Box<dyn Error + Send + Sync>, &str); 4] = [
        (SendTimeoutError::Timeout(1).into(), "timed out sending on a channel"),
        (SendTimeoutError::Disconnected(1).into(), "sending on a closed channel"),
        (TrySelectError.into(), "no case of the select is ready"),
        (SelectTimeoutError.into(), "timed out waiting on a select"),
    ];
    for (error, text) in errors {
        assert_eq!(error.to_string(), text);
    }
}
