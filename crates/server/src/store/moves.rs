//! Renames where the file system itself can't refuse to replace what has the new name.
//!
//! A rename is exactly one's, whichever servers of the root try: each step that counts is one call
//! that one process alone can succeed with.
//!
//! *A directory*: mkdir(2) of a *placeholder* takes the new name, with a mode that nothing else
//! has ([`PLACEHOLDER`]); renaming over it is the move. Others take a placeholder for busy.
//!
//! *A file* has both names for a moment, and never none:
//! 1. It gets a second, private name in a directory `move-<n>` of this process's own; a record
//!    there says what is to be done.
//! 2. `moves/<inode>` in the corner, a link to the record, is the claim: of one file there is one
//!    rename at a time.
//! 3. The record is *armed*: from here on what it says may have been begun.
//! 4. link(2) takes the new name, if nothing has it.
//! 5. Renaming the old name to a private one is the move. Whoever finds the old name gone has lost,
//!    and takes the new one back; whoever finds another file under it, which was put there
//!    meanwhile, gives that back and begins anew.
//!
//! A process that ends in between leaves its `move-<n>` behind. Who cleans up after it takes that
//! directory over, by a rename, and settles it: a new name that was taken is a move that is carried
//! on, since others may have seen it.
//! Every call of a move goes by a path through `move-<n>`. So one whose process was taken for dead,
//! and goes on, changes nothing any more.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Instant,
};

use ferry_wire::{Crc32, Name};
use rustix::{
    fs::{FileType, OFlags, Stat},
    io::Errno,
};

use super::{Durability, Store, meta, run::Run};

/// The beginning of the name of a move's directory.
const MOVE: &str = "move-";

/// Where claims lie in the corner.
const CLAIMS: &str = "moves";

/// The entries of a move's directory: the file; the record, before and after it is armed; what the
/// old name was taken from, and the new one; the claim that was given up.
const FILE: &str = "file";
const RECORD: &str = "record";
const ARMED: &str = "armed";
const TAKEN: &str = "taken";
const BACK: &str = "back";
const CLAIM: &str = "claim";

/// In a record: not [`FILE`].
const DIRECTORY: &str = "directory";

/// The permissions of a directory that only keeps a name for one that is about to be renamed to it:
/// nobody may do anything in it. No file or directory in earnest has them.
const PLACEHOLDER: u32 = 0o1000;

/// How often a file is tried to be moved whose name others give to other files meanwhile.
const TRIES: usize = 8;

/// The longest record that is read: two names and some numbers.
const RECORD_BYTES: usize = 4096;

/// Both ends of a rename, in open directories.
pub(super) struct Ends<'a> {
    pub(super) from: (&'a OwnedFd, &'a Name),
    pub(super) to: (&'a OwnedFd, &'a Name),
}

impl<'a> Ends<'a> {
    fn source(&self) -> (&'a OwnedFd, &'a str) {
        (self.from.0, self.from.1.last())
    }

    fn target(&self) -> (&'a OwnedFd, &'a str) {
        (self.to.0, self.to.1.last())
    }
}

/// The moves of this process that could not be settled.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<Vec<(Arc<Run>, String)>>);

impl Unsettled {
    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Run>, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether an entry of the directory of a process is a move.
pub(super) fn is_move(entry: &str) -> bool {
    entry.starts_with(MOVE)
}

/// The content of a record: the move that is to be made.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    kind: FileType,
    inode: u64,
    from: Name,
    to: Name,
}

impl Record {
    /// `<crc of the rest> ferry-move <file or directory> <inode> <from>//<to>`.
    fn encode(&self) -> String {
        let kind = if self.kind == FileType::Directory { DIRECTORY } else { FILE };
        let line = format!("ferry-move {kind} {} {}//{}", self.inode, self.from, self.to);
        format!("{} {line}\n", Crc32::of(line.as_bytes()))
    }

