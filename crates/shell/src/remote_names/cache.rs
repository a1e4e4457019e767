//! The names that were listed a moment ago, for the next press of Tab.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::{completion::ListedItem, paths};

/// Names are believed for so long: time enough to press Tab again, too little to mislead.
const FRESH: Duration = Duration::from_secs(10);

/// A cache of more is not read, and none is written: a directory of so many names is asked for anew.
const MAX_BYTES: u64 = 1 << 20;

/// Directories that are kept.
const MAX_DIRECTORIES: usize = 8;

/// Listings in a file of the user's own.
pub(super) struct Cache {
    path: Option<PathBuf>,
    /// Those that still hold, the newest first.
    entries: Vec<Value>,
}

impl Cache {
    /// Reads the file at `path`. A file that can't be read, or is none of ours, holds nothing.
    pub(super) fn read(path: Option<PathBuf>) -> Cache {
        let entries = path.as_deref().and_then(read).unwrap_or_default();
        Cache { path, entries }
    }

    /// Returns the listing that was kept as `key`.
    pub(super) fn find(&self, key: &str) -> Option<Vec<ListedItem>> {
        self.entries.iter().find(|entry| entry["key"] == key).and_then(items)
    }

    /// Keeps `listing`, in one step: several shells may complete at once.
    pub(super) fn keep(&mut self, key: &str, listing: &[ListedItem]) -> io::Result<()> {
        let Some((path, directory)) = self.path.as_deref().and_then(|path| Some((path, path.parent()?))) else {
            return Ok(());
        };
        self.entries.retain(|entry| entry["key"] != key);
        self.entries.insert(0, entry(key, listing));
        self.entries.truncate(MAX_DIRECTORIES);
        let text = serde_json::to_vec(&self.entries)?;
        if text.len() as u64 >= MAX_BYTES {
            return remove(path);
        }
        paths::make_private_directory(directory)?;
        // Only its owner may read it.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&text)?;
        file.persist(path)?;
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Option<Vec<Value>> {
    let text = bytes(path)?;
    let now = now()?;
    let is_fresh = |entry: &Value| {
        let age = entry["at"].as_u64().and_then(|at| now.checked_sub(at));
        age.is_some_and(|age| age < FRESH.as_secs())
    };
    let entries: Vec<Value> = serde_json::from_slice(&text).ok()?;
    Some(entries.into_iter().filter(is_fresh).collect())
}

/// Returns the content of a regular file that is not too large.
fn bytes(path: &Path) -> Option<Vec<u8>> {
    // A pipe would be waited for.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).ok()?;
    let is_ours = file.metadata().ok().is_some_and(|meta| meta.is_file() && meta.len() < MAX_BYTES);
    let mut content = Vec::new();
    file.take(if is_ours { MAX_BYTES } else { 0 }).read_to_end(&mut content).ok()?;
    Some(content)
}

fn now() -> Option<u64> {
    Some(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn entry(key: &str, items: &[ListedItem]) -> Value {
    let items: Vec<Value> = items.iter().map(|item| json!([item.name, item.is_directory])).collect();
    json!({ "key": key, "at": now(), "items": items })
}

fn items(entry: &Value) -> Option<Vec<ListedItem>> {
    let item = |item: &Value| Some(ListedItem { name: item[0].as_str()?.to_owned(), is_directory: item[1].as_bool()? });
    entry["items"].as_array()?.iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> ListedItem {
        ListedItem { name: name.to_owned(), is_directory: false }
    }

    #[test]
    fn what_is_remembered_is_believed_for_a_moment_and_only_if_it_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ferry/names");
        let read = || Cache::read(Some(path.clone()));
        assert_eq!(read().find("k"), None);
        let listing = [ListedItem { name: "a b".to_owned(), is_directory: true }];
        read().keep("k", &listing).unwrap();
        assert_eq!((read().find("k"), read().find("other")), (Some(listing.to_vec()), None));
        // Too old, and of a clock that was moved.
        for at in [now().unwrap() - FRESH.as_secs(), now().unwrap() + 100] {
            fs::write(&path, json!([{ "key": "k", "at": at, "items": [] }]).to_string()).unwrap();
            assert_eq!(read().find("k"), None, "{at}");
        }
        let other_form = json!([{ "key": "k", "at": now(), "items": [[1, "x"]] }]).to_string();
        for text in ["[{\"at\": nonsense", "{}", "\u{0}", &other_form, &" ".repeat(2 << 20)] {
            fs::write(&path, text).unwrap();
            assert_eq!(read().find("k"), None, "{text:.30}");
        }
    }

    #[test]
    fn it_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("names");
        for number in 0..20 {
            Cache::read(Some(path.clone())).keep(&format!("k{number}"), &[file("a")]).unwrap();
        }
        assert_eq!(Cache::read(Some(path.clone())).entries.len(), MAX_DIRECTORIES);
        // More than fits is not kept, nor is what was there before.
        let many: Vec<ListedItem> = (0..2000).map(|_| file(&"n".repeat(1000))).collect();
        for _ in 0..2 {
            Cache::read(Some(path.clone())).keep("k", &many).unwrap();
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_pipe_or_a_link_in_its_place_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (pipe, link) = (directory.path().join("pipe"), directory.path().join("link"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for path in [pipe, link, directory.path().to_owned()] {
            assert_eq!(Cache::read(Some(path)).find("k"), None);
        }
    }
}
