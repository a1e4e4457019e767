//! One large download over several connections: each reads pieces of one version, which are checked one by one, and in the
//! end all together.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use ferry_wire::{Code, Crc32, Digest, FileMeta, Name, Reply, Request};

use super::{
    super::{disk::BUFFER_BYTES, drive::Stop, retry::is_farewell},
    Asked, CHANGED, Fetch, Round,
    large::{Large, Sink},
};
use crate::{
    conversation::{
        Exchange, Next,
        requests::{self, Stat},
        unexpected,
    },
    error::Error,
    link::Link,
    local::{append_lines, checkpoint, reserve, write_at},
};

/// The bytes that one connection reads at once: lost where the transfer is cut, and long enough to keep a line full.
const PIECE_BYTES: u64 = 8 << 20;

/// Less than this is fetched sooner by one connection than further ones are opened.
const SPLIT_FROM_BYTES: u64 = 4 * PIECE_BYTES;

/// The most connections for one file: a server has others to serve.
const MAX_CONNECTIONS: usize = 16;

/// The state that all connections of one download share.
struct Shared<'a> {
    name: &'a Name,
    meta: &'a FileMeta,
    file: &'a File,
    path: &'a Path,
    /// Where the next piece begins.
    next: AtomicU64,
    /// Somebody failed: nobody is to go on.
    stop: AtomicBool,
}

/// A piece that is there and checked.
struct Piece {
    offset: u64,
    length: u64,
    crc: Crc32,
}

type Outcome = Result<Piece, Error>;

impl Round<'_, '_, '_> {
    /// Whether several connections are to share this file, as far as can be told before it is asked for.
    pub(super) fn may_split(&self, index: usize) -> bool {
        self.settings.parallel > 1
            && !self.unsplit.contains(&index)
            && !self.damaged.contains(&index)
            && self.files[index].meta.as_ref().is_none_or(|meta| meta.size >= SPLIT_FROM_BYTES)
    }

    /// Fetches the first of all that are to be asked for by several connections, if it is worth that.
    pub(super) fn split(&mut self, index: usize) -> Result<(), Stop> {
        let Fetch { name, meta, .. } = &self.files[index];
        if (self.large.is_some() || self.has_part(index)) && !self.open_part(index)? {
            return Ok(());
        }
        if self.large.is_none() {
            let meta = match meta {
                Some(meta) => meta.clone(),
                None => match requests::stat(self.exchange.link(), name) {
                    Ok(Stat::File(meta)) => meta,
                    // GET says it in words of its own.
                    Ok(Stat::Directory(_)) => return self.go_unsplit(index),
                    Err(Error::Server(failure)) if !is_farewell(failure.code) => return self.go_unsplit(index),
                    Err(error) => return Err(error.into()),
                },
            };
            if meta.size < SPLIT_FROM_BYTES {
                return self.go_unsplit(index);
            }
            match self.stage(index, &meta) {
                Ok(sink) => *self.large = Some(Large::new(index, sink, meta, Digest::new())),
                Err(error) => {
                    self.tally.failed(index, error);
                    return Ok(());
                }
            }
        }
        let enough =
            self.large.as_ref().is_some_and(|large| large.meta.size - large.before.bytes() >= SPLIT_FROM_BYTES);
        if enough { self.share(index) } else { self.go_unsplit(index) }
    }

    fn go_unsplit(&mut self, index: usize) -> Result<(), Stop> {
        self.unsplit.insert(index);
        if self.large.is_some() {
            self.go_on(index)
        } else {
            self.ask_whole(index);
            Ok(())
        }
    }

    fn share(&mut self, index: usize) -> Result<(), Stop> {
        let Some(mut large) = self.large.take() else { return Ok(()) };
        let meta = large.meta.clone();
        self.tally.begun(index, meta.size, large.before.bytes());
        if let Sink::Partial(part) = &large.sink
            && let Err(error) = part.begin_scattered()
        {
            *self.large = Some(large);
            return self.give_up_large(index, error);
        }
        let file = std::sync::Arc::clone(large.file());
        let shared = Shared {
            name: &self.files[index].name,
            meta: &meta,
            file: &file,
            path: &self.files[index].target,
            next: AtomicU64::new(large.before.bytes()),
            stop: AtomicBool::new(false),
        };
        let (connections, opener) = (self.settings.parallel.min(MAX_CONNECTIONS), self.opener);
        let link = self.exchange.link();
        let tally = &mut *self.tally;
        let error = thread::scope(|scope| {
            let (say, outcomes) = channel();
            let shared = &shared;
            for _ in 1..connections {
                let say = say.clone();
                scope.spawn(move || match opener() {
                    Ok(mut link) => work(shared, &mut link, &say),
                    // The others do it without.
                    Err(error) => log::info!("one connection less: {error}"),
                });
            }
            scope.spawn(move || work(shared, link, &say));
            collect(shared, &outcomes, &mut large, |bytes| {
                tally.progress = true;
                tally.moved(index, bytes);
            })
        });
        let ended = match &large.sink {
            Sink::Partial(part) => part.end_scattered(large.before.bytes(), large.before.crc()),
            Sink::Plain(_) => Ok(()),
        };
        *self.large = Some(large);
        match error.or(ended.err()) {
            None => {
                self.ask(&Request::Sum { name: self.files[index].name.clone() }, Asked::Sum(index));
                Ok(())
            }
            Some(error) => self.share_failed(index, error),
        }
    }

    fn share_failed(&mut self, index: usize, error: Error) -> Result<(), Stop> {
        match error {
            Error::Server(failure) if failure.code == Code::Changed => {
                // A listing may be old: whatever is there now comes whole.
                self.unsplit.insert(index);
                self.discard_large();
                self.tally.restart(index, CHANGED, Error::Server(failure));
                Err(Stop::Unwanted)
            }
            Error::Server(failure) if !is_farewell(failure.code) => self.give_up_large(index, Error::Server(failure)),
            // One piece: those before it are checked, and stay.
            Error::Verification(text) if self.tally.may_restart(index) => {
                log::info!("a piece is asked for again: {text}");
                self.damaged.insert(index);
                Err(Stop::Unwanted)
            }
            error @ (Error::Local { .. } | Error::LocalFile { .. } | Error::Verification(_)) => {
                self.give_up_large(index, error)
            }
            error => Err(error.into()),
        }
    }
}

