//! Requests as a session turns them into work: the same pieces in the same order, and the same
//! decision what to let go of where one fails.

use std::sync::Arc;

use ferry_server::{
    protocol::ferry::{Change, Chunk, Done, Opened, Outcome, Owner, Tail, Work},
    store::{Disk, OpenFile, SCRATCH_BYTES, Store, Upload},
};
use ferry_wire::{Code, Crc32, Digest, Failure, Id, Name, Reply};

/// What the client was told in the end.
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
    /// Nothing is in the page cache: all is a helper's work.
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

    fn work(&mut self, work: Work<Disk>) -> Outcome<'static, Disk> {
        if self.cold {
            return self.store.run(work, &mut self.scratch);
        }
        let now = self.store.try_now(work, &mut self.scratch).map(|outcome| outcome.map(Done::into_owned));
        match now {
            Ok(outcome) => outcome,
            Err(work) => self.store.run(work, &mut self.scratch),
        }
    }

    fn told(outcome: Outcome<'static, Disk>) -> Told {
        match outcome? {
            Done::Replied(reply) => Ok(reply),
            done => panic!("{done:?} is no reply"),
        }
    }

    fn open(&mut self, name: &Name) -> Result<Opened<'static, Arc<OpenFile>>, Failure> {
        let open = Work::Open { name: name.clone(), offset: 0, length: None, tag: None, inline: INLINE_BYTES };
        match self.work(open)? {
            Done::Opened { range, .. } => Ok(range),
            done => panic!("{done:?} for an Open"),
        }
    }

    /// GET: all the bytes, if what the client gets is verified.
    pub(crate) fn get(&mut self, name: &Name) -> Result<Vec<u8>, Failure> {
        let (file, start, end) = match self.open(name)? {
            Opened::Inline { bytes, crc } => {
                assert_eq!(crc, Crc32::of(&bytes), "the CRC of {name} is not that of its bytes");
                return Ok(bytes.into_owned());
            }
            Opened::Range { file, start, end } => (file, start, end),
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
        match self.open(name)? {
            Opened::Inline { bytes, crc } => Ok((bytes.len() as u64, crc)),
            Opened::Range { file, start, end } => {
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
        let crc = self.pass(file, range.clone(), background, &mut send)?;
        match self.work(Work::Check { file: file.clone() })? {
            Done::Unchanged(true) => Ok(crc),
            Done::Doubtful if self.pass(file, range, true, &mut |_, _| {})? == crc => Ok(crc),
            Done::Unchanged(false) | Done::Doubtful => Err(changed()),
            done => panic!("{done:?} for a Check"),
        }
    }

    /// One reading of a range.
    fn pass(
        &mut self,
        file: &Arc<OpenFile>,
        range: std::ops::Range<u64>,
        background: bool,
        send: &mut dyn FnMut(u64, u64),
    ) -> Result<Crc32, Failure> {
        let (mut at, mut digest) = (range.start, Digest::new());
        while at < range.end {
            let bytes = (range.end - at).min(PIECE_BYTES);
            match self.work(Work::Load { file: file.clone(), at, bytes, digest: digest.clone(), background })? {
                Done::Loaded { bytes: 0, .. } => return Err(changed()),
                Done::Read { bytes, .. } if bytes.is_empty() => return Err(changed()),
                Done::Read { bytes, digest: run } => {
                    send(at, bytes.len() as u64);
                    (at, digest) = (at + bytes.len() as u64, run);
                }
                Done::Loaded { bytes, digest: run } => {
                    send(at, bytes);
                    (at, digest) = (at + bytes, run);
                }
                done => panic!("{done:?} for a Load"),
            }
        }
        Ok(digest.crc())
    }

    /// LIST: the lines.
    pub(crate) fn list(&mut self, name: Option<&Name>) -> Result<String, Failure> {
        let mut all = Vec::new();
        let mut outcome = self.work(Work::List { name: name.cloned() })?;
        loop {
            let Done::Listed { lines, more } = outcome else { panic!("{outcome:?} for a List") };
            all.extend_from_slice(&lines);
            let Some(dir) = more else { return Ok(String::from_utf8(all).expect("a listing in UTF-8")) };
            outcome = self.work(Work::ListMore { dir })?;
        }
    }

    /// STAT.
    pub(crate) fn stat(&mut self, name: &Name) -> Told {
        let outcome = self.work(Work::Stat { name: name.clone() });
        Self::told(outcome)
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
        let Done::Staged(upload) = self.work(Work::Stage { name: name.clone(), size, mtime: None, settled })? else {
            panic!("no Staged for a Stage")
        };
        let delivered = self.send(&upload, bytes, 0, chunk).and_then(|at| {
            let (chunk, size, crc) = (chunk_of(&bytes[at as usize..]), bytes.len() as u64, Crc32::of(bytes));
            let work = Work::Finish { upload: upload.clone(), at, chunk, size, crc };
            match Store::is_small(&work) {
                true => self.store.finish_small(vec![work]).pop().expect("one outcome for one upload"),
                false => self.work(work),
            }
        });
        self.delivered(upload, delivered)
    }

    /// Several small PUTs that wait for the disk together, up to where they wait for their names.
    pub(crate) fn deliver_together(&mut self, puts: &[(Name, &[u8])]) -> Vec<Result<Arc<Upload>, Failure>> {
        let (mut works, mut uploads) = (Vec::new(), Vec::new());
        for (name, bytes) in puts {
            let size = bytes.len() as u64;
            let stage = Work::Stage { name: name.clone(), size: Some(size), mtime: None, settled: false };
            let Ok(Done::Staged(upload)) = self.work(stage) else { panic!("no Staged for a Stage") };
            let (chunk, crc) = (chunk_of(bytes), Crc32::of(bytes));
            works.push(Work::Finish { upload: upload.clone(), at: 0, chunk, size, crc });
            uploads.push(upload);
        }
        assert!(works.iter().all(Store::is_small), "small uploads");
        let outcomes = self.store.finish_small(works);
        assert_eq!(outcomes.len(), uploads.len(), "an outcome for each upload");
        uploads.into_iter().zip(outcomes).map(|(upload, outcome)| self.delivered(upload, outcome)).collect()
    }

    /// What a session does with the end of a Finish.
    fn delivered(&mut self, upload: Arc<Upload>, outcome: Outcome<'static, Disk>) -> Result<Arc<Upload>, Failure> {
        match outcome {
            Ok(Done::Finished) => Ok(upload),
            Ok(done) => panic!("{done:?} for a Finish"),
            Err(failure) => {
                self.discard(upload);
                Err(failure)
            }
        }
    }

    /// Writes whole chunks, as long as there are some.
    fn send(&mut self, upload: &Arc<Upload>, bytes: &[u8], from: u64, chunk: usize) -> Result<u64, Failure> {
        let mut at = from;
        for piece in bytes[from as usize..].chunks_exact(chunk) {
            self.work(Work::Write { upload: upload.clone(), at, chunk: chunk_of(piece) })?;
            at += piece.len() as u64;
        }
        Ok(at)
    }

    /// Gives a delivered upload its name.
    pub(crate) fn publish(&mut self, upload: Arc<Upload>) -> Told {
        let mut told = self.change(vec![Work::Publish { upload }]);
        told.pop().expect("one outcome for one change")
    }

    /// Makes changes in one batch, and lets go of the uploads that could not have their names.
    pub(crate) fn change(&mut self, works: Vec<Work<Disk>>) -> Vec<Told> {
        let uploads: Vec<_> = works
            .iter()
            .map(|work| match work {
                Work::Publish { upload } => Some(upload.clone()),
                _ => None,
            })
            .collect();
        let told: Vec<_> = self.store.run_changes(works).into_iter().map(Self::told).collect();
        assert_eq!(told.len(), uploads.len(), "an outcome for each change");
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
        self.change(vec![Work::Change(change)]).pop().expect("one outcome for one change")
    }

    fn discard(&mut self, upload: Arc<Upload>) {
        let outcome = self.work(Work::Discard { upload });
        assert!(matches!(outcome, Ok(Done::Dropped)), "{outcome:?} for a Discard");
    }

    fn keep(&mut self, upload: Arc<Upload>, tail: Option<Tail>) {
        let outcome = self.work(Work::Keep { upload, tail });
        assert!(matches!(outcome, Ok(Done::Dropped)), "{outcome:?} for a Keep");
    }
}

/// RESUME.
impl Client<'_> {
    pub(crate) fn resume(&mut self, id: &Id, name: &Name, size: u64) -> Result<Resumed, Failure> {
        self.resume_as(Owner::default(), id, name, size)
    }

    pub(crate) fn resume_as(&mut self, owner: Owner, id: &Id, name: &Name, size: u64) -> Result<Resumed, Failure> {
        match self.work(Work::Resume { id: id.clone(), name: name.clone(), size, mtime: None, owner })? {
            Done::Replied(reply) => Ok(Resumed::Saved(reply)),
            Done::Resumed { upload, digest } => Ok(Resumed::Going(Held { upload, digest })),
            done => panic!("{done:?} for a Resume"),
        }
    }

    /// Writes the next bytes. Where that fails, no more than the last checkpoint is kept.
    pub(crate) fn write_on(&mut self, mut held: Held, piece: &[u8]) -> Result<Held, Failure> {
        let (upload, at) = (held.upload.clone(), held.digest.bytes());
        if let Err(failure) = self.work(Work::Write { upload, at, chunk: chunk_of(piece) }) {
            self.keep(held.upload, None);
            return Err(failure);
        }
        held.digest.update(piece);
        Ok(held)
    }

    /// Makes durable what was sent so far.
    pub(crate) fn checkpoint(&mut self, held: Held) -> Result<Held, Failure> {
        let work = Work::Checkpoint { upload: held.upload.clone(), digest: held.digest.clone() };
        match self.work(work) {
            Ok(_) => Ok(held),
            Err(failure) => {
                self.keep(held.upload, None);
                Err(failure)
            }
        }
    }

    /// The connection is cut behind `tail`, or earlier, with no write to spare.
    pub(crate) fn cut(&mut self, held: Held, tail: Option<&[u8]>) {
        let Held { upload, digest } = held;
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
        let Held { upload, digest } = held;
        let at = digest.bytes();
        let (chunk, size, crc) = (chunk_of(&bytes[at as usize..]), bytes.len() as u64, Crc32::of(bytes));
        match self.work(Work::Finish { upload: upload.clone(), at, chunk, size, crc }) {
            Ok(_) => Ok(upload),
            Err(failure) => {
                self.discard(upload);
                Err(failure)
            }
        }
    }
}

fn changed() -> Failure {
    Failure::new(Code::Changed, "the file changed while it was read")
}

fn chunk_of(bytes: &[u8]) -> Chunk {
    Chunk { memory: bytes.to_vec(), filled: bytes.len() }
}
