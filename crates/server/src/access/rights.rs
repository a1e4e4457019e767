//! Rights on a name, and the words for them.
//!
//! # The words
//!
//! The rights on a name are one or more words with `+` between them: `"r"`, `"list+add"`. In the
//! users file a list of words says the same: `["list", "add"]`.
//!
//! | word | rights |
//! |---|---|
//! | `list` | to see what a directory holds |
//! | `read` | to get files |
//! | `add` | to make what is not there |
//! | `change` | to replace, rename and delete what is there |
//! | `r` | `list` and `read` |
//! | `w` | `add` and `change` |
//! | `rw` | all four |
//! | `drop` | `add` |
//! | `none` | no right; stands alone |
//!
//! Words are lowercase, and there are no spaces between them. To say a right twice does no harm.

use std::{fmt, ops::BitOr};

/// Rights on a name: any of `list`, `read`, `add` and `change`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rights(u8);

/// Text that says no rights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RightsError {
    /// A word that is none of the known ones.
    #[error(
        "'{0}' is no right; write one or more of list, read, add, change, r, w, rw, drop with '+' between, or none"
    )]
    Unknown(String),
    /// `none` beside another word.
    #[error("'none' stands alone")]
    NoneAndMore,
}

/// The words, in the order in which [`Rights`] are shown: the widest first.
const WORDS: [(&str, Rights); 8] = [
    ("rw", Rights::ALL),
    ("r", Rights(Rights::LIST.0 | Rights::READ.0)),
    ("w", Rights(Rights::ADD.0 | Rights::CHANGE.0)),
    ("list", Rights::LIST),
    ("read", Rights::READ),
    ("add", Rights::ADD),
    ("drop", Rights::ADD),
    ("change", Rights::CHANGE),
];

const NONE: &str = "none";

impl Rights {
    /// No right.
    pub const NONE: Rights = Rights(0);
    /// To see what a directory holds.
    pub const LIST: Rights = Rights(1);
    /// To get files.
    pub const READ: Rights = Rights(2);
    /// To make what is not there.
    pub const ADD: Rights = Rights(4);
    /// To replace, rename and delete what is there.
    pub const CHANGE: Rights = Rights(8);
    /// All of them.
    pub const ALL: Rights = Rights(15);

    /// Reads the [words](self) of `text`, with `+` between them.
    ///
    /// # Errors
    ///
    /// The word that is no right.
    pub fn parse(text: &str) -> Result<Rights, RightsError> {
        Rights::of_words(text.split('+'))
    }

    /// Reads words that stand by themselves; without any there is no right.
    ///
    /// # Errors
    ///
    /// The word that is no right.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Rights, RightsError> {
        let (mut rights, mut said, mut none) = (Rights::NONE, 0, false);
        for word in words {
            said += 1;
            match WORDS.iter().find(|(known, _)| *known == word) {
                Some((_, these)) => rights = rights | *these,
                None if word == NONE => none = true,
                None => return Err(RightsError::Unknown(word.to_owned())),
            }
        }
        if none && said > 1 { Err(RightsError::NoneAndMore) } else { Ok(rights) }
    }

    /// Returns whether all of `others` are among these.
    #[must_use]
    pub fn has(self, others: Rights) -> bool {
        self.0 & others.0 == others.0
    }

    /// Returns whether any of `others` is among these.
    #[must_use]
    pub fn has_any(self, others: Rights) -> bool {
        self.0 & others.0 != 0
    }

    /// Returns the rights that both have.
    #[must_use]
    pub fn shared(self, other: Rights) -> Rights {
        Rights(self.0 & other.0)
    }

    /// Returns whether there is no right.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Rights::NONE
    }
}

impl BitOr for Rights {
    type Output = Rights;

    fn bitor(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }
}

/// Shows them as [`Rights::parse`] reads them, in as few words as there are.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut left, mut separator) = (*self, "");
        for (word, rights) in WORDS {
            if left.has(rights) && !left.is_none() {
                write!(f, "{separator}{word}")?;
                left = Rights(left.0 & !rights.0);
                separator = "+";
            }
        }
        if self.is_none() { f.write_str(NONE) } else { Ok(()) }
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what_the_documentation_says() {
        for (text, rights) in [
            ("list", Rights::LIST),
            ("read", Rights::READ),
            ("add", Rights::ADD),
            ("change", Rights::CHANGE),
            ("r", Rights::LIST | Rights::READ),
            ("w", Rights::ADD | Rights::CHANGE),
            ("rw", Rights::ALL),
            ("drop", Rights::ADD),
            ("none", Rights::NONE),
            ("r+add", Rights::LIST | Rights::READ | Rights::ADD),
            ("r+w", Rights::ALL),
            ("read+read", Rights::READ),
        ] {
            assert_eq!(Rights::parse(text), Ok(rights), "{text}");
        }
        for text in ["", "R", "r w", "r,w", "r+", "+r", " r", "all", "write", "wr", "none+", "-"] {
            assert!(matches!(Rights::parse(text), Err(RightsError::Unknown(_))), "{text:?}");
        }
        assert_eq!(Rights::parse("none+r"), Err(RightsError::NoneAndMore));
        assert_eq!(Rights::parse("none+none"), Err(RightsError::NoneAndMore));
        assert_eq!(Rights::of_words([]), Ok(Rights::NONE));
    }

    #[test]
    fn rights_are_shown_as_they_are_read() {
        for bits in 0..=15 {
            assert_eq!(Rights::parse(&Rights(bits).to_string()), Ok(Rights(bits)));
        }
        for (text, shown) in [("r+w", "rw"), ("list+read+add", "r+add"), ("drop", "add"), ("none", "none")] {
            assert_eq!(Rights::parse(text).unwrap().to_string(), shown);
        }
    }
}
