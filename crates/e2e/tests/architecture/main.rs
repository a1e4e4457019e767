//! The rules of the architecture that a look at the sources can hold up.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod imports;
mod rooms;
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    process::Command,
};

use ferry_e2e::workspace_root;

use crate::{rooms::Room, sources::Source};

/// Paths that a room without IO, clock and threads never names.
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

/// The rooms of `ferryd`. `main.rs` chooses between serving and the commands.
const SERVER: &[Room] = &[
    Room {
        name: "serve",
        modules: &["serve"],
        imports: &[
            "check",
            "config",
            "start",
            "control",
            "fence",
            "files",
            "runtime",
            "net",
            "access",
            "store",
            "operations",
            "observe",
        ],
    },
    Room {
        name: "config",
        modules: &["config"],
        imports: &[
            "commands",
            "access",
            "net",
            "observe",
            "runtime",
            "protocol",
            "store",
            "operations",
            "units",
            "files",
        ],
    },
    Room {
        name: "check",
        modules: &["check"],
        imports: &["config", "control", "access", "net", "observe", "store", "units", "files"],
    },
    Room { name: "commands", modules: &["commands"], imports: &["access", "control", "files"] },
    Room { name: "start", modules: &["start"], imports: &["control", "net"] },
    Room { name: "control", modules: &["control"], imports: &["net"] },
    Room {
        name: "runtime",
        modules: &["runtime"],
        imports: &[
            "net",
            "protocol",
            "store",
            "operations",
            "access",
            "observe",
            "bucket",
            "units",
            "system",
            "control",
        ],
    },
    Room { name: "net", modules: &["net"], imports: &["system", "files"] },
    Room { name: "protocol", modules: &["protocol"], imports: &["operations", "access", "units"] },
    Room { name: "access", modules: &["access"], imports: &["units", "files"] },
    Room { name: "store", modules: &["store"], imports: &["operations", "units", "system"] },
    // All that a protocol knows of the store.
    Room {
        name: "operations",
        modules: &["store::operation", "store::file_bytes", "store::owner", "store::error"],
        imports: &[],
    },
    Room { name: "observe", modules: &["observe"], imports: &["bucket", "units", "files"] },
    Room { name: "bucket", modules: &["bucket"], imports: &[] },
    Room { name: "units", modules: &["units"], imports: &[] },
    Room { name: "files", modules: &["files"], imports: &[] },
    Room { name: "fence", modules: &["fence"], imports: &[] },
    Room { name: "system", modules: &["sys"], imports: &[] },
];

/// The rooms of the library. Values are what every room may speak of: addresses, errors, options, trust, users.
const CLIENT: &[Room] = &[
    Room {
        name: "plan",
        modules: &["plan"],
        imports: &["client", "transfer", "trees", "choose", "conversation", "local", "values"],
    },
    Room {
        name: "client",
        modules: &["client"],
        imports: &["transfer", "trees", "connection", "conversation", "link", "values"],
    },
    // No byte is moved by it: it decides on names.
    Room { name: "choose", modules: &["choose"], imports: &["values"] },
    Room {
        name: "transfer",
        modules: &["transfer"],
        imports: &["connection", "conversation", "link", "local", "values"],
    },
    Room {
        name: "trees",
        modules: &["tree", "pattern"],
        imports: &["choose", "conversation", "link", "local", "values"],
    },
    Room { name: "connection", modules: &["connection"], imports: &["conversation", "link", "values"] },
    Room { name: "conversation", modules: &["conversation"], imports: &["link", "values"] },
    Room { name: "link", modules: &["link"], imports: &["values"] },
    Room { name: "local", modules: &["local"], imports: &["values"] },
    Room {
        name: "values",
        modules: &["address", "block", "checksum", "error", "login", "options", "random", "rate", "trace", "trust"],
        imports: &[],
    },
];

/// The rooms of `ferry`, the program. `main.rs` puts them together.
const SHELL: &[Room] = &[
    Room {
        name: "arguments",
        modules: &[
            "args",
            "choices",
            "completions",
            "examples",
            "given",
            "logging",
            "manual",
            "one_shot",
            "remote_names",
            "signals",
        ],
        imports: &["session", "completion", "command", "settings", "output", "trust", "words"],
    },
    Room { name: "session", modules: &["session", "input"], imports: &["command", "output", "trust", "words"] },
    Room {
        name: "completion",
        modules: &["completion", "terminal"],
        imports: &["command", "output", "settings", "words"],
    },
    Room { name: "command", modules: &["command"], imports: &["output", "trust", "words"] },
    Room {
        name: "settings",
        modules: &["config", "options", "paths"],
        imports: &["command", "output", "trust", "words"],
    },
    Room { name: "output", modules: &["output", "events", "exit", "progress", "figures", "safe"], imports: &[] },
    Room { name: "trust", modules: &["trust", "secrets", "question"], imports: &["output"] },
    Room { name: "words", modules: &["words", "units"], imports: &[] },
];

#[test]
fn the_wire_does_no_io_and_reads_no_clock() {
    let mut forbidden = IMPURE.to_vec();
    // It has no business with the types either.
    forbidden.extend(["Instant", "SystemTime"]);
    check("crates/wire/src", &forbidden, &[]);
}

#[test]
fn the_sessions_are_pure_state_machines() {
    check("crates/server/src/protocol", &IMPURE, &[]);
}

#[test]
fn the_conversation_is_a_pure_state_machine() {
    // These three wait for a server.
    check(
        "crates/client/src/conversation",
        &IMPURE,
        &["conversation/exchange", "conversation/alive", "conversation/greeting"],
    );
}

