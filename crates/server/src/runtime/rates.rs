//! Holds transfers to rates: each account to its own, and all of them together to a common one.
//!
//! An *account* is a user, with all clients that are logged in as that user, or a client by itself
//! that has not logged in. So a user moves no more by more connections.
//!
//! # Order of calls
//!
//! A client that has something to move [waits](Rates::wait). [`next`](Rates::next) grants one of
//! them some bytes, which are [charged](Rates::charge) once they have moved, before the next grant.
//! So no rate is exceeded by more than one grant, however many clients there are. A client that
//! logs in [joins](Rates::join) the account of its user; one that is gone is
//! [forgotten](Rates::forget).
//!
//! # Who is next
//!
//! Round robin among the accounts, in order of arrival, and among the clients of an account. But
//! clients that move little go before the rest: new ones, and those with small requests. That takes
//! no more than half of the common rate. So a greeting does not wait for a round of downloads, and
//! a client that reconnects again and again does not stop them.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use ferry_wire::UserName;
use mio::Token;
use slab::Slab;

use super::budget::TURN_BYTES;
use crate::bucket::Bucket;

/// The time for which a rate may be saved up while nothing moves: enough to be smooth, too little
/// to be felt as a burst.
const SAVES: Duration = Duration::from_millis(100);

/// Grants of a rate in a second, so that a debt is short. Fast rates have more: a grant fits a turn.
const GRANTS_PER_SECOND: u64 = 20;

/// A client is light while it moves no more than this in a second, and no more than so small a part
/// of the common rate. It may save up enough for a greeting and a small file. Both limits are far
/// below the share that each has of a rate, so that nobody has more by moving less.
const LIGHT_BYTES_PER_SECOND: u64 = 1 << 10;
const LIGHT_PARTS: u64 = 1_000;
const LIGHT_SAVES: Duration = Duration::from_secs(4);

/// The bytes that a light client is granted at once: each waits for all that are there before it.
const LIGHT_GRANT_BYTES: u64 = 1 << 10;

/// The two lines in which accounts stand for the common rate, one for their light clients and one
/// for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Light,
    Heavy,
}

impl Line {
    const BOTH: [Line; 2] = [Line::Light, Line::Heavy];
}

/// The key of an account.
type AccountKey = usize;

/// A client.
#[derive(Debug)]
struct Flow {
    account: AccountKey,
    /// Empty while the client is a heavy one.
    light: Bucket,
    /// While it waits: for which line, and its arrival.
    place: Option<(Line, u64)>,
    /// When it began to wait.
    since: Instant,
}

/// A user, or a client by itself.
#[derive(Debug, Default)]
struct Account {
    user: Option<UserName>,
    /// The clients that it has.
    clients: usize,
    /// The rate of its clients together.
    own: Option<Bucket>,
    /// Some client waits, and its own rate lets none move until then.
    resting: Option<Instant>,
    /// Its arrivals in the lines in which it stands.
    arrivals: [Option<u64>; 2],
    /// Since when it stands in any, without a grant.
    stands_since: Option<Instant>,
}

/// The permission of a client to move bytes now. It is to be [charged](Rates::charge).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it has to be charged"]
pub struct Grant {
    /// The client.
    pub client: Token,
    /// How many bytes: at least one.
    pub bytes: u64,
    /// How long it waited.
    pub waited: Duration,
    /// How long its account stood in line, though its own rate would have let it move.
    stood: Duration,
    /// It went before others that came earlier.
    goes_before: bool,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Rates {
    /// Of each account that has no other.
    client_rate: Option<u64>,
    common: Option<Common>,
    flows: HashMap<Token, Flow>,
    accounts: Slab<Account>,
    users: HashMap<UserName, AccountKey>,
    /// The clients that wait, by line and account, in order of arrival.
    waiting: [BTreeSet<(AccountKey, u64, Token)>; 2],
    /// The accounts that stand in line.
    lines: [BTreeSet<(u64, AccountKey)>; 2],
    resting: BTreeSet<(Instant, AccountKey)>,
    arrivals: u64,
    /// The connection whose grant was not charged yet.
    granted: Option<Token>,
}

/// The rate of all clients together.
#[derive(Debug)]
struct Common {
    total: Bucket,
    /// The part of it for clients that go before the rest.
    before: Bucket,
}

impl Common {
    fn new(rate: u64, now: Instant) -> Common {
        Common { total: Bucket::new(rate, SAVES, now), before: Bucket::new(rate / 2, SAVES, now) }
    }
}

/// Sets the rate of a bucket, which is there where there is a rate.
fn set_rate(bucket: &mut Option<Bucket>, rate: Option<u64>, now: Instant) {
    match (bucket.as_mut(), rate) {
        (Some(bucket), Some(rate)) => bucket.set_rate(rate, now),
        _ => *bucket = rate.map(|rate| Bucket::new(rate, SAVES, now)),
    }
}

impl Account {
    /// Holds it to `rate` from `now` on.
    fn hold_to(&mut self, rate: Option<u64>, now: Instant) {
        let before = self.own.as_ref().map(|own| own.in_part_of_second(1));
        set_rate(&mut self.own, rate, now);
        if before != rate {
            self.stand_anew(now);
        }
    }

