//! For what ends the program: it is run again, as a child process, and this one looks on.

use std::io;
use std::process::{self, Command, Stdio};

/// Runs this program again, with these arguments, which must end it in a deadlock: the report.
///
/// Ends this process with status 1 if the child ends in another way.
#[allow(dead_code, reason = "an example that talks with its child starts it itself")]
pub(crate) fn deadlock(arguments: &[&str]) -> io::Result<String> {
    const FIRST_LINE: &str = "fatal error: all goroutines are asleep - deadlock!";
    let mut child = Command::new(std::env::current_exe()?);
    let output = child.args(arguments).stdin(Stdio::null()).output()?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(2) || !report.lines().any(|line| line == FIRST_LINE) {
        eprintln!("error: that was to be a deadlock, but: {}\n{report}", output.status);
        process::exit(1);
    }
    Ok(report)
}

/// Prints what a child has said, so that it is seen whose words they are.
pub(crate) fn show(report: &str) {
    for line in report.trim_end().lines() {
        println!("{}", format!("    | {line}").trim_end());
    }
}
