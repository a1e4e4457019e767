//! Standard input as a source of bytes that never blocks for long, so that signals and the server are heard meanwhile.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use ferry_client::Cancel;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::FileType,
    io::Errno,
};

/// The longest wait for a byte.
const WAIT: Duration = Duration::from_millis(100);

/// The time for which the end of a pipe is not believed. A signal to all of a pipeline ends the writer as well, and the end that
/// this makes can be seen before the signal is.
const LINGER: Duration = Duration::from_millis(50);

/// A descriptor that is read to its end.
pub(crate) struct Input<F> {
    descriptor: F,
    cancel: Cancel,
    /// The cause of its end cannot be seen: somebody writes on the other side.
    has_writer: bool,
}

impl<F: AsFd> Input<F> {
    /// Reads from `descriptor`; what raises `cancel` may also be what ends who writes to it.
    pub(crate) fn new(descriptor: F, cancel: Cancel) -> Input<F> {
        let kind = rustix::fs::fstat(&descriptor).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let has_writer = !matches!(kind, Ok(FileType::RegularFile));
        Input { descriptor, cancel, has_writer }
    }

    /// Returns whether a read does not block, now or within `wait`. A signal ends the wait.
    fn is_ready(&self, wait: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.descriptor, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for a signal that may be on its way.
    fn linger(&self) {
        let end = Instant::now() + LINGER;
        while !self.cancel.is_cancelled() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(timeout) = Timespec::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            // Nothing but a signal or the time ends it.
            let _ = poll(&mut [], Some(&timeout));
        }
    }
}

impl<F: AsFd> Read for Input<F> {
    /// Reads what has come. Fails with [`WouldBlock`](io::ErrorKind::WouldBlock) where nothing came in a moment.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.has_writer && !self.is_ready(WAIT)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let got = rustix::io::read(&self.descriptor, buffer)?;
        if got == 0 && self.has_writer {
            self.linger();
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{PipeReader, PipeWriter, Write as _, pipe},
    };

    fn piped() -> (Input<PipeReader>, PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        (Input::new(reader, Cancel::default()), writer)
    }

    #[test]
    fn a_silent_pipe_is_not_waited_for_and_its_end_is_one() {
        let (mut input, mut writer) = piped();
        let mut buffer = [0; 8];
        assert_eq!(input.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        writer.write_all(b"hello").unwrap();
        assert_eq!(input.read(&mut buffer).unwrap(), 5);
        drop(writer);
        assert_eq!(input.read(&mut buffer).unwrap(), 0);
        assert!(input.has_writer);
    }

    #[test]
    fn the_end_of_a_file_is_believed() {
        let mut input = Input::new(File::open("/proc/self/exe").unwrap(), Cancel::default());
        assert!(!input.has_writer);
        assert!(input.read(&mut [0; 8]).unwrap() == 8);
    }
}
