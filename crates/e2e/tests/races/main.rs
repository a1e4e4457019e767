//! A directory and a file of the root are swapped with symbolic links that lead out of it, as fast as
//! can be, while clients ask everything of their names.
//!
//! One link leads out of the root, where Landlock would stop the server as well; another one leads to a
//! directory of the root that no client may reach, where only the server's own care does. Neither may
//! ever be read or changed. `FERRY_RACE_ROUNDS=5000` goes on longer; `--nocapture` shows the figures.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod secret;
mod swapper;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use ferry_e2e::{Frail, Options, Random, body, eventually, seed};

use secret::{Secret, gives_away};
use swapper::{Swapper, Way};

/// Clients at work at the same time.
const CLIENTS: u64 = 3;

/// Requests in a round of one client: each verb on each name, in random order.
const REQUESTS: [&str; 26] = [
    "GET d/f",
    "READ 0 * * d/f",
    "SUM d/f",
    "STAT d/f",
    "STAT d",
    "STAT d/hidden",
    "GET d/hidden",
    "LIST d",
    "LIST",
    "MKDIR d/made",
    "DELETE d/made",
    "DELETE d/f",
    "DELETE d/empty",
    "DELETE d/hidden",
    "RENAME d/f//d/g",
    "RENAME d/g//d/f",
    "RENAME d/hidden//taken",
    "RENAME own//d/brought",
    "RENAME d/brought//own",
    "GET l",
    "READ 1 5 * l",
    "SUM l",
    "STAT l",
    "RENAME l//m",
    "RENAME m//l",
    "DELETE l",
];

/// Uploads in a round of one client.
const UPLOADS: [&str; 5] = ["d/f", "d/put", "d/hidden", "l", "own"];

/// The bytes that clients put.
const PUT: &[u8] = b"put by a client";

/// How often each code, or each first word of a reply, was the answer.
type Outcomes = BTreeMap<String, u64>;

/// One client's rounds, until `rounds` of all of them are done.
struct Hammer<'a> {
    address: std::net::SocketAddr,
    random: Random,
    rounds: &'a AtomicU64,
    outcomes: Outcomes,
}

impl Hammer<'_> {
    fn run(mut self) -> Outcomes {
        let mut frail = Frail::greeted(self.address).expect("the server greets");
        while self.rounds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            for _ in 0..REQUESTS.len() {
                let request = REQUESTS[self.random.below(REQUESTS.len() as u64) as usize];
                let answer = frail.ask(request).expect("an answer");
                let said = format!("{}\n{}", answer.line, answer.closing.as_deref().unwrap_or_default());
                assert!(!gives_away(said.as_bytes()) && !gives_away(&answer.body), "{request}: {answer:?}");
                self.note(request, answer.code(), answer.line.split(' ').next());
            }
            for name in UPLOADS {
                self.upload(&mut frail, name);
            }
        }
        self.outcomes
    }

    fn upload(&mut self, frail: &mut Frail, name: &str) {
        let (size, id) = (PUT.len(), self.random.number());
        if self.random.below(2) == 0 {
            frail.send([format!("PUT {size} - {name}\n").as_bytes(), &body(PUT, 7)].concat()).unwrap();
        } else {
            let line = frail.ask(&format!("RESUME {id} {size} - {name}")).expect("an answer").line;
            if !line.starts_with("GO ") {
                return self.note("RESUME", line.split(' ').nth(1), None);
            }
            frail.send(body(PUT, 7)).unwrap();
        }
        let answer = frail.answer(false).expect("an answer");
        assert!(!gives_away(answer.line.as_bytes()), "{name}: {answer:?}");
        self.note("PUT or body", answer.code(), answer.line.split(' ').next());
    }

    fn note(&mut self, request: &str, code: Option<&str>, word: Option<&str>) {
        let verb = request.split(' ').next().unwrap_or_default();
        let outcome = format!("{verb} {}", code.or(word).unwrap_or_default());
        *self.outcomes.entry(outcome).or_default() += 1;
    }
}

/// Swaps `way` while clients hammer.
fn race(way: Way, inside: bool) {
    let rounds: u64 = std::env::var("FERRY_RACE_ROUNDS").map_or(60, |text| text.parse().expect("a number"));
    let (seed, outside) = (seed(), tempfile::tempdir().unwrap());
    let server = Options::new().arg("--durability").arg("none").arg("--log-level").arg("warn").start();
    let place = if inside { server.path(".ferry-secret") } else { outside.path().join("secret") };
    let secret = Secret::make(&place);
    let swapper = Swapper::new(server.root(), &place, way);
    let (left, done) = (AtomicU64::new(rounds), AtomicBool::new(false));
    let outcomes = Mutex::new(Outcomes::new());
    let swaps = thread::scope(|scope| {
        let swapping = scope.spawn(|| swapper.run(&done));
        let hammers: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let random = Random::new(seed ^ client);
                let hammer = Hammer { address: server.address(), random, rounds: &left, outcomes: Outcomes::new() };
                scope.spawn(|| {
                    for (outcome, count) in hammer.run() {
                        *outcomes.lock().unwrap().entry(outcome).or_default() += count;
                    }
                })
            })
            .collect();
        let ended: Vec<_> = hammers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a client was given what it must not have");
        swapping.join().unwrap()
    });
    secret.is_untouched();
    let outcomes = outcomes.into_inner().unwrap();
    let total: u64 = outcomes.values().sum();
    println!("{way:?}, inside {inside}: requests {total}, swaps {swaps}, seed {seed}, violations 0: {outcomes:?}");
    assert!(!inside || outside.path().read_dir().unwrap().next().is_none(), "something was made outside the root");
    assert!(inside || outside.path().read_dir().unwrap().count() == 1, "something was made outside the root");
    // Both sides of the race were met.
    assert!(outcomes.contains_key("STAT denied") && outcomes.contains_key("STAT FILE"), "{outcomes:?}");
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    eventually("nothing is staged", || staged(&server).then_some(()));
}

/// Whether nothing is staged.
fn staged(server: &ferry_e2e::Server) -> bool {
    let corner = server.path(".ferry").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut runs = corner.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("run-"));
    runs.all(|run| run.read_dir().unwrap().all(|entry| entry.unwrap().file_name() == "lock"))
}

#[test]
fn exchanged_with_a_link_that_leads_out() {
    race(Way::Exchange, false);
}

#[test]
fn exchanged_with_a_link_to_what_is_hidden_in_the_root() {
    race(Way::Exchange, true);
}

#[test]
fn removed_and_linked_to_what_lies_outside() {
    race(Way::RemoveAndLink, false);
}

#[test]
fn removed_and_linked_to_what_is_hidden_in_the_root() {
    race(Way::RemoveAndLink, true);
}
