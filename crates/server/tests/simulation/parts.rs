//! One upload over several connections, in any order, cut and resumed at any point: it is published
//! whole, or not at all.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_server::{
    access::Users,
    protocol::{Limits, Segment, Session, Spares, Timeouts, Visitor, ferry::FerrySession},
    runtime::leases::{Claim, LeaseEffect, LeaseStep, Leases},
    store::{ErrorKind, Operation, StoreError},
};
use ferry_wire::{Code, Crc32, Digest, Id, Reply};

use crate::{
    conn::{Conn, carried},
    dice::Dice,
    leases::Job,
    number,
    reader::Reader,
    store::{Effect, Model, Store},
    tree::Tree,
};

const SEEDS: u64 = 60;
const NAME: &str = "file";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Free,
    /// On its way, at this connection.
    Sent(usize),
    Whole,
}

/// A request that is not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Resume,
    /// The body of the holder, closed.
    Held,
    Part {
        piece: usize,
        /// Of the holder that there was.
        holder: u64,
        /// It fails in any case, with one of these.
        fails: Option<&'static [Code]>,
    },
}

/// A connection of the client.
#[derive(Default)]
struct Line {
    to_send: VecDeque<u8>,
    asked: VecDeque<Asked>,
    reader: Reader,
}

/// The client's picture of an upload that is held.
struct Holder {
    line: usize,
    number: u64,
    /// The offset of GO, and what it has sent since.
    began: u64,
    at: u64,
}

struct Split {
    dice: Dice,
    now: Instant,
    store: Store,
    leases: Leases<usize, Job>,
    conns: BTreeMap<usize, Conn>,
    lines: BTreeMap<usize, Line>,
    next_conn: usize,
    jobs: VecDeque<Job>,
    data: Vec<u8>,
    /// The first byte of each piece, and the end.
    cuts: Vec<u64>,
    pieces: Vec<Piece>,
    holder: Option<Holder>,
    holders: u64,
    /// Requests are made that must fail.
    is_rude: bool,
    saved: bool,
    resumed_parts: u64,
}

