//! A store in memory that answers what sessions ask, fails at random, and watches that it is asked
//! for nothing that its contract forbids.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use ferry_server::protocol::ferry::{Change, Chunk, Done, Handles, Opened, Outcome, Tail, Work};
use ferry_wire::{Code, Crc32, Digest, Failure, Id, Name, Reply, Time};

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

/// A directory that is being listed: the lines that are left.
#[derive(Debug)]
pub(crate) struct DirId(Vec<String>);

/// An upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UploadId(usize);

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

/// The message of every failure that was thrown by dice.
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
    /// It has come to its end: nothing may be asked of it but what ends it.
    finishing: bool,
    whole: bool,
    /// Published, discarded or kept: asked for, and done.
    ending: bool,
    ended: bool,
}

enum Kept {
    Aside { data: Vec<u8>, offset: u64 },
    Published { crc: Crc32, tag: ferry_wire::Tag },
}

struct KeptUpload {
    name: Name,
    size: u64,
    kept: Kept,
    locked: bool,
}

/// See the [module documentation](self).
pub(crate) struct Store {
    pub(crate) tree: Tree,
    /// Of a thousand pieces of work, how many fail.
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
    pub(crate) effects: Vec<(usize, Effect)>,
    files: Vec<Arc<Vec<u8>>>,
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
            effects,
            files,
            uploads,
            kept: HashMap::new(),
            dice,
        }
    }

    pub(crate) fn id_of(&self, upload: UploadId) -> Option<Id> {
        self.uploads[upload.0].id.clone()
    }

    /// The bytes that a socket gets of an open file.
    pub(crate) fn range(&self, file: FileId, at: u64, bytes: usize) -> &[u8] {
        &self.files[file.0][at as usize..at as usize + bytes]
    }

    /// Uploads that nobody has let go. One that was prepared for a client who left at once, and
    /// never touched the disk, needs no letting go.
    pub(crate) fn staged(&self) -> usize {
        self.uploads.iter().filter(|upload| !upload.ended && (upload.id.is_some() || upload.asked > 0)).count()
    }

    /// Kept uploads that are locked though nobody holds them.
    pub(crate) fn locked(&self) -> usize {
        self.kept.values().filter(|kept| kept.locked).count()
    }

    /// Whether `work` is no RESUME of an upload that is held.
    pub(crate) fn is_free(&self, work: &Work<Model>) -> bool {
        !matches!(work, Work::Resume { id, .. } if self.kept.get(id).is_some_and(|kept| kept.locked))
    }

    pub(crate) fn injected(&mut self) -> Failure {
        self.faults += 1;
        let code = *self.dice.pick(&[Code::Io, Code::NoSpace, Code::Denied]);
        Failure::new(self.injects.unwrap_or(code), INJECTED)
    }

    fn faulty(&mut self) -> bool {
        self.fault_rate > 0 && self.dice.happens(self.fault_rate)
    }
}

