//! Every pair of requests, one of them between any two system calls of the other.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use ferry_server::store::{LeaseOptions, StoreOptions, Watcher};
use ferry_wire::Code;
use tempfile::TempDir;

use crate::{
    acts::{Act, ROOM_BYTES, Side, acts, options, prepare, upload},
    common::{
        client::name,
        dice::bytes,
        enough, fresh_root, none, places, show,
        tree::{self, Tree},
    },
    intruder::Intruder,
};

/// The outcome of two requests: the answers of each, and the tree that clients see.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Outcome {
    first: [String; 2],
    second: [String; 2],
    tree: Tree,
}

/// Returns an answer, as it is compared.
fn said(answer: Result<String, ferry_wire::Failure>) -> String {
    answer.unwrap_or_else(|failure| format!("FAIL {}", failure.code))
}

/// Where the two servers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Machine,
    /// On two, and nothing is known of the locks of their file system.
    Machines,
}

const BUSY: &str = "FAIL busy";

struct Two {
    root: TempDir,
    intruder: Arc<Intruder>,
    first: Side,
    second: Arc<Mutex<Side>>,
}

impl Two {
    fn new(place: Place) -> Two {
        let root = fresh_root();
        let intruder = Arc::new(Intruder::of(place == Place::Machines));
        let of = |machine: &str| {
            let machine = (place == Place::Machines).then(|| machine.to_owned());
            StoreOptions { leasing: LeaseOptions { machine, ..LeaseOptions::default() }, ..options(root.path()) }
        };
        let mut first = Side::open(&of("first"), 10, Some(intruder.clone()));
        prepare(&mut first);
        let none: Option<Arc<dyn Watcher>> = match place {
            Place::Machine => None,
            Place::Machines => Some(Arc::new(Intruder::of(true))),
        };
        let second = Arc::new(Mutex::new(Side::open(&of("second"), 20, none)));
        Two { root, intruder, first, second }
    }

    fn ends(&mut self, first: Act, second: Act, answers: [Option<String>; 2]) -> Outcome {
        let [one, two] = answers.map(Option::unwrap_or_default);
        let first = [one, said((first.after)(&mut self.first))];
        let second = [two, said((second.after)(&mut self.second.lock().expect("the other side")))];
        Outcome { first, second, tree: Tree::read(self.root.path()) }
    }
}

/// One after the other, or one alone.
fn serial(place: Place, first: Act, second: Act, order: &[bool]) -> Outcome {
    let mut two = Two::new(place);
    let mut answers = [None, None];
    for &is_second in order {
        let answer = match is_second {
            true => said((second.act)(&mut two.second.lock().expect("the other side"))),
            false => said((first.act)(&mut two.first)),
        };
        answers[usize::from(is_second)] = Some(answer);
    }
    two.ends(first, second, answers)
}

/// Returns all that may come of the two.
fn allowed(place: Place, first: Act, second: Act) -> BTreeSet<Outcome> {
    let (mut alone, mut other) = (serial(place, first, second, &[false]), serial(place, first, second, &[true]));
    // A side that finds the upload leased is told so, and the other one notices nothing.
    alone.second[0] = BUSY.into();
    other.first[0] = BUSY.into();
    [serial(place, first, second, &[false, true]), serial(place, first, second, &[true, false]), alone, other].into()
}

/// Returns whether requests in parts ended as they must, for any requests between them.
fn ended_as_held(outcome: &Outcome) -> bool {
    [&outcome.first, &outcome.second].iter().all(|[begun, ended]| begun != "held" || ended.contains(", SAVED "))
}

/// One run; false where the request has no such call.
fn run(
    place: Place,
    first: Act,
    second: Act,
    nth: usize,
    allowed: &BTreeSet<Outcome>,
    found: &mut Vec<String>,
) -> bool {
    let mut two = Two::new(place);
    let between = Arc::new(Mutex::new(None));
    let (side, answer) = (two.second.clone(), between.clone());
    two.intruder.arm_nth(nth, move || {
        let told = said((second.act)(&mut side.lock().expect("the other side")));
        *answer.lock().expect("the answer") = Some(told);
    });
    let told = said((first.act)(&mut two.first));
    if !two.intruder.disarm() {
        return false;
    }
    let between = between.lock().expect("the answer").take();
    let outcome = two.ends(first, second, [Some(told), between]);
    if !ended_as_held(&outcome) {
        found.push(format!("{outcome:?}: what was held did not end well"));
    }
    if !allowed.contains(&outcome) && !first.in_parts {
        found.push(format!("{outcome:?} is none of {allowed:?}"));
    }
    tags_are_true(&two, found);
    upload_ends_well(&mut two, found);
    room_is_left(&mut two, found);
    third_server(place, two, found);
    true
}

