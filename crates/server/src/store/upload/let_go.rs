//! Letting an upload go: it is dropped, or what can be kept of it is, for a RESUME that goes on.

use ferry_wire::Id;
use rustix::io::Errno;

use super::{
    super::{Store, error::StoreError, operation::Tail, parts::Parts},
    Place, Staged, Upload,
};

impl Store {
    /// Drops an upload with which no helper is at work, and all that arrived of it.
    pub(super) fn discard_now(&self, upload: &Upload) {
        if let Place::Part(part) = &upload.place {
            return part.close();
        }
        let mut staged = upload.staged();
        staged.parts = Parts::default();
        let file = staged.file.take();
        let removed = match &upload.place {
            Place::Part(_) => Ok(()),
            Place::Plain(number) => match &staged.run {
                Some(run) => match self.syscalls.unlink(run.dir(), number, false) {
                    // Another server took this one for dead.
                    Err(Errno::NOENT) => Ok(()),
                    removed => removed,
                },
                None => Ok(()),
            },
            Place::Kept(kept) => self.area().and_then(|area| match &staged.journal {
                Some((journal, _)) => area.remove_held(kept, journal),
                None => Err(Errno::BADF),
            }),
        };
        if let Err(error) = &removed {
            log::error!(
                "the staged upload of {} could not be removed: {error}",
                ferry_wire::escaped(upload.name.as_str())
            );
        }
        // A file that could not be removed goes on to count.
        let counted = std::mem::take(&mut staged.counted);
        match &upload.place {
            Place::Plain(_) if removed.is_err() => {}
            Place::Part(_) => {}
            Place::Plain(_) => self.quota.give_back(upload.whose(), counted),
            Place::Kept(kept) if removed.is_err() => self.rest(&kept.id),
            Place::Kept(kept) => self.quota.forget(kept.id.as_str()),
        }
        staged.unlock();
        if let Some(file) = file {
            self.syscalls.closer().close(file);
        }
    }

    /// Lets go of a kept upload with which no helper is at work.
    pub(super) fn keep_now(&self, upload: &Upload, tail: Option<Tail>) {
        let mut staged = upload.staged();
        staged.parts.close_all();
        if let Some(Tail { at, chunk, digest }) = tail {
            let kept = self.write_chunk(upload, &mut staged, at, &chunk).and_then(|()| {
                let file = staged.file.as_ref().ok_or_else(|| upload.error(Errno::BADF))?;
                self.sync_data(file).map_err(|error| upload.error(error))?;
                let parts = staged.parts.whole().to_vec();
                self.write_journal(upload, &mut staged, &digest, parts).map_err(|error| upload.error(error))
            });
            if let Err(StoreError { kind, .. }) = kept {
                let name = ferry_wire::escaped(upload.name.as_str());
                log::warn!(
                    "{name}: the end of an interrupted upload can't be kept, only its last checkpoint: {kind:?}"
                );
            }
        }
        // Bytes behind the last checkpoint are of no use, and blocks that were set aside hold room
        // that others need.
        if let Some(file) = &staged.file
            && let Err(error) = self.syscalls.truncate(file, staged.parts.noted_end(staged.noted.bytes()))
        {
            log::warn!("disk space reserved for an interrupted upload can't be freed yet: {error}");
        }
        staged.counted = 0;
        if upload.own_names().is_some()
            && let Err(error) = self.let_go(&mut staged)
        {
            log::info!("an interrupted upload will be copied when it goes on: {error}");
        }
        if let Some(id) = upload.id() {
            self.rest(id);
        }
        if let Some(file) = staged.file.take() {
            self.syscalls.closer().close(file);
        }
        staged.unlock();
    }

    /// Says to servers of other machines that an upload is anybody's: all that was written is with the
    /// file system, and nothing more will be.
    fn let_go(&self, staged: &mut Staged) -> Result<(), Errno> {
        if let Some(file) = &staged.file {
            self.syscalls.sync_data(file)?;
        }
        match &mut staged.journal {
            Some((file, journal)) => self.area()?.let_go(file, journal),
            None => Ok(()),
        }
    }

    /// Notes what the disk holds of an upload that this process has let go, or could not take hold of.
    pub(super) fn rest(&self, id: &Id) {
        let id = id.as_str();
        match self.area().and_then(|area| area.resting(id)) {
            Ok(Some(resting)) => self.quota.rest(&resting),
            Ok(None) => self.quota.forget(id),
            Err(_) => self.quota.let_go(id),
        }
    }
}
