//! Debian's packages: built, installed, started, upgraded, removed.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use ferry_e2e::{ferryd, forget_this_package, plain_ferry, workspace_root};
use tempfile::TempDir;

use super::{MUST, find, machine::Machine, skip};

/// The packages of one version.
pub(crate) struct Packages {
    pub(crate) ferryd: PathBuf,
    pub(crate) ferry: PathBuf,
}

impl Packages {
    /// Returns the packages of this version and of the next one, of the programs as they are tested; [`None`], with a
    /// printed word, where nobody asks for them, since they take long, or there is no cargo-deb.
    pub(crate) fn built() -> Option<&'static [Packages; 2]> {
        static BUILT: OnceLock<(TempDir, [Packages; 2])> = OnceLock::new();
        if std::env::var_os(MUST).is_none() {
            skip(&format!("packages are built with {MUST}=1 alone"));
            return None;
        }
        if let Some(missing) = ["cargo-deb", "dpkg-deb", "bash"].into_iter().find(|program| find(program).is_none()) {
            skip(&format!("no {missing} here"));
            return None;
        }
        let (_, packages) = BUILT.get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            let packages = ["1", "2"].map(|revision| Packages::build(directory.path(), revision));
            (directory, packages)
        });
        Some(packages)
    }

    fn build(directory: &Path, revision: &str) -> Packages {
        // Built already, as the tests build them.
        let _ = (plain_ferry(), ferryd());
        let directory = directory.join(revision);
        std::fs::create_dir(&directory).unwrap();
        let mut command = Command::new(workspace_root().join("packaging/build-deb"));
        command.args(["--profile", if cfg!(debug_assertions) { "dev" } else { "release" }]);
        command.args(["--fast", "--strip", "--deb-revision", revision, "--output"]).arg(&directory);
        forget_this_package(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let built = |name: &str| {
            let files = std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path());
            let mut built = files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(name));
            built.next().unwrap_or_else(|| panic!("no package of {name}"))
        };
        Packages { ferryd: built("ferryd_"), ferry: built("ferry_") }
    }
}

#[test]
fn the_packages_hold_what_a_debian_expects() {
    let Some([packages, _]) = Packages::built() else { return };
    let listed = |package: &Path| {
        let output = Command::new("dpkg-deb").arg("--contents").arg(package).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let server = listed(&packages.ferryd);
    for path in [
        "usr/bin/ferryd",
        "usr/lib/systemd/system/ferryd.service",
        "usr/lib/systemd/system/ferryd.socket",
        "usr/lib/systemd/system/ferryd-http.socket",
        "usr/lib/sysusers.d/ferryd.conf",
        "usr/share/man/man8/ferryd.8.gz",
        "usr/share/man/man5/ferryd.toml.5.gz",
        "etc/ferryd/ferryd.toml",
        "etc/logrotate.d/ferryd",
        "etc/fail2ban/filter.d/ferryd.conf",
        "usr/share/bash-completion/completions/ferryd",
        "usr/share/zsh/vendor-completions/_ferryd",
        "usr/share/fish/vendor_completions.d/ferryd.fish",
        "usr/share/doc/ferryd/examples/ferryd.toml",
        "usr/share/doc/ferryd/operating.md",
        "usr/share/doc/ferryd/server.md",
        "usr/share/doc/ferryd/figures.md",
        "usr/share/doc/ferryd/http.md",
        "usr/share/doc/ferryd/tus.md",
        "usr/share/doc/ferryd/web.md",
        "usr/share/doc/ferryd/page-desktop.png",
        "usr/share/doc/ferryd/page-phone.png",
        "usr/share/doc/ferryd/examples/ferryd.rules.yml",
        "usr/share/doc/ferryd/examples/ferryd.json",
    ] {
        assert!(server.contains(&format!(" ./{path}\n")), "no {path} in\n{server}");
    }
    let client = listed(&packages.ferry);
    for path in [
        "usr/bin/ferry",
        "usr/share/man/man1/ferry.1.gz",
        "usr/share/bash-completion/completions/ferry",
        "usr/share/zsh/vendor-completions/_ferry",
        "usr/share/fish/vendor_completions.d/ferry.fish",
    ] {
        assert!(client.contains(&format!(" ./{path}\n")), "no {path} in\n{client}");
    }
}

#[test]
fn a_package_is_installed_started_upgraded_removed_and_purged() {
    let Some([packages, next]) = Packages::built() else { return };
    let Some(machine) = Machine::boot(&["dpkg", "curl"]) else { return };
    for (package, place) in
        [(&packages.ferryd, "/root/ferryd.deb"), (&packages.ferry, "/root/ferry.deb"), (&next.ferryd, "/root/next.deb")]
    {
        machine.put(package, place);
    }

    machine.run("dpkg --install ferryd.deb ferry.deb");
    machine.run("systemctl is-active ferryd");
    machine.run("systemctl is-enabled ferryd");
    // With its program and its user.
    machine.run("systemd-analyze verify --man=no ferryd.service ferryd.socket ferryd-http.socket");
    let user = machine.run("stat --format %U /proc/$(systemctl show --property MainPID --value ferryd)");
    assert_eq!(user.trim(), "ferryd");

    // Who has not logged in reads, and no more; who has a user, what that may.
    machine.run("echo hello >a.txt && ! ferry --dir /root put 12000 a.txt");
    let token = machine.run(
        "export CONFIGURATION_DIRECTORY=/etc/ferryd
         echo 'a long secret' | ferryd user add alice --rights rw >/dev/null
         ferryd user token alice",
    );
    machine.run("systemctl reload ferryd");
    let token = token.lines().find(|line| !line.contains(' ')).unwrap();
    machine.run(&format!("FERRY_SECRET={token} ferry --dir /root put alice@127.0.0.1:12000 a.txt"));
    machine.run("echo '# mine' >>/etc/ferryd/ferryd.toml");

    // A second socket is HTTP's by its name.
    machine.run("systemctl stop ferryd && systemctl enable --now ferryd-http.socket && systemctl start ferryd");
    assert_eq!(machine.run("curl --silent --fail http://127.0.0.1:8080/a.txt"), "hello\n");
    machine.run("systemctl disable --now ferryd-http.socket && systemctl restart ferryd");

    // An upgrade keeps what is the administrator's and the clients', and starts the new program.
    let before = machine.run("systemctl show --property MainPID --value ferryd");
    machine.run("dpkg --install next.deb");
    machine.run("systemctl is-active ferryd");
    assert_ne!(machine.run("systemctl show --property MainPID --value ferryd"), before);
    assert_eq!(machine.run("ferry get 12000 a.txt -o - --retry 5"), "hello\n");
    machine.run("grep --quiet '# mine' /etc/ferryd/ferryd.toml && grep --quiet alice /etc/ferryd/users.toml");
    machine.run("systemctl stop ferryd && dpkg --install next.deb && ! systemctl is-active ferryd");
    machine.run("systemctl start ferryd");

    machine.run("dpkg --remove ferryd && ! systemctl is-active ferryd");
    machine.run("test -e /etc/ferryd/ferryd.toml && test -e /etc/ferryd/users.toml && ! test -e /usr/bin/ferryd");
    machine.run("dpkg --purge ferryd");
    machine.run("! test -e /etc/ferryd && ! test -e /var/log/ferryd && ! dpkg --status ferryd 2>/dev/null");
    // That is for whoever owns it to delete.
    assert_eq!(machine.run("cat /var/lib/ferryd/files/a.txt && ls -A /var/lib/ferryd"), "hello\nfiles\n");
}
