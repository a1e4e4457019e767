//! The answers that one client of HTTP must get when its requests are carried out one after the other.

use std::collections::{BTreeSet, HashMap};

use ferry_server::store::Change;
use ferry_wire::{Code, Crc32, Name, Tag, Time};

use super::{
    reader::WebAnswer,
    script::{Bytes, Condition, Fate, Piecemeal, Shape, What},
};
use crate::{
    script::UPLOAD_BYTES,
    store::INJECTED,
    tree::{Node, Tree, some_time, tag_of},
};

/// The state of a resumable upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aside {
    Exactly(u64),
    Published,
    /// A cut, a failure or a rival came between.
    Unsure,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct WebOracle {
    pub(crate) tree: Tree,
    /// Others change what this one looks at: only whether an answer agrees with itself can be told.
    pub(crate) blind: bool,
    pub(crate) read_only: bool,
    /// The store may fail, or leave anything unanswered.
    pub(crate) faulty: bool,
    aside: HashMap<String, Aside>,
}

impl WebOracle {
    pub(crate) fn new(tree: Tree, blind: bool, read_only: bool, faulty: bool) -> WebOracle {
        WebOracle { tree, blind, read_only, faulty, aside: HashMap::new() }
    }

    /// It comes back, and knows nothing of what its last connection has left.
    pub(crate) fn forget(&mut self, tree: Tree) {
        self.tree = tree;
        self.aside.values_mut().for_each(|aside| *aside = Aside::Unsure);
    }

    /// Whether the work under way on an upload was done is not known.
    pub(crate) fn doubt(&mut self, what: &What) {
        if let What::Piece { upload, .. } | What::State(upload) | What::Drop(upload) = what {
            self.aside.insert(upload.id.clone(), Aside::Unsure);
        }
    }

    /// Holds an answer against what was asked.
    pub(crate) fn check(&mut self, what: &What, answer: &WebAnswer) {
        let status = answer.status;
        let thrown = answer.text().starts_with(INJECTED)
            || answer.text().contains("file system does not answer")
            || what.is_head()
            || answer.text().starts_with("the file changed");
        if self.faulty && thrown && status >= 400 {
            return self.doubt(what);
        }
        let expected = self.expected(what);
        assert!(
            self.blind && !matches!(what, What::Refused(_)) || expected.contains(&status),
            "{what:?} was answered {status} in place of {expected:?}: {}",
            answer.text().lines().next().unwrap_or_default(),
        );
        if let What::Put { fate: Fate::WrongDigest | Fate::Broken, .. } | What::Cut = what {
            assert!(status >= 400, "{what:?} was answered {status}");
        }
        if self.read_only {
            assert!(what.effect().is_none() || status >= 400, "{what:?} on a server that takes no changes: {status}");
        }
        self.look_within(what, answer);
        self.apply(what, answer);
    }

