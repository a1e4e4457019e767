//! HAProxy before two servers, with the configuration that comes in the package: whose root is gone gets nobody.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
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
    fn start(servers: &[Server; 2], tls: bool) -> Option<Balancer> {
        if Command::new("haproxy").arg("-v").output().is_err() {
            eprintln!("skipped: there is no haproxy");
            return None;
        }
        let mut text = fs::read_to_string(workspace_root().join("packaging/cluster/haproxy.cfg")).unwrap();
        for (example, ours) in [
            ("bind :12000", "bind fd@0".to_owned()),
            ("10.0.0.1:12000", servers[0].address().to_string()),
            ("10.0.0.2:12000", servers[1].address().to_string()),
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

    /// Returns the node that greets a client by now.
    fn node(&self, tls: bool) -> String {
        let socket = Socket::connect_plain(self.address).unwrap();
        let greeting = Raw::over(if tls { socket.by_tls() } else { socket }).line();
        greeting.split(' ').find_map(|word| word.strip_prefix("node=")).unwrap_or(&greeting).to_owned()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_has_lost_its_root_gets_nobody() {
    if secure::skips("it says itself what is spoken") {
        return;
    }
    for tls in [false, true] {
        let roots = tempfile::tempdir().unwrap();
        let start = |node: &str| {
            let options = Options::new().arg("--node").arg(node).root(&roots.path().join(node));
            options.arg(if tls { "--tls" } else { "--plain" }).start()
        };
        let servers = [start("a"), start("b")];
        let Some(balancer) = Balancer::start(&servers, tls) else { return };
        let first = balancer.node(tls);
        let other = if first == "a" { "b" } else { "a" };
        assert!(["a", "b"].contains(&&*first), "{first:?}");
        fs::remove_dir_all(roots.path().join(&first)).unwrap();
        eventually("clients come to the other server", || (balancer.node(tls) == other).then_some(()));
        fs::remove_dir_all(roots.path().join(other)).unwrap();
        for server in &servers {
            let socket = Socket::connect_plain(server.address()).unwrap();
            let mut raw = Raw::over(if tls { socket.by_tls() } else { socket });
            assert!(raw.line().starts_with("FERRY 1"));
            raw.ask("HEALTH").expect_failure("io");
        }
    }
}
