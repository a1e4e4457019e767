//! Accepts clients, and gives each a session: one that serves it, or one that turns it away.

use std::{
    net::SocketAddr,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ferry_wire::{Code, Failure};
use mio::{Registry, net::TcpStream};

use super::{
    admission::{Admission, AdmissionLimits, Admitted, Full},
    party::Party,
};
use crate::{
    access::Users,
    net::{
        Acceptors, Entrance, Service,
        proxy::{Network, ProxiedClient},
    },
    observe::{Counters, RefusedFor},
    protocol::{
        Limits, Session, Visitor, ferry,
        http::{DayClock, HttpSession, tus::UploadIds},
    },
    store::Disk,
    units::counted,
};

/// The most clients that are still accepted when the server ends, only to be told so: what a backlog holds
/// by default.
const LAST_ACCEPTS: usize = 4096;

/// A peer that has connected and is no client yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    /// The address that counts for it.
    pub(super) peer: SocketAddr,
    /// Nothing that it says leaves this machine.
    is_local: bool,
    /// The protocols that it speaks.
    pub(super) entrance: Entrance,
}

impl Caller {
    /// Returns the caller at the other end of a connection.
    pub(super) fn direct(peer: SocketAddr, entrance: Entrance) -> Caller {
        Caller { peer, is_local: is_local(peer), entrance }
    }

    /// Returns the same where the handshake has told that it speaks HTTP.
    pub(super) fn speaking(self, http: bool) -> Caller {
        let service = if http { Service::Http } else { self.entrance.service };
        Caller { entrance: Entrance { service, ..self.entrance }, ..self }
    }

    /// Returns the caller for whom this one, a proxy, has made its connection. It is local where both are: what comes from
    /// elsewhere does not become so by a proxy on this machine, nor by what a proxy elsewhere says.
    pub(super) fn on_behalf_of(self, client: ProxiedClient) -> Caller {
        match client {
            ProxiedClient::Address(peer) => Caller { peer, is_local: self.is_local && is_local(peer), ..self },
            ProxiedClient::Unknown => Caller { is_local: false, ..self },
            ProxiedClient::Proxy => self,
        }
    }
}

