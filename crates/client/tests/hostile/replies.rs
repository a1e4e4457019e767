//! Requests that are answered in a line: STAT, SUM, MKDIR, DELETE, RENAME, CLOSE.

use ferry_client::Code;

use crate::{
    ask::{
        Ask::{Close, Delete, Hash, Mkdir, Rename, Space, Stat, Sum},
        Outcome::{Closed, Done, Fails, Strange, Violation},
    },
    case::{Row, run_table},
    stage::{Step, answer, greeted, said_after, say},
};

/// The SHA-256 of no bytes.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
#[rustfmt::skip]
fn replies_that_a_feature_announces() {
    let hash = |reply: String| said_after("with-sha256", 2, format!("{reply}\n"));
    let space = |reply: &str| said_after("space", 1, format!("{reply}\n"));
    let rows: Vec<Row> = vec![
        // Without the feature nothing is sent: the server that reads a line would wait for it.
        ("SHA-256, no feature", Hash, greeted([Step::Line]), Strange),
        ("SPACE, no feature", Space, greeted([Step::Line]), Strange),
        ("SHA-256", Hash, hash(format!("SUM 0 00000000 t sha256={EMPTY}")), Done),
        ("SHA-256 behind words of later", Hash, hash(format!("SUM 0 00000000 t md5=x sha256={EMPTY} more")), Done),
        ("SHA-256, none", Hash, hash("SUM 0 00000000 t".into()), Violation),
        ("SHA-256, an empty one", Hash, hash("SUM 0 00000000 t sha256=".into()), Violation),
        ("SHA-256, a digit short", Hash, hash(format!("SUM 0 00000000 t sha256={}", &EMPTY[1..])), Violation),
        ("SHA-256, a digit more", Hash, hash(format!("SUM 0 00000000 t sha256={EMPTY}0")), Violation),
        ("SHA-256, large letters", Hash, hash(format!("SUM 0 00000000 t sha256={}", EMPTY.to_uppercase())), Violation),
        ("SHA-256, no digits", Hash, hash(format!("SUM 0 00000000 t sha256={}", "x".repeat(64))), Violation),
        ("SHA-256, not UTF-8", Hash, said_after("with-sha256", 2, [&b"SUM 0 00000000 t sha256="[..], &[0xff; 64], b"\n"].concat()), Violation),
        ("SHA-256, the word by another name", Hash, hash(format!("SUM 0 00000000 t SHA256={EMPTY}")), Violation),
        ("SHA-256, in place of the tag", Hash, hash(format!("SUM 0 00000000 sha256={EMPTY}")), Violation),
        ("SHA-256, DONE", Hash, hash("DONE".into()), Violation),
        ("SHA-256, of what the WITH was refused", Hash, hash("FAIL unsupported no such option".into()), Fails(Code::Unsupported)),
        ("SPACE", Space, space("SPACE 9 5 4 *"), Done),
        ("SPACE, with a limit and more words", Space, space("SPACE 9 5 4 3 inodes=7"), Done),
        ("SPACE, more free than there is", Space, space("SPACE 0 5 9223372036854775807 0"), Done),
        ("SPACE, no limit told", Space, space("SPACE 9 5 4"), Violation),
        ("SPACE, a number too large", Space, space("SPACE 9223372036854775808 5 4 *"), Violation),
        ("SPACE, a negative number", Space, space("SPACE 9 5 -4 *"), Violation),
        ("SPACE, a size unknown", Space, space("SPACE * 5 4 *"), Violation),
        ("SPACE, SUM", Space, space("SUM 0 00000000 t"), Violation),
        ("SPACE, control characters", Space, space("SPACE \x1b[2J 5 4 *"), Violation),
    ];
    run_table("replies that a feature announces", rows);
}

