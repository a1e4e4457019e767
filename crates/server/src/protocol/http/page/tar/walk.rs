//! The order of a tree's entries.

use std::sync::Arc;

use ferry_wire::{Name, Time};

use crate::{
    access::{Rights, RightsTable},
    store::{DirEntry, Listed, Status},
};

/// The most memory for names of directories that are still to be entered: some 100,000 of them.
const MAX_PENDING_BYTES: usize = 8 << 20;

/// Bytes that a directory to be entered takes beside its name.
const PENDING_BYTES: usize = 48;

/// The next step of a [`TarWalk`].
#[derive(Debug, PartialEq, Eq)]
pub enum TarStep<D> {
    /// List this directory, and give what comes to [`TarWalk::listed`].
    List(Option<Name>),
    /// Go on with that listing.
    ListMore(D),
    /// This directory is the next entry.
    Directory(Name, Option<Time>),
    /// This file is the next entry, if it is still there.
    File(Name),
    /// There are no more entries.
    End,
    /// More directories are to be entered than the walk can keep: the archive can't be made.
    TooLarge,
}

/// A walk through a tree, by the rights of who asked for it.
///
/// Of each directory come first the files, in the order of the listing, then the directories, each with all that is
/// in it. So one directory at most is open at a time. Files that may not be read and directories that may not be
/// listed are left out.
pub struct TarWalk<D> {
    rights: Arc<RightsTable>,
    /// Bytes of the names before the top directory's own.
    cut: usize,
    /// The directory that is being listed.
    here: Option<Name>,
    entries: std::vec::IntoIter<DirEntry>,
    next: Next<D>,
    /// Directories to enter, the last one first.
    pending: Vec<(Name, Option<Time>)>,
    pending_bytes: usize,
}

/// The work that follows the entries at hand.
enum Next<D> {
    /// The directory is to be listed.
    List,
    /// It goes on.
    More(D),
    /// It has ended, or is awaited.
    Nothing,
}

impl<D> TarWalk<D> {
    /// Begins in a directory, or in the root.
    #[must_use]
    pub fn new(top: Option<Name>, rights: Arc<RightsTable>) -> TarWalk<D> {
        let cut = top.as_ref().and_then(Name::parent).map_or(0, |parent| parent.len() + 1);
        let (entries, pending) = (Vec::new().into_iter(), Vec::new());
        TarWalk { rights, cut, here: top, entries, next: Next::List, pending, pending_bytes: 0 }
    }

