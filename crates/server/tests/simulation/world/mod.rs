//! A world made from a seed: clients, wires, sessions, a store and a clock, moved on one random
//! step at a time, and then until all is said and done.

mod granted;
mod guests;
mod helpers;
mod turns;
mod users;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use ferry_server::{
    protocol::{
        Limits, Spares, Timeouts,
        http::{DayClock, tus::UploadIds},
    },
    runtime::{
        admission::{Admission, Admitted},
        leases::Leases,
        rates::Rates,
        scheduler::Scheduler,
    },
    store::Completion,
};
use ferry_wire::{Code, Failure, Id};
use mio::Token;

use guests::LIMITS;
use helpers::Helpers;
use users::Books;

use crate::{
    client::{Client, Manner},
    conn::{Conn, Link},
    dice::Dice,
    guest::Guest,
    leases::{Job, Rules},
    oracle::Oracle,
    script::{Ground, Item, LASTING_FILES, UPLOAD_BYTES, Writer, lasting_file},
    store::{Effect, Model, Store},
    tree::{Node, Tree, some_time},
    web::{WebClient, WebOracle, WebWriter},
};

/// Far more than a world lasts, so that only those who do nothing run out of it.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// Figures of one world, or of many.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) steps: u64,
    pub(crate) requests: u64,
    pub(crate) connections: u64,
    pub(crate) resets: u64,
    pub(crate) faults: u64,
    pub(crate) bytes: u64,
    pub(crate) timeouts: u64,
    pub(crate) turned_away: u64,
    /// RESUMEs that another connection's upload was the reason to refuse, that a newer one
    /// displaced, and holders that were asked to let go.
    pub(crate) refused: u64,
    pub(crate) displaced: u64,
    pub(crate) evicted: u64,
    /// Helpers that hung, sessions that were told that nothing answers, and completions that nobody took.
    pub(crate) hung: u64,
    pub(crate) unanswered: u64,
    pub(crate) late: u64,
    /// KEPT, of streams.
    pub(crate) kepts: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: Figures) {
        self.steps += other.steps;
        self.requests += other.requests;
        self.connections += other.connections;
        self.resets += other.resets;
        self.faults += other.faults;
        self.bytes += other.bytes;
        self.timeouts += other.timeouts;
        self.turned_away += other.turned_away;
        self.refused += other.refused;
        self.displaced += other.displaced;
        self.evicted += other.evicted;
        self.hung += other.hung;
        self.unanswered += other.unanswered;
        self.late += other.late;
        self.kepts += other.kepts;
    }
}

impl Weather {
    fn ground(&self, home: String) -> Ground {
        let Weather { read_only, large, shared, contended, faults, hangs, .. } = *self;
        Ground { home, read_only, large, contended: shared && contended, faulty: faults + hangs > 0 }
    }

    /// A client that says `items`, where there is `tree`.
    fn client(&self, ground: Ground, items: VecDeque<Item>, tree: Tree, dice: &mut Dice) -> Client {
        let bytes: usize = items.iter().map(|item| item.line.len() + item.body.len()).sum();
        let manner = manner(dice, bytes);
        let mut oracle = Oracle::new(tree, self.shared, self.faults > 0);
        oracle.hangs = self.hangs > 0;
        let own = Dice::new(dice.next());
        Client::new(ground, manner, items, oracle, own)
    }
}

/// The conditions in a world.
#[derive(Debug, Clone)]
struct Weather {
    /// Bytes that move at once, at most.
    grain: usize,
    /// Of a thousand pieces of work, how many fail, and how many are done at once.
    faults: u32,
    at_once: u32,
    /// Of a thousand helpers that begin, how many hang.
    hangs: u32,
    /// The bytes that the wire to a client holds.
    wire: usize,
    /// All clients write to one directory, with the same ids.
    shared: bool,
    /// They want the same uploads, and do not agree on what those are.
    contended: bool,
    read_only: bool,
    large: bool,
    drains: bool,
    dismisses: bool,
}

struct Peer {
    client: Guest,
    link: Link,
    conn: Option<usize>,
    /// The last connection it had.
    last: usize,
}

/// An operation that the store has done, on its way back.
struct Ended {
    conn: usize,
    completion: Completion<'static, Model>,
    lease: Option<Id>,
}

