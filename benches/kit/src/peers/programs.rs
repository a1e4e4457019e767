//! Whole programs, from their start to their end, and what they leave behind.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use ferry_e2e::{Server, ferry};

use super::{
    Bench, LARGE, MANY, MEMORY,
    daemon::{Daemon, Kind},
    tls::Secure,
    turns::{Peer, compete},
};
use crate::{
    Goal, Report, Sample, Unit,
    program::{find, run},
    size_label,
    small_files::{check, file_name, sync},
    tree::own_cpu_seconds,
};

/// Seconds in which 5,000 small files are to come.
const MANY_SECONDS: f64 = 0.15;

/// Of rsync's time: 2.5 times as fast.
const BESIDE_RSYNC: f64 = 0.4;

/// Of rsync's time, where rsync does not wait for the disk.
const DURABLE_BESIDE_RSYNC: f64 = 3.0;

/// The name of the directory that is put.
const UP: &str = "many";

/// The name of the large file that is put.
const PUT: &str = "put.bin";

/// Arguments of curl: for any server, with the cipher of all.
const CURL_TLS: [&str; 5] = ["-sSf", "-k", "--ssl-reqd", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256"];

/// Ferry's client.
struct Ferry {
    /// It knows `get` and `put` on its command line.
    one_shot: bool,
    /// `--dir` belongs after those words.
    dir_behind: bool,
}

impl Ferry {
    fn new() -> Ferry {
        let help = Command::new(ferry()).args(["get", "--help"]).stdin(Stdio::null()).output().expect("ferry runs");
        let dir_behind = String::from_utf8_lossy(&help.stdout).contains("--dir");
        Ferry { one_shot: help.status.success(), dir_behind }
    }

    /// `ferry VERB ADDRESS WORDS`, with `directory` on this side.
    fn command(&self, verb: &str, directory: &Path, server: SocketAddr, words: &[&str]) -> Command {
        let dir = ["--dir".as_ref(), directory.as_os_str()];
        let mut command = Command::new(ferry());
        match self.dir_behind {
            true => command.arg(verb).args(dir),
            false => command.args(dir).arg(verb),
        };
        command.arg(server.to_string()).args(words);
        command
    }

    fn get_one(&self, directory: &Path, server: SocketAddr, name: &str) -> Command {
        if self.one_shot {
            return self.command("get", directory, server, &[name]);
        }
        let mut command = Command::new(ferry());
        command.arg("--dir").arg(directory).args(["-c", &format!("OPEN {server}; GET {name}")]);
        command
    }
}

/// A row of whole programs.
struct Race<'r, 'a> {
    bench: &'r Bench<'a>,
    /// Brings the work back to its beginning.
    prepare: Box<dyn Fn() + 'r>,
    /// Checks the files that arrived, and puts them away.
    verify: Box<dyn Fn() + 'r>,
}

impl<'r> Race<'r, '_> {
    fn turn(&self, cpu: impl Fn() -> f64, command: &mut Command) -> Result<Sample, String> {
        (self.prepare)();
        let before = cpu();
        let (seconds, client) = run(command)?;
        let sample = Sample { value: seconds, cpu: Some(client + cpu() - before) };
        (self.verify)();
        Ok(sample)
    }

    fn ferry(&self, server: &Server, mut command: Command) -> Sample {
        let cpu = || own_cpu_seconds(server.pid());
        self.turn(cpu, &mut command).unwrap_or_else(|error| panic!("{error}"))
    }

    /// `program`, where it is here, with `server`, where that is; [`None`] where one of them is missing.
    fn peer(
        &'r self,
        is: &str,
        goals: &[Goal],
        program: &str,
        server: Option<&'r Daemon>,
        arguments: Vec<String>,
    ) -> Option<Peer<'r>> {
        let program = find(program)?;
        Some(Peer::new(is, goals, move || {
            let mut command = Command::new(&program);
            // With an empty home there are no settings of a user.
            command.args(&arguments).env("HOME", &self.bench.local);
            self.turn(|| server.map_or(0.0, Daemon::cpu), &mut command)
        }))
    }

    /// Does the same with a server of the bench; the arguments are made of its address.
    fn peer_of(
        &'r self,
        is: &str,
        goals: &[Goal],
        program: &str,
        kind: Kind,
        arguments: impl Fn(SocketAddr) -> Vec<String>,
    ) -> Option<Peer<'r>> {
        let daemon = self.bench.daemon(kind)?;
        self.peer(is, goals, program, Some(daemon), arguments(daemon.address()))
    }
}

