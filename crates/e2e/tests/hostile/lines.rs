//! Request lines, numbers, options and pipelines.

use crate::corpus::{Case, cat, closes, ends, goes_on, resets, times};

/// The reply to `GET a`.
const HELLO: &str = "FILE 5|DATA 5|helloEND 3610a686";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = words();
    cases.extend(long_lines());
    cases.extend(numbers());
    cases.extend(options());
    cases.extend(pipelines());
    cases.extend(cuts());
    cases
}

fn words() -> Vec<Case> {
    vec![
        goes_on("nothing at all", "", ""),
        goes_on("an empty line", "\n", "bad-request"),
        goes_on("an empty line with a CR", "\r\n", "bad-request"),
        goes_on("two CRs", "\r\r\n", "unknown-command"),
        goes_on("a space", " \n", "bad-request"),
        goes_on("a space before the verb", " STAT a\n", "bad-request"),
        goes_on("a tab behind the verb", "STAT\ta\n", "unknown-command"),
        goes_on("a tab before the verb", "\tSTAT a\n", "unknown-command"),
        goes_on("a NUL", "\0\n", "unknown-command"),
        goes_on("a NUL behind the verb", "STAT\0a\n", "unknown-command"),
        goes_on("a NUL in the name", "STAT a\0\n", "bad-name"),
        goes_on("a name cut by a NUL", "STAT a\0.txt\n", "bad-name"),
        goes_on("a byte order mark", "\u{feff}STAT a\n", "unknown-command"),
        goes_on("a verb in wide letters", "ＳＴＡＴ a\n", "unknown-command"),
        goes_on("a verb with a dotless i", "lıst\n", "unknown-command"),
        goes_on("a verb with a long s", "ſtat a\n", "unknown-command"),
        goes_on("a verb that is no UTF-8", b"\xff\xfe\xfd\n", "unknown-command"),
        goes_on("a verb of escapes", "\x1b[2J\x1b]0;x\x07\n", "unknown-command"),
        goes_on("a verb written backwards", "\u{202e}TATS a\n", "unknown-command"),
        goes_on("half a verb", "STA a\n", "unknown-command"),
        goes_on("a verb and more", "STATS a\n", "unknown-command"),
        goes_on("GO of a client", "GO 0\n", "unknown-command"),
        goes_on("SAVED of a client", "SAVED 5 3610a686 t\n", "unknown-command"),
        goes_on("FAIL of a client", "FAIL io no\n", "unknown-command"),
        goes_on("BYE of a client", "BYE\n", "unknown-command"),
        goes_on("a greeting of a client", "FERRY 1 ferry/1\n", "unknown-command"),
        goes_on("mixed case", "sTaT a\n", "FILE 5"),
        goes_on("bare verbs", "GET\nREAD\nRESUME\nSTAT\nSUM\nMKDIR\nDELETE\nRENAME\n", &bad_requests(8)),
        goes_on("verbs with a space", "GET \nSTAT \nSUM \nMKDIR \nDELETE \nLIST \n", &["bad-name"; 6].join("|")),
        goes_on("CLOSE and what stands behind", "CLOSE\nDELETE a\n", ""),
        goes_on("CLOSE with words", "close a b c\nDELETE a\n", ""),
        closes("END where a request is due", "END 00000000\nDELETE a\n", "bad-request"),
        closes("STOP where a request is due", "STOP\nDELETE a\n", "bad-request"),
        closes("DATA where a request is due", "DATA 9\nDELETE a\n", "bad-request"),
        closes("a lowercase data", "data\n", "bad-request"),
        ends("an unfinished line", "DELETE a", "bad-request"),
        ends("an unfinished line behind others", "STAT a\nDELETE a\r", "FILE 5|bad-request"),
        ends("one byte", "D", "bad-request"),
    ]
}

fn bad_requests(count: usize) -> String {
    vec!["bad-request"; count].join("|")
}

fn long_lines() -> Vec<Case> {
    let line = |length: usize| format!("STAT {}\n", "x".repeat(length - "STAT \n".len()));
    vec![
        goes_on("the longest line", line(4096), "bad-name"),
        closes("a byte more", line(4097), "bad-request"),
        closes("the longest line with CR LF and a byte more", line(4096).replace('\n', "x\r\n"), "bad-request"),
        closes("a line with no end", times(4096, "x"), "bad-request"),
        closes("a very long line", cat(&[&[b'x'; 200_000], b"\nDELETE a\n"]), "bad-request"),
        closes("a long line of NULs", [0; 100_000], "bad-request"),
        closes("a long line of CRs", times(5000, "\r"), "bad-request"),
        closes("a long line of spaces", times(5000, " "), "bad-request"),
        closes("a long line behind a good one", format!("STAT a\n{}", times(5000, "y")), "FILE 5|bad-request"),
        ends("a line one byte short of too long", times(4095, "x"), "bad-request"),
        goes_on("a RENAME of two longest names", renames(1024), "bad-name"),
        goes_on("a RENAME of two longer names", renames(1025), "bad-name"),
        goes_on("two hundred spaces", format!("STAT{}a\n", times(200, " ")), "not-found"),
    ]
}

