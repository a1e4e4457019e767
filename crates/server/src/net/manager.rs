//! The service manager that has started this process, if any: sd_notify(3), sd_watchdog_enabled(3).

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// News of the server for its manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It serves, as `--type=notify` waits for, or does again after a reload.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It drains, and ends then.
    Stopping,
    /// Another process goes on in its place.
    Successor(i32),
    /// Its state has changed in another way, which the status tells.
    State,
}

/// The time after which news that a manager could not take is sent again.
const RETRY: Duration = Duration::from_millis(100);

/// The most bytes of news that wait to be sent.
const MOST_BYTES: usize = 2 << 10;

/// A service manager, or none: then all news is dropped.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// News that it could not take yet, and the time of the next attempt.
    untold: Option<(String, Instant)>,
    /// The longest time between two signs of life, if it wants any.
    watchdog: Option<Duration>,
    /// When the next one is due.
    feed_at: Option<Instant>,
}

impl ServiceManager {
    /// Connects to the manager that the environment names by `NOTIFY_SOCKET`. It gets a sign of
    /// life twice in the time that `WATCHDOG_USEC` says, unless `WATCHDOG_PID` names another
    /// process. Also returns a warning for the log where one is named and can't be reached.
    #[must_use]
    pub fn of_environment() -> (ServiceManager, Option<String>) {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return (ServiceManager::default(), None);
        };
        let watchdog = watchdog(env::var("WATCHDOG_USEC").ok(), env::var("WATCHDOG_PID").ok(), process::id());
        match connect(&name) {
            Ok(socket) => (ServiceManager::at(socket, watchdog), None),
            Err(error) => {
                let warning = format!("the service manager at {} hears nothing: {error}", name.to_string_lossy());
                (ServiceManager::default(), Some(warning))
            }
        }
    }

    /// Returns the manager at the other end of `socket`, which wants a sign of life in each span of
    /// `watchdog`.
    #[must_use]
    pub fn at(socket: UnixDatagram, watchdog: Option<Duration>) -> ServiceManager {
        ServiceManager { socket: Some(socket), watchdog, ..ServiceManager::default() }
    }

    /// Returns another descriptor of the socket, and the time between two signs of life, for a
    /// process that goes on in this one's place. [`None`] where there is no manager.
    ///
    /// # Errors
    ///
    /// Where the system has no more descriptors.
    pub(crate) fn to_hand_over(&self) -> io::Result<Option<(OwnedFd, Option<Duration>)>> {
        let Some(socket) = &self.socket else { return Ok(None) };
        Ok(Some((socket.try_clone()?.into(), self.watchdog)))
    }

    /// Sends `news`, with a `status` for people. It never waits.
    pub(crate) fn tell(&mut self, news: News, status: &str, now: Instant) {
        let state = match news {
            News::Ready => format!("READY=1\nMAINPID={}\n", process::id()),
            News::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_microseconds()),
            News::Stopping => "STOPPING=1\n".to_owned(),
            News::Successor(pid) => format!("MAINPID={pid}\n"),
            News::State => String::new(),
        };
        let status = status.replace(|character: char| character.is_control(), " ");
        let before = self.untold.take().map(|(untold, _)| untold).unwrap_or_default();
        self.send(format!("{before}{state}STATUS={status}\n"), now);
        match news {
            News::Ready if self.feed_at.is_none() => self.feed_at = self.watchdog.map(|_| now),
            News::Successor(_) => *self = ServiceManager::default(),
            _ => {}
        }
    }

    /// Sends a sign of life if one is due. The loop itself does this, so that one that hangs sends
    /// none.
    pub(crate) fn feed(&mut self, now: Instant) {
        if let Some((untold, _)) = self.untold.take_if(|(_, at)| *at <= now) {
            self.send(untold, now);
        }
        if let (Some(at), Some(every)) = (self.feed_at, self.watchdog)
            && at <= now
        {
            self.feed_at = now.checked_add(every / 2);
            let before = self.untold.take().map(|(untold, _)| untold).unwrap_or_default();
            self.send(before + "WATCHDOG=1\n", now);
        }
    }

    /// Returns when it is to be [fed](Self::feed) next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let retry_at = self.untold.as_ref().map(|(_, at)| *at);
        self.feed_at.into_iter().chain(retry_at).min()
    }

    fn send(&mut self, state: String, now: Instant) {
        let Some(socket) = &self.socket else { return };
        match socket.send(state.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && state.len() < MOST_BYTES => {
                self.untold = Some((state, now + RETRY));
            }
            Err(error) => log::warn!("can't notify the service manager: {error}"),
        }
    }
}

