//! Decides who is served, who is told that there is no room, and who is not even told.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
};

/// The most that may be there at one time.
#[derive(Debug, Clone)]
pub(super) struct Most {
    /// Clients that are served, in all and from one address.
    pub(super) clients: usize,
    pub(super) clients_here: usize,
    /// Clients that are being told that there is no room, in all and from one address: each holds a descriptor until
    /// it has gone.
    pub(super) refused: usize,
    pub(super) refused_here: usize,
}

/// The fate of somebody who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is served.
    Served,
    /// It is told that the server has all the clients that it may have.
    Full,
    /// It is told that its address has.
    FullHere,
    /// It is not told: too many are being told already.
    Closed,
}

#[derive(Debug, Default)]
struct Here {
    clients: usize,
    refused: usize,
}

/// Counts those who are there.
#[derive(Debug)]
pub(super) struct Admissions {
    most: Most,
    clients: usize,
    refused: usize,
    by_address: HashMap<IpAddr, Here>,
}

impl Admissions {
    pub(super) fn new(most: Most) -> Admissions {
        Admissions { most, clients: 0, refused: 0, by_address: HashMap::new() }
    }

    /// Whether anybody need be accepted now. Where the server is full, and many are being told so, the others can wait:
    /// nobody could be served before them.
    pub(super) fn has_room(&self) -> bool {
        self.clients < self.most.clients || self.refused < self.most.refused
    }

    /// Decides about somebody from `address`.
    pub(super) fn decide(&self, address: IpAddr) -> Admission {
        let none = Here::default();
        let here = self.by_address.get(&address).unwrap_or(&none);
        let refusal = match (self.clients < self.most.clients, here.clients < self.most.clients_here) {
            (true, true) => return Admission::Served,
            (false, _) => Admission::Full,
            (true, false) => Admission::FullHere,
        };
        let can_tell = self.refused < self.most.refused && here.refused < self.most.refused_here;
        if can_tell { refusal } else { Admission::Closed }
    }

    /// Counts somebody from `address` who is served, or else refused.
    pub(super) fn enter(&mut self, address: IpAddr, is_refused: bool) {
        let here = self.by_address.entry(address).or_default();
        let (all, here) = match is_refused {
            true => (&mut self.refused, &mut here.refused),
            false => (&mut self.clients, &mut here.clients),
        };
        *all += 1;
        *here += 1;
    }

    /// Counts no more somebody who had entered.
    pub(super) fn leave(&mut self, address: IpAddr, is_refused: bool) {
        let Entry::Occupied(mut entry) = self.by_address.entry(address) else {
            debug_assert!(false, "somebody leaves who had not entered");
            return;
        };
        let here = entry.get_mut();
        let (all, here_count) = match is_refused {
            true => (&mut self.refused, &mut here.refused),
            false => (&mut self.clients, &mut here.clients),
        };
        *all -= 1;
        *here_count -= 1;
        if here.clients == 0 && here.refused == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, number).into()
    }

    /// Somebody comes, and is counted as what it was decided to be.
    fn comes(admissions: &mut Admissions, number: u8) -> Admission {
        let admission = admissions.decide(address(number));
        match admission {
            Admission::Served => admissions.enter(address(number), false),
            Admission::Full | Admission::FullHere => admissions.enter(address(number), true),
            Admission::Closed => {}
        }
        admission
    }

    fn count(admissions: &mut Admissions, number: u8, come: usize) -> [usize; 4] {
        let mut counts = [0; 4];
        for _ in 0..come {
            counts[comes(admissions, number) as usize] += 1;
        }
        counts
    }

    #[test]
    fn one_address_holds_its_clients_and_a_few_refused_however_many_come() {
        let most = Most { clients: 100, clients_here: 3, refused: 8, refused_here: 2 };
        let mut admissions = Admissions::new(most);
        for number in 1..=4 {
            assert_eq!(count(&mut admissions, number, 1_000), [3, 0, 2, 995]);
            assert!(admissions.has_room());
        }
        // In all, too, only so many are told.
        assert_eq!(count(&mut admissions, 5, 1_000), [3, 0, 0, 997]);
        assert_eq!((admissions.clients, admissions.refused), (15, 8));
        admissions.leave(address(1), true);
        assert_eq!(count(&mut admissions, 5, 2), [0, 0, 1, 1]);
    }

    #[test]
    fn where_the_server_is_full_those_wait_who_could_only_be_told_so() {
        let most = Most { clients: 4, clients_here: 4, refused: 2, refused_here: 2 };
        let mut admissions = Admissions::new(most);
        assert_eq!(count(&mut admissions, 1, 5), [4, 1, 0, 0]);
        assert!(admissions.has_room());
        assert_eq!(comes(&mut admissions, 2), Admission::Full);
        assert!(!admissions.has_room());
        admissions.leave(address(1), false);
        assert!(admissions.has_room());
        assert_eq!(comes(&mut admissions, 2), Admission::Served);
    }

    #[test]
    fn nothing_is_kept_of_those_who_are_gone() {
        let most = Most { clients: 2, clients_here: 1, refused: 2, refused_here: 1 };
        let mut admissions = Admissions::new(most);
        for number in [1, 1, 2, 3] {
            comes(&mut admissions, number);
        }
        assert_eq!((admissions.clients, admissions.refused, admissions.by_address.len()), (2, 2, 3));
        for (number, is_refused) in [(1, true), (1, false), (2, false), (3, true)] {
            admissions.leave(address(number), is_refused);
        }
        assert_eq!((admissions.clients, admissions.refused, admissions.by_address.len()), (0, 0, 0));
    }
}
