//! The server's own corner of the root, `.ferry`: where uploads are staged, on the same file system
//! as the names they will have.
//!
//! `run-<random>` belongs to one process ([`run`](super::run)). `kept` holds resumable uploads and
//! their journals, under names that [`kept`] tells of. Who works on one holds a lock on its journal;
//! where several machines may write, that is the quick way to know, and [`shared`] the certain one.

mod kept;
mod shared;

use std::{
    collections::HashSet,
    os::fd::OwnedFd,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime},
};

use ferry_wire::limits::MAX_TOKEN_BYTES;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{
    journal::Journal,
    leasing::LeaseOptions,
    meta,
    owner::Owner,
    quota::Resting,
    root::Root,
    run::{Others, Run, TakeOver, entries, is_entry, random},
    syscalls::Syscalls,
};

pub(super) use kept::{Kept, Tenure};
pub(super) use shared::{ClaimOutcome, TRIES, Taken, Traces};

/// The entry of the root in which the server keeps its own files.
pub const AREA: &str = ".ferry";

const KEPT: &str = "kept";

/// The permissions without which the server can't go on with a file of its own.
const OWNER_READS_AND_WRITES: u32 = 0o600;

/// How long it stays known that an upload was published: for a client that lost the SAVED, and comes
/// back at once.
const KNOWN_PUBLISHED: Duration = Duration::from_secs(3600);

/// The open directories of the corner.
#[derive(Debug)]
pub(super) struct Area {
    syscalls: Syscalls,
    top: OwnedFd,
    kept: OwnedFd,
    /// [`None`] as long as the disk has no room for it.
    run: RwLock<Option<Arc<Run>>>,
    others: Others,
    /// A lock excludes all others that can write.
    locks_exclude: bool,
    next_tenure: AtomicU64,
    node: Option<Arc<str>>,
}

/// Why the corner can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoArea {
    System(Errno),
    /// Others could change what lies in this directory: it belongs to them, or they may write to it.
    Foreign(String),
    /// Another server stages in this directory, and its lock does not reach this machine.
    InUse(String),
}

impl From<Errno> for NoArea {
    fn from(error: Errno) -> NoArea {
        NoArea::System(error)
    }
}

impl Area {
    /// Opens the corner, made where missing, and a directory of this process's own in it. Where
    /// locks do not exclude all writers, that may take a while.
    pub(super) fn open(
        syscalls: Syscalls,
        root: &Root,
        locks_exclude: bool,
        leasing: &LeaseOptions,
    ) -> Result<Area, NoArea> {
        let top = make_dir(&syscalls, root.dir(), AREA)?;
        check_owner(&syscalls, &top, AREA)?;
        let kept = make_dir(&syscalls, &top, KEPT)?;
        check_owner(&syscalls, &kept, &format!("{AREA}/{KEPT}"))?;
        // A staged file is to be as this process makes files: what its name brings with it is added to that.
        for dir in [&top, &kept] {
            syscalls.hand_on_nothing(dir)?;
        }
        // A kept upload survives a power cut only if the directories that it lies in do.
        syscalls.sync(&top)?;
        syscalls.sync(root.dir())?;
        let others = Others::new(syscalls.clone(), locks_exclude, leasing);
        let (run, next_tenure, node) = (RwLock::default(), AtomicU64::new(0), leasing.node.clone());
        let area = Area { syscalls, top, kept, run, others, locks_exclude, next_tenure, node };
        area.begin()?;
        Ok(area)
    }

    /// Makes this process's directory, and finds out whether there may be one here.
    fn begin(&self) -> Result<(), NoArea> {
        let is_full = |error: Errno| matches!(error, Errno::NOSPC | Errno::DQUOT);
        let mut made = self.run();
        if made.as_ref().is_err_and(|error| is_full(*error)) {
            // A server that met its end on a full disk may have left what fills it.
            // Moves are taken over later, when there is room for that.
            self.others.clean(&self.top, None, Instant::now(), &|_, _| Err(Errno::NOSPC))?;
            made = self.run();
        }
        let run = match made {
            Err(error) if is_full(error) => {
                log::warn!("no room for uploads: {error}; files are served, and uploads fail until there is room");
                None
            }
            made => Some(made?),
        };
        if let (Some(run), true) = (&run, self.is_shared()) {
            self.others.see_time(run)?;
        }
        let other = self.others.in_use(&self.top, run.as_deref())?;
        drop(run);
        match other {
            Some(name) => {
                self.leave();
                Err(NoArea::InUse(format!("{AREA}/{name}")))
            }
            None => Ok(()),
        }
    }

