//! Uploads by tus: a session of HTTP on the store that is swept, request by request.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ferry_server::{
    access::Users,
    protocol::{
        Limits, Segment, Timeouts, Visitor,
        http::{DayClock, HttpSession, tus::UploadIds},
    },
    store::{Completion, Disk, Operation, SCRATCH_BYTES, Store},
};
use ferry_wire::Crc32;

use crate::{
    recorder::Recorder,
    script::upload,
    worlds::{Effect, Event, History, Verdict},
};

/// A request of tus, about one of the uploads of all scripts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    /// POST, with so many of the first bytes.
    Create(u64, usize),
    /// PATCH with so many bytes, and a checksum.
    Piece(u64, usize),
    /// PATCH of the rest, of which so many bytes come, and then the connection is cut.
    Cut(u64, usize),
    /// PATCH of the rest.
    Rest(u64),
    /// HEAD.
    Look(u64),
    /// DELETE.
    Drop(u64),
}

/// An upload that was made.
struct Made {
    id: String,
    offset: usize,
    /// Its file was told of.
    is_published: bool,
}

/// A client of tus, and its server.
pub(crate) struct Tus<'a> {
    store: &'a Store,
    recorder: &'a Recorder,
    ids: Arc<UploadIds>,
    /// Draws the same ids.
    foreseen: UploadIds,
    made: BTreeMap<u64, Made>,
}

struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        self.text.split(&format!("\r\n{name}: ")).nth(1)?.split("\r\n").next()
    }

    fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn offset(&self) -> Option<usize> {
        self.field("Upload-Offset").map(|offset| offset.parse().expect("a number"))
    }
}

