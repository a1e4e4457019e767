use std::{path::Path, sync::Condvar, time::Duration};

use ferry_wire::{Crc32, Digest, Id, Name, Sha256};
use mio::Poll;
use rustix::io::Errno;

use super::*;
use crate::store::{
    Call, Change, ChangeNumber, Chunk, Completion, Content, Durability, Finish, Form, LeaseOptions, MountTable,
    NameCompletion, Onto, OpenFile, Owner, PartStart, Piece, ReadCompletion, Resume, Resumed, Store, StoreOptions,
    Upload, UploadCompletion, UploadNumber, Watcher,
};

/// A disk that calls of one kind do not come back from until they are let go.
#[derive(Debug, Default)]
struct Gate {
    /// Whether it is open, how many wait, and how many came.
    state: Mutex<(bool, usize, usize)>,
    changed: Condvar,
    holds: Option<Holds>,
}

/// Says which calls are held.
type Holds = fn(&Call<'_>) -> bool;

impl Watcher for Gate {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        if !self.holds.is_some_and(|holds| holds(call)) {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap();
        (state.1, state.2) = (state.1 + 1, state.2 + 1);
        self.changed.notify_all();
        while !state.0 {
            state = self.changed.wait(state).unwrap();
        }
        state.1 -= 1;
        Ok(())
    }

    fn after(&self, _: &Call<'_>) {}
}

impl Gate {
    fn open(&self, open: bool) {
        self.state.lock().unwrap().0 = open;
        self.changed.notify_all();
    }

    fn until_waiting(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |(_, waiting, _)| *waiting < count).unwrap());
    }

    fn reads(&self) -> usize {
        self.state.lock().unwrap().2
    }
}

struct Stage {
    place: tempfile::TempDir,
    gate: Arc<Gate>,
    pool: Pool,
    poll: Poll,
}

const JOB_TIMEOUT: Duration = Duration::from_secs(20);
const WAKER: Token = Token(usize::MAX);
const SLICE_BYTES: u64 = 4 << 20;

fn store(root: &Path, gate: Arc<Gate>, writable: bool) -> Arc<ServedStore> {
    let options = StoreOptions {
        root: root.into(),
        writable,
        durability: Durability::Full,
        max_staged: 1000,
        max_kept: 10,
        keep: Duration::ZERO,
        crc_cache: 16 << 20,
        small_cache: 16 << 20,
        mounts: MountTable::default(),
        leasing: LeaseOptions::default(),
    };
    Arc::new(ServedStore::new(Store::open_watched(&options, Some(gate)).unwrap()))
}

fn stage(files: usize) -> Stage {
    stage_with(files, None)
}

/// Of a server that takes uploads, if it is to hold any of the calls that change something.
fn stage_with(files: usize, holds: Option<Holds>) -> Stage {
    let place = tempfile::tempdir().unwrap();
    for file in 0..files {
        let file = std::fs::File::create(place.path().join(file.to_string())).unwrap();
        file.set_len(SLICE_BYTES).unwrap();
    }
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
    let reads = |call: &Call<'_>| matches!(call, Call::Read { .. });
    let gate = Arc::new(Gate { holds: Some(holds.unwrap_or(reads)), ..Gate::default() });
    gate.open(holds.is_some());
    let store = store(place.path(), gate.clone(), holds.is_some());
    gate.open(false);
    let pool = Pool::start(&store, waker, 1, JOB_TIMEOUT).unwrap();
    Stage { place, gate, pool, poll }
}

impl Stage {
    fn submit(&mut self, token: usize, operation: ReadOperation<Disk>) {
        self.pool.submit(Job { token: Token(token), operation: Operation::Read(operation), lease: None });
    }

    fn completion(&mut self) -> Vec<Ended> {
        let mut events = mio::Events::with_capacity(1);
        loop {
            let completions = self.pool.completions();
            if !completions.is_empty() {
                return completions;
            }
            self.poll.poll(&mut events, None).unwrap();
        }
    }

    /// Returns the files, open: no read is needed for that.
    fn opened(&mut self, files: usize) -> Vec<ReadOperation<Disk>> {
        let mut loads = Vec::new();
        for file in 0..files {
            let name = Name::new(&file.to_string()).unwrap();
            self.submit(file, ReadOperation::Open { name, offset: 0, length: None, tag: None, inline: 0 });
            let Completion::Read(ReadCompletion::Opened(Ok(opened))) = self.completion().pop().unwrap().completion
            else {
                panic!("not opened")
            };
            let Content::Range { file, start, end, .. } = opened.content else { panic!("opened with its bytes") };
            loads.push(load(file, start, end, None));
        }
        loads
    }
}

