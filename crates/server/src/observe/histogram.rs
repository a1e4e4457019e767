//! Durations, counted by how long they were.

use std::time::Duration;

/// The upper bounds of the buckets but the last, which takes all that is longer.
pub(crate) const BOUNDS: [Duration; 6] = [
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
];

/// See the [module documentation](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// Counts one.
    pub(crate) fn note(&mut self, time: Duration) {
        let bucket = BOUNDS.iter().position(|bound| time <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket] += 1;
        self.sum += time;
    }

    /// Returns how many were no longer than each bound, and how many there are in all.
    pub(crate) fn up_to(&self) -> ([u64; BOUNDS.len()], u64) {
        let mut sum = 0;
        let up_to = std::array::from_fn(|bucket| {
            sum += self.counts[bucket];
            sum
        });
        (up_to, sum + self.counts[BOUNDS.len()])
    }

    /// Returns the sum of all.
    pub(crate) fn sum(&self) -> Duration {
        self.sum
    }
}
