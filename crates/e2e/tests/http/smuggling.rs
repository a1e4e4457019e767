//! The corpus of streams that some reader takes for something else, over sockets, each with a request of somebody else
//! behind it on the same connection: as a proxy would send it.

use std::sync::LazyLock;

use ferry_e2e::random_bytes;
use regex::{Captures, Regex};

use super::{
    client::{Http, Reply},
    plain,
};

const CORPUS: &str = include_str!("../../../server/src/protocol/http/message/smuggling.txt");

const VICTIM: &str = "GET /victim HTTP/1.1\r\nHost: a\r\n\r\n";

/// One line of the corpus.
struct Case {
    line: usize,
    outcomes: Vec<String>,
    stream: Vec<u8>,
}

impl Case {
    fn all() -> Vec<Case> {
        let lines = CORPUS.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let case = |(index, line): (usize, &str)| {
            let (outcomes, stream) = line.split_once("  ").expect("two spaces before the bytes");
            let outcomes = outcomes_of(&expand(outcomes));
            Case { line: index + 1, outcomes, stream: unescape(&expand(stream)) }
        };
        lines.map(case).collect()
    }

    /// The status of the refusal that it ends with, where it does.
    fn refusal(&self) -> Option<u16> {
        self.outcomes.last().and_then(|outcome| outcome.parse().ok())
    }

    fn ends_within_a_request(&self) -> bool {
        self.outcomes.last().is_some_and(|outcome| outcome == "more")
    }

    /// The body of the first request, where that has one.
    fn first_body(&self) -> Option<Vec<u8>> {
        let body = self.outcomes.first()?.split_once('[')?.1.strip_suffix(']')?;
        Some(unescape(body))
    }

    fn methods(&self) -> impl Iterator<Item = &str> {
        self.outcomes.iter().map(|outcome| outcome.split(['[', '!']).next().unwrap_or_default())
    }
}

/// Splits at the commas that stand in no body.
fn outcomes_of(text: &str) -> Vec<String> {
    static OUTCOME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?s)[A-Z]+(?:!\d+)?(?:\[.*?\])?(?:,|$)|\d+$|more$").unwrap());
    let outcomes: Vec<_> =
        OUTCOME.find_iter(text).map(|found| found.as_str().trim_end_matches(',').to_owned()).collect();
    assert_eq!(outcomes.join(","), text);
    outcomes
}

/// Replaces what stands in braces, as the head of the corpus says.
fn expand(text: &str) -> String {
    let text = text
        .replace("{H}", " HTTP/1.1\\r\\nHost: a\\r\\n")
        .replace("{G}", "GET /smuggled HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        .replace("{C}", "Transfer-Encoding: chunked\\r\\n");
    static AGAIN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{([^{}]*)\*(\d+)\}").unwrap());
    AGAIN.replace_all(&text, |found: &Captures<'_>| found[1].repeat(found[2].parse().unwrap())).into_owned()
}

fn unescape(text: &str) -> Vec<u8> {
    static ESCAPE: LazyLock<regex::bytes::Regex> =
        LazyLock::new(|| regex::bytes::Regex::new(r"\\(?:x([0-9a-fA-F]{2})|(.))").unwrap());
    let replaced = ESCAPE.replace_all(text.as_bytes(), |found: &regex::bytes::Captures<'_>| {
        let digits = found.get(1).map(|digits| std::str::from_utf8(digits.as_bytes()).unwrap());
        match (digits, found.get(2).map(|letter| letter.as_bytes()[0])) {
            (Some(digits), _) => vec![u8::from_str_radix(digits, 16).unwrap()],
            (None, Some(b'r')) => b"\r".to_vec(),
            (None, Some(b'n')) => b"\n".to_vec(),
            (None, Some(b't')) => b"\t".to_vec(),
            (None, Some(b'0')) => b"\0".to_vec(),
            (None, Some(b'\\')) => b"\\".to_vec(),
            (None, other) => panic!("an escape that is none: {other:?}"),
        }
    });
    replaced.into_owned()
}

/// Sends a stream in pieces that end at `cuts`, and returns the answers until the server closes.
fn answers<'m>(http: &mut Http, stream: &[u8], cuts: &[usize], methods: impl Iterator<Item = &'m str>) -> Vec<Reply> {
    let mut from = 0;
    for cut in cuts.iter().copied().chain([stream.len()]) {
        http.say_what_it_takes(&stream[from..cut]);
        from = cut;
    }
    http.say_no_more();
    let (mut answers, mut methods) = (Vec::new(), methods);
    while !http.has_ended() {
        let method = methods.next().unwrap_or("GET");
        let mut answer = http.hear(method);
        while answer.status == 100 {
            answer = http.hear(method);
        }
        answers.push(answer);
    }
    answers
}

