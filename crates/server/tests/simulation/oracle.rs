//! The reference model: what each request of one client must be answered when the requests are
//! carried out one after the other.

use std::{collections::HashMap, sync::Arc};

use ferry_server::store::Change;
use ferry_wire::{Code, Crc32, DirMeta, Entry, EntryKind, Failure, FileMeta, Id, Name, Reply, Sha256, Tag, Time};

use crate::{
    reader::{Answer, Body},
    store::{Effect, INJECTED, ROOM},
    tree::{Node, Tree, mode_of, some_time, tag_of},
};

/// A request of a client, and the facts that it knows about it.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// It fails with this code in any case.
    Invalid(Code),
    Get {
        name: String,
        offset: u64,
        length: Option<u64>,
        tag: Option<Tag>,
    },
    Sum(String),
    /// A SUM with the SHA-256.
    Hash(String),
    Stat(String),
    /// A STAT that tells permissions, those of directories too.
    StatMode(String),
    Health,
    Space,
    List(Option<String>),
    /// A LIST that tells permissions.
    ListModes(String),
    Change(Change),
    Put(Put),
    Resume(Resume),
    /// A part of what somebody else may hold.
    Part(Part),
    /// The body behind GO.
    Resumed {
        resume: Resume,
        body: BodyFate,
        received: u64,
    },
    /// The end that the client asked for.
    Bye,
    /// The end that comes from the server, with one of these codes.
    Closing(Vec<Code>),
}

/// How a body was sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct BodyFate {
    /// The code that it fails with, unless it fails with something else before.
    pub(crate) fails: Option<Code>,
    /// The stream ends inside it, with one of these codes.
    pub(crate) broken: Vec<Code>,
    /// It ends with JOIN: whether others have sent the rest, this client can't know.
    pub(crate) joins: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The line fails with this code.
    pub(crate) refused: Option<Code>,
    pub(crate) body: BodyFate,
}

#[derive(Clone)]
pub(crate) struct Put {
    pub(crate) name: String,
    pub(crate) mtime: Option<Time>,
    pub(crate) data: Arc<Vec<u8>>,
    /// The line fails with this code.
    pub(crate) refused: Option<Code>,
    pub(crate) body: BodyFate,
}

#[derive(Clone)]
pub(crate) struct Resume {
    pub(crate) id: Id,
    pub(crate) name: String,
    /// As announced: not always that of the data. [`None`] where the end alone tells.
    pub(crate) size: Option<u64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) data: Arc<Vec<u8>>,
    pub(crate) refused: Option<Code>,
}

// Shown without their data.
impl std::fmt::Debug for Put {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Put { name, data, refused, body, .. } = self;
        write!(f, "PUT {name} of {}, {refused:?}, {body:?}", data.len())
    }
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Resume { id, name, size, refused, .. } = self;
        write!(f, "RESUME {id} {size:?} {name}, {refused:?}")
    }
}

/// The continuation after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The request is answered.
    Answered,
    /// Its body is due from there on.
    Go(u64),
    /// It was refused before its body broke the stream: the end is said as well.
    Closing(Vec<Code>),
    /// Nothing more is said on this connection.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aside {
    Exactly(u64),
    Published,
    /// A cut, a failure or a rival came between.
    Unsure,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) tree: Tree,
    /// Others change what this one looks at: only the form of replies can be told.
    pub(crate) blind: bool,
    /// The store fails at random.
    faulty: bool,
    /// It may leave anything unanswered.
    pub(crate) hangs: bool,
    aside: HashMap<Id, (String, Option<u64>, Aside)>,
    /// So much of an upload was told to be kept, and nothing has happened since that may have dropped it.
    promised: HashMap<Id, u64>,
    /// The last KEPT of an upload on this connection.
    told: HashMap<Id, u64>,
    /// How often KEPT was told.
    pub(crate) kepts: u64,
}

impl Oracle {
    pub(crate) fn new(tree: Tree, blind: bool, faulty: bool) -> Oracle {
        let (aside, promised, told) = (HashMap::new(), HashMap::new(), HashMap::new());
        Oracle { tree, blind, faulty, hangs: false, aside, promised, told, kepts: 0 }
    }

    /// The connection was cut: what was under way may have come to anything.
    pub(crate) fn forget(&mut self, tree: Tree) {
        self.tree = tree;
        for (_, _, aside) in self.aside.values_mut() {
            *aside = Aside::Unsure;
        }
    }

