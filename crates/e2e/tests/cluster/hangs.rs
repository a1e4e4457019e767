//! Parts of the file system that stop or die under load: clear answers, nothing that hangs, and all goes on after.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use ferry_e2e::{Raw, body, crc, eventually, random_bytes};
use rustix::process::Signal;

use super::{Cluster, in_cluster, is_engine};

const BYTES: usize = 1 << 20;

/// How long a node waits for its file system in these tests.
const JOB_TIMEOUT: [&str; 2] = ["--job-timeout", "2s"];

/// Failures of a file system that may be had again: nothing else may be the answer of one that does not answer.
#[track_caller]
fn expect_retryable(answer: &ferry_e2e::Answer) {
    assert!(matches!(answer.code(), Some("busy" | "io")), "{:?} {:?}", answer.line, answer.closing);
}

/// Whether names can be had, and changed, without the servers that have the bytes: GlusterFS has both in one place, and
/// the names of CephFS are objects as all else.
fn names_lie_apart() -> bool {
    is_engine("moosefs")
}

/// Looks that the first node answers at all, and well where names can be had without bytes.
#[track_caller]
fn expect_health(cluster: &Cluster) {
    if names_lie_apart() {
        return cluster.is_healthy(0);
    }
    let answer = cluster.node(0).ask("HEALTH");
    if answer.line != "DONE" {
        expect_retryable(&answer);
    }
}

/// Returns the content of the file `name` in these tests.
fn content(name: &str) -> Vec<u8> {
    random_bytes(u64::from(crc32fast::hash(name.as_bytes())), BYTES)
}

fn put(cluster: &Cluster, node: usize, name: &str) {
    let answer = cluster.node(node).put(name, &content(name));
    assert!(answer.line.starts_with("SAVED "), "{name}: {}", answer.line);
}

#[test]
fn both_chunk_servers_may_be_killed() {
    in_cluster("hangs::both_chunk_servers_may_be_killed", |cluster| {
        cluster.start_nodes_with(&JOB_TIMEOUT);
        for name in ["before-0", "before-1"] {
            put(cluster, 0, name);
        }
        let recipes = ["data1", "data2"].map(|part| (part, cluster.end(part, Signal::KILL)));

        // No node has these bytes in memory but the first, perhaps: the second one must ask.
        let mut asked = cluster.node(1);
        expect_retryable(&asked.ask("GET before-0"));
        expect_retryable(&asked.ask("SUM before-1"));
        // Whoever has the names still answers all that writes no byte.
        for node in [0, 1].into_iter().filter(|_| names_lie_apart()) {
            let mut raw = cluster.node(node);
            cluster.is_healthy(node);
            for request in [format!("MKDIR made-{node}"), format!("DELETE made-{node}")] {
                assert_eq!(raw.ask(&request).line, "DONE", "{request}");
            }
            assert!(raw.ask("STAT before-0").line.starts_with("FILE "));
        }
        // No upload is SAVED, and none waits for ever.
        let mut waiting = [0, 1].map(|node| {
            let (mut raw, name) = (cluster.node(node), format!("meanwhile-{node}"));
            raw.send(format!("PUT {BYTES} - {name}\n"));
            raw.send_what_it_takes(body(&content(&name), 64 << 10));
            raw
        });
        for raw in &mut waiting {
            expect_retryable(&raw.answer("PUT"));
        }
        expect_health(cluster);

        for (part, recipe) in &recipes {
            cluster.start(part, recipe);
        }
        for node in [0, 1] {
            let name = format!("meanwhile-{node}");
            eventually("uploads go on", || {
                let answer = cluster.node(node).put(&name, &content(&name));
                answer.line.starts_with("SAVED ").then_some(()).or_else(|| {
                    expect_retryable(&answer);
                    None
                })
            });
        }
        for name in ["before-0", "before-1", "meanwhile-0", "meanwhile-1"] {
            for node in [0, 1] {
                let got = eventually("downloads go on", || {
                    let answer = cluster.node(node).ask(&format!("GET {name}"));
                    let is_whole = answer.closing.as_ref().is_some_and(|closing| closing.starts_with("END "));
                    is_whole.then_some(answer)
                });
                assert!(got.verified() == content(name), "{name} at node {node}");
            }
        }
    });
}