    /// Returns the statuses that are right.
    fn expected(&self, what: &What) -> Vec<u16> {
        match what {
            What::Refused(statuses) => statuses.to_vec(),
            What::Read { name, range, condition, .. } => match self.tree.file(name) {
                Err(Code::NotAFile) => vec![301],
                Err(_) => vec![404],
                Ok((data, meta)) => vec![match condition {
                    Condition::Free => 304,
                    Condition::IsNot(tag) if *tag == meta.tag => 304,
                    Condition::Is(tag) if *tag != meta.tag => 412,
                    _ => match range {
                        Some((first, _)) if *first >= data.len() as u64 => 416,
                        Some(_) => 206,
                        None => 200,
                    },
                }],
            },
            What::Directory { name, .. } => match self.tree.find(name) {
                Ok(Node::Dir(_)) => vec![200],
                _ => vec![404],
            },
            What::Cut => (400..500).collect(),
            _ if self.read_only => vec![403, 404, 409, 412, 413],
            What::Put { name, data, condition, fate, chunked, .. } => self.put(name, data, condition, *fate, *chunked),
            What::Delete { name, condition } => match (self.tree.find(name), condition) {
                (Err(Code::NotFound), Condition::None) => vec![404],
                (Err(_), Condition::None) => vec![404],
                (Err(_), _) => vec![404, 412],
                (Ok(node), Condition::Is(tag)) if tag_at(node) != Some(tag.clone()) => vec![412],
                _ => vec![if self.tree.clone().delete(name).is_ok() { 204 } else { 409 }],
            },
            What::Mkcol(name) => vec![match self.tree.clone().mkdir(name) {
                Ok(()) => 201,
                Err(Code::Exists) => 405,
                Err(_) => 409,
            }],
            What::Create { name, is_free, .. } => match (self.tree.find(name), self.tree.check_target(name)) {
                // Where the look failed, the upload itself meets what is in its way.
                (Ok(_), Err(code)) if *is_free && self.faulty => vec![412, tus_status(code)],
                (Ok(_), _) if *is_free => vec![412],
                (_, Ok(())) => vec![201],
                (_, Err(code)) => vec![tus_status(code)],
            },
            What::Piece { upload, .. } | What::State(upload) | What::Drop(upload) => self.piece(what, upload),
        }
    }

    fn put(&self, name: &str, data: &Bytes, condition: &Condition, fate: Fate, chunked: bool) -> Vec<u16> {
        let is_too_large = data.0.len() as u64 > UPLOAD_BYTES;
        if is_too_large && !chunked {
            return vec![413];
        }
        let found = self.tree.find(name);
        match (condition, &found) {
            (Condition::Free, Ok(_)) | (Condition::Taken | Condition::Is(_), Err(Code::NotFound)) => return vec![412],
            (Condition::Is(tag), Ok(node)) if tag_at(node).as_ref() != Some(tag) => return vec![412],
            (Condition::Is(_), Err(_)) => return vec![409, 412],
            (Condition::Taken, Ok(Node::Dir(_))) => return vec![409],
            _ => {}
        }
        if self.tree.check_target(name).is_err() {
            // The store may tell it at once, or when the upload is to get its name.
            return if is_too_large || fate != Fate::Sound { vec![409, 413, 400] } else { vec![409] };
        }
        match fate {
            Fate::Sound if is_too_large => vec![413],
            Fate::Sound => vec![if found.is_ok() { 204 } else { 201 }],
            _ if is_too_large => vec![400, 413],
            Fate::WrongDigest | Fate::Broken => vec![400],
        }
    }

    fn piece(&self, what: &What, upload: &Piecemeal) -> Vec<u16> {
        if let Err(code) = self.tree.check_target(&upload.name) {
            let status = tus_status(code);
            // Of one that is not known, that may be said first.
            return match self.aside.get(&upload.id) {
                None | Some(Aside::Unsure) => vec![status, 404],
                Some(_) => vec![status],
            };
        }
        let size = upload.data.0.len() as u64;
        let Some(aside) = self.aside.get(&upload.id).copied() else { return vec![404] };
        match (aside, what) {
            (Aside::Unsure, _) => vec![200, 204, 404, 409, 410, 413, 460],
            (Aside::Published, What::State(_)) => vec![200],
            (Aside::Published, What::Piece { at, bytes: 0, .. }) if *at == size => vec![204],
            (Aside::Published, What::Piece { .. }) => vec![409],
            (Aside::Published, _) => vec![410],
            (Aside::Exactly(_), What::State(_)) => vec![200],
            (Aside::Exactly(_), What::Drop(_)) => vec![204],
            (Aside::Exactly(offset), What::Piece { at, .. }) if *at != offset => vec![409],
            (Aside::Exactly(_), What::Piece { is_right: false, .. }) => vec![460],
            _ => vec![204],
        }
    }

    /// Holds an answer that brings something against itself, and against what is known.
    fn look_within(&self, what: &What, answer: &WebAnswer) {
        match what {
            What::Read { name, range, is_head, .. } if matches!(answer.status, 200 | 206) => {
                self.look_at_file(name, range.filter(|_| answer.status == 206), *is_head, answer);
            }
            What::Directory { name, shape } if answer.status == 200 => self.look_at_directory(name, *shape, answer),
            _ => {}
        }
    }

