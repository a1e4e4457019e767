//! The same over HTTP, where each request says by itself who makes it: one at a time, while the users file changes under it.
//!
//! What is done, and what is told of a name, was permitted by one of the tables that held meanwhile; what all of them
//! permit is not refused. A secret is checked once, until the users file changes.

use std::time::SystemTime;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ferry_server::protocol::http::{DayClock, HttpSession, tus::UploadIds};

use super::*;
use crate::web::{WebAnswer, WebReader};

const CONTENT: &[u8] = b"by HTTP";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Read,
    Put,
    Delete,
    Mkcol,
    List,
}

struct Browsers {
    dice: Dice,
    now: Instant,
    limits: Arc<Limits>,
    store: Store,
    tables: Vec<Table>,
    users: Arc<Users>,
    session: HttpSession<Model>,
    reader: WebReader,
    /// The operations of the store, also for requests that are answered.
    jobs: VecDeque<Operation<Model>>,
    /// The user whose secret the connection knows to be right.
    known: Option<usize>,
    logins: u64,
    figures: Figures,
}

#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    done: u64,
    denied: u64,
    reloaded: u64,
    spared: u64,
}

impl Browsers {
    fn new(seed: u64) -> Browsers {
        let mut dice = Dice::new(seed ^ 0x4854_5450);
        let mut tree = Tree::default();
        tree.mkdir("h0").unwrap();
        let table = Table::draw(&mut dice, 1);
        let hour = Duration::from_secs(3600);
        let limits = Arc::new(Limits {
            node: None,
            read_only: false,
            volatile: false,
            kept_modes: None,
            upload_bytes: 1 << 20,
            timeouts: Timeouts { idle: hour, request: hour, window: hour, window_bytes: 1 },
            checkpoint_bytes: 1 << 20,
            checkpoint_time: hour,
            keep: hour,
        });
        let (now, users) = (Instant::now(), table.users());
        let mut store = Store::new(tree, 0, Dice::new(seed ^ 1));
        store.doubt_rate = 0;
        let session = connect(&limits, &users, now);
        let (tables, reader, figures) = (vec![table], WebReader::default(), Figures::default());
        let (jobs, known, logins) = (VecDeque::new(), None, 0);
        Browsers { dice, now, limits, store, tables, users, session, reader, jobs, known, logins, figures }
    }

