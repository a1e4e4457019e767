//! Several servers over one distributed file system, behind a load balancer, beside what the plain mount does.
//!
//! `packaging/cluster/one-machine` starts MooseFS, the servers and HAProxy in name spaces of their own, and
//! this bench again inside, which does the work and tells its rows on standard output.
//!
//! # What is measured, and what is in the others' favour
//!
//! - All of it shares one machine: what more servers gain there is bounded by its processors.
//! - HAProxy gives each connection to the server that has fewest; the plain mounts and the other servers
//!   have nobody before them.
//! - Files that are got were read before: mounts have them in memory. The others serve one mount.
//! - ferry checks what it moves, and waits for the disk; of the others only `dd conv=fsync` waits.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use super::{
    MANY,
    daemon::{Daemon, Kind},
    ftp::Ftp,
    http::Http,
    large::{name, same},
    turns::{Peer, compete},
};
use crate::{
    Content, Drained, Options, Report, Sample, Setup, Unit, Wire, Workshop, drain_ferry,
    helper::Keeper,
    lanes::{Small, get_all},
    program::{find, run},
    sample::{clocked, rated},
    size_label, small_files,
};

/// The first argument of the process inside.
pub(crate) const ARGUMENT: &str = "--cluster";

/// How many servers there are, one cluster after the other.
const NODES: [usize; 3] = [1, 2, 4];

/// A mount may remember what was in a directory for a second.
const CACHED: Duration = Duration::from_millis(1100);

/// Large files that are moved at once, each over a connection of its own.
const AT_ONCE: usize = 4;

/// The directory of the small files that are put.
const PUT: &str = "many";

/// Connections of small files.
const CONNECTIONS: usize = 16;

/// The exit status of a cluster whose parts are not installed.
const NOT_INSTALLED: &str = "77";

/// Runs the script that follows, and says how it ended.
const WITH_STATUS: &str = "\"$@\"; echo \"status $?\"";

/// Reports every row of the target.
pub fn all(setup: &Setup, options: &Options, report: &mut Report) {
    for nodes in if options.tiny { &NODES[1..2] } else { &NODES[..] } {
        let (said, complaints) = inside(setup, options, *nodes);
        match said.lines().rev().find_map(|line| line.strip_prefix("status ")) {
            Some("0") => said.lines().for_each(|line| _ = report.pass_on(line)),
            Some(NOT_INSTALLED) => return report.skip("a cluster on one machine", complaints.trim()),
            status => panic!("the cluster ended with {status:?}: {complaints}"),
        }
    }
}

/// Runs the work in a cluster of so many servers; returns what it wrote to standard output and error.
fn inside(setup: &Setup, options: &Options, nodes: usize) -> (String, String) {
    const PAUSE: Duration = Duration::from_millis(20);
    let workshop = Workshop::new(&setup.scratch);
    let place = workshop.directory("said");
    let [out, error] = ["out", "error"].map(|name| place.join(name));
    let mut command = Keeper::command(&setup.helper);
    command.args(["sh", "-c", WITH_STATUS, "sh"]);
    command.arg(ferry_e2e::workspace_root().join("packaging/cluster/one-machine"));
    command.args(["--spread", "--nodes", &nodes.to_string(), "--ferryd"]).arg(ferry_e2e::ferryd());
    command.arg(&setup.helper).arg(ARGUMENT).arg(&setup.helper);
    options.hand_on(&mut command);
    command.stdout(File::create(&out).expect("a file")).stderr(File::create(&error).expect("a file"));
    let mut keeper = Keeper::spawn(&mut command).expect("a keeper");
    while keeper.try_wait().expect("a child of ours").is_none() {
        thread::sleep(PAUSE);
    }
    let read = |path: &Path| fs::read_to_string(path).expect("text");
    (read(&out), read(&error))
}

/// The process inside: does all the work, and tells its rows on standard output.
pub(crate) fn main(mut words: impl Iterator<Item = OsString>) -> io::Result<()> {
    let helper = PathBuf::from(words.next().ok_or_else(|| io::Error::other("the helper is not named"))?);
    let options = Options::handed_on(words).map_err(io::Error::other)?;
    let cluster = Cluster::from_environment(&helper, options)?;
    let mut report = Report::told("cluster");
    cluster.gets(&mut report);
    cluster.puts(&mut report);
    cluster.get_small(&mut report);
    cluster.put_small(&mut report);
    report.end();
    Ok(())
}

/// A cluster, seen from inside.
struct Cluster {
    options: Options,
    balancer: SocketAddr,
    mounts: Vec<PathBuf>,
    /// Beside it, on a disk of this machine.
    local: PathBuf,
    large: Vec<Content>,
    small: Vec<Small>,
    nginx: Option<Daemon>,
    vsftpd: Option<Daemon>,
}

