//! One line of progress, made to fit.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::figures::{Left, Rate, Size};

/// What one line tells.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    /// Of a file, or how many files of how many; escaped already.
    pub(super) name: &'a str,
    /// In place of figures: what is waited for.
    pub(super) note: Option<String>,
    pub(super) done: u64,
    /// [`None`] where nobody knows.
    pub(super) total: Option<u64>,
    /// Bytes a second.
    pub(super) rate: Option<f64>,
    pub(super) left: Option<Duration>,
}

/// Names that are cut are left so much: enough to tell one from the other.
const NAME_COLUMNS: usize = 16;

/// The bar, where there is room for it.
const BAR_COLUMNS: std::ops::RangeInclusive<usize> = 8..=30;

impl Line<'_> {
    /// The line in fewer than `columns` columns: the last one stays free, for a terminal would begin another line.
    pub(super) fn fit(&self, columns: usize) -> String {
        let room = columns.saturating_sub(1);
        if let Some(note) = &self.note {
            return self.fit_note(note, room);
        }
        let percent = self.total.map(|total| format!("{:>3}%", percent(self.done, total)));
        let of = self.total.map_or_else(|| Size(self.done).to_string(), |total| size_of(self.done, total));
        let rate = self.rate.map(|rate| Rate(rate).to_string());
        let left = self.left.map(|left| format!("{} left", Left(left)));
        let (percent, rate, left) = (percent.as_deref(), rate.as_deref(), left.as_deref());
        // From the fullest to the barest; what matters least goes first.
        for figures in [
            [percent, Some(of.as_str()), rate, left],
            [percent, None, rate, left],
            [percent, None, None, left],
            [percent, None, None, None],
        ] {
            let figures = figures.into_iter().flatten().collect::<Vec<_>>().join("  ");
            if room > figures.width() + NAME_COLUMNS.min(self.name.width()) {
                return self.with_bar(&figures, room);
            }
        }
        shorten(percent.unwrap_or(&of), room)
    }

    fn fit_note(&self, note: &str, room: usize) -> String {
        if room >= note.width() + 2 + NAME_COLUMNS.min(self.name.width()) {
            return format!("{}: {note}", shorten(self.name, room - note.width() - 2));
        }
        shorten(note, room)
    }

    fn with_bar(&self, figures: &str, room: usize) -> String {
        let spare = room.saturating_sub(figures.width() + 1);
        let bar_room = spare.saturating_sub(self.name.width().min(2 * NAME_COLUMNS) + 3).min(*BAR_COLUMNS.end());
        let Some(total) = self.total.filter(|_| bar_room >= *BAR_COLUMNS.start()) else {
            return format!("{} {figures}", shorten(self.name, spare));
        };
        let filled = usize::try_from(scaled(self.done, total, bar_room as u64)).unwrap_or(bar_room);
        let head = if filled > 0 && filled < bar_room { ">" } else { "" };
        let bar = format!("{}{head}", "=".repeat(filled - head.len()));
        format!("{} [{bar:<bar_room$}] {figures}", shorten(self.name, spare - bar_room - 3))
    }
}

fn percent(done: u64, total: u64) -> u64 {
    scaled(done, total, 100)
}

/// `done / total` of `whole`; all of it where there was nothing to do.
fn scaled(done: u64, total: u64, whole: u64) -> u64 {
    if total == 0 {
        return whole;
    }
    let scaled = u128::from(done.min(total)) * u128::from(whole) / u128::from(total);
    u64::try_from(scaled).unwrap_or(whole)
}

/// `12.0 of 48.0 MiB`, or with both units where they differ.
fn size_of(done: u64, total: u64) -> String {
    let (done, total) = (Size(done).to_string(), Size(total).to_string());
    match (done.split_once(' '), total.split_once(' ')) {
        (Some((figure, unit)), Some((_, total_unit))) if unit == total_unit => format!("{figure} of {total}"),
        _ => format!("{done} of {total}"),
    }
}

/// `text` in at most `room` columns: the end of a name tells more than its beginning, but both are wanted.
fn shorten(text: &str, room: usize) -> String {
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

/// The first characters that fit into `room` columns.
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

    fn full(name: &str) -> Line<'_> {
        Line {
            name,
            note: None,
            done: 12 << 20,
            total: Some(48 << 20),
            rate: Some(30e6),
            left: Some(Duration::from_secs(95)),
        }
    }

    #[test]
    fn what_matters_least_goes_first() {
        let shown = |columns| full("poems/ozymandias.txt").fit(columns);
        assert_eq!(
            shown(120),
            "poems/ozymandias.txt [======>                       ]  25%  12.0 of 48.0 MiB  30 MB/s  1:35 left"
        );
        assert_eq!(shown(80), "poems/ozymandias.txt [==>          ]  25%  12.0 of 48.0 MiB  30 MB/s  1:35 left");
        assert_eq!(shown(60), "poem..andias.txt  25%  12.0 of 48.0 MiB  30 MB/s  1:35 left");
        assert_eq!(shown(45), "poems..ymandias.txt  25%  30 MB/s  1:35 left");
        assert_eq!(shown(34), "poems..andias.txt  25%  1:35 left");
        assert_eq!(shown(22), "poem..andias.txt  25%");
        assert_eq!(shown(8), " 25%");
        assert_eq!(shown(3), "..");
        assert_eq!((shown(2).as_str(), shown(1).as_str(), shown(0).as_str()), (".", "", ""));
    }

    #[test]
    fn every_line_fits_every_terminal() {
        for name in ["", "a", "世界世界世界世界世界世界世界世界世界世界/世界.txt", "a\u{301}b", &"long/".repeat(100)]
        {
            for columns in 0..300 {
                let note = Line { note: Some("waiting for the server's disk (12 s)".into()), ..full(name) };
                let unknown = Line { total: None, left: None, ..full(name) };
                for line in [full(name), note, unknown] {
                    let text = line.fit(columns);
                    assert!(text.width() <= columns.saturating_sub(1), "{columns}: {text:?}");
                }
            }
        }
    }

    #[test]
    fn the_bar_is_empty_at_first_and_full_at_the_end() {
        let bar = |done, total| Line { name: "a", done, total: Some(total), ..Line::default() }.fit(60);
        assert_eq!(bar(0, 10), "a [                              ]   0%  0 of 10 bytes");
        assert_eq!(bar(10, 10), "a [==============================] 100%  10 of 10 bytes");
        assert_eq!(bar(0, 0), "a [==============================] 100%  0 of 0 bytes");
        assert_eq!(bar(u64::MAX, 10), bar(u64::MAX, 10));
        assert!(bar(u64::MAX / 2, u64::MAX).contains(" 49%  8.0 of 16.0 EiB"));
    }
}
