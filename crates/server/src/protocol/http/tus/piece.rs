//! The check of one piece of an upload.

use ferry_wire::{Crc32, Digest};
use ring::digest;

use super::fields::Checksum;

/// See the [module documentation](self).
pub(super) enum PieceCheck {
    /// By the digest of the whole upload, which is computed anyway.
    Crc32 { expected: Crc32, before: Digest },
    /// By a digest of its own.
    Sha1 { expected: [u8; 20], digest: Box<digest::Context> },
}

impl PieceCheck {
    /// Returns the check of a piece that comes after what `before` has seen.
    pub(super) fn new(checksum: Checksum, before: &Digest) -> PieceCheck {
        match checksum {
            Checksum::Crc32(expected) => PieceCheck::Crc32 { expected, before: before.clone() },
            Checksum::Sha1(expected) => {
                let digest = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
                PieceCheck::Sha1 { expected, digest: digest.into() }
            }
        }
    }

    /// Returns whether it must see the bytes of the piece one by one.
    pub(super) fn looks_at_bytes(&self) -> bool {
        matches!(self, PieceCheck::Sha1 { .. })
    }

    /// Takes bytes of the piece.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let PieceCheck::Sha1 { digest, .. } = self {
            digest.update(bytes);
        }
    }

    /// Returns whether the piece is right, with which the digest of the upload became `after`.
    pub(super) fn holds(self, after: &Digest) -> bool {
        match self {
            PieceCheck::Crc32 { expected, before } => after.since(&before) == expected,
            PieceCheck::Sha1 { expected, digest } => digest.finish().as_ref() == expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_checked_by_their_own_bytes() {
        let mut before = Digest::new();
        before.update(b"before");
        let mut after = before.clone();
        after.update(b"123456789");
        let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, b"123456789");
        let sha1 = Checksum::Sha1(sha1.as_ref().try_into().unwrap());
        for checksum in [Checksum::Crc32(Crc32(0xcbf4_3926)), sha1] {
            let holds = |parts: [&[u8]; 2], after: &Digest| {
                let mut check = PieceCheck::new(checksum, &before);
                parts.iter().for_each(|part| check.update(part));
                check.holds(after)
            };
            assert!(holds([b"1234", b"56789"], &after));
            assert!(!holds([b"1234", b"56788"], &before));
        }
    }
}
