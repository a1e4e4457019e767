//! The store that is served, opened again where the mount of its root died.
//!
//! The program that plays a file system may end, and a file server may forget its clients. All that is open there
//! then fails for ever, and the same path leads to another mount, once there is one. So whatever fails because the file
//! system can't be reached has the root looked at ([`ServedStore::keep_reachable`]). Where the root itself is dead, its
//! path is opened again, by a thread that does nothing else, until that leads to the same kind of file system
//! with the server's corner in it.
//!
//! A [`Store`] never changes its root: there is another one then. Uploads belong to the store that they were begun at.
//! Their bytes on the dead mount can be read by nobody; they fail as busy, and RESUME goes on from
//! the journals that are found on the new one.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    thread,
    time::Duration,
};

use rustix::io::Errno;

use super::{
    AREA, Area, ContentUsage, CrcUsage, Disk, Owner, OwnerLimits, SmallFinish, Store, StoreLimits, StoreUsage, Upload,
    error::{ErrorKind, StoreError, SystemError},
    operation::{
        Completion, Finish, NameCompletion, NameOperation, Operation, ReadCompletion, ReadOperation, Resumed,
        UploadCompletion, UploadNumber, UploadOperation,
    },
    root::Root,
    shift::Shift,
};

/// The time between two looks at a root that can't be reached, and the least between any two.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// See the [module documentation](self). Shared by the loop and its helpers.
#[derive(Debug)]
pub struct ServedStore {
    current: RwLock<Arc<Store>>,
    /// Those before, as long as there are uploads that were begun at them.
    earlier: Mutex<Vec<Arc<Store>>>,
    limits: Mutex<Limits>,
    /// Something failed that could not be reached.
    doubted: (Mutex<bool>, Condvar),
}

/// The limits that were set since the first store was opened.
#[derive(Debug, Default)]
struct Limits {
    all: Option<StoreLimits>,
    owners: HashMap<Owner, OwnerLimits>,
}

/// Why a root was not opened again.
#[derive(Debug, PartialEq, Eq)]
enum Obstacle {
    System(Errno),
    OtherFileSystem,
    NoCorner,
    Refused(String),
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Obstacle::System(Errno::ACCESS | Errno::PERM) => f.write_str(
                "it may not be opened: where the fence is the reason (Landlock; the log of the start says so), restart this server",
            ),
            Obstacle::System(error) => write!(f, "{error}"),
            Obstacle::OtherFileSystem => f.write_str("another kind of file system is there, as where nothing is mounted"),
            Obstacle::NoCorner => f.write_str("there is no .ferry in it, so it is not the root that was served"),
            Obstacle::Refused(why) => f.write_str(why),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether an error says that the file system can't be reached by what is open there.
fn is_out_of_reach(error: &StoreError) -> bool {
    let (ErrorKind::System(error) | ErrorKind::NotDurable(error)) = error.kind else { return false };
    matches!(error, SystemError::Unreachable | SystemError::Stale)
}

impl ServedStore {
    /// Serves `store`, and those that take its place.
    #[must_use]
    pub fn new(store: Store) -> ServedStore {
        ServedStore {
            current: RwLock::new(Arc::new(store)),
            earlier: Mutex::default(),
            limits: Mutex::default(),
            doubted: Default::default(),
        }
    }

