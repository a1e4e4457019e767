//! The body of an upload that arrives: its bytes, gathered for writes, and its check.

use ferry_wire::{BodyCheck, Code, Crc32, Digest, Failure, Verdict};

use super::{
    Limits,
    upload::{CHUNK_BYTES, WRITES},
};
use crate::store::{Chunk, Tail};

/// The memory that a body begins with, so that a slow client costs little.
const FIRST_CHUNK_BYTES: usize = 16 << 10;

/// Below this, bytes are copied from the common input buffer rather than read to their place.
const DIRECT_BYTES: usize = 8 << 10;

/// The most that is read at once where a block's header is due inside a large body.
const HEADER_HINT_BYTES: usize = 4 << 10;

/// See the [module documentation](self).
pub(super) struct Body {
    size: Option<u64>,
    check: BodyCheck,
    /// The bytes that arrived and are not handed on.
    chunk: Chunk,
    /// Zeros that stand after the chunk: it is handed on before they count.
    hole: u64,
    /// Where the chunk belongs.
    at: u64,
    /// The digest of all that was handed on.
    handed_on: Digest,
    /// Memory that came back: of at most [`WRITES`] chunks.
    spares: Vec<Chunk>,
    /// Bytes that arrived on this connection.
    arrived: u64,
}

impl Body {
    pub(super) fn new(size: Option<u64>, check: BodyCheck) -> Body {
        let at = check.received();
        let handed_on = Digest::resume(check.crc(), at);
        Body { size, check, chunk: Chunk::default(), hole: 0, at, handed_on, spares: Vec::new(), arrived: 0 }
    }

    /// Returns how many bytes it can take now.
    pub(super) fn room(&self) -> usize {
        if self.hole > 0 { 0 } else { CHUNK_BYTES - self.chunk.filled }
    }

    /// Returns the bytes that arrived on this connection.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Checks a block of `bytes` bytes that begins.
    pub(super) fn block(&self, bytes: u64, limits: &Limits) -> Result<(), Failure> {
        self.check.block(bytes).map_err(|overrun| Failure::new(Code::BadRequest, overrun.to_string()))?;
        if self.check.received() + bytes > limits.upload_bytes { Err(limits.too_large()) } else { Ok(()) }
    }

    /// Takes a hole, checked as a [`block`](Self::block) is: zeros of which nothing comes.
    pub(super) fn take_hole(&mut self, bytes: u64) {
        assert!(self.room() > 0, "a hole comes while one waits");
        if self.chunk.filled > 0 {
            self.hole = bytes;
        } else {
            self.chunk.hole += bytes;
            self.check.zeros(bytes);
        }
    }

