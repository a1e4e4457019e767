//! Downloads of many files: asked for ahead on each connection, answered in order.

mod large;
mod small;
mod split;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

use ferry_wire::{Code, Failure, Reply, Request};

use super::{
    Fetch, Phase, Report, Settings, Watch,
    disk::{Batch, Completion, Disk},
    drive::{self, Ended, Job, Stop},
    hand::Hand,
    pieces::Piece,
    retry::is_farewell,
    tally::{Manner, Tally, UNKNOWN_BYTES},
};
use crate::{
    connection::Connection,
    conversation::{Exchange, Extent, unexpected},
    error::Error,
    link::Link,
    local::{LastDirectory, PartialFile},
    options::Permissions,
};
use large::Large;
pub(super) use split::Split;

/// Files from here on are staged so that they can be gone on with; smaller ones are whole in memory before the disk is
/// touched. Below, asking again costs less than keeping a part would.
pub(super) const LARGE_BYTES: u64 = 1 << 20;

/// Files that are asked for ahead at most: at 100 ms to the server, 5,000 a second.
const ASKED_FILES: usize = 512;

/// Why a download begins anew.
const CHANGED: &str = "it changed on the server";
const DAMAGED: &str = "what was kept of it is damaged";
const DAMAGED_ON_THE_WAY: &str = "what came of it was damaged on the way";

/// The subject of a request.
#[derive(Debug, Clone)]
enum Asked<'a> {
    /// A whole file.
    Get(usize),
    /// The version of a file, which decides how it is fetched.
    Stat(usize),
    /// The rest of the large file that is under way.
    Rest(usize),
    /// Size and CRC of the whole of it.
    Sum(usize),
    /// A piece of a file that is shared.
    Piece(Arc<Split<'a>>, Piece),
    /// Size and CRC of the whole of such a file.
    Whole(Arc<Split<'a>>),
}

pub(super) fn fetch(
    connection: &mut Connection,
    files: &[Fetch],
    settings: &Settings,
    manner: Manner,
    watch: &mut Watch<'_>,
) -> Report {
    let sizes = |index: usize| files[index].meta.as_ref().map(|meta| meta.size);
    let tally = Tally::new((files.len(), &sizes), manner, settings.keep_going, watch);
    let common = Common {
        files,
        settings,
        splits: Mutex::default(),
        unsplit: Mutex::default(),
        damaged: Mutex::default(),
        has_distinct_targets: OnceLock::new(),
    };
    let report = drive::drive(connection, settings, tally, &common);
    for split in common.splits().drain(..) {
        if let Some(large) = split.close_as_part() {
            large.leave();
        }
    }
    report
}

/// The things that all connections of one call know.
struct Common<'a> {
    files: &'a [Fetch],
    settings: &'a Settings,
    /// Files that are shared, in the order in which they were begun.
    splits: Mutex<Vec<Arc<Split<'a>>>>,
    /// Files that are not to be shared any more.
    unsplit: Mutex<HashSet<usize>>,
    /// Files whose bytes were once others than the server said: it is to read them, and not to remember what they were.
    damaged: Mutex<HashSet<usize>>,
    has_distinct_targets: OnceLock<bool>,
}

impl<'a> Common<'a> {
    fn splits(&self) -> MutexGuard<'_, Vec<Arc<Split<'a>>>> {
        self.splits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsplit(&self) -> MutexGuard<'_, HashSet<usize>> {
        self.unsplit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self) -> MutexGuard<'_, HashSet<usize>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_unsplit(&self, index: usize) -> bool {
        self.unsplit().contains(&index)
    }

    fn forget(&self, split: &Arc<Split<'a>>) {
        self.splits().retain(|one| !Arc::ptr_eq(one, split));
    }

    /// Whether a file is known to be small: to ask for it twice costs little.
    fn is_small(&self, index: usize) -> bool {
        self.files[index].meta.as_ref().is_some_and(|meta| meta.size < LARGE_BYTES)
    }

    /// Returns the bytes of shared files that nobody has taken.
    fn left(&self) -> u64 {
        self.splits().iter().map(|split| split.left()).sum()
    }

    fn has_work(&self) -> bool {
        self.splits().iter().any(|split| split.has_work())
    }
}

