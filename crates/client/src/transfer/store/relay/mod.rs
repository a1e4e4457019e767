//! Reads the files of another server that are to be stored, ahead of the connection that stores them.
//!
//! Each connection that stores has one of its own that reads. Files that are sent whole in any case are asked for many ahead;
//! small ones of them go into runs, whole and verified. Any other one is read when it is known from where on. After a lost
//! connection a large one is gone on with by READ and its tag. The CRC of what was not read in one body is the one that its
//! server computes of the whole (SUM), and the server that stores it has to have the same.

mod body;

use std::collections::{HashSet, VecDeque};

use ferry_wire::{
    AskedMode, Code, Digest, Failure, FileMeta, Greeting, Options, Reply, Request, write_block_header, write_end,
};

use self::body::{Break, Flow, Reading, leave_holes, read_body, receive, say_blocks, sum};
use super::{
    super::{
        Relay,
        hand::Taker,
        retry::{Outage, is_farewell},
        tally::UNKNOWN_BYTES,
    },
    files::SourceServer,
    large::RESUME_BYTES,
    reader::{Chunk, Gone, LARGE_BYTES, Opened, Order, Outlet, SmallUpload},
};
use crate::{
    address::Address,
    connection::Connection,
    conversation::{
        Exchange,
        requests::{self, Stat},
        unexpected,
    },
    error::Error,
    local::Version,
    options::{Cancel, Permissions},
};

/// Requests that are asked ahead, and the bytes of the files among them: enough that a long line is filled, and what is under way
/// when a connection is lost stays small. Where several connections share the files, no more than each takes ahead of its end.
const AHEAD_REQUESTS: usize = 256;
const AHEAD_BYTES: u64 = 8 << 20;

/// How often a small file is asked for anew because it changed meanwhile.
const TRIES: u32 = 3;

/// Returns why a file begins anew that could not be read at its source, if that may help.
pub(super) fn mendable(error: &Error) -> Option<&'static str> {
    let Error::AtSource { error, .. } = error else { return None };
    match &**error {
        Error::Server(failure) if matches!(failure.code, Code::Changed | Code::BadRange) => {
            Some("it changed on the server that it is read from")
        }
        Error::Verification(_) => Some("it was damaged on the way"),
        _ => None,
    }
}

/// Reads those of `files` that `taker` takes, until `leave` is raised.
pub(super) fn relay(
    mut outlet: Outlet,
    files: &[Relay],
    (server, leave): (&SourceServer<'_>, &Cancel),
    taker: &Taker<'_, '_>,
) -> Result<(), Gone> {
    let relayed = server.lend(taker.hand(), leave, |connection, settings| {
        let relaying = Relaying {
            outlet: &mut outlet,
            files,
            address: &server.address,
            taker,
            outage: Outage::of_source(settings, server.address.clone()),
            again: VecDeque::new(),
            large: VecDeque::new(),
            grown: HashSet::new(),
            flow: Flow::new(),
        };
        relaying.relay_all(connection)
    });
    relayed.unwrap_or_else(|error| outlet.say(Chunk::Lost(at_source(&server.address, error))))
}

/// The reader of one round.
struct Relaying<'r, 'c, 't> {
    outlet: &'r mut Outlet,
    files: &'r [Relay],
    address: &'r Address,
    taker: &'r Taker<'c, 't>,
    outage: Outage<'r>,
    /// Files that are to be asked for again, before all others.
    again: VecDeque<Wanted>,
    /// Files that are large, and wait until what was asked ahead has come.
    large: VecDeque<Large>,
    /// Files that were larger than a listing said.
    grown: HashSet<usize>,
    flow: Flow,
}

/// A file that is asked for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    index: usize,
    /// All of it is, and not only its size.
    is_whole: bool,
    /// Its size, as far as it was told.
    told: u64,
    tries: u32,
}

/// A large file on its way.
#[derive(Debug)]
struct Large {
    index: usize,
    meta: FileMeta,
    /// The reader was told of it.
    announced: bool,
    /// It was asked for ahead: its whole body is what comes next.
    is_open: bool,
    /// The order that is not carried out yet.
    order: Option<LargeOrder>,
}

