//! F9. From return addresses to functions, files and lines; and which of them a reader wants to see.
//!
//! The debug information is read by the crate `backtrace`, which takes a lock of its own, allocates, and
//! reads files: never on a scheduler stack, in a handler, or while a goroutine is borrowed. An address is
//! looked up once in a dump.
//!
//! Hidden are, at the inner end, the machinery below the function that the program called (`park` remains,
//! what it is made of does not), and at the outer end the root of every goroutine's stack. Nothing is hidden
//! that would leave nothing.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ptr;
use std::rc::Rc;

/// A function on a stack; several of them share an address where one was inlined into another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its name, or its address.
    pub(super) function: String,
    /// `file:line`.
    pub(super) place: Option<String>,
}

/// What has been looked up.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    known: HashMap<usize, Rc<[Frame]>>,
}

/// What a function's path begins with if it belongs to gort or is what gort calls goroutines through.
const MACHINERY: [&str; 3] = ["gort_runtime::", "gort_sync::", "corosensei::"];

/// Glue between gort's functions and those that a program has handed over.
const GLUE: [&str; 8] = [
    "core::ops::function::",
    "core::panic::",
    "std::panic::",
    "std::panicking::",
    "alloc::boxed::",
    "__rust_try",
    "stack_init_trampoline",
    "stack_call_trampoline",
];

/// Where a goroutine's stack begins.
const ROOT: &str = "gort_runtime::spawn::root";

impl Symbols {
    /// The frames of a stack that a reader wants to see, the innermost first: a function, and in a line of
    /// its own where it stands.
    pub(crate) fn text(&mut self, stack: &[usize]) -> String {
        let all = self.all(stack);
        text(&all[shown(&all)])
    }

    /// As [`text`](Self::text), of a stack that was taken in the panic hook: from the function that has
    /// panicked.
    pub(crate) fn text_of_panic(&mut self, stack: &[usize]) -> String {
        let all = self.all(stack);
        let panicked = &all[without_panic_machinery(&all)..];
        text(&panicked[shown(panicked)])
    }

    fn all(&mut self, stack: &[usize]) -> Vec<Frame> {
        stack.iter().flat_map(|&address| self.look_up(address).to_vec()).collect()
    }

    fn look_up(&mut self, address: usize) -> Rc<[Frame]> {
        self.known.entry(address).or_insert_with(|| resolve(address).into()).clone()
    }
}

fn text(frames: &[Frame]) -> String {
    let mut text = String::new();
    for frame in frames {
        let _ = writeln!(text, "{}", frame.function);
        if let Some(place) = &frame.place {
            let _ = writeln!(text, "\t{place}");
        }
    }
    text
}

fn resolve(address: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    // As a return address: the crate looks at the instruction before it.
    backtrace::resolve(ptr::without_provenance_mut(address), |symbol| {
        let function = match symbol.name() {
            // The alternate form leaves the hash out.
            Some(name) => format!("{name:#}"),
            None => format!("{address:#x}"),
        };
        let place = symbol.filename().map(|file| {
            let mut place = file.display().to_string();
            if let Some(line) = symbol.lineno() {
                let _ = write!(place, ":{line}");
            }
            place
        });
        frames.push(Frame { function, place });
    });
    if frames.is_empty() {
        frames.push(Frame { function: format!("{address:#x}"), place: None });
    }
    frames
}

/// Which of the frames to show.
fn shown(frames: &[Frame]) -> std::ops::Range<usize> {
    let root = frames.iter().rposition(|frame| path(&frame.function).starts_with(ROOT));
    let outer = root.map_or(frames.len(), |root| {
        let inner = frames[..root].iter().rposition(|frame| !is_glue(frame));
        inner.map_or(frames.len(), |inner| inner + 1)
    });
    let inner_end = frames[..outer].iter().position(|frame| !is_hidden(frame)).unwrap_or(outer);
    // The last of gort's own before the program's: what the program has called.
    let first = frames[..inner_end].iter().rposition(is_machinery).unwrap_or(inner_end);
    if first < outer { first..outer } else { 0..frames.len() }
}

/// Where, in a stack from the panic hook, the frames of the hook and of what has called it end. Std marks the
/// place for its own backtraces.
fn without_panic_machinery(frames: &[Frame]) -> usize {
    const THROWING: [&str; 4] =
        ["__rustc::rust_begin_unwind", "rust_begin_unwind", "core::panicking::", "std::panicking::"];
    let mark = frames.iter().position(|frame| frame.function.contains("__rust_end_short_backtrace"));
    let Some(mark) = mark else { return 0 };
    let throws = |frame: &Frame| THROWING.iter().any(|prefix| path(&frame.function).starts_with(prefix));
    let after = frames[mark + 1..].iter().position(|frame| !throws(frame));
    after.map_or(0, |after| mark + 1 + after)
}

