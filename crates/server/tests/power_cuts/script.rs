//! Workloads, and playing them.

use std::ops::Range;

use ferry_server::store::{Change, Store};

use crate::{
    common::{
        client::{Body, Client, Held, Resumed, changing, id, name, publish},
        dice::{Dice, bytes},
        lack::Lack,
    },
    recorder::Recorder,
    tus::{Ask, Tus},
    worlds::{Effect, Event, Facts, History, Verdict},
};

const CHUNK: usize = 1500;

/// A request of a batch.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Put(String, Vec<u8>),
    Mkdir(String),
    Delete(String),
    Rename(String, String),
    /// RESUME to its end, with a checkpoint behind each chunk.
    Resume {
        id: String,
        name: String,
        bytes: Vec<u8>,
    },
    /// RESUME to its end, the last chunks of which come as parts on other connections.
    Join {
        id: String,
        name: String,
        bytes: Vec<u8>,
    },
}

/// How a RESUME ends that does not reach its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// The connection is cut, and so many more bytes have arrived.
    Cut(usize),
    /// A write failed, or the server gave up.
    Checkpoint,
    /// The CRC was wrong.
    Refused,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Batch(Vec<Item>),
    /// RESUME of an upload, so many chunks of it.
    Part {
        id: String,
        name: String,
        bytes: Vec<u8>,
        chunks: usize,
        end: End,
    },
    /// RESUME of an upload, of which one chunk comes, and the others as parts.
    Split {
        id: String,
        name: String,
        bytes: Vec<u8>,
        end: End,
    },
    Clean,
    /// Requests over HTTP.
    Tus(Vec<Ask>),
}

/// Plays a script on a store, and writes down what its clients are told.
pub(crate) struct Player<'a> {
    client: Client<'a>,
    store: &'a Store,
    recorder: &'a Recorder,
    history: &'a mut History,
    lack: Lack,
    tus: Tus<'a>,
}

