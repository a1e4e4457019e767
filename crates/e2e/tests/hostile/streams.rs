//! Random bytes, random words, and conversations that were good before they were mutated.

use std::{io::Write as _, net::Shutdown, sync::Mutex, thread};

use ferry_e2e::{Frail, Random, Raw, Server, body, crc, random_bytes, seed};

use crate::{
    alone,
    ground::{Ground, SECRET},
    number_of,
};

/// Clients that throw streams at the same time.
const THROWERS: u64 = 4;

/// After so many streams of one thrower the server must serve an honest client.
const BETWEEN_CHECKS: u64 = 25;

/// The words of which a stream is made.
const WORDS: [&str; 62] = [
    "GET ",
    "READ ",
    "PUT ",
    "RESUME ",
    "LIST",
    "LIST ",
    "STAT ",
    "SUM ",
    "MKDIR ",
    "DELETE ",
    "RENAME ",
    "WITH ",
    "CLOSE",
    "DATA ",
    "END ",
    "STOP",
    "FAIL ",
    "\n",
    "\n",
    "\n",
    "\r\n",
    " ",
    " ",
    "/",
    "//",
    "..",
    ".",
    "a",
    "d",
    "d/in",
    "new",
    "link",
    "dlink/secret",
    "fifo",
    "big",
    ".ferry/kept",
    "0",
    "1",
    "5",
    "-",
    "*",
    "4096",
    "1048576",
    "9223372036854775807",
    "18446744073709551616",
    "-1",
    "00000000",
    "3610a686",
    "hello",
    "id-1",
    "id-2",
    "a=b",
    "\0",
    "\x1b[2J",
    "\u{202e}",
    "é",
    " HTTP/1.1",
    "DATA 5\nhello",
    "END -\n",
    "STOP\n",
    "1700000000.25",
    "x",
];

fn words(random: &mut Random) -> Vec<u8> {
    (0..random.below(200)).flat_map(|_| WORDS[random.below(WORDS.len() as u64) as usize].bytes()).collect()
}

/// A conversation that keeps to the protocol.
fn conversation(random: &mut Random) -> Vec<u8> {
    let mut sent = Vec::new();
    for _ in 0..=random.below(8) {
        let bytes = random_bytes(random.number(), random.below(3000) as usize);
        let blocks = body(&bytes, 1 + random.below(1000) as usize);
        let (size, id) = (bytes.len(), random.below(20));
        match random.below(9) {
            0 => sent.extend(b"GET a\n"),
            1 => sent.extend(b"LIST\nSTAT d\n"),
            2 => sent.extend(format!("READ {} * * big\n", (64 << 20) - random.below(1 << 17)).as_bytes()),
            3 => sent.extend(b"SUM a\nWITH a=b\nSTAT a\n"),
            4 => sent.extend([format!("PUT {size} - new{id}\n").as_bytes(), &blocks].concat()),
            5 => sent.extend([format!("PUT - 1700000000 new{id}\n").as_bytes(), &blocks].concat()),
            6 => {
                sent.extend([format!("RESUME id-{} {size} - new{id}\n", random.number()).as_bytes(), &blocks].concat())
            }
            7 => sent.extend(format!("RENAME new{id}//new{}\nDELETE new{id}\n", random.below(20)).as_bytes()),
            _ => sent.extend(format!("MKDIR new{id}\nDELETE new{id}\n").as_bytes()),
        }
    }
    sent
}

fn mutated(mut sent: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        let at = random.below(sent.len() as u64 + 1) as usize;
        let end = (at + random.below(40) as usize).min(sent.len());
        match random.below(6) {
            0 => sent.truncate(at),
            1 => drop(sent.drain(at..end)),
            2 => sent.splice(at..at, words(random)).for_each(drop),
            3 => sent.extend_from_within(at..),
            4 => random.fill(&mut sent[at..end]),
            _ => sent[at..end].iter_mut().for_each(|byte| *byte ^= 1 << (at % 8)),
        }
    }
    sent
}

