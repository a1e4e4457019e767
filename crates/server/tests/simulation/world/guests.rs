//! The guests of a world: its clients, as far as there is room, and others.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ferry_server::{
    access::Users,
    protocol::{Session, Visitor, ferry::FerrySession, http::HttpSession},
    runtime::{
        admission::{AdmissionLimits, Admitted},
        party::Party,
    },
};

use super::{Peer, World};
use crate::conn::{Conn, Link};

/// Room for the clients of a world, and for a few that come back before their last connection is gone.
pub(super) const LIMITS: AdmissionLimits =
    AdmissionLimits { clients: 8, clients_per_address: 6, refused: 3, refused_per_address: 2 };

/// Every other one is of one address.
pub(super) fn address_of(peer: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, peer as u8 % 2).into()
}

/// Some have a transport that takes bytes and no ranges of files.
pub(super) fn takes_bytes_only(peer: usize) -> bool {
    peer % 3 == 2
}

impl World {
    /// Connects a client; false where there is no room for it now.
    pub(super) fn connect(&mut self, peer: usize) -> bool {
        let Some(admitted) = self.admit(peer) else { return false };
        let conn = self.next_conn;
        self.next_conn += 1;
        self.figures.connections += 1;
        let (limits, visitor) = (self.limits.clone(), Visitor::new(Arc::new(Users::without_file()), true));
        let session = match self.peers[peer].client.speaks_http() {
            true => Session::Http(HttpSession::new(limits, self.ids.clone(), self.day.clone(), visitor, self.now)),
            false => Session::Ferry(FerrySession::new(limits, visitor, self.now)),
        };
        let session = if takes_bytes_only(peer) { session.as_bytes() } else { session };
        self.conns.insert(conn, Conn { admitted: Some(admitted), ..Conn::new(session, peer) });
        let Peer { link, conn: current, last, .. } = &mut self.peers[peer];
        (*link, *current, *last) = (Link::default(), Some(conn), conn);
        self.touch(conn);
        true
    }

    /// Admits somebody from the address of `peer`, to be served.
    fn admit(&mut self, peer: usize) -> Option<Admitted> {
        let (admitted, full) = self.admission.admit(address_of(peer))?;
        if full.is_some() {
            self.figures.turned_away += 1;
            self.strangers.push((address_of(peer), admitted));
            return None;
        }
        Some(admitted)
    }

    /// Others come, who ask for nothing, and go.
    pub(super) fn others_come_and_go(&mut self, peer: usize) {
        let admitted = self.admit(peer);
        self.strangers.extend(admitted.map(|admitted| (address_of(peer), admitted)));
        let served = self.conns.len() + self.strangers.iter().filter(|(_, admitted)| !admitted.is_refused()).count();
        assert!(
            served <= LIMITS.clients && self.strangers.len() <= LIMITS.clients + LIMITS.refused,
            "too many are there"
        );
        if self.dice.happens(600) {
            self.another_goes();
        }
    }

    pub(super) fn another_goes(&mut self) {
        if !self.strangers.is_empty() {
            let index = self.dice.below(self.strangers.len());
            let (address, admitted) = self.strangers.swap_remove(index);
            self.admission.leave(&Party::Address(address), admitted);
        }
    }
}
