//! Bodies on their way from the server that files are read from to the connection that stores them.

use std::time::{Duration, Instant};

use ferry_wire::{Code, Crc32, Digest, Failure, FileMeta, Greeting, Name, Reply, Request, write_hole};

use super::super::{
    super::hand::Taker,
    reader::{Chunk, Gone, Outlet},
};
use crate::{
    block::{BLOCK_BYTES, Block},
    conversation::{Exchange, Extent, Next, requests, unexpected},
    error::Error,
    link::Link,
};

/// Between two reports of how the line is.
const REPORT: Duration = Duration::from_millis(50);

/// Why a connection is of no more use.
pub(super) enum Break {
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

/// The progress of a body that is relayed.
pub(super) struct Flow {
    /// Something has come since the connection was opened.
    progress: bool,
    next_report: Instant,
    /// How long the connection had slept by the last report.
    slept: Duration,
}

impl Flow {
    pub(super) fn new() -> Flow {
        Flow { progress: false, next_report: Instant::now(), slept: Duration::ZERO }
    }

    /// Begins on a connection.
    pub(super) fn begin(&mut self, link: &Link) {
        self.slept = link.slept();
    }

    /// Returns whether something has come since this was asked last.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// Something has come; tells how the line is, where that is due.
    pub(super) fn came(&mut self, link: &mut Link, taker: &Taker<'_, '_>) {
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

/// A large file that is read.
#[derive(Debug)]
pub(super) struct Reading {
    /// Of the bytes from `begun` on.
    digest: Digest,
    begun: u64,
    /// The CRC of the whole, as its server computes it.
    sum: Option<Crc32>,
    /// All of it came in one body.
    in_one: bool,
}

impl Reading {
    /// Of the bytes from `begun` on.
    pub(super) fn from(begun: u64) -> Reading {
        Reading { digest: Digest::new(), begun, sum: None, in_one: begun == 0 }
    }

    /// Whether nothing was read yet, and all is to be.
    pub(super) fn is_of_all(&self) -> bool {
        self.begun == 0 && self.digest.bytes() == 0
    }

    /// Returns the digest of what was read.
    pub(super) fn digest(&self) -> Digest {
        self.digest.clone()
    }
}

/// Has holes left out of the file that is asked for next, where the server that it is sent to knows them: else that gets zeros.
pub(super) fn leave_holes(exchange: &mut Exchange<'_, ()>, outlet: &Outlet) {
    if outlet.manner.greeting.as_ref().is_some_and(|greeting| greeting.has(Greeting::HOLES)) {
        exchange.leaving_holes();
    }
}

/// Receives a body that has to fill `content`, and returns its CRC.
pub(super) fn receive(exchange: &mut Exchange<'_, ()>, content: &mut [u8]) -> Result<Crc32, Error> {
    let mut filled = 0;
    loop {
        match exchange.piece()? {
            Next::Bytes(bytes) => {
                let room = content.get_mut(filled..filled + bytes.len());
                room.ok_or_else(|| Error::violation("a body longer than it was said to be"))?.copy_from_slice(bytes);
                filled += bytes.len();
            }
            // It was larger when it was asked for.
            Next::Hole(zeros) => {
                let end = usize::try_from(zeros).ok().and_then(|zeros| filled.checked_add(zeros));
                let room = end.and_then(|end| content.get_mut(filled..end));
                let room = room.ok_or_else(|| Error::violation("a body longer than it was said to be"))?;
                room.fill(0);
                filled += room.len();
            }
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
pub(super) fn sum(exchange: &mut Exchange<'_, ()>, name: &Name, meta: &FileMeta) -> Result<Crc32, Error> {
    exchange.ask(&Request::Sum { name: name.clone() }, ());
    let sum = requests::to_sum(exchange.reply_after(Extent::Bytes(meta.size))?.1)?;
    if (sum.size, &sum.tag) == (meta.size, &meta.tag) { Ok(sum.crc) } else { Err(changed()) }
}

/// Reads on from where it is, and says each block. Returns the digest of the whole file.
pub(super) fn read_body(
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
        leave_holes(exchange, outlet);
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
pub(super) fn say_blocks(
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
