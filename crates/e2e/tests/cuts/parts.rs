//! One large upload over several connections.

use std::time::Duration;

use ferry_client::{Address, Client, Event, Parallel, Settings};
use ferry_e2e::{Options, Server, random_bytes, seed};

use super::{
    connect, names, options,
    proxy::{Cut, Manner, Proxy, Way},
    store,
};

const BYTES: usize = (48 << 20) + 12345;
const LESS_BYTES: usize = (16 << 20) + 12345;

/// The bytes that a connection may lose when it is cut: those ahead, and those that proxy and server have not read.
const AGAIN: u64 = 24 << 20;

fn four() -> Settings {
    Settings { parallel: Parallel::Fixed(4), ..Settings::default() }
}

/// All of `cases` with `FERRY_SWEEP=full`, else the first few.
fn some<T>(cases: &[T], few: usize) -> &[T] {
    let is_full = std::env::var("FERRY_SWEEP").is_ok_and(|value| value == "full");
    if is_full { cases } else { &cases[..few] }
}

/// A server behind a proxy, and a file to store there.
struct Scene {
    server: Server,
    proxy: Proxy,
    content: Vec<u8>,
    local: tempfile::TempDir,
}

impl Scene {
    fn new(bytes: usize) -> Scene {
        let server = Server::start();
        let proxy = Proxy::start(server.address());
        let content = random_bytes(seed(), bytes);
        let local = tempfile::tempdir().unwrap();
        std::fs::write(local.path().join("source"), &content).unwrap();
        Scene { server, proxy, content, local }
    }

    fn settings(&self) -> Settings {
        Settings { state: Some(self.local.path().join("state")), ..four() }
    }

    fn store(&self, client: &mut Client, settings: &Settings) -> (ferry_client::Report, Vec<String>) {
        store(client, &self.local.path().join("source"), "large", settings)
    }

    /// The file is there, and nothing else, on either side.
    fn check(&self, what: &str) {
        assert!(self.server.read("large") == self.content, "{what}");
        assert_eq!(names(&self.local.path().join("state")), [""; 0], "{what}");
        assert_eq!(self.server.visible(), ["large"], "{what}");
        let kept = names(&self.server.path(".ferry/kept"));
        assert!(kept.iter().all(|name| !name.ends_with(".data")), "{what}: {kept:?}");
    }
}

#[test]
fn several_connections_share_an_upload() {
    let scene = Scene::new(BYTES);
    let mut client = connect(scene.proxy.address());
    let (report, events) = scene.store(&mut client, &scene.settings());
    assert!(report.is_whole(), "{events:?}");
    assert_eq!(events, ["begun 0", "done 0"]);
    scene.check("alone");
    let (_, up, connections) = scene.proxy.counts();
    assert_eq!(connections, 4);
    assert!(up < BYTES as u64 + (1 << 20), "{up} bytes went up");
    client.stat(&super::name("large")).unwrap();
}

/// The others send the parts that one has not brought to an end; where the holder is lost another one holds the upload.
#[test]
fn whichever_connections_of_an_upload_are_lost_the_others_go_on() {
    for way in [Way::Up, Way::Down] {
        if way == Way::Down && ferry_e2e::secure::skips("it cuts behind the greeting") {
            continue;
        }
        for &lost in some(&[&[0][..], &[1, 2, 3], &[0, 1, 2], &[1], &[0, 2]], 3) {
            for manner in [Manner::End, Manner::Reset] {
                let scene = Scene::new(LESS_BYTES);
                // Behind the greeting, and a line or two.
                let after = if way == Way::Up { 900_000 } else { 400 };
                let after = |number| if lost.contains(&number) { after } else { u64::MAX };
                scene.proxy.cut(&[0, 1, 2, 3].map(|number| Cut { way, after: after(number), manner }));
                let (report, events) = scene.store(&mut connect(scene.proxy.address()), &scene.settings());
                let what = format!("{way:?} {lost:?} {manner:?}: {events:?}");
                assert!(report.is_whole(), "{what}");
                scene.check(&what);
            }
        }
    }
}

