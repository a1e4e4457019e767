//! A process that uses the library is killed in the middle of a transfer, and another one goes on.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use ferry_client::{Blame, Client, Fetch, Settings};
use ferry_e2e::{Server, random_bytes, secure, seed};

use super::{
    connect, fetch, name, names,
    proxy::{Cut, Manner, Proxy, Way},
    store,
};

const BYTES: usize = 24 << 20;

/// The bytes that a killed process had not given to the system yet, and those of lines.
const SLACK: u64 = 4 << 20;

/// The task of the child: `fetch` or `store`, the port, the local file and the directory for ids.
const CHILD: &str = "FERRY_CUTS_CHILD";

/// Not a test of its own: what [`run_child`] runs, in a process of its own.
#[test]
fn child() {
    let Ok(job) = std::env::var(CHILD) else { return };
    let mut words = job.splitn(4, '|');
    let mut word = || words.next().unwrap().to_owned();
    let (what, port, file, state) = (word(), word(), PathBuf::from(word()), PathBuf::from(word()));
    let settings = Settings { state: Some(state), ..Settings::default() };
    let mut client = connect(SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())));
    if what == "full" {
        return fetch_to_full_disk(&mut client, &file);
    }
    let (report, events) = match what.as_str() {
        "fetch" => fetch(&mut client, "large", &file, &settings),
        _ => store(&mut client, &file, "large", &settings),
    };
    assert!(report.is_whole(), "{events:?}");
}

/// The large file does not fit; what follows does.
fn fetch_to_full_disk(client: &mut Client, target: &Path) {
    let small = target.with_extension("small");
    let fetch = |text: &str, target: &Path| Fetch { name: name(text), target: target.into(), meta: None };
    let settings = Settings { keep_going: true, ..Settings::default() };
    let report = client.fetch(&[fetch("large", target), fetch("small", &small)], &settings, &mut |_| {});
    assert_eq!((report.files, report.failures.len(), report.untried), (1, 1, 0), "{report:?}");
    assert_eq!((report.failures[0].0, report.failures[0].1.blame()), (0, Blame::Local), "{report:?}");
    assert_eq!(std::fs::read(small).unwrap(), b"hello");
}

#[test]
fn a_disk_that_takes_no_more_is_told_and_its_room_is_given_back() {
    let server = Server::start();
    server.write("large", &random_bytes(seed(), BYTES));
    server.write("small", b"hello");
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    // A limit on the size of files shows itself as a full disk does: a write that fails in the middle.
    let job = format!("full|{}|{}|-", proxy.address().port(), local.path().join("got").display());
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" --exact killed::child"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, job)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(names(local.path()), ["got.small"]);
}

fn run_child(what: &str, proxy: &Proxy, file: &Path, state: &Path) -> Child {
    let job = format!("{what}|{}|{}|{}", proxy.address().port(), file.display(), state.display());
    let mut child = Command::new(std::env::current_exe().unwrap());
    if secure::is_asked_for() {
        child.env(secure::FINGERPRINT, secure::fingerprint());
    }
    child.args(["--exact", "killed::child"]).env(CHILD, job).stdout(Stdio::null()).spawn().unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_download_goes_on_behind_kill_9() {
    let server = Server::start();
    let content = random_bytes(seed(), BYTES);
    server.write("large", &content);
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let target = local.path().join("got");
    let mut had = 0;
    for part in 1..4 {
        // Each is killed when so much more has come.
        let after = (6 << 20) * part - had;
        proxy.cut(&[Cut { way: Way::Down, after, manner: Manner::Stall }]);
        let child = run_child("fetch", &proxy, &target, local.path());
        proxy.wait_for(Way::Down, after);
        kill(child);
        proxy.counts();
        assert!(!target.exists());
        assert_eq!(names(local.path()).len(), 2, "a part and its mark: {:?}", names(local.path()));
        let part = names(local.path()).into_iter().find(|name| name.ends_with(".part")).unwrap();
        had = std::fs::metadata(local.path().join(part)).unwrap().len();
    }
    assert!(had > (6 << 20), "{had}");
    let (report, events) = fetch(&mut connect(proxy.address()), "large", &target, &Settings::default());
    assert!(report.is_whole() && report.resumed == had, "{had}: {events:?}");
    assert!(std::fs::read(&target).unwrap() == content);
    assert_eq!(names(local.path()), ["got"]);
    let (down, _, _) = proxy.counts();
    assert!(down < BYTES as u64 - had + SLACK, "{down} bytes for what was missing behind {had}");
}

/// Returns the bytes that the server has of the one upload that it keeps.
fn kept_bytes(server: &Server) -> u64 {
    let kept = server.path(".ferry/kept");
    let data = names(&kept).into_iter().find(|name| name.ends_with(".data"));
    data.and_then(|name| std::fs::metadata(kept.join(name)).ok()).map_or(0, |data| data.len())
}

#[test]
fn an_upload_goes_on_behind_kill_9() {
    let server = Server::start();
    let local = tempfile::tempdir().unwrap();
    let (source, state) = (local.path().join("source"), local.path().join("state"));
    let content = random_bytes(seed(), BYTES);
    std::fs::write(&source, &content).unwrap();
    let proxy = Proxy::start(server.address());
    for part in 1..3 {
        let after = 8 << 20;
        proxy.cut(&[Cut { way: Way::Up, after, manner: Manner::Stall }]);
        let child = run_child("store", &proxy, &source, &state);
        proxy.wait_for(Way::Up, after);
        kill(child);
        proxy.counts();
        assert_eq!(names(&state).len(), 1, "the id is kept");
        // Whoever comes next takes the upload over; what the server has not read by then is lost with the connection.
        ferry_e2e::eventually("the server has taken all that was sent", || {
            (kept_bytes(&server) + SLACK >= part * after).then_some(())
        });
        assert!(server.visible().is_empty());
    }
    let settings = Settings { state: Some(state.clone()), ..Settings::default() };
    let (report, events) = store(&mut connect(proxy.address()), &source, "large", &settings);
    assert!(report.is_whole() && report.resumed > 0, "{events:?}");
    assert!(server.read("large") == content);
    assert_eq!(names(&state), [""; 0]);
    let (_, up, _) = proxy.counts();
    assert!(up < BYTES as u64 - report.resumed + SLACK, "{up} bytes went up");
    assert!(report.resumed + SLACK >= 2 * (8 << 20), "{events:?}");
}
