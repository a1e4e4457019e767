//! Permissions of files and directories, as the system has them.

use std::fmt;

/// The permissions of a file or directory: nine bits of reading, writing and executing for its owner, its group and all others.
/// Displays as three octal digits. Bits beyond these (set-user-id, set-group-id, sticky) can't be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode(u16);

impl Mode {
    /// Those of the owner.
    pub const OWNER: Mode = Mode(0o700);

    /// All nine.
    pub const ALL: Mode = Mode(0o777);

    const OWNER_READS: u16 = 0o400;

    const OWNER_LOOKS: u16 = 0o500;

    const OWNER_WRITES: u16 = 0o200;

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

    /// Does the same for a directory, into which its owner may always look: whoever keeps it has to list it, and to reach
    /// what is in it.
    #[must_use]
    pub fn taking_of_directory(self, others: Mode, mask: Mode) -> Mode {
        Mode(self.0 & !mask.0 | others.0 & mask.0 | Mode::OWNER_LOOKS)
    }

    /// Returns whether the owner may write, or make and delete what is in a directory.
    #[must_use]
    pub fn owner_writes(self) -> bool {
        self.0 & Mode::OWNER_WRITES != 0
    }

    /// Returns these, and all that a directory's owner may do: as long as somebody works in it.
    #[must_use]
    pub fn open_to_owner(self) -> Mode {
        Mode(self.0 | Mode::OWNER.0)
    }
}

/// Permissions that a file or directory is to get: those of `mode` that are in `mask`. Displays as `755`, or as `700/700`
/// where the mask has not all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AskedMode {
    /// The permissions.
    pub mode: Mode,
    /// Those of them that count.
    pub mask: Mode,
}

impl AskedMode {
    /// Reads what is displayed; returns [`None`] for anything else.
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<AskedMode> {
        match memchr::memchr(b'/', word) {
            None => Some(Mode::parse(word)?.into()),
            Some(at) => Some(AskedMode { mode: Mode::parse(&word[..at])?, mask: Mode::parse(&word[at + 1..])? }),
        }
    }
}

/// All of them count.
impl From<Mode> for AskedMode {
    fn from(mode: Mode) -> AskedMode {
        AskedMode { mode, mask: Mode::ALL }
    }
}

impl fmt::Display for AskedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mask {
            Mode::ALL => write!(f, "{}", self.mode),
            mask => write!(f, "{}/{mask}", self.mode),
        }
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
    fn what_counts_of_them_comes_back() {
        for (word, shown) in [("755", "755"), ("0700/700", "700/700"), ("640/0777", "640"), ("007/000", "007/000")] {
            assert_eq!(AskedMode::parse(word.as_bytes()).unwrap().to_string(), shown);
        }
        for word in ["755/", "/755", "755/1777", "4755/777", "755/700/700", "755 /700"] {
            assert_eq!(AskedMode::parse(word.as_bytes()), None, "{word}");
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
        assert_eq!(Mode(0o755).taking_of_directory(Mode(0), Mode::ALL), Mode(0o500));
        assert_eq!(Mode(0o755).taking_of_directory(Mode(0o277), Mode::OWNER), Mode(0o755));
        assert_eq!(Mode(0o755).taking_of_directory(Mode(0o577), Mode::OWNER), Mode(0o555));
    }
}
