//! Log files: opening them, writing records to them whole or not at all, and opening them anew when
//! they were rotated.

use std::{
    fs::{File, FileType, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};

use super::sink::Output;
use crate::files::{can_make_in, directories_of, may_use, parent};

/// Why a log file can't be used. One line, for the user who started the server.
#[derive(Debug, thiserror::Error)]
#[error("can't log to {}: {why}", path.display())]
pub struct LogFileError {
    path: PathBuf,
    why: String,
}

/// A file to append to: a regular one, or something else that takes bytes.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    is_regular: bool,
    /// It ends inside a line of a process that is gone: a new line begins before anything else.
    is_torn: bool,
}

impl LogFile {
    /// Opens the log file at `path`. A new one is readable for its owner only. `/dev/stdout` and
    /// `/dev/stderr` are those of this process.
    ///
    /// # Errors
    ///
    /// Where it can't be made or written, or is nothing that a log can be written to: a directory,
    /// a block device, a socket, a FIFO that nobody reads.
    pub(super) fn open(path: &Path) -> Result<LogFile, LogFileError> {
        let refused = |why: String| LogFileError { path: path.to_owned(), why };
        let file = open(path).map_err(|error| refused(why(path, &error)))?;
        let kind = file.metadata().map_err(|error| refused(error.to_string()))?.file_type();
        if let Some(why) = unfit(kind) {
            return Err(refused(why.to_owned()));
        }
        let is_regular = kind.is_file();
        Ok(LogFile { path: path.to_owned(), file, is_regular, is_torn: is_regular && is_torn(path) })
    }

    /// Looks whether the log file at `path` could be opened, and changes nothing. Whether somebody
    /// reads a FIFO is not seen.
    ///
    /// # Errors
    ///
    /// Where it could not.
    pub(super) fn probe(path: &Path) -> Result<(), LogFileError> {
        let refused = |why: String| LogFileError { path: path.to_owned(), why };
        if stream(path).is_some() {
            return Ok(());
        }
        let found = match path.metadata().map(|status| unfit(status.file_type())) {
            Ok(Some(why)) => return Err(refused(why.to_owned())),
            Ok(None) => may_use(path, Access::WRITE_OK).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && parent(path).is_dir() => can_make_in(parent(path))
                .map_err(|error| format!("it is to be made in {}: {error}", parent(path).display())),
            Err(error) => Err(why(path, &error)),
        };
        found.map_err(refused)
    }

    /// Returns the directories through which it is opened anew: none for a file that is never
    /// rotated.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        if !self.is_rotated() {
            return Vec::new();
        }
        directories_of(&self.path)
    }

    /// Returns whether its path may come to mean another file: not where that is a stream's, even if
    /// the stream leads to a file.
    pub(super) fn is_rotated(&self) -> bool {
        self.is_regular && stream(&self.path).is_none()
    }

    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns an error that refuses it.
    pub(super) fn refused(&self, why: &str) -> LogFileError {
        LogFileError { path: self.path.clone(), why: why.to_owned() }
    }

    /// Returns whether both are one regular file.
    pub(super) fn is_same_as(&self, other: &LogFile) -> bool {
        use std::os::unix::fs::MetadataExt;
        let identity = |file: &LogFile| file.file.metadata().map(|status| (status.dev(), status.ino())).ok();
        self.is_regular && identity(self).is_some_and(|this| identity(other) == Some(this))
    }
}

impl Output for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            self.is_torn = false;
        }
        self.file.write(bytes)
    }

    fn take_back(&mut self, bytes: usize) -> bool {
        // Another process may have written behind it.
        let end =
            self.file.stream_position().ok().filter(|&end| self.file.metadata().is_ok_and(|now| now.len() == end));
        let kept = end.filter(|_| self.is_regular).and_then(|end| end.checked_sub(bytes as u64));
        // A stream need not append: it goes on where it stands.
        kept.is_some_and(|kept| self.file.set_len(kept).is_ok() && self.file.seek(SeekFrom::Start(kept)).is_ok())
    }

    fn reopen(&mut self) -> io::Result<bool> {
        let is_rotated = self.is_rotated();
        if is_rotated {
            *self = LogFile::open(&self.path).map_err(|error| io::Error::other(error.why))?;
        }
        Ok(is_rotated)
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(stream) = stream(path) {
        // To open a socket is an error, as standard output is one under systemd.
        return stream().map(File::from);
    }
    // A FIFO that nobody reads is an error, and nothing to wait for.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Returns the function that opens the standard stream that a path names, if it names one.
fn stream(path: &Path) -> Option<fn() -> io::Result<OwnedFd>> {
    match path.to_str()? {
        "/dev/stdout" => Some(|| io::stdout().as_fd().try_clone_to_owned()),
        "/dev/stderr" => Some(|| io::stderr().as_fd().try_clone_to_owned()),
        _ => None,
    }
}

/// Returns why a file of this kind can't be a log.
fn unfit(kind: FileType) -> Option<&'static str> {
    match kind {
        _ if kind.is_block_device() => Some("it is a block device"),
        _ if kind.is_dir() => Some("it is a directory"),
        _ if kind.is_socket() => Some("it is a socket"),
        _ => None,
    }
}

