//! Access to a published file: the same as if it had been made, or written over, in its place.
//!
//! Uploads are staged in the server's corner, where they inherit nothing. So the store does by hand
//! the kernel's part in the place of the name. Group, access control list and project come from the
//! parent. A file that is replaced hands on its owner, group, mode and list. Where that is not
//! permitted, the file is never more open than it would be.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    meta,
    operation::Permissions,
    syscalls::{Inheritance, Syscalls},
};

/// The mode of a new file before an access control list takes from it.
const NEW_MODE: u32 = 0o666;

/// The permissions of a set group, by their place in a mode.
const GROUP_BITS: u32 = 0o070;

/// The attributes that a file is to have beyond its bytes and its time. [`None`] leaves it as this
/// process makes files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    owner: Option<u32>,
    group: Option<u32>,
    mode: Option<u32>,
    /// An access control list, as `system.posix_acl_access` has it.
    acl: Option<Vec<u8>>,
    /// The project whose quota the directory is for.
    project: Option<u32>,
    /// The permissions that the client asked for.
    asked: Option<Permissions>,
}

/// Why attributes could not be given to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ungiven {
    /// The project: the file can't be moved into the directory.
    Project,
    System(Errno),
}

impl Attributes {
    /// Returns those of a new file in a directory.
    pub(super) fn of_new(parent: &Inheritance) -> Attributes {
        let (mode, acl) = parent.acl.as_ref().map_or((None, None), |list| {
            let (mode, acl) = Acl(list.clone()).of_new_file();
            (Some(mode), acl.map(|acl| acl.0))
        });
        Attributes { owner: None, group: parent.group, mode, acl, project: parent.project, asked: None }
    }

    /// Returns those of a file that replaces the entry `name` of `dir`, which has the status `stat`.
    pub(super) fn of_replacing(
        syscalls: &Syscalls,
        parent: &Inheritance,
        (dir, name): (&OwnedFd, &str),
        stat: &Stat,
    ) -> Result<Attributes, Errno> {
        let ours = syscalls.identity();
        let mut mode = stat.st_mode & 0o777;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let acl = match syscalls.open_entry(dir, name, flags) {
            Ok(file) => syscalls.acl(&file)?,
            // Whether it has a list can't be seen: with one, these bits are those of the users and
            // groups that it names.
            Err(Errno::ACCESS | Errno::PERM) => {
                mode = without_group(mode);
                None
            }
            // It has just gone.
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error),
        };
        let (owner, group) =
            ((stat.st_uid != ours.0).then_some(stat.st_uid), (stat.st_gid != ours.1).then_some(stat.st_gid));
        Ok(Attributes { owner, group, mode: Some(mode), acl, project: parent.project, asked: None })
    }

    /// Returns the same, with the permissions that a client asked for.
    pub(super) fn asking(self, asked: Option<Permissions>) -> Attributes {
        Attributes { asked, ..self }
    }

    /// Returns `mode` with what was asked for.
    fn with_asked(&self, mode: u32) -> u32 {
        self.asked.map_or(mode, |asked| asked.over(mode))
    }

    /// Returns whether a file of this status, which was made with `given`, has them already.
    pub(super) fn are_given(&self, given: &Attributes, stat: &Stat) -> bool {
        let is = |wanted: Option<u32>, there: u32| wanted.is_none_or(|wanted| wanted == there);
        let (mode, there) = (self.mode.map(|mode| self.with_asked(mode)), stat.st_mode & 0o777);
        let is_asked = self.with_asked(there) == there;
        let visible = is(self.owner, stat.st_uid) && is(self.group, stat.st_gid) && is(mode, there) && is_asked;
        self == given || (visible && self.acl == given.acl && (self.project.is_none() || self.project == given.project))
    }

    /// Gives them to an open file of this process, as far as that is permitted.
    pub(super) fn give(&self, syscalls: &Syscalls, file: &OwnedFd) -> Result<(), Ungiven> {
        if let Some(project) = self.project {
            syscalls.set_project(file, project).map_err(|error| match error {
                Errno::NOSPC | Errno::DQUOT | Errno::IO => Ungiven::System(error),
                _ => Ungiven::Project,
            })?;
        }
        self.give_access(syscalls, file).map_err(Ungiven::System)?;
        self.give_asked(syscalls, file).map_err(Ungiven::System)
    }

    /// Gives a file or directory those that were asked for, as far as that is permitted: after the access control list,
    /// which has bits of the mode in it. A directory keeps what is handed on by set-group-ID, and its sticky bit.
    pub(super) fn give_asked(&self, syscalls: &Syscalls, file: &OwnedFd) -> Result<(), Errno> {
        let Some(asked) = self.asked else { return Ok(()) };
        let stat = syscalls.stat(file)?;
        let (there, mode) = match meta::kind(&stat) {
            FileType::Directory => {
                let there = stat.st_mode & 0o7777;
                (there, there & 0o7000 | asked.over_directory(ferry_wire::Mode::of(there)).bits())
            }
            _ => (stat.st_mode & 0o777, asked.over(stat.st_mode & 0o777)),
        };
        if mode != there {
            may(syscalls.set_mode(file, Mode::from_raw_mode(mode)))?;
        }
        Ok(())
    }

    fn give_access(&self, syscalls: &Syscalls, file: &OwnedFd) -> Result<(), Errno> {
        // Another machine may have made it somebody else's than this process.
        let stat = syscalls.stat(file)?;
        let owner = self.owner.filter(|owner| *owner != stat.st_uid);
        let wanted = self.group.filter(|group| *group != stat.st_gid);
        let whole = owner.is_some() && may(syscalls.set_owner(file, owner, wanted))?;
        let group = whole || wanted.is_none() || may(syscalls.set_owner(file, None, wanted))?;
        let mode = match (self.mode, group) {
            (Some(mode), true) => Some(mode),
            // The permissions of that group are not for this process's group.
            (Some(mode), false) => Some(without_group(mode)),
            (None, true) => None,
            (None, false) => Some(without_group(stat.st_mode & 0o777)),
        };
        if let Some(mode) = mode {
            may(syscalls.set_mode(file, Mode::from_raw_mode(mode)))?;
        }
        let Some(list) = &self.acl else { return Ok(()) };
        let mut list = Acl(list.clone());
        if !group {
            list.close_group();
        }
        if !may(syscalls.set_acl(file, &list.0))? {
            may(syscalls.set_mode(file, Mode::from_raw_mode(without_group(self.mode.unwrap_or(0)))))?;
        }
        Ok(())
    }
}

