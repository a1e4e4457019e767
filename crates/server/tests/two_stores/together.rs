//! Servers of two machines that start together: either may stand still between any two of its system calls while the
//! other goes on. Both must come to serve, and neither touches what the other one has.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use ferry_server::store::{LeaseOptions, OpenError, Store, StoreOptions};

use crate::{
    common::{self, enough, fresh_root, is_full, none, places, show, tree},
    intruder::Intruder,
};

/// A start that is in doubt about another server watches it for a quarter of this.
const LIFETIME: Duration = Duration::from_millis(60);

/// The second server has looked twice at the first one's directory after so many calls; it looks some sixty times.
const LOOKS_CALLS: usize = 45;

fn open(root: &std::path::Path, machine: &str, intruder: Arc<Intruder>) -> Result<Store, OpenError> {
    let leasing = LeaseOptions { node: Some(machine.into()), lifetime: LIFETIME, machine: Some(machine.into()) };
    Store::open_watched(&StoreOptions { leasing, ..common::options(root) }, Some(intruder))
}

/// The second server starts before the `nth` call of the first one's start, stands still before its own `mth` call until
/// the first has started and cleaned up, and goes on. Says which of the two calls there were, and what was wrong.
fn run(nth: usize, mth: usize) -> ([bool; 2], Vec<String>) {
    let root = fresh_root();
    // Nobody is dead, however long this takes.
    let began = Instant::now();
    let [first, second] = [(), ()].map(|()| Arc::new(Intruder::of(true)));
    let (paused, has_paused) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let has_ended = paused.clone();
    second.arm_nth(mth, move || {
        let _ = paused.send(());
        let _ = may_go_on.recv();
    });
    let (path, watcher) = (root.path().to_owned(), second.clone());
    let (started, has_started) = mpsc::channel();
    let start_second = move || {
        let _ = started.send(thread::spawn(move || {
            let opened = open(&path, "second", watcher);
            let _ = has_ended.send(());
            opened
        }));
        let _ = has_paused.recv();
    };
    first.arm_nth(nth, start_second);
    let one = open(root.path(), "first", first.clone());
    let were = [first.disarm(), second.disarm()];
    let Ok(thread) = has_started.try_recv() else { return (were, Vec::new()) };
    if let Ok(store) = &one {
        store.clean_at(SystemTime::now(), began);
    }
    drop(go_on);
    let other = thread.join().expect("the second server's start");
    let mut found = Vec::new();
    let runs = tree::runs(root.path()).len();
    for (which, store) in [("first", &one), ("second", &other)] {
        match store {
            Err(error) => found.push(format!("the {which} does not start ({error})")),
            Ok(store) => store.leave(),
        }
    }
    if found.is_empty() && runs != 2 {
        found.push(format!("{runs} directories of two servers"));
    }
    let left = tree::runs(root.path());
    if !left.is_empty() {
        found.push(format!("left behind: {left:?}"));
    }
    (were, found)
}

#[test]
fn two_servers_that_start_together_both_serve() {
    let (mut runs, mut found) = (0, Vec::new());
    for nth in 0.. {
        let mut any = false;
        for mth in places(nth).take_while(|mth| *mth < LOOKS_CALLS || is_full()) {
            let ([first, second], here) = run(nth, mth);
            any |= first;
            if !first {
                break;
            }
            runs += 1;
            found.extend(here.into_iter().map(|what| format!("{what} [calls {nth}, {mth}]")));
            if !second {
                break;
            }
        }
        if !any {
            break;
        }
    }
    show(format_args!("starts together: runs {runs}, violations {}", found.len()));
    enough(runs, 500);
    none(&found);
}
