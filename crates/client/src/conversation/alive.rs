//! Waiting for a server that goes through a whole file before it answers: as long as that takes, and it is alive.

use std::time::{Duration, Instant};

use ferry_wire::{Name, Reply};

use super::{
    Exchange, greeting, login,
    requests::{Stat, stat},
};
use crate::{address::Address, error::Error, link::Link};

/// How much longer than for a byte a client waits for such a server that gives no sign of life.
const WORK_FACTOR: u32 = 10;

/// The slowest disk that is waited for. Signs of life alone could keep a client for ever.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;

/// How much the server has to go through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent<'a> {
    Bytes(u64),
    /// All of this file.
    Whole(&'a Name),
    /// No file, but its disk has to take a change.
    Change,
}

impl<T> Exchange<'_, T> {
    /// Waits for the reply to a request for which the server goes through `extent`. A server that is silent for ten timeouts,
    /// or for one where there is no file to go through, is asked for a sign of life on a second connection. As long as
    /// it gives one it is waited for, up to the time that a very slow disk takes for so many bytes.
    pub(crate) fn reply_after(&mut self, extent: Extent<'_>) -> Result<(T, Reply), Error> {
        self.patiently(extent, Exchange::reply_within)
    }

    /// Waits in the same way until the server keeps more of the stream under way, of which it has `bytes` to store, or refuses it.
    pub(crate) fn wait_for_more_kept(&mut self, bytes: u64) -> Result<(), Error> {
        self.patiently(Extent::Bytes(bytes), Exchange::more_kept_within)
    }

    fn patiently<R>(
        &mut self,
        extent: Extent<'_>,
        mut wait: impl FnMut(&mut Self, Duration) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let begun = Instant::now();
        let timeout = self.link().timeout();
        let limit = match extent {
            Extent::Change => timeout,
            Extent::Bytes(_) | Extent::Whole(_) => timeout.saturating_mul(WORK_FACTOR),
        };
        loop {
            let silence = match wait(self, limit) {
                // A line that was begun and does not end is no work.
                Err(silence @ Error::Timeout(_)) if !self.has_begun() => silence,
                result => return result,
            };
            let bytes = match bytes_to_go_through(self.link(), extent) {
                Ok(bytes) => bytes,
                Err(interrupted @ Error::Interrupted) => return Err(interrupted),
                Err(error) => {
                    log::info!("no sign of life: {error}");
                    return Err(silence);
                }
            };
            if begun.elapsed() >= longest(bytes, timeout) {
                return Err(silence);
            }
            log::info!("the server is silent for {:?} and alive", begun.elapsed());
        }
    }
}

fn longest(bytes: u64, timeout: Duration) -> Duration {
    timeout.saturating_mul(WORK_FACTOR).saturating_add(Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND))
}

/// Asks the server on a connection of its own. Fails where it is not alive.
fn bytes_to_go_through(link: &Link, extent: Extent<'_>) -> Result<u64, Error> {
    let peer = link.peer();
    let address = Address::new(peer.ip().to_string(), peer.port());
    let mut other = link.siblings().open().map_err(|error| error.of(&address))?;
    let known = match extent {
        Extent::Bytes(bytes) => bytes,
        Extent::Whole(_) | Extent::Change => 0,
    };
    let greeted =
        greeting::receive(&mut other, &address, link.timeout()).and_then(|greeting| match link.credentials() {
            Some(credentials) => login::log_in(&mut other, &address, &greeting, credentials),
            None => Ok(()),
        });
    let asked = greeted.and_then(|()| match extent {
        Extent::Bytes(_) | Extent::Change => Ok(known),
        Extent::Whole(name) => match stat(&mut other, name)? {
            Stat::File(meta) => Ok(meta.size),
            Stat::Directory(_) => Ok(0),
        },
    });
    match asked {
        // One that turns this connection away lives.
        Err(Error::Server(_) | Error::Login { .. }) => Ok(known),
        asked => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_grows_with_the_size_and_has_an_end() {
        let timeout = Duration::from_secs(30);
        assert_eq!(longest(0, timeout).as_secs(), 300);
        assert_eq!(longest(1 << 30, timeout).as_secs(), 300 + 16384);
        assert!(longest(u64::MAX, Duration::MAX) > Duration::from_secs(1 << 40));
    }
}
