//! Finds out once, at the start, what the file system of the root can do.
//!
//! Abilities that can be tried are tried, in the server's corner. The others (whether syncfs
//! reports errors, whether a call may wait for another machine) are believed of known kinds alone.
//! An unknown kind gets the careful way. So does a root that nothing may be tried in.

use std::{
    fmt,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FsWord, OFlags, Stat},
    io::Errno,
};

use super::{area::Area, leasing::wall_clock, meta, mountinfo::Mount, root::Root, syscalls::Syscalls};

/// The abilities of the file system of a root, as far as they are known. Each that is false has a
/// fallback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    kind: Option<FsWord>,
    /// The abilities that have to be tried were.
    tried: bool,
    /// It lies on disks or in memory of this machine: no call waits for another machine, nor for a
    /// program that plays a file system.
    pub(super) local: bool,
    /// It lives in memory: no read of it waits for a disk.
    pub(super) in_memory: bool,
    /// It takes the times of its files from the clock of this machine.
    pub(super) own_clock: bool,
    /// syncfs(2) waits for the disk and reports what failed since the file was opened.
    pub(super) syncfs: bool,
    /// An entry of the root has no other name than its own and, at most, the same in another case
    /// of ASCII letters.
    pub(super) one_name: bool,
    /// renameat2(2) knows `RENAME_NOREPLACE`.
    pub(super) noreplace: bool,
    /// link(2) gives files second names. It is not asked where `noreplace` is true.
    pub(super) links: bool,
    /// preadv2(2) knows `RWF_NOWAIT`. Where that could not be tried, each read says.
    pub(super) nowait: bool,
    /// openat2(2) knows `RESOLVE_CACHED`.
    pub(super) cached_walks: bool,
    /// fallocate(2) sets room aside. Where that could not be tried, each call says.
    pub(super) fallocate: bool,
    /// A directory says how many links it has: of those that say none it can't be told whether one
    /// has been removed.
    pub(super) counts_links: bool,
    /// The times of a file's status are finer than a second.
    pub(super) fine_times: bool,
    /// Two changes of a file never leave it with the same time of its status, if that was looked at in between: so it is where
    /// times are of many grains (Linux 6.13). Elsewhere some milliseconds hide changes.
    pub(super) distinct_times: bool,
    /// The number of a file that is gone is given to no other one for a while: MooseFS keeps it back for a day.
    lasting_numbers: bool,
    /// How far the clock of its times was behind this machine's at the start, at most.
    clock_lag: Duration,
    /// flock(2) excludes all others that can write here: no other machine can.
    pub(super) locks_exclude: bool,
}

/// Where a kind of file system keeps its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    Memory,
    /// Disks of this machine, whose kernel alone writes to them.
    Disk,
    /// Another machine, a program, or layers that may be either.
    Elsewhere,
}

/// The kinds that are known: their magic numbers, where they keep their files, and whether syncfs
/// is known to wait for all bytes and to report every error (since Linux 5.8).
const KINDS: [(FsWord, &str, Medium, bool); 18] = [
    (0x0102_1994, "tmpfs", Medium::Memory, true),
    (0x8584_58f6, "ramfs", Medium::Memory, true),
    (0xef53, "ext4", Medium::Disk, true),
    (0x5846_5342, "xfs", Medium::Disk, true),
    (0x9123_683e, "btrfs", Medium::Disk, true),
    (0xf2f5_2010, "f2fs", Medium::Disk, true),
    (0x2fc1_2fc1, "zfs", Medium::Disk, false),
    (0x4d44, "vfat", Medium::Disk, false),
    (0x2011_bab0, "exfat", Medium::Disk, false),
    (0x9660, "iso9660", Medium::Disk, false),
    (0x7371_7368, "squashfs", Medium::Disk, false),
    // Its layers may lie anywhere, and syncfs does not report the errors of the upper one.
    (0x794c_7630, "overlayfs", Medium::Elsewhere, false),
    // It is never sent a syncfs, virtiofs apart.
    (0x6573_5546, "fuse", Medium::Elsewhere, false),
    (0x6969, "nfs", Medium::Elsewhere, false),
    (0xff53_4d42, "cifs", Medium::Elsewhere, false),
    (0xfe53_4d42, "smb2", Medium::Elsewhere, false),
    (0x0102_1997, "9p", Medium::Elsewhere, false),
    (0x00c3_6400, "ceph", Medium::Elsewhere, false),
];

/// Since when syncfs(2) reports that bytes could not be written.
const SYNCFS_REPORTS_SINCE: (u32, u32) = (5, 8);

/// Kinds that have other names for an entry only in a directory that is marked as folding case, or
/// for ASCII letters.
const ONE_NAME: [&str; 6] = ["tmpfs", "ramfs", "ext4", "xfs", "btrfs", "f2fs"];

/// Taken for the lag of a clock of another machine, where it could not be seen.
const UNKNOWN_LAG: Duration = Duration::from_secs(60);

/// The file that is tried with, in this process's own directory of the corner, and its second name.
const PROBE: &str = "probe";
const RENAMED_PROBE: &str = "probe-renamed";

