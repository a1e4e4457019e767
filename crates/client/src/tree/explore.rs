//! Listing directories of a server: one, or many that are asked for ahead.

use std::collections::VecDeque;

use ferry_wire::{Entry, Failure, Name, Request};

use crate::{
    conversation::{
        Exchange,
        listing::{self, Memory},
    },
    error::Error,
    link::Link,
};

/// Listings that are asked for ahead: enough that a distant server always has the next one, few enough that what
/// it has to remember of us stays small.
const LISTINGS_AHEAD: usize = 32;

/// How often a listing is asked for whose bytes were damaged on the way.
const TRIES: u32 = 4;

/// Lists `directory`, or the root; that may take `limit` bytes of memory.
pub(crate) fn list(link: &mut Link, limit: usize, directory: Option<&Name>) -> Result<Vec<Entry>, Error> {
    let mut entries = Ok(Vec::new());
    explore(link, (limit, false), vec![(directory.cloned(), ())], |_, (), listed| {
        entries = listed;
        Vec::new()
    })?;
    entries.map_err(Error::Server)
}

/// Lists `first` and whatever directories `visit` asks for when it is given a listing, each with what it said of
/// them, many ahead, with the permissions of files where `tells_modes`. `visit` also learns which could not be listed. All
/// together may take `limit` bytes of memory.
pub(crate) fn explore<T>(
    link: &mut Link,
    (limit, tells_modes): (usize, bool),
    first: Vec<(Option<Name>, T)>,
    mut visit: impl FnMut(Option<&Name>, T, Result<Vec<Entry>, Failure>) -> Vec<(Option<Name>, T)>,
) -> Result<(), Error> {
    let untried = |(directory, about)| (directory, about, 0);
    let mut waiting: VecDeque<_> = first.into_iter().map(untried).collect();
    let (mut exchange, mut memory) = (Exchange::new(link), Memory::new(limit));
    loop {
        while exchange.waiting() < LISTINGS_AHEAD
            && let Some((directory, about, tries)) = waiting.pop_front()
        {
            if tells_modes {
                exchange.telling_modes();
            }
            exchange.ask(&Request::List { name: directory.clone() }, (directory, about, tries + 1));
        }
        if exchange.waiting() == 0 {
            return Ok(());
        }
        let ((directory, about, tries), reply) = exchange.reply()?;
        let listed = match listing::receive(&mut exchange, reply, directory.as_ref(), &mut memory) {
            Ok(entries) => Ok(entries),
            // If the server closes after it, the next listing finds out.
            Err(Error::Server(failure)) => Err(failure),
            Err(error @ Error::Verification(_)) if tries < TRIES => {
                log::info!("a listing is asked for again: {error}");
                waiting.push_front((directory, about, tries));
                continue;
            }
            Err(error) => return Err(error),
        };
        waiting.extend(visit(directory.as_ref(), about, listed).into_iter().map(untried));
    }
}