/// Returns whether an attribute was given; false where that is not permitted, or not known there.
fn may(given: Result<(), Errno>) -> Result<bool, Errno> {
    match given {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns a mode in which the group may do no more than everybody.
fn without_group(mode: u32) -> u32 {
    mode & !GROUP_BITS | mode & GROUP_BITS & mode << 3
}

/// A POSIX access control list as the kernel's extended attributes have it: a version, then entries of tag,
/// permissions and id (linux/posix_acl_xattr.h).
#[derive(Debug, PartialEq, Eq)]
struct Acl(Vec<u8>);

impl Acl {
    const HEADER_BYTES: usize = 4;
    const ENTRY_BYTES: usize = 8;
    const OWNER: u16 = 0x01;
    const GROUP: u16 = 0x04;
    const MASK: u16 = 0x10;
    const OTHERS: u16 = 0x20;

    fn entries(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let entries = self.0.get_mut(Acl::HEADER_BYTES..).unwrap_or_default();
        entries.chunks_exact_mut(Acl::ENTRY_BYTES)
    }

    /// Returns the permissions of the one entry with this tag.
    fn permissions(&mut self, tag: u16) -> Option<&mut u8> {
        // The second byte of the permissions is always 0.
        self.entries().find(|entry| entry[..2] == tag.to_le_bytes()).map(|entry| &mut entry[2])
    }

    /// Returns the mode of a new file that gets this list, and what is left of the list if that
    /// says more than the mode.
    fn of_new_file(mut self) -> (u32, Option<Acl>) {
        let asked = |shift: u32| (NEW_MODE >> shift & 0o7) as u8;
        let group = if self.permissions(Acl::MASK).is_some() { Acl::MASK } else { Acl::GROUP };
        let mut mode = 0;
        for (tag, shift) in [(Acl::OWNER, 6), (group, 3), (Acl::OTHERS, 0)] {
            if let Some(permissions) = self.permissions(tag) {
                *permissions &= asked(shift);
                mode |= u32::from(*permissions) << shift;
            }
        }
        (mode, (group == Acl::MASK).then_some(self))
    }

    /// Restricts the owning group to the rights of everybody.
    fn close_group(&mut self) {
        let others = self.permissions(Acl::OTHERS).map_or(0, |permissions| *permissions);
        if let Some(permissions) = self.permissions(Acl::GROUP) {
            *permissions &= others;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u8)]) -> Acl {
        let entry = |&(tag, permissions): &(u16, u8)| [&tag.to_le_bytes()[..], &[permissions, 0, 1, 0, 0, 0]].concat();
        Acl([vec![2, 0, 0, 0], entries.iter().flat_map(entry).collect()].concat())
    }

    #[test]
    fn a_default_list_becomes_the_mode_of_a_new_file() {
        let (mode, rest) = list(&[(Acl::OWNER, 7), (Acl::GROUP, 5), (Acl::OTHERS, 0)]).of_new_file();
        assert_eq!((mode, rest), (0o640, None));
        let (mode, rest) =
            list(&[(Acl::OWNER, 7), (2, 7), (Acl::GROUP, 5), (Acl::MASK, 7), (Acl::OTHERS, 5)]).of_new_file();
        let expected = list(&[(Acl::OWNER, 6), (2, 7), (Acl::GROUP, 5), (Acl::MASK, 6), (Acl::OTHERS, 4)]);
        assert_eq!((mode, rest), (0o664, Some(expected)));
    }

    #[test]
    fn a_group_that_can_not_be_given_leaves_ours_no_more_than_everybody_has() {
        for (mode, closed) in [(0o660, 0o600), (0o664, 0o644), (0o640, 0o600), (0o604, 0o604), (0o777, 0o777)] {
            assert_eq!(without_group(mode), closed);
        }
        let mut acl = list(&[(Acl::OWNER, 7), (2, 7), (Acl::GROUP, 6), (Acl::MASK, 7), (Acl::OTHERS, 4)]);
        acl.close_group();
        assert_eq!(acl, list(&[(Acl::OWNER, 7), (2, 7), (Acl::GROUP, 4), (Acl::MASK, 7), (Acl::OTHERS, 4)]));
    }
}
