//! Directories of processes in `.ferry`, and when others may remove them.
//!
//! `run-<random>` belongs to one process, which holds a lock on the file `lock` in it: the kernel
//! gives the lock up when the process ends, however it ends. A lock of a file rather than of the
//! directory: on file systems that programs make, locks of directories never leave the machine. The
//! directory is locked as well, for servers that know no such file.
//!
//! Where locks exclude all writers, a directory that can be locked is nobody's any more. Elsewhere
//! that may only mean that the owner is on another machine; and one that can't be may have been its
//! owner's until the program that plays the file system there died. So an owner touches its lock
//! twelve times in a [lifetime](LeaseOptions::lifetime). A process that wants to remove its
//! directory, or to take an upload from it, must have seen the lock untouched for a lifetime by a
//! clock of its own: that of the file system may be moved, and two machines' clocks differ. The
//! lock's content says whose it is: a process that could be seen here and is not has ended, and
//! needs no watching.
//!
//! An owner that could not touch its lock for so long has lost its directory, and makes another
//! one. It sees that by the time of the file system: its own clock may have stood still with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use rustix::{fs::OFlags, io::Errno};

use super::{
    file_clock::FileClock, leasing::LeaseOptions, machine::Identity, meta, moves::is_move, syscalls::Syscalls,
};

/// A start waits for the quarter of a lifetime, three beats, for a beat where one could mean that
/// this root must not be served. It looks 60 times meanwhile.
const WATCH_PARTS: u32 = 4;
const LOOK_PARTS: u32 = 240;

/// Takes over a move that a process has left, from its directory and by its name there.
pub(super) type TakeOver<'a> = &'a dyn Fn(&OwnedFd, &str) -> Result<(), Errno>;

const RUN: &str = "run-";
const LOCK: &str = "lock";

/// How often a directory is made anew where other processes come between.
const TRIES: usize = 100;

/// The longest content of a lock that is read.
const LOCK_BYTES: usize = 512;

/// Directories that this very process has, by name: of another one of its own it needs no watching
/// to know that it is left.
static OWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn own() -> MutexGuard<'static, BTreeSet<String>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name in [`OWN`], as long as this is kept.
#[derive(Debug)]
struct OwnName(String);

impl OwnName {
    fn new(name: String) -> OwnName {
        own().insert(name.clone());
        OwnName(name)
    }
}

impl Drop for OwnName {
    fn drop(&mut self) {
        own().remove(&self.0);
    }
}

/// The directory of this process.
#[derive(Debug)]
pub(super) struct Run {
    name: OwnName,
    dir: OwnedFd,
    lock: OwnedFd,
    beats: AtomicU64,
    /// When its last beat was: by the file system, in seconds, and by this process.
    last: Mutex<Option<(i64, Instant)>>,
}

impl Run {
    /// Makes one in the corner `top`.
    pub(super) fn make(syscalls: &Syscalls, top: &OwnedFd, this: &Identity) -> Result<Run, Errno> {
        let mut tries = 0;
        loop {
            tries += 1;
            // Between any two of its steps another process may take it for a dead one's, and remove it.
            match Run::try_make(syscalls, top, this) {
                Err(Errno::NOENT) if tries < TRIES && syscalls.stat(top)?.st_nlink != 0 => {}
                Ok(None) if tries < TRIES => {}
                Ok(made) => return made.ok_or(Errno::AGAIN),
                Err(error) => return Err(error),
            }
        }
    }

    /// Tries once to make one: [`None`] where another process came between.
    fn try_make(syscalls: &Syscalls, top: &OwnedFd, this: &Identity) -> Result<Option<Run>, Errno> {
        let name = format!("{RUN}{:016x}", random()?);
        syscalls.mkdir(top, &name, 0o700)?;
        let locked = Run::lock(syscalls, top, OwnName::new(name.clone()), this);
        // A directory that could not be used is removed: otherwise a full disk would fill with new
        // ones, and servers that start would be in doubt about its owner.
        if !matches!(locked, Ok(Some(_)))
            && let Ok(dir) = syscalls.open_entry(top, &name, OFlags::RDONLY | OFlags::DIRECTORY)
        {
            let _ = syscalls.unlink(&dir, LOCK, false);
            let _ = syscalls.unlink(top, &name, true);
        }
        locked
    }

