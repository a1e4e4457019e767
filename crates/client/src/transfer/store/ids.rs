//! The ids of resumable uploads, kept between runs so that an upload that was cut goes on where it was.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use ferry_wire::Id;
use rustix::fs::OFlags;

use super::{files::Upload, known::Known};
use crate::{
    address::Address,
    error::Error,
    local::{Stamp, Version, checked_line, hash, line, lock},
    random,
};

/// An id that nobody came back for in this time is removed when another one is kept: servers forget sooner.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// The beginning of the names of these files.
const PREFIX: &str = "upload-";

/// The longest that is read: points of several TiB.
const MAX_BYTES: u64 = 4 << 20;

/// Draws an id.
pub(crate) fn new_id() -> Result<Id, Error> {
    let id = format!("{:016x}{:016x}", random::bits()?, random::bits()?);
    Id::new(&id).map_err(|error| Error::System { what: "draw a random id", source: io::Error::other(error) })
}

/// The id of one upload.
#[derive(Debug)]
struct KeptId {
    id: Id,
    version: Version,
    known: Known,
    /// Its file, locked, and where that is.
    file: Option<(Arc<File>, PathBuf)>,
}

/// Ids by the places of their files in the list.
#[derive(Debug)]
pub(super) struct Ids {
    address: Address,
    directory: Option<PathBuf>,
    /// The caller's own, for the first file that needs one.
    given: Option<Id>,
    /// Whether the directory was looked after.
    prepared: bool,
    /// Whether an earlier call left any, once that was looked at.
    any_left: Option<bool>,
    kept: HashMap<usize, KeptId>,
}

/// An id to send.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) id: Id,
    /// Whether an upload was begun under it before.
    pub(super) origin: Origin,
    /// How the CRC of its file runs.
    pub(super) known: Known,
}

/// Where an id comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nothing was begun under it.
    New,
    /// The same, and what was begun under an earlier one is of no use, for this reason.
    Instead(&'static str),
    /// An earlier call has begun an upload under it.
    Found,
    /// This call has drawn it or taken it up before.
    Held,
}

pub(super) const CHANGED: &str = "it changed here";

impl KeptId {
    fn drawn(&self, origin: Origin) -> Drawn {
        Drawn { id: self.id.clone(), origin, known: self.known.clone() }
    }

    /// Forgets what was read of the file unless it still has this `stamp`.
    fn read_anew_unless(&mut self, stamp: Option<&Stamp>) {
        if !self.known.is_of(stamp) {
            self.known = Known::nothing(stamp.cloned());
        }
    }
}

impl Ids {
    /// Keeps ids in `directory`, which is made where it is missing, or for this call alone.
    pub(super) fn new(address: &Address, directory: Option<&Path>) -> Ids {
        let directory = directory.map(Path::to_owned);
        Ids { address: address.clone(), directory, given: None, prepared: false, any_left: None, kept: HashMap::new() }
    }

    /// Takes the id from the caller.
    pub(super) fn given(address: &Address, id: &Id) -> Ids {
        Ids { given: Some(id.clone()), ..Ids::new(address, None) }
    }

    /// Makes the directory when the first id is to be kept in it.
    fn prepare(&mut self) {
        let Some(path) = self.directory.as_ref().filter(|_| !self.prepared) else { return };
        if let Err(error) = prepare(path) {
            log::warn!("uploads can't be resumed later: {}: {error}", path.display());
            self.directory = None;
        }
        self.prepared = true;
    }

    /// The id for `version` of a file, whose content has this `stamp`. It is on the disk when this returns, where that is
    /// possible.
    pub(super) fn of(
        &mut self,
        index: usize,
        file: Upload<'_>,
        version: &Version,
        stamp: Option<&Stamp>,
    ) -> Result<Drawn, Error> {
        let mut origin = Origin::New;
        if let Some(kept) = self.kept.get_mut(&index) {
            if kept.version == *version {
                kept.read_anew_unless(stamp);
                return Ok(kept.drawn(Origin::Held));
            }
            origin = Origin::Instead(CHANGED);
            self.forget(index);
        }
        self.prepare();
        let known = Known::nothing(stamp.cloned());
        let id = self.given.take().map_or_else(new_id, Ok)?;
        let mut kept = KeptId { id, version: version.clone(), known, file: None };
        if let Some(path) = self.path_of(file) {
            match keep(&path, &mut kept, &self.describe(file), stamp) {
                Ok(Origin::New) => {}
                Ok(found) => origin = found,
                Err(error) => log::warn!("this upload can't be resumed later: {}: {error}", path.display()),
            }
        }
        let drawn = kept.drawn(origin);
        self.kept.insert(index, kept);
        Ok(drawn)
    }

