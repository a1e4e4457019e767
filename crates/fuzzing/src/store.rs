//! A store that keeps nothing: files of zeros, and uploads that it holds to their word.

use std::{borrow::Cow, collections::BTreeMap};

use ferry_server::protocol::ferry::{Ask, Chunk, Done, Handles, Opened, Outcome, Work};
use ferry_wire::{Code, Crc32, Digest, Failure, FileMeta, Reply, Tag};

/// Handles are numbers.
pub(crate) struct Numbers;

impl Handles for Numbers {
    type File = u64;
    type Dir = u32;
    type Upload = u32;
}

/// What a file that comes in pieces has: more than is sent inline.
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
}

#[derive(Default)]
pub(crate) struct Store {
    uploads: BTreeMap<u32, Upload>,
    next: u32,
    /// Bytes of chunks that wait for their answer.
    pub(crate) held_bytes: u64,
}

impl Store {
    /// Takes `ask` up; what it holds counts from now on.
    pub(crate) fn begin(&mut self, ask: &Ask<Numbers>) {
        match &ask.work {
            Work::Write { upload, at, chunk } => {
                let upload = self.take_chunk(*upload, *at, chunk);
                upload.writes += 1;
            }
            Work::Finish { upload, at, chunk, size, crc } => {
                let upload = self.take_chunk(*upload, *at, chunk);
                assert_eq!((upload.bytes, upload.digest.crc(), upload.writes), (*size, *crc, 0), "what is finished");
            }
            Work::Discard { upload } | Work::Keep { upload, .. } => {
                assert_eq!(self.uploads[upload].writes, 0, "let go while it is written");
            }
            _ => {}
        }
    }

    fn take_chunk(&mut self, upload: u32, at: u64, chunk: &Chunk) -> &mut Upload {
        let upload = self.uploads.get_mut(&upload).expect("an upload that is held");
        assert_eq!(at, upload.bytes, "writes follow each other");
        upload.digest.update(chunk.bytes());
        upload.bytes += chunk.filled as u64;
        self.held_bytes += chunk.filled as u64;
        upload
    }

    /// Ends `work`; where `fails` is set, badly.
    pub(crate) fn end(&mut self, work: Work<Numbers>, fails: bool) -> Outcome<'static, Numbers> {
        let failure = || Failure::new(Code::Io, "the model failed");
        let outcome = match work {
            Work::Write { upload, chunk, .. } => {
                self.held_bytes -= chunk.filled as u64;
                self.uploads.get_mut(&upload).expect("an upload that is held").writes -= 1;
                Done::Written(chunk)
            }
            Work::Finish { upload, chunk, .. } => {
                self.held_bytes -= chunk.filled as u64;
                self.uploads.get_mut(&upload).expect("an upload that is held").finished = !fails;
                Done::Finished
            }
            Work::Discard { upload } | Work::Keep { upload, .. } => {
                self.uploads.remove(&upload).expect("an upload that is held");
                Done::Dropped
            }
            _ if fails => return Err(failure()),
            Work::Publish { upload } => {
                let upload = self.uploads.remove(&upload).expect("an upload that is held");
                assert!(upload.finished, "published before it is durable");
                Done::Replied(Reply::Saved { size: upload.bytes, crc: upload.digest.crc(), tag: tag() })
            }
            Work::Stage { .. } => Done::Staged(self.stage(0, false)),
            Work::Resume { size, name, .. } => match name.as_str() {
                "done" => Done::Replied(Reply::Saved { size, crc: Crc32::EMPTY, tag: tag() }),
                _ => {
                    let upload = self.stage(size.min(KEPT_BYTES), true);
                    Done::Resumed { upload, digest: self.uploads[&upload].digest.clone() }
                }
            },
            Work::Checkpoint { .. } => Done::Checkpointed,
            Work::Change(_) => Done::Replied(Reply::Done),
            work => return self.read(work),
        };
        if fails { Err(failure()) } else { Ok(outcome) }
    }

    fn stage(&mut self, kept: u64, resumable: bool) -> u32 {
        self.next += 1;
        let mut digest = Digest::new();
        digest.update(&vec![0; kept as usize]);
        self.uploads.insert(self.next, Upload { bytes: kept, digest, resumable, ..Upload::default() });
        self.next
    }

    fn read(&self, work: Work<Numbers>) -> Outcome<'static, Numbers> {
        let meta = |size| FileMeta { size, mtime: None, tag: tag() };
        match work {
            Work::Open { name, offset, length, .. } => {
                let size = if name.as_str().starts_with('l') { LARGE_BYTES } else { 5 };
                if offset > size {
                    return Err(Failure::new(Code::BadRange, "behind the end"));
                }
                let end = length.map_or(size, |length| size.min(offset.saturating_add(length)));
                let range = if end - offset < 1000 {
                    let bytes = vec![0; (end - offset) as usize];
                    Opened::Inline { crc: Crc32::of(&bytes), bytes: Cow::Owned(bytes) }
                } else {
                    Opened::Range { file: size, start: offset, end }
                };
                Ok(Done::Opened { meta: meta(size), range })
            }
            Work::Load { at, bytes, mut digest, .. } => {
                // Fewer than were asked for.
                let bytes = bytes.min(1 + at % 40_000);
                digest.update(&vec![0; bytes as usize]);
                Ok(Done::Loaded { bytes, digest })
            }
            Work::Check { file } => Ok(Done::Unchanged(file == LARGE_BYTES)),
            Work::Stat { name } if name.as_str().starts_with('d') => Ok(Done::Replied(Reply::Dir(None))),
            Work::Stat { .. } => Ok(Done::Replied(Reply::File(meta(5)))),
            Work::List { .. } => Ok(Done::Listed { lines: Cow::Borrowed(b"f 5 - t a\n"), more: Some(3) }),
            Work::ListMore { dir } => {
                let more = dir.checked_sub(1);
                Ok(Done::Listed { lines: Cow::Borrowed(b"d - - - d\n"), more })
            }
            work => panic!("{work:?} is no reading"),
        }
    }

    /// Uploads that hold something and that nobody let go.
    pub(crate) fn uploads(&self) -> usize {
        self.uploads.values().filter(|upload| upload.resumable || upload.bytes > 0).count()
    }
}

fn tag() -> Tag {
    Tag::new("t").expect("a tag")
}
