//! A server with a root that is worth attacking, and what must hold of it whatever was done.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::symlink,
    path::PathBuf,
};

use ferry_e2e::{Figures, Frail, HANG_GUARD, Options, Raw, Server, Socket, gist};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    net::{AddressFamily, SocketType, bind, connect, socket, sockopt},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tempfile::TempDir;

/// The content of a file outside the root, which no client may ever see.
pub(crate) const SECRET: &[u8] = b"nobody may read this";

/// The entries of the root, before and after.
const VISIBLE: [&str; 6] = ["a", "big", "d", "dlink", "fifo", "link"];

/// The memory that stays allocated after many clients: crumbs of the allocator, no buffer for each of them.
const RESERVE_BYTES: u64 = 4 << 20;

/// A file too large to be sent from memory.
const WARMING_BYTES: usize = 100_000;

/// The server and its surroundings.
pub(crate) struct Ground {
    pub(crate) server: Server,
    pub(crate) idle: Figures,
    outside: TempDir,
}

impl Ground {
    /// Starts a server with `options` (`--option value` pairs in one text) over a root of a file `a`, a
    /// directory `d`, links that lead out, a FIFO, and `big`, which no socket buffer holds.
    pub(crate) fn start(options: &str) -> Ground {
        // What counts is what the server holds, not what the allocator keeps in reserve of what was freed.
        let tunables = "glibc.malloc.mmap_threshold=4096:glibc.malloc.trim_threshold=4096:glibc.malloc.arena_max=1";
        let mut start = Options::new().env("GLIBC_TUNABLES", tunables);
        for word in options.split_whitespace() {
            start = start.arg(word);
        }
        let (server, outside) = (start.start(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), SECRET).unwrap();
        let idle = server.figures();
        let mut ground = Ground { server, idle, outside };
        ground.fill();
        ground.idle = ground.warmed_up();
        ground
    }

    /// Returns the server's figures when it has worked once: its helpers and their buffers are there.
    fn warmed_up(&self) -> Figures {
        let mut raw = Raw::greeted(self.server.address());
        let listening = self.server.figures().descriptors - 1;
        assert_eq!(raw.put("new", &[7; WARMING_BYTES]).word(0), "SAVED");
        assert_eq!(raw.ask("GET new").verified().len(), WARMING_BYTES);
        assert_eq!(raw.ask("LIST").verified().last(), Some(&b'\n'));
        assert_eq!(raw.ask("DELETE new").line, "DONE");
        assert_eq!(raw.ask("CLOSE").line, "BYE");
        drop(raw);
        self.server.settles("the first client is gone", |figures| figures.descriptors <= listening)
    }

    /// Panics unless a fresh client is served, whatever happened before.
    #[track_caller]
    pub(crate) fn serves(&self) {
        let mut raw = Raw::greeted(self.server.address());
        assert_eq!(raw.ask("GET a").verified(), b"hello");
    }

    /// Removes what hostile clients were allowed to make (all that is called `new...`); what is left
    /// must be as it was.
    #[track_caller]
    pub(crate) fn is_unharmed(&self) {
        // What a client asked for that is gone by now may still be done, and undone.
        ferry_e2e::eventually("the root is as it was", || {
            let visible = self.server.visible();
            if visible == VISIBLE {
                return Some(());
            }
            let mut raw = Raw::greeted(self.server.address());
            for name in visible.iter().filter(|name| name.starts_with("new")) {
                raw.ask(&format!("DELETE {name}"));
            }
            None
        });
        assert_eq!(self.server.read("a"), b"hello");
        assert_eq!(self.server.read("d/in"), b"inside");
        assert_eq!(fs::read_dir(self.server.path("d")).unwrap().count(), 2);
        assert_eq!(fs::read(self.outside.path().join("secret")).unwrap(), SECRET);
        assert_eq!(fs::read_dir(self.outside.path()).unwrap().count(), 1);
    }

    /// Puts back what clients were free to change or take away, and removes what they made.
    pub(crate) fn is_put_right(&self) {
        // What a client asked for that is gone by now may still be done: names come and go meanwhile.
        ferry_e2e::eventually("the root is empty, and stays so", || {
            let visible = self.server.visible();
            for name in &visible {
                let path = self.server.path(name);
                let is_dir = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
                let _ = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            }
            // Behind the changes that were under way.
            let mut raw = Raw::greeted(self.server.address());
            raw.ask("MKDIR new");
            raw.ask("DELETE new");
            (visible.is_empty() && self.server.visible().is_empty()).then_some(())
        });
        self.fill();
    }

