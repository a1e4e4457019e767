//! A small server that keeps its files in memory and its word.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use ferry_client::{Address, Code, Crc32, DirMeta, Entry, EntryKind, Failure, FileMeta, Name, Tag, Time};
use ferry_wire::{BodyLine, Refusal, Reply, Request, write_block_header, write_end};

use super::{Peer, name};

/// The entries by name: a file's bytes and time, or a directory.
type Tree = Arc<Mutex<BTreeMap<String, Option<(Vec<u8>, Option<Time>)>>>>;

/// The requests that are done, and after which the connection is closed in place of an answer, once each.
type Cuts = Arc<Mutex<Vec<String>>>;

/// Serves until the test ends.
pub(crate) struct Honest {
    pub(crate) address: Address,
    tree: Tree,
    cuts: Cuts,
}

impl Honest {
    pub(crate) fn start() -> Honest {
        Honest::on(TcpListener::bind(("127.0.0.1", 0)).unwrap())
    }

    /// Serves who connects to `listener` from now on.
    pub(crate) fn on(listener: TcpListener) -> Honest {
        Honest::empty_on(listener, &[])
    }

    /// Serves who has logged in by `LOGIN alice hunter 2`, and denies all else.
    pub(crate) fn with_accounts() -> Honest {
        Honest::serving(TcpListener::bind(("127.0.0.1", 0)).unwrap(), &[], true)
    }

    /// The same with these directories.
    pub(crate) fn empty_on(listener: TcpListener, directories: &[&str]) -> Honest {
        Honest::serving(listener, directories, false)
    }

    fn serving(listener: TcpListener, directories: &[&str], has_accounts: bool) -> Honest {
        let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let tree = Tree::default();
        tree.lock().unwrap().extend(directories.iter().map(|name| ((*name).to_owned(), None)));
        let (shared, cuts) = (Arc::clone(&tree), Cuts::default());
        let noted = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (tree, cuts) = (Arc::clone(&shared), Arc::clone(&noted));
                let peer = Peer::new(stream.unwrap());
                std::thread::spawn(move || Service { peer, tree, cuts, has_accounts }.run());
            }
        });
        Honest { address, tree, cuts }
    }

    /// Has the answer to the next `request` be lost, and the connection with it.
    pub(crate) fn cut_after(&self, request: &str) {
        self.cuts.lock().unwrap().push(request.to_owned());
    }

    pub(crate) fn add(&self, name: &str, content: impl Into<Vec<u8>>) {
        let file = (content.into(), Time::new(1_000_000_000, 250_000_000));
        self.tree.lock().unwrap().insert(name.to_owned(), Some(file));
    }

    pub(crate) fn add_directory(&self, name: &str) {
        self.tree.lock().unwrap().insert(name.to_owned(), None);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.tree.lock().unwrap().remove(name);
    }

    pub(crate) fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.tree.lock().unwrap().get(name).cloned().flatten().map(|(content, _)| content)
    }

    pub(crate) fn mtime(&self, name: &str) -> Option<Time> {
        self.tree.lock().unwrap().get(name).cloned().flatten().and_then(|(_, mtime)| mtime)
    }
}

struct Service {
    peer: Peer,
    tree: Tree,
    cuts: Cuts,
    has_accounts: bool,
}

fn tag() -> Tag {
    Tag::new("v1").unwrap()
}

fn fail(code: Code, message: &'static str) -> Reply {
    Reply::Fail(Failure::new(code, message))
}

impl Service {
    fn run(mut self) {
        self.peer.send(if self.has_accounts { "FERRY 1 honest/1 login\n" } else { "FERRY 1 honest/1\n" });
        let mut is_denied = self.has_accounts;
        while let Some(line) = self.peer.line() {
            if self.has_accounts && (is_denied || line.starts_with("LOGIN")) && line != "CLOSE" {
                let is_right = line == "LOGIN alice hunter 2";
                is_denied &= !is_right;
                self.reply(&if is_right { Reply::Done } else { fail(Code::Denied, "not for you") });
                continue;
            }
            let last = match Request::parse(line.as_bytes()) {
                Ok(Request::Close) => {
                    self.reply(&Reply::Bye);
                    return;
                }
                Ok(request) if self.is_cut_after(&line) => {
                    if !matches!(request, Request::Get { .. } | Request::Read { .. } | Request::List { .. }) {
                        self.answer_in_a_line(request);
                    }
                    return self.peer.close();
                }
                Ok(request) => self.answer(request),
                Err(Refusal::Request { failure, .. } | Refusal::With(failure) | Refusal::Stream(failure)) => {
                    Some(Reply::Fail(failure))
                }
            };
            if let Some(reply) = last {
                self.reply(&reply);
            }
        }
    }

    fn is_cut_after(&self, line: &str) -> bool {
        let mut cuts = self.cuts.lock().unwrap();
        let at = cuts.iter().position(|request| request == line);
        at.map(|at| cuts.remove(at)).is_some()
    }

    fn reply(&mut self, reply: &Reply) {
        let mut out = Vec::new();
        reply.encode(&mut out);
        self.peer.send(&out);
    }

