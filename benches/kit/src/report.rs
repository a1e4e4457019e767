//! Showing rows: a table to quote, or JSON for machines. Of seconds, microseconds and bytes of memory
//! fewer are better, also in the ratio.

use std::fmt::Write as _;

use crate::{
    goal::Verdict,
    rounds::Row,
    sample::{Sample, Spread, digits},
    told::Told,
};

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A table for people.
    Table,
    /// An object a row.
    Json,
    /// For a report of another process, which passes it on.
    Told,
}

/// Takes rows, and prints each as it comes.
#[derive(Debug)]
pub struct Report {
    target: &'static str,
    form: Form,
    rows: Vec<Row>,
    skipped: usize,
}

impl Report {
    /// Returns the report of one bench target.
    #[must_use]
    pub fn new(target: &'static str, json: bool) -> Report {
        Report { target, form: if json { Form::Json } else { Form::Table }, rows: Vec::new(), skipped: 0 }
    }

    /// Returns one whose lines another process [passes on](Report::pass_on).
    pub(crate) fn told(target: &'static str) -> Report {
        Report { form: Form::Told, ..Report::new(target, false) }
    }

    /// Reports what a line of a [told](Report::told) report says, and returns whether that report has ended with it.
    /// Other lines say nothing.
    pub(crate) fn pass_on(&mut self, line: &str) -> bool {
        match Told::parse(line) {
            Some(Told::Row(row)) => self.row(row),
            Some(Told::Skipped { work, why }) => self.skip(&work, &why),
            Some(Told::Remark(text)) => self.remark(&text),
            Some(Told::End) => return true,
            None => {}
        }
        false
    }

    /// Prints `row`, and keeps it.
    pub fn row(&mut self, row: Row) {
        self.print(&row);
        self.rows.push(row);
    }

    fn print(&self, row: &Row) {
        match self.form {
            Form::Json => println!("{}", json(self.target, row)),
            Form::Told => println!("{}", Told::Row(row.clone())),
            Form::Table => {
                if self.rows.is_empty() {
                    println!("{}", heading());
                }
                let goes_on = self.rows.last().is_some_and(|last| last.work == row.work);
                println!("{}", line(if goes_on { "" } else { &row.work }, row));
            }
        }
    }

    /// Says why there is no row for `work`, or for one of those beside whom it is done.
    pub fn skip(&mut self, work: &str, why: &str) {
        match self.form {
            Form::Json => println!("{{{}}}", texts(&[("target", self.target), ("work", work), ("skipped", why)])),
            Form::Told => println!("{}", Told::Skipped { work: work.into(), why: why.into() }),
            Form::Table => println!("{work}: {why}"),
        }
        self.skipped += 1;
    }

    /// Says what a reader of the table should know; machines are not told.
    pub fn remark(&self, text: &str) {
        match self.form {
            Form::Json => {}
            Form::Told => println!("{}", Told::Remark(text.into())),
            Form::Table => println!("{text}"),
        }
    }

    /// Returns the rows that were reported so far.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Says so where nothing was reported.
    pub fn end(&self) {
        if self.form == Form::Told {
            println!("{}", Told::End);
        } else if self.rows.is_empty() && self.skipped == 0 {
            eprintln!("{}: no row has that in its work", self.target);
        }
    }
}

fn heading() -> String {
    columns([
        "work",
        "ferry",
        "beside it",
        "ratio (min..max)",
        "ferry's CPU",
        "its CPU",
        "beside it stands",
        "goal: met or missed",
    ])
}

/// `work` is left out in a line that goes on with that of the one above.
fn line(work: &str, row: &Row) -> String {
    let rate = |samples: &[Sample]| Some(format!("{} {}", digits(Sample::median(samples)?), row.unit.name()));
    let spent = |samples: &[Sample]| Some(format!("{} {}", digits(Sample::cpu_median(samples)?), row.unit.cpu_name()?));
    let ratio = row.ratio().map(|Spread { median, min, max }| {
        let [median, min, max] = [median, min, max].map(of_ratio);
        format!("{median} ({min}..{max})")
    });
    let show = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let told = verdicts(row).map(|Verdict { goal, missed_by }| match missed_by {
        None => format!("{goal}: met"),
        Some(by) => format!("{goal}: MISSED by {by}"),
    });
    columns([
        work,
        &show(rate(&row.ours)),
        &show(rate(&row.limit)),
        &show(ratio),
        &show(spent(&row.ours)),
        &show(spent(&row.limit)),
        &row.limit_is,
        &told.collect::<Vec<_>>().join(", "),
    ])
}

fn verdicts(row: &Row) -> impl Iterator<Item = Verdict> {
    row.goals.iter().filter_map(|goal| goal.verdict(row.unit, &row.ours, &row.limit))
}

