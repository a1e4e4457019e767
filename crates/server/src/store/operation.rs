//! Operations on files and their results: all that a protocol knows of the store.
//!
//! There are three kinds: reading, uploading and naming. Each has operations and results of its
//! own. An operation carries the number of what waits for its result, and the completion brings
//! that number back: a completion finds its owner by type. A session reads one thing at a time, so
//! reading needs no number.

use std::{fmt, ops::Range};

use ferry_wire::{Crc32, Digest, Id, Mode, Name, Sha256Digest, Tag, Time};

use super::{error::StoreError, file_bytes::FileBytes, owner::Owner};

/// The store's handles, as a protocol sees them: opaque, and cheap to clone. The store fills in open files, a
/// simulation fills in numbers.
pub trait Handles {
    /// A file open for reading.
    type File: Clone;
    /// A directory that is being listed.
    type Dir;
    /// An upload that is being staged.
    type Upload: Clone;
}

/// Numbers an upload of one session. Several operations may run for one upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadNumber(pub u32);

/// Numbers a change of the tree of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeNumber(pub u32);

/// One operation for the store. It is answered by exactly one [`Completion`] of its kind.
pub enum Operation<H: Handles> {
    /// Reads.
    Read(ReadOperation<H>),
    /// Brings an upload further.
    Upload(UploadNumber, UploadOperation<H>),
    /// Changes names. Those of one session take effect in the order in which they were asked for.
    Name(NameOperation<H>),
}

/// The end of an operation. An error is the final word on it.
pub enum Completion<'a, H: Handles> {
    /// Of a [`ReadOperation`].
    Read(ReadCompletion<'a, H>),
    /// Of an [`UploadOperation`].
    Upload(UploadNumber, UploadCompletion<H>),
    /// Of a [`NameOperation`].
    Name(NameCompletion),
}

/// An operation that reads.
pub enum ReadOperation<H: Handles> {
    /// Opens a file: [`ReadCompletion::Opened`]. A range of at most `inline` bytes is read at once.
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
    /// Brings a range into memory: [`ReadCompletion::Loaded`].
    Load {
        /// The open file.
        file: H::File,
        /// The first byte.
        at: u64,
        /// How many, at least one.
        bytes: u64,
        /// The digest to go on with; [`None`] to compute none.
        digest: Option<Digest>,
        /// Whether the digest may go on by CRCs that are remembered of the file as it was opened, in place of the bytes.
        remembered: bool,
        /// The form in which it is to come.
        form: Form,
    },
    /// Looks where a sparse file has data: [`ReadCompletion::Laid`].
    Extent {
        /// The open file.
        file: H::File,
        /// From here on.
        at: u64,
        /// Up to here.
        end: u64,
    },
    /// Compares an open file with what it was when it was opened: [`ReadCompletion::Checked`].
    Check {
        /// The open file.
        file: H::File,
    },
    /// Looks up the status of a name: [`ReadCompletion::Found`].
    Stat {
        /// A file or directory.
        name: Name,
    },
    /// Looks at the root, asking its file system: [`ReadCompletion::Probed`].
    Probe,
    /// Measures the room on the file system of the root, and below the limits on uploads:
    /// [`ReadCompletion::RoomFound`].
    Room {
        /// The owner of the uploads.
        owner: Owner,
    },
    /// Begins a listing: [`ReadCompletion::Listed`].
    List {
        /// The directory; [`None`] for the root.
        name: Option<Name>,
    },
    /// Goes on with a listing: [`ReadCompletion::Listed`].
    ListMore {
        /// As told by the completion before.
        dir: H::Dir,
    },
    /// Looks how far an upload is, and disturbs nobody who works on it: [`ReadCompletion::Measured`].
    Measure(Box<Resume>),
}

