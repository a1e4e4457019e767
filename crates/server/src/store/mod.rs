//! The store: the only part of the server that touches the file system.
//!
//! Every name goes through one held root and can't leave it ([`root`]). An [`Operation`] is done
//! either on the loop, where the page cache can answer at once ([`Store::try_now`]), or by a
//! helper, where it may wait for a disk. It speaks of files alone: its errors have kinds, and
//! replies and words are a protocol's.
//!
//! An upload is published in one sequence, in one place: staged in `.ferry` ([`area`]), written,
//! fsynced ([`upload`]), renamed, its directory fsynced ([`names`]), and only then acknowledged.

mod area;
mod attributes;
mod bounded;
#[cfg(test)]
mod bounds_tests;
mod capabilities;
mod cautions;
mod closer;
mod contents;
mod crcs;
mod dispatch;
mod error;
mod fallback;
mod file_bytes;
mod file_clock;
mod journal;

mod leasing;
mod list;
mod look;
mod machine;
mod meta;
mod mountinfo;
mod mounts;
mod moves;
mod names;
mod operation;
mod owner;
mod parts;
mod quota;
mod reach;
mod read;
mod remember;
mod root;
mod run;
mod served;
mod shift;
mod small_files;
mod syscalls;
#[cfg(test)]
mod testing;
mod upload;

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use ferry_wire::{Id, Name};
use rustix::{fs::FileType, io::Errno};

use crate::units::counted;

use area::{Area, NoArea};
use closer::Closer;
use moves::Unsettled;
use quota::{Full, Quota, Whose};
use root::Root;
use syscalls::Syscalls;
use upload::Held;

pub use area::AREA;
pub use capabilities::Capabilities;
use capabilities::locks_exclude;
pub use cautions::cautions;
pub use error::{ErrorKind, StoreError, SystemError};
pub use fallback::Fallback;
pub use file_bytes::FileBytes;
pub use leasing::LeaseOptions;
use leasing::wall_clock;
pub use list::OpenDir;
pub use mounts::MountTable;
pub use operation::{
    Change, ChangeNumber, Chunk, Completion, Content, DirEntry, FileVersion, Finish, Form, Handles, Listed, Loaded,
    NameCompletion, NameOperation, Onto, Opened, Operation, PartStart, Permissions, Piece, Progress, Published,
    ReadCompletion, ReadOperation, Resume, Resumed, Room, Stability, Stage, Status, Tail, Touch, UploadCompletion,
    UploadNumber, UploadOperation,
};
pub use owner::Owner;
pub use quota::{OwnerLimits, StoreUsage};
pub use reach::Reach;
pub use read::{OpenFile, SCRATCH_BYTES};
pub use remember::CrcUsage;
use remember::Remembered;
pub use served::ServedStore;
pub use shift::Shift;
pub use small_files::ContentUsage;
use small_files::SmallFiles;
pub use syscalls::{Call, Watcher};
use upload::Stamp;
pub use upload::{Hands, IdsInHand, InHand, LetGo, SmallFinish, Upload, WorkOn};

/// How many ids are forgotten, or tried, at once where the limit on them is reached.
const FORGOTTEN_AT_ONCE: usize = 256;

/// Finds out which machine this is, for [`Store::open`]: to be called before anything is closed to
/// this process.
pub fn know_this_machine() {
    machine::Identity::this();
}

/// The store's handles, as sessions hold them.
#[derive(Debug)]
pub struct Disk;

impl Handles for Disk {
    type File = Arc<OpenFile>;
    type Dir = Box<OpenDir>;
    type Upload = Arc<Upload>;
}

/// The promise of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged changes survive a power cut.
    Full,
    /// Acknowledged changes survive the end of the server, but not of the machine.
    None,
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The directory that is served.
    pub root: PathBuf,
    /// Whether changes are made: a read-only store makes no corner for itself.
    pub writable: bool,
    /// The promise of an acknowledgement.
    pub durability: Durability,
    /// Bytes that all uploads together may hold before they have their names. Other processes' count
    /// as far as they are kept aside, and as of the last look at the disk.
    pub max_staged: u64,
    /// How many uploads may be known under an id, whether kept or published.
    pub max_kept: u64,
    /// How long a resumable upload is kept after it was last touched.
    pub keep: Duration,
    /// Bytes of memory for CRCs of what was read and uploaded; with 0 none are remembered.
    pub crc_cache: u64,
    /// Bytes of memory for contents of small files; with 0 none are cached.
    pub small_cache: u64,
    /// Where it is looked up what is mounted below the root. A process that is fenced in needs one
    /// from before; elsewhere the default does.
    pub mounts: MountTable,
    /// How leases are held.
    pub leasing: LeaseOptions,
}

