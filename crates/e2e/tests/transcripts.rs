//! PROTOCOL.md is held against the real server: each of its transcripts is replayed to the byte, and
//! its client in Python is run.
// A test fails by panicking, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs::{self, File},
    process::Command,
    time::{Duration, SystemTime},
};

use ferry_e2e::{Options, Raw, Server, workspace_root};

#[test]
fn every_transcript_is_what_the_server_does() {
    replay_all(|raw, bytes| raw.send(bytes));
}

#[test]
fn every_transcript_holds_when_each_byte_comes_alone() {
    replay_all(|raw, bytes| raw.send_bytewise(bytes));
}

#[test]
fn the_client_in_python_runs() {
    if ferry_e2e::secure::skips("the client on the page speaks in the open") {
        return;
    }
    let programs = blocks("python");
    let [program] = programs.as_slice() else { panic!("{} programs in PROTOCOL.md", programs.len()) };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("client.py");
    fs::write(&path, &program.text).unwrap();
    let server = Server::start();
    let output = Command::new("python3")
        .arg(&path)
        .arg(server.address().port().to_string())
        .output()
        .expect("python3 runs: this test needs it installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "Hello from Python!\nBYE\n");
    assert_eq!(server.read("from python.txt"), b"Hello from Python!\n");
}

fn replay_all(send: fn(&mut Raw, &[u8])) {
    let transcripts = blocks("transcript");
    assert!(transcripts.len() >= 10, "only {} transcripts in PROTOCOL.md", transcripts.len());
    for transcript in transcripts {
        println!("PROTOCOL.md line {}", transcript.line);
        replay(&transcript, send);
    }
}

/// A fenced block of PROTOCOL.md.
struct Block {
    /// Where its first line stands, counted from 1.
    line: usize,
    text: String,
}

fn blocks(kind: &str) -> Vec<Block> {
    let page = fs::read_to_string(workspace_root().join("PROTOCOL.md")).expect("PROTOCOL.md");
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (index, line) in page.lines().enumerate() {
        if inside && line == "```" {
            inside = false;
        } else if inside {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        } else if line.strip_prefix("```") == Some(kind) {
            inside = true;
            blocks.push(Block { line: index + 2, text: String::new() });
        }
    }
    assert!(!inside, "a block of PROTOCOL.md is not closed");
    blocks
}

/// One line of a transcript.
enum Step {
    /// The client sends these bytes.
    Send(String),
    /// The server sends bytes of this pattern.
    Receive(String),
    /// The client shuts down its sending side.
    Finish,
    /// The server closes.
    Close,
    /// The client opens a new connection.
    Reconnect,
}

fn replay(transcript: &Block, send: fn(&mut Raw, &[u8])) {
    let server = Options::new().start();
    let mut raw = Raw::connect(server.address());
    let mut tag = String::new();
    let mut closed = false;
    // Lines of the client that stand together are one write: that is pipelining.
    let mut unsent: Vec<u8> = Vec::new();
    for (index, line) in transcript.text.lines().enumerate() {
        let place = format!("PROTOCOL.md line {}: {line}", transcript.line + index);
        let Some(step) = step(&server, line, &place) else { continue };
        if let Step::Send(text) = &step {
            unsent.extend(unescaped(&text.replace("{tag}", &tag)));
            continue;
        }
        if !unsent.is_empty() {
            send(&mut raw, &std::mem::take(&mut unsent));
        }
        match step {
            Step::Send(_) => {}
            Step::Receive(pattern) => receive(&mut raw, &pattern, &mut tag, &place),
            Step::Finish => raw.finish(),
            Step::Close => {
                let rest = raw.to_eof();
                assert!(rest.is_empty(), "{place}: before that, {:?}", String::from_utf8_lossy(&rest));
                closed = true;
            }
            Step::Reconnect => {
                raw = Raw::connect(server.address());
                closed = false;
            }
        }
    }
    if !closed {
        send(&mut raw, &unsent);
        raw.finish();
        let rest = String::from_utf8_lossy(&raw.to_eof()).into_owned();
        assert_eq!(rest, "BYE\n", "at the end of the transcript at line {} of PROTOCOL.md", transcript.line);
    }
}

/// Reads one line of a transcript; what stands in its head is done at once.
fn step(server: &Server, line: &str, place: &str) -> Option<Step> {
    if line.is_empty() || line.starts_with("# ") {
        return None;
    }
    if let Some(file) = line.strip_prefix("file ") {
        let mut words = file.splitn(3, ' ');
        let (name, mtime, text) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        server.write(name, &unescaped(text));
        set_mtime(server, name, mtime);
        return None;
    }
    if let Some(name) = line.strip_prefix("dir ") {
        fs::create_dir(server.path(name)).unwrap();
        return None;
    }
    Some(match line {
        "C close" => Step::Finish,
        "S close" => Step::Close,
        "--" => Step::Reconnect,
        _ => match line.split_at_checked(3).unwrap_or_else(|| panic!("{place}: no line of a transcript")) {
            // What a line takes literally is escaped here, so that all goes one way afterwards.
            ("C: ", text) => Step::Send(format!("{}\\n", text.replace('\\', "\\\\"))),
            ("C| ", text) => Step::Send(text.to_owned()),
            ("S: ", text) => Step::Receive(format!("{}\\n", text.replace('\\', "\\\\"))),
            ("S| ", text) => Step::Receive(text.to_owned()),
            _ => panic!("{place}: no line of a transcript"),
        },
    })
}

fn set_mtime(server: &Server, name: &str, mtime: &str) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(mtime.parse().unwrap());
    File::options().write(true).open(server.path(name)).unwrap().set_modified(time).unwrap();
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        out.push(match characters.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = characters.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).expect("two hex digits")
            }
            other => panic!("an escape of {other:?}"),
        });
    }
    out
}

