//! The log of transfers, changes and failed connections: a line for each, up to a budget for each address.
//!
//! Beyond the budget they are counted, and summed up in one line a second. Each kind has a budget of its own, so that a
//! thousand reads hide no change.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use ferry_wire::{Failure, UserName};

use super::text::{push_cut, push_number};
use crate::bucket::Bucket;

/// The budget of one address for each kind: lines per second, and the time for which they may be saved up.
const LINES_PER_SECOND: u64 = 50;
const SAVES: Duration = Duration::from_secs(20);

/// The time after which entries that were left out are summed up.
const BETWEEN_SUMS: Duration = Duration::from_secs(1);

/// The longest name, or reason of a failure, in bytes; more is cut.
const TEXT_BYTES: usize = 256;

/// The most budgets. Addresses that come then have one together.
const SOURCES: usize = 4096;

/// The addresses whose lines are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Source {
    V4(Ipv4Addr),
    /// A network of 64 bits: one host may have all addresses of it.
    V6(Ipv6Addr),
    /// Those for whom there was no room.
    Others,
}

impl Source {
    fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source::V4(address),
            IpAddr::V6(address) => Source::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::V4(address) => address.fmt(f),
            Source::V6(network) => write!(f, "{network}/64"),
            Source::Others => f.write_str("other addresses"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Reads,
    Changes,
    Failures,
}

impl Kind {
    fn of(record: &TransferEntry) -> Kind {
        if matches!(record.verb, "GET" | "READ" | "SUM") { Kind::Reads } else { Kind::Changes }
    }
}

type Key = (Source, Kind);

/// The lines that a source has left, and those that were left out of the log.
#[derive(Debug)]
struct Allowance {
    lines: Bucket,
    left_out: LeftOut,
}

#[derive(Debug, Default)]
struct LeftOut {
    lines: u64,
    failed: u64,
    bytes: u64,
}

/// One transfer or change that has ended, but for the address of its client.
#[derive(Debug, Clone)]
pub(crate) struct TransferEntry {
    /// The verb of the request.
    pub(crate) verb: &'static str,
    /// The name, as the client gave it.
    pub(crate) name: String,
    /// File bytes that were moved; [`None`] for a change, which moves none.
    pub(crate) bytes: Option<u64>,
    pub(crate) duration: Duration,
    /// Why it failed, where it did.
    pub(crate) failure: Option<Failure>,
}

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub struct TransferLog {
    allowances: HashMap<Key, Allowance>,
    /// Of whom something was left out, and when that is summed up.
    due: BTreeSet<(Instant, Key)>,
    /// When those were last looked for that need no place.
    cleared: Option<Instant>,
}

impl TransferLog {
    /// Logs the entries of a client and the user who has logged in there, and calls `say` with each line.
    pub(crate) fn note(
        &mut self,
        (peer, user): (SocketAddr, Option<&UserName>),
        entries: impl Iterator<Item = TransferEntry>,
        now: Instant,
        mut say: impl FnMut(&str),
    ) {
        let mut line = String::new();
        for record in entries {
            let Some(left_out) = self.charge(peer, Kind::of(&record), now) else {
                write_line(&mut line, (peer, user), &record);
                say(&line);
                continue;
            };
            left_out.failed += u64::from(record.failure.is_some());
            left_out.bytes += record.bytes.unwrap_or(0);
        }
    }

    /// Logs why a connection came to nothing: a failed handshake, or bytes of another protocol. Calls `say` with the line.
    pub(crate) fn note_failure(
        &mut self,
        peer: SocketAddr,
        why: &dyn fmt::Display,
        now: Instant,
        mut say: impl FnMut(&str),
    ) {
        if self.charge(peer, Kind::Failures, now).is_none() {
            say(&format!("{peer}: {why}"));
        }
    }

    /// Charges a line to its address. Returns [`None`] where it fits the budget; else it is counted among those that are
    /// left out.
    fn charge(&mut self, peer: SocketAddr, kind: Kind, now: Instant) -> Option<&mut LeftOut> {
        let key = self.key(Source::of(peer.ip()), kind, now);
        let allowance = self.allowances.entry(key).or_insert_with(|| Allowance {
            lines: Bucket::new(LINES_PER_SECOND, SAVES, now),
            left_out: LeftOut::default(),
        });
        if allowance.lines.ready_at(now).is_none() {
            allowance.lines.take(1, now);
            return None;
        }
        let left_out = &mut allowance.left_out;
        if left_out.lines == 0 {
            self.due.insert((now + BETWEEN_SUMS, key));
        }
        left_out.lines += 1;
        Some(left_out)
    }

