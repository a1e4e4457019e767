//! Permissions of files, as the system has them.

use std::fmt;

/// The permissions of a file: nine bits of reading, writing and executing for its owner, its group and all others.
/// Displays as three octal digits. Bits beyond these (set-user-id, set-group-id, sticky) can't be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode(u16);

impl Mode {
    /// Those of the owner.
    pub const OWNER: Mode = Mode(0o700);

    /// All nine.
    pub const ALL: Mode = Mode(0o777);

    const OWNER_READS: u16 = 0o400;

    /// Returns the permissions among the bits of a mode of the system; others are dropped.
    #[must_use]
    pub fn of(bits: u32) -> Mode {
        Mode((bits & 0o777) as u16)
    }

    /// Reads three octal digits, or four of which the first is `0`; returns [`None`] for anything else.
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<Mode> {
        let digits = if word.len() == 4 { word.strip_prefix(b"0")? } else { word };
        if digits.len() != 3 || !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
            return None;
        }
        Some(Mode(digits.iter().fold(0, |bits, digit| bits << 3 | u16::from(digit - b'0'))))
    }

    /// Returns the nine bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0.into()
    }

    /// Returns those that are in both.
    #[must_use]
    pub fn within(self, mask: Mode) -> Mode {
        Mode(self.0 & mask.0)
    }

    /// Returns these, with those of `others` in place of the ones in `mask`; and that the owner may read, as whoever
    /// keeps the file has to.
    #[must_use]
    pub fn taking(self, others: Mode, mask: Mode) -> Mode {
        Mode(self.0 & !mask.0 | others.0 & mask.0 | Mode::OWNER_READS)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back() {
        for (word, bits) in [("755", 0o755), ("0644", 0o644), ("000", 0), ("0777", 0o777)] {
            let mode = Mode::parse(word.as_bytes()).unwrap();
            assert_eq!((mode.bits(), mode.to_string()), (bits, format!("{bits:03o}")));
        }
    }

    #[test]
    fn no_other_bit_can_be_said() {
        for word in ["", "4755", "1777", "00755", "75", "0o755", "758", "rwx", "+75", "7 5", "-"] {
            assert_eq!(Mode::parse(word.as_bytes()), None, "{word}");
        }
        assert_eq!(Mode::of(0o104_755), Mode(0o755));
    }

    #[test]
    fn those_in_a_mask_are_replaced_and_no_others() {
        assert_eq!(Mode(0o644).taking(Mode(0o577), Mode::OWNER), Mode(0o544));
        assert_eq!(Mode(0o644).taking(Mode(0o577), Mode::ALL), Mode(0o577));
        assert_eq!(Mode(0o644).taking(Mode(0o070), Mode::ALL), Mode(0o470));
        assert_eq!(Mode(0o751).within(Mode::OWNER), Mode(0o700));
    }
}
