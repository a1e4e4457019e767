//! Stands between a client and a server, and does something to one of them in the middle of a run.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    net::sockopt::set_socket_linger,
    process::{Pid, Signal, kill_process},
};

/// Small, so that something can happen between any two pieces.
const BUFFER_BYTES: usize = 16 << 10;

/// A thing that happens.
pub(crate) enum Act {
    /// The connection ends, or is reset.
    Cut { reset: bool },
    /// The client gets this signal.
    Signal(Signal),
    /// The server's answer to the first change after that point is lost, and the connection with it.
    LoseAnswer,
    /// Somebody changes the trees.
    Change(Box<dyn FnOnce() + Send>),
}

/// One thing that happens on the next connection, or on one after it, behind so many bytes of one way.
pub(crate) struct Disturbance {
    pub(crate) skipped: u64,
    pub(crate) down: bool,
    pub(crate) after: u64,
    pub(crate) act: Act,
}

#[derive(Default)]
struct Shared {
    next: Mutex<Option<(u64, Disturbance)>>,
    client: AtomicI32,
    happened: AtomicBool,
    /// The run that is under way: what was meant for another one happens no more.
    run: Mutex<u64>,
}

impl Shared {
    /// Takes what is to happen on the connection that has just come.
    fn disturbance(&self) -> Option<(u64, Disturbance)> {
        let mut next = self.next.lock().unwrap();
        match next.as_mut() {
            Some((_, Disturbance { skipped, .. })) if *skipped > 0 => {
                *skipped -= 1;
                None
            }
            _ => next.take(),
        }
    }
}

pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Relay {
    pub(crate) fn start(server: SocketAddr) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                pass_on(&client, &server, of_thread.disturbance(), &of_thread);
            }
        });
        Relay { address, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Prepares for one run.
    pub(crate) fn prepare(&self, next: Option<Disturbance>) {
        let mut run = self.shared.run.lock().unwrap();
        *run += 1;
        *self.shared.next.lock().unwrap() = next.map(|next| (*run, next));
        self.shared.client.store(0, Ordering::SeqCst);
        self.shared.happened.store(false, Ordering::SeqCst);
    }

    /// Tells who the client is.
    pub(crate) fn is_of(&self, client: u32) {
        self.shared.client.store(client.cast_signed(), Ordering::SeqCst);
    }

    /// Whether it happened; it can't any more.
    pub(crate) fn happened(&self) -> bool {
        *self.shared.run.lock().unwrap() += 1;
        *self.shared.next.lock().unwrap() = None;
        self.shared.happened.load(Ordering::SeqCst)
    }
}

fn pass_on(client: &TcpStream, server: &TcpStream, disturbance: Option<(u64, Disturbance)>, shared: &Arc<Shared>) {
    let mut disturbance = disturbance;
    for down in [true, false] {
        let (from, to) = if down { (server, client) } else { (client, server) };
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let own = disturbance.take_if(|(_, next)| next.down == down);
        let shared = Arc::clone(shared);
        thread::spawn(move || copy(from, to, own, &shared));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut due: Option<(u64, Disturbance)>, shared: &Shared) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let left = due.as_ref().map_or(u64::MAX, |(_, due)| due.after.max(1));
        let room = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
        let got = match from.read(&mut buffer[..room]) {
            Ok(got) if got > 0 => got,
            _ => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        };
        let bytes = &buffer[..got];
        match due.as_mut() {
            Some((_, next)) if next.after > 0 => next.after = next.after.saturating_sub(got as u64),
            Some((_, Disturbance { act: Act::LoseAnswer, .. })) if !is_answer_to_change(bytes) => {}
            Some(_) => {
                let (run, Disturbance { act, .. }) = due.take().unwrap();
                // Held while it happens: nobody looks at the trees meanwhile.
                let current = shared.run.lock().unwrap();
                if *current == run {
                    shared.happened.store(true, Ordering::SeqCst);
                    match act {
                        Act::Change(change) => change(),
                        Act::Signal(signal) => send(signal, shared),
                        Act::LoseAnswer => return end(&from, &to, false),
                        Act::Cut { reset } => return end(&from, &to, reset),
                    }
                }
            }
            None => {}
        }
        if to.write_all(bytes).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// By TLS nobody in between can tell, so any answer will do.
fn is_answer_to_change(bytes: &[u8]) -> bool {
    ferry_e2e::secure::is_asked_for() || bytes.windows(5).any(|window| window == b"SAVED" || window == b"DONE\n")
}

fn send(signal: Signal, shared: &Shared) {
    // It has connected; who it is is known in a moment.
    let client = ferry_e2e::eventually("the client is known", || Pid::from_raw(shared.client.load(Ordering::SeqCst)));
    let _ = kill_process(client, signal);
}

fn end(from: &TcpStream, to: &TcpStream, reset: bool) {
    for stream in [from, to] {
        if reset {
            let _ = set_socket_linger(stream, Some(Duration::ZERO));
        }
        let _ = stream.shutdown(if reset { Shutdown::Read } else { Shutdown::Both });
    }
}
