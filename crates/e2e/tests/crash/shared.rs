//! Two servers share one address and one root. One of them is killed with SIGKILL, again and again,
//! while the clients go on at the other one.

use std::{
    path::Path,
    sync::{atomic::AtomicBool, atomic::Ordering, mpsc},
    thread,
};

use ferry_e2e::{Options, Random, Server, Signal, eventually, seed};

use crate::{
    client::{Client, Counts},
    kills, no_mistakes, only_these, visible_runs,
};

/// Clients at work at the same time: each server should have some.
const CLIENTS: u64 = 6;

/// A server is killed after so many replies at most.
const REPLIES: u64 = 100;

fn start(root: &Path, address: &str) -> Server {
    Options::new().root(root).address(address).arg("--reuse-port").start()
}

#[test]
fn what_was_acknowledged_survives_the_death_of_one_of_two_servers() {
    let (kills, seed) = (kills(), seed());
    let mut random = Random::new(seed);
    let root = tempfile::tempdir().unwrap();
    let first = start(root.path(), "127.0.0.1:0");
    let address = first.address();
    let mut servers = [first, start(root.path(), &address.to_string())];
    let mut clients: Vec<Client> = (0..CLIENTS).map(|index| Client::new(index, random.number())).collect();
    let stop = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for client in &mut clients {
            let (tell, stop, root) = (tell.clone(), &stop, root.path());
            scope.spawn(move || client.work_at_any(address, root, stop, &tell));
        }
        drop(tell);
        for _ in 0..kills {
            for _ in 0..=random.below(REPLIES) {
                told.recv().expect("the clients work");
            }
            let dead = random.below(2) as usize;
            servers[dead].signal(Signal::KILL);
            servers[dead].wait();
            no_mistakes(&servers[dead]);
            servers[dead] = start(root.path(), &address.to_string());
        }
        stop.store(true, Ordering::Relaxed);
    });
    let mut names = Vec::new();
    for client in &mut clients {
        client.finish(address).expect("nobody kills these servers");
        names.extend(client.settle(root.path()).unwrap_or_else(|violation| panic!("at the end: {violation}")));
    }
    only_these(root.path(), names);
    eventually("what the dead servers left is cleaned away", || {
        (visible_runs(root.path()).len() == servers.len()).then_some(())
    });
    for server in servers {
        no_mistakes(&server);
        assert_eq!(server.terminate().code(), Some(0));
    }
    assert!(visible_runs(root.path()).is_empty(), "a server that ends leaves no directory of its own");
    let mut total = Counts::default();
    clients.iter().for_each(|client| total.add(&client.counts));
    println!("two servers, kills {kills}, clients {CLIENTS}, seed {seed}, violations 0: {total:?}");
    assert!(total.breaks >= kills / 2 && total.saved > 0 && total.resumed > 0, "the clients did little: {total:?}");
}
