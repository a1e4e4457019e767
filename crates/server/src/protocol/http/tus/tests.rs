//! Conversations of tus over a model of the store: as they should be, cut anywhere, and with each operation failing.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use ferry_wire::{Crc32, Digest, Tag};

use super::{
    super::{DayClock, HttpSession},
    UploadIds,
};
use crate::{
    access::Users,
    protocol::{Limits, Segment, Timeouts, Visitor},
    store::{
        Completion, ErrorKind, Handles, NameCompletion, NameOperation, Operation, Progress, Published, ReadCompletion,
        ReadOperation, Resumed, StoreError, SystemError, UploadCompletion, UploadOperation,
    },
};

/// Bytes of the upload: more than two writes take.
const LENGTH: usize = 1_200_000;

struct Numbers;

impl Handles for Numbers {
    type File = ();
    type Dir = ();
    type Upload = u32;
}

/// The one upload, as the store has it.
#[derive(Default)]
struct Disk {
    /// Survives everything.
    durable: Vec<u8>,
    /// The handle that a session has, and all that was written by it.
    held: Option<(u32, Vec<u8>)>,
    file: Option<Vec<u8>>,
    operations: usize,
    /// The operation that fails.
    fails: Option<(usize, SystemError)>,
}

impl Disk {
    fn carry_out(&mut self, operation: Operation<Numbers>) -> Completion<'static, Numbers> {
        let fails = self.fails.filter(|(at, _)| *at == self.operations);
        self.operations += 1;
        let failure = fails.map(|(_, error)| StoreError::at("a", ErrorKind::System(error)));
        match operation {
            Operation::Upload(number, operation) => {
                Completion::Upload(number, self.upload(operation, failure.map_or(Ok(()), Err)))
            }
            Operation::Name(NameOperation::Publish(number, handle, _)) => {
                let published = match failure {
                    Some(error) => Err(error),
                    None => Ok(self.publish(handle)),
                };
                Completion::Name(NameCompletion::Published(number, published))
            }
            Operation::Read(ReadOperation::Measure(_)) => {
                Completion::Read(ReadCompletion::Measured(failure.map_or_else(|| Ok(self.measure()), Err)))
            }
            Operation::Name(NameOperation::Change(..)) | Operation::Read(_) => panic!("nobody asks for that"),
        }
    }

    fn upload(
        &mut self,
        operation: UploadOperation<Numbers>,
        outcome: Result<(), StoreError>,
    ) -> UploadCompletion<Numbers> {
        match operation {
            UploadOperation::Resume(_) => UploadCompletion::Resumed(outcome.map(|()| self.resume())),
            UploadOperation::Write { upload, at, chunk, crc } => UploadCompletion::Written(outcome.map(|()| {
                assert_eq!(Crc32::of(chunk.bytes()), crc);
                self.write(upload, at, chunk.bytes());
                chunk
            })),
            UploadOperation::Checkpoint { upload, digest } => {
                UploadCompletion::Checkpointed(outcome.map(|()| self.keep(upload, &digest)))
            }
            UploadOperation::Finish(finish) => UploadCompletion::Finished(outcome.map(|()| {
                self.write(finish.upload, finish.at, finish.chunk.bytes());
                let written = self.written(finish.upload);
                assert_eq!((written.len() as u64, Crc32::of(written)), (finish.size, finish.crc));
            })),
            UploadOperation::Keep { upload, tail } => {
                if let Some(tail) = tail {
                    self.write(upload, tail.at, tail.chunk.bytes());
                    self.keep(upload, &tail.digest);
                }
                self.held = None;
                UploadCompletion::Released
            }
            UploadOperation::Discard { upload } => {
                self.written(upload);
                (self.held, self.durable) = (None, Vec::new());
                UploadCompletion::Released
            }
            UploadOperation::Stage(_) | UploadOperation::Part(_) => panic!("nobody asks for that"),
        }
    }

    fn measure(&self) -> Progress {
        match &self.file {
            Some(file) => Progress::Published(published(file)),
            None => Progress::Kept(self.durable.len() as u64),
        }
    }

    fn resume(&mut self) -> Resumed<u32> {
        assert!(self.held.is_none(), "it is taken up twice");
        if let Some(file) = &self.file {
            return Resumed::Published(published(file));
        }
        let handle = self.operations as u32;
        self.held = Some((handle, self.durable.clone()));
        let mut digest = Digest::new();
        digest.update(&self.durable);
        Resumed::Going { upload: handle, digest, parts: Vec::new() }
    }

    fn written(&mut self, handle: u32) -> &mut Vec<u8> {
        let (held, written) = self.held.as_mut().expect("it is held");
        assert_eq!(*held, handle);
        written
    }

    fn write(&mut self, handle: u32, at: u64, bytes: &[u8]) {
        let written = self.written(handle);
        assert_eq!(written.len() as u64, at, "what was written before it is there");
        written.extend_from_slice(bytes);
    }

    fn keep(&mut self, handle: u32, digest: &Digest) {
        let kept = self.written(handle)[..digest.bytes() as usize].to_vec();
        assert_eq!(Crc32::of(&kept), digest.crc());
        self.durable = kept;
    }

    fn publish(&mut self, handle: u32) -> Published {
        let file = self.written(handle).clone();
        let published = published(&file);
        (self.file, self.held, self.durable) = (Some(file), None, Vec::new());
        published
    }

    /// Bytes that are there whatever happens next.
    fn safe(&self) -> usize {
        self.file.as_ref().unwrap_or(&self.durable).len()
    }
}

