//! How fast it goes, and how long it will still take.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What the rate is an average of: long enough to even out the bursts of a network, short enough to show a change.
const WINDOW: Duration = Duration::from_secs(10);

/// Between two samples: forty of them describe the window.
const STEP: Duration = Duration::from_millis(250);

/// A rate over less says more about buffers than about the network.
const LEAST: Duration = Duration::from_secs(1);

/// Between two looks at the time that is left.
const RETHINK: Duration = Duration::from_secs(1);

/// How much of a new estimate counts: the rest is the old one, counted down. So one gust moves it little.
const TRUST: f64 = 0.3;

/// The rolling rate of bytes that are moved, and an estimate that does not jump.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes moved so far, at the moments when they were looked at; the oldest first.
    samples: VecDeque<(Instant, u64)>,
    latest: u64,
    estimate: Option<(Instant, Duration)>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Meter {
        Meter { samples: VecDeque::from([(now, 0)]), latest: 0, estimate: None }
    }

    /// By `now`, `bytes` have been moved in all, those of earlier transfers left out.
    pub(super) fn moved(&mut self, now: Instant, bytes: u64) {
        self.latest = bytes;
        if self.samples.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP) {
            self.samples.push_back((now, bytes));
        }
        self.forget(now);
    }

    /// Nothing was to move until `now`: that time says nothing about the rate.
    pub(super) fn restart(&mut self, now: Instant) {
        self.samples = VecDeque::from([(now, self.latest)]);
        self.estimate = None;
    }

    /// Bytes a second over the last ten seconds; [`None`] before there is anything to say.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        let window = now.checked_sub(WINDOW);
        let in_window = |(at, _): &&(Instant, u64)| window.is_none_or(|begin| *at >= begin);
        let Some((at, bytes)) = self.samples.iter().rev().take_while(in_window).last() else {
            // There was something to say long ago, and since then nothing has moved.
            return Some(0.0);
        };
        let passed = now.saturating_duration_since(*at);
        (passed >= LEAST).then(|| self.latest.saturating_sub(*bytes) as f64 / passed.as_secs_f64())
    }

    /// How long `left` bytes will take; [`None`] where nobody can tell.
    pub(super) fn remaining(&mut self, now: Instant, left: u64) -> Option<Duration> {
        let shown = |(at, estimate): (Instant, Duration)| estimate.saturating_sub(now.saturating_duration_since(at));
        if let Some(estimate) = self.estimate
            && now.saturating_duration_since(estimate.0) < RETHINK
        {
            return Some(shown(estimate));
        }
        let rate = self.rate(now).filter(|rate| *rate > 0.0);
        let fresh = rate.and_then(|rate| Duration::try_from_secs_f64(left as f64 / rate).ok());
        let Some(fresh) = fresh else {
            self.estimate = None;
            return None;
        };
        let blended = match self.estimate {
            None => fresh,
            Some(old) => shown(old).mul_f64(1.0 - TRUST).saturating_add(fresh.mul_f64(TRUST)),
        };
        self.estimate = Some((now, blended));
        Some(blended)
    }

    /// What lies before the window is of no use, but for the newest of it, from where the window is entered.
    fn forget(&mut self, now: Instant) {
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        assert_eq!(meter.rate(after(start, 0.5)), None);
        for tenth in 1u32..=200 {
            meter.moved(after(start, f64::from(tenth) / 10.0), u64::from(tenth) * MB / 10);
        }
        let rate = meter.rate(after(start, 20.0)).unwrap();
        assert!((rate - 1e6).abs() < 3e4, "{rate}");
        // Ten times as fast from now on: after the window, nothing of the old rate is left.
        for tenth in 1u32..=150 {
            meter.moved(after(start, 20.0 + f64::from(tenth) / 10.0), 20 * MB + u64::from(tenth) * MB);
        }
        let rate = meter.rate(after(start, 35.0)).unwrap();
        assert!((rate - 1e7).abs() < 3e5, "{rate}");
        // And nothing at all.
        assert_eq!(meter.rate(after(start, 60.0)), Some(0.0));
        assert_eq!(meter.remaining(after(start, 60.0), MB), None);
    }

    #[test]
    fn a_pause_is_no_slowness() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.moved(after(start, 2.0), 2 * MB);
        meter.restart(after(start, 100.0));
        meter.moved(after(start, 102.0), 4 * MB);
        let rate = meter.rate(after(start, 102.0)).unwrap();
        assert!((rate - 1e6).abs() < 1e4, "{rate}");
    }

    #[test]
    fn a_gust_moves_the_estimate_little() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for second in 1u32..=20 {
            meter.moved(after(start, f64::from(second)), u64::from(second) * MB);
        }
        let calm = meter.remaining(after(start, 20.0), 100 * MB).unwrap().as_secs_f64();
        assert!((calm - 100.0).abs() < 3.0, "{calm}");
        // Within a second it only counts down.
        let counted = meter.remaining(after(start, 20.5), 1).unwrap().as_secs_f64();
        assert!((calm - counted - 0.5).abs() < 0.01, "{counted}");
        // Twice as fast for a second.
        meter.moved(after(start, 21.0), 22 * MB);
        let gusty = meter.remaining(after(start, 21.0), 98 * MB).unwrap().as_secs_f64();
        assert!((94.0..99.5).contains(&gusty), "{gusty}");
    }

    #[test]
    fn a_clock_that_stands_still_harms_nothing() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for bytes in 0..1000 {
            meter.moved(start, bytes);
        }
        assert_eq!((meter.rate(start), meter.remaining(start, u64::MAX)), (None, None));
        meter.moved(after(start, 2.0), 1001);
        assert!(meter.remaining(after(start, 2.0), u64::MAX).is_some());
        assert!(meter.samples.len() < 5);
    }
}
