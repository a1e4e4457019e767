//! Screens of the real program for the README, as plain text: a session at a terminal, a transfer that is cut and
//! taken up again, a script. All is the same at every run, but for times and rates.
//!
//! ```sh
//! cargo run --release -p ferry-e2e --example screens                      # prints them
//! cargo run --release -p ferry-e2e --example screens -- README.md        # puts them between the marks in README.md
//! ```
//!
//! In the file, a screen stands between the lines `<!-- screen NAME -->` and `<!-- /screen -->`.
// A helper of the documentation fails by panicking, as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// The terminal of the tests; not all of it is needed here.
#[allow(dead_code)]
#[path = "../tests/shell/terminal.rs"]
mod terminal;

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use ferry_e2e::{Options, Server, ferry, random_file, workspace_root};
use terminal::Terminal;

const MIB: u64 = 1 << 20;

/// The port as the README has it; the real one differs at every run.
const USUAL_PORT: &str = "12000";

/// Wide enough for every line, and as high as a screen of the README may be.
const SIZE: (u16, u16) = (92, 60);

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Options::new().arg("--rate").arg((40 * MIB).to_string()).start();
    furnish(&server, directory.path());
    let screens = [
        ("session", session(&server, directory.path())),
        ("resume", resume(&server, directory.path())),
        ("script", script(&server, directory.path())),
    ];
    match std::env::args().nth(1) {
        None => {
            for (name, screen) in screens {
                println!("== {name}\n{screen}\n");
            }
        }
        Some(path) => {
            let text = fs::read_to_string(&path).expect("a file with marks");
            let written = screens.iter().fold(text, |text, (name, screen)| placed(&text, name, screen));
            fs::write(&path, written).expect("a file to write");
        }
    }
}

/// The files of the repository's `server`, with a time that does not change, and a few more.
fn furnish(server: &Server, directory: &Path) {
    for name in ["welcome.txt", "poems/ozymandias.txt", "poems/the tyger.txt"] {
        server.write(name, &fs::read(workspace_root().join("server").join(name)).expect("a file of the repository"));
    }
    random_file(&server.path("large.bin"), 1, 128 * MIB);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    for name in ["welcome.txt", "poems/ozymandias.txt", "poems/the tyger.txt", "poems", "large.bin"] {
        fs::File::open(server.path(name)).and_then(|file| file.set_modified(time)).expect("a time");
    }
    fs::create_dir_all(directory.join("client/notes/old")).expect("directories");
    for (name, text) in [("README.txt", "mine\n"), ("notes/a.txt", "a\n"), ("notes/old/b.txt", "b\n")] {
        fs::write(directory.join("client").join(name), text).expect("a file");
    }
}

fn session(server: &Server, directory: &Path) -> String {
    let mut client = at_terminal(directory);
    let open = format!("OPEN {}", server.address().port());
    for line in [&*open, "LS -l", "CD poems", "LS"] {
        client.type_line(line);
        client.expect("> ");
    }
    client.send("GET th");
    client.tab("the\\ tyger.txt");
    for line in ["", "GET *.txt", "GET ozymandius.txt", "CD", "PUT -r notes"] {
        client.type_line(line);
        client.expect("> ");
    }
    for line in ["!cp notes/a.txt notes/new.txt", "SYNC -u -n notes", "SYNC -u notes", "GTE welcome.txt"] {
        client.type_line(line);
        client.expect("> ");
    }
    client.type_line("QUIT");
    finished(client, server)
}

fn resume(server: &Server, directory: &Path) -> String {
    let mut client = at_terminal(directory);
    client.type_line(&format!("OPEN {}", server.address().port()));
    client.expect("> ");
    client.type_line("GET large.bin");
    client.watch_until(|terminal| terminal.screen().contains(" 4") && terminal.screen().contains("left"), "a bar");
    let bar = bar(&client.screen());
    client.control_c();
    client.expect("interrupted");
    client.expect("> ");
    client.type_line("GET large.bin");
    client.expect("verified");
    client.expect("> ");
    client.type_line("QUIT");
    // The bar is gone by then: it is shown where it was.
    let text = finished(client, server);
    let (before, after) = text.split_once("GET large.bin\n").expect("a GET");
    format!("{before}GET large.bin\n{bar}\n^C\n{after}")
}

fn bar(screen: &str) -> String {
    screen.lines().rev().find(|row| row.contains('%')).expect("a bar").trim_end().to_owned()
}

fn script(server: &Server, directory: &Path) -> String {
    let mut text = String::new();
    let port = server.address().port().to_string();
    for arguments in [
        &["ls", USUAL_PORT, "poems"][..],
        &["get", USUAL_PORT, "welcome.txt", "missing.txt", "--keep-going"],
        &["--json", "get", USUAL_PORT, "welcome.txt"],
        &["--json", "get", USUAL_PORT, "missing.txt"],
        &["put", USUAL_PORT, "-", "-o", "hello.txt"],
    ] {
        let actual = arguments.iter().map(|word| if *word == USUAL_PORT { &*port } else { *word });
        let mut child = command(directory).args(actual).spawn().expect("ferry runs");
        child.stdin.take().expect("piped").write_all(b"hello\n").or_else(unless_closed).expect("a pipe");
        let output = child.wait_with_output().expect("ferry ends");
        let shown = arguments.join(" ");
        let pipe = if arguments.contains(&"-") { "echo hello | " } else { "" };
        text.push_str(&format!("$ {pipe}ferry {shown}\n"));
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            text.push_str(&format!("$ echo $?\n{}\n", output.status.code().unwrap_or_default()));
        }
    }
    text.replace(&port, USUAL_PORT).trim_end().to_owned()
}

/// A program that does not read its input has closed it.
fn unless_closed(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(ferry());
    command.current_dir(directory).env("XDG_STATE_HOME", directory).env("XDG_CONFIG_HOME", directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Without colours there are no hints, which a page can't tell from what was typed.
fn at_terminal(directory: &Path) -> Terminal {
    Terminal::ferry_like(directory, &[], &[("NO_COLOR", "1"), ("TZ", "UTC")], SIZE)
}

/// All that is on the screen when the program has ended.
fn finished(client: Terminal, server: &Server) -> String {
    let screen = client.last_screen();
    let rows: Vec<&str> = screen.lines().map(str::trim_end).collect();
    rows.join("\n").trim_end().replace(&server.address().port().to_string(), USUAL_PORT)
}

/// `text` with the screen `name` between its marks.
fn placed(text: &str, name: &str, screen: &str) -> String {
    let (begin, end) = (format!("<!-- screen {name} -->\n"), "<!-- /screen -->");
    let Some((before, rest)) = text.split_once(&begin) else { return text.to_owned() };
    let (_, after) = rest.split_once(end).expect("a mark that ends the screen");
    let indented: String = screen.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect();
    format!("{before}{begin}\n{indented}\n{end}{after}")
}
