//! Servers of several machines, where a lock may not reach from one to the other.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use ferry_server::store::{Call, LeaseOptions, OpenError, Store, StoreOptions, Watcher};
use ferry_wire::{Code, Crc32};
use rustix::io::Errno;

use crate::{
    acts::{CHUNK, ID, Side, options, prepare},
    common::{
        client::{Body, Client, name},
        dice::bytes,
        fresh_root, show, tree,
    },
    intruder::Intruder,
};

/// A file system of a kind that nobody knows: its locks may be of one machine alone.
#[derive(Debug)]
struct Unknown;

impl Watcher for Unknown {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        match call {
            Call::FileSystem { .. } => Err(Errno::NOSYS),
            _ => Ok(()),
        }
    }

    fn after(&self, _: &Call<'_>) {}
}

fn unknown() -> Option<Arc<dyn Watcher>> {
    Some(Arc::new(Unknown))
}

/// Returns the directory of the only process that has one.
fn run_of(root: &Path) -> PathBuf {
    let runs = tree::runs(root);
    assert_eq!(runs.len(), 1, "{runs:?}");
    root.join(".ferry").join(&runs[0].0)
}

/// Returns what another machine's process would say of itself; [`None`], and a word, where this one
/// does not know which it is.
fn elsewhere(root: &Path) -> Option<String> {
    let own = fs::read_to_string(run_of(root).join("lock")).expect("a lock");
    let words: Vec<_> = own.split_whitespace().collect();
    let [_, what, machine, _, processes, process] = words[..] else { panic!("{own:?}") };
    if machine == "-" {
        show("skipped: this machine has no id");
        return None;
    }
    let line = format!("{what} another-machine another-boot {processes} {process}");
    Some(format!("{} {line}\n", Crc32::of(line.as_bytes())))
}

/// Returns the directory of a process that stages something, whose lock nobody here holds.
fn another(root: &Path, identity: &str) -> PathBuf {
    let run = root.join(".ferry/run-another");
    fs::create_dir(&run).expect("a directory");
    fs::write(run.join("0"), "half of something").expect("a file");
    fs::write(run.join("lock"), identity).expect("a lock");
    run
}

/// The owner of `run` says that it lives.
fn beat(run: &Path, number: u64) {
    let lock = fs::File::options().write(true).open(run.join("lock")).expect("a lock");
    lock.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(number)).expect("touched");
}

#[test]
fn what_may_be_another_machines_is_removed_when_nothing_stirred_for_long() {
    for watcher in [None, unknown()] {
        let root = fresh_root();
        let side = Side::open(&options(root.path()), 1, watcher.clone());
        let Some(identity) = elsewhere(root.path()) else { return };
        let run = another(root.path(), &identity);
        let (start, now) = (Instant::now(), SystemTime::now());
        let clean = |seconds| side.store.clean_at(now, start + Duration::from_secs(seconds));
        // The clock of the day may say what it likes.
        side.store.clean_at(now + Duration::from_secs(3600), start);
        for (at, number) in [(10, 1), (60, 2), (110, 3)] {
            clean(at);
            assert!(run.join("0").exists(), "removed {at} s after the start, unknown: {}", watcher.is_some());
            beat(&run, number);
        }
        clean(160);
        clean(219);
        assert!(run.join("0").exists(), "59 s without a beat");
        side.store.watch_at(start + Duration::from_secs(220));
        assert!(!run.exists(), "a minute without a beat");
        assert!(side.client().put(&name("a"), whole(&bytes(1, 100))).is_ok());
    }
}

fn whole(bytes: &[u8]) -> Body<'_> {
    Body { bytes, chunk: CHUNK, announced: true, settled: true }
}

#[test]
fn a_root_that_another_server_uses_is_refused_where_its_lock_does_not_reach() {
    let root = fresh_root();
    let Some(identity) = ({
        let side = Side::open(&options(root.path()), 1, None);
        let identity = elsewhere(root.path());
        side.store.leave();
        identity
    }) else {
        return;
    };
    for (watcher, identity) in [(None, identity), (unknown(), "".into())] {
        let run = another(root.path(), &identity);
        let (end, ended) = mpsc::channel::<()>();
        let beating = run.clone();
        let other = thread::spawn(move || {
            let mut number = 0;
            while ended.recv_timeout(Duration::from_millis(50)) == Err(mpsc::RecvTimeoutError::Timeout) {
                number += 1;
                beat(&beating, number);
            }
        });
        let opened = Store::open_watched(&options(root.path()), watcher);
        drop(end);
        other.join().expect("the other server");
        match opened {
            Err(error @ OpenError::InUse { .. }) => {
                let said = error.to_string();
                assert!(said.contains("run-another") && said.contains("--read-only"), "{said}");
            }
            opened => panic!("{:?}", opened.map(drop)),
        }
        assert_eq!(run_of(root.path()), run, "nothing is left of the attempt, and all of the other one");
        assert!(run.join("0").exists());
        fs::remove_dir_all(run).expect("removed");
    }
}

