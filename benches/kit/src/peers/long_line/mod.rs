//! A long line between ferry's two programs, beside other programs on the same line.
//!
//! Two network name spaces are joined by a pair of TUN devices, and a thread for each direction carries the
//! packets: it delays them, sends them at a rate from a queue with an end, and loses some by a seed. All of
//! it is in user space, so that it works where the kernel has no netem. Every line has name spaces of its own.
//! The servers are at the far end, together with the process that does the work; clients run at the near end.
//!
//! # What is measured, and what is in the others' favour
//!
//! - Whole programs, from their start to their end. iperf3 alone tells its own time, without the conversation before
//!   and after.
//! - Only ferry and rsync check what they move, and only ferry's files are durable. Files are in memory.
//! - Kernels forget what they learnt about a line, so that every program begins alike.
//! - curl, lftp and rclone speak HTTP or WebDAV, with nginx and rclone. All of it is plain, ferry too.
//! - A program that takes longer than the limit is cut off; the limit counts as its time.

mod carrier;
mod emulator;
mod ends;
mod inside;
mod lines;
mod race;

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::getuid;

use self::lines::{LongLine, Plan};
use super::place;
use crate::{Options, Report, Setup, Workshop, helper::Keeper, program::find};

/// The first argument of the process at the far end.
pub(crate) const ARGUMENT: &str = "--long-line";

const DEVICE: &str = "/dev/net/tun";

/// Programs beside ferry, and where Debian has them.
const OTHERS: [(&str, &str); 6] = [
    ("iperf3", "iperf3"),
    ("curl", "curl"),
    ("nginx", "nginx-light"),
    ("lftp", "lftp"),
    ("rsync", "rsync"),
    ("rclone", "rclone"),
];

/// Reports every row of the target.
pub fn all(setup: &Setup, options: &Options, report: &mut Report) {
    if let Err(why) = can_be_had() {
        return report.skip("a long line", &why);
    }
    for (name, package) in OTHERS.iter().filter(|(name, _)| find(name).is_none()) {
        report.skip("not found", &format!("{name} (apt-get install {package})"));
    }
    let plan = Plan::new(options).unwrap_or_else(|error| panic!("{error}"));
    // Built before anything is timed.
    let _ = (ferry_e2e::ferryd(), ferry_e2e::plain_ferry());
    let workshop = Workshop::in_memory(&place(setup, options), &setup.helper);
    for (index, line) in plan.lines.iter().enumerate() {
        if ends::congestion_controls().contains(&line.congestion) {
            let place = workshop.directory(&index.to_string());
            measure(setup, options, &plan, line, &place, report);
            fs::remove_dir_all(&place).expect("a directory of ours");
        } else {
            report.skip(&line.name(), &format!("this kernel has no {}", line.congestion));
        }
    }
}

/// Looks whether this machine can offer a line.
///
/// # Errors
///
/// Fails with the reason where it can't.
fn can_be_had() -> Result<(), String> {
    if !getuid().is_root() {
        return Err("name spaces and devices need root".into());
    }
    if let Some((name, package)) = ends::PROGRAMS.iter().find(|(name, _)| find(name).is_none()) {
        return Err(format!("there is no {name} (apt-get install {package})"));
    }
    File::options().read(true).write(true).open(DEVICE).map_err(|error| format!("{DEVICE}: {error}"))?;
    let tried = Command::new("unshare").args(["--net", "true"]).stdin(Stdio::null()).output();
    match tried.map_err(|error| error.to_string())? {
        tried if tried.status.success() => Ok(()),
        tried => Err(String::from_utf8_lossy(&tried.stderr).trim().into()),
    }
}

/// Does all the work on one line, in a process in a name space of its own.
fn measure(setup: &Setup, options: &Options, plan: &Plan, line: &LongLine, place: &Path, report: &mut Report) {
    let mut command = Keeper::command(&setup.helper);
    command.args(["unshare", "--net"]).arg(&setup.helper).arg(ARGUMENT).arg(&setup.helper).arg(place);
    options.hand_on(&mut command);
    plan.hand_on(line, &mut command);
    let mut keeper = Keeper::spawn(command.stdout(Stdio::piped())).expect("a keeper");
    let said = keeper.output().expect("it is piped");
    let mut ended = false;
    for told in BufReader::new(said).lines() {
        ended = report.pass_on(&told.expect("text"));
    }
    assert!(ended, "{}: the work broke off", line.name());
}

/// The process at the far end.
pub(crate) fn main(words: impl Iterator<Item = OsString>) -> io::Result<()> {
    inside::main(words)
}
