//! Bodies of uploads that are none, that do not end, or that come in crumbs.

use ferry_e2e::{Raw, eventually};

use crate::{
    alone,
    corpus::{Case, cat, closes, ends, goes_on, resets, times},
    ground::Ground,
};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = whole();
    cases.extend(broken());
    cases.extend(ended());
    cases.extend(refused());
    cases.extend(cuts());
    cases
}

/// `count` blocks of one byte.
fn crumbs(count: usize) -> String {
    times(count, "DATA 1\nx")
}

/// The CRC of `count` bytes `x`.
fn crc_of(count: usize) -> String {
    ferry_e2e::crc(&vec![b'x'; count])
}

fn whole() -> Vec<Case> {
    let saved = |count: usize| format!("SAVED {count} {}", crc_of(count));
    let put = |count: usize| format!("PUT {count} - new\n{}END {}\n", crumbs(count), crc_of(count));
    vec![
        goes_on("a body of crumbs", put(5000), &saved(5000)),
        goes_on("a body of crumbs of no known size", put(5000).replacen("5000", "-", 1), &saved(5000)),
        goes_on("a body of crumbs larger than a write", put(300_000), &saved(300_000)),
        goes_on("an empty file", "PUT 0 - new\nEND 00000000\n", "SAVED 0 00000000"),
        goes_on("an empty file unchecked", "PUT - - new\nEND -\n", "SAVED 0 00000000"),
        goes_on("a body in lowercase", "put 1 - new\ndata 1\nxend 8cdc1683\n", "SAVED 1 8cdc1683"),
        goes_on("a body with CRs", "PUT 1 - new\r\nDATA 1\r\nxEND 8cdc1683\r\n", "SAVED 1 8cdc1683"),
        goes_on("extra words in a body", "PUT 1 - new\nDATA 1 2 3\nxEND 8cdc1683 and more\n", "SAVED 1 8cdc1683"),
        goes_on("a body that looks like requests", "PUT 9 - new\nDATA 9\nDELETE a\nEND -\n", "SAVED 9 1d133ae2"),
        goes_on(
            "a thousand empty files",
            times(1000, "PUT 0 - new\nEND -\n"),
            &vec!["SAVED 0 00000000"; 1000].join("|"),
        ),
    ]
}

fn broken() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        "DATA 0",
        "DATA -1",
        "DATA 01",
        "DATA +1",
        "DATA 1048577",
        "DATA 9223372036854775807",
        "DATA 18446744073709551616",
        "DATA 1e3",
        "DATA 0x1",
        "DATA",
        "DATA ",
        "DATA  1",
        "DATA x",
        "DATA\t1",
        "DATA 6",
        " DATA 1",
        "END",
        "END ",
        "END 0",
        "END 0000000",
        "END 000000000",
        "END 0000000G",
        "END ABCDEF00",
        "END --",
        "END  -",
        " END -",
        "ENDS -",
        "STOPS",
        " STOP",
        "FAIL io no",
        "GET a",
        "PUT 1 - new",
        "CLOSE",
        "WITH a=b",
        "",
        "\r",
        "\0",
        "\u{202e}DNE -",
    ]
    .iter()
    .map(|line| closes(format!("{line:?} in a body"), format!("PUT 5 - new\n{line}\nDELETE a\n"), "bad-request"))
    .collect();
    cases.extend([
        closes("a byte more than announced", "PUT 1 - new\nDATA 2\nxxEND -\n", "bad-request"),
        closes("a block more than announced", "PUT 1 - new\nDATA 1\nxDATA 1\nxEND -\n", "bad-request"),
        closes("a block for an empty file", "PUT 0 - new\nDATA 1\nxEND -\n", "bad-request"),
        closes("a line too long in a body", format!("PUT 5 - new\n{}", times(4096, "x")), "bad-request"),
        closes("an LF behind a block", "PUT 2 - new\nDATA 1\nx\nDATA 1\nxEND -\n", "bad-request"),
        closes("a body twice", "PUT 1 - new\nDATA 1\nxEND -\nDATA 1\nxEND -\n", "SAVED 1 8cdc1683|bad-request"),
        closes("two ENDs", "PUT 1 - new\nDATA 1\nxEND -\nEND -\nDELETE a\n", "SAVED 1 8cdc1683|bad-request"),
        closes("END and STOP", "PUT 1 - new\nDATA 1\nxEND -\nSTOP\nDELETE a\n", "SAVED 1 8cdc1683|bad-request"),
        closes("noise for a body", cat(&[b"PUT - - new\n", &[0xaa; 50_000]]), "bad-request"),
    ]);
    cases
}

