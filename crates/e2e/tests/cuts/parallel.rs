//! One large download over several connections.

use ferry_client::{Fetch, Parallel, Settings};
use ferry_e2e::{Server, random_bytes, seed};

use super::{
    connect, fetch, name, names, options,
    proxy::{Cut, Manner, Proxy, Way},
    told,
};

const BYTES: usize = (48 << 20) + 12345;
const LESS_BYTES: usize = (8 << 20) + 12345;

fn four() -> Settings {
    Settings { parallel: Parallel::Fixed(4), ..Settings::default() }
}

#[test]
fn several_connections_share_a_download_and_small_files_stay_on_one() {
    let server = Server::start();
    let content = random_bytes(seed(), BYTES);
    server.write("large", &content);
    server.write("small", b"hello");
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let mut client = connect(proxy.address());
    let mut events = Vec::new();
    let metas = client.list(None).unwrap();
    let meta = |text: &str| {
        metas.iter().find(|entry| entry.name.as_str() == text).and_then(|entry| match &entry.kind {
            ferry_client::EntryKind::File(meta) => Some(meta.clone()),
            ferry_client::EntryKind::Directory(_) => None,
        })
    };
    let mut files = Vec::new();
    for (text, meta) in [("small", meta("small")), ("large", meta("large")), ("small", None), ("large", None)] {
        files.push(Fetch { name: name(text), target: local.path().join(format!("got-{}", files.len())).into(), meta });
    }
    let report = client.fetch(&files, &four(), &mut |event| events.extend(told(event)));
    assert!(report.is_whole(), "{events:?}");
    for (index, expected) in [&b"hello"[..], &content, b"hello", &content].into_iter().enumerate() {
        assert!(std::fs::read(local.path().join(format!("got-{index}"))).unwrap() == expected, "{index}");
    }
    assert_eq!(names(local.path()).len(), 4);
    let (_, _, connections) = proxy.counts();
    assert_eq!(connections, 4);
    client.stat(&name("small")).unwrap();
}

#[test]
fn a_shared_download_that_is_cut_goes_on_from_what_has_no_gap() {
    let server = Server::start();
    let content = random_bytes(seed(), BYTES);
    server.write("large", &content);
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let target = local.path().join("got");
    // All four, one after the other, and whichever are opened in their places.
    let cut = |after| Cut { way: Way::Down, after, manner: Manner::End };
    let reset = Cut { manner: Manner::Reset, ..cut(3 << 20) };
    proxy.cut(&[cut(5 << 20), cut(2 << 20), reset, cut(8 << 20)]);
    proxy.cut(&[cut(2 << 20); 12]);
    let (report, events) = fetch(&mut connect(proxy.address()), "large", &target, &Settings { retries: 0, ..four() });
    assert_eq!(report.failures.len(), 1, "{events:?}");
    proxy.cut_no_more();
    let (first, _, _) = proxy.counts();
    // Where the first piece of all was not whole yet, nothing is there without a gap.
    let part = names(local.path()).into_iter().find(|name| name.ends_with(".part"));
    let had = part.map_or(0, |part| std::fs::metadata(local.path().join(part)).unwrap().len());

    // A later call may go on with fewer connections.
    let settings = Settings { parallel: Parallel::Fixed(1), ..four() };
    let (report, events) = fetch(&mut connect(proxy.address()), "large", &target, &settings);
    assert!(report.is_whole() && report.resumed == had, "{events:?}");
    assert!(std::fs::read(&target).unwrap() == content);
    assert_eq!(names(local.path()), ["got"]);
    let (second, _, _) = proxy.counts();
    // What was not whole, or had a gap before it.
    assert!(first + second <= BYTES as u64 + 4 * (16 << 20) + (1 << 20), "{first} and {second} bytes went down");
}

