//! The server's own corner of the root, `.ferry`: where uploads are staged, on the same file system
//! as the names they will have.
//!
//! `run-<random>` belongs to one process, which holds a lock on it: the kernel gives the lock up
//! when the process ends, however it ends, so what lies in a directory that can be locked is nobody's
//! any more. `kept` holds resumable uploads, `<id>.data` and `<id>.mark`; who works on one holds a
//! lock on its mark.

use std::{os::fd::OwnedFd, time::Duration};

use ferry_wire::limits::MAX_TOKEN_BYTES;
use rustix::{fs::OFlags, io::Errno};

use super::{kernel::Kernel, meta, root::Root};

pub(super) const AREA: &str = ".ferry";
const KEPT: &str = "kept";
const RUN: &str = "run-";

/// How long it stays known that an upload was published: for a client that lost the SAVED, and comes
/// back at once.
const KNOWN_PUBLISHED: Duration = Duration::from_secs(3600);

/// How many ids are forgotten at once where the limit on them is reached.
const FORGOTTEN_AT_ONCE: usize = 256;

/// The open directories of the corner.
#[derive(Debug)]
pub(super) struct Area {
    kernel: Kernel,
    top: OwnedFd,
    run: OwnedFd,
    run_name: String,
    kept: OwnedFd,
}

/// Why the corner can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoArea {
    System(Errno),
    /// Others could change what lies in this directory: it belongs to them, or they may write to it.
    Foreign(String),
}

impl From<Errno> for NoArea {
    fn from(error: Errno) -> NoArea {
        NoArea::System(error)
    }
}

