//! Several servers of one MooseFS behind HAProxy, as `packaging/cluster/one-machine` starts them.
//!
//! Each test starts itself again as the command that runs inside the cluster's name spaces. They need root,
//! /dev/fuse and the packages, and run where [`MUST`] is set.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod faults;
mod names;
mod restarts;

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use ferry_e2e::{Raw, eventually, ferryd, secure, workspace_root};
use rustix::process::{Pid, Signal, kill_process};

/// The lifetime of a lease in these tests: builds for tests alone take it from this variable.
const LEASE: (&str, &str) = ("FERRY_TEST_LEASE_SECONDS", "3");

/// Without this variable these tests skip themselves: they take a minute or two. With it they fail where they can't run.
const MUST: &str = "FERRY_TEST_CLUSTER";

/// One cluster at a time: each is eight processes.
static ONE: Mutex<()> = Mutex::new(());

/// Does `work` inside a cluster of two nodes; `test` is the name of the test that calls.
fn in_cluster(test: &str, work: impl FnOnce(&Cluster)) {
    if let Some(cluster) = Cluster::from_environment() {
        return work(&cluster);
    }
    if secure::skips("its servers speak plainly") {
        return;
    }
    if env::var_os(MUST).is_none() {
        eprintln!("skipped: {MUST}=1 runs it, as root, where MooseFS and HAProxy are installed");
        return;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut script = Command::new(workspace_root().join("packaging/cluster/one-machine"));
    script.arg("--ferryd").arg(ferryd()).arg(env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    let output = script.env(LEASE.0, LEASE.1).stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "inside the cluster:\n{said}");
}

/// The cluster, seen from inside.
struct Cluster {
    balancer: SocketAddr,
    nodes: Vec<SocketAddr>,
    mounts: Vec<PathBuf>,
    dir: PathBuf,
    pids: PathBuf,
}

impl Cluster {
    fn from_environment() -> Option<Cluster> {
        let variable = |name| env::var(name).ok();
        Some(Cluster {
            balancer: variable("CLUSTER")?.parse().ok()?,
            nodes: variable("NODES")?.split(' ').map(|node| node.parse().unwrap()).collect(),
            mounts: variable("MOUNTS")?.split(' ').map(PathBuf::from).collect(),
            dir: variable("CLUSTER_DIR")?.into(),
            pids: variable("CLUSTER_PIDS")?.into(),
        })
    }

    /// Connects to the node of this index.
    #[track_caller]
    fn node(&self, index: usize) -> Raw {
        Raw::greeted(self.nodes[index])
    }

    /// Returns the root as a node's mount has it.
    fn root(&self, index: usize) -> PathBuf {
        self.mounts[index].join("files")
    }

    /// Returns the process of a part: `node1`, `mount2`, `chunks1`.
    fn pid(&self, part: &str) -> Pid {
        let text = fs::read_to_string(self.pids.join(part)).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    fn signal(&self, part: &str, signal: Signal) {
        kill_process(self.pid(part), signal).unwrap();
    }

    /// Starts a node that has ended, as it was started before, once `command_line` was read of it.
    fn start_again(&self, part: &str, command_line: &[String]) {
        let log = fs::File::create(self.dir.join(format!("{part}.again.log"))).unwrap();
        let mut node = Command::new(&command_line[0]);
        let child = node.args(&command_line[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        fs::write(self.pids.join(part), child.unwrap().id().to_string()).unwrap();
        let index: usize = part.strip_prefix("node").unwrap().parse().unwrap();
        eventually("the node listens again", || std::net::TcpStream::connect(self.nodes[index - 1]).ok());
    }

    fn command_line(&self, part: &str) -> Vec<String> {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid(part).as_raw_pid())).unwrap();
        let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
        words.map(|word| String::from_utf8(word.to_vec()).unwrap()).collect()
    }

    /// Waits until a process has ended, whoever its parent is: its first thread, and with it all others, which
    /// hold its sockets as long.
    fn has_ended(pid: Pid) {
        let place = PathBuf::from(format!("/proc/{}", pid.as_raw_pid()));
        let ended = |place: &Path| match fs::read_to_string(place.join("stat")) {
            Ok(stat) => {
                let is_zombie = stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
                is_zombie && fs::read_dir(place.join("task")).map_or(0, Iterator::count) <= 1
            }
            Err(_) => true,
        };
        eventually("a process ends", || ended(&place).then_some(()));
    }
}
