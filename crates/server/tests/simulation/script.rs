//! The input of a generated client: every request of the protocol, right and wrong, drawn from
//! dice.

use std::{collections::VecDeque, sync::Arc};

use ferry_server::store::{Change, Permissions, Touch};
use ferry_wire::{Code, Crc32, Id, Mode, Name, Tag, Time, limits::MIN_HOLE_BYTES};

use crate::{
    dice::Dice,
    oracle::{Asked, BodyFate, Part, Put, Resume},
    tree::tag_of,
};

/// The largest upload that the simulated server takes.
pub(crate) const UPLOAD_BYTES: u64 = (1 << 20) + (300 << 10);

/// One line and what follows it.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) line: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// [`None`] where no answer is due: a WITH, or what stands behind the end.
    pub(crate) asked: Option<Asked>,
}

/// Where and how a client writes.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// The directory that is its own, or shared.
    pub(crate) home: String,
    pub(crate) read_only: bool,
    /// Bodies may be large.
    pub(crate) large: bool,
    /// Others write there too, and resume the same uploads.
    pub(crate) contended: bool,
    /// The store fails at random, or leaves something unanswered.
    pub(crate) faulty: bool,
}

/// Returns a file that no script changes, so that its tag is known.
pub(crate) fn lasting_file(home: &str, index: usize) -> (String, Vec<u8>) {
    const SIZES: [usize; 6] = [0, 14, 65_536, 65_537, 300_000, 1_300_000];
    let size = SIZES[index % SIZES.len()];
    (format!("{home}/lasting{index}"), Dice::new(index as u64).bytes(size))
}

pub(crate) const LASTING_FILES: usize = 6;

