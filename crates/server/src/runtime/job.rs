//! Operations that go from the loop to its helpers, and outcomes that come back.

use std::net::{IpAddr, Ipv6Addr};

use ferry_wire::Name;
use mio::Token;

use super::lease_use::LeaseUse;
use crate::{
    protocol::ferry::{Errand, Outcome, Owner, Work},
    store::Disk,
};

/// An operation of a connection, on its way to a helper.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) token: Token,
    pub(super) errand: Errand,
    pub(super) work: Work<Disk>,
    /// Its part in the lease of an upload.
    pub(super) lease: Option<LeaseUse>,
}

impl Job {
    /// Returns the job of a connection from `address`, which becomes the owner of an upload that belongs to nobody.
    pub(super) fn new(token: Token, address: IpAddr, errand: Errand, mut work: Work<Disk>) -> Job {
        if let Work::Resume { owner, .. } = &mut work
            && owner.is_nobody()
        {
            *owner = owner_of(address);
        }
        let lease = LeaseUse::of(&work, |upload| upload.id().cloned());
        Job { token, errand, work, lease }
    }

    /// Returns the name of the file or directory that is read; [`None`] for an operation that changes something.
    pub(super) fn subject(&self) -> Option<&str> {
        match &self.work {
            Work::Open { name, .. } | Work::Stat { name } => Some(name.as_str()),
            Work::List { name } => Some(name.as_ref().map_or("", Name::as_str)),
            Work::Load { file, .. } | Work::Check { file } => Some(file.name()),
            Work::ListMore { dir } => Some(dir.name()),
            _ => None,
        }
    }
}

/// The outcome of an operation, on its way back.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) token: Token,
    pub(super) errand: Errand,
    pub(super) outcome: Outcome<'static, Disk>,
    /// As the job had it.
    pub(super) lease: Option<LeaseUse>,
}

/// Returns the owner of uploads that a client from `address` begins. Of an IPv6 address the first half counts: a client
/// chooses the other one itself.
fn owner_of(address: IpAddr) -> Owner {
    let name = match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    };
    Owner::new(&format!("address={name}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_half_an_address_is_one_owner() {
        let owner = |address: &str| owner_of(address.parse().unwrap()).name().unwrap().to_owned();
        assert_eq!(owner("192.0.2.7"), "address=192.0.2.7");
        assert_eq!(owner("::ffff:192.0.2.7"), "address=192.0.2.7");
        assert_eq!(owner("2001:db8:1:2:3:4:5:6"), "address=2001:db8:1:2::/64");
        assert_eq!(owner("2001:db8:1:2::9"), owner("2001:db8:1:2:3:4:5:6"));
        assert_ne!(owner("2001:db8:1:3::9"), owner("2001:db8:1:2::9"));
    }
}
