//! Limits, where the other server changes what they are about.

use std::sync::Arc;

use ferry_server::store::{Call, StoreOptions, Watcher};
use ferry_wire::Code;
use rustix::io::Errno;

use crate::{
    acts::{CHUNK, ROOM_BYTES, Side, UPLOAD_BYTES, options, prepare},
    common::{
        client::{Resumed, id, name},
        dice::bytes,
        fresh_root,
    },
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