    /// A reader gets the bytes of one version, whatever goes on beside.
    fn look_at_file(&self, name: &str, range: Option<(u64, Option<u64>)>, is_head: bool, answer: &WebAnswer) {
        let tag = answer.field("ETag").unwrap().trim_matches('"');
        let mut facts = tag.split('-');
        let size: usize = facts.next().unwrap().parse().unwrap();
        if let (None, false) = (range, is_head) {
            let crc = facts.next().unwrap();
            assert_eq!((answer.body.len(), Crc32::of(&answer.body).to_string().as_str()), (size, crc), "of {name}");
        }
        if is_head {
            assert_eq!(answer.field("Content-Length"), Some(size.to_string().as_str()));
        }
        if self.blind {
            return;
        }
        let (data, meta) = self.tree.file(name).unwrap_or_else(|code| panic!("{name} should be {code}"));
        assert_eq!(tag, meta.tag.as_str());
        if let Some((first, more)) = range {
            let end = more.map_or(size as u64, |more| (size as u64).min(first + more + 1));
            let shown = format!("bytes {first}-{}/{size}", end - 1);
            assert_eq!(answer.field("Content-Range"), Some(shown.as_str()));
            assert!(answer.body == data[first as usize..end as usize], "other bytes than {name} has");
        }
    }

    fn look_at_directory(&self, name: &str, shape: Shape, answer: &WebAnswer) {
        let name = Name::new(name).unwrap();
        let found: BTreeSet<String> = match shape {
            Shape::Page => return assert!(answer.text().trim_end().ends_with("</html>"), "a page without an end"),
            Shape::Json => {
                let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                let entries = json["entries"].as_array().unwrap();
                entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
            }
            Shape::Archive => return self.look_at_archive(&name, answer),
        };
        if !self.blind {
            let entries = self.tree.entries(Some(&name)).unwrap();
            let expected = entries.into_iter().map(|entry| entry.name.as_str().to_owned()).collect();
            assert_eq!(found, expected, "in {name}");
        }
    }

