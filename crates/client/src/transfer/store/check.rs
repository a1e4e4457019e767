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
const REPLACED: &str = "the server has something else under its name by now";
const GONE: &str = "the server does not have it any more";

/// The answer to SUM that is still to come.
#[derive(Debug)]
pub(super) struct Check {
    /// What was published, once that is told.
    pub(super) saved: Option<Tag>,
    /// It was published before this connection: SAVED speaks of that moment, and what became of it since only SUM tells.
    is_past: bool,
}

impl Round<'_, '_, '_> {
    /// Asks for the CRC of the whole file, of which the last request is the upload, or was. With `saved`, the server
    /// has told already that it was published, at some time before.
    pub(super) fn ask_sum(&mut self, index: usize, size: u64, crc: Crc32, resumed: u64, saved: Option<Tag>) {
        self.link.ask(&Request::Sum { name: self.files[index].name.clone() });
        let check = Some(Check { is_past: saved.is_some(), saved });
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
        let index = asked.index;
        match reply {
            Reply::Sum { size, crc, tag } => {
                self.link.settle();
                let is_same = (size, Some(crc)) == (asked.size, asked.crc);
                if !is_same && (check.is_past || tag == *saved) {
                    let why = if tag == *saved { DAMAGED } else { REPLACED };
                    let error = Error::Verification(format!("the server's file has the CRC {crc} and {size} bytes"));
                    self.begin_anew(index, why, error);
                    return Ok(());
                }
                if !is_same {
                    log::info!("{} was replaced before it could be looked at", self.files[index].name);
                }
            }
            Reply::Fail(failure) if is_somebody_elses(failure.code) && check.is_past => {
                let why = if failure.code == Code::NotFound { GONE } else { REPLACED };
                self.begin_anew(index, why, Error::Server(failure));
                return Ok(());
            }
            // Somebody else replaced or removed it right behind our END: what SAVED said is all there is.
            Reply::Fail(failure) if is_somebody_elses(failure.code) => log::info!("SUM behind an upload: {failure}"),
            // As a disk says that lost what was kept. Sent in one piece it need not be looked at.
            Reply::Fail(failure) => {
                self.begin_anew(index, UNREADABLE, Error::Server(failure));
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

/// Whether a FAIL to SUM says that somebody else replaced or removed the file.
fn is_somebody_elses(code: Code) -> bool {
    matches!(code, Code::NotFound | Code::NotAFile | Code::Changed)
}
