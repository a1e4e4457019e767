//! Large downloads: staged as they come, gone on with where they were cut.

use std::{fs::File, path::Path, sync::Arc};

use ferry_wire::{Code, Digest, Failure, FileMeta, Reply, Request};

use super::{
    super::{Fetch, Moved, Phase, disk::BUFFER_BYTES, drive::Stop, retry::is_farewell},
    Asked, CHANGED, DAMAGED, DAMAGED_ON_THE_WAY, Round,
};
use crate::{
    conversation::{Next, requests, requests::Sum},
    error::Error,
    local::{PartialFile, Staged, checkpoint},
    options::Permissions,
};

/// Between two checkpoints of a part: what is lost of it where the power is cut. A checkpoint costs one short write.
pub(super) const CHECKPOINT_BYTES: u64 = 32 << 20;

/// Where the bytes go.
#[derive(Debug)]
pub(super) enum Sink {
    Partial(PartialFile),
    /// A file that nobody can go on with: that was not wanted, or another process has the part.
    Plain(Staged),
}

/// A large download on its way, over as many connections as it takes.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) index: usize,
    pub(super) sink: Sink,
    pub(super) meta: FileMeta,
    /// Of what earlier connections brought.
    pub(super) before: Digest,
    /// Of what this connection brings.
    range: Digest,
    /// Bytes that were there when this call began.
    resumed: u64,
    /// Bytes up to the last checkpoint.
    pub(super) noted: u64,
}

impl Large {
    pub(super) fn new(index: usize, sink: Sink, meta: FileMeta, before: Digest) -> Large {
        let there = before.bytes();
        Large { index, sink, meta, before, range: Digest::new(), resumed: there, noted: there }
    }

    pub(super) fn file(&self) -> &Arc<File> {
        match &self.sink {
            Sink::Partial(part) => part.file(),
            Sink::Plain(staged) => staged.file(),
        }
    }

    /// Bytes that have come in all.
    fn bytes(&self) -> u64 {
        self.before.bytes() + self.range.bytes()
    }

    fn whole(&self) -> Digest {
        let mut whole = self.before.clone();
        whole.append(self.range.crc(), self.range.bytes());
        whole
    }

    /// The connection is over: what it brought is what earlier ones brought. Gives whether that was anything.
    pub(super) fn fold(&mut self) -> bool {
        let any = self.range.bytes() > 0;
        self.before = self.whole();
        self.range = Digest::new();
        any
    }

    pub(super) fn discard(self) {
        match self.sink {
            Sink::Partial(part) => part.discard(),
            Sink::Plain(staged) => drop(staged),
        }
    }

    /// Leaves what can be gone on with.
    pub(super) fn leave(self) {
        if self.bytes() == 0 {
            return self.discard();
        }
        let bytes = self.bytes();
        match self.sink {
            Sink::Partial(part) => {
                if let Err(error) = part.cut(bytes) {
                    log::warn!("{error}");
                }
            }
            Sink::Plain(staged) => drop(staged),
        }
    }

    pub(super) fn publish(self, permissions: Permissions) -> Result<Moved, Error> {
        let given = permissions.given(&self.meta);
        let (size, crc, tag) = (self.bytes(), self.whole().crc(), self.meta.tag);
        let moved = Moved { size, crc, tag, resumed: self.resumed };
        match self.sink {
            Sink::Partial(part) => part.publish(given)?,
            Sink::Plain(staged) => staged.publish(given)?,
        }
        Ok(moved)
    }
}

impl Round<'_, '_, '_, '_> {
    /// The first that is to be asked for is a file of which something is there.
    pub(super) fn go_on(&mut self, index: usize) -> Result<(), Stop> {
        if !self.open_part(index)? {
            return Ok(());
        }
        match self.own.large.as_ref() {
            Some(large) => {
                let Large { meta, before, .. } = large;
                let name = self.files[index].name.clone();
                let (offset, tag) = (before.bytes(), Some(meta.tag.clone()));
                let rest = Request::Read { offset, length: None, tag, name: name.clone() };
                self.ask(&rest, Asked::Rest(index));
                self.ask(&Request::Sum { name }, Asked::Sum(index));
            }
            None => self.ask_whole(index),
        }
        Ok(())
    }

