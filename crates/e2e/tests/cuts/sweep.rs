//! Cuts at each hundredth of a transfer.

use ferry_client::{Event, Fetch, Parallel, Settings, Store};
use ferry_e2e::{Options, Server, random_bytes, seed};

use super::{
    connect, fetch, names,
    proxy::{Cut, Manner, Proxy, Way},
    store,
};

/// Returns the bytes that may be moved again. Where a reset destroys what was not read yet, that is a checkpoint of
/// either program; else what the slower side had not read when the newer connection took over.
fn again(manner: Manner) -> u64 {
    if manner == Manner::Reset { 32 << 20 } else { 8 << 20 }
}

/// One block that was cut, and what the lines around all of them take.
const SLACK: u64 = 2 << 20;

/// Size of the file, and in how many parts it is cut.
fn extent() -> (usize, u64) {
    if std::env::var("FERRY_SWEEP").is_ok_and(|value| value == "full") { (100 << 20, 100) } else { (12 << 20, 8) }
}

/// More than what goes over before the client knows the server: a connection that is cut before is never made.
const BEGIN_BYTES: u64 = 4000;

/// Where the connections are cut; ends and resets take turns.
fn cuts(way: Way) -> impl Iterator<Item = Cut> {
    let (bytes, parts) = extent();
    (0..parts).map(move |part| Cut {
        way,
        after: part * bytes as u64 / parts + BEGIN_BYTES,
        manner: if part % 2 == 0 { Manner::End } else { Manner::Reset },
    })
}

#[test]
fn a_download_that_is_cut_anywhere_ends_with_the_same_bytes() {
    let (bytes, _) = extent();
    let server = Server::start();
    let content = random_bytes(seed(), bytes);
    server.write("large", &content);
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let target = local.path().join("got");
    let mut most = 0;
    for cut in cuts(Way::Down) {
        proxy.cut(&[cut]);
        let (report, events) = fetch(&mut connect(proxy.address()), "large", &target, &Settings::default());
        assert!(report.is_whole(), "{cut:?}: {events:?}");
        assert!(std::fs::read(&target).unwrap() == content, "{cut:?}");
        assert_eq!(names(local.path()), ["got"], "{cut:?}: nothing else is left");
        let (down, _, connections) = proxy.counts();
        assert_eq!(connections, 2, "{cut:?}: {events:?}");
        let extra = down - bytes as u64;
        assert!(extra <= again(cut.manner) + SLACK, "{cut:?}: {extra} bytes went down again");
        most = most.max(extra);
        std::fs::remove_file(&target).unwrap();
    }
    println!(
        "{} cuts of a download of {bytes} bytes: at most {most} bytes of lines and of what was moved again",
        extent().1
    );
}

#[test]
fn an_upload_that_is_cut_anywhere_ends_with_the_same_bytes() {
    let (bytes, _) = extent();
    let server = Server::start();
    let local = tempfile::tempdir().unwrap();
    let source = local.path().join("source");
    let content = random_bytes(seed(), bytes);
    std::fs::write(&source, &content).unwrap();
    let proxy = Proxy::start(server.address());
    let state = local.path().join("state");
    let settings = Settings { state: Some(state.clone()), ..Settings::default() };
    let mut most = 0;
    for cut in cuts(Way::Up) {
        proxy.cut(&[cut]);
        let (report, events) = store(&mut connect(proxy.address()), &source, "stored", &settings);
        assert!(report.is_whole(), "{cut:?}: {events:?}");
        assert!(server.read("stored") == content, "{cut:?}");
        assert_eq!(names(&state), [""; 0], "{cut:?}: the id is forgotten");
        let (_, up, connections) = proxy.counts();
        assert_eq!(connections, 2, "{cut:?}: {events:?}");
        let extra = up - bytes as u64;
        assert!(extra <= again(cut.manner) + SLACK, "{cut:?}: {extra} bytes went up again");
        most = most.max(extra);
        std::fs::remove_file(server.path("stored")).unwrap();
    }
    println!(
        "{} cuts of an upload of {bytes} bytes: at most {most} bytes of lines and of what was moved again",
        extent().1
    );
}

