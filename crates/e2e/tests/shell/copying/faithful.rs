//! The things that a copy has beside its bytes, and the choice of what is copied: as GET and PUT have them.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::{Duration, SystemTime},
};

use ferry_e2e::Options;

use super::{Pair, wire::Wire};
use crate::{
    machine::run_with,
    place::{assert_same, tree},
};

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn keeping(modes: &str) -> Pair {
    Pair::with(Options::new().arg("--keep-modes").arg(modes))
}

const FILES: [&str; 3] = ["a.txt", "d/empty", "d/e/deep.bin"];

#[test]
fn permissions_are_those_that_are_asked_for_and_never_more() {
    for (kept, option, of_usual) in [("owner", "--perms", 0o77), ("owner", "-p", 0o77), ("all", "--perms=all", 0)] {
        let pair = keeping(kept);
        pair.copied(&["-r", "A:", "B:usual"]);
        let usual = mode(pair.to.path("usual/a.txt")) & of_usual;
        for (there, here) in [(0o4755, 0o755), (0o2711, 0o711), (0o600, 0o600), (0o1444, 0o444)] {
            for name in FILES {
                fs::set_permissions(pair.from.path(name), Permissions::from_mode(there)).unwrap();
            }
            let target = format!("B:{there}");
            pair.copied(&["-r", option, "A:", &target]);
            for name in FILES {
                let there = mode(pair.to.path(&format!("{there}/{name}")));
                assert_eq!(there, here & !of_usual | usual, "{here:o} {option} {name}");
            }
        }
        // One by RESUME.
        pair.copied(&[option, "--no-clobber", "A:a.txt", "B:one"]);
        assert_eq!(mode(pair.to.path("one")), 0o444 & !of_usual | usual);
    }
}

#[test]
fn a_side_that_knows_no_permissions_is_told_of_before_anything_is_sent() {
    let pair = keeping("owner");
    let refused = |arguments: &[&str], part: &str| {
        pair.cp(arguments).assert_failed(4, part);
        assert_eq!(pair.to.visible(), [""; 0], "{arguments:?}");
    };
    refused(&["--perms=all", "A:a.txt", "B:"], "cannot keep permissions of group and others");
    refused(&["-r", "-k", "--perms=all", "A:d", "B:"], &format!("CP: 127.0.0.1:{}: the server cannot keep", pair.b));
    if ferry_e2e::secure::is_asked_for() {
        return;
    }
    let wire = Wire::hiding(pair.from.address(), "tell-mode");
    let source = format!("{}:a.txt", wire.address);
    refused(&["-p", &source, "B:"], &format!("CP: {}: the server cannot tell permissions", wire.address));
    pair.copied(&[&source, "B:"]);
}

#[test]
fn directories_get_their_times() {
    let pair = Pair::new();
    let all = [("d/e", 1_000_000_001), ("d", 1_000_000_002)];
    for (name, seconds) in all {
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 500_000_000);
        File::open(pair.from.path(name)).unwrap().set_modified(time).unwrap();
    }
    let check = |top: &str| {
        for (name, seconds) in all {
            let there = fs::metadata(pair.to.path(&format!("{top}{name}"))).unwrap();
            assert_eq!((there.mtime(), there.mtime_nsec()), (seconds as i64, 500_000_000), "{top}{name}");
        }
    };
    pair.copied(&["-r", "A:d", "B:"]);
    check("");
    // Those that are there already as well, and all beneath the root.
    pair.copied(&["-r", "A:d", "B:"]);
    check("");
    pair.copied(&["-r", "A:", "B:all"]);
    check("all/");
    // Nothing is made or set by a dry run.
    pair.copied(&["-n", "-r", "-p", "A:d", "B:dry"]);
    assert!(!pair.to.path("dry").exists());
}

/// As those of PUT: set last, also where a directory is there and closed.
#[test]
fn directories_get_their_permissions() {
    for (kept, option, of_usual) in [("all", "--perms=all", 0), ("owner", "-p", 0o77)] {
        let pair = keeping(kept);
        let modes = [("d/e", 0o555), ("d", 0o2750)];
        modes.iter().for_each(|(name, mode)| {
            fs::set_permissions(pair.from.path(name), Permissions::from_mode(*mode)).unwrap();
        });
        pair.copied(&["-r", "A:d", "B:usual"]);
        let usual = mode(pair.to.path("usual")) & of_usual;
        for _ in 0..2 {
            pair.copied(&["-r", option, "A:d", "B:"]);
            for (name, there) in modes {
                let expected = there & 0o777 & !of_usual | usual;
                assert_eq!(mode(pair.to.path(name)) & 0o777, expected, "{option} {name}");
            }
        }
        assert_same(&tree(&pair.from.path("d")), &tree(&pair.to.path("d")));
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&pair.from.path("d/e")), time(&pair.to.path("d/e")), "{option}");
    }
}

