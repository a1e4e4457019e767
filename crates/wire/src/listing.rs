//! The lines in the body of a `LISTING`.

use std::io::Write as _;

use crate::{
    mode::Mode,
    name::Name,
    number::parse_integer,
    reply::{DirMeta, FileMeta, MalformedReply},
    time::{OrDash, Time},
    token::Tag,
    words::Words,
};

/// One line of a listing: `f <size> <mtime> <tag> <name>` or `d - <mtime> - <name>`; with permissions, `F <size> <mtime>
/// <tag> <octal> <name>` or `D - <mtime> - <octal> <name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, of one component: it holds no `/`.
    pub name: Name,
    /// File or directory, and what the server says of it.
    pub kind: EntryKind,
}

/// The kind of an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File(FileMeta),
    /// A directory.
    Directory(DirMeta),
}

impl Entry {
    /// Reads one line, without its LF.
    ///
    /// # Errors
    ///
    /// Fails for a line that is no entry, and for a name that has several components or breaks a rule
    /// for names.
    pub fn parse(line: &[u8]) -> Result<Entry, MalformedReply> {
        Entry::parse_words(line).ok_or_else(|| crate::reply::malformed(line))
    }

    fn parse_words(line: &[u8]) -> Option<Entry> {
        let mut words = Words::new(line);
        let kind = words.next()?;
        let size = words.next()?;
        let mtime = Time::parse_known_or_dash(words.next()?)?;
        let tag = words.next()?;
        let mode = if matches!(kind, b"F" | b"D") { Some(Mode::parse(words.next()?)?) } else { None };
        let name = Name::from_bytes(words.rest()?).ok()?;
        if name.parent().is_some() {
            return None;
        }
        let kind = match kind {
            b"f" | b"F" => {
                let (size, tag) = (parse_integer(size)?, Tag::from_word(tag).ok()?);
                EntryKind::File(FileMeta { size, mtime, tag, mode })
            }
            b"d" | b"D" if size == b"-" && tag == b"-" => EntryKind::Directory(DirMeta { mtime, mode }),
            _ => return None,
        };
        Some(Entry { name, kind })
    }

    /// Appends the line, with its LF.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // Writing to a Vec can't fail.
        let _ = match &self.kind {
            EntryKind::File(FileMeta { size, mtime, tag, mode: Some(mode) }) => {
                writeln!(out, "F {size} {} {tag} {mode} {}", OrDash(*mtime), self.name)
            }
            EntryKind::File(FileMeta { size, mtime, tag, mode: None }) => {
                writeln!(out, "f {size} {} {tag} {}", OrDash(*mtime), self.name)
            }
            EntryKind::Directory(DirMeta { mtime, mode: Some(mode) }) => {
                writeln!(out, "D - {} - {mode} {}", OrDash(*mtime), self.name)
            }
            EntryKind::Directory(DirMeta { mtime, mode: None }) => {
                writeln!(out, "d - {} - {}", OrDash(*mtime), self.name)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back() {
        for line in [
            "f 5 1.5 tag a b",
            "d - 7 - dir",
            "f 0 - t .hidden",
            "d - - - Grüße",
            "F 5 - t 755 a b",
            "f 5 - t 755 a b",
            "D - 7 - 750 a b",
            "D - - - 000 a",
            "d - 7 - 750 a",
        ] {
            let mut out = Vec::new();
            Entry::parse(line.as_bytes()).unwrap().encode(&mut out);
            assert_eq!(out, format!("{line}\n").as_bytes());
        }
    }

    #[test]
    fn a_server_can_name_nothing_outside_the_directory() {
        for line in [
            "f 5 1 t ../x",
            "f 5 1 t a/b",
            "f 5 1 t /etc/passwd",
            "d - 1 - ..",
            "d - 1 - .",
            "f 5 1 t a\x1b[2J",
            "f 5 1 t ",
            "f 5 1 t",
            "d 5 1 - a",
            "x 5 1 t a",
            "F 5 1 t a",
            "F 5 1 t 4755 a",
            "F 5 1 t 755",
            "D - 1 - a",
            "D - 1 - 1777 a",
            "D 5 1 t 755 a",
            "D - 1 - 755",
            "",
            "f 5 1 t .ferry-x",
        ] {
            assert!(Entry::parse(line.as_bytes()).is_err(), "{line:?}");
        }
    }
}
