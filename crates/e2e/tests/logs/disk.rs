//! Logs that are rotated, and disks that are full.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    process::{Command, Stdio},
};

use ferry_e2e::{Mount, Options, Raw, Server, Signal, eventually, ferryd, mounts, workspace_root};
use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, kill_process},
};
use serde_json::Value;

use super::{Place, once_it_holds, read};

#[test]
fn rotated_logs_are_made_anew_on_reload_and_no_line_is_lost() {
    let place = Place::new();
    let server = place.options("json").start();
    let mut raw = Raw::greeted(server.address());
    for round in 0..3 {
        raw.ask(&format!("GET before{round}")).expect_failure("not-found");
        once_it_holds(&place.path("transfers"), &format!("before{round}"));
        for name in ["transfers", "log"] {
            fs::rename(place.path(name), place.path(&format!("{name}.{round}"))).unwrap();
        }
        // Until it is told, it goes on in the old file.
        raw.ask(&format!("GET between{round}")).expect_failure("not-found");
        once_it_holds(&place.path(&format!("transfers.{round}")), &format!("between{round}"));
        server.signal(Signal::HUP);
        for name in ["transfers", "log"] {
            eventually("it is made anew", || place.path(name).exists().then_some(()));
        }
        once_it_holds(&place.path("log"), "the log file was opened again");
        raw.ask(&format!("GET after{round}")).expect_failure("not-found");
        once_it_holds(&place.path("transfers"), &format!("after{round}"));
    }
    // A directory that is gone costs nothing but a line.
    let [moved, directory] = ["moved", "gone"].map(|name| place.path(name));
    fs::create_dir(&directory).unwrap();
    let server = Options::new().arg("--users").arg(place.path("users.toml")).arg("--transfer-log");
    let server = server.arg(directory.join("log")).start();
    fs::rename(&directory, &moved).unwrap();
    server.signal(Signal::HUP);
    eventually("it is said", || server.log().contains("the transfer log can't be opened again: ").then_some(()));
    Raw::greeted(server.address()).ask("GET a").expect_failure("not-found");
    once_it_holds(&moved.join("log"), "GET a");
}

/// By logrotate itself, where it is to be had.
#[test]
fn the_example_for_logrotate_rotates() {
    if Command::new("logrotate").arg("--version").output().is_err() {
        return;
    }
    let place = Place::new();
    let [own, transfers, state] = ["ferryd.log", "transfers.log", "state"].map(|name| place.path(name));
    let server = Options::new().arg("--log-file").arg(&own).arg("--transfer-log").arg(&transfers).start();
    let example = fs::read_to_string(workspace_root().join("packaging/logrotate/ferryd")).unwrap();
    let example = example.replace("/var/log/ferryd", place.0.path().to_str().unwrap());
    let example = example.replace("systemctl reload ferryd.service", &format!("kill -HUP {}", server.pid()));
    assert!(example.contains("kill -HUP"), "{example}");
    fs::write(place.path("conf"), example).unwrap();
    let mut raw = Raw::greeted(server.address());
    for round in 1..=3 {
        raw.ask(&format!("GET round{round}")).expect_failure("not-found");
        once_it_holds(&transfers, &format!("round{round}"));
        let rotated =
            Command::new("logrotate").args(["--force", "--state"]).args([&state, &place.path("conf")]).output();
        let rotated = rotated.unwrap();
        assert!(rotated.status.success() && rotated.stderr.is_empty(), "{}", String::from_utf8_lossy(&rotated.stderr));
        let said = || server.log().matches(" was opened again: ").count();
        eventually("both are opened anew", || (said() == 2 * round).then_some(()));
        assert!(read(&place.path("transfers.log.1")).contains(&format!("round{round}")));
    }
    assert!(place.path("transfers.log.3.gz").exists());
}

/// Asks so often for what is not there. Each is a line of a thousand bytes.
fn ask(server: &Server, requests: &[&str], count: usize) {
    let name = ["\u{202e}".repeat(80), "\u{202e}".repeat(80)].join("/");
    let mut raw = Raw::greeted(server.address());
    for request in requests {
        raw.send_what_it_takes(format!("{}\n", request.replace('*', &name)).repeat(count));
    }
    raw.finish();
    let _ = raw.to_eof();
}

/// Returns the lines as objects, if all are whole.
fn objects(text: &str) -> Option<Vec<Value>> {
    let objects = text.lines().map(|line| serde_json::from_str(line).ok()).collect::<Option<_>>()?;
    text.ends_with('\n').then_some(objects)
}

#[test]
fn a_full_disk_loses_lines_and_says_how_many_as_soon_as_it_is_not_full() {
    // Together more than may wait, and fewer of each kind than an address has at once.
    const LINES: usize = 950;
    const REQUESTS: [&str; 2] = ["GET *", "RENAME *//*"];
    if !mounts::private(&[]) {
        return;
    }
    let disk = Mount::memory(4 << 20);
    let [log, filler] = ["log", "filler"].map(|name| disk.path().join(name));
    let server = Options::new().arg("--transfer-log").arg(&log).arg("--transfer-log-format").arg("json").start();
    ask(&server, &["GET *"], 1);
    once_it_holds(&log, "GET");
    let full = fs::write(&filler, vec![0; 4 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    ask(&server, &REQUESTS, LINES);
    eventually("it is told", || server.log().contains("the transfer log can't be written: ").then_some(()));
    // A part of a line can be seen only in the moment before it is taken back.
    let before = eventually("all lines are whole", || objects(&read(&log)));
    assert!(before.len() < LINES, "{} lines on a full disk", before.len());
    fs::remove_file(&filler).unwrap();
    once_it_holds(&log, "\"LOST\"");
    eventually("it is told", || server.log().contains("the transfer log can be written again").then_some(()));
    ask(&server, &["DELETE *"], 1);
    once_it_holds(&log, "\"DELETE\"");
    let objects = objects(&read(&log)).expect("whole lines");
    let lost: Vec<_> = objects.iter().filter(|line| line["event"] == "LOST").collect();
    let count: u64 = lost.iter().map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!((objects.len() - lost.len()) as u64 + count, 2 + (REQUESTS.len() * LINES) as u64);
    drop((server, disk));
}

#[test]
fn a_terminal_that_takes_nothing_stops_nobody() {
    // More lines than may wait.
    const REQUESTS: usize = 950;
    let (_reader, writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    let full = (&writer).write_all(&[0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    let place = Place::new();
    let mut child = Command::new(ferryd())
        .args(["--plain", "--log-file", "log", "--root", ".", "0"])
        .current_dir(place.0.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(writer))
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.strip_prefix("listening on ").unwrap().split(',').next().unwrap();
    let mut raw = Raw::connect_plain(address.parse().unwrap());
    assert!(raw.line().starts_with("FERRY 1 "));
    let name = ["\u{202e}".repeat(80), "x".repeat(200), "x".repeat(200)].join("/");
    for verb in ["GET", "DELETE"] {
        for _ in 0..REQUESTS {
            raw.ask(&format!("{verb} {name}")).expect_failure("not-found");
        }
    }
    // The file has them all.
    let lines = || read(&place.path("log")).lines().filter(|line| line.contains("(not-found)")).count();
    eventually("all is in the file", || (lines() == 2 * REQUESTS).then_some(()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = eventually("it has ended", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
