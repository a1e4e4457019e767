//! Names that can't be next to each other here.

use std::{collections::HashMap, path::Path};

use rustix::fs::{AtFlags, CWD};

use crate::{error::Error, random};

/// Two names of a list that would be one local file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clash {
    /// The place of the one that stands first in the list.
    pub first: usize,
    /// The place of the other.
    pub second: usize,
}

/// Which of `names`, as relative paths in the local `directory`, would be one file: those that are the same, and
/// where the file system ignores the case of letters, those that differ by nothing else. That is found out by making
/// a file for a moment, and only where it matters.
///
/// # Errors
///
/// A directory in which nothing can be made.
pub fn clashes<'a>(directory: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Clash>, Error> {
    clashes_where(names, || ignores_case(directory))
}

fn clashes_where<'a>(
    names: impl IntoIterator<Item = &'a str>,
    ignores_case: impl FnOnce() -> Result<bool, Error>,
) -> Result<Vec<Clash>, Error> {
    let mut exact = HashMap::new();
    let mut folded: HashMap<String, usize> = HashMap::new();
    let (mut same, mut similar) = (Vec::new(), Vec::new());
    for (second, name) in names.into_iter().enumerate() {
        if let Some(&first) = exact.get(name) {
            same.push(Clash { first, second });
            continue;
        }
        exact.insert(name, second);
        match folded.entry(name.to_lowercase()) {
            std::collections::hash_map::Entry::Occupied(entry) => similar.push(Clash { first: *entry.get(), second }),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(second);
            }
        }
    }
    if !similar.is_empty() && ignores_case()? {
        same.extend(similar);
        same.sort_by_key(|clash| clash.second);
    }
    Ok(same)
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
        let same = Clash { first: 0, second: 3 };
        assert_eq!(clashes_where(names, || Ok(false)).unwrap(), [same]);
        let all = [Clash { first: 0, second: 2 }, same, Clash { first: 4, second: 5 }];
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
        let missing = Path::new("/nonexistent/directory");
        assert_eq!(clashes(missing, ["a", "b"]).unwrap(), []);
        assert!(clashes(missing, ["a", "A"]).is_err());
    }
}
