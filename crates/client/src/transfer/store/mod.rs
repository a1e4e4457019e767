//! Uploads of many files: small ones in runs, large ones block by block, replies taken meanwhile; very large ones over
//! several connections. Where the files are those of another server, `relay` reads them.

mod check;
mod files;
mod ids;
mod known;
mod large;
mod parts;
mod reader;
mod relay;
mod resumed_stream;
mod split;
mod stream;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::RecvTimeoutError,
    },
    thread,
    time::Duration,
};

use ferry_wire::{Code, Crc32, Failure, Id, Reply, Tag};

use super::{
    IfTaken, Moved, Phase, Relay, Report, Settings, Store, Watch,
    drive::{self, Ended, Job, Stop},
    hand::Hand,
    pieces::Piece,
    retry::is_farewell,
    tally::{Manner, Tally},
};
use crate::{
    block::Block,
    connection::Connection,
    conversation::{Exchange, Extent, unexpected},
    error::Error,
    link::Link,
    options::Permissions,
};
use files::{Files, SourceServer};
use ids::Ids;
pub(crate) use ids::new_id;
use known::Known;
use large::Past;
pub(super) use large::RESUME_BYTES;
use reader::{Chunk, LARGE_BYTES, Order, Reader, ReaderManner, SmallUpload};
pub(super) use resumed_stream::StreamUpload;
use split::Split;
pub(crate) use stream::{Onto, put_from};

/// How long the reader is waited for before the connection is looked at again.
const LOOK: Duration = Duration::from_millis(20);

/// Stores all of `files`. With an id, the caller has drawn that for the one file in it.
pub(super) fn store(
    connection: &mut Connection,
    files: &[Store],
    settings: &Settings,
    (manner, id): (Manner, Option<&Id>),
    watch: &mut Watch<'_>,
) -> Report {
    store_all(connection, Files::Here(files), settings, (manner, id), watch)
}

/// Stores all of `files` of the server that `from` leads to. Of a pair of connections, one reads and one sends; several pairs
/// share the list.
pub(super) fn relay(
    connection: &mut Connection,
    from: &mut Connection,
    files: &[Relay],
    settings: &Settings,
    watch: &mut Watch<'_>,
) -> Report {
    let server = SourceServer::new(from, settings);
    store_all(connection, Files::There(files, &server), settings, (Manner::Many, None), watch)
}

fn store_all(
    connection: &mut Connection,
    files: Files<'_>,
    settings: &Settings,
    (manner, id): (Manner, Option<&Id>),
    watch: &mut Watch<'_>,
) -> Report {
    let sizes = |index| files.size(index);
    let tally = Tally::new((files.len(), &sizes), manner, settings.keep_going, watch);
    let ids = match id {
        Some(id) => Ids::given(connection.address(), id),
        None => Ids::new(connection.address(), settings.state.as_deref()),
    };
    // Whether a name was taken by an upload of ours, whose answer was lost, only its id tells.
    let never_replaces = settings.if_taken == IfTaken::Fail;
    let common = Common {
        files,
        resumable_from: if id.is_some() || never_replaces { Some(0) } else { settings.resume.then_some(RESUME_BYTES) },
        // One that can be called off, or has an id, is sent in blocks.
        large_from: if tally.is_alone() || never_replaces { 0 } else { LARGE_BYTES },
        never_replaces,
        permissions: settings.permissions,
        ids: Mutex::new(ids),
        past: Mutex::default(),
        splits: Mutex::default(),
        coming: AtomicU64::new(0),
        has_distinct_names: OnceLock::new(),
    };
    drive::drive(connection, settings, tally, &common)
}

/// The knowledge that all connections of one call share.
struct Common<'a> {
    files: Files<'a>,
    /// Files from this size on have an id; [`None`] for none.
    resumable_from: Option<u64>,
    /// Files from this size on are sent by themselves.
    large_from: u64,
    /// A name that is taken is not replaced.
    never_replaces: bool,
    /// Those that files bring with them.
    permissions: Permissions,
    ids: Mutex<Ids>,
    past: Mutex<Past>,
    /// Files that are shared.
    splits: Mutex<Vec<Arc<Split>>>,
    /// Bytes of a file that will be shared when the server says so: others may be opened meanwhile.
    coming: AtomicU64,
    has_distinct_names: OnceLock<bool>,
}

