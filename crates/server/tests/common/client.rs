//! Requests as a session turns them into operations: the same ones in the same order, and the same
//! decision what to let go of where one fails.

use std::{ops::Range, sync::Arc};

use ferry_server::store::{
    Change, ChangeNumber, Chunk, Content, Disk, ErrorKind, Finish, Form, NameCompletion, NameOperation, Onto, OpenDir,
    OpenFile, Opened, Owner, PartStart, Progress, ReadCompletion, ReadOperation, Resume, SCRATCH_BYTES, SmallFinish,
    Stability, Stage, Store, StoreError, Tail, Upload, UploadCompletion, UploadNumber, UploadOperation,
};
use ferry_wire::{Code, Crc32, Digest, Entry, Failure, Id, Name, Reply};

/// The last answer to a client.
pub(crate) type Told = Result<Reply, Failure>;

/// Ranges up to this size come with the answer to an Open.
const INLINE_BYTES: u64 = 64 << 10;

/// The piece that a download loads at once.
const PIECE_BYTES: u64 = 96 << 10;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

pub(crate) fn id(text: &str) -> Id {
    Id::new(text).expect("a valid id")
}

/// One client of a store.
pub(crate) struct Client<'s> {
    store: &'s Store,
    /// Nothing is in the page cache: all is a helper's.
    cold: bool,
    scratch: Vec<u8>,
}

/// A body to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body<'b> {
    pub(crate) bytes: &'b [u8],
    /// How much is written at once.
    pub(crate) chunk: usize,
    /// The size is told before.
    pub(crate) announced: bool,
    /// No request is pending before this one.
    pub(crate) settled: bool,
}

/// A resumable upload that goes on.
pub(crate) struct Held {
    upload: Arc<Upload>,
    /// The run over all that was sent.
    pub(crate) digest: Digest,
    /// The parts beyond that GO told of.
    pub(crate) parts: Vec<Range<u64>>,
}

pub(crate) enum Resumed {
    /// It was published before.
    Saved(Reply),
    Going(Held),
}

impl<'s> Client<'s> {
    pub(crate) fn new(store: &'s Store, cold: bool) -> Client<'s> {
        Client { store, cold, scratch: vec![0; SCRATCH_BYTES] }
    }

    fn read(&mut self, operation: ReadOperation<Disk>) -> ReadCompletion<'static, Disk> {
        let operation = match self.cold {
            true => operation,
            false => match self.store.try_read(operation, &mut self.scratch) {
                Ok(completion) => return completion.into_owned(),
                Err(operation) => operation,
            },
        };
        self.store.read(operation, &mut self.scratch, &|| true)
    }

