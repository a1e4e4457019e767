//! PUT and RESUME.

use std::{io, path::Path, time::Duration};

use ferry_wire::{BodyLine, Code, Crc32, Digest, Id, Name, Reply, Request, Time, write_end};

use super::{Extent, Sum, Upload, reply_after_work};
use crate::{
    block::{Block, Filled},
    error::Error,
    link::{Link, unexpected},
    local::Source,
    options::Progress,
    random,
};

/// How long a server may take until an upload that was called off is called off; then the
/// connection is dropped instead.
const STOP_LIMIT: Duration = Duration::from_secs(3);

pub(crate) fn put(
    link: &mut Link,
    name: &Name,
    source: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Upload, Error> {
    put_source(link, name, &mut Source::open(&source.into())?, progress)
}

fn put_source(
    link: &mut Link,
    name: &Name,
    source: &mut Source,
    progress: &mut dyn FnMut(Progress),
) -> Result<Upload, Error> {
    link.ask(&Request::Put { size: Some(source.size()), mtime: source.mtime(), name: name.clone() });
    link.owe();
    Body::new(link, source).send(progress)
}

pub(crate) fn put_from(
    link: &mut Link,
    name: &Name,
    mtime: Option<Time>,
    source: &mut dyn io::Read,
    progress: &mut dyn FnMut(u64),
) -> Result<Upload, Error> {
    link.ask(&Request::Put { size: None, mtime, name: name.clone() });
    link.owe();
    Body::new(link, &mut Stream(source)).send(&mut |seen| progress(seen.done))
}

pub(crate) fn resume(
    link: &mut Link,
    id: &Id,
    name: &Name,
    source: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Upload, Error> {
    let mut source = Source::open(&source.into())?;
    let (size, mtime) = (source.size(), source.mtime());
    link.ask(&Request::Resume { id: id.clone(), size, mtime, name: name.clone() });
    // The older connection of the same upload is detached first, and its last write has to end.
    let offset = match reply_after_work(link, Extent::Bytes(size))? {
        Reply::Go(offset) if offset <= size => offset,
        Reply::Go(offset) => return Err(Error::violation(format_args!("GO {offset} in a file of {size} bytes"))),
        Reply::Saved { size, crc, .. } => {
            link.settle();
            return match already_there(link, name, &mut source, (size, crc))? {
                Some(upload) => Ok(upload),
                // The id stands for what was published once: what is sent now has nothing to do with it.
                None => put_source(link, name, &mut source, progress),
            };
        }
        reply => return Err(unexpected(reply)),
    };
    link.owe();
    let skipped = source.skip(offset, || link.check_cancel());
    let mut body = Body::new(link, &mut source);
    match skipped {
        Ok(digest) => body.digest = digest,
        Err(error) => return body.call_off(error, offset),
    }
    body.send(progress)
}

pub(crate) fn new_id() -> Result<Id, Error> {
    let id = format!("{:016x}{:016x}", random::bits()?, random::bits()?);
    Id::new(&id).map_err(|error| Error::System { what: "draw a random id", source: io::Error::other(error) })
}

/// An earlier connection had brought it to its end; only its SAVED was never seen. [`None`] where the server has
/// something else under the name by now, or nothing; `source` is then at its first byte.
fn already_there(
    link: &mut Link,
    name: &Name,
    source: &mut Source,
    saved: (u64, Crc32),
) -> Result<Option<Upload>, Error> {
    let local = source.skip(source.size(), || link.check_cancel())?;
    check_saved(&local, saved.0, saved.1)?;
    match super::sum(link, name) {
        Ok(Sum { size, crc, tag }) if (size, crc) == saved => {
            return Ok(Some(Upload { size, crc, tag, resumed: size }));
        }
        Ok(_) => {}
        Err(Error::Server(failure)) if matches!(failure.code, Code::NotFound | Code::NotAFile | Code::Changed) => {}
        Err(error) => return Err(error),
    }
    source.skip(0, || Ok(()))?;
    Ok(None)
}

fn check_saved(sent: &Digest, size: u64, crc: Crc32) -> Result<(), Error> {
    if (size, crc) == (sent.bytes(), sent.crc()) {
        return Ok(());
    }
    Err(Error::Verification(format!(
        "the server saved {size} bytes with the CRC {crc}, sent were {} with {}",
        sent.bytes(),
        sent.crc()
    )))
}

/// How the client closed its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    End,
    Stop,
}

/// Fails where the caller wants what is under way to end.
type Look<'a> = &'a dyn Fn() -> Result<(), Error>;

/// Where a body comes from.
trait Origin {
    /// Bytes in all, where that is known.
    fn total(&self) -> Option<u64>;

    /// Fills `block` with what comes next, if anything has come, and adds it to `digest`. `look` says whether the
    /// caller has had enough.
    fn next(&mut self, block: &mut Block, digest: &mut Digest, look: Look<'_>) -> Result<Filled, Error>;
}

impl Origin for Source {
    fn total(&self) -> Option<u64> {
        Some(self.size())
    }

    fn next(&mut self, block: &mut Block, digest: &mut Digest, _: Look<'_>) -> Result<Filled, Error> {
        let left = self.size() - digest.bytes();
        if left > 0 {
            self.fill(block, left, digest)?;
        }
        if digest.bytes() < self.size() {
            return Ok(Filled::More);
        }
        self.check_unchanged()?;
        Ok(Filled::Last)
    }
}

/// A stream, whose end nobody knows before it comes.
struct Stream<'a>(&'a mut dyn io::Read);

impl Origin for Stream<'_> {
    fn total(&self) -> Option<u64> {
        None
    }

    fn next(&mut self, block: &mut Block, digest: &mut Digest, look: Look<'_>) -> Result<Filled, Error> {
        block.fill_from(self.0, digest, look)
    }
}