/// The form in which a range is loaded.
#[derive(Debug)]
pub enum Form {
    /// It is to be sent from the file, which must be [sendable](Content::Range::is_sendable):
    /// [`Piece::Cached`].
    Cached,
    /// Its bytes are wanted, in one pass with their digest: [`Piece::Bytes`]. They are appended to
    /// this chunk, as many as its memory takes.
    Bytes(Chunk),
    /// It is only looked at, and not on the loop: [`Piece::Cached`].
    Background,
    /// It is only looked at, by this SHA-256 as well, and by a helper that does nothing else: [`Piece::Hashed`]. CRCs that
    /// are remembered can't stand for the bytes.
    Hashed(Box<Sha256Digest>),
}

/// The end of a [`ReadOperation`].
#[derive(Debug)]
pub enum ReadCompletion<'a, H: Handles> {
    /// Of [`ReadOperation::Open`].
    Opened(Result<Opened<'a, H::File>, StoreError>),
    /// Of [`ReadOperation::Load`].
    Loaded(Result<Loaded, StoreError>),
    /// Of [`ReadOperation::Extent`]: the first range that may hold anything but zeros, which is empty and at the end where
    /// there is none.
    Laid(Result<Range<u64>, StoreError>),
    /// Of [`ReadOperation::Check`].
    Checked(Result<Stability, StoreError>),
    /// Of [`ReadOperation::Stat`].
    Found(Result<Status, StoreError>),
    /// Of [`ReadOperation::Probe`].
    Probed(Result<(), StoreError>),
    /// Of [`ReadOperation::Room`].
    RoomFound(Result<Room, StoreError>),
    /// Of [`ReadOperation::List`] and [`ReadOperation::ListMore`].
    Listed(Result<Listed<H::Dir>, StoreError>),
    /// Of [`ReadOperation::Measure`].
    Measured(Result<Progress, StoreError>),
}

/// The room for more, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The size of the file system.
    pub total: u64,
    /// Bytes that hold nothing.
    pub free: u64,
    /// Those of them that this process may fill.
    pub available: u64,
    /// Bytes that uploads of the owner may take before they have their names; [`None`] where no limit holds.
    pub staged: Option<u64>,
}

/// An operation on an upload.
pub enum UploadOperation<H: Handles> {
    /// Prepares a plain upload, which touches no disk: [`UploadCompletion::Staged`].
    Stage(Stage),
    /// Takes up an upload that may have been begun: [`UploadCompletion::Resumed`].
    Resume(Resume),
    /// Begins a part of a resumable upload that another connection holds: [`UploadCompletion::Staged`]. It is written,
    /// finished and discarded as an upload of its own, from offset 0 on, and gets no name.
    Part(PartStart),
    /// Writes a chunk: [`UploadCompletion::Written`].
    Write {
        /// The upload.
        upload: H::Upload,
        /// Where the chunk belongs.
        at: u64,
        /// The bytes.
        chunk: Chunk,
        /// Their CRC.
        crc: Crc32,
    },
    /// Makes durable what was written so far of a resumable upload, and remembers it:
    /// [`UploadCompletion::Checkpointed`].
    Checkpoint {
        /// The upload.
        upload: H::Upload,
        /// The digest of exactly the bytes to remember.
        digest: Digest,
    },
    /// Writes the last bytes and makes the whole durable: [`UploadCompletion::Finished`].
    Finish(Finish<H>),
    /// Drops an upload: [`UploadCompletion::Released`]. All writes before have ended.
    Discard {
        /// The upload.
        upload: H::Upload,
    },
    /// Lets go of a resumable upload and keeps what arrived: [`UploadCompletion::Released`]. All
    /// writes before have ended.
    Keep {
        /// The upload.
        upload: H::Upload,
        /// The last bytes that arrived; [`None`] to keep no more than the last checkpoint.
        tail: Option<Tail>,
    },
}

/// The end of an [`UploadOperation`].
#[derive(Debug)]
pub enum UploadCompletion<H: Handles> {
    /// Of [`UploadOperation::Stage`] and [`UploadOperation::Part`].
    Staged(Result<H::Upload, StoreError>),
    /// Of [`UploadOperation::Resume`].
    Resumed(Result<Resumed<H::Upload>, StoreError>),
    /// Of [`UploadOperation::Write`]: the chunk's memory comes back.
    Written(Result<Chunk, StoreError>),
    /// Of [`UploadOperation::Checkpoint`].
    Checkpointed(Result<(), StoreError>),
    /// Of [`UploadOperation::Finish`]: the upload is whole and as durable as the server makes it.
    Finished(Result<(), StoreError>),
    /// Of [`UploadOperation::Discard`] and [`UploadOperation::Keep`], which do what they can.
    Released,
}

