//! The journal beside a kept upload: the facts about it that must survive a power cut.
//!
//! A journal is a small file of two slots, written in turn, so that one of them is always whole. A
//! slot that was torn has a wrong CRC, and the other one is as true as it was. A slot is one line
//! of text, and others for whose it is, its holder and its parts, each with a CRC, padded with
//! spaces. A server that knows nothing of one of these passes over its line.

use std::{fmt::Write as _, os::fd::OwnedFd, sync::Arc};

use ferry_wire::{Crc32, Name, Tag, parse_integer};
use rustix::io::Errno;

use super::{
    owner::Owner,
    parts::{MAX_PARTS, Part},
    syscalls::Syscalls,
};

/// A slot is written as one page, so that two of them never share one.
const SLOT_BYTES: u64 = 4096;

/// The entry of a journal: the upload that is kept under one resume id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JournalEntry {
    /// Where it will be published.
    pub(super) name: Name,
    /// Bytes of the whole file, as they were announced; [`None`] where its end alone tells.
    pub(super) size: Option<u64>,
    pub(super) state: KeptState,
    /// The owner that began it; nobody where that is not known, as in journals that older servers wrote.
    pub(super) owner: Owner,
    /// Its holder, where locks don't tell whether there is one.
    pub(super) lease: Option<LeaseState>,
}

impl JournalEntry {
    /// Returns whether its holder said that it let go.
    pub(super) fn was_let_go(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !lease.is_held)
    }
}

/// The last word of a holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeaseState {
    /// It may still write.
    pub(super) is_held: bool,
    /// The name of its server, where that has one.
    pub(super) node: Option<Arc<str>>,
}

/// How far the upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeptState {
    /// The first `offset` bytes are on the disk, and have this CRC; and so are these parts beyond them.
    Kept { offset: u64, crc: Crc32, parts: Vec<Part> },
    /// All of it, so many bytes, is on the disk and about to have its name. If it is no longer kept aside, it has.
    Publishing { size: u64, crc: Crc32, tag: Tag },
    /// It has its name.
    Published { size: u64, crc: Crc32, tag: Tag },
}

/// The slots of one journal, and which of them was written last.
#[derive(Debug, Default)]
pub(super) struct Journal {
    sequence: u64,
    /// The entry that was written last, where there is a holder to be named.
    last: Option<Box<JournalEntry>>,
}

impl Journal {
    /// Does as [`read`](Self::read), and reads what other machines have written.
    pub(super) fn read_anew(syscalls: &Syscalls, file: &OwnedFd) -> Result<(Journal, Option<JournalEntry>), Errno> {
        syscalls.forget_cached(file)?;
        Journal::read(syscalls, file)
    }

    /// Writes again what was written last, as of a holder that has let go.
    pub(super) fn let_go(&mut self, syscalls: &Syscalls, file: &OwnedFd) -> Result<(), Errno> {
        let mut entry = *self.last.take().ok_or(Errno::BADF)?;
        if let Some(lease) = &mut entry.lease {
            lease.is_held = false;
        }
        self.write(syscalls, file, &entry)
    }

    /// Reads the newest entry; [`None`] where there is none that is whole.
    pub(super) fn read(syscalls: &Syscalls, file: &OwnedFd) -> Result<(Journal, Option<JournalEntry>), Errno> {
        let mut newest: (Journal, Option<JournalEntry>) = (Journal::default(), None);
        for slot in 0..2 {
            let mut bytes = [0; SLOT_BYTES as usize];
            let mut filled = 0;
            while filled < bytes.len() {
                match syscalls.read(file, slot * SLOT_BYTES + filled as u64, &mut bytes[filled..], false)? {
                    0 => break,
                    read => filled += read,
                }
            }
            if let Some((sequence, entry)) = decode(&bytes[..filled])
                && (newest.1.is_none() || sequence > newest.0.sequence)
            {
                newest = (Journal { sequence, last: None }, Some(entry));
            }
        }
        Ok(newest)
    }

