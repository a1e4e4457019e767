//! A generated client of HTTP: it says what its script has, at its pace and in its manner, and holds every answer against
//! the reference model.

mod oracle;
mod reader;
mod script;

use std::collections::{HashMap, VecDeque};

pub(crate) use oracle::WebOracle;
use oracle::id_of;
pub(crate) use reader::{WebAnswer, WebReader};
use script::{Fate, What};
pub(crate) use script::{Item, WebWriter};

use crate::{client::Manner, script::Ground, store::Effect, tree::Tree};

/// See the [module documentation](self).
pub(crate) struct WebClient {
    pub(crate) ground: Ground,
    pub(crate) manner: Manner,
    pub(crate) oracle: WebOracle,
    /// The server was told to let it go.
    pub(crate) dismissed: bool,
    /// It has sent all that it will.
    pub(crate) finished: bool,
    /// The changes that it asked for, in order.
    pub(crate) intended: Vec<Effect>,
    pub(crate) requests: u64,
    items: VecDeque<Item>,
    /// Of the item that is being sent, and how much is gone.
    outgoing: Vec<u8>,
    gone: usize,
    /// The body that is sent when the server says that it may come.
    held: Option<Vec<u8>>,
    sent: u64,
    taken: u64,
    expects: VecDeque<What>,
    /// The ids of uploads that it has made, by the name and the size that they were made for.
    made: HashMap<(String, usize), String>,
    /// Requests that were answered on this connection, and begun.
    answered: u64,
    begun: u64,
    reader: WebReader,
    /// The server has said its last word.
    over: bool,
    /// The server has cut the connection.
    was_cut: bool,
}

impl WebClient {
    pub(crate) fn new(ground: Ground, manner: Manner, items: VecDeque<Item>, oracle: WebOracle) -> WebClient {
        WebClient {
            ground,
            manner,
            oracle,
            dismissed: false,
            finished: false,
            intended: Vec::new(),
            requests: 0,
            items,
            outgoing: Vec::new(),
            gone: 0,
            held: None,
            sent: 0,
            taken: 0,
            expects: VecDeque::new(),
            made: HashMap::new(),
            answered: 0,
            begun: 0,
            reader: WebReader::default(),
            over: false,
            was_cut: false,
        }
    }

    /// Returns whether a clock of the server may run out on it.
    pub(crate) fn is_guilty(&self) -> bool {
        matches!(self.manner, Manner::StopsReadingAt(_) | Manner::StopsWritingAt(_))
    }

    /// Returns whether its connection may be cut: within an answer, there is no other way to tell a failure.
    pub(crate) fn may_be_cut(&self) -> bool {
        self.dismissed || self.oracle.faulty
    }

    pub(crate) fn was_cut(&mut self) {
        self.was_cut = true;
    }

    pub(crate) fn resets(&self) -> bool {
        self.was_cut || matches!(self.manner, Manner::ResetAt(at) if self.sent >= at)
    }

    pub(crate) fn has_more(&self) -> bool {
        !self.items.is_empty()
    }

    pub(crate) fn appetite(&self) -> usize {
        match self.manner {
            Manner::StopsReadingAt(at) => at.saturating_sub(self.taken) as usize,
            _ => usize::MAX,
        }
    }

    /// Returns the next bytes that it sends, at most `room`.
    pub(crate) fn send(&mut self, room: usize) -> Vec<u8> {
        let limit = match self.manner {
            Manner::ResetAt(at) | Manner::HalfCloseAt(at) | Manner::StopsWritingAt(at) => {
                at.saturating_sub(self.sent) as usize
            }
            _ => usize::MAX,
        };
        if self.finished {
            return Vec::new();
        }
        if limit == 0 {
            if matches!(self.manner, Manner::HalfCloseAt(_)) {
                self.half_close();
            }
            return Vec::new();
        }
        if self.gone == self.outgoing.len() && self.held.is_none() && !self.next_item() {
            return Vec::new();
        }
        let count = room.min(limit).min(self.outgoing.len() - self.gone);
        let bytes = self.outgoing[self.gone..self.gone + count].to_vec();
        self.gone += count;
        self.sent += count as u64;
        bytes
    }