#[test]
fn what_a_server_of_this_machine_left_is_cleaned_at_once() {
    for watcher in [None, unknown()] {
        let root = fresh_root();
        let dead = Side::open(&options(root.path()), 1, watcher.clone());
        let run = run_of(root.path());
        drop(dead);
        let began = Instant::now();
        let side = Side::open(&options(root.path()), 2, watcher);
        side.store.clean();
        assert!(!run.exists(), "what it staged stays");
        assert!(began.elapsed() < side.store.beat_interval() * 3, "it watched the dead");
        run_of(root.path());
    }
}

#[test]
fn a_server_that_was_taken_for_dead_goes_on() {
    let root = fresh_root();
    let mut side = Side::open(&options(root.path()), 1, None);
    let run = run_of(root.path());
    let upload = side.client().deliver(&name("under way"), whole(&bytes(1, 3 * CHUNK))).expect("staged");
    fs::remove_dir_all(&run).expect("removed");
    let failure = side.client().publish(upload).expect_err("its bytes are gone");
    assert!(failure.message.contains("has been removed"), "{failure}");
    side.put("next", &bytes(2, 3 * CHUNK)).expect("a new directory");
    assert_ne!(run_of(root.path()), run);
    // The same without a request.
    let run = run_of(root.path());
    fs::remove_dir_all(&run).expect("removed");
    side.store.beat();
    assert_ne!(run_of(root.path()), run);
    side.put("last", &bytes(3, 3 * CHUNK)).expect("a new directory");
    // Nothing that failed counts.
    for number in 0..3 {
        side.put("all", &bytes(number, 16 * CHUNK)).expect("all the room is free");
    }
    side.store.leave();
    assert!(tree::runs(root.path()).is_empty());
}

#[test]
fn a_server_beats_where_somebody_may_doubt_that_it_lives() {
    for (watcher, foreign) in [(None, false), (None, true), (unknown(), false)] {
        let root = fresh_root();
        let side = Side::open(&options(root.path()), 1, watcher.clone());
        let run = run_of(root.path());
        let Some(identity) = elsewhere(root.path()) else { return };
        if foreign {
            another(root.path(), &identity);
        }
        beat(&run, 1);
        side.store.beat();
        let modified = fs::metadata(run.join("lock")).and_then(|lock| lock.modified()).expect("a lock");
        let beaten = modified > SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        assert_eq!(beaten, watcher.is_some() || foreign, "an idle server leaves its disk alone");
        drop(Client::new(&side.store, false));
    }
}

/// Counts how often times are set; perhaps on a file system of a kind that nobody knows.
#[derive(Debug, Default)]
struct Times {
    set: AtomicUsize,
    is_unknown: bool,
}

impl Watcher for Times {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        if let Call::SetTime { .. } = call {
            self.set.fetch_add(1, Ordering::Relaxed);
        }
        if self.is_unknown { Unknown.before(call) } else { Ok(()) }
    }

    fn after(&self, _: &Call<'_>) {}
}

#[test]
fn a_file_has_its_time_before_it_is_published_where_others_may_hear_late_of_writes() {
    for is_unknown in [false, true] {
        let root = fresh_root();
        let times = Arc::new(Times { is_unknown, ..Times::default() });
        let mut side = Side::open(&options(root.path()), 1, Some(times.clone()));
        for length in [1, CHUNK, 3 * CHUNK] {
            let before = times.set.load(Ordering::Relaxed);
            side.put("a", &bytes(1, length)).expect("SAVED");
            let set = times.set.load(Ordering::Relaxed) - before;
            assert_eq!(set, usize::from(is_unknown), "{length} bytes");
        }
    }
}

/// A file system of a kind that nobody knows, which takes times from the clocks of its machines. Files
/// that this one touched have times as long ahead.
#[derive(Debug, Default)]
struct Ahead(Mutex<HashSet<u64>>);

const AHEAD_SECONDS: i64 = 80 * 60 * 60;

impl Watcher for Ahead {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        if let Call::SetTime { file } | Call::Write { file, .. } = call {
            let inode = rustix::fs::fstat(file).expect("an open file").st_ino;
            self.0.lock().expect("inodes").insert(inode);
        }
        Unknown.before(call)
    }

    fn after(&self, _: &Call<'_>) {}

    fn told(&self, stat: &mut rustix::fs::Stat) {
        if self.0.lock().expect("inodes").contains(&stat.st_ino) {
            stat.st_ctime += AHEAD_SECONDS;
        }
    }
}

/// Returns the options of a server of the machine `machine`.
fn of_machine(root: &Path, machine: &str) -> StoreOptions {
    let leasing = LeaseOptions { machine: Some(machine.into()), ..LeaseOptions::default() };
    StoreOptions { leasing, ..options(root) }
}

