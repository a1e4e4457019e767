//! FIND, TREE and DU: walks through all that is beneath directories of the server.

use std::collections::HashSet;

use ferry_client::{Code, EntryKind, Found, Name, Pattern, RemoteTree, Usage};
use ferry_wire::escaped;

use super::{Session, failures::Failures, listing::Line, names::Meant, reasons};
use crate::{
    command::{Depth, Kind, Listing, Order, Places, Search, Sizes},
    exit::{Exit, Failed},
    figures::{Count, Size},
    output::Event,
    words::Word,
};

/// A place to look at.
enum Place {
    /// A directory, or the root, with all that is beneath it.
    Directory(Option<Name>, RemoteTree),
    /// Something that is no directory.
    File(Name, EntryKind),
}

impl Session {
    /// Looks through each of `places` and has `take` print it. What can't be seen is told, and the others are gone on with.
    fn walk(
        &mut self,
        verb: &str,
        places: &Places,
        mut take: impl FnMut(&mut Session, Place) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let mut failures = Failures::new(true);
        let here = || vec![Meant { name: self.remote.clone(), kind: None, matched: false, typed: ".".to_owned() }];
        let meant = match places.names() {
            None => {
                let here = here();
                self.connected()?;
                here
            }
            Some(names) => self.find(verb, &names, &mut failures)?,
        };
        if meant.len() == 1 {
            failures.only_one_left();
        }
        for Meant { name, kind, .. } in meant {
            let place = self.look_at(verb, name, kind, &mut failures);
            match place {
                Ok(place) => take(self, place)?,
                Err(failed) => failures.take(&mut self.output, failed)?,
            }
        }
        failures.end_of_looking()
    }

    fn look_at(
        &mut self,
        verb: &str,
        name: Option<Name>,
        kind: Option<EntryKind>,
        failures: &mut Failures,
    ) -> Result<Place, Failed> {
        if let (Some(name), Some(kind @ EntryKind::File(_))) = (&name, kind) {
            return Ok(Place::File(name.clone(), kind));
        }
        self.connected()?;
        let mut tree = match (self.ask(|client| client.tree(name.as_ref())), name.as_ref()) {
            (Ok(tree), _) => tree,
            (Err(error), Some(file)) if error.code() == Some(Code::NotADirectory) => {
                return match self.look(verb, Some(file))? {
                    Some(kind @ EntryKind::File(_)) => Ok(Place::File(file.clone(), kind)),
                    _ => Err(self.failure_of(verb, Some(file), &error)),
                };
            }
            (Err(error), name) => return Err(self.failure_of(verb, name, &error)),
        };
        for (unseen, error) in std::mem::take(&mut tree.skipped) {
            let failed = reasons::failed(verb, &self.shown(Some(&unseen)), unseen.as_str(), &error);
            failures.tell(&mut self.output, &failed);
        }
        Ok(Place::Directory(name, tree))
    }

    pub(super) fn search(&mut self, search: &Search) -> Result<(), Failed> {
        let pattern = search.name.as_ref().map(name_pattern).transpose()?;
        let style = Listing { long: search.long, human: search.human, order: Order::Name, reverse: false };
        let kind = search.kind;
        self.walk("FIND", &search.places, |session, place| {
            let found = match place {
                Place::File(name, kind) => vec![Found { name, kind }],
                Place::Directory(_, tree) => tree.found,
            };
            for Found { name, kind: is } in found {
                let is_directory = matches!(is, EntryKind::Directory(_));
                let is_wanted = kind.is_none_or(|kind| (kind == Kind::Directory) == is_directory);
                if is_wanted && pattern.as_ref().is_none_or(|pattern| pattern.is_of(name.last())) {
                    Line::of(session.shown(Some(&name)), name.as_str(), &is).print(style, &mut session.output);
                }
            }
            Ok(())
        })
    }

    pub(super) fn draw(&mut self, depth: &Depth) -> Result<(), Failed> {
        let (mut files, mut directories) = (0, 0);
        self.walk("TREE", &depth.places, |session, place| {
            let (top, mut tree) = match place {
                Place::File(name, _) => {
                    let message = format!("TREE {}: that is no directory", session.shown(Some(&name)));
                    return Err(Failed::of(Exit::Refused, message).about(name.as_str()));
                }
                Place::Directory(name, tree) => (name, tree.found),
            };
            let level =
                |name: &Name| components(name.as_str()) - top.as_ref().map_or(0, |top| components(top.as_str()));
            tree.retain(|found| {
                depth.level.is_none_or(|most| level(&found.name) <= most)
                    && (found.is_directory() || !depth.directories)
            });
            let shown = session.shown(top.as_ref());
            session.output.answer(&shown, || {
                Event::new("directory").with("name", top.as_ref().map(|name| name.as_str().to_owned()))
            });
            let levels: Vec<usize> = tree.iter().map(|found| level(&found.name)).collect();
            for (found, branch) in tree.iter().zip(branches(&levels)) {
                *(if found.is_directory() { &mut directories } else { &mut files }) += 1;
                let last = format!("{branch}{}", escaped(found.name.last()));
                let style = Listing { long: false, human: false, order: Order::Name, reverse: false };
                Line::of(last, found.name.as_str(), &found.kind).print(style, &mut session.output);
            }
            Ok(())
        })?;
        self.output.say(format_args!("{}, {}", Count(directories, "directory"), Count(files, "file")), || {
            Event::new("tree").with("directories", directories).with("files", files)
        });
        Ok(())
    }