    /// An id that was asked for on a connection that was cut may be in use.
    pub(crate) fn doubt(&mut self, resume: &Resume) {
        let entry = (resume.name.clone(), resume.size, Aside::Unsure);
        self.aside.entry(resume.id.clone()).or_insert(entry).2 = Aside::Unsure;
    }

    /// Holds an answer against what was asked.
    pub(crate) fn check(&mut self, asked: &Asked, answer: &Answer) -> Next {
        if let Some(failure) = answer.failure() {
            self.check_failure_body(asked, answer);
            return self.failed(asked, failure);
        }
        let first = &answer.first;
        match asked {
            Asked::Bye => {
                assert_eq!(*first, Reply::Bye, "{asked:?}");
                return Next::Over;
            }
            Asked::Get { name, offset, length, tag } => {
                assert!(matches!(first, Reply::File(_)), "{asked:?}: {first:?}");
                if !self.blind {
                    self.check_get(name, *offset, *length, tag.as_ref(), answer);
                }
            }
            Asked::Sum(name) => self.check_known(name, first, |data, mtime| Reply::Sum {
                size: data.len() as u64,
                crc: Crc32::of(data),
                tag: tag_of(data, mtime),
                sha256: None,
            }),
            Asked::Hash(name) => self.check_known(name, first, |data, mtime| Reply::Sum {
                size: data.len() as u64,
                crc: Crc32::of(data),
                tag: tag_of(data, mtime),
                sha256: Some(Sha256::of(data)),
            }),
            Asked::Stat(name) => {
                assert!(matches!(first, Reply::File(_) | Reply::Dir(_)), "{asked:?}: {first:?}");
                if !self.blind {
                    let expected = match self.tree.find(name) {
                        Ok(Node::Dir(_)) => Reply::Dir(DirMeta { mtime: Some(some_time()), mode: None }),
                        _ => Reply::File(self.tree.file(name).unwrap_or_else(|code| panic!("{name} is {code}")).1),
                    };
                    assert_eq!(*first, expected, "{asked:?}");
                }
            }
            Asked::StatMode(name) => {
                let is_told = matches!(
                    first,
                    Reply::Dir(DirMeta { mode: Some(_), .. }) | Reply::File(FileMeta { mode: Some(_), .. })
                );
                assert!(is_told, "{asked:?}: {first:?}");
                if !self.blind {
                    let expected = match self.tree.find(name) {
                        Ok(Node::Dir(mode)) => Reply::Dir(DirMeta { mtime: Some(some_time()), mode: Some(*mode) }),
                        _ => {
                            let (data, meta) = self.tree.file(name).unwrap_or_else(|code| panic!("{name} is {code}"));
                            Reply::File(FileMeta { mode: Some(mode_of(&data)), ..meta })
                        }
                    };
                    assert_eq!(*first, expected, "{asked:?}");
                }
            }
            Asked::Health => assert_eq!(*first, Reply::Done),
            Asked::Space => assert_eq!(*first, Reply::from(ROOM)),
            Asked::List(name) => self.check_list(name.as_deref(), false, answer),
            Asked::ListModes(name) => self.check_list(Some(name), true, answer),
            Asked::Change(change) => {
                assert_eq!(*first, Reply::Done, "{asked:?}");
                let done = self.apply(change);
                assert!(self.blind || done.is_ok(), "{asked:?} should fail: {done:?}");
            }
            Asked::Put(put) => {
                let fine = put.refused.is_none() && put.body.fails.is_none() && put.body.broken.is_empty();
                assert!(fine, "{} should fail: {:?} {:?}", put.name, put.refused, put.body);
                self.saved(&put.name, put.mtime, &put.data, first);
            }
            Asked::Resume(resume) => return self.check_resume(resume, first),
            Asked::Part(Part { refused, body }) => {
                assert_eq!(*first, Reply::Done);
                assert!(refused.is_none() && body.fails.is_none() && body.broken.is_empty(), "{asked:?} should fail");
            }
            Asked::Resumed { resume, body, .. } => {
                assert!(body.fails.is_none() && body.broken.is_empty(), "{} should fail: {body:?}", resume.name);
                self.saved(&resume.name, resume.mtime, &resume.data, first);
                self.set_aside(resume, Aside::Published);
            }
            Asked::Invalid(_) | Asked::Closing(_) => panic!("{asked:?} was answered {first:?}"),
        }
        Next::Answered
    }