fn is_local(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

/// A client that has come, as it is counted, and the session that it gets.
pub(super) type Arrival = (Admitted, Session<Disk>);

/// See the [module documentation](self).
pub(super) struct Arrivals {
    /// None once the server drains.
    acceptors: Acceptors,
    admission: Admission,
    limits: Arc<Limits>,
    /// The ids of uploads that are made by tus.
    ids: Arc<UploadIds>,
    /// The time of day that answers of HTTP tell.
    day: Arc<DayClock>,
    users: Arc<Users>,
    /// Those who tell by a header whom they connect.
    proxies: Vec<Network>,
}

impl Arrivals {
    /// Returns the arrivals at `acceptors`. Each session gets `limits`.
    pub(super) fn new(
        acceptors: Acceptors,
        admission: AdmissionLimits,
        limits: Limits,
        ids: UploadIds,
        users: Arc<Users>,
        proxies: Vec<Network>,
    ) -> Arrivals {
        let (admission, limits, ids) = (Admission::new(admission), Arc::new(limits), Arc::new(ids));
        let day = Arc::new(DayClock::new(Instant::now(), SystemTime::now()));
        Arrivals { acceptors, admission, limits, ids, day, users, proxies }
    }

    /// Sets the users whose rights hold for clients from here on.
    pub(super) fn set_users(&mut self, users: &Arc<Users>) {
        self.users = users.clone();
    }

    /// Tells sessions the time of day at the moment `now`.
    pub(super) fn set_day(&self, now: Instant, today: SystemTime) {
        self.day.set(now, today);
    }

    /// Sets the limits of sessions from here on, and returns them as they are shared.
    pub(super) fn set_limits(&mut self, limits: Limits) -> Arc<Limits> {
        self.limits = Arc::new(limits);
        self.limits.clone()
    }

    /// Sets the proxies whose headers are read from here on.
    pub(super) fn set_proxies(&mut self, proxies: Vec<Network>) {
        self.proxies = proxies;
    }

    /// Returns how long the header of `caller` may take, where it is a proxy.
    pub(super) fn header_time(&self, caller: &Caller) -> Option<Duration> {
        let is_proxy = self.proxies.iter().any(|network| network.contains(caller.peer.ip()));
        is_proxy.then_some(self.limits.timeouts.request)
    }

    fn visitor(&self, caller: &Caller) -> Visitor {
        let visitor = Visitor::new(self.users.clone(), caller.entrance.is_secure || caller.is_local);
        if caller.is_local && !caller.entrance.is_secure { visitor.within_this_machine() } else { visitor }
    }

    /// Returns the session of a client that is served.
    fn serving(&self, caller: &Caller, now: Instant) -> Session<Disk> {
        let (limits, visitor) = (self.limits.clone(), self.visitor(caller));
        let session = match caller.entrance.service {
            Service::Ferry => Session::Ferry(ferry::FerrySession::new(limits, visitor, now)),
            Service::Http => Session::Http(HttpSession::new(limits, self.ids.clone(), self.day.clone(), visitor, now)),
        };
        if caller.entrance.is_secure { session.as_bytes() } else { session }
    }

    /// Returns the session of a client that is told of `failure` alone.
    fn refusing(&self, caller: &Caller, failure: &Failure, now: Instant) -> Session<Disk> {
        let (limits, visitor) = (self.limits.clone(), self.visitor(caller));
        match caller.entrance.service {
            Service::Ferry => Session::Ferry(ferry::FerrySession::refusing(limits, visitor, failure, now)),
            Service::Http => {
                let (ids, day) = (self.ids.clone(), self.day.clone());
                Session::Http(HttpSession::refusing(limits, ids, day, visitor, failure, now))
            }
        }
    }

    /// Notes that clients wait.
    pub(super) fn note_ready(&mut self) {
        self.acceptors.note_ready();
    }

    /// Notes that a descriptor was freed.
    pub(super) fn note_freed(&mut self) {
        self.acceptors.note_freed();
    }

    /// Returns whether a client may wait that there is room for.
    pub(super) fn can_accept(&self, now: Instant) -> bool {
        self.acceptors.can_accept(now) && self.admission.has_room()
    }

    /// Returns when to try again though no event came.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.acceptors.retry_at().filter(|_| self.admission.has_room())
    }

    /// Accepts the next client, which is not counted yet; [`None`] where it has gone, or where
    /// [nobody else](Self::can_accept) can be accepted for now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(TcpStream, Caller)> {
        let (socket, peer, entrance) = self.acceptors.accept(now)?;
        Some((socket, Caller::direct(peer, entrance)))
    }

    /// Admits a client; `counters` are told where it is not served. [`None`] where it is to be closed at once.
    pub(super) fn admit(&mut self, caller: Caller, now: Instant, counters: &mut Counters) -> Option<Arrival> {
        let Some((admitted, full)) = self.admission.admit(caller.peer.ip()) else {
            counters.refused(RefusedFor::TooMany);
            log::debug!("{}: closed: too many are being turned away", caller.peer);
            return None;
        };
        match full {
            None => {}
            Some(Full::Server) => counters.refused(RefusedFor::ServerFull),
            Some(Full::Address) => counters.refused(RefusedFor::AddressFull),
        }
        let session = match full {
            None => self.serving(&caller, now),
            Some(full) => self.refusing(&caller, &refusal(full, self.admission.limits()), now),
        };
        Some((admitted, session))
    }

    /// Admits a client only to be told of `failure`; [`None`] where too many are being told something.
    pub(super) fn refuse(&mut self, caller: Caller, failure: &Failure, now: Instant) -> Option<Arrival> {
        let admitted = self.admission.refuse(caller.peer.ip())?;
        Some((admitted, self.refusing(&caller, failure, now)))
    }

    /// Returns the listening sockets, none where the server drains: with what is spoken at each, and whether the service
    /// manager keeps it open.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (Service, bool, BorrowedFd<'_>)> {
        self.acceptors.sockets()
    }

    /// Accepts nobody any more: clients that wait are those of another server, which has the sockets as well.
    pub(super) fn give_away(&mut self, registry: &Registry) {
        self.acceptors.give_away(registry);
    }

    /// Does the same with the sockets that the service manager keeps open.
    pub(super) fn give_away_held(&mut self, registry: &Registry) {
        self.acceptors.give_away_held(registry);
    }

    /// Stops listening. Returns the clients that wait to be accepted, to be told of the `end`: closing the listeners would
    /// reset them. One that comes between this and the close is reset.
    pub(super) fn end(&mut self, end: &Failure, now: Instant) -> Vec<(TcpStream, Caller, Arrival)> {
        let (mut last, mut acceptors) = (Vec::new(), self.acceptors.take());
        for _ in 0..LAST_ACCEPTS {
            if !acceptors.can_accept(now) {
                break;
            }
            if let Some((socket, peer, entrance)) = acceptors.accept(now) {
                let caller = Caller::direct(peer, entrance);
                let admitted = self.admission.admit_to_refuse(peer.ip());
                last.push((socket, caller, (admitted, self.refusing(&caller, end, now))));
            }
        }
        last
    }

    /// Returns the name of this server among several.
    pub(super) fn node(&self) -> Option<Arc<str>> {
        self.limits.node.clone()
    }

    /// Returns how many clients may be served at one time.
    pub(super) fn max_clients(&self) -> usize {
        self.admission.limits().clients
    }

    /// Returns the `most` parties that have most clients, as [`Admission::busiest`].
    pub(super) fn busiest(&self, most: usize) -> (Vec<(&Party, usize)>, usize) {
        self.admission.busiest(most)
    }

    /// Counts a client of `party` no more.
    pub(super) fn leave(&mut self, party: &Party, admitted: Admitted) {
        self.admission.leave(party, admitted);
    }

    /// Counts a client for the user `to` in place of `from`. The user may have `most` clients, or as many as an address
    /// where that is [`None`].
    ///
    /// # Errors
    ///
    /// How many the user may have, where that many are there; nothing is changed then.
    pub(super) fn move_to(&mut self, from: &Party, to: &Party, most: Option<u64>) -> Result<(), usize> {
        let limits = self.admission.limits();
        let most = most.map_or(limits.clients_per_address, |most| usize::try_from(most).unwrap_or(usize::MAX));
        if self.admission.move_to(from, to, most) { Ok(()) } else { Err(most) }
    }

    /// Sets the limits for clients that come from now on.
    pub(super) fn set_admission(&mut self, limits: AdmissionLimits) {
        self.admission.set_limits(limits);
    }
}

