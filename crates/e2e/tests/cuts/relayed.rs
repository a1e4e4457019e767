//! Copies from one server to another, of which either is lost.

use std::time::{Duration, SystemTime};

use ferry_client::{Across, EntryKind, Event, FileMeta, PlanReport, Relay, Report, Settings};
use ferry_e2e::{Server, random_bytes, seed};

use super::{
    connect, name, names,
    proxy::{Cut, Manner, Proxy, Way},
    told,
};

const BYTES: usize = (20 << 20) + 4321;

/// The bytes that a cut may cost: those in buffers, and those since the last checkpoint of the server.
const AGAIN: u64 = 12 << 20;

/// Two servers, each behind a proxy.
struct Scene {
    from: Server,
    to: Server,
    before_from: Proxy,
    before_to: Proxy,
    content: Vec<u8>,
    local: tempfile::TempDir,
}

impl Scene {
    fn new(bytes: usize) -> Scene {
        let (from, to) = (Server::start(), Server::start());
        let (before_from, before_to) = (Proxy::start(from.address()), Proxy::start(to.address()));
        let content = random_bytes(seed(), bytes);
        from.write("large", &content);
        Scene { from, to, before_from, before_to, content, local: tempfile::tempdir().unwrap() }
    }

    fn relay(&self, files: &[Relay], retries: u32, mut watch: impl FnMut(&Event<'_>) + Send) -> (Report, Vec<String>) {
        let settings = Settings { retries, state: Some(self.local.path().join("state")), ..Settings::default() };
        let mut events = Vec::new();
        let (mut from, mut to) = (connect(self.before_from.address()), connect(self.before_to.address()));
        let report = to.relay(&mut from, files, &settings, &mut |event| {
            watch(event);
            events.extend(told(event));
        });
        (report, events)
    }

    fn large(&self, retries: u32) -> (Report, Vec<String>) {
        self.relay(&[large()], retries, |_| {})
    }

    /// The file is there, and nothing else.
    fn check(&self, what: &str) {
        assert!(self.to.read("large") == self.content, "{what}");
        assert_eq!(self.to.visible(), ["large"], "{what}");
        assert_eq!(names(&self.local.path().join("state")), [""; 0], "{what}");
    }
}

fn large() -> Relay {
    Relay { source: name("large"), meta: None, name: name("large") }
}

#[test]
fn a_copy_goes_on_whichever_server_is_lost() {
    // In the first one, both sides lose connections.
    let all = [(&[7][..], &[11][..]), (&[1, 9], &[]), (&[], &[9, 5]), (&[1], &[]), (&[], &[1])];
    let is_full = std::env::var("FERRY_SWEEP").is_ok_and(|value| value == "full");
    for (number, (from, to)) in all.into_iter().enumerate().take(if is_full { all.len() } else { 3 }) {
        let other = if number % 2 == 0 { Manner::Reset } else { Manner::End };
        for manner in [Manner::End, Manner::Reset].into_iter().filter(|manner| is_full || *manner == other) {
            let scene = Scene::new(BYTES);
            let cuts = |way, after: &[u64]| -> Vec<Cut> {
                after.iter().map(|mebibytes| Cut { way, after: mebibytes << 20, manner }).collect()
            };
            scene.before_from.cut(&cuts(Way::Down, from));
            scene.before_to.cut(&cuts(Way::Up, to));
            let (report, events) = scene.large(5);
            let what = format!("{from:?} {to:?} {manner:?}: {events:?}");
            assert!(report.is_whole(), "{what}");
            assert!(!events.iter().any(|event| event.starts_with("restarted")), "{what}");
            scene.check(&what);
            assert_eq!((scene.before_from.cuts_left(), scene.before_to.cuts_left()), (0, 0), "{what}");
            let (down, ..) = scene.before_from.counts();
            let (_, up, _) = scene.before_to.counts();
            let most = BYTES as u64 + AGAIN * (from.len() + to.len()) as u64;
            assert!(down <= most && up <= most, "{what}: {down} down, {up} up");
        }
    }
}

#[test]
fn a_later_copy_goes_on_from_what_is_there() {
    for is_source in [true, false] {
        let scene = Scene::new(BYTES);
        let cut = |way| [Cut { way, after: 16 << 20, manner: Manner::End }];
        match is_source {
            true => scene.before_from.cut(&cut(Way::Down)),
            false => scene.before_to.cut(&cut(Way::Up)),
        }
        let (report, events) = scene.large(0);
        let error = &report.failures[0].1;
        assert_eq!(matches!(error, ferry_client::Error::AtSource { .. }), is_source, "{error}: {events:?}");
        assert!(scene.to.visible().is_empty(), "nothing is half there");
        scene.before_from.counts();
        let (report, events) = scene.large(0);
        let what = format!("{is_source}: {events:?}");
        assert!(report.is_whole() && report.resumed > 0, "{what}");
        scene.check(&what);
        let (down, ..) = scene.before_from.counts();
        assert!(down < BYTES as u64, "{what}: {down} bytes were read again");
    }
}

#[test]
fn a_file_that_changes_at_its_source_meanwhile_begins_anew() {
    let mut scene = Scene::new(BYTES);
    scene.before_from.cut(&[Cut { way: Way::Down, after: 5 << 20, manner: Manner::End }]);
    let other = random_bytes(seed() + 1, BYTES);
    let path = scene.from.path("large");
    let (report, events) = scene.relay(&[large()], 5, |event| {
        if let Event::Lost { source: Some(_), .. } = event {
            std::fs::write(&path, &other).unwrap();
        }
    });
    assert!(report.is_whole(), "{events:?}");
    let why = "restarted: it changed on the server that it is read from";
    assert!(events.iter().any(|event| event == why), "{events:?}");
    scene.content = other;
    scene.check("changed");
}

/// What the other server has kept of an earlier version is of no use.
#[test]
fn a_file_that_changed_between_two_copies_begins_anew() {
    let mut scene = Scene::new(BYTES);
    scene.before_to.cut(&[Cut { way: Way::Up, after: 16 << 20, manner: Manner::End }]);
    let (report, _) = scene.large(0);
    assert!(!report.is_whole());
    scene.content = random_bytes(seed() + 2, BYTES);
    scene.from.write("large", &scene.content);
    let (report, events) = scene.large(0);
    assert!(report.is_whole() && report.resumed == 0, "{events:?}");
    scene.check("changed between");
}

#[test]
fn many_small_files_survive_the_loss_of_either() {
    let scene = Scene::new(10);
    let files: Vec<Relay> = (0..1500)
        .map(|number| {
            let text = format!("f{number}");
            scene.from.write(&text, &random_bytes(number, (number as usize * 7) % 3000));
            Relay { source: name(&text), meta: None, name: name(&text) }
        })
        .collect();
    let cut = |way, after| Cut { way, after, manner: Manner::End };
    scene.before_from.cut(&[cut(Way::Down, 200_000), cut(Way::Down, 600_000)]);
    scene.before_to.cut(&[cut(Way::Up, 300_000), cut(Way::Up, 500_000)]);
    let (report, events) = scene.relay(&files, 5, |_| {});
    assert!(report.is_whole() && report.files == files.len(), "{:?}", report.failures);
    assert!(events.iter().filter(|event| *event == "lost").count() >= 3);
    for file in &files {
        let text = file.name.as_str();
        assert!(scene.to.read(text) == scene.from.read(text), "{text}");
    }
    assert_eq!(scene.to.visible().len(), files.len());
}

/// Copies the directory `d` to `target` by a plan; the looking is tried again as the shell does.
fn planned(scene: &Scene, target: &str) -> PlanReport {
    let settings = Settings { retries: 5, ..Settings::default() };
    let (mut from, mut to) = (connect(scene.before_from.address()), connect(scene.before_to.address()));
    let mut plan = Across::default();
    let (source, target) = (name("d"), name(target));
    let add = |from: &mut _| plan.add_directory(from, Some(&source), Some(&target), &mut |_| {});
    from.patiently(&settings, &mut |_| {}, add).unwrap();
    plan.finish().carry_out(&mut from, &mut to, &settings, &mut |_| {})
}

/// From the first question to the times of directories, which come last.
#[test]
fn a_plan_is_carried_out_wherever_either_connection_is_cut() {
    let scene = Scene::new(10);
    scene.from.write("d/e/f", &[7; 1000]);
    scene.from.write("d/g", b"g");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for directory in ["d/e", "d"] {
        std::fs::File::open(scene.from.path(directory)).unwrap().set_modified(time).unwrap();
    }
    let whole = |report: PlanReport, target: &str, has_times: bool, what: &str| {
        assert!(report.is_whole(), "{what}: {report:?}");
        for file in ["e/f", "g"] {
            assert!(scene.to.read(&format!("{target}/{file}")) == scene.from.read(&format!("d/{file}")), "{what}");
        }
        for directory in [target, &format!("{target}/e")].into_iter().filter(|_| has_times) {
            assert_eq!(std::fs::metadata(scene.to.path(directory)).unwrap().modified().unwrap(), time, "{what}");
        }
    };
    let proxies = [&scene.before_from, &scene.before_to];
    let greeted = proxies.map(|proxy| {
        drop(connect(proxy.address()));
        proxy.counts()
    });
    whole(planned(&scene, "first"), "first", true, "uncut");
    let all = proxies.map(Proxy::counts);
    let step = if std::env::var("FERRY_SWEEP").is_ok_and(|value| value == "full") { 1 } else { 41 };
    let mut number = 0;
    for ((proxy, is_source), (greeted, all)) in proxies.into_iter().zip([true, false]).zip(greeted.into_iter().zip(all))
    {
        for (way, from, to) in [(Way::Down, greeted.0, all.0), (Way::Up, greeted.1, all.1)] {
            for after in (from + 1..to).step_by(step) {
                proxy.cut(&[Cut { way, after, manner: Manner::End }]);
                let what = format!("{way:?} {after} at {}", proxy.address());
                // The last request of a connection that is lost may take effect late, and move the time of a directory.
                number += 1;
                let target = format!("d{number}");
                whole(planned(&scene, &target), &target, is_source, &what);
                assert_eq!(proxy.cuts_left(), 0, "{what}");
            }
        }
    }
}

/// A listing is not believed: neither of a file that has grown since, nor of one that has shrunk.
#[test]
fn files_are_of_the_size_that_they_have_when_they_are_read() {
    let scene = Scene::new(10);
    let sizes: [usize; 6] = [0, 10, 700 << 10, 3 << 20, (8 << 20) - 1, 9 << 20];
    let content = random_bytes(seed(), 1000).repeat((9 << 20) / 1000 + 1);
    let texts: Vec<String> = (0..sizes.len() * sizes.len()).map(|number| format!("f{number}")).collect();
    for (number, text) in texts.iter().enumerate() {
        scene.from.write(text, &content[..sizes[number / sizes.len()]]);
    }
    let listed = connect(scene.from.address()).list(None).unwrap();
    let files: Vec<Relay> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| {
            let told = sizes[number % sizes.len()] as u64;
            let meta = listed.iter().find(|entry| entry.name.as_str() == text).map(|entry| match &entry.kind {
                EntryKind::File(meta) => FileMeta { size: told, ..meta.clone() },
                EntryKind::Directory(_) => panic!("a file"),
            });
            Relay { source: name(text), meta, name: name(text) }
        })
        .collect();
    let (report, events) = scene.relay(&files, 5, |_| {});
    assert!(report.is_whole() && report.files == files.len(), "{:?} {events:?}", report.failures);
    for text in &texts {
        assert!(scene.to.read(text) == scene.from.read(text), "{text}");
    }
}

