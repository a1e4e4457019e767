//! Figures of the built server: what they count, how they are served, and that what is packaged for them fits.
//!
//! `FERRY_PROMTOOL` names promtool where it is not in the search path. `FERRY_TEST_LARGE=1` has a thousand clients work.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod page;
mod scrapers;

use std::{
    collections::BTreeSet, env, fs, net::TcpListener, os::unix::fs::PermissionsExt as _, process::Command, thread,
};

use ferry_e2e::{Options, Raw, Server, crc, eventually, ferryd, workspace_root};

use page::{Page, ask, promtool};

pub(crate) fn server() -> Options {
    Options::new().arg("--metrics").arg("127.0.0.1:0").arg("--durability").arg("none")
}

/// Gets pages until one fits.
#[track_caller]
fn settled(server: &Server, what: &str, fits: impl Fn(&Page) -> bool) -> Page {
    let address = page::address(server);
    eventually(what, || Some(Page::get(address)).filter(|page| fits(page)))
}

#[test]
fn figures_count_what_clients_do() {
    let server = server().start();
    server.write("a", &[7; 1000]);
    let mut raw = Raw::greeted(server.address());
    let _idle = Raw::greeted(server.address());
    for _ in 0..3 {
        assert_eq!(raw.ask("GET a").verified().len(), 1000);
    }
    raw.ask("GET missing").expect_failure("not-found");
    assert_eq!(raw.put("b", b"hello").word(2), crc(b"hello"));
    raw.ask("DELETE b");
    let page = settled(&server, "both clients are idle", |page| page.value("ferryd_clients{state=\"idle\"}") == 2.0);
    for (series, value) in [
        ("ferryd_connections_total", 2.0),
        ("ferryd_transfers_total{verb=\"GET\",outcome=\"ok\"}", 3.0),
        ("ferryd_transfers_total{verb=\"GET\",outcome=\"failed\"}", 1.0),
        ("ferryd_transfers_total{verb=\"PUT\",outcome=\"ok\"}", 1.0),
        ("ferryd_transfers_total{verb=\"DELETE\",outcome=\"ok\"}", 1.0),
        ("ferryd_transferred_bytes_total{verb=\"GET\"}", 3000.0),
        ("ferryd_transferred_bytes_total{verb=\"PUT\"}", 5.0),
        ("ferryd_failures_total{code=\"not-found\"}", 1.0),
        ("ferryd_user_uploaded_bytes_total{user=\"(anonymous)\"}", 5.0),
        ("ferryd_user_downloaded_bytes_total{user=\"(anonymous)\"}", 3000.0),
        ("ferryd_transfers_active{direction=\"upload\"}", 0.0),
        ("ferryd_staged_bytes", 0.0),
        ("ferryd_log_lines_lost_total", 0.0),
        ("ferryd_draining", 0.0),
    ] {
        assert_eq!(page.value(series), value, "{series}");
    }
    assert!(page.value("ferryd_sent_bytes_total") > 3000.0 && page.value("ferryd_received_bytes_total") > 5.0);
    assert!(page.value("ferryd_loop_rounds_total") > 1.0 && page.value("ferryd_loop_busy_seconds_total") > 0.0);
    assert!(page.value("ferryd_helper_task_seconds_count{lane=\"names\"}") >= 1.0);
    page.lint();

    // One in the middle of a download, one of an upload: both wait for their client.
    server.write("large", &vec![1; 16 << 20]);
    let mut reader = Raw::greeted(server.address());
    reader.send("GET large\n");
    raw.send("PUT 100 - c\nDATA 50\n");
    let is_busy = |page: &Page| {
        ["download", "upload"].iter().all(|way| {
            page.value(&format!("ferryd_clients{{state=\"{way}\"}}")) == 1.0
                && page.value(&format!("ferryd_transfers_active{{direction=\"{way}\"}}")) == 1.0
        })
    };
    settled(&server, "a download and an upload are under way", is_busy);
    drop((reader, raw));
    let is_quiet = |page: &Page| {
        let states = ["request", "download", "upload", "rate", "refused", "closing", "handshake"];
        states.iter().all(|state| page.value(&format!("ferryd_clients{{state=\"{state}\"}}")) == 0.0)
            && page.value("ferryd_clients{state=\"idle\"}") == 1.0
            && page.value("ferryd_transfers_active{direction=\"upload\"}") == 0.0
    };
    let page = settled(&server, "one is left, and idle", is_quiet);
    assert_eq!(page.value("ferryd_connections_total"), 3.0);
    assert_eq!(page.value("ferryd_transfers_total{verb=\"PUT\",outcome=\"failed\"}"), 1.0);
}