impl Split {
    fn new(seed: u64) -> Split {
        let mut dice = Dice::new(seed);
        let size = *dice.pick(&[40, 5_000, 700_000, 1_200_000]);
        let data = dice.bytes(size);
        let count = dice.between(1, 12);
        let mut cuts: Vec<u64> = (0..count).map(|_| dice.below(size) as u64).chain([0, size as u64]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let pieces = vec![Piece::Free; cuts.len() - 1];
        let faults = *dice.pick(&[0, 0, 60]);
        let is_rude = dice.happens(400);
        Split {
            store: Store::new(Tree::default(), faults, Dice::new(seed ^ 1)),
            dice,
            now: Instant::now(),
            leases: Leases::default(),
            conns: BTreeMap::new(),
            lines: BTreeMap::new(),
            next_conn: 0,
            jobs: VecDeque::new(),
            data,
            cuts,
            pieces,
            holder: None,
            holders: 0,
            is_rude,
            saved: false,
            resumed_parts: 0,
        }
    }

    fn range(&self, piece: usize) -> Range<u64> {
        self.cuts[piece]..self.cuts[piece + 1]
    }

    fn bytes(&self, range: Range<u64>) -> &[u8] {
        &self.data[range.start as usize..range.end as usize]
    }

    fn run(&mut self) {
        let mut steps = 0;
        while !self.saved {
            self.step(steps);
            steps += 1;
            if steps > 3_000 {
                // It is to come to its end some time.
                self.store.fault_rate = 0;
                self.is_rude = false;
            }
            assert!(steps < 200_000, "it is never published: {:?}", self.pieces);
        }
        let keys: Vec<_> = self.lines.keys().copied().collect();
        keys.into_iter().for_each(|line| self.cut(line));
        while self.run_job() {}
        assert!(self.leases.is_empty(), "nobody gave a lease up");
        assert_eq!((self.store.staged(), self.store.locked()), (0, 0), "something is held still");
        let (there, _) = self.store.tree.file_version(NAME).unwrap();
        assert!(*there == self.data, "other bytes are published");
    }

    fn step(&mut self, steps: u32) {
        self.now += Duration::from_millis(1);
        if self.lines.len() < 4 && self.dice.happens(200) {
            self.connect();
        }
        let Some(&line) = self.lines.keys().nth(self.dice.below(self.lines.len().max(1))) else { return };
        match self.dice.below(12) {
            0..4 => self.ask(line),
            4..8 => self.feed(line),
            8..11 => drop(self.run_job()),
            _ if steps < 3_000 && self.dice.happens(250) => self.cut(line),
            _ => {}
        }
        self.settle();
        let lines: Vec<_> = self.lines.keys().copied().collect();
        lines.into_iter().for_each(|line| self.hear(line));
    }

    fn connect(&mut self) {
        let hour = Duration::from_secs(3600);
        let limits = Limits {
            node: None,
            read_only: false,
            volatile: false,
            kept_modes: Some(ferry_wire::Mode::ALL),
            upload_bytes: 2 << 20,
            timeouts: Timeouts { idle: hour, request: hour, window: hour, window_bytes: 1 },
            checkpoint_bytes: 100_000,
            checkpoint_time: Duration::from_secs(15),
            keep: Duration::from_secs(72 * 3600),
        };
        let visitor = Visitor::new(Arc::new(Users::without_file()), true);
        let key = self.next_conn;
        self.next_conn += 1;
        let session = Session::Ferry(FerrySession::new(Arc::new(limits), visitor, self.now));
        self.conns.insert(key, Conn::new(session, 0));
        self.lines.insert(key, Line::default());
    }

    /// The connection is cut: all that was on its way may or may not have come.
    fn cut(&mut self, line: usize) {
        self.lines.remove(&line);
        self.conns.get_mut(&line).unwrap().session.disconnected(self.now);
        self.lost(line);
        self.settle();
    }

    fn lost(&mut self, line: usize) {
        for piece in &mut self.pieces {
            if *piece == Piece::Sent(line) {
                *piece = Piece::Free;
            }
        }
        if self.holder.as_ref().is_some_and(|holder| holder.line == line) {
            self.holder = None;
        }
    }

    fn send(&mut self, line: usize, text: &str, body: &[u8], end: &str) {
        let blocks = *self.dice.pick(&[10, 4_096, 1 << 20]);
        let blocks = if body.len() > 20_000 { 1 << 20 } else { blocks };
        let to_send = &mut self.lines.get_mut(&line).unwrap().to_send;
        to_send.extend(text.as_bytes());
        for block in body.chunks(blocks) {
            to_send.extend(format!("DATA {}\n", block.len()).as_bytes());
            to_send.extend(block);
        }
        to_send.extend(end.as_bytes());
    }

    /// Asks for something that is due, if there is anything.
    fn ask(&mut self, line: usize) {
        let is_resuming = self.lines.values().any(|line| line.asked.contains(&Asked::Resume));
        let asked = self.lines[&line].asked.len();
        match &self.holder {
            Some(holder) if holder.line == line => return self.go_on(),
            Some(_) if asked < 3 => return self.ask_part(line),
            None if asked == 0 && !is_resuming => {}
            _ => return,
        }
        let text = format!("RESUME id {} - {NAME}\n", self.data.len());
        self.send(line, &text, b"", "");
        self.lines.get_mut(&line).unwrap().asked.push_back(Asked::Resume);
    }

    fn ask_part(&mut self, line: usize) {
        let free: Vec<_> = (0..self.pieces.len()).filter(|&piece| self.pieces[piece] == Piece::Free).collect();
        let Some(&Holder { number, began, at: reach, .. }) = self.holder.as_ref() else { return };
        let Some(&piece) = free.iter().rfind(|&&piece| self.range(piece).start > reach) else { return };
        let range = self.range(piece);
        let bytes = self.bytes(range.clone()).to_vec();
        let (length, crc) = (bytes.len() as u64, Crc32::of(&bytes));
        let (size, wrong) = (self.data.len() as u64, Crc32(crc.0 ^ 1));
        let (mut text, mut body) = (format!("PART id {} {length} {NAME}\n", range.start), &bytes[..]);
        let mut end = format!("END {crc}\n");
        let mut fails: Option<&'static [Code]> = None;
        if self.is_rude && self.dice.happens(300) {
            let which = self.dice.below(7);
            fails = Some(match which {
                0 => &[Code::BadRange],
                1 | 2 => &[Code::Busy, Code::Exists],
                3 => &[Code::Checksum],
                4 => &[Code::Stopped],
                5 => &[Code::Incomplete],
                _ => &[Code::BadRange],
            });
            match which {
                0 => text = format!("PART id {} {length} {NAME}\n", size - length + 1),
                1 => text = format!("PART other {} {length} {NAME}\n", range.start),
                2 => text = format!("PART id {} {length} {NAME}2\n", range.start),
                3 => end = format!("END {wrong}\n"),
                4 => (body, end) = (&bytes[..bytes.len() / 2], "STOP\n".into()),
                5 => body = &bytes[..bytes.len() - 1],
                _ => text = format!("PART id 0 {length} {NAME}\n"),
            }
            if which == 6 && began == 0 {
                return;
            }
        } else {
            self.pieces[piece] = Piece::Sent(line);
        }
        let body = body.to_vec();
        self.send(line, &text, &body, &end);
        self.lines.get_mut(&line).unwrap().asked.push_back(Asked::Part { piece, holder: number, fails });
    }

    /// The holder sends the next piece, or ends its body.
    fn go_on(&mut self) {
        let Some(Holder { line, at, .. }) = self.holder else { return };
        if self.lines[&line].asked.contains(&Asked::Held) {
            return;
        }
        let size = self.data.len() as u64;
        let crc = Crc32::of(&self.data);
        // What GO told may end inside a piece.
        let next = self.cuts.iter().position(|&cut| cut > at).map(|next| next - 1);
        let rest = next.map_or(&[][..], |next| &self.pieces[next..]);
        let ends_here = at == size || self.cuts.contains(&at) && rest.iter().all(|piece| *piece == Piece::Whole);
        let is_early = self.is_rude && self.dice.happens(20);
        if ends_here || is_early {
            let word = if at == size && self.dice.happens(500) { "END" } else { "JOIN" };
            let crc = if self.is_rude && self.dice.happens(100) { Crc32(crc.0 ^ 1) } else { crc };
            self.send(line, "", b"", &format!("{word} {crc}\n"));
            self.lines.get_mut(&line).unwrap().asked.push_back(Asked::Held);
            return;
        }
        let Some(next) = next else { return };
        match self.pieces[next] {
            // It goes on over what others have sent, or are sending.
            Piece::Sent(_) | Piece::Whole if self.dice.happens(900) => return,
            _ => {}
        }
        let to = self.cuts[next + 1];
        let bytes = self.bytes(at..to).to_vec();
        self.send(line, "", &bytes, "");
        self.pieces[next] = Piece::Whole;
        if let Some(holder) = &mut self.holder {
            holder.at = to;
        }
    }

    fn feed(&mut self, key: usize) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        let conn = self.conns.get_mut(&key).unwrap();
        let most = self.dice.between(1, 100_000).min(line.to_send.len());
        if conn.session.wants_input() {
            conn.leftover.extend(line.to_send.drain(..most));
        }
        let used = conn.session.receive(&conn.leftover, self.now);
        conn.leftover.drain(..used);
    }

