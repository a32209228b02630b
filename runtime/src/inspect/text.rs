//! F9b. A dump's text, in Go's form.
//!
//! ```text
//! goroutine 7 "worker" [sync.Mutex.Lock at 0x7f31c8, held by goroutine 3, 2 minutes, on M4]:
//! app::transfer
//!         src/main.rs:41
//! created at src/main.rs:60:9
//! ```
//!
//! Folded, goroutines that do the same at the same place are one block:
//! `goroutines 12, 13, 14, ... (97 more) [park]: 100 with this stack`.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::rc::Rc;

use super::collect::{GoroutineState, Scene, Seen};
use super::symbols::Symbols;
use crate::sched::Sched;

/// So many blocks are written, unless the dump shall be whole.
const MOST_BLOCKS: usize = 1_000;

/// So many creation sites are named in the summary of what was left out.
const MOST_SITES: usize = 50;

/// So many numbers stand in the head of a folded block.
const MOST_NUMBERS: usize = 10;

const SECOND_NS: u64 = 1_000_000_000;

/// How a dump shall look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Are equal stacks one block?
    pub(crate) folded: bool,
    /// Is nothing left out?
    pub(crate) whole: bool,
}

/// The dump of these runtimes; one after another under a heading, if there are several with goroutines.
pub(crate) fn of_runtimes(scheds: &[&'static Sched], style: Style) -> String {
    let mut scenes: Vec<Scene> = scheds.iter().map(|sched| Scene::of(sched, true)).collect();
    scenes.retain(|scene| !scene.goroutines.is_empty());
    let mut writer = Writer { text: String::new(), style, symbols: Symbols::default(), blocks: 0 };
    let several = scenes.len() > 1;
    for (number, scene) in scenes.iter().enumerate() {
        if several {
            let (of, count) = (scenes.len(), scene.goroutines.len());
            let _ = writeln!(writer.text, "=== runtime {} of {of}, goroutines: {count}\n", number + 1);
        }
        writer.scene(scene);
    }
    writer.text
}

/// A block for each goroutine of a scene.
pub(super) fn of_scene(scene: &Scene) -> String {
    let style = Style { folded: false, whole: true };
    let mut writer = Writer { text: String::new(), style, symbols: Symbols::default(), blocks: 0 };
    writer.scene(scene);
    writer.text
}

/// `goroutines 3, 4, 5`, or `goroutine 3`; of many, the first ones and how many more.
pub(super) fn numbers(ids: &[u64]) -> String {
    let shown: Vec<String> = ids.iter().take(MOST_NUMBERS).map(u64::to_string).collect();
    let more = ids.len().saturating_sub(MOST_NUMBERS);
    let more = if more > 0 { format!(", ... ({more} more)") } else { String::new() };
    format!("{} {}{more}", if ids.len() == 1 { "goroutine" } else { "goroutines" }, shown.join(", "))
}

struct Writer {
    text: String,
    style: Style,
    symbols: Symbols,
    blocks: usize,
}

impl Writer {
    fn scene(&mut self, scene: &Scene) {
        let mut stacks: HashMap<usize, Rc<str>> = HashMap::new();
        let blocks = blocks(&scene.goroutines, self.style.folded);
        let mut shown = blocks.len();
        if !self.style.whole {
            shown = shown.min(MOST_BLOCKS.saturating_sub(self.blocks));
        }
        self.blocks += shown;
        for block in &blocks[..shown] {
            let first = block[0];
            self.head(block);
            if let Some(place) = first.stack {
                let text = match stacks.entry(place) {
                    Entry::Occupied(known) => known.get().clone(),
                    Entry::Vacant(vacant) => {
                        vacant.insert(self.symbols.text(&scene.stacks[place]).into()).clone()
                    }
                };
                self.text.push_str(&text);
            }
            if let Some(site) = first.site {
                let _ = writeln!(self.text, "created at {site}");
            }
            self.text.push('\n');
        }
        self.summary(&blocks[shown..]);
    }

    fn head(&mut self, block: &[&Seen]) {
        let first = block[0];
        let ids: Vec<u64> = block.iter().map(|seen| seen.id).collect();
        self.text.push_str(&numbers(&ids));
        if let [Seen { name: Some(name), .. }] = block {
            let _ = write!(self.text, " {name:?}");
        }
        let _ = write!(self.text, " [{}", words(first));
        // What they do not all have in common is left out.
        let shared = |value: fn(&Seen) -> u64| {
            let value_of_first = value(first);
            block.iter().all(|seen| value(seen) == value_of_first).then_some(value_of_first)
        };
        let object = shared(|seen| seen.object as u64);
        if let Some(object @ 1..) = object {
            let _ = write!(self.text, " at {object:#x}");
        }
        if let Some(holder @ 1..) = shared(|seen| seen.holder) {
            // What is no object is a goroutine that is waited for.
            let words = if object == Some(0) { " of" } else { ", held by" };
            let _ = write!(self.text, "{words} goroutine {holder}");
        }
        if first.panicking {
            self.text.push_str(", panicking");
        }
        if let Some(time) = waited(block.iter().map(|seen| seen.waited_ns).max().unwrap_or(0)) {
            let _ = write!(self.text, ", {time}");
        }
        if let Some(Some(thread)) = shared_thread(block) {
            let _ = write!(self.text, ", on M{thread}");
        }
        self.text.push_str("]:");
        if block.len() > 1 {
            let _ = write!(self.text, " {} with this stack", block.len());
        }
        self.text.push('\n');
    }

    /// What was left out, by where it was created.
    fn summary(&mut self, blocks: &[Vec<&Seen>]) {
        let mut sites: HashMap<_, usize> = HashMap::new();
        for seen in blocks.iter().flatten() {
            *sites.entry(seen.site).or_default() += 1;
        }
        let mut sites: Vec<_> = sites.into_iter().collect();
        if sites.is_empty() {
            return;
        }
        let total: usize = sites.iter().map(|(_, count)| count).sum();
        sites.sort_unstable_by_key(|&(site, count)| (std::cmp::Reverse(count), site));
        let _ = writeln!(self.text, "and {total} goroutines more:");
        for (site, count) in sites.iter().take(MOST_SITES) {
            let _ = match site {
                Some(site) => writeln!(self.text, "{count:8} created at {site}"),
                None => writeln!(self.text, "{count:8} created nowhere"),
            };
        }
        if sites.len() > MOST_SITES {
            let rest: usize = sites[MOST_SITES..].iter().map(|(_, count)| count).sum();
            let _ = writeln!(self.text, "{rest:8} created elsewhere");
        }
        self.text.push('\n');
    }
}

fn shared_thread(block: &[&Seen]) -> Option<Option<u32>> {
    block.iter().all(|seen| seen.thread == block[0].thread).then_some(block[0].thread)
}

/// One goroutine to a block; or those that do the same at the same place, in the order of their first ones.
fn blocks(goroutines: &[Seen], folded: bool) -> Vec<Vec<&Seen>> {
    if !folded {
        return goroutines.iter().map(|seen| vec![seen]).collect();
    }
    let mut places = HashMap::new();
    let mut blocks: Vec<Vec<&Seen>> = Vec::new();
    for seen in goroutines {
        let key = (seen.state, words(seen), seen.panicking, seen.stack, seen.site);
        let place = *places.entry(key).or_insert(blocks.len());
        if place == blocks.len() {
            blocks.push(Vec::new());
        }
        blocks[place].push(seen);
    }
    blocks
}

fn words(seen: &Seen) -> &'static str {
    match seen.state {
        GoroutineState::Running => "running",
        GoroutineState::Runnable => "runnable",
        GoroutineState::Waiting => seen.reason.as_str(),
    }
}

