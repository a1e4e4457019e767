//! The default path of the control socket: in a runtime directory, named after the port.

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

/// The runtime directory of a machine's own services.
const OF_SYSTEM: &str = "/run/ferryd";

/// Returns the path for the control socket of a server at `port`, in a directory that is made if it
/// is missing: `$RUNTIME_DIRECTORY`, else `$XDG_RUNTIME_DIR/ferryd`, else `/run/ferryd` for root
/// and `/tmp/ferryd-UID` for others.
///
/// # Errors
///
/// Where the directory can't be made, or is not this user's alone.
pub fn default_path(port: u16) -> io::Result<PathBuf> {
    let directories = directories(&variable, geteuid().as_raw());
    let (directory, is_ours) = directories.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
    if is_ours {
        make(&directory)?;
    }
    Ok(directory.join(name(port)))
}

/// Returns the paths at which the control socket of a server at `port` may be, the likeliest first:
/// its environment may differ from this process's.
#[must_use]
pub fn usual_paths(port: u16) -> Vec<PathBuf> {
    let uid = geteuid();
    let mut all: Vec<_> = directories(&variable, uid.as_raw()).into_iter().map(|(directory, _)| directory).collect();
    all.push(OF_SYSTEM.into());
    if !uid.is_root() {
        all.push(of_user(uid.as_raw()));
    }
    all.dedup();
    all.into_iter().map(|directory| directory.join(name(port))).collect()
}

fn name(port: u16) -> String {
    format!("{port}.sock")
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the directories that there may be, the one to use first, and whether each is made by the
/// server itself.
fn directories(variable: &dyn Fn(&str) -> Option<OsString>, uid: u32) -> Vec<(PathBuf, bool)> {
    let absolute = |path: PathBuf| Some(path).filter(|path| path.is_absolute());
    // systemd may name several.
    let given = variable("RUNTIME_DIRECTORY").and_then(|all| env::split_paths(&all).next()).and_then(absolute);
    let of_session = variable("XDG_RUNTIME_DIR").map(PathBuf::from).and_then(absolute);
    let last = if uid == 0 { OF_SYSTEM.into() } else { of_user(uid) };
    let given = given.map(|path| (path, false));
    given.into_iter().chain(of_session.map(|path| (path.join("ferryd"), true))).chain([(last, true)]).collect()
}

fn of_user(uid: u32) -> PathBuf {
    format!("/tmp/ferryd-{uid}").into()
}

/// Makes a directory that nobody else can write to. One that another user has made is refused.
fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let status = fs::symlink_metadata(directory)?;
    let is_ours = status.is_dir() && status.uid() == geteuid().as_raw() && status.mode() & 0o022 == 0;
    let refused = || io::Error::new(io::ErrorKind::PermissionDenied, "it is not this user's alone");
    is_ours.then_some(()).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_nearest_directory_counts() {
        let first = |own: &str, xdg: &str, uid| {
            let variable = |name: &str| {
                let value = if name == "RUNTIME_DIRECTORY" { own } else { xdg };
                (!value.is_empty()).then(|| value.into())
            };
            let (directory, is_made) = directories(&variable, uid).remove(0);
            (directory.to_str().unwrap().to_owned(), is_made)
        };
        assert_eq!(first("/run/a:/run/b", "/run/user/1", 1), ("/run/a".into(), false));
        assert_eq!(first("", "/run/user/1", 1), ("/run/user/1/ferryd".into(), true));
        assert_eq!(first("relative", "relative", 1), ("/tmp/ferryd-1".into(), true));
        assert_eq!(first("", "", 0), ("/run/ferryd".into(), true));
    }

    #[test]
    fn a_directory_that_others_could_have_filled_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("d");
        make(&directory).unwrap();
        make(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o722)).unwrap();
        assert!(make(&directory).is_err());
        let link = place.path().join("link");
        symlink(place.path(), &link).unwrap();
        assert!(make(&link).is_err());
        assert!(make(&place.path().join("no/where")).is_err());
    }
}