/// It is of one machine, whatever its layers are: two mounts of one upper layer are none that work.
const OVERLAYFS: FsWord = 0x794c_7630;

/// Returns whether flock(2) on the file system of `root` is known to exclude all others that can
/// write there.
pub(super) fn locks_exclude(syscalls: &Syscalls, root: &Root) -> bool {
    is_one_machines(syscalls.file_system(root.dir()).ok())
}

/// Returns whether the mount on which `root` lies may die and come back: it is another machine's, or a program's.
pub(super) fn comes_back(root: &Path) -> bool {
    !is_one_machines(rustix::fs::statfs(root).ok().map(|status| status.f_type))
}

fn is_one_machines(kind: Option<FsWord>) -> bool {
    let local = |(magic, _, medium, _): &(FsWord, _, Medium, _)| Some(*magic) == kind && *medium != Medium::Elsewhere;
    kind == Some(OVERLAYFS) || KINDS.iter().any(local)
}

impl Capabilities {
    /// Finds out what can be done in `root`, trying in the corner where there is one. `mount` is what `root` lies on,
    /// where that is known. An ability that can't be tried is taken for missing.
    ///
    /// # Errors
    ///
    /// Where the root itself has no status.
    pub(super) fn find(
        syscalls: &Syscalls,
        root: &Root,
        area: Option<&Area>,
        mount: Option<&Mount>,
    ) -> Result<Capabilities, Errno> {
        let kind = syscalls.file_system(root.dir()).ok();
        let known = KINDS.iter().find(|(magic, ..)| Some(*magic) == kind);
        let (medium, syncs) = known.map_or((Medium::Elsewhere, false), |(_, _, medium, syncs)| (*medium, *syncs));
        let local = medium != Medium::Elsewhere;
        let release = rustix::system::uname();
        let reports = medium == Medium::Memory || is_since(&release.release().to_string_lossy(), SYNCFS_REPORTS_SINCE);
        let mut found = Capabilities {
            kind,
            tried: false,
            local,
            in_memory: medium == Medium::Memory,
            own_clock: local,
            one_name: known.is_some_and(|(_, name, ..)| ONE_NAME.contains(name)) && !folds_case(syscalls, root),
            syncfs: syncs && reports,
            noreplace: false,
            links: true,
            nowait: medium != Medium::Memory,
            cached_walks: root.knows_cached_walks(),
            fallocate: true,
            counts_links: syscalls.stat(root.dir())?.st_nlink > 0,
            fine_times: false,
            distinct_times: false,
            lasting_numbers: mount.is_some_and(Mount::is_moosefs),
            clock_lag: if local { Duration::ZERO } else { UNKNOWN_LAG },
            locks_exclude: local || kind == Some(OVERLAYFS),
        };
        if let Some(area) = area
            && let Err(error) = area.run().and_then(|run| found.try_out(syscalls, run.dir()))
        {
            log::warn!("can't try out the abilities of the file system: {error}; the slower ways are taken");
        }
        Ok(found)
    }

    /// Returns the number of the kind.
    pub(super) fn kind(&self) -> Option<FsWord> {
        self.kind
    }

    /// Returns whether the root may die with its mount, and come back with another one.
    pub(super) fn comes_back(&self) -> bool {
        !self.locks_exclude
    }

