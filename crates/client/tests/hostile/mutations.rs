//! Valid conversations with a few random changes.

use crate::{
    ask::{Ask, Outcome},
    case::{Case, run},
    dice::Dice,
    stage::{GREETING, Step, say},
};

const DEFAULT_STREAMS: usize = 300;

/// Words that stand somewhere in the protocol, or just outside of it.
#[rustfmt::skip]
const WORDS: &[&[u8]] = &[
    b"\n", b"\r\n", b"\n\n", b" ", b"  ", b"-", b"0", b"00", b"1048576", b"1048577", b"9223372036854775807",
    b"9223372036854775808", b"-1", b"DATA 1\n", b"DATA 0\n", b"DATA 1048577\n", b"END -\n", b"END 00000000\n", b"STOP\n",
    b"FAIL io no\n", b"FAIL", b"DONE\n", b"BYE\n", b"GO 0\n", b"GO 6\n", b"LISTING\n", b"FILE 5 - t\n", b"FERRY 1 x/1\n",
    b"SAVED 5 00000000 t\n", b"\x1b[2J", b"\xe2\x80\xae", b"\xff", b"\0", b"../", b"/",
];

/// The question, the server's words behind the request, and those behind the body.
const CONVERSATIONS: &[(Ask, &str, &str)] = &[
    (Ask::Get, "FILE 5 1.5 tag-1\nDATA 2\nheDATA 3\nlloEND 3610a686\n", ""),
    (Ask::GetThenWait, "FILE 5 - t\nDATA 5\nhelloEND 3610a686\n", ""),
    (Ask::Read(3, None), "FILE 5 - t\nDATA 2\nloEND 559c4a9d\n", ""),
    (Ask::List, "LISTING\nDATA 21\nf 5 - t a\nd - 1.5 - bEND 00000000\n", ""),
    (Ask::List, "LISTING\nDATA 10\nf 5 - t a\nEND 85c20158\n", ""),
    (Ask::Stat, "FILE 5 - t\n", ""),
    (Ask::Stat, "DIR 1.5\n", ""),
    (Ask::Sum, "SUM 5 3610a686 t\n", ""),
    (Ask::Rename, "DONE\n", ""),
    (Ask::Close, "BYE\n", ""),
    (Ask::Put, "", "SAVED 5 3610a686 t\n"),
    (Ask::PutLarge, "FAIL no-space full\n", ""),
    (Ask::Resume, "GO 3\n", "SAVED 5 3610a686 t\nSUM 5 3610a686 t\n"),
    (Ask::ResumeLarge, "GO 0\n", "SAVED 33554432 59450445 t\n"),
];

#[test]
fn mutated_conversations() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let streams = number("FERRY_HOSTILE_STREAMS", DEFAULT_STREAMS as u64);
    let seed = number("FERRY_HOSTILE_SEED", 1);
    println!("FERRY_HOSTILE_STREAMS={streams} FERRY_HOSTILE_SEED={seed}");
    for first in (0..streams).step_by(1000) {
        let last = streams.min(first + 1000);
        // Each stream has a seed of its own, so that one can be run again alone.
        run("mutated conversations", (first..last).map(|index| stream(seed.wrapping_add(index))).collect());
    }
}

fn stream(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    let (ask, reply, last) = *dice.pick(CONVERSATIONS);
    let mut said = [GREETING, reply, last].map(|words| words.as_bytes().to_vec());
    // The greeting less often: behind a wrong one nothing more happens.
    let part = if dice.below(12) == 0 { 0 } else { 1 + dice.below(2) };
    for _ in 0..=dice.below(3) {
        mutate(&mut said[part], &mut dice);
    }
    let [greeting, reply, last] = said;
    let mut steps = vec![say(greeting)];
    // A client that waits for the end of its greeting asks for nothing.
    if part > 0 {
        steps.push(Step::Line);
    }
    pieces(reply, &mut dice, &mut steps);
    match ask {
        // A client that may not have understood its GO may send no body.
        _ if part == 0 => {}
        Ask::Resume | Ask::ResumeLarge if part == 1 => {}
        Ask::PutLarge => steps.push(Step::Take(1000)),
        Ask::Put | Ask::Resume | Ask::ResumeLarge => {
            steps.push(Step::Body);
            pieces(last, &mut dice, &mut steps);
        }
        _ => pieces(last, &mut dice, &mut steps),
    }
    // Something has to end every conversation, as the client may be waiting for more.
    steps.push(if dice.below(4) == 0 { Step::Reset } else { Step::Hangup });
    Case::new(format!("seed {seed}: {ask:?}"), ask, steps, Outcome::Anything)
}

/// Says `bytes` in up to three pieces.
fn pieces(bytes: Vec<u8>, dice: &mut Dice, steps: &mut Vec<Step>) {
    let mut rest = &bytes[..];
    for _ in 0..dice.below(3) {
        let (piece, behind) = rest.split_at(dice.below(rest.len() + 1));
        steps.push(say(piece));
        rest = behind;
    }
    steps.push(say(rest));
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    let end = at + dice.below((bytes.len() - at).min(16) + 1);
    match dice.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        1 if at < bytes.len() => bytes[at] = dice.number() as u8,
        2 => drop(bytes.drain(at..end)),
        3 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        4 => bytes.truncate(at),
        5 => {
            let word = *dice.pick(WORDS);
            bytes.splice(at..end, word.iter().copied());
        }
        6 => {
            let long = vec![*dice.pick(b"x0 \x1b"); dice.below(6000)];
            bytes.splice(at..at, long);
        }
        _ => {
            let word = *dice.pick(WORDS);
            bytes.splice(at..at, word.iter().copied());
        }
    }
}
