//! A store that keeps nothing: files of zeros, and uploads that it holds to their word.

use std::collections::BTreeMap;

use ferry_server::store::{
    Chunk, Completion, Content, DirEntry, ErrorKind, FileVersion, Finish, Form, Handles, Listed, Loaded,
    NameCompletion, NameOperation, Opened, Operation, Piece, Progress, Published, ReadCompletion, ReadOperation,
    Resumed, Room, Stability, Status, StoreError, SystemError, UploadCompletion, UploadOperation,
};
use ferry_wire::{Crc32, Digest, Mode, Name, Tag};

/// Handles are numbers.
pub(crate) struct Numbers;

impl Handles for Numbers {
    type File = u64;
    type Dir = u32;
    type Upload = u32;
}

/// The size of a file that comes in pieces: more than is sent inline.
const LARGE_BYTES: u64 = 70_001;

/// A resumed upload has so many bytes already, where it is that long.
const KEPT_BYTES: u64 = 10;

#[derive(Default)]
struct Upload {
    bytes: u64,
    digest: Digest,
    writes: u32,
    finished: bool,
    /// It holds something from the beginning: a plain one touches no disk until it is written.
    resumable: bool,
    /// It is to be let go, whether it has anything or not.
    is_part: bool,
}

#[derive(Default)]
pub(crate) struct Store {
    uploads: BTreeMap<u32, Upload>,
    next: u32,
    /// Bytes of chunks that wait for their answer.
    pub(crate) held_bytes: u64,
}

impl Store {
    /// Takes `operation` up; what it holds counts from now on.
    pub(crate) fn begin(&mut self, operation: &Operation<Numbers>) {
        let Operation::Upload(_, operation) = operation else { return };
        match operation {
            UploadOperation::Write { upload, at, chunk, .. } => {
                let upload = self.take_chunk(*upload, *at, chunk);
                upload.writes += 1;
            }
            UploadOperation::Finish(Finish { upload, at, chunk, size, crc, before, .. }) => {
                let upload = self.take_chunk(*upload, *at, chunk);
                let (bytes, sum) = before.as_ref().map_or((*size, *crc), |before| (before.bytes(), before.crc()));
                assert!(bytes <= *size && (before.is_none() || upload.resumable), "parts of what has none");
                assert_eq!((upload.bytes, upload.digest.crc(), upload.writes), (bytes, sum, 0), "what is finished");
            }
            UploadOperation::Discard { upload } | UploadOperation::Keep { upload, .. } => {
                assert_eq!(self.uploads[upload].writes, 0, "let go while it is written");
            }
            UploadOperation::Stage(_)
            | UploadOperation::Resume(_)
            | UploadOperation::Part(_)
            | UploadOperation::Checkpoint { .. } => {}
        }
    }

    fn take_chunk(&mut self, upload: u32, at: u64, chunk: &Chunk) -> &mut Upload {
        let upload = self.uploads.get_mut(&upload).expect("an upload that is held");
        assert_eq!(at, upload.bytes, "writes follow each other");
        upload.digest.append_zeros(chunk.hole);
        upload.digest.update(chunk.bytes());
        upload.bytes += chunk.length();
        self.held_bytes += chunk.filled as u64;
        upload
    }