    fn open(&mut self, name: &Name) -> Result<Opened<'static, Arc<OpenFile>>, Failure> {
        let open = ReadOperation::Open { name: name.clone(), offset: 0, length: None, tag: None, inline: INLINE_BYTES };
        match self.read(open) {
            ReadCompletion::Opened(opened) => told(opened),
            other => panic!("{other:?} for an Open"),
        }
    }

    /// GET: all the bytes, if what the client gets is verified.
    pub(crate) fn get(&mut self, name: &Name) -> Result<Vec<u8>, Failure> {
        let (file, start, end) = match self.open(name)?.content {
            Content::Inline { bytes, crc } => {
                assert!(crc.is_none_or(|crc| crc == Crc32::of(&bytes)), "the CRC of {name} is not that of its bytes");
                return Ok(bytes.to_vec());
            }
            Content::Range { file, start, end, .. } => (file, start, end),
        };
        let mut bytes = Vec::new();
        let crc = self.load(&file, start..end, false, |at, count| {
            let mut piece = vec![0; count as usize];
            let read = rustix::io::pread(file.fd().expect("an open file"), &mut piece, at).expect("a cached read");
            bytes.extend_from_slice(&piece[..read]);
        })?;
        assert_eq!(crc, Crc32::of(&bytes), "the CRC of {name} is not that of its bytes");
        Ok(bytes)
    }

    /// SUM.
    pub(crate) fn sum(&mut self, name: &Name) -> Result<(u64, Crc32), Failure> {
        match self.open(name)?.content {
            Content::Inline { bytes, .. } => Ok((bytes.len() as u64, Crc32::of(&bytes))),
            Content::Range { file, start, end, .. } => {
                self.load(&file, start..end, true, |_, _| {}).map(|crc| (end - start, crc))
            }
        }
    }

    fn load(
        &mut self,
        file: &Arc<OpenFile>,
        range: std::ops::Range<u64>,
        background: bool,
        mut send: impl FnMut(u64, u64),
    ) -> Result<Crc32, Failure> {
        let crc = self.pass(file, range.clone(), (background, true), &mut send)?;
        let ReadCompletion::Checked(checked) = self.read(ReadOperation::Check { file: file.clone() }) else {
            panic!("no Checked for a Check")
        };
        match told(checked)? {
            Stability::Same => Ok(crc),
            Stability::Doubtful if self.pass(file, range, (true, false), &mut |_, _| {})? == crc => Ok(crc),
            Stability::Changed | Stability::Doubtful => Err(changed()),
        }
    }

    /// One reading of a range.
    fn pass(
        &mut self,
        file: &Arc<OpenFile>,
        range: std::ops::Range<u64>,
        (background, remembered): (bool, bool),
        send: &mut dyn FnMut(u64, u64),
    ) -> Result<Crc32, Failure> {
        let (mut at, mut digest) = (range.start, Digest::new());
        while at < range.end {
            let bytes = (range.end - at).min(PIECE_BYTES);
            let form = if background { Form::Background } else { Form::Cached };
            let load = ReadOperation::Load { file: file.clone(), at, bytes, digest: Some(digest), remembered, form };
            let ReadCompletion::Loaded(loaded) = self.read(load) else { panic!("no Loaded for a Load") };
            let loaded = told(loaded)?;
            let bytes = loaded.piece.bytes();
            if bytes == 0 {
                return Err(changed());
            }
            send(at, bytes);
            (at, digest) = (at + bytes, loaded.digest.expect("the digest that was asked for"));
        }
        Ok(digest.crc())
    }

    /// LIST: the lines.
    pub(crate) fn list(&mut self, name: Option<&Name>) -> Result<String, Failure> {
        let mut all = Vec::new();
        let mut operation = ReadOperation::List { name: name.cloned() };
        loop {
            let ReadCompletion::Listed(listed) = self.read(operation) else { panic!("no Listed for a List") };
            let listed = told(listed)?;
            listed.entries.into_iter().for_each(|entry| Entry::from(entry).encode(&mut all));
            let more: Option<Box<OpenDir>> = listed.more;
            let Some(dir) = more else { return Ok(String::from_utf8(all).expect("a listing in UTF-8")) };
            operation = ReadOperation::ListMore { dir };
        }
    }

    /// STAT.
    pub(crate) fn stat(&mut self, name: &Name) -> Told {
        match self.read(ReadOperation::Stat { name: name.clone() }) {
            ReadCompletion::Found(found) => told(found).map(Reply::from),
            other => panic!("{other:?} for a Stat"),
        }
    }

    /// HEALTH.
    pub(crate) fn health(&mut self) -> Told {
        match self.read(ReadOperation::Probe) {
            ReadCompletion::Probed(probed) => told(probed).map(|()| Reply::Done),
            other => panic!("{other:?} for a Probe"),
        }
    }

    /// SPACE.
    pub(crate) fn space(&mut self) -> Told {
        match self.read(ReadOperation::Room { owner: Owner::NOBODY }) {
            ReadCompletion::RoomFound(room) => told(room).map(Reply::from),
            other => panic!("{other:?} for a Room"),
        }
    }

    /// PUT.
    pub(crate) fn put(&mut self, name: &Name, body: Body<'_>) -> Told {
        let upload = self.deliver(name, body)?;
        self.publish(upload)
    }

    /// PUT, up to where it waits for its name.
    pub(crate) fn deliver(&mut self, name: &Name, body: Body<'_>) -> Result<Arc<Upload>, Failure> {
        let Body { bytes, chunk, announced, settled } = body;
        let size = announced.then_some(bytes.len() as u64);
        let upload = self.stage(Stage {
            name: name.clone(),
            size,
            mtime: None,
            permissions: None,
            settled,
            owner: Owner::NOBODY,
        });
        let delivered = self.send(&upload, bytes, 0, chunk).and_then(|at| {
            let finish = finish_of(upload.clone(), at, bytes);
            match SmallFinish::new(NUMBER, finish) {
                Ok(small) => told(
                    self.store.finish_small(&mut vec![small].into_iter()).pop().expect("one result for one upload").1,
                ),
                Err(finish) => self.finish_one(finish),
            }
        });
        self.delivered(upload, delivered)
    }

    /// Several small PUTs that wait for the disk together, up to where they wait for their names.
    pub(crate) fn deliver_together(&mut self, puts: &[(Name, &[u8])]) -> Vec<Result<Arc<Upload>, Failure>> {
        let (mut finishes, mut uploads) = (Vec::new(), Vec::new());
        for (name, bytes) in puts {
            let upload = self.stage(Stage {
                name: name.clone(),
                size: Some(bytes.len() as u64),
                mtime: None,
                permissions: None,
                settled: false,
                owner: Owner::NOBODY,
            });
            let finish = finish_of(upload.clone(), 0, bytes);
            finishes.push(SmallFinish::new(NUMBER, finish).expect("a small upload"));
            uploads.push(upload);
        }
        let finished = self.store.finish_small(&mut finishes.into_iter());
        assert_eq!(finished.len(), uploads.len(), "a result for each upload");
        uploads
            .into_iter()
            .zip(finished)
            .map(|(upload, (_, finished))| self.delivered(upload, told(finished)))
            .collect()
    }

    /// Does as a session does after a Finish.
    fn delivered(&mut self, upload: Arc<Upload>, finished: Result<(), Failure>) -> Result<Arc<Upload>, Failure> {
        match finished {
            Ok(()) => Ok(upload),
            Err(failure) => {
                self.discard(upload);
                Err(failure)
            }
        }
    }

    fn stage(&self, stage: Stage) -> Arc<Upload> {
        match self.store.advance(UploadOperation::Stage(stage), &|| true) {
            UploadCompletion::Staged(Ok(upload)) => upload,
            other => panic!("{other:?} for a Stage"),
        }
    }

    fn write(&self, upload: Arc<Upload>, at: u64, piece: &[u8]) -> Result<(), Failure> {
        let (chunk, crc) = (chunk_of(piece), Crc32::of(piece));
        match self.store.advance(UploadOperation::Write { upload, at, chunk, crc }, &|| true) {
            UploadCompletion::Written(written) => told(written).map(drop),
            other => panic!("{other:?} for a Write"),
        }
    }

    fn finish_one(&self, finish: Finish<Disk>) -> Result<(), Failure> {
        match self.store.advance(UploadOperation::Finish(finish), &|| true) {
            UploadCompletion::Finished(finished) => told(finished),
            other => panic!("{other:?} for a Finish"),
        }
    }

    /// Writes whole chunks, as long as there are some.
    fn send(&mut self, upload: &Arc<Upload>, bytes: &[u8], from: u64, chunk: usize) -> Result<u64, Failure> {
        let mut at = from;
        for piece in bytes[from as usize..].chunks_exact(chunk) {
            self.write(upload.clone(), at, piece)?;
            at += piece.len() as u64;
        }
        Ok(at)
    }

    /// Gives a delivered upload its name.
    pub(crate) fn publish(&mut self, upload: Arc<Upload>) -> Told {
        let mut told = self.change(vec![publish(upload)]);
        told.pop().expect("one result for one change")
    }

    /// Makes changes in one batch, and lets go of the uploads that could not have their names.
    pub(crate) fn change(&mut self, operations: Vec<NameOperation<Disk>>) -> Vec<Told> {
        let upload_of = |operation: &NameOperation<Disk>| match operation {
            NameOperation::Publish(_, upload, _) => Some(upload.clone()),
            NameOperation::Change(..) => None,
        };
        let uploads: Vec<_> = operations.iter().map(upload_of).collect();
        let told = self.store.change_names(&mut operations.into_iter());
        let told: Vec<Told> = told.into_iter().map(told_of_change).collect();
        assert_eq!(told.len(), uploads.len(), "a result for each change");
        for (upload, told) in uploads.into_iter().zip(&told) {
            match upload {
                Some(upload) if told.is_err() && upload.id().is_some() => self.keep(upload, None),
                Some(upload) if told.is_err() => self.discard(upload),
                _ => {}
            }
        }
        told
    }

    /// MKDIR, DELETE or RENAME.
    pub(crate) fn change_tree(&mut self, change: Change) -> Told {
        self.change(vec![changing(change)]).pop().expect("one result for one change")
    }

    fn discard(&mut self, upload: Arc<Upload>) {
        let released = self.store.advance(UploadOperation::Discard { upload }, &|| true);
        assert!(matches!(released, UploadCompletion::Released), "{released:?} for a Discard");
    }

    fn keep(&mut self, upload: Arc<Upload>, tail: Option<Tail>) {
        let released = self.store.advance(UploadOperation::Keep { upload, tail }, &|| true);
        assert!(matches!(released, UploadCompletion::Released), "{released:?} for a Keep");
    }
}

