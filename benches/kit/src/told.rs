//! Lines in which the report of one process tells another what it has to report.

use std::fmt::{self, Display, Formatter};

use crate::{
    goal::Goal,
    rounds::Row,
    sample::{Sample, Unit},
};

/// Units of which rows are told.
const UNITS: [Unit; 4] = [Unit::Bytes, Unit::Megabits, Unit::Files, Unit::Seconds];

/// The content of a line. CPU times are not told: such a process shares them with others.
#[derive(Debug)]
pub(crate) enum Told {
    Row(Row),
    Skipped { work: String, why: String },
    Remark(String),
    End,
}

impl Display for Told {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let plain = |text: &str| text.replace(['\t', '\n'], " ");
        match self {
            Told::Row(row) => {
                let values = |samples: &[Sample]| joined(samples.iter().map(|sample| sample.value.to_string()));
                let goals = joined(row.goals.iter().map(|goal| format!("{goal:?}")));
                let fields = [&plain(&row.work), row.unit.name(), &plain(&row.limit_is), &values(&row.ours)];
                write!(out, "row\t{}\t{}\t{goals}", fields.join("\t"), values(&row.limit))
            }
            Told::Skipped { work, why } => write!(out, "skipped\t{}\t{}", plain(work), plain(why)),
            Told::Remark(text) => write!(out, "remark\t{}", plain(text)),
            Told::End => out.write_str("end"),
        }
    }
}

impl Told {
    /// Reads a line; [`None`] where it is none of these.
    pub(crate) fn parse(line: &str) -> Option<Told> {
        match *line.split('\t').collect::<Vec<_>>() {
            ["row", work, unit, limit_is, ours, limit, goals] => {
                let unit = UNITS.into_iter().find(|known| known.name() == unit)?;
                let samples = |text: &str| words(text).map(|word| word.parse().map(Sample::plain).ok()).collect();
                let goals = words(goals).map(goal).collect::<Option<_>>()?;
                let (ours, limit): (Option<_>, Option<_>) = (samples(ours), samples(limit));
                let row = Row { ours: ours?, limit: limit?, limit_is: limit_is.into(), goals, ..Row::new(work, unit) };
                Some(Told::Row(row))
            }
            ["skipped", work, why] => Some(Told::Skipped { work: work.into(), why: why.into() }),
            ["remark", text] => Some(Told::Remark(text.into())),
            ["end"] => Some(Told::End),
            _ => None,
        }
    }
}

/// Reads a goal as [`Debug`](fmt::Debug) writes it.
fn goal(text: &str) -> Option<Goal> {
    let (name, bound) = text.strip_suffix(')')?.split_once('(')?;
    let kinds = [Goal::AtLeast, Goal::AtMost, Goal::RatioAtLeast, Goal::RatioAtMost, Goal::CpuWithin, Goal::CpuTimes];
    let bound = bound.parse().ok()?;
    kinds.into_iter().map(|kind| kind(bound)).find(|goal| format!("{goal:?}").starts_with(&format!("{name}(")))
}

fn joined(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(told: &Told) -> Told {
        Told::parse(&told.to_string()).unwrap()
    }

    #[test]
    fn a_row_comes_out_as_it_went_in() {
        let [ours, limit] = [vec![1.5, 2.0], vec![]].map(|list| list.into_iter().map(Sample::plain).collect());
        let goals = vec![Goal::RatioAtLeast(0.9), Goal::AtMost(2.0)];
        let row = Row { ours, limit, limit_is: "dd".into(), goals, ..Row::new("2 servers: PUT", Unit::Bytes) };
        let Told::Row(came) = again(&Told::Row(row.clone())) else { panic!("a row") };
        assert_eq!((came.work, came.unit, came.limit_is), (row.work, row.unit, row.limit_is));
        assert_eq!((came.ours, came.limit, came.goals), (row.ours, row.limit, row.goals));
    }

    #[test]
    fn words_of_others_stay_in_one_line() {
        let Told::Skipped { work, why } = again(&Told::Skipped { work: "GET".into(), why: "a\nb\tc".into() }) else {
            panic!("a skipped row")
        };
        assert_eq!((work.as_str(), why.as_str()), ("GET", "a b c"));
        assert!(matches!(again(&Told::End), Told::End));
        assert!(Told::parse("status 0").is_none());
    }
}