#[test]
fn a_clock_that_is_days_ahead_expires_nothing_of_others() {
    for watcher in [unknown(), Some(Arc::new(Ahead::default()) as Arc<dyn Watcher>)] {
        let root = fresh_root();
        let mut other = Side::open(&of_machine(root.path(), "other"), 1, unknown());
        prepare(&mut other);
        let keep = Duration::from_secs(72 * 60 * 60);
        let ahead = Side::open(&StoreOptions { keep, ..of_machine(root.path(), "ahead") }, 2, watcher);
        let now = SystemTime::now() + Duration::from_secs(AHEAD_SECONDS.cast_unsigned());
        ahead.store.clean_at(now, Instant::now());
        assert_eq!(tree::kept(root.path(), ID).len(), 2 * CHUNK, "a kept upload of another server was deleted");
        ahead.store.beat();
        ahead.store.watch();
        assert_eq!(tree::runs(root.path()).len(), 2);
        assert!(other.resume().expect("GO").is_none());
        other.finish().expect("SAVED");
    }
}

#[test]
fn a_server_that_gives_no_sign_of_life_has_lost_its_directory_whatever_its_lock_says() {
    let root = fresh_root();
    let mut still = Side::open(&of_machine(root.path(), "still"), 1, unknown());
    let run = run_of(root.path());
    let upload = still.client().deliver(&name("staged"), whole(&bytes(1, 3 * CHUNK))).expect("staged");
    let other = Side::open(&of_machine(root.path(), "other"), 2, unknown());
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    // Its lock is held all the time, as after the end of a program that plays a file system.
    for seconds in [0, 30, 59] {
        other.store.watch_at(at(seconds));
        assert!(run.join("lock").exists(), "removed after {seconds} s");
    }
    still.store.beat_at(at(60));
    other.store.watch_at(at(61));
    other.store.watch_at(at(120));
    assert!(run.join("lock").exists(), "it had shown that it lives");
    other.store.watch_at(at(122));
    assert!(!run.exists(), "a minute without a sign of life");
    let failure = still.client().publish(upload).expect_err("its bytes are gone");
    assert!(failure.message.contains("has been removed"), "{failure}");
    still.put("next", &bytes(2, 3 * CHUNK)).expect("a new directory");
    let again = tree::runs(root.path());
    assert_eq!(again.len(), 2, "{again:?}");
    // One that comes to itself gives its directory up before anybody takes it.
    still.store.beat_at(at(123));
    still.store.beat_at(at(184));
    let names = |runs: &[(String, Vec<String>)]| runs.iter().map(|(run, _)| run.clone()).collect::<BTreeSet<_>>();
    still.put("last", &bytes(2, 3 * CHUNK)).expect("a new directory");
    assert_ne!(names(&again), names(&tree::runs(root.path())));
}

#[test]
fn a_server_says_that_it_lives_while_it_waits_to_look_at_another_one() {
    let root = fresh_root();
    let intruder = Arc::new(Intruder::of(true));
    let side = Side::open(&of_machine(root.path(), "one"), 1, Some(intruder.clone()));
    let lock = run_of(root.path()).join("lock");
    let Some(identity) = elsewhere(root.path()) else { return };
    another(root.path(), &identity);
    let (waits, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    intruder.arm(
        |call| matches!(call, Call::Lock { .. }),
        move || {
            waits.send(()).expect("somebody listens");
            let _ = may_go_on.recv();
        },
    );
    thread::scope(|scope| {
        scope.spawn(|| side.store.watch());
        has_begun.recv().expect("it looks at the other one");
        let before = fs::read(&lock).expect("a lock");
        side.store.beat();
        assert_ne!(fs::read(&lock).expect("a lock"), before);
        drop(go_on);
    });
}

#[test]
fn an_upload_goes_on_at_another_machine_when_it_was_let_go() {
    let root = fresh_root();
    let mut one = Side::open(&of_machine(root.path(), "one"), 1, unknown());
    let mut two = Side::open(&of_machine(root.path(), "two"), 2, unknown());
    prepare(&mut one);
    assert!(one.resume().expect("GO").is_none());
    let failure = two.resume().expect_err("held at the other one");
    assert_eq!(failure.code, Code::Busy);
    assert!(failure.message.contains("for 60 s at most"), "{failure}");
    assert_eq!(one.cut().expect("kept"), "8192 bytes kept");
    let inode = |root: &Path| {
        let data = tree::kept_path(root, ID).expect("data");
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(data).expect("data"))
    };
    let before = inode(root.path());
    assert!(two.resume().expect("GO").is_none());
    assert_eq!(inode(root.path()), before, "what was let go is not copied");
    assert!(two.finish().expect("SAVED").starts_with("GO 8192, SAVED"));
    assert!(one.resume().expect("SAVED").is_some());
}
