//! The thread that reads the files that are to be stored, ahead of the connection: local ones here, those of another server
//! in `relay`.

use std::{
    sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel},
    thread::Scope,
};

use ferry_wire::{AskedMode, Crc32, Digest, Greeting, Time, limits::MIN_HOLE_BYTES, write_hole};

use super::{
    super::{Store, hand::Taker, pieces::Piece},
    files::Files,
    known::Known,
    relay::relay,
};
use crate::{
    block::Block,
    error::Error,
    local::{Source, Stamp, Version},
    options::{Cancel, Permissions},
};

/// Small files go out together in runs of so many bytes: one call of the system for many. The largest small file may
/// come on top.
const RUN_BYTES: usize = 128 << 10;

/// The same where several connections share the files, and this one is slow: others wait for it at the end.
const LEAST_RUN_BYTES: usize = 16 << 10;

/// The part of what a connection takes ahead that a run may be: as many wait here and in the socket.
const RUNS_AHEAD: u64 = 8;

/// Small files in a run at most.
const RUN_FILES: usize = 256;

/// Runs and blocks that wait to be sent.
const AHEAD: usize = 4;

/// Files from here on are sent in blocks, and are not whole in memory.
pub(super) const LARGE_BYTES: u64 = 1 << 20;

/// How often a small file is read anew because it changed meanwhile.
const TRIES: usize = 3;

/// A small file in a run.
#[derive(Debug)]
pub(super) struct SmallUpload {
    pub(super) index: usize,
    pub(super) size: u64,
    pub(super) crc: Crc32,
}

/// The messages of the reader, in the order of the files.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Whole PUTs.
    Run { block: Block, files: Vec<SmallUpload> },
    /// A file that can't be read.
    Failed { index: usize, error: Error },
    /// A large file is open. The reader waits for an [`Order`].
    Large(Opened),
    /// Some bytes of it.
    Block { block: Block, bytes: u64 },
    /// All of it was read, and it did not change meanwhile.
    End(Digest),
    /// A range of it was read.
    Range(Piece, Crc32),
    /// It can't be read to its end.
    Broken(Error),
    /// No file can be read any more: the server that they are read from is gone for good. Nothing follows.
    Lost(Error),
    /// As was ordered.
    Skipped,
    /// No file is left that anybody has to take. The reader waits for [`Order::More`].
    AllRead,
}

/// A large file that is open, and what is known of it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) index: usize,
    pub(super) size: u64,
    pub(super) mtime: Option<Time>,
    pub(super) mode: Option<AskedMode>,
    pub(super) version: Version,
    pub(super) stamp: Option<Stamp>,
    /// A local one, of which several connections can read.
    pub(super) source: Option<Source>,
}

/// The decision about a large file.
#[derive(Debug)]
pub(super) enum Order {
    /// Its bytes from there on, and in the end its digest. The known part of it need not be read again.
    From(u64, Known),
    /// The digest of its first bytes alone.
    Digest(u64, Known),
    /// The CRC of this range, until another order comes.
    Range(Piece),
    /// Nothing more.
    Skip,
    /// The next files: some were given back.
    More,
}

/// The way in which files are read for a server.
#[derive(Debug)]
pub(super) struct ReaderManner {
    /// Files from this size on are large.
    pub(super) large_from: u64,
    /// Of files from this size on the server is asked what it has; [`None`] for none.
    pub(super) resumable_from: Option<u64>,
    /// Those that files bring with them.
    pub(super) permissions: Permissions,
    /// The server's greeting.
    pub(super) greeting: Option<Greeting>,
}

/// The connection's end of the reader. Dropped, the reader ends.
#[derive(Debug)]
pub(super) struct Reader {
    /// Before the others: who waits for a server hears nothing of these.
    _leaving: Leaving,
    pub(super) chunks: Receiver<Chunk>,
    pub(super) orders: Sender<Order>,
    spent: Sender<Block>,
}

/// Ends what the reader has under way with another server.
#[derive(Debug, Default)]
struct Leaving(Cancel);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Reader {
    /// Reads those of `files` that `taker` takes.
    pub(super) fn start<'scope, 'a: 'scope, 'c: 'scope, 't: 'scope>(
        scope: &'scope Scope<'scope, '_>,
        files: Files<'a>,
        taker: Taker<'c, 't>,
        manner: ReaderManner,
    ) -> Reader {
        let (say, chunks) = sync_channel(AHEAD);
        let (orders, ordered) = channel();
        let (spent, empty) = channel();
        let leaving = Leaving::default();
        let leave = leaving.0.clone();
        scope.spawn(move || {
            let outlet = Outlet {
                say,
                ordered,
                next: None,
                empty,
                run: Block::new(),
                small: Vec::new(),
                run_bytes: RUN_BYTES,
                manner,
            };
            // Who does not listen any more wants no more.
            let _ = match files {
                Files::Here(files) => Reading { outlet }.read_all(files, &taker),
                Files::There(files, server) => relay(outlet, files, (server, &leave), &taker),
            };
        });
        Reader { _leaving: leaving, chunks, orders, spent }
    }

    /// A block was sent: its room can be used again.
    pub(super) fn give_back(&self, block: Block) {
        let _ = self.spent.send(block);
    }
}