impl Cluster {
    fn from_environment(helper: &Path, options: Options) -> io::Result<Cluster> {
        let variable = |name: &str| env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")));
        let mounts: Vec<_> = variable("MOUNTS")?.split(' ').map(PathBuf::from).collect();
        let root = root_of(&mounts[0]);
        let local = PathBuf::from(variable("CLUSTER_DIR")?).join("local");
        fs::create_dir_all(local.join(PUT))?;
        fs::create_dir_all(root.join(MANY))?;
        let bytes = options.large_bytes() / AT_ONCE as u64;
        let large = (0..AT_ONCE).map(|index| Content::write(&local.join(large_name(index)), bytes)).collect();
        small_files::write(&local.join(PUT), options.files);
        let small = small_files::write(&root.join(MANY), options.files);
        let start = |kind: Kind| kind.start(helper, &root).and_then(Result::ok);
        let only_one = mounts.len() == 1;
        let [nginx, vsftpd] = [Kind::Nginx, Kind::Vsftpd].map(|kind| only_one.then(|| start(kind)).flatten());
        let balancer = variable("CLUSTER")?.parse().map_err(io::Error::other)?;
        let cluster = Cluster { options, balancer, mounts, local, large, small, nginx, vsftpd };
        for (index, content) in cluster.large.iter().enumerate() {
            fs::copy(&content.path, cluster.root(0).join(large_name(index)))?;
        }
        Ok(cluster)
    }

    /// Returns the root as the mount of some server has it.
    fn root(&self, index: usize) -> PathBuf {
        root_of(&self.mounts[index % self.mounts.len()])
    }

    fn work(&self, what: &str) -> String {
        let nodes = self.mounts.len();
        format!("{nodes} server{}: {what}", if nodes == 1 { "" } else { "s" })
    }

    /// Times `one` for each large file, all at once.
    fn at_once(&self, one: impl Fn(usize, &Content) -> Result<(), String> + Sync) -> Result<Sample, String> {
        let files = self.large.iter().enumerate();
        together((Unit::Bytes, self.options.large_bytes()), files, |(index, content)| one(index, content))
    }

    fn gets(&self, report: &mut Report) {
        let work = self.work(&format!("GET {}, {AT_ONCE} at once", size_label(self.options.mib)));
        if !self.options.wants(&work) {
            return;
        }
        let mut peers = vec![Peer::new("dd from the plain mount", &[], || {
            self.at_once(|index, _| dd(&self.root(index).join(large_name(index)), Path::new("/dev/null"), &[]))
        })];
        if let Some(nginx) = &self.nginx {
            peers.push(Peer::new("nginx on a mount", &[], || {
                self.at_once(|index, content| {
                    let got = Http::connect(nginx.address())
                        .and_then(|mut http| http.get(&format!("/{}", large_name(index)), |_| {}));
                    got.and_then(|came| same(came, content.bytes)).map_err(|error| error.to_string())
                })
            }));
        }
        if let Some(vsftpd) = &self.vsftpd {
            peers.push(Peer::new("vsftpd on a mount", &[], || {
                self.at_once(|index, content| {
                    let got = Ftp::login(vsftpd.address(), vsftpd.login())
                        .and_then(|mut ftp| ftp.get(&large_name(index), |_| {}));
                    got.and_then(|came| same(came, content.bytes)).map_err(|error| error.to_string())
                })
            }));
        }
        let mut ours = || {
            let got = self.at_once(|index, content| {
                let drained = drain_ferry(self.balancer, &name(&large_name(index)), |_| {});
                let due = Drained { bytes: content.bytes, claimed: Some(content.crc) };
                assert_eq!(drained.map_err(|error| error.to_string())?, due);
                Ok(())
            });
            got.expect("every GET")
        };
        compete(report, self.options.rounds, &work, Unit::Bytes, &[], Some(&mut ours), peers);
    }

    fn puts(&self, report: &mut Report) {
        let work = self.work(&format!("PUT {}, {AT_ONCE} at once, durable", size_label(self.options.mib)));
        if !self.options.wants(&work) {
            return;
        }
        let put = |index| format!("put-{index}.bin");
        let remove = |sample: Result<Sample, String>| {
            if sample.is_ok() {
                let files = self.large.iter().enumerate();
                files.for_each(|(index, content)| content.check_and_remove(&self.root(index + 1).join(put(index))));
            }
            sample
        };
        let mut peers = vec![Peer::new("dd conv=fsync to the plain mount", &[], || {
            remove(
                self.at_once(|index, content| dd(&content.path, &self.root(index).join(put(index)), &["conv=fsync"])),
            )
        })];
        if let Some(vsftpd) = &self.vsftpd {
            peers.push(Peer::new("vsftpd on a mount, no fsync", &[], || {
                remove(self.at_once(|index, content| {
                    let login = Ftp::login(vsftpd.address(), vsftpd.login());
                    login.and_then(|mut ftp| ftp.put(&put(index), content)).map_err(|error| error.to_string())
                }))
            }));
        }
        let mut ours = || {
            let done = self.at_once(|index, content| {
                let wire = Wire::greeted(self.balancer);
                let put = wire.and_then(|mut wire| wire.put(&name(&put(index)), content));
                put.map_err(|error| error.to_string())
            });
            remove(done).expect("every PUT")
        };
        compete(report, self.options.rounds, &work, Unit::Bytes, &[], Some(&mut ours), peers);
    }

