//! Counters of the loop: plain numbers that it alone has.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use ferry_wire::{Code, UserName};

/// The number of users with sums of their own: the first ones that moved anything. All others have
/// one sum together, so that nobody can make the figures grow.
const USERS: usize = 100;

/// The verbs of which transfers and changes are counted; PATCH and MKCOL are HTTP's alone.
pub(crate) const VERBS: [&str; 12] =
    ["GET", "READ", "SUM", "PUT", "RESUME", "PART", "MKDIR", "DELETE", "RENAME", "TOUCH", "PATCH", "MKCOL"];

/// A protocol of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Ferry,
    Http,
}

impl Protocol {
    pub(crate) const NAMES: [&str; 2] = ["ferry", "http"];
}

/// The sums of one protocol.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProtocolSums {
    /// Clients that are connected.
    pub(crate) clients: u64,
    /// Connections that became clients.
    pub(crate) connected: u64,
    /// Transfers and changes that have ended.
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// File bytes that were moved.
    pub(crate) bytes: u64,
}

/// The occupation of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// It may ask for something.
    Idle,
    /// A request is being read, or answered without a transfer.
    Request,
    /// A file goes to it.
    Download,
    /// A file comes from it, or waits for the disk.
    Upload,
    /// It could move bytes, and a rate does not let it.
    Rate,
    /// It is told why it is not served.
    Refused,
    /// All is sent, and the connection closes.
    Closing,
}

impl ClientState {
    pub(crate) const ALL: [(ClientState, &str); 7] = [
        (ClientState::Idle, "idle"),
        (ClientState::Request, "request"),
        (ClientState::Download, "download"),
        (ClientState::Upload, "upload"),
        (ClientState::Rate, "rate"),
        (ClientState::Refused, "refused"),
        (ClientState::Closing, "closing"),
    ];
}

/// The occupation of a client, and its transfers that are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Occupation {
    pub(crate) state: ClientState,
    pub(crate) downloads: bool,
    pub(crate) uploads: u16,
}

/// The end of a TLS handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HandshakeEnd {
    Done,
    Failed,
    /// The client did not speak TLS.
    NoTls,
    TimedOut,
    /// It gave way to newer ones.
    Displaced,
}

impl HandshakeEnd {
    pub(crate) const NAMES: [&str; 5] = ["done", "failed", "no_tls", "timed_out", "displaced"];
}

/// Why a connection was not served.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RefusedFor {
    /// The server has its clients.
    ServerFull,
    /// The address has its clients.
    AddressFull,
    /// Too many are being told why already: closed without a word.
    TooMany,
    /// TLS is spoken, and the client did not.
    NoTls,
    /// A proxy did not say whom it connects.
    NoProxyHeader,
    /// The server ends.
    ShuttingDown,
}

impl RefusedFor {
    pub(crate) const NAMES: [&str; 6] =
        ["server_full", "address_full", "too_many", "no_tls", "no_proxy_header", "shutting_down"];
}

/// The sums of one user, or of several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct UserSums {
    pub(crate) transfers: u64,
    pub(crate) failed: u64,
    pub(crate) downloaded: u64,
    pub(crate) uploaded: u64,
}

impl UserSums {
    fn note(&mut self, verb: usize, bytes: u64, is_failed: bool) {
        self.transfers += 1;
        self.failed += u64::from(is_failed);
        match VERBS.get(verb) {
            Some(&"PUT" | &"RESUME" | &"PART" | &"PATCH") => self.uploaded += bytes,
            Some(&"GET" | &"READ") => self.downloaded += bytes,
            // Those of a SUM were read, and went to nobody.
            _ => {}
        }
    }
}

/// The transfers and changes of one verb that have ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct VerbSums {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// File bytes that were moved, or read for a SUM, of those that failed as well.
    pub(crate) bytes: u64,
}

