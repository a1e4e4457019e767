//! The output of a session, in order: text, contents of files, ranges of files, padding.

use std::{
    collections::{VecDeque, vec_deque},
    sync::Arc,
};

use crate::store::FileBytes;

/// One run of bytes that is still to be sent.
#[derive(Debug)]
pub enum Segment<'a, F> {
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// A range of a file: at least one byte.
    File {
        /// The open file.
        file: &'a F,
        /// The next byte to send.
        at: u64,
        /// How many are left.
        left: u64,
    },
    /// So many zeros, in place of a range that can't be read any more: a block keeps its announced length.
    Padding(u64),
}

/// A part of the output, without what is gone of it.
#[derive(Debug)]
enum Part<F> {
    /// So many bytes of the text.
    Text(usize),
    /// Bytes of their own, of which the first `sent` are gone.
    Run {
        data: Vec<u8>,
        sent: usize,
    },
    /// The same, of the store's.
    Shared {
        data: Arc<[u8]>,
        sent: usize,
    },
    File {
        file: F,
        at: u64,
        left: u64,
    },
    Padding(u64),
}

impl<F> Part<F> {
    fn bytes(&self) -> u64 {
        // Data in memory fits a u64.
        match self {
            Part::Text(left) => *left as u64,
            Part::Run { data, sent } => (data.len() - sent) as u64,
            Part::Shared { data, sent } => (data.len() - sent) as u64,
            Part::File { left, .. } | Part::Padding(left) => *left,
        }
    }

    /// Takes the first `bytes` bytes off, which are no more than there are.
    fn advance(&mut self, bytes: u64) {
        match self {
            Part::Text(left) => *left -= bytes as usize,
            Part::Run { sent, .. } | Part::Shared { sent, .. } => *sent += bytes as usize,
            Part::File { at, left, .. } => (*at, *left) = (*at + bytes, *left - bytes),
            Part::Padding(left) => *left -= bytes,
        }
    }
}

/// Fewer bytes of a file are copied behind the text: a run of their own costs the system as much as that.
const SHARED_FROM_BYTES: usize = 1 << 10;

/// When so much of the text is gone, and half of all, the rest is moved to the front.
const GONE_BYTES: usize = 64 << 10;

/// Memory that is kept for the next turn: the most that small files fill in one.
const SPARE_BYTES: usize = 256 << 10;

/// Parts for which memory is kept: twice as many as the small files that a turn may send.
const SPARE_PARTS: usize = 256;

/// The parts of the output, with the memory that they are in.
#[derive(Debug)]
pub(super) struct Backlog<F> {
    parts: VecDeque<Part<F>>,
    /// All text, of which the first `gone` bytes are gone.
    text: Vec<u8>,
    gone: usize,
    /// For the next run.
    memory: Vec<u8>,
}

impl<F> Backlog<F> {
    fn new() -> Backlog<F> {
        Backlog { parts: VecDeque::new(), text: Vec::new(), gone: 0, memory: Vec::new() }
    }

    /// Appends what `write` adds to the end of the text, and returns how many bytes that are.
    fn text<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> (R, usize) {
        if self.gone >= GONE_BYTES && self.gone >= self.text.len() / 2 {
            self.text.drain(..std::mem::take(&mut self.gone));
        }
        let before = self.text.len();
        let result = write(&mut self.text);
        assert!(self.text.len() >= before, "text is appended");
        let added = self.text.len() - before;
        match self.parts.back_mut() {
            _ if added == 0 => {}
            Some(Part::Text(bytes)) => *bytes += added,
            _ => self.parts.push_back(Part::Text(added)),
        }
        (result, added)
    }

    /// Takes the first `bytes` bytes out.
    fn advance(&mut self, bytes: u64) {
        let mut rest = bytes;
        while let Some(front) = self.parts.front_mut() {
            let (all, is_text) = (front.bytes(), matches!(front, Part::Text(_)));
            let part = rest.min(all);
            rest -= part;
            self.gone += if is_text { part as usize } else { 0 };
            if part < all {
                front.advance(part);
                break;
            }
            if let Some(Part::Run { data, .. }) = self.parts.pop_front()
                && data.capacity() > self.memory.capacity()
            {
                self.memory = data;
            }
        }
        debug_assert_eq!(rest, 0, "the count of bytes is not their sum");
        if self.gone == self.text.len() {
            self.text.clear();
            self.gone = 0;
        }
    }

