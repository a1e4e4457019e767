//! What a session asks from the store, and what it is told.

use std::borrow::Cow;

use ferry_wire::{Crc32, Digest, Failure, FileMeta, Id, Name, Reply, Tag, Time};

use super::Owner;

/// The store's handles, as a session sees them: opaque, and cheap to clone. The server fills in
/// open files, a simulation fills in numbers.
pub trait Handles {
    /// A file open for reading.
    type File: Clone;
    /// A directory that is being listed.
    type Dir;
    /// An upload that is being staged.
    type Upload: Clone;
}

/// Numbers an errand of one session. Several pieces of work may run on one errand.
pub type Errand = u32;

/// Bytes of an upload on their way to the store and, for use again, back.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The memory. All of it is initialised, only the first `filled` bytes count.
    pub memory: Vec<u8>,
    /// How many bytes count.
    pub filled: usize,
}

impl Chunk {
    /// The bytes that count.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.filled]
    }

    /// Gives memory back that holds nothing, where that is most of it.
    pub(super) fn shrink(&mut self) {
        if self.memory.capacity() > 2 * self.filled {
            self.memory.truncate(self.filled);
            self.memory.shrink_to_fit();
        }
    }
}

/// A piece of work for the store.
#[derive(Debug)]
pub struct Ask<H: Handles> {
    /// To be given back with the outcome.
    pub errand: Errand,
    /// What to do.
    pub work: Work<H>,
}

/// What a session can ask for. Each is answered by exactly one [`Session::complete`], with the
/// [`Done`] named here, or a failure.
///
/// [`Session::complete`]: super::Session::complete
pub enum Work<H: Handles> {
    /// Open a file: [`Done::Opened`]. A range of at most `inline` bytes is read at once.
    Open {
        /// The file.
        name: Name,
        /// The first byte wanted.
        offset: u64,
        /// How many; [`None`] for all that follow.
        length: Option<u64>,
        /// The version wanted; [`None`] for any.
        tag: Option<Tag>,
        /// Ranges up to this size come with the answer.
        inline: u64,
    },
    /// Bring a range into memory and add it to `digest`: [`Done::Loaded`], or [`Done::Read`] where the file must
    /// not be sent from.
    Load {
        /// The open file.
        file: H::File,
        /// The first byte.
        at: u64,
        /// How many.
        bytes: u64,
        /// The run so far.
        digest: Digest,
        /// For SUM, which needs nothing but the digest: always [`Done::Loaded`].
        background: bool,
    },
    /// Say whether an open file is as it was when it was opened: [`Done::Unchanged`] or [`Done::Doubtful`].
    Check {
        /// The open file.
        file: H::File,
    },
    /// STAT: [`Done::Replied`].
    Stat {
        /// A file or directory.
        name: Name,
    },
    /// Begin a listing: [`Done::Listed`].
    List {
        /// The directory; [`None`] for the root.
        name: Option<Name>,
    },
    /// Go on with a listing: [`Done::Listed`].
    ListMore {
        /// As told by the answer before.
        dir: H::Dir,
    },
    /// Prepare an upload; touches no disk: [`Done::Staged`].
    Stage {
        /// Where it will be published.
        name: Name,
        /// Bytes that will come, where known.
        size: Option<u64>,
        /// The time to give to the file.
        mtime: Option<Time>,
        /// All requests before it are answered: what stands in its way now will stand there still.
        settled: bool,
    },
    /// Take up an upload that may have been begun: [`Done::Resumed`] or [`Done::Replied`].
    Resume {
        /// The upload.
        id: Id,
        /// Where it will be published.
        name: Name,
        /// Bytes of the whole file.
        size: u64,
        /// The time to give to the file.
        mtime: Option<Time>,
        /// The owner that it gets if it is begun; the server fills in the client's address where the session says
        /// nobody's.
        owner: Owner,
    },
    /// Write: [`Done::Written`].
    Write {
        /// The upload.
        upload: H::Upload,
        /// Where the chunk belongs.
        at: u64,
        /// The bytes.
        chunk: Chunk,
    },
    /// Make durable what was written so far, and remember it: [`Done::Checkpointed`].
    Checkpoint {
        /// The upload, a resumable one.
        upload: H::Upload,
        /// The run over exactly the bytes to remember.
        digest: Digest,
    },
    /// Write the last bytes and make the whole durable: [`Done::Finished`]. All writes before have
    /// been answered.
    Finish {
        /// The upload.
        upload: H::Upload,
        /// Where the chunk belongs.
        at: u64,
        /// The last bytes.
        chunk: Chunk,
        /// Of the whole file.
        size: u64,
        /// Of the whole file.
        crc: Crc32,
    },
    /// Give the finished upload its name: [`Done::Replied`].
    Publish {
        /// The upload.
        upload: H::Upload,
    },
    /// Drop an upload: [`Done::Dropped`]. All writes before have been answered.
    Discard {
        /// The upload.
        upload: H::Upload,
    },
    /// Let go of a resumable upload and keep what arrived: [`Done::Dropped`]. All writes before
    /// have been answered.
    Keep {
        /// The upload.
        upload: H::Upload,
        /// What arrived since; [`None`] to keep no more than the last checkpoint.
        tail: Option<Tail>,
    },
    /// Change the tree: [`Done::Replied`].
    Change(Change),
}