    fn check_known(&self, name: &str, first: &Reply, expected: impl Fn(&[u8], Time) -> Reply) {
        assert!(matches!(first, Reply::Sum { .. }), "SUM {name}: {first:?}");
        if self.blind {
            return;
        }
        match self.tree.find(name) {
            Ok(Node::File { data, mtime }) => assert_eq!(*first, expected(data, *mtime), "of {name}"),
            other => panic!("{name} is {other:?}, and was answered {first:?}"),
        }
    }

    fn check_get(&self, name: &str, offset: u64, length: Option<u64>, tag: Option<&Tag>, answer: &Answer) {
        let (data, meta) = self.tree.file(name).unwrap_or_else(|code| panic!("GET {name} should be {code}"));
        assert!(tag.is_none_or(|tag| *tag == meta.tag), "READ {name} should be changed");
        assert!(offset <= meta.size, "READ {name} should be bad-range");
        assert_eq!(answer.first, Reply::File(meta), "of {name}");
        let end = length.map_or(data.len(), |length| data.len().min((offset + length) as usize));
        let body = answer.body.as_ref().unwrap();
        assert!(body.bytes == data[offset as usize..end], "other bytes than {name} has");
    }

    /// Asserts that the bytes sent before a body failed are of the file, or padding.
    fn check_failure_body(&self, asked: &Asked, answer: &Answer) {
        let (Asked::Get { name, offset, .. }, Some(Body { bytes, .. })) = (asked, &answer.body) else { return };
        if self.blind {
            return;
        }
        let (data, _) = self.tree.file(name).unwrap();
        let data = &data[*offset as usize..];
        assert!(bytes.len() <= data.len(), "more bytes than {name} has");
        let good = bytes.iter().zip(data).all(|(&got, &there)| got == there || got == 0);
        assert!(good, "other bytes than {name} has, before a failure");
    }

    fn check_list(&self, name: Option<&str>, tells: bool, answer: &Answer) {
        assert_eq!(answer.first, Reply::Listing);
        let text = String::from_utf8(answer.body.as_ref().unwrap().bytes.clone()).unwrap();
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        for line in &lines {
            let entry = Entry::parse(line.trim_end_matches('\n').as_bytes()).unwrap_or_else(|error| panic!("{error}"));
            assert!(matches!(entry.kind, EntryKind::File(_) | EntryKind::Directory(_)));
        }
        // Others write to the root as well.
        if let (false, Some(name)) = (self.blind, name) {
            lines.sort();
            let name = Name::new(name).unwrap();
            let mut expected =
                self.tree.list(Some(&name), tells).unwrap_or_else(|code| panic!("LIST {name} should be {code}"));
            expected.sort();
            assert_eq!(lines, expected, "LIST {name}");
        }
    }

    fn apply(&mut self, change: &Change) -> Result<(), Code> {
        match change {
            Change::Mkdir(name) => self.tree.mkdir(name.as_str()),
            Change::MkdirWith(name, permissions) => self.tree.mkdir_with(name.as_str(), Some(*permissions)),
            Change::Delete(name) | Change::DeleteVersion(name, _) => self.tree.delete(name.as_str()),
            Change::Rename(from, to) => self.tree.rename(from.as_str(), to.as_str()),
            Change::Touch(touch) => self.tree.touch(touch),
        }
    }

    fn saved(&mut self, name: &str, mtime: Option<Time>, data: &Arc<Vec<u8>>, first: &Reply) {
        let Reply::Saved { size, crc, tag } = first else { panic!("an upload was answered {first:?}") };
        let mtime = mtime.unwrap_or(some_time());
        assert_eq!((*size, *crc, tag), (data.len() as u64, Crc32::of(data), &tag_of(data, mtime)), "of {name}");
        let done = self.tree.publish(name, data.clone(), mtime);
        assert!(self.blind || done.is_ok(), "{name} should fail: {done:?}");
    }

    fn set_aside(&mut self, resume: &Resume, aside: Aside) {
        self.aside.insert(resume.id.clone(), (resume.name.clone(), resume.size, aside));
    }