/// The others do the work that one has not brought to an end, the first connection's own as well.
#[test]
fn whichever_connections_are_lost_the_others_go_on() {
    let server = Server::start();
    let content = random_bytes(seed(), LESS_BYTES);
    server.write("large", &content);
    for lost in [&[0][..], &[1], &[1, 2, 3], &[0, 2], &[0, 1, 2]] {
        for manner in [Manner::End, Manner::Reset] {
            let proxy = Proxy::start(server.address());
            let local = tempfile::tempdir().unwrap();
            let target = local.path().join("got");
            let after = |number| if lost.contains(&number) { 300_000 } else { u64::MAX };
            let cuts: Vec<_> = (0..4).map(|number| Cut { way: Way::Down, after: after(number), manner }).collect();
            proxy.cut(&cuts);
            let mut client = connect(proxy.address());
            let settings = Settings { retries: 0, ..four() };
            // The others are opened as soon as its size is known.
            let (report, events) = fetch(&mut client, "large", &target, &settings);
            assert!(report.is_whole() && report.resumed == 0, "{lost:?} {manner:?}: {events:?}");
            assert!(std::fs::read(&target).unwrap() == content, "{lost:?} {manner:?}");
            assert_eq!(names(local.path()), ["got"]);
            // One of those that are left stands for the first.
            client.stat(&name("large")).unwrap();
        }
    }
}

/// A connection that says nothing more is not waited for by those that have done all else.
#[test]
fn a_connection_that_stalls_is_not_waited_for() {
    let server = Server::start();
    let content = random_bytes(seed(), LESS_BYTES);
    server.write("large", &content);
    for stalled in [0, 2] {
        let proxy = Proxy::start(server.address());
        let local = tempfile::tempdir().unwrap();
        let target = local.path().join("got");
        let after = |number| if number == stalled { 300_000 } else { u64::MAX };
        let manner = Manner::Stall;
        proxy.cut(&[0, 1, 2, 3].map(|number| Cut { way: Way::Down, after: after(number), manner }));
        // Longer than any test may take.
        let options = options().timeout(std::time::Duration::from_secs(3600));
        let address = ferry_client::Address::new("127.0.0.1", proxy.address().port());
        let mut client = ferry_client::Client::connect(&address, options).unwrap();
        // The others are opened as soon as its size is known.
        let (report, events) = fetch(&mut client, "large", &target, &four());
        assert!(report.is_whole(), "{events:?}");
        assert!(std::fs::read(&target).unwrap() == content);
        client.stat(&name("large")).unwrap();
    }
}

#[test]
fn a_server_near_by_is_served_by_one_connection_unless_more_are_asked_for() {
    let server = Server::start();
    let content = random_bytes(seed(), BYTES);
    server.write("large", &content);
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let target = local.path().join("got");
    let (report, events) = fetch(&mut connect(proxy.address()), "large", &target, &Settings::default());
    assert!(report.is_whole(), "{events:?}");
    assert!(std::fs::read(&target).unwrap() == content);
    let (_, _, connections) = proxy.counts();
    assert_eq!(connections, 1);
}

/// The rest of a shared file is no work where nothing more is tried.
#[test]
fn the_first_failure_ends_a_shared_download() {
    let server = Server::start();
    server.write("large", &random_bytes(seed(), BYTES));
    let local = tempfile::tempdir().unwrap();
    let mut client = connect(server.address());
    let ferry_client::Stat::File(meta) = client.stat(&name("large")).unwrap() else { panic!() };
    let file = |text, meta| Fetch { name: name(text), target: local.path().join(text).into(), meta };
    // The failure is answered first, when all but a few pieces of the large one are left.
    let files = [file("missing", None), file("large", Some(meta))];
    let mut events = Vec::new();
    let report = client.fetch(&files, &four(), &mut |event| events.extend(told(event)));
    assert_eq!((report.failures.len(), report.failures[0].0, report.untried), (1, 0, 1), "{events:?}");
    client.stat(&name("large")).unwrap();
}

#[test]
fn a_listing_that_is_old_does_not_mislead() {
    let server = Server::start();
    server.write("large", &random_bytes(seed(), LESS_BYTES));
    let mut client = connect(server.address());
    let ferry_client::Stat::File(meta) = client.stat(&name("large")).unwrap() else { panic!() };
    let content = random_bytes(seed() ^ 1, BYTES);
    server.write("large", &content);
    let local = tempfile::tempdir().unwrap();
    let file = Fetch { name: name("large"), target: local.path().join("got").into(), meta: Some(meta) };
    let mut events = Vec::new();
    let report = client.fetch(std::slice::from_ref(&file), &four(), &mut |event| events.extend(told(event)));
    assert!(report.is_whole(), "{events:?}");
    assert!(events.iter().any(|event| event.starts_with("restarted")), "{events:?}");
    assert!(std::fs::read(&file.target).unwrap() == content);
    assert_eq!(names(local.path()), ["got"]);
}
