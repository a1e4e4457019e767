//! How the CRC of a local file runs: what was read of it once need not be read again to go on after it.
//!
//! A server that has kept most of a large file waits while the client reads that part here, and may wait less long than
//! that takes. So what was read outlives the connection, and beside the id of the upload the program.

use std::{
    fs::File,
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ferry_wire::{Crc32, Digest};

use crate::local::{Stamp, checked_line, checkpoint, line, parse_checkpoint};

/// Between two points that are known: what is read again at most.
const STEP_BYTES: u64 = 32 << 20;

/// The knowledge of one version of a file. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Known(Arc<Mutex<Points>>);

#[derive(Debug)]
struct Points {
    /// When the file was changed last; [`None`] where that can't tell this content from a later one.
    stamp: Option<Stamp>,
    /// How many bytes from the first on have which CRC, in rising order.
    points: Vec<(u64, Crc32)>,
    /// Gets a line for each.
    journal: Option<Arc<File>>,
    /// More was read without being sent since this was asked last.
    has_grown: bool,
}

impl Known {
    /// Nothing is known yet of a file with this `stamp`.
    pub(super) fn nothing(stamp: Option<Stamp>) -> Known {
        Known(Arc::new(Mutex::new(Points { stamp, points: Vec::new(), journal: None, has_grown: false })))
    }

    /// Takes up what an earlier journal says, as far as it is whole and of a file with this `stamp`.
    pub(super) fn parse(stamp: Option<Stamp>, journal: &[u8]) -> Known {
        let known = Known::nothing(stamp);
        let mut points = known.points();
        let mut lines = journal.split_inclusive(|byte| *byte == b'\n').map_while(checked_line);
        if lines.next().is_some_and(|line| points.first_line().as_deref() == Some(line)) {
            points.points.extend(lines.map_while(parse_checkpoint));
        }
        drop(points);
        known
    }

    /// Appends all that is known, and what will be, to `journal`.
    pub(super) fn keep_in(&self, journal: Arc<File>) {
        let mut points = self.points();
        let Some(first) = points.first_line() else { return };
        let known = points.points.iter().flat_map(|(bytes, crc)| checkpoint(*bytes, *crc));
        append(&journal, &line(&first).into_iter().chain(known).collect::<Vec<_>>());
        points.journal = Some(journal);
    }

    /// Whether it is of a file with this `stamp`.
    pub(super) fn is_of(&self, stamp: Option<&Stamp>) -> bool {
        stamp.is_some() && self.points().stamp.as_ref() == stamp
    }

    /// The last point that is known at or before `offset`.
    pub(super) fn before(&self, offset: u64) -> Digest {
        let points = self.points();
        let point = points.points.iter().rev().find(|point| point.0 <= offset);
        point.map_or_else(Digest::new, |(bytes, crc)| Digest::resume(*crc, *bytes))
    }

    /// The file was read and sent so far; noted in steps.
    pub(super) fn sent(&self, digest: &Digest) {
        self.points().note(digest, STEP_BYTES);
    }

    /// The file was read so far to go on after it; noted in steps, or at its `end`, which may be asked for again.
    pub(super) fn read(&self, digest: &Digest, end: u64) {
        let step = if digest.bytes() == end { 1 } else { STEP_BYTES };
        let mut points = self.points();
        points.has_grown |= points.note(digest, step);
    }

    /// Whether [`Known::read`] has added anything since the last call.
    pub(super) fn has_grown(&self) -> bool {
        std::mem::take(&mut self.points().has_grown)
    }

    fn points(&self) -> MutexGuard<'_, Points> {
        // A point is added by one call that cannot panic in its middle.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Points {
    /// How the journal begins.
    fn first_line(&self) -> Option<String> {
        self.stamp.as_ref().map(|stamp| format!("read {}", stamp.0))
    }

    /// Adds a point if it is `step` bytes after the last one; returns whether it is.
    fn note(&mut self, digest: &Digest, step: u64) -> bool {
        let last = self.points.last().map_or(0, |point| point.0);
        let is_due = digest.bytes() >= last + step;
        if is_due {
            self.points.push((digest.bytes(), digest.crc()));
            if let Some(journal) = &self.journal {
                append(journal, &checkpoint(digest.bytes(), digest.crc()));
            }
        }
        is_due
    }
}

/// Without the line, that part is read again.
fn append(mut journal: &File, text: &[u8]) {
    if let Err(error) = journal.write_all(text) {
        log::info!("cannot note how far a file was read: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Error, local::Source};

    fn stamp(text: &str) -> Option<Stamp> {
        Some(Stamp(text.into()))
    }

    fn digest(bytes: u64) -> Digest {
        Digest::resume(Crc32(bytes as u32), bytes)
    }

    #[test]
    fn what_is_known_is_taken_up_for_the_same_content_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let known = Known::nothing(stamp("1.5"));
        known.keep_in(Arc::new(File::create(&path).unwrap()));
        for bytes in [STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 2 * STEP_BYTES + 7] {
            known.sent(&digest(bytes));
        }
        assert!(!known.has_grown());
        known.read(&digest(2 * STEP_BYTES + 9), 2 * STEP_BYTES + 9);
        assert!(known.has_grown() && !known.has_grown());
        let text = std::fs::read(&path).unwrap();
        for known in [&known, &Known::parse(stamp("1.5"), &text)] {
            let points =
                [0, STEP_BYTES - 1, STEP_BYTES, 2 * STEP_BYTES + 8, u64::MAX].map(|at| known.before(at).bytes());
            assert_eq!(points, [0, 0, STEP_BYTES, 2 * STEP_BYTES + 7, 2 * STEP_BYTES + 9]);
            assert_eq!(known.before(STEP_BYTES).crc(), Crc32(STEP_BYTES as u32));
        }
        for other in [stamp("1.6"), None] {
            assert_eq!(Known::parse(other, &text).before(u64::MAX).bytes(), 0);
        }
    }

    /// As a server makes it that waits less long than the reading takes, again and again.
    #[test]
    fn a_reading_that_is_cut_goes_on_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large");
        let size = 2 * STEP_BYTES;
        // No hole, which is passed over at once.
        std::fs::write(&path, vec![1; size as usize]).unwrap();
        let known = Known::nothing(stamp("1"));
        let read = |most: u64| {
            let mut source = Source::open(&path.as_path().into()).unwrap();
            let before = known.before(size).bytes();
            let seen = |digest: &Digest| {
                known.read(digest, size);
                if digest.bytes() - before < most { Ok(()) } else { Err(Error::Interrupted) }
            };
            source.skip_from(known.before(size), size, seen).map(|digest| digest.bytes() - before)
        };
        assert!(read(STEP_BYTES).is_err() && known.has_grown());
        assert_eq!(read(u64::MAX).unwrap(), STEP_BYTES, "no byte is read twice");
    }

    #[test]
    fn a_damaged_line_ends_what_is_believed() {
        let text = [line("read 1"), checkpoint(7, Crc32(7)), checkpoint(9, Crc32(9))].concat();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            let digest = Known::parse(stamp("1"), &damaged).before(u64::MAX);
            assert!(digest.bytes() < 9 && digest.crc() == Crc32(digest.bytes() as u32), "byte {at}");
        }
    }
}
