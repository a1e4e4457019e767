//! A PUT is there whole or not at all, and disturbs nobody who reads.

use std::{
    fs::{self, File},
    io::Write as _,
    thread,
};

use ferry_e2e::{Options, Random, Raw, Server, Signal, body, crc, eventually, random_bytes, seed};

use super::{BLOCK_BYTES, gist};

/// Larger than what the sockets and the server can hold between them, so that a reply of that size is
/// surely under way for as long as nobody reads it.
const LARGE_BYTES: usize = 24 << 20;

#[test]
fn sizes_around_the_block_come_back_as_they_went() {
    let server = Server::start();
    let seed = seed();
    let mut raw = Raw::greeted(server.address());
    for size in [0, 1, 2, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 17] {
        let bytes = random_bytes(seed ^ size as u64, size);
        let answer = raw.put("sized", &bytes);
        assert_eq!(gist(&answer.line), format!("SAVED {size} {}", crc(&bytes)));
        let got = raw.ask("GET sized");
        assert_eq!((got.word(1), got.word(3)), (size.to_string().as_str(), answer.word(3)));
        assert!(got.verified() == bytes, "{size} bytes came back changed");
        assert!(server.read("sized") == bytes, "{size} bytes are not on the disk");
    }
}

#[test]
fn how_a_body_is_cut_into_blocks_means_nothing() {
    let server = Server::start();
    let seed = seed();
    let bytes = random_bytes(seed, 5_000);
    let mut raw = Raw::greeted(server.address());
    for block_bytes in [1, 2, 3, 7, 4096, 4999, 5000] {
        for announced in ["5000", "-"] {
            raw.send(format!("PUT {announced} - blocks\n"));
            raw.send(body(&bytes, block_bytes));
            assert_eq!(gist(&raw.line()), format!("SAVED 5000 {}", crc(&bytes)), "blocks of {block_bytes}");
        }
    }
    // Blocks of random sizes, in pieces of random sizes.
    let mut random = Random::new(seed);
    let mut sent = b"PUT 5000 - blocks\n".to_vec();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (block, behind) = rest.split_at(rest.len().min(1 + random.below(900) as usize));
        sent.extend_from_slice(format!("DATA {}\r\n", block.len()).as_bytes());
        sent.extend_from_slice(block);
        rest = behind;
    }
    sent.extend_from_slice(format!("end {}\n", crc(&bytes)).as_bytes());
    let mut unsent = sent.as_slice();
    while !unsent.is_empty() {
        let (piece, behind) = unsent.split_at(unsent.len().min(1 + random.below(200) as usize));
        raw.send(piece);
        unsent = behind;
    }
    assert_eq!(gist(&raw.line()), format!("SAVED 5000 {}", crc(&bytes)));
    assert_eq!(raw.ask("GET blocks").verified(), bytes);
}

#[test]
fn a_person_may_close_a_body_unchecked() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    raw.send(
        "PUT - - note\nDATA 5\nhelloEND -\nPUT 5 - sized\nDATA 5\nhelloEND -\nPUT 6 - short\nDATA 5\nhelloEND -\n",
    );
    assert_eq!(gist(&raw.line()), "SAVED 5 3610a686");
    assert_eq!(gist(&raw.line()), "SAVED 5 3610a686");
    raw.answer("PUT").expect_failure("incomplete");
    assert_eq!(server.visible(), ["note", "sized"]);
}

#[test]
fn nothing_is_visible_before_the_end_of_a_put() {
    let server = Server::start();
    server.write("old", b"as it was");
    let mut writer = Raw::greeted(server.address());
    let mut reader = Raw::greeted(server.address());
    for (name, before) in [("old", "FILE 9"), ("new", "FAIL not-found")] {
        writer.send(format!("PUT 10 - {name}\nDATA 5\nfirstDATA 5\nsec"));
        // Whether these bytes have arrived yet or not, nobody may see them.
        assert_eq!(gist(&reader.ask(&format!("STAT {name}")).line), before);
        assert_eq!(server.read("old"), b"as it was");
        assert!(!server.visible().contains(&"new".to_owned()));
        writer.send(format!("ndEND {}\n", crc(b"firstsecnd")));
        assert_eq!(writer.line().split(' ').next(), Some("SAVED"));
        assert_eq!(reader.ask(&format!("GET {name}")).verified(), b"firstsecnd");
        server.write("old", b"as it was");
    }
    assert_eq!(server.visible(), ["new", "old"]);
}

