//! The journal of a partial file, beside it: text, only ever appended to, each line with a CRC of its own.

use std::io::Write as _;

use ferry_wire::{Crc32, FileMeta, Name, Tag, Time, parse_integer};

/// The longest that is read: the checkpoints of several TiB.
pub(crate) const MAX_JOURNAL_BYTES: u64 = 4 << 20;

/// The content of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Journal {
    /// The file's name on the server.
    pub(crate) name: Name,
    /// The version that the partial file is of.
    pub(crate) meta: FileMeta,
    /// How many bytes from the first on had which CRC, in rising order.
    pub(crate) checkpoints: Vec<(u64, Crc32)>,
    /// The start of the system in which the bytes after the last checkpoint were written, if they are worth anything.
    boot: Option<String>,
}

impl Journal {
    /// Reads as much of a journal as is whole; [`None`] where nothing of use is.
    pub(crate) fn parse(text: &[u8]) -> Option<Journal> {
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').map(checked_line);
        let mut journal = Journal::parse_head(lines.next()??)?;
        for line in lines {
            let Some(()) = line.and_then(|line| journal.take(line)) else {
                // What was to be said here is not known: perhaps that the rest is worth nothing.
                journal.boot = None;
                break;
            };
        }
        Some(journal)
    }

    fn parse_head(line: &str) -> Option<Journal> {
        let mut words = line.strip_prefix("ferry-part 1 ")?.splitn(4, ' ');
        let size = parse_integer(words.next()?.as_bytes())?;
        let mtime = match words.next()? {
            "-" => None,
            word => Some(Time::parse(word.as_bytes())?),
        };
        let tag = Tag::new(words.next()?).ok()?;
        let name = Name::new(words.next()?).ok()?;
        Some(Journal { name, meta: FileMeta { size, mtime, tag, mode: None }, checkpoints: Vec::new(), boot: None })
    }

    fn take(&mut self, line: &str) -> Option<()> {
        match line.split_once(' ')? {
            ("boot", id) => self.boot = Some(id.to_owned()),
            ("at", _) => {
                let at = parse_checkpoint(line)?;
                while self.checkpoints.pop_if(|last| last.0 >= at.0).is_some() {}
                self.checkpoints.push(at);
            }
            _ => return None,
        }
        Some(())
    }

    /// How many bytes of a partial file of `bytes` bytes can be those that were written: what was written since the start of the
    /// system is there; of what was written before, only what a checkpoint can prove.
    pub(crate) fn worth(&self, bytes: u64, boot: Option<&str>) -> u64 {
        let proven = self.checkpoints.iter().rev().map(|at| at.0).find(|offset| *offset <= bytes).unwrap_or(0);
        if boot.is_some() && self.boot.as_deref() == boot { bytes } else { proven }
    }
}

/// Hashes what a journal is of, for its name, by FNV-1a: it must be the same in every version of this program. Clashes
/// do no harm, for a journal says whose it is.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A line without its LF and its CRC, if that is right.
pub(crate) fn checked_line(line: &[u8]) -> Option<&str> {
    let (text, crc) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.rsplit_once(' ')?;
    (Crc32::parse(crc.as_bytes())? == Crc32::of(text.as_bytes())).then_some(text)
}

/// `text` as a line with its CRC and its LF.
pub(crate) fn line(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = writeln!(out, "{text} {}", Crc32::of(text.as_bytes()));
    out
}

/// The first line.
pub(crate) fn head(name: &Name, meta: &FileMeta) -> Vec<u8> {
    let mtime = meta.mtime.map_or_else(|| "-".to_owned(), |mtime| mtime.to_string());
    line(&format!("ferry-part 1 {} {mtime} {} {name}", meta.size, meta.tag))
}

/// From here on the bytes are written in this start of the system; [`None`] where they may have holes, or
/// nobody knows the start.
pub(crate) fn boot(id: Option<&str>) -> Vec<u8> {
    line(&format!("boot {}", id.unwrap_or("?")))
}

/// Reads what [`checkpoint`] wrote, without its CRC: an offset, and the CRC of the bytes before it.
pub(crate) fn parse_checkpoint(line: &str) -> Option<(u64, Crc32)> {
    let (offset, crc) = line.strip_prefix("at ")?.split_once(' ')?;
    Some((parse_integer(offset.as_bytes())?, Crc32::parse(crc.as_bytes())?))
}

/// The first `offset` bytes have this CRC.
pub(crate) fn checkpoint(offset: u64, crc: Crc32) -> Vec<u8> {
    line(&format!("at {offset} {crc}"))
}

/// Returns the id of this start of the system.
pub(crate) fn this_boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> FileMeta {
        FileMeta { size: 100, mtime: Time::new(5, 250_000_000), tag: Tag::new("t-1").unwrap(), mode: None }
    }

    fn whole() -> Vec<u8> {
        let name = Name::new("a dir/a file").unwrap();
        [head(&name, &meta()), boot(Some("b-1")), checkpoint(40, Crc32(1)), checkpoint(80, Crc32(2))].concat()
    }

    #[test]
    fn what_was_written_is_read() {
        let journal = Journal::parse(&whole()).unwrap();
        assert_eq!((journal.name.as_str(), &journal.meta), ("a dir/a file", &meta()));
        assert_eq!(journal.checkpoints, [(40, Crc32(1)), (80, Crc32(2))]);
        let again = [whole(), checkpoint(40, Crc32(3))].concat();
        assert_eq!(Journal::parse(&again).unwrap().checkpoints, [(40, Crc32(3))], "what is later counts");
    }

    #[test]
    fn only_this_start_of_the_system_needs_no_proof() {
        let journal = Journal::parse(&whole()).unwrap();
        assert_eq!(journal.worth(95, Some("b-1")), 95);
        assert_eq!(journal.worth(95, Some("b-2")), 80);
        assert_eq!(journal.worth(95, None), 80);
        assert_eq!(journal.worth(79, Some("b-2")), 40);
        assert_eq!(journal.worth(39, Some("b-2")), 0);
        let unknown = Journal::parse(&[whole(), boot(None)].concat()).unwrap();
        assert_eq!(unknown.worth(95, Some("b-1")), 80);
        assert_eq!(unknown.worth(95, None), 80);
    }

    #[test]
    fn a_journal_that_is_cut_or_flipped_anywhere_says_nothing_false() {
        let whole = whole();
        let honest = Journal::parse(&whole).unwrap();
        for cut in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[cut] ^= 1;
            for text in [&whole[..cut], &flipped] {
                let Some(journal) = Journal::parse(text) else { continue };
                assert_eq!((&journal.name, &journal.meta), (&honest.name, &honest.meta));
                assert!(honest.checkpoints.starts_with(&journal.checkpoints));
                assert!(text.len() < whole.len() || journal.worth(95, Some("b-1")) < 95);
            }
        }
        assert_eq!(Journal::parse(b""), None);
    }
}