    /// The upload is through, or its id of no more use.
    pub(super) fn forget(&mut self, index: usize) {
        if let Some(KeptId { file: Some((_locked, path)), .. }) = self.kept.remove(&index)
            && let Err(error) = fs::remove_file(&path)
        {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }

    /// Forgets what was begun of a file that is too small by now for an id. Says whether anything was.
    pub(super) fn abandon(&mut self, index: usize, file: Upload<'_>) -> bool {
        if self.kept.contains_key(&index) {
            self.forget(index);
            return true;
        }
        let Some(directory) = &self.directory else { return false };
        // Of many small files, none should cost more than this where nothing was cut.
        if !*self.any_left.get_or_insert_with(|| has_ids(directory)) {
            return false;
        }
        let Some(path) = self.path_of(file) else { return false };
        match left(&path, &self.describe(file)) {
            // Locked until it is gone: nobody else goes on with it meanwhile.
            Ok(Some(_locked)) => fs::remove_file(&path).is_ok(),
            Ok(None) => false,
            Err(error) => {
                log::debug!("{}: {error}", path.display());
                false
            }
        }
    }

    /// Returns words that tell this upload from others, whatever the version of its file.
    fn describe(&self, file: Upload<'_>) -> String {
        format!("{} {}", self.address, file.described())
    }

    fn path_of(&self, file: Upload<'_>) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        Some(directory.join(format!("{PREFIX}{:016x}", hash(self.describe(file).as_bytes()))))
    }
}

fn prepare(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age > KEEP));
        if old && entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn has_ids(directory: &Path) -> bool {
    fs::read_dir(directory)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().as_bytes().starts_with(PREFIX.as_bytes())))
}

/// The file of `upload`'s id, locked; [`None`] where it is of another upload, or another process has it.
fn left(path: &Path, upload: &str) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if !lock(&file) {
        return Ok(None);
    }
    let mut text = Vec::new();
    (&file).take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(parse(&text, upload).map(|_| file))
}

/// Takes the id from `path` if it is of the same version of the same upload, and writes it there if not. Says which.
/// Where another process has the file, the id is kept for this call alone.
fn keep(path: &Path, kept: &mut KeptId, upload: &str, stamp: Option<&Stamp>) -> io::Result<Origin> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    if !lock(&file) {
        return Ok(Origin::New);
    }
    let mut text = Vec::new();
    (&file).take(MAX_BYTES).read_to_end(&mut text)?;
    let origin = match parse(&text, upload) {
        Some((id, version)) if version == kept.version => {
            kept.id = id;
            Origin::Found
        }
        Some(_) => Origin::Instead(CHANGED),
        None if text.is_empty() => Origin::New,
        None => Origin::Instead("what was noted of its upload is damaged"),
    };
    match origin {
        Origin::Found => {
            let (head, journal) = text.split_at(head_bytes(&text));
            kept.known = Known::parse(stamp.cloned(), journal);
            file.set_len(head.len() as u64)?;
        }
        _ => {
            let text = [line(&format!("ferry-upload 1 {} {}", kept.id, kept.version.0)), line(upload)].concat();
            file.set_len(0)?;
            file.write_all(&text)?;
            file.sync_all()?;
            if let Some(directory) = path.parent() {
                File::open(directory)?.sync_all()?;
            }
        }
    }
    let file = Arc::new(file);
    kept.known.keep_in(Arc::clone(&file));
    kept.file = Some((file, path.to_owned()));
    Ok(origin)
}

/// Where the lines end that say which upload it is.
fn head_bytes(text: &[u8]) -> usize {
    text.split_inclusive(|byte| *byte == b'\n').take(2).map(<[u8]>::len).sum()
}

