//! A store in memory that answers what sessions ask, fails at random, and watches that it is asked
//! for nothing that its contract forbids.

mod helpers;
mod reads;
mod rules;
mod uploads;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use ferry_server::store::{
    Change, Chunk, Completion, Content, DirEntry, ErrorKind, Finish, Form, Handles, Hands, IdsInHand, InHand, LetGo,
    Listed, Loaded, NameCompletion, NameOperation, Onto, Opened, Operation, Owner, PartStart, Piece, Progress,
    Published, ReadCompletion, ReadOperation, Resume, Resumed, Room, Stability, Stage, Status, StoreError, SystemError,
    Tail, UploadCompletion, UploadOperation, WorkOn,
};
use ferry_wire::{Code, Crc32, Digest, Id, Name, Time};

use crate::{
    dice::Dice,
    tree::{Node, Tree, some_time, tag_of},
};

/// Handles that are plain numbers.
#[derive(Debug)]
pub(crate) struct Model;

/// An open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(usize);

impl FileId {
    /// As if every other file lay where it must not be sent from.
    fn is_sendable(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

/// A directory that is being listed: the entries that are left.
#[derive(Debug)]
pub(crate) struct DirId(Vec<DirEntry>);

/// An upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UploadId(pub(crate) usize);

impl Handles for Model {
    type File = FileId;
    type Dir = DirId;
    type Upload = UploadId;
}

/// A change that took effect, in the order in which that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Changed(Change),
    Published { name: String, size: u64, crc: Crc32 },
}

/// The room of every store: no client changes it.
pub(crate) const ROOM: Room = Room { total: 9, free: 5, available: 4, staged: None };

/// The beginning of the message of every failure that was thrown by dice.
pub(crate) const INJECTED: &str = "injected";

struct Upload {
    name: Name,
    mtime: Option<Time>,
    settled: bool,
    id: Option<Id>,
    data: Vec<u8>,
    /// Where the next chunk must begin.
    asked: u64,
    writes: u32,
    checkpoints: u32,
    /// Of a part: the upload that it is of, and where it lies.
    part_of: Option<(UploadId, Range<u64>)>,
    /// Bytes that the holder has written, from the first one on.
    reach: u64,
    /// Parts beyond that are whole, and those under way.
    parts: BTreeMap<u64, Vec<u8>>,
    open_parts: Vec<UploadId>,
    /// It has come to its end: nothing may be asked of it but what ends it.
    finishing: bool,
    whole: bool,
    /// Published, discarded or kept: asked for, and done.
    ending: bool,
    ended: bool,
    hands: Hands,
    in_hand: Option<InHand>,
}

/// The part of a helper in an operation that is under way.
pub(crate) enum Work {
    None,
    Upload(UploadId),
    Resume(InHand),
}

/// An operation on an upload that its session waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Awaited {
    Nothing,
    Write(UploadId),
    Checkpoint(UploadId),
}

impl Awaited {
    pub(crate) fn of(operation: &Operation<Model>) -> Awaited {
        match operation {
            Operation::Upload(_, UploadOperation::Write { upload, .. }) => Awaited::Write(*upload),
            Operation::Upload(_, UploadOperation::Checkpoint { upload, .. }) => Awaited::Checkpoint(*upload),
            _ => Awaited::Nothing,
        }
    }
}

enum Kept {
    Aside { data: Vec<u8>, offset: u64, parts: BTreeMap<u64, Vec<u8>> },
    Published { size: u64, crc: Crc32, tag: ferry_wire::Tag },
}

struct KeptUpload {
    /// Whoever works on it.
    held_by: Option<UploadId>,
    name: Name,
    size: Option<u64>,
    kept: Kept,
    locked: bool,
    owner: Owner,
}

