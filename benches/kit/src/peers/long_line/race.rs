//! Programs take turns on a line. They may be cut off: on a bad line some would take an hour.

use std::time::Duration;

use crate::{Goal, Report, Row, Sample, Unit};

/// A program that takes turns. The first is ferry.
pub(super) struct Runner<'a> {
    is: String,
    goals: Vec<Goal>,
    turn: Box<dyn FnMut() -> Result<Option<f64>, String> + 'a>,
    samples: Vec<Sample>,
    out: Option<Out>,
}

/// A reason to take no more turns.
enum Out {
    CutOff,
    Failed(String),
}

impl<'a> Runner<'a> {
    /// `turn` gives its seconds, [`None`] where it was cut off, or why it failed.
    pub(super) fn new(
        is: impl Into<String>,
        goals: &[Goal],
        turn: impl FnMut() -> Result<Option<f64>, String> + 'a,
    ) -> Runner<'a> {
        Runner { is: is.into(), goals: goals.to_vec(), turn: Box::new(turn), samples: Vec::new(), out: None }
    }

    /// Returns its name in the report.
    pub(super) fn is(&self) -> &str {
        &self.is
    }
}

/// The work of a race.
pub(super) struct Course<'a> {
    pub(super) work: &'a str,
    pub(super) unit: Unit,
    /// Makes a value of seconds.
    pub(super) value: &'a dyn Fn(f64) -> f64,
    /// Programs are cut off after it. It then counts as their time.
    pub(super) limit: Duration,
    pub(super) rounds: usize,
}

/// Lets `runners` take turns, and reports the first of them alone and beside each other one. One that fails or is
/// cut off takes no more turns.
pub(super) fn race(report: &mut Report, course: &Course<'_>, mut runners: Vec<Runner<'_>>) {
    for _ in 0..course.rounds {
        for runner in runners.iter_mut().filter(|runner| runner.out.is_none()) {
            match (runner.turn)() {
                Ok(Some(seconds)) => runner.samples.push(Sample::plain((course.value)(seconds))),
                Ok(None) => {
                    runner.samples.push(Sample::plain((course.value)(course.limit.as_secs_f64())));
                    runner.out = Some(Out::CutOff);
                }
                Err(why) => runner.out = Some(Out::Failed(why)),
            }
        }
    }
    let cut_off = format!("cut off after {} s", course.limit.as_secs());
    let mut runners = runners.into_iter();
    let Some(ours) = runners.next() else { return };
    let mut row = Row { ours: ours.samples, ..Row::new(course.work, course.unit) };
    match ours.out {
        Some(Out::Failed(why)) => report.skip(&format!("{}: {}", course.work, ours.is), &why),
        Some(Out::CutOff) => row.limit_is = format!("ferry was {cut_off}"),
        None => {}
    }
    report.row(row.clone());
    for Runner { is, goals, samples, out, .. } in runners {
        let limit_is = match out {
            Some(Out::Failed(why)) => {
                report.skip(&format!("{}: {is}", course.work), &why);
                continue;
            }
            Some(Out::CutOff) => format!("{is}, {cut_off}"),
            None => is,
        };
        report.row(Row { limit: samples, limit_is, goals, ..row.clone() });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn one_that_is_cut_off_or_fails_takes_no_more_turns() {
        let log = RefCell::new(String::new());
        let runner = |name: char, result: Result<Option<f64>, String>| {
            let log = &log;
            Runner::new(name, &[], move || {
                log.borrow_mut().push(name);
                result.clone()
            })
        };
        let runners = vec![runner('a', Ok(Some(2.0))), runner('b', Ok(None)), runner('c', Err("no".into()))];
        let mut report = Report::new("line", false);
        let (work, unit, limit) = ("work", Unit::Megabits, Duration::from_secs(10));
        race(&mut report, &Course { work, unit, value: &|seconds| 40.0 / seconds, limit, rounds: 2 }, runners);
        assert_eq!(*log.borrow(), "abca");
        let [alone, beside] = report.rows() else { panic!("{} rows", report.rows().len()) };
        assert_eq!(alone.ours, [20.0, 20.0].map(Sample::plain));
        assert_eq!(beside.limit, [Sample::plain(4.0)]);
        assert_eq!(beside.limit_is, "b, cut off after 10 s");
    }
}