#[test]
fn names_are_looked_up_whatever_is_read() {
    let mut stage = stage(5);
    for (token, load) in stage.opened(5).into_iter().enumerate() {
        stage.submit(token, load);
    }
    stage.gate.until_waiting(4);
    stage.submit(9, ReadOperation::List { name: None });
    let listed = stage.completion().pop().unwrap();
    let is_listed = matches!(listed.completion, Completion::Read(ReadCompletion::Listed(Ok(_))));
    assert!(is_listed && listed.token == Token(9), "{listed:?}");
    stage.gate.open(true);
}

#[test]
fn nothing_is_read_for_the_dead() {
    let mut stage = stage(5);
    for (token, load) in stage.opened(5).into_iter().enumerate() {
        stage.submit(token, load);
    }
    stage.gate.until_waiting(4);
    let dropped: usize = (0..5).map(|token| stage.pool.forget(Token(token)).len()).sum();
    assert_eq!(dropped, 1, "it waited");
    stage.gate.open(true);
    let mut ended = 0;
    while ended < 4 {
        for Ended { completion, .. } in stage.completion() {
            let Completion::Read(ReadCompletion::Loaded(Ok(loaded))) = completion else { panic!("{completion:?}") };
            assert_eq!(loaded.piece.bytes(), SCRATCH_BYTES as u64, "one piece of a slice");
            ended += 1;
        }
    }
    assert_eq!(stage.gate.reads(), 4);
}

#[test]
fn what_is_hashed_waits_for_no_other_reading_and_keeps_none_waiting() {
    let mut stage = stage(6);
    for (token, load) in stage.opened(6).into_iter().enumerate() {
        let ReadOperation::Load { file, at, bytes, .. } = load else { panic!("{load:?}") };
        let (form, digest) = (Form::Hashed(Box::default()), Some(Digest::new()));
        stage.submit(token, ReadOperation::Load { file, at, bytes, digest, remembered: false, form });
    }
    stage.gate.until_waiting(HASHERS);
    for (token, load) in (6..).zip(stage.opened(2)) {
        stage.submit(token, load);
    }
    stage.gate.until_waiting(HASHERS + 2);
    assert_eq!(stage.gate.reads(), HASHERS + 2, "more helpers hash than there are to be");
    stage.gate.open(true);
    let (mut ended, mut hashed) = (0, 0);
    while ended < 8 {
        for Ended { completion, .. } in stage.completion() {
            let Completion::Read(ReadCompletion::Loaded(Ok(loaded))) = completion else { panic!("{completion:?}") };
            ended += 1;
            if let Piece::Hashed(sha256, bytes) = loaded.piece {
                let expected = Sha256::of(&vec![0; SLICE_BYTES as usize]);
                assert_eq!((sha256.finish(), bytes), (expected, SLICE_BYTES));
                hashed += 1;
            }
        }
    }
    assert_eq!(hashed, 6);
}

#[test]
fn a_file_that_never_comes_costs_no_more_than_the_helpers_that_began_with_it() {
    let mut stage = stage(2);
    let mut loads = stage.opened(2);
    let (other, load) = (loads.pop().unwrap(), loads.pop().unwrap());
    for token in 0..12 {
        stage.submit(token, copy(&load));
    }
    stage.gate.until_waiting(4);
    // Nobody waited for as long: it is as if the time had passed.
    let now = Instant::now() + 2 * WRITTEN_OFF_AFTER;
    stage.pool.look_at = Some(now);
    stage.pool.look(now);
    // Helpers that take their places find something else to do.
    stage.submit(12, other);
    stage.gate.until_waiting(5);
    assert_eq!(stage.gate.reads(), 5, "what is asked of the first file waits for it");
    stage.gate.open(true);
    let mut ended = 0;
    while ended < 13 {
        ended += stage.completion().len();
    }
}

fn copy(load: &ReadOperation<Disk>) -> ReadOperation<Disk> {
    let ReadOperation::Load { file, at, bytes, digest, .. } = load else { panic!("{load:?}") };
    self::load(file.clone(), *at, *bytes, digest.clone())
}

