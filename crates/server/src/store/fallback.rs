//! Completions of operations that were lost on their way.

use std::fmt;

use super::{
    error::{ErrorKind, StoreError},
    operation::{
        ChangeNumber, Completion, Handles, NameCompletion, NameOperation, Operation, ReadCompletion, ReadOperation,
        UploadCompletion, UploadNumber, UploadOperation,
    },
};

/// Makes the completion of an operation that was lost on its way: a helper panicked, or nobody
/// waits any more.
pub struct Fallback<H: Handles> {
    number: u32,
    /// It takes effect all the same where it is only late.
    is_change: bool,
    make: fn(u32, StoreError) -> Completion<'static, H>,
}

impl<H: Handles> fmt::Debug for Fallback<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<H: Handles> Fallback<H> {
    /// Returns what makes a completion of the `Finish` of an upload.
    pub(super) fn of_finish(UploadNumber(number): UploadNumber) -> Fallback<H> {
        let make = |number, error| Completion::Upload(UploadNumber(number), UploadCompletion::Finished(Err(error)));
        Fallback { number, is_change: false, make }
    }

    /// Returns the completion of an operation that was begun, and that the file system does not
    /// answer.
    #[must_use]
    pub fn unanswered(&self) -> Completion<'static, H> {
        self.failed(StoreError::of(if self.is_change { ErrorKind::MayBeMade } else { ErrorKind::NoAnswer }))
    }

    /// Returns the completion that says `error`.
    #[must_use]
    pub fn failed(&self, error: StoreError) -> Completion<'static, H> {
        (self.make)(self.number, error)
    }
}

impl<H: Handles> Operation<H> {
    /// Returns what makes a completion of this operation, should it be lost.
    #[must_use]
    pub fn fallback(&self) -> Fallback<H> {
        match self {
            Operation::Read(operation) => operation.fallback(),
            Operation::Upload(number, operation) => operation.fallback(*number),
            Operation::Name(operation) => operation.fallback(),
        }
    }
}

impl<H: Handles> ReadOperation<H> {
    /// Returns what makes a completion of this operation, should it be lost.
    #[must_use]
    pub fn fallback(&self) -> Fallback<H> {
        use {Completion::Read, ReadCompletion::*};
        let make = match self {
            ReadOperation::Open { .. } => |_, error| Read(Opened(Err(error))),
            ReadOperation::Load { .. } => |_, error| Read(Loaded(Err(error))),
            ReadOperation::Extent { .. } => |_, error| Read(Laid(Err(error))),
            ReadOperation::Check { .. } => |_, error| Read(Checked(Err(error))),
            ReadOperation::Stat { .. } => |_, error| Read(Found(Err(error))),
            ReadOperation::Probe => |_, error| Read(Probed(Err(error))),
            ReadOperation::Room { .. } => |_, error| Read(RoomFound(Err(error))),
            ReadOperation::List { .. } | ReadOperation::ListMore { .. } => |_, error| Read(Listed(Err(error))),
            ReadOperation::Measure(_) => |_, error| Read(Measured(Err(error))),
        };
        Fallback { number: 0, is_change: false, make }
    }
}

impl<H: Handles> UploadOperation<H> {
    /// Returns what makes a completion of this operation, should it be lost.
    #[must_use]
    pub fn fallback(&self, number: UploadNumber) -> Fallback<H> {
        use {Completion::Upload, UploadCompletion::*};
        let make = match self {
            UploadOperation::Stage(_) | UploadOperation::Part(_) => {
                |number, error| Upload(UploadNumber(number), Staged(Err(error)))
            }
            UploadOperation::Resume(_) => |number, error| Upload(UploadNumber(number), Resumed(Err(error))),
            UploadOperation::Write { .. } => |number, error| Upload(UploadNumber(number), Written(Err(error))),
            UploadOperation::Checkpoint { .. } => {
                |number, error| Upload(UploadNumber(number), Checkpointed(Err(error)))
            }
            UploadOperation::Finish(_) => return Fallback::of_finish(number),
            UploadOperation::Discard { .. } | UploadOperation::Keep { .. } => {
                |number, _| Upload(UploadNumber(number), Released)
            }
        };
        Fallback { number: number.0, is_change: false, make }
    }
}

impl<H: Handles> NameOperation<H> {
    /// Returns what makes a completion of this operation, should it be lost.
    #[must_use]
    pub fn fallback(&self) -> Fallback<H> {
        use {Completion::Name, NameCompletion::*};
        let is_change = true;
        match self {
            NameOperation::Publish(UploadNumber(number), ..) => {
                let make = |number, error| Name(Published(UploadNumber(number), Err(error)));
                Fallback { number: *number, is_change, make }
            }
            NameOperation::Change(ChangeNumber(number), _) => {
                let make = |number, error| Name(Changed(ChangeNumber(number), Err(error)));
                Fallback { number: *number, is_change, make }
            }
        }
    }
}
