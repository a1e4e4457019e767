//! Every system call that the store makes, in one place, with a seam for tests.
//!
//! A [`Watcher`] sees each call before it is made, and may make it fail; and sees it again when it
//! has succeeded. So a test can let the Nth call fail, for every N, or write down what reached the
//! disk and when. Without one, nothing is in between.

use std::{
    fmt::Debug,
    io::IoSliceMut,
    num::NonZero,
    ops::Range,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use ferry_wire::Time;
use rustix::{
    fs::{
        self, Advice, AtFlags, Dir, FallocateFlags, FlockOperation, FsWord, Mode, OFlags, RenameFlags, ResolveFlags,
        SeekFrom, Stat, StatVfs, StatxFlags, Timespec, Timestamps, UTIME_NOW, XattrFlags,
    },
    io::{self, Errno, ReadWriteFlags},
    process::{Gid, Uid, getegid, geteuid},
};

use super::closer::Closer;
use crate::sys;

/// The number of files that are synced at a time where each has to be by itself. A file system with
/// a journal commits them together; one of another machine answers several in one round trip.
const SYNCED_AT_ONCE: usize = 8;

/// Extended attributes with access control lists, and the most bytes that one may have.
const ACCESS_ACL: &str = "system.posix_acl_access";
const DEFAULT_ACL: &str = "system.posix_acl_default";
const ATTRIBUTE_BYTES: usize = 64 << 10;

/// Of a directory: what is made in it belongs to its group.
const SET_GROUP: u32 = 0o2000;

/// The mode of a new file, before the umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);

/// A system call, as a [`Watcher`] sees it.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are the arguments of the call")]
pub enum Call<'a> {
    /// fstatfs(2), for the kind.
    FileSystem { dir: BorrowedFd<'a> },
    /// fstatfs(2), for the room.
    Room { dir: BorrowedFd<'a> },
    /// openat(2) or openat2(2); `cached` if it may not ask a disk.
    Open { dir: BorrowedFd<'a>, path: &'a str, create: bool, truncate: bool, cached: bool },
    /// fstat(2).
    Stat { file: BorrowedFd<'a> },
    /// fstatat(2).
    StatEntry { dir: BorrowedFd<'a>, name: &'a str },
    /// preadv2(2); `nowait` if it may not ask a disk.
    Read { file: BorrowedFd<'a>, at: u64, bytes: usize, nowait: bool },
    /// getdents(2), for a directory as a whole.
    List { dir: BorrowedFd<'a> },
    /// flock(2).
    Lock { file: BorrowedFd<'a> },
    /// lseek(2), for data or a hole.
    Seek { file: BorrowedFd<'a> },
    /// fallocate(2), making a hole.
    Punch { file: BorrowedFd<'a>, at: u64, bytes: u64 },
    /// mincore(2) of a range.
    Resident { file: BorrowedFd<'a>, at: u64, bytes: u64 },
    /// fcntl(2), for a read lease.
    Lease { file: BorrowedFd<'a> },
    /// fcntl(2), giving a lease up.
    Release { file: BorrowedFd<'a> },
    /// flock(2), giving a lock up.
    Unlock { file: BorrowedFd<'a> },
    /// pwrite(2).
    Write { file: BorrowedFd<'a>, at: u64, bytes: &'a [u8] },
    /// fallocate(2), keeping the size.
    Reserve { file: BorrowedFd<'a>, at: u64, bytes: u64 },
    /// ftruncate(2).
    Truncate { file: BorrowedFd<'a>, size: u64 },
    /// futimens(2).
    SetTime { file: BorrowedFd<'a> },
    /// fchown(2), fchmod(2), fsetxattr(2), or ioctl_fsxattr(2) for a project.
    SetAttributes { file: BorrowedFd<'a> },
    /// sync_file_range(2).
    Writeback { file: BorrowedFd<'a> },
    /// fdatasync(2).
    SyncData { file: BorrowedFd<'a> },
    /// fsync(2), of a file or a directory.
    Sync { file: BorrowedFd<'a> },
    /// syncfs(2), for files that were all written.
    SyncTogether { files: &'a [OwnedFd] },
    /// mkdirat(2).
    Mkdir { dir: BorrowedFd<'a>, name: &'a str },
    /// unlinkat(2).
    Unlink { dir: BorrowedFd<'a>, name: &'a str, directory: bool },
    /// linkat(2).
    Link { from: (BorrowedFd<'a>, &'a str), to: (BorrowedFd<'a>, &'a str) },
    /// renameat2(2).
    Rename { from: (BorrowedFd<'a>, &'a str), to: (BorrowedFd<'a>, &'a str), replace: bool },
}

/// The attributes that a directory hands on to a new file in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Inheritance {
    pub(super) group: Option<u32>,
    /// An access control list, as `system.posix_acl_default` has it.
    pub(super) acl: Option<Vec<u8>>,
    pub(super) project: Option<u32>,
}

/// Sees what the store asks of the kernel. Called on the loop and on every helper, at the same time.
pub trait Watcher: Debug + Send + Sync {
    /// Called before `call` is made.
    ///
    /// # Errors
    ///
    /// The error that the call fails with instead.
    fn before(&self, call: &Call<'_>) -> Result<(), Errno>;

    /// Called after `call` has succeeded.
    fn after(&self, call: &Call<'_>);

    /// Called with the status of a file, which may be changed to that of another file system.
    fn told(&self, stat: &mut Stat) {
        let _ = stat;
    }
}

/// The way to the kernel. A call that a signal interrupted is made again, but for the two syncs: a
/// sync that failed in any way has failed. A call for which there was no room is made again when
/// files that are being closed have freed theirs: a client that was told of a deletion may count on
/// the room.
#[derive(Debug, Clone)]
pub(super) struct Syscalls {
    watcher: Option<Arc<dyn Watcher>>,
    closer: Closer,
    identity: (u32, u32),
}

impl Syscalls {
    pub(super) fn new(watcher: Option<Arc<dyn Watcher>>, closer: Closer) -> Syscalls {
        // They stay as they are as long as this process lives, and are needed for each file that is read.
        let identity = (geteuid().as_raw(), getegid().as_raw());
        Syscalls { watcher, closer, identity }
    }

    /// Returns the closer of files whose close may take long.
    pub(super) fn closer(&self) -> &Closer {
        &self.closer
    }

    fn once<T>(&self, call: &Call<'_>, run: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        let Some(watcher) = &self.watcher else { return run() };
        watcher.before(call)?;
        let result = run();
        if result.is_ok() {
            watcher.after(call);
        }
        result
    }

    fn call<T>(&self, call: &Call<'_>, mut run: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
        loop {
            let closed = self.closer.closed();
            match self.once(call, &mut run) {
                Err(Errno::INTR) => {}
                Err(Errno::NOSPC | Errno::DQUOT) if self.closer.has_closed_since(closed) => {}
                result => return result,
            }
        }
    }

    /// Returns the number of the kind of file system that `dir` lies on.
    pub(super) fn file_system(&self, dir: &OwnedFd) -> Result<FsWord, Errno> {
        self.call(&Call::FileSystem { dir: dir.as_fd() }, || fs::fstatfs(dir)).map(|status| status.f_type)
    }

    /// Returns how much room the file system of `dir` has.
    pub(super) fn room(&self, dir: &OwnedFd) -> Result<StatVfs, Errno> {
        self.call(&Call::Room { dir: dir.as_fd() }, || fs::fstatvfs(dir))
    }

    /// Opens `path` beneath `dir` in the way that `resolve` allows.
    pub(super) fn open_beneath(
        &self,
        dir: &OwnedFd,
        path: &str,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        let cached = resolve.contains(ResolveFlags::CACHED);
        let call = Call::Open { dir: dir.as_fd(), path, create: false, truncate: false, cached };
        self.call(&call, || fs::openat2(dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
    }

    /// Opens the entry `name` of `dir`, which the server made itself; never a symbolic link.
    pub(super) fn open_entry(&self, dir: &OwnedFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let (create, truncate) = (flags.contains(OFlags::CREATE), flags.contains(OFlags::TRUNC));
        let call = Call::Open { dir: dir.as_fd(), path: name, create, truncate, cached: false };
        self.call(&call, || fs::openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, FILE_MODE))
    }

    pub(super) fn stat(&self, file: impl AsFd) -> Result<Stat, Errno> {
        self.told(self.call(&Call::Stat { file: file.as_fd() }, || fs::fstat(&file)))
    }

    /// Returns how many names the file or directory `dir` has, as its file system says now: what the kernel
    /// remembers of one of another machine, or of a program, does not count.
    pub(super) fn ask(&self, dir: &OwnedFd) -> Result<u32, Errno> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        let links = || fs::statx(dir, "", flags, StatxFlags::NLINK).map(|status| status.stx_nlink);
        self.call(&Call::Stat { file: dir.as_fd() }, links)
    }

    fn told(&self, stat: Result<Stat, Errno>) -> Result<Stat, Errno> {
        let Some(watcher) = &self.watcher else { return stat };
        stat.map(|mut stat| {
            watcher.told(&mut stat);
            stat
        })
    }

    /// Returns the status of an entry, of a symbolic link itself.
    pub(super) fn stat_entry(&self, dir: &OwnedFd, name: &str) -> Result<Stat, Errno> {
        let call = Call::StatEntry { dir: dir.as_fd(), name };
        self.told(self.call(&call, || fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)))
    }

    /// Returns whether names of the entries of a directory are compared without regard to case:
    /// [`Errno::NOTTY`] or [`Errno::OPNOTSUPP`] where no directory of the file system can be marked
    /// so.
    pub(super) fn folds_case(&self, dir: &OwnedFd) -> Result<bool, Errno> {
        // FS_CASEFOLD_FL of linux/fs.h.
        const CASEFOLD: u32 = 0x4000_0000;
        let flags = self.call(&Call::Stat { file: dir.as_fd() }, || fs::ioctl_getflags(dir))?;
        Ok(flags.bits() & CASEFOLD != 0)
    }

    /// Reads some bytes; with `nowait`, [`Errno::AGAIN`] or [`Errno::OPNOTSUPP`] where a disk would
    /// have to be asked.
    pub(super) fn read(&self, file: &OwnedFd, at: u64, bytes: &mut [u8], nowait: bool) -> Result<usize, Errno> {
        let flags = if nowait { ReadWriteFlags::NOWAIT } else { ReadWriteFlags::empty() };
        let call = Call::Read { file: file.as_fd(), at, bytes: bytes.len(), nowait };
        self.call(&call, || io::preadv2(file, &mut [IoSliceMut::new(bytes)], at, flags))
    }

    /// Asks the kernel to read nothing ahead by itself: even a read that may not wait would otherwise
    /// stop to find memory for megabytes of what follows. Only a hint: it can't fail.
    pub(super) fn no_readahead(&self, file: &OwnedFd) {
        let _ = fs::fadvise(file, 0, None, Advice::Random);
    }

    /// Asks for a range to come from the disk soon. Only a hint: it can't fail.
    pub(super) fn will_need(&self, file: &OwnedFd, at: u64, bytes: u64) {
        let _ = fs::fadvise(file, at, NonZero::new(bytes), Advice::WillNeed);
    }

    /// Returns whether the page cache has a range, ready to be sent: of a file of this process's user.
    pub(super) fn is_in_memory(&self, file: &OwnedFd, at: u64, bytes: u64) -> Result<bool, Errno> {
        let call = Call::Resident { file: file.as_fd(), at, bytes };
        let length = usize::try_from(bytes).map_err(|_| Errno::INVAL)?;
        self.call(&call, || sys::in_page_cache(file.as_fd(), at, length))
    }

    /// Has whoever opens the file for writing wait until [`release`](Self::release): [`Errno::AGAIN`] where somebody has.
    pub(super) fn lease(&self, file: &OwnedFd) -> Result<(), Errno> {
        self.call(&Call::Lease { file: file.as_fd() }, || sys::lease(file.as_fd()))
    }

    /// Gives a lease up, and returns whether it was held until now and nobody waited.
    pub(super) fn release(&self, file: &OwnedFd) -> Result<bool, Errno> {
        self.call(&Call::Release { file: file.as_fd() }, || sys::release(file.as_fd()))
    }

    pub(super) fn list(&self, dir: &OwnedFd) -> Result<Dir, Errno> {
        self.call(&Call::List { dir: dir.as_fd() }, || Dir::read_from(dir))
    }

    /// Locks the open file for this process, without waiting: [`Errno::AGAIN`] where another holds it.
    pub(super) fn lock(&self, file: &OwnedFd) -> Result<(), Errno> {
        let call = Call::Lock { file: file.as_fd() };
        self.call(&call, || fs::flock(file, FlockOperation::NonBlockingLockExclusive))
    }

    /// Gives up a lock at once. A close does so as well, but on the file systems of programs not before
    /// they get to it.
    pub(super) fn unlock(&self, file: &OwnedFd) -> Result<(), Errno> {
        let call = Call::Unlock { file: file.as_fd() };
        self.call(&call, || fs::flock(file, FlockOperation::NonBlockingUnlock))
    }

    /// Lets the next read ask the file system, for bytes and size that another machine may have changed.
    pub(super) fn forget_cached(&self, file: &OwnedFd) -> Result<(), Errno> {
        self.ask(file)?;
        // Only a hint: where the kernel keeps nothing, there is nothing to forget.
        let _ = fs::fadvise(file, 0, None, Advice::DontNeed);
        Ok(())
    }

    /// Writes all of `bytes`.
    pub(super) fn write_all(&self, file: &OwnedFd, bytes: &[u8], at: u64) -> Result<(), Errno> {
        let mut written = 0;
        while written < bytes.len() {
            let (rest, at) = (&bytes[written..], at + written as u64);
            let call = Call::Write { file: file.as_fd(), at, bytes: rest };
            match self.call(&call, || io::pwrite(file, rest, at))? {
                0 => return Err(Errno::IO),
                count => written += count,
            }
        }
        Ok(())
    }

    /// Sets room aside behind the end of the file, without changing its size.
    pub(super) fn reserve(&self, file: &OwnedFd, at: u64, bytes: u64) -> Result<(), Errno> {
        let call = Call::Reserve { file: file.as_fd(), at, bytes };
        self.call(&call, || fs::fallocate(file, FallocateFlags::KEEP_SIZE, at, bytes))
    }

    /// Makes a hole of a range within the file, which reads as zeros then.
    pub(super) fn punch(&self, file: &OwnedFd, at: u64, bytes: u64) -> Result<(), Errno> {
        let call = Call::Punch { file: file.as_fd(), at, bytes };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.call(&call, || fs::fallocate(file, flags, at, bytes))
    }

    /// Returns the first part of a range that may hold anything but zeros: it is empty, and at the end, where there is none.
    /// Where the file system can't tell, all of it may. The place where the descriptor reads next is moved, which nothing
    /// here goes by.
    pub(super) fn data_in(&self, file: &OwnedFd, range: Range<u64>) -> Range<u64> {
        let seek = |to| self.call(&Call::Seek { file: file.as_fd() }, || fs::seek(file, to));
        let start = match seek(SeekFrom::Data(range.start)) {
            Ok(start) => start.clamp(range.start, range.end),
            // There is none up to its end, or it ends before.
            Err(Errno::NXIO) => range.end,
            Err(_) => return range,
        };
        if start == range.end {
            return start..start;
        }
        let end = seek(SeekFrom::Hole(start)).unwrap_or(range.end).min(range.end);
        // A file that was cut meanwhile has neither there.
        if end > start { start..end } else { start..range.end }
    }

    pub(super) fn truncate(&self, file: &OwnedFd, size: u64) -> Result<(), Errno> {
        self.call(&Call::Truncate { file: file.as_fd(), size }, || fs::ftruncate(file, size))
    }

    /// Sets the time of the last change of content.
    pub(super) fn set_mtime(&self, file: &OwnedFd, mtime: Time) -> Result<(), Errno> {
        let tv_sec = mtime.seconds().try_into().unwrap_or(i64::MAX);
        self.set_times(file, Timespec { tv_sec, tv_nsec: mtime.nanos().into() })
    }

    /// Sets the time of the last change of content to now, by the clock of the file system.
    pub(super) fn touch(&self, file: &OwnedFd) -> Result<(), Errno> {
        self.set_times(file, Timespec { tv_sec: 0, tv_nsec: UTIME_NOW })
    }

    /// Sets the time of the last access to now as well: most programs behind FUSE take one without the other for nothing, and
    /// tell success.
    fn set_times(&self, file: &OwnedFd, last_modification: Timespec) -> Result<(), Errno> {
        let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }, last_modification };
        self.call(&Call::SetTime { file: file.as_fd() }, || fs::futimens(file, &times))
    }

    /// Returns user and group that what this process makes belongs to.
    pub(super) fn identity(&self) -> (u32, u32) {
        self.identity
    }

    /// Returns the attributes that a directory hands on to a new file in it.
    pub(super) fn inheritance(&self, dir: &OwnedFd) -> Result<Inheritance, Errno> {
        self.call(&Call::Stat { file: dir.as_fd() }, || {
            let stat = fs::fstat(dir)?;
            let group = (stat.st_mode & SET_GROUP != 0).then_some(stat.st_gid);
            // Where there are no projects, the question is not known.
            let project = sys::inherited_project(dir.as_fd()).unwrap_or(None);
            Ok(Inheritance { group, acl: attribute(dir, DEFAULT_ACL)?, project })
        })
    }

    /// Returns the access control list of an open file, where it has one beyond its mode.
    pub(super) fn acl(&self, file: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
        self.call(&Call::Stat { file: file.as_fd() }, || attribute(file, ACCESS_ACL))
    }

    pub(super) fn set_acl(&self, file: &OwnedFd, list: &[u8]) -> Result<(), Errno> {
        let call = Call::SetAttributes { file: file.as_fd() };
        self.call(&call, || fs::fsetxattr(file, ACCESS_ACL, list, XattrFlags::empty()))
    }

    pub(super) fn set_mode(&self, file: &OwnedFd, mode: Mode) -> Result<(), Errno> {
        self.call(&Call::SetAttributes { file: file.as_fd() }, || fs::fchmod(file, mode))
    }

    pub(super) fn set_owner(&self, file: &OwnedFd, user: Option<u32>, group: Option<u32>) -> Result<(), Errno> {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        self.call(&Call::SetAttributes { file: file.as_fd() }, || fs::fchown(file, user, group))
    }

    pub(super) fn set_project(&self, file: &OwnedFd, project: u32) -> Result<(), Errno> {
        self.call(&Call::SetAttributes { file: file.as_fd() }, || sys::set_project(file.as_fd(), project))
    }

    /// Removes from a directory all that new entries would inherit from it.
    pub(super) fn hand_on_nothing(&self, dir: &OwnedFd) -> Result<(), Errno> {
        let call = Call::SetAttributes { file: dir.as_fd() };
        self.call(&call, || {
            let mode = fs::fstat(dir)?.st_mode;
            if mode & SET_GROUP != 0 {
                fs::fchmod(dir, Mode::from_raw_mode(mode & 0o777))?;
            }
            match attribute(dir, DEFAULT_ACL)? {
                Some(_) => fs::fremovexattr(dir, DEFAULT_ACL),
                None => Ok(()),
            }
        })
    }

    /// Starts writing a range back. Only a hint: the sync at the end does what it could not.
    pub(super) fn start_writeback(&self, file: &OwnedFd, at: u64, bytes: u64) {
        let _ = self.call(&Call::Writeback { file: file.as_fd() }, || sys::start_writeback(file.as_fd(), at, bytes));
    }

    /// Writes a range back and waits for that, without making it durable. False where the file
    /// system can't.
    pub(super) fn finish_writeback(&self, file: &OwnedFd, at: u64, bytes: u64) -> Result<bool, Errno> {
        let call = Call::Writeback { file: file.as_fd() };
        match self.once(&call, || sys::finish_writeback(file.as_fd(), at, bytes)) {
            Ok(()) => Ok(true),
            Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn sync_data(&self, file: &OwnedFd) -> Result<(), Errno> {
        self.once(&Call::SyncData { file: file.as_fd() }, || fs::fdatasync(file))
    }

    pub(super) fn sync(&self, file: &OwnedFd) -> Result<(), Errno> {
        self.once(&Call::Sync { file: file.as_fd() }, || fs::fsync(file))
    }

    /// Syncs files that lie on one file system by one syncfs(2). It waits for all other data of
    /// that file system that is not on the disk yet, and costs no more for a hundred files than for
    /// one. Only for file systems of which it is known that it tells of bytes that could not be
    /// written.
    ///
    /// # Errors
    ///
    /// If the disk failed, whichever file it was. The first of them was opened before any was
    /// written: the system tells what failed since then.
    pub(super) fn sync_together(&self, files: &[OwnedFd]) -> Result<(), Errno> {
        let Some(first) = files.first() else { return Ok(()) };
        self.once(&Call::SyncTogether { files }, || fs::syncfs(first))
    }

    /// Syncs files one by one, several at a time, and returns the result of each.
    pub(super) fn sync_each(&self, files: &[OwnedFd]) -> Vec<Result<(), Errno>> {
        let results: Vec<_> = files.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let sync_some = || {
            while let Some((file, result)) = {
                let index = next.fetch_add(1, Ordering::Relaxed);
                files.get(index).zip(results.get(index))
            } {
                let _ = result.set(self.sync(file));
            }
        };
        thread::scope(|scope| {
            for _ in 1..files.len().min(SYNCED_AT_ONCE) {
                // Without a thread it only takes longer.
                let _ = thread::Builder::new().name("ferry-sync".into()).spawn_scoped(scope, sync_some);
            }
            sync_some();
        });
        // One without a result is one whose thread panicked.
        results.into_iter().map(|result| result.into_inner().unwrap_or(Err(Errno::IO))).collect()
    }

    pub(super) fn mkdir(&self, dir: &OwnedFd, name: &str, mode: u32) -> Result<(), Errno> {
        let call = Call::Mkdir { dir: dir.as_fd(), name };
        self.call(&call, || fs::mkdirat(dir, name, Mode::from_raw_mode(mode)))
    }

    pub(super) fn unlink(&self, dir: &OwnedFd, name: &str, directory: bool) -> Result<(), Errno> {
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let call = Call::Unlink { dir: dir.as_fd(), name, directory };
        self.call(&call, || fs::unlinkat(dir, name, flags))
    }

    /// Gives a file another name, which nothing has yet.
    pub(super) fn link(&self, from: (&OwnedFd, &str), to: (&OwnedFd, &str)) -> Result<(), Errno> {
        let call = Call::Link { from: (from.0.as_fd(), from.1), to: (to.0.as_fd(), to.1) };
        self.call(&call, || fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty()))
    }

    /// Renames, over what has the name only if `replace`.
    pub(super) fn rename(&self, from: (&OwnedFd, &str), to: (&OwnedFd, &str), replace: bool) -> Result<(), Errno> {
        let call = Call::Rename { from: (from.0.as_fd(), from.1), to: (to.0.as_fd(), to.1), replace };
        self.call(&call, || match replace {
            true => fs::renameat(from.0, from.1, to.0, to.1),
            false => fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE),
        })
    }
}

/// Returns an extended attribute of an open file or directory, if it has that.
fn attribute(file: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>, Errno> {
    // Hardly any is as long as that.
    let mut value = vec![0; 256];
    let mut length = fs::fgetxattr(file, name, &mut value[..]);
    if length == Err(Errno::RANGE) {
        value.resize(ATTRIBUTE_BYTES, 0);
        length = fs::fgetxattr(file, name, &mut value[..]);
    }
    match length {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(error @ (Errno::IO | Errno::NOMEM | Errno::STALE)) => Err(error),
        // It has none, or the file system knows none: in how many words that is said.
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A disk that has no room, until what was deleted is closed.
    #[derive(Debug)]
    struct Full {
        deleted: Mutex<Option<(Closer, OwnedFd)>>,
        refusals: AtomicUsize,
    }

    impl Watcher for Full {
        fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
            if !matches!(call, Call::Write { .. }) {
                return Ok(());
            }
            // Handed over while there was no room for the write.
            if let Some((closer, file)) = self.deleted.lock().unwrap().take() {
                closer.close(file);
            } else if self.refusals.load(Ordering::Relaxed) == 1 {
                return Ok(());
            }
            self.refusals.fetch_add(1, Ordering::Relaxed);
            Err(Errno::NOSPC)
        }

        fn after(&self, _: &Call<'_>) {}
    }

    fn file() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    #[test]
    fn a_lease_tells_of_a_program_that_wanted_to_write_and_that_ends_nothing() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let syscalls = Syscalls::new(None, Closer::start().unwrap());
        let open = |flags| fs::open(&*path, flags | OFlags::CLOEXEC, Mode::empty());
        let file = open(OFlags::RDONLY).unwrap();
        match syscalls.lease(&file) {
            Err(Errno::INVAL) => return println!("skipped: this file system knows no leases"),
            leased => assert_eq!(leased, Ok(())),
        }
        assert_eq!(syscalls.release(&file), Ok(true));
        assert_eq!(syscalls.lease(&file), Ok(()));
        // The signal that tells of this is SIGIO, which would end the process, unless another one is asked for.
        assert_eq!(open(OFlags::WRONLY | OFlags::NONBLOCK).map(drop), Err(Errno::AGAIN));
        assert_eq!(syscalls.release(&file), Ok(false), "somebody was sent away");
        let writer = open(OFlags::WRONLY | OFlags::NONBLOCK).unwrap();
        assert_eq!(syscalls.lease(&file), Err(Errno::AGAIN));
        drop(writer);
    }

    #[test]
    fn a_disk_is_full_only_when_all_that_was_deleted_is_free() {
        let closer = Closer::start().unwrap();
        let deleted = Mutex::new(Some((closer.clone(), file())));
        let full = Arc::new(Full { deleted, refusals: AtomicUsize::new(0) });
        let syscalls = Syscalls::new(Some(full.clone()), closer.clone());
        assert_eq!(syscalls.write_all(&file(), b"x", 0), Ok(()));
        assert_eq!((full.refusals.load(Ordering::Relaxed), closer.closed()), (1, 1));

        let really = Arc::new(Full { deleted: Mutex::default(), refusals: AtomicUsize::new(2) });
        let syscalls = Syscalls::new(Some(really.clone()), closer);
        assert_eq!(syscalls.write_all(&file(), b"x", 0), Err(Errno::NOSPC));
        assert_eq!(really.refusals.load(Ordering::Relaxed), 3, "it was tried once");
    }
}
