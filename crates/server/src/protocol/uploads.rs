//! All uploads of a session that the store has a handle for, by number, and the memory that they
//! hold together.

use std::collections::BTreeMap;

use ferry_wire::Id;

use super::{
    body::Body,
    operations::Operations,
    upload::{Prepared, Upload},
};
use crate::store::{Handles, UploadNumber};

/// See the [module documentation](self).
pub(super) struct Uploads<H: Handles> {
    by_number: BTreeMap<UploadNumber, Box<Upload<H>>>,
    next: u32,
    /// Memory handed to the store and not back yet, in bytes.
    memory: u64,
    /// Uploads whose files the store has open.
    open: u32,
}

impl<H: Handles> Uploads<H> {
    pub(super) fn new() -> Uploads<H> {
        Uploads { by_number: BTreeMap::new(), next: 0, memory: 0, open: 0 }
    }

    /// Returns the number of an upload that begins.
    pub(super) fn number(&mut self) -> UploadNumber {
        let number = UploadNumber(self.next);
        self.next = self.next.wrapping_add(1);
        number
    }

    /// Adds an upload that the store has prepared.
    pub(super) fn insert(&mut self, prepared: Prepared<H::Upload>, now: std::time::Instant) {
        let number = prepared.number;
        let upload = Upload::new(prepared, now);
        self.open += u32::from(upload.is_open());
        let before = self.by_number.insert(number, Box::new(upload));
        assert!(before.is_none(), "a number leads to one upload");
    }

    /// Applies `event` to an upload, and counts its memory anew. [`None`] where it is no more.
    pub(super) fn update<R>(&mut self, number: UploadNumber, event: impl FnOnce(&mut Upload<H>) -> R) -> Option<R> {
        let upload = self.by_number.get_mut(&number)?;
        let (memory, open) = (upload.memory(), upload.is_open());
        let result = event(upload);
        self.memory = self.memory - memory + upload.memory();
        self.open = self.open - u32::from(open) + u32::from(upload.is_open());
        if upload.is_gone() {
            self.by_number.remove(&number);
        }
        debug_assert_eq!(self.memory, self.by_number.values().map(|upload| upload.memory()).sum::<u64>());
        Some(result)
    }

    /// Asks for the name of an upload if it is durable, and says whether it is.
    pub(super) fn publish(&mut self, number: UploadNumber, operations: &mut Operations<H>) -> bool {
        let publish = |upload: &mut Upload<H>| {
            let is_finished = upload.is_finished();
            if is_finished {
                upload.publish(operations);
            }
            is_finished
        };
        self.update(number, publish).unwrap_or(false)
    }

    /// Asks for the names of all uploads that are durable: for a session whose answers have no order of their own.
    pub(super) fn publish_finished(&mut self, operations: &mut Operations<H>) {
        // Asked at each step of a session, which hardly ever has any.
        if self.by_number.is_empty() {
            return;
        }
        let numbers: Vec<_> =
            self.by_number.iter().filter(|(_, upload)| upload.is_finished()).map(|(number, _)| *number).collect();
        for number in numbers {
            self.publish(number, operations);
        }
    }

    pub(super) fn body(&self, number: UploadNumber) -> Option<&Body> {
        self.by_number.get(&number).map(|upload| upload.body())
    }

    pub(super) fn body_mut(&mut self, number: UploadNumber) -> Option<&mut Body> {
        self.by_number.get_mut(&number).map(|upload| upload.body_mut())
    }

    /// Returns whether an upload has this resume id.
    pub(super) fn has_id(&self, number: UploadNumber, id: &Id) -> bool {
        self.by_number.get(&number).is_some_and(|upload| upload.has_id(id))
    }

    /// Returns whether one has this resume id, of which no more comes.
    pub(super) fn lets_go_of(&self, id: &Id) -> bool {
        self.by_number.values().any(|upload| upload.has_id(id) && !upload.is_receiving())
    }

    /// Returns whether parts may have the rest of an upload.
    pub(super) fn may_be_joined(&self, number: UploadNumber) -> bool {
        self.by_number.get(&number).is_some_and(|upload| upload.may_be_joined())
    }

    /// Takes the news of how much is kept of an upload whose size is not known.
    pub(super) fn take_news(&mut self, number: UploadNumber) -> Option<u64> {
        self.by_number.get_mut(&number)?.take_news()
    }

    /// Returns whether there are soon news of an upload whose size is not known.
    pub(super) fn makes_news(&self, number: UploadNumber) -> bool {
        self.by_number.get(&number).is_some_and(|upload| upload.makes_news())
    }

    /// Returns whether an upload was resumed, and none of its bytes have come on this connection yet.
    pub(super) fn is_ahead(&self, number: UploadNumber) -> bool {
        self.by_number.get(&number).is_some_and(|upload| upload.is_ahead())
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Returns the memory handed to the store and not back yet, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// Uploads whose files the store has open.
    pub(super) fn open(&self) -> u32 {
        self.open
    }

    /// Gives the memory of an empty map back.
    pub(super) fn rest(&mut self) {
        if self.by_number.is_empty() {
            assert_eq!((self.memory, self.open), (0, 0), "something is held by no upload");
            self.by_number = BTreeMap::new();
        }
    }
}
