//! A `ferryd` of a test's own.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, geteuid, kill_process, pidfd_open},
};
use tempfile::TempDir;

pub use rustix::process::Signal;

use crate::{Figures, HANG_GUARD, PAUSE, eventually, ferryd, secure};

/// How long a server that was killed is waited for.
const DYING: Duration = Duration::from_secs(5);

/// How a [`Server`] is to be started.
#[derive(Debug, Clone)]
pub struct Options {
    address: String,
    root: Option<PathBuf>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    first: Option<String>,
    stdin: Option<Arc<OwnedFd>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            address: "127.0.0.1:0".into(),
            root: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            first: None,
            stdin: None,
        }
    }
}

impl Options {
    /// A free port of the loopback interface and an empty directory as the root.
    #[must_use]
    pub fn new() -> Options {
        Options::default()
    }

    /// Listens on `address`, as `ferryd` takes it on its command line.
    #[must_use]
    pub fn address(mut self, address: &str) -> Options {
        self.address = address.into();
        self
    }

    /// Serves `root`, which is not removed afterwards.
    #[must_use]
    pub fn root(mut self, root: &Path) -> Options {
        self.root = Some(root.into());
        self
    }

    /// Adds an option of `ferryd`, or its value.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Options {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Options {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Has a shell do `first` before it turns into the server: `ulimit -f 100`, say.
    #[must_use]
    pub fn behind(mut self, first: &str) -> Options {
        self.first = Some(first.into());
        self
    }

    /// Has permissions hold for the server also if this is root. [`None`], with a printed word, where that can't be had.
    #[must_use]
    pub fn powerless(self) -> Option<Options> {
        if !geteuid().is_root() {
            return Some(self);
        }
        let can = Command::new("setpriv").args(POWERLESS).arg("true").stderr(Stdio::null()).status();
        if !can.is_ok_and(|status| status.success()) {
            eprintln!("skipped: permissions don't hold for root, and there is no setpriv here");
            return None;
        }
        Some(self.behind(&format!("exec setpriv {} \"$0\" \"$@\"", POWERLESS.join(" "))))
    }

    /// Passes `socket` as the standard input.
    #[must_use]
    pub fn stdin(mut self, socket: OwnedFd) -> Options {
        self.stdin = Some(Arc::new(socket));
        self
    }

    fn command(&self) -> Command {
        let Some(first) = &self.first else { return Command::new(ferryd()) };
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{first} && exec \"$0\" \"$@\"")]).arg(ferryd());
        shell
    }

    /// Starts the server.
    ///
    /// # Panics
    ///
    /// Panics if it does not name its address.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Server {
        Server::start_with(self)
    }
}

/// The options of setpriv(1) by which root is a user as any other, as far as permissions go.
const POWERLESS: [&str; 1] = ["--bounding-set=-dac_override,-dac_read_search"];

/// Returns a command that runs `program` so that permissions hold for it also if this is root: see [`Options::powerless`].
#[must_use]
pub fn powerless(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(POWERLESS).arg(program);
    command
}

/// A running `ferryd`, killed when dropped. Its root and its log lie in a temporary directory.
#[derive(Debug)]
pub struct Server {
    child: Child,
    first_line: String,
    address: SocketAddr,
    root: PathBuf,
    /// Holds `root` (unless that was given) and what the server writes to its standard error.
    scratch: TempDir,
}

impl Server {
    /// A server of an empty directory on a free port.
    ///
    /// # Panics
    ///
    /// Panics if it does not name its address.
    #[must_use]
    #[track_caller]
    pub fn start() -> Server {
        Server::start_with(Options::new())
    }

    #[track_caller]
    fn start_with(options: Options) -> Server {
        let scratch = tempfile::Builder::new().prefix("ferry-e2e-").tempdir().expect("a temporary directory");
        let root = options.root.clone().unwrap_or_else(|| scratch.path().join("root"));
        fs::create_dir_all(&root).expect("a root");
        let log = fs::File::create(scratch.path().join("stderr")).expect("a file for the log");
        let run = scratch.path().join("run");
        fs::DirBuilder::new().mode(0o700).create(&run).expect("a runtime directory");
        let stdin = options.stdin.as_ref().map(|socket| socket.try_clone().expect("a descriptor").into());
        let stdin = stdin.unwrap_or_else(Stdio::null);
        // A test's own --tls or --plain goes before.
        let is_told = options.arguments.iter().any(|argument| argument == "--tls" || argument == "--plain");
        let (secured, state) = if secure::is_asked_for() && !is_told {
            (&["--tls"][..], secure::state())
        } else {
            (&[][..], scratch.path().join("state"))
        };
        let mut child = options
            .command()
            .args(["--root".as_ref(), root.as_os_str()])
            .args(secured)
            // Neither its key nor its configuration may be that of the person who runs the tests.
            .env("STATE_DIRECTORY", state)
            .env("CONFIGURATION_DIRECTORY", scratch.path().join("config"))
            .args(&options.arguments)
            .arg(&options.address)
            // Its control socket must not be where that of a server of this machine is.
            .env("RUNTIME_DIRECTORY", &run)
            .envs(options.environment)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("ferryd runs");
        let first_line = first_line(&mut child);
        let address = first_line.as_deref().and_then(listening_on);
        let mut server = Server {
            child,
            first_line: first_line.clone().unwrap_or_default(),
            address: address.unwrap_or_else(|| SocketAddr::from(([0; 4], 0))),
            root,
            scratch,
        };
        if address.is_none() {
            let _ = server.child.kill();
            panic!("ferryd does not say where it listens, but {first_line:?} and: {}", server.log());
        }
        server
    }

