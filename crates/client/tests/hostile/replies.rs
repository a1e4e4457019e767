//! Requests that are answered in a line: STAT, SUM, MKDIR, DELETE, RENAME, CLOSE.

use crate::{
    ask::{
        Ask::{Close, Delete, Mkdir, Rename, Stat, Sum},
        Outcome::{Closed, Done, Violation},
    },
    case::{Row, run_table},
    stage::{Step, answer, greeted, say},
};

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
