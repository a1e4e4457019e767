//! Memory that the sessions of one loop use in turn.

use std::{collections::VecDeque, fmt};

use super::{Record, operations::Operations, outbox::Backlog};
use crate::store::{Handles, Operation};

/// Entries of a queue for which memory is kept: as many requests as a turn takes up.
const SPARE_ENTRIES: usize = 64;

/// Memory of queues that are empty: [lent](super::Session::lend) to a session for its turn, and given back by
/// whichever [rests](super::Session::rest). So an idle client owns none, and a busy one need not ask the
/// system for it again and again.
pub struct Spares<H: Handles> {
    pub(super) output: Option<Box<Backlog<H::File>>>,
    operations: VecDeque<Operation<H>>,
    records: Vec<Record>,
}

impl<H: Handles> Spares<H> {
    /// Returns one that has no memory yet.
    #[must_use]
    pub fn new() -> Spares<H> {
        Spares { output: None, operations: VecDeque::new(), records: Vec::new() }
    }

    /// Lends memory to queues that have none.
    pub(super) fn lend(&mut self, operations: &mut Operations<H>, records: &mut Vec<Record>) {
        operations.lend(&mut self.operations);
        if records.capacity() == 0 {
            std::mem::swap(records, &mut self.records);
        }
    }

    /// Takes the memory of queues that are empty.
    pub(super) fn take(&mut self, operations: &mut Operations<H>, records: &mut Vec<Record>) {
        if let Some(memory) = operations.rest().filter(|memory| memory.capacity() <= SPARE_ENTRIES) {
            self.operations = memory;
        }
        if records.is_empty() && records.capacity() > 0 {
            let memory = std::mem::take(records);
            if memory.capacity() <= SPARE_ENTRIES {
                self.records = memory;
            }
        }
    }
}

impl<H: Handles> Default for Spares<H> {
    fn default() -> Self {
        Spares::new()
    }
}

impl<H: Handles> fmt::Debug for Spares<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spares")
    }
}
