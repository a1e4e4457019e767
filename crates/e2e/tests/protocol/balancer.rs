//! HAProxy before two servers, with the configuration that comes in the package: whose root is gone gets nobody, and the
//! servers know whom they serve.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
};

use ferry_e2e::{Options, Raw, Server, Socket, eventually, secure, workspace_root};

/// HAProxy, which ends with the test.
struct Balancer {
    child: Child,
    address: SocketAddr,
    _place: tempfile::TempDir,
}

impl Balancer {
    /// Starts it before `servers`; [`None`] where there is none on this machine.
    fn start(servers: &[Server; 2], tls: bool, version: &str) -> Option<Balancer> {
        if Command::new("haproxy").arg("-v").output().is_err() {
            eprintln!("skipped: there is no haproxy");
            return None;
        }
        let mut text = fs::read_to_string(workspace_root().join("packaging/cluster/haproxy.cfg")).unwrap();
        for (example, ours) in [
            ("bind :12000", "bind fd@0".to_owned()),
            ("10.0.0.1:12000", servers[0].address().to_string()),
            ("10.0.0.2:12000", servers[1].address().to_string()),
            ("send-proxy-v2", version.to_owned()),
            ("inter 2s", "inter 100ms".to_owned()),
            ("check-ssl verify none", if tls { "check-ssl verify none" } else { "" }.to_owned()),
            ("maxconn 20000", "maxconn 100".to_owned()),
        ] {
            assert!(text.contains(example), "{example:?} is not in the example");
            text = text
                .replace(&format!("{example}\n"), &format!("{ours}\n"))
                .replace(&format!("{example} "), &format!("{ours} "));
        }
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("haproxy.cfg");
        fs::write(&file, text).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stdin, quiet) = (Stdio::from(OwnedFd::from(listener)), Stdio::null);
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file).stdin(stdin).stdout(quiet()).stderr(quiet());
        Some(Balancer { child: command.spawn().unwrap(), address, _place: place })
    }

    /// Connects a client.
    fn connect(&self, tls: bool) -> Raw {
        let socket = Socket::connect_plain(self.address).unwrap();
        Raw::over(if tls { socket.by_tls() } else { socket })
    }

    /// Returns the node that greets a client by now.
    fn node(&self, tls: bool) -> String {
        let greeting = self.connect(tls).line();
        greeting.split(' ').find_map(|word| word.strip_prefix("node=")).unwrap_or(&greeting).to_owned()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the server `node` of `root`, which takes headers from this machine.
fn start(node: &str, root: &Path, tls: bool) -> Server {
    let options = Options::new().arg("--node").arg(node).arg("--proxy-from=127.0.0.1").root(root);
    options.arg(if tls { "--tls" } else { "--plain" }).start()
}

#[test]
fn whom_it_connects_is_in_the_log() {
    if secure::skips("it says itself what is spoken") {
        return;
    }
    for (tls, version) in [
        (false, "send-proxy"),
        (true, "send-proxy"),
        (false, "send-proxy-v2"),
        (true, "send-proxy-v2 proxy-v2-options crc32c"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let servers = ["a", "b"].map(|node| start(node, root.path(), tls));
        let Some(balancer) = Balancer::start(&servers, tls, version) else { return };
        let mut raw = balancer.connect(tls);
        let client = raw.stream().local_addr().unwrap();
        assert!(raw.line().starts_with("FERRY 1 "));
        assert_eq!(raw.put("a", b"hello").word(0), "SAVED");
        let line = format!("{client}: PUT a: ");
        eventually(&line, || servers.iter().any(|server| server.log().contains(&line)).then_some(()));
        // HAProxy looks after the servers all the time, by headers that are right.
        for server in &servers {
            assert!(!server.log().contains("header"), "{}", server.log());
        }
    }
}

#[test]
fn who_has_lost_its_root_gets_nobody() {
    if secure::skips("it says itself what is spoken") {
        return;
    }
    for tls in [false, true] {
        let roots = tempfile::tempdir().unwrap();
        let servers = ["a", "b"].map(|node| start(node, &roots.path().join(node), tls));
        let Some(balancer) = Balancer::start(&servers, tls, "send-proxy-v2") else { return };
        let first = balancer.node(tls);
        let other = if first == "a" { "b" } else { "a" };
        assert!(["a", "b"].contains(&&*first), "{first:?}");
        fs::remove_dir_all(roots.path().join(&first)).unwrap();
        eventually("clients come to the other server", || (balancer.node(tls) == other).then_some(()));
        fs::remove_dir_all(roots.path().join(other)).unwrap();
        for server in &servers {
            let socket = Socket::connect_plain(server.address()).unwrap();
            socket.stream().write_all(b"PROXY UNKNOWN\r\n").unwrap();
            let mut raw = Raw::over(if tls { socket.by_tls() } else { socket });
            assert!(raw.line().starts_with("FERRY 1"));
            raw.ask("HEALTH").expect_failure("io");
        }
    }
}
