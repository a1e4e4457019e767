//! A client that works until the server is killed, and knows what it was told.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
};

use ferry_e2e::{Frail, Random, body, crc, eventually};

use crate::model::{Change, Entry, Tree, Version, apply, matches};

/// How many names a client has of each kind: few, so that they are replaced often.
const NAMES: u64 = 6;

/// Requests that are sent before the first reply is read: what fits any socket buffer.
const PIPELINED: u64 = 10;

/// Small files are most; some are larger than what the server gathers for one write.
const SMALL_BYTES: u64 = 4000;
const LARGE_BYTES: u64 = 700_000;

/// Counts of the work that was done, for the figures.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) replies: u64,
    pub(crate) saved: u64,
    pub(crate) verified: u64,
    pub(crate) resumed: u64,
    pub(crate) resumed_behind_0: u64,
    pub(crate) published_unseen: u64,
    pub(crate) in_flight_done: u64,
    pub(crate) in_flight_undone: u64,
    pub(crate) breaks: u64,
    pub(crate) busy: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.replies += other.replies;
        self.saved += other.saved;
        self.verified += other.verified;
        self.resumed += other.resumed;
        self.resumed_behind_0 += other.resumed_behind_0;
        self.published_unseen += other.published_unseen;
        self.in_flight_done += other.in_flight_done;
        self.in_flight_undone += other.in_flight_undone;
        self.breaks += other.breaks;
        self.busy += other.busy;
    }
}

/// A resumable upload that is not acknowledged yet.
#[derive(Debug, Clone)]
struct Resuming {
    id: String,
    name: String,
    version: Version,
    /// Its size is told by its end alone. Given up, it is dropped.
    is_stream: bool,
    /// The offset of the last GO: it is durable, so no later one may be lower.
    durable: usize,
    /// The furthest byte that was ever sent: no GO may lie behind it.
    sent: usize,
    /// It was found in its place when the server was dead, though SAVED was never seen.
    published: bool,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Client {
    prefix: String,
    random: Random,
    /// The state that was acknowledged.
    tree: Tree,
    /// The changes that were asked for and not answered, in order.
    in_flight: Vec<Change>,
    resuming: Option<Resuming>,
    /// There is more than one server: the one that this client is connected to may find its upload held.
    shared: bool,
    pub(crate) counts: Counts,
}

impl Client {
    pub(crate) fn new(index: u64, seed: u64) -> Client {
        let (tree, in_flight) = (Tree::new(), Vec::new());
        let random = Random::new(seed);
        let (prefix, counts) = (format!("c{index}-"), Counts::default());
        Client { prefix, random, tree, in_flight, resuming: None, shared: false, counts }
    }

    /// Works until the connection breaks for good; tells of each reply.
    pub(crate) fn work(&mut self, address: SocketAddr, tell: &Sender<()>) {
        while let Ok(mut frail) = Frail::greeted(address) {
            // The end of one connection is the server's death, or this client's own cut.
            while self.step(&mut frail, tell).is_ok() {}
        }
    }

    /// Works until `stop`, at whichever server of `address` takes it. When one dies, what it left undone
    /// must be as a prefix of what was asked leads to, before another one is asked for more.
    pub(crate) fn work_at_any(&mut self, address: SocketAddr, root: &Path, stop: &AtomicBool, tell: &Sender<()>) {
        self.shared = true;
        while !stop.load(Ordering::Relaxed) {
            // One that dies may take along who has not been accepted yet.
            let Ok(mut frail) = Frail::greeted(address) else { continue };
            while !stop.load(Ordering::Relaxed) {
                if self.step(&mut frail, tell).is_err() {
                    self.counts.breaks += 1;
                    // Its connections break when its last thread has ended: nothing of it goes on.
                    self.settle(root).unwrap_or_else(|violation| panic!("a server died: {violation}"));
                    break;
                }
            }
        }
    }

    fn step(&mut self, frail: &mut Frail, tell: &Sender<()>) -> io::Result<()> {
        match self.random.below(5) {
            0 => self.resume(frail, tell),
            1 => self.get(frail, tell),
            _ => self.changes(frail, tell),
        }
    }

    fn replied(&mut self, tell: &Sender<()>) {
        self.counts.replies += 1;
        // Whoever listens stops doing so when the server is dead.
        let _ = tell.send(());
    }

    fn name(&mut self, kind: char) -> String {
        format!("{}{kind}{}", self.prefix, self.random.below(NAMES))
    }

    fn version(&mut self) -> Version {
        let most = if self.random.below(6) == 0 { LARGE_BYTES } else { SMALL_BYTES };
        // Long enough that no two are the same.
        Version { seed: self.random.number(), length: 16 + self.random.below(most) as usize }
    }

