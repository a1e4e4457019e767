//! The reach that a server needs outside of its root, to open that again when its mount died and comes back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{capabilities::comes_back, mountinfo::Mount, mounts::TABLE};

/// The reach that a process needs, to go on when the mount of its root died and comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Its root is of this machine, and does not come back.
    Nothing,
    /// All beneath this directory, in which nothing but the mount lies.
    Beneath(PathBuf),
    /// All beneath this directory, in which others lie as well.
    TooMuch(PathBuf),
}

impl Reach {
    /// Finds out what is needed for `root`. What is beneath a directory that Landlock knows by itself does not
    /// include a file system that is mounted on it later; that counts as beneath the directory that the mount point
    /// lies in. So all that lies beside the mount would be in reach, and in a mount of which the root is a part, all of
    /// it.
    #[must_use]
    pub fn of(root: &Path) -> Reach {
        let Ok(root) = fs::canonicalize(root) else { return Reach::Nothing };
        let Some(mount) = fs::read(TABLE).ok().and_then(|table| Mount::of(&root, &table)) else {
            return Reach::Nothing;
        };
        match (comes_back(&root), mount.point.parent()) {
            (true, Some(above)) => Reach::from(&root, above),
            _ => Reach::Nothing,
        }
    }

    fn from(root: &Path, above: &Path) -> Reach {
        let is_all_there_is = |pair: (&Path, &Path)| {
            let entries = fs::read_dir(pair.0);
            entries.is_ok_and(|entries| {
                entries.flatten().all(|entry| Some(entry.file_name().as_os_str()) == pair.1.file_name())
            })
        };
        let mut steps: Vec<_> = root.ancestors().take_while(|step| step.starts_with(above)).collect();
        steps.reverse();
        let is_alone = steps.iter().zip(steps.iter().skip(1)).all(|(&dir, &next)| is_all_there_is((dir, next)));
        if is_alone { Reach::Beneath(above.into()) } else { Reach::TooMuch(above.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_in_reach_with_all_beneath_it_only_where_that_is_the_root() {
        let place = tempfile::tempdir().unwrap();
        let [above, mount, root] = ["above", "above/mount", "above/mount/root"].map(|path| place.path().join(path));
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("file"), b"").unwrap();
        for served in [&mount, &root] {
            assert_eq!(Reach::from(served, &above), Reach::Beneath(above.clone()));
        }
        fs::write(mount.join("beside"), b"").unwrap();
        assert_eq!(Reach::from(&mount, &above), Reach::Beneath(above.clone()));
        assert_eq!(Reach::from(&root, &above), Reach::TooMuch(above.clone()));
        fs::write(above.join("beside"), b"").unwrap();
        assert_eq!(Reach::from(&mount, &above), Reach::TooMuch(above.clone()));
    }
}
