//! Small downloads: wholly in memory and verified before the disk is touched.

use ferry_wire::FileMeta;

use super::{
    super::{
        disk::{BATCH_FILES, BUFFER_BYTES, Small},
        drive::{Stop, is_farewell},
    },
    DAMAGED_ON_THE_WAY, Round,
};
use crate::{error::Error, requests::receive_body};

impl Round<'_, '_, '_> {
    pub(super) fn take_small(&mut self, index: usize, meta: FileMeta) -> Result<(), Stop> {
        if self.tally.stopped {
            receive_body(self.link, Some(meta.size), |_, _| Ok(()))?;
            self.tally.report.untried += 1;
            return Ok(());
        }
        self.begin(index, &meta, 0);
        if self.batch.bytes.capacity() == 0 {
            let link = &*self.link;
            self.batch.bytes = self.disk.buffer(&|| link.check_cancel())?;
            self.batch.bytes.clear();
        }
        let bytes = &mut self.batch.bytes;
        let start = bytes.len();
        let received = receive_body(self.link, Some(meta.size), |piece, _| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        match received {
            Ok(check) => {
                let (target, end) = (&self.files[index].target, bytes.len());
                self.batch.files.push(Small { index, target, mtime: meta.mtime, crc: check.crc(), end });
                self.begun = None;
                self.ship_if_due();
                Ok(())
            }
            Err(error) => {
                bytes.truncate(start);
                self.small_failed(index, error)
            }
        }
    }

    fn small_failed(&mut self, index: usize, error: Error) -> Result<(), Stop> {
        match error {
            Error::Server(failure) if !is_farewell(failure.code) => self.fail(index, failure),
            Error::Verification(_) => {
                self.begun = None;
                self.tally.restart(index, DAMAGED_ON_THE_WAY, error);
            }
            error => return Err(error.into()),
        }
        Ok(())
    }

    /// Hands what has come to the disk if it is enough, or if neither the disk nor this thread has anything else to do.
    fn ship_if_due(&mut self) {
        let full = self.batch.bytes.len() >= BUFFER_BYTES || self.batch.files.len() >= BATCH_FILES;
        if full || (self.link.pending().is_empty() && self.disk.is_idle()) {
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
