//! Errors of the system, told to clients: one table.

use std::fmt::Display;

use ferry_wire::{Code, Failure, Name, escaped};
use rustix::io::Errno;

/// The code and the words for `error`, met while handling `name`.
pub(super) fn failure(name: &str, error: Errno) -> Failure {
    let (code, words) = explain(error);
    about(name, code, words)
}

/// A failure about `name`.
pub(super) fn about(name: &str, code: Code, words: impl Display) -> Failure {
    Failure::new(code, format!("{}: {words}", escaped(name)))
}

/// What to say where `name` is a mount point: it can neither lose its name nor be replaced.
pub(super) fn mounted_on(name: &str) -> Failure {
    about(name, Code::Denied, "something else is mounted there")
}

/// Returns the failure to report where a change was made, but its directory could not be synced.
pub(super) fn not_durable(error: Errno) -> Failure {
    let (code, words) = explain(error);
    Failure::new(code, format!("the change was made, but may not survive a power cut: {words}"))
}

/// Returns the failure to report where the entry `name` of its parent has no status to look at.
pub(super) fn entry_failure(name: &Name, error: Errno) -> Failure {
    if error == Errno::XDEV { mounted_on(name.as_str()) } else { failure(name.as_str(), error) }
}

/// What to say where the directory that is served is no more.
pub(super) fn root_is_gone() -> Failure {
    Failure::new(Code::Io, "the server's root has been removed; the server must be started again")
}

fn explain(error: Errno) -> (Code, &'static str) {
    match error {
        Errno::NOENT => (Code::NotFound, "there is no such file or directory"),
        Errno::EXIST => (Code::Exists, "something has that name already"),
        Errno::ISDIR => (Code::NotAFile, "is a directory, not a file"),
        // What opening a socket says, or a device without a driver.
        Errno::NXIO | Errno::NODEV => (Code::NotAFile, "is neither a file nor a directory"),
        Errno::NOTDIR => (Code::NotADirectory, "is not a directory, or lies in something that is none"),
        Errno::NOTEMPTY => (Code::NotEmpty, "the directory is not empty"),
        Errno::NAMETOOLONG => (Code::BadName, "a part of the name is too long for this file system"),
        Errno::ILSEQ => (Code::BadName, "this file system can't hold that name"),
        Errno::LOOP => (Code::Denied, "symbolic links are not followed"),
        Errno::XDEV => (Code::Denied, "lies on another file system than the server's root"),
        Errno::ACCESS | Errno::PERM => (Code::Denied, "the server has no permission"),
        Errno::ROFS => (Code::ReadOnly, "the file system is read-only"),
        // That of the file system, or RLIMIT_FSIZE.
        Errno::FBIG => (Code::TooLarge, "larger than the server's system lets a file be"),
        Errno::NOSPC => (Code::NoSpace, "the server's disk is full"),
        Errno::DQUOT => (Code::NoSpace, "the server's disk quota is used up"),
        Errno::MFILE | Errno::NFILE => (Code::Busy, "the server has too many files open; try again"),
        Errno::NOMEM => (Code::Busy, "the server is short of memory; try again"),
        Errno::AGAIN | Errno::BUSY | Errno::TXTBSY => (Code::Busy, "it is in use; try again"),
        Errno::MLINK => (Code::NoSpace, "the directory can hold no more directories"),
        _ => (Code::Io, "the server's disk failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_escaped() {
        let failure = failure("a\u{202e}b", Errno::NOENT);
        assert_eq!(failure.code, Code::NotFound);
        assert!(failure.message.starts_with("a\\u{202e}b: "));
    }

    #[test]
    fn what_nobody_thought_of_is_the_disks_fault() {
        assert_eq!(failure("a", Errno::IO).code, Code::Io);
        assert_eq!(failure("a", Errno::STALE).code, Code::Io);
        assert_eq!(failure("a", Errno::DQUOT).code, Code::NoSpace);
    }
}
