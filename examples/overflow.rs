//! A recursion that is too deep: what a program says when a goroutine's stack is full, and two cures.
//!
//! A parser of nested brackets recurses once for each. Its input comes from outside, so its depth is
//! somebody else's choice: here 100,000. Three goroutines parse it:
//!
//! - one with a larger stack (`Builder::stack_size`), reserved beforehand, of which memory is used as far as
//!   it is touched;
//! - one that wraps the recursive call in `gort::grow`, which goes on in a further segment when the stack
//!   ends;
//! - one with neither. Its stack of 256 KiB ends after some thousand brackets. Below each stack lies a page
//!   that nobody may touch, so the overflow is no silent corruption: the program ends, with status 2, and
//!   says which goroutine it was, where it was created, and what it was about.
//!
//! usage: `cargo run --release --example overflow`

#[path = "common/arguments.rs"]
mod arguments;

use std::hint::black_box;
use std::io;

const DEPTH: usize = 100_000;

/// How deep the brackets are nested, or `None` if they do not match. Leaves what follows them in `input`.
#[inline(never)]
fn parse(input: &mut &[u8], recurse: fn(&mut &[u8]) -> Option<usize>) -> Option<usize> {
    // What a real parser keeps of each level.
    let mut level = [0_u8; 64];
    black_box(&mut level);
    let mut deepest = 0;
    while let Some(rest) = input.strip_prefix(b"[") {
        *input = rest;
        deepest = deepest.max(recurse(input)? + 1);
        *input = input.strip_prefix(b"]")?;
    }
    black_box(&level);
    Some(deepest)
}

fn parse_plainly(input: &mut &[u8]) -> Option<usize> {
    parse(input, parse_plainly)
}

fn parse_growing(input: &mut &[u8]) -> Option<usize> {
    gort::grow(|| parse(input, parse_growing))
}

fn main() -> io::Result<()> {
    let [] = arguments::numbers("overflow", 0..=0);
    let brackets: &'static [u8] = Vec::leak(["[".repeat(DEPTH), "]".repeat(DEPTH)].concat().into_bytes());
    gort::run(|| {
        let large = gort::Builder::new().name("large").stack_size(256 << 20);
        let large = large.spawn(|| parse_plainly(&mut { brackets }))?;
        println!("with a stack of 256 MiB: {:?}", large.join().expect("no panic"));
        let growing = gort::Builder::new().name("growing").spawn(|| parse_growing(&mut { brackets }))?;
        println!("with gort::grow: {:?}", growing.join().expect("no panic"));
        println!("with neither:");
        let parser = gort::Builder::new().name("parser").spawn(|| parse_plainly(&mut { brackets }))?;
        println!("{:?}: the stack is larger than this program takes it to be", parser.join());
        Ok(())
    })
}
