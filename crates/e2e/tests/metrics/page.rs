//! Gets the page of the metrics, and holds it to the rules of Prometheus' text format, with no code of the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
};

use ferry_e2e::{HANG_GUARD, Server, eventually};

/// Returns where the server serves its figures.
pub(crate) fn address(server: &Server) -> SocketAddr {
    eventually("the log names the address of the figures", || {
        let log = server.log();
        log.lines().find_map(|line| line.split_once("figures are at http://")?.1.strip_suffix("/metrics")?.parse().ok())
    })
}

/// Sends `request`, and returns the whole response: its head and its body.
pub(crate) fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG_GUARD)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// A page: the values of all series, and the kinds of all families.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) text: String,
    series: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

impl Page {
    /// Gets the page, and checks it.
    pub(crate) fn get(address: SocketAddr) -> Page {
        let (head, body) = ask(address, "GET /metrics HTTP/1.1\r\nHost: ferryd\r\nAccept: text/plain\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for header in [
            "Content-Type: text/plain; version=0.0.4; charset=utf-8",
            "Connection: close",
            &format!("Content-Length: {}", body.len()),
        ] {
            assert!(head.lines().any(|line| line == header), "no {header} in {head}");
        }
        Page::read(body)
    }

    fn read(text: String) -> Page {
        let mut page = Page { text: String::new(), series: BTreeMap::new(), kinds: BTreeMap::new() };
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        assert!(text.ends_with('\n') && !text.contains("\n\n") && !text.contains('\r'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("words of help");
                assert!(helped.insert(name.to_owned()) && help.ends_with('.'), "{line}");
                family = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert!(name == family && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(is_name(name) && name.starts_with("ferryd_"), "{line}");
                assert!(page.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            } else {
                page.take_sample(line, &family);
            }
        }
        page.check_histograms();
        Page { text, ..page }
    }

    fn take_sample(&mut self, line: &str, family: &str) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let value = if value == "+Inf" { f64::INFINITY } else { value.parse::<f64>().expect("a number") };
        assert!(value >= 0.0, "{line}");
        let name = series.split('{').next().unwrap();
        let of_family = match self.kinds[family].as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(family)),
            _ => name == family,
        };
        assert!(of_family, "{line} is no sample of {family}");
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}')).expect("braces");
            for label in labels.split("\",") {
                let (name, value) = label.split_once("=\"").expect("a label");
                assert!(is_name(name) && !value.trim_end_matches('"').contains(['"', '\\']), "{line}");
            }
        }
        assert!(self.series.insert(series.to_owned(), value).is_none(), "{line} is there twice");
    }

    /// Holds each histogram to: buckets that grow, the last of which holds all.
    fn check_histograms(&self) {
        for (name, _) in self.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (series, count) in &self.series {
                let Some(labels) = series.strip_prefix(&format!("{name}_bucket{{")) else { continue };
                let (others, bound) = labels.trim_end_matches("\"}").split_once("le=\"").expect("a bound");
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a number") };
                buckets.entry(others.trim_end_matches(',').to_owned()).or_default().push((bound, *count));
            }
            assert!(!buckets.is_empty(), "{name}");
            for (labels, mut buckets) in buckets {
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name}{{{labels}}}: {buckets:?}");
                let last = buckets.last().unwrap();
                assert_eq!((last.0, last.1), (f64::INFINITY, self.value(&format!("{name}_count{{{labels}}}"))));
                assert!(self.series.contains_key(&format!("{name}_sum{{{labels}}}")));
            }
        }
    }

    /// The value of a series.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    /// Whether there is a family or series of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
        self.kinds.contains_key(name)
            || of_histogram.into_iter().any(|family| self.kinds.get(family).is_some_and(|kind| kind == "histogram"))
    }

    /// The names of all families.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// Has promtool look at it, where there is one.
    pub(crate) fn lint(&self) {
        promtool(&["check", "metrics"], &self.text);
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Runs promtool, which is to find nothing wrong. It is the program that `FERRY_PROMTOOL` names, or that of the search
/// path; where there is none, this says so.
pub(crate) fn promtool(arguments: &[&str], input: &str) {
    let program = env::var_os("FERRY_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return println!("skipped: {} can't be run: {error}", program.display()),
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}: {said}\n{input}");
    println!("promtool {arguments:?}: {said}");
}
