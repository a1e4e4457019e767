//! The result of a turn, in units that a user would quote.

use std::time::Instant;

use crate::tree::own_cpu_seconds;

/// The unit of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes moved in a second, in GB (10^9).
    Bytes,
    /// Bits moved in a second, in Mbit (10^6).
    Megabits,
    /// Files moved in a second.
    Files,
    /// Connections opened in a second.
    Connections,
    /// Microseconds that something takes: fewer are better.
    Micros,
    /// Seconds that a whole program takes: fewer are better.
    Seconds,
    /// Bytes of memory: fewer are better.
    Memory,
    /// A share of 1.
    Share,
}

impl Unit {
    /// Of the values.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unit::Bytes => "GB/s",
            Unit::Megabits => "Mbit/s",
            Unit::Files => "files/s",
            Unit::Connections => "conn/s",
            Unit::Micros => "us",
            Unit::Seconds => "s",
            Unit::Memory => "B",
            Unit::Share => "of 1",
        }
    }

    /// Of the CPU time; [`None`] where none is told.
    #[must_use]
    pub fn cpu_name(self) -> Option<&'static str> {
        match self {
            Unit::Bytes => Some("s/GB"),
            Unit::Files => Some("us/file"),
            Unit::Connections => Some("us/conn"),
            Unit::Seconds => Some("s"),
            Unit::Megabits | Unit::Micros | Unit::Memory | Unit::Share => None,
        }
    }

    /// Returns how many of the counted things make one of [`Unit::name`].
    fn scale(self) -> f64 {
        if self == Unit::Bytes { 1e9 } else { 1.0 }
    }

    /// Returns how many of [`Unit::cpu_name`] a CPU second is, for each of [`Unit::name`].
    fn cpu_scale(self) -> f64 {
        if matches!(self, Unit::Bytes | Unit::Seconds) { 1.0 } else { 1e6 }
    }
}

/// The result of one turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// In the unit of its row.
    pub value: f64,
    /// CPU time of the server's process for each unit of work, where it was measured.
    pub cpu: Option<f64>,
}

impl Sample {
    /// Returns a value that is no rate.
    #[must_use]
    pub fn plain(value: f64) -> Sample {
        Sample { value, cpu: None }
    }

    /// Returns the same without a CPU time, where all programs of the work share it.
    pub(crate) fn without_cpu(self) -> Sample {
        Sample { cpu: None, ..self }
    }

    /// Returns the middle of the values of some turns; [`None`] where there are none.
    pub(crate) fn median(samples: &[Sample]) -> Option<f64> {
        Spread::of(samples.iter().map(|sample| sample.value)).map(|spread| spread.median)
    }

    /// Returns the middle of the CPU times of some turns; [`None`] where none was measured.
    pub(crate) fn cpu_median(samples: &[Sample]) -> Option<f64> {
        Spread::of(samples.iter().filter_map(|sample| sample.cpu)).map(|spread| spread.median)
    }
}

/// Times `work`, which moves `count` of `unit` with the process `server` at the other end.
pub fn timed(server: u32, unit: Unit, count: u64, work: impl FnOnce()) -> Sample {
    rated(unit, count, clocked(|| own_cpu_seconds(server), work))
}

/// Returns seconds that `work` takes, and how many of them `cpu` (a clock of CPU seconds) went on meanwhile.
pub(crate) fn clocked(cpu: impl Fn() -> f64, work: impl FnOnce()) -> (f64, f64) {
    let cpu_before = cpu();
    let start = Instant::now();
    work();
    let seconds = start.elapsed().as_secs_f64();
    (seconds, cpu() - cpu_before)
}

/// Returns the rate at which `count` of `unit` were moved in so many seconds and CPU seconds.
pub(crate) fn rated(unit: Unit, count: u64, (seconds, cpu): (f64, f64)) -> Sample {
    let amount = count as f64 / unit.scale();
    Sample { value: amount / seconds, cpu: Some(cpu * unit.cpu_scale() / amount) }
}

/// The middle of some values, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Half of the values are below it; of two in the middle, their mean.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Returns the spread of `ours` by `limit`, round by round.
    #[must_use]
    pub fn of_ratios(ours: &[Sample], limit: &[Sample]) -> Option<Spread> {
        Spread::of(ours.iter().zip(limit).map(|(ours, limit)| ours.value / limit.value))
    }

    /// Of some values; [`None`] where there are none.
    #[must_use]
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Spread { median, min, max })
    }
}

/// Writes `value` with three significant digits, or with all that stand before the point.
pub(crate) fn digits(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 || size == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_odd_and_even_counts() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0].into_iter()), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([].into_iter()), None);
    }

    #[test]
    fn a_rate_counts_in_its_unit() {
        let sample = timed(std::process::id(), Unit::Bytes, 1_000_000_000, || {
            std::thread::sleep(std::time::Duration::from_millis(10));
        });
        assert!(sample.value < 100.0, "1 GB in 10 ms or more: {sample:?}");
        assert!(sample.cpu.is_some_and(|cpu| cpu >= 0.0));
    }

    #[test]
    fn figures_have_as_many_digits_as_they_mean() {
        for (value, shown) in
            [(0.0, "0.00"), (0.1234, "0.123"), (2.345, "2.35"), (23.45, "23.4"), (150_000.4, "150000")]
        {
            assert_eq!(digits(value), shown);
        }
    }
}