/// An operation on names.
pub enum NameOperation<H: Handles> {
    /// Gives a finished upload its name: [`NameCompletion::Published`].
    Publish(UploadNumber, H::Upload, Onto),
    /// Changes the tree: [`NameCompletion::Changed`].
    Change(ChangeNumber, Change),
}

/// The state in which the name of an upload must be when the upload gets it. It is looked at in
/// that very step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Onto {
    /// A file, which is replaced, or nothing.
    #[default]
    Any,
    /// Nothing: otherwise the upload fails with [`ErrorKind::NameTaken`](super::ErrorKind::NameTaken).
    Free,
    /// A file: otherwise the upload fails with [`ErrorKind::NameFree`](super::ErrorKind::NameFree).
    Taken,
    /// A file of this version: otherwise the upload fails with
    /// [`ErrorKind::OtherVersion`](super::ErrorKind::OtherVersion).
    Version(Tag),
}

/// The end of a [`NameOperation`].
#[derive(Debug)]
pub enum NameCompletion {
    /// Of [`NameOperation::Publish`].
    Published(UploadNumber, Result<Published, StoreError>),
    /// Of [`NameOperation::Change`].
    Changed(ChangeNumber, Result<(), StoreError>),
}

/// A change of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Makes a directory.
    Mkdir(Name),
    /// Makes a directory with permissions that a client asked for.
    MkdirWith(Name, Permissions),
    /// Deletes a file or an empty directory.
    Delete(Name),
    /// Deletes a file of this version: otherwise it fails with
    /// [`ErrorKind::OtherVersion`](super::ErrorKind::OtherVersion). That is decided in the very step that deletes.
    DeleteVersion(Name, Tag),
    /// Renames, never over something that is there.
    Rename(Name, Name),
    /// Sets the time and the permissions of a file or directory.
    Touch(Touch),
}

/// A setting of attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The file or directory.
    pub name: Name,
    /// The time of its last change; [`None`] for that of now.
    pub mtime: Option<Time>,
    /// The permissions that it is to have; [`None`] leaves them as they are.
    pub permissions: Option<Permissions>,
}

/// Permissions that a client asked for, as far as the server keeps such. The owner of a file may always read it, and the owner
/// of a directory look into it and reach what is in it: the server itself has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    mode: Mode,
    kept: Mode,
}

impl Permissions {
    /// Creates those of `mode` that are in `kept`.
    #[must_use]
    pub fn new(mode: Mode, kept: Mode) -> Permissions {
        Permissions { mode, kept }
    }

    /// Returns the bits of a file that would have `usual` without them.
    pub(super) fn over(self, usual: u32) -> u32 {
        Mode::of(usual).taking(self.mode, self.kept).bits()
    }

    /// Returns those of a directory that would have `usual` without them.
    #[must_use]
    pub fn over_directory(self, usual: Mode) -> Mode {
        usual.taking_of_directory(self.mode, self.kept)
    }
}

/// A plain upload that begins.
#[derive(Debug)]
pub struct Stage {
    /// The name that it will have.
    pub name: Name,
    /// Bytes that will come, where known.
    pub size: Option<u64>,
    /// The time to give to the file.
    pub mtime: Option<Time>,
    /// The permissions that it is to have; [`None`] leaves them to its place.
    pub permissions: Option<Permissions>,
    /// All requests before it are answered: what stands in its way now will stand there still.
    pub settled: bool,
    /// The owner, for limits; nobody where the client has not logged in.
    pub owner: Owner,
}

