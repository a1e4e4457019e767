//! The other end of the control socket: asks a server that runs.

use std::{
    io::{self, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt::socket_peercred},
    process::geteuid,
};

use super::Question;
use crate::net::{Inherited, ServiceManager};

/// The longest time without a byte of the answer: a reload may take long.
const PATIENCE: Duration = Duration::from_secs(65);

/// The longest answer.
const MOST_BYTES: u64 = 16 << 20;

/// The most descriptors that come with an answer.
const MOST_DESCRIPTORS: usize = 8;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No server is there.
    #[error("no server answers at {}: name the port that it serves, or its socket by --control", shown(.0))]
    NoServer(Vec<PathBuf>),
    /// The system refuses the connection, or it broke.
    #[error("can't ask the server at {}: {error}", .path.display())]
    System {
        /// The path of the socket.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The server belongs to another user.
    #[error("the server at {} belongs to user {owner}, and is not trusted: run this as that user or as root", .path.display())]
    Stranger {
        /// The path of the socket.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// The server refuses.
    #[error("{0}")]
    Refused(String),
    /// The answer is not understood.
    #[error("the server at {} gives no answer, or is another version", .0.display())]
    NoAnswer(PathBuf),
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", nor at ")
}

/// All that a server gives to the one that goes on in its place.
#[derive(Debug)]
pub struct Handed {
    /// Its listening sockets.
    pub sockets: Inherited,
    /// Its service manager.
    pub manager: Option<ServiceManager>,
    /// The connection on which it waits until the new one [accepts clients](super::accepting).
    pub waiting: UnixStream,
    /// The path of its control socket.
    pub path: PathBuf,
}

/// Asks the server at the first of `paths` where one answers. Returns the content of the answer.
///
/// # Errors
///
/// Where no server answers, or it refuses.
pub fn ask(paths: &[PathBuf], question: Question) -> Result<String, AskError> {
    ask_for_all(paths, question).map(|(content, _, _)| content)
}

/// Gets the listening sockets of the server at the first of `paths` where one answers. It serves on
/// until it is told that the new one accepts.
///
/// # Errors
///
/// The same as of [`ask`].
pub fn take_over(paths: &[PathBuf]) -> Result<Handed, AskError> {
    let (content, descriptors, path) = ask_for_all(paths, Question::TakeOver)?;
    sort(&content, descriptors, &path).ok_or(AskError::NoAnswer(path))
}

/// Sorts descriptors by the lines that tell their purposes.
fn sort(content: &str, descriptors: Vec<OwnedFd>, path: &Path) -> Option<Handed> {
    let (mut sockets, mut manager, mut waiting) = (Inherited::default(), None, None);
    if content.lines().count() != descriptors.len() {
        return None;
    }
    for (line, descriptor) in content.lines().zip(descriptors) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("waiting", _) => waiting = Some(UnixStream::from(descriptor)),
            ("manager", microseconds) => {
                let watchdog = microseconds.parse().ok().map(Duration::from_micros);
                manager = Some(ServiceManager::at(UnixDatagram::from(descriptor), watchdog));
            }
            (purpose, note) => {
                sockets.is_held |= (purpose, note) == ("clients", super::HELD);
                sockets.is_http_held |= (purpose, note) == ("http", super::HELD);
                sockets.put(descriptor, purpose).ok()?;
            }
        }
    }
    Some(Handed { sockets, manager, waiting: waiting?, path: path.into() })
}

fn ask_for_all(paths: &[PathBuf], question: Question) -> Result<(String, Vec<OwnedFd>, PathBuf), AskError> {
    for path in paths {
        let failed = |error| AskError::System { path: path.clone(), error };
        let stream = match UnixStream::connect(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                continue;
            }
            connected => connected.map_err(failed)?,
        };
        trust(&stream, path)?;
        let (answer, descriptors) = exchange(stream, question).map_err(failed)?;
        let (first, content) = answer.split_once('\n').ok_or_else(|| AskError::NoAnswer(path.clone()))?;
        return match (first, first.strip_prefix("FAIL ")) {
            ("DONE", _) => Ok((content.to_owned(), descriptors, path.clone())),
            (_, Some(why)) => Err(AskError::Refused(why.to_owned())),
            _ => Err(AskError::NoAnswer(path.clone())),
        };
    }
    Err(AskError::NoServer(paths.to_vec()))
}

/// Refuses a server of another user, who could send any answer. Root may ask any server.
fn trust(stream: &UnixStream, path: &Path) -> Result<(), AskError> {
    let owner =
        socket_peercred(stream).map_err(|error| AskError::System { path: path.into(), error: error.into() })?.uid;
    let us = geteuid();
    if us.is_root() || owner.is_root() || owner == us {
        return Ok(());
    }
    Err(AskError::Stranger { path: path.into(), owner: owner.as_raw() })
}

fn exchange(mut stream: UnixStream, question: Question) -> io::Result<(String, Vec<OwnedFd>)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{}\n", question.line()).as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut first = [0; 4096];
    let received = recvmsg(&stream, &mut [IoSliceMut::new(&mut first)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let mut answer = first[..received.bytes].to_vec();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    Ok((String::from_utf8_lossy(&answer).into_owned(), descriptors))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::net::UnixListener, thread};

    use super::*;

    #[test]
    fn what_is_handed_over_is_sorted_by_its_lines() {
        let place = tempfile::tempdir().unwrap();
        let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let unix = OwnedFd::from(UnixListener::bind(place.path().join("s")).unwrap());
        let (_manager, manager) = UnixDatagram::pair().unwrap();
        let (_old, new) = UnixStream::pair().unwrap();
        let lines = "clients held\nhttp\nmetrics\ncontrol\nmanager 2000000\nwaiting\n";
        let descriptors = vec![tcp(), tcp(), tcp(), unix, manager.into(), new.into()];
        let taken = sort(lines, descriptors, &place.path().join("s")).unwrap();
        let Inherited { clients, http, is_held, is_http_held, metrics, control } = taken.sockets;
        assert!(http.is_some() && !is_http_held);
        assert!(clients.is_some() && is_held && metrics.is_some() && control.is_some() && taken.manager.is_some());
        for (lines, descriptors) in [("", vec![]), ("clients\n", vec![]), ("clients\n", vec![tcp()])] {
            assert!(sort(lines, descriptors, place.path()).is_none(), "{lines:?}");
        }
    }

    #[test]
    fn an_answer_is_done_or_a_refusal() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("s");
        let nobody = place.path().join("nobody");
        let asked = |said: &'static str| {
            let listener = UnixListener::bind(&path).unwrap();
            let answering = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut question = String::new();
                stream.read_to_string(&mut question).unwrap();
                stream.write_all(said.as_bytes()).unwrap();
                question
            });
            let answer = ask(&[nobody.clone(), path.clone()], Question::Reload);
            assert_eq!(answering.join().unwrap(), "reload\n");
            std::fs::remove_file(&path).unwrap();
            answer.map_err(|error| error.to_string())
        };
        assert_eq!(asked("DONE\nall\nis well\n"), Ok("all\nis well\n".into()));
        assert_eq!(asked("FAIL the file is wrong\n"), Err("the file is wrong".into()));
        for wrong in ["", "DONE", "HTTP/1.1 200 OK\n", "FAILURE\n"] {
            assert!(asked(wrong).unwrap_err().contains("gives no answer"), "{wrong:?}");
        }
        let said = ask(std::slice::from_ref(&nobody), Question::Reload).unwrap_err().to_string();
        assert!(said.contains("no server answers") && said.contains(nobody.to_str().unwrap()), "{said}");
    }
}