/// Their bodies come one behind the other, and are cut anywhere.
#[test]
fn files_that_are_asked_for_ahead_survive_the_loss_of_either() {
    const COUNT: usize = 7;
    let is_full = std::env::var("FERRY_SWEEP").is_ok_and(|value| value == "full");
    let scene = Scene::new(10);
    let content = random_bytes(seed(), 10_000).repeat((2 << 20) / 10_000 + COUNT);
    let texts: Vec<String> = (0..COUNT).map(|number| format!("f{number}")).collect();
    for (number, text) in texts.iter().enumerate() {
        scene.from.write(text, &content[number * 10..][..(1 << 20) + number * 100_000]);
    }
    let mut files: Vec<Relay> = Vec::new();
    for entry in connect(scene.from.address()).list(None).unwrap() {
        if let (EntryKind::File(meta), true) = (entry.kind, entry.name.as_str() != "large") {
            files.push(Relay { source: entry.name.clone(), meta: Some(meta), name: entry.name });
        }
    }
    assert_eq!(files.len(), COUNT);
    let all: u64 = files.iter().filter_map(|file| Some(file.meta.as_ref()?.size)).sum();
    let step = all / if is_full { 100 } else { 6 };
    for (proxy, way) in [(&scene.before_from, Way::Down), (&scene.before_to, Way::Up)] {
        for after in (step / 2..all).step_by(step as usize) {
            let again = if after % 2 == 0 { Manner::End } else { Manner::Reset };
            proxy.cut(&[Cut { way, after, manner: Manner::End }, Cut { way, after: step, manner: again }]);
            let (report, events) = scene.relay(&files, 5, |_| {});
            let what = format!("{way:?} {after}: {events:?}");
            assert!(report.is_whole() && report.files == COUNT, "{:?} {what}", report.failures);
            // The server that they go to keeps nothing of them.
            let is_anew = events.iter().any(|event| event.starts_with("restarted"));
            assert!(way == Way::Up || !is_anew, "{what}");
            proxy.cut_no_more();
            for text in &texts {
                assert!(scene.to.read(text) == scene.from.read(text), "{text} {what}");
                std::fs::remove_file(scene.to.path(text)).unwrap();
            }
        }
    }
}
