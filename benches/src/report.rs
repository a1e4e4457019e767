//! Showing rows: a table to quote, or JSON for machines.

use std::fmt::Write as _;

use crate::{
    rounds::Row,
    sample::{Sample, Spread},
};

/// Takes rows, and prints each as it comes.
#[derive(Debug)]
pub struct Report {
    target: &'static str,
    json: bool,
    rows: Vec<Row>,
}

impl Report {
    /// The report of one bench target.
    #[must_use]
    pub fn new(target: &'static str, json: bool) -> Report {
        Report { target, json, rows: Vec::new() }
    }

    /// Prints `row`, and keeps it.
    pub fn row(&mut self, row: Row) {
        if self.json {
            println!("{}", json(self.target, &row));
        } else {
            if self.rows.is_empty() {
                println!("{}", heading());
            }
            println!("{}", line(&row));
        }
        self.rows.push(row);
    }

    /// What was reported so far.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Says so where nothing was reported.
    pub fn end(&self) {
        if self.rows.is_empty() {
            eprintln!("{}: no row has that in its work", self.target);
        }
    }
}

fn heading() -> String {
    columns(["work", "ferry", "limit", "ratio (min..max)", "server CPU", "limit's CPU", "the limit is"])
}

fn line(row: &Row) -> String {
    let rate = |samples| Some(format!("{} {}", digits(value(samples)?), row.unit.name()));
    let spent = |samples| Some(format!("{} {}", digits(cpu(samples)?), row.unit.cpu_name()?));
    let ratio = row.ratio().map(|Spread { median, min, max }| format!("{median:.2} ({min:.2}..{max:.2})"));
    let show = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    columns([
        &row.work,
        &show(rate(&row.ours)),
        &show(rate(&row.limit)),
        &show(ratio),
        &show(spent(&row.ours)),
        &show(spent(&row.limit)),
        row.limit_is,
    ])
}

fn columns([work, ours, limit, ratio, cpu, limit_cpu, limit_is]: [&str; 7]) -> String {
    format!("{work:<42} {ours:>15} {limit:>15}   {ratio:<18} {cpu:>13} {limit_cpu:>13}   {limit_is}")
}

/// Three significant digits, or all that stand before the point.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 || size == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

fn json(target: &str, row: &Row) -> String {
    let mut out = String::from("{");
    for (key, text) in [
        ("target", target),
        ("work", &row.work),
        ("limit_is", row.limit_is),
        ("unit", row.unit.name()),
        ("cpu_unit", row.unit.cpu_name().unwrap_or_default()),
    ] {
        let _ = write!(out, "\"{key}\":\"{}\",", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let ratio = row.ratio();
    for (key, value) in [
        ("ferry", value(&row.ours)),
        ("limit", value(&row.limit)),
        ("ratio", ratio.map(|ratio| ratio.median)),
        ("ratio_min", ratio.map(|ratio| ratio.min)),
        ("ratio_max", ratio.map(|ratio| ratio.max)),
        ("server_cpu", cpu(&row.ours)),
        ("limit_cpu", cpu(&row.limit)),
    ] {
        let value = value.map_or_else(|| "null".into(), |value| format!("{value:.6}"));
        let _ = write!(out, "\"{key}\":{value},");
    }
    let _ = write!(out, "\"rounds\":{}}}", row.ours.len());
    out
}

fn value(samples: &[Sample]) -> Option<f64> {
    Spread::of(samples.iter().map(|sample| sample.value)).map(|spread| spread.median)
}

fn cpu(samples: &[Sample]) -> Option<f64> {
    Spread::of(samples.iter().filter_map(|sample| sample.cpu)).map(|spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Unit;

    fn row() -> Row {
        let sample = |value, cpu| Sample { value, cpu: Some(cpu) };
        Row {
            work: "GET 1 GiB, drained".into(),
            limit_is: "bare sendfile",
            unit: Unit::Bytes,
            ours: vec![sample(2.0, 0.3), sample(1.8, 0.2), sample(2.2, 0.4)],
            limit: vec![sample(2.5, 0.2), sample(2.0, 0.2), sample(2.2, 0.2)],
        }
    }

    fn words(line: &str) -> String {
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_line_to_quote() {
        assert_eq!(
            words(&line(&row())),
            "GET 1 GiB, drained 2.00 GB/s 2.20 GB/s 0.90 (0.80..1.00) 0.300 s/GB 0.200 s/GB bare sendfile"
        );
    }

    #[test]
    fn what_has_no_limit_says_so() {
        let row = Row {
            work: "memory of an idle client".into(),
            limit_is: "",
            unit: Unit::Memory,
            ours: vec![Sample::plain(250.0)],
            limit: vec![],
        };
        assert_eq!(words(&line(&row)), "memory of an idle client 250 B - - - -");
        assert!(json("clients", &row).contains(r#""ferry":250.000000,"limit":null,"ratio":null,"#));
    }

    #[test]
    fn an_object_for_machines() {
        assert_eq!(
            json("throughput", &row()),
            "{\"target\":\"throughput\",\"work\":\"GET 1 GiB, drained\",\"limit_is\":\"bare sendfile\",\
             \"unit\":\"GB/s\",\"cpu_unit\":\"s/GB\",\"ferry\":2.000000,\"limit\":2.200000,\"ratio\":0.900000,\
             \"ratio_min\":0.800000,\"ratio_max\":1.000000,\"server_cpu\":0.300000,\"limit_cpu\":0.200000,\
             \"rounds\":3}"
        );
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
