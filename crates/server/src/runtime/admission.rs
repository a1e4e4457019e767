//! Decides which clients are served, which are told that there is no room, and which are closed at once.

use std::{collections::HashMap, net::IpAddr};

use super::party::Party;

/// The most clients at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Clients that are served.
    pub clients: usize,
    /// Of these, from one address and not logged in; and of one user who has no other limit.
    pub clients_per_address: usize,
    /// Clients that are being told that there is no room: each holds a descriptor until it has
    /// gone. Where the server is full, others wait to be accepted; else they are closed at once.
    pub refused: usize,
    /// Of these, from one address. Others of it are closed at once.
    pub refused_per_address: usize,
}

/// The limit that a client would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The server has all the clients that it may have.
    Server,
    /// The client's address has.
    Address,
}

/// A client that counts, until it [leaves](Admission::leave).
#[derive(Debug)]
#[must_use = "it counts until it leaves"]
pub struct Admitted {
    is_refused: bool,
}

impl Admitted {
    /// Returns whether it is being turned away.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }
}

#[derive(Debug, Default)]
struct Counts {
    clients: usize,
    refused: usize,
}

impl Counts {
    fn of(&mut self, is_refused: bool) -> &mut usize {
        if is_refused { &mut self.refused } else { &mut self.clients }
    }
}

/// Counts the clients, in all and of each [`Party`], and holds them to limits.
///
/// A client is [admitted](Self::admit) for its address, and [moves](Self::move_to) to a user by logging in.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    all: Counts,
    by_party: HashMap<Party, Counts>,
}

impl Admission {
    /// Returns an admission without clients that enforces `limits`.
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Admission {
        Admission { limits, all: Counts::default(), by_party: HashMap::new() }
    }

    /// Sets the limits for clients that come, or log in, from now on. Present clients stay.
    pub fn set_limits(&mut self, limits: AdmissionLimits) {
        self.limits = limits;
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &AdmissionLimits {
        &self.limits
    }

    /// Returns whether the next client can be served or told that it can't. Where the server is
    /// full, and many are being told so, the others can wait: nobody could be served before them.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.all.clients < self.limits.clients || self.all.refused < self.limits.refused
    }

    /// Admits a client from `address`: to be served, or to be told which limit it would exceed.
    /// Returns [`None`] where it is to be closed at once, since too many are being told already.
    pub fn admit(&mut self, address: IpAddr) -> Option<(Admitted, Option<Full>)> {
        let here = self.clients_of(&Party::Address(address));
        let full = match (self.all.clients < self.limits.clients, here < self.limits.clients_per_address) {
            (true, true) => None,
            (false, _) => Some(Full::Server),
            (true, false) => Some(Full::Address),
        };
        let admitted = if full.is_some() { self.refuse(address)? } else { self.enter(address, false) };
        Some((admitted, full))
    }

    /// Admits a client from `address` as one that is turned away. [`None`] where it is to be closed
    /// at once, since too many are being told already.
    pub fn refuse(&mut self, address: IpAddr) -> Option<Admitted> {
        let here = self.by_party.get(&Party::Address(address)).map_or(0, |here| here.refused);
        let can_tell = self.all.refused < self.limits.refused && here < self.limits.refused_per_address;
        can_tell.then(|| self.enter(address, true))
    }

    /// Admits a client from `address`, whatever the limits, as one that is turned away.
    pub fn admit_to_refuse(&mut self, address: IpAddr) -> Admitted {
        self.enter(address, true)
    }

    fn enter(&mut self, address: IpAddr, is_refused: bool) -> Admitted {
        *self.all.of(is_refused) += 1;
        *self.by_party.entry(Party::Address(address)).or_default().of(is_refused) += 1;
        assert!(is_refused || self.all.clients <= self.limits.clients, "more clients than may be served");
        Admitted { is_refused }
    }

    /// Returns how many clients of `party` are served.
    #[must_use]
    pub fn clients_of(&self, party: &Party) -> usize {
        self.by_party.get(party).map_or(0, |here| here.clients)
    }

    /// Counts a client that is served for `to` in place of `from`. False, and nothing changed,
    /// where `to` has `most` clients already, or more.
    ///
    /// # Panics
    ///
    /// Where none was admitted for `from`.
    pub fn move_to(&mut self, from: &Party, to: &Party, most: usize) -> bool {
        let fits = from == to || self.clients_of(to) < most;
        if fits {
            self.by_party.entry(to.clone()).or_default().clients += 1;
            self.leave_party(from, false);
        }
        fits
    }

