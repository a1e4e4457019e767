//! A run of bytes on its way to the server.

use std::{io, ops::Range};

use ferry_wire::{Digest, write_block_header};

use crate::{error::Error, trace};

/// The payload of a full block. Large enough that its header and its system calls cost nothing,
/// small enough that it stays in the processor's cache between reading, hashing and sending.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;

/// Room before the payload for `DATA 1048576` and its LF.
const HEADER_BYTES: usize = 16;

/// Whether a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// More may come, although nothing may have come now.
    More,
    /// This was its end.
    Last,
}

/// One run of bytes to send: a block's header, its payload and perhaps a closing line, side by side
/// so that they go out in one system call. Keeps count of what was sent.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    unsent: Range<usize>,
}

impl Block {
    /// An empty run.
    pub(crate) fn new() -> Block {
        Block { bytes: Vec::new(), unsent: HEADER_BYTES..HEADER_BYTES }
    }

    /// Returns the bytes that are still to be sent.
    pub(crate) fn unsent(&self) -> &[u8] {
        self.bytes.get(self.unsent.clone()).unwrap_or_default()
    }

    /// The first `bytes` bytes of what was unsent are out.
    pub(crate) fn advance(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.unsent.len());
        self.unsent.start += bytes;
    }

    /// Fills it with what `source` gives next, at most what one block holds, and adds that to `digest`. A source that would
    /// block is not waited for: what it gave until then goes on its way. `look` is called after each read and may end it.
    pub(crate) fn fill_from(
        &mut self,
        source: &mut dyn io::Read,
        digest: &mut Digest,
        mut look: impl FnMut() -> Result<(), Error>,
    ) -> Result<Filled, Error> {
        self.clear();
        let payload = self.payload(BLOCK_BYTES);
        let (mut filled, mut has_ended) = (0, false);
        while filled < BLOCK_BYTES {
            let read = source.read(&mut payload[filled..]);
            look()?;
            match read {
                Ok(0) => {
                    has_ended = true;
                    break;
                }
                Ok(got) => filled += got.min(BLOCK_BYTES - filled),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(source) => return Err(Error::System { what: "read what is to be sent", source }),
            }
        }
        digest.update(&payload[..filled]);
        if filled > 0 {
            self.announce(filled);
        }
        Ok(if has_ended { Filled::Last } else { Filled::More })
    }

    /// Takes the last `bytes` bytes back. False where some of them were sent: then nothing is changed.
    pub(crate) fn take_back(&mut self, bytes: usize) -> bool {
        let is_unsent = bytes <= self.unsent.len();
        if is_unsent {
            self.unsent.end -= bytes;
        }
        is_unsent
    }

    /// Returns how many bytes are still to be sent.
    pub(crate) fn len(&self) -> usize {
        self.unsent.len()
    }

    /// Takes everything out of it, and keeps its room.
    pub(crate) fn clear(&mut self) {
        self.unsent = HEADER_BYTES..HEADER_BYTES;
    }

    /// Appends text.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.resize(self.unsent.end, 0);
        write(&mut self.bytes);
        trace::sent(&self.bytes[self.unsent.end..]);
        self.unsent.end = self.bytes.len();
    }

    /// Appends room for so many bytes, and returns it to be filled.
    pub(crate) fn append(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.unsent.end;
        self.unsent.end += bytes;
        self.bytes.resize(self.unsent.end, 0);
        &mut self.bytes[start..]
    }

    /// Room for the payload of a block, in which nothing else is.
    pub(crate) fn payload(&mut self, bytes: usize) -> &mut [u8] {
        let end = HEADER_BYTES + bytes;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[HEADER_BYTES..end]
    }

    /// Puts the line of a block of `payload` bytes before them.
    pub(crate) fn announce(&mut self, payload: usize) {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        write_block_header(&mut header, payload as u64);
        trace::sent(&header);
        let start = HEADER_BYTES - header.len();
        self.bytes[start..HEADER_BYTES].copy_from_slice(&header);
        self.unsent = start..HEADER_BYTES + payload;
    }
}
