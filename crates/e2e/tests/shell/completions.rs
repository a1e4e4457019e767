//! Completions in the shells of the system that they are made for, where those are installed.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ferry_e2e::{Options, Server, eventually, ferry};

use crate::{machine, strangers, terminal::Terminal};

/// Ctrl-U; Ctrl-C would be lost where the shell is still completing.
const CLEAR_LINE: &str = "\x15";

/// A directory with `README.txt`, and the completions of `shell` in it; [`None`] where it is not installed.
fn fixture(shell: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    match Command::new(shell).arg("--version").stdout(Stdio::null()).status() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: no {shell} is installed here");
            return None;
        }
        status => assert!(status.unwrap().success()),
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("README.txt"), "").unwrap();
    let script = directory.path().join("completions");
    fs::write(&script, machine::run(directory.path(), &["completions", shell]).out).unwrap();
    let parsed = Command::new(shell).arg("-n").arg(&script).output().unwrap();
    assert!(parsed.status.success() && parsed.stderr.is_empty(), "{}", String::from_utf8_lossy(&parsed.stderr));
    Some((directory, script))
}

/// A server with names of several kinds.
fn server() -> Server {
    let server = Options::new().arg("--tls").start();
    for name in ["poems/ozymandias.txt", "two words.txt", "two worlds.txt", ".hidden", "a:b.txt", "a:c.txt", "-dash"] {
        server.write(name, b"x");
    }
    server
}

/// Returns the names that could stand at the end of `line`; [`None`] where no name of a server belongs there.
fn names(directory: &Path, line: &str, environment: &[(&str, &str)]) -> Option<Vec<String>> {
    let mut command = machine::command(directory, &["complete-names", "--", line]);
    command.env("XDG_CACHE_HOME", directory.join("cache")).envs(environment.iter().copied());
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    match output.status.code() {
        Some(0) => Some(lines),
        status => {
            assert_eq!((status, lines), (Some(1), Vec::new()));
            None
        }
    }
}

/// Makes the server's key a known one.
fn trust(directory: &Path, server: &Server) {
    let port = server.address().port().to_string();
    let ran = machine::run(directory, &["--tls", "--accept-new", "ls", &port]);
    assert_eq!(ran.status, 0, "{}", ran.err);
}