fn renames(length: usize) -> String {
    format!("RENAME {}//{}\n", "x".repeat(length), "y".repeat(length))
}

fn numbers() -> Vec<Case> {
    let read = |arguments: &str| format!("READ {arguments} a\n");
    let empty = "FILE 5|END 00000000";
    let mut cases: Vec<Case> = [
        "-1 * *",
        "+1 * *",
        "01 * *",
        "00 * *",
        "0x1 * *",
        "1e0 * *",
        "1.0 * *",
        "1_0 * *",
        "١ * *",
        "1, * *",
        "9223372036854775808 * *",
        "18446744073709551616 * *",
        "99999999999999999999999999 * *",
        "* * *",
        "- * *",
        "0 -1 *",
        "0 +1 *",
        "0 01 *",
        "0 9223372036854775808 *",
        "0 ** *",
        "0 - *",
        "0  *",
        " 0 * *",
        "0 * **",
        "0 * a.b",
        "0 * tag/../x",
        "0 * \u{202e}",
        "0 *",
        "0",
        "",
    ]
    .iter()
    .map(|arguments| goes_on(format!("READ {arguments}"), read(arguments), "bad-request"))
    .collect();
    cases.extend([
        goes_on("READ with a tag of 65", read(&format!("0 * {}", times(65, "t"))), "bad-request"),
        goes_on("READ with a tag of 64", read(&format!("0 * {}", times(64, "t"))), "changed"),
        goes_on("READ from the end", read("5 * *"), empty),
        goes_on("READ from behind the end", read("6 * *"), "bad-range"),
        goes_on("READ from far behind the end", read("9223372036854775807 * *"), "bad-range"),
        goes_on("READ of more than can be", read("0 9223372036854775807 *"), HELLO),
        goes_on("READ that would overflow", read("5 9223372036854775807 *"), empty),
        goes_on("READ of nothing", read("0 0 *"), empty),
        goes_on("READ of nothing in a huge file", "READ 9 0 * big\n", "FILE 67108864|END 00000000"),
        goes_on("READ of a directory", "READ 0 * * d\n", "not-a-file"),
        goes_on("a PUT of a negative size", "PUT -1 - new\nSTOP\n", "bad-request"),
        goes_on("a PUT of a size too large for a number", "PUT 9223372036854775808 - new\nSTOP\n", "bad-request"),
        goes_on("a PUT of all there can be, given up", "PUT 9223372036854775807 - new\nSTOP\n", "stopped"),
        goes_on(
            "a PUT of all there can be, cut short",
            "PUT 9223372036854775807 - new\nDATA 1\nxEND -\n",
            "incomplete",
        ),
        goes_on("a PUT with a time before time", "PUT 0 -1 new\nEND -\n", "bad-request"),
        goes_on("a PUT with half a fraction", "PUT 0 1. new\nEND -\n", "bad-request"),
        goes_on("a PUT with ten decimals", "PUT 0 1.0123456789 new\nEND -\n", "bad-request"),
        goes_on("a PUT with a time of no digits", "PUT 0 .5 new\nEND -\n", "bad-request"),
        goes_on("a PUT with a time in words", "PUT 0 yesterday new\nEND -\n", "bad-request"),
        goes_on("a PUT with a time too large for a number", "PUT 0 9223372036854775808 new\nEND -\n", "bad-request"),
    ]);
    cases
}

