//! Errors of the store, told to clients: one table from kinds to codes and words.

use ferry_wire::{Code, Failure, escaped};

use crate::{
    store::{ErrorKind, StoreError, SystemError},
    units::counted,
};

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let (code, words) = told(error.kind);
        let words: std::borrow::Cow<'static, str> = match error.kind {
            ErrorKind::HeldElsewhere { seconds: Some(seconds) } => {
                format!("another server holds this upload; if that one has failed, for {seconds} s at most; try again")
                    .into()
            }
            ErrorKind::PastEnd { size } => format!("the file has only {}", counted(size, "byte")).into(),
            ErrorKind::NotDurable(_) => format!("the change was made, but may not survive a power cut: {words}").into(),
            _ => words.into(),
        };
        match error.path.as_deref() {
            None => Failure::new(code, words),
            Some("") => Failure::new(code, format!("the root: {words}")),
            Some(path) => Failure::new(code, format!("{}: {words}", escaped(path))),
        }
    }
}

/// Returns the code and the words for a kind of error.
fn told(kind: ErrorKind) -> (Code, &'static str) {
    match kind {
        ErrorKind::System(error) | ErrorKind::NotDurable(error) => of_the_system(error),
        ErrorKind::MountPoint => (Code::Denied, "something else is mounted there"),
        ErrorKind::SpecialEntry => (Code::Denied, "is neither a file nor a directory"),
        ErrorKind::Changed => (Code::Changed, "the file changed while it was read"),
        ErrorKind::OtherVersion => (Code::Changed, "the file is another version now"),
        ErrorKind::PastEnd { .. } => (Code::BadRange, "the file ends before"),
        ErrorKind::IntoItself => (Code::BadRequest, "a directory can't move into itself"),
        ErrorKind::CantRename => (Code::Unsupported, "this file system can't rename that"),
        ErrorKind::ForeignProject => (
            Code::Denied,
            "its directory has a disk quota of its own (a project), and the server may make no file count for it",
        ),
        ErrorKind::ProjectBoundary => (
            Code::Denied,
            "its directory has a disk quota of its own (a project), and what is elsewhere can't be moved there",
        ),
        ErrorKind::RootGone => (Code::Io, "the server's root has been removed; the server must be started again"),
        ErrorKind::AreaGone => (
            Code::Io,
            "the directory .ferry, where the server stages, has been removed; the server must be started again",
        ),
        ErrorKind::StagedGone => (Code::Io, "what was staged of it has been removed"),
        ErrorKind::NameTaken => (Code::Exists, "something has that name already"),
        ErrorKind::NameFree => (Code::Denied, "nothing has that name, and you may add nothing here"),
        ErrorKind::ForeignUpload => (Code::Denied, "that id is of somebody else's upload"),
        ErrorKind::IdTaken => (Code::Exists, "that id is taken by another upload"),
        ErrorKind::NoUpload => (Code::NotFound, "no upload is known by that id: it was not begun, or is gone"),
        ErrorKind::HeldElsewhere { .. } => {
            (Code::Busy, "another server process holds this upload, or has only just let go of it; try again")
        }
        ErrorKind::TakenOver => (Code::Changed, "a newer connection took this upload over"),
        ErrorKind::NotHeld => (Code::Busy, "no connection to this server process holds that upload; RESUME it first"),
        ErrorKind::BadPart => (Code::BadRange, "a part of no bytes, beyond the end, or over what is there already"),
        ErrorKind::TooManyParts => {
            (Code::Busy, "that upload has as many parts as may be; send those between them first")
        }
        ErrorKind::PartsMissing => (Code::Incomplete, "the parts do not have all of the rest"),
        ErrorKind::OtherCrc => (Code::Checksum, "the bytes that arrived have another CRC"),
        ErrorKind::TooManyKept { own: false } => {
            (Code::Busy, "the server keeps as many unfinished uploads as it may; try again later, or PUT")
        }
        ErrorKind::TooManyKept { own: true } => {
            (Code::Busy, "the server keeps as many unfinished uploads of yours as it may; end one, or PUT")
        }
        ErrorKind::StagingFull { own: false } => {
            (Code::NoSpace, "the server's room for unfinished uploads is used up; try again later")
        }
        ErrorKind::StagingFull { own: true } => {
            (Code::NoSpace, "your room for unfinished uploads at this server is used up; end one of them")
        }
        ErrorKind::Abandoned => (Code::Incomplete, "the connection was lost"),
        ErrorKind::Remounted => {
            (Code::Busy, "the server's file system was mounted anew since this upload began; send it again")
        }
        ErrorKind::NoAnswer => (Code::Busy, "the server's file system does not answer; try again later"),
        ErrorKind::MayBeMade => (
            Code::Busy,
            "the server's file system does not answer; the change may be made all the same: look before you try again",
        ),
        ErrorKind::Panicked => (Code::Io, "the server made a mistake; its log says which"),
    }
}

fn of_the_system(error: SystemError) -> (Code, &'static str) {
    match error {
        SystemError::NotFound => (Code::NotFound, "there is no such file or directory"),
        SystemError::Exists => (Code::Exists, "something has that name already"),
        SystemError::IsDirectory => (Code::NotAFile, "is a directory, not a file"),
        SystemError::IsSpecial => (Code::NotAFile, "is neither a file nor a directory"),
        SystemError::NotDirectory => (Code::NotADirectory, "is not a directory, or lies in something that is none"),
        SystemError::NotEmpty => (Code::NotEmpty, "the directory is not empty"),
        SystemError::NameTooLong => (Code::BadName, "a part of the name is too long for this file system"),
        SystemError::NameNotHeld => (Code::BadName, "this file system can't hold that name"),
        SystemError::SymbolicLink => (Code::Denied, "symbolic links are not followed"),
        SystemError::OtherFileSystem => (Code::Denied, "lies on another file system than the server's root"),
        SystemError::Permission => (Code::Denied, "the server has no permission"),
        SystemError::ReadOnly => (Code::ReadOnly, "the file system is read-only"),
        SystemError::FileTooLarge => (Code::TooLarge, "larger than the server's system lets a file be"),
        SystemError::DiskFull => (Code::NoSpace, "the server's disk is full"),
        SystemError::DiskQuota => (Code::NoSpace, "the server's disk quota is used up"),
        SystemError::OpenFiles => (Code::Busy, "the server has too many files open; try again"),
        SystemError::Memory => (Code::Busy, "the server is short of memory; try again"),
        SystemError::InUse => (Code::Busy, "it is in use; try again"),
        SystemError::Stale => (Code::Busy, "the file system has just given it up; try again"),
        SystemError::Unreachable => (Code::Busy, "the server's file system can't be reached now; try again later"),
        SystemError::DirectoryFull => (Code::NoSpace, "the directory can hold no more directories"),
        SystemError::Disk => (Code::Io, "the server's disk failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_escaped() {
        let not_found = ErrorKind::System(SystemError::NotFound);
        let failure = Failure::from(StoreError::at("a\u{202e}b", not_found));
        assert_eq!(failure.code, Code::NotFound);
        assert!(failure.message.starts_with("a\\u{202e}b: "));
        let failure = Failure::from(StoreError::at("", not_found));
        assert!(failure.message.starts_with("the root: "));
    }
}