    /// Ends `operation`; where `fails` is set, badly.
    pub(crate) fn end(&mut self, operation: Operation<Numbers>, fails: bool) -> Completion<'static, Numbers> {
        match operation {
            Operation::Read(operation) if fails => operation.fallback().failed(failure()),
            Operation::Read(operation) => Completion::Read(read(operation)),
            Operation::Upload(number, operation) => Completion::Upload(number, self.advance(operation, fails)),
            Operation::Name(operation) if fails => operation.fallback().failed(failure()),
            Operation::Name(NameOperation::Publish(number, upload, _)) => {
                let Upload { bytes, digest, finished, .. } =
                    self.uploads.remove(&upload).expect("an upload that is held");
                assert!(finished, "published before it is durable");
                let published = Published { size: bytes, crc: digest.crc(), tag: tag() };
                Completion::Name(NameCompletion::Published(number, Ok(published)))
            }
            Operation::Name(NameOperation::Change(number, _)) => {
                Completion::Name(NameCompletion::Changed(number, Ok(())))
            }
        }
    }

    fn advance(&mut self, operation: UploadOperation<Numbers>, fails: bool) -> UploadCompletion<Numbers> {
        fn or_failure<T>(fails: bool, result: T) -> Result<T, StoreError> {
            if fails { Err(failure()) } else { Ok(result) }
        }
        match operation {
            UploadOperation::Write { upload, mut chunk, .. } => {
                self.held_bytes -= chunk.filled as u64;
                chunk.hole = 0;
                self.uploads.get_mut(&upload).expect("an upload that is held").writes -= 1;
                UploadCompletion::Written(or_failure(fails, chunk))
            }
            UploadOperation::Finish(Finish { upload, chunk, .. }) => {
                self.held_bytes -= chunk.filled as u64;
                let held = self.uploads.get_mut(&upload).expect("an upload that is held");
                held.finished = !fails;
                if held.is_part && !fails {
                    self.uploads.remove(&upload);
                }
                UploadCompletion::Finished(or_failure(fails, ()))
            }
            UploadOperation::Discard { upload } | UploadOperation::Keep { upload, .. } => {
                self.uploads.remove(&upload).expect("an upload that is held");
                UploadCompletion::Released
            }
            UploadOperation::Checkpoint { .. } => UploadCompletion::Checkpointed(or_failure(fails, ())),
            UploadOperation::Part(_) if fails => UploadCompletion::Staged(Err(failure())),
            UploadOperation::Part(_) => {
                let part = self.stage(0, false);
                self.uploads.get_mut(&part).expect("it was just made").is_part = true;
                UploadCompletion::Staged(Ok(part))
            }
            UploadOperation::Stage(_) if fails => UploadCompletion::Staged(Err(failure())),
            UploadOperation::Stage(_) => UploadCompletion::Staged(Ok(self.stage(0, false))),
            UploadOperation::Resume(_) if fails => UploadCompletion::Resumed(Err(failure())),
            UploadOperation::Resume(resume) => UploadCompletion::Resumed(Ok(match resume.name.as_str() {
                "done" => Resumed::Published(published(resume.size)),
                _ => {
                    let upload = self.stage(resume.size.map_or(KEPT_BYTES, |size| size.min(KEPT_BYTES)), true);
                    let has_parts = resume.size.is_some_and(|size| size > 100);
                    let parts = if has_parts { vec![50..60, 70..100] } else { Vec::new() };
                    Resumed::Going { upload, digest: self.uploads[&upload].digest.clone(), parts }
                }
            })),
        }
    }

    fn stage(&mut self, kept: u64, resumable: bool) -> u32 {
        self.next += 1;
        let mut digest = Digest::new();
        digest.update(&vec![0; kept as usize]);
        self.uploads.insert(self.next, Upload { bytes: kept, digest, resumable, ..Upload::default() });
        self.next
    }

    /// Uploads that hold something and that nobody let go.
    pub(crate) fn uploads(&self) -> usize {
        self.uploads.values().filter(|upload| upload.resumable || upload.is_part || upload.bytes > 0).count()
    }
}

