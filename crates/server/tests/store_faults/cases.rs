//! The requests that are swept.

use std::{fs, ops::Range, os::unix::fs::MetadataExt as _, sync::Arc, time::Duration};

use ferry_server::store::{Change, OpenError, Permissions, Store, StoreOptions, Touch};
use ferry_wire::{Code, Failure, Mode, Name, Reply, Time};
use tempfile::TempDir;

use crate::{
    common::{
        self,
        client::{Body, Client, Held, Resumed, Told, changing, id, name, publish},
        dice::bytes,
        lack::Lack,
        tree::{Node, Tree},
    },
    saboteur::{Kind, Saboteur},
    sweep::code_of,
};

/// A request, and what must be there before it.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The call that makes the change visible.
    pub(crate) commit: Option<Kind>,
    /// The loop finds nothing in the page cache.
    pub(crate) cold: bool,
    pub(crate) lack: Lack,
    /// The quota of all unfinished uploads together, where that is small.
    pub(crate) room: u64,
    /// Resumable uploads that the request touches: id, name, and the bytes of the whole.
    pub(crate) uploads: Vec<(&'static str, &'static str, Vec<u8>)>,
    pub(crate) prepare: fn(&mut Run),
    pub(crate) act: fn(&mut Run) -> Answer,
}

/// The answer to a client, without the parts that differ from run to run.
pub(crate) type Answer = Result<String, Failure>;

/// One run of a request.
pub(crate) struct Run {
    pub(crate) root: TempDir,
    pub(crate) options: StoreOptions,
    pub(crate) saboteur: Arc<Saboteur>,
    pub(crate) store: Option<Store>,
    pub(crate) cold: bool,
    /// How much of the resumable upload was promised to be kept.
    pub(crate) promised: u64,
    /// The parts beyond that were.
    pub(crate) promised_parts: Vec<Range<u64>>,
    /// The size of the resumable upload is told by its end alone.
    pub(crate) streams: bool,
}

impl Run {
    pub(crate) fn open(&mut self) -> Result<(), OpenError> {
        self.store = Some(Store::open_watched(&self.options, Some(self.saboteur.clone()))?);
        Ok(())
    }

