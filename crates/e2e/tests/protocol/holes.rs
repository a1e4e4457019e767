//! Holes of sparse files: `HOLE` in bodies, `WITH holes=yes`.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use ferry_e2e::{Raw, Server, crc};
use ferry_wire::{Crc32, Digest};

/// As large as it can only be with a hole.
const HUGE: u64 = 1 << 40;

/// Returns how much of the disk a file of the server takes.
fn taken(server: &Server, name: &str) -> u64 {
    fs::metadata(server.path(name)).unwrap().blocks() * 512
}

/// The CRC of parts that are bytes, or zeros.
fn crc_of(parts: &[(&[u8], u64)]) -> Crc32 {
    let mut digest = Digest::new();
    for (bytes, zeros) in parts {
        digest.update(bytes);
        digest.append_zeros(*zeros);
    }
    digest.crc()
}

/// Whether the file system of the server makes holes.
fn makes_holes(server: &Server) -> bool {
    File::create(server.path("probe")).unwrap().set_len(1 << 30).unwrap();
    let makes = taken(server, "probe") < 1 << 20;
    fs::remove_file(server.path("probe")).unwrap();
    makes
}

#[test]
fn holes_of_an_upload_are_holes_of_the_file_and_count_for_its_length_and_crc() {
    let server = Server::start();
    let mut raw = Raw::connect(server.address());
    let greeting = raw.line();
    assert!(greeting.contains(" holes"), "{greeting}");
    if !makes_holes(&server) {
        return eprintln!("skipped: no holes here");
    }
    let middle = [7; 10_000];
    let whole = crc_of(&[(b"begin", HUGE), (&middle, 3 << 30), (b"end", 0), (b"", 70_000)]);
    let size = 5 + HUGE + 10_000 + (3 << 30) + 3 + 70_000;
    for (request, answer) in [("PUT", None), ("RESUME id", Some("GO 0"))] {
        raw.send(format!("{request} {size} 1700000000 f\n"));
        if let Some(answer) = answer {
            assert_eq!(raw.line(), answer);
        }
        raw.send(format!("DATA 5\nbeginHOLE {HUGE}\nDATA 10000\n"));
        raw.send(middle);
        raw.send(format!("HOLE {}\nDATA 3\nendHOLE 70000\nEND {whole}\n", 3_u64 << 30));
        let saved = raw.answer("PUT");
        assert_eq!((saved.word(0), saved.word(1), saved.word(2)), ("SAVED", &*size.to_string(), &*whole.to_string()));
        assert!(taken(&server, "f") < 1 << 20, "{request}: {} bytes on the disk", taken(&server, "f"));
        let file = File::open(server.path("f")).unwrap();
        let mut there = [1; 5 + 10_000 + 5];
        file.read_exact_at(&mut there, HUGE).unwrap();
        assert!(there[..5] == [0; 5] && there[5..10_005] == middle && there[10_005..] == [0; 5]);
        assert_eq!(file.metadata().unwrap().len(), size);
        raw.ask("DELETE f");
    }
    // Where the size is not known, and where all is a hole.
    raw.send(format!("PUT - - g\nHOLE 65536\nHOLE 65536\nEND {}\n", crc_of(&[(b"", 131_072)])));
    assert_eq!(raw.answer("PUT").word(1), "131072");
    assert_eq!(server.read("g"), [0; 131_072]);
}

#[test]
fn a_hole_that_can_not_be_is_refused() {
    let server = Server::start();
    for body in ["HOLE 65535\n", "HOLE\n", "HOLE x\n", "HOLE 70001\n", "DATA 1\nxHOLE 70000\n"] {
        let mut raw = Raw::greeted(server.address());
        raw.send(format!("PUT 70000 - f\n{body}"));
        raw.answer("PUT").expect_failure("bad-request");
        raw.expect_eof();
    }
    let mut raw = Raw::greeted(server.address());
    raw.send("PUT 70000 - f\nHOLE 70000\nEND 00000000\n");
    raw.answer("PUT").expect_failure("checksum");
    raw.send("PUT 70001 - f\nHOLE 70000\nEND -\n");
    raw.answer("PUT").expect_failure("incomplete");
    raw.send("PUT 70000 - no/f\nHOLE 70000\nEND -\nSTAT f\n");
    raw.answer("PUT").expect_failure("not-found");
    raw.answer("STAT").expect_failure("not-found");
    for request in ["STAT f", "SUM f", "LIST", "DELETE f"] {
        raw.ask(&format!("WITH holes=yes\n{request}")).expect_failure("unsupported");
    }
    // One of a part is no longer than the part.
    assert_eq!(raw.ask("RESUME id 200000 - f").line, "GO 0");
    let mut other = Raw::greeted(server.address());
    other.send("PART id 100000 100000 f\nHOLE 100001\nEND -\n");
    other.answer("PART").expect_failure("bad-request");
    other.expect_eof();
}

