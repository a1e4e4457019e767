//! The bytes of one file on their way out, as the content of an answer or of a part of one.
//!
//! The end of an answer is a promise that nobody can take back: after the last byte the client has a file. So the last
//! bytes are kept until all before them were sent and the file was seen to be what it was when it was opened. Where it
//! changed, the connection ends before them, and every client sees that its file is not whole.
//!
//! The file is looked at and read a second time as a download of ferry's own protocol is: see ARCHITECTURE.md.

use ferry_wire::{Code, Digest, Failure, limits::MAX_BLOCK_BYTES};

use crate::{
    protocol::{operations::Operations, outbox::Outbox},
    store::{Chunk, Form, Handles, Loaded, Piece, ReadOperation, Stability, StoreError},
};

/// How much of a file may be queued before more is loaded: the next block is made ready while this
/// one is on its way.
const SENDING_AHEAD_BYTES: u64 = MAX_BLOCK_BYTES;

/// The same where the bytes themselves are queued. Between the reading of a piece and its last use it stays in the
/// processor's cache.
const PIECE_BYTES: u64 = 128 << 10;

/// The last bytes of a file that is sent by sendfile: they are kept in memory until the file was looked at.
const LAST_BYTES: u64 = 4 << 10;

/// The most that a helper does at once of a second reading.
const SLICE_BYTES: u64 = 4 << 20;

/// See the [module documentation](self).
pub(super) struct Sending<H: Handles> {
    file: H::File,
    start: u64,
    /// The next byte to load.
    at: u64,
    end: u64,
    digest: Digest,
    /// It is sent as bytes, and not from the file.
    as_bytes: bool,
    /// An operation is under way.
    waits: bool,
    step: Step,
    /// It can't be read as it was.
    failure: Option<Failure>,
}

enum Step {
    /// It is loaded and sent.
    Loading,
    /// The last bytes are loaded; those that have come. The store may give fewer than it was asked for.
    LoadingLast(Chunk),
    /// The last bytes are here, and the file is looked at.
    Checking(Chunk),
    /// Its status does not tell: it is read a second time. Where both readings give the same bytes,
    /// these are what the file held at the moment between them.
    ReadingAgain(Chunk, Digest),
    /// All of it is queued.
    Said,
}

/// How far it came.
pub(super) enum Sent {
    /// It waits for the store or for the client.
    Waits,
    /// All of it is queued.
    Whole,
    /// The connection must end here.
    Failed(Failure),
}

impl<H: Handles> Sending<H> {
    /// Begins with the bytes of `file` from `start` to `end`, at least one; `as_bytes` where nothing can be sent from the
    /// file itself.
    pub(super) fn new(file: H::File, start: u64, end: u64, as_bytes: bool) -> Sending<H> {
        assert!(start < end, "an empty range");
        let digest = Digest::new();
        Sending { file, start, at: start, end, digest, as_bytes, waits: false, step: Step::Loading, failure: None }
    }

    /// Returns the bytes that were loaded so far.
    pub(super) fn loaded_bytes(&self) -> u64 {
        self.at - self.start
    }

    /// Takes the store's result of loading a piece.
    pub(super) fn loaded(&mut self, loaded: Result<Loaded, StoreError>, outbox: &mut Outbox<H::File>) {
        self.waits = false;
        let Loaded { piece, digest } = match loaded {
            Ok(loaded) if loaded.piece.bytes() > 0 => loaded,
            Ok(_) => return self.fail(changed()),
            Err(error) => return self.fail(error.into()),
        };
        let last_bytes = self.end - self.last_start();
        match (&mut self.step, piece) {
            (Step::Loading, Piece::Cached(bytes)) => {
                let from = self.at;
                self.advance(bytes, digest);
                let until = self.at.min(self.last_start());
                if from < until {
                    outbox.file(self.file.clone(), from, until - from);
                }
            }
            (Step::Loading, Piece::Bytes(chunk, bytes)) => {
                self.advance(bytes, digest);
                if self.at == self.end {
                    self.step = Step::Checking(chunk);
                } else {
                    queue(chunk, outbox);
                }
            }
            (Step::LoadingLast(_), Piece::Bytes(chunk, _)) => {
                let is_whole = chunk.filled as u64 == last_bytes;
                self.step = if is_whole { Step::Checking(chunk) } else { Step::LoadingLast(chunk) };
            }
            (Step::ReadingAgain(_, again), Piece::Cached(_)) => *again = digest.unwrap_or_default(),
            _ => self.fail(changed()),
        }
    }

    fn advance(&mut self, bytes: u64, digest: Option<Digest>) {
        self.at += bytes;
        self.digest = digest.unwrap_or_default();
        assert!(self.at <= self.end, "more was loaded than was asked for");
        assert_eq!(self.digest.bytes(), self.at - self.start, "another digest than of what was loaded");
    }

