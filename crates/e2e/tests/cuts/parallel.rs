//! One large download over several connections.

use ferry_client::{Fetch, Settings};
use ferry_e2e::{Server, random_bytes, seed};

use super::{
    connect, fetch, name, names,
    proxy::{Cut, Manner, Proxy, Way},
    told,
};

const BYTES: usize = (48 << 20) + 12345;

fn four() -> Settings {
    Settings { parallel: 4, ..Settings::default() }
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
    assert_eq!(connections, 1 + 2 * 3);
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
    // The second of its connections, and another one after that.
    let whole = Cut { way: Way::Down, after: u64::MAX, manner: Manner::End };
    proxy.cut(&[whole, Cut { after: 9 << 20, ..whole }, whole, Cut { after: 3 << 20, manner: Manner::Reset, ..whole }]);
    let (report, events) = fetch(&mut connect(proxy.address()), "large", &target, &Settings { retries: 0, ..four() });
    assert_eq!(report.failures.len(), 1, "{events:?}");
    let (first, _, _) = proxy.counts();
    // Where the first piece of all was not whole yet, nothing is there without a gap.
    let part = names(local.path()).into_iter().find(|name| name.ends_with(".part"));
    let had = part.map_or(0, |part| std::fs::metadata(local.path().join(part)).unwrap().len());

    // A later call may go on with fewer connections.
    let settings = Settings { parallel: 1, ..four() };
    let (report, events) = fetch(&mut connect(proxy.address()), "large", &target, &settings);
    assert!(report.is_whole() && report.resumed == had, "{events:?}");
    assert!(std::fs::read(&target).unwrap() == content);
    assert_eq!(names(local.path()), ["got"]);
    let (second, _, _) = proxy.counts();
    // Each connection had at most two pieces of 8 MiB that were not whole or had a gap before them.
    assert!(first + second <= BYTES as u64 + 8 * (8 << 20) + (1 << 20), "{first} and {second} bytes went down");
}

#[test]
fn a_listing_that_is_old_does_not_mislead() {
    let server = Server::start();
    server.write("large", &random_bytes(seed(), BYTES));
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
