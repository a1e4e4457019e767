//! The files that an administrator names: how small ones are read, whether one is there, and whether one could be made.

use std::{
    fs::{self, Metadata, OpenOptions},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, FsWord, OFlags, PROC_SUPER_MAGIC, accessat, statfs},
    io::Errno,
};

/// The file system of `/sys` (`SYSFS_MAGIC` of `linux/magic.h`).
const SYSFS_MAGIC: FsWord = 0x6265_6572;

/// A file that was read as a whole.
#[derive(Debug)]
pub(crate) struct WholeFile {
    /// Its content.
    pub(crate) bytes: Vec<u8>,
    /// Its status, taken while it was open.
    pub(crate) status: Metadata,
}

impl WholeFile {
    /// Reads the file at `path`. It never waits for somebody to write into a FIFO.
    ///
    /// # Errors
    ///
    /// Where it can't be read, is no regular file, or has more than `most` bytes.
    pub(crate) fn read(path: &Path, most: u64) -> io::Result<WholeFile> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let status = file.metadata()?;
        if !status.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        if file.take(most + 1).read_to_end(&mut bytes)? as u64 > most {
            return Err(io::Error::other(format!("it has more than {most} bytes")));
        }
        Ok(WholeFile { bytes, status })
    }

    /// Returns its content as text.
    ///
    /// # Errors
    ///
    /// Where it is not UTF-8, with the line.
    pub(crate) fn into_text(self) -> io::Result<String> {
        String::from_utf8(self.bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            io::Error::other(format!("line {line} is not UTF-8"))
        })
    }
}

/// Returns whether `path` may have been given to something: a file, or a symbolic link that leads nowhere. In doubt it has.
#[must_use]
pub(crate) fn may_be_there(path: &Path) -> bool {
    !fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Returns the directory in which `path` lies.
#[must_use]
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the directories through which the file at `path` is opened again: an edit or a rotation puts another one in its
/// place. Where it is a symbolic link, that of what it leads to is one.
#[must_use]
pub(crate) fn directories_of(path: &Path) -> Vec<PathBuf> {
    let led_to = path.canonicalize().ok().map(|file| parent(&file).to_owned());
    led_to.into_iter().chain([parent(path).to_owned()]).collect()
}

/// Looks whether this process may use a file or directory so, by the user as whom it acts. Nothing on a file system that
/// is mounted read-only can be written.
///
/// # Errors
///
/// Where it may not.
pub(crate) fn may_use(path: &Path, how: Access) -> io::Result<()> {
    let asked = match accessat(CWD, path, how, AtFlags::EACCESS) {
        // A kernel before 5.8, or a filter of system calls that does not know this one: then by the user who started it.
        Err(Errno::NOSYS | Errno::PERM) => accessat(CWD, path, how, AtFlags::empty()),
        asked => asked,
    };
    Ok(asked?)
}

/// Looks whether a file could be made in a directory, and changes nothing. Neither a full disk nor a quota is seen.
///
/// # Errors
///
/// Where it could not.
pub(crate) fn can_make_in(directory: &Path) -> io::Result<()> {
    if !fs::metadata(directory)?.is_dir() {
        return Err(io::Error::other("it is no directory"));
    }
    may_use(directory, Access::WRITE_OK | Access::EXEC_OK)?;
    // Root may write there, by all that access tells, and yet nobody can make a file.
    if [PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&statfs(directory)?.f_type) {
        return Err(io::Error::other("it shows the kernel, and holds no files"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let read = WholeFile::read(&directory.path().join(name), 5);
            read.and_then(WholeFile::into_text).map_err(|error| error.to_string())
        };
        for (name, bytes, told) in [
            ("empty", &b""[..], Ok("")),
            ("fits", b"12345", Ok("12345")),
            ("large", b"123456", Err("it has more than 5 bytes")),
            ("binary", b"1\n2\xff", Err("line 2 is not UTF-8")),
        ] {
            fs::write(directory.path().join(name), bytes).unwrap();
            assert_eq!(read(name), told.map(str::to_owned).map_err(str::to_owned), "{name}");
        }
        assert!(read("none").unwrap_err().starts_with("No such file"));
        assert_eq!(read("."), Err("it is no regular file".into()));
        // Nobody ever writes into it.
        mknodat(CWD, directory.path().join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(read("fifo"), Err("it is no regular file".into()));
    }

    #[test]
    fn a_link_that_leads_nowhere_may_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        symlink("nowhere", at("link")).unwrap();
        fs::write(at("file"), "").unwrap();
        assert!(may_be_there(&at("link")) && may_be_there(&at("file")) && may_be_there(&at("file/beneath")));
        assert!(!may_be_there(&at("nowhere")) && !may_be_there(&at("nowhere/beneath")));
    }

    #[test]
    fn a_directory_is_where_a_file_can_be_made() {
        let directory = tempfile::tempdir().unwrap();
        can_make_in(directory.path()).unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(can_make_in(&directory.path().join("file")).unwrap_err().to_string().contains("no directory"));
        assert!(can_make_in(&directory.path().join("none")).is_err());
        // Nobody can there, root neither.
        for directory in ["/proc", "/proc/self", "/sys"] {
            assert!(can_make_in(Path::new(directory)).is_err(), "{directory}");
        }
    }

    #[test]
    fn a_file_is_opened_again_beside_itself_and_where_a_link_leads() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("below")).unwrap();
        fs::write(at("below/file"), "").unwrap();
        symlink("below/file", at("link")).unwrap();
        let below = at("below").canonicalize().unwrap();
        assert_eq!(directories_of(&at("link")), [below, directory.path().to_owned()]);
        assert_eq!(directories_of(&at("none")), [directory.path()]);
        assert_eq!(parent(Path::new("a")), Path::new("."));
        assert_eq!(parent(Path::new("a/b")), Path::new("a"));
    }
}