    /// Returns it as a spare one, which is empty, with no more memory than is worth keeping.
    fn into_spare(mut self: Box<Backlog<F>>) -> Box<Backlog<F>> {
        assert!(self.parts.is_empty() && self.gone == self.text.len(), "output is lost");
        self.text.clear();
        self.gone = 0;
        for memory in [&mut self.text, &mut self.memory] {
            if memory.capacity() > SPARE_BYTES {
                *memory = Vec::new();
            }
        }
        if self.parts.capacity() > SPARE_PARTS {
            self.parts = VecDeque::new();
        }
        self
    }

    /// Takes the memory out that the output has no need of, as a spare one.
    fn split_spare(&mut self) -> Box<Backlog<F>> {
        let rest = self.text[self.gone..].to_vec();
        let text = std::mem::replace(&mut self.text, rest);
        let (gone, memory) = (text.len(), std::mem::take(&mut self.memory));
        self.gone = 0;
        Box::new(Backlog { parts: VecDeque::new(), text, gone, memory }).into_spare()
    }
}

/// The runs of a queue, in order.
struct Segments<'a, F> {
    parts: vec_deque::Iter<'a, Part<F>>,
    /// That of the parts to come.
    text: &'a [u8],
}

impl<'a, F> Iterator for Segments<'a, F> {
    type Item = Segment<'a, F>;

    fn next(&mut self) -> Option<Segment<'a, F>> {
        Some(match self.parts.next()? {
            Part::Text(bytes) => {
                let (front, rest) = self.text.split_at(*bytes);
                self.text = rest;
                Segment::Bytes(front)
            }
            Part::Run { data, sent } => Segment::Bytes(&data[*sent..]),
            Part::Shared { data, sent } => Segment::Bytes(&data[*sent..]),
            Part::File { file, at, left } => Segment::File { file, at: *at, left: *left },
            Part::Padding(left) => Segment::Padding(*left),
        })
    }
}

/// The queue of a session's output. It owns what it holds; the transport sends from the front and
/// says how far it came.
#[derive(Debug)]
pub struct Outbox<F> {
    /// [`None`] where nothing is queued, and nothing is lent.
    backlog: Option<Box<Backlog<F>>>,
    bytes: u64,
    sent: u64,
    /// So many of the bytes that were sent have arrived at least; [`None`] where nobody says.
    arrived: Option<u64>,
}

impl<F> Outbox<F> {
    /// Returns an empty queue, which owns no memory.
    #[must_use]
    pub fn new() -> Outbox<F> {
        Outbox { backlog: None, bytes: 0, sent: 0, arrived: None }
    }

    /// Takes memory to use until the next [`rest`](Self::rest), unless it has some.
    pub(super) fn lend(&mut self, spare: &mut Option<Box<Backlog<F>>>) {
        if self.backlog.is_none() {
            self.backlog = spare.take();
        }
    }

    /// Gives the memory back that holds no output.
    pub(super) fn rest(&mut self, spare: &mut Option<Box<Backlog<F>>>) {
        let given = match &mut self.backlog {
            Some(backlog) if self.bytes > 0 => spare.is_none().then(|| backlog.split_spare()),
            backlog => backlog.take().map(Backlog::into_spare),
        };
        *spare = given.or(spare.take());
    }

    fn backlog(&mut self) -> &mut Backlog<F> {
        self.backlog.get_or_insert_with(|| Box::new(Backlog::new()))
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

    /// Notes that all but `bytes` of what was sent has arrived at the client's machine. Whoever says so once has to say it
    /// again before progress is judged.
    pub fn note_under_way(&mut self, bytes: u64) {
        self.arrived = self.arrived.max(Some(self.sent.saturating_sub(bytes)));
    }

    /// Returns the bytes that have arrived, as far as it was noted; those that were sent where it never was.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.arrived.unwrap_or(self.sent)
    }