/// Builds a script item by item.
pub(crate) struct Writer<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) dice: &'a mut Dice,
    items: VecDeque<Item>,
    with: Option<Code>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(ground: &'a Ground, dice: &'a mut Dice) -> Writer<'a> {
        Writer { ground, dice, items: VecDeque::new(), with: None }
    }

    /// Returns a script of `requests` requests, and an end.
    pub(crate) fn script(mut self, requests: usize) -> VecDeque<Item> {
        for _ in 0..requests {
            self.request();
            if self.items.back().is_some_and(ends) {
                self.trail();
                return self.items;
            }
        }
        match self.dice.below(8) {
            0 => self.garbage(),
            1..4 if self.with.is_none() => self.item(b"CLOSE".to_vec(), Vec::new(), Some(Asked::Bye)),
            // The end of input.
            _ => return self.items,
        }
        self.trail();
        self.items
    }

    /// Returns a script that takes up streams, and little else.
    pub(crate) fn streams(mut self) -> VecDeque<Item> {
        for _ in 0..self.dice.between(1, 5) {
            self.resume(true);
            if self.dice.happens(200) {
                self.request();
            }
            if self.items.back().is_some_and(ends) {
                break;
            }
        }
        self.items
    }

    /// Appends bytes behind the end, which have no effect.
    fn trail(&mut self) {
        if self.dice.happens(500) {
            let name = format!("{}/behind", self.ground.home);
            self.item(format!("MKDIR {name}").into_bytes(), Vec::new(), None);
        }
    }

    fn item(&mut self, line: Vec<u8>, body: Vec<u8>, asked: Option<Asked>) {
        let mut line = line;
        if self.dice.happens(100) {
            line.push(b'\r');
        }
        line.push(b'\n');
        self.items.push_back(Item { line, body, asked });
    }

    /// A line whose request is `asked`, unless a WITH stands before it.
    fn ask(&mut self, line: String, asked: Asked) {
        let asked = self.with.take().map_or(asked, Asked::Invalid);
        self.item(line.into_bytes(), Vec::new(), Some(asked));
    }

    fn name(&mut self) -> String {
        const NAMES: [&str; 12] =
            ["a", "a", "b", "b b", "c", "d", "d/x", "d/y", "d/e", "d/e/z", "missing/x", "a/inside"];
        format!("{}/{}", self.ground.home, self.dice.pick(&NAMES))
    }

    fn bad_name(&mut self) -> String {
        const NAMES: [&str; 8] = ["../x", "/etc", "a//", ".ferry/x", "x/.FeRRy", "a\u{1}", "", "a/./b"];
        (*self.dice.pick(&NAMES)).to_owned()
    }

    fn readable(&mut self) -> (String, Option<Tag>) {
        if self.dice.happens(500) {
            return (self.name(), None);
        }
        let index = self.dice.below(if self.ground.large { LASTING_FILES } else { 3 });
        let (name, data) = lasting_file(&self.ground.home, index);
        (name, Some(tag_of(&data, crate::tree::some_time())))
    }

    fn time(&mut self) -> Option<Time> {
        self.dice.happens(300).then(|| Time::new(self.dice.below(1 << 30) as i64, 250_000_000).unwrap())
    }

    fn verb(&mut self, verb: &str) -> String {
        if self.dice.happens(100) { verb.to_lowercase() } else { verb.to_owned() }
    }

    fn request(&mut self) {
        if self.ground.contended && self.dice.happens(600) {
            return if self.dice.happens(300) { self.part() } else { self.resume_either() };
        }
        let pick = self.dice.below(100);
        match pick {
            0..12 => self.get(),
            12..20 => self.read(),
            20..23 => self.one_name("STAT", Asked::Stat),
            23 => self.one_name("WITH tell=modes\nSTAT", Asked::StatMode),
            24 => {
                let line = self.verb("SPACE");
                self.ask(line, Asked::Space);
            }
            25 => {
                let line = self.verb("HEALTH");
                self.ask(line, Asked::Health);
            }
            26..29 => self.one_name("SUM", Asked::Sum),
            29..31 => self.one_name("WITH sum=sha256\nSUM", Asked::Hash),
            31..36 => self.list(),
            36..54 => self.change(),
            54..77 => self.put(),
            77..80 => self.part(),
            80..90 => self.resume_either(),
            90..97 => self.malformed(),
            97..99 => self.with(),
            _ => self.garbage(),
        }
    }

    fn get(&mut self) {
        let (name, _) = self.readable();
        let verb = self.verb("GET");
        let with = *self.dice.pick(&["", "WITH holes=yes\n"]);
        let line = format!("{with}{verb} {name}");
        self.ask(line, Asked::Get { name, offset: 0, length: None, tag: None });
    }

    fn read(&mut self) {
        let (name, tag) = self.readable();
        let tag = match self.dice.below(4) {
            0 => Some(Tag::new("another").unwrap()),
            1 | 2 => tag,
            _ => None,
        };
        let offset = *self.dice.pick(&[0, 1, 5, 14, 15, 100, 65_536, 70_000, 1 << 40]);
        let length = *self.dice.pick(&[None, Some(0), Some(3), Some(1000), Some(65_537), Some(1 << 40)]);
        let shown = length.map_or("*".into(), |length| length.to_string());
        let shown_tag = tag.as_ref().map_or("*".into(), ToString::to_string);
        self.ask(format!("READ {offset} {shown} {shown_tag} {name}"), Asked::Get { name, offset, length, tag });
    }

    fn one_name(&mut self, verb: &str, asked: impl Fn(String) -> Asked) {
        let (name, _) = self.readable();
        let verb = self.verb(verb);
        self.ask(format!("{verb} {name}"), asked(name));
    }

    fn list(&mut self) {
        match self.dice.below(4) {
            0 => self.ask("LIST".into(), Asked::List(None)),
            1 => self.one_name("WITH tell=modes\nLIST", Asked::ListModes),
            2 => self.ask(format!("LIST {}", self.ground.home), Asked::List(Some(self.ground.home.clone()))),
            _ => self.one_name("LIST", |name| Asked::List(Some(name))),
        }
    }

    fn change(&mut self) {
        let (one, two) = (self.name(), self.name());
        let name = |text: &str| Name::new(text).unwrap();
        let (line, change) = match self.dice.below(4) {
            0 if self.dice.happens(300) => {
                let permissions = Permissions::new(Mode::of(0o050), Mode::ALL);
                (format!("WITH mode=050\nMKDIR {one}"), Change::MkdirWith(name(&one), permissions))
            }
            0 => (format!("MKDIR {one}"), Change::Mkdir(name(&one))),
            1 => (format!("DELETE {one}"), Change::Delete(name(&one))),
            2 => (format!("RENAME {one}//{two}"), Change::Rename(name(&one), name(&two))),
            _ => self.touch(&one),
        };
        let asked = if self.ground.read_only { Asked::Invalid(Code::ReadOnly) } else { Asked::Change(change) };
        self.ask(line, asked);
    }

    fn touch(&mut self, name: &str) -> (String, Change) {
        let (mtime, with_mode) = (self.time(), self.dice.happens(300));
        let shown = mtime.map_or("-".into(), |mtime| mtime.to_string());
        let permissions = with_mode.then(|| Permissions::new(Mode::of(0o750), Mode::ALL));
        let with = if with_mode { "WITH mode=750\n" } else { "" };
        let touch = Touch { name: Name::new(name).unwrap(), mtime, permissions };
        (format!("{with}TOUCH {shown} {name}"), Change::Touch(touch))
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

    /// Returns the bytes of an upload. Large ones have a run of zeros at times.
    fn content(&mut self, size: usize) -> Vec<u8> {
        let mut data = self.dice.bytes(size);
        if size > 100_000 && self.dice.happens(600) {
            let (start, length) = (self.dice.below(size), self.dice.between(60_000, 900_000));
            let start = *self.dice.pick(&[0, start]);
            let end = *self.dice.pick(&[size, size.min(start + length)]);
            data[start..end].fill(0);
        }
        data
    }

    fn put(&mut self) {
        let size = self.size();
        let data = self.content(size);
        let mtime = self.time();
        let known = self.dice.happens(700);
        let (mut fate, mut body) = self.body(&data, known.then_some(size as u64), true);
        // A body that runs over, or falls short, was announced as something else.
        let announced = if fate.fails == Some(Code::Incomplete) { size as u64 + 1 } else { size as u64 };
        let too_large = Some(Code::TooLarge).filter(|_| announced > UPLOAD_BYTES);
        let (name, mut refused) = match self.dice.happens(60) {
            true => (self.bad_name(), Some(Code::BadName)),
            false => (self.name(), None),
        };
        let shown = if known { announced.to_string() } else { "-".into() };
        let shown_time = mtime.map_or("-".into(), |time| time.to_string());
        let mut line = format!("{} {shown} {shown_time} {name}", self.verb("PUT"));
        if self.dice.happens(40) {
            (line, refused) =
                ((*self.dice.pick(&["PUT", "PUT 01 - x", "PUT 1 -", "put - never x"])).into(), Some(Code::BadRequest));
        }
        refused = self.with.take().or(refused).or(self.ground.read_only.then_some(Code::ReadOnly));
        refused = refused.or(too_large.filter(|_| known));
        if !known && too_large.is_some() {
            fate = BodyFate { fails: too_large, ..BodyFate::default() };
            body.clear();
            blocks(self.dice, &data, &mut body, true);
            body.extend_from_slice(b"END -\n");
        }
        if fate.broken.len() == 2 && refused.is_some() {
            fate.broken.clear();
        }
        let put = Put { name, mtime, data: Arc::new(data), refused, body: fate };
        self.item(line.into_bytes(), body, Some(Asked::Put(put)));
    }

    /// Returns the bytes of a body of `data`, and how it ends. An overrun is told by two codes.
    fn body(&mut self, data: &[u8], announced: Option<u64>, holes: bool) -> (BodyFate, Vec<u8>) {
        let mut bytes = Vec::with_capacity(data.len() + 64);
        let fate = |fails, broken: &[Code]| BodyFate { fails, broken: broken.to_vec(), joins: false };
        let cut = self.dice.below(data.len() + 1);
        let crc = Crc32::of(data);
        let fate = match self.dice.below(40) {
            0 | 1 => {
                blocks(self.dice, &data[..cut], &mut bytes, holes);
                bytes.extend_from_slice(b"STOP\n");
                fate(Some(Code::Stopped), &[])
            }
            2 => {
                blocks(self.dice, data, &mut bytes, holes);
                bytes.extend_from_slice(format!("END {}\n", Crc32(crc.0 ^ 1)).as_bytes());
                fate(Some(Code::Checksum), &[])
            }
            3 if announced.is_some() => {
                blocks(self.dice, data, &mut bytes, holes);
                bytes.extend_from_slice(format!("END {crc}\n").as_bytes());
                fate(Some(Code::Incomplete), &[])
            }
            // One that failed before is passed over, and how much of it there is no more counted.
            4 if announced.is_some() && data.len() < 200_000 && !self.ground.faulty => {
                blocks(self.dice, data, &mut bytes, holes);
                bytes.extend_from_slice(b"DATA 1\n!END 00000000\n");
                fate(None, &[Code::BadRequest, Code::BadRequest])
            }
            5 => {
                blocks(self.dice, &data[..cut], &mut bytes, holes);
                let lines: [&[u8]; 7] =
                    [b"DATA 0\n", b"DATA 1048577\n", b"GET a\n", b"END xyz\n", b"\n", b"FAIL io no\n", &[b'x'; 4096]];
                let line = *self.dice.pick(&lines);
                bytes.extend_from_slice(line);
                fate(None, &[Code::BadRequest])
            }
            6..9 => {
                blocks(self.dice, data, &mut bytes, holes);
                bytes.extend_from_slice(b"END -\n");
                fate(None, &[])
            }
            _ => {
                blocks(self.dice, data, &mut bytes, holes);
                bytes.extend_from_slice(format!("END {crc}\n").as_bytes());
                fate(None, &[])
            }
        };
        (fate, bytes)
    }

    /// Draws one of the resumable uploads: its number, its size, and the name that it is to have.
    fn resumable(&mut self) -> (usize, u64, String) {
        let which = if self.ground.contended { 1 + self.dice.below(2) } else { self.dice.below(4) };
        let size =
            if self.ground.large { [10, 600_000, 700_000, 1_100_000][which] } else { [10, 300, 3_000, 0][which] };
        (which, size, format!("{}/{}", self.ground.home, ["kept", "a", "d/x", "kept"][which]))
    }

    fn part(&mut self) {
        let (which, size, mut name) = self.resumable();
        let data = resumed_data(which, size);
        let offset = self.dice.below(size as usize + 1) as u64;
        let mut length = self.dice.between(0, (size - offset) as usize) as u64;
        let (fate, body) = self.body(&data[offset as usize..(offset + length) as usize], None, false);
        let mut refused = self.with.take().or(self.ground.read_only.then_some(Code::ReadOnly));
        match self.dice.below(20) {
            0 => name.push('2'),
            1 if fate.broken.is_empty() && fate.fails.is_none() => {
                length = UPLOAD_BYTES + 1;
                refused = refused.or(Some(Code::TooLarge));
            }
            _ => {}
        }
        let line = format!("{} {}-{which} {offset} {length} {name}", self.verb("PART"), self.ground.home);
        self.item(line.into_bytes(), body, Some(Asked::Part(Part { refused, body: fate })));
    }

    fn resume_either(&mut self) {
        let is_stream = self.dice.happens(400);
        self.resume(is_stream);
    }

    fn resume(&mut self, is_stream: bool) {
        let (which, mut size, mut name) = self.resumable();
        let whole = size;
        match self.dice.below(if self.ground.contended { 8 } else { 40 }) {
            0 => size += 1,
            1 => name.push('2'),
            2 => size = UPLOAD_BYTES + 1,
            _ => {}
        }
        // A stream has an id of its own, and at times somebody takes it for something else.
        let announces = is_stream != self.dice.happens(970);
        let size = if announces { size } else { whole };
        let id = Id::new(&format!("{}-{which}{}", self.ground.home, if is_stream { "s" } else { "" })).unwrap();
        let mtime = self.time();
        let shown_time = mtime.map_or("-".into(), |time| time.to_string());
        let shown_size = if announces { size.to_string() } else { "-".into() };
        let line = format!("RESUME {id} {shown_size} {shown_time} {name}");
        let too_large = Some(Code::TooLarge).filter(|_| announces && size > UPLOAD_BYTES);
        let refused = self.with.take().or(self.ground.read_only.then_some(Code::ReadOnly)).or(too_large);
        let data = if refused.is_some() { Vec::new() } else { resumed_data(which, size) };
        let resume = Resume { id, name, size: announces.then_some(size), mtime, data: Arc::new(data), refused };
        self.item(line.into_bytes(), Vec::new(), Some(Asked::Resume(resume)));
    }

    fn malformed(&mut self) {
        let bad = self.bad_name();
        let lines: [(String, Code); 12] = [
            (String::new(), Code::BadRequest),
            ("GET".into(), Code::BadRequest),
            ("READ 1 2 x".into(), Code::BadRequest),
            ("READ 01 * * x".into(), Code::BadRequest),
            ("RESUME a.b 1 - x".into(), Code::BadRequest),
            ("RENAME a".into(), Code::BadRequest),
            ("FROB \u{1b}[2J".into(), Code::UnknownCommand),
            (" GET a".into(), Code::BadRequest),
            (format!("GET {bad}"), Code::BadName),
            (format!("STAT {bad}"), Code::BadName),
            (format!("MKDIR {bad}"), Code::BadName),
            (format!("RESUME id 5 - {bad}"), Code::BadName),
        ];
        let (line, code) = self.dice.pick(&lines).clone();
        self.ask(line, Asked::Invalid(code));
    }

    fn with(&mut self) {
        let (line, code) = *self.dice.pick(&[
            ("WITH color=blue", Code::Unsupported),
            ("with a=b c=", Code::Unsupported),
            ("WITH", Code::BadRequest),
            ("WITH nothing", Code::BadRequest),
        ]);
        self.with = Some(if self.with == Some(Code::BadRequest) { Code::BadRequest } else { code });
        self.item(line.into(), Vec::new(), None);
    }

    /// A line that ends the stream.
    fn garbage(&mut self) {
        let lines: [&[u8]; 6] =
            [b"DATA 5", b"END 00000000", b"STOP", b"GET / HTTP/1.1", b"PUT x HTTP/1.0", &[b'y'; 5000]];
        let line = *self.dice.pick(&lines);
        self.item(line.to_vec(), Vec::new(), Some(Asked::Closing(vec![Code::BadRequest])));
    }
}

