//! Names that try to leave the root, to reach the server's corner, or to be no names.

use crate::corpus::{Case, goes_on, times};

/// Names that no request takes. A line of them for each request.
const BAD: [&[u8]; 34] = [
    b"/",
    b"/a",
    b"//a",
    b"a/",
    b"a//",
    b".",
    b"..",
    b"../",
    b"../a",
    b"./a",
    b"d/.",
    b"d/..",
    b"d/../a",
    b"d/./in",
    b"d/../../outside",
    b"/etc/passwd",
    b"/proc/self/root/etc/passwd",
    b".ferry",
    b".FERRY",
    b".ferry/kept",
    b".ferry-secret",
    b".Ferry/run-0",
    b"d/.fErRy",
    b"\x01",
    b"a\x1b[2Jb",
    b"a\tb",
    b"a\x7f",
    b"a\xc2\x80",
    b"a\xc2\x85b",
    b"\xff",
    b"\xc0\xae\xc0\xae/a",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
];

/// Names like any other, though they look like something else to some program.
const PLAIN: [&str; 26] = [
    "...",
    "..a",
    "a..",
    "a ",
    " a",
    " ",
    "..\\..\\secret",
    "C:\\boot.ini",
    "%2e%2e%2fsecret",
    "..%2fsecret",
    "..%c0%af",
    "~root",
    "*",
    "-rf",
    "--help",
    "$HOME",
    "`id`",
    "$(id)",
    "|id",
    "a;id",
    "CON",
    "a:stream",
    "evil\u{202e}gpj.exe",
    "\u{2066}a\u{2069}",
    "e\u{301}",
    ".Ferr",
];

/// Each request, with `{}` where its name stands; what must follow it so that the connection goes on.
const REQUESTS: [(&str, &str); 11] = [
    ("GET {}\n", ""),
    ("READ 0 * * {}\n", ""),
    ("STAT {}\n", ""),
    ("SUM {}\n", ""),
    ("LIST {}\n", ""),
    ("DELETE {}\n", ""),
    ("MKDIR {}\n", ""),
    ("RENAME {}//new\n", ""),
    ("RENAME a//{}\n", ""),
    ("PUT 3 - {}\n", "DATA 3\nbadEND -\n"),
    ("RESUME names 3 - {}\n", ""),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = BAD.iter().map(|name| bad_everywhere(name)).collect();
    cases.extend(PLAIN.iter().map(|name| plain(name)));
    cases.extend(lengths());
    cases.extend(links());
    cases.extend(kinds());
    cases
}

/// `name` in every request; none takes it, and each says so.
fn bad_everywhere(name: &[u8]) -> Case {
    let mut sent = Vec::new();
    for (request, body) in REQUESTS {
        let (before, behind) = request.split_once("{}").unwrap();
        sent.extend([before.as_bytes(), name, behind.as_bytes(), body.as_bytes()].concat());
    }
    goes_on(format!("the name {}", name.escape_ascii()), sent, &vec!["bad-name"; REQUESTS.len()].join("|"))
}

/// `name` is there only when it was made, and is that very name.
fn plain(name: &str) -> Case {
    let sent = format!("STAT {name}\nMKDIR {name}\nSTAT {name}\nRENAME {name}//new\nSTAT {name}\nDELETE new\n");
    goes_on(format!("the name {name:?}"), sent, "not-found|DONE|DIR|DONE|not-found|DONE")
}

fn lengths() -> Vec<Case> {
    let component = |length: usize| "x".repeat(length);
    vec![
        goes_on("a component of 255 bytes", format!("STAT {}\n", component(255)), "not-found"),
        goes_on("a component of 256 bytes", format!("STAT {}\nMKDIR {0}\n", component(256)), "bad-name|bad-name"),
        goes_on("a PUT to 256 bytes", format!("PUT 1 - {}\nDATA 1\nxEND -\n", component(256)), "bad-name"),
        goes_on("a RENAME to 256 bytes", format!("RENAME a//{}\n", component(256)), "bad-name"),
        goes_on("a name of 1024 bytes", format!("STAT {}x\n", times(511, "x/") + "x"), "not-found"),
        goes_on("a name of 1025 bytes", format!("STAT {}xx\n", times(511, "x/") + "x"), "bad-name"),
        goes_on("five hundred times up", format!("GET {}a\n", times(300, "../")), "bad-name"),
        goes_on("a name of 1024 bytes of UTF-8", format!("STAT {}\n", times(256, "\u{10ffff}")), "bad-name"),
        goes_on("a LIST of FTP's", "LIST -la\nLIST -la /\n", "not-found|bad-name"),
        goes_on("a name that ends in a CR", "STAT a\r\r\n", "bad-name"),
        goes_on("RENAME with one name", "RENAME a\nRENAME a/b\n", "bad-request|bad-request"),
        goes_on("RENAME with three names", "RENAME a//new//b\n", "bad-name"),
        goes_on("RENAME with a slash too many", "RENAME a///new\n", "bad-name"),
        goes_on("RENAME of nothing", "RENAME //\nRENAME //new\nRENAME a//\n", "bad-name|bad-name|bad-name"),
    ]
}

