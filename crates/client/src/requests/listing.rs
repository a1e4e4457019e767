//! LIST.

use ferry_wire::{Entry, Frame, Framer, Name, Reply, Request};

use super::receive_body;
use crate::{
    error::Error,
    link::{Link, unexpected},
};

/// The longest listing: four million entries of usual length. A server that never ends one could
/// otherwise fill the memory.
const MAX_LISTING_BYTES: u64 = 256 << 20;

/// The most entries: short ones take many times their bytes in memory.
const MAX_ENTRIES: usize = 4 << 20;

pub(crate) fn list(link: &mut Link, name: Option<&Name>) -> Result<Vec<Entry>, Error> {
    ask(link, name);
    receive(link)
}

/// Asks only; several may be asked before the first answer is taken.
pub(crate) fn ask(link: &mut Link, name: Option<&Name>) {
    link.ask(&Request::List { name: name.cloned() });
}

/// Takes the answer of the oldest LIST that has none yet.
pub(crate) fn receive(link: &mut Link) -> Result<Vec<Entry>, Error> {
    match link.reply()? {
        Reply::Listing => {}
        reply => return Err(unexpected(reply)),
    }
    let mut entries = Entries::new(MAX_ENTRIES);
    receive_body(link, None, |bytes, received| {
        if received > MAX_LISTING_BYTES {
            return Err(Error::violation(format_args!("a listing of more than {} MiB", MAX_LISTING_BYTES >> 20)));
        }
        entries.take(bytes)
    })?;
    entries.end()
}

/// Parts a listing into its lines; blocks may end anywhere.
struct Entries {
    limit: usize,
    entries: Vec<Entry>,
    framer: Framer,
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl Entries {
    /// At most `limit` of them.
    fn new(limit: usize) -> Entries {
        Entries { limit, entries: Vec::new(), framer: Framer::new(), rest: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        while let Some((frame, used)) = self.framer.next(&self.rest[start..]).map_err(Error::violation)? {
            let (Frame::Line(line) | Frame::Raw(line)) = frame;
            if self.entries.len() == self.limit {
                return Err(Error::violation(format_args!("a listing of more than {} entries", self.limit)));
            }
            self.entries.push(Entry::parse(line).map_err(Error::violation)?);
            start += used;
        }
        self.rest.drain(..start);
        Ok(())
    }

    /// All of them by their names, each once: while a file is replaced, an honest server may see it twice. The last word
    /// is the newest.
    fn end(self) -> Result<Vec<Entry>, Error> {
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

    #[test]
    fn a_listing_has_an_end() {
        let mut entries = Entries::new(2);
        entries.take(b"d - - - a\nd - - ").unwrap();
        entries.take(b"- b\n").unwrap();
        assert!(matches!(entries.take(b"d - - - c\n"), Err(Error::Violation(_))));
        assert_eq!(entries.entries.len(), 2);
    }

    #[test]
    fn a_name_that_comes_again_is_there_once_as_it_was_told_last() {
        let mut entries = Entries::new(10);
        entries.take(b"f 1 - t b\nf 1 - t a\nd - - - c\nf 2 - u b\nf 3 - v b\nf 9 - t c\n").unwrap();
        let found = entries.end().unwrap();
        let mut lines = Vec::new();
        found.iter().for_each(|entry| entry.encode(&mut lines));
        assert_eq!(String::from_utf8(lines).unwrap(), "f 1 - t a\nf 3 - v b\nf 9 - t c\n");
    }
}