/// Returns the reply to a client that is turned away.
fn refusal(full: Full, limits: &AdmissionLimits) -> Failure {
    let message = match full {
        Full::Server => format!("the server has its {}; try again later", counted(limits.clients as u64, "client")),
        Full::Address => {
            format!("your address has its {}; close one", counted(limits.clients_per_address as u64, "client"))
        }
    };
    Failure::new(Code::Busy, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Entrance = Entrance { service: Service::Ferry, is_secure: false };

    #[test]
    fn local_is_who_and_whose_proxy_is_on_this_machine() {
        let caller = |text: &str| Caller::direct(text.parse().unwrap(), PLAIN);
        let behind = |proxy: &str, client: &str| {
            caller(proxy).on_behalf_of(ProxiedClient::Address(client.parse().unwrap())).is_local
        };
        assert!(
            caller("127.0.0.1:1").is_local && caller("[::ffff:127.0.0.1]:1").is_local && caller("[::1]:1").is_local
        );
        assert!(!caller("10.0.0.1:1").is_local);
        assert!(behind("127.0.0.1:1", "127.0.0.9:1") && behind("127.0.0.1:1", "[::1]:1"));
        assert!(!behind("127.0.0.1:1", "10.0.0.1:1") && !behind("10.0.0.1:1", "127.0.0.1:1"));
        let (here, there) = (caller("127.0.0.1:1"), caller("10.0.0.1:1"));
        assert_eq!(here.on_behalf_of(ProxiedClient::Proxy), here);
        assert_eq!(there.on_behalf_of(ProxiedClient::Proxy), there);
        assert_eq!(here.on_behalf_of(ProxiedClient::Unknown), Caller { is_local: false, ..here });
    }
}
