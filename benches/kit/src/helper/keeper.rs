//! Cleans up after a bench, however that ends: the pipe to its keepers closes with it, and a keeper acts
//! when its standard input has ended.
//!
//! ```text
//! --keeper PROGRAM [ARGUMENT ...]    runs another project's server, then kills it and all its descendants
//! --keeper --remove DIR              removes a directory that lies in memory
//! ```
//!
//! Children that a server has disowned are reparented to its keeper, so that none of them is forgotten,
//! and their CPU time is counted.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{self, Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait},
};

use crate::tree::descendants;

/// The first argument of such a process.
pub(super) const ARGUMENT: &str = "--keeper";

/// A running keeper, told to clean up when dropped, or when this process ends in any other way.
#[derive(Debug)]
pub(crate) struct Keeper(Child);

impl Keeper {
    /// Returns the command of a keeper, whose arguments are still to come: `helper` is the executable to
    /// run again.
    pub(crate) fn command(helper: &Path) -> Command {
        let mut command = Command::new(helper);
        command.arg(ARGUMENT);
        command
    }

    /// Starts `command`, which [`Keeper::command`] began.
    ///
    /// # Errors
    ///
    /// Fails where no process can be started.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Keeper> {
        // Ctrl-C at a terminal is for the bench; its end is for the keeper.
        command.stdin(Stdio::piped()).process_group(0).spawn().map(Keeper)
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Takes the pipe from what it runs, where standard output was piped.
    pub(crate) fn output(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Returns its exit status, where it has ended.
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

/// Keeps the program or the directory that `words` names, until standard input ends.
pub(super) fn main(mut words: impl Iterator<Item = OsString>) -> io::Result<()> {
    let usage = || io::Error::other("--keeper PROGRAM [ARGUMENT ...], or --keeper --remove DIR");
    let program = words.next().ok_or_else(usage)?;
    if program == "--remove" {
        let directory = words.next().ok_or_else(usage)?;
        io::copy(&mut io::stdin(), &mut io::sink())?;
        return match fs::remove_dir_all(directory) {
            // A bench that ended well has done it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
    }
    set_child_subreaper(Some(getpid()))?;
    Command::new(&program)
        .args(words)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| io::Error::other(format!("{}: {error}", program.display())))?;
    thread::spawn(end_with_the_parent);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Those who were just being born are met in the next round; the process ends when none is left.
fn end_with_the_parent() {
    const PAUSE: Duration = Duration::from_millis(1);
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    loop {
        let pids = descendants(process::id()).into_iter();
        for pid in pids.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        thread::sleep(PAUSE);
    }
}