fn columns([work, ours, limit, ratio, cpu, limit_cpu, limit_is, goals]: [&str; 8]) -> String {
    let line =
        format!("{work:<44} {ours:>15} {limit:>15}   {ratio:<23} {cpu:>13} {limit_cpu:>13}   {limit_is:<40} {goals}");
    line.trim_end().into()
}

fn of_ratio(value: f64) -> String {
    if value < 0.1 { format!("{value:.4}") } else { format!("{value:.2}") }
}

fn json(target: &str, row: &Row) -> String {
    let mut out = format!(
        "{{{},",
        texts(&[
            ("target", target),
            ("work", &row.work),
            ("limit_is", &row.limit_is),
            ("unit", row.unit.name()),
            ("cpu_unit", row.unit.cpu_name().unwrap_or_default()),
        ])
    );
    let ratio = row.ratio();
    for (key, value) in [
        ("ferry", Sample::median(&row.ours)),
        ("limit", Sample::median(&row.limit)),
        ("ratio", ratio.map(|ratio| ratio.median)),
        ("ratio_min", ratio.map(|ratio| ratio.min)),
        ("ratio_max", ratio.map(|ratio| ratio.max)),
        ("server_cpu", Sample::cpu_median(&row.ours)),
        ("limit_cpu", Sample::cpu_median(&row.limit)),
    ] {
        let value = value.map_or_else(|| "null".into(), |value| format!("{value:.6}"));
        let _ = write!(out, "\"{key}\":{value},");
    }
    let goals = verdicts(row).map(|Verdict { goal, missed_by }| {
        format!("{{{},\"met\":{}}}", texts(&[("goal", &goal)]), missed_by.is_none())
    });
    let _ = write!(out, "\"goals\":[{}],", goals.collect::<Vec<_>>().join(","));
    let _ = write!(out, "\"rounds\":{}}}", row.ours.len());
    out
}

/// Members of an object: keys and strings.
fn texts(members: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (key, text) in members {
        let comma = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}\"{key}\":\"");
        for character in text.chars() {
            match character {
                '"' | '\\' => out.extend(['\\', character]),
                character if character.is_control() => {
                    let _ = write!(out, "\\u{:04x}", u32::from(character));
                }
                character => out.push(character),
            }
        }
        out.push('"');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{goal::Goal, sample::Unit};

    fn row() -> Row {
        let sample = |value, cpu| Sample { value, cpu: Some(cpu) };
        Row {
            limit_is: "bare sendfile".into(),
            ours: vec![sample(2.0, 0.3), sample(1.8, 0.2), sample(2.2, 0.4)],
            limit: vec![sample(2.5, 0.2), sample(2.0, 0.2), sample(2.2, 0.2)],
            goals: vec![Goal::AtLeast(1.5), Goal::RatioAtLeast(1.0)],
            ..Row::new("GET 1 GiB, drained", Unit::Bytes)
        }
    }

    fn words(line: &str) -> String {
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_line_to_quote() {
        assert_eq!(
            words(&line(&row().work, &row())),
            "GET 1 GiB, drained 2.00 GB/s 2.20 GB/s 0.90 (0.80..1.00) 0.300 s/GB 0.200 s/GB bare sendfile \
             >= 1.50 GB/s: met, ratio >= 1.00: MISSED by 10 %"
        );
    }

    #[test]
    fn what_has_no_limit_says_so() {
        let row = Row {
            ours: vec![Sample::plain(250.0)],
            goals: vec![Goal::RatioAtMost(1.0)],
            ..Row::new("memory of an idle client", Unit::Memory)
        };
        assert_eq!(words(&line(&row.work, &row)), "memory of an idle client 250 B - - - -");
        assert!(json("clients", &row).contains(r#""ferry":250.000000,"limit":null,"ratio":null,"#));
    }

    #[test]
    fn an_object_for_machines() {
        assert_eq!(
            json("throughput", &row()),
            "{\"target\":\"throughput\",\"work\":\"GET 1 GiB, drained\",\"limit_is\":\"bare sendfile\",\
             \"unit\":\"GB/s\",\"cpu_unit\":\"s/GB\",\"ferry\":2.000000,\"limit\":2.200000,\"ratio\":0.900000,\
             \"ratio_min\":0.800000,\"ratio_max\":1.000000,\"server_cpu\":0.300000,\"limit_cpu\":0.200000,\
             \"goals\":[{\"goal\":\">= 1.50 GB/s\",\"met\":true},{\"goal\":\"ratio >= 1.00\",\"met\":false}],\
             \"rounds\":3}"
        );
    }

    #[test]
    fn text_of_others_stays_inside_its_string() {
        assert_eq!(texts(&[("a", "say \"\\\"\n"), ("b", "")]), r#""a":"say \"\\\"\u000a","b":"""#);
    }
}
