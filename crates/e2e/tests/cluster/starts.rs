//! Nodes that start in any order: each cleans up after the dead, and none touches what another one stages.

use std::{collections::BTreeSet, fs};

use ferry_e2e::{Raw, crc, eventually, random_bytes};
use rustix::process::Signal;

use super::{Cluster, NODES, in_cluster};

/// Enough for several writes of the server, so that it has staged some while the rest has not come.
const BYTES: usize = 4 << 20;

/// An upload of which half has arrived.
struct Half {
    raw: Raw,
    name: String,
    bytes: Vec<u8>,
}

impl Half {
    /// Begins one at a node, by PUT or by RESUME, and waits until something of it is on the file system.
    fn begin(cluster: &Cluster, node: usize, resumable: bool, name: &str) -> Half {
        let before = staged(cluster);
        let (mut raw, bytes) = (cluster.node(node), random_bytes(node as u64, BYTES));
        if resumable {
            assert_eq!(raw.ask(&format!("RESUME {name} {BYTES} - {name}")).line, "GO 0");
        } else {
            raw.send(format!("PUT {BYTES} - {name}\n"));
        }
        for block in bytes[..BYTES / 2].chunks(64 << 10) {
            raw.send([format!("DATA {}\n", block.len()).as_bytes(), block].concat());
        }
        eventually("it is staged", || staged(cluster).difference(&before).next().cloned());
        Half { raw, name: name.to_owned(), bytes }
    }

    /// Sends the rest; it must be there for all, whole.
    fn end(mut self, cluster: &Cluster) {
        for block in self.bytes[BYTES / 2..].chunks(64 << 10) {
            self.raw.send([format!("DATA {}\n", block.len()).as_bytes(), block].concat());
        }
        self.raw.send(format!("END {}\n", crc(&self.bytes)));
        let saved = self.raw.line();
        assert!(saved.starts_with(&format!("SAVED {BYTES} {} ", crc(&self.bytes))), "{}: {saved}", self.name);
        for node in [0, 1] {
            assert!(cluster.node(node).ask(&format!("GET {}", self.name)).verified() == self.bytes, "{}", self.name);
        }
    }
}

/// Returns all files of uploads in the nodes' corner, without locks and journals.
fn staged(cluster: &Cluster) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let corner = cluster.root(0).join(".ferry");
    let names = |dir: &std::path::Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    for dir in names(&corner).iter().flat_map(|dir| names(dir).into_iter().chain([dir.clone()])) {
        let files = names(&dir).into_iter().map(|file| file.to_string_lossy().into_owned());
        found
            .extend(files.filter(|file| !file.ends_with("/lock") && !file.ends_with(".mark") && !file.ends_with(".d")));
    }
    found
}

/// Waits until all that run have looked for the dead, longer than a lease lasts: they have removed the directory of a
/// server that never lived, and would have removed all others that are as quiet.
fn all_have_cleaned(cluster: &Cluster) {
    let decoy = cluster.root(0).join(".ferry/run-00000000deadbeef");
    fs::create_dir(&decoy).unwrap();
    fs::write(decoy.join("lock"), "ferry-run nowhere nowhere nowhere 1\n").unwrap();
    fs::write(decoy.join("1"), "staged by nobody").unwrap();
    eventually("the dead are cleaned away", || (!decoy.exists()).then_some(()));
}

#[test]
fn the_second_may_start_before_the_first() {
    in_cluster("starts::the_second_may_start_before_the_first", |cluster| {
        let [first, second] = NODES.map(|part| cluster.end(part, Signal::TERM));
        cluster.start_node("node2", &second);
        let halves = [false, true].map(|resumable| Half::begin(cluster, 1, resumable, &format!("second-{resumable}")));
        cluster.start_node("node1", &first);
        let own = Half::begin(cluster, 0, false, "first");
        all_have_cleaned(cluster);
        halves.into_iter().chain([own]).for_each(|half| half.end(cluster));
    });
}

#[test]
fn both_may_start_at_once() {
    in_cluster("starts::both_may_start_at_once", |cluster| {
        for round in 0..3 {
            let recipes =
                NODES.map(|part| (part, cluster.end(part, if round == 1 { Signal::KILL } else { Signal::TERM })));
            for (part, recipe) in &recipes {
                cluster.start(part, recipe);
            }
            NODES.iter().for_each(|part| cluster.listens(part));
            let halves = [0, 1].map(|node| {
                [false, true]
                    .map(|resumable| Half::begin(cluster, node, resumable, &format!("{round}-{node}-{resumable}")))
            });
            all_have_cleaned(cluster);
            halves.into_iter().flatten().for_each(|half| half.end(cluster));
        }
    });
}

#[test]
fn one_is_started_again_while_the_other_stages() {
    in_cluster("starts::one_is_started_again_while_the_other_stages", |cluster| {
        for (node, other) in [(0, "node2"), (1, "node1")] {
            let halves =
                [false, true].map(|resumable| Half::begin(cluster, node, resumable, &format!("{node}-{resumable}")));
            for signal in [Signal::KILL, Signal::TERM] {
                let recipe = cluster.end(other, signal);
                cluster.start_node(other, &recipe);
                all_have_cleaned(cluster);
            }
            halves.into_iter().for_each(|half| half.end(cluster));
        }
    });
}