#[test]
fn a_put_that_is_cut_leaves_nothing() {
    let server = Server::start();
    server.write("old", b"as it was");
    let idle = server.figures().descriptors;
    for cut in
        ["PUT 10 - old\n", "PUT 10 - old\nDATA 10\nhalf", "PUT - - new\nDATA 4\nhalf", "PUT 4 - new\nDATA 4\nhalfEN"]
    {
        let mut raw = Raw::greeted(server.address());
        raw.send(cut);
        drop(raw);
    }
    server.settles("the server lets go of what was cut", |figures| figures.descriptors <= idle);
    assert_eq!(server.visible(), ["old"]);
    assert_eq!(server.read("old"), b"as it was");
}

#[test]
fn what_was_cut_takes_no_room() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    let bytes = random_bytes(1, 4 * BLOCK_BYTES);
    raw.send(format!("PUT {} - large\n", bytes.len()));
    let whole = body(&bytes, BLOCK_BYTES);
    raw.send(&whole[..whole.len() - 2]);
    drop(raw);
    eventually("the bytes of a cut PUT are given back", || (bytes_beneath(server.root()) < 1 << 20).then_some(()));
    let mut raw = Raw::greeted(server.address());
    raw.send(format!("PUT {} - large\n", bytes.len()));
    raw.send(&whole[..whole.len() - "END 00000000\n".len()]);
    raw.send("END 00000000\n");
    raw.answer("PUT").expect_failure(if crc(&bytes) == "00000000" { "unlikely" } else { "checksum" });
    eventually("the bytes of a wrong PUT are given back", || (bytes_beneath(server.root()) < 1 << 20).then_some(()));
    assert!(server.visible().is_empty());
}

fn bytes_beneath(directory: &std::path::Path) -> u64 {
    // What is deleted while we look is gone, which is what we hope to see.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_beneath(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Starts a GET of `large` and reads far enough to know that it is under way.
fn begin_get(server: &Server) -> (Raw, Vec<u8>) {
    let mut reader = Raw::greeted(server.address());
    reader.send("GET large\n");
    assert_eq!(gist(&reader.line()), format!("FILE {LARGE_BYTES}"));
    let block = reader.line();
    let length: usize = block.strip_prefix("DATA ").unwrap().parse().unwrap();
    let bytes = reader.bytes(length);
    (reader, bytes)
}

/// Reads on where [`begin_get`] stopped; gives the bytes and the line that closed the body.
fn end_get(mut reader: Raw, mut bytes: Vec<u8>) -> (Vec<u8>, String) {
    loop {
        let line = reader.line();
        match line.strip_prefix("DATA ") {
            Some(length) => bytes.extend_from_slice(&reader.bytes(length.parse().unwrap())),
            None => {
                assert_eq!(gist(&reader.ask("STAT nothing").line), "FAIL not-found", "the connection stays usable");
                return (bytes, line);
            }
        }
    }
}

#[test]
fn a_get_keeps_the_version_that_it_began() {
    let server = Server::start();
    let old = random_bytes(seed(), LARGE_BYTES);
    server.write("large", &old);
    let mut writer = Raw::greeted(server.address());

    let (reader, first) = begin_get(&server);
    assert_eq!(gist(&writer.put("large", b"new").line), format!("SAVED 3 {}", crc(b"new")));
    let (bytes, closing) = end_get(reader, first);
    assert!(bytes == old && closing == format!("END {}", crc(&old)), "a GET that a PUT ran into: {closing}");
    assert_eq!(writer.ask("GET large").verified(), b"new");

    server.write("large", &old);
    let (reader, first) = begin_get(&server);
    assert_eq!(writer.ask("DELETE large").line, "DONE");
    let (bytes, closing) = end_get(reader, first);
    assert!(bytes == old && closing == format!("END {}", crc(&old)), "a GET that a DELETE ran into: {closing}");
}

#[test]
fn a_file_that_is_changed_in_place_while_it_is_sent_fails() {
    let server = Server::start();
    let old = random_bytes(seed(), LARGE_BYTES);

    server.write("large", &old);
    let (reader, first) = begin_get(&server);
    File::options().append(true).open(server.path("large")).unwrap().write_all(b"more").unwrap();
    let (_, closing) = end_get(reader, first);
    assert_eq!(gist(&closing), "FAIL changed", "a file that grew");

    server.write("large", &old);
    let (reader, first) = begin_get(&server);
    File::options().write(true).open(server.path("large")).unwrap().set_len(BLOCK_BYTES as u64).unwrap();
    let (_, closing) = end_get(reader, first);
    assert_eq!(gist(&closing), "FAIL changed", "a file that shrank");
}

#[test]
fn a_time_that_is_put_back_hides_no_change_and_a_rename_is_none() {
    let server = Server::start();
    let [old, new] = [0, 1].map(|more| random_bytes(seed() + more, LARGE_BYTES));

    server.write("large", &old);
    let (reader, first) = begin_get(&server);
    let mut file = File::options().write(true).open(server.path("large")).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    file.write_all(&new).unwrap();
    file.set_modified(time).unwrap();
    let (bytes, closing) = end_get(reader, first);
    assert!(bytes != old && bytes != new, "it was not changed under way");
    assert_eq!(gist(&closing), "FAIL changed", "a file whose time was put back");

    server.write("large", &old);
    let (reader, first) = begin_get(&server);
    assert_eq!(Raw::greeted(server.address()).ask("RENAME large//larger").line, "DONE");
    let (bytes, closing) = end_get(reader, first);
    assert!(bytes == old && closing == format!("END {}", crc(&old)), "a GET that a RENAME ran into: {closing}");
}

#[test]
fn a_put_may_be_of_any_name_that_is_free() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    let longest = "n".repeat(255);
    for name in
        [" leading", "trailing ", "a  b", "-rf", "*", "~", "a\\b", "%2e", "Grüße", "世界", ".hidden", "...", &longest]
    {
        assert_eq!(
            gist(&raw.put(name, name.as_bytes()).line),
            format!("SAVED {} {}", name.len(), crc(name.as_bytes()))
        );
        assert_eq!(server.read(name), name.as_bytes());
        assert_eq!(raw.ask(&format!("GET {name}")).verified(), name.as_bytes());
    }
}