    /// Takes what the sessions ask, and what they say.
    fn settle(&mut self) {
        let keys: Vec<_> = self.conns.keys().copied().collect();
        for key in keys {
            while let Some(operation) = self.conns.get_mut(&key).and_then(|conn| conn.session.next_operation()) {
                self.asked(Job::new(key, operation, &self.store));
            }
            // What it asked for may have been refused at once: then it was settled in there, and may be over.
            let Some(conn) = self.conns.get_mut(&key) else { continue };
            conn.session.records().1.for_each(drop);
            conn.session.rest(&mut Spares::new());
            while let Some((Segment::Bytes(data), _)) = conn.session.outbox().front() {
                let bytes = data.to_vec();
                if let Some(line) = self.lines.get_mut(&key) {
                    line.reader.feed(&bytes);
                }
                conn.session.outbox().advance(bytes.len() as u64);
                conn.session.sent(self.now);
            }
            if conn.session.is_over() {
                self.conns.remove(&key);
            } else {
                conn.check();
            }
        }
    }

    fn asked(&mut self, job: Job) {
        self.store.asked(&job.operation);
        self.conns.get_mut(&job.conn).unwrap().hand_on(&job.operation);
        match Claim::of(&job.operation, job.conn) {
            None => self.jobs.push_back(job),
            Some(claim) => {
                let steps = self.leases.claim(claim, job);
                self.follow(steps);
            }
        }
    }

