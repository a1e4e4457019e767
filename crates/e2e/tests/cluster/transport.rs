//! Clients that speak TLS through HAProxy, which knows nothing of it.

use ferry_e2e::{Raw, crc, eventually, random_bytes};
use rustix::process::Signal;

use super::{Cluster, in_cluster_that_speaks};

const BYTES: usize = 1 << 20;

/// Returns the node that HAProxy gives to a new client, by its place among all.
fn chosen(cluster: &Cluster) -> Option<usize> {
    let greeting = Raw::connect(cluster.balancer).first_line()?;
    let name = greeting.split_whitespace().find_map(|word| word.strip_prefix("node=node"))?.to_owned();
    Some(name.parse::<usize>().unwrap() - 1)
}

#[test]
fn tls_goes_through_and_the_check_sees_a_dead_root() {
    in_cluster_that_speaks(true, "transport::tls_goes_through_and_the_check_sees_a_dead_root", |cluster| {
        let bytes = random_bytes(1, BYTES);
        std::fs::write(cluster.local().join("file"), &bytes).unwrap();
        let put = cluster.ferry(&["put", "file"]);
        assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
        for node in [0, 1] {
            assert!(cluster.node(node).ask("GET file").verified() == bytes);
        }
        std::fs::remove_file(cluster.local().join("file")).unwrap();
        let got = cluster.ferry(&["get", "file"]);
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
        assert!(std::fs::read(cluster.local().join("file")).unwrap() == bytes);

        // Begun through the balancer, at whichever node that chose.
        let first = eventually("HAProxy has a node", || chosen(cluster));
        let request = format!("RESUME by-tls {BYTES} - resumed");
        let mut raw = Raw::greeted(cluster.balancer);
        assert_eq!(raw.ask(&request).line, "GO 0");
        raw.send([format!("DATA {}\n", BYTES / 2).as_bytes(), &bytes[..BYTES / 2], b"STOP\n"].concat());
        raw.answer("RESUME").expect_failure("stopped");
        // When it goes on there, what was kept is on the file system.
        assert_eq!(raw.ask(&request).line, format!("GO {}", BYTES / 2));
        // Its mount dies: HEALTH, which HAProxy asks by TLS and behind a header of its own, tells.
        cluster.signal(&format!("mount{}", first + 1), Signal::KILL);
        eventually("clients come to the other node", || (chosen(cluster) == Some(1 - first)).then_some(()));
        let mut raw = Raw::greeted(cluster.balancer);
        assert_eq!(raw.ask(&request).line, format!("GO {}", BYTES / 2));
        raw.send([format!("DATA {}\n", BYTES / 2).as_bytes(), &bytes[BYTES / 2..]].concat());
        raw.send(format!("END {}\n", crc(&bytes)));
        assert!(raw.line().starts_with(&format!("SAVED {BYTES} {} ", crc(&bytes))));
        assert!(Raw::greeted(cluster.balancer).ask("GET resumed").verified() == bytes);
        // The header told of a client, and not of HAProxy.
        let log = std::fs::read_to_string(cluster.log(&format!("node{}", 2 - first))).unwrap();
        assert!(log.contains(": RESUME resumed: "), "{log}");
        assert!(!log.contains("header"), "{log}");
    });
}
