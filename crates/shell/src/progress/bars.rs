//! Rows as indicatif's bars, and as lines.

use std::{num::NonZeroU64, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::board::{Row, View};
use crate::figures::{Left, Rate, Size};

/// Names that are cut are left so much: enough to tell one from the other.
const NAME_COLUMNS: usize = 16;

/// A shorter bar shows nothing.
const BAR_COLUMNS: usize = 8;

const WITH_BAR: &str = "{prefix} [{wide_bar}] {percent:>3}%  {msg}";
const WITHOUT_BAR: &str = "{prefix} {percent:>3}%  {msg}";
const PLAIN: &str = "{prefix} {msg}";

/// The columns of a percentage and of the spaces around it.
const PERCENT_COLUMNS: usize = 7;

/// The rate at which bytes move. A bar that nobody sees counts them: those of earlier transfers and the time of waits would spoil
/// the rate of one that is seen.
pub(super) struct Pace {
    bar: ProgressBar,
    pauses: usize,
    /// The most that may move in a second.
    limit: Option<NonZeroU64>,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { bar: ProgressBar::hidden(), pauses: 0, limit: None }
    }

    /// Takes note of how far it is now. Under another limit than before, the rate until then says nothing of what is left.
    pub(super) fn note(&mut self, view: &View, limit: Option<NonZeroU64>) {
        if (self.pauses, self.limit) != (view.pauses, limit) {
            (self.pauses, self.limit) = (view.pauses, limit);
            self.bar.reset_eta();
        }
        let whole = view.whole();
        let left = whole.total.map_or(0, |total| total.saturating_sub(whole.done));
        self.bar.update(|state| {
            state.set_len(view.moved.saturating_add(left));
            state.set_pos(view.moved);
        });
    }

    /// Returns bytes a second; [`None`] before there is anything to say.
    fn rate(&self) -> Option<Rate> {
        let rate = self.bar.per_sec();
        (rate >= 1.0).then_some(Rate(rate))
    }

    /// Returns the rate and the limit, as far as there are any.
    fn rates(&self) -> Option<String> {
        let limit = self.limit.map(|limit| Rate(limit.get() as f64));
        match (self.rate(), limit) {
            (Some(rate), Some(limit)) => Some(format!("{rate} (limit {limit})")),
            (None, Some(limit)) => Some(format!("limit {limit}")),
            (rate, None) => rate.map(|rate| rate.to_string()),
        }
    }

    /// Returns the time that is left; [`None`] where nobody can tell.
    fn left(&self) -> Option<Left> {
        let left = self.bar.eta();
        (self.rate().is_some() && left > Duration::ZERO).then_some(Left(left))
    }
}

/// Returns one line for the whole, for people who read no bars.
pub(super) fn line(view: &View, pace: &Pace) -> String {
    let row = view.whole();
    if let Some(note) = view.current.note.as_ref().filter(|_| view.waits) {
        return format!("{}: {note}", row.name);
    }
    let total = row.total.map(|total| format!(" of {}", Size(total))).unwrap_or_default();
    let rate = pace.rates().map(|rate| format!(", {rate}")).unwrap_or_default();
    let left = pace.left().map(|left| format!(", {left} left")).unwrap_or_default();
    format!("{}: {}{total}{rate}{left}", row.name, Size(row.done))
}

/// A bar for the whole, if there are several files, and one for the file that was heard of last.
pub(super) struct Bars<'a> {
    group: &'a MultiProgress,
    pace: Pace,
    bars: Vec<ProgressBar>,
}