    /// Forgets how long it stood: nothing flowed in meanwhile by a rate that is set `now`.
    fn stand_anew(&mut self, now: Instant) {
        self.stands_since = self.stands_since.map(|_| now);
    }
}

/// Rates, and the account of each client.
impl Rates {
    /// Returns rates in bytes a second, both ways together, of each account and of all.
    #[must_use]
    pub fn new(client_rate: Option<u64>, total_rate: Option<u64>, now: Instant) -> Rates {
        Rates {
            client_rate,
            common: total_rate.map(|rate| Common::new(rate, now)),
            flows: HashMap::new(),
            accounts: Slab::new(),
            users: HashMap::new(),
            waiting: Default::default(),
            lines: Default::default(),
            resting: BTreeSet::new(),
            arrivals: 0,
            granted: None,
        }
    }

    /// Sets the rates that hold from `now` on, as those of [`new`](Self::new). Users have theirs
    /// when their clients have [joined](Self::join) anew.
    pub(super) fn set(&mut self, client_rate: Option<u64>, total_rate: Option<u64>, now: Instant) {
        self.client_rate = client_rate;
        match (&mut self.common, total_rate) {
            (Some(common), Some(rate)) => {
                common.total.set_rate(rate, now);
                common.before.set_rate(rate / 2, now);
            }
            (common, rate) => *common = rate.map(|rate| Common::new(rate, now)),
        }
        let light = self.light_rate();
        for flow in self.flows.values_mut() {
            flow.light.set_rate(light, now);
        }
        for key in self.accounts.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            let account = &mut self.accounts[key];
            account.stand_anew(now);
            match &account.user {
                None => account.hold_to(client_rate, now),
                Some(user) if account.clients == 0 => {
                    self.users.remove(user);
                    self.accounts.remove(key);
                    continue;
                }
                Some(_) => {}
            }
            self.place(key, now);
        }
    }

    /// Makes `client` belong to `user`, all of whose clients together have `rate`; where that is
    /// [`None`], that of a client.
    pub(super) fn join(&mut self, client: Token, user: &UserName, rate: Option<u64>, now: Instant) {
        let rate = rate.or(self.client_rate);
        let known = self.users.get(user).copied();
        if rate.is_none() && self.common.is_none() && known.is_none() {
            // Nothing limits it but what it may have belonged to before.
            if self.flows.contains_key(&client) {
                let alone = self.accounts.insert(Account::default());
                self.move_to(alone, client, now);
            }
            return;
        }
        let key = known.unwrap_or_else(|| {
            let key = self.accounts.insert(Account { user: Some(user.clone()), ..Account::default() });
            self.users.insert(user.clone(), key);
            key
        });
        self.accounts[key].hold_to(rate, now);
        self.move_to(key, client, now);
    }

