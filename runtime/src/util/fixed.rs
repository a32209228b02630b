//! F0. Text in a buffer of fixed size: what a signal handler formats messages into.
//!
//! It allocates nothing and never fails: what is too long is cut at the end, between characters.
#![forbid(unsafe_code)]

use std::fmt;

/// Text of at most `BYTES` bytes.
#[derive(Debug)]
pub(crate) struct Fixed<const BYTES: usize> {
    bytes: [u8; BYTES],
    len: usize,
    full: bool,
}

impl<const BYTES: usize> Fixed<BYTES> {
    /// No text.
    pub(crate) const fn new() -> Self {
        Fixed { bytes: [0; BYTES], len: 0, full: false }
    }

    /// What has been written so far.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl<const BYTES: usize> fmt::Write for Fixed<BYTES> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = if self.full { 0 } else { BYTES - self.len };
        let fits = text.floor_char_boundary(room);
        self.full |= fits < text.len();
        self.bytes[self.len..self.len + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let mut text = Fixed::<8>::new();
        write!(text, "{}-{}", 12, 34).unwrap();
        assert_eq!(text.as_str(), "12-34");
        text.write_str("ab\u{e4}c").unwrap();
        assert_eq!(text.as_str(), "12-34ab");
        text.write_str("x").unwrap();
        assert_eq!(text.as_str(), "12-34ab", "nothing follows a cut");
    }
}