impl Common<'_> {
    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn splits(&self) -> MutexGuard<'_, Vec<Arc<Split>>> {
        self.splits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a part for `hand` of what others hold.
    fn has_part(&self, hand: usize) -> bool {
        self.splits().iter().any(|split| split.has_work(hand))
    }

    /// Takes a part for `hand`: of the file of which most is left.
    fn take_part(&self, hand: usize, longest: u64) -> Option<(Arc<Split>, Piece)> {
        let mut splits = self.splits().clone();
        splits.sort_by_key(|split| std::cmp::Reverse(split.left()));
        splits.into_iter().find_map(|split| split.take(hand, longest).map(|piece| (split, piece)))
    }

    /// Takes from `hand`, which does not move, what others can send as well. Whole files that are sent twice may take effect
    /// twice: of these it is taken what has an id. Returns the files that another one is to hold.
    fn rob(&self, hand: usize) -> Vec<usize> {
        let splits = self.splits().clone();
        let robbed = splits.iter().filter_map(|split| split.rob(hand).map(|index| (split, index)));
        robbed.inspect(|(split, _)| self.close(split)).map(|(_, index)| index).collect()
    }

    /// A file is not shared any more.
    fn close(&self, split: &Arc<Split>) {
        split.close();
        self.splits().retain(|other| !Arc::ptr_eq(other, split));
    }

    /// Returns the bytes of shared files that nobody has taken.
    fn left(&self) -> u64 {
        self.coming.load(Ordering::Relaxed) + self.splits().iter().map(|split| split.left()).sum::<u64>()
    }
}

impl Job for Common<'_> {
    type Own = ();

    fn round(&self, link: &mut Link, hand: Hand<'_, '_>, (): &mut ()) -> Ended {
        let Common { large_from, resumable_from, permissions, .. } = *self;
        let manner = ReaderManner { large_from, resumable_from, permissions, greeting: link.greeting().cloned() };
        thread::scope(|scope| {
            let round = Round {
                files: self.files,
                common: self,
                exchange: Exchange::new(link),
                reader: Reader::start(scope, self.files, hand.taker(), manner),
                hand,
                open: None,
                published: None,
                known: Known::nothing(None),
                part_bytes: 0,
            };
            round.run()
        })
    }

    fn may_be_shared(&self) -> bool {
        // Of two files for one name the later one is to win.
        *self.has_distinct_names.get_or_init(|| {
            let mut names = HashSet::with_capacity(self.files.len());
            (0..self.files.len()).all(|index| names.insert(self.files.name(index)))
        })
    }

    fn leave(&self, hand: usize) {
        self.splits().iter().for_each(|split| split.leave(hand));
    }

    fn close(&self, (): ()) {}
}

/// A request whose final reply is still to come.
#[derive(Debug)]
struct Sent {
    index: usize,
    size: u64,
    /// Of what was sent, where all of it was.
    crc: Crc32,
    /// Bytes of it that none of this call's connections has sent.
    resumed: u64,
    kind: Kind,
}

/// The kind of a request, and so the meaning of its reply.
#[derive(Debug)]
enum Kind {
    /// A small upload.
    Small,
    /// A RESUME whose body is not begun.
    Asked,
    /// A large upload, its body closed with END, or with JOIN. A look at it may follow.
    Large { is_looked_at: bool, is_joined: bool },
    /// A large upload, its body closed with STOP to ask for it again.
    Paused,
    /// A part of what another connection holds.
    Part(Arc<Split>, Piece),
    /// A large upload, its body closed with STOP for this reason.
    Stopped(Error),
    /// A look at what was published: on this connection, or at some time before it.
    Look { is_past: bool },
}

/// Uploads over one connection, until all are done or it is lost.
struct Round<'r, 'c, 'a, 't> {
    files: Files<'a>,
    common: &'r Common<'a>,
    exchange: Exchange<'r, Sent>,
    hand: Hand<'c, 't>,
    reader: Reader,
    /// The file whose body is, or was last, on its way by itself.
    open: Option<usize>,
    /// The upload that is published and not looked at yet, and as which version.
    published: Option<(usize, Tag)>,
    /// How far the last large file was read here.
    known: Known,
    /// Bytes of parts that are on their way and not answered.
    part_bytes: u64,
}

