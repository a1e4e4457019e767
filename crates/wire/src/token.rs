//! Tags and resume ids: 1 to 64 of `[0-9A-Za-z_-]`. Clones share their text.

use std::{fmt, sync::Arc};

use crate::limits::MAX_TOKEN_BYTES;

/// The error for a text that is empty, too long, or has a character outside `[0-9A-Za-z_-]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 of the characters 0-9 A-Z a-z _ -")]
pub struct TokenError;

macro_rules! token {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps it.
            ///
            /// # Errors
            ///
            /// Returns [`TokenError`] where `text` is not 1 to 64 of `[0-9A-Za-z_-]`.
            pub fn new(text: &str) -> Result<Self, TokenError> {
                let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
                let fits = !text.is_empty() && text.len() <= MAX_TOKEN_BYTES;
                if fits && text.as_bytes().iter().all(allowed) { Ok(Self(text.into())) } else { Err(TokenError) }
            }

            pub(crate) fn from_word(word: &[u8]) -> Result<Self, TokenError> {
                Self::new(std::str::from_utf8(word).map_err(|_| TokenError)?)
            }

            /// Returns the characters.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

token! {
    /// The name of one version of a file. Opaque to a client, which only compares it for equality.
    Tag
}
token! {
    /// The name of one upload across connections. The client draws it at random.
    Id
}

impl Id {
    /// Returns the id that 128 random bits make: 32 hex digits.
    #[must_use]
    pub fn of_random(bits: &[u8; 16]) -> Id {
        let digits = bits.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let text: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        Id(text.into())
    }
}

impl Tag {
    /// Returns the tag that four numbers make: 7 to 55 characters, and another one for any other four.
    #[must_use]
    pub fn of_numbers(numbers: [u64; 4]) -> Tag {
        // So many that no division is needed.
        const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
        // Four numbers of at most 13 digits and three dashes.
        let mut text = [0; 55];
        let mut first = text.len();
        for (index, mut number) in numbers.into_iter().enumerate() {
            if index > 0 {
                first -= 1;
                text[first] = b'-';
            }
            loop {
                first -= 1;
                text[first] = DIGITS[number as usize % DIGITS.len()];
                number /= DIGITS.len() as u64;
                if number == 0 {
                    break;
                }
            }
        }
        // All of it is ASCII.
        Tag(String::from_utf8_lossy(&text[first..]).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_and_the_length_are_checked() {
        assert_eq!(Tag::new("aZ0_-").unwrap().as_str(), "aZ0_-");
        assert!(Id::new(&"x".repeat(64)).is_ok());
        for text in ["", &"x".repeat(65), "a b", "a.b", "a/b", "é", "a\n", "*"] {
            assert_eq!(Id::new(text), Err(TokenError), "{text:?}");
        }
        let id = Id::of_random(&[0, 1, 0x0f, 0xf0, 0xab, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(Id::new("00010ff0ab05060708090a0b0c0d0eff"), Ok(id));
    }
}
