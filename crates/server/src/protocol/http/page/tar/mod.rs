//! A directory as a tar archive, an entry at a time.
//!
//! [`TarWalk`] says which entry is next, [`header`] has the bytes before its content, [`padding`] counts those after
//! it, and [`END`] ends the archive. The form is POSIX.1-2001 (pax): an entry whose name, size or time does not fit
//! into ustar's header has another one before it, which every tar of the last twenty years reads.

mod walk;

use ferry_wire::Time;
use tar::{EntryType, Header};

pub use walk::{TarStep, TarWalk};

/// The value of `Content-Type`.
pub const TAR: &str = "application/x-tar";

/// The size of a block. Headers and contents fill whole ones.
const BLOCK_BYTES: usize = 512;

/// The end of an archive: two blocks of zeros.
pub const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// The largest size that ustar's eleven octal digits hold.
const MAX_OCTAL: u64 = 0o777_7777_7777;

/// The kind of an archive's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarMember {
    /// A file, and the bytes of its content.
    File(u64),
    /// A directory.
    Directory,
}

/// Appends the header of an entry; the content of a file follows it, then its [`padding`].
///
/// The archive has no owners, and ordinary modes.
pub fn header(path: &str, member: TarMember, mtime: Option<Time>, out: &mut Vec<u8>) {
    let (size, kind, mode, slash) = match member {
        TarMember::File(size) => (size, EntryType::Regular, 0o644, ""),
        TarMember::Directory => (0, EntryType::Directory, 0o755, "/"),
    };
    let path = format!("{path}{slash}");
    let mut records = Vec::new();
    let mut header = block(kind, mode, size, mtime.map_or(0, Time::seconds));
    // Those who don't read records get bytes of the name, not letters of some other encoding: it is the best there is.
    if !path.is_ascii() || header.set_path(&path).is_err() {
        record(&mut records, "path", &path);
        // Of any name a start fits.
        let _ = header.set_path(start_of(&path, 100 - slash.len()).to_owned() + slash);
    }
    if size > MAX_OCTAL {
        record(&mut records, "size", &size.to_string());
    }
    if let Some(time) = mtime.filter(|time| time.nanos() > 0 || time.seconds() > MAX_OCTAL) {
        record(&mut records, "mtime", &format!("{time}"));
    }
    if !records.is_empty() {
        let mut before = block(EntryType::XHeader, 0o644, records.len() as u64, 0);
        let _ = before.set_path("PaxHeaders/entry");
        before.set_cksum();
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(&records);
        out.resize(out.len() + padding(records.len() as u64), 0);
    }
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
}

/// Returns how many zeros follow a content of so many bytes.
#[must_use]
pub fn padding(size: u64) -> usize {
    (BLOCK_BYTES - (size % BLOCK_BYTES as u64) as usize) % BLOCK_BYTES
}

fn block(kind: EntryType, mode: u32, size: u64, mtime: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(mtime);
    header
}

/// Appends a record of pax: its own length in decimal digits, the key and the value.
fn record(records: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len() + value.len() + " =\n".len();
    let mut length = rest + 1;
    // The digits count themselves.
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
}

/// Returns the longest start of `text` that has at most `bytes` bytes, and does not end in a slash.
fn start_of(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Returns the path, size, seconds and content of each entry, as the library reads them.
    fn read(archive: &[u8]) -> Vec<(String, u64, u64, Vec<u8>)> {
        let mut archive = tar::Archive::new(archive);
        let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let (size, seconds) = (entry.size(), entry.header().mtime().unwrap());
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, size, seconds, content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    fn names() -> Vec<String> {
        let long = |bytes: usize| "n".repeat(bytes);
        vec![
            "a".to_owned(),
            long(100),
            long(101),
            long(255),
            format!("{}/{}", long(155), long(100)),
            format!("{}/{}", long(156), long(100)),
            format!("{}/{}/{}", long(255), long(255), "ü".repeat(127)),
            format!("{}/", long(99)) + "x",
            "Grüße/世界".to_owned(),
            "-rf *".to_owned(),
            "back\\slash".to_owned(),
            "\u{202e}\"'".to_owned(),
        ]
    }

    #[test]
    fn the_library_reads_what_was_written() {
        let mut archive = Vec::new();
        let mut expected = Vec::new();
        for (seed, name) in names().into_iter().enumerate() {
            let content = vec![b'x'; seed * 171];
            let time = Time::new(1_700_000_000 + seed as i64, 500).unwrap();
            header(&format!("{name}.d"), TarMember::Directory, Some(time), &mut archive);
            expected.push((format!("{name}.d/"), 0, time.seconds(), vec![]));
            header(&name, TarMember::File(content.len() as u64), Some(time), &mut archive);
            archive.extend_from_slice(&content);
            archive.resize(archive.len() + padding(content.len() as u64), 0);
            expected.push((name, content.len() as u64, time.seconds(), content));
        }
        assert_eq!(archive.len() % BLOCK_BYTES, 0);
        archive.extend_from_slice(&END);
        assert_eq!(read(&archive), expected);
    }

    #[test]
    fn large_sizes_and_exact_times_have_records() {
        for (size, time, expected) in [
            (MAX_OCTAL, None, ""),
            (MAX_OCTAL + 1, None, "19 size=8589934592\n"),
            (u64::MAX / 2, Time::new(5, 250_000_000), "28 size=9223372036854775807\n14 mtime=5.25\n"),
            (0, Time::new(5, 0), ""),
            (0, Time::new(1 << 40, 0), "23 mtime=1099511627776\n"),
        ] {
            let mut out = Vec::new();
            header("a", TarMember::File(size), time, &mut out);
            let last = Header::from_byte_slice(&out[out.len() - BLOCK_BYTES..]);
            assert_eq!(last.size().unwrap(), size);
            let records = if expected.is_empty() { "" } else { std::str::from_utf8(&out[512..1024]).unwrap() };
            assert!(records.starts_with(expected) && (expected.is_empty() == (out.len() == 512)), "{records:?}");
        }
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        for length in 1..1200 {
            let mut records = Vec::new();
            record(&mut records, "path", &"x".repeat(length));
            let text = std::str::from_utf8(&records).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), records.len());
        }
    }

    #[test]
    fn contents_are_padded_to_blocks() {
        for (size, zeros) in [(0, 0), (1, 511), (511, 1), (512, 0), (u64::MAX, 1)] {
            assert_eq!(padding(size), zeros, "{size}");
        }
    }
}
