//! The words that a server may say before anything is asked.

use ferry_client::Code;

use crate::{
    ask::{
        Ask::{Connect, Get},
        Outcome::{Anything, Done, Fails, OtherVersion, Stranger},
    },
    case::{Row, run_table},
    stage::{Step, say},
};

fn first(words: impl AsRef<[u8]>) -> Vec<Step> {
    vec![say(words)]
}

fn only(words: impl AsRef<[u8]>) -> Vec<Step> {
    vec![say(words), Step::Hangup]
}

#[test]
#[rustfmt::skip]
fn greetings() {
    let long = "x".repeat(4095 - 8);
    let rows: Vec<Row> = vec![
        ("closes at once", Connect, vec![Step::Hangup], Stranger),
        ("resets at once", Connect, vec![Step::Reset], Anything),
        ("an empty line", Connect, first("\n"), Stranger),
        ("a carriage return alone", Connect, first("\r\n"), Stranger),
        ("another protocol", Connect, first("220 (vsFTPd 3.0.5)\r\n"), Stranger),
        ("a secure shell", Connect, first("SSH-2.0-OpenSSH_9.9\r\n"), Stranger),
        ("a web server", Connect, first("HTTP/1.1 400 Bad Request\r\n\r\n"), Stranger),
        ("a page", Connect, first("<!DOCTYPE html>\n"), Stranger),
        ("it sends back what it is sent", Connect, first("HELP\n"), Stranger),
        ("the binary hello of TLS", Connect, only(b"\x15\x03\x01\x00\x02\x02\x46"), Stranger),
        ("zeros", Connect, only([0; 100]), Stranger),
        ("not UTF-8", Connect, first(b"\xff\xfe\xfd\n"), Stranger),
        ("a word cut short", Connect, only("FERR"), Stranger),
        ("no LF", Connect, only("FERRY 1 x/1"), Stranger),
        ("no version", Connect, first("FERRY\n"), Stranger),
        ("no software", Connect, first("FERRY 1\n"), Stranger),
        ("version 0", Connect, first("FERRY 0 x/1\n"), OtherVersion),
        ("version 2", Connect, first("FERRY 2 x/1\n"), OtherVersion),
        ("the largest version", Connect, first("FERRY 9223372036854775807 x/1\n"), OtherVersion),
        ("a version too large", Connect, first("FERRY 9223372036854775808 x/1\n"), Stranger),
        ("a version with a leading zero", Connect, first("FERRY 01 x/1\n"), Stranger),
        ("a negative version", Connect, first("FERRY -1 x/1\n"), Stranger),
        ("a version with a sign", Connect, first("FERRY +1 x/1\n"), Stranger),
        ("a version in other digits", Connect, first("FERRY \u{0661} x/1\n"), Stranger),
        ("two spaces before the version", Connect, first("FERRY  1 x/1\n"), Stranger),
        ("a byte order mark", Connect, first("\u{feff}FERRY 1 x/1\n"), Stranger),
        ("a tab", Connect, first("FERRY\t1\tx/1\n"), Stranger),
        ("control characters", Connect, first("\x1b]0;owned\x07\x1b[2J\u{9b}2J\n"), Stranger),
        ("control characters in no greeting", Connect, first("FERRY \x1b[2J x/1\n"), Stranger),
        ("bidi characters", Connect, first("\u{202e}\u{2066}\u{200f}\u{061c} YRREF\n"), Stranger),
        ("line separators", Connect, first("a\u{2028}b\u{2029}c\u{85}d\n"), Stranger),
        ("small letters and CR", Connect, first("ferry 1 x/1\r\n"), Done),
        ("software in control and bidi characters", Connect, first("FERRY 1 \x1b[2J\u{202e}/1 \x07\n"), Done),
        ("software that is not UTF-8", Connect, first(b"FERRY 1 \xff/1 \xff\n"), Done),
        ("unknown features", Connect, first("FERRY 1 x/1 tls  warp=9 ../..\n"), Done),
        ("the longest line", Connect, first(format!("FERRY 1 {long}\n")), Done),
        ("one byte more", Connect, first(format!("FERRY 1 {long}x\n")), Stranger),
        ("an endless line", Connect, vec![Step::Flood(vec![b'x'; 5000])], Stranger),
        ("an endless greeting", Connect, vec![say("FERRY 1 x/1 "), Step::Flood(b"feature ".repeat(800))], Stranger),
        ("endless greetings", Connect, vec![Step::Flood(b"FERRY 2 x/1\n".repeat(400))], OtherVersion),
        ("endless zeros", Connect, vec![Step::Flood(vec![0; 5000])], Stranger),
        ("turned away, and more words", Connect, first("FAIL busy later\nFERRY 1 x/1\n"), Fails(Code::Busy)),
        ("turned away in the longest line", Connect, first(format!("FAIL {}\n", "\u{7f}".repeat(4090))), Fails(Code::Unknown)),
        ("a reply in place of a greeting", Get, first("FILE 5 - t\nDATA 5\nhelloEND 3610a686\n"), Stranger),
    ];
    run_table("greetings", rows);
}