fn published(file: &[u8]) -> Published {
    Published { size: file.len() as u64, crc: Crc32::of(file), tag: Tag::new("tag").unwrap() }
}

static BYTES: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..LENGTH as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect());

fn session(now: Instant) -> HttpSession<Numbers> {
    let second = Duration::from_secs(1);
    let limits = Limits {
        node: None,
        read_only: false,
        volatile: false,
        kept_modes: None,
        upload_bytes: u64::MAX,
        timeouts: Timeouts { idle: 60 * second, request: 20 * second, window: 10 * second, window_bytes: 100 },
        checkpoint_bytes: 300_000,
        checkpoint_time: 15 * second,
        keep: 3600 * second,
    };
    let (ids, day) = (UploadIds::new([0; 32]), DayClock::new(now, SystemTime::UNIX_EPOCH));
    let visitor = Visitor::new(Arc::new(Users::without_file()), true);
    HttpSession::new(Arc::new(limits), Arc::new(ids), Arc::new(day), visitor, now)
}

/// Gives a session the first `end` bytes of a stream, then loses the connection where that is not all, and returns what was
/// answered. Every offset that is answered is safe.
fn talk(stream: &[u8], end: usize, disk: &mut Disk) -> String {
    let now = Instant::now();
    let (mut session, mut given, mut answers) = (session(now), 0, String::new());
    let mut is_lost = false;
    while !session.is_over() {
        let mut is_idle = true;
        while let Some(operation) = session.next_operation() {
            let completion = disk.carry_out(operation);
            session.complete(completion, now);
            hear(&mut session, &mut answers, disk, now);
            is_idle = false;
        }
        let window = &stream[given..end.min(given + 50_000)];
        let used = session.receive(window, now);
        given += used;
        hear(&mut session, &mut answers, disk, now);
        if used == 0 && is_idle && !is_lost {
            match end == stream.len() {
                true => drop(session.end_of_input(now)),
                false => session.disconnected(now),
            }
            is_lost = true;
        }
    }
    answers
}

