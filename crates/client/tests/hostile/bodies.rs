//! GET and READ: what a server may answer, and how a body may go wrong.

use ferry_client::Code;

use crate::{
    ask::{
        Ask::{Get, GetThenWait, Read},
        Outcome::{Closed, Done, Fails, Verification, Violation},
    },
    case::{Row, run_table},
    stage::{Step, answer, answer_each, greeted, say},
};

fn flood(reply: &str, words: impl AsRef<[u8]>) -> Vec<Step> {
    greeted([Step::Line, say(reply), Step::Flood(words.as_ref().to_vec())])
}

#[test]
#[rustfmt::skip]
fn heads() {
    let tag64 = "t".repeat(64);
    let rows: Vec<Row> = vec![
        ("honest", Get, answer("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n"), Done),
        ("the longest tag and extra words", Get, answer(format!("FILE 5 1.5 {tag64} and more\nDATA 5 x\nhelloEND 3610a686 x\n")), Done),
        ("the largest time", Get, answer("FILE 5 9223372036854775807.999999999 t\nDATA 5\nhelloEND 3610a686\n"), Done),
        ("one byte more of a tag", Get, answer(format!("FILE 5 - {tag64}t\n")), Violation),
        ("an empty tag", Get, answer("FILE 5 - \n"), Violation),
        ("no tag", Get, answer("FILE 5 -\n"), Violation),
        ("a tag with a slash", Get, answer("FILE 5 - ../t\n"), Violation),
        ("a tag in control characters", Get, answer("FILE 5 - \x1b[2J\n"), Violation),
        ("a tag that is not ASCII", Get, answer("FILE 5 - \u{202e}t\n"), Violation),
        ("no size", Get, answer("FILE\n"), Violation),
        ("a size unknown", Get, answer("FILE - - t\n"), Violation),
        ("a negative size", Get, answer("FILE -5 - t\n"), Violation),
        ("a size with a sign", Get, answer("FILE +5 - t\n"), Violation),
        ("a size with a leading zero", Get, answer("FILE 05 - t\nDATA 5\nhelloEND 3610a686\n"), Violation),
        ("a size in hex", Get, answer("FILE 0x5 - t\n"), Violation),
        ("a size too large", Get, answer("FILE 9223372036854775808 - t\n"), Violation),
        ("a size of many digits", Get, answer(format!("FILE {} - t\n", "9".repeat(4000))), Violation),
        ("the largest size, and little of it", Get, answer("FILE 9223372036854775807 - t\nDATA 5\nhelloEND 3610a686\n"), Violation),
        ("the largest size, and then nothing", Get, greeted([Step::Line, say("FILE 9223372036854775807 - t\n"), Step::Hangup]), Closed),
        ("a time before 1970", Get, answer("FILE 5 -1 t\n"), Violation),
        ("a time of ten decimals", Get, answer("FILE 5 1.0000000000 t\n"), Violation),
        ("a time without decimals", Get, answer("FILE 5 1. t\n"), Violation),
        ("two spaces", Get, answer("FILE  5 - t\n"), Violation),
        ("a space in front", Get, answer(" FILE 5 - t\n"), Violation),
        ("an empty line", Get, answer("\n"), Violation),
        ("a stray CR", Get, answer("FILE 5 - t\r\r\n"), Violation),
        ("a zero byte", Get, answer("FILE 5 - t\0\n"), Violation),
        ("an endless line", Get, flood("", [b'x'; 5000]), Violation),
        ("an endless line of a reply", Get, flood("FILE 5 - t ", [b' '; 5000]), Violation),
        ("DIR", Get, answer("DIR -\n"), Violation),
        ("LISTING", Get, answer("LISTING\nEND 00000000\n"), Violation),
        ("SAVED", Get, answer("SAVED 5 3610a686 t\n"), Violation),
        ("SUM", Get, answer("SUM 5 3610a686 t\n"), Violation),
        ("GO", Get, answer("GO 0\n"), Violation),
        ("DONE", Get, answer("DONE\n"), Violation),
        ("BYE", Get, answer("BYE\n"), Violation),
        ("a greeting again", Get, answer("FERRY 1 x/1\n"), Violation),
        ("a request in the other direction", Get, answer("PUT 5 - a\nDATA 5\nhelloEND 3610a686\n"), Violation),
        ("a body without a head", Get, answer("DATA 5\nhelloEND 3610a686\n"), Violation),
        ("an END alone", Get, answer("END 00000000\n"), Violation),
        ("control characters", Get, answer("\x1b[2J\x07\u{9b}31m\u{202e}\n"), Violation),
        ("an answer for another version", Read(0, None), answer("FILE 5 - u\nDATA 5\nhelloEND 3610a686\n"), Violation),
        ("a range behind the end", Read(6, None), answer("FILE 5 - t\nEND 00000000\n"), Violation),
        ("the whole for a part", Read(0, Some(2)), answer("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n"), Violation),
        ("too little for a part", Read(0, Some(2)), answer("FILE 5 - t\nDATA 1\nhEND 916b06e7\n"), Violation),
        ("a part at the largest offset", Read(i64::MAX as u64, Some(9)), answer("FILE 9223372036854775807 - t\nDATA 1\nhEND 00000000\n"), Violation),
        ("a part with the CRC of the whole", Read(1, Some(2)), answer("FILE 5 - t\nDATA 2\nelEND 3610a686\n"), Verification),
    ];
    run_table("heads of downloads", rows);
}

