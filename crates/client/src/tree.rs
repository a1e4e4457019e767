//! Directories with all that is beneath them, there and here.

use std::{
    collections::VecDeque,
    ffi::{CStr, OsStr},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
};

use ferry_wire::{Entry, EntryKind, Failure, Name, NameError, Time};
use rustix::fs::{AtFlags, Dir, FileType, OFlags};

use crate::{
    client::Client,
    error::Error,
    link::Link,
    local::{HeldDirectory, LINK, LocalPath, is_staged},
    requests::listing::{self, Memory},
};

/// Listings that are asked for ahead: enough that a distant server always has the next one, few enough that what
/// it has to remember of us stays small.
const LISTINGS_AHEAD: usize = 32;

/// One thing beneath a directory of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its whole name.
    pub name: Name,
    /// What it is.
    pub kind: EntryKind,
}

impl Found {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory(_))
    }
}

/// What is beneath a directory of the server.
#[derive(Debug, Default)]
pub struct RemoteTree {
    /// Everything, sorted by name; so a directory stands before what is in it.
    pub found: Vec<Found>,
    /// Directories whose content is not known, and why: not to be read, or gone meanwhile; and what lies so deep that
    /// its name is too long to be asked for, as the directory that it is in.
    pub skipped: Vec<(Name, Error)>,
}

/// Everything beneath `root`, or in all of the server. `watch` learns how many things were found so far.
pub(crate) fn remote(
    client: &mut Client,
    root: Option<&Name>,
    watch: &mut dyn FnMut(usize),
) -> Result<RemoteTree, Error> {
    let mut tree = RemoteTree::default();
    let mut at_root = None;
    let mut skipped = Vec::new();
    explore(client, vec![(root.cloned(), ())], |directory, (), listed| {
        let entries = match (listed, directory) {
            (Ok(entries), _) => entries,
            (Err(failure), Some(name)) if Some(name) != root => {
                skipped.push((name.clone(), Error::Server(failure)));
                return Ok(Vec::new());
            }
            (Err(failure), _) => {
                at_root = Some(Error::Server(failure));
                return Ok(Vec::new());
            }
        };
        let mut beneath = Vec::new();
        for Entry { name, kind } in entries {
            let name = match joined(directory, name) {
                Ok(name) => name,
                Err((directory, error)) => {
                    skipped.push((directory, error));
                    continue;
                }
            };
            if matches!(kind, EntryKind::Directory(_)) {
                beneath.push((Some(name.clone()), ()));
            }
            tree.found.push(Found { name, kind });
        }
        watch(tree.found.len());
        Ok(beneath)
    })?;
    match at_root {
        Some(error) => Err(error),
        None => {
            tree.found.sort_by(|a, b| in_tree_order(&a.name, &b.name));
            Ok(RemoteTree { skipped, ..tree })
        }
    }
}

/// By components: what is in `a` stands behind `a` and before `a.txt`.
pub(crate) fn in_tree_order(a: &Name, b: &Name) -> std::cmp::Ordering {
    a.as_str().split('/').cmp(b.as_str().split('/'))
}

/// The whole name of something in `directory`, or that directory and why there is none.
pub(crate) fn joined(directory: Option<&Name>, name: Name) -> Result<Name, (Name, Error)> {
    let Some(directory) = directory else { return Ok(name) };
    directory
        .join(name.as_str())
        .map_err(|problem| (directory.clone(), Error::Name { text: format!("{directory}/{name}"), problem }))
}