impl<'a> Player<'a> {
    pub(crate) fn new(store: &'a Store, recorder: &'a Recorder, history: &'a mut History, lack: Lack) -> Player<'a> {
        // Of each life ids of its own: it is the number of those that are known.
        let tus = Tus::new(store, recorder, history.facts_at(usize::MAX - 1).len() as u8);
        Player { client: Client::new(store, true), store, recorder, history, lack, tus }
    }

    pub(crate) fn play(&mut self, script: &[Step]) {
        for step in script {
            if self.recorder.is_dead() {
                return;
            }
            match step {
                Step::Batch(items) => self.batch(items),
                Step::Part { id, name, bytes, chunks, end } => self.part((id, name, bytes), *chunks, *end),
                Step::Split { id, name, bytes, end } => self.split((id, name, bytes), *end),
                Step::Clean => self.store.clean(),
                Step::Tus(asks) => asks.iter().for_each(|ask| {
                    if !self.recorder.is_dead() {
                        self.tus.ask(*ask, self.history);
                    }
                }),
            }
        }
    }

    fn verdict(&self, done: bool) -> Verdict {
        match done {
            true => Verdict::Done,
            false if self.recorder.is_dead() => Verdict::Unknown,
            false => Verdict::Refused,
        }
    }

    fn batch(&mut self, items: &[Item]) {
        let (mut changes, mut effects) = (Vec::new(), Vec::new());
        let small = items.iter().filter_map(|item| match item {
            Item::Put(to, bytes) if bytes.len() < CHUNK => Some((name(to), bytes.as_slice())),
            _ => None,
        });
        let mut together = self.client.deliver_together(&small.collect::<Vec<_>>()).into_iter();
        for item in items {
            match item {
                Item::Put(to, bytes) => {
                    let body = Body { bytes, chunk: CHUNK, announced: true, settled: false };
                    let delivered = match bytes.len() < CHUNK {
                        true => together.next().expect("an outcome for each small PUT"),
                        false => self.client.deliver(&name(to), body),
                    };
                    if let Ok(upload) = delivered {
                        changes.push(publish(upload));
                        effects.push(Effect::Put { name: to.clone(), bytes: bytes.clone(), id: None });
                    }
                }
                Item::Resume { id, name, bytes } => {
                    if let Some(upload) = self.whole((id, name, bytes)) {
                        changes.push(publish(upload));
                        effects.push(Effect::Put { name: name.clone(), bytes: bytes.clone(), id: Some(id.clone()) });
                    }
                }
                Item::Join { id, name, bytes } => {
                    if let Some(upload) = self.joined((id, name, bytes)) {
                        changes.push(publish(upload));
                        effects.push(Effect::Put { name: name.clone(), bytes: bytes.clone(), id: Some(id.clone()) });
                    }
                }
                Item::Mkdir(to) => {
                    changes.push(changing(Change::Mkdir(name(to))));
                    effects.push(Effect::Mkdir(to.clone()));
                }
                Item::Delete(what) => {
                    changes.push(changing(Change::Delete(name(what))));
                    effects.push(Effect::Delete(what.clone()));
                }
                Item::Rename(from, to) => {
                    changes.push(changing(Change::Rename(name(from), name(to))));
                    let (from, to) = (from.clone(), to.clone());
                    let in_steps = self.lack.of_rename();
                    effects.push(if in_steps { Effect::InSteps(from, to) } else { Effect::Rename(from, to) });
                }
            }
        }
        let begun = self.recorder.now();
        let told = self.client.change(changes);
        let effects = effects.into_iter().zip(told).map(|(effect, told)| (effect, self.verdict(told.is_ok())));
        let effects = effects.collect();
        self.history.events.push(Event::Batch { begun, ended: self.recorder.now(), effects });
    }

    /// RESUME: GO, and what it promises. [`None`] where it was refused, or published before.
    fn go(&mut self, (as_id, to, bytes): (&str, &str, &[u8])) -> Option<Held> {
        let (owned, at) = (as_id.to_owned(), self.recorder.now());
        self.history.events.push(Event::Begun { at, id: owned.clone(), name: to.into(), bytes: bytes.into() });
        match self.client.resume(&id(as_id), &name(to), announced(as_id, bytes)) {
            Err(_) => None,
            Ok(Resumed::Saved(_)) => {
                let now = self.recorder.now();
                let effects = vec![(Effect::Confirm(owned), Verdict::Done)];
                self.history.events.push(Event::Batch { begun: now, ended: now, effects });
                None
            }
            Ok(Resumed::Going(held)) => {
                self.promise(as_id, held.digest.bytes());
                self.promise_parts(as_id, held.parts.clone());
                Some(held)
            }
        }
    }

    fn promise(&mut self, id: &str, offset: u64) {
        if !self.recorder.is_dead() {
            self.history.events.push(Event::Promise { at: self.recorder.now(), id: id.into(), offset });
        }
    }

    fn promise_parts(&mut self, id: &str, parts: Vec<Range<u64>>) {
        if !self.recorder.is_dead() && !parts.is_empty() {
            self.history.events.push(Event::PromiseParts { at: self.recorder.now(), id: id.into(), parts });
        }
    }

    /// The holder is about to write over parts, if there are any there.
    fn write_over(&mut self, id: &str, end: usize) {
        self.history.events.push(Event::WriteOver { at: self.recorder.now(), id: id.into(), end: end as u64 });
    }

    /// One chunk, and parts behind it: the first one is there before a checkpoint, the other one not.
    fn parts(&mut self, (as_id, to, bytes): (&str, &str, &[u8]), held: Held) -> Option<(Held, Vec<Range<u64>>)> {
        let (reach, whole) = (held.digest.bytes(), bytes.len() as u64);
        let (first, middle, last) = (CHUNK as u64, 2 * CHUNK as u64..whole, CHUNK as u64..2 * CHUNK as u64);
        let mut there = held.parts.clone();
        let is_free = |there: &[Range<u64>], part: &Range<u64>| {
            part.start >= reach.max(first)
                && !there.iter().any(|other| other.start < part.end && part.start < other.end)
        };
        let mut held = held;
        for (part, goes_on) in [(middle, true), (last, false)] {
            if is_free(&there, &part) {
                let piece = &bytes[part.start as usize..part.end as usize];
                self.client.part(&id(as_id), &name(to), part.start, piece).ok()?;
                there.push(part);
            }
            if goes_on && reach == 0 {
                held = self.client.write_on(held, &bytes[..CHUNK]).ok()?;
                held = self.client.checkpoint(held).ok()?;
                self.promise(as_id, held.digest.bytes());
                self.promise_parts(as_id, there.clone());
            }
        }
        Some((held, there))
    }

    fn joined(&mut self, upload: (&str, &str, &[u8])) -> Option<std::sync::Arc<ferry_server::store::Upload>> {
        let held = self.go(upload)?;
        if held.digest.bytes() > CHUNK as u64 {
            self.write_over(upload.0, upload.2.len());
            return self.client.finish(held, upload.2).ok();
        }
        let held = self.parts(upload, held)?.0;
        self.client.join(held, upload.2).ok()
    }

    fn split(&mut self, upload: (&str, &str, &[u8]), end: End) {
        let Some(held) = self.go(upload) else { return };
        let Some((held, there)) = self.parts(upload, held) else { return };
        match end {
            End::Checkpoint => self.client.cut(held, None),
            End::Refused => {
                self.history.events.push(Event::Discard { at: self.recorder.now(), id: upload.0.into() });
                self.client.refuse(held);
            }
            End::Cut(_) => {
                self.client.cut(held, Some(&[]));
                self.promise_parts(upload.0, there);
            }
        }
    }

    fn chunks(&mut self, id: &str, mut held: Held, bytes: &[u8], chunks: usize) -> Option<Held> {
        for _ in 0..chunks {
            let at = held.digest.bytes() as usize;
            if at + CHUNK > bytes.len() {
                break;
            }
            self.write_over(id, at + CHUNK);
            held = self.client.write_on(held, &bytes[at..at + CHUNK]).ok()?;
            held = self.client.checkpoint(held).ok()?;
            self.promise(id, held.digest.bytes());
        }
        Some(held)
    }

    fn whole(&mut self, upload: (&str, &str, &[u8])) -> Option<std::sync::Arc<ferry_server::store::Upload>> {
        let held = self.go(upload)?;
        let held = self.chunks(upload.0, held, upload.2, usize::MAX)?;
        self.write_over(upload.0, upload.2.len());
        self.client.finish(held, upload.2).ok()
    }

    fn part(&mut self, upload: (&str, &str, &[u8]), chunks: usize, end: End) {
        let Some(held) = self.go(upload) else { return };
        let Some(held) = self.chunks(upload.0, held, upload.2, chunks) else { return };
        let at = held.digest.bytes() as usize;
        match end {
            End::Checkpoint => self.client.cut(held, None),
            End::Refused => {
                self.history.events.push(Event::Discard { at: self.recorder.now(), id: upload.0.into() });
                self.client.refuse(held);
            }
            End::Cut(more) => {
                let tail = &upload.2[at..upload.2.len().min(at + more)];
                self.write_over(upload.0, at + tail.len());
                self.client.cut(held, Some(tail));
                self.promise(upload.0, (at + tail.len()) as u64);
            }
        }
    }
}

/// Returns bytes of which some, where there are enough, are a hole.
fn holey(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = bytes(seed, length);
    if length >= 2 * CHUNK && seed.is_multiple_of(2) {
        bytes[CHUNK..2 * CHUNK - 100].fill(0);
    }
    bytes
}

fn put(name: &str, seed: u64, length: usize) -> Item {
    Item::Put(name.into(), holey(seed, length))
}

fn resume(number: u64) -> Item {
    let (id, name, bytes) = upload(number);
    Item::Resume { id, name, bytes }
}

fn part(number: u64, chunks: usize, end: End) -> Step {
    let (id, name, bytes) = upload(number);
    Step::Part { id, name, bytes, chunks, end }
}

fn join(number: u64) -> Item {
    let (id, name, bytes) = upload(number);
    Item::Join { id, name, bytes }
}

fn split(number: u64, end: End) -> Step {
    let (id, name, bytes) = upload(number);
    Step::Split { id, name, bytes, end }
}

/// The first of the uploads whose size their end alone tells, and which no parts can have.
const FIRST_STREAM: u64 = 5;

/// How many uploads there are.
const UPLOADS: u64 = 8;

/// Returns the resumable uploads of all scripts.
pub(crate) fn upload(number: u64) -> (String, String, Vec<u8>) {
    let name = ["r", "d/s", "a"][number as usize % 3];
    let id = if number < FIRST_STREAM { "id" } else { STREAM };
    (format!("{id}-{number}"), name.into(), holey(1000 + number, 3 * CHUNK + 100 * number as usize))
}

/// The beginning of the ids of streams.
const STREAM: &str = "stream";

/// Returns the size that is announced of an upload.
pub(crate) fn announced(id: &str, bytes: &[u8]) -> Option<u64> {
    (!id.starts_with(STREAM)).then_some(bytes.len() as u64)
}

pub(crate) fn workloads() -> Vec<(&'static str, Vec<Step>)> {
    let (mkdir, delete) = (|name: &str| Item::Mkdir(name.into()), |name: &str| Item::Delete(name.into()));
    let rename = |from: &str, to: &str| Item::Rename(from.into(), to.into());
    let one = |item| Step::Batch(vec![item]);
    vec![
        (
            "small puts that share a sync",
            vec![Step::Batch((1..=6).map(|number| put(&format!("s{number}"), number, 100)).collect())],
        ),
        ("puts in a batch", vec![Step::Batch(vec![put("a", 1, 700), put("b", 2, 2 * CHUNK), put("c", 3, 0)])]),
        (
            "replacing",
            vec![one(put("a", 1, 4000)), one(put("a", 2, 900)), Step::Batch(vec![put("a", 3, 5000), put("a", 4, 9)])],
        ),
        (
            "mkdir and put into it",
            vec![
                Step::Batch(vec![mkdir("d"), put("d/a", 1, 2000), mkdir("d/e"), put("d/e/b", 2, 10)]),
                one(put("d/a", 3, 100)),
            ],
        ),
        (
            "renames",
            vec![
                Step::Batch(vec![put("a", 1, 2000), mkdir("d"), mkdir("e")]),
                Step::Batch(vec![rename("a", "d/b"), rename("d", "e/f")]),
                Step::Batch(vec![put("a", 2, 300), rename("e/f/b", "c")]),
            ],
        ),
        (
            "deletes",
            vec![
                Step::Batch(vec![put("a", 1, 2000), mkdir("d"), put("d/b", 2, 20)]),
                Step::Batch(vec![delete("a"), delete("d/b"), delete("d")]),
                Step::Batch(vec![put("a", 3, 20), delete("a"), put("a", 4, 30)]),
            ],
        ),
        (
            "resume, cut, resume, again",
            vec![part(0, 2, End::Cut(70)), part(0, 0, End::Checkpoint), one(resume(0)), one(resume(0))],
        ),
        (
            "resume in a new directory",
            vec![
                part(2, 1, End::Cut(0)),
                Step::Batch(vec![mkdir("d"), put("x", 1, 5)]),
                Step::Batch(vec![resume(1), put("d/x", 2, 5), resume(2)]),
                Step::Clean,
            ],
        ),
        (
            "stream, cut, resume, again",
            vec![part(6, 2, End::Cut(70)), part(6, 0, End::Checkpoint), one(resume(6)), one(resume(6))],
        ),
        (
            "stream, whole, refused, stopped, anew",
            vec![
                part(6, 3, End::Cut(0)),
                Step::Batch(vec![mkdir("r"), resume(6)]),
                Step::Batch(vec![delete("r")]),
                part(6, 0, End::Refused),
                one(resume(6)),
            ],
        ),
        ("in parts", vec![one(join(0)), one(join(0))]),
        ("parts, cut, the rest in parts", vec![split(0, End::Cut(0)), split(0, End::Checkpoint), one(join(0))]),
        ("parts, cut at a checkpoint, parts again", vec![split(3, End::Checkpoint), one(join(3))]),
        ("parts, cut, written over", vec![split(0, End::Cut(0)), part(0, 2, End::Cut(70)), one(resume(0))]),
        ("parts, refused, parts", vec![split(3, End::Cut(0)), split(3, End::Refused), one(join(3)), Step::Clean]),
        ("resume, refused, resume", vec![part(0, 3, End::Cut(9)), part(0, 0, End::Refused), one(resume(0))]),
        (
            "resume, whole, refused",
            vec![
                part(3, 3, End::Cut(400)),
                // Whole, but a directory took its name meanwhile.
                Step::Batch(vec![mkdir("r"), resume(3)]),
                Step::Batch(vec![delete("r")]),
                part(3, 0, End::Refused),
                one(resume(3)),
            ],
        ),
        (
            "tus, in pieces",
            vec![Step::Tus(vec![
                Ask::Create(0, 0),
                Ask::Piece(0, CHUNK),
                Ask::Look(0),
                Ask::Cut(0, 70),
                Ask::Look(0),
                Ask::Rest(0),
                Ask::Look(0),
            ])],
        ),
        (
            "tus, of two, one dropped",
            vec![Step::Tus(vec![Ask::Create(3, CHUNK), Ask::Create(2, 0), Ask::Drop(3), Ask::Look(2), Ask::Drop(2)])],
        ),
        (
            "tus, whole, refused, named by a look",
            vec![
                Step::Tus(vec![Ask::Create(3, 0), Ask::Piece(3, CHUNK)]),
                Step::Batch(vec![mkdir("r")]),
                Step::Tus(vec![Ask::Rest(3)]),
                Step::Batch(vec![delete("r")]),
                Step::Tus(vec![Ask::Look(3)]),
            ],
        ),
    ]
}

/// Returns an upload whose id gives way to another one: without bytes, whole, but it could not have its name.
pub(crate) fn forgotten() -> Vec<Step> {
    let empty = Item::Resume { id: "empty".into(), name: "r".into(), bytes: Vec::new() };
    vec![Step::Batch(vec![Item::Mkdir("r".into()), empty]), Step::Batch(vec![resume(2)])]
}

/// Returns a script of so many steps, some of which are refused.
pub(crate) fn random(dice: &mut Dice, steps: usize) -> Vec<Step> {
    (0..steps).map(|_| step(dice)).collect()
}

fn step(dice: &mut Dice) -> Step {
    match dice.below(10) {
        9 => Step::Tus((0..=dice.below(4)).map(|_| ask(dice)).collect()),
        7 => split(dice.next() % 5, End::Cut(0)),
        8 => split(dice.next() % 5, *dice.pick(&[End::Checkpoint, End::Refused])),
        0 => part(dice.next() % 5, dice.below(4), End::Cut(dice.below(200))),
        1 => part(dice.next() % 5, dice.below(4), *dice.pick(&[End::Checkpoint, End::Refused])),
        2 if dice.one_in(2) => Step::Clean,
        _ => Step::Batch((0..=dice.below(4)).map(|_| item(dice)).collect()),
    }
}

fn ask(dice: &mut Dice) -> Ask {
    let number = dice.next() % 3;
    match dice.below(6) {
        0 | 1 => Ask::Create(number, dice.below(2) * CHUNK),
        2 => Ask::Piece(number, 1 + dice.below(CHUNK)),
        3 => Ask::Cut(number, dice.below(200)),
        4 => Ask::Rest(number),
        _ if dice.one_in(2) => Ask::Drop(number),
        _ => Ask::Look(number),
    }
}

fn item(dice: &mut Dice) -> Item {
    const NAMES: [&str; 6] = ["a", "b", "d/x", "d/y", "e/z", "d/f/w"];
    const DIRS: [&str; 4] = ["d", "e", "d/f", "e/f"];
    match dice.below(10) {
        0..4 => {
            let (name, length): (&str, _) = (*dice.pick(&NAMES), dice.below(3 * CHUNK));
            put(name, dice.next(), length)
        }
        4 | 5 => Item::Mkdir((*dice.pick(&DIRS)).into()),
        6 => Item::Delete((*dice.pick(&NAMES)).into()),
        7 if dice.one_in(2) => Item::Rename((*dice.pick(&DIRS)).into(), (*dice.pick(&DIRS)).into()),
        7 => Item::Rename((*dice.pick(&NAMES)).into(), (*dice.pick(&NAMES)).into()),
        8 if dice.one_in(2) => join(dice.next() % FIRST_STREAM),
        _ => resume(dice.next() % UPLOADS),
    }
}

/// Returns the steps of clients after their server ended: each resumes its upload, to its end or
/// not; and somebody uploads something else.
pub(crate) fn recovery(facts: &Facts, dice: &mut Dice) -> Vec<Step> {
    let mut steps = Vec::new();
    for (id, fact) in facts {
        let (id, name, bytes) = (id.clone(), fact.name.clone(), fact.bytes.clone());
        let (chunks, end) = (dice.below(2), if dice.one_in(2) { End::Checkpoint } else { End::Cut(50) });
        let most = if announced(&id, &bytes).is_some() { 5 } else { 3 };
        steps.push(match dice.below(most) {
            3 => Step::Split { id, name, bytes, end },
            4 => Step::Batch(vec![Item::Join { id, name, bytes }]),
            0 => Step::Batch(vec![Item::Resume { id, name, bytes }]),
            _ => Step::Part { id, name, bytes, chunks, end },
        });
    }
    steps.push(Step::Batch(vec![put("after", dice.next(), 40)]));
    steps
}
