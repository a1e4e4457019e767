//! One file that is read: GET and READ, which send it, and SUM, which says its digest and, where asked, its SHA-256.
//!
//! A download opens its file. A small range comes with that, and all is said at once. A large one
//! is loaded piece by piece, checked once all of it is sent, and read a second time where the check
//! tells nothing for certain. Its state holds the facts known; [`settle`](Download::settle) takes
//! the next step.

use ferry_wire::{
    Code, Crc32, Digest, Failure, FileMeta, Reply, Sha256, Sha256Digest, TellsModes,
    limits::{MAX_BLOCK_BYTES, MIN_HOLE_BYTES},
    write_block_header, write_end, write_hole,
};

use std::ops::Range;

use super::{operations::Operations, outbox::Outbox, record::Transfer, replies::meta};
use crate::store::{
    Chunk, Content, FileBytes, Form, Handles, Loaded, Opened, Piece, ReadOperation, Stability, StoreError,
};

/// How much of a file may be queued before more is loaded: the next block is made ready while this
/// one is on its way.
const SENDING_AHEAD_BYTES: u64 = MAX_BLOCK_BYTES;

/// The same where the bytes themselves are queued: a piece, and the one after it while the first is
/// on its way. Between the reading of a piece and its last use it stays in the processor's cache.
const PIECE_BYTES: u64 = 128 << 10;

/// One slice of a SUM, or of a second reading: what a helper does at once.
const SUM_SLICE_BYTES: u64 = 4 << 20;

/// The room in front of a piece for its header: `DATA`, a number and a line's end.
const HEADER_BYTES: usize = 32;

/// The use that is made of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// They are sent.
    Send,
    /// Their digest is said.
    Sum,
    /// Their digest and their SHA-256 are said.
    Hash,
}

/// The way in which a file is read and told of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// The transport takes no ranges of files.
    pub(super) as_bytes: bool,
    /// Its CRC is to be that of bytes that are read for it: none that is remembered counts.
    pub(super) reads: bool,
    /// Whether its permissions are told.
    pub(super) tells: TellsModes,
    /// Its holes are not sent.
    pub(super) leaves_holes: bool,
}

/// One reading of a range.
#[derive(Debug, Clone)]
struct Reading {
    digest: Digest,
    /// Up to here there is nothing to be left out, as far as is known: of a sparse file.
    laid_to: u64,
    /// Where it is wanted.
    sha256: Option<Box<Sha256Digest>>,
}

impl Reading {
    fn new(purpose: Purpose) -> Reading {
        let sha256 = (purpose == Purpose::Hash).then(Box::default);
        Reading { digest: Digest::new(), laid_to: 0, sha256 }
    }

    fn sha256(&self) -> Option<Sha256> {
        self.sha256.as_ref().map(|sha256| Sha256Digest::clone(sha256).finish())
    }

    /// Takes what a piece has added to it.
    fn take(&mut self, digest: Option<Digest>, piece: &mut Piece) {
        self.digest = digest.unwrap_or_default();
        if let (Some(before), Piece::Hashed(sha256, _)) = (&mut self.sha256, piece) {
            std::mem::swap(before, sha256);
        }
    }
}

/// See the [module documentation](self).
pub(super) struct Download<H: Handles> {
    purpose: Purpose,
    manner: Manner,
    /// An operation is under way.
    waits: bool,
    state: State<H>,
    /// It can't be read as it was: it ends with this.
    failure: Option<Failure>,
    transfer: Transfer,
}

enum State<H: Handles> {
    /// The file is not open yet.
    Opening,
    /// A range of it is read.
    Reading(Source<H>),
    /// All was said at once.
    Said,
}

/// An open file, and the range of it that is read: at least one byte.
struct Source<H: Handles> {
    file: H::File,
    meta: FileMeta,
    start: u64,
    /// The next byte.
    at: u64,
    end: u64,
    reading: Reading,
    /// It is sent as bytes, and not from the file.
    as_bytes: bool,
    /// No CRC that is remembered counts.
    reads: bool,
    /// The shortest hole that is left out; [`None`] where none is.
    least_hole: Option<u64>,
    verified: Verified,
}

