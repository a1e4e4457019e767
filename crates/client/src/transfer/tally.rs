//! The connection that has each file, what became of each, and the caller who is told.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::{Event, Moved, Phase, Report, Watch};
use crate::error::Error;

/// How often one file is begun anew because it changed, or because what was there of it was of no use.
const RESTARTS: u32 = 3;

/// The size that is assumed of a file whose size nobody knows.
pub(super) const UNKNOWN_BYTES: u64 = 16 << 10;

/// Returns the size of a file of the list, where it is known: always the same.
pub(super) type Sizes<'s> = dyn Fn(usize) -> Option<u64> + Sync + 's;

/// How failures are handled, and how much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// A list of files: what can be mended is tried again, and what is cut is left at once.
    Many,
    /// One file that was asked for by itself: the first failure is told, a caller who ends it keeps the connection if that
    /// is soon done, and each piece is told.
    Alone,
}

/// The list on its way, of which each file is in one place: waiting, taken by one connection, shared by all, or at its
/// end. Connections are named by numbers that never come again.
pub(super) struct Tally<'a> {
    watch: &'a mut Watch<'a>,
    manner: Manner,
    keep_going: bool,
    pub(super) report: Report,
    /// The size of a file, where it is known.
    sizes: &'a Sizes<'a>,
    /// Files that are still to be asked for, in their order.
    queue: VecDeque<usize>,
    /// Bytes of those whose sizes are known, and how many the others are. The sizes are a server's words, and their sum may
    /// be larger than any file.
    waiting: (u128, usize),
    /// Files that a connection took from it and that have come to no end, in the order in which they were taken.
    taken: BTreeMap<usize, VecDeque<usize>>,
    /// Files of which each connection may take a piece.
    shared: Vec<usize>,
    /// How often a file was begun anew: few ever are.
    restarts: Vec<(usize, u32)>,
    /// Files that were taken from a connection that did not move.
    robbed: HashSet<usize>,
    /// Files that are begun and have come to no end.
    begun: HashSet<usize>,
    /// A file failed, and nothing more is to be tried.
    pub(super) stopped: bool,
}