/// One large file.
pub(super) fn large(bench: &Bench<'_>, report: &mut Report) {
    let work = format!("program: get {} to a file", size_label(bench.options.mib));
    if !bench.options.wants(&work) {
        return;
    }
    let (faster, got) = ([Goal::RatioAtMost(1.0)], bench.local.join(LARGE));
    let to = got.display().to_string();
    let race = Race { bench, prepare: Box::new(|| {}), verify: Box::new(|| bench.content.check_and_remove(&got)) };
    let curl = |scheme: &'static str| {
        let to = to.clone();
        move |server| words(&["-sSf", "-o", &to, &format!("{scheme}://{server}/{LARGE}")])
    };
    let peers = [
        race.peer_of("curl from nginx", &faster, "curl", Kind::Nginx, curl("http")),
        race.peer_of("curl from vsftpd", &faster, "curl", Kind::Vsftpd, curl("ftp")),
        race.peer_of("lftp from vsftpd", &faster, "lftp", Kind::Vsftpd, |server| {
            lftp(server, &format!("get {LARGE} -o \"{to}\""))
        }),
        race.peer_of("rsync from its daemon", &faster, "rsync", Kind::Rsync, |server| {
            words(&["-t", &format!("rsync://{server}/root/{LARGE}"), &to])
        }),
        race.peer("cp", &[], "cp", None, words(&[&bench.content.path.display().to_string(), &to])),
    ];
    let client = Ferry::new();
    let mut ours = || {
        let command = client.get_one(&bench.local, bench.ferry.address(), LARGE);
        race.ferry(&bench.ferry, command)
    };
    compete(report, bench.options.rounds, &work, Unit::Seconds, &[], Some(&mut ours), flat(peers));
}

/// One large file by TLS, to this side.
pub(super) fn get_by_tls(bench: &Bench<'_>, secure: &Secure, report: &mut Report) {
    let work = format!("TLS: program: get {} to a file", size_label(bench.options.mib));
    let got = bench.local.join(LARGE);
    let to = got.display().to_string();
    let race = Race { bench, prepare: Box::new(|| {}), verify: Box::new(|| bench.content.check_and_remove(&got)) };
    let curl = |url: String| words(&[&CURL_TLS[..], &["-o", &to, &url]].concat());
    by_tls(&race, secure, report, &work, ("get", &bench.local, LARGE), curl);
}

/// One large file by TLS, to the other side.
pub(super) fn put_by_tls(bench: &Bench<'_>, secure: &Secure, report: &mut Report) {
    let work = format!("TLS: program: put {}, no fsync", size_label(bench.options.mib));
    let from = bench.local.join("source");
    fs::create_dir_all(&from).expect("room");
    let source = from.join(PUT);
    fs::hard_link(&bench.content.path, &source).expect("the same file system");
    let put = bench.root.join(PUT);
    let race = Race { bench, prepare: Box::new(|| {}), verify: Box::new(|| bench.content.check_and_remove(&put)) };
    let curl = |url: String| words(&[&CURL_TLS[..], &["-T", &source.display().to_string(), &url]].concat());
    by_tls(&race, secure, report, &work, ("put", &from, PUT), curl);
    fs::remove_file(&source).expect("a file of ours");
}

/// Ferry does `verb` with `name` in a directory, and curl does the same with what is at a URL.
fn by_tls(
    race: &Race<'_, '_>,
    secure: &Secure,
    report: &mut Report,
    work: &str,
    (verb, directory, name): (&str, &Path, &str),
    curl: impl Fn(String) -> Vec<String>,
) {
    let bench = race.bench;
    if !bench.options.wants(work) {
        return;
    }
    let faster = [Goal::RatioAtMost(1.0)];
    let peer = |is: &str, scheme: &str, daemon: &'_ Option<Daemon>| {
        let url = format!("{scheme}://{}/{name}", daemon.as_ref()?.address());
        Some((is.to_owned(), curl(url)))
    };
    let peers = [
        (peer("curl and nginx", "https", &secure.nginx), secure.nginx.as_ref()),
        (peer("curl and vsftpd", "ftp", &secure.vsftpd), secure.vsftpd.as_ref()),
    ];
    let peers = peers.into_iter().filter_map(|(peer, daemon)| {
        let (is, arguments) = peer?;
        race.peer(&is, &faster, "curl", daemon, arguments)
    });
    let client = Ferry::new();
    let mut ours = || {
        let words = ["--tls", "--accept-new", name];
        let mut command = client.command(verb, directory, secure.ferry.address(), &words);
        command.env("XDG_CONFIG_HOME", &bench.local);
        race.ferry(&secure.ferry, command)
    };
    compete(report, bench.options.rounds, work, Unit::Seconds, &[], Some(&mut ours), peers.collect());
}

