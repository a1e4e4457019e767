//! One upload over several connections.
#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges, of one at times")]

use std::{fs::File, ops::Range, os::unix::fs::FileExt, thread};

use ferry_e2e::{Options, Raw, Server, Signal, body, crc, eventually, random_bytes, seed};

use super::gist;

const SIZE: usize = 3 << 20;

/// A server, and an upload that a connection holds.
struct Upload {
    server: Server,
    data: Vec<u8>,
    holder: Raw,
}

/// The body of a part, or of the holder: `word` closes it, with a CRC.
fn bytes(data: &[u8], word: &str, crc: &str) -> Vec<u8> {
    let mut out = body(data, 300_000);
    out.truncate(out.len() - "END 00000000\n".len());
    out.extend_from_slice(format!("{word} {crc}\n").as_bytes());
    out
}

impl Upload {
    fn begin() -> Upload {
        Upload::at(Server::start())
    }

    fn at(server: Server) -> Upload {
        let holder = Raw::greeted(server.address());
        let mut upload = Upload { server, data: random_bytes(seed(), SIZE), holder };
        assert_eq!(upload.resume(), "GO 0");
        upload
    }

    fn connect(&self) -> Raw {
        Raw::greeted(self.server.address())
    }

    /// Takes the upload up, on the connection that is to hold it.
    fn resume(&mut self) -> String {
        self.holder.ask(&format!("RESUME id {SIZE} 1600000000 x")).line
    }

    /// Takes the upload up on another connection, and gives the holder before.
    fn resume_anew(&mut self) -> (String, Raw) {
        let before = std::mem::replace(&mut self.holder, Raw::greeted(self.server.address()));
        (self.resume(), before)
    }

    fn part(&self, range: Range<usize>) -> Vec<u8> {
        let part = &self.data[range.clone()];
        let mut out = format!("PART id {} {} x\n", range.start, part.len()).into_bytes();
        out.extend(bytes(part, "END", &crc(part)));
        out
    }

    /// Sends parts on one connection, without waiting between them, and gives what is said to each.
    fn send_parts(&self, raw: &mut Raw, parts: &[Range<usize>]) -> Vec<String> {
        parts.iter().for_each(|part| raw.send(self.part(part.clone())));
        parts.iter().map(|_| gist(&raw.line())).collect()
    }

    /// The holder sends these bytes, and ends.
    fn end(&mut self, range: Range<usize>, word: &str) -> String {
        let crc = crc(&self.data);
        self.holder.send(bytes(&self.data[range], word, &crc));
        gist(&self.holder.line())
    }

    /// Waits until the bytes at this offset are in the staged file: the part that they are of has begun.
    fn has_begun_at(&self, offset: usize) {
        let file = File::open(self.server.path(".ferry/kept/id.data")).unwrap();
        let mut first = [0; 1000];
        eventually("the first bytes are written", || {
            // So far it may be shorter.
            file.read_exact_at(&mut first, offset as u64).is_ok().then_some(())?;
            (first == self.data[offset..][..first.len()]).then_some(())
        });
    }

    fn saved(&self) -> String {
        format!("SAVED {SIZE} {}", crc(&self.data))
    }

    fn is_published(&mut self) {
        assert!(self.server.read("x") == self.data, "other bytes than were sent");
        assert_eq!(self.holder.ask("STAT x").word(2), "1600000000");
        assert_eq!(gist(&self.resume()), self.saved());
        assert_eq!(self.server.visible(), ["x"]);
    }
}

#[test]
fn parts_of_several_connections_and_the_holders_bytes_are_one_file() {
    let mut upload = Upload::begin();
    thread::scope(|scope| {
        for line in 1..4usize {
            let upload = &upload;
            scope.spawn(move || {
                let mut raw = upload.connect();
                let parts: Vec<_> = (1..16).filter(|part| part % 3 == line % 3).map(|part| part * SIZE / 16).collect();
                let parts: Vec<_> = parts.into_iter().rev().map(|from| from..from + SIZE / 16).collect();
                assert_eq!(upload.send_parts(&mut raw, &parts), ["DONE"; 5]);
            });
        }
    });
    assert!(upload.server.visible().is_empty(), "it has its name before its end");
    let saved = upload.saved();
    assert_eq!(upload.end(0..SIZE / 16, "JOIN"), saved);
    upload.is_published();
}

#[test]
fn what_does_not_fit_is_refused_and_the_upload_goes_on() {
    let mut upload = Upload::begin();
    upload.holder.send(bytes(&upload.data[..1000], "", "").strip_suffix(b" \n").unwrap());
    let mut raw = upload.connect();
    assert_eq!(upload.send_parts(&mut raw, &[SIZE - 1000..SIZE]), ["DONE"]);
    let mut told = |line: String| {
        raw.send(format!("{line}\nDATA 1\nxEND 8cdc1683\n"));
        gist(&raw.line())
    };
    for (offset, length) in [(SIZE, 1), (SIZE - 1, 2), (SIZE - 500, 1), (SIZE - 1001, 2), (2000, 0), (2000, SIZE)] {
        assert_eq!(told(format!("PART id {offset} {length} x")), "FAIL bad-range", "{offset} {length}");
    }
    eventually("the holder's bytes are there", || (told("PART id 0 1 x".into()) == "FAIL bad-range").then_some(()));
    assert_eq!(told("PART id 2000 1 y".into()), "FAIL exists");
    assert_eq!(told("PART other 2000 1 x".into()), "FAIL busy");
    assert_eq!(told("PART id 2000 2 x".into()), "FAIL incomplete");
    raw.send("PART id 2000 1 x\nDATA 1\nxEND 00000000\n");
    assert_eq!(gist(&raw.line()), "FAIL checksum");
    raw.send("PART id 2000 1 x\nDATA 1\nxSTOP\n");
    assert_eq!(gist(&raw.line()), "FAIL stopped");
    assert_eq!(upload.end(1000..2000, "JOIN"), "FAIL incomplete");
    assert!(upload.server.visible().is_empty());
    let line = upload.resume();
    let offset: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
    let saved = upload.saved();
    assert_eq!(upload.end(offset..SIZE, "END"), saved);
    upload.is_published();
}

