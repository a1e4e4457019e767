//! The files that no client may read or change.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Stands in every secret file.
const MARK: &[u8] = b"TOP-SECRET";

/// How long the secret files are: a number that nothing else has.
const SIZE: usize = 31_337;

/// A name that only the secret directory holds.
const ONLY_THERE: &str = "known-to-nobody";

/// A directory that a link leads to: it has the names that clients ask for.
pub(crate) struct Secret {
    place: PathBuf,
    before: BTreeMap<PathBuf, State>,
}

/// The state that is compared: length, time of the last change, inode, bytes.
type State = (u64, i64, i64, u64, Vec<u8>);

impl Secret {
    pub(crate) fn make(place: &Path) -> Secret {
        fs::create_dir(place).unwrap();
        for name in ["f", "hidden", "g", ONLY_THERE] {
            let mut bytes = MARK.repeat(SIZE / MARK.len() + 1);
            bytes.truncate(SIZE);
            fs::write(place.join(name), bytes).unwrap();
        }
        fs::create_dir(place.join("empty")).unwrap();
        Secret { place: place.into(), before: look(place) }
    }

    /// Panics if a byte, a time or a name of it is another.
    #[track_caller]
    pub(crate) fn is_untouched(&self) {
        let after = look(&self.place);
        let names = |tree: &BTreeMap<PathBuf, State>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&self.before), "the names of the secret");
        assert!(after == self.before, "the secret was changed");
    }
}

fn look(place: &Path) -> BTreeMap<PathBuf, State> {
    let state = |path: &Path| {
        let found = fs::symlink_metadata(path).unwrap();
        let bytes = if found.is_dir() { Vec::new() } else { fs::read(path).unwrap() };
        (found.len(), found.ctime(), found.ctime_nsec(), found.ino(), bytes)
    };
    let entries = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    let paths = entries.chain([place.to_owned()]);
    paths.map(|path| (path.clone(), state(&path))).collect()
}

/// Whether `said` holds anything of the secret: its bytes, its size, its names.
pub(crate) fn gives_away(said: &[u8]) -> bool {
    let size = format!(" {SIZE} ");
    [MARK, size.as_bytes(), ONLY_THERE.as_bytes()]
        .iter()
        .any(|needle| said.windows(needle.len()).any(|window| window == *needle))
}
