//! Where a list of files stands, told by its events.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use ferry_client::{Event, Phase};

use super::{layout::Line, meter::Meter};
use crate::figures::{Left, Rate, Size};

/// Waiting is told with its time when it is longer than people wait without asking.
const LONG_WAIT: Duration = Duration::from_secs(2);

/// One file of the list.
#[derive(Debug)]
struct Item {
    name: String,
    /// As far as it is known.
    size: Option<u64>,
    /// Bytes that are there, those of earlier transfers included.
    done: u64,
    is_over: bool,
}

/// The state of all files. Knows no terminal, and is told the time.
#[derive(Debug)]
pub(super) struct Board {
    items: Vec<Item>,
    over: usize,
    /// Of what `items` know.
    size: u64,
    /// Files whose size nobody knows yet.
    unsized_files: usize,
    done: u64,
    /// Bytes moved, those of earlier transfers left out.
    moved: u64,
    meter: Meter,
    /// The file that was heard of last.
    current: Option<usize>,
    waiting: Option<Waiting>,
}

/// What is waited for where it is not the bytes of a file.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    what: Cow<'static, str>,
}

impl Board {
    /// `files` with the sizes that are known before; names are escaped already.
    pub(super) fn new(files: impl IntoIterator<Item = (String, Option<u64>)>, now: Instant) -> Board {
        let item = |(name, size)| Item { name, size, done: 0, is_over: false };
        let items: Vec<Item> = files.into_iter().map(item).collect();
        Board {
            over: 0,
            size: items.iter().filter_map(|item| item.size).fold(0, u64::saturating_add),
            unsized_files: items.iter().filter(|item| item.size.is_none()).count(),
            done: 0,
            moved: 0,
            meter: Meter::new(now),
            current: None,
            waiting: None,
            items,
        }
    }

    /// Takes note of what happened. An index that is none of the list's is passed over.
    pub(super) fn note(&mut self, event: &Event<'_>, now: Instant) {
        match *event {
            Event::Begun { index, size, resumed } => {
                self.set_size(index, Some(size));
                self.set_done(index, resumed.min(size), 0, now);
                self.current = Some(index);
                self.waiting = None;
            }
            Event::Moved { index, done } => {
                let before = self.items.get(index).map_or(0, |item| item.done);
                self.move_on(now);
                self.set_done(index, done, done.saturating_sub(before), now);
                self.current = Some(index);
            }
            Event::Entered { index, phase } => {
                self.current = Some(index);
                match words(phase) {
                    Some(what) => self.wait_for(what, now),
                    None => self.move_on(now),
                }
            }
            Event::Restarted { index, .. } => self.set_done(index, 0, 0, now),
            Event::Done { index, moved } => {
                let before = self.items.get(index).map_or(0, |item| item.done).max(moved.resumed);
                self.move_on(now);
                self.set_size(index, Some(moved.size));
                self.set_done(index, moved.size, moved.size.saturating_sub(before), now);
                self.end(index);
            }
            Event::Failed { index, .. } => {
                self.move_on(now);
                // What it did not bring will not come any more.
                let done = self.items.get(index).map_or(0, |item| item.done);
                self.set_size(index, Some(done));
                self.end(index);
            }
            Event::Lost { .. } => self.wait_for("the connection is lost, trying again", now),
            Event::Reconnected => self.move_on(now),
            _ => {}
        }
    }

    /// All of it in one line, for people who read no bars.
    pub(super) fn told(&mut self, now: Instant) -> String {
        let name = if self.is_single() { self.current_name().to_owned() } else { self.count() };
        if let Some(note) = self.waited(now) {
            return format!("{name}: {note}");
        }
        let mut line = format!("{name}: {}", Size(self.done));
        if let Some(total) = self.total() {
            line = format!("{line} of {}", Size(total));
        }
        if let Some(rate) = self.meter.rate(now) {
            line = format!("{line}, {}", Rate(rate));
        }
        if let Some(left) = self.left(now) {
            line = format!("{line}, {} left", Left(left));
        }
        line
    }

