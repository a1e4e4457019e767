//! What became of an upload that did not come in one piece: the server reads it again as a whole.
//!
//! SAVED tells the CRC that the server ran over what arrived, and of what it had kept since an earlier connection it
//! knows that from a note. Whether its disk still has those bytes, SUM tells. It is asked right behind the body's END, for
//! behind that the next body may begin.

use ferry_wire::{Code, Crc32, Reply, Request, Tag};

use super::{
    super::{Phase, drive::Stop},
    Asked, Round,
};
use crate::error::Error;

/// Why an upload begins anew.
const DAMAGED: &str = "what the server had kept of it is damaged";
const UNREADABLE: &str = "the server cannot read again what it had kept of it";

/// The answer to SUM that is still to come.
#[derive(Debug)]
pub(super) struct Check {
    /// What was published, once that is told.
    pub(super) saved: Option<Tag>,
}

impl Round<'_, '_, '_> {
    /// Asks for the CRC of the whole file, of which the last request is the upload, or was.
    pub(super) fn ask_sum(&mut self, index: usize, size: u64, crc: Crc32, resumed: u64, saved: Option<Tag>) {
        self.link.ask(&Request::Sum { name: self.files[index].name.clone() });
        let check = Some(Check { saved });
        self.asked.push_back(Asked { index, size, crc: Some(crc), resumed, large: true, stopped: None, check });
    }

    /// An upload is published with `tag`. True where SUM has to tell that it is whole, and was asked.
    pub(super) fn is_checked_next(&mut self, index: usize, tag: &Tag) -> bool {
        let Some(Asked { index: next, check: Some(check), .. }) = self.asked.front_mut() else { return false };
        if *next != index {
            return false;
        }
        check.saved = Some(tag.clone());
        self.tally.entered(index, Phase::Verifying);
        true
    }

    /// The answer to SUM.
    pub(super) fn checked(&mut self, asked: &Asked, check: &Check, reply: Reply) -> Result<(), Stop> {
        let Some(saved) = &check.saved else {
            // The upload had failed already. A FAIL has paid its debt itself.
            if matches!(reply, Reply::Sum { .. }) {
                self.link.settle();
            }
            return Ok(());
        };
        match reply {
            Reply::Sum { size, crc, tag } => {
                self.link.settle();
                if tag == *saved && Some(crc) != asked.crc {
                    let error = Error::Verification(format!("the server's file has the CRC {crc} and {size} bytes"));
                    self.begin_anew(asked.index, DAMAGED, error);
                    return Ok(());
                }
                if tag != *saved {
                    log::info!("{} was replaced before it could be looked at", self.files[asked.index].name);
                }
            }
            // Somebody else replaced or removed it meanwhile: what SAVED said is all there is.
            Reply::Fail(failure) if matches!(failure.code, Code::NotFound | Code::NotAFile | Code::Changed) => {
                log::info!("SUM behind an upload: {failure}");
            }
            // As a disk says that lost what was kept. Sent in one piece it need not be looked at.
            Reply::Fail(failure) => {
                self.begin_anew(asked.index, UNREADABLE, Error::Server(failure));
                return Ok(());
            }
            reply => return Err(crate::link::unexpected(reply).into()),
        }
        if let Some(crc) = asked.crc {
            self.saved(asked, asked.size, crc);
        }
        Ok(())
    }

    /// What is published is not known to be what was sent: it is sent again, under a new id.
    fn begin_anew(&mut self, index: usize, why: &str, error: Error) {
        self.forget(index);
        self.begun = self.begun.filter(|begun| *begun != index);
        self.tally.restart(index, why, error);
    }
}