    /// Appends what `write` adds to the end of the text.
    pub fn text<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let (result, added) = self.backlog().text(write);
        self.bytes += added as u64;
        result
    }

    /// Appends bytes of a file.
    pub fn content(&mut self, bytes: FileBytes<'_>) {
        match bytes {
            FileBytes::Shared(data) if data.len() >= SHARED_FROM_BYTES => {
                self.bytes += data.len() as u64;
                self.backlog().parts.push_back(Part::Shared { data, sent: 0 });
            }
            bytes => self.text(|text| text.extend_from_slice(&bytes)),
        }
    }

    /// Appends the bytes of `data` from `start` on, at least one.
    pub fn run(&mut self, data: Vec<u8>, start: usize) {
        assert!(start < data.len(), "an empty run");
        self.bytes += (data.len() - start) as u64;
        self.backlog().parts.push_back(Part::Run { data, sent: start });
    }

    /// Takes memory for a [run](Self::run), with arbitrary content: that of one that was sent.
    pub fn take_memory(&mut self) -> Vec<u8> {
        self.backlog.as_mut().map(|backlog| std::mem::take(&mut backlog.memory)).unwrap_or_default()
    }

    /// Appends `bytes` bytes of `file` from `at` on.
    pub fn file(&mut self, file: F, at: u64, bytes: u64) {
        assert!(bytes > 0, "an empty range");
        self.backlog().parts.push_back(Part::File { file, at, left: bytes });
        self.bytes += bytes;
    }

    /// Returns whether a file range or its padding is still queued.
    #[must_use]
    pub fn holds_ranges(&self) -> bool {
        self.segments().any(|segment| !matches!(segment, Segment::Bytes(_)))
    }

    /// Returns the run to send next, and whether more follows behind it.
    #[must_use]
    pub fn front(&self) -> Option<(Segment<'_, F>, bool)> {
        let mut segments = self.segments();
        segments.next().map(|front| (front, segments.next().is_some()))
    }

    /// Returns all runs, in order; none is empty.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_, F>> {
        match &self.backlog {
            Some(backlog) => Segments { parts: backlog.parts.iter(), text: &backlog.text[backlog.gone..] },
            None => Segments { parts: vec_deque::Iter::default(), text: &[] },
        }
    }

    /// Takes the first `bytes` bytes out: they were sent.
    pub fn advance(&mut self, bytes: u64) {
        assert!(bytes <= self.bytes, "{bytes} of {} bytes were sent", self.bytes);
        self.bytes -= bytes;
        self.sent += bytes;
        if let Some(backlog) = &mut self.backlog {
            backlog.advance(bytes);
        }
    }

    /// Replaces every file range that is still queued by zeros: its file can't be read any more.
    pub fn pad_ranges(&mut self) {
        for part in self.backlog.iter_mut().flat_map(|backlog| &mut backlog.parts) {
            if let Part::File { left, .. } = *part {
                *part = Part::Padding(left);
            }
        }
    }

    /// Forgets everything: the connection is gone.
    pub fn clear(&mut self) {
        self.backlog = None;
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

    fn all(out: &Outbox<char>) -> Vec<u8> {
        out.segments()
            .flat_map(|segment| match segment {
                Segment::Bytes(data) => data.to_vec(),
                Segment::File { file, left, .. } => vec![*file as u8; left as usize],
                Segment::Padding(left) => vec![0; left as usize],
            })
            .collect()
    }

    #[test]
    fn text_gathers_and_ranges_part_it() {
        let mut out = Outbox::new();
        out.text(|text| text.extend_from_slice(b"ab"));
        out.text(|text| text.extend_from_slice(b"c"));
        out.text(|_| ());
        out.file('f', 10, 5);
        out.text(|text| text.extend_from_slice(b"d"));
        assert_eq!(out.bytes(), 9);
        assert!(matches!(out.front(), Some((Segment::Bytes(b"abc"), true))));
        out.advance(2);
        assert!(matches!(out.front(), Some((Segment::Bytes(b"c"), true))));
        out.advance(1);
        assert!(matches!(out.front(), Some((Segment::File { file: 'f', at: 10, left: 5 }, true))));
        out.advance(3);
        assert!(out.holds_ranges());
        out.pad_ranges();
        assert!(matches!(out.front(), Some((Segment::Padding(2), true))));
        out.advance(2);
        assert!(!out.holds_ranges());
        assert!(matches!(out.front(), Some((Segment::Bytes(b"d"), false))));
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
        assert_eq!((out.bytes(), out.sent(), out.arrived()), (3, 10, 10));
        out.note_under_way(4);
        out.note_under_way(7);
        assert_eq!(out.arrived(), 6);
    }

    #[test]
    fn a_content_is_shared_unless_it_is_short() {
        let mut out = Outbox::<char>::new();
        let (short, long): (Arc<[u8]>, Arc<[u8]>) = ([1; SHARED_FROM_BYTES - 1].into(), [2; SHARED_FROM_BYTES].into());
        out.content(FileBytes::Shared(short.clone()));
        assert_eq!((Arc::strong_count(&short), out.segments().count()), (1, 1));
        out.content(FileBytes::Shared(long.clone()));
        out.content(FileBytes::Read(&long));
        out.content(FileBytes::Shared([].into()));
        assert_eq!((Arc::strong_count(&long), out.segments().count()), (2, 3));
        let expected = [&short[..], &long, &long].concat();
        assert_eq!((all(&out), out.bytes()), (expected.clone(), expected.len() as u64));
        out.advance(SHARED_FROM_BYTES as u64 + 9);
        assert_eq!(all(&out), expected[SHARED_FROM_BYTES + 9..]);
        out.advance(SHARED_FROM_BYTES as u64);
        assert_eq!((Arc::strong_count(&long), all(&out).len()), (1, SHARED_FROM_BYTES - 10));
    }

    /// Of a client that takes a part of it again and again, so that the queue is never empty.
    #[test]
    fn text_that_is_gone_takes_no_memory() {
        let mut out = Outbox::<char>::new();
        let mut next = (0..=u8::MAX).cycle();
        let mut expected = (0..=u8::MAX).cycle();
        for _ in 0..1000 {
            out.text(|text| text.extend(next.by_ref().take(1000)));
            let part = (out.bytes() - 10).min(1000);
            assert!(
                all(&out)[..part as usize].iter().eq(expected.by_ref().take(part as usize).collect::<Vec<_>>().iter())
            );
            out.advance(part);
        }
        let backlog = out.backlog.unwrap();
        assert!(backlog.text.capacity() < 4 * GONE_BYTES, "{}", backlog.text.capacity());
    }

    #[test]
    fn memory_goes_from_one_to_the_other_and_what_waits_keeps_no_more_than_it_needs() {
        let mut spare = None;
        let write = |out: &mut Outbox<char>, bytes| out.text(|text| text.resize(text.len() + bytes, b'x'));
        let (mut first, mut second) = (Outbox::new(), Outbox::new());
        first.lend(&mut spare);
        write(&mut first, 10_000);
        first.run(vec![0; 5_000], 0);
        first.advance(15_000);
        first.rest(&mut spare);
        assert!(first.backlog.is_none());
        second.lend(&mut spare);
        assert!(spare.is_none() && second.take_memory().capacity() >= 5_000);
        write(&mut second, 100);
        second.rest(&mut spare);
        let lent = spare.as_ref().unwrap();
        assert!(lent.text.capacity() >= 10_000 && lent.text.is_empty() && lent.parts.is_empty());
        assert!(second.backlog.as_ref().unwrap().text.capacity() < 1_000);
        assert_eq!(all(&second), [b'x'; 100]);
        // Two that wait, and one memory for both.
        second.lend(&mut spare);
        write(&mut second, 100);
        second.rest(&mut spare);
        assert_eq!((all(&second).len(), spare.is_some()), (200, true));
        // What is too large for that is given back to the system.
        first.lend(&mut spare);
        write(&mut first, SPARE_BYTES + 1);
        first.advance(SPARE_BYTES as u64 + 1);
        first.rest(&mut spare);
        assert!(spare.is_some_and(|spare| spare.text.capacity() == 0));
    }
}
