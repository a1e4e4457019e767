//! The tree beneath a local directory.

use std::{
    ffi::{CStr, OsStr},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
};

use ferry_wire::{DirMeta, Mode, Name, NameError, Time};
use rustix::{
    fs::{AtFlags, Dir, FileType, OFlags, Stat},
    io::Errno,
};

use super::{
    End, Left, Node, NodeKind, TreePlaces,
    links::Linked,
    names::{in_tree_order, unnameable},
};
use crate::{
    choose::{Chooser, Links},
    error::Error,
    local::{LocalPath, is_staged},
};

/// The tree beneath a local directory.
#[derive(Debug)]
pub(crate) struct LocalTree {
    /// Directories and regular files, in the order of a tree: a directory before what is in it.
    pub(crate) nodes: Vec<Node>,
    /// Things that can't be sent.
    pub(crate) skipped: Vec<Skipped>,
    /// Things that are left out by choice.
    pub(crate) left: Left,
    /// The time and the permissions of its root.
    pub(crate) root: DirMeta,
    linked: Linked,
}

/// Something beneath a local directory that can't be sent.
#[derive(Debug)]
pub(crate) struct Skipped {
    /// Its name below the directory that was asked for, where that is a valid one; what is beneath it is not known.
    pub(crate) name: Option<Name>,
    /// The directory that it is in, in the same way; [`None`] for the one that was asked for.
    pub(crate) directory: Option<Name>,
    /// Why: no valid name, not readable, neither a file nor a directory.
    pub(crate) error: Error,
    /// It is of a kind that is never sent: a link, neither a file nor a directory, or of a name that begins with
    /// `.ferry`.
    pub(crate) by_rule: bool,
}

/// The decision on a thing that a walk finds.
pub(crate) struct Walk<'a, 'c> {
    pub(crate) chooser: &'a mut Chooser<'c>,
    pub(crate) end: End,
    pub(crate) links: Links,
    /// Learns how many things were found so far.
    pub(crate) watch: &'a mut dyn FnMut(usize),
}

/// The words for what is never sent.
const NEITHER: &str = "is neither a file nor a directory";

/// One entry of an open directory.
struct Entry<'a> {
    at: &'a OwnedFd,
    /// The directory's name; [`None`] for the one that was asked for.
    directory: Option<&'a Name>,
    last: &'a CStr,
    path: LocalPath,
    kind: FileType,
}

/// The kind of an entry.
enum Looked {
    File(Stat),
    /// With its time and permissions, where it was looked at for more than its kind.
    Directory(DirMeta),
    /// It can't be sent, and whether that is so of all that are of its kind.
    Refused(Error, bool),
}

impl Looked {
    fn of(stat: Result<Stat, Errno>, path: &LocalPath) -> Looked {
        match stat.map(|stat| (FileType::from_raw_mode(stat.st_mode), stat)) {
            Err(errno) => Looked::Refused(path.failed("read", errno), false),
            Ok((FileType::RegularFile, stat)) => Looked::File(stat),
            Ok((FileType::Directory, stat)) => Looked::Directory(meta(&stat)),
            Ok(_) => Looked::Refused(Error::file(&**path, NEITHER), true),
        }
    }
}

impl LocalTree {
    /// Looks through the tree of `places`. Symbolic links beneath it are not followed but skipped, unless the walk says otherwise, and so
    /// are names that begin with `.ferry`; only downloads that are not whole yet are left out without a word, as is
    /// what is not chosen.
    ///
    /// # Errors
    ///
    /// Where its root itself can't be read, or is no directory; or where links stand for too much.
    pub(crate) fn walk(places: TreePlaces, mut walk: Walk<'_, '_>) -> Result<LocalTree, Error> {
        let linked = Linked::new(walk.links, places);
        let (nodes, skipped, left) = (Vec::new(), Vec::new(), Left::default());
        let mut tree = LocalTree { nodes, skipped, left, root: DirMeta::default(), linked };
        tree.root = tree.read(None, &mut walk)?;
        let mut next = 0;
        while let Some(node) = tree.nodes.get(next) {
            next += 1;
            if !node.kind.is_directory() {
                continue;
            }
            let directory = node.name.clone();
            match tree.read(Some(&directory), &mut walk) {
                Ok(DirMeta { mtime, mode }) => tree.nodes[next - 1].kind = NodeKind::Directory { mtime, mode },
                Err(error) => tree.skip(Some(&directory), None, error, false),
            }
            tree.linked.count(None)?;
            (walk.watch)(tree.nodes.len());
        }
        tree.nodes.sort_by(|a, b| in_tree_order(a.name.as_str(), b.name.as_str()));
        Ok(tree)
    }

