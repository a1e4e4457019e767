//! Uploads that go on after a cut.

use std::sync::Mutex;
use std::thread;

use ferry_e2e::{Options, Random, Raw, Server, Signal, body, crc, eventually, random_bytes, seed};

use super::{BLOCK_BYTES, gist};

/// Asks to go on with `id` and gives the offset that the server names.
#[track_caller]
fn go(raw: &mut Raw, request: &str) -> usize {
    raw.send(format!("{request}\n"));
    let line = raw.line();
    line.strip_prefix("GO ").unwrap_or_else(|| panic!("{line:?} in answer to {request:?}")).parse().unwrap()
}

/// The body of `whole` from `offset` on: its END is of the whole.
fn rest_of(whole: &[u8], offset: usize) -> Vec<u8> {
    let mut out = body(&whole[offset..], BLOCK_BYTES);
    out.truncate(out.len() - "END 00000000\n".len());
    out.extend_from_slice(format!("END {}\n", crc(whole)).as_bytes());
    out
}

#[test]
fn an_upload_goes_on_where_it_was_cut() {
    let server = Server::start();
    server.write("x", b"the old one");
    let whole = random_bytes(seed(), 3 * BLOCK_BYTES);
    let request = format!("RESUME up-1 {} 1600000000.5 x", whole.len());
    let mut raw = Raw::greeted(server.address());
    assert_eq!(go(&mut raw, &request), 0);
    let arrived = BLOCK_BYTES + 1000;
    let headers = 2 * "DATA 1048576\n".len();
    raw.send(&rest_of(&whole, 0)[..headers + arrived]);
    raw.finish();
    assert_eq!(gist(&raw.line()), "FAIL incomplete");
    raw.expect_eof();
    assert_eq!(server.read("x"), b"the old one");
    assert_eq!(server.visible(), ["x"]);

    let mut raw = Raw::greeted(server.address());
    let offset = go(&mut raw, &request);
    assert_eq!(offset, arrived, "all that arrived before a clean end is kept");
    raw.send(rest_of(&whole, offset));
    let saved = raw.line();
    assert_eq!(gist(&saved), format!("SAVED {} {}", whole.len(), crc(&whole)));
    assert_eq!(
        raw.ask("STAT x").line,
        format!("FILE {} 1600000000.5 {}", whole.len(), saved.split(' ').nth(3).unwrap())
    );
    assert!(server.read("x") == whole);

    // Published already: the same line is answered as it was.
    assert_eq!(raw.ask(&request).line, saved);
    assert_eq!(Raw::greeted(server.address()).ask(&request).line, saved);
    assert_eq!(server.visible(), ["x"]);
}

#[test]
fn each_way_to_give_up_keeps_what_arrived_but_a_wrong_crc() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    let request = "RESUME id 10 - x";
    for (body, code, kept) in [
        ("DATA 2\n01STOP\n", "stopped", 2),
        ("DATA 2\n23END -\n", "incomplete", 4),
        ("STOP\n", "stopped", 4),
        ("END 00000000\n", "incomplete", 4),
        ("DATA 1\n4DATA 5\n56789STOP\n", "stopped", 10),
        ("END 00000000\n", "checksum", 0),
    ] {
        let _ = go(&mut raw, request);
        raw.send(body);
        raw.answer("RESUME").expect_failure(code);
        assert_eq!(go(&mut raw, request), kept, "after {body:?}");
        raw.send("STOP\n");
        raw.answer("RESUME").expect_failure("stopped");
        assert!(server.visible().is_empty());
    }
}

#[test]
fn all_but_the_end_may_have_arrived() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    assert_eq!(go(&mut raw, "RESUME id 5 - x"), 0);
    raw.send("DATA 5\nhelloSTOP\n");
    raw.answer("RESUME").expect_failure("stopped");
    assert_eq!(go(&mut raw, "RESUME id 5 - x"), 5);
    raw.send("END 3610a686\n");
    assert_eq!(gist(&raw.line()), "SAVED 5 3610a686");
    assert_eq!(go(&mut raw, "RESUME empty 0 - nothing"), 0);
    raw.send("END 00000000\n");
    assert_eq!(gist(&raw.line()), "SAVED 0 00000000");
    assert_eq!(server.read("nothing"), b"");
    assert_eq!(server.read("x"), b"hello");
}

#[test]
fn an_id_belongs_to_one_size_and_one_name() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    let _ = go(&mut raw, "RESUME id 5 - x");
    raw.send("DATA 2\nheSTOP\n");
    raw.answer("RESUME").expect_failure("stopped");
    raw.ask("RESUME id 6 - x").expect_failure("exists");
    raw.ask("RESUME id 5 - y").expect_failure("exists");
    raw.ask("RESUME id 5 - d/x").expect_failure("exists");
    assert_eq!(go(&mut raw, "RESUME ID 5 - y"), 0, "another id");
    raw.send("STOP\n");
    raw.answer("RESUME").expect_failure("stopped");
    // The time may change: the latest counts.
    assert_eq!(go(&mut raw, "RESUME id 5 1500000000 x"), 2);
    raw.send("DATA 3\nlloEND 3610a686\n");
    assert_eq!(gist(&raw.line()), "SAVED 5 3610a686");
    assert_eq!(raw.ask("STAT x").word(2), "1500000000");
}

