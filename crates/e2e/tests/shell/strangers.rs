//! Strangers that may listen on a port in place of a ferry server.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    mem::forget,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use ferry_e2e::HANG_GUARD;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

/// Serves each connection in a thread of its own until the test ends; gives the port.
fn serve(service: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let service = service.clone();
            thread::spawn(move || service(stream.unwrap()));
        }
    });
    port
}

/// Waits until the client has gone. How it goes is its own business.
fn until_closed(mut stream: &TcpStream) {
    while matches!(stream.read(&mut [0; 4096]), Ok(read) if read > 0) {}
}

/// A port where nobody listens, nor can: until this program ends it is taken by a socket that does not.
pub(crate) fn port_of_nobody() -> u16 {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
    forget(socket);
    address.port()
}

/// Waits for a request and finds it bad, as a web server does.
pub(crate) fn http() -> u16 {
    serve(|mut stream| {
        let mut line = String::new();
        let _ = BufReader::new(&stream).read_line(&mut line);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    })
}

/// Says what it is told.
pub(crate) fn echo() -> u16 {
    serve(|stream| {
        let _ = std::io::copy(&mut &stream, &mut &stream);
    })
}

/// Takes connections and says nothing.
pub(crate) fn silent() -> u16 {
    serve(|stream| until_closed(&stream))
}

/// A ferry server all of whose words would drive a terminal.
pub(crate) fn loud() -> u16 {
    const LOUD: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{7f}\r";
    serve(|mut stream| {
        let _ = stream.write_all(format!("FERRY 1 loud{LOUD}/1 {LOUD}feature\n").as_bytes());
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let answer = match line {
                Ok(line) if line == "CLOSE" => "BYE\n".to_owned(),
                Ok(_) => format!("FAIL {LOUD} {LOUD}\n"),
                Err(_) => return,
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    })
}

/// A ferry server that stops in the middle of each file.
pub(crate) struct Slow {
    pub(crate) port: u16,
    began: Receiver<()>,
}

impl Slow {
    /// Waits until a GET has been answered as far as it ever will be.
    pub(crate) fn wait_for_get(&self) {
        self.began.recv_timeout(HANG_GUARD).expect("the client asks for a file");
    }
}

/// A ferry server that stops for good at the first STAT, and takes connections without a word from then on.
pub(crate) struct Stopping {
    pub(crate) port: u16,
    stopped: Receiver<()>,
}

impl Stopping {
    /// Waits until it has stopped.
    pub(crate) fn wait(&self) {
        self.stopped.recv_timeout(HANG_GUARD).expect("the client asks for something");
    }
}

pub(crate) fn stopping() -> Stopping {
    let (tell, stopped) = channel();
    let is_stopped = Arc::new(AtomicBool::new(false));
    let port = serve(move |mut stream| {
        if !is_stopped.load(Ordering::SeqCst) {
            let _ = stream.write_all(b"FERRY 1 stopping/1\n");
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            if line.starts_with("STAT ") {
                is_stopped.store(true, Ordering::SeqCst);
                let _ = tell.send(());
            }
        }
        until_closed(&stream);
    });
    Stopping { port, stopped }
}

pub(crate) fn slow() -> Slow {
    let (begin, began) = channel();
    let port = serve(move |stream| answer_half(&stream, &begin));
    Slow { port, began }
}

fn answer_half(mut stream: &TcpStream, begin: &Sender<()>) {
    let _ = stream.write_all(b"FERRY 1 slow/1\n");
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    if line.starts_with("GET ") {
        let _ = stream.write_all(b"FILE 1000000 1700000000 tag\nDATA 1000\nonly the beginning");
        let _ = begin.send(());
    }
    until_closed(stream);
}
