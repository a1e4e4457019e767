//! The party that a client counts for in limits: its user where it has logged in, else its address.

use std::{fmt, net::IpAddr, time::Instant};

use ferry_wire::UserName;
use mio::Token;

use super::{Live, Server};
use crate::{
    access::{UserLimits, Users},
    protocol::LoginOutcome,
    store::{Owner, OwnerLimits},
};

/// The party that a client counts for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Party {
    /// All clients from an address that have not logged in. Each IPv6 address counts by itself.
    Address(IpAddr),
    /// All clients that are logged in as a user, from any address.
    User(UserName),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Address(address) => address.to_canonical().fmt(f),
            Party::User(user) => write!(f, "user {}", user.as_str()),
        }
    }
}

impl Party {
    /// Returns the party of a client from `address` that has logged in as `user`, if it has.
    #[must_use]
    pub fn of(address: IpAddr, user: Option<&UserName>) -> Party {
        user.map_or(Party::Address(address), |user| Party::User(user.clone()))
    }
}

impl Server {
    /// Counts a client whose secret was right for the user that it logs in as. Returns the outcome
    /// for it.
    pub(super) fn enter(&mut self, token: Token, now: Instant) -> LoginOutcome {
        let Some(connection) = self.connections.get(token) else { return LoginOutcome::Right };
        let Some(user) = connection.session.logging_in().cloned() else { return LoginOutcome::Right };
        let UserLimits { max_clients, rate, .. } = self.desk.users().limits(&user);
        let (from, to) = (connection.party(), Party::User(user.clone()));
        if let Err(most) = self.arrivals.move_to(&from, &to, max_clients) {
            return LoginOutcome::Full { most };
        }
        self.scheduler.join(token, &user, rate, now);
        LoginOutcome::Right
    }

    /// Applies the limits of `live` on clients, rates and uploads from `now` on, also to present
    /// clients. Clients above a lowered number stay connected.
    pub fn apply_limits(&mut self, live: &Live, now: Instant) {
        self.arrivals.set_admission(live.admission.clone());
        self.workers.set_limits(&live.store);
        self.workers.set_job_timeout(live.job_timeout);
        self.scheduler.set_rates(live.client_rate, live.total_rate, now);
        self.apply_user_limits(now);
    }

    /// Applies the limits of users as they are now, also to clients that have logged in. Clients
    /// above a lowered number stay connected.
    pub(super) fn apply_user_limits(&mut self, now: Instant) {
        let users = self.desk.users().clone();
        self.workers.set_owner_limits(owner_limits(&users));
        for token in self.connections.tokens() {
            if let Some(connection) = self.connections.get(token)
                && let Some(user) = connection.session.user()
            {
                self.scheduler.join(token, user, users.limits(user).rate, now);
            }
        }
    }
}

/// Returns the limits of users that the store applies.
fn owner_limits(users: &Users) -> impl Iterator<Item = (Owner, OwnerLimits)> {
    let limits = users.names().into_iter().map(|user| {
        let UserLimits { max_kept, max_staged, .. } = users.limits(user);
        (Owner::of_user(user.as_str()), OwnerLimits { max_kept, max_staged })
    });
    limits.filter(|(_, limits)| *limits != OwnerLimits::default())
}