/// Puts the pieces together: what is there from the first byte on without a gap counts. Gives the first error.
fn collect(
    shared: &Shared<'_>,
    outcomes: &Receiver<Outcome>,
    large: &mut Large,
    mut moved: impl FnMut(u64),
) -> Option<Error> {
    let mut ahead = BTreeMap::new();
    let (mut bytes, mut first) = (large.before.bytes(), None);
    for outcome in outcomes {
        match outcome {
            Ok(Piece { offset, length, crc }) => {
                ahead.insert(offset, (length, crc));
                bytes += length;
                moved(bytes);
                if let Err(error) = advance(large, &mut ahead, shared.path) {
                    first = first.or(Some(error));
                    shared.stop.store(true, Ordering::Relaxed);
                }
            }
            Err(error) => {
                // What the others say after it is its consequence.
                first = first.or(Some(error));
                shared.stop.store(true, Ordering::Relaxed);
            }
        }
    }
    if first.is_none() && large.before.bytes() < shared.meta.size {
        first = Some(Error::Closed(None));
    }
    first
}

fn advance(large: &mut Large, ahead: &mut BTreeMap<u64, (u64, Crc32)>, path: &Path) -> Result<(), Error> {
    while let Some((length, crc)) = ahead.remove(&large.before.bytes()) {
        large.before.append(crc, length);
    }
    if let Sink::Partial(part) = &large.sink
        && large.before.bytes() > large.noted
    {
        large.noted = large.before.bytes();
        append_lines(part.journal(), path, &checkpoint(large.before.bytes(), large.before.crc()))?;
    }
    Ok(())
}

/// Reads pieces on one connection until none is left, or somebody failed.
fn work(shared: &Shared<'_>, link: &mut Link, say: &Sender<Outcome>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut exchange = Exchange::new(link);
    shared.ask(&mut exchange);
    while exchange.waiting() > 0 {
        // The next one is asked for before this one comes, so that the line is never idle.
        shared.ask(&mut exchange);
        let outcome = shared.receive(&mut exchange, &mut buffer);
        let over = outcome.is_err();
        // What was asked for is not taken any more where somebody failed.
        if say.send(outcome).is_err() || over || shared.stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

impl Shared<'_> {
    /// Asks for the next piece, if there is one.
    fn ask(&self, exchange: &mut Exchange<'_, (u64, u64)>) {
        let size = self.meta.size;
        let claim = |next: u64| (next < size).then(|| next.saturating_add(PIECE_BYTES).min(size));
        let Ok(offset) = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim) else { return };
        let length = PIECE_BYTES.min(size - offset);
        let (tag, name) = (Some(self.meta.tag.clone()), self.name.clone());
        exchange.ask(&Request::Read { offset, length: Some(length), tag, name }, (offset, length));
    }

    fn receive(&self, exchange: &mut Exchange<'_, (u64, u64)>, buffer: &mut [u8]) -> Outcome {
        let ((offset, length), reply) = exchange.reply()?;
        match reply {
            Reply::File(meta) if meta.size == self.meta.size => {}
            Reply::File(_) => return Err(Error::violation("another version than was asked for")),
            reply => return Err(unexpected(reply)),
        }
        reserve(self.file, offset, offset + length);
        let (mut at, mut filled) = (offset, 0);
        loop {
            let next = exchange.read(&mut buffer[filled..])?;
            if let Next::Bytes(got) = &next {
                filled += got;
            }
            if filled == buffer.len() || matches!(next, Next::End(_)) {
                write_at(self.file, self.path, &buffer[..filled], at)?;
                at += filled as u64;
                filled = 0;
            }
            if let Next::End(body) = next {
                return Ok(Piece { offset, length, crc: body.crc() });
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
        }
    }
}
