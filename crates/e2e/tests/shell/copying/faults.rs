//! `ferry cp` where something goes wrong in the middle: at either server, on the way to it, with the file, by the caller.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use ferry_e2e::{Options, Server, Signal, eventually, seed};
use rustix::process::{Pid, kill_process};

use super::{content, wire::Wire};
use crate::machine::{Run, command};

const MIB: usize = 1 << 20;

/// The size of the large file, which takes long enough for something to happen in its middle.
const LARGE: usize = 24 * MIB;

/// A slow server with a large file, another one, and a directory that nothing comes to.
struct Halves {
    from: Server,
    to: Server,
    bytes: Vec<u8>,
    directory: tempfile::TempDir,
}

/// The one of the two servers that something happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    From,
    To,
}

const SIDES: [Side; 2] = [Side::From, Side::To];

fn slow() -> Options {
    Options::new().arg("--rate").arg((16 * MIB).to_string())
}

impl Halves {
    fn new() -> Halves {
        Halves::with(Options::new())
    }

    fn with(to: Options) -> Halves {
        let (from, bytes) = (slow().start(), content(seed(), LARGE));
        from.write("large", &bytes);
        Halves { from, to: to.start(), bytes, directory: tempfile::tempdir().unwrap() }
    }

    fn server(&mut self, side: Side) -> &mut Server {
        if side == Side::From { &mut self.from } else { &mut self.to }
    }

    fn places(&self) -> [String; 2] {
        [format!("{}:large", self.from.address()), format!("{}:", self.to.address())]
    }

    fn command(&self, options: &[&str], places: &[String]) -> Command {
        let arguments: Vec<&str> = ["cp"].into_iter().chain(options.iter().copied()).collect();
        let mut command = command(self.directory.path(), &arguments);
        command.args(places).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, options: &[&str], places: &[String]) -> Run {
        ended(self.command(options, places).spawn().unwrap())
    }

    /// Begins to copy the large file, and returns when some of it has arrived.
    fn begun(&self, options: &[&str], places: &[String]) -> Child {
        eventually("nothing is kept of an earlier one", || (self.kept() == 0).then_some(()));
        let child = self.command(options, places).spawn().unwrap();
        eventually("some bytes arrive", || (self.kept() > 2 * MIB as u64).then_some(()));
        child
    }

    /// Returns how many bytes the target has of what is unfinished.
    fn kept(&self) -> u64 {
        let names = fs::read_dir(self.to.path(".ferry/kept")).into_iter().flatten().flatten();
        let kept = names.filter(|entry| entry.file_name().to_string_lossy().ends_with(".data"));
        kept.filter_map(|entry| entry.metadata().ok()).map(|kept| kept.len()).sum()
    }

    /// Has something happen to a copy that is on its way.
    fn struck(&mut self, options: &[&str], strike: impl FnOnce(&mut Halves, &Child)) -> Run {
        let child = self.begun(options, &self.places());
        strike(self, &child);
        ended(child)
    }

    /// What arrived is kept, nothing is visible, and the next copy goes on from there.
    #[track_caller]
    fn goes_on(&self) {
        assert_eq!(self.to.visible(), [""; 0], "nothing is half there");
        let run = self.run(&[], &self.places());
        assert_eq!((run.status, run.err.as_str()), (0, ""), "{}", run.out);
        assert!(run.out.contains(" of them from before, "), "{}", run.out);
        self.is_copied();
    }

    #[track_caller]
    fn is_copied(&self) {
        assert_eq!(self.to.visible(), ["large"]);
        assert!(self.to.read("large") == self.bytes, "other bytes");
    }
}

/// Waits for the end of a program.
fn ended(child: Child) -> Run {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { status: output.status.code().expect("an exit status"), out: text(output.stdout), err: text(output.stderr) }
}