    fn follow(&mut self, steps: Vec<LeaseStep<usize, Job>>) {
        for step in steps {
            match step {
                LeaseStep::Start(job) => self.jobs.push_back(job),
                LeaseStep::Refuse { .. } => panic!("all want the same file"),
                LeaseStep::Displace(job) => {
                    let completion = job.operation.fallback().failed(StoreError::of(ErrorKind::TakenOver));
                    self.complete(job.conn, completion, 0);
                }
                LeaseStep::Evict { holder, id } => {
                    if let Some(conn) = self.conns.get_mut(&holder) {
                        conn.session.evict(&id, self.now);
                    }
                }
            }
        }
    }

    fn complete(&mut self, key: usize, completion: ferry_server::store::Completion<'_, Model>, handed: u64) {
        let conn = self.conns.get_mut(&key).expect("a session is forgotten while an operation is under way");
        conn.outstanding -= 1;
        conn.handed -= handed;
        conn.session.complete(completion, self.now);
        self.settle();
    }

    fn run_job(&mut self) -> bool {
        if self.jobs.is_empty() {
            return false;
        }
        let index = self.dice.below(self.jobs.len());
        let Job { conn, operation, waiter, .. } = self.jobs.remove(index).unwrap();
        let lease = waiter.and_then(|waiter| waiter.lease);
        let handed = carried(&operation);
        let is_resume = matches!(&operation, Operation::Upload(_, ferry_server::store::UploadOperation::Resume(_)));
        let completion = self.store.run(conn, operation);
        if let Some(id) = lease
            && let Some(effect) = LeaseEffect::of(&completion)
        {
            assert_eq!(id, Id::new("id").unwrap());
            assert!(is_resume || effect == LeaseEffect::Released);
            let steps = self.leases.ended(conn, &id, effect);
            self.follow(steps);
        }
        self.complete(conn, completion, handed);
        true
    }

    /// The client takes the answers that have come.
    fn hear(&mut self, key: usize) {
        while let Some(answer) = self.lines.get_mut(&key).and_then(|line| line.reader.next(false)) {
            let asked = self.lines.get_mut(&key).unwrap().asked.pop_front();
            let is_holder = self.holder.as_ref().is_some_and(|holder| holder.line == key);
            match (asked, answer.first) {
                (Some(Asked::Resume), Reply::Go { offset, parts, crc: None }) => self.go(key, offset, &parts),
                (Some(Asked::Resume | Asked::Held), Reply::Saved { size, crc, .. }) => {
                    assert_eq!((size, crc), (self.data.len() as u64, Crc32::of(&self.data)));
                    self.saved = true;
                }
                (Some(Asked::Part { piece, holder, fails }), Reply::Done) => {
                    assert_eq!(fails, None, "done, though it must fail");
                    let is_now = self.holder.as_ref().is_some_and(|now| now.number == holder);
                    if self.pieces[piece] == Piece::Sent(key) {
                        self.pieces[piece] = if is_now { Piece::Whole } else { Piece::Free };
                    }
                }
                (Some(Asked::Part { piece, fails, .. }), Reply::Fail(failure)) => {
                    let injected = failure.message.starts_with(crate::store::INJECTED);
                    let others = [Code::Busy, Code::Changed, Code::BadRange];
                    let is_right = fails.is_some_and(|fails| fails.contains(&failure.code));
                    assert!(injected || is_right || others.contains(&failure.code), "{failure:?} for {fails:?}");
                    if self.pieces[piece] == Piece::Sent(key) {
                        self.pieces[piece] = Piece::Free;
                    }
                }
                (Some(Asked::Resume), Reply::Fail(failure)) => {
                    let injected = failure.message.starts_with(crate::store::INJECTED);
                    assert!(injected || failure.code == Code::Changed, "{failure:?}");
                }
                (asked @ (None | Some(Asked::Held)), Reply::Fail(failure)) if is_holder || asked.is_some() => {
                    self.held_failed(key, &failure, asked.is_some());
                }
                (asked, reply) => panic!("{reply:?} to {asked:?}"),
            }
        }
    }

    /// The upload is held: GO tells what is there.
    fn go(&mut self, line: usize, offset: u64, parts: &[Range<u64>]) {
        self.holders += 1;
        self.resumed_parts += parts.len() as u64;
        self.holder = Some(Holder { line, number: self.holders, began: offset, at: offset });
        for piece in 0..self.pieces.len() {
            let range = self.range(piece);
            let is_there =
                range.end <= offset || parts.iter().any(|part| part.start <= range.start && range.end <= part.end);
            self.pieces[piece] = if is_there { Piece::Whole } else { Piece::Free };
        }
    }