/// RESUME.
impl Client<'_> {
    /// An upload of that size, or of one that its end alone tells.
    pub(crate) fn resume(&mut self, id: &Id, name: &Name, size: impl Into<Option<u64>>) -> Result<Resumed, Failure> {
        self.resume_as(Owner::default(), id, name, size)
    }

    pub(crate) fn resume_as(
        &mut self,
        owner: Owner,
        id: &Id,
        name: &Name,
        size: impl Into<Option<u64>>,
    ) -> Result<Resumed, Failure> {
        let (id, name, size) = (id.clone(), name.clone(), size.into());
        let resume = Resume { id, name, size, mtime: None, permissions: None, owner, begins: true };
        let UploadCompletion::Resumed(resumed) = self.store.advance(UploadOperation::Resume(resume), &|| true) else {
            panic!("no Resumed for a Resume")
        };
        Ok(match told(resumed)? {
            ferry_server::store::Resumed::Published(published) => Resumed::Saved(published.into()),
            ferry_server::store::Resumed::Going { upload, digest, parts } => {
                Resumed::Going(Held { upload, digest, parts })
            }
        })
    }

    /// Looks how far an upload is.
    pub(crate) fn measure(&mut self, id: &Id, name: &Name, size: impl Into<Option<u64>>) -> Result<Progress, Failure> {
        let (id, name, size, owner) = (id.clone(), name.clone(), size.into(), Owner::default());
        let wanted = Resume { id, name, size, mtime: None, permissions: None, owner, begins: false };
        let ReadCompletion::Measured(measured) = self.read(ReadOperation::Measure(wanted.into())) else {
            panic!("no Measured for a Measure")
        };
        told(measured)
    }

    /// Writes the next bytes. Where that fails, no more than the last checkpoint is kept.
    pub(crate) fn write_on(&mut self, mut held: Held, piece: &[u8]) -> Result<Held, Failure> {
        let (upload, at) = (held.upload.clone(), held.digest.bytes());
        if let Err(failure) = self.write(upload, at, piece) {
            self.keep(held.upload, None);
            return Err(failure);
        }
        held.digest.update(piece);
        Ok(held)
    }

    /// PART: another connection sends bytes of an upload that is held.
    pub(crate) fn part(&mut self, id: &Id, name: &Name, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let part = self.begin_part(id, name, offset, bytes.len() as u64)?;
        self.end_part(part, bytes)
    }

    pub(crate) fn begin_part(
        &mut self,
        id: &Id,
        name: &Name,
        offset: u64,
        length: u64,
    ) -> Result<Arc<Upload>, Failure> {
        let (id, name, owner) = (id.clone(), name.clone(), Owner::NOBODY);
        match self.store.advance(UploadOperation::Part(PartStart { id, name, offset, length, owner }), &|| true) {
            UploadCompletion::Staged(staged) => told(staged),
            other => panic!("{other:?} for a Part"),
        }
    }

    /// Writes a part in two pieces.
    pub(crate) fn end_part(&mut self, part: Arc<Upload>, bytes: &[u8]) -> Result<(), Failure> {
        let middle = bytes.len() / 2;
        let sent = self
            .write(part.clone(), 0, &bytes[..middle])
            .and_then(|()| self.finish_one(finish_of(part.clone(), middle as u64, bytes)));
        sent.inspect_err(|_| self.discard(part))
    }

    /// JOIN: parts have the rest. Up to where the upload waits for its name.
    pub(crate) fn join(&mut self, held: Held, bytes: &[u8]) -> Result<Arc<Upload>, Failure> {
        let Held { upload, digest, .. } = held;
        let (at, chunk, size, crc) = (digest.bytes(), Chunk::default(), bytes.len() as u64, Crc32::of(bytes));
        let chunk_crc = Crc32::EMPTY;
        let finish = Finish { upload: upload.clone(), at, chunk, chunk_crc, size, crc, before: Some(digest) };
        match self.finish_one(finish) {
            Ok(()) => Ok(upload),
            Err(failure) => {
                match failure.code {
                    Code::Io | Code::TooLarge | Code::Checksum => self.discard(upload),
                    _ => self.keep(upload, None),
                }
                Err(failure)
            }
        }
    }

    /// Makes durable what was sent so far.
    pub(crate) fn checkpoint(&mut self, held: Held) -> Result<Held, Failure> {
        let checkpoint = UploadOperation::Checkpoint { upload: held.upload.clone(), digest: held.digest.clone() };
        let UploadCompletion::Checkpointed(checkpointed) = self.store.advance(checkpoint, &|| true) else {
            panic!("no Checkpointed for a Checkpoint")
        };
        match told(checkpointed) {
            Ok(()) => Ok(held),
            Err(failure) => {
                self.keep(held.upload, None);
                Err(failure)
            }
        }
    }

    /// The connection is cut behind `tail`, or earlier, with no write to spare.
    pub(crate) fn cut(&mut self, held: Held, tail: Option<&[u8]>) {
        let Held { upload, digest, .. } = held;
        let tail = tail.map(|piece| {
            let mut run = digest.clone();
            run.update(piece);
            Tail { at: digest.bytes(), chunk: chunk_of(piece), digest: run }
        });
        self.keep(upload, tail);
    }

    /// The body ends with a CRC that is not that of its bytes.
    pub(crate) fn refuse(&mut self, held: Held) {
        self.discard(held.upload);
    }

    /// Sends the rest, up to where the upload waits for its name.
    pub(crate) fn finish(&mut self, held: Held, bytes: &[u8]) -> Result<Arc<Upload>, Failure> {
        let Held { upload, digest, .. } = held;
        let at = digest.bytes();
        let finished = self.finish_one(finish_of(upload.clone(), at, bytes));
        self.delivered(upload, finished)
    }
}

