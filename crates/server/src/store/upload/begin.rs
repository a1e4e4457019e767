//! Beginning a staged file: what would fail at the end is refused early, and the file is given what its place in the
//! tree brings with it.

use std::{
    collections::{HashMap, hash_map::Entry},
    os::fd::OwnedFd,
};

use ferry_wire::Name;
use rustix::{
    fs::{FileType, OFlags},
    io::Errno,
};

use super::{
    super::{
        Store, attributes::Attributes, error::StoreError, meta, read::not_a_file, root::looked_up,
        syscalls::Inheritance,
    },
    Place, Staged, Upload, not_given,
};

/// The parents of uploads that are begun together, looked at once. Publishing looks again.
#[derive(Default)]
pub(super) struct Parents(HashMap<Option<String>, (OwnedFd, Inheritance)>);

impl Parents {
    /// How many are held open.
    const MOST: usize = 16;

    fn of(&mut self, store: &Store, name: &Name) -> Result<&(OwnedFd, Inheritance), StoreError> {
        let failed = |error| StoreError::system(name.as_str(), error);
        let parent = name.parent().map(str::to_owned);
        if self.0.len() >= Parents::MOST && !self.0.contains_key(&parent) {
            self.0.clear();
        }
        Ok(match self.0.entry(parent) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let dir = store.root.open_dir(name.parent()).map_err(failed)?;
                let inheritance = store.syscalls.inheritance(&dir).map_err(failed)?;
                unknown.insert((dir, inheritance))
            }
        })
    }
}

impl Store {
    /// Makes the file to be written, like one in the place of its name.
    pub(super) fn begin(&self, upload: &Upload, staged: &mut Staged, parents: &mut Parents) -> Result<(), StoreError> {
        let attributes = match self.check_target(&upload.name, parents) {
            Err(error) if upload.settled => return Err(error),
            // A directory that is to be made first may be on its way.
            target => target.unwrap_or_default(),
        };
        self.create(upload, staged).map_err(|error| self.cant_stage(&upload.name, error))?;
        self.give(&upload.name, staged, attributes)
    }

    fn create(&self, upload: &Upload, staged: &mut Staged) -> Result<(), Errno> {
        let Place::Plain(number) = &upload.place else { return Err(Errno::BADF) };
        let (run, file) = self.area()?.stage(number, OFlags::WRONLY)?;
        (staged.run, staged.file) = (Some(run), Some(file));
        Ok(())
    }

    /// Gives the staged file what its name brings with it. Its bytes then count for the quota of
    /// their directory.
    pub(super) fn give(&self, name: &Name, staged: &mut Staged, attributes: Attributes) -> Result<(), StoreError> {
        if let Some(file) = &staged.file
            && attributes != staged.attributes
        {
            attributes.give(&self.syscalls, file).map_err(|ungiven| not_given(name, ungiven))?;
            staged.attributes = attributes;
        }
        Ok(())
    }

    /// Refuses early what would fail at the end: a parent that is not there, a target that is no
    /// file. Returns what a file in that place is to have.
    pub(super) fn check_target(&self, name: &Name, parents: &mut Parents) -> Result<Attributes, StoreError> {
        looked_up(|again| {
            if again {
                parents.0.clear();
            }
            self.look_at_target(name, parents)
        })
    }

    fn look_at_target(&self, name: &Name, parents: &mut Parents) -> Result<Attributes, StoreError> {
        let failed = |error| StoreError::entry(name, error);
        let (parent, inheritance) = parents.of(self, name)?;
        match self.root.stat_entry(parent, name.last()) {
            Ok(stat) => match meta::kind(&stat) {
                FileType::RegularFile => {
                    let entry = (parent, name.last());
                    Attributes::of_replacing(&self.syscalls, inheritance, entry, &stat).map_err(failed)
                }
                kind => Err(not_a_file(name.as_str(), kind)),
            },
            Err(Errno::NOENT) => Ok(Attributes::of_new(inheritance)),
            Err(error) => Err(failed(error)),
        }
    }
}
