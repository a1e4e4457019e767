//! Other servers and programs at the same work as ferry, in alternating turns: the table of all goals.
//!
//! Every peer that is found on the machine is run, with a configuration of the bench's own, on free
//! ports of the loopback interface, and ended at the end. All move the same files, which lie in the
//! same file system; that is one in memory where there is one, unless the row says `on the disk`.
//!
//! # What is measured, and what is in the peers' favour
//!
//! - FTP servers are logged in to before the clock starts; ferry connects and greets inside the time.
//! - Only ferry and rsync check what they move. The bench checks the files of the others, outside
//!   the time; where bytes are only drained, it checks their number.
//! - CPU time is the server's, its children's included; of whole programs, client's and server's together.
//! - A server has one process or one for each client, as it is made. nginx has one worker.

pub mod cluster;
mod daemon;
mod ftp;
mod http;
mod idle;
mod large;
pub mod long_line;
mod many;
mod programs;
mod small;
mod tls;
mod turns;
mod web;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ferry_e2e::Server;

use crate::{
    Content, Options, Report, Setup, Workshop, clients,
    lanes::Small,
    program::{PLACES_VARIABLE, find},
    small_files,
};
use daemon::{Daemon, Kind};

/// The name of the large file.
const LARGE: &str = "large.bin";

/// The directory of the small files.
const MANY: &str = "fetched";

/// Where a file system in memory is mounted, by custom.
const MEMORY: &str = "/dev/shm";

/// The number of large files that must fit: the one that is put, the one that is got, and some room.
const COPIES: u64 = 4;

/// Setup that are run, and how Debian gets them.
const CLIENTS: [(&str, &str); 7] = [
    ("curl", "apt-get install curl"),
    ("lftp", "apt-get install lftp"),
    ("rsync", "apt-get install rsync"),
    ("wrk", "apt-get install wrk"),
    ("cp", "coreutils"),
    ("dd", "coreutils"),
    ("tar", "apt-get install tar"),
];

const UNPACKED: &str = "\
pure-ftpd, proftpd and vsftpd are not installed beside each other; unpacked they run side by side:
  mkdir peers && cd peers && apt-get download pure-ftpd pure-ftpd-common proftpd-core
  for package in *.deb; do dpkg -x $package .; done
  apt-get install libsodium23 libmemcached11 libmemcachedutil2 libhiredis0.14 libpcre2-posix3
  python3 -m venv . && bin/pip install pyftpdlib
  FERRY_BENCH_PEERS=$PWD cargo bench -p ferry-benches --bench peers";

/// Reports every row of the target.
pub fn all(setup: &Setup, options: &Options, report: &mut Report) {
    let bench = Bench::new(setup, options);
    bench.introduce(report);
    large::gets(&bench, report);
    large::puts(&bench, report);
    programs::large(&bench, report);
    programs::get_many(&bench, report);
    programs::put_many(&bench, report);
    programs::put_many_durably(&bench, report);
    small::gets(&bench, report);
    idle::memory(&bench, report);
    idle::accepts(&bench, report);
    let in_place = Setup { scratch: bench.place.clone(), ..setup.clone() };
    clients::beside_itself(&in_place, options, report);
    many::downloads(&bench, report);
    tls::all(&bench, report);
    web::all(&bench, report);
}

struct Bench<'a> {
    setup: &'a Setup,
    options: &'a Options,
    /// The directory that all serve.
    root: PathBuf,
    /// Where downloads go.
    local: PathBuf,
    content: Content,
    files: Vec<Small>,
    ferry: Server,
    daemons: Vec<Daemon>,
    /// Why some of them did not start.
    failed: Vec<String>,
    missing: Vec<String>,
    /// Of `root` and `local`.
    place: PathBuf,
    /// On the disk.
    disk: Workshop,
    /// Removed when dropped, so it stands last.
    _workshop: Workshop,
}

