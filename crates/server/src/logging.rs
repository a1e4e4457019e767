//! Logging: `log` and simplelog in front, one sink behind.
//!
//! The loop logs, and must never wait for a terminal that is scrolled back or a disk that is busy. So
//! the sink takes whole lines into memory, and a thread of its own writes them. If that falls behind,
//! lines are dropped, counted, and the count is told.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use ferry_wire::escaped;
use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, ConfigBuilder, SharedLogger, WriteLogger};

/// Lines waiting to be written, in bytes, before new ones are dropped.
const WAITING_BYTES: usize = 1 << 20;

/// Keeps what was logged from being lost: dropping it waits until all is written.
#[derive(Debug, Default)]
pub struct LogGuard {
    sinks: Vec<Arc<Sink>>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        for sink in &self.sinks {
            let mut state = sink.lock();
            while state.unwritten > 0 {
                state = sink.written.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Opens the end of a log file, made readable for its owner only.
///
/// # Errors
///
/// Where it can't be opened.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Logs lines of `level` and above to the terminal (standard error) and, where given, to a file.
///
/// # Errors
///
/// Where a thread can't be started.
pub fn start(level: LevelFilter, file: Option<File>) -> io::Result<LogGuard> {
    let mut guard = LogGuard::default();
    let mut loggers: Vec<Box<dyn SharedLogger>> = Vec::new();
    let mut outputs: Vec<Box<dyn Write + Send>> = vec![Box::new(io::stderr())];
    if let Some(file) = file {
        outputs.push(Box::new(file));
    }
    let config = ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    for output in outputs {
        let sink = Arc::new(Sink::default());
        guard.sinks.push(sink.clone());
        loggers.push(WriteLogger::new(level, config.clone(), Lines { sink: sink.clone(), line: Vec::new() }));
        thread::Builder::new().name("ferry-log".into()).spawn(move || sink.write_out(output))?;
    }
    log::set_max_level(level);
    let combined = Escaping(CombinedLogger::new(loggers));
    log::set_boxed_logger(Box::new(combined)).map_err(|_| io::Error::other("logging was set up before"))?;
    Ok(guard)
}

/// The one place that everything logged goes through: no line can hold a control character, whoever
/// chose its text.
struct Escaping(Box<CombinedLogger>);

impl Log for Escaping {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let message = record.args().to_string();
            let mut safe = Record::builder();
            safe.metadata(record.metadata().clone());
            self.0.log(&safe.args(format_args!("{}", escaped(&message))).build());
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

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
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_line(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > WAITING_BYTES {
            state.dropped += 1;
            return;
        }
        // A writer that has something to write looks again by itself.
        let asleep = state.unwritten == 0;
        state.waiting.extend_from_slice(line);
        state.unwritten += line.len();
        drop(state);
        if asleep {
            self.filled.notify_one();
        }
    }

    fn write_out(&self, mut output: Box<dyn Write + Send>) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut lines, &mut state.waiting);
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            if dropped > 0 {
                let _ = writeln!(lines, "({dropped} lines more were not written: the log could not keep up)");
            }
            // There is nobody to tell that the log can't be written.
            let _ = output.write_all(&lines).and_then(|()| output.flush());
            lines.clear();
            let mut state = self.lock();
            state.unwritten = state.waiting.len();
            drop(state);
            self.written.notify_all();
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
        Ok(())
    }
}
