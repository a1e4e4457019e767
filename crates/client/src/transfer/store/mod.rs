//! Uploads of many files on one connection: small ones in runs, large ones block by block, replies taken meanwhile.

mod check;
mod ids;
mod known;
mod large;
mod reader;

use std::{
    collections::VecDeque,
    sync::mpsc::RecvTimeoutError,
    thread,
    time::{Duration, Instant},
};

use ferry_wire::{Crc32, Reply};

use super::{
    Event, Moved, Report, Settings, Store,
    drive::{self, Stop, is_farewell},
    tally::Tally,
};
use crate::{
    Client,
    block::Block,
    error::Error,
    link::{Link, unexpected},
    requests::{Extent, reply_after_work},
};
use check::Check;
use ids::Ids;
use known::Known;
use large::Past;
pub(super) use large::RESUME_BYTES;
use reader::{Chunk, Reader, Small};

/// How long the reader is waited for before the connection is looked at again.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn store(
    client: &mut Client,
    files: &[Store],
    settings: &Settings,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Report {
    let mut tally = Tally::new(files.len(), settings.keep_going, watch);
    let mut ids = Ids::new(client.address(), settings.state.as_deref());
    let mut past = Past::default();
    drive::drive(client, settings, &mut tally, |link, tally| {
        thread::scope(|scope| {
            let wanted = std::mem::take(&mut tally.queue);
            let reader = Reader::start(scope, files, wanted.clone());
            let round = Round {
                files,
                settings,
                link,
                tally,
                reader,
                unread: wanted,
                asked: VecDeque::new(),
                ids: &mut ids,
                past: &mut past,
                said: None,
                begun: None,
                known: Known::nothing(None),
            };
            round.run()
        })
    });
    tally.report
}

/// An upload whose final reply is still to come.
#[derive(Debug)]
struct Asked {
    index: usize,
    size: u64,
    /// Of what was sent; [`None`] while its body is not closed.
    crc: Option<Crc32>,
    resumed: u64,
    large: bool,
    /// Why it was called off.
    stopped: Option<Error>,
    /// It is not the upload itself, but the look at what was published.
    check: Option<Check>,
}

/// Uploads over one connection, until all are done or it is lost.
struct Round<'r, 'a, 't> {
    files: &'a [Store],
    settings: &'r Settings,
    link: &'r mut Link,
    tally: &'r mut Tally<'t>,
    reader: Reader,
    /// What the reader has not said anything of.
    unread: VecDeque<usize>,
    asked: VecDeque<Asked>,
    ids: &'r mut Ids,
    past: &'r mut Past,
    /// What the server said to the upload that is not closed yet.
    said: Option<Reply>,
    /// The large file that was begun and has no reply yet.
    begun: Option<usize>,
    /// How far the last large file was read here.
    known: Known,
}

