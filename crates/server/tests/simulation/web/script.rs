//! The input of a generated client of HTTP, drawn from dice.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ferry_wire::{Crc32, Tag, Time};

use crate::{
    dice::Dice,
    script::{Ground, LASTING_FILES, UPLOAD_BYTES, lasting_file, resumed_data},
    store::Effect,
    tree::{some_time, tag_of},
};

/// A condition of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    /// If-None-Match: *
    Free,
    /// If-Match: *
    Taken,
    /// If-Match with a tag.
    Is(Tag),
    /// If-None-Match with a tag.
    IsNot(Tag),
}

/// How the body of an upload is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Sound,
    /// Its digest is of other bytes.
    WrongDigest,
    /// Its chunks are none: the connection closes.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Page,
    Json,
    Archive,
}

/// A resumable upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piecemeal {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Bytes,
}

/// Bytes that are shown by their number alone.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Arc<Vec<u8>>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A request, and the facts that its client knows about it.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// It gets one of these in any case.
    Refused(&'static [u16]),
    /// A file, or a part of it.
    Read {
        name: String,
        is_head: bool,
        range: Option<(u64, Option<u64>)>,
        condition: Condition,
    },
    Directory {
        name: String,
        shape: Shape,
    },
    Put {
        name: String,
        data: Bytes,
        mtime: Option<Time>,
        condition: Condition,
        fate: Fate,
        chunked: bool,
    },
    Delete {
        name: String,
        condition: Condition,
    },
    Mkcol(String),
    /// POST of tus; with all bytes, or none.
    Create {
        name: String,
        data: Bytes,
        is_whole: bool,
        is_free: bool,
    },
    /// PATCH of tus.
    Piece {
        upload: Piecemeal,
        at: u64,
        bytes: u64,
        is_right: bool,
    },
    /// HEAD of tus.
    State(Piecemeal),
    /// DELETE of tus.
    Drop(Piecemeal),
    /// Its client shut down within it.
    Cut,
}

impl What {
    pub(crate) fn is_head(&self) -> bool {
        matches!(self, What::Read { is_head: true, .. } | What::State(_))
    }

    /// Returns its change, if it succeeds.
    pub(crate) fn effect(&self) -> Option<Effect> {
        let name = |name: &str| ferry_wire::Name::new(name).unwrap();
        match self {
            What::Put { name, data, fate: Fate::Sound, .. } => Some(published(name, data)),
            What::Create { name, data, is_whole, .. } => {
                (*is_whole || data.0.is_empty()).then(|| published(name, data))
            }
            What::Piece { upload, at, bytes, is_right: true } => {
                (at + bytes == upload.data.0.len() as u64).then(|| published(&upload.name, &upload.data))
            }
            // Of one that was whole, and has no name yet.
            What::State(upload) => Some(published(&upload.name, &upload.data)),
            What::Delete { name: of, .. } => Some(Effect::Changed(ferry_server::store::Change::Delete(name(of)))),
            What::Mkcol(of) => Some(Effect::Changed(ferry_server::store::Change::Mkdir(name(of)))),
            _ => None,
        }
    }
}

fn published(name: &str, data: &Bytes) -> Effect {
    Effect::Published { name: name.to_owned(), size: data.0.len() as u64, crc: Crc32::of(&data.0) }
}

/// A request as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// The body is sent when the server has said that it may come.
    pub(crate) waits: bool,
    pub(crate) what: What,
}

impl Item {
    /// Has a request for an upload that was made ask for that one.
    pub(crate) fn is_about(&mut self, made: &HashMap<(String, usize), String>) {
        let (What::Piece { upload, .. } | What::State(upload) | What::Drop(upload)) = &mut self.what else { return };
        if let Some(id) = made.get(&(upload.name.clone(), upload.data.0.len())) {
            let head = String::from_utf8_lossy(&self.head);
            self.head = head.replacen(&format!("tus={}&", upload.id), &format!("tus={id}&"), 1).into_bytes();
            upload.id = id.clone();
        }
    }
}

/// Builds a script item by item.
pub(crate) struct WebWriter<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) dice: &'a mut Dice,
}