fn read(operation: ReadOperation<Numbers>) -> ReadCompletion<'static, Numbers> {
    match operation {
        ReadOperation::Open { name, offset, length, .. } => {
            let size = if name.as_str().starts_with('l') { LARGE_BYTES } else { 5 };
            if offset > size {
                return ReadCompletion::Opened(Err(StoreError::of(ErrorKind::PastEnd { size })));
            }
            let end = length.map_or(size, |length| size.min(offset.saturating_add(length)));
            let content = if end - offset < 3000 {
                let bytes = vec![0; (end - offset) as usize];
                // Of every other length it is known.
                let crc = (end % 2 == 0).then(|| Crc32::of(&bytes));
                Content::Inline { bytes: bytes.into(), crc }
            } else {
                // Where not all is read, it comes as bytes.
                Content::Range {
                    file: size,
                    start: offset,
                    end,
                    is_sendable: length.is_none(),
                    is_sparse: offset.is_multiple_of(2),
                }
            };
            ReadCompletion::Opened(Ok(Opened { version: version(size), content }))
        }
        ReadOperation::Load { at, bytes, mut digest, form, .. } => {
            // Fewer than were asked for.
            let bytes = bytes.min(1 + at % 40_000);
            if let Some(digest) = &mut digest {
                digest.update(&vec![0; bytes as usize]);
            }
            let piece = match form {
                Form::Bytes(mut chunk) => {
                    let end = chunk.filled + bytes as usize;
                    chunk.memory[chunk.filled..end].fill(0);
                    chunk.filled = end;
                    Piece::Bytes(chunk, bytes)
                }
                Form::Hashed(mut sha256) => {
                    sha256.update(&vec![0; bytes as usize]);
                    Piece::Hashed(sha256, bytes)
                }
                Form::Cached | Form::Background => Piece::Cached(bytes),
            };
            ReadCompletion::Loaded(Ok(Loaded { piece, digest }))
        }
        // Every other stretch has data: all of the files is zeros.
        ReadOperation::Extent { at, end, .. } => {
            let start = end.min(at + at % 90_000);
            ReadCompletion::Laid(Ok(start..end.min(start + 1 + at % 50_000)))
        }
        ReadOperation::Check { file } => {
            ReadCompletion::Checked(Ok(if file == LARGE_BYTES { Stability::Same } else { Stability::Changed }))
        }
        ReadOperation::Stat { name } if name.as_str().starts_with('d') => {
            ReadCompletion::Found(Ok(Status::Directory { mtime: None, mode: None }))
        }
        ReadOperation::Stat { .. } => ReadCompletion::Found(Ok(Status::File(version(5)))),
        ReadOperation::Probe => ReadCompletion::Probed(Ok(())),
        ReadOperation::Room { .. } => {
            ReadCompletion::RoomFound(Ok(Room { total: 9, free: 5, available: 4, staged: Some(3) }))
        }
        ReadOperation::List { .. } => listed("a", Status::File(version(5)), Some(3)),
        ReadOperation::ListMore { dir } => {
            listed("d", Status::Directory { mtime: None, mode: None }, dir.checked_sub(1))
        }
        ReadOperation::Measure(resume) => ReadCompletion::Measured(match resume.id.as_str() {
            "done" => Ok(Progress::Published(published(resume.size))),
            "gone" => Err(StoreError::of(ErrorKind::NoUpload)),
            _ => Ok(Progress::Kept(resume.size.map_or(KEPT_BYTES, |size| size.min(KEPT_BYTES)))),
        }),
    }
}

fn listed(name: &str, status: Status, more: Option<u32>) -> ReadCompletion<'static, Numbers> {
    let entry = DirEntry { name: Name::new(name).expect("a name"), status };
    ReadCompletion::Listed(Ok(Listed { entries: vec![entry], more }))
}

fn published(size: Option<u64>) -> Published {
    Published { size: size.unwrap_or(KEPT_BYTES), crc: Crc32::EMPTY, tag: tag() }
}

fn version(size: u64) -> FileVersion {
    FileVersion { size, mtime: None, tag: tag(), mode: Mode::OWNER }
}

fn failure() -> StoreError {
    StoreError::of(ErrorKind::System(SystemError::Disk))
}

fn tag() -> Tag {
    Tag::new("t").expect("a tag")
}
