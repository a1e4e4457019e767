//! Random requests in random pieces, held against a model of what a server is: a map of names.

use std::collections::BTreeMap;

use ferry_e2e::{Options, Random, Raw, Server, body, crc, seed};

use super::gist;

/// The entries by name: the bytes of a file, or a directory.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// One request with its body, and the gist of all that answers it.
struct Step {
    sent: Vec<u8>,
    expected: Vec<String>,
}

#[test]
fn random_pipelines_do_what_the_model_does() {
    const CONNECTIONS: u64 = 12;
    const STEPS: usize = 150;
    // Durability is tested elsewhere; here it would only cost time.
    let server = Options::new().arg("--durability").arg("none").start();
    let mut random = Random::new(seed());
    let mut tree = Tree::new();
    for _ in 0..CONNECTIONS {
        let steps: Vec<Step> = (0..STEPS).map(|_| step(&mut tree, &mut random)).collect();
        let mut raw = Raw::greeted(server.address());
        let sent: Vec<u8> = steps.iter().flat_map(|step| step.sent.iter().copied()).collect();
        send_in_pieces(&mut raw, &sent, &mut random);
        raw.finish();
        let said = String::from_utf8(raw.to_eof()).expect("nothing here is not UTF-8");
        let mut said = said.lines().map(gist);
        for step in &steps {
            let answer: Vec<String> = said.by_ref().take(step.expected.len()).collect();
            assert_eq!(answer, step.expected, "to {:?}", String::from_utf8_lossy(&step.sent));
        }
        assert_eq!(said.collect::<Vec<_>>(), ["BYE"]);
    }
    check_root(&server, &tree);
}

/// Holds the disk against the model.
fn check_root(server: &Server, tree: &Tree) {
    for (name, content) in tree {
        match content {
            Some(bytes) => assert_eq!(&server.read(name), bytes, "{name}"),
            None => assert!(server.path(name).is_dir(), "{name}"),
        }
    }
    let top: Vec<&String> = tree.keys().filter(|name| !name.contains('/')).collect();
    assert_eq!(server.visible().iter().collect::<Vec<_>>(), top);
}

fn send_in_pieces(raw: &mut Raw, sent: &[u8], random: &mut Random) {
    let mut unsent = sent;
    while !unsent.is_empty() {
        let most = [1, 7, 100, 5_000][random.below(4) as usize];
        let (piece, rest) = unsent.split_at(unsent.len().min(1 + random.below(most) as usize));
        raw.send(piece);
        unsent = rest;
    }
}

/// Few names, so that requests meet: files and directories of the same names, two levels deep.
fn name(random: &mut Random) -> String {
    let part = |random: &mut Random| ["a", "b", "c d"][random.below(3) as usize].to_owned();
    let first = part(random);
    if random.below(2) == 0 { first } else { format!("{first}/{}", part(random)) }
}

fn step(tree: &mut Tree, random: &mut Random) -> Step {
    let name = name(random);
    let (request, expected) = match random.below(11) {
        0 | 1 => return put(tree, random, &name, false),
        2 => return put(tree, random, &name, true),
        3 => (format!("GET {name}"), get(tree, &name, 0, usize::MAX)),
        4 => {
            let (offset, length) = (random.below(40) as usize, random.below(40) as usize);
            (format!("READ {offset} {length} * {name}"), get(tree, &name, offset, length))
        }
        5 => (format!("STAT {name}"), vec![stat(tree, &name)]),
        6 => (format!("SUM {name}"), vec![sum(tree, &name)]),
        7 => (format!("MKDIR {name}"), vec![make_directory(tree, &name)]),
        8 => (format!("DELETE {name}"), vec![delete(tree, &name)]),
        9 => {
            let to = self::name(random);
            (format!("RENAME {name}//{to}"), vec![rename(tree, &name, &to)])
        }
        _ => match random.below(4) {
            0 => ("FROB".into(), vec!["FAIL unknown-command".into()]),
            1 => (format!("GET ../{name}"), vec!["FAIL bad-name".into()]),
            2 => ("READ 1 2".into(), vec!["FAIL bad-request".into()]),
            _ => (format!("WITH x=y\nDELETE {name}"), vec!["FAIL unsupported".into()]),
        },
    };
    let end = if random.below(4) == 0 { "\r\n" } else { "\n" };
    Step { sent: (request + end).into_bytes(), expected }
}

