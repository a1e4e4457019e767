//! Names of public keys, as people compare them.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

/// The word before the digits: the hash function.
const KIND: &str = "SHA256:";

/// Names the public key of a server: the SHA-256 of its SubjectPublicKeyInfo
/// ([RFC 5280](https://www.rfc-editor.org/rfc/rfc5280), section 4.1).
///
/// Displayed and parsed as `SHA256:` and the hash in Base64 without padding, as `ssh-keygen -l` does it for its keys.
/// This crate computes no hash: the caller passes it in.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the fingerprint of a key whose SubjectPublicKeyInfo has the SHA-256 `hash`.
    #[must_use]
    pub const fn new(hash: [u8; 32]) -> Fingerprint {
        Fingerprint(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KIND}{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is SHA256: and 43 characters of Base64, as the server's first line shows it")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Fingerprint, FingerprintError> {
        let digits = text.strip_prefix(KIND).ok_or(FingerprintError)?;
        let hash = STANDARD_NO_PAD.decode(digits).map_err(|_| FingerprintError)?;
        Ok(Fingerprint(hash.try_into().map_err(|_| FingerprintError)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        for byte in [0, 1, 0x7f, 0xfb, 0xff] {
            let fingerprint = Fingerprint::new([byte; 32]);
            let text = fingerprint.to_string();
            assert_eq!(text.len(), "SHA256:".len() + 43, "{text}");
            assert_eq!(text.parse(), Ok(fingerprint));
        }
    }

    #[test]
    fn whatever_is_not_shown_so_is_refused() {
        let whole = Fingerprint::new([7; 32]).to_string();
        let padded = format!("{whole}=");
        let longer = format!("{whole}A");
        // The last character holds two bits too many: they are zero, or two texts would name one key.
        let spare = format!("{}d", &whole[..whole.len() - 1]);
        for text in
            ["", "SHA256:", "SHA256", &whole[..whole.len() - 1], &whole[7..], &padded, &longer, &spare, "MD5:00"]
        {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text}");
        }
    }
}