    /// Returns where this process stages. It is made where it is not there yet.
    pub(super) fn run(&self) -> Result<Arc<Run>, Errno> {
        self.own().map_or_else(|| self.renew(None), Ok)
    }

    /// Makes a directory for this process in place of `lost`, unless that was done already.
    pub(super) fn renew(&self, lost: Option<&Arc<Run>>) -> Result<Arc<Run>, Errno> {
        let is_other = |run: &Arc<Run>| lost.is_none_or(|lost| !Arc::ptr_eq(run, lost));
        if let Some(run) = self.own().filter(is_other) {
            return Ok(run);
        }
        // Not under the lock: the file system may not answer, and others need no new one.
        let made = Arc::new(Run::make(&self.syscalls, &self.top, self.others.this())?);
        let mut run = self.run.write().unwrap_or_else(PoisonError::into_inner);
        let quicker = run.clone().filter(is_other);
        if quicker.is_none() {
            *run = Some(made.clone());
        }
        drop(run);
        if let Some(quicker) = quicker {
            if let Err(error) = Run::remove(made, &self.syscalls, &self.top) {
                log::warn!("can't delete a directory in .ferry that is not needed: {error}");
            }
            return Ok(quicker);
        }
        if lost.is_some() {
            log::warn!(
                "this server's directory in .ferry was removed, or others may have taken it; it has made another one"
            );
        }
        Ok(made)
    }

    /// Makes a file in the directory of this process.
    pub(super) fn stage(&self, name: &str, access: OFlags) -> Result<(Arc<Run>, OwnedFd), Errno> {
        let flags = access | OFlags::CREATE | OFlags::EXCL;
        let mut run = self.run()?;
        let mut file = self.syscalls.open_entry(run.dir(), name, flags);
        if file.as_ref().is_err_and(|error| *error == Errno::NOENT) {
            // Another server took this one for dead, or somebody tidied up.
            run = self.renew(Some(&run))?;
            file = self.syscalls.open_entry(run.dir(), name, flags);
        }
        Ok((run, file?))
    }

    /// Opens the data of a kept upload to go on with it. The file may have been given permissions by which its owner may not
    /// write it: those that it will have at its end, or of the file that it is to replace.
    pub(super) fn open_data(&self, dir: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
        match self.syscalls.open_entry(dir, name, OFlags::RDWR) {
            Err(Errno::ACCESS) => {
                let file = self.syscalls.open_entry(dir, name, OFlags::RDONLY)?;
                let mode = self.syscalls.stat(&file)?.st_mode & 0o777 | OWNER_READS_AND_WRITES;
                self.syscalls.set_mode(&file, Mode::from_raw_mode(mode))?;
                self.syscalls.open_entry(dir, name, OFlags::RDWR)
            }
            opened => opened,
        }
    }

