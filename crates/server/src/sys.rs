//! The only unsafe code: two system and library calls that no safe wrapper offers.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

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

/// Gives memory that was freed back to the system: malloc_trim(3), where the C library has it. It
/// may take milliseconds, in which other threads that allocate wait.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes an integer and touches nothing but memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