/// Connects to the socket `name`: a path, or after `@` a name without a file.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor @name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that hangs must not have the loop wait.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn watchdog(microseconds: Option<String>, whose: Option<String>, this: u32) -> Option<Duration> {
    let is_ours = whose.is_none_or(|pid| pid.parse() == Ok(this));
    let time = microseconds?.parse().ok().map(Duration::from_micros)?;
    (is_ours && !time.is_zero()).then_some(time)
}

fn monotonic_microseconds() -> i128 {
    let now = clock_gettime(ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_that_of_this_process() {
        let time = |microseconds: &str, pid: Option<&str>| {
            watchdog(Some(microseconds.into()), pid.map(str::to_owned), 17).map(|time| time.as_micros())
        };
        assert_eq!(time("2000", None), Some(2000));
        assert_eq!(time("2000", Some("17")), Some(2000));
        for (microseconds, pid) in [("2000", Some("18")), ("2000", Some("x")), ("0", None), ("x", None), ("-1", None)] {
            assert_eq!(time(microseconds, pid), None, "{microseconds} {pid:?}");
        }
        assert_eq!(watchdog(None, None, 17), None);
    }

    #[test]
    fn all_that_it_is_told_has_its_form() {
        let (here, there) = UnixDatagram::pair().unwrap();
        let mut manager = ServiceManager::at(here, Some(Duration::from_secs(4)));
        let heard = || {
            let mut buffer = [0; 1000];
            let count = there.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..count].to_vec()).unwrap()
        };
        let now = Instant::now();
        manager.feed(now);
        assert_eq!(manager.next_at(), None, "no sign of life before it serves");
        manager.tell(News::Ready, "serving a\nb", now);
        assert_eq!(heard(), format!("READY=1\nMAINPID={}\nSTATUS=serving a b\n", process::id()));
        let due = manager.next_at().unwrap();
        manager.feed(due);
        assert_eq!((heard().as_str(), manager.next_at()), ("WATCHDOG=1\n", Some(due + Duration::from_secs(2))));
        manager.feed(due + Duration::from_secs(1));
        manager.tell(News::Reloading, "", now);
        let said = heard();
        let time = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|said| said.strip_suffix("\nSTATUS=\n"));
        assert!(time.is_some_and(|time| time.parse::<u64>().is_ok_and(|time| time > 0)), "{said}");
        manager.tell(News::State, "the root is down", now);
        assert_eq!(heard(), "STATUS=the root is down\n");
        manager.tell(News::Stopping, "draining", now);
        assert_eq!(heard(), "STOPPING=1\nSTATUS=draining\n");
        manager.tell(News::Successor(5), "", now);
        assert_eq!(heard(), "MAINPID=5\nSTATUS=\n");
        assert!(manager.next_at().is_none() && manager.to_hand_over().unwrap().is_none());
    }

    #[test]
    fn a_manager_that_takes_nothing_is_told_later() {
        let (here, there) = UnixDatagram::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        while here.send(b"full").is_ok() {}
        let (mut manager, now) = (ServiceManager::at(here, None), Instant::now());
        manager.tell(News::Ready, "", now);
        manager.tell(News::Stopping, "", now);
        there.set_nonblocking(true).unwrap();
        while there.recv(&mut [0; 10]).is_ok() {}
        let due = manager.next_at().unwrap();
        manager.feed(due);
        let mut buffer = [0; 1000];
        let count = there.recv(&mut buffer).unwrap();
        let said = String::from_utf8(buffer[..count].to_vec()).unwrap();
        assert!(said.starts_with("READY=1\n") && said.contains("\nSTOPPING=1\n"), "{said}");
        assert_eq!(manager.next_at(), None);
    }

    #[test]
    fn a_socket_is_a_path_or_a_name() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("ferry-test-{}", process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (name, socket) in [(path.into_os_string(), by_path), (format!("@{name}").into(), by_name)] {
            connect(&name).unwrap().send(b"hello").unwrap();
            assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 5);
        }
        for wrong in ["relative", "/no/where", "vsock:2:1"] {
            connect(OsStr::new(wrong)).unwrap_err();
        }
    }
}
