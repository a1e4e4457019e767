//! Looking through the directories in which something can match.

use std::{
    io,
    path::{Path, PathBuf},
};

use ferry_wire::{Code, Entry, EntryKind, Name};
use walkdir::WalkDir;

use super::{Pattern, Step, is_hidden};
use crate::{
    error::Error,
    link::Link,
    tree::{Found, explore, in_tree_order, joined},
};

/// The place in the pattern of a directory that is being looked through.
#[derive(Debug, Clone, Copy)]
struct At {
    step: usize,
    /// Bytes of the directory's name, its `/` included, that [`Step::Rest`] does not look at.
    prefix: usize,
}

/// Returns what in `directory` of the server matches, sorted; it may take `limit` bytes of memory.
pub(crate) fn remote(
    link: &mut Link,
    limit: usize,
    directory: Option<&Name>,
    pattern: &Pattern,
) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let mut failed = None;
    let Some(first) = onwards(directory.cloned(), pattern, 0) else { return Ok(found) };
    explore(link, (limit, false), vec![first], |directory, At { step: index, prefix }, listed| {
        let entries = match listed {
            Ok(entries) => entries,
            Err(failure) => {
                if !matches!(failure.code, Code::NotFound | Code::NotADirectory) {
                    failed.get_or_insert(Error::Server(failure));
                }
                Vec::new()
            }
        };
        let (step, is_last) = (&pattern.steps[index], index + 1 == pattern.steps.len());
        let mut beneath = Vec::new();
        for Entry { name: last, kind } in entries {
            let hidden = is_hidden(Path::new(last.as_str()));
            let is_directory = matches!(kind, EntryKind::Directory(_));
            // What lies too deep to be asked for can't be meant.
            let Ok(name) = joined(directory, last.clone()) else { continue };
            if let Step::Rest(_, with_hidden) = step {
                if hidden && !with_hidden {
                    continue;
                }
                if is_directory {
                    beneath.push((Some(name.clone()), At { step: index, prefix }));
                }
                if step.takes(Path::new(&name.as_str()[prefix..])) {
                    found.push(Found { name, kind });
                }
            } else if step.takes(Path::new(last.as_str())) {
                if is_last {
                    found.push(Found { name, kind });
                } else if is_directory {
                    beneath.extend(onwards(Some(name), pattern, index + 1));
                }
            }
        }
        beneath
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    found.sort_by(|a, b| in_tree_order(a.name.as_str(), b.name.as_str()));
    Ok(found)
}

/// Returns the next directory to look through, from step `index` on in `directory`; [`None`] where none can have that name.
fn onwards(directory: Option<Name>, pattern: &Pattern, index: usize) -> Option<(Option<Name>, At)> {
    let (step, along) = pattern.advance(index);
    let mut text = directory.map(|name| name.as_str().to_owned()).unwrap_or_default();
    for component in along {
        if !text.is_empty() {
            text.push('/');
        }
        text.push_str(component);
    }
    if text.is_empty() {
        return Some((None, At { step, prefix: 0 }));
    }
    let name = Name::new(&text).ok()?;
    let prefix = text.len() + 1;
    Some((Some(name), At { step, prefix }))
}

impl Pattern {
    /// Returns what in the local `directory` matches, relative to it, sorted. Symbolic links are found, and `**` does not go
    /// into them.
    ///
    /// # Errors
    ///
    /// A directory that can't be read.
    pub fn local(&self, directory: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        let mut waiting = vec![(PathBuf::new(), 0)];
        while let Some((inside, index)) = waiting.pop() {
            let (index, along) = self.advance(index);
            let inside = along.iter().fold(inside, |inside, component| inside.join(component));
            let step = &self.steps[index];
            if let Step::Rest(_, with_hidden) = step {
                beneath(&directory.join(&inside), *with_hidden, |path| {
                    if step.takes(path) {
                        found.push(inside.join(path));
                    }
                })?;
                continue;
            }
            for (name, may_be_directory) in components(&directory.join(&inside))? {
                if !step.takes(&name) {
                    continue;
                }
                if index + 1 == self.steps.len() {
                    found.push(inside.join(name));
                } else if may_be_directory {
                    waiting.push((inside.join(name), index + 1));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Returns the names in `directory`, and whether each may be a directory; none where there is no such directory.
fn components(directory: &Path) -> Result<Vec<(PathBuf, bool)>, Error> {
    let failed = |error: io::Error| Error::local("read the directory", directory, error);
    let entries = match std::fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(failed)?,
    };
    entries
        .map(|entry| {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            // A link may lead to a directory: whoever writes `*/a` means what is in it.
            Ok((entry.file_name().into(), kind.is_dir() || kind.is_symlink()))
        })
        .collect()
}

fn beneath(directory: &Path, with_hidden: bool, mut visit: impl FnMut(&Path)) -> Result<(), Error> {
    let entries = WalkDir::new(directory).min_depth(1).into_iter();
    for entry in
        entries.filter_entry(|entry| with_hidden || entry.depth() == 0 || !is_hidden(Path::new(entry.file_name())))
    {
        match entry {
            Ok(entry) => visit(entry.path().strip_prefix(directory).unwrap_or(entry.path())),
            Err(error) if error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => {
                let path = error.path().unwrap_or(directory).to_owned();
                let source = error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into());
                return Err(Error::local("read", path, source));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_that_can_match_are_looked_at() {
        let root = tempfile::tempdir().unwrap();
        for file in ["a/x.txt", "a/y.md", "b/x.txt", "b/deep/x.txt", ".h/x.txt", "top.txt", "a/.h.txt"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(root.path(), root.path().join("b/loop")).unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let found = Pattern::new(pattern).unwrap().local(root.path()).unwrap();
            found.into_iter().map(|path| path.into_os_string().into_string().unwrap()).collect()
        };
        assert_eq!(found("*/x.txt"), ["a/x.txt", "b/x.txt"]);
        assert_eq!(found("b/*/x.txt"), ["b/deep/x.txt"]);
        assert_eq!(found("**/x.txt"), ["a/x.txt", "b/deep/x.txt", "b/x.txt"]);
        assert_eq!(found("b/**"), ["b/deep", "b/deep/x.txt", "b/loop", "b/x.txt"]);
        assert_eq!(found("{a/y,top}.*"), ["a/y.md", "top.txt"]);
        assert_eq!(found("*"), ["a", "b", "top.txt"]);
        assert_eq!(found(".h/*"), [".h/x.txt"]);
        assert_eq!(found("missing/*"), [""; 0]);
    }
}
