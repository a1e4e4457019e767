//! Deadlines of connections.

use std::{collections::BTreeSet, time::Instant};

use mio::Token;

/// The deadlines of connections: at most one entry for each. A deadline that moves back leaves its
/// entry where it is: a connection that is looked at too early is armed again. So the traffic of a
/// busy client costs nothing here.
#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: BTreeSet<(Instant, Token)>,
}

impl Timers {
    /// Arms the timer of `token` for `at`. Its entry, if it has one, is `set`, and stays if it is earlier.
    pub(super) fn arm(&mut self, set: &mut Option<Instant>, at: Instant, token: Token) {
        if set.is_none_or(|set| at < set) {
            self.disarm(set, token);
            *set = Some(at);
            assert!(self.entries.insert((at, token)), "a timer that was disarmed is still set");
        }
    }

    /// Disarms the timer of `token`.
    pub(super) fn disarm(&mut self, set: &mut Option<Instant>, token: Token) {
        if let Some(at) = set.take() {
            self.entries.remove(&(at, token));
        }
    }

    /// Returns the earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// Takes an entry whose deadline has come.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Token> {
        let (at, token) = *self.entries.first()?;
        (at <= now).then(|| {
            self.entries.pop_first();
            token
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_entry_a_connection_and_the_earliest_counts() {
        let (start, token) = (Instant::now(), Token(7));
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut timers, mut set) = (Timers::default(), None);
        timers.arm(&mut set, at(5), token);
        timers.arm(&mut set, at(9), token);
        assert_eq!(timers.next(), Some(at(5)));
        timers.arm(&mut set, at(3), token);
        assert_eq!((timers.next(), timers.entries.len()), (Some(at(3)), 1));
        assert_eq!(timers.expired(at(2)), None);
        assert_eq!(timers.expired(at(3)), Some(token));
        set = None;
        timers.arm(&mut set, at(4), token);
        timers.disarm(&mut set, token);
        assert_eq!(timers.next(), None);
    }
}
