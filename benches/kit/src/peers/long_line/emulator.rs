//! One direction of a line, on a virtual clock: a queue that empties at a rate, loss, and a delay.

use std::{collections::VecDeque, time::Duration};

use ferry_e2e::Random;

/// The properties of one direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Properties {
    /// From one end to the other.
    pub(super) delay: Duration,
    /// Of whole packets, their headers included.
    pub(super) bits_per_second: u64,
    /// The most that waits to be sent; a packet that finds no room is dropped.
    pub(super) queue_bytes: u64,
    /// The share of packets that are lost on the way, after they were sent.
    pub(super) loss: f64,
}

/// The packets that came to an end of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Delivered, or still to be.
    pub(super) carried: u64,
    /// Lost by chance.
    pub(super) lost: u64,
    /// Dropped for want of room in the queue.
    pub(super) dropped: u64,
}

/// One direction of a line. Its clock starts anywhere and is passed in.
#[derive(Debug)]
pub(super) struct Direction {
    properties: Properties,
    chance: Random,
    /// When all that was taken so far has left the queue.
    free_at: Duration,
    /// Packets in the order in which they arrive, each with its time.
    on_the_way: VecDeque<(Duration, Vec<u8>)>,
    /// Buffers for packets to come.
    spare: Vec<Vec<u8>>,
    counts: Counts,
}

impl Direction {
    /// Returns an empty one, whose losses come from `seed`.
    pub(super) fn new(properties: Properties, seed: u64) -> Direction {
        Direction {
            properties,
            chance: Random::new(seed),
            free_at: Duration::ZERO,
            on_the_way: VecDeque::new(),
            spare: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a packet that came at some time from `since` to `now`. It is taken to have come as early as that
    /// helps, so that the line loses no capacity because nobody looked.
    pub(super) fn take(&mut self, since: Duration, now: Duration, packet: &[u8]) {
        let starts = self.free_at.max(since);
        let waiting = starts.saturating_sub(now);
        if self.sent_within(waiting) + packet.len() as u64 > self.properties.queue_bytes {
            self.counts.dropped += 1;
            return;
        }
        self.free_at = starts + self.time_of(packet.len() as u64);
        if self.is_lost() {
            self.counts.lost += 1;
            return;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(packet);
        self.on_the_way.push_back((self.free_at + self.properties.delay, buffer));
        self.counts.carried += 1;
    }

    /// Returns when the next packet arrives.
    pub(super) fn next(&self) -> Option<Duration> {
        self.on_the_way.front().map(|(arrives, _)| *arrives)
    }

    /// Gives every packet that has arrived by `now` to `deliver`, in order.
    pub(super) fn deliver(&mut self, now: Duration, mut deliver: impl FnMut(&[u8])) {
        while self.next().is_some_and(|arrives| arrives <= now) {
            if let Some((_, packet)) = self.on_the_way.pop_front() {
                deliver(&packet);
                self.spare.push(packet);
            }
        }
    }

    /// Returns the number of packets so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn sent_within(&self, time: Duration) -> u64 {
        let bytes = time.as_nanos() * u128::from(self.properties.bits_per_second) / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes * 8_000_000_000 / self.properties.bits_per_second)
    }

    fn is_lost(&mut self) -> bool {
        // The upper half: every number of 32 bits is as likely as another.
        let number = self.chance.number() >> 32;
        (number as f64) < self.properties.loss * f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    /// It takes a millisecond at [`LINE`]'s rate.
    const PACKET: [u8; 1000] = [7; 1000];
    const LINE: Properties =
        Properties { delay: Duration::from_millis(50), bits_per_second: 8_000_000, queue_bytes: 5000, loss: 0.0 };

    fn arrivals(direction: &mut Direction) -> Vec<Duration> {
        let mut times = Vec::new();
        while let Some(time) = direction.next() {
            direction.deliver(time, |packet| {
                assert_eq!(packet, PACKET);
                times.push(time);
            });
        }
        times
    }

    #[test]
    fn packets_are_sent_one_after_the_other_and_arrive_after_the_delay() {
        let mut direction = Direction::new(LINE, 1);
        let now = Duration::from_secs(3);
        for _ in 0..3 {
            direction.take(now, now, &PACKET);
        }
        direction.take(now + 10 * MILLISECOND, now + 10 * MILLISECOND, &PACKET);
        assert_eq!(direction.next(), Some(now + 51 * MILLISECOND));
        direction.deliver(now + 50 * MILLISECOND, |_| panic!("too early"));
        assert_eq!(arrivals(&mut direction), [51, 52, 53, 61].map(|after| now + after * MILLISECOND));
    }

    #[test]
    fn a_queue_has_room_for_so_many_bytes() {
        let mut direction = Direction::new(LINE, 1);
        for _ in 0..8 {
            direction.take(Duration::ZERO, Duration::ZERO, &PACKET);
        }
        assert_eq!(direction.counts(), Counts { carried: 5, lost: 0, dropped: 3 });
        // After 2.5 ms there is room for two.
        let later = Duration::from_micros(2500);
        for _ in 0..4 {
            direction.take(later, later, &PACKET);
        }
        assert_eq!(direction.counts(), Counts { carried: 7, lost: 0, dropped: 5 });
        assert_eq!(arrivals(&mut direction).last(), Some(&(57 * MILLISECOND)));
    }

    #[test]
    fn a_late_look_costs_no_capacity() {
        let mut direction = Direction::new(LINE, 1);
        let (since, now) = (100 * MILLISECOND, 110 * MILLISECOND);
        for _ in 0..12 {
            direction.take(since, now, &PACKET);
        }
        assert_eq!(direction.counts().dropped, 0, "10 of them were sent already");
        assert_eq!(arrivals(&mut direction).last(), Some(&(162 * MILLISECOND)));
    }

    #[test]
    fn the_share_that_is_lost_comes_from_the_seed() {
        let lost = |seed| {
            let mut direction = Direction::new(Properties { loss: 0.01, ..LINE }, seed);
            for second in 0..100_000 {
                let now = Duration::from_secs(second);
                direction.take(now, now, &PACKET);
                direction.deliver(now, |_| {});
            }
            direction.counts().lost
        };
        assert!((900..1100).contains(&lost(1)), "{} of 100,000", lost(1));
        assert_eq!(lost(1), lost(1));
        assert_ne!(lost(1), lost(2));
    }
}
