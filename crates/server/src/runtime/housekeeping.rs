//! Gives freed memory back after busy times, and keeps how long rounds take.

use std::time::{Duration, Instant};

use crate::{observe::LoopFigures, sys};

/// A round of the loop longer than this is logged: something on it waited that should not have.
const LONG_ROUND: Duration = Duration::from_millis(20);

/// After this much was moved, and a time in which nothing was, freed memory is given back.
const GIVE_BACK_AFTER_BYTES: u64 = 4 << 20;
const QUIET: Duration = Duration::from_secs(1);

/// The last minute, in parts that are forgotten one by one.
const PARTS: usize = 12;
const PART: Duration = Duration::from_secs(5);

/// The cost of a client over TLS that is gone, in bytes. Free are then some 12 KiB in many pieces, and all that was
/// sealed for it and it had not taken, up to some 300 KiB: it may have got that before memory was last given back.
const TLS_COST_BYTES: u64 = 512 << 10;

/// Freed memory that is kept until it is [given back](Housekeeping::take_due): several times what a turn needs for what it
/// seals.
const KEPT_BYTES: i32 = 2 << 20;

/// Larger pieces are not the allocator's: larger than all that is asked for again and again.
const LARGE_BYTES: i32 = 1 << 20;

/// Has memory kept that is freed, for the next turn. By itself the C library gives it back as soon as 128 KiB are free, and
/// each turn of a download over TLS would ask the system for it anew: that took a quarter of its time. To be called
/// before there are threads.
pub fn keep_freed_memory() {
    sys::keep_freed_memory(KEPT_BYTES, LARGE_BYTES);
}

/// A part of the last minute.
#[derive(Debug, Clone, Copy)]
struct Part {
    began: Instant,
    /// Bytes that had been received, and sent, when it began.
    moved: [u64; 2],
    longest_round: Duration,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Housekeeping {
    /// The cost of all turns since memory was given back, in bytes.
    cost: u64,
    rounds: u64,
    busy: Duration,
    /// The longest time between two calls of `poll`.
    longest_round: Duration,
    /// The parts of the last minute, the newest first.
    recent: [Part; PARTS],
    /// When the newest part is over.
    next_part: Instant,
}

impl Housekeeping {
    /// Returns the housekeeping of a loop that begins `now`.
    pub(super) fn new(now: Instant) -> Housekeeping {
        let (busy, longest_round) = (Duration::ZERO, Duration::ZERO);
        let recent = [Part { began: now, moved: [0; 2], longest_round }; PARTS];
        Housekeeping { cost: 0, rounds: 0, busy, longest_round, recent, next_part: now + PART }
    }

    /// Notes the cost of a turn, in bytes.
    pub(super) fn note_cost(&mut self, bytes: u64) {
        self.cost += bytes;
    }

    /// Notes that a client over TLS is gone.
    pub(super) fn note_tls_end(&mut self) {
        self.note_cost(TLS_COST_BYTES);
    }

    /// Notes that the loop was away from `poll` from `began` until `now`. So many bytes were
    /// received, and sent, since the start.
    pub(super) fn note_round(&mut self, began: Instant, now: Instant, moved: [u64; 2]) {
        let time = now.saturating_duration_since(began);
        self.rounds += 1;
        self.busy += time;
        if now >= self.next_part {
            self.forget(now, moved);
        }
        let part = &mut self.recent[0];
        part.longest_round = part.longest_round.max(time);
        self.longest_round = self.longest_round.max(time);
        if time > LONG_ROUND {
            log::warn!("no client was served for {time:?}: the machine is overloaded, or a call took long");
        }
    }

    /// Forgets the parts that are older than a minute.
    fn forget(&mut self, now: Instant, moved: [u64; 2]) {
        let parts = now.saturating_duration_since(self.next_part).as_nanos() / PART.as_nanos() + 1;
        let parts = usize::try_from(parts).unwrap_or(PARTS).min(PARTS);
        self.recent.rotate_right(parts);
        self.recent[..parts].fill(Part { began: now, moved, longest_round: Duration::ZERO });
        self.next_part = if parts < PARTS { self.next_part + PART * parts as u32 } else { now + PART };
    }

    /// Returns the figures of the loop, which has received, and sent, so many bytes since the start.
    pub(super) fn figures(&mut self, now: Instant, moved: [u64; 2]) -> LoopFigures {
        if now >= self.next_part {
            self.forget(now, moved);
        }
        let oldest = self.recent[PARTS - 1];
        // A server that has just begun has no mean worth the name.
        let seconds = now.saturating_duration_since(oldest.began).as_secs().max(1);
        let mean = |way: usize| moved[way].saturating_sub(oldest.moved[way]) / seconds;
        LoopFigures {
            rounds: self.rounds,
            busy: self.busy,
            longest_round: self.longest_round,
            recent_longest_round: self.recent.iter().map(|part| part.longest_round).max().unwrap_or_default(),
            recent_received: mean(0),
            recent_sent: mean(1),
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

    /// Returns whether memory is to be given back, and takes it as done. The C library keeps what
    /// was freed, in the expectation of more to come.
    pub(super) fn take_due(&mut self) -> bool {
        let is_due = self.cost >= GIVE_BACK_AFTER_BYTES;
        if is_due {
            self.cost = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_round_is_forgotten_after_a_minute_and_kept_for_ever() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut housekeeping = Housekeeping::new(start);
        housekeeping.note_round(at(0), at(15), [0, 0]);
        housekeeping.note_round(at(7_000), at(7_004), [0, 0]);
        let recent = |housekeeping: &mut Housekeeping, milliseconds| {
            housekeeping.figures(at(milliseconds), [0, 0]).recent_longest_round.as_millis()
        };
        assert_eq!(recent(&mut housekeeping, 54_000), 15);
        assert_eq!(recent(&mut housekeeping, 61_000), 4);
        assert_eq!(recent(&mut housekeeping, 300_000), 0);
        housekeeping.note_round(at(301_000), at(301_001), [0, 0]);
        assert_eq!(recent(&mut housekeeping, 302_000), 1);
        let LoopFigures { rounds, busy, longest_round, .. } = housekeeping.figures(at(303_000), [0, 0]);
        assert_eq!((rounds, busy.as_millis(), longest_round.as_millis()), (3, 20, 15));
    }

    #[test]
    fn the_mean_of_what_moves_is_that_of_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut housekeeping = Housekeeping::new(start);
        for second in 0..300 {
            housekeeping.note_round(at(second), at(second), [second * 10, second * 1000]);
        }
        let figures = housekeeping.figures(at(300), [3_000, 300_000]);
        assert_eq!((figures.recent_received, figures.recent_sent), (10, 1000));
        // Silence, in which the loop makes no rounds.
        let figures = housekeeping.figures(at(400), [3_000, 300_000]);
        assert_eq!((figures.recent_received, figures.recent_sent), (0, 0));
    }
}
