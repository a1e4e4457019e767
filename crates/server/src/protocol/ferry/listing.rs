//! One directory on its way out: LIST.

use std::sync::Arc;

use ferry_wire::{Digest, Failure, Name, Reply, TellsModes, write_end};

use super::{
    OUTPUT_HIGH_BYTES,
    operations::Operations,
    outbox::Outbox,
    replies::{entry, write_blocks},
};
use crate::{
    access::RightsTable,
    store::{DirEntry, Handles, Listed, ReadOperation, StoreError},
};

/// See the [module documentation](self).
pub(super) struct Listing<H: Handles> {
    state: State<H>,
    /// The rights by which entries are shown, as they were when it began; [`None`] where all are.
    filter: Option<(Arc<RightsTable>, Option<Name>)>,
    /// Whether permissions are told.
    tells: TellsModes,
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
    pub(super) fn begin(
        name: Option<Name>,
        tells: TellsModes,
        rights: &Arc<RightsTable>,
        operations: &mut Operations<H>,
    ) -> Listing<H> {
        let is_whole = rights.at(name.as_ref()).shows_all();
        let filter = (!is_whole).then(|| (rights.clone(), name.clone()));
        operations.read(ReadOperation::List { name });
        Listing { state: State::Opening, filter, tells, digest: Digest::new() }
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
        let place = self.filter.as_ref().map(|(rights, name)| rights.at(name.as_ref()));
        let is_shown = |entry: &DirEntry| place.is_none_or(|place| place.shows(entry.name.as_str()));
        entries.into_iter().filter(is_shown).for_each(|shown| entry(shown, self.tells).encode(&mut lines));
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

    /// Returns whether the store owes an answer: until then nothing else can be said.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.state, State::Opening | State::Loading)
    }
}
