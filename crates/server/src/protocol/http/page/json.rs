//! Listings as JSON: see [`super`].

use std::io::Write as _;

use ferry_wire::{Name, Time};
use serde_json::{Map, Value};

use super::{Viewer, text};
use crate::store::{DirEntry, FileVersion, Status};

/// A directory on its way out, entry by entry.
pub(super) struct JsonListing {
    name: Option<Name>,
    viewer: Viewer,
    /// Entries were written.
    has_begun: bool,
    has_entries: bool,
}

impl JsonListing {
    pub(super) fn new(name: Option<Name>, viewer: Viewer) -> JsonListing {
        JsonListing { name, viewer, has_begun: false, has_entries: false }
    }

    pub(super) fn entries(&mut self, entries: &[DirEntry], out: &mut Vec<u8>) {
        self.begin(out);
        let place = self.viewer.rights.at(self.name.as_ref());
        for entry in entries.iter().filter(|entry| place.shows(entry.name.as_str())) {
            out.extend_from_slice(if self.has_entries { b",\n" } else { b"\n" });
            self.has_entries = true;
            append(out, &Value::Object(object(entry.name.as_str(), &entry.status)));
        }
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        out.extend_from_slice(b"\n]}\n");
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            out.extend_from_slice(b"{\"name\":");
            append(out, &Value::from(self.name.as_ref().map_or("", Name::as_str)));
            out.extend_from_slice(b",\"entries\":[");
        }
    }
}

/// Returns what `?json` answers for a file.
#[must_use]
pub fn json_of_file(name: &Name, version: &FileVersion) -> Vec<u8> {
    let object = object(name.as_str(), &Status::File(version.clone()));
    let mut out = Vec::new();
    append(&mut out, &Value::Object(object));
    out.push(b'\n');
    out
}

fn object(name: &str, status: &Status) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    put("name", name.into());
    let modified = |mtime: Option<Time>| (mtime.and_then(text::rfc3339).into(), mtime.map(Time::seconds).into());
    match status {
        Status::File(version) => {
            put("type", "file".into());
            put("size", version.size.into());
            let (modified, seconds) = modified(version.mtime);
            put("modified", modified);
            put("seconds", seconds);
            put("tag", version.tag.as_str().into());
        }
        Status::Directory { mtime, .. } => {
            put("type", "directory".into());
            let (modified, seconds) = modified(*mtime);
            put("modified", modified);
            put("seconds", seconds);
        }
    }
    object
}

fn append(out: &mut Vec<u8>, value: &Value) {
    // Nothing can fail when it writes to memory.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ferry_wire::Tag;

    use super::*;
    use crate::access::{Rights, RightsTable};

    fn version(mtime: Option<Time>) -> FileVersion {
        FileVersion { size: 1 << 60, mtime, tag: Tag::new("t-1").unwrap(), mode: ferry_wire::Mode::of(0o644) }
    }

    fn entry(name: &str, status: Status) -> DirEntry {
        DirEntry { name: Name::new(name).unwrap(), status }
    }

    fn listed(name: Option<&str>, table: RightsTable, parts: Vec<Vec<DirEntry>>) -> Value {
        let viewer = Viewer { rights: Arc::new(table), writable: true, user: None, accounts: false };
        let mut listing = JsonListing::new(name.map(|name| Name::new(name).unwrap()), viewer);
        let mut out = Vec::new();
        parts.iter().for_each(|part| listing.entries(part, &mut out));
        listing.end(&mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_listing_holds_what_is_known_and_may_be_seen() {
        let name = "\"\\\u{202e}</script>ü";
        let table = [(None, Rights::ALL), (Some(Name::new("d/hidden").unwrap()), Rights::NONE)].into_iter().collect();
        let parts = vec![
            vec![entry(name, Status::File(version(Time::new(1_700_000_000, 5))))],
            vec![
                entry("hidden", Status::Directory { mtime: None, mode: None }),
                entry("sub", Status::Directory { mtime: None, mode: None }),
            ],
        ];
        let expected = serde_json::json!({"name": "d", "entries": [
            {"name": name, "type": "file", "size": 1u64 << 60, "modified": "2023-11-14T22:13:20.000000005Z",
             "seconds": 1_700_000_000, "tag": "t-1"},
            {"name": "sub", "type": "directory", "modified": null, "seconds": null},
        ]});
        assert_eq!(listed(Some("d"), table, parts), expected);
    }

    #[test]
    fn an_empty_listing_is_whole() {
        let all = || RightsTable::everywhere(Rights::ALL);
        let expected = serde_json::json!({"name": "", "entries": []});
        assert_eq!(listed(None, all(), vec![]), expected);
        assert_eq!(listed(None, all(), vec![vec![]]), expected);
    }

    #[test]
    fn a_file_alone_has_its_whole_name() {
        let name = Name::new("a/b").unwrap();
        let json: Value = serde_json::from_slice(&json_of_file(&name, &version(None))).unwrap();
        let expected = serde_json::json!({"name": "a/b", "type": "file", "size": 1u64 << 60, "modified": null,
            "seconds": null, "tag": "t-1"});
        assert_eq!(json, expected);
    }
}
