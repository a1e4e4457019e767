//! The goals of a row, and whether its samples meet them.

use crate::sample::{Sample, Spread, Unit, digits};

/// The kernel tells the CPU time of what has ended in hundredths of a second: less than half of one is
/// nothing.
const CPU_GRAIN: f64 = 0.005;

/// A bound on the medians of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Ferry's value, in the unit of the row, is this or more.
    AtLeast(f64),
    /// Ferry's value, in the unit of the row, is this or less.
    AtMost(f64),
    /// Ferry's value is so many times that beside it, or more.
    RatioAtLeast(f64),
    /// Ferry's value is so many times that beside it, or less.
    RatioAtMost(f64),
    /// Ferry's CPU time for each unit of work is at most that beside it and so much more.
    CpuWithin(f64),
    /// Ferry's CPU time for each unit of work is at most so many times that beside it.
    CpuTimes(f64),
}

/// The result of holding a row to a [`Goal`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// The goal in words.
    pub(crate) goal: String,
    /// By how much it is missed, in words; [`None`] where it is met.
    pub(crate) missed_by: Option<String>,
}

impl Goal {
    /// Holds the samples of a row to this goal; returns [`None`] where the row lacks the values.
    pub(crate) fn verdict(self, unit: Unit, ours: &[Sample], limit: &[Sample]) -> Option<Verdict> {
        let value = unit.name();
        let ratio = || Spread::of_ratios(ours, limit);
        match self {
            Goal::AtLeast(least) => {
                let goal = format!(">= {} {value}", digits(least));
                Some(Verdict { goal, missed_by: short_of(Sample::median(ours)?, least) })
            }
            Goal::AtMost(most) => {
                let goal = format!("<= {} {value}", digits(most));
                Some(Verdict { goal, missed_by: above(Sample::median(ours)?, most) })
            }
            Goal::RatioAtLeast(least) => {
                Some(Verdict { goal: format!("ratio >= {least:.2}"), missed_by: short_of(ratio()?.median, least) })
            }
            Goal::RatioAtMost(most) => {
                Some(Verdict { goal: format!("ratio <= {most:.2}"), missed_by: above(ratio()?.median, most) })
            }
            Goal::CpuTimes(most) => {
                let goal = format!("CPU ratio <= {most:.2}");
                let ratio = Sample::cpu_median(ours)? / Sample::cpu_median(limit)?;
                Some(Verdict { goal, missed_by: above(ratio, most) })
            }
            Goal::CpuWithin(more) => {
                let over = Sample::cpu_median(ours)? - Sample::cpu_median(limit)? - more;
                let unit = cpu_name(unit);
                let goal =
                    if more > 0.0 { format!("CPU <= its + {} {unit}", digits(more)) } else { "CPU <= its".into() };
                Some(Verdict { goal, missed_by: (over > CPU_GRAIN).then(|| format!("{} {unit}", digits(over))) })
            }
        }
    }
}

fn cpu_name(unit: Unit) -> &'static str {
    unit.cpu_name().unwrap_or_default()
}

fn short_of(value: f64, least: f64) -> Option<String> {
    (value < least).then(|| format!("{:.0} %", ((least - value) / least * 100.0).max(1.0)))
}

fn above(value: f64, most: f64) -> Option<String> {
    (value > most).then(|| format!("{:.0} %", ((value - most) / most * 100.0).max(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The unit of a row, a sample of ours and one of the limit.
    type Figures = (Unit, [Sample; 1], [Sample; 1]);

    fn row(unit: Unit, ours: (f64, f64), limit: (f64, f64)) -> Figures {
        let sample = |(value, cpu)| [Sample { value, cpu: Some(cpu) }];
        (unit, sample(ours), sample(limit))
    }

    fn verdict(goal: Goal, (unit, ours, limit): &Figures) -> Verdict {
        goal.verdict(*unit, ours, limit).unwrap()
    }

    fn missed(goal: Goal, row: &Figures) -> Option<String> {
        verdict(goal, row).missed_by
    }

    #[test]
    fn rates_are_to_be_high_and_times_low() {
        let fast = row(Unit::Bytes, (2.0, 0.4), (1.6, 0.3));
        assert_eq!(missed(Goal::RatioAtLeast(1.0), &fast), None);
        assert_eq!(missed(Goal::RatioAtLeast(2.5), &fast), Some("50 %".into()));
        assert_eq!(missed(Goal::AtLeast(2.0), &fast), None);
        assert_eq!(missed(Goal::AtLeast(4.0), &fast), Some("50 %".into()));
        let slow = row(Unit::Seconds, (0.2, 0.4), (0.4, 0.3));
        assert_eq!(missed(Goal::AtMost(0.2), &slow), None);
        assert_eq!(missed(Goal::AtMost(0.1), &slow), Some("100 %".into()));
        assert_eq!(missed(Goal::RatioAtMost(0.4), &slow), Some("25 %".into()));
    }

    #[test]
    fn cpu_time_may_be_so_much_more() {
        let row = row(Unit::Bytes, (2.0, 0.45), (2.0, 0.3));
        let verdict = verdict(Goal::CpuWithin(0.1), &row);
        assert_eq!(verdict.goal, "CPU <= its + 0.100 s/GB");
        assert_eq!(verdict.missed_by, Some("0.050 s/GB".into()));
        assert_eq!(missed(Goal::CpuWithin(0.2), &row), None);
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        let alone = |goal: Goal| goal.verdict(Unit::Memory, &[Sample::plain(1.0)], &[]);
        assert_eq!(alone(Goal::RatioAtLeast(1.0)), None);
        assert_eq!(alone(Goal::CpuWithin(0.0)), None);
        assert!(alone(Goal::AtMost(2.0)).is_some());
    }
}