fn links() -> Vec<Case> {
    let body = "DATA 3\nbadEND -\n";
    vec![
        goes_on("GET of a link", "GET link\nREAD 0 * * link\nSUM link\nSTAT link\n", &["denied"; 4].join("|")),
        goes_on("LIST of a link", "LIST dlink\nLIST link\n", "denied|denied"),
        goes_on(
            "a link in the middle",
            "GET dlink/secret\nSTAT dlink/secret\nSUM dlink/secret\n",
            "denied|denied|denied",
        ),
        goes_on("LIST through a link", "LIST dlink/x\n", "denied"),
        goes_on("PUT onto a link", format!("PUT 3 - link\n{body}"), "denied"),
        goes_on("PUT onto a link to a directory", format!("PUT 3 - dlink\n{body}"), "denied"),
        goes_on("PUT through a link", format!("PUT 3 - dlink/secret\n{body}"), "denied"),
        goes_on("PUT through a link, anew", format!("PUT 3 - dlink/new\n{body}"), "denied"),
        goes_on("PUT through a link, large", put_through_link(1 << 20), "denied"),
        goes_on("RESUME onto a link", "RESUME onto-link 3 - link\n", "denied"),
        goes_on("RESUME through a link", "RESUME through-link 3 - dlink/new\n", "denied"),
        goes_on("MKDIR onto a link", "MKDIR link\nMKDIR dlink\n", "exists|exists"),
        goes_on("MKDIR through a link", "MKDIR dlink/new\n", "denied"),
        goes_on("DELETE of a link", "DELETE link\nDELETE dlink\n", "denied|denied"),
        goes_on("DELETE through a link", "DELETE dlink/secret\n", "denied"),
        goes_on("RENAME of a link", "RENAME link//new\nRENAME dlink//new\n", "denied|denied"),
        goes_on("RENAME onto a link", "RENAME a//link\nRENAME a//dlink\n", "exists|exists"),
        goes_on("RENAME out through a link", "RENAME a//dlink/new\n", "denied"),
        goes_on("RENAME in through a link", "RENAME dlink/secret//new\n", "denied"),
    ]
}

fn put_through_link(length: usize) -> Vec<u8> {
    let mut sent = format!("PUT {length} - dlink/new\n").into_bytes();
    sent.extend(ferry_e2e::body(&vec![7; length], 1 << 16));
    sent
}

fn kinds() -> Vec<Case> {
    let body = "DATA 3\nbadEND -\n";
    vec![
        goes_on("GET of a FIFO", "GET fifo\nREAD 0 * * fifo\nSUM fifo\nSTAT fifo\n", &["not-a-file"; 4].join("|")),
        goes_on("LIST of a FIFO", "LIST fifo\n", "not-a-directory"),
        goes_on("PUT onto a FIFO", format!("PUT 3 - fifo\n{body}"), "not-a-file"),
        goes_on("RESUME onto a FIFO", "RESUME onto-fifo 3 - fifo\n", "not-a-file"),
        goes_on("DELETE of a FIFO", "DELETE fifo\n", "denied"),
        goes_on("MKDIR onto a FIFO", "MKDIR fifo\n", "exists"),
        goes_on("RENAME of a FIFO", "RENAME fifo//new\n", "denied"),
        goes_on("RENAME onto a FIFO", "RENAME a//fifo\n", "exists"),
        goes_on("a FIFO in the middle", "STAT fifo/a\nMKDIR fifo/a\n", "not-a-directory|not-a-directory"),
        goes_on("a file in the middle", "STAT a/b\nDELETE a/b\nRENAME a//a/b\n", &["not-a-directory"; 3].join("|")),
        goes_on("a directory into itself", "RENAME d//d/x\nRENAME d//d/e/x\n", "bad-request|bad-request"),
        goes_on("a directory onto itself", "RENAME d//d\nRENAME a//a\n", "exists|exists"),
        goes_on("a directory onto a file", "RENAME d//a\nRENAME a//d\n", "exists|exists"),
        goes_on("a directory that is not empty", "DELETE d\n", "not-empty"),
        goes_on("GET of a directory", "GET d\nREAD 0 * * d\nSUM d\n", "not-a-file|not-a-file|not-a-file"),
        goes_on("PUT onto a directory", format!("PUT 3 - d\n{body}PUT 3 - d/e\n{body}"), "not-a-file|not-a-file"),
    ]
}