impl<'a> Tus<'a> {
    pub(crate) fn new(store: &'a Store, recorder: &'a Recorder, life: u8) -> Tus<'a> {
        let (ids, foreseen) = (Arc::new(UploadIds::new([life; 32])), UploadIds::new([life; 32]));
        Tus { store, recorder, ids, foreseen, made: BTreeMap::new() }
    }

    /// Says a request, and writes down what was told.
    pub(crate) fn ask(&mut self, ask: Ask, history: &mut History) {
        match ask {
            Ask::Create(number, first) => self.create(number, first, history),
            Ask::Piece(number, length) => {
                let Some(made) = self.made.get(&number) else { return };
                let end = (made.offset + length).min(upload(number).2.len());
                self.piece(number, end, end, history);
            }
            Ask::Cut(number, length) => {
                let Some(made) = self.made.get(&number) else { return };
                let whole = upload(number).2.len();
                self.piece(number, whole, (made.offset + length).min(whole - 1), history);
            }
            Ask::Rest(number) => {
                let whole = upload(number).2.len();
                self.piece(number, whole, whole, history);
            }
            Ask::Look(number) => self.look(number, history),
            Ask::Drop(number) => {
                let Some(made) = self.made.get(&number) else { return };
                history.events.push(Event::Discard { at: self.recorder.now(), id: made.id.clone() });
                let answer = self.talk(&request("DELETE", &address(number, &made.id), "", b""), false);
                if answer.is_done() {
                    self.made.remove(&number);
                }
            }
        }
    }

    fn create(&mut self, number: u64, first: usize, history: &mut History) {
        let (_, name, bytes) = upload(number);
        let id = self.foreseen.next().as_str().to_owned();
        let at = self.recorder.now();
        history.events.push(Event::Begun { at, id: id.clone(), name: name.clone(), bytes: bytes.clone() });
        let first = first.min(bytes.len() - 1);
        let fields = format!("Upload-Length: {}\r\n", bytes.len());
        let answer = self.talk(&request("POST", &format!("/{name}?tus"), &fields, &bytes[..first]), false);
        if !answer.is_done() {
            return;
        }
        let place = answer.field("Location").expect("a place");
        assert!(place.contains(&format!("?tus={id}&")), "{place} is of another id");
        self.made.insert(number, Made { id: id.clone(), offset: first, is_published: false });
        self.promise(&id, answer.offset().expect("an offset"), history);
    }

    /// Sends bytes up to `announced`, of which those from `end` on don't come.
    fn piece(&mut self, number: u64, announced: usize, end: usize, history: &mut History) {
        let Some(Made { id, offset, .. }) = self.made.get(&number) else { return };
        let (id, offset) = (id.clone(), *offset);
        let (_, name, bytes) = upload(number);
        let sent = &bytes[offset..end];
        let crc = BASE64_STANDARD.encode(Crc32::of(&bytes[offset..announced]).0.to_be_bytes());
        // One that is cut is to keep what has come.
        let checksum = if end == announced { format!("Upload-Checksum: crc32 {crc}\r\n") } else { String::new() };
        let fields = format!("Upload-Offset: {offset}\r\n{checksum}");
        let request =
            cut(&request("PATCH", &address(number, &id), &fields, &bytes[offset..announced]), announced - end);
        assert!(request.ends_with(sent));
        let begun = self.recorder.now();
        let answer = self.talk(&request, end < announced);
        if end == bytes.len() {
            let verdict = self.verdict(answer.is_done());
            let effects = vec![(Effect::Put { name, bytes, id: Some(id) }, verdict)];
            history.events.push(Event::Batch { begun, ended: self.recorder.now(), effects });
            if let Some(made) = self.made.get_mut(&number) {
                made.is_published |= answer.is_done();
            }
        } else if answer.is_done() {
            let told = answer.offset().expect("an offset");
            assert_eq!(told, end);
            self.promise(&id, told, history);
            self.made.insert(number, Made { id, offset: end, is_published: false });
        }
    }

    fn look(&mut self, number: u64, history: &mut History) {
        let Some(Made { id, is_published, .. }) = self.made.get(&number) else { return };
        let (id, is_published) = (id.clone(), *is_published);
        let (_, name, bytes) = upload(number);
        let begun = self.recorder.now();
        let answer = self.talk(&request("HEAD", &address(number, &id), "", b""), false);
        match answer.offset().filter(|_| answer.is_done()) {
            Some(offset) if offset == bytes.len() => {
                self.made.insert(number, Made { id: id.clone(), offset, is_published: true });
                let effect = match is_published {
                    true => Effect::Confirm(id),
                    false => Effect::Put { name, bytes, id: Some(id) },
                };
                let effects = vec![(effect, self.verdict(true))];
                history.events.push(Event::Batch { begun, ended: self.recorder.now(), effects });
            }
            Some(offset) => {
                self.promise(&id, offset, history);
                self.made.insert(number, Made { id, offset, is_published });
            }
            // It may have been about to give it its name when it was killed.
            None if self.recorder.is_dead() && !is_published => {
                let effects = vec![(Effect::Put { name, bytes, id: Some(id) }, Verdict::Unknown)];
                history.events.push(Event::Batch { begun, ended: self.recorder.now(), effects });
            }
            None => {}
        }
    }

    fn promise(&self, id: &str, offset: usize, history: &mut History) {
        if !self.recorder.is_dead() {
            let (at, id) = (self.recorder.now(), id.to_owned());
            history.events.push(Event::Promise { at, id: id.clone(), offset: offset as u64 });
            history.events.push(Event::Known { at, id });
        }
    }

    fn verdict(&self, done: bool) -> Verdict {
        match done {
            true => Verdict::Done,
            false if self.recorder.is_dead() => Verdict::Unknown,
            false => Verdict::Refused,
        }
    }

    /// Has a session of its own carry out a request, whose connection is cut behind it or ends. Returns the answer; one
    /// that is all zero where none came.
    fn talk(&self, request: &[u8], is_cut: bool) -> Answer {
        let now = Instant::now();
        let mut session = session(self.ids.clone(), now);
        let (mut given, mut text, mut scratch, mut is_over) = (0, Vec::new(), vec![0; SCRATCH_BYTES], false);
        while !session.is_over() {
            given += session.receive(&request[given..], now);
            let asked = session.next_operation();
            let is_idle = asked.is_none();
            if let Some(operation) = asked {
                let completion = self.carry_out(operation, &mut scratch);
                session.complete(completion, now);
            }
            while let Some((Segment::Bytes(data), _)) = session.outbox().front() {
                text.extend_from_slice(data);
                let count = data.len() as u64;
                session.outbox().advance(count);
            }
            session.sent(now);
            if is_idle && given == request.len() && !std::mem::replace(&mut is_over, true) {
                match is_cut {
                    true => session.disconnected(now),
                    false => drop(session.end_of_input(now)),
                }
            }
        }
        let text = String::from_utf8(text).expect("an answer of text");
        let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
        Answer { status, text }
    }

    fn carry_out(&self, operation: Operation<Disk>, scratch: &mut [u8]) -> Completion<'static, Disk> {
        match operation {
            Operation::Read(operation) => Completion::Read(self.store.read(operation, scratch, &|| true)),
            Operation::Upload(number, operation) => Completion::Upload(number, self.store.advance(operation, &|| true)),
            Operation::Name(operation) => {
                let mut completions = self.store.change_names(&mut vec![operation].into_iter());
                Completion::Name(completions.pop().expect("one completion of one operation"))
            }
        }
    }
}

fn session(ids: Arc<UploadIds>, now: Instant) -> HttpSession<Disk> {
    let hour = Duration::from_secs(3600);
    let limits = Limits {
        node: None,
        read_only: false,
        volatile: false,
        kept_modes: None,
        upload_bytes: u64::MAX,
        timeouts: Timeouts { idle: hour, request: hour, window: hour, window_bytes: 1 },
        checkpoint_bytes: 1 << 20,
        checkpoint_time: hour,
        keep: hour,
    };
    let visitor = Visitor::new(Arc::new(Users::without_file()), true);
    let day = DayClock::new(now, SystemTime::UNIX_EPOCH);
    HttpSession::new(Arc::new(limits), ids, Arc::new(day), visitor, now)
}

fn address(number: u64, id: &str) -> String {
    let (_, name, bytes) = upload(number);
    format!("/{name}?tus={id}&length={}", bytes.len())
}

fn request(method: &str, target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let piece = match body {
        [] => String::new(),
        body => format!("Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n", body.len()),
    };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\nTus-Resumable: 1.0.0\r\n{piece}{fields}\r\n");
    [head.as_bytes(), body].concat()
}

/// Takes bytes off the end.
fn cut(request: &[u8], bytes: usize) -> Vec<u8> {
    request[..request.len() - bytes].to_vec()
}
