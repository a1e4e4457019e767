//! Large downloads: staged as they come, gone on with where they were cut.

use std::{fs::File, path::Path, sync::Arc};

use ferry_wire::{BodyLine, Code, Crc32, Digest, FileMeta, Reply, Request, Tag};

use super::{
    super::{
        Fetch, Moved, Phase,
        disk::BUFFER_BYTES,
        drive::{Stop, is_farewell},
    },
    Ask, CHANGED, DAMAGED, DAMAGED_ON_THE_WAY, Round,
};
use crate::{
    error::Error,
    link::{Piece, unexpected},
    local::{Part, Staged, checkpoint},
    requests::{Extent, reply_after_work},
};

/// Between two checkpoints of a part: what is lost of it where the power is cut. A checkpoint costs one short write.
pub(super) const CHECKPOINT_BYTES: u64 = 32 << 20;

/// Where the bytes go.
#[derive(Debug)]
pub(super) enum Sink {
    Part(Part),
    /// What nobody can go on with: it was not wanted, or another process has the part.
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
            Sink::Part(part) => part.file(),
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
            Sink::Part(part) => part.discard(),
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
            Sink::Part(part) => {
                if let Err(error) = part.cut(bytes) {
                    log::warn!("{error}");
                }
            }
            Sink::Plain(staged) => drop(staged),
        }
    }

    fn publish(self) -> Result<Moved, Error> {
        let moved = Moved { size: self.bytes(), crc: self.whole().crc(), resumed: self.resumed };
        match self.sink {
            Sink::Part(part) => part.publish(self.meta.mtime)?,
            Sink::Plain(staged) => staged.publish(self.meta.mtime)?,
        }
        Ok(moved)
    }
}