    fn request(&mut self) {
        let deed = *self.dice.pick(&[Deed::Read, Deed::Put, Deed::Put, Deed::Delete, Deed::Mkcol, Deed::List]);
        let name = format!("h0/{}", self.dice.pick(&NAMES));
        let (who, is_right) = (self.dice.below(4), self.dice.happens(900));
        let secret = if is_right { "right" } else { "wrong" };
        let fields = USERS.get(who).map_or(String::new(), |user| {
            format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("{user}:{secret}")))
        });
        let line = match deed {
            Deed::Read => format!("GET /{name}"),
            Deed::Put => format!("PUT /{name}"),
            Deed::Delete => format!("DELETE /{name}"),
            Deed::Mkcol => format!("MKCOL /{name}/"),
            Deed::List => format!("GET /{name}/?json"),
        };
        let body = if deed == Deed::Put { CONTENT } else { b"" };
        let length = if deed == Deed::Put { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        let head = format!("{line} HTTP/1.1\r\nHost: h\r\n{length}{fields}\r\n");
        let (before, first, logins) = (self.store.tree.clone(), self.tables.len() - 1, self.logins);
        let was_known = who != NOBODY && is_right && self.known == Some(who);
        let answer = self.ask(&[head.as_bytes(), body].concat(), who);
        let has_asked = self.logins > logins;
        if first + 1 == self.tables.len() {
            let is_due = who != NOBODY && !was_known;
            assert_eq!(has_asked, is_due, "a login is checked where its secret is not known, and only there: {line}");
            self.figures.spared += u64::from(was_known);
        }
        let tables = self.tables[first..].to_vec();
        self.hold(deed, (who, is_right), (&name, &before), &tables, &answer);
        if answer.closes() {
            while let Some(operation) = self.jobs.pop_front() {
                let completion = self.store.run(0, operation);
                self.session.complete(completion, self.now);
                self.jobs.extend(std::iter::from_fn(|| self.session.next_operation()));
            }
            self.session = connect(&self.limits, &self.users, self.now);
            (self.reader, self.known) = (WebReader::default(), None);
        }
    }

    /// Holds an answer against the rights that there were.
    fn hold(
        &mut self,
        deed: Deed,
        (who, is_right): (usize, bool),
        (name, before): (&str, &Tree),
        tables: &[Table],
        answer: &WebAnswer,
    ) {
        let (status, what) = (answer.status, format!("{deed:?} of {name} by {who}: {} in {tables:?}", answer.status));
        let is_done = matches!(status, 200..300);
        assert!(is_done || self.store.tree == *before, "{what}: it was refused, and changed something");
        if who != NOBODY && !is_right {
            assert_eq!(status, 401, "{what}");
            return;
        }
        let found = before.find(name);
        let permits = |table: &Table| match deed {
            Deed::Read => table.may(who, "read", name),
            Deed::Put => table.may(who, if found.is_ok() { "change" } else { "add" }, name),
            Deed::Delete => table.may(who, "change", name) && table.beneath(who, name).all(|word| word != "none"),
            Deed::Mkcol => table.may(who, "add", name),
            Deed::List => table.may(who, "list", name) || table.leads(who, name),
        };
        let is_told = is_done || status == 404 && matches!(deed, Deed::Read | Deed::Delete);
        assert!(!is_told || tables.iter().any(permits), "{what}: nobody has permitted it");
        // Of a directory, what stands in the way is told as a lack of rights to who may only add.
        let is_plain = !(deed == Deed::Put && matches!(found, Ok(Node::Dir(_))));
        let is_denied = matches!(status, 401 | 403);
        assert!(!is_denied || !is_plain || !tables.iter().all(permits), "{what}: it was permitted");
        if deed == Deed::Put && is_done {
            assert_eq!(**self.store.tree.file(name).unwrap().0, *CONTENT, "{what}");
        }
        if deed == Deed::List && is_done {
            let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            for entry in json["entries"].as_array().unwrap() {
                let entry = entry["name"].as_str().unwrap();
                assert!(tables.iter().any(|table| table.shows(who, name, entry)), "{what}: {entry} is shown");
            }
        }
        self.figures.done += u64::from(is_done);
        self.figures.denied += u64::from(is_denied);
        self.figures.reloaded += u64::from(tables.len() > 1);
    }

    /// Says a request, and brings all on in any order until its answer is whole.
    fn ask(&mut self, request: &[u8], who: usize) -> WebAnswer {
        let (mut given, mut outcome) = (0, None);
        for _ in 0..10_000 {
            match self.dice.below(6) {
                0 => {
                    let end = request.len().min(given + self.dice.between(1, 300));
                    // What is not whole is given again.
                    let used = self.session.receive(&request[given..end], self.now);
                    let used = if used == 0 { self.session.receive(&request[given..], self.now) } else { used };
                    given += used;
                }
                1 | 2 => {
                    if let Some(operation) = self.jobs.pop_front() {
                        let completion = self.store.run(0, operation);
                        self.session.complete(completion, self.now);
                    }
                }
                3 => {
                    if let Some((outcome, by)) = outcome.take() {
                        // One that was checked by an earlier users file is good for its request alone.
                        if outcome == LoginOutcome::Right {
                            self.known = (by == self.tables.len()).then_some(who);
                        }
                        self.session.login_ended(outcome, self.now);
                    }
                }
                4 if self.dice.happens(60) => {
                    let table = Table::draw(&mut self.dice, 1);
                    self.users = table.users();
                    self.tables.push(table);
                    self.session.set_users(&self.users);
                    self.known = None;
                }
                _ => {}
            }
            while let Some(operation) = self.session.next_operation() {
                self.store.asked(&operation);
                self.jobs.push_back(operation);
            }
            if let Some(login) = self.session.take_login() {
                self.logins += 1;
                let is_right = login.secret.expose() == "right";
                let told = if is_right { LoginOutcome::Right } else { LoginOutcome::Wrong };
                outcome = Some((told, self.tables.len()));
            }
            self.session.records().1.for_each(drop);
            while let Some((segment, _)) = self.session.outbox().front() {
                let Segment::Bytes(data) = segment else { panic!("files here are small") };
                let bytes = data.to_vec();
                self.reader.feed(&bytes);
                self.session.outbox().advance(bytes.len() as u64);
                self.session.sent(self.now);
            }
            if let Some(answer) = self.reader.next(false) {
                // All of it was said before it was answered, or the connection ends.
                assert!(given == request.len() || answer.status >= 400);
                while given < request.len() && !answer.closes() {
                    given += self.session.receive(&request[given..], self.now);
                }
                return answer;
            }
        }
        panic!("no answer to {}", String::from_utf8_lossy(request))
    }
}

fn connect(limits: &Arc<Limits>, users: &Arc<Users>, now: Instant) -> HttpSession<Model> {
    let (ids, day) = (UploadIds::new([0; 32]), DayClock::new(now, SystemTime::UNIX_EPOCH));
    HttpSession::new(limits.clone(), ids.into(), day.into(), Visitor::new(users.clone(), true), now)
}

#[test]
fn rights_are_those_of_the_moment_over_http_as_well() {
    let seeds = match crate::number("FERRY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..crate::number("FERRY_SIM_SEEDS").unwrap_or(crate::SEEDS),
    };
    let mut all = Figures::default();
    for seed in seeds.clone() {
        println!("seed {seed}; again: FERRY_SIM_SEED={seed} cargo test -p ferry-server --test simulation over_http");
        let mut browsers = Browsers::new(seed);
        (0..60).for_each(|_| browsers.request());
        let Figures { done, denied, reloaded, spared } = browsers.figures;
        all.done += done;
        all.denied += denied;
        all.reloaded += reloaded;
        all.spared += spared;
    }
    println!("{} worlds: {all:?}", seeds.end - seeds.start);
    let Figures { done, denied, reloaded, spared } = all;
    assert!(
        seeds.end - seeds.start == 1 || [done, denied, reloaded, spared].iter().all(|figure| *figure > 100),
        "{all:?}"
    );
}