/// A resumable upload that begins or goes on.
#[derive(Debug, Clone)]
pub struct Resume {
    /// The upload.
    pub id: Id,
    /// The name that it will have.
    pub name: Name,
    /// Bytes of the whole file; [`None`] where its end alone tells.
    pub size: Option<u64>,
    /// The time to give to the file.
    pub mtime: Option<Time>,
    /// The permissions that it is to have; [`None`] leaves them to its place.
    pub permissions: Option<Permissions>,
    /// The owner that it gets if it is begun. The server fills in the client's address where this is nobody.
    pub owner: Owner,
    /// It is begun where nothing is known of it. Otherwise it fails then, with
    /// [`ErrorKind::NoUpload`](super::ErrorKind::NoUpload).
    pub begins: bool,
}

/// A part of a resumable upload that begins.
#[derive(Debug)]
pub struct PartStart {
    /// The upload.
    pub id: Id,
    /// The name that it will have.
    pub name: Name,
    /// The first byte of the part in the file.
    pub offset: u64,
    /// Bytes of the part.
    pub length: u64,
    /// The owner of the connection that sends it.
    pub owner: Owner,
}

/// The end of an upload's bytes. All writes before have ended.
pub struct Finish<H: Handles> {
    /// The upload.
    pub upload: H::Upload,
    /// Where the chunk belongs.
    pub at: u64,
    /// The last bytes.
    pub chunk: Chunk,
    /// Their CRC.
    pub chunk_crc: Crc32,
    /// Bytes of the whole file.
    pub size: u64,
    /// The CRC of the whole file.
    pub crc: Crc32,
    /// The digest of all up to this chunk's end, where [parts](UploadOperation::Part) have the rest: whether they do, and
    /// the CRC is right, is looked at. [`None`] where the chunk ends the file.
    pub before: Option<Digest>,
}

/// An upload as [`UploadOperation::Resume`] found it.
#[derive(Debug)]
pub enum Resumed<U> {
    /// It goes on after what `digest` has seen.
    Going {
        /// The upload.
        upload: U,
        /// The digest of the bytes that are kept.
        digest: Digest,
        /// The parts beyond those that are kept, in order.
        parts: Vec<Range<u64>>,
    },
    /// It was published before.
    Published(Published),
}

/// How far a resumable upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// So many of its first bytes are kept, whatever happens. All of them may be there, and it has no name yet.
    Kept(u64),
    /// It was published.
    Published(Published),
}

/// A file that an upload became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Bytes of the whole file.
    pub size: u64,
    /// The CRC of the whole file.
    pub crc: Crc32,
    /// The version that was published.
    pub tag: Tag,
}

/// One version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileVersion {
    /// Bytes.
    pub size: u64,
    /// The time of the last change of its content, where known.
    pub mtime: Option<Time>,
    /// Another one for each version.
    pub tag: Tag,
    /// The permissions.
    pub mode: Mode,
}

/// The status of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// A regular file.
    File(FileVersion),
    /// A directory.
    Directory {
        /// The time of its last change, where known.
        mtime: Option<Time>,
        /// The permissions; [`None`] where something else is mounted.
        mode: Option<Mode>,
    },
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// One component.
    pub name: Name,
    /// Its status.
    pub status: Status,
}

/// Some entries of a directory.
#[derive(Debug)]
pub struct Listed<D> {
    /// Few enough for some 64 KiB of text.
    pub entries: Vec<DirEntry>,
    /// How to go on; [`None`] at the end.
    pub more: Option<D>,
}

/// A file as it was opened.
#[derive(Debug)]
pub struct Opened<'a, F> {
    /// Of the whole file.
    pub version: FileVersion,
    /// The range that was asked for.
    pub content: Content<'a, F>,
}

/// A range of an open file.
#[derive(Debug)]
pub enum Content<'a, F> {
    /// All its bytes.
    Inline {
        /// The bytes.
        bytes: FileBytes<'a>,
        /// Their CRC, where it is known.
        crc: Option<Crc32>,
    },
    /// A range to be loaded piece by piece.
    Range {
        /// The open file.
        file: F,
        /// The first byte.
        start: u64,
        /// After the last byte.
        end: u64,
        /// Sending from the file never waits for a machine that may not answer.
        is_sendable: bool,
        /// The file takes less of the disk than it has bytes, and may have holes.
        is_sparse: bool,
    },
}

