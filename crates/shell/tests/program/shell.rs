//! The `ferry` program, run with -c and with commands from a pipe.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use ferry_client::Crc32;

use crate::support::{Honest, Local, Scripted, reserved};

/// The outcome of a run of the program.
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// Failed with `status`, and said one line that holds `part`.
    #[track_caller]
    pub(crate) fn assert_failed(&self, status: i32, part: &str) {
        assert_eq!(self.status, status, "{}", self.err);
        assert!(self.err.contains(part), "{part:?} is not in {:?}", self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
    }
}

pub(crate) fn ferry(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
    command.arg("--dir").arg(directory).args(["--timeout", "20", "--retry", "0"]).stdin(Stdio::null());
    // The configuration of the person who runs the tests has no effect, and nothing is left there.
    command.args(["--config", "/dev/null"]).env_remove("HOME").env_remove("XDG_STATE_HOME");
    command
}

fn run(local: &Local, script: &str) -> Run {
    ferry(&local.path("")).args(["-c", script]).output().unwrap().into()
}

fn pipe(local: &Local, input: &[u8]) -> Run {
    let mut child =
        ferry(&local.path("")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that has failed already reads no more.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_script_moves_files_both_ways() {
    let (server, local) = (Honest::start(), Local::new());
    server.add("docs/Grüße an dich.txt", "hello");
    local.file("up; and away.txt", b"away");
    let port = server.address.port();
    let done = run(
        &local,
        &format!(
            "open {port}; get docs/Grüße\\ an\\ dich.txt; Put 'up; and away.txt'; CLOSE; OPEN localhost:{port}; QUIT"
        ),
    );
    assert_eq!((done.status, done.err.as_str()), (0, ""));
    let lines: Vec<_> = done.out.lines().collect();
    assert_eq!(lines[0], format!("connected to 127.0.0.1:{port} (honest/1)"));
    assert!(lines[1].starts_with("got docs/Grüße an dich.txt: 5 bytes in 0."), "{}", lines[1]);
    assert!(lines[1].ends_with(" s, verified"), "{}", lines[1]);
    assert!(lines[2].ends_with(" s, verified and on disk"), "{}", lines[2]);
    assert_eq!(lines[3..], ["closed", &format!("connected to localhost:{port} (honest/1)")]);
    assert_eq!(fs::read(local.path("Grüße an dich.txt")).unwrap(), b"hello");
    assert_eq!(server.content("up; and away.txt").unwrap(), b"away");
}

#[test]
fn commands_come_from_a_pipe() {
    let (server, local) = (Honest::start(), Local::new());
    server.add("a", "hello");
    let port = server.address.port();
    let done = pipe(&local, format!("OPEN {port}\r\n\n  GET a\n").as_bytes());
    assert_eq!((done.status, done.err.as_str()), (0, ""));
    assert_eq!(local.names(), ["a"]);

    let failed = pipe(&local, format!("OPEN {port}\nGET missing\nGET a\n").as_bytes());
    failed.assert_failed(8, "GET missing: the server has no such file or directory");
    assert_eq!(failed.out.lines().count(), 1);
    pipe(&local, b"GET \xff\n").assert_failed(2, "UTF-8");
}

#[test]
fn the_first_failure_ends_a_script_with_its_status() {
    let (server, local) = (Honest::start(), Local::new());
    server.add("a", "hello");
    let port = server.address.port();
    fs::create_dir(local.path("directory")).unwrap();
    let connected = |rest: &str| run(&local, &format!("OPEN {port}; {rest}; GET a"));

    run(&local, "GET a").assert_failed(3, "not connected: OPEN <port> first");
    run(&local, "PUT a").assert_failed(3, "not connected");
    run(&local, "CLOSE").assert_failed(3, "not connected");
    run(&local, "FROB").assert_failed(2, "unknown command 'FROB'");
    run(&local, "OPEN word").assert_failed(2, "neither a port nor host:port");
    run(&local, "OPEN 99999").assert_failed(2, "ports are 1 to 65535");
    connected("OPEN 1").assert_failed(2, "CLOSE first");
    connected("GET").assert_failed(2, "GET needs an argument");
    connected("GET ../x").assert_failed(2, "'..'");
    connected("GET /etc/passwd").assert_failed(8, "one beneath the server's root");
    connected("GET \"a\nb\"").assert_failed(2, "control characters");
    connected("GET missing").assert_failed(8, "the server has no such file or directory");
    connected("PUT missing").assert_failed(5, "there is no such file in");
    connected("PUT directory").assert_failed(5, "is a directory");
    server.add("directory", "a file there, a directory here");
    connected("GET directory").assert_failed(5, "is a directory");
    assert_eq!(local.names(), ["directory"]);
}

#[test]
fn a_port_without_a_ferry_server_is_told_with_the_way_out() {
    let local = Local::new();
    let (_taken, free) = reserved();
    run(&local, &format!("OPEN {free}")).assert_failed(3, &format!("to start a server there: ferryd {free}"));

    let web = Scripted::raw(|peer| peer.send("HTTP/1.1 400 Bad Request\r\n\r\n"));
    run(&local, &format!("OPEN {}", web.address)).assert_failed(3, "web server");
    web.finish();
}

#[test]
fn what_the_server_does_wrong_has_its_own_status() {
    let local = Local::new();
    let hostile = Scripted::answering("GET a", "FILE 5 - t\nDATA 5\nhelloEND -\n");
    run(&local, &format!("OPEN {}; GET a", hostile.address)).assert_failed(6, "broke the protocol");
    hostile.finish();

    let silent = Scripted::answering("GET a", "");
    let script = format!("OPEN {}; GET a", silent.address);
    let impatient: Run = ferry(&local.path("")).args(["--timeout", "3", "-c", &script]).output().unwrap().into();
    impatient.assert_failed(7, "silent for 3 s");
    silent.finish();

    let gone = Scripted::greeting(|peer| peer.expect("GET a"));
    run(&local, &format!("OPEN {}; GET a", gone.address)).assert_failed(3, "closed the connection");
    gone.finish();
    assert_eq!(local.names(), [""; 0]);
}

#[test]
fn questions_before_a_transfer_are_asked_again_where_the_connection_is_lost() {
    let (server, local) = (Honest::start(), Local::new());
    server.add_directory("d");
    server.add("d/a", "hello");
    for (lost, command) in [("STAT d", "GET -r d"), ("LIST d", "GET d/?"), ("LIST d", "LS d"), ("STAT d/a", "STAT d/a")]
    {
        server.cut_after(lost);
        let script = format!("OPEN {}; {command}", server.address);
        let run: Run = ferry(&local.path("")).args(["--retry", "2", "-c", &script]).output().unwrap().into();
        assert_eq!(run.status, 0, "{command}: {}", run.err);
        assert!(run.err.contains("connection lost: the server closed the connection"), "{command}: {}", run.err);
    }
    assert_eq!(fs::read(local.path("d/a")).unwrap(), b"hello");
}

#[test]
fn what_was_not_tried_is_no_failure_and_not_done() {
    let local = Local::new();
    let gone = Scripted::greeting(|peer| peer.expect("GET a"));
    let address = gone.address.clone();
    let run = run(&local, &format!("OPEN {address}; GET -k a b c"));
    gone.finish();
    assert_eq!(run.status, 3, "{}", run.err);
    let lines: Vec<_> = run.err.lines().collect();
    let closed = "GET a: the server closed the connection";
    assert_eq!(lines, [closed, "GET: 1 failed, 2 not tried; not done: a"]);
}

#[test]
fn what_a_listing_names_twice_is_fetched_once() {
    let local = Local::new();
    let lines = "f 9 - t a\nf 5 - u a\n";
    let listing = format!("LISTING\nDATA {}\n{lines}END {}\n", lines.len(), Crc32::of(lines.as_bytes()));
    let server = Scripted::greeting(move |peer| {
        peer.expect("STAT *");
        peer.send("FAIL not-found nothing has that name\n");
        for pattern in [true, false] {
            peer.expect("LIST");
            peer.send(&listing);
            if pattern {
                peer.expect("GET a");
                peer.send("FILE 5 - u\nDATA 5\nhelloEND 3610a686\n");
            }
        }
        peer.expect("CLOSE");
        peer.send("BYE\n");
    });
    let done = run(&local, &format!("OPEN {}; GET *; LS", server.address));
    assert_eq!((done.status, done.err.as_str()), (0, ""), "{}", done.out);
    assert!(done.out.contains("\ngot a: 5 bytes") && done.out.ends_with("verified\na\n"), "{}", done.out);
    server.finish();
}

#[test]
fn an_interrupt_ends_a_script_and_leaves_nothing() {
    let (begun, ready) = std::sync::mpsc::channel();
    let server = Scripted::greeting(move |peer| {
        peer.expect("GET a");
        peer.send("FILE 9 - t\nDATA 9\nsome");
        begun.send(()).unwrap();
        peer.expect_end();
    });
    let local = Local::new();
    let child = ferry(&local.path(""))
        .args(["-c", &format!("OPEN {}; GET a; GET b", server.address)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    ready.recv().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    run.assert_failed(130, "GET a: interrupted");
    assert_eq!(local.names(), [""; 0]);
    server.finish();
}

#[test]
fn a_disk_that_takes_no_more_is_told_and_leaves_nothing() {
    let (server, local) = (Honest::start(), Local::new());
    server.add("large", vec![7; 4 << 20]);
    local.file("large", b"old");
    let script = format!("OPEN {}; GET large", server.address.port());
    // The limit stands in for a full disk: the write fails in the middle of the file.
    let run: Run = Command::new("sh")
        .args(["-c", "ulimit -f 1024; exec \"$0\" --dir \"$1\" -c \"$2\"", env!("CARGO_BIN_EXE_ferry")])
        .arg(local.path(""))
        .arg(script)
        .output()
        .unwrap()
        .into();
    run.assert_failed(5, "cannot write");
    assert_eq!(local.names(), ["large"]);
    assert_eq!(fs::read(local.path("large")).unwrap(), b"old");
}

#[test]
fn the_directory_is_made_and_wrong_options_are_refused() {
    let local = Local::new();
    let made: Run = ferry(&local.path("new/deep")).args(["-c", "QUIT"]).output().unwrap().into();
    assert_eq!(made.status, 0);
    assert!(local.path("new/deep").is_dir());

    local.file("file", b"");
    let refused: Run = ferry(&local.path("file/x")).args(["-c", "QUIT"]).output().unwrap().into();
    refused.assert_failed(5, "--dir");
    let wrong: Run = ferry(&local.path("")).arg("--frob").output().unwrap().into();
    assert_eq!(wrong.status, 2);
    let help = run(&local, "HELP; help put");
    assert!(help.out.contains("OPEN     Connect") && help.out.contains("PUT [-rknp] name ... [-> remote]"));
}

/// The first message tells what went wrong; that there is no connection after it is no more than its consequence.
#[test]
fn a_command_that_goes_on_ends_with_the_status_of_its_first_failure() {
    let bad_listing = b"f 1 1 t ../x\n";
    let lie = format!("LISTING\nDATA {}\nf 1 1 t ../x\nEND {}\n", bad_listing.len(), Crc32::of(bad_listing));
    let silence = "LISTING\nDATA 100\n".to_owned();
    for (reply, status) in [(lie, 6), (silence, 7)] {
        for get in ["GET -r d", "GET -k -r d", "GET -k -r d e f"] {
            let reply = reply.clone();
            let server = Scripted::greeting(move |peer| {
                while let Some(line) = peer.line_or_end() {
                    let listing = line == "LIST d";
                    peer.send(if listing { reply.as_str() } else { "DIR 7\n" });
                }
            });
            let local = Local::new();
            let script = format!("OPEN {}; {get}", server.address.port());
            let failed: Run = ferry(&local.path("")).args(["--timeout", "1", "-c", &script]).output().unwrap().into();
            assert_eq!(failed.status, status, "{get}: {}", failed.err);
            assert!(failed.err.starts_with("GET d: "), "{get}: {}", failed.err);
            let more = if get.ends_with('f') { 2 } else { 1 };
            assert_eq!(failed.err.lines().count(), more, "{get}: {}", failed.err);
            server.finish();
        }
    }
}

#[test]
fn a_put_that_goes_on_ends_with_the_status_of_its_first_failure() {
    for put in ["PUT -r d", "PUT -k -r d"] {
        let server = Scripted::greeting(|peer| {
            while peer.line_or_end().is_some() {
                peer.send("nonsense\n");
            }
        });
        let local = Local::new();
        fs::create_dir(local.path("d")).unwrap();
        local.file("d/a", b"hello");
        let failed = run(&local, &format!("OPEN {}; {put}", server.address.port()));
        assert_eq!(failed.status, 6, "{put}: {}", failed.err);
        server.finish();
    }
}
