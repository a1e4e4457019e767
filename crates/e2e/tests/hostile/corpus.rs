//! The cases of the corpus, and running them.

use std::borrow::Cow;

use crate::{
    alone, bodies,
    ground::{Ending, Ground, dialogue},
    lines, names, resuming, strangers,
};

/// One thing that a hostile client says, and what it hears.
#[derive(Debug)]
pub(crate) struct Case {
    name: Cow<'static, str>,
    sent: Vec<u8>,
    ending: Ending,
    expected: Vec<String>,
}

/// The requests fail one by one, and the connection stands until the client closes it. `expected` is
/// the gist of the lines that come, parted by `|`; a word in lowercase is the code of a FAIL.
pub(crate) fn goes_on(name: impl Into<Cow<'static, str>>, sent: impl AsRef<[u8]>, expected: &str) -> Case {
    let mut case = ends(name, sent, expected);
    case.expected.push("BYE".into());
    case
}

/// The server closes by itself.
pub(crate) fn closes(name: impl Into<Cow<'static, str>>, sent: impl AsRef<[u8]>, expected: &str) -> Case {
    Case { ending: Ending::Wait, ..ends(name, sent, expected) }
}

/// The client shuts down its sending side where that is no CLOSE.
pub(crate) fn ends(name: impl Into<Cow<'static, str>>, sent: impl AsRef<[u8]>, expected: &str) -> Case {
    let expected = expected.split('|').filter(|line| !line.is_empty()).map(spelled_out).collect();
    Case { name: name.into(), sent: sent.as_ref().to_vec(), ending: Ending::HalfClose, expected }
}

/// The client resets the connection when it has read the lines of `expected`.
pub(crate) fn resets(name: impl Into<Cow<'static, str>>, sent: impl AsRef<[u8]>, expected: &str) -> Case {
    let case = ends(name, sent, expected);
    Case { ending: Ending::ResetAfter(case.expected.len()), ..case }
}

fn spelled_out(line: &str) -> String {
    if line.starts_with(|first: char| first.is_ascii_lowercase()) && !line.contains(' ') {
        return format!("FAIL {line}");
    }
    line.into()
}

/// `text`, `count` times.
pub(crate) fn times(count: usize, text: &str) -> String {
    text.repeat(count)
}

/// All parts in a row.
pub(crate) fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Above this no description of a case is printed.
const SHOWN_BYTES: usize = 120;

impl Case {
    /// Runs the case, and returns what went wrong, if something did.
    fn run(&self, ground: &Ground) -> Option<String> {
        let said = dialogue(&ground.server, &self.sent, self.ending);
        if said == self.expected {
            return None;
        }
        let sent = String::from_utf8_lossy(&self.sent[..self.sent.len().min(SHOWN_BYTES)]);
        let line = said.iter().zip(&self.expected).take_while(|(one, other)| one == other).count();
        let from = |lines: &[String]| format!("{:?}", lines.iter().skip(line).take(4).collect::<Vec<_>>());
        let (said, expected) = (from(&said), from(&self.expected));
        Some(format!("{}: {sent:?}: from line {line} on it said {said}, not {expected}", self.name))
    }
}

#[test]
fn every_case_of_the_corpus_gets_its_answer_and_harms_nobody() {
    let _alone = alone();
    let ground = Ground::start("--durability none");
    let mut cases = Vec::new();
    for room in [lines::cases, names::cases, bodies::cases, resuming::cases, strangers::cases] {
        cases.extend(room());
    }
    let mut violations = Vec::new();
    for case in &cases {
        violations.extend(case.run(&ground));
        ground.serves();
        ground.is_unharmed();
    }
    println!("hostile cases {}, violations {}", cases.len(), violations.len());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert!(cases.len() >= 120, "{} cases", cases.len());
    ground.ends_as_it_began();
}
