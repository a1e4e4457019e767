//! The arguments of LOGIN: the name of a user and a secret.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{
    limits::{MAX_SECRET_BYTES, MAX_USER_BYTES},
    name::BROWSER_ENDINGS,
};

/// The name of a user: 1 to 64 of `0-9 A-Z a-z . _ -`. Case matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

/// The error for text that is no name of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a user is 1 to {MAX_USER_BYTES} of the characters 0-9 A-Z a-z . _ -")]
pub struct UserNameError;

impl UserName {
    /// Checks and keeps `text`.
    ///
    /// # Errors
    ///
    /// Fails where it is no name of a user.
    pub fn new(text: &str) -> Result<UserName, UserNameError> {
        let fits = (1..=MAX_USER_BYTES).contains(&text.len());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if fits && text.bytes().all(plain) { Ok(UserName(text.into())) } else { Err(UserNameError) }
    }

    pub(crate) fn from_word(word: &[u8]) -> Result<UserName, UserNameError> {
        UserName::new(std::str::from_utf8(word).map_err(|_| UserNameError)?)
    }

    /// Returns the characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password or a token: 1 to [`MAX_SECRET_BYTES`] bytes of UTF-8 without control characters.
///
/// It is wiped when it is dropped, and is not shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// The error for text that is no secret. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It has no characters.
    #[error("a secret is not empty")]
    Empty,
    /// It has more than [`MAX_SECRET_BYTES`].
    #[error("a secret has at most {MAX_SECRET_BYTES} bytes")]
    TooLong,
    /// It has a control character: no terminal types it, and at the end of a line it may be lost.
    #[error("a secret has no control characters")]
    Control,
    /// It ends as the request line of a browser does, for which a server closes.
    #[error("a secret does not end in ' HTTP/1.0' or ' HTTP/1.1'")]
    Browser,
    /// It is not UTF-8.
    #[error("a secret is UTF-8")]
    NotUtf8,
}

impl Secret {
    /// Checks and keeps `bytes`.
    ///
    /// # Errors
    ///
    /// Returns the rule that they break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Secret, SecretError> {
        let text = std::str::from_utf8(bytes).map_err(|_| SecretError::NotUtf8)?;
        match text {
            "" => Err(SecretError::Empty),
            _ if text.len() > MAX_SECRET_BYTES => Err(SecretError::TooLong),
            _ if text.chars().any(char::is_control) => Err(SecretError::Control),
            _ if BROWSER_ENDINGS.iter().any(|ending| text.ends_with(ending)) => Err(SecretError::Browser),
            _ => Ok(Secret(Zeroizing::new(text.to_owned()))),
        }
    }

    /// Returns the token that 128 random bits make: 32 hex digits.
    #[must_use]
    pub fn of_random(bits: &[u8; 16]) -> Secret {
        let mut text = Zeroizing::new(String::with_capacity(2 * bits.len()));
        let digits = bits.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
        Secret(text)
    }

    /// Returns the text itself, which nobody but its owner may see.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Compares in constant time, but for the length.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_are_plain_words() {
        for text in ["a", "alice", "A.b-c_9", "-", "..", &"x".repeat(64)] {
            assert_eq!(UserName::new(text).unwrap().as_str(), text);
        }
        for text in ["", "a b", "a/b", "ä", "a\n", "a\"", &"x".repeat(65)] {
            assert_eq!(UserName::new(text), Err(UserNameError), "{text:?}");
        }
    }

    #[test]
    fn secrets_are_text_that_a_line_can_hold() {
        for bytes in [&b"a"[..], b" two  words ", "pässwörd 世".as_bytes(), &[b'x'; 4000]] {
            assert_eq!(Secret::from_bytes(bytes).unwrap().expose().as_bytes(), bytes);
        }
        for (bytes, error) in [
            (&b""[..], SecretError::Empty),
            (&[b'x'; 4001][..], SecretError::TooLong),
            (b"a\r", SecretError::Control),
            (b"a\0b", SecretError::Control),
            ("a\u{85}".as_bytes(), SecretError::Control),
            (b"a HTTP/1.1", SecretError::Browser),
            (b"a\xff", SecretError::NotUtf8),
        ] {
            assert_eq!(Secret::from_bytes(bytes), Err(error));
        }
    }

    #[test]
    fn a_token_is_32_hex_digits() {
        let bits = [0, 1, 0x0f, 0xf0, 0xab, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
        assert_eq!(Secret::of_random(&bits).expose(), "00010ff0ab05060708090a0b0c0d0eff");
    }

    #[test]
    fn nothing_shows_a_secret() {
        let secret = Secret::from_bytes(b"hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        use SecretError::*;
        for error in [Empty, TooLong, Control, Browser, NotUtf8] {
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
