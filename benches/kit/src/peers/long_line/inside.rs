//! The work on one line, done by a process at its far end.

use std::{
    ffi::OsString,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ferry_e2e::Server;
use rustix::process::{setpriority_process, setsid};

use super::{
    super::{
        LARGE, MANY,
        daemon::{Daemon, Kind},
    },
    ends::{Ended, Ends, FAR},
    lines::{LongLine, Plan},
    race::{Course, Runner, race},
};
use crate::{
    Content, Goal, Options, Report, Unit,
    lanes::Small,
    program::find,
    size_label,
    small_files::{self, check, file_name},
};

/// The names that are put.
const PUT: &str = "put.bin";
const UP: &str = "up";

/// Connections of programs that take several: for one large file, and for many small ones.
const FLOWS: usize = 8;
const CONNECTIONS: usize = 50;

/// Of all servers and programs, so that a machine with other work slows none of them. The line itself goes before.
const PRIORITY: i32 = -10;

/// Ferry's rate beside that of [`FLOWS`] flows that check nothing, on a line without loss.
const BESIDE_FLOWS: f64 = 0.9;
/// Beside one flow of rsync on a line with loss.
const BESIDE_RSYNC: f64 = 2.0;

/// Does all the work on the one line that the environment names, and tells its rows on standard output.
pub(super) fn main(mut words: impl Iterator<Item = OsString>) -> io::Result<()> {
    // Where that is not permitted, a busy machine tells on the figures. Many kernels divide the time among sessions
    // first, so that a priority counts in one's own alone.
    let _ = setpriority_process(None, PRIORITY);
    let _ = setsid().map(|_| fs::write("/proc/self/autogroup", PRIORITY.to_string()));
    let mut path = || words.next().map(PathBuf::from).ok_or_else(|| io::Error::other("a path is missing"));
    let (helper, place) = (path()?, path()?);
    let options = Options::handed_on(words).map_err(io::Error::other)?;
    let plan = Plan::new(&options).map_err(io::Error::other)?;
    let line = plan.lines.first().cloned().ok_or_else(|| io::Error::other("no line is named"))?;
    let mut report = Report::told("line");
    let inside = Inside::new(&helper, place, options, plan, line)?;
    inside.get(&mut report);
    inside.put(&mut report);
    inside.get_many(&mut report);
    inside.put_many(&mut report);
    report.remark(&format!("{}: {}", inside.line.name(), inside.ends.carried()));
    report.end();
    Ok(())
}

/// The far end, with all servers.
struct Inside {
    options: Options,
    plan: Plan,
    line: LongLine,
    ends: Ends,
    /// Served by all.
    root: PathBuf,
    /// Downloads go there.
    got: PathBuf,
    /// Uploads are there.
    source: PathBuf,
    /// Empty.
    home: PathBuf,
    content: Content,
    files: Vec<Small>,
    ferry: Server,
    daemons: Vec<Daemon>,
}

impl Inside {
    fn new(helper: &Path, place: PathBuf, options: Options, plan: Plan, line: LongLine) -> io::Result<Inside> {
        let ends = Ends::join(&line)?;
        let [root, got, source, home] = ["root", "got", "source", "home"].map(|name| place.join(name));
        for directory in [&root.join(MANY), &got, &source.join(UP), &home] {
            fs::create_dir_all(directory)?;
        }
        let content = Content::write(&root.join(LARGE), options.large_bytes());
        let files = small_files::write(&root.join(MANY), options.files);
        fs::hard_link(&content.path, source.join(PUT))?;
        for name in (0..files.len()).map(file_name) {
            fs::hard_link(root.join(MANY).join(&name), source.join(UP).join(&name))?;
        }
        let ferry = ferry_e2e::Options::new().address(&format!("{FAR}:0")).root(&root);
        let ferry = ferry.arg("--plain").arg("--writable").start();
        let mut daemons = Vec::new();
        for kind in [Kind::Iperf3, Kind::NginxPut, Kind::Rsync, Kind::Rclone] {
            match kind.start_at(FAR, helper, &root) {
                Some(Ok(daemon)) => daemons.push(daemon),
                Some(Err(why)) => eprintln!("{}: {why}", kind.name()),
                None => {}
            }
        }
        Ok(Inside { options, plan, line, ends, root, got, source, home, content, files, ferry, daemons })
    }

    /// Measures one large file to the near end.
    fn get(&self, report: &mut Report) {
        let work = self.large("GET");
        let to = self.got.join(LARGE).display().to_string();
        let dir = self.got.display().to_string();
        let far = FAR;
        let mut runners = vec![self.ferry("ferry", words(&["get", &self.own(), LARGE, "--dir", &dir]), Inside::came)];
        let alone = words(&["get", &self.own(), LARGE, "--parallel", "1", "--dir", &dir]);
        runners.extend(self.wanted(self.ferry("ferry --parallel 1", alone, Inside::came)));
        runners.extend(self.iperf3(1, &["-R"]));
        runners.extend(self.iperf3(FLOWS, &["-R"]));
        runners.extend(self.beside("curl from nginx", &[], "curl", Kind::NginxPut, Inside::came, |port| {
            words(&["-sSf", "-o", &to, &format!("http://{far}:{port}/{LARGE}")])
        }));
        let goals = self.with_loss(&[Goal::RatioAtLeast(1.0)]);
        runners.extend(self.beside("lftp pget -n 8", &goals, "lftp", Kind::NginxPut, Inside::came, |port| {
            let get = format!("pget -n {FLOWS} http://{far}:{port}/{LARGE} -o \"{to}\"");
            words(&["-c", &format!("set cmd:fail-exit yes; {get}")])
        }));
        runners.extend(self.beside("rsync from its daemon", &[], "rsync", Kind::Rsync, Inside::came, |port| {
            words(&["-t", &format!("rsync://{far}:{port}/root/{LARGE}"), &to])
        }));
        runners.extend(self.beside("rclone of 8 streams", &[], "rclone", Kind::Rclone, Inside::came, |port| {
            let streams = FLOWS.to_string();
            let by = ["--multi-thread-cutoff", "1M", "--multi-thread-streams", &streams];
            self.rclone(port, &[&["copyto"][..], &by, &[&format!(":webdav:{LARGE}"), &to]].concat())
        }));
        self.race(report, &work, Some(self.content.bytes), runners);
    }

    /// Measures one large file from the near end.
    fn put(&self, report: &mut Report) {
        let work = self.large("PUT");
        let from = self.source.join(PUT).display().to_string();
        let dir = self.source.display().to_string();
        let far = FAR;
        let mut runners = vec![self.ferry("ferry", words(&["put", &self.own(), PUT, "--dir", &dir]), Inside::arrived)];
        runners.extend(self.iperf3(1, &[]));
        runners.extend(self.iperf3(FLOWS, &[]));
        runners.extend(self.beside("curl to nginx", &[], "curl", Kind::NginxPut, Inside::arrived, |port| {
            words(&["-sSf", "-T", &from, &format!("http://{far}:{port}/{PUT}")])
        }));
        let goals = self.with_loss(&[Goal::RatioAtLeast(BESIDE_RSYNC)]);
        runners.extend(self.beside("rsync to its daemon", &goals, "rsync", Kind::Rsync, Inside::arrived, |port| {
            words(&["-t", &from, &format!("rsync://{far}:{port}/root/{PUT}")])
        }));
        runners.extend(self.beside("rclone", &[], "rclone", Kind::Rclone, Inside::arrived, |port| {
            self.rclone(port, &["copyto", &from, &format!(":webdav:{PUT}")])
        }));
        self.race(report, &work, Some(self.content.bytes), runners);
    }

    /// Measures many small files to the near end.
    fn get_many(&self, report: &mut Report) {
        let work = self.many("get");
        let dir = self.got.display().to_string();
        let to = self.got.join(MANY).display().to_string();
        let far = FAR;
        let mut runners =
            vec![self.ferry("ferry", words(&["get", "-r", &self.own(), MANY, "--dir", &dir]), Inside::all_came)];
        let level = [Goal::RatioAtMost(1.0)];
        runners.extend(self.beside("curl -Z 50", &level, "curl", Kind::NginxPut, Inside::all_came, |port| {
            let each = format!("http://{far}:{port}/{MANY}/{}", self.globbed());
            curl_at_once(&["--create-dirs", "-o", &format!("{to}/#1"), &each])
        }));
        runners.extend(self.beside("rsync from its daemon", &[], "rsync", Kind::Rsync, Inside::all_came, |port| {
            words(&["-rt", &format!("rsync://{far}:{port}/root/{MANY}"), &dir])
        }));
        runners.extend(self.beside("rclone of 50 at once", &[], "rclone", Kind::Rclone, Inside::all_came, |port| {
            self.rclone_at_once(port, &[&format!(":webdav:{MANY}"), &to])
        }));
        self.race(report, &work, None, runners);
    }

    /// Measures many small files from the near end.
    fn put_many(&self, report: &mut Report) {
        let work = self.many("put");
        let dir = self.source.display().to_string();
        let from = self.source.join(UP).display().to_string();
        let far = FAR;
        let mut runners =
            vec![self.ferry("ferry", words(&["put", "-r", &self.own(), UP, "--dir", &dir]), Inside::all_arrived)];
        let level = [Goal::RatioAtMost(1.0)];
        runners.extend(self.beside("curl -Z 50", &level, "curl", Kind::NginxPut, Inside::all_arrived, |port| {
            let each = format!("{from}/{}", self.globbed());
            curl_at_once(&["-T", &each, &format!("http://{far}:{port}/{UP}/")])
        }));
        runners.extend(self.beside("rsync to its daemon", &[], "rsync", Kind::Rsync, Inside::all_arrived, |port| {
            words(&["-rt", &from, &format!("rsync://{far}:{port}/root/")])
        }));
        runners.extend(self.beside("rclone of 50 at once", &[], "rclone", Kind::Rclone, Inside::all_arrived, |port| {
            self.rclone_at_once(port, &[&from, &format!(":webdav:{UP}")])
        }));
        self.race(report, &work, None, runners);
    }

    fn large(&self, what: &str) -> String {
        format!("{}: {what} {}", self.line.name(), size_label(self.options.mib))
    }

    fn many(&self, what: &str) -> String {
        format!("{}: {what} {} files of 4 KiB", self.line.name(), self.files.len())
    }

    /// Lets `runners` take turns where the work is wanted. Values are Mbit/s where there are `bytes`, else seconds.
    fn race(&self, report: &mut Report, work: &str, bytes: Option<u64>, runners: Vec<Runner<'_>>) {
        if !self.options.wants(work) {
            return;
        }
        let (limit, rounds) = (self.plan.limit, self.plan.rounds);
        let (unit, value): (Unit, &dyn Fn(f64) -> f64) = match bytes {
            Some(bytes) => (Unit::Megabits, &move |seconds| bytes as f64 * 8e-6 / seconds),
            None => (Unit::Seconds, &|seconds| seconds),
        };
        race(report, &Course { work, unit, value, limit, rounds }, runners);
    }

    /// Returns the address of ferry's server, for the command line.
    fn own(&self) -> String {
        self.ferry.address().to_string()
    }

    fn ferry<'a>(&'a self, is: &str, arguments: Vec<String>, verify: fn(&Inside)) -> Runner<'a> {
        let mut all = words(&["--plain", "--progress", "never"]);
        all.extend(arguments);
        let program = ferry_e2e::plain_ferry().to_owned();
        Runner::new(is, &[], move || self.turn(&program, &all, verify).map(|ended| ended.map(|ended| ended.seconds)))
    }

    fn wanted<'a>(&self, runner: Runner<'a>) -> Option<Runner<'a>> {
        self.plan.wants(runner.is()).then_some(runner)
    }

    /// Returns a runner of `program`, where it and its server are here and it is to take part. Its arguments are made
    /// of the server's port.
    fn beside<'a>(
        &'a self,
        is: &str,
        goals: &[Goal],
        program: &str,
        kind: Kind,
        verify: fn(&Inside),
        arguments: impl Fn(u16) -> Vec<String>,
    ) -> Option<Runner<'a>> {
        let daemon = self.daemons.iter().find(|daemon| daemon.kind() == kind)?;
        let program = find(program)?;
        let arguments = arguments(daemon.address().port());
        let turn = move || self.turn(&program, &arguments, verify).map(|ended| ended.map(|ended| ended.seconds));
        self.wanted(Runner::new(is, goals, turn))
    }

    /// Returns a runner of so many flows of bytes that nobody reads. iperf3 times them itself: its own conversation
    /// does not count.
    fn iperf3(&self, flows: usize, more: &[&str]) -> Option<Runner<'_>> {
        let daemon = self.daemons.iter().find(|daemon| daemon.kind() == Kind::Iperf3)?;
        let program = find("iperf3")?;
        let (port, bytes, flows_word) = (daemon.address().port(), self.content.bytes, flows.to_string());
        let (far, port, bytes_word) = (FAR.to_string(), port.to_string(), bytes.to_string());
        let arguments = words(&[&["-c", &far, "-p", &port, "-n", &bytes_word, "-P", &flows_word, "-J"], more].concat());
        let goals =
            if flows == FLOWS && self.line.loss == 0.0 { vec![Goal::RatioAtLeast(BESIDE_FLOWS)] } else { vec![] };
        let is = format!("iperf3 -P {flows}");
        self.wanted(Runner::new(is, &goals, move || {
            let Some(Ended { output, .. }) = self.turn(&program, &arguments, |_| {})? else { return Ok(None) };
            let told: serde_json::Value = serde_json::from_slice(&output).map_err(|error| error.to_string())?;
            let rate = told["end"]["sum_received"]["bits_per_second"].as_f64();
            rate.map(|rate| Some(bytes as f64 * 8.0 / rate)).ok_or_else(|| format!("iperf3 says {told}"))
        }))
    }

    /// Runs a program once, from an empty start, and verifies its result.
    fn turn(&self, program: &Path, arguments: &[String], verify: fn(&Inside)) -> Result<Option<Ended>, String> {
        self.clear().map_err(|error| error.to_string())?;
        let ended = self.ends.run(program, arguments, &self.home, self.plan.limit)?;
        if ended.is_some() {
            verify(self);
        }
        Ok(ended)
    }

    /// Removes what an earlier turn has left.
    fn clear(&self) -> io::Result<()> {
        for directory in [&self.got, &self.root.join(UP)] {
            if directory.exists() {
                fs::remove_dir_all(directory)?;
            }
        }
        fs::create_dir(&self.got)?;
        match fs::remove_file(self.root.join(PUT)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn came(&self) {
        self.content.check_and_remove(&self.got.join(LARGE));
    }

    fn arrived(&self) {
        self.content.check_and_remove(&self.root.join(PUT));
    }

    fn all_came(&self) {
        check(&self.got.join(MANY), &self.files);
    }

    fn all_arrived(&self) {
        check(&self.root.join(UP), &self.files);
    }

    /// Returns all small files, as curl names them.
    fn globbed(&self) -> String {
        format!("[{}-{}]", file_name(0), file_name(self.files.len() - 1))
    }

    fn rclone(&self, port: u16, more: &[&str]) -> Vec<String> {
        let url = format!("http://{}", SocketAddr::from((FAR, port)));
        words(&[&["--config", "/dev/null", "--webdav-url", &url, "--retries", "1"], more].concat())
    }

    fn rclone_at_once(&self, port: u16, more: &[&str]) -> Vec<String> {
        let count = CONNECTIONS.to_string();
        self.rclone(port, &[&["copy", "--transfers", &count, "--checkers", &count], more].concat())
    }

    /// Returns `goals` where the line loses packets, else none.
    fn with_loss(&self, goals: &[Goal]) -> Vec<Goal> {
        if self.line.loss > 0.0 { goals.to_vec() } else { Vec::new() }
    }
}

fn curl_at_once(more: &[&str]) -> Vec<String> {
    words(&[&["-sSfZ", "--parallel-max", &CONNECTIONS.to_string()], more].concat())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