#[test]
fn figures_count_who_is_refused_who_waits_for_a_rate_and_who_logs_in() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users.toml");
    // The password is "password", and its hash cheap.
    let hash = "$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MBqPu0xZXFIeZ1LJialS1H4ezQY9ie689ohyiGdbVMg";
    let text =
        format!("[anonymous]\nrights = {{}}\n[users.alice]\npassword = \"{hash}\"\nrights = {{ \"\" = \"rw\" }}\n");
    fs::write(&users, text).unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    let server = server().arg("--users").arg(&users).arg("--max-clients").arg("1").arg("--rate").arg("100000").start();
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.ask("LOGIN alice password").line, "DONE");
    raw.ask("LOGIN alice wrong").expect_failure("denied");
    raw.put("a", &[1; 30_000]);
    let mut other = Raw::connect(server.address());
    assert!(other.line().starts_with("FAIL busy "));
    let page = Page::get(page::address(&server));
    for (series, value) in [
        ("ferryd_logins_total{outcome=\"ok\"}", 1.0),
        ("ferryd_logins_total{outcome=\"failed\"}", 1.0),
        ("ferryd_refused_connections_total{reason=\"server_full\"}", 1.0),
        ("ferryd_clients_limit", 1.0),
        ("ferryd_user_uploaded_bytes_total{user=\"alice\"}", 30_000.0),
        ("ferryd_user_uploaded_bytes_total{user=\"(anonymous)\"}", 0.0),
    ] {
        assert_eq!(page.value(series), value, "{series}");
    }
    assert!(page.value("ferryd_rate_waits_total") > 0.0 && page.value("ferryd_rate_wait_seconds_total") > 0.0);
    page.lint();
}

#[test]
fn status_says_the_same_to_people_and_to_programs() {
    let server = server().start();
    server.write("a", &[7; 2048]);
    let mut raw = Raw::greeted(server.address());
    for _ in 0..2 {
        assert_eq!(raw.ask("GET a").verified().len(), 2048);
    }
    raw.ask("GET missing").expect_failure("not-found");
    assert!(server.command(&["reload"]).status.success());
    let page = settled(&server, "the client is idle", |page| page.value("ferryd_clients{state=\"idle\"}") == 1.0);
    let output = server.command(&["status", "--json"]);
    assert!(output.status.success() && output.stdout.iter().filter(|byte| **byte == b'\n').count() == 1);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let figure = |keys: &[&str]| keys.iter().fold(&json, |value, key| &value[key]).as_u64();
    for (keys, count) in [
        (&["clients", "idle"][..], 1),
        (&["connections_total"], 1),
        (&["transfers_total", "GET", "ok"], 2),
        (&["transfers_total", "GET", "failed"], 1),
        (&["failures_total", "not-found"], 1),
        (&["user_downloaded_bytes_total", "(anonymous)"], 4096),
        (&["reloads_total", "ok"], 1),
        (&["log_lines_lost_total"], 0),
    ] {
        assert_eq!(figure(keys), Some(count), "{keys:?} in {json}");
    }
    assert!(json["staged_limit_bytes"].is_null() && json["build_info"]["version"].is_string());
    assert!(json["helper_task_seconds"]["look"]["buckets"]["+Inf"].is_u64());
    let keys: BTreeSet<String> = json.as_object().unwrap().keys().map(|key| format!("ferryd_{key}")).collect();
    assert_eq!(keys, page.names().map(str::to_owned).collect());

    let output = server.command(&["status"]);
    let screen = String::from_utf8(output.stdout).unwrap();
    for line in ["clients     1 of ", "  GET       2 done (4.0 KiB), 1 failed", "failures    1: 1 not-found"] {
        assert!(screen.lines().any(|found| found.starts_with(line)), "{line} is missing in\n{screen}");
    }
    assert!(screen.lines().count() < 40 && screen.lines().all(|line| line.len() <= 80), "{screen}");
}

#[test]
fn what_is_no_request_for_the_page_is_refused_in_words_of_http() {
    let server = server().start();
    let address = page::address(&server);
    let (head, body) = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("Content-Length: 0") && body.is_empty(),
        "{head}"
    );
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", "405 Method Not Allowed"),
        ("\u{16}\u{3}\u{1}\n\n", "400 Bad Request"),
        (&format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(9000)), "431 Request Header Fields Too Large"),
    ] {
        let (head, body) = ask(address, request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
        assert!(head.lines().any(|line| line == format!("Content-Length: {}", body.len())), "{head}");
    }
}