    pub(super) fn sum_up(&mut self, sizes: &Sizes) -> Result<(), Failed> {
        // Of what stands in several places, each has its line once.
        let mut seen = HashSet::new();
        self.walk("DU", &sizes.places, |session, place| {
            let (mut sums, is_directory) = match place {
                Place::File(name, kind) => (vec![(Some(name), usage_of(&kind))], false),
                Place::Directory(name, tree) => (tree.usage(name.as_ref()), true),
            };
            if sizes.summarize {
                // The whole is the last.
                sums = sums.pop().into_iter().collect();
            }
            for (name, usage) in sums {
                if seen.insert(name.clone()) {
                    session.tell_usage(name.as_ref(), is_directory, usage, sizes.human);
                }
            }
            Ok(())
        })
    }

    fn tell_usage(&mut self, name: Option<&Name>, is_directory: bool, usage: Usage, human: bool) {
        let Usage { bytes, files, directories } = usage;
        let size = if human { Size(bytes).to_string() } else { bytes.to_string() };
        let is_below = |current: &Name| name.is_some_and(|name| name == current);
        let shown = match self.remote.as_ref().is_some_and(is_below) || name.is_none() && self.remote.is_none() {
            true => ".".to_owned(),
            false => self.shown(name),
        };
        let end = if is_directory && shown != "." && shown != "/" { "/" } else { "" };
        self.output.answer(format_args!("{size:>15}  {shown}{end}"), || {
            let event = Event::new("usage").with("name", name.map_or("/", Name::as_str)).with("bytes", bytes);
            event.with("files", files).with("directories", directories)
        });
    }
}

fn usage_of(kind: &EntryKind) -> Usage {
    match kind {
        EntryKind::File(meta) => Usage { bytes: meta.size, files: 1, directories: 0 },
        EntryKind::Directory(_) => Usage::default(),
    }
}

/// Returns the pattern that a name is held against.
fn name_pattern(word: &Word) -> Result<Pattern, Failed> {
    let wrong = |why: String| Failed::usage(format!("FIND --name {}: {why}", escaped(&word.text)));
    let literal = Word { pattern: None, quoted: true, ..word.clone() }.to_argument();
    let text = word.pattern.as_deref().unwrap_or_else(|| literal.trim_start_matches('\0'));
    let pattern = Pattern::new(text).map_err(|error| wrong(error.to_string()))?;
    match pattern.is_of_one_component() {
        true => Ok(pattern),
        false => Err(wrong("one name is meant, without '/'".to_owned())),
    }
}

fn components(name: &str) -> usize {
    name.split('/').count()
}

/// Returns what is drawn in front of each of the things that lie so many `levels` deep, from 1 on, in the order of a tree.
fn branches(levels: &[usize]) -> Vec<String> {
    // From the end: whether anything of a level is still to come beneath the same directory.
    let mut follows: Vec<bool> = Vec::new();
    let mut drawn: Vec<String> = levels
        .iter()
        .rev()
        .map(|&level| {
            follows.resize(level + 1, false);
            let outer = (1..level).map(|outer| if follows[outer] { "│   " } else { "    " });
            let own = if follows[level] { "├── " } else { "└── " };
            let text = outer.chain([own]).collect();
            follows[level] = true;
            text
        })
        .collect();
    drawn.reverse();
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_lead_to_what_is_still_to_come() {
        assert_eq!(branches(&[]), [""; 0]);
        assert_eq!(branches(&[1, 2, 3, 2, 1, 2]), ["├── ", "│   ├── ", "│   │   └── ", "│   └── ", "└── ", "    └── "]);
    }

    #[test]
    fn a_quoted_name_is_no_pattern() {
        let pattern = |line: &str| name_pattern(&crate::words::split(line).unwrap()[0]).unwrap();
        assert!(pattern("*.txt").is_of("a.txt") && !pattern("'*.txt'").is_of("a.txt"));
        assert!(pattern("'*.txt'").is_of("*.txt") && pattern("a").is_of("a"));
        assert!(name_pattern(&crate::words::split("a/*").unwrap()[0]).is_err());
        assert!(name_pattern(&crate::words::split("[").unwrap()[0]).is_err());
    }
}