fn load(file: Arc<OpenFile>, at: u64, bytes: u64, digest: Option<Digest>) -> ReadOperation<Disk> {
    ReadOperation::Load { file, at, bytes, digest, remembered: false, form: Form::Background }
}

impl Stage {
    fn ask(&mut self, operation: Operation<Disk>) -> Completion<'static, Disk> {
        let lease = None;
        self.pool.submit(Job { token: Token(1), operation, lease });
        self.completion().pop().unwrap().completion
    }

    /// Asks for what the disk does not answer, until it expires.
    fn ask_in_vain(&mut self, operation: Operation<Disk>) -> Completion<'static, Disk> {
        let lease = None;
        self.pool.submit(Job { token: Token(1), operation, lease });
        self.gate.until_waiting(1);
        let now = Instant::now() + TO_STORE * JOB_TIMEOUT;
        self.pool.look_at = Some(now);
        self.pool.look(now);
        self.completion().pop().unwrap().completion
    }

    fn staged(&self) -> Arc<Upload> {
        let (name, owner) = (Name::new("new").unwrap(), Owner::default());
        let stage = UploadOperation::Stage(crate::store::Stage {
            name,
            size: None,
            mtime: None,
            permissions: None,
            settled: true,
            owner,
        });
        let completion = self.pool.kit.store.try_now(Operation::Upload(NUMBER, stage), &mut []);
        let Ok(Completion::Upload(_, UploadCompletion::Staged(Ok(upload)))) = completion else { panic!("not staged") };
        upload
    }

    /// Returns what unfinished uploads take, when that is known.
    fn taken(&self) -> u64 {
        loop {
            match self.pool.kit.store.usage() {
                Some(usage) => return usage.plain_bytes + usage.kept_bytes,
                None => thread::yield_now(),
            }
        }
    }

    /// Lets all go, and waits until each helper has done what it had.
    fn let_go(&self) {
        self.gate.open(true);
        while self.pool.figures().iter().any(|lane| lane.busy + lane.waiting > 0) {
            thread::yield_now();
        }
    }
}

const NUMBER: UploadNumber = UploadNumber(1);
const BYTES: usize = 500;

fn chunk() -> Chunk {
    Chunk { memory: vec![7; BYTES], filled: BYTES, hole: 0 }
}

fn resume() -> Operation<Disk> {
    let (id, name) = (Id::new("up").unwrap(), Name::new("new").unwrap());
    let resume = Resume {
        id,
        name,
        size: Some(BYTES as u64),
        mtime: None,
        permissions: None,
        owner: Owner::default(),
        begins: true,
    };
    Operation::Upload(NUMBER, UploadOperation::Resume(resume))
}

fn no_answer_is(error: Option<&StoreError>) -> bool {
    error.is_some_and(|error| error.kind == ErrorKind::NoAnswer)
}

#[test]
fn a_write_that_comes_late_leaves_nothing_behind() {
    let mut stage = stage_with(0, Some(|call| matches!(call, Call::Write { .. })));
    let upload = stage.staged();
    let write =
        UploadOperation::Write { upload: upload.clone(), at: 0, chunk: chunk(), crc: Crc32::of(chunk().bytes()) };
    let written = stage.ask_in_vain(Operation::Upload(NUMBER, write));
    let Completion::Upload(_, UploadCompletion::Written(written)) = written else { panic!("{written:?}") };
    assert!(no_answer_is(written.as_ref().err()));
    let released = stage.ask(Operation::Upload(NUMBER, UploadOperation::Discard { upload }));
    assert!(matches!(released, Completion::Upload(_, UploadCompletion::Released)), "nobody waits for the other one");
    assert_eq!(stage.taken(), BYTES as u64, "it is staged still");
    stage.let_go();
    assert_eq!(stage.taken(), 0);
    let staged = std::fs::read_dir(stage.place.path().join(".ferry")).unwrap().map(Result::unwrap);
    for run in staged.filter(|entry| entry.file_name().to_string_lossy().starts_with("run-")) {
        assert_eq!(std::fs::read_dir(run.path()).unwrap().count(), 1, "its lock alone");
    }
}

