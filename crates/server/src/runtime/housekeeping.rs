//! Gives freed memory back after busy times, and keeps the longest time of a round.

use std::time::Duration;

/// A round of the loop longer than this is logged: something on it waited that should not have.
const LONG_ROUND: Duration = Duration::from_millis(20);

/// After this much was moved, and a time in which nothing was, freed memory is given back.
const GIVE_BACK_AFTER_BYTES: u64 = 16 << 20;
const QUIET: Duration = Duration::from_secs(1);

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Housekeeping {
    /// The cost of all turns since memory was given back, in bytes.
    cost: u64,
    /// The longest time between two calls of `poll`.
    longest_round: Duration,
}

impl Housekeeping {
    /// Notes the cost of a turn, in bytes.
    pub(super) fn note_cost(&mut self, bytes: u64) {
        self.cost += bytes;
    }

    /// Notes how long the loop was away from `poll`.
    pub(super) fn note_round(&mut self, time: Duration) {
        self.longest_round = self.longest_round.max(time);
        if time > LONG_ROUND {
            log::warn!("the loop was away from its clients for {time:?}");
        }
    }

    /// Returns the longest time that the loop was away from `poll`.
    pub(super) fn longest_round(&self) -> Duration {
        self.longest_round
    }

    /// Returns the time without any event after which there is [memory to give back](Self::take_due).
    pub(super) fn due_after(&self) -> Option<Duration> {
        (self.cost >= GIVE_BACK_AFTER_BYTES).then_some(QUIET)
    }

    /// Returns whether memory is to be given back, and takes it as done. The C library keeps what was freed, in the
    /// expectation of more to come.
    pub(super) fn take_due(&mut self) -> bool {
        let is_due = self.cost >= GIVE_BACK_AFTER_BYTES;
        if is_due {
            self.cost = 0;
        }
        is_due
    }
}