/// What may be asked when.
impl Store {
    /// A session asks for `work`; it will be done some time later.
    pub(crate) fn asked(&mut self, work: &Work<Model>) {
        match work {
            Work::Write { upload, at, chunk } => {
                let upload = self.open_upload(*upload);
                assert!(!upload.finishing, "a write behind the end");
                assert_eq!(*at, upload.asked, "a chunk that is not the next");
                assert!(!chunk.bytes().is_empty(), "an empty write");
                upload.asked += chunk.filled as u64;
                upload.writes += 1;
                assert!(upload.writes <= 2, "{} writes at once", upload.writes);
            }
            Work::Checkpoint { upload, digest } => {
                let upload = self.open_upload(*upload);
                assert!(upload.id.is_some(), "a checkpoint of an upload that is not kept");
                assert_eq!((upload.writes, upload.checkpoints), (0, 0), "a checkpoint while there is other work");
                assert_eq!(digest.bytes(), upload.asked, "a checkpoint of other bytes");
                upload.checkpoints += 1;
            }
            Work::Finish { upload, at, chunk, size, .. } => {
                let upload = self.open_upload(*upload);
                assert_eq!((upload.writes, upload.checkpoints), (0, 0), "finished while there is work");
                assert_eq!(*at, upload.asked, "a last chunk that is not the next");
                assert_eq!(*size, at + chunk.filled as u64, "another size than bytes");
                assert!(!upload.finishing, "finished twice");
                upload.finishing = true;
                // It has touched the disk, even if it is empty.
                upload.asked = upload.asked.max(*size).max(1);
            }
            Work::Publish { upload } => {
                let upload = self.open_upload(*upload);
                assert!(upload.whole, "published before it was whole");
            }
            Work::Discard { upload } | Work::Keep { upload, tail: None } => {
                let upload = self.open_upload(*upload);
                assert_eq!((upload.writes, upload.checkpoints), (0, 0), "let go while there is work");
                upload.ending = true;
            }
            Work::Keep { upload, tail: Some(tail) } => {
                let upload = self.open_upload(*upload);
                assert_eq!((upload.writes, upload.checkpoints), (0, 0), "let go while there is work");
                assert_eq!(tail.at, upload.asked, "a tail that is not the next");
                assert_eq!(tail.digest.bytes(), tail.at + tail.chunk.filled as u64);
                upload.ending = true;
            }
            _ => {}
        }
    }

    fn open_upload(&mut self, upload: UploadId) -> &mut Upload {
        let upload = &mut self.uploads[upload.0];
        assert!(!upload.ending && !upload.ended, "work on an upload that was let go: {}", upload.name);
        upload
    }
}

