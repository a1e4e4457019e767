//! The only unsafe code: system and library calls that no safe wrapper offers.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::{
    io::{Errno, fcntl_getfd},
    ioctl::{Getter, Opcode, Setter, ioctl, opcode},
};

/// Starts writing a range of a file back to the disk, and does not wait for it: sync_file_range(2)
/// with `SYNC_FILE_RANGE_WRITE`. It makes nothing durable; it only makes the fsync that follows
/// short.
pub(crate) fn start_writeback(file: BorrowedFd<'_>, at: u64, bytes: u64) -> Result<(), Errno> {
    sync_file_range(file, at, bytes, libc::SYNC_FILE_RANGE_WRITE)
}

/// Writes a range of a file back, and waits for it: it makes nothing durable by itself. An error
/// that is told here is not told again by a sync.
pub(crate) fn finish_writeback(file: BorrowedFd<'_>, at: u64, bytes: u64) -> Result<(), Errno> {
    let wait = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_file_range(file, at, bytes, wait | libc::SYNC_FILE_RANGE_WRITE)
}

fn sync_file_range(file: BorrowedFd<'_>, at: u64, bytes: u64, flags: libc::c_uint) -> Result<(), Errno> {
    let at = i64::try_from(at).map_err(|_| Errno::INVAL)?;
    let bytes = i64::try_from(bytes).map_err(|_| Errno::INVAL)?;
    // SAFETY: the call takes a descriptor that is open for as long as it is borrowed, and three
    // integers; it reads and writes no memory of this process.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), at, bytes, flags) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
struct FileSystemAttributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

const GET_ATTRIBUTES: Opcode = opcode::read::<FileSystemAttributes>(b'X', 31);
const SET_ATTRIBUTES: Opcode = opcode::write::<FileSystemAttributes>(b'X', 32);

/// The flag by which new entries of a directory belong to the directory's project.
const INHERITS_PROJECT: u32 = 0x200;

fn attributes(file: BorrowedFd<'_>) -> Result<FileSystemAttributes, Errno> {
    // SAFETY: FS_IOC_FSGETXATTR writes one `struct fsxattr`, integers all, and nothing else.
    unsafe { ioctl(file, Getter::<GET_ATTRIBUTES, FileSystemAttributes>::new()) }
}

/// Returns the project that what is made in `dir` belongs to, where it belongs to the directory's:
/// ioctl_fsxattr(2).
pub(crate) fn inherited_project(dir: BorrowedFd<'_>) -> Result<Option<u32>, Errno> {
    let attributes = attributes(dir)?;
    Ok((attributes.flags & INHERITS_PROJECT != 0).then_some(attributes.project))
}

/// Makes a file one of `project`, whose quota it then counts for.
pub(crate) fn set_project(file: BorrowedFd<'_>, project: u32) -> Result<(), Errno> {
    let changed = FileSystemAttributes { project, ..attributes(file)? };
    // SAFETY: FS_IOC_FSSETXATTR reads one `struct fsxattr`, and nothing else.
    unsafe { ioctl(file, Setter::<SET_ATTRIBUTES, FileSystemAttributes>::new(changed)) }
}

const BYTES_UNDER_WAY: Opcode = libc::TIOCOUTQ as Opcode;

/// Returns how many bytes of a TCP socket's output its peer has not acknowledged: tcp(7), `SIOCOUTQ`.
pub(crate) fn bytes_under_way(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: SIOCOUTQ writes one int, and nothing else.
    let bytes = unsafe { ioctl(socket, Getter::<BYTES_UNDER_WAY, libc::c_int>::new()) }?;
    u64::try_from(bytes).map_err(|_| Errno::INVAL)
}

/// Has the C library keep `kept` bytes at the end of its memory that were freed, for what is asked for next, and ask the
/// system for each piece of more than `large` bytes: mallopt(3), where it is glibc. To be called before there are threads.
pub(crate) fn keep_freed_memory(kept: i32, large: i32) {
    #[cfg(target_env = "gnu")]
    // SAFETY: the calls take integers, and set two numbers of the allocator, which no other thread reads yet.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, kept);
        libc::mallopt(libc::M_MMAP_THRESHOLD, large);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = (kept, large);
}

/// Gives memory that was freed back to the system: malloc_trim(3), where the C library has it. It
/// may take milliseconds, in which other threads that allocate wait.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes an integer and touches nothing but memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes a descriptor that this process was started with, by its number. It is to be asked for once.
pub(crate) fn inherited(fd: RawFd) -> Result<OwnedFd, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: it is borrowed for one call, which says whether it is open.
    fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) })?;
    // SAFETY: it is open, and nothing in this process has opened it, since the process that started
    // it has; nobody else takes it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The bytes of a file that [`in_page_cache`] looks at, at most.
