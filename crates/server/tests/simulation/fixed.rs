//! Fixed conversations, cut and broken at every byte; and those in which something went wrong once.

use std::time::Duration;

use ferry_server::store::{ErrorKind, Operation, StoreError, SystemError, UploadOperation};
use ferry_wire::{Code, Crc32, Failure, Id};

use crate::{
    conn::carried,
    desk::{Desk, Pace},
    dice::Dice,
    reader::Reader,
    script::UPLOAD_BYTES,
};

/// Beyond this, not every byte is tried.
const EVERY_BYTE: usize = 2_000;

fn upload(verb: &str, data: &[u8], end: &str) -> Vec<u8> {
    let mut bytes = format!("{verb}\n").into_bytes();
    for block in data.chunks(1 << 20) {
        bytes.extend_from_slice(format!("DATA {}\n", block.len()).as_bytes());
        bytes.extend_from_slice(block);
    }
    bytes.extend_from_slice(format!("{end}\n").as_bytes());
    bytes
}

fn conversations() -> Vec<Vec<u8>> {
    let one = "DATA 4\none\nEND f817a89f\n";
    let text = |text: &str| text.replace("<one>", one).into_bytes();
    let data = Dice::new(3).bytes(300_000);
    let whole = format!("END {}", Crc32::of(&data));
    vec![
        text("GET f\nCLOSE\n"),
        text("get f\r\nSTAT d\nSTAT nothing\nSUM f\n"),
        text("GET large\nSUM large\nREAD 69990 * * large\nCLOSE\n"),
        text("READ 7 3 * f\nREAD 14 * * f\nREAD 15 * * f\nREAD 0 * no f\nREAD 1 2 f\n"),
        text("LIST\nLIST d\nLIST f\nLIST empty\nLIST nothing\n"),
        text("MKDIR m\nMKDIR m\nMKDIR m/n\nRENAME m//o\nSTAT o/n\nDELETE o\nDELETE o/n\nDELETE o\n"),
        text("PUT 4 - a\n<one>GET a\nPUT 4 1700000001.5 a\n<one>STAT a\nDELETE a\nGET a\n"),
        text("PUT - - a\n<one>PUT - - b\n<one>PUT - - c\n<one>RENAME a//e\nRENAME b//a\nLIST\n"),
        text("PUT 4 - d\n<one>PUT 4 - no/x\n<one>PUT\n<one>PUT 4 - ../x\n<one>GET f\n"),
        text("PUT 4 - a\nDATA 4\none\nEND 00000000\nPUT 5 - a\n<one>PUT 4 - a\nSTOP\nSTAT a\n"),
        text("PUT 3 - a\nDATA 4\nabc"),
        text("PUT - - a\nDATA 2\n\n\nDATA 1\n\rEND -\nGET a\nPUT - - b\nDATA 0\nGET f\n"),
        text("PUT 9999999 - a\nDATA 4\nENDEND -\nGET f\nCLOSE\n"),
        text("RESUME i 4 - k\n<one>GET k\nRESUME i 4 - k\nRESUME i 5 - k\nRESUME i 4 - l\n"),
        text("RESUME i 4 - k\nDATA 2\nonSTOP\nSTAT k\nRESUME i 4 - k\nDATA 2\ne\nEND f817a89f\nGET k\n"),
        text("RESUME i 4 - k\nDATA 4\none\nEND 00000000\nRESUME i 4 - k\n<one>SUM k\n"),
        text("RESUME i - - k\n<one>RESUME i - - k\nRESUME i 4 - k\nGET k\nRESUME j - - d\nRESUME j - - no/k\n"),
        text("RESUME i - - k\nDATA 2\nonSTOP\nRESUME i 4 - k\n<one>RESUME j - - l\n<one>GET l\n"),
        text("RESUME i - - k\nDATA 4\none\nEND 00000000\nRESUME i - - k\nDATA 1\nxJOIN 00000000\nGET f\n"),
        text("RESUME i 4 - d\nRESUME i 4 - no/k\nRESUME a.b 4 - k\nRESUME i -- - k\nRESUME i 0 - z\nEND 00000000\n"),
        text("WITH a=b\nGET f\nWITH\nPUT 4 - a\n<one>WITH x=\nCLOSE\nSTAT a\nWITH a=b\n"),
        text("\nFROB x\nGET\nGET \nRENAME a\nRENAME f//d/inside\nRENAME d//d/e\nGET f/x\nDELETE d\n"),
        text("GET f\nEND 00000000\nDELETE f\n"),
        text("GET f\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        text("STAT f\nCLOSE now\nDELETE f\n"),
        [text("GET f\n"), vec![b'x'; 4_100], text("\nDELETE f\n")].concat(),
        upload("PUT 300000 - a", &data, &whole),
        upload("RESUME i 300000 - a", &data, &whole),
        upload("PUT 300000 - no/a", &data, &whole),
    ]
}

fn positions(conversation: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let length = conversation.len();
    let step = if length > EVERY_BYTE { 9_973 } else { 1 };
    let seams = [15, 16, 17, 262_144 - 1, 262_144, 262_144 + 40, length - 1].into_iter().filter(move |&at| at < length);
    (0..=length).step_by(step).chain(seams.filter(move |_| step > 1))
}

fn whole(conversation: &[u8], pace: Pace, cut: usize) -> Desk {
    let mut desk = Desk::new(pace);
    desk.give(&conversation[..cut]);
    desk.answer_one();
    desk.give(&conversation[cut..]);
    desk.answer_all();
    desk.end_input();
    desk.answer_all();
    desk
}

fn must_be_gone(desk: &Desk) {
    assert!(desk.conn.session.is_over(), "the session is not over");
    assert_eq!((desk.store.staged(), desk.store.locked()), (0, 0), "uploads that nobody has let go");
}

#[test]
fn a_cut_at_any_byte_changes_no_answer() {
    let mut cuts = 0;
    for conversation in conversations() {
        let expected = whole(&conversation, Pace::Now, 0);
        must_be_gone(&expected);
        for pace in [Pace::Now, Pace::AsTheLoop, Pace::Late] {
            for cut in positions(&conversation) {
                let desk = whole(&conversation, pace, cut);
                must_be_gone(&desk);
                let same = desk.output == expected.output && desk.store.tree == expected.store.tree;
                assert!(
                    same,
                    "cut at {cut}, {pace:?}: {:?}\n{}",
                    String::from_utf8_lossy(&conversation[..cut.min(300)]),
                    String::from_utf8_lossy(&desk.output[..desk.output.len().min(2_000)])
                );
                cuts += 1;
            }
        }
    }
    println!("{} conversations, {cuts} cuts", conversations().len());
}

#[test]
fn a_reset_at_any_byte_leaves_nothing_behind() {
    let mut resets = 0;
    for conversation in conversations() {
        let expected = whole(&conversation, Pace::Now, 0);
        for pace in [Pace::Now, Pace::AsTheLoop, Pace::Late] {
            for at in positions(&conversation) {
                let mut desk = Desk::new(pace);
                desk.give(&conversation[..at]);
                desk.answer_one();
                desk.reset();
                desk.answer_all();
                must_be_gone(&desk);
                let effects = &desk.store.effects;
                assert!(expected.store.effects.starts_with(effects), "reset at {at}: {effects:?}");
                resets += 1;
            }
        }
    }
    println!("{} conversations, {resets} resets", conversations().len());
}

#[test]
fn what_is_kept_of_an_upload_and_what_is_not() {
    let one = "DATA 4\none\n";
    for (body, code, offset) in [
        (format!("{one}END 00000000\n"), "checksum", 0),
        (format!("{one}STOP\n"), "stopped", 4),
        ("DATA 2\nonEND f817a89f\n".into(), "incomplete", 2),
    ] {
        for pace in [Pace::Now, Pace::AsTheLoop, Pace::Late] {
            let desk = whole(format!("RESUME i 4 - k\n{body}RESUME i 4 - k\n").as_bytes(), pace, 0);
            let output = String::from_utf8_lossy(&desk.output);
            let answers: Vec<&str> = output.lines().collect();
            assert!(answers[1] == "GO 0" && answers[2].starts_with(&format!("FAIL {code}")), "{answers:?}");
            assert_eq!(answers[3], format!("GO {offset}"));
        }
    }
}

#[test]
fn a_write_that_failed_takes_what_was_kept_only_where_the_disk_failed() {
    let data = Dice::new(1).bytes(900_000);
    let first = &data[..100_000];
    for (code, offset) in
        [(Code::Io, 0), (Code::NoSpace, 100_000), (Code::Busy, 100_000), (Code::TooLarge, 0), (Code::Denied, 100_000)]
    {
        // The write of a full chunk fails, or the end.
        for (bytes, end) in
            [(&data[100_000..], "STOP".to_owned()), (&data[100_000..], format!("END {}", Crc32::of(&data)))]
        {
            let mut desk = Desk::new(Pace::Now);
            desk.store.injects = Some(code);
            desk.give(b"RESUME i 900000 - a\n");
            desk.give(&upload("", first, "STOP")[1..]);
            desk.give(b"RESUME i 900000 - a\n");
            desk.store.fault_rate = 1000;
            desk.give(&upload("", bytes, &end)[1..]);
            desk.store.fault_rate = 0;
            desk.give(b"RESUME i 900000 - a\n");
            let output = String::from_utf8_lossy(&desk.output);
            let answers: Vec<&str> = output.lines().collect();
            assert!(answers[3] == "GO 100000" && answers[4].starts_with(&format!("FAIL {code}")), "{answers:?}");
            assert_eq!(answers[5], format!("GO {offset}"), "{code}, {end}");
        }
    }
}

#[test]
fn a_write_that_fails_after_a_stop_takes_what_was_kept_only_where_the_disk_failed() {
    let data = Dice::new(1).bytes(900_000);
    for (code, offset) in [(Code::Io, 0), (Code::NoSpace, 100_000)] {
        let mut desk = Desk::new(Pace::Late);
        desk.store.injects = Some(code);
        desk.give(b"RESUME i 900000 - a\n");
        desk.answer_all();
        desk.give(&upload("", &data[..100_000], "STOP")[1..]);
        desk.answer_all();
        desk.give(b"RESUME i 900000 - a\n");
        desk.answer_all();
        // A whole chunk is on its way when the upload is given up.
        desk.give(&upload("", &data[100_000..], "STOP")[1..]);
        desk.store.fault_rate = 1000;
        desk.answer_one();
        desk.store.fault_rate = 0;
        desk.answer_all();
        desk.give(b"RESUME i 900000 - a\n");
        desk.answer_all();
        let output = String::from_utf8_lossy(&desk.output);
        let expected = format!("GO 100000\nFAIL stopped stopped, as you asked\nGO {offset}\n");
        assert!(output.ends_with(&expected), "{code}: {output}");
    }
}

#[test]
fn a_newer_connection_gets_the_upload_at_once() {
    for pace in [Pace::Now, Pace::Late] {
        let mut desk = Desk::new(pace);
        desk.give(b"RESUME i 4 - k\n");
        desk.answer_all();
        desk.give(b"DATA 2\non");
        desk.conn.session.evict(&Id::new("another").unwrap(), desk.now);
        desk.conn.session.evict(&Id::new("i").unwrap(), desk.now);
        desk.settle();
        desk.answer_all();
        assert_eq!((desk.store.staged(), desk.store.locked()), (0, 0), "still held");
        desk.give(b"STOP\nRESUME i 4 - k\n");
        desk.answer_all();
        let output = String::from_utf8_lossy(&desk.output);
        assert!(output.contains("GO 0\nFAIL changed ") && output.ends_with("\nGO 2\n"), "{output}");
    }
}

#[test]
fn bytes_of_writes_that_failed_are_not_waited_for() {
    let mut desk = Desk::new(Pace::Now);
    desk.store.fault_rate = 1000;
    let data = Dice::new(1).bytes(600_000);
    for _ in 0..20 {
        // Staging does not fail, so that it is the writes that do.
        desk.store.spare_staging = true;
        desk.give(&upload("PUT - - a", &data, "END -"));
    }
    desk.store.fault_rate = 0;
    desk.give(b"CLOSE\n");
    let text = String::from_utf8(desk.output.clone()).unwrap();
    assert_eq!((text.matches("injected").count(), text.ends_with("BYE\n")), (20, true), "{text}");
}

#[test]
fn uploads_given_up_one_after_the_other_do_not_pile_up() {
    for pace in [Pace::AsTheLoop, Pace::Late] {
        let mut desk = Desk::new(pace);
        for _ in 0..3_000 {
            desk.give(b"PUT - - a\nSTOP\n");
        }
        desk.answer_all();
        desk.end_input();
        desk.answer_all();
        must_be_gone(&desk);
        assert_eq!(String::from_utf8_lossy(&desk.output).matches("stopped").count(), 6_000);
    }
}

#[test]
fn tails_that_are_kept_do_not_pile_up() {
    let mut desk = Desk::new(Pace::Late);
    let data = Dice::new(1).bytes(200_000);
    for number in 0..40 {
        desk.give(format!("RESUME i{number} 300000 - a{number}\n").as_bytes());
        // The answer comes, though what was asked before it takes its time.
        desk.answer_one();
        desk.give(&upload("", &data, "STOP")[1..]);
    }
    desk.answer_all();
    desk.end_input();
    desk.answer_all();
    must_be_gone(&desk);
}

#[test]
fn no_clock_runs_on_who_waits_for_writes_of_uploads_given_up() {
    let mut desk = Desk::new(Pace::AsTheLoop);
    let data = Dice::new(1).bytes(550_000);
    for _ in 0..8 {
        desk.give(&upload("PUT - - a", &data, "STOP"));
    }
    assert!(desk.is_waiting());
    desk.answer_all();
    desk.end_input();
    must_be_gone(&desk);
}

/// Returns the first words of all that a session said, after the greeting.
fn said(desk: &Desk) -> Vec<String> {
    let output = String::from_utf8(desk.output.clone()).unwrap();
    let words = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    output.lines().skip(1).map(words).collect()
}

#[test]
fn a_root_that_does_not_answer_in_a_second_is_busy_and_holds_up_nothing_else() {
    let mut desk = Desk::new(Pace::AsTheLoop);
    desk.give(b"HEALTH\nSTAT f\n");
    assert_eq!(desk.held_back().count(), 1, "what comes behind waits");
    desk.now += Duration::from_millis(999);
    desk.conn.session.handle_timeout(desk.now);
    desk.give(b"");
    assert_eq!(said(&desk), Vec::<String>::new());
    desk.now += Duration::from_millis(1);
    assert_eq!(desk.conn.session.deadline(), Some(desk.now));
    desk.conn.session.handle_timeout(desk.now);
    desk.give(b"");
    assert_eq!(said(&desk), ["FAIL busy", "FILE 14"]);
    // However often it is asked, one helper looks; and the end of that look answers whoever waits by then.
    for _ in 0..3 {
        desk.give(b"HEALTH\n");
        assert_eq!(desk.held_back().count(), 1);
        desk.now += Duration::from_secs(1);
        desk.conn.session.handle_timeout(desk.now);
    }
    desk.give(b"HEALTH\n");
    desk.answer_all();
    assert_eq!(said(&desk)[2..], ["FAIL busy", "FAIL busy", "FAIL busy", "DONE"]);
    desk.give(b"HEALTH\n");
    desk.answer_all();
    assert_eq!(said(&desk).last().unwrap(), "DONE");
    // One that comes too late answers nothing.
    desk.give(b"HEALTH\n");
    desk.now += Duration::from_secs(1);
    desk.conn.session.handle_timeout(desk.now);
    desk.answer_all();
    desk.give(b"STAT f\n");
    assert_eq!(said(&desk)[7..], ["FAIL busy", "FILE 14"]);
}

#[test]
fn a_look_at_the_root_that_fails_is_io_and_takes_effect_in_its_turn() {
    let mut desk = Desk::new(Pace::Late);
    desk.give(b"MKDIR m\nHEALTH\n");
    assert_eq!(desk.held_back().count(), 1, "the change first");
    desk.answer_one();
    desk.store.fault_rate = 1000;
    desk.answer_all();
    assert_eq!(said(&desk), ["DONE", "FAIL io"]);
}

#[test]
fn a_dismissed_session_waits_for_no_body() {
    let mut desk = Desk::new(Pace::Late);
    desk.store.fault_rate = 1000;
    desk.give(b"PUT 4 - a\n");
    desk.conn.session.dismiss(Failure::new(Code::ShuttingDown, "the server is ending"), desk.now);
    desk.conn.dismissed = true;
    desk.answer_all();
    assert!(desk.conn.shut_down);
}

#[test]
fn a_session_that_drains_serves_who_has_just_come_and_later_parts_when_all_is_answered() {
    let ending = || Failure::new(Code::ShuttingDown, "the server is ending");
    let mut desk = Desk::new(Pace::Now);
    let began = desk.now;
    desk.conn.session.drain(ending(), began);
    assert_eq!(desk.conn.session.deadline(), Some(began + Duration::from_secs(1)));
    desk.give(b"STAT f\n");
    assert!(!desk.conn.session.input_is_out(desk.now), "it may have more to ask");
    desk.now += Duration::from_secs(2);
    desk.give(b"PUT 4 - a\nDATA 4\non");
    assert!(!desk.conn.session.input_is_out(desk.now), "an upload is under way");
    desk.give(b"e\nEND f817a89f\nSTAT f\nSTA");
    assert!(!desk.conn.session.input_is_out(desk.now), "a request is under way");
    desk.give(b"T f\n");
    assert!(desk.conn.session.input_is_out(desk.now));
    desk.give(b"");
    let output = String::from_utf8(desk.output.clone()).unwrap();
    let words: Vec<_> = output.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(words, ["FERRY", "FILE", "SAVED", "FILE", "FILE", "FAIL"]);
    assert!(desk.conn.shut_down);
}

#[test]
fn a_session_that_drains_tells_the_idle_and_no_upload_that_is_ahead() {
    let ending = || Failure::new(Code::ShuttingDown, "the server is ending");
    let mut desk = Desk::new(Pace::Now);
    desk.give(b"RESUME i 4 - k\n");
    desk.conn.session.drain(ending(), desk.now);
    desk.now += Duration::from_secs(2);
    desk.conn.session.handle_timeout(desk.now);
    desk.give(b"DATA 4\none\nEND f817a89f\n");
    desk.now += Duration::from_secs(2);
    desk.conn.session.handle_timeout(desk.now);
    desk.give(b"");
    let output = String::from_utf8(desk.output.clone()).unwrap();
    let words: Vec<_> = output.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(words, ["FERRY", "GO", "SAVED", "FAIL"]);
}

#[test]
fn a_range_that_fails_fails_no_other_file() {
    let mut desk = Desk::new(Pace::Late);
    desk.reads = false;
    desk.store.load_bytes = 40_000;
    desk.give(b"GET large\nGET large\n");
    // Opened, and a first piece loaded; what follows can't be read.
    desk.answer_one();
    desk.answer_one();
    desk.store.fault_rate = 1000;
    desk.answer_one();
    desk.store.fault_rate = 0;
    // The client takes all but the end of that piece.
    desk.take_but(10);
    desk.answer_all();
    desk.fail_range(StoreError::at("the first file", ErrorKind::System(SystemError::Disk)));
    desk.reads = true;
    desk.settle();
    desk.answer_all();
    desk.give(b"CLOSE\n");
    let output = String::from_utf8_lossy(&desk.output);
    let failures = output.matches("FAIL ").count();
    assert!(failures == 1 && output.ends_with("\nBYE\n"), "{failures} failures");
}

#[test]
fn what_is_doubtful_is_read_again_and_compared() {
    for meddles in [false, true] {
        let mut desk = Desk::new(Pace::Now);
        (desk.store.doubt_rate, desk.store.meddles) = (1000, meddles);
        desk.give(b"GET large\nSUM large\nREAD 0 300000 * large\nWITH sum=sha256\nSUM large\n");
        let mut reader = Reader::default();
        reader.feed(&desk.output);
        for (request, brings_body) in [("GET", true), ("SUM", false), ("READ", true), ("SUM", false)] {
            let answer = reader.next(brings_body).expect("an answer");
            let code = answer.failure().map(|failure| failure.code);
            assert_eq!(code, meddles.then_some(Code::Changed), "{request}, changed: {meddles}");
        }
    }
}

#[test]
fn who_is_slow_has_checkpoints_too() {
    for (seconds, checkpoints) in [(1, 0), (14, 0), (15, 1), (3600, 1)] {
        let mut desk = Desk::new(Pace::Now);
        let data = Dice::new(1).bytes(600_000);
        desk.give(format!("RESUME i {} - a\nDATA {}\n", data.len(), data.len()).as_bytes());
        // Fewer bytes than a checkpoint is made for at once, and more than one write.
        desk.give(&data[..100_000]);
        desk.now += Duration::from_secs(seconds);
        desk.give(&data[100_000..]);
        assert_eq!(desk.store.checkpoints, checkpoints, "after {seconds} s");
        desk.give(format!("END {}\n", Crc32::of(&data)).as_bytes());
        assert!(String::from_utf8_lossy(&desk.output).contains("SAVED 600000 "));
    }
}

/// The model's store holds a checkpoint against what it was given.
#[test]
fn a_checkpoint_promises_no_hole_that_waits() {
    let mut desk = Desk::new(Pace::Now);
    let data = Dice::new(1).bytes(100_000);
    desk.give(format!("RESUME i 170000 - a\nDATA {}\n", data.len()).as_bytes());
    desk.give(&data);
    desk.now += Duration::from_secs(15);
    desk.give(b"HOLE 70000\n");
    assert_eq!(desk.store.checkpoints, 1);
    let crc = Crc32::of(&[data, vec![0; 70_000]].concat());
    desk.give(format!("END {crc}\n").as_bytes());
    assert!(String::from_utf8_lossy(&desk.output).contains("SAVED 170000 "));
}

#[test]
fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
    for (more, code) in [(0, "SAVED"), (1, "FAIL too-large")] {
        let mut desk = Desk::new(Pace::Now);
        let data = Dice::new(1).bytes(UPLOAD_BYTES as usize + more);
        for size in ["-".to_owned(), data.len().to_string()] {
            desk.output.clear();
            desk.give(&upload(&format!("PUT {size} - a"), &data, "END -"));
            desk.give(b"CLOSE\n");
            assert!(desk.output.starts_with(code.as_bytes()), "{}", String::from_utf8_lossy(&desk.output));
            desk = Desk::new(Pace::Now);
        }
    }
}

