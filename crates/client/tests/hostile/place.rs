//! Where a case runs, and the oracle that looks at it afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use ferry_client::Error;

use crate::ask::{Answer, Ask, Outcome};

/// The content of the name that a GET replaces, before.
const OLD: &[u8] = b"the old file";

/// The content that PUT sends.
pub(crate) const SOURCE: &[u8] = b"hello";

/// The longest error that is still a line: a message of 4096 bytes, each escaped.
const LINE_BYTES: usize = 40_000;

/// A directory to download to, within one that must not change at all.
pub(crate) struct Place {
    outer: tempfile::TempDir,
    before: BTreeMap<PathBuf, Vec<u8>>,
}

impl Place {
    pub(crate) fn new() -> Place {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("inside")).unwrap();
        for (name, content) in [("sentinel", OLD), ("x", OLD), ("inside/a", OLD), ("inside/source", SOURCE)] {
            fs::write(outer.path().join(name), content).unwrap();
        }
        let before = snapshot(outer.path());
        Place { outer, before }
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.outer.path().join("inside/a")
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.outer.path().join("inside/source")
    }

    /// A file of zeros that takes no space.
    pub(crate) fn large_source(&self) -> &'static Path {
        static LARGE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
        let (_, path) = LARGE.get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("large");
            fs::File::create(&path).unwrap().set_len(32 << 20).unwrap();
            (directory, path)
        });
        path
    }

    /// Removes the hidden parts that a large download left behind to be gone on with: they are nobody's fault.
    pub(crate) fn forget_parts(&self) {
        for entry in fs::read_dir(self.outer.path().join("inside")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with(".ferry-") && (name.ends_with(".part") || name.ends_with(".mark")) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// Returns the rules that the answer to `ask` breaks, in words. `content` is the file that an honest server would
    /// have sent.
    pub(crate) fn judge(&self, ask: Ask, answer: &Answer, content: &[u8]) -> Vec<String> {
        let mut broken = Vec::new();
        let mut expected = self.before.clone();
        let after = snapshot(self.outer.path());
        // What was said after the end of a download doesn't take it back.
        let arrived = ask == Ask::GetThenWait && after.get(&self.target()).is_some_and(|now| now == content);
        if ask.is_get() && (answer.outcome() == Outcome::Done || arrived) {
            expected.insert(self.target(), content.to_vec());
        }
        if after != expected {
            broken.push(format!("the directory became {:?}", shown(&after)));
        }
        if let Some(error) = &answer.error {
            broken.extend(judge_error(error, answer.connected));
        }
        let wrong = |name: &str| name.contains('/') || name == ".." || name.chars().any(char::is_control);
        let names: BTreeSet<_> = answer.entries.iter().map(|entry| &entry.name).collect();
        if names.len() < answer.entries.len() {
            broken.push(format!("a name is there twice: {:?}", answer.entries));
        }
        broken
            .extend(answer.entries.iter().filter(|entry| wrong(entry.name.as_str())).map(|entry| format!("{entry:?}")));
        broken
    }
}

fn judge_error(error: &Error, connected: bool) -> Vec<String> {
    let mut broken = Vec::new();
    let line = error.to_string();
    if line.chars().any(drives_a_terminal) || line.is_empty() || line.len() > LINE_BYTES {
        broken.push(format!("the error is shown as {line:?}"));
    }
    let gone = matches!(
        error,
        Error::Violation(_)
            | Error::Closed(_)
            | Error::Broken(_)
            | Error::Timeout(_)
            | Error::NotFerry { .. }
            | Error::Version { .. }
    );
    if gone && connected {
        broken.push(format!("still connected after: {line}"));
    }
    if matches!(error, Error::Interrupted | Error::Local { .. } | Error::LocalFile { .. } | Error::System { .. }) {
        broken.push(format!("nobody here is to blame: {line}"));
    }
    broken
}

/// Control characters, line separators, and those that turn the direction of text; names are written with joiners.
fn drives_a_terminal(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
}

/// Every path beneath `top` with its content.
fn snapshot(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(top).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
            found.insert(path, Vec::new());
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
    found
}

fn shown(tree: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<String> {
    let show = |(path, content): (&PathBuf, &Vec<u8>)| {
        let head = &content[..content.len().min(40)];
        format!("{}: {} bytes {:?}", path.display(), content.len(), String::from_utf8_lossy(head))
    };
    tree.iter().map(show).collect()
}

#[test]
fn the_oracle_sees_what_is_wrong() {
    let place = Place::new();
    let fine = Answer { error: None, entries: Vec::new(), connected: true };
    assert!(place.judge(Ask::Stat, &fine, b"").is_empty());
    assert!(!place.judge(Ask::Get, &fine, b"hello").is_empty(), "the file was not replaced");
    fs::write(place.target(), b"hello").unwrap();
    assert!(place.judge(Ask::Get, &fine, b"hello").is_empty());
    assert!(!place.judge(Ask::Stat, &fine, b"hello").is_empty(), "nobody asked for a file");
    let raw = Answer { error: Some(Error::Violation("a\u{202e}b".into())), entries: Vec::new(), connected: true };
    assert_eq!(place.judge(Ask::Get, &raw, b"hello").len(), 3);
}
