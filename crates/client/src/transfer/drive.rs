//! Rounds: each has one connection, and what it leaves undone is the next one's.

use std::time::{Duration, Instant};

use ferry_wire::Code;

use super::{Event, Settings, tally::Tally};
use crate::{
    Client,
    address::Address,
    error::{Error, Stranger},
    link::Link,
    options::Options,
    random,
};

/// Before the first attempt to open a lost connection again: a server that was only restarted is there at once.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// How much longer each following wait is.
const WAIT_FACTOR: u32 = 3;

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Between two looks at the caller's flag.
const LOOK: Duration = Duration::from_millis(50);

/// Why a round ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The connection is gone, or of no more use: an error that a new one may mend, or that ends everything.
    Broken(Error),
    /// What is still to come on it is not wanted; nothing is wrong.
    Unwanted,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Broken(error)
    }
}

/// Whether a new connection may mend it.
pub(super) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Closed(_)
        | Error::NotConnected
        | Error::Refused { .. }
        | Error::Unreachable { .. }
        | Error::Timeout(_)
        // So does one that is just being started or ended, or what stands before it.
        | Error::NotFerry { stranger: Stranger::Closing | Stranger::Silent(_), .. } => true,
        Error::Server(failure) => is_farewell(failure.code),
        _ => false,
    }
}

/// Whether the server closes behind a FAIL with this code, and may be there again.
pub(super) fn is_farewell(code: Code) -> bool {
    matches!(code, Code::Timeout | Code::ShuttingDown)
}

/// Connects, and tries again as often as `retries` says.
pub(crate) fn connect(
    address: &Address,
    options: &Options,
    retries: u32,
    watch: &mut dyn FnMut(&Event<'_>),
) -> Result<Client, Error> {
    let mut attempt = 0;
    loop {
        let error = match Client::connect(address, options.clone()) {
            Ok(client) => {
                if attempt > 0 {
                    watch(&Event::Reconnected);
                }
                return Ok(client);
            }
            Err(error) => error,
        };
        let again = is_lost(&error) || error.code() == Some(Code::Busy);
        if !again || attempt >= retries {
            return Err(error);
        }
        attempt += 1;
        let wait = wait_before(attempt)?;
        watch(&Event::Lost { error: &error, attempt, wait });
        pause(options, wait)?;
    }
}

/// Runs `round` on the connection until nothing is left to do, opening it again where it is lost.
pub(super) fn drive(
    client: &mut Client,
    settings: &Settings,
    tally: &mut Tally<'_>,
    mut round: impl FnMut(&mut Link, &mut Tally<'_>) -> Result<(), Stop>,
) {
    let mut attempt = 0;
    while !tally.queue.is_empty() {
        tally.progress = false;
        let error = match client.with_link(|link| round(link, tally)) {
            Ok(()) => {
                attempt = 0;
                continue;
            }
            Err(Stop::Unwanted) => {
                if client.reconnect().is_ok() {
                    continue;
                }
                Error::NotConnected
            }
            Err(Stop::Broken(error)) => error,
        };
        if tally.queue.is_empty() {
            return;
        }
        if tally.progress {
            attempt = 0;
        }
        if let Err(error) = open_again(client, settings, tally, error, &mut attempt) {
            give_up(tally, error);
        }
    }
}

/// Waits and connects until that works, or `settings` say that it is enough.
fn open_again(
    client: &mut Client,
    settings: &Settings,
    tally: &mut Tally<'_>,
    mut error: Error,
    attempt: &mut u32,
) -> Result<(), Error> {
    loop {
        let again = is_lost(&error) || is_busy(client, &error);
        if !again || *attempt >= settings.retries || tally.stopped {
            return Err(error);
        }
        *attempt += 1;
        let wait = wait_before(*attempt)?;
        tally.tell(&Event::Lost { error: &error, attempt: *attempt, wait });
        pause(client.options(), wait)?;
        match client.reconnect() {
            Ok(()) => {
                tally.tell(&Event::Reconnected);
                return Ok(());
            }
            Err(new) => error = new,
        }
    }
}

/// A server that turns new connections away for a while.
fn is_busy(client: &Client, error: &Error) -> bool {
    !client.is_connected() && error.code() == Some(Code::Busy)
}

/// Exponential, and drawn between half and the whole, so that many who lost the same server do not come back at once.
fn wait_before(attempt: u32) -> Result<Duration, Error> {
    let full = FIRST_WAIT.saturating_mul(WAIT_FACTOR.saturating_pow(attempt.saturating_sub(1))).min(LONGEST_WAIT);
    let half = full / 2;
    let part = u32::try_from(random::bits()? % 1000).unwrap_or(0);
    Ok(half + half * part / 1000)
}

fn pause(options: &Options, wait: Duration) -> Result<(), Error> {
    let end = Instant::now() + wait;
    loop {
        if options.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// What is left fails: the first with the reason, the others untried.
fn give_up(tally: &mut Tally<'_>, error: Error) {
    if let Some(index) = tally.queue.pop_front() {
        tally.failed(index, error);
    }
    if !tally.stopped {
        tally.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_have_a_limit() {
        let mut before = Duration::ZERO;
        for attempt in 1..20 {
            let wait = wait_before(attempt).unwrap();
            assert!(wait <= LONGEST_WAIT && (wait >= before || before > LONGEST_WAIT / 2), "{attempt}: {wait:?}");
            before = wait;
        }
        assert!(wait_before(1).unwrap() <= FIRST_WAIT);
        assert!(wait_before(u32::MAX).unwrap() >= LONGEST_WAIT / 2);
    }
}
