//! `select!` and `select_biased!`: a thin skin over [`Select`](super::Select).
//!
//! # How they expand
//!
//! The internal macro munches one arm at a time into a list of normalised arms, and then writes all out at
//! once. Each step of the recursion names the arm's slot and number by identifiers of its own (`slot`,
//! `case`: hygiene makes them differ from step to step), so there is no limit but the compiler's.
//!
//! ```text
//!   select! {                         {
//!     recv(r) -> m => A,                  let (chan0, mut slot0) = (&r, None);
//!     send(s, v) -> x => B,       =>      let (chan1, mut slot1) = (&s, Some(v));
//!     default(d) => C,                    let timeout = d;
//!   }                                     let (case0, case1);
//!                                         let done = { let mut select = Select::new();
//!                                                      case0 = select.recv(chan0, &mut slot0); .. };
//!                                         if done == Ok(case0) { let m = slot0..; A }
//!                                         else if done == Ok(case1) { let x = slot1..; B }
//!                                         else { C }
//!                                     }
//! ```
//!
//! Operands are evaluated in the order in which they stand, channel before value, once, before anything is
//! locked; the timeout last. Bodies stand in no closure and no loop: `break`, `continue`, `return` and `?`
//! mean what they mean around the macro. What is not a local is named from `::core` or `$crate`: the user may
//! have a `Some` or an `Ok` of another kind in scope. What a channel operand borrows must live as long as the
//! `select!`: a lock guard within an operand is an error of the compiler, not a lock held while waiting.
#![forbid(unsafe_code)]

/// Waits until one of several channel operations can be done, does it, and runs its arm.
///
/// ```text
/// select! {
///     recv(receiver) -> message => body,         // message: Result<T, RecvError>
///     send(sender, value) -> result => body,     // result: Result<(), SendError<T>>
///     default => body,                           // at most one of these two
///     default(timeout) => body,                  // timeout: Duration
/// }
/// ```
///
/// Exactly one arm runs. If several operations are ready, each is equally likely to be done
/// ([`select_biased!`](crate::select_biased): the first one is); readiness is looked at for all at one
/// instant. An operation on a closed channel is ready, and fails. `default` runs if no operation is ready at that
/// instant, `default(timeout)` if none has become ready within the time. Without arms, or if all channels
/// are [`never`](crate::chan::never) ones, it waits for ever.
///
/// All operands are evaluated once, in the order in which they stand, the timeout last, before waiting: also
/// those of arms that are not chosen, whose values are dropped at the end. Channel operands may be ends,
/// references to ends, or what derefs to an end.
///
/// The commas behind blocks, and behind the last arm, may be left out. The value of the body is the value of
/// the macro.
///
/// # Blocking
///
/// Without `default` it blocks the goroutine; on a thread that is none, the thread.
///
/// # Examples
///
/// ```
/// use gort_sync::{chan, select};
///
/// gort_runtime::run(|| {
///     let (numbers_tx, numbers) = chan::bounded(0);
///     let (quit_tx, quit) = chan::bounded::<()>(0);
///     gort_runtime::spawn(move || {
///         for _ in 0..10 {
///             numbers.recv().expect("it is open");
///         }
///         drop(quit_tx);
///     });
///     let (mut x, mut y) = (0, 1);
///     loop {
///         select! {
///             send(numbers_tx, x) -> result => {
///                 result.expect("it is open");
///                 (x, y) = (y, x + y);
///             }
///             recv(quit) -> _ => break,
///         }
///     }
///     assert_eq!(x, 55);
/// });
/// ```
///
/// With a timeout, and with a value:
///
/// ```
/// use gort_sync::{chan, select};
/// use std::time::Duration;
///
/// let (_tx, rx) = chan::bounded::<u32>(1);
/// let answer = select! {
///     recv(rx) -> message => message.ok(),
///     default(Duration::from_millis(1)) => None,
/// };
/// assert_eq!(answer, None);
/// ```
///
/// The commonest mistakes are named:
///
/// ```compile_fail
/// # let (tx, rx) = gort_sync::chan::unbounded::<i32>();
/// gort_sync::select! { recv(rx) => {} } // error: `-> message` is missing
/// ```
///
/// ```compile_fail
/// # let (tx, rx) = gort_sync::chan::unbounded::<i32>();
/// gort_sync::select! { default => {}, default => {} } // error: two `default` arms
/// ```
#[macro_export]
macro_rules! select {
    ($($arms:tt)*) => { $crate::__select!(@arm new () () $($arms)*) };
}