impl Area {
    /// Opens the corner, made where missing, and a directory of this process's own in it.
    pub(super) fn open(kernel: Kernel, root: &Root) -> Result<Area, NoArea> {
        let top = make_dir(&kernel, root.dir(), AREA)?;
        check_owner(&kernel, &top, AREA)?;
        let kept = make_dir(&kernel, &top, KEPT)?;
        check_owner(&kernel, &kept, &format!("{AREA}/{KEPT}"))?;
        // What is kept survives a power cut only if the directories that it lies in do.
        kernel.sync(&top)?;
        kernel.sync(root.dir())?;
        loop {
            let run_name = format!("{RUN}{:016x}", random()?);
            // Between any two of these steps another process may take it for a dead one's, and remove it.
            let run = match make_dir(&kernel, &top, &run_name) {
                Err(Errno::NOENT) if is_there(&kernel, &top)? => continue,
                made => made?,
            };
            match kernel.lock(&run) {
                Ok(()) if is_entry(&kernel, &top, &run_name, &run)? => {
                    return Ok(Area { kernel, top, run, run_name, kept });
                }
                Ok(()) | Err(Errno::AGAIN) => {}
                // No other directory could be locked either.
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Where this process stages.
    pub(super) fn run(&self) -> &OwnedFd {
        &self.run
    }

    /// Where resumable uploads are kept.
    pub(super) fn kept(&self) -> &OwnedFd {
        &self.kept
    }

    pub(super) fn data_name(id: &str) -> String {
        format!("{id}.data")
    }

    pub(super) fn mark_name(id: &str) -> String {
        format!("{id}.mark")
    }

    /// Removes a kept upload with its locked mark. The bytes go before the mark: a mark without bytes
    /// is an upload that begins anew. But one that says that the whole is about to have its name would then
    /// mean that it has it; so what the mark says goes first, from the disk as well.
    pub(super) fn remove_kept(&self, id: &str, mark: &OwnedFd) -> Result<(), Errno> {
        self.kernel.truncate(mark, 0)?;
        self.kernel.sync(mark)?;
        for name in [Area::data_name(id), Area::mark_name(id)] {
            match self.kernel.unlink(&self.kept, &name, false) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Forgets ids under which nothing is kept: of uploads that were published, and of those that brought no byte. Those
    /// that nobody touched for longest go first, a few at a time. Says how many there were.
    ///
    /// A power cut may bring some of them back; nothing depends on their being gone.
    pub(super) fn forget_spent(&self) -> Result<u64, Errno> {
        let mut spent = Vec::new();
        for name in self.entries(&self.kept)? {
            let Some(id) = name.strip_suffix(".mark").filter(|id| id.len() <= MAX_TOKEN_BYTES) else { continue };
            // What goes away meanwhile need not be forgotten.
            let Ok(mark) = self.kernel.stat_entry(&self.kept, &name) else { continue };
            if self.data_bytes(id)? == 0 {
                spent.push(((mark.st_ctime, mark.st_ctime_nsec), id.to_owned()));
            }
        }
        spent.sort_unstable();
        let mut forgotten = 0;
        for (_, id) in spent.into_iter().take(FORGOTTEN_AT_ONCE) {
            forgotten += u64::from(self.forget(&id)?);
        }
        Ok(forgotten)
    }

    /// Forgets an id under which nothing is kept; false where that is no longer so, or somebody works on it.
    fn forget(&self, id: &str) -> Result<bool, Errno> {
        let Some(mark) = self.lock_unused(&Area::mark_name(id))? else { return Ok(false) };
        match self.kernel.stat_entry(&self.kept, &Area::data_name(id)) {
            Ok(stat) if meta::size(&stat) > 0 => return Ok(false),
            // Of no bytes, but perhaps about to have its name.
            Ok(_) => self.remove_kept(id, &mark)?,
            Err(Errno::NOENT) => match self.kernel.unlink(&self.kept, &Area::mark_name(id), false) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Opens and locks a mark that nobody works on: [`None`] where somebody does, or it has gone.
    fn lock_unused(&self, mark_name: &str) -> Result<Option<OwnedFd>, Errno> {
        let Ok(mark) = self.kernel.open_entry(&self.kept, mark_name, OFlags::RDWR) else { return Ok(None) };
        if self.kernel.lock(&mark).is_err() {
            return Ok(None);
        }
        // Before it was locked, another process may have gone on with it and let go of it, or removed it
        // and begun anew: then this lock is on what is gone.
        Ok(self.is_entry(&self.kept, mark_name, &mark)?.then_some(mark))
    }

    /// Bytes of all kept uploads, and how many are known under an id, whether kept or published.
    pub(super) fn kept_totals(&self) -> Result<(u64, u64), Errno> {
        let names = self.entries(&self.kept)?;
        let data = names.iter().filter(|name| name.ends_with(".data"));
        // What goes away meanwhile holds nothing.
        let bytes = data.filter_map(|name| self.kernel.stat_entry(&self.kept, name).ok()).map(|stat| meta::size(&stat));
        Ok((bytes.sum(), names.iter().filter(|name| name.ends_with(".mark")).count() as u64))
    }

    /// Whether `file`, which is open, still has the name `name` in `dir`: another process may have removed
    /// it, and made another one.
    pub(super) fn is_entry(&self, dir: &OwnedFd, name: &str, file: &OwnedFd) -> Result<bool, Errno> {
        is_entry(&self.kernel, dir, name, file)
    }

    /// Removes what processes that are gone left behind, kept uploads that nobody touched for `expiry`,
    /// and what is known of published ones sooner. Gives how many of each, and how many bytes the uploads held.
    pub(super) fn clean(&self, now: i64, expiry: Duration) -> Result<(usize, usize, u64), Errno> {
        let mut runs = 0;
        for name in self.entries(&self.top)? {
            if !name.starts_with(RUN) || name == self.run_name {
                continue;
            }
            match self.remove_dead_run(&name) {
                Ok(removed) => runs += usize::from(removed),
                Err(error) => log::warn!("what an ended server left in {AREA}/{name} stays behind: {error}"),
            }
        }
        let (mut uploads, mut bytes) = (0, 0);
        let before = |time: Duration| now.saturating_sub(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        let (oldest, oldest_published) = (before(expiry), before(expiry.min(KNOWN_PUBLISHED)));
        for name in self.entries(&self.kept)? {
            let Some(id) = name.strip_suffix(".mark").filter(|id| id.len() <= MAX_TOKEN_BYTES) else { continue };
            match self.remove_expired(&name, id, oldest, oldest_published) {
                Ok(None) => {}
                Ok(Some(freed)) => {
                    uploads += 1;
                    bytes += freed;
                }
                Err(error) => log::warn!("an upload that nobody resumed stays behind: {error}"),
            }
        }
        Ok((runs, uploads, bytes))
    }

    fn remove_dead_run(&self, name: &str) -> Result<bool, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(dir) = self.kernel.open_entry(&self.top, name, flags) else { return Ok(false) };
        if self.kernel.lock(&dir).is_err() {
            return Ok(false);
        }
        for entry in self.entries(&dir)? {
            self.kernel.unlink(&dir, &entry, false)?;
        }
        match self.kernel.unlink(&self.top, name, true) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn remove_expired(
        &self,
        mark_name: &str,
        id: &str,
        oldest: i64,
        oldest_published: i64,
    ) -> Result<Option<u64>, Errno> {
        if !self.is_expired(mark_name, id, oldest, oldest_published) {
            return Ok(None);
        }
        let Some(mark) = self.lock_unused(mark_name)? else { return Ok(None) };
        if !self.is_expired(mark_name, id, oldest, oldest_published) {
            return Ok(None);
        }
        let bytes = self.data_bytes(id)?;
        match self.remove_kept(id, &mark) {
            // The bytes are gone, if not the mark.
            Err(error) if self.data_bytes(id)? == 0 => log::warn!("an empty mark stays behind: {error}"),
            removed => removed?,
        }
        Ok(Some(bytes))
    }

    /// Whether nobody touched it for long enough.
    fn is_expired(&self, mark_name: &str, id: &str, oldest: i64, oldest_published: i64) -> bool {
        // Of the status, which a client can't set.
        let changed = |name: &str| self.kernel.stat_entry(&self.kept, name).map(|stat| stat.st_ctime);
        let (data, mark) = (changed(&Area::data_name(id)), changed(mark_name));
        let oldest = if data == Err(Errno::NOENT) { oldest_published } else { oldest };
        [data, mark].into_iter().flatten().max().is_some_and(|newest| newest <= oldest)
    }

    /// How many bytes are kept under `id`.
    pub(super) fn data_bytes(&self, id: &str) -> Result<u64, Errno> {
        match self.kernel.stat_entry(&self.kept, &Area::data_name(id)) {
            Ok(stat) => Ok(meta::size(&stat)),
            Err(Errno::NOENT) => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn entries(&self, dir: &OwnedFd) -> Result<Vec<String>, Errno> {
        let mut names = Vec::new();
        for entry in self.kernel.list(dir)? {
            if let Ok(name) = std::str::from_utf8(entry?.file_name().to_bytes())
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Removes this process's own directory, empty by now.
    pub(super) fn leave(&self) {
        if let Err(error) = self.kernel.unlink(&self.top, &self.run_name, true) {
            log::warn!("the directory {AREA}/{} stays behind: {error}", self.run_name);
        }
    }
}

/// See [`Area::is_entry`].
fn is_entry(kernel: &Kernel, dir: &OwnedFd, name: &str, file: &OwnedFd) -> Result<bool, Errno> {
    match kernel.stat_entry(dir, name) {
        Ok(there) => Ok(there.st_ino == kernel.stat(file)?.st_ino),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a directory that is open has not been removed.
fn is_there(kernel: &Kernel, dir: &OwnedFd) -> Result<bool, Errno> {
    Ok(kernel.stat(dir)?.st_nlink > 0)
}

/// Refuses a directory that belongs to somebody else, or that others may write to: they could read uploads before
/// they have their names, and swap them for others.
///
/// File systems that keep no owners show one and the same for all that is made. So where it is not this process's user, a
/// directory made just now tells whether it could be any other; the same goes for modes.
fn check_owner(kernel: &Kernel, dir: &OwnedFd, shown: &str) -> Result<(), NoArea> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let stat = kernel.stat(dir)?;
    if stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & WRITABLE_BY_OTHERS == 0 {
        return Ok(());
    }
    let name = format!("{RUN}{:016x}", random()?);
    match kernel.mkdir(dir, &name, 0o700) {
        Err(Errno::ACCESS | Errno::PERM) => return Err(NoArea::Foreign(shown.to_owned())),
        made => made?,
    }
    let made = kernel.stat_entry(dir, &name);
    kernel.unlink(dir, &name, true)?;
    let made = made?;
    if stat.st_uid == made.st_uid && stat.st_mode & WRITABLE_BY_OTHERS & !made.st_mode == 0 {
        return Ok(());
    }
    Err(NoArea::Foreign(shown.to_owned()))
}

fn random() -> Result<u64, Errno> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| Errno::IO)?;
    Ok(u64::from_le_bytes(random))
}

fn make_dir(kernel: &Kernel, parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    match kernel.mkdir(parent, name, 0o700) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    kernel.open_entry(parent, name, OFlags::RDONLY | OFlags::DIRECTORY)
}
