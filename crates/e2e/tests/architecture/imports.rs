//! The paths within its own crate that a file names, in `use` declarations and elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::Source;

/// Names that modules re-export, by their paths, each with the path of its origin.
#[derive(Debug, Default)]
pub(crate) struct Exports(BTreeMap<Vec<String>, Vec<String>>);

impl Exports {
    /// Finds the `pub use` declarations in `sources`.
    pub(crate) fn of(sources: &[Source]) -> Exports {
        let mut exports = BTreeMap::new();
        for source in sources {
            let text = source.text();
            for keyword in ["pub use ", "pub(crate) use "] {
                for (at, _) in text.match_indices(keyword) {
                    let declaration = text[at + keyword.len()..].split(';').next().unwrap_or_default();
                    for path in flatten(declaration) {
                        let Some(origin) = absolute(&path, &source.module) else { continue };
                        let exported: Vec<String> = source.module.iter().chain(origin.last()).cloned().collect();
                        // A function may have the name of its module: that path leads into the module already.
                        if !origin.starts_with(&exported) {
                            exports.insert(exported, origin);
                        }
                    }
                }
            }
        }
        Exports(exports)
    }

    /// Returns the path from which `path` comes, through a few re-exports.
    fn origin(&self, mut path: Vec<String>) -> Vec<String> {
        // More than anybody writes, so that two modules which re-export each other end the search, too.
        const MOST: usize = 8;
        for _ in 0..MOST {
            let exported = (1..=path.len()).find_map(|length| Some((length, self.0.get(&path[..length])?)));
            let Some((length, origin)) = exported else { break };
            path = origin.iter().chain(&path[length..]).cloned().collect();
        }
        path
    }
}

/// Returns every path of its own crate that `source` names, as segments after `crate`. Re-exported names stand
/// as the paths that they come from.
pub(crate) fn imports(source: &Source, exports: &Exports) -> BTreeSet<Vec<String>> {
    let text = source.text();
    let named = paths(&text).into_iter().filter_map(|path| absolute(&path, &source.module));
    named.map(|path| exports.origin(path)).collect()
}

/// Returns the paths in `text` that begin with `crate`, `super` or `self`, braces taken apart.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(root) {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            // `super::super::` is found by its first word; `pub(in crate::x)` and `$crate::` name nothing more.
            if before.is_alphanumeric() || matches!(before, '_' | ':' | '$') {
                continue;
            }
            paths.extend(flatten(&text[at..at + length(&text[at..])]));
        }
    }
    paths
}

/// Returns how far a path goes that `text` begins with, its braces included.
fn length(text: &str) -> usize {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ if depth > 0 || character.is_alphanumeric() || matches!(character, '_' | ':') => {}
            _ => return at,
        }
    }
    text.len()
}

/// Takes `a::{b, c::{d, e}}` apart into `a::b`, `a::c::d` and `a::c::e`.
fn flatten(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some(brace) = tree.find('{') else {
        let words = tree.split(" as ").next().unwrap_or_default().split("::").map(str::trim);
        let path: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
        return if path.is_empty() { Vec::new() } else { vec![path] };
    };
    let prefix: Vec<String> =
        tree[..brace].split("::").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let inner = tree[brace + 1..].trim_end().strip_suffix('}').unwrap_or(&tree[brace + 1..]);
    let mut paths = Vec::new();
    for branch in branches(inner) {
        for path in flatten(branch) {
            let path = path.into_iter().filter(|word| word != "self");
            paths.push(prefix.iter().cloned().chain(path).collect());
        }
    }
    paths
}

/// Splits at the commas that stand in no braces.
fn branches(inner: &str) -> Vec<&str> {
    let (mut depth, mut start, mut branches) = (0, 0, Vec::new());
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&inner[start..]);
    branches
}

/// Resolves `crate`, `self` and `super` in a file of `module`. Returns [`None`] for a path that leads nowhere.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut base: Vec<String> = match path.first()?.as_str() {
        "crate" => Vec::new(),
        _ => module.to_vec(),
    };
    for word in path {
        match word.as_str() {
            "crate" | "self" => {}
            "super" => drop(base.pop()?),
            word => base.push(word.to_owned()),
        }
    }
    Some(base)
}

#[test]
fn paths_are_found_and_taken_apart() {
    let text =
        "use crate::{a::{self, B}, c as d};\npub(crate) fn f(x: crate::e::F) { super::super::g::h() }\nuse std::io;";
    let module = ["x".to_owned(), "y".to_owned()];
    let mut found: Vec<String> = paths(text).iter().map(|path| absolute(path, &module).unwrap().join("::")).collect();
    found.sort();
    assert_eq!(found, ["a", "a::B", "c", "e::F", "g::h"]);
}

#[test]
fn a_name_comes_from_where_it_is_declared() {
    let source = |module: &[&str], text: &str| Source {
        path: "".into(),
        module: module.iter().map(|word| (*word).to_owned()).collect(),
        lines: text.lines().map(str::to_owned).enumerate().collect(),
    };
    let exports = Exports::of(&[source(&[], "pub use a::A;"), source(&["a"], "mod b;\npub use b::{A, B as C};")]);
    let importer = source(&["x"], "use crate::{A, a::D};\n");
    let imported: Vec<String> = imports(&importer, &exports).iter().map(|path| path.join("::")).collect();
    assert_eq!(imported, ["a::D", "a::b::A"]);
}