/// Whoever shares a connection with such a stream gets the answer to the own request, or none: never another one.
#[test]
fn nobody_gets_an_answer_to_what_was_smuggled() {
    let server = plain().start();
    server.write("victim", b"the victim's own");
    server.write("smuggled", b"smuggled");
    let address = server.http().1;
    let mut honest = Http::plain(address);
    let cases = Case::all();
    assert!(cases.len() > 400, "{} cases", cases.len());
    let (mut refused, mut statuses, mut served, mut stored) = (0, 0, 0, 0);
    for case in &cases {
        // What nobody takes by POST is stored by PUT.
        let by_put = case.stream.strip_prefix(b"POST ").map(|rest| [b"PUT ", rest].concat());
        for (pieces, stream) in [(0, Some(&case.stream)), (2, Some(&case.stream)), (0, by_put.as_ref())] {
            let Some(stream) = stream else { continue };
            let mut stream = stream.clone();
            if !case.ends_within_a_request() {
                stream.extend_from_slice(VICTIM.as_bytes());
            }
            let dice = random_bytes(case.line as u64, 4 * pieces);
            let dice = dice.chunks(4).map(|four| u32::from_le_bytes(four.try_into().unwrap()) as usize);
            let mut cuts: Vec<_> = dice.map(|dice| dice % (stream.len() + 1)).collect();
            cuts.sort_unstable();
            let told = answers(&mut Http::plain(address), &stream, &cuts, case.methods());
            let what = format!("line {}, cut at {cuts:?}: {told:?}", case.line);
            let closing = told.iter().position(|answer| answer.field("Connection") == "close");
            // What follows an answer that closes gets none.
            assert!(closing.is_none_or(|closing| closing + 1 == told.len()), "{what}");
            let is_victims = |answer: &Reply| answer.body == b"the victim's own";
            let victims = told.iter().filter(|answer| is_victims(answer)).count();
            let count = case.outcomes.len();
            match case.refusal() {
                Some(status) => {
                    assert_eq!(victims, 0, "{what}");
                    // An answer before it may close: of a body in chunks that nobody wants. A body that turns out to be none
                    // is refused with its request, or closes without a word behind its answer.
                    assert!(told.len() <= count && (closing.is_some() || told.len() + 1 == count), "{what}");
                    statuses += usize::from(told.last().is_some_and(|last| last.status == status));
                    refused += 1;
                }
                None if case.ends_within_a_request() => {
                    assert!(told.len() <= count, "{what}");
                    assert_eq!(victims, 0, "{what}");
                }
                None if closing.is_some_and(|closing| closing < count) => assert_eq!(victims, 0, "{what}"),
                None => {
                    assert_eq!((told.len(), victims), (count + 1, 1), "{what}");
                    assert!(told.last().is_some_and(is_victims), "{what}");
                    served += 1;
                }
            }
            // No byte of a body was taken for a method, and no request for a body.
            for (answer, outcome) in told.iter().zip(&case.outcomes) {
                assert_eq!(answer.status == 501, outcome.starts_with("OTHER") || outcome == "501", "{what}");
            }
            if let (true, 201 | 204, Some(body)) = (stream.starts_with(b"PUT /a "), told[0].status, case.first_body()) {
                assert_eq!(server.read("a"), body, "{what}");
                stored += 1;
            }
            // It is the answer to the request that leads there, and to no other one.
            let smuggled = told.iter().filter(|answer| answer.body == b"smuggled").count();
            let asked = case.outcomes.iter().filter(|outcome| outcome.as_str() == "GET[]").count();
            assert!(smuggled <= asked, "{what}");
        }
        assert_eq!(honest.get("/victim").body, b"the victim's own", "line {}", case.line);
    }
    assert!(refused > 400 && statuses > 350, "{refused} are refused, {statuses} by the status of the corpus");
    assert!(stored > 20, "{stored} bodies are stored");
    assert!(served > 100, "{served} with an answer for whoever came behind");
    for (name, bytes) in [("victim", &b"the victim's own"[..]), ("smuggled", b"smuggled")] {
        assert_eq!(server.read(name), bytes);
    }
}