    fn move_to(&mut self, key: AccountKey, client: Token, now: Instant) {
        let light = self.light_rate();
        let flow = self.flows.entry(client).or_insert_with(|| {
            let light = Bucket::new(light, LIGHT_SAVES, now);
            Flow { account: AccountKey::MAX, light, place: None, since: now }
        });
        let before = std::mem::replace(&mut flow.account, key);
        if before != key {
            if let Some((line, arrival)) = flow.place {
                self.waiting[line as usize].remove(&(before, arrival, client));
                self.waiting[line as usize].insert((key, arrival, client));
            }
            self.accounts[key].clients += 1;
            self.leave(before, now);
        }
        self.place(key, now);
    }

    /// Removes a client from an account. The account of a user stays while it has a rate, so that
    /// nobody gets more of it by coming again and again.
    fn leave(&mut self, key: AccountKey, now: Instant) {
        self.place(key, now);
        let Some(account) = self.accounts.get_mut(key) else { return };
        account.clients -= 1;
        if account.clients == 0 && (account.user.is_none() || account.own.is_none()) {
            if let Some(user) = &account.user {
                self.users.remove(user);
            }
            self.accounts.remove(key);
        }
    }

    /// Forgets a client that is gone.
    pub(super) fn forget(&mut self, client: Token, now: Instant) {
        self.granted = self.granted.filter(|granted| *granted != client);
        let Some(Flow { account, place, .. }) = self.flows.remove(&client) else { return };
        if let Some((line, arrival)) = place {
            self.waiting[line as usize].remove(&(account, arrival, client));
        }
        self.leave(account, now);
    }

    /// Returns whether `client` need wait at all.
    pub(super) fn are_limiting(&self, client: Token) -> bool {
        let has_own = || {
            let flow = self.flows.get(&client)?;
            self.accounts.get(flow.account)?.own.as_ref()
        };
        self.client_rate.is_some() || self.common.is_some() || !self.users.is_empty() && has_own().is_some()
    }

    fn light_rate(&self) -> u64 {
        let part = self.common.as_ref().map(|common| common.total.in_part_of_second(LIGHT_PARTS));
        part.unwrap_or(u64::MAX).min(LIGHT_BYTES_PER_SECOND)
    }
}

/// Waiting, and grants.
impl Rates {
    /// Queues `client`, which has something to move, for a grant. One that waits already keeps its
    /// place.
    pub(super) fn wait(&mut self, client: Token, now: Instant) {
        if !self.flows.contains_key(&client) {
            let mut account = Account::default();
            set_rate(&mut account.own, self.client_rate, now);
            let alone = self.accounts.insert(account);
            self.move_to(alone, client, now);
        }
        let Some(flow) = self.flows.get_mut(&client).filter(|flow| flow.place.is_none()) else { return };
        let line = if flow.light.ready_at(now).is_none() { Line::Light } else { Line::Heavy };
        flow.place = Some((line, self.arrivals));
        flow.since = now;
        let key = flow.account;
        self.waiting[line as usize].insert((key, self.arrivals, client));
        self.arrivals += 1;
        self.place(key, now);
    }

    /// Returns the client of an account that is next in `line`.
    fn first_of(&self, key: AccountKey, line: Line) -> Option<(AccountKey, u64, Token)> {
        let from = (key, 0, Token(0));
        self.waiting[line as usize].range(from..).next().copied().filter(|(of, ..)| *of == key)
    }