#[test]
fn the_newest_connection_wins() {
    let server = Server::start();
    let whole = random_bytes(seed(), 2 * BLOCK_BYTES);
    let request = format!("RESUME id {} - x", whole.len());
    let mut older = Raw::greeted(server.address());
    assert_eq!(go(&mut older, &request), 0);
    let sent = rest_of(&whole, 0);
    older.send(&sent[..BLOCK_BYTES / 2]);

    let mut newer = Raw::greeted(server.address());
    let offset = go(&mut newer, &request);
    assert!(offset <= BLOCK_BYTES / 2, "{offset} bytes are kept of {} that were sent", BLOCK_BYTES / 2);
    older.answer("RESUME").expect_failure("changed");
    // What the older one still sends is discarded up to its end.
    older.send(&sent[BLOCK_BYTES / 2..]);
    assert_eq!(gist(&older.ask("STAT x").line), "FAIL not-found");

    newer.send(rest_of(&whole, offset));
    assert_eq!(gist(&newer.line()), format!("SAVED {} {}", whole.len(), crc(&whole)));
    assert!(server.read("x") == whole);
    // The older one that comes back learns that it is done.
    assert_eq!(gist(&older.ask(&request).line), format!("SAVED {} {}", whole.len(), crc(&whole)));
}

#[test]
fn many_takeovers_in_a_row_end_in_one_whole_file() {
    let server = Server::start();
    let whole = random_bytes(seed(), 2 * BLOCK_BYTES);
    let request = format!("RESUME id {} - x", whole.len());
    // The connections that lost stay open and silent, as those behind a dead network do.
    let mut lost = Vec::new();
    for round in 1..=20 {
        let mut raw = Raw::greeted(server.address());
        let offset = go(&mut raw, &request);
        let sent = rest_of(&whole, offset);
        raw.send(&sent[..sent.len() * round / 40]);
        lost.push(raw);
    }
    let mut raw = Raw::greeted(server.address());
    let offset = go(&mut raw, &request);
    raw.send(rest_of(&whole, offset));
    assert_eq!(gist(&raw.line()), format!("SAVED {} {}", whole.len(), crc(&whole)));
    for mut raw in lost {
        raw.answer("RESUME").expect_failure("changed");
    }
    assert!(server.read("x") == whole);
}

#[test]
fn a_restarted_server_goes_on() {
    for signal in [Signal::TERM, Signal::KILL] {
        let directory = tempfile::tempdir().unwrap();
        let whole = random_bytes(seed(), 3 * BLOCK_BYTES);
        let request = format!("RESUME id {} 1600000000 x", whole.len());
        let mut server = Options::new().root(directory.path()).arg("--grace").arg("0").start();
        let mut raw = Raw::greeted(server.address());
        assert_eq!(go(&mut raw, &request), 0);
        raw.send(&rest_of(&whole, 0)[..2 * BLOCK_BYTES]);
        server.signal(signal);
        let _ = server.wait();
        assert!(server.visible().is_empty());

        let server = Options::new().root(directory.path()).start();
        let mut raw = Raw::greeted(server.address());
        let offset = go(&mut raw, &request);
        assert!(offset <= 2 * BLOCK_BYTES, "{offset}");
        raw.send(rest_of(&whole, offset));
        let saved = raw.line();
        assert_eq!(
            gist(&saved),
            format!("SAVED {} {}", whole.len(), crc(&whole)),
            "from {offset} on, after {signal:?}"
        );
        assert!(server.read("x") == whole);
        drop(server);

        // That it was published is remembered as well.
        let server = Options::new().root(directory.path()).start();
        assert_eq!(Raw::greeted(server.address()).ask(&request).line, saved, "after {signal:?}");
    }
}

#[test]
fn a_published_upload_that_was_replaced_is_still_answered_as_saved() {
    let server = Server::start();
    let mut raw = Raw::greeted(server.address());
    let _ = go(&mut raw, "RESUME id 5 - x");
    raw.send("DATA 5\nhelloEND 3610a686\n");
    assert_eq!(gist(&raw.line()), "SAVED 5 3610a686");
    assert_eq!(gist(&raw.put("x", b"newer").line), format!("SAVED 5 {}", crc(b"newer")));
    assert_eq!(gist(&raw.ask("RESUME id 5 - x").line), "SAVED 5 3610a686");
    assert_eq!(server.read("x"), b"newer", "an old upload must not come back");
}