impl Large {
    fn new(index: usize, meta: FileMeta, is_open: bool) -> Large {
        Large { index, meta, announced: false, is_open, order: None }
    }
}

#[derive(Debug)]
enum LargeOrder {
    /// To have the CRC of the whole.
    Sum,
    Read(Reading),
}

impl Relaying<'_, '_, '_> {
    /// Reads all files, on connections that are opened again where they are lost.
    fn relay_all(mut self, connection: &mut Connection) -> Result<(), Gone> {
        loop {
            let mut asked = VecDeque::new();
            let mut broken = None;
            let result = connection.converse(|link| {
                self.flow.begin(link);
                let mut exchange = Exchange::new(link);
                match self.read(&mut exchange, &mut asked) {
                    Ok(()) => Ok(()),
                    Err(Break::Broken(error)) => Err(error),
                    Err(other) => {
                        broken = Some(other);
                        Ok(())
                    }
                }
            });
            asked.into_iter().rev().for_each(|wanted| self.again.push_front(wanted));
            // What is left of them is asked for by READ.
            self.large.iter_mut().for_each(|large| large.is_open = false);
            let error = match (result, broken) {
                (_, Some(Break::Gone)) => return Err(Gone),
                (Err(error), _) => error,
                (Ok(()), None) => return Ok(()),
                (Ok(()), Some(_)) if connection.is_open() => continue,
                (Ok(()), Some(_)) => match connection.reopen() {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            if self.flow.take_progress() {
                self.outage.end();
            }
            let taker = self.taker;
            if let Err(error) = self.outage.reopen(connection, &mut |event| taker.tell(event), error) {
                self.outlet.ship()?;
                return self.outlet.say(Chunk::Lost(self.at_source(error)));
            }
        }
    }

    fn at_source(&self, error: Error) -> Error {
        at_source(self.address, error)
    }

    /// Reads what there is to read. `asked` has what is in flight, in its order.
    fn read(&mut self, exchange: &mut Exchange<'_, ()>, asked: &mut VecDeque<Wanted>) -> Result<(), Break> {
        loop {
            self.ask(exchange, asked)?;
            let Some(first) = asked.front().copied() else {
                match self.large.front() {
                    Some(_) => self.read_large(exchange)?,
                    // Only now is it known that nothing is left to be asked for.
                    None => self.outlet.rest()?,
                }
                continue;
            };
            let reply = match exchange.heard()? {
                Some(((), reply)) => reply,
                None => {
                    // One reply at a time: what follows it may be a body.
                    exchange.link().exchange_all();
                    match exchange.heard()? {
                        Some(((), reply)) => reply,
                        None => {
                            // Those that are here need not wait for those that are not.
                            self.outlet.ship()?;
                            exchange.reply()?.1
                        }
                    }
                }
            };
            asked.pop_front();
            if let Err(end) = self.take(exchange, first, reply) {
                // One that is read by itself is gone on with, and what is not wanted is not asked for again.
                let is_lost = matches!(end, Break::Broken(_));
                if is_lost && self.large.iter().all(|large| large.index != first.index) {
                    asked.push_front(first);
                }
                return Err(end);
            }
            self.flow.came(exchange.link(), self.taker);
        }
    }

    /// Asks ahead, until a large file is to be read.
    fn ask(&mut self, exchange: &mut Exchange<'_, ()>, asked: &mut VecDeque<Wanted>) -> Result<(), Gone> {
        let ahead = self.taker.ahead();
        let most = ahead.min(AHEAD_BYTES);
        self.outlet.keep_runs_within(ahead);
        let bytes = |asked: &VecDeque<Wanted>| asked.iter().map(|wanted| wanted.told).fold(0, u64::saturating_add);
        while self.large.is_empty() && asked.len() < AHEAD_REQUESTS && bytes(asked) < most {
            let next = self.again.pop_front();
            let Some(wanted) = next.or_else(|| self.taker.take().map(|index| self.wanted(index))) else { break };
            if let Err(error) = self.check_permissions(exchange.link().greeting()) {
                self.outlet.fail(wanted.index, error)?;
                continue;
            }
            let name = self.files[wanted.index].source.clone();
            let request = match wanted.is_whole {
                true => Request::Get { name },
                false => Request::Stat { name },
            };
            if wanted.is_whole && !self.is_small(wanted.told) {
                leave_holes(exchange, self.outlet);
            }
            if self.permissions() != Permissions::Usual {
                exchange.telling_modes();
            }
            exchange.ask(&request, ());
            asked.push_back(wanted);
        }
        Ok(())
    }

    fn permissions(&self) -> Permissions {
        self.outlet.manner.permissions
    }

    /// Fails where one server does not tell the permissions that are to be kept, or the other one does not keep them.
    fn check_permissions(&self, greeting: Option<&Greeting>) -> Result<(), Error> {
        self.permissions().check_kept(self.outlet.manner.greeting.as_ref())?;
        self.permissions().check_told(greeting).map_err(|error| self.at_source(error))
    }

    /// Returns the permissions that a file brings with it.
    fn mode(&self, meta: &FileMeta) -> Option<AskedMode> {
        self.permissions().asked(meta.mode?, self.outlet.manner.greeting.as_ref())
    }

    fn wanted(&self, index: usize) -> Wanted {
        let told = self.files[index].meta.as_ref().map(|meta| meta.size);
        let is_whole = told.is_some_and(|size| self.is_sent_whole(size)) && !self.grown.contains(&index);
        Wanted { index, is_whole, told: told.unwrap_or(UNKNOWN_BYTES), tries: 0 }
    }

    /// Whether the server that it is sent to is not asked from where on a file of this size is wanted.
    fn is_sent_whole(&self, size: u64) -> bool {
        size < self.outlet.manner.resumable_from.unwrap_or(RESUME_BYTES).min(RESUME_BYTES)
    }

    fn is_small(&self, size: u64) -> bool {
        size < self.outlet.manner.large_from.min(LARGE_BYTES)
    }

    /// Takes the answer to what was asked first.
    fn take(&mut self, exchange: &mut Exchange<'_, ()>, wanted: Wanted, reply: Reply) -> Result<(), Break> {
        let index = wanted.index;
        match (wanted.is_whole, reply) {
            (_, Reply::Fail(failure)) if is_farewell(failure.code) => Err(Error::Server(failure).into()),
            (_, Reply::Fail(failure)) => self.fail(wanted, Error::Server(failure)),
            (false, reply) => match requests::to_stat(reply)? {
                Stat::Directory(_) => {
                    let failure = Failure::new(Code::NotAFile, "that is a directory");
                    Ok(self.outlet.fail(index, self.at_source(Error::Server(failure)))?)
                }
                Stat::File(meta) => {
                    match self.is_sent_whole(meta.size) {
                        true => self.again.push_back(Wanted { is_whole: true, told: meta.size, ..wanted }),
                        false => self.large.push_back(Large::new(index, meta, false)),
                    }
                    Ok(())
                }
            },
            (true, Reply::File(meta)) if self.is_small(meta.size) => self.take_small(exchange, wanted, &meta),
            (true, Reply::File(meta)) if self.is_sent_whole(meta.size) => {
                self.large.push_front(Large::new(index, meta, true));
                self.read_large(exchange)
            }
            (true, Reply::File(_)) => {
                self.grown.insert(index);
                self.again.push_front(Wanted { is_whole: false, ..wanted });
                Err(Break::Unwanted)
            }
            (true, reply) => Err(unexpected(reply).into()),
        }
    }

    /// A small file could not be read.
    fn fail(&mut self, wanted: Wanted, error: Error) -> Result<(), Break> {
        let error = self.at_source(error);
        match mendable(&error) {
            Some(_) if wanted.tries < TRIES => {
                self.again.push_back(Wanted { is_whole: false, tries: wanted.tries + 1, ..wanted });
                Ok(())
            }
            _ => Ok(self.outlet.fail(wanted.index, error)?),
        }
    }

    /// Appends a whole PUT of a file to the run, as its body comes.
    fn take_small(&mut self, exchange: &mut Exchange<'_, ()>, wanted: Wanted, meta: &FileMeta) -> Result<(), Break> {
        let (index, size) = (wanted.index, meta.size);
        let (name, mode) = (self.files[index].name.clone(), self.mode(meta));
        let run = &mut self.outlet.run;
        let before = run.len();
        run.push(|out| {
            if mode.is_some() {
                Request::With(Options { mode, ..Options::default() }).encode(out);
            }
            Request::Put { size: Some(size), mtime: meta.mtime, name }.encode(out);
            if size > 0 {
                write_block_header(out, size);
            }
        });
        let received = receive(exchange, run.append(usize::try_from(size).unwrap_or(usize::MAX)));
        match received {
            Ok(crc) => {
                run.push(|out| write_end(out, crc));
                Ok(self.outlet.add(SmallUpload { index, size, crc })?)
            }
            Err(error) => {
                run.take_back(run.len() - before);
                match error {
                    Error::Server(failure) if !is_farewell(failure.code) => self.fail(wanted, Error::Server(failure)),
                    error @ Error::Verification(_) => self.fail(wanted, error),
                    error => Err(error.into()),
                }
            }
        }
    }

    /// Does what is to be done with the first of the large files, until it is through.
    fn read_large(&mut self, exchange: &mut Exchange<'_, ()>) -> Result<(), Break> {
        while self.take_order()? {
            let Some(Large { index, meta, is_open, order: Some(order), .. }) = self.large.front_mut() else {
                return Ok(());
            };
            let is_open = std::mem::take(is_open);
            let name = &self.files[*index].source;
            let done = match order {
                LargeOrder::Read(reading) if is_open && reading.is_of_all() => {
                    say_blocks(exchange, self.outlet, meta.size, reading, (&mut self.flow, self.taker))
                        .map(|()| reading.digest())
                }
                // The body that is open is not what is wanted.
                _ if is_open => return Err(Break::Unwanted),
                LargeOrder::Sum => {
                    sum(exchange, name, meta).map(|crc| Digest::resume(crc, meta.size)).map_err(Break::from)
                }
                LargeOrder::Read(reading) => {
                    read_body(exchange, self.outlet, (name, meta), reading, (&mut self.flow, self.taker))
                }
            };
            let said = match done {
                Ok(digest) => Chunk::End(digest),
                Err(Break::Broken(Error::Server(failure))) if is_farewell(failure.code) => {
                    return Err(Error::Server(failure).into());
                }
                Err(Break::Broken(error @ (Error::Server(_) | Error::Verification(_)))) => {
                    Chunk::Broken(self.at_source(error))
                }
                Err(Break::Unwanted) => {
                    self.large.pop_front();
                    self.outlet.say(Chunk::Skipped)?;
                    return Err(Break::Unwanted);
                }
                // It is gone on with on another connection.
                Err(end) => return Err(end),
            };
            self.outlet.say(said)?;
            match self.large.front_mut() {
                // After the digest it is decided what becomes of it.
                Some(large) if matches!(large.order, Some(LargeOrder::Sum)) => large.order = None,
                _ => {
                    self.large.pop_front();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Waits for what is to be done with the first of the large files, unless that is known. False where it is through.
    fn take_order(&mut self) -> Result<bool, Break> {
        let mode = self.large.front().and_then(|large| self.mode(&large.meta));
        let Some(large) = self.large.front_mut() else { return Ok(false) };
        if !large.announced {
            self.outlet.ship()?;
            let FileMeta { size, mtime, tag, .. } = large.meta.clone();
            let version = Version(format!("{size} {tag}"));
            let opened = Opened { index: large.index, size, mtime, mode, version, stamp: None, source: None };
            self.outlet.say(Chunk::Large(opened))?;
            large.announced = true;
        }
        while large.order.is_none() {
            large.order = match self.outlet.order()? {
                Order::From(begun, _) => Some(LargeOrder::Read(Reading::from(begun))),
                Order::Digest(..) => Some(LargeOrder::Sum),
                Order::More => None,
                // A file of another server is sent by one connection: nobody asks for a range.
                Order::Skip | Order::Range(_) => {
                    let is_open = self.large.pop_front().is_some_and(|large| large.is_open);
                    self.outlet.say(Chunk::Skipped)?;
                    return if is_open { Err(Break::Unwanted) } else { Ok(false) };
                }
            };
        }
        Ok(true)
    }
}

/// Returns an error of the server at `address`, which files are read from.
fn at_source(address: &Address, error: Error) -> Error {
    match error {
        Error::Interrupted => error,
        error => Error::AtSource { address: address.clone(), error: error.into() },
    }
}
