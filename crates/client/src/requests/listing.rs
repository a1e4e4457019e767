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

/// How often a listing is asked for whose bytes were damaged on the way.
const TRIES: u32 = 4;

pub(crate) fn list(link: &mut Link, name: Option<&Name>) -> Result<Vec<Entry>, Error> {
    let mut tries = 0;
    loop {
        ask(link, name);
        tries += 1;
        match receive(link) {
            Err(error) if is_worth_another(&error, tries) => log::info!("a listing is asked for again: {error}"),
            result => return result,
        }
    }
}

/// Whether a listing that failed is to be asked for again after so many tries.
pub(crate) fn is_worth_another(error: &Error, tries: u32) -> bool {
    tries < TRIES && matches!(error, Error::Verification(_))
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
    /// What is wrong with a line, unless the bytes turn out to be others than were sent.
    fault: Option<Error>,
}

impl Entries {
    /// At most `limit` of them.
    fn new(limit: usize) -> Entries {
        Entries { limit, entries: Vec::new(), framer: Framer::new(), rest: Vec::new(), fault: None }
    }

    /// Only too many entries end it at once: whether what stands in it is what was sent, the CRC at its end tells.
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
            if self.entries.len() == self.limit {
                return Err(Error::violation(format_args!("a listing of more than {} entries", self.limit)));
            }
            match Entry::parse(line) {
                Ok(entry) => self.entries.push(entry),
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