    /// Where it listens, as a client on this machine reaches it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        address
    }

    /// The URL at which it serves HTTP, without a slash at its end, and the address there.
    ///
    /// # Panics
    ///
    /// Panics if it serves none.
    #[must_use]
    #[track_caller]
    pub fn http(&self) -> (String, SocketAddr) {
        eventually("HTTP is served", || {
            let log = self.log();
            let url = log.lines().find_map(|line| line.split_once("HTTP is served at ")?.1.strip_suffix('/'))?;
            let address = url.rsplit_once('/')?.1.parse().ok()?;
            Some((url.to_owned(), address))
        })
    }

    /// The first line that it printed.
    #[must_use]
    pub fn first_line(&self) -> &str {
        &self.first_line
    }

    /// The fingerprint of its key, as its first line names it.
    ///
    /// # Panics
    ///
    /// Panics if it speaks no TLS.
    #[must_use]
    #[track_caller]
    pub fn fingerprint(&self) -> &str {
        let key = self.first_line.rsplit_once(" (TLS, key ").and_then(|(_, key)| key.strip_suffix(')'));
        key.unwrap_or_else(|| panic!("no TLS: {:?}", self.first_line))
    }

    /// The directory for its key.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Its control socket, where no option says otherwise.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.scratch.path().join(format!("run/{}.sock", self.address.port()))
    }

    /// Runs `ferryd COMMAND --control SOCKET`, with the socket of this server.
    ///
    /// # Panics
    ///
    /// Panics if `ferryd` does not run.
    #[track_caller]
    pub fn command(&self, command: &[&str]) -> Output {
        let mut asking = Command::new(ferryd());
        asking.args(command).arg("--control").arg(self.control()).stdin(Stdio::null());
        asking.output().expect("ferryd runs")
    }

    /// The directory that it serves.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of `name` beneath the root.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Puts a file beneath the root, behind the server's back, with the directories above it.
    ///
    /// # Panics
    ///
    /// Panics if it can't be written.
    #[track_caller]
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("beneath the root")).expect("directories");
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Reads a file beneath the root, behind the server's back.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    #[must_use]
    #[track_caller]
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The names beneath the root that a person would see, sorted: all but the server's own, which
    /// begin with `.ferry`.
    ///
    /// # Panics
    ///
    /// Panics if the root can't be read.
    #[must_use]
    #[track_caller]
    pub fn visible(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).expect("a root");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        let mut names: Vec<String> = names.filter(|name| !name.starts_with(".ferry")).collect();
        names.sort();
        names
    }

    /// Returns all that it has written to its standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.scratch.path().join("stderr"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the figures of its process as they are now.
    ///
    /// # Panics
    ///
    /// Panics if it has ended.
    #[must_use]
    #[track_caller]
    pub fn figures(&self) -> Figures {
        Figures::of(self.pid())
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// Panics if it has ended.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(self.as_pid(), signal).expect("the server runs");
    }

    /// Stops it, and waits until it stands still: it does nothing more until SIGCONT.
    ///
    /// # Panics
    ///
    /// Panics if it does not stop.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        crate::eventually("the server stands still", || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
            status.contains("State:\tT").then_some(())
        });
    }

    /// Waits until it ends.
    ///
    /// # Panics
    ///
    /// Panics if it does not.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        assert!(self.ends_within(HANG_GUARD), "the server has not ended; it says: {}", self.log());
        self.child.wait().expect("a child")
    }

    fn ends_within(&self, time: Duration) -> bool {
        // The child stays a zombie until it is waited for, so its id can't be another's by now.
        let pidfd = pidfd_open(self.as_pid(), PidfdFlags::empty()).expect("a descriptor of the process");
        let timeout = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).expect("poll works") == 1
    }

    /// Asks it to end with SIGTERM and waits.
    ///
    /// # Panics
    ///
    /// Panics if it does not end.
    #[track_caller]
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until what it uses is as `fits` says: descriptors are closed and memory is given back
    /// some time after a client has gone.
    ///
    /// # Panics
    ///
    /// With `what` if it never is.
    #[track_caller]
    pub fn settles(&self, what: &str, fits: impl Fn(&Figures) -> bool) -> Figures {
        let deadline = Instant::now() + HANG_GUARD;
        loop {
            let figures = self.figures();
            if fits(&figures) {
                return figures;
            }
            assert!(Instant::now() < deadline, "gave up waiting: {what}; now {figures:?}");
            thread::sleep(PAUSE);
        }
    }

    fn as_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // Not for ever: a thread of it may wait for a file system that this test keeps from answering.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) && self.ends_within(DYING) {
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("ferryd at {} said:\n{}", self.address, self.log());
        }
    }
}

/// The first line of the child's output; [`None`] where it closes that before. The rest is read and
/// dropped for as long as the child runs, so that it never waits for a reader.
fn first_line(child: &mut Child) -> Option<String> {
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let (say, said) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let _ = output.read_line(&mut line);
        let _ = say.send(line.trim_end_matches('\n').to_owned());
        let _ = std::io::copy(&mut output, &mut std::io::sink());
    });
    said.recv_timeout(HANG_GUARD).ok().filter(|line| !line.is_empty())
}

/// The address in `listening on ADDRESS, serving ROOT`.
fn listening_on(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on ")?.split_once(", serving ")?.0.parse().ok()
}
