//! Changes of the tree: publishing, MKDIR, DELETE, RENAME. One thread makes them all, in order, and
//! one fsync of a directory serves all that were waiting.

use std::{
    collections::{HashMap, hash_map::Entry},
    os::fd::OwnedFd,
};

use ferry_wire::{Crc32, Mode, Name, Tag};
use rustix::{
    fs::{FileType, OFlags, Stat},
    io::Errno,
};

use super::{
    Disk, Durability, Store,
    attributes::Attributes,
    closer::LARGE_BYTES,
    error::{ErrorKind, StoreError},
    journal::{JournalEntry, KeptState},
    meta,
    moves::Ends,
    operation::{Change, NameCompletion, NameOperation, Onto, Permissions, Published, Touch},
    quota::Resting,
    read::not_a_file,
    remember::Guarded,
    root::looked_up,
    syscalls::Inheritance,
    upload::{Place, Upload, Work, not_given},
};

/// A batch of changes that share their fsyncs.
///
/// Order of calls: any number of changes, then [`finish`](Batch::finish), before which no
/// result may be told to anyone. Where nobody waits for the results any more, no change is begun
/// that could still be left undone.
pub(super) struct Batch<'a> {
    store: &'a Store,
    gets_on: &'a dyn Fn() -> bool,
    /// Open parents by name. Forgotten where a name may have come to mean another directory.
    by_name: HashMap<String, usize>,
    dirs: Vec<OwnedFd>,
    /// The attributes that open parents hand on, as far as that was asked.
    inheritances: HashMap<usize, Inheritance>,
    /// New directories that have to be synced themselves, besides those that they lie in, and the
    /// changes that made them.
    unsynced: (Vec<OwnedFd>, Vec<usize>),
    completions: Vec<(NameCompletion, Vec<usize>)>,
    /// Kept uploads that were published: their journals say so when the names are durable.
    published: Vec<(usize, std::sync::Arc<Upload>, JournalEntry)>,
    /// The uploads that it works on, until all is done.
    works: Vec<Work<'a>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(store: &'a Store, gets_on: &'a dyn Fn() -> bool) -> Batch<'a> {
        Batch {
            store,
            gets_on,
            by_name: HashMap::new(),
            dirs: Vec::new(),
            inheritances: HashMap::new(),
            unsynced: Default::default(),
            completions: Vec::new(),
            published: Vec::new(),
            works: Vec::new(),
        }
    }

    /// Makes one change.
    pub(super) fn make(&mut self, operation: &NameOperation<Disk>) {
        let mut touched = Vec::new();
        let completion = match operation {
            NameOperation::Change(number, change) => {
                let changed = looked_up(|again| self.anew(again).change(change, &mut touched));
                NameCompletion::Changed(*number, changed)
            }
            NameOperation::Publish(number, upload, onto) => {
                let published = looked_up(|again| self.anew(again).publish(upload, onto, &mut touched));
                NameCompletion::Published(*number, published)
            }
        };
        self.completions.push((completion, touched));
    }

    /// Forgets the parents that are open, where names are to be looked up `again`.
    fn anew(&mut self, again: bool) -> &mut Self {
        if again {
            self.by_name.clear();
        }
        self
    }

    /// Fails where nobody waits any more: to be asked right before the call that makes a change of `name`.
    fn is_wanted(&self, name: &Name) -> Result<(), StoreError> {
        match (self.gets_on)() {
            true => Ok(()),
            false => Err(StoreError::at(name.as_str(), ErrorKind::NoAnswer)),
        }
    }

    fn change(&mut self, change: &Change, touched: &mut Vec<usize>) -> Result<(), StoreError> {
        match change {
            Change::Mkdir(name) => self.mkdir(name, None, touched),
            Change::MkdirWith(name, permissions) => self.mkdir(name, Some(*permissions), touched),
            Change::Delete(name) => self.delete(name, None, touched),
            Change::DeleteVersion(name, tag) => self.delete(name, Some(tag), touched),
            Change::Rename(from, to) => self.rename(from, to, touched),
            Change::Touch(touch) => self.touch(touch),
        }
    }

    /// Sets attributes of an entry: no directory has another entry for it.
    fn touch(&mut self, Touch { name, mtime, permissions }: &Touch) -> Result<(), StoreError> {
        let parent = self.parent(name)?;
        let stat = self.stat(parent, name)?;
        let failed = |error| StoreError::system(name.as_str(), error);
        let flags = match meta::kind(&stat) {
            FileType::RegularFile => OFlags::NONBLOCK | OFlags::NOCTTY,
            FileType::Directory => OFlags::DIRECTORY,
            _ => return Err(StoreError::at(name.as_str(), ErrorKind::SpecialEntry)),
        };
        if self.store.is_moving(&stat).map_err(failed)? {
            return Err(failed(Errno::BUSY));
        }
        let syscalls = &self.store.syscalls;
        let entry = syscalls.open_entry(&self.dirs[parent], name.last(), OFlags::RDONLY | flags).map_err(failed)?;
        let opened = syscalls.stat(&entry).map_err(failed)?;
        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
            // Somebody has put another one there, or mounted something on it.
            return Err(failed(Errno::BUSY));
        }
        self.is_wanted(name)?;
        let asked = Attributes::default().asking(*permissions);
        asked.give_asked(syscalls, &entry).map_err(failed)?;
        let set = match mtime {
            Some(mtime) => syscalls.set_mtime(&entry, *mtime),
            None => syscalls.touch(&entry),
        };
        set.map_err(failed)?;
        self.sync_later(entry);
        Ok(())
    }

    fn mkdir(
        &mut self,
        name: &Name,
        permissions: Option<Permissions>,
        touched: &mut Vec<usize>,
    ) -> Result<(), StoreError> {
        let parent = self.parent(name)?;
        self.is_wanted(name)?;
        // From the first moment on it lets nobody in who is not to be.
        let mode = permissions.map_or(Mode::ALL, |permissions| permissions.over_directory(Mode::ALL));
        if let Err(error) = self.store.syscalls.mkdir(&self.dirs[parent], name.last(), mode.bits()) {
            self.forget_removed(error);
            if error == Errno::EXIST && !self.store.capabilities.noreplace {
                // It may be kept for what is about to be renamed to it.
                self.stat(parent, name)?;
            }
            return Err(StoreError::system(name.as_str(), error));
        }
        touched.push(parent);
        if self.store.durability == Durability::None && permissions.is_none() {
            return Ok(());
        }
        // Without a journal, what is synced of the parent is its name alone.
        let syscalls = &self.store.syscalls;
        match syscalls.open_entry(&self.dirs[parent], name.last(), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => {
                let asked = Attributes::default().asking(permissions);
                asked.give_asked(syscalls, &dir).map_err(StoreError::not_durable)?;
                self.sync_later(dir);
                Ok(())
            }
            // Another process has removed or moved it.
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(StoreError::not_durable(error)),
        }
    }

    fn delete(&mut self, name: &Name, only: Option<&Tag>, touched: &mut Vec<usize>) -> Result<(), StoreError> {
        let parent = self.parent(name)?;
        let only = only.map(|tag| (tag, self.store.file_time()));
        let stat = self.stat(parent, name)?;
        if let Some((tag, moment)) = only
            && (meta::kind(&stat) != FileType::RegularFile || *tag != self.store.tag(&stat, moment))
        {
            return Err(StoreError::at(name.as_str(), ErrorKind::OtherVersion));
        }
        let directory = match meta::kind(&stat) {
            FileType::RegularFile => false,
            FileType::Directory => true,
            _ => return Err(StoreError::at(name.as_str(), ErrorKind::SpecialEntry)),
        };
        let failed = |error| StoreError::system(name.as_str(), error);
        if self.store.is_moving(&stat).map_err(failed)? {
            return Err(failed(Errno::BUSY));
        }
        let held = self.hold_large(name, &stat);
        self.is_wanted(name)?;
        let unlinked = self.store.syscalls.unlink(&self.dirs[parent], name.last(), directory);
        unlinked.map_err(|error| self.refused(parent, name, error))?;
        self.by_name.clear();
        self.close_later(held);
        touched.push(parent);
        Ok(())
    }

    fn rename(&mut self, from: &Name, to: &Name, touched: &mut Vec<usize>) -> Result<(), StoreError> {
        let old = self.parent(from)?;
        let stat = self.stat(old, from)?;
        match meta::kind(&stat) {
            FileType::RegularFile | FileType::Directory => {}
            _ => return Err(StoreError::at(from.as_str(), ErrorKind::SpecialEntry)),
        }
        let new = self.parent(to)?;
        self.is_wanted(to)?;
        let ends = Ends { from: (&self.dirs[old], from), to: (&self.dirs[new], to) };
        self.store.move_entry(&ends, &stat).map_err(|error| match error {
            Errno::INVAL if to.as_str().starts_with(from.as_str()) => {
                StoreError::at(from.as_str(), ErrorKind::IntoItself)
            }
            Errno::INVAL => StoreError::at(from.as_str(), ErrorKind::CantRename),
            Errno::BUSY => self.refused(old, from, error),
            Errno::XDEV => self.refused(new, to, error),
            error => StoreError::system(to.as_str(), error),
        })?;
        self.by_name.clear();
        touched.extend([old, new]);
        Ok(())
    }

    /// Gives a finished upload its name. A file that has it is replaced, and lives on for clients
    /// that are reading it.
    fn publish(
        &mut self,
        upload: &std::sync::Arc<Upload>,
        onto: &Onto,
        touched: &mut Vec<usize>,
    ) -> Result<Published, StoreError> {
        let name = &upload.name;
        self.works.push(self.store.work_on(upload)?);
        assert!(upload.staged().whole.is_some(), "published before it is whole and on the disk");
        let failed = |error| StoreError::system(name.as_str(), error);
        let parent = self.parent(name)?;
        let replaced = self.replaced_by(name, parent, onto)?;
        let held = replaced.as_ref().and_then(|stat| self.hold_large(name, stat));
        let run = upload.staged().run.clone();
        let gone = |error| match error {
            Errno::NOENT if upload.own_names().is_some() => upload.taken_over(),
            // Somebody cleaned the server's corner.
            Errno::NOENT => StoreError::at(name.as_str(), ErrorKind::StagedGone),
            error => failed(error),
        };
        let kept_in;
        let (staged_in, staged_as) = match &upload.place {
            // It has no name of its own.
            Place::Part(_) => return Err(failed(Errno::INVAL)),
            Place::Plain(number) => (run.as_ref().ok_or_else(|| failed(Errno::BADF))?.dir(), number.clone()),
            Place::Kept(kept) => {
                kept_in = self.store.area().and_then(|area| area.dir_of(kept)).map_err(gone)?;
                (&*kept_in, kept.data_name())
            }
        };
        // Held open, so that the tag is of this file though another process may rename it
        // meanwhile.
        let staged = self.store.syscalls.open_entry(staged_in, &staged_as, OFlags::PATH).map_err(gone)?;
        self.give(upload, parent, replaced.as_ref(), (staged_in, &staged_as, &staged))?;
        let blocks = upload.crcs().filter(|_| self.store.remembers_uploads());
        let guarded = blocks.and_then(|blocks| Some((self.store.guard_staged(staged_in, &staged_as)?, blocks)));
        self.rename_staged(upload, onto, parent, (staged_in, &staged_as))?;
        self.close_later(held);
        touched.push(parent);
        self.told(upload, &staged, guarded)
    }

    /// Gives a staged file its name in an open parent.
    fn rename_staged(
        &mut self,
        upload: &Upload,
        onto: &Onto,
        parent: usize,
        staged: (&OwnedFd, &str),
    ) -> Result<(), StoreError> {
        let name = &upload.name;
        self.is_wanted(name)?;
        let entry = (&self.dirs[parent], name.last());
        let renamed = match onto {
            Onto::Any | Onto::Taken => self.store.syscalls.rename(staged, entry, true),
            Onto::Version(_) => {
                // Once more: giving it attributes may have taken long, and other programs change files as well.
                self.replaced_by(name, parent, onto)?;
                self.store.syscalls.rename(staged, entry, true)
            }
            // Somebody else may have taken it since it was looked at.
            Onto::Free => self.store.publish_free(staged, entry),
        };
        let Err(error) = renamed else { return Ok(()) };
        self.forget_removed(error);
        if *onto == Onto::Free && error == Errno::EXIST {
            return Err(StoreError::at(name.as_str(), ErrorKind::NameTaken));
        }
        // Another machine's server was quicker.
        if error == Errno::NOENT
            && upload.own_names().is_some()
            && self.store.syscalls.stat_entry(staged.0, staged.1).err() == Some(Errno::NOENT)
        {
            return Err(upload.taken_over());
        }
        Err(self.refused(parent, name, error))
    }

    /// Returns the version of a file that has just got its name, and counts its upload no longer.
    fn told(
        &mut self,
        upload: &std::sync::Arc<Upload>,
        staged: &OwnedFd,
        guarded: Option<(Guarded<'_>, Vec<Crc32>)>,
    ) -> Result<Published, StoreError> {
        self.store.quota.give_back(upload.whose(), std::mem::take(&mut upload.staged().counted));
        let moment = self.store.file_time();
        let stat = self.store.syscalls.stat(staged).map_err(StoreError::not_durable)?;
        if let Some((guarded, blocks)) = guarded {
            guarded.remember(&stat, &blocks);
        }
        if let Some(id) = upload.id() {
            let (id, touched) = (id.as_str().to_owned(), meta::touched(&stat));
            self.store.quota.rest(&Resting { id, bytes: 0, touched });
        }
        let whole = upload.staged().whole;
        let (size, crc) = whole.ok_or_else(|| StoreError::system(upload.name.as_str(), Errno::BADF))?;
        let tag = self.store.tag(&stat, moment);
        if upload.id().is_some() {
            let entry = upload.entry(KeptState::Published { size, crc, tag: tag.clone() });
            self.published.push((self.completions.len(), upload.clone(), entry));
        }
        Ok(Published { size, crc, tag })
    }

    /// Returns the status of the file that an upload would replace; [`None`] where nothing has its name.
    fn replaced_by(&self, name: &Name, parent: usize, onto: &Onto) -> Result<Option<Stat>, StoreError> {
        let other_version = || StoreError::at(name.as_str(), ErrorKind::OtherVersion);
        // Of other uploads no version is looked at.
        let version = match onto {
            Onto::Version(tag) => Some((tag, self.store.file_time())),
            Onto::Any | Onto::Free | Onto::Taken => None,
        };
        match self.store.root.stat_entry(&self.dirs[parent], name.last()) {
            Ok(_) if *onto == Onto::Free => Err(StoreError::at(name.as_str(), ErrorKind::NameTaken)),
            Ok(stat) if meta::kind(&stat) != FileType::RegularFile => Err(not_a_file(name.as_str(), meta::kind(&stat))),
            Ok(stat) => match version {
                Some((tag, moment)) if *tag != self.store.tag(&stat, moment) => Err(other_version()),
                _ => Ok(Some(stat)),
            },
            Err(Errno::NOENT) if version.is_some() => Err(other_version()),
            Err(Errno::NOENT) if *onto == Onto::Taken => Err(StoreError::at(name.as_str(), ErrorKind::NameFree)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(StoreError::entry(name, error)),
        }
    }

    /// Gives a staged file what its place brings with it, where that has changed since it was
    /// begun, or could not be seen then.
    fn give(
        &mut self,
        upload: &Upload,
        parent: usize,
        replaced: Option<&Stat>,
        (dir, staged_as, staged): (&OwnedFd, &str, &OwnedFd),
    ) -> Result<(), StoreError> {
        let (name, syscalls) = (&upload.name, &self.store.syscalls);
        let failed = |error| StoreError::system(name.as_str(), error);
        let inheritance = match self.inheritances.entry(parent) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(syscalls.inheritance(&self.dirs[parent]).map_err(failed)?),
        };
        let attributes = match replaced {
            Some(stat) => Attributes::of_replacing(syscalls, inheritance, (&self.dirs[parent], name.last()), stat)
                .map_err(failed)?,
            None => Attributes::of_new(inheritance),
        };
        let attributes = upload.attributes(attributes);
        let mut known = upload.staged();
        if attributes == known.attributes
            || attributes == Attributes::default()
            || attributes.are_given(&known.attributes, &syscalls.stat(staged).map_err(failed)?)
        {
            return Ok(());
        }
        let file = syscalls.open_entry(dir, staged_as, OFlags::RDONLY).map_err(failed)?;
        attributes.give(syscalls, &file).map_err(|ungiven| not_given(name, ungiven))?;
        known.attributes = attributes;
        self.store.sync(&file).map_err(failed)
    }

    /// Waits for the disk, once for each directory, and returns the completions in the order of the changes.
    pub(super) fn finish(mut self) -> Vec<NameCompletion> {
        // A directory may have been opened more than once.
        let mut synced: HashMap<(u64, u64), Result<(), Errno>> = HashMap::new();
        let mut done = vec![None; self.dirs.len()];
        let mut fsync = |index: usize| {
            let dir = &self.dirs[index];
            let mut sync = || {
                (self.gets_on)();
                let stat = self.store.syscalls.stat(dir)?;
                *synced.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| self.store.sync(dir))
            };
            *done[index].get_or_insert_with(&mut sync)
        };
        for (completion, touched) in &mut self.completions {
            if !completion.is_ok() {
                continue;
            }
            for &dir in touched.iter() {
                if let Err(error) = fsync(dir) {
                    completion.fail(StoreError::not_durable(error));
                }
            }
        }
        let (unsynced, changes) = &self.unsynced;
        for (change, synced) in changes.iter().zip(self.store.sync_several(unsynced, self.gets_on)) {
            let completion = &mut self.completions[*change].0;
            if let (Err(error), true) = (synced, completion.is_ok()) {
                completion.fail(StoreError::not_durable(error));
            }
        }
        for (index, upload, entry) in &self.published {
            let mut staged = upload.staged();
            if let (Some((file, journal)), true) = (&mut staged.journal, self.completions[*index].0.is_ok()) {
                // Should this be lost, the journal before it says as much, with the tag of the staged file.
                if let Err(error) = journal.write(&self.store.syscalls, file, entry) {
                    log::warn!("can't write the journal of a published upload in .ferry/kept: {error}");
                }
            }
            staged.unlock();
        }
        self.completions.into_iter().map(|(completion, _)| completion).collect()
    }

    /// Marks `changed` itself to be synced, before the change that is being made is told.
    fn sync_later(&mut self, changed: OwnedFd) {
        self.unsynced.0.push(changed);
        self.unsynced.1.push(self.completions.len());
    }

    /// Returns the open parent of `name`.
    fn parent(&mut self, name: &Name) -> Result<usize, StoreError> {
        let parent = name.parent();
        if let Some(&index) = self.by_name.get(parent.unwrap_or("")) {
            return Ok(index);
        }
        let failed = |error| StoreError::system(name.as_str(), error);
        let dir = self.store.root.open_dir(parent).map_err(failed)?;
        if !self.store.capabilities.noreplace
            && self.store.is_placeholder(&self.store.syscalls.stat(&dir).map_err(failed)?)
        {
            return Err(failed(Errno::BUSY));
        }
        self.dirs.push(dir);
        self.by_name.insert(parent.unwrap_or("").to_owned(), self.dirs.len() - 1);
        Ok(self.dirs.len() - 1)
    }

    /// Returns the status of an entry in an open parent, which is to be changed: one that is about to
    /// be replaced is in use.
    fn stat(&self, parent: usize, name: &Name) -> Result<Stat, StoreError> {
        match self.store.root.stat_entry(&self.dirs[parent], name.last()) {
            Ok(stat) if self.store.is_placeholder(&stat) => Err(StoreError::system(name.as_str(), Errno::BUSY)),
            stat => stat.map_err(|error| StoreError::entry(name, error)),
        }
    }

    /// Returns the error of a failed change to the entry `name` of a parent. An entry that is in
    /// use may be one that can never be changed.
    fn refused(&self, parent: usize, name: &Name, error: Errno) -> StoreError {
        match error {
            Errno::BUSY if self.store.root.is_mounted_on(&self.dirs[parent], name.last()) => {
                StoreError::at(name.as_str(), ErrorKind::MountPoint)
            }
            // Both ends lie on one file system, since no walk leaves it.
            Errno::XDEV => StoreError::at(name.as_str(), ErrorKind::ProjectBoundary),
            error => StoreError::system(name.as_str(), error),
        }
    }

    /// A parent that was open is no longer there: another process removed it, and may have made
    /// another one since.
    fn forget_removed(&mut self, error: Errno) {
        if error == Errno::NOENT {
            self.by_name.clear();
        }
    }

    /// Holds a file that is about to lose its name, if freeing its blocks will take long.
    fn hold_large(&self, name: &Name, stat: &Stat) -> Option<OwnedFd> {
        let large = meta::kind(stat) == FileType::RegularFile && meta::size(stat) > LARGE_BYTES;
        large.then(|| self.store.root.hold(name).ok()).flatten()
    }

    fn close_later(&self, held: Option<OwnedFd>) {
        if let Some(file) = held {
            self.store.syscalls.closer().close(file);
        }
    }
}

impl NameCompletion {
    fn is_ok(&self) -> bool {
        match self {
            NameCompletion::Published(_, result) => result.is_ok(),
            NameCompletion::Changed(_, result) => result.is_ok(),
        }
    }

    /// Notes that it failed after all.
    fn fail(&mut self, error: StoreError) {
        match self {
            NameCompletion::Published(_, result) => *result = Err(error),
            NameCompletion::Changed(_, result) => *result = Err(error),
        }
    }
}