/// Where the tag that was told is that of the file, the CRC is that of its content.
fn tags_are_true(two: &Two, found: &mut Vec<String>) {
    let tree = Tree::read(two.root.path());
    let second = two.second.lock().expect("the other side");
    for (to, crc, tag) in two.first.saved.iter().chain(&second.saved) {
        let mut line = Vec::new();
        if let Ok(reply) = second.client().stat(&name(to)) {
            reply.encode(&mut line);
        }
        let there = tree.file(to).map(|bytes| ferry_wire::Crc32::of(bytes).to_string());
        let told = String::from_utf8(line).expect("a line in UTF-8");
        if told.trim_end().ends_with(&format!(" {tag}")) && there.as_ref() != Some(crc) {
            found.push(format!("told that {to} at {tag} has the CRC {crc}, but it has {there:?}"));
        }
    }
}

/// RESUME afterwards, at either server, ends with the whole.
fn upload_ends_well(two: &mut Two, found: &mut Vec<String>) {
    let mut second = two.second.lock().expect("the other side");
    for side in [&mut *second, &mut two.first] {
        let ended = match side.resume() {
            Ok(None) => side.finish().map(|_| true),
            Ok(Some(_)) => Ok(false),
            Err(failure) => Err(failure),
        };
        let whole = Tree::read(two.root.path()).file("r") == Some(&upload()[..]);
        match ended {
            Ok(published) if !published || whole => {}
            // Another request of the run put a directory there.
            Err(failure) if failure.code == Code::NotAFile => {}
            ended => found.push(format!("RESUME afterwards: {ended:?}, whole: {whole}")),
        }
    }
}

/// Nothing counts any more of what has ended, at either server.
fn room_is_left(two: &mut Two, found: &mut Vec<String>) {
    let mut second = two.second.lock().expect("the other side");
    for side in [&mut *second, &mut two.first] {
        for _ in 0..2 {
            if let Err(failure) = side.put("probe", &bytes(3, usize::try_from(ROOM_BYTES).expect("little"))) {
                found.push(format!("PUT of all the room afterwards: {failure}"));
            }
        }
    }
}

/// A server that ends cleanly leaves nothing, and the next one cleans up after those that do not.
fn third_server(place: Place, two: Two, found: &mut Vec<String>) {
    let Two { root, first, second, .. } = two;
    let options = first.options.clone();
    first.store.leave();
    drop(first);
    if place == Place::Machines {
        // One of another machine that was killed would have to be watched for long.
        second.lock().expect("the other side").store.leave();
    }
    drop(second);
    let third = Side::open(&options, 30, None);
    third.store.clean();
    let runs = tree::runs(root.path());
    if runs.len() != 1 {
        found.push(format!("directories of processes: {runs:?}"));
    }
}

#[test]
fn requests_at_two_servers_are_as_one_after_the_other() {
    sweep(Place::Machine, |_| true);
}

#[test]
fn resumed_uploads_at_two_machines_are_as_one_after_the_other() {
    sweep(Place::Machines, |act| act.name.starts_with("RESUME") || act.name.starts_with("PUT r"));
}

fn sweep(place: Place, concerns: fn(&Act) -> bool) {
    let (mut runs, mut pairs, mut found) = (0, 0, Vec::new());
    for first in acts().into_iter().filter(concerns) {
        for second in acts().into_iter().filter(concerns) {
            let allowed = allowed(place, first, second);
            pairs += 1;
            for nth in places(pairs) {
                let mut here = Vec::new();
                if !run(place, first, second, nth, &allowed, &mut here) {
                    break;
                }
                runs += 1;
                let place = format!("{place:?}: {} with {}", first.name, second.name);
                found.extend(here.into_iter().map(|what| format!("{place}: {what} [call {nth}]")));
            }
        }
    }
    show(format_args!("two stores, {place:?}: pairs {pairs}, runs {runs}, violations {}", found.len()));
    enough(runs, 1000);
    none(&found);
}