impl Round<'_, '_, '_, '_> {
    fn run(mut self) -> Ended {
        let mut result = self.serve();
        // What came before the connection was lost counts, and tells why.
        while let Some((sent, reply)) = self.exchange.unheard() {
            let heard = self.hear(sent, reply);
            result = heard.and(result);
        }
        if let Some(failure) = self.exchange.refusal().cloned()
            && let Some(index) = self.open
        {
            match is_farewell(failure.code) {
                true => result = Err(Error::Server(failure).into()),
                false => self.large_refused(index, failure),
            }
        }
        for Sent { index, kind, .. } in self.exchange.give_up() {
            if let Kind::Stopped(error) = kind {
                self.finish_off(index, error);
            }
        }
        // Bytes read here while the server waited are not read again.
        self.hand.progress |= self.known.has_grown();
        Ended { result, progress: self.hand.progress }
    }

    fn serve(&mut self) -> Result<(), Stop> {
        loop {
            let is_read = self.send_all()?;
            if let Some(Sent { index, kind: Kind::Large { .. } | Kind::Look { .. }, .. }) =
                self.exchange.in_flight().last()
            {
                self.hand.entered(*index, Phase::Syncing);
            }
            if is_read {
                self.send_parts()?;
            }
            self.hear_all()?;
            let (common, id) = (self.common, self.hand.id);
            let crew = self.hand.crew();
            let rob = |hand| {
                for index in common.rob(hand) {
                    crew.tally().rob(hand, |taken| taken == index);
                }
            };
            if !is_read || !self.hand.wait(self.exchange.link(), || common.has_part(id), rob)? {
                return Ok(());
            }
            let _ = self.reader.orders.send(Order::More);
        }
    }

