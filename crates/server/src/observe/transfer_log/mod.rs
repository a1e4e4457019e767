//! The log of transfers, changes and logins: a line for each, up to a [budget] for each address.
//!
//! Beyond the budget they are counted, and summed up in one line a second. The lines are the
//! server's own log's, or go to a file of their own in a [form](TransferLogForm) that programs
//! read. Why connections come to nothing is always a line of the server's own log, within the same
//! budget.

mod budget;
mod json;
mod plain;
mod xferlog;

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ferry_wire::{Failure, UserName};

use super::sink::{CountLost, Sink};
use budget::{Budget, Kind, Sum};

/// The longest name, or reason of a failure, in bytes; more is cut.
const TEXT_BYTES: usize = 256;

/// The form of the lines in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferLogForm {
    /// As in the server's own log.
    Plain,
    /// An object a line.
    Json,
    /// As wu-ftpd writes them.
    Xferlog,
}

impl TransferLogForm {
    fn begin(self, node: Option<Arc<str>>) -> Box<dyn Form> {
        match self {
            TransferLogForm::Plain => Box::new(plain::Plain::default()),
            TransferLogForm::Json => Box::new(json::Json::new(node)),
            TransferLogForm::Xferlog => Box::new(xferlog::Xferlog::default()),
        }
    }

    /// Returns what makes the line that says how many are missing, at the server `node` of several.
    pub(super) fn count_lost(self, node: Option<Arc<str>>) -> CountLost {
        let mut form = self.begin(node);
        Box::new(move |lost| {
            let mut line = String::new();
            form.lost(&mut line, SystemTime::now(), lost);
            line.push('\n');
            line
        })
    }
}

/// Writes lines in one form, each without its end.
trait Form: fmt::Debug + Send {
    /// Appends the line of an entry. False where the form has no words for it.
    fn entry(&mut self, line: &mut String, now: SystemTime, client: Client<'_>, entry: &TransferEntry) -> bool;

    /// Appends the line of entries that were left out. False where the form has no words for it.
    fn sum(&mut self, line: &mut String, now: SystemTime, sum: &Sum) -> bool;

    /// Appends the line that says how many lines are missing.
    fn lost(&mut self, line: &mut String, now: SystemTime, lost: u64);
}

/// The client of an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) peer: SocketAddr,
    /// The user who has logged in.
    pub(crate) user: Option<&'a UserName>,
}

/// One transfer, change or login that has ended, but for its client.
#[derive(Debug, Clone)]
pub(crate) struct TransferEntry {
    /// The verb of the request.
    pub(crate) verb: &'static str,
    /// The name, as the client gave it: the two of a RENAME with `//` between them, the user's of a LOGIN.
    pub(crate) name: Arc<str>,
    /// File bytes that were moved; [`None`] for what moves none.
    pub(crate) bytes: Option<u64>,
    /// The offset of the first of them: the number of bytes that were there before.
    pub(crate) resumed: u64,
    pub(crate) duration: Duration,
    /// Why it failed, where it did.
    pub(crate) failure: Option<Failure>,
    /// The status of the answer, where it was one of HTTP.
    pub(crate) status: Option<u16>,
}

/// Where the lines go.
#[derive(Debug)]
enum Target {
    /// The server's own log.
    OwnLog,
    File {
        sink: Arc<Sink>,
        form: Box<dyn Form>,
    },
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct TransferLog {
    budget: Budget,
    target: Target,
    line: String,
}

impl TransferLog {
    /// Returns one whose lines are the server's own log's.
    pub(super) fn in_own_log() -> TransferLog {
        TransferLog { budget: Budget::default(), target: Target::OwnLog, line: String::new() }
    }

    /// Returns one whose lines go to a file of that form, at the server `node` of several.
    pub(super) fn in_file(sink: Arc<Sink>, form: TransferLogForm, node: Option<Arc<str>>) -> TransferLog {
        let target = Target::File { sink, form: form.begin(node) };
        TransferLog { budget: Budget::default(), target, line: String::new() }
    }

    /// Returns whether entries are logged at all.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.target, Target::File { .. }) || log::log_enabled!(log::Level::Info)
    }

    /// Logs the entries of a client.
    pub(crate) fn note(&mut self, client: Client<'_>, entries: impl Iterator<Item = TransferEntry>, now: Instant) {
        for entry in entries {
            if let Some(left_out) = self.budget.charge(client.peer.ip(), Kind::of(&entry), now) {
                left_out.failed += u64::from(entry.failure.is_some());
                left_out.bytes += entry.bytes.unwrap_or(0);
                continue;
            }
            self.write(
                |form, line, now| form.entry(line, now, client, &entry),
                |line| plain::push_entry(line, client, &entry),
            );
        }
    }

