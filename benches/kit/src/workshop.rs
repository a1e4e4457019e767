//! Where the files are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::helper::Keeper;

/// A temporary directory, gone when this is dropped.
#[derive(Debug)]
pub struct Workshop {
    place: TempDir,
    /// Told to go when `place` has gone.
    _keeper: Option<Keeper>,
}

impl Workshop {
    /// Returns an empty one beneath `scratch`.
    ///
    /// # Panics
    ///
    /// Panics where none can be made.
    #[must_use]
    pub fn new(scratch: &Path) -> Workshop {
        fs::create_dir_all(scratch).unwrap_or_else(|error| panic!("{}: {error}", scratch.display()));
        let place = tempfile::Builder::new()
            .prefix("ferry-bench-")
            .tempdir_in(scratch)
            .unwrap_or_else(|error| panic!("a directory in {}: {error}", scratch.display()));
        Workshop { place, _keeper: None }
    }

    /// Returns an empty one beneath `scratch`, which lies in memory: a keeper, run by `helper`, removes it
    /// however this process ends.
    ///
    /// # Panics
    ///
    /// Panics where none can be made.
    #[must_use]
    pub fn in_memory(scratch: &Path, helper: &Path) -> Workshop {
        let Workshop { place, .. } = Workshop::new(scratch);
        let spawned = Keeper::spawn(Keeper::command(helper).arg("--remove").arg(place.path()));
        let keeper = spawned.unwrap_or_else(|error| panic!("{}: {error}", helper.display()));
        Workshop { place, _keeper: Some(keeper) }
    }

    /// Returns the directory `name` in it, made if missing.
    ///
    /// # Panics
    ///
    /// Panics where it can't be made.
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.place.path().join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}