    /// Sends a reply that has a body; gives one that has none.
    fn answer(&mut self, request: Request) -> Option<Reply> {
        match request {
            Request::Get { name } => self.read(&name, 0, None),
            Request::Read { offset, length, name, .. } => self.read(&name, offset, length),
            Request::List { name } => self.list(name.as_ref()),
            request => Some(self.answer_in_a_line(request)),
        }
    }

    fn answer_in_a_line(&mut self, request: Request) -> Reply {
        match request {
            Request::Put { mtime, name, .. } => self.put(name.as_str(), mtime),
            Request::Stat { name } => match self.tree.lock().unwrap().get(name.as_str()) {
                None => fail(Code::NotFound, "nothing has that name"),
                Some(None) => Reply::Dir(DirMeta { mtime: Time::new(7, 0), mode: None }),
                Some(Some((content, mtime))) => Reply::File(meta(content, *mtime)),
            },
            Request::Sum { name } => match self.file(name.as_str()) {
                Err(failure) => failure,
                Ok((content, _)) => {
                    Reply::Sum { size: content.len() as u64, crc: Crc32::of(&content), tag: tag(), sha256: None }
                }
            },
            Request::Health => Reply::Done,
            Request::Space => Reply::Space { total: 9, free: 5, available: 4, staged: Some(3) },
            Request::Mkdir { name } => {
                let make = |tree: &mut BTreeMap<_, _>| {
                    let is_new = !tree.contains_key(name.as_str());
                    tree.entry(name.as_str().to_owned()).or_insert(None);
                    is_new
                };
                self.change(make, Code::Exists)
            }
            Request::Delete { name } => self.change(|tree| tree.remove(name.as_str()).is_some(), Code::NotFound),
            Request::Rename { from, to } => self.change(
                |tree| match tree.remove(from.as_str()) {
                    None => false,
                    Some(moved) => tree.insert(to.as_str().to_owned(), moved).is_none(),
                },
                Code::NotFound,
            ),
            _ => fail(Code::Unsupported, "not here"),
        }
    }

    fn change(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<String, Option<(Vec<u8>, Option<Time>)>>) -> bool,
        code: Code,
    ) -> Reply {
        if change(&mut self.tree.lock().unwrap()) { Reply::Done } else { fail(code, "that can't be done") }
    }

    fn file(&self, name: &str) -> Result<(Vec<u8>, Option<Time>), Reply> {
        match self.tree.lock().unwrap().get(name) {
            None => Err(fail(Code::NotFound, "nothing has that name")),
            Some(None) => Err(fail(Code::NotAFile, "that is a directory")),
            Some(Some(file)) => Ok(file.clone()),
        }
    }

    fn read(&mut self, name: &Name, offset: u64, length: Option<u64>) -> Option<Reply> {
        // A piece of a large file costs no copy of it all.
        let (meta, range) = match self.tree.lock().unwrap().get(name.as_str()) {
            None => return Some(fail(Code::NotFound, "nothing has that name")),
            Some(None) => return Some(fail(Code::NotAFile, "that is a directory")),
            Some(Some((content, mtime))) => {
                let from = usize::try_from(offset).unwrap().min(content.len());
                let length = length.map_or(content.len(), |length| usize::try_from(length).unwrap());
                (meta(content, *mtime), content[from..content.len().min(from + length)].to_vec())
            }
        };
        self.reply(&Reply::File(meta));
        self.send_body(&range);
        None
    }

    fn list(&mut self, directory: Option<&Name>) -> Option<Reply> {
        let mut lines = Vec::new();
        for (path, node) in self.tree.lock().unwrap().iter() {
            let path = name(path);
            if path.parent() == directory.map(Name::as_str) {
                let kind = match node {
                    None => EntryKind::Directory(DirMeta::default()),
                    Some((content, mtime)) => EntryKind::File(meta(content, *mtime)),
                };
                Entry { name: name(path.last()), kind }.encode(&mut lines);
            }
        }
        self.reply(&Reply::Listing);
        self.send_body(&lines);
        None
    }

    /// In blocks of odd sizes, so that nothing ends where a buffer ends.
    fn send_body(&mut self, bytes: &[u8]) {
        let mut out = Vec::new();
        for block in bytes.chunks(300_007) {
            write_block_header(&mut out, block.len() as u64);
            out.extend_from_slice(block);
        }
        write_end(&mut out, Crc32::of(bytes));
        self.peer.send(&out);
    }

    fn put(&mut self, name: &str, mtime: Option<Time>) -> Reply {
        let (content, closing) = self.peer.body();
        match closing {
            BodyLine::End(crc) if crc.is_none_or(|crc| crc == Crc32::of(&content)) => {
                let reply = Reply::Saved { size: content.len() as u64, crc: Crc32::of(&content), tag: tag() };
                self.tree.lock().unwrap().insert(name.to_owned(), Some((content, mtime)));
                reply
            }
            BodyLine::End(_) => fail(Code::Checksum, "other bytes came than were sent"),
            _ => fail(Code::Stopped, "stopped by the client"),
        }
    }
}

fn meta(content: &[u8], mtime: Option<Time>) -> FileMeta {
    FileMeta { size: content.len() as u64, mtime, tag: tag(), mode: None }
}