    fn fill(&self) {
        let server = &self.server;
        server.write("a", b"hello");
        server.write("d/in", b"inside");
        fs::create_dir(server.path("d/e")).unwrap();
        fs::File::create(server.path("big")).unwrap().set_len(64 << 20).unwrap();
        symlink(self.outside.path().join("secret"), server.path("link")).unwrap();
        symlink(self.outside.path(), server.path("dlink")).unwrap();
        mknodat(CWD, server.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    /// Returns the files that the running server stages now.
    pub(crate) fn staged(&self) -> Vec<PathBuf> {
        let corner = fs::read_dir(self.server.path(".ferry")).unwrap().map(|entry| entry.unwrap());
        let runs = corner.filter(|entry| entry.file_name().to_string_lossy().starts_with("run-"));
        let staged = runs.flat_map(|run| fs::read_dir(run.path()).unwrap()).map(|entry| entry.unwrap().path());
        staged.filter(|path| !path.ends_with("lock")).collect()
    }

    /// Panics unless the server comes back to what it used before anybody came, and says so.
    #[track_caller]
    pub(crate) fn ends_as_it_began(self) {
        self.serves();
        self.is_unharmed();
        let idle = self.idle;
        let what = format!("descriptors, threads and memory are back at the idle level, {idle:?}");
        let after = self.server.settles(&what, |figures| {
            figures.descriptors <= idle.descriptors
                && figures.threads <= idle.threads
                && figures.anonymous_bytes <= idle.anonymous_bytes + RESERVE_BYTES
        });
        println!(
            "idle before and after: descriptors {} {}, threads {} {}, anonymous KiB {} {}, peak resident KiB {}",
            idle.descriptors,
            after.descriptors,
            idle.threads,
            after.threads,
            idle.anonymous_bytes >> 10,
            after.anonymous_bytes >> 10,
            after.peak_resident_bytes >> 10
        );
        ferry_e2e::eventually("nothing is staged", || self.staged().is_empty().then_some(()));
        self.says_nothing_of_a_mistake();
    }

    /// Panics if the server has panicked, or says that it made a mistake.
    #[track_caller]
    pub(crate) fn says_nothing_of_a_mistake(&self) {
        let log = self.server.log();
        for word in ["panicked", "mistake", "could not be removed"] {
            assert!(!log.contains(word), "{word:?} in the log:\n{log}");
        }
        assert!(!log.chars().any(|character| character.is_control() && character != '\n'), "control characters logged");
    }
}

/// How a hostile client ends what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It shuts down its sending side and reads on.
    HalfClose,
    /// It waits until the server closes.
    Wait,
    /// It reads this many lines, then resets the connection.
    ResetAfter(usize),
}

/// Sends `sent` and reads what the server says meanwhile; gives the gist of its lines behind the
/// greeting.
pub(crate) fn dialogue(server: &Server, sent: &[u8], ending: Ending) -> Vec<String> {
    let mut frail = Frail::greeted(server.address()).expect("the server greets");
    let mut writing = frail.socket().try_clone().expect("a descriptor");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write as _;
            // The server may close in the middle.
            let _ = writing.write_all(sent);
            if ending == Ending::HalfClose {
                let _ = writing.shutdown(std::net::Shutdown::Write);
            }
        });
        if let Ending::ResetAfter(lines) = ending {
            let said = (0..lines).map(|_| gist(&frail.line().expect("a line before the reset"))).collect();
            let _ = frail.reset();
            return said;
        }
        let said = frail.to_eof().expect("the server says all it has to say, then closes");
        String::from_utf8_lossy(&said).lines().map(gist).collect()
    })
}

/// Connects a client whose buffers are as small as can be, from `source` where that is given.
pub(crate) fn narrow(server: &Server, source: Option<SocketAddr>) -> Socket {
    with_buffers(server, source, 4 << 10)
}

/// The same with buffers that are asked for with so many bytes.
pub(crate) fn with_buffers(server: &Server, source: Option<SocketAddr>, bytes: usize) -> Socket {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_recv_buffer_size(&socket, bytes).expect("a small buffer");
    sockopt::set_socket_send_buffer_size(&socket, bytes).expect("a small buffer");
    if let Some(source) = source {
        bind(&socket, &source).expect("an address of the loopback interface");
    }
    connect(&socket, &server.address()).expect("the server listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(HANG_GUARD)).unwrap();
    stream.set_write_timeout(Some(HANG_GUARD)).unwrap();
    Socket::over(stream)
}

/// Lets this process have as many descriptors as the system gives it.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
