//! RESUME, misused.

use crate::corpus::{Case, cat, closes, ends, goes_on, resets, times};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = ids();
    cases.extend(bodies());
    cases.extend(streams());
    cases.extend(parts());
    cases.extend(loops());
    cases
}

fn ids() -> Vec<Case> {
    let mut cases: Vec<Case> =
        ["", ".", "..", "../x", "a.b", "a/b", "a.mark", "a\u{301}", "é", "a\0", "\x1b", "a%41", "*", "+"]
            .iter()
            .map(|id| goes_on(format!("the id {id:?}"), format!("RESUME {id} 1 - new\n"), "bad-request"))
            .collect();
    cases.extend(
        ["-", "_", "--", "kept", "run-0", "a", "A"]
            .iter()
            .map(|id| goes_on(format!("the id {id:?}"), format!("RESUME {id} 1 - new\nSTOP\n"), "GO 0|stopped")),
    );
    let id = |length: usize| times(length, "i");
    cases.extend([
        goes_on("an id of 64", format!("RESUME {} 1 - new\nSTOP\n", id(64)), "GO 0|stopped"),
        goes_on("an id of 65", format!("RESUME {} 1 - new\n", id(65)), "bad-request"),
        goes_on("no id", "RESUME\nRESUME 1 - new\n", "bad-request|bad-request"),
        goes_on("no size", "RESUME no-size -\nRESUME no-size -- - new\n", "bad-request|bad-request"),
        goes_on("a negative size", "RESUME size -1 - new\n", "bad-request"),
        goes_on("a size with a zero in front", "RESUME size 01 - new\n", "bad-request"),
        goes_on("a size too large for a number", "RESUME size 9223372036854775808 - new\n", "bad-request"),
        goes_on("the largest size", "RESUME largest 9223372036854775807 - new\nDATA 1\nxEND -\n", "GO 0|incomplete"),
        goes_on("the largest size again", "RESUME largest 9223372036854775807 - new\nSTOP\n", "GO 1|stopped"),
        goes_on("no size at all", "RESUME empty 0 - new\nEND 00000000\n", "GO 0|SAVED 0 00000000"),
        goes_on("a bad time", "RESUME time 1 soon new\n", "bad-request"),
        goes_on("another size", "RESUME size-1 5 - new\nSTOP\nRESUME size-1 6 - new\n", "GO 0|stopped|exists"),
        goes_on("another name", "RESUME name-1 5 - new\nSTOP\nRESUME name-1 5 - new2\n", "GO 0|stopped|exists"),
        goes_on(
            "ids in two cases",
            "RESUME case 5 - new\nSTOP\nRESUME CASE 6 - new\nSTOP\n",
            "GO 0|stopped|GO 0|stopped",
        ),
        goes_on("onto a directory", "RESUME onto-d 1 - d\n", "not-a-file"),
        goes_on("to nowhere", "RESUME nowhere 1 - nowhere/new\n", "not-found"),
        goes_on("beneath a file", "RESUME beneath 1 - a/new\n", "not-a-directory"),
        goes_on("into the server's corner", "RESUME corner 1 - .ferry/kept/new\n", "bad-name"),
    ]);
    cases
}

