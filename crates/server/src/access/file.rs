//! The users file itself: where it is, and reading it.

use std::{
    env,
    ffi::OsString,
    fs::OpenOptions,
    io::{self, ErrorKind, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{Users, UsersError};

/// The name of the file beside the configuration.
pub const FILE_NAME: &str = "users.toml";

/// A file that is larger is another one.
const MAX_BYTES: u64 = 16 << 20;

/// Returns where the users file is, unless `--users` says otherwise: `users.toml` beside the
/// server's configuration, in `$CONFIGURATION_DIRECTORY`, else in `$XDG_CONFIG_HOME/ferryd`, else
/// in `~/.config/ferryd`. [`None`] where nothing says where any of these is.
#[must_use]
pub fn usual_path() -> Option<PathBuf> {
    usual_path_by(|name| env::var_os(name))
}

fn usual_path_by(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // A path that depends on where one is would lead somebody else's way.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let given = variable("CONFIGURATION_DIRECTORY").and_then(|all| {
        // systemd may name several, with colons between.
        let first = env::split_paths(&all).next()?;
        first.is_absolute().then_some(first)
    });
    let directory = given
        .or_else(|| absolute("XDG_CONFIG_HOME").map(|path| path.join("ferryd")))
        .or_else(|| absolute("HOME").map(|path| path.join(".config/ferryd")))?;
    Some(directory.join(FILE_NAME))
}

/// A users file as it was read.
#[derive(Debug)]
pub struct UsersFile {
    /// Its text.
    pub text: String,
    /// The permissions of the file, as in its mode.
    pub mode: u32,
}

impl UsersFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// Where that can't be done, or it is no regular file, larger than 16 MiB, or no UTF-8.
    pub fn read(path: &Path) -> io::Result<UsersFile> {
        // A FIFO would be waited for.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        if file.take(MAX_BYTES + 1).read_to_end(&mut bytes)? as u64 > MAX_BYTES {
            return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            io::Error::other(format!("line {line} is not UTF-8"))
        })?;
        Ok(UsersFile { text, mode: metadata.mode() & 0o7777 })
    }

    /// Returns what to warn of, where others than the owner and the group may read the file, or
    /// others than the owner may write it.
    #[must_use]
    pub fn warning(&self, path: &Path) -> Option<String> {
        let what = match self.mode {
            mode if mode & 0o022 != 0 => "write",
            mode if mode & 0o004 != 0 => "read",
            _ => return None,
        };
        Some(format!("{}: others may {what} it (mode {:04o}): chmod 600", path.display(), self.mode))
    }
}

impl Users {
    /// Reads the users file at `path`. Returns what to warn of with it.
    ///
    /// # Errors
    ///
    /// Where it can't be read, or something in it makes no sense.
    pub fn load(path: &Path) -> Result<(Users, Option<String>), UsersError> {
        let file = UsersFile::read(path).map_err(|error| {
            let way_out = if error.kind() == ErrorKind::NotFound { "; 'ferryd user add NAME' makes it" } else { "" };
            UsersError::unreadable(path, format!("{error}{way_out}"))
        })?;
        let users = Users::parse(&file.text, path)?;
        let idle = users.is_idle().then(|| {
            format!(
                "{}: nobody may do anything: [anonymous] has no rights, and no user has a password or a token \
                 (`ferryd user passwd NAME` gives one)",
                path.display()
            )
        });
        let warnings: Vec<_> = file.warning(path).into_iter().chain(idle).collect();
        Ok((users, (!warnings.is_empty()).then(|| warnings.join("; "))))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn the_usual_place_is_beside_the_configuration() {
        let place = |variables: &[(&str, &str)]| {
            let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            usual_path_by(get).map(|path| path.to_str().unwrap().to_owned())
        };
        let home = ("HOME", "/home/f");
        assert_eq!(place(&[home]).as_deref(), Some("/home/f/.config/ferryd/users.toml"));
        let config = ("XDG_CONFIG_HOME", "/x");
        assert_eq!(place(&[home, config]).as_deref(), Some("/x/ferryd/users.toml"));
        let given = ("CONFIGURATION_DIRECTORY", "/etc/ferryd");
        assert_eq!(place(&[home, config, given]).as_deref(), Some("/etc/ferryd/users.toml"));
        let several = ("CONFIGURATION_DIRECTORY", "/etc/one:/etc/two");
        assert_eq!(place(&[several]).as_deref(), Some("/etc/one/users.toml"));
        for unusable in ["", "relative"] {
            assert_eq!(
                place(&[("XDG_CONFIG_HOME", unusable), home]).as_deref(),
                Some("/home/f/.config/ferryd/users.toml")
            );
            assert_eq!(place(&[("HOME", unusable)]), None);
        }
        assert_eq!(place(&[]), None);
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.toml");
        let error = Users::load(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
        assert!(error.ends_with("'ferryd user add NAME' makes it"), "{error}");
        fs::write(&path, "[anonymous]\nrights = { \"\" = \"r\" }\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (users, warning) = Users::load(&path).unwrap();
        assert!(users.may_log_in() && warning.is_none());
        for (mode, told) in [(0o644, "may read it (mode 0644)"), (0o660, "may write it"), (0o606, "may write it")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let warning = Users::load(&path).unwrap().1.unwrap();
            assert!(warning.contains(told) && warning.ends_with("chmod 600"), "{warning}");
        }
        fs::write(&path, b"a\nb\xff").unwrap();
        assert!(Users::load(&path).unwrap_err().to_string().ends_with("line 2 is not UTF-8"));
        fs::File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(Users::load(&path).unwrap_err().to_string().contains("more than 16777216 bytes"));
        assert!(Users::load(directory.path()).is_err());
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(Users::load(&fifo).unwrap_err().to_string().ends_with("it is no regular file"));
    }
}