impl<H: Handles> std::fmt::Debug for Work<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Work::Open { .. } => "Open",
            Work::Load { .. } => "Load",
            Work::Check { .. } => "Check",
            Work::Stat { .. } => "Stat",
            Work::List { .. } => "List",
            Work::ListMore { .. } => "ListMore",
            Work::Stage { .. } => "Stage",
            Work::Resume { .. } => "Resume",
            Work::Write { .. } => "Write",
            Work::Checkpoint { .. } => "Checkpoint",
            Work::Finish { .. } => "Finish",
            Work::Publish { .. } => "Publish",
            Work::Discard { .. } => "Discard",
            Work::Keep { .. } => "Keep",
            Work::Change(_) => "Change",
        })
    }
}

/// The end of what arrived of a resumable upload.
#[derive(Debug)]
pub struct Tail {
    /// Where the chunk belongs.
    pub at: u64,
    /// The last bytes that arrived.
    pub chunk: Chunk,
    /// The run over all that arrived, the chunk included.
    pub digest: Digest,
}

/// A change of the tree. Those of one session are asked for in the order of its requests, and take
/// effect in the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Make a directory.
    Mkdir(Name),
    /// Delete a file or an empty directory.
    Delete(Name),
    /// Rename, never over something that is there.
    Rename(Name, Name),
}

/// What became of a piece of work.
#[derive(Debug)]
pub enum Done<'a, H: Handles> {
    /// The file is open, or was read.
    Opened {
        /// Of the whole file.
        meta: FileMeta,
        /// What was asked of it.
        range: Opened<'a, H::File>,
    },
    /// The next `bytes` bytes are in memory and in the digest. Fewer than were asked for is no
    /// error; none means that the file ends there.
    Loaded {
        /// How many.
        bytes: u64,
        /// The run, these included.
        digest: Digest,
    },
    /// The next bytes, which are in the digest. Fewer than were asked for is no error; none means that the
    /// file ends there.
    Read {
        /// They themselves.
        bytes: Vec<u8>,
        /// The run, these included.
        digest: Digest,
    },
    /// Whether the file is as it was.
    Unchanged(bool),
    /// Its status does not tell whether the file is as it was: what was read of it has to be read again and compared.
    Doubtful,
    /// The final reply to the request.
    Replied(Reply),
    /// Lines of a listing, whole ones, and how to go on where there are more.
    Listed {
        /// At most [`MAX_BLOCK_BYTES`](ferry_wire::limits::MAX_BLOCK_BYTES) of text.
        lines: Cow<'a, [u8]>,
        /// [`None`] at the end.
        more: Option<H::Dir>,
    },
    /// The upload is prepared.
    Staged(H::Upload),
    /// The upload goes on behind what `digest` has seen.
    Resumed {
        /// The upload.
        upload: H::Upload,
        /// The run over the bytes that are kept.
        digest: Digest,
    },
    /// The chunk was written; its memory comes back.
    Written(Chunk),
    /// What was written before is remembered.
    Checkpointed,
    /// The upload is whole and as durable as the server makes it.
    Finished,
    /// The upload is let go.
    Dropped,
}

impl<H: Handles> Done<'_, H> {
    /// The same, with bytes of its own where they were borrowed.
    #[must_use]
    pub fn into_owned(self) -> Done<'static, H> {
        match self {
            Done::Opened { meta, range } => Done::Opened { meta, range: range.into_owned() },
            Done::Listed { lines, more } => Done::Listed { lines: Cow::Owned(lines.into_owned()), more },
            Done::Loaded { bytes, digest } => Done::Loaded { bytes, digest },
            Done::Read { bytes, digest } => Done::Read { bytes, digest },
            Done::Unchanged(unchanged) => Done::Unchanged(unchanged),
            Done::Doubtful => Done::Doubtful,
            Done::Replied(reply) => Done::Replied(reply),
            Done::Staged(upload) => Done::Staged(upload),
            Done::Resumed { upload, digest } => Done::Resumed { upload, digest },
            Done::Written(chunk) => Done::Written(chunk),
            Done::Checkpointed => Done::Checkpointed,
            Done::Finished => Done::Finished,
            Done::Dropped => Done::Dropped,
        }
    }
}

impl<F> Opened<'_, F> {
    fn into_owned(self) -> Opened<'static, F> {
        match self {
            Opened::Inline { bytes, crc } => Opened::Inline { bytes: Cow::Owned(bytes.into_owned()), crc },
            Opened::Range { file, start, end } => Opened::Range { file, start, end },
        }
    }
}

/// A file as it was opened.
#[derive(Debug)]
pub enum Opened<'a, F> {
    /// The whole range, read.
    Inline {
        /// Its bytes.
        bytes: Cow<'a, [u8]>,
        /// Of these bytes.
        crc: Crc32,
    },
    /// A range to be loaded piece by piece.
    Range {
        /// The open file.
        file: F,
        /// The first byte.
        start: u64,
        /// Behind the last byte.
        end: u64,
    },
}

/// How a piece of work ended. A failure is the final word on the request.
pub type Outcome<'a, H> = Result<Done<'a, H>, Failure>;