/// Lists `first` and whatever directories `visit` asks for when it is given a listing, each with what it said of
/// them, many ahead. `visit` also learns which could not be listed.
pub(crate) fn explore<T>(
    client: &mut Client,
    first: Vec<(Option<Name>, T)>,
    mut visit: impl FnMut(Option<&Name>, T, Result<Vec<Entry>, Failure>) -> Result<Vec<(Option<Name>, T)>, Error>,
) -> Result<(), Error> {
    let limit = client.options().tree_memory;
    client.converse(|link: &mut Link| {
        let untried = |(directory, about)| (directory, about, 0);
        let mut waiting: VecDeque<_> = first.into_iter().map(untried).collect();
        let (mut asked, mut memory) = (VecDeque::new(), Memory::new(limit));
        loop {
            while asked.len() < LISTINGS_AHEAD
                && let Some((directory, about, tries)) = waiting.pop_front()
            {
                listing::ask(link, directory.as_ref());
                asked.push_back((directory, about, tries + 1));
            }
            let Some((directory, about, tries)) = asked.pop_front() else { return Ok(()) };
            let listed = match listing::receive(link, directory.as_ref(), &mut memory) {
                Ok(entries) => Ok(entries),
                // Where the server closes behind it, the next one finds out.
                Err(Error::Server(failure)) => Err(failure),
                Err(error) if listing::is_worth_another(&error, tries) => {
                    log::info!("a listing is asked for again: {error}");
                    waiting.push_front((directory, about, tries));
                    continue;
                }
                Err(error) => return Err(error),
            };
            waiting.extend(visit(directory.as_ref(), about, listed)?.into_iter().map(untried));
        }
    })
}

/// What is beneath a local directory.
#[derive(Debug)]
pub struct LocalTree {
    /// The directory that was asked for, held.
    pub root: HeldDirectory,
    /// Directories, sorted, so each before what is in it, as names below the one that was asked for.
    pub directories: Vec<Name>,
    /// Regular files, sorted.
    pub files: Vec<LocalFile>,
    /// What can't be sent.
    pub skipped: Vec<Skipped>,
}

/// Something beneath a local directory that can't be sent.
#[derive(Debug)]
pub struct Skipped {
    /// Its name below the directory that was asked for, where that is a valid one; what is beneath it is not known.
    pub name: Option<Name>,
    /// The directory that it is in, in the same way; [`None`] for the one that was asked for.
    pub directory: Option<Name>,
    /// Why: no valid name, not readable, neither a file nor a directory.
    pub error: Error,
    /// It is of a kind that is never sent: a link, neither a file nor a directory, or of a name that begins with
    /// `.ferry`.
    pub by_rule: bool,
}

/// A regular file beneath a local directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it is: to be opened by no link that may have come since.
    pub path: LocalPath,
    /// Its name below the directory that was asked for.
    pub name: Name,
    /// Bytes.
    pub size: u64,
    /// The time of its last change; [`None`] before 1970.
    pub mtime: Option<Time>,
}

impl LocalTree {
    /// Looks through `root`. Symbolic links beneath it are not followed but skipped, and so are names that begin with
    /// `.ferry`; only downloads that are not whole yet are left out without a word.
    ///
    /// # Errors
    ///
    /// Where `root` itself can't be read, or is no directory.
    pub fn walk(root: &LocalPath) -> Result<LocalTree, Error> {
        LocalTree::walk_watched(root, &mut |_| {})
    }

    /// The same; `watch` learns how many things were found so far.
    pub(crate) fn walk_watched(root: &LocalPath, watch: &mut dyn FnMut(usize)) -> Result<LocalTree, Error> {
        let root = root.hold()?;
        let mut tree = LocalTree { root, directories: Vec::new(), files: Vec::new(), skipped: Vec::new() };
        tree.read(None)?;
        let mut next = 0;
        while let Some(directory) = tree.directories.get(next).cloned() {
            if let Err(error) = tree.read(Some(&directory)) {
                tree.skip(Some(&directory), None, error, false);
            }
            next += 1;
            watch(tree.directories.len() + tree.files.len());
        }
        tree.directories.sort_by(in_tree_order);
        tree.files.sort_by(|a, b| in_tree_order(&a.name, &b.name));
        Ok(tree)
    }

