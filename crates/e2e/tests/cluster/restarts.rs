//! Nodes that are restarted, or killed, one after the other, while `ferry` works through the balancer.

use std::{
    fs,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use ferry_e2e::{Random, eventually, ferry, random_bytes};
use rustix::process::Signal;

use super::{Cluster, in_cluster};

/// Rounds of kill -9, one node after the other: more by `FERRY_CLUSTER_ROUNDS`.
fn rounds() -> usize {
    std::env::var("FERRY_CLUSTER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

const NO_GREETING: &str = "it closes without a greeting";

fn run(cluster: &Cluster, words: &[&str]) -> Output {
    let mut command = Command::new(ferry());
    command.arg("--plain").arg("--dir").arg(cluster.dir.join("local")).env("HOME", &cluster.dir);
    command.arg(words[0]).arg(cluster.balancer.to_string()).args(&words[1..]).stdin(Stdio::null());
    command.output().unwrap()
}

/// Puts and gets files until it is told to stop; returns how many. Each transfer must succeed.
fn work(cluster: &Cluster, stop: &AtomicBool) -> usize {
    let local = cluster.dir.join("local");
    fs::create_dir_all(&local).unwrap();
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let bytes = random_bytes(done as u64, 100_000 + Random::new(done as u64).below(3_000_000) as usize);
        let name = format!("file-{}", done % 7);
        fs::write(local.join(&name), &bytes).unwrap();
        for verb in ["put", "get"] {
            // Whose node is killed before its greeting knows of no ferry server there yet, and does not try again.
            let greeted = |output: &Output| !String::from_utf8_lossy(&output.stderr).contains(NO_GREETING);
            let output = eventually("a greeting", || Some(run(cluster, &[verb, &name])).filter(greeted));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{verb} {name}, after {done}: {said}");
            assert_eq!(fs::read(local.join(&name)).unwrap(), bytes, "{verb} {name}");
            if verb == "put" {
                fs::remove_file(local.join(&name)).unwrap();
                fs::write(local.join(&name), b"").unwrap();
            }
        }
        done += 1;
    }
    done
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
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also where a disturbance fails: the scope waits for the worker.
        let _stop = Stop(&stop);
        let worker = scope.spawn(|| work(cluster, &stop));
        for round in 0..rounds {
            if worker.is_finished() {
                break;
            }
            disturb(&format!("node{}", 1 + round % 2));
            // The next one goes only when this one is back for the balancer.
            let address = cluster.nodes[round % 2];
            eventually("it answers", || (ferry_e2e::Raw::greeted(address).ask("HEALTH").line == "DONE").then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
        assert!(worker.join().unwrap() > 0, "no file was moved");
    });
}

#[test]
fn no_transfer_fails_while_nodes_are_restarted() {
    in_cluster("restarts::no_transfer_fails_while_nodes_are_restarted", |cluster| {
        while_files_move(cluster, 6, |part| {
            let (pid, command_line) = (cluster.pid(part), cluster.command_line(part));
            cluster.signal(part, Signal::TERM);
            Cluster::has_ended(pid);
            cluster.start_again(part, &command_line);
        });
    });
}

#[test]
fn no_transfer_fails_while_nodes_are_killed() {
    in_cluster("restarts::no_transfer_fails_while_nodes_are_killed", |cluster| {
        while_files_move(cluster, rounds(), |part| {
            let (pid, command_line) = (cluster.pid(part), cluster.command_line(part));
            cluster.signal(part, Signal::KILL);
            Cluster::has_ended(pid);
            cluster.start_again(part, &command_line);
        });
        let leftovers = || {
            let names = fs::read_dir(cluster.root(0).join(".ferry")).unwrap();
            names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("run-")).count()
        };
        eventually("directories of killed nodes are cleaned", || (leftovers() == 2).then_some(()));
    });
}