#[test]
fn a_resume_that_comes_late_is_let_go() {
    let mut stage = stage_with(0, Some(|call| matches!(call, Call::Sync { .. })));
    let resumed = |completion| match completion {
        Completion::Upload(_, UploadCompletion::Resumed(resumed)) => resumed,
        other => panic!("{other:?}"),
    };
    assert!(no_answer_is(resumed(stage.ask_in_vain(resume())).as_ref().err()));
    assert!(no_answer_is(resumed(stage.ask(resume())).as_ref().err()), "at once: a helper has it in hand");
    stage.let_go();
    let Ok(Resumed::Going { upload, digest, .. }) = resumed(stage.ask(resume())) else { panic!("it is held still") };
    assert_eq!(digest.bytes(), 0);
    stage.ask(Operation::Upload(NUMBER, UploadOperation::Discard { upload }));
    assert_eq!(stage.pool.kit.store.usage().unwrap().kept_uploads, 0);
}

#[test]
fn a_change_that_comes_late_is_not_begun_any_more_and_one_that_was_begun_is_made() {
    let cases: [(Holds, bool); 2] = [
        (|call| matches!(call, Call::Open { path: "d", .. }), false),
        (|call| matches!(call, Call::Mkdir { name: "new", .. }), true),
    ];
    for (holds, is_made) in cases {
        let mut stage = stage_with(0, Some(holds));
        std::fs::create_dir(stage.place.path().join("d")).unwrap();
        let mkdir = || {
            let change = Change::Mkdir(Name::new("d/new").unwrap());
            Operation::Name(NameOperation::Change(ChangeNumber(1), change))
        };
        let kind = |completion| match completion {
            Completion::Name(NameCompletion::Changed(_, changed)) => changed.err().map(|error| error.kind),
            other => panic!("{other:?}"),
        };
        assert_eq!(kind(stage.ask_in_vain(mkdir())), Some(ErrorKind::MayBeMade));
        assert_eq!(kind(stage.ask(mkdir())), Some(ErrorKind::NoAnswer), "at once, and with no effect");
        stage.let_go();
        assert_eq!(stage.place.path().join("d/new").exists(), is_made);
    }
}

#[test]
fn what_is_published_late_is_found_out_by_resume() {
    let mut stage = stage_with(0, Some(|call| matches!(call, Call::Rename { .. })));
    let resumed = stage.ask(resume());
    let Completion::Upload(_, UploadCompletion::Resumed(Ok(Resumed::Going { upload, .. }))) = resumed else {
        panic!("{resumed:?}")
    };
    let (bytes, size) = (chunk(), BYTES as u64);
    let crc = Crc32::of(bytes.bytes());
    let finish = Finish { upload: upload.clone(), at: 0, chunk: bytes, chunk_crc: crc, size, crc, before: None };
    let finished = stage.ask(Operation::Upload(NUMBER, UploadOperation::Finish(finish)));
    assert!(matches!(finished, Completion::Upload(_, UploadCompletion::Finished(Ok(())))), "{finished:?}");
    let publish = NameOperation::Publish(NUMBER, upload.clone(), Onto::Any);
    let published = stage.ask_in_vain(Operation::Name(publish));
    let Completion::Name(NameCompletion::Published(_, Err(error))) = published else { panic!("{published:?}") };
    assert_eq!(error.kind, ErrorKind::MayBeMade);
    stage.ask(Operation::Upload(NUMBER, UploadOperation::Keep { upload, tail: None }));
    stage.let_go();
    let resumed = stage.ask(resume());
    let Completion::Upload(_, UploadCompletion::Resumed(Ok(Resumed::Published(published)))) = resumed else {
        panic!("{resumed:?}")
    };
    assert_eq!((published.size, published.crc), (size, crc));
    assert_eq!(std::fs::read(stage.place.path().join("new")).unwrap(), chunk().bytes());
    assert_eq!(stage.taken(), 0);
}

/// Of calls that write, holds those of bytes that begin with two sevens.
fn holds_sevens(call: &Call<'_>) -> bool {
    matches!(call, Call::Write { bytes: [7, 7, ..], .. })
}

fn part(offset: usize, length: u64) -> Operation<Disk> {
    let (id, name) = (Id::new("up").unwrap(), Name::new("new").unwrap());
    let part = PartStart { id, name, offset: offset as u64, length, owner: Owner::default() };
    Operation::Upload(NUMBER, UploadOperation::Part(part))
}

fn sevens(count: usize) -> (Chunk, Crc32) {
    let chunk = Chunk { memory: vec![7; count], filled: count, hole: 0 };
    let crc = Crc32::of(chunk.bytes());
    (chunk, crc)
}