/// A directory of small files, to this side.
pub(super) fn get_many(bench: &Bench<'_>, report: &mut Report) {
    let work = format!("program: get {} files of 4 KiB", bench.files.len());
    if !bench.options.wants(&work) {
        return;
    }
    let got = bench.local.join("got");
    let (from, to) = (bench.root.display().to_string(), got.display().to_string());
    let race = Race {
        bench,
        prepare: Box::new(|| fs::create_dir(&got).expect("room")),
        verify: Box::new(|| {
            // Some put the files themselves there, others the directory.
            let inside = got.join(MANY);
            check(if inside.exists() { &inside } else { &got }, &bench.files);
            bench.discard(&got);
        }),
    };
    let beside_rsync = [Goal::RatioAtMost(BESIDE_RSYNC)];
    let last = file_name(bench.files.len() - 1);
    let peers = [
        race.peer_of("rsync from its daemon", &beside_rsync, "rsync", Kind::Rsync, |server| {
            words(&["-rt", &format!("rsync://{server}/root/{MANY}/"), &to])
        }),
        race.peer_of("lftp mirror from vsftpd", &[], "lftp", Kind::Vsftpd, |server| {
            lftp(server, &format!("mirror {MANY} \"{to}\""))
        }),
        race.peer_of("lftp mirror, 8 connections", &[], "lftp", Kind::Vsftpd, |server| {
            lftp(server, &format!("mirror --parallel=8 {MANY} \"{to}\""))
        }),
        race.peer_of("curl -Z from nginx", &[], "curl", Kind::Nginx, |server| {
            let each = format!("http://{server}/{MANY}/[00000-{last}]");
            words(&["-sSfZ", "-o", &format!("{to}/#1"), &each])
        }),
        race.peer("tar to tar", &[], "sh", None, piped_tar(&from, MANY, &to)),
        race.peer("cp -r", &[], "cp", None, words(&["-r", &format!("{from}/{MANY}"), &to])),
    ];
    let client = Ferry::new();
    let mut ours = || {
        let command = client.command("get", &got, bench.ferry.address(), &["-r", MANY]);
        race.ferry(&bench.ferry, command)
    };
    let goals = [Goal::AtMost(MANY_SECONDS)];
    let ours = client.one_shot.then_some(&mut ours as &mut dyn FnMut() -> Sample);
    compete(report, bench.options.rounds, &work, Unit::Seconds, &goals, ours, flat(peers));
}

/// A directory of small files, to the other side, which does not sync them.
pub(super) fn put_many(bench: &Bench<'_>, report: &mut Report) {
    let work = format!("program: put {} files of 4 KiB, no fsync", bench.files.len());
    if !bench.options.wants(&work) {
        return;
    }
    let from = Source::new(bench);
    let put = bench.root.join(UP);
    let to = bench.root.display().to_string();
    let race = Race {
        bench,
        prepare: Box::new(|| {}),
        verify: Box::new(|| {
            check(&put, &bench.files);
            bench.discard(&put);
        }),
    };
    let peers = [
        race.peer_of("rsync to its daemon", &[Goal::RatioAtMost(1.0)], "rsync", Kind::Rsync, |server| {
            words(&["-rt", &from.many, &format!("rsync://{server}/root/")])
        }),
        race.peer_of("lftp mirror -R to vsftpd", &[], "lftp", Kind::Vsftpd, |server| {
            lftp(server, &format!("mirror -R --no-perms \"{}\" {UP}", from.many))
        }),
        race.peer_of("lftp mirror -R, 8 connections", &[], "lftp", Kind::Vsftpd, |server| {
            lftp(server, &format!("mirror -R --no-perms --parallel=8 \"{}\" {UP}", from.many))
        }),
        race.peer("tar to tar", &[], "sh", None, piped_tar(&from.above, UP, &to)),
        race.peer("cp -r", &[], "cp", None, words(&["-r", &from.many, &to])),
    ];
    let client = Ferry::new();
    let mut ours = || {
        let command = client.command("put", Path::new(&from.above), bench.ferry.address(), &["-r", UP]);
        race.ferry(&bench.ferry, command)
    };
    let ours = client.one_shot.then_some(&mut ours as &mut dyn FnMut() -> Sample);
    compete(report, bench.options.rounds, &work, Unit::Seconds, &[], ours, flat(peers));
}

