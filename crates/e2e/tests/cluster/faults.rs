//! Uploads that go on at another node, whatever became of the first.

use ferry_e2e::{Raw, crc, eventually, random_bytes};
use rustix::process::Signal;

use super::{Cluster, in_cluster};

/// Of an upload; the first half is sent to the first node.
const BYTES: usize = 4 << 20;

const BLOCK_BYTES: usize = 64 << 10;

/// A body of `bytes` without its END.
fn blocks(bytes: &[u8]) -> Vec<u8> {
    let block = |block: &[u8]| [format!("DATA {}\n", block.len()).as_bytes(), block].concat();
    bytes.chunks(BLOCK_BYTES).flat_map(block).collect()
}

fn request(id: &str) -> String {
    format!("RESUME {id} {BYTES} - upload-{id}")
}

/// Begins an upload at the first node, and sends its first half.
fn begin(cluster: &Cluster, id: &str, bytes: &[u8]) -> Raw {
    let mut first = cluster.node(0);
    assert_eq!(first.ask(&request(id)).line, "GO 0");
    first.send(blocks(&bytes[..BYTES / 2]));
    first
}

/// Goes on at a node, as soon as that takes it; returns from which byte on. Once more where the machine stood still for
/// longer than a lease lasts: then the others have taken that node for dead.
fn go_on(cluster: &Cluster, node: usize, id: &str, bytes: &[u8]) -> usize {
    let mut raw = cluster.node(node);
    let mut first = None;
    eventually("the node takes the upload", || {
        let answer = raw.ask(&request(id));
        let Some(offset) = answer.line.strip_prefix("GO ") else {
            answer.expect_failure("busy");
            return None;
        };
        let offset: usize = offset.parse().unwrap();
        first.get_or_insert(offset);
        raw.send(blocks(&bytes[offset..]));
        raw.send(format!("END {}\n", crc(bytes)));
        let saved = raw.answer("RESUME");
        if saved.line.starts_with(&format!("SAVED {BYTES} {} ", crc(bytes))) {
            return Some(());
        }
        saved.expect_failure("busy");
        None
    });
    first.unwrap()
}

fn is_there(cluster: &Cluster, node: usize, id: &str, bytes: &[u8]) {
    assert_eq!(cluster.node(node).ask(&format!("GET upload-{id}")).verified(), bytes);
}

#[test]
fn an_upload_of_a_killed_node_goes_on_at_the_other() {
    in_cluster("faults::an_upload_of_a_killed_node_goes_on_at_the_other", |cluster| {
        let bytes = random_bytes(1, BYTES);
        let mut first = begin(cluster, "killed", &bytes);
        // Cut, so that the half is kept; then begun again, so that the killed node holds it.
        first.cut();
        let mut first = cluster.node(0);
        let go = eventually("the first node takes it again", || {
            let line = first.ask(&request("killed")).line;
            line.strip_prefix("GO ").map(|offset| offset.parse::<usize>().unwrap())
        });
        let pid = cluster.pid("node1");
        cluster.signal("node1", Signal::KILL);
        Cluster::has_ended(pid);
        assert_eq!(go_on(cluster, 1, "killed", &bytes), go, "what was kept is gone on with");
        is_there(cluster, 1, "killed", &bytes);
    });
}

#[test]
fn a_node_that_comes_back_from_the_dead_touches_nothing() {
    in_cluster("faults::a_node_that_comes_back_from_the_dead_touches_nothing", |cluster| {
        let bytes = random_bytes(2, BYTES);
        let mut first = begin(cluster, "stopped", &bytes);
        cluster.stop("node1");
        go_on(cluster, 1, "stopped", &bytes);
        cluster.signal("node1", Signal::CONT);
        // It has bytes in its socket, and now the rest of another content.
        let other = random_bytes(3, BYTES / 2);
        first.send_what_it_takes(blocks(&other));
        first.send_what_it_takes(format!("END {}\n", crc(&[&bytes[..BYTES / 2], &other].concat())));
        let answer = first.line();
        // GlusterFS says no more than that the files are gone that the node had open.
        assert!(answer.starts_with("FAIL changed ") || answer.contains("has just given it up"), "{answer}");
        for node in [0, 1] {
            is_there(cluster, node, "stopped", &bytes);
        }
    });
}

#[test]
fn an_upload_of_a_node_whose_mount_died_goes_on_at_the_other() {
    in_cluster("faults::an_upload_of_a_node_whose_mount_died_goes_on_at_the_other", |cluster| {
        let bytes = random_bytes(4, BYTES);
        let _first = begin(cluster, "mount", &bytes);
        cluster.signal("mount1", Signal::KILL);
        go_on(cluster, 1, "mount", &bytes);
        is_there(cluster, 1, "mount", &bytes);
        let dead = cluster.node(0).ask("HEALTH").line;
        assert!(dead.starts_with("FAIL "), "the root of the first is gone: {dead}");
    });
}

#[test]
fn a_node_whose_mount_died_goes_on_when_it_is_mounted_again() {
    in_cluster("faults::a_node_whose_mount_died_goes_on_when_it_is_mounted_again", |cluster| {
        let bytes = random_bytes(6, BYTES);
        assert!(cluster.node(0).put("before", &bytes).line.starts_with("SAVED"));
        // Cut, so that the half is kept; then begun again, so that the node holds it.
        begin(cluster, "remounted", &bytes).cut();
        let mut held = cluster.node(0);
        eventually("the node takes it again", || held.ask(&request("remounted")).line.starts_with("GO ").then_some(()));
        let recipe = cluster.end("mount1", Signal::KILL);
        cluster.node(0).ask("HEALTH").expect_failure("busy");
        cluster.node(0).ask("GET before").expect_failure("busy");
        cluster.mount_again(0, &recipe);
        cluster.is_healthy(0);
        assert_eq!(cluster.node(0).ask("GET before").verified(), bytes);
        eventually("an upload is saved", || {
            let answer = cluster.node(0).put("after", &bytes);
            answer.line.starts_with("SAVED ").then_some(()).or_else(|| {
                answer.expect_failure("busy");
                None
            })
        });
        assert_eq!(cluster.node(1).ask("GET after").verified(), bytes);
        // The upload that it still holds is of the dead mount.
        held.cut();
        go_on(cluster, 0, "remounted", &bytes);
        is_there(cluster, 1, "remounted", &bytes);
    });
}

#[test]
fn one_chunk_server_may_be_killed() {
    in_cluster("faults::one_chunk_server_may_be_killed", |cluster| {
        let bytes = random_bytes(5, BYTES);
        assert!(cluster.node(0).put("before", &bytes).line.starts_with("SAVED"));
        cluster.signal("data1", Signal::KILL);
        assert_eq!(cluster.node(1).ask("GET before").verified(), bytes);
        assert!(cluster.node(0).put("after", &bytes).line.starts_with("SAVED"));
        assert_eq!(cluster.node(1).ask("GET after").verified(), bytes);
    });
}
