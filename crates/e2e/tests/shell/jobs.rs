//! Jobs: transfers in the background.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
};

use ferry_e2e::{Options, Server, eventually, random_file, seed};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    machine::{run, spawned},
    place::Place,
    terminal::Terminal,
};

const MIB: u64 = 1 << 20;

/// A server that sends slowly, with two files that take their time and a small one.
fn slow() -> (Server, tempfile::TempDir) {
    let server = Options::new().arg("--rate").arg((4 * MIB).to_string()).start();
    random_file(&server.path("one.bin"), seed(), 40 * MIB);
    random_file(&server.path("two.bin"), seed() + 1, 40 * MIB);
    server.write("small.txt", b"small");
    (server, tempfile::tempdir().unwrap())
}

fn opened(server: &Server, directory: &Path) -> Terminal {
    let mut terminal = Terminal::ferry(directory, &[]);
    terminal.type_line(&format!("OPEN {}", server.address().port()));
    terminal.expect("connected");
    terminal.expect("> ");
    terminal
}

#[test]
fn the_prompt_goes_on_while_a_job_runs() {
    let (server, directory) = slow();
    let mut terminal = opened(&server, directory.path());
    terminal.type_line("GET one.bin &");
    terminal.expect("[1] GET one.bin");
    terminal.expect("> ");
    terminal.type_line("LS");
    terminal.expect("small.txt");
    terminal.expect("> ");
    terminal.type_line("JOBS");
    terminal.expect("[1] GET one.bin: ");
    terminal.expect("> ");
    terminal.type_line("GET two.bin &");
    terminal.expect("[2] GET two.bin");
    terminal.expect("> ");
    // What is under way is not touched by this one's end, and the end is told before the next prompt.
    terminal.type_line("CANCEL 1");
    terminal.expect("[1] cancelled GET one.bin");
    terminal.expect("> ");
    // Leaving is asked for twice.
    terminal.type_line("QUIT");
    terminal.expect("there are running jobs");
    terminal.expect("> ");
    terminal.type_line("GET small.txt");
    terminal.expect("got small.txt");
    terminal.expect("> ");
    terminal.type_line("QUIT");
    terminal.expect("there are running jobs");
    terminal.expect("> ");
    terminal.type_line("QUIT");
    terminal.expect("[2] cancelled GET two.bin");
    assert!(!directory.path().join("client/two.bin").exists());
    assert!(!directory.path().join("client/one.bin").exists());
}

#[test]
fn a_job_is_brought_forward_and_told_of_at_its_end() {
    let server = Options::new().arg("--rate").arg((16 * MIB).to_string()).start();
    random_file(&server.path("one.bin"), seed(), 24 * MIB);
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = opened(&server, directory.path());
    terminal.type_line("GET nothing &");
    terminal.expect("[1] GET nothing");
    terminal.expect("> ");
    eventually("the end of a job that fails", || {
        terminal.type_line("");
        terminal.expect("> ").contains("[1] failed GET nothing").then_some(())
    });
    terminal.type_line("GET one.bin &");
    terminal.expect("[2] GET one.bin");
    terminal.expect("> ");
    terminal.type_line("FG");
    terminal.expect("[2] done GET one.bin: got one.bin: 24.0 MiB");
    terminal.expect("> ");
    assert!(fs::read(directory.path().join("client/one.bin")).unwrap() == server.read("one.bin"));
    terminal.type_line("FG 7");
    terminal.expect("there is no job 7");
    terminal.expect("> ");
    // So much that it can't be through; holes would take no time.
    random_file(&server.path("endless.bin"), seed(), 256 * MIB);
    terminal.type_line("GET endless.bin &");
    terminal.expect("[3] GET endless.bin");
    terminal.expect("> ");
    terminal.type_line("FG 3");
    terminal.expect("GET endless.bin");
    terminal.control_c();
    terminal.expect("[3] cancelled");
    terminal.expect("> ");
    terminal.type_line("LS");
    terminal.expect("one.bin");
}

#[test]
fn a_script_waits_for_its_jobs_and_ends_as_the_first_that_failed() {
    let place = Place::new();
    for name in ["a", "b", "c", "d", "e", "f", "a&b"] {
        place.server.write(name, name.as_bytes());
    }
    // More than run at a time.
    let said = place.run("GET a &; GET b &; GET c &; GET d &; GET e &; GET f &; GET a&b").fine();
    assert!(said.contains("[6] GET f") && said.contains("[6] done GET f: got f"), "{said}");
    for name in ["a", "b", "c", "d", "e", "f", "a&b"] {
        assert_eq!(fs::read(place.local(name)).unwrap(), name.as_bytes());
    }
    let ran = place.run("GET missing &; GET a -> again");
    assert_eq!(ran.status, 8, "{}{}", ran.said, ran.complaints);
    assert!(
        ran.complaints.contains("[1] failed GET missing: GET missing: the server has no such file"),
        "{}",
        ran.complaints
    );
    assert!(place.local("again").exists());
    for (command, why) in [
        ("LS &", "only GET, PUT and SYNC run as jobs"),
        ("GET a -> - &", "standard output is the prompt's"),
        ("CANCEL 9", "there is no job 9"),
    ] {
        place.run(command).failed(2, why);
    }
    // Ctrl-C ends the jobs of a script.
    random_file(&place.server.path("endless.bin"), seed(), 64 * MIB);
    let port = place.server.address().port();
    let script = format!("OPEN {port}; GET endless.bin -> no &");
    let mut child = spawned(&place.local(""), &["--limit-rate", "512KiB", "-c", &script]);
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let begun = said.lines().map_while(Result::ok).any(|line| line == "[1] GET endless.bin -> no");
    assert!(begun);
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    place.server.write("&", b"and");
    place.run("GET '&'").fine();
    place.run("GET a &; CLOSE");
    let alone = run(&place.local(""), &["-c", "GET a &"]);
    alone.assert_failed(3, "not connected");
}
