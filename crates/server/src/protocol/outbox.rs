//! The output of a session, in order: text, ranges of files, padding.

use std::collections::VecDeque;

/// One run of bytes that is still to be sent.
#[derive(Debug)]
pub enum Segment<F> {
    /// Bytes in memory, of which the first `sent` are gone.
    Bytes {
        /// All of them.
        data: Vec<u8>,
        /// How many are gone.
        sent: usize,
    },
    /// A range of a file: at least one byte.
    File {
        /// The open file.
        file: F,
        /// The next byte to send.
        at: u64,
        /// How many are left.
        left: u64,
    },
    /// Zeros in place of a range that can't be read any more: a block keeps its announced length.
    Padding {
        /// How many are left.
        left: u64,
    },
}

/// From this length on, a run of bytes is not appended to.
const LONG_BYTES: usize = 64 << 10;

/// The queue of a session's output. It owns what it holds; the transport sends from the front and
/// says how far it came.
#[derive(Debug)]
pub struct Outbox<F> {
    segments: VecDeque<Segment<F>>,
    bytes: u64,
    sent: u64,
    /// Lent memory for the next text.
    spare: Vec<u8>,
}

impl<F> Outbox<F> {
    /// Returns an empty queue, which owns no memory.
    #[must_use]
    pub fn new() -> Outbox<F> {
        Outbox { segments: VecDeque::new(), bytes: 0, sent: 0, spare: Vec::new() }
    }

    /// Lends memory for text and runs, so that a busy session need not ask the system for it again
    /// and again. The rest of it is to be [taken](Self::take_memory) back.
    pub fn lend(&mut self, memory: Vec<u8>) {
        self.spare = memory;
    }

    /// Returns the bytes that are still to be sent, those of file ranges included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns whether all was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Returns the bytes that were sent since the beginning.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Appends what `write` adds to the end of the text.
    pub fn text<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let (mut data, sent) = match self.segments.pop_back() {
            // To append to a long run would move it.
            Some(Segment::Bytes { data, sent }) if data.len() < LONG_BYTES => (data, sent),
            last => {
                self.segments.extend(last);
                (self.empty_memory(), 0)
            }
        };
        let before = data.len();
        let result = write(&mut data);
        assert!(data.len() >= before, "text is appended");
        self.bytes += (data.len() - before) as u64;
        self.segments.push_back(Segment::Bytes { data, sent });
        result
    }

    /// Appends the bytes of `data` from `start` on, at least one.
    pub fn run(&mut self, data: Vec<u8>, start: usize) {
        assert!(start < data.len(), "an empty run");
        self.bytes += (data.len() - start) as u64;
        self.segments.push_back(Segment::Bytes { data, sent: start });
    }

    /// Takes memory for a [run](Self::run), with arbitrary content: the memory that was lent, or
    /// that of a run that was sent.
    pub fn take_memory(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    fn empty_memory(&mut self) -> Vec<u8> {
        let mut memory = self.take_memory();
        memory.clear();
        memory
    }

    /// Appends `bytes` bytes of `file` from `at` on.
    pub fn file(&mut self, file: F, at: u64, bytes: u64) {
        assert!(bytes > 0, "an empty range");
        self.segments.push_back(Segment::File { file, at, left: bytes });
        self.bytes += bytes;
    }

    /// Returns whether a file range or its padding is still queued.
    #[must_use]
    pub fn holds_ranges(&self) -> bool {
        self.segments.iter().any(|segment| !matches!(segment, Segment::Bytes { .. }))
    }

    /// Returns the run to send next, and whether more follows behind it.
    #[must_use]
    pub fn front(&self) -> Option<(&Segment<F>, bool)> {
        self.segments.front().map(|segment| (segment, self.segments.len() > 1))
    }

    /// Returns all runs, in order.
    pub fn segments(&self) -> impl Iterator<Item = &Segment<F>> {
        self.segments.iter()
    }

    /// Takes the first `bytes` bytes out: they were sent.
    pub fn advance(&mut self, bytes: u64) {
        assert!(bytes <= self.bytes, "{bytes} of {} bytes were sent", self.bytes);
        self.bytes -= bytes;
        self.sent += bytes;
        let mut rest = bytes;
        while let Some(front) = self.segments.front_mut() {
            let (part, is_done) = match front {
                Segment::Bytes { data, sent } => {
                    // Data queued in memory fits a usize.
                    let part = rest.min((data.len() - *sent) as u64);
                    *sent += part as usize;
                    (part, *sent == data.len())
                }
                Segment::File { at, left, .. } => {
                    let part = rest.min(*left);
                    (*at, *left) = (*at + part, *left - part);
                    (part, *left == 0)
                }
                Segment::Padding { left } => {
                    let part = rest.min(*left);
                    *left -= part;
                    (part, *left == 0)
                }
            };
            rest -= part;
            if !is_done {
                break;
            }
            if let Some(Segment::Bytes { data, .. }) = self.segments.pop_front()
                && data.capacity() > self.spare.capacity()
            {
                self.spare = data;
            }
        }
        debug_assert_eq!(rest, 0, "the count of bytes is not their sum");
    }

    /// Gives the memory of an empty queue back.
    pub(super) fn rest(&mut self) {
        if self.segments.is_empty() && self.segments.capacity() > 0 {
            self.segments = VecDeque::new();
        }
    }

    /// Replaces every file range that is still queued by zeros: its file can't be read any more.
    pub fn pad_ranges(&mut self) {
        for segment in &mut self.segments {
            if let Segment::File { left, .. } = *segment {
                *segment = Segment::Padding { left };
            }
        }
    }

    /// Forgets everything: the connection is gone.
    pub fn clear(&mut self) {
        self.segments = VecDeque::new();
        self.bytes = 0;
    }
}

impl<F> Default for Outbox<F> {
    fn default() -> Self {
        Outbox::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_gathers_and_ranges_part_it() {
        let mut out = Outbox::new();
        out.text(|text| text.extend_from_slice(b"ab"));
        out.text(|text| text.extend_from_slice(b"c"));
        out.file('f', 10, 5);
        out.text(|text| text.extend_from_slice(b"d"));
        assert_eq!(out.bytes(), 9);
        assert!(matches!(out.front(), Some((Segment::Bytes { data, sent: 0 }, true)) if data == b"abc"));
        out.advance(2);
        out.advance(1);
        assert!(matches!(out.front(), Some((Segment::File { file: 'f', at: 10, left: 5 }, true))));
        out.advance(3);
        assert!(out.holds_ranges());
        out.pad_ranges();
        assert!(matches!(out.front(), Some((Segment::Padding { left: 2 }, true))));
        out.advance(2);
        assert!(!out.holds_ranges());
        assert!(matches!(out.front(), Some((Segment::Bytes { .. }, false))));
        out.advance(1);
        assert!(out.is_empty() && out.front().is_none() && out.sent() == 9);
    }

    #[test]
    fn one_step_passes_several_runs() {
        let mut out = Outbox::new();
        out.text(|text| text.extend_from_slice(b"head"));
        out.run(b"a body".to_vec(), 2);
        out.file('f', 10, 5);
        assert_eq!(out.segments().count(), 3);
        out.advance(10);
        assert!(matches!(out.front(), Some((Segment::File { file: 'f', at: 12, left: 3 }, false))));
        assert_eq!((out.bytes(), out.sent()), (3, 10));
    }
}