/// The proof that the bytes that were read are those that the file held at one moment.
enum Verified {
    NotYet,
    /// It did not change.
    Yes,
    /// Its status does not tell: it is read a second time. Where both readings give the same bytes,
    /// these are what the file held at the moment between them.
    BySecondReading(Reading),
}

/// How far a download came.
pub(super) enum Advance {
    /// It waits for the store or for the client.
    Waits,
    /// It has ended, and all is said: with this failure, if it failed.
    Ended(Option<Failure>),
}

impl<H: Handles> Download<H> {
    /// Begins with `open`, which is a [`ReadOperation::Open`].
    pub(super) fn begin(
        purpose: Purpose,
        open: ReadOperation<H>,
        manner: Manner,
        transfer: Transfer,
        operations: &mut Operations<H>,
    ) -> Download<H> {
        operations.read(open);
        Download { purpose, manner, waits: true, state: State::Opening, failure: None, transfer }
    }

    /// Takes the store's result of opening the file.
    pub(super) fn opened(&mut self, opened: Result<Opened<'_, H::File>, StoreError>, outbox: &mut Outbox<H::File>) {
        self.waits = false;
        let Opened { version, content } = match opened {
            _ if self.failure.is_some() => return,
            Ok(opened) => opened,
            Err(error) => return self.fail(error.into()),
        };
        let meta = meta(version, self.manner.tells);
        match content {
            Content::Inline { bytes, crc } => {
                self.transfer.bytes = bytes.len() as u64;
                let crc = crc.unwrap_or_else(|| Crc32::of(&bytes));
                let sum = |sha256| Reply::Sum { size: meta.size, crc, tag: meta.tag.clone(), sha256 };
                match self.purpose {
                    Purpose::Send => say_inline(meta, bytes, crc, outbox),
                    Purpose::Sum => outbox.text(|text| sum(None).encode(text)),
                    Purpose::Hash => outbox.text(|text| sum(Some(Sha256::of(&bytes))).encode(text)),
                }
                self.state = State::Said;
            }
            Content::Range { file, start, end, is_sendable, is_sparse } => {
                assert!(start < end, "an empty range is inline");
                if self.purpose == Purpose::Send {
                    outbox.text(|text| Reply::File(meta.clone()).encode(text));
                }
                let as_bytes = self.manner.as_bytes || !is_sendable;
                let (reading, verified) = (Reading::new(self.purpose), Verified::NotYet);
                let (at, reads) = (start, self.manner.reads);
                let least_hole = match self.purpose {
                    _ if !is_sparse => None,
                    Purpose::Send => self.manner.leaves_holes.then_some(MIN_HOLE_BYTES),
                    Purpose::Sum => Some(1),
                    // Its SHA-256 can't be moved on over zeros.
                    Purpose::Hash => None,
                };
                let source = Source { file, meta, start, at, end, reading, as_bytes, reads, least_hole, verified };
                self.state = State::Reading(source);
            }
        }
    }

    /// Takes the store's result of loading a piece.
    pub(super) fn loaded(&mut self, loaded: Result<Loaded, StoreError>, outbox: &mut Outbox<H::File>) {
        self.waits = false;
        let (mut loaded, source) = match (loaded, &mut self.state) {
            (Ok(loaded), State::Reading(source)) if loaded.piece.bytes() > 0 => (loaded, source),
            (Err(error), _) => return self.fail(error.into()),
            (Ok(_), _) => return self.fail(changed()),
        };
        if let Verified::BySecondReading(again) = &mut source.verified {
            again.take(loaded.digest, &mut loaded.piece);
            return;
        }
        let bytes = loaded.piece.bytes();
        source.reading.take(loaded.digest, &mut loaded.piece);
        let at = source.at;
        source.at += bytes;
        self.transfer.bytes += bytes;
        assert!(source.at <= source.end, "more was loaded than was asked for");
        assert_eq!(source.reading.digest.bytes(), source.at - source.start, "another digest than of what was loaded");
        match loaded.piece {
            _ if self.purpose != Purpose::Send => {}
            Piece::Hashed(..) => {}
            Piece::Cached(bytes) => {
                outbox.text(|text| write_block_header(text, bytes));
                outbox.file(source.file.clone(), at, bytes);
            }
            Piece::Bytes(Chunk { mut memory, filled, .. }, bytes) => {
                let mut header = Vec::with_capacity(HEADER_BYTES);
                write_block_header(&mut header, bytes);
                let start = HEADER_BYTES - header.len();
                memory[start..HEADER_BYTES].copy_from_slice(&header);
                memory.truncate(filled);
                outbox.run(memory, start);
            }
        }
    }

