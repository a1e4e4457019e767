//! Clients that log in, with rights by path, while the users file changes under their requests.
//!
//! A world beside the [other one](crate::world): here all is pipelined and nothing fails, so that
//! each answer can be told from the rights alone. The rights are looked up by a model that shares
//! nothing with the server.

mod browsers;

use std::{
    collections::{BTreeSet, VecDeque},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_server::{
    access::Users,
    protocol::{Limits, LoginOutcome, Segment, Timeouts, Visitor, ferry::FerrySession},
    store::{Change, Operation, Touch},
};
use ferry_wire::{Code, Crc32, Name, Reply};

use crate::{
    dice::Dice,
    reader::{Answer, Reader},
    store::{Model, Store},
    tree::{Node, Tree, some_time, tag_of},
};

const USERS: [&str; 3] = ["alice", "bob", "carol"];
const NAMES: [&str; 8] = ["a", "b", "d", "d/a", "d/e", "d/e/a", "x", "x/y"];
const WORDS: [&str; 11] = ["none", "none", "rw", "rw", "rw", "r", "w", "drop", "change", "list", "read"];

/// A client asks so much in all.
const REQUESTS: usize = 25;

/// The rights of everybody at one time: for each user, and for clients without a login, names with
/// words. [`None`] where there is no such user.
#[derive(Debug, Clone)]
struct Table([Option<Vec<(String, &'static str)>>; 4]);

/// The user of clients that have not logged in.
const NOBODY: usize = 3;

fn covers(key: &str, name: &str) -> bool {
    key.is_empty() || key == name || name.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'))
}

fn has(word: &str, right: &str) -> bool {
    match word {
        "rw" => true,
        "r" => ["list", "read"].contains(&right),
        "w" => ["add", "change"].contains(&right),
        "drop" => right == "add",
        word => word == right,
    }
}

impl Table {
    fn draw(dice: &mut Dice, homes: usize) -> Table {
        let mut entries = || {
            let mut names = BTreeSet::new();
            let mut drawn = Vec::new();
            for home in 0..homes {
                for _ in 0..dice.below(5) {
                    let below = if dice.happens(300) { String::new() } else { format!("/{}", dice.pick(&NAMES)) };
                    names.insert(format!("h{home}{below}"));
                }
            }
            if dice.happens(700) {
                names.insert(String::new());
            }
            for name in names {
                drawn.push((name, *dice.pick(&WORDS)));
            }
            drawn
        };
        let mut table = [(); 4].map(|()| Some(entries()));
        if dice.happens(200) {
            table[dice.below(3)] = None;
        }
        Table(table)
    }

    fn users(&self) -> Arc<Users> {
        let mut text = String::new();
        for (index, entries) in self.0.iter().enumerate() {
            let Some(entries) = entries else { continue };
            let heading = USERS.get(index).map_or("anonymous".to_owned(), |user| format!("users.{user}"));
            let rights: Vec<_> = entries.iter().map(|(name, word)| format!("{name:?} = {word:?}")).collect();
            text += &format!("[{heading}]\nrights = {{ {} }}\n", rights.join(", "));
        }
        // Nobody can log in where nobody has a secret.
        text += "[users.mallory]\nrights = {}\ntokens = [\"sha256:";
        text += &"0".repeat(64);
        text += "\"]\n";
        Arc::new(Users::parse(&text, Path::new("users.toml")).unwrap())
    }

    fn entries(&self, who: usize) -> &[(String, &'static str)] {
        self.0[who].as_deref().unwrap_or_default()
    }

    fn word(&self, who: usize, name: &str) -> &'static str {
        let covering = self.entries(who).iter().filter(|(key, _)| covers(key, name));
        covering.max_by_key(|(key, _)| key.len()).map_or("none", |(_, word)| word)
    }

    fn may(&self, who: usize, right: &str, name: &str) -> bool {
        has(self.word(who, name), right)
    }

    fn beneath(&self, who: usize, name: &str) -> impl Iterator<Item = &'static str> {
        self.entries(who).iter().filter(move |(key, _)| key != name && covers(name, key)).map(|(_, word)| *word)
    }

    fn leads(&self, who: usize, name: &str) -> bool {
        self.beneath(who, name).any(|word| word != "none")
    }

    /// Returns whether a listing of `directory` has `entry`.
    fn shows(&self, who: usize, directory: &str, entry: &str) -> bool {
        let name = format!("{directory}/{entry}");
        let own = self.entries(who).iter().find(|(key, _)| *key == name);
        self.leads(who, &name) || own.map_or(self.may(who, "list", directory), |(_, word)| *word != "none")
    }
}

/// The state in which a name has to be for a PUT, as WITH says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    Any,
    Free,
    /// The version that every PUT makes.
    ThisVersion,
    /// One that there never was.
    OtherVersion,
}

#[derive(Debug, Clone)]
enum Asked {
    Login {
        user: usize,
        right: bool,
    },
    Get(String),
    Sum(String),
    Stat(String),
    Space,
    List(String),
    Change(Change),
    Put {
        name: String,
        only: Only,
    },
    Resume {
        id: String,
        name: String,
    },
    /// Its body, which is kept.
    Kept,
    Bye,
}

/// The answer that is due, but for tags and messages.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    Done,
    Fails(Code),
    Content(Vec<u8>),
    Summed(Crc32),
    File,
    Dir,
    Space,
    Entries(Vec<String>),
    Saved,
    Go,
}

fn due_of(answer: &Answer) -> Due {
    if let Some(failure) = answer.failure() {
        return Due::Fails(failure.code);
    }
    match (&answer.first, &answer.body) {
        (Reply::Done | Reply::Bye, _) => Due::Done,
        (Reply::File(_), Some(body)) => Due::Content(body.bytes.clone()),
        (Reply::File(_), None) => Due::File,
        (Reply::Dir(_), _) => Due::Dir,
        (Reply::Space { .. }, _) => Due::Space,
        (Reply::Sum { crc, .. }, _) => Due::Summed(*crc),
        (Reply::Saved { .. }, _) => Due::Saved,
        (Reply::Go { .. }, _) => Due::Go,
        (Reply::Listing, Some(body)) => {
            let text = String::from_utf8(body.bytes.clone()).unwrap();
            let mut names: Vec<_> = text.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
            names.sort();
            Due::Entries(names)
        }
        other => panic!("{other:?}"),
    }
}

const PUT: &[u8] = b"put";

/// A client with a directory that nobody else writes to.
struct Guest {
    session: FerrySession<Model>,
    home: String,
    /// Requests to be sent; nothing more before the answer to a RESUME.
    to_say: VecDeque<(Vec<u8>, Asked)>,
    waits: bool,
    to_server: VecDeque<u8>,
    input: Vec<u8>,
    reader: Reader,
    /// With the newest table when it was said.
    owed: VecDeque<(Asked, usize)>,
    /// The tree of its home, as the answers make it.
    tree: Tree,
    who: usize,
    failed_logins: usize,
    /// The login that is being checked, and its outcome.
    checking: Option<LoginOutcome>,
    jobs: VecDeque<Operation<Model>>,
    /// Uploads that were left, and by which user.
    kept: Vec<(String, usize)>,
    over: bool,
}

struct Accounts {
    dice: Dice,
    now: Instant,
    store: Store,
    tables: Vec<Table>,
    users: Arc<Users>,
    guests: Vec<Guest>,
    answers: u64,
    denied: u64,
    either: u64,
    logins: u64,
}

fn content_of(name: &str) -> Vec<u8> {
    format!("content of {name}").into_bytes()
}

impl Accounts {
    fn new(seed: u64) -> Accounts {
        let mut dice = Dice::new(seed);
        let count = dice.between(1, 4);
        let mut tree = Tree::default();
        for home in 0..count {
            tree.insert(&format!("h{home}"), Node::directory());
            for name in NAMES {
                let name = format!("h{home}/{name}");
                let has_parent = matches!(tree.find(name.rsplit_once('/').unwrap().0), Ok(Node::Dir(_)));
                match dice.below(3) {
                    _ if !has_parent => {}
                    0 => tree.insert(&name, Node::directory()),
                    1 => tree.insert(&name, Node::File { data: Arc::new(content_of(&name)), mtime: some_time() }),
                    _ => {}
                }
            }
        }
        let table = Table::draw(&mut dice, count);
        let hour = Duration::from_secs(3600);
        let limits = Arc::new(Limits {
            node: None,
            read_only: false,
            volatile: false,
            kept_modes: Some(ferry_wire::Mode::ALL),
            upload_bytes: 1 << 20,
            timeouts: Timeouts { idle: hour, request: hour, window: hour, window_bytes: 1 },
            checkpoint_bytes: 1 << 20,
            checkpoint_time: Duration::from_secs(15),
            keep: Duration::from_secs(72 * 3600),
        });
        let (now, users) = (Instant::now(), table.users());
        let mut guests = Vec::new();
        for home in 0..count {
            let home = format!("h{home}");
            let to_say = script(&mut dice, &home);
            guests.push(Guest {
                session: FerrySession::new(limits.clone(), Visitor::new(users.clone(), true), now),
                tree: tree.below(&home),
                home,
                to_say,
                waits: false,
                to_server: VecDeque::new(),
                input: Vec::new(),
                reader: Reader::default(),
                owed: VecDeque::new(),
                who: NOBODY,
                failed_logins: 0,
                checking: None,
                jobs: VecDeque::new(),
                kept: Vec::new(),
                over: false,
            });
        }
        let mut store = Store::new(tree, 0, Dice::new(seed ^ 1));
        store.doubt_rate = 0;
        let (answers, denied, either, logins) = (0, 0, 0, 0);
        Accounts { dice, now, store, tables: vec![table], users, guests, answers, denied, either, logins }
    }

    fn run(&mut self) {
        let mut steps = 0;
        while self.guests.iter().any(|guest| !guest.over) {
            steps += 1;
            assert!(steps < 200_000, "this goes on for ever");
            let index = self.dice.below(self.guests.len());
            match self.dice.below(9) {
                0 | 1 => self.say(index),
                2 | 3 => self.feed(index),
                4 | 5 => self.do_job(index),
                6 => self.end_login(index),
                7 => self.hear(index),
                _ if self.dice.happens(60) => self.reload(),
                _ => {}
            }
            self.take(index);
        }
        for guest in &self.guests {
            assert!(self.store.tree.below(&guest.home) == guest.tree, "another tree than {}", guest.home);
        }
    }

    /// Replaces the users file.
    fn reload(&mut self) {
        let table = Table::draw(&mut self.dice, self.guests.len());
        self.users = table.users();
        self.tables.push(table);
        for guest in &mut self.guests {
            guest.session.set_users(&self.users);
        }
    }

    fn say(&mut self, index: usize) {
        let newest = self.tables.len() - 1;
        let guest = &mut self.guests[index];
        if guest.waits {
            return;
        }
        let Some((bytes, asked)) = guest.to_say.pop_front() else { return };
        guest.to_server.extend(bytes);
        guest.waits = matches!(asked, Asked::Resume { .. });
        guest.owed.push_back((asked, newest));
    }

    fn feed(&mut self, index: usize) {
        let most = self.dice.between(1, 200);
        let guest = &mut self.guests[index];
        if guest.session.wants_input() {
            let count = most.min(guest.to_server.len()).min(guest.session.input_hint());
            guest.input.extend(guest.to_server.drain(..count));
        }
        let used = guest.session.receive(&guest.input, self.now);
        guest.input.drain(..used);
    }

    fn do_job(&mut self, index: usize) {
        let guest = &mut self.guests[index];
        // Changes are done in their order, and those of one client are all that touch its home.
        let is_change = |operation: &Operation<Model>| matches!(operation, Operation::Name(_));
        let at = self.dice.below(guest.jobs.len().max(1));
        let first = guest.jobs.iter().position(is_change);
        let at = if guest.jobs.get(at).is_some_and(is_change) { first.unwrap() } else { at };
        // A RESUME waits until its upload is let go: the loop sees to that.
        if guest.jobs.get(at).is_none_or(|operation| !self.store.is_free(operation)) {
            return;
        }
        let Some(operation) = guest.jobs.remove(at) else { return };
        let completion = self.store.run(index, operation);
        self.guests[index].session.complete(completion, self.now);
    }

    fn end_login(&mut self, index: usize) {
        if let Some(outcome) = self.guests[index].checking.take() {
            self.guests[index].session.login_ended(outcome, self.now);
        }
    }

    /// Takes what a session asks for.
    fn take(&mut self, index: usize) {
        let guest = &mut self.guests[index];
        while let Some(operation) = guest.session.next_operation() {
            self.store.asked(&operation);
            guest.jobs.push_back(operation);
        }
        if let Some(login) = guest.session.take_login() {
            assert!(guest.checking.is_none(), "two logins at one time");
            self.logins += 1;
            let is_right = login.secret.expose() == "right";
            guest.checking = Some(if is_right { LoginOutcome::Right } else { LoginOutcome::Wrong });
        }
        guest.session.records().1.for_each(drop);
    }

    fn hear(&mut self, index: usize) {
        loop {
            let guest = &mut self.guests[index];
            let (bytes, sent) = match guest.session.outbox().front() {
                None => break,
                Some((Segment::Bytes(data), _)) => (data.to_vec(), data.len() as u64),
                other => panic!("files here are small, and this is no text: {other:?}"),
            };
            guest.reader.feed(&bytes);
            guest.session.outbox().advance(sent);
            guest.session.sent(self.now);
            self.answered(index);
        }
        let guest = &mut self.guests[index];
        if guest.session.take_shutdown() {
            assert!(guest.owed.is_empty() && guest.reader.is_at_rest(), "{:?} is owed", guest.owed);
        }
        guest.over |= guest.session.is_over();
        // Its peer goes when all is said.
        if guest.owed.is_empty() && guest.to_say.is_empty() && !guest.over {
            guest.session.disconnected(self.now);
        }
    }

    fn answered(&mut self, index: usize) {
        loop {
            let guest = &mut self.guests[index];
            let brings_body = matches!(guest.owed.front(), Some((Asked::Get(_), _)));
            let Some(answer) = guest.reader.next(brings_body) else { return };
            let (asked, since) = guest.owed.pop_front().unwrap_or_else(|| panic!("{answer:?} to nothing"));
            let found = due_of(&answer);
            let tables = &self.tables[since..];
            // Nobody can tell which of them held.
            let mut due: Vec<_> = tables.iter().map(|table| guest.due(table, &asked)).collect();
            due.dedup();
            assert!(
                due.contains(&found),
                "{} as {}: {asked:?} is {found:?}, not {due:?}; {tables:?}",
                guest.home,
                guest.who
            );
            self.answers += 1;
            self.denied += u64::from(found == Due::Fails(Code::Denied));
            self.either += u64::from(due.len() > 1);
            guest.takes(asked, &found);
        }
    }
}

impl Guest {
    /// Returns the answer that is due to `asked`, by the rights of `table`.
    fn due(&self, table: &Table, asked: &Asked) -> Due {
        self.granted(table, asked).unwrap_or_else(Due::Fails)
    }

    fn granted(&self, table: &Table, asked: &Asked) -> Result<Due, Code> {
        let may = |right, name: &str| if table.may(self.who, right, name) { Ok(()) } else { Err(Code::Denied) };
        let throughout = |right, name: &str| {
            may(right, name)?;
            if table.beneath(self.who, name).all(|word| has(word, right)) { Ok(()) } else { Err(Code::Denied) }
        };
        let leads = |name: &str| table.leads(self.who, name);
        match asked {
            Asked::Login { right, .. } => {
                if *right {
                    Ok(Due::Done)
                } else {
                    Err(Code::Denied)
                }
            }
            Asked::Get(name) => {
                may("read", name)?;
                self.tree.file(name).map(|(data, _)| Due::Content(data.to_vec()))
            }
            Asked::Sum(name) => {
                may("read", name)?;
                self.tree.file(name).map(|(data, _)| Due::Summed(Crc32::of(&data)))
            }
            Asked::Stat(name) => {
                if !leads(name) && may("read", name).is_err() {
                    may("list", name)?;
                }
                Ok(if matches!(self.tree.find(name)?, Node::Dir(_)) { Due::Dir } else { Due::File })
            }
            Asked::Space => {
                let has_any = table.entries(self.who).iter().any(|(_, word)| *word != "none");
                if has_any { Ok(Due::Space) } else { Err(Code::Denied) }
            }
            Asked::List(name) => {
                if !leads(name) {
                    may("list", name)?;
                }
                let entries = self.tree.entries(Some(&Name::new(name).unwrap()))?;
                let names = entries.into_iter().map(|entry| entry.name.as_str().to_owned());
                let mut names: Vec<_> = names.filter(|entry| table.shows(self.who, name, entry)).collect();
                names.sort();
                Ok(Due::Entries(names))
            }
            Asked::Change(change) => {
                let mut tree = self.tree.clone();
                match change {
                    Change::Mkdir(name) | Change::MkdirWith(name, _) => {
                        may("add", name.as_str()).and_then(|()| tree.mkdir(name.as_str()))?
                    }
                    Change::Delete(name) | Change::DeleteVersion(name, _) => {
                        may("change", name.as_str())?;
                        if table.beneath(self.who, name.as_str()).any(|word| word == "none") {
                            return Err(Code::Denied);
                        }
                        tree.delete(name.as_str())?;
                    }
                    Change::Rename(from, to) => {
                        throughout("change", from.as_str())?;
                        throughout("add", to.as_str())?;
                        tree.rename(from.as_str(), to.as_str())?;
                    }
                    Change::Touch(touch) => {
                        may("change", touch.name.as_str())?;
                        tree.touch(touch)?;
                    }
                }
                Ok(Due::Done)
            }
            Asked::Put { name, only } => {
                let (adds, changes) = (may("add", name), may("change", name));
                let is_of_version = matches!(only, Only::ThisVersion | Only::OtherVersion);
                if adds.is_err() && (changes.is_err() || *only == Only::Free) || is_of_version && changes.is_err() {
                    return Err(Code::Denied);
                }
                let (is_there, tag) = match self.tree.find(name) {
                    Ok(Node::File { data, mtime }) => (true, Some(tag_of(data, *mtime))),
                    found => (found.is_ok(), None),
                };
                let is_this = *only == Only::ThisVersion && tag == Some(tag_of(PUT, some_time()));
                match self.tree.check_target(name) {
                    _ if is_there && *only == Only::Free => Err(Code::Exists),
                    Ok(()) if is_of_version && !is_this => Err(Code::Changed),
                    _ if is_there && changes.is_err() => Err(Code::Denied),
                    Err(code) => Err(code),
                    Ok(()) if !is_there && adds.is_err() => Err(Code::Denied),
                    Ok(()) => Ok(Due::Saved),
                }
            }
            Asked::Resume { id, name } => {
                if may("add", name).is_err() {
                    may("change", name)?;
                }
                if let Err(code) = self.tree.check_target(name) {
                    let hides = code == Code::NotAFile && may("change", name).is_err();
                    return Err(if hides { Code::Denied } else { code });
                }
                let owner = self.kept.iter().find(|(kept, _)| kept == id).map(|(_, owner)| *owner);
                if owner.is_some_and(|owner| owner != NOBODY && owner != self.who) {
                    Err(Code::Denied)
                } else {
                    Ok(Due::Go)
                }
            }
            Asked::Kept => Err(Code::Stopped),
            Asked::Bye => Ok(Due::Done),
        }
    }

    /// `asked` was answered: what holds from now on.
    fn takes(&mut self, asked: Asked, found: &Due) {
        match (asked, found) {
            (Asked::Login { user, .. }, Due::Done) => self.who = user,
            (Asked::Login { .. }, _) => {
                self.failed_logins += 1;
                if self.failed_logins == 3 {
                    // This was the last answer.
                    self.owed.clear();
                    self.to_say.clear();
                    self.to_server.clear();
                }
            }
            (Asked::Change(Change::Mkdir(name) | Change::MkdirWith(name, _)), Due::Done) => {
                self.tree.mkdir(name.as_str()).unwrap()
            }
            (Asked::Change(Change::Delete(name) | Change::DeleteVersion(name, _)), Due::Done) => {
                self.tree.delete(name.as_str()).unwrap();
            }
            (Asked::Change(Change::Touch(touch)), Due::Done) => self.tree.touch(&touch).unwrap(),
            (Asked::Change(Change::Rename(from, to)), Due::Done) => {
                self.tree.rename(from.as_str(), to.as_str()).unwrap();
            }
            (Asked::Put { name, .. }, Due::Saved) => {
                let tag = self.tree.publish(&name, Arc::new(PUT.to_vec()), some_time()).unwrap();
                assert_eq!(tag, tag_of(PUT, some_time()));
            }
            (Asked::Resume { id, .. }, found) => {
                self.waits = false;
                if *found == Due::Go {
                    if self.kept.iter().all(|(kept, _)| *kept != id) {
                        self.kept.push((id, self.who));
                    }
                    self.to_say.push_front((b"STOP\n".to_vec(), Asked::Kept));
                }
            }
            (Asked::Bye, _) => self.over = true,
            _ => {}
        }
    }
}

fn script(dice: &mut Dice, home: &str) -> VecDeque<(Vec<u8>, Asked)> {
    let mut said = VecDeque::new();
    for _ in 0..dice.between(1, REQUESTS) {
        let name = format!("{home}/{}", dice.pick(&NAMES));
        let parsed = |name: &str| Name::new(name).unwrap();
        let mut body = Vec::new();
        let (line, asked) = match dice.below(15) {
            0 | 1 => {
                let (user, right) = (dice.below(3), dice.happens(850));
                (
                    format!("LOGIN {} {}", USERS[user], if right { "right" } else { "wrong" }),
                    Asked::Login { user, right },
                )
            }
            2 | 3 => (format!("GET {name}"), Asked::Get(name)),
            4 => (format!("STAT {name}"), Asked::Stat(name)),
            5 => (format!("SUM {name}"), Asked::Sum(name)),
            6 => (format!("LIST {home}"), Asked::List(home.to_owned())),
            7 => (format!("LIST {name}"), Asked::List(name)),
            14 => {
                let touch = Touch { name: parsed(&name), mtime: Some(some_time()), permissions: None };
                (format!("TOUCH {} {name}", some_time()), Asked::Change(Change::Touch(touch)))
            }
            8 => (format!("MKDIR {name}"), Asked::Change(Change::Mkdir(parsed(&name)))),
            9 => (format!("DELETE {name}"), Asked::Change(Change::Delete(parsed(&name)))),
            10 => {
                let to = format!("{home}/{}", dice.pick(&NAMES));
                (format!("RENAME {name}//{to}"), Asked::Change(Change::Rename(parsed(&name), parsed(&to))))
            }
            11 => {
                // One name for each, so that it is always the same upload.
                let which = dice.below(2);
                let (id, name) = (format!("{home}-{which}"), format!("{home}/{}", NAMES[which]));
                (format!("RESUME {id} 3 - {name}"), Asked::Resume { id, name })
            }
            12 => ("SPACE".to_owned(), Asked::Space),
            _ => {
                let only = match dice.below(8) {
                    0 | 1 => Only::Free,
                    2 => Only::ThisVersion,
                    3 => Only::OtherVersion,
                    _ => Only::Any,
                };
                body = format!("DATA 3\nputEND {}\n", Crc32::of(PUT)).into_bytes();
                let with = match only {
                    Only::Any => String::new(),
                    Only::Free => "WITH if=none\n".to_owned(),
                    Only::ThisVersion => format!("WITH if={}\n", tag_of(PUT, some_time())),
                    Only::OtherVersion => "WITH if=never\n".to_owned(),
                };
                (format!("{with}PUT 3 - {name}"), Asked::Put { name, only })
            }
        };
        said.push_back(([line.as_bytes(), b"\n", &body].concat(), asked));
    }
    said.push_back((b"CLOSE\n".to_vec(), Asked::Bye));
    said
}

#[test]
fn rights_are_those_of_the_moment_for_everybody() {
    let seeds = match crate::number("FERRY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..4 * crate::number("FERRY_SIM_SEEDS").unwrap_or(crate::SEEDS),
    };
    let (mut answers, mut denied, mut either, mut logins) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        println!("seed {seed}; again: FERRY_SIM_SEED={seed} cargo test -p ferry-server --test simulation rights_are");
        let mut accounts = Accounts::new(seed);
        accounts.run();
        answers += accounts.answers;
        denied += accounts.denied;
        either += accounts.either;
        logins += accounts.logins;
    }
    println!(
        "{} worlds: {answers} answers, {denied} denied, {either} that a reload decided, {logins} logins",
        seeds.end - seeds.start
    );
    assert!(seeds.end - seeds.start == 1 || denied > 100 && either > 10 && answers > 4 * denied / 3);
}