    /// Tries what can be tried, with a file in `dir`.
    fn try_out(&mut self, syscalls: &Syscalls, dir: &OwnedFd) -> Result<(), Errno> {
        let file = syscalls.open_entry(dir, PROBE, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        self.nowait = syscalls.read(&file, 0, &mut [0], true).is_ok();
        // A lack of room now says nothing of later.
        self.fallocate = !matches!(syscalls.reserve(&file, 0, 1), Err(Errno::OPNOTSUPP | Errno::NOSYS));
        let stat = syscalls.stat(&file);
        self.fine_times = stat.is_ok_and(|stat| meta::keeps_fractions(&stat));
        if let (Ok(stat), false) = (stat, self.own_clock) {
            self.clock_lag = lag(&stat, wall_clock());
        }
        self.distinct_times = self.own_clock && has_distinct_times(syscalls, &file) == Ok(true);
        // To a name that is free: that a taken one is `EEXIST` says the kernel by itself.
        self.noreplace = syscalls.rename((dir, PROBE), (dir, RENAMED_PROBE), false).is_ok();
        if !self.noreplace {
            self.links = syscalls.link((dir, PROBE), (dir, RENAMED_PROBE)).is_ok();
            if self.links {
                syscalls.unlink(dir, RENAMED_PROBE, false)?;
            }
        }
        self.tried = true;
        syscalls.unlink(dir, if self.noreplace { RENAMED_PROBE } else { PROBE }, false)
    }

    /// Returns whether a file, whose status was told after `moment`, can't have changed since then
    /// without its time moving: where times are whole seconds, a file that changed in this one can.
    pub(super) fn is_settled(&self, stat: &Stat, moment: SystemTime) -> bool {
        meta::keeps_fractions(stat) || meta::unchanged_since(stat, moment)
    }

    /// Returns whether the tag of a file, whose status was told after `moment`, is made of its status alone.
    /// Beside [settled](Self::is_settled) files it is that of one whose time was given: whatever replaces it has
    /// another number, and what writes to it another time, unless it sets that back within the same second.
    pub(super) fn has_lasting_tag(&self, stat: &Stat, moment: SystemTime) -> bool {
        self.is_settled(stat, moment) || self.lasting_numbers && meta::has_given_time(stat)
    }

    /// Returns a time that the clock of its times has reached, as far as that can be told by this machine's.
    pub(super) fn file_time(&self) -> SystemTime {
        match self.own_clock {
            true => SystemTime::now(),
            false => wall_clock().checked_sub(self.clock_lag).unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }

    /// Returns the abilities that are missing, and so made up for in another way.
    fn lacks(&self) -> impl Iterator<Item = &'static str> {
        let lacks = [
            (self.syncfs, "syncfs that reports errors"),
            (self.one_name, "one name for each entry"),
            (self.noreplace || !self.tried, "renaming without replacing"),
            (self.links, "second names of files"),
            (self.nowait || self.in_memory, "reads that don't wait"),
            (self.cached_walks, "cached walks"),
            (self.fallocate, "setting room aside"),
            (self.counts_links, "link counts of directories"),
            (self.fine_times || !self.tried, "times finer than a second"),
            (self.locks_exclude, "locks known to reach every machine"),
        ];
        lacks.into_iter().filter(|(has, _)| !has).map(|(_, what)| what)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = KINDS.iter().find(|(magic, ..)| Some(*magic) == self.kind);
        match (known, self.kind) {
            (Some((_, name, ..)), _) => write!(f, "file system: {name}")?,
            (None, Some(kind)) => write!(f, "file system: of a kind that is not known ({kind:#x})")?,
            (None, None) => f.write_str("file system: of a kind that it does not tell")?,
        }
        f.write_str(if self.local { ", of this machine" } else { ", perhaps of another machine or a program" })?;
        let lacks: Vec<_> = self.lacks().collect();
        if !lacks.is_empty() {
            write!(f, "; done without: {}", lacks.join(", "))?;
        } else if self.tried {
            f.write_str("; it has all that is asked for")?;
        }
        f.write_str(if self.tried { "" } else { "; what has to be tried was not, and is done with care" })
    }
}

/// Tries whether each of several changes that follow at once moves the time of the status.
fn has_distinct_times(syscalls: &Syscalls, file: &OwnedFd) -> Result<bool, Errno> {
    /// They take microseconds: a clock that stands still for milliseconds tells no two of them apart, and hardly all.
    const CHANGES: usize = 5;
    let mut last = meta::touched(&syscalls.stat(file)?);
    for _ in 0..CHANGES {
        syscalls.touch(file)?;
        let now = meta::touched(&syscalls.stat(file)?);
        if now <= last {
            return Ok(false);
        }
        last = now;
    }
    Ok(true)
}

fn folds_case(syscalls: &Syscalls, root: &Root) -> bool {
    match syscalls.folds_case(root.dir()) {
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => false,
        folds => folds.unwrap_or(true),
    }
}

/// Returns how far the time of a status that has just changed is behind `now`.
fn lag(stat: &Stat, now: SystemTime) -> Duration {
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_ctime).unwrap_or(0));
    now.duration_since(changed).unwrap_or_default()
}

/// Returns whether a kernel's release, as uname(2) tells it, is no older than `since`.
fn is_since(release: &str, since: (u32, u32)) -> bool {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= since,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{Call, Durability, LeaseOptions, MountTable, Store, StoreOptions, Watcher};

    /// A disk on which no file can be made.
    #[derive(Debug)]
    struct Full;

    impl Watcher for Full {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            match call {
                Call::Open { create: true, .. } => Err(Errno::NOSPC),
                _ => Ok(()),
            }
        }

        fn after(&self, _: &Call<'_>) {}
    }

    #[test]
    fn what_could_not_be_tried_is_done_with_care_but_reads_say_for_themselves() {
        let root = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            root: root.path().into(),
            writable: true,
            durability: Durability::Full,
            max_staged: 0,
            max_kept: 0,
            keep: Duration::ZERO,
            crc_cache: 16 << 20,
            small_cache: 16 << 20,
            mounts: MountTable::default(),
            leasing: LeaseOptions::default(),
        };
        let store = Store::open_watched(&options, Some(Arc::new(Full))).unwrap();
        let can = store.capabilities();
        assert_eq!((can.noreplace, can.fine_times, can.nowait), (false, false, !can.in_memory));
        assert!(can.to_string().ends_with("; what has to be tried was not, and is done with care"), "{can}");
    }

    #[test]
    fn a_release_is_read_as_numbers() {
        for release in ["5.8", "5.8.0-generic", "5.10.1", "6.1.0-rc1", "10.0"] {
            assert!(is_since(release, (5, 8)), "{release}");
        }
        for release in ["5.7.19", "4.19.0", "5", "", "five.eight", "-5.8"] {
            assert!(!is_since(release, (5, 8)), "{release}");
        }
    }
}
