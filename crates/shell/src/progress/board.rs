//! The state of a list of files, told by its events.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use ferry_client::{Event, Phase};

/// Waiting is told with its time when it is longer than people wait without asking.
const LONG_WAIT: Duration = Duration::from_secs(2);

/// One file of the list.
#[derive(Debug)]
struct FileState {
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
    items: Vec<FileState>,
    over: usize,
    /// Of what `items` know.
    size: u64,
    /// Files whose size nobody knows yet.
    unsized_files: usize,
    done: u64,
    /// Bytes moved, those of earlier transfers left out.
    moved: u64,
    /// How often bytes moved again after something else was waited for.
    pauses: usize,
    /// The file that was heard of last.
    current: Option<usize>,
    waiting: Option<Waiting>,
}

/// A wait for something else than the bytes of a file.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    what: Cow<'static, str>,
}

/// All that there is to show at one moment.
#[derive(Debug)]
pub(super) struct View {
    /// All files together, if there are several.
    pub(super) all: Option<Row>,
    /// The file that was heard of last.
    pub(super) current: Row,
    /// Something else than bytes is waited for.
    pub(super) waits: bool,
    /// Bytes moved, those of earlier transfers left out.
    pub(super) moved: u64,
    /// Grows when bytes move again after a wait.
    pub(super) pauses: usize,
}

/// The figures of one file, or of all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    /// Of a file, or how many files of how many; escaped already.
    pub(super) name: String,
    /// In place of figures: what is waited for.
    pub(super) note: Option<String>,
    pub(super) done: u64,
    /// [`None`] where nobody knows.
    pub(super) total: Option<u64>,
}

impl View {
    /// Returns the row of the whole.
    pub(super) fn whole(&self) -> &Row {
        self.all.as_ref().unwrap_or(&self.current)
    }
}

impl Board {
    /// Begins with `files` and the sizes that are known before; names are escaped already.
    pub(super) fn new(files: impl IntoIterator<Item = (String, Option<u64>)>) -> Board {
        let item = |(name, size)| FileState { name, size, done: 0, is_over: false };
        let items: Vec<FileState> = files.into_iter().map(item).collect();
        Board {
            over: 0,
            size: items.iter().filter_map(|item| item.size).fold(0, u64::saturating_add),
            unsized_files: items.iter().filter(|item| item.size.is_none()).count(),
            done: 0,
            moved: 0,
            pauses: 0,
            current: None,
            waiting: None,
            items,
        }
    }

    /// Takes note of what happened. An index that is none of the list's is ignored.
    pub(super) fn note(&mut self, event: &Event<'_>, now: Instant) {
        match *event {
            Event::Begun { index, size, resumed } => {
                self.set_size(index, Some(size));
                self.set_done(index, resumed.min(size), 0);
                self.current = Some(index);
                self.move_on();
            }
            Event::Moved { index, done } => {
                let before = self.items.get(index).map_or(0, |item| item.done);
                self.move_on();
                self.set_done(index, done, done.saturating_sub(before));
                self.current = Some(index);
            }
            Event::Entered { index, phase } => {
                self.current = Some(index);
                match words(phase) {
                    Some(what) => self.wait_for(what, now),
                    None => self.move_on(),
                }
            }
            Event::Restarted { index, .. } => self.set_done(index, 0, 0),
            Event::Done { index, moved } => {
                let before = self.items.get(index).map_or(0, |item| item.done).max(moved.resumed);
                self.move_on();
                self.set_size(index, Some(moved.size));
                self.set_done(index, moved.size, moved.size.saturating_sub(before));
                self.end(index);
            }
            Event::Failed { index, .. } => {
                self.move_on();
                // What it did not bring will not come any more.
                let done = self.items.get(index).map_or(0, |item| item.done);
                self.set_size(index, Some(done));
                self.end(index);
            }
            Event::Lost { .. } => self.wait_for("the connection is lost, trying again", now),
            Event::Reconnected => self.move_on(),
            _ => {}
        }
    }

