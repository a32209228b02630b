//! The command lines of the examples: a few numbers, or nothing.

use std::ops::RangeInclusive;
use std::process;

/// Takes at most `N` numbers from the command line; `None` for those that are left out. With anything
/// else it says what was wrong, and how it is meant, and ends the process with status 2.
#[allow(dead_code, reason = "an example uses one of the two")]
pub(crate) fn numbers<const N: usize>(usage: &str, range: RangeInclusive<u64>) -> [Option<u64>; N] {
    numbers_after(0, usage, range)
}

/// As [`numbers`], behind so many words that the caller has understood.
pub(crate) fn numbers_after<const N: usize>(
    words: usize,
    usage: &str,
    range: RangeInclusive<u64>,
) -> [Option<u64>; N] {
    let mut numbers = [None; N];
    for (place, argument) in std::env::args_os().skip(1 + words).enumerate() {
        let text = argument.to_string_lossy();
        if text == "--help" || text == "-h" {
            println!("usage: {usage}");
            process::exit(0);
        }
        let Some(number) = numbers.get_mut(place) else { refuse(usage, &format!("what is '{text}' for?")) };
        match text.parse() {
            Ok(value) if range.contains(&value) => *number = Some(value),
            Ok(_) => refuse(usage, &format!("{text} is not from {} to {}", range.start(), range.end())),
            Err(_) => refuse(usage, &format!("'{text}' is not a number")),
        }
    }
    numbers
}

fn refuse(usage: &str, why: &str) -> ! {
    eprintln!("error: {why}\nusage: {usage}");
    process::exit(2)
}