#[test]
#[rustfmt::skip]
fn bodies() {
    let body = |words: &str| answer(format!("FILE 5 - t\n{words}"));
    let bodies = |words: &str| answer_each(format!("FILE 5 - t\n{words}"));
    let rows: Vec<Row> = vec![
        ("a block of each byte", Get, body("DATA 1\nhDATA 1\neDATA 1\nlDATA 1\nlDATA 1\noEND 3610a686\n"), Done),
        ("small verbs and CR", Get, body("data 5\r\nhelloend 3610a686\r\n"), Done),
        ("a file of no bytes with a block", Get, answer("FILE 0 - t\nDATA 1\n!END 00000000\n"), Violation),
        ("an empty block", Get, body("DATA 0\nEND 3610a686\n"), Violation),
        ("endless empty blocks", Get, flood("FILE 5 - t\n", b"DATA 0\n".repeat(500)), Violation),
        ("a block over the limit", Get, answer(format!("FILE 2000000 - t\nDATA 1048577\n{}", "x".repeat(5000))), Violation),
        ("a block over the size", Get, body("DATA 6\nhello!END 3610a686\n"), Violation),
        ("a second block over the size", Get, body("DATA 5\nhelloDATA 1\n!END 3610a686\n"), Violation),
        ("a block of a negative size", Get, body("DATA -1\nhello"), Violation),
        ("a block of a size with a leading zero", Get, body("DATA 05\nhelloEND 3610a686\n"), Violation),
        ("a block of the largest size", Get, body("DATA 9223372036854775807\nhello"), Violation),
        ("a block of a size beyond all", Get, body("DATA 99999999999999999999999\nhello"), Violation),
        ("a block without a size", Get, body("DATA\nhello"), Violation),
        ("a block after two spaces", Get, body("DATA  5\nhello"), Violation),
        ("a block one byte short", Get, body("DATA 5\nhellEND 3610a686\n"), Violation),
        ("a block one byte long", Get, body("DATA 5\nhello!END 3610a686\n"), Violation),
        ("an END one byte early", Get, body("DATA 4\nhellEND 1c8600e3\n"), Violation),
        ("an END at once", Get, body("END 00000000\n"), Violation),
        ("the CRC of something else", Get, bodies("DATA 5\nhelloEND 3610a687\n"), Verification),
        ("other bytes of the same length", Get, bodies("DATA 5\nhellpEND 3610a686\n"), Verification),
        ("bytes in another order", Get, bodies("DATA 2\nlhDATA 3\neloEND 3610a686\n"), Verification),
        ("a CRC of 7 digits", Get, body("DATA 5\nhelloEND 3610a68\n"), Violation),
        ("a CRC of 9 digits", Get, body("DATA 5\nhelloEND 03610a686\n"), Violation),
        ("a CRC in large letters", Get, body("DATA 5\nhelloEND 3610A686\n"), Violation),
        ("a CRC with a sign", Get, body("DATA 5\nhelloEND +610a686\n"), Violation),
        ("a CRC with 0x", Get, body("DATA 5\nhelloEND 0x10a686\n"), Violation),
        ("no check", Get, body("DATA 5\nhelloEND -\n"), Violation),
        ("no CRC", Get, body("DATA 5\nhelloEND\n"), Violation),
        ("an empty CRC", Get, body("DATA 5\nhelloEND \n"), Violation),
        ("STOP", Get, body("DATA 5\nhelloSTOP\n"), Violation),
        ("a reply in the body", Get, body("DATA 2\nheDONE\n"), Violation),
        ("another head in the body", Get, body("DATA 2\nheFILE 5 - t\nDATA 3\nlloEND 3610a686\n"), Violation),
        ("another version in mid-transfer", Get, body("DATA 2\nheFILE 5 - u\n"), Violation),
        ("a greeting in the body", Get, body("DATA 2\nheFERRY 1 x/1\n"), Violation),
        ("an empty line in the body", Get, body("DATA 2\nhe\nDATA 3\nlloEND 3610a686\n"), Violation),
        ("control characters in the body", Get, body("\x1b[2J\u{202e}\n"), Violation),
        ("an endless line in the body", Get, flood("FILE 5 - t\nDATA 5\nhello", [b'E'; 5000]), Violation),
        ("an endless END", Get, flood("FILE 5 - t\nDATA 5\nhelloEND 3610a686 ", [b'x'; 5000]), Violation),
        ("an endless FAIL", Get, flood("FILE 5 - t\nFAIL io ", [b'x'; 5000]), Violation),
        ("bytes without end", Get, flood("FILE 5 - t\n", b"DATA 1\nx".repeat(100)), Violation),
        ("bytes without end behind a large size", Get, answer(format!("FILE 3000000 - t\n{}DATA 900001\n", format!("DATA 700000\n{}", "x".repeat(700_000)).repeat(3))), Violation),
        ("closes in a block", Get, greeted([Step::Line, say("FILE 5 - t\nDATA 5\nhel"), Step::Hangup]), Closed),
        ("resets in a block", Get, greeted([Step::Line, say("FILE 5 - t\nDATA 5\nhel"), Step::Reset]), Closed),
        ("closes before END", Get, greeted([Step::Line, say("FILE 5 - t\nDATA 5\nhello"), Step::Hangup]), Closed),
        ("closes in END", Get, greeted([Step::Line, say("FILE 5 - t\nDATA 5\nhelloEND 3610a686"), Step::Hangup]), Closed),
        ("FAIL in place of END", Get, body("DATA 5\nhelloFAIL changed it grew\n"), Fails(Code::Changed)),
        ("FAIL for whole and END behind it", Get, body("DATA 5\nhelloFAIL io no\nEND 3610a686\n"), Fails(Code::Io)),
    ];
    run_table("bodies of downloads", rows);
}

#[test]
#[rustfmt::skip]
fn words_behind_a_download() {
    let more = |words: &str| answer(format!("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n{words}"));
    let rows: Vec<Row> = vec![
        ("END twice", GetThenWait, more("END 3610a686\n"), Violation),
        ("the file twice", GetThenWait, more("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n"), Violation),
        ("DONE", GetThenWait, more("DONE\n"), Violation),
        ("a block", GetThenWait, more("DATA 5\nhello"), Violation),
        ("an empty line", GetThenWait, more("\n"), Violation),
        ("control characters", GetThenWait, more("\x1b[2J\u{202e}\n"), Violation),
        ("an endless line", GetThenWait, flood("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n", [b'x'; 5000]), Violation),
        ("endless replies", GetThenWait, flood("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n", b"DONE\n".repeat(1000)), Violation),
        ("FAIL, which closes", GetThenWait, more("FAIL shutting-down \x1b[2Jgood night\n"), Closed),
        ("the end", GetThenWait, greeted([Step::Line, say("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n"), Step::Hangup]), Closed),
        ("an answer from before", Get, greeted([say("DONE\n"), Step::Line, say("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n")]), Violation),
    ];
    run_table("words behind a download", rows);
}