/// See the [module documentation](self).
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    /// Clients, by [state](ClientState).
    pub(crate) clients: [u64; ClientState::ALL.len()],
    pub(crate) downloads: u64,
    pub(crate) uploads: u64,
    /// Connections that became clients.
    pub(crate) connected: u64,
    /// By [protocol](Protocol).
    pub(crate) protocols: [ProtocolSums; Protocol::NAMES.len()],
    pub(crate) refused: [u64; RefusedFor::NAMES.len()],
    pub(crate) handshakes: [u64; HandshakeEnd::NAMES.len()],
    /// Logins that were right, that were wrong, and that found no place in the queue.
    pub(crate) logins: [u64; 3],
    /// Bytes through sockets, without what TLS adds.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// By [verb](VERBS), and a place for any other.
    pub(crate) verbs: [VerbSums; VERBS.len() + 1],
    /// Transfers and changes that failed, by code; the last place is for one that is unknown.
    pub(crate) codes: [u64; Code::ALL.len() + 1],
    pub(crate) rate_waits: u64,
    pub(crate) rate_waited: Duration,
    pub(crate) users: HashMap<UserName, UserSums>,
    pub(crate) anonymous: UserSums,
    pub(crate) other_users: UserSums,
    pub(crate) reloads: u64,
    pub(crate) failed_reloads: u64,
    /// The time of the last reload that succeeded.
    pub(crate) reloaded: Option<SystemTime>,
    /// Pages of metrics that were made.
    pub(crate) scrapes: u64,
}

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters {
            clients: [0; ClientState::ALL.len()],
            downloads: 0,
            uploads: 0,
            connected: 0,
            protocols: [ProtocolSums::default(); Protocol::NAMES.len()],
            refused: [0; RefusedFor::NAMES.len()],
            handshakes: [0; HandshakeEnd::NAMES.len()],
            logins: [0; 3],
            received: 0,
            sent: 0,
            verbs: [VerbSums::default(); VERBS.len() + 1],
            codes: [0; Code::ALL.len() + 1],
            rate_waits: 0,
            rate_waited: Duration::ZERO,
            users: HashMap::new(),
            anonymous: UserSums::default(),
            other_users: UserSums::default(),
            reloads: 0,
            failed_reloads: 0,
            reloaded: None,
            scrapes: 0,
        }
    }

    /// Returns the bytes that were received, and sent.
    pub(crate) fn moved(&self) -> [u64; 2] {
        [self.received, self.sent]
    }

    /// Counts a client that has come with this occupation.
    pub(crate) fn came(&mut self, occupation: Occupation) {
        self.clients[occupation.state as usize] += 1;
        self.downloads += u64::from(occupation.downloads);
        self.uploads += u64::from(occupation.uploads);
    }

    /// Counts a client as gone that had this occupation.
    pub(crate) fn went(&mut self, occupation: Occupation) {
        self.clients[occupation.state as usize] -= 1;
        self.downloads -= u64::from(occupation.downloads);
        self.uploads -= u64::from(occupation.uploads);
    }

    /// Counts a client that has connected, and speaks `protocol`; one that is only turned away `is_refused`.
    pub(crate) fn connected(&mut self, protocol: Protocol, is_refused: bool) {
        let sums = &mut self.protocols[protocol as usize];
        sums.clients += 1;
        if !is_refused {
            sums.connected += 1;
            self.connected += 1;
        }
    }

    /// Counts a client as gone that spoke `protocol`.
    pub(crate) fn gone(&mut self, protocol: Protocol) {
        self.protocols[protocol as usize].clients -= 1;
    }

    /// Counts a transfer or change for its protocol.
    pub(crate) fn ended_by(&mut self, protocol: Protocol, bytes: u64, is_failed: bool) {
        let sums = &mut self.protocols[protocol as usize];
        sums.bytes += bytes;
        sums.done += u64::from(!is_failed);
        sums.failed += u64::from(is_failed);
    }

    /// Counts a connection that was not served.
    pub(crate) fn refused(&mut self, reason: RefusedFor) {
        self.refused[reason as usize] += 1;
    }

    /// Counts a handshake that has ended.
    pub(crate) fn handshake_ended(&mut self, end: HandshakeEnd) {
        self.handshakes[end as usize] += 1;
    }

    /// Counts a transfer or change that has ended.
    pub(crate) fn transfer_ended(&mut self, user: Option<&UserName>, verb: &str, bytes: u64, failed: Option<Code>) {
        let index = VERBS.iter().position(|known| *known == verb).unwrap_or(VERBS.len());
        let sums = &mut self.verbs[index];
        sums.bytes += bytes;
        match failed {
            None => sums.done += 1,
            Some(code) => {
                sums.failed += 1;
                self.codes[code as usize] += 1;
            }
        }
        self.user(user).note(index, bytes, failed.is_some());
    }

    fn user(&mut self, user: Option<&UserName>) -> &mut UserSums {
        match user {
            None => &mut self.anonymous,
            Some(user) if self.users.contains_key(user) || self.users.len() < USERS => {
                self.users.entry(user.clone()).or_default()
            }
            Some(_) => &mut self.other_users,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_and_name_has_its_place() {
        for (index, code) in Code::ALL.iter().chain([&Code::Unknown]).enumerate() {
            assert_eq!(*code as usize, index, "{code:?}");
        }
        for (index, (state, _)) in ClientState::ALL.iter().enumerate() {
            assert_eq!(*state as usize, index, "{state:?}");
        }
        assert_eq!(Protocol::Http as usize + 1, Protocol::NAMES.len());
        assert_eq!(HandshakeEnd::Displaced as usize + 1, HandshakeEnd::NAMES.len());
        assert_eq!(RefusedFor::ShuttingDown as usize + 1, RefusedFor::NAMES.len());
    }

    #[test]
    fn many_users_take_no_more_room_than_some() {
        let mut counters = Counters::new();
        for round in 0..2 {
            for number in 0..3 * USERS {
                let user = UserName::new(&format!("u{number}")).unwrap();
                counters.transfer_ended(Some(&user), "GET", 10, (round == 1).then_some(Code::Denied));
            }
        }
        counters.transfer_ended(None, "PUT", 7, None);
        counters.transfer_ended(None, "SUM", 100, None);
        assert_eq!(counters.users.len(), USERS);
        let sums = |transfers| UserSums { transfers, failed: transfers / 2, downloaded: transfers * 10, uploaded: 0 };
        assert!(counters.users.values().all(|user| *user == sums(2)));
        assert_eq!(counters.other_users, sums(4 * USERS as u64));
        assert_eq!(counters.anonymous, UserSums { transfers: 2, uploaded: 7, ..UserSums::default() });
        assert_eq!(
            (counters.verbs[0].failed, counters.codes[Code::Denied as usize]),
            (3 * USERS as u64, 3 * USERS as u64)
        );
        assert_eq!((counters.verbs[0].done, counters.verbs[0].bytes), (3 * USERS as u64, 60 * USERS as u64));
    }
}
