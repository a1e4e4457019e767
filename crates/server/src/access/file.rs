//! The users file itself: its name, and reading it.

use std::{io, os::unix::fs::MetadataExt as _, path::Path};

use super::{Users, UsersError};
use crate::files::{WholeFile, may_be_there};

/// The name of the file beside the configuration.
pub const FILE_NAME: &str = "users.toml";

/// A file that is larger is another one.
const MAX_BYTES: u64 = 16 << 20;

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
        let file = WholeFile::read(path, MAX_BYTES)?;
        let mode = file.status.mode() & 0o7777;
        Ok(UsersFile { text: file.into_text()?, mode })
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
            let way_out = if may_be_there(path) { "" } else { "; 'ferryd user add NAME' makes it" };
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
