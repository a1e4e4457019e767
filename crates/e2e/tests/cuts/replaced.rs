//! Parts of cut transfers that are of no use any more: the transfer begins anew, and says so.

use std::{
    fs::{self, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use ferry_client::{Blame, Settings};
use ferry_e2e::{Options, Server, eventually, random_bytes, seed};

use super::{
    connect, fetch, names,
    proxy::{Cut, Manner, Proxy, Way},
    store,
};

const BYTES: usize = 12 << 20;

/// Gives up at the first cut.
fn once() -> Settings {
    Settings { retries: 0, ..Settings::default() }
}

/// A server of one large file, and a download of it that was cut in the middle.
struct Half {
    server: Server,
    proxy: Proxy,
    local: tempfile::TempDir,
    content: Vec<u8>,
}

impl Half {
    fn new() -> Half {
        Half::of(BYTES, BYTES / 2)
    }

    /// A file of `bytes` bytes, of which about `came` came.
    fn of(bytes: usize, came: usize) -> Half {
        let server = Server::start();
        let content = random_bytes(seed(), bytes);
        server.write("large", &content);
        let proxy = Proxy::start(server.address());
        let half = Half { server, proxy, local: tempfile::tempdir().unwrap(), content };
        half.proxy.cut(&[Cut { way: Way::Down, after: came as u64, manner: Manner::End }]);
        let (report, events) = fetch(&mut connect(half.proxy.address()), "large", &half.target(), &once());
        assert_eq!(report.failures[0].1.blame(), Blame::Connection, "{events:?}");
        for ending in [".part", ".mark"] {
            let staged = half.staged(ending);
            assert!(staged.exists());
            eventually("nobody has it any more", || is_free(&staged).then_some(()));
        }
        half
    }

    fn target(&self) -> PathBuf {
        self.local.path().join("got")
    }

    fn staged(&self, ending: &str) -> PathBuf {
        let name = names(self.local.path()).into_iter().find(|name| name.ends_with(ending));
        self.local.path().join(name.unwrap_or_else(|| "nothing".into()))
    }

    /// Fetches the rest; gives the events.
    fn finish(&self) -> Vec<String> {
        let (report, events) = fetch(&mut connect(self.proxy.address()), "large", &self.target(), &once());
        assert!(report.is_whole(), "{events:?}");
        assert!(fs::read(self.target()).unwrap() == self.content, "{events:?}");
        assert_eq!(names(self.local.path()), ["got"], "{events:?}");
        events
    }

    fn finish_anew(&self, why: &str) {
        let events = self.finish();
        assert!(events.iter().any(|event| event.starts_with("restarted: ") && event.contains(why)), "{events:?}");
        assert_eq!(events.last().unwrap(), "done 0");
    }
}

/// Whether nobody holds the lock on a file. A server that another test is just starting has it for a moment, as all that
/// is open here: given back expressly, this lock is not passed on so.
fn is_free(path: &Path) -> bool {
    use rustix::fs::{FlockOperation, flock};
    let file = OpenOptions::new().read(true).open(path).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).and_then(|()| flock(&file, FlockOperation::Unlock)).is_ok()
}

/// Flips a byte of a file.
fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

#[test]
fn a_download_goes_on_in_a_later_call() {
    let half = Half::new();
    let events = half.finish();
    let resumed: u64 = events.last().unwrap().strip_prefix("done ").unwrap().parse().unwrap();
    assert!(resumed > BYTES as u64 / 2 - (1 << 20), "{events:?}");
    assert_eq!(events, [format!("begun {resumed}"), format!("done {resumed}")]);
}

#[test]
fn a_remote_file_that_was_replaced_is_fetched_anew() {
    let mut half = Half::new();
    half.content = random_bytes(seed() ^ 1, BYTES);
    half.server.write("large", &half.content);
    half.finish_anew("it changed on the server");
}

#[test]
fn a_part_that_was_corrupted_is_noticed() {
    let half = Half::new();
    flip(&half.staged(".part"), 1000);
    half.finish_anew("what was kept of it is damaged");
}

#[test]
fn a_part_that_is_too_long_or_of_another_file_is_noticed() {
    let half = Half::new();
    OpenOptions::new().write(true).open(half.staged(".part")).unwrap().set_len(BYTES as u64 + 1).unwrap();
    half.finish_anew("longer");

    let half = Half::new();
    half.server.write("other", &half.content);
    let (report, events) = fetch(&mut connect(half.proxy.address()), "other", &half.target(), &once());
    assert!(report.is_whole() && report.resumed == 0, "{events:?}");
    assert!(events[0].contains("another file"), "{events:?}");
    assert!(fs::read(half.target()).unwrap() == half.content);
}

#[test]
fn a_part_that_is_shorter_than_it_was_goes_on_from_where_it_ends() {
    let half = Half::new();
    OpenOptions::new().write(true).open(half.staged(".part")).unwrap().set_len(12345).unwrap();
    assert_eq!(half.finish().last().unwrap(), "done 12345");
}

#[test]
fn a_mark_that_was_corrupted_is_noticed() {
    let half = Half::new();
    flip(&half.staged(".mark"), 20);
    half.finish_anew("damaged");

    let half = Half::new();
    fs::remove_file(half.staged(".mark")).unwrap();
    half.finish_anew("damaged");
}

#[test]
fn a_part_that_is_gone_is_noticed() {
    let half = Half::new();
    fs::remove_file(half.staged(".part")).unwrap();
    half.finish_anew("gone");
}

/// As after a kill before the first byte was written.
#[test]
fn where_nothing_was_kept_nothing_is_lost() {
    let half = Half::new();
    OpenOptions::new().write(true).open(half.staged(".part")).unwrap().set_len(0).unwrap();
    assert_eq!(half.finish(), ["begun 0", "done 0"]);
}

/// As after a power cut: the boot that the mark names is another one, and no checkpoint says that the bytes are there.
#[test]
fn what_was_written_before_the_system_started_anew_must_be_proven() {
    let half = Half::new();
    let mark = fs::read_to_string(half.staged(".mark")).unwrap();
    let boot = mark.lines().find(|line| line.starts_with("boot ")).unwrap();
    fs::write(half.staged(".mark"), mark.replace(boot, "boot another 00000000")).unwrap();
    half.finish_anew("cannot be proven");
}

/// Bytes that a checkpoint can prove are taken up; where they turn out to be others, those before the last good one.
#[test]
fn checkpoints_prove_what_was_written_before_the_system_started_anew() {
    let of_another_start = |half: &Half| {
        let mark = fs::read_to_string(half.staged(".mark")).unwrap();
        let boot = mark.lines().find(|line| line.starts_with("boot ")).unwrap();
        let text = "boot 00000000-0000-0000-0000-000000000000";
        let line = format!("{text} {}", ferry_e2e::crc(text.as_bytes()));
        fs::write(half.staged(".mark"), mark.replace(boot, &line)).unwrap();
    };
    let half = Half::of(80 << 20, 75 << 20);
    of_another_start(&half);
    assert_eq!(half.finish().last().unwrap(), &format!("done {}", 64 << 20));

    let half = Half::of(80 << 20, 75 << 20);
    of_another_start(&half);
    flip(&half.staged(".part"), 40 << 20);
    assert_eq!(half.finish().last().unwrap(), &format!("done {}", 32 << 20));

    // Also without a new start: what is known to be wrong is not built on.
    let half = Half::of(80 << 20, 75 << 20);
    flip(&half.staged(".part"), 1);
    half.finish_anew("damaged");
}

#[test]
fn what_nobody_came_back_for_is_removed() {
    let half = Half::new();
    let old = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
    for ending in [".part", ".mark"] {
        OpenOptions::new().write(true).open(half.staged(ending)).unwrap().set_modified(old).unwrap();
    }
    // What is not ours is left alone, however old.
    let others = half.local.path().join(".ferry-keep.part");
    fs::write(&others, "x").unwrap();
    OpenOptions::new().write(true).open(&others).unwrap().set_modified(old).unwrap();
    let elsewhere = half.local.path().join("elsewhere");
    let (report, events) = fetch(&mut connect(half.proxy.address()), "large", &elsewhere, &once());
    assert!(report.is_whole(), "{events:?}");
    assert_eq!(names(half.local.path()), [".ferry-keep.part", "elsewhere"]);
}

#[test]
fn a_part_that_another_process_has_is_left_to_it() {
    let half = Half::new();
    let held = OpenOptions::new().read(true).write(true).open(half.staged(".part")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let (report, events) = fetch(&mut connect(half.proxy.address()), "large", &half.target(), &once());
    assert!(report.is_whole() && report.resumed == 0, "{events:?}");
    assert!(fs::read(half.target()).unwrap() == half.content);
    assert_eq!(names(half.local.path()).len(), 3, "the part and its mark are left");
}

#[test]
fn links_in_the_place_of_a_part_are_not_followed() {
    let half = Half::new();
    let outside = half.local.path().join("outside");
    for ending in [".part", ".mark"] {
        fs::write(&outside, "safe").unwrap();
        let staged = half.staged(ending);
        fs::remove_file(&staged).unwrap();
        std::os::unix::fs::symlink(&outside, &staged).unwrap();
        let (report, events) = fetch(&mut connect(half.proxy.address()), "large", &half.target(), &once());
        assert!(report.is_whole(), "{events:?}");
        assert_eq!(fs::read(&outside).unwrap(), b"safe");
        assert!(fs::read(half.target()).unwrap() == half.content);
        fs::remove_file(half.target()).unwrap();
    }
}

#[test]
fn a_target_that_is_no_file_is_told_and_left() {
    let half = Half::new();
    fs::create_dir(half.target()).unwrap();
    let (report, events) = fetch(&mut connect(half.proxy.address()), "large", &half.target(), &once());
    assert_eq!(report.failures[0].1.blame(), Blame::Local, "{events:?}");
    assert!(half.target().is_dir());
}

#[test]
fn a_local_file_that_changed_between_two_parts_is_sent_anew() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let (source, state) = (local.path().join("source"), local.path().join("state"));
    fs::write(&source, random_bytes(seed(), BYTES)).unwrap();
    let settings = Settings { state: Some(state.clone()), ..once() };
    let cut = Cut { way: Way::Up, after: BYTES as u64 / 2, manner: Manner::End };
    proxy.cut(&[cut]);
    let (report, events) = store(&mut connect(proxy.address()), &source, "stored", &settings);
    assert_eq!(report.failures.len(), 1, "{events:?}");
    assert_eq!(names(&state).len(), 1);

    let mut file = OpenOptions::new().write(true).open(&source).unwrap();
    file.seek(SeekFrom::Start(77)).unwrap();
    file.write_all(b"another").unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(5)).unwrap();
    let (report, events) = store(&mut connect(proxy.address()), &source, "stored", &settings);
    assert!(report.is_whole() && report.resumed == 0, "{events:?}");
    assert_eq!(events[0], "restarted: it changed here");
    assert!(server.read("stored") == fs::read(&source).unwrap());
    assert_eq!(names(&state), [""; 0]);
}