/// As [`select!`](crate::select), but of several operations that are ready the first one in source order is
/// done.
///
/// # Examples
///
/// ```
/// use gort_sync::{chan, select_biased};
///
/// let (urgent_tx, urgent) = chan::unbounded();
/// let (other_tx, other) = chan::unbounded();
/// other_tx.send("later")?;
/// urgent_tx.send("now")?;
/// for expected in ["now", "later"] {
///     select_biased! {
///         recv(urgent) -> message => assert_eq!(message, Ok(expected)),
///         recv(other) -> message => assert_eq!(message, Ok(expected)),
///     }
/// }
/// # Ok::<(), chan::SendError<&str>>(())
/// ```
#[macro_export]
macro_rules! select_biased {
    ($($arms:tt)*) => { $crate::__select!(@arm new_biased () () $($arms)*) };
}

/// `@arm how (normalised arms) (default) rest`: see the head of the file.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // An arm whose body is a block; then one that ends with a comma; then the last one.
    (@arm $how:ident $arms:tt $default:tt recv($channel:expr $(,)?) -> $result:pat => $body:block $(, $($rest:tt)*)?) => {
        $crate::__select!(@add $how $arms $default (recv $channel) $result, $body; $($($rest)*)?)
    };
    (@arm $how:ident $arms:tt $default:tt recv($channel:expr $(,)?) -> $result:pat => $body:block $($rest:tt)+) => {
        $crate::__select!(@add $how $arms $default (recv $channel) $result, $body; $($rest)+)
    };
    (@arm $how:ident $arms:tt $default:tt recv($channel:expr $(,)?) -> $result:pat => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@add $how $arms $default (recv $channel) $result, $body; $($($rest)*)?)
    };
    (@arm $how:ident $arms:tt $default:tt send($channel:expr, $value:expr $(,)?) -> $result:pat => $body:block $(, $($rest:tt)*)?) => {
        $crate::__select!(@add $how $arms $default (send $channel, $value) $result, $body; $($($rest)*)?)
    };
    (@arm $how:ident $arms:tt $default:tt send($channel:expr, $value:expr $(,)?) -> $result:pat => $body:block $($rest:tt)+) => {
        $crate::__select!(@add $how $arms $default (send $channel, $value) $result, $body; $($rest)+)
    };
    (@arm $how:ident $arms:tt $default:tt send($channel:expr, $value:expr $(,)?) -> $result:pat => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@add $how $arms $default (send $channel, $value) $result, $body; $($($rest)*)?)
    };
    (@arm $how:ident $arms:tt () default $(($($timeout:expr)?))? => $body:block $(, $($rest:tt)*)?) => {
        $crate::__select!(@arm $how $arms (($($($timeout)?)?) $body) $($($rest)*)?)
    };
    (@arm $how:ident $arms:tt () default $(($($timeout:expr)?))? => $body:block $($rest:tt)+) => {
        $crate::__select!(@arm $how $arms (($($($timeout)?)?) $body) $($rest)+)
    };
    (@arm $how:ident $arms:tt () default $(($($timeout:expr)?))? => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@arm $how $arms (($($($timeout)?)?) $body) $($($rest)*)?)
    };
    // The end.
    (@arm $how:ident () ()) => {
        // Never returns: there is no case.
        loop { $crate::Select::$how().select(); }
    };
    (@arm $how:ident () (() $default:expr)) => { $default };
    (@arm $how:ident () (($timeout:expr) $default:expr)) => {{
        // There is no case: always an error.
        let _ = $crate::Select::$how().select_timeout($timeout);
        $default
    }};
    (@arm $how:ident $arms:tt $default:tt) => { $crate::__select!(@write $how $arms $default) };
    // The commonest mistakes.
    (@arm $how:ident $arms:tt ($($had:tt)+) default $($rest:tt)*) => {
        ::core::compile_error!("two `default` arms in one `select!`")
    };
    (@arm $how:ident $arms:tt $default:tt recv($($operand:tt)*) => $($rest:tt)*) => {
        ::core::compile_error!("`-> message` is missing: write `recv(receiver) -> message => ..`, or `-> _`")
    };
    (@arm $how:ident $arms:tt $default:tt send($($operand:tt)*) => $($rest:tt)*) => {
        ::core::compile_error!("`-> result` is missing: write `send(sender, value) -> result => ..`, or `-> _`")
    };
    (@arm $how:ident $arms:tt $default:tt send($channel:expr $(,)?) -> $($rest:tt)*) => {
        ::core::compile_error!("the value is missing: write `send(sender, value) -> result => ..`")
    };
    (@arm $how:ident $arms:tt $default:tt default -> $($rest:tt)*) => {
        ::core::compile_error!("`default` has no result: write `default => ..` or `default(timeout) => ..`")
    };
    (@arm $how:ident $arms:tt $default:tt $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "expected `recv(receiver) -> message => ..`, `send(sender, value) -> result => ..`, `default => ..` or \
             `default(timeout) => ..`, with a comma behind a body that is no block; found: ",
            ::core::stringify!($($rest)*)
        ))
    };
    // Gives the arm names of its own.
    (@add $how:ident ($($arms:tt)*) $default:tt ($kind:ident $($operand:expr),+) $result:pat, $body:expr; $($rest:tt)*) => {
        $crate::__select!(@arm $how ($($arms)* [$kind chan slot case ($($operand),+) ($result) ($body)]) $default $($rest)*)
    };
    (@write $how:ident ($([$kind:ident $chan:ident $slot:ident $case:ident $operands:tt ($result:pat) ($body:expr)])+) $default:tt) => {{
        $(
            let ($chan, mut $slot) = $crate::__select!(@operands $kind $operands);
        )+
        let timeout = $crate::__select!(@timeout $default);
        $(let $case;)+
        let done = {
            let mut select = $crate::Select::$how();
            $($case = select.$kind($chan, &mut $slot);)+
            $crate::__select!(@run select timeout $default)
        };
        // (One of them may be the only one.)
        $(if done == ::core::option::Option::Some($case) {
            let $result = $crate::__select!(@result $kind $slot);
            $body
        } else)+ {
            $crate::__select!(@default $default)
        }
    }};
    (@operands recv ($channel:expr)) => { (&$channel, ::core::option::Option::None) };
    (@operands send ($channel:expr, $value:expr)) => { (&$channel, ::core::option::Option::Some($value)) };
    (@timeout (($timeout:expr) $body:expr)) => { $timeout };
    (@timeout $other:tt) => { () };
    (@run $select:ident $timeout:ident ()) => { ::core::option::Option::Some($select.select()) };
    (@run $select:ident $timeout:ident (() $body:expr)) => { $select.try_select().ok() };
    (@run $select:ident $timeout:ident (($set:expr) $body:expr)) => { $select.select_timeout($timeout).ok() };
    (@result recv $slot:ident) => { $slot.expect("what was received is in its slot") };
    (@result send $slot:ident) => {
        match $slot {
            ::core::option::Option::None => ::core::result::Result::Ok(()),
            ::core::option::Option::Some(value) => ::core::result::Result::Err($crate::chan::SendError(value)),
        }
    };
    (@default ()) => { ::core::unreachable!("a select without a default ends by one of its cases") };
    (@default ($timeout:tt $body:expr)) => { $body };
}
