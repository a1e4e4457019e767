//! Showing a peer's text without letting it drive the terminal.

use std::fmt::{self, Write as _};

/// Displays text of a peer with everything that could move a cursor, colour a line or turn its
/// direction written as `\u{..}`: control characters (C0, DEL, C1), bidi controls, invisible
/// characters and line separators. See [`escaped`] and [`escaped_bytes`].
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(&'a [u8]);

/// The safe display of `text`.
#[must_use]
pub fn escaped(text: &str) -> Escaped<'_> {
    Escaped(text.as_bytes())
}

/// The safe display of `bytes`; what is not UTF-8 is shown as `\x..`.
#[must_use]
pub fn escaped_bytes(bytes: &[u8]) -> Escaped<'_> {
    Escaped(bytes)
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_unsafe_to_show(character) {
                    write!(f, "\\u{{{:x}}}", u32::from(character))?;
                } else {
                    f.write_char(character)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn is_unsafe_to_show(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_drive_a_terminal_is_written_out() {
        assert_eq!(escaped("a\u{1b}[2Jb").to_string(), "a\\u{1b}[2Jb");
        assert_eq!(escaped("evil\u{202e}gpj.exe").to_string(), "evil\\u{202e}gpj.exe");
        assert_eq!(escaped("\r\n\t\u{7f}\u{9b}").to_string(), "\\u{d}\\u{a}\\u{9}\\u{7f}\\u{9b}");
        assert_eq!(escaped_bytes(b"a\xffb").to_string(), "a\\xffb");
    }

    #[test]
    fn ordinary_letters_of_any_script_stay() {
        assert_eq!(escaped("Grüße, мир, 世界.txt").to_string(), "Grüße, мир, 世界.txt");
    }
}