#[test]
fn a_local_file_that_is_small_by_now_is_sent_anew_as_well() {
    for bytes in [5, 2 << 20] {
        let server = Server::start();
        let proxy = Proxy::start(server.address());
        let local = tempfile::tempdir().unwrap();
        let (source, state) = (local.path().join("source"), local.path().join("state"));
        fs::write(&source, random_bytes(seed(), BYTES)).unwrap();
        let settings = Settings { state: Some(state.clone()), ..once() };
        proxy.cut(&[Cut { way: Way::Up, after: BYTES as u64 / 2, manner: Manner::End }]);
        let (report, events) = store(&mut connect(proxy.address()), &source, "stored", &settings);
        assert_eq!(report.failures.len(), 1, "{events:?}");
        fs::write(&source, random_bytes(seed(), bytes)).unwrap();
        let again = || store(&mut connect(proxy.address()), &source, "stored", &settings);
        let (report, events) = again();
        assert!(report.is_whole(), "{events:?}");
        assert_eq!(events, ["restarted: it changed here", "begun 0", "done 0"]);
        assert!(server.read("stored") == fs::read(&source).unwrap());
        assert_eq!((names(&state), again().1), (Vec::new(), vec!["begun 0".into(), "done 0".into()]));
    }
}

/// The server knows only a note of what it kept. That its disk has lost a byte of it, SUM tells.
#[test]
fn what_the_server_has_kept_is_not_taken_on_trust() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let (source, state) = (local.path().join("source"), local.path().join("state"));
    fs::write(&source, random_bytes(seed(), BYTES)).unwrap();
    let settings = Settings { state: Some(state.clone()), ..once() };
    proxy.cut(&[Cut { way: Way::Up, after: BYTES as u64 / 2, manner: Manner::End }]);
    let (report, _) = store(&mut connect(proxy.address()), &source, "stored", &settings);
    assert_eq!(report.failures.len(), 1);
    let kept = server.path(".ferry/kept");
    let data = names(&kept).into_iter().find(|name| name.ends_with(".data")).expect("something is kept");
    let data = kept.join(data);
    // The connection is lost to the client before all that came is written.
    eventually("its beginning is written", || (fs::metadata(&data).unwrap().len() > 17).then_some(()));
    flip(&data, 17);
    let (report, events) = store(&mut connect(proxy.address()), &source, "stored", &settings);
    assert!(report.is_whole(), "{events:?}");
    assert!(server.read("stored") == fs::read(&source).unwrap());
    let anew = "restarted: what the server had kept of it is damaged";
    assert!(events.iter().any(|event| event == anew), "{events:?}");
    assert_eq!(names(&state), [""; 0]);
}