    pub(crate) fn client(&self) -> Client<'_> {
        Client::new(self.store.as_ref().expect("an open store"), self.cold)
    }

    fn put(&mut self, to: &str, bytes: &[u8], chunk: usize, announced: bool, settled: bool) -> Told {
        self.client().put(&name(to), Body { bytes, chunk, announced, settled })
    }

    fn there(&mut self, to: &str, bytes: &[u8]) {
        self.put(to, bytes, CHUNK, true, true).expect("an undisturbed PUT");
    }

    fn dir(&mut self, to: &str) {
        self.client().change_tree(Change::Mkdir(name(to))).expect("an undisturbed MKDIR");
    }

    /// MKDIR with permissions, and what it has then.
    fn mkdir_with(&mut self, to: &str) -> Answer {
        let change = Change::MkdirWith(name(to), Permissions::new(Mode::of(0o070), Mode::ALL));
        let done = self.change(change)?;
        let there = fs::metadata(self.root.path().join(to)).expect("what was made");
        Ok(format!("{done} {:o}", there.mode() & 0o777))
    }

    /// TOUCH, and what is there then.
    fn touch(&mut self, of: &str) -> Answer {
        let permissions = (of != "d").then(|| Permissions::new(Mode::of(0o700), Mode::ALL));
        let mtime = Time::new(1_000_000_007, 0);
        let done = self.change(Change::Touch(Touch { name: name(of), mtime, permissions }))?;
        let there = fs::metadata(self.root.path().join(of)).expect("what was touched");
        Ok(format!("{done} {} {:o}", there.mtime(), there.mode() & 0o777))
    }

    /// Returns the size that is announced of a resumable upload.
    pub(crate) fn announced(&self, whole: &[u8]) -> Option<u64> {
        (!self.streams).then_some(whole.len() as u64)
    }

    /// RESUME, up to GO or SAVED.
    fn resumed(&mut self) -> Result<Result<Held, Reply>, Failure> {
        let resumed = self.client().resume(&id(ID), &name("r"), self.announced(&upload()))?;
        Ok(match resumed {
            Resumed::Saved(reply) => Err(reply),
            Resumed::Going(held) => {
                self.promised = self.promised.max(held.digest.bytes());
                Ok(held)
            }
        })
    }

    /// Sends the upload up to `end`, with a checkpoint behind every second chunk.
    fn send(&mut self, mut held: Held, end: usize) -> Result<Held, Failure> {
        let whole = upload();
        for index in 0.. {
            let at = held.digest.bytes() as usize;
            if at + CHUNK > end {
                break;
            }
            held = self.client().write_on(held, &whole[at..at + CHUNK])?;
            if index % 2 == 1 {
                held = self.client().checkpoint(held)?;
                self.promised = held.digest.bytes();
            }
        }
        Ok(held)
    }

    /// A whole RESUME, whatever was kept before.
    fn resume(&mut self) -> Answer {
        let held = match self.resumed()? {
            Err(reply) => return Ok(shown(&reply)),
            Ok(held) => held,
        };
        let held = self.send(held, upload().len())?;
        // From here on a failure may discard what was kept.
        let promised = std::mem::take(&mut self.promised);
        let finished = self.client().finish(held, &upload())?;
        self.promised = promised;
        self.client().publish(finished).map(|reply| shown(&reply))
    }

    /// Another connection sends these chunks. Where that fails, the one that holds the upload is cut.
    fn part(&mut self, held: Held, chunks: Range<usize>) -> Result<Held, Failure> {
        let (from, to) = (chunks.start * CHUNK, upload().len().min(chunks.end * CHUNK));
        let sent = self.client().part(&id(ID), &name("r"), from as u64, &upload()[from..to]);
        match sent {
            Ok(()) => Ok(held),
            Err(failure) => {
                self.client().cut(held, None);
                Err(failure)
            }
        }
    }

    /// A whole RESUME whose rest comes in parts, whatever was kept before.
    fn in_parts(&mut self) -> Answer {
        let held = match self.resumed()? {
            Err(reply) => return Ok(shown(&reply)),
            Ok(held) => held,
        };
        let parts = held.parts.clone();
        let held = self.send(held, 2 * CHUNK)?;
        let reach = held.digest.bytes();
        let mut held = held;
        for chunks in [4..6, 3..4, 2..3] {
            let first = (chunks.start * CHUNK) as u64;
            if first >= reach && !parts.iter().any(|part| part.contains(&first)) {
                held = self.part(held, chunks)?;
            }
        }
        let (promised, parts) = (std::mem::take(&mut self.promised), std::mem::take(&mut self.promised_parts));
        let finished = self.client().join(held, &upload())?;
        (self.promised, self.promised_parts) = (promised, parts);
        self.client().publish(finished).map(|reply| shown(&reply))
    }

    /// Two chunks, and two that came as parts, one of them noted in a checkpoint, the other one when it was cut.
    fn interrupted_in_parts(&mut self) {
        let held = self.resumed().expect("an undisturbed RESUME").expect("GO");
        let held = self.part(held, 4..6).expect("an undisturbed PART");
        let held = self.send(held, 2 * CHUNK).expect("undisturbed writes");
        let held = self.part(held, 3..4).expect("an undisturbed PART");
        self.client().cut(held, Some(&[]));
        self.promised = 2 * CHUNK as u64;
        self.promised_parts.push(3 * CHUNK as u64..upload().len() as u64);
    }

    fn interrupted(&mut self) {
        let held = self.resumed().expect("an undisturbed RESUME").expect("GO");
        let held = self.send(held, 3 * CHUNK).expect("undisturbed writes");
        self.client().cut(held, Some(&upload()[3 * CHUNK..3 * CHUNK + 100]));
        self.promised = 3 * CHUNK as u64 + 100;
    }

    fn interrupted_stream(&mut self) {
        self.streams = true;
        self.interrupted();
    }

    /// Whole and on the disk, but the server ended before it had its name.
    fn unpublished(&mut self) {
        let held = self.resumed().expect("an undisturbed RESUME").expect("GO");
        let held = self.send(held, upload().len()).expect("undisturbed writes");
        let finished = self.client().finish(held, &upload()).expect("an undisturbed end");
        drop(finished);
        self.promised = 0;
    }

    fn change(&mut self, change: Change) -> Answer {
        self.client().change_tree(change).map(|reply| shown(&reply))
    }
}