    /// Takes the store's result of looking where there are data.
    pub(super) fn laid(&mut self, laid: Result<Range<u64>, StoreError>, outbox: &mut Outbox<H::File>) {
        self.waits = false;
        let (data, source) = match (laid, &mut self.state) {
            (Ok(data), State::Reading(source)) => (data, source),
            (Err(error), _) => return self.fail(error.into()),
            (Ok(_), _) => return self.fail(changed()),
        };
        let is_first = !matches!(source.verified, Verified::BySecondReading(_));
        let (start, least) = (source.start, source.least_hole.unwrap_or(u64::MAX));
        let reading = source.current();
        let at = start + reading.digest.bytes();
        assert!(at <= data.start && data.start <= data.end, "data before what was asked for");
        reading.laid_to = data.end;
        let hole = data.start - at;
        if hole < least {
            return;
        }
        reading.digest.append_zeros(hole);
        if is_first {
            source.at += hole;
            if self.purpose == Purpose::Send {
                outbox.text(|text| write_hole(text, hole));
            }
        }
    }

    /// Takes the store's result of comparing the file with its status at the beginning.
    pub(super) fn checked(&mut self, checked: Result<Stability, StoreError>) {
        self.waits = false;
        match (checked, &mut self.state) {
            (Ok(Stability::Same), State::Reading(source)) => source.verified = Verified::Yes,
            (Ok(Stability::Doubtful), State::Reading(source)) => {
                source.verified = Verified::BySecondReading(Reading::new(self.purpose))
            }
            (Err(error), _) => self.fail(error.into()),
            (Ok(_), _) => self.fail(changed()),
        }
    }

    /// Ends it with `failure` as soon as that can be said, unless it failed before.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Takes the next step.
    pub(super) fn settle(&mut self, outbox: &mut Outbox<H::File>, operations: &mut Operations<H>) -> Advance {
        let purpose = self.purpose;
        let source = match &mut self.state {
            _ if self.waits => return Advance::Waits,
            State::Said => return Advance::Ended(None),
            State::Reading(source) if source.is_verified() => {
                source.say_end(purpose, outbox);
                return Advance::Ended(None);
            }
            // Until its last range is gone, one that fails must not be taken for that of another file.
            _ if self.failure.is_some() && outbox.holds_ranges() => return Advance::Waits,
            State::Reading(source) if self.failure.is_none() => source,
            _ => {
                let failure = self.failure.take();
                outbox.text(|text| failure.iter().for_each(|failure| failure.encode(text)));
                return Advance::Ended(failure);
            }
        };
        match source.next(purpose, outbox) {
            Next::Ask(operation) => {
                self.waits = true;
                operations.read(operation);
            }
            Next::Wait => {}
            Next::Fail => {
                self.fail(changed());
                return self.settle(outbox, operations);
            }
        }
        Advance::Waits
    }

    /// Returns what the log is told of it.
    pub(super) fn into_transfer(self) -> Transfer {
        self.transfer
    }
}

/// The next step of a source.
enum Next<H: Handles> {
    Ask(ReadOperation<H>),
    Wait,
    /// Two readings differ.
    Fail,
}