    fn lock(syscalls: &Syscalls, top: &OwnedFd, name: OwnName, this: &Identity) -> Result<Option<Run>, Errno> {
        let dir = syscalls.open_entry(top, &name.0, OFlags::RDONLY | OFlags::DIRECTORY)?;
        // Some file systems can't lock a directory. Its file is what counts.
        if syscalls.lock(&dir) == Err(Errno::AGAIN) {
            return Ok(None);
        }
        let lock = syscalls.open_entry(&dir, LOCK, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        match syscalls.write_all(&lock, this.encode().as_bytes(), 0) {
            // There is room for an empty file: whose it is will be written with a beat.
            Err(Errno::NOSPC | Errno::DQUOT) => {}
            written => written?,
        }
        match syscalls.lock(&lock) {
            Err(Errno::AGAIN) => return Ok(None),
            // No other file could be locked either.
            locked => locked?,
        }
        let run = Run { name, dir, lock, beats: AtomicU64::new(0), last: Mutex::default() };
        Ok(run.is_there(syscalls, top)?.then_some(run))
    }

    /// Returns whether it has its name still.
    pub(super) fn is_there(&self, syscalls: &Syscalls, top: &OwnedFd) -> Result<bool, Errno> {
        Ok(is_entry(syscalls, top, &self.name.0, &self.dir)? && is_entry(syscalls, &self.dir, LOCK, &self.lock)?)
    }

    /// Returns the directory in which this process stages.
    pub(super) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Says that this process lives: in two ways, since some file systems keep times to themselves,
    /// and on others there may be no room for a byte.
    fn beat(&self, syscalls: &Syscalls, this: &Identity) -> Result<(), Errno> {
        let beats = self.beats.fetch_add(1, Ordering::Relaxed);
        let content = format!("{}{beats:020}\n", this.encode());
        let written = syscalls.write_all(&self.lock, content.as_bytes(), 0);
        let told = written.and_then(|()| syscalls.sync_data(&self.lock));
        syscalls.touch(&self.lock).or(told)
    }

    /// Notes a beat, and returns whether the one before is a lifetime ago.
    fn is_late(&self, time: i64, now: Instant, lifetime: Duration) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((before, then)) = last.replace((time, now)) else { return false };
        let by_time = Duration::from_secs(u64::try_from(time.saturating_sub(before)).unwrap_or(0));
        by_time.max(now.saturating_duration_since(then)) >= lifetime
    }

    /// Gives it up, though uploads may hold it: this process, too, may clean up after it from here on.
    pub(super) fn disown(&self) {
        own().remove(&self.name.0);
    }

    /// Returns the name of its directory in the corner.
    pub(super) fn name(&self) -> &str {
        &self.name.0
    }

    /// Removes it, empty by now. Its lock is closed first: some file systems keep what is removed
    /// while it is open, under another name.
    pub(super) fn remove(run: Arc<Run>, syscalls: &Syscalls, top: &OwnedFd) -> Result<(), Errno> {
        syscalls.unlink(&run.dir, LOCK, false)?;
        let name = run.name.0.clone();
        // Kept where an upload still knows it.
        drop(Arc::into_inner(run).map(|Run { name, dir, .. }| (name, dir)));
        syscalls.unlink(top, &name, true)
    }
}

/// The state that a beat changes: two that are the same had no beat between them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Beat {
    touched: (i64, u64),
    modified: (i64, u64),
    /// The content of the lock; [`None`] where there is none, and it is the directory that is looked at.
    content: Option<Vec<u8>>,
}

impl Beat {
    /// Returns whether the owner has shown between the two that it lives. One that makes its
    /// directory, or removes it, does not.
    fn is_later_than(&self, before: &Beat) -> bool {
        let is_begun = |beat: &Beat| beat.content.as_ref().map(|content| !content.is_empty());
        is_begun(self) == is_begun(before) && self != before
    }
}

/// The directory of another process, as it was found.
#[derive(Debug)]
struct Other {
    dir: OwnedFd,
    /// The file that a lock is on; [`None`] where that is the directory.
    lock: Option<OwnedFd>,
    /// It could be locked, and is as long as this: its owner has ended, or its lock does not reach
    /// this machine, or was lost.
    is_free: bool,
    owner: Identity,
    beat: Beat,
}