#[test]
fn a_shared_upload_that_is_cut_goes_on_from_what_the_server_has() {
    for manner in [Manner::End, Manner::Reset] {
        let scene = Scene::new(BYTES);
        // All four, one after the other, and whichever are opened in their places.
        let cut = |after| Cut { way: Way::Up, after, manner };
        scene.proxy.cut(&[cut(5 << 20), cut(2 << 20), cut(3 << 20), cut(8 << 20)]);
        scene.proxy.cut(&[cut(2 << 20); 12]);
        let settings = Settings { retries: 0, ..scene.settings() };
        let (report, events) = scene.store(&mut connect(scene.proxy.address()), &settings);
        assert_eq!(report.failures.len(), 1, "{events:?}");
        scene.proxy.cut_no_more();
        let (_, first, _) = scene.proxy.counts();
        assert!(scene.server.visible().is_empty());
        // A later call may go on with fewer connections, which use what touches the end alone.
        let parallel = if manner == Manner::End { Parallel::Fixed(4) } else { Parallel::Fixed(1) };
        let settings = Settings { parallel, ..settings };
        let (report, events) = scene.store(&mut connect(scene.proxy.address()), &settings);
        assert!(report.is_whole(), "{events:?}");
        scene.check(&format!("{manner:?}: {events:?}"));
        let (_, second, _) = scene.proxy.counts();
        let again = if manner == Manner::End { AGAIN } else { BYTES as u64 };
        assert!(first + second <= BYTES as u64 + again, "{manner:?}: {first} and {second} bytes went up, {events:?}");
    }
}

/// A connection that says nothing more is not waited for by those that have done all else, whichever it is.
#[test]
fn a_connection_of_an_upload_that_stalls_is_not_waited_for() {
    for &stalled in some(&[&[0][..], &[1, 2, 3], &[2], &[0, 3]], 2) {
        // More than the sockets and the proxy take of what nobody reads: a connection that has sent all of its own waits for
        // the server.
        let scene = Scene::new(BYTES);
        let after = |number| if stalled.contains(&number) { 900_000 } else { u64::MAX };
        let manner = Manner::Stall;
        scene.proxy.cut(&[0, 1, 2, 3].map(|number| Cut { way: Way::Up, after: after(number), manner }));
        // Longer than any test may take.
        let options = options().timeout(Duration::from_secs(3600));
        let address = Address::new("127.0.0.1", scene.proxy.address().port());
        let mut client = Client::connect(&address, options).unwrap();
        let (report, events) = scene.store(&mut client, &scene.settings());
        assert!(report.is_whole(), "{stalled:?}: {events:?}");
        scene.check(&format!("{stalled:?}: {events:?}"));
    }
}

/// Wherever that is.
#[test]
fn a_shared_upload_survives_kill_9_of_the_server() {
    let local = tempfile::tempdir().unwrap();
    let (source, state) = (local.path().join("source"), local.path().join("state"));
    let content = random_bytes(seed(), BYTES);
    std::fs::write(&source, &content).unwrap();
    for &kills in some(&[&[12 << 20, 40 << 20][..], &[BYTES as u64], &[6 << 20], &[30 << 20]], 2) {
        let root = tempfile::tempdir().unwrap();
        let mut server = Some(Options::new().root(root.path()).start());
        let address = server.as_ref().unwrap().address();
        let file = ferry_client::Store { source: source.as_path().into(), name: super::name("stored") };
        let (mut events, mut kills) = (Vec::new(), kills.iter());
        let (mut next, mut lost) = (kills.next(), 0);
        let settings = Settings { retries: 9, state: Some(state.clone()), ..four() };
        let report = connect(address).store(&[file], &settings, &mut |event| {
            match event {
                Event::Moved { done, .. } if next.is_some_and(|next| done >= next) => {
                    (next, lost) = (kills.next(), 0);
                    drop(server.take());
                }
                Event::Lost { .. } => {
                    lost += 1;
                    if lost == 2 {
                        server = Some(Options::new().address(&address.to_string()).root(root.path()).start());
                    }
                }
                _ => {}
            }
            events.extend(super::told(event));
        });
        assert!(report.is_whole(), "{events:?}");
        assert!(std::fs::read(root.path().join("stored")).unwrap() == content, "{events:?}");
        assert_eq!(names(&state), [""; 0]);
    }
}
