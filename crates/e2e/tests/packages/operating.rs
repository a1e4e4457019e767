//! docs/operating.md: every command on the page is run, in the order of the page, on one machine.
//!
//! The word behind `sh` says where a block runs:
//!
//! - ```` ```sh server ````: as root on the server, in the directory in which the packages lie;
//! - ```` ```sh client ````: as a user of another machine, by the same machine's other address;
//! - ```` ```sh elsewhere: REASON ````: not here, for that reason.

use std::fs;

use ferry_e2e::workspace_root;

use super::{debian::Packages, machine::Machine};

/// A fenced block of the page.
#[derive(Debug)]
struct Block {
    /// Where its first line stands, counted from 1.
    line: usize,
    /// The words behind the three ticks.
    kind: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let page = fs::read_to_string(workspace_root().join("docs/operating.md")).expect("docs/operating.md");
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), is_open) {
            (Some(kind), false) => {
                is_open = true;
                blocks.push(Block { line: index + 2, kind: kind.to_owned(), text: String::new() });
            }
            (Some(_), true) => is_open = false,
            (None, true) => blocks.last_mut().unwrap().text.extend([line, "\n"]),
            (None, false) => {}
        }
    }
    assert!(!is_open, "a block of docs/operating.md is not closed");
    blocks
}

#[test]
fn every_command_says_where_it_runs() {
    let mut runs = 0;
    for block in blocks().iter().filter(|block| block.kind.starts_with("sh")) {
        match &*block.kind {
            "sh server" | "sh client" => runs += 1,
            kind => {
                let why = kind.strip_prefix("sh elsewhere: ").unwrap_or_default();
                assert!(why.len() > 10, "docs/operating.md, line {}: {kind:?} is no place", block.line);
            }
        }
    }
    assert!(runs >= 14, "only {runs} blocks of docs/operating.md are run");
}

#[test]
fn every_command_of_the_page_works() {
    let Some([packages, next]) = Packages::built() else { return };
    let Some(machine) = Machine::boot(&["apt-get", "logrotate", "runuser", "curl"]) else { return };
    machine.run("mkdir -p next && useradd --create-home somebody && echo 'a report' >/home/somebody/report.txt");
    for (package, place) in [
        (&packages.ferryd, "/root/ferryd_1_amd64.deb"),
        (&packages.ferry, "/root/ferry_1_amd64.deb"),
        (&next.ferryd, "/root/next/ferryd_2_amd64.deb"),
        (&next.ferry, "/root/next/ferry_2_amd64.deb"),
    ] {
        machine.put(package, place);
    }
    for block in blocks() {
        let script = match &*block.kind {
            "sh server" => block.text,
            "sh client" => format!(
                "cd /home/somebody\ncat >block.sh <<'END OF BLOCK'\n{}END OF BLOCK\nrunuser -u somebody -- sh -eu block.sh",
                block.text
            ),
            _ => continue,
        };
        println!("docs/operating.md, line {}", block.line);
        machine.run(&script);
    }
}