/// The end of an upload whose bytes before `at` were written.
fn finish_of(upload: Arc<Upload>, at: u64, bytes: &[u8]) -> Finish<Disk> {
    let last = &bytes[at as usize..];
    let (chunk, chunk_crc) = (chunk_of(last), Crc32::of(last));
    Finish { upload, at, chunk, chunk_crc, size: bytes.len() as u64, crc: Crc32::of(bytes), before: None }
}

/// One that leads to nobody: each operation is awaited here.
const NUMBER: UploadNumber = UploadNumber(0);

/// Returns the change that gives a delivered upload its name.
pub(crate) fn publish(upload: Arc<Upload>) -> NameOperation<Disk> {
    NameOperation::Publish(NUMBER, upload, Onto::Any)
}

/// Returns a change of the tree.
pub(crate) fn changing(change: Change) -> NameOperation<Disk> {
    NameOperation::Change(ChangeNumber(0), change)
}

/// Returns a result as it is told to a client.
fn told<T>(result: Result<T, StoreError>) -> Result<T, Failure> {
    result.map_err(Failure::from)
}

fn told_of_change(completion: NameCompletion) -> Told {
    match completion {
        NameCompletion::Published(_, published) => told(published).map(Reply::from),
        NameCompletion::Changed(_, changed) => told(changed).map(|()| Reply::Done),
    }
}

fn changed() -> Failure {
    StoreError::of(ErrorKind::Changed).into()
}

/// Returns a chunk of these bytes. Zeros that they begin with are a hole.
fn chunk_of(bytes: &[u8]) -> Chunk {
    const LEAST_HOLE_BYTES: usize = 512;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let hole = if zeros < LEAST_HOLE_BYTES { 0 } else { zeros };
    Chunk { memory: bytes[hole..].to_vec(), filled: bytes.len() - hole, hole: hole as u64 }
}
