//! Errors of the store, by kind: what went wrong, and with which name. Codes and words are a protocol's.

use ferry_wire::Name;
use rustix::io::Errno;

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// Why.
    pub kind: ErrorKind,
    /// The name that it was met with, empty for the root; [`None`] where it is no name's.
    pub path: Option<Box<str>>,
}

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The system refused.
    System(SystemError),
    /// The change was made, but its directory could not be synced.
    NotDurable(SystemError),
    /// Something else is mounted there: it can neither lose its name nor be replaced.
    MountPoint,
    /// Something that is neither a file nor a directory can't be changed.
    SpecialEntry,
    /// The file changed while it was read.
    Changed,
    /// The file is another version than the one that was asked for.
    OtherVersion,
    /// The range begins after the end of the file.
    PastEnd {
        /// Bytes of the file.
        size: u64,
    },
    /// A directory can't move into itself.
    IntoItself,
    /// The file system can't rename that.
    CantRename,
    /// The directory has a project quota that no file of the server may count for.
    ForeignProject,
    /// The directory has a project quota, and nothing can be moved there.
    ProjectBoundary,
    /// The directory that is served has been removed.
    RootGone,
    /// The server's corner of the root has been removed.
    AreaGone,
    /// The staged bytes of the upload have been removed.
    StagedGone,
    /// Something has the name, and nothing may be replaced.
    NameTaken,
    /// Nothing has the name, and nothing may be added.
    NameFree,
    /// The upload belongs to another user.
    ForeignUpload,
    /// The id is another upload's.
    IdTaken,
    /// Nothing is known of the upload: it was not begun, or is gone.
    NoUpload,
    /// Another server process holds the upload.
    HeldElsewhere {
        /// For so long at most if that one has failed, in seconds; [`None`] where its end is seen at once.
        seconds: Option<u64>,
    },
    /// A newer connection took the upload over.
    TakenOver,
    /// No connection of this process holds the upload, so that it takes no parts here.
    NotHeld,
    /// The part is of no bytes, ends beyond the file, or overlaps what is there.
    BadPart,
    /// The upload has as many parts as may be.
    TooManyParts,
    /// Parts do not have all of the rest of the file.
    PartsMissing,
    /// The bytes have another CRC than the client says.
    OtherCrc,
    /// As many unfinished uploads are kept as may be.
    TooManyKept {
        /// Of the owner's; else of all.
        own: bool,
    },
    /// The room for unfinished uploads is used up.
    StagingFull {
        /// The owner's; else that of all.
        own: bool,
    },
    /// Nobody waited for the operation any more.
    Abandoned,
    /// The file system was mounted anew since the upload was begun.
    Remounted,
    /// The file system did not answer in time.
    NoAnswer,
    /// The file system did not answer a change in time: it may have been made, or be made yet.
    MayBeMade,
    /// A helper panicked.
    Panicked,
}

/// An error of the system: the errno mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemError {
    /// There is no such file or directory.
    NotFound,
    /// Something has that name already.
    Exists,
    /// A directory, where a file is wanted.
    IsDirectory,
    /// Neither a file nor a directory.
    IsSpecial,
    /// No directory, or something in what is none.
    NotDirectory,
    /// The directory is not empty.
    NotEmpty,
    /// A component is too long for the file system.
    NameTooLong,
    /// The file system can't hold that name.
    NameNotHeld,
    /// A symbolic link.
    SymbolicLink,
    /// Another file system than the root's.
    OtherFileSystem,
    /// The server has no permission.
    Permission,
    /// The file system is read-only.
    ReadOnly,
    /// The file would be larger than the system lets it be.
    FileTooLarge,
    /// The disk is full.
    DiskFull,
    /// The disk quota is used up.
    DiskQuota,
    /// Too many files are open.
    OpenFiles,
    /// The system is short of memory.
    Memory,
    /// It is in use.
    InUse,
    /// The directory can hold no more directories.
    DirectoryFull,
    /// The file system gave the entry up that was held: it has to be looked up again.
    Stale,
    /// The file system can't be reached, or parts of it can't.
    Unreachable,
    /// The disk failed, or any other error.
    Disk,
}

