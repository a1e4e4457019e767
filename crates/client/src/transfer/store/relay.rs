//! Reads the files of another server that are to be stored, ahead of the connection that stores them.
//!
//! Each connection that stores has one of its own that reads. Small ones are asked for many ahead and go into runs, whole and verified. A large one is read when it is known from where on;
//! after a lost connection it is gone on with by READ and its tag. The CRC of what was not read in one body is the one that its
//! server computes of the whole (SUM), and the server that stores it has to have the same.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use ferry_wire::{
    AskedMode, Code, Crc32, Digest, Failure, FileMeta, Greeting, Name, Options, Reply, Request, write_block_header,
    write_end, write_hole,
};

use super::{
    super::{
        Relay,
        hand::Taker,
        retry::{Outage, is_farewell},
        tally::UNKNOWN_BYTES,
    },
    files::SourceServer,
    reader::{Chunk, Gone, LARGE_BYTES, Opened, Order, Outlet, SmallUpload},
};
use crate::{
    address::Address,
    block::{BLOCK_BYTES, Block},
    connection::Connection,
    conversation::{
        Exchange, Extent, Next,
        requests::{self, Stat},
        unexpected,
    },
    error::Error,
    link::Link,
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

/// Between two reports of how the line is.
const REPORT: Duration = Duration::from_millis(50);

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
            flow: Flow { progress: false, next_report: Instant::now(), slept: Duration::ZERO },
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

/// What has come.
struct Flow {
    /// Something has, since the connection was opened.
    progress: bool,
    next_report: Instant,
    /// How long the connection had slept by the last report.
    slept: Duration,
}

impl Flow {
    /// Something has come; tells how the line is, where that is due.
    fn came(&mut self, link: &mut Link, taker: &Taker<'_, '_>) {
        self.progress = true;
        let now = Instant::now();
        if taker.may_share() && now >= self.next_report {
            self.next_report = now + REPORT;
            let slept = link.slept();
            taker.note_source(link.line(), slept - self.slept);
            self.slept = slept;
        }
    }
}

/// A small file, or one of which nobody knows yet.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    index: usize,
    /// Its size, where it is small enough to be asked for at once.
    size: Option<u64>,
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
    /// The order that is not carried out yet.
    order: Option<LargeOrder>,
}

#[derive(Debug)]
enum LargeOrder {
    /// To have the CRC of the whole.
    Sum,
    Read(Reading),
}

/// A large file that is read.
#[derive(Debug)]
struct Reading {
    /// Of the bytes from `begun` on.
    digest: Digest,
    begun: u64,
    /// The CRC of the whole, as its server computes it.
    sum: Option<Crc32>,
    /// All of it came in one body.
    in_one: bool,
}

/// Why a connection is of no more use.
enum Break {
    /// Nobody listens any more.
    Gone,
    Broken(Error),
    /// The rest of the body is not wanted.
    Unwanted,
}

impl From<Gone> for Break {
    fn from(_: Gone) -> Break {
        Break::Gone
    }
}

impl From<Error> for Break {
    fn from(error: Error) -> Break {
        Break::Broken(error)
    }
}