#[test]
fn the_page_while_many_clients_work() {
    let clients = if env::var("FERRY_TEST_LARGE").is_ok_and(|value| value == "1") { 1000 } else { 50 };
    let server = server().start();
    server.write("a", &[7; 4096]);
    let address = page::address(&server);
    let all: Vec<Raw> = (0..clients).map(|_| Raw::greeted(server.address())).collect();
    let pages = thread::scope(|scope| {
        let work = |(client, mut raw): (usize, Raw)| {
            for round in 0..10 {
                assert_eq!(raw.ask("GET a").verified().len(), 4096);
                raw.put(&format!("{client}-{round}"), b"hello");
            }
            raw
        };
        let workers: Vec<_> = all
            .into_iter()
            .enumerate()
            .map(|one| thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, move || work(one)).unwrap())
            .collect();
        let mut pages = Vec::new();
        while pages.is_empty() || workers.iter().any(|worker| !worker.is_finished()) {
            pages.push(Page::get(address));
        }
        // All are there until the last page was made.
        let there: Vec<Raw> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        let is_idle = |page: &Page| page.value("ferryd_clients{state=\"idle\"}") == clients as f64;
        pages.push(settled(&server, "all are idle", is_idle));
        drop(there);
        pages
    });
    for counter in ["ferryd_connections_total", "ferryd_sent_bytes_total", "ferryd_loop_rounds_total"] {
        assert!(pages.windows(2).all(|pair| pair[0].value(counter) <= pair[1].value(counter)), "{counter} shrank");
    }
    let last = pages.last().unwrap();
    assert_eq!(last.value("ferryd_transfers_total{verb=\"GET\",outcome=\"ok\"}"), 10.0 * clients as f64);
    assert_eq!(last.value("ferryd_transfers_total{verb=\"PUT\",outcome=\"ok\"}"), 10.0 * clients as f64);
    last.lint();
    println!("{clients} clients, {} pages of {} bytes", pages.len(), last.text.len());
}

#[test]
fn an_address_that_is_in_use_is_said_before_anything_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let output = Command::new(ferryd())
        .args(["--metrics", &address, "127.0.0.1:0", "--root"])
        .arg(&root)
        .env("STATE_DIRECTORY", directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{said}");
    assert!(said.lines().count() == 1 && said.contains("--metrics") && said.contains(&address), "{said}");
    assert!(said.contains("in use") && !said.contains("--reuse-port"), "{said}");
    assert!(!root.exists(), "the root was made");
}

#[test]
fn what_is_packaged_speaks_of_figures_that_there_are() {
    let server = server().start();
    let page = Page::get(page::address(&server));
    let packaging = workspace_root().join("packaging");
    let read = |name: &str| fs::read_to_string(packaging.join(name)).unwrap();
    for name in ["grafana/ferryd.json", "prometheus/ferryd.rules.yml", "prometheus/ferryd.rules.test.yml"] {
        let text = read(name);
        let named = names_in(&text);
        assert!(named.len() > 5, "{name}");
        for figure in named {
            assert!(page.has(figure), "{name}: there is no {figure}");
        }
    }
    serde_json::from_str::<serde_json::Value>(&read("grafana/ferryd.json")).unwrap();
    let dashboard = read("grafana/ferryd.json");
    let documented = fs::read_to_string(workspace_root().join("docs/figures.md")).unwrap();
    for figure in names_in(&documented) {
        assert!(page.has(figure), "docs/figures.md: there is no {figure}");
    }
    for figure in page.names() {
        assert!(documented.contains(&format!("`{figure}`")), "{figure} is not in docs/figures.md");
        // A dashboard works out rates by itself, and shows no dates.
        let is_left_out = figure == "ferryd_draining" || figure.ends_with("_per_second") || figure.contains("_time");
        assert!(is_left_out || dashboard.contains(figure), "{figure} is not on the dashboard");
    }
    let rules = packaging.join("prometheus/ferryd.rules.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "");
    promtool(&["test", "rules", packaging.join("prometheus/ferryd.rules.test.yml").to_str().unwrap()], "");
}

/// The figures that a text names.
fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|character: char| !character.is_ascii_lowercase() && character != '_');
    words.filter(|word| word.starts_with("ferryd_") && !word.ends_with('_')).collect()
}
