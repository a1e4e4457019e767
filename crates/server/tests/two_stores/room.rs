//! Limits: what counts, whose it is, and what the other server changes about it.

use std::{os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use ferry_server::store::{Call, Durability, Owner, Store, StoreOptions, Watcher};
use ferry_wire::{Code, Failure};
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};
use tempfile::TempDir;

use crate::{
    acts::{CHUNK, ROOM_BYTES, Side, UPLOAD_BYTES, options, prepare},
    common::{
        client::{Body, Resumed, id, name},
        dice::bytes,
        fresh_root, show,
    },
    intruder::Intruder,
};

#[test]
fn an_upload_begun_at_one_server_and_ended_at_another_counts_at_neither() {
    let root = fresh_root();
    let options = options(root.path());
    // The second one looked before there was anything.
    let (mut first, mut second) = (Side::open(&options, 1, None), Side::open(&options, 2, None));
    prepare(&mut first);
    assert!(second.resume().expect("GO").is_none());
    second.finish().expect("SAVED");
    for side in [&mut second, &mut first] {
        for _ in 0..3 {
            side.put("all of it", &bytes(5, ROOM_BYTES as usize)).expect("all the room is free");
            let more = side.put("more", &bytes(5, ROOM_BYTES as usize + 1)).expect_err("more than there is");
            assert_eq!(more.code, Code::NoSpace);
        }
    }
}

#[test]
fn what_another_server_holds_counts_when_it_is_looked_at() {
    let root = fresh_root();
    let options = options(root.path());
    let mut second = Side::open(&options, 2, None);
    prepare(&mut second);
    assert!(second.resume().expect("GO").is_none());
    let mut first = Side::open(&options, 1, None);
    assert!(first.put("f", &bytes(5, 14 * CHUNK)).is_ok());
    assert_eq!(first.put("f", &bytes(5, 14 * CHUNK + 1)).expect_err("no room").code, Code::NoSpace);
}

#[test]
fn ids_that_another_server_forgot_make_room() {
    let root = fresh_root();
    let options = StoreOptions { max_kept: 1, ..options(root.path()) };
    let (mut first, second) = (Side::open(&options, 1, None), Side::open(&options, 2, None));
    prepare(&mut first);
    let begin = |side: &Side, as_id: &str| {
        let resumed = side.client().resume(&id(as_id), &name(as_id), 10);
        resumed.map(|resumed| match resumed {
            Resumed::Going(held) => side.client().refuse(held),
            Resumed::Saved(_) => panic!("nothing was published"),
        })
    };
    // The second one has not looked since; what it refuses in vain counts for nothing.
    begin(&second, "a").expect("it knows of none");
    assert!(first.resume().expect("GO").is_none());
    let busy = second.client().resume(&id("up"), &name("r"), UPLOAD_BYTES);
    assert!(busy.is_err_and(|failure| failure.code == Code::Busy));
    first.finish().expect("SAVED");
    std::fs::remove_file(root.path().join(".ferry/kept/up.mark")).expect("what another server forgets");
    begin(&first, "b").expect("the one that is gone counts no more");
}

/// Returns the bytes that all files under `dir` take of the disk.
fn taken(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.map(|path| if path.is_dir() { taken(&path) } else { path.metadata().expect("a file").blocks() * 512 }).sum()
}

/// Returns a root on a disk where room can be set aside; [`None`], and a word, elsewhere.
fn root_that_sets_aside() -> Option<TempDir> {
    let root = tempfile::tempdir().expect("a directory");
    let file = std::fs::File::create(root.path().join("probe")).expect("a file");
    let flags = FallocateFlags::KEEP_SIZE;
    let on_disk =
        Store::open(&options(root.path())).is_ok_and(|store| !store.capabilities().to_string().contains("tmpfs"));
    if !on_disk || fallocate(&file, flags, 0, 1 << 20).is_err() {
        show("skipped: this file system sets no room aside");
        return None;
    }
    std::fs::remove_file(root.path().join("probe")).expect("removed");
    Some(root)
}

const MIB: usize = 1 << 20;

#[test]
fn the_limit_holds_of_what_is_set_aside_and_that_is_given_back() {
    const UPLOADS: usize = 40;
    for (limit, some) in [(100 * MIB as u64, false), (4096 * MIB as u64, true)] {
        let Some(root) = root_that_sets_aside() else { return };
        let options = StoreOptions { max_staged: limit, durability: Durability::None, ..options(root.path()) };
        let side = Side::open(&options, 1, None);
        let held: Vec<_> = (0..UPLOADS)
            .map(|number| {
                let as_id = format!("up{number}");
                let Ok(Resumed::Going(held)) = side.client().resume(&id(&as_id), &name(&as_id), 1 << 30) else {
                    panic!("no GO")
                };
                side.client().write_on(held, &bytes(1, MIB)).expect("there is room for 1 MiB")
            })
            .collect();
        let corner = root.path().join(".ferry");
        let all = taken(&corner);
        assert!(!some || all > (UPLOADS + 2) as u64 * MIB as u64, "nothing was set aside");
        // The marks don't count, nor what the file system needs to find blocks.
        assert!(all <= limit + UPLOADS as u64 * (16 << 10), "{all} bytes are taken under a limit of {limit}");
        for held in held {
            side.client().cut(held, Some(&[7; 100]));
        }
        let rest = taken(&corner);
        assert!(rest <= (UPLOADS + 2) as u64 * MIB as u64, "{rest} bytes are taken of 40 MiB that are kept");
        let more = side.client().put(&name("y"), body(&bytes(2, 20 * MIB)));
        assert!(more.is_ok(), "there is room again: {more:?}");
    }
}

