//! Downloads of many files on one connection: asked for ahead, answered in order.

mod large;
mod parallel;
mod small;

use std::{collections::HashSet, thread};

use ferry_wire::{Code, Failure, Reply, Request};

use super::{
    Event, Fetch, Phase, Report, Settings,
    disk::{Batch, Completion, Disk},
    drive::{self, Stop},
    retry::is_farewell,
    tally::{Manner, Tally},
};
use crate::{
    connection::Connection,
    conversation::{Exchange, Extent, unexpected},
    error::Error,
    link::Link,
    local::{LastDirectory, PartialFile},
};
use large::Large;

/// Files from here on are staged so that they can be gone on with; smaller ones are whole in memory before the disk is
/// touched. Below, asking again costs less than keeping a part would.
pub(super) const LARGE_BYTES: u64 = 1 << 20;

/// Files that are asked for ahead at most: at 100 ms to the server, 5,000 a second.
const ASKED_FILES: usize = 512;

/// Bytes that are asked for ahead, as far as sizes are known: what may be asked for in vain where a transfer ends early, and
/// enough to keep a long line full.
const ASKED_BYTES: u64 = 16 << 20;

/// The size that is assumed of a file whose size nobody knows.
const UNKNOWN_BYTES: u64 = 16 << 10;

/// Why a download begins anew.
const CHANGED: &str = "it changed on the server";
const DAMAGED: &str = "what was kept of it is damaged";
const DAMAGED_ON_THE_WAY: &str = "what came of it was damaged on the way";

/// Opens one more connection.
type Opener = dyn Fn() -> Result<Link, Error> + Sync;

/// The subject of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A whole file.
    Get(usize),
    /// The rest of the large file that is under way.
    Rest(usize),
    /// Size and CRC of the whole of it.
    Sum(usize),
}

pub(super) fn fetch(
    connection: &mut Connection,
    files: &[Fetch],
    settings: &Settings,
    manner: Manner,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Report {
    let mut tally = Tally::new(files.len(), manner, settings.keep_going, watch);
    let (mut large, mut unsplit, mut directory) = (None, HashSet::new(), LastDirectory::default());
    let mut damaged = HashSet::new();
    let opener = connection.opener();
    drive::drive(connection, settings, &mut tally, |link, tally| {
        thread::scope(|scope| {
            let round = Round {
                files,
                settings,
                exchange: Exchange::new(link),
                tally,
                disk: Disk::start(scope),
                directory: &mut directory,
                ahead: 0,
                batch: Batch::default(),
                large: &mut large,
                unsplit: &mut unsplit,
                damaged: &mut damaged,
                opener: &opener,
                filling: None,
                spoiled: None,
            };
            round.run()
        })
    });
    if let Some(large) = large {
        large.leave();
    }
    tally.report
}

/// Downloads over one connection, until all are done or it is lost.
struct Round<'r, 'a, 't> {
    files: &'a [Fetch],
    settings: &'r Settings,
    exchange: Exchange<'r, Asked>,
    tally: &'r mut Tally<'t>,
    disk: Disk<'a>,
    directory: &'r mut LastDirectory,
    /// Bytes of the files that were asked for, as far as that is known.
    ahead: u64,
    batch: Batch<'a>,
    /// The large file that is under way; it outlives its connection.
    large: &'r mut Option<Large>,
    /// Files that are not to be shared by several connections any more.
    unsplit: &'r mut HashSet<usize>,
    /// Files whose bytes were once others than the server said: it is to read them, and not to remember what they were.
    damaged: &'r mut HashSet<usize>,
    opener: &'r Opener,
    /// Bytes of the large file that are not on their way to the disk yet: a buffer, and how many of it are filled.
    filling: Option<(Vec<u8>, usize)>,
    /// Why the large file can't be written.
    spoiled: Option<Error>,
}

impl<'a> Round<'_, 'a, '_> {
    fn run(mut self) -> Result<(), Stop> {
        let result = self.serve();
        // However it ended: what has come is kept, and what is still due is for the next connection.
        self.ship_large();
        self.ship();
        self.disk.settle();
        self.take_completions();
        if let Some(large) = self.large.as_mut() {
            // A few bytes now and then are none.
            self.tally.progress |= large.fold() && self.exchange.link().has_kept_pace();
        }
        // Taken only together: a large file that is not spoiled stays for the next connection.
        if let Some(error) = self.spoiled.take()
            && let Some(large) = self.large.take()
        {
            let index = large.index;
            large.discard();
            self.tally.failed(index, error);
        }
        result
    }

