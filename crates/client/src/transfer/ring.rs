//! The last bytes of a stream that were read, in bounded memory: they can be read again.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use ferry_wire::Digest;

use crate::error::Error;

/// A stream and its last bytes.
pub(super) struct Ring<'s> {
    source: &'s mut dyn Read,
    limit: usize,
    /// Of all that was forgotten.
    before: Digest,
    /// All that the source has given since.
    bytes: VecDeque<u8>,
    /// The place in the stream from which is read next: within `bytes`, or at their end.
    at: u64,
    has_ended: bool,
}

impl<'s> Ring<'s> {
    /// Keeps up to `limit` bytes of `source`.
    pub(super) fn new(source: &'s mut dyn Read, limit: usize) -> Ring<'s> {
        Ring { source, limit, before: Digest::new(), bytes: VecDeque::new(), at: 0, has_ended: false }
    }

    /// Returns how many bytes the source has given.
    pub(super) fn given(&self) -> u64 {
        self.before.bytes() + self.bytes.len() as u64
    }

    /// Returns the place of the first byte that is at hand.
    pub(super) fn start(&self) -> u64 {
        self.before.bytes()
    }

    /// Returns whether the source has come to its end, and all that it gave was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.has_ended && self.at == self.given()
    }

    /// Returns whether the source has come to its end.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Forgets what comes before `offset`, as far as it was read.
    pub(super) fn forget(&mut self, offset: u64) {
        let gone = offset.min(self.at).saturating_sub(self.start());
        let gone = usize::try_from(gone).unwrap_or(usize::MAX).min(self.bytes.len());
        let (first, second) = self.bytes.as_slices();
        let of_first = gone.min(first.len());
        self.before.update(&first[..of_first]);
        self.before.update(&second[..gone - of_first]);
        self.bytes.drain(..gone);
    }

    /// Has it read from `offset` on, and returns the digest of all before. [`None`] where that is not at hand.
    pub(super) fn rewind(&mut self, offset: u64) -> Option<Digest> {
        if offset < self.start() || offset > self.given() {
            return None;
        }
        let kept = usize::try_from(offset - self.start()).ok()?;
        let (first, second) = self.bytes.as_slices();
        let of_first = kept.min(first.len());
        let mut digest = self.before.clone();
        digest.update(&first[..of_first]);
        digest.update(&second[..kept - of_first]);
        self.at = offset;
        Some(digest)
    }

    /// Returns whether `bytes` more can be read and nothing be forgotten for it.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let again = usize::try_from(self.given() - self.at).unwrap_or(usize::MAX);
        self.bytes.len() + bytes.saturating_sub(again) <= self.limit
    }

    /// Reads ahead until `bytes` bytes were given, the source ends, or it would block. `look` is called after each read and
    /// may end it.
    pub(super) fn look_ahead(&mut self, bytes: u64, mut look: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
        let mut buffer = vec![0; 64 << 10];
        while !self.has_ended && self.given() < bytes {
            let read = self.source.read(&mut buffer);
            look()?;
            match read {
                Ok(got) => self.take(&buffer[..got.min(buffer.len())]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(source) => return Err(Error::System { what: "read what is to be sent", source }),
            }
        }
        Ok(())
    }

    /// Reads on until the source gives something or ends, where all before was read. `look` is called after each read and may
    /// end it.
    pub(super) fn wait_for_more(&mut self, mut look: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
        let given = self.given();
        while !self.has_ended && self.at == self.given() && self.given() == given {
            self.look_ahead(given + 1, &mut look)?;
        }
        Ok(())
    }

    /// Adds what the source has given: nothing at its end.
    fn take(&mut self, given: &[u8]) {
        self.has_ended = given.is_empty();
        let needed = self.bytes.len() + given.len();
        if needed > self.bytes.capacity() {
            // Never more than is kept: all of it comes to be used.
            let grown = (self.bytes.capacity() * 2).min(self.limit).max(needed);
            self.bytes.reserve_exact(grown - self.bytes.len());
        }
        self.bytes.extend(given);
    }
}

