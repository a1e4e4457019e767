//! Starts that fail: one clear line, a status by kind, and nothing changed; and `ferryd check`, which says the same.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::SystemTime,
};

use ferry_e2e::{Options, Raw, Server, eventually, ferryd};

/// A directory with a configuration, in which servers that are not to start are started.
struct Ground {
    directory: tempfile::TempDir,
    program: PathBuf,
}

/// A user without rights: the tests may be run by root, who may do everything.
const NOBODY: u32 = 65_534;

impl Ground {
    fn new() -> Ground {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path(), 0o755);
        // The directory of the programs may be closed to others.
        let program = directory.path().join("ferryd");
        fs::copy(ferryd(), &program).unwrap();
        let ground = Ground { directory, program };
        for (name, mode) in [("closed", 0o555), ("state", 0o777), ("work", 0o777), ("config", 0o755)] {
            fs::create_dir(ground.at(name)).unwrap();
            open(&ground.at(name), mode);
        }
        ground
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self, text: &str) {
        fs::write(self.at("config/ferryd.toml"), text).unwrap();
    }

    /// Runs the program as somebody without rights, behind what a shell is to do first.
    fn run(&self, first: &str, words: &str) -> Output {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{first} exec \"$0\" \"$@\"")])
            .arg(&self.program)
            .args(words.split_whitespace())
            .current_dir(self.at("work"))
            .env("CONFIGURATION_DIRECTORY", self.at("config"))
            .env("STATE_DIRECTORY", self.at("state"))
            .stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output().unwrap()
    }

    /// All that is there, with the times of its last change.
    fn snapshot(&self) -> BTreeMap<PathBuf, (u64, SystemTime)> {
        let mut all = BTreeMap::new();
        let mut directories = vec![self.directory.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                if metadata.is_dir() {
                    directories.push(path.clone());
                }
                all.insert(path, (metadata.len(), metadata.modified().unwrap()));
            }
        }
        all
    }
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_start_that_fails_says_one_line_has_a_status_by_kind_and_changes_nothing() {
    let ground = Ground::new();
    fs::write(ground.at("file"), b"").unwrap();
    fs::create_dir(ground.at("staged")).unwrap();
    open(&ground.at("staged"), 0o777);
    symlink("/", ground.at("staged/.ferry")).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let few = "ulimit -n 40;";
    for (first, config, words, status, told) in [
        ("", "", taken.as_str(), 5, vec![taken.as_str(), "in use"]),
        ("", "", "0 --metrics TAKEN", 5, vec!["--metrics", "in use"]),
        ("", "", "0 --root ../file", 6, vec!["../file", "no directory"]),
        ("", "", "0 --root ../closed", 6, vec!["../closed", "can't be written", "--read-only"]),
        ("", "", "0 --root ../closed/new", 6, vec!["../closed/new", "can't be written"]),
        ("", "", "0 --root ../staged", 6, vec![".ferry", "a symbolic link", "move it away"]),
        ("", "\nidle-timeot = 3\n", "0", 4, vec!["ferryd.toml:2: idle-timeot: ", "did you mean idle-timeout?"]),
        ("", "keep = \"5m\"\n", "0", 4, vec!["ferryd.toml:1: keep: ", "'m'", "did you mean min?"]),
        ("", "keep = \n", "0", 4, vec!["ferryd.toml:1: "]),
        ("", "a = 1\nb = 2\n", "0", 4, vec!["ferryd.toml:1: a: ", "(and 1 more: ferryd check)"]),
        ("export FERRYD_RATE=fast;", "", "0", 4, vec!["FERRYD_RATE=fast: give a size as 64MiB"]),
        ("", "", "0 --config ../none.toml", 4, vec!["none.toml", "No such file"]),
        (
            "",
            "",
            "0 --log-file ../closed/log",
            7,
            vec!["can't log to ../closed/log", "in ../closed: Permission denied"],
        ),
        (
            "",
            "",
            "0 --transfer-log ../closed/log",
            7,
            vec!["can't log to ../closed/log", "in ../closed: Permission denied"],
        ),
        ("", "", "0 --log-file ..", 7, vec!["can't log to ..: it is a directory"]),
        ("", "", "0 --tls --state ../closed/state", 7, vec!["can't make a key in ../closed/state"]),
        ("", "", "0 --tls-cert ../none --tls-key ../none", 4, vec!["../none", "No such file"]),
        ("", "", "0 --users ../file.toml", 4, vec!["../file.toml"]),
        (few, "", "0", 8, vec!["40 files", "ulimit -n", "64"]),
    ] {
        ground.config(config);
        let before = ground.snapshot();
        let words = words.replace("TAKEN", &taken);
        let output = ground.run(first, &words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{words}: {said}");
        assert!(said.starts_with("ferryd: ") && said.lines().count() == 1, "{words}: {said}");
        assert!(told.iter().all(|word| said.contains(word)), "{words}: {said}\n{told:?}");
        assert!(output.stdout.is_empty(), "{words}: {}", text(&output.stdout));
        assert_eq!(ground.snapshot(), before, "{words}");
        // What a start would say is said by a check, with the same status.
        let check = ground.run(first, &format!("check {words}"));
        assert_eq!(check.status.code(), Some(status), "check {words}: {}", text(&check.stderr));
        let all = text(&check.stderr);
        assert!(all.lines().any(|line| told.iter().take(1).all(|word| line.contains(word))), "check {words}: {all}");
        assert_eq!(ground.snapshot(), before, "check {words}");
    }
}

#[test]
fn a_check_tells_every_problem_and_what_holds_and_changes_nothing() {
    let ground = Ground::new();
    ground.config("rate = \"10MiB\"\nkep = 1\n");
    let before = ground.snapshot();
    let output =
        ground.run("export FERRYD_KEEP=1d;", "check --log-file ../closed/log --root ../closed --max-kept 5 0.0.0.0:0");
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "the first of them: {wrong}");
    assert_eq!(wrong.lines().count(), 2, "{wrong}");
    assert!(
        wrong.contains("kep: there is no such key; did you mean keep?") && wrong.contains("can't log to"),
        "{wrong}"
    );
    for (key, origin) in [
        ("rate = \"10MiB\" ", "config/ferryd.toml:1"),
        ("keep = \"1d\" ", "# FERRYD_KEEP"),
        ("max-kept = 5 ", "# command line"),
        ("idle-timeout = \"300s\" ", "# default"),
        ("# total-rate: no limit", ""),
    ] {
        assert!(said.lines().any(|line| line.starts_with(key) && line.ends_with(origin)), "{key}: {said}");
    }
    assert!(said.contains("ok: a key will be made in "), "{said}");
    assert!(said.contains("nothing can be changed"), "{said}");
    assert_eq!(ground.snapshot(), before);
}