impl Round<'_, '_, '_> {
    /// The first that is to be asked for is a file of which something is there.
    pub(super) fn go_on(&mut self, index: usize) -> Result<(), Stop> {
        if !self.open_part(index)? {
            return Ok(());
        }
        match self.large.as_ref() {
            Some(large) => {
                let Large { meta, before, .. } = large;
                let name = self.files[index].name.clone();
                let (offset, tag) = (before.bytes(), Some(meta.tag.clone()));
                self.link.ask(&Request::Read { offset, length: None, tag, name: name.clone() });
                self.link.ask(&Request::Sum { name });
                self.asked.extend([Ask::Read(index), Ask::Sum(index)]);
            }
            None => self.ask_whole(index),
        }
        Ok(())
    }

    /// Opens what is there of a file, if anything of use is. False where the file failed, which was told.
    pub(super) fn open_part(&mut self, index: usize) -> Result<bool, Stop> {
        // After a lost connection it is still open.
        if self.large.as_ref().is_some_and(|large| large.index == index) {
            return Ok(true);
        }
        if let Some(large) = self.large.take() {
            large.leave();
        }
        match self.take_up(index) {
            Ok(large) => *self.large = large,
            Err(error @ Error::Interrupted) => {
                self.current = Some(index);
                return Err(error.into());
            }
            Err(error) => {
                self.begun = None;
                self.tally.failed(index, error);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at what an earlier download left; [`None`] where that is of no use, and gone.
    fn take_up(&mut self, index: usize) -> Result<Option<Large>, Error> {
        let Fetch { name, target, .. } = &self.files[index];
        let (directory, last) = self.directory.of(target)?;
        directory.check_replaceable(&last, target)?;
        let Some(part) = Part::open(directory, &last, target)? else { return Ok(None) };
        let found = match part.find(name) {
            Some(Ok(found)) if found.bytes > 0 => found,
            useless => {
                let why = useless.and_then(|found| found.map_or_else(Some, |found| part.lost(&found)));
                part.discard();
                if let Some(why) = why {
                    self.tally.restarted(index, why);
                }
                return Ok(None);
            }
        };
        self.begin(index, &found.mark.meta, found.bytes);
        self.tally.entered(index, Phase::Reading);
        let link = &*self.link;
        let digest = part.check(&found, |_| link.check_cancel())?;
        if digest.bytes() == 0 {
            part.discard();
            self.tally.restarted(index, DAMAGED);
            self.begun = None;
            return Ok(None);
        }
        self.tally.moved(index, digest.bytes());
        self.tally.entered(index, Phase::Moving);
        self.link.excuse();
        Ok(Some(Large::new(index, Sink::Part(part), found.mark.meta, digest)))
    }

    /// A whole large file comes.
    pub(super) fn take_large(&mut self, index: usize, meta: FileMeta) -> Result<(), Stop> {
        if self.tally.stopped {
            return Err(Stop::Unwanted);
        }
        self.ship();
        match self.stage(index, &meta) {
            Ok(sink) => *self.large = Some(Large::new(index, sink, meta.clone(), Digest::new())),
            Err(error) => return self.give_up_large(index, error),
        }
        self.begin(index, &meta, 0);
        if self.receive(meta.size)? { self.publish_large() } else { Ok(()) }
    }

    pub(super) fn stage(&mut self, index: usize, meta: &FileMeta) -> Result<Sink, Error> {
        let Fetch { name, target, .. } = &self.files[index];
        let (directory, last) = self.directory.of(target)?;
        directory.check_replaceable(&last, target)?;
        if self.settings.resume
            && let Some(part) = Part::open(Arc::clone(&directory), &last, target)?
        {
            // A part without its mark, or one that a listing hid.
            let left = part.find(name).map(|left| left.map_or_else(|why| why, |_| CHANGED));
            if let Some(why) = left {
                self.tally.restarted(index, why);
            }
            return match part.begin(name, meta) {
                Ok(()) => Ok(Sink::Part(part)),
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
        (self.current, self.begun) = (None, None);
        self.tally.failed(index, error);
        Err(Stop::Unwanted)
    }

    pub(super) fn discard_large(&mut self) {
        self.filling = None;
        self.disk.settle();
        self.hear();
        self.spoiled = None;
        if let Some(large) = self.large.take() {
            large.discard();
        }
    }

    /// The answer to READ.
    pub(super) fn take_rest(&mut self, index: usize) -> Result<(), Stop> {
        self.current = Some(index);
        let Some(large) = self.large.as_ref() else { return Err(Stop::Unwanted) };
        match self.link.reply()? {
            Reply::File(meta) if (meta.size, &meta.tag) == (large.meta.size, &large.meta.tag) => {
                let left = meta.size - large.before.bytes();
                self.begin(index, &meta, large.before.bytes());
                self.receive(left)?;
            }
            Reply::File(_) => return Err(Error::violation("another version than was asked for").into()),
            Reply::Fail(failure) if failure.code == Code::Changed || failure.code == Code::BadRange => {
                self.discard_large();
                self.begun = None;
                self.tally.restart(index, CHANGED, Error::Server(failure));
            }
            reply => self.refused(index, reply)?,
        }
        self.current = None;
        Ok(())
    }

    /// The answer to the SUM behind a READ.
    pub(super) fn take_sum(&mut self, index: usize) -> Result<(), Stop> {
        let wanted = self.large.as_ref().is_some_and(|large| large.index == index && large.bytes() == large.meta.size);
        if wanted {
            self.current = Some(index);
            self.tally.entered(index, Phase::Verifying);
        }
        let size = self.large.as_ref().map_or(0, |large| large.meta.size);
        match reply_after_work(self.link, Extent::Bytes(size))? {
            Reply::Sum { size, crc, tag } => {
                self.link.settle();
                if wanted {
                    self.compare(index, size, crc, &tag)?;
                }
            }
            Reply::Fail(failure) if !wanted => log::debug!("SUM behind a failed READ: {failure}"),
            Reply::Fail(failure) if failure.code == Code::Changed => {
                self.discard_large();
                self.fail(index, failure);
            }
            reply if wanted => self.refused(index, reply)?,
            reply => return Err(unexpected(reply).into()),
        }
        self.current = None;
        Ok(())
    }

    fn compare(&mut self, index: usize, size: u64, crc: Crc32, tag: &Tag) -> Result<(), Stop> {
        let Some(large) = self.large.as_ref() else { return Ok(()) };
        let whole = large.whole();
        let why = if *tag != large.meta.tag {
            CHANGED
        } else if (whole.bytes(), whole.crc()) != (size, crc) {
            DAMAGED
        } else {
            return self.publish_large();
        };
        let error = Error::Verification(format!(
            "the whole file has {} bytes and the CRC {}, the server's {size} and {crc}",
            whole.bytes(),
            whole.crc()
        ));
        self.discard_large();
        self.begun = None;
        self.tally.restart(index, why, error);
        Ok(())
    }

    /// All has come and is verified.
    fn publish_large(&mut self) -> Result<(), Stop> {
        self.disk.settle();
        self.hear();
        let Some(large) = self.large.take() else { return Ok(()) };
        let index = large.index;
        (self.current, self.begun) = (None, None);
        let published = match self.spoiled.take() {
            None => large.publish(),
            Some(error) => {
                large.discard();
                Err(error)
            }
        };
        match published {
            Ok(moved) => self.tally.done(index, &moved),
            Err(error) => self.tally.failed(index, error),
        }
        Ok(())
    }

    /// Receives a body of `due` bytes behind what is there. False where the file came to another end, which was told.
    fn receive(&mut self, due: u64) -> Result<bool, Stop> {
        let mut left = due;
        loop {
            let line = match self.link.piece()? {
                Piece::Line(line) => BodyLine::parse(line).map_err(Error::violation)?,
                Piece::Raw(_) => return Err(Error::violation("a block where a line is due").into()),
            };
            match line {
                BodyLine::Data(bytes) => {
                    left = left.checked_sub(bytes).ok_or_else(|| Error::violation("more bytes than it announced"))?;
                    self.link.expect_raw(bytes);
                    self.take_block(bytes)?;
                }
                BodyLine::End(Some(crc)) => {
                    if left > 0 {
                        return Err(Error::violation("fewer bytes than it announced").into());
                    }
                    self.link.settle();
                    self.ship_large();
                    return Ok(self.range_is(crc));
                }
                BodyLine::Fail(failure) => {
                    self.link.settle();
                    return self.broke_off(failure).map(|()| false);
                }
                BodyLine::Stop => return Err(Error::violation("STOP from a server").into()),
                BodyLine::End(None) => return Err(Error::violation("a body that ends without a CRC").into()),
            }
        }
    }

    /// The server gives up in the middle.
    fn broke_off(&mut self, failure: ferry_wire::Failure) -> Result<(), Stop> {
        let Some(index) = self.current else { return Ok(()) };
        if is_farewell(failure.code) {
            return Err(Error::Server(failure).into());
        }
        self.ship_large();
        self.disk.settle();
        self.hear();
        if failure.code == Code::Changed || self.spoiled.take().is_some() {
            self.discard_large();
        } else if let Some(mut large) = self.large.take() {
            large.fold();
            large.leave();
        }
        self.fail(index, failure);
        Ok(())
    }

    /// Whether what this connection brought is what the server read; if not, that is told.
    fn range_is(&mut self, crc: Crc32) -> bool {
        let Some(large) = self.large.as_ref() else { return false };
        let (index, came) = (large.index, large.range.crc());
        if came == crc {
            return true;
        }
        self.discard_large();
        self.begun = None;
        let text = format!("the bytes that came have the CRC {came}, the server read {crc}; nothing was kept");
        self.tally.restart(index, DAMAGED_ON_THE_WAY, Error::Verification(text));
        false
    }

    fn take_block(&mut self, bytes: u64) -> Result<(), Stop> {
        let mut left = bytes;
        while left > 0 {
            if self.filling.is_none() {
                let link = &*self.link;
                let mut buffer = self.disk.buffer(&|| link.check_cancel())?;
                self.link.excuse();
                buffer.resize(BUFFER_BYTES, 0);
                self.filling = Some((buffer, 0));
            }
            let (Some((buffer, filled)), Some(large)) = (self.filling.as_mut(), self.large.as_mut()) else {
                return Err(Stop::Unwanted);
            };
            let got = self.link.raw_into(&mut buffer[*filled..])?;
            large.range.update(&buffer[*filled..*filled + got]);
            *filled += got;
            left -= got as u64;
            if *filled == buffer.len() {
                self.ship_large();
                self.after_shipping()?;
            }
        }
        Ok(())
    }

    /// Hands what has come to the disk.
    pub(super) fn ship_large(&mut self) {
        let Some((buffer, filled)) = self.filling.take() else { return };
        let Some(large) = self.large.as_mut() else { return self.disk.give_back(buffer) };
        let path: &Path = &self.files[large.index].target;
        let bytes = large.bytes();
        self.disk.append(large.file(), path, bytes - filled as u64, large.meta.size, buffer, filled);
        if let Sink::Part(part) = &large.sink
            && bytes - large.noted >= CHECKPOINT_BYTES
        {
            large.noted = bytes;
            self.disk.note(part.mark(), path, checkpoint(bytes, large.whole().crc()));
        }
    }

    fn after_shipping(&mut self) -> Result<(), Stop> {
        self.hear();
        let Some(large) = self.large.as_ref() else { return Ok(()) };
        let (index, bytes) = (large.index, large.bytes());
        if let Some(error) = self.spoiled.take() {
            return self.give_up_large(index, error);
        }
        self.tally.progress = true;
        self.tally.moved(index, bytes);
        Ok(())
    }
}