#[test]
fn connections_that_race_for_one_upload_end_in_one_whole_file() {
    const RACERS: u64 = 6;
    // Two that both come back at once when they are told "changed" may take the upload from each
    // other for ever (PROTOCOL.md, section 8, item 9): who has lost this often waits for a turn.
    const RACES: u64 = 40;
    let turn = Mutex::new(());
    let server = Server::start();
    let seed = seed();
    let whole = random_bytes(seed, BLOCK_BYTES + BLOCK_BYTES / 2);
    let request = format!("RESUME id {} - x", whole.len());
    let saved = format!("SAVED {} {}", whole.len(), crc(&whole));
    thread::scope(|scope| {
        for racer in 0..RACERS {
            let (server, whole, request, saved) = (&server, &whole, &request, &saved);
            let turn = &turn;
            scope.spawn(move || {
                let mut random = Random::new(seed ^ racer);
                // Each goes away at a random moment, as often as it takes: the file must be whole
                // when anybody is told so, whoever's bytes it is made of.
                for attempt in 1.. {
                    let _turn = (attempt > RACES).then(|| turn.lock());
                    let mut raw = Raw::greeted(server.address());
                    let answer = raw.ask(request).line;
                    if let Some(offset) = answer.strip_prefix("GO ") {
                        let sent = rest_of(whole, offset.parse().unwrap());
                        // More and more of them send it all.
                        let cut = random.below(sent.len() as u64 + attempt * 50_000) as usize;
                        raw.send_what_it_takes(&sent[..cut.min(sent.len())]);
                        if cut >= sent.len() {
                            let end = gist(&raw.line());
                            assert!(end == *saved || end == "FAIL changed", "{end:?}");
                        }
                    } else if gist(&answer) == *saved {
                        return;
                    } else {
                        // Another one was newer even before the GO.
                        assert_eq!(gist(&answer), "FAIL changed");
                    }
                    assert!(attempt < 10_000, "nobody finishes");
                }
            });
        }
    });
    assert!(server.read("x") == whole);
    assert_eq!(server.visible(), ["x"]);
}

#[test]
fn a_resume_that_is_refused_leaves_the_holder_alone() {
    let server = Server::start();
    server.write("dir/y", b"");
    let (mut holder, mut other) = (Raw::greeted(server.address()), Raw::greeted(server.address()));
    assert_eq!(go(&mut holder, "RESUME id 10 - x"), 0);
    holder.send("DATA 5\nhello");
    for request in ["RESUME id 11 - x", "RESUME id 10 - xx", "RESUME id 10 - nowhere/x", "RESUME id 10 - dir"] {
        other.ask(request).expect_failure("exists");
    }
    holder.send(format!("DATA 5\nworldEND {}\n", crc(b"helloworld")));
    assert_eq!(gist(&holder.line()), format!("SAVED 10 {}", crc(b"helloworld")));
    assert_eq!(server.read("x"), b"helloworld");
}

#[test]
fn uploads_under_an_id_are_limited_in_number() {
    let server = Options::new().arg("--max-kept").arg("3").start();
    let mut raw = Raw::greeted(server.address());
    let begin = |raw: &mut Raw, id: &str| {
        raw.send(format!("RESUME {id} 5 - {id}.txt\n"));
        raw.answer("RESUME").line
    };
    for id in ["a", "b", "c"] {
        assert_eq!(begin(&mut raw, id), "GO 0");
        raw.send("DATA 1\nhSTOP\n");
        raw.answer("RESUME").expect_failure("stopped");
    }
    assert!(begin(&mut raw, "d").starts_with("FAIL busy "), "one too many");
    // Those that are known go on, and one that is discarded makes room.
    assert_eq!(begin(&mut raw, "a"), "GO 1");
    raw.send("DATA 4\nelloEND 00000000\n");
    raw.answer("RESUME").expect_failure("checksum");
    // It is discarded behind the reply.
    assert!((0..100_000).any(|_| begin(&mut raw, "d") == "GO 0"), "there is room");
}

#[test]
fn ids_under_which_nothing_is_kept_make_room_for_others() {
    let server = Options::new().arg("--max-kept").arg("2").start();
    let mut raw = Raw::greeted(server.address());
    for id in 0..6 {
        eventually("there is room", || {
            raw.send(format!("RESUME id{id} 5 - x\n"));
            (raw.answer("RESUME").line == "GO 0").then_some(())
        });
        if id % 2 == 0 {
            raw.send("STOP\n");
            raw.answer("RESUME").expect_failure("stopped");
        } else {
            raw.send(format!("DATA 5\nhelloEND {}\n", crc(b"hello")));
            assert_eq!(gist(&raw.line()), format!("SAVED 5 {}", crc(b"hello")));
        }
    }
    // The newest is still known.
    assert_eq!(gist(&raw.ask("RESUME id5 5 - x").line), format!("SAVED 5 {}", crc(b"hello")));
}
