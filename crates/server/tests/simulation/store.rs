//! A store in memory that answers what sessions ask, fails at random, and watches that it is asked
//! for nothing that its contract forbids.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use ferry_server::store::{
    Change, Chunk, Completion, Content, DirEntry, ErrorKind, Finish, Form, Handles, Hands, IdsInHand, InHand, LetGo,
    Listed, Loaded, NameCompletion, NameOperation, Onto, Opened, Operation, Owner, PartStart, Piece, Published,
    ReadCompletion, ReadOperation, Resume, Resumed, Stability, Stage, Status, StoreError, SystemError, Tail,
    UploadCompletion, UploadOperation, WorkOn,
};
use ferry_wire::{Code, Crc32, Digest, Id, Name, Time};

use crate::{
    dice::Dice,
    tree::{Tree, some_time},
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
    Published { crc: Crc32, tag: ferry_wire::Tag },
}

struct KeptUpload {
    /// Whoever works on it.
    held_by: Option<UploadId>,
    name: Name,
    size: u64,
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

/// Rules on which operations may be asked for at which time.
impl Store {
    /// A session asks for `operation`; it will be done some time later.
    pub(crate) fn asked(&mut self, operation: &Operation<Model>) {
        match operation {
            Operation::Upload(_, operation) => self.asked_of_upload(operation),
            Operation::Name(NameOperation::Publish(_, upload, _)) => {
                let upload = self.open_upload(*upload);
                assert!(upload.whole, "published before it was whole");
            }
            Operation::Name(NameOperation::Change(..)) | Operation::Read(_) => {}
        }
    }

    fn asked_of_upload(&mut self, operation: &UploadOperation<Model>) {
        match operation {
            UploadOperation::Stage(_) | UploadOperation::Resume(_) | UploadOperation::Part(_) => {}
            UploadOperation::Write { upload, at, chunk, crc } => {
                assert_eq!(*crc, Crc32::of(chunk.bytes()), "the CRC of other bytes");
                let upload = self.open_upload(*upload);
                assert!(!upload.finishing, "a write behind the end");
                assert_eq!(*at, upload.asked, "a chunk that is not the next");
                assert!(!chunk.bytes().is_empty(), "an empty write");
                upload.asked += chunk.filled as u64;
                upload.writes += 1;
                assert!(upload.writes <= 2, "{} writes at once", upload.writes);
            }
            UploadOperation::Checkpoint { upload, digest } => {
                let upload = self.open_upload(*upload);
                assert!(upload.id.is_some(), "a checkpoint of an upload that is not kept");
                assert_eq!(
                    (upload.writes, upload.checkpoints),
                    (0, 0),
                    "a checkpoint while something else is under way"
                );
                assert_eq!(digest.bytes(), upload.asked, "a checkpoint of other bytes");
                upload.checkpoints += 1;
            }
            UploadOperation::Finish(Finish { upload, at, chunk, chunk_crc, size, before, .. }) => {
                assert_eq!(*chunk_crc, Crc32::of(chunk.bytes()), "the CRC of other bytes");
                let upload = self.open_upload(*upload);
                assert_eq!((upload.writes, upload.checkpoints), (0, 0), "finished while something is under way");
                assert_eq!(*at, upload.asked, "a last chunk that is not the next");
                let end = before.as_ref().map_or(*size, Digest::bytes);
                assert_eq!(end, at + chunk.filled as u64, "another size than bytes");
                assert!(before.is_none() || upload.id.is_some(), "parts of an upload that is not kept");
                assert!(!upload.finishing, "finished twice");
                upload.finishing = true;
                // It has touched the disk, even if it is empty.
                upload.asked = upload.asked.max(*size).max(1);
            }
            UploadOperation::Discard { upload } | UploadOperation::Keep { upload, tail: None } => {
                let upload = &mut self.uploads[upload.0];
                // It may have been published, late.
                assert!(!upload.ending && (!upload.ended || upload.whole), "let go twice");
                assert_eq!((upload.writes, upload.checkpoints), (0, 0), "let go while something is under way");
                upload.ending = true;
            }
            UploadOperation::Keep { upload, tail: Some(tail) } => {
                let upload = self.open_upload(*upload);
                assert_eq!((upload.writes, upload.checkpoints), (0, 0), "let go while something is under way");
                assert_eq!(tail.at, upload.asked, "a tail that is not the next");
                assert_eq!(tail.digest.bytes(), tail.at + tail.chunk.filled as u64);
                upload.ending = true;
            }
        }
    }