#[test]
fn lines_are_taken_some_at_a_time_however_short() {
    for (first, line) in [("", "\n"), ("", "WITH a=b\n"), ("PUT - - a\n", "DATA 1\nx"), ("PUT 9 - ../x\n", "DATA 1\nx")]
    {
        let mut desk = Desk::new(Pace::Now);
        desk.give(first.as_bytes());
        desk.conn.session.take_lines();
        let input = line.repeat(5_000).into_bytes();
        let (mut taken, mut calls) = (0, 0);
        while taken < input.len() {
            let used = desk.conn.session.receive(&input[taken..], desk.now);
            let lines = desk.conn.session.take_lines();
            assert!(used > 0 && lines <= 64, "{lines} lines of {line:?} at once");
            taken += used;
            calls += 1;
            desk.settle();
        }
        assert!(calls >= 5_000 / 64, "{calls} calls for {line:?}");
    }
}

/// Dribbling under a rate may go on for so many seconds of its own: the hour that [`Desk`] allows.
#[test]
fn a_clock_that_stands_still_while_a_rate_is_waited_for_does_not_begin_anew() {
    for (first, drip) in [("", "x"), ("", "WITH a=b\n"), ("PUT 99999 - a\nDATA 99999\n", ""), ("", "")] {
        let mut desk = Desk::new(Pace::Now);
        desk.give(first.as_bytes());
        desk.give(drip.as_bytes());
        let mut own = 0;
        while desk.conn.session.deadline().is_some() && !desk.conn.shut_down {
            own += 60;
            assert!(own <= 3_600, "{first:?}{drip:?} may go on for ever");
            desk.now += Duration::from_secs(60);
            desk.conn.session.handle_timeout(desk.now);
            desk.settle();
            // Ten times as long it waits for the rate.
            let waits = Duration::from_secs(600);
            desk.conn.session.pause();
            desk.now += waits;
            desk.conn.session.handle_timeout(desk.now);
            desk.conn.session.resume(waits, desk.now);
            // A session that did not wait has no use of it.
            desk.conn.session.resume(waits, desk.now);
            if own < 3_600 {
                desk.give(drip.as_bytes());
            }
        }
        assert_eq!(own, 3_600, "{first:?}{drip:?} was thrown out early");
        assert!(String::from_utf8_lossy(&desk.output).contains("FAIL timeout "));
    }
}

