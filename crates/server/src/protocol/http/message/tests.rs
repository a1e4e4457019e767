//! Streams of requests, against a corpus, and however they are cut.

use std::{fmt::Write as _, sync::LazyLock};

use proptest::prelude::*;
use regex::{Captures, Regex};

use super::*;

const CORPUS: &str = include_str!("smuggling.txt");

/// One line of the corpus.
struct Case {
    line: usize,
    outcomes: String,
    stream: Vec<u8>,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let lines = CORPUS.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let case = |(index, line): (usize, &str)| {
        let (outcomes, stream) = line.split_once("  ").expect("two spaces before the bytes");
        Case { line: index + 1, outcomes: expand(outcomes), stream: unescape(&expand(stream)) }
    };
    lines.map(case).collect()
});

/// Replaces what stands in braces. Other braces stand for themselves.
fn expand(text: &str) -> String {
    let text = text
        .replace("{H}", " HTTP/1.1\\r\\nHost: a\\r\\n")
        .replace("{G}", "GET /smuggled HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        .replace("{C}", "Transfer-Encoding: chunked\\r\\n");
    static AGAIN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{([^{}]*)\*(\d+)\}").unwrap());
    AGAIN.replace_all(&text, |found: &Captures<'_>| found[1].repeat(found[2].parse().unwrap())).into_owned()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (letter, behind) = rest.split_first().expect("a letter behind a backslash");
        rest = behind;
        bytes.push(match letter {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).unwrap();
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).unwrap()
            }
            other => panic!("\\{}", char::from(*other)),
        });
    }
    bytes
}

/// Reads all requests of a stream that comes in pieces, which end at `cuts`, and tells what became of them.
fn outcomes(stream: &[u8], cuts: &[usize]) -> String {
    let mut arrivals: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    arrivals.push(stream.len());
    arrivals.sort_unstable();
    let mut arrivals = arrivals.into_iter();
    let mut reading = Reading { stream, at: 0, end: 0, told: Vec::new() };
    loop {
        match reading.request(&mut arrivals) {
            Ok(true) => {}
            Ok(false) => break,
            Err(refusal) => {
                assert!(refusal.closes, "{refusal:?} leaves the framing in doubt");
                reading.told.push(refusal.status.to_string());
                break;
            }
        }
    }
    // No piece of a body that is refused is lost: what arrived before is told first.
    reading.told.retain(|told| !told.is_empty());
    reading.told.join(",")
}

struct Reading<'a> {
    stream: &'a [u8],
    at: usize,
    end: usize,
    told: Vec<String>,
}

impl Reading<'_> {
    /// Reads one request, and returns whether there may be another.
    fn request(&mut self, arrivals: &mut impl Iterator<Item = usize>) -> Result<bool, Refusal> {
        let mut reader = HeadReader::default();
        let head = loop {
            if let Some((head, used)) = reader.read(&self.stream[self.at..self.end])? {
                assert!(used <= MAX_HEAD_BYTES + 2);
                self.at += used;
                break head;
            }
            match arrivals.next() {
                Some(end) => self.end = end,
                None => {
                    let rest = if self.at < self.end { "more" } else { "" };
                    self.told.push(rest.into());
                    return Ok(false);
                }
            }
        };
        let mut name = match head.method() {
            Method::Other => "OTHER".to_owned(),
            method => {
                assert_eq!(Method::of(head.method_text()), method);
                head.method_text().to_owned()
            }
        };
        let mut is_bad = false;
        if let Err(refusal) = head.target() {
            assert!(!refusal.closes);
            write!(name, "!{}", refusal.status).unwrap();
            is_bad = true;
        }
        self.body(BodyReader::new(head.framing()), name, is_bad, arrivals)
    }

    fn body(
        &mut self,
        mut reader: BodyReader,
        name: String,
        is_bad: bool,
        arrivals: &mut impl Iterator<Item = usize>,
    ) -> Result<bool, Refusal> {
        let mut body = Vec::new();
        let told = |body: &[u8]| match body {
            [] if is_bad => name.clone(),
            body => format!("{name}[{}]", body.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"")),
        };
        loop {
            let (used, piece) = match reader.read(&self.stream[self.at..self.end]) {
                Ok(read) => read,
                Err(refusal) => {
                    self.told.push(if body.is_empty() { String::new() } else { told(&body) });
                    return Err(refusal);
                }
            };
            self.at += used;
            match piece {
                BodyPiece::Bytes(bytes) => body.extend_from_slice(bytes),
                BodyPiece::End => {
                    self.told.push(told(&body));
                    return Ok(true);
                }
                BodyPiece::More => match arrivals.next() {
                    Some(end) => self.end = end,
                    None => {
                        self.told.push(if body.is_empty() { String::new() } else { told(&body) });
                        self.told.push("more".into());
                        return Ok(false);
                    }
                },
            }
        }
    }
}

#[test]
fn no_request_is_smuggled_in() {
    let mut wrong = Vec::new();
    for Case { line, outcomes: expected, stream } in CASES.iter() {
        let found = outcomes(stream, &[]);
        if found != *expected {
            wrong.push(format!("smuggling.txt:{line}: {found} in place of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    assert!(CASES.len() >= 300, "only {} cases", CASES.len());
}

#[test]
fn a_case_has_one_outcome_however_it_is_cut() {
    for Case { line, outcomes: expected, stream } in CASES.iter() {
        let each: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(outcomes(stream, &each), *expected, "smuggling.txt:{line}, byte by byte");
        // The large ones are of one kind: their ends say enough.
        let cuts = (0..stream.len()).filter(|cut| *cut < 200 && stream.len() < 1000 || stream.len() - cut < 20);
        for cut in cuts {
            assert_eq!(outcomes(stream, &[cut]), *expected, "smuggling.txt:{line}, cut at {cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Cases that are cut together, with noise in them.
    #[test]
    fn a_stream_has_one_outcome_however_it_is_cut(
        parts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let small: Vec<&Case> = CASES.iter().filter(|case| case.stream.len() < 1000).collect();
        let mut stream = Vec::new();
        for (case, end) in parts {
            let case = &case.get(&small).stream;
            stream.extend_from_slice(&case[..=end.index(case.len())]);
        }
        for (index, byte) in noise {
            *index.get_mut(&mut stream) = byte;
        }
        prop_assert_eq!(outcomes(&stream, &cuts), outcomes(&stream, &[]));
    }
}
