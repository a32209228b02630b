//! What becomes of a panic, and who decides: whoever waits, or the runtime's policy.
//!
//! A panic unwinds its goroutine, and no other: destructors run, down to the root of its stack. Then:
//!
//! - somebody has the goroutine's handle: the panic is an error of `join`, a value like any other;
//! - it belongs to a scope: the scope panics when all have ended;
//! - nobody has its handle (`go!` gives none): the *policy* of the runtime has it. `Report`, the default,
//!   is that of std's threads: the message is printed, the program goes on. `Abort` is Go's: a program
//!   with a bug that nobody looks after had better end, with status 2 and the goroutine's stack.
//!
//! The program starts itself once for each policy and shows what each child says and how it ends.
//!
//! usage: `cargo run --release --example panic_policies [report|abort]`

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, ExitStatus};

use gort::runtime::{self, PanicPolicy};

/// Says when it is gone.
struct Ticket(u32);

impl Drop for Ticket {
    fn drop(&mut self) {
        eprintln!("ticket {} is given back", self.0);
    }
}

/// A division that nobody has thought to the end.
#[inline(never)]
fn share(cakes: u32, guests: u32) -> u32 {
    cakes.checked_div(guests).unwrap_or_else(|| panic!("{cakes} cakes and no guest"))
}

fn party(policy: PanicPolicy) -> io::Result<()> {
    let runtime = runtime::Builder::new().panic_policy(policy).build()?;
    runtime.run(|| {
        let joined = gort::spawn(|| share(4, 0)).join();
        eprintln!("joined: {}\n", if joined.is_err() { "an error" } else { "a value" });
        let scope = catch_unwind(AssertUnwindSafe(|| gort::scope(|s| drop(s.spawn(|| share(5, 0))))));
        eprintln!("scope: {}\n", if scope.is_err() { "panics itself" } else { "does not notice" });
        gort::go! {
            let _ticket = Ticket(7);
            share(6, 0);
        }
        // Under `Abort` this waits for the end.
        while gort::num_goroutines() > 1 {
            gort::yield_now();
        }
        eprintln!("nobody joined the last one, and the program goes on");
    });
    Ok(())
}

/// Runs this program again, with one policy.
fn run_again(policy: &str) -> io::Result<ExitStatus> {
    eprintln!("--- {policy}");
    let status = Command::new(std::env::current_exe()?).arg(policy).status()?;
    eprintln!("--- {policy}: {status}\n");
    Ok(status)
}

fn main() -> io::Result<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some("report") => party(PanicPolicy::Report)?,
        Some("abort") => party(PanicPolicy::Abort)?,
        Some(other) => {
            eprintln!("error: '{other}' is no policy\nusage: panic_policies [report|abort]");
            return Ok(ExitCode::from(2));
        }
        None => {
            let expected = [("report", Some(0)), ("abort", Some(2))];
            for (policy, code) in expected {
                if run_again(policy)?.code() != code {
                    eprintln!("error: that is not how it should have ended");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
