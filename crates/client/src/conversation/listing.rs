//! Listings: what stands in them, and how much memory that takes.

use ferry_wire::{Entry, Frame, Framer, Name, Reply};

use super::{Exchange, Next, unexpected};
use crate::error::Error;

/// The longest listing, whatever is in it: a server may never end one.
const MAX_LISTING_BYTES: u64 = 256 << 20;

/// The memory that one thing takes beside its name, and the number of copies of its whole name, in the
/// command that makes the most of it: measured for a GET of a whole directory, some 530 bytes for names of 30.
const THING_BYTES: usize = 350;
const NAME_COPIES: usize = 6;

/// How much memory the things may take that a server tells of in one command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    limit: usize,
    taken: usize,
    things: usize,
}

impl Memory {
    /// At most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Memory {
        Memory { limit, taken: 0, things: 0 }
    }

    /// One more thing, in a directory whose name has `above` bytes.
    fn take(&mut self, above: usize, entry: &Entry) -> Result<(), Error> {
        self.things += 1;
        self.taken += THING_BYTES + NAME_COPIES * (above + 1 + entry.name.as_str().len());
        if self.taken > self.limit {
            return Err(Error::TooMuch { things: self.things, limit: self.limit });
        }
        Ok(())
    }
}

/// Takes the listing of `directory`, which begins with `reply`. Its entries count in `memory` where it is whole.
pub(crate) fn receive<T>(
    exchange: &mut Exchange<'_, T>,
    reply: Reply,
    directory: Option<&Name>,
    memory: &mut Memory,
) -> Result<Vec<Entry>, Error> {
    if reply != Reply::Listing {
        return Err(unexpected(reply));
    }
    let mut entries = Entries::new(directory.map_or(0, |name| name.as_str().len()), *memory);
    // None of it is left out: nobody asked for that.
    while let Next::Bytes(bytes) = exchange.piece()? {
        entries.take(bytes)?;
        if exchange.received().bytes() > MAX_LISTING_BYTES {
            return Err(Error::violation(format_args!("a listing of more than {} MiB", MAX_LISTING_BYTES >> 20)));
        }
    }
    *memory = entries.memory;
    entries.end()
}

/// Parts a listing into its lines; blocks may end anywhere.
struct Entries {
    /// The length of the directory's name.
    above: usize,
    memory: Memory,
    entries: Vec<Entry>,
    framer: Framer,
    /// The beginning of a line.
    rest: Vec<u8>,
    /// The fault in a line, unless the bytes turn out to be others than were sent.
    fault: Option<Error>,
}

impl Entries {
    fn new(above: usize, memory: Memory) -> Entries {
        Entries { above, memory, entries: Vec::new(), framer: Framer::new(), rest: Vec::new(), fault: None }
    }

    /// Only too much memory ends it at once: whether what stands in it is what was sent, the CRC at its end tells.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.fault.is_some() {
            return Ok(());
        }
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        loop {
            let (line, used) = match self.framer.next(&self.rest[start..]) {
                Ok(Some((Frame::Line(line) | Frame::Raw(line), used))) => (line, used),
                Ok(None) => break,
                Err(error) => {
                    self.fault = Some(Error::violation(error));
                    return Ok(());
                }
            };
            match Entry::parse(line) {
                Ok(entry) => {
                    self.memory.take(self.above, &entry)?;
                    self.entries.push(entry);
                }
                Err(error) => {
                    self.fault = Some(Error::violation(error));
                    return Ok(());
                }
            }
            start += used;
        }
        self.rest.drain(..start);
        Ok(())
    }

    /// All of them by their names, each once: while a file is replaced, an honest server may see it twice. The last word
    /// is the newest.
    fn end(self) -> Result<Vec<Entry>, Error> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !self.rest.is_empty() {
            return Err(Error::violation("a listing that ends inside a line"));
        }
        let mut entries = self.entries;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|later, earlier| {
            let again = later.name == earlier.name;
            if again {
                std::mem::swap(later, earlier);
            }
            again
        });
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(limit: usize) -> Entries {
        Entries::new(0, Memory::new(limit))
    }

    #[test]
    fn what_a_server_tells_of_has_an_end() {
        let mut entries = entries(2 * (THING_BYTES + 2 * NAME_COPIES));
        entries.take(b"d - - - a\nd - - ").unwrap();
        entries.take(b"- b\n").unwrap();
        assert!(matches!(entries.take(b"d - - - c\n"), Err(Error::TooMuch { things: 3, .. })));
        assert_eq!(entries.entries.len(), 2);
        // Short names and long ones, in directories of short names and long ones: a million of usual length fit.
        let most = |above, name: usize| {
            let entry = Entry {
                name: Name::new(&"x".repeat(name)).unwrap(),
                kind: ferry_wire::EntryKind::Directory(ferry_wire::DirMeta::default()),
            };
            let mut memory = Memory::new(512 << 20);
            (0..).take_while(|_| memory.take(above, &entry).is_ok()).count()
        };
        assert!(most(15, 15) > 1_000_000 && most(0, 1) < 2_000_000 && most(900, 100) < 100_000);
    }

    #[test]
    fn a_name_that_comes_again_is_there_once_as_it_was_told_last() {
        let mut entries = entries(1 << 20);
        entries.take(b"f 1 - t b\nf 1 - t a\nd - - - c\nf 2 - u b\nf 3 - v b\nf 9 - t c\n").unwrap();
        let found = entries.end().unwrap();
        let mut lines = Vec::new();
        found.iter().for_each(|entry| entry.encode(&mut lines));
        assert_eq!(String::from_utf8(lines).unwrap(), "f 1 - t a\nf 3 - v b\nf 9 - t c\n");
    }
}