    fn get_small(&self, report: &mut Report) {
        let work = self.work(&format!("GETs of 4 KiB, {CONNECTIONS} connections"));
        if !self.options.wants(&work) {
            return;
        }
        let count = self.small.len();
        let by_threads = |one: &(dyn Fn(&[Small]) -> io::Result<()> + Sync)| {
            let shares = self.small.chunks(count.div_ceil(AT_ONCE));
            together((Unit::Files, count as u64), shares, |files| one(files).map_err(|error| error.to_string()))
        };
        let root = self.root(0);
        let mut peers = vec![Peer::new(format!("reading from the plain mount, {AT_ONCE} threads"), &[], || {
            by_threads(&|files| {
                files.iter().try_for_each(|file| {
                    let read = fs::read(root.join(file.name.as_str()))?;
                    same(read.len() as u64, file.content.len() as u64)
                })
            })
        })];
        if let Some(nginx) = &self.nginx {
            peers.push(Peer::new(format!("nginx on a mount, {AT_ONCE} connections"), &[], || {
                by_threads(&|files| {
                    let mut http = Http::connect(nginx.address())?;
                    files.iter().try_for_each(|file| {
                        same(http.get(&format!("/{}", file.name), |_| {})?, file.content.len() as u64)
                    })
                })
            }));
        }
        let mut ours = || {
            let figures =
                clocked(|| 0.0, || get_all(self.balancer, CONNECTIONS, &self.small, count).expect("every GET"));
            rated(Unit::Files, count as u64, figures).without_cpu()
        };
        compete(report, self.options.rounds, &work, Unit::Files, &[], Some(&mut ours), peers);
    }

    /// Whole programs; ferry's files are on the disk at the end.
    fn put_small(&self, report: &mut Report) {
        let work = self.work(&format!("program: put {} files of 4 KiB", self.small.len()));
        if !self.options.wants(&work) {
            return;
        }
        let (from, to) = (self.local.join(PUT), self.root(0).join(PUT));
        let remove = |figures: Result<(f64, f64), String>| {
            let (seconds, _) = figures?;
            // The mount that looks may not have been the one that they came by.
            thread::sleep(CACHED);
            small_files::check(&self.root(1).join(PUT), &self.small);
            fs::remove_dir_all(&to).map_err(|error| error.to_string())?;
            Ok::<_, String>(Sample::plain(seconds))
        };
        let peers = vec![Peer::new("cp -r to the plain mount", &[], || {
            remove(run(Command::new("cp").arg("-r").args([&from, &to])))
        })];
        let mut ours = || {
            let mut command = Command::new(ferry_e2e::ferry());
            command.arg("--plain").arg("--dir").arg(&self.local).env("HOME", &self.local);
            command.args(["put", "-r", &self.balancer.to_string(), PUT]);
            remove(run(&mut command)).expect("every PUT")
        };
        compete(report, self.options.rounds, &work, Unit::Seconds, &[], Some(&mut ours), peers);
    }
}

/// Times `one` for each share of the work, each in a thread of its own.
fn together<T: Send>(
    (unit, count): (Unit, u64),
    shares: impl Iterator<Item = T>,
    one: impl Fn(T) -> Result<(), String> + Sync,
) -> Result<Sample, String> {
    let mut done = Ok(());
    let figures = clocked(
        || 0.0,
        || {
            done = thread::scope(|scope| {
                let one = &one;
                let threads: Vec<_> = shares.map(|share| scope.spawn(move || one(share))).collect();
                threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
            });
        },
    );
    done.map(|()| rated(unit, count, figures).without_cpu())
}

fn root_of(mount: &Path) -> PathBuf {
    mount.join("files")
}

fn large_name(index: usize) -> String {
    format!("large-{index}.bin")
}

fn dd(from: &Path, to: &Path, words: &[&str]) -> Result<(), String> {
    let dd = find("dd").ok_or("there is no dd")?;
    let [from, to] = [("if=", from), ("of=", to)].map(|(key, path)| {
        let mut word = OsString::from(key);
        word.push(path);
        word
    });
    run(Command::new(dd).args([from, to]).arg("bs=1M").args(words)).map(|_| ())
}