#[test]
fn readers_see_only_whole_versions_while_writers_replace_them() {
    const ROUNDS: usize = 60;
    let server = Options::new().arg("--durability").arg("none").start();
    // A version is one byte many times, as many as the byte says: any mixture of two shows.
    let version = |byte: u8| vec![byte; 1_000 * usize::from(byte)];
    server.write("same", &version(1));
    thread::scope(|scope| {
        for writer in 0..4_u8 {
            let server = &server;
            scope.spawn(move || {
                let mut raw = Raw::greeted(server.address());
                for round in 0..ROUNDS {
                    let byte = 1 + writer * 50 + (round % 50) as u8;
                    assert_eq!(raw.put("same", &version(byte)).word(0), "SAVED");
                }
            });
        }
        for _ in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut raw = Raw::greeted(server.address());
                for _ in 0..ROUNDS {
                    let bytes = raw.ask("GET same").verified();
                    assert!(bytes == version(bytes[0]), "a mixture of versions");
                    let sum = raw.ask("SUM same");
                    let byte = (sum.word(1).parse::<usize>().unwrap() / 1_000) as u8;
                    assert_eq!(sum.word(2), crc(&version(byte)));
                }
            });
        }
    });
    assert_eq!(server.visible(), ["same"]);
}

#[test]
fn a_killed_server_has_kept_what_it_saved_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Options::new().root(directory.path()).start();
    let bytes = random_bytes(seed(), 2 * BLOCK_BYTES);
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.put("saved", &bytes).word(0), "SAVED");
    assert_eq!(raw.ask("MKDIR made").line, "DONE");
    assert_eq!(raw.ask("RENAME saved//made/moved").line, "DONE");
    raw.send(format!("PUT {} - half\nDATA {BLOCK_BYTES}\n", bytes.len()));
    raw.send(&bytes[..BLOCK_BYTES]);
    // An answer on another connection: by then the half may well have been staged.
    let mut other = Raw::greeted(server.address());
    other.ask("STAT half").expect_failure("not-found");
    server.signal(Signal::KILL);
    let _ = server.wait();
    drop(server);

    let server = Options::new().root(directory.path()).start();
    assert_eq!(server.visible(), ["made"]);
    assert!(server.read("made/moved") == bytes);
    eventually("what was half staged is cleared away", || {
        (bytes_beneath(server.root()) < bytes.len() as u64 + BLOCK_BYTES as u64 / 2).then_some(())
    });
}
