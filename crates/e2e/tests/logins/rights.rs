//! A model of rights against the built server: its answers are those of a server that lacks all that is hidden, in
//! whichever protocol it is asked.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::symlink,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ferry_e2e::{Raw, Server, Socket, body};
use ferry_server::access::{Decision, PublishRights, Rights, RightsTable, decide};
use ferry_wire::{Name, Request};

use super::Place;

/// Users, each with rights of its own, unless `FERRY_RIGHTS_USERS` has another number; and requests of each. They are
/// drawn by the seed `FERRY_RIGHTS_SEED`.
const USERS: usize = 60;
const REQUESTS: usize = 16;

/// Of the text "abc".
const TOKEN: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

const NAMES: [&str; 9] = ["a", "b", "a/a", "a/b", "b/a", "a/a/b", "c", "b/a/c", "A"];

/// Names that lead to others elsewhere: by a symbolic link in the root, and as paths are spelled.
const DETOURS: [&str; 9] = ["l", "l/a", "l/a/c", "a/../b", "./a", "a//b", "a/.", "/a", "a/"];

/// Names with what is in the files, or [`None`] for a directory.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    fn rights(&mut self) -> Vec<(&'static str, &'static str)> {
        let words = ["none", "none", "rw", "rw", "r", "w", "drop", "change", "list", "read"];
        let mut entries = BTreeMap::from([("", self.of(&words))]);
        for _ in 0..1 + self.below(3) {
            entries.insert(self.of(&NAMES), self.of(&words));
        }
        entries.into_iter().collect()
    }

    fn tree(&mut self) -> Tree {
        let mut tree = Tree::new();
        for name in ["a", "b", "c", "a/a", "a/b", "b/a", "a/a/b"] {
            let has_parent = parent(name).is_none_or(|parent| tree.get(parent) == Some(&None));
            if has_parent && self.below(4) > 0 {
                let file = Some(format!("content of {name}").into_bytes());
                tree.insert(name.into(), if self.below(2) == 0 { None } else { file });
            }
        }
        tree
    }

    fn request(&mut self) -> String {
        let names = if self.below(12) == 0 { &DETOURS } else { &NAMES };
        let name = self.of(names);
        match self.below(12) {
            0 => format!("GET {name}"),
            1 => format!("STAT {name}"),
            2 => format!("LIST {name}"),
            3 => "LIST".into(),
            4 | 5 => format!("PUT 3 - {name}"),
            6 => format!("MKDIR {name}"),
            7 => format!("DELETE {name}"),
            8 => format!("SUM {name}"),
            9 => format!("READ 0 * * {name}"),
            10 => format!("RENAME {}//{name}", self.of(&NAMES)),
            _ => format!("RENAME {name}//{}", self.of(&NAMES)),
        }
    }
}

fn parent(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(parent, _)| parent)
}

/// Returns the entry of that name, or the code of the failure.
fn look<'a>(tree: &'a Tree, name: &str) -> Result<&'a Option<Vec<u8>>, String> {
    if name.is_empty() {
        return Ok(&None);
    }
    if let Some(parent) = parent(name)
        && look(tree, parent)?.is_some()
    {
        return Err("not-a-directory".into());
    }
    tree.get(name).ok_or_else(|| "not-found".into())
}

fn make(tree: &mut Tree, name: &Name, what: Option<Vec<u8>>) -> Result<(), String> {
    match look(tree, name.parent().unwrap_or(""))? {
        Some(_) => Err("not-a-directory".into()),
        None => {
            tree.insert(name.as_str().into(), what);
            Ok(())
        }
    }
}