    /// Notes what is in `directory`, and returns its time and permissions.
    fn read(&mut self, directory: Option<&Name>, walk: &mut Walk<'_, '_>) -> Result<DirMeta, Error> {
        let place = self.linked.places.directory(directory);
        let failed = |errno| place.failed("read the directory", errno);
        let fd = place.open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        let meta = meta(&rustix::fs::fstat(&fd).map_err(failed)?);
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let last = entry.file_name();
            if !matches!(last.to_bytes(), b"." | b"..") {
                self.linked.count(directory)?;
                let path = place.beneath(OsStr::from_bytes(last.to_bytes()));
                self.take(&Entry { at: &fd, directory, last, path, kind: entry.file_type() }, walk);
            }
        }
        Ok(meta)
    }

    /// Notes one thing in a directory.
    fn take(&mut self, entry: &Entry<'_>, walk: &mut Walk<'_, '_>) {
        let Entry { directory, last, path, .. } = entry;
        let (looked, place) = self.look(entry);
        let is_directory = matches!(looked, Looked::Directory(_));
        let name = match name_in(*directory, last.to_bytes()) {
            Ok(name) if self.left.sift(walk.chooser, walk.end, &name, is_directory) => name,
            Ok(_) => return,
            Err(NameError::Reserved) if matches!(looked, Looked::File(_)) && last.to_str().is_ok_and(is_staged) => {
                return;
            }
            Err(problem) => {
                let text =
                    directory.map_or_else(String::new, |directory| format!("{directory}/")) + &last.to_string_lossy();
                if self.left.sift_unnamed(walk.chooser, *directory, &text, is_directory) {
                    let error = Error::file(&**path, unnameable(problem));
                    self.skip(None, *directory, error, problem == NameError::Reserved);
                }
                return;
            }
        };
        let kind = match looked {
            Looked::Refused(error, by_rule) => return self.skip(Some(&name), *directory, error, by_rule),
            Looked::Directory(DirMeta { mtime, mode }) => NodeKind::Directory { mtime, mode },
            Looked::File(stat) => {
                let (size, mode) = (u64::try_from(stat.st_size).unwrap_or(0), Some(Mode::of(stat.st_mode)));
                NodeKind::File { size, mtime: mtime(&stat), tag: None, mode }
            }
        };
        if let Some(place) = place {
            self.linked.note(*directory, &name, place, is_directory);
        }
        self.nodes.push(Node { name, kind });
    }

    /// Looks at one thing in a directory; returns its place as well, where it is what a link stands for.
    fn look(&mut self, entry: &Entry<'_>) -> (Looked, Option<LocalPath>) {
        let Entry { at, directory, last, path, kind } = entry;
        let stat = match *kind {
            // Not every file system tells in its listings.
            FileType::RegularFile | FileType::Unknown => rustix::fs::statat(at, *last, AtFlags::SYMLINK_NOFOLLOW),
            // It is opened later, and then shows its time.
            FileType::Directory => return (Looked::Directory(DirMeta::default()), None),
            FileType::Symlink => {
                return match self.linked.follow(*directory, path) {
                    Ok(place) => (Looked::of(place.stat(), path), Some(place)),
                    Err(error) => (Looked::Refused(error, true), None),
                };
            }
            _ => return (Looked::Refused(Error::file(&**path, NEITHER), true), None),
        };
        match stat {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                self.look(&Entry { kind: FileType::Symlink, path: path.clone(), ..*entry })
            }
            stat => (Looked::of(stat, path), None),
        }
    }

    /// Notes what can't be sent: `name`, where it has one, which is in `directory`, if that is not in the name.
    fn skip(&mut self, name: Option<&Name>, directory: Option<&Name>, error: Error, by_rule: bool) {
        let above = || name.and_then(Name::parent).and_then(|parent| Name::new(parent).ok());
        let directory = directory.cloned().or_else(above);
        self.skipped.push(Skipped { name: name.cloned(), directory, error, by_rule });
    }
}