impl<'a> Bench<'a> {
    fn new(setup: &'a Setup, options: &'a Options) -> Bench<'a> {
        let place = place(setup, options);
        let workshop = Workshop::in_memory(&place, &setup.helper);
        let [root, local] = ["root", "local"].map(|name| workshop.directory(name));
        // Some servers become nobody, and upload here.
        open_to_all(root.parent().expect("beneath the workshop"));
        open_to_all(&root);
        let content = Content::write(&root.join(LARGE), options.large_bytes());
        let files = small_files::write(&workshop.directory("root/fetched"), options.files);
        let ferry = ferry_e2e::Options::new().root(&root).arg("--durability").arg("none").start();
        let mut bench = Bench {
            setup,
            options,
            root,
            local,
            content,
            files,
            ferry,
            daemons: Vec::new(),
            failed: Vec::new(),
            missing: Vec::new(),
            place,
            disk: Workshop::new(&setup.scratch),
            _workshop: workshop,
        };
        bench.start_all();
        bench
    }

    fn start_all(&mut self) {
        for kind in daemon::FTP.into_iter().chain([Kind::Nginx, Kind::Rsync]) {
            match kind.start(&self.setup.helper, &self.root) {
                None => self.missing.push(format!("{} ({})", kind.name(), kind.install())),
                Some(Err(why)) => self.failed.push(format!("{}: {why}", kind.name())),
                Some(Ok(daemon)) => self.daemons.push(daemon),
            }
        }
        let clients = CLIENTS.iter().filter(|(name, _)| find(name).is_none() && *name != Kind::Rsync.name());
        self.missing.extend(clients.map(|(name, install)| format!("{name} ({install})")));
    }

    /// Says who takes part.
    fn introduce(&self, report: &mut Report) {
        let versions: Vec<String> = self.daemons.iter().map(|daemon| version(daemon.name())).collect();
        if !versions.is_empty() {
            report.remark(&format!("beside ferry run: {}", versions.join(", ")));
        }
        report.remark(&format!("files lie in {}, unless a row says `on the disk`", self.place.display()));
        for missing in &self.missing {
            report.skip("not found", missing);
        }
        for failed in &self.failed {
            report.skip("did not start", failed);
        }
        if !self.missing.is_empty() {
            report.remark(&format!("{UNPACKED}\n({PLACES_VARIABLE} names directories, separated by `:`)"));
        }
    }

    fn daemon(&self, kind: Kind) -> Option<&Daemon> {
        self.daemons.iter().find(|daemon| daemon.kind() == kind)
    }

    fn ftp_servers(&self) -> impl Iterator<Item = &Daemon> {
        self.daemons.iter().filter(|daemon| daemon::FTP.contains(&daemon.kind()))
    }
}

/// Returns a file system in memory with enough room, or the disk.
fn place(setup: &Setup, options: &Options) -> PathBuf {
    const TMPFS: i64 = 0x0102_1994;
    let is_memory = rustix::fs::statfs(MEMORY).is_ok_and(|found| {
        let free = u64::try_from(found.f_bsize).unwrap_or(0).saturating_mul(found.f_bavail);
        found.f_type == TMPFS && free >= COPIES * options.large_bytes()
    });
    if is_memory && rustix::fs::access(MEMORY, rustix::fs::Access::WRITE_OK).is_ok() {
        MEMORY.into()
    } else {
        setup.scratch.clone()
    }
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o777)).expect("a directory of ours");
}

/// Returns the line in which a program tells its version, or its name.
fn version(name: &str) -> String {
    let flag = match name {
        "pure-ftpd" => "--help",
        "rsync" => "--version",
        _ => "-v",
    };
    let output = find(name).and_then(|program| Command::new(program).arg(flag).stdin(Stdio::null()).output().ok());
    let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| line.bytes().any(|byte| byte.is_ascii_digit()));
    let mut words = line.unwrap_or_default().split([' ', '/']).filter(|word| !word.is_empty());
    let number = words.find(|word| word.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit()));
    number.map_or_else(|| name.into(), |number| format!("{name} {number}"))
}