    fn check_resume(&mut self, resume: &Resume, first: &Reply) -> Next {
        assert!(resume.refused.is_none(), "RESUME should be {:?}", resume.refused);
        let aside = match self.aside.get(&resume.id) {
            None => Aside::Exactly(0),
            Some((name, size, aside)) if *name == resume.name && *size == resume.size => *aside,
            Some((_, _, Aside::Unsure)) => Aside::Unsure,
            Some(other) => panic!("RESUME {} should be exists: {other:?}", resume.id),
        };
        let unsure = self.blind || aside == Aside::Unsure;
        if !self.blind {
            assert_eq!(self.tree.check_target(&resume.name), Ok(()), "RESUME {}", resume.name);
        }
        match first {
            Reply::Go { offset, parts, crc } => {
                let whole = resume.data.len() as u64;
                assert!(*offset <= whole, "GO behind the end");
                let kept = resume.size.is_none().then(|| Crc32::of(&resume.data[..*offset as usize]));
                assert_eq!(*crc, kept, "GO {offset} of other bytes");
                assert!(resume.size.is_some() || parts.is_empty(), "a stream in parts");
                let mut end = *offset;
                for part in parts {
                    assert!(part.start >= end && part.end <= whole, "parts {parts:?} after {offset}");
                    end = part.end;
                }
                let promised = self.promised.get(&resume.id).copied().unwrap_or_default();
                assert!(*offset >= promised, "GO {offset}, though KEPT {promised} was told");
                assert!(unsure || aside == Aside::Exactly(*offset), "GO {offset} of {aside:?}");
                self.set_aside(resume, Aside::Unsure);
                Next::Go(*offset)
            }
            Reply::Saved { size, crc, .. } => {
                assert!(unsure || aside == Aside::Published, "SAVED though {aside:?}");
                assert_eq!((*size, *crc), (resume.data.len() as u64, Crc32::of(&resume.data)));
                self.set_aside(resume, Aside::Published);
                Next::Answered
            }
            first => panic!("RESUME was answered {first:?}"),
        }
    }

    /// The server says that so much of an upload is kept, whatever comes.
    pub(crate) fn kept(&mut self, asked: Option<&Asked>, offset: u64) {
        let Some(Asked::Resumed { resume: resume @ Resume { size: None, .. }, body, received }) = asked else {
            panic!("KEPT {offset} in {asked:?}")
        };
        // Of the body that is too large, all that it may have.
        assert!(offset <= *received || body.fails == Some(Code::TooLarge), "KEPT {offset} of {received}");
        let before = self.told.insert(resume.id.clone(), offset);
        assert!(before.is_none_or(|before| before < offset), "KEPT {offset} after {before:?}");
        self.kepts += 1;
        // Somebody else, a fault, or this very body may have it dropped.
        if !self.blind && !self.faulty && body.fails.is_none() {
            self.promised.insert(resume.id.clone(), offset);
        }
    }

    /// The body of a stream begins.
    pub(crate) fn begins(&mut self, resume: &Resume, body: &BodyFate) {
        self.told.remove(&resume.id);
        if body.fails.is_some() {
            self.promised.remove(&resume.id);
        }
    }

    /// A request failed: whether it should have.
    fn failed(&mut self, asked: &Asked, failure: &Failure) -> Next {
        let code = failure.code;
        let unanswered = failure.code == Code::Busy && failure.message.contains("file system does not answer");
        if let (true, Asked::Resume(resume)) = (unanswered, asked) {
            self.doubt(resume);
        }
        let thrown = failure.message.starts_with(INJECTED)
            || unanswered && self.hangs
            || self.faulty && code == Code::Changed && failure.message.starts_with("the file changed");
        match asked {
            Asked::Closing(codes) => {
                assert!(codes.contains(&code), "closed with {code} in place of {codes:?}");
                return Next::Over;
            }
            Asked::Part(Part { body, .. }) if body.broken.contains(&code) => return Next::Over,
            Asked::Put(Put { refused: None, body, .. }) if body.broken.contains(&code) => return Next::Over,
            Asked::Resumed { resume, body, .. } if body.broken.contains(&code) => {
                self.doubt(resume);
                return Next::Over;
            }
            _ if thrown || self.blind && !matches!(asked, Asked::Invalid(_)) => {}
            asked => {
                let right = self.codes(asked);
                assert!(right.contains(&code), "{asked:?} failed with {failure:?} in place of {right:?}");
            }
        }
        match asked {
            Asked::Resumed { resume, body, received } => {
                let is_dropped = match code {
                    Code::Checksum => true,
                    Code::Stopped | Code::TooLarge => resume.size.is_none(),
                    _ => false,
                };
                let aside = match code {
                    _ if is_dropped && !thrown => Aside::Exactly(0),
                    Code::Stopped | Code::Incomplete if !thrown && !body.joins => Aside::Exactly(*received),
                    _ => Aside::Unsure,
                };
                self.set_aside(resume, aside);
                if aside == Aside::Exactly(0) && is_dropped {
                    self.aside.remove(&resume.id);
                }
                if body.broken.is_empty() { Next::Answered } else { Next::Closing(body.broken.clone()) }
            }
            Asked::Put(Put { body, .. }) | Asked::Part(Part { body, .. }) if !body.broken.is_empty() => {
                Next::Closing(body.broken.clone())
            }
            _ => Next::Answered,
        }
    }

