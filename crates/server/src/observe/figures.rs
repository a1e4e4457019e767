//! All figures of the server at one moment, and the one table of their names.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ferry_wire::Code;

use super::{
    counters::{ClientState, Counters, HandshakeEnd, Protocol, RefusedFor, UserSums, VERBS},
    histogram::Histogram,
};

/// Names that no user can have.
const ANONYMOUS: &str = "(anonymous)";
const OTHERS: &str = "(others)";

/// One lane of helpers.
#[derive(Debug, Clone)]
pub(crate) struct LaneFigures {
    pub(crate) name: &'static str,
    /// Operations that wait for a helper.
    pub(crate) waiting: u64,
    /// Helpers, those at work, and those that do not come back.
    pub(crate) helpers: u64,
    pub(crate) busy: u64,
    pub(crate) written_off: u64,
    /// Operations that the file system did not answer in time.
    pub(crate) expired: u64,
    /// The time of each task: an operation, or several that are done together.
    pub(crate) tasks: Histogram,
}

/// The disk space and the ids that uploads take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StagedFigures {
    pub(crate) plain_bytes: u64,
    pub(crate) kept_bytes: u64,
    pub(crate) kept_uploads: u64,
    /// [`None`] where there is no limit.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_kept: u64,
}

/// The CRCs that the store remembers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CrcFigures {
    /// The memory that they take.
    pub(crate) bytes: u64,
    /// Bytes of files whose CRC was known, and those that were read for it.
    pub(crate) hit_bytes: u64,
    pub(crate) missed_bytes: u64,
    /// Blocks that were found to be others, though their file seemed to be the same.
    pub(crate) mismatches: u64,
}

/// The contents of small files that the store has cached.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ContentFigures {
    /// The memory that they take.
    pub(crate) bytes: u64,
    /// Small files that were cached, and those that were read.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

/// The loop itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LoopFigures {
    pub(crate) rounds: u64,
    pub(crate) busy: Duration,
    /// The longest round since the start, and in the last minute.
    pub(crate) longest_round: Duration,
    pub(crate) recent_longest_round: Duration,
    /// Bytes a second, the mean of the last minute.
    pub(crate) recent_received: u64,
    pub(crate) recent_sent: u64,
}

/// The root does not answer.
#[derive(Debug, Clone)]
pub(crate) struct RootDown {
    /// For so long.
    pub(crate) time: Duration,
    pub(crate) why: String,
}

/// All figures, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) version: &'static str,
    /// The name of this server among several.
    pub(crate) node: Option<Arc<str>>,
    pub(crate) started: SystemTime,
    pub(crate) uptime: Duration,
    pub(crate) is_draining: bool,
    /// [`None`] while the root answers.
    pub(crate) root_down: Option<RootDown>,
    pub(crate) max_clients: u64,
    /// Handshakes that go on.
    pub(crate) handshakes: u64,
    /// Logins that wait to be checked, or are.
    pub(crate) waiting_logins: u64,
    pub(crate) counters: Counters,
    pub(crate) lanes: Vec<LaneFigures>,
    pub(crate) staged: StagedFigures,
    pub(crate) crcs: CrcFigures,
    pub(crate) contents: ContentFigures,
    pub(crate) round: LoopFigures,
    pub(crate) lost_log_lines: u64,
}