/// See the [module documentation](self).
pub(crate) struct World {
    pub(crate) figures: Figures,
    now: Instant,
    dice: Dice,
    weather: Weather,
    limits: Arc<Limits>,
    store: Store,
    leases: Leases<usize, Job>,
    rules: Rules,
    admission: Admission,
    strangers: Vec<(IpAddr, Admitted)>,
    /// Holds the connections in its run queue with news since their last turn.
    scheduler: Scheduler,
    peers: Vec<Peer>,
    conns: BTreeMap<usize, Conn>,
    next_conn: usize,
    /// The rates, where there are any.
    books: Option<Books>,
    /// The connection that has a granted turn.
    granted: Option<usize>,
    ids: Arc<UploadIds>,
    day: Arc<DayClock>,
    helpers: Helpers,
    ended: Vec<Ended>,
    intended: Vec<(usize, Vec<Effect>)>,
    spares: Spares<Model>,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let large = dice.happens(150);
        let weather = Weather {
            grain: *dice.pick(if large { &[4_096, 65_536, 300_000] } else { &[1, 7, 300, 65_536] }),
            faults: *dice.pick(&[0, 0, 0, 30, 200]),
            at_once: *dice.pick(&[0, 500, 900, 1000]),
            hangs: 0,
            wire: *dice.pick(&[100, 10_000, 1 << 20]),
            shared: dice.happens(300),
            contended: dice.happens(500),
            read_only: dice.happens(50),
            large,
            drains: dice.happens(200),
            dismisses: dice.happens(200),
        };
        // From dice of their own, so that the other worlds stay as they were.
        let hangs = *Dice::new(seed ^ 2).pick(&[0, 0, 0, 20, 200]);
        let weather = Weather { hangs, ..weather };
        let limits = Limits {
            node: None,
            read_only: weather.read_only,
            volatile: false,
            kept_modes: Some(ferry_wire::Mode::ALL),
            upload_bytes: UPLOAD_BYTES,
            timeouts: Timeouts { idle: TIMEOUT, request: TIMEOUT, window: TIMEOUT, window_bytes: 1 },
            checkpoint_bytes: 100_000,
            checkpoint_time: Duration::from_secs(15),
            keep: Duration::from_secs(72 * 3600),
        };
        let store = Store::new(Tree::default(), weather.faults, Dice::new(seed ^ 1));
        let now = Instant::now();
        let mut world = World {
            figures: Figures::default(),
            now,
            dice,
            weather,
            limits: Arc::new(limits),
            store,
            leases: Leases::default(),
            rules: Rules::default(),
            admission: Admission::new(LIMITS),
            strangers: Vec::new(),
            scheduler: Scheduler::new(Rates::new(None, None, now)),
            peers: Vec::new(),
            conns: BTreeMap::new(),
            next_conn: 0,
            books: None,
            granted: None,
            ids: Arc::new(UploadIds::new([0; 32])),
            day: Arc::new(DayClock::new(now, UNIX_EPOCH)),
            helpers: Helpers::new(hangs > 0),
            ended: Vec::new(),
            intended: Vec::new(),
            spares: Spares::new(),
        };
        if world.dice.happens(200) {
            let total = *world.dice.pick(&[None, Some(5_000), Some(100_000), Some(10_000_000)]);
            let client_rate = world.dice.happens(500).then_some(50_000);
            world.set_rates(client_rate, total);
        }
        world.populate();
        world.invite_browsers(seed);
        world.invite_streamer(seed);
        world
    }

    fn populate(&mut self) {
        let count = self.dice.between(1, 5);
        let homes: Vec<String> =
            (0..count).map(|index| if self.weather.shared { "shared".into() } else { format!("c{index}") }).collect();
        for home in &homes {
            self.lay_out(home);
        }
        for home in homes {
            let large = self.weather.large;
            let ground = self.weather.ground(home);
            // Byte by byte, a long script only takes time.
            let most = if large || self.weather.grain < 100 { 8 } else { 25 };
            let requests = self.dice.between(0, most);
            let items = Writer::new(&ground, &mut self.dice).script(requests);
            let tree = self.store.tree.below(&ground.home);
            let client = self.weather.client(ground, items, tree, &mut self.dice);
            self.invite(client);
        }
    }

    /// Where bodies are large, somebody sends streams that are long enough for checkpoints. From dice of their own, too.
    fn invite_streamer(&mut self, seed: u64) {
        if !self.weather.large || self.weather.read_only || self.peers.len() >= 6 {
            return;
        }
        let mut dice = Dice::new(seed ^ 5);
        let home = if self.weather.shared { "shared" } else { "s" };
        if !self.weather.shared {
            self.lay_out(home);
        }
        let ground = self.weather.ground(home.to_owned());
        let items = Writer::new(&ground, &mut dice).streams();
        let tree = self.store.tree.below(&ground.home);
        let client = self.weather.client(ground, items, tree, &mut dice);
        self.invite(client);
    }

    fn invite(&mut self, client: Client) {
        self.peers.push(Peer { client: Guest::Ferry(client.into()), link: Link::default(), conn: None, last: 0 });
        assert!(self.connect(self.peers.len() - 1), "the first few have room");
    }

    /// Clients of HTTP come as well, to a home of their own or to the one that is shared. From dice of their own, so that
    /// what the others do stays as it was.
    fn invite_browsers(&mut self, seed: u64) {
        let mut dice = Dice::new(seed ^ 3);
        // A few who come back before their old connection is gone need room as well.
        for index in 0..dice.below(3).min(6 - self.peers.len()) {
            let Weather { read_only, large, shared, contended, faults, hangs, grain, .. } = self.weather;
            let home = if shared { "shared".to_owned() } else { format!("w{index}") };
            if !shared {
                self.lay_out(&home);
            }
            let contended = shared && contended;
            let ground = Ground { home, read_only, large, contended, faulty: faults + hangs > 0 };
            let requests = dice.between(0, if large || grain < 100 { 8 } else { 25 });
            let items = WebWriter { ground: &ground, dice: &mut dice }.script(requests);
            let bytes: usize = items.iter().map(|item| item.head.len() + item.body.len()).sum();
            let manner = manner(&mut dice, bytes);
            let oracle = WebOracle::new(self.store.tree.below(&ground.home), shared, read_only, faults + hangs > 0);
            let client = Guest::Web(WebClient::new(ground, manner, items, oracle).into());
            self.peers.push(Peer { client, link: Link::default(), conn: None, last: 0 });
            assert!(self.connect(self.peers.len() - 1), "the first few have room");
        }
    }

    fn lay_out(&mut self, home: &str) {
        self.store.tree.insert(home, Node::directory());
        for index in 0..LASTING_FILES {
            let (name, data) = lasting_file(home, index);
            self.store.tree.insert(&name, Node::File { data: Arc::new(data), mtime: some_time() });
        }
    }

    /// Lives this world to its end.
    pub(crate) fn run(&mut self) {
        let steps = self.dice.between(0, 3_000);
        for _ in 0..steps {
            self.step();
        }
        let mut idle = 0;
        while !self.is_done() {
            let before = self.figures.bytes + self.store.effects.len() as u64;
            let moved = self.round();
            let after = self.figures.bytes + self.store.effects.len() as u64;
            idle = if moved || after > before { 0 } else { idle + 1 };
            if idle > 2 {
                self.wait();
                idle = 0;
            }
            self.figures.steps += 1;
            assert!(self.figures.steps < 2_000_000, "this goes on for ever");
        }
        self.last_look();
    }

    fn is_done(&self) -> bool {
        let reading = |peer: &Peer| !peer.link.to_client.is_empty() && peer.client.appetite() > 0;
        let unread = |peer: &Peer| peer.link.server_done && !peer.link.end_read && peer.client.appetite() > 0;
        self.conns.is_empty() && !self.peers.iter().any(|peer| reading(peer) || unread(peer))
    }

    fn step(&mut self) {
        self.figures.steps += 1;
        self.now += Duration::from_millis(self.dice.below(3) as u64);
        let peer = self.dice.below(self.peers.len());
        match self.dice.below(13) {
            0..3 => drop(self.client_sends(peer)),
            3..5 => drop(self.client_takes(peer)),
            5..9 if self.books.is_some() && self.dice.happens(500) => drop(self.run_granted()),
            5..7 => drop(self.feed(peer)),
            7..9 => drop(self.flush(peer)),
            9 => drop(self.run_job()),
            10 => drop(self.deliver()),
            11 => self.disturb(peer),
            _ => self.weather_changes(peer),
        }
        self.look_for_helpers();
        self.settle();
    }

    /// Moves everybody once. False where nobody could move.
    fn round(&mut self) -> bool {
        self.now += Duration::from_millis(1);
        self.another_goes();
        let mut moved = false;
        for peer in 0..self.peers.len() {
            moved |= self.client_sends(peer);
            moved |= self.feed(peer);
            self.settle();
            moved |= self.flush(peer);
            moved |= self.client_takes(peer);
            moved |= self.come_back(peer);
            self.settle();
        }
        for _ in 0..self.scheduler.waiting(self.now) {
            moved |= self.run_granted();
        }
        for _ in 0..4 {
            moved |= self.run_job();
        }
        if self.dice.happens(100) {
            self.let_helpers_go(false);
        }
        self.look_for_helpers();
        for _ in 0..self.ended.len().min(4) {
            moved |= self.deliver();
            self.settle();
        }
        moved
    }

    /// Moves the clock, since nobody can do anything.
    fn wait(&mut self) {
        let deadlines = self.conns.values().filter_map(|conn| conn.session.deadline());
        let next = deadlines.chain(self.scheduler.next_at(self.now)).chain(self.helpers.expires_at(self.now)).min();
        let next = next.unwrap_or_else(|| panic!("{} sessions are stuck for ever", self.conns.len()));
        self.now = self.now.max(next);
        self.figures.timeouts += 1;
        self.look_for_helpers();
        self.all_clocks();
    }

    fn all_clocks(&mut self) {
        for (&key, conn) in &mut self.conns {
            conn.session.handle_timeout(self.now);
            self.scheduler.queue(Token(key), &mut conn.queued);
        }
        self.settle();
    }
}

