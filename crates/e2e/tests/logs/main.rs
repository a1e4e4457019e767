//! The logs of the built server: what stands in them, in which form, and that neither a client nor a disk can do harm by
//! them.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disk;
mod forms;
mod noise;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use ferry_e2e::{Options, eventually};
use tempfile::TempDir;

/// Alice's password is "password", and its hash cheap. Clients that have not logged in may read.
const USERS: &str = "[anonymous]\nrights = { \"\" = \"r\" }\n[users.alice]\nrights = { \"\" = \"rw\" }\n\
     password = \"$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg\"\n";

/// A directory with a users file, for logs.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let users = place.path("users.toml");
        fs::write(&users, USERS).unwrap();
        fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A server that has accounts, its log in `log` and its transfers in `transfers`.
    fn options(&self, form: &str) -> Options {
        let options = Options::new().arg("--users").arg(self.path("users.toml"));
        let options = options.arg("--log-file").arg(self.path("log"));
        options.arg("--transfer-log").arg(self.path("transfers")).arg("--transfer-log-format").arg(form)
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Waits until a file holds `text`, and returns all of it.
#[track_caller]
fn once_it_holds(path: &Path, text: &str) -> String {
    eventually(&format!("{} holds {text:?}", path.display()), || Some(read(path)).filter(|all| all.contains(text)))
}