    fn serve(&mut self) -> Result<(), Stop> {
        loop {
            self.ask_more()?;
            self.take_completions();
            let oldest = self.exchange.in_flight().next().copied();
            if let Some(asked) = oldest {
                self.take_answer(asked)?;
            } else if self.tally.next().is_none() {
                self.ship();
                self.disk.settle();
                self.take_completions();
                if self.tally.next().is_none() {
                    return Ok(());
                }
            }
        }
    }

    /// Asks for what comes next, as far as that is allowed ahead.
    fn ask_more(&mut self) -> Result<(), Stop> {
        // Many in one call of the system rather than one after the other.
        if self.exchange.waiting() > ASKED_FILES / 2 {
            return Ok(());
        }
        while let Some(index) = self.tally.next()
            && let in_flight = self.exchange.waiting()
            && in_flight < ASKED_FILES
            && (self.ahead < ASKED_BYTES || in_flight == 0)
        {
            let splits = self.may_split(index);
            let goes_on = self.large.is_some() || self.has_part(index);
            if (splits || goes_on) && in_flight > 0 {
                break;
            }
            self.tally.take();
            if splits {
                self.split(index)?;
            } else if goes_on {
                self.go_on(index)?;
            } else {
                self.ask_whole(index);
            }
        }
        self.exchange.push();
        Ok(())
    }

    fn ask_whole(&mut self, index: usize) {
        self.ask(&Request::Get { name: self.files[index].name.clone() }, Asked::Get(index));
        self.ahead += self.presumed(index);
    }

    /// Asks for a file, or for its SUM.
    fn ask(&mut self, request: &Request, asked: Asked) {
        let (Asked::Get(index) | Asked::Rest(index) | Asked::Sum(index)) = asked;
        if self.damaged.contains(&index) {
            self.exchange.read_anew();
        }
        self.exchange.ask(request, asked);
    }

    /// What came of a file is not what the server said: it is asked for anew, if that was not done too often.
    fn restart_damaged(&mut self, index: usize, why: &str, error: Error) {
        self.damaged.insert(index);
        self.tally.restart(index, why, error);
    }

    fn presumed(&self, index: usize) -> u64 {
        self.files[index].meta.as_ref().map_or(UNKNOWN_BYTES, |meta| meta.size)
    }

    /// Whether an earlier download may have left something of this file.
    fn has_part(&mut self, index: usize) -> bool {
        let Fetch { target, meta, .. } = &self.files[index];
        if !self.settings.resume || meta.as_ref().is_some_and(|meta| meta.size < LARGE_BYTES) {
            return false;
        }
        self.directory.of(target).is_ok_and(|(directory, last)| PartialFile::is_there(&directory, &last))
    }

    /// Whether this large file is under way.
    fn is_under_way(&self, index: usize) -> bool {
        self.large.as_ref().is_some_and(|large| large.index == index)
    }

    /// Waits for the answer to the oldest request, and takes it.
    fn take_answer(&mut self, oldest: Asked) -> Result<(), Stop> {
        let (asked, reply) = match oldest {
            Asked::Get(_) | Asked::Rest(_) => self.exchange.reply()?,
            Asked::Sum(index) => self.wait_for_sum(index)?,
        };
        match asked {
            Asked::Get(index) => {
                self.ahead = self.ahead.saturating_sub(self.presumed(index));
                match reply {
                    Reply::File(meta) if meta.size < LARGE_BYTES => self.take_small(index, meta),
                    Reply::File(meta) => self.take_large(index, meta),
                    reply => self.refused(index, reply),
                }
            }
            Asked::Rest(index) => self.take_rest(index, reply),
            Asked::Sum(index) => self.take_sum(index, reply),
        }
    }

    /// Waits for the SUM of a file.
    fn wait_for_sum(&mut self, index: usize) -> Result<(Asked, Reply), Error> {
        if self.is_verified_by_sum(index) {
            self.tally.entered(index, Phase::Verifying);
        }
        let size = self.large.as_ref().map_or(0, |large| large.meta.size);
        self.exchange.reply_after(Extent::Bytes(size))
    }

    /// Something else than what was asked for.
    fn refused(&mut self, index: usize, reply: Reply) -> Result<(), Stop> {
        match unexpected(reply) {
            Error::Server(failure) if !is_farewell(failure.code) => {
                self.fail(index, failure);
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        if failure.code == Code::Changed {
            self.tally.restart(index, CHANGED, Error::Server(failure));
        } else {
            self.tally.failed(index, Error::Server(failure));
        }
    }

    /// Takes what the disk says.
    fn take_completions(&mut self) {
        for completion in self.disk.completions() {
            match completion {
                Completion::Published { index, moved } => self.tally.done(index, &moved),
                Completion::Failed { index, error } => self.tally.failed(index, error),
                // The first tells most.
                Completion::Spoiled(error) => drop(self.spoiled.get_or_insert(error)),
            }
        }
    }
}