/// The time of the last change of a file's content, or of a directory's entries; [`None`] before 1970.
fn mtime(stat: &Stat) -> Option<Time> {
    Time::new(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).ok()?)
}

/// The time and the permissions of a directory.
fn meta(stat: &Stat) -> DirMeta {
    DirMeta { mtime: mtime(stat), mode: Some(Mode::of(stat.st_mode)) }
}

/// The name of `last` in `directory`.
fn name_in(directory: Option<&Name>, last: &[u8]) -> Result<Name, NameError> {
    match directory {
        None => Name::from_bytes(last),
        Some(directory) => Name::from_bytes(&[directory.as_str().as_bytes(), b"/", last].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::Choice;
    use std::{
        ffi::OsStr,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    fn walk(root: impl Into<LocalPath>) -> Result<LocalTree, Error> {
        walk_by(root, &Choice::default(), Links::Skip)
    }

    fn walk_by(root: impl Into<LocalPath>, choice: &Choice, links: Links) -> Result<LocalTree, Error> {
        let mut chooser = Chooser::without_files(choice, "");
        let walk = Walk { chooser: &mut chooser, end: End::Read, links, watch: &mut |_| {} };
        LocalTree::walk(TreePlaces::of(root.into().hold()?.place("")), walk)
    }

    fn names(tree: &LocalTree) -> Vec<&str> {
        tree.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn what_is_left_out_by_choice_is_neither_looked_at_nor_told() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("a/out/in")).unwrap();
        for file in ["a/x.o", "a/x.c", "a/out/in/y", "b\nb.o", ".ferryrc"] {
            std::fs::write(at(file), "").unwrap();
        }
        symlink("a", at("l.o")).unwrap();
        let mut choice = Choice::default();
        for pattern in ["*.o", "out/", ".ferry*"] {
            choice.filter.exclude(pattern).unwrap();
        }
        let tree = walk_by(root.path(), &choice, Links::Skip).unwrap();
        assert_eq!(names(&tree), ["a", "a/x.c"]);
        assert!(tree.skipped.is_empty(), "{:?}", tree.skipped);
        let mut left: Vec<&str> = tree.left.names.iter().map(Name::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["a/out", "a/x.o", "l.o"]);
    }

    #[test]
    fn links_stand_for_what_is_in_the_same_tree_or_for_anything() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("d/e")).unwrap();
        std::fs::write(at("d/e/f"), "inside").unwrap();
        std::fs::write(outside.path().join("o"), "outside").unwrap();
        for (to, link) in [("d", "to"), ("d/e/f", "file"), ("..", "d/up"), ("nowhere", "dead"), ("../e", "d/e/itself")]
        {
            symlink(to, at(link)).unwrap();
        }
        symlink(at("d/e"), at("absolute")).unwrap();
        symlink(outside.path(), at("out")).unwrap();
        let skipped = |tree: &LocalTree| {
            let mut names: Vec<String> =
                tree.skipped.iter().flat_map(|skipped| &skipped.name).map(|name| name.to_string()).collect();
            names.sort();
            names
        };
        let inside = walk_by(root.path(), &Choice::default(), Links::Inside).unwrap();
        let expected = ["absolute", "absolute/f", "d", "d/e", "d/e/f", "file", "to", "to/e", "to/e/f"];
        assert_eq!(names(&inside), expected);
        assert_eq!(skipped(&inside), ["absolute/itself", "d/e/itself", "d/up", "dead", "out", "to/e/itself", "to/up"]);
        assert!(inside.skipped.iter().all(|skipped| skipped.by_rule));
        let place = |tree: &LocalTree, text: &str| tree.linked.places.elsewhere(&Name::new(text).unwrap());
        assert_eq!(place(&inside, "to/e/f").unwrap().below(), std::path::Path::new("d/e/f"));
        assert_eq!(place(&inside, "d/e/f"), None);
        let anywhere = walk_by(root.path(), &Choice::default(), Links::Anywhere).unwrap();
        assert!(names(&anywhere).contains(&"out/o"));
        let outside = std::fs::canonicalize(outside.path().join("o")).unwrap();
        assert_eq!(&*place(&anywhere, "out/o").unwrap(), outside);
        // The place is reached by no link, whatever becomes of it.
        std::fs::rename(at("d/e"), at("gone")).unwrap();
        symlink(at("gone"), at("d/e")).unwrap();
        assert!(place(&inside, "to/e/f").unwrap().open(OFlags::RDONLY).is_err());
    }

    #[test]
    fn links_in_a_circle_end() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["a", "b"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        symlink("../b", root.path().join("a/l")).unwrap();
        symlink("../a", root.path().join("b/m")).unwrap();
        let tree = walk_by(root.path(), &Choice::default(), Links::Inside).unwrap();
        assert_eq!(names(&tree), ["a", "a/l", "b", "b/m"]);
        assert_eq!(tree.skipped.len(), 2);
    }

    #[test]
    fn a_walk_takes_files_and_directories_and_says_what_it_leaves() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("a/deep")).unwrap();
        std::fs::create_dir_all(at("a\nb/lost")).unwrap();
        std::fs::create_dir(at(".ferry")).unwrap();
        let leftovers = ["a/.ferry-0123456789abcdef.part", "a/.ferry-0123456789abcdef.mark"];
        std::fs::create_dir(at(".ferry-0123456789abcdef.part")).unwrap();
        for file in ["a.txt", "a/z", "a/deep/x", "a\nb/lost/y", ".ferry/own", "a/deep/.ferryrc", "-r *"]
            .iter()
            .chain(&leftovers)
        {
            std::fs::write(at(file), file).unwrap();
        }
        std::fs::write(root.path().join(OsStr::from_bytes(b"\xff")), "").unwrap();
        symlink("a", at("link")).unwrap();
        symlink("/", at("a/deep/up")).unwrap();
        let tree = walk(root.path()).unwrap();
        let found = tree.nodes.iter().map(|Node { name, kind }| match kind {
            NodeKind::Directory { .. } => (name.as_str(), None),
            NodeKind::File { size, .. } => (name.as_str(), Some(*size)),
        });
        let expected = [("-r *", Some(4)), ("a", None), ("a/deep", None), ("a/deep/x", Some(8)), ("a/z", Some(3))];
        assert!(found.eq(expected.into_iter().chain([("a.txt", Some(5))])), "{:?}", tree.nodes);
        let mut skipped: Vec<_> = tree.skipped.iter().map(|skipped| skipped.error.to_string()).collect();
        skipped.sort();
        assert_eq!(skipped.len(), 7, "{skipped:?}");
        let is_own = |error: &Error| error.to_string().contains("'.ferry' at the beginning");
        let own: Vec<_> = tree.skipped.iter().filter(|skipped| is_own(&skipped.error)).collect();
        assert!(own.iter().all(|skipped| skipped.by_rule && skipped.name.is_none()));
        let mut directories: Vec<_> =
            own.iter().map(|skipped| skipped.directory.as_ref().map_or("", Name::as_str)).collect();
        directories.sort_unstable();
        assert_eq!(directories, ["", "", "a/deep"]);
        assert_eq!(tree.skipped.iter().filter(|skipped| skipped.name.is_some()).count(), 2);
        assert!(!skipped.iter().any(|line| line.contains(char::is_control)), "{skipped:?}");
    }

    #[test]
    fn only_a_directory_that_can_be_read_is_walked() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        assert!(matches!(walk(root.path().join("file")), Err(Error::Local { .. })));
        assert!(matches!(walk(root.path().join("missing")), Err(Error::Local { .. })));
        let closed = root.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o0)).unwrap();
        let readable = std::fs::read_dir(&closed).is_ok();
        let tree = walk(root.path()).unwrap();
        // Root reads everything.
        if !readable {
            assert_eq!(tree.skipped.len(), 1);
            assert_eq!(tree.skipped[0].name.as_ref().map(Name::as_str), Some("closed"));
        }
    }
}
