//! The limits that the benches hold ferry against: the barest loops that move a file over a socket.
//! They check nothing, name nothing and serve one connection after the other.
//!
//!     raw-limit send FILE              sendfile of FILE to whoever connects
//!     raw-limit receive FILE [sync]    what comes goes into FILE
//!     raw-limit send-each DIR          every file of DIR: open, read, close, and on to the socket
//!     raw-limit open-each DIR          every file of DIR: open, read, close; says how many bytes those are
//!     raw-limit receive-each DIR [sync]
//!                                      every 4 KiB that come go into a file of their own in DIR
//!     raw-limit greet                  a line to whoever connects
//!
//! What receives says in one line how many bytes came, with `sync` when they are on the disk.
//! The first line of its output is the address that it listens on; it ends when its input does.
#![forbid(unsafe_code)]

use std::{
    env,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process, thread,
};

/// Of the loop that reads and writes.
const BUFFER_BYTES: usize = 1 << 20;

/// Of a small file.
const SMALL_BYTES: usize = 4096;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let mut arguments = arguments.iter();
    let verb = arguments.next().and_then(|verb| verb.to_str()).unwrap_or_default();
    let path = Path::new(arguments.next().map_or_else(Default::default, |path| path.as_os_str()));
    let sync = arguments.next().is_some_and(|word| word == "sync");

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
    io::Error::new(io::ErrorKind::InvalidInput, "raw-limit VERB [PATH [sync]]")
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