#[test]
fn a_damaged_id_begins_anew() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let (source, state) = (local.path().join("source"), local.path().join("state"));
    fs::write(&source, random_bytes(seed(), BYTES)).unwrap();
    let settings = Settings { state: Some(state.clone()), ..once() };
    proxy.cut(&[Cut { way: Way::Up, after: BYTES as u64 / 2, manner: Manner::End }]);
    let (report, _) = store(&mut connect(proxy.address()), &source, "stored", &settings);
    assert_eq!(report.failures.len(), 1);
    flip(&state.join(&names(&state)[0]), 17);
    let (report, events) = store(&mut connect(proxy.address()), &source, "stored", &settings);
    assert!(report.is_whole() && report.resumed == 0, "{events:?}");
    assert_eq!(events, ["restarted: what was noted of its upload is damaged", "begun 0", "done 0"]);
    assert!(server.read("stored") == fs::read(&source).unwrap());
}

#[test]
fn an_upload_that_the_server_has_lost_is_sent_anew() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let (source, state) = (local.path().join("source"), local.path().join("state"));
    fs::write(&source, random_bytes(seed(), BYTES)).unwrap();
    let settings = Settings { state: Some(state), ..once() };
    proxy.cut(&[Cut { way: Way::Up, after: BYTES as u64 / 2, manner: Manner::End }]);
    let (report, events) = store(&mut connect(proxy.address()), &source, "stored", &settings);
    assert_eq!(report.failures.len(), 1);
    assert!(!events.iter().any(|event| event.starts_with("restarted")), "{events:?}");
    let address = server.address().to_string();
    drop(server);
    let _other = Options::new().address(&address).start();
    let (report, events) = store(&mut connect(proxy.address()), &source, "stored", &settings);
    assert!(report.is_whole(), "{events:?}");
    assert_eq!(events, ["restarted: the server has nothing kept of it", "begun 0", "done 0"]);
}

