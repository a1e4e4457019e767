//! Where the files are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A temporary directory on the disk of the target directory, gone when this is dropped.
#[derive(Debug)]
pub struct Workshop {
    place: TempDir,
}

impl Workshop {
    /// An empty one beneath `scratch`.
    ///
    /// # Panics
    ///
    /// Where none can be made.
    #[must_use]
    pub fn new(scratch: &Path) -> Workshop {
        fs::create_dir_all(scratch).unwrap_or_else(|error| panic!("{}: {error}", scratch.display()));
        let place = tempfile::Builder::new()
            .prefix("ferry-bench-")
            .tempdir_in(scratch)
            .unwrap_or_else(|error| panic!("a directory in {}: {error}", scratch.display()));
        Workshop { place }
    }

    /// The directory `name` in it, made if missing.
    ///
    /// # Panics
    ///
    /// Where it can't be made.
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.place.path().join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}
