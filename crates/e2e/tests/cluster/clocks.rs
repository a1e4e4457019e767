//! A node whose clock is days ahead: nothing of others expires early.

use std::fs;

use ferry_e2e::{eventually, random_bytes};
use rustix::process::Signal;

use super::{Cluster, in_cluster};

/// More than the 72 hours for which uploads are kept.
const AHEAD: &str = "288000";

const BYTES: usize = 1 << 20;

/// Begins an upload at a node and cuts it in the middle, or holds it.
fn keep(cluster: &Cluster, node: usize, id: &str, bytes: &[u8]) -> ferry_e2e::Raw {
    let mut raw = cluster.node(node);
    assert_eq!(raw.ask(&format!("RESUME {id} {BYTES} - {id}")).line, "GO 0");
    raw.send([format!("DATA {}\n", BYTES / 2).as_bytes(), &bytes[..BYTES / 2]].concat());
    raw
}

/// Stops an upload in the middle.
fn interrupt(mut raw: ferry_e2e::Raw) {
    raw.send("STOP\n");
    raw.answer("RESUME").expect_failure("stopped");
}

#[test]
fn a_clock_that_is_ahead_expires_nothing() {
    in_cluster("clocks::a_clock_that_is_ahead_expires_nothing", |cluster| {
        let bytes = random_bytes(1, BYTES);
        // One that was let go by each, one that is held, and one that was published: its record is kept for an hour.
        interrupt(keep(cluster, 0, "of-first", &bytes));
        interrupt(keep(cluster, 1, "of-second", &bytes));
        let mut held = keep(cluster, 0, "held", &bytes);
        let mut published = cluster.node(0);
        let record = "RESUME published 1 - published";
        assert_eq!(published.ask(record).line, "GO 0");
        published.send(format!("DATA 1\nxEND {}\n", ferry_e2e::crc(b"x")));
        assert!(published.line().starts_with("SAVED 1 "));

        // The directory that a killed one leaves is cleaned away, so that a cleaning says what it did. With a long
        // lease the node does not look for such directories before.
        let recipe = cluster.end("node2", Signal::KILL).with_variable("FERRY_TEST_LEASE_SECONDS", "60");
        cluster.start_node("node2", &recipe.with_variable("FERRY_TEST_CLOCK_AHEAD_SECONDS", AHEAD));
        let cleaned = eventually("the node has cleaned up", || {
            let log = fs::read_to_string(cluster.log("node2")).unwrap();
            log.lines().find_map(|line| Some(line.split_once("cleaned up after ")?.1.to_owned()))
        });
        assert_eq!(cleaned, "1 ended server, and 0 uploads that nobody resumed");

        for (node, id) in [(1, "of-first"), (0, "of-second")] {
            let go = cluster.node(node).ask(&format!("RESUME {id} {BYTES} - {id}")).line;
            assert_eq!(go, format!("GO {}", BYTES / 2), "{id}");
        }
        assert!(cluster.node(1).ask(record).line.starts_with("SAVED 1 "));
        held.send([format!("DATA {}\n", BYTES / 2).as_bytes(), &bytes[BYTES / 2..]].concat());
        held.send(format!("END {}\n", ferry_e2e::crc(&bytes)));
        let saved = held.line();
        assert!(saved.starts_with(&format!("SAVED {BYTES} ")), "{saved}");
        assert!(cluster.node(1).ask("GET held").verified() == bytes);
    });
}

#[test]
fn soon_all_nodes_tell_one_tag_whatever_their_clocks_say() {
    in_cluster("clocks::soon_all_nodes_tell_one_tag_whatever_their_clocks_say", |cluster| {
        let recipe = cluster.end("node2", Signal::TERM).with_variable("FERRY_TEST_CLOCK_AHEAD_SECONDS", AHEAD);
        cluster.start_node("node2", &recipe);
        let mut nodes = [cluster.node(0), cluster.node(1)];
        let tag = |raw: &mut ferry_e2e::Raw, file: &str| raw.ask(&format!("STAT {file}")).word(3).to_owned();
        for (number, size) in [(0, 100), (1, BYTES)] {
            let file = format!("file-{number}");
            let bytes = random_bytes(number, size);
            nodes[1].send(format!("PUT {size} {} {file}\n", if number == 0 { "1700000000" } else { "-" }));
            nodes[1].send(ferry_e2e::body(&bytes, BYTES));
            let saved = nodes[1].answer("PUT");
            assert_eq!(saved.word(0), "SAVED");
            if number == 0 {
                let tags = [0, 1].map(|node| tag(&mut nodes[node], &file));
                assert_eq!(tags, [saved.word(3), saved.word(3)], "the client gave the file its time");
            }
            let lasting = eventually("its tag lasts", || {
                let tags = [0, 1].map(|node| tag(&mut nodes[node], &file));
                (tags[0] == tags[1]).then(|| tags[0].clone())
            });
            for raw in &mut nodes {
                assert!(raw.ask(&format!("READ 0 * {lasting} {file}")).verified() == bytes);
                assert_eq!(raw.ask(&format!("SUM {file}")).word(3), lasting);
            }
        }
    });
}