/// The reader's end: what it says, and what it is told.
pub(super) struct Outlet {
    say: SyncSender<Chunk>,
    ordered: Receiver<Order>,
    /// An order that came while an earlier one was carried out.
    next: Option<Order>,
    empty: Receiver<Block>,
    pub(super) run: Block,
    small: Vec<SmallUpload>,
    run_bytes: usize,
    pub(super) manner: ReaderManner,
}

/// Nobody listens.
pub(super) struct Gone;

/// Reads local files.
struct Reading {
    outlet: Outlet,
}

impl Outlet {
    pub(super) fn say(&self, chunk: Chunk) -> Result<(), Gone> {
        self.say.send(chunk).map_err(|_| Gone)
    }

    /// Waits for the next order.
    pub(super) fn order(&mut self) -> Result<Order, Gone> {
        match self.next.take() {
            Some(order) => Ok(order),
            None => self.ordered.recv().map_err(|_| Gone),
        }
    }

    /// Whether another order has come, which takes back what is under way.
    pub(super) fn is_called(&self) -> Result<bool, Gone> {
        match self.ordered.try_recv() {
            Ok(_) => Ok(true),
            Err(TryRecvError::Disconnected) => Err(Gone),
            Err(TryRecvError::Empty) => Ok(false),
        }
    }

    /// All files are read that there are; returns when there are more.
    pub(super) fn rest(&mut self) -> Result<(), Gone> {
        self.ship()?;
        self.say(Chunk::AllRead)?;
        while !matches!(self.ordered.recv().map_err(|_| Gone)?, Order::More) {}
        Ok(())
    }

    /// A small file stands at the end of the run, which is handed over where it is long enough.
    pub(super) fn add(&mut self, small: SmallUpload) -> Result<(), Gone> {
        self.small.push(small);
        if self.run.len() >= self.run_bytes || self.small.len() >= RUN_FILES { self.ship() } else { Ok(()) }
    }

    /// A file can't be read.
    pub(super) fn fail(&mut self, index: usize, error: Error) -> Result<(), Gone> {
        self.ship()?;
        self.say(Chunk::Failed { index, error })
    }

    /// Hands over the small files that were read.
    pub(super) fn ship(&mut self) -> Result<(), Gone> {
        if self.small.is_empty() {
            return Ok(());
        }
        let room = self.room();
        let block = std::mem::replace(&mut self.run, room);
        let files = std::mem::take(&mut self.small);
        self.say(Chunk::Run { block, files })
    }

    /// Has runs be a part of what is taken ahead of its end: `ahead` bytes.
    pub(super) fn keep_runs_within(&mut self, ahead: u64) {
        let share = usize::try_from(ahead / RUNS_AHEAD).unwrap_or(RUN_BYTES);
        self.run_bytes = share.clamp(LEAST_RUN_BYTES, RUN_BYTES);
    }

    pub(super) fn room(&self) -> Block {
        let mut block = self.empty.try_recv().unwrap_or_else(|_| Block::new());
        block.clear();
        block
    }

    /// While much is read that nobody waits for: ends that where nobody listens any more.
    fn look(&mut self) -> Result<(), Error> {
        match self.ordered.try_recv() {
            Ok(order) => {
                self.next = Some(order);
                Err(Error::Interrupted)
            }
            Err(TryRecvError::Disconnected) => Err(Error::Interrupted),
            Err(TryRecvError::Empty) => Ok(()),
        }
    }

    /// Says what was read, unless another order has come instead.
    fn say_unless_called(&self, read: Result<Chunk, Error>) -> Result<(), Gone> {
        match read {
            Err(Error::Interrupted) => Ok(()),
            read => self.say(read.unwrap_or_else(Chunk::Broken)),
        }
    }
}

impl Reading {
    fn read_all(&mut self, files: &[Store], taker: &Taker<'_, '_>) -> Result<(), Gone> {
        loop {
            while let Some(index) = taker.take() {
                self.outlet.keep_runs_within(taker.ahead());
                self.read(index, &files[index])?;
            }
            self.outlet.rest()?;
        }
    }

