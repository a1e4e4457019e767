//! The number of lines of the transfer log that an address may cause, and the sums of those beyond.
//!
//! Each kind has a budget of its own, so that a thousand reads hide no change.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use super::TransferEntry;
use crate::bucket::Bucket;

/// The budget of one address for each kind: lines per second, and the time for which they may be saved up.
const LINES_PER_SECOND: u64 = 50;
const SAVES: Duration = Duration::from_secs(20);

/// The time after which entries that were left out are summed up.
const BETWEEN_SUMS: Duration = Duration::from_secs(1);

/// The most budgets. Addresses that come then have one together.
const SOURCES: usize = 4096;

/// The addresses whose lines are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    V4(Ipv4Addr),
    /// A network of 64 bits: one host may have all addresses of it.
    V6(Ipv6Addr),
    /// All addresses for which there was no room.
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

impl Hash for Source {
    /// In one step: each entry is looked up by it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(match self {
            Source::V4(address) => address.to_bits().into(),
            Source::V6(network) => network.to_bits(),
            Source::Others => u128::MAX,
        });
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

/// The kinds of entries. Each is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// GET, READ and SUM; HEAD of HTTP.
    Reads,
    /// PUT, RESUME, MKDIR, DELETE, RENAME and TOUCH; all other methods of HTTP.
    Changes,
    Logins,
    /// Connections that came to nothing, those whose stream was no HTTP included.
    Failures,
}

impl Kind {
    pub(super) fn of(entry: &TransferEntry) -> Kind {
        match entry.verb {
            "GET" | "READ" | "SUM" | "HEAD" => Kind::Reads,
            "LOGIN" => Kind::Logins,
            "HTTP" => Kind::Failures,
            _ => Kind::Changes,
        }
    }
}

type Key = (Source, Kind);

/// The lines that a source has left, and those that were left out of the log.
#[derive(Debug)]
struct Allowance {
    lines: Bucket,
    left_out: LeftOut,
}

/// Entries that were left out of the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) lines: u64,
    pub(super) failed: u64,
    pub(super) bytes: u64,
}

/// Entries of one source and kind that were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) source: Source,
    pub(super) kind: Kind,
    pub(super) left_out: LeftOut,
}

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub(super) struct Budget {
    allowances: HashMap<Key, Allowance>,
    /// The keys with entries left out, and when these are summed up.
    due: BTreeSet<(Instant, Key)>,
    /// When allowances that need no place were last looked for.
    cleared: Option<Instant>,
}

impl Budget {
    /// Charges a line to its address. Returns [`None`] where it fits the budget; else it is counted
    /// among those that are left out.
    pub(super) fn charge(&mut self, address: IpAddr, kind: Kind, now: Instant) -> Option<&mut LeftOut> {
        let key = self.key(Source::of(address), kind, now);
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
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the next sum that is due at `now`; any where that is [`None`].
    pub(super) fn take_sum(&mut self, now: Option<Instant>) -> Option<Sum> {
        let &(at, key) = self.due.first()?;
        if now.is_some_and(|now| at > now) {
            return None;
        }
        self.due.pop_first();
        // An allowance with entries left out is never cleared.
        let left_out = self.allowances.get_mut(&key).map(|allowance| std::mem::take(&mut allowance.left_out));
        let (source, kind) = key;
        Some(Sum { source, kind, left_out: left_out.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Charges `count` lines, each of ten bytes. Returns how many fit.
    fn charge(budget: &mut Budget, address: &str, kind: Kind, count: usize, now: Instant) -> usize {
        let address = address.parse().unwrap();
        let fits = |_: &usize| budget.charge(address, kind, now).map(|left_out| left_out.bytes += 10).is_none();
        (0..count).filter(fits).count()
    }

    fn sums(budget: &mut Budget, now: Option<Instant>) -> Vec<(String, u64, u64)> {
        let sum = || budget.take_sum(now);
        std::iter::from_fn(sum).map(|sum| (sum.source.to_string(), sum.left_out.lines, sum.left_out.bytes)).collect()
    }

    #[test]
    fn what_is_over_the_budget_is_counted_and_nothing_is_lost() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(charge(&mut budget, "10.0.0.1", Kind::Reads, 100_000, start), 1_000);
        // Another one, and what this one changes, have lines of their own.
        assert_eq!(charge(&mut budget, "10.0.0.2", Kind::Reads, 5, start), 5);
        for kind in [Kind::Changes, Kind::Logins, Kind::Failures] {
            assert_eq!(charge(&mut budget, "10.0.0.1", kind, 5, start), 5);
        }
        assert_eq!(budget.next_at(), Some(at(1)));
        assert!(sums(&mut budget, Some(start)).is_empty());
        assert_eq!(sums(&mut budget, Some(at(1))), [("10.0.0.1".to_owned(), 99_000, 990_000)]);
        assert_eq!((budget.next_at(), sums(&mut budget, None).len()), (None, 0));
        // It goes on at its rate.
        let mut lines = 0;
        for second in 1..=99 {
            lines += charge(&mut budget, "10.0.0.1", Kind::Reads, 1_000, at(second));
            lines += sums(&mut budget, Some(at(second))).len();
        }
        assert!((4_900..=5_100).contains(&lines), "{lines} lines in 99 s");
        assert_eq!(sums(&mut budget, None).len(), 1);
        assert_eq!(charge(&mut budget, "10.0.0.1", Kind::Reads, 2_000, at(1_000)), 1_000);
    }

    #[test]
    fn who_has_many_addresses_has_one_budget_and_the_rest_is_bounded() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        let lines: usize =
            (0..100).map(|number| charge(&mut budget, &format!("2001:db8::{number:x}"), Kind::Reads, 100, start)).sum();
        assert_eq!(lines, 1_000);
        assert_eq!(charge(&mut budget, "2001:db8:0:1::", Kind::Reads, 100, start), 100);
        assert_eq!(sums(&mut budget, None), [("2001:db8::/64".to_owned(), 9_000, 90_000)]);
        // One address in two forms.
        assert_eq!(charge(&mut budget, "10.9.9.9", Kind::Reads, 600, start), 600);
        assert_eq!(charge(&mut budget, "::ffff:10.9.9.9", Kind::Reads, 600, start), 400);

        let network = |number: usize| format!("2001:db9:{number:x}::1");
        let lines: usize =
            (0..2 * SOURCES).map(|number| charge(&mut budget, &network(number), Kind::Reads, 1, start)).sum();
        assert!((SOURCES..=SOURCES + 1_000).contains(&lines), "{lines} lines");
        assert!(budget.allowances.len() <= SOURCES + 2, "{} are counted", budget.allowances.len());
        assert!(sums(&mut budget, None).iter().any(|(source, ..)| source == "other addresses"));
        // An address that has been silent makes room.
        charge(&mut budget, "10.0.0.3", Kind::Reads, 1, start + SAVES);
        assert_eq!(budget.allowances.len(), 1);
    }
}