/// Its SAVED was lost: the server says it again, and nothing is sent.
#[test]
fn an_upload_that_was_published_unseen_is_not_sent_again() {
    if ferry_e2e::secure::skips("it cuts behind a certain reply") {
        return;
    }
    let (events, up) = publish_unseen(|_| {});
    assert_eq!(events, [format!("begun {BYTES}"), format!("done {BYTES}")]);
    assert!(up < 1000, "{up} bytes went up");
}

/// The server says SAVED again, of what is not there any more.
#[test]
fn an_upload_that_was_published_unseen_and_deleted_is_sent_again() {
    if ferry_e2e::secure::skips("it cuts behind a certain reply") {
        return;
    }
    let (events, _) = publish_unseen(|path| fs::remove_file(path).unwrap());
    let restarted = "restarted: the server does not have it any more";
    assert_eq!(events, [&format!("begun {BYTES}"), restarted, "begun 0", "done 0"]);
    let (events, _) = publish_unseen(|path| fs::write(path, "by somebody else").unwrap());
    assert_eq!(events[1], "restarted: the server has something else under its name by now");
}

/// Uploads a file whose SAVED is lost, does `meanwhile` to what is there, and uploads it again: what was told of that, and
/// how many bytes went up.
fn publish_unseen(meanwhile: impl FnOnce(&Path)) -> (Vec<String>, u64) {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let (source, state) = (local.path().join("source"), local.path().join("state"));
    let content = random_bytes(seed(), BYTES);
    fs::write(&source, &content).unwrap();
    let settings = Settings { state: Some(state.clone()), ..Settings::default() };
    let greeting = server_greeting_bytes(&server);
    proxy.cut(&[Cut { way: Way::Down, after: greeting + "GO 0\n".len() as u64, manner: Manner::Stall }]);
    let cancel = ferry_client::Cancel::default();
    let address = ferry_client::Address::new("127.0.0.1", proxy.address().port());
    let options = super::options().cancel(cancel.clone());
    let mut client = ferry_client::Client::connect(&address, options).unwrap();
    let raised = std::thread::spawn({
        let path = server.path("stored");
        move || {
            eventually("it is published", || path.exists().then_some(()));
            cancel.cancel();
        }
    });
    let (report, events) = store(&mut client, &source, "stored", &settings);
    raised.join().unwrap();
    assert_eq!(report.failures[0].1.blame(), Blame::Interrupted, "{events:?}");
    proxy.counts();
    meanwhile(&server.path("stored"));
    let (report, events) = store(&mut connect(proxy.address()), &source, "stored", &settings);
    assert!(report.is_whole(), "{events:?}");
    assert!(server.read("stored") == content);
    let (_, up, _) = proxy.counts();
    assert_eq!(names(&state), [""; 0]);
    (events, up)
}