#[test]
fn bytes_that_are_not_those_of_the_whole_are_discarded() {
    let mut upload = Upload::begin();
    let mut raw = upload.connect();
    let half = SIZE / 2;
    raw.send(format!("PART id {half} {half} x\n"));
    let other = vec![7; half];
    raw.send(bytes(&other, "END", &crc(&other)));
    assert_eq!(gist(&raw.line()), "DONE");
    assert_eq!(upload.end(0..half, "JOIN"), "FAIL checksum");
    assert!(upload.server.visible().is_empty());
    assert_eq!(upload.resume(), "GO 0", "nothing is kept of it");
}

#[test]
fn a_newer_part_wins_and_the_end_of_the_holder_ends_all() {
    let mut upload = Upload::begin();
    let (mut first, mut second) = (upload.connect(), upload.connect());
    let half = SIZE / 2;
    let sent = upload.part(half..SIZE);
    first.send(&sent[..1_000_000]);
    upload.has_begun_at(half);
    assert_eq!(upload.send_parts(&mut second, &[half + 10..half + 20]), ["DONE"]);
    first.send(&sent[1_000_000..]);
    assert_eq!(gist(&first.line()), "FAIL changed");
    // The next one begins, and its holder goes.
    let sent = upload.part(0..half);
    second.send(&sent[..sent.len() - 5]);
    upload.has_begun_at(0);
    upload.holder.cut();
    let (line, _) = upload.resume_anew();
    assert_eq!(line, format!("GO 0 {}-{}", half + 10, half + 20));
    second.send(&sent[sent.len() - 5..]);
    assert_eq!(gist(&second.line()), "FAIL changed");
    assert_eq!(upload.send_parts(&mut second, &[0..half + 10, half + 20..SIZE]), ["DONE", "DONE"]);
    let saved = upload.saved();
    assert_eq!(upload.end(0..0, "JOIN"), saved);
    upload.is_published();
}

#[test]
fn parts_survive_the_holder_and_the_server_and_one_connection_can_send_over_them() {
    for ends in ["JOIN", "END"] {
        let mut upload = Upload::begin();
        let mut raw = upload.connect();
        let (third, most) = (SIZE / 3, 2 * SIZE / 3);
        assert_eq!(upload.send_parts(&mut raw, &[most..SIZE]), ["DONE"]);
        upload.holder.send(&bytes(&upload.data[..third], "STOP", "")[..]);
        assert_eq!(gist(&upload.holder.line()), "FAIL stopped");
        let root = tempfile::tempdir().unwrap();
        let kept = format!("GO {third} {most}-{SIZE}");
        assert_eq!(upload.resume(), kept);
        upload.server.signal(Signal::KILL);
        let status = upload.server.wait();
        assert!(!status.success());
        copy(upload.server.root(), root.path());
        upload = Upload { server: Options::new().root(root.path()).start(), ..upload };
        let (line, _) = upload.resume_anew();
        assert_eq!(line, kept, "what was noted when it was let go");
        let saved = upload.saved();
        if ends == "JOIN" {
            let mut raw = upload.connect();
            assert_eq!(upload.send_parts(&mut raw, &[third..most]), ["DONE"]);
            assert_eq!(upload.end(third..third, "JOIN"), saved);
        } else {
            assert_eq!(upload.end(third..SIZE, "END"), saved);
        }
        upload.is_published();
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_thousand_parts_cost_bounded_memory_and_the_upload_still_ends() {
    let mut upload = Upload::begin();
    let mut raw = upload.connect();
    let parts: Vec<_> = (1..1000).map(|part| 2000 * part..2000 * part + 1).collect();
    let mut done = 0;
    for parts in parts.chunks(50) {
        done += upload.send_parts(&mut raw, parts).iter().filter(|told| *told == "DONE").count();
    }
    assert_eq!(done, 48);
    let before = upload.server.figures();
    for _ in 0..5 {
        let told = upload.send_parts(&mut raw, &parts[100..200]);
        assert!(told.iter().all(|told| told == "FAIL busy"), "{told:?}");
    }
    let after = upload.server.figures();
    assert_eq!(before.descriptors, after.descriptors);
    // What touches is one: there is room again.
    assert_eq!(upload.send_parts(&mut raw, &[2001..4000]), ["DONE"]);
    let saved = upload.saved();
    assert_eq!(upload.end(0..SIZE, "END"), saved);
    upload.is_published();
}
