//! A generated client: it says what its script has, at its pace and in its manner, and holds every
//! answer against the reference model.

use std::collections::VecDeque;

use ferry_wire::{Code, Reply};

use crate::{
    dice::Dice,
    oracle::{Asked, BodyFate, Next, Oracle, Part, Put},
    reader::Reader,
    script::{Ground, Item, resumed_body},
    store::{Effect, INJECTED},
    tree::Tree,
};

/// How a client behaves towards its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It sends all, reads all, and goes.
    Honest,
    /// The connection breaks when that many bytes were sent.
    ResetAt(u64),
    /// It shuts down its sending side there.
    HalfCloseAt(u64),
    /// It reads no further than there.
    StopsReadingAt(u64),
    /// It sends no further than there, and does not say so.
    StopsWritingAt(u64),
}

/// See the [module documentation](self).
pub(crate) struct Client {
    pub(crate) ground: Ground,
    pub(crate) manner: Manner,
    pub(crate) oracle: Oracle,
    /// The server was told to let it go.
    pub(crate) dismissed: bool,
    /// It has sent all that it will.
    pub(crate) finished: bool,
    /// The changes that it asked for, in order.
    pub(crate) intended: Vec<Effect>,
    pub(crate) requests: u64,
    dice: Dice,
    items: VecDeque<Item>,
    /// Options that were said for the request to come: on another connection they must be said again.
    options: Vec<Item>,
    /// Of the item that is being sent: what is to be sent, how much is gone, how much is its line.
    outgoing: Vec<u8>,
    gone: usize,
    line_bytes: usize,
    /// It is one that is answered.
    is_request: bool,
    /// GO is awaited.
    waiting: bool,
    /// The last item was an end.
    ended: bool,
    sent: u64,
    taken: u64,
    expects: VecDeque<Asked>,
    reader: Reader,
    /// The server has said its last word.
    over: bool,
    failed_last: bool,
}

impl Client {
    pub(crate) fn new(ground: Ground, manner: Manner, items: VecDeque<Item>, oracle: Oracle, dice: Dice) -> Client {
        Client {
            ground,
            manner,
            oracle,
            dismissed: false,
            finished: false,
            intended: Vec::new(),
            requests: 0,
            dice,
            items,
            options: Vec::new(),
            outgoing: Vec::new(),
            gone: 0,
            line_bytes: 0,
            is_request: false,
            waiting: false,
            ended: false,
            sent: 0,
            taken: 0,
            expects: VecDeque::new(),
            reader: Reader::default(),
            over: false,
            failed_last: false,
        }
    }

    /// Returns whether a clock of the server may run out on it.
    pub(crate) fn is_guilty(&self) -> bool {
        matches!(self.manner, Manner::StopsReadingAt(_) | Manner::StopsWritingAt(_))
    }

    /// Returns whether it has come to where its connection breaks.
    pub(crate) fn resets(&self) -> bool {
        matches!(self.manner, Manner::ResetAt(at) if self.sent >= at)
    }

    /// Returns whether it would say more on another connection.
    pub(crate) fn has_more(&self) -> bool {
        !self.ended && !self.items.is_empty()
    }

