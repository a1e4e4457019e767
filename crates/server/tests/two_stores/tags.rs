//! Tags where times are whole seconds, which another machine's clock gives.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use ferry_server::store::{Call, Watcher};
use ferry_wire::Reply;
use rustix::{fs::Stat, io::Errno};

use crate::{
    acts::{Side, options},
    common::{client::name, dice::bytes, fresh_root},
};

/// A file system of a kind that nobody knows. Its clock is so many seconds behind the one of this machine, which is the
/// same as that one ahead.
#[derive(Debug, Default)]
struct Behind(AtomicI64);

impl Behind {
    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Watcher for Behind {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        match call {
            Call::FileSystem { .. } => Err(Errno::NOSYS),
            _ => Ok(()),
        }
    }

    fn after(&self, _: &Call<'_>) {}

    fn told(&self, stat: &mut Stat) {
        (stat.st_mtime_nsec, stat.st_ctime_nsec) = (0, 0);
        stat.st_ctime -= self.0.load(Ordering::Relaxed);
    }
}

const HOURS_AHEAD: i64 = 80 * 60 * 60;

fn opened(root: &Path, seed: u64) -> (Side, Arc<Behind>) {
    let clock = Arc::new(Behind::default());
    (Side::open(&options(root), seed, Some(clock.clone())), clock)
}

/// Returns the tags that two looks at a file tell, one by each side.
fn tags(sides: [&Side; 2], file: &str) -> [String; 2] {
    sides.map(|side| match side.client().stat(&name(file)) {
        Ok(Reply::File(version)) => version.tag.as_str().to_owned(),
        told => panic!("{told:?}"),
    })
}

#[test]
fn a_file_that_has_just_changed_is_not_believed_to_be_old_by_a_clock_that_is_days_ahead() {
    let root = fresh_root();
    let (mut side, clock) = opened(root.path(), 1);
    clock.set(HOURS_AHEAD);
    side.store.beat();
    side.put("file", &bytes(1, 100)).expect("SAVED");
    let [first, second] = tags([&side, &side], "file");
    let (_, _, saved) = side.saved.pop().expect("SAVED");
    assert!(first != second && saved != first && saved != second, "{saved}, {first}, {second}");
}

#[test]
fn when_its_second_is_over_a_file_has_one_tag_at_all_nodes_whatever_their_clocks_say() {
    let root = fresh_root();
    let (mut one, clock) = opened(root.path(), 1);
    let (two, clock_of_two) = opened(root.path(), 2);
    one.put("file", &bytes(1, 100)).expect("SAVED");
    for (side, clock) in [(&one, &clock), (&two, &clock_of_two)] {
        clock.set(HOURS_AHEAD);
        side.store.beat();
        // The file changed some seconds before what was touched just now.
        clock.set(HOURS_AHEAD + 10);
    }
    let [first, second] = tags([&one, &two], "file");
    assert_eq!(first, second);
}
