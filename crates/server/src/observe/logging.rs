//! Logging: `log` and simplelog in front, one sink behind.
//!
//! The loop logs, and must never wait for a terminal that is scrolled back or a disk that is busy. So
//! the sink takes whole lines into memory, and a thread of its own writes them. If that is too slow,
//! lines are dropped and counted, and the count is logged.
//!
//! A server that sends a hundred thousand small files in a second logs as many lines. So a line is
//! made in memory that is used again, its date is worked out once a second, and the thread is not woken
//! for each: lines that come while it writes, or soon after, are written together.

use std::{
    cell::RefCell,
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use ferry_wire::escaped;
use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, ConfigBuilder, SharedLogger, WriteLogger};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Bytes of lines that wait to be written, above which new ones are dropped.
const WAITING_BYTES: usize = 1 << 20;

/// The time after each write in which lines are gathered for the next one: too short for a reader to
/// notice, and long enough that waking the writer costs a busy server nothing.
const GATHERING: Duration = Duration::from_millis(10);

/// With this many bytes waiting the writer does not gather any longer.
const GATHERED_BYTES: usize = WAITING_BYTES / 4;

/// The longest time that the end waits for a terminal or a disk to take the last lines.
const LAST_LINES: Duration = Duration::from_millis(400);

/// Keeps the last lines from being lost: dropping it waits until all are written, up to a limit.
#[derive(Debug, Default)]
pub struct LogGuard {
    sinks: Vec<Arc<Sink>>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // The terminal last: errors of the file are logged there.
        for sink in self.sinks.iter().rev() {
            sink.write_soon(LAST_LINES);
        }
    }
}

/// Opens a log file to append to. A new one is readable for its owner only.
///
/// # Errors
///
/// Where it can't be opened.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Logs lines of `level` and above to the terminal (standard error) and, where given, to a file. An error of the
/// file is logged on the terminal, once until writing works again.
///
/// # Errors
///
/// Where a thread can't be started.
pub fn start(level: LevelFilter, file: Option<File>) -> io::Result<LogGuard> {
    let mut guard = LogGuard::default();
    let mut loggers: Vec<Box<dyn SharedLogger>> = Vec::new();
    // There is nobody to tell that the terminal can't be written to.
    let mut outputs: Vec<(Box<dyn Write + Send>, Complain)> = vec![(Box::new(io::stderr()), |_| {})];
    if let Some(file) = file {
        outputs.push((Box::new(file), |error| {
            log::error!("the log file can't be written: {error}; until it can be, lines are missing there");
        }));
    }
    // The lines come to simplelog as they are to be written.
    let config = ConfigBuilder::new()
        .set_time_level(LevelFilter::Off)
        .set_max_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    for (output, failed) in outputs {
        let sink = Arc::new(Sink::default());
        guard.sinks.push(sink.clone());
        loggers.push(WriteLogger::new(level, config.clone(), Lines { sink: sink.clone(), line: Vec::new() }));
        thread::Builder::new().name("ferry-log".into()).spawn(move || sink.write_out(output, failed))?;
    }
    log::set_max_level(level);
    let combined = Escaping(CombinedLogger::new(loggers));
    log::set_boxed_logger(Box::new(combined)).map_err(|_| io::Error::other("logging was set up before"))?;
    Ok(guard)
}

/// The one place that every line goes through. It adds time and level, and escapes control characters,
/// since peers choose parts of the text.
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

/// Where a thread makes its lines.
#[derive(Debug, Default)]
struct Draft {
    line: String,
    message: String,
    /// The last second that was written, since 1970, and how it is written: up to its decimals.
    second: Option<(u64, String)>,
}

impl Draft {
    fn write(&mut self, now: SystemTime, record: &Record<'_>) -> &str {
        let Draft { line, message, second } = self;
        line.clear();
        message.clear();
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (_, date) = match second.take() {
            Some((last, date)) if last == since_epoch.as_secs() => second.insert((last, date)),
            _ => second.insert((since_epoch.as_secs(), date_of(since_epoch.as_secs()))),
        };
        line.push_str(date);
        line.push('.');
        push_number(line, since_epoch.subsec_nanos().into(), 9);
        line.push_str("Z [");
        line.push_str(record.level().as_str());
        line.push_str("] ");
        // Writing to a String can't fail, but a Display may.
        if write!(message, "{}", record.args()).is_err() {
            message.push_str(" (and more that could not be shown)");
        }
        // By far most are plain. All bytes are looked at, since that is quicker than to stop early.
        match message.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
            true => line.push_str(message),
            false => line.push_str(&escaped(message).to_string()),
        }
        line
    }
}

/// Appends `number` with at least `digits` digits, 1 to 20: without the machinery of format strings,
/// which a line of the log would spend most of its time in.
pub(super) fn push_number(text: &mut String, mut number: u64, digits: usize) {
    let mut shown = [b'0'; 20];
    let mut first = shown.len();
    while number > 0 {
        first -= 1;
        shown[first] += (number % 10) as u8;
        number /= 10;
    }
    let first = first.min(shown.len().saturating_sub(digits));
    text.push_str(std::str::from_utf8(&shown[first..]).unwrap_or_default());
}