impl WebWriter<'_> {
    pub(crate) fn script(mut self, requests: usize) -> VecDeque<Item> {
        // Much lies in a directory that is made first, most often.
        let first = (requests > 0 && self.dice.happens(700)).then(|| self.mkcol(format!("{}/d", self.ground.home)));
        first.into_iter().chain((1..requests).map(|_| self.request())).collect()
    }

    fn name(&mut self) -> String {
        const NAMES: [&str; 12] =
            ["a", "a", "a", "b b", "d", "d/x", "d/x", "d/y", "d/e", "d/e/z", "missing/x", "a/inside"];
        format!("{}/{}", self.ground.home, self.dice.pick(&NAMES))
    }

    fn readable(&mut self) -> (String, Tag) {
        let index = self.dice.below(if self.ground.large { LASTING_FILES } else { 3 });
        let (lasting, data) = lasting_file(&self.ground.home, index);
        let tag = tag_of(&data, some_time());
        let name = if self.dice.happens(300) { self.name() } else { lasting };
        (name, tag)
    }

    fn condition(&mut self, tag: &Tag) -> Condition {
        match self.dice.below(14) {
            0 => Condition::Free,
            1 => Condition::Taken,
            2 => Condition::Is(tag.clone()),
            3 => Condition::Is(Tag::new("another").unwrap()),
            _ => Condition::None,
        }
    }

    fn request(&mut self) -> Item {
        if self.ground.contended && self.dice.happens(600) {
            return self.piece();
        }
        match self.dice.below(20) {
            0..5 => self.read(),
            5..7 => self.directory(),
            7..11 => self.put(),
            11 => self.delete(),
            12 => {
                let name = self.name();
                self.mkcol(name)
            }
            13 => self.create(),
            14..19 => self.piece(),
            _ => self.malformed(),
        }
    }

    fn item(&mut self, line: &str, fields: &str, what: What) -> Item {
        let head = format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes();
        Item { head, body: Vec::new(), waits: false, what }
    }

    fn with_body(&mut self, line: &str, fields: &str, body: &[u8], what: What) -> Item {
        let waits = self.dice.happens(150) && !body.is_empty();
        let expect = if waits { "Expect: 100-continue\r\n" } else { "" };
        let fields = format!("{fields}{expect}Content-Length: {}\r\n", body.len());
        Item { body: body.to_vec(), waits, ..self.item(line, &fields, what) }
    }

    fn read(&mut self) -> Item {
        let (name, tag) = self.readable();
        let is_head = self.dice.happens(250);
        let condition = match self.dice.below(6) {
            0 => Condition::IsNot(tag),
            1 => Condition::Is(tag),
            2 => Condition::Is(Tag::new("another").unwrap()),
            3 => Condition::Free,
            _ => Condition::None,
        };
        let mut fields = fields_of(&condition);
        let range = (!is_head && self.dice.happens(400)).then(|| {
            let first = *self.dice.pick(&[0, 1, 5, 14, 100, 65_536, 1 << 40]);
            (first, *self.dice.pick(&[None, Some(0), Some(3), Some(1_000), Some(65_537)]))
        });
        if let Some((first, more)) = range {
            let last = more.map_or(String::new(), |more| (first + more).to_string());
            let _ = write!(fields, "Range: bytes={first}-{last}\r\n");
        }
        let line = format!("{} {}", if is_head { "HEAD" } else { "GET" }, target(&name));
        self.item(&line, &fields, What::Read { name, is_head, range, condition })
    }

    fn directory(&mut self) -> Item {
        // All of a home is much to send byte by byte.
        let shape = *self.dice.pick(&[Shape::Page, Shape::Json, Shape::Archive]);
        let is_small = self.ground.large || shape == Shape::Json;
        let name = match self.dice.below(3) {
            0 => self.name(),
            1 if is_small => self.ground.home.clone(),
            _ => format!("{}/d", self.ground.home),
        };
        let query = match shape {
            Shape::Page => "",
            Shape::Json => "?json",
            Shape::Archive => "?tar",
        };
        self.item(&format!("GET {}/{query}", target(&name)), "", What::Directory { name, shape })
    }

    /// Returns how many bytes an upload has: most often few.
    fn size(&mut self) -> usize {
        match self.dice.below(if self.ground.large { 20 } else { 12 }) {
            0 => 0,
            1..10 => self.dice.between(1, 300),
            10 | 11 => self.dice.between(1, 20_000),
            12..16 => self.dice.between(8_000, 300_000),
            16 => 256 << 10,
            17 => (512 << 10) + self.dice.below(3),
            18 => self.dice.between(300_000, 1_200_000),
            _ => UPLOAD_BYTES as usize + self.dice.below(3) - 1,
        }
    }

    fn put(&mut self) -> Item {
        let (name, tag) = match self.dice.happens(100) {
            // A lasting file may be replaced on a condition that never holds.
            true => (lasting_file(&self.ground.home, 1).0, Tag::new("another").unwrap()),
            false => (self.name(), self.readable().1),
        };
        let condition = match name.contains("lasting") {
            true => Condition::Is(tag),
            false => self.condition(&tag),
        };
        let size = self.size();
        let data = self.dice.bytes(size);
        let mtime = self.dice.happens(300).then(|| Time::new(self.dice.below(1 << 30) as i64, 250_000_000).unwrap());
        let chunked = self.dice.happens(400);
        let mut fields = fields_of(&condition);
        if let Some(mtime) = mtime {
            let _ = write!(fields, "X-OC-Mtime: {}.25\r\n", mtime.seconds());
        }
        let fate = match self.dice.below(12) {
            0 => Fate::WrongDigest,
            1 if chunked => Fate::Broken,
            _ => Fate::Sound,
        };
        if fate == Fate::WrongDigest || self.dice.happens(300) {
            let wrong = u32::from(fate == Fate::WrongDigest);
            let _ = write!(fields, "Repr-Digest: crc32=:{}:\r\n", checksum(&data, wrong));
        }
        let what = What::Put { name, data: Bytes(Arc::new(data.clone())), mtime, condition, fate, chunked };
        let What::Put { name, .. } = &what else { unreachable!() };
        let line = format!("PUT {}", target(name));
        if !chunked {
            return self.with_body(&line, &fields, &data, what);
        }
        let mut body = Vec::new();
        let most = *self.dice.pick(&[50, 4_096, 70_000]);
        let cut = if fate == Fate::Broken { self.dice.below(data.len() + 1) } else { data.len() };
        for block in data[..cut].chunks(if data.len() > 20_000 { most.max(4_096) } else { most }) {
            body.extend_from_slice(format!("{:x}\r\n", block.len()).as_bytes());
            body.extend_from_slice(block);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(if fate == Fate::Broken { b"xyz\r\n" } else { b"0\r\n\r\n" });
        let fields = format!("{fields}Transfer-Encoding: chunked\r\n");
        Item { body, ..self.item(&line, &fields, what) }
    }

    fn delete(&mut self) -> Item {
        let name = self.name();
        let tag = self.readable().1;
        let condition = match self.condition(&tag) {
            Condition::Free => Condition::None,
            condition => condition,
        };
        self.item(&format!("DELETE {}", target(&name)), &fields_of(&condition), What::Delete { name, condition })
    }

    fn mkcol(&mut self, name: String) -> Item {
        let slash = if self.dice.happens(500) { "/" } else { "" };
        self.item(&format!("MKCOL {}{slash}", target(&name)), "", What::Mkcol(name))
    }

    fn create(&mut self) -> Item {
        let (mut name, bytes) = (self.name(), self.dice.below(300));
        let mut data = self.dice.bytes(bytes);
        let (mut is_whole, is_free) = (self.dice.happens(500), self.dice.happens(300));
        if self.dice.happens(600) {
            // One of those that come in pieces.
            let which = self.dice.below(4);
            let upload = self.piecemeal(which);
            (name, data, is_whole) = (upload.name, upload.data.0.to_vec(), false);
        }
        let free = if is_free { "If-None-Match: *\r\n" } else { "" };
        let fields = format!("Tus-Resumable: 1.0.0\r\nUpload-Length: {}\r\n{free}", data.len());
        let line = format!("POST {}?tus", target(&name));
        let what = What::Create { name, data: Bytes(Arc::new(data.clone())), is_whole, is_free };
        match is_whole {
            true => self.with_body(&line, &format!("{fields}{PIECE}"), &data, what),
            false => self.item(&line, &fields, what),
        }
    }

    /// Returns a resumable upload: the same, by id and name, as clients of ferry's protocol have.
    fn piecemeal(&mut self, which: usize) -> Piecemeal {
        let size = if self.ground.large { [10, 3_000, 700_000, 1_100_000][which] } else { [10, 300, 3_000, 0][which] };
        let name = format!("{}/{}", self.ground.home, ["kept", "a", "d/x", "kept"][which]);
        let id = format!("{}-{which}", self.ground.home);
        Piecemeal { id, name, data: Bytes(Arc::new(resumed_data(which, size))) }
    }

    /// A request for one of the resumable uploads. It asks for that which was made last, where one was.
    fn piece(&mut self) -> Item {
        let which = if self.ground.contended { 1 + self.dice.below(2) } else { self.dice.below(4) };
        let upload = self.piecemeal(which);
        let (data, size) = (upload.data.0.clone(), upload.data.0.len() as u64);
        let address = format!("{}?tus={}&length={size}", target(&upload.name), upload.id);
        let fields = "Tus-Resumable: 1.0.0\r\n";
        match self.dice.below(20) {
            0..3 => return self.item(&format!("HEAD {address}"), fields, What::State(upload)),
            3 => return self.item(&format!("DELETE {address}"), fields, What::Drop(upload)),
            _ => {}
        }
        // Of few places, so that many pieces fit where the last one ended.
        let places = [0, size / 3, size / 2, size];
        let first = self.dice.below(4);
        let at = places[first];
        let end = *self.dice.pick(&places[first..]);
        let bytes = &data[at as usize..end as usize];
        let is_right = !self.dice.happens(100);
        let mut fields = format!("{fields}{PIECE}Upload-Offset: {at}\r\n");
        if !is_right || self.dice.happens(400) {
            let _ = write!(fields, "Upload-Checksum: crc32 {}\r\n", checksum(bytes, u32::from(!is_right)));
        }
        let what = What::Piece { upload, at, bytes: end - at, is_right };
        self.with_body(&format!("PATCH {address}"), &fields, bytes, what)
    }

    fn malformed(&mut self) -> Item {
        const REQUESTS: [(&str, &str, &[u16]); 9] = [
            ("GET /../x", "", &[400]),
            ("GET /%2e%2e/x", "", &[400]),
            ("PUT /x%00y", "Content-Length: 0\r\n", &[400]),
            ("GET /.ferry/x", "", &[403]),
            ("FROB /x", "", &[501]),
            ("TRACE /x", "", &[405]),
            ("PUT /x", "", &[411]),
            ("DELETE /", "", &[405]),
            ("PUT /x", "Content-Length: 1\r\nContent-Length: 2\r\n", &[400]),
        ];
        let (line, fields, statuses) = *self.dice.pick(&REQUESTS);
        self.item(line, fields, What::Refused(statuses))
    }
}

const PIECE: &str = "Content-Type: application/offset+octet-stream\r\n";

fn checksum(bytes: &[u8], wrong: u32) -> String {
    BASE64_STANDARD.encode((Crc32::of(bytes).0 ^ wrong).to_be_bytes())
}

fn target(name: &str) -> String {
    format!("/{}", name.replace(' ', "%20"))
}

fn fields_of(condition: &Condition) -> String {
    match condition {
        Condition::None => String::new(),
        Condition::Free => "If-None-Match: *\r\n".into(),
        Condition::Taken => "If-Match: *\r\n".into(),
        Condition::Is(tag) => format!("If-Match: \"{tag}\"\r\n"),
        Condition::IsNot(tag) => format!("If-None-Match: \"{tag}\"\r\n"),
    }
}