    /// Makes `top` where it is missing, and `directories` beneath it, each before what is in it. Those that
    /// are there are as good; symbolic links beneath `top` are not followed, and neither is `top` itself
    /// where it is beneath a directory that is held. Returns those that can't be made; what is beneath such a
    /// one is not tried.
    pub fn make(top: &LocalPath, directories: &[Name]) -> Vec<Unmade> {
        let held = match top.make_top().and_then(|()| top.hold()) {
            Ok(held) => held,
            Err(error) => return vec![Unmade { name: None, error }],
        };
        let mut unmade: Vec<Unmade> = Vec::new();
        for name in directories {
            let is_beneath = |above: &Unmade| above.name.as_ref().is_some_and(|above| is_beneath(name, above));
            if unmade.last().is_some_and(is_beneath) {
                continue;
            }
            if let Err(error) = held.place(name.as_str()).make_directory() {
                unmade.push(Unmade { name: Some(name.clone()), error });
            }
        }
        unmade
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
            (FileType::Directory, _) => self.directories.push(name),
            (FileType::RegularFile, Ok(Some(stat))) => {
                let mtime = u32::try_from(stat.st_mtime_nsec).ok().and_then(|nanos| Time::new(stat.st_mtime, nanos));
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.files.push(LocalFile { path: path.of_size(size), name, size, mtime });
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

/// A local directory that can't be made.
#[derive(Debug)]
pub struct Unmade {
    /// Its name below the one that was asked for; [`None`] for that one itself.
    pub name: Option<Name>,
    /// Why.
    pub error: Error,
}

/// The directories that `name` is in, the uppermost first.
pub(crate) fn above(name: &Name) -> impl Iterator<Item = Name> + '_ {
    name.as_str().match_indices('/').filter_map(|(at, _)| Name::new(&name.as_str()[..at]).ok())
}

/// Whether `name` is that of something beneath `directory`.
fn is_beneath(name: &Name, directory: &Name) -> bool {
    name.as_str().strip_prefix(directory.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

/// The name of `last` in `directory`.
fn name_in(directory: Option<&Name>, last: &[u8]) -> Result<Name, NameError> {
    match directory {
        None => Name::from_bytes(last),
        Some(directory) => Name::from_bytes(&[directory.as_str().as_bytes(), b"/", last].concat()),
    }
}

/// Why a local file can't have the same name on a server, as a predicate.
pub(crate) fn unnameable(problem: NameError) -> &'static str {
    match problem {
        NameError::Control => "has a name that no server takes: control characters are in it",
        NameError::NotUtf8 => "has a name that no server takes: it is not UTF-8",
        NameError::Reserved => "has a name that no server takes: '.ferry' at the beginning is the server's own",
        NameError::TooLong => "has a name that no server takes: it is too long",
        NameError::Browser => {
            "has a name that no server takes: lines that end in ' HTTP/1.0' or ' HTTP/1.1' are browsers'"
        }
        NameError::Empty | NameError::EmptyComponent | NameError::Dots => "has no name that a server could take",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        ffi::OsStr,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    fn names(names: impl IntoIterator<Item = Name>) -> Vec<String> {
        names.into_iter().map(|name| name.to_string()).collect()
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
        let tree = LocalTree::walk(&root.path().into()).unwrap();
        assert_eq!(names(tree.directories), ["a", "a/deep"]);
        assert_eq!(tree.files.iter().map(|file| file.size).collect::<Vec<_>>(), [4, 8, 3, 5]);
        assert_eq!(names(tree.files.into_iter().map(|file| file.name)), ["-r *", "a/deep/x", "a/z", "a.txt"]);
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
        assert!(matches!(LocalTree::walk(&root.path().join("file").into()), Err(Error::Local { .. })));
        assert!(matches!(LocalTree::walk(&root.path().join("missing").into()), Err(Error::Local { .. })));
        let closed = root.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o0)).unwrap();
        let readable = std::fs::read_dir(&closed).is_ok();
        let tree = LocalTree::walk(&root.path().into()).unwrap();
        // Root reads everything.
        if !readable {
            assert_eq!(tree.skipped.len(), 1);
            assert_eq!(tree.skipped[0].name.as_ref().map(Name::as_str), Some("closed"));
        }
    }
}