    /// The holder's body was refused: what is left of it is discarded up to its end.
    fn held_failed(&mut self, line: usize, failure: &ferry_wire::Failure, was_closed: bool) {
        let injected = failure.message.starts_with(crate::store::INJECTED);
        let expected = [Code::Changed, Code::Checksum, Code::Incomplete];
        assert!(injected || self.is_rude && expected.contains(&failure.code), "the holder is told {failure:?}");
        if self.holder.as_ref().is_some_and(|holder| holder.line == line) {
            self.holder = None;
        }
        if !was_closed {
            self.send(line, "", b"", "STOP\n");
        }
    }
}

#[test]
fn an_upload_in_parts_is_published_whole_whatever_is_cut() {
    let seeds = match number("FERRY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FERRY_SIM_SEEDS").map_or(SEEDS, |seeds| seeds * 10),
    };
    let (mut joined, mut resumed, mut holders, mut faults) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        println!("FERRY_SIM_SEED={seed}");
        let mut split = Split::new(seed);
        split.run();
        joined += split.store.joined;
        resumed += split.resumed_parts;
        holders += split.holders;
        faults += split.store.faults;
        let published = |(_, effect): &(usize, Effect)| matches!(effect, Effect::Published { .. });
        assert_eq!(split.store.effects.iter().filter(|effect| published(effect)).count(), 1, "published once");
    }
    println!("seeds {seeds:?}: {joined} joined, {holders} holders, {resumed} parts resumed, {faults} faults");
    assert!(joined > 0 && resumed > 0, "no upload came in parts");
}

#[test]
fn a_part_that_a_newer_one_overlaps_and_those_of_a_holder_that_has_ended_write_nothing() {
    let data = Dice::new(1).bytes(1_000);
    let mut whole = Digest::new();
    whole.update(&data);
    for ends in ["STOP\n", "END 00000000\n", "JOIN 00000000\n"] {
        let mut split = Split::new(0);
        (split.data, split.cuts, split.pieces) = (data.clone(), vec![0, 500, 1_000], vec![Piece::Free; 2]);
        split.store.fault_rate = 0;
        for _ in 0..3 {
            split.connect();
        }
        let all = |split: &mut Split| {
            for _ in 0..20 {
                split.settle();
                (0..3).for_each(|line| split.feed_all(line));
                while split.run_job() {}
            }
        };
        split.send(0, "RESUME id 1000 - file\n", b"", "");
        all(&mut split);
        split.send(1, "PART id 500 500 file\n", &data[500..600], "");
        all(&mut split);
        split.send(2, "PART id 599 10 file\n", &data[599..609], &format!("END {}\n", Crc32::of(&data[599..609])));
        all(&mut split);
        split.send(1, "", &data[600..1_000], &format!("END {}\n", Crc32::of(&data[500..])));
        all(&mut split);
        split.send(2, "PART id 700 10 file\n", &data[700..705], "");
        all(&mut split);
        split.send(0, "", b"", ends);
        all(&mut split);
        split.send(2, "", &data[705..710], &format!("END {}\n", Crc32::of(&data[700..710])));
        all(&mut split);
        let codes = |split: &mut Split, line: usize| {
            let mut codes = Vec::new();
            while let Some(answer) = split.lines.get_mut(&line).unwrap().reader.next(false) {
                codes.push(answer.failure().map(|failure| failure.code));
            }
            codes
        };
        assert_eq!(codes(&mut split, 1), [Some(Code::Changed)]);
        assert_eq!(codes(&mut split, 2), [None, Some(Code::Changed)], "{ends}");
        assert_eq!(codes(&mut split, 0).len(), 2);
        (0..3).for_each(|line| split.cut(line));
        while split.run_job() {}
        assert_eq!((split.store.staged(), split.store.locked()), (0, 0), "something is held still");
    }
}

impl Split {
    fn feed_all(&mut self, line: usize) {
        while !self.lines[&line].to_send.is_empty() {
            let before = self.lines[&line].to_send.len();
            self.feed(line);
            self.settle();
            if self.lines[&line].to_send.len() == before {
                return;
            }
        }
    }
}