/// Does the same onto the disk; ferry's are durable at the end.
pub(super) fn put_many_durably(bench: &Bench<'_>, report: &mut Report) {
    let work = format!("program: put {} files, durable, on the disk", bench.files.len());
    if !bench.options.wants(&work) {
        return;
    }
    let from = Source::new(bench);
    let root = bench.disk.directory("root");
    let put = root.join(UP);
    let to = root.display().to_string();
    let server = ferry_e2e::Options::new().root(&root).start();
    let rsync = Kind::Rsync.start(&bench.setup.helper, &root).and_then(Result::ok);
    let race = Race {
        bench,
        prepare: Box::new(|| sync(&root)),
        verify: Box::new(|| {
            check(&put, &bench.files);
            bench.put_aside(&put);
        }),
    };
    let with_rsync = |is: &str, goals: &[Goal], flags: &[&str]| {
        let daemon = rsync.as_ref()?;
        let target = format!("rsync://{}/root/", daemon.address());
        let arguments = words(&[flags, &[&from.many, &target]].concat());
        race.peer(is, goals, "rsync", Some(daemon), arguments)
    };
    let peers = [
        with_rsync("rsync, no fsync", &[Goal::RatioAtMost(DURABLE_BESIDE_RSYNC)], &["-rt"]),
        with_rsync("rsync --fsync", &[], &["-rt", "--fsync"]),
        race.peer("cp -r and sync -f", &[], "sh", None, {
            words(&["-c", "cp -r \"$0\" \"$1\" && sync -f \"$1\"", &from.many, &to])
        }),
    ];
    let client = Ferry::new();
    let mut ours = || {
        let command = client.command("put", Path::new(&from.above), server.address(), &["-r", UP]);
        race.ferry(&server, command)
    };
    let ours = client.one_shot.then_some(&mut ours as &mut dyn FnMut() -> Sample);
    compete(report, bench.options.rounds, &work, Unit::Seconds, &[], ours, flat(peers));
}

/// The files that are put, in a directory of this side.
struct Source {
    above: String,
    many: String,
}

impl Source {
    fn new(bench: &Bench<'_>) -> Source {
        let above = bench.local.join("source");
        let many = above.join(UP);
        if !many.exists() {
            fs::create_dir_all(&many).expect("room");
            for (index, file) in bench.files.iter().enumerate() {
                fs::write(many.join(file_name(index)), &file.content).expect("room");
            }
        }
        Source { above: above.display().to_string(), many: many.display().to_string() }
    }
}

impl Bench<'_> {
    /// Puts a directory out of the way. In memory it may as well be removed; on a disk see
    /// `small_files.rs`.
    fn discard(&self, directory: &Path) {
        if self.place == Path::new(MEMORY) {
            fs::remove_dir_all(directory).expect("a directory of ours");
        } else {
            self.put_aside(directory);
        }
    }

    fn put_aside(&self, directory: &Path) {
        let above = directory.ancestors().nth(2).expect("it lies beneath a workshop");
        let aside = tempfile::Builder::new().prefix("aside-").tempdir_in(above).expect("room").keep();
        fs::rename(directory, aside.join("it")).expect("the same file system");
    }
}

fn flat<'r, const N: usize>(peers: [Option<Peer<'r>>; N]) -> Vec<Peer<'r>> {
    peers.into_iter().flatten().collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn lftp(server: SocketAddr, command: &str) -> Vec<String> {
    let (host, port) = (server.ip(), server.port());
    words(&["-c", &format!("set cmd:fail-exit yes; open -u anonymous,nobody -p {port} {host}; {command}")])
}

fn piped_tar(above: &str, directory: &str, to: &str) -> Vec<String> {
    words(&["-c", "tar -C \"$0\" -cf - \"$1\" | tar -C \"$2\" -xf -", above, directory, to])
}