/// Returns the first words of the reply that the model gives, or the code of its failure.
fn answer(tree: &mut Tree, request: &Request, table: &RightsTable) -> Result<String, String> {
    let decision = decide(request, table);
    if decision == Decision::Denied {
        return Err("denied".into());
    }
    match request {
        Request::Get { name } | Request::Read { name, .. } => match look(tree, name.as_str())? {
            Some(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            None => Err("not-a-file".into()),
        },
        Request::Sum { name } => match look(tree, name.as_str())? {
            Some(_) => Ok("SUM".into()),
            None => Err("not-a-file".into()),
        },
        Request::Stat { name } => Ok(if look(tree, name.as_str())?.is_some() { "FILE" } else { "DIR" }.into()),
        Request::List { name } => {
            let directory = name.as_ref().map_or("", |name| name.as_str());
            if look(tree, directory)?.is_some() {
                return Err("not-a-directory".into());
            }
            let inside = tree.keys().filter(|name| parent(name).unwrap_or("") == directory);
            Ok(inside.map(|name| name.rsplit('/').next().unwrap_or(name)).collect::<Vec<_>>().join(","))
        }
        Request::Put { name, .. } => {
            let there = match look(tree, name.as_str()) {
                Ok(None) if decision != Decision::Publish(PublishRights::AddOnly) => return Err("not-a-file".into()),
                Err(code) if code == "not-found" && look(tree, name.parent().unwrap_or("")).is_ok() => false,
                Err(code) => return Err(code),
                Ok(_) => true,
            };
            match decision {
                Decision::Publish(rights) if !rights.permit(there) => Err("denied".into()),
                _ => make(tree, name, Some(b"put".to_vec())).map(|()| "SAVED".into()),
            }
        }
        Request::Mkdir { name } => match look(tree, name.as_str()) {
            Ok(_) => Err("exists".into()),
            Err(_) => make(tree, name, None).map(|()| "DONE".into()),
        },
        Request::Delete { name } => {
            look(tree, name.as_str())?;
            if tree.keys().any(|other| parent(other) == Some(name.as_str())) {
                return Err("not-empty".into());
            }
            tree.remove(name.as_str());
            Ok("DONE".into())
        }
        Request::Rename { from, to } => {
            look(tree, from.as_str())?;
            if look(tree, to.parent().unwrap_or(""))?.is_some() {
                return Err("not-a-directory".into());
            }
            if tree.contains_key(to.as_str()) {
                return Err("exists".into());
            }
            let inside = format!("{from}/");
            if to.as_str().starts_with(&inside) {
                return Err("bad-request".into());
            }
            let moved = std::mem::take(tree).into_iter().map(|(name, what)| match name.strip_prefix(from.as_str()) {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => (format!("{to}{rest}"), what),
                _ => (name, what),
            });
            *tree = moved.collect();
            Ok("DONE".into())
        }
        _ => panic!("{request:?}"),
    }
}

/// Returns the same of the built server's reply.
fn answered(raw: &mut Raw, request: &str) -> Result<String, String> {
    let answer = raw.answer(request);
    match (answer.code().map(str::to_owned), answer.word(0).to_owned().as_str()) {
        (Some(code), _) => Err(code),
        (None, "LISTING") => {
            let text = String::from_utf8(answer.verified()).unwrap();
            let mut names: Vec<_> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
            names.sort_unstable();
            Ok(names.join(","))
        }
        (None, "FILE") if request.starts_with("GET") || request.starts_with("READ") => {
            Ok(String::from_utf8(answer.verified()).unwrap())
        }
        (None, word) => Ok(word.to_owned()),
    }
}

/// Asks by HTTP for the like of `request`, on a connection of its own; [`None`] where HTTP has nothing like it. Returns
/// the status, and the content of what was found.
fn asked_by_http(address: SocketAddr, user: &str, request: &Request) -> Option<(u16, String)> {
    let (method, target, content) = match request {
        Request::Get { name } => ("GET", format!("/{name}"), ""),
        Request::Stat { name } => ("HEAD", format!("/{name}"), ""),
        Request::List { name } => {
            let name = name.as_ref().map_or(String::new(), |name| format!("{name}/"));
            ("GET", format!("/{name}?json"), "")
        }
        Request::Put { name, .. } => ("PUT", format!("/{name}"), "put"),
        Request::Mkdir { name } => ("MKCOL", format!("/{name}/"), ""),
        Request::Delete { name } => ("DELETE", format!("/{name}"), ""),
        _ => return None,
    };
    let secret = BASE64_STANDARD.encode(format!("{user}:abc"));
    let length = if method == "PUT" { "Content-Length: 3\r\n" } else { "" };
    let mut socket = Socket::connect_plain(address).unwrap();
    let fields = format!("Host: h\r\nConnection: close\r\nAuthorization: Basic {secret}\r\n{length}");
    // HTTP/1.0 has no chunks: the content ends with the connection.
    write!(socket, "{method} {target} HTTP/1.0\r\n{fields}\r\n{content}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, content) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some((status, if status == 200 { content.to_owned() } else { String::new() }))
}

/// Returns the statuses by which HTTP may say what the model says, and the content that it brings.
fn in_http(tree: &mut Tree, request: &Request, table: &RightsTable) -> (Vec<u16>, String) {
    // A directory that may be looked at is elsewhere: behind the slash.
    if let Request::Get { name } | Request::Stat { name } = request
        && answer(tree, &Request::Stat { name: name.clone() }, table) == Ok("DIR".into())
    {
        return (vec![301], String::new());
    }
    let adds = matches!(request, Request::Put { .. } | Request::Mkdir { .. });
    match answer(tree, request, table) {
        Ok(found) => match request {
            Request::Get { .. } | Request::List { .. } => (vec![200], found),
            Request::Stat { .. } => (vec![200], String::new()),
            Request::Mkdir { .. } => (vec![201], String::new()),
            _ => (vec![201, 204], String::new()),
        },
        Err(code) => {
            let status = match code.as_str() {
                "denied" => 403,
                "exists" => 405,
                "not-empty" | "not-a-file" => 409,
                _ if adds => 409,
                _ => 404,
            };
            (vec![status], String::new())
        }
    }
}

/// Returns the names in a listing by JSON.
fn names_in(json: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let mut names: Vec<_> =
        json["entries"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.join(",")
}

/// Whether a request goes by a link, which is followed for nobody.
fn is_by_link(request: &str) -> bool {
    request.split([' ', '/']).any(|part| part == "l")
}

fn lay_out(server: &Server, tree: &Tree) {
    for name in ["a", "b", "c", "l", "A"] {
        let path = server.path(name);
        match fs::symlink_metadata(&path) {
            Ok(entry) if entry.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => {}
        }
    }
    for (name, what) in tree {
        match what {
            None => fs::create_dir(server.path(name)).unwrap(),
            Some(bytes) => server.write(name, bytes),
        }
    }
    symlink("b", server.path("l")).unwrap();
}

/// Asks for the unfinished upload `kept` of another user, and leaves one of `name` unfinished, where that is allowed, as
/// `expected` has it of a PUT. Returns its number.
fn resume(
    raw: &mut Raw,
    (number, kept): (usize, Option<usize>),
    name: &str,
    expected: &Result<String, String>,
) -> Option<usize> {
    if let Some(other) = kept {
        let answer = raw.ask(&format!("RESUME kept-{other} 3 - {name}"));
        let codes = [Some("denied"), expected.as_ref().err().map(String::as_str)];
        assert!(codes.contains(&answer.code()), "u{number} gets what u{other} left: {:?}", answer.line);
    }
    let answer = raw.ask(&format!("RESUME kept-{number} 3 - {name}"));
    match (answer.line.as_str(), expected) {
        ("GO 0", expected) => {
            // Whether the name is taken counts when it is published.
            assert!(expected.is_ok() || *expected == Err("denied".into()), "u{number}: RESUME {name}: {expected:?}");
            raw.send("DATA 1\nxSTOP\n");
            raw.answer("RESUME").expect_failure("stopped");
            return Some(number);
        }
        (_, Err(code)) => answer.expect_failure(code),
        (line, Ok(_)) => panic!("u{number}: RESUME {name}: {line:?}"),
    }
    kept
}

#[test]
fn what_is_hidden_might_as_well_not_be_there() {
    let users = std::env::var("FERRY_RIGHTS_USERS").map_or(USERS, |text| text.parse().unwrap());
    let mut random = Random(std::env::var("FERRY_RIGHTS_SEED").map_or(20_251_129, |text| text.parse().unwrap()));
    let all: Vec<_> = (0..users).map(|_| random.rights()).collect();
    let mut text = String::new();
    for (number, entries) in all.iter().enumerate() {
        let rights: Vec<_> = entries.iter().map(|(name, word)| format!("{name:?} = {word:?}")).collect();
        let rights = rights.join(", ");
        let _ = writeln!(text, "[users.u{number}]\ntokens = [\"{TOKEN}\"]\nrights = {{ {rights} }}");
    }
    let place = Place::new(&text);
    let server = place.options().arg("--durability").arg("none").arg("--http").arg("127.0.0.1:0").start();
    let (_, http) = server.http();
    let (mut asked, mut told, mut by_http, mut kept) = (0, 0, 0, None);
    for (number, entries) in all.iter().enumerate() {
        let entry = |(name, word): &(&str, &str)| {
            ((!name.is_empty()).then(|| Name::new(name).unwrap()), Rights::parse(word).unwrap())
        };
        let table: RightsTable = entries.iter().map(entry).collect();
        let mut tree = random.tree();
        lay_out(&server, &tree);
        tree.retain(|name, _| {
            let place = table.at(Some(&Name::new(name).unwrap()));
            !place.rights().is_none() || place.leads()
        });
        let requests: Vec<_> = (0..REQUESTS).map(|_| random.request()).collect();
        let mut raw = Raw::greeted(server.address());
        raw.send(format!("LOGIN u{number} abc\n"));
        assert_eq!(raw.answer("LOGIN").line, "DONE");
        for request in &requests {
            asked += 1;
            let shown = |names: &str, name: Option<&Name>| {
                let place = table.at(name);
                let shown: Vec<_> = names.split(',').filter(|name| !name.is_empty() && place.shows(name)).collect();
                shown.join(",")
            };
            // By TLS, ferry's requests alone: `asked_by_http` speaks plainly.
            if !ferry_e2e::secure::is_asked_for()
                && let Ok(parsed) = Request::parse(request.as_bytes())
                && random.below(2) == 0
                && let Some((status, content)) = asked_by_http(http, &format!("u{number}"), &parsed)
            {
                by_http += 1;
                if is_by_link(request) {
                    assert!(status >= 400, "u{number} {entries:?}: {request} by HTTP: {status}");
                    continue;
                }
                let (statuses, mut expected) = in_http(&mut tree, &parsed, &table);
                let mut found = content;
                if let (Request::List { name }, 200) = (&parsed, status) {
                    (found, expected) = (names_in(&found), shown(&expected, name.as_ref()));
                }
                told += usize::from(status < 300);
                assert!(
                    statuses.contains(&status),
                    "u{number} {entries:?}: {request} by HTTP: {status}, not {statuses:?}"
                );
                assert_eq!(found, expected, "u{number} {entries:?}: {request} by HTTP");
                continue;
            }
            raw.send(format!("{request}\n"));
            if request.starts_with("PUT") {
                raw.send(body(b"put", 3));
            }
            let found = answered(&mut raw, request);
            let Ok(parsed) = Request::parse(request.as_bytes()) else {
                assert_eq!(found, Err("bad-name".into()), "{request}");
                continue;
            };
            if is_by_link(request) {
                assert!(found.is_err(), "u{number} {entries:?}: {request}: {found:?}");
                continue;
            }
            let mut expected = answer(&mut tree, &parsed, &table);
            if let (Ok(names), true) = (&expected, request.starts_with("LIST")) {
                let name = request.strip_prefix("LIST ").map(|name| Name::new(name).unwrap());
                expected = Ok(shown(names, name.as_ref()));
            }
            told += usize::from(expected.is_ok());
            assert_eq!(found, expected, "u{number} {entries:?}: {request} of {requests:?}");
        }
        let name = random.of(&NAMES);
        let put = Request::parse(format!("PUT 3 - {name}").as_bytes()).unwrap();
        kept = resume(&mut raw, (number, kept), name, &answer(&mut tree, &put, &table));
        asked += 2;
    }
    println!("{users} users, {asked} requests, {by_http} of them by HTTP, {told} granted");
    assert!(told > users, "nearly everything is denied");
}
