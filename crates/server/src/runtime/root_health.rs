//! Whether the root answers: looked at by a helper every so often, and whenever a client asks.
//!
//! All who want to know share one look, so that a root that hangs holds up one helper, however many
//! ask. One that is not answered within a second counts as a failure, though it goes on.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use ferry_wire::Failure;
use mio::Token;

use super::job::Ended;
use crate::{
    observe::RootDown,
    protocol::ROOT_TIME,
    store::{Completion, ErrorKind, ReadCompletion, StoreError},
};

/// The time between two looks of the server's own: short beside the minute after which somebody is
/// alerted, and long beside the microseconds that a look costs. The state changes no more often
/// than that, but for the first failure, so that a root that comes and goes fills no log.
const LOOK_EVERY: Duration = Duration::from_secs(5);

const LATE: &str = "it did not answer within a second";

/// A change of state.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RootChange {
    /// It fails, or in another way than before: why.
    Down(String),
    /// It answers again, after so long.
    Up(Duration),
}

/// A look at the root that has not ended.
#[derive(Debug)]
struct Look {
    began: Instant,
    is_late: bool,
}

/// The reason why the root counts as down.
#[derive(Debug)]
struct Down {
    since: Instant,
    changed: Instant,
    why: String,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct RootHealth {
    /// The one that is under way.
    look: Option<Look>,
    /// The connections that wait for its end.
    waiting: HashSet<Token>,
    /// When the next one begins by itself.
    next_at: Instant,
    down: Option<Down>,
    change: Option<RootChange>,
}

impl RootHealth {
    /// Returns the state of a root that has just been opened.
    pub(super) fn new(now: Instant) -> RootHealth {
        RootHealth { look: None, waiting: HashSet::new(), next_at: now + LOOK_EVERY, down: None, change: None }
    }

    /// Has the connection `token` wait for the end of the look under way. Returns whether one is to
    /// begin, since there is none.
    pub(super) fn ask(&mut self, token: Token, now: Instant) -> bool {
        self.waiting.insert(token);
        self.begin(now)
    }

    /// Notices a look that takes too long. Returns whether one is to begin by itself.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if let Some(look) = self.look.as_mut().filter(|look| !look.is_late && now >= look.began + ROOT_TIME) {
            look.is_late = true;
            self.note(Some(LATE.into()), now);
        }
        now >= self.next_at && self.begin(now)
    }

    /// Returns when [`is_due`](Self::is_due) has something to do.
    pub(super) fn next_at(&self) -> Option<Instant> {
        match &self.look {
            None => Some(self.next_at),
            Some(look) => (!look.is_late).then(|| look.began + ROOT_TIME),
        }
    }

    fn begin(&mut self, now: Instant) -> bool {
        let begins = self.look.is_none();
        self.look.get_or_insert(Look { began: now, is_late: false });
        begins
    }

    /// Notes the end of the look under way, and returns it for everybody who waits. It is late where
    /// [`is_due`](Self::is_due) has said so: a loop that was away itself blames nobody.
    pub(super) fn ended(&mut self, probed: &Result<(), StoreError>, now: Instant) -> impl Iterator<Item = Ended> {
        let is_late = self.look.take().is_some_and(|look| look.is_late);
        // After a late answer the root may well be fine by now.
        self.next_at = now + if is_late { ROOT_TIME } else { LOOK_EVERY };
        let why = match probed {
            Err(error) if error.kind != ErrorKind::NoAnswer => {
                Some(Failure::from(StoreError::of(error.kind)).message.into_owned())
            }
            Err(_) => Some(LATE.into()),
            Ok(()) => is_late.then(|| LATE.into()),
        };
        self.note(why, now);
        let probed = probed.clone();
        std::mem::take(&mut self.waiting).into_iter().map(move |token| ended(token, probed.clone()))
    }

    /// Forgets a connection that is gone. Returns the end of what it waited for.
    pub(super) fn forget(&mut self, token: Token) -> Option<Ended> {
        self.waiting.remove(&token).then(|| ended(token, Err(StoreError::of(ErrorKind::Abandoned))))
    }

    /// Notes why the root fails; [`None`] where it answers.
    fn note(&mut self, why: Option<String>, now: Instant) {
        match (&mut self.down, why) {
            (None, None) => {}
            (None, Some(why)) => {
                self.change = Some(RootChange::Down(why.clone()));
                self.down = Some(Down { since: now, changed: now, why });
            }
            (Some(down), _) if now < down.changed + LOOK_EVERY => {}
            (Some(down), None) => {
                self.change = Some(RootChange::Up(now.saturating_duration_since(down.since)));
                self.down = None;
            }
            (Some(down), Some(why)) => {
                if down.why != why {
                    self.change = Some(RootChange::Down(why.clone()));
                    (down.changed, down.why) = (now, why);
                }
            }
        }
    }

    /// Takes the change of state since the last call.
    pub(super) fn take_change(&mut self) -> Option<RootChange> {
        self.change.take()
    }

    /// Returns since when the root is down, and why; [`None`] while it answers.
    pub(super) fn down(&self, now: Instant) -> Option<RootDown> {
        let down = self.down.as_ref()?;
        Some(RootDown { time: now.saturating_duration_since(down.since), why: down.why.clone() })
    }
}