    /// Counts a client of `party` no more.
    ///
    /// # Panics
    ///
    /// Where none such was admitted.
    pub fn leave(&mut self, party: &Party, Admitted { is_refused }: Admitted) {
        self.leave_party(party, is_refused);
        *self.all.of(is_refused) -= 1;
    }

    fn leave_party(&mut self, party: &Party, is_refused: bool) {
        let counts = self.by_party.entry(party.clone()).or_default();
        let count = counts.of(is_refused);
        assert!(*count > 0, "a client leaves that was not admitted");
        *count -= 1;
        if counts.clients == 0 && counts.refused == 0 {
            self.by_party.remove(party);
        }
    }

    /// Returns the `most` parties that have most clients of those that are served, and how many these are; and how many
    /// parties there are in all. It looks at all of them.
    #[must_use]
    pub fn busiest(&self, most: usize) -> (Vec<(&Party, usize)>, usize) {
        let served =
            self.by_party.iter().map(|(party, here)| (party, here.clients)).filter(|(_, clients)| *clients > 0);
        let mut parties: Vec<_> = served.collect();
        let all = parties.len();
        let fewest = |&(_, clients): &(&Party, usize)| std::cmp::Reverse(clients);
        if all > most && most > 0 {
            parties.select_nth_unstable_by_key(most - 1, fewest);
        }
        parties.truncate(most);
        parties.sort_by_key(fewest);
        (parties, all)
    }

    /// Returns whether no client counts, and nothing is kept of any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.clients == 0 && self.all.refused == 0 && self.by_party.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LIMITS: AdmissionLimits =
        AdmissionLimits { clients: 100, clients_per_address: 3, refused: 8, refused_per_address: 2 };

    fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, number).into()
    }

    #[test]
    fn the_parties_with_most_clients_are_known() {
        let limits = AdmissionLimits { clients: 10, clients_per_address: 9, ..LIMITS };
        let mut admission = Admission::new(limits);
        assert_eq!(admission.busiest(2), (vec![], 0));
        for number in [1, 2, 2, 3, 3, 3, 4] {
            let _ = admission.admit(address(number));
        }
        let _ = admission.admit_to_refuse(address(5));
        let user = Party::User(ferry_wire::UserName::new("alice").unwrap());
        assert!(admission.move_to(&Party::Address(address(4)), &user, 1));
        let three = Party::Address(address(3));
        let two = Party::Address(address(2));
        assert_eq!(admission.busiest(2), (vec![(&three, 3), (&two, 2)], 4));
        let (parties, all) = admission.busiest(9);
        assert_eq!((parties.len(), all), (4, 4));
        assert!(parties.contains(&(&user, 1)));
        assert_eq!(admission.busiest(0), (vec![], 4));
    }

    /// Counts how many of `come` are served, told that the server is full, that their address is, and closed.
    fn count(admission: &mut Admission, number: u8, come: usize, there: &mut Vec<(u8, Admitted)>) -> [usize; 4] {
        let mut counts = [0; 4];
        for _ in 0..come {
            let admitted = admission.admit(address(number));
            counts[match &admitted {
                Some((_, None)) => 0,
                Some((_, Some(Full::Server))) => 1,
                Some((_, Some(Full::Address))) => 2,
                None => 3,
            }] += 1;
            there.extend(admitted.map(|(admitted, _)| (number, admitted)));
        }
        counts
    }

    fn leaves(admission: &mut Admission, there: &mut Vec<(u8, Admitted)>, is_refused: bool) {
        let index = there.iter().position(|(_, admitted)| admitted.is_refused == is_refused).unwrap();
        let (number, admitted) = there.remove(index);
        admission.leave(&Party::Address(address(number)), admitted);
    }

    #[test]
    fn one_address_holds_its_clients_and_a_few_refused_however_many_come() {
        let (mut admission, mut there) = (Admission::new(LIMITS), Vec::new());
        for number in 1..=4 {
            assert_eq!(count(&mut admission, number, 1_000, &mut there), [3, 0, 2, 995]);
            assert!(admission.has_room());
        }
        // In all, too, only so many are told.
        assert_eq!(count(&mut admission, 5, 1_000, &mut there), [3, 0, 0, 997]);
        assert_eq!((admission.all.clients, admission.all.refused), (15, 8));
        leaves(&mut admission, &mut there, true);
        assert_eq!(count(&mut admission, 5, 2, &mut there), [0, 0, 1, 1]);
    }

    #[test]
    fn where_the_server_is_full_those_wait_who_could_only_be_told_so() {
        let limits = AdmissionLimits { clients: 4, clients_per_address: 4, refused: 2, refused_per_address: 2 };
        let (mut admission, mut there) = (Admission::new(limits), Vec::new());
        assert_eq!(count(&mut admission, 1, 5, &mut there), [4, 1, 0, 0]);
        assert!(admission.has_room());
        assert_eq!(count(&mut admission, 2, 1, &mut there), [0, 1, 0, 0]);
        assert!(!admission.has_room());
        leaves(&mut admission, &mut there, false);
        assert!(admission.has_room());
        assert_eq!(count(&mut admission, 2, 1, &mut there), [1, 0, 0, 0]);
    }

    #[test]
    fn nothing_is_kept_of_those_who_are_gone() {
        let limits = AdmissionLimits { clients: 2, clients_per_address: 1, refused: 2, refused_per_address: 1 };
        let (mut admission, mut there) = (Admission::new(limits), Vec::new());
        for number in [1, 1, 2, 3] {
            count(&mut admission, number, 1, &mut there);
        }
        assert_eq!((admission.all.clients, admission.all.refused, admission.by_party.len()), (2, 2, 3));
        there.push((9, admission.admit_to_refuse(address(9))));
        there.into_iter().for_each(|(number, admitted)| admission.leave(&Party::Address(address(number)), admitted));
        assert!(admission.is_empty());
    }

    #[test]
    fn who_logs_in_counts_for_the_user_and_no_more_for_the_address() {
        let (mut admission, mut there) = (Admission::new(LIMITS), Vec::new());
        let users = ["alice", "bob"].map(|name| Party::User(ferry_wire::UserName::new(name).unwrap()));
        let [alice, bob] = &users;
        let (here, elsewhere) = (Party::Address(address(1)), Party::Address(address(2)));
        assert_eq!(count(&mut admission, 1, 4, &mut there), [3, 0, 1, 0]);
        assert!(admission.move_to(&here, alice, 2) && admission.move_to(&here, alice, 2));
        assert!(!admission.move_to(&here, alice, 2), "a third client of a user who may have two");
        // The address has room again, and the user has none from anywhere.
        assert_eq!(count(&mut admission, 1, 3, &mut there), [2, 0, 1, 0]);
        assert_eq!(count(&mut admission, 2, 1, &mut there), [1, 0, 0, 0]);
        assert!(!admission.move_to(&elsewhere, alice, 2) && admission.move_to(&elsewhere, bob, 1));
        // To log in again as the same user takes no more room, also where the limit was lowered.
        assert!(admission.move_to(alice, alice, 1) && admission.move_to(alice, bob, 2));
        assert_eq!((admission.clients_of(alice), admission.clients_of(bob), admission.clients_of(&here)), (1, 2, 3));
        assert_eq!(admission.all.clients, 6);
    }

    #[test]
    fn clients_above_a_lowered_limit_stay_and_no_more_come() {
        let (mut admission, mut there) = (Admission::new(LIMITS), Vec::new());
        count(&mut admission, 1, 3, &mut there);
        admission.set_limits(AdmissionLimits { clients: 2, clients_per_address: 1, ..LIMITS });
        assert_eq!(count(&mut admission, 2, 1, &mut there), [0, 1, 0, 0]);
        there.drain(..2).for_each(|(number, admitted)| admission.leave(&Party::Address(address(number)), admitted));
        assert_eq!(count(&mut admission, 1, 1, &mut there), [0, 0, 1, 0]);
        assert_eq!(count(&mut admission, 2, 1, &mut there), [1, 0, 0, 0]);
    }

    #[test]
    #[should_panic(expected = "not admitted")]
    fn nobody_leaves_who_was_not_admitted() {
        Admission::new(LIMITS).leave(&Party::Address(address(1)), Admitted { is_refused: false });
    }
}
