//! F8. `GORT_SCHEDTRACE`: a line about the scheduler, now and then, to the standard error stream.
//!
//! ```text
//! SCHED 1004ms: gomaxprocs=2 idleprocs=0 threads=5 spinningthreads=0 idlethreads=1 runqueue=0 [0 3]
//! ```
//!
//! Go's line, and Go's words: the time since the runtime started; processors, and how many of them are idle;
//! worker threads, how many of them search for work, and how many have none; how many goroutines and threads
//! wait in the queue that all share; and in the queues of each processor.
//!
//! Written by sysmon, so it allocates nothing: the line is put together in a buffer on the stack, and goes
//! out in pieces if it is longer. The numbers are read one after another while they change.
#![forbid(unsafe_code)]

use std::fmt::{self, Write};
use std::sync::atomic::Ordering;

use crate::p::P;
use crate::sched::Sched;
use crate::sys::{self, clock::NEVER};

const BUFFER_BYTES: usize = 1024;

/// When to write the next line.
#[derive(Debug)]
pub(crate) struct Trace {
    next_ns: u64,
}

impl Trace {
    /// The first line is due after one interval.
    pub(crate) fn new(sched: &'static Sched) -> Trace {
        let every_ns = sched.settings.trace_every_ns;
        Trace { next_ns: if every_ns == 0 { NEVER } else { sched.born_ns.saturating_add(every_ns) } }
    }

    /// When the next line is due; `NEVER`: none is wanted.
    pub(crate) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Writes a line, if one is due.
    pub(crate) fn tick(&mut self, sched: &'static Sched, now_ns: u64) {
        if now_ns < self.next_ns {
            return;
        }
        let every_ns = sched.settings.trace_every_ns;
        // Missed ones are left out.
        let missed = (now_ns - self.next_ns) / every_ns;
        self.next_ns = self.next_ns.saturating_add((missed + 1).saturating_mul(every_ns));
        let mut line = Line::new(sys::complain);
        // Our writer never fails.
        let _ = write_line(&mut line, sched, now_ns);
        line.flush();
    }
}

fn write_line(line: &mut impl Write, sched: &'static Sched, now_ns: u64) -> fmt::Result {
    let threads = sched.ms_made.load(Ordering::Relaxed);
    let idle_threads = sched.ms().filter(|m| m.word.is_idle()).count();
    write!(
        line,
        "SCHED {}ms: gomaxprocs={} idleprocs={} threads={threads} spinningthreads={} idlethreads={idle_threads} \
         runqueue={} [",
        now_ns.saturating_sub(sched.born_ns) / 1_000_000,
        sched.max_procs(),
        sched.census.idle(),
        sched.census.searching(),
        sched.injector.len(),
    )?;
    let queued = |p: &P| p.private_len() + p.shared_conts.len() + p.shared_fifo.len();
    for (index, p) in sched.ps().take(sched.max_procs()).enumerate() {
        write!(line, "{}{}", if index == 0 { "" } else { " " }, queued(p))?;
    }
    writeln!(line, "]")
}

/// Text on the stack, which goes out when the buffer is full.
struct Line<F: Fn(&str)> {
    text: [u8; BUFFER_BYTES],
    len: usize,
    out: F,
}

impl<F: Fn(&str)> Line<F> {
    fn new(out: F) -> Self {
        Line { text: [0; BUFFER_BYTES], len: 0, out }
    }

    fn flush(&mut self) {
        (self.out)(std::str::from_utf8(&self.text[..self.len]).expect("whole strings were written"));
        self.len = 0;
    }
}

impl<F: Fn(&str)> Write for Line<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.len + text.len() > BUFFER_BYTES {
            self.flush();
        }
        if text.len() > BUFFER_BYTES {
            (self.out)(text);
        } else {
            self.text[self.len..self.len + text.len()].copy_from_slice(text.as_bytes());
            self.len += text.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_long_line_goes_out_in_pieces() {
        let written = RefCell::new(String::new());
        let mut line = Line::new(|piece: &str| written.borrow_mut().push_str(piece));
        let expected: String = (0..1024).map(|number| format!("{number} ")).collect();
        for number in 0..1024 {
            write!(line, "{number} ").expect("it never fails");
        }
        line.write_str(&"x".repeat(3 * BUFFER_BYTES)).expect("it never fails");
        line.flush();
        assert_eq!(*written.borrow(), expected + &"x".repeat(3 * BUFFER_BYTES));
    }
}