    /// Takes bytes out of the common input buffer: at most [`room`](Self::room).
    pub(super) fn take(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "a chunk takes no more than it has room for");
        let Chunk { memory, filled, .. } = &mut self.chunk;
        let end = *filled + bytes.len();
        if end > memory.capacity() {
            // Never more than a chunk is counted for.
            let grown = (memory.capacity() * 2).min(CHUNK_BYTES).max(end);
            memory.reserve_exact(grown - memory.len());
        }
        if end <= memory.len() {
            memory[*filled..end].copy_from_slice(bytes);
        } else {
            memory.truncate(*filled);
            memory.extend_from_slice(bytes);
        }
        *filled = end;
        self.check.bytes(bytes);
        self.arrived += bytes.len() as u64;
    }

    /// Returns where up to `due` bytes can be read to; [`None`] where that does not pay.
    pub(super) fn direct(&mut self, due: u64) -> Option<&mut [u8]> {
        let room = self.room().min(usize::try_from(due).unwrap_or(usize::MAX));
        if room == 0 || room < DIRECT_BYTES.min(self.room()) {
            return None;
        }
        let Chunk { memory, filled, .. } = &mut self.chunk;
        if memory.len() - *filled < DIRECT_BYTES && memory.len() < CHUNK_BYTES {
            let grown = (memory.len() * 2).clamp(FIRST_CHUNK_BYTES, CHUNK_BYTES);
            memory.reserve_exact(grown - memory.len());
            memory.resize(grown, 0);
        }
        let end = memory.len().min(*filled + room);
        Some(&mut memory[*filled..end])
    }

    /// Notes that `bytes` bytes were read to [`direct`](Self::direct).
    pub(super) fn filled(&mut self, bytes: usize) {
        let start = self.chunk.filled;
        self.chunk.filled += bytes;
        self.check.bytes(&self.chunk.memory[start..self.chunk.filled]);
        self.arrived += bytes as u64;
    }

    /// Returns the most that is worth reading at once.
    pub(super) fn input_hint(&self) -> usize {
        let received = self.check.received();
        let to_come = self.size.map_or(received, |size| size - received);
        if to_come > CHUNK_BYTES as u64 { HEADER_HINT_BYTES } else { usize::MAX }
    }

    /// Decides on a body that has ended with `crc`.
    pub(super) fn end(&self, crc: Option<Crc32>) -> Result<(), Failure> {
        match self.check.end(crc) {
            Verdict::Whole => Ok(()),
            Verdict::Short => Err(Failure::new(Code::Incomplete, "the body ended short of its size")),
            Verdict::Mismatch => Err(Failure::new(Code::Checksum, "the bytes that arrived have another CRC")),
        }
    }

    /// Returns the size that was announced.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns size and CRC of all that was received, with the bytes kept from before.
    pub(super) fn sum(&self) -> (u64, Crc32) {
        (self.check.received(), self.check.crc())
    }

    /// Returns the digest of the same.
    pub(super) fn digest(&self) -> Digest {
        Digest::resume(self.check.crc(), self.check.received())
    }

    /// Returns the digest of all that was handed on. A hole that waits before the next chunk counts as received already.
    pub(super) fn handed_on(&self) -> Digest {
        self.handed_on.clone()
    }

    /// Returns the offset of the next chunk: all bytes before were handed on.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Returns whether bytes have arrived that were not handed on.
    pub(super) fn has_chunk(&self) -> bool {
        self.chunk.length() > 0
    }

    /// Takes the chunk to hand it on, and says where it belongs, and its CRC.
    pub(super) fn take_chunk(&mut self) -> (u64, Chunk, Crc32) {
        let chunk = std::mem::replace(&mut self.chunk, self.spares.pop().unwrap_or_default());
        let at = self.at;
        self.at += chunk.length();
        assert_eq!(self.at, self.check.received(), "all that arrived is handed on");
        let now = self.digest();
        let crc = now.since(&self.handed_on);
        self.handed_on = now;
        self.chunk.hole = std::mem::take(&mut self.hole);
        self.check.zeros(self.chunk.hole);
        (at, chunk, crc)
    }

    /// Takes the last bytes that arrived, to be kept.
    pub(super) fn take_tail(&mut self) -> Tail {
        let digest = self.digest();
        let (at, mut chunk, _) = self.take_chunk();
        chunk.shrink();
        Tail { at, chunk, digest }
    }

    /// Takes memory that came back.
    pub(super) fn reuse(&mut self, mut chunk: Chunk) {
        chunk.filled = 0;
        if self.chunk.filled == 0 && self.chunk.memory.is_empty() {
            self.chunk.memory = chunk.memory;
        } else {
            self.spares.push(chunk);
        }
        assert!(self.spares.len() <= usize::from(WRITES), "more memory came back than was handed on");
    }

    /// Gives memory back that holds nothing: the body has ended.
    pub(super) fn shrink(&mut self) {
        self.spares = Vec::new();
        self.chunk.shrink();
    }

    /// Returns the memory of the chunk, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.chunk.memory.capacity() as u64
    }

    /// Gives memory back after a window in which little came: it is for quick clients.
    pub(super) fn drop_spares(&mut self) {
        self.spares = Vec::new();
    }
}