#[test]
fn a_check_names_the_key_that_the_server_has() {
    let ground = Ground::new();
    let server = Options::new().arg("--tls").env("STATE_DIRECTORY", ground.at("state")).start();
    open(&ground.at("state/key.pem"), 0o600);
    let output = Command::new(ferryd())
        .args(["check", "--tls", "0"])
        .current_dir(ground.at("work"))
        .env("CONFIGURATION_DIRECTORY", ground.at("config"))
        .env("STATE_DIRECTORY", ground.at("state"))
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert!(said.contains(&format!("ok: the key is {}", server.fingerprint())), "{said}");
}

#[test]
fn a_check_names_the_paths_that_hold_where_none_is_set() {
    let ground = Ground::new();
    let check = || {
        let output = Command::new(ferryd())
            .args(["check", "7"])
            .current_dir(ground.at("work"))
            .env("CONFIGURATION_DIRECTORY", ground.at("config"))
            .env("STATE_DIRECTORY", ground.at("state"))
            .env("RUNTIME_DIRECTORY", ground.at("work"))
            .output()
            .unwrap();
        text(&output.stdout)
    };
    let [state, users, control] = ["state", "config/users.toml", "work/7.sock"].map(|name| ground.at(name));
    let said = check();
    for line in [
        format!("# state: {}", state.display()),
        format!("# users: {}, which is not there", users.display()),
        format!("# control: {}", control.display()),
    ] {
        assert!(said.lines().any(|said| said == line), "{line} is not in {said}");
    }
    fs::write(&users, "").unwrap();
    assert!(check().lines().any(|line| line == format!("# users: {}", users.display())));
}

