//! Renames where the file system can't refuse to replace: each is exactly one server's, whatever
//! the other does between any two of its calls, and whenever it is killed.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use ferry_server::store::{Call, Change, Watcher};
use ferry_wire::Failure;
use rustix::io::Errno;
use tempfile::TempDir;

use crate::{
    acts::{Answer, Side, options},
    common::{
        client::name,
        enough, fresh_root, is_full,
        lack::Lack,
        none, places, show,
        tree::{self, Tree},
    },
    intruder::Intruder,
};

/// A file system that knows no `RENAME_NOREPLACE`, below a server that may be killed.
#[derive(Debug)]
struct Without {
    lack: Lack,
    intruder: Intruder,
    /// The calls that are left before it is killed.
    left: AtomicUsize,
}

impl Without {
    fn new(lack: Lack) -> Arc<Without> {
        Arc::new(Without { lack, intruder: Intruder::default(), left: AtomicUsize::new(usize::MAX) })
    }

    /// Makes no call any more after the next `calls`.
    fn kill_after(&self, calls: usize) {
        self.left.store(calls, Ordering::Relaxed);
    }

    fn is_dead(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

impl Watcher for Without {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        let next = |left: usize| (left > 0).then(|| if left == usize::MAX { left } else { left - 1 });
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_err() {
            return Err(Errno::IO);
        }
        self.intruder.before(call)?;
        self.lack.refuses(call).map_or(Ok(()), Err)
    }

    fn after(&self, _: &Call<'_>) {}
}

/// A request of a server.
#[derive(Clone, Copy)]
enum Act {
    Rename(&'static str, &'static str),
    Mkdir(&'static str),
    Delete(&'static str),
    Put(&'static str),
    Nothing,
}

impl Act {
    fn ask(self, side: &mut Side) -> String {
        let answer: Answer = match self {
            Act::Rename(from, to) => side.change(Change::Rename(name(from), name(to))),
            Act::Mkdir(at) => side.change(Change::Mkdir(name(at))),
            Act::Delete(at) => side.change(Change::Delete(name(at))),
            Act::Put(at) => side.put(at, b"of the other side"),
            Act::Nothing => Ok(String::new()),
        };
        answer.unwrap_or_else(|Failure { code, .. }| format!("FAIL {code}"))
    }
}

impl std::fmt::Display for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Act::Rename(from, to) => write!(f, "RENAME {from}//{to}"),
            Act::Mkdir(at) => write!(f, "MKDIR {at}"),
            Act::Delete(at) => write!(f, "DELETE {at}"),
            Act::Put(at) => write!(f, "PUT {at}"),
            Act::Nothing => f.write_str("nothing"),
        }
    }
}

const FIRST: [Act; 3] = [Act::Rename("a", "t"), Act::Rename("d", "t"), Act::Rename("e", "t")];

const SECOND: [Act; 20] = [
    Act::Nothing,
    Act::Rename("b", "t"),
    Act::Rename("a", "t"),
    Act::Rename("a", "y"),
    Act::Rename("t", "z"),
    Act::Rename("b", "a"),
    Act::Rename("d", "t"),
    Act::Rename("d", "y"),
    Act::Rename("e", "t"),
    Act::Rename("e", "y"),
    Act::Mkdir("t"),
    Act::Mkdir("t/n"),
    Act::Put("t"),
    Act::Put("a"),
    Act::Put("d/n"),
    Act::Delete("a"),
    Act::Delete("t"),
    Act::Delete("d"),
    Act::Delete("e"),
    Act::Delete("b"),
];

const BUSY: &str = "FAIL busy";

/// The answers of both, and the tree.
type Outcome = (String, String, Tree);

struct Two {
    root: TempDir,
    without: Arc<Without>,
    first: Side,
    second: Arc<Mutex<Side>>,
}

impl Two {
    fn new() -> Two {
        let root = fresh_root();
        for (file, bytes) in [("a", "of a"), ("b", "of b")] {
            fs::write(root.path().join(file), bytes).expect("a file");
        }
        for dir in ["d", "e"] {
            fs::create_dir(root.path().join(dir)).expect("a directory");
        }
        fs::write(root.path().join("d/in"), "in d").expect("a file");
        let without = Without::new(Lack::NoReplace);
        let first = Side::open(&options(root.path()), 10, Some(without.clone()));
        let second = Side::open(&options(root.path()), 20, Some(Without::new(Lack::NoReplace)));
        Two { root, without, first, second: Arc::new(Mutex::new(second)) }
    }

    fn ask_second(&self, act: Act) -> String {
        act.ask(&mut self.second.lock().expect("the other side"))
    }

    fn tree(&self) -> Tree {
        Tree::read(self.root.path())
    }

    /// Both servers end, the first one as it is, and the next one cleans up: nothing is left of any move.
    fn end(self, found: &mut Vec<String>) -> Tree {
        let Two { root, first, second, .. } = self;
        let options = first.options.clone();
        drop((first, second));
        let third = Side::open(&options, 30, Some(Without::new(Lack::NoReplace)));
        third.store.clean();
        let runs = tree::runs(root.path());
        if runs.len() != 1 || !runs[0].1.is_empty() {
            found.push(format!("directories of processes: {runs:?}"));
        }
        if let Ok(claims) = fs::read_dir(root.path().join(".ferry/moves")) {
            let claims: Vec<_> = claims.flatten().map(|claim| claim.file_name()).collect();
            if !claims.is_empty() {
                found.push(format!("claims are left: {claims:?}"));
            }
        }
        Tree::read(root.path())
    }
}

/// Returns the outcome of the two in this order; of one alone, the other being told busy.
fn serial(first: Act, second: Act, order: &[bool]) -> Outcome {
    let mut two = Two::new();
    let (mut one, mut other) = (BUSY.to_owned(), BUSY.to_owned());
    for is_second in order {
        match is_second {
            true => other = two.ask_second(second),
            false => one = first.ask(&mut two.first),
        }
    }
    let tree = two.tree();
    (one, other, tree)
}

#[test]
fn a_rename_is_one_servers_whatever_the_other_does_meanwhile() {
    let (mut runs, mut found) = (0, Vec::new());
    let pairs = FIRST.iter().flat_map(|first| SECOND.iter().map(move |second| (*first, *second)));
    // A file and a directory each way round: the other one is interrupted.
    let turned = [(SECOND[5], FIRST[0]), (SECOND[12], FIRST[0]), (SECOND[10], FIRST[1]), (SECOND[17], FIRST[1])];
    for (turn, (first, second)) in pairs.chain(turned).enumerate() {
        let orders: [&[bool]; 4] = [&[false, true], &[true, false], &[false], &[true]];
        let allowed: BTreeSet<_> = orders.map(|order| serial(first, second, order)).into();
        for nth in places(turn) {
            let mut two = Two::new();
            let between = Arc::new(Mutex::new(String::new()));
            let (side, answer) = (two.second.clone(), between.clone());
            two.without.intruder.arm_nth(nth, move || {
                *answer.lock().expect("the answer") = second.ask(&mut side.lock().expect("the other side"));
            });
            let one = first.ask(&mut two.first);
            if !two.without.intruder.disarm() {
                break;
            }
            runs += 1;
            let other = between.lock().expect("the answer").clone();
            let outcome = (one, other, two.tree());
            let mut here = Vec::new();
            if !allowed.contains(&outcome) {
                here.push(format!("{outcome:?} is none of {allowed:?}"));
            }
            let tree = two.end(&mut here);
            if tree != outcome.2 {
                here.push(format!("{:?} became {tree:?}", outcome.2));
            }
            found.extend(here.into_iter().map(|what| format!("{first} with {second}: {what} [call {nth}]")));
        }
    }
    show(format_args!("renames at two servers: runs {runs}, violations {}", found.len()));
    enough(runs, 500);
    none(&found);
}

#[test]
fn a_server_that_is_killed_in_a_rename_leaves_each_name_once() {
    let (mut runs, mut found) = (0, Vec::new());
    let pairs = FIRST.iter().flat_map(|first| SECOND.iter().map(move |second| (*first, *second)));
    for (number, (first, second)) in pairs.enumerate() {
        let allowed: BTreeSet<(String, Tree)> = [&[false, true][..], &[true, false], &[false], &[true]]
            .map(|order| serial(first, second, order))
            .map(|(_, other, tree)| (other, tree))
            .into_iter()
            .chain([(BUSY.to_owned(), Two::new().tree())])
            .collect();
        // The other server may know that the first has ended, or not yet: one of the two for each pair, but in a full
        // sweep.
        for known in [false, true].into_iter().filter(|known| is_full() || *known == (number % 2 == 0)) {
            for calls in places(number).map(|before| before + 1) {
                let mut two = Two::new();
                two.without.kill_after(calls);
                first.ask(&mut two.first);
                let was_killed = two.without.is_dead();
                two.without.kill_after(0);
                runs += 1;
                let mut here = Vec::new();
                if known {
                    let mut gone = Side::open(&two.first.options, 40, Some(Without::new(Lack::NoReplace)));
                    std::mem::swap(&mut two.first, &mut gone);
                    drop(gone);
                }
                let other = two.ask_second(second);
                let tree = two.end(&mut here);
                if !allowed.contains(&(other.clone(), tree.clone())) {
                    here.push(format!("{other}, {tree:?} is none of {allowed:?}"));
                }
                let place = format!("{first} killed, then {second}");
                found.extend(here.into_iter().map(|what| format!("{place}: {what} [call {calls}, known: {known}]")));
                if !was_killed {
                    break;
                }
            }
        }
    }
    show(format_args!("killed renames: runs {runs}, violations {}", found.len()));
    enough(runs, 1000);
    none(&found);
}
