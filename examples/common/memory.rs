//! What the kernel says that this process uses.

/// A line of `/proc/self/status` in bytes: `VmRSS` is the memory that is resident, `VmPTE` the page
/// tables, which the kernel keeps beside it.
pub(crate) fn status_bytes(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let rest = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    let kib = rest.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("the kernel counts in kB") << 10
}