/// Reads what `pattern` says, byte by byte, so that nothing behind it is taken.
fn receive(raw: &mut Raw, pattern: &str, tag: &mut String, place: &str) {
    let mut rest = pattern;
    let mut seen = String::new();
    while let Some((literal, behind)) = rest.split_once('{') {
        exactly(raw, literal, &mut seen, place);
        let (placeholder, after) = behind.split_once('}').unwrap();
        // A placeholder ends where the literal behind it begins: a space or LF, which it can't hold.
        let end = if after.starts_with(' ') { b' ' } else { b'\n' };
        assert!(after.starts_with(' ') || after == "\\n", "{place}: a placeholder is a whole word");
        let mut value = String::new();
        loop {
            let byte = raw.bytes(1)[0];
            if byte == end {
                break;
            }
            value.push(char::from(byte));
        }
        seen.push_str(&value);
        assert!(fits(placeholder, &value), "{place}: {value:?} in {seen:?}");
        if placeholder == "tag" {
            tag.clone_from(&value);
        }
        rest = after.strip_prefix(' ').or_else(|| after.strip_prefix("\\n")).unwrap();
        seen.push(' ');
    }
    exactly(raw, rest, &mut seen, place);
}

fn exactly(raw: &mut Raw, literal: &str, seen: &mut String, place: &str) {
    let expected = unescaped(literal);
    for &byte in &expected {
        let received = raw.bytes(1)[0];
        seen.push(char::from(received));
        if received != byte {
            let more = raw.line();
            panic!("{place}: the server says {seen:?} and then {more:?}");
        }
    }
}

fn fits(placeholder: &str, value: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match placeholder {
        "*" => !value.is_empty(),
        "n" => digits(value),
        "mtime" => match value.split_once('.') {
            None => digits(value),
            Some((seconds, decimals)) => digits(seconds) && digits(decimals) && decimals.len() <= 9,
        },
        "tag" => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            (1..=64).contains(&value.len()) && value.bytes().all(allowed)
        }
        other => panic!("no placeholder is called {other}"),
    }
}