/// Kills a server, and starts another one in its place.
fn replaced(server: &mut Server, root: &Path) {
    let address = server.address().to_string();
    server.signal(Signal::KILL);
    server.wait();
    *server = slow().root(root).address(&address).start();
}

#[test]
fn a_side_that_is_silent_is_named() {
    for side in SIDES {
        let mut halves = Halves::new();
        let run = halves.struck(&["--timeout", "1", "--retry", "0"], |halves, _| halves.server(side).stop());
        let server = halves.server(side);
        server.signal(Signal::CONT);
        run.assert_failed(7, &format!("CP large: {}: the server was silent for 1 s: given up; ", server.address()));
        assert!(run.err.ends_with("is kept, and CP goes on from there\n"), "{side:?}: {}", run.err);
        halves.goes_on();
    }
}

#[test]
fn a_side_that_is_killed_is_named_and_one_that_comes_back_is_gone_on_with() {
    for side in SIDES {
        let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let root = roots[side as usize].path();
        let bytes = content(seed(), LARGE);
        fs::write(roots[0].path().join("large"), &bytes).unwrap();
        let (from, to) = (slow().root(roots[0].path()).start(), Options::new().root(roots[1].path()).start());
        let mut halves = Halves { from, to, bytes, directory: tempfile::tempdir().unwrap() };
        let run = halves.struck(&["--retry", "0"], |halves, _| halves.server(side).signal(Signal::KILL));
        let address = halves.server(side).address();
        run.assert_failed(3, &format!("CP large: {address}: the server closed the connection; "));
        assert_eq!(halves.to.visible(), [""; 0], "nothing is half there");
        replaced(halves.server(side), root);
        // A target that dies has kept what it had brought to its disk, which may be nothing yet.
        assert_eq!(halves.run(&[], &halves.places()).status, 0, "{side:?}");
        halves.is_copied();

        fs::remove_file(halves.to.path("large")).unwrap();
        let run = halves.struck(&["--retry-for", "1m"], |halves, _| replaced(halves.server(side), root));
        assert_eq!(run.status, 0, "{side:?}: {}", run.err);
        assert!(run.err.contains(&format!("connection to {address} lost: ")), "{side:?}: {}", run.err);
        halves.is_copied();
    }
}

#[test]
fn a_connection_to_either_that_is_cut_is_opened_again() {
    for side in SIDES {
        let mut halves = Halves::new();
        let wire = Wire::to(halves.server(side).address());
        let mut places = halves.places();
        let place = &mut places[side as usize];
        *place = place.replace(&halves.server(side).address().to_string(), &wire.address.to_string());
        let child = halves.begun(&[], &places);
        wire.cut();
        let run = ended(child);
        assert_eq!(run.status, 0, "{side:?}: {}", run.err);
        let lost = format!("connection to {} lost: ", wire.address);
        assert!(run.err.starts_with(&lost) && run.err.contains("stands again"), "{side:?}: {}", run.err);
        halves.is_copied();
    }
}

/// Nobody waits for a source that has nobody to read for.
#[test]
fn a_target_that_is_killed_ends_it_although_the_source_is_silent() {
    let halves = Halves::new();
    let mut child = halves.begun(&["--timeout", "600", "--retry", "0"], &halves.places());
    halves.from.stop();
    halves.to.signal(Signal::KILL);
    let status = eventually("it ends", || child.try_wait().unwrap());
    halves.from.signal(Signal::CONT);
    assert_eq!(status.code(), Some(3));
    ended(child).assert_failed(3, &format!("CP large: {}: the server closed the connection", halves.to.address()));
}