fn hear(session: &mut HttpSession<Numbers>, answers: &mut String, disk: &Disk, now: Instant) {
    let before = answers.len();
    while let Some((Segment::Bytes(data), _)) = session.outbox().front() {
        answers.push_str(std::str::from_utf8(data).unwrap());
        let count = data.len() as u64;
        session.outbox().advance(count);
    }
    session.sent(now);
    for head in answers[before..].split("HTTP/1.1 ").filter(|head| head.starts_with('2')) {
        let offset = head.split("Upload-Offset: ").nth(1).and_then(|rest| rest.split('\r').next());
        let offset = offset.map_or(0, |offset| offset.parse::<usize>().unwrap());
        assert!(offset <= disk.safe(), "{offset} bytes are answered, {} are safe", disk.safe());
    }
}

fn request(method: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let piece = "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n";
    let head = format!("{method} /a?tus=id&length={LENGTH} HTTP/1.1\r\nHost: a\r\n{piece}{fields}");
    let mut request = match body {
        [] => format!("{head}\r\n").into_bytes(),
        body => format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes(),
    };
    request.extend_from_slice(body);
    request
}

/// An upload in pieces, with one that is wrong and one at a wrong offset.
fn conversation() -> Vec<u8> {
    let bytes = &*BYTES;
    let crc = super::super::message::CrcField::of(Crc32::of(&bytes[..700_000])).to_string();
    let crc = crc.trim_start_matches("crc32=:").trim_end_matches(':').to_owned();
    [
        request("HEAD", "", b""),
        request("PATCH", &format!("Upload-Offset: 0\r\nUpload-Checksum: crc32 {crc}\r\n"), &bytes[..700_000]),
        request("PATCH", "Upload-Offset: 700000\r\nUpload-Checksum: crc32 AAAAAA==\r\n", &bytes[..100]),
        request("PATCH", "Upload-Offset: 700000\r\n", &bytes[700_000..800_000]),
        request("PATCH", "Upload-Offset: 700000\r\n", &bytes[700_000..700_100]),
        request("PATCH", "Upload-Offset: 800000\r\n", &bytes[800_000..]),
        request("HEAD", "", b""),
    ]
    .concat()
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

/// The rest is let go of, and a part of the upload or all of it.
fn check(disk: &Disk, what: &str) {
    let bytes = &*BYTES;
    assert!(disk.held.is_none(), "{what}: the upload is not let go of");
    assert!(bytes.starts_with(&disk.durable), "{what}: other bytes are kept");
    assert!(disk.file.as_ref().is_none_or(|file| file == bytes), "{what}: another file");
}

#[test]
fn each_piece_is_answered_when_it_is_safe() {
    let (stream, mut disk) = (conversation(), Disk::default());
    let answers = talk(&stream, stream.len(), &mut disk);
    assert_eq!(statuses(&answers), ["200", "204", "460", "204", "409", "204", "200"]);
    check(&disk, "as it should be");
    assert!(disk.file.is_some());
}

#[test]
fn an_upload_that_is_cut_anywhere_goes_on() {
    let (stream, bytes) = (conversation(), &*BYTES);
    let heads = stream.windows(9).enumerate().filter(|(_, word)| *word == b" HTTP/1.1");
    let near = heads.flat_map(|(at, _)| (at.saturating_sub(40)..at + 220).step_by(29));
    let cuts = near.chain((0..stream.len()).step_by(97_111)).filter(|cut| *cut < stream.len());
    for cut in cuts {
        let mut disk = Disk::default();
        talk(&stream, cut, &mut disk);
        check(&disk, &format!("cut at {cut}"));
        let kept = disk.safe();
        if disk.file.is_none() {
            let rest = request("PATCH", &format!("Upload-Offset: {kept}\r\n"), &bytes[kept..]);
            assert_eq!(statuses(&talk(&rest, rest.len(), &mut disk)), ["204"], "cut at {cut}");
        }
        check(&disk, &format!("cut at {cut}, and resumed"));
        assert!(disk.file.is_some());
    }
}

#[test]
fn whatever_fails_nothing_false_is_answered_or_kept() {
    let stream = conversation();
    for error in [SystemError::DiskFull, SystemError::Disk, SystemError::OpenFiles] {
        let mut failed = 0;
        loop {
            let mut disk = Disk { fails: Some((failed, error)), ..Disk::default() };
            let answers = talk(&stream, stream.len(), &mut disk);
            let what = format!("{error:?} of operation {failed}");
            check(&disk, &what);
            if disk.operations <= failed {
                break;
            }
            let is_told = statuses(&answers).iter().any(|status| status.starts_with('5'));
            // What lets go of an upload does what it can, and tells nobody.
            let releases = disk.file.is_some();
            assert!(is_told || releases, "{what}: {:?}", statuses(&answers));
            failed += 1;
        }
        assert!(failed > 15, "only {failed} operations");
    }
}

#[test]
fn what_is_terminated_is_discarded() {
    let bytes = &*BYTES;
    let pieces = [request("PATCH", "Upload-Offset: 0\r\n", &bytes[..5000]), request("DELETE", "", b"")].concat();
    let mut disk = Disk::default();
    assert_eq!(statuses(&talk(&pieces, pieces.len(), &mut disk)), ["204", "204"]);
    assert_eq!((disk.safe(), disk.held.is_none()), (0, true));
}

/// Whoever looks at an upload asks for nothing that another one has: it goes on meanwhile.
#[test]
fn to_look_at_an_upload_takes_nothing_of_it() {
    let now = Instant::now();
    let mut session = session(now);
    session.receive(&request("HEAD", "", b""), now);
    assert!(
        matches!(session.next_operation(), Some(Operation::Read(ReadOperation::Measure(wanted))) if !wanted.begins)
    );
    session.complete(Completion::Read(ReadCompletion::Measured(Ok(Progress::Kept(7)))), now);
    assert!(session.next_operation().is_none());
    let Some((Segment::Bytes(data), _)) = session.outbox().front() else { panic!("no answer") };
    let answer = String::from_utf8_lossy(data);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Upload-Offset: 7\r\n"), "{answer}");
    // It is kept no longer by that.
    assert!(!answer.contains("Upload-Expires"), "{answer}");
}

/// A client takes the offset of the last byte for the end: so it is the end.
#[test]
fn an_upload_that_is_whole_has_its_name_when_that_is_told() {
    let mut disk = Disk { durable: BYTES.clone(), ..Disk::default() };
    let head = request("HEAD", "", b"");
    let answers = talk(&head, head.len(), &mut disk);
    assert_eq!(statuses(&answers), ["200"]);
    assert!(answers.contains("Repr-Digest: ") && answers.contains("ETag: "), "{answers}");
    check(&disk, "looked at");
    assert!(disk.file.is_some());
}

/// A creation alone begins an upload.
#[test]
fn what_was_not_begun_is_not_there() {
    let now = Instant::now();
    for (method, fields) in [("PATCH", "Upload-Offset: 0\r\n"), ("DELETE", "")] {
        let mut session = session(now);
        session.receive(&request(method, fields, b""), now);
        let Some(Operation::Upload(number, UploadOperation::Resume(wanted))) = session.next_operation() else {
            panic!("nothing was asked of the store")
        };
        assert!(!wanted.begins);
        for kind in [ErrorKind::NoUpload, ErrorKind::ForeignUpload, ErrorKind::IdTaken] {
            let mut session = self::session(now);
            session.receive(&request(method, fields, b""), now);
            session.next_operation();
            let failed = UploadCompletion::Resumed(Err(StoreError::at("a", kind)));
            session.complete(Completion::Upload(number, failed), now);
            let Some((Segment::Bytes(data), _)) = session.outbox().front() else { panic!("no answer") };
            let answer = String::from_utf8_lossy(data);
            assert!(answer.starts_with("HTTP/1.1 404 "), "{kind:?}: {answer}");
            assert!(answer.ends_with("no upload has this address: it was never begun, or is gone\n"), "{answer}");
        }
    }
}