    /// Whether there is more than one file, and so a line for the whole.
    pub(super) fn is_single(&self) -> bool {
        self.items.len() <= 1
    }

    /// The line of all files.
    pub(super) fn whole(&mut self, now: Instant, columns: usize) -> String {
        let (total, left) = (self.total(), self.left(now));
        let rate = self.meter.rate(now);
        Line { name: &self.count(), note: None, done: self.done, total, rate, left }.fit(columns)
    }

    /// The line of the file that was heard of last.
    pub(super) fn current(&mut self, now: Instant, columns: usize) -> String {
        let note = self.waited(now);
        let single = self.is_single();
        let rate = if single { self.meter.rate(now) } else { None };
        let left = if single { self.left(now) } else { None };
        let Some(item) = self.current.and_then(|index| self.items.get(index)) else {
            let note = Some(note.unwrap_or_else(|| "waiting for the server".to_owned()));
            return Line { name: self.current_name(), note, ..Line::default() }.fit(columns);
        };
        Line { name: &item.name, note, done: item.done, total: item.size, rate, left }.fit(columns)
    }

    fn current_name(&self) -> &str {
        self.items.get(self.current.unwrap_or(0)).map_or("", |item| &item.name)
    }

    fn count(&self) -> String {
        format!("{} of {} files", self.over, self.items.len())
    }

    fn total(&self) -> Option<u64> {
        (self.unsized_files == 0).then_some(self.size)
    }

    fn left(&mut self, now: Instant) -> Option<Duration> {
        if self.waiting.is_some() {
            return None;
        }
        let left = self.total()?.saturating_sub(self.done);
        if left == 0 { None } else { self.meter.remaining(now, left) }
    }

    fn waited(&self, now: Instant) -> Option<String> {
        let Waiting { since, what } = self.waiting.as_ref()?;
        let waited = now.saturating_duration_since(*since);
        Some(if waited < LONG_WAIT { what.to_string() } else { format!("{what} ({} s)", waited.as_secs()) })
    }

    fn wait_for(&mut self, what: &'static str, now: Instant) {
        if self.waiting.as_ref().is_none_or(|waiting| waiting.what != what) {
            self.waiting = Some(Waiting { since: now, what: what.into() });
        }
    }

    /// Tells `what` is done instead of moving bytes; the time counts from the first of such.
    pub(super) fn look(&mut self, what: String, now: Instant) {
        let since = self.waiting.as_ref().map_or(now, |waiting| waiting.since);
        self.waiting = Some(Waiting { since, what: what.into() });
    }

    /// Bytes move again; the time that they did not says nothing about the rate.
    fn move_on(&mut self, now: Instant) {
        if self.waiting.take().is_some() {
            self.meter.restart(now);
        }
    }

    fn set_size(&mut self, index: usize, size: Option<u64>) {
        let Some(item) = self.items.get_mut(index) else { return };
        if item.size.is_none() && size.is_some() {
            self.unsized_files -= 1;
        }
        self.size = self.size.saturating_sub(item.size.unwrap_or(0)).saturating_add(size.unwrap_or(0));
        item.size = size;
    }

    fn set_done(&mut self, index: usize, done: u64, moved: u64, now: Instant) {
        let Some(item) = self.items.get_mut(index) else { return };
        self.done = self.done.saturating_sub(item.done).saturating_add(done);
        item.done = done;
        self.moved = self.moved.saturating_add(moved);
        self.meter.moved(now, self.moved);
    }

    fn end(&mut self, index: usize) {
        let Some(item) = self.items.get_mut(index) else { return };
        self.over += usize::from(!item.is_over);
        item.is_over = true;
    }
}