    /// Returns under which key to count. A source whose allowance is as if it had never been used needs no
    /// place.
    fn key(&mut self, source: Source, kind: Kind, now: Instant) -> Key {
        if self.allowances.len() < SOURCES || self.allowances.contains_key(&(source, kind)) {
            return (source, kind);
        }
        // Clearing takes longer than a line does.
        if self.cleared.is_none_or(|at| now >= at + BETWEEN_SUMS) {
            self.cleared = Some(now);
            self.allowances.retain(|_, allowance| allowance.left_out.lines > 0 || !allowance.lines.is_full(now));
        }
        if self.allowances.len() >= SOURCES {
            return (Source::Others, kind);
        }
        (source, kind)
    }

    /// Returns when something is to be summed up.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Sums up the entries that were left out, as far as they are due at `now`; all of them where that is [`None`].
    pub(crate) fn sum_up(&mut self, now: Option<Instant>, mut say: impl FnMut(&str)) {
        while let Some(&(at, key)) = self.due.first()
            && now.is_none_or(|now| at <= now)
        {
            self.due.pop_first();
            let Some(allowance) = self.allowances.get_mut(&key) else { continue };
            let LeftOut { lines, failed, bytes } = std::mem::take(&mut allowance.left_out);
            let (source, kind) = key;
            let what = match kind {
                Kind::Reads => "downloads and sums",
                Kind::Changes => "uploads and changes",
                Kind::Failures => {
                    say(&format!("{source}: {lines} failed connections more"));
                    continue;
                }
            };
            say(&format!("{source}: {lines} {what} more, {failed} of them failed, {bytes} bytes together"));
        }
    }
}

/// Writes a line without format strings, which would take most of the time.
fn write_line(line: &mut String, (peer, user): (SocketAddr, Option<&UserName>), record: &TransferEntry) {
    let TransferEntry { verb, name, bytes, duration, failure } = record;
    line.clear();
    line.push_str(&peer.to_string());
    if let Some(user) = user {
        line.push(' ');
        line.push_str(user.as_str());
    }
    line.push_str(": ");
    line.push_str(verb);
    line.push(' ');
    push_cut(line, name, TEXT_BYTES);
    line.push_str(": ");
    if let Some(bytes) = bytes {
        push_number(line, *bytes, 1);
        line.push_str(" bytes in ");
    }
    push_number(line, duration.as_secs(), 1);
    line.push('.');
    push_number(line, duration.subsec_micros().into(), 6);
    line.push_str(" s, ");
    match failure {
        None => line.push_str("ok"),
        Some(Failure { code, message }) => {
            // The name stands in the line already.
            let words = message.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix(": "));
            push_cut(line, words.unwrap_or(message), TEXT_BYTES);
            line.push_str(" (");
            line.push_str(code.as_str());
            line.push(')');
        }
    }
}

#[cfg(test)]
mod tests {
    use ferry_wire::Code;

    use super::*;

