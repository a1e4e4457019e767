//! A server that is stopped between any two of its system calls, until another machine's has taken
//! its upload, and then goes on. What it does then must touch nothing of the other one's.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use ferry_server::store::{Call, LeaseOptions, Store, StoreLimits, StoreOptions, Watcher};
use ferry_wire::{Code, Crc32, Failure, Reply};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::{
    acts::CHUNK,
    common::{
        self,
        client::{Client, Held, Resumed, id, name},
        dice::bytes,
        enough, fresh_root, none, places, show,
        tree::{self, Tree},
    },
    intruder::Intruder,
};

pub(crate) const ID: &str = "up";
pub(crate) const NAME: &str = "r";
/// Longer than a test takes.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
const BYTES: usize = 4 * CHUNK;

/// A file system whose locks may be of one machine alone, and perhaps an intruder between its calls.
#[derive(Debug)]
struct Foreign(Option<Arc<Intruder>>);

impl Watcher for Foreign {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        if let Some(intruder) = &self.0 {
            intruder.before(call)?;
        }
        match call {
            Call::FileSystem { .. } => Err(Errno::NOSYS),
            _ => Ok(()),
        }
    }

    fn after(&self, _: &Call<'_>) {}
}

/// Returns a server of the machine `machine`.
pub(crate) fn server(root: &Path, machine: &str, lifetime: Duration, intruder: Option<Arc<Intruder>>) -> Store {
    watched(root, machine, lifetime, Arc::new(Foreign(intruder)))
}

/// Does the same, and `watcher` sees its calls.
pub(crate) fn watched(root: &Path, machine: &str, lifetime: Duration, watcher: Arc<dyn Watcher>) -> Store {
    let leasing = LeaseOptions { node: Some(machine.into()), lifetime, machine: Some(machine.into()) };
    let options = StoreOptions { leasing, ..common::options(root) };
    Store::open_watched(&options, Some(watcher)).expect("a store")
}

/// One client of one server. All clients send the same first half.
pub(crate) struct Sender {
    root: PathBuf,
    pub(crate) store: Store,
    pub(crate) bytes: Vec<u8>,
    /// It was told GO.
    pub(crate) went: bool,
    pub(crate) saved: Option<Reply>,
}

impl Sender {
    pub(crate) fn new(root: &Path, store: Store, seed: u64) -> Sender {
        let bytes = [bytes(1, BYTES / 2), bytes(seed, BYTES / 2)].concat();
        Sender { root: root.into(), store, bytes, went: false, saved: None }
    }

    fn client(&self) -> Client<'_> {
        Client::new(&self.store, false)
    }

    fn resume(&mut self) -> Result<Option<Held>, Failure> {
        // A stream: its journal has no size to go by. Those of the interleaved requests have one.
        match self.client().resume(&id(ID), &name(NAME), None)? {
            Resumed::Saved(reply) => {
                self.saved = Some(reply);
                Ok(None)
            }
            Resumed::Going(held) => {
                self.went = true;
                // The whole file of the other one's client may be there: a client has one file alone.
                let offset = held.digest.bytes() as usize;
                if held.digest.crc() != Crc32::of(&self.bytes[..offset]) {
                    self.bytes[..offset].copy_from_slice(&tree::kept(&self.root, ID)[..offset]);
                }
                assert_eq!(held.digest.crc(), Crc32::of(&self.bytes[..offset]), "GO {offset}");
                Ok(Some(held))
            }
        }
    }

    fn send(&self, held: Held) -> Result<Held, Failure> {
        let at = held.digest.bytes() as usize;
        if at == BYTES {
            return Ok(held);
        }
        self.client().checkpoint(self.client().write_on(held, &self.bytes[at..at + CHUNK])?)
    }

    fn finish(&mut self, held: Held) -> Result<(), Failure> {
        let upload = self.client().finish(held, &self.bytes)?;
        self.saved = Some(self.client().publish(upload)?);
        Ok(())
    }
}

/// The work of the one that is stopped, and of the other one after that.
pub(crate) type Act = fn(&mut Sender) -> Result<(), Failure>;

pub(crate) fn to_the_end(sender: &mut Sender) -> Result<(), Failure> {
    match sender.resume()? {
        Some(held) => sender.finish(held),
        None => Ok(()),
    }
}