    /// Returns the path of an entry in the archive: it begins with the top directory's last component.
    #[must_use]
    pub fn path<'a>(&self, name: &'a Name) -> &'a str {
        name.as_str().get(self.cut..).unwrap_or_default()
    }

    /// Takes the entries that came.
    pub fn listed(&mut self, listed: Listed<D>) {
        self.entries = listed.entries.into_iter();
        self.next = listed.more.map_or(Next::Nothing, Next::More);
    }

    /// Takes the next step.
    pub fn step(&mut self) -> TarStep<D> {
        while let Some(entry) = self.entries.next() {
            // A name that is too long can't be asked for: nobody can get it.
            let Some(name) = self.whole_name(&entry.name) else { continue };
            let place = self.rights.at(self.here.as_ref());
            let own = place.enter(entry.name.as_str());
            match entry.status {
                _ if !place.shows(entry.name.as_str()) => {}
                Status::File(_) if own.rights().has(Rights::READ) => return TarStep::File(name),
                Status::Directory { mtime, .. } if own.may_list() => {
                    self.pending_bytes += name.as_str().len() + PENDING_BYTES;
                    if self.pending_bytes > MAX_PENDING_BYTES {
                        return TarStep::TooLarge;
                    }
                    self.pending.push((name, mtime));
                }
                _ => {}
            }
        }
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::List => return TarStep::List(self.here.clone()),
            Next::More(dir) => return TarStep::ListMore(dir),
            Next::Nothing => {}
        }
        let Some((name, mtime)) = self.pending.pop() else { return TarStep::End };
        self.pending_bytes -= name.as_str().len() + PENDING_BYTES;
        self.here = Some(name.clone());
        self.next = Next::List;
        TarStep::Directory(name, mtime)
    }

    fn whole_name(&self, component: &Name) -> Option<Name> {
        match &self.here {
            None => Some(component.clone()),
            Some(here) => here.join(component.as_str()).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ferry_wire::Tag;

    use super::*;
    use crate::store::FileVersion;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn entry(text: &str) -> DirEntry {
        let status = match text.strip_suffix('/') {
            Some(_) => Status::Directory { mtime: Time::new(7, 0), mode: None },
            None => Status::File(FileVersion {
                size: 1,
                mtime: None,
                tag: Tag::new("t").unwrap(),
                mode: ferry_wire::Mode::of(0o644),
            }),
        };
        DirEntry { name: name(text.trim_end_matches('/')), status }
    }

    /// Walks a tree whose listings come in parts, and returns the paths in the archive.
    fn walked(tree: &[(&str, &[&[&str]])], top: Option<&str>, rights: &[(&str, Rights)]) -> Vec<String> {
        let tree: BTreeMap<&str, &[&[&str]]> = tree.iter().copied().collect();
        let key = |text: &str| (!text.is_empty()).then(|| name(text));
        let rights = rights.iter().map(|&(text, rights)| (key(text), rights)).collect();
        let mut walk = TarWalk::new(top.map(name), Arc::new(rights));
        let mut paths = Vec::new();
        loop {
            let (directory, part) = match walk.step() {
                TarStep::List(name) => (name.map_or(String::new(), |name| name.to_string()), 0),
                TarStep::ListMore(at) => at,
                TarStep::Directory(name, mtime) => {
                    assert_eq!(mtime, Time::new(7, 0));
                    paths.push(format!("{}/", walk.path(&name)));
                    continue;
                }
                TarStep::File(name) => {
                    paths.push(walk.path(&name).to_owned());
                    continue;
                }
                TarStep::End => return paths,
                TarStep::TooLarge => panic!("{paths:?}"),
            };
            let parts = tree[&*directory];
            let entries = parts[part].iter().map(|text| entry(text)).collect();
            let more = (part + 1 < parts.len()).then_some((directory, part + 1));
            walk.listed(Listed { entries, more });
        }
    }

    const TREE: &[(&str, &[&[&str]])] = &[
        ("", &[&["a", "s/", "b"], &[], &["c", "t/"]]),
        ("s", &[&["x", "deep/"]]),
        ("s/deep", &[&["y"]]),
        ("t", &[&[]]),
    ];

    #[test]
    fn each_entry_comes_once_files_before_directories() {
        let paths = walked(TREE, None, &[("", Rights::ALL)]);
        assert_eq!(paths, ["a", "b", "c", "t/", "s/", "s/x", "s/deep/", "s/deep/y"]);
    }

    #[test]
    fn paths_begin_with_the_top_directory() {
        assert_eq!(walked(TREE, Some("s"), &[("", Rights::ALL)]), ["s/x", "s/deep/", "s/deep/y"]);
        assert_eq!(walked(TREE, Some("s/deep"), &[("", Rights::ALL)]), ["deep/y"]);
    }

    #[test]
    fn what_may_not_be_read_is_left_out() {
        let readable = Rights::LIST | Rights::READ;
        for (rights, expected) in [
            (&[("", readable), ("s", Rights::ADD), ("b", Rights::LIST)][..], "a c t/"),
            (&[("", readable), ("s/deep", Rights::NONE)], "a b c t/ s/ s/x"),
            (&[("", Rights::LIST)], "t/ s/ s/deep/"),
            (&[("s/deep", readable)], "s/ s/deep/ s/deep/y"),
        ] {
            assert_eq!(walked(TREE, None, rights).join(" "), expected, "{rights:?}");
        }
    }

    #[test]
    fn directories_to_be_entered_are_bounded() {
        let mut walk = TarWalk::new(None, Arc::new(RightsTable::everywhere(Rights::ALL)));
        let mut count = 0;
        loop {
            match walk.step() {
                TarStep::List(_) | TarStep::ListMore(()) => {
                    let entries = (0..1000).map(|n| entry(&format!("{count}-{n}/"))).collect();
                    count += 1;
                    walk.listed(Listed { entries, more: Some(()) });
                }
                TarStep::TooLarge => break,
                step => panic!("{step:?}"),
            }
            assert!(walk.pending_bytes <= MAX_PENDING_BYTES);
        }
        assert!(count > 100);
    }

    #[test]
    fn a_name_that_is_too_long_to_ask_for_is_left_out() {
        let deep = (0..4).map(|_| "d".repeat(250)).collect::<Vec<_>>().join("/");
        let long = "f".repeat(200);
        let tree: &[(&str, &[&[&str]])] = &[(&deep, &[&[&long, "short"]])];
        let paths = walked(tree, Some(&deep), &[("", Rights::ALL)]);
        assert_eq!(paths, [format!("{}/short", "d".repeat(250))]);
    }
}
