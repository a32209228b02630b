//! F2. Stub until the dump's own is merged.
use std::fmt::Write as _;
pub(crate) fn write_trace(text: &mut String, addresses: &[usize]) {
    for &address in addresses {
        backtrace::resolve((address - 1) as *mut _, |symbol| {
            let _ = writeln!(text, "    {}", symbol.name().map(|n| format!("{n:#}")).unwrap_or_default());
            if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
                let _ = writeln!(text, "        at {}:{line}", file.display());
            }
        });
    }
}