pub(crate) const LOOKED_AT_BYTES: usize = 1 << 20;

/// Returns whether the page cache holds a range of a file, ready to be read: mincore(2) on a mapping that nobody reads. The
/// range begins where a page does, and has at most [`LOOKED_AT_BYTES`].
///
/// cachestat(2) is cheaper, but counts pages that are still being read from the disk, too. Only for files of this process's
/// user: of others the system says that all is there.
pub(crate) fn in_page_cache(file: BorrowedFd<'_>, at: u64, bytes: usize) -> Result<bool, Errno> {
    // Of the smallest page that there is.
    let mut pages = [0; LOOKED_AT_BYTES / 4096];
    let at = libc::off_t::try_from(at).map_err(|_| Errno::INVAL)?;
    if bytes == 0 || bytes > LOOKED_AT_BYTES {
        return Err(Errno::INVAL);
    }
    // SAFETY: the system chooses a place where nothing else is mapped.
    let place =
        unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), at) };
    if place == libc::MAP_FAILED {
        return Err(last_error());
    }
    // SAFETY: the call reads no byte of the mapping, and writes one for each of its pages, of which `pages` has room for as
    // many as there may be.
    let looked = match unsafe { libc::mincore(place, bytes, pages.as_mut_ptr()) } {
        0 => Ok(()),
        _ => Err(last_error()),
    };
    // SAFETY: this very mapping, which no reference points to, is removed.
    unsafe { libc::munmap(place, bytes) };
    looked?;
    // SAFETY: the call takes an integer and touches nothing.
    let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(|_| Errno::INVAL)?;
    let looked_at = pages.get(..bytes.div_ceil(page_bytes.max(1))).ok_or(Errno::INVAL)?;
    Ok(looked_at.iter().all(|page| page & 1 != 0))
}

/// `F_SETSIG` of fcntl(2), which libc does not have.
const SET_SIGNAL: i32 = 10;

/// Has whoever opens a file for writing, or cuts it, wait until [`release`] is called; it is to be called soon: a read lease, as
/// fcntl(2) describes it. [`Errno::AGAIN`] where somebody has it open for writing, or mapped so. `file` is open for reading
/// alone, and of this process's user.
pub(crate) fn lease(file: BorrowedFd<'_>) -> Result<(), Errno> {
    // Who waits is told by a signal, which would end this process; this one does nothing.
    // SAFETY: the calls take a descriptor that is open for as long as it is borrowed, and integers.
    unsafe { control(file, SET_SIGNAL, libc::SIGURG)? };
    // SAFETY: as above.
    unsafe { control(file, libc::F_SETLEASE, libc::F_RDLCK) }.map(drop)
}

/// Gives a lease up. Returns whether it was held until now, and nobody has waited for it.
pub(crate) fn release(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    // SAFETY: the calls take a descriptor that is open for as long as it is borrowed, and an integer.
    let held = unsafe { control(file, libc::F_GETLEASE, 0) };
    // SAFETY: as above.
    unsafe { control(file, libc::F_SETLEASE, libc::F_UNLCK)? };
    held.map(|held| held == libc::F_RDLCK)
}

/// Calls fcntl(2).
///
/// # Safety
///
/// `command` takes an integer.
unsafe fn control(file: BorrowedFd<'_>, command: i32, argument: i32) -> Result<i32, Errno> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and the caller has promised the rest.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
        -1 => Err(last_error()),
        result => Ok(result),
    }
}

fn last_error() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