impl<H: Handles> Source<H> {
    fn next(&self, purpose: Purpose, outbox: &mut Outbox<H::File>) -> Next<H> {
        let sends = purpose == Purpose::Send;
        if self.at < self.end {
            return if sends && outbox.bytes() > self.ahead() {
                Next::Wait
            } else {
                Next::Ask(self.lay(&self.reading).unwrap_or_else(|| self.load(purpose, outbox)))
            };
        }
        match &self.verified {
            Verified::BySecondReading(again) => self.load_again(again).map_or(Next::Fail, Next::Ask),
            _ if outbox.holds_ranges() => Next::Wait,
            _ => Next::Ask(ReadOperation::Check { file: self.file.clone() }),
        }
    }

    /// Returns whether the bytes that were read are what the file held at one moment.
    fn is_verified(&self) -> bool {
        match &self.verified {
            Verified::NotYet => false,
            Verified::Yes => true,
            Verified::BySecondReading(again) => {
                let known = |reading: &Reading| (reading.digest.bytes(), reading.digest.crc(), reading.sha256());
                again.digest.bytes() == self.reading.digest.bytes() && known(again) == known(&self.reading)
            }
        }
    }

    /// Says that all was read.
    fn say_end(&self, purpose: Purpose, outbox: &mut Outbox<H::File>) {
        assert!(self.at == self.end && !outbox.holds_ranges(), "the end of a body before all of it");
        let (crc, sha256) = (self.reading.digest.crc(), self.reading.sha256());
        outbox.text(|text| match purpose {
            Purpose::Send => write_end(text, crc),
            Purpose::Sum | Purpose::Hash => {
                Reply::Sum { size: self.meta.size, crc, tag: self.meta.tag.clone(), sha256 }.encode(text);
            }
        });
    }

    /// Returns how much may be queued before more is loaded.
    fn ahead(&self) -> u64 {
        if self.as_bytes { PIECE_BYTES } else { SENDING_AHEAD_BYTES }
    }

    /// Loads what follows.
    fn load(&self, purpose: Purpose, outbox: &mut Outbox<H::File>) -> ReadOperation<H> {
        // A CRC is remembered of whole blocks: they are loaded as such wherever the range begins.
        let left = (self.data_end(&self.reading) - self.at).min(self.to_block_end(purpose));
        let (bytes, form) = match purpose {
            Purpose::Sum | Purpose::Hash => (left.min(SUM_SLICE_BYTES), background(&self.reading)),
            Purpose::Send if self.as_bytes => {
                let bytes = left.min(PIECE_BYTES);
                (bytes, Form::Bytes(place_for(bytes as usize, outbox)))
            }
            Purpose::Send => (left.min(MAX_BLOCK_BYTES), Form::Cached),
        };
        let (file, digest) = (self.file.clone(), Some(self.reading.digest.clone()));
        ReadOperation::Load { file, at: self.at, bytes, digest, remembered: !self.reads, form }
    }

    /// Returns how many bytes may be loaded at once.
    fn to_block_end(&self, purpose: Purpose) -> u64 {
        let most = if purpose == Purpose::Send { MAX_BLOCK_BYTES } else { SUM_SLICE_BYTES };
        most - self.at % most
    }

    /// Loads what follows `again` a second time; [`None`] after the last.
    fn load_again(&self, again: &Reading) -> Option<ReadOperation<H>> {
        let at = self.start + again.digest.bytes();
        if at == self.end {
            return None;
        }
        Some(self.lay(again).unwrap_or_else(|| ReadOperation::Load {
            file: self.file.clone(),
            at,
            bytes: (self.data_end(again) - at).min(SUM_SLICE_BYTES),
            digest: Some(again.digest.clone()),
            remembered: false,
            form: background(again),
        }))
    }

    /// Looks where `reading` finds data next, where that is to be known and is not.
    fn lay(&self, reading: &Reading) -> Option<ReadOperation<H>> {
        let at = self.start + reading.digest.bytes();
        let is_due = self.least_hole.is_some() && at >= reading.laid_to;
        is_due.then(|| ReadOperation::Extent { file: self.file.clone(), at, end: self.end })
    }