    /// Takes the store's result of comparing the file with its status at the beginning.
    pub(super) fn checked(&mut self, checked: Result<Stability, StoreError>, outbox: &mut Outbox<H::File>) {
        self.waits = false;
        let Step::Checking(last) = std::mem::replace(&mut self.step, Step::Said) else { return };
        match checked {
            Ok(Stability::Same) => queue(last, outbox),
            Ok(Stability::Doubtful) => self.step = Step::ReadingAgain(last, Digest::new()),
            Ok(Stability::Changed) => self.fail(changed()),
            Err(error) => self.fail(error.into()),
        }
    }

    /// Ends it with `failure`, unless it failed before.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Takes the next step.
    pub(super) fn settle(&mut self, outbox: &mut Outbox<H::File>, operations: &mut Operations<H>) -> Sent {
        if self.waits {
            return Sent::Waits;
        }
        if let Some(failure) = self.failure.take() {
            return Sent::Failed(failure);
        }
        let operation = match &self.step {
            Step::Said => return Sent::Whole,
            Step::Loading if self.at < self.end => {
                if outbox.bytes() > self.ahead() {
                    return Sent::Waits;
                }
                self.load(outbox)
            }
            // What sendfile has not taken yet may still change.
            _ if outbox.holds_ranges() => return Sent::Waits,
            Step::Loading | Step::LoadingLast(_) => self.load_last(outbox),
            Step::Checking(_) => ReadOperation::Check { file: self.file.clone() },
            Step::ReadingAgain(_, again) if again.bytes() < self.end - self.start => self.load_again(again),
            Step::ReadingAgain(_, again) if again.crc() == self.digest.crc() => {
                if let Step::ReadingAgain(last, _) = std::mem::replace(&mut self.step, Step::Said) {
                    queue(last, outbox);
                }
                return Sent::Whole;
            }
            Step::ReadingAgain(..) => return Sent::Failed(changed()),
        };
        self.waits = true;
        operations.read(operation);
        Sent::Waits
    }

    fn ahead(&self) -> u64 {
        if self.as_bytes { PIECE_BYTES } else { SENDING_AHEAD_BYTES }
    }

    /// Returns where the last bytes begin, of a file that is sent by sendfile.
    fn last_start(&self) -> u64 {
        self.end - LAST_BYTES.min(self.end - self.start)
    }

    /// Loads what follows. A CRC is remembered of whole blocks: they are loaded as such wherever the range begins.
    fn load(&self, outbox: &mut Outbox<H::File>) -> ReadOperation<H> {
        let left = (self.end - self.at).min(MAX_BLOCK_BYTES - self.at % MAX_BLOCK_BYTES);
        let (bytes, form) = match self.as_bytes {
            true => (left.min(PIECE_BYTES), Form::Bytes(place_for(left.min(PIECE_BYTES), outbox))),
            false => (left, Form::Cached),
        };
        let (file, digest) = (self.file.clone(), Some(self.digest.clone()));
        ReadOperation::Load { file, at: self.at, bytes, digest, remembered: true, form }
    }

    fn load_last(&mut self, outbox: &mut Outbox<H::File>) -> ReadOperation<H> {
        let chunk = match std::mem::replace(&mut self.step, Step::LoadingLast(Chunk::default())) {
            Step::LoadingLast(begun) => begun,
            _ => place_for(self.end - self.last_start(), outbox),
        };
        let at = self.last_start() + chunk.filled as u64;
        let (file, bytes) = (self.file.clone(), self.end - at);
        ReadOperation::Load { file, at, bytes, digest: None, remembered: false, form: Form::Bytes(chunk) }
    }

    fn load_again(&self, again: &Digest) -> ReadOperation<H> {
        let at = self.start + again.bytes();
        ReadOperation::Load {
            file: self.file.clone(),
            at,
            bytes: (self.end - at).min(SLICE_BYTES),
            digest: Some(again.clone()),
            remembered: false,
            form: Form::Background,
        }
    }
}

/// Returns memory for `bytes` bytes.
fn place_for(bytes: u64, outbox: &mut Outbox<impl Sized>) -> Chunk {
    let mut memory = outbox.take_memory();
    // A piece fits a usize.
    memory.resize(bytes as usize, 0);
    Chunk { memory, filled: 0, hole: 0 }
}

fn queue(Chunk { mut memory, filled, .. }: Chunk, outbox: &mut Outbox<impl Sized>) {
    memory.truncate(filled);
    outbox.run(memory, 0);
}

fn changed() -> Failure {
    Failure::new(Code::Changed, "the file changed while it was read")
}