    fn open_upload(&mut self, upload: UploadId) -> &mut Upload {
        let upload = &mut self.uploads[upload.0];
        assert!(!upload.ending && !upload.ended, "something is asked of an upload that was let go: {}", upload.name);
        upload
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

    /// A helper begins an operation; [`None`] where it comes too late.
    pub(crate) fn enter(&mut self, operation: &Operation<Model>) -> Option<Work> {
        let upload = match operation {
            Operation::Upload(_, UploadOperation::Resume(resume)) => {
                return self.in_hand.take(&resume.id).map(Work::Resume);
            }
            Operation::Upload(
                _,
                UploadOperation::Write { upload, .. }
                | UploadOperation::Checkpoint { upload, .. }
                | UploadOperation::Finish(Finish { upload, .. }),
            )
            | Operation::Name(NameOperation::Publish(_, upload, _)) => *upload,
            _ => return Some(Work::None),
        };
        self.uploads[upload.0].hands.enter(WorkOn::Own).then_some(Work::Upload(upload))
    }

    /// A helper has ended an operation.
    pub(crate) fn leave(&mut self, work: Work, completion: &Completion<'_, Model>) {
        match (work, completion) {
            (Work::Upload(upload), _) => {
                if let Some(how) = self.uploads[upload.0].hands.leave(WorkOn::Own) {
                    self.let_go_now(upload, how, false);
                }
            }
            (
                Work::Resume(in_hand),
                Completion::Upload(_, UploadCompletion::Resumed(Ok(Resumed::Going { upload, .. }))),
            ) => {
                self.uploads[upload.0].in_hand = Some(in_hand);
            }
            (Work::Resume(_) | Work::None, _) => {}
        }
    }

    /// Nobody takes a completion.
    pub(crate) fn forget(&mut self, completion: Completion<'_, Model>) {
        if let Completion::Upload(_, UploadCompletion::Resumed(Ok(Resumed::Going { upload, .. }))) = completion {
            self.let_go(upload, LetGo::Keep(None), false);
        } else if let Completion::Upload(_, UploadCompletion::Staged(Ok(upload))) = completion
            && self.uploads[upload.0].part_of.is_some()
        {
            self.let_go(upload, LetGo::Discard, false);
        }
    }

    fn let_go(&mut self, upload: UploadId, how: LetGo, fails: bool) {
        if let Some(how) = self.uploads[upload.0].hands.let_go(how) {
            self.let_go_now(upload, how, fails);
        }
    }

    fn let_go_now(&mut self, upload: UploadId, how: LetGo, fails: bool) {
        if self.uploads[upload.0].ended {
            // It was published, late.
            return;
        }
        if let LetGo::Keep(Some(Tail { at, chunk, digest })) = &how
            && self.write(upload, *at, chunk, fails).is_ok()
        {
            self.remember(upload, digest);
        }
        self.close_part(upload);
        self.end(upload);
        if let (LetGo::Discard, Some(id)) = (how, self.id_of(upload)) {
            self.kept.remove(&id);
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

    fn read(&mut self, operation: ReadOperation<Model>, fails: bool) -> ReadCompletion<'static, Model> {
        match operation {
            ReadOperation::Open { .. } if fails => ReadCompletion::Opened(Err(self.injected())),
            ReadOperation::Open { name, offset, length, tag, inline } => {
                ReadCompletion::Opened(self.open(&name, offset, length, tag.as_ref(), inline).map_err(refused))
            }
            ReadOperation::Load { file, at, bytes, digest, remembered, form } => {
                assert!(!(remembered && self.doubted.contains(&file.0)), "a second reading that reads nothing");
                assert!(
                    file.is_sendable() || !matches!(form, Form::Cached),
                    "a file that may never answer is sent from"
                );
                let loaded = self.load(file, at, bytes, digest, fails);
                ReadCompletion::Loaded(loaded.map(|loaded| match form {
                    Form::Bytes(chunk) => self.copied(file, at, loaded, chunk),
                    Form::Cached | Form::Background => loaded,
                }))
            }
            ReadOperation::Check { file } if !fails && self.dice.happens(self.doubt_rate) => {
                self.doubted.insert(file.0);
                if self.meddles {
                    Arc::make_mut(&mut self.files[file.0])[0] ^= 1;
                }
                ReadCompletion::Checked(Ok(Stability::Doubtful))
            }
            ReadOperation::Check { .. } => {
                ReadCompletion::Checked(Ok(if fails { Stability::Changed } else { Stability::Same }))
            }
            ReadOperation::Probe if fails => ReadCompletion::Probed(Err(self.injected())),
            ReadOperation::Probe => ReadCompletion::Probed(Ok(())),
            ReadOperation::Stat { .. } if fails => ReadCompletion::Found(Err(self.injected())),
            ReadOperation::Stat { name } => ReadCompletion::Found(self.status(&name).map_err(refused)),
            ReadOperation::List { .. } | ReadOperation::ListMore { .. } if fails => {
                ReadCompletion::Listed(Err(self.injected()))
            }
            ReadOperation::List { name } => {
                let entries = self.tree.entries(name.as_ref()).map_err(refused);
                ReadCompletion::Listed(entries.map(|entries| self.list_on(entries)))
            }
            ReadOperation::ListMore { dir } => ReadCompletion::Listed(Ok(self.list_on(dir.0))),
        }
    }

    fn status(&self, name: &Name) -> Result<Status, Code> {
        Ok(match self.tree.find(name.as_str())? {
            crate::tree::Node::Dir => Status::Directory(Some(some_time())),
            crate::tree::Node::File { .. } => Status::File(self.tree.file_version(name.as_str())?.1),
        })
    }

    fn open(
        &mut self,
        name: &Name,
        offset: u64,
        length: Option<u64>,
        tag: Option<&ferry_wire::Tag>,
        inline: u64,
    ) -> Result<Opened<'static, FileId>, Code> {
        let (data, version) = self.tree.file_version(name.as_str())?;
        if tag.is_some_and(|tag| *tag != version.tag) {
            return Err(Code::Changed);
        }
        let size = data.len() as u64;
        if offset > size {
            return Err(Code::BadRange);
        }
        let end = offset + length.unwrap_or(u64::MAX).min(size - offset);
        if end - offset <= inline {
            let bytes = data[offset as usize..end as usize].to_vec();
            return Ok(Opened { version, content: Content::Inline(Cow::Owned(bytes)) });
        }
        self.files.push(data);
        let file = FileId(self.files.len() - 1);
        let is_sendable = file.is_sendable();
        Ok(Opened { version, content: Content::Range { file, start: offset, end, is_sendable } })
    }

    fn load(
        &mut self,
        file: FileId,
        at: u64,
        bytes: u64,
        mut digest: Option<Digest>,
        fails: bool,
    ) -> Result<Loaded, StoreError> {
        assert!(bytes > 0, "nothing to load");
        if fails {
            // Cut short by somebody else, or a disk that fails.
            return match self.dice.happens(500) {
                true => Ok(Loaded { piece: Piece::Cached(0), digest }),
                false => Err(self.injected()),
            };
        }
        let bytes = bytes.min(self.load_bytes);
        let bytes = if self.dice.happens(300) { self.dice.between(1, bytes as usize) as u64 } else { bytes };
        if let Some(digest) = &mut digest {
            digest.update(&self.files[file.0][at as usize..(at + bytes) as usize]);
        }
        Ok(Loaded { piece: Piece::Cached(bytes), digest })
    }

    fn copied(&self, file: FileId, at: u64, loaded: Loaded, mut chunk: Chunk) -> Loaded {
        let bytes = loaded.piece.bytes();
        let end = chunk.filled + bytes as usize;
        let content = &self.files[file.0][at as usize..(at + bytes) as usize];
        chunk.memory[chunk.filled..end].copy_from_slice(content);
        chunk.filled = end;
        Loaded { piece: Piece::Bytes(chunk, bytes), digest: loaded.digest }
    }

    fn list_on(&mut self, mut entries: Vec<DirEntry>) -> Listed<DirId> {
        let count = if self.dice.happens(500) { entries.len() } else { self.dice.below(entries.len() + 1) };
        let rest = entries.split_off(count);
        let more = (!rest.is_empty()).then_some(DirId(rest));
        Listed { entries, more }
    }

    fn change(&mut self, conn: usize, change: Change, fails: bool) -> Result<(), StoreError> {
        if fails {
            return Err(self.injected());
        }
        match &change {
            Change::Mkdir(name) => self.tree.mkdir(name.as_str()),
            Change::Delete(name) => self.tree.delete(name.as_str()),
            Change::Rename(from, to) => self.tree.rename(from.as_str(), to.as_str()),
        }
        .map_err(refused)?;
        self.note(conn, Effect::Changed(change));
        Ok(())
    }

    fn advance(&mut self, operation: UploadOperation<Model>, fails: bool) -> UploadCompletion<Model> {
        let fails_early = fails && !self.spare_staging;
        match operation {
            UploadOperation::Stage(_) if fails_early => UploadCompletion::Staged(Err(self.injected())),
            UploadOperation::Stage(Stage { name, mtime, settled, .. }) => {
                UploadCompletion::Staged(Ok(self.add(name, mtime, settled, None, Vec::new())))
            }
            UploadOperation::Part(_) if fails_early => UploadCompletion::Staged(Err(self.injected())),
            UploadOperation::Part(start) => UploadCompletion::Staged(self.part(start)),
            UploadOperation::Resume(_) if fails_early => UploadCompletion::Resumed(Err(self.injected())),
            UploadOperation::Resume(resume) => UploadCompletion::Resumed(self.resume(resume)),
            UploadOperation::Write { upload, at, chunk, .. } => {
                UploadCompletion::Written(self.write(upload, at, &chunk, fails).map(|()| chunk))
            }
            UploadOperation::Checkpoint { upload, digest } => {
                if fails {
                    return UploadCompletion::Checkpointed(Err(self.injected()));
                }
                self.remember(upload, &digest);
                self.checkpoints += 1;
                UploadCompletion::Checkpointed(Ok(()))
            }
            UploadOperation::Finish(finish) => UploadCompletion::Finished(self.finish(&finish, fails)),
            UploadOperation::Discard { upload } => {
                self.let_go(upload, LetGo::Discard, fails);
                UploadCompletion::Released
            }
            UploadOperation::Keep { upload, tail } => {
                self.let_go(upload, LetGo::Keep(tail), fails);
                UploadCompletion::Released
            }
        }
    }

    fn finish(&mut self, finish: &Finish<Model>, fails: bool) -> Result<(), StoreError> {
        let Finish { upload, at, chunk, size, crc, before, .. } = finish;
        self.write(*upload, *at, chunk, fails)?;
        if let Some((of, range)) = self.uploads[upload.0].part_of.clone() {
            let data = self.uploads[upload.0].data.clone();
            assert_eq!(
                (data.len() as u64, Crc32::of(&data)),
                (range.end - range.start, *crc),
                "a part that is not whole"
            );
            self.close_part(*upload);
            self.end(*upload);
            self.uploads[of.0].parts.insert(range.start, data);
            return Ok(());
        }
        let upload = &mut self.uploads[upload.0];
        upload.open_parts.clear();
        if let Some(before) = before {
            assert_eq!(before.crc(), Crc32::of(&upload.data), "a digest of other bytes");
            let mut whole = upload.data.clone();
            for (offset, data) in &upload.parts {
                if *offset == whole.len() as u64 {
                    whole.extend_from_slice(data);
                }
            }
            if whole.len() as u64 != *size {
                return Err(StoreError::of(ErrorKind::PartsMissing));
            }
            if Crc32::of(&whole) != *crc {
                return Err(StoreError::of(ErrorKind::OtherCrc));
            }
            self.joined += 1;
            upload.data = whole;
        }
        assert_eq!((upload.data.len() as u64, Crc32::of(&upload.data)), (*size, *crc), "a file that is not whole");
        upload.whole = true;
        Ok(())
    }

    fn add(&mut self, name: Name, mtime: Option<Time>, settled: bool, id: Option<Id>, data: Vec<u8>) -> UploadId {
        let asked = data.len() as u64;
        let (writes, checkpoints, finishing, whole, ending, ended) = (0, 0, false, false, false, false);
        let (part_of, reach, parts, open_parts) = (None, asked, BTreeMap::new(), Vec::new());
        self.uploads.push(Upload {
            name,
            mtime,
            settled,
            id,
            data,
            asked,
            writes,
            checkpoints,
            part_of,
            reach,
            parts,
            open_parts,
            finishing,
            whole,
            ending,
            ended,
            hands: Hands::default(),
            in_hand: None,
        });
        UploadId(self.uploads.len() - 1)
    }

    fn resume(&mut self, resume: Resume) -> Result<Resumed<UploadId>, StoreError> {
        let Resume { id, name, size, mtime, owner, .. } = resume;
        self.tree.check_target(name.as_str()).map_err(refused)?;
        let (mut begun, mut parts, mut owner) = (Vec::new(), BTreeMap::new(), owner);
        if let Some(kept) = self.kept.get_mut(&id) {
            assert!(!kept.locked, "a RESUME of {id} while another holds it");
            if kept.owner.excludes(&owner) {
                return Err(StoreError::of(ErrorKind::ForeignUpload));
            }
            owner = kept.owner.clone();
            if (&kept.name, kept.size) != (&name, size) {
                return Err(refused(Code::Exists));
            }
            match &kept.kept {
                Kept::Published { crc, tag } => {
                    return Ok(Resumed::Published(Published { size, crc: *crc, tag: tag.clone() }));
                }
                Kept::Aside { data, offset, parts: beyond } => {
                    (begun, parts) = (data[..*offset as usize].to_vec(), beyond.clone());
                }
            }
        }
        let mut digest = Digest::new();
        digest.update(&begun);
        let kept = Kept::Aside { data: begun.clone(), offset: digest.bytes(), parts: parts.clone() };
        let held_by = Some(UploadId(self.uploads.len()));
        self.kept.insert(id.clone(), KeptUpload { held_by, name: name.clone(), size, kept, locked: true, owner });
        let upload = self.add(name, mtime, false, Some(id), begun);
        let told = parts.iter().map(|(&offset, data)| offset..offset + data.len() as u64).collect();
        self.uploads[upload.0].parts = parts;
        Ok(Resumed::Going { upload, digest, parts: told })
    }

    fn part(&mut self, start: PartStart) -> Result<UploadId, StoreError> {
        let PartStart { id, name, offset, length, owner } = start;
        let refused = |kind| Err(StoreError::of(kind));
        let Some(kept) = self.kept.get(&id) else { return refused(ErrorKind::NotHeld) };
        let Some(of) = kept.held_by.filter(|of| !self.uploads[of.0].whole && !self.uploads[of.0].ended) else {
            return refused(ErrorKind::NotHeld);
        };
        if kept.owner.excludes(&owner) {
            return refused(ErrorKind::ForeignUpload);
        }
        if kept.name != name {
            return refused(ErrorKind::IdTaken);
        }
        let range = offset..offset.saturating_add(length);
        let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        let holder = &self.uploads[of.0];
        let mut whole = holder.parts.iter().map(|(&offset, data)| offset..offset + data.len() as u64);
        if range.is_empty() || range.end > kept.size || offset < holder.reach || whole.any(|whole| overlaps(&whole)) {
            return refused(ErrorKind::BadPart);
        }
        let open = holder.open_parts.clone();
        let stays = |part: &UploadId| !overlaps(&self.uploads[part.0].part_of.as_ref().unwrap().1);
        let open: Vec<_> = open.into_iter().filter(stays).collect();
        self.uploads[of.0].open_parts = open;
        let part = self.add(name, None, false, None, Vec::new());
        self.uploads[part.0].part_of = Some((of, range));
        self.uploads[of.0].open_parts.push(part);
        Ok(part)
    }

    /// Returns whether a part may still be written.
    fn is_open_part(&self, part: UploadId) -> bool {
        let (of, _) = self.uploads[part.0].part_of.as_ref().unwrap();
        self.uploads[of.0].open_parts.contains(&part)
    }

    fn close_part(&mut self, part: UploadId) {
        if let Some((of, _)) = self.uploads[part.0].part_of {
            self.uploads[of.0].open_parts.retain(|open| *open != part);
        }
    }

    /// The holder writes up to `end`: over parts that are there, or on their way.
    fn overtake(&mut self, holder: UploadId, end: u64) {
        let reach = self.uploads[holder.0].reach.max(end);
        let open = self.uploads[holder.0].open_parts.clone();
        let stays = |part: &UploadId| self.uploads[part.0].part_of.as_ref().unwrap().1.start >= reach;
        let open = open.into_iter().filter(stays).collect();
        let upload = &mut self.uploads[holder.0];
        (upload.reach, upload.open_parts) = (reach, open);
        upload.parts.retain(|&offset, _| offset >= reach);
        let kept = upload.id.as_ref().and_then(|id| self.kept.get_mut(id));
        if let Some(KeptUpload { kept: Kept::Aside { parts, .. }, .. }) = kept {
            parts.retain(|&offset, _| offset >= reach);
        }
    }

    fn write(&mut self, upload: UploadId, at: u64, chunk: &Chunk, fails: bool) -> Result<(), StoreError> {
        if fails {
            return Err(self.injected());
        }
        if self.uploads[upload.0].part_of.is_none() {
            self.overtake(upload, at + chunk.filled as u64);
        } else if !self.is_open_part(upload) {
            return Err(StoreError::of(ErrorKind::TakenOver));
        }
        let upload = &mut self.uploads[upload.0];
        assert!(!upload.ended, "a write to an upload that was let go");
        if upload.settled && upload.data.is_empty() {
            self.tree.check_target(upload.name.as_str()).map_err(refused)?;
        }
        let end = at as usize + chunk.filled;
        if upload.data.len() < end {
            upload.data.resize(end, 0);
        }
        upload.data[at as usize..end].copy_from_slice(chunk.bytes());
        Ok(())
    }

    fn remember(&mut self, upload: UploadId, digest: &Digest) {
        let upload = &self.uploads[upload.0];
        let data = upload.data[..digest.bytes() as usize].to_vec();
        assert_eq!(digest.crc(), Crc32::of(&data), "a checkpoint that lies");
        let kept = upload.id.as_ref().and_then(|id| self.kept.get_mut(id)).unwrap();
        kept.kept = Kept::Aside { data, offset: digest.bytes(), parts: upload.parts.clone() };
    }

    fn publish(&mut self, conn: usize, handle: UploadId, onto: Onto, fails: bool) -> Result<Published, StoreError> {
        if fails {
            return Err(self.injected());
        }
        let upload = &self.uploads[handle.0];
        match (onto, self.tree.find(upload.name.as_str())) {
            (Onto::Free, Ok(_)) => return Err(StoreError::of(ErrorKind::NameTaken)),
            (Onto::Taken, Err(_)) if self.tree.check_target(upload.name.as_str()).is_ok() => {
                return Err(StoreError::of(ErrorKind::NameFree));
            }
            _ => {}
        }
        assert!(upload.whole, "published before it was whole");
        let data = Arc::new(upload.data.clone());
        let (name, size, crc) = (upload.name.as_str().to_owned(), data.len() as u64, Crc32::of(&data));
        let tag = self.tree.publish(&name, data, upload.mtime.unwrap_or(some_time())).map_err(refused)?;
        self.end(handle);
        if let Some(kept) = self.id_of(handle).and_then(|id| self.kept.get_mut(&id)) {
            kept.kept = Kept::Published { crc, tag: tag.clone() };
        }
        self.note(conn, Effect::Published { name, size, crc });
        Ok(Published { size, crc, tag })
    }

    /// The upload is let go: once.
    fn end(&mut self, upload: UploadId) {
        let upload = &mut self.uploads[upload.0];
        assert!(!std::mem::replace(&mut upload.ended, true), "let go twice");
        upload.open_parts.clear();
        upload.data = if upload.id.is_none() { Vec::new() } else { std::mem::take(&mut upload.data) };
        if let Some(kept) = upload.id.as_ref().and_then(|id| self.kept.get_mut(id)) {
            (kept.locked, kept.held_by) = (false, None);
        }
        upload.in_hand = None;
    }
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
