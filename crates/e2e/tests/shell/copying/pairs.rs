//! `ferry cp` over several pairs of connections.

use std::process::Stdio;

use ferry_e2e::{Options, Server, Signal, eventually, seed};

use super::{content, wire::Wire};
use crate::{
    machine::command,
    place::{assert_same, tree},
};

const MIB: usize = 1 << 20;

/// Two servers behind wires: one that gives each connection little at a time, with large and small files.
struct Scene {
    from: Server,
    to: Server,
    wires: [Wire; 2],
    directory: tempfile::TempDir,
}

impl Scene {
    fn new(from: Options, to: Options) -> Scene {
        let (from, to) = (from.arg("--rate").arg((8 * MIB).to_string()).start(), to.start());
        for number in 0..12 {
            from.write(&format!("d/large{number}"), &content(seed() + number, 2 * MIB));
        }
        for number in 0..200 {
            from.write(&format!("d/small/{number}"), &content(number, 64 << 10)[..number as usize * 100]);
        }
        let wires = [Wire::to(from.address()), Wire::to(to.address())];
        Scene { from, to, wires, directory: tempfile::tempdir().unwrap() }
    }

    /// Copies all of it, and calls `strike` when some files are there.
    fn copied(&self, parallel: &str, strike: impl FnOnce()) -> String {
        let places = [format!("{}:d", self.wires[0].address), format!("{}:", self.wires[1].address)];
        let mut command = command(self.directory.path(), &["--parallel", parallel, "--retry-for", "1m", "cp", "-r"]);
        let child = command.args(places).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let large = |number: usize| self.to.path(&format!("d/large{number}")).exists();
        eventually("files arrive", || ((0..12).filter(|number| large(*number)).count() >= 2).then_some(()));
        strike();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(out.starts_with("copied 212 files: "), "{out}");
        assert_same(&tree(&self.from.path("d")), &tree(&self.to.path("d")));
        said
    }
}

#[test]
fn files_go_over_as_many_pairs_as_are_asked_for() {
    for (parallel, most) in [("4", 4), ("1", 1)] {
        let scene = Scene::new(Options::new(), Options::new());
        assert_eq!(scene.copied(parallel, || {}), "");
        let made = scene.wires.each_ref().map(Wire::made);
        let least = most.min(2);
        assert!(made.iter().all(|made| (least..=most).contains(made)), "{parallel}: {made:?}");
    }
}

#[test]
fn pairs_that_are_cut_leave_their_files_to_others() {
    for side in 0..2 {
        let scene = Scene::new(Options::new(), Options::new());
        let said = scene.copied("4", || scene.wires[side].cut());
        assert!(said.contains(&format!("connection to {} lost: ", scene.wires[side].address)), "{said}");
    }
}

/// One server takes a single connection: further ones are of no use, and no harm.
#[test]
fn a_side_that_takes_one_connection_is_served_by_one() {
    let one = || Options::new().arg("--max-clients").arg("1");
    for (from, to) in [(one(), Options::new()), (Options::new(), one())] {
        let scene = Scene::new(from, to);
        assert_eq!(scene.copied("4", || {}), "");
    }
}

#[test]
fn an_interrupt_ends_all_pairs() {
    let scene = Scene::new(Options::new(), Options::new());
    let places = [format!("{}:d", scene.wires[0].address), format!("{}:", scene.wires[1].address)];
    let mut command = command(scene.directory.path(), &["--parallel", "4", "cp", "-r"]);
    let child = command.args(places).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("there are several", || scene.wires.iter().all(|wire| wire.made() > 1).then_some(()));
    scene.from.stop();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap(),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    scene.from.signal(Signal::CONT);
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
}