/// The standing of a process, as others see it: whether what it holds may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The process lives, or may live for as long as this.
    Alive(Duration),
    /// It has ended, or has lost all that it held.
    Gone,
}

/// Directories of other processes, as they were seen.
#[derive(Debug)]
pub(super) struct Others {
    syscalls: Syscalls,
    /// A directory that can be locked is nobody's, if it is of this machine.
    locks_exclude: bool,
    lifetime: Duration,
    this: Identity,
    /// Servers of other machines may work here: locks tell no longer who does.
    is_shared: AtomicBool,
    clock: FileClock,
    /// Those that may live: their last beat, and since when there was no other.
    watched: Mutex<BTreeMap<String, (Beat, Instant)>>,
}

impl Others {
    pub(super) fn new(syscalls: Syscalls, locks_exclude: bool, leasing: &LeaseOptions) -> Others {
        let (lifetime, this) = (leasing.lifetime, leasing.identity());
        let is_shared = AtomicBool::new(!locks_exclude);
        Others {
            syscalls,
            locks_exclude,
            lifetime,
            this,
            is_shared,
            clock: FileClock::default(),
            watched: Mutex::default(),
        }
    }

    /// Returns who this process is.
    pub(super) fn this(&self) -> &Identity {
        &self.this
    }

    /// Returns whether servers of other machines may work here.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Notes that they may.
    pub(super) fn note_shared(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
    }

    /// Says that the owner of `run` lives, where anybody might doubt it. Returns whether `run` is to
    /// be given up: nobody could see that its owner lives for so long that others may have taken it.
    pub(super) fn beat(&self, top: &OwnedFd, run: &Run, now: Instant) -> Result<bool, Errno> {
        if !self.is_shared() && !self.any_elsewhere(top, run)? {
            // An idle server leaves the disk alone.
            return Ok(false);
        }
        // One that was lost is had again, unless somebody looks whether it is.
        let _ = self.syscalls.lock(&run.lock);
        run.beat(&self.syscalls, &self.this)?;
        Ok(run.is_late(self.see_time(run)?, now, self.lifetime))
    }

    /// Returns the time that the lock of `run` got when it was last touched, in seconds.
    pub(super) fn see_time(&self, run: &Run) -> Result<i64, Errno> {
        let time = self.syscalls.stat(&run.lock)?.st_ctime;
        self.clock.saw(time, Instant::now());
        Ok(time)
    }

    /// Returns a time that the clock of the file system has reached by now; [`None`] where it is not looked
    /// at.
    pub(super) fn file_time(&self) -> Option<SystemTime> {
        // Without beats, it would be left behind when this machine sleeps.
        if self.is_shared() { self.clock.reached(Instant::now()) } else { None }
    }