const CHUNK: usize = 4 << 10;
/// Enough for each request but those with huge files.
const ROOM_BYTES: u64 = 128 << 10;

const ID: &str = "some-id";

/// Returns the bytes that RESUME sends: five chunks and a bit.
fn upload() -> Vec<u8> {
    bytes(5, 5 * CHUNK + 77)
}

fn small() -> Vec<u8> {
    bytes(1, 3000)
}

fn large() -> Vec<u8> {
    bytes(2, 100 << 10)
}

/// Large enough for room to be set aside, and to be closed away from the loop.
fn huge() -> Vec<u8> {
    bytes(3, (1 << 20) + 4097)
}

/// Returns a reply without tags and times.
pub(crate) fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Saved { size, crc, .. } => format!("SAVED {size} {crc}"),
        Reply::File(meta) => format!("FILE {}", meta.size),
        Reply::Dir(_) => "DIR".into(),
        reply => format!("{reply:?}"),
    }
}

fn case(name: &'static str, commit: Option<Kind>, prepare: fn(&mut Run), act: fn(&mut Run) -> Answer) -> Case {
    Case { name, commit, cold: false, lack: Lack::Nothing, room: ROOM_BYTES, uploads: Vec::new(), prepare, act }
}

fn resuming(name: &'static str, commit: Option<Kind>, prepare: fn(&mut Run), act: fn(&mut Run) -> Answer) -> Case {
    Case { uploads: vec![(ID, "r", upload())], ..case(name, commit, prepare, act) }
}

/// Returns bytes with zeros at the beginning of a chunk, and at the end.
fn holey() -> Vec<u8> {
    let mut bytes = bytes(6, 4 * CHUNK + 999);
    bytes[CHUNK..CHUNK + 900].fill(0);
    bytes[3 * CHUNK..].fill(0);
    bytes
}

fn get(run: &mut Run, what: &str) -> Answer {
    run.client().get(&name(what)).map(|bytes| format!("{} {}", bytes.len(), ferry_wire::Crc32::of(&bytes)))
}

fn put(run: &mut Run, bytes: &[u8], chunk: usize, announced: bool, settled: bool) -> Answer {
    run.put("a", bytes, chunk, announced, settled).map(|reply| shown(&reply))
}

fn no_preparation(_: &mut Run) {}

pub(crate) fn reads() -> Vec<Case> {
    fn three(run: &mut Run) {
        run.there("a", &small());
        run.dir("d");
        run.there("d/b", &large());
    }
    vec![
        case("get, small", None, three, |run| get(run, "a")),
        case("get, large", None, three, |run| get(run, "d/b")),
        case("sum, small", None, three, |run| run.client().sum(&name("a")).map(|(size, crc)| format!("{size} {crc}"))),
        case("sum, large", None, three, |run| {
            run.client().sum(&name("d/b")).map(|(size, crc)| format!("{size} {crc}"))
        }),
        case("stat of a file", None, three, |run| run.client().stat(&name("a")).map(|reply| shown(&reply))),
        case("health", None, three, |run| run.client().health().map(|reply| shown(&reply))),
        // What else is on the disk changes meanwhile.
        case("space", None, three, |run| run.client().space().map(|_| "SPACE".into())),
        case("stat of a directory", None, three, |run| run.client().stat(&name("d")).map(|reply| shown(&reply))),
        case("list", None, three, |run| run.client().list(None).map(|lines| names(&lines))),
        case("list of a directory", None, three, |run| run.client().list(Some(&name("d"))).map(|lines| names(&lines))),
    ]
}

/// Returns the kinds and names of a listing, in order.
fn names(lines: &str) -> String {
    let mut names: Vec<_> =
        lines.lines().map(|line| format!("{} {}", &line[..1], line.rsplit(' ').next().unwrap_or_default())).collect();
    names.sort();
    names.join(", ")
}