fn is_hidden(frame: &Frame) -> bool {
    is_machinery(frame) || is_glue(frame)
}

fn is_machinery(frame: &Frame) -> bool {
    MACHINERY.iter().any(|prefix| path(&frame.function).starts_with(prefix))
}

fn is_glue(frame: &Frame) -> bool {
    GLUE.iter().any(|prefix| path(&frame.function).starts_with(prefix))
}

/// A function's path: of `<a::B as c::D>::e`, what begins with `a::B`.
fn path(function: &str) -> &str {
    function.trim_start_matches(['<', '&'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_of(functions: &[&str]) -> Vec<String> {
        let frame = |function: &&str| Frame { function: (*function).to_owned(), place: None };
        let frames: Vec<Frame> = functions.iter().map(frame).collect();
        frames[shown(&frames)].iter().map(|frame| frame.function.clone()).collect()
    }

    #[test]
    fn machinery_is_hidden_at_both_ends() {
        let stack = [
            "gort_runtime::sched::run::switch_out",
            "gort_runtime::park::wait",
            "gort_runtime::goroutine::park",
            "app::helper",
            "app::main::{{closure}}",
            "<core::panic::unwind_safe::AssertUnwindSafe<F> as core::ops::function::FnOnce<()>>::call_once",
            "std::panicking::catch_unwind::do_call",
            "__rust_try",
            "gort_runtime::spawn::root",
            "gort_runtime::spawn::set_up::{{closure}}",
            "corosensei::coroutine::Coroutine<Input,Yield,Return,Stack>::with_stack_unchecked::coroutine_func",
        ];
        assert_eq!(
            shown_of(&stack),
            ["gort_runtime::goroutine::park", "app::helper", "app::main::{{closure}}"]
        );
    }

    #[test]
    fn gort_between_the_programs_frames_is_shown() {
        let stack = [
            "gort_runtime::park::wait",
            "gort_sync::mutex::Mutex<T>::lock",
            "app::critical",
            "gort_runtime::scope::scope",
            "app::main",
            "gort_runtime::spawn::root",
        ];
        assert_eq!(shown_of(&stack), stack[1..5]);
    }

    #[test]
    fn of_a_panic_the_hook_is_hidden() {
        let stack = [
            "backtrace::backtrace::trace_unsynchronized",
            "gort_runtime::panics::install_hook::{{closure}}",
            "std::panicking::panic_with_hook",
            "std::sys::backtrace::__rust_end_short_backtrace::<std::panicking::panic_handler::{closure#0}, !>",
            "__rustc::rust_begin_unwind",
            "core::panicking::panic_fmt",
            "core::option::unwrap_failed",
            "app::main",
        ];
        let frame = |function: &&str| Frame { function: (*function).to_owned(), place: None };
        let frames: Vec<Frame> = stack.iter().map(frame).collect();
        assert_eq!(without_panic_machinery(&frames), 6);
        assert_eq!(without_panic_machinery(&frames[4..]), 0, "a stack that does not come from the hook");
        assert_eq!(without_panic_machinery(&frames[..5]), 0, "nothing would be left");
    }

    #[test]
    fn a_function_of_gorts_that_is_the_goroutines_whole_program_is_shown() {
        let stack = ["gort_runtime::park::wait", "gort_runtime::goroutine::park", "__rust_try", ROOT];
        assert_eq!(shown_of(&stack), ["gort_runtime::goroutine::park"]);
    }

    #[test]
    fn odd_stacks_are_shown_whole() {
        for stack in [vec![], vec!["0x1234"], vec!["gort_runtime::spawn::root"], vec!["app::a", "app::b"]] {
            assert_eq!(shown_of(&stack), stack);
        }
    }

    #[test]
    fn an_address_of_ours_has_a_name_and_a_line() {
        let mut symbols = Symbols::default();
        let frames = symbols.look_up(an_address_of_ours_has_a_name_and_a_line as *const () as usize + 1);
        assert!(frames[0].function.contains("an_address_of_ours"), "{frames:?}");
        assert!(frames[0].place.as_ref().is_some_and(|place| place.contains("symbols.rs:")), "{frames:?}");
        assert_eq!(symbols.look_up(1)[0], Frame { function: "0x1".into(), place: None });
    }
}
