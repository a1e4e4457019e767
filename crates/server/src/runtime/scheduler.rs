//! The work that one connection may use up before the others have their turns.

use std::time::{Duration, Instant};

/// The bytes that one connection may move in its turn: a tenth of a millisecond's work. With 1 MiB a thousand downloads
/// of 4 MiB are served in steps that can be seen.
pub(super) const TURN_BYTES: u64 = 256 << 10;

/// The part of a turn that a line costs: 512 of the emptiest are as much work as [`TURN_BYTES`].
const LINE_COST_BYTES: u64 = 512;

/// The part of a turn that a piece of work for the store costs, however small it is: 4 KiB with the line that
/// asked for it.
const REQUEST_COST_BYTES: u64 = (4 << 10) - LINE_COST_BYTES;

/// The longest that a turn goes on, whatever its work is charged: several times what [`TURN_BYTES`] should take, so that
/// it is for what was not foreseen.
const TURN_TIME: Duration = Duration::from_millis(2);

/// After so many lines the clock is looked at: that costs as much as one of them.
const LINES_BETWEEN_LOOKS: u32 = 64;

/// A turn that is under way. It ends when its bytes or its time are used up.
#[derive(Debug)]
pub(super) struct Turn {
    spent: u64,
    /// Bytes that may still go through the socket, and that went.
    granted: u64,
    moved: u64,
    ends: Instant,
    is_late: bool,
    /// Lines since the clock was looked at.
    lines: u32,
}

impl Turn {
    /// A turn that begins `now`, in which `granted` bytes may go through the socket.
    pub(super) fn new(granted: u64, now: Instant) -> Turn {
        Turn { spent: 0, granted, moved: 0, ends: now + TURN_TIME, is_late: false, lines: 0 }
    }

    fn left(&self) -> u64 {
        if self.is_late { 0 } else { TURN_BYTES.saturating_sub(self.spent) }
    }

    /// Returns how many bytes may be read now; 0 once it is over.
    pub(super) fn to_read(&self) -> u64 {
        self.left().min(self.granted)
    }

    /// Returns how many bytes may be sent now. The bytes that a reply holds in memory were paid for when it was made.
    pub(super) fn to_send(&self) -> u64 {
        TURN_BYTES.min(self.granted)
    }

    /// Notes bytes that went through the socket.
    pub(super) fn note_moved(&mut self, bytes: u64) {
        self.granted = self.granted.saturating_sub(bytes);
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

    /// Charges a piece of work for the store.
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
        let times = |charge: fn(&mut Turn)| {
            let mut turn = Turn::new(u64::MAX, now);
            let mut times = 0;
            while !turn.is_over() {
                charge(&mut turn);
                times += 1;
            }
            assert_eq!((turn.left(), turn.cost()), (0, TURN_BYTES));
            times
        };
        assert_eq!(times(|turn| turn.charge(64 << 10)), 4);
        let charge_line = |turn: &mut Turn| {
            turn.charge_lines(1);
        };
        assert_eq!(times(charge_line), 512);
        let charge_get = |turn: &mut Turn| {
            turn.charge_lines(1);
            turn.charge_request();
        };
        assert_eq!(times(charge_get), 64);
    }

    #[test]
    fn a_turn_is_over_after_its_time_though_it_cost_nothing() {
        let now = Instant::now();
        let mut turn = Turn::new(u64::MAX, now);
        turn.note(now + TURN_TIME - Duration::from_nanos(1));
        assert_eq!(turn.left(), TURN_BYTES);
        turn.note(now + TURN_TIME);
        assert!(turn.is_over());
        // A clock that is read again gives nothing back.
        turn.note(now);
        assert!(turn.is_over());
    }

    #[test]
    fn no_more_goes_through_the_socket_than_was_granted() {
        let mut turn = Turn::new(1_000, Instant::now());
        turn.note_moved(400);
        assert_eq!((turn.to_read(), turn.to_send()), (600, 600));
        turn.note_moved(600);
        assert_eq!((turn.to_read(), turn.to_send(), turn.moved()), (0, 0, 1_000));
        assert!(!turn.is_over());
    }

    #[test]
    fn the_clock_is_looked_at_now_and_then() {
        let now = Instant::now();
        let mut turn = Turn::new(u64::MAX, now);
        let looks = (0..LINES_BETWEEN_LOOKS * 3).filter(|_| {
            let look = turn.charge_lines(1);
            if look {
                turn.note(now);
            }
            look
        });
        assert_eq!(looks.count(), 3);
    }
}
