//! The attributes [`macro@main`] and [`macro@test`] of `gort`.
//!
//! Use them as `#[gort::main]` and `#[gort::test]`: `gort` re-exports them unless its feature `macros` is
//! off. Neither can do anything that a call of `gort::run` cannot: they save a level of indentation.
//!
//! | file | noun |
//! |---|---|
//! | `args.rs` | what stands in the parentheses of the attribute |
//! | `expand.rs` | what an attributed function becomes |
//!
//! # Invariants
//!
//! 1. The generated code names everything by an absolute path, so nothing that is in scope where the
//!    attribute stands can change its meaning.
//! 2. The body keeps its tokens and their spans: errors in it are reported where they were written.
//! 3. What cannot be expanded becomes one error for each thing that is wrong, at the place where it is
//!    written, and no follow-up errors of ours.
#![forbid(unsafe_code)]

mod args;
mod expand;

use proc_macro::TokenStream;

/// Runs `fn main` as the main goroutine.
///
/// ```text
/// #[gort::main]
/// fn main() -> std::io::Result<()> {
///     let greeter = gort::spawn(|| println!("hello"));
///     greeter.join().expect("the greeter does not panic");
///     Ok(())
/// }
/// ```
///
/// is
///
/// ```text
/// fn main() -> std::io::Result<()> {
///     ::gort::run(move || -> std::io::Result<()> {
///         let greeter = gort::spawn(|| println!("hello"));
///         greeter.join().expect("the greeter does not panic");
///         Ok(())
///     })
/// }
/// ```
///
/// As in Go the program ends when `main` returns, whatever other goroutines are doing. For a runtime with
/// other settings than the default ones call `gort::runtime::Builder` in an ordinary `fn main`.
///
/// The function keeps its attributes, documentation and return type. It must be a plain `fn main()`: no
/// arguments, no generics, not `async`, `unsafe`, `const` or `extern`.
///
/// # Arguments
///
/// - `crate = path`: where to find `gort`, if not at `::gort`: `#[gort::main(crate = my::gort)]`.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::main(arguments.into(), item.into()).into()
}

/// Makes a function a test that runs in a goroutine of a runtime of its own.
///
/// ```text
/// #[gort::test(procs = 2)]
/// fn a_greeting_arrives() {
///     let (tx, rx) = gort::chan::bounded(0);
///     gort::spawn(move || tx.send("hello"));
///     assert_eq!(rx.recv(), Ok("hello"));
/// }
/// ```
///
/// The attribute writes `#[test]` itself, and keeps all others, such as `#[should_panic]` and `#[ignore]`.
/// The function may return what a test may return, such as `Result<(), Box<dyn Error>>`. It takes no
/// arguments and no generics, and is not `async`, `unsafe`, `const` or `extern`.
///
/// # Arguments
///
/// - `procs = 2`: the number of processors of the runtime, from 1 to 1024; as always (`GOMAXPROCS`, or
///   the cores that the process may use) if left out.
/// - `crate = path`: where to find `gort`, if not at `::gort`: `#[gort::test(crate = my::gort)]`.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::test(arguments.into(), item.into()).into()
}