fn stream(random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => random_bytes(random.number(), random.below(20_000) as usize),
        1 => words(random),
        _ => {
            let sent = conversation(random);
            mutated(sent, random)
        }
    }
}

/// Whether `said`, all that came behind the greeting up to the end of input, is what the protocol lets a
/// server say.
fn is_protocol(said: &[u8]) -> Result<(), String> {
    const WORDS: [&str; 10] = ["FILE", "LISTING", "END", "FAIL", "SAVED", "GO", "SUM", "DIR", "DONE", "BYE"];
    let (mut rest, mut last) = (said, String::new());
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or("an unfinished line")?;
        last = String::from_utf8(rest[..end].to_vec()).map_err(|_| "a line that is no UTF-8")?;
        rest = &rest[end + 1..];
        if last.chars().any(char::is_control) {
            return Err(format!("a control character in {last:?}"));
        }
        let (word, behind) = last.split_once(' ').unwrap_or((&last, ""));
        if word == "DATA" {
            let length: usize = behind.parse().map_err(|_| format!("{last:?}"))?;
            rest = rest.get(length..).ok_or("an unfinished block")?;
        } else if !WORDS.contains(&word) {
            return Err(format!("{last:?}"));
        }
    }
    if last == "BYE" || last.starts_with("FAIL ") { Ok(()) } else { Err(format!("{last:?} at the end")) }
}

/// Throws one stream; gives what was wrong with the answer.
fn throw(server: &Server, sent: &[u8], random: &mut Random) -> Result<(), String> {
    let mut frail = Frail::greeted(server.address()).map_err(|error| format!("no greeting: {error}"))?;
    let mut writing = frail.socket().try_clone().unwrap();
    if random.below(8) == 0 {
        let _ = frail.send(&sent[..random.below(sent.len() as u64 + 1) as usize]);
        let _ = frail.reset();
        return Ok(());
    }
    let said = thread::scope(|scope| {
        scope.spawn(move || {
            let _ = writing.write_all(sent);
            let _ = writing.shutdown(Shutdown::Write);
        });
        frail.to_eof().map_err(|error| format!("not heard to the end: {error}"))
    })?;
    if said.windows(SECRET.len()).any(|window| window == SECRET) {
        return Err("the secret".into());
    }
    is_protocol(&said)
}

/// A client with a file of its own, which no stream knows of.
fn is_served(server: &Server, random: &mut Random) {
    let name = format!("honest-{}", random.number());
    let bytes = random_bytes(random.number(), 10_000);
    let mut raw = Raw::greeted(server.address());
    assert_eq!(raw.put(&name, &bytes).word(2), crc(&bytes));
    assert_eq!(raw.ask(&format!("GET {name}")).verified(), bytes);
    assert_eq!(raw.ask(&format!("DELETE {name}")).line, "DONE");
}

#[test]
fn random_streams_and_mutated_conversations_do_no_harm() {
    let _alone = alone();
    let (seed, streams) = (seed(), number_of("FERRY_HOSTILE_STREAMS", 500));
    let ground = Ground::start("--durability none --log-level warn");
    let violations = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thrower in 0..THROWERS {
            let (server, violations) = (&ground.server, &violations);
            scope.spawn(move || {
                for index in (thrower..streams).step_by(THROWERS as usize) {
                    // Each stream can be made again from the seed and its number.
                    let mut random = Random::new(seed ^ (index << 32));
                    let sent = stream(&mut random);
                    if let Err(violation) = throw(server, &sent, &mut random) {
                        violations.lock().unwrap().push(format!("stream {index}: {violation}"));
                    }
                    if (index / THROWERS).is_multiple_of(BETWEEN_CHECKS) {
                        is_served(server, &mut random);
                    }
                }
            });
        }
    });
    let violations = violations.into_inner().unwrap();
    println!("hostile streams {streams}, seed {seed}, violations {}", violations.len());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    ground.is_put_right();
    ground.ends_as_it_began();
}
