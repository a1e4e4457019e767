//! The display of a transfer while it runs: bars on a terminal, or lines now and then.

mod bars;
mod board;
mod keys;

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ferry_client::Event;
use indicatif::{MultiProgress, ProgressDrawTarget};
use rustix::termios::tcgetwinsize;

use bars::{Bars, Pace};
use board::{Board, View};
use keys::Keys;
pub(crate) use keys::{HELP as KEYS, Keyboard, keep_from_terminal};

/// A transfer that is over sooner needs no bar.
const SHOW_AFTER: Duration = Duration::from_millis(300);

/// Between two looks: often enough to seem alive, seldom enough to cost nothing.
const TICK: Duration = Duration::from_millis(100);

/// Between two lines, unless told: what a log of a night can hold.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The display that a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Bars on a terminal, and nothing elsewhere.
    Auto,
    /// Nothing.
    Never,
    /// A line every so often, wherever it goes.
    Lines(Duration),
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        let seconds = |text: &str| text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        match text.split_once('=') {
            None if text == "auto" => Ok(Mode::Auto),
            None if text == "never" => Ok(Mode::Never),
            None if text == "lines" => Ok(Mode::Lines(LINE_EVERY)),
            Some(("lines", every)) => seconds(every)
                .filter(|every| *every >= Duration::from_millis(1))
                .map(Mode::Lines)
                .ok_or_else(|| "lines=SECONDS needs a number of seconds above 0".to_owned()),
            _ => Err("one of auto, never, lines, lines=SECONDS is needed".to_owned()),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Auto => f.write_str("auto"),
            Mode::Never => f.write_str("never"),
            Mode::Lines(every) => write!(f, "lines={}", every.as_secs_f64()),
        }
    }
}

/// The display of one transfer, on standard error. Whatever it drew is gone when it is dropped.
pub(crate) struct Progress {
    begun: Instant,
    display: Option<Display>,
}

struct Display {
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    board: Mutex<Board>,
    bars: MultiProgress,
    keyboard: Keyboard,
}

impl Progress {
    /// Starts the display, and its clock. `files` are in the order of the transfer's list, each with a name that is escaped and,
    /// where it is known before, its size. Where bars are drawn, `keyboard` is listened to.
    pub(crate) fn start(
        mode: Mode,
        files: impl IntoIterator<Item = (String, Option<u64>)>,
        keyboard: &Keyboard,
    ) -> Progress {
        let begun = Instant::now();
        let every = match mode {
            Mode::Auto if io::stderr().is_terminal() => None,
            Mode::Lines(every) => Some(every),
            Mode::Auto | Mode::Never => return Progress { begun, display: None },
        };
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let shared = Arc::new(Shared { board: Mutex::new(Board::new(files)), bars, keyboard: keyboard.clone() });
        let (stop, stopped) = mpsc::channel();
        let clone = Arc::clone(&shared);
        // Without a thread to draw it, a transfer is as good.
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(move || match every {
            Some(every) => write_lines(&clone, every, &stopped),
            None => draw_bars(&clone, &stopped),
        });
        let display = thread.ok().map(|thread| Display { shared, stop: Some(stop), thread: Some(thread) });
        Progress { begun, display }
    }

    /// Takes note of what happened.
    pub(crate) fn note(&self, event: &Event<'_>) {
        if let Some(display) = &self.display {
            display.shared.board().note(event, Instant::now());
        }
    }

    /// Tells what is done instead of moving bytes.
    pub(crate) fn look(&self, what: String) {
        if let Some(display) = &self.display {
            display.shared.board().look(what, Instant::now());
        }
    }

    /// Runs `say` while nothing is drawn, so that what it prints stands by itself.
    pub(crate) fn aside<T>(&self, say: impl FnOnce() -> T) -> T {
        match &self.display {
            Some(display) => display.shared.bars.suspend(say),
            None => say(),
        }
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> View {
        self.board().view(Instant::now())
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can't have failed in a way that anybody could mend.
            let _ = thread.join();
        }
        let _ = self.shared.bars.clear();
    }
}

/// Writes a line every so often, until it is stopped.
fn write_lines(shared: &Shared, every: Duration, stopped: &Receiver<()>) {
    let mut pace = Pace::new();
    let mut told = Instant::now();
    while stopped.recv_timeout(every.min(TICK)) == Err(RecvTimeoutError::Timeout) {
        let view = shared.view();
        pace.note(&view, shared.keyboard.limit());
        if told.elapsed() >= every {
            told = Instant::now();
            let _ = writeln!(io::stderr(), "{}", bars::line(&view, &pace));
        }
    }
}

/// Draws bars from when they are worth it, until it is stopped. The bars are told here and not where bytes are moved: to
/// tell them is to wait for the terminal.
fn draw_bars(shared: &Shared, stopped: &Receiver<()>) {
    let mut bars = Bars::new(&shared.bars);
    let mut keys = Keys::new(&shared.keyboard);
    let mut wait = SHOW_AFTER;
    while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        if wait == SHOW_AFTER {
            shared.bars.set_draw_target(ProgressDrawTarget::stderr());
            wait = TICK;
        }
        keys.look(bars.bytes_per_second());
        bars.show(&shared.view(), shared.keyboard.limit(), columns());
    }
}

/// Returns the width of the terminal as it is now.
fn columns() -> usize {
    /// For a terminal that does not know its own width.
    const USUAL: usize = 80;
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => usize::from(size.ws_col),
        _ => USUAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_and_told() {
        for text in ["auto", "never", "lines=10", "lines=0.5"] {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
        assert_eq!("lines".parse::<Mode>(), Ok(Mode::Lines(LINE_EVERY)));
        for wrong in ["", "Auto", "lines=", "lines=0", "lines=-1", "lines=nan", "lines=inf", "lines=1e30", "bar", "=1"]
        {
            assert!(wrong.parse::<Mode>().is_err(), "{wrong}");
        }
    }
}
