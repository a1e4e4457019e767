//! Rounds: each has one connection, and what it leaves undone is the next one's.

use super::{Settings, retry::Outage, tally::Tally};
use crate::{connection::Connection, error::Error, link::Link};

/// Why a round ended before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The connection is gone, or of no more use: an error that a new one may mend, or that ends everything.
    Broken(Error),
    /// The rest of the input is not wanted; nothing is wrong.
    Unwanted,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Broken(error)
    }
}

/// Runs `round` on the connection until nothing is left to do, opening it again where it is lost.
pub(super) fn drive(
    connection: &mut Connection,
    settings: &Settings,
    tally: &mut Tally<'_>,
    mut round: impl FnMut(&mut Link, &mut Tally<'_>) -> Result<(), Stop>,
) {
    let mut outage = Outage::new(settings);
    while tally.next().is_some() {
        tally.progress = false;
        let mut unwanted = false;
        let result = connection.converse(|link| match round(link, tally) {
            Err(Stop::Unwanted) => {
                link.abandon();
                unwanted = true;
                Ok(())
            }
            Err(Stop::Broken(error)) => Err(error),
            Ok(()) => Ok(()),
        });
        tally.take_back();
        let error = match result {
            Ok(()) if !unwanted => {
                outage.end();
                continue;
            }
            // Nothing is tried again for who did not ask for it.
            Ok(()) if tally.is_alone() || connection.reopen().is_ok() => continue,
            Ok(()) => Error::NotConnected,
            Err(error) => error,
        };
        if tally.next().is_none() {
            return;
        }
        if tally.progress {
            outage.end();
        }
        let result = match tally.stopped {
            true => Err(error),
            false => outage.reopen(connection, &mut |event| tally.tell(event), error),
        };
        if let Err(error) = result {
            give_up(tally, error);
        }
    }
}

/// Fails all files that are left: the first with the reason, the others untried.
fn give_up(tally: &mut Tally<'_>, error: Error) {
    if let Some(index) = tally.next() {
        tally.take();
        tally.failed(index, error);
    }
    if !tally.stopped {
        tally.stop();
    }
}
