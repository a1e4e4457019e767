//! Logging: `log` and simplelog in front, a [sink](super::sink) for each output behind.
//!
//! The loop logs, and must never wait for a terminal that is scrolled back or a disk that is busy. So
//! simplelog hands whole lines to the sinks, and threads of their own write them.
//!
//! A server that sends a hundred thousand small files in a second logs as many lines. So a line is
//! made in memory that is used again, and its date is worked out once a second. The thread is not
//! woken for each: lines that come while it writes, or soon after, are written together.

use std::{
    cell::RefCell,
    fmt::{Display, Write as _},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime},
};

use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, ConfigBuilder, SharedLogger, WriteLogger};

use super::{
    LogFileError, TransferLog, TransferLogForm,
    log_file::LogFile,
    sink::{CountLost, Event, Output, Reopened, Sink},
    text::{Rfc3339, push_cut, push_escaped},
};
use crate::units::counted;

/// The longest message of a line in bytes, before it is escaped; more is cut.
const MESSAGE_BYTES: usize = 4 << 10;

/// The longest time that a reload waits for log files to be opened anew.
const REOPENING: Duration = Duration::from_secs(5);

/// The longest time that the end waits for terminals and disks to take the last lines.
const LAST_LINES: Duration = Duration::from_millis(400);

/// The destinations of the logs.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The file of the server's own log, beside the terminal.
    pub file: Option<PathBuf>,
    /// The file of the transfer log, and the form of its lines; [`None`] where they are the
    /// server's own log's.
    pub transfer_log: Option<(PathBuf, TransferLogForm)>,
    /// The name of this server among several, for forms that have a place for it.
    pub node: Option<Arc<str>>,
}

/// The log files, open.
#[derive(Debug)]
pub struct OpenLogs {
    file: Option<LogFile>,
    transfer_log: Option<(LogFile, TransferLogForm)>,
    node: Option<Arc<str>>,
}

/// The logs as the loop has them.
#[derive(Debug)]
pub struct Logs {
    pub(crate) files: LogFiles,
    pub(crate) transfer_log: TransferLog,
}

/// All outputs of the logs, whose files are opened anew when they were rotated.
#[derive(Debug)]
pub struct LogFiles {
    sinks: Vec<Arc<Sink>>,
    rotated: Vec<RotatedFile>,
}

/// A log file that can be rotated.
#[derive(Debug)]
struct RotatedFile {
    name: FileName,
    sink: Arc<Sink>,
}

/// The name of a log file for people.
#[derive(Debug, Clone)]
struct FileName {
    /// Such as "the transfer log".
    what: &'static str,
    path: String,
}

/// Log files that are being opened anew.
#[derive(Debug)]
pub(crate) struct Reopening(Vec<(FileName, Receiver<Reopened>)>);

/// Keeps the last lines from being lost: dropping it waits until all are written, up to a limit.
#[derive(Debug)]
pub struct LogGuard {
    sinks: Vec<Arc<Sink>>,
}

impl LogOptions {
    /// Opens the log files.
    ///
    /// # Errors
    ///
    /// Where one can't be opened, or both are one.
    pub fn open(&self) -> Result<OpenLogs, LogFileError> {
        let file = self.file.as_deref().map(LogFile::open).transpose()?;
        let transfer_log = match &self.transfer_log {
            Some((path, form)) => Some((LogFile::open(path)?, *form)),
            None => None,
        };
        if let (Some(file), Some((transfer_log, _))) = (&file, &transfer_log)
            && file.is_same_as(transfer_log)
        {
            let why = "it is the file of --log-file; without --transfer-log its lines go there";
            return Err(transfer_log.refused(why));
        }
        Ok(OpenLogs { file, transfer_log, node: self.node.clone() })
    }
}

impl LogOptions {
    /// Looks whether the log files could be opened, and changes nothing. Returns each, or why it
    /// could not be.
    pub fn probe(&self) -> impl Iterator<Item = Result<&Path, LogFileError>> {
        let paths = self.file.iter().chain(self.transfer_log.iter().map(|(path, _)| path));
        paths.map(|path| LogFile::probe(path).map(|()| path.as_path()))
    }
}