/// See the [module documentation](self).
pub(crate) struct Store {
    pub(crate) tree: Tree,
    /// Of a thousand operations, how many fail.
    pub(crate) fault_rate: u32,
    pub(crate) faults: u64,
    /// An upload is always prepared: it fails later, or not at all.
    pub(crate) spare_staging: bool,
    /// The code that failures have; [`None`] for any.
    pub(crate) injects: Option<Code>,
    /// Of a thousand looks whether a file stayed the same, how many tell nothing for certain.
    pub(crate) doubt_rate: u32,
    /// A file in doubt has changed.
    pub(crate) meddles: bool,
    /// The most that is loaded at once.
    pub(crate) load_bytes: u64,
    /// How many were made.
    pub(crate) checkpoints: u32,
    /// Uploads that came whole in parts.
    pub(crate) joined: u32,
    pub(crate) effects: Vec<(usize, Effect)>,
    /// Those that came when their client had been told that nothing answers.
    pub(crate) late_effects: Vec<(usize, Effect)>,
    /// Whoever waited for what is being done was told so.
    pub(crate) is_late: bool,
    in_hand: IdsInHand,
    files: Vec<Arc<Vec<u8>>>,
    /// Those of which a look said nothing for certain.
    doubted: HashSet<usize>,
    uploads: Vec<Upload>,
    kept: HashMap<Id, KeptUpload>,
    dice: Dice,
}

impl Store {
    pub(crate) fn new(tree: Tree, fault_rate: u32, dice: Dice) -> Store {
        let (files, uploads, effects) = (Vec::new(), Vec::new(), Vec::new());
        Store {
            tree,
            fault_rate,
            faults: 0,
            spare_staging: false,
            injects: None,
            doubt_rate: 200,
            meddles: false,
            load_bytes: u64::MAX,
            checkpoints: 0,
            joined: 0,
            effects,
            late_effects: Vec::new(),
            is_late: false,
            in_hand: IdsInHand::default(),
            files,
            doubted: HashSet::new(),
            uploads,
            kept: HashMap::new(),
            dice,
        }
    }

    pub(crate) fn id_of(&self, upload: UploadId) -> Option<Id> {
        self.uploads[upload.0].id.clone()
    }

    /// Returns the bytes that a socket gets of an open file.
    pub(crate) fn range(&self, file: FileId, at: u64, bytes: usize) -> &[u8] {
        &self.files[file.0][at as usize..at as usize + bytes]
    }

    /// Uploads that nobody has let go. One that was prepared for a client who left at once, and
    /// never touched the disk, needs no letting go.
    pub(crate) fn staged(&self) -> usize {
        self.uploads
            .iter()
            .filter(|upload| !upload.ended && (upload.id.is_some() || upload.part_of.is_some() || upload.asked > 0))
            .count()
    }

    /// Returns kept uploads that are locked though nobody holds them.
    pub(crate) fn locked(&self) -> usize {
        self.kept.values().filter(|kept| kept.locked).count()
    }

    /// Returns whether `operation` is no RESUME of an upload that is held.
    pub(crate) fn is_free(&self, operation: &Operation<Model>) -> bool {
        let Operation::Upload(_, UploadOperation::Resume(resume)) = operation else { return true };
        self.kept.get(&resume.id).is_none_or(|kept| !kept.locked)
    }

    pub(crate) fn injected(&mut self) -> StoreError {
        self.faults += 1;
        let code = *self.dice.pick(&[Code::Io, Code::NoSpace, Code::Denied]);
        StoreError::at(INJECTED, kind_of(self.injects.unwrap_or(code)))
    }

    fn faulty(&mut self) -> bool {
        self.fault_rate > 0 && self.dice.happens(self.fault_rate)
    }
}

