//! The server's end of the control socket.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::geteuid,
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A server answers there.
    #[error("can't listen at {}: it is the control socket of a server that runs (ferryd status shows it)", .0.display())]
    Taken(PathBuf),
    /// The file is no socket.
    #[error("can't listen at {}: that is no socket", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses it.
    #[error("can't listen at {}: {error}{}", .path.display(), hint(.error))]
    System {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => " (its directory has to be made first)",
        io::ErrorKind::InvalidInput => " (a path of a socket has at most 107 bytes)",
        _ => "",
    }
}

/// A listening control socket.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    /// The file, if it is to be removed at the end.
    file: Option<SocketFile>,
}

/// The file of a socket.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device, inode and time: an inode may be another file's before long.
    identity: (u64, u64, i64, i64),
}

impl ControlSocket {
    /// Listens at `path`, for the owner alone (mode 0600). The socket of a server that has ended gives way.
    ///
    /// # Errors
    ///
    /// Where a server answers there, where the file is no socket, or where the system refuses.
    pub fn bind(path: &Path) -> Result<ControlSocket, ControlError> {
        let failed = |error| ControlError::System { path: path.into(), error };
        let listener = match bind_private(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path)?;
                bind_private(path).map_err(failed)?
            }
            bound => bound.map_err(failed)?,
        };
        let file = SocketFile::of(path).map_err(failed)?;
        Ok(ControlSocket { listener, file: Some(file) })
    }

    /// Returns a socket that is listened at already. Its file is somebody else's, unless its `path` is known.
    ///
    /// # Errors
    ///
    /// Where the system refuses the settings of such a socket.
    pub fn inherited(listener: UnixListener, path: Option<&Path>) -> Result<ControlSocket, ControlError> {
        let failed = |error| ControlError::System { path: path.unwrap_or(Path::new("-")).into(), error };
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(ControlSocket { listener, file: path.and_then(|path| SocketFile::of(path).ok()) })
    }

    /// Returns the directory of its file, if nobody but the owner can reach it: there the file can
    /// be removed at the end.
    #[must_use]
    pub fn private_directory(&self) -> Option<PathBuf> {
        let directory = self.file.as_ref()?.path.parent()?;
        let status = fs::metadata(directory).ok()?;
        let is_private = status.uid() == geteuid().as_raw() && status.mode() & 0o077 == 0;
        is_private.then(|| directory.to_owned())
    }

    /// Takes it apart: the listening socket, and the file to be removed at the end.
    #[must_use]
    pub fn into_parts(self) -> (UnixListener, Option<SocketFile>) {
        (self.listener, self.file)
    }
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<SocketFile> {
        let status = fs::symlink_metadata(path)?;
        let identity = (status.dev(), status.ino(), status.mtime(), status.mtime_nsec());
        // A bare name has a directory, too.
        Ok(SocketFile { path: std::path::absolute(path)?, identity })
    }

    /// Removes the file, unless another server has put its own in its place. Where that is not
    /// permitted, the next server replaces it.
    pub fn remove(self) {
        if SocketFile::of(&self.path).is_ok_and(|now| now.identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a socket that nobody but the owner can connect to, from its first moment on.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    // Linux gives the file the mode of the socket.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let address = SocketAddrUnix::new(path).map_err(|_| io::ErrorKind::InvalidInput)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Removes a socket at which nobody answers.
fn remove_stale(path: &Path) -> Result<(), ControlError> {
    let failed = |error| ControlError::System { path: path.into(), error };
    let status = fs::symlink_metadata(path).map_err(failed)?;
    if !status.file_type().is_socket() {
        return Err(ControlError::NoSocket(path.into()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        // Its server has just removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        _ => Err(ControlError::Taken(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_gives_way_and_no_other_file_does() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("s");
        let first = ControlSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(ControlSocket::bind(&path), Err(ControlError::Taken(_))));
        let (listener, file) = first.into_parts();
        drop(listener);
        assert!(path.exists());
        // So it differs with a coarse clock of the file system, too.
        let mut file = file.unwrap();
        file.identity.2 -= 1;
        let (_second, second_file) = ControlSocket::bind(&path).unwrap().into_parts();
        // The file of the first one is gone; the other server's stays.
        file.remove();
        assert!(path.exists());
        second_file.unwrap().remove();
        assert!(!path.exists());
        fs::write(&path, b"precious").unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(ControlError::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn what_is_wrong_with_a_path_is_said() {
        let place = tempfile::tempdir().unwrap();
        for (path, word) in [("no/where", "directory has to be made"), (&"x".repeat(200), "107 bytes")] {
            let said = ControlSocket::bind(&place.path().join(path)).unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
        }
    }
}
