//! A server that is killed between any two of its system calls while it takes an upload over, holds it or ends it. A
//! server of another machine goes on with what there is.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ferry_server::store::{Call, StoreLimits, Watcher};
use ferry_wire::{Crc32, Reply};
use rustix::io::Errno;

use crate::{
    common::{self, enough, fresh_root, none, places, show, tree::Tree},
    stopped::{self, Act, Begin, LIFETIME, NAME, Sender, to_the_end},
};

/// A file system whose locks may be of one machine alone, below a server that is killed.
#[derive(Debug)]
struct Mortal {
    /// The calls that are left to it.
    left: AtomicUsize,
}

impl Watcher for Mortal {
    fn before(&self, call: &Call<'_>) -> Result<(), Errno> {
        let next = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(1) };
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_err() {
            return Err(Errno::IO);
        }
        match call {
            Call::FileSystem { .. } => Err(Errno::NOSYS),
            _ => Ok(()),
        }
    }

    fn after(&self, _: &Call<'_>) {}
}

/// One run; false where the act was over before it was killed.
fn run(begin: Begin, act: Act, expires: bool, calls: usize, found: &mut Vec<String>) -> bool {
    let root = fresh_root();
    begin(root.path());
    let mortal = Arc::new(Mortal { left: AtomicUsize::new(usize::MAX) });
    // Of the same machine as those at the beginning: it need not watch for long that they have ended.
    let mut dead = Sender::new(root.path(), stopped::watched(root.path(), "stopped", LIFETIME, mortal.clone()), 3);
    mortal.left.store(calls, Ordering::Relaxed);
    let _ = act(&mut dead);
    if mortal.left.load(Ordering::Relaxed) > 0 {
        return false;
    }
    let mut check = |what: String, holds: bool| {
        if !holds {
            found.push(what);
        }
    };
    let Sender { store, bytes, saved, .. } = dead;
    // Its locks go with it.
    drop(store);

    let mut taker = Sender::new(root.path(), stopped::server(root.path(), "taker", Duration::ZERO, None), 4);
    let ended = to_the_end(&mut taker);
    check(format!("the taker failed: {ended:?}"), ended.is_ok());
    check("it was told GO after a SAVED".into(), saved.is_none() || !taker.went || expires);
    let there = Tree::read(root.path()).file(NAME).map(<[u8]>::to_vec);
    let wanted = if taker.went { &taker.bytes } else { &bytes };
    check("another file than was published".into(), there.as_deref() == Some(&wanted[..]));
    if let Some(Reply::Saved { crc, .. }) = &taker.saved {
        check("another file than was told".into(), there.as_deref().map(Crc32::of) == Some(*crc));
    }
    drop(taker);

    let next = stopped::server(root.path(), "next", Duration::ZERO, None);
    let keep = Duration::ZERO;
    next.set_limits(&StoreLimits {
        max_staged: common::ROOM_BYTES,
        max_kept: 1000,
        keep,
        crc_cache: 0,
        small_cache: 0,
    });
    next.clean();
    let names = |dir: &str| {
        let entries = fs::read_dir(root.path().join(".ferry").join(dir)).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name()).collect::<Vec<_>>()
    };
    check(format!("left: {:?}", names("kept")), names("kept").is_empty());
    check(format!("left: {:?}", names("")), names("").len() == 2);
    true
}

#[test]
fn an_upload_goes_on_wherever_its_server_was_killed() {
    let (mut runs, mut found) = (0, Vec::new());
    for (beginning, begin) in stopped::beginnings() {
        for (turn, (what, act)) in stopped::acts().into_iter().enumerate() {
            for calls in places(turn) {
                let mut here = Vec::new();
                if !run(begin, act, what == "expired", calls, &mut here) {
                    break;
                }
                runs += 1;
                found.extend(here.into_iter().map(|wrong| format!("{beginning}, {what}: {wrong} [call {calls}]")));
            }
        }
    }
    show(format_args!("killed holders: runs {runs}, violations {}", found.len()));
    enough(runs, 300);
    none(&found);
}