/// Returns the bytes of a resumable upload: the same on every connection that has its id.
pub(crate) fn resumed_data(which: usize, size: u64) -> Vec<u8> {
    let mut data = Dice::new(size ^ (which as u64) << 32).bytes(size as usize);
    // The large ones have a hole in their middle.
    if size > 500_000 {
        data[200_000..450_000].fill(0);
    }
    data
}

/// Nothing behind it is looked at.
fn ends(item: &Item) -> bool {
    match &item.asked {
        Some(Asked::Put(Put { body, .. }) | Asked::Part(Part { body, .. })) => !body.broken.is_empty(),
        Some(Asked::Closing(_) | Asked::Bye) => true,
        _ => false,
    }
}

/// Returns the body that a client sends behind GO, and how far it then got.
pub(crate) fn resumed_body(dice: &mut Dice, resume: &Resume, offset: u64) -> (BodyFate, u64, Vec<u8>) {
    let rest = &resume.data[offset as usize..];
    let cut = dice.below(rest.len() + 1);
    let mut bytes = Vec::new();
    let crc = Crc32::of(&resume.data);
    let sound = BodyFate::default();
    let is_stream = resume.size.is_none();
    let broken = BodyFate { broken: vec![Code::BadRequest], ..sound.clone() };
    let (fate, sent, end) = match dice.below(12) {
        // What is not known ahead can't be too short, nor in parts; but too large.
        2 if is_stream && cut < rest.len() => {
            (BodyFate { fails: Some(Code::Checksum), ..sound }, cut, format!("END {crc}\n"))
        }
        // Of a body that was refused before, JOIN is the end as well.
        5 | 6 if is_stream => (broken, cut, format!("JOIN {crc}\nDATA 0\n")),
        7 if is_stream => {
            let hole = (UPLOAD_BYTES + 1).max(MIN_HOLE_BYTES);
            (BodyFate { fails: Some(Code::TooLarge), ..sound }, cut, format!("HOLE {hole}\nEND {crc}\n"))
        }
        0 | 1 => (BodyFate { fails: Some(Code::Stopped), ..sound }, cut, "STOP\n".to_owned()),
        2 if cut < rest.len() => (BodyFate { fails: Some(Code::Incomplete), ..sound }, cut, format!("END {crc}\n")),
        3 => (BodyFate { fails: Some(Code::Checksum), ..sound }, rest.len(), format!("END {}\n", Crc32(crc.0 ^ 1))),
        4 => (broken, cut, "DATA 0\n".to_owned()),
        5 if cut < rest.len() => (BodyFate { joins: true, ..sound }, cut, format!("JOIN {crc}\n")),
        6 => (sound, rest.len(), format!("JOIN {crc}\n")),
        _ => (sound, rest.len(), format!("END {crc}\n")),
    };
    blocks(dice, &rest[..sent], &mut bytes, true);
    bytes.extend_from_slice(end.as_bytes());
    (fate, offset + sent as u64, bytes)
}

/// Cuts `data` into blocks as the dice have it.
fn blocks(dice: &mut Dice, data: &[u8], bytes: &mut Vec<u8>, holes: bool) {
    let most = *dice.pick(&[7, 4_096, 65_536, 1 << 20, 1 << 20]);
    // Many tiny blocks of a large body would only take time.
    let most = if data.len() > 20_000 { most.max(4_096) } else { most };
    let mut rest = data;
    while !rest.is_empty() {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        if holes && zeros as u64 >= MIN_HOLE_BYTES && dice.happens(700) {
            let some = dice.between(MIN_HOLE_BYTES as usize, zeros);
            let hole = *dice.pick(&[zeros, some]);
            bytes.extend_from_slice(format!("HOLE {hole}\n").as_bytes());
            rest = &rest[hole..];
            continue;
        }
        let (block, after) = rest.split_at(most.min(rest.len()));
        bytes.extend_from_slice(format!("DATA {}\n", block.len()).as_bytes());
        bytes.extend_from_slice(block);
        rest = after;
    }
}
