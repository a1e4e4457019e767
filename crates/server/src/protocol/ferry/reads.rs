//! Requests that read, and the completions that they wait for.

use std::time::Instant;

use ferry_wire::{Name, Reply, Tag, TellsModes};

use super::{
    FerrySession, Phase,
    download::{self, Download, Manner, Purpose},
    listing,
    record::Transfer,
    replies,
};
use crate::store::{Handles, ReadCompletion, ReadOperation, Status, StoreError};

/// Ranges up to this size are copied into the reply; above it, sendfile saves more than it costs.
const INLINE_BYTES: u64 = 64 << 10;

/// The range of a file that a request is for.
pub(super) struct Range {
    pub(super) name: Name,
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
    pub(super) tag: Option<Tag>,
    /// Its CRC is to be that of bytes that are read for it.
    pub(super) reads: bool,
    /// Whether the permissions of the file are told.
    pub(super) tells: TellsModes,
    /// Its holes are not sent.
    pub(super) leaves_holes: bool,
}

impl Range {
    pub(super) fn whole(name: Name, reads: bool) -> Range {
        Range { name, offset: 0, length: None, tag: None, reads, tells: TellsModes::No, leaves_holes: false }
    }
}

impl<H: Handles> FerrySession<H> {
    pub(super) fn start_download(&mut self, purpose: Purpose, verb: &'static str, range: Range, now: Instant) {
        debug_assert!(self.queue.is_empty(), "a request reads before those in front of it are answered");
        let Range { name, offset, length, tag, reads, tells, leaves_holes } = range;
        let transfer = Transfer { resumed: offset, ..Transfer::new(verb, &name, now) };
        // What comes with the answer may be of a cache.
        let inline = if reads { 0 } else { INLINE_BYTES };
        let open = ReadOperation::Open { name, offset, length, tag, inline };
        let manner = Manner { as_bytes: self.as_bytes, reads, tells, leaves_holes };
        let download = Download::begin(purpose, open, manner, transfer, &mut self.operations);
        self.phase = Phase::Downloading(Box::new(download));
    }

    /// Takes a completion to the request that reads. On a connection that is gone there is none.
    pub(super) fn read_completed(&mut self, completion: ReadCompletion<'_, H>, now: Instant) {
        match completion {
            ReadCompletion::Found(found) => self.found(found, now),
            ReadCompletion::RoomFound(room) => self.looked_up(room.map(Reply::from), now),
            ReadCompletion::Probed(probed) => self.probed(probed, now),
            ReadCompletion::Listed(listed) => {
                if let Phase::Listing(listing) = &mut self.phase
                    && listing.listed(listed, &mut self.outbox) == listing::Advance::Ended
                {
                    self.phase = Phase::Ready;
                }
            }
            ReadCompletion::Opened(opened) => {
                if let Phase::Downloading(download) = &mut self.phase {
                    download.opened(opened, &mut self.outbox);
                }
            }
            ReadCompletion::Loaded(loaded) => {
                if let Phase::Downloading(download) = &mut self.phase {
                    download.loaded(loaded, &mut self.outbox);
                }
            }
            ReadCompletion::Laid(laid) => {
                if let Phase::Downloading(download) = &mut self.phase {
                    download.laid(laid, &mut self.outbox);
                }
            }
            ReadCompletion::Checked(checked) => {
                if let Phase::Downloading(download) = &mut self.phase {
                    download.checked(checked);
                }
            }
            // Nothing here asks for that.
            ReadCompletion::Measured(_) => {}
        }
    }

    fn found(&mut self, found: Result<Status, StoreError>, now: Instant) {
        if let Phase::Looking { tells } = self.phase {
            self.looked_up(found.map(|status| replies::found(status, tells)), now);
        }
    }

    fn looked_up(&mut self, reply: Result<Reply, StoreError>, now: Instant) {
        if !matches!(self.phase, Phase::Looking { .. }) {
            return;
        }
        self.phase = Phase::Ready;
        match self.take_due() {
            Some(failure) => self.break_off(failure, now),
            None => self.reply(reply.unwrap_or_else(|error| Reply::Fail(error.into()))),
        }
    }

    /// Takes the next step of a download; false where it must wait.
    pub(super) fn settle_download(&mut self, now: Instant) -> bool {
        let Phase::Downloading(download) = &mut self.phase else { return false };
        let download::Advance::Ended(failure) = download.settle(&mut self.outbox, &mut self.operations) else {
            return false;
        };
        let told = failure.is_some() && self.take_due().is_some();
        let next = if told { Phase::Closing } else { Phase::Ready };
        if let Phase::Downloading(download) = std::mem::replace(&mut self.phase, next) {
            self.record(download.into_transfer(), failure, now);
        }
        true
    }

    /// Takes the next step of a listing; false where it must wait.
    pub(super) fn settle_listing(&mut self) -> bool {
        let Phase::Listing(listing) = &mut self.phase else { return false };
        if !listing.is_awaited()
            && let Some(last) = self.last_reply.take_if(|last| last.is_due())
        {
            self.outbox.text(|text| last.into_failure().encode(text));
            self.phase = Phase::Closing;
            return true;
        }
        let ended = listing.settle(&mut self.outbox, &mut self.operations) == listing::Advance::Ended;
        if ended {
            self.phase = Phase::Ready;
        }
        ended
    }
}