impl<'a> Tally<'a> {
    /// Of `count` files, of which `sizes` knows some.
    pub(super) fn new(
        (count, sizes): (usize, &'a Sizes<'a>),
        manner: Manner,
        keep_going: bool,
        watch: &'a mut Watch<'a>,
    ) -> Tally<'a> {
        let mut tally = Tally {
            watch,
            manner,
            keep_going,
            report: Report::default(),
            sizes,
            queue: VecDeque::new(),
            waiting: (0, 0),
            restarts: Vec::new(),
            taken: BTreeMap::new(),
            shared: Vec::new(),
            robbed: HashSet::new(),
            begun: HashSet::new(),
            stopped: false,
        };
        (0..count).for_each(|index| tally.push_back(index));
        tally
    }

    fn push_back(&mut self, index: usize) {
        self.note_waiting(index);
        self.queue.push_back(index);
    }

    fn push_front(&mut self, index: usize) {
        self.note_waiting(index);
        self.queue.push_front(index);
    }

    fn pop_front(&mut self) -> Option<usize> {
        let index = self.queue.pop_front()?;
        match (self.sizes)(index) {
            Some(size) => self.waiting.0 -= u128::from(size),
            None => self.waiting.1 -= 1,
        }
        Some(index)
    }

    fn note_waiting(&mut self, index: usize) {
        match (self.sizes)(index) {
            Some(size) => self.waiting.0 += u128::from(size),
            None => self.waiting.1 += 1,
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.manner == Manner::Alone
    }

    /// Whether all have come to an end, as far as they are wanted.
    pub(super) fn is_finished(&self) -> bool {
        self.queue.is_empty() && self.taken.is_empty() && (self.stopped || self.shared.is_empty())
    }

    /// Whether nobody has taken some of the files.
    pub(super) fn has_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns the bytes of the files that nobody has taken, where sizes are not known as far as those before them tell.
    pub(super) fn waiting_bytes(&self) -> u64 {
        let (known, unknown) = self.waiting;
        let usual = self.report.bytes.checked_div(self.report.files as u64).unwrap_or(UNKNOWN_BYTES);
        u64::try_from(known).unwrap_or(u64::MAX).saturating_add(usual.saturating_mul(unknown as u64))
    }

    /// Gives the next file to `hand`.
    pub(super) fn take(&mut self, hand: usize) -> Option<usize> {
        let index = self.pop_front()?;
        self.taken.entry(hand).or_default().push_back(index);
        Some(index)
    }

    /// Whether `hand` has taken this file, and nobody has taken it from it.
    pub(super) fn has(&self, hand: usize, index: usize) -> bool {
        self.taken.get(&hand).is_some_and(|taken| taken.contains(&index))
    }

    /// `hand` can't do with this file now what it took it for.
    pub(super) fn put_back(&mut self, hand: usize, index: usize) {
        if self.give(hand, index) {
            self.push_front(index);
        }
    }

    /// A file that `hand` has is shared from now on, until it comes to an end.
    pub(super) fn share(&mut self, hand: usize, index: usize) {
        if self.give(hand, index) {
            self.shared.push(index);
        }
    }

    /// Takes a file from `hand`, if it has it.
    fn give(&mut self, hand: usize, index: usize) -> bool {
        let Some(taken) = self.taken.get_mut(&hand) else { return false };
        // Most often it is the first.
        let had = taken.iter().position(|taken| *taken == index).and_then(|position| taken.remove(position)).is_some();
        if taken.is_empty() {
            self.taken.remove(&hand);
        }
        had
    }

    /// A file has come to an end, or is to be asked for anew. False where `hand` has nothing to say of it any more.
    fn ended(&mut self, hand: usize, index: usize) -> bool {
        let is_its = self.give(hand, index) || {
            let shared = self.shared.iter().position(|shared| *shared == index);
            shared.map(|position| self.shared.remove(position)).is_some()
        };
        if is_its {
            self.begun.remove(&index);
        }
        is_its
    }

    pub(super) fn tell(&mut self, event: &Event<'_>) {
        (self.watch)(event);
    }

    /// A file is begun, unless it was already.
    pub(super) fn begun(&mut self, index: usize, size: u64, resumed: u64) {
        if self.begun.insert(index) {
            self.tell(&Event::Begun { index, size, resumed });
        }
    }

    pub(super) fn moved(&mut self, index: usize, done: u64) {
        self.tell(&Event::Moved { index, done });
    }

    pub(super) fn entered(&mut self, index: usize, phase: Phase) {
        self.tell(&Event::Entered { index, phase });
    }

    pub(super) fn done(&mut self, hand: usize, index: usize, moved: &Moved) {
        if self.ended(hand, index) {
            self.report.files += 1;
            self.report.bytes += moved.size;
            self.report.resumed += moved.resumed;
            self.tell(&Event::Done { index, moved });
        }
    }

    pub(super) fn failed(&mut self, hand: usize, index: usize, error: Error) {
        if self.stopped {
            // One failure is told; what fails after it was not wanted any more.
            log::info!("a file after the one that failed: {error}");
            return self.untried(hand, index);
        }
        if !self.ended(hand, index) {
            return;
        }
        self.tell(&Event::Failed { index, error: &error });
        self.report.failures.push((index, error));
        if !self.keep_going {
            self.stop();
        }
    }

    /// A file came after the one that failed.
    pub(super) fn untried(&mut self, hand: usize, index: usize) {
        if self.ended(hand, index) {
            self.report.untried += 1;
        }
    }

    /// Tries nothing more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.report.untried += self.queue.len();
        self.queue.clear();
        self.waiting = (0, 0);
    }

    /// Puts what `hand` took and has come to no end back before all others: its connection is of no more use.
    pub(super) fn take_back(&mut self, hand: usize) {
        let taken = self.taken.remove(&hand).unwrap_or_default();
        if self.stopped {
            self.report.untried += taken.len();
            return;
        }
        taken.into_iter().rev().for_each(|index| self.push_front(index));
    }

    /// Takes from `hand`, which does not move, the files that `may_be` taken, for anybody to take; each once, or a file that
    /// nobody can read in good time would be asked for again and again.
    pub(super) fn rob(&mut self, hand: usize, may_be: impl Fn(usize) -> bool) {
        let Some(taken) = self.taken.get(&hand) else { return };
        let robbed: Vec<usize> = taken.iter().copied().filter(|index| may_be(*index)).collect();
        for index in robbed {
            if self.robbed.insert(index) && self.give(hand, index) {
                self.push_front(index);
            }
        }
    }

    /// Fails all files that are left: the first with the reason, the others untried. No connection has any.
    pub(super) fn give_up(&mut self, error: Error) {
        assert!(self.taken.is_empty(), "a connection is still at work");
        self.shared.sort_unstable();
        std::mem::take(&mut self.shared).into_iter().rev().for_each(|index| self.push_front(index));
        if let Some(index) = self.take(usize::MAX) {
            self.failed(usize::MAX, index, error);
        }
        if !self.stopped {
            self.stop();
        }
    }

    /// Counts what was shared when everything was stopped, and gives the report.
    pub(super) fn close(mut self) -> Report {
        self.report.untried += self.shared.len();
        self.report
    }

    /// Tells that the part of a file that was there is of no use.
    pub(super) fn restarted(&mut self, index: usize, why: &str) {
        self.begun.remove(&index);
        self.tell(&Event::Restarted { index, why });
    }

    /// Begins a file anew, if that was not done too often already; then `error` is its end.
    pub(super) fn restart(&mut self, hand: usize, index: usize, why: &str, error: Error) {
        if self.stopped {
            self.untried(hand, index);
        } else if self.may_restart(index) {
            self.again(hand, index, why);
        } else {
            self.failed(hand, index, error);
        }
    }

    /// Begins a file anew, however often that was done.
    pub(super) fn again(&mut self, hand: usize, index: usize, why: &str) {
        if self.ended(hand, index) {
            self.restarted(index, why);
            self.push_front(index);
        }
    }

    /// Whether a file may be tried once more, which counts.
    pub(super) fn may_restart(&mut self, index: usize) -> bool {
        if self.is_alone() {
            return false;
        }
        let position = self.restarts.iter().position(|entry| entry.0 == index).unwrap_or_else(|| {
            self.restarts.push((index, 0));
            self.restarts.len() - 1
        });
        let count = &mut self.restarts[position].1;
        *count += 1;
        *count <= RESTARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_files_have_together_are_counted() {
        let (mut watch, sizes) = (|_: &Event<'_>| {}, |_| Some(ferry_wire::limits::MAX_INTEGER));
        let mut tally = Tally::new((5, &sizes), Manner::Many, false, &mut watch);
        for left in (0..5).rev() {
            tally.take(1).unwrap();
            assert_eq!(tally.waiting_bytes(), ferry_wire::limits::MAX_INTEGER.saturating_mul(left));
        }
        tally.take_back(1);
        assert_eq!(tally.waiting_bytes(), u64::MAX);
    }
}
