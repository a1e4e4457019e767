//! Taking up an upload that was begun before, or beginning one that may be.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use ferry_wire::{Digest, Id, Name, Tag};
use rustix::{fs::OFlags, io::Errno};

use super::{
    super::{
        Store,
        area::Area,
        attributes::Attributes,
        error::{ErrorKind, StoreError},
        mark::{Mark, Slots, State},
        meta,
        operation::{Published, Resume, Resumed},
    },
    Parents, Place, Staged, Upload,
};

/// The thing that a mark turns out to stand for.
enum Found {
    Published(Published),
    /// A file, of which `run` has seen the bytes that count.
    Kept(OwnedFd, Digest),
    Nothing,
}

impl Store {
    /// Takes up an upload, or begins it.
    pub(in crate::store) fn resume(&self, wanted: &Resume) -> Result<Resumed<Arc<Upload>>, StoreError> {
        let Resume { id, name, owner, .. } = wanted;
        let failed = |error| StoreError::system(name.as_str(), error);
        let area = self.area().map_err(failed)?;
        let target = self.check_target(name, &mut Parents::default());
        // Nothing is begun that can't end well; but what was published stays so, whatever became of
        // its name.
        if self.kernel.stat_entry(area.kept(), &Area::mark_name(id.as_str())).is_err() {
            target.clone()?;
            self.admit(id, owner)?;
        }
        let resumed = self.take_up(area, wanted, target);
        if !matches!(resumed, Ok(Resumed::Going { .. })) {
            self.rest(id);
        }
        resumed
    }

    /// The same, once it counts. It holds the mark's lock only where the upload goes on.
    fn take_up(
        &self,
        area: &Area,
        wanted: &Resume,
        target: Result<Attributes, StoreError>,
    ) -> Result<Resumed<Arc<Upload>>, StoreError> {
        let Resume { id, name, size, mtime, owner } = wanted;
        let (size, mtime) = (*size, *mtime);
        let failed = |error| StoreError::system(name.as_str(), error);
        let mark_file = self.lock_mark(area, id).map_err(|error| {
            if error == Errno::AGAIN {
                return StoreError::at(name.as_str(), ErrorKind::HeldElsewhere);
            }
            self.cant_stage(name, error)
        })?;
        let (slots, mark) = Slots::read(&self.kernel, &mark_file).map_err(failed)?;
        let mut staged = Staged { mark: Some((mark_file, slots)), ..Staged::default() };
        let data_name = Area::data_name(id.as_str());
        let (mut digest, mut owner) = (Digest::new(), owner.clone());
        if let Some(mark) = mark {
            if mark.name != *name || mark.size != size {
                return Err(StoreError::at(name.as_str(), ErrorKind::IdTaken));
            }
            if !mark.owner.is_nobody() {
                owner = mark.owner.clone();
            }
            match self.look_for(area, &data_name, &mark).map_err(failed)? {
                Found::Published(published) => return Ok(Resumed::Published(published)),
                Found::Kept(file, run) => (staged.file, digest) = (Some(file), run),
                Found::Nothing => {}
            }
        }
        let attributes = target?;
        let (place, size) = (Place::Kept(id.clone()), Some(size));
        let upload = Upload { name: name.clone(), size, mtime, settled: false, place, owner, staged: Mutex::default() };
        if staged.file.is_none() {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
            let file = self.kernel.open_entry(area.kept(), &data_name, flags);
            staged.file = Some(file.map_err(|error| self.cant_stage(name, error))?);
        }
        self.give(name, &mut staged, attributes)?;
        // The state that is told must be on the disk. The process that wrote it may have been killed before it was.
        if digest.bytes() == 0 {
            self.write_mark(&upload, &mut staged, &digest).map_err(failed)?;
            // The two entries must be there when a checkpoint promises that they are.
            self.sync(area.kept()).map_err(failed)?;
        } else if let Some((mark_file, _)) = &staged.mark {
            self.sync_data(mark_file).map_err(failed)?;
        }
        staged.counted = match &staged.file {
            Some(file) => self.trimmed(file, digest.bytes()).map_err(failed)?,
            None => 0,
        };
        self.quota.hold(id.as_str(), &upload.owner, staged.counted);
        (staged.reserved, staged.written_back, staged.noted) = (digest.bytes(), digest.bytes(), digest.bytes());
        *upload.staged() = staged;
        Ok(Resumed::Going { upload: Arc::new(upload), digest })
    }

    /// Gives back what lies behind the first `bytes` bytes of a file, or was set aside there by a server that was killed
    /// before it could. Returns how much of the disk the file takes.
    fn trimmed(&self, file: &OwnedFd, bytes: u64) -> Result<u64, Errno> {
        let stat = self.kernel.stat(file)?;
        if meta::size(&stat) <= bytes && !meta::has_ahead(&stat) {
            return Ok(meta::taken(&stat));
        }
        self.kernel.truncate(file, bytes)?;
        Ok(meta::taken(&self.kernel.stat(file)?))
    }

    /// Looks for what there is of the upload that `mark` tells of.
    fn look_for(&self, area: &Area, data_name: &str, mark: &Mark) -> Result<Found, Errno> {
        let (offset, crc, published) = match &mark.state {
            State::Published { crc, tag } => {
                return Ok(Found::Published(Published { size: mark.size, crc: *crc, tag: tag.clone() }));
            }
            State::Kept { offset, crc } => (*offset, *crc, None),
            State::Publishing { crc, tag } => (mark.size, *crc, Some(tag)),
        };
        match self.kernel.open_entry(area.kept(), data_name, OFlags::RDWR) {
            Ok(file) => {
                let length = meta::size(&self.kernel.stat(&file)?);
                // A mark that promises more than there is can't be: the bytes were synced before it.
                // Should a disk lie, the upload begins anew.
                let run = if offset <= length { Digest::resume(crc, offset) } else { Digest::new() };
                Ok(Found::Kept(file, run))
            }
            Err(Errno::NOENT) => match published {
                Some(tag) => {
                    self.sync_published(area, &mark.name)?;
                    let tag = self.tag_after_rename(&mark.name, tag);
                    Ok(Found::Published(Published { size: mark.size, crc, tag }))
                }
                None => Ok(Found::Nothing),
            },
            Err(error) => Err(error),
        }
    }

    /// Returns the tag of an upload whose server was killed right after the rename, `before` being the one that its file
    /// had then: renaming changes the time of the status.
    fn tag_after_rename(&self, name: &Name, before: &Tag) -> Tag {
        let moment = SystemTime::now();
        match self.root.stat(name, false) {
            Ok(stat) if meta::is_version(before, &stat) => self.tag(&stat, moment),
            _ => before.clone(),
        }
    }

    /// Makes durable that an upload left the kept ones for its name: who did that may have been killed
    /// before it was.
    fn sync_published(&self, area: &Area, name: &Name) -> Result<(), Errno> {
        self.sync(area.kept())?;
        match self.root.open_dir(name.parent()) {
            Ok(parent) => self.sync(&parent),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Opens and locks the mark of `id`, made if missing: [`Errno::AGAIN`] where another process holds
    /// it. A mark that was cleaned away between the two steps is made anew.
    fn lock_mark(&self, area: &Area, id: &Id) -> Result<OwnedFd, Errno> {
        let mark_name = Area::mark_name(id.as_str());
        loop {
            let file = self.kernel.open_entry(area.kept(), &mark_name, OFlags::RDWR | OFlags::CREATE)?;
            self.kernel.lock(&file)?;
            if area.is_entry(area.kept(), &mark_name, &file)? {
                return Ok(file);
            }
        }
    }
}