fn write_sevens(upload: Arc<Upload>) -> Operation<Disk> {
    let (chunk, crc) = sevens(10);
    Operation::Upload(NUMBER, UploadOperation::Write { upload, at: 0, chunk, crc })
}

/// The end of a part of one byte.
fn finish_one(upload: Arc<Upload>) -> Operation<Disk> {
    let (chunk, crc) = sevens(1);
    let finish = Finish { upload, at: 0, chunk, chunk_crc: crc, size: 1, crc, before: None };
    Operation::Upload(NUMBER, UploadOperation::Finish(finish))
}

impl Stage {
    fn submit_for(&mut self, token: usize, operation: Operation<Disk>) {
        self.pool.submit(Job { token: Token(token), operation, lease: None });
    }

    /// Takes up the upload that parts are of, and returns the part of it that is there.
    fn resumed(&mut self) -> (Arc<Upload>, u64, Vec<std::ops::Range<u64>>) {
        match self.ask(resume()) {
            Completion::Upload(_, UploadCompletion::Resumed(Ok(Resumed::Going { upload, digest, parts }))) => {
                (upload, digest.bytes(), parts)
            }
            other => panic!("{other:?}"),
        }
    }

    fn begun(&mut self, offset: usize, length: u64) -> Arc<Upload> {
        match self.ask(part(offset, length)) {
            Completion::Upload(_, UploadCompletion::Staged(Ok(part))) => part,
            other => panic!("{other:?}"),
        }
    }

    fn completions(&mut self, count: usize) {
        let mut told = 0;
        while told < count {
            told += self.completion().len();
        }
    }

    /// Returns how many helpers of the lane of writes are at work, and how many operations wait for one.
    fn writing(&self) -> (u64, u64) {
        let figures = self.pool.figures();
        let lane = figures.iter().find(|lane| lane.name == "write").unwrap();
        (lane.busy, lane.waiting)
    }
}

#[test]
fn parts_of_an_upload_whose_write_hangs_cost_no_helper() {
    let mut stage = stage_with(0, Some(holds_sevens));
    let (upload, ..) = stage.resumed();
    let (first, second) = (stage.begun(BYTES - 1, 1), stage.begun(BYTES - 3, 1));
    stage.submit_for(1, write_sevens(upload));
    stage.gate.until_waiting(1);
    stage.submit_for(2, finish_one(first));
    stage.submit_for(3, Operation::Upload(NUMBER, UploadOperation::Discard { upload: second }));
    stage.submit_for(4, part(BYTES - 5, 1));
    let other = stage.staged();
    stage.submit_for(9, write_sevens(other));
    stage.gate.until_waiting(2);
    assert_eq!(stage.writing(), (2, 3), "two writes, and what waits for the first one");
    // It expires, and so does what waits for it. A connection can be used on, though a part is let go of later.
    let now = Instant::now() + TO_STORE * JOB_TIMEOUT;
    stage.pool.look_at = Some(now);
    stage.pool.look(now);
    stage.completions(5);
    let another = stage.staged();
    stage.submit_for(3, write_sevens(another));
    stage.gate.until_waiting(3);
    stage.let_go();
}

#[test]
fn an_upload_is_let_go_after_the_parts_that_are_written_and_can_be_taken_up_at_once_with_all_of_it() {
    let mut stage = stage_with(0, Some(holds_sevens));
    let (upload, ..) = stage.resumed();
    let first = stage.begun(BYTES - 1, 1);
    assert!(matches!(stage.ask(finish_one(first)), Completion::Upload(_, UploadCompletion::Finished(Ok(())))));
    let second = stage.begun(BYTES - 50, 20);
    stage.submit_for(2, write_sevens(second));
    stage.gate.until_waiting(1);
    let (chunk, mut digest) = (Chunk { memory: vec![1; 30], filled: 30, hole: 0 }, Digest::new());
    digest.update(chunk.bytes());
    let tail = Some(crate::store::Tail { at: 0, chunk, digest });
    stage.submit_for(3, Operation::Upload(NUMBER, UploadOperation::Keep { upload, tail }));
    assert_eq!(stage.writing(), (1, 1));
    stage.gate.open(true);
    stage.completions(2);
    let (_, bytes, parts) = stage.resumed();
    assert_eq!((bytes, parts.len()), (30, 1));
    assert_eq!(parts[0], BYTES as u64 - 1..BYTES as u64);
}
