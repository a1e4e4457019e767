//! The budget of one turn: the work that a connection may do before the others have theirs.

use std::time::{Duration, Instant};

/// The bytes that one connection may move in its turn: a tenth of a millisecond's work. With 1 MiB
/// a thousand downloads of 4 MiB are served in steps that can be seen.
pub(super) const TURN_BYTES: u64 = 256 << 10;

/// The part of a turn that a line costs: 512 of the emptiest are as much work as [`TURN_BYTES`].
const LINE_COST_BYTES: u64 = 512;

/// The part of a turn that an operation of the store costs, however small it is: 4 KiB with the line of its
/// request.
const REQUEST_COST_BYTES: u64 = (4 << 10) - LINE_COST_BYTES;

/// The longest time of a turn, whatever its work is charged: several times what [`TURN_BYTES`]
/// should take, so that it counts only for work that was not foreseen.
const TURN_TIME: Duration = Duration::from_millis(2);

/// After so many lines the clock is looked at: that costs as much as one of them.
const LINES_BETWEEN_LOOKS: u32 = 64;

/// The budget of a turn that is under way. The turn is over when its bytes or its time are used up.
#[derive(Debug)]
pub(super) struct Budget {
    spent: u64,
    /// Bytes that may still go through the socket, and that went.
    granted: u64,
    moved: u64,
    ends: Instant,
    is_late: bool,
    /// Lines since the clock was looked at.
    lines: u32,
}

impl Budget {
    /// Returns the budget of a turn that begins `now`, in which `granted` bytes may go through the socket.
    pub(super) fn new(granted: u64, now: Instant) -> Budget {
        Budget { spent: 0, granted, moved: 0, ends: now + TURN_TIME, is_late: false, lines: 0 }
    }

    fn left(&self) -> u64 {
        if self.is_late { 0 } else { TURN_BYTES.saturating_sub(self.spent) }
    }

    /// Returns how many bytes may be read now; 0 once it is over.
    pub(super) fn to_read(&self) -> u64 {
        self.left().min(self.granted)
    }

    /// Returns how many bytes may be sent now. The bytes that a reply holds in memory were paid for
    /// when it was made.
    pub(super) fn to_send(&self) -> u64 {
        TURN_BYTES.min(self.granted)
    }

    /// Notes bytes that went through the socket.
    ///
    /// # Panics
    ///
    /// Where they are more than were granted.
    pub(super) fn note_moved(&mut self, bytes: u64) {
        assert!(bytes <= self.granted, "{bytes} bytes were moved of {}", self.granted);
        self.granted -= bytes;
        self.moved += bytes;
    }

    /// Returns how many bytes went through the socket.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    pub(super) fn is_over(&self) -> bool {
        self.left() == 0
    }

    /// Charges bytes that were worked on.
    pub(super) fn charge(&mut self, bytes: u64) {
        self.spent += bytes;
    }

    /// Charges lines that were read, beside their bytes. Returns whether it is time to look at the clock.
    pub(super) fn charge_lines(&mut self, lines: u32) -> bool {
        self.spent += u64::from(lines) * LINE_COST_BYTES;
        self.lines += lines;
        self.lines >= LINES_BETWEEN_LOOKS
    }

    /// Charges an operation of the store.
    pub(super) fn charge_request(&mut self) {
        self.spent += REQUEST_COST_BYTES;
    }

    /// Notes the time.
    pub(super) fn note(&mut self, now: Instant) {
        self.lines = 0;
        self.is_late |= now >= self.ends;
    }

    /// Returns what it cost so far, in bytes.
    pub(super) fn cost(&self) -> u64 {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_over_after_its_bytes_or_its_lines_or_its_requests() {
        let now = Instant::now();
        let times = |charge: fn(&mut Budget)| {
            let mut budget = Budget::new(u64::MAX, now);
            let mut times = 0;
            while !budget.is_over() {
                charge(&mut budget);
                times += 1;
            }
            assert_eq!((budget.left(), budget.cost()), (0, TURN_BYTES));
            times
        };
        assert_eq!(times(|budget| budget.charge(64 << 10)), 4);
        let charge_line = |budget: &mut Budget| {
            budget.charge_lines(1);
        };
        assert_eq!(times(charge_line), 512);
        let charge_get = |budget: &mut Budget| {
            budget.charge_lines(1);
            budget.charge_request();
        };
        assert_eq!(times(charge_get), 64);
    }

    #[test]
    fn a_turn_is_over_after_its_time_though_it_cost_nothing() {
        let now = Instant::now();
        let mut budget = Budget::new(u64::MAX, now);
        budget.note(now + TURN_TIME - Duration::from_nanos(1));
        assert_eq!(budget.left(), TURN_BYTES);
        budget.note(now + TURN_TIME);
        assert!(budget.is_over());
        // A clock that is read again gives nothing back.
        budget.note(now);
        assert!(budget.is_over());
    }

    #[test]
    fn no_more_goes_through_the_socket_than_was_granted() {
        let mut budget = Budget::new(1_000, Instant::now());
        budget.note_moved(400);
        assert_eq!((budget.to_read(), budget.to_send()), (600, 600));
        budget.note_moved(600);
        assert_eq!((budget.to_read(), budget.to_send(), budget.moved()), (0, 0, 1_000));
        assert!(!budget.is_over());
    }

    #[test]
    fn the_clock_is_looked_at_now_and_then() {
        let now = Instant::now();
        let mut budget = Budget::new(u64::MAX, now);
        let looks = (0..LINES_BETWEEN_LOOKS * 3).filter(|_| {
            let look = budget.charge_lines(1);
            if look {
                budget.note(now);
            }
            look
        });
        assert_eq!(looks.count(), 3);
    }
}