    fn current(&self) -> Arc<Store> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does what can be done without waiting for a disk: see [`Store::try_now`].
    ///
    /// # Errors
    ///
    /// The operation itself, which is a helper's then.
    pub fn try_now<'s>(
        &self,
        operation: Operation<Disk>,
        scratch: &'s mut [u8],
    ) -> Result<Completion<'s, Disk>, Operation<Disk>> {
        self.current().try_now(operation, scratch)
    }

    /// Reads, waiting for the disk where it must: see [`Store::read`].
    pub fn read(
        &self,
        operation: ReadOperation<Disk>,
        scratch: &mut [u8],
        gets_on: &dyn Fn() -> bool,
    ) -> ReadCompletion<'static, Disk> {
        let completion = self.current().read(operation, scratch, gets_on);
        self.note(completion.error());
        completion
    }

    /// Brings an upload further: see [`Store::advance`].
    pub fn advance(&self, operation: UploadOperation<Disk>, gets_on: &dyn Fn() -> bool) -> UploadCompletion<Disk> {
        let store = match &operation {
            // Its files are to be let go of, wherever they are.
            UploadOperation::Discard { upload } | UploadOperation::Keep { upload, .. } => self.store_of(upload),
            _ => Some(self.current()),
        };
        let Some(store) = store else { return UploadCompletion::Released };
        let completion = store.advance(operation, gets_on);
        self.note(completion.error());
        completion
    }

    /// Returns what tells the lock apart that an operation takes, of the file of an upload that is written
    /// meanwhile; [`None`] where it takes none. Parts share that of the upload that they are of.
    #[must_use]
    pub fn lock_of(&self, operation: &UploadOperation<Disk>) -> Option<usize> {
        match operation {
            UploadOperation::Part(start) => self.current().held.get(&start.id).map(|upload| upload.lock_address()),
            UploadOperation::Write { upload, .. } => Some(upload.lock_address()),
            UploadOperation::Finish(Finish { upload, .. })
            | UploadOperation::Discard { upload }
            | UploadOperation::Keep { upload, .. } => {
                (upload.is_part() || upload.has_parts()).then(|| upload.lock_address())
            }
            UploadOperation::Stage(_) | UploadOperation::Resume(_) | UploadOperation::Checkpoint { .. } => None,
        }
    }

    /// Finishes several small uploads: see [`Store::finish_small`].
    pub fn finish_small(&self, shift: &mut dyn Shift<SmallFinish>) -> Vec<(UploadNumber, Result<(), StoreError>)> {
        let finished = self.current().finish_small(shift);
        finished.iter().for_each(|(_, finished)| self.note(finished.as_ref().err()));
        finished
    }

    /// Makes changes in their order: see [`Store::change_names`].
    pub fn change_names(&self, shift: &mut dyn Shift<NameOperation<Disk>>) -> Vec<NameCompletion> {
        let completions = self.current().change_names(shift);
        completions.iter().for_each(|completion| self.note(completion.error()));
        completions
    }

    /// Takes the completion of an operation for which nobody waits any more: see [`Store::forget`].
    pub fn forget(&self, completion: Completion<'_, Disk>) {
        let upload = match &completion {
            Completion::Upload(_, UploadCompletion::Resumed(Ok(Resumed::Going { upload, .. }))) => upload,
            Completion::Upload(_, UploadCompletion::Staged(Ok(part))) if part.is_part() => part,
            _ => return,
        };
        if let Some(store) = self.store_of(upload) {
            store.forget(completion);
        }
    }

    /// Returns whether no call waits for another machine, nor for a program that plays a file system.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.current().capabilities.local
    }

    /// Returns whether one wait for the disk serves many files.
    #[must_use]
    pub fn syncs_together(&self) -> bool {
        self.current().capabilities.syncfs
    }

    /// Returns what uploads take of the disk; [`None`] where it could not be known without waiting.
    #[must_use]
    pub fn usage(&self) -> Option<StoreUsage> {
        self.current().usage()
    }

    /// Returns what remembered CRCs spare.
    #[must_use]
    pub fn crc_usage(&self) -> CrcUsage {
        self.current().crc_usage()
    }

    /// Returns what cached contents spare.
    #[must_use]
    pub fn content_usage(&self) -> ContentUsage {
        self.current().content_usage()
    }

    /// Sets the limits that hold from here on: see [`Store::set_limits`].
    pub fn set_limits(&self, limits: &StoreLimits) {
        let mut known = locked(&self.limits);
        known.all = Some(*limits);
        self.current().set_limits(limits);
    }

    /// Sets the limits of owners from here on: see [`Store::set_owner_limits`].
    pub fn set_owner_limits(&self, limits: HashMap<Owner, OwnerLimits>) {
        let mut known = locked(&self.limits);
        known.owners.clone_from(&limits);
        self.current().set_owner_limits(limits);
    }

    /// Removes what ended servers, and clients that never came back, have left: see [`Store::clean`].
    pub fn clean(&self) {
        self.current().clean();
    }

    /// Says to other servers of the root that this one lives: see [`Store::beat`].
    pub fn beat(&self) {
        self.current().beat();
        self.forget_earlier();
    }

    /// Looks which other servers of the root live: see [`Store::watch`].
    pub fn watch(&self) {
        self.current().watch();
    }

    /// Returns how often to [`beat`](Self::beat), and to [`watch`](Self::watch).
    #[must_use]
    pub fn beat_interval(&self) -> Duration {
        self.current().beat_interval()
    }

    /// Ends the use of the corner: see [`Store::leave`].
    pub fn leave(&self) {
        self.current().leave();
    }

    /// Returns the store that an upload was begun at; [`None`] where that was let go of before it was begun.
    fn store_of(&self, upload: &Upload) -> Option<Arc<Store>> {
        let current = self.current();
        if current.has_begun(upload) {
            return Some(current);
        }
        locked(&self.earlier).iter().find(|store| store.has_begun(upload)).cloned()
    }

    /// Lets go of earlier stores that have no uploads any more.
    fn forget_earlier(&self) {
        let mut earlier = locked(&self.earlier);
        let (kept, gone) = std::mem::take(&mut *earlier).into_iter().partition(|store| store.has_uploads());
        *earlier = kept;
        drop(earlier);
        let gone: Vec<Arc<Store>> = gone;
        for store in gone {
            // What it holds open may be long in closing.
            let closer = store.syscalls.closer().clone();
            closer.close(store);
        }
    }

    fn note(&self, error: Option<&StoreError>) {
        if error.is_some_and(is_out_of_reach) {
            self.doubt();
        }
    }

    fn doubt(&self) {
        *locked(&self.doubted.0) = true;
        self.doubted.1.notify_one();
    }

    /// Looks at the root whenever something could not be reached, and opens it again where it is dead. Never returns:
    /// it is for a thread of its own, since a file system may never answer.
    pub fn keep_reachable(&self) -> ! {
        loop {
            let mut doubted = locked(&self.doubted.0);
            while !std::mem::take(&mut *doubted) {
                doubted = self.doubted.1.wait(doubted).unwrap_or_else(PoisonError::into_inner);
            }
            drop(doubted);
            self.reach();
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Looks at the root until it can be reached, and says in the log what stands in the way.
    fn reach(&self) {
        let mut said = None;
        loop {
            match self.look() {
                Ok(opened) => {
                    if opened {
                        log::warn!("the root was opened again: the mount that it was on had died");
                    } else if said.is_some() {
                        log::info!("the root can be reached again");
                    }
                    return;
                }
                Err(obstacle) => {
                    if said.as_ref() != Some(&obstacle) {
                        log::error!(
                            "the root can't be reached, and is to be opened again: {obstacle}; it is tried again"
                        );
                    }
                    said = Some(obstacle);
                }
            }
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Looks at the root and the corner in it, and opens both again where one can't be reached. Returns whether they
    /// were.
    fn look(&self) -> Result<bool, Obstacle> {
        let store = self.current();
        match store.probe_held() {
            Err(error) if is_out_of_reach(&error) && store.capabilities.comes_back() => {}
            _ => return Ok(false),
        }
        let opened = Arc::new(store.opened_again()?);
        let limits = locked(&self.limits);
        if let Some(all) = &limits.all {
            opened.set_limits(all);
        }
        opened.set_owner_limits(limits.owners.clone());
        // Before any operation can look for the old one there.
        locked(&self.earlier).push(store);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = opened;
        drop(limits);
        Ok(true)
    }
}

impl Store {
    /// Looks at all directories that are held open.
    fn probe_held(&self) -> Result<(), StoreError> {
        self.probe()?;
        let asked = self.area.as_ref().map_or(Ok(()), Area::ask_held);
        asked.map_err(|error| StoreError::system(AREA, error))
    }

    /// Opens the root by its path, which leads to another mount by now, and all that lies in it.
    fn opened_again(&self) -> Result<Store, Obstacle> {
        let root = Root::open(self.syscalls.clone(), &self.options.root)?;
        self.syscalls.ask(root.dir())?;
        if self.syscalls.file_system(root.dir()).ok() != self.capabilities.kind()
            || self.options.mounts.mount_at(&self.options.root).map(|mount| mount.kind) != self.mounted_as
        {
            return Err(Obstacle::OtherFileSystem);
        }
        if let Some(area) = &self.area {
            match self.syscalls.stat_entry(root.dir(), AREA) {
                Err(Errno::NOENT) => return Err(Obstacle::NoCorner),
                there => there.map(drop)?,
            }
            // Else the next one would take this process's own directory for that of one that lives.
            area.disown();
        }
        self.root.unwatch_mounts();
        let store = Store::open_at(root, &self.options, self.syscalls.clone());
        let mut store = store.map_err(|error| Obstacle::Refused(error.to_string()))?;
        // They tell of which device they are.
        (store.remembered, store.small_files) = (Arc::clone(&self.remembered), Arc::clone(&self.small_files));
        // Rights by name were checked against this.
        if self.has_one_name() && !store.has_one_name() {
            store.leave();
            return Err(Obstacle::OtherFileSystem);
        }
        Ok(store)
    }
}

impl From<Errno> for Obstacle {
    fn from(error: Errno) -> Obstacle {
        Obstacle::System(error)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::MetadataExt as _,
        path::Path,
        sync::atomic::{AtomicU64, Ordering},
    };

    use ferry_wire::{Crc32, Id, Name};
    use rustix::fs::fstat;

    use super::*;
    use crate::store::{
        Call, Chunk, Finish, Onto, Resume, Resumed, SCRATCH_BYTES, Stage, UploadNumber, Watcher, testing::options,
    };

    /// A file system of a kind that nobody knows, where one directory is dead.
    #[derive(Debug, Default)]
    struct Dead(AtomicU64);

    impl Watcher for Dead {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            match call {
                Call::FileSystem { .. } => Err(Errno::NOSYS),
                Call::Stat { file: dir } | Call::Open { dir, .. }
                    if fstat(dir).is_ok_and(|stat| stat.st_ino == self.0.load(Ordering::Relaxed)) =>
                {
                    Err(Errno::NOTCONN)
                }
                _ => Ok(()),
            }
        }

        fn after(&self, _: &Call<'_>) {}
    }

    fn name(name: &str) -> Name {
        Name::new(name).unwrap()
    }

    fn stage(store: &ServedStore, of: &str) -> Arc<Upload> {
        let stage = Stage {
            name: name(of),
            size: Some(5),
            mtime: None,
            permissions: None,
            settled: true,
            owner: Owner::default(),
        };
        match store.advance(UploadOperation::Stage(stage), &|| true) {
            UploadCompletion::Staged(Ok(upload)) => upload,
            other => panic!("{other:?}"),
        }
    }

    fn resume(store: &ServedStore) -> (Arc<Upload>, u64) {
        let (id, owner) = (Id::new("0123456789abcdef").unwrap(), Owner::default());
        let resume =
            Resume { id, name: name("kept"), size: Some(5), mtime: None, permissions: None, owner, begins: true };
        match store.advance(UploadOperation::Resume(resume), &|| true) {
            UploadCompletion::Resumed(Ok(Resumed::Going { upload, digest, .. })) => (upload, digest.bytes()),
            other => panic!("{other:?}"),
        }
    }

    /// Writes and publishes `hello`.
    fn finish(store: &ServedStore, upload: &Arc<Upload>, at: usize) -> Result<(), ErrorKind> {
        let chunk = Chunk { memory: b"hello"[at..].to_vec(), filled: 5 - at, hole: 0 };
        let chunk_crc = Crc32::of(chunk.bytes());
        let finish = Finish {
            upload: upload.clone(),
            at: at as u64,
            chunk,
            chunk_crc,
            size: 5,
            crc: Crc32::of(b"hello"),
            before: None,
        };
        match store.advance(UploadOperation::Finish(finish), &|| true) {
            UploadCompletion::Finished(finished) => finished.map_err(|error| error.kind)?,
            other => panic!("{other:?}"),
        }
        publish(store, upload)
    }

    fn publish(store: &ServedStore, upload: &Arc<Upload>) -> Result<(), ErrorKind> {
        match store
            .change_names(&mut vec![NameOperation::Publish(UploadNumber(0), upload.clone(), Onto::Any)].into_iter())
            .pop()
        {
            Some(NameCompletion::Published(_, published)) => published.map(drop).map_err(|error| error.kind),
            other => panic!("{other:?}"),
        }
    }

    /// Puts another directory at the path of `root`, with all that lies in it.
    fn replace(root: &Path, aside: &Path) {
        fs::rename(root, aside).unwrap();
        fs::create_dir(root).unwrap();
        for entry in fs::read_dir(aside).unwrap() {
            let entry = entry.unwrap();
            fs::rename(entry.path(), root.join(entry.file_name())).unwrap();
        }
    }

    /// Opens a store that holds uploads of 5 bytes at most in all.
    fn opened(root: &Path) -> (ServedStore, Arc<Dead>) {
        let dead = Arc::new(Dead::default());
        let store = ServedStore::new(Store::open_watched(&options(root), Some(dead.clone())).unwrap());
        let (max_staged, max_kept, keep) = (5, 1, Duration::from_secs(60));
        store.set_limits(&StoreLimits { max_staged, max_kept, keep, crc_cache: 0, small_cache: 0 });
        assert_eq!(store.look(), Ok(false), "nothing is wrong with it");
        (store, dead)
    }

    /// Checks that the store holds nothing of one before it, and leaves nothing behind.
    fn leave(store: &ServedStore, root: &Path) {
        store.beat();
        store.watch();
        assert!(locked(&store.earlier).is_empty(), "nothing of the dead one is held");
        store.leave();
        let left =
            fs::read_dir(root.join(AREA)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.collect::<Vec<_>>(), ["kept"]);
    }

    #[test]
    fn a_dead_root_is_opened_again_and_uploads_of_before_are_begun_anew() {
        let place = tempfile::tempdir().unwrap();
        let [root, aside] = ["root", "aside"].map(|name| place.path().join(name));
        fs::create_dir(&root).unwrap();
        let (store, dead) = opened(&root);
        let [plain, whole] = ["plain", "whole"].map(|name| stage(&store, name));
        let (kept, _) = resume(&store);
        let chunk = Chunk { memory: b"hello".to_vec(), filled: 5, hole: 0 };
        let crc = Crc32::of(b"hello");
        let all = Finish { upload: whole.clone(), at: 0, chunk, chunk_crc: crc, size: 5, crc, before: None };
        let finished = store.advance(UploadOperation::Finish(all), &|| true);
        assert!(matches!(finished, UploadCompletion::Finished(Ok(()))), "{finished:?}");

        dead.0.store(fs::metadata(&root).unwrap().ino(), Ordering::Relaxed);
        assert_eq!(store.look(), Err(Obstacle::System(Errno::NOTCONN)), "the path leads to the dead one");
        replace(&root, &aside);
        fs::rename(root.join(AREA), aside.join(AREA)).unwrap();
        assert_eq!(store.look(), Err(Obstacle::NoCorner));
        fs::rename(aside.join(AREA), root.join(AREA)).unwrap();
        *locked(&store.doubted.0) = false;
        let probed = store.read(ReadOperation::Probe, &mut vec![0; SCRATCH_BYTES], &|| true);
        assert!(probed.error().is_some_and(is_out_of_reach) && *locked(&store.doubted.0), "{probed:?}");
        assert_eq!(store.look(), Ok(true));

        assert_eq!(publish(&store, &whole), Err(ErrorKind::Remounted));
        assert_eq!(finish(&store, &plain, 0), Err(ErrorKind::Remounted));
        assert_eq!(finish(&store, &kept, 0), Err(ErrorKind::Remounted));
        // Its own directory of before is taken for that of a server that has ended.
        let (again, offset) = resume(&store);
        assert_eq!(finish(&store, &again, usize::try_from(offset).unwrap()), Ok(()));
        for upload in [plain, whole] {
            store.advance(UploadOperation::Discard { upload }, &|| true);
        }
        store.advance(UploadOperation::Keep { upload: kept, tail: None }, &|| true);
        assert_eq!(finish(&store, &stage(&store, "new"), 0), Ok(()));
        for published in ["kept", "new"] {
            assert_eq!(fs::read(root.join(published)).unwrap(), b"hello");
        }
        drop(again);
        leave(&store, &root);
    }

    #[test]
    fn a_corner_that_was_given_up_is_opened_again_and_limits_hold_on() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir(&root).unwrap();
        let (store, dead) = opened(&root);
        let corner = root.join(AREA).join("kept");
        dead.0.store(fs::metadata(&corner).unwrap().ino(), Ordering::Relaxed);
        replace(&corner, &root.join(AREA).join("aside"));
        fs::remove_dir(root.join(AREA).join("aside")).unwrap();
        assert_eq!(store.look(), Ok(true));
        assert_eq!(store.look(), Ok(false));
        let large = Stage {
            name: name("large"),
            size: Some(6),
            mtime: None,
            permissions: None,
            settled: true,
            owner: Owner::default(),
        };
        let UploadCompletion::Staged(Ok(upload)) = store.advance(UploadOperation::Stage(large), &|| true) else {
            panic!("staged")
        };
        let chunk = Chunk { memory: b"larger".to_vec(), filled: 6, hole: 0 };
        let crc = Crc32::of(chunk.bytes());
        let written = store.advance(UploadOperation::Write { upload: upload.clone(), at: 0, chunk, crc }, &|| true);
        assert!(written.error().is_some(), "limits that were set hold on: {written:?}");
        store.advance(UploadOperation::Discard { upload }, &|| true);
        leave(&store, &root);
    }
}