#[cfg(test)]
impl Figures {
    /// Returns the figures of a server that has done a little of everything.
    pub(super) fn of_a_test() -> Figures {
        use ferry_wire::UserName;
        let mut counters = Counters::new();
        let alice = UserName::new("alice").unwrap();
        counters.transfer_ended(None, "GET", 3 << 20, None);
        counters.transfer_ended(Some(&alice), "PUT", 5000, None);
        counters.transfer_ended(Some(&alice), "GET", 100, Some(Code::NotFound));
        counters.transfer_ended(Some(&alice), "GET", 0, Some(Code::Busy));
        counters.clients[ClientState::Idle as usize] = 8;
        counters.clients[ClientState::Refused as usize] = 1;
        counters.refused(RefusedFor::ServerFull);
        (counters.received, counters.sent, counters.connected) = (123, 4 << 30, 12);
        let mut tasks = Histogram::default();
        for milliseconds in [1, 5, 50, 20_000] {
            tasks.note(Duration::from_millis(milliseconds));
        }
        let (started, uptime) =
            (SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), Duration::from_secs(93_784));
        let lane = LaneFigures { name: "read", waiting: 3, helpers: 5, busy: 4, written_off: 1, expired: 2, tasks };
        let longest_round = Duration::from_millis(12);
        let recent_longest_round = Duration::from_micros(250);
        Figures {
            version: "1.2.3",
            node: None,
            started,
            uptime,
            is_draining: false,
            root_down: None,
            max_clients: 100,
            handshakes: 2,
            waiting_logins: 0,
            counters,
            lanes: vec![lane],
            staged: StagedFigures { plain_bytes: 4096, max_kept: 10_000, ..StagedFigures::default() },
            contents: ContentFigures { bytes: 5 << 20, hits: 7, misses: 2 },
            crcs: CrcFigures { bytes: 600, hit_bytes: 3 << 20, missed_bytes: 1 << 20, mismatches: 0 },
            round: LoopFigures {
                rounds: 7,
                busy: Duration::from_secs(938),
                longest_round,
                recent_longest_round,
                recent_received: 512,
                recent_sent: 3 << 20,
            },
            lost_log_lines: 0,
        }
    }
}

/// The kind of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows.
    Counter,
    Gauge,
    Histogram,
    /// Facts, as labels.
    Info,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Count(u64),
    /// Of a limit that is none.
    Unlimited,
    Seconds(Duration),
    /// Boxed: there are few.
    Histogram(Box<Histogram>),
}

/// A value, and the labels that it has beside others of its family.
pub(crate) type Sample<'a> = (Vec<(&'static str, Cow<'a, str>)>, Value);

/// Figures of one name.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) samples: Vec<Sample<'a>>,
}

/// Gathers families.
struct Table<'a>(Vec<Family<'a>>);

impl<'a> Table<'a> {
    fn add(&mut self, kind: Kind, name: &'static str, help: &'static str, samples: Vec<Sample<'a>>) {
        self.0.push(Family { name, kind, help, samples });
    }

    fn counter(&mut self, name: &'static str, help: &'static str, count: u64) {
        self.add(Kind::Counter, name, help, vec![(Vec::new(), Value::Count(count))]);
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, count: u64) {
        self.add(Kind::Gauge, name, help, vec![(Vec::new(), Value::Count(count))]);
    }

    fn seconds(&mut self, kind: Kind, name: &'static str, help: &'static str, time: Duration) {
        self.add(kind, name, help, vec![(Vec::new(), Value::Seconds(time))]);
    }

