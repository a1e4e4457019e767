//! Several servers of one distributed file system behind HAProxy, as `packaging/cluster/one-machine` starts them.
//!
//! Each test starts itself again as the command that runs inside the cluster's name spaces. They need root,
//! /dev/fuse and the packages, and run where [`MUST`] is set.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod clocks;
mod faults;
mod hangs;
mod names;
mod requests;
mod restarts;
mod starts;
mod transport;

use std::{
    env,
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use ferry_e2e::{Raw, eventually, ferryd, plain_ferry, secure, workspace_root};
use rustix::process::{Pid, Signal, kill_process};

/// The lifetime of a lease in these tests: builds for tests alone take it from this variable. Times count in whole
/// seconds, so that a server that stands still for one may seem two late; four clusters at once do that to each other.
const LEASE: (&str, &str) = ("FERRY_TEST_LEASE_SECONDS", "5");

/// Without this variable these tests skip themselves: they take a minute or two. With it they fail where they can't run.
const MUST: &str = "FERRY_TEST_CLUSTER";

/// The file system: `moosefs` where nothing is said, `glusterfs` or `cephfs`.
const ENGINE: &str = "FERRY_TEST_CLUSTER_ENGINE";

/// Whether `engine` is the file system.
fn is_engine(engine: &str) -> bool {
    env::var(ENGINE).map_or("moosefs" == engine, |asked| asked == engine)
}

const NODES: [&str; 2] = ["node1", "node2"];

/// Does `work` inside a cluster of two nodes; `test` is the name of the test that calls. Its nodes speak TLS where
/// the tests are run by it.
fn in_cluster(test: &str, work: impl FnOnce(&Cluster)) {
    in_cluster_that_speaks(secure::is_asked_for(), test, work);
}

/// Does the same inside a cluster whose nodes speak `tls`, or plainly.
fn in_cluster_that_speaks(tls: bool, test: &str, work: impl FnOnce(&Cluster)) {
    if let Some(cluster) = Cluster::from_environment() {
        let _logs = LogsOfFailure(&cluster);
        return work(&cluster);
    }
    if env::var_os(MUST).is_none() {
        eprintln!("skipped: {MUST}=1 runs it, as root, where the file system and HAProxy are installed");
        return;
    }
    let mut script = Command::new(workspace_root().join("packaging/cluster/one-machine"));
    script.arg(if tls { "--tls" } else { "--plain" }).arg("--ferryd").arg(ferryd());
    if let Some(engine) = env::var_os(ENGINE) {
        script.arg("--engine").arg(engine);
    }
    script.arg(env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    if tls {
        script.env(secure::VARIABLE, "1");
    }
    let output = script.env(LEASE.0, LEASE.1).stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "inside the cluster:\n{said}");
    // Figures of what was done.
    said.lines().filter(|line| line.starts_with("cluster: ")).for_each(|line| println!("{line}"));
}

/// Shows the nodes' logs when a test has failed: they go with the cluster.
struct LogsOfFailure<'a>(&'a Cluster);

