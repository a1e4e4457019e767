//! The tree beneath a local directory.

use std::{
    ffi::{CStr, OsStr},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
};

use ferry_wire::{Name, NameError, Time};
use rustix::fs::{AtFlags, Dir, FileType, OFlags};

use super::{
    Node, NodeKind,
    names::{in_tree_order, unnameable},
};
use crate::{
    error::Error,
    local::{HeldDirectory, LINK, LocalPath, is_staged},
};

/// The tree beneath a local directory.
#[derive(Debug)]
pub(crate) struct LocalTree {
    /// The directory that was asked for, held.
    pub(crate) root: HeldDirectory,
    /// Directories and regular files, in the order of a tree: a directory before what is in it.
    pub(crate) nodes: Vec<Node>,
    /// Things that can't be sent.
    pub(crate) skipped: Vec<Skipped>,
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

impl LocalTree {
    /// Looks through `root`; `watch` learns how many things were found so far. Symbolic links beneath it are not followed
    /// but skipped, and so are names that begin with `.ferry`; only downloads that are not whole yet are left out without
    /// a word.
    ///
    /// # Errors
    ///
    /// Where `root` itself can't be read, or is no directory.
    pub(crate) fn walk(root: &LocalPath, watch: &mut dyn FnMut(usize)) -> Result<LocalTree, Error> {
        let mut tree = LocalTree { root: root.hold()?, nodes: Vec::new(), skipped: Vec::new() };
        tree.read(None)?;
        let mut next = 0;
        while let Some(node) = tree.nodes.get(next) {
            next += 1;
            if node.kind != NodeKind::Directory {
                continue;
            }
            let directory = node.name.clone();
            if let Err(error) = tree.read(Some(&directory)) {
                tree.skip(Some(&directory), None, error, false);
            }
            watch(tree.nodes.len());
        }
        tree.nodes.sort_by(|a, b| in_tree_order(a.name.as_str(), b.name.as_str()));
        Ok(tree)
    }

    /// Notes what is in `directory`.
    fn read(&mut self, directory: Option<&Name>) -> Result<(), Error> {
        let place = self.root.place(directory.map_or("", Name::as_str));
        let failed = |errno| place.failed("read the directory", errno);
        let fd = place.open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let last = entry.file_name();
            if !matches!(last.to_bytes(), b"." | b"..") {
                self.take(&fd, directory, last, entry.file_type());
            }
        }
        Ok(())
    }

    /// Notes one thing in the open `directory`.
    fn take(&mut self, at: &OwnedFd, directory: Option<&Name>, last: &CStr, kind: FileType) {
        let stat = match kind {
            // Not every file system tells in its listings.
            FileType::RegularFile | FileType::Unknown => {
                rustix::fs::statat(at, last, AtFlags::SYMLINK_NOFOLLOW).map(Some)
            }
            _ => Ok(None),
        };
        let kind = match &stat {
            Ok(Some(stat)) => FileType::from_raw_mode(stat.st_mode),
            _ => kind,
        };
        let path = self.root.place(directory.map_or("", Name::as_str)).beneath(OsStr::from_bytes(last.to_bytes()));
        let name = match name_in(directory, last.to_bytes()) {
            Ok(name) => name,
            Err(NameError::Reserved) if kind == FileType::RegularFile && last.to_str().is_ok_and(is_staged) => return,
            Err(problem) => {
                let error = Error::file(&*path, unnameable(problem));
                return self.skip(None, directory, error, problem == NameError::Reserved);
            }
        };
        match (kind, stat) {
            (_, Err(errno)) => self.skip(Some(&name), directory, path.failed("read", errno), false),
            (FileType::Directory, _) => self.nodes.push(Node { name, kind: NodeKind::Directory }),
            (FileType::RegularFile, Ok(Some(stat))) => {
                let mtime = u32::try_from(stat.st_mtime_nsec).ok().and_then(|nanos| Time::new(stat.st_mtime, nanos));
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.nodes.push(Node { name, kind: NodeKind::File { size, mtime, tag: None } });
            }
            (FileType::Symlink, _) => self.skip(Some(&name), directory, Error::file(&*path, LINK), true),
            _ => {
                let error = Error::file(&*path, "is neither a file nor a directory");
                self.skip(Some(&name), directory, error, true);
            }
        }
    }

    /// Notes what can't be sent: `name`, where it has one, which is in `directory`, if that is not in the name.
    fn skip(&mut self, name: Option<&Name>, directory: Option<&Name>, error: Error, by_rule: bool) {
        let above = || name.and_then(Name::parent).and_then(|parent| Name::new(parent).ok());
        let directory = directory.cloned().or_else(above);
        self.skipped.push(Skipped { name: name.cloned(), directory, error, by_rule });
    }
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
    use std::{
        ffi::OsStr,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    fn walk(root: impl Into<LocalPath>) -> Result<LocalTree, Error> {
        LocalTree::walk(&root.into(), &mut |_| {})
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
            NodeKind::Directory => (name.as_str(), None),
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