    /// Returns the codes that a request may fail with.
    fn codes(&self, asked: &Asked) -> Vec<Code> {
        let code: Option<Code> = match asked {
            Asked::Invalid(code) => Some(*code),
            Asked::Get { name, offset, tag, .. } => match self.tree.file(name) {
                Err(code) => Some(code),
                Ok((_, meta)) if tag.as_ref().is_some_and(|tag| *tag != meta.tag) => Some(Code::Changed),
                Ok((_, meta)) => (*offset > meta.size).then_some(Code::BadRange),
            },
            Asked::Sum(name) | Asked::Hash(name) => self.tree.file(name).err(),
            Asked::Stat(name) | Asked::StatMode(name) => self.tree.find(name).err(),
            // The model's disk may take its time.
            Asked::Health => Some(Code::Busy),
            Asked::Space => None,
            Asked::List(name) => {
                name.as_ref().and_then(|name| self.tree.entries(Some(&Name::new(name).unwrap())).err())
            }
            Asked::ListModes(name) => self.tree.entries(Some(&Name::new(name).unwrap())).err(),
            Asked::Change(Change::Mkdir(name) | Change::MkdirWith(name, _)) => {
                self.tree.clone().mkdir(name.as_str()).err()
            }
            Asked::Change(Change::Delete(name) | Change::DeleteVersion(name, _)) => {
                self.tree.clone().delete(name.as_str()).err()
            }
            Asked::Change(Change::Rename(from, to)) => self.tree.clone().rename(from.as_str(), to.as_str()).err(),
            Asked::Change(Change::Touch(touch)) => self.tree.clone().touch(touch).err(),
            Asked::Put(put) => match put.refused {
                Some(code) => Some(code),
                None => {
                    let target = self.tree.check_target(&put.name).err();
                    return put.body.fails.into_iter().chain(target).collect();
                }
            },
            Asked::Resume(resume) if resume.refused.is_some() => resume.refused,
            Asked::Resume(resume) => {
                let other = self.aside.get(&resume.id).is_some_and(|(name, size, aside)| {
                    *name != resume.name || *size != resume.size || *aside == Aside::Unsure
                });
                return other
                    .then_some(Code::Exists)
                    .into_iter()
                    .chain(self.tree.check_target(&resume.name).err())
                    .collect();
            }
            Asked::Part(Part { refused: Some(code), .. }) => Some(*code),
            // Whether somebody holds the upload, this client can't know.
            Asked::Part(Part { body, .. }) => {
                let held = [Code::Busy, Code::BadRange, Code::Changed, Code::Exists];
                return body.fails.into_iter().chain(held).collect();
            }
            Asked::Resumed { body, .. } if body.joins => Some(Code::Incomplete),
            Asked::Resumed { body, .. } => body.fails,
            Asked::Bye | Asked::Closing(_) => None,
        };
        code.into_iter().collect()
    }
}

impl Asked {
    /// Returns whether a body follows where the answer is FILE.
    pub(crate) fn brings_body(&self) -> bool {
        matches!(self, Asked::Get { .. })
    }

    /// Returns its change, if it succeeds.
    pub(crate) fn effect(&self) -> Option<Effect> {
        match self {
            Asked::Change(change) => Some(Effect::Changed(change.clone())),
            Asked::Put(Put { name, data, refused: None, body, .. })
                if body.fails.is_none() && body.broken.is_empty() =>
            {
                Some(published(name, data))
            }
            Asked::Resumed { resume, body, .. } if body.fails.is_none() && body.broken.is_empty() => {
                Some(published(&resume.name, &resume.data))
            }
            _ => None,
        }
    }
}

fn published(name: &str, data: &[u8]) -> Effect {
    Effect::Published { name: name.to_owned(), size: data.len() as u64, crc: Crc32::of(data) }
}