#[test]
fn names_of_the_server_are_told_where_they_belong() {
    if ferry_e2e::secure::skips("keys are known here, and not told") {
        return;
    }
    let (server, directory) = (server(), tempfile::tempdir().unwrap());
    let here = directory.path();
    trust(here, &server);
    let port = server.address().port();
    let of = |line: &str| names(here, &format!("ferry --tls {}", line.replace("HOST", &port.to_string())), &[]);
    // Where the machine is busy, the time that a press of Tab may take can be too short.
    let comes_to = |line: &str, expected: Option<Vec<String>>| {
        eventually(line, || (of(line) == expected).then_some(()));
    };
    let all = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    comes_to("get HOST ", all(&["a:b.txt", "a:c.txt", "poems/", "two words.txt", "two worlds.txt"]));
    comes_to("get HOST poems/o", all(&["poems/ozymandias.txt"]));
    comes_to("rm -r HOST tw", all(&["two words.txt", "two worlds.txt"]));
    comes_to("get HOST 'two wor", all(&["two words.txt", "two worlds.txt"]));
    comes_to("get HOST two\\ words", all(&["two words.txt"]));
    comes_to("mv HOST a:b.txt po", all(&["poems/"]));
    comes_to("mkdir HOST ", all(&["poems/"]));
    comes_to("get HOST .", all(&[".hidden"]));
    comes_to("get HOST nothing/", all(&[]));
    comes_to("get HOST ../", all(&[]));
    comes_to("get HOST -- -", all(&["-dash"]));
    for line in ["get ", "get HOST -", "put HOST ", "get HOST a -o ", "health HOST ", "HOST ", "frob HOST a"] {
        assert_eq!(of(line), None, "{line}");
    }
    // They are remembered for a moment, for their owner alone.
    let cache = here.join("cache/ferry/names");
    assert!(fs::read_to_string(&cache).unwrap().contains("words.txt"));
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn a_press_of_tab_asks_nobody_trusts_nobody_and_waits_for_nobody() {
    if ferry_e2e::secure::skips("keys are known here, and not told") {
        return;
    }
    let (server, directory) = (server(), tempfile::tempdir().unwrap());
    let here = directory.path();
    let port = server.address().port();
    let line = |host: &str| format!("ferry --tls get {host} ");
    // A key that is not known, also where it would be taken without asking.
    let none = Some(Vec::new());
    assert_eq!(names(here, &line(&port.to_string()), &[]), none);
    assert_eq!(names(here, &format!("ferry --tls --accept-new get {port} "), &[]), none);
    assert!(!here.join("config/ferry/known_servers").exists());
    trust(here, &server);
    // A secret that nobody has given, and one that is of no use there.
    assert_eq!(names(here, &line(&format!("alice@{port}")), &[]), none);
    assert_eq!(names(here, &line(&format!("alice@{port}")), &[("FERRY_SECRET", "x")]), none);
    let bookmarks = format!("[bookmarks]\nhome = {{ address = '{port}', user = 'a', secret_command = 'touch ran' }}\n");
    fs::write(here.join("settings"), bookmarks).unwrap();
    assert_eq!(names(here, "ferry --tls --config settings get home ", &[]), none);
    assert!(!here.join("ran").exists());
    // Servers that say nothing, or are none.
    for port in [strangers::silent(), strangers::http(), strangers::port_of_nobody()] {
        assert_eq!(names(here, &format!("ferry --plain get {port} "), &[]), none);
    }
    assert_eq!(names(here, "ferry --config /no/such/file get 1 ", &[]), none);
    assert!(!here.join("cache").exists());
}

/// Names with all that a shell could take for something else, and one that breaks words, each as it is begun in a line.
fn strange_names() -> Vec<(String, String)> {
    let odd = |number: u32| format!("odd{number} $HOME `id` 'one' \"two\" a\\b;&|(x)<y>~!#*zebra{number}.txt");
    let colons = |number: u32| format!("t{number} two:a=zebra{number}.txt");
    [(odd(1), "odd1"), (odd(2), "'odd2"), (odd(3), "\"odd3"), (colons(4), "t4\\ tw"), (colons(5), "t5\\ two:a")]
        .map(|(name, begun)| (name, begun.to_owned()))
        .into()
}

/// A server that `directory` trusts, and the environment in which a shell finds the program there.
fn known_server(directory: &Path) -> (Server, Vec<(&'static str, String)>) {
    let server = server();
    for (name, begun) in strange_names() {
        server.write(&name, format!("the content of {begun}").as_bytes());
    }
    server.write("poems/nightingale.txt", b"x");
    trust(directory, &server);
    let path = format!("{}:{}", ferry().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let cache = directory.join("cache").to_str().unwrap().to_owned();
    let home = directory.to_str().unwrap().to_owned();
    (server, vec![("PATH", path), ("XDG_CACHE_HOME", cache), ("HOME", home.clone()), ("ZDOTDIR", home)])
}

/// Types lines with a Tab in them, and sees what they become and what comes of them.
fn complete_names(mut shell: Terminal, here: &Path, port: u16) {
    // A busy machine may need longer than a press of Tab may take: what is remembered takes no time.
    let tab = |shell: &mut Terminal, typed: &str, shown: &str| {
        let known = || names(here, typed, &[]).is_none_or(|names| !names.is_empty());
        eventually(typed, || known().then_some(()));
        shell.send(typed);
        shell.tab(shown);
    };
    for (typed, completed) in [
        ("ferry --tls get PORT po", "poems/"),
        ("ferry --tls get PORT poems/oz", "poems/ozymandias.txt"),
        ("ferry --tls cat 127.0.0.1:PORT poems/ni", "nightingale.txt"),
        ("ferry --tls rm PORT a:b", "a:b.txt"),
        // And all else as ever.
        ("ferry com", "completions"),
        ("ferry put PORT REA", "README.txt"),
    ] {
        tab(&mut shell, &typed.replace("PORT", &port.to_string()), completed);
        shell.send(CLEAR_LINE);
    }
    // A line that was completed means the file: unquoted, in quotes that are open, and behind what breaks words.
    for (name, begun) in strange_names() {
        let end = name.rsplit_once("zebra").map_or("", |(_, end)| end);
        tab(&mut shell, &format!("ferry --tls cat {port} {begun}"), &format!("zebra{end}"));
        shell.type_line("");
        shell.expect(&format!("the content of {begun}"));
    }
    shell.type_line("exit 0");
    assert_eq!(shell.end(), 0);
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn bash_completes_names_of_the_server() {
    if ferry_e2e::secure::skips("keys are known here, and not told") {
        return;
    }
    let Some((directory, _)) = fixture("bash") else { return };
    let here = directory.path();
    let (server, environment) = known_server(here);
    // Readline echoes only where the terminal did.
    let start = "stty echo; PS1='sh> '; bind 'set enable-bracketed-paste off'; source ./completions\n";
    fs::write(here.join("start"), start).unwrap();
    let arguments = ["--noprofile", "--rcfile", "start", "-i"];
    let mut bash = Terminal::run(Path::new("bash"), here, &arguments, &borrowed(&environment));
    bash.expect("sh> ");
    complete_names(bash, here, server.address().port());
}

#[test]
fn zsh_completes_names_of_the_server() {
    if ferry_e2e::secure::skips("keys are known here, and not told") {
        return;
    }
    let Some((directory, _)) = fixture("zsh") else { return };
    let here = directory.path();
    let (server, environment) = known_server(here);
    let start = "autoload -U compinit; compinit -u -D; bindkey -e; PS1='sh> '; source ./completions\n";
    fs::write(here.join(".zshrc"), start).unwrap();
    let mut zsh = Terminal::run(Path::new("zsh"), here, &["-d", "-i"], &borrowed(&environment));
    zsh.expect("sh> ");
    complete_names(zsh, here, server.address().port());
}

#[test]
fn fish_completes_names_of_the_server() {
    if ferry_e2e::secure::skips("keys are known here, and not told") {
        return;
    }
    let Some((directory, _)) = fixture("fish") else { return };
    let here = directory.path();
    let (server, environment) = known_server(here);
    // Where there is none, fish has all manuals of the machine be read meanwhile, by a program that holds the terminal.
    for data in [".local/share", "cache"] {
        fs::create_dir_all(here.join(data).join("fish/generated_completions")).unwrap();
    }
    let start = "function fish_prompt; echo -n 'sh> '; end; function fish_greeting; end; source ./completions";
    let arguments = ["--private", "-C", start];
    let mut fish = Terminal::run(Path::new("fish"), here, &arguments, &borrowed(&environment));
    fish.expect("sh> ");
    complete_names(fish, here, server.address().port());
}

#[test]
fn zsh_completes_subcommands_options_and_files() {
    let Some((directory, _)) = fixture("zsh") else { return };
    let start = "autoload -U compinit; compinit -u -D; bindkey -e; PS1='zsh> '; source ./completions\n";
    fs::write(directory.path().join(".zshrc"), start).unwrap();
    let here = directory.path().to_str().unwrap();
    let mut zsh = Terminal::run(Path::new("zsh"), directory.path(), &["-d", "-i"], &[("ZDOTDIR", here)]);
    zsh.expect("zsh> ");
    for (typed, completed) in [
        ("ferry com", "completions"),
        ("ferry completions el", "elvish"),
        ("ferry get 12000 --ke", "--keep-going"),
        ("ferry get 12000 a --re", "--recursive"),
        ("ferry -k sync 12000 --dr", "--dry-run"),
        ("ferry --log-level deb", "debug"),
        ("ferry put -k 12000 REA", "README.txt"),
    ] {
        zsh.send(typed);
        zsh.tab(completed);
        zsh.send(CLEAR_LINE);
    }
    zsh.type_line("exit 0");
    assert_eq!(zsh.end(), 0);
}

#[test]
fn fish_completes_subcommands_options_and_files() {
    let Some((directory, _)) = fixture("fish") else { return };
    let completed = |typed: &str| -> Vec<String> {
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", "source completions; complete --do-complete $argv[1]", typed]);
        let path = format!("{}:{}", ferry().parent().unwrap().display(), std::env::var("PATH").unwrap());
        fish.current_dir(directory.path()).env("HOME", directory.path()).env("PATH", path);
        let output = fish.output().unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && complaints.is_empty(), "{typed}: {complaints}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    };
    for (typed, expected) in [
        ("ferry com", &["completions"][..]),
        ("ferry completions ", &["bash", "elvish", "fish", "powershell", "zsh"]),
        ("ferry -k get 12000 --rec", &["--recursive"]),
        ("ferry --keep-going sync 12000 --dr", &["--dry-run"]),
        ("ferry --progress ", &["auto", "lines", "never"]),
        ("ferry put -k 12000 REA", &["README.txt"]),
        // Names of the server are not to be had here, and local files are none.
        ("ferry get 12000 ", &[]),
        ("ferry get 12000 a -o REA", &["README.txt"]),
    ] {
        let mut words = completed(typed);
        words.sort();
        assert_eq!(words, expected, "{typed}");
    }
}
