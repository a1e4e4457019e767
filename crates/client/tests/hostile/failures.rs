//! FAIL in every place, with every code, and with a message that would drive a terminal.

use ferry_client::Code;

use crate::{
    ask::{Ask, Outcome},
    case::{Case, run},
    stage::{Step, after_body, answer, greeted, in_body, resumed, said_after, say},
};

/// Name, what is asked, what the server does around the line of FAIL.
type Place = (&'static str, Ask, fn(&[u8]) -> Vec<Step>);

fn behind(head: &str, failure: &[u8]) -> Vec<Step> {
    answer([head.as_bytes(), failure].concat())
}

#[rustfmt::skip]
const PLACES: &[Place] = &[
    ("the greeting", Ask::Connect, |fail| vec![say(fail)]),
    ("the reply to GET", Ask::Get, |fail| answer(fail)),
    ("the first block of GET", Ask::Get, |fail| behind("FILE 5 - t\n", fail)),
    ("the second block of GET", Ask::Get, |fail| behind("FILE 5 - t\nDATA 2\nhe", fail)),
    ("the END of GET", Ask::Get, |fail| behind("FILE 5 - t\nDATA 5\nhello", fail)),
    ("the reply to READ", Ask::Read(3, None), |fail| answer(fail)),
    ("the block of READ", Ask::Read(3, None), |fail| behind("FILE 5 - t\nDATA 1\nl", fail)),
    ("the reply to LIST", Ask::List, |fail| answer(fail)),
    ("the second block of LIST", Ask::List, |fail| behind("LISTING\nDATA 10\nf 5 - t a\n", fail)),
    ("the reply to STAT", Ask::Stat, |fail| answer(fail)),
    ("the reply to SUM", Ask::Sum, |fail| answer(fail)),
    ("the reply to SUM with SHA-256", Ask::Hash, |fail| said_after("with-sha256", 2, fail)),
    ("the reply to SPACE", Ask::Space, |fail| said_after("space", 1, fail)),
    ("the reply to MKDIR", Ask::Mkdir, |fail| answer(fail)),
    ("the reply to DELETE", Ask::Delete, |fail| answer(fail)),
    ("the reply to RENAME", Ask::Rename, |fail| answer(fail)),
    ("the reply to CLOSE", Ask::Close, |fail| answer(fail)),
    ("the reply to PUT", Ask::Put, |fail| after_body(fail)),
    ("the middle of PUT", Ask::PutLarge, |fail| in_body(fail)),
    ("the reply to RESUME", Ask::Resume, |fail| answer(fail)),
    ("the end of RESUME", Ask::Resume, |fail| resumed("3", fail)),
    ("the middle of RESUME", Ask::ResumeLarge, |fail| {
        greeted([Step::Line, say("GO 0\n"), Step::Take(100_000), say(fail)])
    }),
];

#[test]
fn a_failure_in_every_place_with_every_code() {
    let nasty = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{202e}gpj\u{2066}\u{200b}\u{feff}\u{2028}\u{85}\r";
    let mut cases = Vec::new();
    for (place, ask, steps) in PLACES {
        for code in Code::ALL {
            let line = [format!("FAIL {code} {nasty}").as_bytes(), b"\xff\xfe\r\n"].concat();
            let name = format!("{code} in place of {place}");
            cases.push(Case::new(name, *ask, steps(&line), Outcome::Fails(*code)));
        }
        for line in ["FAIL\n", "FAIL \n", "fail too-hot \x1b[2J\n", "FAIL  io two spaces\n", "FAIL \u{202e}\n"] {
            let name = format!("{line:?} in place of {place}");
            cases.push(Case::new(name, *ask, steps(line.as_bytes()), Outcome::Fails(Code::Unknown)));
        }
        let long = format!("FAIL io {}\n", "\u{7f}".repeat(4095 - 8));
        cases.push(Case::new(
            format!("the longest line in place of {place}"),
            *ask,
            steps(long.as_bytes()),
            Outcome::Fails(Code::Io),
        ));
        let longer = format!("FAIL io {}\n", "x".repeat(4096));
        let expected = if *ask == Ask::Connect { Outcome::Stranger } else { Outcome::Violation };
        cases.push(Case::new(format!("a line too long in place of {place}"), *ask, steps(longer.as_bytes()), expected));
    }
    run("failures", cases);
}
