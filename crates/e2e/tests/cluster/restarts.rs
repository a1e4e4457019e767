//! Nodes that are restarted, or killed, one after the other, while `ferry` works through the balancer.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use ferry_e2e::{Random, eventually, random_bytes};
use rustix::process::Signal;

use super::{Cluster, in_cluster};

/// Rounds of kill -9, one node after the other: more by `FERRY_CLUSTER_ROUNDS`.
fn rounds() -> usize {
    std::env::var("FERRY_CLUSTER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Puts and gets files until it is told to stop, and counts them. Each transfer must succeed.
fn work(cluster: &Cluster, stop: &AtomicBool, moved: &AtomicUsize) {
    let local = cluster.local();
    while !stop.load(Ordering::Relaxed) {
        let done = moved.load(Ordering::Relaxed);
        let bytes = random_bytes(done as u64, 100_000 + Random::new(done as u64).below(3_000_000) as usize);
        let name = format!("file-{}", done % 7);
        fs::write(local.join(&name), &bytes).unwrap();
        for verb in ["put", "get"] {
            let output = cluster.ferry(&[verb, &name]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{verb} {name}, after {done}: {said}");
            assert_eq!(fs::read(local.join(&name)).unwrap(), bytes, "{verb} {name}");
            if verb == "put" {
                fs::remove_file(local.join(&name)).unwrap();
                fs::write(local.join(&name), b"").unwrap();
            }
        }
        moved.store(done + 1, Ordering::Relaxed);
    }
}

/// Tells the worker to stop when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has `disturb` done to one node after the other while files are moved.
fn while_files_move(cluster: &Cluster, rounds: usize, disturb: impl Fn(&str)) {
    let (stop, moved) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // Also where a disturbance fails: the scope waits for the worker.
        let _stop = Stop(&stop);
        let worker = scope.spawn(|| work(cluster, &stop, &moved));
        for round in 0..rounds {
            if worker.is_finished() {
                break;
            }
            let before = moved.load(Ordering::Relaxed);
            disturb(&format!("node{}", 1 + round % 2));
            // The next one goes only when this one is back for the balancer.
            cluster.is_healthy(round % 2);
            // However slow the machine is, and however long the client waits by now: after both, a file is moved.
            if round % 2 == 1 {
                let is_moved = || worker.is_finished() || moved.load(Ordering::Relaxed) > before;
                eventually("a file is moved", || is_moved().then_some(()));
            }
        }
        stop.store(true, Ordering::Relaxed);
        worker.join().unwrap();
        let moved = moved.load(Ordering::Relaxed);
        assert!(moved > 0, "no file was moved");
        println!("cluster: {rounds} rounds, {moved} files put, got and compared");
    });
}

#[test]
fn no_transfer_fails_while_nodes_are_restarted() {
    in_cluster("restarts::no_transfer_fails_while_nodes_are_restarted", |cluster| {
        while_files_move(cluster, 6, |part| {
            let recipe = cluster.end(part, Signal::TERM);
            cluster.start_node(part, &recipe);
        });
    });
}

#[test]
fn no_transfer_fails_while_nodes_are_killed() {
    in_cluster("restarts::no_transfer_fails_while_nodes_are_killed", |cluster| {
        while_files_move(cluster, rounds(), |part| {
            let recipe = cluster.end(part, Signal::KILL);
            cluster.start_node(part, &recipe);
        });
        let leftovers = || {
            let names = fs::read_dir(cluster.root(0).join(".ferry")).unwrap();
            names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("run-")).count()
        };
        eventually("directories of killed nodes are cleaned", || (leftovers() == 2).then_some(()));
    });
}