/// A piece of a file in memory.
#[derive(Debug)]
pub struct Loaded {
    /// Fewer bytes than were asked for are no error; none mean that the file ends there.
    pub piece: Piece,
    /// The digest that was given, these bytes included.
    pub digest: Option<Digest>,
}

/// The place of a piece of a file in memory.
#[derive(Debug)]
pub enum Piece {
    /// So many bytes are in the page cache.
    Cached(u64),
    /// So many bytes are at the end of the chunk that was given for them.
    Bytes(Chunk, u64),
    /// So many bytes are added to the SHA-256 that was given for them.
    Hashed(Box<Sha256Digest>, u64),
}

impl Piece {
    /// Returns its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Piece::Cached(bytes) | Piece::Bytes(_, bytes) | Piece::Hashed(_, bytes) => *bytes,
        }
    }
}

/// Whether a file stayed the same since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// It did.
    Same,
    /// It did not.
    Changed,
    /// Its status does not tell: what was read of it has to be read again and compared.
    Doubtful,
}

/// Bytes on their way between a session and the store, and their memory, for use again.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The memory. All of it is initialised, only the first `filled` bytes count.
    pub memory: Vec<u8>,
    /// How many bytes count.
    pub filled: usize,
    /// So many zeros stand before them, of an upload: a hole.
    pub hole: u64,
}

impl Chunk {
    /// Returns the bytes that count.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.filled]
    }

    /// Returns how many bytes of the file it stands for, its hole included.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.hole + self.filled as u64
    }

    /// Gives memory back that holds nothing, where that is most of it.
    pub fn shrink(&mut self) {
        if self.memory.capacity() > 2 * self.filled {
            self.memory.truncate(self.filled);
            self.memory.shrink_to_fit();
        }
    }
}

/// The last bytes that arrived of a resumable upload.
#[derive(Debug)]
pub struct Tail {
    /// Where the chunk belongs.
    pub at: u64,
    /// The last bytes that arrived.
    pub chunk: Chunk,
    /// The digest of all that arrived, the chunk included.
    pub digest: Digest,
}

impl<H: Handles> Completion<'_, H> {
    /// Returns the same, with bytes of its own where they were borrowed.
    #[must_use]
    pub fn into_owned(self) -> Completion<'static, H> {
        match self {
            Completion::Read(completion) => Completion::Read(completion.into_owned()),
            Completion::Upload(number, completion) => Completion::Upload(number, completion),
            Completion::Name(completion) => Completion::Name(completion),
        }
    }
}

impl<H: Handles> ReadCompletion<'_, H> {
    /// Returns the error of an operation that failed.
    pub(super) fn error(&self) -> Option<&StoreError> {
        match self {
            ReadCompletion::Opened(opened) => opened.as_ref().err(),
            ReadCompletion::Loaded(loaded) => loaded.as_ref().err(),
            ReadCompletion::Laid(laid) => laid.as_ref().err(),
            ReadCompletion::Checked(checked) => checked.as_ref().err(),
            ReadCompletion::Found(found) => found.as_ref().err(),
            ReadCompletion::Probed(probed) => probed.as_ref().err(),
            ReadCompletion::RoomFound(found) => found.as_ref().err(),
            ReadCompletion::Listed(listed) => listed.as_ref().err(),
            ReadCompletion::Measured(measured) => measured.as_ref().err(),
        }
    }

    /// Returns the same, with bytes of its own where they were borrowed.
    #[must_use]
    pub fn into_owned(self) -> ReadCompletion<'static, H> {
        match self {
            ReadCompletion::Opened(opened) => ReadCompletion::Opened(opened.map(Opened::into_owned)),
            ReadCompletion::Loaded(loaded) => ReadCompletion::Loaded(loaded),
            ReadCompletion::Laid(laid) => ReadCompletion::Laid(laid),
            ReadCompletion::Checked(checked) => ReadCompletion::Checked(checked),
            ReadCompletion::Found(found) => ReadCompletion::Found(found),
            ReadCompletion::Probed(probed) => ReadCompletion::Probed(probed),
            ReadCompletion::RoomFound(found) => ReadCompletion::RoomFound(found),
            ReadCompletion::Listed(listed) => ReadCompletion::Listed(listed),
            ReadCompletion::Measured(measured) => ReadCompletion::Measured(measured),
        }
    }
}