impl Read for Ring<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.at == self.given() && !self.has_ended {
            let count = self.source.read(buffer)?.min(buffer.len());
            if self.bytes.len() + count > self.limit {
                // Of what is not whole any more nothing is of use.
                self.forget(self.at);
            }
            self.take(&buffer[..count]);
            self.at += count as u64;
            return Ok(count);
        }
        let from = usize::try_from(self.at - self.start()).map_err(io::Error::other)?;
        let (first, second) = self.bytes.as_slices();
        let again = if from < first.len() { &first[from..] } else { &second[from - first.len()..] };
        let count = again.len().min(buffer.len());
        buffer[..count].copy_from_slice(&again[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use ferry_wire::Crc32;

    use super::*;

    fn rest(ring: &mut Ring<'_>) -> Vec<u8> {
        let mut read = Vec::new();
        ring.read_to_end(&mut read).unwrap();
        read
    }

    #[test]
    fn a_stream_is_read_again_while_its_beginning_is_kept() {
        let content: Vec<u8> = (0..100).collect();
        for (limit, again) in [(100, true), (99, false), (0, false)] {
            let mut source = &content[..];
            let mut ring = Ring::new(&mut source, limit);
            let mut buffer = [0; 7];
            for _ in 0..3 {
                ring.read_exact(&mut buffer).unwrap();
            }
            assert_eq!(ring.rewind(0).is_some(), limit >= 21);
            let from = if limit >= 21 { 0 } else { 21 };
            assert!(rest(&mut ring) == content[from..] && ring.is_at_end() && ring.given() == 100);
            assert_eq!(ring.rewind(0).is_some(), again, "{limit}");
            assert_eq!(rest(&mut ring).len(), if again { 100 } else { 0 });
        }
    }

    #[test]
    fn from_wherever_it_goes_on_the_bytes_and_the_digest_before_are_those_of_the_stream() {
        let content: Vec<u8> = (0..200_u64).map(|index| (index * 7 % 251) as u8).collect();
        let mut source = &content[..];
        let mut ring = Ring::new(&mut source, 50);
        let mut buffer = [0; 10];
        // The front moves on as the back does, so the memory is used round and round.
        for round in 0..20_u64 {
            assert!(ring.has_room(10));
            ring.read_exact(&mut buffer).unwrap();
            let given = (round + 1) * 10;
            ring.forget(given.saturating_sub(30));
            assert_eq!((ring.start(), ring.given()), (given.saturating_sub(30), given));
            for offset in ring.start()..=given {
                let digest = ring.rewind(offset).unwrap();
                assert_eq!((digest.bytes(), digest.crc()), (offset, Crc32::of(&content[..offset as usize])));
                let mut read = vec![0; (given - offset) as usize];
                ring.read_exact(&mut read).unwrap();
                assert!(read == content[offset as usize..given as usize]);
            }
            assert!(ring.rewind(given + 1).is_none());
            assert_eq!(given > 30, ring.start() > 0 && ring.rewind(ring.start() - 1).is_none());
        }
        assert!(!ring.has_ended());
        assert_eq!(rest(&mut ring), []);
        assert!(ring.is_at_end());
        // What was not read yet is not forgotten.
        ring.rewind(180).unwrap();
        assert!(!ring.is_at_end());
        ring.forget(200);
        assert_eq!(rest(&mut ring), content[180..]);
    }

    #[test]
    fn there_is_room_for_what_is_read_again() {
        let content = [1; 100];
        let mut source = &content[..];
        let mut ring = Ring::new(&mut source, 50);
        ring.read_exact(&mut [0; 50]).unwrap();
        assert!(ring.has_room(0) && !ring.has_room(1));
        ring.rewind(20).unwrap();
        assert!(ring.has_room(30) && !ring.has_room(31));
        ring.forget(20);
        assert!(ring.has_room(50) && !ring.has_room(51));
    }

    #[test]
    fn it_looks_ahead_as_far_as_it_is_told_and_gives_all_of_it() {
        let content: Vec<u8> = (0..100).collect();
        for (ahead, has_ended) in [(0, false), (100, false), (101, true)] {
            let mut source = &content[..];
            let mut ring = Ring::new(&mut source, 1000);
            ring.look_ahead(ahead, || Ok(())).unwrap();
            assert_eq!((ring.has_ended(), ring.at), (has_ended, 0), "{ahead}");
            assert_eq!(rest(&mut ring), content);
        }
        let mut source = &content[..];
        let mut ring = Ring::new(&mut source, 1000);
        assert!(matches!(ring.look_ahead(7, || Err(Error::Interrupted)), Err(Error::Interrupted)));
    }
}
