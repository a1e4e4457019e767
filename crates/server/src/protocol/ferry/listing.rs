//! One directory on its way out: LIST.

use ferry_wire::{Digest, Entry, Failure, Name, Reply, write_end};

use super::{OUTPUT_HIGH_BYTES, operations::Operations, outbox::Outbox, replies::write_blocks};
use crate::store::{Handles, Listed, ReadOperation, StoreError};

/// See the [module documentation](self).
pub(super) struct Listing<H: Handles> {
    state: State<H>,
    digest: Digest,
}

enum State<H: Handles> {
    /// The first entries are awaited: nothing was said yet.
    Opening,
    /// More entries are awaited.
    Loading,
    /// More entries can be asked for.
    More(H::Dir),
    /// All were said.
    Whole,
}

/// How far a listing came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advance {
    /// It waits for the store or for the client.
    Waits,
    /// It has ended.
    Ended,
}

impl<H: Handles> Listing<H> {
    /// Begins.
    pub(super) fn begin(name: Option<Name>, operations: &mut Operations<H>) -> Listing<H> {
        operations.read(ReadOperation::List { name });
        Listing { state: State::Opening, digest: Digest::new() }
    }

    /// Entries have come, or will not.
    pub(super) fn listed(
        &mut self,
        listed: Result<Listed<H::Dir>, StoreError>,
        outbox: &mut Outbox<H::File>,
    ) -> Advance {
        let Listed { entries, more } = match listed {
            Ok(listed) => listed,
            Err(error) => {
                outbox.text(|text| Failure::from(error).encode(text));
                return Advance::Ended;
            }
        };
        let mut lines = Vec::new();
        entries.into_iter().for_each(|entry| Entry::from(entry).encode(&mut lines));
        self.digest.update(&lines);
        outbox.text(|text| {
            if matches!(self.state, State::Opening) {
                Reply::Listing.encode(text);
            }
            write_blocks(text, &lines);
        });
        self.state = more.map_or(State::Whole, State::More);
        Advance::Waits
    }

    /// Takes the next step.
    pub(super) fn settle(&mut self, outbox: &mut Outbox<H::File>, operations: &mut Operations<H>) -> Advance {
        match std::mem::replace(&mut self.state, State::Loading) {
            State::Whole => {
                outbox.text(|text| write_end(text, self.digest.crc()));
                return Advance::Ended;
            }
            State::More(dir) if outbox.bytes() < OUTPUT_HIGH_BYTES => operations.read(ReadOperation::ListMore { dir }),
            state => self.state = state,
        }
        Advance::Waits
    }

    /// Whether the store owes an answer: until then nothing else can be said.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.state, State::Opening | State::Loading)
    }
}