    fn decode(text: &[u8]) -> Option<Record> {
        let (line, _) = std::str::from_utf8(text).ok()?.split_once('\n')?;
        let (crc, line) = line.split_once(' ')?;
        if Crc32::parse(crc.as_bytes())? != Crc32::of(line.as_bytes()) {
            return None;
        }
        let (kind, rest) = line.strip_prefix("ferry-move ")?.split_once(' ')?;
        let kind = match kind {
            FILE => FileType::RegularFile,
            DIRECTORY => FileType::Directory,
            _ => return None,
        };
        let (inode, names) = rest.split_once(' ')?;
        let (from, to) = names.split_once("//")?;
        Some(Record { kind, inode: inode.parse().ok()?, from: Name::new(from).ok()?, to: Name::new(to).ok()? })
    }
}

/// The way in which a move that was begun and not made is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnWay {
    /// Its client was told that it failed.
    Undo,
    /// Its server has ended, and nobody was told.
    CarryOn,
}

/// The outcome of one try to move a file.
enum Tried {
    Moved,
    /// Another file had its name by then.
    OtherFile,
}

impl Store {
    /// Returns whether `stat` is that of a placeholder: a rename to its name is under way, or was
    /// when a server was killed.
    pub(super) fn is_placeholder(&self, stat: &Stat) -> bool {
        const PERMISSIONS: u32 = 0o1777;
        !self.capabilities.noreplace
            && meta::kind(stat) == FileType::Directory
            && stat.st_mode & PERMISSIONS == PLACEHOLDER
    }

    /// Returns whether the file of `stat` is being renamed, so that it may have two names which are
    /// to be one.
    pub(super) fn is_moving(&self, stat: &Stat) -> Result<bool, Errno> {
        if self.capabilities.noreplace || meta::kind(stat) != FileType::RegularFile || stat.st_nlink < 2 {
            return Ok(false);
        }
        let (top, claim) = (self.area()?.top(), claim_name(stat.st_ino));
        if present(self.syscalls.stat_entry(top, &claim))?.is_some() {
            self.clean_up_after_others();
        }
        Ok(present(self.syscalls.stat_entry(top, &claim))?.is_some())
    }

    /// Renames an entry of the status `stat` to a name that nothing has. [`Errno::EXIST`] where
    /// something does, [`Errno::BUSY`] where another server is renaming it.
    pub(super) fn move_entry(&self, ends: &Ends<'_>, stat: &Stat) -> Result<(), Errno> {
        if self.capabilities.noreplace {
            return self.syscalls.rename(ends.source(), ends.target(), false);
        }
        self.settle_unsettled();
        self.move_in_steps(ends, stat).map_err(|error| match error {
            Errno::EXIST => self.why_taken(ends),
            error => begun(error),
        })
    }

    /// Returns why a move found its new name taken: who asked for the same one may have been quicker,
    /// or still be on its way.
    fn why_taken(&self, ends: &Ends<'_>) -> Errno {
        let (old, new) = (ends.source(), ends.target());
        match (self.root.stat_entry(old.0, old.1), self.root.stat_entry(new.0, new.1)) {
            (Err(Errno::NOENT), _) => Errno::NOENT,
            (_, Ok(there)) if self.is_placeholder(&there) => Errno::BUSY,
            _ => Errno::EXIST,
        }
    }

    fn move_in_steps(&self, ends: &Ends<'_>, stat: &Stat) -> Result<(), Errno> {
        if meta::kind(stat) == FileType::Directory {
            let run = self.area()?.run()?;
            return self.in_move(run, |step| step.move_directory(ends, stat.st_ino)).map(drop);
        }
        for _ in 0..TRIES {
            let run = self.area()?.run()?;
            match self.in_move(run, |step| step.move_file(ends)) {
                Ok(Tried::Moved) => return Ok(()),
                Ok(Tried::OtherFile) => {}
                Err(error) if has_no_second_name(error) => return self.look_and_rename(ends.source(), ends.target()),
                Err(error) => return Err(error),
            }
        }
        Err(Errno::BUSY)
    }