/// Draws the manner of a client who has so many bytes to send.
fn manner(dice: &mut Dice, bytes: usize) -> Manner {
    let at = dice.below(bytes + 200) as u64;
    match dice.below(10) {
        0 | 1 => Manner::ResetAt(at),
        2 => Manner::HalfCloseAt(at),
        3 => Manner::StopsReadingAt(at),
        4 => Manner::StopsWritingAt(at),
        _ => Manner::Honest,
    }
}

/// The clients' side.
impl World {
    fn client_sends(&mut self, index: usize) -> bool {
        let most = self.dice.between(1, self.weather.grain);
        let peer = &mut self.peers[index];
        let Some(conn) = peer.conn else { return false };
        let room = most.min((1usize << 18).saturating_sub(peer.link.to_server.len()));
        let finished = peer.client.finished();
        let bytes = if room > 0 { peer.client.send(room) } else { Vec::new() };
        let moved = !bytes.is_empty() || finished != peer.client.finished();
        self.figures.bytes += bytes.len() as u64;
        peer.link.to_server.extend(bytes);
        if peer.client.resets() {
            self.reset(index, conn);
            return true;
        }
        self.touch(conn);
        moved
    }

    fn reset(&mut self, index: usize, key: usize) {
        self.figures.resets += 1;
        self.detach(index);
        let Some(conn) = self.conns.get_mut(&key) else { return };
        // Bytes that the server has ready may still be taken.
        if self.dice.happens(300) {
            conn.leftover.clear();
        }
        conn.session.disconnected(self.now);
        conn.attached = false;
        self.touch(key);
    }

