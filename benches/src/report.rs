//! Showing rows: a table to quote, or JSON for machines.

use std::fmt::Write as _;

use crate::rounds::{Row, Spread};

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
    let figures = Figures::of(row);
    let ratio = figures.ratio;
    columns([
        &row.work,
        &format!("{} {}", digits(figures.ours), row.unit),
        &format!("{} {}", digits(figures.limit), row.unit),
        &format!("{:.2} ({:.2}..{:.2})", ratio.median, ratio.min, ratio.max),
        &format!("{} {}", digits(figures.ours_cpu), row.cpu_unit),
        &format!("{} {}", digits(figures.limit_cpu), row.cpu_unit),
        row.limit_is,
    ])
}

fn columns([work, ours, limit, ratio, cpu, limit_cpu, limit_is]: [&str; 7]) -> String {
    format!("{work:<36} {ours:>15} {limit:>15}   {ratio:<18} {cpu:>12} {limit_cpu:>12}   {limit_is}")
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
    let Figures { ours, limit, ratio, ours_cpu, limit_cpu } = Figures::of(row);
    let mut out = String::from("{");
    for (key, text) in [
        ("target", target),
        ("work", &row.work),
        ("limit_is", row.limit_is),
        ("unit", row.unit),
        ("cpu_unit", row.cpu_unit),
    ] {
        let _ = write!(out, "\"{key}\":\"{}\",", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    for (key, value) in [
        ("ferry", ours),
        ("limit", limit),
        ("ratio", ratio.median),
        ("ratio_min", ratio.min),
        ("ratio_max", ratio.max),
        ("server_cpu", ours_cpu),
        ("limit_cpu", limit_cpu),
    ] {
        let _ = write!(out, "\"{key}\":{value:.6},");
    }
    let _ = write!(out, "\"rounds\":{}}}", row.ours.len());
    out
}

/// The medians of a row.
struct Figures {
    ours: f64,
    limit: f64,
    ratio: Spread,
    ours_cpu: f64,
    limit_cpu: f64,
}

impl Figures {
    fn of(row: &Row) -> Figures {
        Figures {
            ours: Spread::of(row.ours.iter().map(|sample| sample.value)).median,
            limit: Spread::of(row.limit.iter().map(|sample| sample.value)).median,
            ratio: row.ratio(),
            ours_cpu: Spread::of(row.ours.iter().map(|sample| sample.cpu)).median,
            limit_cpu: Spread::of(row.limit.iter().map(|sample| sample.cpu)).median,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::Sample;

    fn row() -> Row {
        let sample = |value, cpu| Sample { value, cpu };
        Row {
            work: "GET 1 GiB, drained".into(),
            limit_is: "bare sendfile",
            unit: "GB/s",
            cpu_unit: "s/GB",
            ours: vec![sample(2.0, 0.3), sample(1.8, 0.2), sample(2.2, 0.4)],
            limit: vec![sample(2.5, 0.2), sample(2.0, 0.2), sample(2.2, 0.2)],
        }
    }

    #[test]
    fn a_line_to_quote() {
        assert_eq!(
            line(&row()).split_whitespace().collect::<Vec<_>>().join(" "),
            "GET 1 GiB, drained 2.00 GB/s 2.20 GB/s 0.90 (0.80..1.00) 0.300 s/GB 0.200 s/GB bare sendfile"
        );
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