impl OpenLogs {
    /// Returns the directories through which the files are opened anew.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let files = self.file.iter().chain(self.transfer_log.iter().map(|(file, _)| file));
        files.flat_map(LogFile::directories).collect()
    }

    /// Logs lines of `level` and above to the terminal (standard error) and to the files from here
    /// on. An error of a file is logged, once until writing works again.
    ///
    /// # Errors
    ///
    /// Where a thread can't be started.
    pub fn start(self, level: LevelFilter) -> io::Result<(LogGuard, Logs)> {
        // There is nobody to tell that the terminal can't be written to.
        let terminal = Sink::start(Terminal, count_lost(), |_| {})?;
        let mut rotated = Vec::new();
        let own = self.file.map(|file| start_file(file, "the log file", count_lost(), &mut rotated)).transpose()?;
        // The terminal last: errors of the files are logged there.
        let mut sinks: Vec<_> = own.into_iter().chain([terminal]).collect();
        set_logger(&sinks)?;
        set_level(level);
        let transfer_log = match self.transfer_log {
            None => TransferLog::in_own_log(),
            Some((file, form)) => {
                let count_lost = form.count_lost(self.node.clone());
                let sink = start_file(file, "the transfer log", count_lost, &mut rotated)?;
                sinks.insert(0, sink.clone());
                TransferLog::in_file(sink, form, self.node)
            }
        };
        let files = LogFiles { sinks: sinks.clone(), rotated };
        Ok((LogGuard { sinks }, Logs { files, transfer_log }))
    }
}

impl LogFiles {
    /// Asks the writers to open all log files anew by their paths, and does not wait. The result is
    /// logged; a file that can't be opened stays as it was.
    pub(crate) fn reopen(&self) -> Reopening {
        Reopening(self.rotated.iter().map(|file| (file.name.clone(), file.sink.reopen())).collect())
    }

    /// Returns how many records all outputs together could not take, since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.lost()).sum()
    }
}

impl Reopening {
    /// Waits until all are open anew, for 5 seconds at most. Returns a line for each that is not.
    pub(crate) fn wait(self) -> Vec<String> {
        self.wait_until(Instant::now() + REOPENING)
    }

    fn wait_until(self, until: Instant) -> Vec<String> {
        let failures = self.0.into_iter().map(|(name, reopened)| {
            match reopened.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(reopened) => reopened.err().map(|error| name.not_reopened(&error)),
                Err(RecvTimeoutError::Timeout) => Some(name.not_reopened(&"its file system does not answer yet")),
                Err(RecvTimeoutError::Disconnected) => Some(name.not_reopened(&"its writer has ended")),
            }
        });
        failures.flatten().collect()
    }
}

impl FileName {
    fn not_reopened(&self, why: &dyn Display) -> String {
        format!("{} can't be opened again: {}: {why}; it goes on in the file that was open", self.what, self.path)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let until = Instant::now() + LAST_LINES;
        self.sinks.iter().for_each(|sink| sink.hurry());
        for sink in &self.sinks {
            sink.write_soon(until.saturating_duration_since(Instant::now()));
        }
    }
}

/// Logs lines of `level` and above from here on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Starts the writer of a file, and adds it to those that are `rotated` if it is one. Its events are
/// logged.
fn start_file(
    file: LogFile,
    what: &'static str,
    count_lost: CountLost,
    rotated: &mut Vec<RotatedFile>,
) -> io::Result<Arc<Sink>> {
    let (is_rotated, name) = (file.is_rotated(), FileName { what, path: file.path().display().to_string() });
    let named = name.clone();
    let sink = Sink::start(file, count_lost, move |event| {
        let FileName { what, path } = &named;
        match event {
            Event::Fails(error) => {
                log::error!(
                    "{what} can't be written: {path}: {error}; lines wait until it can be, and are lost if that takes \
                     long"
                );
            }
            Event::WorksAgain => log::warn!("{what} can be written again: {path}"),
            Event::Reopened => log::info!("{what} was opened again: {path}"),
            Event::NotReopened(error) => log::error!("{}", named.not_reopened(error)),
        }
    })?;
    rotated.extend(is_rotated.then(|| RotatedFile { name, sink: sink.clone() }));
    Ok(sink)
}

/// Returns what a log says of lines that are not in it.
pub(super) fn missing(lost: u64) -> String {
    let (are, they) = if lost == 1 { ("is", "it") } else { ("are", "they") };
    format!("{} {are} missing here: {they} came faster than could be written", counted(lost, "line"))
}