    /// Returns how many bytes it is ready to read.
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
        if self.gone == self.outgoing.len() && !self.waiting && !self.next_item() {
            return Vec::new();
        }
        let count = room.min(limit).min(self.outgoing.len() - self.gone);
        let bytes = self.outgoing[self.gone..self.gone + count].to_vec();
        self.gone += count;
        self.sent += count as u64;
        bytes
    }

    fn next_item(&mut self) -> bool {
        let Some(item) = self.items.pop_front() else {
            if !self.ended {
                self.finished = true;
                self.expects.push_back(Asked::Bye);
            }
            return false;
        };
        match item.asked {
            None => self.options.push(item.clone()),
            Some(_) => self.options.clear(),
        }
        let Item { line, body, asked } = item;
        self.is_request = asked.is_some();
        self.line_bytes = line.len();
        self.outgoing = line;
        self.outgoing.extend_from_slice(&body);
        self.gone = 0;
        if let Some(asked) = asked {
            self.requests += 1;
            self.intended.extend(asked.effect());
            self.waiting = matches!(asked, Asked::Resume(_));
            self.ended |= match &asked {
                Asked::Bye | Asked::Closing(_) => true,
                Asked::Put(Put { body, .. }) | Asked::Part(Part { body, .. }) => !body.broken.is_empty(),
                _ => false,
            };
            self.expects.push_back(asked);
        }
        true
    }

    /// It shuts down its sending side, wherever that is: what must be answered now.
    fn half_close(&mut self) {
        self.finished = true;
        if self.gone == self.outgoing.len() {
            // While GO is awaited, the answer tells how it ends.
            if !self.waiting && !self.ended {
                self.expects.push_back(Asked::Bye);
            }
            return;
        }
        let cut = vec![Code::Incomplete, Code::BadRequest];
        if self.gone < self.line_bytes {
            self.half_close_in_line();
        } else {
            match self.expects.back_mut() {
                Some(Asked::Put(Put { body, .. }) | Asked::Part(Part { body, .. }) | Asked::Resumed { body, .. }) => {
                    body.broken = cut
                }
                Some(Asked::Closing(codes)) => *codes = cut,
                // A body that was refused already.
                _ => self.expects.push_back(Asked::Closing(cut)),
            }
        }
    }

    fn half_close_in_line(&mut self) {
        // Bytes behind the end are not looked at.
        if self.outgoing.ends_with(b"/behind\n") || self.outgoing.ends_with(b"/behind\r\n") {
            return;
        }
        if self.is_request {
            self.expects.pop_back();
        }
        // Options may be a line of their own in front of it.
        let is_between = self.gone == 0 || self.outgoing[..self.gone].ends_with(b"\n");
        let end = if is_between { Asked::Bye } else { Asked::Closing(vec![Code::BadRequest]) };
        self.waiting = false;
        self.expects.push_back(end);
    }

    /// It reads `bytes`.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.taken += bytes.len() as u64;
        self.reader.feed(bytes);
        loop {
            let brings_body = self.expects.front().is_some_and(Asked::brings_body);
            let Some(answer) = self.reader.next(brings_body) else { return };
            assert!(!self.over, "{answer:?} behind the end");
            if let Reply::Kept { offset } = answer.first {
                self.oracle.kept(self.expects.front(), offset);
                continue;
            }
            let unasked = answer.failure().is_some_and(|failure| {
                !failure.message.starts_with(INJECTED)
                    && (failure.code == Code::ShuttingDown && self.dismissed
                        || failure.code == Code::Timeout && self.is_guilty())
            });
            self.failed_last = answer.failure().is_some();
            if unasked {
                self.end();
                continue;
            }
            let asked = self.expects.pop_front().unwrap_or_else(|| panic!("{answer:?} to nothing"));
            match self.oracle.check(&asked, &answer) {
                Next::Answered => self.answered(&asked),
                Next::Closing(codes) => self.expects.push_front(Asked::Closing(codes)),
                Next::Over => {
                    assert!(self.expects.is_empty(), "{asked:?} was the end, though {:?} was asked", self.expects);
                    self.end();
                }
                Next::Go(offset) => self.go(asked, offset),
            }
            if let Reply::Fail(failure) = &answer.first {
                assert!(!failure.message.is_empty(), "a failure that says nothing");
            }
        }
    }

    fn end(&mut self) {
        for asked in self.expects.drain(..) {
            if let Asked::Resume(resume) | Asked::Resumed { resume, .. } = &asked {
                self.oracle.doubt(resume);
            }
        }
        self.over = true;
    }

    fn answered(&mut self, asked: &Asked) {
        if matches!(asked, Asked::Resume(_)) {
            self.waiting = false;
            if self.finished {
                self.expects.push_back(Asked::Bye);
            }
        }
    }

    fn go(&mut self, asked: Asked, offset: u64) {
        let Asked::Resume(resume) = asked else { unreachable!("only RESUME is answered GO") };
        self.waiting = false;
        if self.finished {
            let body = BodyFate { broken: vec![Code::Incomplete], ..BodyFate::default() };
            self.expects.push_front(Asked::Resumed { resume, body, received: offset });
            return;
        }
        let (body, received, bytes) = resumed_body(&mut self.dice, &resume, offset);
        if !body.broken.is_empty() {
            self.ended = true;
            self.items.clear();
        }
        self.oracle.begins(&resume, &body);
        (self.outgoing, self.gone, self.line_bytes) = (bytes, 0, 0);
        let asked = Asked::Resumed { resume, body, received };
        self.intended.extend(asked.effect());
        self.expects.push_front(asked);
    }

    /// The server shut down its sending side, and all before it was read.
    pub(crate) fn end_of_replies(&mut self) {
        assert!(self.reader.greeted() && self.reader.is_at_rest(), "the replies end inside one");
        let excused = self.dismissed && self.failed_last;
        assert!(self.over || excused, "the replies end, though {:?} is owed", self.expects);
        self.finished = true;
    }

    /// It comes back on a new connection, to find the tree so.
    pub(crate) fn reconnect(&mut self, tree: Tree) {
        self.end();
        self.oracle.forget(tree);
        self.manner = Manner::Honest;
        (self.dismissed, self.finished, self.waiting, self.over) = (false, false, false, false);
        (self.outgoing, self.gone, self.line_bytes) = (Vec::new(), 0, 0);
        (self.sent, self.taken) = (0, 0);
        self.reader = Reader::default();
        self.intended.clear();
        for item in self.options.drain(..).rev() {
            self.items.push_front(item);
        }
    }
}