impl Relaying<'_, '_, '_> {
    /// Reads all files, on connections that are opened again where they are lost.
    fn relay_all(mut self, connection: &mut Connection) -> Result<(), Gone> {
        loop {
            let mut asked = VecDeque::new();
            let mut broken = None;
            let result = connection.converse(|link| {
                self.flow.slept = link.slept();
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
            if std::mem::take(&mut self.flow.progress) {
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
            self.take(exchange, first, reply)?;
            self.flow.came(exchange.link(), self.taker);
            asked.pop_front();
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
            let request = match wanted.size {
                Some(_) => Request::Get { name },
                None => Request::Stat { name },
            };
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
        let size = told.filter(|size| !self.grown.contains(&index) && self.is_small(*size));
        Wanted { index, size, told: told.unwrap_or(UNKNOWN_BYTES), tries: 0 }
    }

    fn is_small(&self, size: u64) -> bool {
        size < self.outlet.manner.large_from.min(LARGE_BYTES)
    }

    /// Takes the answer to what was asked first.
    fn take(&mut self, exchange: &mut Exchange<'_, ()>, wanted: Wanted, reply: Reply) -> Result<(), Break> {
        let index = wanted.index;
        match (wanted.size, reply) {
            (_, Reply::Fail(failure)) if is_farewell(failure.code) => Err(Error::Server(failure).into()),
            (_, Reply::Fail(failure)) => self.fail(wanted, Error::Server(failure)),
            (None, reply) => match requests::to_stat(reply)? {
                Stat::Directory(_) => {
                    let failure = Failure::new(Code::NotAFile, "that is a directory");
                    Ok(self.outlet.fail(index, self.at_source(Error::Server(failure)))?)
                }
                Stat::File(meta) => {
                    match self.is_small(meta.size) {
                        true => self.again.push_back(Wanted { size: Some(meta.size), ..wanted }),
                        false => self.large.push_back(Large { index, meta, announced: false, order: None }),
                    }
                    Ok(())
                }
            },
            (Some(_), Reply::File(meta)) if self.is_small(meta.size) => self.take_small(exchange, wanted, &meta),
            (Some(_), Reply::File(_)) => {
                self.grown.insert(index);
                self.again.push_front(Wanted { size: None, ..wanted });
                Err(Break::Unwanted)
            }
            (Some(_), reply) => Err(unexpected(reply).into()),
        }
    }

    /// A small file could not be read.
    fn fail(&mut self, wanted: Wanted, error: Error) -> Result<(), Break> {
        let error = self.at_source(error);
        match mendable(&error) {
            Some(_) if wanted.tries < TRIES => {
                self.again.push_back(Wanted { size: None, tries: wanted.tries + 1, ..wanted });
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
            let Some(Large { index, meta, order: Some(order), .. }) = self.large.front_mut() else { return Ok(()) };
            let name = &self.files[*index].source;
            let done = match order {
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
                Order::From(begun, _) => {
                    Some(LargeOrder::Read(Reading { digest: Digest::new(), begun, sum: None, in_one: begun == 0 }))
                }
                Order::Digest(..) => Some(LargeOrder::Sum),
                Order::More => None,
                // A file of another server is sent by one connection: nobody asks for a range.
                Order::Skip | Order::Range(_) => {
                    self.large.pop_front();
                    self.outlet.say(Chunk::Skipped)?;
                    return Ok(false);
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

/// Receives a body that has to fill `content`, and returns its CRC.
fn receive(exchange: &mut Exchange<'_, ()>, content: &mut [u8]) -> Result<Crc32, Error> {
    let mut filled = 0;
    loop {
        match exchange.piece()? {
            Next::Bytes(bytes) => {
                let room = content.get_mut(filled..filled + bytes.len());
                room.ok_or_else(|| Error::violation("a body longer than it was said to be"))?.copy_from_slice(bytes);
                filled += bytes.len();
            }
            Next::Hole(_) => return Err(Error::violation("a hole in a body that was to come whole")),
            Next::End(body) if filled == content.len() => return Ok(body.crc()),
            Next::End(_) => return Err(Error::violation("a body shorter than it was said to be")),
        }
    }
}

/// Returns the failure of a file that is not of the version any more that is copied.
fn changed() -> Error {
    Error::Server(Failure::new(Code::Changed, "it is another version by now"))
}

/// Has the server compute the CRC of the whole file, which has to be of this version.
fn sum(exchange: &mut Exchange<'_, ()>, name: &Name, meta: &FileMeta) -> Result<Crc32, Error> {
    exchange.ask(&Request::Sum { name: name.clone() }, ());
    let sum = requests::to_sum(exchange.reply_after(Extent::Bytes(meta.size))?.1)?;
    if (sum.size, &sum.tag) == (meta.size, &meta.tag) { Ok(sum.crc) } else { Err(changed()) }
}

/// Reads on from where it is, and says each block. Returns the digest of the whole file.
fn read_body(
    exchange: &mut Exchange<'_, ()>,
    outlet: &mut Outlet,
    (name, meta): (&Name, &FileMeta),
    reading: &mut Reading,
    flow: (&mut Flow, &Taker<'_, '_>),
) -> Result<Digest, Break> {
    let size = meta.size;
    if reading.begun > 0 && reading.sum.is_none() {
        reading.sum = Some(sum(exchange, name, meta)?);
    }
    let at = reading.begun + reading.digest.bytes();
    if at < size || reading.in_one {
        // What came on an earlier connection was never verified by the end of its body.
        reading.in_one = at == 0;
        // A server that knows no holes gets the zeros.
        if outlet.manner.greeting.as_ref().is_some_and(|greeting| greeting.has(Greeting::HOLES)) {
            exchange.leaving_holes();
        }
        let request = Request::Read { offset: at, length: None, tag: Some(meta.tag.clone()), name: name.clone() };
        exchange.ask(&request, ());
        match exchange.reply()?.1 {
            Reply::File(now) if (now.size, &now.tag) == (size, &meta.tag) => {}
            Reply::File(_) => return Err(changed().into()),
            reply => return Err(unexpected(reply).into()),
        }
        say_blocks(exchange, outlet, size, reading, flow)?;
    }
    let whole = match (reading.in_one, reading.sum) {
        (true, _) => return Ok(reading.digest.clone()),
        (false, Some(crc)) => crc,
        (false, None) => sum(exchange, name, meta)?,
    };
    if reading.begun == 0 && reading.digest.crc() != whole {
        let crc = reading.digest.crc();
        return Err(Error::Verification(format!("what came has the CRC {crc}, its server says {whole}")).into());
    }
    Ok(Digest::resume(whole, size))
}

/// Says the blocks and holes of an open body until its end.
fn say_blocks(
    exchange: &mut Exchange<'_, ()>,
    outlet: &mut Outlet,
    size: u64,
    reading: &mut Reading,
    (flow, taker): (&mut Flow, &Taker<'_, '_>),
) -> Result<(), Break> {
    loop {
        let left = size - reading.begun - reading.digest.bytes();
        let due = usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        let mut block = outlet.room();
        // The time in which nobody took anything is not the server's.
        exchange.link().restart_timeout();
        let (filled, end) = fill(exchange, block.payload(due.max(1)), due)?;
        flow.came(exchange.link(), taker);
        if filled > 0 {
            reading.digest.update(&block.payload(filled)[..filled]);
            block.announce(filled);
            say_block(outlet, block, filled as u64)?;
        }
        match end {
            None => {}
            Some(Next::Hole(zeros)) => {
                reading.digest.append_zeros(zeros);
                let mut block = outlet.room();
                block.push(|out| write_hole(out, zeros));
                say_block(outlet, block, zeros)?;
            }
            Some(_) if filled < due => return Err(Error::violation("a body shorter than it was said to be").into()),
            Some(_) => return Ok(()),
        }
    }
}

/// Fills `room` with the next bytes of an open body, and returns how many there are, and a hole or the end that is behind them. Fewer
/// than `due` bytes come only before such; where none are due, the end does.
fn fill(exchange: &mut Exchange<'_, ()>, room: &mut [u8], due: usize) -> Result<(usize, Option<Next<usize>>), Error> {
    let mut filled = 0;
    while filled < due || due == 0 {
        match exchange.read(&mut room[filled..])? {
            Next::Bytes(_) if due == 0 => return Err(Error::violation("a body longer than it was said to be")),
            Next::Bytes(got) => filled += got,
            behind => return Ok((filled, Some(behind))),
        }
    }
    Ok((filled, None))
}

/// Says a block that stands for so many bytes, unless nobody wants it any more.
fn say_block(outlet: &mut Outlet, block: Block, bytes: u64) -> Result<(), Break> {
    if outlet.is_called()? {
        return Err(Break::Unwanted);
    }
    Ok(outlet.say(Chunk::Block { block, bytes })?)
}
