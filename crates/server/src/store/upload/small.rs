//! Finishing small plain uploads together: each is written at once, and all of them wait for the disk once.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::{
    super::{
        Disk, Store,
        error::StoreError,
        fallback::Fallback,
        operation::{Finish, UploadNumber},
        shift::Shift,
    },
    Parents,
};

/// An upload up to this size is finished together with others.
const SMALL_BYTES: usize = 64 << 10;

/// The end of a plain upload that is finished with its only chunk, a small one: several of them
/// wait for the disk [together](Store::finish_small).
#[derive(Debug)]
pub struct SmallFinish {
    number: UploadNumber,
    finish: Finish<Disk>,
}

impl SmallFinish {
    /// Returns the number of the upload.
    #[must_use]
    pub fn number(&self) -> UploadNumber {
        self.number
    }

    /// Returns what makes a completion of it, should it be lost.
    #[must_use]
    pub fn fallback(&self) -> Fallback<Disk> {
        Fallback::of_finish(self.number)
    }

    /// Takes `finish` where it is a small upload's, and gives it back where it is not.
    ///
    /// # Errors
    ///
    /// `finish` itself.
    pub fn new(number: UploadNumber, finish: Finish<Disk>) -> Result<SmallFinish, Finish<Disk>> {
        let is_small = finish.at == 0
            && finish.chunk.filled <= SMALL_BYTES
            && finish.chunk.hole == 0
            && finish.upload.id().is_none()
            && !finish.upload.is_part();
        if is_small { Ok(SmallFinish { number, finish }) } else { Err(finish) }
    }
}

impl Store {
    /// Finishes several small uploads, waiting for the disk once for all of them. Returns the
    /// results in their order.
    pub fn finish_small(&self, shift: &mut dyn Shift<SmallFinish>) -> Vec<(UploadNumber, Result<(), StoreError>)> {
        let mut parents = Parents::default();
        let (mut uploads, mut files, mut errors, mut works) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        while let Some(small) = shift.take_one() {
            let written = self.work_on(&small.finish.upload).and_then(|work| {
                works.push(work);
                self.write_small(&small, &mut parents)
            });
            errors.push(written.map(|file| files.push(file)).err());
            uploads.push(small);
        }
        let mut synced = self.sync_several(&files, &|| shift.gets_on()).into_iter();
        let finish = |(small, error): (&SmallFinish, Option<StoreError>)| {
            if let Some(error) = error {
                return Err(error);
            }
            let Finish { upload, size, crc, .. } = &small.finish;
            synced.next().unwrap_or(Err(Errno::IO)).map_err(|error| upload.error(error))?;
            upload.staged().whole = Some((*size, *crc));
            Ok(())
        };
        let results: Vec<_> = uploads.iter().zip(errors).map(finish).collect();
        uploads.iter().map(SmallFinish::number).zip(results).collect()
    }

    fn write_small(&self, small: &SmallFinish, parents: &mut Parents) -> Result<OwnedFd, StoreError> {
        let Finish { upload, chunk, size, .. } = &small.finish;
        let mut staged = upload.staged();
        assert!(staged.file.is_none(), "a small upload has one chunk");
        self.begin(upload, &mut staged, parents)?;
        self.write_chunk(upload, &mut staged, 0, chunk)?;
        let completed = self.complete_file(upload, &mut staged, *size);
        completed.and(staged.file.take().ok_or(Errno::BADF)).map_err(|error| upload.error(error))
    }
}
