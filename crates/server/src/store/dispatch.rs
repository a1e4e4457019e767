//! Doing operations: on the loop, as far as nothing waits for a disk, and by helpers.

use std::{
    cell::RefCell,
    sync::{Arc, atomic::Ordering},
};

use ferry_wire::Digest;

use super::{
    Disk, Store,
    error::StoreError,
    names::Batch,
    operation::{
        Chunk, Completion, Form, Loaded, NameCompletion, NameOperation, Opened, Operation, Piece, ReadCompletion,
        ReadOperation, Resumed, Stage, UploadCompletion, UploadOperation,
    },
    read::{HELPER, LOOP, Load, Stop, Wanted},
    root::looked_up,
    shift::Shift,
    upload::Upload,
};

impl Store {
    /// Does what can be done without waiting for a disk; gives back what can't.
    /// The bytes that it read may stand in `scratch`, [`SCRATCH_BYTES`](super::SCRATCH_BYTES) long.
    ///
    /// # Errors
    ///
    /// The operation itself, which is a helper's then.
    pub fn try_now<'s>(
        &self,
        operation: Operation<Disk>,
        scratch: &'s mut [u8],
    ) -> Result<Completion<'s, Disk>, Operation<Disk>> {
        match operation {
            Operation::Read(operation) => {
                self.try_read(operation, scratch).map(Completion::Read).map_err(Operation::Read)
            }
            Operation::Upload(number, UploadOperation::Stage(stage)) => {
                Ok(Completion::Upload(number, UploadCompletion::Staged(Ok(self.stage(stage)))))
            }
            Operation::Upload(number, UploadOperation::Discard { upload }) if upload.is_untouched() => {
                self.discard(&upload);
                Ok(Completion::Upload(number, UploadCompletion::Released))
            }
            operation => Err(operation),
        }
    }

    /// Reads what can be read without waiting for a disk; gives back what can't. On a file system
    /// that is not known to be local there is no such thing as a call that never waits.
    ///
    /// # Errors
    ///
    /// The operation itself, which is a helper's then.
    pub fn try_read<'s>(
        &self,
        mut operation: ReadOperation<Disk>,
        scratch: &'s mut [u8],
    ) -> Result<ReadCompletion<'s, Disk>, ReadOperation<Disk>> {
        if !self.capabilities.local {
            return Err(operation);
        }
        let completion = match &mut operation {
            ReadOperation::Open { name, offset, length, tag, inline } => {
                let (offset, length, inline) = (*offset, *length, *inline);
                let wanted = Wanted { name, offset, length, tag: tag.as_ref(), inline };
                self.fetch(&wanted, LOOP, scratch).map(Ok).or_else(failed).map(ReadCompletion::Opened)
            }
            ReadOperation::Load { file, at, bytes, digest, remembered, form: Form::Cached } => {
                let (range, digest) = (*at..*at + *bytes, digest.as_ref());
                let load = Load { file, range, digest, remembered: *remembered, is_sent: true };
                let loaded = self.load(load, LOOP, scratch, &|| true);
                loaded.map(Ok).or_else(failed).map(ReadCompletion::Loaded)
            }
            ReadOperation::Load { file, at, bytes, digest, form: Form::Bytes(chunk), .. } => {
                let loaded = self.read_range(file, *at..*at + *bytes, digest.as_ref(), LOOP, chunk);
                loaded.map(|read| Ok(appended(std::mem::take(chunk), read))).or_else(failed).map(ReadCompletion::Loaded)
            }
            ReadOperation::Load { file, at, bytes, digest: Some(digest), remembered: true, form: Form::Background } => {
                let known = self.known_range(file, *at..*at + *bytes, digest).ok_or(());
                known.map(|digest| {
                    ReadCompletion::Loaded(Ok(Loaded { piece: Piece::Cached(*bytes), digest: Some(digest) }))
                })
            }
            ReadOperation::Check { file } => Ok(ReadCompletion::Checked(self.check(file))),
            ReadOperation::Stat { name } => self.stat(name, LOOP).map(Ok).or_else(failed).map(ReadCompletion::Found),
            ReadOperation::Load { .. }
            | ReadOperation::Extent { .. }
            | ReadOperation::Probe
            | ReadOperation::Room { .. }
            | ReadOperation::List { .. }
            | ReadOperation::ListMore { .. }
            | ReadOperation::Measure(_) => Err(()),
        };
        completion.map_err(|()| operation)
    }

    /// Reads, waiting for the disk where it must. A long read asks `gets_on` between its pieces,
    /// and stops where that says that nobody waits for it any more.
    pub fn read(
        &self,
        operation: ReadOperation<Disk>,
        scratch: &mut [u8],
        gets_on: &dyn Fn() -> bool,
    ) -> ReadCompletion<'static, Disk> {
        match operation {
            ReadOperation::Open { name, offset, length, tag, inline } => {
                let wanted = Wanted { name: &name, offset, length, tag: tag.as_ref(), inline };
                let fetch = |_| self.fetch(&wanted, HELPER, scratch).map(Opened::into_owned).map_err(Stop::error);
                ReadCompletion::Opened(looked_up(fetch))
            }
            ReadOperation::Load { file, at, bytes, digest, form: Form::Bytes(mut chunk), .. } => {
                let read = self.read_range(&file, at..at + bytes, digest.as_ref(), HELPER, &mut chunk);
                ReadCompletion::Loaded(read.map(|read| appended(chunk, read)).map_err(Stop::error))
            }
            ReadOperation::Load { file, at, bytes, digest, form: Form::Hashed(sha256), .. } => {
                let digest = digest.unwrap_or_default();
                let hashed = self.hash(&file, at..at + bytes, (digest, sha256), scratch, gets_on);
                ReadCompletion::Loaded(hashed.map_err(Stop::error))
            }
            ReadOperation::Load { file, at, bytes, digest, remembered, form } => {
                let (range, digest, is_sent) = (at..at + bytes, digest.as_ref(), matches!(form, Form::Cached));
                let load = Load { file: &file, range, digest, remembered, is_sent };
                ReadCompletion::Loaded(self.load(load, HELPER, scratch, gets_on).map_err(Stop::error))
            }
            ReadOperation::Extent { file, at, end } => ReadCompletion::Laid(self.extent(&file, at..end)),
            ReadOperation::Check { file } => ReadCompletion::Checked(self.check(&file)),
            ReadOperation::Stat { name } => {
                ReadCompletion::Found(looked_up(|_| self.stat(&name, HELPER).map_err(Stop::error)))
            }
            ReadOperation::Probe => ReadCompletion::Probed(self.probe()),
            ReadOperation::Room { owner } => ReadCompletion::RoomFound(self.room(&owner)),
            ReadOperation::List { name } => ReadCompletion::Listed(looked_up(|_| self.list(name.as_ref()))),
            ReadOperation::ListMore { dir } => ReadCompletion::Listed(self.list_more(dir)),
            ReadOperation::Measure(wanted) => ReadCompletion::Measured(self.measure(&wanted)),
        }
    }

    /// Brings an upload further, waiting for the disk where it must. What takes long says by
    /// `gets_on` that it does.
    pub fn advance(&self, operation: UploadOperation<Disk>, gets_on: &dyn Fn() -> bool) -> UploadCompletion<Disk> {
        match operation {
            UploadOperation::Stage(stage) => UploadCompletion::Staged(Ok(self.stage(stage))),
            UploadOperation::Resume(resume) => UploadCompletion::Resumed(self.resume(&resume, gets_on)),
            UploadOperation::Part(part) => UploadCompletion::Staged(self.part(&part)),
            UploadOperation::Write { upload, at, chunk, crc } => {
                UploadCompletion::Written(self.write(&upload, at, chunk, crc))
            }
            UploadOperation::Checkpoint { upload, digest } => {
                UploadCompletion::Checkpointed(self.checkpoint(&upload, &digest))
            }
            UploadOperation::Finish(finish) => UploadCompletion::Finished(self.finish(&finish, gets_on)),
            UploadOperation::Discard { upload } => {
                self.discard(&upload);
                UploadCompletion::Released
            }
            UploadOperation::Keep { upload, tail } => {
                self.keep(&upload, tail);
                UploadCompletion::Released
            }
        }
    }

    /// Makes changes in their order and waits for the disk once for all of them. Returns the
    /// completions in that order.
    pub fn change_names(&self, shift: &mut dyn Shift<NameOperation<Disk>>) -> Vec<NameCompletion> {
        let shift = RefCell::new(shift);
        let gets_on = || shift.borrow().gets_on();
        let mut batch = Batch::new(self, &gets_on);
        loop {
            let Some(operation) = shift.borrow_mut().take_one() else { break };
            batch.make(&operation);
        }
        batch.finish()
    }

    /// Takes the completion of an operation for which nobody waits any more. What it took hold of
    /// is let go; files that it opened are closed by this.
    pub fn forget(&self, completion: Completion<'_, Disk>) {
        match completion {
            Completion::Upload(_, UploadCompletion::Resumed(Ok(Resumed::Going { upload, .. }))) => {
                self.keep(&upload, None);
            }
            Completion::Upload(_, UploadCompletion::Staged(Ok(part))) if part.is_part() => self.discard(&part),
            _ => {}
        }
    }

    pub(super) fn stage(&self, stage: Stage) -> Arc<Upload> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed).to_string();
        Arc::new(Upload::plain(self.stamp.clone(), number, stage))
    }
}

/// Returns the result of a read to the end of `chunk`.
fn appended(chunk: Chunk, (bytes, digest): (u64, Option<Digest>)) -> Loaded {
    Loaded { piece: Piece::Bytes(chunk, bytes), digest }
}

/// Gives an error back as the result of the loop's operation; one that would have to wait has none.
fn failed<T>(stop: Stop<()>) -> Result<Result<T, StoreError>, ()> {
    match stop {
        Stop::Failed(error) => Ok(Err(error)),
        Stop::Cold(()) => Err(()),
    }
}
