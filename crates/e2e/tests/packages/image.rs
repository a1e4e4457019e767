//! The static program, alone in a root that can't be written, as the user and in the environment of packaging/Dockerfile.
//!
//! No program that builds images is needed: what the image consists of is read from its description.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use ferry_e2e::{plain_ferry, random_bytes, workspace_root};
use rustix::process::geteuid;
use tempfile::TempDir;

use super::skip;

/// Names a static `ferryd` in the environment, as CI builds it.
const STATIC: &str = "FERRY_TEST_STATIC";

/// Nobody, as the image has it.
const NOBODY: u32 = 65534;

fn program() -> Option<PathBuf> {
    let named = env::var_os(STATIC).map(|path| workspace_root().join(path));
    if named.is_none() {
        eprintln!("skipped: {STATIC} names no static ferryd");
    }
    named
}

/// The words behind `keyword` in the image's description, a line each.
fn lines(keyword: &str) -> Vec<String> {
    let text = fs::read_to_string(workspace_root().join("packaging/Dockerfile")).unwrap();
    text.lines().filter_map(|line| line.strip_prefix(keyword)?.strip_prefix(' ')).map(str::to_owned).collect()
}

/// A server in a root of its own.
struct Contained {
    child: Child,
    address: String,
    files: PathBuf,
    client: PathBuf,
    _scratch: TempDir,
}

/// `run PROGRAM ROOT FILES STATE VARIABLES...`: what a container does, with what every machine has.
const CONTAIN: &str = r#"set -eu
program=$1 root=$2 files=$3 state=$4
shift 4
mount --make-rprivate /
mount -t tmpfs tmpfs "$root"
cp "$program" "$root/ferryd"
mkdir "$root/proc" "$root/files" "$root/state"
mount -t proc proc "$root/proc"
mount --bind "$files" "$root/files"
mount --bind "$state" "$root/state"
mount -o remount,ro "$root"
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" setpriv --no-new-privs chroot --userspec=65534:65534 --groups= "$root" /ferryd $OPTIONS
# This shell stays: a process that has become another user is not ended with the one that started it.
exit"#;

impl Contained {
    fn start(program: &Path, options: &str) -> Contained {
        let scratch = tempfile::tempdir().unwrap();
        let [root, files, state, client] = ["root", "files", "state", "client"].map(|name| {
            let path = scratch.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        });
        for place in [&files, &state] {
            std::os::unix::fs::chown(place, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut child = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", CONTAIN, "sh"])
            .args([program, &root, &files, &state])
            .args(lines("ENV"))
            // A port of the test's own.
            .arg("FERRYD_LISTEN=127.0.0.1:0")
            .env("OPTIONS", options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first_line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first_line).unwrap();
        let address = first_line.strip_prefix("listening on ").and_then(|rest| rest.split_once(", serving /files"));
        let (address, _) = address.unwrap_or_else(|| panic!("it says {first_line:?}"));
        Contained { child, address: address.to_owned(), files, client, _scratch: scratch }
    }

    fn ferry(&self, options: &[&str], command: &[&str]) -> Output {
        let output = Command::new(plain_ferry())
            .args(options)
            .arg("--dir")
            .arg(&self.client)
            .args(command)
            .env("XDG_CONFIG_HOME", &self.client)
            .env("XDG_STATE_HOME", &self.client)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        // The shell, the first process of its name space, ends with this one, and all in it with the shell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_static_program_serves_from_a_root_with_nothing_else_in_it() {
    let Some(program) = program() else { return };
    if !geteuid().is_root() {
        return skip("only root may mount");
    }
    assert_eq!(lines("USER"), [format!("{NOBODY}:{NOBODY}")]);
    for (speaks, options) in [("--plain", &[][..]), ("--tls", &["--tls", "--accept-new"])] {
        let server = Contained::start(&program, speaks);
        let bytes = random_bytes(1, 3 << 20);
        fs::write(server.client.join("a"), &bytes).unwrap();
        let address = &*server.address;
        server.ferry(options, &["put", address, "a"]);
        assert!(fs::read(server.files.join("a")).unwrap() == bytes);
        assert!(server.ferry(options, &["get", address, "a", "-o", "-"]).stdout == bytes);
        let owner = fs::metadata(server.files.join("a")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), NOBODY);
    }
}
