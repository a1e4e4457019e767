//! Decides who holds a kept upload where several machines may write.
//!
//! There a lock tells only that somebody *may* hold an upload: it may be held on for somebody who
//! has ended, and it may be lost by somebody who does not know. What decides is names ([`Tenure`]).
//!
//! Whoever takes an upload from a holder first makes a journal of its own, of the next epoch, and
//! gives way where another has done the same. Then it *renames the data* to a name of its own. That
//! rename is the claim: of another taker's, and of the renaming by which the holder publishes,
//! exactly one succeeds. Unless the holder said in its journal that it let go, it may still write,
//! so what it had promised is copied to a new file, and the old one is left to it.
//!
//! The journal that counts is the newest one that holds an entry; its data are under its names, or
//! under those of somebody who came later and died before its journal had an entry.

use std::{
    os::fd::OwnedFd,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use ferry_wire::{Digest, Id};
use rustix::{fs::OFlags, io::Errno};

use super::{
    super::{
        journal::{Journal, JournalEntry},
        meta,
        parts::Part,
        quota::Resting,
        run::{Run, Standing, entries, is_entry},
    },
    Area,
    kept::{DATA, DIR, Kept, KeptDir, MARK, Tenure},
};

/// How often what others change meanwhile is looked at anew.
pub(in crate::store) const TRIES: usize = 20;

/// Copied at once, where the data of another holder have to be.
const COPY_BYTES: usize = 1 << 20;

/// The files of one upload that are there, the latest holder's first.
#[derive(Debug, Default)]
pub(in crate::store) struct Traces {
    /// The directory of the upload, where it has one.
    dir: Option<OwnedFd>,
    marks: Vec<Tenure>,
    data: Vec<Tenure>,
}

impl Traces {
    /// Returns whether nothing is known of the upload.
    pub(in crate::store) fn are_none(&self) -> bool {
        self.marks.is_empty() && self.data.is_empty()
    }

    /// Returns the data that belong to the entry of the holder `of`.
    pub(in crate::store) fn data_since(&self, of: Option<&Tenure>) -> Option<&Tenure> {
        self.data.first().filter(|data| of.is_none_or(|of| *data >= of))
    }

    /// Forgets all that are not of holders before `tenure`.
    fn keep_before(&mut self, tenure: &Tenure) {
        self.marks.retain(|mark| mark < tenure);
        self.data.retain(|data| data < tenure);
    }

    fn has_same_marks(&self, others: &Traces, but: Option<&Tenure>) -> bool {
        self.marks.iter().eq(others.marks.iter().filter(|mark| Some(*mark) != but))
    }
}

/// The answer to somebody who wants an upload.
#[derive(Debug)]
pub(in crate::store) enum ClaimOutcome {
    /// It is the caller's, under names of its own; with its locked journal, that has no entry yet.
    Taken(Box<Taken>, OwnedFd),
    /// Somebody holds it, for as long as this at most if its server has failed; [`None`] where that
    /// is not known.
    Held(Option<Duration>),
    /// Others came between: it is to be looked at anew.
    Changed,
}

/// An upload that was taken.
#[derive(Debug)]
pub(in crate::store) struct Taken {
    pub(in crate::store) kept: Kept,
    dir: OwnedFd,
    /// The entry that counts until the journal has one.
    pub(in crate::store) entry: Option<JournalEntry>,
    /// There are data, under the names of the taker by now.
    pub(in crate::store) has_data: bool,
    /// Nobody else can have the data open to write.
    is_clean: bool,
    before: Traces,
}

impl Area {
    /// Returns whether servers of other machines may work here.
    pub(in crate::store) fn is_shared(&self) -> bool {
        self.others.is_shared()
    }

    /// Opens the directory in which the files of `kept` lie.
    pub(in crate::store) fn dir_of(&self, kept: &Kept) -> Result<KeptDir<'_>, Errno> {
        match kept.tenure {
            Tenure::Common => Ok(KeptDir::Common(&self.kept)),
            Tenure::Own { .. } => self.open_own(kept.id.as_str()).map(KeptDir::Own),
        }
    }

    fn open_own(&self, id: &str) -> Result<OwnedFd, Errno> {
        self.syscalls.open_entry(&self.kept, &format!("{id}{DIR}"), OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Returns the directory of the files of a holder, of those that were found.
    fn place<'a>(&'a self, traces: &'a Traces, tenure: &Tenure) -> Result<&'a OwnedFd, Errno> {
        match tenure {
            Tenure::Common => Ok(&self.kept),
            Tenure::Own { .. } => traces.dir.as_ref().ok_or(Errno::NOENT),
        }
    }

    /// Looks which files there are of an upload.
    pub(in crate::store) fn traces(&self, id: &str) -> Result<Traces, Errno> {
        let mut traces = Traces::default();
        match self.open_own(id) {
            Ok(dir) => {
                for name in entries(&self.syscalls, &dir)? {
                    let of = |ending: &str| name.strip_suffix(ending).and_then(Tenure::parse);
                    traces.marks.extend(of(MARK));
                    traces.data.extend(of(DATA));
                }
                traces.dir = Some(dir);
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        for (ending, found) in [(MARK, &mut traces.marks), (DATA, &mut traces.data)] {
            match self.syscalls.stat_entry(&self.kept, &Tenure::Common.file(id, ending)) {
                Ok(_) => found.push(Tenure::Common),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            found.sort_unstable_by(|one, other| other.cmp(one));
        }
        Ok(traces)
    }

    /// Returns the entry that counts, and whose it is: [`Errno::NOENT`] where a journal went meanwhile, and all is to
    /// be looked at anew.
    pub(in crate::store) fn newest_entry(
        &self,
        id: &str,
        traces: &Traces,
    ) -> Result<Option<(Tenure, JournalEntry)>, Errno> {
        for tenure in &traces.marks {
            let mark = self.syscalls.open_entry(self.place(traces, tenure)?, &tenure.file(id, MARK), OFlags::RDONLY);
            if let (_, Some(entry)) = Journal::read_anew(&self.syscalls, &mark?)? {
                return Ok(Some((tenure.clone(), entry)));
            }
        }
        Ok(None)
    }

    /// Returns whether what was found is so still, and there are no data of the entry of the holder `of`:
    /// then an upload that was about to have its name has it.
    pub(in crate::store) fn is_without_data(&self, id: &str, traces: &Traces, of: &Tenure) -> Result<bool, Errno> {
        let again = self.traces(id)?;
        Ok(again.has_same_marks(traces, None) && again.data_since(Some(of)).is_none())
    }

    /// Removes the data of a holder, which have their name in the tree as well.
    pub(in crate::store) fn remove_data(&self, id: &str, traces: &Traces, of: &Tenure) -> Result<(), Errno> {
        self.unlink(self.place(traces, of)?, &of.file(id, DATA))
    }

    /// Returns the status of the data of a holder.
    pub(in crate::store) fn stat_data(
        &self,
        id: &str,
        traces: &Traces,
        of: &Tenure,
    ) -> Result<rustix::fs::Stat, Errno> {
        self.syscalls.stat_entry(self.place(traces, of)?, &of.file(id, DATA))
    }

    /// Takes an upload, of which `traces` were found and whose `entry` counts.
    pub(in crate::store) fn claim(
        &self,
        id: &Id,
        traces: Traces,
        entry: Option<&(Tenure, JournalEntry)>,
    ) -> Result<ClaimOutcome, Errno> {
        let run = self.run()?;
        let newest = traces.marks.first();
        let was_let_go = entry.is_some_and(|(of, entry)| Some(of) == newest && entry.was_let_go());
        // Held until it is taken: of several takers one goes on.
        let (mut _lock, mut has_lock) = (None, newest.is_none());
        if let Some(newest) = newest {
            let mark =
                self.syscalls.open_entry(self.place(&traces, newest)?, &newest.file(id.as_str(), MARK), OFlags::RDWR);
            let mark = match mark {
                Err(Errno::NOENT) => return Ok(ClaimOutcome::Changed),
                mark => mark?,
            };
            has_lock = match self.syscalls.lock(&mark) {
                Err(Errno::AGAIN) => false,
                locked => locked.map(|()| true)?,
            };
            if !has_lock
                && !was_let_go
                && let Some(held) = self.held_by(&run, newest)?
            {
                return Ok(held);
            }
            _lock = Some(mark);
        }
        let epoch = newest.max(traces.data.first()).map_or(0, Tenure::epoch) + 1;
        let number = self.next_tenure.fetch_add(1, Ordering::Relaxed);
        let tenure = Tenure::Own { epoch, run: run.name().to_owned(), number };
        let Some((dir, mark)) = self.make_mark(id.as_str(), &tenure)? else { return Ok(ClaimOutcome::Changed) };
        let kept = Kept { id: id.clone(), tenure, node: self.node.clone() };
        // Whose data are not written by anybody: of a lock that excludes all others, or let go.
        let is_clean = was_let_go || has_lock && newest == Some(&Tenure::Common) && self.locks_exclude;
        let taken = self.take_data(&traces, entry.map(|(of, _)| of), &kept, &dir);
        match taken {
            Ok(Ok((before, has_data))) => {
                let (entry, before) = self.entry_before(&kept, before)?;
                Ok(ClaimOutcome::Taken(Box::new(Taken { kept, dir, entry, has_data, is_clean, before }), mark))
            }
            Ok(Err(lost)) => {
                self.unlink(&dir, &kept.journal_name())?;
                self.remove_dir(id.as_str())?;
                Ok(lost)
            }
            // The journal stays without an entry, and goes with the next that is made.
            Err(error) => Err(error),
        }
    }

    /// Returns the entry that counts for a taker, whose own has none, and what there is of others. One that was taken
    /// from may go on, and remove what was before it.
    fn entry_before(&self, kept: &Kept, mut before: Traces) -> Result<(Option<JournalEntry>, Traces), Errno> {
        for _ in 0..TRIES {
            match self.newest_entry(kept.id.as_str(), &before) {
                Err(Errno::NOENT) => {}
                entry => return Ok((entry?.map(|(_, entry)| entry), before)),
            }
            before = self.traces(kept.id.as_str())?;
            before.keep_before(&kept.tenure);
        }
        Err(Errno::NOENT)
    }

    /// Returns whether somebody else holds what `holder` took.
    fn held_by(&self, run: &Run, holder: &Tenure) -> Result<Option<ClaimOutcome>, Errno> {
        let Tenure::Own { run: theirs, .. } = holder else {
            // One of the servers that are there.
            let is_any_alive = self.others.is_any_alive(&self.top, run, Instant::now())?;
            return Ok(is_any_alive.then_some(ClaimOutcome::Held(None)));
        };
        Ok(match self.others.standing(&self.top, run, theirs, Instant::now())? {
            Standing::Alive(left) => Some(ClaimOutcome::Held(Some(left))),
            Standing::Gone => None,
        })
    }

    /// Makes and locks the journal of a taker: [`None`] where others came between.
    fn make_mark(&self, id: &str, tenure: &Tenure) -> Result<Option<(OwnedFd, OwnedFd)>, Errno> {
        let dir = match self.open_own(id) {
            Err(Errno::NOENT) => {
                match self.syscalls.mkdir(&self.kept, &format!("{id}{DIR}"), 0o700) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                match self.open_own(id) {
                    Err(Errno::NOENT) => return Ok(None),
                    dir => dir?,
                }
            }
            dir => dir?,
        };
        let name = tenure.file(id, MARK);
        let mark = match self.syscalls.open_entry(&dir, &name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
            // The directory was removed.
            Err(Errno::NOENT) => return Ok(None),
            mark => mark?,
        };
        match self.syscalls.lock(&mark) {
            Ok(()) => Ok(Some((dir, mark))),
            Err(error) => {
                self.unlink(&dir, &name)?;
                if error == Errno::AGAIN { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Gives the data of an upload the name of its taker, whose journal is there: that decides.
    /// Returns the traces of those before it, and whether there were data.
    fn take_data(
        &self,
        traces: &Traces,
        of_entry: Option<&Tenure>,
        kept: &Kept,
        dir: &OwnedFd,
    ) -> Result<Result<(Traces, bool), ClaimOutcome>, Errno> {
        let id = kept.id.as_str();
        let mut again = self.traces(id)?;
        if !traces.has_same_marks(&again, Some(&kept.tenure)) {
            return Ok(Err(ClaimOutcome::Changed));
        }
        again.keep_before(&kept.tenure);
        let has_data = match again.data_since(of_entry) {
            Some(data) => {
                let from = (self.place(&again, data)?, data.file(id, DATA));
                match self.syscalls.rename((from.0, &from.1), (dir, &kept.data_name()), true) {
                    Err(Errno::NOENT) => return Ok(Err(ClaimOutcome::Changed)),
                    renamed => renamed?,
                }
                true
            }
            None => false,
        };
        Ok(Ok((again, has_data)))
    }

    /// Opens the data of an upload that was taken, with the bytes that `promised` stands for. Another
    /// holder may have them open still, and then they are copied, and the parts beyond them. Returns the
    /// digest of the bytes in them that count, and the parts that do.
    pub(in crate::store) fn own_data(
        &self,
        taken: &Taken,
        promised: Digest,
        parts: &[Part],
        gets_on: &dyn Fn() -> bool,
    ) -> Result<(OwnedFd, Digest, Vec<Part>), Errno> {
        let (dir, name) = (&taken.dir, taken.kept.data_name());
        if !taken.has_data {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            return Ok((self.syscalls.open_entry(dir, &name, flags)?, Digest::new(), Vec::new()));
        }
        let theirs = self.open_data(dir, &name)?;
        let size = meta::size(&self.syscalls.stat(&theirs)?);
        let is_there = promised.bytes() <= size;
        let promised = if is_there { promised } else { Digest::new() };
        let are_there = is_there && parts.last().is_none_or(|last| last.end() <= size);
        let parts = if are_there { parts } else { &[] };
        if taken.is_clean {
            return Ok((theirs, promised, parts.to_vec()));
        }
        let Tenure::Own { number, .. } = &taken.kept.tenure else { return Err(Errno::INVAL) };
        let copy_name = format!("taken-{number}");
        let (run, copy) = self.stage(&copy_name, OFlags::RDWR)?;
        let copied = self.copy(&theirs, &copy, promised, parts, gets_on).and_then(|copied| {
            self.syscalls.rename((run.dir(), &copy_name), (dir, &name), true)?;
            Ok(copied)
        });
        if copied.is_err() {
            let _ = self.syscalls.unlink(run.dir(), &copy_name, false);
        }
        self.syscalls.closer().close(theirs);
        copied.map(|(digest, parts)| (copy, digest, parts))
    }

    /// Copies what was promised; nothing where it is not what was promised.
    fn copy(
        &self,
        theirs: &OwnedFd,
        copy: &OwnedFd,
        promised: Digest,
        parts: &[Part],
        gets_on: &dyn Fn() -> bool,
    ) -> Result<(Digest, Vec<Part>), Errno> {
        self.syscalls.forget_cached(theirs)?;
        let mut digest = self.copy_range((theirs, copy), 0, promised.bytes(), gets_on)?;
        let is_right = (digest.bytes(), digest.crc()) == (promised.bytes(), promised.crc());
        let mut copied = Vec::new();
        if is_right {
            for part in parts {
                let found = self.copy_range((theirs, copy), part.offset, part.length, gets_on)?;
                if (found.bytes(), found.crc()) == (part.length, part.crc) {
                    copied.push(part.clone());
                }
            }
        } else {
            log::warn!("an interrupted upload in .ferry/kept is not what its journal says; it begins anew");
            self.syscalls.truncate(copy, 0)?;
            digest = Digest::new();
        }
        // Whatever is promised on: what was promised before is on the disk.
        self.syscalls.sync_data(copy)?;
        Ok((digest, copied))
    }

    /// Copies a range of a file to the same place of another one, as far as there is any, and returns its digest.
    fn copy_range(
        &self,
        (from, to): (&OwnedFd, &OwnedFd),
        offset: u64,
        length: u64,
        gets_on: &dyn Fn() -> bool,
    ) -> Result<Digest, Errno> {
        let mut digest = Digest::new();
        let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(length).unwrap_or(COPY_BYTES))];
        let mut data = offset..offset;
        while digest.bytes() < length {
            let at = offset + digest.bytes();
            if at >= data.end {
                data = self.syscalls.data_in(from, at..offset + length);
                digest.append_zeros(data.start - at);
                if data.is_empty() {
                    // Nothing follows in the copy that would make it as long.
                    let size = meta::size(&self.syscalls.stat(to)?);
                    if size < data.end {
                        self.syscalls.truncate(to, data.end)?;
                    }
                }
                continue;
            }
            let left = usize::try_from(data.end - at).unwrap_or(usize::MAX);
            let piece = &mut buffer[..left.min(COPY_BYTES)];
            let read = self.syscalls.read(from, at, piece, false)?;
            if read == 0 {
                break;
            }
            self.syscalls.write_all(to, &piece[..read], at)?;
            digest.update(&piece[..read]);
            gets_on();
        }
        Ok(digest)
    }

    /// Makes durable what the taker of an upload has made. Before that its journal has no entry: one
    /// that came without its data would mean that there are none.
    pub(in crate::store) fn anchor(
        &self,
        taken: &Taken,
        sync: impl Fn(&OwnedFd) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        sync(&taken.dir)?;
        sync(&self.kept)
    }

    /// Removes what those before its taker had of an upload, whose journal has its first entry by now:
    /// [`Errno::NOENT`] where somebody has taken it already. One that comes later makes its journal
    /// before it takes the data, and so has them, whatever was made of them here.
    pub(in crate::store) fn settle(
        &self,
        taken: &Taken,
        sync: impl Fn(&OwnedFd) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if self.traces(taken.kept.id.as_str())?.marks.first() != Some(&taken.kept.tenure) {
            return Err(Errno::NOENT);
        }
        if self.unlink_all(taken.kept.id.as_str(), &taken.before, |_| true)? {
            sync(&taken.dir)?;
            sync(&self.kept)?;
        }
        Ok(())
    }

    /// Removes files of holders that `choose` picks: journals first, so that none speaks of data
    /// that are gone. Returns whether there were any.
    fn unlink_all(&self, id: &str, traces: &Traces, choose: impl Fn(&Tenure) -> bool) -> Result<bool, Errno> {
        let mut any = false;
        for (ending, tenures) in [(MARK, &traces.marks), (DATA, &traces.data)] {
            for tenure in tenures.iter().filter(|tenure| choose(tenure)) {
                self.unlink(self.place(traces, tenure)?, &tenure.file(id, ending))?;
                any = true;
            }
        }
        Ok(any)
    }

    fn unlink(&self, dir: &OwnedFd, name: &str) -> Result<(), Errno> {
        match self.syscalls.unlink(dir, name, false) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the directory of an upload, unless somebody has begun it anew.
    fn remove_dir(&self, id: &str) -> Result<(), Errno> {
        match self.syscalls.unlink(&self.kept, &format!("{id}{DIR}"), true) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes what its holder has of an upload: the bytes before the journal, which says nothing
    /// any more.
    pub(super) fn remove_own(&self, kept: &Kept, journal: &OwnedFd) -> Result<(), Errno> {
        self.syscalls.truncate(journal, 0)?;
        self.syscalls.sync(journal)?;
        let dir = match self.open_own(kept.id.as_str()) {
            // Another holder had it, and it has ended.
            Err(Errno::NOENT) => return Ok(()),
            dir => dir?,
        };
        self.unlink(&dir, &kept.data_name())?;
        self.unlink(&dir, &kept.journal_name())?;
        drop(dir);
        self.remove_dir(kept.id.as_str())
    }

    /// Removes an upload that nobody holds, if `may_go` says so of what is there; false where it does not, or
    /// somebody holds it.
    pub(super) fn remove_unheld(
        &self,
        id: &str,
        may_go: impl Fn(&Traces) -> Result<bool, Errno>,
    ) -> Result<bool, Errno> {
        let Ok(valid) = Id::new(id) else { return Ok(false) };
        let traces = self.traces(id)?;
        if !may_go(&traces)? {
            return Ok(false);
        }
        if traces.are_none() {
            return self.remove_dir(id).map(|()| true);
        }
        let entry = match self.newest_entry(id, &traces) {
            Err(Errno::NOENT) => return Ok(false),
            entry => entry?,
        };
        let ClaimOutcome::Taken(taken, mark) = self.claim(&valid, traces, entry.as_ref())? else { return Ok(false) };
        // Journals that speak of the data go before them.
        self.unlink_all(id, &taken.before, |_| true)?;
        self.syscalls.sync(&taken.dir)?;
        self.syscalls.sync(&self.kept)?;
        self.remove_own(&taken.kept, &mark)?;
        Ok(true)
    }

    /// Returns the size of the data of an upload.
    pub(super) fn bytes_in(&self, id: &str, traces: &Traces) -> Result<u64, Errno> {
        let mut bytes = 0;
        for tenure in &traces.data {
            match self.stat_data(id, traces, tenure) {
                Ok(stat) => bytes += meta::size(&stat),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    /// Returns what is known of an upload, with the space that it takes.
    pub(super) fn resting_in(&self, id: &str, traces: &Traces) -> Result<Option<Resting>, Errno> {
        let (mut bytes, mut touched) = (0, (i64::MIN, 0));
        for (ending, tenures) in [(MARK, &traces.marks), (DATA, &traces.data)] {
            for tenure in tenures {
                match self.syscalls.stat_entry(self.place(traces, tenure)?, &tenure.file(id, ending)) {
                    Ok(stat) => {
                        touched = touched.max(meta::touched(&stat));
                        bytes += if ending == DATA { meta::taken(&stat) } else { 0 };
                    }
                    Err(Errno::NOENT) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let is_known = touched.0 != i64::MIN;
        Ok(is_known.then(|| Resting { id: id.to_owned(), bytes, touched }))
    }

    /// Returns whether nobody touched an upload for long enough: see [`Area::is_expired`].
    pub(super) fn is_unheard_of(
        &self,
        id: &str,
        traces: &Traces,
        oldest: i64,
        oldest_published: i64,
    ) -> Result<bool, Errno> {
        let oldest = if traces.data.is_empty() { oldest_published } else { oldest };
        match self.resting_in(id, traces)? {
            Some(resting) => Ok(resting.touched.0 <= oldest),
            None => match &traces.dir {
                // Empty.
                Some(dir) => Ok(self.syscalls.stat(dir)?.st_ctime <= oldest_published),
                None => Ok(false),
            },
        }
    }

    /// Returns whether the journal of a holder still has its name: nobody has taken its upload.
    pub(in crate::store) fn is_held(&self, kept: &Kept, journal: &OwnedFd) -> Result<bool, Errno> {
        match self.open_own(kept.id.as_str()) {
            Ok(dir) => is_entry(&self.syscalls, &dir, &kept.journal_name(), journal),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says in the journal that its upload is anybody's, and unlocks it.
    pub(in crate::store) fn let_go(&self, file: &OwnedFd, journal: &mut Journal) -> Result<(), Errno> {
        journal.let_go(&self.syscalls, file)?;
        self.syscalls.sync_data(file)?;
        self.syscalls.unlock(file)
    }
}