    /// Writes the next slot. Durable only once the file is synced.
    pub(super) fn write(&mut self, syscalls: &Syscalls, file: &OwnedFd, entry: &JournalEntry) -> Result<(), Errno> {
        let sequence = self.sequence + 1;
        syscalls.write_all(file, &encode(sequence, entry), sequence % 2 * SLOT_BYTES)?;
        self.sequence = sequence;
        self.last = entry.lease.is_some().then(|| Box::new(entry.clone()));
        Ok(())
    }
}

/// `<crc of the rest> ferry-mark <sequence> <size or -> <state> <offset> <crc> <tag or -> <name>`, and
/// where they are known, `<crc of the rest> owner <owner>`, `<crc of the rest> lease <held or free> <node or ->` and
/// `<crc of the rest> parts <offset>+<length>:<crc> ...`.
fn encode(sequence: u64, entry: &JournalEntry) -> Vec<u8> {
    let (state, offset, crc, tag) = match &entry.state {
        KeptState::Kept { offset, crc, .. } => ("kept", *offset, crc, "-"),
        KeptState::Publishing { size, crc, tag } => ("publishing", *size, crc, tag.as_str()),
        KeptState::Published { size, crc, tag } => ("published", *size, crc, tag.as_str()),
    };
    let size = entry.size.map_or_else(|| NO_SIZE.to_owned(), |size| size.to_string());
    let mut line = String::new();
    let _ = write!(line, "ferry-mark {sequence} {size} {state} {offset} {crc} {tag} {}", entry.name);
    let owner = entry.owner.name().map(|owner| format!("{OWNER}{owner}"));
    let mut bytes = Vec::with_capacity(SLOT_BYTES as usize);
    let lease = entry.lease.as_ref().map(|lease| {
        let word = if lease.is_held { HELD } else { FREE };
        format!("{LEASE}{word} {}", lease.node.as_deref().unwrap_or(NO_NODE))
    });
    let parts = match &entry.state {
        KeptState::Kept { parts, .. } if !parts.is_empty() => Some(parts_line(parts)),
        _ => None,
    };
    for line in [Some(line), owner, lease, parts].into_iter().flatten() {
        bytes.extend_from_slice(format!("{} {line}\n", Crc32::of(line.as_bytes())).as_bytes());
    }
    assert!(bytes.len() <= SLOT_BYTES as usize, "an entry that does not fit its slot");
    bytes.resize(SLOT_BYTES as usize, b' ');
    bytes
}

/// Stands for a size that is not known. A server that knows none such finds no entry.
const NO_SIZE: &str = "-";

/// The beginning of the line of an owner.
const OWNER: &str = "owner ";

/// The line of a lease.
const LEASE: &str = "lease ";
const HELD: &str = "held";
const FREE: &str = "free";
const NO_NODE: &str = "-";

/// The line of parts.
const PARTS: &str = "parts";

fn parts_line(parts: &[Part]) -> String {
    let mut line = PARTS.to_owned();
    for Part { offset, length, crc } in parts {
        let _ = write!(line, " {offset}+{length}:{crc}");
    }
    line
}

/// Reads the line of parts, without its CRC.
fn parts_of(line: &str) -> Option<Vec<Part>> {
    let part = |word: &str| {
        let (offset, rest) = word.split_once('+')?;
        let (length, crc) = rest.split_once(':')?;
        let (offset, length) = (parse_integer(offset.as_bytes())?, parse_integer(length.as_bytes())?);
        Some(Part { offset, length, crc: Crc32::parse(crc.as_bytes())? })
    };
    line.strip_prefix(PARTS)?.strip_prefix(' ')?.split(' ').take(MAX_PARTS + 1).map(part).collect()
}

/// Reads the line of a lease, without its CRC.
fn lease_of(line: &str) -> Option<LeaseState> {
    let (word, node) = line.strip_prefix(LEASE)?.split_once(' ')?;
    let node = Some(node).filter(|node| *node != NO_NODE).map(Arc::from);
    match word {
        HELD => Some(LeaseState { is_held: true, node }),
        FREE => Some(LeaseState { is_held: false, node }),
        _ => None,
    }
}

