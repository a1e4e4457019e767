//! The limits that the benches hold ferry against: the barest loops that move a file over a socket.
//! They check nothing, name nothing and serve one connection after the other.
//!
//!     raw-limit send FILE                 sendfile of FILE to whoever connects
//!     raw-limit receive FILE              what comes goes into FILE, then one line says how much
//!     raw-limit receive-and-sync FILE     the same, and FILE is on the disk before the line
//!
//! The first line of its output is the address that it listens on; it ends when its input does.
#![forbid(unsafe_code)]

use std::{
    env,
    fs::File,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process, thread,
};

/// Of the loop that reads and writes.
const BUFFER_BYTES: usize = 1 << 20;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [verb, file] = arguments.as_slice() else { return Err(usage()) };
    let file = Path::new(file);

    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?);
    thread::spawn(end_with_the_parent);

    match verb.to_str() {
        Some("send") => {
            let file = File::open(file)?;
            each(&listener, |socket| send(&socket, &file))
        }
        Some("receive") => each(&listener, |socket| receive(socket, file, false)),
        Some("receive-and-sync") => each(&listener, |socket| receive(socket, file, true)),
        _ => Err(usage()),
    }
}

fn usage() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "raw-limit send|receive|receive-and-sync FILE")
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