    /// Sends what the reader gives, until it has read all, or nothing more is wanted; false where it is gone.
    fn send_all(&mut self) -> Result<bool, Stop> {
        while !self.hand.is_stopped() {
            match self.next_chunk()? {
                Some(Chunk::Run { block, files }) => self.send_run(block, files)?,
                Some(Chunk::Failed { index, error }) => self.hand.failed(index, error),
                Some(Chunk::Large(opened)) => self.store_large(opened)?,
                Some(Chunk::Block { block, .. }) => self.reader.give_back(block),
                Some(Chunk::End(_) | Chunk::Range(..) | Chunk::Broken(_) | Chunk::Skipped | Chunk::Lost(_)) => {}
                Some(Chunk::AllRead) => return Ok(true),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Waits for the replies to all that was asked.
    fn hear_all(&mut self) -> Result<(), Stop> {
        let mut may_linger = self.hand.is_alone();
        loop {
            while let Some((sent, reply)) = self.exchange.unheard() {
                self.hear(sent, reply)?;
            }
            if self.exchange.waiting() == 0 {
                return Ok(());
            }
            match self.reply() {
                Ok((sent, reply)) => self.hear(sent, reply)?,
                Err(Error::Interrupted) if may_linger => {
                    may_linger = false;
                    self.exchange.linger();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the reply to what was asked first.
    fn reply(&mut self) -> Result<(Sent, Reply), Error> {
        let bytes = self.exchange.in_flight().next().map_or(0, |sent| sent.size);
        self.exchange.reply_after(Extent::Bytes(bytes))
    }

    /// Waits for what the reader says next, and meanwhile takes what the server says. [`None`] at the end.
    ///
    /// # Errors
    ///
    /// The connection is lost, or nothing can be read any more: what is on its way is answered then.
    fn next_chunk(&mut self) -> Result<Option<Chunk>, Stop> {
        loop {
            self.take_replies()?;
            self.tick();
            match self.reader.chunks.recv_timeout(LOOK) {
                Ok(Chunk::Lost(error)) => {
                    self.hear_all()?;
                    return Err(error.into());
                }
                Ok(chunk) => return Ok(Some(chunk)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    self.exchange.step(&mut Block::new())?;
                }
            }
        }
    }

    /// Says how the line is.
    fn tick(&mut self) {
        let common = self.common;
        self.hand.tick(self.exchange.link(), || common.left());
    }

    fn send_run(&mut self, mut block: Block, files: Vec<SmallUpload>) -> Result<(), Stop> {
        for SmallUpload { index, size, crc } in files {
            self.abandon_if_small(index, size);
            self.exchange.was_sent(Sent { index, size, crc, resumed: 0, kind: Kind::Small });
        }
        self.exchange.send(&mut block)?;
        self.reader.give_back(block);
        self.take_replies()
    }

    /// Takes the replies that have come; never waits.
    fn take_replies(&mut self) -> Result<(), Stop> {
        while let Some((sent, reply)) = self.exchange.heard()? {
            self.hear(sent, reply)?;
        }
        Ok(self.exchange.check_open()?)
    }

    fn hear(&mut self, sent: Sent, reply: Reply) -> Result<(), Stop> {
        if matches!(&reply, Reply::Fail(failure) if is_farewell(failure.code)) {
            return Err(unexpected(reply).into());
        }
        let index = sent.index;
        match (sent.kind, reply) {
            (Kind::Look { is_past }, reply) => {
                self.looked(&Sent { kind: Kind::Look { is_past }, ..sent }, is_past, reply)
            }
            (Kind::Stopped(error), Reply::Fail(_)) => {
                self.hand.progress = true;
                self.finish_off(index, error);
                Ok(())
            }
            (Kind::Part(split, piece), Reply::Done) => {
                self.part_done(&split, piece, sent.crc);
                Ok(())
            }
            (Kind::Part(split, piece), Reply::Fail(failure)) => {
                self.part_refused(&split, piece, &failure);
                Ok(())
            }
            (Kind::Paused, Reply::Fail(_)) => Ok(()),
            (Kind::Small, Reply::Fail(failure)) => {
                self.hand.progress = true;
                self.hand.failed(index, Error::Server(failure));
                Ok(())
            }
            (Kind::Large { is_joined: true, .. }, Reply::Fail(failure)) if failure.code == Code::Incomplete => {
                // What the server has stays, and is gone on with by this connection alone.
                self.common.past().never_split(index);
                self.hand.restart(index, "the server has not all parts of it", Error::Server(failure));
                Ok(())
            }
            (Kind::Asked | Kind::Large { .. }, Reply::Fail(failure)) => {
                self.hand.progress = true;
                self.large_refused(index, failure);
                Ok(())
            }
            (kind @ (Kind::Small | Kind::Asked | Kind::Large { .. }), Reply::Saved { size, crc, tag }) => {
                let is_looked_at = matches!(kind, Kind::Large { is_looked_at: true, .. });
                let sent = Sent { kind, ..sent };
                if is_looked_at && (size, crc) == (sent.size, sent.crc) {
                    self.published = Some((index, tag));
                    self.hand.entered(index, Phase::Verifying);
                } else {
                    self.saved(&sent, size, crc, tag);
                }
                Ok(())
            }
            (_, reply) => Err(unexpected(reply).into()),
        }
    }

    /// An upload is published as `size` bytes of this CRC.
    fn saved(&mut self, sent: &Sent, size: u64, crc: Crc32, tag: Tag) {
        let index = sent.index;
        if matches!(sent.kind, Kind::Small) {
            self.hand.begun(index, sent.size, 0);
        } else {
            self.forget(index);
        }
        if (sent.size, sent.crc) == (size, crc) {
            self.hand.done(index, &Moved { size, crc, tag, resumed: sent.resumed });
        } else {
            self.hand.failed(index, not_as_sent((size, crc), (sent.size, sent.crc)));
        }
    }

    /// The final reply to a large upload is FAIL.
    fn large_refused(&mut self, index: usize, failure: Failure) {
        if !self.hand.has(index) {
            // It is another connection's by now.
            return;
        }
        let why = match failure.code {
            // The server has its last checkpoint still: worth to go on from when there is room again.
            Code::NoSpace | Code::Busy => None,
            code => {
                self.forget(index);
                match code {
                    // A newer connection took over, or what the server had kept was damaged; it is gone now.
                    Code::Changed => Some("another connection took over"),
                    Code::Checksum => Some("the bytes that arrived were not those that were sent"),
                    _ => None,
                }
            }
        };
        match why {
            Some(why) => self.hand.restart(index, why, Error::Server(failure)),
            None => self.hand.failed(index, Error::Server(failure)),
        }
    }

    /// A file that could not be sent to its end.
    fn finish_off(&mut self, index: usize, error: Error) {
        if !self.hand.has(index) {
            return;
        }
        self.forget(index);
        match error {
            Error::LocalFile { .. } => self.hand.restart(index, "it changed while it was sent", error),
            Error::AtSource { .. } if let Some(why) = relay::mendable(&error) => self.hand.restart(index, why, error),
            error => self.hand.failed(index, error),
        }
    }
}

/// The error that the server has saved something else than was sent: bytes and CRC of both.
fn not_as_sent(saved: (u64, Crc32), sent: (u64, Crc32)) -> Error {
    Error::Verification(format!(
        "the server saved {} bytes with the CRC {}, sent were {} with {}",
        saved.0, saved.1, sent.0, sent.1
    ))
}
