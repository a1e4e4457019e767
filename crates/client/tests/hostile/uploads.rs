//! PUT and RESUME: what a server may say before, in and behind a body. The file is `hello`.

use ferry_client::Code;

use crate::{
    ask::{
        Ask::{Put, PutLarge, PutThenWait, Resume, ResumeLarge},
        Outcome::{Anything, Closed, Done, Fails, Verification, Violation},
    },
    case::{Row, run_table},
    stage::{Step, after_body, answer, greeted, in_body, resumed, say},
};

#[test]
#[rustfmt::skip]
fn puts() {
    let rows: Vec<Row> = vec![
        ("honest", Put, after_body("SAVED 5 3610a686 t\n"), Done),
        ("extra words", Put, after_body("saved 5 3610a686 t \x1b[2J\r\n"), Done),
        ("another size", Put, after_body("SAVED 4 3610a686 t\n"), Verification),
        ("another CRC", Put, after_body("SAVED 5 3610a687 t\n"), Verification),
        ("nothing saved", Put, after_body("SAVED 0 00000000 t\n"), Verification),
        ("the largest size", Put, after_body("SAVED 9223372036854775807 3610a686 t\n"), Verification),
        ("a size too large", Put, after_body("SAVED 9223372036854775808 3610a686 t\n"), Violation),
        ("a leading zero", Put, after_body("SAVED 05 3610a686 t\n"), Violation),
        ("a CRC in large letters", Put, after_body("SAVED 5 3610A686 t\n"), Violation),
        ("no CRC", Put, after_body("SAVED 5 - t\n"), Violation),
        ("no tag", Put, after_body("SAVED 5 3610a686\n"), Violation),
        ("a tag too long", Put, after_body(format!("SAVED 5 3610a686 {}\n", "t".repeat(65))), Violation),
        ("a tag in control characters", Put, after_body("SAVED 5 3610a686 \x1b[2J\n"), Violation),
        ("SUM", Put, after_body("SUM 5 3610a686 t\n"), Violation),
        ("DONE", Put, after_body("DONE\n"), Violation),
        ("GO", Put, after_body("GO 0\n"), Violation),
        ("FILE", Put, after_body("FILE 5 - t\n"), Violation),
        ("END", Put, after_body("END 3610a686\n"), Violation),
        ("the body sent back", Put, after_body("DATA 5\nhelloEND 3610a686\n"), Violation),
        ("nonsense", Put, after_body("\x1b[2J\u{202e}\n"), Violation),
        ("an endless line", Put, greeted([Step::Line, Step::Body, Step::Flood(vec![b'S'; 4096])]), Violation),
        ("closes", Put, greeted([Step::Line, Step::Body, Step::Hangup]), Closed),
        ("closes before the body is read", Put, greeted([Step::Line, Step::Hangup]), Closed),
        ("resets", Put, greeted([Step::Line, Step::Body, Step::Reset]), Closed),
        ("half a reply", Put, greeted([Step::Line, Step::Body, say("SAVED 5 3610a686 t"), Step::Hangup]), Closed),
        ("SAVED twice", PutThenWait, after_body("SAVED 5 3610a686 t\nSAVED 5 3610a686 t\n"), Violation),
        ("SAVED and then FAIL", PutThenWait, after_body("SAVED 5 3610a686 t\nFAIL io no\n"), Closed),
        ("FAIL and then SAVED", Put, after_body("FAIL io no\nSAVED 5 3610a686 t\n"), Fails(Code::Io)),
    ];
    run_table("replies to PUT", rows);
}