    /// Returns whether a directory in the corner is of another machine.
    fn any_elsewhere(&self, top: &OwnedFd, run: &Run) -> Result<bool, Errno> {
        for name in self.names(top, Some(run))? {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let Ok(dir) = self.syscalls.open_entry(top, &name, flags) else { continue };
            let lock = self.syscalls.open_entry(&dir, LOCK, OFlags::RDONLY);
            if lock.is_ok_and(|lock| owner_in(&self.content(&lock)).is_elsewhere(&self.this)) {
                self.note_shared();
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Names of all directories of processes but `run`.
    fn names(&self, top: &OwnedFd, run: Option<&Run>) -> Result<Vec<String>, Errno> {
        let names = entries(&self.syscalls, top)?.into_iter();
        Ok(names.filter(|name| name.starts_with(RUN) && run.is_none_or(|run| run.name.0 != *name)).collect())
    }

    /// Looks at the directory `name`; [`None`] where it is gone or goes, or a lock says all there is to know.
    fn look(&self, top: &OwnedFd, name: &str) -> Result<Option<Other>, Errno> {
        let gone = |error| if error == Errno::NOENT { Ok(None) } else { Err(error) };
        let dir = match self.syscalls.open_entry(top, name, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => dir,
            Err(error) => return gone(error),
        };
        let lock = match self.syscalls.open_entry(&dir, LOCK, OFlags::RDWR) {
            Ok(lock) => Some(lock),
            // Half made, half removed, or of a server that knew no such file.
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error),
        };
        let is_free = self.syscalls.lock(lock.as_ref().unwrap_or(&dir)).is_ok();
        if !is_free && !self.is_shared() {
            return Ok(None);
        }
        let content = lock.as_ref().map(|lock| self.content(lock));
        let owner = content.as_deref().map(owner_in).unwrap_or_default();
        if owner.is_elsewhere(&self.this) {
            self.note_shared();
        }
        let stat = self.syscalls.stat(lock.as_ref().unwrap_or(&dir))?;
        let modified = (stat.st_mtime, stat.st_mtime_nsec);
        let beat = Beat { touched: meta::touched(&stat), modified, content };
        // Being removed is no sign of life, though it touches what is removed.
        let is_there = match &lock {
            Some(lock) => is_entry(&self.syscalls, &dir, LOCK, lock)?,
            None => is_entry(&self.syscalls, top, name, &dir)?,
        };
        if !is_there {
            return Ok(None);
        }
        Ok(Some(Other { dir, lock, is_free, owner, beat }))
    }

    /// Returns the content of a lock, as far as it can be read.
    fn content(&self, lock: &OwnedFd) -> Vec<u8> {
        let mut content = vec![0; LOCK_BYTES];
        let read = self.syscalls.read(lock, 0, &mut content, false).unwrap_or(0);
        content.truncate(read);
        content
    }

    /// Returns whether `other` is nobody's for certain.
    fn is_left(&self, name: &str, other: &Other) -> bool {
        let Other { is_free, owner, .. } = other;
        // Its lock may be held as long as the mount that it was made through is not quite gone.
        let is_left_by_this = owner.is(&self.this) && !own().contains(name);
        *is_free && self.locks_exclude && !owner.is_elsewhere(&self.this)
            || is_left_by_this
            || owner.has_ended(&self.this)
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<String, (Beat, Instant)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether any may have to be removed soon.
    pub(super) fn are_watched(&self) -> bool {
        !self.watched().is_empty()
    }

    /// Removes what processes that are gone left behind, as of the moment `now`, and never `run`;
    /// says of how many.
    pub(super) fn clean(
        &self,
        top: &OwnedFd,
        run: Option<&Run>,
        now: Instant,
        take_over: TakeOver<'_>,
    ) -> Result<usize, Errno> {
        let names = self.names(top, run)?;
        self.watched().retain(|name, _| names.contains(name));
        let mut removed = 0;
        for name in names {
            match self.remove_left(top, &name, now, take_over) {
                Ok(was_left) => removed += usize::from(was_left),
                Err(error) => {
                    log::warn!("can't delete .ferry/{name}, which belongs to a server that has ended: {error}");
                }
            }
        }
        Ok(removed)
    }

    fn remove_left(&self, top: &OwnedFd, name: &str, now: Instant, take_over: TakeOver<'_>) -> Result<bool, Errno> {
        let Some(other) = self.look(top, name)? else {
            self.watched().remove(name);
            return Ok(false);
        };
        if self.standing_of(name, &other, now) != Standing::Gone {
            return Ok(false);
        }
        for entry in entries(&self.syscalls, &other.dir)?.iter().filter(|entry| *entry != LOCK) {
            match is_move(entry) {
                // Another process may have taken it over before.
                true => match take_over(&other.dir, entry) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error),
                },
                false => self.unlink(&other.dir, entry, false)?,
            }
        }
        self.unlink(&other.dir, LOCK, false)?;
        // Closed before the directory is removed: see `Run::remove`.
        drop(other.lock);
        self.unlink(top, name, true)?;
        self.watched().remove(name);
        Ok(true)
    }

    /// Removes what another process may have removed before.
    fn unlink(&self, dir: &OwnedFd, name: &str, directory: bool) -> Result<(), Errno> {
        match self.syscalls.unlink(dir, name, directory) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        }
    }

    /// Returns whether the process whose directory is called `name` still holds what it held: this one does, whose
    /// directory is `run`.
    pub(super) fn standing(&self, top: &OwnedFd, run: &Run, name: &str, now: Instant) -> Result<Standing, Errno> {
        if run.name() == name {
            return Ok(Standing::Alive(self.lifetime));
        }
        Ok(match self.look(top, name)? {
            Some(other) => self.standing_of(name, &other, now),
            None => Standing::Gone,
        })
    }