fn bodies() -> Vec<Case> {
    let begun = |id: &str| format!("RESUME {id} 5 - new\nDATA 3\nhel");
    vec![
        goes_on(
            "a wrong CRC",
            begun("crc") + "DATA 2\nloEND 00000000\nRESUME crc 5 - new\nSTOP\n",
            "GO 0|checksum|GO 0|stopped",
        ),
        goes_on(
            "a wrong CRC on the second part",
            begun("crc-2") + "STOP\nRESUME crc-2 5 - new\nDATA 2\nLOEND 3610a686\nSTAT new\n",
            "GO 0|stopped|GO 3|checksum|not-found",
        ),
        goes_on(
            "the CRC of the second part alone",
            begun("crc-3") + &format!("STOP\nRESUME crc-3 5 - new\nDATA 2\nloEND {}\n", ferry_e2e::crc(b"lo")),
            "GO 0|stopped|GO 3|checksum",
        ),
        goes_on(
            "an END too early",
            begun("early") + "END -\nRESUME early 5 - new\nSTOP\n",
            "GO 0|incomplete|GO 3|stopped",
        ),
        goes_on(
            "all, then again",
            "RESUME twice 1 - new\nDATA 1\nxEND -\nRESUME twice 1 - new\n",
            "GO 0|SAVED 1 8cdc1683|SAVED 1 8cdc1683",
        ),
        goes_on(
            "all, then another name",
            "RESUME other 1 - new\nDATA 1\nxEND -\nRESUME other 1 - new2\n",
            "GO 0|SAVED 1 8cdc1683|exists",
        ),
        goes_on(
            "all but END, then END alone",
            begun("alone") + "DATA 2\nloSTOP\nRESUME alone 5 - new\nEND 3610a686\n",
            "GO 0|stopped|GO 5|SAVED 5 3610a686",
        ),
        closes("more than announced", begun("more") + "DATA 3\nlo!END -\nDELETE a\n", "GO 0|bad-request"),
        closes(
            "more than is left",
            begun("left") + "STOP\nRESUME left 5 - new\nDATA 5\nhelloEND 3610a686\n",
            "GO 0|stopped|GO 3|bad-request",
        ),
        closes(
            "a block where all is there",
            begun("full") + "DATA 2\nloSTOP\nRESUME full 5 - new\nDATA 1\nxEND -\n",
            "GO 0|stopped|GO 5|bad-request",
        ),
        closes(
            "a RESUME in the body of a RESUME",
            "RESUME nested 5 - new\nRESUME nested 5 - new\nDELETE a\n",
            "GO 0|bad-request",
        ),
        closes("a request in the body of a RESUME", "RESUME request 5 - new\nDELETE a\n", "GO 0|bad-request"),
        closes(
            "a body behind a refused RESUME",
            "RESUME refused 5 - ../x\nDATA 5\nhelloEND -\nDELETE a\n",
            "bad-name|bad-request",
        ),
        closes(
            "a body behind SAVED",
            "RESUME done 1 - new\nDATA 1\nxEND -\nRESUME done 1 - new\nDATA 1\nxEND -\n",
            "GO 0|SAVED 1 8cdc1683|SAVED 1 8cdc1683|bad-request",
        ),
        closes("noise behind GO", cat(&[b"RESUME noise 9 - new\n", &[0xbb; 5000]]), "GO 0|bad-request"),
        ends("an end of input behind GO", "RESUME end 5 - new\n", "GO 0|incomplete"),
        ends("an end of input in the body", begun("end-2"), "GO 0|incomplete"),
        goes_on(
            "what was kept by an end of input",
            "RESUME end-2 5 - new\nDATA 2\nloEND 3610a686\n",
            "GO 3|SAVED 5 3610a686",
        ),
        resets("a reset behind RESUME", "RESUME reset 5 - new\n", ""),
        resets("a reset behind GO", "RESUME reset-2 5 - new\n", "GO 0"),
        resets("a reset in the body", begun("reset-3"), "GO 0"),
        resets("a reset behind END", "RESUME reset-4 1 - new\nDATA 1\nxEND -\n", "GO 0"),
    ]
}

/// Streams: a dash stands for the size.
fn streams() -> Vec<Case> {
    const GO: &str = "GO 0 crc=00000000";
    let begun = |id: &str| format!("RESUME {id} - - new\nDATA 3\nhel");
    vec![
        goes_on("nothing at all", "RESUME s-0 - - new\nEND 00000000\n", &format!("{GO}|SAVED 0 00000000")),
        goes_on("a stream", begun("s-1") + "DATA 2\nloEND 3610a686\n", &format!("{GO}|SAVED 5 3610a686")),
        goes_on(
            "a stream that its client gives up",
            begun("s-2") + "STOP\nRESUME s-2 - - new\nSTOP\n",
            &format!("{GO}|stopped|{GO}|stopped"),
        ),
        goes_on(
            "a stream with a wrong CRC",
            begun("s-3") + "END 00000000\nRESUME s-3 - - new\nSTOP\n",
            &format!("{GO}|checksum|{GO}|stopped"),
        ),
        ends("an end of input in a stream", begun("s-4"), &format!("{GO}|incomplete")),
        goes_on("a size for a stream", "RESUME s-4 5 - new\n", "exists"),
        goes_on(
            "the rest of a stream",
            "RESUME s-4 - - new\nDATA 2\nloEND 3610a686\n",
            "GO 3 crc=e50bf11b|SAVED 5 3610a686",
        ),
        goes_on("a dash for a size", "RESUME s-5 5 - new\nSTOP\nRESUME s-5 - - new\n", "GO 0|stopped|exists"),
        closes("JOIN in a stream", begun("s-6") + "JOIN 3610a686\nDELETE a\n", &format!("{GO}|bad-request")),
        closes("a word of servers in a stream", begun("s-7") + "KEPT 3\nDELETE a\n", &format!("{GO}|bad-request")),
        goes_on("a word of servers as a request", "KEPT 3\n", "unknown-command"),
        goes_on(
            "the largest hole in a stream",
            begun("s-8") + "HOLE 9223372036854775807\nEND -\nRESUME s-8 - - new\nSTOP\n",
            &format!("{GO}|too-large|{GO}|stopped"),
        ),
        resets("a reset in a stream", begun("s-9"), GO),
    ]
}

