//! Replaces the users file: as a whole, or not at all.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{
    access::{Users, file::UsersFile},
    files::parent,
};

/// Changes the text of the file at `path`, which is made where it is missing. A symbolic link stays
/// one: its target is replaced. Mode and owner stay as they were; a file that is made is readable
/// and writable by its owner alone.
///
/// Others that change it by this function wait for each other. Where somebody else changes it
/// meanwhile, nothing is done.
pub(super) fn replace(path: &Path, change: impl FnOnce(&str) -> Result<String, String>) -> Result<(), String> {
    let target = target(path)?;
    let directory = parent(&target);
    let open =
        File::open(directory).map_err(|error| format!("can't open the directory {}: {error}", directory.display()))?;
    lock(&open).map_err(|error| format!("can't lock the directory {}: {error}", directory.display()))?;
    let before = read(&target)?;
    let text = change(before.as_ref().map_or("", |file| &file.text))?;
    // The edit may have broken a file in an unforeseen form. Only a valid users file replaces one.
    Users::parse(&text, path)
        .map_err(|error| format!("nothing was changed: the edit would make no sense of it: {error}"))?;
    let cannot_write =
        |error: io::Error| format!("can't write in {}: {error}; nothing was changed", directory.display());
    let mut file = tempfile::Builder::new().prefix(".users.toml.").tempfile_in(directory).map_err(cannot_write)?;
    file.write_all(text.as_bytes()).map_err(cannot_write)?;
    if before.is_some() {
        keep_owner_and_mode(&target, file.as_file())?;
    }
    file.as_file().sync_all().map_err(cannot_write)?;
    let now = read(&target)?;
    if now.as_ref().map(|file| &file.text) != before.as_ref().map(|file| &file.text) {
        return Err(format!("{} was changed meanwhile, so nothing was done: try again", path.display()));
    }
    match before {
        Some(_) => file.persist(&target).map_err(|error| cannot_write(error.error))?,
        None => file.persist_noclobber(&target).map_err(|error| cannot_write(error.error))?,
    };
    open.sync_all().map_err(|error| format!("{} is changed, but a power cut may undo that: {error}", path.display()))
}

/// Reads the file at `path`; [`None`] where there is none.
pub(super) fn read(path: &Path) -> Result<Option<UsersFile>, String> {
    match UsersFile::read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Makes the directory of the usual file, where it is missing.
pub(super) fn make_directory(path: &Path) -> Result<(), String> {
    let directory = parent(path);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| format!("can't make the directory {}: {error}", directory.display()))
}

/// Returns the file itself, behind all symbolic links; or where it is to be.
fn target(path: &Path) -> Result<PathBuf, String> {
    match fs::canonicalize(path) {
        Ok(target) => Ok(target),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::symlink_metadata(path) {
            Ok(_) => Err(format!("{} is a symbolic link that leads nowhere", path.display())),
            Err(_) => Ok(path.to_owned()),
        },
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Waits until no other process edits in the directory. A file system without such locks does
/// without: changes by others are looked for all the same, before the file is replaced.
fn lock(directory: &File) -> Result<(), Errno> {
    loop {
        match flock(directory, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            // NFS locks only files that are open for writing.
            Err(Errno::BADF | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NOLCK) => return Ok(()),
            locked => return locked,
        }
    }
}

fn keep_owner_and_mode(target: &Path, file: &File) -> Result<(), String> {
    let failed = |error: io::Error| {
        format!(
            "can't keep owner and mode of {}: {error}; run this as its owner. Nothing was changed",
            target.display()
        )
    };
    let (old, new) = (fs::metadata(target).map_err(failed)?, file.metadata().map_err(failed)?);
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid())).map_err(failed)?;
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o777)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, sync::Barrier, thread};

    use tempfile::TempDir;

    use super::*;

    fn place() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.toml");
        (directory, path)
    }

    fn entries(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode() {
        let (directory, path) = place();
        replace(&path, |text| Ok(format!("{text}[users.a]\n"))).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace(&path, |text| Ok(format!("{text}[users.b]\n"))).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(&path).unwrap(), "[users.a]\n[users.b]\n");
        assert_eq!(entries(directory.path()), 1);
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let (directory, path) = place();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let real = inner.join("real.toml");
        symlink("inner/real.toml", &path).unwrap();
        assert!(replace(&path, |_| Ok(String::new())).unwrap_err().contains("leads nowhere"));
        fs::write(&real, "").unwrap();
        replace(&path, |_| Ok("[users.a]\n".into())).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "[users.a]\n");
        assert_eq!((entries(directory.path()), entries(&inner)), (2, 1));
    }

    #[test]
    fn what_fails_changes_nothing_and_leaves_nothing() {
        let (directory, path) = place();
        fs::write(&path, "[users.a]\n").unwrap();
        assert_eq!(replace(&path, |_| Err("no".into())), Err("no".into()));
        let error = replace(&path, |_| Ok("frob = 1".into())).unwrap_err();
        assert!(error.contains("nothing was changed") && error.contains("frob"), "{error}");
        let meddle = |text: &str| {
            fs::write(&path, "[users.b]\n").unwrap();
            Ok(format!("{text}[users.c]\n"))
        };
        let error = replace(&path, meddle).unwrap_err();
        assert!(error.contains("was changed meanwhile"), "{error}");
        assert_eq!((fs::read_to_string(&path).unwrap(), entries(directory.path())), ("[users.b]\n".into(), 1));
        fs::remove_file(&path).unwrap();
        let made = |_: &str| fs::write(&path, "[users.d]\n").map(|()| String::new()).map_err(|error| error.to_string());
        assert!(replace(&path, made).is_err());
        assert_eq!((fs::read_to_string(&path).unwrap(), entries(directory.path())), ("[users.d]\n".into(), 1));
        assert!(replace(&directory.path().join("missing/users.toml"), |_| Ok(String::new())).is_err());
    }

    #[test]
    fn edits_at_one_time_are_all_there() {
        const EDITS: usize = 8;
        let (directory, path) = place();
        let begin = Barrier::new(EDITS);
        thread::scope(|scope| {
            for at in 0..EDITS {
                let (path, begin) = (&path, &begin);
                scope.spawn(move || {
                    begin.wait();
                    replace(path, |text| Ok(format!("{text}[users.u{at}]\n"))).unwrap();
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(Users::parse(&text, &path).unwrap().names().len(), EDITS, "{text}");
        assert_eq!(entries(directory.path()), 1);
    }
}
