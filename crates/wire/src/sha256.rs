//! SHA-256 ([FIPS 180-4](https://csrc.nist.gov/pubs/fips/180-4/upd1/final)), and its 64 digits on the wire.

use std::fmt;

use sha2::Digest as _;

/// A finished SHA-256. Displays as 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Computes the SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Sha256 {
        let mut digest = Sha256Digest::new();
        digest.update(bytes);
        digest.finish()
    }

    /// Reads exactly 64 hex digits, small or large; returns [`None`] for anything else.
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<Sha256> {
        let mut value = [0; 32];
        if word.len() != 2 * value.len() {
            return None;
        }
        for (byte, digits) in value.iter_mut().zip(word.chunks_exact(2)) {
            for &digit in digits {
                *byte = *byte << 4 | u8::try_from(char::from(digit).to_digit(16)?).ok()?;
            }
        }
        Some(Sha256(value))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

/// A running SHA-256.
#[derive(Clone, Default)]
pub struct Sha256Digest(sha2::Sha256);

impl Sha256Digest {
    /// Creates a run over no bytes.
    #[must_use]
    pub fn new() -> Sha256Digest {
        Sha256Digest::default()
    }

    /// Adds `bytes` at the end.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the SHA-256 of all bytes that were added.
    #[must_use]
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256Digest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_values() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of(b"").to_string(), empty);
        assert_eq!(Sha256::of(b"abc").to_string(), abc);
        let mut digest = Sha256Digest::new();
        b"abc".chunks(1).for_each(|piece| digest.update(piece));
        assert_eq!(digest.finish(), Sha256::of(b"abc"));
    }

    #[test]
    fn only_sixty_four_digits_are_a_sum() {
        let sum = Sha256::of(b"abc");
        let text = sum.to_string();
        assert_eq!(Sha256::parse(text.as_bytes()), Some(sum));
        assert_eq!(Sha256::parse(text.to_uppercase().as_bytes()), Some(sum));
        for word in ["", "-", &text[1..], &format!("{text}0"), &text.replace('b', "g"), &text.replace('b', "+")] {
            assert_eq!(Sha256::parse(word.as_bytes()), None, "{word}");
        }
    }
}
