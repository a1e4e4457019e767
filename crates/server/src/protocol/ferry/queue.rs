//! Requests that change, in the order in which they came, until they are answered.
//!
//! They are handed on in that order, without waiting for each other, and answered in it. The
//! entries are numbered: the store's completions come back with a number that leads to the entry at
//! once.

use std::{collections::VecDeque, time::Instant};

use ferry_wire::{Failure, Reply};

use crate::protocol::{
    operations::Operations,
    record::{Record, Transfer},
    upload::Place,
};
use crate::store::{Change, ChangeNumber, Handles, NameOperation, StoreError, UploadNumber};

/// See the [module documentation](self).
#[derive(Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u32,
    /// So many from the front were handed on to the store, or are answered.
    handed_on: u32,
}

enum Entry {
    /// The reply, waiting for those before it.
    Answered(Reply),
    /// A change that waits for uploads before it to be handed on.
    Due(Change, Transfer),
    /// A change under way.
    Changing(Transfer),
    /// An upload whose body is whole.
    Upload(UploadNumber),
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds the reply to a request that needs no more.
    pub(super) fn push_reply(&mut self, reply: Reply) {
        self.entries.push_back(Entry::Answered(reply));
    }

    /// Adds a change.
    pub(super) fn push_change(&mut self, change: Change, now: Instant) {
        let transfer = Transfer::change(&change, now);
        self.entries.push_back(Entry::Due(change, transfer));
    }

    /// Adds an upload whose body is whole.
    pub(super) fn push_upload(&mut self, number: UploadNumber) -> Place {
        self.entries.push_back(Entry::Upload(number));
        Place(self.first.wrapping_add(self.entries.len() as u32 - 1))
    }

    fn entry(&mut self, number: u32) -> &mut Entry {
        let index = number.wrapping_sub(self.first) as usize;
        assert!(index < self.entries.len(), "what is answered already");
        &mut self.entries[index]
    }

    /// Answers an upload.
    pub(super) fn answer(&mut self, Place(place): Place, reply: Reply) {
        let entry = self.entry(place);
        assert!(matches!(entry, Entry::Upload(_)), "an upload is answered once");
        *entry = Entry::Answered(reply);
    }

    /// Takes the completion of a change.
    pub(super) fn changed(
        &mut self,
        ChangeNumber(number): ChangeNumber,
        result: Result<(), StoreError>,
        now: Instant,
    ) -> Option<Record> {
        let failure = result.err().map(Failure::from);
        let reply = failure.clone().map_or(Reply::Done, Reply::Fail);
        match std::mem::replace(self.entry(number), Entry::Answered(reply)) {
            Entry::Changing(transfer) => Some(transfer.ended(now, failure)),
            _ => None,
        }
    }

    /// Hands on the changes that are due, in order: `publish` asks for the name of an upload that
    /// is durable, and says whether it is.
    pub(super) fn hand_on<H: Handles>(
        &mut self,
        operations: &mut Operations<H>,
        mut publish: impl FnMut(UploadNumber, &mut Operations<H>) -> bool,
    ) {
        while let Some(entry) = self.entries.get_mut(self.handed_on as usize) {
            match entry {
                Entry::Answered(_) | Entry::Changing(_) => {}
                Entry::Due(change, transfer) => {
                    let number = ChangeNumber(self.first.wrapping_add(self.handed_on));
                    let (change, transfer) = (change.clone(), transfer.clone());
                    *entry = Entry::Changing(transfer);
                    operations.name(NameOperation::Change(number, change));
                }
                Entry::Upload(number) => {
                    if !publish(*number, operations) {
                        return;
                    }
                }
            }
            self.handed_on += 1;
        }
    }

    /// Takes the reply at the front, if that is known.
    pub(super) fn pop_reply(&mut self) -> Option<Reply> {
        match self.entries.pop_front()? {
            Entry::Answered(reply) => {
                self.first = self.first.wrapping_add(1);
                self.handed_on = self.handed_on.saturating_sub(1);
                Some(reply)
            }
            entry => {
                self.entries.push_front(entry);
                None
            }
        }
    }

    /// Gives the memory of an empty queue back.
    pub(super) fn rest(&mut self) {
        if self.entries.is_empty() && self.entries.capacity() > 0 {
            self.entries = VecDeque::new();
        }
    }
}
