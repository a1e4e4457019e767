//! The limits that the benches hold ferry against: the barest loops that move a file over a socket.
//! They check nothing, name nothing and serve one connection after the other. Each is a process of its
//! own, so that its CPU time is read as the server's is.
//!
//! ```text
//! --raw-limit send FILE                   sends FILE with sendfile to each client
//! --raw-limit receive FILE [sync]         writes the bytes of each client to FILE
//! --raw-limit send-each DIR               opens, reads, closes and sends every file of DIR
//! --raw-limit open-each DIR               opens, reads and closes every file of DIR; says how many bytes those are
//! --raw-limit receive-each DIR [sync]     writes every 4 KiB that come to a file of their own in DIR
//! --raw-limit greet                       sends each client a line
//! ```
//!
//! A receiver says in one line how many bytes came, with `sync` when they are on the disk. The first line
//! of output is the address that the helper listens on. It ends when its standard input does.
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
};

/// The first argument of such a process.
pub(super) const ARGUMENT: &str = "--raw-limit";

/// Of the loop that reads and writes.
const BUFFER_BYTES: usize = 1 << 20;

/// Of a small file.
const SMALL_BYTES: usize = 4096;

/// A running process of the barest loops, killed when dropped.
#[derive(Debug)]
pub struct RawLimit {
    child: Child,
    address: SocketAddr,
}

impl RawLimit {
    /// Starts the bare sendfile loop, which sends `file` to everybody who connects.
    ///
    /// # Panics
    ///
    /// Panics where it doesn't start.
    #[must_use]
    pub fn send(helper: &Path, file: &Path) -> RawLimit {
        RawLimit::start(helper, &["send".as_ref(), file.as_os_str()])
    }

    /// Starts the bare read-and-write loop: the bytes of a connection go into `file`, which must
    /// not be there yet, and to the disk if `sync`.
    ///
    /// # Panics
    ///
    /// Panics where it doesn't start.
    #[must_use]
    pub fn receive(helper: &Path, file: &Path, sync: bool) -> RawLimit {
        RawLimit::start(helper, &["receive".as_ref(), file.as_os_str(), sync_word(sync)])
    }

    /// Opens, reads and closes every file of `directory` for each client.
    ///
    /// # Panics
    ///
    /// Panics where it doesn't start.
    #[must_use]
    pub fn send_each(helper: &Path, directory: &Path) -> RawLimit {
        RawLimit::start(helper, &["send-each".as_ref(), directory.as_os_str()])
    }

    /// Opens, reads and closes every file of `directory` for each client, and says how many bytes
    /// those were.
    ///
    /// # Panics
    ///
    /// Panics where it doesn't start.
    #[must_use]
    pub fn open_each(helper: &Path, directory: &Path) -> RawLimit {
        RawLimit::start(helper, &["open-each".as_ref(), directory.as_os_str()])
    }

    /// Makes a file in `directory`, which must be empty, of every 4 KiB that a connection brings;
    /// all are on the disk at the end if `sync`.
    ///
    /// # Panics
    ///
    /// Panics where it doesn't start.
    #[must_use]
    pub fn receive_each(helper: &Path, directory: &Path, sync: bool) -> RawLimit {
        RawLimit::start(helper, &["receive-each".as_ref(), directory.as_os_str(), sync_word(sync)])
    }

    /// Accepts, sends a greeting and closes.
    ///
    /// # Panics
    ///
    /// Panics where it doesn't start.
    #[must_use]
    pub fn greet(helper: &Path) -> RawLimit {
        RawLimit::start(helper, &["greet".as_ref()])
    }

    fn start(helper: &Path, arguments: &[&OsStr]) -> RawLimit {
        // It ends by itself at the end of its standard input, should this process die.
        let spawned =
            Command::new(helper).arg(ARGUMENT).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{}: {error}", helper.display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its output");
        let address = line.trim_end().parse().unwrap_or_else(|_| panic!("{} says {line:?}", helper.display()));
        RawLimit { child, address }
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for RawLimit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sync_word(sync: bool) -> &'static OsStr {
    if sync { "sync" } else { "no-sync" }.as_ref()
}

