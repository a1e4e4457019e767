//! The support that the tests share: a scripted server, an honest one, and a place for local files.

mod honest;
mod scripted;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
    path::PathBuf,
    time::Duration,
};

use ferry_client::{Address, Client, Name, Options};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

pub(crate) use honest::Honest;
pub(crate) use scripted::{GREETING, Peer, Scripted};

/// No test waits for it to pass, except those of the timeout itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn options() -> Options {
    Options::default().timeout(PATIENCE)
}

pub(crate) fn connect(address: &Address) -> Client {
    Client::connect(address, options()).unwrap()
}

/// A port that is taken, and where nobody listens yet: who connects is refused.
pub(crate) fn reserved() -> (OwnedFd, u16) {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
    (socket, address.port())
}

/// A directory for local files.
pub(crate) struct Local(tempfile::TempDir);

impl Local {
    pub(crate) fn new() -> Local {
        Local(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a file.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Makes a file of zeros that takes no space: more than any socket buffers.
    pub(crate) fn large_file(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
        path
    }

    /// The names in it, hidden ones included.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
