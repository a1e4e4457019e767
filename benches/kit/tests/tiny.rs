//! Every bench target in its tiny form: no figure is looked at, but every transfer is verified. Those that stand beside
//! other programs take long: they run where `FERRY_TEST_BENCHES=1` asks for them, and in `cargo bench -- --tiny`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use ferry_bench_kit::{Content, Options, RawLimit, Report, Setup, Wire, Workshop, descendants, drain_bare};

fn setup() -> Setup {
    Setup { helper: env!("CARGO_BIN_EXE_bench-helper").into(), scratch: env!("CARGO_TARGET_TMPDIR").into() }
}

#[test]
fn throughput() {
    let mut report = Report::new("throughput", false);
    ferry_bench_kit::throughput::all(&setup(), &Options::tiny(), &mut report);
    // Beside dd as well, where there is one.
    assert!(matches!(report.rows().len(), 6 | 7), "{} rows", report.rows().len());
}

#[test]
fn small_files() {
    let mut report = Report::new("small_files", false);
    ferry_bench_kit::small_files::all(&setup(), &Options::tiny(), &mut report);
    assert_eq!(report.rows().len(), 8);
}

#[test]
fn clients() {
    let mut report = Report::new("clients", false);
    ferry_bench_kit::clients::all(&setup(), &Options::tiny(), &mut report);
    assert_eq!(report.rows().len(), 5);
}

#[test]
fn loop_stall() {
    let mut report = Report::new("loop_stall", false);
    ferry_bench_kit::loop_stall::all(&setup(), &Options::tiny(), &mut report);
    assert_eq!(report.rows().len(), 12);
}

#[test]
fn scale() {
    let mut report = Report::new("scale", false);
    ferry_bench_kit::scale::all(&setup(), &Options::tiny(), &mut report);
    // Two more where ferryd knows --reuse-port.
    assert!(matches!(report.rows().len(), 1 | 3), "{} rows", report.rows().len());
}

/// Returns whether benches that take long are skipped, with a word.
fn skips_long() -> bool {
    let skips = std::env::var_os("FERRY_TEST_BENCHES").is_none();
    if skips {
        eprintln!("skipped: only with FERRY_TEST_BENCHES=1, and by cargo bench -- --tiny");
    }
    skips
}

/// All peers of this machine take part; ferry does its work in any case.
#[test]
fn peers() {
    if skips_long() {
        return;
    }
    let mut report = Report::new("peers", false);
    ferry_bench_kit::peers::all(&setup(), &Options::tiny(), &mut report);
    let alone = report.rows().iter().filter(|row| row.limit.is_empty() && !row.ours.is_empty()).count();
    assert!(alone >= 8, "{alone} rows of ferry's own");
}

/// It skips with a word where a cluster can't be had.
#[test]
fn cluster() {
    if skips_long() {
        return;
    }
    let mut report = Report::new("cluster", false);
    ferry_bench_kit::peers::cluster::all(&setup(), &Options::tiny(), &mut report);
    assert!(matches!(report.rows().len(), 0 | 8), "{} rows", report.rows().len());
}

/// It skips with a word where there are no name spaces and TUN devices; others take part where they are here.
#[test]
fn line() {
    if skips_long() {
        return;
    }
    let mut report = Report::new("line", false);
    ferry_bench_kit::peers::long_line::all(&setup(), &Options::tiny(), &mut report);
    let alone = report.rows().iter().filter(|row| row.limit.is_empty() && !row.ours.is_empty()).count();
    assert!(matches!(alone, 0 | 4), "{alone} rows of ferry's own");
}

#[test]
fn a_keeper_ends_with_all_that_it_keeps() {
    let script = "sleep 1000 & (setsid sleep 1000 &) ; exec sleep 1000";
    let mut keeper = Command::new(setup().helper);
    let mut keeper = keeper.args(["--keeper", "sh", "-c", script]).stdin(Stdio::piped()).spawn().unwrap();
    let kept = ferry_e2e::eventually("three that sleep", || {
        let asleep = descendants(keeper.id());
        let sleeps = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
        (asleep.len() == 3 && asleep.iter().all(sleeps)).then_some(asleep)
    });
    drop(keeper.stdin.take());
    assert!(keeper.wait().unwrap().success());
    for pid in kept {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} still runs");
    }
}

#[test]
fn a_keeper_removes_what_a_bench_has_left() {
    let setup = setup();
    let workshop = Workshop::in_memory(&setup.scratch, &setup.helper);
    let inside = workshop.directory("a/b");
    drop(workshop);
    assert!(!inside.exists(), "an end as it should be");

    let left = tempfile::tempdir().unwrap().keep();
    fs::write(left.join("file"), "bytes").unwrap();
    let mut keeper = Command::new(setup.helper);
    let mut keeper = keeper.args(["--keeper", "--remove"]).arg(&left).stdin(Stdio::piped()).spawn().unwrap();
    assert!(left.exists());
    drop(keeper.stdin.take());
    assert!(keeper.wait().unwrap().success() && !left.exists());
}

#[test]
fn the_limits_move_every_byte() {
    let setup = setup();
    let workshop = Workshop::new(&setup.scratch);
    let place = workshop.directory("limits");
    let content = Content::write(&place.join("content"), (3 << 20) + 1);

    let limit = RawLimit::send(&setup.helper, &content.path);
    let mut came = Vec::new();
    drain_bare(limit.address(), content.bytes, |piece| came.extend_from_slice(piece)).unwrap();
    assert!(came == std::fs::read(&content.path).unwrap());

    for sync in [false, true] {
        let poured = place.join("poured");
        let limit = RawLimit::receive(&setup.helper, &poured, sync);
        for _ in 0..2 {
            Wire::connect(limit.address()).unwrap().pour(&content).unwrap();
            content.check_and_remove(&poured);
        }
    }
}