    /// Returns whether the process of any other directory may live.
    pub(super) fn is_any_alive(&self, top: &OwnedFd, run: &Run, now: Instant) -> Result<bool, Errno> {
        for name in self.names(top, Some(run))? {
            if self.standing(top, run, &name, now)? != Standing::Gone {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Judges by what this process saw, and by its own steady clock: that of the file system may be
    /// moved, and those of two machines differ.
    fn standing_of(&self, name: &str, other: &Other, now: Instant) -> Standing {
        if self.is_left(name, other) {
            return Standing::Gone;
        }
        let mut watched = self.watched();
        let (last, since) = watched.entry(name.to_owned()).or_insert_with(|| (other.beat.clone(), now));
        if other.is_free && other.beat.is_later_than(last) {
            log::warn!(
                "another server stages in .ferry/{name}, and its lock does not reach this machine: one of the two must be stopped"
            );
        }
        if *last != other.beat {
            (*last, *since) = (other.beat.clone(), now);
        }
        match self.lifetime.saturating_sub(now.saturating_duration_since(*since)) {
            Duration::ZERO => Standing::Gone,
            left => Standing::Alive(left),
        }
    }

    /// Waits, where it must, until it is known that no other server works here whose lock can be
    /// taken all the same. Two such servers would take each other's uploads. Returns the name of
    /// its directory if there is one.
    pub(super) fn in_use(&self, top: &OwnedFd, run: Option<&Run>) -> Result<Option<String>, Errno> {
        let mut seen: BTreeMap<String, (Beat, Instant)> = BTreeMap::new();
        let began = Instant::now();
        let (watch, between) = (self.lifetime / WATCH_PARTS, self.lifetime / LOOK_PARTS);
        let mut beaten = began;
        loop {
            let mut doubtful = false;
            for name in self.names(top, run)? {
                let Some(other) = self.look(top, &name)? else { continue };
                if self.is_left(&name, &other) {
                    continue;
                }
                doubtful |= other.is_free;
                let (last, since) = seen.entry(name.clone()).or_insert_with(|| (other.beat.clone(), Instant::now()));
                if other.is_free && other.beat.is_later_than(last) {
                    return Ok(Some(name));
                }
                if other.beat != *last {
                    (*last, *since) = (other.beat, Instant::now());
                }
            }
            if !doubtful || began.elapsed() >= watch {
                break;
            }
            // The other one may be starting, too, and watch this one.
            if let Some(run) = run.filter(|_| beaten.elapsed() >= watch / 12) {
                run.beat(&self.syscalls, &self.this)?;
                beaten = Instant::now();
            }
            std::thread::sleep(between);
        }
        // A directory that was seen still so long need not be watched from the beginning.
        self.watched().extend(seen);
        Ok(None)
    }

    /// Returns what time it is on the file system, in seconds, and in doubt less: `run` was just
    /// touched. Where a file system takes its times from its clients' clocks, the one that is
    /// furthest behind counts.
    pub(super) fn time(&self, top: &OwnedFd, run: &Run) -> Result<i64, Errno> {
        self.syscalls.touch(&run.lock)?;
        let mut time = self.see_time(run)?;
        for name in self.names(top, Some(run))? {
            let Ok(dir) = self.syscalls.open_entry(top, &name, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
            let lock = self.syscalls.open_entry(&dir, LOCK, OFlags::RDONLY);
            if let Ok(stat) = self.syscalls.stat(lock.as_ref().unwrap_or(&dir)) {
                time = time.min(stat.st_ctime);
            }
        }
        Ok(time)
    }
}

/// Returns the owner of a lock that holds `content`.
fn owner_in(content: &[u8]) -> Identity {
    let line = content.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
    Identity::decode(std::str::from_utf8(line).unwrap_or_default())
}

/// Returns whether `file`, which is open, still has the name `name` in `dir`: another process may
/// have removed it, and made another one.
pub(super) fn is_entry(syscalls: &Syscalls, dir: &OwnedFd, name: &str, file: &OwnedFd) -> Result<bool, Errno> {
    match syscalls.stat_entry(dir, name) {
        Ok(there) => Ok(there.st_ino == syscalls.stat(file)?.st_ino),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the names in a directory.
pub(super) fn entries(syscalls: &Syscalls, dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in syscalls.list(dir)? {
        if let Ok(name) = std::str::from_utf8(entry?.file_name().to_bytes())
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

pub(super) fn random() -> Result<u64, Errno> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| Errno::IO)?;
    Ok(u64::from_le_bytes(random))
}
