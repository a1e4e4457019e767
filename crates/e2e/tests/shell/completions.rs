//! Completions in the shells of the system that they are made for, where those are installed.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{machine, terminal::Terminal};

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
        let output = fish.current_dir(directory.path()).env("HOME", directory.path()).output().unwrap();
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