/// Doing it.
impl Store {
    /// Does one operation, or fails it.
    pub(crate) fn run(&mut self, conn: usize, operation: Operation<Model>) -> Completion<'static, Model> {
        self.answered(Awaited::of(&operation));
        let Some(work) = self.enter(&operation) else {
            return operation.fallback().failed(StoreError::of(ErrorKind::NoAnswer));
        };
        let completion = self.act(conn, operation);
        self.leave(work, &completion);
        completion
    }

    /// Returns the name that an upload is to have.
    pub(crate) fn becomes(&self, upload: UploadId) -> &Name {
        &self.uploads[upload.0].name
    }

    /// The session waits no more for an operation: it has ended, or was given up.
    pub(crate) fn answered(&mut self, awaited: Awaited) {
        match awaited {
            Awaited::Nothing => {}
            Awaited::Write(upload) => self.uploads[upload.0].writes -= 1,
            Awaited::Checkpoint(upload) => self.uploads[upload.0].checkpoints -= 1,
        }
    }

    fn note(&mut self, conn: usize, effect: Effect) {
        let effects = if self.is_late { &mut self.late_effects } else { &mut self.effects };
        effects.push((conn, effect));
    }

    /// Does what a helper has begun.
    pub(crate) fn act(&mut self, conn: usize, operation: Operation<Model>) -> Completion<'static, Model> {
        let fails = self.faulty();
        match operation {
            Operation::Read(operation) => Completion::Read(self.read(operation, fails)),
            Operation::Upload(number, operation) => Completion::Upload(number, self.advance(operation, fails)),
            Operation::Name(NameOperation::Publish(number, upload, onto)) => {
                Completion::Name(NameCompletion::Published(number, self.publish(conn, upload, onto, fails)))
            }
            Operation::Name(NameOperation::Change(number, change)) => {
                Completion::Name(NameCompletion::Changed(number, self.change(conn, change, fails)))
            }
        }
    }

    fn change(&mut self, conn: usize, change: Change, fails: bool) -> Result<(), StoreError> {
        if fails {
            return Err(self.injected());
        }
        match &change {
            Change::Mkdir(name) => self.tree.mkdir(name.as_str()),
            Change::MkdirWith(name, permissions) => self.tree.mkdir_with(name.as_str(), Some(*permissions)),
            Change::Delete(name) => self.tree.delete(name.as_str()),
            Change::DeleteVersion(name, tag) => match self.tree.file(name.as_str()) {
                Ok((_, meta)) if meta.tag == *tag => self.tree.delete(name.as_str()),
                Ok(_) | Err(Code::NotAFile) => Err(Code::Changed),
                Err(code) => Err(code),
            },
            Change::Rename(from, to) => self.tree.rename(from.as_str(), to.as_str()),
            Change::Touch(touch) => self.tree.touch(touch),
        }
        .map_err(refused)?;
        // Whoever intends it knows no version.
        let change = match change {
            Change::DeleteVersion(name, _) => Change::Delete(name),
            change => change,
        };
        self.note(conn, Effect::Changed(change));
        Ok(())
    }
}

/// Returns all that a chunk stands for, its hole included.
fn whole(chunk: &Chunk) -> Vec<u8> {
    [&vec![0; chunk.hole as usize], chunk.bytes()].concat()
}

fn refused(code: Code) -> StoreError {
    StoreError::of(kind_of(code))
}

/// Returns a kind of error that is told with this code.
fn kind_of(code: Code) -> ErrorKind {
    let system = match code {
        Code::NotFound => SystemError::NotFound,
        Code::NotADirectory => SystemError::NotDirectory,
        Code::NotAFile => SystemError::IsDirectory,
        Code::Exists => SystemError::Exists,
        Code::NotEmpty => SystemError::NotEmpty,
        Code::NoSpace => SystemError::DiskFull,
        Code::Denied => SystemError::Permission,
        Code::Busy => SystemError::OpenFiles,
        Code::TooLarge => SystemError::FileTooLarge,
        Code::Io => SystemError::Disk,
        Code::BadRequest => return ErrorKind::IntoItself,
        Code::Changed => return ErrorKind::OtherVersion,
        Code::BadRange => return ErrorKind::PastEnd { size: 0 },
        other => panic!("no error of the store is told as {other}"),
    };
    ErrorKind::System(system)
}