/// Rounds bring a little, so none of them is the last attempt, whichever way it is cut and over however many connections.
#[test]
fn a_transfer_whose_every_connection_is_cut_still_ends() {
    let (bytes, parts) = (8 << 20, 6);
    let server = Server::start();
    let content = random_bytes(seed(), bytes);
    server.write("large", &content);
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let target = local.path().join("got");
    let all = [
        (Way::Down, Manner::End, 1),
        (Way::Down, Manner::Reset, 4),
        (Way::Up, Manner::End, 1),
        (Way::Up, Manner::Reset, 4),
        (Way::Down, Manner::Reset, 1),
        (Way::Down, Manner::End, 4),
        (Way::Up, Manner::Reset, 1),
        (Way::Up, Manner::End, 4),
    ];
    let is_full = std::env::var("FERRY_SWEEP").is_ok_and(|value| value == "full");
    for &(way, manner, connections) in &all[..if is_full { all.len() } else { 4 }] {
        let what = format!("{way:?} {manner:?} {connections}");
        // A reset also takes what has come and was not read yet: on a busy machine, all of a round.
        let retries = if manner == Manner::Reset { 3 } else { 1 };
        let settings = Settings { retries, parallel: Parallel::Fixed(connections), ..Settings::default() };
        // Fewer bytes than a piece, or a part, where several connections share them.
        let after = if connections == 1 { bytes as u64 / parts } else { 300_000 };
        proxy.cut(&vec![Cut { way, after, manner }; 10 * parts as usize]);
        let mut client = connect(proxy.address());
        let (report, events) = match way {
            Way::Down => fetch(&mut client, "large", &target, &settings),
            Way::Up => store(&mut client, &target, "again", &settings),
        };
        // What this call moved itself is none of what was there before it.
        assert!(report.is_whole() && report.resumed == 0, "{what}: {events:?}");
        assert!(std::fs::read(&target).unwrap() == content, "{what}");
        if way == Way::Up {
            assert!(server.read("again") == content, "{what}");
        }
        assert!(proxy.cuts_left() < 9 * parts as usize, "{what}: {events:?}");
        proxy.cut_no_more();
    }
    assert_eq!(names(local.path()), ["got"]);
}

/// With hundreds of small files under way, those whose answer was not seen are moved again, and no other.
#[test]
fn small_files_go_on_behind_a_cut() {
    const FILES: usize = 600;
    // What is tested is the order of things, not the disk.
    let server = Options::new().arg("--durability").arg("none").start();
    let contents: Vec<_> = (0..FILES).map(|index| random_bytes(index as u64, index * 7 % 3000)).collect();
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let mut lost = 0;
    for (round, manner) in [Manner::End, Manner::Reset].into_iter().enumerate() {
        let (mut ups, mut downs) = (Vec::new(), Vec::new());
        for (index, content) in contents.iter().enumerate() {
            let name = super::name(&format!("{round}-{index}"));
            let source = local.path().join(format!("source-{index}"));
            std::fs::write(&source, content).unwrap();
            ups.push(Store { source: source.into(), name: name.clone() });
            downs.push(Fetch { target: local.path().join(name.as_str()).into(), name, meta: None });
        }
        proxy.cut(&[Cut { way: Way::Up, after: 200_000, manner }, Cut { way: Way::Down, after: 9_000, manner }]);
        let mut watch = Watch::default();
        let report = connect(proxy.address()).store(&ups, &Settings::default(), &mut |event| watch.see(event));
        assert!(report.is_whole() && report.files == FILES, "{report:?}");
        lost += watch.judge(FILES);
        proxy.cut(&[Cut { way: Way::Down, after: 300_000, manner }, Cut { way: Way::Down, after: 100_000, manner }]);
        let mut watch = Watch::default();
        let report = connect(proxy.address()).fetch(&downs, &Settings::default(), &mut |event| watch.see(event));
        assert!(report.is_whole() && report.files == FILES, "{report:?}");
        lost += watch.judge(FILES);
        for (index, content) in contents.iter().enumerate() {
            assert!(server.read(&format!("{round}-{index}")) == *content);
            assert!(std::fs::read(local.path().join(format!("{round}-{index}"))).unwrap() == *content);
        }
    }
    // The second cut of each may come behind the end.
    assert!((4..=8).contains(&lost), "{lost} cuts were seen");
    assert!(names(local.path()).iter().all(|name| !name.starts_with('.')));
}

/// Counts what is told.
#[derive(Default)]
struct Watch {
    begun: Vec<usize>,
    done: Vec<usize>,
    lost: usize,
}

impl Watch {
    fn see(&mut self, event: &Event<'_>) {
        match event {
            Event::Begun { index, .. } => self.begun.push(*index),
            Event::Done { index, .. } => self.done.push(*index),
            Event::Lost { .. } => self.lost += 1,
            _ => {}
        }
    }

    /// Each file is begun once and done once. Gives how often the connection was lost.
    fn judge(mut self, files: usize) -> usize {
        self.begun.sort_unstable();
        self.done.sort_unstable();
        assert!(self.begun.iter().copied().eq(0..files) && self.done.iter().copied().eq(0..files));
        self.lost
    }
}