    fn look_at_archive(&self, name: &Name, answer: &WebAnswer) {
        let (mut archive, mut files) = (tar::Archive::new(answer.body.as_slice()), 0);
        for member in archive.entries().unwrap() {
            let mut member = member.unwrap();
            let path = member.path().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut member, &mut bytes).unwrap();
            if member.header().entry_type().is_file() && !self.blind {
                let parent = name.as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
                let (data, _) = self.tree.file(format!("{parent}/{path}").trim_start_matches('/')).unwrap();
                assert!(bytes == **data, "other bytes than {path} has");
                files += 1;
            }
        }
        assert!(answer.body.ends_with(&[0; 1024]), "an archive without an end");
        if !self.blind {
            assert_eq!(files, self.tree.below(name.as_str()).files(), "files of {name}");
        }
    }

    /// Notes what an answer says was done.
    fn apply(&mut self, what: &What, answer: &WebAnswer) {
        let done = matches!(answer.status, 200..300);
        match what {
            What::Put { name, data, mtime, .. } if done => self.published(name, data, *mtime, answer),
            What::Delete { name, .. } if done => self.change(&Change::Delete(Name::new(name).unwrap())),
            What::Mkcol(name) if done => self.change(&Change::Mkdir(Name::new(name).unwrap())),
            What::Create { name, data, is_whole, .. } if done => {
                let id = answer.field("Location").and_then(id_of).unwrap().to_owned();
                if *is_whole || data.0.is_empty() {
                    self.published(name, data, None, answer);
                    self.aside.insert(id, Aside::Published);
                } else {
                    self.aside.insert(id, Aside::Exactly(0));
                }
            }
            What::Piece { upload, at, bytes, .. } => self.piece_answered(upload, at + bytes, done, answer),
            What::State(upload) => {
                let size = upload.data.0.len() as u64;
                let known = self.aside.get(&upload.id).copied();
                if let Some(offset) = answer.field("Upload-Offset").map(|offset| offset.parse::<u64>().unwrap()) {
                    match known.unwrap_or(Aside::Unsure) {
                        Aside::Exactly(known) if !self.blind => assert_eq!(offset, known, "{upload:?}"),
                        Aside::Published if !self.blind => assert_eq!(offset, size),
                        _ if answer.field("ETag").is_some() => {
                            let tag = answer.field("ETag").unwrap_or_default();
                            assert_eq!(offset, size);
                            // Nobody knows whether it got its name by this, or before and something else came since.
                            let is_there =
                                self.tree.file(&upload.name).is_ok_and(|(_, meta)| tag.contains(meta.tag.as_str()));
                            self.blind |= !is_there;
                            self.aside.insert(upload.id.clone(), Aside::Published);
                        }
                        _ => {
                            self.aside.insert(upload.id.clone(), Aside::Exactly(offset));
                        }
                    }
                }
            }
            What::Drop(upload) if done => {
                self.aside.remove(&upload.id);
            }
            _ => {}
        }
    }

    fn piece_answered(&mut self, upload: &Piecemeal, end: u64, done: bool, answer: &WebAnswer) {
        let offset = answer.field("Upload-Offset").map(|offset| offset.parse::<u64>().unwrap());
        let size = upload.data.0.len() as u64;
        if done {
            assert_eq!(offset, Some(end), "{upload:?}");
            let is_new = self.aside.get(&upload.id) != Some(&Aside::Published);
            if answer.field("ETag").is_none() {
                assert_ne!(end, size, "the last piece makes no file of {upload:?}");
                self.aside.insert(upload.id.clone(), Aside::Exactly(end));
            } else {
                self.aside.insert(upload.id.clone(), Aside::Published);
                if is_new && !self.blind {
                    self.published(&upload.name, &upload.data, None, answer);
                }
            }
        } else if let (Some(Aside::Exactly(known)), Some(offset), false) =
            (self.aside.get(&upload.id), offset, self.blind)
        {
            assert_eq!(offset, *known, "{upload:?}");
        }
    }

    fn change(&mut self, change: &Change) {
        let done = match change {
            Change::Mkdir(name) => self.tree.mkdir(name.as_str()),
            Change::MkdirWith(name, permissions) => self.tree.mkdir_with(name.as_str(), Some(*permissions)),
            Change::Delete(name) | Change::DeleteVersion(name, _) => self.tree.delete(name.as_str()),
            Change::Rename(from, to) => self.tree.rename(from.as_str(), to.as_str()),
            Change::Touch(touch) => self.tree.touch(touch),
        };
        assert!(self.blind || done.is_ok(), "{change:?} should fail: {done:?}");
    }

    fn published(&mut self, name: &str, data: &Bytes, mtime: Option<Time>, answer: &WebAnswer) {
        let mtime = mtime.unwrap_or(some_time());
        let tag = format!("\"{}\"", tag_of(&data.0, mtime));
        assert_eq!(answer.field("ETag"), Some(tag.as_str()), "of {name}");
        let done = self.tree.publish(name, data.0.clone(), mtime);
        assert!(self.blind || done.is_ok(), "{name} should fail: {done:?}");
    }
}

/// Returns the id of the upload that has this address.
pub(super) fn id_of(address: &str) -> Option<&str> {
    address.split_once("?tus=")?.1.split('&').next()
}

fn tag_at(node: &Node) -> Option<Tag> {
    match node {
        Node::File { data, mtime } => Some(tag_of(data, *mtime)),
        Node::Dir(_) => None,
    }
}

/// Returns the status of an upload by tus whose name can't be had.
fn tus_status(code: Code) -> u16 {
    match code {
        Code::NotFound | Code::NotADirectory => 404,
        _ => 403,
    }
}
