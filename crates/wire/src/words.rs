//! Splits a line at its spaces.

/// The arguments of a line, separated by one space each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a>(Option<&'a [u8]>);

impl<'a> Words<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Words<'a> {
        Words(Some(line))
    }

    /// Returns the next word, or [`None`] at the end of the line. A word is empty where two spaces meet.
    pub(crate) fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        match memchr::memchr(b' ', rest) {
            Some(space) => {
                self.0 = Some(&rest[space + 1..]);
                Some(&rest[..space])
            }
            None => {
                self.0 = None;
                Some(rest)
            }
        }
    }

    /// Returns everything that is left, spaces included: a name or a message. Returns [`None`] where the
    /// line ended with the last word.
    pub(crate) fn rest(self) -> Option<&'a [u8]> {
        self.0
    }
}

/// Returns whether `word` is `verb`, in any case of letters.
pub(crate) fn is_verb(word: &[u8], verb: &str) -> bool {
    word.eq_ignore_ascii_case(verb.as_bytes())
}