/// Minutes from the first on, as Go has it; seconds before.
fn waited(ns: u64) -> Option<String> {
    let (number, unit) = match ns / SECOND_NS {
        0 => return None,
        seconds @ 1..60 => (seconds, "second"),
        seconds => (seconds / 60, "minute"),
    };
    Some(format!("{number} {unit}{}", if number == 1 { "" } else { "s" }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g::wait::WaitReason;

    fn seen(id: u64) -> Seen {
        Seen {
            id,
            name: None,
            state: GoroutineState::Waiting,
            reason: WaitReason::ChanReceive,
            object: 0,
            holder: 0,
            waited_ns: 0,
            thread: None,
            panicking: false,
            stack: None,
            site: None,
        }
    }

    fn text(goroutines: Vec<Seen>, folded: bool, whole: bool) -> String {
        let style = Style { folded, whole };
        let mut writer = Writer { text: String::new(), style, symbols: Symbols::default(), blocks: 0 };
        writer.scene(&Scene { goroutines, ..Scene::default() });
        writer.text
    }

    #[test]
    fn a_block_says_who_waits_for_what() {
        let full = Seen {
            name: Some("worker".into()),
            reason: WaitReason::MutexLock,
            object: 0x1f30,
            holder: 3,
            waited_ns: 185 * SECOND_NS,
            thread: Some(4),
            ..seen(7)
        };
        assert_eq!(
            text(vec![full], false, false),
            "goroutine 7 \"worker\" [sync.Mutex.Lock at 0x1f30, held by goroutine 3, 3 minutes, on M4]:\n\n"
        );
        assert_eq!(text(vec![seen(1)], true, false), "goroutine 1 [chan receive]:\n\n");
    }

    #[test]
    fn the_time_is_in_seconds_or_in_minutes() {
        let expected = [(0, None), (1, Some("1 second")), (59, Some("59 seconds")), (60, Some("1 minute"))];
        for (seconds, words) in expected {
            assert_eq!(waited(seconds * SECOND_NS).as_deref(), words);
        }
        assert_eq!(waited(7200 * SECOND_NS).as_deref(), Some("120 minutes"));
    }

    #[test]
    fn equal_stacks_are_folded() {
        let folded = text((1..=100).map(seen).collect(), true, false);
        assert_eq!(
            folded,
            "goroutines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ... (90 more) [chan receive]: 100 with this stack\n\n"
        );
        let other = Seen { reason: WaitReason::ChanSend, ..seen(3) };
        let two = text(vec![seen(1), seen(2), other], true, false);
        assert_eq!(two, "goroutines 1, 2 [chan receive]: 2 with this stack\n\ngoroutine 3 [chan send]:\n\n");
    }

    #[test]
    fn a_long_dump_ends_with_a_summary() {
        let many = || (1..=1500).map(seen).collect();
        let capped = text(many(), false, false);
        assert_eq!(capped.matches("[chan receive]:").count(), MOST_BLOCKS);
        assert!(capped.ends_with("and 500 goroutines more:\n     500 created nowhere\n\n"), "{capped}");
        assert_eq!(text(many(), false, true).matches("[chan receive]:").count(), 1500);
    }
}