fn words(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Moving => None,
        Phase::Reading => Some("reading what is there already"),
        Phase::Verifying => Some("verifying"),
        Phase::Syncing => Some("waiting for the server's disk"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferry_client::{Crc32, Error, Moved};

    const MB: u64 = 1_000_000;

    fn done(size: u64, resumed: u64) -> Moved {
        let crc = Crc32::of(b"");
        Moved { size, crc, resumed }
    }

    #[test]
    fn resumed_bytes_are_there_and_no_speed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut board = Board::new([("big".to_owned(), None)], start);
        assert!(board.current(start, 60).starts_with("big: waiting for the server"));
        board.note(&Event::Entered { index: 0, phase: Phase::Reading }, start);
        assert_eq!(board.current(at(5), 60), "big: reading what is there already (5 s)");
        board.note(&Event::Begun { index: 0, size: 100 * MB, resumed: 90 * MB }, at(5));
        board.note(&Event::Entered { index: 0, phase: Phase::Moving }, at(5));
        for second in 6..=10 {
            board.note(&Event::Moved { index: 0, done: 90 * MB + (second - 5) * MB }, at(second));
        }
        let line = board.told(at(10));
        assert_eq!(line, "big: 90.6 MiB of 95.4 MiB, 0.5 MB/s, 10 s left");
    }

    #[test]
    fn many_files_add_up() {
        let start = Instant::now();
        let files = [("a".to_owned(), Some(10)), ("b".to_owned(), None), ("c".to_owned(), Some(30))];
        let mut board = Board::new(files, start);
        board.note(&Event::Begun { index: 0, size: 10, resumed: 0 }, start);
        assert_eq!(board.told(start), "0 of 3 files: 0 bytes");
        board.note(&Event::Begun { index: 1, size: 60, resumed: 0 }, start);
        board.note(&Event::Done { index: 0, moved: &done(10, 0) }, start);
        board.note(&Event::Moved { index: 1, done: 40 }, start);
        assert_eq!(board.told(start), "1 of 3 files: 50 bytes of 100 bytes");
        assert!(board.whole(start, 80).starts_with("1 of 3 files ["));
        assert!(board.current(start, 80).starts_with("b ["));
        // One that fails is no longer waited for; one that starts again is.
        board.note(&Event::Failed { index: 1, error: &Error::NotConnected }, start);
        assert_eq!(board.told(start), "2 of 3 files: 50 bytes of 80 bytes");
        board.note(&Event::Begun { index: 2, size: 30, resumed: 20 }, start);
        board.note(&Event::Restarted { index: 2, why: "it changed" }, start);
        assert_eq!(board.told(start), "2 of 3 files: 50 bytes of 80 bytes");
        board.note(&Event::Begun { index: 2, size: 40, resumed: 0 }, start);
        board.note(&Event::Done { index: 2, moved: &done(40, 0) }, start);
        assert_eq!(board.told(start), "3 of 3 files: 90 bytes of 90 bytes");
        // Of a file that is none of the list's.
        board.note(&Event::Moved { index: 7, done: 40 }, start);
        board.note(&Event::Done { index: 7, moved: &done(40, 0) }, start);
        assert_eq!(board.told(start), "3 of 3 files: 90 bytes of 90 bytes");
    }

    #[test]
    fn what_is_not_the_network_is_named() {
        let start = Instant::now();
        let mut board = Board::new([("a".to_owned(), Some(10))], start);
        board.note(&Event::Begun { index: 0, size: 10, resumed: 0 }, start);
        for (phase, words) in [(Phase::Verifying, "a: verifying"), (Phase::Syncing, "a: waiting for the server's disk")]
        {
            board.note(&Event::Entered { index: 0, phase }, start);
            assert_eq!((board.current(start, 80), board.told(start)), (words.to_owned(), words.to_owned()));
        }
        board.look("listing".to_owned(), start);
        board.look("comparing".to_owned(), start + Duration::from_secs(7));
        assert_eq!(board.told(start + Duration::from_secs(9)), "a: comparing (9 s)");
        board.note(&Event::Reconnected, start);
        let lost =
            Event::Lost { error: &Error::NotConnected, attempt: 1, wait: Duration::from_secs(1), left: Duration::ZERO };
        board.note(&lost, start);
        assert_eq!(board.told(start), "a: the connection is lost, trying again");
        board.note(&Event::Reconnected, start);
        assert_eq!(board.told(start), "a: 0 bytes of 10 bytes");
    }
}