fn parse(text: &[u8], upload: &str) -> Option<(Id, Version)> {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').map(checked_line);
    let (id, version) = lines.next()??.strip_prefix("ferry-upload 1 ")?.split_once(' ')?;
    let id = Id::new(id).ok()?;
    (lines.next()?? == upload).then(|| (id, Version(version.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::Store;
    use ferry_wire::{Crc32, Digest, Name};
    use std::os::unix::fs::MetadataExt as _;

    fn ids(state: &Path) -> Ids {
        Ids::new(&Address::new("127.0.0.1", 1), Some(state))
    }

    #[test]
    fn an_id_is_kept_for_one_version_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("deep/state");
        let file = Store { source: directory.path().join("a\nb").into(), name: Name::new("x y").unwrap() };
        let (one, two) = (Version("1".into()), Version("2".into()));
        let first = ids(&state).of(0, (&file).into(), &one, None).unwrap();
        assert_eq!(first.origin, Origin::New);
        let again = ids(&state).of(7, (&file).into(), &one, None).unwrap();
        assert_eq!((again.id, again.origin), (first.id.clone(), Origin::Found));
        let kept = fs::read_dir(&state).unwrap().next().unwrap().unwrap();
        assert_eq!(kept.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);

        let mut holder = ids(&state);
        let changed = holder.of(0, (&file).into(), &two, None).unwrap();
        assert!(changed.origin == Origin::Instead(CHANGED) && changed.id != first.id);
        assert_eq!(holder.of(0, (&file).into(), &two, None).unwrap().origin, Origin::Held);
        assert_ne!(
            ids(&state).of(0, (&file).into(), &two, None).unwrap().id,
            changed.id,
            "two at once never share one"
        );
        let other = Store { name: Name::new("z").unwrap(), ..file.clone() };
        assert_ne!(holder.of(1, (&other).into(), &two, None).unwrap().id, changed.id);
        holder.forget(0);
        holder.forget(1);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    }

    #[test]
    fn what_was_read_of_a_file_is_kept_beside_its_id() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let file = Store { source: directory.path().join("a").into(), name: Name::new("x").unwrap() };
        let (version, stamp) = (Version("1".into()), Stamp("5.000000001".into()));
        // Returns what was known, and then reads `more`.
        let again = |stamp: Option<&Stamp>, more: u64| {
            let Drawn { id, origin, known } = ids(&state).of(0, (&file).into(), &version, stamp).unwrap();
            let found = known.before(u64::MAX);
            known.read(&Digest::resume(Crc32(more as u32), more), more);
            (id, origin, found.bytes(), found.crc())
        };
        let (id, origin, ..) = again(Some(&stamp), 77);
        assert_eq!(origin, Origin::New);
        for _ in 0..3 {
            assert_eq!(again(Some(&stamp), 0), (id.clone(), Origin::Found, 77, Crc32(77)));
        }
        // A part of a line, as a full disk leaves it.
        let path = fs::read_dir(&state).unwrap().next().unwrap().unwrap().path();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"at 99 00").unwrap();
        assert_eq!(again(Some(&stamp), 88).2, 77);
        let size = fs::metadata(&path).unwrap().len();
        assert_eq!(again(Some(&stamp), 0).2, 88);
        assert_eq!(fs::metadata(&path).unwrap().len(), size, "it grows by what is new alone");
        for changed in [Some(&Stamp("5.000000002".into())), None, Some(&stamp)] {
            assert_eq!(again(changed, 0), (id.clone(), Origin::Found, 0, Crc32::EMPTY));
        }
    }

    #[test]
    fn a_damaged_id_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let file = Store { source: directory.path().join("a").into(), name: Name::new("x").unwrap() };
        let version = Version("1".into());
        let first = ids(&state).of(0, (&file).into(), &version, None).unwrap();
        let path = fs::read_dir(&state).unwrap().next().unwrap().unwrap().path();
        let text = fs::read(&path).unwrap();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let other = ids(&state).of(0, (&file).into(), &version, None).unwrap();
            assert!(other.id != first.id && matches!(other.origin, Origin::Instead(_)), "byte {at}");
        }
    }
}