impl From<Errno> for SystemError {
    fn from(error: Errno) -> SystemError {
        match error {
            Errno::NOENT => SystemError::NotFound,
            Errno::EXIST => SystemError::Exists,
            Errno::ISDIR => SystemError::IsDirectory,
            // Opening a device without a driver says so.
            Errno::NODEV => SystemError::IsSpecial,
            Errno::NOTDIR => SystemError::NotDirectory,
            Errno::NOTEMPTY => SystemError::NotEmpty,
            Errno::NAMETOOLONG => SystemError::NameTooLong,
            Errno::ILSEQ => SystemError::NameNotHeld,
            Errno::LOOP => SystemError::SymbolicLink,
            Errno::XDEV => SystemError::OtherFileSystem,
            Errno::ACCESS | Errno::PERM => SystemError::Permission,
            Errno::ROFS => SystemError::ReadOnly,
            // The limit of the file system, or RLIMIT_FSIZE.
            Errno::FBIG => SystemError::FileTooLarge,
            Errno::NOSPC => SystemError::DiskFull,
            Errno::DQUOT => SystemError::DiskQuota,
            Errno::MFILE | Errno::NFILE => SystemError::OpenFiles,
            Errno::NOMEM => SystemError::Memory,
            Errno::AGAIN | Errno::BUSY | Errno::TXTBSY => SystemError::InUse,
            Errno::MLINK => SystemError::DirectoryFull,
            Errno::STALE => SystemError::Stale,
            // The program that plays the file system has ended, or the machine that has the bytes can't
            // be reached. Opening a socket says NXIO as well, but nothing opens what it has not looked at.
            Errno::NOTCONN
            | Errno::SHUTDOWN
            | Errno::NXIO
            | Errno::CONNABORTED
            | Errno::TIMEDOUT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH => SystemError::Unreachable,
            _ => SystemError::Disk,
        }
    }
}

impl StoreError {
    /// Returns an error of `kind`, met with `path`; empty for the root.
    #[must_use]
    pub fn at(path: &str, kind: ErrorKind) -> StoreError {
        StoreError { kind, path: Some(path.into()) }
    }

    /// Returns an error of the system, met with `path`; empty for the root.
    pub(super) fn system(path: &str, error: Errno) -> StoreError {
        StoreError::at(path, ErrorKind::System(error.into()))
    }

    /// Returns whether an entry was met that the file system has given up: looked up again it may be there.
    pub(super) fn is_stale(&self) -> bool {
        self.kind == ErrorKind::System(SystemError::Stale)
    }

    /// Returns an error that is no name's.
    #[must_use]
    pub fn of(kind: ErrorKind) -> StoreError {
        StoreError { kind, path: None }
    }

    /// Returns the error of a change that was made, but whose directory could not be synced.
    pub(super) fn not_durable(error: Errno) -> StoreError {
        StoreError::of(ErrorKind::NotDurable(error.into()))
    }

    /// Returns the error of an entry that has no status to look at.
    pub(super) fn entry(name: &Name, error: Errno) -> StoreError {
        match error {
            Errno::XDEV => StoreError::at(name.as_str(), ErrorKind::MountPoint),
            error => StoreError::system(name.as_str(), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_is_out_of_reach_may_be_back() {
        for error in [Errno::NOTCONN, Errno::SHUTDOWN, Errno::NXIO] {
            assert_eq!(SystemError::from(error), SystemError::Unreachable);
        }
        assert_eq!(SystemError::from(Errno::STALE), SystemError::Stale);
    }

    #[test]
    fn what_nobody_thought_of_is_the_disks_fault() {
        assert_eq!(SystemError::from(Errno::IO), SystemError::Disk);
        assert_eq!(SystemError::from(Errno::DQUOT), SystemError::DiskQuota);
    }
}
