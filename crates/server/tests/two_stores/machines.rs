//! Servers of several machines, where a lock may not reach from one to the other.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use ferry_server::store::{Call, OpenError, Store, Watcher};
use ferry_wire::Crc32;
use rustix::io::Errno;

use crate::{
    acts::{CHUNK, Side, options},
    common::{
        client::{Body, Client, name},
        dice::bytes,
        fresh_root, show, tree,
    },
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
        side.store.beat_at(start + Duration::from_secs(220));
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