/// Runs the loop that `words` names, until standard input ends.
pub(super) fn main(words: impl Iterator<Item = OsString>) -> io::Result<()> {
    let words: Vec<_> = words.collect();
    let mut words = words.iter();
    let verb = words.next().and_then(|verb| verb.to_str()).unwrap_or_default();
    let path = Path::new(words.next().map_or_else(Default::default, |path| path.as_os_str()));
    let sync = words.next().is_some_and(|word| word == "sync");

    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?);
    thread::spawn(end_with_the_parent);

    match verb {
        "send" => {
            let file = File::open(path)?;
            each(&listener, |socket| send(&socket, &file))
        }
        "receive" => each(&listener, |socket| receive(socket, path, sync)),
        "send-each" => {
            let paths = paths(path)?;
            each(&listener, |socket| send_each(socket, &paths))
        }
        "open-each" => {
            let paths = paths(path)?;
            each(&listener, |socket| open_each(socket, &paths))
        }
        "receive-each" => each(&listener, |socket| receive_each(socket, path, sync)),
        "greet" => each(&listener, |mut socket| socket.write_all(b"FERRY 1 nothing/0\n")),
        _ => Err(usage()),
    }
}

fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

fn usage() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "--raw-limit VERB [PATH [sync]]")
}

fn end_with_the_parent() {
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    process::exit(0)
}

fn each(listener: &TcpListener, serve: impl Fn(TcpStream) -> io::Result<()>) -> io::Result<()> {
    loop {
        serve(listener.accept()?.0)?;
    }
}

fn send(socket: &TcpStream, file: &File) -> io::Result<()> {
    let size = file.metadata()?.len();
    let mut offset = 0;
    while offset < size {
        let left = usize::try_from(size - offset).unwrap_or(usize::MAX);
        if rustix::fs::sendfile(socket, file, Some(&mut offset), left)? == 0 {
            return Err(io::Error::other("the file shrank"));
        }
    }
    Ok(())
}

fn receive(mut socket: TcpStream, path: &Path, sync: bool) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        let bytes = socket.read(&mut buffer)?;
        if bytes == 0 {
            break;
        }
        file.write_all(&buffer[..bytes])?;
        total += bytes;
    }
    if sync {
        file.sync_all()?;
        let directory = path.parent().ok_or_else(usage)?;
        File::open(directory)?.sync_all()?;
    }
    writeln!(socket, "{total}")
}

/// As many files go to the socket in one write as the buffer holds.
fn send_each(mut socket: TcpStream, paths: &[PathBuf]) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    for path in paths {
        if BUFFER_BYTES - filled < SMALL_BYTES {
            socket.write_all(&buffer[..filled])?;
            filled = 0;
        }
        filled += File::open(path)?.read(&mut buffer[filled..filled + SMALL_BYTES])?;
    }
    socket.write_all(&buffer[..filled])
}

fn open_each(mut socket: TcpStream, paths: &[PathBuf]) -> io::Result<()> {
    let mut buffer = [0; SMALL_BYTES];
    let mut total = 0;
    for path in paths {
        total += File::open(path)?.read(&mut buffer)?;
    }
    writeln!(socket, "{total}")
}

fn receive_each(mut socket: TcpStream, directory: &Path, sync: bool) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut filled, mut total, mut count) = (0, 0, 0);
    loop {
        let bytes = socket.read(&mut buffer[filled..])?;
        filled += bytes;
        total += bytes;
        let whole = if bytes == 0 { filled } else { filled - filled % SMALL_BYTES };
        for content in buffer[..whole].chunks(SMALL_BYTES) {
            File::create_new(directory.join(format!("{count:05}")))?.write_all(content)?;
            count += 1;
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        if bytes == 0 {
            break;
        }
    }
    if sync {
        rustix::fs::syncfs(File::open(directory)?)?;
    }
    writeln!(socket, "{total}")
}
