//! Figures in Prometheus' text format, version 0.0.4.

use std::fmt::Write;

use super::{
    figures::{Family, Figures, Kind, Sample, Value},
    histogram::{BOUNDS, Histogram},
};

/// Returns the page.
pub(crate) fn page(figures: &Figures) -> String {
    let mut page = String::with_capacity(16 << 10);
    for Family { name, kind, help, samples } in figures.families() {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Info => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String can't fail.
        let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for sample in &samples {
            push_sample(&mut page, name, sample);
        }
    }
    page
}

fn push_sample(page: &mut String, name: &str, (labels, value): &Sample<'_>) {
    match value {
        Value::Count(count) => {
            push_series(page, name, labels, None);
            let _ = writeln!(page, " {count}");
        }
        Value::Unlimited => {
            push_series(page, name, labels, None);
            page.push_str(" +Inf\n");
        }
        Value::Seconds(time) => {
            push_series(page, name, labels, None);
            let _ = writeln!(page, " {}", time.as_secs_f64());
        }
        Value::Histogram(histogram) => push_histogram(page, name, labels, histogram),
    }
}

type Labels<'a> = [(&'static str, std::borrow::Cow<'a, str>)];

fn push_histogram(page: &mut String, name: &str, labels: &Labels<'_>, histogram: &Histogram) {
    let (up_to, all) = histogram.up_to();
    let bucket = format!("{name}_bucket");
    for (bound, count) in BOUNDS.iter().zip(up_to) {
        push_series(page, &bucket, labels, Some(&bound.as_secs_f64().to_string()));
        let _ = writeln!(page, " {count}");
    }
    push_series(page, &bucket, labels, Some("+Inf"));
    let _ = writeln!(page, " {all}");
    push_series(page, &format!("{name}_sum"), labels, None);
    let _ = writeln!(page, " {}", histogram.sum().as_secs_f64());
    push_series(page, &format!("{name}_count"), labels, None);
    let _ = writeln!(page, " {all}");
}

/// Appends a name with its labels, the upper bound of a bucket among them.
fn push_series(page: &mut String, name: &str, labels: &Labels<'_>, bound: Option<&str>) {
    page.push_str(name);
    let labels = labels.iter().map(|(label, text)| (*label, text.as_ref()));
    let mut before = '{';
    for (label, text) in labels.chain(bound.map(|bound| ("le", bound))) {
        page.push(before);
        page.push_str(label);
        page.push_str("=\"");
        for character in text.chars() {
            match character {
                '\\' => page.push_str("\\\\"),
                '"' => page.push_str("\\\""),
                '\n' => page.push_str("\\n"),
                other => page.push(other),
            }
        }
        page.push('"');
        before = ',';
    }
    if before == ',' {
        page.push('}');
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::RootDown;

    #[test]
    fn each_figure_has_a_line() {
        let page = page(&Figures::of_a_test());
        for line in [
            "# TYPE ferryd_clients gauge",
            "ferryd_build_info{version=\"1.2.3\"} 1",
            "ferryd_clients{state=\"idle\"} 8",
            "ferryd_clients{state=\"handshake\"} 2",
            "ferryd_sent_bytes_total 4294967296",
            "ferryd_transfers_total{verb=\"GET\",outcome=\"failed\"} 2",
            "ferryd_failures_total{code=\"not-found\"} 1",
            "ferryd_transferred_bytes_total{verb=\"GET\"} 3145828",
            "ferryd_user_transfers_total{user=\"alice\"} 3",
            "ferryd_user_downloaded_bytes_total{user=\"(anonymous)\"} 3145728",
            "ferryd_staged_limit_bytes +Inf",
            "ferryd_helper_queue_operations{lane=\"read\"} 3",
            "ferryd_helper_task_seconds_bucket{lane=\"read\",le=\"0.0001\"} 0",
            "ferryd_helper_task_seconds_bucket{lane=\"read\",le=\"0.01\"} 2",
            "ferryd_helper_task_seconds_bucket{lane=\"read\",le=\"10\"} 3",
            "ferryd_helper_task_seconds_bucket{lane=\"read\",le=\"+Inf\"} 4",
            "ferryd_helper_task_seconds_sum{lane=\"read\"} 20.056",
            "ferryd_helper_task_seconds_count{lane=\"read\"} 4",
            "ferryd_loop_recent_longest_round_seconds 0.00025",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
        assert!(page.ends_with('\n'));
    }

    #[test]
    fn a_root_that_is_down_is_a_zero() {
        assert!(page(&Figures::of_a_test()).contains("\nferryd_root_up 1\n"));
        let root_down = Some(RootDown { time: Duration::from_secs(1), why: "gone".into() });
        assert!(page(&Figures { root_down, ..Figures::of_a_test() }).contains("\nferryd_root_up 0\n"));
    }

    #[test]
    fn a_server_that_has_a_name_has_it_as_a_label() {
        let figures = Figures { node: Some("a.1".into()), ..Figures::of_a_test() };
        assert!(page(&figures).contains("\nferryd_build_info{version=\"1.2.3\",node=\"a.1\"} 1\n"));
    }

    #[test]
    fn labels_are_escaped() {
        let mut page = String::new();
        push_series(&mut page, "a", &[("b", "c\\d\"e\nf".into())], Some("1"));
        assert_eq!(page, "a{b=\"c\\\\d\\\"e\\nf\",le=\"1\"}");
    }
}
