//! Downloads of many files on one connection: asked for ahead, answered in order.

mod large;
mod parallel;
mod small;

use std::{
    collections::{HashSet, VecDeque},
    thread,
};

use ferry_wire::{Code, Failure, FileMeta, Reply, Request};

use super::{
    Event, Fetch, Report, Settings,
    disk::{Batch, Disk, Word},
    drive::{self, Stop, is_farewell},
    tally::Tally,
};
use crate::{
    Client,
    error::Error,
    link::{Link, unexpected},
    local::{LastDirectory, Part},
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

/// What is taken for the size of a file that nobody knows.
const UNKNOWN_BYTES: u64 = 16 << 10;

/// Why a download begins anew.
const CHANGED: &str = "it changed on the server";
const DAMAGED: &str = "what was kept of it is damaged";
const DAMAGED_ON_THE_WAY: &str = "what came of it was damaged on the way";

/// Opens one more connection.
type Opener = dyn Fn() -> Result<Link, Error> + Sync;

/// A request whose answer is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Get(usize),
    /// The rest of the large file that is under way.
    Read(usize),
    /// What the whole of it must be.
    Sum(usize),
}

pub(crate) fn fetch(
    client: &mut Client,
    files: &[Fetch],
    settings: &Settings,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Report {
    let mut tally = Tally::new(files.len(), settings.keep_going, watch);
    let (mut large, mut unsplit, mut directory) = (None, HashSet::new(), LastDirectory::default());
    let opener = client.opener();
    drive::drive(client, settings, &mut tally, |link, tally| {
        thread::scope(|scope| {
            let round = Round {
                files,
                settings,
                link,
                tally,
                disk: Disk::start(scope),
                directory: &mut directory,
                asked: VecDeque::new(),
                ahead: 0,
                batch: Batch::default(),
                large: &mut large,
                unsplit: &mut unsplit,
                opener: &opener,
                filling: None,
                spoiled: None,
                current: None,
                begun: None,
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
    link: &'r mut Link,
    tally: &'r mut Tally<'t>,
    disk: Disk<'a>,
    directory: &'r mut LastDirectory,
    asked: VecDeque<Ask>,
    /// Bytes of the files that were asked for, as far as that is known.
    ahead: u64,
    batch: Batch<'a>,
    /// The large file that is under way; it outlives its connection.
    large: &'r mut Option<Large>,
    /// Files that are not to be shared by several connections any more.
    unsplit: &'r mut HashSet<usize>,
    opener: &'r Opener,
    /// Bytes of it that are not on their way to the disk yet, and how many.
    filling: Option<(Vec<u8>, usize)>,
    /// Why the large file can't be written.
    spoiled: Option<Error>,
    /// The file whose answer is being taken.
    current: Option<usize>,
    /// It, if that was told.
    begun: Option<usize>,
}

impl<'a> Round<'_, 'a, '_> {
    fn run(mut self) -> Result<(), Stop> {
        let result = self.serve();
        // However it ended: what has come is kept, and what is still due is for the next connection.
        self.ship_large();
        self.ship();
        self.disk.settle();
        self.hear();
        if let Some(large) = self.large.as_mut() {
            // A few bytes now and then are none.
            self.tally.progress |= large.fold() && self.link.has_kept_pace();
        }
        // Taken only together: a large file that is not spoiled stays for the next connection.
        if let Some(error) = self.spoiled.take()
            && let Some(large) = self.large.take()
        {
            self.current = None;
            self.begun = None;
            let index = large.index;
            large.discard();
            self.tally.failed(index, error);
        }
        let mut undone: Vec<usize> = self.current.into_iter().collect();
        for ask in &self.asked {
            match *ask {
                Ask::Get(index) | Ask::Read(index) => undone.push(index),
                Ask::Sum(index) if self.large.as_ref().is_some_and(|large| large.index == index) => undone.push(index),
                Ask::Sum(_) => {}
            }
        }
        undone.dedup();
        self.tally.ask_again(undone.into_iter(), self.begun);
        result
    }

    fn serve(&mut self) -> Result<(), Stop> {
        loop {
            self.ask_more()?;
            self.hear();
            match self.asked.pop_front() {
                Some(ask) => self.answer(ask)?,
                None if self.tally.queue.is_empty() => {
                    self.ship();
                    self.disk.settle();
                    self.hear();
                    if self.tally.queue.is_empty() {
                        return Ok(());
                    }
                }
                None => {}
            }
        }
    }

    /// Asks for what comes next, as far as that is allowed ahead.
    fn ask_more(&mut self) -> Result<(), Stop> {
        // Many in one call of the system rather than one after the other.
        if self.asked.len() > ASKED_FILES / 2 {
            return Ok(());
        }
        while let Some(&index) = self.tally.queue.front()
            && self.asked.len() < ASKED_FILES
            && (self.ahead < ASKED_BYTES || self.asked.is_empty())
        {
            let splits = self.may_split(index);
            let goes_on = self.large.is_some() || self.has_part(index);
            if (splits || goes_on) && !self.asked.is_empty() {
                break;
            }
            self.tally.queue.pop_front();
            if splits {
                self.split(index)?;
            } else if goes_on {
                self.go_on(index)?;
            } else {
                self.ask_whole(index);
            }
        }
        Ok(self.link.push()?)
    }

    fn ask_whole(&mut self, index: usize) {
        self.link.ask(&Request::Get { name: self.files[index].name.clone() });
        self.asked.push_back(Ask::Get(index));
        self.ahead += self.presumed(index);
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
        self.directory.of(target).is_ok_and(|(directory, last)| Part::is_there(&directory, &last))
    }

    fn answer(&mut self, ask: Ask) -> Result<(), Stop> {
        match ask {
            Ask::Get(index) => {
                self.ahead = self.ahead.saturating_sub(self.presumed(index));
                self.current = Some(index);
                match self.link.reply()? {
                    Reply::File(meta) if meta.size < LARGE_BYTES => self.take_small(index, meta)?,
                    Reply::File(meta) => self.take_large(index, meta)?,
                    reply => self.refused(index, reply)?,
                }
                self.current = None;
                Ok(())
            }
            Ask::Read(index) => self.take_rest(index),
            Ask::Sum(index) => self.take_sum(index),
        }
    }

    /// Something else than what was asked for.
    fn refused(&mut self, index: usize, reply: Reply) -> Result<(), Stop> {
        match unexpected(reply) {
            Error::Server(failure) if !is_farewell(failure.code) => {
                self.current = None;
                self.fail(index, failure);
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        self.begun = None;
        if failure.code == Code::Changed {
            self.tally.restart(index, CHANGED, Error::Server(failure));
        } else {
            self.tally.failed(index, Error::Server(failure));
        }
    }

    fn begin(&mut self, index: usize, meta: &FileMeta, resumed: u64) {
        if self.begun != Some(index) {
            self.tally.begun(index, meta.size, resumed);
            self.begun = Some(index);
        }
    }

    /// Takes what the disk says.
    fn hear(&mut self) {
        for word in self.disk.words() {
            match word {
                Word::Published { index, size, crc } => self.tally.done_new(index, size, crc),
                Word::Failed { index, error } => self.tally.failed(index, error),
                // The first tells most.
                Word::Spoiled(error) => drop(self.spoiled.get_or_insert(error)),
            }
        }
    }
}
