//! Comparing files by what is in them.

use ferry_wire::{Crc32, Name, Request};

use super::Looking;
use crate::{
    client::Client,
    conversation::{Exchange, Extent, requests},
    error::Error,
    local::{LocalPath, Source},
};

/// Sums that are asked for ahead: the server reads the next files while this side reads the same ones.
const SUMS_AHEAD: usize = 8;

/// Returns whether each file has the same content at both ends. One that a side can't read any more, or that has changed its
/// size, is different; so the transfer that follows tells why.
pub(super) fn alike(
    client: &mut Client,
    files: &[(LocalPath, Name)],
    watch: &mut dyn FnMut(Looking),
) -> Result<Vec<bool>, Error> {
    client.converse(|link| {
        let mut alike = Vec::with_capacity(files.len());
        let mut waiting = files.iter();
        let mut exchange = Exchange::new(link);
        loop {
            while exchange.waiting() < SUMS_AHEAD
                && let Some(file) = waiting.next()
            {
                exchange.ask(&Request::Sum { name: file.1.clone() }, file);
            }
            let Some((here, there)) = exchange.in_flight().next().copied() else { return Ok(alike) };
            watch(Looking::Comparing(alike.len(), files.len()));
            // So that the server begins before this side does.
            exchange.push();
            let here = sum(here, || exchange.check_cancel());
            if let Err(error @ Error::Interrupted) = here {
                return Err(error);
            }
            let (_, reply) = exchange.reply_after(Extent::Whole(there))?;
            let there = match requests::to_sum(reply) {
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
