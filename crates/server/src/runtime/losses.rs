//! The helpers of a lane that were replaced, and the requests that were told so, for the log: one
//! line in a while says how many, however many there are.

use std::{
    fmt,
    time::{Duration, Instant},
};

use log::Level;

use crate::units::counted;

/// The time between two lines of one lane.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Losses {
    replaced: u64,
    /// Requests that were told so in all, and how many of them the log has told of.
    refused: u64,
    told: u64,
    line_at: Option<Instant>,
}

/// The losses since the last line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    replaced: u64,
    refused: u64,
}

impl Line {
    /// Returns its level: a helper that was replaced in time is no failure.
    pub(super) fn level(&self) -> Level {
        if self.refused > 0 { Level::Error } else { Level::Warn }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { replaced, refused } = self;
        let (replaced, refused) = (counted(*replaced, "helper"), counted(*refused, "request"));
        write!(f, "replaced: {replaced}; told so: {refused} (since the last such line)")
    }
}

impl Losses {
    /// Notes helpers that were replaced just now, and how many requests were told so in all.
    pub(super) fn note(&mut self, replaced: u64, refused: u64) {
        self.replaced += replaced;
        self.refused = refused;
    }

    /// Returns whether a line is to come.
    pub(super) fn are_untold(&self) -> bool {
        self.replaced > 0 || self.refused > self.told
    }

    /// Takes the line that is due.
    pub(super) fn take_line(&mut self, now: Instant) -> Option<Line> {
        if !self.are_untold() || self.line_at.is_some_and(|at| now < at) {
            return None;
        }
        self.line_at = Some(now + BETWEEN_LINES);
        let refused = self.refused - std::mem::replace(&mut self.told, self.refused);
        Some(Line { replaced: std::mem::take(&mut self.replaced), refused })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_line_in_a_while() {
        let (mut losses, mut now) = (Losses::default(), Instant::now());
        assert_eq!(losses.take_line(now), None);
        losses.note(1, 2);
        assert_eq!(losses.take_line(now), Some(Line { replaced: 1, refused: 2 }), "the first one at once");
        for refused in 3..1000 {
            losses.note(1, refused);
            assert_eq!(losses.take_line(now), None);
        }
        assert!(losses.are_untold());
        now += BETWEEN_LINES;
        assert_eq!(losses.take_line(now), Some(Line { replaced: 997, refused: 997 }));
        assert!(!losses.are_untold());
    }
}