#[test]
#[rustfmt::skip]
fn words_in_the_middle_of_a_body() {
    let rows: Vec<Row> = vec![
        ("SAVED", PutLarge, in_body("SAVED 33554432 00000000 t\n"), Violation),
        ("GO", PutLarge, in_body("GO 0\n"), Violation),
        ("DONE", PutLarge, in_body("DONE\n"), Violation),
        ("BYE", PutLarge, in_body("BYE\n"), Violation),
        ("KEPT", PutLarge, in_body("KEPT 5\n"), Violation),
        ("KEPT behind GO", ResumeLarge, greeted([Step::Line, say("GO 0\n"), Step::Take(100_000), say("KEPT 5\n")]), Violation),
        ("FILE and a body", PutLarge, in_body("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n"), Violation),
        ("an empty line", PutLarge, in_body("\n"), Violation),
        ("nonsense", PutLarge, in_body("\x1b[2J\u{202e}\n"), Violation),
        ("an endless line", PutLarge, greeted([Step::Line, Step::Take(100_000), Step::Flood(vec![b'x'; 4096])]), Violation),
        ("endless replies", PutLarge, greeted([Step::Line, Step::Take(100_000), Step::Flood(b"DONE\n".repeat(1000))]), Violation),
        ("endless failures, and nothing read", PutLarge, greeted([Step::Line, Step::Flood(b"FAIL io no\n".repeat(1000))]), Fails(Code::Io)),
        ("closes", PutLarge, greeted([Step::Line, Step::Take(100_000), Step::Reset]), Closed),
        ("FAIL and closes", PutLarge, greeted([Step::Line, Step::Take(100_000), say("FAIL no-space full\n"), Step::Hangup]), Fails(Code::NoSpace)),
        ("FAIL twice", PutLarge, in_body("FAIL io no\nFAIL io no\n"), Fails(Code::Io)),
        ("FAIL before the body", PutLarge, answer("FAIL read-only no\n"), Fails(Code::ReadOnly)),
        ("another GO", ResumeLarge, greeted([Step::Line, say("GO 0\n"), Step::Take(100_000), say("GO 5\n")]), Violation),
        ("SAVED behind GO", ResumeLarge, greeted([Step::Line, say("GO 0\n"), Step::Take(100_000), say("SAVED 33554432 00000000 t\n")]), Violation),
        ("FAIL behind GO", ResumeLarge, greeted([Step::Line, say("GO 0\n"), Step::Take(100_000), say("FAIL changed newer\n")]), Fails(Code::Changed)),
        ("resets behind GO", ResumeLarge, greeted([Step::Line, say("GO 0\n"), Step::Take(100_000), Step::Reset]), Closed),
    ];
    run_table("words in the middle of a body", rows);
}

#[test]
#[rustfmt::skip]
fn resumes() {
    let saved = "SAVED 5 3610a686 t\n";
    let rows: Vec<Row> = vec![
        ("from the beginning", Resume, resumed("0", saved), Done),
        ("from the middle", Resume, resumed("3 and on", saved), Done),
        ("from the end", Resume, resumed("5", saved), Done),
        ("from behind the end", Resume, resumed("6", saved), Violation),
        ("from the largest offset", Resume, resumed("9223372036854775807", saved), Violation),
        ("from an offset too large", Resume, resumed("9223372036854775808", saved), Violation),
        ("from a negative offset", Resume, resumed("-1", saved), Violation),
        ("from an offset with a leading zero", Resume, resumed("03", saved), Violation),
        ("from nowhere", Resume, resumed("-", saved), Violation),
        ("from an empty offset", Resume, resumed("", saved), Violation),
        ("GO twice", Resume, greeted([Step::Line, say("GO 0\nGO 0\n"), Step::Body]), Violation),
        ("GO behind the body", Resume, resumed("0", "GO 5\n"), Violation),
        // It may be heard before the end is out, or behind it.
        ("GO and SAVED at once", Resume, greeted([Step::Line, say(format!("GO 0\n{saved}")), Step::Body]), Anything),
        ("a look that differs", Resume, greeted([Step::Line, say("GO 3\n"), Step::Body, say(saved), Step::Line, say("SUM 5 00000000 t\n")]), Verification),
        ("a look that fails", Resume, greeted([Step::Line, say("GO 3\n"), Step::Body, say(saved), Step::Line, say("FAIL io no\n")]), Fails(Code::Io)),
        ("another size", Resume, resumed("3", "SAVED 2 3610a686 t\n"), Verification),
        ("the CRC of the rest alone", Resume, resumed("3", "SAVED 5 559c4a9d t\n"), Verification),
        ("SAVED at once", Resume, greeted([Step::Line, say(saved), Step::Line, say("SUM 5 3610a686 t\n")]), Done),
        ("SAVED at once, another size", Resume, answer("SAVED 6 3610a686 t\n"), Verification),
        ("SAVED at once, another CRC", Resume, answer("SAVED 5 3610a687 t\n"), Verification),
        ("SAVED at once, no tag", Resume, answer("SAVED 5 3610a686\n"), Violation),
        ("DONE", Resume, answer("DONE\n"), Violation),
        ("FILE", Resume, answer("FILE 5 - t\n"), Violation),
        ("SUM", Resume, answer("SUM 5 3610a686 t\n"), Violation),
        ("an endless line", Resume, greeted([Step::Line, say("GO "), Step::Flood(vec![b'0'; 4096])]), Violation),
        ("closes", Resume, greeted([Step::Line, Step::Hangup]), Closed),
        ("closes behind GO", Resume, greeted([Step::Line, say("GO 0\n"), Step::Hangup]), Closed),
    ];
    run_table("replies to RESUME", rows);
}