    fn own(&self) -> Option<Arc<Run>> {
        self.run.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that this process lives, and sees to it that it has a directory.
    pub(super) fn beat(&self, now: Instant) -> Result<(), Errno> {
        let mut run = self.run()?;
        if !run.is_there(&self.syscalls, &self.top)? {
            run = self.renew(Some(&run))?;
        }
        if self.others.beat(&self.top, &run, now)? {
            self.renew(Some(&run))?;
        }
        Ok(())
    }

    /// Looks at the directories of others, and removes those that were still for long enough.
    pub(super) fn watch(&self, now: Instant, take_over: TakeOver<'_>) -> Result<(), Errno> {
        if self.others.is_shared() || self.others.are_watched() {
            self.others.clean(&self.top, self.own().as_deref(), now, take_over)?;
        }
        Ok(())
    }

    /// Returns a time that the clock of the file system has reached by the moment `now`, where other machines may write
    /// there, too.
    pub(super) fn file_time(&self) -> Option<SystemTime> {
        self.others.file_time()
    }

    /// Returns the corner itself.
    pub(super) fn top(&self) -> &OwnedFd {
        &self.top
    }

    /// Returns the directory in which resumable uploads are kept.
    pub(super) fn kept(&self) -> &OwnedFd {
        &self.kept
    }

    pub(super) fn data_name(id: &str) -> String {
        format!("{id}.data")
    }

    pub(super) fn journal_name(id: &str) -> String {
        format!("{id}.mark")
    }

    /// Returns whether anything is known under an id.
    pub(super) fn knows(&self, id: &str) -> Result<bool, Errno> {
        match self.is_shared() {
            true => self.traces(id).map(|traces| !traces.are_none()),
            false => Ok(self.syscalls.stat_entry(&self.kept, &Area::journal_name(id)).is_ok()),
        }
    }

    /// Removes what the holder of a kept upload has of it. Its journal is open and locked.
    pub(super) fn remove_held(&self, kept: &Kept, journal: &OwnedFd) -> Result<(), Errno> {
        match kept.tenure {
            Tenure::Common => self.remove_kept(kept.id.as_str(), journal),
            Tenure::Own { .. } => self.remove_own(kept, journal),
        }
    }

    /// Removes a kept upload with its locked journal. The bytes go before the journal: a journal
    /// without bytes is an upload that begins anew. But one that says that the whole is about to
    /// have its name would then mean that it has it; so what the journal says goes first, from the
    /// disk as well.
    fn remove_kept(&self, id: &str, journal: &OwnedFd) -> Result<(), Errno> {
        self.syscalls.truncate(journal, 0)?;
        self.syscalls.sync(journal)?;
        for name in [Area::data_name(id), Area::journal_name(id)] {
            match self.syscalls.unlink(&self.kept, &name, false) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Forgets an id under which nothing is kept; false where that is no longer so, or somebody works on it.
    pub(super) fn forget(&self, id: &str) -> Result<bool, Errno> {
        if self.is_shared() {
            return self.remove_unheld(id, |traces| Ok(self.bytes_in(id, traces)? == 0));
        }
        let Some(journal) = self.lock_unused(&Area::journal_name(id))? else { return Ok(false) };
        match self.syscalls.stat_entry(&self.kept, &Area::data_name(id)) {
            Ok(stat) if meta::size(&stat) > 0 => return Ok(false),
            // Of no bytes, but perhaps about to have its name.
            Ok(_) => self.remove_kept(id, &journal)?,
            Err(Errno::NOENT) => match self.syscalls.unlink(&self.kept, &Area::journal_name(id), false) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Opens and locks a journal that nobody works on: [`None`] where somebody does, or it has gone.
    fn lock_unused(&self, journal_name: &str) -> Result<Option<OwnedFd>, Errno> {
        let Ok(journal) = self.syscalls.open_entry(&self.kept, journal_name, OFlags::RDWR) else { return Ok(None) };
        if self.syscalls.lock(&journal).is_err() {
            return Ok(None);
        }
        // Before it was locked, another process may have gone on with it to its end, or removed it
        // and begun anew. Then this lock is on a file that is gone.
        Ok(self.is_entry(&self.kept, journal_name, &journal)?.then_some(journal))
    }

    /// Removes the upload kept under an id; false where somebody works on it.
    pub(super) fn evict(&self, id: &str) -> Result<bool, Errno> {
        if self.is_shared() {
            return self.remove_unheld(id, |_| Ok(true));
        }
        let Some(journal) = self.lock_unused(&Area::journal_name(id))? else { return Ok(false) };
        self.remove_kept(id, &journal)?;
        Ok(true)
    }

    /// Frees space that killed servers had set aside for kept uploads. Space that is given back
    /// once need not be looked for again: each look counts as a touch.
    pub(super) fn trim(&self) -> Result<(), Errno> {
        for name in self.entries(&self.kept)? {
            let Some(id) = name.strip_suffix(".data") else { continue };
            let Ok(stat) = self.syscalls.stat_entry(&self.kept, &name) else { continue };
            if !meta::has_ahead(&stat) {
                continue;
            }
            // A process that works on it needs it.
            let Some(_lock) = self.lock_unused(&Area::journal_name(id))? else { continue };
            let data = self.open_data(&self.kept, &name)?;
            let size = meta::size(&self.syscalls.stat(&data)?);
            self.syscalls.truncate(&data, size)?;
        }
        Ok(())
    }

    /// Returns the owner of the upload of an id, as its journal says: nobody where there is none,
    /// or it says nothing.
    pub(super) fn owner(&self, id: &str) -> Owner {
        if self.is_shared() {
            let entry = self.traces(id).and_then(|traces| self.newest_entry(id, &traces));
            return entry.ok().flatten().map(|(_, entry)| entry.owner).unwrap_or_default();
        }
        let journal = self.open_journal(id);
        let journal = journal.and_then(|file| Journal::read(&self.syscalls, &file)).ok().and_then(|(_, entry)| entry);
        journal.map(|entry| entry.owner).unwrap_or_default()
    }

    /// Opens a journal to read it, where no other machines may write it.
    pub(super) fn open_journal(&self, id: &str) -> Result<OwnedFd, Errno> {
        self.syscalls.open_entry(&self.kept, &Area::journal_name(id), OFlags::RDONLY)
    }

    /// Returns what is known under each id, whether kept or published.
    pub(super) fn all_resting(&self) -> Result<Vec<Resting>, Errno> {
        let mut found = Vec::new();
        let names: HashSet<_> = self.entries(&self.kept)?.into_iter().collect();
        let own = names.iter().filter_map(|name| name.strip_suffix(kept::DIR)).collect::<Vec<_>>();
        if !own.is_empty() {
            // Of a server that thought of other machines. Whoever finds one of its uploads does so as well.
            self.others.note_shared();
        }
        if self.is_shared() {
            let common = names.iter().filter_map(|name| name.strip_suffix(kept::MARK));
            let ids: HashSet<_> = own.into_iter().chain(common).collect();
            found.extend(ids.into_iter().filter_map(|id| self.resting(id).ok().flatten()));
            return Ok(found);
        }
        for id in names.iter().filter_map(|name| name.strip_suffix(".mark")) {
            let data = names.contains(&Area::data_name(id));
            // An upload that goes away meanwhile holds nothing.
            if let Ok(Some(resting)) = if data { self.resting(id) } else { self.resting_journal(id) } {
                found.push(resting);
            }
        }
        Ok(found)
    }

    /// Returns what is known under `id`; [`None`] where nothing is.
    pub(super) fn resting(&self, id: &str) -> Result<Option<Resting>, Errno> {
        if self.is_shared() {
            return self.resting_in(id, &self.traces(id)?);
        }
        match self.syscalls.stat_entry(&self.kept, &Area::data_name(id)) {
            Ok(stat) => {
                Ok(Some(Resting { id: id.to_owned(), bytes: meta::taken(&stat), touched: meta::touched(&stat) }))
            }
            Err(Errno::NOENT) => self.resting_journal(id),
            Err(error) => Err(error),
        }
    }

    /// Returns the same, where no data is kept.
    fn resting_journal(&self, id: &str) -> Result<Option<Resting>, Errno> {
        match self.syscalls.stat_entry(&self.kept, &Area::journal_name(id)) {
            Ok(stat) => Ok(Some(Resting { id: id.to_owned(), bytes: 0, touched: meta::touched(&stat) })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether `file`, which is open, still has the name `name` in `dir`: another process
    /// may have removed it, and made another one.
    pub(super) fn is_entry(&self, dir: &OwnedFd, name: &str, file: &OwnedFd) -> Result<bool, Errno> {
        is_entry(&self.syscalls, dir, name, file)
    }

    /// Removes what processes that are gone left behind, but for kept uploads. Returns of how many.
    pub(super) fn clean_runs(&self, now: Instant, take_over: TakeOver<'_>) -> Result<usize, Errno> {
        self.others.clean(&self.top, self.own().as_deref(), now, take_over)
    }

    /// Removes what processes that are gone left behind, kept uploads that nobody touched for
    /// `expiry`, and the journals of published ones sooner. Returns how many of each. `now` is the
    /// time in seconds, `steady` the same moment by a clock that nobody moves. Where other machines serve
    /// the same root, the file system is asked for the time.
    pub(super) fn clean(
        &self,
        now: i64,
        steady: Instant,
        expiry: Duration,
        take_over: TakeOver<'_>,
    ) -> Result<(usize, usize), Errno> {
        let runs = self.clean_runs(steady, take_over)?;
        // Which clock is right among several machines only the file system can say.
        let now = if self.others.is_shared() { self.others.time(&self.top, &*self.run()?)? } else { now };
        let mut uploads = 0;
        let before = |time: Duration| now.saturating_sub(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        let (oldest, oldest_published) = (before(expiry), before(expiry.min(KNOWN_PUBLISHED)));
        let is_shared = self.is_shared();
        let endings: &[_] = if is_shared { &[kept::DIR, kept::MARK] } else { &[kept::MARK] };
        for name in self.entries(&self.kept)? {
            let Some(id) = endings.iter().find_map(|ending| name.strip_suffix(ending)) else { continue };
            if id.len() > MAX_TOKEN_BYTES {
                continue;
            }
            let removed = match is_shared {
                true => self.remove_unheld(id, |traces| self.is_unheard_of(id, traces, oldest, oldest_published)),
                false => self.remove_expired(&name, id, oldest, oldest_published),
            };
            match removed {
                Ok(removed) => uploads += usize::from(removed),
                Err(error) => log::warn!("can't delete an expired upload in .ferry/kept: {error}"),
            }
        }
        Ok((runs, uploads))
    }

    fn remove_expired(&self, journal_name: &str, id: &str, oldest: i64, oldest_published: i64) -> Result<bool, Errno> {
        if !self.is_expired(journal_name, id, oldest, oldest_published) {
            return Ok(false);
        }
        let Some(journal) = self.lock_unused(journal_name)? else { return Ok(false) };
        if !self.is_expired(journal_name, id, oldest, oldest_published) {
            return Ok(false);
        }
        match self.remove_kept(id, &journal) {
            // The bytes are gone, if not the journal.
            Err(error) if self.data_bytes(id)? == 0 => {
                log::warn!("can't delete an empty journal in .ferry/kept: {error}");
            }
            removed => removed?,
        }
        Ok(true)
    }

    /// Returns whether nobody touched it for long enough.
    fn is_expired(&self, journal_name: &str, id: &str, oldest: i64, oldest_published: i64) -> bool {
        // Of the status, which a client can't set.
        let changed = |name: &str| self.syscalls.stat_entry(&self.kept, name).map(|stat| stat.st_ctime);
        let (data, journal) = (changed(&Area::data_name(id)), changed(journal_name));
        let oldest = if data == Err(Errno::NOENT) { oldest_published } else { oldest };
        [data, journal].into_iter().flatten().max().is_some_and(|newest| newest <= oldest)
    }

    /// Returns how many bytes are kept under `id`.
    pub(super) fn data_bytes(&self, id: &str) -> Result<u64, Errno> {
        match self.syscalls.stat_entry(&self.kept, &Area::data_name(id)) {
            Ok(stat) => Ok(meta::size(&stat)),
            Err(Errno::NOENT) => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn entries(&self, dir: &OwnedFd) -> Result<Vec<String>, Errno> {
        entries(&self.syscalls, dir)
    }

    /// Asks the file system for each directory that is held open.
    pub(super) fn ask_held(&self) -> Result<(), Errno> {
        self.syscalls.ask(&self.top)?;
        self.syscalls.ask(&self.kept)?;
        self.own().map_or(Ok(()), |run| self.syscalls.ask(run.dir()).map(drop))
    }

    /// Gives this process's directory up, where it can't be reached any more.
    pub(super) fn disown(&self) {
        if let Some(run) = self.own() {
            run.disown();
        }
    }

    /// Removes this process's own directory, empty by now.
    pub(super) fn leave(&self) {
        let run = self.run.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(run) = run
            && let Err(error) = Run::remove(run, &self.syscalls, &self.top)
        {
            log::warn!("can't delete this server's directory in .ferry: {error}; the next server cleans it up");
        }
    }
}

/// Refuses a directory that belongs to somebody else, or that others may write to: they could read
/// uploads before they have their names, and swap them for others.
///
/// File systems that keep no owners show one and the same for all that is made. So where it is not
/// this process's user, a directory made just now tells whether it could be any other; the same
/// goes for modes.
fn check_owner(syscalls: &Syscalls, dir: &OwnedFd, shown: &str) -> Result<(), NoArea> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let stat = syscalls.stat(dir)?;
    if stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & WRITABLE_BY_OTHERS == 0 {
        return Ok(());
    }
    let name = format!("run-{:016x}", random()?);
    match syscalls.mkdir(dir, &name, 0o700) {
        Err(Errno::ACCESS | Errno::PERM) => return Err(NoArea::Foreign(shown.to_owned())),
        made => made?,
    }
    let made = syscalls.stat_entry(dir, &name);
    syscalls.unlink(dir, &name, true)?;
    let made = made?;
    if stat.st_uid == made.st_uid && stat.st_mode & WRITABLE_BY_OTHERS & !made.st_mode == 0 {
        return Ok(());
    }
    Err(NoArea::Foreign(shown.to_owned()))
}

fn make_dir(syscalls: &Syscalls, parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    match syscalls.mkdir(parent, name, 0o700) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    syscalls.open_entry(parent, name, OFlags::RDONLY | OFlags::DIRECTORY)
}
