//! Sums over the tree beneath a directory of the server.

use std::ops::AddAssign;

use ferry_wire::{EntryKind, Name};

use super::{Found, RemoteTree};

/// All that is beneath a directory of the server, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
}

impl AddAssign for Usage {
    /// Adds what another directory has. Sizes are a server's word: they stop at the largest number.
    fn add_assign(&mut self, other: Usage) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.files = self.files.saturating_add(other.files);
        self.directories = self.directories.saturating_add(other.directories);
    }
}

impl RemoteTree {
    /// Returns what each directory has with all that is beneath it, after those beneath it; the last is `root`, of which
    /// this is the tree. What could not be listed counts nothing.
    #[must_use]
    pub fn usage(&self, root: Option<&Name>) -> Vec<(Option<Name>, Usage)> {
        let mut done = Vec::new();
        let mut open = vec![(root.cloned(), Usage::default())];
        for Found { name, kind } in &self.found {
            while open.len() > 1 && !open.last().is_some_and(|(above, _)| is_in(name, above.as_ref())) {
                close(&mut open, &mut done);
            }
            match kind {
                EntryKind::File(meta) => {
                    if let Some((_, usage)) = open.last_mut() {
                        *usage += Usage { bytes: meta.size, files: 1, directories: 0 };
                    }
                }
                EntryKind::Directory(_) => open.push((Some(name.clone()), Usage::default())),
            }
        }
        while !open.is_empty() {
            close(&mut open, &mut done);
        }
        done
    }
}

/// Ends the innermost directory, which is one of the one above it.
fn close(open: &mut Vec<(Option<Name>, Usage)>, done: &mut Vec<(Option<Name>, Usage)>) {
    let Some((name, usage)) = open.pop() else { return };
    if let Some((_, above)) = open.last_mut() {
        *above += Usage { directories: usage.directories.saturating_add(1), ..usage };
    }
    done.push((name, usage));
}

fn is_in(name: &Name, directory: Option<&Name>) -> bool {
    let Some(directory) = directory else { return true };
    name.as_str().strip_prefix(directory.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferry_wire::{FileMeta, Tag};

    fn found(name: &str, size: Option<u64>) -> Found {
        let kind = match size {
            Some(size) => EntryKind::File(FileMeta { size, mtime: None, tag: Tag::new("t").unwrap(), mode: None }),
            None => EntryKind::Directory(ferry_wire::DirMeta::default()),
        };
        Found { name: Name::new(name).unwrap(), kind }
    }

    fn sums(root: Option<&str>, found: Vec<Found>) -> Vec<(String, u64, u64, u64)> {
        let root = root.map(|root| Name::new(root).unwrap());
        let tree = RemoteTree { found, skipped: Vec::new() };
        let shown = |name: Option<Name>| name.map_or_else(|| "/".to_owned(), |name| name.to_string());
        let sums = tree.usage(root.as_ref()).into_iter();
        sums.map(|(name, usage)| (shown(name), usage.bytes, usage.files, usage.directories)).collect()
    }

    #[test]
    fn each_directory_has_what_is_beneath_it() {
        let found = vec![
            found("d/a", None),
            found("d/a/b", None),
            found("d/a/b/x", Some(1)),
            found("d/a/y", Some(10)),
            found("d/a.txt", Some(100)),
            found("d/e", None),
        ];
        assert_eq!(
            sums(Some("d"), found),
            [
                ("d/a/b".to_owned(), 1, 1, 0),
                ("d/a".to_owned(), 11, 2, 1),
                ("d/e".to_owned(), 0, 0, 0),
                ("d".to_owned(), 111, 3, 3)
            ]
        );
    }

    #[test]
    fn an_empty_tree_is_its_root_and_sizes_stop_at_the_largest_number() {
        assert_eq!(sums(None, Vec::new()), [("/".to_owned(), 0, 0, 0)]);
        let huge = vec![found("a", Some(u64::MAX)), found("b", Some(2))];
        assert_eq!(sums(None, huge), [("/".to_owned(), u64::MAX, 2, 0)]);
    }
}