fn ended() -> Vec<Case> {
    let bytes = "PUT 5 - new\nDATA 5\nhello";
    vec![
        goes_on("a wrong CRC", format!("{bytes}END 00000000\nSTAT new\n"), "checksum|not-found"),
        goes_on("an END too early", "PUT 5 - new\nEND 00000000\nSTAT new\n", "incomplete|not-found"),
        goes_on("an END too early with the right CRC", "PUT 5 - new\nDATA 1\nxEND 8cdc1683\n", "incomplete"),
        goes_on("STOP at once", "PUT 5 - new\nSTOP\nSTAT new\n", "stopped|not-found"),
        goes_on("STOP behind all bytes", format!("{bytes}STOP\nSTAT new\n"), "stopped|not-found"),
        goes_on("a hundred STOPs", times(100, "PUT 5 - new\nDATA 5\nhelloSTOP\n"), &vec!["stopped"; 100].join("|")),
        goes_on(
            "a hundred wrong CRCs",
            times(100, "PUT 1 - new\nDATA 1\nxEND 00000000\n"),
            &vec!["checksum"; 100].join("|"),
        ),
        ends("an end of input where a block is due", "PUT 5 - new\n", "incomplete"),
        ends("an end of input in a block's line", "PUT 5 - new\nDATA 5", "incomplete"),
        ends("an end of input in a block", "PUT 5 - new\nDATA 5\nhel", "incomplete"),
        ends("an end of input before END", bytes, "incomplete"),
        ends("an end of input in END", format!("{bytes}END 3610a686"), "incomplete"),
        ends(
            "an end of input in a large block",
            cat(&[b"PUT 1048576 - new\nDATA 1048576\n", &[7; 700_000]]),
            "incomplete",
        ),
        ends("an end of input in a refused body", "PUT 5 - d\nDATA 5\nhel", "incomplete"),
    ]
}

fn refused() -> Vec<Case> {
    let large = cat(&[&times(4, &format!("DATA 100000\n{}", times(100_000, "x"))).into_bytes(), b"END -\n"]);
    let nowhere = cat(&[b"PUT 400000 - nowhere/new\n", &large]);
    let behind = |count: usize| vec!["not-found"; count].join("|") + "|FILE 5";
    vec![
        goes_on("a large body to nowhere", cat(&[&nowhere, b"STAT a\n"]), &behind(1)),
        goes_on("twenty large bodies to nowhere", cat(&[&nowhere.repeat(20), b"STAT a\n"]), &behind(20)),
        goes_on("a refused body far too long", cat(&[b"PUT 1 - ../x\n", &large, b"STAT a\n"]), "bad-name|FILE 5"),
        goes_on(
            "a refused body of crumbs",
            format!("PUT 1 - ../x\n{}END -\nSTAT a\n", crumbs(50_000)),
            "bad-name|FILE 5",
        ),
        goes_on("a refused body unchecked", "PUT 1 - ../x\nDATA 1\nxEND 00000000\nSTAT a\n", "bad-name|FILE 5"),
        goes_on("a PUT of no arguments", "PUT\nEND -\nSTAT a\n", "bad-request|FILE 5"),
        goes_on("a hundred PUTs of no arguments", times(100, "PUT\nSTOP\n"), &vec!["bad-request"; 100].join("|")),
        closes("a refused body that is none", "PUT 1 - ../x\nDATA 0\nDELETE a\n", "bad-name|bad-request"),
        closes("requests behind a refused PUT", "PUT 1 - ../x\nDELETE a\n", "bad-name|bad-request"),
    ]
}

fn cuts() -> Vec<Case> {
    vec![
        resets("a reset where a block is due", "PUT 5 - new\n", ""),
        resets("a reset inside a block", "PUT 5 - new\nDATA 5\nhel", ""),
        resets("a reset inside a large block", cat(&[b"PUT 1048576 - new\nDATA 1048576\n", &[7; 600_000]]), ""),
        resets("a reset behind END", "PUT 1 - new\nDATA 1\nxEND -\n", ""),
        resets("a reset behind many ENDs", times(200, "PUT 1 - new\nDATA 1\nxEND -\n"), "SAVED 1 8cdc1683"),
        resets("a reset while a body is discarded", "PUT 9 - ../x\nDATA 9\nhel", "bad-name"),
    ]
}

#[test]
fn uploads_that_fail_one_after_another_leave_the_connection_usable() {
    let _alone = alone();
    let ground = Ground::start("--max-staged 300000 --durability none");
    let mut raw = Raw::greeted(ground.server.address());
    for attempt in 0..20 {
        for (name, code) in [("nowhere/new", "not-found"), ("new", "no-space")] {
            let answer = raw.put(name, &[7; 400_000]);
            assert_eq!(answer.code(), Some(code), "attempt {attempt}: {:?}", answer.line);
        }
    }
    let fits = || raw.put("new", &[7; 200_000]).code().is_none().then_some(());
    eventually("what was staged is given back", fits);
    drop(raw);
    ground.ends_as_it_began();
}