    /// Gives a staged file a name that nothing has. The staged name goes at last; that another
    /// server takes it before means that the file has its name.
    pub(super) fn publish_free(&self, staged: (&OwnedFd, &str), to: (&OwnedFd, &str)) -> Result<(), Errno> {
        let syscalls = &self.syscalls;
        if self.capabilities.noreplace {
            return syscalls.rename(staged, to, false);
        }
        let inode = syscalls.stat_entry(staged.0, staged.1)?.st_ino;
        match syscalls.link(staged, to) {
            Ok(()) => {}
            Err(error) if has_no_second_name(error) => return self.look_and_rename(staged, to),
            Err(error) => return Err(error),
        }
        // The name must be on the disk before the other one goes.
        let published = self.sync(to.0).and_then(|()| match syscalls.unlink(staged.0, staged.1, false) {
            Err(Errno::NOENT) => Ok(()),
            unlinked => unlinked,
        });
        if published.is_err()
            && let Ok(there) = syscalls.stat_entry(to.0, to.1)
            && there.st_ino == inode
        {
            let _ = syscalls.unlink(to.0, to.1, false);
        }
        published.map_err(begun)
    }

    /// Renames a file that can have no second name where nothing was seen to have the new one.
    fn look_and_rename(&self, old: (&OwnedFd, &str), new: (&OwnedFd, &str)) -> Result<(), Errno> {
        match self.root.stat_entry(new.0, new.1) {
            Err(Errno::NOENT) => self.syscalls.rename(old, new, true).map_err(taken),
            Ok(_) | Err(Errno::XDEV) => Err(Errno::EXIST),
            Err(error) => Err(error),
        }
    }

    /// Does `run` in a new directory for a move, and settles that.
    fn in_move(&self, mut run: Arc<Run>, act: impl FnOnce(&Move<'_>) -> Result<Tried, Errno>) -> Result<Tried, Errno> {
        let path = format!("{MOVE}{}", self.next_number.fetch_add(1, Ordering::Relaxed));
        if let Err(error) = self.syscalls.mkdir(run.dir(), &path, 0o700) {
            if error != Errno::NOENT {
                return Err(error);
            }
            // Another server took this one for dead, or somebody tidied up.
            run = self.area()?.renew(Some(&run))?;
            self.syscalls.mkdir(run.dir(), &path, 0o700)?;
        }
        let step = Move { store: self, run: run.dir(), path };
        let done = act(&step);
        let decided = step.decide(OnWay::Undo);
        if let Err(error) = decided.and_then(|_| step.tidy_up()) {
            log::warn!("a rename could not be tidied up after: {error}; it is tried again later");
            self.unsettled.lock().push((run.clone(), step.path.clone()));
        }
        if decided == Ok(true) { Ok(Tried::Moved) } else { done }
    }

    /// Settles what could not be settled before.
    pub(super) fn settle_unsettled(&self) {
        let settle = |(run, path): &(Arc<Run>, String)| {
            let step = Move { store: self, run: run.dir(), path: path.clone() };
            step.settle(OnWay::Undo).is_err()
        };
        // Not held over a call: one that never returns is left to whoever cleans up after this process.
        let mut left = std::mem::take(&mut *self.unsettled.lock());
        left.retain(settle);
        self.unsettled.lock().append(&mut left);
    }

    /// Takes over the move `name` of a process that has ended, from its directory `dir`, and
    /// settles it. [`Errno::NOENT`] where somebody else does.
    pub(super) fn take_over_move(&self, dir: &OwnedFd, name: &str) -> Result<(), Errno> {
        let run = self.area()?.run()?;
        let path = format!("{MOVE}{}", self.next_number.fetch_add(1, Ordering::Relaxed));
        self.syscalls.rename((dir, name), (run.dir(), &path), true)?;
        let step = Move { store: self, run: run.dir(), path };
        let settled = step.settle(OnWay::CarryOn);
        if settled.is_err() {
            self.unsettled.lock().push((run.clone(), step.path.clone()));
        }
        settled
    }

    /// Removes what ended servers left, moves and their claims above all.
    fn clean_up_after_others(&self) {
        if let Ok(area) = self.area()
            && let Err(error) = area.clean_runs(Instant::now(), &|dir, name| self.take_over_move(dir, name))
        {
            log::warn!("can't clean up in .ferry: {error}; it is tried again later");
        }
    }
}

/// Returns whether a link(2) failed because the file can have no second name there: the file system
/// knows none, or the file is somebody else's, or has too many, or its quota does not allow it.
fn has_no_second_name(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::MLINK | Errno::XDEV)
}