impl Job for Common<'_> {
    type Own = Own;

    fn round(&self, link: &mut Link, hand: Hand<'_, '_>, own: &mut Own) -> Ended {
        thread::scope(|scope| {
            let round = Round {
                files: self.files,
                settings: self.settings,
                common: self,
                exchange: Exchange::new(link),
                hand,
                disk: Disk::start(scope, self.settings.layout()),
                own,
                ahead: 0,
                batch: Batch::default(),
                filling: None,
                spoiled: None,
            };
            round.run()
        })
    }

    fn may_be_shared(&self) -> bool {
        // Of two files with one target the later one is to win.
        *self.has_distinct_targets.get_or_init(|| {
            let mut targets = HashSet::with_capacity(self.files.len());
            self.files.iter().all(|file| targets.insert(&*file.target))
        })
    }

    fn leave(&self, hand: usize) {
        self.splits().iter().for_each(|split| split.leave(hand));
    }

    fn close(&self, own: Own) {
        if let Some(large) = own.large {
            large.leave();
        }
    }
}

/// The things that a hand has beside its connection.
#[derive(Default)]
struct Own {
    /// The large file that is under way by itself; it outlives its connection.
    large: Option<Large>,
    directory: LastDirectory,
}

/// Downloads over one connection, until all are done or it is lost.
struct Round<'r, 'c, 'a, 't> {
    files: &'a [Fetch],
    settings: &'a Settings,
    common: &'r Common<'a>,
    exchange: Exchange<'r, Asked<'a>>,
    hand: Hand<'c, 't>,
    disk: Disk<'a>,
    own: &'r mut Own,
    /// Bytes of what was asked for, as far as that is known.
    ahead: u64,
    batch: Batch<'a>,
    /// Bytes of the large file that are not on their way to the disk yet: a buffer, and how many of it are filled.
    filling: Option<(Vec<u8>, usize)>,
    /// Why the large file can't be written.
    spoiled: Option<Error>,
}