    /// Returns what there is to show, of the file that was heard of last and, if there are several, of all of them.
    pub(super) fn view(&self, now: Instant) -> View {
        let single = self.items.len() <= 1;
        let note = self.waited(now);
        let item = self.items.get(self.current.unwrap_or(0));
        let nothing_heard = || self.current.is_none().then(|| "waiting for the server".to_owned());
        let current = Row {
            name: item.map(|item| item.name.clone()).unwrap_or_default(),
            note: note.clone().or_else(nothing_heard),
            done: item.map_or(0, |item| item.done),
            total: item.and_then(|item| item.size),
        };
        let all = (!single).then(|| Row {
            name: format!("{} of {} files", self.over, self.items.len()),
            note: None,
            done: self.done,
            total: (self.unsized_files == 0).then_some(self.size),
        });
        View { all, current, waits: note.is_some(), moved: self.moved, pauses: self.pauses }
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
    fn move_on(&mut self) {
        self.pauses += usize::from(self.waiting.take().is_some());
    }

    fn set_size(&mut self, index: usize, size: Option<u64>) {
        let Some(item) = self.items.get_mut(index) else { return };
        if item.size.is_none() && size.is_some() {
            self.unsized_files -= 1;
        }
        self.size = self.size.saturating_sub(item.size.unwrap_or(0)).saturating_add(size.unwrap_or(0));
        item.size = size;
    }

    fn set_done(&mut self, index: usize, done: u64, moved: u64) {
        let Some(item) = self.items.get_mut(index) else { return };
        self.done = self.done.saturating_sub(item.done).saturating_add(done);
        item.done = done;
        self.moved = self.moved.saturating_add(moved);
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
    use ferry_client::{Crc32, Error, Moved, Tag};

    const MB: u64 = 1_000_000;

    fn done(size: u64, resumed: u64) -> Moved {
        let (crc, tag) = (Crc32::of(b""), Tag::new("t").unwrap());
        Moved { size, crc, tag, resumed }
    }

    #[test]
    fn resumed_bytes_are_there_and_no_speed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let note = |board: &Board, now| board.view(now).current.note;
        let mut board = Board::new([("big".to_owned(), None)]);
        assert_eq!(note(&board, start).as_deref(), Some("waiting for the server"));
        board.note(&Event::Entered { index: 0, phase: Phase::Reading }, start);
        assert_eq!(note(&board, at(5)).as_deref(), Some("reading what is there already (5 s)"));
        board.note(&Event::Begun { index: 0, size: 100 * MB, resumed: 90 * MB }, at(5));
        board.note(&Event::Entered { index: 0, phase: Phase::Moving }, at(5));
        assert_eq!((board.view(at(5)).moved, board.view(at(5)).pauses), (0, 1));
        board.note(&Event::Moved { index: 0, done: 95 * MB }, at(6));
        let View { current, all, moved, waits, .. } = board.view(at(6));
        assert_eq!((all, moved, waits), (None, 5 * MB, false));
        let total = Some(100 * MB);
        assert_eq!(current, Row { name: "big".to_owned(), note: None, done: 95 * MB, total });
    }

    #[test]
    fn many_files_add_up() {
        let start = Instant::now();
        let files = [("a".to_owned(), Some(10)), ("b".to_owned(), None), ("c".to_owned(), Some(30))];
        let mut board = Board::new(files);
        let whole = |board: &Board| board.view(start).all.map(|row| (row.name, row.done, row.total)).unwrap();
        let is = |over: usize, done, total| (format!("{over} of 3 files"), done, total);
        board.note(&Event::Begun { index: 0, size: 10, resumed: 0 }, start);
        assert_eq!(whole(&board), is(0, 0, None));
        board.note(&Event::Begun { index: 1, size: 60, resumed: 0 }, start);
        board.note(&Event::Done { index: 0, moved: &done(10, 0) }, start);
        board.note(&Event::Moved { index: 1, done: 40 }, start);
        assert_eq!(whole(&board), is(1, 50, Some(100)));
        assert_eq!(board.view(start).current.name, "b");
        // One that fails is no longer waited for; one that starts again is.
        board.note(&Event::Failed { index: 1, error: &Error::NotConnected }, start);
        assert_eq!(whole(&board), is(2, 50, Some(80)));
        board.note(&Event::Begun { index: 2, size: 30, resumed: 20 }, start);
        board.note(&Event::Restarted { index: 2, why: "it changed" }, start);
        assert_eq!(whole(&board), is(2, 50, Some(80)));
        board.note(&Event::Begun { index: 2, size: 40, resumed: 0 }, start);
        board.note(&Event::Done { index: 2, moved: &done(40, 0) }, start);
        assert_eq!((whole(&board), board.view(start).moved), (is(3, 90, Some(90)), 90));
        // Of a file that is none of the list's.
        board.note(&Event::Moved { index: 7, done: 40 }, start);
        board.note(&Event::Done { index: 7, moved: &done(40, 0) }, start);
        assert_eq!(whole(&board), is(3, 90, Some(90)));
    }

    #[test]
    fn what_is_not_the_network_is_named() {
        let start = Instant::now();
        let mut board = Board::new([("a".to_owned(), Some(10))]);
        let note = |board: &Board, now| board.view(now).current.note;
        board.note(&Event::Begun { index: 0, size: 10, resumed: 0 }, start);
        for (phase, words) in [(Phase::Verifying, "verifying"), (Phase::Syncing, "waiting for the server's disk")] {
            board.note(&Event::Entered { index: 0, phase }, start);
            assert_eq!(note(&board, start).as_deref(), Some(words));
        }
        board.look("listing".to_owned(), start);
        board.look("comparing".to_owned(), start + Duration::from_secs(7));
        assert_eq!(note(&board, start + Duration::from_secs(9)).as_deref(), Some("comparing (9 s)"));
        board.note(&Event::Reconnected, start);
        let lost = Event::Lost {
            source: None,
            error: &Error::NotConnected,
            attempt: 1,
            wait: Duration::from_secs(1),
            left: Duration::ZERO,
        };
        board.note(&lost, start);
        assert_eq!(note(&board, start).as_deref(), Some("the connection is lost, trying again"));
        board.note(&Event::Reconnected, start);
        assert_eq!((note(&board, start), board.view(start).pauses), (None, 2));
    }
}