impl Drop for LogsOfFailure<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for entry in fs::read_dir(&self.0.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            if name.starts_with("node") && name.ends_with(".log") {
                eprintln!("{name}:\n{}", fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
    }
}

/// The way in which a part of the cluster was started.
struct Recipe {
    words: Vec<String>,
    environment: Vec<String>,
}

impl Recipe {
    /// Adds words before the last one, which is a node's address.
    fn with(mut self, words: &[&str]) -> Recipe {
        let address = self.words.pop();
        self.words.extend(words.iter().map(|word| (*word).to_owned()).chain(address));
        self
    }

    fn with_variable(mut self, name: &str, value: &str) -> Recipe {
        self.environment.push(format!("{name}={value}"));
        self
    }
}

/// The cluster, seen from inside.
struct Cluster {
    balancer: SocketAddr,
    nodes: Vec<SocketAddr>,
    mounts: Vec<PathBuf>,
    dir: PathBuf,
    pids: PathBuf,
    /// Of the key that all nodes have; [`None`] where they speak plainly.
    fingerprint: Option<String>,
}

impl Cluster {
    fn from_environment() -> Option<Cluster> {
        let variable = |name| env::var(name).ok();
        let dir = PathBuf::from(variable("CLUSTER_DIR")?);
        let log = fs::read_to_string(dir.join("node1.log")).unwrap();
        let fingerprint = log.lines().find_map(|line| line.rsplit_once(" (TLS, key ")?.1.strip_suffix(')'));
        Some(Cluster {
            fingerprint: fingerprint.map(str::to_owned),
            dir,
            balancer: variable("CLUSTER")?.parse().ok()?,
            nodes: variable("NODES")?.split(' ').map(|node| node.parse().unwrap()).collect(),
            mounts: variable("MOUNTS")?.split(' ').map(PathBuf::from).collect(),
            pids: variable("CLUSTER_PIDS")?.into(),
        })
    }

    /// Connects to the node of this index.
    #[track_caller]
    fn node(&self, index: usize) -> Raw {
        Raw::greeted(self.nodes[index])
    }

    /// Waits until the root of the node of this index answers within a second, which a machine that has much to do may
    /// not let it at any moment.
    fn is_healthy(&self, index: usize) {
        eventually("the root answers", || (self.node(index).ask("HEALTH").line == "DONE").then_some(()));
    }

    /// Runs `ferry` with these words, whose first is a command, on the balancer.
    fn ferry(&self, words: &[&str]) -> Output {
        let mut command = Command::new(plain_ferry());
        match &self.fingerprint {
            Some(key) => command.args(["--tls", "--fingerprint", key]),
            None => command.arg("--plain"),
        };
        command.arg("--dir").arg(self.local()).env("HOME", &self.dir);
        command.arg(words[0]).arg(self.balancer.to_string()).args(&words[1..]).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Returns the directory that [`ferry`](Self::ferry) puts from, and gets to.
    fn local(&self) -> PathBuf {
        let local = self.dir.join("local");
        fs::create_dir_all(&local).unwrap();
        local
    }

    /// Returns the root as a node's mount has it.
    fn root(&self, index: usize) -> PathBuf {
        self.mounts[index].join("files")
    }

    /// Returns the process of a part: `node1`, `mount2`, `data1`.
    fn pid(&self, part: &str) -> Pid {
        let text = fs::read_to_string(self.pids.join(part)).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    fn signal(&self, part: &str, signal: Signal) {
        kill_process(self.pid(part), signal).unwrap();
    }

    /// Stops a part, and waits until all of its threads stand still.
    fn stop(&self, part: &str) {
        self.signal(part, Signal::STOP);
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid(part).as_raw_pid()));
        let stands = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
        };
        eventually("it stands still", || fs::read_dir(&tasks).unwrap().flatten().all(stands).then_some(()));
    }

    /// Returns how a part that runs was started.
    fn recipe(&self, part: &str) -> Recipe {
        let read = |file: &str| {
            let bytes = fs::read(format!("/proc/{}/{file}", self.pid(part).as_raw_pid())).unwrap();
            let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
            words.map(|word| String::from_utf8(word.to_vec()).unwrap()).collect()
        };
        Recipe { words: read("cmdline"), environment: read("environ") }
    }

    /// Ends a part by a signal; returns how it was started.
    fn end(&self, part: &str, signal: Signal) -> Recipe {
        let (pid, recipe) = (self.pid(part), self.recipe(part));
        self.signal(part, signal);
        Cluster::has_ended(pid);
        recipe
    }

    /// Starts a part that has ended. Its log begins anew.
    fn start(&self, part: &str, recipe: &Recipe) {
        let log = fs::File::create(self.log(part)).unwrap();
        let mut command = Command::new(&recipe.words[0]);
        command.args(&recipe.words[1..]).env_clear();
        command.envs(recipe.environment.iter().filter_map(|pair| pair.split_once('=')));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        fs::write(self.pids.join(part), child.unwrap().id().to_string()).unwrap();
    }

    /// Starts a node that has ended, and waits until it listens.
    fn start_node(&self, part: &str, recipe: &Recipe) {
        self.start(part, recipe);
        self.listens(part);
    }

    /// Mounts the file system again for the node of this index, whose mount has died that was started by `recipe`.
    fn mount_again(&self, index: usize, recipe: &Recipe) {
        let point = &self.mounts[index];
        let done =
            |program: &str, arguments: &[&OsStr]| Command::new(program).args(arguments).status().unwrap().success();
        assert!(done("umount", &["--lazy".as_ref(), point.as_os_str()]));
        let master = self.balancer.ip().to_string();
        // MooseFS' program shows something else in place of its arguments.
        let words = match recipe.words[0].strip_prefix("mfsmount ") {
            Some(_) => ["mfsmount", "-H", &master, "-o", "mfsdirentrycacheto=0", point.to_str().unwrap()].to_vec(),
            None => recipe.words.iter().map(String::as_str).collect(),
        };
        let arguments: Vec<_> = words[1..].iter().map(OsStr::new).collect();
        // A machine that has much to do may be too slow for its patience with the servers.
        eventually("it is mounted", || done(words[0], &arguments).then_some(()));
        let program = Path::new(words[0]).file_name().unwrap();
        let newest = Command::new("pgrep").args(["-n", "-x"]).arg(program).output().unwrap();
        fs::write(self.pids.join(format!("mount{}", index + 1)), newest.stdout).unwrap();
    }

    /// Waits until a node serves. Its socket takes connections before, while its start asks the file system, which must
    /// not be disturbed then.
    fn listens(&self, part: &str) {
        let log = self.log(part);
        let serves = || fs::read_to_string(&log).unwrap().lines().any(|line| line.starts_with("listening on "));
        eventually("the node listens again", || serves().then_some(()));
    }

    /// Has both nodes started again with these words more.
    fn start_nodes_with(&self, words: &[&str]) {
        for part in NODES {
            let recipe = self.end(part, Signal::TERM).with(words);
            self.start_node(part, &recipe);
        }
    }

    /// Returns the file of what a part has logged since it was started.
    fn log(&self, part: &str) -> PathBuf {
        self.dir.join(format!("{part}.log"))
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