fn server_greeting_bytes(server: &Server) -> u64 {
    ferry_e2e::Raw::connect(server.address()).line().len() as u64 + 1
}

#[test]
fn a_server_that_is_started_anew_is_found_again() {
    let root = tempfile::tempdir().unwrap();
    let content = random_bytes(seed(), BYTES);
    fs::write(root.path().join("large"), &content).unwrap();
    let local = tempfile::tempdir().unwrap();
    let target = local.path().join("got");
    let mut server = Some(Options::new().root(root.path()).start());
    let address = server.as_ref().unwrap().address();
    let mut client = connect(address);
    let file = ferry_client::Fetch { name: super::name("large"), target: target.clone().into(), meta: None };
    let (mut events, mut ended) = (Vec::new(), false);
    let report = client.fetch(&[file], &Settings { retries: 9, ..Settings::default() }, &mut |event| {
        match event {
            ferry_client::Event::Moved { done, .. } if *done > (4 << 20) && !ended => {
                ended = true;
                drop(server.take());
            }
            // Only then: what was refused once counts as an attempt.
            ferry_client::Event::Lost { attempt: 2, .. } => {
                server = Some(Options::new().address(&address.to_string()).root(root.path()).start());
            }
            _ => {}
        }
        events.extend(super::told(event));
    });
    assert!(report.is_whole(), "{events:?}");
    assert_eq!(events.iter().filter(|event| *event == "lost").count(), 2, "{events:?}");
    assert!(fs::read(&target).unwrap() == content);
}

#[test]
fn an_upload_survives_kill_9_of_the_server() {
    let root = tempfile::tempdir().unwrap();
    let local = tempfile::tempdir().unwrap();
    let source = local.path().join("source");
    let content = random_bytes(seed(), BYTES);
    fs::write(&source, &content).unwrap();
    let mut server = Some(Options::new().root(root.path()).start());
    let address = server.as_ref().unwrap().address();
    let file = ferry_client::Store { source: source.into(), name: super::name("stored") };
    let (mut events, mut ended) = (Vec::new(), false);
    let settings = Settings { retries: 9, ..Settings::default() };
    let report = connect(address).store(&[file], &settings, &mut |event| {
        match event {
            ferry_client::Event::Moved { done, .. } if *done > (6 << 20) && !ended => {
                ended = true;
                drop(server.take());
            }
            ferry_client::Event::Lost { attempt: 2, .. } => {
                server = Some(Options::new().address(&address.to_string()).root(root.path()).start());
            }
            _ => {}
        }
        events.extend(super::told(event));
    });
    assert!(report.is_whole(), "{events:?}");
    assert!(fs::read(root.path().join("stored")).unwrap() == content);
}

#[test]
fn without_resuming_nothing_is_left_and_nothing_taken_up() {
    let server = Server::start();
    let content = random_bytes(seed(), BYTES);
    server.write("large", &content);
    let proxy = Proxy::start(server.address());
    let local = tempfile::tempdir().unwrap();
    let (target, state) = (local.path().join("got"), local.path().join("state"));
    let settings = Settings { resume: false, state: Some(state.clone()), ..once() };
    proxy.cut(&[Cut { way: Way::Down, after: BYTES as u64 / 2, manner: Manner::End }]);
    let (report, events) = fetch(&mut connect(proxy.address()), "large", &target, &settings);
    assert_eq!(report.failures.len(), 1, "{events:?}");
    assert_eq!(names(local.path()), [""; 0]);
    // Within one call it goes on all the same.
    proxy.counts();
    proxy.cut(&[Cut { way: Way::Down, after: BYTES as u64 / 2, manner: Manner::End }]);
    let (report, events) =
        fetch(&mut connect(proxy.address()), "large", &target, &Settings { retries: 1, ..settings.clone() });
    assert!(report.is_whole() && report.resumed == 0, "{events:?}");
    assert!(fs::read(&target).unwrap() == content);
    let (down, _, _) = proxy.counts();
    assert!(down < BYTES as u64 * 5 / 4, "{down} bytes went down: {events:?}");

    proxy.cut(&[Cut { way: Way::Up, after: BYTES as u64 / 2, manner: Manner::End }]);
    let (report, _) = store(&mut connect(proxy.address()), &target, "stored", &settings);
    assert_eq!(report.failures.len(), 1);
    assert!(!state.exists());
    let (report, events) = store(&mut connect(proxy.address()), &target, "stored", &settings);
    assert!(report.is_whole() && report.resumed == 0, "{events:?}");
    assert!(server.read("stored") == content);
}