pub(crate) fn puts() -> Vec<Case> {
    let rename = Some(Kind::Rename);
    let old: fn(&mut Run) = |run| {
        run.there("a", &bytes(4, 9000));
        run.there("other", &small());
    };
    let mut cases = vec![
        case("put, new", rename, no_preparation, |run| put(run, &small(), CHUNK, true, true)),
        case("put, empty", rename, no_preparation, |run| put(run, &[], CHUNK, true, true)),
        case("put, not settled", rename, old, |run| put(run, &small(), CHUNK, false, false)),
        case("put, replacing", rename, old, |run| put(run, &small(), CHUNK, true, true)),
        case("put, several chunks", rename, old, |run| put(run, &bytes(6, 4 * CHUNK + 9), CHUNK, true, false)),
        case("put, with holes", rename, old, |run| put(run, &holey(), CHUNK, true, true)),
        case("put, whole chunks", rename, old, |run| put(run, &bytes(6, 3 * CHUNK), CHUNK, false, true)),
        spacious(case(
            "put, replacing a large file",
            rename,
            |run| run.there("a", &huge()),
            |run| put(run, &small(), CHUNK, true, true),
        )),
        spacious(case("put, room set aside", rename, old, |run| put(run, &huge(), 512 << 10, true, true))),
        case(
            "put into a directory",
            rename,
            |run| run.dir("d"),
            |run| run.put("d/a", &small(), CHUNK, true, true).map(|reply| shown(&reply)),
        ),
    ];
    if common::is_full() {
        cases.push(spacious(case("put, written back early", rename, old, |run| {
            put(run, &bytes(7, (17 << 20) + 5), 2 << 20, true, true)
        })));
    }
    cases
}

pub(crate) fn resumes() -> Vec<Case> {
    let rename = Some(Kind::Rename);
    let mut cases = vec![
        resuming("resume, fresh", rename, no_preparation, Run::resume),
        resuming("resume, replacing", rename, |run| run.there("r", &small()), Run::resume),
        resuming("resume, interrupted before", rename, Run::interrupted, Run::resume),
        resuming("resume, whole before", rename, Run::unpublished, Run::resume),
        resuming("resume, published before", None, |run| drop(run.resume().expect("a RESUME")), Run::resume),
        resuming("resume, kept", None, no_preparation, |run| {
            let held = match run.resumed()? {
                Err(reply) => return Ok(shown(&reply)),
                Ok(held) => held,
            };
            let held = run.send(held, 3 * CHUNK)?;
            run.client().cut(held, Some(&upload()[3 * CHUNK..3 * CHUNK + 9]));
            Ok("kept".into())
        }),
        resuming("resume, cut at a checkpoint", None, Run::interrupted, |run| {
            let Ok(held) = run.resumed()? else { panic!("SAVED for what was kept") };
            run.client().cut(held, None);
            Ok("kept".into())
        }),
    ];
    cases.extend([
        resuming("stream, fresh", rename, |run| run.streams = true, Run::resume),
        resuming("stream, interrupted before", rename, Run::interrupted_stream, Run::resume),
        resuming(
            "stream, whole before",
            rename,
            |run| {
                run.streams = true;
                run.unpublished();
            },
            Run::resume,
        ),
        resuming(
            "stream, published before",
            None,
            |run| {
                run.streams = true;
                drop(run.resume().expect("a RESUME"));
            },
            Run::resume,
        ),
        resuming("stream, stopped", None, Run::interrupted_stream, |run| {
            let Ok(held) = run.resumed()? else { panic!("SAVED for what was kept") };
            run.promised = 0;
            run.client().refuse(held);
            Ok("discarded".into())
        }),
    ]);
    cases.extend([
        resuming("resume, in parts", rename, no_preparation, Run::in_parts),
        resuming("resume, in parts, some before", rename, Run::interrupted_in_parts, Run::in_parts),
        resuming("resume, over parts", rename, Run::interrupted_in_parts, |run| {
            // Nobody relies on what is written over.
            run.promised_parts = Vec::new();
            run.resume()
        }),
        resuming("resume, parts kept", None, no_preparation, |run| {
            let held = match run.resumed()? {
                Err(reply) => return Ok(shown(&reply)),
                Ok(held) => held,
            };
            let held = run.part(held, 2..4)?;
            let held = run.send(held, CHUNK)?;
            run.client().cut(held, Some(&upload()[CHUNK..CHUNK + 9]));
            Ok("kept".into())
        }),
        resuming("resume, in parts, with a gap", None, Run::interrupted_in_parts, |run| {
            let Ok(held) = run.resumed()? else { panic!("SAVED for what was kept") };
            let failure = run.client().join(held, &upload()).expect_err("a chunk is missing");
            if failure.code == Code::Incomplete { Ok("kept".into()) } else { Err(failure) }
        }),
    ]);
    for (name, prepare) in [
        ("resume, with a wrong crc", Run::interrupted as fn(&mut Run)),
        ("resume, whole, a wrong crc", Run::unpublished),
    ] {
        cases.push(resuming(name, None, prepare, |run| {
            let Ok(held) = run.resumed()? else { panic!("SAVED for what was kept") };
            run.promised = 0;
            run.client().refuse(held);
            Ok("discarded".into())
        }));
    }
    cases
}