fn ended(token: Token, probed: Result<(), StoreError>) -> Ended {
    Ended { token, completion: Completion::Read(ReadCompletion::Probed(probed)), lease: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: Result<(), StoreError> = Err(StoreError { kind: ErrorKind::RootGone, path: None });

    /// Ends the look under way, and returns how many waited for it.
    fn end(health: &mut RootHealth, probed: &Result<(), StoreError>, now: Instant) -> usize {
        health.ended(probed, now).count()
    }

    #[test]
    fn everybody_shares_one_look() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut health = RootHealth::new(start);
        assert!(!health.is_due(at(4_999)) && health.is_due(at(5_000)) && !health.is_due(at(5_001)));
        assert!((0..1000).all(|token| !health.ask(Token(token), at(5_002))));
        assert!(health.forget(Token(7)).is_some() && health.forget(Token(7)).is_none());
        assert!(!health.is_due(at(20_000)), "never two");
        assert_eq!(end(&mut health, &Ok(()), at(20_001)), 999);
        assert!(health.ask(Token(1), at(20_002)), "the next asks anew");
    }

    #[test]
    fn a_look_that_takes_too_long_is_a_failure_once() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut health = RootHealth::new(start);
        assert!(health.ask(Token(1), at(0)));
        assert_eq!(health.next_at(), Some(at(1_000)));
        assert!(!health.is_due(at(1_000)));
        assert_eq!((health.take_change(), health.next_at()), (Some(RootChange::Down(LATE.into())), None));
        // It is still the same failure when the file system is given up, or refuses to be asked at once.
        let no_answer = Err(StoreError::of(ErrorKind::NoAnswer));
        for begin in [30_000, 31_000, 32_000] {
            assert_eq!(
                (end(&mut health, &no_answer, at(begin)), health.take_change()),
                (usize::from(begin == 30_000), None)
            );
            assert!(health.ask(Token(1), at(begin)) && health.forget(Token(1)).is_some());
        }
        assert_eq!(health.down(at(32_000)).map(|down| down.time.as_secs()), Some(31));
        // A late answer is no sign of health, but the next one, soon, may be.
        assert!(!health.is_due(at(33_000)));
        end(&mut health, &Ok(()), at(40_000));
        assert_eq!((health.take_change(), health.next_at()), (None, Some(at(41_000))));
        assert!(health.is_due(at(41_000)));
        end(&mut health, &Ok(()), at(41_001));
        assert_eq!(health.take_change(), Some(RootChange::Up(Duration::from_millis(40_001))));
        assert!(health.down(at(41_001)).is_none());
    }

    #[test]
    fn a_root_that_comes_and_goes_changes_twice_in_five_seconds_at_most() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut health = RootHealth::new(start);
        let mut changes = 0;
        for round in 0..10_000 {
            health.ask(Token(1), at(round * 10));
            let probed = match round % 3 {
                0 => Ok(()),
                1 => GONE,
                _ => Err(StoreError::of(ErrorKind::AreaGone)),
            };
            end(&mut health, &probed, at(round * 10 + 1));
            changes += usize::from(health.take_change().is_some());
        }
        assert!((20..=42).contains(&changes), "{changes} in 100 s");
    }
}
