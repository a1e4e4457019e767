//! Stands between a client and a server, counts what goes through, and cuts.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;

/// The bytes that are read at once: no more than that can be lost in the proxy itself.
const BUFFER_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the client.
    Down,
    /// To the server.
    Up,
}

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Both sides see its end behind what went through.
    End,
    /// Both sides see a reset, which may destroy what they have not read yet.
    Reset,
    /// Nothing more goes through, and nobody is told.
    Stall,
}

/// The next connection that is to be cut: behind so many bytes of one way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) way: Way,
    pub(crate) after: u64,
    pub(crate) manner: Manner,
}

#[derive(Debug, Default)]
struct Shared {
    /// For one connection each, in their order.
    cuts: Mutex<Vec<Cut>>,
    down: AtomicU64,
    up: AtomicU64,
    connections: AtomicU64,
    /// A feature that clients do not see in the greeting: as of an older server.
    hidden: Option<&'static str>,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    pub(crate) fn start(server: SocketAddr) -> Proxy {
        Proxy::hiding(None, server)
    }

    /// The same, of a server that seems not to have the feature `hidden`.
    pub(crate) fn hiding(hidden: Option<&'static str>, server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { hidden, ..Shared::default() });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(server) else { continue };
                of_thread.connections.fetch_add(1, Ordering::SeqCst);
                let mut cuts = of_thread.cuts.lock().unwrap();
                let cut = if cuts.is_empty() { None } else { Some(cuts.remove(0)) };
                drop(cuts);
                pass_on(&client, &server, cut, &of_thread);
            }
        });
        Proxy { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the next connections so, one each.
    pub(crate) fn cut(&self, cuts: &[Cut]) {
        self.shared.cuts.lock().unwrap().extend_from_slice(cuts);
    }

    /// Cuts none of the connections that are still to come.
    pub(crate) fn cut_no_more(&self) {
        self.shared.cuts.lock().unwrap().clear();
    }

    /// Bytes that went down and up, and connections, since the last call.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::SeqCst);
        (take(&self.shared.down), take(&self.shared.up), take(&self.shared.connections))
    }

    /// Waits until so many bytes went `way`.
    pub(crate) fn wait_for(&self, way: Way, bytes: u64) {
        let count = if way == Way::Down { &self.shared.down } else { &self.shared.up };
        ferry_e2e::eventually("bytes go through the proxy", || (count.load(Ordering::SeqCst) >= bytes).then_some(()));
    }

    /// Cuts that are still to come.
    pub(crate) fn cuts_left(&self) -> usize {
        self.shared.cuts.lock().unwrap().len()
    }
}

fn pass_on(client: &TcpStream, server: &TcpStream, cut: Option<Cut>, shared: &Arc<Shared>) {
    for way in [Way::Down, Way::Up] {
        let (from, to) = if way == Way::Down { (server, client) } else { (client, server) };
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let cut = cut.filter(|cut| cut.way == way);
        let shared = Arc::clone(shared);
        thread::spawn(move || copy(from, to, way, cut, &shared));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, way: Way, cut: Option<Cut>, shared: &Shared) {
    let count = if way == Way::Down { &shared.down } else { &shared.up };
    let mut left = cut.map_or(u64::MAX, |cut| cut.after);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hidden = shared.hidden.filter(|_| way == Way::Down);
    while left > 0 {
        let room = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
        let got = match from.read(&mut buffer[..room]) {
            Ok(got) if got > 0 => got,
            _ => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        };
        count.fetch_add(got as u64, Ordering::SeqCst);
        // The greeting comes as a whole.
        if let Some(word) = hidden.take()
            && let Some(at) = buffer[..got].windows(word.len()).position(|window| window == word.as_bytes())
        {
            buffer[at..at + word.len()].fill(b'x');
        }
        if to.write_all(&buffer[..got]).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
        left -= got as u64;
    }
    match cut.map(|cut| cut.manner) {
        Some(Manner::Stall) => loop {
            thread::park();
        },
        Some(Manner::Reset) => {
            for stream in [&from, &to] {
                let _ = set_socket_linger(stream, Some(Duration::ZERO));
                // It wakes the other thread; the last close is the reset.
                let _ = stream.shutdown(Shutdown::Read);
            }
        }
        _ => {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        }
    }
}