    /// Puts an account where it should stand: in the lines for which clients of it wait, unless its
    /// own rate has it rest. It keeps its arrival where it stands already.
    fn place(&mut self, key: AccountKey, now: Instant) {
        let waits = Line::BOTH.map(|line| self.first_of(key, line).is_some());
        let Some(account) = self.accounts.get_mut(key) else { return };
        let rests = if waits == [false; 2] { None } else { account.own.as_mut().and_then(|own| own.ready_at(now)) };
        if account.resting != rests {
            let before = std::mem::replace(&mut account.resting, rests);
            before.map(|at| self.resting.remove(&(at, key)));
            rests.map(|at| self.resting.insert((at, key)));
        }
        for line in Line::BOTH {
            let (queue, arrival) = (&mut self.lines[line as usize], &mut account.arrivals[line as usize]);
            match (waits[line as usize] && rests.is_none(), *arrival) {
                (true, None) => {
                    *arrival = Some(self.arrivals);
                    queue.insert((self.arrivals, key));
                    self.arrivals += 1;
                }
                (false, Some(at)) => {
                    *arrival = None;
                    queue.remove(&(at, key));
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        let stands = account.arrivals != [None; 2];
        account.stands_since = account.stands_since.filter(|_| stands).or_else(|| stands.then_some(now));
    }

    fn call_rested(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.resting.first()
            && at <= now
        {
            self.place(key, now);
        }
    }

    /// Returns the next grant, if any client may move bytes now.
    ///
    /// # Panics
    ///
    /// Where the last one was not charged: several grants could then be in debt at once.
    pub(super) fn next(&mut self, now: Instant) -> Option<Grant> {
        assert_eq!(self.granted, None, "a grant was not charged");
        self.call_rested(now);
        let mut before_is_used_up = false;
        if let Some(Common { total, before }) = &mut self.common {
            if total.ready_at(now).is_some() {
                return None;
            }
            before_is_used_up = before.ready_at(now).is_some();
        }
        let [light, heavy] = Line::BOTH.map(|line| self.lines[line as usize].first().copied());
        let (line, goes_before) = match (light, heavy) {
            (None, None) => return None,
            (Some(_), None) => (Line::Light, false),
            (None, Some(_)) => (Line::Heavy, false),
            (Some(_), Some(_)) if !before_is_used_up => (Line::Light, true),
            (light, heavy) => (if light < heavy { Line::Light } else { Line::Heavy }, false),
        };
        let (_, key) = self.lines[line as usize].pop_first()?;
        let first = self.first_of(key, line)?;
        self.waiting[line as usize].remove(&first);
        let (_, _, client) = first;
        let (account, flow) = (self.accounts.get_mut(key)?, self.flows.get_mut(&client)?);
        account.arrivals[line as usize] = None;
        let stood = account.stands_since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        flow.place = None;
        self.granted = Some(client);
        let most = if line == Line::Light { LIGHT_GRANT_BYTES } else { TURN_BYTES };
        let part = |bucket: &Bucket| bucket.in_part_of_second(GRANTS_PER_SECOND);
        let of_common = self.common.as_ref().map_or(most, |common| part(&common.total));
        // Otherwise a client with a rate of its own would have smaller grants than others, and less
        // than its share.
        let of_own = account.own.as_ref().map_or(most, |own| own.in_time(stood).max(part(own)));
        let bytes = most.min(of_common).min(of_own).max(1);
        let waited = now.saturating_duration_since(flow.since);
        Some(Grant { client, bytes, waited, stood, goes_before })
    }

    /// Charges the bytes that were moved of `grant`.
    ///
    /// # Panics
    ///
    /// Where it moved more: a debt is at most one grant.
    pub(super) fn charge(&mut self, grant: &Grant, moved: u64, now: Instant) {
        assert!(moved <= grant.bytes, "{moved} bytes were moved of {}", grant.bytes);
        self.granted = None;
        let Some(flow) = self.flows.get_mut(&grant.client) else { return };
        if let Some(common) = &mut self.common {
            common.total.take(moved, now);
            if grant.goes_before {
                common.before.take(moved, now);
            }
        }
        flow.light.take(moved, now);
        // One that moved much is no heavy one for ever.
        flow.light.limit_debt();
        let key = flow.account;
        if let Some(own) = self.accounts.get_mut(key).and_then(|account| account.own.as_mut()) {
            own.take_after(grant.stood, moved, now);
        }
        self.place(key, now);
    }

    /// Returns when [`next`](Self::next) has somebody, if nothing happens before.
    pub(super) fn next_at(&mut self, now: Instant) -> Option<Instant> {
        let in_line = (self.in_line(now) > 0)
            .then(|| self.common.as_mut().and_then(|common| common.total.ready_at(now)).unwrap_or(now));
        let resting = self.resting.first().map(|(at, _)| *at);
        in_line.into_iter().chain(resting).min()
    }

    /// Returns how many grants may be made in one round: each account that waits for nothing but
    /// the common rate has one in each line in which it stands.
    pub(super) fn in_line(&mut self, now: Instant) -> usize {
        self.call_rested(now);
        self.lines.iter().map(BTreeSet::len).sum()
    }

    /// Returns whether any client waits.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }
}

#[cfg(test)]
mod tests;