/// The limits of a store that may change while it is open. [`StoreOptions`] has those that it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// See [`StoreOptions::max_staged`].
    pub max_staged: u64,
    /// See [`StoreOptions::max_kept`].
    pub max_kept: u64,
    /// See [`StoreOptions::keep`].
    pub keep: Duration,
    /// See [`StoreOptions::crc_cache`].
    pub crc_cache: u64,
    /// See [`StoreOptions::small_cache`].
    pub small_cache: u64,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The root itself.
    #[error("can't serve {}: {error}{}", path.display(), hint(*.error))]
    Root {
        /// As it was given.
        path: PathBuf,
        /// Why.
        error: Errno,
    },
    /// The server's corner of it.
    #[error("can't make {}/.ferry, where uploads are staged: {} (--read-only serves without)", path.display(), obstacle(*.there, *.error))]
    Area {
        /// The root, as it was given.
        path: PathBuf,
        /// The type of the file that has the name of the directory.
        there: Option<FileType>,
        /// Why.
        error: Errno,
    },
    /// Others than this process's user may write to the server's corner of it.
    #[error(
        "won't stage uploads in {}, since another user could change them there: it belongs to another user, or lets \
         others write to it; remove it, or give it to this user alone (chown, chmod go-w); --read-only serves without", path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Another server uses the root, and can't be kept apart from this one.
    #[error(
        "another server stages in {}, and locks don't reach from one to the other on this file system: two servers would take \
         each other's uploads; stop that one, or mount the file system so that locks reach every machine; --read-only serves \
         without", path.display()
    )]
    InUse {
        /// The other one's directory.
        path: PathBuf,
    },
    /// The corner has names that lead into it unnoticed.
    #[error(
        "won't serve {}: its file system has other names for .ferry, where uploads are staged, and shows another inode \
         under them; who knows one could read and change what others upload; choose a root elsewhere", path.display()
    )]
    Aliases {
        /// The root, as it was given.
        path: PathBuf,
    },
    /// A thread.
    #[error("can't start a thread: {0}")]
    Thread(std::io::Error),
}

fn obstacle(there: Option<FileType>, error: Errno) -> String {
    let what = match there {
        Some(FileType::Directory) | None => return error.to_string(),
        Some(FileType::Symlink) => "a symbolic link, which is not followed,",
        Some(FileType::RegularFile) => "a file",
        Some(_) => "something that is no directory",
    };
    format!("{what} has that name; move it away")
}

fn hint(error: Errno) -> &'static str {
    match error {
        Errno::NOSYS => " (ferryd needs openat2: Linux 5.6 or newer)",
        Errno::NOENT => " (make it first, or choose another with --root)",
        _ => "",
    }
}

/// See the [module documentation](self). Shared by the loop and its helpers.
#[derive(Debug)]
pub struct Store {
    syscalls: Syscalls,
    root: Root,
    area: Option<Area>,
    durability: Durability,
    keep: Mutex<Duration>,
    quota: Quota,
    remembered: Arc<Remembered>,
    small_files: Arc<SmallFiles>,
    held: Held,
    capabilities: Capabilities,
    /// As they were given, but for the path of the root: it leads through no link.
    options: StoreOptions,
    /// The kind of what is mounted at that path, where that is known.
    mounted_as: Option<String>,
    stamp: Arc<Stamp>,
    next_number: AtomicU64,
    unsettled: Unsettled,
    in_hand: IdsInHand,
    /// The last beat failed, and it was said.
    is_beat_lost: AtomicBool,
    /// The space that killed servers had set aside was given back.
    is_trimmed: AtomicBool,
}

impl Store {
    /// Opens the root, and makes and cleans the server's corner in it.
    ///
    /// # Errors
    ///
    /// Where the root, or the corner of a writable store, can't be opened.
    pub fn open(options: &StoreOptions) -> Result<Store, OpenError> {
        Store::open_watched(options, None)
    }

