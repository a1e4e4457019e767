//! Names of files and directories, relative to the server's root.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::limits::{MAX_NAME_BYTES, RESERVED_PREFIX};

/// A checked name: components separated by `/`, each harmless beneath a held root.
///
/// Nothing is decoded or unescaped. Two different names are two different files wherever the server's
/// file system tells them apart.
///
/// Clones share their text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// The rule for names that a text breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("a name is needed")]
    Empty,
    /// It has more than [`MAX_NAME_BYTES`].
    #[error("a name has at most {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// It has a leading, trailing or doubled `/`.
    #[error("a name is relative: no leading, trailing or doubled '/'")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("a name has no component '.' or '..'")]
    Dots,
    /// It has a control character: C0, DEL or C1.
    #[error("a name has no control characters")]
    Control,
    /// A component begins with `.ferry`, in any case of letters.
    #[error("names that begin with '.ferry' belong to the server")]
    Reserved,
    /// It ends as the request line of a browser does, for which the server closes.
    #[error("a name does not end in ' HTTP/1.0' or ' HTTP/1.1'")]
    Browser,
    /// It is not UTF-8.
    #[error("a name is UTF-8")]
    NotUtf8,
}

/// The ends of a browser's request lines.
pub(crate) const BROWSER_ENDINGS: [&str; 2] = [" HTTP/1.0", " HTTP/1.1"];

impl Name {
    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    ///
    /// Returns the first rule that it breaks.
    pub fn new(text: &str) -> Result<Name, NameError> {
        check(text)?;
        Ok(Name(text.into()))
    }

    /// Checks `bytes`, which must be UTF-8, and makes a name of them.
    ///
    /// # Errors
    ///
    /// Returns the first rule that they break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Name, NameError> {
        Name::new(std::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8)?)
    }

    /// Returns the whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns everything before the last `/`, or [`None`] for a name directly beneath the root.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// Returns the last component.
    #[must_use]
    pub fn last(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, last)| last)
    }

    /// Returns the name of `component` in this directory.
    ///
    /// # Errors
    ///
    /// Returns the rule that the longer name breaks.
    pub fn join(&self, component: &str) -> Result<Name, NameError> {
        Name::new(&format!("{}/{component}", self.0))
    }
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    if has_control(text) {
        return Err(NameError::Control);
    }
    for component in text.as_bytes().split(|&byte| byte == b'/') {
        match component {
            b"" => return Err(NameError::EmptyComponent),
            b"." | b".." => return Err(NameError::Dots),
            _ if is_reserved(component) => return Err(NameError::Reserved),
            _ => {}
        }
    }
    if BROWSER_ENDINGS.iter().any(|ending| text.ends_with(ending)) {
        return Err(NameError::Browser);
    }
    Ok(())
}

fn has_control(text: &str) -> bool {
    let (mut has_control, mut is_ascii) = (false, true);
    // In one pass that the compiler takes in steps of many bytes: names are checked at each request.
    for byte in text.bytes() {
        has_control |= byte < b' ' || byte == 0x7f;
        is_ascii &= byte < 0x80;
    }
    // C1 has two bytes.
    has_control || !is_ascii && text.chars().any(char::is_control)
}

fn is_reserved(component: &[u8]) -> bool {
    let head = component.get(..RESERVED_PREFIX.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(RESERVED_PREFIX.as_bytes()))
}

impl From<&Name> for Arc<str> {
    fn from(name: &Name) -> Arc<str> {
        name.0.clone()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_work() {
        for text in
            ["a", "a b", " a ", "a/b/c", ".hidden", "...", "..a", "Grüße/世界", "-rf", "*", "a\\b", ".ferr", "x.ferry"]
        {
            assert_eq!(Name::new(text).unwrap().as_str(), text);
        }
        assert!(Name::new(&"n".repeat(1024)).is_ok());
    }

    #[test]
    fn names_that_break_a_rule() {
        use NameError::{Browser, Control, Dots, Empty, EmptyComponent, NotUtf8, Reserved, TooLong};
        for (text, error) in [
            ("", Empty),
            ("/etc/passwd", EmptyComponent),
            ("a/", EmptyComponent),
            ("a//b", EmptyComponent),
            ("/", EmptyComponent),
            ("..", Dots),
            ("../x", Dots),
            ("a/../b", Dots),
            ("a/.", Dots),
            ("a\tb", Control),
            ("a\0", Control),
            ("a\u{7f}", Control),
            ("a\u{85}", Control),
            (".ferry", Reserved),
            (".FeRRy-x", Reserved),
            ("a/.ferry/b", Reserved),
            ("a HTTP/1.0", Browser),
            (" HTTP/1.1", Browser),
        ] {
            assert_eq!(Name::new(text), Err(error), "{text:?}");
        }
        assert_eq!(Name::new(&"n".repeat(1025)), Err(TooLong));
        assert_eq!(Name::from_bytes(b"a\xff"), Err(NotUtf8));
    }

    #[test]
    fn a_name_is_taken_apart_at_its_last_slash() {
        let deep = Name::new("a/b/c").unwrap();
        assert_eq!((deep.parent(), deep.last()), (Some("a/b"), "c"));
        let flat = Name::new("c").unwrap();
        assert_eq!((flat.parent(), flat.last()), (None, "c"));
        assert_eq!(flat.join("d").unwrap().as_str(), "c/d");
        assert_eq!(flat.join(".."), Err(NameError::Dots));
    }
}