impl<'a> Bars<'a> {
    pub(super) fn new(group: &'a MultiProgress) -> Bars<'a> {
        Bars { group, pace: Pace::new(), bars: Vec::new() }
    }

    /// Returns bytes a second, as far as they were shown; [`None`] before there is anything to say.
    pub(super) fn bytes_per_second(&self) -> Option<f64> {
        self.pace.rate().map(|rate| rate.0)
    }

    /// Draws what there is to show, for a terminal of so many columns.
    pub(super) fn show(&mut self, view: &View, limit: Option<NonZeroU64>, columns: usize) {
        self.pace.note(view, limit);
        let rows = view.all.iter().chain([&view.current]);
        for (index, row) in rows.enumerate() {
            if self.bars.len() == index {
                self.bars.push(self.group.add(ProgressBar::no_length()));
            }
            let pace = (index == 0 && !view.waits).then_some(&self.pace);
            draw(&self.bars[index], row, pace, columns);
        }
    }
}

/// Draws a row. Everything is set before the one call that draws.
fn draw(bar: &ProgressBar, row: &Row, pace: Option<&Pace>, columns: usize) {
    let (template, name, text) = fitted(row, pace, columns);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.clone().with_prefix(name).with_message(text).update(|state| {
        state.set_pos(row.done);
        if let Some(total) = row.total {
            state.set_len(total);
        }
    });
}

/// Returns the template, the name and the text that fit into fewer than `columns` columns. The last one stays free, for
/// some terminals begin another line there. The parts that matter least go first.
fn fitted(row: &Row, pace: Option<&Pace>, columns: usize) -> (&'static str, String, String) {
    let room = columns.saturating_sub(1);
    if let Some(note) = &row.note {
        let name_room = room.saturating_sub(note.width() + 2);
        return match name_room >= NAME_COLUMNS.min(row.name.width()) {
            true => (PLAIN, format!("{}:", shortened(&row.name, name_room)), note.clone()),
            false => ("{msg}", String::new(), shortened(note, room)),
        };
    }
    let of = row.total.map_or_else(|| Size(row.done).to_string(), |total| size_of(row.done, total));
    let rate = pace.and_then(Pace::rates);
    let left = pace.and_then(Pace::left).map(|left| format!("{left} left"));
    let percent = if row.total.is_some() { PERCENT_COLUMNS } else { 1 };
    for figures in
        [[Some(&of), rate.as_ref(), left.as_ref()], [None, rate.as_ref(), left.as_ref()], [None, None, left.as_ref()]]
    {
        let text = figures.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("  ");
        let name_room = room.saturating_sub(percent + text.width());
        if name_room < NAME_COLUMNS.min(row.name.width()) {
            continue;
        }
        let name = shortened(&row.name, name_room.min(2 * NAME_COLUMNS));
        return match (row.total.is_some(), name_room >= name.width() + BAR_COLUMNS + 3) {
            (true, true) => (WITH_BAR, name, text),
            (true, false) => (WITHOUT_BAR, shortened(&row.name, name_room), text),
            (false, _) => (PLAIN, shortened(&row.name, name_room), text),
        };
    }
    match row.total.is_some() && room >= 4 {
        true => ("{percent:>3}%", String::new(), String::new()),
        false => ("{msg}", String::new(), shortened(&of, room)),
    }
}

/// Returns `12.0 of 48.0 MiB`, or both with their units where those differ.
fn size_of(done: u64, total: u64) -> String {
    let (done, total) = (Size(done).to_string(), Size(total).to_string());
    match (done.split_once(' '), total.split_once(' ')) {
        (Some((figure, unit)), Some((_, total_unit))) if unit == total_unit => format!("{figure} of {total}"),
        _ => format!("{done} of {total}"),
    }
}

/// Returns `text` in at most `room` columns: the end of a name tells more than its beginning, but both are wanted.
fn shortened(text: &str, room: usize) -> String {
    const GAP: &str = "..";
    if text.width() <= room {
        return text.to_owned();
    }
    if room <= GAP.len() {
        return ".".repeat(room);
    }
    let kept = room - GAP.len();
    let begin = taken(text.chars(), kept / 3);
    let end = taken(text.chars().rev(), kept - kept / 3);
    begin.chars().chain(GAP.chars()).chain(end.chars().rev()).collect()
}

/// Returns the first characters that fit into `room` columns.
fn taken(characters: impl Iterator<Item = char>, room: usize) -> String {
    let mut used = 0;
    let fits = |character: &char| {
        used += character.width().unwrap_or(0);
        used <= room
    };
    characters.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{InMemoryTerm, ProgressDrawTarget};

    fn row(name: &str, done: u64, total: Option<u64>) -> Row {
        Row { name: name.to_owned(), note: None, done, total }
    }

    /// Draws `rows` on a terminal of so many columns, and returns what it shows.
    fn screen(all: Option<Row>, current: Row, columns: u16) -> String {
        let terminal = InMemoryTerm::new(10, columns);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let group = MultiProgress::with_draw_target(target);
        let mut bars = Bars::new(&group);
        bars.show(&View { all, current, waits: false, moved: 0, pauses: 0 }, None, usize::from(columns));
        terminal.contents()
    }

    #[test]
    fn the_bar_is_empty_at_first_and_full_at_the_end() {
        let bar = |done, total| screen(None, row("a", done, Some(total)), 60);
        assert_eq!(bar(0, 10), "a [                                    ]   0%  0 of 10 bytes");
        assert_eq!(bar(10, 10), "a [===================================] 100%  10 of 10 bytes");
        assert_eq!(bar(0, 0), "a [=====================================] 100%  0 of 0 bytes");
        assert!(bar(u64::MAX / 2, u64::MAX).contains(" 50%  8.0 of 16.0 EiB"), "{}", bar(u64::MAX / 2, u64::MAX));
    }

    #[test]
    fn several_files_have_two_rows_and_an_unknown_size_has_no_bar() {
        let rows = screen(Some(row("1 of 3 files", 50, Some(100))), row("b", 5 << 20, None), 50);
        assert_eq!(rows, "1 of 3 files [======>      ]  50%  50 of 100 bytes\nb 5.0 MiB");
        let note = Row { note: Some("verifying (5 s)".to_owned()), ..row("big.bin", 1, Some(1)) };
        assert_eq!(screen(None, note, 50), "big.bin: verifying (5 s)");
    }

    #[test]
    fn every_row_fits_a_terminal_of_any_width() {
        let names = ["a", "a/rather/long/name/of/a/file.bin", "世界世界世界世界世界世界世界世界.bin"];
        for columns in 1..=120 {
            for name in names {
                let note = Row { note: Some("waiting for the server's disk (12 s)".to_owned()), ..Row::default() };
                for shown in [
                    row(name, 5 << 20, Some(70 << 30)),
                    row(name, 5 << 20, None),
                    Row { name: name.to_owned(), ..note },
                ] {
                    let text = screen(None, shown, columns);
                    assert!(text.width() <= usize::from(columns) && !text.contains('\n'), "{columns}: {text:?}");
                }
            }
        }
    }

    #[test]
    fn names_are_cut_in_their_middle() {
        assert_eq!(shortened("a/rather/long/name.bin", 12), "a/r..ame.bin");
        assert_eq!(
            (shortened("abc", 3), shortened("abcd", 2), shortened("abc", 0)),
            ("abc".into(), "..".into(), String::new())
        );
    }

    #[test]
    fn what_was_there_before_is_no_speed() {
        let view =
            |moved, pauses| View { all: None, current: row("a", 90 + moved, Some(1000)), waits: false, moved, pauses };
        let mut pace = Pace::new();
        pace.note(&view(0, 0), None);
        assert_eq!(line(&view(0, 0), &pace), "a: 90 bytes of 1000 bytes");
        assert!(pace.left().is_none());
        pace.note(&view(0, 0), NonZeroU64::new(2_000_000));
        assert_eq!(line(&view(0, 0), &pace), "a: 90 bytes of 1000 bytes, limit 2.0 MB/s");
        let waits = View {
            waits: true,
            current: Row { note: Some("verifying".to_owned()), ..row("a", 1, None) },
            ..view(0, 0)
        };
        assert_eq!(line(&waits, &pace), "a: verifying");
    }
}