    /// Does the same, and `watcher` sees every system call that the store makes: for tests.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_watched(options: &StoreOptions, watcher: Option<Arc<dyn Watcher>>) -> Result<Store, OpenError> {
        let syscalls = Syscalls::new(watcher, Closer::start().map_err(OpenError::Thread)?);
        let root = Root::open(syscalls.clone(), Path::new(&options.root));
        let root = root.map_err(|error| OpenError::Root { path: options.root.clone(), error })?;
        Store::open_at(root, options, syscalls)
    }

    /// Opens the rest of a store whose root is open.
    fn open_at(mut root: Root, options: &StoreOptions, syscalls: Syscalls) -> Result<Store, OpenError> {
        let path = || options.root.clone();
        root.watch_mounts(&options.mounts).map_err(OpenError::Thread)?;
        let no_area = |error: NoArea| match error {
            NoArea::Foreign(name) => OpenError::Foreign { path: options.root.join(name) },
            NoArea::InUse(name) => OpenError::InUse { path: options.root.join(name) },
            NoArea::System(error) => {
                let there = syscalls.stat_entry(root.dir(), area::AREA).ok();
                OpenError::Area { path: path(), there: there.map(|stat| meta::kind(&stat)), error }
            }
        };
        let area = match options.writable {
            true => Some(
                Area::open(syscalls.clone(), &root, locks_exclude(&syscalls, &root), &options.leasing)
                    .map_err(no_area)?,
            ),
            false => None,
        };
        let mount = options.mounts.mount_at(&options.root);
        let capabilities = Capabilities::find(&syscalls, &root, area.as_ref(), mount.as_ref())
            .map_err(|error| OpenError::Root { path: path(), error })?;
        let (durability, keep) = (options.durability, Mutex::new(options.keep));
        let quota = Quota::new(options.max_staged, options.max_kept);
        if let Some(area) = &area {
            look(area, &quota).map_err(|error| no_area(error.into()))?;
        }
        if !capabilities.one_name {
            let untold = root.has_untold_alias(area::AREA);
            if untold.map_err(|error| OpenError::Root { path: path(), error })? {
                if let Some(area) = &area {
                    area.leave();
                }
                return Err(OpenError::Aliases { path: path() });
            }
            root.guard(area::AREA);
        }
        let next_number = AtomicU64::new(0);
        let [is_beat_lost, is_trimmed] = [const { AtomicBool::new(false) }; 2];
        let mut options = options.clone();
        if let Some(path) = root.path() {
            options.root = path;
        }
        let mounted_as = mount.map(|mount| mount.kind);
        Ok(Store {
            unsettled: Unsettled::default(),
            in_hand: IdsInHand::default(),
            syscalls,
            root,
            area,
            durability,
            keep,
            quota,
            small_files: Arc::new(SmallFiles::new(options.small_cache)),
            remembered: Arc::new(Remembered::new(options.crc_cache)),
            held: Held::default(),
            capabilities,
            options,
            mounted_as,
            stamp: Arc::new(Stamp),
            next_number,
            is_beat_lost,
            is_trimmed,
        })
    }

    /// Returns what uploads take of the disk; [`None`] where it could not be known without waiting.
    #[must_use]
    pub fn usage(&self) -> Option<StoreUsage> {
        self.quota.usage()
    }

    /// Returns whether the root's file system knows each entry by one name alone: by no other
    /// spelling, and no short name.
    #[must_use]
    pub fn has_one_name(&self) -> bool {
        self.capabilities.one_name
    }

    /// Returns what the file system can do, as it was found out at the start.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Returns whether a directory that is open has been removed.
    fn is_removed(&self, dir: &OwnedFd) -> Result<bool, Errno> {
        Ok(self.capabilities.counts_links && self.syscalls.stat(dir)?.st_nlink == 0)
    }

    /// Looks at the root. Where its file system is another machine's or a program's, that is asked.
    fn probe(&self) -> Result<(), StoreError> {
        let links = self.syscalls.ask(self.root.dir()).map_err(|error| StoreError::system("", error))?;
        match self.capabilities.counts_links && links == 0 {
            true => Err(StoreError::of(ErrorKind::RootGone)),
            false => Ok(()),
        }
    }

    /// Measures the room on the root's file system, and what is left to `owner` of the limits on uploads.
    fn room(&self, owner: &Owner) -> Result<Room, StoreError> {
        let status = self.syscalls.room(self.root.dir()).map_err(|error| StoreError::system("", error))?;
        // More than the protocol's numbers hold is as good as so much.
        let bytes = |blocks: u64| blocks.saturating_mul(status.f_frsize).min(i64::MAX.unsigned_abs());
        let (total, free, available) = (bytes(status.f_blocks), bytes(status.f_bfree), bytes(status.f_bavail));
        Ok(Room { total, free, available, staged: self.quota.left(owner) })
    }

    /// Returns the error where a file for the upload of `name` could not be made in the server's corner.
    fn cant_stage(&self, name: &Name, error: Errno) -> StoreError {
        match error {
            // Not what the client named, but the directory to stage in.
            Errno::NOENT if self.is_removed(self.root.dir()) == Ok(true) => StoreError::of(ErrorKind::RootGone),
            Errno::NOENT => StoreError::at(name.as_str(), ErrorKind::AreaGone),
            error => StoreError::system(name.as_str(), error),
        }
    }

    /// Returns a time that the clock which gives files their times has reached: what changes from here on gets no earlier
    /// one.
    fn file_time(&self) -> SystemTime {
        match self.area.as_ref().and_then(Area::file_time) {
            Some(time) => time,
            None => self.capabilities.file_time(),
        }
    }

    fn area(&self) -> Result<&Area, Errno> {
        self.area.as_ref().ok_or(Errno::ROFS)
    }

    /// Removes files left behind by servers that are gone, and by clients that never came back.
    pub fn clean(&self) {
        self.clean_at(wall_clock(), Instant::now());
    }

    /// Says to other servers of the root that this one lives: to be called
    /// [so often](Self::beat_interval). Should another one have taken it for dead all the same, it gets
    /// a new directory to stage in; and one that there was no room for at the start is made when there
    /// is.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    /// Returns how often a server says to others of its root that it lives.
    #[must_use]
    pub fn beat_interval(&self) -> Duration {
        self.options.leasing.beat()
    }

    /// Does the same, as if it were `now`.
    pub fn beat_at(&self, now: Instant) {
        let beaten = self.area().and_then(|area| area.beat(now));
        let failed = beaten.is_err_and(|error| error != Errno::ROFS);
        if failed != self.is_beat_lost.swap(failed, Ordering::Relaxed) {
            match failed {
                true => log::warn!(
                    "can't write this server's lock in .ferry; another server may take this one for dead and delete its uploads"
                ),
                false => log::info!("this server's lock in .ferry can be written again"),
            }
        }
    }

    /// Looks which other servers of the root live, and removes what those have left that don't: to be called as often as
    /// [`beat`](Self::beat), by another thread: some file systems let nobody look at what a machine has that was stopped
    /// in the middle of a call.
    pub fn watch(&self) {
        self.watch_at(Instant::now());
    }

    /// Does the same, as if it were `now`.
    pub fn watch_at(&self, now: Instant) {
        let watched = self.area().and_then(|area| area.watch(now, &|dir, name| self.take_over_move(dir, name)));
        if let Err(error) = watched {
            log::debug!("can't look after other servers in .ferry: {error}");
        }
    }

    /// Does the same as [`clean`](Self::clean), as if it were `now`, and `steady` by a clock that
    /// nobody moves.
    pub fn clean_at(&self, now: SystemTime, steady: Instant) {
        let Ok(area) = self.area() else { return };
        self.settle_unsettled();
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let keep = *self.keep.lock().unwrap_or_else(PoisonError::into_inner);
        match area.clean(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX), steady, keep, &|dir, name| {
            self.take_over_move(dir, name)
        }) {
            Ok((0, 0)) => {}
            Ok((runs, uploads)) => {
                let (runs, uploads) = (counted(runs as u64, "ended server"), counted(uploads as u64, "upload"));
                log::info!("cleaned up after {runs}, and {uploads} that nobody resumed");
            }
            Err(error) => log::warn!("can't clean up in .ferry: {error}; it is tried again later"),
        }
        if !self.is_trimmed.swap(true, Ordering::Relaxed)
            && let Err(error) = area.trim()
        {
            log::warn!("disk space reserved for interrupted uploads could not be freed: {error}");
        }
        // Counted anew: other servers of the same root keep uploads as well.
        if let Err(error) = look(area, &self.quota) {
            log::warn!("can't count the interrupted uploads in .ferry: {error}");
        }
    }

    /// Counts one more upload that is known under an id. Where there are too many, those go under
    /// which nothing is kept: for others a place is worth more. Then those of the owner with most,
    /// for one with fewer. Where only `owner` has too many, it is its own that go, and none under
    /// which anything is kept.
    fn admit(&self, id: &Id, owner: &Owner) -> Result<(), StoreError> {
        self.read_owners(&self.quota.unread_for(owner));
        let (quota, id) = (&self.quota, id.as_str());
        let mut full = match quota.admit(id, owner) {
            Err(_) if quota.is_worth_a_look() && self.look_again(owner) => quota.admit(id, owner),
            admitted => admitted,
        };
        if full == Err(Full::Owner) && self.forget_spent(Some(owner)) {
            full = quota.admit(id, owner);
        }
        if full == Err(Full::Server) && self.forget_spent(None) {
            full = quota.admit(id, owner);
        }
        if full == Err(Full::Server) && self.make_way(owner) {
            full = quota.admit(id, owner);
        }
        full.map_err(|full| StoreError::of(ErrorKind::TooManyKept { own: full == Full::Owner }))
    }

    /// Forgets ids under which nothing is kept, of `owner` or of all: of uploads that were
    /// published, and of those that brought no byte. Says whether there were any.
    ///
    /// A power cut may bring some of them back; nothing depends on their being gone.
    fn forget_spent(&self, owner: Option<&Owner>) -> bool {
        let spent = self.quota.spent(owner, FORGOTTEN_AT_ONCE);
        self.give_up(&spent, usize::MAX, Area::forget)
    }

    /// Finds out whose the uploads of these ids are: asked once of each.
    fn read_owners(&self, unread: &[String]) {
        let Ok(area) = self.area() else { return };
        for id in unread {
            self.quota.read(id, area.owner(id));
        }
    }

    /// Removes one kept upload of the owner with most, for one more of `newcomer`. Returns whether
    /// there was any.
    fn make_way(&self, newcomer: &Owner) -> bool {
        // Only where there are too many.
        self.read_owners(&self.quota.unread());
        let yielding = self.quota.yielding(newcomer, FORGOTTEN_AT_ONCE);
        let made = self.give_up(&yielding, 1, Area::evict);
        if made {
            log::info!(
                "deleted an interrupted upload to keep a new one: a limit on kept uploads (max-kept) is reached"
            );
        }
        made
    }

    /// Gives up at most `most` of the uploads under these ids, as `remove` does it; returns whether
    /// any is gone.
    fn give_up(&self, ids: &[String], most: usize, remove: fn(&Area, &str) -> Result<bool, Errno>) -> bool {
        let Ok(area) = self.area() else { return false };
        let mut gone = 0;
        for id in ids {
            if gone == most {
                break;
            }
            match remove(area, id) {
                Ok(true) => {
                    self.quota.forget(id);
                    gone += 1;
                }
                Ok(false) => {}
                Err(error) => log::warn!("can't delete an interrupted upload in .ferry/kept: {error}"),
            }
        }
        gone > 0
    }

    /// Another server of the same root may have published or discarded since what is known of the
    /// disk was true. Then it may be asked anew for `owner`.
    fn look_again(&self, owner: &Owner) -> bool {
        let looked = self.area().is_ok_and(|area| look(area, &self.quota).is_ok());
        self.read_owners(&self.quota.unread_for(owner));
        looked
    }

    /// Counts `bytes` more as staged, of an upload of `owner`.
    fn stage_bytes(&self, whose: Whose<'_>, owner: &Owner, bytes: u64) -> Result<(), StoreError> {
        let quota = &self.quota;
        self.read_owners(&quota.unread_for(owner));
        let full = match quota.take(whose, bytes) {
            Err(_) if quota.is_worth_a_look() && self.look_again(owner) => quota.take(whose, bytes),
            taken => taken,
        };
        full.map_err(|full| StoreError::of(ErrorKind::StagingFull { own: full == Full::Owner }))
    }

    /// Sets the limits that hold from here on. Staged and kept uploads stay, though they may be
    /// more. Uploads kept for too long go with the next cleaning.
    pub fn set_limits(&self, limits: &StoreLimits) {
        self.quota.set_limits(limits.max_staged, limits.max_kept);
        *self.keep.lock().unwrap_or_else(PoisonError::into_inner) = limits.keep;
        self.remembered.set_limit(limits.crc_cache);
        self.small_files.set_limit(limits.small_cache);
    }

    /// Sets the limits of owners from here on; owners that are not named have none.
    pub fn set_owner_limits(&self, limits: HashMap<Owner, OwnerLimits>) {
        self.quota.set_owner_limits(limits);
    }

    /// Ends the use of the corner. Every upload has been published or let go.
    pub fn leave(&self) {
        if let Ok(area) = self.area() {
            area.leave();
        }
    }
}

/// Counts the uploads that are kept on the disk.
fn look(area: &Area, quota: &Quota) -> Result<(), Errno> {
    let look = quota.begin_look();
    look.end(area.all_resting()?);
    Ok(())
}