/// A body on its way to the server, behind a request that is queued or sent.
struct Body<'a> {
    link: &'a mut Link,
    source: &'a mut dyn Origin,
    digest: Digest,
    block: Block,
    /// The closing line, once it is in the block, and its length.
    closed: Option<(Closing, usize)>,
}

impl<'a> Body<'a> {
    fn new(link: &'a mut Link, source: &'a mut dyn Origin) -> Body<'a> {
        Body { link, source, digest: Digest::new(), block: Block::new(), closed: None }
    }

    /// Sends it, and takes the reply.
    fn send(mut self, progress: &mut dyn FnMut(Progress)) -> Result<Upload, Error> {
        let resumed = self.digest.bytes();
        match self.send_blocks(progress) {
            Ok(()) => self.take_reply(resumed),
            // What the server said last tells more than how the sending broke.
            Err(_) if self.link.has_line()? => self.take_early_reply(),
            Err(
                error @ (Error::Interrupted | Error::Local { .. } | Error::LocalFile { .. } | Error::System { .. }),
            ) => self.call_off(error, resumed),
            Err(error) => Err(error),
        }
    }

    /// Sends block after block until all is out, the END included, or the server has said something.
    fn send_blocks(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), Error> {
        let total = self.source.total().unwrap_or(0);
        progress(Progress { done: self.digest.bytes(), total });
        while self.closed.is_none() {
            let link = &*self.link;
            let look = || link.check_cancel();
            if self.source.next(&mut self.block, &mut self.digest, &look)? == Filled::Last {
                self.close(Closing::End);
            }
            self.link.send(&mut self.block)?;
            progress(Progress { done: self.digest.bytes(), total });
            if self.closed.is_none() && self.link.has_line()? {
                return Ok(());
            }
            if self.link.is_ended() {
                return Err(Error::Closed(None));
            }
        }
        Ok(())
    }

    fn close(&mut self, closing: Closing) {
        let (crc, before) = (self.digest.crc(), self.block.len());
        self.block.push(|out| match closing {
            Closing::End => write_end(out, crc),
            Closing::Stop => BodyLine::Stop.encode(out),
        });
        self.closed = Some((closing, self.block.len() - before));
        self.link.settle();
    }

    /// Closes the body with STOP, in place of an END that is not out yet. False where a part of END is out already: no
    /// closing line can follow then.
    fn close_with_stop(&mut self) -> bool {
        match self.closed {
            None => {}
            Some((Closing::Stop, _)) => return true,
            Some((Closing::End, _)) if self.block.len() == 0 => return true,
            Some((Closing::End, bytes)) if self.block.take_back(bytes) => self.link.owe(),
            Some((Closing::End, _)) => {
                self.link.owe();
                return false;
            }
        }
        self.close(Closing::Stop);
        true
    }

    fn is_closed_with_end(&self) -> bool {
        matches!(self.closed, Some((Closing::End, _)))
    }

    fn take_reply(self, resumed: u64) -> Result<Upload, Error> {
        if self.closed.is_none() {
            return self.take_early_reply();
        }
        match reply_after_work(self.link, Extent::Bytes(self.digest.bytes())) {
            Ok(Reply::Saved { size, crc, tag }) => {
                self.link.settle();
                check_saved(&self.digest, size, crc)?;
                Ok(Upload { size, crc, tag, resumed })
            }
            Ok(reply) => Err(unexpected(reply)),
            Err(error @ Error::Interrupted) => self.call_off(error, resumed),
            Err(error) => Err(error),
        }
    }

    /// The server spoke while the body was on its way: only to refuse it. The rest is called off,
    /// and the server passes over what it has got until then.
    fn take_early_reply(mut self) -> Result<Upload, Error> {
        let failure = match self.link.reply()? {
            Reply::Fail(failure) => failure,
            reply if self.closed.is_some() => return Err(unexpected(reply)),
            _ => return Err(Error::violation("it answers an upload before its end")),
        };
        if self.closed.is_none() {
            self.close(Closing::Stop);
        }
        self.link.begin_grace(STOP_LIMIT);
        if self.link.send(&mut self.block).is_err() {
            // The server closed behind its FAIL: nothing more to keep in step.
            self.link.owe();
        }
        self.link.end_grace();
        Err(Error::Server(failure))
    }

    /// Ends the upload from this side, because of `reason`, and keeps the connection if the server
    /// confirms in good time. Nothing is published unless the whole END was out before.
    fn call_off(mut self, reason: Error, resumed: u64) -> Result<Upload, Error> {
        if !self.close_with_stop() {
            // The connection is dropped in the middle of END, which the server takes for no end.
            return Err(reason);
        }
        self.link.begin_grace(STOP_LIMIT);
        let reply = self.link.send(&mut self.block).and_then(|()| self.link.reply());
        self.link.end_grace();
        match reply {
            // It was whole before it could be called off.
            Ok(Reply::Saved { size, crc, tag }) if self.is_closed_with_end() => {
                self.link.settle();
                check_saved(&self.digest, size, crc)?;
                Ok(Upload { size, crc, tag, resumed })
            }
            Ok(Reply::Fail(failure)) if failure.code != Code::Stopped => {
                log::info!("an upload that was called off had failed already: {failure}");
                Err(reason)
            }
            _ => Err(reason),
        }
    }
}
