//! The way to a server.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Passes connections on to a server, until they are cut; new ones are passed on as well.
pub(super) struct Wire {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    open: Mutex<Vec<TcpStream>>,
    made: AtomicUsize,
    /// A feature that no greeting has on its way.
    hidden: Option<String>,
}

impl Wire {
    pub(super) fn to(server: SocketAddr) -> Wire {
        Wire::with(server, Shared::default())
    }

    /// Takes a feature out of the greetings of `server`, as of one that does not know it.
    pub(super) fn hiding(server: SocketAddr, feature: &str) -> Wire {
        Wire::with(server, Shared { hidden: Some(feature.to_owned()), ..Shared::default() })
    }

    fn with(server: SocketAddr, shared: Shared) -> Wire {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(shared));
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                all.made.fetch_add(1, Ordering::SeqCst);
                for (from, to, hidden) in [(&client, &server, None), (&server, &client, all.hidden.clone())] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || pass_on(from, to, hidden));
                }
                all.open.lock().unwrap().extend([client, server]);
            }
        });
        Wire { address, shared }
    }

    /// Returns how many connections were made.
    pub(super) fn made(&self) -> usize {
        self.shared.made.load(Ordering::SeqCst)
    }

    pub(super) fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, hidden: Option<String>) {
    let mut buffer = [0; 16 << 10];
    if let Some(feature) = hidden {
        let greeting = line(&mut from).replace(&format!(" {feature}"), "");
        if to.write_all(greeting.as_bytes()).is_err() {
            return;
        }
    }
    while let Ok(got) = from.read(&mut buffer)
        && got > 0
        && to.write_all(&buffer[..got]).is_ok()
    {}
    let _ = to.shutdown(Shutdown::Write);
}

/// Returns the first line, and takes nothing behind it.
fn line(from: &mut TcpStream) -> String {
    let (mut line, mut byte) = (String::new(), [0]);
    while !line.ends_with('\n') && from.read(&mut byte).is_ok_and(|got| got > 0) {
        line.push(char::from(byte[0]));
    }
    line
}