    fn record(verb: &'static str, bytes: Option<u64>, failure: Option<Failure>) -> TransferEntry {
        TransferEntry { verb, name: "a".into(), bytes, duration: Duration::from_micros(1_250), failure }
    }

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 7)
    }

    /// Notes `count` times the same, and returns the lines.
    fn note(log: &mut TransferLog, address: &str, verb: &'static str, count: usize, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        let records = (0..count).map(|_| record(verb, Some(10), None));
        log.note((peer(address), None), records, now, |line| lines.push(line.to_owned()));
        lines
    }

    fn sums(log: &mut TransferLog, now: Option<Instant>) -> Vec<String> {
        let mut lines = Vec::new();
        log.sum_up(now, |line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn a_line_says_who_what_and_how_it_ended() {
        let failure = |message| Some(Failure::new(Code::Exists, message));
        for (record, expected) in [
            (record("GET", Some(5), None), "127.0.0.1:7: GET a: 5 bytes in 0.001250 s, ok"),
            (record("MKDIR", None, None), "127.0.0.1:7: MKDIR a: 0.001250 s, ok"),
            (
                record("PUT", Some(0), failure("a: is there")),
                "127.0.0.1:7: PUT a: 0 bytes in 0.001250 s, is there (exists)",
            ),
            (record("DELETE", None, failure("ab: c")), "127.0.0.1:7: DELETE a: 0.001250 s, ab: c (exists)"),
        ] {
            let mut line = "what was there".to_owned();
            write_line(&mut line, (peer("127.0.0.1"), None), &record);
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn no_line_is_longer_than_somebody_could_read() {
        let long = "ü".repeat(2_000);
        let failure = Failure::new(Code::NotFound, long.clone());
        let record = TransferEntry { name: long, ..record("GET", Some(u64::MAX), Some(failure)) };
        let mut line = String::new();
        write_line(&mut line, (peer("::1"), None), &record);
        assert!(line.len() <= 700 && line.contains("... (4000 bytes)"), "{} bytes", line.len());
        assert!(line.ends_with(" (not-found)"), "{line}");
    }

    #[test]
    fn what_is_over_the_budget_is_counted_and_nothing_is_lost() {
        let (mut log, start) = (TransferLog::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(note(&mut log, "10.0.0.1", "GET", 100_000, start).len(), 1_000);
        // Another one, and what this one changes, have lines of their own.
        assert_eq!(note(&mut log, "10.0.0.2", "GET", 5, start).len(), 5);
        assert_eq!(note(&mut log, "10.0.0.1", "DELETE", 5, start).len(), 5);
        assert_eq!(log.next_at(), Some(at(1)));
        assert!(sums(&mut log, Some(start)).is_empty());
        let expected = "10.0.0.1: 99000 downloads and sums more, 0 of them failed, 990000 bytes together";
        assert_eq!(sums(&mut log, Some(at(1))), [expected]);
        assert_eq!((log.next_at(), sums(&mut log, None).len()), (None, 0));
        // It goes on at its rate.
        let mut lines = 0;
        for second in 1..=99 {
            lines +=
                note(&mut log, "10.0.0.1", "GET", 1_000, at(second)).len() + sums(&mut log, Some(at(second))).len();
        }
        assert!((4_900..=5_100).contains(&lines), "{lines} lines in 99 s");
        assert_eq!(sums(&mut log, None).len(), 1);
        assert_eq!(note(&mut log, "10.0.0.1", "GET", 2_000, at(1_000)).len(), 1_000);
    }

    #[test]
    fn failed_connections_have_a_budget_of_their_own() {
        let (mut log, now) = (TransferLog::default(), Instant::now());
        let mut lines = Vec::new();
        for _ in 0..5_000 {
            log.note_failure(peer("10.0.0.1"), &"no TLS", now, |line| lines.push(line.to_owned()));
        }
        assert_eq!((lines.len(), lines[0].as_str()), (1_000, "10.0.0.1:7: no TLS"));
        assert_eq!(note(&mut log, "10.0.0.1", "GET", 5, now).len(), 5);
        assert_eq!(sums(&mut log, None), ["10.0.0.1: 4000 failed connections more"]);
    }

    #[test]
    fn who_has_many_addresses_has_one_budget_and_the_rest_is_bounded() {
        let (mut log, start) = (TransferLog::default(), Instant::now());
        let lines: usize =
            (0..100).map(|number| note(&mut log, &format!("2001:db8::{number:x}"), "GET", 100, start).len()).sum();
        assert_eq!(lines, 1_000);
        assert_eq!(note(&mut log, "2001:db8:0:1::", "GET", 100, start).len(), 100);
        assert!(sums(&mut log, None)[0].starts_with("2001:db8::/64: 9000 "));
        // One address in two forms.
        assert_eq!(note(&mut log, "10.9.9.9", "GET", 600, start).len(), 600);
        assert_eq!(note(&mut log, "::ffff:10.9.9.9", "GET", 600, start).len(), 400);

        let network = |number: usize| format!("2001:db9:{number:x}::1");
        let lines: usize = (0..2 * SOURCES).map(|number| note(&mut log, &network(number), "GET", 1, start).len()).sum();
        assert!((SOURCES..=SOURCES + 1_000).contains(&lines), "{lines} lines");
        assert!(log.allowances.len() <= SOURCES + 2, "{} are counted", log.allowances.len());
        assert!(sums(&mut log, None).iter().any(|line| line.starts_with("other addresses: ")));
        // An address that has been silent makes room.
        note(&mut log, "10.0.0.3", "GET", 1, start + SAVES);
        assert_eq!(log.allowances.len(), 1);
    }
}