impl<H: Handles> UploadCompletion<H> {
    /// Returns the error of an operation that failed.
    pub(super) fn error(&self) -> Option<&StoreError> {
        match self {
            UploadCompletion::Staged(staged) => staged.as_ref().err(),
            UploadCompletion::Resumed(resumed) => resumed.as_ref().err(),
            UploadCompletion::Written(written) => written.as_ref().err(),
            UploadCompletion::Checkpointed(done) | UploadCompletion::Finished(done) => done.as_ref().err(),
            UploadCompletion::Released => None,
        }
    }
}

impl NameCompletion {
    /// Returns the error of an operation that failed.
    pub(super) fn error(&self) -> Option<&StoreError> {
        match self {
            NameCompletion::Published(_, result) => result.as_ref().err(),
            NameCompletion::Changed(_, result) => result.as_ref().err(),
        }
    }
}

impl<F> Opened<'_, F> {
    pub(super) fn into_owned(self) -> Opened<'static, F> {
        let content = match self.content {
            Content::Inline { bytes, crc } => Content::Inline { bytes: bytes.into_owned(), crc },
            Content::Range { file, start, end, is_sendable, is_sparse } => {
                Content::Range { file, start, end, is_sendable, is_sparse }
            }
        };
        Opened { version: self.version, content }
    }
}

impl<H: Handles> fmt::Debug for Operation<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Read(operation) => operation.fmt(f),
            Operation::Upload(number, operation) => write!(f, "{operation:?} of {number:?}"),
            Operation::Name(operation) => operation.fmt(f),
        }
    }
}

impl<H: Handles> fmt::Debug for ReadOperation<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadOperation::Open { .. } => "Open",
            ReadOperation::Load { .. } => "Load",
            ReadOperation::Extent { .. } => "Extent",
            ReadOperation::Check { .. } => "Check",
            ReadOperation::Stat { .. } => "Stat",
            ReadOperation::Probe => "Probe",
            ReadOperation::Room { .. } => "Room",
            ReadOperation::List { .. } => "List",
            ReadOperation::ListMore { .. } => "ListMore",
            ReadOperation::Measure(_) => "Measure",
        })
    }
}

impl<H: Handles> fmt::Debug for UploadOperation<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UploadOperation::Stage(_) => "Stage",
            UploadOperation::Resume(_) => "Resume",
            UploadOperation::Part(_) => "Part",
            UploadOperation::Write { .. } => "Write",
            UploadOperation::Checkpoint { .. } => "Checkpoint",
            UploadOperation::Finish(_) => "Finish",
            UploadOperation::Discard { .. } => "Discard",
            UploadOperation::Keep { .. } => "Keep",
        })
    }
}

impl<H: Handles> fmt::Debug for NameOperation<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameOperation::Publish(number, ..) => write!(f, "Publish of {number:?}"),
            NameOperation::Change(_, change) => change.fmt(f),
        }
    }
}

impl<H: Handles> fmt::Debug for Finish<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Finish({} bytes at {})", self.chunk.filled, self.at)
    }
}

impl<H: Handles> fmt::Debug for Completion<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Completion::Read(ReadCompletion::Opened(_)) => "Opened",
            Completion::Read(ReadCompletion::Loaded(_)) => "Loaded",
            Completion::Read(ReadCompletion::Laid(_)) => "Laid",
            Completion::Read(ReadCompletion::Checked(_)) => "Checked",
            Completion::Read(ReadCompletion::Found(_)) => "Found",
            Completion::Read(ReadCompletion::Probed(_)) => "Probed",
            Completion::Read(ReadCompletion::RoomFound(_)) => "RoomFound",
            Completion::Read(ReadCompletion::Listed(_)) => "Listed",
            Completion::Read(ReadCompletion::Measured(_)) => "Measured",
            Completion::Upload(..) => "Upload",
            Completion::Name(_) => "Name",
        })
    }
}