fn options() -> Vec<Case> {
    vec![
        goes_on("WITH an unknown key", "WITH a=b\nSTAT a\nSTAT a\n", "unsupported|FILE 5"),
        goes_on("WITH before CLOSE", "WITH a=b\nCLOSE\nSTAT a\n", "unsupported|FILE 5"),
        goes_on("WITH a thousand times", times(1000, "WITH a=b\n") + "STAT a\n", "unsupported"),
        goes_on("WITH and no request", "WITH a=b\n", ""),
        goes_on("WITH no word", "WITH\nSTAT a\n", "bad-request"),
        goes_on("WITH an empty word", "WITH a=b  c=d\nSTAT a\n", "bad-request"),
        goes_on("WITH no key", "WITH =b\nSTAT a\n", "bad-request"),
        goes_on("WITH only an equals sign", "WITH =\nSTAT a\n", "bad-request"),
        goes_on("WITH no UTF-8", b"WITH \xff=\xff\nSTAT a\n", "unsupported"),
        goes_on("WITH controls", "WITH \x1b=\x07\nSTAT a\n", "unsupported"),
        goes_on("WITH a long value", format!("WITH a={}\nSTAT a\n", times(4000, "v")), "unsupported"),
        goes_on("WITH good and bad", "WITH a=b\nWITH\nSTAT a\n", "bad-request"),
        goes_on("WITH before an unknown verb", "WITH a=b\nFROB\nSTAT a\n", "unsupported|FILE 5"),
        goes_on("WITH before an empty line", "WITH a=b\n\nSTAT a\n", "unsupported|FILE 5"),
        goes_on("WITH before a PUT", "WITH a=b\nPUT 1 - new\nDATA 1\nxEND -\nSTAT new\n", "unsupported|not-found"),
        goes_on("WITH before a malformed PUT", "WITH a=b\nPUT\nDATA 1\nxEND -\nSTAT a\n", "unsupported|FILE 5"),
        goes_on("WITH before a RESUME", "WITH a=b\nRESUME with 1 - new\nSTAT a\n", "unsupported|FILE 5"),
        goes_on("WITH before a DELETE", "WITH a=b\nDELETE a\nSTAT a\n", "unsupported|FILE 5"),
        closes("WITH before END", "WITH a=b\nEND -\nDELETE a\n", "bad-request"),
        closes("WITH before HTTP", "WITH a=b\nGET / HTTP/1.1\nDELETE a\n", "bad-request"),
        closes("WITH that ends as HTTP does", "WITH a=b HTTP/1.1\nDELETE a\n", "bad-request"),
    ]
}

fn pipelines() -> Vec<Case> {
    let many = |count: usize, reply: &str| vec![reply; count].join("|");
    vec![
        goes_on("a thousand STATs", times(1000, "STAT a\n"), &many(1000, "FILE 5")),
        goes_on("ten thousand empty lines", times(10_000, "\n"), &many(10_000, "bad-request")),
        goes_on("ten thousand CR LFs", times(10_000, "\r\n"), &many(10_000, "bad-request")),
        goes_on("a thousand GETs", times(1000, "GET a\n"), &many(1000, HELLO)),
        goes_on("a thousand SUMs", times(1000, "SUM a\n"), &many(1000, "SUM 5 3610a686")),
        goes_on("a hundred LISTs", times(100, "LIST d/e\n"), &many(100, "LISTING|END 00000000")),
        goes_on("made and deleted", times(300, "MKDIR new\nDELETE new\n"), &many(600, "DONE")),
        goes_on("made and made again", times(300, "MKDIR d\n"), &many(300, "exists")),
        goes_on("there and back", times(200, "RENAME a//new\nRENAME new//a\n"), &many(400, "DONE")),
        goes_on("put and looked at", times(100, "PUT 1 - new\nDATA 1\nxEND 8cdc1683\nSUM new\n"), &put_and_sum(100)),
        goes_on("put and refused", times(200, "PUT 1 - d\nDATA 1\nxEND -\nSTAT a\n"), &many(200, "not-a-file|FILE 5")),
        closes(
            "a hundred, then nonsense",
            times(100, "STAT a\n") + "END\nDELETE a\n",
            &(many(100, "FILE 5|") + "bad-request").replace("||", "|"),
        ),
    ]
}

fn put_and_sum(count: usize) -> String {
    vec!["SAVED 1 8cdc1683|SUM 1 8cdc1683"; count].join("|")
}

fn cuts() -> Vec<Case> {
    vec![
        resets("a reset with nothing said", "", ""),
        resets("a reset inside a line", "STA", ""),
        resets("a reset behind a request", "STAT a\n", ""),
        resets("a reset behind a reply", "STAT a\nSTAT a\n", "FILE 5"),
        resets("a reset inside a large reply", "GET big\n", "FILE 67108864"),
        resets("a reset inside many replies", times(2000, "GET a\n"), HELLO.split("|h").next().unwrap()),
        resets("a reset while a file is summed", "SUM big\n", ""),
        resets("a reset in the middle of a listing", times(50, "LIST\n"), "LISTING"),
        resets("a reset behind CLOSE", "CLOSE\n", ""),
        resets("a reset behind BYE", "CLOSE\n", "BYE"),
        resets("a reset behind a closing FAIL", "END -\n", "bad-request"),
        resets("a reset inside a line too long", times(5000, "x"), ""),
        resets("a reset while changes wait", times(500, "MKDIR new\nDELETE new\n"), "DONE"),
        resets("a reset behind a WITH", "WITH a=b\n", ""),
    ]
}
