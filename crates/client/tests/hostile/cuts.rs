//! Valid conversations that end, or are reset, at every byte of what the server says.

use crate::{
    ask::{Ask, Outcome},
    case::{Case, run},
    stage::{GREETING, Step, say},
};

/// A valid conversation: what is said before the request, what is read, what is said then, what is
/// read, and what is said in the end.
struct Conversation {
    ask: Ask,
    said: [&'static str; 3],
    body: bool,
}

const CONVERSATIONS: &[Conversation] = &[
    Conversation {
        ask: Ask::Get,
        said: [GREETING, "FILE 5 1.5 tag-1\nDATA 2\nheDATA 3\nlloEND 3610a686\n", ""],
        body: false,
    },
    Conversation { ask: Ask::Read(3, None), said: [GREETING, "FILE 5 - t\nDATA 2\nloEND 559c4a9d\n", ""], body: false },
    Conversation { ask: Ask::List, said: [GREETING, "LISTING\nDATA 10\nf 5 - t a\nEND 85c20158\n", ""], body: false },
    Conversation { ask: Ask::Sum, said: [GREETING, "SUM 5 3610a686 t\n", ""], body: false },
    Conversation { ask: Ask::Put, said: [GREETING, "", "SAVED 5 3610a686 t\n"], body: true },
    Conversation { ask: Ask::Resume, said: [GREETING, "GO 3\n", "SAVED 5 3610a686 t\nSUM 5 3610a686 t\n"], body: true },
];

impl Conversation {
    fn length(&self) -> usize {
        self.said.iter().map(|words| words.len()).sum()
    }

    /// The conversation up to byte `cut` of what the server says, and then `end`.
    fn cut(&self, cut: usize, end: Step) -> Vec<Step> {
        let mut left = cut;
        let mut steps = Vec::new();
        for (index, words) in self.said.iter().enumerate() {
            let part = &words[..left.min(words.len())];
            left -= part.len();
            steps.push(say(part));
            if part.len() < words.len() || left == 0 {
                break;
            }
            match index {
                0 => steps.push(Step::Line),
                1 if self.body => steps.push(Step::Body),
                _ => {}
            }
        }
        steps.push(end);
        steps
    }
}

#[test]
fn the_end_at_every_byte() {
    let mut cases = Vec::new();
    for conversation in CONVERSATIONS {
        for cut in 0..=conversation.length() {
            let expected = match cut {
                _ if cut < GREETING.len() => Outcome::Stranger,
                _ if cut < conversation.length() => Outcome::Closed,
                _ => Outcome::Done,
            };
            let name = format!("{:?} ends at byte {cut}", conversation.ask);
            cases.push(Case::new(name, conversation.ask, conversation.cut(cut, Step::Hangup), expected));
        }
    }
    run("the end at every byte", cases);
}

/// A reset may destroy what was said before it; so only the oracle says what may come of it.
#[test]
fn a_reset_at_every_byte() {
    let mut cases = Vec::new();
    for conversation in CONVERSATIONS {
        for cut in 0..=conversation.length() {
            let name = format!("{:?} is reset at byte {cut}", conversation.ask);
            cases.push(Case::new(name, conversation.ask, conversation.cut(cut, Step::Reset), Outcome::Anything));
        }
    }
    run("a reset at every byte", cases);
}