    /// Returns where the data end that `reading` is in.
    fn data_end(&self, reading: &Reading) -> u64 {
        if self.least_hole.is_some() { reading.laid_to.min(self.end) } else { self.end }
    }

    /// Returns the reading that is under way.
    fn current(&mut self) -> &mut Reading {
        match &mut self.verified {
            Verified::BySecondReading(again) => again,
            Verified::NotYet | Verified::Yes => &mut self.reading,
        }
    }
}

/// Returns the form of a piece that is only looked at.
/// Says a small file, or a small range of one, as one block.
fn say_inline(meta: FileMeta, bytes: FileBytes<'_>, crc: Crc32, outbox: &mut Outbox<impl Sized>) {
    assert!(bytes.len() as u64 <= MAX_BLOCK_BYTES, "more than a block");
    outbox.text(|text| {
        Reply::File(meta).encode(text);
        if !bytes.is_empty() {
            write_block_header(text, bytes.len() as u64);
        }
    });
    outbox.content(bytes);
    outbox.text(|text| write_end(text, crc));
}

fn background(reading: &Reading) -> Form {
    reading.sha256.clone().map_or(Form::Background, Form::Hashed)
}

/// Returns memory for `bytes` bytes behind a header.
fn place_for(bytes: usize, outbox: &mut Outbox<impl Sized>) -> Chunk {
    let mut memory = outbox.take_memory();
    if memory.len() < HEADER_BYTES + bytes {
        memory.reserve_exact(HEADER_BYTES + bytes - memory.len());
        memory.resize(HEADER_BYTES + bytes, 0);
    }
    Chunk { memory, filled: HEADER_BYTES, hole: 0 }
}