/// A PUT of up to 60 bytes of text without an LF, whole or broken.
fn put(tree: &mut Tree, random: &mut Random, name: &str, broken: bool) -> Step {
    let bytes: Vec<u8> = (0..random.below(60)).map(|_| b'a' + random.below(26) as u8).collect();
    let announced = if random.below(3) == 0 { "-".into() } else { bytes.len().to_string() };
    let mut sent = format!("PUT {announced} - {name}\n").into_bytes();
    let whole = body(&bytes, 1 + random.below(30) as usize);
    let refusal = refusal_to_make(tree, name).or_else(|| is_directory(tree, name).then_some("not-a-file"));
    let expected = match (refusal, broken) {
        // A body that breaks off after a refusal could be answered with either.
        (Some(code), _) => {
            sent.extend_from_slice(&whole);
            format!("FAIL {code}")
        }
        (None, false) => {
            sent.extend_from_slice(&whole);
            tree.insert(name.to_owned(), Some(bytes.clone()));
            format!("SAVED {} {}", bytes.len(), crc(&bytes))
        }
        (None, true) => {
            let blocks = &whole[..whole.len() - "END 00000000\n".len()];
            sent.extend_from_slice(blocks);
            if random.below(2) == 0 {
                sent.extend_from_slice(b"STOP\n");
                "FAIL stopped".into()
            } else {
                // The bytes above are shorter than 60 letters without a space: never these.
                sent.extend_from_slice(format!("END {}\n", crc(b"other bytes, and more of them")).as_bytes());
                "FAIL checksum".into()
            }
        }
    };
    Step { sent, expected: vec![expected] }
}

fn is_directory(tree: &Tree, name: &str) -> bool {
    matches!(tree.get(name), Some(None))
}

/// Why nothing can be found under `name`, where its parent is the reason.
fn missing(tree: &Tree, name: &str) -> &'static str {
    match name.split_once('/').map(|(parent, _)| tree.get(parent)) {
        Some(Some(Some(_))) => "not-a-directory",
        _ => "not-found",
    }
}

/// Why nothing can be made under `name`, where its parent is the reason.
fn refusal_to_make(tree: &Tree, name: &str) -> Option<&'static str> {
    let (parent, _) = name.split_once('/')?;
    (!is_directory(tree, parent)).then(|| missing(tree, name))
}

fn file<'a>(tree: &'a Tree, name: &str) -> Result<&'a [u8], String> {
    match tree.get(name) {
        Some(Some(bytes)) => Ok(bytes),
        Some(None) => Err("FAIL not-a-file".into()),
        None => Err(format!("FAIL {}", missing(tree, name))),
    }
}

fn get(tree: &Tree, name: &str, offset: usize, length: usize) -> Vec<String> {
    let bytes = match file(tree, name) {
        Ok(bytes) => bytes,
        Err(failure) => return vec![failure],
    };
    if offset > bytes.len() {
        return vec!["FAIL bad-range".into()];
    }
    let range = &bytes[offset..offset.saturating_add(length).min(bytes.len())];
    let end = format!("END {}", crc(range));
    let mut lines = vec![format!("FILE {}", bytes.len())];
    if range.is_empty() {
        lines.push(end);
    } else {
        // The bytes hold no LF, so they stand on one line with the END behind them.
        lines.push(format!("DATA {}", range.len()));
        lines.push(format!("{}{end}", String::from_utf8_lossy(range)));
    }
    lines
}

fn stat(tree: &Tree, name: &str) -> String {
    if is_directory(tree, name) {
        return "DIR".into();
    }
    file(tree, name).map_or_else(|failure| failure, |bytes| format!("FILE {}", bytes.len()))
}

fn sum(tree: &Tree, name: &str) -> String {
    file(tree, name).map_or_else(|failure| failure, |bytes| format!("SUM {} {}", bytes.len(), crc(bytes)))
}

fn make_directory(tree: &mut Tree, name: &str) -> String {
    if let Some(code) = refusal_to_make(tree, name) {
        return format!("FAIL {code}");
    }
    if tree.contains_key(name) {
        return "FAIL exists".into();
    }
    tree.insert(name.to_owned(), None);
    "DONE".into()
}

fn has_children(tree: &Tree, name: &str) -> bool {
    tree.keys().any(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')))
}

fn delete(tree: &mut Tree, name: &str) -> String {
    if !tree.contains_key(name) {
        return format!("FAIL {}", missing(tree, name));
    }
    if has_children(tree, name) {
        return "FAIL not-empty".into();
    }
    tree.remove(name);
    "DONE".into()
}

fn rename(tree: &mut Tree, from: &str, to: &str) -> String {
    let inside = to.strip_prefix(from).is_some_and(|rest| rest.starts_with('/'));
    if !tree.contains_key(from) {
        return format!("FAIL {}", missing(tree, from));
    }
    if let Some(code) = refusal_to_make(tree, to) {
        return format!("FAIL {code}");
    }
    if inside {
        return if tree.contains_key(to) { "FAIL exists".into() } else { "FAIL bad-request".into() };
    }
    if tree.contains_key(to) {
        return "FAIL exists".into();
    }
    let moved: Vec<String> =
        tree.keys().filter(|name| *name == from || name.starts_with(&format!("{from}/"))).cloned().collect();
    for name in moved {
        let content = tree.remove(&name).expect("it was just there");
        tree.insert(format!("{to}{}", &name[from.len()..]), content);
    }
    "DONE".into()
}