pub(crate) fn changes() -> Vec<Case> {
    let (mkdir, unlink, rename) = (Some(Kind::Mkdir), Some(Kind::Unlink), Some(Kind::Rename));
    let both: fn(&mut Run) = |run| {
        run.dir("d");
        run.dir("e");
        run.there("d/a", &small());
        run.there("a", &huge());
    };
    let cases = vec![
        case("mkdir", mkdir, both, |run| run.change(Change::Mkdir(name("f")))),
        case("mkdir with permissions", mkdir, both, |run| run.mkdir_with("d/f")),
        case("mkdir in a directory", mkdir, both, |run| run.change(Change::Mkdir(name("d/f")))),
        case("delete of a file", unlink, both, |run| run.change(Change::Delete(name("d/a")))),
        case("delete of a large file", unlink, both, |run| run.change(Change::Delete(name("a")))),
        case("delete of a directory", unlink, both, |run| run.change(Change::Delete(name("e")))),
        case("touch of a file", Some(Kind::SetTime), both, |run| run.touch("a")),
        case("touch of a directory", Some(Kind::SetTime), both, |run| run.touch("d")),
        case("touch of a directory with permissions", Some(Kind::SetTime), both, |run| run.touch("e")),
        case("rename", rename, both, |run| run.change(Change::Rename(name("a"), name("b")))),
        case("rename elsewhere", rename, both, |run| run.change(Change::Rename(name("d/a"), name("e/b")))),
        case("rename of a directory", rename, both, |run| run.change(Change::Rename(name("d"), name("e/d")))),
    ];
    cases.into_iter().map(spacious).collect()
}

/// Returns the requests on file systems that lack something: those that do something else there, or
/// all of them in a full sweep.
pub(crate) fn lacking() -> Vec<Case> {
    let (full, mut cases) = (common::is_full(), Vec::new());
    for lack in Lack::ALL {
        let all = reads().into_iter().chain(puts()).chain(resumes()).chain(changes()).chain(housekeeping());
        let concerned = all.filter(|case| full || lack.concerns(case.name));
        cases.extend(concerned.map(|case| Case { lack, ..case }));
    }
    cases
}

impl Lack {
    fn concerns(self, request: &str) -> bool {
        match self {
            Lack::Nothing => false,
            // Servers of other machines may write there: what is resumed has other names.
            Lack::Kind => request == "put, new" || request.starts_with("resume") || request.starts_with("stream"),
            Lack::NoReplace | Lack::Links => request.starts_with("rename"),
            Lack::NoWait | Lack::CachedWalks => request.starts_with("get"),
            Lack::Room => request == "put, room set aside",
            Lack::FineTimes => matches!(request, "get, small" | "get, large" | "resume, whole before"),
        }
    }
}

fn spacious(case: Case) -> Case {
    Case { room: common::ROOM_BYTES, ..case }
}

pub(crate) fn housekeeping() -> Vec<Case> {
    vec![
        case(
            "open",
            None,
            |run| {
                run.there("a", &small());
                run.store = None;
            },
            open,
        ),
        case("open, the first time", None, forget_all, open),
        Case {
            uploads: vec![("kept", "k", upload()), ("whole", "w", upload()), ("published", "p", upload())],
            ..case("clean", None, leave_a_mess, |run| {
                run.store.as_ref().expect("an open store").clean();
                Ok(String::new())
            })
        },
    ]
}

