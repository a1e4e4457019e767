//! The upload of a stream, which can be read once and whose length nobody knows.

use std::io;

use ferry_wire::{Digest, Name, Reply, Tag, Time};

use super::{
    super::{IfTaken, Moved},
    not_as_sent,
};
use crate::{
    block::{Block, Filled},
    conversation::{Exchange, Extent, unexpected},
    error::Error,
    link::Link,
};

/// The state in which the name of an upload has to be when the upload gets it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Onto<'a> {
    /// As the caller's settings say.
    Settled(IfTaken),
    /// A file of this version.
    Version(&'a Tag),
}

/// Stores all that `source` gives as `name`.
pub(crate) fn put_from(
    link: &mut Link,
    name: &Name,
    (mtime, onto): (Option<Time>, Onto<'_>),
    source: &mut dyn io::Read,
    progress: &mut dyn FnMut(u64),
) -> Result<Moved, Error> {
    let mut exchange = Exchange::new(link);
    match onto {
        Onto::Settled(IfTaken::Replace) => {}
        Onto::Settled(IfTaken::Fail) => exchange.only_if_free()?,
        Onto::Version(tag) => exchange.only_if_version(tag)?,
    }
    exchange.put(None, mtime, name.clone());
    let (mut digest, mut block) = (Digest::new(), Block::new());
    let sent = send(&mut exchange, source, &mut digest, &mut block, progress);
    end(&mut exchange, sent, &digest, &mut block)?;
    let (crc, tag) = saved(&mut exchange, &digest)?;
    Ok(Moved { size: digest.bytes(), crc, tag, resumed: 0 })
}

/// Ends the body as it was `sent`: with END, or else with STOP, and fails then.
pub(super) fn end(
    exchange: &mut Exchange<'_, ()>,
    sent: Result<(), Error>,
    digest: &Digest,
    block: &mut Block,
) -> Result<(), Error> {
    if let Some(failure) = exchange.refusal().cloned() {
        if sent.is_ok() {
            exchange.stop(());
        }
        return Err(Error::Server(failure));
    }
    match sent {
        Ok(()) => drop(exchange.end(digest.crc(), ())),
        Err(reason @ (Error::Interrupted | Error::System { .. })) => {
            let _ = exchange.call_off(block, ());
            return Err(reason);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Waits until the upload is saved, and compares that with what was sent.
pub(super) fn saved(exchange: &mut Exchange<'_, ()>, digest: &Digest) -> Result<(ferry_wire::Crc32, Tag), Error> {
    let reply = match exchange.reply_after(Extent::Bytes(digest.bytes())) {
        Ok(((), reply)) => reply,
        Err(Error::Interrupted) => {
            exchange.linger();
            exchange.unheard().ok_or(Error::Interrupted)?.1
        }
        Err(error) => return Err(error),
    };
    match reply {
        Reply::Saved { size, crc, tag } if (size, crc) == (digest.bytes(), digest.crc()) => Ok((crc, tag)),
        Reply::Saved { size, crc, .. } => Err(not_as_sent((size, crc), (digest.bytes(), digest.crc()))),
        reply => Err(unexpected(reply)),
    }
}

/// Sends block after block until the stream ends, or the server refuses it.
fn send(
    exchange: &mut Exchange<'_, ()>,
    source: &mut dyn io::Read,
    digest: &mut Digest,
    block: &mut Block,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    progress(0);
    while send_block(exchange, source, digest, block, progress)? == Filled::More {}
    Ok(())
}

/// Sends the next block. The last one is that with which the stream ends, or which the server refuses.
pub(super) fn send_block(
    exchange: &mut Exchange<'_, ()>,
    source: &mut dyn io::Read,
    digest: &mut Digest,
    block: &mut Block,
    progress: &mut dyn FnMut(u64),
) -> Result<Filled, Error> {
    let filled = block.fill_from(source, digest, || exchange.check_cancel())?;
    exchange.send_telling(block, |left| progress(digest.bytes().saturating_sub(left as u64)))?;
    progress(digest.bytes());
    Ok(if exchange.refusal().is_some() { Filled::Last } else { filled })
}