    fn next_item(&mut self) -> bool {
        let Some(mut item) = self.items.pop_front() else {
            self.finished = true;
            return false;
        };
        if !self.ground.contended {
            item.is_about(&self.made);
        }
        let Item { head, body, waits, what } = item;
        (self.outgoing, self.gone) = (head, 0);
        match waits {
            true => self.held = Some(body),
            false => self.outgoing.extend_from_slice(&body),
        }
        self.requests += 1;
        self.begun += 1;
        self.intended.extend(what.effect());
        self.expects.push_back(what);
        true
    }

    /// It shuts down its sending side, wherever that is: what must be answered now.
    fn half_close(&mut self) {
        self.finished = true;
        let is_within = self.gone < self.outgoing.len() || self.held.is_some();
        if is_within
            && self.answered < self.begun
            && let Some(what) = self.expects.pop_back()
        {
            self.oracle.doubt(&what);
            self.expects.push_back(What::Cut);
        }
        self.held = None;
    }

    /// It reads `bytes`.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.taken += bytes.len() as u64;
        self.reader.feed(bytes);
        loop {
            let is_head = self.expects.front().is_some_and(What::is_head);
            let Some(answer) = self.reader.next(is_head) else { return };
            assert!(!self.over, "{answer:?} behind the end");
            if answer.status == 100 {
                // One that was half-closed meanwhile sends no more.
                assert!(self.finished || self.held.is_some(), "100 that nobody waits for");
                if let Some(body) = self.held.take() {
                    (self.outgoing, self.gone) = (body, 0);
                }
                continue;
            }
            let unasked =
                answer.closes() && (answer.status == 503 && self.dismissed || answer.status == 408 && self.is_guilty());
            if unasked {
                self.end();
                continue;
            }
            let what = self.expects.pop_front().unwrap_or_else(|| panic!("{answer:?} to nothing"));
            self.answered += 1;
            self.oracle.check(&what, &answer);
            if let What::Create { name, data, .. } = &what
                && let Some(id) = answer.field("Location").and_then(id_of)
            {
                self.made.insert((name.clone(), data.0.len()), id.to_owned());
            }
            let is_broken = matches!(what, What::Put { fate: Fate::Broken, .. });
            assert!(!is_broken || answer.closes(), "{what:?} can't be followed by another request");
            if answer.closes() {
                self.end();
            } else if self.held.is_some() && self.answered == self.begun {
                panic!("refused without a word to the body that is held, and not closed: {answer:?}");
            }
        }
    }

    /// Nothing that is still owed will be answered.
    fn end(&mut self) {
        for what in self.expects.drain(..) {
            self.oracle.doubt(&what);
        }
        self.over = true;
        self.finished = true;
        self.held = None;
        self.items.clear();
    }

    /// The server shut down its sending side, and all before it was read.
    pub(crate) fn end_of_replies(&mut self) {
        assert!(self.reader.is_at_rest(), "the answers end inside one");
        let excused = self.over || self.dismissed || self.is_guilty() || self.finished && self.expects.is_empty();
        assert!(excused, "the answers end, though {:?} is owed", self.expects);
        self.end();
    }

    /// It comes back on a new connection, to find the tree so.
    pub(crate) fn reconnect(&mut self, tree: Tree) {
        for what in self.expects.drain(..) {
            self.oracle.doubt(&what);
        }
        self.oracle.forget(tree);
        self.manner = Manner::Honest;
        (self.dismissed, self.finished, self.over, self.was_cut) = (false, false, false, false);
        (self.outgoing, self.gone, self.held) = (Vec::new(), 0, None);
        (self.sent, self.taken, self.answered, self.begun) = (0, 0, 0, 0);
        self.reader = WebReader::default();
        self.intended.clear();
    }
}
