//! A start on a disk that is full.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ferry_server::store::{Call, Change, Watcher};
use ferry_wire::Code;
use rustix::io::Errno;

use crate::{
    acts::{CHUNK, Side, options},
    common::{client::name, dice::bytes, fresh_root, tree},
};

/// A disk that can make nothing more as long as it is full, or that file is there.
#[derive(Debug, Default)]
struct Full {
    full: AtomicBool,
    filled_by: Option<PathBuf>,
}

impl Watcher for Full {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        let full = self.full.load(Ordering::Relaxed) || self.filled_by.as_ref().is_some_and(|path| path.exists());
        match call {
            Call::Mkdir { dir, name }
                if full && rustix::fs::statat(dir, *name, rustix::fs::AtFlags::empty()).is_err() =>
            {
                Err(Errno::NOSPC)
            }
            Call::Write { .. } | Call::Reserve { .. } if full => Err(Errno::NOSPC),
            _ => Ok(()),
        }
    }

    fn after(&self, _: &Call<'_>) {}
}

#[test]
fn a_server_starts_on_the_disk_that_the_dead_one_filled() {
    let root = fresh_root();
    let mut dead = Side::open(&options(root.path()), 1, None);
    dead.put("a", &bytes(1, CHUNK)).expect("SAVED");
    let run = root.path().join(".ferry").join(&tree::runs(root.path())[0].0);
    drop(dead);
    let fills = run.join("0");
    fs::write(&fills, "all of the disk").expect("a file");
    let full = Full { filled_by: Some(fills.clone()), ..Full::default() };
    let mut side = Side::open(&options(root.path()), 2, Some(Arc::new(full)));
    assert!(!run.exists(), "what the dead one staged is cleaned first");
    side.put("b", &bytes(2, CHUNK)).expect("there is room again");
}

#[test]
fn a_full_disk_is_served_for_reading_and_deleting_until_there_is_room() {
    let root = fresh_root();
    let mut dead = Side::open(&options(root.path()), 1, None);
    for to in ["a", "b"] {
        dead.put(to, &bytes(1, CHUNK)).expect("SAVED");
    }
    drop(dead);
    for by_beat in [false, true] {
        let full = Arc::new(Full::default());
        full.full.store(true, Ordering::Relaxed);
        let mut side = Side::open(&options(root.path()), 2, Some(full.clone()));
        assert_eq!(side.client().get(&name("a")).expect("what is there"), bytes(1, CHUNK));
        for _ in 0..2 {
            assert_eq!(side.put("c", &bytes(3, CHUNK)).expect_err("no room").code, Code::NoSpace);
        }
        if !by_beat {
            side.client().change_tree(Change::Delete(name("b"))).expect("DONE");
        }
        assert!(tree::runs(root.path()).is_empty(), "what could not be used is left: {:?}", tree::runs(root.path()));
        full.full.store(false, Ordering::Relaxed);
        if by_beat {
            side.store.beat();
            assert_eq!(tree::runs(root.path()).len(), 1);
        }
        side.put("c", &bytes(3, CHUNK)).expect("there is room again");
        side.store.leave();
    }
}