impl Round<'_, '_, '_> {
    fn run(mut self) -> Result<(), Stop> {
        let result = self.serve();
        // Why the server closed in the middle of a body.
        if let Some(Reply::Fail(failure)) = self.said.take()
            && let Some(asked) = self.asked.pop_front()
        {
            self.refused(asked, failure);
        }
        // Those that were called off were told already why, and a check belongs to its upload until that is published.
        let is_due =
            |asked: &&Asked| asked.check.as_ref().map_or(asked.stopped.is_none(), |check| check.saved.is_some());
        let asked = self.asked.iter().filter(is_due).map(|asked| asked.index);
        let undone: Vec<usize> = asked.chain(self.unread.iter().copied()).collect();
        let begun = self.begun.filter(|begun| undone.contains(begun));
        // Bytes read here while the server waited are not read again.
        self.tally.progress |= self.known.has_grown();
        self.tally.ask_again(undone.into_iter(), begun);
        result
    }

    fn serve(&mut self) -> Result<(), Stop> {
        while !self.tally.stopped
            && let Some(chunk) = self.next_chunk()?
        {
            match chunk {
                Chunk::Run { block, files } => self.send_run(block, files)?,
                Chunk::Failed { index, error } => {
                    self.read(index);
                    self.tally.failed(index, error);
                }
                Chunk::Large { index, size, mtime, version, stamp } => {
                    self.read(index);
                    self.store_large(index, size, mtime, (&version, stamp))?;
                }
                Chunk::Block { block, .. } => self.reader.give_back(block),
                Chunk::End(_) | Chunk::Broken(_) | Chunk::Skipped => {}
            }
        }
        if let Some(asked) = self.asked.back()
            && asked.large
        {
            self.tally.entered(asked.index, super::Phase::Syncing);
        }
        while !self.asked.is_empty() {
            let reply = self.reply_after_work()?;
            self.hear(reply)?;
        }
        Ok(())
    }

    /// Waits for the reply to what was asked first.
    fn reply_after_work(&mut self) -> Result<Reply, Error> {
        let bytes = self.asked.front().map_or(0, |asked| asked.size);
        reply_after_work(self.link, Extent::Bytes(bytes))
    }

    /// The reader has come to this file.
    fn read(&mut self, index: usize) {
        debug_assert_eq!(self.unread.front(), Some(&index));
        self.unread.pop_front();
    }

    /// What the reader says next, and meanwhile takes what the server says. [`None`] at the end.
    fn next_chunk(&mut self) -> Result<Option<Chunk>, Stop> {
        loop {
            self.take_replies()?;
            match self.reader.chunks.recv_timeout(LOOK) {
                Ok(chunk) => return Ok(Some(chunk)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    self.link.step(&mut Block::new())?;
                }
            }
        }
    }

    fn send_run(&mut self, mut block: Block, files: Vec<Small>) -> Result<(), Stop> {
        for Small { index, size, crc } in files {
            self.read(index);
            self.abandon_if_small(index, size);
            self.link.owe();
            self.asked.push_back(Asked {
                index,
                size,
                crc: Some(crc),
                resumed: 0,
                large: false,
                stopped: None,
                check: None,
            });
        }
        self.link.owe();
        self.send(&mut block)?;
        self.link.settle();
        self.reader.give_back(block);
        Ok(())
    }

    /// Sends what is queued and all of `block`, and takes what the server says meanwhile.
    fn send(&mut self, block: &mut Block) -> Result<(), Stop> {
        let (begun, mut taken) = (Instant::now(), Instant::now());
        loop {
            let (left, waiting) = (block.len(), self.asked.len());
            let moved = self.link.step(block)?;
            self.take_replies()?;
            if block.len() == 0 && self.link.is_flushed() {
                return Ok(());
            }
            if block.len() < left || self.asked.len() < waiting {
                taken = Instant::now();
            } else if taken.elapsed() >= self.link.timeout() {
                // What it says meanwhile is no reason to wait longer.
                return Err(Error::Timeout(self.link.timeout()).into());
            }
            if !moved {
                self.link.rest(begun)?;
            }
        }
    }

    /// Takes the replies that have come; never waits.
    fn take_replies(&mut self) -> Result<(), Stop> {
        while self.link.has_line()? {
            if self.asked.is_empty() {
                self.link.owe();
            }
            let reply = self.link.reply()?;
            self.hear(reply)?;
        }
        if self.link.is_ended() { Err(Error::Closed(None).into()) } else { Ok(()) }
    }

    fn hear(&mut self, reply: Reply) -> Result<(), Stop> {
        let open = match self.asked.front() {
            None => return Err(unasked(reply).into()),
            Some(asked) => asked.crc.is_none() && asked.stopped.is_none(),
        };
        if let Reply::Fail(failure) = &reply
            && is_farewell(failure.code)
        {
            return Err(unexpected(reply).into());
        }
        if let Some(mut asked) = self.asked.pop_front() {
            match asked.check.take() {
                Some(check) => return self.checked(&asked, &check, reply),
                None => self.asked.push_front(asked),
            }
        }
        if open {
            // The first word counts; behind it the server is not believed any more.
            if let Some(Reply::Fail(failure)) = self.said.take()
                && let Some(asked) = self.asked.pop_front()
            {
                self.refused(asked, failure);
                return Err(Error::violation("it answers what was not asked").into());
            }
            self.said = Some(reply);
            return Ok(());
        }
        match (reply, self.asked.pop_front()) {
            (Reply::Saved { size, crc, tag }, Some(asked)) if asked.stopped.is_none() => {
                self.link.settle();
                let as_sent = (size, Some(crc)) == (asked.size, asked.crc);
                if !(as_sent && self.is_checked_next(asked.index, &tag)) {
                    self.saved(&asked, size, crc);
                }
                Ok(())
            }
            (Reply::Fail(failure), Some(asked)) => {
                self.tally.progress = true;
                self.refused(asked, failure);
                Ok(())
            }
            (reply, asked) => {
                self.asked.extend(asked);
                Err(unexpected(reply).into())
            }
        }
    }

    fn saved(&mut self, asked: &Asked, size: u64, crc: Crc32) {
        let index = asked.index;
        if asked.large {
            self.forget(index);
            self.begun = self.begun.filter(|begun| *begun != index);
        } else {
            self.tally.begun(index, asked.size, 0);
        }
        match asked.crc {
            Some(sent) if (sent, asked.size) == (crc, size) => {
                self.tally.done(index, &Moved { size, crc, resumed: asked.resumed });
            }
            sent => {
                let sent = sent.unwrap_or(Crc32::EMPTY);
                let text =
                    format!("the server saved {size} bytes with the CRC {crc}, sent were {} with {sent}", asked.size);
                self.tally.failed(index, Error::Verification(text));
            }
        }
    }
}

/// Only a server that closes says anything unasked.
fn unasked(reply: Reply) -> Error {
    match reply {
        Reply::Fail(failure) => Error::Closed(Some(failure)),
        _ => Error::violation("it answers what was not asked"),
    }
}
