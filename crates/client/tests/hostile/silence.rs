//! Silence, and words without end that come too slowly: no call outlasts its patience.

use std::time::Duration;

use crate::{
    ask::{
        Ask::{
            self, Close, Connect, Get, GetThenWait, List, Mkdir, Put, PutLarge, Read, Resume, ResumeLarge, Stat, Sum,
        },
        Outcome::{self, Closed, Stranger, Timeout},
    },
    case::{Case, run},
    stage::{Step, greeted, say},
};

/// The client's own timeout.
const TIMEOUT: Duration = Duration::from_millis(600);

/// Far longer than ten timeouts, which is what a request may take that goes through a file.
const GUARD: Duration = Duration::from_secs(30);

fn after(reply: &str) -> Vec<Step> {
    greeted([Step::Line, say(reply), Step::Stuck])
}

fn dribble(reply: &str, line: &str) -> Vec<Step> {
    greeted([Step::Line, say(reply), Step::Dribble(line.into())])
}

#[test]
#[rustfmt::skip]
fn silence_at_every_step() {
    let rows: Vec<(&str, Ask, Vec<Step>, Outcome)> = vec![
        ("before the greeting", Connect, vec![Step::Stuck], Stranger),
        ("in the greeting", Connect, vec![say("FERRY 1"), Step::Stuck], Stranger),
        ("before FILE", Get, after(""), Timeout),
        ("in FILE", Get, after("FILE 5"), Timeout),
        ("behind FILE", Get, after("FILE 5 - t\n"), Timeout),
        ("in DATA", Get, after("FILE 5 - t\nDAT"), Timeout),
        ("behind DATA", Get, after("FILE 5 - t\nDATA 5\n"), Timeout),
        ("in a block", Get, after("FILE 5 - t\nDATA 5\nhel"), Timeout),
        ("before END", Get, after("FILE 5 - t\nDATA 5\nhello"), Timeout),
        ("in END", Get, after("FILE 5 - t\nDATA 5\nhelloEND 3610a686"), Timeout),
        ("in FAIL", Get, after("FILE 5 - t\nFAIL io no"), Timeout),
        ("in a part", Read(0, Some(2)), after("FILE 5 - t\nDATA 2\nh"), Timeout),
        ("before LISTING", List, after(""), Timeout),
        ("behind LISTING", List, after("LISTING\n"), Timeout),
        ("in an entry", List, after("LISTING\nDATA 10\nf 5 - t"), Timeout),
        ("before the END of a listing", List, after("LISTING\nDATA 10\nf 5 - t a\n"), Timeout),
        ("before the reply to STAT", Stat, after(""), Timeout),
        ("before DONE", Mkdir, after(""), Timeout),
        ("in DONE", Mkdir, after("DON"), Timeout),
        ("before BYE", Close, after(""), Timeout),
        ("before SUM", Sum, after(""), Timeout),
        ("in SUM", Sum, after("SUM 5 "), Timeout),
        ("before SAVED", Put, greeted([Step::Line, Step::Body, Step::Stuck]), Timeout),
        ("in SAVED", Put, greeted([Step::Line, Step::Body, say("SAVED 5"), Step::Stuck]), Timeout),
        ("nothing of a body is read", PutLarge, greeted([Step::Line, Step::Stuck]), Timeout),
        ("no more of a body is read", PutLarge, greeted([Step::Line, Step::Take(100_000), Step::Stuck]), Timeout),
        ("half a FAIL, no more of a body is read", PutLarge, greeted([Step::Line, Step::Take(100_000), say("FAIL io"), Step::Stuck]), Timeout),
        ("before GO", Resume, after(""), Timeout),
        ("in GO", Resume, after("GO"), Timeout),
        ("behind GO, and nothing is read", ResumeLarge, after("GO 0\n"), Timeout),
        ("behind a resumed body", Resume, greeted([Step::Line, say("GO 3\n"), Step::Body, Step::Stuck]), Timeout),
        ("closes in the end", GetThenWait, greeted([Step::Line, say("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n"), Step::Hangup]), Closed),
    ];
    run_impatient("silence", rows);
}

/// Each byte in time, and never the end of a line.
#[test]
#[rustfmt::skip]
fn a_line_that_dribbles() {
    let rows: Vec<(&str, Ask, Vec<Step>, Outcome)> = vec![
        ("a stranger", Connect, vec![Step::Dribble(b"x".into())], Stranger),
        ("the greeting", Connect, vec![say("FERRY 1 x/1"), Step::Dribble(b" feature".into())], Stranger),
        ("FILE", Get, dribble("FILE 5 - t", " x"), Timeout),
        ("DATA", Get, dribble("FILE 5 - t\nDATA 5", " x"), Timeout),
        ("END", Get, dribble("FILE 5 - t\nDATA 5\nhelloEND 3610a686", " x"), Timeout),
        ("FAIL", Stat, dribble("FAIL io", " x"), Timeout),
        ("LISTING", List, dribble("LISTING", " x"), Timeout),
        ("SUM", Sum, dribble("SUM", " x"), Timeout),
        ("SAVED", Put, greeted([Step::Line, Step::Body, Step::Dribble(b"SAVED ".into())]), Timeout),
        ("GO", Resume, dribble("GO 3", " x"), Timeout),
        ("BYE", Close, dribble("BYE", " x"), Timeout),
        ("FAIL, and no more of a body is read", PutLarge, greeted([Step::Line, say("FAIL io"), Step::DribbleDeaf(b" x".into())]), Timeout),
    ];
    run_impatient("lines that dribble", rows);
}

/// Each byte in time, and far too few.
#[test]
#[rustfmt::skip]
fn a_body_that_dribbles() {
    let rows: Vec<(&str, Ask, Vec<Step>, Outcome)> = vec![
        ("a block", Get, dribble("FILE 1048575 - t\nDATA 1048575\n", "x"), Timeout),
        ("a block of a large file", Get, dribble("FILE 1048576 - t\nDATA 1048576\n", "x"), Timeout),
        ("blocks of one byte", Get, dribble("FILE 1048576 - t\n", "DATA 1\nx"), Timeout),
        ("a part", Read(0, Some(1 << 20)), dribble("FILE 1048576 - t\nDATA 1048576\n", "x"), Timeout),
        ("a listing", List, dribble("LISTING\nDATA 1048576\n", "x"), Timeout),
        ("a listing of short blocks", List, dribble("LISTING\n", "DATA 15\nd - - - abcdef\n"), Timeout),
    ];
    run_impatient("bodies that dribble", rows);
}

fn run_impatient(what: &str, rows: Vec<(&'static str, Ask, Vec<Step>, Outcome)>) {
    let impatient = |(name, ask, steps, expected)| {
        let case = Case::new(name, ask, steps, expected);
        Case { timeout: TIMEOUT, guard: GUARD, ..case }
    };
    run(what, rows.into_iter().map(impatient).collect());
}
