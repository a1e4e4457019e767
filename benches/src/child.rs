//! The limits as processes of their own, so that their CPU time is read as the server's is.

use std::{
    ffi::OsStr,
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

/// A running `raw_limit.rs`, killed when dropped.
#[derive(Debug)]
pub struct RawLimit {
    child: Child,
    address: SocketAddr,
}

impl RawLimit {
    /// The bare sendfile loop: sends `file` to whoever connects.
    ///
    /// # Panics
    ///
    /// Where it doesn't start.
    #[must_use]
    pub fn send(program: &Path, file: &Path) -> RawLimit {
        RawLimit::start(program, &["send".as_ref(), file.as_os_str()])
    }

    /// The bare read-and-write loop: what a connection brings goes into `file`, which must not be
    /// there yet, and to the disk if `sync`.
    ///
    /// # Panics
    ///
    /// Where it doesn't start.
    #[must_use]
    pub fn receive(program: &Path, file: &Path, sync: bool) -> RawLimit {
        RawLimit::start(program, &["receive".as_ref(), file.as_os_str(), sync_word(sync)])
    }

    /// Opens, reads and closes every file of `directory` for whoever connects.
    ///
    /// # Panics
    ///
    /// Where it doesn't start.
    #[must_use]
    pub fn send_each(program: &Path, directory: &Path) -> RawLimit {
        RawLimit::start(program, &["send-each".as_ref(), directory.as_os_str()])
    }

    /// Opens, reads and closes every file of `directory` for whoever connects, and says how many bytes
    /// those were.
    ///
    /// # Panics
    ///
    /// Where it doesn't start.
    #[must_use]
    pub fn open_each(program: &Path, directory: &Path) -> RawLimit {
        RawLimit::start(program, &["open-each".as_ref(), directory.as_os_str()])
    }

    /// Makes a file in `directory`, which must be empty, of every 4 KiB that a connection brings;
    /// all are on the disk at the end if `sync`.
    ///
    /// # Panics
    ///
    /// Where it doesn't start.
    #[must_use]
    pub fn receive_each(program: &Path, directory: &Path, sync: bool) -> RawLimit {
        RawLimit::start(program, &["receive-each".as_ref(), directory.as_os_str(), sync_word(sync)])
    }

    /// Accepts, sends a greeting and closes.
    ///
    /// # Panics
    ///
    /// Where it doesn't start.
    #[must_use]
    pub fn greet(program: &Path) -> RawLimit {
        RawLimit::start(program, &["greet".as_ref()])
    }

    fn start(program: &Path, arguments: &[&OsStr]) -> RawLimit {
        // It ends by itself at the end of its standard input, should this process die.
        let spawned = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its output");
        let address = line.trim_end().parse().unwrap_or_else(|_| panic!("{} says {line:?}", program.display()));
        RawLimit { child, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for RawLimit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `keeper.rs`, told to do its work when dropped, or when this process ends in any other way.
#[derive(Debug)]
pub(crate) struct Keeper(Child);

impl Keeper {
    /// Starts `command`, which is a keeper's.
    ///
    /// # Errors
    ///
    /// That it does not start.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Keeper> {
        // Ctrl-C at a terminal is for the bench; its end is for the keeper.
        command.stdin(Stdio::piped()).process_group(0).spawn().map(Keeper)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, where it has.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn sync_word(sync: bool) -> &'static OsStr {
    if sync { "sync" } else { "no-sync" }.as_ref()
}