#[test]
fn the_example_is_a_configuration_that_holds() {
    let ground = Ground::new();
    let example = text(&ground.run("", "check --example").stdout);
    let is_key =
        |line: &&str| line.strip_prefix('#').is_some_and(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let keys: String = example.lines().filter(is_key).map(|line| format!("{}\n", &line[1..])).collect();
    // The port may be somebody's.
    ground.config(
        &keys
            .replace("listen = \"127.0.0.1:12000\"", "listen = 0")
            .replace("root = \"./server\"", "root = \"../work\""),
    );
    let output = ground.run("", "check --metrics 127.0.0.1:0");
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    for page in ["ferryd", "ferryd.toml"] {
        let page = text(&ground.run("", &format!("man {page}")).stdout);
        assert!(page.contains(".TH ferryd") && page.contains("idle\\-timeout"), "{page}");
    }
}

#[test]
fn what_the_three_sources_say_holds_by_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("ferryd.toml");
    fs::write(&config, "max-upload = \"4B\"\nread-only = true\n").unwrap();
    let options = || Options::new().arg("--config").arg(&config);
    let takes = |server: &Server, bytes: &[u8]| {
        let answer = Raw::greeted(server.address()).put("a", bytes);
        answer.line.split(' ').take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(takes(&options().start(), b"12345"), "FAIL read-only", "the file alone");
    let environment = || options().env("FERRYD_READ_ONLY", "0");
    let server = environment().start();
    assert_eq!(takes(&server, b"12345"), "FAIL too-large", "the environment goes before it");
    let both = environment().env("FERRYD_MAX_UPLOAD", "5");
    assert!(takes(&both.clone().start(), b"12345").starts_with("SAVED"));
    assert_eq!(
        takes(&both.arg("--max-upload").arg("3").start(), b"1234"),
        "FAIL too-large",
        "the command line before both"
    );
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn a_file_of_users_beside_the_configuration_is_used() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ferryd.toml"), "").unwrap();
    fs::write(directory.path().join("users.toml"), "[users.alice]\n").unwrap();
    let server = Options::new().arg("--config").arg(directory.path().join("ferryd.toml")).start();
    Raw::greeted(server.address()).ask("LIST").expect_failure("denied");
    // The command edits the very file, wherever the configuration says that it is.
    let config = directory.path().join("ferryd.toml");
    let list = |config: &Path| Command::new(ferryd()).args(["user", "list", "--config"]).arg(config).output().unwrap();
    assert!(text(&list(&config).stdout).contains("alice: "));
    fs::write(&config, "users = \"others.toml\"\n").unwrap();
    fs::write(directory.path().join("others.toml"), "[users.bob]\n").unwrap();
    assert!(text(&list(&config).stdout).contains("bob: "));
    fs::write(&config, "usres = \"others.toml\"\n").unwrap();
    let refused = list(&config);
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("did you mean users?"), "{}", text(&refused.stderr));
    assert!(server.terminate().success());
    // A link that leads nowhere may lead to a disk that is not mounted yet: without it everybody might do everything.
    fs::write(&config, "").unwrap();
    fs::remove_file(directory.path().join("users.toml")).unwrap();
    symlink("nowhere", directory.path().join("users.toml")).unwrap();
    let start = || {
        let mut command = Command::new(ferryd());
        command.args(["0", "--config"]).arg(&config).arg("--root").arg(directory.path().join("root"));
        command.output().unwrap()
    };
    let refused = start();
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("users.toml: No such file"), "{}", text(&refused.stderr));
    fs::remove_file(&config).unwrap();
    symlink("nowhere", &config).unwrap();
    assert_eq!(start().status.code(), Some(4), "the configuration neither");
}

#[test]
fn the_configuration_says_where_the_running_server_is_and_a_check_knows_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("ferryd.toml");
    fs::write(&config, "control = \"control.sock\"\n").unwrap();
    let server = Options::new().arg("--config").arg(&config).arg("--metrics").arg("127.0.0.1:0").start();
    let figures = eventually("the log says where figures are", || {
        let log = server.log();
        Some(log.split_once("figures are at http://")?.1.split_once("/metrics")?.0.to_owned())
    });
    let run = |words: &[&str]| Command::new(ferryd()).args(words).arg("--config").arg(&config).output().unwrap();
    // Neither address nor socket is said again.
    fs::write(&config, "control = \"control.sock\"\nrate = \"5MiB\"\nwritable = true\n").unwrap();
    let reloaded = run(&["reload"]);
    let said = text(&reloaded.stdout);
    assert_eq!(reloaded.status.code(), Some(0), "{said}{}", text(&reloaded.stderr));
    assert!(said.contains("rate = \"5MiB\"") && said.contains("writable = true: that takes a new start"), "{said}");
    assert!(run(&["status"]).status.success());
    fs::write(&config, "control = \"control.sock\"\nrate = \"5M\"\n").unwrap();
    let refused = run(&["reload"]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("ferryd.toml:2: rate: \"5M\": there is no unit 'M'"), "{refused:?}");
    // Its own address is no obstacle, that of anybody else is.
    fs::write(&config, "control = \"control.sock\"\n").unwrap();
    let [port, root] = [server.address().port().to_string(), server.root().display().to_string()];
    let check = |words: &[&str]| run(&[&["check", "--root", &root], words].concat());
    let its_own = check(&[&port, "--metrics", &figures]);
    let said = text(&its_own.stdout);
    assert_eq!(its_own.status.code(), Some(0), "{said}{}", text(&its_own.stderr));
    assert_eq!(said.matches("is in use, by the server that runs").count(), 2, "{said}");
    let other = directory.path().join("other.sock");
    assert_eq!(check(&[&port, "--control", other.to_str().unwrap()]).status.code(), Some(5));
    let taken = check(&["0"]);
    assert_eq!(taken.status.code(), Some(7));
    assert!(text(&taken.stderr).contains("it is the control socket of a server that runs"), "{taken:?}");
}
