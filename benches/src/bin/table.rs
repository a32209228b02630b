//! Reads what the last `cargo bench -p gort-benches` has left in `target/criterion` and prints one table:
//! a row for each bench, a column for each peer, the median in ns for one operation with the spread, and
//! below it the ratio to `gort` at the same number of workers.
//!
//! usage: `cargo run -p gort-benches --bin table [DIRECTORY]`

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

/// The columns, as the benches name their peers.
const PEERS: [&str; 8] = ["gort", "bare", "tokio", "tokio-ct", "threads", "crossbeam", "kanal", "flume"];

/// One measurement, in ns for one operation.
struct Figure {
    median: f64,
    /// The median absolute deviation.
    spread: f64,
}

/// By bench and number of workers, then by peer.
type Rows = BTreeMap<(String, String), BTreeMap<String, Figure>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments.next().map_or_else(default_directory, PathBuf::from);
    if arguments.next().is_some() {
        eprintln!("usage: table [DIRECTORY]");
        return ExitCode::from(2);
    }
    let mut rows = Rows::new();
    match collect(&directory, &mut rows) {
        Ok(()) if !rows.is_empty() => {
            print(&rows);
            ExitCode::SUCCESS
        }
        Ok(()) => fail(&directory, "no measurement; run `cargo bench -p gort-benches` first"),
        Err(error) => fail(&directory, &error.to_string()),
    }
}

fn fail(directory: &Path, why: &str) -> ExitCode {
    eprintln!("table: {}: {why}", directory.display());
    ExitCode::FAILURE
}

fn default_directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    target.join("criterion")
}

/// Looks for directories `new` with a measurement in them, as criterion leaves them.
fn collect(directory: &Path, rows: &mut Rows) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if path.file_name().is_some_and(|name| name == "new") && path.join("estimates.json").is_file() {
            add(&path, rows)?;
        } else {
            collect(&path, rows)?;
        }
    }
    Ok(())
}

fn add(path: &Path, rows: &mut Rows) -> io::Result<()> {
    let benchmark = read(&path.join("benchmark.json"))?;
    let estimates = read(&path.join("estimates.json"))?;
    let (Some(group), Some(function)) = (benchmark["group_id"].as_str(), benchmark["function_id"].as_str())
    else {
        return Ok(());
    };
    let Some((peer, workers)) = function.split_once('/') else { return Ok(()) };
    let operations = benchmark["throughput"]["Elements"].as_f64().unwrap_or(1.0);
    let figure = |name: &str| estimates[name]["point_estimate"].as_f64().map(|ns| ns / operations);
    let (Some(median), Some(spread)) = (figure("median"), figure("median_abs_dev")) else { return Ok(()) };
    let row = rows.entry((group.to_owned(), workers.to_owned())).or_default();
    row.insert(peer.to_owned(), Figure { median, spread });
    Ok(())
}

fn read(path: &Path) -> io::Result<Value> {
    serde_json::from_str(&fs::read_to_string(path)?).map_err(io::Error::other)
}

fn print(rows: &Rows) {
    print!("{:<20}", "ns per operation");
    PEERS.iter().for_each(|peer| print!("{peer:>20}"));
    println!();
    for ((bench, workers), row) in rows {
        print!("{:<20}", format!("{bench} {workers}"));
        let ours = row.get("gort").map(|figure| figure.median);
        for peer in PEERS {
            print!("{:>20}", row.get(peer).map_or_else(|| "-".to_owned(), describe));
        }
        println!();
        print!("{:<20}", "");
        for peer in PEERS {
            let ratio = row.get(peer).zip(ours).map(|(figure, ours)| format!("{:.2}x", figure.median / ours));
            print!("{:>20}", ratio.unwrap_or_default());
        }
        println!();
        if let Some(serial) = row.get("serial") {
            println!("{:<20}{:>20}", "", format!("(serial: {})", describe(serial)));
        }
    }
}

fn describe(figure: &Figure) -> String {
    let digits = if figure.median < 100.0 { 1 } else { 0 };
    format!("{:.digits$} ±{:.digits$}", figure.median, figure.spread)
}
