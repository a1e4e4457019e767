//! Lists of names that are all that is to be moved.

use std::{collections::HashSet, path::Path};

use ferry_wire::{Name, NameError};

use crate::error::Error;

/// Names below a directory that are all that is taken of it: files, and directories with all that is beneath them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameList {
    /// In the order of the list, each once.
    names: Vec<Name>,
    listed: HashSet<String>,
    /// The directories that the names are in.
    above: HashSet<String>,
    /// The directory itself is in the list.
    everything: bool,
}

impl NameList {
    /// Reads a list: one name a line, or with `zero` one before each zero byte. Without `zero`, empty lines and those that
    /// begin with `#` or `;` are remarks. A `/` or `./` in front means nothing, and neither does a `/` at the end. `file` is
    /// told in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Rules`] where a line is no name that a server could have.
    pub fn parse(file: &Path, bytes: &[u8], zero: bool) -> Result<NameList, Error> {
        let mut list = NameList::default();
        let end = if zero { 0 } else { b'\n' };
        for (at, line) in bytes.split(|byte| *byte == end).enumerate() {
            let line = if zero { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
            if line.is_empty() || !zero && matches!(line[0], b'#' | b';') {
                continue;
            }
            let wrong = |problem: NameError| Error::Rules {
                file: file.to_owned(),
                line: at + 1,
                why: format!("{}: {problem}", ferry_wire::escaped_bytes(line)),
            };
            list.add(line).map_err(wrong)?;
        }
        Ok(list)
    }

    /// Makes a list of `names`.
    #[must_use]
    pub fn of(names: impl IntoIterator<Item = Name>) -> NameList {
        let mut list = NameList::default();
        names.into_iter().for_each(|name| list.push(name));
        list
    }

    fn add(&mut self, line: &[u8]) -> Result<(), NameError> {
        let mut rest = line;
        while let Some(after) = rest.strip_prefix(b"/").or_else(|| rest.strip_prefix(b"./")) {
            rest = after;
        }
        while let Some(before) = rest.strip_suffix(b"/").or_else(|| rest.strip_suffix(b"/.")) {
            rest = before;
        }
        if rest.is_empty() || rest == b"." {
            self.everything = true;
            return Ok(());
        }
        self.push(Name::from_bytes(rest)?);
        Ok(())
    }

    fn push(&mut self, name: Name) {
        let text = name.as_str();
        self.above.extend(text.match_indices('/').map(|(at, _)| text[..at].to_owned()));
        if self.listed.insert(text.to_owned()) {
            self.names.push(name);
        }
    }

    /// Returns the names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.iter()
    }

    /// Returns the list of what both lists have.
    #[must_use]
    pub fn of_both(&self, other: &NameList) -> NameList {
        let (own, others) = (self.names.iter(), other.names.iter());
        let own = own.filter(|name| other.names_itself(name.as_str()));
        let mut both = NameList::of(own.chain(others.filter(|name| self.names_itself(name.as_str()))).cloned());
        both.everything = self.everything && other.everything;
        both
    }

    /// Returns whether `name` is in the list, or beneath one that is, or leads to one.
    pub(super) fn takes(&self, name: &str, is_directory: bool) -> bool {
        is_directory && self.above.contains(name) || self.names_itself(name)
    }

    /// Returns whether `name` is in the list, or beneath one that is.
    pub(crate) fn names_itself(&self, name: &str) -> bool {
        let mut above = name.match_indices('/').map(|(at, _)| &name[..at]);
        self.everything || self.listed.contains(name) || above.any(|name| self.listed.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8], zero: bool) -> Result<NameList, String> {
        NameList::parse(Path::new("list"), bytes, zero).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_read_from_lines_or_between_zero_bytes() {
        let list = parse(b"# remark\na/b\n\n./c/\r\n;x\n/a/b\n d\n", false).unwrap();
        assert_eq!(list.names().map(Name::as_str).collect::<Vec<_>>(), ["a/b", "c", " d"]);
        assert!(
            list.takes("a", true) && list.takes("a/b/x", false) && list.takes("c/x", false) && list.takes(" d", false)
        );
        assert!(!list.takes("a", false) && !list.takes("a/x", false) && !list.takes("ab", true));
        let list = parse(b"# name\0;x\0", true).unwrap();
        assert_eq!(list.names().map(Name::as_str).collect::<Vec<_>>(), ["# name", ";x"]);
        assert!(parse(b"./\n", false).unwrap().takes("any/thing", false));
        assert!(parse(b".\n", false).unwrap().takes("any", false));
        assert!(!parse(b"", false).unwrap().takes("any", true));
    }

    #[test]
    fn two_lists_have_in_common_what_is_in_one_and_within_the_other() {
        let list = |text: &[u8]| parse(text, false).unwrap();
        let both = |a: &[u8], b: &[u8]| {
            let mut names: Vec<String> = list(a).of_both(&list(b)).names().map(ToString::to_string).collect();
            names.sort();
            assert_eq!(names.len(), list(b).of_both(&list(a)).names().count());
            names
        };
        assert_eq!(both(b"a\nb/c\nd\n", b"a/x\nb\nd\ne\n"), ["a/x", "b/c", "d"]);
        assert_eq!(both(b".\n", b"a/x\n"), ["a/x"]);
        assert!(both(b"a\n", b"ab\n").is_empty());
        assert!(list(b".\n").of_both(&list(b".\n")).takes("any", false));
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_line() {
        for (bytes, line) in
            [(&b"a\n../b\n"[..], 2), (b"a//b\n", 1), (b"\xff\n", 1), (b"a\n\n.ferry/x\n", 3), (b"a\tb\n", 1)]
        {
            let why = parse(bytes, false).unwrap_err();
            assert!(why.starts_with(&format!("list:{line}: ")), "{why}");
        }
        assert!(parse(b"a\0b\nc\0", true).unwrap_err().starts_with("list:2: "));
    }
}