/// The date and time of a second in UTC, as in RFC 3339, without its zone.
fn date_of(second: u64) -> String {
    let time = i64::try_from(second).ok().and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
    text.trim_end_matches('Z').to_owned()
}

/// Says that an output can't be written to.
type Complain = fn(&io::Error);

#[derive(Debug, Default)]
struct Sink {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    dropped: u64,
    /// Bytes waiting or being written.
    unwritten: usize,
    /// The writer sleeps until it is woken.
    asleep: bool,
    /// Nothing is gathered any more.
    hurried: bool,
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all is written, but for no longer than `most`.
    fn write_soon(&self, most: Duration) {
        let mut state = self.lock();
        state.hurried = true;
        self.filled.notify_one();
        drop(self.written.wait_timeout_while(state, most, |state| state.unwritten > 0));
    }

    fn take_line(&self, line: &[u8]) {
        let mut state = self.lock();
        let before = state.waiting.len();
        if before + line.len() > WAITING_BYTES {
            state.dropped += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        state.unwritten += line.len();
        let enough = before < GATHERED_BYTES && state.waiting.len() >= GATHERED_BYTES;
        let wake = std::mem::take(&mut state.asleep) || enough;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Writes for ever. Calls `failed` for the first error, and then not before writing has worked again.
    fn write_out(&self, mut output: impl Write, failed: impl Fn(&io::Error)) {
        let mut lines = Vec::new();
        let mut failing = false;
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() {
                state.asleep = true;
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.asleep = false;
            std::mem::swap(&mut lines, &mut state.waiting);
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            if dropped > 0 {
                let _ = writeln!(lines, "({dropped} lines more were not written: the log could not keep up)");
            }
            if failing {
                // The last write may have ended inside a line.
                lines.splice(0..0, *b"\n(lines are missing here: they could not be written)\n");
            }
            match output.write_all(&lines).and_then(|()| output.flush()) {
                Ok(()) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => failed(&error),
                Err(_) => {}
            }
            lines.clear();
            let mut state = self.lock();
            state.unwritten = state.waiting.len();
            self.written.notify_all();
            let gathers = |state: &mut State| !state.hurried && state.waiting.len() < GATHERED_BYTES;
            drop(self.filled.wait_timeout_while(state, GATHERING, gathers));
        }
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
            self.sink.take_line(&self.line);
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
    use std::sync::mpsc::{Receiver, Sender, channel};

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
    }

    #[test]
    fn numbers_have_as_many_digits_as_are_asked_for() {
        for (number, digits, expected) in
            [(0, 1, "0"), (7, 1, "7"), (10, 1, "10"), (42, 6, "000042"), (0, 9, "000000000"), (1234, 3, "1234")]
        {
            let mut text = "=".to_owned();
            push_number(&mut text, number, digits);
            assert_eq!(text[1..], *expected);
        }
        let mut text = String::new();
        push_number(&mut text, u64::MAX, 1);
        assert_eq!(text, u64::MAX.to_string());
    }

    /// Hands on what is written, and waits until it is let go on.
    struct Slow(Sender<Vec<u8>>, Receiver<()>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            self.1.recv().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_can_not_be_kept_are_counted_and_nobody_waits() {
        let (written, lines) = channel();
        let (go_on, allowed) = channel();
        let sink = Arc::new(Sink::default());
        let writer = sink.clone();
        thread::spawn(move || writer.write_out(Slow(written, allowed), |_| {}));
        sink.take_line(b"first\n");
        assert_eq!(lines.recv().unwrap(), b"first\n");
        // The writer is stuck: what fits is kept, the rest counted.
        let line = [b"x".repeat(WAITING_BYTES / 4 - 1), b"\n".to_vec()].concat();
        for _ in 0..7 {
            sink.take_line(&line);
        }
        go_on.send(()).unwrap();
        let kept = lines.recv().unwrap();
        assert_eq!(&kept[..WAITING_BYTES], line.repeat(4));
        assert!(kept[WAITING_BYTES..].starts_with(b"(3 lines more were not written"), "3 were dropped");
        go_on.send(()).unwrap();
        drop(LogGuard { sinks: vec![sink.clone()] });
        assert_eq!(sink.lock().unwritten, 0);
    }

    /// Hands on what is written, and says what comes of it.
    struct Full(Sender<Vec<u8>>, Receiver<io::Result<()>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            self.1.recv().map_err(io::Error::other)?.map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn that_the_log_can_not_be_written_is_told_once_until_it_can_be() {
        let (written, lines) = channel();
        let (answer, answers) = channel();
        let (tell, told) = channel();
        let sink = Arc::new(Sink::default());
        let writer = sink.clone();
        thread::spawn(move || writer.write_out(Full(written, answers), |error| tell.send(error.kind()).unwrap()));
        let mut seen = Vec::new();
        for works in [false, false, true, true, false] {
            sink.take_line(b"a line\n");
            seen.push(String::from_utf8(lines.recv().unwrap()).unwrap());
            answer.send(if works { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }).unwrap();
        }
        drop(LogGuard { sinks: vec![sink] });
        let behind_a_gap = "\n(lines are missing here: they could not be written)\na line\n";
        assert_eq!(seen, ["a line\n", behind_a_gap, behind_a_gap, "a line\n", "a line\n"]);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [io::ErrorKind::StorageFull; 2]);
    }
}
