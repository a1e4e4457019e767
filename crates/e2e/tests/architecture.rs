//! The rules of the architecture that a look at the sources can hold up.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use ferry_e2e::workspace_root;

/// What a room without IO, clock and threads never names.
const IMPURE: [&str; 10] = [
    "std::net",
    "std::fs",
    "std::io::stdout",
    "std::thread",
    "thread::spawn",
    "Instant::now",
    "SystemTime::now",
    "rustix",
    "mio::",
    "libc::",
];

#[test]
fn the_wire_does_no_io_and_reads_no_clock() {
    let mut forbidden = IMPURE.to_vec();
    // It has no business with the types either.
    forbidden.extend(["Instant", "SystemTime"]);
    check("crates/wire/src", &forbidden, &[]);
}

#[test]
fn the_session_is_a_pure_state_machine() {
    check("crates/server/src/protocol/ferry", &IMPURE, &[]);
}

#[test]
fn users_and_rights_are_pure_but_for_the_reading_of_their_file() {
    let mut forbidden = IMPURE.to_vec();
    forbidden.extend(["crate::", "std::env"]);
    check("crates/server/src/access", &forbidden, &["file.rs"]);
}

#[test]
fn the_store_alone_touches_the_file_system() {
    let forbidden = ["std::fs", "rustix::fs", "fs::File", "fs::read", "fs::write", "OpenOptions"];
    // The program makes its root and its log file before anybody connects, and reads the users file.
    check("crates/server/src", &forbidden, &["store", "main.rs", "config", "observe", "access"]);
}

#[test]
fn server_and_client_never_depend_on_each_other() {
    for (package, other) in [("server", "ferry-client"), ("client", "ferry-server"), ("shell", "ferry-server")] {
        let manifest = fs::read_to_string(workspace_root().join(format!("crates/{package}/Cargo.toml"))).unwrap();
        assert!(manifest.contains("ferry-wire"), "crates/{package} speaks the protocol");
        assert!(!manifest.contains(other), "crates/{package} must not depend on {other}");
    }
    let client = fs::read_to_string(workspace_root().join("crates/client/Cargo.toml")).unwrap();
    for of_the_shell in ["clap", "rustyline", "indicatif", "toml", "ferry-shell"] {
        assert!(!client.contains(of_the_shell), "who embeds the library must not pay for {of_the_shell}");
    }
    let wire = fs::read_to_string(workspace_root().join("crates/wire/Cargo.toml")).unwrap();
    for other in ["ferry-server", "ferry-client", "mio", "rustix"] {
        assert!(!wire.contains(other), "crates/wire must not depend on {other}");
    }
}

#[test]
fn the_wire_forbids_unsafe_code() {
    let wire = fs::read_to_string(workspace_root().join("crates/wire/src/lib.rs")).unwrap();
    assert!(wire.contains("#![forbid(unsafe_code)]"));
}

/// Panics if code beneath `directory`, but for what `excepted` names directly in it, names one of
/// `forbidden`. Comments and tests may.
fn check(directory: &str, forbidden: &[&str], excepted: &[&str]) {
    let top = workspace_root().join(directory);
    let files = sources(&top);
    let mut offences = Vec::new();
    for file in &files {
        let inner = file.strip_prefix(&top).unwrap();
        let room = inner.components().next().unwrap().as_os_str().to_str().unwrap();
        if excepted.contains(&room) {
            continue;
        }
        let text = fs::read_to_string(file).unwrap();
        for (index, line) in code(&text) {
            // It names no file: it moves a range of an open one to a socket.
            let line = line.replace("rustix::fs::sendfile", "");
            for word in forbidden {
                if line.contains(word) {
                    offences.push(format!("{directory}/{}:{}: {word}", inner.display(), index + 1));
                }
            }
        }
    }
    assert!(!files.is_empty(), "no sources in {directory}");
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// The Rust files beneath `directory` that are part of the program: not its tests.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "tests" || name == "testing" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The lines of `text` with their numbers, without comments and without the test module that ends a
/// file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().enumerate().map(|(index, line)| (index, line.split("//").next().unwrap_or_default()))
}

#[test]
fn code_is_told_from_comments_and_tests() {
    let text = "use a; // std::fs\n//! std::fs\n#[cfg(test)]\nuse b;\n#[cfg(test)]\nmod tests {\nuse std::fs; }\n";
    let lines: Vec<_> = code(text).map(|(_, line)| line.trim()).collect();
    assert_eq!(lines, ["use a;", "", "#[cfg(test)]", "use b;"]);
}