#[test]
fn who_moves_what_over_which_connection_is_decided_without_io_or_clock() {
    for file in ["adviser", "pieces", "tally"] {
        check(&format!("crates/client/src/transfer/{file}.rs"), &IMPURE, &[]);
    }
}

#[test]
fn users_and_rights_are_pure_but_for_the_reading_of_their_file() {
    let mut forbidden = IMPURE.to_vec();
    forbidden.extend(["crate::", "std::env"]);
    // The reader of users files reads sizes as the configuration does.
    check("crates/server/src/access", &forbidden, &["access/file", "access/parse"]);
    check("crates/server/src/access/parse.rs", &IMPURE, &[]);
    check("crates/server/src/units.rs", &IMPURE, &[]);
}

#[test]
fn the_store_alone_touches_the_file_system() {
    let forbidden = ["std::fs", "rustix::fs", "fs::File", "fs::read", "fs::write", "OpenOptions"];
    // The program looks at, and makes, its root, its key and its log file before anybody connects, and reads and edits the
    // users file.
    check(
        "crates/server/src",
        &forbidden,
        &["store", "files", "config", "check", "observe", "access/file", "commands", "control", "net/keys"],
    );
}

#[test]
fn the_store_speaks_of_files() {
    // Names, ids, tags, times and checksums are values that it shares with every protocol; messages are not.
    let messages = ["Reply", "Failure", "Code", "Request", "Refusal", "FileMeta", "EntryKind", "BodyLine", "Framer"];
    check("crates/server/src/store", &messages, &[]);
}

#[test]
fn the_rooms_of_the_server_import_in_one_direction() {
    rooms::check("crates/server", SERVER);
}

#[test]
fn the_rooms_of_the_client_import_in_one_direction() {
    rooms::check("crates/client", CLIENT);
}

#[test]
fn the_rooms_of_the_shell_import_in_one_direction() {
    rooms::check("crates/shell", SHELL);
}

#[test]
fn a_crate_depends_on_those_below_it_alone() {
    let speakers = ["ferry-server", "ferry-client", "ferry-shell"];
    for (package, foreign) in [
        ("ferry-wire", &["ferry-server", "ferry-client", "ferry-shell", "mio", "rustix", "libc"][..]),
        ("ferry-server", &["ferry-client", "ferry-shell", "rustyline", "indicatif"]),
        // An embedder pays for nothing of the program.
        ("ferry-client", &["ferry-server", "ferry-shell", "clap", "clap_builder", "rustyline", "indicatif", "toml"]),
        ("ferry-shell", &["ferry-server", "slab"]),
    ] {
        let tree = dependencies(package);
        assert!(!speakers.contains(&package) || tree.contains("ferry-wire"), "{package} speaks the protocol");
        for other in foreign {
            assert!(!tree.contains(*other), "{package} must not depend on {other}");
        }
    }
}

/// Returns the names of all packages that a user of `package` builds, by `cargo tree`.
fn dependencies(package: &str) -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.current_dir(workspace_root());
    tree.args(["tree", "--offline", "--locked", "--edges=normal", "--prefix=none", "--format={p}", "-p", package]);
    let output = tree.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn one_name_is_one_type() {
    for directory in ["crates/wire", "crates/server", "crates/client", "crates/shell"] {
        let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for source in Source::of_crate(directory) {
            for name in source.lines.iter().filter_map(|(_, line)| shared_type(line)) {
                types.entry(name.to_owned()).or_default().push(source.path.display().to_string());
            }
        }
        assert!(!types.is_empty(), "no types in {directory}");
        types.retain(|_, files| files.len() > 1);
        assert!(types.is_empty(), "{directory}: {types:#?}");
    }
}

/// Returns the name of the type or trait that `line` declares for the whole crate or for everybody.
fn shared_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let declaration = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) "))?;
    let kinds = ["struct ", "enum ", "union ", "trait ", "type "];
    let rest = kinds.iter().find_map(|kind| declaration.strip_prefix(kind))?;
    rest.split(|character: char| !character.is_alphanumeric() && character != '_').next()
}

#[test]
fn the_wire_forbids_unsafe_code() {
    let wire = fs::read_to_string(workspace_root().join("crates/wire/src/lib.rs")).unwrap();
    assert!(wire.contains("#![forbid(unsafe_code)]"));
}

/// Panics if code beneath `directory`, which is `src` of a crate or in it, names one of `forbidden`. Modules
/// that `excepted` names, and what is beneath them, may, as do comments and tests.
fn check(directory: &str, forbidden: &[&str], excepted: &[&str]) {
    let (package, beneath) = directory.split_once("/src").unwrap();
    let beneath = beneath.trim_start_matches('/');
    let mut offences = Vec::new();
    let mut looked_at = 0;
    for source in Source::of_crate(package) {
        let path = source.path.to_str().unwrap();
        let is_within = |room: &&str| source.path.starts_with(room) || path == format!("{room}.rs");
        if !source.path.starts_with(beneath) || excepted.iter().any(is_within) {
            continue;
        }
        looked_at += 1;
        for (number, line) in &source.lines {
            // It names no file: it moves a range of an open one to a socket.
            let line = line.replace("rustix::fs::sendfile", "");
            for word in forbidden {
                if line.contains(word) {
                    offences.push(format!("{package}/src/{path}:{number}: {word}"));
                }
            }
        }
    }
    assert!(looked_at > 0, "no sources in {directory}");
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}
