//! Shows a peer's text without letting it drive the terminal.

use std::fmt::{self, Write as _};

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// Displays text of a peer so that it can't move a cursor, colour a line or turn its direction.
///
/// Control characters (C0, DEL, C1), line separators, bidi embeddings, overrides and isolates, and code
/// points that are not assigned are written as `\u{..}`. Joiners and marks stay: without them Persian,
/// Hindi or an emoji of a family can't be written. Made by [`escaped`] and [`escaped_bytes`].
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(&'a [u8]);

/// Returns the safe display of `text`.
#[must_use]
pub fn escaped(text: &str) -> Escaped<'_> {
    Escaped(text.as_bytes())
}

/// Returns the safe display of `bytes`. Bytes that are not UTF-8 are written as `\x..`.
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

/// Returns whether a character could drive a terminal, or turn around what stands beside it.
#[must_use]
pub fn is_unsafe_to_show(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    match character.general_category() {
        GeneralCategory::Control
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator
        | GeneralCategory::Surrogate
        | GeneralCategory::Unassigned => true,
        // Bidi embeddings, overrides and isolates, and the deprecated ones that change how digits and letters look.
        GeneralCategory::Format => {
            matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
        }
        _ => false,
    }
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
    fn only_controls_and_what_is_not_assigned_are_written_out() {
        for (character, shown) in [
            ('\u{85}', "\\u{85}"),
            ('\u{2028}', "\\u{2028}"),
            ('\u{202a}', "\\u{202a}"),
            ('\u{2066}', "\\u{2066}"),
            ('\u{2069}', "\\u{2069}"),
            ('\u{378}', "\\u{378}"),
            ('\u{ffff}', "\\u{ffff}"),
            ('\u{10ffff}', "\\u{10ffff}"),
        ] {
            assert_eq!(escaped(&character.to_string()).to_string(), shown);
        }
    }

    #[test]
    fn names_of_any_script_stay_as_they_are() {
        for name in [
            "Grüße, мир, 世界.txt",
            "نامه\u{200c}ها.txt",
            "क्\u{200d}ष",
            "שלום\u{200f}.txt",
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466} family.jpg",
            "\u{2764}\u{fe0f}",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "co\u{ad}operate",
            "\u{f8ff}",
            "a\u{a0}b\u{3000}c",
        ] {
            assert_eq!(escaped(name).to_string(), name);
        }
    }
}