/// Puts and gets at a node until it is told to stop, and counts.
fn work(cluster: &Cluster, node: usize, worker: usize, stop: &AtomicBool, done: &AtomicUsize) {
    let mut raw = cluster.node(node);
    while !stop.load(Ordering::Relaxed) {
        let name = format!("load-{node}-{worker}-{}", done.load(Ordering::Relaxed) % 5);
        let bytes = content(&name);
        let saved = raw.put(&name, &bytes);
        assert!(saved.line.starts_with("SAVED "), "{name}: {}", saved.line);
        assert!(raw.ask(&format!("GET {name}")).verified() == bytes, "{name}");
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sets it when it goes, however.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_mount_that_stops_disturbs_nobody_at_the_other_node() {
    in_cluster("hangs::a_mount_that_stops_disturbs_nobody_at_the_other_node", |cluster| {
        cluster.start_nodes_with(&JOB_TIMEOUT);
        put(cluster, 1, "there");
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let _stop = SetAtEnd(&stop);
            for worker in 0..2 {
                let (stop, done) = (&stop, &done);
                scope.spawn(move || work(cluster, 1, worker, stop, done));
            }
            let moved = |more: usize| {
                let before = done.load(Ordering::Relaxed);
                eventually("the other node works on", || (done.load(Ordering::Relaxed) >= before + more).then_some(()));
            };
            moved(5);
            // Half of an upload is at the first node, and clients stand there.
            let bytes = content("half");
            let mut half = cluster.node(0);
            half.send(format!("PUT {BYTES} - half\nDATA {}\n", BYTES / 2));
            half.send(&bytes[..BYTES / 2]);
            let mut clients: Vec<Raw> = (0..4).map(|_| cluster.node(0)).collect();
            cluster.stop("mount1");
            for (client, request) in clients.iter_mut().zip(["GET there", "LIST", "SUM there", "HEALTH"]) {
                client.send(format!("{request}\n"));
            }
            moved(20);
            for (client, request) in clients.iter_mut().zip(["GET", "LIST", "SUM", "HEALTH"]) {
                client.answer(request).expect_failure("busy");
            }
            // Longer than a lease, so that the other node takes this one for dead.
            let corner = cluster.root(1).join(".ferry");
            let runs = || std::fs::read_dir(&corner).unwrap().flatten().filter(is_run).count();
            // The others let nobody look at what a client has that was stopped, GlusterFS for ever, CephFS until it has
            // evicted it.
            if is_engine("moosefs") {
                eventually("its directory is cleaned away", || (runs() == 1).then_some(()));
            }
            moved(5);
            cluster.signal("mount1", Signal::CONT);

            half.send(format!("DATA {}\n", BYTES / 2));
            half.send(&bytes[BYTES / 2..]);
            half.send(format!("END {}\n", crc(&bytes)));
            let answer = half.answer("PUT");
            let is_saved = answer.line.starts_with("SAVED ");
            assert!(is_saved || answer.line.starts_with("FAIL "), "{}", answer.line);
            for node in [0, 1] {
                cluster.is_healthy(node);
                let half = cluster.node(node).ask("GET half");
                match is_saved {
                    true => assert!(half.verified() == bytes),
                    false => half.expect_failure("not-found"),
                }
            }
            eventually("the node has a directory again", || (runs() == 2).then_some(()));
            put(cluster, 0, "after");
            clients.iter_mut().for_each(|client| assert!(client.ask("GET after").verified() == content("after")));
            assert!(cluster.node(1).ask("GET after").verified() == content("after"));
        });
        println!("cluster: {} files put and got at the other node meanwhile", done.load(Ordering::Relaxed));
        for name in (0..10).map(|index| format!("load-1-{}-{}", index / 5, index % 5)) {
            let [first, second] = [0, 1].map(|node| cluster.node(node).ask(&format!("GET {name}")));
            if second.code() != Some("not-found") {
                assert!(first.verified() == second.verified(), "{name}");
            }
        }
    });
}

fn is_run(entry: &std::fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with("run-")
}