#[test]
fn uploads_that_wait_for_the_disk_are_few_and_hold_little() {
    const UPLOADS: usize = 64;
    // The second leaves a chunk that came back from the disk, all but empty.
    for bytes in [600_000, (1 << 20) + 100] {
        let mut desk = Desk::new(Pace::AsTheLoop);
        let data = Dice::new(1).bytes(bytes);
        for number in 0..UPLOADS {
            for piece in upload(&format!("PUT {bytes} - a{number}"), &data, "END -").chunks(100_000) {
                desk.give(piece);
                desk.answer_writes();
            }
        }
        let is_finish = |operation: &&_| matches!(operation, Operation::Upload(_, UploadOperation::Finish(_)));
        let finishing = desk.held_back().filter(is_finish).count();
        let memory: u64 = desk.held_back().map(carried).sum();
        println!("{UPLOADS} uploads of {bytes} bytes: {finishing} wait for the disk, with {memory} bytes of memory");
        assert!(finishing <= 8, "{finishing} files are open");
        assert!(memory <= 3 << 20, "{memory} bytes are held");
        desk.answer_all();
        desk.end_input();
        must_be_gone(&desk);
        assert_eq!(String::from_utf8_lossy(&desk.output).matches("SAVED ").count(), UPLOADS);
    }
}

#[test]
fn uploads_that_were_given_up_count_until_they_are_let_go() {
    let mut desk = Desk::new(Pace::AsTheLoop);
    let data = Dice::new(1).bytes(600_000);
    for _ in 0..64 {
        desk.give(&upload("PUT - - a", &data, "STOP"));
        desk.answer_writes();
    }
    let is_discard = |operation: &&_| matches!(operation, Operation::Upload(_, UploadOperation::Discard { .. }));
    let leaving = desk.held_back().filter(is_discard).count();
    assert!(leaving <= 8, "{leaving} files are open");
    desk.answer_all();
    desk.end_input();
    must_be_gone(&desk);
}
