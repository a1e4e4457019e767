//! Sees to what must not outlive a bench. However that ends, the pipe to its keepers ends with it; what
//! a keeper does is done when its standard input has ended.
//!
//! ```text
//! keeper PROGRAM [ARGUMENT ...]    runs a server of somebody else's; kills it and all that came of it
//! keeper --remove DIR              removes a directory that lies in memory
//! ```
//!
//! Children that a server has disowned come to its keeper, so that none of them is forgotten, and their
//! CPU time is counted.
#![forbid(unsafe_code)]

use std::{
    env, fs, io,
    process::{self, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use ferry_benches::descendants;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait},
};

fn main() -> ExitCode {
    match keep() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn keep() -> io::Result<()> {
    let mut words = env::args_os().skip(1);
    let usage = || io::Error::other("keeper PROGRAM [ARGUMENT ...], or keeper --remove DIR");
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
