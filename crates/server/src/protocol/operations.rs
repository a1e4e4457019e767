//! Operations on their way from a session to the store.

use std::collections::VecDeque;

use crate::store::{Handles, NameOperation, Operation, ReadOperation, UploadNumber, UploadOperation};

/// The operations that a session asked for.
pub(super) struct Operations<H: Handles> {
    /// Those that were not taken yet.
    queue: VecDeque<Operation<H>>,
    /// Those that have not ended, in the queue or not.
    under_way: u32,
    /// A look at the root is among them, whether a HEALTH still waits for it or not.
    is_probing: bool,
}

impl<H: Handles> Operations<H> {
    pub(super) fn new() -> Operations<H> {
        Operations { queue: VecDeque::new(), under_way: 0, is_probing: false }
    }

    pub(super) fn read(&mut self, operation: ReadOperation<H>) {
        self.push(Operation::Read(operation));
    }

    /// Asks for a look at the root, unless one is under way.
    pub(super) fn probe(&mut self) {
        if !std::mem::replace(&mut self.is_probing, true) {
            self.read(ReadOperation::Probe);
        }
    }

    /// The look at the root has ended.
    pub(super) fn probed(&mut self) {
        self.is_probing = false;
    }

    pub(super) fn upload(&mut self, number: UploadNumber, operation: UploadOperation<H>) {
        self.push(Operation::Upload(number, operation));
    }

    pub(super) fn name(&mut self, operation: NameOperation<H>) {
        self.push(Operation::Name(operation));
    }

    fn push(&mut self, operation: Operation<H>) {
        self.under_way += 1;
        self.queue.push_back(operation);
    }

    pub(super) fn next(&mut self) -> Option<Operation<H>> {
        self.queue.pop_front()
    }

    /// One has ended.
    pub(super) fn ended(&mut self) {
        assert!(self.under_way as usize > self.queue.len(), "a completion of what was not asked for");
        self.under_way -= 1;
    }

    pub(super) fn under_way(&self) -> u32 {
        self.under_way
    }

    /// Takes memory for the queue, unless it has some.
    pub(super) fn lend(&mut self, memory: &mut VecDeque<Operation<H>>) {
        if self.queue.capacity() == 0 {
            std::mem::swap(&mut self.queue, memory);
        }
    }

    /// Gives the memory of the queue back, where it is empty and has some.
    pub(super) fn rest(&mut self) -> Option<VecDeque<Operation<H>>> {
        (self.queue.is_empty() && self.queue.capacity() > 0).then(|| std::mem::take(&mut self.queue))
    }
}