    fn detach(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        peer.conn = None;
        peer.link = Link::default();
        self.intended.push((peer.last, peer.client.intended()));
    }

    /// One whose connection broke comes back: at once where all write to one place, else when its
    /// old session is gone and it can be told how things are.
    fn come_back(&mut self, index: usize) -> bool {
        let peer = &self.peers[index];
        let gone = peer.conn.is_none() && !peer.link.server_done && peer.client.resets();
        if !gone || !peer.client.has_more() || !self.weather.shared && self.conns.contains_key(&peer.last) {
            return false;
        }
        let tree = self.store.tree.below(self.peers[index].client.home());
        if !self.connect(index) {
            return false;
        }
        self.peers[index].client.reconnect(tree);
        true
    }

    fn client_takes(&mut self, index: usize) -> bool {
        let most = self.dice.between(1, self.weather.grain);
        let Peer { client, link, .. } = &mut self.peers[index];
        let count = most.min(link.to_client.len()).min(client.appetite());
        if count > 0 {
            let bytes: Vec<u8> = link.to_client.drain(..count).collect();
            client.take(&bytes);
            self.touch(self.peers[index].last);
            return true;
        }
        if link.server_done && !link.end_read && link.to_client.is_empty() && client.appetite() > 0 {
            link.end_read = true;
            client.end_of_replies();
            client.check_tree(&self.store.tree.below(client.home()));
            return true;
        }
        false
    }
}

/// Events that no client asked for.
impl World {
    /// Calls that change nothing.
    fn disturb(&mut self, index: usize) {
        let now = self.now;
        let which = self.dice.below(4);
        let Some((key, conn, _)) = self.live(index) else { return };
        match which {
            0 => conn.session.sent(now),
            1 => conn.session.handle_timeout(now),
            2 => {
                let used = conn.session.receive(&conn.leftover, now);
                conn.leftover.drain(..used);
            }
            _ => conn.session.rest(&mut Spares::new()),
        }
        self.touch(key);
    }