    fn read(&mut self, index: usize, file: &Store) -> Result<(), Gone> {
        let ReaderManner { large_from, permissions, greeting, .. } = &self.outlet.manner;
        let (large_from, permissions) = (*large_from, *permissions);
        if let Err(error) = permissions.check_kept(greeting.as_ref()) {
            return self.outlet.fail(index, error);
        }
        let mut left = TRIES;
        loop {
            left -= 1;
            let error = match Source::open(&file.source) {
                Ok(source) if source.size() >= large_from => return self.read_large(index, source),
                Ok(mut source) => {
                    let mode = source.mode(permissions, self.outlet.manner.greeting.as_ref());
                    match source.append_whole(&mut self.outlet.run, &file.name, mode) {
                        Ok(crc) => return self.outlet.add(SmallUpload { index, size: source.size(), crc }),
                        Err(Error::LocalFile { .. }) if left > 0 => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            return self.outlet.fail(index, error);
        }
    }

    fn read_large(&mut self, index: usize, mut source: Source) -> Result<(), Gone> {
        self.outlet.ship()?;
        let (mtime, version, stamp) = (source.mtime(), source.version(), source.stamp());
        let ReaderManner { permissions, greeting, .. } = &self.outlet.manner;
        let (size, mode) = (source.size(), source.mode(*permissions, greeting.as_ref()));
        let opened = Opened { index, size, mtime, mode, version, stamp, source: Some(source.clone()) };
        self.outlet.say(Chunk::Large(opened))?;
        self.outlet.next = None;
        loop {
            match self.outlet.order()? {
                Order::Skip => return self.outlet.say(Chunk::Skipped),
                Order::More => {}
                Order::Digest(bytes, known) => {
                    let read = self.skip(&mut source, bytes, &known).and_then(|digest| {
                        source.check_unchanged()?;
                        Ok(digest)
                    });
                    self.outlet.say_unless_called(read.map(Chunk::End))?;
                }
                Order::Range(piece) => {
                    let read = self.read_range(&source, piece);
                    self.outlet.say_unless_called(read.map(|crc| Chunk::Range(piece, crc)))?;
                }
                Order::From(offset, known) => return self.send(&mut source, offset, &known),
            }
        }
    }

    fn read_range(&mut self, source: &Source, Piece { offset, length }: Piece) -> Result<Crc32, Error> {
        let (mut digest, mut block) = (Digest::new(), self.outlet.room());
        while digest.bytes() < length {
            self.outlet.look()?;
            let at = offset + digest.bytes();
            let data = source.data_in(at..offset + length);
            digest.append_zeros(data.start - at);
            if !data.is_empty() {
                source.fill_at(&mut block, data.start, data.end - data.start, &mut digest)?;
            }
        }
        Ok(digest.crc())
    }

    /// Passes over the first `bytes` bytes, and reads what is not known of them.
    fn skip(&mut self, source: &mut Source, bytes: u64, known: &Known) -> Result<Digest, Error> {
        let read = source.skip_from(known.before(bytes), bytes, |digest| {
            known.read(digest, bytes);
            self.outlet.look()
        });
        read.inspect(|digest| known.read(digest, bytes))
    }

    fn send(&mut self, source: &mut Source, offset: u64, known: &Known) -> Result<(), Gone> {
        let size = source.size();
        let knows = |greeting: &Greeting| greeting.has(Greeting::HOLES);
        let leaves_holes = source.is_sparse() && self.outlet.manner.greeting.as_ref().is_some_and(knows);
        let mut data = 0..0;
        let mut digest = match self.skip(source, offset, known) {
            Ok(digest) => digest,
            Err(error) => return self.outlet.say(Chunk::Broken(error)),
        };
        while digest.bytes() < size {
            if self.outlet.is_called()? {
                return self.outlet.say(Chunk::Skipped);
            }
            let mut block = self.outlet.room();
            if leaves_holes && digest.bytes() >= data.end {
                let before = digest.bytes();
                data = source.data_in(before..size);
                let hole = data.start - before;
                if hole >= MIN_HOLE_BYTES {
                    block.push(|out| write_hole(out, hole));
                    digest.append_zeros(hole);
                    known.sent(&digest);
                    self.outlet.say(Chunk::Block { block, bytes: hole })?;
                    continue;
                }
            }
            let end = if leaves_holes { data.end } else { size };
            let left = end - digest.bytes();
            let filled = source.fill(&mut block, left, &mut digest);
            known.sent(&digest);
            match filled {
                Ok(bytes) => self.outlet.say(Chunk::Block { block, bytes: bytes as u64 })?,
                Err(error) => return self.outlet.say(Chunk::Broken(error)),
            }
        }
        match source.check_unchanged() {
            Ok(()) => self.outlet.say(Chunk::End(digest)),
            Err(error) => self.outlet.say(Chunk::Broken(error)),
        }
    }
}