    /// Adds a family with one label.
    fn by(
        &mut self,
        kind: Kind,
        (name, label): (&'static str, &'static str),
        help: &'static str,
        counts: impl Iterator<Item = (Cow<'a, str>, u64)>,
    ) {
        let samples = counts.map(|(text, count)| (vec![(label, text)], Value::Count(count))).collect();
        self.add(kind, name, help, samples);
    }
}

fn named<'a, const N: usize>(names: [&'a str; N], counts: [u64; N]) -> impl Iterator<Item = (Cow<'a, str>, u64)> {
    names.into_iter().map(Cow::Borrowed).zip(counts)
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

impl Figures {
    /// Returns all figures with their names: at most some 600 values, for any number of users.
    pub(crate) fn families(&self) -> Vec<Family<'_>> {
        let mut table = Table(Vec::new());
        self.add_server(&mut table);
        self.add_clients(&mut table);
        self.add_transfers(&mut table);
        self.add_users(&mut table);
        self.add_store(&mut table);
        self.add_lanes(&mut table);
        self.add_loop(&mut table);
        table.0
    }

    fn add_server<'a>(&'a self, table: &mut Table<'a>) {
        let Counters { reloads, failed_reloads, reloaded, scrapes, .. } = &self.counters;
        let mut labels = vec![("version", self.version.into())];
        labels.extend(self.node.as_deref().map(|node| ("node", node.into())));
        let help = "The version of this server, and its name if it has one.";
        table.add(Kind::Info, "ferryd_build_info", help, vec![(labels, Value::Count(1))]);
        let started = since_epoch(self.started);
        table.seconds(Kind::Gauge, "ferryd_start_time_seconds", "When the server was started, in Unix time.", started);
        table.seconds(Kind::Gauge, "ferryd_uptime_seconds", "Time since the start.", self.uptime);
        table.gauge("ferryd_draining", "1 while the server ends, else 0.", self.is_draining.into());
        let help = "1 while the root answers a look at it within a second, else 0.";
        table.gauge("ferryd_root_up", help, self.root_down.is_none().into());
        table.by(
            Kind::Counter,
            ("ferryd_reloads_total", "outcome"),
            "Reloads of what can change while the server runs.",
            named(["ok", "failed"], [*reloads, *failed_reloads]),
        );
        table.seconds(
            Kind::Gauge,
            "ferryd_last_reload_success_timestamp_seconds",
            "When a reload last succeeded, in Unix time; 0 where none has.",
            reloaded.map_or(Duration::ZERO, since_epoch),
        );
        table.counter("ferryd_scrapes_total", "Pages of these metrics that were made.", *scrapes);
        table.counter(
            "ferryd_log_lines_lost_total",
            "Lines that a log could not take, counted once for each output.",
            self.lost_log_lines,
        );
    }

    fn add_clients<'a>(&'a self, table: &mut Table<'a>) {
        let Counters { clients, connected, refused, handshakes, logins, received, sent, .. } = &self.counters;
        let states = ClientState::ALL.map(|(_, name)| name);
        let by_state = named(states, *clients).chain([("handshake".into(), self.handshakes)]);
        table.by(Kind::Gauge, ("ferryd_clients", "state"), "Clients that are connected, by what they do.", by_state);
        table.gauge("ferryd_clients_limit", "Clients that may be served at one time.", self.max_clients);
        table.counter("ferryd_connections_total", "Connections that became clients.", *connected);
        let protocols = || Protocol::NAMES.into_iter().map(Cow::Borrowed).zip(&self.counters.protocols);
        let clients = protocols().map(|(name, sums)| (name, sums.clients));
        let help = "Clients that are connected, by what they speak.";
        table.by(Kind::Gauge, ("ferryd_protocol_clients", "protocol"), help, clients);
        let connected = protocols().map(|(name, sums)| (name, sums.connected));
        let help = "Connections that became clients, by what they speak.";
        table.by(Kind::Counter, ("ferryd_protocol_connections_total", "protocol"), help, connected);
        table.by(
            Kind::Counter,
            ("ferryd_refused_connections_total", "reason"),
            "Connections that were not served.",
            named(RefusedFor::NAMES, *refused),
        );
        table.by(
            Kind::Counter,
            ("ferryd_handshakes_total", "outcome"),
            "TLS handshakes that have ended.",
            named(HandshakeEnd::NAMES, *handshakes),
        );
        table.by(
            Kind::Counter,
            ("ferryd_logins_total", "outcome"),
            "Logins that were checked (ok, failed), and those for which too many waited (busy).",
            named(["ok", "failed", "busy"], *logins),
        );
        table.gauge("ferryd_logins_waiting", "Logins that wait to be checked, or are.", self.waiting_logins);
        let (in_help, out_help) =
            ("Bytes from clients, without what TLS adds.", "Bytes to clients, without what TLS adds.");
        table.counter("ferryd_received_bytes_total", in_help, *received);
        table.counter("ferryd_sent_bytes_total", out_help, *sent);
        let LoopFigures { recent_received, recent_sent, .. } = self.round;
        let help = "Bytes from clients a second, the mean of the last minute.";
        table.gauge("ferryd_recent_received_bytes_per_second", help, recent_received);
        let help = "Bytes to clients a second, the mean of the last minute.";
        table.gauge("ferryd_recent_sent_bytes_per_second", help, recent_sent);
    }

    fn add_transfers<'a>(&'a self, table: &mut Table<'a>) {
        let Counters { downloads, uploads, verbs, codes, rate_waits, rate_waited, .. } = &self.counters;
        table.by(
            Kind::Gauge,
            ("ferryd_transfers_active", "direction"),
            "Transfers that are under way, uploads that wait for the disk included.",
            named(["download", "upload"], [*downloads, *uploads]),
        );
        let by_verb = || VERBS.into_iter().chain(["other"]).zip(verbs);
        let ended = by_verb().flat_map(|(verb, sums)| {
            let outcomes = [("ok", sums.done), ("failed", sums.failed)];
            outcomes
                .map(|(outcome, count)| (vec![("verb", verb.into()), ("outcome", outcome.into())], Value::Count(count)))
        });
        let help = "Transfers and changes that have ended.";
        table.add(Kind::Counter, "ferryd_transfers_total", help, ended.collect());
        table.by(
            Kind::Counter,
            ("ferryd_transferred_bytes_total", "verb"),
            "Bytes of files that were moved, or read for a SUM, those of failed transfers included.",
            by_verb().map(|(verb, sums)| (verb.into(), sums.bytes)),
        );
        let protocols = || Protocol::NAMES.into_iter().zip(&self.counters.protocols);
        let ended = protocols().flat_map(|(protocol, sums)| {
            [("ok", sums.done), ("failed", sums.failed)].map(|(outcome, count)| {
                (vec![("protocol", protocol.into()), ("outcome", outcome.into())], Value::Count(count))
            })
        });
        let help = "Transfers and changes that have ended, by protocol.";
        table.add(Kind::Counter, "ferryd_protocol_transfers_total", help, ended.collect());
        table.by(
            Kind::Counter,
            ("ferryd_protocol_transferred_bytes_total", "protocol"),
            "Bytes of files that were moved, by protocol.",
            protocols().map(|(protocol, sums)| (protocol.into(), sums.bytes)),
        );
        let by_code = Code::ALL.iter().chain([&Code::Unknown]).map(|code| code.as_str().into()).zip(*codes);
        table.by(
            Kind::Counter,
            ("ferryd_failures_total", "code"),
            "Transfers and changes that failed, by the code that the client got.",
            by_code,
        );
        table.counter("ferryd_rate_waits_total", "Times that a client waited for a rate.", *rate_waits);
        table.seconds(
            Kind::Counter,
            "ferryd_rate_wait_seconds_total",
            "Time that clients waited for a rate, all together.",
            *rate_waited,
        );
    }

    fn add_users<'a>(&'a self, table: &mut Table<'a>) {
        type Column = (&'static str, &'static str, fn(&UserSums) -> u64);
        let columns: [Column; 4] = [
            ("ferryd_user_transfers_total", "Transfers and changes that have ended, by user.", |sums| sums.transfers),
            ("ferryd_user_failed_transfers_total", "Transfers and changes that failed, by user.", |sums| sums.failed),
            ("ferryd_user_downloaded_bytes_total", "Bytes of files that went to a user.", |sums| sums.downloaded),
            ("ferryd_user_uploaded_bytes_total", "Bytes of files that came from a user.", |sums| sums.uploaded),
        ];
        let users = self.users();
        for (name, help, of) in columns {
            let counts = users.iter().map(|(user, sums)| (Cow::Borrowed(*user), of(sums)));
            table.by(Kind::Counter, (name, "user"), help, counts);
        }
    }

    /// Returns the sums of users: those who have some of their own in the order of their names,
    /// those of all others, and of clients that have not logged in.
    pub(super) fn users(&self) -> Vec<(&str, UserSums)> {
        let Counters { users, anonymous, other_users, .. } = &self.counters;
        let mut sums: Vec<_> = users.iter().map(|(user, sums)| (user.as_str(), *sums)).collect();
        sums.sort_unstable_by_key(|(user, _)| *user);
        sums.extend([(ANONYMOUS, *anonymous), (OTHERS, *other_users)]);
        sums
    }

    fn add_store<'a>(&'a self, table: &mut Table<'a>) {
        let StagedFigures { plain_bytes, kept_bytes, kept_uploads, max_bytes, max_kept } = self.staged;
        table.gauge(
            "ferryd_staged_bytes",
            "Disk space of unfinished uploads that can't be resumed, that set aside included.",
            plain_bytes,
        );
        table.gauge("ferryd_kept_bytes", "Disk space of resumable uploads that are not published.", kept_bytes);
        table.gauge(
            "ferryd_kept_uploads",
            "Resumable uploads that are remembered, those published within the last hour included.",
            kept_uploads,
        );
        let limit = max_bytes.map_or(Value::Unlimited, Value::Count);
        let limit_help = "The limit on staged and kept bytes together; infinite where there is none.";
        table.add(Kind::Gauge, "ferryd_staged_limit_bytes", limit_help, vec![(Vec::new(), limit)]);
        table.gauge("ferryd_kept_uploads_limit", "The limit on kept uploads.", max_kept);
        let ContentFigures { bytes, hits, misses } = self.contents;
        table.gauge("ferryd_small_cache_bytes", "Memory that cached contents of small files take.", bytes);
        table.by(
            Kind::Counter,
            ("ferryd_small_files_total", "source"),
            "Files of up to 64 KiB that were asked for and cached, and those that were read.",
            named(["cached", "read"], [hits, misses]),
        );
        let CrcFigures { bytes, hit_bytes, missed_bytes, mismatches } = self.crcs;
        table.gauge("ferryd_crc_cache_bytes", "Memory that remembered CRCs take.", bytes);
        table.by(
            Kind::Counter,
            ("ferryd_crc_bytes_total", "source"),
            "Bytes of files of 64 KiB and more whose CRC was known (remembered), and those that were read for it (read).",
            named(["remembered", "read"], [hit_bytes, missed_bytes]),
        );
        table.counter(
            "ferryd_crc_mismatches_total",
            "Blocks of files that were found to be others than before, though their times were the same.",
            mismatches,
        );
    }

    fn add_lanes<'a>(&'a self, table: &mut Table<'a>) {
        type Column = (&'static str, &'static str, fn(&LaneFigures) -> u64);
        let columns: [Column; 4] = [
            ("ferryd_helper_queue_operations", "Operations that wait for a helper.", |lane| lane.waiting),
            ("ferryd_helpers", "Helpers: threads that wait for the disk.", |lane| lane.helpers),
            ("ferryd_helpers_busy", "Helpers at work.", |lane| lane.busy),
            ("ferryd_helpers_written_off", "Helpers that do not come back from the file system.", |lane| {
                lane.written_off
            }),
        ];
        for (name, help, of) in columns {
            let counts = self.lanes.iter().map(|lane| (Cow::Borrowed(lane.name), of(lane)));
            table.by(Kind::Gauge, (name, "lane"), help, counts);
        }
        table.by(
            Kind::Counter,
            ("ferryd_operations_expired_total", "lane"),
            "Operations that the file system did not answer in time, or that would have waited for it: their clients were told `busy`.",
            self.lanes.iter().map(|lane| (Cow::Borrowed(lane.name), lane.expired)),
        );
        let tasks = self.lanes.iter().map(|lane| {
            let labels = vec![("lane", Cow::Borrowed(lane.name))];
            (labels, Value::Histogram(Box::new(lane.tasks.clone())))
        });
        table.add(
            Kind::Histogram,
            "ferryd_helper_task_seconds",
            "Time of a helper's task: an operation of the file system, or several that are done together.",
            tasks.collect(),
        );
    }

    fn add_loop<'a>(&'a self, table: &mut Table<'a>) {
        let LoopFigures { rounds, busy, longest_round, recent_longest_round, .. } = self.round;
        table.counter("ferryd_loop_rounds_total", "Rounds of the loop.", rounds);
        table.seconds(Kind::Counter, "ferryd_loop_busy_seconds_total", "Time that the loop worked.", busy);
        table.seconds(
            Kind::Gauge,
            "ferryd_loop_longest_round_seconds",
            "The longest time that the loop was away from its clients, since the start.",
            longest_round,
        );
        table.seconds(
            Kind::Gauge,
            "ferryd_loop_recent_longest_round_seconds",
            "The longest time that the loop was away from its clients, in the last minute.",
            recent_longest_round,
        );
    }
}