#[test]
fn what_a_killed_server_had_set_aside_is_given_back() {
    let Some(root) = root_that_sets_aside() else { return };
    let options = StoreOptions { max_staged: u64::MAX, ..options(root.path()) };
    let side = Side::open(&options, 1, None);
    for as_id in ["resumed", "cleaned"] {
        let Ok(Resumed::Going(held)) = side.client().resume(&id(as_id), &name(as_id), 1 << 30) else { panic!("no GO") };
        let held = side.client().write_on(held, &bytes(1, MIB)).expect("a MiB");
        let held = side.client().checkpoint(held).expect("a checkpoint");
        // Behind the checkpoint: nobody can tell what it is worth.
        drop(side.client().write_on(held, &bytes(2, MIB)).expect("a MiB more"));
    }
    drop(side);
    let of =
        |as_id: &str| root.path().join(format!(".ferry/kept/{as_id}.data")).metadata().expect("data").blocks() * 512;
    assert!(of("resumed") > 60 * MIB as u64, "nothing was set aside");
    let limited = StoreOptions { max_staged: 64 * MIB as u64, ..options };
    let mut side = Side::open(&limited, 2, None);
    let failure = side.put("x", &bytes(1, 10)).expect_err("blocks count, not sizes");
    assert_eq!(failure.code, Code::NoSpace);
    let Ok(Resumed::Going(held)) = side.client().resume(&id("resumed"), &name("resumed"), 1 << 30) else {
        panic!("no GO")
    };
    assert_eq!((held.digest.bytes(), of("resumed") / MIB as u64), (MIB as u64, 1));
    side.store.clean();
    assert_eq!(of("cleaned") / MIB as u64, 2, "what it holds, and no more");
    side.client().cut(held, None);
    side.put("x", &bytes(1, 10)).expect("there is room again");
}

#[test]
fn a_server_that_is_killed_among_several_machines_leaves_nothing_set_aside() {
    let Some(root) = root_that_sets_aside() else { return };
    let options = StoreOptions { max_staged: u64::MAX, ..options(root.path()) };
    let side = Side::open(&options, 1, Some(Arc::new(Intruder::of(true))));
    let Ok(Resumed::Going(held)) = side.client().resume(&id("up"), &name("up"), 1 << 30) else { panic!("no GO") };
    let held = side.client().write_on(held, &bytes(1, MIB)).expect("a MiB");
    drop(side.client().checkpoint(held).expect("a checkpoint"));
    drop(side);
    let kept = taken(&root.path().join(".ferry/kept"));
    // Nobody but who takes the upload over could give it back.
    assert!(kept < 2 * MIB as u64, "{kept} bytes are taken of 1 MiB that is kept");
}

fn body(bytes: &[u8]) -> Body<'_> {
    Body { bytes, chunk: 512 << 10, announced: true, settled: true }
}

#[test]
fn who_has_most_ids_gives_way_to_who_has_fewer() {
    let root = fresh_root();
    let options = StoreOptions { max_kept: 4, ..options(root.path()) };
    let owner = |name: &str| Owner::new(name).expect("an owner");
    let keep = |side: &Side, whose: &str, as_id: &str, bytes: &[u8]| {
        let resumed = side.client().resume_as(owner(whose), &id(as_id), &name(as_id), 100)?;
        let Resumed::Going(held) = resumed else { panic!("nothing was published") };
        side.client().cut(held, Some(bytes));
        Ok::<_, Failure>(())
    };
    let kept = || {
        let names = std::fs::read_dir(root.path().join(".ferry/kept")).expect("a directory");
        let names = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        let mut ids: Vec<_> = names.filter_map(|name| name.strip_suffix(".data").map(str::to_owned)).collect();
        ids.sort();
        ids
    };
    let side = Side::open(&options, 1, None);
    for as_id in ["a", "b", "c"] {
        keep(&side, "greedy", as_id, b"x").expect("a place");
    }
    keep(&side, "greedy", "d", &[7; 90]).expect("the last place");
    let failure = keep(&side, "greedy", "e", b"x").expect_err("who has all gets no more");
    assert_eq!(failure.code, Code::Busy);
    keep(&side, "modest", "m", b"x").expect("a place of whoever has most");
    assert_eq!(kept(), ["b", "c", "d", "m"], "the smallest and oldest gave way");
    drop(side);

    // The next server knows whose they are.
    let side = Side::open(&options, 2, None);
    assert_eq!(keep(&side, "greedy", "e", b"x").expect_err("who has most gets no more").code, Code::Busy);
    keep(&side, "modest", "n", b"x").expect("a place of whoever has most");
    assert_eq!(kept(), ["c", "d", "m", "n"]);
    assert_eq!(keep(&side, "modest", "o", b"x").expect_err("they have as many").code, Code::Busy);
    keep(&side, "third", "t", b"x").expect("a place of one of them");
    assert!(kept().contains(&"d".to_owned()) && kept().contains(&"t".to_owned()), "{:?}", kept());
}

/// Lets no upload be begun under an id.
#[derive(Debug)]
struct NoMarks;

impl Watcher for NoMarks {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        match call {
            Call::Open { path, create: true, .. } if path.ends_with(".mark") => Err(Errno::MFILE),
            _ => Ok(()),
        }
    }

    fn after(&self, _: &Call<'_>) {}
}

#[test]
fn an_id_that_could_not_be_noted_counts_for_nothing() {
    let root = fresh_root();
    let options = StoreOptions { max_kept: 1, ..options(root.path()) };
    let mut side = Side::open(&options, 1, Some(Arc::new(NoMarks)));
    for _ in 0..5 {
        let failure = side.resume().expect_err("no mark");
        assert!(failure.message.contains("files open"), "{failure}");
    }
}
