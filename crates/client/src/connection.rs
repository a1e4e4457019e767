//! Where a server is, and the link to it while there is one.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
};

use ferry_wire::{Code, Greeting};

use crate::{
    address::Address,
    conversation::{Conversation, greeting, login},
    error::Error,
    link::{Link, Siblings},
    login::Credentials,
    options::{Cancel, Options},
};

/// A server that was reached once, and the link to it as long as that can be used.
#[derive(Debug)]
pub(crate) struct Connection {
    address: Address,
    options: Options,
    greeting: Greeting,
    /// Whether a server said so on any link so far.
    is_volatile: bool,
    link: Option<Link>,
}

impl Connection {
    /// Connects, reads the greeting and logs in where a user is given.
    pub(crate) fn open(address: &Address, mut options: Options) -> Result<Connection, Error> {
        let (link, greeting) = open(address, &mut options)?;
        let is_volatile = greeting.has(Greeting::VOLATILE);
        Ok(Connection { address: address.clone(), options, greeting, is_volatile, link: Some(link) })
    }

    /// Opens one more connection like the one that `twins` was made of: see [`Link::twins`].
    pub(crate) fn twin(twins: &Siblings) -> Result<Connection, Error> {
        let (link, greeting) = twin(twins)?;
        let (address, options) = (twins.address().clone(), twins.options().clone());
        let is_volatile = greeting.has(Greeting::VOLATILE);
        Ok(Connection { address, options, greeting, is_volatile, link: Some(link) })
    }

    /// Returns how others like it are opened of which nobody knows: see [`Link::twins`].
    pub(crate) fn twins(&self) -> Option<Siblings> {
        self.link.as_ref().map(Link::twins)
    }

    /// Ends what is under way also when `leave` is raised, until this is called again.
    pub(crate) fn leave_when(&mut self, leave: &Cancel) {
        self.options.leave = leave.clone();
        if let Some(link) = &mut self.link {
            link.leave_when(leave.clone());
        }
    }

    /// Connects again, whatever became of the old link.
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        self.link = None;
        let (link, greeting) = open(&self.address, &mut self.options)?;
        self.is_volatile |= greeting.has(Greeting::VOLATILE);
        (self.link, self.greeting) = (Some(link), greeting);
        Ok(())
    }

    /// Logs in, and from now on does so on every link.
    pub(crate) fn log_in(&mut self, credentials: Credentials) -> Result<(), Error> {
        let (address, greeting) = (self.address.clone(), self.greeting.clone());
        self.converse(|link| {
            login::log_in(link, &address, &greeting, &credentials)?;
            link.set_credentials(credentials.clone());
            Ok(())
        })?;
        self.options.credentials = Some(credentials);
        Ok(())
    }

    /// Takes over a link to the same server, where the own one is of no further use.
    pub(crate) fn take_over(&mut self, link: Link) {
        if self.link.is_none() && link.is_usable() {
            self.link = Some(link);
        }
    }

    /// A further link to the same server has said in its greeting that the server is volatile.
    pub(crate) fn note_volatile(&mut self) {
        self.is_volatile = true;
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    pub(crate) fn is_volatile(&self) -> bool {
        self.is_volatile
    }

    /// Whether there is a link over which TLS is spoken.
    pub(crate) fn is_secure(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_secure)
    }

    /// Whether there is a link, as far as the last use could tell.
    pub(crate) fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// Lends the link to `work`, and drops it where that leaves it of no further use, or shows that what comes on it can't
    /// be followed or believed any more.
    pub(crate) fn converse<T>(&mut self, work: impl FnOnce(&mut Link) -> Result<T, Error>) -> Result<T, Error> {
        let mut link = self.link.take().ok_or(Error::NotConnected)?;
        let result = at_rest(&mut link).and_then(|()| work(&mut link));
        if link.is_usable() && !matches!(result, Err(Error::Violation(_) | Error::Closed(_) | Error::Broken(_))) {
            self.link = Some(link);
        }
        result
    }
}

/// Looks, without waiting, whether the server has said something unasked, or closed.
fn at_rest(link: &mut Link) -> Result<(), Error> {
    link.exchange_all();
    Conversation::<()>::new().next_reply(link.input())?;
    link.check_open()
}

/// Opens a link, and has `options` say what the next one has to keep to.
fn open(address: &Address, options: &mut Options) -> Result<(Link, Greeting), Error> {
    let (link, greeting) = ready(address, options)?;
    options.security = options.security.after(link.is_secure());
    Ok((link, greeting))
}

fn ready(address: &Address, options: &Options) -> Result<(Link, Greeting), Error> {
    let Some(credentials) = &options.credentials else { return greeted(address, options) };
    let was_known = credentials.has_secret();
    match logged_in(address, options, credentials) {
        // The server has not waited for the person who was asked, whose answer is known now.
        Err(error) if !was_known && credentials.has_secret() && has_gone(&error) => {
            logged_in(address, options, credentials)
        }
        opened => opened,
    }
}

/// Opens one more link like one that stands, and logs in as that did. Also returns whether the server said that it is volatile.
pub(crate) fn open_twin(twins: &Siblings) -> Result<(Link, bool), Error> {
    twin(twins).map(|(link, greeting)| (link, greeting.has(Greeting::VOLATILE)))
}

fn twin(twins: &Siblings) -> Result<(Link, Greeting), Error> {
    let address = twins.address();
    let mut link = twins.open().map_err(|error| error.of(address))?;
    let timeout = link.timeout();
    let greeting = greeting::receive(&mut link, address, timeout)?;
    link.note_greeting(&greeting);
    if let Some(credentials) = link.credentials().cloned() {
        login::log_in(&mut link, address, &greeting, &credentials)?;
    }
    Ok((link, greeting))
}

fn has_gone(error: &Error) -> bool {
    matches!(error, Error::Closed(_)) || error.code() == Some(Code::Timeout)
}

fn logged_in(address: &Address, options: &Options, credentials: &Credentials) -> Result<(Link, Greeting), Error> {
    let (mut link, greeting) = greeted(address, options)?;
    login::log_in(&mut link, address, &greeting, credentials)?;
    Ok((link, greeting))
}

fn greeted(address: &Address, options: &Options) -> Result<(Link, Greeting), Error> {
    let mut link = connect_any(address, options)?;
    let greeting = greeting::receive(&mut link, address, options.timeout)?;
    link.note_greeting(&greeting);
    log::info!("connected to {address}: {}", ferry_wire::escaped(&greeting.software));
    Ok((link, greeting))
}

/// Tries every address that the host has, in the order of the system.
fn connect_any(address: &Address, options: &Options) -> Result<Link, Error> {
    let unreachable = |source| Error::Unreachable { address: address.clone(), source };
    let peers = (address.host(), address.port()).to_socket_addrs().map_err(unreachable)?;
    let mut last = unreachable(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    for peer in peers {
        last = match connect_one(peer, address, options) {
            Ok(link) => return Ok(link),
            Err(error @ Error::Interrupted) => return Err(error),
            Err(error) => error,
        };
    }
    Err(last)
}

fn connect_one(peer: SocketAddr, address: &Address, options: &Options) -> Result<Link, Error> {
    Link::connect(peer, address, options).map_err(|error| error.of(address))
}