/// Takes a line from the front of `slot`, without its CRC; [`None`] where that is wrong.
fn line_of<'s>(slot: &mut &'s [u8]) -> Option<&'s str> {
    let end = slot.iter().position(|&byte| byte == b'\n')?;
    let (crc, line) = slot[..end].split_at_checked(8)?;
    *slot = &slot[end + 1..];
    let line = line.strip_prefix(b" ")?;
    if Crc32::parse(crc)? != Crc32::of(line) {
        return None;
    }
    std::str::from_utf8(line).ok()
}

fn decode(mut slot: &[u8]) -> Option<(u64, JournalEntry)> {
    let mut words = line_of(&mut slot)?.splitn(8, ' ');
    if words.next()? != "ferry-mark" {
        return None;
    }
    let sequence = parse_integer(words.next()?.as_bytes())?;
    let size = match words.next()? {
        NO_SIZE => None,
        word => Some(parse_integer(word.as_bytes())?),
    };
    let state = words.next()?;
    let offset = parse_integer(words.next()?.as_bytes())?;
    let crc = Crc32::parse(words.next()?.as_bytes())?;
    let tag = words.next()?;
    let name = Name::new(words.next()?).ok()?;
    let mut state = match state {
        "kept" if size.is_none_or(|size| offset <= size) => KeptState::Kept { offset, crc, parts: Vec::new() },
        // What was announced has come.
        _ if size.is_some_and(|size| offset != size) => return None,
        "publishing" => KeptState::Publishing { size: offset, crc, tag: Tag::new(tag).ok()? },
        "published" => KeptState::Published { size: offset, crc, tag: Tag::new(tag).ok()? },
        _ => return None,
    };
    let mut owner = None;
    let mut lease = None;
    while let Some(line) = line_of(&mut slot) {
        owner = owner.or_else(|| Owner::new(line.strip_prefix(OWNER)?));
        lease = lease.or_else(|| lease_of(line));
        if let KeptState::Kept { offset, parts, .. } = &mut state
            && let Some(found) = parts_of(line)
            && size.is_some_and(|size| Part::are_valid(&found, *offset, size))
        {
            *parts = found;
        }
    }
    Some((sequence, JournalEntry { name, size, state, owner: owner.unwrap_or_default(), lease }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::closer::Closer;

    fn syscalls() -> Syscalls {
        Syscalls::new(None, Closer::start().unwrap())
    }

    fn kept(offset: u64) -> JournalEntry {
        let owner = Owner::new("address=192.0.2.7").unwrap();
        JournalEntry {
            name: Name::new("a dir/a name").unwrap(),
            size: Some(100),
            state: KeptState::Kept { offset, crc: Crc32(7), parts: Vec::new() },
            owner,
            lease: None,
        }
    }

    #[test]
    fn journals_come_back() {
        let tag = Tag::new("1-2-3").unwrap();
        for (size, state) in [
            (Some(100), KeptState::Kept { offset: 7, crc: Crc32(1), parts: Vec::new() }),
            (Some(100), KeptState::Kept { offset: 7, crc: Crc32(1), parts: vec![part(7, 1), part(9, 91)] }),
            (Some(100), KeptState::Publishing { size: 100, crc: Crc32(2), tag: tag.clone() }),
            (Some(100), KeptState::Published { size: 100, crc: Crc32(3), tag: tag.clone() }),
            (None, KeptState::Kept { offset: 7, crc: Crc32(1), parts: Vec::new() }),
            (None, KeptState::Publishing { size: 0, crc: Crc32(2), tag: tag.clone() }),
            (None, KeptState::Published { size: 100, crc: Crc32(3), tag }),
        ] {
            for lease in [None, Some((true, None)), Some((false, Some("a.1")))] {
                let lease = lease.map(|(is_held, node)| LeaseState { is_held, node: node.map(Arc::from) });
                for owner in [Owner::default(), kept(0).owner] {
                    let entry = JournalEntry { size, state: state.clone(), lease: lease.clone(), owner, ..kept(0) };
                    assert_eq!(decode(&encode(5, &entry)), Some((5, entry)));
                }
            }
        }
    }

    #[test]
    fn a_whole_that_is_not_as_long_as_was_announced_is_none() {
        let state = KeptState::Publishing { size: 99, crc: Crc32(2), tag: Tag::new("t").unwrap() };
        assert_eq!(decode(&encode(5, &JournalEntry { state, ..kept(0) })), None);
        assert_eq!(decode(&encode(5, &kept(101))), None);
    }

    fn part(offset: u64, length: u64) -> Part {
        Part { offset, length, crc: Crc32(u32::MAX) }
    }

    #[test]
    fn as_many_parts_as_may_be_fit_beside_the_longest_of_everything() {
        const MOST: u64 = ferry_wire::limits::MAX_INTEGER;
        let parts: Vec<_> = (0..MAX_PARTS as u64).map(|index| part(MOST - 2 * (MAX_PARTS as u64 - index), 1)).collect();
        let entry = JournalEntry {
            name: Name::new(&"n".repeat(ferry_wire::limits::MAX_NAME_BYTES)).unwrap(),
            size: Some(MOST),
            state: KeptState::Kept { offset: MOST - 1000, crc: Crc32(u32::MAX), parts },
            owner: Owner::new(&"o".repeat(128)).unwrap(),
            lease: Some(LeaseState { is_held: true, node: Some("n".repeat(64).into()) }),
        };
        assert_eq!(decode(&encode(u64::MAX >> 1, &entry)), Some((u64::MAX >> 1, entry)));
    }

    #[test]
    fn parts_that_can_not_be_are_none() {
        let kept = |parts: Vec<Part>| KeptState::Kept { offset: 7, crc: Crc32(1), parts };
        for parts in [vec![part(6, 1)], vec![part(99, 2)], vec![part(9, 1), part(8, 1)], vec![part(8, 0)]] {
            let entry = JournalEntry { state: kept(parts), ..kept_entry() };
            assert_eq!(decode(&encode(5, &entry)), Some((5, JournalEntry { state: kept(Vec::new()), ..entry })));
        }
    }

    fn kept_entry() -> JournalEntry {
        kept(7)
    }

    #[test]
    fn journals_of_nobody_and_of_servers_that_knew_no_owners_come_back() {
        let entry = JournalEntry { owner: Owner::default(), ..kept(4) };
        assert_eq!(decode(&encode(5, &entry)), Some((5, entry.clone())));
        let line = "ferry-mark 5 100 kept 4 00000007 - a dir/a name";
        let old = format!("{} {line}\n{:>200}", Crc32::of(line.as_bytes()), "");
        assert_eq!(decode(old.as_bytes()), Some((5, entry.clone())));
        // An owner that was torn is nobody, and the rest holds.
        let mut torn = encode(5, &kept(4));
        let owner = torn.iter().position(|&byte| byte == b'\n').unwrap() + 12;
        torn[owner] ^= 1;
        assert_eq!(decode(&torn), Some((5, entry)));
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let (syscalls, file) = (syscalls(), OwnedFd::from(tempfile::tempfile().unwrap()));
        let (mut journal, none) = Journal::read(&syscalls, &file).unwrap();
        assert_eq!(none, None);
        for offset in 1..6 {
            journal.write(&syscalls, &file, &kept(offset)).unwrap();
            assert_eq!(Journal::read(&syscalls, &file).unwrap().1, Some(kept(offset)));
        }
    }

    #[test]
    fn a_slot_torn_anywhere_leaves_the_one_before() {
        let mut journal = Journal::default();
        for torn in 0..encode(2, &kept(9)).iter().position(|&byte| byte == b'\n').unwrap() {
            let (syscalls, file) = (syscalls(), OwnedFd::from(tempfile::tempfile().unwrap()));
            journal.sequence = 0;
            journal.write(&syscalls, &file, &kept(3)).unwrap();
            journal.write(&syscalls, &file, &kept(9)).unwrap();
            // The second slot written is at the front of the file.
            syscalls.write_all(&file, b"\0", torn as u64).unwrap();
            assert_eq!(Journal::read(&syscalls, &file).unwrap().1, Some(kept(3)), "torn at {torn}");
        }
    }
}