/// Doing it.
impl Store {
    /// Does one piece of work, or fails it.
    pub(crate) fn run(&mut self, conn: usize, work: Work<Model>) -> Outcome<'static, Model> {
        let fails = self.faulty();
        match work {
            Work::Open { .. } | Work::Stat { .. } | Work::List { .. } | Work::ListMore { .. } if fails => {
                Err(self.injected())
            }
            Work::Open { name, offset, length, tag, inline } => {
                self.open(&name, offset, length, tag.as_ref(), inline).map_err(refused)
            }
            Work::Load { file, at, bytes, digest, background } => {
                let loaded = self.load(file, at, bytes, digest, fails)?;
                // As if every other file lay where it must not be sent from.
                Ok(if file.0 % 2 == 1 && !background { self.copied(file, at, loaded) } else { loaded })
            }
            Work::Check { file } if !fails && self.dice.happens(self.doubt_rate) => {
                if self.meddles {
                    Arc::make_mut(&mut self.files[file.0])[0] ^= 1;
                }
                Ok(Done::Doubtful)
            }
            Work::Check { .. } => Ok(Done::Unchanged(!fails)),
            Work::Stat { name } => {
                let found = self.tree.find(name.as_str()).map_err(refused)?;
                let reply = match found {
                    crate::tree::Node::Dir => Reply::Dir(Some(some_time())),
                    crate::tree::Node::File { .. } => Reply::File(self.tree.file(name.as_str()).map_err(refused)?.1),
                };
                Ok(Done::Replied(reply))
            }
            Work::List { name } => {
                let lines = self.tree.list(name.as_ref()).map_err(refused)?;
                Ok(self.list_on(lines))
            }
            Work::ListMore { dir } => Ok(self.list_on(dir.0)),
            Work::Change(change) => self.change(conn, change, fails),
            work => self.run_upload(conn, work, fails),
        }
    }

    fn open(
        &mut self,
        name: &Name,
        offset: u64,
        length: Option<u64>,
        tag: Option<&ferry_wire::Tag>,
        inline: u64,
    ) -> Result<Done<'static, Model>, Code> {
        let (data, meta) = self.tree.file(name.as_str())?;
        if tag.is_some_and(|tag| *tag != meta.tag) {
            return Err(Code::Changed);
        }
        let size = data.len() as u64;
        if offset > size {
            return Err(Code::BadRange);
        }
        let end = offset + length.unwrap_or(u64::MAX).min(size - offset);
        if end - offset <= inline {
            let bytes = data[offset as usize..end as usize].to_vec();
            let crc = Crc32::of(&bytes);
            return Ok(Done::Opened { meta, range: Opened::Inline { bytes: Cow::Owned(bytes), crc } });
        }
        self.files.push(data);
        let file = FileId(self.files.len() - 1);
        Ok(Done::Opened { meta, range: Opened::Range { file, start: offset, end } })
    }

    fn load(&mut self, file: FileId, at: u64, bytes: u64, mut digest: Digest, fails: bool) -> Outcome<'static, Model> {
        assert!(bytes > 0, "nothing to load");
        if fails {
            // Cut short by somebody else, or a disk that fails.
            return if self.dice.happens(500) { Ok(Done::Loaded { bytes: 0, digest }) } else { Err(self.injected()) };
        }
        let bytes = bytes.min(self.load_bytes);
        let bytes = if self.dice.happens(300) { self.dice.between(1, bytes as usize) as u64 } else { bytes };
        digest.update(&self.files[file.0][at as usize..(at + bytes) as usize]);
        Ok(Done::Loaded { bytes, digest })
    }

    fn copied(&self, file: FileId, at: u64, loaded: Done<'static, Model>) -> Done<'static, Model> {
        let Done::Loaded { bytes, digest } = loaded else { return loaded };
        Done::Read { bytes: self.files[file.0][at as usize..(at + bytes) as usize].to_vec(), digest }
    }

    fn list_on(&mut self, mut lines: Vec<String>) -> Done<'static, Model> {
        let count = if self.dice.happens(500) { lines.len() } else { self.dice.below(lines.len() + 1) };
        let rest = lines.split_off(count);
        let more = (!rest.is_empty()).then_some(DirId(rest));
        Done::Listed { lines: Cow::Owned(lines.concat().into_bytes()), more }
    }

    fn change(&mut self, conn: usize, change: Change, fails: bool) -> Outcome<'static, Model> {
        if fails {
            return Err(self.injected());
        }
        match &change {
            Change::Mkdir(name) => self.tree.mkdir(name.as_str()),
            Change::Delete(name) => self.tree.delete(name.as_str()),
            Change::Rename(from, to) => self.tree.rename(from.as_str(), to.as_str()),
        }
        .map_err(refused)?;
        self.effects.push((conn, Effect::Changed(change)));
        Ok(Done::Replied(Reply::Done))
    }

    fn run_upload(&mut self, conn: usize, work: Work<Model>, fails: bool) -> Outcome<'static, Model> {
        match work {
            Work::Stage { .. } | Work::Resume { .. } if fails && !self.spare_staging => Err(self.injected()),
            Work::Stage { name, mtime, settled, .. } => {
                Ok(Done::Staged(self.add(name, mtime, settled, None, Vec::new())))
            }
            Work::Resume { id, name, size, mtime, .. } => self.resume(id, name, size, mtime),
            Work::Write { upload, at, chunk } => {
                self.uploads[upload.0].writes -= 1;
                self.write(upload, at, &chunk, fails)?;
                Ok(Done::Written(chunk))
            }
            Work::Checkpoint { upload, digest } => {
                self.uploads[upload.0].checkpoints -= 1;
                if fails {
                    return Err(self.injected());
                }
                self.remember(upload, &digest);
                self.checkpoints += 1;
                Ok(Done::Checkpointed)
            }
            Work::Finish { upload, at, chunk, size, crc } => {
                self.write(upload, at, &chunk, fails)?;
                let upload = &mut self.uploads[upload.0];
                assert_eq!(
                    (upload.data.len() as u64, Crc32::of(&upload.data)),
                    (size, crc),
                    "a file that is not whole"
                );
                upload.whole = true;
                Ok(Done::Finished)
            }
            Work::Publish { upload } => self.publish(conn, upload, fails),
            Work::Discard { upload } => {
                self.end(upload);
                if let Some(id) = self.id_of(upload) {
                    self.kept.remove(&id);
                }
                Ok(Done::Dropped)
            }
            Work::Keep { upload, tail } => {
                if let Some(Tail { at, chunk, digest }) = tail
                    && self.write(upload, at, &chunk, fails).is_ok()
                {
                    self.remember(upload, &digest);
                }
                self.end(upload);
                Ok(Done::Dropped)
            }
            _ => unreachable!("no work on an upload"),
        }
    }

    fn add(&mut self, name: Name, mtime: Option<Time>, settled: bool, id: Option<Id>, data: Vec<u8>) -> UploadId {
        let asked = data.len() as u64;
        let (writes, checkpoints, finishing, whole, ending, ended) = (0, 0, false, false, false, false);
        self.uploads.push(Upload {
            name,
            mtime,
            settled,
            id,
            data,
            asked,
            writes,
            checkpoints,
            finishing,
            whole,
            ending,
            ended,
        });
        UploadId(self.uploads.len() - 1)
    }

    fn resume(&mut self, id: Id, name: Name, size: u64, mtime: Option<Time>) -> Outcome<'static, Model> {
        self.tree.check_target(name.as_str()).map_err(refused)?;
        let mut begun = Vec::new();
        if let Some(kept) = self.kept.get_mut(&id) {
            assert!(!kept.locked, "a RESUME of {id} while another holds it");
            if (&kept.name, kept.size) != (&name, size) {
                return Err(refused(Code::Exists));
            }
            match &kept.kept {
                Kept::Published { crc, tag } => {
                    return Ok(Done::Replied(Reply::Saved { size, crc: *crc, tag: tag.clone() }));
                }
                Kept::Aside { data, offset } => begun = data[..*offset as usize].to_vec(),
            }
        }
        let mut digest = Digest::new();
        digest.update(&begun);
        let kept = Kept::Aside { data: begun.clone(), offset: digest.bytes() };
        self.kept.insert(id.clone(), KeptUpload { name: name.clone(), size, kept, locked: true });
        let upload = self.add(name, mtime, false, Some(id), begun);
        Ok(Done::Resumed { upload, digest })
    }

    fn write(&mut self, upload: UploadId, at: u64, chunk: &Chunk, fails: bool) -> Result<(), Failure> {
        if fails {
            return Err(self.injected());
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
        kept.kept = Kept::Aside { data, offset: digest.bytes() };
    }

    fn publish(&mut self, conn: usize, handle: UploadId, fails: bool) -> Outcome<'static, Model> {
        if fails {
            return Err(self.injected());
        }
        let upload = &self.uploads[handle.0];
        assert!(upload.whole, "published before it was whole");
        let data = Arc::new(upload.data.clone());
        let (name, size, crc) = (upload.name.as_str().to_owned(), data.len() as u64, Crc32::of(&data));
        let tag = self.tree.publish(&name, data, upload.mtime.unwrap_or(some_time())).map_err(refused)?;
        self.end(handle);
        if let Some(kept) = self.id_of(handle).and_then(|id| self.kept.get_mut(&id)) {
            kept.kept = Kept::Published { crc, tag: tag.clone() };
        }
        self.effects.push((conn, Effect::Published { name, size, crc }));
        Ok(Done::Replied(Reply::Saved { size, crc, tag }))
    }

    /// The upload is let go: once.
    fn end(&mut self, upload: UploadId) {
        let upload = &mut self.uploads[upload.0];
        assert!(!std::mem::replace(&mut upload.ended, true), "let go twice");
        upload.data = if upload.id.is_none() { Vec::new() } else { std::mem::take(&mut upload.data) };
        if let Some(kept) = upload.id.as_ref().and_then(|id| self.kept.get_mut(id)) {
            kept.locked = false;
        }
    }
}

fn refused(code: Code) -> Failure {
    Failure::new(code, "as the model has it")
}