    /// Logs why a connection came to nothing: a failed handshake, or bytes of another protocol.
    pub(crate) fn note_failure(&mut self, peer: SocketAddr, why: &dyn fmt::Display, now: Instant) {
        if self.budget.charge(peer.ip(), Kind::Failures, now).is_none() {
            log::info!("{peer}: {why}");
        }
    }

    /// Returns when something is to be summed up.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.budget.next_at()
    }

    /// Sums up the entries that were left out, as far as they are due at `now`; all of them where
    /// that is [`None`].
    pub(crate) fn sum_up(&mut self, now: Option<Instant>) {
        while let Some(sum) = self.budget.take_sum(now) {
            let in_file = sum.kind != Kind::Failures;
            self.write(|form, line, now| in_file && form.sum(line, now, &sum), |line| plain::push_sum(line, &sum));
        }
    }

    /// Writes a line to the file, or to the server's own log where there is no file or its form has
    /// no words for it.
    fn write(
        &mut self,
        to_file: impl FnOnce(&mut dyn Form, &mut String, SystemTime) -> bool,
        to_own_log: impl FnOnce(&mut String),
    ) {
        let line = &mut self.line;
        line.clear();
        if let Target::File { sink, form } = &mut self.target
            && to_file(form.as_mut(), line, SystemTime::now())
        {
            line.push('\n');
            sink.take(line.as_bytes());
        } else if log::log_enabled!(log::Level::Info) {
            to_own_log(line);
            log::info!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use ferry_wire::Code;

    use super::{
        budget::{LeftOut, Source},
        *,
    };

    pub(super) fn entry(verb: &'static str, bytes: Option<u64>) -> TransferEntry {
        let duration = Duration::from_micros(1_250);
        TransferEntry { verb, name: "a".into(), bytes, resumed: 0, duration, failure: None, status: None }
    }

    pub(super) fn failed(entry: TransferEntry, message: &'static str) -> TransferEntry {
        TransferEntry { failure: Some(Failure::new(Code::Exists, message)), ..entry }
    }

    pub(super) fn nobody() -> Client<'static> {
        Client { peer: SocketAddr::from(([127, 0, 0, 1], 7)), user: None }
    }

    pub(super) fn user(name: &str) -> UserName {
        UserName::new(name).unwrap()
    }

    pub(super) fn sum(kind: Kind) -> Sum {
        let source = Source::V4([10, 0, 0, 1].into());
        Sum { source, kind, left_out: LeftOut { lines: 9, failed: 2, bytes: 90 } }
    }

    #[test]
    fn a_file_has_the_lines_and_the_sums_of_those_beyond_the_budget() {
        for (form, line, summed) in [
            (
                TransferLogForm::Plain,
                "127.0.0.1:7: GET a: 10 bytes in ",
                "127.0.0.1: 500 downloads and sums more, 0 of ",
            ),
            (
                TransferLogForm::Json,
                "\"GET\",\"address\":\"127.0.0.1\",\"port\":7,",
                "\"count\":500,\"failed\":0,\"bytes\":5000}",
            ),
            (
                TransferLogForm::Xferlog,
                "1 127.0.0.1 10 /a b _ o a",
                "1 127.0.0.1 5000 /(500_downloads_and_sums_more,_0_of",
            ),
        ] {
            let sink = Arc::new(Sink::new());
            let (mut log, now) = (TransferLog::in_file(sink.clone(), form, None), Instant::now());
            assert!(log.is_on());
            log.note(nobody(), (0..1_500).map(|_| entry("GET", Some(10))), now);
            log.note(nobody(), [entry("DELETE", None)].into_iter(), now);
            assert!(log.next_at().is_some());
            log.sum_up(Some(now));
            let lines = sink.take_waiting();
            assert_eq!(lines.len(), 1_001, "{form:?}");
            assert!(lines[..1_000].iter().all(|shown| shown.contains(line)), "{}", lines[0]);
            log.sum_up(log.next_at());
            let sums = sink.take_waiting();
            assert!(sums.len() == 1 && sums[0].contains(summed), "{sums:?}");
            assert_eq!(log.next_at(), None);
        }
    }

    #[test]
    fn lines_that_are_missing_are_a_line_of_the_form() {
        for (form, expected) in [
            (TransferLogForm::Plain, "Z 4 lines are missing here"),
            (TransferLogForm::Json, "\"event\":\"LOST\",\"count\":4}"),
            (TransferLogForm::Xferlog, " 0 /(4_lines_are_missing_here) b _ o"),
        ] {
            let line = form.count_lost(None)(4);
            assert!(line.contains(expected) && line.ends_with('\n'), "{line}");
        }
    }
}
