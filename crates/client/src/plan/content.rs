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

/// Whether each file has the same content at both ends. A file that one side can't read any more, or that has changed its size, is
/// different; so the transfer that follows tells why.
pub(super) fn alike(
    client: &mut Client,
    files: &[(LocalPath, Name)],
    watch: &mut dyn FnMut(Looking),
) -> Result<Vec<bool>, Error> {
    client.converse(|link| {
        let mut alike = Vec::with_capacity(files.len());
        let mut waiting = files.iter();
        let mut asked = VecDeque::new();
        loop {
            while asked.len() < SUMS_AHEAD
                && let Some(file) = waiting.next()
            {
                requests::ask_sum(link, &file.1);
                asked.push_back(file);
            }
            let Some((here, there)) = asked.pop_front() else { return Ok(alike) };
            watch(Looking::Comparing(alike.len(), files.len()));
            // So that the server begins before this side does.
            link.send(&mut Block::new())?;
            let here = sum(here, || link.check_cancel());
            if let Err(error @ Error::Interrupted) = here {
                return Err(error);
            }
            let there = match requests::receive_sum(link, Extent::Whole(there)) {
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