fn changed() -> Failure {
    Failure::new(Code::Changed, "the file changed while it was read")
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use ferry_wire::Tag;

    use super::*;
    use crate::{
        access::Users,
        protocol::{Limits, Segment, Timeouts, Visitor, ferry::FerrySession},
        store::{Completion, FileVersion, Operation, ReadCompletion},
    };

    struct Numbers;

    impl Handles for Numbers {
        type File = u32;
        type Dir = u32;
        type Upload = u32;
    }

    /// Returns a session that sends a file of `size` bytes, and the first piece that it asked for.
    fn sending(size: u64, is_sendable: bool, now: Instant) -> (FerrySession<Numbers>, Operation<Numbers>) {
        let long = Duration::from_secs(60);
        let limits = Limits {
            node: None,
            read_only: true,
            volatile: false,
            kept_modes: None,
            upload_bytes: 0,
            timeouts: Timeouts { idle: long, request: long, window: long, window_bytes: 0 },
            checkpoint_bytes: 0,
            checkpoint_time: long,
            keep: Duration::from_secs(72 * 3600),
        };
        let visitor = Visitor::new(Arc::new(Users::without_file()), true);
        let mut session = FerrySession::<Numbers>::new(Arc::new(limits), visitor, now);
        session.receive(b"GET a\n", now);
        session.next_operation().unwrap();
        let version = FileVersion { size, mtime: None, tag: Tag::new("t").unwrap(), mode: ferry_wire::Mode::of(0o644) };
        let content = Content::Range { file: 0, start: 0, end: size, is_sendable, is_sparse: false };
        session.complete(Completion::Read(ReadCompletion::Opened(Ok(Opened { version, content }))), now);
        let load = session.next_operation().unwrap();
        (session, load)
    }

    /// Returns the store's result of a load in the form of bytes, with these.
    fn appended(form: Form, mut digest: Digest, bytes: &[u8]) -> Loaded {
        let Form::Bytes(mut chunk) = form else { panic!("{form:?}") };
        digest.update(bytes);
        let end = chunk.filled + bytes.len();
        chunk.memory[chunk.filled..end].copy_from_slice(bytes);
        chunk.filled = end;
        Loaded { piece: Piece::Bytes(chunk, bytes.len() as u64), digest: Some(digest) }
    }

    #[test]
    fn bytes_go_behind_their_header_and_their_memory_comes_back() {
        let now = Instant::now();
        let size = 2 * PIECE_BYTES + 3;
        let (mut session, mut load) = sending(size, false, now);
        let greeting = session.outbox().bytes();
        session.outbox().advance(greeting);
        let (mut said, mut places) = (Vec::new(), Vec::new());
        for bytes in [PIECE_BYTES, PIECE_BYTES, 3] {
            let Operation::Read(ReadOperation::Load { digest: Some(digest), form, .. }) = load else {
                panic!("{load:?}")
            };
            let loaded = appended(form, digest, &vec![b'x'; bytes as usize]);
            session.complete(Completion::Read(ReadCompletion::Loaded(Ok(loaded))), now);
            while let Some((segment, _)) = session.outbox().front() {
                let Segment::Bytes(data) = segment else { panic!("{segment:?}") };
                said.extend_from_slice(data);
                let (start, count) = (data.as_ptr() as usize, data.len());
                places.extend((data.len() as u64 >= bytes).then_some(start));
                session.outbox().advance(count as u64);
            }
            session.sent(now);
            load = session.next_operation().unwrap();
        }
        assert!(matches!(load, Operation::Read(ReadOperation::Check { .. })), "{load:?}");
        let block = |bytes: u64| [format!("DATA {bytes}\n").into_bytes(), vec![b'x'; bytes as usize]].concat();
        let expected = [PIECE_BYTES, PIECE_BYTES, 3].map(block).concat();
        assert!(said.ends_with(&expected), "{} bytes were said", said.len());
        assert!(places.windows(2).all(|pair| pair[0].abs_diff(pair[1]) < HEADER_BYTES), "memory was asked for again");
    }

    #[test]
    fn a_range_is_sent_from_its_file_only_where_both_ends_take_it() {
        let now = Instant::now();
        let form_of = |load: Operation<Numbers>| match load {
            Operation::Read(ReadOperation::Load { form, bytes, .. }) => (matches!(form, Form::Cached), bytes),
            load => panic!("{load:?}"),
        };
        assert_eq!(form_of(sending(1 << 30, true, now).1), (true, MAX_BLOCK_BYTES));
        assert_eq!(form_of(sending(1 << 30, false, now).1), (false, PIECE_BYTES));
    }

    #[test]
    fn bytes_in_memory_wait_for_the_client() {
        let now = Instant::now();
        let (piece, size) = (PIECE_BYTES, 1 << 30);
        let (mut session, mut load) = sending(size, false, now);
        let mut sent = 0;
        for _ in 0..10 {
            let mut pieces = 0;
            // The client takes nothing.
            loop {
                let Operation::Read(ReadOperation::Load { at, bytes, digest: Some(digest), form, .. }) = load else {
                    panic!("{load:?}")
                };
                assert_eq!((at, bytes), (sent, piece));
                let loaded = appended(form, digest, &vec![0; piece as usize]);
                session.complete(Completion::Read(ReadCompletion::Loaded(Ok(loaded))), now);
                (pieces, sent) = (pieces + 1, sent + piece);
                match session.next_operation() {
                    Some(next) => load = next,
                    None => break,
                }
            }
            assert!(pieces <= 2, "{pieces} pieces in memory");
            let queued = session.outbox().bytes();
            assert!(queued < 2 * piece + (1 << 10), "{queued} bytes in memory");
            // Now it takes all but the end.
            while session.outbox().bytes() > 1 {
                let left = session.outbox().bytes() - 1;
                let Some((Segment::Bytes(data), _)) = session.outbox().front() else { panic!("no bytes") };
                let taken = left.min(data.len() as u64);
                session.outbox().advance(taken);
            }
            session.sent(now);
            load = session.next_operation().unwrap();
        }
    }
}