impl<'a> Round<'_, '_, 'a, '_> {
    fn run(mut self) -> Ended {
        let result = self.serve();
        // However it ended: what has come is kept, and what is still due is for the next connection.
        self.ship_large();
        self.ship();
        self.disk.settle();
        self.take_completions();
        if let Some(large) = self.own.large.as_mut() {
            // A few bytes now and then are none.
            self.hand.progress |= large.fold() && self.exchange.link().has_kept_pace();
        }
        // Taken only together: a large file that is not spoiled stays for the next connection.
        if let Some(error) = self.spoiled.take()
            && let Some(large) = self.own.large.take()
        {
            let index = large.index;
            large.discard();
            self.hand.failed(index, error);
        }
        Ended { result, progress: self.hand.progress }
    }

    fn serve(&mut self) -> Result<(), Stop> {
        loop {
            self.tick();
            self.ask_more()?;
            self.take_completions();
            let oldest = self.exchange.in_flight().next().cloned();
            if let Some(oldest) = oldest {
                self.take_answer(&oldest)?;
                continue;
            }
            self.ship();
            self.disk.settle();
            self.take_completions();
            let (common, crew) = (self.common, self.hand.crew());
            let rob = |hand| {
                common.splits().iter().for_each(|split| split.rob(hand));
                crew.tally().rob(hand, |index| common.is_small(index));
            };
            if !self.hand.wait(self.exchange.link(), || common.has_work(), rob)? {
                return Ok(());
            }
        }
    }

    /// Says how the line is.
    fn tick(&mut self) {
        let common = self.common;
        self.hand.tick(self.exchange.link(), || common.left());
    }

    /// Asks for what comes next, as far as that is allowed ahead.
    fn ask_more(&mut self) -> Result<(), Stop> {
        // Many in one call of the system rather than one after the other.
        if self.exchange.waiting() > ASKED_FILES / 2 {
            return Ok(());
        }
        let most = self.hand.ahead();
        while !self.hand.is_stopped()
            && let in_flight = self.exchange.waiting()
            && in_flight < ASKED_FILES
            && (self.ahead < most || in_flight == 0)
        {
            if self.ask_step() {
                continue;
            }
            let Some(index) = self.hand.take() else { break };
            if !self.begin(index)? {
                break;
            }
        }
        self.exchange.push();
        Ok(())
    }

    /// Begins a file. False where that has to wait until nothing is in flight.
    fn begin(&mut self, index: usize) -> Result<bool, Stop> {
        if let Err(error) = self.settings.permissions.check_told(self.exchange.link().greeting()) {
            self.hand.failed(index, error);
            return Ok(true);
        }
        let goes_on = self.own.large.is_some() || self.has_part(index);
        if goes_on && self.exchange.waiting() > 0 {
            self.hand.put_back(index);
            return Ok(false);
        }
        let files = self.files;
        match &files[index].meta {
            Some(meta) if self.is_to_be_split(index, meta.size) => self.split(index, meta)?,
            None if self.is_to_be_split(index, u64::MAX) => {
                self.ask(&Request::Stat { name: files[index].name.clone() }, Asked::Stat(index));
            }
            _ if goes_on => self.go_on(index)?,
            _ => self.ask_whole(index),
        }
        Ok(true)
    }

    /// The version of a file of which nothing was known.
    fn take_stat(&mut self, index: usize, reply: Reply) -> Result<(), Stop> {
        match reply {
            Reply::File(meta) if self.is_to_be_split(index, meta.size) => {
                if self.has_part(index) && self.exchange.waiting() > 0 {
                    self.hand.put_back(index);
                    return Ok(());
                }
                self.split(index, &meta)
            }
            Reply::File(_) | Reply::Dir(_) => {
                self.ask_whole(index);
                Ok(())
            }
            // GET says it in words of its own.
            Reply::Fail(failure) if !is_farewell(failure.code) => {
                self.ask_whole(index);
                Ok(())
            }
            reply => Err(unexpected(reply).into()),
        }
    }

    fn ask_whole(&mut self, index: usize) {
        self.ask(&Request::Get { name: self.files[index].name.clone() }, Asked::Get(index));
        self.ahead += self.presumed(index);
    }

    /// Asks for a file or a part of it, or for its SUM.
    fn ask(&mut self, request: &Request, asked: Asked<'a>) {
        let index = match &asked {
            Asked::Stat(_) => None,
            Asked::Get(index) | Asked::Rest(index) | Asked::Sum(index) => Some(*index),
            Asked::Piece(split, _) | Asked::Whole(split) => Some(split.index),
        };
        if index.is_some_and(|index| self.common.damaged().contains(&index)) {
            self.exchange.read_anew();
        }
        if self.settings.permissions != Permissions::Usual && !matches!(request, Request::Sum { .. }) {
            self.exchange.telling_modes();
        }
        // The pieces of a shared file are checked in memory, one by one.
        if matches!(asked, Asked::Get(_) | Asked::Rest(_)) && !index.is_some_and(|index| self.common.is_small(index)) {
            self.exchange.leaving_holes();
        }
        self.exchange.ask(request, asked);
    }

    /// Asks anew for a file of which other bytes came than the server said, if that was not done too often.
    fn restart_damaged(&mut self, index: usize, why: &str, error: Error) {
        self.common.damaged().insert(index);
        self.hand.restart(index, why, error);
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
        self.own.directory.of(target).is_ok_and(|(directory, last)| PartialFile::is_there(&directory, &last))
    }

    /// Whether this large file is under way.
    fn is_under_way(&self, index: usize) -> bool {
        self.own.large.as_ref().is_some_and(|large| large.index == index)
    }

    /// Waits for the answer to the oldest request, and takes it.
    fn take_answer(&mut self, oldest: &Asked<'a>) -> Result<(), Stop> {
        let (asked, reply) = match oldest {
            Asked::Get(_) | Asked::Stat(_) | Asked::Rest(_) | Asked::Piece(..) => self.exchange.reply()?,
            Asked::Sum(index) => self.wait_for_sum(*index)?,
            Asked::Whole(split) => {
                let size = self.enter_verifying(split);
                self.exchange.reply_after(Extent::Bytes(size))?
            }
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
            Asked::Stat(index) => self.take_stat(index, reply),
            Asked::Rest(index) => self.take_rest(index, reply),
            Asked::Sum(index) => self.take_sum(index, reply),
            Asked::Piece(split, piece) => self.take_piece(&split, piece, reply),
            Asked::Whole(split) => self.take_whole(&split, reply),
        }
    }

    /// Waits for the SUM of a file.
    fn wait_for_sum(&mut self, index: usize) -> Result<(Asked<'a>, Reply), Error> {
        if self.is_verified_by_sum(index) {
            self.hand.entered(index, Phase::Verifying);
        }
        let size = self.own.large.as_ref().map_or(0, |large| large.meta.size);
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
            self.hand.restart(index, CHANGED, Error::Server(failure));
        } else {
            self.hand.failed(index, Error::Server(failure));
        }
    }

    /// Takes what the disk says.
    fn take_completions(&mut self) {
        for completion in self.disk.completions() {
            match completion {
                Completion::Published { index, moved } => self.hand.done(index, &moved),
                Completion::Failed { index, error } => self.hand.failed(index, error),
                // The first tells most.
                Completion::Spoiled(error) => drop(self.spoiled.get_or_insert(error)),
                Completion::Piece { split, result } => self.piece_written(&split, result),
            }
        }
    }
}
