//! The server's own corner of the root, `.ferry`: where uploads are staged, on the same file system
//! as the names they will have.
//!
//! `run-<random>` belongs to one process, which holds a lock on it: the kernel gives the lock up
//! when the process ends, however it ends, so what lies in a directory that can be locked is nobody's
//! any more. `kept` holds resumable uploads, `<id>.data` and `<id>.mark`; who works on one holds a
//! lock on its mark.

use std::{os::fd::OwnedFd, time::Duration};

use ferry_wire::limits::MAX_TOKEN_BYTES;
use rustix::{
    fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, unlinkat},
    io::Errno,
};

use super::root::{Root, stat_entry};

const AREA: &str = ".ferry";
const KEPT: &str = "kept";
const RUN: &str = "run-";

/// The open directories of the corner.
#[derive(Debug)]
pub(super) struct Area {
    top: OwnedFd,
    run: OwnedFd,
    run_name: String,
    kept: OwnedFd,
}

impl Area {
    /// Opens the corner, made where missing, and a directory of this process's own in it.
    pub(super) fn open(root: &Root) -> Result<Area, Errno> {
        let top = make_dir(root.dir(), AREA)?;
        let kept = make_dir(&top, KEPT)?;
        loop {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(|_| Errno::IO)?;
            let run_name = format!("{RUN}{:016x}", u64::from_le_bytes(random));
            let run = make_dir(&top, &run_name)?;
            // Between the two steps another process may have taken it for a dead one's.
            if flock(&run, FlockOperation::NonBlockingLockExclusive).is_ok() && fstat(&run)?.st_nlink > 0 {
                return Ok(Area { top, run, run_name, kept });
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

    /// Removes a kept upload; who calls this holds the lock on its mark. The bytes go first: a mark
    /// without bytes is an upload that begins anew.
    pub(super) fn remove_kept(&self, id: &str) -> Result<(), Errno> {
        for name in [Area::data_name(id), Area::mark_name(id)] {
            match unlinkat(&self.kept, name.as_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes what processes that are gone left behind, and kept uploads that nobody touched for
    /// `expiry`. Gives how many of each.
    pub(super) fn clean(&self, now: i64, expiry: Duration) -> Result<(usize, usize), Errno> {
        let mut runs = 0;
        for name in entries(&self.top)? {
            if name.starts_with(RUN) && name != self.run_name && self.remove_dead_run(&name)? {
                runs += 1;
            }
        }
        let mut uploads = 0;
        let oldest = now.saturating_sub(i64::try_from(expiry.as_secs()).unwrap_or(i64::MAX));
        for name in entries(&self.kept)? {
            let Some(id) = name.strip_suffix(".mark").filter(|id| id.len() <= MAX_TOKEN_BYTES) else { continue };
            if self.remove_expired(&name, id, oldest)? {
                uploads += 1;
            }
        }
        Ok((runs, uploads))
    }

    fn remove_dead_run(&self, name: &str) -> Result<bool, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(dir) = openat(&self.top, name, flags, Mode::empty()) else { return Ok(false) };
        if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        for entry in entries(&dir)? {
            unlinkat(&dir, entry.as_str(), AtFlags::empty())?;
        }
        match unlinkat(&self.top, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn remove_expired(&self, mark_name: &str, id: &str, oldest: i64) -> Result<bool, Errno> {
        let newest = [Area::data_name(id), mark_name.into()]
            .iter()
            .filter_map(|name| stat_entry(&self.kept, name).ok())
            // Of the status, which a client can't set.
            .map(|stat| stat.st_ctime)
            .max();
        if newest.is_none_or(|newest| newest > oldest) {
            return Ok(false);
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(mark) = openat(&self.kept, mark_name, flags, Mode::empty()) else { return Ok(false) };
        if flock(&mark, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        self.remove_kept(id).map(|()| true)
    }

    /// Removes this process's own directory, empty by now.
    pub(super) fn leave(&self) {
        if let Err(error) = unlinkat(&self.top, self.run_name.as_str(), AtFlags::REMOVEDIR) {
            log::warn!("the directory {AREA}/{} stays behind: {error}", self.run_name);
        }
    }
}

fn make_dir(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn entries(dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        if let Ok(name) = std::str::from_utf8(entry?.file_name().to_bytes())
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