#[test]
fn lists_and_rules_choose_as_those_of_get_do() {
    let pair = Pair::new();
    let list = pair.directory.path().join("list");
    let with_list = |text: &str, options: &[&str], target: &str| {
        fs::write(&list, text).unwrap();
        let (list, target) = (list.to_str().unwrap(), format!("B:{target}"));
        pair.cp(&[&["-r", "--files-from", list], options, &["A:", &target]].concat())
    };
    let done = with_list("a.txt\nd/e/deep.bin\n", &[], "new");
    assert_eq!((done.status, done.err.as_str()), (0, ""));
    let there = |name: &str| pair.to.path(name).exists();
    assert!(there("new/a.txt") && there("new/d/e/deep.bin") && !there("new/b.txt") && !there("new/d/empty"));
    let done = with_list("two words.txt\0d\0", &["-0", "--max-size", "10"], "small");
    assert_eq!((done.status, done.err.as_str()), (0, ""));
    assert!(there("small/two words.txt") && there("small/d/empty") && !there("small/d/e/deep.bin"));
    let missing = with_list("a.txt\nnope\n", &[], "none");
    missing.assert_failed(8, &format!("CP {}: nope is in the list and not there", pair.a));
    missing.assert_failed(8, "nothing was changed; -k goes on without them");
    assert!(!there("none"));
    with_list("a.txt\nnope\n", &["-k"], "some").assert_failed(8, "1 failed, the rest is done");
    assert!(there("some/a.txt"));
    let arguments = [&*format!("{}:", pair.a), &*format!("{}:in", pair.b)];
    let (status, ..) =
        run_with(pair.directory.path(), &[&["cp", "-r", "--files-from", "-"], &arguments[..]].concat(), b"b.txt\n");
    assert_eq!(status, 0);
    assert!(there("in/b.txt"));
    fs::remove_file(&list).unwrap();

    // In rsync's order: the first rule that means a name decides.
    pair.copied(&["-r", "--include", "deep.*", "--exclude", "*.bin", "--exclude", "empty", "A:d", "B:first"]);
    assert!(there("first/e/deep.bin") && !there("first/empty"));
    pair.copied(&["-r", "--exclude", "/d/e", "A:d", "B:anchored"]);
    assert!(there("anchored/empty") && !there("anchored/e"));
    fs::create_dir(pair.from.path("dd")).unwrap();
    pair.cp(&["A:d*", "B:"]).assert_failed(4, &format!("CP {}: only directories match; ferry cp -r", pair.a));
    fs::write(pair.directory.path().join("rules"), ": .rules\n").unwrap();
    pair.cp(&["-r", "--filter", "rules", "A:d", "B:x"]).assert_failed(2, "rules for single directories");
    pair.cp(&["-r", "-F", "A:d", "B:x"]).assert_failed(2, "CP has no option -F");
    assert!(!there("x"));
}

/// Little of it is data. No more, as all of it would be sent and written where holes are not.
const HUGE: u64 = 1 << 30;

#[test]
fn holes_stay_holes_where_both_servers_know_them() {
    let pair = Pair::new();
    let write = |name: &str, bytes: u64, places: &[u64]| {
        let file = File::create(pair.from.path(name)).unwrap();
        file.set_len(bytes).unwrap();
        places.iter().for_each(|at| file.write_all_at(&[7; 70_000], *at).unwrap());
        file.metadata().unwrap().blocks() * 512
    };
    if write("probe", HUGE, &[]) > 0 {
        return eprintln!("skipped: no holes here");
    }
    write("huge", HUGE, &[77 << 20, (500 << 20) + 1, HUGE - 70_000]);
    // Below the size from which an upload has an id.
    write("less", 5 << 20, &[3 << 20]);
    fs::create_dir(pair.from.path("s")).unwrap();
    for name in ["probe", "huge", "less"] {
        fs::rename(pair.from.path(name), pair.from.path(&format!("s/{name}"))).unwrap();
    }
    pair.copied(&["-r", "A:s", "B:"]);
    let taken = |name: &str| fs::metadata(pair.to.path(name)).unwrap().blocks() * 512;
    for name in ["s/probe", "s/huge", "s/less"] {
        assert_eq!(fs::metadata(pair.to.path(name)).unwrap().len(), fs::metadata(pair.from.path(name)).unwrap().len());
        assert!(taken(name) < 2 << 20, "{name}: {} bytes on the disk", taken(name));
    }
    let there = File::open(pair.to.path("s/huge")).unwrap();
    for at in [77 << 20, (500 << 20) + 1, HUGE - 70_000] {
        let mut bytes = [0; 70_000];
        there.read_exact_at(&mut bytes, at).unwrap();
        assert_eq!(bytes, [7; 70_000], "at {at}");
    }
    assert!(pair.to.read("s/less") == pair.from.read("s/less"));
    if ferry_e2e::secure::is_asked_for() {
        return;
    }
    // One server that knows none, at either end.
    let places = [pair.from.address(), pair.to.address()].map(|address| Wire::hiding(address, "holes"));
    for (number, (from, to)) in
        [(places[0].address, pair.to.address()), (pair.from.address(), places[1].address)].into_iter().enumerate()
    {
        pair.copied(&[&format!("{from}:s/less"), &format!("{to}:{number}")]);
        let name = number.to_string();
        assert!(pair.to.read(&name) == pair.from.read("s/less"), "{number}");
        assert!(taken(&name) >= 5 << 20, "zeros are zeros");
    }
}
