//! Lost connections: which are worth opening again, how long is waited before that, and how often.

use std::time::{Duration, Instant};

use ferry_wire::Code;

use super::{Event, IfAbsent, Settings};
use crate::{
    address::Address,
    connection::Connection,
    error::{Error, Stranger},
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

/// Whether a new connection may mend it.
pub(crate) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Closed(_)
        | Error::Broken(_)
        | Error::NotConnected
        | Error::Refused { .. }
        | Error::Unreachable { .. }
        | Error::Timeout(_)
        | Error::Slow { .. }
        // So does one that is just being started or ended, or what stands before it.
        | Error::Tls { is_cut: true, .. }
        | Error::NotFerry { stranger: Stranger::Closing | Stranger::Silent(_), .. } => true,
        Error::Server(failure) => is_farewell(failure.code),
        _ => false,
    }
}

/// Whether another attempt to connect may succeed: a server that turns new connections away may do so for a while.
fn may_pass(error: &Error) -> bool {
    is_lost(error) || error.code() == Some(Code::Busy)
}

/// Whether somebody was there to be connected to.
fn was_there(error: &Error) -> bool {
    !matches!(
        error,
        Error::Refused { .. }
            | Error::Unreachable { .. }
            | Error::Timeout(_)
            | Error::NotFerry { stranger: Stranger::Silent(_), .. }
    )
}

/// Whether the server closes after a FAIL with this code, and may be there again.
pub(super) fn is_farewell(code: Code) -> bool {
    matches!(code, Code::Timeout | Code::ShuttingDown)
}

/// A connection that is lost, from its first loss until something moves again.
pub(crate) struct Outage<'s> {
    settings: &'s Settings,
    /// Attempts in a row.
    attempt: u32,
    since: Option<Instant>,
    /// The server, where it is the one that files are only read from.
    source: Option<Address>,
}

impl<'s> Outage<'s> {
    pub(crate) fn new(settings: &'s Settings) -> Outage<'s> {
        Outage { settings, attempt: 0, since: None, source: None }
    }

    /// The same, of the server at `source`, which files are only read from.
    pub(super) fn of_source(settings: &'s Settings, source: Address) -> Outage<'s> {
        Outage { source: Some(source), ..Outage::new(settings) }
    }

    /// Something has moved.
    pub(super) fn end(&mut self) {
        (self.attempt, self.since) = (0, None);
    }

    /// Waits before the next attempt, which is told. False where there were enough.
    fn wait(&mut self, options: &Options, error: &Error, watch: &mut dyn FnMut(&Event<'_>)) -> Result<bool, Error> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = self.settings.retry_for.saturating_sub(since.elapsed());
        if self.attempt >= self.settings.retries && left.is_zero() {
            return Ok(false);
        }
        self.attempt = self.attempt.saturating_add(1);
        let mut wait = wait_before(self.attempt)?;
        if self.attempt > self.settings.retries {
            // The last attempt is made when the time is up, and not long after.
            wait = wait.min(left);
        }
        watch(&Event::Lost { source: self.source.as_ref(), error, attempt: self.attempt, wait, left });
        pause(options, wait)?;
        Ok(true)
    }

    /// Waits and connects until that works, or it is enough. `error` is why the connection is of no more use.
    pub(crate) fn reopen(
        &mut self,
        connection: &mut Connection,
        watch: &mut dyn FnMut(&Event<'_>),
        error: Error,
    ) -> Result<(), Error> {
        let options = connection.options().clone();
        // A request that is `busy` says nothing of the connection.
        let may_pass = if connection.is_open() { is_lost(&error) } else { may_pass(&error) };
        if !may_pass {
            return Err(error);
        }
        self.until(&options, watch, error, || connection.reopen())
    }

    /// Waits and calls `connect` until that works, fails for good, or it is enough. `error` is of the attempt before.
    fn until<T>(
        &mut self,
        options: &Options,
        watch: &mut dyn FnMut(&Event<'_>),
        mut error: Error,
        mut connect: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        while self.wait(options, &error, watch)? {
            match connect() {
                Ok(connected) => {
                    watch(&Event::Reconnected);
                    return Ok(connected);
                }
                Err(new) if may_pass(&new) => error = new,
                Err(new) => return Err(new),
            }
        }
        Err(error)
    }
}

/// Connects, and tries again as `settings` and `if_absent` say.
pub(crate) fn connect(
    address: &Address,
    options: &Options,
    (settings, if_absent): (&Settings, IfAbsent),
    watch: &mut dyn FnMut(&Event<'_>),
) -> Result<Connection, Error> {
    let open = || Connection::open(address, options.clone());
    let is_awaited = |error: &Error| may_pass(error) && (if_absent == IfAbsent::Wait || was_there(error));
    match open() {
        Err(error) if is_awaited(&error) => Outage::new(settings).until(options, watch, error, open),
        opened => opened,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_waited_for_by_count_or_by_time_whichever_lasts_longer() {
        let lasting = |retries, retry_for| {
            let settings = Settings { retries, retry_for, ..Settings::default() };
            let (mut outage, mut told) = (Outage::new(&settings), 0);
            let mut options = Options::default();
            let cancel = crate::Cancel::default();
            options = options.cancel(cancel.clone());
            let mut watch = |event: &Event<'_>| {
                told += 1;
                assert!(matches!(event, Event::Lost { attempt, .. } if *attempt == told));
                // Enough of it is enough.
                if told == 3 {
                    cancel.cancel();
                }
            };
            let mut waits = || outage.wait(&options, &Error::NotConnected, &mut watch);
            let ended = loop {
                match waits() {
                    Ok(true) => {}
                    ended => break ended,
                }
            };
            (told, ended.is_err())
        };
        assert_eq!(lasting(0, Duration::ZERO), (0, false));
        assert_eq!(lasting(2, Duration::ZERO), (2, false));
        assert_eq!(lasting(0, Duration::from_secs(3600)), (3, true), "interrupted, and not given up");
        assert_eq!(lasting(1, Duration::from_nanos(1)), (1, false));
    }

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
