//! Comparing files by what is in them.

use std::collections::VecDeque;

use ferry_wire::{Crc32, Name};

use super::Looking;
use crate::{
    block::Block,
    client::Client,
    error::Error,
    local::{LocalPath, Source},
    requests::{self, Extent},
};

/// Sums that are asked for ahead: the server reads the next files while this side reads the same ones.
const SUMS_AHEAD: usize = 8;

/// One file at both ends.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) here: LocalPath,
    pub(super) there: Name,
}

/// Whether each pair has the same content. A file that one side can't read any more, or that has changed its size, is
/// different; so the transfer that follows tells why.
pub(super) fn alike(client: &mut Client, pairs: &[Pair], watch: &mut dyn FnMut(Looking)) -> Result<Vec<bool>, Error> {
    client.converse(|link| {
        let mut alike = Vec::with_capacity(pairs.len());
        let mut waiting = pairs.iter();
        let mut asked = VecDeque::new();
        loop {
            while asked.len() < SUMS_AHEAD
                && let Some(pair) = waiting.next()
            {
                requests::ask_sum(link, &pair.there);
                asked.push_back(pair);
            }
            let Some(pair) = asked.pop_front() else { return Ok(alike) };
            watch(Looking::Comparing(alike.len(), pairs.len()));
            // So that the server begins before this side does.
            link.send(&mut Block::new())?;
            let here = sum(&pair.here, || link.check_cancel());
            if let Err(error @ Error::Interrupted) = here {
                return Err(error);
            }
            let there = match requests::receive_sum(link, Extent::Whole(&pair.there)) {
                Ok(sum) => Some((sum.size, sum.crc)),
                Err(Error::Server(_)) => None,
                Err(error) => return Err(error),
            };
            alike.push(here.ok().is_some_and(|here| Some(here) == there));
        }
    })
}

fn sum(path: &LocalPath, look: impl FnMut() -> Result<(), Error>) -> Result<(u64, Crc32), Error> {
    let mut source = Source::open(path)?;
    let size = source.size();
    let digest = source.skip(size, look)?;
    Ok((size, digest.crc()))
}