    /// A change that must work on `tree`.
    fn change(&mut self, tree: &Tree) -> Change {
        let (file, other, dir) = (self.name('f'), self.name('g'), self.name('d'));
        match self.random.below(8) {
            0 | 1 if tree.contains_key(&dir) => Change::Delete(dir),
            0 | 1 => Change::Mkdir(dir),
            2 if tree.contains_key(&file) => Change::Delete(file),
            3 if tree.contains_key(&file) && !tree.contains_key(&other) => Change::Rename(file, other),
            4 if tree.contains_key(&other) && !tree.contains_key(&file) => Change::Rename(other, file),
            _ => Change::Put(file, self.version()),
        }
    }

    /// Several changes in one write, then their replies.
    fn changes(&mut self, frail: &mut Frail, tell: &Sender<()>) -> io::Result<()> {
        let (mut sent, mut tree) = (Vec::new(), self.tree.clone());
        for _ in 0..=self.random.below(PIPELINED) {
            let change = self.change(&tree);
            apply(&mut tree, &change);
            sent.extend(spoken(&change));
            self.in_flight.push(change);
        }
        frail.send(sent)?;
        while let Some(change) = self.in_flight.first() {
            let line = frail.line()?;
            let expected = match change {
                Change::Put(_, version) => format!("SAVED {} {} ", version.length, crc(&version.bytes())),
                _ => "DONE".into(),
            };
            assert!(line.starts_with(&expected), "{line:?} in answer to {change:?}");
            self.counts.saved += u64::from(line.starts_with("SAVED"));
            apply(&mut self.tree, &self.in_flight.remove(0));
            self.replied(tell);
        }
        Ok(())
    }

    /// Reads one file back.
    fn get(&mut self, frail: &mut Frail, tell: &Sender<()>) -> io::Result<()> {
        let name = self.name('f');
        let answer = frail.ask(&format!("GET {name}"))?;
        match self.tree.get(&name) {
            Some(Entry::File(version)) => assert!(answer.verified() == version.bytes(), "{name} is not {version:?}"),
            _ => answer.expect_failure("not-found"),
        }
        self.counts.verified += 1;
        self.replied(tell);
        Ok(())
    }

