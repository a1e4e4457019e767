//! The one system call that no safe wrapper offers.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Starts writing a range of a file back to the disk, and does not wait for it: sync_file_range(2)
/// with `SYNC_FILE_RANGE_WRITE`. It makes nothing durable; it only makes the fsync that follows
/// short.
pub(super) fn start_writeback(file: BorrowedFd<'_>, at: u64, bytes: u64) -> io::Result<()> {
    let out_of_range = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let at = i64::try_from(at).map_err(out_of_range)?;
    let bytes = i64::try_from(bytes).map_err(out_of_range)?;
    // SAFETY: the call takes a descriptor that is open for as long as it is borrowed, and three
    // integers; it reads and writes no memory of this process.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), at, bytes, libc::SYNC_FILE_RANGE_WRITE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
