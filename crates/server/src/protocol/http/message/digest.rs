//! Digests in fields: RFC 9530.
//!
//! ferry's digest is the CRC-32 of zlib. The registry of RFC 9530 does not have it: its `crc32c` is
//! another polynomial. So it stands under the key `crc32`, which other programs leave out as they must
//! leave out keys that they don't know. Its value is the four bytes, the highest first, in base64,
//! between colons: `crc32=:y/Q5Jg==:`.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ferry_wire::Crc32;

use super::{
    fields::Fields,
    status::{Refusal, StatusCode},
};

/// The value of `Repr-Digest` or `Content-Digest`.
#[derive(Debug, Clone, Copy)]
pub struct CrcField([u8; CRC_FIELD_BYTES]);

const CRC_FIELD_BYTES: usize = b"crc32=:y/Q5Jg==:".len();

impl CrcField {
    /// Returns the value that names `crc`.
    #[must_use]
    pub fn of(crc: Crc32) -> CrcField {
        let mut text = *b"crc32=:????????:";
        // Four bytes are eight characters; an error could only be one of room.
        let _ = STANDARD.encode_slice(crc.0.to_be_bytes(), &mut text[7..CRC_FIELD_BYTES - 1]);
        CrcField(text)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for CrcField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The fields that tell the CRC of a body.
const NAMES: [&str; 2] = ["content-digest", "repr-digest"];

/// Returns the CRC that the body must have.
pub(super) fn crc_of_fields(fields: Fields<'_>) -> Result<Option<Crc32>, Refusal> {
    let mut found = None;
    if !fields.may_have_any(NAMES) {
        return Ok(None);
    }
    for name in NAMES {
        for member in fields.elements(name) {
            let Some(value) = member.strip_prefix(b"crc32=") else { continue };
            let malformed = || Refusal::new(StatusCode::BAD_REQUEST, "the CRC is four bytes of base64 between colons");
            let crc = value.strip_prefix(b":").and_then(|value| value.strip_suffix(b":")).and_then(crc_of);
            let crc = crc.ok_or_else(malformed)?;
            if found.is_some_and(|found| found != crc) {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "two CRCs of one body"));
            }
            found = Some(crc);
        }
    }
    Ok(found)
}

/// Reads a CRC in base64; [`None`] where it is not four bytes.
#[must_use]
pub fn crc_of(base64: &[u8]) -> Option<Crc32> {
    let mut bytes = [0; 6];
    let length = STANDARD.decode_slice(base64, &mut bytes).ok()?;
    let bytes: [u8; 4] = bytes[..length].try_into().ok()?;
    Some(Crc32(u32::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crc_comes_back_as_it_was() {
        assert_eq!(CrcField::of(Crc32::of(b"123456789")).to_string(), "crc32=:y/Q5Jg==:");
        for crc in [0, 1, u32::MAX, 0xcbf4_3926] {
            let lines = format!("Repr-Digest: sha-256=:AA==:, {}\r\n", CrcField::of(Crc32(crc)));
            assert_eq!(crc_of_fields(Fields::of_lines(lines.as_bytes())), Ok(Some(Crc32(crc))));
        }
    }

    #[test]
    fn crcs_that_are_none_are_refused() {
        for value in ["crc32=", "crc32=::", "crc32=:AA==:", "crc32=y/Q5Jg==", "crc32=:y/Q5Jg:", "crc32=:y/Q5JgAA:"] {
            let lines = format!("Content-Digest: {value}\r\n");
            assert!(crc_of_fields(Fields::of_lines(lines.as_bytes())).is_err(), "{value}");
        }
        let two = "Content-Digest: crc32=:y/Q5Jg==:\r\nRepr-Digest: crc32=:AAAAAA==:\r\n";
        assert!(crc_of_fields(Fields::of_lines(two.as_bytes())).is_err());
        assert_eq!(crc_of_fields(Fields::of_lines(b"Content-Digest: crc32c=:AAAAAA==:\r\n")), Ok(None));
    }
}
