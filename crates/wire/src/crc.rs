//! CRC-32 as zlib computes it (RFC 1952, section 8), and its eight digits on the wire.

use std::fmt;

/// A finished CRC-32. Displays as 8 lowercase hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crc32(pub u32);

impl Crc32 {
    /// The CRC of no bytes.
    pub const EMPTY: Crc32 = Crc32(0);

    /// Computes the CRC of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Crc32 {
        let mut digest = Digest::new();
        digest.update(bytes);
        digest.crc()
    }

    /// Reads exactly 8 lowercase hex digits; returns [`None`] for anything else.
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<Crc32> {
        if word.len() != 8 {
            return None;
        }
        let mut value = 0;
        for &byte in word {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            value = value << 4 | u32::from(digit);
        }
        Some(Crc32(value))
    }
}

impl Crc32 {
    /// Returns the 8 digits.
    pub(crate) fn digits(self) -> [u8; 8] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        std::array::from_fn(|place| DIGITS[(self.0 >> (28 - 4 * place)) as usize & 15])
    }
}

impl fmt::Display for Crc32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A running CRC-32 that counts the bytes it has seen.
///
/// [`Digest::resume`] takes up a run that an earlier process began: the CRC so far and the count are
/// all the state there is.
#[derive(Debug, Clone, Default)]
pub struct Digest {
    hasher: crc32fast::Hasher,
    bytes: u64,
}

impl Digest {
    /// Creates a run over no bytes.
    #[must_use]
    pub fn new() -> Digest {
        Digest::default()
    }

    /// Creates the run that has seen `bytes` bytes and stands at `crc`.
    #[must_use]
    pub fn resume(crc: Crc32, bytes: u64) -> Digest {
        Digest { hasher: crc32fast::Hasher::new_with_initial_len(crc.0, bytes), bytes }
    }

    /// Adds `bytes` at the end.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Adds at the end `bytes` bytes whose own CRC is `crc`, without reading them.
    pub fn append(&mut self, crc: Crc32, bytes: u64) {
        self.hasher.combine(&crc32fast::Hasher::new_with_initial_len(crc.0, bytes));
        self.bytes += bytes;
    }

    /// Adds `bytes` zeros at the end, in a time that hardly grows with their number.
    pub fn append_zeros(&mut self, bytes: u64) {
        // The CRC of twice as many is that of these, after themselves.
        let (mut power, mut left) = (Digest::new(), bytes);
        power.update(&[0]);
        while left > 0 {
            if left & 1 == 1 {
                self.append(power.crc(), power.bytes());
            }
            left >>= 1;
            if left > 0 {
                power.append(power.crc(), power.bytes());
            }
        }
    }

    /// Returns the CRC of the bytes that this run has seen after `before`, which is an earlier state of it.
    ///
    /// # Panics
    ///
    /// Panics where `before` has seen more.
    #[must_use]
    pub fn since(&self, before: &Digest) -> Crc32 {
        assert!(before.bytes <= self.bytes, "a later state of the run");
        // The CRC of two parts is that of the first, moved on by the length of the second, and that of the second.
        let mut moved = before.clone();
        moved.append(Crc32::EMPTY, self.bytes - before.bytes);
        Crc32(self.crc().0 ^ moved.crc().0)
    }

    /// Returns how many bytes it has seen.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the CRC of the bytes so far; the run may go on.
    #[must_use]
    pub fn crc(&self) -> Crc32 {
        Crc32(self.hasher.clone().finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_check_value() {
        assert_eq!(Crc32::of(b"123456789").to_string(), "cbf43926");
        assert_eq!(Crc32::of(b""), Crc32::EMPTY);
        for crc in [0, 1, 0xf, 0x0123_4567, 0x89ab_cdef, u32::MAX].map(Crc32) {
            assert_eq!(crc.digits(), crc.to_string().as_bytes());
        }
    }

    #[test]
    fn a_run_can_be_put_down_and_taken_up_anywhere() {
        let bytes = b"the quick brown fox jumps over the lazy dog";
        for cut in 0..=bytes.len() {
            let mut first = Digest::new();
            first.update(&bytes[..cut]);
            let mut second = Digest::resume(first.crc(), first.bytes());
            second.update(&bytes[cut..]);
            assert_eq!((second.crc(), second.bytes()), (Crc32::of(bytes), bytes.len() as u64));

            let before = first.clone();
            first.append(Crc32::of(&bytes[cut..]), (bytes.len() - cut) as u64);
            assert_eq!(first.since(&before), Crc32::of(&bytes[cut..]));
            assert_eq!((first.crc(), first.bytes()), (Crc32::of(bytes), bytes.len() as u64));
        }
    }

    #[test]
    fn zeros_count_as_if_they_were_read() {
        for zeros in [0, 1, 2, 3, 7, 64, 1_000, 65_537, 1 << 20] {
            let bytes = [b"before".as_slice(), &vec![0; zeros], b"after"].concat();
            let mut digest = Digest::new();
            digest.update(b"before");
            digest.append_zeros(zeros as u64);
            digest.update(b"after");
            assert_eq!((digest.crc(), digest.bytes()), (Crc32::of(&bytes), bytes.len() as u64), "{zeros}");
        }
        // Of as many as there can be.
        let (mut once, mut twice) = (Digest::new(), Digest::new());
        once.append_zeros(u64::MAX >> 1);
        twice.append_zeros(1 << 40);
        twice.append_zeros((u64::MAX >> 1) - (1 << 40));
        assert_eq!((once.crc(), once.bytes()), (twice.crc(), twice.bytes()));
    }

    #[test]
    fn only_eight_lowercase_digits_are_a_crc() {
        assert_eq!(Crc32::parse(b"cbf43926"), Some(Crc32(0xcbf4_3926)));
        for word in ["CBF43926", "cbf4392", "cbf439260", "", "-", "cbf4392g", "+bf43926"] {
            assert_eq!(Crc32::parse(word.as_bytes()), None, "{word}");
        }
    }
}
