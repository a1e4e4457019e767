//! Uploads and changes of names that the file system does not answer: clients are told, others go
//! on, and what comes late does no harm.

use std::fs;

use ferry_e2e::{
    Answer, Raw, body, crc, eventually, mounts,
    puppet::{Op, Order},
    random_bytes,
};

use super::{FLOOD, Stage};

/// As long as a helper may hang before another one takes its place, and longer.
const TIMEOUT: &str = "1s";
const LONGER_TIMEOUT: &str = "3s";

/// Finished together with others, and by itself.
const SMALL_BYTES: usize = 100;
const BYTES: usize = 100 << 10;

/// More than is gathered for a write, so that writes are under way before the body ends.
const LARGE_BYTES: usize = 3 << 20;

/// Room for two uploads that are not let go, and for no third one.
const MAX_STAGED: &str = "10MiB";

fn stage(timeout: &str) -> Stage {
    let stage = Stage::with(&["a"], SMALL_BYTES, &["--job-timeout", timeout, "--max-staged", MAX_STAGED]);
    for name in ["d", "other"] {
        assert_eq!(stage.client().ask(&format!("MKDIR {name}")).line, "DONE");
        // All directories have been seen.
        assert_eq!(stage.client().ask(&format!("MKDIR {name}/inside")).line, "DONE");
    }
    stage
}

/// Changes elsewhere are made.
#[track_caller]
fn changes_elsewhere_go_on(stage: &Stage) {
    let mut other = stage.client();
    assert_eq!(other.ask("MKDIR other/new").line, "DONE");
    assert_eq!(other.ask("DELETE other/new").line, "DONE");
}

/// Nothing is staged any more.
#[track_caller]
fn until_nothing_is_staged(stage: &Stage) {
    let entries = |path: &std::path::Path| -> Vec<String> {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let corner = stage.puppet.join(".ferry");
    eventually("all that was staged is let go", || {
        let runs = entries(&corner).into_iter().filter(|name| name.starts_with("run-"));
        runs.flat_map(|run| entries(&corner.join(run))).all(|entry| entry == "lock").then_some(())
    });
}

#[test]
fn a_small_upload_that_hangs_is_busy_and_the_late_end_does_no_harm() {
    upload_hangs(SMALL_BYTES);
}

#[test]
fn an_upload_that_hangs_is_busy_and_the_late_end_does_no_harm() {
    upload_hangs(BYTES);
}

#[test]
fn a_large_upload_that_hangs_is_busy_and_the_late_end_does_no_harm() {
    upload_hangs(LARGE_BYTES);
}

fn upload_hangs(length: usize) {
    if !mounts::private(&[]) {
        return;
    }
    let stage = stage(TIMEOUT);
    let bytes = random_bytes(length as u64, length);
    for op in [Op::Create, Op::Write, Op::Fsync, Op::Rename, Op::Fsyncdir] {
        stage.puppet.order(op, None, Order::Hang);
        let mut client = stage.client();
        client.put("d/new", &bytes).expect_failure("busy");
        assert_eq!(client.ask("GET fine").verified(), b"fine", "the connection can be used on");
        stage.others_go_on();
        if op != Op::Fsyncdir {
            changes_elsewhere_go_on(&stage);
        }
        stage.puppet.release();
        until_nothing_is_staged(&stage);
        // It may be there, and then whole.
        let found = client.ask("GET d/new");
        if found.code() != Some("not-found") {
            assert!(matches!(op, Op::Rename | Op::Fsyncdir), "{op:?}: nobody is to find it");
            assert!(found.verified() == bytes);
        }
        eventually("uploads work again", || (client.put("d/new", &bytes).word(0) == "SAVED").then_some(()));
        assert!(client.ask("GET d/new").verified() == bytes);
        assert_eq!(client.ask("DELETE d/new").line, "DONE");
        until_nothing_is_staged(&stage);
    }
}

/// Asks for an upload until it is no longer held; returns the answer.
#[track_caller]
fn resumed(raw: &mut Raw, request: &str) -> Answer {
    eventually("the upload is free", || {
        let answer = raw.ask(request);
        (answer.code() != Some("busy")).then_some(answer)
    })
}

#[test]
fn a_resumable_upload_that_hangs_goes_on_when_the_file_system_answers() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = stage(TIMEOUT);
    let bytes = random_bytes(7, LARGE_BYTES);
    let end = format!("END {}\n", crc(&bytes));
    for (index, op) in [Op::Create, Op::Write, Op::Fsync, Op::Rename].into_iter().enumerate() {
        let request = format!("RESUME upload-{index} {LARGE_BYTES} - d/new-{index}");
        let mut client = stage.client();
        if op == Op::Create {
            stage.puppet.order(op, None, Order::Hang);
            client.ask(&request).expect_failure("busy");
        } else {
            assert_eq!(client.ask(&request).line, "GO 0");
            stage.puppet.order(op, None, Order::Hang);
            client.send(body(&bytes, 64 << 10));
            client.answer("RESUME").expect_failure("busy");
        }
        assert_eq!(client.ask("GET fine").verified(), b"fine");
        stage.client().ask(&request).expect_failure("busy");
        stage.puppet.release();
        let answer = resumed(&mut client, &request);
        match answer.word(0) {
            // It was renamed, late.
            "SAVED" => assert_eq!(op, Op::Rename),
            _ => {
                let offset: usize = answer.line.strip_prefix("GO ").unwrap().parse().unwrap();
                assert_eq!(offset, if op == Op::Fsync { LARGE_BYTES } else { 0 }, "{op:?}");
                let rest = body(&bytes[offset..], 64 << 10);
                let cut = rest.len() - end.len();
                client.send(&rest[..cut]);
                client.send(&end);
                assert_eq!(client.answer("RESUME").word(0), "SAVED");
            }
        }
        assert!(client.ask(&format!("GET d/new-{index}")).verified() == bytes);
        assert_eq!(client.ask(&request).word(0), "SAVED", "once and for all");
    }
    until_nothing_is_staged(&stage);
}

