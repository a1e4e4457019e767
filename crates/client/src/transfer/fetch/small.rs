//! Small downloads: wholly in memory and verified before the disk is touched.

use ferry_wire::{Digest, FileMeta};

use super::{
    super::{
        Moved,
        disk::{BATCH_FILES, BUFFER_BYTES, SmallDownload},
        drive::Stop,
        retry::is_farewell,
    },
    DAMAGED_ON_THE_WAY, Round,
};
use crate::{conversation::Next, error::Error};

impl Round<'_, '_, '_, '_> {
    pub(super) fn take_small(&mut self, index: usize, meta: FileMeta) -> Result<(), Stop> {
        if self.hand.is_stopped() {
            while let Next::Bytes(_) | Next::Hole(_) = self.exchange.piece()? {}
            self.hand.untried(index);
            return Ok(());
        }
        if !self.hand.has(index) {
            // Another connection has it by now: this one did not move.
            while let Next::Bytes(_) | Next::Hole(_) = self.exchange.piece()? {}
            return Ok(());
        }
        self.hand.begun(index, meta.size, 0);
        if self.batch.bytes.capacity() == 0 {
            let exchange = &self.exchange;
            self.batch.bytes = self.disk.buffer(&|| exchange.check_cancel())?;
            self.batch.bytes.clear();
        }
        let start = self.batch.bytes.len();
        match self.receive_small(index) {
            Ok(body) => {
                let (target, end) = (&self.files[index].target, self.batch.bytes.len());
                let given = self.settings.permissions.given(&meta);
                let moved = Moved { size: body.bytes(), crc: body.crc(), tag: meta.tag, resumed: 0 };
                self.batch.files.push(SmallDownload { index, target, given, moved, end });
                self.ship_if_due();
                Ok(())
            }
            Err(error) => {
                self.batch.bytes.truncate(start);
                self.small_failed(index, error)
            }
        }
    }

    /// Appends a body to the batch.
    fn receive_small(&mut self, index: usize) -> Result<Digest, Error> {
        loop {
            match self.exchange.piece()? {
                Next::Bytes(piece) => {
                    self.batch.bytes.extend_from_slice(piece);
                    let (bytes, slow) = (self.exchange.received().bytes(), self.exchange.link().is_limited());
                    self.hand.came(index, bytes, slow);
                    self.tick();
                }
                Next::Hole(zeros) => {
                    // No more than the file has, which is small.
                    let end = self.batch.bytes.len() + usize::try_from(zeros).unwrap_or(0);
                    self.batch.bytes.resize(end, 0);
                }
                Next::End(body) => return Ok(body),
            }
        }
    }

    fn small_failed(&mut self, index: usize, error: Error) -> Result<(), Stop> {
        match error {
            Error::Server(failure) if !is_farewell(failure.code) => self.fail(index, failure),
            Error::Verification(_) => {
                self.restart_damaged(index, DAMAGED_ON_THE_WAY, error);
            }
            error => return Err(error.into()),
        }
        Ok(())
    }

    /// Hands what has come to the disk if it is enough, or if neither the disk nor this thread has anything else to do.
    fn ship_if_due(&mut self) {
        let full = self.batch.bytes.len() >= BUFFER_BYTES || self.batch.files.len() >= BATCH_FILES;
        if full || (self.exchange.link().input().is_empty() && self.disk.is_idle()) {
            self.ship();
        }
    }

    /// Hands over what has come.
    pub(super) fn ship(&mut self) {
        if !self.batch.files.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.disk.publish(batch);
        }
    }
}
