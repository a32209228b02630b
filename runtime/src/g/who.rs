//! F3. How messages name a goroutine.
#![forbid(unsafe_code)]

use std::fmt;

/// `goroutine 7 "name"`. Formatting it allocates nothing: also for signal handlers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) id: u64,
    pub(crate) name: Option<&'a str>,
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "goroutine {}", self.id)?;
        match self.name {
            // Quoted with escapes: a name may hold anything, line ends too.
            Some(name) => write!(f, " {name:?}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted() {
        assert_eq!(Who { id: 7, name: None }.to_string(), "goroutine 7");
        assert_eq!(Who { id: 7, name: Some("a \"b\"\n") }.to_string(), "goroutine 7 \"a \\\"b\\\"\\n\"");
    }
}
