//! Keeps a server of somebody else's: `keeper PROGRAM [ARGUMENT ...]` runs it, and when its own
//! standard input ends, kills it and all that came of it.
//!
//! However a bench ends, the pipe to its keepers ends with it. Children that a server has disowned
//! come to its keeper, so that none of them outlives the bench, and their CPU time is counted.
#![forbid(unsafe_code)]

use std::{
    env, io,
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
    let program = words.next().ok_or_else(|| io::Error::other("keeper PROGRAM [ARGUMENT ...]"))?;
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