#[test]
#[rustfmt::skip]
fn replies() {
    let rows: Vec<Row> = vec![
        ("STAT, a size that can't be", Stat, answer("FILE 9223372036854775807 - t\n"), Done),
        ("STAT, a time that can't be", Stat, answer("DIR 9223372036854775807\n"), Done),
        ("STAT, extra words", Stat, answer("DIR - \x1b[2J\n"), Done),
        ("STAT, a size too large", Stat, answer("FILE 9223372036854775808 - t\n"), Violation),
        ("STAT, a negative size", Stat, answer("FILE -1 - t\n"), Violation),
        ("STAT, a leading zero", Stat, answer("FILE 007 - t\n"), Violation),
        ("STAT, no time", Stat, answer("DIR\n"), Violation),
        ("STAT, a time with a leading zero", Stat, answer("DIR 01\n"), Violation),
        ("STAT, a tag too long", Stat, answer(format!("FILE 5 - {}\n", "t".repeat(65))), Violation),
        ("STAT, DONE", Stat, answer("DONE\n"), Violation),
        ("STAT, LISTING", Stat, answer("LISTING\n"), Violation),
        ("STAT, SUM", Stat, answer("SUM 5 3610a686 t\n"), Violation),
        ("STAT, nonsense", Stat, answer("WAT\n"), Violation),
        ("STAT, control characters", Stat, answer("\x1b[2J\u{202e}\u{85}\n"), Violation),
        ("STAT, not UTF-8", Stat, answer(b"\xff\xfe\xc0\n"), Violation),
        ("STAT, a closed connection", Stat, greeted([Step::Line, Step::Hangup]), Closed),
        ("STAT, a reset connection", Stat, greeted([Step::Line, Step::Reset]), Closed),
        ("STAT, half a line", Stat, greeted([Step::Line, say("FILE 5 - t"), Step::Hangup]), Closed),
        ("STAT, an endless line", Stat, greeted([Step::Line, Step::Flood(vec![b' '; 4096])]), Violation),
        ("SUM, a lie that nobody can see", Sum, answer("SUM 0 ffffffff t\n"), Done),
        ("SUM, no CRC", Sum, answer("SUM 5 - t\n"), Violation),
        ("SUM, a CRC of 7 digits", Sum, answer("SUM 5 3610a68 t\n"), Violation),
        ("SUM, a CRC in large letters", Sum, answer("SUM 5 3610A686 t\n"), Violation),
        ("SUM, no tag", Sum, answer("SUM 5 3610a686\n"), Violation),
        ("SUM, a size too large", Sum, answer("SUM 9223372036854775808 3610a686 t\n"), Violation),
        ("SUM, SAVED", Sum, answer("SAVED 5 3610a686 t\n"), Violation),
        ("SUM, FILE", Sum, answer("FILE 5 - t\n"), Violation),
        ("SUM, END", Sum, answer("END 3610a686\n"), Violation),
        ("MKDIR, BYE", Mkdir, answer("BYE\n"), Violation),
        ("MKDIR, FILE", Mkdir, answer("FILE 5 - t\n"), Violation),
        ("MKDIR, an empty line", Mkdir, answer("\n"), Violation),
        ("DELETE, DIR", Delete, answer("DIR -\n"), Violation),
        ("DELETE, DONE in parts of a word", Delete, greeted([Step::Line, say("DO"), say("NE"), say("\r"), say("\n")]), Done),
        ("DELETE, DONE as one word with more", Delete, answer("DONEANDDUSTED\n"), Violation),
        ("RENAME, GO", Rename, answer("GO 0\n"), Violation),
        ("RENAME, the greeting", Rename, answer("FERRY 1 x/1\n"), Violation),
        ("CLOSE, DONE", Close, answer("DONE\n"), Violation),
        ("CLOSE, no word", Close, greeted([Step::Line, Step::Hangup]), Closed),
        ("CLOSE, an endless line", Close, greeted([Step::Line, Step::Flood(vec![b'B'; 4096])]), Violation),
    ];
    run_table("replies in a line", rows);
}