pub(crate) fn acts() -> [(&'static str, Act); 4] {
    [
        ("to the end", to_the_end),
        ("a chunk, cut", |sender| {
            let Some(held) = sender.resume()? else { return Ok(()) };
            let held = sender.send(held)?;
            sender.client().cut(held, Some(&bytes(9, 100)));
            Ok(())
        }),
        ("refused", |sender| {
            let Some(held) = sender.resume()? else { return Ok(()) };
            let held = sender.send(held)?;
            sender.client().refuse(held);
            Ok(())
        }),
        ("expired", |sender| {
            let keep = Duration::ZERO;
            sender.store.set_limits(&StoreLimits {
                max_staged: common::ROOM_BYTES,
                max_kept: 1000,
                keep,
                crc_cache: 0,
                small_cache: 0,
            });
            sender.store.clean();
            Ok(())
        }),
    ]
}

/// Makes what there is of an upload at the start.
pub(crate) type Begin = fn(&Path);

/// How the upload was begun, and by whom it is held at the start.
pub(crate) fn beginnings() -> [(&'static str, Begin); 4] {
    [
        ("nothing", |_| ()),
        ("let go", |root| {
            let mut first = Sender::new(root, server(root, "stopped", LIFETIME, None), 2);
            let held = first.resume().expect("GO").expect("GO");
            let held = first.send(held).expect("a chunk");
            first.client().cut(held, None);
            first.store.leave();
        }),
        ("killed", |root| {
            let mut first = Sender::new(root, server(root, "stopped", LIFETIME, None), 2);
            let held = first.resume().expect("GO").expect("GO");
            drop(first.send(held).expect("a chunk"));
        }),
        ("of a server that knew no leases", |root| {
            let first = Store::open(&common::options(root)).expect("a store");
            let mut first = Sender::new(root, first, 2);
            let held = first.resume().expect("GO").expect("GO");
            let held = first.send(held).expect("a chunk");
            first.client().cut(held, None);
            first.store.leave();
            assert!(root.join(".ferry/kept/up.data").exists(), "as it always was");
        }),
    ]
}

/// The one that takes over: to the end in between, or to the end when the other one has gone on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Taker {
    AtOnce,
    Later,
}

struct Run {
    root: TempDir,
    found: Vec<String>,
}

impl Run {
    fn check(&mut self, what: &str, holds: bool) {
        if !holds {
            self.found.push(what.to_owned());
        }
    }
}

/// One run; false where the act has no such call.
fn run(begin: Begin, (act, expires): (Act, bool), nth: usize, when: Taker, found: &mut Vec<String>) -> bool {
    let mut run = Run { root: fresh_root(), found: Vec::new() };
    begin(run.root.path());
    let intruder = Arc::new(Intruder::default());
    let mut stopped =
        Sender::new(run.root.path(), server(run.root.path(), "stopped", LIFETIME, Some(intruder.clone())), 3);
    // Whose server did not beat for no time at all has lost all that it had.
    let taker = Arc::new(Mutex::new((
        Sender::new(run.root.path(), server(run.root.path(), "taker", Duration::ZERO, None), 4),
        None::<Held>,
        None::<Failure>,
    )));
    let between = taker.clone();
    intruder.arm_nth(nth, move || {
        let mut taker = between.lock().expect("the taker");
        let (sender, held, failure) = &mut *taker;
        match sender.resume().and_then(|held| held.map(|held| sender.send(held)).transpose()) {
            Ok(Some(going)) if when == Taker::AtOnce => *failure = sender.finish(going).err(),
            Ok(going) => *held = going,
            Err(told) => *failure = Some(told),
        }
    });
    let ended = act(&mut stopped);
    if !intruder.disarm() {
        return false;
    }
    let mut taker = taker.lock().expect("the taker");
    let (sender, held, failure) = &mut *taker;
    if let Some(held) = held.take() {
        *failure = sender.finish(held).err();
    }
    run.check(&format!("the taker failed: {failure:?}"), failure.is_none());
    run.check("the taker was told nothing", sender.saved.is_some());
    let is_told = |failure: &Failure| matches!(failure.code, Code::Changed | Code::Busy);
    run.check(&format!("told {ended:?}"), ended.as_ref().map_or_else(is_told, |()| true));
    // Who was told GO and then SAVED has published.
    let published: Vec<_> = [&stopped, &*sender].into_iter().filter(|side| side.went && side.saved.is_some()).collect();
    run.check(&format!("{} published", published.len()), published.len() <= 1);
    let tree = Tree::read(run.root.path());
    let there = tree.file(NAME).map(<[u8]>::to_vec);
    if let [one] = published[..] {
        run.check("what was published is not there", there.as_deref() == Some(&one.bytes[..]));
    }
    for side in [&stopped, &*sender] {
        if let Some(Reply::Saved { crc, .. }) = &side.saved {
            run.check("another file than was told", there.as_deref().map(Crc32::of) == Some(*crc));
        }
    }
    // Whoever comes next is told so.
    let mut next = Sender::new(run.root.path(), server(run.root.path(), "next", Duration::ZERO, None), 5);
    let told = next.resume().map(|held| held.is_some());
    run.check(&format!("somebody was told GO afterwards: {told:?}"), told == Ok(false) || expires && told.is_ok());
    // Nothing stays for ever.
    let keep = Duration::ZERO;
    next.store.set_limits(&StoreLimits {
        max_staged: common::ROOM_BYTES,
        max_kept: 1000,
        keep,
        crc_cache: 0,
        small_cache: 0,
    });
    let kept = || fs::read_dir(run.root.path().join(".ferry/kept")).map(|entries| entries.count()).unwrap_or_default();
    next.store.clean();
    let left = kept();
    run.check(&format!("{left} uploads are left"), left == 0);
    found.extend(run.found);
    true
}

#[test]
fn a_holder_that_goes_on_after_another_took_its_upload_touches_nothing() {
    let (mut runs, mut found) = (0, Vec::new());
    for (beginning, begin) in beginnings() {
        for (turn, (what, act)) in acts().into_iter().enumerate() {
            for when in [Taker::AtOnce, Taker::Later] {
                for nth in places(turn) {
                    let mut here = Vec::new();
                    if !run(begin, (act, what == "expired"), nth, when, &mut here) {
                        break;
                    }
                    runs += 1;
                    let place = format!("{beginning}, {what}, {when:?}");
                    found.extend(here.into_iter().map(|what| format!("{place}: {what} [call {nth}]")));
                }
            }
        }
    }
    show(format_args!("stopped holders: runs {runs}, violations {}", found.len()));
    enough(runs, 500);
    none(&found);
}
