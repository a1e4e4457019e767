//! A throwaway copy of this machine, with systemd as its first process: packages are installed in it, services are
//! started, and nothing of it is left.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use ferry_e2e::eventually;
use rustix::process::geteuid;
use tempfile::TempDir;

use super::{find, skip};

/// The script of the first process.
const SETUP: &str = include_str!("machine.sh");

/// A running machine. Dropping it ends all its processes and forgets its files.
pub(crate) struct Machine {
    first: Child,
    /// The number of its first process, as this machine counts.
    pid: u32,
    /// Its control group.
    group: PathBuf,
    base: TempDir,
}

impl Machine {
    /// Starts one; [`None`], with a printed word, where that can't be had here: it needs root, name spaces, an overlay over
    /// the root of this machine, control groups of version 2 and `programs`.
    pub(crate) fn boot(programs: &[&str]) -> Option<Machine> {
        if !geteuid().is_root() {
            skip("only root may start a machine of its own");
            return None;
        }
        let needed = ["systemctl", "unshare", "nsenter", "mount", "pivot_root", "ip"];
        if let Some(missing) = needed.iter().chain(programs).find(|program| find(program).is_none()) {
            skip(&format!("no {missing} here"));
            return None;
        }
        let base = tempfile::Builder::new().prefix("ferry-machine-").tempdir().unwrap();
        fs::create_dir(base.path().join("memory")).unwrap();
        fs::write(base.path().join("machine.sh"), SETUP).unwrap();
        let Some(group) = new_group(base.path()) else {
            skip("no control group of its own to be had");
            return None;
        };
        let enter = "echo $$ >\"$1/cgroup.procs\" && exec unshare --mount --pid --net --uts --ipc --cgroup --fork \
                     --kill-child sh \"$2/machine.sh\" \"$2\"";
        let first = Command::new("sh")
            .args(["-c", enter, "sh"])
            .args([&group, base.path()])
            .stdin(Stdio::null())
            .stderr(fs::File::create(base.path().join("stderr")).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut machine = Machine { first, pid: 0, group, base };
        if let Err(why) = machine.come_up() {
            skip(&format!("no machine of its own to be had: {why}"));
            return None;
        }
        machine.run("systemctl start systemd-journald.socket systemd-journald.service");
        machine.run("ip address add 192.0.2.1/32 dev lo && echo '192.0.2.1 files.example' >>/etc/hosts");
        Some(machine)
    }

    /// Waits until systemd says that it is there.
    fn come_up(&mut self) -> Result<(), String> {
        eventually("the machine is up", || {
            if self.first.try_wait().unwrap().is_some() {
                return Some(Err(format!("{}{}", self.said("stderr"), self.said("console"))));
            }
            let pid = self.said("pid").trim().parse().ok()?;
            self.pid = pid;
            let output = self.execute("systemctl is-system-running");
            let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            ["running", "degraded"].contains(&&*state).then_some(Ok(()))
        })
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.base.path().join(name)).unwrap_or_default()
    }

    /// Runs `script` in it as root, in /root, and returns what it printed on standard output.
    ///
    /// # Panics
    ///
    /// Panics with all that it said where it fails.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> String {
        let output = self.execute(script);
        let [out, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{}: {script}\n{out}{error}{}", output.status, self.report());
        out
    }

    /// Runs `script` in it, and returns how it ended.
    pub(crate) fn execute(&self, script: &str) -> Output {
        Command::new("nsenter")
            .args(["--target", &self.pid.to_string(), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"])
            .args(["--root", "--", "/usr/bin/env", "-i", "HOME=/root", "LC_ALL=C.UTF-8"])
            .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["sh", "-euc", &format!("cd /root\n{script}")])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Puts a file of this machine into it.
    #[track_caller]
    pub(crate) fn put(&self, file: &Path, place: &str) {
        let mut child = Command::new("nsenter")
            .args(["--target", &self.pid.to_string(), "--mount", "--root", "--", "/bin/sh", "-c", "cat >\"$0\"", place])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&fs::read(file).unwrap()).unwrap();
        assert!(child.wait().unwrap().success(), "{place}");
    }

    /// Returns what the services and the machine itself have said, for a test that fails.
    fn report(&self) -> String {
        let said = self.execute("systemctl status 'ferryd*' --no-pager --full; journalctl --unit 'ferryd*' --lines 50");
        format!("{}{}", String::from_utf8_lossy(&said.stdout), self.said("console"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its first process ends with this one, and all others with that.
        let _ = self.first.kill();
        let _ = self.first.wait();
        eventually("the control groups are empty", || remove_group(&self.group).ok());
    }
}

/// Makes a control group beneath that of this process.
fn new_group(base: &Path) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields.find(|fields| fields.contains(&"cgroup2"))?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    let group = Path::new(mount.get(4)?).join(own).join(base.file_name()?);
    fs::create_dir(&group).ok()?;
    Some(group)
}

/// Removes a control group and those beneath it; an error while there are processes.
fn remove_group(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
