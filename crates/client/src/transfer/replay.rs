//! The upload of a stream that is sent again where the connection is lost, for as long as its beginning is still at hand.
//!
//! RESUME needs the size of the whole, which nobody knows of a stream. So the server keeps nothing of it, and what was sent has
//! to be sent again from its first byte.

use std::io::{self, Read};

use ferry_wire::{Name, Time};

use super::{
    Event, IfTaken, Moved, Settings,
    retry::{Outage, is_lost},
    store::{Onto, put_from},
};
use crate::{connection::Connection, error::Error};

/// The most of a stream that is kept to be sent again: more than most of what is piped, and little enough for a small machine.
pub const KEPT_INPUT_BYTES: usize = 32 << 20;

/// Stores all that `source` gives as `name`, through as many connections as it takes.
pub(crate) fn put_replaying(
    connection: &mut Connection,
    name: &Name,
    (mtime, if_taken): (Option<Time>, IfTaken),
    source: &mut dyn Read,
    (settings, watch): (&Settings, &mut dyn FnMut(&Event<'_>)),
) -> Result<Moved, Error> {
    let mut outage = Outage::new(settings);
    let mut replay = Replay::new(source, KEPT_INPUT_BYTES);
    let mut most = 0;
    loop {
        let mut reached = 0;
        let mut progress = |done| {
            reached = done;
            watch(&Event::Moved { index: 0, done });
        };
        let onto = Onto::Settled(if_taken);
        let sent = connection.converse(|link| put_from(link, name, (mtime, onto), &mut replay, &mut progress));
        let error = match sent {
            Ok(moved) => return Ok(moved),
            Err(error) if !is_lost(&error) => return Err(error),
            Err(error) => error,
        };
        if if_taken == IfTaken::Fail && replay.has_ended && reached == replay.given {
            // END may have gone out: it may have got its name, which would be taken then.
            return Err(error);
        }
        if !replay.rewind() {
            log::warn!("{error}");
            return Err(Error::Overrun { sent: replay.given, kept: KEPT_INPUT_BYTES as u64, source: Box::new(error) });
        }
        if reached > most {
            // What the server had of it is gone with the connection, so there is no progress but further than before.
            most = reached;
            outage.end();
        }
        outage.reopen(connection, watch, error)?;
        if reached > 0 {
            watch(&Event::Restarted { index: 0, why: "the server keeps nothing of a stream" });
        }
    }
}

/// A stream that can be read again from its first byte while that is kept.
struct Replay<'s> {
    source: &'s mut dyn Read,
    limit: usize,
    /// All that was read; [`None`] once that was more than the limit.
    kept: Option<Vec<u8>>,
    /// How much of `kept` was given since the last [`Replay::rewind`].
    at: usize,
    /// Bytes that the source has given.
    given: u64,
    has_ended: bool,
}

impl<'s> Replay<'s> {
    fn new(source: &'s mut dyn Read, limit: usize) -> Replay<'s> {
        Replay { source, limit, kept: Some(Vec::new()), at: 0, given: 0, has_ended: false }
    }

    /// Has it begin again; false where that can't be.
    fn rewind(&mut self) -> bool {
        self.at = 0;
        self.kept.is_some()
    }
}

impl Read for Replay<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(again) = self.kept.as_ref().and_then(|kept| kept.get(self.at..)).filter(|again| !again.is_empty()) {
            let count = again.len().min(buffer.len());
            buffer[..count].copy_from_slice(&again[..count]);
            self.at += count;
            return Ok(count);
        }
        if self.has_ended {
            return Ok(0);
        }
        let count = self.source.read(buffer)?.min(buffer.len());
        self.has_ended = count == 0 && !buffer.is_empty();
        self.given += count as u64;
        match &mut self.kept {
            Some(kept) if kept.len() + count <= self.limit => {
                kept.extend_from_slice(&buffer[..count]);
                self.at += count;
            }
            kept => *kept = None,
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_again_while_its_beginning_is_kept() {
        let content: Vec<u8> = (0..100).collect();
        for (limit, again) in [(100, true), (99, false), (0, false)] {
            let mut source = &content[..];
            let mut replay = Replay::new(&mut source, limit);
            let mut buffer = [0; 7];
            for _ in 0..3 {
                replay.read_exact(&mut buffer).unwrap();
            }
            assert_eq!(replay.rewind(), limit >= 21);
            let mut read = Vec::new();
            replay.read_to_end(&mut read).unwrap();
            let from = if limit >= 21 { 0 } else { 21 };
            assert!(read == content[from..] && replay.has_ended && replay.given == 100);
            assert_eq!(replay.rewind(), again, "{limit}");
            read.clear();
            replay.read_to_end(&mut read).unwrap();
            assert_eq!(read.len(), if again { 100 } else { 0 });
        }
    }
}