    fn weather_changes(&mut self, index: usize) {
        if self.weather.drains && self.dice.happens(10) {
            return self.drain();
        }
        if self.weather.dismisses && self.dice.happens(10) {
            return self.dismiss();
        }
        if self.dice.happens(50) {
            return self.jump();
        }
        if self.weather.hangs > 0 && self.dice.happens(200) {
            return self.let_helpers_go(false);
        }
        if self.books.is_some() && self.dice.happens(100) {
            return if self.dice.happens(900) { self.logs_in(index) } else { self.rates_change() };
        }
        if self.books.is_none() && self.dice.happens(20) {
            return self.wait_for_rates();
        }
        if self.dice.happens(300) {
            return self.others_come_and_go(index);
        }
        self.come_back(index);
    }

    fn drain(&mut self) {
        self.weather.drains = false;
        for (&key, conn) in &mut self.conns {
            conn.session.drain(Failure::new(Code::ShuttingDown, "the server is ending"), self.now);
            conn.drains = true;
            if conn.attached {
                self.peers[conn.peer].client.dismissed();
            }
            self.scheduler.queue(Token(key), &mut conn.queued);
        }
    }

    fn dismiss(&mut self) {
        self.weather.dismisses = false;
        for (&key, conn) in &mut self.conns {
            conn.session.dismiss(Failure::new(Code::ShuttingDown, "the server is ending"), self.now);
            conn.dismissed = true;
            if conn.attached {
                self.peers[conn.peer].client.dismissed();
            }
            self.scheduler.queue(Token(key), &mut conn.queued);
        }
    }

    /// Hours go by, where every client that is not to blame waits for the store alone.
    fn jump(&mut self) {
        for conn in self.conns.values_mut() {
            let innocent = conn.attached && !self.peers[conn.peer].client.is_guilty();
            if innocent && (conn.session.wants_input() || !conn.session.outbox().is_empty()) {
                return;
            }
        }
        self.now += TIMEOUT * 2;
        self.all_clocks();
    }

    /// Hours go by in which the server lets nobody move anything: that is nobody's fault.
    fn wait_for_rates(&mut self) {
        self.conns.values_mut().for_each(|conn| conn.session.pause());
        self.now += TIMEOUT * 2;
        for (&key, conn) in &mut self.conns {
            assert_eq!(conn.session.deadline(), None, "a clock runs on who waits for a rate");
            conn.session.handle_timeout(self.now);
            conn.session.resume(TIMEOUT * 2, self.now);
            self.scheduler.queue(Token(key), &mut conn.queued);
        }
        self.settle();
    }

    /// Everything has come to its end: nothing is left of it.
    fn last_look(&mut self) {
        while !self.helpers.are_idle() || !self.ended.is_empty() {
            // What never answered does at last.
            self.let_helpers_go(true);
            while self.run_job() {}
            while self.deliver() {}
        }
        assert!(self.leases.is_empty(), "nobody gave a lease up");
        while !self.strangers.is_empty() {
            self.another_goes();
        }
        assert!(self.admission.is_empty(), "somebody who is gone counts");
        assert_eq!((self.store.staged(), self.store.locked()), (0, 0), "uploads that nobody has let go");
        for (conn, effect) in self.store.late_effects.iter().chain(&self.store.effects) {
            let asked = self.intended.iter().filter(|(owner, _)| owner == conn).flat_map(|(_, intended)| intended);
            let times =
                |effects: &[(usize, Effect)]| effects.iter().filter(|(of, made)| of == conn && made == effect).count();
            let made = times(&self.store.effects) + times(&self.store.late_effects);
            let asked = asked.filter(|intended| *intended == effect).count();
            assert!(made <= asked, "{effect:?} was made {made} times, and asked for {asked} times");
        }
        for (conn, intended) in &self.intended {
            let mut intended = intended.iter();
            for (_, effect) in self.store.effects.iter().filter(|(owner, _)| owner == conn) {
                assert!(intended.any(|asked| asked == effect), "{effect:?} was not asked for, or not in that order");
            }
        }
        self.figures.faults += self.store.faults;
        let Rules { refused, displaced, evicted, .. } = self.rules;
        (self.figures.refused, self.figures.displaced, self.figures.evicted) = (refused, displaced, evicted);
        self.figures.kepts += self.peers.iter().map(|peer| peer.client.kepts()).sum::<u64>();
        self.figures.requests += self.peers.iter().map(|peer| peer.client.requests()).sum::<u64>();
    }
}
