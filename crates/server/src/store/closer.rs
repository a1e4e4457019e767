//! Where descriptors are closed that may take long: the last close of a large file that has no name
//! any more frees all of its blocks.

use std::{
    os::fd::OwnedFd,
    sync::mpsc::{Sender, channel},
    thread,
};

/// Above this size a file is closed away from the loop.
pub(super) const LARGE_BYTES: u64 = 1 << 20;

/// Hands descriptors to a thread that closes them.
#[derive(Debug, Clone)]
pub(super) struct Closer(Sender<OwnedFd>);

impl Closer {
    pub(super) fn start() -> std::io::Result<Closer> {
        let (sender, receiver) = channel::<OwnedFd>();
        thread::Builder::new().name("ferry-close".into()).spawn(move || receiver.into_iter().for_each(drop))?;
        Ok(Closer(sender))
    }

    pub(super) fn close(&self, file: OwnedFd) {
        // Should the thread have ended, the error holds the descriptor and closes it here.
        let _ = self.0.send(file);
    }
}
