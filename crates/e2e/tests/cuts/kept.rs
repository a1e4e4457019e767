//! SYNC upwards that keeps what it replaces and deletes: wherever it is cut, each old version is there.

use std::{collections::BTreeMap, fs, io, path::Path};

use ferry_client::{Client, Direction, Plan, PlanReport, Settings, Sync};
use ferry_e2e::{Options, Server, eventually};

use super::{
    connect, name,
    proxy::{Cut, Manner, Proxy, Way},
};

const FILES: usize = 12;

/// Returns what each file beneath `directory` holds.
fn contents(directory: &Path, below: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.unwrap();
        let named = format!("{below}/{}", entry.file_name().to_str().unwrap());
        if named == "/.ferry" {
            continue;
        }
        match entry.file_type().unwrap().is_dir() {
            true => contents(&entry.path(), &named, found),
            false => match fs::read_to_string(entry.path()) {
                // It was moved meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                content => drop(found.insert(named, content.unwrap())),
            },
        }
    }
}

fn all(server: &Server) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    contents(&server.path(""), "", &mut found);
    found
}

fn sync(client: &mut Client, local: &Path, settings: &Settings) -> Option<PlanReport> {
    let sync =
        Sync { delete: true, max_delete: Some(100), backup_there: Some(name("kept")), ..Sync::new(Direction::Up) };
    let plan = Plan::sync(client, local, Some(&name("d")), &sync, &mut |_| {}).ok()?;
    Some(plan.carry_out(client, settings, &mut |_| {}))
}

/// Half of the files are replaced, the others are deleted.
fn scene() -> (Server, Proxy, tempfile::TempDir) {
    // What is tested is the order of things, not the disk.
    let server = Options::new().arg("--durability").arg("none").start();
    let local = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        server.write(&format!("d/{}/{number}", number % 3), format!("old {number}").as_bytes());
        if number % 2 == 0 {
            fs::create_dir_all(local.path().join((number % 3).to_string())).unwrap();
            let new = local.path().join(format!("{}/{number}", number % 3));
            fs::write(new, format!("the new one of {number}")).unwrap();
        }
    }
    let proxy = Proxy::start(server.address());
    (server, proxy, local)
}

/// Each old version is somewhere, and under its name is it or the new one, or nothing. The server may still do what came
/// before the cut, and a file that it moves meanwhile may be seen nowhere: what is lost is not found later, either.
fn check_nothing_is_lost(server: &Server, what: &str) {
    let olds: Vec<String> = (0..FILES).map(|number| format!("old {number}")).collect();
    let found = eventually(&format!("{what}: each old version is somewhere"), || {
        let found = all(server);
        olds.iter().all(|old| found.values().any(|content| content == old)).then_some(found)
    });
    for (number, old) in olds.iter().enumerate() {
        let new = format!("the new one of {number}");
        let there = found.get(&format!("/d/{}/{number}", number % 3));
        assert!(there.is_none_or(|there| there == old || *there == new), "{what}: {there:?}");
    }
}

#[test]
fn a_sync_that_keeps_old_versions_loses_none_wherever_it_is_cut() {
    if ferry_e2e::secure::skips("it cuts behind the greeting") {
        return;
    }
    let full = std::env::var("FERRY_SWEEP").is_ok_and(|value| value == "full");
    let (server, proxy, local) = scene();
    let whole = sync(&mut connect(proxy.address()), local.path(), &Settings::default()).unwrap();
    assert!(whole.is_whole() && whole.moved.files == FILES / 2, "{whole:?}");
    check_nothing_is_lost(&server, "whole");
    let (down, up, _) = proxy.counts();
    for (way, bytes, begin) in [(Way::Up, up, 1), (Way::Down, down, 350)] {
        for after in (begin..bytes).step_by(if full { 3 } else { 211 }) {
            for retries in [0, 5] {
                let what = format!("{way:?} {after} of {bytes}, {retries} retries");
                let (server, proxy, local) = scene();
                let settings = Settings { retries, ..Settings::default() };
                proxy.cut(&[Cut { way, after, manner: Manner::End }]);
                let mut client = connect(proxy.address());
                let report = sync(&mut client, local.path(), &settings);
                check_nothing_is_lost(&server, &what);
                if report.is_some_and(|report| report.is_whole()) {
                    assert!(!server.path("kept/.incoming").exists(), "{what}");
                }
                // The next run brings it to its end.
                proxy.cut_no_more();
                let report = sync(&mut connect(proxy.address()), local.path(), &Settings::default()).unwrap();
                assert!(report.is_whole(), "{what}: {report:?}");
                check_nothing_is_lost(&server, &what);
                let found = all(&server);
                for number in 0..FILES {
                    let there = found.get(&format!("/d/{}/{number}", number % 3));
                    let new = format!("the new one of {number}");
                    assert_eq!(there, (number % 2 == 0).then_some(&new), "{what}: {found:?}");
                }
            }
        }
    }
}
