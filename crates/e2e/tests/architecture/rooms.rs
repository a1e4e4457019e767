//! The rooms of each crate, and who imports whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    imports::{Exports, imports},
    sources::Source,
};

/// A part of a crate that imports only what its table says.
pub(crate) struct Room {
    /// The name of the room in this test.
    pub(crate) name: &'static str,
    /// The modules that it consists of, by their paths without `crate`; those of other rooms beneath them
    /// excluded.
    pub(crate) modules: &'static [&'static str],
    /// The rooms that it may import from.
    pub(crate) imports: &'static [&'static str],
}

/// Panics where a room of the crate in `directory` imports from one that its table does not name, or where a
/// module belongs to no room, or where rooms import from each other in a circle.
pub(crate) fn check(directory: &str, rooms: &[Room]) {
    let edges = edges(directory, rooms);
    let mut offences = Vec::new();
    for ((from, to), files) in &edges {
        let room = rooms.iter().find(|room| room.name == *from).unwrap();
        if !room.imports.contains(to) {
            offences.push(format!("{from} must not import {to}: {}", files.join(", ")));
        }
    }
    for room in rooms {
        for import in room.imports {
            assert!(rooms.iter().any(|other| other.name == *import), "{directory}: no room is called {import}");
        }
    }
    assert!(offences.is_empty(), "{directory}:\n{}", offences.join("\n"));
    if let Some(circle) = circle(&edges.keys().copied().collect()) {
        panic!("{directory}: a circle of rooms: {}", circle.join(" -> "));
    }
}

/// Returns each import between two rooms, with the files that make it.
fn edges<'a>(directory: &str, rooms: &'a [Room]) -> BTreeMap<(&'a str, &'a str), Vec<String>> {
    let sources = Source::of_crate(directory);
    let exports = Exports::of(&sources);
    let mut edges: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for source in &sources {
        // The top of a crate names its rooms and puts them together.
        if source.module.is_empty() {
            continue;
        }
        let Some(from) = room_of(&source.module, rooms) else {
            panic!("{directory}/src/{} is in no room", source.path.display());
        };
        for path in imports(source, &exports) {
            if let Some(to) = room_of(&path, rooms).filter(|to| *to != from) {
                let file = source.path.display().to_string();
                let files = edges.entry((from, to)).or_default();
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
    }
    edges
}

/// Returns the room with the longest module that `path` lies in.
fn room_of<'a>(path: &[String], rooms: &'a [Room]) -> Option<&'a str> {
    let within = |module: &str| {
        let words: Vec<&str> = module.split("::").filter(|word| !word.is_empty()).collect();
        let matches = words.len() <= path.len() && words.iter().zip(path).all(|(word, part)| *word == part);
        matches.then_some(words.len())
    };
    let candidates =
        rooms.iter().flat_map(|room| room.modules.iter().filter_map(move |module| Some((within(module)?, room.name))));
    candidates.max_by_key(|(length, _)| *length).map(|(_, name)| name)
}

/// Returns rooms that import from each other in a circle, if there are any.
fn circle<'a>(edges: &BTreeSet<(&'a str, &'a str)>) -> Option<Vec<&'a str>> {
    let mut left = edges.clone();
    // A room that imports nothing, or that nobody imports, is in no circle.
    loop {
        let importing: BTreeSet<_> = left.iter().map(|(from, _)| *from).collect();
        let imported: BTreeSet<_> = left.iter().map(|(_, to)| *to).collect();
        let before = left.len();
        left.retain(|(from, to)| importing.contains(to) && imported.contains(from));
        if left.len() == before {
            break;
        }
    }
    let mut path = vec![left.first()?.0];
    loop {
        let last = *path.last()?;
        let next = left.iter().find(|(from, _)| *from == last)?.1;
        let begins = path.iter().position(|room| *room == next);
        path.push(next);
        if let Some(begins) = begins {
            return Some(path.split_off(begins));
        }
    }
}

#[test]
fn circles_are_found() {
    assert_eq!(circle(&BTreeSet::from([("a", "b"), ("b", "c"), ("a", "c")])), None);
    let circle = circle(&BTreeSet::from([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])).unwrap();
    assert_eq!(circle, ["b", "c", "b"]);
}