/// PART and JOIN, alone on a connection: what takes two is in `protocol/parts.rs`.
fn parts() -> Vec<Case> {
    let one = "DATA 1\nxEND 8cdc1683\n";
    let part = |line: &str| format!("{line}\n{one}STAT a\n");
    let mut cases: Vec<Case> = ["", ".", "..", "a.b", "a/b", "é", "*"]
        .iter()
        .map(|id| {
            goes_on(format!("a part of the id {id:?}"), part(&format!("PART {id} 0 1 new")), "bad-request|FILE 5")
        })
        .collect();
    cases.extend(
        ["PART", "PART id", "PART id 0", "PART id 0 1", "PART id - 1 new", "PART id 0 - new", "PART id -1 1 new"]
            .iter()
            .chain(&["PART id 00 1 new", "PART id 0 9223372036854775808 new", "PART  0 1 new"])
            .map(|line| goes_on(format!("{line:?}"), part(line), "bad-request|FILE 5")),
    );
    cases.extend([
        goes_on("a part into the server's corner", part("PART id 0 1 .ferry/kept/id.data"), "bad-name|FILE 5"),
        goes_on("a part outside", part("PART id 0 1 ../new"), "bad-name|FILE 5"),
        goes_on("a part of what nobody holds", part("PART id 0 1 new"), "busy|FILE 5"),
        goes_on("a part of a published one", part("PART kept 0 1 a"), "busy|FILE 5"),
        goes_on("the largest part", "PART id 9223372036854775807 9223372036854775807 new\nSTOP\n", "busy"),
        goes_on("a part after WITH", part("WITH if=none\nPART id 0 1 new"), "unsupported|FILE 5"),
        goes_on("a part after WITH of nothing", part("WITH\nPART id 0 1 new"), "bad-request|FILE 5"),
        goes_on("a thousand parts", times(1000, &format!("PART id 5 1 new\n{one}")), &vec!["busy"; 1000].join("|")),
        goes_on("a joined nothing", "RESUME join-0 5 - new\nJOIN 00000000\n", "GO 0|incomplete"),
        goes_on(
            "all joined, and a wrong CRC",
            "RESUME join-1 1 - new\nDATA 1\nxJOIN 00000000\nRESUME join-1 1 - new\nSTOP\n",
            "GO 0|checksum|GO 0|stopped",
        ),
        goes_on(
            "all joined that came by itself",
            "RESUME join-2 1 - new\nDATA 1\nxJOIN 8cdc1683\n",
            "GO 0|SAVED 1 8cdc1683",
        ),
        closes("JOIN where a request is due", "JOIN 00000000\nDELETE a\n", "bad-request"),
        closes("JOIN without a CRC", "RESUME join-4 5 - new\nJOIN -\nDELETE a\n", "GO 0|bad-request"),
        closes("JOIN in a PUT", "PUT 5 - new\nDATA 1\nxJOIN 8cdc1683\nDELETE a\n", "bad-request"),
        goes_on("JOIN in a refused part", "PART id 0 1 new\nJOIN 8cdc1683\nSTAT a\n", "busy|FILE 5"),
        closes("a malformed body of a part", "PART id 0 1 new\nDATA 0\nDELETE a\n", "busy|bad-request"),
        ends("an end of input in a part", "PART id 0 5 new\nDATA 5\nhe", "busy|incomplete"),
        resets("a reset in a part", "PART id 0 5 new\nDATA 5\nhe", "busy"),
    ]);
    cases
}

fn loops() -> Vec<Case> {
    let many = |count: usize, replies: &str| vec![replies; count].join("|");
    let crumbs: String = (0..100).map(|_| "RESUME crumbs 1000 - new\nDATA 1\nxSTOP\n").collect();
    let crumb_replies: Vec<String> = (0..100).map(|at| format!("GO {at}|stopped")).collect();
    let ids: String = (0..100).map(|index| format!("RESUME many-{index} 5 - new\nSTOP\n")).collect();
    vec![
        goes_on("begun and stopped", times(100, "RESUME loop 5 - new\nSTOP\n"), &many(100, "GO 0|stopped")),
        goes_on("a byte at a time", crumbs, &crumb_replies.join("|")),
        goes_on("a hundred ids", ids, &many(100, "GO 0|stopped")),
        goes_on(
            "wrong again and again",
            times(100, "RESUME wrong 1 - new\nDATA 1\nxEND 00000000\n"),
            &many(100, "GO 0|checksum"),
        ),
        goes_on("refused again and again", times(300, "RESUME refused 5 - d\n"), &many(300, "not-a-file")),
    ]
}
