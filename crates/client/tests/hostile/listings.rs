//! LIST: entries that name what they must not, and bodies that are none.

use ferry_wire::Crc32;

use crate::{
    ask::{
        Ask::List,
        Outcome::{Closed, Done, Verification, Violation},
    },
    case::{Row, run_table},
    stage::{Step, answer, answer_each, greeted, say},
};

/// A listing of `lines`, whole and with the right CRC.
fn listing(lines: impl AsRef<[u8]>) -> Vec<Step> {
    let lines = lines.as_ref();
    let mut reply = format!("LISTING\nDATA {}\n", lines.len()).into_bytes();
    reply.extend_from_slice(lines);
    reply.extend_from_slice(format!("END {}\n", Crc32::of(lines)).as_bytes());
    answer(reply)
}

#[test]
#[rustfmt::skip]
fn listings() {
    let long = "n".repeat(1024);
    let rows: Vec<Row> = vec![
        ("honest", List, listing("f 5 1.5 t a b\nd - - - d\n"), Done),
        ("empty", List, answer("LISTING\nEND 00000000\n"), Done),
        ("the longest name", List, listing(format!("f 5 - t {long}\n")), Done),
        ("names in bidi characters are names", List, listing("f 5 - t a\u{202e}gpj.exe\n"), Done),
        ("a name twice", List, listing("f 5 - t a\nf 6 - u a\nd - - - a\n"), Done),
        ("CR before LF", List, listing("f 5 - t a\r\n"), Done),
        ("cut into blocks anywhere", List, answer(format!("LISTING\nDATA 1\nfDATA 9\n 5 - t a\nEND {}\n", Crc32::of(b"f 5 - t a\n"))), Done),
        ("one byte more of a name", List, listing(format!("f 5 - t {long}n\n")), Violation),
        ("the directory above", List, listing("d - - - ..\n"), Violation),
        ("the directory itself", List, listing("d - - - .\n"), Violation),
        ("a name through the directory above", List, listing("f 5 - t ../x\n"), Violation),
        ("an absolute name", List, listing("f 5 - t /etc/passwd\n"), Violation),
        ("two components", List, listing("f 5 - t a/b\n"), Violation),
        ("a slash at the end", List, listing("d - - - a/\n"), Violation),
        ("no name", List, listing("f 5 - t\n"), Violation),
        ("an empty name", List, listing("f 5 - t \n"), Violation),
        ("a name of the server's own", List, listing("f 5 - t .ferry-x\n"), Violation),
        ("one in other letters", List, listing("f 5 - t .FeRRy\n"), Violation),
        ("escape sequences", List, listing("f 5 - t \x1b[2Jx\n"), Violation),
        ("C1 control characters", List, listing("f 5 - t a\u{9b}31mb\n"), Violation),
        ("a delete character", List, listing("f 5 - t a\u{7f}\n"), Violation),
        ("a zero byte", List, listing("f 5 - t a\0b\n"), Violation),
        ("a tab", List, listing("f 5 - t a\tb\n"), Violation),
        ("not UTF-8", List, listing(b"f 5 - t a\xff\n"), Violation),
        ("an overlong slash", List, listing(b"f 5 - t a\xc0\xafb\n"), Violation),
        ("another kind of entry", List, listing("l 5 - t a\n"), Violation),
        ("a kind in large letters", List, listing("F 5 - t a\n"), Violation),
        ("a directory with a size", List, listing("d 5 - - a\n"), Violation),
        ("a directory with a tag", List, listing("d - - t a\n"), Violation),
        ("a file without a size", List, listing("f - - t a\n"), Violation),
        ("a file without a tag", List, listing("f 5 - - a/\n"), Violation),
        ("a size too large", List, listing("f 9223372036854775808 - t a\n"), Violation),
        ("a negative size", List, listing("f -1 - t a\n"), Violation),
        ("a size with a leading zero", List, listing("f 05 - t a\n"), Violation),
        ("a tag too long", List, listing(format!("f 5 - {} a\n", "t".repeat(65))), Violation),
        ("a time before 1970", List, listing("f 5 -1 t a\n"), Violation),
        ("an empty line", List, listing("f 5 - t a\n\n"), Violation),
        ("no LF at the end", List, listing("f 5 - t a"), Violation),
        ("an entry too long", List, listing(format!("f 5 - t {}\n", "n".repeat(5000))), Violation),
        ("an endless entry", List, greeted([Step::Line, say("LISTING\n"), Step::Flood(format!("DATA 5000\n{}", "n".repeat(5000)).into())]), Violation),
        ("a wrong entry behind many right ones", List, listing(format!("{}f 5 - t ../x\n", "f 5 - t a\n".repeat(10_000))), Violation),
        ("the CRC of something else", List, answer_each("LISTING\nDATA 10\nf 5 - t a\nEND 00000000\n"), Verification),
        ("no check", List, answer("LISTING\nDATA 10\nf 5 - t a\nEND -\n"), Violation),
        ("FILE", List, answer("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n"), Violation),
        ("entries without a body", List, answer("f 5 - t a\n"), Violation),
        ("an END alone", List, answer("END 00000000\n"), Violation),
        ("a block over the limit", List, answer("LISTING\nDATA 1048577\n"), Violation),
        ("closes in an entry", List, greeted([Step::Line, say("LISTING\nDATA 10\nf 5 -"), Step::Hangup]), Closed),
        ("closes before END", List, greeted([Step::Line, say("LISTING\nDATA 10\nf 5 - t a\n"), Step::Hangup]), Closed),
    ];
    run_table("listings", rows);
}