#[test]
fn parts_have_holes_that_are_holes_of_the_file_whatever_was_there() {
    let server = Server::start();
    if !makes_holes(&server) {
        return eprintln!("skipped: no holes here");
    }
    let mut raw = Raw::connect(server.address());
    assert!(raw.line().contains(" part-holes"));
    let data = vec![7; 300_000];
    let size = 5 + HUGE + 300_000 + HUGE;
    assert_eq!(raw.ask(&format!("RESUME id {size} - f")).line, "GO 0");
    let mut other = Raw::greeted(server.address());
    let part = |offset: u64, parts: &[(&[u8], u64)]| {
        let length: u64 = parts.iter().map(|(bytes, zeros)| bytes.len() as u64 + zeros).sum();
        let mut text = format!("PART id {offset} {length} f\n").into_bytes();
        for (bytes, zeros) in parts {
            text.extend(format!("DATA {}\n", bytes.len()).into_bytes().into_iter().filter(|_| !bytes.is_empty()));
            text.extend_from_slice(bytes);
            text.extend(format!("HOLE {zeros}\n").into_bytes().into_iter().filter(|_| *zeros > 0));
        }
        text.extend(format!("END {}\n", crc_of(parts)).into_bytes());
        text
    };
    // An older part, which the next one takes the place of, has written there.
    let mut late = Raw::greeted(server.address());
    late.send(format!("PART id {} 400000 f\nDATA 200000\n", HUGE - 400_000));
    late.send(vec![9; 200_000]);
    late.send("DATA 100000\n");
    other.send(part(HUGE - 500_000, &[(b"", 500_005), (&data, 0)]));
    assert_eq!(other.answer("PART").line, "DONE");
    late.send(vec![9; 100_000]);
    late.send("DATA 100000\n");
    late.send(vec![9; 100_000]);
    late.send("END -\n");
    assert_eq!(late.answer("PART").word(1), "changed");
    other.send(part(5 + HUGE + 300_000, &[(b"", HUGE)]));
    assert_eq!(other.answer("PART").line, "DONE");
    // Cut, and gone on with: the parts are kept.
    raw.send("DATA 5\nbeginHOLE 70000\nSTOP\n");
    raw.answer("PUT").expect_failure("stopped");
    let go = raw.ask(&format!("RESUME id {size} - f"));
    assert_eq!(go.line, format!("GO 70005 {}-{size}", HUGE - 500_000));
    let whole = crc_of(&[(b"begin", HUGE), (&data, HUGE)]);
    raw.send(format!("HOLE {}\nJOIN {whole}\n", HUGE - 500_000 - 70_005));
    let saved = raw.answer("PUT");
    assert_eq!((saved.word(0), saved.word(2)), ("SAVED", whole.to_string().as_str()), "{saved:?}");
    assert_eq!(raw.ask("SUM f").word(2), whole.to_string());
    assert!(taken(&server, "f") < 2 << 20, "{}", taken(&server, "f"));
}

#[test]
fn a_hole_over_what_was_kept_reads_as_zeros() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    let part = vec![9; 300_000];
    assert_eq!(raw.ask("RESUME id 900000 - f").line, "GO 0");
    let mut other = Raw::greeted(server.address());
    other.send("PART id 400000 300000 f\nDATA 300000\n");
    other.send(&part);
    other.send(format!("END {}\n", crc(&part)));
    assert_eq!(other.answer("PART").line, "DONE");
    // The holder sends over it: a part of it is zeros, and the rest is another.
    let whole = crc_of(&[(b"first", 500_000), (b"x", 399_994)]);
    raw.send("DATA 5\nfirstHOLE 300000\nHOLE 200000\nDATA 1\nxSTOP\n");
    raw.answer("PUT").expect_failure("stopped");
    let go = raw.ask("RESUME id 900000 - f");
    assert_eq!(go.line, "GO 500006", "{go:?}");
    raw.send(format!("HOLE 399994\nEND {whole}\n"));
    assert_eq!(raw.answer("PUT").word(2), whole.to_string());
    let there = server.read("f");
    assert_eq!((there.len(), Crc32::of(&there)), (900_000, whole));
    assert_eq!(raw.ask("SUM f").word(2), whole.to_string());
}

#[test]
fn a_download_leaves_holes_out_where_that_is_asked_for() {
    let server = Server::start();
    let file = File::create(server.path("f")).unwrap();
    file.set_len(HUGE).unwrap();
    file.write_all_at(&[5; 200_000], 1 << 30).unwrap();
    file.write_all_at(b"end", HUGE - 3).unwrap();
    if taken(&server, "f") > 1 << 20 {
        return eprintln!("skipped: no holes here");
    }
    let whole = crc_of(&[(b"", 1 << 30), (&[5; 200_000], HUGE - (1 << 30) - 200_003), (b"end", 0)]);
    let mut raw = Raw::greeted(server.address());
    for request in ["GET f", "READ 0 * * f"] {
        raw.send(format!("WITH holes=yes\n{request}\n"));
        assert_eq!(raw.line().split(' ').nth(1), Some(&*HUGE.to_string()));
        let (mut digest, mut data) = (Digest::new(), 0);
        let end = loop {
            let line = raw.line();
            match line.split_once(' ').unwrap() {
                ("DATA", count) => {
                    let bytes = raw.bytes(count.parse().unwrap());
                    digest.update(&bytes);
                    data += bytes.len();
                }
                ("HOLE", count) => digest.append_zeros(count.parse().unwrap()),
                _ => break line,
            }
        };
        assert_eq!((end, digest.bytes()), (format!("END {whole}"), HUGE), "{request}");
        assert!(data < 1 << 20, "{request}: {data} bytes");
    }
    // A SUM reads no holes either, whoever asks.
    assert_eq!(raw.ask("SUM f").word(2), whole.to_string());
    // Without the word all of it comes.
    let some = raw.ask(&format!("READ {} 300000 * f", (1 << 30) - 50_000)).verified();
    assert!(some.len() == 300_000 && some[..50_000].iter().all(|byte| *byte == 0) && some[50_000] == 5);
}
