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
    if let Some(failure) = exchange.refusal().cloned() {
        if sent.is_ok() {
            exchange.stop(());
        }
        return Err(Error::Server(failure));
    }
    match sent {
        Ok(()) => drop(exchange.end(digest.crc(), ())),
        Err(reason @ (Error::Interrupted | Error::System { .. })) => {
            let _ = exchange.call_off(&mut block, ());
            return Err(reason);
        }
        Err(error) => return Err(error),
    }
    let reply = match exchange.reply_after(Extent::Bytes(digest.bytes())) {
        Ok(((), reply)) => reply,
        Err(Error::Interrupted) => {
            exchange.linger();
            exchange.unheard().ok_or(Error::Interrupted)?.1
        }
        Err(error) => return Err(error),
    };
    match reply {
        Reply::Saved { size, crc, tag } if (size, crc) == (digest.bytes(), digest.crc()) => {
            Ok(Moved { size, crc, tag, resumed: 0 })
        }
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
    loop {
        let filled = block.fill_from(source, digest, || exchange.check_cancel())?;
        exchange.send_telling(block, |left| progress(digest.bytes().saturating_sub(left as u64)))?;
        progress(digest.bytes());
        if filled == Filled::Last || exchange.refusal().is_some() {
            return Ok(());
        }
    }
}
