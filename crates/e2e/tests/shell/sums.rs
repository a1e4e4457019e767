//! SUM --sha256 and SUM --check, held against `sha256sum` and `cksum` of the system.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use ferry_e2e::random_bytes;

use crate::place::Place;

/// Runs a program of the system in `directory`.
fn system(directory: &Path, program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap()
}

/// Returns whether the system's `program` finds the files of `directory` as the file of checksums has them.
#[track_caller]
fn holds(directory: &Path, program: &str, sums: &str) {
    let checked = system(directory, program, &["--check", "--strict", sums]);
    assert!(checked.status.success(), "{program}: {checked:?}\n{}", fs::read_to_string(directory.join(sums)).unwrap());
}

/// Whether the system's cksum knows SHA-256 (coreutils 9).
fn cksum_knows_sha256(directory: &Path) -> bool {
    let knows = system(directory, "cksum", &["-a", "sha256", "/dev/null"]).status.success();
    if !knows {
        eprintln!("skipped: this cksum knows no SHA-256");
    }
    knows
}

/// Names that a file of checksums has to quote, or that look like a part of one.
const NAMES: [&str; 9] =
    ["a", "two  words", "back\\slash", "n\\n", "*star", "d/deep", "d/a) = b", "# note", "Gr\u{fc}\u{df}e \u{202e}x"];

/// A place with these files on the server, and the same ones in the local directory.
fn place() -> Place {
    let place = Place::new();
    for (length, name) in NAMES.into_iter().enumerate() {
        let bytes = random_bytes(length as u64, length * 30_000);
        place.server.write(name, &bytes);
        place.write(name, &bytes);
    }
    place
}

#[test]
fn lines_are_those_that_sha256sum_and_cksum_check() {
    let place = place();
    let here = place.local("");
    for (options, program) in [("--sha256 -r", "sha256sum"), ("--tag -r", "sha256sum"), ("--tag -r", "cksum")] {
        if program == "cksum" && !cksum_knows_sha256(&here) {
            continue;
        }
        let said = place.run(&format!("SUM {options} /")).fine();
        assert_eq!(said.lines().count(), NAMES.len(), "{said}");
        fs::write(place.local("SUMS"), &said).unwrap();
        holds(&here, program, "SUMS");
    }
    // Of single files, and as they are seen from a directory.
    let said = place.run("CD d; SUM --sha256 deep; SUM -s ../a").fine();
    let expected = system(&place.local("d"), "sha256sum", &["deep"]);
    assert_eq!(said.lines().next().unwrap(), String::from_utf8(expected.stdout).unwrap().trim_end());
    assert!(said.lines().nth(1).unwrap().ends_with("  /a"), "{said}");
    let event = place.run_with(&["--json"], "SUM --sha256 a", b"").fine();
    let event: serde_json::Value = serde_json::from_str(&event).unwrap();
    assert_eq!(event["sha256"], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn files_of_checksums_are_checked_there_and_here() {
    let place = place();
    let here = place.local("");
    // A name that no server takes: it is only here.
    fs::write(place.local("new\nline"), "x").unwrap();
    let mut programs = vec![("sha256sum", vec!["--"]), ("sha256sum", vec!["--tag", "--"])];
    if cksum_knows_sha256(&here) {
        programs.push(("cksum", vec!["-a", "sha256", "--"]));
    }
    for (program, mut arguments) in programs {
        arguments.extend(NAMES);
        let sums = system(&here, program, &arguments).stdout;
        fs::write(place.local("SUMS"), sums).unwrap();
        for command in ["SUM --check SUMS", "SUM --check SUMS --local"] {
            let said = place.run(command).fine();
            assert_eq!(said.lines().filter(|line| line.ends_with(": OK")).count(), NAMES.len(), "{said}");
        }
        arguments.push("new\nline");
        fs::write(place.local("SUMS"), system(&here, program, &arguments).stdout).unwrap();
        place.run("SUM -c SUMS -l").fine();
        let there = place.run("SUM -c SUMS");
        assert_eq!(there.status, 2, "{}", there.complaints);
        assert!(there.complaints.contains("control character"), "{}", there.complaints);
    }
    fs::write(place.local("SUMS"), system(&here, "sha256sum", &[&["--"], &NAMES[..]].concat()).stdout).unwrap();
    place.server.write("a", b"other");
    fs::write(place.local("*star"), "other").unwrap();
    let there = place.run("SUM --check SUMS");
    assert_eq!(there.status, 6, "{}", there.complaints);
    assert!(there.said.contains("a: FAILED\n") && there.said.contains("*star: OK\n"), "{}", there.said);
    let local = place.run("SUM --check SUMS --local");
    assert_eq!(local.status, 6, "{}", local.complaints);
    assert!(local.said.contains("a: OK\n") && local.said.contains("*star: FAILED\n"), "{}", local.said);
    assert!(local.complaints.contains("1 of 9 files differ"), "{}", local.complaints);
    // What is missing is told, and the others are looked at.
    fs::remove_file(place.local("a")).unwrap();
    fs::remove_file(place.server.path("d/deep")).unwrap();
    let local = place.run("SUM --check SUMS --local");
    assert_eq!(local.status, 5, "{}", local.complaints);
    assert!(local.complaints.contains("SUM a: cannot open") && local.said.contains("back\\slash: OK\n"));
    let there = place.run("SUM --check SUMS");
    assert!(there.complaints.contains("SUM d/deep: the server has no such file"), "{}", there.complaints);
    assert!(there.said.contains("back\\slash: OK\n"), "{}", there.said);
}

#[test]
fn bad_files_of_checksums_are_told_before_anything_is_checked() {
    let place = place();
    let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (text, complaint) in [
        (format!("{sum}  a\nwhat is this\n"), "line 2 is no line of sha256sum or cksum"),
        (format!("{sum}  a\n\nMD5 (a) = d41d8cd98f00b204e9800998ecf8427e\n"), "line 3 is of MD5, and only SHA-256"),
        (format!("\\{sum}  a\\t"), "line 1 has a backslash in its name that escapes nothing"),
        ("# nothing\n".to_owned(), "there is no checksum in it"),
        (String::new(), "there is no checksum in it"),
    ] {
        fs::write(place.local("SUMS"), text).unwrap();
        for command in ["SUM --check SUMS", "SUM --check SUMS --local"] {
            let ran = place.run(command);
            assert_eq!((ran.status, ran.said.as_str()), (5, ""), "{}", ran.complaints);
            assert!(ran.complaints.contains(complaint), "{}", ran.complaints);
        }
    }
    for (command, status, complaint) in [
        ("SUM --check nothing", 5, "cannot read"),
        ("SUM --check d", 5, "cannot read"),
        ("SUM --local a", 2, "do not go together"),
        ("SUM --check SUMS a", 2, "do not go together"),
        ("SUM --sha256", 2, "needs an argument"),
        ("SUM --sha256 nothing", 8, "no such file"),
        ("SUM --sha256 d", 4, "that is a directory"),
        ("SUM --sha256 -k nothing a", 8, "no such file"),
    ] {
        let ran = place.run(command);
        assert_eq!(ran.status, status, "{command}: {}", ran.complaints);
        assert!(ran.complaints.contains(complaint), "{command}: {}", ran.complaints);
    }
    assert_eq!(place.run("SUM --sha256 -k nothing a").said.lines().count(), 1, "the others are told");
}
