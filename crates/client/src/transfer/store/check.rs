//! Checks an upload that did not come in one piece: the server reads it again as a whole.
//!
//! SAVED tells the CRC that the server ran over what arrived, and of what it had kept since an earlier connection it
//! knows that from a note. Whether its disk still has those bytes, SUM tells. It is asked right after the body's END, for
//! after that the next body may begin.

use ferry_wire::{Code, Crc32, Failure, Reply, Request, Tag};

use super::{super::drive::Stop, Kind, Round, Sent};
use crate::{
    conversation::requests::{self, Sum},
    error::Error,
};

/// Why an upload begins anew.
const DAMAGED: &str = "what the server had kept of it is damaged";
const UNREADABLE: &str = "the server cannot read again what it had kept of it";
const REPLACED: &str = "the server has something else under its name by now";
const GONE: &str = "the server does not have it any more";

impl Round<'_, '_, '_, '_> {
    /// Asks for the CRC of a whole file that was sent, or where it `is_past` published some time before this
    /// connection: what became of it since, only SUM tells.
    pub(super) fn ask_sum(&mut self, index: usize, (size, crc): (u64, Crc32), resumed: u64, is_past: bool) {
        let request = Request::Sum { name: self.files.name(index).clone() };
        self.exchange.ask(&request, Sent { index, size, crc, resumed, kind: Kind::Look { is_past } });
        self.exchange.push();
    }

    /// The answer to SUM.
    pub(super) fn looked(&mut self, sent: &Sent, is_past: bool, reply: Reply) -> Result<(), Stop> {
        let sum = requests::to_sum(reply);
        // Where nothing is published, the upload had failed already.
        let saved = self.published.take_if(|published| published.0 == sent.index).map(|(_, tag)| tag);
        match (sum, saved) {
            (Err(Error::Server(_)) | Ok(_), None) => {}
            (Ok(sum), Some(saved)) => self.compare_sum(sent, is_past, sum, saved),
            (Err(Error::Server(failure)), Some(saved)) => self.not_summed(sent, is_past, failure, saved),
            (Err(error), _) => return Err(error.into()),
        }
        Ok(())
    }

    fn compare_sum(&mut self, sent: &Sent, is_past: bool, sum: Sum, saved: Tag) {
        if (sum.size, sum.crc) == (sent.size, sent.crc) {
            self.saved(sent, sent.size, sent.crc, sum.tag);
        } else if is_past || sum.tag == saved {
            let why = if sum.tag == saved { DAMAGED } else { REPLACED };
            let error =
                Error::Verification(format!("the server's file has the CRC {} and {} bytes", sum.crc, sum.size));
            self.begin_anew(sent.index, is_past, why, error);
        } else {
            log::info!("{} was replaced before it could be looked at", self.files.name(sent.index));
            self.saved(sent, sent.size, sent.crc, saved);
        }
    }

    fn not_summed(&mut self, sent: &Sent, is_past: bool, failure: Failure, saved: Tag) {
        let is_somebody_elses = matches!(failure.code, Code::NotFound | Code::NotAFile | Code::Changed);
        if failure.code == Code::Denied {
            // Who may only add, and not read, has the word of SAVED alone.
            log::info!("SUM after an upload: {failure}");
            self.saved(sent, sent.size, sent.crc, saved);
        } else if !is_somebody_elses {
            // As a disk says that lost what was kept. Sent in one piece it need not be looked at.
            self.begin_anew(sent.index, false, UNREADABLE, Error::Server(failure));
        } else if is_past {
            let why = if failure.code == Code::NotFound { GONE } else { REPLACED };
            self.begin_anew(sent.index, true, why, Error::Server(failure));
        } else {
            // Somebody else replaced or removed it right after our END: what SAVED said is all there is.
            log::info!("SUM after an upload: {failure}");
            self.saved(sent, sent.size, sent.crc, saved);
        }
    }

    /// Sends a file again, under a new id: the published one is not known to be the one that was sent.
    fn begin_anew(&mut self, index: usize, is_past: bool, why: &str, error: Error) {
        self.forget(index);
        if is_past && self.hand.is_alone() && !self.common.past().goes_without_ids() {
            // The caller's id stands for what was published once: what is sent now has nothing to do with it.
            self.common.past().go_without_ids();
            self.hand.again(index, why);
        } else {
            self.hand.restart(index, why, error);
        }
    }
}