#[test]
fn a_change_that_hangs_is_busy_until_it_comes_to_an_end() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = stage(TIMEOUT);
    let cases = [
        (Op::Mkdir, Some("made"), "MKDIR d/made", "exists", ["STAT d/made", "DELETE d/made"]),
        (Op::Rmdir, Some("gone"), "DELETE d/gone", "not-found", ["MKDIR d/gone", "STAT d/gone"]),
        (Op::Link, None, "RENAME d/from//d/to", "not-found", ["STAT d/to", "DELETE d/to"]),
    ];
    for (op, name, request, again, after) in cases {
        let mut client = stage.client();
        assert_eq!(client.ask("MKDIR d/gone").line, "DONE");
        assert_eq!(client.put("d/from", b"x").word(0), "SAVED");
        stage.puppet.order(op, name, Order::Hang);
        client.send(format!("{request}\nGET fine\n"));
        client.answer(request).expect_failure("busy");
        assert_eq!(client.answer("GET").verified(), b"fine", "the connection can be used on");
        // At once, whoever asks for the same, and for what lies beside it.
        stage.client().ask(request).expect_failure("busy");
        stage.client().ask("MKDIR d/beside").expect_failure("busy");
        changes_elsewhere_go_on(&stage);
        stage.others_go_on();
        stage.puppet.release();
        eventually("it has come to an end", || client.ask("MKDIR d/beside").code().is_none().then_some(()));
        client.ask(request).expect_failure(again);
        for request in after {
            assert_eq!(client.ask(request).code(), None, "{request}");
        }
        for name in ["d/beside", "d/gone", "d/from"] {
            client.ask(&format!("DELETE {name}"));
        }
    }
    until_nothing_is_staged(&stage);
}

#[test]
fn the_changes_of_a_connection_wait_for_one_that_hangs_and_those_of_others_do_not() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = stage(LONGER_TIMEOUT);
    stage.puppet.order(Op::Mkdir, Some("made"), Order::Hang);
    let mut client = stage.client();
    client.send("MKDIR d/made\nMKDIR d/made/below\nMKDIR other/mine\nSTAT other/mine\n");
    changes_elsewhere_go_on(&stage);
    client.answer("MKDIR").expect_failure("busy");
    client.answer("MKDIR").expect_failure("busy");
    assert_eq!(client.answer("MKDIR").line, "DONE");
    assert_eq!(client.answer("STAT").word(0), "DIR");
    stage.puppet.release();
    eventually("it was made", || client.ask("STAT d/made").code().is_none().then_some(()));
    client.ask("STAT d/made/below").expect_failure("not-found");
}

#[test]
fn where_no_helper_is_left_changes_are_busy_at_once_and_reads_go_on() {
    if !mounts::private(&[]) {
        return;
    }
    let stage = stage(TIMEOUT);
    let names: Vec<_> = (0..FLOOD).map(|index| format!("d-{index}")).collect();
    for name in &names {
        assert_eq!(stage.client().ask(&format!("MKDIR {name}")).line, "DONE");
        assert_eq!(stage.client().ask(&format!("MKDIR {name}/inside")).line, "DONE");
    }
    stage.puppet.order(Op::Mkdir, Some("made"), Order::Hang);
    let mut waiting: Vec<_> = names.iter().map(|name| stage.stuck(&format!("MKDIR {name}/made"))).collect();
    for raw in &mut waiting {
        raw.answer("MKDIR").expect_failure("busy");
    }
    stage.client().ask("MKDIR other/new").expect_failure("busy");
    stage.others_go_on();
    let lines = stage.server.log().lines().filter(|line| line.contains("does not answer: replaced")).count();
    assert!((1..=6).contains(&lines), "{lines} lines");
    stage.puppet.release();
    eventually("changes work again", || stage.client().ask("MKDIR other/new").code().is_none().then_some(()));
    for (raw, name) in waiting.iter_mut().zip(&names) {
        // Those that were begun were made, late, and no other.
        eventually("nothing is stuck", || {
            let answer = raw.ask(&format!("MKDIR {name}/made"));
            matches!(answer.code(), None | Some("exists")).then_some(())
        });
    }
}