fn forget_all(run: &mut Run) {
    run.store = None;
    std::fs::remove_dir_all(run.root.path().join(".ferry")).expect("a corner to remove");
}

fn open(run: &mut Run) -> Answer {
    match run.open() {
        Ok(()) => Ok(String::new()),
        Err(OpenError::Root { error, .. } | OpenError::Area { error, .. }) => {
            Err(Failure::new(code_of(error), "the store could not be opened"))
        }
        Err(error) => panic!("no store: {error}"),
    }
}

/// Uploads in each state, all of them expired, and the directory of a server that is gone.
fn leave_a_mess(run: &mut Run) {
    let size = upload().len() as u64;
    let going = |client: &mut Client<'_>, as_id: &str, to: &Name| match client.resume(&id(as_id), to, size) {
        Ok(Resumed::Going(held)) => held,
        _ => panic!("no GO for a new upload"),
    };
    let mut client = run.client();
    let held = going(&mut client, "kept", &name("k"));
    client.cut(held, Some(&upload()[..CHUNK]));
    let held = going(&mut client, "whole", &name("w"));
    drop(client.finish(held, &upload()).expect("an undisturbed end"));
    let held = going(&mut client, "published", &name("p"));
    let finished = client.finish(held, &upload()).expect("an undisturbed end");
    client.publish(finished).expect("an undisturbed publishing");
    let body = Body { bytes: &small(), chunk: 1000, announced: true, settled: true };
    drop(client.deliver(&name("x"), body).expect("an undisturbed PUT"));
    run.options.keep = Duration::ZERO;
    run.open().expect("a second store");
}

/// The effect of a change on the tree.
pub(crate) type Effect = fn(&mut Tree);

/// How many changes [`batch`] makes.
pub(crate) const BATCH: usize = 9;

/// Returns several changes that share their fsyncs, each with what it does to the tree.
pub(crate) fn batch(run: &mut Run) -> Vec<(Told, Effect)> {
    let mut client = run.client();
    let mut changes = Vec::new();
    let mut effects: Vec<Effect> = Vec::new();
    let (a, new) = (small(), large());
    let body = |bytes| Body { bytes, chunk: CHUNK, announced: true, settled: false };
    if let Ok(upload) = client.deliver(&name("a"), body(&a)) {
        changes.push(publish(upload));
        effects.push(|tree| tree.put("a", &small()));
    }
    if let Ok(upload) = client.deliver(&name("d/new"), body(&new)) {
        changes.push(publish(upload));
        effects.push(|tree| tree.put("d/new", &large()));
    }
    let shared: [(&str, Effect); 4] = [
        ("n1", |tree| tree.put("n1", &small())),
        ("n2", |tree| tree.put("n2", &small())),
        ("d/n3", |tree| tree.put("d/n3", &small())),
        ("a2", |tree| tree.put("a2", &small())),
    ];
    let puts: Vec<_> = shared.iter().map(|(to, _)| (name(to), a.as_slice())).collect();
    for (delivered, (_, effect)) in client.deliver_together(&puts).into_iter().zip(shared) {
        if let Ok(upload) = delivered {
            changes.push(publish(upload));
            effects.push(effect);
        }
    }
    changes.push(changing(Change::Mkdir(name("d/f"))));
    effects.push(|tree| drop(tree.0.insert("d/f".into(), Node::Dir)));
    changes.push(changing(Change::Delete(name("gone"))));
    effects.push(|tree| drop(tree.0.remove("gone")));
    changes.push(changing(Change::Rename(name("d/old"), name("moved"))));
    effects.push(|tree| {
        let node = tree.0.remove("d/old").expect("the old name");
        tree.0.insert("moved".into(), node);
    });
    client.change(changes).into_iter().zip(effects).collect()
}

/// Makes the files that [`batch`] finds.
pub(crate) fn before_batch(run: &mut Run) {
    run.there("a", &large());
    run.dir("d");
    run.there("d/old", &small());
    run.there("gone", &small());
}
