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
    let at = i64::try_from(at).map_err(|_| Errno::INVAL)?;
    let bytes = i64::try_from(bytes).map_err(|_| Errno::INVAL)?;
    // SAFETY: the call takes a descriptor that is open for as long as it is borrowed, and three
    // integers; it reads and writes no memory of this process.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), at, bytes, libc::SYNC_FILE_RANGE_WRITE) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)),
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
