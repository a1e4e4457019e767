//! Names that can't be next to each other here.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
};

use rustix::fs::{AtFlags, CWD};

use super::LocalPath;
use crate::{error::Error, random};

/// The places in a list of two names that would be one, the first one before the other.
pub(crate) type Places = (usize, usize);

/// Finds which of `names`, as relative paths in one directory, are the same.
pub(crate) fn repeated<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Places> {
    compare(names).0
}

/// Finds which of `names`, as relative paths in the directory that `place` is reached from, would be one file: those that
/// are the same, and where the file system ignores the case of letters, those that differ by nothing else. That is found
/// out by making a file for a moment, and only where it matters.
///
/// # Errors
///
/// A directory in which nothing can be made.
pub(crate) fn clashes<'a>(place: &LocalPath, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Places>, Error> {
    clashes_where(names, || {
        let root = place.root();
        // A directory that is made later is of the same file system as what it is made in.
        let above = root.parent().filter(|above| !above.as_os_str().is_empty() && !root.exists());
        ignores_case(above.unwrap_or(root))
    })
}

fn clashes_where<'a>(
    names: impl IntoIterator<Item = &'a str>,
    ignores_case: impl FnOnce() -> Result<bool, Error>,
) -> Result<Vec<Places>, Error> {
    let (mut same, similar) = compare(names);
    if !similar.is_empty() && ignores_case()? {
        same.extend(similar);
        same.sort_by_key(|(_, second)| *second);
    }
    Ok(same)
}

/// Finds the names that are the same, and those that differ only by the case of letters.
fn compare<'a>(names: impl IntoIterator<Item = &'a str>) -> (Vec<Places>, Vec<Places>) {
    let mut exact = HashMap::new();
    let mut folded: HashMap<String, usize> = HashMap::new();
    let (mut same, mut similar) = (Vec::new(), Vec::new());
    for (second, name) in names.into_iter().enumerate() {
        if let Some(&first) = exact.get(name) {
            same.push((first, second));
            continue;
        }
        exact.insert(name, second);
        match folded.entry(name.to_lowercase()) {
            Entry::Occupied(entry) => similar.push((*entry.get(), second)),
            Entry::Vacant(entry) => {
                entry.insert(second);
            }
        }
    }
    (same, similar)
}

/// Whether the file system of `directory` ignores the case of letters.
fn ignores_case(directory: &Path) -> Result<bool, Error> {
    let name = format!(".ferry-{:016x}.case", random::bits()?);
    let failed = |error: std::io::Error| Error::local("make a file in", directory, error);
    let path = directory.join(&name);
    drop(std::fs::File::create_new(&path).map_err(failed)?);
    let other = directory.join(name.to_uppercase());
    let found = rustix::fs::statat(CWD, &other, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_twice_is_a_clash_and_another_case_is_one_only_where_it_is_ignored() {
        let names = ["a", "b", "A", "a", "c/Grüße", "c/GRÜßE"];
        let same = (0, 3);
        assert_eq!(clashes_where(names, || Ok(false)).unwrap(), [same]);
        let all = [(0, 2), same, (4, 5)];
        assert_eq!(clashes_where(names, || Ok(true)).unwrap(), all);
        assert_eq!(clashes_where(["a", "b"], || panic!("nothing depends on it")).unwrap(), []);
    }

    #[test]
    fn asking_the_file_system_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let ignored = ignores_case(directory.path()).unwrap();
        std::fs::write(directory.path().join("a"), "").unwrap();
        assert_eq!(directory.path().join("A").exists(), ignored);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_asked_only_where_it_matters() {
        let missing = LocalPath::from("/nonexistent/directory");
        assert_eq!(clashes(&missing, ["a", "b"]).unwrap(), []);
        assert!(clashes(&missing, ["a", "A"]).is_err());
    }
}