    /// Begins or goes on with a resumable upload; ends it, gives it up for now, or cuts the connection.
    fn resume(&mut self, frail: &mut Frail, tell: &Sender<()>) -> io::Result<()> {
        let Some(offset) = self.ask_to_resume(frail)? else { return Ok(()) };
        self.replied(tell);
        let resuming = self.resuming.as_mut().expect("it was just asked for");
        let bytes = resuming.version.bytes();
        let left = bytes.len() - offset;
        let piece = self.random.below(left as u64 + 1) as usize;
        let ends = self.random.below(3);
        let end = if ends == 0 { bytes.len() } else { offset + piece };
        resuming.sent = resuming.sent.max(end);
        let blocks = body(&bytes[offset..end], 1 << 16);
        let closing = blocks.len() - "END 00000000\n".len();
        frail.send(&blocks[..closing])?;
        match ends {
            0 => {
                let resuming = resuming.clone();
                self.in_flight.push(Change::Put(resuming.name, resuming.version));
                frail.send(format!("END {}\n", crc(&bytes)))?;
                let line = final_line(frail)?;
                self.saved(&line);
            }
            1 => {
                if resuming.is_stream {
                    resuming.durable = 0;
                }
                frail.send("STOP\n")?;
                let line = final_line(frail)?;
                assert!(line.starts_with("FAIL stopped "), "{line:?}");
                self.resuming.take_if(|resuming| resuming.is_stream);
            }
            _ => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        self.replied(tell);
        Ok(())
    }

    /// Asks for GO and gives its offset; [`None`] where the upload turned out to be published.
    fn ask_to_resume(&mut self, frail: &mut Frail) -> io::Result<Option<usize>> {
        if self.resuming.is_none() {
            let (id, name, version) = (format!("{:016x}", self.random.number()), self.name('f'), self.version());
            let is_stream = self.random.below(2) == 0;
            self.resuming = Some(Resuming { id, name, version, is_stream, durable: 0, sent: 0, published: false });
        }
        let Resuming { id, name, version, is_stream, durable, sent, published } =
            self.resuming.clone().expect("it was just made");
        let size = if is_stream { "-".into() } else { version.length.to_string() };
        let line = frail.ask(&format!("RESUME {id} {size} - {name}"))?.line;
        if self.shared && line.starts_with("FAIL busy ") {
            self.counts.busy += 1;
            return Ok(None);
        }
        let Some(offset) = line.strip_prefix("GO ") else {
            assert!(published, "{line:?}, but it was not in its place");
            self.counts.published_unseen += 1;
            self.saved(&line);
            return Ok(None);
        };
        assert!(!published, "{line:?}, but it was in its place");
        let (offset, kept) = offset.split_once(" crc=").map_or((offset, None), |(offset, kept)| (offset, Some(kept)));
        let offset: usize = offset.parse().expect("an offset");
        let expected = is_stream.then(|| crc(&version.bytes()[..offset]));
        assert_eq!(kept, expected.as_deref(), "GO {offset}");
        assert!((durable..=sent).contains(&offset), "GO {offset}, where {durable} were durable and {sent} sent");
        self.counts.resumed += u64::from(sent > 0);
        self.counts.resumed_behind_0 += u64::from(offset > 0);
        self.resuming.as_mut().expect("it was just made").durable = offset;
        Ok(Some(offset))
    }

    /// The upload that was resumed is there.
    fn saved(&mut self, line: &str) {
        let Resuming { version, .. } = self.resuming.take().expect("an upload");
        let expected = format!("SAVED {} {} ", version.length, crc(&version.bytes()));
        assert!(line.starts_with(&expected), "{line:?}, not {expected:?}");
        self.counts.saved += 1;
        // Where SAVED came in place of GO, it was found in its place before, and may have been replaced.
        if let Some(change) = self.in_flight.pop() {
            apply(&mut self.tree, &change);
        }
    }

    /// The server is dead: finds out which of the unanswered changes were made. They were made in order,
    /// so it is the first so many. Gives the names that there are.
    pub(crate) fn settle(&mut self, root: &Path) -> Result<Vec<String>, String> {
        let mut tree = self.tree.clone();
        let mut differences = Vec::new();
        for done in 0..=self.in_flight.len() {
            if done > 0 {
                apply(&mut tree, &self.in_flight[done - 1]);
            }
            match matches(root, &self.prefix, &tree) {
                Ok(()) => {
                    self.counts.in_flight_done += done as u64;
                    self.counts.in_flight_undone += (self.in_flight.len() - done) as u64;
                    self.note_published(done);
                    self.in_flight.clear();
                    self.tree = tree;
                    return Ok(self.tree.keys().cloned().collect());
                }
                Err(difference) => differences.push(difference),
            }
        }
        Err(format!("{}: no prefix of {:?} fits: {}", self.prefix, self.in_flight, differences.join("; ")))
    }

    /// Of what was in flight, the first `done` were done: the upload may be among them.
    fn note_published(&mut self, done: usize) {
        let Some(resuming) = &mut self.resuming else { return };
        let is_it = |change: &Change| matches!(change, Change::Put(_, version) if *version == resuming.version);
        resuming.published |= self.in_flight[..done].iter().any(is_it);
    }

    /// Ends the upload that is under way, and reads back every file.
    pub(crate) fn finish(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut frail = Frail::greeted(address)?;
        let offset = eventually("no server holds the upload", || {
            // Neither GO nor SAVED, and still under way: it is held.
            let asked = self.resuming.is_some().then(|| self.ask_to_resume(&mut frail));
            match asked {
                Some(Ok(None)) if self.resuming.is_some() => None,
                asked => Some(asked.unwrap_or(Ok(None))),
            }
        })?;
        if let Some(offset) = offset {
            let resuming = self.resuming.clone().expect("it is under way");
            let bytes = resuming.version.bytes();
            let blocks = body(&bytes[offset..], 1 << 16);
            frail.send(&blocks[..blocks.len() - "END 00000000\n".len()])?;
            frail.send(format!("END {}\n", crc(&bytes)))?;
            self.in_flight.push(Change::Put(resuming.name, resuming.version));
            let line = final_line(&mut frail)?;
            self.saved(&line);
        }
        for (name, entry) in &self.tree {
            if let Entry::File(version) = entry {
                assert!(frail.ask(&format!("GET {name}"))?.verified() == version.bytes(), "{name}");
                self.counts.verified += 1;
            }
        }
        Ok(())
    }
}

/// The next line that ends a body: a stream that takes its time is told in between what is kept.
fn final_line(frail: &mut Frail) -> io::Result<String> {
    loop {
        let line = frail.line()?;
        if !line.starts_with("KEPT ") {
            return Ok(line);
        }
    }
}

/// A change as it goes over the wire.
fn spoken(change: &Change) -> Vec<u8> {
    match change {
        Change::Put(name, version) => {
            let mut sent = format!("PUT {} - {name}\n", version.length).into_bytes();
            sent.extend(body(&version.bytes(), 1 << 17));
            sent
        }
        Change::Mkdir(name) => format!("MKDIR {name}\n").into_bytes(),
        Change::Delete(name) => format!("DELETE {name}\n").into_bytes(),
        Change::Rename(from, to) => format!("RENAME {from}//{to}\n").into_bytes(),
    }
}