/// Returns why it can't be opened, in words.
fn why(path: &Path, error: &io::Error) -> String {
    let kind = path.metadata().map(|status| status.file_type()).ok();
    let parent = parent(path);
    match kind {
        Some(kind) if unfit(kind).is_some() => unfit(kind).unwrap_or_default().to_owned(),
        None if error.kind() == io::ErrorKind::NotFound && !parent.exists() => {
            format!("its directory, {}, is missing, and has to be made first", parent.display())
        }
        Some(kind) if kind.is_fifo() && Errno::from_io_error(error) == Some(Errno::NXIO) => {
            "it is a FIFO that nobody reads: start its reader first".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Returns whether a regular file ends inside a line. One that can't be read is taken not to.
fn is_torn(path: &Path) -> bool {
    let last = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        io::Result::Ok(last)
    };
    last().is_ok_and(|last| last != *b"\n")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, os::unix::net::UnixListener, process::Command};

    use super::*;

    fn write_all(file: &mut LogFile, bytes: &[u8]) {
        assert_eq!(file.write(bytes).unwrap(), bytes.len());
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_an_old_one_is_appended_to() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        write_all(&mut LogFile::open(&path).unwrap(), b"first\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write_all(&mut LogFile::open(&path).unwrap(), b"second\nthi");
        // As if the process had been killed inside a line.
        write_all(&mut LogFile::open(&path).unwrap(), b"fourth\n");
        assert_eq!(fs::read(&path).unwrap(), b"first\nsecond\nthi\nfourth\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_part_of_a_record_is_taken_back_unless_another_process_has_written_behind_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let [mut file, mut other] = [(); 2].map(|()| LogFile::open(&path).unwrap());
        write_all(&mut file, b"whole\npar");
        assert!(file.take_back(3));
        write_all(&mut file, b"part");
        write_all(&mut other, b"other\n");
        assert!(!file.take_back(4));
        assert_eq!(fs::read(&path).unwrap(), b"whole\npartother\n");
        assert!(!LogFile::open("/dev/null".as_ref()).unwrap().take_back(0));
    }

    #[test]
    fn a_stream_that_leads_to_a_file_is_never_rotated_and_has_no_gaps() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        // As a shell opens it: it does not append.
        let (stream, file) = (PathBuf::from("/dev/stdout"), File::create(&path).unwrap());
        let mut file = LogFile { path: stream, file, is_regular: true, is_torn: false };
        write_all(&mut file, b"whole\npar");
        assert!(file.take_back(3));
        write_all(&mut file, b"part\n");
        assert_eq!(fs::read(&path).unwrap(), b"whole\npart\n");
        assert!(!file.reopen().unwrap() && file.directories().is_empty());
    }

    #[test]
    fn a_rotated_file_is_made_anew_and_keeps_being_written_where_it_can_not_be() {
        let place = tempfile::tempdir().unwrap();
        let [directory, moved] = ["directory", "moved"].map(|name| place.path().join(name));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("log");
        let mut file = LogFile::open(&path).unwrap();
        write_all(&mut file, b"before\n");
        fs::rename(&path, directory.join("log.1")).unwrap();
        assert!(file.reopen().unwrap());
        write_all(&mut file, b"after\n");
        assert_eq!(fs::read(&path).unwrap(), b"after\n");
        assert_eq!(fs::read(directory.join("log.1")).unwrap(), b"before\n");
        fs::rename(&directory, &moved).unwrap();
        assert!(file.reopen().unwrap_err().to_string().contains("is missing"));
        write_all(&mut file, b"still\n");
        assert_eq!(fs::read(moved.join("log")).unwrap(), b"after\nstill\n");
    }

    #[test]
    fn what_is_no_file_is_refused_in_words_or_never_reopened() {
        let place = tempfile::tempdir().unwrap();
        let [socket, fifo, absent] = ["socket", "fifo", "absent/log"].map(|name| place.path().join(name));
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for (path, why) in [
            (place.path(), "it is a directory"),
            (&socket, "it is a socket"),
            (&absent, "absent, is missing, and has to be made first"),
            (&socket.join("log"), "Not a directory"),
        ] {
            let errors =
                [LogFile::open(path).map(drop), LogFile::probe(path)].map(|looked| looked.unwrap_err().to_string());
            assert!(errors[0].starts_with("can't log to ") && errors[0].contains(why), "{errors:?}");
            assert_eq!(errors[0], errors[1]);
        }
        assert!(LogFile::open(&fifo).unwrap_err().to_string().contains("it is a FIFO that nobody reads"));
        let new = place.path().join("new");
        for path in [&fifo, &new, Path::new("/dev/stdout"), Path::new("/dev/null")] {
            LogFile::probe(path).unwrap();
        }
        assert!(!new.exists(), "looking makes nothing");
        let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
        let mut file = LogFile::open(&fifo).unwrap();
        write_all(&mut file, b"line\n");
        assert!(!file.reopen().unwrap() && file.directories().is_empty());
        let mut read = [0; 5];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, *b"line\n");
        for path in ["/dev/stdout", "/dev/stderr", "/dev/null"] {
            assert!(LogFile::open(path.as_ref()).is_ok(), "{path}");
        }
    }

    #[test]
    fn two_paths_of_one_file_are_known() {
        let place = tempfile::tempdir().unwrap();
        let [path, link, other] = ["log", "link", "other"].map(|name| place.path().join(name));
        let file = LogFile::open(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(file.is_same_as(&LogFile::open(&link).unwrap()));
        assert!(!file.is_same_as(&LogFile::open(&other).unwrap()));
        let null = || LogFile::open("/dev/null".as_ref()).unwrap();
        assert!(!null().is_same_as(&null()));
    }
}