    /// Opens what is there of a file, if anything of use is. False where the file failed, which was told.
    pub(super) fn open_part(&mut self, index: usize) -> Result<bool, Stop> {
        // After a lost connection it is still open.
        if self.is_under_way(index) {
            return Ok(true);
        }
        if let Some(large) = self.own.large.take() {
            large.leave();
        }
        match self.take_up(index) {
            Ok(large) => self.own.large = large,
            Err(error @ Error::Interrupted) => return Err(error.into()),
            Err(error) => {
                self.hand.failed(index, error);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at what an earlier download left; [`None`] where that is of no use, and gone.
    fn take_up(&mut self, index: usize) -> Result<Option<Large>, Error> {
        let Fetch { name, target, .. } = &self.files[index];
        let (directory, last) = self.own.directory.of(target)?;
        directory.check_replaceable(&last, target)?;
        let Some(part) = PartialFile::open(directory, &last, target)? else { return Ok(None) };
        let found = match part.find(name) {
            Some(Ok(found)) if found.bytes > 0 => found,
            useless => {
                let why = useless.and_then(|found| found.map_or_else(Some, |found| part.lost(&found)));
                part.discard();
                if let Some(why) = why {
                    self.hand.restarted(index, why);
                }
                return Ok(None);
            }
        };
        self.hand.begun(index, found.journal.meta.size, found.bytes);
        self.hand.entered(index, Phase::Reading);
        let exchange = &self.exchange;
        let digest = part.check(&found, |_| exchange.check_cancel())?;
        if digest.bytes() == 0 {
            part.discard();
            self.hand.restarted(index, DAMAGED);
            return Ok(None);
        }
        self.hand.moved(index, digest.bytes());
        self.hand.entered(index, Phase::Moving);
        self.exchange.link().restart_timeout();
        Ok(Some(Large::new(index, Sink::Partial(part), found.journal.meta, digest)))
    }

    /// A whole large file comes.
    pub(super) fn take_large(&mut self, index: usize, meta: FileMeta) -> Result<(), Stop> {
        if self.hand.is_stopped() {
            return Err(Stop::Unwanted);
        }
        self.ship();
        match self.stage(index, &meta) {
            Ok(sink) => self.own.large = Some(Large::new(index, sink, meta.clone(), Digest::new())),
            Err(error) => return self.give_up_large(index, error),
        }
        self.hand.begun(index, meta.size, 0);
        if self.receive()? { self.publish_large() } else { Ok(()) }
    }

    pub(super) fn stage(&mut self, index: usize, meta: &FileMeta) -> Result<Sink, Error> {
        let Fetch { name, target, .. } = &self.files[index];
        let (directory, last) = self.own.directory.of(target)?;
        directory.check_replaceable(&last, target)?;
        if self.settings.resume
            && let Some(part) = PartialFile::open(Arc::clone(&directory), &last, target)?
        {
            // One without its journal, or one that a listing hid.
            let left = part.find(name).map(|left| left.map_or_else(|why| why, |_| CHANGED));
            if let Some(why) = left {
                self.hand.restarted(index, why);
            }
            return match part.begin(name, meta) {
                Ok(()) => Ok(Sink::Partial(part)),
                Err(error) => {
                    part.discard();
                    Err(error)
                }
            };
        }
        Ok(Sink::Plain(Staged::create_in(directory, last, target)?))
    }

    /// It can't be kept here; what is still coming of it is not wanted.
    pub(super) fn give_up_large(&mut self, index: usize, error: Error) -> Result<(), Stop> {
        self.discard_large();
        self.hand.failed(index, error);
        Err(Stop::Unwanted)
    }

    pub(super) fn discard_large(&mut self) {
        self.filling = None;
        self.disk.settle();
        self.take_completions();
        self.spoiled = None;
        if let Some(large) = self.own.large.take() {
            large.discard();
        }
    }

    /// The answer to READ.
    pub(super) fn take_rest(&mut self, index: usize, reply: Reply) -> Result<(), Stop> {
        let Some(large) = self.own.large.as_mut() else { return Err(Stop::Unwanted) };
        match reply {
            Reply::File(meta) if meta.size == large.meta.size => {
                // The journal of a part tells none.
                large.meta.mode = meta.mode;
                let there = large.before.bytes();
                self.hand.begun(index, meta.size, there);
                self.receive()?;
            }
            Reply::File(_) => return Err(Error::violation("another version than was asked for").into()),
            Reply::Fail(failure) if failure.code == Code::Changed || failure.code == Code::BadRange => {
                self.discard_large();
                self.hand.restart(index, CHANGED, Error::Server(failure));
            }
            reply => self.refused(index, reply)?,
        }
        Ok(())
    }

    /// Whether this file is there whole, so that SUM verifies it.
    pub(super) fn is_verified_by_sum(&self, index: usize) -> bool {
        self.own.large.as_ref().is_some_and(|large| large.index == index && large.bytes() == large.meta.size)
    }

    /// The answer to the SUM after a READ.
    pub(super) fn take_sum(&mut self, index: usize, reply: Reply) -> Result<(), Stop> {
        let is_wanted = self.is_verified_by_sum(index);
        match requests::to_sum(reply) {
            Ok(sum) if is_wanted => self.compare(index, &sum)?,
            Ok(_) => {}
            Err(Error::Server(failure)) if !is_wanted => log::debug!("SUM after a failed READ: {failure}"),
            Err(Error::Server(failure)) if failure.code == Code::Changed => {
                self.discard_large();
                self.fail(index, failure);
            }
            Err(Error::Server(failure)) => self.refused(index, Reply::Fail(failure))?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn compare(&mut self, index: usize, sum: &Sum) -> Result<(), Stop> {
        let Some(large) = self.own.large.as_ref() else { return Ok(()) };
        let whole = large.whole();
        let why = if sum.tag != large.meta.tag {
            CHANGED
        } else if (whole.bytes(), whole.crc()) != (sum.size, sum.crc) {
            DAMAGED
        } else {
            return self.publish_large();
        };
        let error = Error::Verification(format!(
            "the whole file has {} bytes and the CRC {}, the server's {} and {}",
            whole.bytes(),
            whole.crc(),
            sum.size,
            sum.crc
        ));
        self.discard_large();
        match why {
            DAMAGED => self.restart_damaged(index, why, error),
            why => self.hand.restart(index, why, error),
        }
        Ok(())
    }

    /// All has come and is verified.
    fn publish_large(&mut self) -> Result<(), Stop> {
        self.disk.settle();
        self.take_completions();
        let Some(large) = self.own.large.take() else { return Ok(()) };
        let index = large.index;
        let published = match self.spoiled.take() {
            None => large.publish(self.settings.permissions),
            Some(error) => {
                large.discard();
                Err(error)
            }
        };
        match published {
            Ok(moved) => self.hand.done(index, &moved),
            Err(error) => self.hand.failed(index, error),
        }
        Ok(())
    }

    /// Receives the body that follows what is there. False where the file came to another end, which was told.
    fn receive(&mut self) -> Result<bool, Stop> {
        loop {
            if self.filling.is_none() {
                let exchange = &self.exchange;
                let mut buffer = self.disk.buffer(&|| exchange.check_cancel())?;
                self.exchange.link().restart_timeout();
                buffer.resize(BUFFER_BYTES, 0);
                self.filling = Some((buffer, 0));
            }
            let (Some((buffer, filled)), Some(large)) = (self.filling.as_mut(), self.own.large.as_mut()) else {
                return Err(Stop::Unwanted);
            };
            match self.exchange.read(&mut buffer[*filled..]) {
                Ok(Next::Bytes(got)) => {
                    large.range = self.exchange.received();
                    *filled += got;
                    let (index, bytes, is_full) = (large.index, large.bytes(), *filled == buffer.len());
                    // A buffer may take a minute to fill.
                    let slow = self.exchange.link().is_limited();
                    self.hand.came(index, bytes, slow);
                    self.tick();
                    if is_full {
                        self.ship_large();
                        self.after_shipping()?;
                    }
                }
                Ok(Next::Hole(zeros)) => {
                    let at = large.bytes();
                    self.ship_large();
                    self.leave_hole(at, zeros);
                    self.tick();
                    self.after_shipping()?;
                }
                Ok(Next::End(_)) => {
                    self.ship_large();
                    return Ok(true);
                }
                Err(Error::Server(failure)) => return self.broke_off(failure).map(|()| false),
                Err(error @ Error::Verification(_)) => {
                    let index = large.index;
                    self.discard_large();
                    self.restart_damaged(index, DAMAGED_ON_THE_WAY, error);
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The server gives up in the middle.
    fn broke_off(&mut self, failure: Failure) -> Result<(), Stop> {
        let Some(index) = self.own.large.as_ref().map(|large| large.index) else { return Ok(()) };
        if is_farewell(failure.code) {
            return Err(Error::Server(failure).into());
        }
        self.ship_large();
        self.disk.settle();
        self.take_completions();
        if failure.code == Code::Changed || self.spoiled.take().is_some() {
            self.discard_large();
        } else if let Some(mut large) = self.own.large.take() {
            large.fold();
            large.leave();
        }
        self.fail(index, failure);
        Ok(())
    }

    /// Hands what has come to the disk.
    pub(super) fn ship_large(&mut self) {
        let Some((buffer, filled)) = self.filling.take() else { return };
        let Some(large) = self.own.large.as_mut() else { return self.disk.give_back(buffer) };
        let path: &Path = &self.files[large.index].target;
        let bytes = large.bytes();
        self.disk.append(large.file(), path, bytes - filled as u64, large.meta.size, buffer, filled);
        if let Sink::Partial(part) = &large.sink
            && bytes - large.noted >= CHECKPOINT_BYTES
        {
            large.noted = bytes;
            self.disk.checkpoint(part.journal(), path, checkpoint(bytes, large.whole().crc()));
        }
    }

    /// Has zeros stand at `at` that did not come.
    fn leave_hole(&mut self, at: u64, zeros: u64) {
        let received = self.exchange.received();
        let Some(large) = self.own.large.as_mut() else { return };
        large.range = received;
        self.disk.hole(large.file(), &self.files[large.index].target, at..at + zeros);
    }

    fn after_shipping(&mut self) -> Result<(), Stop> {
        self.take_completions();
        let Some(large) = self.own.large.as_ref() else { return Ok(()) };
        let (index, bytes) = (large.index, large.bytes());
        if let Some(error) = self.spoiled.take() {
            return self.give_up_large(index, error);
        }
        self.hand.progress = true;
        self.hand.moved(index, bytes);
        Ok(())
    }
}