/// Returns the function that makes the log's line with the number of lost lines.
fn count_lost() -> CountLost {
    let mut times = Rfc3339::default();
    Box::new(move |lost| {
        let mut line = String::new();
        times.push(&mut line, SystemTime::now());
        let _ = writeln!(line, " [WARN] {}", missing(lost));
        line
    })
}

/// Directs the lines of the whole process to `sinks`.
fn set_logger(sinks: &[Arc<Sink>]) -> io::Result<()> {
    // The lines come to simplelog as they are to be written, and `log` leaves out those of other levels.
    let config = ConfigBuilder::new()
        .set_time_level(LevelFilter::Off)
        .set_max_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    let logger = |sink: &Arc<Sink>| -> Box<dyn SharedLogger> {
        WriteLogger::new(LevelFilter::Trace, config.clone(), Lines { sink: sink.clone(), line: Vec::new() })
    };
    let combined = Escaping(CombinedLogger::new(sinks.iter().map(logger).collect()));
    log::set_boxed_logger(Box::new(combined)).map_err(|_| io::Error::other("logging was set up before"))
}

/// Standard error.
struct Terminal;

impl Output for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().write(bytes)
    }

    fn take_back(&mut self, _: usize) -> bool {
        false
    }

    fn reopen(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

/// The one place that every line goes through. It adds time and level, cuts what is too long, and
/// escapes control characters, since peers choose parts of the text.
struct Escaping(Box<CombinedLogger>);

impl Log for Escaping {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        DRAFT.with(|draft| {
            // Taken, not borrowed: an argument's Display might log.
            let mut draft = draft.take().unwrap_or_default();
            let line = draft.write(SystemTime::now(), record);
            let mut safe = Record::builder();
            safe.metadata(record.metadata().clone());
            self.0.log(&safe.args(format_args!("{line}")).build());
            DRAFT.set(Some(draft));
        });
    }

    fn flush(&self) {
        self.0.flush();
    }
}

thread_local! {
    static DRAFT: RefCell<Option<Draft>> = const { RefCell::new(None) };
}

/// The memory in which a thread makes its lines.
#[derive(Debug, Default)]
struct Draft {
    line: String,
    message: String,
    cut: String,
    times: Rfc3339,
}

impl Draft {
    fn write(&mut self, now: SystemTime, record: &Record<'_>) -> &str {
        let Draft { line, message, cut, times } = self;
        line.clear();
        message.clear();
        times.push(line, now);
        line.push_str(" [");
        line.push_str(record.level().as_str());
        line.push_str("] ");
        // Writing to a String can't fail, but a Display may.
        if write!(message, "{}", record.args()).is_err() {
            message.push_str(" (and more that could not be shown)");
        }
        if message.len() > MESSAGE_BYTES {
            cut.clear();
            push_cut(cut, message, MESSAGE_BYTES);
            std::mem::swap(cut, message);
        }
        push_escaped(line, message);
        line
    }
}

/// Gathers what simplelog writes piece by piece into lines.
struct Lines {
    sink: Arc<Sink>,
    line: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.ends_with(b"\n") {
            self.sink.take(&self.line);
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.write_soon(LAST_LINES / 4);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    fn drafted(draft: &mut Draft, seconds: f64, text: &str) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
        let args = format_args!("{text}");
        draft.write(now, &Record::builder().level(Level::Info).args(args).build()).to_owned()
    }

    #[test]
    fn a_line_says_when_and_how_serious_and_drives_no_terminal() {
        let mut draft = Draft::default();
        for (seconds, text, line) in [
            (1_700_000_000.5, "plain", "2023-11-14T22:13:20.500000000Z [INFO] plain"),
            (1_700_000_000.75, "\u{1b}[2J", "2023-11-14T22:13:20.750000000Z [INFO] \\u{1b}[2J"),
            (1_700_000_001.0, "b\nGrüße\u{202e}", "2023-11-14T22:13:21.000000000Z [INFO] b\\u{a}Grüße\\u{202e}"),
        ] {
            assert_eq!(drafted(&mut draft, seconds, text), line);
        }
        let long = drafted(&mut draft, 0.0, &"x".repeat(MESSAGE_BYTES + 1));
        assert!(long.len() < MESSAGE_BYTES + 100 && long.ends_with("x... (4097 bytes)"), "{long}");
    }

    #[test]
    fn lines_that_are_missing_are_a_line() {
        let line = count_lost()(7);
        assert!(line.contains("Z [WARN] 7 lines are missing here: ") && line.ends_with('\n'), "{line}");
    }
}