/// Returns the error of a change in several steps that failed after the first one. It is not looked up again: that
/// would find what is left of it.
fn begun(error: Errno) -> Errno {
    if error == Errno::STALE { Errno::AGAIN } else { error }
}

/// Returns the error of a rename over what can't be replaced by that.
fn taken(error: Errno) -> Errno {
    match error {
        Errno::NOTDIR | Errno::NOTEMPTY => Errno::EXIST,
        // Another kind of entry has the name by now.
        Errno::ISDIR => Errno::BUSY,
        error => error,
    }
}

/// A move: its own directory in that of a process.
struct Move<'a> {
    store: &'a Store,
    run: &'a OwnedFd,
    path: String,
}

impl Move<'_> {
    fn name(&self, entry: &str) -> String {
        format!("{}/{entry}", self.path)
    }

    fn rename_in(&self, from: (&OwnedFd, &str), to: &str) -> Result<(), Errno> {
        self.store.syscalls.rename(from, (self.run, &self.name(to)), true)
    }

    fn inode(&self, entry: &str) -> Result<Option<u64>, Errno> {
        present(self.store.syscalls.stat_entry(self.run, &self.name(entry)).map(|stat| stat.st_ino))
    }

    fn write_record(&self, entry: &str, record: &Record) -> Result<(), Errno> {
        let syscalls = &self.store.syscalls;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = syscalls.open_entry(self.run, &self.name(entry), flags)?;
        syscalls.write_all(&file, record.encode().as_bytes(), 0)?;
        match self.store.durability {
            Durability::Full => syscalls.sync(&file),
            Durability::None => Ok(()),
        }
    }

    fn record(&self, entry: &str) -> Result<Option<Record>, Errno> {
        let syscalls = &self.store.syscalls;
        let Some(file) = present(syscalls.open_entry(self.run, &self.name(entry), OFlags::RDONLY))? else {
            return Ok(None);
        };
        let mut text = vec![0; RECORD_BYTES];
        let read = syscalls.read(&file, 0, &mut text, false)?;
        // One that was torn by a power cut says nothing: then nothing was begun.
        Ok(text.get(..read).and_then(Record::decode))
    }

    fn move_directory(&self, ends: &Ends<'_>, inode: u64) -> Result<Tried, Errno> {
        let syscalls = &self.store.syscalls;
        let record = Record { kind: FileType::Directory, inode, from: ends.from.1.clone(), to: ends.to.1.clone() };
        self.write_record(RECORD, &record)?;
        self.arm()?;
        if let Err(error) = syscalls.mkdir(ends.target().0, ends.target().1, PLACEHOLDER) {
            // It may be a placeholder of another server's.
            self.disarm()?;
            return Err(error);
        }
        syscalls.rename(ends.source(), ends.target(), true).map(|()| Tried::Moved).map_err(taken)
    }

    fn move_file(&self, ends: &Ends<'_>) -> Result<Tried, Errno> {
        let syscalls = &self.store.syscalls;
        let file = self.name(FILE);
        syscalls.link(ends.source(), (self.run, &file))?;
        let stat = syscalls.stat_entry(self.run, &file)?;
        let (inode, counts_links) = (stat.st_ino, stat.st_nlink > 1);
        let record = Record { kind: FileType::RegularFile, inode, from: ends.from.1.clone(), to: ends.to.1.clone() };
        self.write_record(RECORD, &record)?;
        self.claim(inode, counts_links)?;
        // A name that the file has already is not one that this move gives it.
        match self.store.root.stat_entry(ends.target().0, ends.target().1) {
            Err(Errno::NOENT) => {}
            Ok(_) | Err(Errno::XDEV) => return Err(Errno::EXIST),
            Err(error) => return Err(error),
        }
        self.arm()?;
        if let Err(error) = syscalls.link((self.run, &file), ends.target()) {
            self.disarm()?;
            return Err(error);
        }
        // The new name must be on the disk before the old one goes.
        self.store.sync(ends.target().0)?;
        self.rename_in(ends.source(), TAKEN)?;
        Ok(if self.inode(TAKEN)? == Some(inode) { Tried::Moved } else { Tried::OtherFile })
    }

    /// Makes this move the only one of the file: [`Errno::BUSY`] where there is another, of a
    /// server that lives.
    fn claim(&self, inode: u64, counts_links: bool) -> Result<(), Errno> {
        let syscalls = &self.store.syscalls;
        let top = self.store.area()?.top();
        let (record, claim) = (self.name(RECORD), claim_name(inode));
        let link = || match syscalls.link((self.run, &record), (top, &claim)) {
            Err(Errno::NOENT) => {
                match syscalls.mkdir(top, CLAIMS, 0o700) {
                    Err(Errno::EXIST) => {}
                    made => made?,
                }
                syscalls.link((self.run, &record), (top, &claim))
            }
            linked => linked,
        };
        match link() {
            Err(Errno::EXIST) => {}
            linked => return linked,
        }
        self.store.clean_up_after_others();
        // The record of a claim that has no other name is gone: it was lost in a power cut.
        if counts_links && present(syscalls.stat_entry(top, &claim))?.is_some_and(|stat| stat.st_nlink == 1) {
            self.rename_in((top, &claim), CLAIM)?;
        }
        link().map_err(|error| if error == Errno::EXIST { Errno::BUSY } else { error })
    }

    /// From here on the record counts, after a power cut as well.
    fn arm(&self) -> Result<(), Errno> {
        self.rename_in((self.run, &self.name(RECORD)), ARMED)?;
        if self.store.durability == Durability::Full {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            self.store.sync(&self.store.syscalls.open_entry(self.run, &self.path, flags)?)?;
            self.store.sync(self.run)?;
            self.store.sync(self.store.area()?.top())?;
        }
        Ok(())
    }

    fn disarm(&self) -> Result<(), Errno> {
        self.rename_in((self.run, &self.name(ARMED)), RECORD)
    }

    /// Sees to it that each name is there once, and that nothing is left of the move.
    fn settle(&self, on_way: OnWay) -> Result<(), Errno> {
        self.decide(on_way).and_then(|_| self.tidy_up())
    }

    /// Sees to it that each name is there once. Returns whether a file has its new one.
    fn decide(&self, on_way: OnWay) -> Result<bool, Errno> {
        let Some(record) = self.record(ARMED)? else { return Ok(false) };
        let made = match record.kind {
            FileType::Directory => {
                self.settle_directory(&record, on_way)?;
                false
            }
            _ => match self.inode(FILE)? {
                Some(file) => self.is_made(file)? || self.settle_file(&record, file, on_way)?,
                // It is tidied up already, as far as the disk knows.
                None => false,
            },
        };
        // Whatever has the names from here on is none of this move's.
        if !made {
            self.disarm()?;
        }
        Ok(made)
    }

    /// Gives up the claim, and removes the move's directory.
    fn tidy_up(&self) -> Result<(), Errno> {
        let syscalls = &self.store.syscalls;
        let record = self.record(ARMED)?.map_or_else(|| self.record(RECORD), |record| Ok(Some(record)))?;
        if let Some(record) = record.filter(|record| record.kind == FileType::RegularFile) {
            self.give_up_claim(record.inode)?;
        }
        for entry in [ARMED, RECORD, CLAIM, TAKEN, BACK, FILE] {
            match syscalls.unlink(self.run, &self.name(entry), false) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        match syscalls.unlink(self.run, &self.path, true) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        }
    }

    /// Carries on the move of a directory where its placeholder is still there, or removes that.
    fn settle_directory(&self, record: &Record, on_way: OnWay) -> Result<(), Errno> {
        let syscalls = &self.store.syscalls;
        let Some((to, there)) = self.look(&record.to)? else { return Ok(()) };
        if !there.is_some_and(|there| self.store.is_placeholder(&there)) {
            return Ok(());
        }
        if on_way == OnWay::CarryOn
            && let Some((from, Some(moved))) = self.look(&record.from)?
            && moved.st_ino == record.inode
            && syscalls.rename((&from, record.from.last()), (&to, record.to.last()), true).is_ok()
        {
            self.store.sync(&to)?;
            self.store.sync(&from)?;
            return Ok(());
        }
        match syscalls.unlink(&to, record.to.last(), true) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns whether the old name was taken from the file itself.
    fn is_made(&self, file: u64) -> Result<bool, Errno> {
        Ok(self.inode(TAKEN)? == Some(file))
    }

    /// Carries on the move of a file that has its new name, or undoes what was done of it; returns
    /// whether it is made.
    fn settle_file(&self, record: &Record, file: u64, on_way: OnWay) -> Result<bool, Errno> {
        let Some((to, there)) = self.look(&record.to)? else { return Ok(false) };
        let from = self.look(&record.from)?;
        let is_file = |there: &Option<Stat>| there.as_ref().is_some_and(|there| there.st_ino == file);
        if is_file(&there) && on_way == OnWay::CarryOn {
            self.store.sync(&to)?;
            if let Some((from, _)) = from.filter(|(_, there)| is_file(there)) {
                taken_away(self.rename_in((&from, record.from.last()), TAKEN))?;
                if !self.is_made(file)? && self.inode(TAKEN)?.is_some() {
                    self.put_back(TAKEN, &from, &record.from)?;
                }
                self.store.sync(&from)?;
            }
            return Ok(true);
        }
        // The new name goes before the old one comes back, as far as that was taken.
        if is_file(&there) {
            taken_away(self.rename_in((&to, record.to.last()), BACK))?;
        }
        if self.inode(BACK)?.is_some_and(|back| back != file) {
            self.put_back(BACK, &to, &record.to)?;
        }
        if self.inode(TAKEN)?.is_some()
            && let Some((from, _)) = &from
        {
            self.put_back(TAKEN, from, &record.from)?;
        }
        Ok(false)
    }

    /// Opens the directory in which `name` lies, and looks at what has the name there; [`None`]
    /// where the directory is gone.
    fn look(&self, name: &Name) -> Result<Option<(OwnedFd, Option<Stat>)>, Errno> {
        let dir = match self.store.root.open_dir(name.parent()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            dir => dir?,
        };
        let there = match self.store.root.stat_entry(&dir, name.last()) {
            // Something else is mounted there.
            Err(Errno::XDEV) => None,
            there => present(there)?,
        };
        Ok(Some((dir, there)))
    }

    /// Gives a file that others put under a name that name back, unless yet another one has it.
    fn put_back(&self, entry: &str, dir: &OwnedFd, name: &Name) -> Result<(), Errno> {
        let entry = self.name(entry);
        match self.store.syscalls.link((self.run, &entry), (dir, name.last())) {
            Ok(()) => self.store.sync(dir)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        self.store.syscalls.unlink(self.run, &entry, false)
    }

    fn give_up_claim(&self, inode: u64) -> Result<(), Errno> {
        let (top, claim) = (self.store.area()?.top(), claim_name(inode));
        let claimed = present(self.store.syscalls.stat_entry(top, &claim).map(|stat| stat.st_ino))?;
        let own = [self.inode(ARMED)?, self.inode(RECORD)?];
        if claimed.is_some() && own.contains(&claimed) {
            self.rename_in((top, &claim), CLAIM)?;
        }
        Ok(())
    }
}

fn claim_name(inode: u64) -> String {
    format!("{CLAIMS}/{inode}")
}

/// Takes it as done that somebody else has taken an entry away.
fn taken_away(renamed: Result<(), Errno>) -> Result<(), Errno> {
    present(renamed).map(drop)
}

fn present<T>(found: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_whole_or_not_at_all() {
        let name = |text| Name::new(text).unwrap();
        for kind in [FileType::RegularFile, FileType::Directory] {
            let record = Record { kind, inode: u64::MAX, from: name("a/b c"), to: name("d") };
            let text = record.encode();
            assert_eq!(Record::decode(text.as_bytes()), Some(record));
            for torn in 0..text.len() {
                assert_eq!(Record::decode(&text.as_bytes()[..torn]), None);
            }
        }
    }
}