/// A quota that is reached is the target's word, and costs no other file.
#[test]
fn a_side_without_room_is_named() {
    let halves = Halves::with(Options::new().arg("--max-staged").arg("5MiB"));
    halves.from.write("small", b"small");
    let why = format!("CP large: {}: the server says: the server's room for unfinished uploads", halves.to.address());
    halves.run(&[], &halves.places()).assert_failed(4, &why);
    assert_eq!(halves.to.visible(), [""; 0]);
    let run = halves.run(&["-r"], &[format!("{}:", halves.from.address()), format!("{}:all", halves.to.address())]);
    run.assert_failed(4, &why.replace("large", "all/large"));
    run.assert_failed(4, "1 failed, the rest is done; not done: all/large\n");
    assert_eq!(halves.to.read("all/small"), b"small");
    assert!(!halves.to.path("all/large").exists());

    let halves = Halves::with(Options::new().behind("trap '' XFSZ && ulimit -f 10000"));
    let run = halves.run(&[], &halves.places());
    run.assert_failed(4, &format!("{}: the server says: larger than the server's system lets", halves.to.address()));
    assert_eq!(halves.to.visible(), [""; 0]);
}

#[test]
fn a_file_that_is_written_meanwhile_begins_anew() {
    let mut halves = Halves::new();
    let other = content(seed() ^ 1, LARGE);
    let path = halves.from.path("large");
    let run = halves.struck(&[], |_, _| fs::write(&path, &other).unwrap());
    assert_eq!(run.status, 0, "{}", run.err);
    // The writing may be seen more than once.
    let anew = "large: it changed on the server that it is read from; CP begins anew";
    assert!(run.err.lines().count() > 0 && run.err.lines().all(|line| line == anew), "{}", run.err);
    halves.bytes = other;
    halves.is_copied();
}

/// Its server has it open.
#[test]
fn a_file_that_is_deleted_meanwhile_is_copied_as_it_was() {
    let mut halves = Halves::new();
    let run = halves.struck(&[], |halves, _| fs::remove_file(halves.from.path("large")).unwrap());
    assert_eq!((run.status, run.err.as_str()), (0, ""));
    halves.is_copied();
}

#[test]
fn an_interrupt_keeps_what_has_arrived() {
    let mut halves = Halves::new();
    let run = halves.struck(&[], |_, child| {
        kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    });
    run.assert_failed(130, "CP large: interrupted; what the server has of it is kept, and CP goes on from there");
    halves.goes_on();
}

#[test]
fn a_name_that_is_taken_by_something_of_another_kind_stays() {
    let halves = Halves::new();
    let to = halves.to.address();
    halves.from.write("d/e/f", b"f");
    fs::create_dir(halves.to.path("large")).unwrap();
    halves.to.write("d", b"mine");
    let run = halves.run(&[], &halves.places());
    run.assert_failed(4, &format!("CP large: {to}: the server has a directory of that name"));
    let run = halves.run(&["-r"], &[format!("{}:d", halves.from.address()), format!("{to}:")]);
    run.assert_failed(4, &format!("CP d: {to}: the server says: "));
    run.assert_failed(4, "CP: 1 failed, 1 not tried\n");
    assert_eq!((halves.to.read("d"), halves.to.visible()), (b"mine".to_vec(), vec!["d".into(), "large".into()]));
}

/// Whatever the server is called: its copy onto itself changes nothing, and a directory ends that goes into itself.
#[test]
fn one_server_under_two_names_loses_nothing() {
    let halves = Halves::new();
    halves.from.write("d/e/f", b"f");
    let port = halves.from.address().port();
    let place = |name: &str| format!("localhost:{port}:{name}");
    let run = halves.run(&[], &[halves.places()[0].clone(), place("large")]);
    assert_eq!((run.status, run.err.as_str()), (0, ""));
    assert!(halves.from.read("large") == halves.bytes);
    let run = halves.run(&["-r"], &[format!("{}:d", halves.from.address()), place("d/e")]);
    assert_eq!((run.status, run.err.as_str()), (0, ""));
    assert_eq!((halves.from.read("d/e/d/e/f"), halves.from.read("d/e/f")), (b"f".to_vec(), b"f".to_vec()));
    assert!(!halves.from.path("d/e/d/e/d").exists());
}
